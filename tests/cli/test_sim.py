# SPDX-License-Identifier: MIT
"""`weft sim`, with programs that do what a seed makes a simulation do: pass, fail, crash, hang."""
import json
import os
import pathlib
import pty
import re
import resource
import select
import shlex
import signal
import subprocess
import tempfile
import time
import unittest

import harness
from harness import PATIENCE, ROOT, Case, Weft, run, until

PROGRAMS = pathlib.Path(os.environ.get("WEFT_SIM_PROGRAMS")
                        or pathlib.Path(harness.WEFT).parents[2] / "tests" / "sim")
HINT = "Try 'weft sim --help'.\n"
# Tells a failure as a simulation does, and ends: fail STEPS SECONDS TEXT
FAIL = """
s=$WEFT_SIM_SEED
fail() {
    echo "simulation failed: seed $s, after $2 s ($1 steps): $3" >&2
    echo "the events" >&2
    exit 1
}
"""


def alive(pid):
    """Whether a process runs; a zombie that nobody has reaped yet does not."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


class Sim(Case):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def program(self, text, name="program"):
        """A shell script of that text."""
        path = self.folder / name
        path.write_text("#!/bin/sh\n" + FAIL + text, encoding="utf-8")
        path.chmod(0o755)
        return path

    def lines(self, name):
        path = self.folder / name
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    def sim(self, *args, **more):
        """Runs it; .report is what --json said."""
        done = run("sim", *args, **more)
        done.report = json.loads(done.stdout) if "--json" in args else None
        return done

    def processes(self, name):
        """The numbers that the programs have written to a file, once each."""
        return [int(line) for line in self.lines(name)]


class Passing(Sim):
    def test_all_pass(self):
        program = self.program(f"echo $s >> {self.folder}/seeds\n")
        done = self.sim("--seeds", 40, "--first", 3, program)
        self.assertEqual((done.returncode, done.stdout, done.stderr),
                         (0, "40 seeds, 0 failed\n", ""))
        self.assertEqual(sorted(map(int, self.lines("seeds"))), list(range(3, 43)))

    def test_a_hundred_seeds_from_one_by_default(self):
        program = self.program(f"echo $s >> {self.folder}/seeds\n")
        done = self.sim("--json", program)
        self.assertEqual(done.returncode, 0)
        self.assertEqual(sorted(map(int, self.lines("seeds"))), list(range(1, 101)))
        seconds = done.report.pop("seconds")
        self.assertGreater(seconds, 0)
        self.assertEqual(done.report, {"seeds": 100, "failed": 0, "groups": [],
                                       "shortest_seed": None, "first_line": None,
                                       "reproduced": None, "replay_line": None, "stopped": False})

    def test_what_the_program_finds(self):
        """Its arguments, its name, nothing to read, no trace to write, no stranger's descriptor."""
        program = self.program("""
[ "$#" = 3 ] && [ "$1" = "a b" ] && [ "$2" = "--seeds" ] && [ "$3" = "" ] || fail 1 1 "EA: $*"
[ -z "${WEFT_SIM_TRACE+set}" ] || fail 1 1 "EB: $WEFT_SIM_TRACE"
read line && fail 1 1 "EC: $line"
[ "$(ls /proc/$$/fd | sort -n | head -n 3 | tr '\\n' ' ')" = "0 1 2 " ] || fail 1 1 "ED: fds"
exit 0
""")
        os.environ["WEFT_SIM_TRACE"] = str(self.folder / "trace")
        self.addCleanup(os.environ.pop, "WEFT_SIM_TRACE")
        done = self.sim("--seeds", 3, program, "a b", "--seeds", "")
        self.assertEqual((done.returncode, done.stdout), (0, "3 seeds, 0 failed\n"))
        self.assertEqual(self.lines("trace"), [])

    def test_a_program_of_the_path(self):
        self.assertEqual(self.sim("--seeds", 2, "true").stdout, "2 seeds, 0 failed\n")

    def test_what_a_program_prints_is_of_no_interest_when_it_passes(self):
        program = self.program('head -c 300000 /dev/zero\nhead -c 300000 /dev/zero >&2\n')
        done = self.sim("--seeds", 4, program)
        self.assertEqual((done.returncode, done.stdout), (0, "4 seeds, 0 failed\n"))


