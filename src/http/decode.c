/* SPDX-License-Identifier: MIT */
/*
 * Content codings taken off: see decode.h.
 *
 * Floor 5. "deflate" means the zlib format (RFC 1950), and some servers send raw deflate (RFC 1951)
 * under that name: which of the two it is, the first two bytes tell.
 */
#include <brotli/decode.h>
#include <errno.h>
#include <stdbool.h>
#include <zlib.h>

#include "base/alloc.h"
#include "base/error.h"
#include "http/decode.h"

#define WINDOW_GZIP (15 + 16)
#define WINDOW_ZLIB 15
#define WINDOW_RAW (-15)

enum kind { GZIP, DEFLATE, BROTLI };

struct weft__decoder {
    enum kind kind;
    bool begun;
    bool ended; /* between members of gzip, or behind the data */
    z_stream z;
    bool z_open;
    BrotliDecoderState *br;
};

static void *zlib_alloc(void *arg, uInt n, uInt size)
{
    (void)arg;
    return weft__calloc(n, size);
}

static void zlib_free(void *arg, void *p)
{
    (void)arg;
    weft__free(p);
}

static void *brotli_alloc(void *arg, size_t size)
{
    (void)arg;
    return weft__alloc(size);
}

static int zlib_open(struct weft__decoder *d, int window)
{
    d->z = (z_stream){.zalloc = zlib_alloc, .zfree = zlib_free};
    if (inflateInit2(&d->z, window) != Z_OK)
        return -ENOMEM;
    d->z_open = true;
    return 0;
}

int weft__decoder_open(struct weft__decoder **ret, struct weft__slice coding)
{
    static const struct {
        const char *name;
        enum kind kind;
    } known[] = {{"gzip", GZIP}, {"x-gzip", GZIP}, {"deflate", DEFLATE}, {"br", BROTLI}};
    if (coding.len == 0 || weft__slice_is_nocase(coding, "identity")) {
        *ret = NULL;
        return 0;
    }
    size_t i = 0;
    while (i < WEFT__ARRAY_LEN(known) && !weft__slice_is_nocase(coding, known[i].name))
        i++;
    if (i == WEFT__ARRAY_LEN(known))
        return weft__fail(WEFT_EPROTOCOL, "the body's coding \"%.*s\" is not known here",
                          (int)weft__min_size(coding.len, 60), coding.at);
    struct weft__decoder *d = weft__calloc(1, sizeof *d);
    if (d == NULL)
        return -ENOMEM;
    d->kind = known[i].kind;
    int err = 0;
    if (d->kind == GZIP) {
        err = zlib_open(d, WINDOW_GZIP);
    } else if (d->kind == BROTLI) {
        d->br = BrotliDecoderCreateInstance(brotli_alloc, zlib_free, NULL);
        err = d->br == NULL ? -ENOMEM : 0;
    }
    if (err < 0) {
        weft__decoder_close(&d);
        return err;
    }
    *ret = d;
    return 0;
}

void weft__decoder_close(struct weft__decoder **ret)
{
    struct weft__decoder *d = *ret;
    if (d == NULL)
        return;
    if (d->z_open)
        (void)inflateEnd(&d->z);
    if (d->br != NULL)
        BrotliDecoderDestroyInstance(d->br);
    weft__free(d);
    *ret = NULL;
}

/* The low half of the first byte is 8 in the zlib format, and the two bytes a multiple of 31. */
static bool looks_raw(const uint8_t *in, size_t len)
{
    return (in[0] & 0x0f) != 8 || (len > 1 && (in[0] * 256u + in[1]) % 31 != 0);
}

static int run_zlib(struct weft__decoder *d, const void *in, size_t in_len, size_t *used, void *out,
                    size_t cap, size_t *made)
{
    if (!d->z_open) {
        int err = zlib_open(d, looks_raw(in, in_len) ? WINDOW_RAW : WINDOW_ZLIB);
        if (err < 0)
            return err;
    }
    if (d->ended) {
        if (d->kind != GZIP)
            return weft__fail(WEFT_EPROTOCOL, "bytes follow the end of the compressed body");
        if (inflateReset(&d->z) != Z_OK) /* gzip: another member (RFC 1952 section 2.2) */
            return -ENOMEM;
        d->ended = false;
    }
    d->z.next_in = (z_const Bytef *)in;
    d->z.avail_in = (uInt)weft__min_size(in_len, UINT32_MAX);
    d->z.next_out = out;
    d->z.avail_out = (uInt)weft__min_size(cap, UINT32_MAX);
    size_t in_was = d->z.avail_in, out_was = d->z.avail_out;
    int res = inflate(&d->z, Z_NO_FLUSH);
    *used = in_was - d->z.avail_in;
    *made = out_was - d->z.avail_out;
    if (res == Z_STREAM_END) {
        d->ended = true;
        return 1;
    }
    if (res == Z_OK || res == Z_BUF_ERROR)
        return 0;
    if (res == Z_MEM_ERROR)
        return -ENOMEM;
    return weft__fail(WEFT_EPROTOCOL, "the compressed body is damaged: %s",
                      d->z.msg != NULL ? d->z.msg : "a dictionary is wanted");
}

static int run_brotli(struct weft__decoder *d, const void *in, size_t in_len, size_t *used,
                      void *out, size_t cap, size_t *made)
{
    if (d->ended)
        return weft__fail(WEFT_EPROTOCOL, "bytes follow the end of the compressed body");
    const uint8_t *next_in = in;
    uint8_t *next_out = out;
    size_t in_left = in_len, out_left = cap;
    BrotliDecoderResult res =
        BrotliDecoderDecompressStream(d->br, &in_left, &next_in, &out_left, &next_out, NULL);
    *used = in_len - in_left;
    *made = cap - out_left;
    if (res == BROTLI_DECODER_RESULT_SUCCESS) {
        d->ended = true;
        return 1;
    }
    if (res != BROTLI_DECODER_RESULT_ERROR)
        return 0;
    BrotliDecoderErrorCode code = BrotliDecoderGetErrorCode(d->br);
    if (code <= BROTLI_DECODER_ERROR_ALLOC_CONTEXT_MODES &&
        code >= BROTLI_DECODER_ERROR_ALLOC_BLOCK_TYPE_TREES)
        return -ENOMEM;
    return weft__fail(WEFT_EPROTOCOL, "the compressed body is damaged: %s",
                      BrotliDecoderErrorString(code));
}

int weft__decoder_run(struct weft__decoder *d, const void *in, size_t in_len, size_t *used,
                      void *out, size_t cap, size_t *made)
{
    *used = *made = 0;
    if (in_len == 0 && (d->ended || !d->begun))
        return d->ended;
    d->begun = true;
    return d->kind == BROTLI ? run_brotli(d, in, in_len, used, out, cap, made)
                             : run_zlib(d, in, in_len, used, out, cap, made);
}

int weft__decoder_end(const struct weft__decoder *d)
{
    /* Nothing at all is an empty body: what a server may send with a HEAD or 304. */
    if (d->ended || !d->begun)
        return 0;
    return weft__fail(WEFT_EEOF, "the compressed body ends before its end");
}
