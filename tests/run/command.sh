#!/usr/bin/env bash
# command.sh - the compiler as a command: every model at its full size in little time, every form, exit codes, nothing written after
# an error, fmt that changes nothing twice, taps, explain, variants, placements.
. "$(dirname "$0")/lib.sh"
models=$root/models

# expect CODE NAME COMMAND...: the exit code.
expect() {
    local want=$1 name=$2
    shift 2
    "$@" >"$work/out" 2>"$work/err" </dev/null
    local code=$?
    if [ "$code" -eq "$want" ]; then ok "$name"; else not_ok "$name" "exit code $code, not $want: $(tail -n 2 "$work/err" | tr '\n' '|')"; fi
}
says() {
    if grep -qE -- "$2" "$work/out" "$work/err"; then ok "$1"; else not_ok "$1" "not said: $2: $(head -3 "$work/err" | tr '\n' '|')"; fi
}

expect 0 "--help" "$salunc" --help
says "--help names the options" '--target'
expect 0 "--version" "$salunc" --version
expect 2 "no arguments" "$salunc"
expect 2 "unknown option" "$salunc" --frobnicate "$models/resnet18.snet" -o "$work/x.c"
expect 2 "no such file" "$salunc" "$work/nowhere.snet" -o "$work/x.c"
expect 2 "output folder missing" "$salunc" "$models/smallnet.snet" -o "$work/no/such/x.c"
expect 2 "an executable in a folder that is missing" "$salunc" "$models/smallnet.snet" -o "$work/no/such/x"
mkdir -p "$work/folder"
mkfifo "$work/pipe"
for output in "$work/pipe" "$work/folder" "$work/folder/" ""; do
    expect 2 "an executable called '${output#"$work/"}'" "$salunc" "$models/smallnet.snet" --target=portable -o "$output"
done
if [ -p "$work/pipe" ]; then ok "what is no file is not replaced"; else not_ok "what is no file is not replaced" "the pipe is gone"; fi
expect 2 "unknown form" "$salunc" "$models/smallnet.snet" --emit=nonsense
expect 2 "unknown target" "$salunc" "$models/smallnet.snet" --target=z80 -o "$work/x.c"
for model in resnet18 resnet50 rescalenet vgg19 smallnet; do
    start=$(date +%s%N)
    expect 0 "$model to C" "$salunc" "$models/$model.snet" -o "$work/$model.c"
    echo "note $model: $((($(date +%s%N) - start) / 1000000)) ms, $(wc -c <"$work/$model.c") bytes of C"
    expect 0 "$model to C, training" "$salunc" --train "$models/$model.snet" --batch 32 -o "$work/$model-train.c"
    expect 0 "$model check" "$salunc" check "$models/$model.snet"
    expect 0 "$model fmt" "$salunc" fmt "$models/$model.snet"
    "$salunc" fmt "$models/$model.snet" >"$work/once.snet" 2>/dev/null
    "$salunc" fmt "$work/once.snet" >"$work/twice.snet" 2>/dev/null
    check_same "$model fmt: the second time changes nothing" "$work/once.snet" "$work/twice.snet"
    expect 0 "$model explain" "$salunc" explain "$models/$model.snet"
done
for form in tree graph groups kernels plan dot c; do
    expect 0 "--emit=$form" "$salunc" "$models/smallnet.snet" --emit=$form
    if [ -s "$work/out" ]; then ok "--emit=$form prints"; else not_ok "--emit=$form prints" "nothing"; fi
    cp "$work/out" "$work/form"
    "$salunc" "$models/smallnet.snet" --emit=$form >"$work/out" 2>&1
    check_same "--emit=$form is stable" "$work/form" "$work/out"
done
expect 0 "taps" "$salunc" taps "$models/resnet18.snet"
says "taps: layer2.0.bn1" 'layer2\.0\.bn1'
for variant in Rescale101 RescaleX50 RescaleX101; do
    expect 0 "--network $variant" "$salunc" --network $variant "$models/rescalenet.snet" -D size=64 -o "$work/v.c"
