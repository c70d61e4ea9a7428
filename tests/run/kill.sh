#!/usr/bin/env bash
# kill.sh - a compiled network's training is killed 36 times at random moments (thirty times by SIGKILL) and resumed: the same
# bits in the end; half of the times with clipping, so that step and update are apart, half without, so that they are one.
. "$(dirname "$0")/lib.sh"
kills=36
[ -n "${SALUN_QUICK:-}" ] && kills=6
kills=$((kills / 2))
sed /clip/d "$root/models/smallnet.snet" >"$work/unclipped.snet"
for net in "$root/models/smallnet.snet" "$work/unclipped.snet"; do
    name=$(basename "$net" .snet)
    check "$name compiles" "$salunc" --train "$net" --batch 64 -D width=8 -o "$work/train"
    check "$name: $kills kills, the same bits" "$run_dir/kill_resume.sh" "$work/train" "$root/examples/data/digits" "$kills" --epochs 4 --threads 2
    cat "$work/log"
done
finish
