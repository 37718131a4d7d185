/* SPDX-License-Identifier: MIT */
/*
 * A reply: its fields, and its body as the caller sees it.
 *
 * Floor 5. Invariant: once the body has ended, or failed, the connection is given back; what was
 * copied out of it stays until the reply is closed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "http/client.h"
#include "wire/http_field.h"

#define WHOLE_MIN 4096

int weft__http_reply_new(struct weft_http_client *c, const struct weft_url *url,
                         struct weft_http_reply **ret)
{
    struct weft_http_reply *r = weft__calloc(1, sizeof *r);
    char *text = weft__strdup(url->text);
    if (r == NULL || text == NULL) {
        weft__free(r);
        weft__free(text);
        return -ENOMEM;
    }
    r->client = c;
    r->url = text;
    r->length = -1;
    c->replies++;
    *ret = r;
    return 0;
}

static const char *copy(char **at, const char *from, size_t len)
{
    char *to = *at;
    memcpy(to, from, len);
    to[len] = '\0';
    *at = to + len + 1;
    return to;
}

int weft__http_reply_copy(const char *data, const struct weft__http1_field *from, size_t n,
                          char **text, struct weft_http_field **fields)
{
    size_t size = 1;
    for (size_t i = 0; i < n; i++)
        size += from[i].name.len + from[i].value.len + 2;
    char *at = weft__alloc(size);
    struct weft_http_field *to = weft__calloc(n + 1, sizeof *to);
    if (at == NULL || to == NULL) {
        weft__free(at);
        weft__free(to);
        return -ENOMEM;
    }
    *text = at;
    *fields = to;
    for (size_t i = 0; i < n; i++) {
        to[i].name = copy(&at, data + from[i].name.at, from[i].name.len);
        to[i].name_len = from[i].name.len;
        to[i].value = copy(&at, data + from[i].value.at, from[i].value.len);
        to[i].value_len = from[i].value.len;
    }
    return 0;
}

/* --- Fields ----------------------------------------------------------------------------------- */

static const char *find(const struct weft_http_field *fields, size_t n, const char *name)
{
    struct weft__slice want = weft__slice_text(name);
    for (size_t i = 0; i < n; i++)
        if (weft__slice_equal_nocase(weft__slice_of(fields[i].name, fields[i].name_len), want))
            return fields[i].value;
    return NULL;
}

int weft_http_reply_status(const struct weft_http_reply *r)
{
    return r->status;
}

int weft_http_reply_version(const struct weft_http_reply *r)
{
    return r->version;
}

const char *weft_http_reply_url(const struct weft_http_reply *r)
{
    return r->url;
}

const char *weft_http_reply_field(const struct weft_http_reply *r, const char *name)
{
    return find(r->fields, r->n_fields, name);
}

const struct weft_http_field *weft_http_reply_fields(const struct weft_http_reply *r, size_t *n)
{
    *n = r->n_fields;
    return r->fields;
}

int64_t weft_http_reply_length(const struct weft_http_reply *r)
{
    return r->length;
}

const char *weft_http_reply_trailer(const struct weft_http_reply *r, const char *name)
{
    return find(r->trailers, r->n_trailers, name);
}

/* --- Body ------------------------------------------------------------------------------------- */

/* The one coding of the body; several are not taken off. */
static int open_decoder(struct weft_http_reply *r)
{
    const char *coding = NULL;
    for (size_t i = 0; i < r->n_fields; i++) {
        struct weft__slice name = weft__slice_of(r->fields[i].name, r->fields[i].name_len);
        if (!weft__slice_is_nocase(name, "content-encoding"))
            continue;
        if (coding != NULL || strchr(r->fields[i].value, ',') != NULL)
            return weft__fail(WEFT_EPROTOCOL, "the body is in more than one coding");
        coding = r->fields[i].value;
    }
    return weft__decoder_open(&r->decoder, weft__slice_text(coding));
}

int weft__http_reply_begin(struct weft_http_reply *r, enum weft__http_method method)
{
    bool bodiless = method == WEFT__HTTP_HEAD || r->status == 204 || r->status == 304;
    int err = bodiless || r->client->options.no_decode ? 0 : open_decoder(r);
    if (err == 0 && r->ended)
        weft__http_reply_ended(r);
    return err;
}

void weft__http_reply_ended(struct weft_http_reply *r)
{
    r->ended = true;
    if (r->conn != NULL)
        r->conn->cls->release(r, true);
    r->conn = NULL;
}

static ssize_t failed(struct weft_http_reply *r, ssize_t err)
{
    if (err == -ETIMEDOUT || err == -ECANCELED)
        return err; /* nothing is lost */
    r->error = (int)err;
    if (r->conn != NULL)
        r->conn->cls->release(r, false);
    r->conn = NULL;
    r->encoded_left = 0;
    return err;
}

/* The next bytes as they were sent. */
static ssize_t peek(struct weft_http_reply *r, const void **data, weft_deadline d)
{
    if (r->error < 0)
        return r->error;
    if (r->ended)
        return 0;
    ssize_t n = r->conn->cls->peek(r, data, d);
    if (n == 0)
        weft__http_reply_ended(r);
    return n < 0 ? failed(r, n) : n;
}

