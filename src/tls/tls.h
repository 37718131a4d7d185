/* SPDX-License-Identifier: MIT */
#ifndef WEFT__TLS_TLS_H
#define WEFT__TLS_TLS_H
/*
 * TLS from the inside (floor 4): a filter, which is a stream whose class moves the bytes of another
 * stream, its lower one, through OpenSSL.
 *
 * OpenSSL sees neither loop nor descriptor. It reads from the lower stream's read-ahead and writes
 * to the lower stream's queue of joined writes, or, where there is none, to a buffer of the filter
 * (bio.c). Neither ever waits: what waits are the class's functions, between calls of OpenSSL. So
 * an SSL object is used by a reader and a writer by turns and never by both at once.
 *
 * Invariants:
 *  - the flow that is the filter's reader, and only it, reads the lower stream; its writer, and
 * only it, waits for the lower stream's room;
 *  - OpenSSL's error queue is empty whenever a flow may be switched away, and after each call;
 *  - a part of a handshake that is on the work pool has the filter to itself (away.c);
 *  - a filter that waits for input holds no buffer, of its own or of OpenSSL's.
 */
#include <openssl/ssl.h>
#include <pthread.h>

#include <weft/tls.h>

#include "net/secure.h"
#include "net/stream.h"

#define WEFT__TLS_RECORD_MAX 16384u
#define WEFT__TLS_RECORD_OVERHEAD 128u /* header, tag, padding, and some to spare */
#define WEFT__TLS_HOST_MAX 254u
#define WEFT__TLS_DETAIL_MAX 512 /* the error detail keeps 199 */

/* --- Contexts -------------------------------------------------------------------------------- */

/* A certificate with its key, as it was read. */
struct weft__tls_cert {
    X509 *leaf;
    EVP_PKEY *key;
    STACK_OF(X509) * chain;
};

/* What a handshake uses: never changed once it is made, and counted. */
struct weft__tls_conf {
    _Atomic int refs;
    SSL_CTX *ctx;
    struct weft__tls_cert *certs;
    size_t n_certs;
    struct weft_tls *tls; /* not counted: a conf in a handshake has its context held */
};

#define WEFT__TLS_TICKET_KEYS 3

struct weft__tls_ticket_key {
    unsigned char name[16], aes[32], mac[32];
    bool valid;
};

struct weft__tls_stream;

struct weft__tls_session {
    struct weft__node link; /* most recently used first */
    SSL_SESSION *session;
    char key[];
};

struct weft_tls {
    struct weft__secure secure; /* first: floor 3 sees that much of it */
    _Atomic int refs;
    pthread_mutex_t lock; /* guards what follows; held for a few instructions */
    struct weft__tls_conf *conf;
    struct weft__tls_ticket_key keys[WEFT__TLS_TICKET_KEYS]; /* the one in use first */
    int64_t keys_ns;
    struct weft__list sessions;
    size_t n_sessions;
    pthread_mutex_t reloading; /* held for the whole of a reload; guards what follows */
    unsigned generation;       /* counts reloads */
    /* Not changed after open. */
    struct weft_tls_options options; /* with copies of its texts */
    EVP_CIPHER *ticket_cipher;       /* looked up once: by name for each ticket it costs more */
    uint8_t *alpn;                   /* as on the wire */
    size_t alpn_len;
    int keylog_fd;
};

/* Once for the process; -ENOMEM. */
int weft__tls_init(void);
/* Of contexts, for floor 3. */
extern const struct weft__secure_class weft__tls_secure_class;
struct weft_tls *weft__tls_ref(struct weft_tls *tls);
void weft__tls_unref(struct weft_tls *tls);
struct weft__tls_conf *weft__tls_conf_ref(struct weft_tls *tls);
void weft__tls_conf_unref(struct weft__tls_conf *c);
/* Makes a conf of the context's options; reads files (conf.c). */
int weft__tls_conf_open(struct weft__tls_conf **ret, struct weft_tls *tls);

/* names: of the options; NULL: the default. After the versions are set (ciphers.c). */
int weft__tls_set_ciphers(SSL_CTX *ctx, const char *names);

