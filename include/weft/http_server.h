/* SPDX-License-Identifier: MIT */
#ifndef WEFT_HTTP_SERVER_H
#define WEFT_HTTP_SERVER_H
/*
 * An HTTP server (RFC 9110, 9112): routes, requests, responses (Tornado's Application and
 * RequestHandler, aiohttp.web, twisted.web).
 *
 *     static int hello(struct weft_http_request *q, struct weft_http_response *r, void *arg)
 *     {
 *         return weft_http_text(r, 200, "hello %s\n", weft_http_param(q, "name"));
 *     }
 *     ...
 *     weft_http_route(app, "GET /hello/:name", hello, NULL);
 *     weft_http_serve(group, "tcp://0.0.0.0:8080", app, NULL);
 *
 * A handler is plain blocking code, in a task of its own (or a thread: options.server.model).
 * Requests of one connection are answered one after the other, in their order.
 *
 * Thread rule: an application is made by one thread and then only read: all workers share it, and
 * handlers run on every worker's thread. A request and its response belong to the task that runs
 * the handler, and end when it returns. Every text they give lives as long, ends with a NUL, and is
 * the library's.
 */
#include <weft/http.h>
#include <weft/server.h>

WEFT_BEGIN_DECLS

struct weft_http_app;
struct weft_http_request;
struct weft_http_response;

/*
 * Answers a request. Returns 0; or an HTTP status of 400 to 599, to be answered with its error
 * page; or a negative code: before the response has begun it becomes an error page (413, 408, 400
 * for what reading the body gave, else 500) without what was set to tell of something else (ETag,
 * Last-Modified, Cache-Control and the like), after that the connection is reset, so that the
 * client sees that something is missing. A handler that answers nothing and returns 0 is a 500,
 * too.
 */
typedef int (*weft_http_handler)(struct weft_http_request *q, struct weft_http_response *r,
                                 void *arg);

/* --- Applications ---------------------------------------------------------------------------- */

/* *ret: the caller's, until no server uses it any more and it is closed. 0 or -ENOMEM. */
WEFT_API WEFT_MUST_CHECK int weft_http_app_open(struct weft_http_app **ret);
WEFT_API void weft_http_app_close(struct weft_http_app **app);

struct weft_http_route_options {
    size_t body_max;   /* of this route; 0: the server's */
    size_t stream_max; /* likewise */
    bool at_once; /* the handler never waits: a small request is answered within the loop's callback
                     without a task, and a call that would have to wait gives -EDEADLK */
    bool no_compress;
    bool raw_query; /* the query may have %00 in it, which else is answered with 400: the handler
                       decodes weft_http_query by itself */
};

/*
 * Adds a route. pattern: "GET /users/:id/files/" and *rest behind it: a method, or * for
 * every one, and a path of segments: literal text, :name for one segment, *name for the rest of the
 * path, slashes and all, at the end only. Literal text wins over :name, and that over *name. A
 * path is matched segment by segment after percent-decoding, so that %2F is never a separator.
 * GET answers HEAD, too; OPTIONS and 405 with Allow come by themselves. Texts are copied; arg is
 * borrowed for the application's life.
 * Returns 0; -EINVAL (the pattern; the detail says where), -EEXIST (another route takes the same
 * requests; the detail says which), WEFT_ELIMIT (more than 10,000 routes, or more than
 * 48 methods that are not in enum weft_http_method), -EBUSY (a server runs), -ENOMEM.
 */
WEFT_API WEFT_MUST_CHECK int weft_http_route(struct weft_http_app *app, const char *pattern,
                                             weft_http_handler handler, void *arg);
WEFT_API WEFT_MUST_CHECK int weft_http_route_with(struct weft_http_app *app, const char *pattern,
                                                  const struct weft_http_route_options *o,
                                                  weft_http_handler handler, void *arg);

