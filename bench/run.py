#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The benchmark: one echo load, every server, alternating, ratios inside one run.

Floor 6: it knows the servers only by their command lines. Each server prints
`listening ENDPOINT` first and ends on SIGTERM. See README.md here for the method.

Invariants: only 127.0.0.0/8 is touched; every child is ended before the program ends, however
it ends; what is compared in a table was measured in the same run, in alternating rounds.
"""

import argparse
import contextlib
import ctypes
import json
import os
import platform
import random
import re
import resource
import select
import signal
import statistics
import struct
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
PEERS = os.path.join(HERE, "peers")
PYTHON = "/usr/bin/python3"
SERVER_CORE, LOAD_CORE = 0, 1
START_TIMEOUT = 20.0

# name: (connections, bytes, in flight, reconnect, title)
CELLS = {
    "64": (64, 64, 1, False, "64 connections, 64 B"),
    "1000": (1000, 64, 1, False, "1,000 connections, 64 B"),
    "pipeline": (64, 64, 16, False, "64 connections, 64 B, 16 in flight"),
    "16k": (64, 16384, 1, False, "64 connections, 16 KiB"),
    "connect": (64, 64, 1, True, "connect + echo + close, 64 at a time"),
}
QUICK = r"^(raw-|weft-|libuv$|asio$|asyncio-protocol$)"
BARS = {"task": 1.10, "protocol": 1.05}  # server CPU per message over the better raw server
CONNECT_BAR = 0.9  # connections per second of server CPU over the better raw server


class Contender:
    def __init__(self, name, argv, kind="peer", env=None, driver=None, model=None, module=None,
                 thrifty=()):
        self.name, self.argv, self.kind = name, argv, kind
        self.env, self.driver, self.model, self.module = env or {}, driver, model, module
        self.thrifty = list(thrifty)  # what to add where memory counts more than time

    def missing(self):
        """Why it cannot run here, or None."""
        if self.module:
            probe = [PYTHON, "-c", "import " + self.module]
            if subprocess.run(probe, capture_output=True, timeout=60).returncode != 0:
                return "no Python module " + self.module
        for part in self.argv[:2]:
            if part.startswith("/") and not os.path.exists(part):
                return os.path.relpath(part, ROOT) + " is not there"
        return None


def contenders(args):
    def built(name, *more):
        return [os.path.join(args.peers, name), *more]

    def script(name, *more):
        return [PYTHON, os.path.join(PEERS, name), *more]

    found = [Contender("raw-epoll-" + buffer, built("raw_epoll", "--buffer", buffer), "raw",
                       driver="epoll") for buffer in ("own", "shared")]
    for mode in ("oneshot", "linked", "multishot"):
        found.append(Contender("raw-uring-" + mode, built("raw_uring", "--mode", mode), "raw",
                               driver="uring"))
    for model in ("protocol", "task"):
        for driver in ("uring", "epoll"):
            found.append(weft(args, f"weft-{model}-{driver}", model, driver))
    found.append(weft(args, "weft-thread", "thread", None))
    found += [Contender("libevent-" + mode, built("libevent", "--mode", mode))
              for mode in ("event", "bufferevent")]
    found += [Contender(n, built(b)) for n, b in (
        ("thread-c", "thread"), ("libuv", "libuv"), ("libev", "libev"),
        ("asio", "asio_callback"), ("asio-coro", "asio_coro"),
        ("tokio", "tokio_echo"), ("go", "go_echo"))]
    found.append(Contender("node", ["/usr/bin/node", os.path.join(PEERS, "node_net.js")]))
    for loop in ("asyncio", "uvloop"):
        for style in ("protocol", "streams"):
            found.append(Contender(f"{loop}-{style}",
                                   script("py_asyncio.py", "--loop", loop, "--style", style),
                                   module=loop))
    found.append(Contender("twisted", script("py_twisted.py"), module="twisted"))
    fresh = ("--buffer", "fresh")
    found += [Contender(n, script(f"py_{n}.py"), module=n, thrifty=fresh)
              for n in ("gevent", "tornado")]
    found.append(Contender("python-threads", script("py_threads.py"), thrifty=fresh))
    return found


def weft(args, name, model, driver, workers=1):
    argv = [args.weft, "echo", "--model", model, "--listen", "tcp://127.0.0.1:0",
            "--workers", str(workers)]
    return Contender(name, argv, "weft", {"WEFT_DRIVER": driver} if driver else {}, driver, model)


# ---- processes ----

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG = 1
children = []


def prepare(cores):
    def in_child():
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        if cores:
            os.sched_setaffinity(0, cores)
    return in_child


def spawn(argv, cores, env=None, **kw):
    child = subprocess.Popen(argv, preexec_fn=prepare(cores), start_new_session=True, text=True,
                             env={**os.environ, **(env or {})}, stdout=subprocess.PIPE, **kw)
    children.append(child)
    return child


def stop(child):
    """Ends a child and what it started: SIGTERM, then SIGKILL."""
    for sig, patience in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 10.0)):
        if child.poll() is None:
            child.send_signal(sig)
            try:
                child.wait(patience)
            except subprocess.TimeoutExpired:
                continue
    for stream in (child.stdin, child.stdout, child.stderr):
        if stream:
            stream.close()
    if child in children:
        children.remove(child)


def first_line(child, timeout):
    if not select.select([child.stdout], [], [], timeout)[0]:
        return ""
    return child.stdout.readline().strip()


class Server:
    """A running contender: `with Server(...) as s: s.endpoint, s.pid`."""

    def __init__(self, contender, cores, thrifty=False):
        self.contender, self.cores, self.thrifty = contender, cores, thrifty

    def __enter__(self):
        c = self.contender
        argv = c.argv if c.kind == "weft" else [*c.argv, "--port", "0"]
        argv = argv + (c.thrifty if self.thrifty else [])
        self.child = spawn(argv, self.cores, c.env, stderr=subprocess.DEVNULL)
        line = first_line(self.child, START_TIMEOUT)
        match = re.fullmatch(r"listening (tcp://127\.\d+\.\d+\.\d+:\d+)", line)
        if not match:
            stop(self.child)
            raise RuntimeError(f"did not start (first line: {line!r})")
        self.endpoint, self.pid = match[1], self.child.pid
        return self

    def __exit__(self, *exc):
        stop(self.child)


def cpu_ns(pid):
    """CPU time of a process, ended threads included, in ns: its own CPU-time clock."""
    return time.clock_gettime_ns((~pid << 3) | 2)


def thread_ns(pid):
    """CPU time of each live thread in ns."""
    found = {}
    for tid in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{tid}/schedstat") as f:
                found[tid] = int(f.read().split()[0])
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


def load_argv(args, endpoint, cell, seconds, connections=None):
    conns, size, depth, reconnect, _ = cell
    argv = [args.load, "load", endpoint, "--connections", str(connections or conns),
            "--size", str(size), "--pipeline", str(depth), "--seconds", str(seconds), "--json"]
    return argv + (["--reconnect"] if reconnect else [])


def load_result(child, seconds):
    try:
        out, err = child.communicate(timeout=seconds + 30)
    except subprocess.TimeoutExpired:
        raise RuntimeError("the load generator did not end") from None
    finally:
        stop(child)
    try:
        result = json.loads(out.strip().splitlines()[-1])
    except (ValueError, IndexError):
        raise RuntimeError("load: " + (err.strip().splitlines() or ["no output"])[-1]) from None
    if result["errors"]:
        raise RuntimeError(f"{result['errors']} errors under load")
    if not result["messages"]:
        raise RuntimeError("no messages")
    return result


def measure(args, server, cell):
    """One run: server CPU us per message over the whole of it, and the rate."""
    seconds = max(args.seconds, cell[0] / 1000)  # beside which setting up connections is little
    before = cpu_ns(server.pid)
    load = spawn(load_argv(args, server.endpoint, cell, seconds), {LOAD_CORE},
                 stderr=subprocess.PIPE)
    result = load_result(load, seconds)
    used = cpu_ns(server.pid) - before
    return {"us": used / 1e3 / result["messages"], "rate": result["messages_per_s"],
            "busy": used / 1e9 / result["seconds"], "latency_us": result.get("latency_us")}


# ---- figures ----

def quartiles(values):
    if len(values) < 2:
        return values[0], values[0]
    q = statistics.quantiles(values, n=4, method="inclusive")
    return q[0], q[2]


def ratio(rows, a, b, key="us"):
    """Median and quartiles of a/b, round by round; None when no round has both."""
    pairs = [x[key] / y[key] for x, y in zip(rows[a], rows[b]) if x and y]
    if not pairs:
        return None
    low, high = quartiles(pairs)
    return {"median": statistics.median(pairs), "low": low, "high": high,
            "tie": low <= 1.0 <= high and len(pairs) > 1}


def median_of(rows, name, key):
    return statistics.median(r[key] for r in rows[name] if r)


def best_raw(rows, field, driver=None):
    raws = [c.name for c in field if c.kind == "raw" and driver in (None, c.driver)
            and any(rows[c.name])]
    return min(raws, key=lambda n: median_of(rows, n, "us")) if raws else None


def start_all(args, name, field, servers, failures):
    """Every contender's server in `servers`, warm: it has had one run that does not count."""
    started = {}
    for c in field:
        note(f"{name}: {c.name} starts")
        try:
            started[c.name] = servers.enter_context(Server(c, {SERVER_CORE}))
            measure(args, started[c.name], CELLS[name])
        except (RuntimeError, OSError) as e:
            started.pop(c.name, None)
            failures.append(f"{c.name}, {CELLS[name][4]}: {e}")
    return started


