# deploy.sh - train a network, deploy it, compare accuracies; sourced by digits.sh, mnist.sh and cifar.sh.

# deploy NAME NET DATA BATCH LEAST EPOCHS COMPILE_OPTIONS...: trains NET on DATA and requires a test accuracy of at least LEAST
# (in units of 1/10000); the inference binary must classify exactly as many test images correctly as training reported.
deploy() {
    local name=$1 net=$2 data=$3 batch=$4 least=$5 epochs=$6 start
    shift 6
    check "$name: compiles for training" "$salunc" --train "$net" --batch "$batch" "$@" -o "$work/$name-train" || return 1
    check "$name: compiles for inference" "$salunc" "$net" --batch 100 "$@" -o "$work/$name" || return 1
    start=$(date +%s.%N)
    check "$name: trains" "$work/$name-train" --data "$data" --epochs "$epochs" --save "$work/$name.safetensors" \
        --batch-log "$work/$name.steps" ${threads:+--threads "$threads"} || return 1
    seconds=$(echo "$(date +%s.%N) - $start" | bc 2>/dev/null || awk "BEGIN { print $(date +%s.%N) - $start }")
    correct=$(sed -n '$s/.*"test_correct": \([0-9]*\).*/\1/p' "$work/$name.jsonl")
    images=$(sed -n '$s/.*"test_images": \([0-9]*\).*/\1/p' "$work/$name.jsonl")
    loss=$(sed -n 's/.*"loss": \([0-9.e-]*\).*/\1/p' "$work/$name.jsonl" | tr '\n' ' ')
    echo "note $name: $correct of $images right after $epochs epochs, $(printf %.1f "$seconds") s, loss $loss"
    if [ "$((${correct:-0} * 10000))" -ge "$((least * ${images:-1}))" ]; then ok "$name: accuracy"
    else not_ok "$name: accuracy" "$correct of $images, wanted $least of 10000"; fi
    deployed=$(/usr/bin/python3 "$run_dir/accuracy.py" "$data" "$work/$name" "$work/$name.safetensors" 2>&1 | tail -1)
    if [ "$deployed" = "$correct of $images" ]; then ok "$name: the deployed program is exactly as accurate"
    else not_ok "$name: the deployed program is exactly as accurate" "$deployed, training said $correct of $images"; fi
}

# deploy_int8 NAME NET DATA COMPILE_OPTIONS...: behind deploy; --precision=int8, without calibration and with, loses less than half a
# point of the accuracy.
deploy_int8() {
    local name=$1 net=$2 data=$3 form right given
    shift 3
    for form in bounds calibrated; do
        given=()
        [ $form = calibrated ] && given=(--calibrate "$data" --weights "$work/$name.safetensors")
        check "$name: int8 by $form compiles" "$salunc" "$net" --batch 100 "$@" --precision=int8 "${given[@]}" -o "$work/$name-int8" || return 1
        right=$(/usr/bin/python3 "$run_dir/accuracy.py" "$data" "$work/$name-int8" "$work/$name.safetensors" 2>&1 | tail -1 | sed -n 's/ of .*//p')
        echo "note $name: int8 by $form: ${right:-none} of $images right, float32 $correct"
        if [ "$(((correct - ${right:-0}) * 200))" -lt "${images:-1}" ]; then ok "$name: int8 by $form is as accurate but for half a point"
        else not_ok "$name: int8 by $form is as accurate but for half a point" "$right of $images, float32 $correct"; fi
    done
}
