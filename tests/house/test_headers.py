# SPDX-License-Identifier: MIT
"""Each header compiles alone: the public ones as C17 and C++17 with both compilers, the internal
ones as the library is compiled."""
import concurrent.futures
import os
import shutil
import tempfile

import house

STRICT = ["-Wall", "-Wextra", "-Wundef", "-pedantic", "-Werror"]
STRICT_C = [*STRICT, "-Wshadow", "-Wstrict-prototypes"]
INCLUDE = ["-I", house.ROOT / "include"]
WAYS = [
    ("gcc, C17", ["gcc", "-x", "c", "-std=c17", *STRICT_C]),
    ("clang, C17", ["clang", "-x", "c", "-std=c17", *STRICT_C]),
    ("g++, C++17", ["g++", "-x", "c++", "-std=c++17", *STRICT]),
    ("clang++, C++17", ["clang++", "-x", "c++", "-std=c++17", *STRICT]),
]
INTERNAL = ["gcc", "-x", "c", "-std=gnu17", "-D_GNU_SOURCE", "-DWEFT_DEBUG=1",
            "-DWEFT_HAVE_VALGRIND=0", "-DWEFT_UCONTEXT=0", "-Wall", "-Wextra", "-Wundef", "-Werror",
            "-I", house.ROOT / "src"]


def compiles(command, line):
    """What the compiler says of a file that holds this line; empty if it accepts it."""
    # Twice: a header must have its guard. A declaration after it: no header may leave one open.
    text = f"{line}\n{line}\nextern int weft_after_header;\n"
    done = house.run(*command, *INCLUDE, "-fsyntax-only", "-", input=text)
    return "" if done.returncode == 0 else done.stdout or f"exit status {done.returncode}"


def check(name, command, lines):
    """One case: all these lines, each in a file of its own."""
    if not shutil.which(command[0]):
        house.skip(name, f"there is no {command[0]}")
        return
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda line: (line, compiles(command, line)), lines)
        problems = [f"{line}: {said}" for line, said in results if said]
    if not lines:
        problems.append("no headers were found")
    house.case(name, problems)


def self_test():
    """Complaints about the check itself: bad headers must not pass."""
    for what, text in [("a missing include", "size_t weft_x(void);"),
                       ("no guard", "struct weft_x { int a; };"),
                       ("a GNU extension", "#pragma once\nstruct weft_x { int a; int none[0]; };")]:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "planted.h")
            with open(path, "w", encoding="utf-8") as file:
                file.write(text + "\n")
            for name, command in WAYS[:1]:
                if shutil.which(command[0]) and not compiles(command, f'#include "{path}"'):
                    yield f"{name} accepted {what}"


PUBLIC = house.c_files(folders=["include"])
NAMES = [path.relative_to(house.ROOT / "include") for path in PUBLIC]

house.case("a bad header is refused", self_test())
for way, words in WAYS:
    check(f"public headers, {way}", words, [f"#include <{name}>" for name in NAMES])
check("internal headers", INTERNAL,
      [f'#include "{path.relative_to(house.ROOT / "src")}"'
       for path in house.c_files(folders=["src"], endings=(".h",))])

umbrella = house.ROOT / "include" / "weft" / "weft.h"
included = umbrella.read_text(encoding="utf-8") if umbrella.exists() else ""
house.case("<weft/weft.h> includes all public headers",
           [f"{name} is missing" for name in NAMES
            if name.name != "weft.h" and f"#include <{name}>" not in included])
house.finish()
