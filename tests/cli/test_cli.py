# SPDX-License-Identifier: MIT
"""The program `weft` as its users see it: help, mistakes, first lines, echo, up, tree."""
import os
import pathlib
import pty
import re
import signal
import socket
import subprocess
import tempfile

import harness
from harness import (DRIVERS, MODELS, WAYS, Case, Echo, Weft, echoes, load, pattern, run, until)

VERBS = ("up", "echo", "load", "connect", "get", "ws", "tree")
UP_QUIET = ("up", "--tasks", "tcp://127.0.0.1:0", "--threads", "tcp://127.0.0.1:0", "--protocols",
            "tcp://127.0.0.1:0", "--udp", "udp://127.0.0.1:0", "--http", "none")


class Help(Case):
    def test_help_goes_to_stdout(self):
        for args in [("--help",), ("-h",)] + [(verb, "--help") for verb in VERBS]:
            with self.subTest(args=args):
                done = run(*args)
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                self.assertTrue(done.stdout.startswith("Usage: weft "))
                self.assertTrue(all(len(line) <= 100 for line in done.stdout.splitlines()))

    def test_help_wins_over_what_is_missing(self):
        self.assertEqual(run("load", "--help").returncode, 0)

    def test_version(self):
        done = run("--version")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertRegex(done.stdout, r"^weft \d+\.\d+\.\d+\n$")

    def test_the_man_page_names_every_option(self):
        page = (harness.ROOT / "man" / "weft.1").read_text(encoding="utf-8")
        for verb in VERBS:
            for option in re.findall(r"^  --([a-z-]+)", run(verb, "--help").stdout, re.M):
                self.assertIn("Fl \\-" + option.replace("-", "\\-"), page, verb)

    def test_output_that_cannot_be_written_is_a_failure(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([harness.WEFT, "--help"], stdout=full, stderr=subprocess.PIPE,
                                  text=True, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr, "weft: cannot write to standard output: "
                                      "No space left on device\n")


class Mistakes(Case):
    """Exit status 2, one sentence and a hint, on stderr alone."""

    def refuses(self, args, sentence, hint):
        done = run(*args)
        self.assertEqual(done.stdout, "", args)
        self.assertEqual(done.returncode, 2, args)
        self.assertEqual(done.stderr, f"{sentence}\nTry '{hint}'.\n", args)

    def test_of_the_verb(self):
        self.refuses([], "weft: a verb is missing.", "weft --help")
        self.refuses(["bogus"], "weft: there is no verb 'bogus'.", "weft --help")
        self.refuses(["--bogus"], "weft: there is no option '--bogus'.", "weft --help")

    def test_of_options(self):
        for verb in VERBS:
            self.refuses([verb, "--bogus"], f"weft {verb}: there is no option '--bogus'.",
                         f"weft {verb} --help")
            self.refuses([verb, "-x"], f"weft {verb}: there is no option '-x'.",
                         f"weft {verb} --help")
        hint = "weft echo --help"
        self.refuses(["echo", "--model"], "weft echo: --model needs a value: MODEL.", hint)
        self.refuses(["echo", "--model", "fibre"],
                     "weft echo: --model: 'fibre' is none of task|thread|protocol.", hint)
        self.refuses(["echo", "--model=tas"],
                     "weft echo: --model: 'tas' is none of task|thread|protocol.", hint)
        self.refuses(["echo", "--visible=1"], "weft echo: --visible takes no value.", hint)
        self.refuses(["echo", "x"], "weft echo: 'x' is one operand too many.", hint)

    def test_of_numbers(self):
        for value in ("", "0", "x", "1x", "-1", "+1", " 1", "257", "99999999999999999999"):
            self.refuses(["echo", "--workers", value],
                         f"weft echo: --workers: '{value}' is not a number from 1 to 256.",
                         "weft echo --help")
        for value in ("", "x", "1e3", "-1", "1.2.3", "inf", "nan"):
            self.refuses(["load", "tcp://127.0.0.1:1", "--seconds", value],
                         f"weft load: --seconds: '{value}' is not a number of seconds "
                         "from 0 to 86400.", "weft load --help")

    def test_of_operands(self):
        self.refuses(["load"], "weft load: ENDPOINT is missing.", "weft load --help")
        self.refuses(["tree"], "weft tree: PID is missing.", "weft tree --help")
        for pid in ("0", "-1", "x", "1x", "99999999999"):
            self.refuses(["tree", "--", pid], f"weft tree: '{pid}' is not a process id.",
                         "weft tree --help")

    def test_of_endpoints(self):
        why = "the endpoint string is not understood: port, character 15: 'x' is not a digit"
        self.refuses(["echo", "--listen", "tcp://1.2.3.4:x"],
                     f"weft echo: cannot listen on tcp://1.2.3.4:x: {why}", "weft echo --help")
        self.refuses(["load", "tcp://1.2.3.4:x"],
                     f"weft load: cannot connect to tcp://1.2.3.4:x: {why}", "weft load --help")

    def test_of_what_does_not_go_together(self):
        hint = "weft load --help"
        udp = "udp://127.0.0.1:1"
        self.refuses(["load", udp, "--reconnect"],
                     "weft load: --reconnect makes no sense over udp.", hint)
        self.refuses(["load", udp, "--size", 7], "weft load: a datagram has from 8 to 65507 bytes.",
                     hint)
        self.refuses(["load", "tcp://127.0.0.1:1", "--size", "1M", "--pipeline", 65],
                     "weft load: --size times --pipeline is over 64M.", hint)
        self.refuses(["load", "fd:3"], "weft load: load makes connections, so it cannot use fd:3.",
                     hint)
        for tls in (["--ca", "x"], ["--insecure-no-verify"]):
            self.refuses(["load", "tcp://127.0.0.1:1", *tls],
                         "weft load: --ca and --insecure-no-verify are for tls:// endpoints.", hint)
        self.refuses(["echo", "--listen", udp, "--model", "thread"],
                     "weft echo: a udp endpoint is served by one task, so it takes neither --model "
                     "nor --workers.", "weft echo --help")
        self.refuses(["up", "--files", "/tmp", "--http", "none"],
                     "weft up: --files are served by the page, and --http is none.",
                     "weft up --help")


class Failures(Case):
    """Exit status 1 and one line that says what and why."""

    def fails(self, args, start, **more):
        done = run(*args, **more)
        self.assertEqual((done.returncode, done.stdout), (1, ""), done)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertTrue(done.stderr.startswith(start), done.stderr)
        return done.stderr[len(start):].strip()

    def test_address_in_use(self):
        for model in MODELS:
            with Echo(model) as server:
                why = self.fails(["echo", "--model", model, "--listen", server.endpoint],
                                 f"weft echo: cannot listen on {server.endpoint}: ")
                self.assertRegex(why, "in use|taken")

    def test_address_in_use_by_a_node(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            endpoint = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
            done = run("up", "--tasks", endpoint)
            self.assertEqual(done.returncode, 1)
            self.assertEqual(done.stderr.count("\n"), 1)
            self.assertTrue(done.stderr.startswith(f"weft up: cannot listen on {endpoint}: "))

    def test_unix_path_that_cannot_be(self):
        with tempfile.NamedTemporaryFile() as file:
            for path in (f"{file.name}/echo.sock", "/nonexistent/echo.sock"):
                for model in MODELS:
                    why = self.fails(["echo", "--model", model, "--listen", f"unix:{path}"],
                                     f"weft echo: cannot listen on unix:{path}: ")
                    self.assertTrue(why)

    def test_address_that_is_not_here(self):
        self.fails(["echo", "--listen", "tcp://192.0.2.1:0"],
                   "weft echo: cannot listen on tcp://192.0.2.1:0: ")

    def test_a_name_needs_a_resolver(self):
        self.fails(["load", "tcp://example.org:1"],
                   "weft load: cannot connect to tcp://example.org:1: ")

    def test_nobody_listens(self):
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            endpoint = f"tcp://127.0.0.1:{bound.getsockname()[1]}"
            for driver in DRIVERS:
                for more in ((), ("--reconnect",), ("--threads", 2)):
                    why = self.fails(["load", endpoint, "--seconds", "0.1", *more],
                                     f"weft load: cannot connect to {endpoint}: ", driver=driver)
                    self.assertEqual(why, "nothing accepts connections at that address")

    def test_unknown_driver_in_the_environment(self):
        self.fails(["echo", "--listen", "tcp://127.0.0.1:0"], "weft echo: cannot run a loop: ",
                   driver="bogus")

    def test_more_connections_than_files(self):
        why = self.fails(["load", "tcp://127.0.0.1:1", "--connections", 999999, "--per-source",
                          60000], "weft load: 999999 connections need ")
        self.assertIn("open files", why)


class Serving(Case):
    def test_first_line_and_echo(self):
        for server in self.ways():
            self.assertRegex(server.endpoint, r"^tcp://127\.0\.0\.1:[1-9]\d*$")
            with server.connect() as a, server.connect() as b:
                self.assertTrue(echoes(a))
                self.assertTrue(echoes(b, b"x"))
                self.assertTrue(echoes(a, pattern(100000)))
            self.assertEqual(server.finish(), 0)

    def test_workers(self):
        for server in self.ways("--workers", 3):
            socks = [server.connect() for _ in range(20)]
            self.assertTrue(all(echoes(sock) for sock in socks))
            for sock in socks:
                sock.close()
            self.assertEqual(server.finish(signal.SIGINT), 0)

    def test_ipv6(self):
        for server in self.ways(listen="tcp://[::1]:0"):
            with socket.create_connection(("::1", server.port), harness.PATIENCE) as sock:
                self.assertTrue(echoes(sock))

    def test_every_address(self):
        for server in self.ways(listen="tcp://:0", ways=[("task", DRIVERS[0])]):
            for host in ("127.0.0.1", "::1"):
                with socket.create_connection((host, server.port), harness.PATIENCE) as sock:
                    self.assertTrue(echoes(sock))

    def test_unix(self):
        with tempfile.TemporaryDirectory() as directory:
            path = f"{directory}/echo.sock"
            for server in self.ways(listen=f"unix:{path}"):
                self.assertEqual(server.endpoint, f"unix:{path}")
                self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
                with socket.socket(socket.AF_UNIX) as sock:
                    sock.settimeout(harness.PATIENCE)
                    sock.connect(path)
                    self.assertTrue(echoes(sock))
                self.assertEqual(server.finish(), 0)
                self.assertFalse(os.path.exists(path))

    def test_unix_abstract_name(self):
        name = f"weft-test-{os.getpid()}"
        for server in self.ways(listen=f"unix:@{name}"):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(harness.PATIENCE)
                sock.connect(f"\0{name}")
                self.assertTrue(echoes(sock))
            self.assertEqual(server.finish(), 0)

    def test_a_dead_servers_socket_is_replaced(self):
        with tempfile.TemporaryDirectory() as directory:
            path = f"{directory}/echo.sock"
            with Echo(listen=f"unix:{path}") as server:
                server.process.kill()
                server.wait()
            self.assertTrue(os.path.exists(path))

            def serves():
                with Weft("echo", "--listen", f"unix:{path}") as server:
                    # The kernel may keep an io_uring and its sockets for a moment longer.
                    if not server.process.stdout.readline():
                        return False
                    self.assertEqual(server.finish(), 0)
                    return True

            until(serves, "the dead server's socket to be replaced")

    def test_inherited_socket(self):
        for model, driver in WAYS:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                fd = listener.fileno()
                with Echo(model, driver=driver, listen=f"fd:{fd}", pass_fds=(fd,)) as server:
                    with socket.create_connection(listener.getsockname(),
                                                  harness.PATIENCE) as sock:
                        self.assertTrue(echoes(sock))
                    self.assertEqual(server.finish(), 0)

    def test_udp(self):
        for driver in DRIVERS:
            with Echo(driver=driver, listen="udp://127.0.0.1:0") as server:
                with socket.socket(type=socket.SOCK_DGRAM) as sock:
                    sock.settimeout(harness.PATIENCE)
                    sock.connect(("127.0.0.1", server.port))
                    for message in (b"x", b"", pattern(65507)):
                        sock.send(message)
                        self.assertEqual(sock.recv(65536), message)
                self.assertEqual(server.finish(), 0)


class Up(Case):
    def start(self, directory, *args, **more):
        return Weft(*UP_QUIET, "--unix", f"unix:{directory}/echo.sock", *args, **more)

    def endpoints(self, node):
        """Its first lines: {what: endpoint}."""
        self.assertRegex(node.line(), r"^weft \d+\.\d+\.\d+, driver (uring|epoll)$")
        found = {}
        for _ in range(5):
            match = re.fullmatch(r"listening (\S+) echo ?(.*)", node.line())
            self.assertTrue(match)
            scheme = match.group(1).split(":")[0]
            found[f"{scheme} {match.group(2)}".strip()] = match.group(1)
        self.assertEqual(set(found), {"tcp tasks", "tcp threads", "tcp protocols", "udp",
                                      "unix tasks"})
        return found

    def test_it_serves_what_it_prints(self):
        for driver in DRIVERS:
            with tempfile.TemporaryDirectory() as directory, \
                    self.start(directory, "--driver", driver) as node:
                for endpoint in self.endpoints(node).values():
                    done = load(endpoint, "--connections", 4, "--seconds", "0.2")
                    self.assertEqual(done.returncode, 0, done)
                self.assertEqual(node.finish(), 0)

    def test_both_signals_end_it(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            with tempfile.TemporaryDirectory() as directory, self.start(directory) as node:
                self.endpoints(node)
                self.assertEqual(node.finish(number), 0)
                self.assertEqual(os.listdir(directory), [])

    def test_a_second_signal_ends_it_at_once(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            with tempfile.TemporaryDirectory() as directory, \
                    self.start(directory, "--drain-ms", 3600000) as node:
                endpoint = self.endpoints(node)["tcp tasks"]
                port = int(endpoint.rsplit(":", 1)[1])
                with socket.create_connection(("127.0.0.1", port), harness.PATIENCE) as sock:
                    self.assertTrue(echoes(sock))
                    node.send(number)
                    self.assertEqual(node.line(),
                                     "stopping; open connections (1) may go on for 3600000 ms")
                    until(lambda: refused(port), "the end of listening")
                    self.assertTrue(echoes(sock))
                    node.send(number)
                    self.assertEqual(node.wait(), 128 + number)

    def test_status_lines(self):
        with tempfile.TemporaryDirectory() as directory, \
                self.start(directory, "--status-ms", 50) as node:
            endpoints = self.endpoints(node)
            shape = r"(\d+) connections, ([\d,]+) messages/s, ([\d,]+) bytes/s"
            self.assertRegex(node.line(), shape)
            for what, endpoint in endpoints.items():
                with Weft("load", endpoint, "--connections", 5, "--seconds", 30):
                    def busy():
                        found = re.fullmatch(shape, node.line())
                        live, messages, size = (int(x.replace(",", "")) for x in found.groups())
                        return (live == 5 or what == "udp") and messages > 0 and size > 0
                    until(busy, f"a status line of {what} under load")
                until(lambda: node.line().startswith("0 connections"), "the end of the load")
            self.assertEqual(node.finish(), 0)

    def test_status_in_place_on_a_terminal(self):
        master, slave = pty.openpty()
        with tempfile.TemporaryDirectory() as directory, open(master, "rb", 0) as screen:
            with self.start(directory, "--status-ms", 50, stdout=slave) as node:
                os.close(slave)
                seen = b""
                while seen.count(b"\r\033[K0 connections, 0 messages/s, 0 bytes/s") < 3:
                    seen += screen.read(4096)
                self.assertEqual(node.finish(), 0)

    def test_no_service_is_a_must(self):
        with Weft("up", "--tasks", "none", "--threads", "none", "--protocols", "none", "--udp",
                  "none", "--unix", "none", "--http", "none") as node:
            node.line()
            self.assertEqual(node.finish(), 0)

    def test_default_unix_path(self):
        with tempfile.TemporaryDirectory() as directory:
            env = {**os.environ, "XDG_RUNTIME_DIR": directory}
            with Weft(*UP_QUIET, env=env) as node:
                lines = [node.line() for _ in range(6)]
                self.assertEqual(lines[5], f"listening unix:{directory}/weft/echo.sock echo tasks")
                self.assertEqual(os.stat(f"{directory}/weft").st_mode & 0o777, 0o700)
                self.assertEqual(node.finish(), 0)
            # A directory that others may write to is not trusted.
            pathlib.Path(directory, "weft").chmod(0o777)
            with Weft(*UP_QUIET, env=env) as node:
                self.assertEqual(node.wait(), 1)
                self.assertIn(b"give a path with --unix", node.process.stderr.read())

    def test_default_unix_path_without_a_runtime_directory(self):
        """The directory stays, for it is that of all nodes of this user's."""
        path = f"unix:/tmp/weft-{os.geteuid()}/echo.sock"
        with tempfile.TemporaryDirectory() as directory:
            env = {**os.environ, "XDG_RUNTIME_DIR": f"{directory}/gone"}
            with Weft(*UP_QUIET, env=env) as node:
                try:
                    lines = [node.line() for _ in range(6)]
                except AssertionError as ended:  # another node has the path
                    self.assertIn(f"cannot listen on {path}: the address is already in use",
                                  str(ended))
                    self.assertEqual(node.wait(), 1)
                    return
                self.assertEqual(lines[5], f"listening {path} echo tasks")
                self.assertEqual(node.finish(), 0)


def refused(port):
    try:
        socket.create_connection(("127.0.0.1", port), harness.PATIENCE).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        pass
    return False


class Tree(Case):
    def test_names(self):
        with tempfile.TemporaryDirectory() as directory, Up.start(self, directory) as node:
            endpoints = Up.endpoints(self, node)
            port = int(endpoints["tcp tasks"].rsplit(":", 1)[1])
            with socket.create_connection(("127.0.0.1", port), harness.PATIENCE) as sock:
                self.assertTrue(echoes(sock))
                done = run("tree", node.pid)
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                for word in ("node", "first signal", "second signal", "status", "udp echo",
                             endpoints["tcp tasks"].removeprefix("tcp://"),
                             f"127.0.0.1:{sock.getsockname()[1]}"):
                    self.assertIn(word, done.stdout)
                done = run("tree", node.pid, "--backtrace")
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                self.assertIn("weft_signals_wait", done.stdout)
                self.assertIn("echo_stream", done.stdout)
            self.assertEqual(node.finish(), 0)

    def test_no_such_process(self):
        done = run("tree", os.getpid())
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertEqual(done.stderr, f"weft tree: there is no process {os.getpid()} with a "
                                      "visible loop\n")


if __name__ == "__main__":
    harness.main()
