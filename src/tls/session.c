/* SPDX-License-Identifier: MIT */
/*
 * Resumption: the keys of a server's tickets, and the sessions that a client keeps.
 *
 * Floor 4. Keys belong to the context, so that every thread, and every conf after a reload, opens
 * what another has sealed. Sessions are kept by host and port, the most recently used first.
 *
 * Invariants: a ticket is sealed with the newest key only, and opened with the last few; a session
 * of TLS 1.3 is used once (RFC 8446, C.4); there are never more than sessions_max; none goes on
 * once the peer's certificate has expired, nor, with a server, for longer than ticket keys last.
 */
#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <string.h>

#include "base/alloc.h"
#include "tls/tls.h"

/* --- A server's ticket keys ------------------------------------------------------------------ */

/* Under the lock, or before others know the context. */
static int rotate(struct weft_tls *tls)
{
    struct weft__tls_ticket_key k = {.valid = true};
    if (RAND_bytes(k.name, sizeof k.name) != 1 || RAND_priv_bytes(k.aes, sizeof k.aes) != 1 ||
        RAND_priv_bytes(k.mac, sizeof k.mac) != 1)
        return -ENOMEM;
    memmove(&tls->keys[1], &tls->keys[0], sizeof tls->keys - sizeof tls->keys[0]);
    tls->keys[0] = k;
    OPENSSL_cleanse(&k, sizeof k);
    tls->keys_ns = weft_now_ns();
    return 0;
}

int weft__tls_keys_rotate(struct weft_tls *tls)
{
    pthread_mutex_lock(&tls->lock);
    int err = rotate(tls);
    pthread_mutex_unlock(&tls->lock);
    weft__tls_errors_clear();
    return err;
}

int weft__tls_tickets_open(struct weft_tls *tls)
{
    tls->ticket_cipher = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
    if (tls->ticket_cipher != NULL)
        return weft__tls_keys_rotate(tls);
    weft__tls_errors_clear();
    return weft__fail(WEFT_ETLS, "OpenSSL has no AES-256-CBC, which seals tickets");
}

int weft_tls_rotate(struct weft_tls *tls)
{
    return weft__tls_keys_rotate(tls);
}

/* The key to seal with (name NULL), or that of a name; 0: none, 1: the newest, 2: an older one. */
static int find_key(struct weft_tls *tls, const unsigned char *name,
                    struct weft__tls_ticket_key *ret)
{
    int found = 0;
    pthread_mutex_lock(&tls->lock);
    int64_t span = (int64_t)tls->options.ticket_key_s * 1000000000;
    int64_t age = weft_now_ns() - tls->keys_ns;
    for (int i = 0; age >= span && i < WEFT__TLS_TICKET_KEYS; i++, age -= span)
        if (rotate(tls) < 0)
            break; /* the old one serves on */
    for (size_t i = 0; found == 0 && i < (name != NULL ? WEFT__TLS_TICKET_KEYS : 1); i++) {
        const struct weft__tls_ticket_key *k = &tls->keys[i];
        if (k->valid && (name == NULL || memcmp(k->name, name, sizeof k->name) == 0)) {
            *ret = *k;
            found = i == 0 ? 1 : 2;
        }
    }
    pthread_mutex_unlock(&tls->lock);
    return found;
}

static bool set_up_ciphers(const struct weft_tls *tls, const struct weft__tls_ticket_key *k,
                           unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, bool seal)
{
    char digest[] = "SHA256";
    OSSL_PARAM params[3] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)(uintptr_t)k->mac,
                                          sizeof k->mac),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };
    return EVP_CipherInit_ex2(cipher, tls->ticket_cipher, k->aes, iv, seal, NULL) == 1 &&
           EVP_MAC_CTX_set_params(mac, params) == 1;
}

/* SSL_CTX_set_tlsext_ticket_key_evp_cb(3). */
static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                     EVP_MAC_CTX *mac, int seal)
{
    struct weft_tls *tls = weft__tls_of_ssl(ssl)->tls;
    struct weft__tls_ticket_key k;
    int found = find_key(tls, seal ? NULL : name, &k);
    if (found == 0)
        return 0;
    if (seal) {
        memcpy(name, k.name, sizeof k.name);
        if (RAND_bytes(iv, EVP_CIPHER_get_iv_length(tls->ticket_cipher)) != 1)
            found = -1;
    }
    if (found > 0 && !set_up_ciphers(tls, &k, iv, cipher, mac, seal))
        found = -1;
    OPENSSL_cleanse(&k, sizeof k);
    if (found < 0 || seal)
        return found < 0 ? -1 : 1;
    /* 2 asks for a fresh ticket: in TLS 1.3 the client will not use this one again. */
    return SSL_version(ssl) >= TLS1_3_VERSION ? 2 : found;
}

/* --- How long a session goes on --------------------------------------------------------------- */

/* Whether the certificate that the peer showed at the full handshake would be refused by now. */
static bool has_expired(const SSL_SESSION *session)
{
    X509 *shown = SSL_SESSION_get0_peer((SSL_SESSION *)(uintptr_t)session);
    return shown != NULL && X509_cmp_current_time(X509_get0_notAfter(shown)) <= 0;
}

/* SSL_CTX_set_session_ticket_cb(3): with each resumption the client gets a fresh ticket, so all of
 * them tell when the full handshake was that the first one came from. */
static int on_seal(SSL *ssl, void *arg)
{
    SSL_SESSION *session = SSL_get_session(ssl);
    int64_t now = weft_now_ns();
    void *began = NULL;
    size_t len = 0;
    (void)arg;
    if (!SSL_SESSION_get0_ticket_appdata(session, &began, &len))
        return 0;
    return len == sizeof now || SSL_SESSION_set1_ticket_appdata(session, &now, sizeof now);
}

