# SPDX-License-Identifier: MIT
"""The example programs do what their head comments say, on each driver, with real clients."""
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import tempfile
import unittest

import harness
from harness import DRIVERS, PATIENCE, ROOT, receive

BUILD = pathlib.Path(os.environ.get("WEFT_BUILD_ROOT") or pathlib.Path(harness.WEFT).parents[2])
EXAMPLES = BUILD / "examples"
HELLO = b"Hello, World!\n"


def has_raw_sockets():
    try:
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP).close()
    except PermissionError:
        return False
    return True


class Example(harness.Weft):
    """A running example; with listens=True, its "listening" line is read."""

    def __init__(self, name, *args, driver=None, listens=False):
        # pylint: disable=super-init-not-called
        self.process = subprocess.Popen([str(EXAMPLES / name), *args], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        env=harness.environment(driver))
        self.pending = b""
        self.alive = True
        self.pid = self.process.pid
        if listens:
            try:
                word, self.endpoint = self.line().split(" ", 1)
                assert word == "listening"
                self.port = int(self.endpoint.rsplit(":", 1)[1])
            except BaseException:
                self.__exit__()
                raise

    def connect(self):
        sock = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        sock.settimeout(PATIENCE)
        return sock

    def rest(self):
        """Its end: (status, stdout, stderr)."""
        out, err = self.process.communicate(timeout=PATIENCE)
        self.alive = False
        return self.process.returncode, (self.pending + out).decode(), err.decode()


def server(name, *args, driver=None):
    return Example(name, *(args or ("tcp://127.0.0.1:0",)), driver=driver, listens=True)


def line(sock):
    """The next line, with its newline, or what came before the end."""
    text = b""
    while not text.endswith(b"\n"):
        piece = sock.recv(1)
        if not piece:
            break
        text += piece
    return text


