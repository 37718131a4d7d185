/* SPDX-License-Identifier: MIT */
/*
 * The table of known names of fields; see http_name.h.
 *
 * Floor 0. The slots' numbers are those of weft__http_name_slot(); test_http_words.c sees to it
 * that every name is found, so a name that is added without its slot fails there.
 */
#include "wire/http_name.h"

/* clang-format off */
#define NAMES(X) \
    X(WEFT__HN_ACCEPT, "Accept", "accept") \
    X(WEFT__HN_ACCEPT_ENCODING, "Accept-Encoding", "accept-encoding") \
    X(WEFT__HN_ACCEPT_LANGUAGE, "Accept-Language", "accept-language") \
    X(WEFT__HN_ACCEPT_RANGES, "Accept-Ranges", "accept-ranges") \
    X(WEFT__HN_AGE, "Age", "age") \
    X(WEFT__HN_ALLOW, "Allow", "allow") \
    X(WEFT__HN_AUTHORIZATION, "Authorization", "authorization") \
    X(WEFT__HN_CACHE_CONTROL, "Cache-Control", "cache-control") \
    X(WEFT__HN_CONNECTION, "Connection", "connection") \
    X(WEFT__HN_CONTENT_DISPOSITION, "Content-Disposition", "content-disposition") \
    X(WEFT__HN_CONTENT_ENCODING, "Content-Encoding", "content-encoding") \
    X(WEFT__HN_CONTENT_LENGTH, "Content-Length", "content-length") \
    X(WEFT__HN_CONTENT_RANGE, "Content-Range", "content-range") \
    X(WEFT__HN_CONTENT_TYPE, "Content-Type", "content-type") \
    X(WEFT__HN_COOKIE, "Cookie", "cookie") \
    X(WEFT__HN_DATE, "Date", "date") \
    X(WEFT__HN_ETAG, "ETag", "etag") \
    X(WEFT__HN_EXPECT, "Expect", "expect") \
    X(WEFT__HN_EXPIRES, "Expires", "expires") \
    X(WEFT__HN_FORWARDED, "Forwarded", "forwarded") \
    X(WEFT__HN_HOST, "Host", "host") \
    X(WEFT__HN_HTTP2_SETTINGS, "HTTP2-Settings", "http2-settings") \
    X(WEFT__HN_IF_MATCH, "If-Match", "if-match") \
    X(WEFT__HN_IF_MODIFIED_SINCE, "If-Modified-Since", "if-modified-since") \
    X(WEFT__HN_IF_NONE_MATCH, "If-None-Match", "if-none-match") \
    X(WEFT__HN_IF_RANGE, "If-Range", "if-range") \
    X(WEFT__HN_IF_UNMODIFIED_SINCE, "If-Unmodified-Since", "if-unmodified-since") \
    X(WEFT__HN_KEEP_ALIVE, "Keep-Alive", "keep-alive") \
    X(WEFT__HN_LAST_EVENT_ID, "Last-Event-ID", "last-event-id") \
    X(WEFT__HN_LAST_MODIFIED, "Last-Modified", "last-modified") \
    X(WEFT__HN_LOCATION, "Location", "location") \
    X(WEFT__HN_MAX_FORWARDS, "Max-Forwards", "max-forwards") \
    X(WEFT__HN_ORIGIN, "Origin", "origin") \
    X(WEFT__HN_PROXY_AUTHENTICATE, "Proxy-Authenticate", "proxy-authenticate") \
    X(WEFT__HN_PROXY_AUTHORIZATION, "Proxy-Authorization", "proxy-authorization") \
    X(WEFT__HN_PROXY_CONNECTION, "Proxy-Connection", "proxy-connection") \
    X(WEFT__HN_RANGE, "Range", "range") \
    X(WEFT__HN_REFERER, "Referer", "referer") \
    X(WEFT__HN_RETRY_AFTER, "Retry-After", "retry-after") \
    X(WEFT__HN_SEC_WEBSOCKET_ACCEPT, "Sec-WebSocket-Accept", "sec-websocket-accept") \
    X(WEFT__HN_SEC_WEBSOCKET_EXTENSIONS, "Sec-WebSocket-Extensions", "sec-websocket-extensions") \
    X(WEFT__HN_SEC_WEBSOCKET_KEY, "Sec-WebSocket-Key", "sec-websocket-key") \
    X(WEFT__HN_SEC_WEBSOCKET_PROTOCOL, "Sec-WebSocket-Protocol", "sec-websocket-protocol") \
    X(WEFT__HN_SEC_WEBSOCKET_VERSION, "Sec-WebSocket-Version", "sec-websocket-version") \
    X(WEFT__HN_SERVER, "Server", "server") \
    X(WEFT__HN_SET_COOKIE, "Set-Cookie", "set-cookie") \
    X(WEFT__HN_TE, "TE", "te") \
    X(WEFT__HN_TRAILER, "Trailer", "trailer") \
    X(WEFT__HN_TRANSFER_ENCODING, "Transfer-Encoding", "transfer-encoding") \
    X(WEFT__HN_UPGRADE, "Upgrade", "upgrade") \
    X(WEFT__HN_USER_AGENT, "User-Agent", "user-agent") \
    X(WEFT__HN_VARY, "Vary", "vary") \
    X(WEFT__HN_VIA, "Via", "via") \
    X(WEFT__HN_WWW_AUTHENTICATE, "WWW-Authenticate", "www-authenticate") \
    X(WEFT__HN_X_FORWARDED_FOR, "X-Forwarded-For", "x-forwarded-for") \
    X(WEFT__HN_X_FORWARDED_PROTO, "X-Forwarded-Proto", "x-forwarded-proto")

