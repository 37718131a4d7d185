/* SPDX-License-Identifier: MIT */
/* What server and client share of HTTP's words. Floor 5; the tables are in wire/. */
#include <weft/http.h>

#include <string.h>

#include <weft/error.h>

#include "wire/http.h"
#include "wire/http_field.h"

_Static_assert((int)WEFT_HTTP_PATCH == (int)WEFT__HTTP_PATCH, "one order of methods");
_Static_assert((int)WEFT_HTTP_GET == (int)WEFT__HTTP_GET, "one order of methods");

const char *weft_http_method_name(enum weft_http_method m)
{
    return weft__http_method_name((enum weft__http_method)m);
}

enum weft_http_method weft_http_method_of(const char *name, size_t len)
{
    return (enum weft_http_method)weft__http_method_of(weft__slice_of(name, len));
}

const char *weft_http_reason(int status)
{
    return weft__http_reason(status);
}

#define YEAR_1_S INT64_C(-62135596800)
#define YEAR_9999_END_S INT64_C(253402300799)

void weft_http_date_format(int64_t seconds, char buf[WEFT_HTTP_DATE_SIZE])
{
    seconds = weft__max_i64(YEAR_1_S, weft__min_i64(seconds, YEAR_9999_END_S));
    if (!weft__http_date_format(seconds, buf))
        memset(buf, 0, WEFT_HTTP_DATE_SIZE);
}

int weft_http_date_parse(const char *text, size_t len, int64_t now_s, int64_t *seconds)
{
    return weft__http_date_parse(weft__slice_of(text, len), now_s, seconds) ? 0 : WEFT_EPROTOCOL;
}
