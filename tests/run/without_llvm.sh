#!/usr/bin/env bash
# without_llvm.sh - a compiler built with -DSALUN_LLVM=OFF: clear errors where LLVM is asked for, and `salunc run` and `salunc train`
# by $CC, with the bits of the compiler under test.
. "$(dirname "$0")/lib.sh"
net=$root/models/smallnet.snet
with=$salunc
without=$work/prefix/bin/salunc
check "builds" sh -c "cmake -S '$root' -B '$work/build' -G Ninja -DCMAKE_BUILD_TYPE=Release -DSALUN_TESTS=OFF -DSALUN_LLVM=OFF \
    -DCMAKE_INSTALL_PREFIX='$work/prefix' && ninja -C '$work/build' -j 2 install" || finish

# refuses NAME OPTIONS...: exit code 2, and the words `without LLVM`.
refuses() {
    local name=$1
    shift
    "$without" "$net" "$@" >"$work/log" 2>&1
    local code=$?
    if [ $code -eq 2 ] && grep -q 'built without LLVM' "$work/log"; then ok "$name"; else not_ok "$name" "exit code $code: $(tail -n 1 "$work/log")"; fi
}
refuses "-o x.ll" -o "$work/x.ll"
refuses "-o x.bc" -o "$work/x.bc"
refuses "--emit=llvm" --emit=llvm
refuses "--backend=llvm" --backend=llvm -o "$work/x.o"
refuses "--target=aarch64-linux-gnu" --target=aarch64-linux-gnu -o "$work/x.o"
[ -e "$work/x.ll" ] && not_ok "nothing is written" "x.ll is there"

/usr/bin/python3 -c "import sys; sys.stdout.buffer.write(b'P5 28 28 255 ' + bytes(i * 7 % 256 for i in range(784)))" >"$work/picture.pgm"
train=(--batch 32 --math=strict "$net" --data "$root/examples/data/digits" --steps 10 --seed 3)
for who in with without; do
    check "salunc train, $who LLVM" "${!who}" train "${train[@]}" --save "$work/$who.safetensors"
    check "salunc run, $who LLVM" sh -c "'${!who}' run --math=strict '$net' --weights '$work/with.safetensors' --top 3 \
        '$work/picture.pgm' >'$work/$who.txt'"
done
check_same "the same weights" "$work/with.safetensors" "$work/without.safetensors"
check_same "the same answers" "$work/with.txt" "$work/without.txt"
finish
