#!/usr/bin/env bash
# bench.sh - the bench itself: its help, wrong use, a short run of smallnet, and the form of what it writes. No times are judged.
. "$(dirname "$0")/lib.sh"
export SALUNC=$salunc
bench=$root/bench/run

check "bench/run --help" "$bench" --help
"$bench" --help >"$work/help" 2>&1
check "the help has examples and exit codes" grep -qE '^exit codes: 0 ' "$work/help"
check "bench/run --list" "$bench" --list
code=0
"$bench" --only 'no such row' --folder "$work/build" >/dev/null 2>&1 || code=$?
if [ $code -eq 2 ]; then ok "a pattern that matches nothing is wrong use"; else not_ok "a pattern that matches nothing is wrong use" "exit code $code"; fi

short=(--rounds 2 --seconds 0.01 --threads 1 --folder "$work/build")
check "smallnet" "$bench" "${short[@]}" --only smallnet --math strict --json "$work/results.json"
form() {
    /usr/bin/python3 - "$work/results.json" <<'PYTHON'
import json, sys
r = json.load(open(sys.argv[1]))
for key in ("date", "command", "machine", "peaks", "versions", "missing", "rows", "compilations"):
    assert key in r, key
assert r["peaks"]["1"] and all(p["best"] > 0 and p["unit"] for p in r["peaks"]["1"].values())
assert [(row["mode"], row["math"]) for row in r["rows"]] == [("infer", "strict"), ("step", "strict")], len(r["rows"])
for row in r["rows"]:
    ours, = row["contenders"]
    assert ours["name"] == "salun" and ours["peak_rss_mib"] > 0 and row["gflop"] > 0 and row["peak_gflops"] > 0, row["case"]
    assert 0 < ours["min_ms"] <= ours["median_ms"] <= ours["max_ms"] and ours["runs"] == len(ours["times_ms"]) >= 2, row["case"]
    work = 3 if row["mode"] == "step" else 1
    assert abs(row["gflop"] - work * 4 * 0.01146) < 0.001 * work, row["gflop"]
for c in r["compilations"]:
    assert c["salunc_s"] > 0 and c["object_bytes"] > 1000, c
PYTHON
}
check "its results have the form they should" form
check "sweep" "$bench" "${short[@]}" --sweep --quick --only 'groups|target portable' --backend gcc --json "$work/sweep.json"
tuned() {
    "$bench" "${short[@]}" --tune --only 'C-18 batch 1 inference' --backend gcc --json "$work/tuning.json" >"$work/tuning" &&
        grep -qE '^SaluNet-C-18 batch 1 inference +1 .* 14 +[0-9]+ +[0-9]+ *$' "$work/tuning"
}
check "tune" tuned
finish