/*
 * Middleware: called for every request whose path is prefix or below it ("/" for all), in the order
 * in which they were added, those without a route included. It calls weft_http_next, which runs the
 * rest and returns its result, or answers by itself. At most 64. None is passed by for want of
 * memory: the request gets 500 then. "/a//b" is not below "/a/b": a handler that opens files by the
 * path's text refuses such a one.
 */
WEFT_API WEFT_MUST_CHECK int weft_http_use(struct weft_http_app *app, const char *prefix,
                                           weft_http_handler middleware, void *arg);
struct weft_http_use_options {
    bool at_once; /* it never waits, as of a route: without this, the requests that it is called
                     for are answered in tasks */
};
WEFT_API WEFT_MUST_CHECK int weft_http_use_with(struct weft_http_app *app, const char *prefix,
                                                const struct weft_http_use_options *o,
                                                weft_http_handler middleware, void *arg);
WEFT_API WEFT_MUST_CHECK int weft_http_next(struct weft_http_request *q,
                                            struct weft_http_response *r);

/* Makes the page of every error answer (weft_http_error): sets fields and sends, with that status.
 */
typedef int (*weft_http_error_page)(struct weft_http_request *q, struct weft_http_response *r,
                                    int status, const char *message, void *arg);
WEFT_API void weft_http_error_pages(struct weft_http_app *app, weft_http_error_page page,
                                    void *arg);

/* --- Serving --------------------------------------------------------------------------------- */

enum weft_http_log {
    WEFT_HTTP_LOG_NONE,
    WEFT_HTTP_LOG_COMMON,
    WEFT_HTTP_LOG_COMBINED,
    WEFT_HTTP_LOG_JSON
};

/* Zero means the default. Every limit is in docs/LIMITS.md. */
struct weft_http_options {
    struct weft_server_options server; /* workers, connections, drain, TLS; its idle_ms and
                                          first_byte_ms are replaced by those below */
    int workers;                       /* short for server.workers */
    const char *cert, *key;            /* short for server.cert and server.key: for tls:// */
    const char *name;                  /* of the Server field; NULL: "weft", "": no such field */
    const char *const *hosts; /* host names that are served, NULL at the end; others: 421. NULL: all
                                 (":port" is not looked at) */
    /* Times, ms; negative: no limit. Over HTTP/2 header_ms is that of the preface with the first
     * SETTINGS behind it, of a head with its CONTINUATION frames, and of each other frame, from
     * the first byte to the end; but of DATA only that of the frame's own 9 bytes: within its
     * payload, too, body_ms counts between two pieces, whether or not a handler reads. Who is late
     * is told by GOAWAY (ENHANCE_YOUR_CALM), and the connection ends, with what is under way on it.
     * Between two frames idle_ms counts, and of a request that is under way its own limits. */
    int64_t header_ms;  /* from its first byte to the end of a request's head; 0: 10,000 */
    int64_t idle_ms;    /* a connection between two requests, or before the first; 0: 60,000 */
    int64_t body_ms;    /* between two pieces of a body; 0: 30,000 */
    int64_t request_ms; /* a whole request: reading and writing after it fail; 0: no limit */
    int64_t write_ms;   /* a write makes no progress; 0: 60,000 */
    int64_t park_ms;    /* an idle connection gives its task back after so long; 0: 100 */
    int min_rate;       /* bytes a second that a body must bring after its first 5 s; 0: 100 */
    /* Sizes. */
    size_t line_max;     /* of the request line; 0: 8 KiB */
    size_t head_max;     /* of line and fields; 0: 32 KiB, at most 64 KiB */
    int fields_max;      /* 0: 100 */
    size_t body_max;     /* of a body that is read as a whole; 0: 1 MiB */
    size_t stream_max;   /* of any body; 0: 1 GiB */
    int requests_max;    /* of one connection; 0: no limit */
    int streams_max;     /* HTTP/2: requests of one connection at once; 0: 100 */
    bool no_http2;       /* HTTP/1 alone, also on tls:// and for who begins with HTTP/2's preface */
    bool no_compress;    /* send nothing compressed that the handler did not compress */
    size_t compress_min; /* smaller bodies are sent as they are; 0: 1 KiB */
    /* The access log: a line a request, without a newline, to log or else to log_fd, each text of
     * the client's cut at 1 KiB. Neither is waited for: lines that a full pipe does not take are
     * dropped and counted. */
    enum weft_http_log log_format;
    void (*log)(void *arg, const char *line, size_t len); /* from each worker's thread */
    void *log_arg;
    int log_fd; /* 0: none (standard input is no log) */
};

