#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Plain sockets and a thread per connection, with a small stack.

--buffer own (faster): each connection reads into a buffer of its own; fresh: each read makes a
new one, so that an idle connection holds none.
"""

import threading

import py_common


def echo_own(sock):
    buffer = bytearray(py_common.BUFFER)
    view = memoryview(buffer)
    with sock:
        try:
            while n := sock.recv_into(buffer):
                sock.sendall(view[:n])
        except OSError:
            pass


def echo_fresh(sock):
    with sock:
        try:
            while data := sock.recv(py_common.BUFFER):
                sock.sendall(data)
        except OSError:
            pass


args = py_common.begin(buffer=["own", "fresh"])
echo = echo_own if args.buffer == "own" else echo_fresh
threading.stack_size(256 * 1024)
listener = py_common.listen(args.port)
py_common.announce(listener.getsockname()[1])
while True:
    client, _ = listener.accept()
    threading.Thread(target=echo, args=(client,), daemon=True).start()