def run_cell(args, name, field, failures):
    """The servers stay up while the rounds go over them, each round in an order of its own."""
    rows = {c.name: [] for c in field}
    order, failed = random.Random(1), {}
    with contextlib.ExitStack() as servers:
        started = start_all(args, name, field, servers, failures)
        for number in range(args.rounds):
            for c in order.sample(field, len(field)):
                note(f"{name}: round {number + 1}/{args.rounds} {c.name}")
                row = None
                if c.name in started and failed.get(c.name, 0) < 2:
                    try:
                        row = measure(args, started[c.name], CELLS[name])
                    except (RuntimeError, OSError) as e:
                        failed[c.name] = failed.get(c.name, 0) + 1
                        failures.append(f"{c.name}, {CELLS[name][4]}: {e}")
                rows[c.name].append(row)
    note("")
    return rows


def print_cell(name, field, rows):
    best = best_raw(rows, field)
    print(f"\n## {CELLS[name][4]}\n")
    print(f"{'server':20} {'us/message':>10} {'quartiles':>15} {'k/s':>8} {'busy':>5} "
          f"{'/raw':>6} {'quartiles':>13}")
    summary = {}
    for c in sorted((c for c in field if any(rows[c.name])),
                    key=lambda c: median_of(rows, c.name, "us")):
        us = [r["us"] for r in rows[c.name] if r]
        low, high = quartiles(us)
        rel = ratio(rows, c.name, best) if best else None
        line = (f"{c.name:20} {statistics.median(us):10.3f} {f'{low:.3f}-{high:.3f}':>15} "
                f"{median_of(rows, c.name, 'rate') / 1e3:8.1f} "
                f"{median_of(rows, c.name, 'busy'):5.2f} ")
        if rel:
            line += f"{rel['median']:6.2f} {'{low:.2f}-{high:.2f}'.format(**rel):>13}"
            if c.name == best:
                line += "  the better raw server"
            elif rel["tie"]:
                line += "  tie with " + best
        print(line)
        summary[c.name] = {"us": statistics.median(us), "us_low": low, "us_high": high,
                           "rate": median_of(rows, c.name, "rate"), "to_raw": rel}
    return {"best_raw": best, "contenders": summary, "rounds": rows}


