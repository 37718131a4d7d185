/* SPDX-License-Identifier: MIT */
#ifndef WEFT__HTTP_LOG_H
#define WEFT__HTTP_LOG_H
/*
 * Access logs (floor 5): a line a request, and a writer that no loop waits for.
 *
 * Invariants: a line never has a newline or control characters of a client's in it; it is whole,
 * and is written or dropped as a whole.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct weft__http_exchange;
struct weft__log_writer;

#define WEFT__HTTP_LINE_MAX 4096u

/* A thread that writes lines to fd, which it borrows. -EAGAIN, -ENOMEM. */
int weft__log_writer_open(struct weft__log_writer **ret, int fd);
/* Writes what is left and ends it. NULL is fine. */
void weft__log_writer_close(struct weft__log_writer *w);
/* Any thread; false: there was no room, and the line is dropped. */
bool weft__log_writer_put(struct weft__log_writer *w, const char *line, size_t len);

/* Lines that had been taken and could not be written; w may be NULL. Any thread. */
uint64_t weft__log_writer_dropped(const struct weft__log_writer *w);

/* The line of a request that is over, without a newline: its length, less than cap, which is
 * WEFT__HTTP_LINE_MAX. */
size_t weft__http_log_line(struct weft__http_exchange *x, char *buf, size_t cap);

#endif
