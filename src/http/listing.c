/* SPDX-License-Identifier: MIT */
/* A directory as a page of links. Floor 5. At most ENTRIES_MAX names are shown. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/buffer.h"
#include "http/static.h"
#include "sys/call.h"
#include "wire/http_field.h"

#define ENTRIES_MAX 10000u
#define PAGE_MAX ((size_t)8 << 20)

struct entry {
    char *name;
    bool is_dir;
    off_t size;
    time_t modified;
};

struct entries {
    struct entry *all;
    size_t n, cap;
    bool more;
};

static void entries_free(struct entries *e)
{
    for (size_t i = 0; i < e->n; i++)
        weft__free(e->all[i].name);
    weft__free(e->all);
}

static int compare(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->is_dir != y->is_dir)
        return x->is_dir ? -1 : 1;
    return strcmp(x->name, y->name);
}

static int add(struct entries *e, const char *name, const struct stat *st)
{
    if (e->n == e->cap) {
        size_t cap = e->cap > 0 ? 2 * e->cap : 64;
        struct entry *more = weft__realloc(e->all, cap * sizeof *more);
        if (more == NULL)
            return -ENOMEM;
        e->all = more;
        e->cap = cap;
    }
    char *copy = weft__strdup(name);
    if (copy == NULL)
        return -ENOMEM;
    e->all[e->n++] = (struct entry){.name = copy,
                                    .is_dir = S_ISDIR(st->st_mode),
                                    .size = st->st_size,
                                    .modified = st->st_mtim.tv_sec};
    return 0;
}

static int read_entries(DIR *dir, bool hidden, struct entries *e)
{
    struct dirent *d;
    int err = 0;
    while (err == 0 && (d = readdir(dir)) != NULL) {
        struct stat st;
        if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0 ||
            (d->d_name[0] == '.' && !hidden))
            continue;
        if (e->n == ENTRIES_MAX) {
            e->more = true;
            break;
        }
        if (fstatat(dirfd(dir), d->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            (S_ISDIR(st.st_mode) || S_ISREG(st.st_mode)))
            err = add(e, d->d_name, &st);
    }
    if (e->n > 0)
        qsort(e->all, e->n, sizeof e->all[0], compare);
    return err;
}

static int put(struct weft__buffer *b, const char *text)
{
    return weft__buffer_append(b, text, strlen(text));
}

/* Text of a page: what would be markup stands for itself. */
static int put_html(struct weft__buffer *b, const char *text)
{
    int err = 0;
    for (; *text != '\0' && err == 0; text++) {
        switch (*text) {
        case '<':
            err = put(b, "&lt;");
            break;
        case '>':
            err = put(b, "&gt;");
            break;
        case '&':
            err = put(b, "&amp;");
            break;
        case '"':
            err = put(b, "&quot;");
            break;
        default:
            err = weft__buffer_append(b, text, 1);
        }
    }
    return err;
}

static int put_entry(struct weft__buffer *b, const struct entry *e)
{
    char href[3 * 256 + 1], more[96], when[32];
    struct tm tm;
    ssize_t n = weft__percent_encode(weft__slice_text(e->name), "", href, sizeof href - 1);
    if (n < 0)
        return 0;
    href[n] = '\0';
    gmtime_r(&e->modified, &tm);
    strftime(when, sizeof when, "%Y-%m-%d %H:%M", &tm);
    if (e->is_dir)
        (void)snprintf(more, sizeof more, "</a></td><td>%s</td><td></td></tr>\n", when);
    else
        (void)snprintf(more, sizeof more, "</a></td><td>%s</td><td>%lld</td></tr>\n", when,
                       (long long)e->size);
    int err = put(b, "<tr><td><a href=\"");
    if (err == 0)
        err = put(b, href);
    if (err == 0)
        err = put(b, e->is_dir ? "/\">" : "\">");
    if (err == 0)
        err = put_html(b, e->name);
    if (err == 0 && e->is_dir)
        err = put(b, "/");
    return err < 0 ? err : put(b, more);
}

static int put_page(struct weft__buffer *b, const char *path, const struct entries *e)
{
    int err = put(b, "<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"><title>");
    if (err == 0)
        err = put_html(b, path);
    if (err == 0)
        err = put(b, "</title><style>td{padding-right:2em}td:last-child{text-align:right}</style>"
                     "</head><body><h1>");
    if (err == 0)
        err = put_html(b, path);
    if (err == 0)
        err = put(b, "</h1><table>\n");
    if (err == 0 && strcmp(path, "/") != 0)
        err = put(b, "<tr><td><a href=\"../\">../</a></td><td></td><td></td></tr>\n");
    for (size_t i = 0; i < e->n && err == 0; i++)
        err = put_entry(b, &e->all[i]);
    if (err == 0 && e->more)
        err = put(b, "<tr><td>and more</td><td></td><td></td></tr>\n");
    return err < 0 ? err : put(b, "</table></body></html>\n");
}

int weft__http_send_listing(struct weft__http_exchange *x, int fd, bool hidden)
{
    struct entries e = {0};
    struct weft__buffer b;
    DIR *dir = fdopendir(fd);
    if (dir == NULL) {
        weft__call_close(fd);
        return -ENOMEM;
    }
    weft__buffer_init(&b, PAGE_MAX);
    int err = read_entries(dir, hidden, &e);
    (void)closedir(dir);
    const char *path = weft_http_path(&x->q);
    if (err == 0)
        err = path != NULL ? put_page(&b, path, &e) : -ENOMEM;
    if (err == 0)
        err = weft_http_send(&x->r, 200, "text/html; charset=utf-8", weft__buffer_data(&b),
                             weft__buffer_len(&b));
    weft__buffer_fini(&b);
    entries_free(&e);
    return err;
}
