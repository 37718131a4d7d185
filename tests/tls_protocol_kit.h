/* SPDX-License-Identifier: MIT */
/*
 * Secured connections in callback mode, as the tests of them see them: what the callbacks were, in
 * order, and pairs of which one end or both are such connections.
 */
#ifndef TLS_PROTOCOL_KIT_H
#define TLS_PROTOCOL_KIT_H

#include <sys/socket.h>

#include <weft/protocol.h>

#include "net/secure.h"
#include "net/transport.h"
#include "tls_meet.h"

/* What the callbacks of one connection saw, in order, one letter each. */
struct seen {
    char order[256];
    size_t n;
    size_t bytes;
    int error;
    char detail[200];
    struct weft_stream *t;
    struct weft_event made, lost;
    int eof_keeps;
    bool quiet; /* no echo */
    char last[64];
    size_t last_len;
    struct weft_tls_info info; /* in made */
};

static inline void note(struct seen *s, char c)
{
    if (s->n < sizeof s->order - 1 && !(c == 'd' && s->n > 0 && s->order[s->n - 1] == 'd'))
        s->order[s->n++] = c;
}

static inline int on_made(struct weft_stream *t, void *arg)
{
    struct seen *s = arg;
    weft_transport_set(t, s);
    s->t = t;
    note(s, 'm');
    s->info.version = NULL;
    int err = weft_tls_info(t, &s->info);
    CHECK(err == 0 || err == -EOPNOTSUPP);
    weft_event_set(&s->made);
    return 0;
}

static inline int on_data(struct weft_stream *t, const void *data, size_t len, void *conn)
{
    struct seen *s = conn;
    CHECK(s->t == t && len > 0 && data != NULL);
    note(s, 'd');
    s->bytes += len;
    s->last_len = len < sizeof s->last ? len : sizeof s->last;
    memcpy(s->last, data, s->last_len);
    return s->quiet ? 0 : weft_transport_write(t, data, len);
}

static inline int on_eof(struct weft_stream *t, void *conn)
{
    struct seen *s = conn;
    (void)t;
    note(s, 'e');
    return s->eof_keeps;
}

static inline void on_paused(struct weft_stream *t, void *conn)
{
    (void)t;
    note(conn, 'p');
}

static inline void on_resumed(struct weft_stream *t, void *conn)
{
    (void)t;
    note(conn, 'r');
}

static inline void on_lost(struct weft_stream *t, int error, void *conn)
{
    struct seen *s = conn;
    CHECK(t == s->t);
    note(s, 'l');
    s->error = error;
    (void)snprintf(s->detail, sizeof s->detail, "%s", error < 0 ? weft_error_detail() : "");
    s->t = NULL;
    weft_event_set(&s->lost);
}

static const struct weft_protocol watch = {.made = on_made,
                                           .data = on_data,
                                           .eof = on_eof,
                                           .paused = on_paused,
                                           .resumed = on_resumed,
                                           .lost = on_lost};

/* One secured connection in callback mode, and the other end of its socket pair. */
struct held {
    struct weft_group *group;
    struct weft_tls *tls;
    struct weft_stream *c; /* plain still */
    struct seen seen;
};

static inline void held_start(struct held *h, int fd, const struct weft_factory *f,
                              const struct weft__transport_secure *how)
{
    struct weft__factory_ref *ref = NULL;
    CHECK_EQ(weft__factory_ref_new(&ref, f), 0);
    CHECK_EQ(weft__transport_open_secure(h->group, ref, fd, AF_UNIX, NULL, NULL, false, how), 0);
    weft__factory_unref(ref);
}

/* host NULL: as the server, with the certificate of `name`; else as its client. */
static inline void held_open(struct held *h, struct weft_factory f, const char *name,
                             const char *host, int64_t handshake_ms)
{
    struct weft_stream *other = NULL;
    h->group = kit_group();
    h->tls = host == NULL ? tls_kit_server(name) : tls_kit_client();
    CHECK_EQ(weft_socketpair(&h->c, &other), 0);
    int fd = weft_stream_detach(&other, NULL, 0, NULL, WEFT_NEVER);
    CHECK(fd >= 0);
    if (f.protocol == NULL)
        f.protocol = &watch;
    f.arg = &h->seen;
    held_start(
        h, fd, &f,
        &(struct weft__transport_secure){
            .tls = h->tls, .host = host, .server = host == NULL, .handshake_ms = handshake_ms});
}

/* The other end becomes a secured stream of the calling task, as the client. */
static inline void held_connect(struct held *h)
{
    struct weft_tls *tls = tls_kit_client();
    int err = weft_tls_connect(&h->c, tls, "server.test", weft_after_s(60));
    if (err < 0)
        (void)fprintf(stderr, "%s\n", weft_error_detail());
    CHECK_EQ(err, 0);
    weft_tls_close(&tls);
}

static inline void wait_lost(struct seen *s)
{
    CHECK_EQ(weft_event_wait(&s->lost, weft_after_s(60)), 0);
}

static inline void wait_made(struct seen *s)
{
    CHECK_EQ(weft_event_wait(&s->made, weft_after_s(60)), 0);
}

static inline void held_close(struct held *h)
{
    weft_abort(&h->c);
    CHECK_EQ(weft_group_close(&h->group), 0);
    weft_tls_close(&h->tls);
    CHECK_EQ(ERR_peek_error(), 0);
}

#endif
