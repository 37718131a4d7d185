# SPDX-License-Identifier: MIT
"""What the tests with other programs that speak HTTP share: our programs of tests/support/ as a
client that is told what to ask, and as a server; certificates of a key of their own."""
import os
import pathlib
import subprocess
import sys

import harness
from harness import PATIENCE

BUILD = pathlib.Path(os.environ.get("WEFT_BUILD_ROOT") or pathlib.Path(harness.WEFT).parents[2])


def certificate(folder):
    cert, key = f"{folder}/cert.pem", f"{folder}/key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
                    "/CN=localhost", "-keyout", key, "-out", cert, "-addext",
                    "subjectAltName=DNS:localhost,IP:127.0.0.1"], check=True,
                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return cert, key


class Process(harness.Weft):
    """Any program, as the harness has them."""

    def __init__(self, *args):
        # pylint: disable=super-init-not-called
        self.process = subprocess.Popen(list(map(str, args)), stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.pending, self.alive, self.pid = b"", True, self.process.pid


class Site(Process):
    """tests/support/site.c."""

    def __init__(self, page, *more, secured=True):
        scheme = "tls" if secured else "tcp"
        super().__init__(BUILD / "tests" / "support" / "site", f"{scheme}://127.0.0.1:0", page,
                         *more)
        self.port = int(self.line().rsplit(":", 1)[1])


class Fetch:
    """A client that is asked line by line."""

    def __init__(self, *args):
        self.process = subprocess.Popen([str(BUILD / "tests" / "support" / "fetch"), *args],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        status = self.process.wait(PATIENCE)
        self.process.stdout.close()
        assert status == 0 or sys.exc_info()[0], status

    def ask(self, line, times=1):
        """(status, version, bytes, adler32, coding, trailer, url) of one, or a list of them."""
        self.process.stdin.write((line + (f" times={times}" if times > 1 else "") + "\n").encode())
        self.process.stdin.flush()
        got = []
        for _ in range(times):
            words = self.process.stdout.readline().decode().split(" ", 6)
            assert words[0] != "error" and words[0], f"{line}: {' '.join(words)}"
            got.append((*map(int, words[:4]), *words[4:6], words[6].strip()))
        return got if times > 1 else got[0]

    def stats(self):
        self.process.stdin.write(b"stats\n")
        self.process.stdin.flush()
        return {k: int(v) for k, v in (
            word.split("=") for word in self.process.stdout.readline().decode().split())}
