# SPDX-License-Identifier: MIT
"""One seed is one run: the trace is the same, byte for byte, each time, whatever the build, the
directory, the environment and the name of the program. What the traces were when they were last
looked at is in tests/sim/expected_traces.txt; tools/sim-traces.sh writes it anew."""
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

import harness
from harness import ROOT, SANITIZED, Case

PROGRAMS = pathlib.Path(os.environ.get("WEFT_SIM_PROGRAMS")
                        or pathlib.Path(harness.WEFT).parents[2] / "tests" / "sim")
EXPECTED = ROOT / "tests" / "sim" / "expected_traces.txt"
SCENARIOS = ("drain", "cancel", "log")  # what most of the library takes part in
SEEDS = range(1, 6)
REPEATS = 20 if SANITIZED else 100
SAME = ("framing", "udp", "cancel", "log")


def trace(program, seed, folder, **more):
    """The bytes of the trace of a run, which must pass."""
    path = pathlib.Path(folder) / "trace"
    path.unlink(missing_ok=True)
    env = dict(os.environ, WEFT_SIM_SEED=str(seed), WEFT_SIM_TRACE=str(path))
    env.update(more.pop("env", {}))
    done = subprocess.run([program], env=env, capture_output=True, text=True,
                          timeout=3 * harness.PATIENCE, check=False, **more)
    if done.returncode != 0 or done.stderr:
        raise AssertionError(f"{program}, seed {seed}: {done.returncode}\n{done.stderr}")
    return path.read_bytes()


def hashes(folder):
    """The lines of EXPECTED as they are now."""
    for scenario in SCENARIOS:
        for seed in SEEDS:
            text = trace(PROGRAMS / f"scenario_{scenario}", seed, folder)
            yield f"{scenario} {seed} {hashlib.sha256(text).hexdigest()}\n"


@unittest.skipUnless(list(PROGRAMS.glob("scenario_*")), "the scenarios are not built here")
class Determinism(Case):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def repeats(self, scenario):
        program = PROGRAMS / f"scenario_{scenario}"
        first = trace(program, 7, self.folder)
        self.assertGreater(first.count(b"\n"), 10)
        for _ in range(REPEATS - 1):
            self.assertEqual(trace(program, 7, self.folder), first)
        self.assertNotEqual(trace(program, 8, self.folder), first)

    def test_repeats_cancel(self):
        self.repeats("cancel")

    def test_repeats_framing(self):
        self.repeats("framing")

    def test_repeats_log(self):
        self.repeats("log")

    def test_repeats_udp(self):
        self.repeats("udp")

    def test_surroundings_do_not_matter(self):
        for scenario in SAME:
            program = PROGRAMS / f"scenario_{scenario}"
            first = trace(program, 3, self.folder)
            copy = pathlib.Path(self.folder) / "another name"
            shutil.copy(program, copy)
            env = {"LD_LIBRARY_PATH": str(PROGRAMS.parents[1] / "src"), "LONG": "x" * 50000,
                   "WEFT_DRIVER": "epoll", "TZ": "Asia/Tokyo", "MALLOC_PERTURB_": "165"}
            self.assertEqual(trace(copy, 3, self.folder, env=env, cwd="/"), first)

    def test_as_when_last_looked_at(self):
        """In every build. A change of behaviour that is meant: tools/sim-traces.sh."""
        self.assertEqual("".join(hashes(self.folder)), EXPECTED.read_text(encoding="ascii"))


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        with tempfile.TemporaryDirectory() as scratch:
            EXPECTED.write_text("".join(hashes(scratch)), encoding="ascii")
    else:
        harness.main()
