# lib.sh - what the end-to-end suites written in bash share; they source it. Every test prints `ok NAME` or
# `not ok NAME: reason`; tests/run.sh counts these lines. SALUNC is the compiler, SALUN_QUICK asks for fewer cases.
run_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$run_dir/../.." && pwd)
salunc=${SALUNC:-salunc}
passed=0
failed=0
if [ -n "${SALUN_WORK:-}" ]; then
    work=$SALUN_WORK/$(basename "$0" .sh)
    rm -rf "$work"
    mkdir -p "$work"
else
    work=$(mktemp -d "${TMPDIR:-/tmp}/salun-$(basename "$0" .sh).XXXXXX")
    trap 'rm -rf "$work"' EXIT
fi

ok() {
    passed=$((passed + 1))
    echo "ok $1"
}

not_ok() {
    failed=$((failed + 1))
    echo "not ok $1: ${2:-}"
}

# check NAME COMMAND...: the command succeeds; else its last lines are the reason.
check() {
    local name=$1
    shift
    if "$@" >"$work/log" 2>&1; then
        ok "$name"
    else
        not_ok "$name" "exit code $? from $*: $(tail -n 3 "$work/log" | tr '\n' '|')"
        return 1
    fi
}

# check_same NAME FILE FILE: equal, byte for byte.
check_same() {
    if cmp -s "$2" "$3"; then
        ok "$1"
    else
        not_ok "$1" "$(cmp "$2" "$3" 2>&1 | head -1)"
        return 1
    fi
}

finish() {
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
    exit
}
