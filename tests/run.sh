#!/usr/bin/env bash
# run.sh - builds the project three times and runs every test.
#
# usage: tests/run.sh [--quick] [--only SUITE]... [-j N] [--list]
#   --quick        the release build and fewer cases
#   --only SUITE   this suite alone (may be given several times)
#   -j N           so many jobs at once (default: the number of processors)
# Prints a line per suite and ends with `N passed, N failed`, exit code 1 when any failed. What cannot be run because a
# tool is missing fails. A target that the processor lacks is compiled, not run, and named. Builds and logs go to
# build/tests (or $SALUN_TEST_DIR).
set -u
cd "$(dirname "$0")/.."
root=$PWD
dir=${SALUN_TEST_DIR:-$root/build/tests}
jobs=$(nproc)
quick=
only=()

# name, what it needs (tool, release, sanitize, clang), seconds it may take, command
suites() {
    cat <<LIST
layers tool 60 tests/layers.sh
style tool 60 tests/style.sh
unit release 600 unit_tests release
unit-sanitize sanitize 900 unit_tests sanitize
unit-clang clang 600 unit_tests clang
lit release 600 lit_tests release
lit-sanitize sanitize 900 lit_tests sanitize
parity release 1500 tests/run/parity.py
random release 900 tests/run/random_nets.py
activations release 900 tests/run/activations.py
names release 300 tests/run/names.py
docs release 300 tests/run/docs.sh
bits release 900 tests/run/bits.py
int8 release 900 tests/run/int8.py
storage release 900 tests/run/storage.py
llvm release 1200 tests/run/llvm.py
without-llvm release 900 tests/run/without_llvm.sh
llvm-versions release 1200 tests/run/llvm_versions.sh
cross release 1200 tests/run/cross.sh
llvm-parity release 1200 SALUN_BACKEND=llvm tests/run/parity.py
llvm-random release 900 SALUN_BACKEND=llvm tests/run/random_nets.py
llvm-activations release 900 SALUN_BACKEND=llvm tests/run/activations.py
kill release 600 tests/run/kill.sh
outputs release 600 tests/run/outputs.sh
hostile sanitize 900 tests/run/hostile.py
api release 1500 tests/run/api.sh
digits release 600 tests/run/digits.sh
memory release 900 tests/run/memory.sh
command release 600 tests/run/command.sh
tour release 600 tests/run/tour.sh
tune release 300 tests/run/tune.sh
bench release 900 tests/run/bench.sh
quickstart tool 900 tests/run/quickstart.sh
fuzz tool 600 tests/run/fuzz.sh
LIST
}
quick_suites="layers style unit lit parity random activations names docs bits llvm api"

usage() {
    sed -n '2,/^set -u/{/^set -u/d;s/^# \{0,1\}//;p}' "$0"
}
while [ $# -gt 0 ]; do
    case $1 in
    --quick) quick=1 ;;
    --only) only+=("${2:?--only needs a suite}") && shift ;;
    --only=*) only+=("${1#*=}") ;;
    -j) jobs=${2:?-j needs a number} && shift ;;
    -j*) jobs=${1#-j} ;;
    --list) suites | cut -d' ' -f1 && exit ;;
    -h | --help) usage && exit ;;
    *) echo "run.sh: unknown option $1 (--help)" >&2 && exit 2 ;;
    esac
    shift
done

