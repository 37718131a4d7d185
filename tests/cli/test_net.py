# SPDX-License-Identifier: MIT
"""Servers and clients at the two ends of a path with delay, loss, a rate and holes."""
import json
import select
import socket
import time

import harness
import netpath
from harness import PATIENCE, Case, Weft, echoes, pattern, receive

DELAY = 0.020
MIB = 1 << 20


class Paths(Case):
    def ways_on(self, path, *args, **more):
        """An echo server at "b" in each model on each driver."""
        for address in (path.B4, f"[{path.B6}]"):
            yield from self.ways(*args, listen=f"tcp://{address}:0", preexec_fn=path.enter("b"),
                                 **more)

    def dial(self, path, server):
        host = server.endpoint.removeprefix("tcp://").rsplit(":", 1)[0].strip("[]")
        with path.inside("a"):
            sock = socket.create_connection((host, server.port), PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def load(self, path, server, *args):
        with Weft("load", server.endpoint, "--json", *args, preexec_fn=path.enter("a")) as client:
            report = json.loads(client.line(3 * PATIENCE))
            self.assertEqual(client.wait(), 0, report)
        return report

    def test_delay(self):
        """An answer takes a round trip, and not much more."""
        with netpath.Path(delay_us=int(DELAY * 1e6)) as path:
            for server in self.ways_on(path):
                with self.dial(path, server) as sock:
                    best = min(timed(lambda: self.assertTrue(echoes(sock))) for _ in range(5))
                    self.assertGreaterEqual(best, 2 * DELAY)
                    self.assertLess(best, 3 * DELAY)

    def test_delay_and_loss(self):
        """With 2 % lost, everything arrives, whole and in order."""
        data = pattern(MIB // 4)
        with netpath.Path(delay_us=20000, jitter_us=5000, loss_ppm=20000, seed=7) as path:
            for server in self.ways_on(path):
                with self.dial(path, server) as sock:
                    sock.sendall(data)
                    sock.shutdown(socket.SHUT_WR)
                    self.assertEqual(receive(sock, len(data) + 1), data)
                report = self.load(path, server, "--connections", 20, "--seconds", 1)
                self.assertEqual(report["errors"], 0, report)
                self.assertGreater(report["messages"], 100)
            lost = path.stats()
            self.assertGreater(lost["a"]["lost"] + lost["b"]["lost"], 0)

    def test_rate(self):
        """8 Mbit/s: so many bytes take so long, and the sender is told to wait, not to buffer."""
        data = pattern(MIB // 2)
        with netpath.Path(delay_us=1000, rate_bps=8000000, queue_bytes=65536) as path:
            for server in self.ways_on(path):
                with self.dial(path, server) as sock:
                    took = timed(lambda: self.assertEqual(exchange(sock, data), data))
                    self.assertGreaterEqual(took, len(data) / 1e6 * 0.9)
                    self.assertLess(took, len(data) / 1e6 * 4 + 1)

    def test_a_path_that_breaks_and_comes_back(self):
        with netpath.Path(delay_us=1000) as path:
            for server in self.ways_on(path):
                with self.dial(path, server) as sock:
                    self.assertTrue(echoes(sock))
                    path.set("loss_ppm", 1000000)
                    sock.sendall(b"through")
                    self.assertEqual(select.select([sock], [], [], 0.1)[0], [])
                    path.set("loss_ppm", 0)
                    self.assertEqual(receive(sock, 7), b"through")

    def test_peers_that_vanish_do_not_hold_up_the_end(self):
        """Nothing gets through any more: the drain ends all the same."""
        with netpath.Path() as path:
            for server in self.ways_on(path, "--drain-ms", 300):
                socks = [self.dial(path, server) for _ in range(20)]
                self.assertTrue(all(echoes(sock) for sock in socks))
                path.set("loss_ppm", 1000000)
                for sock in socks:
                    sock.sendall(b"x" * 1000)
                self.assertEqual(server.finish(), 0)
                for sock in socks:
                    sock.close()
                path.set("loss_ppm", 0)


def timed(action):
    begin = time.monotonic()
    action()
    return time.monotonic() - begin


def exchange(sock, data):
    """Sends and receives at the same time."""
    sock.setblocking(False)
    back, sent = bytearray(), 0
    deadline = time.monotonic() + 3 * PATIENCE
    while len(back) < len(data) and time.monotonic() < deadline:
        readable, writable, _ = select.select([sock], [sock] if sent < len(data) else [], [], 1)
        if writable:
            sent += sock.send(data[sent:sent + 65536])
        if readable:
            piece = sock.recv(65536)
            if not piece:
                break
            back += piece
    return bytes(back)


if __name__ == "__main__":
    netpath.skip_unless_possible()
    harness.main()
