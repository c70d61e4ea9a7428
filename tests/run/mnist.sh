#!/usr/bin/env bash
# mnist.sh MNIST_DIR [EPOCHS] - check on all of MNIST (not in CI): smallnet reaches 99.0 % on the test images, in under 5 minutes
# on 2 cores, and the deployed program gives exactly that accuracy. examples/data/fetch.sh fetches the data.
. "$(dirname "$0")/lib.sh"
. "$run_dir/deploy.sh"
data=${1:?usage: mnist.sh MNIST_DIR [EPOCHS]}
threads=2
deploy mnist "$root/models/smallnet.snet" "$data" 64 9900 "${2:-4}"
if [ -n "${seconds:-}" ] && awk "BEGIN { exit !($seconds < 300) }"; then ok "mnist: under 5 minutes"
else not_ok "mnist: under 5 minutes" "${seconds:-no} s"; fi
finish
