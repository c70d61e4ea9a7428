#!/usr/bin/env bash
# tour.sh - what README.md shows, done: its files are written, its commands run in order (`Five minutes` to `Deploy`; all but the
# build itself), with one epoch of training where it takes more.
. "$(dirname "$0")/lib.sh"
readme=$root/README.md
mkdir -p "$work/tour" "$work/home"
ln -sfn "${SALUN_PREFIX:?}" "$work/home/salun"
ln -sfn "$root/models" "$work/tour/models"
ln -sfn "$root/examples" "$work/tour/examples"

# Fenced blocks: those that begin with the name of a file become it, blocks of commands become 01.sh, 02.sh, ...
awk -v dir="$work/tour" '
    /^## / { inside = /Five minutes|Deploy/ }
    /^```/ { if (open) { open = 0; close(out); next }
             open = 1; first = 1; out = ""
             kind = substr($0, 4)
             if (kind == "sh" && inside) { out = sprintf("%s/%02d.sh", dir, ++count) }
             next }
    open && first && kind != "sh" && match($0, /[a-z0-9_]+\.(snet|c)/) { out = dir "/" substr($0, RSTART, RLENGTH) }
    open { first = 0; if (out != "") print > out }' "$readme"

blocks=0
for block in "$work"/tour/*.sh; do
    grep -q 'cmake -S' "$block" && continue
    sed -i 's/--epochs [0-9]*/--epochs 1/' "$block"
    blocks=$((blocks + 1))
    check "README: $(grep -m1 . "$block")" env HOME="$work/home" PATH="$SALUN_PREFIX/bin:$PATH" bash -ec "cd '$work/tour'; . '$block'"
done
if [ "$blocks" -ge 5 ]; then ok "README: $blocks blocks of commands"; else not_ok "README: blocks of commands" "only $blocks were found"; fi
if [ -x "$work/tour/answer" ]; then check "README: the C program runs" bash -c "cd '$work/tour' && ./answer"; else not_ok "README: the C program runs" "there is none"; fi
finish
