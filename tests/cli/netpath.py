# SPDX-License-Identifier: MIT
"""Two places with a path between them that can be bad: network namespaces and tests/support/relay.

    with netpath.Path(delay_us=20000, loss_ppm=20000) as path:
        with Echo(listen=f"tcp://{path.B4}:0", preexec_fn=path.enter("b")) as server: ...
        with path.inside("a"):
            sock = socket.create_connection((path.B4, server.port))

Everything vanishes with the relay, which ends with this process however that ends.
"""
import contextlib
import ctypes
import json
import os
import pathlib
import subprocess
import sys

import harness

CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)
SUPPORT = pathlib.Path(harness.WEFT).parents[2] / "tests" / "support"


def setns(fd):
    if LIBC.setns(fd, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


class Path:
    """Place "a" is A4 and A6, place "b" is B4 and B6. What "a" sends to HOLE4 and HOLE6 is never
    seen again; for NOWHERE6 "b" says that it knows no way."""

    A4, B4, HOLE4 = "10.77.0.1", "10.77.0.2", "10.77.9.9"
    A6, B6, HOLE6 = "2001:db8:77::1", "2001:db8:77::2", "2001:db8:79::9"
    NOWHERE6 = "2001:db8:79::1"

    def __init__(self, **options):
        arguments = [text for key, value in options.items()
                     for text in (key.replace("_", "-"), str(value))]
        arguments += ["hole", self.HOLE4, "hole", self.HOLE6]
        self.files = {}
        self.process = subprocess.Popen([SUPPORT / "relay", *arguments], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        try:
            if self.process.stdout.readline() != "ready\n":
                raise RuntimeError(f"the relay ended with {self.process.wait()}")
            for place, fd in (("a", 3), ("b", 4)):
                self.files[place] = os.open(f"/proc/{self.process.pid}/fd/{fd}", os.O_RDONLY)
            for place, mine4, mine6, far4, far6 in (
                    ("a", self.A4, self.A6, "10.77.9.0/24", "2001:db8:79::/64"),
                    ("b", self.B4, self.B6, "10.77.8.0/24", "2001:db8:78::/64")):
                self.ip(place, "link", "set", "tun0", "up")
                self.ip(place, "addr", "add", f"{mine4}/24", "dev", "tun0")
                self.ip(place, "addr", "add", f"{mine6}/64", "dev", "tun0", "nodad")
                self.ip(place, "route", "add", far4, "dev", "tun0")
                self.ip(place, "route", "add", far6, "dev", "tun0")
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        for fd in self.files.values():
            os.close(fd)
        self.files = {}
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def ip(self, place, *arguments):
        subprocess.run(["ip", *arguments], check=True, preexec_fn=self.enter(place))

    def enter(self, place):
        """For preexec_fn: the program is to run in that place."""
        fd = self.files[place]
        return lambda: setns(fd)

    @contextlib.contextmanager
    def inside(self, place):
        """Sockets that are made by this thread meanwhile belong to that place."""
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            setns(self.files[place])
            yield
        finally:
            setns(before)
            os.close(before)

    def set(self, key, value):
        """Changes the path, as of now."""
        self.process.stdin.write(f"{key.replace('_', '-')} {value}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if answer != "ok\n":
            raise RuntimeError(f"the relay does not know {key}: {answer!r}")

    def stats(self):
        self.process.stdin.write("stats now\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def skip_unless_possible():
    """Ends the program as skipped where there can be no such path."""
    try:
        Path().close()
    except (RuntimeError, OSError, subprocess.CalledProcessError) as why:
        if not (SUPPORT / "relay").exists():
            raise
        print(f"network namespaces with tun devices are not to be had here: {why}")
        sys.exit(77)
