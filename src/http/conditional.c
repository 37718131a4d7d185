/* SPDX-License-Identifier: MIT */
/* Conditional requests: RFC 9110 section 13. Floor 5. */
#include <string.h>

#include "http/exchange.h"
#include "http/site.h"
#include "net/stream.h"
#include "wire/http_field.h"

int weft__http_conditions(struct weft__http_exchange *x, bool exists)
{
    const struct weft_http_request *q = &x->q;
    if ((q->head.seen & WEFT__HTTP_CONDITIONS) == 0)
        return 0;
    int64_t now = weft__http_wall_s(x->site, x->stream->loop);
    struct weft__http_conditions c = {
        .if_match = weft__http_value_of(q, WEFT__HN_IF_MATCH),
        .if_none_match = weft__http_value_of(q, WEFT__HN_IF_NONE_MATCH),
        .if_modified_since = weft__http_value_of(q, WEFT__HN_IF_MODIFIED_SINCE),
        .if_unmodified_since = weft__http_value_of(q, WEFT__HN_IF_UNMODIFIED_SINCE),
        .now_s = now,
    };
    struct weft__http_etag tag;
    struct weft__http_validators v = {.exists = exists, .no_modified = true};
    const struct weft_http_field *f = weft__http_response_field(&x->r, "ETag");
    if (f != NULL && weft__http_etag_parse(weft__slice_of(f->value, f->value_len), &tag))
        v.etag = &tag;
    f = weft__http_response_field(&x->r, "Last-Modified");
    if (f != NULL &&
        weft__http_date_parse(weft__slice_of(f->value, f->value_len), now, &v.modified_s))
        v.no_modified = false;
    if (v.etag == NULL && v.no_modified)
        return 0;
    return weft__http_preconditions(&c, &v, q->head.method);
}
