# SPDX-License-Identifier: MIT
"""Makes C of the files of a page: an array of struct page_file (apps/weft/page.h).

usage: embed.py OUTPUT FILE...
"""
import pathlib
import sys

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}


def main():
    output, *files = [pathlib.Path(a) for a in sys.argv[1:]]
    parts = ["/* Made by tools/embed.py. */\n", '#include "page.h"\n\n']
    rows = []
    for i, file in enumerate(files):
        data = file.read_bytes()
        path = "/" if file.name == "index.html" else f"/{file.name}"
        parts.append(f"static const unsigned char file_{i}[] = {{")
        for at in range(0, len(data), 20):
            parts.append("\n    " + "".join(f"{b}," for b in data[at:at + 20]))
        parts.append("\n};\n\n")
        rows.append(f'    {{"GET {path}", "{TYPES[file.suffix]}", (const char *)file_{i}, '
                    f"sizeof(file_{i})}},\n")
    parts.append("const struct page_file page_files[] = {\n" + "".join(rows) + "};\n")
    parts.append(f"const size_t page_file_count = {len(rows)};\n")
    output.write_text("".join(parts))


main()
