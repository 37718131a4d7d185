/* SPDX-License-Identifier: MIT */
/* Conditional requests: RFC 9110 section 13. Floor 5. */
#include <string.h>

#include "base/base.h"
#include "http/exchange.h"
#include "http/site.h"
#include "net/stream.h"
#include "wire/http_field.h"

/*
 * What a 304 or 412 says besides the status. Of a 304 that is what the 200 would have said to
 * caches, Vary and ETag above all, and nothing of the body that is not there (section 15.4.5).
 */
static int bare(struct weft__http_exchange *x, int64_t len)
{
    static const char *const of_body[] = {"Content-Type", "Content-Encoding", "Content-Language"};
    int err = len >= 0 ? weft__http_coder_tell(x, len) : 0;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(of_body); i++)
        weft__http_response_drop(&x->r, of_body[i]);
    return err;
}

int weft__http_conditions(struct weft__http_exchange *x, int64_t len)
{
    const struct weft_http_request *q = &x->q;
    if ((q->head.seen & WEFT__HTTP_CONDITIONS) == 0)
        return 0;
    /* Section 13.2.1: they come before what the method does. Of any other one that has been done by
     * now, and the validator may be what came of it. */
    if (q->head.method != WEFT__HTTP_GET && q->head.method != WEFT__HTTP_HEAD)
        return 0;
    int64_t now = weft__http_wall_s(x->site, x->stream->loop);
    struct weft__http_conditions c = {
        .if_modified_since = weft__http_value_of(q, WEFT__HN_IF_MODIFIED_SINCE),
        .if_unmodified_since = weft__http_value_of(q, WEFT__HN_IF_UNMODIFIED_SINCE),
        .now_s = now,
    };
    int err = weft__http_list_of(q, WEFT__HN_IF_MATCH, &c.if_match);
    if (err == 0)
        err = weft__http_list_of(q, WEFT__HN_IF_NONE_MATCH, &c.if_none_match);
    if (err < 0)
        return err;
    struct weft__http_etag tag;
    struct weft__http_validators v = {.exists = true, .no_modified = true};
    const struct weft_http_field *f = weft__http_response_field(&x->r, "ETag");
    if (f != NULL && weft__http_etag_parse(weft__slice_of(f->value, f->value_len), &tag))
        v.etag = &tag;
    f = weft__http_response_field(&x->r, "Last-Modified");
    if (f != NULL &&
        weft__http_date_parse(weft__slice_of(f->value, f->value_len), now, &v.modified_s))
        v.no_modified = false;
    if (v.etag == NULL && v.no_modified)
        return 0;
    int status = weft__http_preconditions(&c, &v, q->head.method);
    err = status != 0 ? bare(x, len) : 0;
    return err < 0 ? err : status;
}
