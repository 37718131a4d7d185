/* SPDX-License-Identifier: MIT */
#ifndef WEFT_TLS_H
#define WEFT_TLS_H
/*
 * TLS 1.2 and 1.3: a live stream of any kind becomes a secured one.
 *
 *     r = weft_tls_connect(&s, NULL, "example.org", weft_after_s(10));
 *
 * From then on all calls of stream.h work on s as before, in tasks and on plain threads; it may be
 * attached to a protocol, and all calls of protocol.h work, too. A server does the same with
 * weft_tls_accept and a context that has a certificate. Protocols that begin in
 * plain text (STARTTLS) do it when they have agreed to; what the peer sent ahead is taken over.
 *
 * What a caller of a secured stream has to know:
 *  - a peer that ends the connection without saying so (close_notify) cut something off, or
 * somebody between did: reading gives WEFT_EEOF then, and 0 only at an end that the peer vouched
 * for;
 *  - weft_shutdown and weft_close say so to the peer; weft_abort does not;
 *  - a write of up to 16 KiB that is cut off before it began has sent nothing, as on any stream;
 *    a larger one may have gone in part, and the stream then refuses more (WEFT_EPOISONED).
 *
 * Thread rule: a context is shared by any threads, all its calls may come from anywhere; a secured
 * stream belongs where its plain one did.
 */
#include <weft/stream.h>

WEFT_BEGIN_DECLS

struct weft_tls;

/* --- Contexts ------------------------------------------------------------------------------ */

/* Where a text is asked for, a file's path or the PEM text itself ("-----BEGIN ..."). */
struct weft_tls_certificate {
    const char *chain;    /* file or text: the certificate, then those that lead to its issuer */
    const char *key;      /* file or text; NULL: it is in chain, too */
    const char *password; /* of an encrypted key; NULL: none, and nobody is asked for one */
};

enum weft_tls_version { WEFT_TLS_1_2 = 0x0303, WEFT_TLS_1_3 = 0x0304 };

/* What a server wants of its clients. */
enum weft_tls_client {
    WEFT_TLS_CLIENT_ANY,      /* asks for no certificate */
    WEFT_TLS_CLIENT_OPTIONAL, /* asks; who has none gets in, who has a wrong one does not */
    WEFT_TLS_CLIENT_REQUIRED
};

/* Zero means the default everywhere. All texts are copied. */
struct weft_tls_options {
    /* One's own. A server chooses by the name that the client asks for, exact names before
     * wildcards; the first one is for everything else. A client shows the first when asked. */
    const struct weft_tls_certificate *certificates;
    size_t n_certificates;
    const char *ca;     /* file or text; whom to trust instead of the system's trust store */
    const char *ca_dir; /* the same, a directory as of openssl-rehash(1) */
    const char *crl;  /* file or text; who has been revoked: then every issuer of a chain must have
                         a list there, and one that is not out of date */
    const char *alpn; /* protocols, the preferred first: "h2,http/1.1" */
    enum weft_tls_version min_version, max_version; /* TLS 1.2, TLS 1.3 */
    /* OpenSSL's names with colons, the preferred first, of both versions (openssl-ciphers(1)); a
     * version that has none in it is not spoken. A server goes by its own order, but takes ChaCha20
     * where the client would rather. NULL: AES-128-GCM, AES-256-GCM, ChaCha20-Poly1305. Others than
     * these three, or without forward secrecy, are refused. */
    const char *ciphers;
    enum weft_tls_client client; /* servers; needs ca or ca_dir */
    bool strict_sni;             /* servers: refuse names that no certificate has */
    const char *keylog_file; /* secrets are appended to it, for wireshark: whoever has it can read
                                everything */
    size_t sessions_max;     /* clients: sessions kept for resumption; 0: 64 */
    bool no_resumption;      /* keep no sessions, give no tickets */
    int ticket_key_s;        /* servers: a ticket key is used for so long, and accepted for two such
                                times more, and no session goes on for longer than these three,
                                however often it is resumed; 0: 12 hours */
    int64_t handshake_ms;    /* how long a handshake may take where no deadline is given: servers,
                                callback mode; 0: 10,000 */
    bool handshake_offload;  /* servers, on a loop: the keys and the signature of a new session are
                                made by the work pool (offload.h), and the loop goes on meanwhile;
                                who gives up waits for that to end, or to be taken back. As many as
                                the pool can take begin (LIMITS.md), the others wait their turn */
    bool insecure_no_verify; /* clients: believe any certificate */
    bool insecure_any_host;  /* clients: a trusted certificate of any name will do */
};

/*
 * Makes a context (o: borrowed, may be NULL; *ret: owned by the caller). Reads the files it names,
 * and the disk may be waited for meanwhile. Returns 0, -EINVAL (the detail says what is wrong with
 * which certificate), -ENOENT, -EACCES and other errors of files, -ENOMEM.
 */
WEFT_API WEFT_MUST_CHECK int weft_tls_open(struct weft_tls **ret, const struct weft_tls_options *o);

/* Gives a context back; streams made with it go on. NULL is fine. */
WEFT_API void weft_tls_close(struct weft_tls **tls);

/*
 * Reads the files of certificates, keys and trust again. Handshakes that begin from now on use what
 * they hold; live streams go on, tickets stay valid. On an error everything stays as it was. One
 * that comes while another is under way waits for it. Errors as of weft_tls_open.
 */
