/* SPDX-License-Identifier: MIT */
/*
 * Content codings: gzip by zlib, br by libbrotli (RFC 9110 section 8.4, RFC 1952, RFC 7932).
 *
 * Floor 5. Whether a body is worth it is decided by its type and length; what is chosen depends on
 * Accept-Encoding, so a response that might have been compressed says Vary.
 *
 * Invariant: a coder belongs to one response and is freed with it; what it puts out is sent or kept
 * in the arena before more is put in.
 */
#include <brotli/encode.h>
#include <errno.h>
#include <setjmp.h>
#include <string.h>
#include <zlib.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/list.h"
#include "http/exchange.h"
#include "http/site.h"
#include "wire/http_field.h"

#define OUT_SIZE 16384u
#define GZIP_LEVEL 5
#define BROTLI_LEVEL 4
#define WINDOW_BITS 15
#define GZIP_HEADER 16 /* added to zlib's window bits */
#define MEMORY_LEVEL 8

/* Before each piece of brotli's memory, so that all of it can be freed. */
struct piece {
    struct weft__node link;
    char data[] __attribute__((aligned(16)));
};

struct weft__http_coder {
    bool brotli;
    struct weft__list pieces;
    jmp_buf oom;
    z_stream gzip;
    BrotliEncoderState *br;
    uint8_t out[OUT_SIZE];
};

static void *z_alloc(void *arg, unsigned n, unsigned size)
{
    (void)arg;
    return weft__calloc(n, size);
}

static void z_free(void *arg, void *p)
{
    (void)arg;
    weft__free(p);
}

/*
 * As it is commonly built, libbrotli ends the process when its allocator has nothing to give. So
 * ours does not return then, but leaves the library for the place that called it; the encoder is
 * lost, and its memory is freed piece by piece.
 */
static void *br_alloc(void *arg, size_t size)
{
    struct weft__http_coder *c = arg;
    struct piece *p = weft__alloc(sizeof *p + size);
    if (p == NULL)
        longjmp(c->oom, 1);
    p->link = (struct weft__node){NULL, NULL};
    weft__list_push_back(&c->pieces, &p->link);
    return p->data;
}

static void br_free(void *arg, void *data)
{
    (void)arg;
    if (data == NULL)
        return;
    struct piece *p = WEFT__CONTAINER_OF(data, struct piece, data);
    weft__list_remove(&p->link);
    weft__free(p);
}

static void br_lost(struct weft__http_coder *c)
{
    struct weft__node *n;
    while ((n = weft__list_pop_front(&c->pieces)) != NULL)
        weft__free(WEFT__CONTAINER_OF(n, struct piece, link));
    c->br = NULL;
}

static bool br_open(struct weft__http_coder *c, int64_t len)
{
    if (setjmp(c->oom) != 0) {
        br_lost(c);
        return false;
    }
    c->br = BrotliEncoderCreateInstance(br_alloc, br_free, c);
    if (c->br == NULL ||
        BrotliEncoderSetParameter(c->br, BROTLI_PARAM_QUALITY, BROTLI_LEVEL) != BROTLI_TRUE)
        return false;
    if (len > 0 && len < INT32_MAX)
        (void)BrotliEncoderSetParameter(c->br, BROTLI_PARAM_SIZE_HINT, (uint32_t)len);
    return true;
}

static bool br_step(struct weft__http_coder *c, BrotliEncoderOperation op, size_t *len,
                    const uint8_t **data, size_t *room, uint8_t **out)
{
    if (c->br == NULL)
        return false;
    if (setjmp(c->oom) != 0) {
        br_lost(c);
        return false;
    }
    return BrotliEncoderCompressStream(c->br, op, len, data, room, out, NULL) == BROTLI_TRUE;
}

/* Types that get smaller; those of images, sound, archives are compressed already. */
static bool worth_it(struct weft__slice value)
{
    static const char *const exact[] = {
        "application/json",
        "application/javascript",
        "application/xml",
        "application/xhtml",
        "application/wasm",
        "application/manifest",
        "application/x-ndjson",
        "application/sql",
        "image/svg",
        "image/bmp",
        "font/ttf",
        "font/otf",
    };
    struct weft__http_media_type m;
    if (!weft__http_media_type(value, &m))
        return false;
    if (weft__slice_is_nocase(m.type, "text"))
        return !weft__slice_is_nocase(m.subtype, "event-stream");
    struct weft__slice sub = m.subtype;
    size_t plus = weft__slice_find(sub, '+', 0);
    if (plus < sub.len) {
        struct weft__slice suffix = weft__slice_from(sub, plus + 1);
        if (weft__slice_is_nocase(suffix, "json") || weft__slice_is_nocase(suffix, "xml"))
            return true;
    }
    for (size_t i = 0; i < WEFT__ARRAY_LEN(exact); i++) {
        const char *slash = strchr(exact[i], '/');
        if (weft__slice_equal_nocase(m.type,
                                     weft__slice_of(exact[i], (size_t)(slash - exact[i]))) &&
            weft__slice_is_nocase(sub, slash + 1))
            return true;
    }
    return false;
}

