#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""gevent's StreamServer: a greenlet per connection.

--buffer own (faster): each connection reads into a buffer of its own; fresh: each read makes a
new one, so that an idle connection holds none.
"""

from gevent import socket
from gevent.server import StreamServer

import py_common


def echo_own(sock, address):
    buffer = bytearray(py_common.BUFFER)
    view = memoryview(buffer)
    try:
        while n := sock.recv_into(buffer):
            sock.sendall(view[:n])
    except OSError:
        pass


def echo_fresh(sock, address):
    try:
        while data := sock.recv(py_common.BUFFER):
            sock.sendall(data)
    except OSError:
        pass


args = py_common.begin(buffer=["own", "fresh"])
listener = py_common.listen(args.port, socket.socket)
py_common.announce(listener.getsockname()[1])
StreamServer(listener, echo_own if args.buffer == "own" else echo_fresh).serve_forever()
