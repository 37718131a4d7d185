# SPDX-License-Identifier: MIT
"""What `make install` puts into a prefix is enough to build and run programs, and no more is
visible than should be."""
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

import house

PROGRAM = """\
#include <weft/weft.h>

#include <stdio.h>
#include <string.h>

static int say(void *arg)
{
    *(int *)arg = 1;
    return 0;
}

int main(void)
{
    int ran = 0;
    int r = weft_run(NULL, say, &ran);
    printf("%d %d %d\\n", r, ran, strcmp(weft_version(), WEFT_VERSION));
    return 0;
}
"""


def version():
    """The project's version, as meson.build has it."""
    text = (house.ROOT / "meson.build").read_text(encoding="utf-8")
    return re.search(r"^\s*version: '([^']+)'", text, re.MULTILINE).group(1)


def output(*command, **more):
    """Standard output; a command that fails is an exception that carries all it printed."""
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, check=False, **more)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: exit status {done.returncode}\n"
                           + done.stdout + done.stderr)
    return done.stdout


def check(name, function, *arguments):
    """One case; an exception is its problem."""
    try:
        house.case(name, function(*arguments))
    except (RuntimeError, OSError) as error:
        house.case(name, [str(error)])


def build_and_run(folder, env, prefix, static):
    """Complaints about a program that is built as a user would."""
    source = folder / "program.c"
    source.write_text(PROGRAM, encoding="utf-8")
    program = folder / ("static" if static else "shared")
    flags = output("pkg-config", "--cflags", "--libs", *(["--static"] if static else []), "weft",
                   env=env).split()
    # The archive by name: with both kinds in one folder the linker prefers the shared library.
    if static:
        flags = ["-l:libweft.a" if flag == "-lweft" else flag for flag in flags]
    output("gcc", "-std=c17", "-Wall", "-Wextra", "-Werror", source, "-o", program, *flags, env=env)
    needs = "libweft.so" in output("ldd", program, env=env)
    if needs == static:
        yield f"the program {'needs' if needs else 'does not need'} libweft.so"
    run_env = env if static else {**env, "LD_LIBRARY_PATH": str(library_folder(prefix))}
    said = output(program, env=run_env)
    if said != "0 1 0\n":
        yield f"the program printed {said!r}"


def check_archive(prefix):
    """Complaints about libweft.a: what one compiler noted for itself would make others fail."""
    sections = output("readelf", "--section-headers", "--wide", library_folder(prefix) / "libweft.a")
    if ".text" not in sections:
        yield "it has no code"
    if ".gnu.lto_" in sections or ".gnu.debuglto_" in sections:
        yield "it has sections for link-time optimisation"


def library_folder(prefix):
    """Where libweft.so is below a prefix; the distribution decides."""
    found = sorted(prefix.glob("lib*/**/libweft.so"))
    if len(found) != 1:
        raise RuntimeError(f"{len(found)} libweft.so below {prefix}")
    return found[0].parent


def check_soname(prefix):
    """Complaints about names and links of the shared library."""
    library = library_folder(prefix) / "libweft.so"
    major = version().split(".", maxsplit=1)[0]
    if f"[libweft.so.{major}]" not in output("readelf", "-d", library):
        yield f"the soname is not libweft.so.{major}"
    if library.resolve().name != f"libweft.so.{version()}":
        yield f"libweft.so leads to {library.resolve().name}"
    if (library.parent / f"libweft.so.{major}").resolve() != library.resolve():
        yield f"libweft.so.{major} leads elsewhere"


def check_symbols(prefix):
    """Complaints about what the shared library exports, and what it declares and lacks."""
    names = {line.split()[-1].split("@")[0] for line in output(
        "nm", "-D", "--defined-only", library_folder(prefix) / "libweft.so").splitlines()}
    for name in sorted(names):
        if not name.startswith("weft_") or name.startswith("weft__"):
            yield f"exported: {name}"
    declared = set()
    for header in (prefix / "include" / "weft").glob("*.h"):
        text = re.sub(r"/\*.*?\*/", "", header.read_text(encoding="utf-8"), flags=re.DOTALL)
        for statement in re.findall(r"WEFT_API\b([^;{]*)", text):
            found = re.search(r"\b(weft_[a-z0-9_]+)\s*\(", statement)
            if found:
                declared.add(found.group(1))
    for name in sorted(declared - names):
        yield f"declared in a public header and not in the library: {name}"
    for name in sorted(names - declared):
        if not name.startswith("weft__"):
            yield f"in the library and not declared in a public header: {name}"


def check_files(prefix):
    """Complaints about files that are missing or should not be there."""
    wanted = [f"include/weft/{path.name}" for path in (house.ROOT / "include/weft").glob("*.h")]
    pages = sorted((house.ROOT / "man").glob("*.[1-8]"))
    wanted += [f"share/man/man{path.suffix[1]}/{path.name}" for path in pages]
    wanted += ["bin/weft"]
    for name in sorted(wanted):
        if not (prefix / name).exists():
            yield f"not installed: {name}"
    if not any(path.suffix == ".1" for path in pages):
        yield "there is no manual page for the program"
    if not any(path.suffix in (".3", ".7") for path in pages):
        yield "there is no manual page for the library"
    for path in sorted(prefix.rglob("*")):
        name = str(path.relative_to(prefix))
        if path.is_file() and name not in wanted and not re.search(
                r"libweft\.(a|so(\.[0-9.]+)?)$|pkgconfig/weft\.pc$", name):
            yield f"installed without need: {name}"


def check_manual(prefix):
    """Complaints of man itself about the pages."""
    if not shutil.which("man"):
        return
    for page in sorted((prefix / "share" / "man").rglob("*.[1-8]")):
        done = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", str(page)],
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                              check=False, env={**os.environ, "MANWIDTH": "100", "LC_ALL": "C.UTF-8"})
        if done.returncode != 0 or done.stderr:
            yield f"{page.name}: {done.stderr or done.returncode}"


def check_program(prefix):
    """Complaints about the installed program."""
    said = output(prefix / "bin" / "weft", "--version")
    if version() not in said:
        yield f"weft --version printed {said!r}"


def main():
    """Installs into a temporary prefix with a build of its own, as a user would."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        prefix = folder / "prefix"
        plain = {key: value for key, value in os.environ.items()
                 if key not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "DESTDIR")}
        # It is looked at what is installed, not how fast that is.
        soon = {**plain, "CFLAGS": f"{plain.get('CFLAGS', '')} -O0 -Wno-cpp"}
        done = house.run("make", "-C", house.ROOT, "install", f"PREFIX={prefix}",
                         f"BUILD={folder / 'build'}", env=soon)
        house.case("make install", [done.stdout] if done.returncode else [])
        if done.returncode:
            house.finish()
        packages = sorted(prefix.rglob("weft.pc"))
        house.case("pkg-config's file is there", [] if len(packages) == 1 else [packages])
        env = {**plain, "PKG_CONFIG_PATH": str(packages[0].parent) if packages else ""}
        check("files, none missing and none too many", check_files, prefix)
        check("soname and links", check_soname, prefix)
        check("symbols: weft_ only, all that is declared", check_symbols, prefix)
        check("a program with the shared library", build_and_run, folder, env, prefix, False)
        check("libweft.a is for every compiler", check_archive, prefix)
        check("a program with the static library", build_and_run, folder, env, prefix, True)
        check("the installed program runs", check_program, prefix)
        check("man accepts the pages", check_manual, prefix)
    house.finish()


main()
