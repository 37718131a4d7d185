# SPDX-License-Identifier: MIT
"""Echo servers and peers that mean no good: port scans, resets in every state, half-closes, dripped
and torn handshakes, garbage in clear and in TLS, datagrams of all sizes. After each the server is
as before: its descriptors are back, it echoes, says nothing on stderr and ends with 0."""
import contextlib
import os
import random
import socket
import ssl
import struct
import subprocess
import tempfile
import time

import harness
from harness import DRIVERS, PATIENCE, SANITIZED, Case, Echo, echoes, pattern, receive, until

MANY = 60 if SANITIZED else 300
LINGER_NONE = struct.pack("ii", 1, 0)
FIXTURES = tempfile.TemporaryDirectory()
subprocess.run(["sh", harness.ROOT / "tests" / "tls_fixtures.sh", FIXTURES.name], check=True)
SECURED = (f"tls://127.0.0.1:0?cert={FIXTURES.name}/server.pem&key={FIXTURES.name}/server.key")
CLIENT = ssl.create_default_context(cafile=f"{FIXTURES.name}/ca.pem")


def works(model, driver):
    with contextlib.suppress(AssertionError), Echo(model, driver=driver, listen=SECURED):
        return True
    return False


TLS_WAYS = [(model, driver) for model, driver in harness.WAYS if works(model, driver)]


