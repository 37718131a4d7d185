#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""asyncio and uvloop, as a protocol and as streams.

On asyncio the protocol reads into one buffer of the whole loop, because write() has sent or
copied the data when it returns. uvloop keeps a reference to what is written until the end of
the loop's turn, so there each read has to be an object of its own.
"""

import asyncio

import py_common

ARGS = py_common.begin(loop=["asyncio", "uvloop"], style=["protocol", "streams"])
SHARED = bytearray(65536)
SHARED_VIEW = memoryview(SHARED)


class Connection:
    __slots__ = ("transport",)

    def connection_made(self, transport):
        self.transport = transport

    def pause_writing(self):
        self.transport.pause_reading()

    def resume_writing(self):
        self.transport.resume_reading()


class SharedBufferEcho(Connection, asyncio.BufferedProtocol):
    __slots__ = ()

    def get_buffer(self, sizehint):
        return SHARED

    def buffer_updated(self, nbytes):
        self.transport.write(SHARED_VIEW[:nbytes])


class BytesEcho(Connection, asyncio.Protocol):
    __slots__ = ()

    def connection_made(self, transport):
        # uvloop joins small writes; what is longer than this goes out at once, uncollected.
        transport.set_write_buffer_limits(high=4096)
        super().connection_made(transport)

    def data_received(self, data):
        self.transport.write(data)


async def echo_stream(reader, writer):
    if ARGS.loop == "asyncio":
        # By default each recv allocates 256 KiB, which malloc maps and unmaps every time.
        writer.transport.max_size = 65536
    try:
        while data := await reader.read(py_common.BUFFER):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def main():
    sock = py_common.listen(ARGS.port)
    if ARGS.style == "protocol":
        loop = asyncio.get_running_loop()
        factory = SharedBufferEcho if ARGS.loop == "asyncio" else BytesEcho
        server = await loop.create_server(factory, sock=sock, backlog=py_common.BACKLOG)
    else:
        server = await asyncio.start_server(echo_stream, sock=sock, backlog=py_common.BACKLOG)
    py_common.announce(sock.getsockname()[1])
    await server.serve_forever()


if ARGS.loop == "uvloop":
    import uvloop

    uvloop.install()
asyncio.run(main())
