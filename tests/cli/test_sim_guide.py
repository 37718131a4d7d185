# SPDX-License-Identifier: MIT
"""The guide to simulation: its code is that of examples/guide/, which does what the guide says."""
import json
import os
import pathlib
import re
import subprocess
import tempfile
import unittest

import harness
from harness import PATIENCE, ROOT, run

GUIDE = ROOT / "docs" / "guide" / "simulation.md"
SOURCES = ROOT / "examples" / "guide"
BUILD = pathlib.Path(os.environ.get("WEFT_BUILD_ROOT") or pathlib.Path(harness.WEFT).parents[2])
EXAMPLES = BUILD / "examples"


def blocks(kind):
    return re.findall(rf"^```{kind}\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.S | re.M)


class Text(harness.Case):
    def test_code_is_that_of_the_files(self):
        files = {path.name: path.read_text(encoding="utf-8") for path in SOURCES.glob("*.c")}
        whole = set()
        for block in blocks("c"):
            found = [name for name, text in files.items()
                     if ("\n" + block) in ("\n" + text)]
            self.assertTrue(found, f"in no file of examples/guide:\n{block}")
            whole |= {name for name in found if block == files[name]}
        self.assertEqual(whole, {"counter.c", "counter_sim.c", "counter_fixed_sim.c"})

    def test_the_fix_is_all_that_differs(self):
        def without_save(name):
            text = (SOURCES / name).read_text(encoding="utf-8")
            return re.sub(r"/\* [^/]* \*/\nstatic int save.*?^}\n", "", text, flags=re.S | re.M)
        self.assertEqual(without_save("counter.c"), without_save("counter_fixed.c"))

    def test_links_lead_somewhere(self):
        for target in re.findall(r"\]\(([^)#:]+)\)", GUIDE.read_text(encoding="utf-8")):
            self.assertTrue((GUIDE.parent / target).exists(), target)


@unittest.skipUnless((EXAMPLES / "guide_counter_sim").exists(), "the examples are not built here")
class Programs(harness.Case):
    def sim(self, name, seeds):
        done = run("sim", "--json", "--jobs", 2, "--seeds", seeds, EXAMPLES / name,
                   timeout=10 * PATIENCE)
        return done, json.loads(done.stdout)

    def test_the_mistake_is_found_as_the_guide_says(self):
        quoted = re.search(r"^simulation failed: .*$", "".join(blocks("console")), re.M).group()
        done, report = self.sim("guide_counter_sim", 100)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(re.sub(r"\d+", "N", report["first_line"]), re.sub(r"\d+", "N", quoted))
        self.assertIs(report["reproduced"], True)
        self.assertEqual(len(report["groups"]), 1, report["groups"])

    def test_the_trace_shows_what_the_disk_forgot(self):
        with tempfile.TemporaryDirectory() as folder:
            trace = pathlib.Path(folder) / "trace"
            run("sim", "--seeds", 100, "--jobs", 2, "--trace", trace,
                EXAMPLES / "guide_counter_sim", timeout=10 * PATIENCE)
            text = trace.read_text(encoding="utf-8")
        self.assertRegex(text, r"counter: crashes\n.*counter: disk: .* is lost\n")

    def test_the_fix_holds(self):
        done, report = self.sim("guide_counter_fixed_sim", 300)
        self.assertEqual((done.returncode, report["failed"]), (0, 0), report["first_line"])

    def test_the_tour_runs(self):
        done, report = self.sim("guide_tour_sim", 100)
        self.assertEqual((done.returncode, report["failed"]), (0, 0), report["first_line"])

    def test_the_counters_count_and_remember(self):
        for name in ("guide_counter", "guide_counter_fixed"):
            with tempfile.TemporaryDirectory() as folder:
                total = 0
                for additions in ((1, 2, 3), (40,)):
                    total = self.count(name, folder, additions, total)

    def count(self, name, folder, additions, total):
        """One life of it. By epoll: with io_uring the kernel closes the listening socket of a process
        that was killed some time after its end, and until then connects to it."""
        endpoint = f"unix:{folder}/socket"
        with subprocess.Popen([EXAMPLES / name, endpoint], cwd=folder,
                              env=harness.environment("epoll")) as process:
            try:
                path = pathlib.Path(folder) / "socket"
                sock = harness.until(lambda: connect(path), "a socket")
                with sock:
                    for n in additions:
                        total += n
                        sock.sendall(f"{n}\n".encode())
                        want = f"{total}\n".encode()
                        self.assertEqual(harness.receive(sock, len(want)), want)
            finally:
                process.kill()
        return total


def connect(path):
    """A connection; None while nobody listens."""
    sock = harness.socket.socket(harness.socket.AF_UNIX)
    sock.settimeout(PATIENCE)
    try:
        sock.connect(str(path))
        return sock
    except OSError:
        sock.close()
        return None


if __name__ == "__main__":
    harness.main()