def verdicts(name, field, rows):
    """One line per Weft contender: against the raw servers, and every peer ahead of it."""
    missed = []
    best = best_raw(rows, field)
    for c in field:
        if c.kind != "weft" or not any(rows[c.name]) or not best:
            continue
        rel = ratio(rows, c.name, best)
        said = [f"{rel['median']:.2f} x {best}"]
        own = best_raw(rows, field, c.driver) if c.driver else None
        if own and own != best:
            said.append(f"{ratio(rows, c.name, own)['median']:.2f} x {own}")
        bar = BARS.get(c.model)
        if bar and name != "connect":
            against = ratio(rows, c.name, own or best)["median"]
            if c.driver == "uring":  # the default driver answers to the best of all
                against = max(against, rel["median"])
            said.append(f"bar {bar:.2f} x: {'met' if against <= bar else 'MISSED'}")
            missed += [f"{name}: {c.name}"] if against > bar else []
        if bar and name == "connect":
            speed, seen = 1 / rel["median"], ratio(rows, c.name, best, "rate")["median"]
            said.append(f"connections per CPU second {speed:.2f} x raw, bar {CONNECT_BAR}: "
                        f"{'met' if speed >= CONNECT_BAR else 'MISSED'} (per second {seen:.2f} x)")
            missed += [f"{name}: {c.name}"] if speed < CONNECT_BAR else []
        ahead, ties = [], []
        for p in field:
            rel = ratio(rows, c.name, p.name) if p.kind == "peer" and any(rows[p.name]) else None
            if rel and rel["tie"]:
                ties.append(p.name)
            elif rel and rel["median"] > 1.0:
                ahead.append(f"{p.name} ({rel['median']:.2f})")
        said.append("behind " + ", ".join(ahead) if ahead else "no peer ahead")
        if ties:
            said.append("tie with " + ", ".join(ties))
        print(f"   {c.name}: " + "; ".join(said))
    return missed


