# SPDX-License-Identifier: MIT
"""The HTTP client with nginx and Caddy as servers: bodies both ways, codings, ranges, redirects,
100-continue, HTTP/1.1 and HTTP/2 (ALPN and prior knowledge), and kept connections that have ended
because the server was told to reload. The client is tests/support/fetch.c, and `weft get`."""
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest
import zlib

import harness
import peers
from harness import PATIENCE, until

TEXT = b"a line of text that can be compressed\n" * 8000
BYTES = os.urandom(400_000)

SENT = bytes((i * 31 + i // 251) % 256 for i in range(300_000))  # what fetch sends


def ports(n):
    """Ports that are free at this moment; whoever binds them tries again with others."""
    socks = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    numbers = [s.getsockname()[1] for s in socks]
    for s in socks:
        s.close()
    return numbers


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), PATIENCE).close()
        return True
    except ConnectionError:
        return False


class Site:
    """A folder with files, a certificate, and a server in front of them. `ways` is how it is
    spoken to: words for fetch, the version that comes of it, the URL."""

    program = None

    def __init__(self):
        self.dir = tempfile.TemporaryDirectory()
        self.path = pathlib.Path(self.dir.name)
        self.path.chmod(0o755)  # the server may serve as another user
        self.files = self.path / "files"
        self.files.mkdir()
        (self.files / "text.txt").write_bytes(TEXT)
        (self.files / "bytes").write_bytes(BYTES)
        (self.files / "small").write_bytes(b"hello\n")
        self.cert, self.key = peers.certificate(self.path)
        for _ in range(5):  # another may have taken a port
            self.ports = ports(3)
            self.start()
            until(lambda: self.process.poll() is not None or all(map(answers, self.ports)), "it")
            if self.process.poll() is None:
                break
        plain, secured, prior = self.ports
        self.ways = [
            ((), 11, f"http://127.0.0.1:{plain}"),
            ((f"ca={self.cert}", "http1"), 11, f"https://localhost:{secured}"),
            ((f"ca={self.cert}",), 20, f"https://localhost:{secured}"),
            (("prior",), 20, f"http://127.0.0.1:{prior}"),
        ]

    def __enter__(self):
        assert self.process.poll() is None, (self.path / "log").read_text()
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE)
        self.dir.cleanup()

    def run(self, *args):
        with open(self.path / "log", "wb") as log:
            self.process = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env={**os.environ, "HOME": str(self.path)})


class Nginx(Site):
    program = "nginx"

    def start(self):
        (self.files / "in").mkdir(exist_ok=True)
        (self.files / "in").chmod(0o777)
        at = self.path
        servers = "".join(f"""
    server {{
        listen 127.0.0.1:{port} {more};
        location / {{ root {self.files}; }}
        location /moved {{ return 302 /small; }}
        location /in/ {{
            root {self.files};
            dav_methods PUT;
            client_max_body_size 1m;
        }}
    }}""" for port, more in zip(self.ports, ("", "ssl http2", "http2")))
        (at / "nginx.conf").write_text(f"""
daemon off;
worker_processes 1;
pid {at}/pid;
error_log stderr;
events {{ worker_connections 256; }}
http {{
    access_log off;
    types {{ text/plain txt; }}
    gzip on;
    gzip_types text/plain;
    lingering_timeout 200ms;
    ssl_certificate {self.cert};
    ssl_certificate_key {self.key};
    client_body_temp_path {at}/t1;
    proxy_temp_path {at}/t2;
    fastcgi_temp_path {at}/t3;
    uwsgi_temp_path {at}/t4;
    scgi_temp_path {at}/t5;{servers}
}}
""")
        self.run(shutil.which("nginx") or "/usr/sbin/nginx", "-c", str(at / "nginx.conf"), "-e",
                 "stderr", "-p", str(at))

    def workers(self):
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children",
                  encoding="ascii") as f:
            return set(f.read().split())

    def reload(self):
        before = self.workers()
        self.process.send_signal(signal.SIGHUP)
        until(lambda: self.workers() and not self.workers() & before, "other workers")


class Caddy(Site):
    program = "caddy"

    def start(self):
        site = f"""
    root * {self.files}
    encode gzip
    redir /moved /small 302
    @put method PUT POST
    respond @put "{{http.request.body}}"
    file_server
}}
"""
        plain, secured, prior = self.ports
        (self.path / "Caddyfile").write_text(f"""{{
    admin off
    auto_https off
    servers {{
        protocols h1 h2 h2c
    }}
}}
http://127.0.0.1:{plain} {{{site}
http://127.0.0.1:{prior} {{{site}
https://localhost:{secured} {{
    tls {self.cert} {self.key}{site}
""")
        self.run("caddy", "run", "--config", str(self.path / "Caddyfile"), "--adapter", "caddyfile")


