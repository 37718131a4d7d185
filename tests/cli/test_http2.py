# SPDX-License-Identifier: MIT
"""HTTP/2 with programs that are not ours: curl, nghttp and h2load as clients of `weft serve`,
Python's h2 as a server for `weft get`."""
import contextlib
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

import harness
from harness import run

BODY = bytes(range(256)) * 4000


def openssl(*args):
    subprocess.run(["openssl", *args], check=True, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Site:
    """`weft serve` over a folder with a few files, secured or not."""

    def __init__(self, secured, *more):
        self.folder = tempfile.TemporaryDirectory()
        path = pathlib.Path(self.folder.name)
        self.files = path / "files"
        self.files.mkdir()
        (self.files / "small").write_bytes(b"hello\n")
        (self.files / "large").write_bytes(BODY)
        self.cert = str(path / "cert.pem")
        args = ["--listen", "tcp://127.0.0.1:0"]
        if secured:
            key = str(path / "key.pem")
            openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                    "-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", key, "-out",
                    self.cert, "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
            args = ["--listen", "tls://127.0.0.1:0", "--cert", self.cert, "--key", key]
        self.server = harness.Weft("serve", *args, *more, str(self.files))
        endpoint = self.server.line().split()[1]
        self.url = ("https://" if secured else "http://") + endpoint.split("//")[1]

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.server.__exit__(*args)
        self.folder.cleanup()


def tool(*args, **more):
    return subprocess.run(args, stdin=subprocess.DEVNULL, capture_output=True, check=False,
                          timeout=harness.PATIENCE * 3, **more)


class Clients(harness.Case):
    def test_curl(self):
        for secured, how in ((True, ["--http2"]), (False, ["--http2-prior-knowledge"])):
            with Site(secured) as site:
                trust = ["--cacert", site.cert] if secured else []
                for name, body in (("small", b"hello\n"), ("large", BODY)):
                    done = tool("curl", "-sS", "-w", "%{stderr}%{http_version} %{http_code}", *how,
                                *trust, f"{site.url}/{name}")
                    self.assertEqual(done.stderr, b"2 200", done.stderr)
                    self.assertEqual(done.stdout, body)
                done = tool("curl", "-sS", "-I", *how, *trust, f"{site.url}/large")
                self.assertIn(f"content-length: {len(BODY)}\r\n".encode(), done.stdout)
                done = tool("curl", "-sS", "-r", "5-9", *how, *trust, f"{site.url}/large")
                self.assertEqual(done.stdout, BODY[5:10])
                done = tool("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", *how, *trust,
                            "-d", "x=1", f"{site.url}/small")
                self.assertEqual(done.stdout, b"405")

    def test_alpn_chooses(self):
        with Site(True) as site:
            for how, version in (("--http1.1", b"1.1"), ("--http2", b"2")):
                done = tool("curl", "-sS", "-o", "/dev/null", "-w", "%{http_version}", how,
                            "--cacert", site.cert, f"{site.url}/small")
                self.assertEqual(done.stdout, version)

    @unittest.skipUnless(shutil.which("nghttp"), "no nghttp")
    def test_nghttp(self):
        with Site(False) as site:
            done = tool("nghttp", "-nv", f"{site.url}/small", f"{site.url}/large")
            text = re.sub(rb"\x1b\[[0-9;]*m", b"", done.stdout)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(text.count(b":status: 200"), 2, text)
            self.assertNotIn(b"RST_STREAM", text)

    @unittest.skipUnless(shutil.which("h2load"), "no h2load")
    def test_h2load(self):
        for secured in (False, True):
            with Site(secured) as site:
                done = tool("h2load", "-n", "2000", "-c", "10", "-m", "20", f"{site.url}/small")
                self.assertIn(b"2000 succeeded, 0 failed, 0 errored", done.stdout, done.stdout)
                done = tool("h2load", "-n", "40", "-c", "2", "-m", "10", f"{site.url}/large")
                self.assertIn(b"40 succeeded, 0 failed, 0 errored", done.stdout, done.stdout)

    def test_drain(self):
        """Requests that go on while the server is told to stop are answered."""
        with Site(False) as site:
            load = subprocess.Popen(["h2load", "-D", "60", "-c", "4", "-m", "5",
                                     f"{site.url}/small"], stdout=subprocess.PIPE,
                                    stderr=subprocess.DEVNULL) if shutil.which("h2load") else None
            if load is None:
                self.skipTest("no h2load")
            harness.until(lambda: harness.connections(site.server.pid), "the load")
            self.assertEqual(site.server.finish(), 0)
            load.kill()
            load.communicate()


class Ours(harness.Case):
    def test_get_from_ourselves(self):
        with Site(True) as site, tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder, "out")
            url = site.url.replace("127.0.0.1", "localhost")
            done = run("get", f"{url}/large", "--ca", site.cert, "--output", file, "-v")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(file.read_bytes(), BODY)
            self.assertIn("< HTTP/2 200\n", done.stderr)
            done = run("get", f"{url}/small", "--ca", site.cert, "--http1", "-v")
            self.assertIn("< HTTP/1.1 200 OK\n", done.stderr)
            done = run("get", f"{url}/small")
            self.assertEqual(done.returncode, 1)
            self.assertIn("self-signed", done.stderr)