# ---- memory ----

def anonymous_bytes(pid):
    """Private anonymous memory (shared pages do not exist here), and the resident set."""
    with open(f"/proc/{pid}/smaps_rollup") as f:
        fields = dict(line.split(":", 1) for line in f if ":" in line and "kB" in line)
    return (int(fields["Pss_Anon"].split()[0]) * 1024, int(fields["Rss"].split()[0]) * 1024)


def hold(endpoint, count, messages=1):
    """A process that holds `count` echoed connections open until its stdin closes."""
    child = spawn([PYTHON, os.path.join(HERE, "hold.py"), endpoint, str(count), str(messages)],
                  {LOAD_CORE}, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    line = first_line(child, 60 + count / 100)
    if line != f"holding {count}":
        stop(child)
        raise RuntimeError(f"could not hold {count} connections ({line!r})")
    return child


def release(child):
    child.stdin.close()
    try:
        child.wait(20)
    except subprocess.TimeoutExpired:
        pass
    stop(child)


def steady_bytes(pid):
    """Waits for the figure to stand still: freed memory and idle timers take a moment."""
    last = anonymous_bytes(pid)
    for _ in range(20):
        time.sleep(0.25)
        now = anonymous_bytes(pid)
        if now == last:
            break
        last = now
    return last


def measure_memory(args, contender):
    with Server(contender, {SERVER_CORE}, thrifty=True) as server:
        release(hold(server.endpoint, 16, 256))  # what is set up once, or shared by all
        before = steady_bytes(server.pid)
        holder = hold(server.endpoint, args.idle)
        after = steady_bytes(server.pid)
        release(holder)
    return {"bytes": (after[0] - before[0]) / args.idle, "rss": (after[1] - before[1]) / args.idle,
            "base": before[0]}


def run_memory(args, field, failures):
    print(f"\n## User-space memory of an idle connection, {args.idle:,} connections\n")
    rows = {}
    for c in field:
        note(f"memory: {c.name}")
        try:
            rows[c.name] = measure_memory(args, c)
        except (RuntimeError, OSError) as e:
            failures.append(f"{c.name}, memory: {e}")
    note("")
    print(f"{'server':20} {'bytes each':>11} {'resident':>9} {'empty server, KiB':>18}")
    for name, row in sorted(rows.items(), key=lambda kv: kv[1]["bytes"]):
        print(f"{name:20} {row['bytes']:11.0f} {row['rss']:9.0f} {row['base'] / 1024:18.0f}")
    return rows


# ---- workers ----

WORKERS_CELL = (64, 64, 16, False, "")
# The CPU that each worker gets: this much in every so much. While two workers have their share, no
# load runs, so a share must not last longer than what is in flight.
SHARE_MS = (0.3, 1)
SYS_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}.get(platform.machine())


