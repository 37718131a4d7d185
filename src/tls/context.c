/* SPDX-License-Identifier: MIT */
/*
 * Contexts: what many connections share, and how it is replaced while they live.
 *
 * Floor 4. A context holds its options and, counted, what handshakes use of them (struct
 * weft__tls_conf). A reload makes a second one and swaps the pointers, so that a handshake under
 * way keeps what it began with.
 *
 * Invariant: the lock is not held while a file is read or a handshake computes; who reloads holds
 * another one, which only who reloads waits for.
 */
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <string.h>

#include "base/alloc.h"
#include "sys/call_file.h"
#include "tls/tls.h"
#include "wire/client_hello.h"

#define SESSIONS_DEFAULT 64u
#define TICKET_KEY_S_DEFAULT (12 * 3600)
#define ALPN_MAX 255u
#define HANDSHAKE_MS_DEFAULT 10000

/* --- Options --------------------------------------------------------------------------------- */

static int copy_text(const char **to, const char *from)
{
    *to = from != NULL ? weft__strdup(from) : NULL;
    return from != NULL && *to == NULL ? -ENOMEM : 0;
}

static void free_text(const char *text)
{
    if (text != NULL)
        OPENSSL_cleanse((char *)(uintptr_t)text, strlen(text)); /* it may be a key */
    weft__free((void *)(uintptr_t)text);
}

static void free_certificates(struct weft_tls_certificate *all, size_t n)
{
    for (size_t i = 0; all != NULL && i < n; i++) {
        free_text(all[i].chain);
        free_text(all[i].key);
        free_text(all[i].password);
    }
    weft__free(all);
}

static int copy_certificates(struct weft_tls_options *to, const struct weft_tls_options *from)
{
    size_t n = from->n_certificates;
    to->certificates = NULL;
    to->n_certificates = 0;
    if (n == 0)
        return 0;
    struct weft_tls_certificate *all = weft__calloc(n, sizeof *all);
    if (all == NULL)
        return -ENOMEM;
    int err = 0;
    for (size_t i = 0; i < n && err == 0; i++) {
        err = copy_text(&all[i].chain, from->certificates[i].chain);
        if (err == 0)
            err = copy_text(&all[i].key, from->certificates[i].key);
        if (err == 0)
            err = copy_text(&all[i].password, from->certificates[i].password);
    }
    if (err < 0) {
        free_certificates(all, n);
        return err;
    }
    to->certificates = all;
    to->n_certificates = n;
    return 0;
}

static int copy_options(struct weft_tls_options *to, const struct weft_tls_options *from)
{
    *to = *from;
    to->ca = to->ca_dir = to->crl = to->alpn = to->ciphers = to->keylog_file = NULL;
    int err = copy_certificates(to, from);
    if (err == 0)
        err = copy_text(&to->ca, from->ca);
    if (err == 0)
        err = copy_text(&to->ca_dir, from->ca_dir);
    if (err == 0)
        err = copy_text(&to->crl, from->crl);
    if (err == 0)
        err = copy_text(&to->alpn, from->alpn);
    if (err == 0)
        err = copy_text(&to->ciphers, from->ciphers);
    if (err == 0)
        err = copy_text(&to->keylog_file, from->keylog_file);
    if (to->sessions_max == 0)
        to->sessions_max = SESSIONS_DEFAULT;
    if (to->ticket_key_s <= 0)
        to->ticket_key_s = TICKET_KEY_S_DEFAULT;
    if (to->handshake_ms <= 0)
        to->handshake_ms = HANDSHAKE_MS_DEFAULT;
    return err;
}

static void free_options(struct weft_tls_options *o)
{
    free_certificates((struct weft_tls_certificate *)(uintptr_t)o->certificates, o->n_certificates);
    free_text(o->ca);
    free_text(o->ca_dir);
    free_text(o->crl);
    free_text(o->alpn);
    free_text(o->ciphers);
    free_text(o->keylog_file);
}

static int check_options(const struct weft_tls_options *o)
{
    int least = o->min_version != 0 ? (int)o->min_version : WEFT_TLS_1_2;
    int most = o->max_version != 0 ? (int)o->max_version : WEFT_TLS_1_3;
    if (least < WEFT_TLS_1_2 || most > WEFT_TLS_1_3 || least > most)
        return weft__fail(-EINVAL, "versions from TLS 1.2 to TLS 1.3 can be had");
    if (o->client != WEFT_TLS_CLIENT_ANY && o->ca == NULL && o->ca_dir == NULL)
        return weft__fail(-EINVAL, "clients' certificates need ca or ca_dir: who may issue them");
    return 0;
}

/* "h2,http/1.1" as RFC 7301 has it on the wire: each with its length before it. */
static int parse_alpn(struct weft_tls *tls)
{
    const char *text = tls->options.alpn;
    size_t len = text != NULL ? strlen(text) : 0;
    if (len == 0)
        return 0;
    tls->alpn = weft__alloc(len + 1);
    if (tls->alpn == NULL)
        return -ENOMEM;
    for (size_t at = 0; at <= len;) {
        size_t n = strcspn(text + at, ",");
        if (n == 0 || n > ALPN_MAX)
            return weft__fail(-EINVAL, "alpn '%s': names of 1 to %u bytes, with commas", text,
                              ALPN_MAX);
        tls->alpn[at] = (uint8_t)n;
        memcpy(tls->alpn + at + 1, text + at, n);
        at += n + 1;
    }
    tls->alpn_len = len + 1;
    return 0;
}

