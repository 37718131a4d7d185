#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The benchmark of TLS: echo, bulk and handshakes, beside raw epoll with OpenSSL, nginx and Go.

Floor 6. The method is that of run.py (server CPU per message, alternating rounds, paired ratios);
what differs is the certificates, made for the run, and the handshakes, counted for each second of
the server's CPU. Names that end in -greets are servers of ours that speak first, as nginx does
there; the others read a byte and echo it. In a storm, and beside peers that stay half open, what
counts is how long live connections wait. Names that end in -pool are servers whose handshakes go to
the work pool (handshake_offload).

Invariants: only 127.0.0.0/8 is touched; every child is ended; files are in a directory of the run.
"""

import argparse
import os
import re
import select
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import run

NGINX = """daemon off; master_process off; worker_processes 1; error_log {dir}/nginx.log;
pid {dir}/nginx.pid;
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
events {{ worker_connections 4096; }}
stream {{ server {{
  listen 127.0.0.1:{port} ssl; ssl_certificate {cert}; ssl_certificate_key {key};
  ssl_protocols TLSv1.3; {ciphers} ssl_session_cache off; ssl_session_tickets on; tcp_nodelay on;
  return x; }} }}
"""
# What each server would choose costs differently: nginx is there a second time, with our choice.
AES_128 = "ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;"
CELLS = {"64 B": (64, 64), "16 KiB": (64, 16384), "64 B, 1,000 connections": (1000, 64)}
BARS = {"64 B": 1.15, "64 B, 1,000 connections": 1.15}  # CPU per message over raw, at most
BULK_BAR = 0.95  # throughput for each second of CPU over raw, at least
HANDS_BAR = 1.0  # handshakes for each second of CPU over nginx, at least
STORM = (1000, 64)  # live connections; peers at a time that have a hello answered and hang up
HALF_OPEN = (1000, 5000)  # live connections; peers in all that begin a handshake and stop
# Median round trip beside them over the one in quiet, at most; in a storm with the pool.
STORM_BAR = 2.0


class Peer(run.Contender):
    """A TLS server; keys: key name to (certificate, key)."""

    def __init__(self, name, argv, speaks_first=False):
        super().__init__(name, argv, kind="weft")
        self.speaks_first = speaks_first


class Running:
    """A running peer: endpoint port and pid."""

    def __init__(self, peer, cert, key, work):
        self.peer, self.cert, self.key, self.work = peer, cert, key, work

    def __enter__(self):
        port = 0
        if self.peer.name.startswith("nginx"):
            port = free_port()
            ciphers = AES_128 if self.peer.name.endswith("-aes128") else ""
            with open(f"{self.work}/nginx.conf", "w", encoding="utf-8") as f:
                f.write(NGINX.format(dir=self.work, port=port, cert=self.cert, key=self.key,
                                     ciphers=ciphers))
        argv = [a.format(cert=self.cert, key=self.key, dir=self.work) for a in self.peer.argv]
        self.child = run.spawn(argv, {run.SERVER_CORE}, stderr=subprocess.DEVNULL)
        if port == 0:
            line = run.first_line(self.child, run.START_TIMEOUT)
            match = re.match(r"listening (?:tcp|tls)://127\.0\.0\.1:(\d+)", line)
            if not match:
                run.stop(self.child)
                raise RuntimeError(f"{self.peer.name} did not start: {line!r}")
            port = int(match[1])
        self.port, self.pid = port, self.child.pid
        wait_for(port)
        return self

    def __exit__(self, *exc):
        run.stop(self.child)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


def wait_for(port):
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            select.select([], [], [], 0.02)
    raise RuntimeError("nobody listens")


def certificate(work, name, *new):
    out = [f"{work}/{name}.pem", f"{work}/{name}.key"]
    subprocess.run(["openssl", "req", "-x509", *new, "-nodes", "-out", out[0], "-keyout", out[1],
                    "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
                    "-days", "2"], check=True, capture_output=True, timeout=60)
    return out


def contenders(args):
    found = [Peer("raw-epoll-tls", [f"{args.peers}/raw_epoll_tls", "--cert", "{cert}", "--key",
                                    "{key}"]),
             Peer("go", [f"{args.peers}/go_echo_tls", "-cert", "{cert}", "-key", "{key}"])]
    for model in ("protocol", "task"):
        for driver in ("epoll", "uring"):
            argv = [args.weft, "echo", "--model", model, "--driver", driver, "--drain-ms", "0",
                    "--listen", "tls://127.0.0.1:0", "--cert", "{cert}", "--key", "{key}"]
            found.append(Peer(f"weft-{model}-{driver}", argv))
            found.append(Peer(f"weft-{model}-{driver}-pool", argv + ["--handshake-offload"]))
            found.append(Peer(f"weft-{model}-{driver}-greets",
                              [args.greet, model, driver, "tls://127.0.0.1:0?cert={cert}&key={key}"],
                              speaks_first=True))
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    for name in ("nginx", "nginx-aes128"):
        found.append(Peer(name, [nginx, "-c", "{dir}/nginx.conf", "-e", "{dir}/nginx.log", "-g",
                                 ""], speaks_first=True))
    return [p for p in found if p.missing() is None and re.search(args.only, p.name)]


def load_of(args, server, *how):
    """What tls_load printed, and the server's CPU time meanwhile, in ns."""
    before = run.cpu_ns(server.pid)
    load = run.spawn([f"{args.peers}/tls_load", str(server.port), str(args.seconds), *how],
                     {run.LOAD_CORE}, stderr=subprocess.PIPE)
    if how[0] == "echo" and run.first_line(load, 30) == "ready":
        before = run.cpu_ns(server.pid)
    out, err = load.communicate(timeout=args.seconds + 30)
    used = run.cpu_ns(server.pid) - before
    run.stop(load)
    if load.returncode != 0:
        raise RuntimeError(err.strip())
    return *map(int, out.split()), used


