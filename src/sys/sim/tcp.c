/* SPDX-License-Identifier: MIT */
/*
 * How bytes get from one simulated stream socket to the other; see sock.h.
 *
 * Floor 1. TCP is modelled by what programs can see of it (RFC 9293, RFC 6298): order, windows,
 * delay by loss, ends, resets and giving up. Acknowledgements are not sent one by one: the sender
 * knows what has arrived, and what it cannot know (loss, a cut, a peer that is gone) it learns by
 * retransmission times that double, up to TCP_USER_TIMEOUT or Linux's default of 924 seconds.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/uio.h>

#include "sys/sim/memory.h"
#include "sys/sim/sock.h"

#define SEG_MAX 16384u
#define HEADER_BYTES 40
#define RTO_MIN_NS INT64_C(200000000)
#define RTO_MAX_NS INT64_C(120000000000)
#define GIVE_UP_NS INT64_C(924600000000) /* tcp_retries2 of 15 */
#define ORPHAN_NS INT64_C(60000000000)
/* One in so many segments is cut in two, as streams may be anywhere. */
#define SPLIT_ONE_IN 32

/* --- Segments --------------------------------------------------------------------------------- */

static struct weft__seg *seg_new(uint32_t len)
{
    struct weft__seg *g = weft__alloc(sizeof *g + len);
    if (g == NULL)
        return NULL;
    *g = (struct weft__seg){.len = len};
    return g;
}

static void seg_free(struct weft__seg *g)
{
    for (uint8_t i = 0; i < g->n_rights; i++)
        weft__desc_unref(g->rights[i]);
    weft__free(g->rights);
    weft__free(g);
}

static void push_back(struct weft__segs *q, struct weft__seg *g)
{
    g->next = NULL;
    if (q->first == NULL)
        q->first = g;
    else
        q->last->next = g;
    q->last = g;
    q->bytes += g->len - g->used;
}

static struct weft__seg *pop_front(struct weft__segs *q)
{
    struct weft__seg *g = q->first;
    q->first = g->next;
    q->bytes -= g->len - g->used;
    return g;
}

void weft__segs_drop(struct weft__segs *q)
{
    while (q->first != NULL)
        seg_free(pop_front(q));
}

/* --- Into tx ---------------------------------------------------------------------------------- */

/* Copies n bytes out of iov, from `at` bytes into it. */
static void gather(uint8_t *to, const struct iovec *iov, size_t at, size_t n)
{
    while (at >= iov->iov_len) {
        at -= iov->iov_len;
        iov++;
    }
    while (n > 0) {
        size_t part = weft__min_size(n, iov->iov_len - at);
        if (part > 0) /* an empty piece may have no address */
            memcpy(to, (const uint8_t *)iov->iov_base + at, part);
        to += part;
        n -= part;
        at = 0;
        iov++;
    }
}

static uint32_t seg_size(struct weft__sock *s, size_t left)
{
    uint32_t n = (uint32_t)weft__min_size(left, SEG_MAX);
    struct weft__world *w = s->desc.world;
    if (s->out != NULL && n > 1 && !w->in_order && weft__world_below(w, SPLIT_ONE_IN) == 0)
        n = 1 + (uint32_t)weft__world_below(w, n - 1);
    return n;
}

ssize_t weft__sock_write(struct weft__sock *s, const struct iovec *iov, size_t n_iov, size_t skip,
                         struct weft__desc **rights, uint8_t n_rights)
{
    size_t total = 0, done = 0;
    for (size_t i = 0; i < n_iov; i++)
        total += iov[i].iov_len;
    total = weft__min_size(total - skip, weft__sock_room(s));
    while (done < total) {
        uint32_t n = seg_size(s, total - done);
        struct weft__seg *g = seg_new(n);
        if (g == NULL)
            break;
        gather(g->data, iov, skip + done, n);
        if (done == 0 && n_rights > 0) {
            g->rights = rights;
            g->n_rights = n_rights;
        }
        push_back(&s->tx, g);
        done += n;
    }
    if (done == 0 && total > 0)
        return -ENOMEM;
    weft__sock_push(s);
    return (ssize_t)done;
}

/* --- On the way ------------------------------------------------------------------------------- */

static int64_t give_up_ns(const struct weft__sock *s)
{
    if (s->orphan)
        return ORPHAN_NS;
    return s->user_timeout_ms > 0 ? s->user_timeout_ms * INT64_C(1000000) : GIVE_UP_NS;
}

/* g has no answer: it is sent again after the retransmission time, but giving up is not put off by
 * that. */
