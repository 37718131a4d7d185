# SPDX-License-Identifier: MIT
"""Builds Weft in several ways, runs the tests in each, adds up.

usage: tools/run-tests.sh [-k PATTERN] [-j N] [CONFIGURATION...]

Each configuration is a build directory with its options, and the suites that run there. Names that
match PATTERN (a glob, or part of a name) only, if it is given. Every case counts: a cmocka program
and a script that prints TAP as many as it has, any other program as one. What a test printed is
kept in build/test-logs/CONFIGURATION/. The last line is "N passed, N failed"; the exit status is 0
only if none failed and some ran.
"""
import argparse
import concurrent.futures
import dataclasses
import fnmatch
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
LOGS = ROOT / "build" / "test-logs"
AARCH64 = ROOT / "build-aarch64"
EMULATOR = ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu",
            "-E", f"LD_LIBRARY_PATH={AARCH64}/sysroot/usr/lib/aarch64-linux-gnu"]
FUZZ_SECONDS = int(os.environ.get("FUZZ_SECONDS") or 10)
COMMON = ["-Dtests=enabled", "-Dwerror=true"]
SANITIZING = ["-Dchecks=true", "-Doptimization=1", "-Db_lundef=false"]
SANITIZED = COMMON + SANITIZING


@dataclasses.dataclass
class Configuration:
    """One way to build and run."""

    what: str
    suites: list
    options: list = dataclasses.field(default_factory=lambda: list(COMMON))
    env: dict = dataclasses.field(default_factory=dict)  # for the tests
    build_env: dict = dataclasses.field(default_factory=dict)
    wrapper: list = dataclasses.field(default_factory=list)  # before a test program
    slower: float = 1  # what time-outs are multiplied by
    directory: str = ""  # default: build-NAME
    only: str = ""  # a regular expression that test names must match
    exclude: str = ""  # and one that they must not
    before: str = ""  # a script to run first, from the root


SANITIZER_ENV = {
    "ASAN_OPTIONS": "detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=0",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "second_deadlock_stack=1:history_size=4",
}

