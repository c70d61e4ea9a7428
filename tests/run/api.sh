#!/usr/bin/env bash
# api.sh - the C API of compiled networks: an installation at another place, pkg-config, every model warning-free under gcc and
# clang, the header as C99 and C++, several instances in several threads, embedded weights, linking with the runtime only.
. "$(dirname "$0")/lib.sh"
prefix=$work/prefix
check "cmake --install to another prefix" cmake --install "$(dirname "${SALUN_PREFIX:?}")" --prefix "$prefix"
salunc=$prefix/bin/salunc
pkgconfig=$(dirname "$(find "$prefix" -name salun.pc | head -1)")
export PKG_CONFIG_PATH=$pkgconfig
check "pkg-config finds salun" pkg-config --exists --print-errors salun
cflags=$(pkg-config --cflags salun)
libs=$(pkg-config --libs salun)
strict=(-Wall -Wextra -Werror)
case $libs in
*png* | *jpeg* | *lz*) not_ok "pkg-config names the runtime only" "$libs" ;;
*) ok "pkg-config names the runtime only" ;;
esac

small() {
    case $1 in
    resnet50 | rescalenet | vgg19) echo -D width=4 -D size=64 ;;
    resnet18) echo -D width=4 ;;
    esac
}
models="resnet18 resnet50 rescalenet smallnet vgg19"
[ -n "${SALUN_QUICK:-}" ] && models="smallnet resnet18"
for model in $models; do
    net=$root/models/$model.snet
    check "$model: salunc" "$salunc" "$net" -o "$work/$model.c" || continue
    check "$model: salunc, small" "$salunc" "$net" $(small "$model") --batch 4 -o "$work/$model-small.c"
    check "$model: salunc --train, small" "$salunc" --train "$net" $(small "$model") --batch 4 -o "$work/$model-train.c"
    for cc in gcc clang; do
        check "$model: $cc, full size" $cc "${strict[@]}" $cflags -fsyntax-only "$work/$model.c"
        for kind in small train; do
            check "$model: $cc, $kind" $cc "${strict[@]}" $cflags -c "$work/$model-$kind.c" -o "$work/$model-$kind-$cc.o"
        done
    done
    for cc in "gcc -std=c99 -pedantic" "g++ -std=c++11 -pedantic -x c++" "clang++ -std=c++17 -x c++"; do
        echo "#include \"$model.h\"" >"$work/header.c"
        check "$model.h: $cc" $cc "${strict[@]}" $cflags -fsyntax-only -I"$work" "$work/header.c"
    done
done

# the example: four instances in four threads give what the executable gives
for part in images-idx3 labels-idx1; do gunzip -c "$root/examples/data/digits/t10k-$part-ubyte.gz" >"$work/$part"; done
net=$root/models/smallnet.snet
check "init" "$salunc" init "$net" -o "$work/w.safetensors" --seed 3
check "executable" "$salunc" "$net" --batch 16 -o "$work/smallnet-exe"
want=$(/usr/bin/python3 "$run_dir/accuracy.py" "$root/examples/data/digits" "$work/smallnet-exe" "$work/w.safetensors")
mkdir -p "$work/plain" "$work/embedded"
check "C file for the example" "$salunc" "$net" --batch 16 -o "$work/plain/smallnet.c"
check "C file with weights" "$salunc" "$net" --batch 16 --embed-weights "$work/w.safetensors" -o "$work/embedded/smallnet.c"
for cc in gcc clang; do
    for kind in plain embedded; do
        weights=$work/w.safetensors
        [ $kind = embedded ] && weights=-
        check "example: $cc, $kind" $cc "${strict[@]}" $cflags -I"$work/$kind" -o "$work/classify" "$root/examples/api/classify.c" \
            "$work/$kind/smallnet.c" $libs || continue
        got=$("$work/classify" "$weights" "$work/images-idx3" "$work/labels-idx1" 4 2>&1)
        if [ "$got" = "$want" ]; then ok "example: $cc, $kind: same answers as the executable"
        else not_ok "example: $cc, $kind: same answers as the executable" "$got, not $want"; fi
    done