static bool is_candidate(const struct weft__http_exchange *x, int64_t len)
{
    const struct weft_http_options *o = &x->site->conf->o;
    const struct weft__route *route = x->q.match.route;
    const struct weft_http_response *r = &x->r;
    if (o->no_compress || r->no_compress || (route != NULL && route->options.no_compress))
        return false;
    if (len >= 0 && (uint64_t)len < o->compress_min)
        return false;
    /* A part of something is a part of what it is without a coding. */
    if (r->status == 206 || weft__http_response_field(r, "Content-Encoding") != NULL ||
        weft__http_response_field(r, "Content-Range") != NULL)
        return false;
    const struct weft_http_field *type = weft__http_response_field(r, "Content-Type");
    return type != NULL && worth_it(weft__slice_of(type->value, type->value_len));
}

int weft__http_vary_by_coding(struct weft_http_response *r)
{
    const struct weft_http_field *vary = weft__http_response_field(r, "Vary");
    if (vary == NULL)
        return weft__http_set_known(r, "Vary", "Accept-Encoding", 15);
    struct weft__slice list = weft__slice_of(vary->value, vary->value_len);
    if (weft__http_list_has(list, "Accept-Encoding") || weft__http_list_has(list, "*"))
        return 0;
    return weft_http_add(r, "Vary", "Accept-Encoding");
}

/* Another representation has another strong validator (RFC 9110 section 8.8.3.3): it gets weak. */
static int weaken_etag(struct weft__http_exchange *x)
{
    struct weft_http_field *f = weft__http_response_field(&x->r, "ETag");
    if (f == NULL || f->value_len < 2 || f->value[0] != '"')
        return 0;
    char *weak = weft__arena_alloc(&x->arena, f->value_len + 3);
    if (weak == NULL)
        return -ENOMEM;
    memcpy(weak, "W/", 2);
    memcpy(weak + 2, f->value, f->value_len);
    f->value = weak;
    f->value_len += 2;
    return 0;
}

static int coder_open(struct weft__http_coder **ret, bool brotli, int64_t len)
{
    struct weft__http_coder *c = weft__alloc(sizeof *c);
    if (c == NULL)
        return -ENOMEM;
    memset(c, 0, offsetof(struct weft__http_coder, out));
    c->brotli = brotli;
    weft__list_init(&c->pieces);
    bool ok;
    if (brotli) {
        ok = br_open(c, len);
    } else {
        c->gzip.zalloc = z_alloc;
        c->gzip.zfree = z_free;
        ok = deflateInit2(&c->gzip, GZIP_LEVEL, Z_DEFLATED, WINDOW_BITS + GZIP_HEADER, MEMORY_LEVEL,
                          Z_DEFAULT_STRATEGY) == Z_OK;
    }
    if (!ok) {
        if (c->br != NULL)
            BrotliEncoderDestroyInstance(c->br);
        weft__free(c);
        return -ENOMEM;
    }
    *ret = c;
    return 0;
}

void weft__http_coder_free(struct weft__http_coder *c)
{
    if (c == NULL)
        return;
    if (c->br != NULL)
        BrotliEncoderDestroyInstance(c->br);
    if (!c->brotli)
        (void)deflateEnd(&c->gzip);
    weft__free(c);
}

enum pick { PLAIN, GZIP, BROTLI };

/* Sets what tells of the choice. Returns it, or < 0. */
static int choose(struct weft__http_exchange *x, int64_t len)
{
    static const char *const offers[] = {"br", "gzip", "identity"};
    struct weft__slice accept;
    if (!is_candidate(x, len))
        return PLAIN;
    int err = weft__http_vary_by_coding(&x->r);
    if (err < 0 || (x->q.head.seen >> WEFT__HN_ACCEPT_ENCODING & 1) == 0)
        return err;
    err = weft__http_list_of(&x->q, WEFT__HN_ACCEPT_ENCODING, &accept);
    if (err < 0)
        return err;
    int pick = weft__http_coding_choose(accept, offers, 3);
    if (pick < 0 || pick == 2)
        return PLAIN;
    err = weaken_etag(x);
    return err < 0 ? err : pick == 0 ? BROTLI : GZIP;
}