WEFT_API WEFT_MUST_CHECK int weft_tls_reload(struct weft_tls *tls);

/* Makes a new ticket key now, beside the change every ticket_key_s. -ENOMEM. */
WEFT_API WEFT_MUST_CHECK int weft_tls_rotate(struct weft_tls *tls);

/* --- Upgrading a stream -------------------------------------------------------------------- */

/*
 * Shakes hands as the client and replaces *s by a secured stream, which owns the plain one. Waits,
 * and is a cancellation point. tls NULL: verifies by the system's trust store and has no
 * certificate. host: the name, or IP address, that the peer's certificate must have among its
 * alternative names (its common name does not count); it is also what the peer is told (SNI). NULL
 * only with insecure_no_verify or insecure_any_host.
 *
 * On failure *s is still the plain stream, to be closed or aborted: nothing more can be written to
 * it once the handshake has begun (WEFT_EPOISONED). The peer has been told why, by an alert, unless
 * that had to wait for more than a second, or beyond d, or the caller was cancelled.
 *
 * Returns 0; WEFT_ECERTIFICATE: the peer's certificate is not to be trusted, or ours is not by the
 * peer; WEFT_ETLS: the peer does not speak TLS, or no version, cipher or protocol in common;
 * WEFT_EEOF, -ECONNRESET: the peer hung up; -EINVAL, -ENOMEM, -EBUSY (someone is inside the
 * stream), -ETIMEDOUT, -ECANCELED and other errors of streams. weft_error_detail() says which, and
 * why.
 */
WEFT_API WEFT_MUST_CHECK int weft_tls_connect(struct weft_stream **s, struct weft_tls *tls,
                                              const char *host, weft_deadline d);

/* As the server; tls must have a certificate (else -EINVAL). Results as of weft_tls_connect. */
WEFT_API WEFT_MUST_CHECK int weft_tls_accept(struct weft_stream **s, struct weft_tls *tls,
                                             weft_deadline d);

/*
 * The same for a connection in callback mode, called in its callbacks (protocol.h); never waits.
 * unread: the last bytes of the current `data` call are the first of TLS, as what comes after it.
 * What was written before goes out as it is. Until hands have been shaken, writing gives -EBUSY and
 * `data` is not called; then done(t, conn) is (may be NULL; an error of it aborts). When it fails,
 * or takes longer than handshake_ms, `lost` has the error. tls need not outlive the call.
 * When TLS fails, here or later, `lost` is called once the peer has been told why, or a second has
 * passed, or the connection is aborted.
 *
 * Returns 0, -EINVAL, -ENOMEM, -EBUSY (secured already), WEFT_ECLOSED, -EOPNOTSUPP (a task or
 * thread runs these callbacks). A protocol that is secured from the start is served at a tls://
 * endpoint.
 */
WEFT_API WEFT_MUST_CHECK int weft_tls_connect_nowait(struct weft_stream *t, struct weft_tls *tls,
                                                     const char *host, size_t unread,
                                                     int (*done)(struct weft_stream *t,
                                                                 void *conn));
WEFT_API WEFT_MUST_CHECK int weft_tls_accept_nowait(struct weft_stream *t, struct weft_tls *tls,
                                                    size_t unread,
                                                    int (*done)(struct weft_stream *t, void *conn));

/* --- Trying things out --------------------------------------------------------------------- */

/*
 * Makes a certificate that vouches for itself, with a new key: *ret is the PEM text of both, as
 * weft_tls_certificate.chain takes it, to be freed with weft_tls_text_free. Nobody trusts it who is
 * not told to (its text will do as a client's `ca`). names: "DNS:a.example,IP:10.0.0.1"; NULL:
 * localhost by name and numbers. days that it is valid: 0: 30. Does not wait. Returns 0, -EINVAL,
 * -ENOMEM.
 */
WEFT_API WEFT_MUST_CHECK int weft_tls_self_signed(char **ret, const char *names, int days);
WEFT_API void weft_tls_text_free(char **text);

/* --- Facts --------------------------------------------------------------------------------- */

/*
 * Texts belong to the stream and live as long as it does; none is NULL. A peer that is not verified
 * may say anything in them, but cannot make one value look like two, or like a shorter one: in
 * names, commas, backslashes and what is no printable ASCII are \xHH; a name, or a part of a
 * subject, that there is no room for is left out as a whole, and "..." then stands at the end.
 */
struct weft_tls_info {
    const char *version; /* "TLSv1.3" */
    const char *cipher;  /* "TLS_AES_128_GCM_SHA256" */
    const char *alpn;    /* what was agreed on, or "" */
    const char *sni;     /* the name that the client asked for, or "" */
    bool server;         /* this side is the server */
    bool resumed;        /* an earlier session goes on */
    bool verified;       /* the peer's certificate was shown, and is trusted */
    const char *subject; /* of the peer's certificate, as in RFC 2253, or "" */
    const char *names;   /* its names: "DNS:a.example, DNS:*.b.example, IP:10.0.0.1" */
    const char *chain;   /* a line for each certificate that was shown, the peer's own first */
};

/* 0; -EOPNOTSUPP: not a secured stream; -ENOMEM. Never waits. */
WEFT_API WEFT_MUST_CHECK int weft_tls_info(struct weft_stream *s, struct weft_tls_info *ret);

WEFT_END_DECLS
#endif