class Failing(Sim):
    KINDS = """
case $s in
*4) fail $((500 - s)) 2.5 "WEFT_ECHECK: entry $s is not on node-$((s % 3)), at 0x${s}ab, 1,0$s.5 s";;
17) fail 480 1.25 "WEFT_EDEADLOCK: nothing can happen any more";;
18) fail 480 1.5 "WEFT_EDEADLOCK: nothing can happen any more";;
29) exit 3;;
30) exit 4;;
31) kill -SEGV $$;;
esac
exit 0
"""

    def test_groups_and_the_shortest(self):
        done = self.sim("--json", "--seeds", 100, self.program(self.KINDS))
        self.assertEqual(done.returncode, 1)
        self.assertEqual((done.report["seeds"], done.report["failed"]), (100, 15))
        self.assertEqual([(group["key"], group["count"], group["seeds"], group["shortest_seed"])
                          for group in done.report["groups"]], [
            ("WEFT_ECHECK: entry N is not on node-N, at N, N s", 10,
             [4, 14, 24, 34, 44, 54, 64, 74], 94),
            ("WEFT_EDEADLOCK: nothing can happen any more", 2, [17, 18], 17),
            ("exit status 3", 1, [29], 29),
            ("exit status 4", 1, [30], 30),
            ("killed by SIGSEGV", 1, [31], 31)])
        self.assertEqual(done.report["shortest_seed"], 94)
        self.assertIs(done.report["reproduced"], True)
        self.assertEqual(done.report["first_line"], done.report["replay_line"])
        self.assertTrue(done.stderr.endswith("100 seeds, 15 failed\n"), done.stderr)

    def test_least_time_then_lowest_seed_break_a_tie(self):
        program = self.program("""
case $s in
5) fail 10 0.5 "E: x";;
6) fail 10 0.25 "E: y";;
7) fail 10 0.25 "E: z";;
esac
""")
        self.assertEqual(self.sim("--json", program).report["shortest_seed"], 6)

    def test_the_replay_is_shown(self):
        program = self.program("""
echo "to standard output"
[ $s -gt 10 ] || exit 0
echo "before" >&2
[ -z "$WEFT_SIM_TRACE" ] || seq -f 'event %.0f.' 1 200 > "$WEFT_SIM_TRACE"
fail $s 1 "E: it went wrong"
""")
        done = self.sim("--seeds", 20, program, "it's", "plain")
        self.assertEqual(done.returncode, 1)
        text = done.stdout
        self.assertIn("\n  10 x E: it went wrong\n      seeds 11, 12, 13, 14, 15, 16, 17, 18 ...; "
                      "the shortest is 11 (11 steps, 1 s)\n", text)
        self.assertIn("\nseed 11 again, with a trace:\nsimulation failed: seed 11, after 1 s "
                      "(11 steps): E: it went wrong\nthe events\n", text)
        self.assertIn("\nthe end of its trace:\nevent 141.\nevent 142.\n", text)
        self.assertIn("\nevent 199.\nevent 200.\n", text)
        self.assertNotIn("before", text)
        self.assertNotIn("DETERMINISTIC", text)
        self.assertEqual(text.splitlines()[-1], "20 seeds, 10 failed")
        again = [line.strip() for line in text.splitlines() if line.startswith("  W")]
        self.assertEqual(again, [f"WEFT_SIM_SEED=11 {program} 'it'\\''s' plain"])
        first = subprocess.run(again[0], shell=True, capture_output=True, text=True, check=False)
        self.assertEqual(first.returncode, 1)
        again = [line.strip() for line in text.splitlines() if line.startswith("  weft sim")]
        words = shlex.split(again[0])
        self.assertEqual(words, ["weft", "sim", "--seed", "11", str(program), "it's", "plain"])
        second = run(*words[1:])
        self.assertEqual((second.returncode, second.stdout, second.stderr),
                         (1, first.stdout, first.stderr))

    def test_the_trace_is_kept(self):
        trace = self.folder / "trace"
        trace.write_text("of another day\n", encoding="utf-8")
        program = self.program("""
[ -z "$WEFT_SIM_TRACE" ] || echo "seed $s" > "$WEFT_SIM_TRACE"
[ $s != 3 ] || fail 1 1 "E: x"
""")
        done = self.sim("--seeds", 5, "--trace", trace, program)
        self.assertIn(f"\nthe end of its trace, which is in {trace}:\nseed 3\n", done.stdout)
        self.assertEqual(self.lines("trace"), ["seed 3"])
        self.assertEqual(self.sim("--seeds", 2, "--trace", trace, program).returncode, 0)
        self.assertEqual(self.lines("trace"), [])
        done = self.sim("--trace", self.folder / "no" / "trace", program)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"^weft sim: cannot write .*: No such file or directory\n$")

    def test_no_temporary_file_is_left(self):
        there = self.folder / "tmp"
        there.mkdir()
        os.environ["TMPDIR"] = str(there)
        self.addCleanup(os.environ.pop, "TMPDIR")
        program = self.program('[ -z "$WEFT_SIM_TRACE" ] || echo x > "$WEFT_SIM_TRACE"\n'
                               f'echo "$WEFT_SIM_TRACE" >> {self.folder}/used\nfail 1 1 "E: x"\n')
        self.assertEqual(self.sim("--seeds", 2, program).returncode, 1)
        self.assertEqual(list(there.iterdir()), [])
        self.assertEqual(os.path.dirname(self.lines("used")[-1]), str(there))

    def test_a_crash_shows_what_it_printed(self):
        program = self.program("""
[ $s = 2 ] || exit 0
seq -f 'line %.0f.' 1 150 >&2
kill -ABRT $$
""")
        done = self.sim("--seeds", 3, program)
        self.assertEqual(done.returncode, 1)
        self.assertIn("  1 x killed by SIGABRT\n      seed 2\n", done.stdout)
        self.assertIn("\nkilled by SIGABRT; what it printed:\nline 51.\n", done.stdout)
        self.assertIn("\nline 150.\n", done.stdout)
        self.assertIn("\nit wrote no trace\n", done.stdout)

    def test_a_report_on_standard_output_counts_too(self):
        program = self.program('exec 2>&1\n[ $s != 2 ] || fail 7 1 "E: x"\n')
        report = self.sim("--json", "--seeds", 3, program).report
        self.assertEqual(report["groups"][0]["what"], "E: x")

    def test_only_the_end_of_the_output_is_kept(self):
        """The line that tells the failure is known also when it is no longer among that."""
        program = self.program("""
head -c 200000 /dev/zero | tr '\\0' x >&2
echo >&2
( fail 5 1 "E: long ago" )
seq -f 'after %.0f.' 1 20000 >&2
exit 1
""")
        done = self.sim("--seeds", 1, program)
        self.assertIn("  1 x E: long ago\n", done.stdout)
        self.assertIn("after 20000.\n", done.stdout)
        self.assertNotIn("after 1.\n", done.stdout)
        self.assertLess(len(done.stdout), 70000)

    def test_what_is_not_text_does_not_spoil_the_json(self):
        program = self.program("""
printf 'simulation failed: seed 1, after 1 s (1 steps): E: "\\\\ \\001\\033 \\377\\n' >&2
exit 1
""")
        report = self.sim("--json", "--seeds", 1, program, errors="replace").report
        self.assertEqual(report["groups"][0]["what"], 'E: "\\ ?? ?')

    def test_more_kinds_than_there_is_room_for(self):
        program = self.program("exit $s\n")
        report = self.sim("--json", "--seeds", 60, program).report
        self.assertEqual((report["failed"], len(report["groups"])), (60, 32))
        self.assertEqual(report["groups"][0]["key"], "and others")
        self.assertEqual(sum(group["count"] for group in report["groups"]), 60)

    def test_stop_on_first(self):
        program = self.program(f"""
echo $s >> {self.folder}/seeds
[ $s -lt 5 ] || fail 1 1 "E: x"
""")
        done = self.sim("--json", "--jobs", 1, "--stop-on-first", program)
        self.assertEqual(done.returncode, 1)
        self.assertEqual((done.report["seeds"], done.report["failed"], done.report["stopped"]),
                         (5, 1, True))
        self.assertEqual(self.lines("seeds"), ["1", "2", "3", "4", "5", "5"])
        self.assertIn("\nstopped at the first failure, of 100 seeds\n5 seeds, 1 failed\n",
                      done.stderr)

    def test_stop_on_first_ends_the_others(self):
        """Seed 1 runs until seed 2 has failed, and then it does not count."""
        program = self.program(f"""
echo $$ >> {self.folder}/pids
[ $s != 2 ] || fail 1 1 "E: x"
while :; do sleep 600; done
""")
        done = self.sim("--json", "--jobs", 2, "--stop-on-first", program)
        self.assertEqual((done.report["seeds"], done.report["failed"]), (1, 1))
        self.assertFalse([pid for pid in self.processes("pids") if alive(pid)])