def echo(args, peer, cell, ca, work):
    """Server CPU us per message."""
    with Running(peer, *ca, work) as server:
        n, _, used = load_of(args, server, "echo", *map(str, cell))
    return used / 1e3 / n


def hands(args, peer, how, ca, work):
    """Handshakes for each second of the server's CPU."""
    with Running(peer, *ca, work) as server:
        n, resumed, used = load_of(args, server, how, "wait" if peer.speaks_first else "send")
    if (resumed > 0) != (how == "resumed") or (how == "resumed" and resumed < n - 1):
        raise RuntimeError(f"{resumed} of {n} handshakes were resumed")
    return n / (used / 1e9)


def storm(args, peer, ca, work, *how):
    """What tls_storm printed."""
    with Running(peer, *ca, work) as server:
        load = run.spawn([f"{args.peers}/tls_storm", str(server.port), str(min(args.seconds, 1)),
                          *map(str, how)], {run.LOAD_CORE}, stderr=subprocess.PIPE)
        out, err = load.communicate(timeout=60)
        run.stop(load)
    if load.returncode != 0:
        raise RuntimeError(err.strip())
    return list(map(int, out.split()[1:]))


def storms(args, title, peers, ca, work, failures):
    """Two alternating rounds of all, for the differences are large; prints medians."""
    values = {p.name: [] for p in peers}
    for _ in range(min(args.rounds, 2)):
        for p in peers:
            values[p.name].append(storm(args, p, ca, work, *STORM))
    print(f"\nround trips of {STORM[0]} live connections, us, {title}\n"
          f"  {'':24}{'quiet':>10}{'99 %':>10}{'storm':>10}{'99 %':>10}{'longest':>10}"
          f"{'times':>8}{'answers/s':>11}")
    for name, v in values.items():
        m = [statistics.median(x) for x in zip(*v)]
        times = statistics.median(x[2] / x[0] for x in v)
        print("  " + f"{name:24}" + "".join(f"{x:>10.0f}" for x in m[:5]) +
              f"{times:>8.1f}{m[5]:>11.0f}", flush=True)
        if name.endswith("-pool") and times > STORM_BAR:
            failures.append(f"storm, {title}: {name} x {times:.1f}")


def half_opens(args, said, peers, ca, work, failures):
    """Alternating rounds; prints medians, and ratios paired within a run."""
    values = {p.name: [] for p in peers}
    for _ in range(args.rounds):
        for p in peers:
            values[p.name].append(storm(args, p, ca, work, *HALF_OPEN, said))
    print(f"\nround trips of {HALF_OPEN[0]} live connections, us, beside {HALF_OPEN[1]} peers that "
          f"say {said} of a hello\n  {'':24}{'quiet':>8}{'99 %':>8}{'come':>8}{'99 %':>8}{'longest':>9}"
          f"{'stand':>8}{'99 %':>8}{'longest':>9}   {'come':>6}{'stand':>20}, times quiet")
    for name, v in values.items():
        widths = (8, 8, 8, 8, 9, 8, 8, 9)
        line = "".join(f"{statistics.median(x):>{w}.0f}" for x, w in zip(zip(*v), widths))
        for i in (2, 5):
            pairs = [x[i] / x[0] for x in v]
            times, (low, high) = statistics.median(pairs), run.quartiles(pairs)
            line += f"   {times:5.2f} ({low:.2f} to {high:.2f})"
            if name.startswith("weft-") and times > STORM_BAR:
                failures.append(f"half-open, {said}: {name} x {times:.2f}")
        print(f"  {name:24}{line}", flush=True)


