/* SPDX-License-Identifier: MIT */
/*
 * The costly part of a server's handshake, on the work pool.
 *
 * Floor 4. When a hello is whole, and no session goes on with it, OpenSSL asks which certificate to
 * show. There the step is stopped (SSL_CTX_set_cert_cb(3)); the rest of it, which makes keys and
 * signs, is run by a thread of the pool while the loop goes on. So a hello in pieces, or none, and
 * a resumed session never take a thread's time. A task waits for the pool; in callback mode the
 * transport is told (transport_secure.c). Where there is no pool (a plain thread, a simulation, no
 * thread to be had) the rest is done at once, as it is without the option.
 *
 * What the pool's thread calls of ours: the BIO, and the callbacks of conf.c and session.c, which
 * look at what never changes or is under the context's lock.
 *
 * Invariants: while `out`, the SSL object, what it refers to, and `pend` are the pool's, and nobody
 * else looks at them; the BIO then reads nothing, and what it writes stays in `pend` until the
 * filter is back; whoever gives up waits for a part that has begun, which is one signature long.
 */
#include <errno.h>
#include <openssl/err.h>
#include <string.h>

#include "base/alloc.h"
#include "net/transport.h"
#include "tls/tls.h"

void (*weft__tls_away_hook)(void);

/* Whether the handshake may go on: on the loop, not beyond this point. */
static int on_certificate(SSL *ssl, void *arg)
{
    const struct weft__tls_away *a = arg;
    (void)ssl;
    return a->go_on ? 1 : -1;
}

/* On the pool. */
static void run(struct weft__work *w)
{
    struct weft__tls_away *a = WEFT__CONTAINER_OF(w, struct weft__tls_away, work);
    if (WEFT__UNLIKELY(weft__tls_away_hook != NULL))
        weft__tls_away_hook();
    weft__error_detail_clear();
    a->result = weft__tls_shake_step(a->t);
    memcpy(a->detail.text, weft_error_detail(), strlen(weft_error_detail()) + 1);
}

static void come_back(struct weft__tls_away *a)
{
    a->out = a->go_on = false;
    weft__tls_bytes_home(a->t);
}

/* On the loop. */
static void done(struct weft__work *w)
{
    struct weft__tls_away *a = WEFT__CONTAINER_OF(w, struct weft__tls_away, work);
    come_back(a);
    if (a->wait != NULL) {
        weft__wait_trigger(a->wait, a->wait->why);
        return;
    }
    a->told = true;
    weft__transport_shake_back(weft__transport_of(a->t->lower));
}

int weft__tls_away_open(struct weft__tls_stream *t)
{
    struct weft__tls_away *a = weft__calloc(1, sizeof *a);
    if (a == NULL)
        return -ENOMEM;
    a->t = t;
    a->work.run = run;
    a->work.done = done;
    t->away = a;
    SSL_set_cert_cb(t->ssl, on_certificate, a);
    return 0;
}

void weft__tls_away_close(struct weft__tls_stream *t)
{
    if (t->away == NULL)
        return;
    WEFT__ASSERT(!t->away->out);
    SSL_set_cert_cb(t->ssl, NULL, NULL);
    weft__free(t->away);
    t->away = NULL;
}

/* False: the pool does not take it. */
static bool leave(struct weft__tls_away *a, struct weft__wait *wait)
{
    a->wait = wait;
    a->go_on = a->out = true;
    if (weft__work_post(a->t->s.loop, &a->work) == 0)
        return true;
    a->out = false;
    return false;
}

static int do_it_here(struct weft__tls_away *a)
{
    int res = weft__tls_shake_step(a->t);
    a->go_on = false;
    return res;
}

static int result_of(struct weft__tls_away *a)
{
    if (a->result < 0 && a->detail.text[0] != '\0')
        weft__error_detail("%s", a->detail.text);
    return a->result;
}

/* --- Tasks ------------------------------------------------------------------------------------ */

struct call {
    struct weft__wait wait;
    struct weft__tls_away *away;
};

static void give_up(struct weft__wait *w, int why)
{
    struct weft__tls_away *a = WEFT__CONTAINER_OF(w, struct call, wait)->away;
    if (!weft__work_withdraw(&a->work))
        return;
    come_back(a);
    weft__wait_trigger(w, why);
}

int weft__tls_away_wait(struct weft__tls_stream *t, weft_deadline d)
{
    struct weft__tls_away *a = t->away;
    struct call c = {.away = a};
    int err = weft__wait_check();
    if (err < 0)
        return err;
    weft__wait_init(&c.wait, "handshake", -1, give_up);
    if (!leave(a, &c.wait))
        return do_it_here(a);
    err = weft__wait_block(&c.wait, d);
    return err < 0 ? err : result_of(a);
}

/* --- Callback mode ---------------------------------------------------------------------------- */

int weft__tls_away_start(struct weft__tls_stream *t)
{
    return leave(t->away, NULL) ? WEFT__SHAKE_AWAY : do_it_here(t->away);
}

int weft__tls_away_take(struct weft__tls_stream *t)
{
    t->away->told = false;
    return result_of(t->away);
}

bool weft__tls_away_withdraw(struct weft__tls_stream *t)
{
    if (!weft__work_withdraw(&t->away->work))
        return false;
    come_back(t->away);
    return true;
}