class CannotStart(Sim):
    def test_too_few_descriptors(self):
        """Children that were started meanwhile end, and nothing passes for a success."""
        program = self.program(f"echo $$ >> {self.folder}/pids\nsleep 600\n")
        done = self.sim("--jobs", 32, program, preexec_fn=lambda: resource.setrlimit(
            resource.RLIMIT_NOFILE, (32, 32)))
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"^weft sim: cannot start .*: this process has too many "
                                      r"open files.*\n$")
        self.assertFalse([pid for pid in self.processes("pids") if alive(pid)])


class NotDeterministic(Sim):
    def check(self, body, again):
        done = self.sim("--seeds", 3, self.program(body))
        self.assertEqual(done.returncode, 1)
        self.assertIn("\nNOT DETERMINISTIC: seed 2 did not fail in the same way again.\n"
                      "  first: simulation failed: seed 2, after 1 s (9 steps): E: first\n"
                      f"  again: {again}\n", done.stdout)
        report = self.sim("--json", "--seeds", 3, self.program(body.replace("mark", "kram"))).report
        self.assertIs(report["reproduced"], False)
        self.assertEqual(report["replay_line"], again)

    def body(self, again):
        return (f'[ $s = 2 ] || exit 0\n[ ! -e {self.folder}/mark ] || {again}\n'
                f': > {self.folder}/mark\nfail 9 1 "E: first"\n')

    def test_it_passes_the_second_time(self):
        self.check(self.body("exit 0"), "it passed")

    def test_it_fails_otherwise(self):
        self.check(self.body('fail 8 1 "E: first"'),
                   "simulation failed: seed 2, after 1 s (8 steps): E: first")

    def test_it_crashes(self):
        self.check(self.body("kill -SEGV $$"), "killed by SIGSEGV")

    def test_a_seed_of_its_own(self):
        done = self.sim("--seeds", 3, self.program('s=5\nfail 1 1 "E: x"\n'))
        self.assertIn("the program was given seed 1 and tells of seed 5", done.stdout)


