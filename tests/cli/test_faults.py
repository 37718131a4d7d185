# SPDX-License-Identifier: MIT
"""Echo servers, as processes, where it hurts: signals under load, peers that die, never read, or
are too many."""
import json
import os
import resource
import select
import signal
import socket
import time
import unittest

import harness
from harness import (PATIENCE, SANITIZED, WAYS, Case, Echo, Weft, echoes, load, pattern, receive,
                     until)

MIB = 1 << 20


def limit_files(count):
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))


class Drain(Case):
    def test_an_open_connection_may_finish(self):
        for server in self.ways("--drain-ms", 3600000):
            with server.connect() as sock:
                self.assertTrue(echoes(sock))
                server.send(signal.SIGTERM)
                until(lambda: refused(server.port), "the end of listening")
                self.assertTrue(echoes(sock, pattern(300000)))
                self.assertIsNone(server.process.poll())
            self.assertEqual(server.wait(), 0)
            self.assertEqual(server.process.stderr.read(), b"")

    def test_an_idle_connection_is_cut_off_in_the_end(self):
        for server in self.ways("--drain-ms", 200):
            with server.connect() as sock:
                self.assertTrue(echoes(sock))
                begin = time.monotonic()
                self.assertEqual(server.finish(), 0)
                self.assertGreaterEqual(time.monotonic() - begin, 0.19)
                try:
                    self.assertEqual(sock.recv(1), b"")
                except ConnectionResetError:
                    pass

    def test_sigterm_under_load_loses_no_request(self):
        for server in self.ways("--drain-ms", 60000):
            idle = server.fds()
            with Weft("load", server.endpoint, "--json", "--connections", 50, "--pipeline", 4,
                      "--seconds", 1) as client:
                until(lambda: server.fds() >= idle + 50, "50 connections")
                server.send(signal.SIGTERM)
                report = json.loads(client.line())
                self.assertEqual(client.wait(), 0, report)
                self.assertEqual(report["errors"], 0)
            self.assertEqual(server.wait(), 0)

    def test_sigterm_under_new_connections_loses_no_request(self):
        for server in self.ways("--drain-ms", 60000):
            idle = server.fds()
            with Weft("load", server.endpoint, "--json", "--connections", 20, "--reconnect",
                      "--seconds", 1) as client:
                until(lambda: server.fds() >= idle + 5, "connections")
                server.send(signal.SIGTERM)
                self.assertEqual(server.wait(), 0)
                report = json.loads(client.line())
                # Refused is right: it was not accepted. Nothing else may have gone wrong.
                self.assertGreater(report["messages"], 0)
                self.assertEqual(set(report["errors_by_kind"]), {"ECONNREFUSED"}, report)


def refused(port):
    try:
        socket.create_connection(("127.0.0.1", port), PATIENCE).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        pass
    return False


