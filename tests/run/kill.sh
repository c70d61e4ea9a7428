#!/usr/bin/env bash
# kill.sh - a compiled network's training is killed 36 times at random moments (thirty times by SIGKILL) and resumed: the same
# bits in the end.
. "$(dirname "$0")/lib.sh"
kills=36
[ -n "${SALUN_QUICK:-}" ] && kills=6
check "compiles" "$salunc" --train "$root/models/smallnet.snet" --batch 64 -D width=8 -o "$work/train"
check "$kills kills, the same bits" "$run_dir/kill_resume.sh" "$work/train" "$root/examples/data/digits" "$kills" --epochs 4 --threads 2
cat "$work/log"
finish