class TimeOut(Sim):
    def test_the_whole_process_group_is_killed(self):
        program = self.program(f"""
[ $s = 2 ] || exit 0
trap '' INT TERM HUP
sleep 600 &
echo $$ >> {self.folder}/pids
echo $! >> {self.folder}/pids
while :; do wait; done
""")
        done = self.sim("--json", "--seeds", 3, "--timeout", "2.5", program)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.report["groups"][0]["what"], "no end within 2.5 s")
        self.assertEqual((done.report["failed"], done.report["reproduced"]), (1, True))
        pids = self.processes("pids")
        self.assertEqual(len(pids), 4)
        until(lambda: not any(alive(pid) for pid in pids), "they are gone")

    def test_what_a_run_leaves_behind_is_killed(self):
        """And its outputs, which that holds open, do not keep the search waiting."""
        program = self.program(f"sleep 600 &\necho $! >> {self.folder}/pids\nexit 0\n")
        done = self.sim("--seeds", 3, "--timeout", 300, program)
        self.assertEqual((done.returncode, done.stdout), (0, "3 seeds, 0 failed\n"))
        until(lambda: not any(alive(pid) for pid in self.processes("pids")), "they are gone")


class SideBySide(Sim):
    # Each run waits until three have come, so they all pass only if three run at once.
    BODY = """
echo $s >> {0}/seeds
while [ "$(wc -l < {0}/seeds)" -lt 3 ]; do sleep 0.01; done
"""

    def test_jobs(self):
        program = self.program(self.BODY.format(self.folder))
        done = self.sim("--seeds", 3, "--jobs", 3, "--timeout", PATIENCE, program)
        self.assertEqual((done.returncode, done.stdout), (0, "3 seeds, 0 failed\n"))

    def test_no_more_than_that(self):
        program = self.program(self.BODY.format(self.folder))
        done = self.sim("--json", "--seeds", 2, "--jobs", 2, "--timeout", 1, program)
        self.assertEqual(done.report["failed"], 2)
        one = self.program(f"""
mkdir {self.folder}/alone || fail 1 1 "E: not alone"
rmdir {self.folder}/alone
""")
        self.assertEqual(self.sim("--seeds", 20, "--jobs", 1, one).returncode, 0)


