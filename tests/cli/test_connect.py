# SPDX-License-Identifier: MIT
"""`weft connect`, and TLS of `weft echo` and `weft load`: every endpoint, half-close, what is said of
certificates, what goes wrong."""
import os
import socket
import struct
import subprocess
import tempfile
import threading

import harness
from harness import Case, Echo, run

PATIENCE = harness.PATIENCE


def connect(*args, text=""):
    """Runs `weft connect` with that standard input."""
    return subprocess.run([harness.WEFT, "connect", *args], input=text, capture_output=True,
                          text=True, timeout=PATIENCE, check=False)


class Connect(Case):
    def test_every_stream_goes_there_and_back(self):
        with tempfile.TemporaryDirectory() as folder:
            for listen in ("tcp://127.0.0.1:0", f"unix:{folder}/x", "tcp://*:0"):
                with self.subTest(listen=listen), Echo(listen=listen) as echo:
                    done = connect(echo.endpoint, text="one\ntwo")
                    self.assertEqual((done.returncode, done.stdout, done.stderr),
                                     (0, "one\ntwo", ""))

    def test_names_are_looked_up(self):
        with Echo() as echo:
            port = echo.endpoint.rpartition(":")[2]
            done = connect(f"tcp://localhost:{port}", "-v", text="x")
            self.assertEqual((done.returncode, done.stdout), (0, "x"))
            self.assertEqual(done.stderr, f"connected to 127.0.0.1:{port}\n")

    def test_much_comes_back_whole(self):
        text = "0123456789abcdef" * 65536
        with Echo() as echo:
            done = connect(echo.endpoint, text=text)
            self.assertEqual(done.returncode, 0)
            self.assertTrue(done.stdout == text)

    def test_the_end_of_input_is_a_half_close(self):
        """A peer that answers only when all has come."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            def answer():
                peer, _ = server.accept()
                with peer:
                    got = b""
                    while piece := peer.recv(4096):
                        got += piece
                    peer.sendall(got[::-1])
            thread = threading.Thread(target=answer)
            thread.start()
            done = connect(f"tcp://127.0.0.1:{server.getsockname()[1]}", text="abc")
            thread.join()
        self.assertEqual((done.returncode, done.stdout), (0, "cba"))

    def test_an_error_of_the_input_ends_it(self):
        """While the peer says nothing, and could for long."""
        with Echo() as echo, socket.create_server(("127.0.0.1", 0)) as listener:
            with socket.socket() as spoilt:
                spoilt.connect(listener.getsockname())
                other, _ = listener.accept()
                other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                with harness.Weft("connect", echo.endpoint, stdin=spoilt) as second:
                    other.sendall(b"x\n")
                    self.assertEqual(second.line(), "x")
                    other.close()
                    self.assertEqual(second.wait(), 1)
        with Echo(listen="udp://127.0.0.1:0") as echo, \
                harness.Weft("connect", echo.endpoint, "--idle-ms", "3600000",
                             stdin=subprocess.PIPE) as program:
            program.process.stdin.write(b"x" * 65536)  # no datagram, and no end of it yet
            program.process.stdin.flush()
            self.assertEqual(program.wait(), 1)

    def test_datagrams_are_lines(self):
        with Echo(listen="udp://127.0.0.1:0") as echo:
            port = echo.endpoint.rpartition(":")[2]
            done = connect(f"udp://localhost:{port}?family=4", "--idle-ms", "2000",
                           text="one\ntwo\n")
            self.assertEqual((done.returncode, done.stdout), (0, "one\ntwo\n"))

    def test_mistakes_and_failures(self):
        done = connect("tcp://127.0.0.1:1?colour=red")
        self.assertEqual(done.returncode, 2)
        self.assertIn("option, character 19: there is none called colour", done.stderr)
        done = connect("tcp://127.0.0.1:1")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("cannot connect to tcp://127.0.0.1:1", done.stderr)
        self.assertEqual(run("connect").returncode, 2)
        done = connect("tls://127.0.0.1:1", "--ca", "x", "--insecure-no-verify")
        self.assertEqual(done.returncode, 2)

    def test_the_last_line_needs_no_end(self):
        with Echo(listen="udp://127.0.0.1:0") as echo:
            for text in ("one\ntwo", "x" * 60000):
                done = connect(echo.endpoint, "--idle-ms", "2000", text=text)
                self.assertEqual((done.returncode, done.stdout), (0, text))

    def test_what_datagrams_do_not_have_is_refused(self):
        """A proxy is not gone around, and nothing is sent in the clear that was to be secured."""
        with socket.socket(type=socket.SOCK_DGRAM) as peer:
            peer.bind(("127.0.0.1", 0))
            endpoint = f"udp://127.0.0.1:{peer.getsockname()[1]}"
            for more in (("--proxy", "socks5://127.0.0.1:1"), ("--ca", "x"),
                         ("--insecure-no-verify",), ("--server-name", "x")):
                with self.subTest(more=more):
                    done = connect(endpoint, *more, "--idle-ms", "1", text="secret\n")
                    self.assertEqual((done.returncode, done.stdout), (2, ""))
                    self.assertIn(more[0], done.stderr)
            peer.setblocking(False)
            with self.assertRaises(BlockingIOError):
                peer.recv(100)


class Secured(Case):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        subprocess.run(["sh", str(harness.ROOT / "tests" / "tls_fixtures.sh"), cls.folder.name],
                       check=True)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def file(self, name):
        return os.path.join(self.folder.name, name)

    def served(self, model="task"):
        return Echo(model, "--cert", self.file("server.pem"), "--key", self.file("server.key"),
                    listen="tls://127.0.0.1:0")

    def test_with_a_certificate(self):
        with self.served() as echo:
            done = connect(echo.endpoint, "--ca", self.file("ca.pem"), "-v", text="hello")
            self.assertEqual((done.returncode, done.stdout), (0, "hello"))
            self.assertIn("TLSv1.3, TLS_", done.stderr)
            self.assertIn("certificate trusted", done.stderr)
            self.assertIn("chain: CN=server.test; issuer CN=Weft test root", done.stderr)
            done = connect(echo.endpoint, text="hello")
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertIn("a certificate was not trusted", done.stderr)
            done = connect(echo.endpoint, "--ca", self.file("ca.pem"), "--server-name", "other.test")
            self.assertEqual(done.returncode, 1)

    def test_load(self):
        for model in harness.MODELS:
            with self.subTest(model=model), self.served(model) as echo:
                done = run("load", echo.endpoint, "--ca", self.file("ca.pem"), "--seconds", "0.3",
                           "--connections", "4")
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertIn("errors      none", done.stdout)
                done = run("load", echo.endpoint, "--ca", self.file("ca.pem"), "--seconds", "0.3",
                           "--connections", "2", "--reconnect")
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual(run("load", echo.endpoint, "--seconds", "0.1").returncode, 1)

    def test_without_a_certificate_one_is_made_and_said_so(self):
        process = subprocess.Popen([harness.WEFT, "echo", "--listen", "tls://127.0.0.1:0"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            endpoint = process.stdout.readline().split()[1]
            done = connect(endpoint, "--insecure-no-verify", "-v", text="hello")
            self.assertEqual((done.returncode, done.stdout), (0, "hello"))
            self.assertIn("certificate NOT VERIFIED", done.stderr)
            self.assertEqual(connect(endpoint, text="hello").returncode, 1)
        finally:
            process.terminate()
            _, said = process.communicate(timeout=PATIENCE)
        self.assertIn("NO CERTIFICATE WAS GIVEN", said)

    def test_mistakes(self):
        self.assertEqual(run("echo", "--listen", "tcp://127.0.0.1:0", "--cert", "x").returncode, 2)
        self.assertEqual(run("echo", "--listen", "tls://127.0.0.1:0", "--key", "x").returncode, 2)
        done = run("echo", "--listen", "tls://127.0.0.1:0", "--cert", "/nowhere/x")
        self.assertEqual(done.returncode, 1)
        for listen in ("tcp://127.0.0.1:0", "tls://127.0.0.1:0"):
            done = run("serve", "--listen", listen, "--key", "x", "/nowhere")
            self.assertEqual((done.returncode, done.stdout), (2, ""), done.stderr)
            self.assertIn("--key needs --cert", done.stderr)


if __name__ == "__main__":
    harness.main()
