#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""HTTP/2 over TLS beside nginx and h2o: CPU microseconds of the server per request, in alternating
rounds.

The server runs on core 0, the load (h2load, 10 streams a connection) on core 1. What is read is the
CPU-time clock of every process of the server, before and after; the handshakes of the connections
are in it, some 0.5 ms each, the same for all. Ratios are paired, round by round, to nginx.

usage: bench/http2.py [--rounds N] [--scale F] [--only REGEX] [--cells REGEX]
"""
import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import run
import tls

STREAMS = 10
REFERENCE = "nginx"
# name: (file or None for the fixed reply, connections, requests)
CELLS = {
    "hello, 1 connection": (None, 1, 60000),
    "hello, 100 connections": (None, 100, 200000),
    "1 KiB, 1 connection": ("1k.txt", 1, 60000),
    "1 KiB, 100 connections": ("1k.txt", 100, 200000),
}


def write(path, text):
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    return path


def nginx(folder, port, cert, key):
    return [shutil.which("nginx") or "/usr/sbin/nginx", "-p", folder, "-e", f"{folder}/error.log",
            "-c", write(f"{folder}/nginx.conf", f"""daemon off; master_process off;
worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{ access_log off; keepalive_requests 100000000; sendfile on; tcp_nopush on;
  http2_max_concurrent_streams 128; ssl_protocols TLSv1.3;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5; default_type text/plain;
  open_file_cache max=100; open_file_cache_valid 60s;
  server {{ listen 127.0.0.1:{port} ssl http2; root {folder};
    ssl_certificate {cert}; ssl_certificate_key {key};
    location = / {{ return 200 "Hello, World!"; }} location /files/ {{ }} }} }}
""")]


def h2o(folder, port, cert, key):
    return ["h2o", "-c", write(f"{folder}/h2o.conf", f"""
listen:
  host: 127.0.0.1
  port: {port}
  ssl: {{ certificate-file: {cert}, key-file: {key}, minimum-version: TLSv1.3 }}
num-threads: 1
hosts:
  default:
    paths:
      /: {{ file.dir: {folder} }}
""")]


def weft(folder, port, cert, key):
    build = os.environ.get("WEFT_BUILD", os.path.join(run.ROOT, "build"))
    return [os.path.join(build, "bench", "http"),
            f"tls://127.0.0.1:{port}?cert={cert}&key={key}&alpn=h2,http/1.1",
            f"{folder}/files"]


# name: (what to start, program it needs, path of the fixed reply, path of files, environment).
# nginx, h2o and ours below /kept keep the file open; a "task" is one for each request, and opens it.
PEERS = {
    "nginx": (nginx, "nginx", "/", "/files", {}),
    "h2o": (h2o, "h2o", "/index.txt", "/files", {}),
    "weft-uring": (weft, None, "/", "/kept", {"WEFT_DRIVER": "uring"}),
    "weft-epoll": (weft, None, "/", "/kept", {"WEFT_DRIVER": "epoll"}),
    "weft-task-uring": (weft, None, "/task", "/files", {"WEFT_DRIVER": "uring"}),
}


def processes(leader):
    """The server's, its children's too: those of its session."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.getsid(int(pid)) == leader:
                found.append(int(pid))
        except ProcessLookupError:
            pass
    return found


def cpu_ns(leader):
    total = 0
    for pid in processes(leader):
        try:
            total += run.cpu_ns(pid)
        except OSError:
            pass
    return total


def load(port, path, connections, requests):
    out = subprocess.run(["taskset", "-c", str(run.LOAD_CORE), "h2load", "-t1", f"-c{connections}",
                          f"-m{STREAMS}", f"-n{requests}", f"https://127.0.0.1:{port}{path}"],
                         capture_output=True, text=True, timeout=60, check=True).stdout
    done = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored", out)
    if not done or int(done[1]) != requests or "protocol: h2" not in out:
        raise RuntimeError(out.strip()[-300:] or "h2load said nothing")


class Server:
    def __init__(self, name, folder, cert, key):
        start, _, self.fixed, self.files, env = PEERS[name]
        self.port = tls.free_port()
        self.child = run.spawn(start(folder, self.port, cert, key), {run.SERVER_CORE}, env,
                               stderr=subprocess.DEVNULL)

    def __enter__(self):
        tls.wait_for(self.port)
        return self

    def __exit__(self, *exc):
        run.stop(self.child)

    def measure(self, path, connections, requests):
        path = f"{self.files}/{path}" if path else self.fixed
        load(self.port, path, connections, max(connections * STREAMS, requests // 20))
        before, began = cpu_ns(self.child.pid), time.monotonic()
        load(self.port, path, connections, requests)
        took = time.monotonic() - began
        return (cpu_ns(self.child.pid) - before) / 1e3 / requests, requests / took


def table(title, values):
    base = values.get(REFERENCE)
    print(f"\n{title}, {STREAMS} streams each\n  {'':18}{'us/request':>11} {'k/s':>7}"
          f"   to {REFERENCE}")
    for name, rows in values.items():
        us, rate = (statistics.median(r[i] for r in rows) for i in range(2))
        ratio = ""
        if base:
            pairs = [a[0] / b[0] for a, b in zip(rows, base)]
            low, high = run.quartiles(pairs)
            ratio = f"{statistics.median(pairs):6.2f} ({low:.2f} to {high:.2f})"
        print(f"  {name:18}{us:11.2f} {rate / 1e3:7.0f}   {ratio}", flush=True)


def run_all(args, folder):
    os.chmod(folder, 0o755)  # servers that give up root have to read it
    os.mkdir(f"{folder}/files")
    write(f"{folder}/index.txt", "Hello, World!")
    write(f"{folder}/files/1k.txt", "x" * 1024)
    cert, key = tls.certificate(folder, "ecdsa", "-newkey", "ec", "-pkeyopt",
                                "ec_paramgen_curve:P-256")
    os.chmod(key, 0o644)
    field = [n for n in PEERS if re.search(args.only, n)]
    for name in list(field):
        if PEERS[name][1] and not shutil.which(PEERS[name][1]):
            print(f"  left out {name}: {PEERS[name][1]} is not installed")
            field.remove(name)
    for title, (path, connections, requests) in CELLS.items():
        if not re.search(args.cells, title):
            continue
        values = {}
        for _ in range(args.rounds):
            for name in list(field):
                try:
                    with Server(name, folder, cert, key) as server:
                        row = server.measure(path, connections, int(requests * args.scale))
                    values.setdefault(name, []).append(row)
                except (RuntimeError, OSError, subprocess.SubprocessError) as why:
                    print(f"  left out {name}: {str(why)[:200]}")
                    values.pop(name, None)
                    field.remove(name)
        table(title, values)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--scale", type=float, default=1.0, help="of the numbers of requests")
    p.add_argument("--only", default=".", help="regular expression of names")
    p.add_argument("--cells", default=".", help="regular expression of titles")
    args = p.parse_args()
    if not shutil.which("h2load"):
        print("bench/http2.py: left out: h2load is not installed")
        return 0
    try:
        with tempfile.TemporaryDirectory(prefix="weft-bench-") as folder:
            run_all(args, folder)
    finally:
        for child in list(run.children):
            run.stop(child)
    return 0


if __name__ == "__main__":
    sys.exit(main())
