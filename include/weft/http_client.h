/* SPDX-License-Identifier: MIT */
#ifndef WEFT_HTTP_CLIENT_H
#define WEFT_HTTP_CLIENT_H
/*
 * An HTTP client: connections kept for each host, redirects, cookies, compressed bodies
 * (aiohttp.ClientSession, requests.Session, Tornado's AsyncHTTPClient). RFC 9110, 9112, 9113, 6265.
 *
 *     struct weft_http_reply *r;
 *     int err = weft_http_get(client, "https://example.org/", &r, weft_after_s(10));
 *     if (err == 0)
 *         err = weft_http_reply_body(r, &data, &len, weft_after_s(10));
 *     ...
 *     weft_http_reply_close(&r);
 *
 * A status such as 404 is a reply and no error. URLs are http:// and https://; a secured connection
 * verifies the server's certificate, and speaks HTTP/2 where the server does.
 *
 * Thread rule: a client and its replies belong to the loop, or the plain thread, that opened the
 * client; any number of its tasks may ask at the same time. Calls with a deadline wait and are
 * cancellation points.
 */
#include <weft/http.h>
#include <weft/stream.h>
#include <weft/tls.h>

WEFT_BEGIN_DECLS

struct weft_http_client;
struct weft_http_reply;

/* Zero means the default everywhere. Texts are copied. */
struct weft_http_client_options {
    struct weft_tls *tls;   /* for https, borrowed until the client is closed; NULL: the system's
                               trust store. Its `alpn` decides whether HTTP/2 is offered */
    const char *proxy;      /* as in stream.h: "http://user:password@host:3128",
                               "socks5://host"; https:// URLs go through it, http:// ones by
                               SOCKS too, and to an HTTP proxy as to a server. NULL: none */
    const char *user_agent; /* NULL: "weft/VERSION"; "": none is sent */
    int max_connections;    /* at once, idle ones too; 0: 256. Beyond, a request waits */
    int max_per_host;       /* the same for one scheme, host and port; 0: 16 */
    int64_t idle_ms;        /* a connection is kept so long for the next request; 0: 60,000 */
    int redirects_max;      /* followed for one request; 0: 10; negative: none, 3xx are replies */
    int64_t body_max;       /* bytes of a body read as a whole; 0: 16 MiB */
    int64_t decoded_max;    /* bytes that a compressed body may become; 0: 1 GiB */
    bool no_cookies;        /* keep none, send none */
    bool no_decode;         /* bodies as they are sent; gzip, deflate and br are not asked for */
    bool no_http2;          /* then the alpn of tls must not offer h2 */
    bool http2_prior;       /* http:// speaks HTTP/2 from the first byte (RFC 9113 section 3.3) */
};

/*
 * Opens a client (o: borrowed, may be NULL; *ret: the caller's). Does not wait. Returns 0, -EINVAL
 * (the detail names the option), -ENOMEM.
 */
WEFT_API WEFT_MUST_CHECK int weft_http_client_open(struct weft_http_client **ret,
                                                   const struct weft_http_client_options *o);
/* Closes its idle connections and frees it. Its replies were closed before. NULL is fine. */
WEFT_API void weft_http_client_close(struct weft_http_client **c);

struct weft_http_client_stats {
    uint64_t requests;    /* sent, redirects and retries counted each */
    uint64_t connections; /* opened ever */
    uint64_t reused;      /* requests that found an open connection */
    uint64_t retries;     /* sent again, because a kept connection had ended meanwhile */
    uint64_t redirects;
    size_t open, idle; /* connections now */
};
WEFT_API void weft_http_client_stats(const struct weft_http_client *c,
                                     struct weft_http_client_stats *ret);

/* --- Asking ---------------------------------------------------------------------------------- */

/* A request. Everything is borrowed until the call returns. */
struct weft_http_call {
    const char *url;
    const char *method; /* NULL: "GET", with a body "POST" */
    /* Added to Host, User-Agent, Accept, Accept-Encoding, Cookie, which a field of the same name
     * replaces. Lengths may be 0 for texts that end in NUL. Framing fields (Content-Length,
     * Transfer-Encoding, Connection, Upgrade, TE, Trailer, Expect) are the client's: -EINVAL. */
    const struct weft_http_field *fields;
    size_t n_fields;

    const void *body; /* the whole body ... */
    size_t body_len;
    /* ... or where it comes from: fills buf with 1 to cap bytes, 0 at its end, or an error, which
     * ends the request. May wait. length -1: not known, it is sent in chunks. */
    ssize_t (*produce)(void *arg, void *buf, size_t cap, weft_deadline d);
    /* Back to its beginning, when it has to be sent again; NULL: it cannot, and then a request that
     * would have to be is an error (-ESPIPE). */
    int (*rewind)(void *arg);
    void *produce_arg;
    int64_t produce_len;
    bool expect_continue; /* ask before sending the body, and wait for it up to 1 s */
    bool no_redirects;
    /* Told of each exchange on its way: ">" request and "<" response heads, "*" what happens
     * between. May be NULL; not called with NUL bytes, text lives during the call. */
    void (*trace)(void *arg, char kind, const char *text, size_t len);
    void *trace_arg;
};