#define ROW(id, text, lower) [id] = {text, lower, sizeof(lower) - 1},
const struct weft__http_name_row weft__http_names[WEFT__HTTP_NAMES] = {
    [WEFT__HN_OTHER] = {"", "", 0},
    NAMES(ROW)
};

const uint8_t weft__http_name_slots[128] = {
    [0] = WEFT__HN_SEC_WEBSOCKET_ACCEPT,
    [5] = WEFT__HN_VARY,
    [7] = WEFT__HN_ETAG,
    [8] = WEFT__HN_CACHE_CONTROL,
    [9] = WEFT__HN_RANGE,
    [10] = WEFT__HN_ORIGIN,
    [12] = WEFT__HN_USER_AGENT,
    [14] = WEFT__HN_PROXY_AUTHORIZATION,
    [18] = WEFT__HN_SEC_WEBSOCKET_VERSION,
    [19] = WEFT__HN_LAST_MODIFIED,
    [24] = WEFT__HN_IF_NONE_MATCH,
    [25] = WEFT__HN_SEC_WEBSOCKET_KEY,
    [26] = WEFT__HN_SEC_WEBSOCKET_PROTOCOL,
    [28] = WEFT__HN_IF_MATCH,
    [29] = WEFT__HN_DATE,
    [31] = WEFT__HN_AGE,
    [32] = WEFT__HN_VIA,
    [33] = WEFT__HN_RETRY_AFTER,
    [34] = WEFT__HN_ALLOW,
    [35] = WEFT__HN_FORWARDED,
    [42] = WEFT__HN_TE,
    [44] = WEFT__HN_X_FORWARDED_FOR,
    [46] = WEFT__HN_CONTENT_LENGTH,
    [48] = WEFT__HN_ACCEPT_LANGUAGE,
    [49] = WEFT__HN_IF_RANGE,
    [52] = WEFT__HN_HTTP2_SETTINGS,
    [59] = WEFT__HN_X_FORWARDED_PROTO,
    [62] = WEFT__HN_LAST_EVENT_ID,
    [65] = WEFT__HN_IF_MODIFIED_SINCE,
    [66] = WEFT__HN_CONNECTION,
    [68] = WEFT__HN_PROXY_CONNECTION,
    [70] = WEFT__HN_CONTENT_RANGE,
    [73] = WEFT__HN_COOKIE,
    [74] = WEFT__HN_UPGRADE,
    [75] = WEFT__HN_TRAILER,
    [76] = WEFT__HN_SEC_WEBSOCKET_EXTENSIONS,
    [77] = WEFT__HN_SET_COOKIE,
    [83] = WEFT__HN_EXPIRES,
    [87] = WEFT__HN_WWW_AUTHENTICATE,
    [88] = WEFT__HN_CONTENT_DISPOSITION,
    [89] = WEFT__HN_REFERER,
    [90] = WEFT__HN_IF_UNMODIFIED_SINCE,
    [92] = WEFT__HN_TRANSFER_ENCODING,
    [93] = WEFT__HN_CONTENT_ENCODING,
    [94] = WEFT__HN_CONTENT_TYPE,
    [101] = WEFT__HN_PROXY_AUTHENTICATE,
    [106] = WEFT__HN_AUTHORIZATION,
    [112] = WEFT__HN_EXPECT,
    [115] = WEFT__HN_HOST,
    [116] = WEFT__HN_ACCEPT,
    [118] = WEFT__HN_LOCATION,
    [119] = WEFT__HN_ACCEPT_ENCODING,
    [120] = WEFT__HN_MAX_FORWARDS,
    [123] = WEFT__HN_ACCEPT_RANGES,
    [125] = WEFT__HN_SERVER,
    [127] = WEFT__HN_KEEP_ALIVE,
};
/* clang-format on */
