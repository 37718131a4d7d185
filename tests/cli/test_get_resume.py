# SPDX-License-Identifier: MIT
"""`weft get --resume`: what is at the server changes between the runs, or nothing names its version;
against `weft serve`, and against a server that answers as the test says. A transfer is cut off where
the file may grow no further, which kills the program in the middle."""
import contextlib
import email.utils
import gzip
import http.server
import os
import pathlib
import signal
import socketserver
import sys
import tempfile
import threading
import time

import harness
from harness import Weft, run, run_cut_off

OLD = os.urandom(300_000)
NEW = os.urandom(350_000)
SOME = 200_000


class Serve(Weft):
    def __init__(self, folder, *args):
        super().__init__("serve", folder, *args, "--listen", "tcp://127.0.0.1:0")
        self.url = self.line().replace("listening tcp", "http")


def date(ago):
    return email.utils.formatdate(time.time() - ago, usegmt=True)


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers with server.body and the fields of server.said; server.asked is what it heard."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def date_time_string(self, timestamp=None):
        return date(0)

    def do_GET(self):
        s = self.server
        s.asked.append(self.headers)
        start = int(self.headers.get("Range", "bytes=0-")[6:-1])
        names = (s.said.get("ETag"), s.said.get("Last-Modified"))
        if not s.careless and self.headers.get("If-Range", names[0]) not in names:
            start = 0
        if start >= len(s.body):
            self.send_response(416)
            if not s.terse:
                self.send_header("Content-Range", f"bytes */{len(s.body)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(s.body) - 1}/{len(s.body)}")
        for name, value in s.said.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(s.body) - start))
        self.end_headers()
        if s.silent:
            self.close_connection = True
            return
        self.wfile.write(s.body[start:])

    do_POST = do_GET


@contextlib.contextmanager
def serving(**said):
    class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
        daemon_threads = True
        careless = False  # heeds Range, and not If-Range
        silent = False  # breaks off behind the head
        terse = False  # says of no part how long the whole is

        def handle_error(self, *_):
            """A client that has gone is none."""

    with Server(("127.0.0.1", 0), Handler) as server:
        server.said = {name.replace("_", "-"): value for name, value in said.items()}
        server.body, server.asked = OLD, []
        server.url = f"http://127.0.0.1:{server.server_port}/"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()


