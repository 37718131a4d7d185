# SPDX-License-Identifier: MIT
"""The C in README.md, docs/*.md and man/libweft.7 compiles without a warning, and what is a whole
program there does what the text says."""
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile

import harness
from harness import PATIENCE, ROOT

BUILD = pathlib.Path(os.environ.get("WEFT_BUILD_ROOT") or pathlib.Path(harness.WEFT).parents[2])
CC = os.environ.get("CC") or "cc"
SANITIZE = {"asan": ["-fsanitize=address,undefined"], "tsan": ["-fsanitize=thread"]}.get(
    os.environ.get("WEFT_TEST_CONFIGURATION"), [])
MODELS = ("WEFT_PROTOCOLS", "WEFT_TASKS", "WEFT_THREADS")
ENDPOINT = '"tcp://127.0.0.1:8888"'

# What the fragments of the text take for granted.
GIVEN = r"""
#include <stdio.h>
#include <weft/weft.h>
struct weft_stream *s;
const char *endpoint;
char answer[4];
const void *data;
size_t len;
int err;
void fragment(void);
void fragment(void)
{
%s
}
"""

# A main for a handler `echo`: serves at a free port in each model in turn and talks to itself.
HANDLER_MAIN = r"""
#include <string.h>
static int ask(const char *at)
{
    struct weft_stream *s = NULL;
    char back[5];
    int err = weft_dial(&s, at, NULL, weft_after_s(20));
    if (err == 0)
        err = weft_write(s, "hello", 5, weft_after_s(20));
    if (err == 0)
        err = weft_read_full(s, back, 5, weft_after_s(20));
    if (err == 0 && memcmp(back, "hello", 5) != 0)
        err = WEFT_EPROTOCOL;
    (void)weft_close(&s, weft_after_s(20));
    return err;
}
static int serve(void *arg)
{
    struct weft_server_options o = {.model = *(enum weft_model *)arg};
    struct weft_server *server = NULL;
    struct weft_group *g = NULL;
    char at[WEFT_ENDPOINT_MAX];
    int err = weft_group_open(&g);
    if (err == 0)
        err = weft_server_open(&server, g, "tcp://127.0.0.1:0", &o, echo, NULL, NULL);
    if (err == 0)
        err = weft_server_endpoint(server, at, sizeof at);
    if (err > 0)
        err = ask(at);
    if (err == 0)
        err = weft_server_drain(server, weft_after_s(20));
    int closing = weft_group_close(&g);
    return err < 0 ? err : closing;
}
int main(void)
{
    enum weft_model tasks = WEFT_TASKS, threads = WEFT_THREADS;
    return weft_run(NULL, serve, &tasks) != 0 || weft_run(NULL, serve, &threads) != 0 ||
           serve(&threads) != 0;
}
"""


def blocks(path):
    """The C blocks of a Markdown file."""
    return re.findall(r"^```c\n(.*?)^```", (ROOT / path).read_text(), re.S | re.M)


class Texts(harness.Case):
    """Compiled in a directory of its own, with all warnings as errors."""

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="weft-readme-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def compile(self, text, *more):
        source, program = self.folder / "program.c", self.folder / "program"
        source.write_text(text)
        library = BUILD / "src"
        done = subprocess.run(
            [*CC.split(), "-std=c17", "-Wall", "-Wextra", "-Werror", "-pedantic", *SANITIZE,
             "-I", str(ROOT / "include"), *more, "-o", str(program), str(source)] +
            ([] if "-c" in more else ["-L", str(library), f"-Wl,-rpath,{library}", "-lweft"]),
            capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""), text)
        return program

    def test_first_server_has_at_most_15_lines(self):
        lines = [line for line in blocks("README.md")[0].splitlines() if line.strip()]
        self.assertTrue(lines[0].startswith("#include"))
        self.assertIn("int main(", lines[-1])
        self.assertLessEqual(len(lines), 15)
        self.assertLessEqual(max(map(len, lines)), 100)

    def test_first_server_echoes_in_every_model(self):
        text = blocks("README.md")[0]
        self.assertEqual(text.count("WEFT_PROTOCOLS"), 1)
        self.assertEqual(text.count(ENDPOINT), 1)
        for model in MODELS:
            program = self.compile(text.replace("WEFT_PROTOCOLS", model)
                                   .replace(ENDPOINT, '"tcp://127.0.0.1:0"'))
            for driver in harness.DRIVERS:
                self.way = f"{model}, {driver}"
                self.serves(program, driver)

    def serves(self, program, driver):
        with subprocess.Popen([program], env=harness.environment(driver)) as process:
            try:
                port = harness.until(lambda: harness.listening_port(process.pid), "a listening port")
                socks = [socket.create_connection(("127.0.0.1", port), PATIENCE)
                         for _ in range(5)]
                for sock in socks + socks:
                    self.assertTrue(harness.echoes(sock))
                self.assertTrue(harness.echoes(socks[0], harness.pattern(100000)[:60000]))
                for sock in socks:
                    sock.shutdown(socket.SHUT_WR)
                    self.assertEqual(sock.recv(1), b"", "the end is answered by the end")
                    sock.close()
                self.assertIsNone(process.poll())
            finally:
                process.kill()

    def test_handler_serves(self):
        # Its argument is not used, which a handler need not say.
        text = "#include <weft/weft.h>\n" + blocks("README.md")[1] + HANDLER_MAIN
        program = self.compile(text, "-Wno-unused-parameter")
        for driver in harness.DRIVERS:
            done = subprocess.run([program], env=harness.environment(driver), timeout=PATIENCE,
                                  capture_output=True, check=False)
            self.assertEqual((done.returncode, done.stderr), (0, b""))

    def test_fragments_compile(self):
        count = 0
        for path in sorted((ROOT / "docs").glob("*.md")):
            for text in blocks(path):
                count += 1
                whole = "#include" in text or re.search(r"^static ", text, re.M)
                self.compile(text if whole else GIVEN % text, "-c", "-Wno-unused-function",
                             "-Wno-unused-parameter", "-Wno-unused-variable")
        self.assertGreater(count, 0)

    def test_example_of_the_manual_compiles(self):
        text = (ROOT / "man" / "libweft.7").read_text()
        text = re.search(r"^\.Bd -literal.*?\n(.*?)^\.Ed", text, re.S | re.M).group(1)
        self.compile("#include <weft/weft.h>\n" + text.replace(r"\e", "\\"),
                     "-Wno-unused-parameter")

    def test_manual_names_what_there_is(self):
        names = re.findall(r"^\.(?:Fn|Dv) (\w+)",
                           (ROOT / "man" / "libweft.7").read_text(), re.M)
        headers = "\n".join(path.read_text() for path in (ROOT / "include/weft").glob("*.h"))
        self.assertGreater(len(names), 30)
        for name in names:
            self.assertRegex(headers, rf"\b{name}\b")

    def test_readme_names_files_that_there_are(self):
        for target in re.findall(r"\]\(([^)#:]+)\)", (ROOT / "README.md").read_text()):
            self.assertTrue((ROOT / target).exists(), target)


if __name__ == "__main__":
    harness.main()