def reset(sock):
    """Ends a connection as abruptly as can be."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NONE)
    sock.close()


def secure(sock):
    return CLIENT.wrap_socket(sock, server_hostname="server.test")


def hello():
    """The first flight of a client, as bytes."""
    to_peer = ssl.MemoryBIO()
    tls = CLIENT.wrap_bio(ssl.MemoryBIO(), to_peer, server_hostname="server.test")
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return to_peer.read()


def until_end(sock):
    """Reads whatever comes until the peer has ended it in any way."""
    sock.settimeout(PATIENCE)
    got = b""
    try:
        while piece := sock.recv(65536):
            got += piece
    except (ConnectionResetError, ssl.SSLError, BrokenPipeError):
        pass
    sock.close()
    return got


class Hostile(Case):
    def unharmed(self, server, idle, connect=None):
        until(lambda: server.fds() <= idle + 1, "the end of all connections")
        with (connect or server.connect)() as sock:
            self.assertTrue(echoes(sock))

    def servers(self, secured=False):
        ways = TLS_WAYS if secured else None
        more = {"listen": SECURED} if secured else {}
        for server in self.ways("--drain-ms", 200, ways=ways, **more):
            connect = (lambda server=server: secure(self.plain(server))) if secured else (
                lambda server=server: self.plain(server))
            with connect() as sock:  # opens what is opened once
                self.assertTrue(echoes(sock))
            yield server
            self.unharmed(server, self.idle, connect)
            self.assertEqual(server.finish(), 0)

    def plain(self, server):
        return socket.create_connection(("127.0.0.1", port_of(server)), PATIENCE)

    def each(self, attack, secured=False):
        """Runs an attack on each kind of server; attack(server) leaves nothing connected."""
        for server in self.servers(secured):
            until(lambda server=server: steady(server), "quiet")
            self.idle = server.fds()
            attack(server)

    # --- In clear -----------------------------------------------------------------------------

    def test_port_scans(self):
        def attack(server):
            for i in range(MANY):
                sock = socket.socket()
                if i % 3 == 0:
                    sock.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    sock.connect(("127.0.0.1", port_of(server)))
                reset(sock) if i % 2 else sock.close()
        self.each(attack)
        self.each(attack, secured=True)

    def test_resets_in_every_state(self):
        def attack(server):
            for size in (0, 1, 100, 70000, 3000000):
                for read in (0, 1, size):
                    sock = self.plain(server)
                    sock.settimeout(0.2)
                    with contextlib.suppress(TimeoutError):
                        sock.sendall(pattern(size))
                        receive(sock, min(read, size))
                    reset(sock)
        self.each(attack)

    def test_half_closes(self):
        def attack(server):
            for size in (0, 1, 200000):
                # No more will be read; what comes nevertheless is answered by a reset.
                sock = self.plain(server)
                sock.shutdown(socket.SHUT_RD)
                sock.settimeout(0.3)
                with contextlib.suppress(TimeoutError, ConnectionResetError, BrokenPipeError):
                    sock.sendall(pattern(size))
                sock.close()
                # The other way is ended at once, and everything comes back.
                sock = self.plain(server)
                data = pattern(size)
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
                self.assertEqual(receive(sock, size + 1), data)
                sock.close()
                # Ended with unread bytes in front of it.
                sock = self.plain(server)
                sock.sendall(data)
                sock.close()
        self.each(attack)

    def test_urgent_bytes_and_dripped_ones(self):
        def attack(server):
            sock = self.plain(server)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for i in range(50):
                sock.send(bytes([i]))
                self.assertEqual(receive(sock, 1), bytes([i]))
            sock.send(b"!", socket.MSG_OOB)
            sock.sendall(b"end")
            self.assertIn(b"end", receive(sock, 3) + b"")
            sock.close()
        self.each(attack)

    # --- TLS ----------------------------------------------------------------------------------

    def test_garbage_for_tls(self):
        chance = random.Random(7)
        first = hello()
        samples = [
            b"", b"\x00", b"\x16", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"SSH-2.0-x\r\n",
            b"\x80\x2e\x01\x00\x02" + bytes(41),             # SSL 2
            b"\x16\x03\x01\xff\xff" + bytes(1000),           # a record of 65,535 bytes
            b"\x16\x03\x01\x00\x00" * 100,                   # records of nothing
            b"\x15\x03\x01\x00\x02\x01\x00" * 50,            # warnings
            b"\x15\x03\x01\x00\x02\x02\x28",                 # a fatal alert
            b"\x14\x03\x03\x00\x01\x01" * 100,               # ChangeCipherSpec
            b"\x17\x03\x03\x00\x10" + bytes(16),             # data before any handshake
            first + first, first + b"\x17\x03\x03\x40\x11" + bytes(16401),
            first[:-1], first[:50],
        ]
        for _ in range(MANY // 3):
            spoilt = bytearray(first)
            for _ in range(chance.randrange(1, 6)):
                spoilt[chance.randrange(len(spoilt))] = chance.randrange(256)
            samples.append(bytes(spoilt))
        samples += [chance.randbytes(chance.randrange(1, 3000)) for _ in range(MANY // 3)]

        def attack(server):
            for sample in samples:
                sock = self.plain(server)
                with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                    sock.sendall(sample)
                    sock.shutdown(socket.SHUT_WR)
                until_end(sock)
        self.each(attack, secured=True)

    def test_handshakes_that_are_cut_off_anywhere(self):
        first = hello()

        def attack(server):
            for cut in range(0, len(first) + 1, 40 if SANITIZED else 11):
                sock = self.plain(server)
                sock.sendall(first[:cut])
                reset(sock) if cut % 2 else sock.close()
        self.each(attack, secured=True)

    def test_a_dripped_handshake(self):
        def attack(server):
            sock = self.plain(server)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            from_peer, to_peer = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = CLIENT.wrap_bio(from_peer, to_peer, server_hostname="server.test")
            while True:
                try:
                    tls.do_handshake()
                    done = True
                except ssl.SSLWantReadError:
                    done = False
                for byte in to_peer.read():
                    sock.send(bytes([byte]))
                if done:
                    break
                from_peer.write(sock.recv(65536))
            tls.write(b"hello")
            for byte in to_peer.read():
                sock.send(bytes([byte]))
            got = b""
            while len(got) < 5:
                try:
                    got += tls.read(5)
                except ssl.SSLWantReadError:
                    from_peer.write(sock.recv(65536))
            self.assertEqual(got, b"hello")
            sock.close()  # and no close_notify
        self.each(attack, secured=True)

    def test_garbage_after_the_handshake(self):
        chance = random.Random(11)

        def attack(server):
            for i in range(MANY // 10):
                sock = secure(self.plain(server))
                self.assertTrue(echoes(sock))
                raw = socket.socket(fileno=os.dup(sock.fileno()))
                raw.settimeout(PATIENCE)
                with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                    raw.sendall((b"\x17\x03\x03\x00\x40" if i % 2 else b"") + chance.randbytes(64))
                until_end(raw)
                sock.close()
        self.each(attack, secured=True)

    def test_secured_connections_that_are_reset_or_never_read(self):
        def attack(server):
            socks = []
            for i in range(MANY // 10):
                sock = secure(self.plain(server))
                sock.settimeout(0.05)
                with contextlib.suppress(TimeoutError, ssl.SSLError, ConnectionResetError):
                    sock.sendall(pattern(4000000 if i % 3 == 0 else 1000))
                socks.append(sock)
            for i, sock in enumerate(socks):
                reset(sock) if i % 2 else sock.close()
        self.each(attack, secured=True)

    def test_idle_secured_connections(self):
        def attack(server):
            socks = [secure(self.plain(server)) for _ in range(MANY)]
            self.assertTrue(all(echoes(sock) for sock in socks))
            for sock in socks:
                sock.close()
        self.each(attack, secured=True)

    # --- Datagrams ----------------------------------------------------------------------------

    def test_datagrams_of_all_sizes(self):
        for driver in DRIVERS:
            self.way = driver
            with Echo("task", driver=driver, listen="udp://127.0.0.1:0") as server:
                address = ("127.0.0.1", port_of(server))
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                    for size in (0, 1, 1400, 9000, 65507):
                        # Whether a datagram of that size is for this server, it may say; the next
                        # small one is answered.
                        sock.sendto(pattern(size)[:size], address)
                        answered(sock, address, b"marker")
                    # Who is gone when the answer comes tells the server so, by ICMP.
                    for _ in range(MANY):
                        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
                            gone.sendto(b"bye", address)
                    answered(sock, address, b"still")
                self.assertEqual(server.finish(), 0)
            self.way = ""


def answered(sock, address, message):
    """Sends a datagram until its echo comes: some are lost where a queue is full."""
    deadline = time.monotonic() + PATIENCE
    sock.settimeout(0.5)
    while True:
        sock.sendto(message, address)
        try:
            while sock.recv(65536) != message:
                pass
            return
        except TimeoutError:
            if time.monotonic() > deadline:
                raise


def port_of(server):
    return int(server.endpoint.split("?", 1)[0].rsplit(":", 1)[1])


def steady(server):
    """The same number of descriptors twice, some time apart."""
    before = server.fds()
    time.sleep(0.02)
    return server.fds() == before


if __name__ == "__main__":
    harness.main()
