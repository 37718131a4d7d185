# SPDX-License-Identifier: MIT
"""Every #include keeps to the floors: a file includes only from its own floor or below."""
import pathlib
import re
import tempfile

import house

# Floors by folder. A folder of src/ that is not named here is an error: give it its floor.
FLOORS = {
    "base": 0, "wire": 0,
    "sys": 1,
    "rt": 2,
    "net": 3,
    "tls": 4, "dns": 4, "sim": 4, "dial": 4,
    "http": 5, "ws": 5,
}
PROGRAMS = ["apps", "examples", "bench"]  # floor 6

# How operations reach the kernel is the drivers' business alone.
DRIVERS_ONLY = re.compile(r"sys/epoll\.h|liburing\.h|liburing/.*|linux/io_uring\.h")

INCLUDE = re.compile(r"^[ \t]*#[ \t]*include[ \t]*([<\"])([^>\"]+)[>\"]", re.MULTILINE)


def includes(path):
    """(line number, '<' or '"', name) of every #include."""
    text = path.read_text(encoding="utf-8")
    for match in INCLUDE.finditer(text):
        yield text.count("\n", 0, match.start()) + 1, match.group(1), match.group(2)


def check_library_file(root, path):
    """Problems of one file in src/."""
    source = root / "src"
    folder = path.relative_to(source).parts[0]
    if folder not in FLOORS:
        yield f"{path.relative_to(root)}: the folder src/{folder} has no floor"
        return
    for line, kind, name in includes(path):
        where = f"{path.relative_to(root)}:{line}"
        if kind == "<":
            if DRIVERS_ONLY.fullmatch(name) and folder != "sys":
                yield f"{where}: only src/sys may include <{name}>"
            if name == "weft/weft.h":
                yield f"{where}: the library includes the headers that it needs, not <weft/weft.h>"
            continue
        if not (source / name).is_file():
            yield f'{where}: "{name}" is not a file below src/'
            continue
        target = pathlib.PurePath(name).parts[0]
        if target not in FLOORS:
            yield f"{where}: the folder src/{target} has no floor"
        elif FLOORS[target] > FLOORS[folder]:
            yield (f'{where}: floor {FLOORS[folder]} ({folder}) includes "{name}" of floor '
                   f"{FLOORS[target]}")


def check_public_header(root, path):
    """Problems of one file in include/weft/."""
    for line, kind, name in includes(path):
        where = f"{path.relative_to(root)}:{line}"
        if kind == '"':
            yield f'{where}: a public header includes "{name}"'
        elif DRIVERS_ONLY.fullmatch(name):
            yield f"{where}: a public header includes <{name}>"
        elif name.startswith("weft/") and not (root / "include" / name).is_file():
            yield f"{where}: <{name}> is not a public header"


def check_program_file(root, path):
    """Problems of one file in apps/, examples/ or bench/."""
    for line, kind, name in includes(path):
        where = f"{path.relative_to(root)}:{line}"
        if kind == '"':
            target = (path.parent / name).resolve()
            if ".." in pathlib.PurePath(name).parts or not target.is_file():
                yield f'{where}: "{name}" is not of this program; only <weft/...> is public'
        elif DRIVERS_ONLY.fullmatch(name):
            yield f"{where}: only src/sys may include <{name}>"
        elif name.startswith("weft/") and not (root / "include" / name).is_file():
            yield f"{where}: <{name}> is not a public header"


def problems_of(root):
    """All problems of a tree, and the number of files read."""
    problems = []
    count = 0
    endings = (".c", ".h", ".S")
    for path in house.c_files(root, ["src"], endings):
        problems += check_library_file(root, path)
        count += 1
    for path in house.c_files(root, ["include"]):
        problems += check_public_header(root, path)
        count += 1
    for path in house.c_files(root, PROGRAMS, endings):
        # The benchmark's peers are other libraries' programs, raw epoll among them; bench/wire
        # measures parsers that are not public.
        if path.relative_to(root).parts[:2] in (("bench", "peers"), ("bench", "wire")):
            continue
        problems += check_program_file(root, path)
        count += 1
    return problems, count


# What a checker must find is planted in a small tree: file, its text, a part of the complaint.
PLANTED = [
    ("src/base/up.c", '#include "sys/sys.h"\n', 'floor 0 (base) includes "sys/sys.h" of floor 1'),
    ("src/wire/up.c", '  #  include "rt/rt.h"\n', "floor 0 (wire)"),
    ("src/sys/up.h", '#include "rt/rt.h"\n', "of floor 2"),
    ("src/rt/up.c", '#include "net/net.h"\n', "of floor 3"),
    ("src/rt/kernel.c", "#include <sys/epoll.h>\n", "only src/sys may include <sys/epoll.h>"),
    ("src/net/kernel.c", "#include <liburing.h>\n", "only src/sys may include <liburing.h>"),
    ("src/net/kernel.h", "#include <linux/io_uring.h>\n", "<linux/io_uring.h>"),
    ("src/net/all.c", "#include <weft/weft.h>\n", "not <weft/weft.h>"),
    ("src/rt/relative.c", '#include "rt_local.h"\n', "is not a file below src/"),
    ("src/cellar/new.c", "int x;\n", "has no floor"),
    ("include/weft/inside.h", '#include "base/base.h"\n', "a public header includes"),
    ("apps/weft/inside.c", '#include "rt/rt.h"\n', "is not of this program"),
    ("examples/inside.c", '#include "../src/rt/rt.h"\n', "is not of this program"),
    ("bench/kernel.c", "#include <liburing.h>\n", "only src/sys"),
    ("examples/missing.c", "#include <weft/nothing.h>\n", "is not a public header"),
]
SOUND = [
    ("src/base/base.h", "#include <weft/base.h>\n"),
    ("src/sys/sys.h", '#include "base/base.h"\n'),
    ("src/sys/uring.c", '#include "sys/sys.h"\n#include <liburing.h>\n'),
    ("src/rt/rt.h", '#include "sys/sys.h"\n'),
    ("src/net/net.h", '#include "rt/rt.h"\n#include "base/base.h"\n'),
    ("include/weft/base.h", "#include <stddef.h>\n"),
    ("include/weft/weft.h", "#include <weft/base.h>\n"),
    ("apps/weft/main.c", '#include "main.h"\n#include <weft/weft.h>\n'),
    ("apps/weft/main.h", "/* */\n"),
    ("bench/peers/raw.c", "#include <sys/epoll.h>\n"),
    ("bench/wire/parse.c", '#include "wire/http1.h"\n'),
]


def planted_tree(root, more):
    """Writes a sound tree and some files more."""
    for name, text, *_ in [*SOUND, *more]:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def self_test():
    """Complaints about the checker itself."""
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        planted_tree(root, [])
        found, _ = problems_of(root)
        for problem in found:
            yield f"a sound tree was blamed: {problem}"
    for name, text, complaint in PLANTED:
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            planted_tree(root, [(name, text)])
            found, _ = problems_of(root)
            if len(found) != 1 or name not in found[0] or complaint not in found[0]:
                yield f"planted in {name}: wanted one '{complaint}', got {found}"


house.case("the checker finds each planted violation, and nothing in a sound tree", self_test())
all_problems, files = problems_of(house.ROOT)
if files == 0:
    all_problems.append("no files were found")
house.case(f"{files} files keep to their floors", all_problems)
house.finish()
