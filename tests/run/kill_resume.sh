#!/usr/bin/env bash
# kill_resume.sh PROGRAM [DATA [KILLS [options of the program...]]]
# Trains without a break, then again while the process is killed KILLS times (default 36; every sixth time by SIGTERM, else
# by SIGKILL) at random moments and resumed after each. A valid checkpoint must always be there, and weights, log (but for
# times) and batch log must end the same, byte for byte. Without DATA, PROGRAM --write-data DIR writes some.
set -u
program=$1
data=${2:-}
kills=${3:-36}
shift $(($# < 3 ? $# : 3))
work=$(mktemp -d "${TMPDIR:-/tmp}/kill_resume.XXXXXX")
pid=
# A child that SIGTERM meets before it becomes the program may still have the trap: the folder is not its own.
trap 'if [ "$BASHPID" = $$ ]; then [ -z "$pid" ] || kill -9 "$pid" 2>/dev/null; rm -rf "$work"; fi' EXIT
fail() {
    echo "kill_resume: $*" >&2
    tail -n 3 "$work/stderr" >&2
    exit 1
}
if [ -z "$data" ]; then
    data=$work/data
    mkdir "$data"
    "$program" --write-data "$data" || fail "no data"
    [ $# -gt 0 ] || set -- --epochs 50 --checkpoint-every 0.005
fi
options=(--data "$data" --checkpoint-every 0.02 "$@")
paths() { echo --save "$work/$1.safetensors" --batch-log "$work/$1.steps"; }
strip() { sed 's/, "images_per_second": [^,]*, "seconds": [^,}]*//' "$1"; }

begin=$(date +%s%N)
"$program" "${options[@]}" $(paths whole) 2>"$work/stderr" || fail "the run without a break ended with $?"
period=$((($(date +%s%N) - begin) / 1000000 * 3 / kills))     # milliseconds; lives last half of it on average
[ "$period" -ge 40 ] || period=40

compare() {
    cmp "$work/whole.safetensors" "$work/broken.safetensors" || fail "the weights differ"
    cmp "$work/whole.steps" "$work/broken.steps" || fail "the batch logs differ"
    cmp <(strip "$work/whole.jsonl") <(strip "$work/broken.jsonl") || fail "the logs differ"
}

resume=
done=0
finished=0
while [ "$done" -lt "$kills" ] || [ -n "$resume" ]; do
    "$program" "${options[@]}" $(paths broken) $resume 2>"$work/stderr" &
    pid=$!
    while [ ! -e "$work/broken.checkpoint" ] && kill -0 "$pid" 2>/dev/null; do sleep 0.005; done
    signal=
    if [ "$done" -lt "$kills" ]; then
        ms=$(((RANDOM * 32768 + RANDOM) % period))
        sleep "$((ms / 1000)).$(printf %03d $((ms % 1000)))"
        [ $((done % 6)) -eq 5 ] && signal=TERM || signal=KILL
        kill -s "$signal" "$pid" 2>/dev/null || signal=
    fi
    wait "$pid" 2>/dev/null
    code=$?
    pid=
    case $signal:$code in
    *:0)
        compare
        finished=$((finished + 1))
        resume=
        rm -f "$work"/broken.*
        ;;
    KILL:137 | TERM:5 | TERM:143)                             # 143: before the program catches signals
        done=$((done + 1))
        resume=--resume
        ;;
    *) fail "exit code $code after ${signal:-no signal}, $done kills" ;;
    esac
done
[ "$finished" -gt 0 ] || fail "no run finished"
echo "kill_resume: $done kills, $finished runs finished, all with the bits of the run without a break"
