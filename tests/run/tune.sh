#!/usr/bin/env bash
# tune.sh - --tune: a first run times and keeps, a second one times nothing and makes the same program; the file decides, not the
# clock; what it lacks is added; inference and training, both back ends; files that are damaged, of elsewhere or cannot be written.
. "$(dirname "$0")/lib.sh"
cd "$work" || exit 1
cp "$root/models/smallnet.snet" net.snet
backends=c
"$salunc" --emit=llvm net.snet >/dev/null 2>&1 && backends="llvm c"

# told NAME PATTERN: what the last command said.
told() {
    if grep -qE -- "$2" log; then ok "$1"; else not_ok "$1" "not said: $2: $(head -3 log | tr '\n' '|')"; fi
}
silent() {
    if [ -s log ]; then not_ok "$1" "$(head -3 log | tr '\n' '|')"; else ok "$1"; fi
}
# fails NAME CODE COMMAND...
fails() {
    local name=$1 want=$2
    shift 2
    "$@" >log 2>&1
    local code=$?
    if [ $code -eq "$want" ]; then ok "$name"; else not_ok "$name" "exit code $code, not $want: $(tail -n 2 log | tr '\n' '|')"; fi
}
# A row whose choice is another than the fastest.
other() {
    sed -i -E '0,/ = [a-z0-9]+/s// = '"$1"'/' net.tune
}

for backend in $backends; do
    rm -f net.tune
    check "$backend: the first run" "$salunc" net.snet --backend=$backend --tune-threads=1 --tune -o net
    told "$backend: it says what it timed" '^note: timed [0-9]+ convolutions? with 1 thread in .* kept in net.tune$'
    grep -q "^target .* fast, 1 thread: ." net.tune && ok "$backend: who was timed" || not_ok "$backend: who was timed" "$(head -5 net.tune)"
    cp net.tune kept
    for run in one two; do
        check "$backend: $run more" "$salunc" net.snet --tune --emit=c -o $run.c
        silent "$backend: $run more says nothing"
    done
    check_same "$backend: the same program" one.c two.c
    check_same "$backend: the same file" kept net.tune
done

# The file decides.
for algorithm in winograd2 direct; do
    other $algorithm
    check "explain with $algorithm" "$salunc" explain net.snet --tune
    told "explain shows $algorithm" "; $algorithm as tuned: .* us"
    check "$algorithm in one row" "$salunc" net.snet --tune --emit=c -o $algorithm.c
done
if cmp -s winograd2.c direct.c; then not_ok "a changed row makes another program" "none"; else ok "a changed row makes another program"; fi
check "a changed row holds in memory" "$salunc" run net.snet --tune --bench 0.05

# What is missing is added, what is there stays.
cp net.tune kept
grep -c ' = ' kept >rows
check "training beside inference" "$salunc" --train net.snet --batch 4 --tune --emit=c -o step.c
told "training beside inference: timed" '^note: timed'
if [ "$(grep -c ' = ' net.tune)" -gt "$(cat rows)" ] && ! grep ' = ' kept | grep -vxFf net.tune | grep -q .; then
    ok "the old rows stay"
else
    not_ok "the old rows stay" "$(diff kept net.tune | head -3 | tr '\n' '|')"
fi
grep -q '^step n4 conv.weight ' net.tune && ok "gradients are timed" || not_ok "gradients are timed" "$(grep -c step net.tune) rows"
LC_ALL=C sort -c <(grep ' = ' net.tune) && ok "rows are sorted" || not_ok "rows are sorted" ""
check "training again" "$salunc" --train net.snet --batch 4 --tune --emit=c -o again.c
silent "training again says nothing"
check "training in memory, from the file" "$salunc" train --tune --batch 4 net.snet --help
check "strict arithmetic has nothing to choose" "$salunc" net.snet --math=strict --tune=strict.tune --emit=c -o strict.c
silent "strict arithmetic says nothing"
[ -e strict.tune ] && not_ok "strict arithmetic writes no file" "$(cat strict.tune)" || ok "strict arithmetic writes no file"

# The bits of a tuned program do not depend on threads.
"$salunc" init net.snet -o w.safetensors >/dev/null
/usr/bin/python3 -c 'import numpy as np; np.save("x.npy", np.random.default_rng(1).normal(size=(1, 1, 28, 28)).astype(np.float32))'
for threads in 1 2 8; do
    check "$threads threads" "$salunc" run net.snet --tune --weights w.safetensors --input x.npy --output y$threads.npy --threads $threads
done
check_same "1 and 2 threads" y1.npy y2.npy
check_same "1 and 8 threads" y1.npy y8.npy

# Not here.
sed 's/: .*/: Some Other Processor/;/ = /d' net.tune >other.tune
sed -i '/^#/!s/^target \([a-z0-9]*\) .*/target \1 fast, 1 thread: Some Other Processor/' other.tune
fails "times of another processor" 2 "$salunc" net.snet --tune=other.tune --emit=c -o x.c
told "times of another processor: where" 'other.tune:[0-9]+:1: error: these times are of another processor'
told "times of another processor: what to do" 'help: time them there'
fails "a machine that is not here" 2 "$salunc" net.snet --backend=llvm --target=riscv64-linux-gnu --tune=none.tune --emit=llvm -o x.ll
fails "a folder for a file" 2 "$salunc" net.snet --tune=. --emit=c -o x.c
fails "a folder that is missing" 2 "$salunc" net.snet --tune=no/such.tune --emit=c -o x.c
printf '\0\1\2' >broken.tune
fails "a damaged file" 2 "$salunc" net.snet --tune=broken.tune --emit=c -o x.c
told "a damaged file: where" 'broken.tune:1:1: error: this is no text of'
[ ! -e x.c ] && [ ! -e x.ll ] && ok "nothing is written after an error" || not_ok "nothing is written after an error" "$(ls x.*)"
finish
