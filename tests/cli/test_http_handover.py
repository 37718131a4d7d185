# SPDX-License-Identifier: MIT
"""A server is replaced under load: wrk, h2load and haproxy as clients of `weft serve`, a successor
at the same port or with the same listening socket, SIGTERM for the first. No request may fail.

What these clients count as failures is told in docs/guide/http-server.md."""
import contextlib
import os
import pathlib
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import unittest

import harness
from harness import PATIENCE, until

NEEDED = [name for name in ("wrk", "h2load", "haproxy") if shutil.which(name) is None]


def openssl(*args):
    subprocess.run(["openssl", *args], check=True, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Serve(harness.Weft):
    """`weft serve` whose log goes to a file, so that no reader holds it back."""

    def __init__(self, site, name, listen, *args, driver=None, **more):
        self.log = site.path / name
        with open(self.log, "wb") as log:
            super().__init__("serve", *args, "--log", "common", "--listen", listen, site.files,
                             driver=driver, stdout=log, **more)
        self.pending = b""
        first = until(lambda: self.log.read_bytes().split(b"\n")[:-1], "its first line")[0]
        self.port = int(first.decode().rsplit(":", 1)[1])  # of fd:N, the number

    def answered(self, more_than=0):
        """Whether its log has more lines than that; it is read only as far as that needs."""
        with open(self.log, "rb") as log:
            return sum(1 for _, line in zip(range(more_than + 2), log) if line) > more_than + 1


@unittest.skipIf(NEEDED, "without " + ", ".join(NEEDED))
class Handover(harness.Case):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.path = pathlib.Path(self.dir.name)
        self.files = self.path / "files"
        self.files.mkdir()
        (self.files / "small").write_text("hello\n")
        (self.files / "large").write_bytes(os.urandom(200_000))

    def tearDown(self):
        self.dir.cleanup()

    def certificate(self):
        cert, key = str(self.path / "cert.pem"), str(self.path / "key.pem")
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                "-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", key, "-out", cert)
        return ["--cert", cert, "--key", key]

    def replaced(self, load, *args, secured=False, driver=None, shared=False, moves=True,
                 end=None):
        """What the load printed. load(port): its words. moves: it goes on with the successor, and
        gets the signal `end` there."""
        if secured:
            args += tuple(self.certificate())
        scheme = "tls" if secured else "tcp"
        listener, port, more, listen = None, 0, {}, f"{scheme}://127.0.0.1:0"
        if shared:
            listener = socket.create_server(("127.0.0.1", 0), backlog=1000)
            port = listener.getsockname()[1]
            listen, more = f"fd:{listener.fileno()}", {"pass_fds": (listener.fileno(),)}
        with Serve(self, "first", listen, *args, driver=driver, **more) as first:
            if not shared:
                port = first.port
                listen = f"{scheme}://127.0.0.1:{port}"
            with subprocess.Popen(load(port), stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as run:
                try:
                    until(lambda: first.answered(50), "requests")
                    with Serve(self, "second", listen, *args, driver=driver, **more) as second:
                        if listener is not None:
                            listener.close()
                        first.send(signal.SIGTERM)
                        self.assertEqual(first.wait(), 0)
                        if end is not None:
                            until(lambda: second.answered(50), "requests to the successor")
                            run.send_signal(end)
                        out = run.communicate(timeout=3 * PATIENCE)[0].decode()
                        self.assertEqual(run.returncode, 0, out)
                        self.assertEqual(second.answered(), moves)
                        self.assertEqual(second.finish(), 0)
                finally:
                    run.kill()
        return out

    def wrk(self, *args, scheme="http", **more):
        out = self.replaced(lambda port: ["wrk", "-t1", "-c32", "-d60s", "--timeout",
                                          str(PATIENCE), *args,
                                          f"{scheme}://127.0.0.1:{port}/small"],
                            secured=scheme == "https", end=signal.SIGINT, **more)
        self.assertNotIn("Socket errors", out)
        self.assertNotIn("Non-2xx", out)
        self.assertGreater(int(re.search(r"(\d+) requests in", out)[1]), 50, out)

    def test_wrk(self):
        """It keeps its connections until `Connection: close`, and counts every end before that."""
        self.wrk()

    def test_wrk_a_connection_each(self):
        """Connections are made all the time: none may be reset in the listener's queue."""
        self.wrk("-H", "Connection: close", driver="epoll")

    def test_wrk_shared_listener(self):
        self.wrk("-H", "Connection: close", shared=True)

    def test_wrk_secured(self):
        self.wrk(scheme="https")

    def h2load(self, out):
        found = re.search(r"requests: (\d+) total, (\d+) started, (\d+) done, (\d+) succeeded, "
                          r"(\d+) failed, (\d+) errored, (\d+) timeout", out)
        self.assertIsNotNone(found, out)
        counts = [int(n) for n in found.groups()]
        self.assertGreater(counts[3], 50, out)
        return counts

    def test_h2load_http1(self):
        out = self.replaced(lambda port: ["h2load", "--h1", "-D2", "-c16",
                                          f"http://127.0.0.1:{port}/small"])
        self.assertEqual(self.h2load(out)[4:], [0, 0, 0], out)

    def test_h2load(self):
        """After a GOAWAY it asks no more, on any connection, and counts as failed all that it had
        yet to ask: what the server has seen is answered."""
        for name in ("small", "large"):
            out = self.replaced(lambda port, n=name: ["h2load", "-n1000000", "-c8", "-m10",
                                                      f"https://127.0.0.1:{port}/{n}"],
                                secured=True, moves=False)
            total, started, done, succeeded, failed, errored, timeout = self.h2load(out)
            # One that it begins with the GOAWAY in its buffer is "started", and is not sent.
            self.assertLessEqual(started - succeeded, 8 * 10, out)
            self.assertEqual(done, started, out)
            self.assertEqual((failed, errored, timeout),
                             (total - succeeded, total - succeeded, 0), out)
            log = (self.path / "first").read_text()
            self.assertEqual(log.count('" '), log.count('" 200 '))
            self.assertLessEqual(log.count('" 200 '), succeeded, out)

    def test_behind_haproxy(self):
        """A proxy whose connections are HTTP/2 goes on with the successor; its clients see
        nothing of it."""
        config = self.path / "haproxy.cfg"

        def load(port):
            with socket.create_server(("127.0.0.1", 0), backlog=1000) as front:
                front.set_inheritable(True)
                config.write_text(f"""
defaults
    mode http
    timeout connect {PATIENCE}s
    timeout client {PATIENCE}s
    timeout server {PATIENCE}s
listen all
    bind fd@{front.fileno()} proto h2
    http-reuse always
    server s 127.0.0.1:{port} proto h2
""")
                self.proxy = subprocess.Popen(
                    ["haproxy", "-db", "-f", str(config)], stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                    pass_fds=(front.fileno(),))
                return ["h2load", "-D2", "-c8", "-m10",
                        f"http://127.0.0.1:{front.getsockname()[1]}/small"]

        try:
            out = self.replaced(load)
            self.assertEqual(self.h2load(out)[4:], [0, 0, 0], out)
            self.assertRegex(out, r"status codes: \d+ 2xx, 0 3xx, 0 4xx, 0 5xx")
        finally:
            self.proxy.kill()
            self.proxy.wait()

    def test_last_bytes_arrive(self):
        """A client of HTTP/2 that reads slowly still has something to say (windows, pings) when the
        server has said its last: that must not cost it what is on its way."""
        size = 200_000
        with Serve(self, "first", "tcp://127.0.0.1:0") as first, socket.socket() as c:
            c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            c.settimeout(PATIENCE)
            c.connect(("127.0.0.1", first.port))
            c.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" +
                      frame(4, 0, 0, b"\x00\x04\x7f\xff\xff\xff") +  # windows that hold it all
                      frame(8, 0, 0, struct.pack(">I", 1 << 30)) +
                      frame(1, 5, 1, b"\x82\x86\x41\x01a\x44\x06/large"))  # RFC 7541 appendix A
            until(lambda: first.answered() or in_kernel(first.port) > 150_000, "the response")
            first.send(signal.SIGTERM)
            until(lambda: tcp_states(first.port, c.getsockname()[1]) != ["01"], "the end of it")
            got = b""
            while data := c.recv(4096):
                got += data
                with contextlib.suppress(ConnectionError):
                    c.sendall(frame(6, 0, 0, b"12345678"))  # a ping
            self.assertEqual(sum(len(f) for kind, f in frames(got) if kind == 0), size)
            self.assertEqual([kind for kind, _ in frames(got)][-1], 7)  # GOAWAY
            self.assertEqual(first.wait(), 0)

    def test_a_request_under_way_is_taken(self):
        """What a client asked before it knew of the end is answered, however far away it is: the
        server learns by a ping that it knows."""
        with Serve(self, "first", "tcp://127.0.0.1:0") as first, \
                socket.create_connection(("127.0.0.1", first.port), PATIENCE) as c:
            ask = b"\x82\x86\x41\x01a\x44\x06/small"
            c.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") +
                      frame(1, 5, 1, ask))
            until(first.answered, "the first answer")
            first.send(signal.SIGTERM)
            got, ping = b"", None
            while ping is None:
                data = c.recv(4096)
                self.assertTrue(data, "it ended at once")
                got += data
                ping = next((f for kind, f in frames(got) if kind == 6), None)
            self.assertEqual([f[:4] for kind, f in frames(got) if kind == 7],
                             [b"\x7f\xff\xff\xff"])
            self.assertFalse(select.select([c], [], [], 0.3)[0], "it did not wait")
            c.sendall(frame(1, 5, 3, ask) + frame(6, 1, 0, ping))
            while data := c.recv(4096):
                got += data
            self.assertEqual([f for kind, f in frames(got) if kind == 0 and f],
                             [b"hello\n", b"hello\n"])
            self.assertEqual([f[:4] for kind, f in frames(got) if kind == 7][1:], [b"\0\0\0\3"])
            c.shutdown(socket.SHUT_WR)
            self.assertEqual(first.wait(), 0)


def frame(kind, flags, stream, body):
    return struct.pack(">I", len(body))[1:] + struct.pack(">BBI", kind, flags, stream) + body


def frames(data):
    while len(data) >= 9:
        length = int.from_bytes(data[:3], "big")
        yield data[3], data[9:9 + length]
        data = data[9 + length:]


def tcp_table(local, peer=None):
    """The lines of /proc/net/tcp for the server's end of connections."""
    with open("/proc/net/tcp", encoding="ascii") as table:
        for line in list(table)[1:]:
            at = line.split()
            if int(at[1].split(":")[1], 16) == local and int(at[2].split(":")[1], 16) != 0 and \
                    peer in (None, int(at[2].split(":")[1], 16)):
                yield at


def tcp_states(local, peer):
    return [at[3] for at in tcp_table(local, peer)]


def in_kernel(local):
    return sum(int(at[4].split(":")[0], 16) for at in tcp_table(local))


if __name__ == "__main__":
    harness.main()
