# SPDX-License-Identifier: MIT
"""What a running process shows of itself: `weft tree`, SIGQUIT, and gdb with tools/weft-gdb.py on the
process and on its core."""
import contextlib
import glob
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import threading

import harness
from harness import DRIVERS, Case, Weft, echoes, run, until

GDB = shutil.which("gdb")
SCRIPT = harness.ROOT / "tools" / "weft-gdb.py"


@contextlib.contextmanager
def environment(**more):
    """The environment of this process and its children, for a while."""
    before = dict(os.environ)
    os.environ.update({name: str(value) for name, value in more.items()})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


class Node(Weft):
    """`weft up` with its services at ports of their own, and a directory for its sockets."""

    def __init__(self, *args, driver=None, **more):
        self.directory = tempfile.TemporaryDirectory()
        self.around = environment(XDG_RUNTIME_DIR=self.directory.name)
        self.around.__enter__()
        try:
            super().__init__("up", "--tasks", "tcp://127.0.0.1:0", "--threads",
                             "tcp://127.0.0.1:0", "--protocols", "tcp://127.0.0.1:0", "--udp",
                             "udp://127.0.0.1:0", "--unix", "none", "--http", "none", "--status-ms", "0", *args,
                             driver=driver, **more)
            lines = [self.line() for _ in range(5)]
        except BaseException:
            self.around.__exit__(None, None, None)
            raise
        self.ports = {line.split()[-1]: int(re.search(r":(\d+) ", line + " ").group(1))
                      for line in lines if line.startswith("listening tcp:")}
        self.socket = pathlib.Path(self.directory.name, "weft", f"{self.pid}.sock")

    def __exit__(self, *args):
        super().__exit__(*args)
        self.around.__exit__(None, None, None)
        self.directory.cleanup()

    def connect(self, kind):
        """A connection that has been served once."""
        sock = socket.create_connection(("127.0.0.1", self.ports[kind]), harness.PATIENCE)
        if not echoes(sock):
            raise AssertionError("no echo")
        return sock

    def tree(self, *args):
        done = run("tree", self.pid, *args)
        if (done.returncode, done.stderr) != (0, ""):
            raise AssertionError(f"{done.returncode}: {done.stderr}")
        return done.stdout


def line_with(text, *words):
    """The line that has all of the words; None: there is none."""
    return next((line for line in text.splitlines() if all(word in line for word in words)), None)


class Tree(Case):
    def test_every_model_with_its_peer(self):
        for self.way in DRIVERS:
            with Node(driver=self.way) as node, contextlib.ExitStack() as stack:
                socks = {kind: stack.enter_context(node.connect(kind))
                         for kind in ("tasks", "threads", "protocols")}
                # By kind, too: connections to different ports may come from one and the same.
                start = {"tasks": "task connection #", "threads": "thread connection (",
                         "protocols": " connection fd "}
                peers = {kind: (start[kind], f"peer 127.0.0.1:{sock.getsockname()[1]}")
                         for kind, sock in socks.items()}
                # Each has echoed; it is then on its way to wait for more.
                text = until(lambda: all(
                    line_with(node.tree(), *words) for words in peers.values()) and node.tree(),
                    "all peers in the tree")
                self.assertRegex(text, rf"^loop node \({self.way}\), \d+ tasks, ")
                self.assertRegex(line_with(text, *peers["tasks"]), (
                    r"^ +task connection #\d+ \(tcp://127.0.0.1:\d+\) waits in read fd \d+ peer "
                    r"127.0.0.1:\d+, stack \d+ of \d+ bytes, in 13 out 13 queued 0$"))
                self.assertRegex(line_with(text, *peers["threads"]), (
                    r"^ +thread connection \(tcp://127.0.0.1:\d+\) waits in read fd \d+ peer"))
                self.assertRegex(line_with(text, *peers["protocols"]),
                                 r"^ +connection fd \d+ peer 127.0.0.1:\d+, in 13 out 13 queued 0$")
                for words in (("server tcp", "accepting, 1 connections"), ("thread accept (",),
                              ("task udp echo #", "waits in "), ("first signal", "waits in signal")):
                    self.assertIsNotNone(line_with(text, *words), words)
                self.assertEqual(node.finish(), 0)

    def test_backtraces_have_names_and_lines(self):
        if not shutil.which("addr2line"):
            self.skipTest("no addr2line")
        for self.way in DRIVERS:
            with Node(driver=self.way) as node, node.connect("tasks"):
                text = until(lambda: line_with(node.tree(), "task connection", "waits in read") and
                             node.tree("--backtrace"), "a waiting connection")
                self.assertRegex(text, r"task connection #(?:.*\n)(?: +at .*\n)*"
                                       r" +at echo_stream \(echo\.c:\d+\)\n")
                self.assertRegex(text, r"task first signal #(?:.*\n)(?: +at .*\n)*"
                                       r" +at wait_for_signal \(node\.c:\d+\)\n")
                # Looking twice leaves everything as it was, the marks on the stacks, too.
                marks = re.findall(r"stack \d+ of", node.tree())
                node.tree("--backtrace")
                self.assertEqual(re.findall(r"stack \d+ of", node.tree()), marks)
                self.assertEqual(node.finish(), 0)

    def test_loops_of_workers(self):
        with Node("--workers", "2") as node:
            text = until(lambda: (lambda t: t if t.count("\nloop worker (") == 4 else None)(
                node.tree()), "the loops of four workers")
            self.assertEqual(text.count("runs loop worker"), 4)
            self.assertEqual(node.finish(), 0)

    def test_many_ask_at_once(self):
        with Node() as node:
            texts = []
            askers = [threading.Thread(target=lambda: texts.append(node.tree("--backtrace")))
                      for _ in range(8)]
            for asker in askers:
                asker.start()
            for asker in askers:
                asker.join()
            self.assertEqual(len(texts), 8)
            self.assertTrue(all(line_with(text, "first signal") for text in texts))
            self.assertEqual(node.finish(), 0)


