# SPDX-License-Identifier: MIT
"""`weft get` against servers that are not ours: Python's, and one that breaks off."""
import contextlib
import gzip
import http.server
import os
import pathlib
import socketserver
import sys
import tempfile
import threading

import harness
from harness import run

BODY = bytes(range(256)) * 3000


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def give(self, status, body=b"", **fields):
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        if self.path == "/body":
            start = 0
            asked = self.headers.get("Range")
            if asked is not None:
                start = int(asked.removeprefix("bytes=").rstrip("-"))
                if start >= len(BODY):
                    self.give(416, Content_Range=f"bytes */{len(BODY)}")
                    return
                self.give(206, BODY[start:],
                          Content_Range=f"bytes {start}-{len(BODY) - 1}/{len(BODY)}")
                return
            self.give(200, BODY)
        elif self.path.startswith("/part/"):
            said, length = self.path.removeprefix("/part/").split("=")
            self.give(206, BODY[:int(length)], Content_Range="bytes " + said.replace("_", "/"))
        elif self.path == "/gzip":
            self.give(200, gzip.compress(BODY), Content_Encoding="gzip")
        elif self.path == "/moved":
            self.give(302, b"no", Location="/body")
        elif self.path == "/same" and self.headers.get("If-None-Match") == '"a"':
            self.send_response(304)
            self.end_headers()
        elif self.path in ("/204", "/205"):
            self.send_response(int(self.path[1:]))
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.path == "/empty":
            self.give(200)
        elif self.path == "/echo-headers":
            self.give(200, str(self.headers).encode())
        elif self.path == "/short":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"only this")
            self.close_connection = True
        else:
            self.give(404, b"nothing here")

    do_HEAD = do_GET

    def do_POST(self):
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            body = b""
            while True:
                size = int(self.rfile.readline(), 16)
                body += self.rfile.read(size)
                self.rfile.readline()
                if size == 0:
                    break
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        self.give(200, self.command.encode() + b" " + body)

    do_PUT = do_POST


@contextlib.contextmanager
def serving():
    class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
        daemon_threads = True

        def handle_error(self, *_):
            """A client that has gone is none."""

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


