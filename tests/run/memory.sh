#!/usr/bin/env bash
# memory.sh - training memory: what SaluNet-C-18 keeps stays below a bound, --memory holds what it promises, and weights
# are the same to the bit whatever is computed again.
. "$(dirname "$0")/lib.sh"

# block NET BATCH OPTION...: bytes of the values of a training program
block() {
    local net=$1 batch=$2
    shift 2
    "$salunc" --train "$net" --batch "$batch" "$@" --emit=plan 2>"$work/log" | sed -n 's/^block \([0-9]*\) bytes.*/\1/p'
}

# below NAME BYTES LIMIT
below() {
    if [ -n "$2" ] && [ "$2" -le "$3" ]; then ok "$1"; else not_ok "$1" "${2:-nothing} of $3 bytes: $(tail -n 1 "$work/log")"; fi
}

# A quarter of the 2007 MiB that PyTorch is resident with, less 135 MB for weights, gradients and momentum.
resnet=$root/models/resnet18.snet
for target in avx512 avx2 portable; do
    below "SaluNet-C-18, batch 128, $target" "$(block "$resnet" 128 --target=$target)" 390000000
done
below "SaluNet-C-18, batch 128, within 280 MB" "$(block "$resnet" 128 --target=avx512 --memory=280M)" 280000000
kept=$(block "$resnet" 128 --target=avx512 -O0)
if [ "$kept" -gt 700000000 ]; then ok "-O0 keeps everything"; else not_ok "-O0 keeps everything" "$kept bytes"; fi

"$salunc" --train "$resnet" --batch 128 --memory=50M --emit=plan >"$work/out" 2>"$work/log"
if [ $? -eq 1 ] && grep -q 'are not enough .* the least is [0-9]*$' "$work/log"; then ok "too little is said"
else not_ok "too little is said" "$(head -n 1 "$work/log")"; fi

# A deep narrow network on the shipped digits, 20 steps: the same weights.
cat >"$work/deep.snet" <<'NET'
network Deep(image: f32[N, 1, 28, 28]; act = swalu) {
  preprocess image = normalize([0.1307], [0.3081])
  x = image |> conv(8, 3) as conv0 |> salu as norm0 |> act as act0
  for i in 0..8 {
    h = x |> conv(8, 3) as conv{2 * i + 1} |> salu as norm{2 * i + 1} |> act as act{2 * i + 1}
          |> conv(8, 3) as conv{2 * i + 2} |> batchnorm as norm{2 * i + 2}
    x = h + x |> relu as act{2 * i + 2}
  }
  return x |> maxpool(2) |> dropout(0.1) as drop |> global_avgpool |> linear(10) as fc
}
train Deep {
  data      mnist(batch = 32)
  loss      cross_entropy(smoothing = 0.1)
  optimizer sgd(lr = 0.05, momentum = 0.9)
  clip      norm(1)
  schedule  warmup(1)
  epochs    1
}
NET
all=$(block "$work/deep.snet" 32)
"$salunc" --train "$work/deep.snet" --memory=1 --emit=plan >"$work/out" 2>"$work/log"
least=$(sed -n 's/.*the least is \([0-9]*\)$/\1/p' "$work/log")
below "a deep network fits in half" "$least" $((all / 2))
for memory in "" $((all * 3 / 4)) "$least"; do
    name=kept$memory
    check "compile ${memory:-without a bound}" "$salunc" --train "$work/deep.snet" ${memory:+--memory=$memory} -o "$work/$name"
    check "train ${memory:-without a bound}" "$work/$name" --data "$root/examples/data/digits" --steps 20 --save "$work/$name.safetensors"
    [ -z "$memory" ] || check_same "the same weights within $memory bytes" "$work/kept.safetensors" "$work/$name.safetensors"
done
finish