class Socket(Case):
    def test_it_is_private_and_goes(self):
        with Node() as node:
            self.assertEqual(stat.S_IMODE(node.socket.stat().st_mode), 0o600)
            self.assertEqual(stat.S_IMODE(node.socket.parent.stat().st_mode), 0o700)
            self.assertEqual(node.finish(), 0)
            self.assertFalse(node.socket.exists())

    def test_another_environment_finds_it(self):
        """Without XDG_RUNTIME_DIR the process uses /tmp, and who has one looks there, too."""
        with tempfile.TemporaryDirectory() as directory:
            environ = {**os.environ, "XDG_RUNTIME_DIR": ""}
            process = subprocess.Popen(
                [harness.WEFT, "echo", "--visible", "--listen", "tcp://127.0.0.1:0"],
                stdout=subprocess.PIPE, env=environ)
            with process, environment(XDG_RUNTIME_DIR=directory):
                try:
                    process.stdout.readline()
                    done = run("tree", process.pid)
                finally:
                    process.kill()
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertIn("server tcp://127.0.0.1:", done.stdout)

    def test_killed(self):
        with Node() as node:
            node.send(signal.SIGKILL)
            node.wait()
            self.assertTrue(node.socket.exists())
            done = run("tree", node.pid)
            self.assertEqual(done.returncode, 1)
            self.assertEqual(done.stderr, f"weft tree: there is no process {node.pid} with a "
                                          "visible loop\n")

    def test_stopped(self):
        with Node() as node:
            node.send(signal.SIGSTOP)
            done = run("tree", node.pid, "--timeout-ms", "300")
            node.send(signal.SIGCONT)
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertIn(f"cannot ask process {node.pid}", done.stderr)
            self.assertIn("time", done.stderr)
            self.assertIn("loop node", node.tree())
            self.assertEqual(node.finish(), 0)


class Sigquit(Case):
    def test_prints_and_goes_on(self):
        for self.way in DRIVERS:
            with Node(driver=self.way) as node, node.connect("tasks") as sock:
                node.send(signal.SIGQUIT)
                text = b""
                while b"task first signal" not in text:
                    piece = os.read(node.process.stderr.fileno(), 65536)
                    self.assertTrue(piece, text)
                    text += piece
                head = f"weft: the tree of process {node.pid}\nloop node ("
                self.assertTrue(text.decode().startswith(head), text)
                self.assertIn(b" at weft_signals_wait [/", text)
                self.assertTrue(echoes(sock))
                node.send(signal.SIGTERM)
                sock.close()
                self.assertEqual(node.wait(), 0)


def gdb(*args, commands):
    """What gdb says to the commands, errors included."""
    words = [GDB, "-nx", "-q", "-batch", *map(str, args), "-ex", f"source {SCRIPT}"]
    for command in commands:
        words += ["-ex", command]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace",
                          timeout=3 * harness.PATIENCE, check=False,
                          env={**os.environ, "DEBUGINFOD_URLS": ""})
    return done.stdout


