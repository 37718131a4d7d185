#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""hold.py ENDPOINT COUNT [MESSAGES]: opens COUNT connections, echoes MESSAGES (1) messages of
64 B on each, prints `holding COUNT` and keeps them open until its standard input ends. Floor 6.

Connections go out one after the other, so that the server sees no burst, and from several
loopback addresses, so that ports do not run out. They are closed with a reset (SO_LINGER 0),
which leaves no TIME_WAIT behind.
"""

import re
import resource
import socket
import struct
import sys

PER_ADDRESS = 2000
MESSAGE = bytes(range(64))


def echo(s):
    s.sendall(MESSAGE)
    got = b""
    while len(got) < len(MESSAGE):
        part = s.recv(len(MESSAGE) - len(got))
        if not part:
            raise OSError("closed by the server")
        got += part
    if got != MESSAGE:
        raise OSError("wrong echo")


def dial(host, port, source, messages):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.settimeout(20)
    # The port is chosen at connect, when the whole four-tuple is known.
    s.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24), 1)
    s.bind((source, 0))
    s.connect((host, port))
    for _ in range(messages):
        echo(s)
    return s


def main():
    match = re.fullmatch(r"tcp://(127\.\d+\.\d+\.\d+):(\d+)", sys.argv[1])
    count = int(sys.argv[2])
    messages = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    if not match:
        sys.exit("hold.py: only tcp://127.x.y.z:port")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    held = [dial(match[1], int(match[2]), f"127.0.0.{2 + i // PER_ADDRESS}", messages)
            for i in range(count)]
    print(f"holding {len(held)}", flush=True)
    sys.stdin.read()
    for s in held:
        s.close()


if __name__ == "__main__":
    main()
