# SPDX-License-Identifier: MIT
"""HTTP clients that mean no good, many at once, against the program of tests/support/site.c: slow
heads and bodies, answers that nobody reads, idle connections, heads that never end or grow when
they are decoded, floods of HTTP/2 frames. With each, memory stays within a figure that is written
here, and others are served meanwhile. And a server that means no good: what it has compressed."""
import contextlib
import gzip
import http.client
import resource
import select
import socket
import struct
import sys
import threading

import harness
import peers
from harness import PATIENCE, SANITIZED

MANY = 20 if SANITIZED else 100
IDLE = 500 if SANITIZED else 10_000
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
GET = b"\x82\x86\x41\x01a"  # :method GET, :scheme http, :authority a (RFC 7541 appendix A)


def frame(kind, flags, stream, body=b""):
    return struct.pack(">I", len(body))[1:] + struct.pack(">BBI", kind, flags, stream) + body


def path(text):
    return b"\x44" + bytes([len(text)]) + text


def literal(name, value):
    """A field that goes into the table, its lengths below 127."""
    return b"\x40" + bytes([len(name)]) + name + bytes([len(value)]) + value


def until_end(sock, limit=10_000_000):
    """What comes until the server has ended it in any way."""
    got = b""
    with contextlib.suppress(ConnectionError):
        while len(got) < limit and (piece := sock.recv(65536)):
            got += piece
    return got


def send(sock, data):
    """False: the server has had enough."""
    try:
        sock.sendall(data)
    except (ConnectionError, TimeoutError):
        return False
    return True


def goaway(data):
    """The code of the last GOAWAY, or None."""
    code = None
    while len(data) >= 9:
        length = int.from_bytes(data[:3], "big")
        if data[3] == 7:
            code = int.from_bytes(data[13:17], "big")
        data = data[9 + length:]
    return code


