#!/bin/sh
# SPDX-License-Identifier: MIT
# Configures a build directory when that is needed and builds it. Needed means: it is new, its
# options changed, or files came or went (the meson.build files ask tools/sources.sh for theirs).
#
# usage: tools/build.sh DIRECTORY [meson setup option...]
set -eu

cd "$(dirname "$0")/.."
directory=$1
shift

# Ninja has no lock of its own, and two builds in one directory spoil each other.
mkdir -p "$directory"
exec 9>"$directory/.lock"
flock 9

state=$directory/.configured
now=$(
    echo "$@"
    echo "${CC:-} ${CXX:-} ${CFLAGS:-} ${LDFLAGS:-}"
    tools/sources.sh all
)
if [ ! -f "$directory/build.ninja" ]; then
    rm -f "$state"
    tools/meson.sh setup "$directory" "$@" >"$directory/setup.log" 2>&1 || {
        cat "$directory/setup.log" >&2
        exit 1
    }
elif [ "$now" != "$(cat "$state" 2>/dev/null)" ]; then
    rm -f "$state"
    tools/meson.sh setup --reconfigure "$directory" "$@" >"$directory/setup.log" 2>&1 || {
        cat "$directory/setup.log" >&2
        exit 1
    }
fi
printf '%s\n' "$now" >"$state"

ninja -k 0 -C "$directory" ${JOBS:+-j "$JOBS"} --quiet