static void no_answer(struct weft__sock *s, struct weft__seg *g)
{
    struct weft__world *w = s->desc.world;
    if (s->rto_ns == 0)
        s->rto_ns = weft__max_i64(RTO_MIN_NS, 4 * s->out->latency_ns);
    if (s->lost_since_ns == 0)
        s->lost_since_ns = weft__max_i64(w->now_ns, 1);
    g->arrive_ns = -1;
    g->retry_ns = weft__min_i64(w->now_ns + s->rto_ns, s->lost_since_ns + give_up_ns(s));
}

/* One segment leaves: sets when it arrives, or when it is to be sent again. */
static void transmit(struct weft__sock *s, struct weft__seg *g)
{
    struct weft__world *w = s->desc.world;
    int64_t at = weft__path_send(s->out, g->len - g->used + HEADER_BYTES);
    if (at >= 0) {
        g->arrive_ns = s->last_arrive_ns = weft__max_i64(at, s->last_arrive_ns);
        return;
    }
    w->stats.dropped++;
    no_answer(s, g);
    weft__trace(w, s->out->from, s->out->to,
                "tcp %" PRIi64 " > %" PRIi64 ": %" PRIi64 " bytes are lost",
                weft__sa_port(&s->local.sa), weft__sa_port(&s->remote.sa), g->len - g->used, 0);
}

/* Sets the event for the head of flight. */
static void arm(struct weft__sock *s)
{
    struct weft__seg *g = s->flight.first;
    struct weft__world *w = s->desc.world;
    if (g == NULL) {
        weft__event_del(w, &s->arrive);
        return;
    }
    int64_t when = g->arrive_ns >= 0 ? g->arrive_ns : g->retry_ns;
    if (!weft__event_is_set(&s->arrive) || s->arrive.when_ns != when)
        (void)weft__event_set(w, &s->arrive, when); /* its room is reserved */
}

/* g has come to the other end of a connection that is there. */
static void take_in(struct weft__sock *s, struct weft__seg *g)
{
    struct weft__sock *peer = s->peer;
    struct weft__world *w = s->desc.world;
    w->stats.segments++;
    if (g->rst) {
        seg_free(g);
        weft__sock_fail(peer, peer->fin_arrived ? -EPIPE : -ECONNRESET);
        return;
    }
    if (g->fin) {
        seg_free(g);
        peer->fin_arrived = true;
        return;
    }
    if (peer->orphan || peer->rx_shut) {
        /* Nobody will read it: RFC 9293, 3.10.4, and what Linux does. */
        uint32_t n = g->len - g->used;
        seg_free(g);
        if (peer->orphan)
            weft__sock_send_rst(peer);
        else
            s->credit += n;
        return;
    }
    push_back(&peer->rx, g);
}

/* The other end does not exist: a machine that is down is silent, one that is up resets. */
static void meet_nobody(struct weft__sock *s)
{
    struct weft__seg *g = s->flight.first;
    bool up = !s->out->to->dark;
    if (g->bounced) {
        weft__sock_fail(s, s->fin_arrived ? -EPIPE : -ECONNRESET);
        return;
    }
    if (g->rst || s->desc.crashed || (up && g->fin && s->fin_arrived)) {
        weft__segs_drop(&s->flight); /* both sides have gone */
        return;
    }
    int64_t back = up ? weft__path_send(s->in, HEADER_BYTES) : -1;
    if (back < 0) {
        no_answer(s, g);
        return;
    }
    g->bounced = true;
    g->arrive_ns = back;
}

void weft__sock_crash(struct weft__sock *s)
{
    struct weft__segs gone = {NULL, NULL, 0};
    weft__segs_drop(&s->tx);
    weft__segs_drop(&s->rx);
    while (s->flight.first != NULL && s->flight.first->arrive_ns >= 0)
        push_back(&gone, pop_front(&s->flight));
    weft__segs_drop(&s->flight); /* from the first on that would have to be sent again */
    s->flight = gone;
    if (s->flight.first != NULL)
        arm(s);
    else
        weft__event_del(s->desc.world, &s->arrive);
}

/* The head was lost: once more, or never again. */
static bool send_again(struct weft__sock *s)
{
    struct weft__world *w = s->desc.world;
    if (s->lost_since_ns == 0) /* one before it was lost, too, and has arrived meanwhile */
        s->lost_since_ns = w->now_ns;
    if (w->now_ns - s->lost_since_ns >= give_up_ns(s)) {
        weft__segs_drop(&s->flight);
        weft__sock_fail(s, -ETIMEDOUT);
        return false;
    }
    s->rto_ns = weft__min_i64(2 * s->rto_ns, RTO_MAX_NS);
    transmit(s, s->flight.first);
    return true;
}

static void trace_arrival(struct weft__sock *s, const struct weft__seg *g)
{
    static const char *const what[] = {"tcp %" PRIi64 " > %" PRIi64 ": %" PRIi64 " bytes",
                                       "tcp %" PRIi64 " > %" PRIi64 ": end",
                                       "tcp %" PRIi64 " > %" PRIi64 ": reset"};
    weft__trace(s->desc.world, s->out->from, s->out->to,
                what[g->rst   ? 2
                     : g->fin ? 1
                              : 0],
                weft__sa_port(&s->local.sa), weft__sa_port(&s->remote.sa), g->len - g->used, 0);
}