done
expect 2 "--network of none" "$salunc" --network Rescale102 "$models/rescalenet.snet" -o "$work/v.c"
says "did you mean" 'Rescale101'
expect 0 "-D norm, act" "$salunc" "$models/resnet18.snet" -D norm=batchnorm -D act=relu -D classes=7 -o "$work/v.c"
expect 0 "--place =" "$salunc" "$models/resnet18.snet" --place 'layer4.*.act2=relu' -o "$work/v.c"
expect 0 "--place +=" "$salunc" "$models/resnet18.snet" --place 'layer1.*.conv1+=salu' -o "$work/v.c"
rm -f "$work/v.c" "$work/v.h"
"$salunc" "$models/resnet18.snet" --place 'layer9.*.act2=relu' -o "$work/v.c" >"$work/out" 2>"$work/err"
if [ $? -ne 0 ] && [ ! -e "$work/v.c" ] && grep -q 'layer9' "$work/err"; then ok "--place that matches nothing"; else not_ok "--place that matches nothing" "$(head -2 "$work/err" | tr '\n' '|')"; fi

# networks called like words of C and C++, functions of the system, names of the runtime and of generated files
for name in int main nullptr size_t Index Gamma Salun kernel; do
    printf 'network %s(image: f32[N, 3]) {\n  return image |> linear(2) as infer\n}\n' "$name" >"$work/name.snet"
    expect 0 "a network called $name" "$salunc" "$work/name.snet" --target=portable -o "$work/name.c"
    expect 0 "a network called $name: C" cc -Wall -Wextra -Werror -I"$root/runtime" -fsyntax-only "$work/name.c"
    printf '#include <cmath>\n#include <cstdio>\n#include <cstdlib>\n#include <cstring>\n#include "name.h"\n' >"$work/name.cpp"
    expect 0 "a network called $name: C++" c++ -Wall -Wextra -Werror -I"$root/runtime" -I"$work" -fsyntax-only "$work/name.cpp"
done

# errors: several per run, exit code 1, nothing written
cat >"$work/wrong.snet" <<'NET'
network Wrong(image: f32[N, 3, 8, 8]) {
  x = image |> conv(8, 3) |> batchnrm
  y = image |> conv(16, 3)
  z = image |> conv(4, 3)
  w = y + z
  return w |> global_avgpool |> linear(10)
}
NET
expect 1 "errors" "$salunc" "$work/wrong.snet" -o "$work/wrong.c"
says "errors: did you mean" 'batchnorm'
says "errors: shapes" 'f32\[.*16, 8, 8\].*f32\[.*4, 8, 8\]'
says "errors: the place" 'wrong.snet:5:'
if [ ! -e "$work/wrong.c" ] && [ ! -e "$work/wrong.h" ]; then ok "errors: nothing is written"; else not_ok "errors: nothing is written" "wrong.c is there"; fi
printf 'network A(x: f32[N, 3, 8, 8]) {\n  for i in 0..1000000000 { x = x |> conv(8, 3) }\n  return x\n}\n' >"$work/long.snet"
expect 1 "a billion layers end in an error" timeout 20 "$salunc" "$work/long.snet" -o "$work/x.c"
printf 'block b(x) {\n  return x |> b\n}\nnetwork A(x: f32[N, 3, 8, 8]) {\n  return x |> b\n}\n' >"$work/deep.snet"
expect 1 "endless recursion ends in an error" timeout 20 "$salunc" "$work/deep.snet" -o "$work/x.c"

# the same weights from the same seed, others from another
for seed in 1 1 2; do "$salunc" init "$models/smallnet.snet" -o "$work/w$seed$((++turn)).safetensors" --seed $seed 2>/dev/null; done
check_same "init: the same seed, the same weights" "$work/w11.safetensors" "$work/w12.safetensors"
if cmp -s "$work/w11.safetensors" "$work/w23.safetensors"; then not_ok "init: another seed, other weights" "the same"; else ok "init: another seed, other weights"; fi

# a target that this processor may lack is compiled all the same
for target in portable fma128 avx2 avx512 avx512vnni native; do
    expect 0 "--target=$target" "$salunc" "$models/smallnet.snet" --target=$target -o "$work/t.c"
done
finish
