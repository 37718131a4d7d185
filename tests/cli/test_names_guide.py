# SPDX-License-Identifier: MIT
"""The guide to names: its code is that of examples/guide/names.c, which does what the guide says."""
import os
import pathlib
import re
import socket
import subprocess
import tempfile
import unittest

import harness
from harness import PATIENCE, ROOT, Case, Echo

GUIDE = ROOT / "docs" / "guide" / "names.md"
SOURCE = ROOT / "examples" / "guide" / "names.c"
BUILD = pathlib.Path(os.environ.get("WEFT_BUILD_ROOT") or pathlib.Path(harness.WEFT).parents[2])
PROGRAM = BUILD / "examples" / "guide_names"


class Text(Case):
    def test_code_is_that_of_the_file(self):
        text = SOURCE.read_text(encoding="utf-8")
        blocks = re.findall(r"^```c\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.S | re.M)
        self.assertTrue(blocks)
        for block in blocks:
            self.assertIn("\n" + block, text)


@unittest.skipUnless(PROGRAM.exists(), "the examples are not built here")
class Program(Case):
    def go(self, *args):
        return subprocess.run([PROGRAM, *args], capture_output=True, text=True, timeout=PATIENCE,
                              check=False)

    def test_names_and_what_each_address_met(self):
        with Echo() as echo:
            port = echo.port
            done = self.go(f"tcp://localhost:{port}")
            self.assertEqual((done.returncode, done.stdout), (0, "hello\n"), done.stderr)
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]  # and then nobody's
        done = self.go(f"tcp://localhost:{port}")
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"connecting to tcp://localhost:{port}: [::1] ECONNREFUSED, "
                      "127.0.0.1 ECONNREFUSED", done.stderr)

    def test_options_of_the_endpoint(self):
        with Echo() as echo:
            done = self.go(f"tcp://localhost:{echo.port}?family=4&keepalive=60&user-timeout=5000")
            self.assertEqual((done.returncode, done.stdout), (0, "hello\n"), done.stderr)

    def test_secured(self):
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(["sh", str(ROOT / "tests" / "tls_fixtures.sh"), folder], check=True)
            with Echo("task", "--cert", f"{folder}/server.pem", "--key", f"{folder}/server.key",
                      listen="tls://127.0.0.1:0") as echo:
                done = self.go(f"tls://localhost:{echo.port}", f"{folder}/ca.pem")
                self.assertEqual((done.returncode, done.stdout), (0, "hello\n"), done.stderr)
                done = self.go(f"tls://localhost:{echo.port}?ca={folder}/ca.pem")
                self.assertEqual((done.returncode, done.stdout), (0, "hello\n"), done.stderr)
                self.assertEqual(self.go(f"tls://localhost:{echo.port}").returncode, 1)


if __name__ == "__main__":
    harness.main()
