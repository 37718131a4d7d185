# SPDX-License-Identifier: MIT
"""The guide to WebSocket: its code is that of the examples, which do what it says."""
import base64
import os
import pathlib
import re
import socket
import subprocess
import unittest

import harness
from harness import DRIVERS, PATIENCE, ROOT

GUIDE = ROOT / "docs" / "guide" / "websocket.md"
BUILD = pathlib.Path(os.environ.get("WEFT_BUILD_ROOT") or pathlib.Path(harness.WEFT).parents[2])
EXAMPLES = BUILD / "examples"
FILES = [ROOT / "examples" / "16_websocket.c", *(ROOT / "examples/guide").glob("websocket_*.c")]


class Text(harness.Case):
    def test_code_is_that_of_the_files(self):
        blocks = re.findall(r"^```c\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.S | re.M)
        files = [path.read_text(encoding="utf-8") for path in FILES]
        self.assertGreaterEqual(len(blocks), 3)
        for block in blocks:
            self.assertTrue(any(block in text for text in files), f"in no example:\n{block}")

    def test_links_lead_somewhere(self):
        for target in re.findall(r"\]\(([^)#:]+)\)", GUIDE.read_text(encoding="utf-8")):
            self.assertTrue((GUIDE.parent / target).exists(), target)

    def test_the_handler_has_ten_lines(self):
        text = FILES[0].read_text(encoding="utf-8")
        body = re.search(r"^static int echo\(.*?^}$", text, re.S | re.M).group()
        self.assertLessEqual(len(body.splitlines()), 10)


def read_exactly(sock, size):
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            raise AssertionError(f"the end after {data!r}")
        data += piece
    return data


class Client:
    """A WebSocket client of a few lines, for short messages."""

    def __init__(self, port):
        self.sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.sock.settimeout(PATIENCE)
        key = base64.b64encode(b"sixteen bytes ok").decode()
        self.sock.sendall(f"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade"
                          f"\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
                          .encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += read_exactly(self.sock, 1)
        assert head.startswith(b"HTTP/1.1 101 "), head

    def send(self, text):
        self.sock.sendall(bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text)

    def receive(self):
        head = read_exactly(self.sock, 2)
        assert head[0] == 0x81 and head[1] < 126, head
        return read_exactly(self.sock, head[1])


@unittest.skipUnless((EXAMPLES / "16_websocket").exists(), "the examples are not built here")
class Programs(harness.Case):
    def started(self, name, driver):
        program = subprocess.Popen([EXAMPLES / name, "tcp://127.0.0.1:0"],
                                   stdout=subprocess.DEVNULL, env=harness.environment(driver))
        self.addCleanup(program.wait)
        self.addCleanup(program.kill)
        return harness.until(lambda: harness.listening_port(program.pid), "a listening port")

    def test_the_echo_and_the_client(self):
        for driver in DRIVERS:
            self.way = driver
            port = self.started("16_websocket", driver)
            done = subprocess.run([EXAMPLES / "guide_websocket_client", f"ws://127.0.0.1:{port}/",
                                   "hello", "", "x" * 2000], capture_output=True, text=True,
                                  timeout=PATIENCE, env=harness.environment(driver), check=False)
            self.assertEqual((done.returncode, done.stdout, done.stderr),
                             (0, "hello\n\n" + "x" * 2000 + "\n", ""))
            client = Client(port)
            client.send(b"good day")
            self.assertEqual(client.receive(), b"good day")

    def test_the_room(self):
        for driver in DRIVERS:
            self.way = driver
            port = self.started("guide_websocket_room", driver)
            clients = [Client(port) for _ in range(5)]
            for i, client in enumerate(clients):
                client.send(b"from %d" % i)
                for other in clients:
                    self.assertEqual(other.receive(), b"from %d" % i)


if __name__ == "__main__":
    harness.main()
