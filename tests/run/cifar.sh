#!/usr/bin/env bash
# cifar.sh CIFAR10_DIR [WIDTH [EPOCHS]] - check on CIFAR-10 (not in CI): resnet18 with salu and swalu, narrower (default 16), trains for
# one epoch by the file's own recipe with falling loss, all numbers finite, and is deployed with exactly that accuracy, or by bytes with
# half a point less at most.
. "$(dirname "$0")/lib.sh"
. "$run_dir/deploy.sh"
data=${1:?usage: cifar.sh CIFAR10_DIR [WIDTH [EPOCHS]]}
width=${2:-16}
epochs=${3:-1}
threads=2
net=$root/models/resnet18.snet
options=(-D norm=salu -D act=swalu -D "width=$width")
deploy cifar "$net" "$data" 128 2000 "$epochs" "${options[@]}"
deploy_int8 cifar "$net" "$data" "${options[@]}"

# the loss falls: its mean over the last tenth of the steps is below that over the first, and every one is a number
sed -n 's/.*"loss": \([^,]*\),.*/\1/p' "$work/cifar.steps" >"$work/losses"
if awk '{ v[NR] = $1; if ($1 + 0 != $1) bad = 1 } END { n = int(NR / 10); for (i = 1; i <= n; i++) { a += v[i]; b += v[NR - i + 1] }
    print a / n, b / n; exit bad || NR < 100 || !(b < 0.95 * a) }' "$work/losses" >"$work/means"; then
    ok "cifar: the loss falls ($(cat "$work/means"))"
else
    not_ok "cifar: the loss falls" "$(cat "$work/means")"
fi
finish