/* Reading PEM (pem.c). */
/* What the detail calls a file or text: never the text, which may have a key in it. */
const char *weft__tls_source_name(const char *source);
int weft__tls_load_cert(struct weft__tls_cert *ret, const struct weft_tls_certificate *c);
void weft__tls_free_cert(struct weft__tls_cert *c);
int weft__tls_load_trust(X509_STORE *store, const char *text, STACK_OF(X509_NAME) * names);
int weft__tls_load_crls(X509_STORE *store, const char *text);

/* Tickets and sessions (session.c). */
int weft__tls_tickets_open(struct weft_tls *tls);
int weft__tls_keys_rotate(struct weft_tls *tls);
int weft__tls_session_setup(struct weft_tls *tls, SSL_CTX *ctx);
void weft__tls_sessions_drop(struct weft_tls *tls);
/* Lets a client's handshake go on with a session of its host, if one is kept. */
void weft__tls_session_use(struct weft__tls_stream *t);

/* --- Filters --------------------------------------------------------------------------------- */

/* Bytes of TLS on their way to a lower stream that does not join writes. */
struct weft__tls_bytes {
    uint8_t *data;
    size_t start, end, cap;
};

struct weft__tls_stream {
    struct weft_stream s; /* first: the two are one block */
    struct weft_stream *lower;
    SSL *ssl;
    struct weft_tls *tls;
    struct weft__tls_conf *conf;
    struct weft__tls_bytes pend, sending; /* the latter is what the writer is sending */
    char *texts;                          /* weft_tls_info's */
    size_t bound;                         /* bytes that may wait below, unless we wait for them */
    uint64_t burst;                       /* bytes written since the last pause */
    int64_t wrote_ns;
    int read_error; /* what reading has come to for good; 0: goes on */
    int out_error;  /* a byte for the lower stream was lost: nothing may follow */
    bool server;
    bool alerted; /* OpenSSL has told the peer why this ends (RFC 8446, 6.2) */
    bool joins;   /* the lower stream has a queue */
    bool any_in, any_out;
    uint8_t first_in[8]; /* what the peer began with, to say what it was when it is not TLS */
    uint8_t n_first_in;
    char *session_key; /* clients: where to keep sessions; NULL: nowhere */
    char *host;        /* clients: as it was given */
    char *why;         /* during the handshake: what verification said; WEFT__TLS_DETAIL_MAX */
    struct weft__tls_away *away; /* likewise, where the work pool does a part of it; else NULL */
};

extern const struct weft__stream_class weft__tls_class;
extern const struct weft__filter_class weft__tls_filter_class; /* callback mode: callback.c */

static inline struct weft__tls_stream *weft__tls_of(const struct weft_stream *s)
{
    return WEFT__CONTAINER_OF(s, struct weft__tls_stream, s);
}
/* Whether the peer can hear why it ends: the alert is on its way. */
static inline bool weft__tls_told(const struct weft__tls_stream *t)
{
    return t->alerted && t->out_error == 0;
}
/* The filter of an SSL object, in OpenSSL's callbacks. */
static inline struct weft__tls_stream *weft__tls_of_ssl(const SSL *ssl)
{
    return SSL_get_app_data(ssl);
}

/* A filter over lower that has not begun (handshake.c); as of struct weft__secure_class. */
int weft__tls_filter(struct weft_stream **ret, struct weft_tls *tls, struct weft_stream *lower,
                     bool server, const char *host);
/* Whether a client may do with that host (NULL: any): 0, -EINVAL. */
int weft__tls_check_host(const struct weft_tls *tls, const char *host);
/* As far as the handshake goes without waiting: 1 it is done, 0 it needs input, < 0, or
 * WEFT__SHAKE_AWAY: what comes next is for the work pool. */
int weft__tls_shake_step(struct weft__tls_stream *t);
/* What can be had without waiting (stream.c): > 0, 0 at the end, -EAGAIN, < 0. */
ssize_t weft__tls_take(struct weft__tls_stream *t, void *buf, size_t cap);
/* Encrypts all of iov, which it changes, without waiting. */
int weft__tls_seal(struct weft__tls_stream *t, struct iovec *iov, int n);

/* --- On the work pool (away.c) --------------------------------------------------------------- */

