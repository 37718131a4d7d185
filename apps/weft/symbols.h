/* SPDX-License-Identifier: MIT */
#ifndef WEFT_APP_SYMBOLS_H
#define WEFT_APP_SYMBOLS_H
/*
 * Names for the frames of backtraces, asked of addr2line(1) where it is installed.
 *
 * Floor 6. Invariants: a frame is a word of the form /path/of/module+0xOFFSET; what cannot be
 * resolved stays as it was; each module is asked for all of its frames at once.
 */
#include <stddef.h>

/*
 * Prints the text to stdout with its frames resolved: "NAME [MODULE+0xOFFSET]" becomes "FUNCTION
 * (FILE:LINE)", with a line more for each function that it was inlined into. The text ends in a
 * NUL, which len does not count. It may wait.
 */
void symbols_print(const char *text, size_t len);

#endif
