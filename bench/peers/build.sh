#!/bin/sh
# SPDX-License-Identifier: MIT
#
# build.sh OUTDIR: builds the compiled peers of the benchmark into OUTDIR, from the system's
# packages only (tools/packages-bench.txt names them; nothing is downloaded). A peer that cannot
# be built here is left out, with the reason; run.py then leaves it out too. A peer that is newer
# than its sources is not built again.
set -u

if [ $# -ne 1 ]; then
    echo "usage: build.sh OUTDIR" >&2
    exit 2
fi
mkdir -p "$1" || exit 1
out=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
cd "$here" || exit 1

CC=${CC:-cc}
CXX=${CXX:-c++}
WARN="-Wall -Wextra -Wshadow"
skipped=0
log="$out/build.log"
: >"$log"

skip() { # NAME WHY
    echo "  skipped $1: $2"
    rm -f "$out/$1"
    skipped=$((skipped + 1))
}

fresh() { # NAME SOURCE...: the program is there and newer than all of its sources
    target="$out/$1"
    shift
    [ -x "$target" ] || return 1
    for input in "$@" build.sh; do
        [ -z "$(find "$input" -newer "$target")" ] || return 1
    done
}

finish() { # NAME COMMAND...: runs the compiler, reports
    name=$1
    shift
    echo "+ $*" >>"$log"
    if "$@" >>"$log" 2>&1; then
        echo "  built   $name"
    else
        skip "$name" "it does not compile (see $log)"
    fi
}

c_peer() { # NAME SOURCE PKG-CONFIG-MODULE|- FLAGS...
    name=$1 source=$2 module=$3
    shift 3
    fresh "$name" "$source" common.h && return
    flags=
    if [ "$module" != - ]; then
        flags=$(pkg-config --cflags --libs "$module" 2>>"$log") ||
            { skip "$name" "pkg-config knows no $module"; return; }
    fi
    # shellcheck disable=SC2086
    finish "$name" $CC -std=gnu17 -O2 $WARN -o "$out/$name" "$source" $flags "$@"
}

cxx_peer() { # NAME SOURCE HEADER FLAGS...
    name=$1 source=$2 header=$3
    shift 3
    fresh "$name" "$source" common.h && return
    echo "#include <$header>" | $CXX -std=c++20 -DASIO_STANDALONE -E -x c++ - >/dev/null 2>>"$log" ||
        { skip "$name" "no C++20 compiler with <$header>"; return; }
    # shellcheck disable=SC2086
    finish "$name" $CXX -std=c++20 -O2 $WARN -o "$out/$name" "$source" "$@"
}

go_peer() { # NAME
    fresh "$1" "$1.go" && return
    go=$(command -v go) || { skip "$1" "no go"; return; }
    finish "$1" env GOCACHE="$out/.go-cache" GOFLAGS="" GOPROXY=off GO111MODULE=off \
        GOPATH=/usr/share/gocode "$go" build -o "$out/$1" "$1.go"
}

# Debian's crates lie unpacked in one directory; cargo uses it in place of the registry.
tokio_peer() {
    crates=/usr/share/cargo/registry
    fresh tokio_echo tokio_echo/src/main.rs tokio_echo/Cargo.toml && return
    if [ ! -x /usr/bin/cargo ] || [ ! -x /usr/bin/rustc ]; then
        skip tokio_echo "no system cargo and rustc"
        return
    fi
    ls -d "$crates"/tokio-1.* >/dev/null 2>&1 ||
        { skip tokio_echo "no tokio among the system's crates"; return; }
    work="$out/.tokio"
    rm -rf "$work"
    mkdir -p "$work/.cargo" "$work/home" && cp -r tokio_echo/. "$work/" || return
    cat >"$work/.cargo/config.toml" <<-END
	[source.crates-io]
	replace-with = "system"
	[source.system]
	directory = "$crates"
	END
    echo "+ cargo build (tokio_echo)" >>"$log"
    if (cd "$work" && CARGO_HOME="$work/home" RUSTC=/usr/bin/rustc RUSTFLAGS="" \
        CARGO_TARGET_DIR="$work/target" /usr/bin/cargo build --release --offline) >>"$log" 2>&1 &&
        cp "$work/target/release/tokio_echo" "$out/tokio_echo"; then
        echo "  built   tokio_echo"
        rm -rf "$work"
    else
        skip tokio_echo "cargo cannot build it offline from $crates (see $log)"
    fi
}

echo "peers -> $out"
c_peer raw_epoll raw_epoll.c -
c_peer raw_uring raw_uring.c liburing
c_peer raw_epoll_tls raw_epoll_tls.c libssl -lcrypto
c_peer tls_load tls_load.c libssl -lcrypto
c_peer tls_storm tls_storm.c libssl -lcrypto -pthread
c_peer thread thread.c - -pthread
c_peer libuv libuv.c libuv
c_peer libevent libevent.c libevent_core
c_peer libev libev.c - -lev
cxx_peer asio_callback asio_callback.cpp asio.hpp
cxx_peer asio_coro asio_coro.cpp asio.hpp
c_peer ws_load ws_load.c -
c_peer raw_epoll_ws raw_epoll_ws.c libcrypto
c_peer ws_lws ws_lws.c libwebsockets
c_peer ws_soup ws_soup.c libsoup-3.0
c_peer ws_civetweb ws_civetweb.c - -lcivetweb -pthread
cxx_peer ws_beast ws_beast.cpp boost/beast/websocket.hpp -pthread
# These two headers are older than C++20.
cxx_peer ws_websocketpp ws_websocketpp.cpp websocketpp/server.hpp -std=c++17 \
    -DASIO_STANDALONE -D_WEBSOCKETPP_CPP11_STL_ -Wno-shadow -pthread
cxx_peer ws_restinio ws_restinio.cpp restinio/all.hpp -std=c++17 -Wno-shadow -lfmt -lhttp_parser \
    -pthread
cxx_peer ws_poco ws_poco.cpp Poco/Net/WebSocket.h -lPocoNet -lPocoFoundation -pthread
go_peer go_echo
go_peer go_echo_tls
go_peer go_ws_gorilla
go_peer go_ws_nhooyr
tokio_peer

[ -x /usr/bin/node ] || skip node "no /usr/bin/node"
for module in asyncio uvloop twisted gevent tornado; do
    /usr/bin/python3 -c "import $module" 2>/dev/null ||
        skip "$module" "/usr/bin/python3 has no module $module"
done
[ $skipped -eq 0 ] || echo "  $skipped skipped"