def limit_share(tid):
    """Puts a thread under SCHED_DEADLINE, which gives it its share and no more (needs root)."""
    reset_on_fork, deadline = 1, 6
    runtime, period = (int(ms * 1_000_000) for ms in SHARE_MS)
    attr = struct.pack("IIQiIQQQ", 48, deadline, reset_on_fork, 0, 0, runtime, period, period)
    if SYS_SCHED_SETATTR is None or LIBC.syscall(SYS_SCHED_SETATTR, tid, attr, 0) != 0:
        why = os.strerror(ctypes.get_errno())
        raise RuntimeError("SCHED_DEADLINE is refused: " + why)


def measure_workers(args, contender, limited):
    """Two load processes, nobody pinned. Limited: each worker has 0.3 of a core."""
    with Server(contender, None) as server:
        if limited:
            time.sleep(0.1)
            for tid in os.listdir(f"/proc/{server.pid}/task"):
                limit_share(int(tid))
        before = thread_ns(server.pid)
        loads = [spawn(load_argv(args, server.endpoint, WORKERS_CELL, args.seconds), None,
                       stderr=subprocess.PIPE) for _ in range(2)]
        results = [load_result(load, args.seconds) for load in loads]
        after = thread_ns(server.pid)
    rate = sum(r["messages_per_s"] for r in results)
    used = sorted(((after[t] - before.get(t, 0)) / 1e9 / results[0]["seconds"] for t in after),
                  reverse=True)
    return {"rate": rate, "busiest": used[0], "cores": sum(used), "capacity": rate / used[0]}


def workers_table(rows, key, floor):
    print(f"{'server':20} {'workers':>7} {'k/s':>8} {'server cores':>12} {'busiest':>8} "
          f"{'k/s per busiest core':>21} {'ratio':>6}")
    for name, by in rows.items():
        one = statistics.median(r[key] for r in by[1]) if by.get(1) else float("nan")
        for workers, got in sorted(by.items()):
            mid = {k: statistics.median(r[k] for r in got) for k in got[0]}
            print(f"{name:20} {workers:7} {mid['rate'] / 1e3:8.1f} {mid['cores']:12.2f} "
                  f"{mid['busiest']:8.2f} {mid['capacity'] / 1e3:21.1f} {mid[key] / one:6.2f}"
                  + ("  the load was the limit" if mid["busiest"] < floor else ""))


def run_workers(args, failures):
    if os.geteuid() != 0:
        print("\nworkers held to a share: skipped: SCHED_DEADLINE needs root")
    kinds = [(f"weft-{m}-{d}", m, d) for m in ("protocol", "task") for d in ("uring", "epoll")]
    report = {}
    for limited in (True, False) if os.geteuid() == 0 else (False,):
        rows = report.setdefault("limited" if limited else "free", {})
        for number in range(args.rounds):
            for name, model, driver in kinds:
                for workers in (1, 2):
                    c = weft(args, name, model, driver, workers)
                    if c.missing() or not re.search(args.only, name):
                        continue
                    note(f"workers: round {number + 1}/{args.rounds} {name} {workers}")
                    try:
                        rows.setdefault(name, {}).setdefault(workers, []).append(
                            measure_workers(args, c, limited))
                    except (RuntimeError, OSError) as e:
                        failures.append(f"{name}, {workers} workers: {e}")
        note("")
        print("\n## Two workers against one (64 B, 16 in flight, 2 load processes x 64), "
              + (f"each worker held to {SHARE_MS[0] / SHARE_MS[1]:.1f} of a core\n" if limited
                 else "all sharing both cores\n"))
        share = SHARE_MS[0] / SHARE_MS[1]
        workers_table(rows, *(("rate", 0.97 * share) if limited else ("capacity", 0)))
    return report


