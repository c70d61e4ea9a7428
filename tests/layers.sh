#!/usr/bin/env bash
# layers.sh - includes go one way: support <- syntax <- graph <- interp, passes <- kernel <- backend <- driver; grammar/
# includes syntax only; runtime/ and compiler/ include nothing of each other; runtime/ never includes train/, app/ or
# picture/ from its base. The driver alone joins both: it includes the runtime's headers too. Prints one line per room, exit code 1 when any is broken.
set -u
cd "$(dirname "$0")/.."
failed=0

# Rooms that a room may include besides itself.
allowed() {
    case $1 in
    compiler/support) echo support ;;
    compiler/syntax) echo support syntax ;;
    compiler/graph) echo support syntax graph ;;
    compiler/interp) echo support syntax graph interp ;;
    compiler/passes) echo support syntax graph passes ;;
    compiler/kernel) echo support syntax graph passes kernel ;;
    compiler/backend) echo support syntax graph passes kernel backend ;;
    compiler/driver) echo support syntax graph interp passes kernel backend driver app train ;;
    grammar) echo support syntax ;;
    esac
}

# Lines FILE:INCLUDED of every quoted include below a folder.
includes() {
    find "$1" -maxdepth "${2:-9}" \( -name '*.[chly]' -o -name '*.inc' -o -name '*.def' \) -print0 |
        xargs -0 -r sed -n 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*"\([^"]*\)".*/\1/p;' --separate 2>/dev/null
}

report() {
    if [ -n "$2" ]; then
        failed=$((failed + 1))
        echo "not ok layers $1: includes $(echo "$2" | sort -u | tr '\n' ' ')"
    else
        echo "ok layers $1"
    fi
}

for room in compiler/*/ grammar/; do
    room=${room%/}
    rooms=$(allowed "$room")
    [ "$room" = compiler/prelude ] && continue
    if [ -z "$rooms" ]; then
        report "$room" "nothing known of this room: add it to tests/layers.sh"
        continue
    fi
    wrong=$(includes "$room" | grep / | grep -Ev "^($(echo "$rooms" | tr ' ' '|'))/")
    [ "$room" = compiler/driver ] || wrong+=$(includes "$room" | grep -E '^(salun|model|base|weights|train/|app/|picture/|\.\./)' | grep -v '^model.h$' || true)
    report "$room" "$wrong"
done
report "runtime (base)" "$(includes runtime 1 | grep -E '/|\.\.')"
for part in runtime/*/; do
    part=${part%/}
    own=$(basename "$part")
    others=support\|syntax\|graph\|interp\|passes\|kernel\|backend\|driver
    wrong=$(includes "$part" | grep -E "^($others)/|\.\.")
    [ "$own" != app ] && wrong+=$(includes "$part" | grep / | grep -Ev "^$own/")
    [ "$own" = app ] && wrong+=$(includes "$part" | grep / | grep -Ev "^(app|picture)/")
    report "$part" "$wrong"
done
[ "$failed" -eq 0 ]
