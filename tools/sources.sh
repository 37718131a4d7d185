#!/bin/sh
# SPDX-License-Identifier: MIT
# Lists source files, one a line, sorted, relative to the directory asked for: what the meson.build
# files build. Meson runs it when it configures; tools/build.sh runs it with "all" to see whether
# the list has changed since.
#
# usage: tools/sources.sh DIRECTORY [find expression...] | tools/sources.sh all
set -eu

cd "$(dirname "$0")/.."
if [ "$1" = all ]; then
    for directory in src include apps examples bench tests fuzz man; do
        if [ -d "$directory" ]; then
            find "$directory" -type f ! -name '.*' ! -name '*.md' ! -path '*/__pycache__/*'
        fi
    done | LC_ALL=C sort
    exit
fi

[ -d "$1" ] || exit 0
cd "$1"
shift
find . -type f ! -name '.*' "$@" | sed 's|^\./||' | LC_ALL=C sort