static bool is_too_old(const struct weft_tls *tls, SSL_SESSION *session)
{
    int64_t began;
    void *data = NULL;
    size_t len = 0;
    if (!SSL_SESSION_get0_ticket_appdata(session, &data, &len) || len != sizeof began)
        return true;
    memcpy(&began, data, sizeof began);
    return weft_now_ns() - began >=
           tls->options.ticket_key_s * (int64_t)1000000000 * WEFT__TLS_TICKET_KEYS;
}

static SSL_TICKET_RETURN on_opened(SSL *ssl, SSL_SESSION *session, const unsigned char *name,
                                   size_t name_len, SSL_TICKET_STATUS status, void *arg)
{
    (void)ssl;
    (void)name;
    (void)name_len;
    if ((status != SSL_TICKET_SUCCESS && status != SSL_TICKET_SUCCESS_RENEW) ||
        has_expired(session) || is_too_old(arg, session))
        return SSL_TICKET_RETURN_IGNORE_RENEW; /* a full handshake, and a ticket of its own */
    return status == SSL_TICKET_SUCCESS ? SSL_TICKET_RETURN_USE : SSL_TICKET_RETURN_USE_RENEW;
}

/* --- A client's sessions --------------------------------------------------------------------- */

static void session_free(struct weft_tls *tls, struct weft__tls_session *e)
{
    weft__list_remove(&e->link);
    tls->n_sessions--;
    SSL_SESSION_free(e->session);
    weft__free(e);
}

static struct weft__tls_session *session_find(struct weft_tls *tls, const char *key)
{
    for (struct weft__node *n = weft__list_first(&tls->sessions); n != NULL;
         n = weft__list_next(&tls->sessions, n)) {
        struct weft__tls_session *e = WEFT__CONTAINER_OF(n, struct weft__tls_session, link);
        if (strcmp(e->key, key) == 0)
            return e;
    }
    return NULL;
}

/* Keeps a session that a server offered; takes the reference when it returns 1. */
static int on_session(SSL *ssl, SSL_SESSION *session)
{
    struct weft__tls_stream *t = weft__tls_of_ssl(ssl);
    struct weft_tls *tls = t->tls;
    if (t->session_key == NULL || !SSL_SESSION_is_resumable(session))
        return 0;
    size_t len = strlen(t->session_key) + 1;
    struct weft__tls_session *fresh = weft__calloc(1, sizeof *fresh + len);
    if (fresh == NULL)
        return 0;
    memcpy(fresh->key, t->session_key, len);
    fresh->session = session;
    pthread_mutex_lock(&tls->lock);
    bool kept = t->conf == tls->conf; /* no reload since */
    if (kept) {
        struct weft__tls_session *old = session_find(tls, fresh->key);
        if (old == NULL && tls->n_sessions >= tls->options.sessions_max)
            old =
                WEFT__CONTAINER_OF(weft__list_last(&tls->sessions), struct weft__tls_session, link);
        if (old != NULL)
            session_free(tls, old);
        weft__list_push_front(&tls->sessions, &fresh->link);
        tls->n_sessions++;
    }
    pthread_mutex_unlock(&tls->lock);
    if (!kept)
        weft__free(fresh);
    return kept;
}

void weft__tls_session_use(struct weft__tls_stream *t)
{
    struct weft_tls *tls = t->tls;
    SSL_SESSION *session = NULL;
    pthread_mutex_lock(&tls->lock);
    struct weft__tls_session *e = session_find(tls, t->session_key);
    if (e != NULL && has_expired(e->session)) {
        session_free(tls, e);
    } else if (e != NULL) {
        session = e->session;
        SSL_SESSION_up_ref(session);
        if (SSL_SESSION_get_protocol_version(session) >= TLS1_3_VERSION) {
            session_free(tls, e);
        } else {
            weft__list_remove(&e->link);
            weft__list_push_front(&tls->sessions, &e->link);
        }
    }
    pthread_mutex_unlock(&tls->lock);
    if (session != NULL)
        (void)SSL_set_session(t->ssl, session); /* else it is a full handshake */
    SSL_SESSION_free(session);
    weft__tls_errors_clear();
}

void weft__tls_sessions_drop(struct weft_tls *tls)
{
    pthread_mutex_lock(&tls->lock);
    while (!weft__list_empty(&tls->sessions))
        session_free(tls, WEFT__CONTAINER_OF(weft__list_first(&tls->sessions),
                                             struct weft__tls_session, link));
    pthread_mutex_unlock(&tls->lock);
}

int weft__tls_session_setup(struct weft_tls *tls, SSL_CTX *ctx)
{
    /* Where clients show certificates, a ticket stands for one: not beyond a change of whom we
     * trust. */
    unsigned char id[8] = {'w', 'e', 'f', 't'};
    if (tls->options.client != WEFT_TLS_CLIENT_ANY)
        memcpy(id + 4, &tls->generation, sizeof tls->generation);
    if (!SSL_CTX_set_session_id_context(ctx, id, sizeof id))
        return -ENOMEM;
    if (tls->options.no_resumption) {
        SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
        SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
        return SSL_CTX_set_num_tickets(ctx, 0) ? 0 : -ENOMEM;
    }
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ctx, on_session);
    SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket);
    return SSL_CTX_set_session_ticket_cb(ctx, on_seal, on_opened, tls) ? 0 : -ENOMEM;
}
