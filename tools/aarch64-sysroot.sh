#!/bin/sh
# SPDX-License-Identifier: MIT
# Prepares build-aarch64/: a root with the arm64 libraries that Weft and its tests link to, and
# Meson's cross file. The packages are fetched with package lists of their own and unpacked here:
# the machine's list of architectures and its installed packages stay as they are.
#
# usage: tools/aarch64-sysroot.sh
set -eu

cd "$(dirname "$0")/.."
mkdir -p build-aarch64
cd build-aarch64
here=$PWD
packages="liburing2 liburing-dev libcmocka0 libcmocka-dev libssl3 libssl-dev libc-ares2
    libc-ares-dev libidn2-0 libidn2-dev libunistring2 libunistring-dev zlib1g zlib1g-dev libbrotli1
    libbrotli-dev libnghttp2-14 libnghttp2-dev libpsl5 libpsl-dev
    libjansson4 libjansson-dev"

if [ "$(cat sysroot/.complete 2>/dev/null)" != "$packages" ]; then
    rm -rf sysroot
    mkdir -p apt/lists/partial apt/cache/archives/partial apt/debs sysroot
    chmod 755 apt/debs
    cat >apt/apt.conf <<END
APT::Architecture "arm64";
APT::Architectures { "arm64"; };
Dir::State "$here/apt";
Dir::State::lists "$here/apt/lists";
Dir::State::status "$here/apt/status";
Dir::Cache "$here/apt/cache";
APT::Sandbox::User "";
Acquire::Languages "none";
END
    : >apt/status
    export APT_CONFIG="$here/apt/apt.conf"
    apt-get -qq update
    (cd apt/debs && apt-get -qq download $packages)
    for deb in apt/debs/*.deb; do
        dpkg -x "$deb" sysroot
    done
    rm -rf apt
    # Some lie in /lib, which links by its whole path: all into one folder.
    libraries=sysroot/usr/lib/aarch64-linux-gnu
    [ ! -d sysroot/lib/aarch64-linux-gnu ] || mv sysroot/lib/aarch64-linux-gnu/* $libraries
    for link in $(find $libraries -maxdepth 1 -lname '/*'); do
        ln -sf "$(basename "$(readlink "$link")")" "$link"
    done
    for headers in sysroot/usr/include/aarch64-linux-gnu/*; do # likewise, beside the others
        cp -r "$headers" sysroot/usr/include/
    done
    printf '%s' "$packages" >sysroot/.complete
fi

cat >cross.ini <<END
[binaries]
c = 'aarch64-linux-gnu-gcc'
ar = 'aarch64-linux-gnu-ar'
strip = 'aarch64-linux-gnu-strip'
pkgconfig = 'pkg-config'
exe_wrapper = ['qemu-aarch64', '-L', '/usr/aarch64-linux-gnu',
               '-E', 'LD_LIBRARY_PATH=$here/sysroot/usr/lib/aarch64-linux-gnu']

[properties]
sys_root = '$here/sysroot'
pkg_config_libdir = '$here/sysroot/usr/lib/aarch64-linux-gnu/pkgconfig'

[host_machine]
system = 'linux'
cpu_family = 'aarch64'
cpu = 'aarch64'
endian = 'little'
END
