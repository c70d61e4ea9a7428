#!/usr/bin/env bash
# quickstart.sh - the README's first command, from a clean folder to the end.
. "$(dirname "$0")/lib.sh"
check "quickstart" "$root/examples/quickstart.sh" "$work/out"
tail -n 1 "$work/log" | sed 's/^/note /'
finish
