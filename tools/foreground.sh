#!/bin/bash
# SPDX-License-Identifier: MIT
# Runs a program from a make recipe so that make reports the program's own exit status.
#
# Ctrl-C goes to every process of the terminal's foreground group, and make, although the program
# has drained and exited 0, then dies of it too. So on a terminal the program gets a foreground
# group of its own; and a SIGTERM, should it hit this shell when make passes it on, reaches the
# program as the death of its parent.
#
# usage: tools/foreground.sh PROGRAM [ARGUMENT...]
if [ ! -t 0 ]; then
    exec "$@"
fi
set -m
setpriv --pdeathsig TERM -- "$@"
exit $?
