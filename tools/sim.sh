#!/bin/sh
# SPDX-License-Identifier: MIT
# Builds, with debug checks, and runs every scenario of tests/sim/ over many seeds. A scenario with
# a planted mistake must fail, so those are left to tests/cli/. The report of each is kept in
# build-sim/sim-logs/, of a failure with the whole trace of its replay. The last line is
# "N passed, N failed"; the exit status is 0 only if none failed and some ran.
#
# usage: [SEEDS=N] [FIRST=F] [JOBS=J] tools/sim.sh [NAME...]
set -u

cd "$(dirname "$0")/.."
directory=build-sim
logs=$directory/sim-logs
passed=0
failed=0
[ -n "${JOBS:-}" ] || unset JOBS
tools/build.sh $directory -Dtests=disabled -Dexamples=false -Dsim=true -Dchecks=true || exit 1
mkdir -p "$logs"

# `weft sim` tells what it has found before it ends; only then does this script.
trap : INT TERM
for source in tests/sim/scenario_*.c; do
    name=$(basename "$source" .c)
    case $name in
    scenario_planted_* | 'scenario_*') continue ;;
    esac
    if [ $# -gt 0 ]; then
        case " $* " in
        *" $name "* | *" ${name#scenario_} "*) ;;
        *) continue ;;
        esac
    fi
    start=$(date +%s)
    $directory/apps/weft/weft sim --seeds "${SEEDS:-300}" --first "${FIRST:-1}" \
        ${JOBS:+--jobs "$JOBS"} --trace "$logs/$name.trace" \
        "$directory/tests/sim/$name" >"$logs/$name.log"
    status=$?
    seconds=$(($(date +%s) - start))
    if [ $status -eq 0 ]; then
        passed=$((passed + 1))
        mark='ok  '
    else
        failed=$((failed + 1))
        mark=FAIL
        sed 's/^/|   /' "$logs/$name.log"
    fi
    printf '%s %-40s %s  %d s\n' "$mark" "${name#scenario_}" "$(tail -n 1 "$logs/$name.log")" \
        "$seconds"
    [ $status -lt 128 ] || break
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ] && [ $passed -gt 0 ]
