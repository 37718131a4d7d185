#!/bin/sh
# SPDX-License-Identifier: MIT
# Builds and runs the tests; see run_tests.py, which this starts by the system's own Python.
set -eu
python=/usr/bin/python3
[ -x "$python" ] || python=python3
exec "$python" "$(dirname "$0")/run_tests.py" "$@"
