#!/usr/bin/env bash
# cross.sh - one small network for aarch64: objects of the LLVM back end, and C by the cross compiler, run by qemu, give the bits
# that x86-64 gives in the same numeric class (--target=fma128 and portable, --math=strict): logits, and weights after 20 steps.
# --precision=f16 on neonfp16: both back ends give the same logits, near to those of float32.
. "$(dirname "$0")/lib.sh"
cc=aarch64-linux-gnu-gcc
arm() { qemu-aarch64 -L /usr/aarch64-linux-gnu "$@"; }
for tool in $cc qemu-aarch64; do command -v $tool >/dev/null || { not_ok "$tool" "not found" && finish; }; done
net=$root/models/smallnet.snet

# The training library reads compressed files by zlib; here they are plain, and there may be no zlib for aarch64.
cp "$(echo '#include <zlib.h>' | gcc -E - | sed -n 's/.*"\(.*zlib\.h\)".*/\1/p' | head -1)" "$work/zlib.h"
cp "$(echo '#include <zconf.h>' | gcc -E - | sed -n 's/.*"\(.*zconf\.h\)".*/\1/p' | head -1)" "$work/zconf.h"
cat >"$work/plain.c" <<'C'
#include <stdio.h>
#include "zlib.h"
gzFile gzopen(const char *path, const char *mode) { return (gzFile)fopen(path, mode); }
gzFile gzopen64(const char *path, const char *mode) { return gzopen(path, mode); }
int gzbuffer(gzFile f, unsigned n) { return (void)f, (void)n, 0; }
int gzread(gzFile f, voidp to, unsigned n) { return (int)fread(to, 1, n, (FILE *)f); }
const char *gzerror(gzFile f, int *code) { return (void)f, *code = 0, ""; }
int gzdirect(gzFile f) { return (void)f, 1; }
int gzclose(gzFile f) { return fclose((FILE *)f); }
C
cat >"$work/train.c" <<'C'
#include "smallnet.h"
int main(int argc, char **argv) { return salun_main_train(&smallnet_program, argc, argv); }
C
cat >"$work/infer.c" <<'C'
#include <stdio.h>
#include "smallnet.h"
int main(int argc, char **argv) {
    static float x[3 * SMALLNET_IMAGE_SIZE], y[3 * SMALLNET_OUTPUT_SIZE];
    SalunError error;
    smallnet *net = smallnet_create(argv[argc - 1], 2, &error);
    for (int i = 0; i < 3 * SMALLNET_IMAGE_SIZE; i++)
        x[i] = (float)(i * 7 % 61) / 16 - 2;
    if (!net || smallnet_infer(net, x, 3, y, &error))
        return fprintf(stderr, "%s\n", error.text), 1;
    for (int i = 0; i < 3 * SMALLNET_OUTPUT_SIZE; i++)
        printf("%a\n", y[i]);
    smallnet_destroy(net);
    return 0;
}
C
/usr/bin/python3 - "$work" <<'PY'
import sys
import numpy as np
random = np.random.default_rng(4)
np.save(f"{sys.argv[1]}/images.npy", random.integers(0, 256, (40, 1, 28, 28)).astype(np.uint8))
np.save(f"{sys.argv[1]}/labels.npy", random.integers(0, 10, 40))
PY

