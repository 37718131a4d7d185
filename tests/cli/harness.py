# SPDX-License-Identifier: MIT
"""What the tests of the program `weft` share: starting it, waiting for what can be seen, TAP.

The binary is $WEFT_BIN, else $WEFT, else build/apps/weft/weft beside the sources. Servers listen at
port 0 and tell the real one, so tests may run side by side; nothing sleeps in the hope that
something has happened by then: `until` looks at something that can be seen, until it is so or time
is up.
"""
import contextlib
import json
import os
import pathlib
import select
import signal
import socket
import subprocess
import sys
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
WEFT = os.environ.get("WEFT_BIN") or os.environ.get("WEFT") or str(
    ROOT / "build" / "apps" / "weft" / "weft")
SANITIZED = os.environ.get("WEFT_TEST_CONFIGURATION") in ("asan", "tsan", "valgrind")
PATIENCE = 60 if SANITIZED else 20  # seconds for anything that should happen soon
MODELS = ("task", "thread", "protocol")


def environment(driver=None):
    env = dict(os.environ)
    if driver:
        env["WEFT_DRIVER"] = driver
    return env


def run(*args, driver=None, timeout=None, **more):
    """Runs `weft ARGS` to its end."""
    return subprocess.run([WEFT, *map(str, args)], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, env=environment(driver), timeout=timeout or 3 * PATIENCE,
                          check=False, **more)


def run_cut_off(size, *args):
    """The same, killed where it writes to a file beyond that many bytes (prlimit(1))."""
    return subprocess.run(["prlimit", f"--fsize={size}", "--core=0", WEFT, *map(str, args)],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=3 * PATIENCE, check=False)


def until(condition, what, seconds=None):
    """Waits until condition() is true and returns what it gave."""
    deadline = time.monotonic() + (seconds or PATIENCE)
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"in vain waited for: {what}")
        time.sleep(0.005)


