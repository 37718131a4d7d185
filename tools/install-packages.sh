#!/bin/sh
# SPDX-License-Identifier: MIT
# Installs the Debian packages that a make target needs and that are missing; calls apt-get for
# nothing else, so that a machine that has everything is never asked for root.
#
# usage: tools/install-packages.sh run|test|bench|check
set -eu

cd "$(dirname "$0")/.."

case "${1:-}" in
run) lists="run" ;;
test) lists="run test" ;;
bench) lists="run bench" ;;
check) lists="run test check" ;;
*)
    echo "usage: tools/install-packages.sh run|test|bench|check" >&2
    exit 2
    ;;
esac

wanted=
for list in $lists; do
    file=tools/packages-$list.txt
    if [ -f "$file" ]; then
        wanted="$wanted $(sed -e 's/#.*//' "$file" | tr -s ' \t\n' ' ')"
    fi
done

# The file is a parameter so that the tests can show what another distribution sees.
is_debian() {
    command -v dpkg-query >/dev/null && command -v apt-get >/dev/null || return 1
    file=${WEFT_OS_RELEASE:-/etc/os-release}
    [ -r "$file" ] || return 1
    family=$(. "$file" && echo "${ID:-} ${ID_LIKE:-}")
    case " $family " in
    *" debian "*) return 0 ;;
    esac
    return 1
}

if ! is_debian; then
    {
        echo "This is not Debian or one of its descendants, so packages are not installed here."
        echo "To build and run, Weft needs: a C17 compiler (gcc 12 or clang 14, or newer), make,"
        echo "Meson 1.0 or newer, Ninja, pkg-config, and with their headers: liburing 2.3 or newer,"
        echo "c-ares 1.18, OpenSSL 3.0, nghttp2 1.52, zlib, brotli, libpsl, libidn2, jansson."
        if [ "$1" != run ]; then
            echo "For 'make $1' it needs more. Under Debian's names, everything is:"
            for package in $wanted; do
                echo "    $package"
            done
        fi
        echo "Install them with your own package manager, then build with"
        echo "    make build && build/apps/weft/weft up"
    } >&2
    exit 1
fi

missing=
for package in $wanted; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    if [ "$state" != installed ]; then
        missing="$missing $package"
    fi
done
if [ -z "$missing" ]; then
    exit 0
fi

echo "Installing:$missing"
if [ "$(id -u)" = 0 ]; then
    as_root=
elif command -v sudo >/dev/null; then
    as_root=sudo
else
    echo "These packages are missing and only root can install them; sudo is not here:" >&2
    echo "    apt-get install$missing" >&2
    exit 1
fi

export DEBIAN_FRONTEND=noninteractive
if ! $as_root apt-get -qq -o DPkg::Lock::Timeout=120 update; then
    echo "apt-get update failed (see above); trying with the package lists that are here." >&2
fi
# `env` because sudo drops the environment.
if ! $as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get -qq -y -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 \
    --no-install-recommends install $missing </dev/null; then
    echo "apt-get could not install:$missing" >&2
    echo "Install them by hand, then run make again." >&2
    exit 1
fi

# Name servers are here for the tests, which start their own: what has just come as a service is not
# to run on this machine, now or after a restart.
if command -v systemctl >/dev/null; then
    units=$(dpkg-query -L $missing 2>/dev/null |
        sed -n 's|^\(/usr\)\{0,1\}/lib/systemd/system/\([^/@]*\.service\)$|\2|p')
    for unit in $units; do
        $as_root systemctl --quiet disable --now "$unit" 2>/dev/null ||
            $as_root systemctl --quiet disable "$unit" 2>/dev/null || true
    done
fi
