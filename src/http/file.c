/* SPDX-License-Identifier: MIT */
/*
 * Sends a file: validators, conditions, ranges (RFC 9110 sections 8.8, 13, 14).
 *
 * Floor 5. The file is read where it lies in the page cache. What is not there is brought by the
 * work pool: a small file as a whole, of a large one the beginning, from where the kernel reads
 * ahead of what is sent; a disk that is slower than the client can hold up the loop then.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <weft/random.h>

#include "base/error.h"
#include "http/site.h"
#include "http/static.h"
#include "net/stream.h"
#include "wire/http_field.h"

static int set(struct weft_http_response *r, const char *name, const char *value)
{
    return weft__http_set_known(r, name, value, strlen(value));
}

static int set_printed(struct weft__http_exchange *x, const char *name, const char *text)
{
    char *copy = weft__arena_text(&x->arena, text, strlen(text));
    return copy != NULL ? weft__http_set_known(&x->r, name, copy, strlen(copy)) : -ENOMEM;
}

void weft__http_tell(struct weft__http_told *ret, const struct stat *st, const char *name,
                     const char *coding)
{
    uint64_t mtime = (uint64_t)st->st_mtim.tv_sec * 1000000000u + (uint64_t)st->st_mtim.tv_nsec;
    const char *type = weft__mime_type(NULL, weft__slice_text(name));
    bool bare = strncmp(type, "text/", 5) == 0 && strchr(type, ';') == NULL;
    (void)snprintf(ret->type, sizeof ret->type, "%s%s", type, bare ? "; charset=utf-8" : "");
    (void)snprintf(ret->etag, sizeof ret->etag, "\"%llx-%llx%s%s\"", (unsigned long long)mtime,
                   (unsigned long long)st->st_size, coding != NULL ? "-" : "",
                   coding != NULL ? coding : "");
    weft_http_date_format(st->st_mtim.tv_sec, ret->modified);
}

/* What lasts as long as the exchange need not be copied. */
static int set_told(struct weft__http_exchange *x, const char *name, const char *text, bool lasts)
{
    return lasts ? set(&x->r, name, text) : set_printed(x, name, text);
}

static int set_fields(struct weft__http_exchange *x, const struct weft__http_file *f)
{
    const struct weft__http_told *told = f->told;
    struct weft__http_told made;
    bool lasts = told != NULL && f->data != NULL && f->coding == NULL;
    int err = 0;
    if (told == NULL || f->coding != NULL) {
        weft__http_tell(&made, &f->st, f->name, f->coding);
        told = &made;
    }
    if (weft__http_response_field(&x->r, "Content-Type") == NULL)
        err = set_told(x, "Content-Type", told->type, lasts);
    if (err == 0)
        err = set_told(x, "ETag", told->etag, lasts);
    if (err == 0)
        err = set_told(x, "Last-Modified", told->modified, lasts);
    if (err == 0)
        err = set(&x->r, "Accept-Ranges", "bytes");
    if (err == 0 && f->coding != NULL)
        err = set(&x->r, "Content-Encoding", f->coding);
    if (err == 0 && f->cache_control != NULL)
        err = set(&x->r, "Cache-Control", f->cache_control);
    return err;
}

/* The ranges that are wanted: how many, 0: the whole, -ERANGE. */
static int wanted(struct weft__http_exchange *x, const struct weft__http_file *f,
                  struct weft__http_range ranges[WEFT__HTTP_RANGES_MAX])
{
    const struct weft_http_request *q = &x->q;
    struct weft__slice range = weft__http_value_of(q, WEFT__HN_RANGE);
    if (range.at == NULL || q->head.method != WEFT__HTTP_GET)
        return 0;
    int64_t now = weft__http_wall_s(x->site, x->stream->loop);
    struct weft__http_conditions c = {.if_range = weft__http_value_of(q, WEFT__HN_IF_RANGE),
                                      .now_s = now};
    struct weft__http_etag tag;
    struct weft__http_validators v = {.exists = true, .modified_s = f->st.st_mtim.tv_sec};
    const struct weft_http_field *t = weft__http_response_field(&x->r, "ETag");
    if (weft__http_etag_parse(weft__slice_of(t->value, t->value_len), &tag))
        v.etag = &tag;
    if (c.if_range.at != NULL && !weft__http_if_range(&c, &v))
        return 0;
    return weft__http_range_parse(range, (uint64_t)f->st.st_size, ranges);
}

/* --- The body --------------------------------------------------------------------------------- */

/* Head and bytes [from, from + len) in one write. */
static int send_small(struct weft__http_exchange *x, int fd, off_t from, size_t len)
{
    char *buf = weft__arena_alloc(&x->arena, len);
    if (buf == NULL)
        return -ENOMEM;
    size_t got = 0;
    while (got < len) {
        ssize_t n = weft__http_read_file(x, fd, buf + got, len - got, from + (off_t)got);
        if (n < 0)
            return (int)n;
        if (n == 0) /* somebody has cut it short meanwhile */
            return weft__fail(-EIO, "the file is %zu bytes shorter than it was", len - got);
        got += (size_t)n;
    }
    x->r.no_compress = true;
    return weft__http_send_whole(x, buf, len);
}

static int send_span(struct weft__http_exchange *x, int fd, uint64_t from, uint64_t len)
{
    if (x->q.head.method != WEFT__HTTP_HEAD && len <= WEFT__HTTP_FILE_SMALL)
        return send_small(x, fd, (off_t)from, (size_t)len);
    int err = 0;
    if (x->q.head.method != WEFT__HTTP_HEAD)
        err = weft__http_read_ahead(x, fd, (off_t)from, (size_t)len);
    return err < 0 ? err : weft_http_send_fd(&x->r, fd, (off_t)from, (size_t)len);
}