/*
 * Serves app at an endpoint as a member of g (both borrowed; o copied, its texts borrowed).
 * Errors as of weft_serve, and -EINVAL for options that make no sense. As there, an endpoint whose
 * host is a name waits until that is looked up, 10 s at most.
 */
WEFT_API WEFT_MUST_CHECK int weft_http_serve(struct weft_group *g, const char *endpoint,
                                             struct weft_http_app *app,
                                             const struct weft_http_options *o);

struct weft_http_server;
/* The same with a handle, borrowed: it lives as long as its group. */
WEFT_API WEFT_MUST_CHECK int weft_http_server_open(struct weft_http_server **ret,
                                                   struct weft_group *g, const char *endpoint,
                                                   struct weft_http_app *app,
                                                   const struct weft_http_options *o);
WEFT_API int weft_http_server_endpoint(const struct weft_http_server *s, char *buf, size_t cap);
/* As weft_server_drain. A response that begins from now on ends its connection (Connection: close);
 * a connection that has been idle for half a second ends, one that asked since then after its next
 * answer. */
WEFT_API WEFT_MUST_CHECK int weft_http_server_drain(struct weft_http_server *s, weft_deadline d);

struct weft_http_server_stats {
    struct weft_server_stats server;
    uint64_t requests;     /* answered or given up */
    uint64_t by_class[6];  /* by the first digit of their status; 0: reset without one */
    uint64_t bad_requests; /* refused before a handler saw them, or not finished in header_ms */
    uint64_t upgrades;
    uint64_t parked;  /* connections that are idle without a task, now */
    uint64_t at_once; /* answered without a task */
    uint64_t log_dropped;
};
/* May be called from any thread. */
WEFT_API void weft_http_server_stats_mt(const struct weft_http_server *s,
                                        struct weft_http_server_stats *ret);

/* Serves HTTP on a stream that came some other way; closes it. For a task or thread. Needs a
 * server's options but no server; app borrowed. Returns 0, or what ended the connection. */
WEFT_API WEFT_MUST_CHECK int weft_http_serve_stream(struct weft_stream **s,
                                                    struct weft_http_app *app,
                                                    const struct weft_http_options *o);

/* --- Requests --------------------------------------------------------------------------------
 * None of these waits. A text that is not there is NULL. */

WEFT_API enum weft_http_method weft_http_method(const struct weft_http_request *q);
WEFT_API const char *weft_http_method_text(const struct weft_http_request *q);
WEFT_API const char *weft_http_target(struct weft_http_request *q); /* as it came */
WEFT_API const char *weft_http_path(struct weft_http_request *q);   /* percent-decoded */
WEFT_API const char *weft_http_query(struct weft_http_request *q);  /* behind '?', as it came */
/* The route that answers, as it was added: for statistics. NULL: none. */
WEFT_API const char *weft_http_pattern(const struct weft_http_request *q);
/* A segment that the route names, decoded; "" when the route has no such name, or no memory is left
 * (:name never is empty otherwise). */
WEFT_API const char *weft_http_param(struct weft_http_request *q, const char *name);
/* The value of a parameter of the query (the first of that name), decoded. NULL, too, for one with
 * a NUL in it, which reaches a handler with raw_query alone. */
