# SPDX-License-Identifier: MIT
"""The node's page in a real browser: its charts move, it says nothing on the console, it fits a
phone, and it comes back when the node does."""
import http.client
import os
import pathlib
import re
import signal
import socket
import sys
import tempfile
import unittest
import urllib.error
import urllib.request

import browser
import harness

LINE = "document.querySelector('#chart-{} path.line').getAttribute('d')"
NONE = [f"--{name}=none" for name in ("threads", "protocols", "udp", "unix")]


def up(*more, http="tcp://127.0.0.1:0", tasks="tcp://127.0.0.1:0"):
    node = harness.Weft("up", "--tasks", tasks, "--http", http, "--status-ms", "0", *NONE, *more)
    node.echo = node.http = node.page = None
    while node.page is None:
        line = node.line()
        words = line.split()
        if line.endswith(" echo tasks"):
            node.echo = words[1]
        elif line.endswith(" http"):
            node.http = words[1]
        elif line.startswith("the node's page: "):
            node.page = words[-1]
    return node


def fetch(url):
    with urllib.request.urlopen(url, timeout=30) as reply:
        return reply.status, dict(reply.headers), reply.read()


class Plain(harness.Case):
    def test_health_and_metrics(self):
        with up() as node:
            self.assertEqual(fetch(node.page + "healthz")[2], b"ok\n")
            harness.load(node.echo, "--seconds", "0.2", "--connections", "2")
            _, headers, text = fetch(node.page + "metrics")
            self.assertTrue(headers["Content-Type"].startswith("text/plain; version=0.0.4"))
            samples = {}
            for line in text.decode().splitlines():
                if not line.startswith("#"):
                    name, value = line.rsplit(" ", 1)
                    samples[name] = float(value)
            messages = [v for k, v in samples.items() if k.startswith("weft_messages_total{")]
            self.assertGreater(messages[0], 0)
            self.assertGreater(samples["process_resident_memory_bytes"], 1 << 20)
            self.assertIn('weft_http_requests_total{class="2xx"}', samples)
            self.assertEqual(node.finish(), 0)

    def test_metrics_are_well_formed_whatever_a_path_holds(self):
        value = r'"(?:[^"\\\n]|\\[\\"n])*"'
        sample = re.compile(rf"[a-z_]+(?:\{{[a-z]+={value}(?:,[a-z]+={value})*\}})? [0-9.e+-]+")
        with tempfile.TemporaryDirectory() as folder:
            path = f"unix:{folder}/a\"b\\x5cc\\x0ad"
            with up("--unix", path) as node:
                lines = fetch(node.page + "metrics")[2].decode().splitlines()
                for line in lines:
                    if not line.startswith("#"):
                        self.assertIsNotNone(sample.fullmatch(line), line)
                escaped = path.replace("\\", "\\\\").replace('"', '\\"')
                self.assertTrue(any(f'endpoint="{escaped}"' in line for line in lines), lines)
                self.assertEqual(node.finish(), 0)

    def test_files(self):
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "a.txt").write_text("hello")
            with up("--files", folder) as node:
                self.assertEqual(fetch(node.page + "files/a.txt")[2], b"hello")
                self.assertIn(b"a.txt", fetch(node.page + "files/")[2])
        with up() as node:
            with self.assertRaises(urllib.error.HTTPError) as caught:
                fetch(node.page + "files/a.txt")
            self.assertEqual(caught.exception.code, 404)

    def test_others_pages_may_not_listen(self):
        with up() as node:
            host = node.page.removeprefix("http://").rstrip("/")
            for origin, status in (("https://evil.example", 403), (f"http://{host}", 101)):
                connection = http.client.HTTPConnection(host, timeout=30)
                connection.request("GET", "/live", headers={
                    "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
                    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Origin": origin})
                self.assertEqual(connection.getresponse().status, status)
                connection.close()

    def test_who_looks_does_not_hold_up_the_end(self):
        with up("--status-ms", "3600000", "--drain-ms", "3600000") as node:
            host = node.page.removeprefix("http://").rstrip("/")
            with socket.create_connection(("127.0.0.1", int(host.rpartition(":")[2])),
                                          harness.PATIENCE) as sock, sock.makefile("rb") as frames:
                sock.sendall(f"GET /live HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\n"
                             "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                             "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode())
                while frames.readline() != b"\r\n":
                    pass
                node.send(signal.SIGTERM)
                self.assertEqual(node.line(),
                                 "stopping; open connections (1) may go on for 3600000 ms")
                kind = 0x81
                while kind == 0x81:  # reports
                    kind, size = frames.read(2)
                    if size == 126:
                        size = int.from_bytes(frames.read(2), "big")
                    body = frames.read(size)
                self.assertEqual((kind, body[:2]), (0x88, (1001).to_bytes(2, "big")))
            self.assertEqual(node.wait(), 0)


@unittest.skipIf(browser.program() is None, "no Chromium")
class InBrowser(harness.Case):
    def test_charts_move(self):
        with up() as node, browser.Browser() as b:
            page = b.open(node.page)
            page.until("document.getElementById('link').textContent === 'live'")
            page.until(f"({LINE.format('cpu')} || '').split('L').length >= 3")
            before = page.evaluate(LINE.format("messages"))
            load = harness.load(node.echo, "--seconds", "2.5", "--connections", "4")
            self.assertEqual(load.returncode, 0, load.stderr)
            page.until(f"{LINE.format('messages')} !== {before!r} && "
                       "!/^0$/.test(document.querySelector('#chart-messages small')"
                       ".textContent.replace('most: ', ''))")
            self.assertEqual(page.evaluate("document.querySelectorAll('#charts figure').length"), 6)
            self.assertIn("loop", page.evaluate("document.getElementById('tree').textContent"))
            self.assertIn(node.echo, page.evaluate("document.getElementById('services').textContent"))
            self.assertEqual(page.errors, [])
            if os.environ.get("WEFT_SCREENSHOT"):
                page.screenshot(os.environ["WEFT_SCREENSHOT"] + "-wide.png")

    def test_fits_a_phone(self):
        with up() as node, browser.Browser() as b:
            page = b.open(node.page, width=360, height=740)
            page.until(f"({LINE.format('lag')} || '').split('L').length >= 2")
            self.assertLessEqual(page.evaluate("document.documentElement.scrollWidth"), 360)
            widths = page.evaluate("[...document.querySelectorAll('figure')]"
                                   ".map((f) => f.getBoundingClientRect().width)")
            self.assertTrue(all(200 < w <= 360 for w in widths), widths)
            self.assertEqual(page.errors, [])
            if os.environ.get("WEFT_SCREENSHOT"):
                page.screenshot(os.environ["WEFT_SCREENSHOT"] + "-phone.png")

    def test_comes_back(self):
        with browser.Browser() as b:
            with up() as node:
                page = b.open(node.page)
                page.until("document.getElementById('link').textContent === 'live'")
                http, tasks = node.http, node.echo
                self.assertEqual(node.finish(), 0)
            page.until("document.getElementById('link').textContent === 'not connected'")
            with up(http=http, tasks=tasks):
                page.until("document.getElementById('link').textContent === 'live'")


if __name__ == "__main__":
    sys.exit(harness.main())
