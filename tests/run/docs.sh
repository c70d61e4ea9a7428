#!/usr/bin/env bash
# docs.sh - the examples of the documentation: every snet block whose first line is `# NAME.snet` is a file. Those that
# declare a network or a variant must pass `salunc check`; where a text block follows, the diagnostics must be those it shows.
# A c block whose first line is `/* answer.c */` must compile with smallnet and run. Links between pages must lead somewhere.
source "$(dirname "$0")/lib.sh"
pages="$root/README.md $(echo "$root"/docs/*.md)"

# Writes NAME.snet, and NAME.snet.expected where a text block with diagnostics follows.
extract() {
    awk -v dir="$work" '
        /^```snet/ { getline; if ($0 ~ /^# [a-z0-9_]+\.snet$/) { file = dir "/" $2; last = file; print > file } else file = ""; inside = 1; next }
        /^```c$/   { getline; file = $0 == "/* answer.c */" ? dir "/" $2 : ""; inside = 1; if (file != "") print > file; next }
        /^```text/ { inside = 1; file = last != "" ? last ".expected" : ""; last = ""; next }
        /^```/     { if (file != "") close(file); file = ""; inside = 0; next }
        !inside && NF { last = "" }
        inside && file != "" { print > file }
    ' "$1"
}
for page in $pages; do
    [ -e "$page" ] && extract "$page"
done

cd "$work" || exit 1
ln -s "$root/models" models
for file in *.snet; do
    if [ -e "$file.expected" ]; then
        "$salunc" check "$file" 2>"$file.told"
        code=$?
        if [ $code -ne 1 ]; then not_ok "docs $file" "exit code $code, not 1"
        else check_same "docs $file" "$file.expected" "$file.told"; fi
        continue
    fi
    if grep -q '^\(network\|variant\) ' "$file"; then
        check "docs $file" "$salunc" check "$file"
    fi
done

answer() {
    local config
    config=$(dirname "$(find "${SALUN_PREFIX:?}" -name salun.pc | head -1)")
    export PKG_CONFIG_PATH=$config
    "$salunc" "$root/models/smallnet.snet" --batch 16 -o smallnet.c && "$salunc" init "$root/models/smallnet.snet" -o w.safetensors &&
        ${CC:-cc} -Wall -Wextra -Werror $(pkg-config --cflags salun) -I. -o answer answer.c smallnet.c $(pkg-config --libs salun) &&
        ./answer >answer.out && [ "$(grep -c . answer.out)" -eq 10 ]
}
check "docs answer.c" answer

# The anchor that a heading gets: lower case, no punctuation, hyphens for spaces.
anchors() {
    sed -n 's/^##* //p' "$1" | tr 'A-Z' 'a-z' | sed 's/[^a-z0-9 _-]//g; s/ /-/g'
}
for page in $pages; do
    [ -e "$page" ] || continue
    broken=
    for link in $(grep -o '](\([^)]*\))' "$page" | sed 's/^](//; s/)$//' | grep -v '^https\?:'); do
        target=${link%%#*}
        target=${target:+$(dirname "$page")/$target}
        target=${target:-$page}
        if [ ! -e "$target" ]; then broken+=" $link"
        elif [[ $link == *#* ]] && ! anchors "$target" | grep -qx -e "${link#*#}"; then broken+=" $link"; fi
    done
    if [ -z "$broken" ]; then ok "docs links of ${page#"$root/"}"
    else not_ok "docs links of ${page#"$root/"}" "broken:$broken"; fi
done
finish