class Stopped(Sim):
    BODY = """
[ $s != 1 ] || fail 3 1 "E: the first"
[ $s -lt 3 ] && exit 0
echo $$ >> {0}/pids
trap '' INT TERM
exec sleep 600
"""

    def check(self, number, status):
        program = self.program(self.BODY.format(self.folder))
        with Weft("sim", "--jobs", 3, program) as weft:
            until(lambda: len(self.lines("pids")) == 3, "three that do not end")
            weft.send(number)
            self.assertEqual(weft.wait(), status)
            text = weft.process.stdout.read().decode()
            self.assertEqual(weft.process.stderr.read(), b"")
        self.assertIn("  1 x E: the first\n      seed 1; the shortest is 1 (3 steps, 1 s)\n", text)
        self.assertIn(f"  weft sim --seed 1 {program}\n", text)
        self.assertTrue(text.endswith(f"\nstopped by {number.name}, of 100 seeds\n"
                                      "2 seeds, 1 failed\n"), text)
        self.assertFalse([pid for pid in self.processes("pids") if alive(pid)])

    def test_by_signals(self):
        self.check(signal.SIGINT, 130)
        (self.folder / "pids").unlink()
        self.check(signal.SIGTERM, 143)

    def test_in_the_replay(self):
        program = self.program(f"""
[ -z "$WEFT_SIM_TRACE" ] || {{ echo $$ >> {self.folder}/pids; sleep 600; }}
fail 3 1 "E: x"
""")
        with Weft("sim", "--seeds", 2, "--json", program) as weft:
            until(lambda: self.lines("pids"), "the replay")
            weft.send(signal.SIGINT)
            self.assertEqual(weft.wait(), 130)
            report = json.loads(weft.process.stdout.read())
        self.assertEqual((report["seeds"], report["failed"], report["reproduced"]), (2, 2, None))
        self.assertFalse([pid for pid in self.processes("pids") if alive(pid)])

    def test_killed(self):
        """The children do not outlive it. (What they started does: nobody is left to look.)"""
        program = self.program(self.BODY.format(self.folder))
        with Weft("sim", "--jobs", 2, program) as weft:
            until(lambda: len(self.lines("pids")) == 2, "two that do not end")
            weft.send(signal.SIGKILL)
            weft.wait()
            until(lambda: not any(alive(pid) for pid in self.processes("pids")), "they are gone")