WEFT_API const char *weft_http_query_param(struct weft_http_request *q, const char *name);
/* A field's value; several of one name are joined by ", ". Names are not case-sensitive. */
WEFT_API const char *weft_http_field(struct weft_http_request *q, const char *name);
/* The fields one by one, in their order; false behind the last. */
WEFT_API bool weft_http_field_at(const struct weft_http_request *q, size_t i,
                                 struct weft_http_field *ret);
WEFT_API const char *weft_http_cookie(struct weft_http_request *q, const char *name);
WEFT_API const char *weft_http_host(struct weft_http_request *q); /* with its port, if it has one */
WEFT_API int weft_http_version(const struct weft_http_request *q); /* 10, 11, 20 */
/* The client's address, as text without a port; "unix" and the like for what has none. */
WEFT_API const char *weft_http_peer(struct weft_http_request *q);
WEFT_API int weft_http_peer_address(struct weft_http_request *q, struct weft_address *ret);
/* The stream below, for weft_tls_info; borrowed, and not to be read or written. */
WEFT_API struct weft_stream *weft_http_stream(struct weft_http_request *q);
/* The request's id: the client's X-Request-Id if it is harmless, else 16 hex digits of our own. */
WEFT_API const char *weft_http_request_id(struct weft_http_request *q);
/* True once the server drains: a long answer should come to its end. */
WEFT_API bool weft_http_draining(const struct weft_http_request *q);
/* Memory that lives as long as the request; NULL: none. */
WEFT_API void *weft_http_alloc(struct weft_http_request *q, size_t size);
/* A pointer that middleware leaves for the handler; at most 8 keys. WEFT_ELIMIT. key: borrowed. */
WEFT_API WEFT_MUST_CHECK int weft_http_note(struct weft_http_request *q, const char *key, void *p);
WEFT_API void *weft_http_noted(const struct weft_http_request *q, const char *key);

/* --- The request's body: these wait ----------------------------------------------------------
 * All are cancellation points. They fail with -EMSGSIZE (longer than the maximum), WEFT_EPROTOCOL
 * (its framing is wrong), WEFT_EEOF (cut off), -ETIMEDOUT (d, body_ms, min_rate or request_ms),
 * -ECANCELED. The first reading sends "100 Continue" to a client that waits for it. */

/* The length that the client announced; -1: it did not (chunked). 0: there is none. */
WEFT_API int64_t weft_http_length(const struct weft_http_request *q);
/* Some bytes; 0 at the end. What is not read is not received: that holds the client back. */
WEFT_API WEFT_MUST_CHECK ssize_t weft_http_read(struct weft_http_request *q, void *buf, size_t cap,
                                                weft_deadline d);
/* The whole body, at most body_max, with a NUL behind it. Memory of the request. */
WEFT_API WEFT_MUST_CHECK int weft_http_body(struct weft_http_request *q, const void **data,
                                            size_t *len, weft_deadline d);
/* A trailer field, once the body has been read to its end. */
WEFT_API const char *weft_http_trailer(struct weft_http_request *q, const char *name);

/* Reads the whole body as application/x-www-form-urlencoded; then weft_http_form_value finds
 * values. -EINVAL: it is of another type; WEFT_EPROTOCOL, too, where a name or value has a NUL in
 * it, encoded (%00) or not, at which a text would end. At most 1,000 values. */
WEFT_API WEFT_MUST_CHECK int weft_http_form(struct weft_http_request *q, weft_deadline d);
WEFT_API const char *weft_http_form_value(struct weft_http_request *q, const char *name);

/* A part of a multipart/form-data body. Texts live until the next part. */
struct weft_http_part {
    const char *name;
    const char *filename; /* as the client says, its directories cut off; NULL: no file */
    const char *type;     /* "text/plain" when it does not say */
};
struct weft_http_multipart_options {
    size_t parts_max; /* 0: 100 */
    size_t part_max;  /* bytes of one part; 0: the body's maximum */
    size_t head_max;  /* bytes of one part's fields; 0: 8 KiB */
};
/* Begins to read the parts (o may be NULL). -EINVAL: it is of another type, or has no boundary. */
WEFT_API WEFT_MUST_CHECK int weft_http_multipart(struct weft_http_request *q,
                                                 const struct weft_http_multipart_options *o);
