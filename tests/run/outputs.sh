#!/usr/bin/env bash
# outputs.sh - training beside other processes: data that is cut short while it is mapped, a training that was broken off and is begun
# again, two trainings that write to one file; evaluation data alone; names of inputs.
. "$(dirname "$0")/lib.sh"
net=$root/models/smallnet.snet
digits=$root/examples/data/digits
check "compiles" "$salunc" --train "$net" --batch 8 -o "$work/train" || finish
train=$work/train
cd "$work" || exit 1

# ends CODE WORDS NAME COMMAND...: the exit code, and words on stderr.
ends() {
    local want=$1 words=$2 name=$3
    shift 3
    "$@" >"$work/out" 2>"$work/err"
    local code=$?
    if [ $code -eq "$want" ] && grep -qE -- "$words" "$work/out" "$work/err"; then ok "$name"
    else not_ok "$name" "exit code $code, not $want with '$words': $(tail -n 2 "$work/err" | tr '\n' '|')"; fi
}
# until_there FILE: half a minute at most.
until_there() {
    for _ in $(seq 300); do
        [ -s "$1" ] && return
        sleep 0.1
    done
}

# ---- data that is cut short ----

/usr/bin/python3 - <<'PYTHON'
import numpy as np
draw = np.random.default_rng(5)
np.save("images.npy", draw.normal(size=(4000, 1, 28, 28)).astype(np.float32))
np.save("labels.npy", draw.integers(0, 10, 4000).astype(np.int32))
PYTHON
cp images.npy whole.npy
data=(--data npy:images.npy,labels.npy --epochs 1 --seed 2 --threads 2)
check "the whole training" "$train" "${data[@]}" --save want.safetensors
"$train" "${data[@]}" --save cut.safetensors --batch-log cut.steps --checkpoint-every 0 2>cut.err &
child=$!
until_there cut.steps
truncate -s 100000 images.npy
wait $child
code=$?
if [ $code -eq 2 ] && grep -q 'images.npy: the file was cut short while it was read' cut.err; then ok "images cut short end training"
else not_ok "images cut short end training" "exit code $code: $(tail -n 2 cut.err | tr '\n' '|')"; fi
cp whole.npy images.npy
check "the checkpoint is there, and goes on" "$train" "${data[@]}" --save cut.safetensors --batch-log cut.steps --resume
check_same "to the same weights" want.safetensors cut.safetensors
ends 2 'images.npy' "images that were cut before" sh -c "truncate -s 100000 images.npy; '$train' --data npy:images.npy,labels.npy --save no.safetensors"

# ---- a training that was broken off ----

long=(--data "$digits" --epochs 30 --seed 2 --checkpoint-every 0)
"$train" "${long[@]}" --save own.safetensors --batch-log own.steps 2>own.err &
child=$!
until_there own.steps
ends 2 'own.safetensors: another training is writing here' "two trainings to one file" "$train" "${long[@]}" --save own.safetensors
ends 2 'another training is writing here' "two by two names of one file" sh -c "'$train' --data '$digits' --save ./own.safetensors"
ends 2 'own.checkpoint: another training' "two to one checkpoint" "$train" "${long[@]}" --save other.safetensors --checkpoint own.checkpoint
ends 0 'accuracy' "evaluation beside a training" "$train" --data "$digits" --eval-only --resume --checkpoint own.checkpoint --save own.safetensors
kill -9 $child
wait $child 2>/dev/null
cp own.checkpoint kept.checkpoint
cp own.jsonl kept.jsonl
ends 2 'own.checkpoint: a training that is not finished.*--resume.*--overwrite' "begun again" "$train" "${long[@]}" --save own.safetensors
check_same "the checkpoint is as it was" kept.checkpoint own.checkpoint
check_same "the log is as it was" kept.jsonl own.jsonl
ends 2 'give one of them' "--resume and --overwrite" "$train" "${long[@]}" --save own.safetensors --resume --overwrite
ends 0 'resumed at step' "--resume with --steps to its end" "$train" "${long[@]}" --save own.safetensors --resume --steps 1
cp kept.checkpoint own.checkpoint
ends 0 '' "--overwrite" "$train" --data "$digits" --seed 2 --steps 3 --save own.safetensors --overwrite
ends 0 '' "a finished training may be begun again" "$train" --data "$digits" --seed 2 --steps 3 --save own.safetensors
if ls ./*.lock >/dev/null 2>&1; then not_ok "no locks are left" "$(ls ./*.lock)"; else ok "no locks are left"; fi

# ---- evaluation ----

"$train" --data "$digits" --weights own.safetensors --eval-only >by-data 2>/dev/null
check "--val-data alone" sh -c "'$train' --val-data '$digits' --weights own.safetensors --eval-only >by-val-data"
check_same "the same numbers" by-data by-val-data

# ---- inputs of one number, and files with = in their names ----

printf 'network Line(x: f32[N]) {\n  return x |> reshape([1]) |> linear(2) as fc\n}\n\ntrain Line {\n  data mnist(batch = 2)\n  loss cross_entropy\n  optimizer sgd(lr = 0.1)\n  epochs 1\n}\n' >line.snet
/usr/bin/python3 - <<'PYTHON'
import numpy as np
for name in ("line.npy", "a=b.npy"):
    np.save(name, np.float32([1, -2, 3]))
np.save("classes.npy", np.int32([0, 1, 0]))
PYTHON
check "initial weights" "$salunc" init line.snet -o line.safetensors
check "f32[N]: salunc eval" "$salunc" eval line.snet --weights line.safetensors --input line.npy --output want.npy
check "f32[N]: salunc run" "$salunc" run line.snet --math=strict --weights line.safetensors --input line.npy --output have.npy
check "f32[N]: the same scores" /usr/bin/python3 -c "import numpy as np; a, b = np.load('want.npy'), np.load('have.npy'); assert a.shape == (3, 2) and np.allclose(a, b, atol=1e-6)"
check "f32[N]: training" "$salunc" train line.snet --data npy:line.npy,classes.npy --save trained.safetensors
for file in line.npy a=b.npy x=line.npy x=a=b.npy; do
    check "--input $file: gradients" "$salunc" eval line.snet --weights line.safetensors --input $file --labels classes.npy --gradients g.safetensors
    cp g.safetensors "g-$file"
    check_same "--input $file: the same gradients" g-line.npy "g-$file"
done
finish
