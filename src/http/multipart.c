/* SPDX-License-Identifier: MIT */
/*
 * multipart/form-data as it comes: parts one after the other, their bytes in pieces.
 *
 * Floor 5. The parser wants its bytes in one window, and a body brings them in pieces of its own:
 * so they go through a buffer, whose size does not depend on that of the parts.
 */
#include "wire/multipart.h"

#include <errno.h>
#include <string.h>

#include <weft/file.h>

#include "base/alloc.h"
#include "base/error.h"
#include "http/exchange.h"
#include "wire/http_field.h"

#define READ_SIZE 16384u
#define TYPE_MAX 256u

struct weft__http_multipart {
    struct weft__multipart m;
    char *buf;
    size_t start, len, cap; /* what is there to be parsed */
    size_t done;            /* of it, used once `piece` is taken */
    struct weft__slice piece;
    bool in_part, ended;
    int error;
    char name[256], filename[256], type[TYPE_MAX];
};

void weft__http_multipart_free(struct weft__http_multipart *p)
{
    if (p != NULL)
        weft__free(p->buf);
    weft__free(p);
}

int weft_http_multipart(struct weft_http_request *q, const struct weft_http_multipart_options *o)
{
    static const struct weft_http_multipart_options none;
    struct weft__http_exchange *x = weft__http_of_q(q);
    char boundary[WEFT__MULTIPART_BOUNDARY];
    size_t len;
    bool form;
    if (o == NULL)
        o = &none;
    if (q->multipart != NULL)
        return weft__fail(-EALREADY, "the parts are being read already");
    if (!weft__multipart_boundary(weft__http_value_of(q, WEFT__HN_CONTENT_TYPE), &form, boundary,
                                  &len) ||
        !form)
        return weft__fail(-EINVAL, "the body is no multipart/form-data with a boundary");
    struct weft__multipart_limits limits = {
        .parts = (uint32_t)(o->parts_max > 0 ? o->parts_max : 100),
        .head = (uint32_t)(o->head_max > 0 ? o->head_max : 8192),
        .part = o->part_max > 0 ? o->part_max : x->stream_max};
    struct weft__http_multipart *p = weft__calloc(1, sizeof *p);
    if (p == NULL)
        return -ENOMEM;
    int err = weft__multipart_init(&p->m, weft__slice_of(boundary, len), true, &limits);
    p->cap = err == 0 ? weft__multipart_window(&p->m) + READ_SIZE : 0;
    if (err == 0 && (p->buf = weft__alloc(p->cap)) == NULL)
        err = -ENOMEM;
    if (err < 0)
        weft__http_multipart_free(p);
    else
        q->multipart = p;
    return err;
}

static void drop(struct weft__http_multipart *p, size_t n)
{
    p->start += n;
    p->len -= n;
}

/* More bytes behind what is there. */
static int fill(struct weft_http_request *q, struct weft__http_multipart *p, weft_deadline d)
{
    if (p->start > 0 && p->len > 0)
        memmove(p->buf, p->buf + p->start, p->len);
    p->start = 0;
    ssize_t n = weft_http_read(q, p->buf + p->len, p->cap - p->len, d);
    if (n == 0)
        return weft__http_body_failed(
            weft__http_of_q(q), weft__multipart_complete(&p->m) < 0 ? WEFT_EPROTOCOL : WEFT_EEOF);
    if (n > 0)
        p->len += (size_t)n;
    return n < 0 ? (int)n : 0;
}

/* The next event of the parser: > 0, or < 0. What it is about is dropped with the next call. */
static int next_event(struct weft_http_request *q, struct weft__http_multipart *p, weft_deadline d)
{
    drop(p, p->done);
    p->done = 0;
    for (;;) {
        size_t used = 0;
        int event = weft__multipart_next(&p->m, p->buf + p->start, p->len, &used);
        if (event < 0)
            return p->error = weft__http_body_failed(
                       weft__http_of_q(q), p->m.error.status == 413 ? -EMSGSIZE : WEFT_EPROTOCOL);
        if (event != WEFT__MULTIPART_MORE) {
            p->done = used;
            return event;
        }
        drop(p, used);
        int err = fill(q, p, d);
        if (err == -ETIMEDOUT || err == -ECANCELED)
            return err;
        if (err < 0)
            return p->error = err;
    }
}