chosen() {
    if [ ${#only[@]} -gt 0 ]; then
        printf '%s\n' "${only[@]}" | grep -qx "$1"
    elif [ -n "$quick" ]; then
        printf '%s\n' $quick_suites | grep -qx "$1"
    fi
}
for name in "${only[@]}"; do
    suites | cut -d' ' -f1 | grep -qx "$name" || { echo "run.sh: no suite $name; --list names them" >&2 && exit 2; }
done

mkdir -p "$dir/logs" "$dir/work"
rm -f "$dir"/logs/*
export SALUN_QUICK=$quick SALUN_WORK=$dir/work SALUN_TEST_DIR=$dir
passed=0
failed=0
begin=$SECONDS

# ---- verdicts ----

# tell SUITE SECONDS EXIT_CODE: counts the lines of the suite's log, prints its line and what failed.
tell() {
    local log=$dir/logs/$1.log good bad
    good=$(grep -c '^ok ' "$log")
    bad=$(grep -c '^not ok ' "$log")
    if [ "$3" -ne 0 ] && [ "$bad" -eq 0 ]; then
        bad=1
        if [ "$3" -eq 124 ]; then echo "not ok $1: took longer than it may" >>"$log"
        else echo "not ok $1: ended with exit code $3: $(tail -n 2 "$log" | tr '\n' '|')" >>"$log"; fi
    elif [ "$good" -eq 0 ] && [ "$bad" -eq 0 ]; then
        bad=1
        echo "not ok $1: ran no test" >>"$log"
    fi
    passed=$((passed + good))
    failed=$((failed + bad))
    printf '%-16s %4d passed %4d failed %6d s\n' "$1" "$good" "$bad" "$2"
    grep '^not ok ' "$log" | head -20 | cut -c1-400 | sed 's/^/    /'
    [ "$bad" -le 20 ] || echo "    ... all in $log"
    grep '^note ' "$log" | sort -u | head -5 | cut -c1-200 | sed 's/^/    /'
}

# ---- tools ----

lit_program() {
    local found
    found=$(command -v lit || command -v llvm-lit) || found=$(ls -v /usr/lib/llvm-*/build/utils/lit/lit.py 2>/dev/null | tail -1)
    [ -n "$found" ] && echo "$found"
}
filecheck_program() {
    local found
    found=$(command -v FileCheck) || found=$(ls -v /usr/bin/FileCheck-* /usr/lib/llvm-*/bin/FileCheck 2>/dev/null | tail -1)
    [ -n "$found" ] && echo "$found"
}
llvm_config() {
    ls /usr/bin/llvm-config-1[4-9] /usr/bin/llvm-config-[2-9]? 2>/dev/null | grep .
}
have() {
    if "${@:2}" >/dev/null 2>&1; then echo "ok tool $1"; else echo "not ok tool $1: not found"; fi
}
compiles() {
    echo "#include <$2>" | "$1" -x c -include stdio.h -fsyntax-only -
}
check_tools() {
    local tool
    for tool in gcc clang cmake ninja flex bison pkg-config ctest git aarch64-linux-gnu-gcc qemu-aarch64 gdb; do have $tool command -v $tool; done
    have "python3 with numpy" /usr/bin/python3 -c 'import numpy'
    have lit lit_program
    have FileCheck filecheck_program
    have "llvm-config 14 or newer" llvm_config
    for tool in cmocka.h png.h jpeglib.h zlib.h; do
        if [ $tool = cmocka.h ]; then
            have $tool gcc -fsyntax-only -x c -include stdarg.h -include stddef.h -include stdint.h -include setjmp.h -include cmocka.h /dev/null
        else
            have $tool compiles gcc $tool
        fi
    done
}

# ---- builds ----

# build NAME COMPILER OPTIONS...: into $dir/NAME, installed to $dir/NAME/prefix.
build() {
    local name=$1 compiler=$2
    shift 2
    cmake -S "$root" -B "$dir/$name" -G Ninja -DCMAKE_C_COMPILER="$compiler" -DCMAKE_INSTALL_PREFIX="$dir/$name/prefix" "$@" &&
        ninja -C "$dir/$name" -j "$jobs" && cmake --install "$dir/$name" >/dev/null
}
build_config() {
    case $1 in
    release) build release gcc -DCMAKE_BUILD_TYPE=Release ;;
    sanitize) build sanitize clang -DCMAKE_BUILD_TYPE=Debug -DSALUN_SANITIZE=ON ;;
    clang) build clang clang -DCMAKE_BUILD_TYPE=Release ;;
    esac
}
run_build() {
    local log=$dir/logs/build-$1.log start=$SECONDS code=0
    build_config "$1" >"$log" 2>&1 || code=$?
    if [ $code -eq 0 ]; then
        echo "ok build $1" >>"$log"
        if grep -q ' warning: ' "$log"; then echo "not ok build $1 without warnings: $(grep -m1 ' warning: ' "$log")" >>"$log"
        else echo "ok build $1 without warnings" >>"$log"; fi
        built+=" $1 "
    else
        echo "not ok build $1: $(grep -m2 -E 'error|FAILED' "$log" | tr '\n' '|')" >>"$log"
    fi
    tell "build-$1" $((SECONDS - start)) $code
}

# ---- suites that are programs of the build ----

