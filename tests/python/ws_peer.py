# SPDX-License-Identifier: MIT
"""The other end of tests/test_ws_interop.c: a WebSocket client or server by websockets.

usage: ws_peer.py client URL deflate|plain | ws_peer.py server deflate|plain
"""
import asyncio
import sys

import websockets

SIZES = [0, 1, 125, 126, 127, 65535, 65536, 200000]


def compression(mode):
    """What the library calls it."""
    return "deflate" if mode == "deflate" else None


async def client(url, mode):
    """Says much and wants the same back."""
    async with websockets.connect(url, subprotocols=["chat"], compression=compression(mode)) as ws:
        assert ws.subprotocol == "chat"
        assert bool(ws.extensions) == (mode == "deflate")
        for size in SIZES + SIZES:
            text = ("line of text, " * (size // 14 + 1))[:size]
            for message in (text, text.encode()):
                await ws.send(message)
                assert await ws.recv() == message, size
        await ws.send(["\u00e9\u20ac", "", "\U0001f600"])
        assert await ws.recv() == "\u00e9\u20ac\U0001f600"
        await asyncio.wait_for(await ws.ping(b"hello"), 10)
        await ws.close(4001, "bye")
        assert ws.close_code == 4001, ws.close_code
    print("all is well")


async def answer(ws):
    """Echoes."""
    async for message in ws:
        if message == "close me":
            await ws.close(4002, "as asked")
        elif message == "ping me":
            await asyncio.wait_for(await ws.ping(b"there?"), 10)
            await ws.send("sent")
        else:
            await ws.send(message)


async def server(mode):
    """Until it is killed."""
    async with websockets.serve(answer, "127.0.0.1", 0, subprotocols=["chat"],
                                compression=compression(mode)) as serving:
        print("port", serving.sockets[0].getsockname()[1], flush=True)
        await asyncio.Future()


if sys.argv[1] == "server":
    asyncio.run(server(sys.argv[2]))
else:
    asyncio.run(client(*sys.argv[2:]))
