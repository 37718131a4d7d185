#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""HTTP beside its peers: CPU microseconds of the server per request, in alternating rounds.

The server runs on core 0, the load (wrk) on core 1, and only what was measured in one run is
compared. A peer that is not installed is left out, with a word.

usage: bench/http.py [--seconds S] [--rounds N] [--only REGEX] [--cells REGEX]
"""
import argparse
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
BUILD = os.environ.get("WEFT_BUILD", os.path.join(ROOT, "build"))
TICK = os.sysconf("SC_CLK_TCK")

PIPELINE = """init = function(args)
  local r = {}
  for i = 1, 16 do r[i] = wrk.format() end
  req = table.concat(r)
end
request = function() return req end
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """A server on core 0, in a process group of its own."""

    def __init__(self, name, argv, port):
        self.name, self.port = name, port
        self.process = subprocess.Popen(["taskset", "-c", "0", *argv], start_new_session=True,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    self.end()
                    raise RuntimeError(f"{name} does not come up") from None
                time.sleep(0.02)

    def cpu(self):
        """Seconds of CPU of all its processes, to a microsecond where the kernel tells."""
        total = 0.0
        for pid in os.listdir("/proc"):
            if not pid.isdigit():
                continue
            try:
                if os.getpgid(int(pid)) != self.process.pid:
                    continue
                with open(f"/proc/{pid}/stat", encoding="ascii") as f:
                    fields = f.read().rsplit(")", 1)[1].split()
                total += (int(fields[11]) + int(fields[12])) / TICK
            except (OSError, IndexError):
                continue
        return total

    def end(self):
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, number)
            except ProcessLookupError:
                return
            try:
                self.process.wait(3)
            except subprocess.TimeoutExpired:
                continue


def write(path, text):
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    return path


def nginx(folder, port):
    return ["nginx", "-p", folder, "-e", f"{folder}/error.log", "-c", write(
        f"{folder}/nginx.conf", f"""daemon off; worker_processes 1; pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{ access_log off; keepalive_requests 100000000; sendfile on; tcp_nopush on;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5; default_type text/plain;
  server {{ listen 127.0.0.1:{port}; root {folder};
    location = / {{ return 200 "Hello, World!"; }} location /files/ {{ }} }} }}
""")]


def h2o(folder, port):
    return ["h2o", "-c", write(f"{folder}/h2o.conf", f"""
listen: {{ host: 127.0.0.1, port: {port} }}
num-threads: 1
http1-request-timeout: 60
hosts:
  default:
    paths:
      /: {{ file.dir: {folder} }}
""")]


def lighttpd(folder, port):
    return ["lighttpd", "-D", "-f", write(f"{folder}/lighttpd.conf", f"""
server.document-root = "{folder}"
server.port = {port}
server.bind = "127.0.0.1"
server.max-keep-alive-requests = 100000000
server.max-keep-alive-idle = 60
index-file.names = ( "index.txt" )
mimetype.assign = ( ".txt" => "text/plain" )
""")]


def go(folder, port):
    program = f"{folder}/go_http"
    source = write(f"{folder}/main.go", """package main
import ("io"; "net/http"; "os"; "runtime")
func main() { runtime.GOMAXPROCS(1)
  http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
    w.Header().Set("Content-Type", "text/plain"); io.WriteString(w, "Hello, World!") })
  http.ListenAndServe("127.0.0.1:" + os.Args[1], nil) }
""")
    env = {**os.environ, "GOCACHE": f"{folder}/gocache", "GO111MODULE": "off"}
    subprocess.run(["go", "build", "-o", program, source], check=True, env=env, timeout=120)
    return [program, str(port)]


def node(folder, port):
    return ["node", write(f"{folder}/http.js", f"""require('http').createServer((q, r) => {{
  r.setHeader('Content-Type', 'text/plain'); r.end('Hello, World!');
}}).listen({port}, '127.0.0.1')""")]


def raw(folder, port):
    program = f"{folder}/raw_epoll_http"
    subprocess.run(["cc", "-O2", "-D_GNU_SOURCE", "-w", "-o", program,
                    os.path.join(HERE, "peers", "raw_epoll_http.c")], check=True, timeout=60)
    return [program, str(port)]