class Hostile(harness.Case):
    def setUp(self):
        self.site = peers.Site(__file__, secured=False)
        self.socks = []
        self.served()
        self.before = self.site.anonymous_kib()

    def tearDown(self):
        for s in self.socks:
            s.close()
        self.site.__exit__()

    def connect(self, data=b"", **options):
        s = socket.socket()
        if options.get("small"):
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.settimeout(PATIENCE)
        s.connect(("127.0.0.1", self.site.port))
        self.socks.append(s)
        s.sendall(data)
        return s

    def served(self):
        """Somebody else gets his answer."""
        c = http.client.HTTPConnection("127.0.0.1", self.site.port, timeout=PATIENCE)
        c.request("GET", "/bytes/1000")
        self.assertEqual(len(c.getresponse().read()), 1000)
        c.close()

    def grown(self):
        """KiB that the server has more than before."""
        return self.site.anonymous_kib() - self.before

    def bounded(self, connections, each_kib):
        """What the server has more than before, for so many connections."""
        self.served()
        if not SANITIZED:  # whose allocator keeps what is freed
            self.assertLess(self.grown(), 2048 + connections * each_kib)

    def test_slow_heads_and_bodies(self):
        for data in (b"GET /bytes/1 HTTP/1.1\r\nHost: a\r\nX-Slow: ",
                     b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nabc",
                     b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\nab"):
            socks = [self.connect(data) for _ in range(MANY)]
            for _ in range(3):
                for s in socks:
                    self.assertTrue(send(s, b"x"))
                self.served()
            self.bounded(3 * MANY, 40)

    def test_nobody_reads(self):
        for _ in range(MANY):
            self.connect(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n", small=True)
        for _ in range(MANY // 5):  # fifty answers each, in one connection's windows
            self.connect(PREFACE + frame(4, 0, 0, b"\0\4\x7f\xff\xff\xff") + b"".join(
                frame(1, 5, i, GET + path(b"/endless")) for i in range(1, 101, 2)), small=True)
        self.bounded(MANY + MANY // 5, 2000 if SANITIZED else 500)

    def test_endless_head(self):
        s = self.connect(b"GET / HTTP/1.1\r\nHost: a\r\n")
        while send(s, b"X-More: " + b"y" * 1000 + b"\r\n"):
            if select.select([s], [], [], 0)[0]:
                break
        self.assertTrue(until_end(s).startswith(b"HTTP/1.1 431 "))
        self.bounded(1, 100)

    def test_head_that_grows(self):
        """A field of 4 KiB that stands in the table is named again by one byte."""
        value = b"\x40\x01x" + b"\x7f\xa1\x1e" + b"v" * 4000
        for _ in range(MANY // 5):
            s = self.connect(PREFACE + frame(4, 0, 0) + frame(1, 4 | 1, 1, GET + path(b"/seen") +
                                                              value + b"\xbe" * 10_000))
            with contextlib.suppress(TimeoutError):
                s.settimeout(0.05)
                until_end(s, 100)
        self.bounded(MANY // 5, 400)

    def test_continuations(self):
        """CVE-2024-27316 and its like: a head whose end never comes."""
        s = self.connect(PREFACE + frame(4, 0, 0) + frame(1, 1, 1, GET + path(b"/seen")))
        sent, got = 0, b""
        piece = frame(9, 0, 1, literal(b"a", b"b" * 100))
        s.sendall(piece * 20)
        while goaway(got) is None and (more := s.recv(65536)):
            got += more
        self.assertEqual(goaway(got), 11)  # ENHANCE_YOUR_CALM
        while sent < 50_000_000 and send(s, piece * 100):
            sent += 11_000
        self.assertLess(sent, 50_000_000)
        self.assertLess(len(until_end(s)), 10_000)  # it has ended
        self.bounded(1, 200)

    def test_rapid_reset(self):
        """CVE-2023-44487: requests that are reset at once."""
        s = self.connect(PREFACE + frame(4, 0, 0))
        number = 1
        while number < 2_000_000:
            burst = b"".join(frame(1, 5, i, GET + path(b"/endless")) + frame(3, 0, i, b"\0\0\0\x08")
                             for i in range(number, number + 200, 2))
            number += 200
            if not send(s, burst):
                break
            if select.select([s], [], [], 0)[0] and goaway(s.recv(65536, socket.MSG_PEEK)):
                break
        self.assertLess(number, 2_000_000)
        self.bounded(1, 10_000)  # a hundred requests at once, each with a task

    def test_floods(self):
        """Frames that ask for an answer, from who does not read; empty ones that ask for none."""
        for flood in (frame(6, 0, 0, b"12345678"), frame(4, 0, 0, b"\0\3\0\0\0\x64"),
                      frame(2, 0, 1, b"\0\0\0\0\x10")):
            s = self.connect(PREFACE + frame(4, 0, 0), small=True)
            s.settimeout(0.3)
            for _ in range(200):
                if not send(s, flood * 1000):
                    break
            self.bounded(3, 1000)

    def test_told_why(self):
        """Who breaks the protocol is told so, behind the answers that wait for him to read. (With
        one who also hangs up, and a queue that is full for certain: tests/test_http2_server.c.)"""
        for _ in range(5):
            s = self.connect(PREFACE + frame(4, 0, 0, b"\0\4\x7f\xff\xff\xff") +
                             frame(8, 0, 0, b"\x7f\0\0\0") + b"".join(
                                 frame(1, 5, i, GET + path(b"/bytes/5000000")) for i in (1, 3, 5)),
                             small=True)
            harness.until(lambda: select.select([s], [], [], 0)[0], "answers")
            s.sendall(frame(4, 0, 1))  # settings of a stream
            self.assertEqual(goaway(until_end(s)), 1)

    def test_idle(self):
        """The connections that HTTP keeps: without a task each."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard < IDLE + 500:
            self.skipTest("too few descriptors")
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        try:
            ask = b"GET /seen HTTP/1.1\r\nHost: a\r\n\r\n"
            for count in range(250, IDLE + 1, 250):
                socks = [self.connect(ask) for _ in range(250)]
                for s in socks:
                    s.recv(1000)
                # A connection gives its task and buffers back after 100 ms. Those of a thousand at
                # once stay with the heap and the pool of stacks, however many come after them.
                if not SANITIZED:
                    harness.until(lambda most=32 * 1024 + count // 2: self.grown() < most, "parked")
            self.served()
            for s in self.socks[::97]:  # they are alive
                s.sendall(ask)
                self.assertTrue(s.recv(1000).startswith(b"HTTP/1.1 200 "))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Bomb(harness.Case):
    def test_compressed(self):
        """A small answer that becomes 128 MiB: the client stops at its maximum, with little memory."""
        block = gzip.compress(b"\0" * (16 << 20), 9)  # members follow each other (RFC 1952 2.2)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            def serve():
                c, _ = listener.accept()
                with c, contextlib.suppress(ConnectionError):
                    c.recv(65536)
                    c.sendall(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n"
                              b"\r\n" % (8 * len(block)))
                    for _ in range(8):
                        c.sendall(block)
                    c.recv(1)

            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            with peers.Fetch(f"decoded={64 << 20}") as client:
                with self.assertRaisesRegex(AssertionError, "error WEFT_ELIMIT"):
                    client.ask(f"GET http://127.0.0.1:{listener.getsockname()[1]}/")
                with open(f"/proc/{client.process.pid}/status", encoding="ascii") as status:
                    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
                if not SANITIZED:
                    self.assertLess(peak, 40_000)
            thread.join(PATIENCE)


if __name__ == "__main__":
    sys.exit(harness.main())