/*
 * Sends a request and waits for the head of the last reply, redirects followed: 301, 302 and 303
 * turn POST to GET, credentials of the caller's (Authorization, Cookie, Proxy-Authorization) do not
 * go to another origin. A request that may be repeated (RFC 9110 section 9.2.2) and met a kept
 * connection that had just ended is sent once more; so is any that an HTTP/2 server says it has
 * done nothing with (RFC 9113 section 8.7).
 *
 * A server that replies before it has the whole body (RFC 9112 section 9.5), with anything but 1xx
 * or 2xx, gets no more of it, whether it reads on or not: that is the reply. Who produces the body
 * is not interrupted, so then the server is heard when produce returns.
 *
 * d: for all of it, names and connecting and handshake and waiting for a place in the pool.
 * *ret: the caller's, to be closed, which also frees the connection for others.
 *
 * Returns 0; WEFT_EURL; -EINVAL; WEFT_EPROTOCOL (the reply is not HTTP, the detail says where),
 * WEFT_ETOOLONG (its head), WEFT_EEOF, WEFT_ELIMIT (too many redirects, or a plain thread with all
 * connections in use); -ESPIPE; what weft_dial returns; -ETIMEDOUT, -ECANCELED, -ENOMEM.
 */
WEFT_API WEFT_MUST_CHECK int weft_http_fetch(struct weft_http_client *c,
                                             const struct weft_http_call *call,
                                             struct weft_http_reply **ret, weft_deadline d);
/* The same for GET and nothing else. */
WEFT_API WEFT_MUST_CHECK int weft_http_get(struct weft_http_client *c, const char *url,
                                           struct weft_http_reply **ret, weft_deadline d);
/* The same for POST with a body of that type. */
WEFT_API WEFT_MUST_CHECK int weft_http_post(struct weft_http_client *c, const char *url,
                                            const char *type, const void *body, size_t len,
                                            struct weft_http_reply **ret, weft_deadline d);

/* --- The reply ------------------------------------------------------------------------------- */

WEFT_API int weft_http_reply_status(const struct weft_http_reply *r);  /* 200 ... */
WEFT_API int weft_http_reply_version(const struct weft_http_reply *r); /* 10, 11, 20 */
/* Where it came from, after redirects. Lives as long as the reply, as all texts here do. */
WEFT_API const char *weft_http_reply_url(const struct weft_http_reply *r);
/* The first field of that name, whatever its case; NULL when there is none. */
WEFT_API const char *weft_http_reply_field(const struct weft_http_reply *r, const char *name);
/* All of them, in their order; names and values end in a NUL. */
WEFT_API const struct weft_http_field *weft_http_reply_fields(const struct weft_http_reply *r,
                                                              size_t *n);
/* Content-Length as it was sent, of the encoded body; -1: not known. */
WEFT_API int64_t weft_http_reply_length(const struct weft_http_reply *r);

/*
 * Some bytes of the body, decoded, 1 to cap; 0 at its end. Returns WEFT_EEOF when the connection
 * ended before the body did, WEFT_EPROTOCOL (framing, or compressed data that is not valid),
 * WEFT_ELIMIT (more than decoded_max), -ETIMEDOUT and -ECANCELED (nothing is lost) ...
 */
WEFT_API WEFT_MUST_CHECK ssize_t weft_http_reply_read(struct weft_http_reply *r, void *buf,
                                                      size_t cap, weft_deadline d);
/*
 * The rest of the body as a whole, with a NUL behind it; *data belongs to the reply. Returns 0,
 * WEFT_ELIMIT when it is longer than body_max, else as above.
 */
WEFT_API WEFT_MUST_CHECK int weft_http_reply_body(struct weft_http_reply *r, const void **data,
                                                  size_t *len, weft_deadline d);
/* A field behind a chunked body, once reading has come to its end; NULL when there is none. */
WEFT_API const char *weft_http_reply_trailer(const struct weft_http_reply *r, const char *name);

/*
 * Frees the reply. A connection whose reply was read to its end serves the next request; what is
 * left of a short body is read for that, else the connection is closed. Never waits. NULL is fine.
 */
WEFT_API void weft_http_reply_close(struct weft_http_reply **r);

/* --- Cookies --------------------------------------------------------------------------------- */

/*
 * Puts a cookie into the client's jar as if that URL had sent it: "name=value; Path=/; ...".
 * Returns 0, WEFT_EURL, -EINVAL (not a cookie, or not one that this URL may set), -ENOMEM.
 */
WEFT_API WEFT_MUST_CHECK int weft_http_client_cookie(struct weft_http_client *c, const char *url,
                                                     const char *set_cookie);
/* Forgets all cookies. */
WEFT_API void weft_http_client_forget(struct weft_http_client *c);

WEFT_END_DECLS
#endif
