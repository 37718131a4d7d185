# SPDX-License-Identifier: MIT
"""`weft serve` and the HTTP examples as real clients see them: curl, Python, aiohttp, Node; a drain
under load with a successor at the same port."""
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import unittest

import harness
from harness import DRIVERS, PATIENCE, Case, Weft, run, until

BUILD = pathlib.Path(os.environ.get("WEFT_BUILD_ROOT") or pathlib.Path(harness.WEFT).parents[2])


class Serve(Weft):
    def __init__(self, *args, driver=None, listen="tcp://127.0.0.1:0"):
        super().__init__("serve", *args, "--listen", listen, driver=driver)
        word, endpoint = self.line().split(" ", 1)
        assert word == "listening", word
        self.port = int(endpoint.rsplit(":", 1)[1])


class Example(Weft):
    def __init__(self, name, *args):
        # pylint: disable=super-init-not-called
        self.process = subprocess.Popen([str(BUILD / "examples" / name), "tcp://127.0.0.1:0", *args],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, env=harness.environment())
        self.pending, self.alive, self.pid = b"", True, self.process.pid
        self.port = int(self.line().rsplit(":", 1)[1])


def get(port, path, method="GET", body=None, headers=None):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    c.request(method, path, body, headers or {})
    r = c.getresponse()
    data = r.read()
    c.close()
    return r, data


