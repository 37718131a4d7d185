# SPDX-License-Identifier: MIT
"""HTTP/2 with Node's own module on the other side, as client and as server, secured and with prior
knowledge: trailers, long bodies, many streams, streams that are reset midway, GOAWAY."""
import shutil
import signal
import tempfile
import unittest
import zlib

import harness
from peers import Fetch, Process, Site, certificate

PEER = str(harness.ROOT / "tests" / "node" / "http2_peer.js")
SENT = bytes((i * 31 + i // 251) % 256 for i in range(3_000_000))


@unittest.skipUnless(shutil.which("node"), "no node")
class Node(harness.Case):
    def test_client(self):
        with tempfile.TemporaryDirectory() as folder:
            pair = certificate(folder)
            for secured in (True, False):
                with self.subTest(secured=secured), \
                        Site(PEER, *(pair if secured else ()), secured=secured) as site, \
                        Process("node", PEER, "client",
                                f"https://localhost:{site.port}" if secured else
                                f"http://127.0.0.1:{site.port}",
                                *(pair[:1] if secured else ())) as node:
                    try:
                        self.assertEqual(node.line(), "stop")
                        self.assertEqual(site.finish(signal.SIGTERM), 0)
                        self.assertEqual(node.line(), "all is well")
                    except AssertionError as why:
                        node.process.kill()
                        raise AssertionError(node.process.stderr.read().decode()) from why
                    self.assertEqual(node.wait(), 0)

    def test_server(self):
        with tempfile.TemporaryDirectory() as folder:
            pair = certificate(folder)
            for secured in (True, False):
                with self.subTest(secured=secured), \
                        Process("node", PEER, "server", *(pair if secured else ())) as node, \
                        Fetch(f"ca={pair[0]}" if secured else "prior") as client:
                    port = node.line().split()[1]
                    url = f"https://localhost:{port}" if secured else f"http://127.0.0.1:{port}"
                    self.server(client, url)
                    with Fetch(f"ca={pair[0]}" if secured else "prior") as another:
                        self.goaway(another, url)

    def server(self, client, url):
        whole = (200, 20, len(SENT), zlib.adler32(SENT), "-", "node")
        self.assertEqual(client.ask(f"GET {url}/bytes")[:6], whole)
        # What comes back while a body is being sent has to fit into our window.
        whole = (200, 20, 200_000, zlib.adler32(SENT[:200_000]), "-", "node")
        self.assertEqual(client.ask(f"POST {url}/echo body=200000")[:6], whole)
        self.assertEqual(client.ask(f"POST {url}/echo body=200000 chunked expect")[:6], whole)
        self.assertEqual(client.ask(f"POST {url}/count body={len(SENT)}")[3],
                         zlib.adler32(b"3000000"))
        for got in client.ask(f"POST {url}/echo body=5000", times=150):
            self.assertEqual(got[:6], (200, 20, 5000, zlib.adler32(SENT[:5000]), "-", "node"))
        for got in client.ask(f"GET {url}/bytes stop=100", times=10):
            self.assertEqual(got[0], 200)
        harness.until(lambda: client.ask(f"GET {url}/resets")[3] == zlib.adler32(b"10"), "resets")
        self.assertEqual(client.ask(f"POST {url}/early body={len(SENT)}")[:3], (413, 20, 8))
        with self.assertRaisesRegex(AssertionError, "error WEFT_EEOF .*INTERNAL_ERROR"):
            client.ask(f"GET {url}/reset")
        self.assertEqual(client.ask(f"POST {url}/refuse body=10")[:3], (200, 20, 5))

    def goaway(self, client, url):
        """A connection that takes no more requests is replaced."""
        self.assertEqual(client.ask(f"GET {url}/goaway")[:3], (200, 20, 4))
        self.assertEqual(client.ask(f"POST {url}/echo body=10")[:3], (200, 20, 10))
        self.assertEqual(client.stats()["connections"], 2)


if __name__ == "__main__":
    harness.main()
