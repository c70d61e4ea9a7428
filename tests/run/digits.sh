#!/usr/bin/env bash
# digits.sh - the shipped digits: train smallnet briefly, deploy it, read the held-out pictures; resume, fine-tuning.
. "$(dirname "$0")/lib.sh"
. "$run_dir/deploy.sh"
net=$root/models/smallnet.snet
data=$root/examples/data/digits

deploy digits "$net" "$data" 32 9500 5
deploy_int8 digits "$net" "$data"
right=0
count=0
for picture in "$data"/pictures/*.png; do
    label=${picture##*label-}
    answer=$("$work/digits" --weights "$work/digits.safetensors" --input "$picture" --top 1 2>"$work/log" | sed -n 's/.*class //p')
    count=$((count + 1))
    [ "$answer" = "${label%.png}" ] && right=$((right + 1))
done
if [ "$right" -ge 17 ] && [ "$count" -eq 20 ]; then ok "digits: held-out pictures"; else not_ok "digits: held-out pictures" "$right of $count"; fi

check "eval-only" "$work/digits-train" --data "$data" --weights "$work/digits.safetensors" --eval-only
if grep -q "($correct of $images)" "$work/log"; then ok "eval-only says the same"; else not_ok "eval-only says the same" "$(cat "$work/log")"; fi

# broken off at an epoch's end and resumed: the bits of the whole run
train=("$work/digits-train" --data "$data" --epochs 5)
check "300 steps, then the rest" "${train[@]}" --steps 300 --save "$work/part.safetensors"
check "resume" "${train[@]}" --save "$work/part.safetensors" --resume
check_same "resume: same weights" "$work/digits.safetensors" "$work/part.safetensors"
"${train[@]}" --lr 0.3 --save "$work/part.safetensors" --resume >"$work/log" 2>&1
if [ $? -eq 2 ] && grep -qi 'learning rate\|lr' "$work/log"; then ok "resume with another lr is refused by name"
else not_ok "resume with another lr is refused by name" "$(head -1 "$work/log")"; fi

# a loss that is not finite stops training with the step, and keeps what was good
"${train[@]}" --lr 1e9 --save "$work/wild.safetensors" >"$work/log" 2>&1
code=$?
if [ $code -eq 1 ] && grep -q 'step' "$work/log"; then ok "a loss that is not finite stops training"
else not_ok "a loss that is not finite stops training" "exit code $code: $(tail -1 "$work/log")"; fi
check "its checkpoint is good" "$work/digits-train" --data "$data" --epochs 5 --lr 1e9 --checkpoint "$work/wild.checkpoint" --resume --eval-only

# another number of classes: the rest is kept
check "another head compiles" "$salunc" --train "$net" --batch 32 -D classes=12 -o "$work/head"
check "fine-tuning with --weights-allow" "$work/head" --data "$data" --weights "$work/digits.safetensors" --weights-allow 'fc.*' --steps 3 \
    --save "$work/head.safetensors"
finish