/* All that has arrived by now, in order. */
static void arrive_due(struct weft__event *e)
{
    struct weft__sock *s = WEFT__CONTAINER_OF(e, struct weft__sock, arrive);
    struct weft__world *w = s->desc.world;
    struct weft__sock *peer = s->peer;
    bool news = false;
    if (peer != NULL)
        peer->desc.refs++; /* not freed under our hands */
    s->desc.refs++;
    while (s->flight.first != NULL) {
        struct weft__seg *g = s->flight.first;
        if (g->arrive_ns < 0) {
            if (g->retry_ns > w->now_ns || !send_again(s))
                break;
            continue;
        }
        if (g->arrive_ns > w->now_ns)
            break;
        if (s->peer == NULL || s->peer->desc.crashed || s->peer->state == WEFT__SOCK_DEAD) {
            meet_nobody(s);
            continue;
        }
        s->rto_ns = 0;
        s->lost_since_ns = 0;
        trace_arrival(s, g);
        take_in(s, pop_front(&s->flight));
        news = true;
    }
    arm(s);
    if (news && peer != NULL)
        weft__desc_wake(&peer->desc);
    if (peer != NULL) {
        peer->desc.refs--;
        weft__sock_check(peer);
    }
    s->desc.refs--;
    weft__sock_check(s);
}

/* Within a host: it is there. */
static void hand_over(struct weft__sock *s, struct weft__seg *g)
{
    struct weft__sock *peer = s->peer;
    if (peer == NULL) {
        bool farewell = g->rst || g->fin;
        seg_free(g);
        if (!farewell)
            weft__sock_fail(s, s->fin_arrived || s->domain == AF_UNIX ? -EPIPE : -ECONNRESET);
        return;
    }
    take_in(s, g);
    weft__desc_wake(&peer->desc);
    weft__sock_check(peer);
}

static struct weft__seg *split(struct weft__seg *g, uint32_t n)
{
    struct weft__seg *head = seg_new(n);
    if (head == NULL)
        return NULL;
    memcpy(head->data, g->data + g->used, n);
    head->rights = g->rights;
    head->n_rights = g->n_rights;
    g->rights = NULL;
    g->n_rights = 0;
    return head;
}

/* The next piece of tx that the window has room for; NULL: none. */
static struct weft__seg *next_piece(struct weft__sock *s)
{
    struct weft__seg *g = s->tx.first;
    if (g == NULL || (s->credit == 0 && !g->fin))
        return NULL;
    uint32_t len = g->len - g->used;
    if (len <= s->credit) {
        s->credit -= len;
        return pop_front(&s->tx);
    }
    struct weft__seg *head = split(g, s->credit);
    if (head == NULL)
        return NULL; /* the next window update tries again */
    g->used += head->len;
    s->tx.bytes -= head->len;
    s->credit = 0;
    return head;
}

void weft__sock_push(struct weft__sock *s)
{
    struct weft__seg *g;
    if (s->state != WEFT__SOCK_CONNECTED)
        return;
    s->desc.refs++;
    while (s->state == WEFT__SOCK_CONNECTED && (g = next_piece(s)) != NULL) {
        if (s->out == NULL) {
            hand_over(s, g);
            continue;
        }
        transmit(s, g);
        push_back(&s->flight, g);
    }
    if (s->out != NULL)
        arm(s);
    s->desc.refs--;
}

void weft__sock_send_fin(struct weft__sock *s)
{
    if (s->fin_sent || s->state != WEFT__SOCK_CONNECTED)
        return;
    struct weft__seg *g = seg_new(0);
    if (g == NULL) { /* an end that cannot be told in peace is told by force */
        weft__sock_send_rst(s);
        return;
    }
    s->fin_sent = true;
    g->fin = true;
    push_back(&s->tx, g);
    weft__sock_push(s);
}

void weft__sock_send_rst(struct weft__sock *s)
{
    struct weft__sock *peer = s->peer;
    if (s->state != WEFT__SOCK_CONNECTED)
        return;
    s->state = WEFT__SOCK_DEAD;
    weft__segs_drop(&s->tx);
    weft__segs_drop(&s->flight);
    struct weft__seg *g = peer != NULL ? seg_new(0) : NULL;
    if (g == NULL) {
        if (s->out != NULL)
            arm(s);
        return; /* lost on the way, so to speak */
    }
    g->rst = true;
    s->lost_since_ns = 0;
    if (s->out == NULL) {
        hand_over(s, g);
        return;
    }
    transmit(s, g);
    if (g->arrive_ns < 0) { /* an RST is sent once */
        seg_free(g);
        arm(s);
        return;
    }
    push_back(&s->flight, g);
    arm(s);
}