static void copy_text(char *to, size_t cap, struct weft__slice from)
{
    size_t n = weft__min_size(from.len, cap - 1);
    if (n > 0)
        memcpy(to, from.at, n);
    to[n] = '\0';
}

static void note_part(struct weft__http_multipart *p, struct weft_http_part *ret)
{
    const struct weft__http_disposition *d = &p->m.disposition;
    memcpy(p->name, d->name, sizeof p->name);
    memcpy(p->filename, d->filename, sizeof p->filename);
    copy_text(p->type, sizeof p->type, weft__slice_text("text/plain"));
    for (size_t i = 0; i < p->m.field_count; i++)
        if (p->m.fields[i].id == WEFT__HN_CONTENT_TYPE)
            copy_text(p->type, sizeof p->type,
                      weft__http_slice(p->buf + p->start, p->m.fields[i].value));
    *ret = (struct weft_http_part){
        .name = p->name, .filename = d->has_filename ? p->filename : NULL, .type = p->type};
}

int weft_http_part_next(struct weft_http_request *q, struct weft_http_part *ret, weft_deadline d)
{
    struct weft__http_multipart *p = q->multipart;
    if (p == NULL)
        return weft__fail(-EINVAL, "weft_http_multipart comes first");
    if (p->error < 0)
        return p->error;
    p->piece.len = 0;
    while (!p->ended) {
        int event = next_event(q, p, d);
        if (event < 0)
            return event;
        p->in_part = event == WEFT__MULTIPART_PART || event == WEFT__MULTIPART_DATA;
        p->ended = event == WEFT__MULTIPART_END;
        if (event == WEFT__MULTIPART_PART) {
            note_part(p, ret);
            return 1;
        }
    }
    return 0;
}

ssize_t weft_http_part_read(struct weft_http_request *q, void *buf, size_t cap, weft_deadline d)
{
    struct weft__http_multipart *p = q->multipart;
    if (p == NULL || cap == 0)
        return weft__fail(-EINVAL, "weft_http_part_next comes first, and there must be room");
    if (p->error < 0)
        return p->error;
    while (p->in_part && p->piece.len == 0) {
        int event = next_event(q, p, d);
        if (event < 0)
            return event;
        if (event == WEFT__MULTIPART_DATA)
            p->piece = p->m.data;
        p->in_part = event == WEFT__MULTIPART_DATA;
        p->ended = event == WEFT__MULTIPART_END;
    }
    size_t n = weft__min_size(cap, p->piece.len);
    if (n > 0)
        memcpy(buf, p->piece.at, n);
    p->piece = weft__slice_from(p->piece, n);
    return (ssize_t)n;
}

static int64_t save(struct weft_http_request *q, struct weft_file *f, weft_deadline d)
{
    char *buf = weft__alloc(READ_SIZE);
    int64_t at = 0;
    ssize_t n = buf != NULL ? 1 : -ENOMEM;
    while (n > 0) {
        n = weft_http_part_read(q, buf, READ_SIZE, d);
        int err = n > 0 ? weft_file_write_at(f, buf, (size_t)n, at, d) : 0;
        if (err < 0)
            n = err;
        else if (n > 0)
            at += n;
    }
    weft__free(buf);
    return n < 0 ? n : at;
}

int64_t weft_http_part_save(struct weft_http_request *q, const char *path, weft_deadline d)
{
    struct weft_file *f = NULL;
    int err =
        weft_file_open(&f, path, WEFT_FILE_WRITE | WEFT_FILE_CREATE | WEFT_FILE_EXCLUSIVE, 0600, d);
    if (err < 0)
        return err;
    int64_t len = save(q, f, d);
    err = weft_file_close(&f, d);
    if (len < 0 || err < 0) {
        weft_shield(0);
        int gone = weft_file_remove(path, weft_after_s(5)); /* half a file is of no use */
        (void)gone;
        weft_unshield();
    }
    return len < 0 ? len : err < 0 ? err : len;
}