class Files(Case):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.path = pathlib.Path(self.dir.name)
        self.big = os.urandom(3_000_000)
        (self.path / "big.bin").write_bytes(self.big)
        (self.path / "a.html").write_text("<p>hello")
        (self.path / ".secret").write_text("secret")
        (self.path / "link").symlink_to("/etc/passwd")

    def tearDown(self):
        self.dir.cleanup()

    def test_files_with_python(self):
        for driver in DRIVERS:
            with self.subTest(driver=driver), Serve(self.path, driver=driver) as s:
                r, data = get(s.port, "/big.bin")
                self.assertEqual((r.status, data), (200, self.big))
                r, data = get(s.port, "/big.bin", headers={"Range": "bytes=100-199"})
                self.assertEqual((r.status, data), (206, self.big[100:200]))
                r, data = get(s.port, "/a.html")
                self.assertEqual(r.getheader("Content-Type"), "text/html; charset=utf-8")
                r, data = get(s.port, "/a.html", headers={"If-None-Match": r.getheader("ETag")})
                self.assertEqual((r.status, data), (304, b""))
                for path in ("/.secret", "/link", "/nothing", "/"):
                    r, data = get(s.port, path)
                    self.assertEqual(r.status, 404, path)
                    self.assertNotIn(b"root:", data)
                r, data = get(s.port, "/a.html", "POST", b"x")
                self.assertEqual(r.status, 405)
                # several on one connection
                c = http.client.HTTPConnection("127.0.0.1", s.port, timeout=PATIENCE)
                for _ in range(20):
                    c.request("GET", "/a.html")
                    self.assertEqual(c.getresponse().read(), b"<p>hello")
                c.close()
                self.assertEqual(s.finish(), 0)

    def test_clients_that_leave(self):
        """Some before anything comes, some with a part of it: others are served as before."""
        for driver in DRIVERS:
            with self.subTest(driver=driver), Serve(self.path, driver=driver) as s:
                for part in (0, 1, 100_000) * 10:
                    with socket.create_connection(("127.0.0.1", s.port), PATIENCE) as sock:
                        sock.sendall(b"GET /big.bin HTTP/1.1\r\nHost: a\r\n\r\n")
                        while part > 0:
                            came = len(sock.recv(min(part, 65536)))
                            self.assertGreater(came, 0, "the file ended early")
                            part -= came
                r, data = get(s.port, "/big.bin")
                self.assertEqual((r.status, data), (200, self.big))
                self.assertEqual(s.finish(), 0)

    @unittest.skipUnless(shutil.which("curl"), "no curl")
    def test_files_with_curl(self):
        with Serve(self.path, "--list", "--log", "combined") as s:
            url = f"http://127.0.0.1:{s.port}"
            done = subprocess.run(["curl", "-sS", "--fail", url + "/big.bin", url + "/big.bin",
                                   "-o", self.path / "1", "-o", self.path / "2"],
                                  capture_output=True, timeout=PATIENCE, check=True)
            self.assertEqual(done.stderr, b"")
            self.assertEqual((self.path / "2").read_bytes(), self.big)
            done = subprocess.run(["curl", "-sS", "-C", "1000", "-o", self.path / "3",
                                   url + "/big.bin"], capture_output=True, timeout=PATIENCE,
                                  check=True)
            done = subprocess.run(["curl", "-sS", url + "/"], capture_output=True, timeout=PATIENCE,
                                  check=True)
            self.assertIn(b'<a href="big.bin">big.bin</a>', done.stdout)
            self.assertNotIn(b"secret", done.stdout)
            line = s.line()
            self.assertRegex(line, r'^127.0.0.1 - - \[.*\] "GET /big.bin HTTP/1.1" 200 3000000 '
                                   r'"-" "curl/.*"$')

    @unittest.skipUnless(shutil.which("node"), "no node")
    def test_files_with_node(self):
        script = """const http = require('http');
const agent = new http.Agent({keepAlive: true, maxSockets: 4});
let left = 50;
for (let i = 0; i < 50; i++)
  http.get({port: process.argv[1], path: '/a.html', agent}, (r) => {
    let d = ''; r.on('data', (c) => d += c);
    r.on('end', () => { if (d !== '<p>hello') process.exit(1); if (--left === 0) process.exit(0); });
  }).on('error', () => process.exit(2));
"""
        with Serve(self.path) as s:
            done = subprocess.run(["node", "-e", script, str(s.port)], capture_output=True,
                                  timeout=PATIENCE, check=False)
            self.assertEqual((done.returncode, done.stderr), (0, b""))

    def test_files_with_aiohttp(self):
        script = """import asyncio, sys
import aiohttp
async def main():
    async with aiohttp.ClientSession() as s:
        async def one():
            async with s.get('http://127.0.0.1:' + sys.argv[1] + '/big.bin') as r:
                return len(await r.read())
        assert set(await asyncio.gather(*[one() for _ in range(20)])) == {3000000}
asyncio.run(main())
"""
        if subprocess.run(["/usr/bin/python3", "-c", "import aiohttp"], capture_output=True,
                          check=False).returncode != 0:
            self.skipTest("no aiohttp")
        with Serve(self.path) as s:
            done = subprocess.run(["/usr/bin/python3", "-c", script, str(s.port)],
                                  capture_output=True, timeout=3 * PATIENCE, check=False)
            self.assertEqual((done.returncode, done.stderr), (0, b""))

    def test_mistakes(self):
        done = run("serve", "/nowhere", "--listen", "tcp://127.0.0.1:0")
        self.assertEqual(done.returncode, 1)
        self.assertIn("cannot serve /nowhere", done.stderr)
        self.assertEqual(run("serve").returncode, 2)
        done = run("serve", self.path, "--listen", "tcp://127.0.0.1:0:0")
        self.assertEqual(done.returncode, 2)

    def test_no_request_is_lost_when_a_successor_takes_over(self):
        """Clients that keep their connections, and ask again at once, see answers only."""
        for driver in DRIVERS:
            with self.subTest(driver=driver), Serve(self.path, driver=driver) as first:
                stop, counts, failures = threading.Event(), [0] * 8, []

                def client(i, port=first.port, stop=stop, counts=counts, failures=failures):
                    c = None
                    while not stop.is_set():
                        try:
                            c = c or http.client.HTTPConnection("127.0.0.1", port,
                                                                timeout=PATIENCE)
                            c.request("GET", "/a.html")
                            r = c.getresponse()
                            assert r.read() == b"<p>hello" and r.status == 200
                            counts[i] += 1
                            if r.getheader("Connection") == "close":
                                c.close()
                                c = None
                        except Exception as why:  # pylint: disable=broad-except
                            failures.append(repr(why))
                            return

                threads = [threading.Thread(target=client, args=(i,)) for i in range(8)]
                for t in threads:
                    t.start()
                until(lambda: min(counts) > 20 or failures, "requests")
                with Serve(self.path, driver=driver,
                           listen=f"tcp://127.0.0.1:{first.port}") as second:
                    first.process.send_signal(signal.SIGTERM)
                    self.assertEqual(first.wait(), 0)
                    seen = list(counts)
                    until(lambda: all(a > b + 20 for a, b in zip(counts, seen)) or failures,
                          "requests to the successor")
                    stop.set()
                    for t in threads:
                        t.join(PATIENCE)
                    self.assertEqual(failures, [])
                    second.finish()

    def test_a_second_signal_ends_it_at_once(self):
        """With a client that has not read all of its answer."""
        with open(self.path / "long", "wb") as file:
            file.truncate(1 << 30)
        for number in (signal.SIGINT, signal.SIGTERM):
            with Serve(self.path, "--drain-ms", "3600000") as server, \
                    socket.create_connection(("127.0.0.1", server.port), PATIENCE) as sock:
                sock.sendall(b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n")
                self.assertTrue(sock.recv(1).startswith(b"H"))
                server.send(number)
                until(lambda: harness.listening_port(server.pid) is None, "the end of listening")
                server.send(number)
                self.assertEqual(server.wait(), 128 + number)


class Guide(Case):
    def test_code_is_that_of_the_examples(self):
        text = (harness.ROOT / "docs" / "guide" / "http-server.md").read_text(encoding="utf-8")
        sources = "\n".join(path.read_text(encoding="utf-8")
                            for path in sorted((harness.ROOT / "examples").glob("1*_http_*.c")))
        blocks = re.findall(r"^```c\n(.*?)^```", text, re.S | re.M)
        self.assertGreater(len(blocks), 3)
        for block in blocks:
            self.assertIn(block, sources)


class Examples(Case):
    def test_server(self):
        with Example("12_http_server") as s:
            r, data = get(s.port, "/hello/you")
            self.assertEqual((r.status, data), (200, b"hello you\n"))
            r, data = get(s.port, "/slow")
            self.assertEqual((r.status, data), (200, b"that took a while\n"))

    def test_json(self):
        if not (BUILD / "examples" / "13_http_json").exists():
            self.skipTest("built without jansson")
        with Example("13_http_json") as s:
            r, data = get(s.port, "/sum", "POST", b"[1, 2.5]")
            self.assertEqual((r.status, json.loads(data)), (200, {"count": 2, "sum": 3.5}))
            self.assertEqual(get(s.port, "/sum", "POST", b"{")[0].status, 400)
            self.assertEqual(get(s.port, "/sum", "POST", b"1" * 100000)[0].status, 413)
            # Longer than all the buffers between the two, and this client sends it before it looks.
            self.assertEqual(get(s.port, "/sum", "POST", b"1" * 20_000_000)[0].status, 413)

    def test_upload(self):
        with tempfile.TemporaryDirectory() as folder, Example("14_http_upload", folder) as s:
            data = os.urandom(2_000_000)
            self.assertEqual(get(s.port, "/a.bin", "PUT", data)[0].status, 201)
            self.assertEqual((pathlib.Path(folder) / "a.bin").read_bytes(), data)
            self.assertEqual(get(s.port, "/a.bin", "PUT", data)[0].status, 409)
            with socket.create_connection(("127.0.0.1", s.port), PATIENCE) as c:
                c.sendall(b"PUT /half HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc")
                c.shutdown(socket.SHUT_WR)
                while c.recv(1000):
                    pass
            until(lambda: not (pathlib.Path(folder) / "half").exists(), "the half is removed")


if __name__ == "__main__":
    harness.main()