void weft__sock_fail(struct weft__sock *s, int error)
{
    struct weft__world *w = s->desc.world;
    if (s->state == WEFT__SOCK_DEAD)
        return;
    s->state = WEFT__SOCK_DEAD;
    s->error = error;
    weft__segs_drop(&s->tx);
    weft__segs_drop(&s->flight);
    weft__event_del(w, &s->arrive);
    weft__event_del(w, &s->timer);
    weft__desc_wake(&s->desc);
}

/* --- Windows ---------------------------------------------------------------------------------- */

/* An update leaves, or is lost and will leave again. */
static void send_window(struct weft__sock *s)
{
    struct weft__world *w = s->desc.world;
    int64_t at = weft__path_send(s->out, HEADER_BYTES);
    if (at < 0 && !s->window_lost)
        s->window_lost_ns = w->now_ns;
    s->window_lost = at < 0;
    w->stats.dropped += at < 0;
    (void)weft__event_set(w, &s->window, at < 0 ? w->now_ns + RTO_MIN_NS : at);
}

static void window_due(struct weft__event *e)
{
    struct weft__sock *s = WEFT__CONTAINER_OF(e, struct weft__sock, window);
    struct weft__sock *peer = s->peer;
    if (peer == NULL || peer->state != WEFT__SOCK_CONNECTED)
        return;
    if (s->window_lost) {
        /* The peer, whose window is closed, asks for it again and again, and gives up as ever. */
        if (s->desc.world->now_ns - s->window_lost_ns < give_up_ns(peer)) {
            send_window(s);
        } else {
            weft__sock_fail(peer, -ETIMEDOUT);
            weft__sock_check(peer);
        }
        return;
    }
    peer->credit += s->reported;
    s->reported = 0;
    if (s->unreported >= s->rcvbuf / 4) {
        s->reported = s->unreported;
        s->unreported = 0;
        send_window(s);
    }
    weft__sock_push(peer);
    weft__desc_wake(&peer->desc);
    weft__sock_check(peer);
}

/* The reader has made room. Told at a quarter of the window, so that a full window reopens and
 * small messages cost no update each. */
static void report_window(struct weft__sock *s)
{
    struct weft__sock *peer = s->peer;
    if (peer == NULL || (s->unreported < s->rcvbuf / 4 && peer->tx.first == NULL))
        return;
    if (s->out == NULL) {
        peer->credit += s->unreported;
        s->unreported = 0;
        weft__sock_push(peer);
        weft__desc_wake(&peer->desc);
        return;
    }
    if (s->unreported < s->rcvbuf / 4 || weft__event_is_set(&s->window))
        return;
    s->reported += s->unreported;
    s->unreported = 0;
    send_window(s);
}

void weft__sock_events(struct weft__sock *s)
{
    s->arrive.fn = arrive_due;
    s->window.fn = window_due;
}

/* --- Out of rx -------------------------------------------------------------------------------- */

static size_t scatter(const struct iovec *iov, size_t n_iov, size_t at, const uint8_t *from,
                      size_t n)
{
    size_t done = 0;
    for (size_t i = 0; i < n_iov && done < n; i++) {
        if (at >= iov[i].iov_len) {
            at -= iov[i].iov_len;
            continue;
        }
        size_t part = weft__min_size(n - done, iov[i].iov_len - at);
        memcpy((uint8_t *)iov[i].iov_base + at, from + done, part);
        done += part;
        at = 0;
    }
    return done;
}

size_t weft__sock_read(struct weft__sock *s, const struct iovec *iov, size_t n_iov, bool peek,
                       struct weft__taken *taken)
{
    size_t room = 0, done = 0;
    for (size_t i = 0; i < n_iov; i++)
        room += iov[i].iov_len;
    struct weft__seg *g = s->rx.first;
    while (g != NULL && done < room) {
        struct weft__seg *next = g->next;
        if (g->n_rights > 0) {
            if (done > 0) {
                taken->cut = true;
                break;
            }
            if (!peek) {
                taken->rights = g->rights;
                taken->n_rights = g->n_rights;
                g->rights = NULL;
                g->n_rights = 0;
            }
        }
        size_t n = scatter(iov, n_iov, done, g->data + g->used, g->len - g->used);
        done += n;
        if (!peek) {
            g->used += (uint32_t)n;
            s->rx.bytes -= (uint32_t)n;
            if (g->used == g->len) {
                (void)pop_front(&s->rx);
                seg_free(g);
            }
        }
        if (taken->n_rights > 0)
            break; /* what carries descriptors ends the read behind its own bytes */
        g = next;
    }
    if (!peek && done > 0) {
        s->unreported += (uint32_t)done;
        report_window(s);
    }
    return done;
}