static ssize_t read_plain(struct weft_http_reply *r, void *buf, size_t cap, weft_deadline d)
{
    const void *data;
    ssize_t n = peek(r, &data, d);
    if (n <= 0)
        return n;
    size_t len = weft__min_size((size_t)n, cap);
    memcpy(buf, data, len);
    r->conn->cls->consume(r, len);
    return (ssize_t)len;
}

/* One round: what comes out is *made. 1: go on; 0: the end; < 0. */
static ssize_t decode_some(struct weft_http_reply *r, void *buf, size_t cap, size_t *made,
                           weft_deadline d)
{
    const void *data = "";
    size_t used;
    ssize_t n = peek(r, &data, d);
    if (n < 0)
        return n;
    int res = weft__decoder_run(r->decoder, data, (size_t)n, &used, buf, cap, made);
    if (res < 0)
        return res;
    if (used > 0)
        r->conn->cls->consume(r, used);
    if (n > 0 || *made > 0)
        return 1;
    return weft__decoder_end(r->decoder);
}

static ssize_t read_decoded(struct weft_http_reply *r, void *buf, size_t cap, weft_deadline d)
{
    for (;;) {
        size_t made = 0;
        ssize_t res = decode_some(r, buf, cap, &made, d);
        if (res < 0)
            return r->error < 0 ? res : failed(r, res);
        r->decoded += made;
        if (r->decoded > (uint64_t)r->client->options.decoded_max)
            return failed(r, weft__fail(WEFT_ELIMIT,
                                        "the compressed body has become more than "
                                        "%lld bytes",
                                        (long long)r->client->options.decoded_max));
        if (made > 0 || res == 0)
            return (ssize_t)made;
    }
}

ssize_t weft_http_reply_read(struct weft_http_reply *r, void *buf, size_t cap, weft_deadline d)
{
    if (cap == 0)
        return weft__fail(-EINVAL, "no room to read into");
    return r->decoder != NULL ? read_decoded(r, buf, cap, d) : read_plain(r, buf, cap, d);
}

/* Room for more of the whole body, and a NUL. */
static int grow(struct weft_http_reply *r, size_t *cap)
{
    size_t max = (size_t)r->client->options.body_max;
    if (r->whole_len >= max + 1)
        return weft__fail(WEFT_ELIMIT, "the body has more than %zu bytes", max);
    size_t want = *cap == 0 ? WHOLE_MIN : *cap * 2;
    if (*cap == 0 && r->decoder == NULL && r->length > 0)
        want = (size_t)weft__min_u64((uint64_t)r->length, max) + 1;
    want = weft__min_size(want, max + 1);
    char *more = weft__realloc(r->whole, want + 1);
    if (more == NULL)
        return -ENOMEM;
    r->whole = more;
    *cap = want;
    return 0;
}

int weft_http_reply_body(struct weft_http_reply *r, const void **data, size_t *len, weft_deadline d)
{
    size_t cap = r->whole_len; /* of an earlier call that was cut short */
    for (;;) {
        if (r->whole_len == cap) {
            int err = grow(r, &cap);
            if (err < 0)
                return err == WEFT_ELIMIT ? (int)failed(r, err) : err;
        }
        ssize_t n = weft_http_reply_read(r, r->whole + r->whole_len, cap - r->whole_len, d);
        if (n < 0)
            return (int)n;
        if (n == 0)
            break;
        r->whole_len += (size_t)n;
    }
    if (r->whole_len > (size_t)r->client->options.body_max)
        return weft__fail(WEFT_ELIMIT, "the body has more than %lld bytes",
                          (long long)r->client->options.body_max);
    r->whole[r->whole_len] = '\0';
    *data = r->whole;
    *len = r->whole_len;
    return 0;
}

bool weft__http_reply_drain(struct weft_http_reply *r, weft_deadline d)
{
    size_t total = 0;
    while (r->error == 0 && !r->ended && total < WEFT__HTTP_DRAIN_MAX) {
        const void *data;
        ssize_t n = peek(r, &data, d);
        if (n <= 0)
            break;
        total += (size_t)n;
        r->conn->cls->consume(r, (size_t)n);
    }
    return r->ended;
}

void weft_http_reply_close(struct weft_http_reply **ret)
{
    struct weft_http_reply *r = *ret;
    if (r == NULL)
        return;
    if (r->conn != NULL && !weft__http_reply_drain(r, WEFT_NOW) && r->conn != NULL)
        r->conn->cls->release(r, false);
    weft__decoder_close(&r->decoder);
    r->client->replies--;
    weft__free(r->url);
    weft__free(r->text);
    weft__free(r->fields);
    weft__free(r->trailer_text);
    weft__free(r->trailers);
    weft__h1_body_fini(&r->body);
    weft__free(r->trailer_spans);
    weft__free(r->whole);
    weft__free(r);
    *ret = NULL;
}