class Progress(Sim):
    def test_in_one_line_on_a_terminal(self):
        program = self.program(f"while [ ! -e {self.folder}/go ]; do sleep 0.01; done\n")
        master, slave = pty.openpty()
        try:
            child = subprocess.Popen([harness.WEFT, "sim", "--seeds", "3", str(program)],
                                     stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=slave)
            os.close(slave)
            slave = -1
            shown = b""
            while b"0/3 seeds, 0 failed" not in shown:
                self.assertTrue(select.select([master], [], [], PATIENCE)[0], shown)
                shown += os.read(master, 4096)
            (self.folder / "go").touch()
            out = child.communicate(timeout=PATIENCE)[0]
            self.assertEqual((child.returncode, out), (0, b"3 seeds, 0 failed\n"))
            while not shown.endswith(b"\r\033[K"):
                shown += os.read(master, 4096)
            self.assertNotIn(b"\n", shown)
        finally:
            os.close(master)
            if slave >= 0:
                os.close(slave)

    def test_in_lines_elsewhere(self):
        """The first one comes after ten seconds."""
        program = self.program(f"[ $s = 1 ] && fail 1 1 'E: x'\n"
                               f"while [ ! -e {self.folder}/go ]; do sleep 0.05; done\n")
        start = time.monotonic()
        with Weft("sim", "--seeds", 4, program) as weft:
            said = weft.process.stderr.readline().decode()
            self.assertRegex(said, r"^1/4 seeds, 1 failed, [0-9.]+ seeds/s, \d+ s left\n$")
            self.assertGreaterEqual(time.monotonic() - start, 9.9)
            (self.folder / "go").touch()
            self.assertEqual(weft.wait(), 1)


class OneSeed(Sim):
    def test_exit_status_and_output_are_the_programs(self):
        program = self.program('echo "out $s $1"\necho "err $WEFT_SIM_TRACE" >&2\nexit $s\n')
        done = self.sim("--seed", 5, "--trace", "x", program, "arg")
        self.assertEqual((done.returncode, done.stdout, done.stderr),
                         (5, "out 5 arg\n", "err x\n"))
        done = self.sim("--seed", 7, self.program("kill -SEGV $$\n"))
        self.assertEqual(done.returncode, -signal.SIGSEGV)

    def test_output_comes_as_it_is_printed(self):
        program = self.program(f"echo first\n"
                               f"while [ ! -e {self.folder}/go ]; do sleep 0.01; done\n")
        with Weft("sim", "--seed", 1, program) as weft:
            self.assertEqual(weft.line(), "first")
            (self.folder / "go").touch()
            self.assertEqual(weft.wait(), 0)

    def test_a_time_limit_if_one_is_given(self):
        done = self.sim("--seed", 1, "--timeout", "0.2", self.program("exec sleep 600\n"))
        self.assertEqual(done.returncode, -signal.SIGALRM)