struct weft__tls_away {
    struct weft__work work;
    struct weft__tls_stream *t;
    struct weft__wait *wait; /* the task's; NULL: in callback mode */
    bool go_on;              /* the step need not stop at the costly part */
    bool out;                /* the pool has the filter */
    bool told;               /* the result is there, and not taken: callback mode */
    int result;              /* as of weft__tls_shake_step */
    struct weft__detail detail;
};

/* For tests: called by the pool's thread before a part of a handshake. NULL: off. */
extern void (*weft__tls_away_hook)(void);
/* From now on t's steps stop at the costly part; -ENOMEM. */
int weft__tls_away_open(struct weft__tls_stream *t);
void weft__tls_away_close(struct weft__tls_stream *t);
/* A step that has come to WEFT__SHAKE_AWAY goes on, its result as of weft__tls_shake_step: in a
 * task, which waits, and is a cancellation point; */
int weft__tls_away_wait(struct weft__tls_stream *t, weft_deadline d);
/* in callback mode: WEFT__SHAKE_AWAY: the transport will be told, and the result can be taken. */
int weft__tls_away_start(struct weft__tls_stream *t);
int weft__tls_away_take(struct weft__tls_stream *t);
/* True: it was not begun, and nobody will be told. */
bool weft__tls_away_withdraw(struct weft__tls_stream *t);
static inline bool weft__tls_is_away(const struct weft__tls_stream *t)
{
    return t->away != NULL && t->away->out;
}

/* --- Bytes below (bio.c) --------------------------------------------------------------------- */

/* Gives t->ssl its BIO; -ENOMEM. */
int weft__tls_bio_attach(struct weft__tls_stream *t);
void weft__tls_bio_fini(void);
/* Of answers of the protocol itself, to a peer that reads none, beyond the lower stream's bound. */
#define WEFT__TLS_ANSWERS_MAX ((size_t)64 * 1024)
/* Waits until the lower stream has bytes read ahead: 1, 0 at its end, < 0. */
int weft__tls_input(struct weft__tls_stream *t, weft_deadline d);
/* Bytes that the lower stream has not sent. */
size_t weft__tls_unsent(const struct weft__tls_stream *t);
/* Sends to a socket what can be sent without waiting. Not while another writer is inside. */
void weft__tls_push_now(struct weft__tls_stream *t);
/* Sends everything to the lower stream; on a queue there is nothing to do. The writer's. */
int weft__tls_push(struct weft__tls_stream *t, weft_deadline d);
/* The same, and waits until the lower stream has sent it. */
int weft__tls_flush(struct weft__tls_stream *t, weft_deadline d);
/* Waits for room for len bytes of TLS below. The writer's. */
int weft__tls_room(struct weft__tls_stream *t, size_t len, weft_deadline d);
void weft__tls_bytes_free(struct weft__tls_bytes *b);
/* What was written on the work pool goes the way of all output. */
void weft__tls_bytes_home(struct weft__tls_stream *t);

/* --- What went wrong (why.c) ----------------------------------------------------------------- */

/* To be called before each call of OpenSSL whose result matters: nothing of others is left. */
void weft__tls_errors_clear(void);
/* Turns what OpenSSL has just said of t into a code and a detail, and empties its error queue. */
int weft__tls_fail(struct weft__tls_stream *t, bool handshake);
/* A failure of OpenSSL outside a connection: code, detail "what: reason", empty queue. */
int weft__tls_fail_setup(const char *fmt, ...) WEFT_PRINTF(1, 2);
/* Keeps in t->why what is wrong with a certificate; the callback of SSL_set_verify. */
int weft__tls_verify(int ok, X509_STORE_CTX *store);

/* Text about certificates, into buf, which has room for 32 bytes at least (text.c). */
void weft__tls_name_text(const X509_NAME *name, char *buf, size_t cap);
void weft__tls_time_text(const ASN1_TIME *t, char *buf, size_t cap);
void weft__tls_names_text(X509 *cert, char *buf, size_t cap);

/* Whether the context offers that protocol (ALPN). */
bool weft__tls_offers(const struct weft_tls *tls, const char *protocol);

#endif
