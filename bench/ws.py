#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""WebSocket beside its peers: CPU microseconds of the server for each message, in alternating
rounds.

Echo: a message comes and goes back. Broadcast: a message comes and goes to every subscriber; what
counts is each delivered message. The server runs on core 0, the load (peers/ws_load.c, which checks
every byte) on core 1. Ratios are paired, round by round, to raw epoll. --memory measures what an
idle connection takes, instead.

usage: bench/ws.py [--seconds S] [--rounds N] [--only REGEX] [--cells REGEX] [--memory]
"""
import argparse
import os
import re
import statistics
import subprocess
import sys
import time

import run

IN_FLIGHT = 4  # messages on their way at once, in a broadcast
REFERENCE = "raw-epoll"
MEMORY_BARS = {"weft-task": 6144, "weft-protocol": 1024}
THREADS = 1100  # what a peer with a thread for each connection can hold

# name: what ws_load is told, behind the seconds
ECHOES = {f"echo {size}, {n:,}": ("echo", str(n), str(size))
          for size in (64, 1024) for n in (1, 100, 1000)}
BROADCASTS = {f"broadcast {size}, {n:,}": ("broadcast", str(n), str(size), str(IN_FLIGHT))
              for size in (64, 1024) for n in (1, 10, 100, 1000)}
CELLS = {**ECHOES, **BROADCASTS}


class Peer:
    def __init__(self, name, argv, env=None, most=None):
        self.name, self.argv, self.env, self.most = name, argv, env or {}, most

    def missing(self):
        return next((part for part in self.argv[:2]
                     if part.startswith("/") and not os.path.exists(part)), None)


def peers(args):
    def built(name):
        return [os.path.join(args.peers, name), "--port", "0", "--mode", "{mode}"]

    found = [Peer(REFERENCE, built("raw_epoll_ws"))]
    for model in ("protocol", "task"):
        for driver in ("uring", "epoll"):
            found.append(Peer(f"weft-{model}-{driver}",
                              [args.server, "tcp://127.0.0.1:0", model, "{mode}"],
                              {"WEFT_DRIVER": driver}))
    found += [Peer(name, built("ws_" + name)) for name in
              ("lws", "websocketpp", "beast", "restinio", "soup")]
    found += [Peer(name, built("ws_" + name), most=THREADS) for name in ("civetweb", "poco")]
    found += [Peer(name, built("go_ws_" + name), {"GOMAXPROCS": "1"})
              for name in ("gorilla", "nhooyr")]
    found.append(Peer("node-ws", ["/usr/bin/node", os.path.join(run.PEERS, "node_ws.js"),
                                  "--port", "0", "--mode", "{mode}"],
                      {"NODE_PATH": "/usr/share/nodejs"}))
    return [p for p in found if re.search(args.only, p.name)]


class Load:
    """ws_load, with its server: `with Load(...) as l: l.go()`."""

    def __init__(self, args, peer, mode):
        self.args, self.peer, self.mode, self.load = args, peer, mode, None

    def __enter__(self):
        argv = [part.format(mode=self.mode) for part in self.peer.argv]
        self.server = run.spawn(argv, {run.SERVER_CORE}, self.peer.env, stderr=subprocess.DEVNULL)
        line = run.first_line(self.server, run.START_TIMEOUT)
        match = re.fullmatch(r"listening tcp://127\.0\.0\.1:(\d+)", line)
        if not match:
            run.stop(self.server)
            raise RuntimeError(f"did not start (first line: {line!r})")
        self.port = match[1]
        return self

    def begin(self, *how):
        """Connects; the connections are warm then, and idle."""
        self.load = run.spawn([os.path.join(self.args.peers, "ws_load"), self.port, *how],
                              {run.LOAD_CORE}, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        if run.first_line(self.load, 60) != "ready":
            raise RuntimeError(self.why())

    def why(self):
        self.load.kill()
        lines = self.load.stderr.read().strip().splitlines()
        return lines[-1][:120] if lines else "the load did not get ready"

    def go(self, seconds):
        """(CPU us for each message, messages a second, share of the core)."""
        used, began = run.cpu_ns(self.server.pid), time.monotonic()
        self.load.stdin.write("go\n")
        self.load.stdin.flush()
        line = run.first_line(self.load, seconds + 30)
        took, used = time.monotonic() - began, run.cpu_ns(self.server.pid) - used
        if not line.isdigit() or line == "0":
            raise RuntimeError(self.why())
        n = int(line)
        return used / 1e3 / n, n / took, used / 1e9 / took

    def end(self):
        if self.load is not None:
            run.stop(self.load)
        self.load = None

    def __exit__(self, *exc):
        self.end()
        run.stop(self.server)


def measure(args, peer, cell):
    mode, *rest = cell
    with Load(args, peer, mode) as load:
        load.begin(mode, str(args.seconds), *rest)
        return load.go(args.seconds)


def run_cell(args, title, cell, field):
    values, out = {}, set()
    for _ in range(args.rounds):
        for p in field:
            if p.name in out or (p.most and int(cell[1]) > p.most):
                continue
            try:
                row = measure(args, p, cell)
                values.setdefault(p.name, []).append(row)
            except (RuntimeError, OSError) as why:
                print(f"  {p.name} is left out of '{title}': {why}")
                out.add(p.name)
    base = values.get(REFERENCE)
    print(f"\n{title} {'subscribers' if cell[0] == 'broadcast' else 'connections'}\n"
          f"  {'':20} {'us/message':>10} {'k/s':>8} {'busy':>5}   to {REFERENCE}")
    for name, rows in sorted(values.items(), key=lambda kv: statistics.median(
            r[0] for r in kv[1])):
        if name in out:
            continue
        us, rate, busy = (statistics.median(r[i] for r in rows) for i in range(3))
        ratio = ""
        if base and REFERENCE not in out:
            pairs = [a[0] / b[0] for a, b in zip(rows, base)]
            low, high = run.quartiles(pairs)
            ratio = f"{statistics.median(pairs):6.2f} ({low:.2f} to {high:.2f})"
        print(f"  {name:20} {us:10.3f} {rate / 1e3:8.0f} {busy:5.2f}   {ratio}", flush=True)


def run_memory(args, field):
    """Bytes of an idle connection that has echoed one message."""
    missed = []
    print(f"\nmemory of an idle connection, {args.idle:,} connections\n"
          f"  {'':20} {'bytes':>8} {'resident':>9}")
    for p in field:
        if p.most and args.idle > p.most:
            continue
        try:
            with Load(args, p, "echo") as load:
                load.begin("hold", "64")  # what is set up once, or shared by all
                load.end()
                before = run.steady_bytes(load.server.pid)
                load.begin("hold", str(args.idle))
                after = run.steady_bytes(load.server.pid)
                each, rss = ((a - b) / args.idle for a, b in zip(after, before))
        except (RuntimeError, OSError) as why:
            print(f"  {p.name} is left out: {why}")
            continue
        bar = next((b for n, b in MEMORY_BARS.items() if p.name.startswith(n)), None)
        if bar is not None and each > bar:
            missed.append(p.name)
        print(f"  {p.name:20} {each:8.0f} {rss:9.0f}"
              f"{f'   bar {bar:,}' if bar else ''}", flush=True)
    return missed


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    build = os.environ.get("WEFT_BUILD", os.path.join(run.ROOT, "build"))
    p.add_argument("--server", default=f"{build}/bench/ws")
    p.add_argument("--peers", default=f"{build}/bench/peers")
    p.add_argument("--seconds", type=float, default=1.0)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--only", default=".", help="regular expression of names")
    p.add_argument("--cells", default=".", help="regular expression of titles")
    p.add_argument("--idle", type=int, default=10000, help="connections for --memory")
    p.add_argument("--memory", action="store_true")
    args = p.parse_args()
    field = []
    for peer in peers(args):
        if peer.missing():
            print(f"  left out {peer.name}: {os.path.basename(peer.missing())} is not there")
        else:
            field.append(peer)
    try:
        if args.memory:
            return 1 if run_memory(args, field) else 0
        for title, cell in CELLS.items():
            if re.search(args.cells, title):
                run_cell(args, title, cell, field)
    finally:
        for child in list(run.children):
            run.stop(child)
    return 0


if __name__ == "__main__":
    sys.exit(main())