class Mistakes(Sim):
    def refuses(self, args, sentence):
        done = run("sim", *args)
        self.assertEqual((done.returncode, done.stdout, done.stderr),
                         (2, "", f"weft sim: {sentence}.\n{HINT}"), args)

    def test_of_the_program(self):
        self.refuses([], "PROGRAM is missing")
        self.refuses(["--seeds", 3], "PROGRAM is missing")
        self.refuses(["no-such-program"], "cannot run 'no-such-program': No such file or directory")
        self.refuses([""], "cannot run '': No such file or directory")
        self.refuses([self.folder], f"cannot run '{self.folder}': Is a directory")
        plain = self.folder / "plain"
        plain.write_text("x", encoding="ascii")
        if os.geteuid() != 0 or not os.access(plain, os.X_OK):
            self.refuses([plain], f"cannot run '{plain}': Permission denied")
        self.refuses(["--seed", 3, "no/such"], "cannot run 'no/such': No such file or directory")

    def test_of_options(self):
        self.refuses(["--bogus", "true"], "there is no option '--bogus'")
        self.refuses(["-x", "true"], "there is no option '-x'")
        self.refuses(["--seeds", "0", "true"],
                     "--seeds: '0' is not a number from 1 to 1000000000")
        self.refuses(["--seed", "0", "true"],
                     "--seed: '0' is not a number from 1 to 9223372036854775807")
        self.refuses(["--jobs", "257", "true"], "--jobs: '257' is not a number from 1 to 256")
        self.refuses(["--timeout", "0", "true"], "--timeout must be at least 0.001")
        self.refuses(["--keep-going", "--stop-on-first", "true"],
                     "--keep-going and --stop-on-first exclude each other")
        self.refuses(["--seed", 1, "--seeds", 3, "true"],
                     "--seed is one seed, so --seeds, --first and --jobs make no sense")
        self.refuses(["--seed", 1, "--json", "true"],
                     "--seed runs the program alone, so --keep-going, --stop-on-first and --json "
                     "make no sense")
        self.refuses(["--first", 2 ** 63 - 1, "true"],
                     "--first and --seeds go beyond the last seed")

    def test_a_program_that_cannot_be_executed(self):
        """It is there and executable, but what should run it is not: found out by the child."""
        program = self.folder / "program"
        program.write_text("#!/no/such/interpreter\n", encoding="ascii")
        program.chmod(0o755)
        done = self.sim("--seeds", 2, program)
        self.assertEqual(done.returncode, 1)
        self.assertIn("exit status 127", done.stdout)
        self.assertIn(f"cannot run '{program}': No such file or directory", done.stdout)
        self.assertEqual(self.sim("--seed", 1, program).returncode, 2)

    def test_help_and_man_page(self):
        done = run("sim", "--help")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("Usage: weft sim [OPTION...] PROGRAM [ARG...]\n", done.stdout)
        self.assertTrue(all(len(line) <= 100 for line in done.stdout.splitlines()))
        page = (ROOT / "man" / "weft.1").read_text(encoding="utf-8")
        for option in re.findall(r"^  --([a-z-]+)", done.stdout, re.M):
            self.assertIn("Fl \\-" + option.replace("-", "\\-"), page)


@unittest.skipUnless((PROGRAMS / "sample_sixes").exists(), "the sample is not built")
class Simulation(Sim):
    """A real one, against the library."""

    def test_failures_are_found_and_replayed(self):
        sample = PROGRAMS / "sample_sixes"
        done = self.sim("--json", "--seeds", 100, sample)
        report = done.report
        self.assertEqual(done.returncode, 1)
        self.assertTrue(5 <= report["failed"] <= 40, report)
        self.assertEqual([group["key"] for group in report["groups"]],
                         ["WEFT_ECHECK: three sixes in a row, the last one throw N"])
        self.assertIs(report["reproduced"], True)
        self.assertIn("threw 6", done.stderr)
        again = self.sim("--json", "--seeds", 100, "--jobs", 1, sample).report
        for unlike in ("seconds",):
            del report[unlike], again[unlike]
        self.assertEqual(report, again)

    def test_none_without_the_rule(self):
        done = self.sim("--seeds", 50, PROGRAMS / "sample_sixes", "tolerant")
        self.assertEqual((done.returncode, done.stdout), (0, "50 seeds, 0 failed\n"))


if __name__ == "__main__":
    harness.main()
