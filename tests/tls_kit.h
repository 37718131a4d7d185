/* SPDX-License-Identifier: MIT */
/*
 * What the tests of TLS share: certificates, made anew by the openssl command for each program, and
 * pairs of secured streams.
 */
#ifndef TLS_KIT_H
#define TLS_KIT_H

#include "rt_kit.h"

#include <unistd.h>

#include <weft/listener.h>
#include <weft/tls.h>

static char tls_kit_dir[64];
static pthread_once_t tls_kit_once = PTHREAD_ONCE_INIT;

static inline void tls_kit_remove(void)
{
    char command[128];
    (void)snprintf(command, sizeof command, "rm -rf %s", tls_kit_dir);
    CHECK_EQ(system(command), 0);
}

static inline void tls_kit_make(void)
{
    const char *root = getenv("WEFT_SOURCE_ROOT");
    char command[1024];
    (void)snprintf(tls_kit_dir, sizeof tls_kit_dir, "/tmp/weft-tls-XXXXXX");
    CHECK(mkdtemp(tls_kit_dir) != NULL);
    (void)atexit(tls_kit_remove);
    (void)snprintf(command, sizeof command, "sh '%s/tests/tls_fixtures.sh' %s",
                   root != NULL ? root : ".", tls_kit_dir);
    CHECK_EQ(system(command), 0);
}

/* The path of a fixture, in one of a few buffers that are used by turns. */
static inline const char *tls_kit_file(const char *name)
{
    static _Thread_local char buf[16][128];
    static _Thread_local unsigned next;
    pthread_once(&tls_kit_once, tls_kit_make);
    char *at = buf[next++ % 16];
    (void)snprintf(at, sizeof buf[0], "%s/%s", tls_kit_dir, name);
    return at;
}

static inline struct weft_tls_certificate tls_kit_cert(const char *chain, const char *key)
{
    return (struct weft_tls_certificate){.chain = tls_kit_file(chain), .key = tls_kit_file(key)};
}

/* A handshake may take long where all is slow. */
static inline struct weft_tls *tls_kit_open(const struct weft_tls_options *o)
{
    struct weft_tls_options patient = *o;
    struct weft_tls *tls = NULL;
    if (KIT_SLOW && patient.handshake_ms == 0)
        patient.handshake_ms = 120000;
    int err = weft_tls_open(&tls, &patient);
    if (err != 0)
        (void)fprintf(stderr, "%s: %s\n", weft_error_name(err), weft_error_detail());
    CHECK_EQ(err, 0);
    return tls;
}

/* A server's context with the certificate of a name ("server" ...), and a client's that trusts it.
 */
static inline struct weft_tls *tls_kit_server(const char *name)
{
    char chain[32], key[32];
    (void)snprintf(chain, sizeof chain, "%s.pem", name);
    (void)snprintf(key, sizeof key, "%s.key", name);
    struct weft_tls_certificate c = tls_kit_cert(chain, key);
    return tls_kit_open(&(struct weft_tls_options){.certificates = &c, .n_certificates = 1});
}

static inline struct weft_tls *tls_kit_client(void)
{
    return tls_kit_open(&(struct weft_tls_options){.ca = tls_kit_file("ca.pem")});
}

/* One side of a handshake; what it came to. */
struct tls_kit_side {
    struct weft_stream *s;
    struct weft_tls *tls;
    const char *host; /* NULL: any, where the context allows it */
    int result;
    char detail[200];
    bool keep; /* on failure the stream stays open */
};

static inline int tls_kit_be_server(void *arg)
{
    struct tls_kit_side *side = arg;
    side->result = weft_tls_accept(&side->s, side->tls, weft_after_s(60));
    (void)snprintf(side->detail, sizeof side->detail, "%s", weft_error_detail());
    if (side->result < 0 && !side->keep)
        (void)weft_close(&side->s, weft_after_s(10));
    return 0;
}

static inline int tls_kit_be_client(void *arg)
{
    struct tls_kit_side *side = arg;
    side->result = weft_tls_connect(&side->s, side->tls, side->host, weft_after_s(60));
    (void)snprintf(side->detail, sizeof side->detail, "%s", weft_error_detail());
    if (side->result < 0 && !side->keep)
        (void)weft_close(&side->s, weft_after_s(10));
    return 0;
}

/* Shakes hands on two ends, each in a task or thread of its own. */
static inline void tls_kit_shake(struct tls_kit_side *client, struct tls_kit_side *server)
{
    struct weft_group *g = kit_group();
    kit_go(g, "server", tls_kit_be_server, server);
    kit_go(g, "client", tls_kit_be_client, client);
    CHECK_EQ(weft_group_wait(g, weft_after_s(120)), 0);
    CHECK_EQ(weft_group_close(&g), 0);
}

/* Secures a pair: *a becomes the client, *b the server. */
static inline void tls_kit_secure(struct weft_stream **a, struct weft_stream **b,
                                  struct weft_tls *client, struct weft_tls *server)
{
    struct tls_kit_side c = {.s = *a, .tls = client, .host = "server.test"};
    struct tls_kit_side s = {.s = *b, .tls = server};
    tls_kit_shake(&c, &s);
    if (c.result != 0 || s.result != 0)
        (void)fprintf(stderr, "client: %s, server: %s\n", c.detail, s.detail);
    CHECK_EQ(c.result, 0);
    CHECK_EQ(s.result, 0);
    *a = c.s;
    *b = s.s;
}

#endif