int weft__http_coder_tell(struct weft__http_exchange *x, int64_t len)
{
    int pick = choose(x, len);
    return pick < 0 ? pick : 0;
}

int weft__http_coder_choose(struct weft__http_exchange *x, int64_t len)
{
    struct weft_http_response *r = &x->r;
    int pick = choose(x, len);
    if (pick <= PLAIN)
        return pick;
    const char *name = pick == BROTLI ? "br" : "gzip";
    int err = coder_open(&r->coder, pick == BROTLI, len);
    return err < 0 ? err : weft__http_set_known(r, "Content-Encoding", name, strlen(name));
}

/* --- Compressing ------------------------------------------------------------------------------ */

/* One step: what is left in *data and *len goes in, *made bytes come out in c->out. 1: there may
 * be more to come out, 0: not, < 0. */
static int step(struct weft__http_coder *c, const uint8_t **data, size_t *len, int flush,
                size_t *made)
{
    if (c->brotli) {
        static const BrotliEncoderOperation ops[] = {
            BROTLI_OPERATION_PROCESS, BROTLI_OPERATION_FLUSH, BROTLI_OPERATION_FINISH};
        size_t room = OUT_SIZE;
        uint8_t *out = c->out;
        if (!br_step(c, ops[flush], len, data, &room, &out))
            return weft__fail(-ENOMEM, "brotli gave up");
        *made = OUT_SIZE - room;
        return *len > 0 || BrotliEncoderHasMoreOutput(c->br) == BROTLI_TRUE ||
               (flush == 2 && BrotliEncoderIsFinished(c->br) != BROTLI_TRUE);
    }
    static const int flushes[] = {Z_NO_FLUSH, Z_SYNC_FLUSH, Z_FINISH};
    c->gzip.next_in = (Bytef *)(uintptr_t)*data;
    c->gzip.avail_in = (uInt)weft__min_size(*len, UINT32_MAX / 2);
    size_t given = c->gzip.avail_in;
    c->gzip.next_out = c->out;
    c->gzip.avail_out = OUT_SIZE;
    int res = deflate(&c->gzip, flushes[flush]);
    if (res != Z_OK && res != Z_STREAM_END && res != Z_BUF_ERROR)
        return weft__fail(-ENOMEM, "zlib gave up: %d", res);
    size_t took = given - c->gzip.avail_in;
    *data += took;
    *len -= took;
    *made = OUT_SIZE - c->gzip.avail_out;
    return *len > 0 || c->gzip.avail_out == 0 || (flush == 2 && res != Z_STREAM_END);
}

int weft__http_coder_whole(struct weft__http_exchange *x, const void **body, size_t *len)
{
    struct weft__http_coder *c = x->r.coder;
    const uint8_t *data = *body;
    size_t left = *len, made, total = 0;
    size_t cap =
        c->brotli ? BrotliEncoderMaxCompressedSize(left) : deflateBound(&c->gzip, (uLong)left);
    uint8_t *out = cap > 0 ? weft__arena_alloc(&x->arena, cap + 64) : NULL;
    if (out == NULL)
        return 1;
    int more;
    do {
        more = step(c, &data, &left, 2, &made);
        if (more < 0 || total + made > cap + 64)
            return more < 0 ? more : -ENOBUFS;
        memcpy(out + total, c->out, made);
        total += made;
    } while (more > 0);
    *body = out;
    *len = total;
    return 0;
}

int weft__http_coder_write(struct weft__http_exchange *x, const void *buf, size_t len, int flush,
                           weft_deadline d)
{
    struct weft_http_response *r = &x->r;
    const uint8_t *data = buf;
    size_t made;
    int more, err = 0;
    if (len == 0 && flush == 0)
        return 0;
    do {
        more = step(r->coder, &data, &len, flush, &made);
        if (more < 0)
            return more;
        if (made > 0) {
            err = x->cls->write(x, r->coder->out, made, d);
            r->sent += err == 0 && x->q.head.method != WEFT__HTTP_HEAD ? made : 0;
        }
    } while (err == 0 && more > 0);
    return err;
}