def weft(folder, port):
    return [os.path.join(BUILD, "bench", "http"), f"tcp://127.0.0.1:{port}", f"{folder}/files"]


# name: (what to start, program it needs, whether it serves files, path of the fixed reply)
PEERS = {
    "raw-epoll": (raw, "cc", False, "/"),
    "weft": (weft, None, True, "/"),
    "weft-task": (weft, None, False, "/task"),
    "nginx": (nginx, "nginx", True, "/"),
    "h2o": (h2o, "h2o", True, "/index.txt"),
    "lighttpd": (lighttpd, "lighttpd", True, "/index.txt"),
    "go": (go, "go", False, "/"),
    "node": (node, "node", False, "/"),
}
# name: (path or None for the fixed reply, connections, pipelined, title)
CELLS = {
    "hello": (None, 64, False, "hello, 64 connections"),
    "pipeline": (None, 64, True, "hello, 64 connections, 16 in flight"),
    "1k": ("/files/1k.txt", 64, False, "file of 1 KiB"),
    "64k": ("/files/64k.txt", 64, False, "file of 64 KiB"),
    "1m": ("/files/1m.txt", 64, False, "file of 1 MiB"),
}


def load(port, path, connections, script, seconds):
    argv = ["taskset", "-c", "1", "wrk", "-t1", f"-c{connections}", f"-d{seconds}s"]
    if script:
        argv += ["-s", script]
    out = subprocess.run(argv + [f"http://127.0.0.1:{port}{path}"], capture_output=True, text=True,
                         timeout=seconds + 30, check=True).stdout
    if "Socket errors" in out or "Non-2xx" in out:
        raise RuntimeError(out)
    return int(re.search(r"(\d+) requests in", out).group(1))


def measure(server, path, connections, script, seconds):
    """(CPU microseconds per request, thousands of requests a second)."""
    load(server.port, path, connections, script, 1)
    cpu, began = server.cpu(), time.monotonic()
    count = load(server.port, path, connections, script, seconds)
    took = time.monotonic() - began
    return (server.cpu() - cpu) * 1e6 / count, count / took / 1000


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--seconds", type=int, default=3)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--only", default=".")
    p.add_argument("--cells", default=".")
    o = p.parse_args()
    if not shutil.which("wrk"):
        print("bench/http.py: left out: wrk is not installed")
        return 0
    results = {}
    with tempfile.TemporaryDirectory(prefix="weft-bench-") as folder:
        os.chmod(folder, 0o755)  # servers that give up root have to read it
        os.mkdir(f"{folder}/files")
        write(f"{folder}/index.txt", "Hello, World!")
        for name, size in (("1k", 1024), ("64k", 65536), ("1m", 1 << 20)):
            write(f"{folder}/files/{name}.txt", "x" * size)
        script = write(f"{folder}/pipeline.lua", PIPELINE)
        for _ in range(o.rounds):
            for name, (start, needs, files, fixed) in PEERS.items():
                if not re.search(o.only, name) or (needs and not shutil.which(needs)):
                    continue
                try:
                    port = free_port()
                    server = Server(name, start(folder, port), port)
                except (RuntimeError, OSError, subprocess.SubprocessError) as why:
                    print(f"  left out {name}: {why}")
                    continue
                try:
                    for cell, (path, connections, pipelined, _) in CELLS.items():
                        if not re.search(o.cells, cell) or (path and not files):
                            continue
                        results.setdefault((cell, name), []).append(
                            measure(server, path or fixed, connections,
                                    script if pipelined else None, o.seconds))
                except (RuntimeError, subprocess.SubprocessError) as why:
                    print(f"  {name} gave up: {str(why)[:200]}")
                finally:
                    server.end()
    for cell, (_, _, _, title) in CELLS.items():
        rows = {n: results[c, n] for c, n in results if c == cell}
        if not rows:
            continue
        base = statistics.median(r[0] for r in rows.get("raw-epoll", [(0, 0)]))
        print(f"\n{title}\n  {'':12} {'us/request':>10} {'k/s':>8} {'x raw':>6}")
        for name, runs in rows.items():
            us = statistics.median(r[0] for r in runs)
            rate = statistics.median(r[1] for r in runs)
            print(f"  {name:12} {us:10.2f} {rate:8.1f} "
                  f"{us / base if base else 0:6.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
