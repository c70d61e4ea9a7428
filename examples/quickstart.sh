#!/usr/bin/env bash
# quickstart.sh - from a fresh machine to a trained and deployed network in a few minutes: installs what is missing (Debian,
# as root), builds, compiles models/smallnet.snet to C, trains it on the digits in examples/data, and classifies pictures
# that it has never seen. Everything goes to build/quickstart (or the folder given as first argument).
set -eu
out=${1:-}
[ -z "$out" ] || { mkdir -p "$out" && out=$(cd "$out" && pwd); }
cd "$(dirname "$0")/.."
out=${out:-$PWD/build/quickstart}
mkdir -p "$out"
packages="gcc libc6-dev cmake ninja-build flex bison pkg-config libpng-dev libjpeg62-turbo-dev zlib1g-dev"

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[ -t 1 ] || say() { printf '\n%s\n' "$*"; }
fail() { echo "quickstart: $*" >&2 && exit 1; }
# quietly LOG COMMAND...: shows the log only when the command fails.
quietly() {
    local log=$1
    shift
    "$@" >"$log" 2>&1 || { tail -n 20 "$log" >&2 && fail "failed: $* (all of it in $log)"; }
}

say "1  tools"
missing=
for package in $packages; do
    dpkg-query -W -f '${Status}\n' "$package" 2>/dev/null | grep -q '^install ok installed' || missing+=" $package"
done
if [ -z "$missing" ]; then
    echo "all there"
elif command -v apt-get >/dev/null && [ "$(id -u)" -eq 0 ]; then
    echo "installing$missing"
    export DEBIAN_FRONTEND=noninteractive
    quietly "$out/apt.log" apt-get update
    quietly "$out/apt.log" apt-get install -y --no-install-recommends $missing
elif command -v dpkg-query >/dev/null; then
    fail "these packages are missing; as root: apt-get install$missing"
else
    echo "not a Debian machine: trusting that these are there:$missing"
fi

say "2  the compiler"
quietly "$out/build.log" cmake -S . -B "$out/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DSALUN_TESTS=OFF -DSALUN_LLVM=OFF -DCMAKE_INSTALL_PREFIX="$out"
quietly "$out/build.log" cmake --build "$out/build"
quietly "$out/build.log" cmake --install "$out/build"
salunc=$out/bin/salunc
echo "$salunc"

say "3  models/smallnet.snet becomes a C program that trains"
echo "\$ salunc --train models/smallnet.snet --batch 32 -o train"
"$salunc" --train models/smallnet.snet --batch 32 -o "$out/smallnet-train.c"
"$salunc" --train models/smallnet.snet --batch 32 -o "$out/train"
echo "$(wc -l <"$out/smallnet-train.c") lines of C, compiled"

say "4  training on 4,000 digits (examples/data/digits)"
echo "\$ ./train --data examples/data/digits --epochs 6 --overwrite --save w.safetensors"
"$out/train" --data examples/data/digits --epochs 6 --overwrite --save "$out/w.safetensors"

say "5  the program to deploy: network and weights in one file"
echo "\$ salunc models/smallnet.snet --embed-weights w.safetensors -o digits"
"$salunc" models/smallnet.snet --embed-weights "$out/w.safetensors" -o "$out/digits"
strip -o "$out/digits.stripped" "$out/digits" && mv "$out/digits.stripped" "$out/digits"
echo "$(($(wc -c <"$out/digits") / 1024)) KiB"

say "6  pictures that were held out"
echo "\$ ./digits --top 1 examples/data/digits/pictures/*.png"
"$out/digits" --top 1 examples/data/digits/pictures/*.png >"$out/answers"
right=0
count=0
while read -r picture && read -r share _ _ answer; do
    name=${picture##*/}
    label=${name##*label-}
    label=${label%.png}
    mark=
    count=$((count + 1))
    if [ "$answer" = "$label" ]; then right=$((right + 1)); else mark="   but it is $label"; fi
    printf '  %s  %s  %6s %%%s\n' "$name" "$answer" "$share" "$mark"
done <"$out/answers"
say "$right of $count pictures right, with a program of $(($(wc -c <"$out/digits") / 1024)) KiB"
[ "$count" -gt 0 ] && [ $((right * 10)) -ge $((count * 8)) ]
