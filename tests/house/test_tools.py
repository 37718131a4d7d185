# SPDX-License-Identifier: MIT
"""The scripts in tools/: how tests are counted, what another distribution is told."""
import os
import pathlib
import sys
import tempfile

import house

sys.dont_write_bytecode = True
sys.path.insert(0, str(house.ROOT / "tools"))
import run_tests  # noqa: E402

CMOCKA = """\
[==========] Running 3 test(s).
[ RUN      ] one
[       OK ] one
[ RUN      ] two
[  ERROR   ] --- 0x1 != 0x2
[   LINE   ] --- ../tests/test_x.c:3: error: Failure!
[  FAILED  ] two
[ RUN      ] three
[  SKIPPED ] three
[==========] 3 test(s) run.
[  PASSED  ] 1 test(s).
[  SKIPPED ] 1 test(s), listed below:
[  SKIPPED ] three
[  FAILED  ] 1 test(s), listed below:
[  FAILED  ] two

 1 FAILED TEST(S)
"""
TAP = "1..4\nok 1 - a\nnot ok 2 - b\nok 3 - c # skip no network\n"
STARTED = "[ RUN      ] one\n[       OK ] one\n[ RUN      ] two\n"


def outcomes(*arguments):
    """The outcomes that judge() finds, in short."""
    return [(name, outcome) for name, outcome, _ in run_tests.judge(*arguments)]


def wrong(wanted, got):
    """A complaint unless these are equal."""
    return [] if wanted == got else [f"wanted {wanted}", f"got    {got}"]


house.case("cmocka's cases are counted once", wrong(
    [("one", "passed"), ("two", "failed"), ("three", "skipped")], outcomes(CMOCKA, 1, False)))
house.case("a planned TAP case that never came has failed", wrong(
    [("a", "passed"), ("b", "failed"), ("c", "skipped"), ("1 planned", "failed")],
    outcomes(TAP, 1, False)))
house.case("a case that a signal ended has failed", wrong(
    [("one", "passed", ""), ("two", "failed", "killed by SIGSEGV")],
    run_tests.judge(STARTED, -11, False)))
house.case("a time-out is one failure", wrong(
    [("one", "passed", ""), ("two", "failed", "time-out")], run_tests.judge(STARTED, -9, True)))
house.case("a bad exit status after good cases is a failure", wrong(
    [("one", "passed"), ("", "failed")], outcomes("[ RUN      ] one\n[       OK ] one\n", 1, False)))
house.case("a program without cases counts as one", wrong(
    [("", "passed"), ("", "failed"), ("", "skipped")],
    outcomes("hello\n", 0, False) + outcomes("", 3, False) + outcomes("no root\n", 77, False)))

with tempfile.TemporaryDirectory() as folder:
    release = pathlib.Path(folder) / "os-release"
    release.write_text('ID=fedora\nNAME="Fedora Linux"\n', encoding="utf-8")
    done = house.run(house.ROOT / "tools" / "install-packages.sh", "run",
                     env={**os.environ, "WEFT_OS_RELEASE": str(release)})
    house.case("another distribution is told what is needed, and no more is done",
               [] if done.returncode == 1 and "liburing" in done.stdout and "Meson" in done.stdout
               else [done.returncode, done.stdout])
    release.write_text('ID=ubuntu\nID_LIKE=debian\n', encoding="utf-8")
    quiet = {**os.environ, "WEFT_OS_RELEASE": str(release), "PATH": f"{folder}:{os.environ['PATH']}"}
    for name, text in [("dpkg-query", "echo installed"), ("apt-get", "echo called; exit 1")]:
        fake = pathlib.Path(folder) / name
        fake.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        fake.chmod(0o755)
    done = house.run(house.ROOT / "tools" / "install-packages.sh", "check", env=quiet)
    house.case("nothing is asked of apt-get when nothing is missing",
               wrong((0, ""), (done.returncode, done.stdout)))
    log = pathlib.Path(folder) / "log"
    for name, text in [
            ("dpkg-query", 'case "$*" in\n-L*) echo /lib/systemd/system/knot.service;'
                           " echo /usr/lib/systemd/system/unbound.service; echo /usr/bin/x ;;\n"
                           "*knot*) ;;\n*) echo installed ;;\nesac"),
            ("apt-get", f'echo "apt-get $*" >>{log}'), ("id", "echo 0"),
            ("systemctl", f'echo "systemctl $*" >>{log}')]:
        fake = pathlib.Path(folder) / name
        fake.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        fake.chmod(0o755)
    done = house.run(house.ROOT / "tools" / "install-packages.sh", "test", env=quiet)
    said = log.read_text(encoding="utf-8").splitlines()
    house.case("a service that comes with a package is not left running",
               wrong((0, True, ["knot.service", "unbound.service"]),
                     (done.returncode, any(line.endswith("install knot") for line in said),
                      [line.split()[-1] for line in said if line.startswith("systemctl")])))
house.finish()