/* The next part, passing over what is left of the one before: 1, or 0 behind the last. */
WEFT_API WEFT_MUST_CHECK int weft_http_part_next(struct weft_http_request *q,
                                                 struct weft_http_part *ret, weft_deadline d);
/* Bytes of the part; 0 at its end. */
WEFT_API WEFT_MUST_CHECK ssize_t weft_http_part_read(struct weft_http_request *q, void *buf,
                                                     size_t cap, weft_deadline d);
/* Writes the part to a new file of mode 0600, which is removed on an error; returns its length.
 * -EEXIST: there is one already. */
WEFT_API WEFT_MUST_CHECK int64_t weft_http_part_save(struct weft_http_request *q, const char *path,
                                                     weft_deadline d);

/* --- Responses -------------------------------------------------------------------------------
 * Fields first, then one call that sends all, or begin, writes and the handler's return. */

/* What begin and the one-shot calls without a status of their own send; 200 at first. */
WEFT_API void weft_http_status(struct weft_http_response *r, int status);
WEFT_API int weft_http_status_of(const struct weft_http_response *r);
/* Sets a field, or adds one more of that name; both copied. -EINVAL for bytes that may not be in
 * it, or a field that is the library's (Content-Length, Transfer-Encoding, Connection);
 * -EALREADY: sent already; WEFT_ELIMIT: more than 64 fields; -ENOMEM. Content-Length may be set
 * before weft_http_begin. */
WEFT_API WEFT_MUST_CHECK int weft_http_set(struct weft_http_response *r, const char *name,
                                           const char *value);
WEFT_API WEFT_MUST_CHECK int weft_http_add(struct weft_http_response *r, const char *name,
                                           const char *value);

struct weft_http_cookie_options {
    const char *path, *domain; /* NULL: "/", none */
    int64_t max_age_s;         /* 0: until the browser ends; negative: delete it */
    bool not_secure;           /* may travel without TLS */
    bool not_http_only;        /* scripts may read it */
    const char *same_site;     /* NULL: "Lax" */
};
WEFT_API WEFT_MUST_CHECK int weft_http_set_cookie(struct weft_http_response *r, const char *name,
                                                  const char *value,
                                                  const struct weft_http_cookie_options *o);

/* Sends a whole response. type NULL: a Content-Type that was set, or none. These wait. A GET or
 * HEAD whose conditions (If-Match, If-None-Match, If-Modified-Since ...) the ETag or Last-Modified
 * that was set answers gets its 304 or 412 instead. The conditions of other methods are the
 * handler's, to be looked at before it does anything. 0, or as of weft_write. */
WEFT_API WEFT_MUST_CHECK int weft_http_send(struct weft_http_response *r, int status,
                                            const char *type, const void *body, size_t len);
WEFT_API WEFT_PRINTF(3, 4) WEFT_MUST_CHECK
    int weft_http_text(struct weft_http_response *r, int status, const char *fmt, ...);
WEFT_API WEFT_MUST_CHECK int weft_http_redirect(struct weft_http_response *r, int status,
                                                const char *location);
/* An error page: the application's, or a short one, in JSON for whom prefers that. */
WEFT_API WEFT_PRINTF(3, 4) WEFT_MUST_CHECK
    int weft_http_error(struct weft_http_response *r, int status, const char *fmt, ...);

/* A response in pieces: its length is told if Content-Length was set, else it is chunked (for
 * HTTP/1.0, ended by the connection's end). write waits while the client does not read. */
WEFT_API WEFT_MUST_CHECK int weft_http_begin(struct weft_http_response *r);
WEFT_API WEFT_MUST_CHECK int weft_http_write(struct weft_http_response *r, const void *buf,
                                             size_t len, weft_deadline d);