CONFIGURATIONS = {
    "debug": Configuration(
        "gcc, debug checks on, the default driver",
        ["unit", "heavy", "cli", "sim", "house"],
        COMMON + ["-Dchecks=true", "-Dbench=true"],
    ),
    "epoll": Configuration(
        "gcc, optimised, driver epoll",
        ["unit", "cli"],
        env={"WEFT_DRIVER": "epoll"},
        directory="build-release",
        # Long, and the same as in debug, which has them on epoll, too, with more that can be seen;
        # and what does not rest on a driver.
        exclude=r"_torture$|cli/test_(page|sim.*|.*_guide|.*_differential|readme"
                r"|http_(browser|node|upstreams))$",
    ),
    "whole": Configuration(
        "gcc, optimised as a whole, as make does it: the program",
        ["cli"],
        COMMON + ["-Db_lto=true"],
        exclude=r"cli/test_(page|sim.*|.*_guide|.*_differential|readme"
                r"|http_(browser|node|upstreams))$",
    ),
    "asan": Configuration(
        "gcc, address and undefined-behaviour sanitizers",
        ["unit"],
        SANITIZED + ["-Db_sanitize=address,undefined"],
        env=SANITIZER_ENV,
        slower=3,
    ),
    "asan-programs": Configuration(
        "the same, what drives programs",
        ["cli", "sim"],
        SANITIZED + ["-Db_sanitize=address,undefined"],
        env={**SANITIZER_ENV, "WEFT_TEST_CONFIGURATION": "asan"},
        slower=3,
        directory="build-asan",
        # Long, and about other things than memory: a browser, programs that the test compiles.
        exclude=r"cli/test_(page|http_browser|sim_planted|.*_guide|.*_differential)$",
    ),
    "tsan": Configuration(
        "thread sanitizer",
        ["unit"],
        SANITIZED + ["-Db_sanitize=thread"],
        env=SANITIZER_ENV,
        slower=5,
        # A simulation is one thread; that it is the same with clang is shown by its traces. What
        # fails is looked at by the other configurations; by this one in the core and in TLS.
        exclude=r"test_sim(?!_traces$)|test_(ws|http_\w+|protocol|dial|dns|file)_torture$",
    ),
    "clang": Configuration("clang, optimised", ["unit"], build_env={"CC": "clang"}),
    "ucontext": Configuration(
        "gcc, tasks switched by swapcontext",
        ["unit"],
        COMMON + ["-Dcontext=ucontext", "-Dchecks=true"],
    ),
    "valgrind": Configuration(
        "valgrind memcheck, driver epoll",
        ["unit"],
        COMMON + ["-Dchecks=true", "-Doptimization=1", "-Dvalgrind=enabled"],
        env={"WEFT_DRIVER": "epoll"},
        wrapper=["valgrind", "--quiet", "--error-exitcode=99", "--leak-check=full",
                 "--errors-for-leak-kinds=definite,indirect", "--show-leak-kinds=definite,indirect",
                 "--fair-sched=yes", "--max-stackframe=1000000",
                 f"--suppressions={ROOT}/tools/valgrind.supp"],
        slower=10,
    ),
    # Left out is what rests on parts of the kernel that the emulator does not have or does in its
    # own way: guard pages, limits of the address space, pidfds, exact times.
    "aarch64": Configuration(
        "aarch64, cross-built, in qemu's user mode",
        ["unit"],
        COMMON + ["-Dchecks=true", "--cross-file", str(AARCH64 / "cross.ini")],
        env={"WEFT_TEST_EMULATOR": " ".join(EMULATOR) + " "},
        before="tools/aarch64-sysroot.sh",
        wrapper=EMULATOR,
        slower=10,
    ),
    "fuzz": Configuration(
        f"clang, libFuzzer, {FUZZ_SECONDS} seconds each",
        ["fuzz"],
        SANITIZING + ["-Db_sanitize=address,undefined", "-Dfuzz=true", "-Dwerror=true",
                      "-Dtests=disabled", "-Dapps=false", "-Dexamples=false"],
        env=SANITIZER_ENV,
        build_env={"CC": "clang"},
        slower=1 + FUZZ_SECONDS / 100,
    ),
}

DEFAULT = ["debug", "epoll", "asan", "tsan"]


class Totals:
    """What all tests together came to."""

    def __init__(self):
        self.passed = 0
        self.failures = []  # names
        self.skips = []  # names with reasons
        self.lock = threading.Lock()


def say(text=""):
    print(text, flush=True)


def cmocka_cases(text):
    """[(name, outcome, reason)] from cmocka's standard output; a case that never ended failed."""
    cases = []
    running = None
    for line in text.splitlines():
        match = re.match(r"\[\s*(RUN|OK|FAILED|SKIPPED|ERROR)\s*\] ?(.*)", line)
        if not match:
            continue
        kind, rest = match.groups()
        if kind == "RUN":
            if running is not None:
                cases.append((running, "failed", "did not end"))
            running = rest.strip()
        elif running is None or rest.strip() != running:
            continue  # the list at the end, or a message
        else:
            outcome = {"OK": "passed", "SKIPPED": "skipped"}.get(kind, "failed")
            cases.append((running, outcome, ""))
            running = None
    if running is not None:
        cases.append((running, "failed", "did not end"))
    return cases


def tap_cases(text):
    """[(name, outcome, reason)] from TAP; a case that was planned and never came failed."""
    cases = []
    planned = None
    for line in text.splitlines():
        plan = re.match(r"1\.\.(\d+)\s*(?:#\s*skip\b\s*(.*))?$", line, re.IGNORECASE)
        if plan:
            planned = int(plan.group(1))
            if planned == 0:
                cases.append(("all", "skipped", plan.group(2) or ""))
            continue
        match = re.match(r"(not )?ok\b\s*\d*\s*-?\s*(.*)", line)
        if not match:
            continue
        name, _, directive = match.group(2).partition("#")
        skip = re.match(r"\s*skip\S*\s*(.*)", directive, re.IGNORECASE)
        if match.group(1):
            cases.append((name.strip(), "failed", ""))
        elif skip:
            cases.append((name.strip(), "skipped", skip.group(1)))
        else:
            cases.append((name.strip(), "passed", ""))
    if planned and len(cases) < planned:
        cases.append((f"{planned - len(cases)} planned", "failed", "never came"))
    return cases