class Resume(harness.Case):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.path = pathlib.Path(self.dir.name)
        self.out = self.path / "out"
        self.note = self.path / "out.weft-resume"

    def tearDown(self):
        self.dir.cleanup()

    def cut(self, url, *args, size=SOME):
        done = run_cut_off(size, "get", url, "--output", self.out, *args)
        self.assertEqual(done.returncode, -signal.SIGXFSZ, done.stderr)
        self.assertEqual(self.out.stat().st_size, size)

    def resume(self, url, *args, want=OLD, anew=None, option="--resume"):
        """anew: why what is there is not gone on with; None: it is."""
        done = run("get", url, "--output", self.out, option, *args)
        self.assertEqual((done.returncode, done.stdout), (0, ""), done.stderr)
        self.assertEqual(done.stderr,
                         "" if anew is None else f"weft get: '{self.out}' is fetched anew: {anew}\n")
        self.assertTrue(self.out.read_bytes() == want)
        self.assertEqual([p.name for p in self.path.iterdir() if p != self.path / "site"], ["out"])

    def test_file_that_changes(self):
        """The server is our own."""
        site = self.path / "site"
        site.mkdir()
        (site / "file").write_bytes(OLD)
        with Serve(site) as server:
            url = f"{server.url}/file"
            self.cut(url)
            self.assertEqual(self.note.stat().st_mode & 0o777, 0o600)
            self.assertEqual(self.note.read_text().split("\n")[0], url)
            self.resume(url)
            self.resume(url)  # it is whole
            self.cut(url)
            (site / "next").write_bytes(NEW)
            (site / "next").rename(site / "file")
            self.cut(url, "--resume")  # the new version, from its beginning
            self.assertTrue(self.out.read_bytes() == NEW[:SOME])
            self.resume(url, want=NEW)
            self.cut(url)
            (site / "file").write_bytes(OLD)
            self.resume(url, anew="the server has another version, or no parts")
            # Of the same length, and of a name that is not that of the note.
            self.cut(url)
            (site / "other").write_bytes(NEW)
            self.resume(f"{server.url}/other", want=NEW,
                        anew="nothing names the version that is there in part")

    def test_compressed(self):
        """What was sent compressed cannot be gone on with; with --resume it is asked not to be."""
        site = self.path / "site"
        site.mkdir()
        text = b"".join(b"line %d\n" % i for i in range(40_000))
        (site / "a.txt").write_bytes(text)
        (site / "a.txt.gz").write_bytes(gzip.compress(text))
        with Serve(site, "--precompressed") as server:
            url = f"{server.url}/a.txt"
            self.cut(url)
            self.assertFalse(self.note.exists())
            self.resume(url, want=text, anew="nothing names the version that is there in part")
            self.out.unlink()
            self.cut(url, "--resume")
            self.resume(url, want=text)

    def test_what_names_a_version(self):
        """RFC 9110 section 13.1.5: no weak ETag, and no date in its place, or one of just now."""
        long_ago = date(1000)
        for said, sent in (({"ETag": '"a"'}, '"a"'),
                           ({"ETag": '"a"', "Last-Modified": long_ago}, '"a"'),
                           ({"Last-Modified": long_ago}, long_ago),
                           ({"Last-Modified": date(10)}, None),
                           ({"Last-Modified": "yesterday"}, None),
                           ({"ETag": 'W/"a"'}, None),
                           ({"ETag": 'W/"a"', "Last-Modified": long_ago}, None),
                           ({"ETag": "a"}, None),
                           ({"ETag": '"a", "b"'}, None),
                           ({"ETag": '"' + "a" * 600 + '"'}, None),
                           ({}, None)):
            with self.subTest(said=said), serving(**said) as server:
                self.cut(server.url)
                self.assertEqual(self.note.exists(), sent is not None)
                server.asked.clear()
                self.resume(server.url, anew=None if sent else
                            "nothing names the version that is there in part")
                self.assertEqual(server.asked[0]["Range"], f"bytes={SOME}-")
                self.assertEqual(server.asked[0]["If-Range"], sent)
                self.assertEqual(len(server.asked), 1 if sent else 2)
                self.assertIsNone(server.asked[1]["Range"] if len(server.asked) > 1 else None)

    def test_another_version(self):
        for said, careless in (({"ETag": '"b"'}, False), ({"ETag": '"b"'}, True),
                               ({"Last-Modified": date(500)}, False),
                               ({"Last-Modified": date(500)}, True)):
            before = {name: '"a"' if name == "ETag" else date(1000) for name in said}
            with self.subTest(said=said, careless=careless), serving(**before) as server:
                self.cut(server.url)
                server.said, server.body, server.careless = said, NEW, careless
                self.resume(server.url, want=NEW, anew="the server has another version" +
                            ("" if careless else ", or no parts"))

    def test_behind_the_end(self):
        """What is longer than the whole is no part of it; as long as the whole it may be all."""
        for terse in (False, True):
            for option in ("--resume", "--resume-unchecked"):
                with self.subTest(terse=terse, option=option), serving(ETag='"a"') as server:
                    server.terse = terse
                    self.out.write_bytes(OLD + b"more")
                    self.resume(server.url, anew="the server has no such part", option=option)
                    self.assertEqual(len(server.asked), 2)
                    self.cut(server.url)
                    with self.out.open("ab") as file:
                        file.write(OLD)
                    self.resume(server.url, anew="the server has no such part", option=option)
                    self.resume(server.url, anew="the server has no such part" if terse else None,
                                option=option)

    def test_nothing_is_lost(self):
        """What is there stays until something else has come."""
        with serving(ETag='"a"') as server:
            self.cut(server.url)
            note = self.note.read_bytes()
            server.said["ETag"], server.body, server.silent = '"b"', NEW, True
            for args in (("--resume",), ()):
                done = run("get", server.url, "--output", self.out, *args)
                self.assertEqual(done.returncode, 1, done.stderr)
                self.assertIn("the transfer broke off", done.stderr)
                self.assertTrue(self.out.read_bytes() == OLD[:SOME])
                self.assertEqual(self.note.read_bytes(), note)
            server.said["ETag"], server.body, server.silent = '"a"', OLD, False
            self.resume(server.url)

    def test_notes(self):
        """One that was not written to its end is none."""
        with serving(ETag='"a"') as server:
            self.cut(server.url)
            note = self.note.read_bytes()
            for i in (0, 1, 10, len(note) - 5, len(note) - 4, len(note) - 1):
                self.out.write_bytes(OLD[:SOME])
                self.note.write_bytes(note[:i])
                self.resume(server.url, anew="nothing names the version that is there in part")
            for bad in (note + b"more\n", note.replace(b'"a"', b'"a\0"'), b"\n" + note):
                self.out.write_bytes(OLD[:SOME])
                self.note.write_bytes(bad)
                self.resume(server.url, anew="nothing names the version that is there in part")
            self.out.write_bytes(OLD[:SOME])
            self.note.write_bytes(note)
            self.resume(server.url)

    def test_by_hand(self):
        with serving(ETag='"a"') as server:
            part = OLD[:SOME]
            self.out.write_bytes(part)
            self.resume(server.url, "--header", 'If-Range: "a"')
            self.out.write_bytes(part)
            self.resume(server.url, "--header", 'If-Range: "b"',
                        anew="the server has another version, or no parts")
            server.said, server.body = {}, NEW
            self.out.write_bytes(part)
            self.resume(server.url, want=part + NEW[SOME:], option="--resume-unchecked")
            self.out.write_bytes(part)
            done = run("get", server.url, "--output", self.out, "--resume", "--quiet")
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.out.write_bytes(part)
            server.asked.clear()
            self.resume(server.url, "--data", "x", want=NEW)  # there are no parts of a POST
            self.assertIsNone(server.asked[0]["Range"])


if __name__ == "__main__":
    os.environ.update(SSL_CERT_FILE="/dev/null", SSL_CERT_DIR="/dev/null")  # which take long to read
    sys.exit(harness.main())