class Peers(Case):
    def test_peers_that_are_killed(self):
        for server in self.ways():
            idle = server.fds()
            for _ in range(3):
                with Weft("load", server.endpoint, "--connections", 100, "--pipeline", 8, "--size",
                          "4K", "--seconds", 60) as client:
                    until(lambda: server.fds() >= idle + 100, "100 connections")
                    client.process.kill()
                    client.wait()
                until(lambda: server.fds() <= idle + 2, "the end of their connections")
            with server.connect() as sock:
                self.assertTrue(echoes(sock))
            self.assertEqual(load(server.endpoint, "--seconds", "0.2").returncode, 0)

    def test_a_peer_that_never_reads(self):
        """200 MiB are offered; what the server does not take is not taken by the kernel either."""
        if SANITIZED:
            self.skipTest("memory is measured")
        for server in self.ways():
            with server.connect() as first:
                self.assertTrue(echoes(first, pattern(MIB)))
            block = pattern(MIB)
            before = server.anonymous_kib()
            with server.connect() as sock:
                sock.setblocking(False)
                sent = 0
                highest = before
                # One second without room for a byte: it has stopped taking.
                while sent < 200 * MIB and select.select([], [sock], [], 1)[1]:
                    sent += sock.send(block)
                    highest = max(highest, server.anonymous_kib())
                self.assertLess(sent, 200 * MIB)
                highest = max(highest, server.anonymous_kib())
                self.assertLess(highest - before, 1024)
                with server.connect() as other:  # and the others do not feel it
                    self.assertTrue(echoes(other))
                # Nothing of it is lost when it does read.
                sock.setblocking(True)
                sock.settimeout(PATIENCE)
                sock.shutdown(socket.SHUT_WR)
                back = 0
                while piece := sock.recv(MIB):
                    back += len(piece)
                self.assertEqual(back, sent)

    def test_half_close(self):
        data = pattern(4 * MIB)
        for server in self.ways():
            with server.connect() as sock:
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
                self.assertEqual(receive(sock, len(data) + 1), data)

    def test_half_close_of_nothing(self):
        for server in self.ways():
            with server.connect() as sock:
                sock.shutdown(socket.SHUT_WR)
                self.assertEqual(receive(sock, 1), b"")

    def test_reset_by_the_peer(self):
        for server in self.ways():
            idle = server.fds()
            for _ in range(50):
                sock = server.connect()
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                sock.send(b"x")
                sock.close()
            until(lambda: server.fds() <= idle + 2, "the end of all connections")
            with server.connect() as sock:
                self.assertTrue(echoes(sock))


class Many(Case):
    def test_no_descriptors_left(self):
        for server in self.ways(preexec_fn=limit_files(64)):
            socks = [server.connect() for _ in range(100)]
            for sock in socks:
                sock.sendall(b"x")
            until(lambda: server.fds() >= 60, "all descriptors in use")
            answered = select.select(socks, [], [], PATIENCE)[0]
            self.assertTrue(0 < len(answered) < 100)
            # Waiting costs no processor time.
            used = cpu_seconds(server.pid)
            begin = time.monotonic()
            select.select([server.process.stdout], [], [], 0.5)
            self.assertLess(cpu_seconds(server.pid) - used, 0.3 * (time.monotonic() - begin) + 0.05)
            # As some go, the others come.
            for sock in socks[:70]:
                self.assertEqual(receive(sock, 1), b"x")
                sock.close()
            for sock in socks[70:]:
                self.assertEqual(receive(sock, 1), b"x")
                self.assertTrue(echoes(sock))
                sock.close()
            with server.connect() as sock:
                self.assertTrue(echoes(sock))
            self.assertEqual(server.process.poll(), None)

    @unittest.skipIf(SANITIZED, "too much memory")
    def test_18000_connections(self):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        if hard < 19000:
            self.skipTest(f"the limit of open files is {hard}")
        ways = [way for way in WAYS if way[0] != "thread"]
        for server in self.ways(ways=ways):
            idle = server.fds()
            with Weft("load", server.endpoint, "--json", "--connections", 18000,
                      "--per-source", 5000, "--seconds", 4) as client:
                until(lambda: server.fds() >= idle + 18000, "18,000 connections", 3 * PATIENCE)
                with server.connect() as sock:
                    self.assertTrue(echoes(sock))
                report = json.loads(client.line(3 * PATIENCE))
                self.assertEqual((report["errors"], client.wait()), (0, 0), report)
                self.assertGreaterEqual(report["messages"], 18000)
            until(lambda: server.fds() <= idle + 2, "the end of all connections", 3 * PATIENCE)

    @unittest.skipIf(SANITIZED, "too much memory")
    def test_2000_threads(self):
        with Echo("thread") as server:
            done = load(server.endpoint, "--connections", 2000, "--seconds", 1)
            self.assertEqual((done.returncode, done.report["errors"]), (0, 0), done)


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    harness.main()