def judge(text, status, timed_out):
    """What a finished test came to: [(case, outcome, reason)], never empty."""
    cases = cmocka_cases(text) or tap_cases(text)
    how = ""
    if timed_out:
        how = "time-out"
    elif status == 77 and not cases:
        last = text.strip().splitlines()[-1:] or [""]
        return [("", "skipped", last[0])]
    elif status < 0:
        how = f"killed by {signal.Signals(-status).name}"
    elif status != 0:
        how = f"exit status {status}"
    if how and cases and cases[-1][1:] == ("failed", "did not end"):
        cases[-1] = (cases[-1][0], "failed", how)
    elif how and (timed_out or not any(outcome == "failed" for _, outcome, _ in cases)):
        cases.append(("", "failed", how))
    return cases or [("", "passed", "")]


def run_one(name, test, configuration, totals):
    """Runs one test program and books it."""
    label = f"{name}/{test['name']}"
    log = LOGS / name / (test["name"].replace("/", "_") + ".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    is_script = test["cmd"][0].endswith(("python3", "bash", "fuzz.sh"))
    command = ([] if is_script else configuration.wrapper) + test["cmd"]
    env = {**os.environ, **test["env"], "WEFT_TEST_CONFIGURATION": name, **configuration.env}
    directory = test.get("workdir") or ROOT / (configuration.directory or f"build-{name}")
    limit = test["timeout"] * configuration.slower
    start = time.monotonic()
    timed_out = False
    with open(log, "wb") as out:
        try:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                     env=env, cwd=directory, start_new_session=True)
        except OSError as error:
            with totals.lock:
                book(label, [("", "failed", str(error))], 0, str(error), log, totals)
            return
        try:
            status = child.wait(limit)
        except subprocess.TimeoutExpired:
            timed_out = True
            status = -signal.SIGKILL
        try:  # and whatever it left behind
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        child.wait()
    seconds = time.monotonic() - start
    text = log.read_text(errors="replace")
    cases = judge(text, status, timed_out)
    with totals.lock:
        book(label, cases, seconds, text, log, totals)


def book(label, cases, seconds, text, log, totals):
    """Adds a test's cases to the totals and prints its line."""
    bad = [case for case in cases if case[1] == "failed"]
    good = sum(1 for case in cases if case[1] == "passed")
    skipped = [case for case in cases if case[1] == "skipped"]
    totals.passed += good
    totals.skips += [f"{label} {case}".strip() + (f": {why}" if why else "")
                     for case, _, why in skipped]
    notes = f", {len(skipped)} skipped" if skipped else ""
    mark = "FAIL" if bad else "ok  " if good else "skip"
    say(f"{mark} {label:44} {good:4} passed, {len(bad)} failed{notes}  {seconds:.1f} s")
    for case, _, why in bad:
        entry = f"{label} {case}".strip() + (f": {why}" if why else "")
        totals.failures.append(entry)
    if bad:
        say(f"---- the end of {log.relative_to(ROOT)}")
        lines = [line for line in text.splitlines() if not line.startswith("ok ")]
        say("\n".join("|   " + line for line in lines[-60:]))
        say("----")


def thread_sanitizer():
    """(compiler, wrapper) whose thread sanitizer starts on this kernel, or None."""
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder) / "empty.c"
        source.write_text("int main(void) { return 0; }\n")
        for compiler in ("clang", "gcc"):
            if not shutil.which(compiler):
                continue
            program = str(source.with_suffix(""))
            built = subprocess.run([compiler, "-fsanitize=thread", "-o", program, str(source)],
                                   capture_output=True, check=False)
            if built.returncode != 0:
                continue
            # Old run-time libraries cannot place their shadow where addresses are too random.
            for wrapper in ([], ["setarch", "-R"]):
                if subprocess.run(wrapper + [program], capture_output=True,
                                  check=False).returncode == 0:
                    return compiler, wrapper
    return None


