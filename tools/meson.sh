#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs Meson: Debian's before any other in PATH, because its own Python goes with it.
set -eu
meson=${MESON:-/usr/bin/meson}
if [ ! -x "$meson" ]; then
    meson=$(command -v meson) || {
        echo "meson is not installed; run tools/install-packages.sh run" >&2
        exit 1
    }
fi
exec "$meson" "$@"
