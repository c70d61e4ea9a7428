#!/usr/bin/env bash
# style.sh - what of the house style a machine can see: a file has at most 900 lines, opens with a comment, holds no TODO,
# no tabs, no trailing blanks, no place of one machine; every room has its README and CMakeLists.txt. One line per check.
set -u
cd "$(dirname "$0")/.."
failed=0
report() {
    if [ -n "$2" ]; then
        failed=$((failed + 1))
        echo "not ok style $1: $(echo "$2" | head -5 | tr '\n' ' ')"
    else
        echo "ok style $1"
    fi
}
list() {
    git ls-files "$@" 2>/dev/null | grep . || find . -path ./build\* -prune -o -path ./.git -prune -o -type f -print | sed 's,^\./,,'
}
mapfile -t code < <(list | grep -E '\.(c|h|l|y|inc|def|py|sh|snet)$|CMakeLists.txt$' | grep -v '^tests/errors/')
mapfile -t sources < <(printf '%s\n' "${code[@]}" | grep -E '\.(c|h|inc|def)$')
mapfile -t text < <(list | grep -Ev '\.(golden|png|gz|jpg|ppm|csv|npy)$')

report "at most 900 lines" "$(wc -l "${code[@]}" | awk '$2 != "total" && $1 > 900 { print $2 " (" $1 ")" }')"
report "no TODO" "$(grep -lE '\b(TODO|FIXME|XXX)\b' "${code[@]}" | grep -v '^tests/style.sh$')"
report "no tabs, no trailing blanks" "$(grep -lP '\t|[ \r]+$' "${sources[@]}")"
report "a file opens with a comment" "$(for f in "${sources[@]}"; do head -1 "$f" | grep -qE '^(/\*|//)' || echo "$f"; done)"
report "no place of one machine" "$(grep -lE '(^|[^A-Za-z0-9_}])/(work|home|root)/[a-z]' "${text[@]}" | grep -v '^tests/style.sh$')"
report "a README and a CMakeLists.txt in every room" "$(for room in compiler/*/; do
    [ "$room" = compiler/prelude/ ] && continue
    for f in README.md CMakeLists.txt; do [ -e "$room$f" ] || echo "$room$f"; done
done)"
report "LICENSE and README" "$(for f in LICENSE README.md docs/language.md docs/internals.md; do [ -e "$f" ] || echo "$f"; done)"
[ "$failed" -eq 0 ]