def build(name, configuration, totals):
    """Builds a configuration's directory; False if that failed, which is booked."""
    directory = configuration.directory or f"build-{name}"
    say(f"\n== {name}: {configuration.what}")
    start = time.monotonic()
    env = {**os.environ, **configuration.build_env}
    log = LOGS / name / "build.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    commands = [["tools/build.sh", directory] + configuration.options]
    if configuration.before:
        commands.insert(0, [configuration.before])
    with open(log, "wb") as out:
        for command in commands:
            status = subprocess.run(command, cwd=ROOT, env=env, stdout=out, stderr=out,
                                    check=False).returncode
            if status != 0:
                break
    if status != 0:
        text = log.read_text(errors="replace")
        book(f"{name}/build", [("", "failed", f"exit status {status}")],
             time.monotonic() - start, text, log, totals)
        return False
    say(f"built {directory} in {time.monotonic() - start:.1f} s")
    return True


def run_configuration(name, arguments, totals):
    """Builds one configuration and runs its suites."""
    configuration = CONFIGURATIONS[name]
    if name == "tsan":
        found = thread_sanitizer()
        if found is None:
            totals.skips.append("tsan: no compiler here has a thread sanitizer that starts")
            say("\n== tsan: skipped, no compiler here has a thread sanitizer that starts")
            return
        configuration.build_env = {"CC": found[0]}
        configuration.wrapper = found[1]
        configuration.what = f"{found[0]}, thread sanitizer"
    if not build(name, configuration, totals):
        return
    directory = configuration.directory or f"build-{name}"
    tests = json.loads(subprocess.run(["tools/meson.sh", "introspect", "--tests", directory], cwd=ROOT,
                                      check=True, stdout=subprocess.PIPE).stdout)
    chosen = []
    for test in tests:
        suites = {suite.split(":")[-1] for suite in test["suite"]}
        if not suites & set(configuration.suites):
            continue
        if configuration.only and not re.search(configuration.only, test["name"]):
            continue
        if configuration.exclude and re.search(configuration.exclude, test["name"]):
            continue
        pattern = arguments.k
        if pattern and pattern not in test["name"] and not fnmatch.fnmatch(test["name"], pattern):
            continue
        chosen.append(test)
    together = [test for test in chosen if test["is_parallel"]]
    alone = [test for test in chosen if not test["is_parallel"]]
    # The long ones first, so that they do not run alone at the end.
    together.sort(key=lambda test: -test["timeout"])
    with concurrent.futures.ThreadPoolExecutor(arguments.j) as pool:
        jobs = [pool.submit(run_one, name, test, configuration, totals) for test in together]
        for job in jobs:
            job.result()
    for test in alone:
        run_one(name, test, configuration, totals)


def main():
    """Command line, configurations in turn, the sum."""
    parser = argparse.ArgumentParser(usage=__doc__.split("\n\n")[1])
    parser.add_argument("-k", default="")
    # One more than there are processors: most tests wait now and then.
    parser.add_argument("-j", type=int,
                        default=int(os.environ.get("JOBS") or (os.cpu_count() or 1) + 1))
    parser.add_argument("configuration", nargs="*", default=DEFAULT)
    arguments = parser.parse_args()
    unknown = [name for name in arguments.configuration if name not in CONFIGURATIONS]
    if unknown:
        parser.error(f"no configuration {unknown[0]}; there are: {', '.join(CONFIGURATIONS)}")
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    totals = Totals()
    start = time.monotonic()
    for name in arguments.configuration:
        run_configuration(name, arguments, totals)
    say(f"\n{time.monotonic() - start:.0f} s in all")
    for entry in totals.skips:
        say(f"skipped: {entry}")
    for entry in totals.failures:
        say(f"failed: {entry}")
    say(f"{totals.passed} passed, {len(totals.failures)} failed")
    return 1 if totals.failures or totals.passed == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