@contextlib.contextmanager
def at_rest(driver, **more):
    """A node with a connection in each model, all of whose tasks wait."""
    with Node(driver=driver, **more) as node, node.connect("tasks"), node.connect("threads"), \
            node.connect("protocols"):
        until(lambda: all(line_with(node.tree(), f"{kind} connection", "waits in read")
                          for kind in ("task", "thread")), "they wait")
        yield node


class Debugger(Case):
    def check(self, text):
        """The tree and two backtraces, as `commands` asks for them."""
        if "no loops to be found" in text:
            self.skipTest("the program has no debug information")
        self.assertRegex(text, r"(?m)^loop 1 node \(\w+\), \d+ tasks, \d+ turns$")
        self.assertRegex(text, r"task first signal #3 \(.*node\.c:\d+\) waits in signal fd \d+")
        self.assertRegex(text, r"(?m)^ +thread connection .* waits in read fd \d+, pthread 0x")
        self.assertRegex(text, r"(?m)^ +connection fd \d+, in 13 out 13$")
        self.assertRegex(text, (r"task connection #\d+ \(tcp://127.0.0.1:\d+\) "
                                r"waits in read fd \d+, stack 0x"))
        self.assertRegex(text, (r"(?m)^task first signal #1\.3 .*\n(#\d+ .*\n)*"
                                r"#\d+ .* in weft_signals_wait \(\) at .*signal\.c:\d+\n"
                                r"#\d+ .* in wait_for_signal \(\) at .*node\.c:\d+\n"))
        self.assertIn("there is no task #999", text)

    COMMANDS = ["weft tree", "weft bt 3", "weft bt 999"]

    def connection_backtrace(self, text, *where):
        """Asks again, for the task of the connection that the tree showed."""
        number = re.search(r"task connection #(\d+)", text).group(1)
        text = gdb(*where, commands=[f"weft bt 1.{number}"])
        self.assertRegex(text, r"(?m)^#\d+ .* in echo_stream \(\) at .*echo\.c:\d+\n")

    def setUp(self):
        if not GDB:
            self.skipTest("no gdb")

    def test_live_process(self):
        for self.way in DRIVERS:
            with at_rest(self.way) as node:
                where = (harness.WEFT, "-p", node.pid)
                text = gdb(*where, commands=[
                    *self.COMMANDS, "weft select 3", "up 5", "info locals", "weft select", "bt 1"])
                if "ptrace: Operation not permitted" in text or "Could not attach" in text:
                    self.skipTest("this process may not debug others")
                self.check(text)
                self.assertNotIn("Python Exception", text)
                self.connection_backtrace(text, *where)
                self.assertIn("loop node", node.tree())
                node.send(signal.SIGTERM)

    def test_core_of_the_debugger(self):
        if harness.SANITIZED:
            self.skipTest("a core with shadow memory is too large")
        with tempfile.TemporaryDirectory() as directory, \
                environment(WEFT_STACK_GUARD="mprotect"), at_rest(DRIVERS[0]) as node:
            core = os.path.join(directory, "core")
            said = gdb(harness.WEFT, "-p", node.pid, commands=[f"generate-core-file {core}"])
            if not os.path.exists(core):
                self.skipTest(f"no core: {said[-200:]}")
            where = (harness.WEFT, core)
            text = gdb(*where, commands=self.COMMANDS)
            self.check(text)
            self.connection_backtrace(text, *where)

    def test_core_of_the_kernel(self):
        if harness.SANITIZED:
            self.skipTest("a core with shadow memory is too large")
        unlimited = resource.RLIM_INFINITY
        if resource.getrlimit(resource.RLIMIT_CORE)[1] != unlimited:
            self.skipTest("cores are limited")
        with tempfile.TemporaryDirectory() as directory:
            with at_rest(DRIVERS[0], cwd=directory, preexec_fn=lambda: resource.setrlimit(
                    resource.RLIMIT_CORE, (unlimited, unlimited))) as node:
                node.send(signal.SIGABRT)
                node.wait()
            cores = glob.glob(os.path.join(directory, "core*"))
            if not cores:
                self.skipTest("this kernel puts cores elsewhere")
            where = (harness.WEFT, cores[0])
            text = gdb(*where, commands=self.COMMANDS)
            self.check(text)
            self.connection_backtrace(text, *where)


if __name__ == "__main__":
    harness.main()