bool weft__tls_offers(const struct weft_tls *tls, const char *protocol)
{
    size_t len = strlen(protocol);
    for (size_t at = 0; at < tls->alpn_len; at += tls->alpn[at] + (size_t)1)
        if (tls->alpn[at] == len && memcmp(tls->alpn + at + 1, protocol, len) == 0)
            return true;
    return false;
}

static int open_keylog(struct weft_tls *tls)
{
    const char *path = tls->options.keylog_file;
    if (path == NULL)
        return 0;
    int fd = weft__call_open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return weft__fail(fd, "keylog_file: cannot open %s", path);
    tls->keylog_fd = fd;
    return 0;
}

/* --- Lives ----------------------------------------------------------------------------------- */

static void tls_free(struct weft_tls *tls)
{
    weft__tls_sessions_drop(tls);
    weft__tls_conf_unref(tls->conf);
    if (tls->keylog_fd >= 0) {
        int closed = weft__call_close_file(tls->keylog_fd);
        (void)closed;
    }
    EVP_CIPHER_free(tls->ticket_cipher);
    OPENSSL_cleanse(tls->keys, sizeof tls->keys);
    pthread_mutex_destroy(&tls->lock);
    pthread_mutex_destroy(&tls->reloading);
    weft__free(tls->alpn);
    free_options(&tls->options);
    weft__free(tls);
}

struct weft_tls *weft__tls_ref(struct weft_tls *tls)
{
    atomic_fetch_add_explicit(&tls->refs, 1, memory_order_relaxed);
    return tls;
}

void weft__tls_unref(struct weft_tls *tls)
{
    if (tls != NULL && atomic_fetch_sub_explicit(&tls->refs, 1, memory_order_acq_rel) == 1)
        tls_free(tls);
}

struct weft__tls_conf *weft__tls_conf_ref(struct weft_tls *tls)
{
    pthread_mutex_lock(&tls->lock);
    struct weft__tls_conf *c = tls->conf;
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    pthread_mutex_unlock(&tls->lock);
    return c;
}

int weft_tls_open(struct weft_tls **ret, const struct weft_tls_options *o)
{
    static const struct weft_tls_options none;
    int err = weft__tls_init();
    if (err == 0)
        err = check_options(o != NULL ? o : &none);
    if (err < 0)
        return err;
    struct weft_tls *tls = weft__calloc(1, sizeof *tls);
    if (tls == NULL)
        return -ENOMEM;
    tls->secure.cls = &weft__tls_secure_class;
    atomic_init(&tls->refs, 1);
    pthread_mutex_init(&tls->lock, NULL);
    pthread_mutex_init(&tls->reloading, NULL);
    weft__list_init(&tls->sessions);
    tls->keylog_fd = -1;
    err = copy_options(&tls->options, o != NULL ? o : &none);
    if (err == 0)
        err = parse_alpn(tls);
    if (err == 0)
        err = open_keylog(tls);
    if (err == 0)
        err = weft__tls_tickets_open(tls);
    if (err == 0)
        err = weft__tls_conf_open(&tls->conf, tls);
    if (err < 0) {
        tls_free(tls);
        return err;
    }
    *ret = tls;
    return 0;
}

void weft_tls_close(struct weft_tls **tls)
{
    weft__tls_unref(*tls);
    *tls = NULL;
}

static int reload(struct weft_tls *tls)
{
    struct weft__tls_conf *fresh = NULL;
    tls->generation++;
    int err = weft__tls_conf_open(&fresh, tls);
    if (err < 0)
        return err;
    pthread_mutex_lock(&tls->lock);
    struct weft__tls_conf *old = tls->conf;
    tls->conf = fresh;
    pthread_mutex_unlock(&tls->lock);
    weft__tls_sessions_drop(tls);
    weft__tls_conf_unref(old);
    return 0;
}

/* One at a time: else one that has read older files may come to its end last. */
int weft_tls_reload(struct weft_tls *tls)
{
    pthread_mutex_lock(&tls->reloading);
    int err = reload(tls);
    pthread_mutex_unlock(&tls->reloading);
    return err;
}

/* --- For floor 3 ----------------------------------------------------------------------------- */

int weft__secure_default(struct weft_tls **ret)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static struct weft_tls *one;
    pthread_mutex_lock(&lock);
    int err = one == NULL ? weft_tls_open(&one, NULL) : 0;
    *ret = one;
    pthread_mutex_unlock(&lock);
    return err;
}

static int check_server(const struct weft_tls *tls)
{
    if (tls->options.n_certificates == 0)
        return weft__fail(-EINVAL, "a server's context has a certificate");
    return 0;
}

static int64_t handshake_ms(const struct weft_tls *tls)
{
    return tls->options.handshake_ms;
}

static bool is_costly(const struct weft_tls *tls, const uint8_t *first, size_t n)
{
    return tls->options.handshake_offload && !weft__client_hello_resumes(first, n);
}

const struct weft__secure_class weft__tls_secure_class = {
    .ref = weft__tls_ref,
    .unref = weft__tls_unref,
    .check_server = check_server,
    .need = weft__client_hello_need, /* what is no record is OpenSSL's to refuse */
    .is_costly = is_costly,
    .handshake_ms = handshake_ms,
    .accept = weft_tls_accept,
    .connect = weft_tls_connect,
    .filter = weft__tls_filter,
};