unit_tests() {
    local log
    log=$(mktemp)
    (cd "$dir/$1" && ctest -j 2 --verbose --timeout 600) >"$log" 2>&1
    sed -n 's/^[0-9]*: \[       OK \] /ok unit /p' "$log"
    sed -n 's/^[0-9]*: \[  FAILED  \] \([a-z0-9_]*\)$/not ok unit \1: see the log/p' "$log" | sort -u
    sed -n 's/^ *[0-9]*\/[0-9]* Test *#[0-9]*: \([^ ]*\) \.* *Passed.*/ok ctest \1/p' "$log"
    sed -n 's/^ *[0-9]*\/[0-9]* Test *#[0-9]*: \([^ ]*\) \.*[ *]*\(Failed\|Timeout\|Not Run\|Exception[^ ]*\|Subprocess.*\).*/not ok ctest \1: \2/p' "$log"
    grep -q 'No tests were found' "$log" && echo "not ok unit: no tests were found"
    cp "$log" "$dir/logs/unit-$1.ctest"
    rm -f "$log"
}

lit_tests() {
    local lit check log=$dir/logs/lit-$1.lit
    lit=$(lit_program) || { echo "not ok lit: not found" && return 1; }
    check=$(filecheck_program) || { echo "not ok FileCheck: not found" && return 1; }
    SALUNC=$dir/$1/prefix/bin/salunc FILECHECK=$check SALUN_LIT_WORK=$dir/work/lit-$1 \
        /usr/bin/python3 "$lit" -v -j "$jobs" "$root/tests/lit" >"$log" 2>&1
    sed -n 's/^PASS: \([^(]*\) (.*/ok lit \1/p' "$log"
    sed -n 's/^\(FAIL\|UNRESOLVED\|TIMEOUT\|XPASS\): \([^(]*\) (.*/not ok lit \2: see '"$(basename "$log")"'/p' "$log"
    sed -n 's/^UNSUPPORTED: \([^(]*\) (.*/not ok lit \1: a tool is missing/p' "$log"
    grep -qE '^(PASS|FAIL)' "$log" || tail -n 3 "$log"
}
export -f unit_tests lit_tests lit_program filecheck_program
export dir root jobs

# ---- all together ----

run_suite() {
    local name=$1 needs=$2 limit=$3 start=$SECONDS code=0 which=release
    shift 3
    [ "$needs" = tool ] || which=$needs
    if [ "$needs" != tool ] && [[ $built != *" $needs "* ]]; then
        echo "not ok $name: the build $needs failed" >"$dir/logs/$name.log"
        code=1
    else
        SALUNC=$dir/$which/prefix/bin/salunc SALUN_PREFIX=$dir/$which/prefix timeout -k 10 "$limit" \
            bash -c "$*" >"$dir/logs/$name.log" 2>&1 </dev/null || code=$?
    fi
    echo "$((SECONDS - start)) $code" >"$dir/logs/$name.end"
}

start=$SECONDS
check_tools >"$dir/logs/tools.log" 2>&1
tell tools $((SECONDS - start)) 0

plan=()
needed=" "
while read -r line; do
    set -- $line
    if [ ${#only[@]} -eq 0 ] && [ -z "$quick" ] || chosen "$1"; then
        plan+=("$line")
        needed+="$2 "
    fi
done < <(suites)
built=
for config in release sanitize clang; do
    [[ $needed == *" $config "* ]] && run_build $config
done

# As many suites at once as there are jobs, the long ones first; a line is printed when a suite ends.
running=0
pending=" "
finish_some() {
    local name
    for name in $pending; do
        [ -e "$dir/logs/$name.end" ] || continue
        tell "$name" $(cat "$dir/logs/$name.end")
        pending=${pending/ $name / }
    done
}
while read -r line; do
    set -- $line
    [ $# -gt 0 ] || continue
    run_suite "$@" &
    pending+="$1 "
    running=$((running + 1))
    if [ "$running" -ge "$jobs" ]; then
        wait -n
        running=$((running - 1))
        finish_some
    fi
done < <(printf '%s\n' "${plan[@]}" | sort -k3,3nr)
wait
finish_some
for name in $pending; do
    echo "not ok $name: left no result" >>"$dir/logs/$name.log"
    tell "$name" 0 1
done
echo "$((SECONDS - begin)) s, logs in $dir/logs"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