@unittest.skipUnless(EXAMPLES.is_dir(), "the examples are not built here")
class Examples(harness.Case):
    """One case a program."""

    def each(self):
        for driver in DRIVERS:
            self.way = driver
            yield driver
        self.way = ""

    def test_01_socket_server(self):
        with server("01_socket", "server", "tcp://127.0.0.1:0") as program:
            with program.connect() as sock:
                self.assertEqual(receive(sock, len(HELLO)), HELLO)
                sock.sendall(b"good day")
                self.assertEqual(sock.recv(1), b"", "it closes when it has heard")
            self.assertEqual(program.rest(), (0, "heard 8 bytes: good day\n", ""))

    def test_01_socket_client(self):
        with server("01_socket", "server", "tcp://127.0.0.1:0") as program:
            with Example("01_socket", "client", program.endpoint) as client:
                self.assertEqual(client.rest(), (0, HELLO.decode(), ""))
            self.assertEqual(program.rest()[:2], (0, "heard 8 bytes: good day\n"))

    def test_01_socket_says_what_is_wrong(self):
        with Example("01_socket", "client", "tcp://127.0.0.1:99999") as client:
            status, out, err = client.rest()
            self.assertEqual((status, out), (1, ""))
            self.assertIn("character 17", err)

    def greets(self, name, driver, number):
        with server(name, driver=driver) as program:
            socks = [program.connect() for _ in range(10)]
            for sock in socks:  # all at once, none waits for another
                self.assertEqual(receive(sock, len(HELLO)), HELLO)
            for sock in reversed(socks[1:]):
                sock.sendall(b"good day")
                self.assertEqual(sock.recv(1), b"")
                sock.close()
            program.send(number)  # it lets the first finish what it began
            with socks[0] as sock:
                harness.until(lambda: refused(program.port), "no more connections are taken")
                sock.sendall(b"farewell")
                self.assertEqual(sock.recv(1), b"")
            status, out, err = program.rest()
            self.assertEqual((status, err), (0, ""))
            self.assertEqual(out.count("heard 8 bytes: good day\n"), 9)
            self.assertEqual(out.count("heard 8 bytes: farewell\n"), 1)

    def test_02_threads(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            self.greets("02_threads", None, number)

    def test_03_tasks(self):
        for driver in self.each():
            for number in (signal.SIGINT, signal.SIGTERM):
                self.greets("03_tasks", driver, number)

    def test_03_has_the_handler_of_02(self):
        handlers = [re.search(r"static int greet.*?^}", (ROOT / "examples" / name).read_text(),
                              re.S | re.M).group() for name in ("02_threads.c", "03_tasks.c")]
        self.assertEqual(*handlers)

    def test_04_protocol(self):
        for driver in self.each():
            with server("04_protocol", driver=driver) as program:
                with program.connect() as one, program.connect() as two:
                    for sock in (one, two, one):
                        self.assertTrue(harness.echoes(sock))
                    self.assertTrue(harness.echoes(two, harness.pattern(60000)))
                    one.shutdown(socket.SHUT_WR)
                    self.assertEqual(one.recv(1), b"")
                    self.assertTrue(harness.echoes(two))
                program.send(signal.SIGTERM)
                self.assertEqual(program.wait(), -signal.SIGTERM)

    def test_05_udp(self):
        with server("05_udp", "server", "udp://127.0.0.1:0") as program:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.settimeout(PATIENCE)
                for datagram in (b"", b"x", harness.pattern(60000)):
                    sock.sendto(datagram, ("127.0.0.1", program.port))
                    self.assertEqual(sock.recv(65536), datagram)
            with Example("05_udp", "client", program.endpoint, "word") as client:
                self.assertEqual(client.rest(), (0, "word\n", ""))

    @unittest.skipUnless(has_raw_sockets(), "no raw sockets")
    def test_05_udp_drops_what_it_cannot_answer(self):
        with server("05_udp", "server", "udp://127.0.0.1:0") as program:
            with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as raw:
                # From port 0: ports, length, no checksum, and one byte.
                raw.sendto(struct.pack("!HHHHc", 0, program.port, 9, 0, b"x"), ("127.0.0.1", 0))
            with Example("05_udp", "client", program.endpoint, "word") as client:
                self.assertEqual(client.rest(), (0, "word\n", ""))

    def test_05_udp_waits_one_second(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            endpoint = f"udp://127.0.0.1:{silent.getsockname()[1]}"
            with Example("05_udp", "client", endpoint, "word") as client:
                status, out, err = client.rest()
                self.assertEqual((status, out), (1, ""))
                self.assertNotEqual(err, "")

    def test_06_budget(self):
        with server("04_protocol") as echo:
            with Example("06_budget", echo.endpoint) as program:
                self.assertEqual(program.rest(), (0, "ping\n", ""))
        with socket.create_server(("127.0.0.1", 0)) as silent:
            endpoint = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
            with Example("06_budget", endpoint) as program:
                status, out, err = program.rest()
                self.assertEqual((status, out), (1, ""))
                self.assertIn("(timeout)", err)
        with Example("06_budget") as program:
            self.assertEqual(program.rest()[0], 2)

    def test_07_groups(self):
        for driver in self.each():
            with Example("07_groups", driver=driver) as program:
                status, out, err = program.rest()
            self.assertEqual((status, err), (0, ""))
            lines = out.splitlines()
            for name in ("ada", "grace", "edsger"):
                story = [text for text in lines if text.startswith(name)]
                self.assertEqual(story, [f"{name} works", f"{name} was stopped: ECANCELED",
                                         f"{name} cleans up"])
            self.assertEqual(lines[-1], "the group ended: ETIMEDOUT")

    def test_08_chat(self):
        for driver in self.each():
            with server("08_chat", driver=driver) as program:
                ada, grace = program.connect(), program.connect()
                # A guest is seated once the other has heard something of it.
                hear_each_other(ada, grace)
                edsger = program.connect()
                hear_each_other(edsger, ada)
                drain(grace)
                ada.sendall(b"to both\n")
                self.assertEqual(line(grace), b"to both\n")
                until_line(edsger, b"to both\n")
                edsger.close()
                grace.sendall(b"who is left?\n")
                until_line(ada, b"who is left?\n")
                ada.close()
                grace.close()

    def test_08_chat_drops_lines_of_who_does_not_read(self):
        with server("08_chat") as program:
            ada, deaf = program.connect(), program.connect()
            hear_each_other(ada, deaf)
            ada.settimeout(0.2)
            text = b"x" * 254 + b"\n"
            for _ in range(200):  # more than all buffers between hold
                ada.sendall(text * 100)
                if harness.select.select([program.process.stdout], [], [], 0)[0]:
                    break
            else:
                program.send(signal.SIGTERM)
            # Its memory stays bounded, and ada is still served.
            self.assertLess(program.anonymous_kib(), 100 * 1024 if harness.SANITIZED else 20 * 1024)
            deaf.close()
            ada.close()

    def test_09_framing(self):
        for driver in self.each():
            with server("09_framing", driver=driver) as program:
                for name, wire, answer in (
                        (b"line", b"abc\n\r\nxy\r\n", b"cba\n\nyx\n"),
                        (b"netstring", b"3:abc,0:,2:xy,", b"3:cba,0:,2:yx,"),
                        (b"int16", b"\0\3abc\0\0\0\2xy", b"\0\3cba\0\0\0\2yx")):
                    with program.connect() as sock:
                        sock.sendall(name + b"\n")
                        for i in range(len(wire)):  # in single bytes
                            sock.sendall(wire[i:i + 1])
                        sock.shutdown(socket.SHUT_WR)
                        self.assertEqual(receive(sock, len(answer) + 1), answer)
                with program.connect() as sock:
                    sock.sendall(b"morse\n")
                    self.assertEqual(line(sock), b"unknown framing 'morse'\n")
                    self.assertEqual(sock.recv(1), b"")

    def test_10_pool_and_signals(self):
        for driver in self.each():
            with Example("10_pool_and_signals", "100", driver=driver) as program:
                status, out, _ = program.rest()
                self.assertEqual((status, out), (0, "25 primes\n"))
            for number in (signal.SIGINT, signal.SIGTERM):
                with Example("10_pool_and_signals", "2000000000", driver=driver) as program:
                    self.assertEqual(os.read(program.process.stderr.fileno(), 17),
                                     b"the loop is free\n", "while it counts")
                    program.send(number)
                    status, out, _ = program.rest()
                    self.assertEqual(status, 1)
                    self.assertRegex(out, r"^\d+ primes\n$")

    def test_11_reconnect(self):
        for driver in self.each():
            with socket.create_server(("127.0.0.1", 0)) as listener:
                listener.settimeout(PATIENCE)
                port = listener.getsockname()[1]
                with Example("11_reconnect", f"tcp://127.0.0.1:{port}", driver=driver) as program:
                    for _ in range(2):
                        sock, _address = listener.accept()
                        with sock:
                            sock.settimeout(PATIENCE)
                            self.assertEqual(program.line(), "connected")
                            self.assertEqual(line(sock), b"hello\n")
                            sock.sendall(b"you\n")
                            self.assertEqual(program.line(), "heard you")
                        self.assertRegex(program.line(), r"^down: .*; again in \d+ ms$")
                    self.assertEqual(program.finish(), 0)

    def test_15_http_client(self):
        for driver in self.each():
            with tempfile.TemporaryDirectory() as folder, \
                    server("12_http_server", "tcp://127.0.0.1:0", folder, driver=driver) as site:
                pathlib.Path(folder, "file").write_bytes(b"x" * 100000)
                url = f"http://127.0.0.1:{site.port}"
                urls = [f"{url}/hello/{i}" for i in range(20)] + [f"{url}/files/file",
                                                                  f"{url}/none"]
                with Example("15_http_client", *urls, driver=driver) as program:
                    status, out, _ = program.rest()
                    self.assertEqual(status, 0)
                    *pages, last = out.splitlines()
                    self.assertEqual([page.split()[0] for page in pages], ["200"] * 21 + ["404"])
                    self.assertEqual(pages[20], f"200 100000 {url}/files/file")
                    self.assertEqual(last, "22 requests, 4 connections")
                with Example("15_http_client", "http://127.0.0.1:1/", driver=driver) as program:
                    self.assertEqual(program.rest()[0], 1)

    def test_17_websocket_chat(self):
        for driver in self.each():
            with server("17_websocket_chat", "tcp://127.0.0.1:0", driver=driver) as room:
                url = f"ws://127.0.0.1:{room.port}/chat"
                with Guest(url) as one, Guest(url) as two:
                    for speaker, listener in ((one, two), (two, one)):
                        text = f"from {speaker.pid}"
                        harness.until(lambda s=speaker, t=listener, x=text: s.say(x, t), text)


class Guest(harness.Weft):
    """`weft ws` in a chat."""

    def __init__(self, url):
        super().__init__("ws", url, stdin=subprocess.PIPE)

    def say(self, text, to):
        """Says it; whether the other hears it soon."""
        self.process.stdin.write(text.encode() + b"\n")
        self.process.stdin.flush()
        try:
            while to.line(0.2) != text:
                pass
        except AssertionError:
            return False
        return True

    def __exit__(self, *args):
        self.process.stdin.close()
        super().__exit__(*args)


class Sources(harness.Case):
    """What is promised of the files."""

    def test_each_is_short_and_numbered(self):
        files = sorted((ROOT / "examples").glob("*.c"))
        self.assertEqual([path.name[:3] for path in files], [f"{i:02}_" for i in range(1, 18)])
        for path in files:
            most = 60 if path.name < "12_" else 80
            self.assertLess(len(path.read_text().splitlines()), most, path.name)

    def test_the_guide_to_the_http_client_shows_its_example(self):
        example = "\n" + (ROOT / "examples" / "15_http_client.c").read_text()
        guide = (ROOT / "docs" / "guide" / "http-client.md").read_text()
        blocks = re.findall(r"^```c\n(.*?)^```", guide, re.S | re.M)
        self.assertGreater(len(blocks), 1)
        for block in blocks:
            self.assertIn("\n" + block, example)
        for target in re.findall(r"\]\(([^)#:]+)\)", guide):
            self.assertTrue((ROOT / "docs" / "guide" / target).exists(), target)

    def test_each_uses_public_headers_only(self):
        for path in sorted((ROOT / "examples").glob("*.[ch]")):
            for name in re.findall(r'#include [<"](.*)[">]', path.read_text()):
                if "/" in name:
                    self.assertTrue((ROOT / "include" / name).is_file(), f"{path.name}: {name}")


def refused(port):
    try:
        socket.create_connection(("127.0.0.1", port), PATIENCE).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        pass  # just when the listener was closed
    return False


def drain(sock):
    """Reads what has come so far."""
    sock.settimeout(0.05)
    try:
        while sock.recv(4096):
            pass
    except TimeoutError:
        pass
    sock.settimeout(PATIENCE)


def until_line(sock, wanted):
    while (text := line(sock)) != wanted:
        if not text:
            raise AssertionError(f"the end came before {wanted!r}")


def hear_each_other(one, two):
    """Returns once each has heard the other: both are seated."""
    def heard():
        one.sendall(b"anyone?\n")
        two.settimeout(0.05)
        try:
            return b"anyone?" in two.recv(4096)
        except TimeoutError:
            return False
        finally:
            two.settimeout(PATIENCE)
    harness.until(heard, "a line from the other")
    two.sendall(b"here\n")
    until_line(one, b"here\n")


if __name__ == "__main__":
    harness.main()
