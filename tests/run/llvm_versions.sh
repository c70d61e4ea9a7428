#!/usr/bin/env bash
# llvm_versions.sh - the LLVM back end with every other version of LLVM that is here, 14 to 19: every operation of kernels against
# the evaluator, and networks in memory and in objects with the bits of the compiler under test. Versions that are missing are named.
. "$(dirname "$0")/lib.sh"
net=$root/models/smallnet.snet
train=(--batch 32 --math=strict "$net" --data "$root/examples/data/digits" --steps 10 --seed 3)
check "the compiler under test" "$salunc" train "${train[@]}" --save "$work/want.safetensors" || finish
tried=0
for version in 14 15 16 17 18 19; do
    dir=/usr/lib/llvm-$version
    if ! [ -x $dir/bin/llvm-config ]; then
        echo "note LLVM $version is not here: not tried"
        continue
    fi
    tried=$((tried + 1))
    build=$work/$version
    check "LLVM $version: builds without warnings" sh -c "cmake -S '$root' -B '$build' -G Ninja -DCMAKE_BUILD_TYPE=Release \
        -DLLVM_DIR=$dir/lib/cmake/llvm && ninja -C '$build' -j 2 >'$build/log' && ! grep ' warning: ' '$build/log'" || continue
    check "LLVM $version is the one" grep -q "llvm-$version" "$build/build.ninja"
    check "LLVM $version: every operation, bit for bit" sh -c "cd '$root/tests/unit' && '$build/bin/test_emit_llvm'"
    check "LLVM $version: salunc train" "$build/bin/salunc" train "${train[@]}" --save "$work/$version.safetensors"
    check_same "LLVM $version: the same weights" "$work/want.safetensors" "$work/$version.safetensors"
    check "LLVM $version: a program" "$build/bin/salunc" --backend=llvm --train --batch 32 --math=strict "$net" -o "$work/train-$version"
    check "LLVM $version: the program trains" "$work/train-$version" --data "$root/examples/data/digits" --steps 10 --seed 3 \
        --save "$work/$version-program.safetensors"
    check_same "LLVM $version: the program's weights" "$work/want.safetensors" "$work/$version-program.safetensors"
done
[ $tried -gt 1 ] || not_ok "versions" "$tried version of LLVM is here; two at least are needed"
finish