def h2_server(listener, secured):
    """One connection of Python's h2, which echoes bodies and sends trailers."""
    import h2.config
    import h2.connection
    import h2.events
    sock, _ = listener.accept()
    if secured is not None:
        sock = secured.wrap_socket(sock, server_side=True)
    conn = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    conn.initiate_connection()
    sock.sendall(conn.data_to_send())
    bodies = {}
    with sock:
        while True:
            data = sock.recv(65535)
            if not data:
                return
            for event in conn.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    bodies[event.stream_id] = b""
                elif isinstance(event, h2.events.DataReceived):
                    bodies[event.stream_id] += event.data
                    conn.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, h2.events.StreamEnded):
                    body = b"got " + str(len(bodies[event.stream_id])).encode()
                    conn.send_headers(event.stream_id, [(":status", "200"), ("x-by", "h2")])
                    conn.send_data(event.stream_id, body)
                    conn.send_headers(event.stream_id, [("x-sum", "1")], end_stream=True)
            with contextlib.suppress(OSError):
                sock.sendall(conn.data_to_send())


class Tunnel(harness.Case):
    """WebSocket over a stream of HTTP/2 (RFC 8441): the node's page asks for its reports so."""

    def open(self, port, headers):
        import h2.connection
        sock = socket.create_connection(("127.0.0.1", port), harness.PATIENCE)
        conn = h2.connection.H2Connection()
        conn.initiate_connection()
        sock.sendall(conn.data_to_send())
        self.pump(sock, conn, lambda events: any(
            type(e).__name__ == "RemoteSettingsChanged" for e in events))
        self.assertEqual(conn.remote_settings.enable_connect_protocol, 1)
        conn.send_headers(1, [(":method", "CONNECT"), (":protocol", "websocket"),
                              (":scheme", "http"), (":authority", f"127.0.0.1:{port}"), *headers])
        sock.sendall(conn.data_to_send())
        return sock, conn

    def pump(self, sock, conn, until):
        """Events until the condition holds of all that have come."""
        seen = []
        while not until(seen):
            data = sock.recv(65535)
            self.assertTrue(data, seen)
            seen += conn.receive_data(data)
            sock.sendall(conn.data_to_send())
        return seen

    def status(self, events):
        for event in events:
            if type(event).__name__ == "ResponseReceived":
                return dict(event.headers)[b":status"]
        return None

    def test_reports(self):
        try:
            import h2.connection  # noqa: F401
        except ImportError:
            self.skipTest("no h2")
        with harness.Weft("up", "--tasks", "tcp://127.0.0.1:0", "--threads", "none", "--protocols",
                          "none", "--udp", "none", "--unix", "none", "--http",
                          "tcp://127.0.0.1:0", "--status-ms", "0") as node:
            while not (line := node.line()).endswith(" http"):
                pass
            port = int(line.split()[1].rsplit(":", 1)[1])
            version = [(":path", "/live"), ("sec-websocket-version", "13")]
            sock, conn = self.open(port, version)
            with sock:
                def body(events):
                    return b"".join(e.data for e in events if type(e).__name__ == "DataReceived")
                seen = self.pump(sock, conn, lambda events: b'"tree"' in body(events))
                self.assertEqual(self.status(seen), b"200")
                self.assertEqual(body(seen)[0], 0x81)
                close = b"\x88\x82" + b"\x00\x00\x00\x00" + b"\x03\xe8"  # masked by zeros
                conn.send_data(1, close)
                sock.sendall(conn.data_to_send())
                self.pump(sock, conn, lambda events: any(
                    type(e).__name__ in ("StreamEnded", "StreamReset") for e in events))
            for headers, status in (
                    ([*version, ("origin", "https://evil.example")], b"403"),
                    ([(":path", "/nothing")], b"404"),
                    ([(":path", "/live")], b"426"),
                    ([(":path", "/live"), ("sec-websocket-version", "7")], b"426")):
                sock, conn = self.open(port, headers)
                with sock:
                    seen = self.pump(sock, conn, lambda e: self.status(e) is not None)
                    self.assertEqual(self.status(seen), status)
            # A route that would answer with 200 opens no tunnel.
            sock, conn = self.open(port, [(":path", "/healthz")])
            with sock:
                seen = self.pump(sock, conn, lambda events: any(
                    type(e).__name__ in ("StreamReset", "ResponseReceived") for e in events))
                self.assertNotEqual(self.status(seen), b"200")
            self.assertEqual(node.finish(), 0)


class Servers(harness.Case):
    def test_python_h2(self):
        try:
            import h2.connection  # noqa: F401
        except ImportError:
            self.skipTest("no h2")
        import ssl
        with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as s:
            cert, key = f"{folder}/cert.pem", f"{folder}/key.pem"
            openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                    "-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", key, "-out", cert,
                    "-addext", "subjectAltName=DNS:localhost")
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(cert, key)
            context.set_alpn_protocols(["h2"])
            thread = threading.Thread(target=h2_server, args=(s, context), daemon=True)
            thread.start()
            port = s.getsockname()[1]
            body = pathlib.Path(folder, "body")
            body.write_bytes(BODY)
            done = run("get", f"https://localhost:{port}/", "--ca", cert, "--data-file", body)
            self.assertEqual((done.returncode, done.stdout), (0, f"got {len(BODY)}"), done.stderr)
            thread.join(harness.PATIENCE)


if __name__ == "__main__":
    sys.exit(harness.main())
