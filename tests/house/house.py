# SPDX-License-Identifier: MIT
"""What the checks of the tree share: finding its files, printing TAP."""
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(os.environ.get("WEFT_SOURCE_ROOT")
                    or pathlib.Path(__file__).resolve().parent.parent.parent)

# Where C is.
C_FOLDERS = ["src", "include", "apps", "examples", "bench", "tests", "fuzz"]

_cases = 0
_bad = 0


def case(name, problems, notes=()):
    """Prints one TAP line; it failed if there are problems, which are printed after it."""
    global _cases, _bad
    problems = list(problems)
    _cases += 1
    _bad += bool(problems)
    print(f"{'not ok' if problems else 'ok'} {_cases} - {name}")
    for line in [*problems, *notes]:
        print("#   " + str(line).rstrip().replace("\n", "\n#   "))
    sys.stdout.flush()


def skip(name, why):
    """Prints a TAP line for a check that cannot be made here."""
    global _cases
    _cases += 1
    print(f"ok {_cases} - {name} # skip {why}", flush=True)


def finish():
    """Prints the plan and exits."""
    print(f"1..{_cases}")
    sys.exit(1 if _bad else 0)


def c_files(root=ROOT, folders=None, endings=(".c", ".h")):
    """All C files in these folders, sorted."""
    found = []
    for folder in folders or C_FOLDERS:
        found += [path for path in (root / folder).rglob("*") if path.suffix in endings]
    return sorted(found)


def text_files(root=ROOT):
    """(path, text or None if it is binary) of every file of the tree, without what a build made."""
    for folder, folders, names in os.walk(root):
        top = pathlib.Path(folder) == pathlib.Path(root)
        folders[:] = sorted(name for name in folders
                            if name not in (".git", "__pycache__", ".cache")
                            and not (top and name.startswith("build")))
        for name in sorted(names):
            path = pathlib.Path(folder) / name
            if path.is_symlink():
                continue
            try:
                yield path, path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                yield path, None


def run(*command, **more):
    """A finished process with its output, standard error included, as text."""
    return subprocess.run([str(word) for word in command], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False, **more)