/* Everything written so far leaves now. */
WEFT_API WEFT_MUST_CHECK int weft_http_flush(struct weft_http_response *r, weft_deadline d);
/* A trailer, before the handler returns; dropped where the client cannot have it. As set. */
WEFT_API WEFT_MUST_CHECK int weft_http_set_trailer(struct weft_http_response *r, const char *name,
                                                   const char *value);
/* Ends the response before the handler returns, for work that the client need not wait for. */
WEFT_API WEFT_MUST_CHECK int weft_http_end(struct weft_http_response *r);

/* Sends len bytes of an open file from offset on, sendfile(2) where that can be. */
WEFT_API WEFT_MUST_CHECK int weft_http_send_fd(struct weft_http_response *r, int fd, off_t offset,
                                               size_t len);

/* --- Files ----------------------------------------------------------------------------------- */

struct weft_http_static_options {
    const char *dir;           /* opened now, so a later rename does not matter */
    const char *index;         /* NULL: "index.html"; "": none */
    bool list;                 /* a listing for a directory without an index */
    bool hidden;               /* serve names that begin with a dot, too */
    bool precompressed;        /* NAME.br and NAME.gz beside NAME, for clients that take them */
    const char *cache_control; /* NULL: none */
    /* Files that each worker keeps open for the next request, the ones used last; 0: none, at most
     * 100,000. A thread without a loop keeps none. A file that was written to, deleted or replaced
     * is noticed at once, what changes above it (a directory renamed, a symbolic link, rights)
     * after keep_ms; one that nobody asks for any more stays open, and its space taken, until
     * others need its place. */
    int keep_open;
    int64_t keep_ms; /* 0: 1,000 */
};
/* Serves the files below a directory at prefix (GET and HEAD), with ranges and conditions. Nothing
 * outside of dir is reached, by no "..", no symbolic link. A file has one path alone, so that no
 * middleware is passed by: with "//" in it, it is 404. Errors as of weft_http_route and
 * open(2); -ENOSYS, or what a filter of system calls says, where there is no openat2(2). */
WEFT_API WEFT_MUST_CHECK int weft_http_static(struct weft_http_app *app, const char *prefix,
                                              const struct weft_http_static_options *o);
/* Sends one file, by its path, in the same way. 404 when there is none. What fails before anything
 * was sent leaves the response as it was, for another answer. */
WEFT_API WEFT_MUST_CHECK int weft_http_file(struct weft_http_response *r, const char *path);

/* --- Server-sent events (the HTML standard, 9.2) ---------------------------------------------- */

WEFT_API WEFT_MUST_CHECK int weft_http_sse_begin(struct weft_http_response *r);
/* One event; event and id may be NULL, data may have several lines. Leaves at once. */
WEFT_API WEFT_MUST_CHECK int weft_http_sse_send(struct weft_http_response *r, const char *event,
                                                const char *id, const char *data, weft_deadline d);

/* --- Another protocol on the same connection -------------------------------------------------- */

/* The protocol of the Upgrade field that the client asks for, case-insensitive. */
WEFT_API bool weft_http_wants_upgrade(struct weft_http_request *q, const char *protocol);
/*
 * Answers 101 and gives the stream: *ret is the caller's, who closes it; the handler may return and
 * leave it to others. Fields that were set are sent, Upgrade and Connection come by themselves.
 *
 * Over HTTP/2 an extended CONNECT (RFC 8441) asks for it, and the answer is 200. The stream is one
 * of its connection then, which lives on for it, also in a drain; when that ends all the same, by
 * its client or with its server, the stream's calls give -ECONNRESET, as they do on a plain thread
 * as soon as the handler returns. It is closed by who has it even so.
 */
WEFT_API WEFT_MUST_CHECK int weft_http_upgrade(struct weft_http_request *q,
                                               struct weft_http_response *r, const char *protocol,
                                               struct weft_stream **ret);

WEFT_END_DECLS
#endif
