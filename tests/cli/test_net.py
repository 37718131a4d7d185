# SPDX-License-Identifier: MIT
"""Servers and clients at the two ends of a path with delay, loss, a rate and holes."""
import json
import select
import socket
import subprocess
import tempfile
import time

import harness
import netpath
from harness import DRIVERS, PATIENCE, SANITIZED, Case, Echo, Weft, echoes, pattern, receive

DELAY = 0.020
SLACK = 0.200 if SANITIZED else 0.030
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


class Names(Case):
    """Names with two addresses, of which one may be dead: RFC 8305, across a path."""

    def dial(self, path, endpoint, hosts, deadline_ms=5000, driver=None):
        """(result, seconds, peer) of a dial at "a"."""
        with tempfile.NamedTemporaryFile("w", suffix=".hosts") as file:
            file.write(hosts)
            file.flush()
            done = subprocess.run([netpath.SUPPORT / "dial", endpoint, file.name, str(deadline_ms)],
                                  stdout=subprocess.PIPE, text=True, check=True,
                                  env=harness.environment(driver), preexec_fn=path.enter("a"))
        result, took_us, peer = done.stdout.split()
        return result, int(took_us) / 1e6, peer

    def best(self, want, most, *args, **more):
        """Dials until it was as quick as it must be, or a few times; and never quicker."""
        quickest = most + 1
        for _ in range(6):
            result, took, peer = self.dial(*args, **more)
            self.assertEqual(result, want)
            quickest = min(quickest, took)
            if quickest <= most:
                break
        self.assertLessEqual(quickest, most)
        return quickest, peer

    def test_a_dead_family(self):
        """One of them is a hole: connected within the stagger of 250 ms and one round trip."""
        with netpath.Path(delay_us=int(DELAY * 1e6)) as path:
            for driver in DRIVERS:
                self.way = driver
                for dead, listen, peer in ((path.HOLE6, path.B4, path.B4),
                                           (path.HOLE4, f"[{path.B6}]", f"[{path.B6}]")):
                    live = listen.strip("[]")
                    with Echo(listen=f"tcp://{listen}:0", preexec_fn=path.enter("b")) as server:
                        least = 0.250 if ":" in dead else 0  # IPv6 goes first
                        took, met = self.best(
                            "0", least + 2 * DELAY + SLACK, path, f"tcp://host.test:{server.port}",
                            f"{dead} host.test\n{live} host.test\n", driver=driver)
                        self.assertGreaterEqual(took, least + 2 * DELAY)
                        self.assertEqual(met, f"{peer}:{server.port}")

    def test_an_unreachable_family(self):
        """Whoever is told so does not wait for the stagger."""
        with netpath.Path(delay_us=int(DELAY * 1e6)) as path:
            with Echo(listen=f"tcp://{path.B4}:0", preexec_fn=path.enter("b")) as server:
                took, _ = self.best("0", 4 * DELAY + SLACK, path,
                                    f"tcp://host.test:{server.port}",
                                    f"{path.NOWHERE6} host.test\n{path.B4} host.test\n")
                self.assertGreaterEqual(took, 4 * DELAY)

    def test_both_dead(self):
        """The deadline holds."""
        with netpath.Path() as path:
            for driver in DRIVERS:
                self.way = driver
                took, _ = self.best("ETIMEDOUT", 0.400 + SLACK, path, "tcp://host.test:80",
                                    f"{path.HOLE6} host.test\n{path.HOLE4} host.test\n",
                                    deadline_ms=400, driver=driver)
                self.assertGreaterEqual(took, 0.400)

    def test_a_family_that_dies_while_it_connects(self):
        """The path is cut for one address after another: the last one is used."""
        with netpath.Path(delay_us=int(DELAY * 1e6)) as path:
            path.ip("b", "addr", "add", "10.77.0.3/24", "dev", "tun0")
            path.set("hole", path.B6)
            path.set("hole", path.B4)
            with Echo(listen="tcp://10.77.0.3:0", preexec_fn=path.enter("b")) as server:
                took, met = self.best(
                    "0", 0.500 + 2 * DELAY + SLACK, path, f"tcp://host.test:{server.port}",
                    f"{path.B6} host.test\n{path.B4} host.test\n10.77.0.3 host.test\n")
                self.assertGreaterEqual(took, 0.500 + 2 * DELAY)
                self.assertEqual(met, f"10.77.0.3:{server.port}")


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
