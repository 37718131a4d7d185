# SPDX-License-Identifier: MIT
"""`weft ws`: lines and messages, the end of input, how the peer ends it, what goes wrong."""
import base64
import contextlib
import hashlib
import socket
import subprocess
import threading

import harness
from harness import PATIENCE, Case, Weft

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Peer:
    """One accepted WebSocket, for tests that say themselves what it sends."""

    def __init__(self, sock):
        self.sock, self.file = sock, sock.makefile("rb")
        key = b""
        while (line := self.file.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            if name.lower() == b"sec-websocket-key":
                key = value.strip()
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        sock.sendall(b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")

    def send(self, kind, body):
        self.sock.sendall(bytes([0x80 | kind, len(body)]) + body)

    def close(self, code, reason=b""):
        self.send(8, code.to_bytes(2, "big") + reason if code else b"")

    def frame(self):
        """Kind and body of the next frame, unmasked; None at the end."""
        head = self.file.read(2)
        if len(head) < 2:
            return None
        size = head[1] & 0x7f
        if size > 125:
            size = int.from_bytes(self.file.read(2 if size == 126 else 8), "big")
        mask = int.from_bytes(self.file.read(4) * (size // 4 + 1), "big")
        body = self.file.read(size) + b"\0" * (4 - size % 4)
        return head[0] & 15, (int.from_bytes(body, "big") ^ mask).to_bytes(len(body), "big")[:size]


class Ws(Case):
    def serve(self, behave):
        """Its URL; behave(peer) runs in a thread for the one connection that comes."""
        listener = socket.create_server(("127.0.0.1", 0))

        def accept():
            with contextlib.suppress(OSError), listener.accept()[0] as sock:
                behave(Peer(sock))

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        self.addCleanup(thread.join, PATIENCE)
        self.addCleanup(listener.close)
        return f"ws://127.0.0.1:{listener.getsockname()[1]}/"

    def talk(self, url, *args, text=""):
        return subprocess.run([harness.WEFT, "ws", url, *args], input=text, capture_output=True,
                              text=True, timeout=PATIENCE, check=False)

    def test_lines_are_messages_and_the_last_needs_no_end(self):
        got = []

        def behave(peer):
            while (frame := peer.frame()) is not None:
                got.append(frame)
                if frame[0] == 8:
                    peer.close(1000)
                    return

        long = "x" * 700000
        done = self.talk(self.serve(behave), "--linger-ms", "1", text=f"one\n{long}")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
        self.assertEqual([kind for kind, _ in got], [1, 1, 8])
        self.assertEqual(got[0][1], b"one")
        self.assertTrue(got[1][1] == long.encode(), len(got[1][1]))

    def test_an_error_of_the_input_ends_it_while_the_peer_talks(self):
        ended = threading.Event()
        self.addCleanup(ended.set)

        def behave(peer):
            def tick():
                with contextlib.suppress(OSError):
                    while not ended.wait(0.1):
                        peer.send(1, b"tick")

            threading.Thread(target=tick, daemon=True).start()
            while (frame := peer.frame()) is not None:
                if frame[0] == 8:
                    peer.close(1000)
                    ended.set()

        with Weft("ws", self.serve(behave), stdin=subprocess.PIPE) as program:
            self.assertEqual(program.line(), "tick")
            program.process.stdin.write(b"x" * (1 << 20))  # which is too long, and has no end yet
            program.process.stdin.flush()
            self.assertEqual(program.wait(), 1)
            self.assertIn(b"no delimiter within 1048576 bytes", program.process.stderr.read())

    def test_how_the_peer_ends_it(self):
        for code in (1000, 1001, None):
            done = self.talk(self.serve(lambda peer, code=code: (peer.close(code), peer.frame())))
            self.assertEqual((done.returncode, done.stderr), (0, ""), code)
        reason = "no \x1b]0;title\x07\x7f\u009b2J, \u00e9t\u00e9"
        said = "1008 no ?]0;title???2J, \u00e9t\u00e9"
        for more, lines in (((), []), (("-v",), ["open", f"closed by the peer: {said}"])):
            url = self.serve(lambda peer: (peer.close(1008, reason.encode()), peer.frame()))
            done = self.talk(url, *more)
            self.assertEqual(done.returncode, 1, done)
            self.assertEqual(done.stderr.splitlines(),
                             lines + [f"weft ws: {url}: the peer closed with {said}"])


if __name__ == "__main__":
    harness.main()