static int send_range(struct weft__http_exchange *x, const struct weft__http_file *f,
                      const struct weft__http_range *range)
{
    char text[WEFT__HTTP_CONTENT_RANGE_CAP];
    (void)weft__http_content_range_format(range, (uint64_t)f->st.st_size, text);
    int err = set_printed(x, "Content-Range", text);
    x->r.status = 206;
    return err < 0 ? err : send_span(x, f->fd, range->first, range->last - range->first + 1);
}

/* The fields of one part of multipart/byteranges (RFC 9110 section 14.6). */
static size_t part_head(char buf[512], const char *boundary, const char *type,
                        const struct weft__http_range *range, uint64_t size)
{
    char text[WEFT__HTTP_CONTENT_RANGE_CAP];
    (void)weft__http_content_range_format(range, size, text);
    int n = snprintf(buf, 512, "\r\n--%s\r\nContent-Type: %s\r\nContent-Range: %s\r\n\r\n",
                     boundary, type, text);
    return (size_t)n < 512 ? (size_t)n : 511;
}

static int write_parts(struct weft__http_exchange *x, const struct weft__http_file *f,
                       const struct weft__http_range *ranges, int n, const char *boundary,
                       const char *type)
{
    char head[512];
    int err = 0;
    for (int i = 0; i < n && err == 0; i++) {
        size_t len = part_head(head, boundary, type, &ranges[i], (uint64_t)f->st.st_size);
        off_t at = (off_t)ranges[i].first;
        size_t span = (size_t)(ranges[i].last - ranges[i].first + 1);
        err = weft_http_write(&x->r, head, len, x->until);
        if (err == 0)
            err = x->cls->send_fd(x, f->fd, &at, span, x->until);
        if (err == 0)
            x->r.sent += span;
        else if (x->r.error == 0)
            x->r.error = err; /* what was announced cannot be kept */
    }
    int len = snprintf(head, sizeof head, "\r\n--%s--\r\n", boundary);
    return err < 0 ? err : weft_http_write(&x->r, head, (size_t)len, x->until);
}

static int send_ranges(struct weft__http_exchange *x, const struct weft__http_file *f,
                       const struct weft__http_range *ranges, int n)
{
    char boundary[17], head[512], text[64];
    (void)snprintf(boundary, sizeof boundary, "%016llx", (unsigned long long)weft_random_u64());
    const char *type = weft__http_response_field(&x->r, "Content-Type")->value;
    uint64_t total = 0;
    for (int i = 0; i < n; i++)
        total += part_head(head, boundary, type, &ranges[i], (uint64_t)f->st.st_size) +
                 ranges[i].last - ranges[i].first + 1;
    total += strlen("\r\n----\r\n") + strlen(boundary);
    (void)snprintf(text, sizeof text, "multipart/byteranges; boundary=%s", boundary);
    int err = set_printed(x, "Content-Type", text);
    x->r.status = 206;
    x->r.length = (int64_t)total;
    x->r.no_compress = true;
    if (err == 0)
        err = weft_http_begin(&x->r);
    return err < 0 ? err : write_parts(x, f, ranges, n, boundary, type);
}

static int refuse_range(struct weft__http_exchange *x, uint64_t size)
{
    char text[WEFT__HTTP_CONTENT_RANGE_CAP];
    weft__http_response_other(&x->r);
    (void)weft__http_content_range_format(NULL, size, text);
    int err = set_printed(x, "Content-Range", text);
    return err < 0 ? err : weft_http_error(&x->r, 416, "no such range");
}

static int send_wanted(struct weft__http_exchange *x, const struct weft__http_file *f)
{
    struct weft__http_range ranges[WEFT__HTTP_RANGES_MAX];
    uint64_t size = (uint64_t)f->st.st_size;
    int status = weft__http_conditions(x, -1);
    if (status < 0)
        return status;
    if (status != 0) {
        x->r.status = status;
        return weft__http_send_whole(x, NULL, 0);
    }
    int n = wanted(x, f, ranges);
    if (n == -ERANGE)
        return refuse_range(x, size);
    if (n == 1)
        return send_range(x, f, &ranges[0]);
    if (n == 0 && f->data != NULL) {
        x->r.no_compress = true;
        return weft__http_send_whole(x, f->data, (size_t)size);
    }
    return n > 1 ? send_ranges(x, f, ranges, n) : send_span(x, f->fd, 0, size);
}

/* What has failed leaves nothing behind: the handler may answer with something else. */
int weft__http_send_file(struct weft__http_exchange *x, const struct weft__http_file *f)
{
    struct weft_http_response *r = &x->r, before = *r;
    size_t size = before.n_fields * sizeof *r->fields;
    struct weft_http_field *fields = size > 0 ? weft__arena_alloc(&x->arena, size) : NULL;
    if (fields != NULL)
        memcpy(fields, r->fields, size);
    int err = size == 0 || fields != NULL ? set_fields(x, f) : -ENOMEM;
    if (err == 0)
        err = send_wanted(x, f);
    if (err < 0 && !r->begun) {
        if (fields != NULL)
            memcpy(r->fields, fields, size);
        r->n_fields = before.n_fields;
        r->status = before.status;
        r->length = before.length;
        r->no_compress = before.no_compress;
    }
    return err;
}
