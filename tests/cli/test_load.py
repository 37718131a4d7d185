# SPDX-License-Identifier: MIT
"""`weft load`: what it measures, and what it finds wrong with servers that are."""
import contextlib
import itertools
import socket
import tempfile
import threading

import harness
from harness import DRIVERS, Case, Echo, load, receive, run


class Load(Case):
    KEYS = {"connections", "size", "pipeline", "seconds", "messages", "messages_per_s", "mb_per_s",
            "errors", "errors_by_kind", "latency_us"}

    def good(self, done):
        self.assertEqual((done.returncode, done.stderr), (0, ""), done)
        self.assertEqual(done.report["errors"], 0, done)
        self.assertGreater(done.report["messages"], 0, done)

    def test_every_way(self):
        for server in self.ways():
            for args in (("--connections", 8), ("--connections", 8, "--pipeline", 16),
                         ("--connections", 3, "--size", "16K"), ("--connections", 2, "--size", 1),
                         ("--connections", 4, "--reconnect"),
                         ("--connections", 2, "--size", "1M", "--pipeline", 4)):
                with self.subTest(args=args):
                    self.good(load(server.endpoint, "--seconds", "0.3", *args))

    def test_driver_of_the_client(self):
        with Echo() as server:
            for driver in DRIVERS:
                for more in ((), ("--reconnect",), ("--threads", 2)):
                    self.good(load(server.endpoint, "--seconds", "0.2", "--driver", driver, *more))

    def test_unix(self):
        with tempfile.TemporaryDirectory() as directory:
            with Echo(listen=f"unix:{directory}/echo.sock") as server:
                self.good(load(server.endpoint, "--seconds", "0.2"))
                self.good(load(server.endpoint, "--seconds", "0.2", "--reconnect"))

    def test_udp(self):
        for driver in DRIVERS:
            with Echo(driver=driver, listen="udp://127.0.0.1:0") as server:
                self.good(load(server.endpoint, "--seconds", "0.3", "--connections", 4,
                               driver=driver))
                self.good(load(server.endpoint, "--seconds", "0.3", "--connections", 2,
                               "--pipeline", 16, "--size", 1000, driver=driver))

    def test_json_has_its_keys(self):
        with Echo() as server:
            done = load(server.endpoint, "--seconds", "0.5", "--connections", 4, "--pipeline", 2,
                        "--warmup", "0.1", "--size", 100)
        report = done.report
        self.assertEqual(set(report), self.KEYS)
        self.assertEqual([report[key] for key in ("connections", "size", "pipeline", "seconds")],
                         [4, 100, 2, 0.5])
        self.assertAlmostEqual(report["messages_per_s"], report["messages"] / 0.5, delta=1)
        self.assertAlmostEqual(report["mb_per_s"], report["messages_per_s"] * 100 / 1e6, delta=0.01)
        latency = report["latency_us"]
        self.assertEqual(list(latency), ["p50", "p90", "p99", "p999", "max"])
        self.assertEqual(sorted(latency.values()), list(latency.values()))
        self.assertGreater(latency["p50"], 0)

    def test_text_report(self):
        with Echo() as server:
            done = run("load", server.endpoint, "--seconds", "0.2")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        for word in (server.endpoint, "/s", "MB/s", "p99.9",
                     "errors      none"):
            self.assertIn(word, done.stdout)

    def serve_nobody(self):
        """A server that ends every connection at once: "host:port", and the hosts that came."""
        listener = socket.create_server(("127.0.0.1", 0))
        sources = []

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    sock, peer = listener.accept()
                    sources.append(peer[0])
                    sock.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        self.addCleanup(listener.close)
        self.addCleanup(thread.join)
        self.addCleanup(listener.shutdown, socket.SHUT_RDWR)
        return f"127.0.0.1:{listener.getsockname()[1]}", sources

    def test_source_addresses(self):
        many = ("--connections", 4, "--per-source", 2, "--seconds", "0.1")
        for scheme in ("tcp", "tls"):
            endpoint, sources = self.serve_nobody()
            run("load", f"{scheme}://{endpoint}", *many)
            harness.until(lambda sources=sources: len(sources) >= 4, "four connections")
            self.assertEqual(sorted(sources), 2 * ["127.0.0.1"] + 2 * ["127.1.0.1"], scheme)
            done = run("load", f"{scheme}://192.0.2.1:1", *many)
            self.assertEqual(done.returncode, 2, done)
            self.assertIn("at most --per-source (2)", done.stderr)
        with Echo() as server:
            self.good(load(f"tcp://localhost:{server.port}", *many))

    def serve_badly(self, behave):
        """A server of one connection after the other, in a thread, until it is closed."""
        listener = socket.create_server(("127.0.0.1", 0))

        def serve():
            while True:
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                with sock:
                    try:
                        behave(sock)
                    except OSError:
                        pass

        threading.Thread(target=serve, daemon=True).start()
        self.addCleanup(listener.close)
        self.addCleanup(listener.shutdown, socket.SHUT_RDWR)
        return f"tcp://127.0.0.1:{listener.getsockname()[1]}"

    def test_wrong_bytes_are_noticed(self):
        def flip(sock):
            for i in range(1000):
                data = bytearray(sock.recv(65536))
                if not data:
                    return
                if i == 5:
                    data[-1] ^= 1
                sock.sendall(data)

        endpoint = self.serve_badly(flip)
        for more in ((), ("--size", "100")):
            done = load(endpoint, "--connections", 1, "--seconds", "0.5", *more)
            self.assertEqual(done.returncode, 1, done)
            self.assertEqual(done.report["errors_by_kind"].get("mismatch"), 1, done)

    def test_bytes_in_the_wrong_order_are_noticed(self):
        def swap(sock):
            data = receive(sock, 64)
            sock.sendall(data[32:] + data[:32])

        endpoint = self.serve_badly(swap)
        for more in ((), ("--reconnect",)):
            done = load(endpoint, "--connections", 1, "--seconds", "0.3", *more)
            self.assertIn("mismatch", done.report["errors_by_kind"])

    def test_datagrams_that_grow_on_their_way_are_noticed(self):
        server = socket.socket(type=socket.SOCK_DGRAM)
        server.bind(("127.0.0.1", 0))

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    data, sender = server.recvfrom(65536)
                    if not data:
                        return
                    server.sendto(data + b"more", sender)

        def end():
            with socket.socket(type=socket.SOCK_DGRAM) as other:
                other.sendto(b"", server.getsockname())

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        self.addCleanup(server.close)
        self.addCleanup(thread.join)
        self.addCleanup(end)
        done = load(f"udp://127.0.0.1:{server.getsockname()[1]}", "--connections", 1,
                    "--seconds", "1")
        self.assertEqual(done.returncode, 1, done)
        self.assertGreater(done.report["errors_by_kind"].get("mismatch", 0), 0, done)
        self.assertEqual(done.report["messages"], 0)

    def test_a_server_that_ends_is_noticed(self):
        endpoint = self.serve_badly(lambda sock: sock.recv(10))
        done = load(endpoint, "--connections", 1, "--seconds", "0.3", "--size", "10")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(set(done.report["errors_by_kind"]) - {"unanswered"}, {"WEFT_EEOF"})

    def test_connections_that_end_before_the_start_are_counted(self):
        """A server that ends the first hundred at once and answers the others."""
        listener = socket.create_server(("127.0.0.1", 0), backlog=512)

        def echo(sock):
            with sock, contextlib.suppress(OSError):
                while data := sock.recv(65536):
                    sock.sendall(data)

        def serve():
            with contextlib.suppress(OSError):
                for i in itertools.count():
                    sock, _ = listener.accept()
                    if i < 100:
                        sock.close()
                    else:
                        threading.Thread(target=echo, args=(sock,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        self.addCleanup(listener.close)
        self.addCleanup(listener.shutdown, socket.SHUT_RDWR)
        done = load(f"tcp://127.0.0.1:{listener.getsockname()[1]}", "--connections", 300,
                    "--seconds", "0.3")
        self.assertEqual(done.returncode, 1, done)
        kinds = done.report["errors_by_kind"]
        # One that ended after the start has left its message without an answer, too.
        self.assertEqual(sum(kinds.values()) - kinds.get("unanswered", 0), 100, kinds)

    def test_messages_without_an_answer_are_counted(self):
        endpoint = self.serve_badly(lambda sock: receive(sock, 1 << 30))
        done = load(endpoint, "--connections", 1, "--pipeline", 7, "--seconds", "0.1")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.report["errors_by_kind"], {"unanswered": 7})


if __name__ == "__main__":
    harness.main()