# ---- the program ----

def note(text):
    """Progress, in place, on a terminal only."""
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K" + text)
        sys.stderr.flush()


def options():
    p = argparse.ArgumentParser(description="Alternating echo benchmark of Weft and its peers.")
    p.add_argument("--weft", default=os.path.join(ROOT, "build/apps/weft/weft"))
    p.add_argument("--load", help="load generator, called as `LOAD load ...` (default: weft)")
    p.add_argument("--peers", default=os.path.join(ROOT, "build/bench/peers"),
                   help="where build.sh has put the compiled peers")
    p.add_argument("--rounds", type=int, default=15)
    p.add_argument("--seconds", type=float, default=0.5, help="length of one run")
    p.add_argument("--cell", action="append", choices=CELLS, help="only this cell (repeatable)")
    p.add_argument("--only", default="", metavar="REGEX", help="only contenders that match")
    p.add_argument("--quick", action="store_true", help="7 rounds of 0.4 s, a few peers")
    p.add_argument("--memory", action="store_true", help="memory of an idle connection instead")
    p.add_argument("--idle", type=int, default=10000, help="connections for --memory")
    p.add_argument("--workers", action="store_true", help="two workers against one instead")
    p.add_argument("--all", action="store_true", help="cells, --memory and --workers")
    p.add_argument("--check", action="store_true", help="exit 1 when a bar is missed")
    p.add_argument("--list", action="store_true", help="name the contenders and end")
    p.add_argument("--json", metavar="FILE", help="write every figure of every round")
    args = p.parse_args()
    args.weft, args.peers = os.path.abspath(args.weft), os.path.abspath(args.peers)
    args.load = os.path.abspath(args.load or args.weft)
    if args.quick:
        args.rounds, args.seconds = min(args.rounds, 7), min(args.seconds, 0.4)
        args.only = args.only or QUICK
        args.idle = min(args.idle, 2000)
    return args


def about():
    with open("/proc/cpuinfo") as f:
        model = next((ln.split(":")[1].strip() for ln in f if ln.startswith("model name")), "?")
    busy = os.getloadavg()[0]
    text = (f"{platform.machine()} {model}, {os.cpu_count()} cores, Linux {platform.release()}, "
            f"load average {busy:.2f}")
    return text + (" (other work is running: the figures are noisy)" if busy > 0.7 else "")


def main():
    args = options()
    for sig in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sig, lambda *_: sys.exit(1))
    field, report, failures, missed = [], {"about": about()}, [], []
    print(report["about"])
    for c in contenders(args):
        if re.search(args.only, c.name):
            why = c.missing()
            print(f"   {c.name}: " + ("skipped: " + why if why else "here"), flush=True) \
                if why or args.list else None
            field += [] if why else [c]
    if args.list:
        return 0
    cells_wanted = args.all or not (args.memory or args.workers)
    if not os.path.exists(args.load) and (cells_wanted or args.workers):
        print(f"run.py: no load generator at {args.load}", file=sys.stderr)
        return 2
    if len(os.sched_getaffinity(0)) < 2:
        print("run.py: two cores are needed, one for the server, one for the load",
              file=sys.stderr)
        return 2
    for name in (args.cell or CELLS) if cells_wanted else []:
        rows = run_cell(args, name, field, failures)
        report.setdefault("cells", {})[name] = print_cell(name, field, rows)
        missed += verdicts(name, field, rows)
        sys.stdout.flush()
    if args.all or args.memory:
        report["memory"] = run_memory(args, field, failures)
    if args.all or args.workers:
        report["workers"] = run_workers(args, failures)
    if failures:
        print("\nfailed runs:\n   " + "\n   ".join(failures))
    if args.json:
        with open(args.json, "w") as f:
            json.dump({**report, "failures": failures, "missed": missed}, f, indent=1)
    return 1 if args.check and (missed or failures) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        for leftover in list(children):
            stop(leftover)
