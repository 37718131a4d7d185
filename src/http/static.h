/* SPDX-License-Identifier: MIT */
#ifndef WEFT__HTTP_STATIC_H
#define WEFT__HTTP_STATIC_H
/*
 * Files as responses (floor 5): static.c finds them below a directory, file.c sends them, with
 * conditions and ranges, listing.c shows what a directory has.
 */
#include <sys/stat.h>

#include "http/exchange.h"

/* What is known of a file that is to be sent. fd stays the caller's. */
struct weft__http_file {
    int fd;
    struct stat st;
    const char *name;   /* by which its type is told */
    const char *coding; /* it is compressed already: "br", "gzip"; NULL: it is as it is */
    const char *cache_control;
};

int weft__http_send_file(struct weft__http_exchange *x, const struct weft__http_file *f);

/* Answers with a listing of the directory dirfd, which it takes. */
int weft__http_send_listing(struct weft__http_exchange *x, int dirfd, bool hidden);

#endif