class Get(harness.Case):
    def test_bodies(self):
        with serving() as url, tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder, "out")
            for path in ("/body", "/gzip", "/moved"):
                done = run("get", url + path, "--output", file)
                self.assertEqual((done.returncode, done.stderr, done.stdout), (0, "", ""))
                self.assertEqual(file.read_bytes(), BODY)

    def test_resume(self):
        with serving() as url, tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder, "out")
            for there in (0, 1, 1000, len(BODY) - 1, len(BODY)):
                file.write_bytes(BODY[:there])
                done = run("get", url + "/body", "--output", file, "--resume-unchecked")
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                self.assertEqual(file.read_bytes(), BODY)

    def test_parts(self):
        """A part that is not the rest of the file is no success, whatever the status says."""
        with serving() as url, tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder, "out")
            for there, said, sent, status in (
                    (10, "10-19_20", 10, 0),
                    (10, "10-19_*", 10, 0),
                    (10, "10-14_20", 5, 1),  # not all of it
                    (10, "10-19_20", 9, 1),  # shorter than it says
                    (10, "10-19_20", 11, 1),
                    (10, "9-19_20", 11, 1),
                    (10, "10_20", 10, 1),
                    (10, "10-9_20", 10, 1),
                    (10, f"10-{2**63 - 1}_*", 10, 1),
                    (10, f"10-{2**70}_{2**70}", 10, 1),
                    (0, "0-9_10", 10, 0),
                    (0, "0-9_20", 10, 1),  # nobody asked for a part
                    (0, "5-9_10", 5, 1)):
                file.write_bytes(BODY[:there])
                done = run("get", f"{url}/part/{said}={sent}", "--output", file,
                           "--resume-unchecked")
                self.assertEqual(done.returncode, status, (there, said, sent, done.stderr))
                if status != 0:
                    self.assertRegex(done.stderr, r"\Aweft get: (the server|asked for)[^\n]+\n\Z")
                self.assertEqual(file.read_bytes()[:there], BODY[:there])
                self.assertLessEqual(file.stat().st_size, 20)
            done = run("get", url + "/part/5-9_10=5", "--header", "Range: bytes=5-9")
            self.assertEqual((done.returncode, len(done.stdout)), (0, 5))

    def test_status(self):
        with serving() as url, tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder, "out")
            file.write_text("old")
            done = run("get", url + "/none", "--output", file)
            self.assertEqual(done.returncode, 1)
            self.assertIn("404 Not Found", done.stderr)
            self.assertEqual(file.read_text(), "old")
            done = run("get", url + "/none")
            self.assertEqual((done.returncode, done.stdout), (1, "nothing here"))

    def test_no_content(self):
        """A reply that has no content by its kind leaves the file as it is; an empty one does not."""
        same = ("/same", "--header", 'If-None-Match: "a"')
        with serving() as url, tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder, "out")
            note = pathlib.Path(folder, "out.weft-resume")
            for args, why in ((same, "304 Not Modified"), (("/204",), "204 No Content"),
                              (("/205",), "205 Reset Content"),
                              (("/empty", "--method", "HEAD"), "the reply to HEAD has no body")):
                file.write_text("old")
                note.write_text("note")
                for more in ((), ("--resume",)):
                    done = run("get", url + args[0], "--output", file, *args[1:], *more)
                    self.assertEqual((done.returncode, done.stdout), (0, ""), done.stderr)
                    self.assertEqual(done.stderr,
                                     f"weft get: '{file}' is left as it is: {why}\n")
                    self.assertEqual(file.read_text(), "old")
                    self.assertEqual(note.read_text(), "note")
                done = run("get", url + args[0], "--output", file, *args[1:], "--quiet")
                self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
                note.unlink()
                file.unlink()
                done = run("get", url + args[0], "--output", file, *args[1:])
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertFalse(file.exists())
            done = run("get", url + same[0], *same[1:])
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
            file.write_text("old")
            done = run("get", url + "/none", "--output", file, "--method", "HEAD")
            self.assertEqual(done.returncode, 1)
            self.assertIn("404 Not Found", done.stderr)
            self.assertEqual(file.read_text(), "old")
            self.assertEqual(run("get", url + "/none", "--method", "HEAD").returncode, 1)
            done = run("get", url + "/empty", "--output", file)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertEqual(file.read_text(), "")

    def test_cut_off(self):
        with serving() as url:
            done = run("get", url + "/short")
            self.assertEqual((done.returncode, done.stdout), (1, "only this"))
            self.assertIn("the transfer broke off", done.stderr)

    def test_requests(self):
        with serving() as url, tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder, "in")
            file.write_text("from a file")
            done = run("get", url + "/", "--data", "x=1")
            self.assertEqual(done.stdout, "POST x=1")
            done = run("get", url + "/", "--method", "PUT", "--data-file", file)
            self.assertEqual(done.stdout, "PUT from a file")
            reader, writer = os.pipe()
            os.write(writer, b"piped")
            os.close(writer)
            done = run("get", url + "/", "--data-file", f"/dev/fd/{reader}", pass_fds=(reader,))
            os.close(reader)
            self.assertEqual(done.stdout, "POST piped")
            done = run("get", url + "/echo-headers", "--header", "X-One: 1", "--header",
                       "User-Agent: me")
            self.assertIn("X-One: 1\n", done.stdout)
            self.assertIn("User-Agent: me\n", done.stdout)
            self.assertNotIn("weft/", done.stdout)
            done = run("get", url + "/body", "--head")
            self.assertTrue(done.stdout.startswith("HTTP/1.1 200 OK\n"))
            self.assertIn(f"Content-Length: {len(BODY)}\n", done.stdout)

    def test_verbose(self):
        with serving() as url:
            done = run("get", url + "/moved", "-v", "--output", "/dev/null")
            self.assertEqual(done.returncode, 0)
            self.assertIn("> GET /moved HTTP/1.1\n", done.stderr)
            self.assertIn("< HTTP/1.1 302 Found\n", done.stderr)
            self.assertIn("> GET /body HTTP/1.1\n", done.stderr)

    def test_mistakes(self):
        for args, status, text in (
                (("get",), 2, "URL is missing"),
                (("get", "nonsense"), 2, "scheme"),
                (("get", "ftp://127.0.0.1/"), 2, "http:// and https:// only"),
                (("get", "http://127.0.0.1:1/"), 1, "nothing accepts connections"),
                (("get", "http://127.0.0.1:1/", "--resume"), 2, "--resume needs --output"),
                (("get", "http://127.0.0.1:1/", "--resume", "--output", "x", "--header",
                  "Range: bytes=1-"), 2, "exclude each other"),
                (("get", "http://127.0.0.1:1/", "--header", "none"), 2, "NAME: VALUE")):
            done = run(*args)
            self.assertEqual(done.returncode, status, (args, done.stderr))
            self.assertIn(text, done.stderr)


if __name__ == "__main__":
    sys.exit(harness.main())
