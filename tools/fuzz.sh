#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs one fuzzer from its seeds. What it finds to be new goes to a corpus beside the program, in
# the build directory; an input that fails is kept there too and named in the output.
#
# usage: [FUZZ_SECONDS=10] tools/fuzz.sh PROGRAM SEEDS [libFuzzer option...]
set -eu

program=$(realpath "$1")
seeds=$2
shift 2
[ -d "$seeds" ] || seeds=

mkdir -p "$program.corpus"
exec "$program" "$@" -max_total_time="${FUZZ_SECONDS:-10}" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="$program.failed-" "$program.corpus" $seeds
