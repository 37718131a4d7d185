# SPDX-License-Identifier: MIT
"""What every Python peer shares: command line, file limit, listening socket, first line."""

import argparse
import resource
import socket

BUFFER = 16384
BACKLOG = 4096


def begin(**choices):
    """Parses --port and one option per keyword (its choices, the first is the default)."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    for name, values in choices.items():
        parser.add_argument("--" + name, choices=values, default=values[0])
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return parser.parse_args()


def listen(port, kind=socket.socket):
    """A listening socket on 127.0.0.1; accepted sockets inherit its TCP_NODELAY."""
    s = kind(socket.AF_INET, socket.SOCK_STREAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    s.bind(("127.0.0.1", port))
    s.listen(BACKLOG)
    return s


def announce(port):
    print(f"listening tcp://127.0.0.1:{port}", flush=True)
