# SPDX-License-Identifier: MIT
"""What is to be fetched ahead is: the optimiser has left the prefetches where they stand.

gcc takes a function that does nothing but prefetch for one without effects and may drop its calls
(ipa-modref), which nothing but the time would tell."""
import shutil

import house

COMPILERS = ["gcc", "clang"]
FLAGS = ["-O2", "-x", "c", "-std=gnu17", "-D_GNU_SOURCE", "-DWEFT_DEBUG=0", "-DWEFT_HAVE_VALGRIND=0",
         "-DWEFT_UCONTEXT=0", "-I", house.ROOT / "include", "-I", house.ROOT / "src"]
CALLS = ["weft__op_fetch(next)", "weft__op_fetch_near(next)", "weft__fetch(next, 1)"]
INSTRUCTIONS = ("prefetch", "prfm")  # x86-64, aarch64
# As the drivers do it: while one operation ends, the next is fetched, if there is one.
TEXT = """
#include "sys/sys.h"
void end_all(struct weft__op **ops, unsigned n);
static inline void ahead(struct weft__op **ops, unsigned n)
{
    const struct weft__op *next = n > 1 ? ops[1] : NULL;
    if (next != NULL)
        CALL;
}
void end_all(struct weft__op **ops, unsigned n)
{
    for (; n > 0; n--, ops++) {
        ahead(ops, n);
        ops[0]->done(ops[0]);
    }
}
"""


def fetches(compiler, call):
    """Complaints about a loop that is to fetch by this call."""
    done = house.run(compiler, *FLAGS, "-S", "-o", "-", "-", input=TEXT.replace("CALL", call))
    if done.returncode != 0:
        yield f"{call}: {done.stdout}"
    elif not any(word in done.stdout for word in INSTRUCTIONS):
        yield f"{call} fetches nothing"


for name in COMPILERS:
    if not shutil.which(name):
        house.skip(f"prefetches, {name}", f"there is no {name}")
        continue
    house.case(f"a loop that fetches nothing is found, {name}",
               [] if list(fetches(name, "(void)next")) else ["it was not"])
    house.case(f"prefetches, {name}",
               [said for call in CALLS for said in fetches(name, call)])
house.finish()
