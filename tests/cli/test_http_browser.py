# SPDX-License-Identifier: MIT
"""A page in Chromium over TLS, by HTTP/2 and by HTTP/1.1: fetch with bodies that stream both ways,
a fetch that is given up, server-sent events that go on where they broke off, WebSocket (over
HTTP/2 as RFC 8441 has it) with permessage-deflate. Nothing may be said on the console."""
import base64
import hashlib
import pathlib
import subprocess
import sys
import tempfile
import unittest

import browser
import harness
import peers

PAGE = """<!doctype html>
<meta charset="utf-8"><link rel="icon" href="data:,"><title>peer</title>
<script>
'use strict';
const pattern = (n) => Uint8Array.from({ length: n }, (_, i) => i * 31 + Math.floor(i / 251));
const same = (a, b) => a.length === b.length && a.every((x, i) => x === b[i]);

async function streams() {
  const reader = (await fetch('/bytes/3000000')).body.getReader();
  const all = new Uint8Array(3000000);
  let n = 0, pieces = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    all.set(value, n);
    n += value.length;
    pieces++;
  }
  return n === 3000000 && pieces > 1 && same(all, pattern(3000000));
}

async function posts() {
  const body = pattern(1000000);
  const reply = await fetch('/echo', { method: 'POST', body });
  return reply.status === 200 && same(new Uint8Array(await reply.arrayBuffer()), body);
}

// Chromium streams a body only where it speaks HTTP/2.
async function streams_up() {
  const whole = pattern(1000000);
  let at = 0;
  const body = new ReadableStream({ pull(c) {
    c.enqueue(whole.slice(at, at + 50000));
    at += 50000;
    if (at >= whole.length) c.close();
  } });
  const reply = await fetch('/echo', { method: 'POST', body, duplex: 'half' });
  return same(new Uint8Array(await reply.arrayBuffer()), whole);
}

async function gives_up() {
  const control = new AbortController();
  const reader = (await fetch('/endless', { signal: control.signal })).body.getReader();
  await reader.read();
  control.abort();
  try { await reader.read(); return 'read on'; } catch (e) { return e.name; }
}

function events() {
  return new Promise((resolve) => {
    const source = new EventSource('/events');
    const got = [];
    let opened = 0;
    source.onopen = () => opened++;
    source.addEventListener('count', (e) => {
      got.push(e.lastEventId + ' ' + e.data);
      if (got.length < 9) return;
      source.close();
      resolve({ got, opened });
    });
  });
}

function socket() {
  return new Promise((resolve, reject) => {
    const ws = new WebSocket(`wss://${location.host}/socket`);
    const sent = ['hello', pattern(300000), '\\u00e9\\u20ac\\ud83d\\ude00'.repeat(2000)];
    const got = [];
    ws.binaryType = 'arraybuffer';
    ws.onopen = () => sent.forEach((m) => ws.send(m));
    ws.onerror = () => reject(new Error('the socket failed'));
    ws.onmessage = (m) => {
      got.push(m.data);
      if (got.length === sent.length) ws.close(4001, 'enough');
    };
    ws.onclose = (e) => resolve({
      same: got[0] === sent[0] && same(new Uint8Array(got[1]), sent[1]) && got[2] === sent[2],
      extensions: ws.extensions, code: e.code, clean: e.wasClean,
    });
  });
}

const protocols = () => [...new Set(performance.getEntriesByType('resource').concat(
  performance.getEntriesByType('navigation')).filter((e) => e.name.startsWith('https:'))
  .map((e) => e.nextHopProtocol))];
</script>
"""


def key_hash(cert):
    """As --ignore-certificate-errors-spki-list has it: this key is believed, and no other."""
    key = subprocess.run(["openssl", "x509", "-in", cert, "-noout", "-pubkey"], check=True,
                         capture_output=True).stdout
    der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "der"], input=key, check=True,
                         capture_output=True).stdout
    return base64.b64encode(hashlib.sha256(der).digest()).decode()


@unittest.skipUnless(browser.program(), "no chromium")
class Chromium(harness.Case):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.page = pathlib.Path(self.dir.name, "page.html")
        self.page.write_text(PAGE, encoding="utf-8")
        self.cert, self.key = peers.certificate(self.dir.name)

    def tearDown(self):
        self.dir.cleanup()

    def test_everything(self):
        with browser.Browser(f"--ignore-certificate-errors-spki-list={key_hash(self.cert)}") as b:
            for protocol, more, handshake in (("h2", (), 200), ("http/1.1", ("http1",), 101)):
                with self.subTest(protocol=protocol), \
                        peers.Site(self.page, self.cert, self.key, *more) as site:
                    self.everything(b.open(f"https://localhost:{site.port}/"), protocol, handshake)
                    # With a browser that keeps its connections: they end by GOAWAY, or are closed.
                    self.assertEqual(site.finish(), 0)

    def everything(self, page, protocol, handshake):
        self.assertEqual(page.evaluate("document.title"), "peer")
        self.assertTrue(page.evaluate("streams()", wait=True))
        self.assertTrue(page.evaluate("posts()", wait=True))
        if protocol == "h2":
            self.assertTrue(page.evaluate("streams_up()", wait=True))
        self.assertEqual(page.evaluate("gives_up()", wait=True), "AbortError")
        harness.until(lambda: page.evaluate("fetch('/seen').then((r) => r.text())", wait=True)
                      .startswith("1 "), "the server to see it")
        got = page.evaluate("events()", wait=True)
        self.assertEqual(got["got"], [f"{i} event {i}\nof those behind {(i - 1) // 3 * 3}"
                                      for i in range(1, 10)])
        self.assertEqual(got["opened"], 3)
        got = page.evaluate("socket()", wait=True)
        self.assertEqual((got["same"], got["code"], got["clean"]), (True, 4001, True))
        self.assertTrue(got["extensions"].startswith("permessage-deflate"), got["extensions"])
        self.assertEqual(page.handshakes, [handshake])
        self.assertEqual(page.evaluate("protocols()"), [protocol])
        self.assertEqual(page.errors, [])


if __name__ == "__main__":
    sys.exit(harness.main())