def summary(body):
    return len(body), zlib.adler32(body)


class Upstreams(harness.Case):
    def fetches(self, kind):
        if shutil.which(kind.program) is None and not os.access(f"/usr/sbin/{kind.program}", os.X_OK):
            self.skipTest(f"no {kind.program}")
        with kind() as site:
            for words, version, url in site.ways:
                with self.subTest(words=words), peers.Fetch(*words) as client:
                    yield site, client, version, url

    def common(self, client, version, url):
        status = (200, version)
        self.assertEqual(client.ask(f"GET {url}/small")[:4], (*status, *summary(b"hello\n")))
        got = client.ask(f"GET {url}/text.txt")
        self.assertEqual(got[:5], (*status, *summary(TEXT), "gzip"))
        got = client.ask(f"GET {url}/text.txt Accept-Encoding:identity")
        self.assertEqual(got[:5], (*status, *summary(TEXT), "-"))
        self.assertEqual(client.ask(f"GET {url}/bytes")[:4], (*status, *summary(BYTES)))
        got = client.ask(f"GET {url}/bytes Range:bytes=1000-4999")
        self.assertEqual(got[:4], (206, version, *summary(BYTES[1000:5000])))
        self.assertEqual(client.ask(f"HEAD {url}/bytes")[:3], (200, version, 0))
        self.assertEqual(client.ask(f"GET {url}/nothing")[0], 404)
        got = client.ask(f"GET {url}/moved")
        self.assertEqual((got[0], got[2], got[6]), (200, 6, f"{url}/small"))
        stats = client.stats()
        self.assertEqual((stats["connections"], stats["retries"], stats["redirects"]), (1, 0, 1))
        self.assertEqual(stats["reused"], stats["requests"] - 1)
        # Who gives up a body leaves the client, and a connection of HTTP/2, whole.
        self.assertEqual(client.ask(f"GET {url}/bytes stop=1000")[0], 200)
        for got in client.ask(f"GET {url}/bytes", times=12):
            self.assertEqual(got[:4], (*status, *summary(BYTES)))

    def test_nginx(self):
        for site, client, version, url in self.fetches(Nginx):
            self.common(client, version, url)
            for i, how in enumerate(("", "chunked", "expect", "expect chunked")):
                self.assertEqual(client.ask(f"PUT {url}/in/{version}-{i} body=300000 {how}")[0],
                                 201 if not (site.files / "in" / f"{version}-{i}.seen").exists()
                                 else 204, how)
                (site.files / "in" / f"{version}-{i}.seen").touch()
                self.assertEqual((site.files / "in" / f"{version}-{i}").read_bytes(), SENT)
            # Refused before the body is sent, and while it is.
            self.assertEqual(client.ask(f"PUT {url}/in/x body=3000000 expect")[0], 413)
            self.assertEqual(client.ask(f"PUT {url}/in/x body=3000000")[0], 413)
            self.assertEqual(client.ask(f"GET {url}/small")[0], 200)

    def test_caddy(self):
        for _, client, version, url in self.fetches(Caddy):
            self.common(client, version, url)
            for how in ("", "chunked", "expect", "expect chunked"):
                got = client.ask(f"PUT {url}/x body=300000 {how}")
                self.assertEqual(got[:4], (200, version, *summary(SENT)), how)

    def test_reload(self):
        """nginx ends kept connections when it is told to reload: neither a request that may be
        repeated nor one that may not fails."""
        for site, client, version, url in self.fetches(Nginx):
            for method in ("GET", "PUT"):
                for got in client.ask(f"GET {url}/bytes", times=4):
                    self.assertEqual(got[:2], (200, version))
                site.reload()
                more = " body=100" if method == "PUT" else ""
                for got in client.ask(f"{method} {url}/in/reload{more}", times=4):
                    self.assertIn(got[0], (200, 201, 204, 404))

    def test_resume(self):
        """`weft get --resume` goes on with a part, over both versions."""
        for kind in (Nginx, Caddy):
            if shutil.which(kind.program) is None and not os.access(f"/usr/sbin/{kind.program}",
                                                                    os.X_OK):
                continue
            with kind() as site:
                out = site.path / "out"
                for words, _, url in site.ways[:3]:
                    args = ("get", f"{url}/bytes", "--resume", "--output", out, "--quiet",
                            "--verbose", *(("--ca", site.cert) if words else ()),
                            *(("--http1",) if "http1" in words else ()))
                    out.unlink(missing_ok=True)
                    harness.run_cut_off(123_456, *args)
                    self.assertTrue(out.read_bytes() == BYTES[:123_456])
                    done = harness.run(*args)
                    self.assertEqual(done.returncode, 0, done.stderr)
                    self.assertIn(" 206", done.stderr)
                    self.assertEqual(out.read_bytes(), BYTES)


if __name__ == "__main__":
    harness.main()