options=(-O2 -ffp-contract=off -D_GNU_SOURCE -I"$root/runtime" -I"$root/runtime/train" -I"$work")
for file in "$root"/runtime/*.c "$root"/runtime/train/*.c "$work/plain.c"; do
    name=$(basename "$(dirname "$file")")-$(basename "$file" .c)
    check "runtime for aarch64: $name" $cc "${options[@]}" -c "$file" -o "$work/runtime-$name.o"
done
check "runtime for aarch64" aarch64-linux-gnu-ar rcs "$work/libsalun.a" "$work"/runtime-*.o

data=npy:$work/images.npy,$work/labels.npy
run_training() { "$@" --data "$data" --steps 20 --seed 3 --threads 2 --checkpoint "$work/checkpoint"; }

# machine NAME TARGET BACKEND: compiles for aarch64, trains and infers; $work/NAME.safetensors, $work/NAME.txt.
machine() {
    local name=$1 target=$2 backend=$3 kind folder
    local for_arm=(--target="$target" --backend="$backend")
    [ "$backend" = llvm ] && for_arm+=(--target=aarch64-linux-gnu)
    for kind in train infer; do
        folder=$work/$name-$kind
        mkdir -p "$folder"
        CC=$cc check "$name: $kind object" "$salunc" "$net" $([ $kind = train ] && echo --train) "${for_arm[@]}" --math=strict --batch 16 \
            -o "$folder/smallnet.o" || return
        check "$name: $kind program" $cc "${options[@]}" -I"$folder" "$work/$kind.c" "$folder/smallnet.o" "$work/libsalun.a" -o "$folder/program" \
            -lm -pthread || return
    done
    check "$name: 20 steps" run_training arm "$work/$name-train/program" --save "$work/$name.safetensors"
    check "$name: logits" sh -c "qemu-aarch64 -L /usr/aarch64-linux-gnu '$work/$name-infer/program' '$work/$name.safetensors' >'$work/$name.txt'"
}

for target in fma128 portable; do
    x86=x86-$target
    check "$x86: training program" "$salunc" --train "$net" --target=$target --math=strict --batch 16 -o "$work/$x86"
    check "$x86: 20 steps" run_training "$work/$x86" --save "$work/$x86.safetensors"
    mkdir -p "$work/$x86-infer"
    check "$x86: object" "$salunc" "$net" --target=$target --math=strict --batch 16 --backend=llvm -o "$work/$x86-infer/smallnet.o"
    check "$x86: program" gcc -I"$root/runtime" -I"$work/$x86-infer" "$work/infer.c" "$work/$x86-infer/smallnet.o" \
        "$(find "${SALUN_PREFIX:?}" -name libsalun.a | head -1)" -o "$work/$x86-infer/program" -lm -pthread
    check "$x86: logits" sh -c "'$work/$x86-infer/program' '$work/$x86.safetensors' >'$work/$x86.txt'"
    for backend in llvm c; do
        machine "aarch64-$target-$backend" $target $backend
        check_same "aarch64 by $backend, $target: the weights of x86-64" "$work/aarch64-$target-$backend.safetensors" "$work/$x86.safetensors"
        check_same "aarch64 by $backend, $target: the logits of x86-64" "$work/aarch64-$target-$backend.txt" "$work/$x86.txt"
    done
done

# The weights are those of the training above.
half() {
    local backend=$1 folder=$work/half-$1
    local for_arm=(--backend="$backend")
    [ "$backend" = llvm ] && for_arm+=(--target=aarch64-linux-gnu)
    mkdir -p "$folder"
    CC=$cc check "float16 by $backend: object" "$salunc" "$net" --precision=f16 --target=neonfp16 "${for_arm[@]}" --math=strict --batch 16 -o "$folder/smallnet.o"
    check "float16 by $backend: fmla on 8 lanes" sh -c "aarch64-linux-gnu-objdump -d '$folder/smallnet.o' | grep -q 'fmla.*8h'"
    check "float16 by $backend: program" $cc "${options[@]}" -I"$folder" "$work/infer.c" "$folder/smallnet.o" "$work/libsalun.a" -o "$folder/program" -lm -pthread
    check "float16 by $backend: logits" sh -c "qemu-aarch64 -cpu max -L /usr/aarch64-linux-gnu '$folder/program' '$work/x86-fma128.safetensors' >'$folder.txt'"
}
for backend in llvm c; do half $backend; done
check_same "float16: the same logits by both back ends" "$work/half-llvm.txt" "$work/half-c.txt"
near() {
    /usr/bin/python3 - "$work/half-llvm.txt" "$work/x86-fma128.txt" <<'PY'
import sys
half, whole = ([float.fromhex(x) for x in open(name).read().split()] for name in sys.argv[1:])
size = sum(y * y for y in whole)
error = (sum((x - y) ** 2 for x, y in zip(half, whole)) / size) ** 0.5
print(f"{error:.2g} of the logits' size")
sys.exit(not (1e-6 < error < 0.01 and len(half) == len(whole)))
PY
}
check "float16: near to float32" near
refused() { ! qemu-aarch64 -cpu cortex-a57 -L /usr/aarch64-linux-gnu "$work/half-llvm/program" "$work/x86-fma128.safetensors" >"$work/refused.txt" 2>&1 && grep -q FP16 "$work/refused.txt"; }
check "float16: a processor without it is refused" refused
finish