def tcp_sockets(pid, state):
    """The local ports of a process's TCP sockets over IPv4 in that state of /proc/net/tcp."""
    inodes = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{fd}")
        except FileNotFoundError:  # closed since it was listed
            continue
        if target.startswith("socket:["):
            inodes.add(target[len("socket:["):-1])
    ports = []
    for line in pathlib.Path(f"/proc/{pid}/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        fields = line.split()
        if fields[3] == state and fields[9] in inodes:
            ports.append(int(fields[1].split(":")[1], 16))
    return ports


def connections(pid):
    """How many established TCP connections a process has."""
    return len(tcp_sockets(pid, "01"))


def listening_port(pid):
    """The TCP port at which a process listens; None so far."""
    return next(iter(tcp_sockets(pid, "0A")), None)


class Weft:
    """A running `weft ARGS`; with `with`, it is dead afterwards."""

    def __init__(self, *args, driver=None, **more):
        more.setdefault("stdin", subprocess.DEVNULL)
        more.setdefault("stdout", subprocess.PIPE)
        more.setdefault("env", environment(driver))
        self.process = subprocess.Popen([WEFT, *map(str, args)], stderr=subprocess.PIPE, **more)
        self.pending = b""
        self.alive = True  # as far as the test knows
        self.pid = self.process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe:
                pipe.close()

    def line(self, seconds=None):
        """The next line of its standard output, without the newline."""
        deadline = time.monotonic() + (seconds or PATIENCE)
        fd = self.process.stdout.fileno()
        while b"\n" not in self.pending:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([fd], [], [], left)[0]:
                raise AssertionError(f"no line came; so far: {self.pending!r}")
            piece = os.read(fd, 65536)
            if not piece:
                raise AssertionError(f"it ended: {self.pending!r} {self.process.stderr.read()!r}")
            self.pending += piece
        line, self.pending = self.pending.split(b"\n", 1)
        return line.decode()

    def send(self, number):
        self.process.send_signal(number)

    def wait(self, seconds=None):
        self.alive = False
        return self.process.wait(seconds or PATIENCE)

    def finish(self, number=signal.SIGTERM):
        """Signal, then the exit status, which must come soon, with nothing on stderr."""
        self.send(number)
        status = self.wait()
        errors = self.process.stderr.read().decode()
        if errors:
            raise AssertionError(f"on stderr: {errors}")
        return status

    def fds(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def anonymous_kib(self):
        """Resident memory that is no file's."""
        with open(f"/proc/{self.pid}/status", encoding="ascii") as status:
            for line in status:
                if line.startswith("RssAnon:"):
                    return int(line.split()[1])
        raise AssertionError("no RssAnon")


class Echo(Weft):
    """A running `weft echo`, with its first line read."""

    def __init__(self, model="task", *args, driver=None, listen="tcp://127.0.0.1:0", **more):
        super().__init__("echo", "--model", model, "--listen", listen, *args, driver=driver, **more)
        try:
            first = self.line()
            word, self.endpoint = first.split(" ", 1)
            if word != "listening":
                raise AssertionError(first)
        except BaseException:
            self.__exit__()
            raise

    @property
    def port(self):
        return int(self.endpoint.rsplit(":", 1)[1])

    def connect(self, source=None):
        return socket.create_connection(("127.0.0.1", self.port), PATIENCE,
                                        (source, 0) if source else None)


def receive(sock, size):
    """Exactly so many bytes, or what came before the end."""
    data = bytearray()
    while len(data) < size:
        piece = sock.recv(min(size - len(data), 1 << 20))
        if not piece:
            break
        data += piece
    return bytes(data)


def echoes(sock, message=b"Hello, World!"):
    """Whether a message comes back."""
    sock.sendall(message)
    return receive(sock, len(message)) == message


def load(endpoint, *args, driver=None):
    """Runs `weft load --json`; the finished process, with its report in .report (None: none)."""
    done = run("load", endpoint, "--json", *args, driver=driver)
    done.report = json.loads(done.stdout) if done.stdout else None
    return done


def pattern(size):
    """Bytes in which every place differs from its neighbours, cheap to make."""
    block = bytes((i * 7 + (i >> 8)) & 255 for i in range(65521))
    return (block * (size // len(block) + 1))[:size]


def drivers():
    """The drivers to test: what WEFT_DRIVER names, else all that work here."""
    named = os.environ.get("WEFT_DRIVER")
    if named:
        return (named,)
    works = []
    for driver in ("uring", "epoll"):
        with contextlib.suppress(AssertionError), Echo(driver=driver):
            works.append(driver)
    return tuple(works)


DRIVERS = drivers()
# A thread per connection has no loop, so one driver says it all.
WAYS = [(model, driver) for model in MODELS
        for driver in (DRIVERS if model != "thread" else DRIVERS[:1])]


class Case(unittest.TestCase):
    """A case that runs in several ways; a failure says in which one it came."""

    way = ""

    def ways(self, *args, ways=None, **more):
        """An echo server in each model on each driver, to be used by the body of a `for`."""
        for model, driver in ways or WAYS:
            self.way = f"{model}, {driver}"
            with Echo(model, *args, driver=driver, **more) as server:
                yield server
                if server.alive:
                    self.assertIsNone(server.process.poll(), "the server died")
            self.way = ""


class Tap(unittest.TestResult):
    """Prints one line a case."""

    def startTest(self, test):
        super().startTest(test)
        self.good = True
        self.before = len(self.failures), len(self.errors)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.good = False

    def addError(self, test, err):
        super().addError(test, err)
        self.good = False

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        self.good = self.good and err is None

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        print(f"ok {name_of(test)} # skip {reason}", flush=True)

    def stopTest(self, test):
        super().stopTest(test)
        if any(skipped is test for skipped, _ in self.skipped):
            return
        print(f"{'ok' if self.good else 'not ok'} {name_of(test)}", flush=True)
        if not self.good:
            failures, errors = self.before
            for case, trace in self.failures[failures:] + self.errors[errors:]:
                for line in [f"{case} {getattr(test, 'way', '')}"] + trace.splitlines():
                    print(f"# {line}", flush=True)


def name_of(test):
    return test.id().removeprefix("__main__.")


def main():
    """usage: test_NAME.py [PATTERN...]: the cases whose name contains one of the patterns."""
    if not os.access(WEFT, os.X_OK):
        print(f"there is no program {WEFT}: build it, or set WEFT_BIN", file=sys.stderr)
        sys.exit(1)
    suite = unittest.TestSuite()
    for case in unittest.defaultTestLoader.loadTestsFromModule(sys.modules["__main__"]):
        for test in case:
            if len(sys.argv) < 2 or any(word in test.id() for word in sys.argv[1:]):
                suite.addTest(test)
    count = suite.countTestCases()
    print(f"1..{count}", flush=True)
    result = Tap()
    suite.run(result)
    bad = {getattr(case, "test_case", case).id() for case, _ in result.failures + result.errors}
    print(f"{count - len(bad) - len(result.skipped)} passed, {len(bad)} failed")
    sys.exit(1 if bad or count == 0 else 0)
