#!/bin/sh
# SPDX-License-Identifier: MIT
# Installs what tests/node/package-lock.json names from the npm registry, below build/, once for each
# state of that file, and prints the folder (NODE_PATH). Exit status 77: there is no npm, or the
# registry cannot be reached.
set -eu

cd "$(dirname "$0")/.."
command -v node >/dev/null && command -v npm >/dev/null || {
    echo "node and npm are not installed" >&2
    exit 77
}
state=$(sha256sum tests/node/package.json tests/node/package-lock.json | sha256sum | cut -c 1-16)
folder=$PWD/build/node-$state
mkdir -p build
exec 9>build/node.lock
flock 9
if [ ! -f "$folder/.done" ]; then
    rm -rf "$folder"
    mkdir "$folder"
    cp tests/node/package.json tests/node/package-lock.json "$folder"
    (cd "$folder" && timeout 120 npm ci --no-audit --no-fund --ignore-scripts >install.log 2>&1) || {
        cat "$folder/install.log" >&2
        exit 77
    }
    touch "$folder/.done"
fi
echo "$folder/node_modules"
