# SPDX-License-Identifier: MIT
"""Each mistake planted in tests/sim/scenario_planted_*.c is found by some seeds of a thousand, and
named; its replay fails in the same way; without it, as scenario_fixed_*, nothing is found."""
import json
import os
import pathlib
import re
import subprocess
import unittest

import harness
from harness import SANITIZED, Case, run

PROGRAMS = pathlib.Path(os.environ.get("WEFT_SIM_PROGRAMS")
                        or pathlib.Path(harness.WEFT).parents[2] / "tests" / "sim")
SOURCES = harness.ROOT / "tests" / "sim"
PATIENCE = 20 * harness.PATIENCE
SEEDS = 1000
FIXED_SEEDS = 60 if SANITIZED else 300

# What the failure says.
MISTAKES = {
    "wakeup": r"WEFT_EDEADLOCK: nothing can happen any more, and main waits: 1 host, customer",
    "closed": r"WEFT_ECLOSED: host meter \(incarnation 1\): main returned WEFT_ECLOSED",
    "retry": r"WEFT_ELIVELOCK: \d+ steps, and time stands still: 1 host, front-end",
    "unsynced": r"WEFT_ECHECK: record \d+ of client \d was acknowledged, and the newest is \d+",
    "order": r"WEFT_ECHECK: order \d+ was placed \d+ times",
    "cancel": r"WEFT_ECHECK: 11 readings of 10 were counted: the tally is \d+",
}


@unittest.skipUnless(list(PROGRAMS.glob("scenario_planted_*")), "the scenarios are not built here")
class Planted(Case):
    def test_all_are_listed(self):
        names = {path.stem.removeprefix("scenario_planted_")
                 for path in SOURCES.glob("scenario_planted_*.c")}
        self.assertEqual(names, set(MISTAKES))

    def found(self, name):
        program = PROGRAMS / f"scenario_planted_{name}"
        done = run("sim", "--json", "--stop-on-first", "--jobs", 2, "--seeds", SEEDS, program,
                   timeout=PATIENCE)
        self.assertEqual(done.returncode, 1, done.stderr)
        report = json.loads(done.stdout)
        self.assertRegex(report["first_line"], MISTAKES[name])
        self.assertIs(report["reproduced"], True)
        self.assertEqual(report["replay_line"], report["first_line"])
        self.replayed(program, report)

        self.some_pass(program)

    def some_pass(self, program):
        """It is chance that finds it, and not the scenario by itself."""
        done = run("sim", "--json", "--jobs", 2, "--seeds", 20, program, timeout=PATIENCE)
        report = json.loads(done.stdout)
        self.assertEqual(report["seeds"], 20)
        self.assertLess(report["failed"], 20, "every seed finds it")

    def replayed(self, program, report):
        """By hand, as the report says."""
        seed = report["shortest_seed"]
        env = dict(os.environ, WEFT_SIM_SEED=str(seed))
        env.pop("WEFT_SIM_TRACE", None)
        done = subprocess.run([program], env=env, capture_output=True, text=True,
                              timeout=PATIENCE, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr.splitlines()[0], report["first_line"])
        self.assertRegex(done.stderr, re.compile(rf"^replay: WEFT_SIM_SEED={seed} ", re.M))

    def fixed(self, name):
        done = run("sim", "--json", "--jobs", 2, "--seeds", FIXED_SEEDS,
                   PROGRAMS / f"scenario_fixed_{name}", timeout=PATIENCE)
        report = json.loads(done.stdout)
        self.assertEqual((done.returncode, report["seeds"], report["failed"]),
                         (0, FIXED_SEEDS, 0), report["first_line"])

    def test_lost_wakeup(self):
        self.found("wakeup")
        self.fixed("wakeup")

    def test_write_after_close(self):
        self.found("closed")
        self.fixed("closed")

    def test_retry_without_a_bound(self):
        self.found("retry")
        self.fixed("retry")

    def test_acknowledged_and_not_synced(self):
        self.found("unsynced")
        self.fixed("unsynced")

    def test_order_placed_twice(self):
        """Over HTTP, whose server and client run in the simulation as in scenario_http.c."""
        self.found("order")
        self.fixed("order")

    def test_cancel_and_completion(self):
        self.found("cancel")
        self.fixed("cancel")


if __name__ == "__main__":
    harness.main()
