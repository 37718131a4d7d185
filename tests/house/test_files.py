# SPDX-License-Identifier: MIT
"""Lengths of files and functions, licence lines, and what must not be in the tree: names of one
machine's folders, unfinished work, binaries."""
import re

import house

FILE_LIMIT = 600
HEADER_LIMIT = 400
EXAMPLE_LIMIT = 60
LONG_EXAMPLE_LIMIT = 80  # from HTTP on
FUNCTION_LIMIT = 70

CODE = (".c", ".h", ".S", ".cpp", ".py", ".sh")
# Put together here so that this file does not hold what it looks for.
MACHINE = re.compile("(?<![A-Za-z0-9_.$}/-])/(" + "|".join(["wo" + "rk", "fa" + "rm", "ro" + "ot"]) + ")/")
UNFINISHED = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "X" + "XX"]) + r")\b")
LICENCE = "SPDX-License-Identifier: MIT"
NO_TEXT_NEEDED = ("fuzz", "tests")  # where seeds and samples may be binary


def longer_than(limit, paths):
    """Files with more lines than the limit."""
    for path, text in paths:
        count = text.count("\n")
        if count > limit:
            yield f"{path}: {count} lines, at most {limit}"


def long_functions(name, text):
    """Functions of a laid-out C file with too many lines: from the line before '{' to '}'."""
    start = None
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if line == "{" and number > 0:
            start = number
        elif line == "}" and start is not None:
            length = number - start - 1
            if length > FUNCTION_LIMIT:
                head = next((lines[at] for at in range(start - 1, -1, -1)
                             if lines[at] and not lines[at].startswith(" ")), "?")
                yield f"{name}:{start}: {length} lines, aim at {FUNCTION_LIMIT}: {head}"
            start = None


def matches(pattern, files):
    """file:line of every match."""
    for name, text in files:
        for number, line in enumerate(text.splitlines(), 1):
            if pattern.search(line):
                yield f"{name}:{number}: {line.strip()[:120]}"


everything = [(path.relative_to(house.ROOT), text) for path, text in house.text_files()]
texts = [(name, text) for name, text in everything if text is not None]
own = [(name, text) for name, text in texts if name.parts[0] != "fuzz" or "corpus" not in name.parts]
code = [(name, text) for name, text in own if name.suffix in CODE]
c_code = [(name, text) for name, text in code if name.suffix in (".c", ".h")]

planted = "/" + "wo" + "rk/x"
house.case("the patterns find what is planted", [
    f"not found: {sample}" for sample in (planted, f"cd {planted}", f'"{planted}"')
    if not MACHINE.search(sample)] + [
    f"found: {sample}" for sample in ("src/" + "wo" + "rk/x", "$HOME" + planted, "a" + planted)
    if MACHINE.search(sample)] + ([] if UNFINISHED.search("/* TO" + "DO: x */") else ["not found"]))
house.case(f"{len(code)} source files have at most {FILE_LIMIT} lines", longer_than(FILE_LIMIT, code))
house.case(f"public headers have at most {HEADER_LIMIT} lines",
           longer_than(HEADER_LIMIT, [item for item in code if item[0].parts[0] == "include"]))
examples = [item for item in c_code if item[0].parts[0] == "examples"]
short = [item for item in examples if not re.match(r"1[2-9]_", item[0].name)]
house.case(f"examples have fewer than {EXAMPLE_LIMIT} lines, from HTTP on {LONG_EXAMPLE_LIMIT}",
           list(longer_than(EXAMPLE_LIMIT - 1, short)) +
           list(longer_than(LONG_EXAMPLE_LIMIT - 1, examples)))
house.case("every source file names its licence in its first two lines",
           [name for name, text in code if LICENCE not in "\n".join(text.splitlines()[:2])])
house.case("no file names a folder of one machine", matches(MACHINE, own))
house.case("no file announces unfinished work", matches(UNFINISHED, own))
house.case("no binaries among the sources",
           [name for name, text in everything
            if text is None and name.parts[0] not in NO_TEXT_NEEDED])
# Only reported: a table of cases may be long and still be clear.
house.case("long functions are reported", [],
           [line for name, text in c_code for line in long_functions(name, text)])
house.finish()
