/* SPDX-License-Identifier: MIT */
/*
 * Text that goes to people: logs, error details.
 *
 * Floor 0. Invariants: peers can put bytes of their choice into such text, so control characters
 * are replaced before it leaves the library; bytes from 0x80 up stay, for UTF-8.
 */
#ifndef WEFT__BASE_TEXT_H
#define WEFT__BASE_TEXT_H

/* Replaces every control character of a string by '?'. */
static inline void weft__text_make_printable(char *text)
{
    for (char *p = text; *p != '\0'; p++) {
        unsigned char c = (unsigned char)*p;
        if (c < 0x20 || c == 0x7f)
            *p = '?';
    }
}

#endif
