#!/usr/bin/env bash
# fuzz.sh [SECONDS] - scanner, parser, elaboration and shape inference under libFuzzer, AddressSanitizer and UBSan, beginning with
# the networks and tests of the project; for 45 seconds in CI (10 when quick), as long as one likes by hand.
. "$(dirname "$0")/lib.sh"
seconds=${1:-45}
[ -n "${SALUN_QUICK:-}" ] && seconds=10
build=${SALUN_TEST_DIR:-$work}/fuzz
check "fuzz: configures" cmake -S "$root" -B "$build" -G Ninja -DCMAKE_C_COMPILER=clang -DCMAKE_BUILD_TYPE=Debug -DSALUN_SANITIZE=ON \
    -DSALUN_FUZZ=ON -DSALUN_TESTS=OFF
check "fuzz: builds" ninja -C "$build" -j 2 fuzz_front || finish
mkdir -p "$work/corpus"
check "fuzz: $seconds seconds" "$build/bin/fuzz_front" -dict="$root/tests/fuzz/snet.dict" -timeout=30 -rss_limit_mb=4096 \
    -max_total_time="$seconds" -artifact_prefix="$work/" "$work/corpus" "$root/tests/unit/snet" "$root/tests/errors" "$root/models"
echo "note fuzz: $(grep -o 'Done [0-9]* runs.*' "$work/log" || tail -n 1 "$work/log")"
finish
