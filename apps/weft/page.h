/* SPDX-License-Identifier: MIT */
#ifndef WEFT_APP_PAGE_H
#define WEFT_APP_PAGE_H
/* The files of page/, as tools/embed.py makes them a part of the program. */
#include <stddef.h>

struct page_file {
    const char *pattern; /* "GET /page.js" */
    const char *type;
    const char *data;
    size_t len;
};

extern const struct page_file page_files[];
extern const size_t page_file_count;

#endif
