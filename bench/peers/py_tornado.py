#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Tornado's TCPServer and IOStream.

--buffer own (faster): each connection reads into a buffer of its own; fresh: each read makes a
new one, so that an idle connection holds none.
"""

import asyncio

from tornado.iostream import StreamClosedError
from tornado.tcpserver import TCPServer

import py_common


async def echo_own(stream):
    buffer = bytearray(py_common.BUFFER)
    view = memoryview(buffer)
    while True:
        n = await stream.read_into(buffer, partial=True)
        await stream.write(view[:n])


async def echo_fresh(stream):
    while True:
        await stream.write(await stream.read_bytes(py_common.BUFFER, partial=True))


class Echo(TCPServer):
    echo = None

    async def handle_stream(self, stream, address):
        stream.set_nodelay(True)
        try:
            await self.echo(stream)
        except StreamClosedError:
            pass


async def main():
    args = py_common.begin(buffer=["own", "fresh"])
    listener = py_common.listen(args.port)
    listener.setblocking(False)
    server = Echo(read_chunk_size=py_common.BUFFER)
    server.echo = echo_own if args.buffer == "own" else echo_fresh
    server.add_socket(listener)
    py_common.announce(listener.getsockname()[1])
    await asyncio.Event().wait()


asyncio.run(main())
