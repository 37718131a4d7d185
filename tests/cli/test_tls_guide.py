# SPDX-License-Identifier: MIT
"""The guide to TLS: its code is that of examples/guide/, which does what the guide says."""
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest

import harness
from harness import PATIENCE, ROOT

GUIDE = ROOT / "docs" / "guide" / "tls.md"
SOURCES = ROOT / "examples" / "guide"
BUILD = pathlib.Path(os.environ.get("WEFT_BUILD_ROOT") or pathlib.Path(harness.WEFT).parents[2])
EXAMPLES = BUILD / "examples"


class Text(harness.Case):
    def test_code_is_that_of_the_files(self):
        files = [path.read_text(encoding="utf-8") for path in SOURCES.glob("tls_*.c")]
        blocks = re.findall(r"^```c\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.S | re.M)
        self.assertEqual(len(blocks), 3)
        for block in blocks:
            self.assertTrue(any("\n" + block in text for text in files),
                            f"in no file of examples/guide:\n{block}")

    def test_links_lead_somewhere(self):
        for page in (GUIDE, ROOT / "docs" / "SECURITY.md"):
            for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
                self.assertTrue((page.parent / target).exists(), target)


@unittest.skipUnless((EXAMPLES / "guide_tls_server").exists(), "the examples are not built here")
class Programs(harness.Case):
    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="weft-tls-guide-"))
        self.addCleanup(shutil.rmtree, self.dir)
        subprocess.run(["sh", ROOT / "tests" / "tls_fixtures.sh", self.dir], check=True,
                       timeout=PATIENCE)

    def start(self, name, *args):
        child = subprocess.Popen([EXAMPLES / name, *args], cwd=self.dir, text=True,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(self.end, child)
        line = child.stdout.readline()
        self.assertRegex(line, r"^listening (tcp|tls)://127\.0\.0\.1:\d+$")
        return child, int(line.rsplit(":", 1)[1])

    def end(self, child):
        child.kill()
        child.communicate(timeout=PATIENCE)

    def client(self, port, *args):
        done = subprocess.run([EXAMPLES / "guide_tls_client", f"tcp://127.0.0.1:{port}", *args],
                              cwd=self.dir, capture_output=True, text=True, timeout=PATIENCE,
                              check=False)
        return done.returncode, done.stdout + done.stderr

    def test_server_and_client(self):
        child, port = self.start("guide_tls_server", "server.pem", "server.key")
        self.assertEqual(self.client(port, "server.test", "ca.pem"),
                         (0, "TLSv1.3, CN=server.test, new\ngood day\n"
                             "TLSv1.3, CN=server.test, resumed\ngood day\n"))
        status, text = self.client(port, "wrong.test", "ca.pem")
        self.assertEqual(status, 1)
        self.assertIn("WEFT_ECERTIFICATE: the certificate is not for 'wrong.test'", text)
        self.assertIn("WEFT_ECERTIFICATE: the peer refused our certificate",
                      child.stderr.readline())

    def test_clients_certificates(self):
        child, port = self.start("guide_tls_server", "server.pem", "server.key", "ca.pem")
        status, text = self.client(port, "server.test", "ca.pem", "client.pem", "client.key")
        self.assertEqual(status, 0)
        self.assertIn("hello, CN=a client\ngood day\n", text)
        status, text = self.client(port, "server.test", "ca.pem")
        self.assertEqual(status, 1)
        self.assertIn("the client has shown no certificate", child.stderr.readline())

    def test_reload(self):
        for name in ("pem", "key"):
            shutil.copy(self.dir / f"server.{name}", self.dir / f"live.{name}")
        child, port = self.start("guide_tls_server", "live.pem", "live.key")
        self.assertIn("CN=server.test", self.client(port, "server.test", "ca.pem")[1])
        shutil.copy(self.dir / "wild.pem", self.dir / "live.pem")
        child.send_signal(signal.SIGHUP)
        self.assertIn("not reloaded: the key in live.key is not that", child.stderr.readline())
        shutil.copy(self.dir / "wild.key", self.dir / "live.key")
        child.send_signal(signal.SIGHUP)
        harness.until(lambda: "CN=wild.test" in self.client(port, "b.wild.test", "ca.pem")[1],
                      "the new certificate")

    def test_starttls(self):
        _, port = self.start("guide_tls_starttls", "server.pem", "server.key")
        import ssl
        context = ssl.create_default_context(cafile=str(self.dir / "ca.pem"))
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as plain:
            plain.sendall(b"STARTTLS\n")
            self.assertEqual(plain.recv(100), b"220 go ahead\n")
            with context.wrap_socket(plain, server_hostname="server.test") as s:
                s.sendall(b"secret")
                self.assertEqual(s.recv(100), b"secret")


if __name__ == "__main__":
    harness.main()
