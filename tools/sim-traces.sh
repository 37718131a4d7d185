#!/bin/sh
# SPDX-License-Identifier: MIT
# Writes tests/sim/expected_traces.txt anew, after a change of the library or of a scenario that is
# meant to change what simulations do. Every build must come to the same: `make test` looks.
#
# usage: tools/sim-traces.sh [BUILD-DIRECTORY]
set -eu

cd "$(dirname "$0")/.."
directory=${1:-build-sim}
if [ $# -eq 0 ]; then
    tools/build.sh "$directory" -Dtests=disabled -Dexamples=false -Dsim=true -Dchecks=true
fi
WEFT="$PWD/$directory/apps/weft/weft" WEFT_SIM_PROGRAMS="$PWD/$directory/tests/sim" \
    /usr/bin/python3 tests/cli/test_sim_determinism.py --write