done
if [ "$(wc -c <"$work/embedded/smallnet.c")" -lt $(($(wc -c <"$work/plain/smallnet.c") + 20000)) ]; then ok "weights are embedded by the assembler"
else not_ok "weights are embedded by the assembler" "the C file grew by their size"; fi
check "executable with weights" "$salunc" "$net" --batch 16 --embed-weights "$work/w.safetensors" -o "$work/embedded-exe"
got=$(/usr/bin/python3 "$run_dir/accuracy.py" "$root/examples/data/digits" "$work/embedded-exe" -)
if [ "$got" = "$want" ]; then ok "executable with weights: same answers"; else not_ok "executable with weights: same answers" "$got, not $want"; fi
# prepared weights: by the program, from the C API, inside the object; for this program alone
check "weights are prepared" "$work/smallnet-exe" --weights "$work/w.safetensors" --prepare "$work/w.prepared"
got=$(/usr/bin/python3 "$run_dir/accuracy.py" "$root/examples/data/digits" "$work/smallnet-exe" "$work/w.prepared")
if [ "$got" = "$want" ]; then ok "prepared weights: same answers"; else not_ok "prepared weights: same answers" "$got, not $want"; fi
check "prepared again from prepared ones" "$work/smallnet-exe" --weights "$work/w.prepared" --prepare "$work/again.prepared"
check_same "the same file" "$work/w.prepared" "$work/again.prepared"
check "prepared by salunc run" "$salunc" run "$net" --batch 16 --weights "$work/w.safetensors" --prepare "$work/run.prepared"
check_same "the same file from memory" "$work/w.prepared" "$work/run.prepared"
check "the example, for prepared weights" gcc "${strict[@]}" $cflags -I"$work/plain" -o "$work/classify" "$root/examples/api/classify.c" \
    "$work/plain/smallnet.c" $libs
got=$("$work/classify" "$work/w.prepared" "$work/images-idx3" "$work/labels-idx1" 4 2>&1)
if [ "$got" = "$want" ]; then ok "prepared weights: the C API"; else not_ok "prepared weights: the C API" "$got, not $want"; fi
check "executable with prepared weights" "$salunc" "$net" --batch 16 --embed-weights "$work/w.prepared" -o "$work/prepared-exe"
got=$(/usr/bin/python3 "$run_dir/accuracy.py" "$root/examples/data/digits" "$work/prepared-exe" -)
if [ "$got" = "$want" ]; then ok "embedded prepared weights: same answers"; else not_ok "embedded prepared weights: same answers" "$got, not $want"; fi
# refused WORDS NAME COMMAND...: exit code 2 and the words.
refused() {
    local words=$1 name=$2
    shift 2
    "$@" >"$work/out" 2>&1
    local code=$?
    if [ $code -eq 2 ] && grep -q -- "$words" "$work/out"; then ok "$name"; else not_ok "$name" "exit code $code: $(tail -n 1 "$work/out")"; fi
}
check "for another target" "$salunc" "$net" --batch 16 --target=portable -o "$work/portable-exe"
refused 'prepared by another program' "prepared weights of another target" "$work/portable-exe" --weights "$work/w.prepared" --bench 0.01
refused 'prepared by another program' "prepared weights of another target, embedded" "$salunc" "$net" --batch 16 --target=portable \
    --embed-weights "$work/w.prepared" -o "$work/x"
refused 'only infer' "prepared weights for salunc eval" "$salunc" eval "$net" --weights "$work/w.prepared" --input "$work/x.npy" --output "$work/y.npy"
head -c 8192 "$work/w.prepared" >"$work/short.prepared"
refused 'the file has 8192 bytes' "prepared weights cut short" "$work/smallnet-exe" --weights "$work/short.prepared" --bench 0.01
if ldd "$work/classify" | grep -qE 'png|jpeg|libz|blas'; then not_ok "API programs need the C library only" "$(ldd "$work/classify" | tr '\n' ' ')"
else ok "API programs need the C library only"; fi

# C++ that calls the API; errors are returned, not printed
cat >"$work/plain/call.cc" <<'CODE'
#include "smallnet.h"
#include <cstdio>
#include <cstring>
int main(int, char **argv) {
    SalunError error;
    if (smallnet_create("/nowhere", 1, &error) || error.code != SALUN_BAD_INPUT || !std::strstr(error.text, "nowhere"))
        return 1;
    if (smallnet_create_from_memory("abc", 3, 1, nullptr) || !smallnet_error()[0])
        return 2;
    smallnet *net = smallnet_create(argv[1], 2, &error);
    static float image[SMALLNET_BATCH * SMALLNET_IMAGE_SIZE], output[SMALLNET_BATCH * SMALLNET_OUTPUT_SIZE];
    if (!net || smallnet_infer(net, image, SMALLNET_BATCH, output, &error) || output[0] != output[SMALLNET_OUTPUT_SIZE])
        return 3;
    if (!smallnet_infer(net, image, SMALLNET_BATCH + 1, output, &error) || !smallnet_infer(net, image, 0, output, nullptr))
        return 4;
    smallnet_destroy(net);
    smallnet_destroy(nullptr);
    return 0;
}
CODE
check "C++: object" gcc $cflags -c "$work/plain/smallnet.c" -o "$work/smallnet.o"
for cxx in g++ clang++; do
    check "C++: $cxx" $cxx -std=c++11 "${strict[@]}" $cflags -I"$work/plain" -o "$work/call" "$work/plain/call.cc" "$work/smallnet.o" $libs &&
        check "C++: $cxx: runs" "$work/call" "$work/w.safetensors"
done
finish