def table(title, unit, peers, rounds, one, reference, digits):
    """Alternating rounds; prints medians and paired ratios; returns ratios by name."""
    values = {p.name: [] for p in peers}
    for _ in range(rounds):
        for p in peers:
            values[p.name].append(one(p))
    print(f"\n{title}\n  {'':24}{unit:>16}   ratio to {reference}")
    ratios = {}
    for name, v in values.items():
        pairs = [a / b for a, b in zip(v, values[reference])]
        ratios[name] = statistics.median(pairs)
        low, high = run.quartiles(pairs)
        print(f"  {name:24}{statistics.median(v):>16.{digits}f}   {ratios[name]:.3f}"
              f"  ({low:.3f} to {high:.3f})", flush=True)
    return ratios


def check(failures, name, ratios, good):
    for peer, value in ratios.items():
        if peer.startswith("weft-") and not good(value):
            failures.append(f"{name}: {peer} {value:.3f}")


def run_all(args, work):
    failures = []
    ecdsa = certificate(work, "ecdsa", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
    rsa = certificate(work, "rsa", "-newkey", "rsa:2048")
    peers = contenders(args)
    echoes = [p for p in peers if not p.speaks_first and not p.name.endswith("-pool")]
    for title, cell in CELLS.items():
        if not re.search(args.cell, title):
            continue
        ratios = table(f"echo, {title}, TLS 1.3", "us CPU/message", echoes, args.rounds,
                       lambda p, c=cell: echo(args, p, c, ecdsa, work), "raw-epoll-tls", 2)
        if title in BARS:
            check(failures, title, ratios, lambda r, b=BARS[title]: r <= b)
        else:
            check(failures, title, ratios, lambda r: 1 / r >= BULK_BAR)
    reference = next((n for n in ("nginx-aes128", "nginx") if any(p.name == n for p in peers)),
                     "raw-epoll-tls")
    for title, how, ca in (("full, ECDSA P-256", "full", ecdsa), ("full, RSA-2048", "full", rsa),
                           ("resumed, ECDSA P-256", "resumed", ecdsa)):
        if not re.search(args.cell, "handshakes " + title):
            continue
        some = [p for p in peers if how == "full" or not p.name.endswith("-pool")]
        ratios = table(f"handshakes, TLS 1.3, {title}", "per CPU second", some, args.rounds,
                       lambda p, h=how, c=ca: hands(args, p, h, c, work), reference, 0)
        check(failures, title, ratios, lambda r: r >= HANDS_BAR)
    for title, ca in (("ECDSA P-256", ecdsa), ("RSA-2048", rsa)):
        if re.search(args.cell, "storm " + title):
            storms(args, title, [p for p in peers if not p.speaks_first], ca, work, failures)
    for said in ("part", "whole"):
        if re.search(args.cell, f"half-open, {said}"):
            some = [p for p in peers if not p.speaks_first and
                    (said == "whole" or not p.name.endswith("-pool"))]
            half_opens(args, said, some, ecdsa, work, failures)
    return failures


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    build = os.path.join(run.ROOT, "build")
    p.add_argument("--weft", default=f"{build}/apps/weft/weft")
    p.add_argument("--greet", default=f"{build}/bench/greet")
    p.add_argument("--peers", default=f"{build}/bench/peers")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=float, default=2.0)
    p.add_argument("--cell", default=".", help="regular expression of titles")
    p.add_argument("--only", default=".", help="regular expression of names")
    p.add_argument("--check", action="store_true", help="exit status 1 when a bar is missed")
    args = p.parse_args()
    began = time.monotonic()
    work = tempfile.mkdtemp(prefix="weft-tls-bench-")
    try:
        failures = run_all(args, work)
    finally:
        for child in list(run.children):
            run.stop(child)
        shutil.rmtree(work)
    print(f"\n{time.monotonic() - began:.0f} s")
    for line in failures:
        print("missed: " + line)
    return 1 if failures and args.check else 0


if __name__ == "__main__":
    sys.exit(main())
