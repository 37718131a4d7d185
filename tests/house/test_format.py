# SPDX-License-Identifier: MIT
"""The C files are laid out as .clang-format says."""
import shutil
import tempfile
import os

import house


def complaints(*paths):
    """What clang-format would change, one line a file."""
    done = house.run("clang-format", "--dry-run", "-Werror", "--ferror-limit=1",
                     f"--style=file:{house.ROOT / '.clang-format'}", *paths)
    return sorted({line.split(":")[0].replace(str(house.ROOT) + "/", "")
                   for line in done.stdout.splitlines() if "clang-format-violations" in line}
                  or ({done.stdout} if done.returncode else set()))


if not shutil.which("clang-format"):
    house.skip("layout", "there is no clang-format")
    house.finish()
with tempfile.TemporaryDirectory() as folder:
    planted = os.path.join(folder, "planted.c")
    with open(planted, "w", encoding="utf-8") as file:
        file.write("int  weft_x;\n")
    house.case("a badly laid out file is refused", [] if complaints(planted) else ["accepted"])
files = house.c_files()
house.case(f"{len(files)} C files are laid out (if not: make format)",
           complaints(*files) if files else ["no files were found"])
house.finish()
