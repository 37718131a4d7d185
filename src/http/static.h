/* SPDX-License-Identifier: MIT */
#ifndef WEFT__HTTP_STATIC_H
#define WEFT__HTTP_STATIC_H
/*
 * Files as responses (floor 5): static.c finds them below a directory, file.c sends them, with
 * conditions and ranges, listing.c shows what a directory has.
 */
#include <sys/stat.h>

#include "http/exchange.h"

/* A file up to this is read and leaves together with the head; a larger one by sendfile. */
#define WEFT__HTTP_FILE_SMALL 16384u

/* The fields that tell of a file. */
struct weft__http_told {
    char type[128];
    char etag[64];
    char modified[WEFT_HTTP_DATE_SIZE];
};

/* What is known of a file that is to be sent. fd stays the caller's. */
struct weft__http_file {
    int fd;
    struct stat st;
    const char *name;   /* by which its type is told */
    const char *coding; /* it is compressed already: "br", "gzip"; NULL: it is as it is */
    const char *cache_control;
    const struct weft__http_told *told; /* NULL: to be made */
    const char *data; /* all of it, which lasts, as does `told`, as long as the exchange; NULL: to
                       * be read */
};

void weft__http_tell(struct weft__http_told *ret, const struct stat *st, const char *name,
                     const char *coding);

/*
 * disk.c. These wait, where the file is not in memory: in a task for a thread of the work pool, and
 * are cancellation points there; elsewhere for the disk.
 *
 * Opens for reading: a descriptor, the caller's, or < 0. beneath: nothing outside of dirfd is
 * reached.
 */
int weft__http_open(struct weft__http_exchange *x, int dirfd, const char *path, bool beneath);
/* Whether paths can be opened beneath dirfd: 0, or as openat2(2), which some kernels and filters of
 * system calls do not have. */
int weft__http_open_works(int dirfd);
/* As pread(2). buf lives as long as the call. */
ssize_t weft__http_read_file(struct weft__http_exchange *x, int fd, void *buf, size_t len,
                             off_t at);
/* The same, as far as it is in memory: -EAGAIN, and nothing is waited for. */
ssize_t weft__http_read_now(int fd, void *buf, size_t len, off_t at);
/* Before sendfile: when this returns, the file's first bytes from at on are in memory. 0, or the
 * cancel or time-out of the wait. */
int weft__http_read_ahead(struct weft__http_exchange *x, int fd, off_t at, size_t len);

/* How many files of one directory a worker keeps open, and for how long without asking for the path
 * again; it is also the name of the cache. */
struct weft__http_keep {
    int max; /* 0: none */
    int64_t for_ns;
};
struct weft__http_kept;
struct weft__http_opened {
    int fd;
    struct stat st;
    struct weft__http_kept *kept;       /* whose fd it is; NULL: our own */
    const struct weft__http_told *told; /* the kept one's; else NULL */
};
/* Opens a path beneath dirfd, or takes what is kept (opened.c). 0, and to be put back; or as
 * weft__http_open. */
int weft__http_opened_get(struct weft__http_exchange *x, const struct weft__http_keep *keep,
                          int dirfd, const char *path, struct weft__http_opened *ret);
/* Takes what is kept, if it is. Does not wait. */
bool weft__http_opened_kept(struct weft__http_exchange *x, const struct weft__http_keep *keep,
                            const char *path, struct weft__http_opened *ret);
/* All bytes of a small one that is kept, if they are in memory: those that were read for
 * a request of the same moment, or read now. Valid until it is put back. NULL: to be read
 * otherwise. Does not wait.
 */
const char *weft__http_opened_bytes(const struct weft__http_exchange *x,
                                    const struct weft__http_opened *o);
void weft__http_opened_put(struct weft__http_opened *o);

int weft__http_send_file(struct weft__http_exchange *x, const struct weft__http_file *f);

/* Answers with a listing of the directory dirfd, which it takes. */
int weft__http_send_listing(struct weft__http_exchange *x, int dirfd, bool hidden);

#endif
