/* SPDX-License-Identifier: MIT */
/*
 * Load over connections that stay: so many of them, each with so many messages on the way.
 *
 * Shows: a client as a protocol. One task opens the connections, tells them to begin and to stop;
 * everything between is callbacks, so that 18,000 clients cost little more than one.
 *
 * Floor 6. Invariants: a connection never has more than `pipeline` messages on the way; each answer
 * is compared with what was sent; after the end of the measured time nothing new is sent, and the
 * answers to what is on the way are waited for.
 */
#include <errno.h>
#include <stdlib.h>

#include <weft/error.h>
#include <weft/protocol.h>
#include <weft/sync.h>

#include "load.h"

enum {
    CONNECTING_MAX = 128, /* at once: more would overflow the server's queue of connections */
    LAST_ANSWERS_MS = 5000,
};

struct client; /* a connection */

struct clients { /* all of a worker */
    struct load_worker *w;
    struct weft_factory factory;
    struct weft_event changed; /* one was connected or lost */
    struct client **all;
    struct weft_group **groups; /* one each, because the error of a member cancels its group */
    uint32_t connecting, connected, live;
    bool stopping;
};

struct client {
    struct clients *owner;
    struct weft_stream *t; /* NULL once lost */
    uint64_t received;     /* bytes */
    uint64_t sent_bytes;
    uint64_t begun; /* messages sent */
    uint64_t answered;
    size_t partial; /* bytes of the message that is coming in */
    uint32_t stream;
    int64_t sent_ns[]; /* when message i was sent, at i modulo pipeline */
};

/* A connection that could not be made reports to `lost` with no transport, and so without an owner.
 */
static _Thread_local struct clients *current;

static int send_messages(struct client *c, uint64_t n, int64_t now)
{
    const struct load_options *o = c->owner->w->run->o;
    uint64_t left = n * (uint64_t)o->size;
    for (uint64_t i = 0; i < n; i++)
        c->sent_ns[c->begun++ % (uint64_t)o->pipeline] = now;
    while (left > 0) {
        size_t slice = left < LOAD_SLICE ? (size_t)left : LOAD_SLICE;
        int r = weft_transport_write(c->t, load_pattern(c->stream, c->sent_bytes), slice);
        if (r < 0)
            return r;
        c->sent_bytes += slice;
        left -= slice;
    }
    return 0;
}

/* --- Callbacks ----------------------------------------------------------------------------- */

static int on_made(struct weft_stream *t, void *factory_arg)
{
    struct clients *all = factory_arg;
    const struct load_options *o = all->w->run->o;
    struct client *c = calloc(1, sizeof(*c) + (size_t)o->pipeline * sizeof(c->sent_ns[0]));
    all->connecting--;
    weft_event_set(&all->changed);
    if (c == NULL)
        return -ENOMEM;
    c->owner = all;
    c->t = t;
    c->stream = all->w->first + all->connected;
    all->all[all->connected++] = c;
    all->live++;
    weft_transport_set(t, c);
    return 0;
}

static int on_data(struct weft_stream *t, const void *data, size_t len, void *conn)
{
    struct client *c = conn;
    struct load_worker *w = c->owner->w;
    const size_t size = (size_t)w->run->o->size;
    uint64_t answers = 0;
    if (c->received + len > c->sent_bytes ||
        !load_pattern_matches(c->stream, c->received, data, len)) {
        load_errors_add(&w->errors, LOAD_MISMATCH, 1);
        return WEFT_EPROTOCOL;
    }
    int64_t now = weft_now_ns();
    c->received += len;
    c->partial += len;
    while (c->partial >= size) {
        load_answer(w, c->sent_ns[c->answered++ % (uint64_t)w->run->o->pipeline], now);
        c->partial -= size;
        answers++;
    }
    if (answers > 0 && now < w->to_ns)
        return send_messages(c, answers, now);
    if (c->answered == c->begun)
        weft_transport_close(t);
    return 0;
}

static void on_lost(struct weft_stream *t, int error, void *conn)
{
    struct client *c = conn;
    if (t == NULL || c == NULL) { /* it never was */
        if (t == NULL)
            current->connecting--;
        load_errors_code(&current->w->errors, error);
        weft_event_set(&current->changed);
        return;
    }
    struct clients *all = c->owner;
    c->t = NULL;
    all->live--;
    weft_event_set(&all->changed);
    if (all->stopping) /* what is missing is counted then */
        return;
    /* Here a connection is closed when its last message has been answered. Before its first one, or
     * with answers missing, it was the server. */
    if (error == 0 && (c->begun == 0 || c->answered < c->begun))
        error = WEFT_EEOF;
    if (error != 0 && error != WEFT_EPROTOCOL) /* that was counted as a mismatch */
        load_errors_code(&all->w->errors, error);
}

static const struct weft_protocol protocol = {.made = on_made, .data = on_data, .lost = on_lost};

/* --- The worker's task --------------------------------------------------------------------- */

static int wait_for_change(struct clients *all, weft_deadline d)
{
    weft_event_clear(&all->changed);
    return weft_event_wait(&all->changed, d);
}

static int connect_all(struct clients *all)
{
    const struct load_options *o = all->w->run->o;
    char source[64];
    int r = 0;
    for (uint32_t i = 0; i < all->w->count; i++) {
        while (all->connecting >= CONNECTING_MAX)
            if ((r = wait_for_change(all, WEFT_NEVER)) < 0)
                return r;
        struct weft_dial_options dial = {
            .bind = load_source(o, all->w->first + i, source, sizeof(source)),
            .tls = o->tls,
        };
        r = weft_group_open(&all->groups[i]);
        if (r < 0)
            return r;
        all->connecting++;
        r = weft_protocol_dial(all->groups[i], o->endpoint, &dial, &all->factory, o->connect_ms);
        if (r < 0) {
            all->connecting--;
            load_errors_code(&all->w->errors, r);
        }
    }
    while (all->connecting > 0)
        if ((r = wait_for_change(all, WEFT_NEVER)) < 0)
            return r;
    all->w->connected = all->connected;
    return 0;
}

/* Sends the first messages of each; the answers call for the others. */
static void begin(struct clients *all)
{
    const struct load_options *o = all->w->run->o;
    for (uint32_t i = 0; i < all->connected; i++) {
        struct client *c = all->all[i];
        if (c->t == NULL)
            continue;
        int r = send_messages(c, (uint64_t)o->pipeline, weft_now_ns());
        if (r < 0)
            weft_transport_abort(c->t, r);
    }
}

/* The last answers close their connections; who has none coming is told here. */
static void finish(struct clients *all)
{
    weft_deadline d = weft_after_ms(LAST_ANSWERS_MS);
    while (all->live > 0 && wait_for_change(all, d) == 0)
        continue;
    all->stopping = true;
    for (uint32_t i = 0; i < all->connected; i++) {
        struct client *c = all->all[i];
        load_errors_add(&all->w->errors, LOAD_UNANSWERED, c->begun - c->answered);
        if (c->t != NULL)
            weft_transport_abort(c->t, -ETIMEDOUT);
    }
}

int load_streams_run(void *arg)
{
    struct load_worker *w = arg;
    const struct load_options *o = w->run->o;
    size_t on_the_way = (size_t)(o->size * o->pipeline);
    struct clients all = {
        .w = w,
        .factory = {.protocol = &protocol,
                    .arg = &all,
                    .write_mark = on_the_way + LOAD_SLICE,
                    .write_max = on_the_way + LOAD_SLICE,
                    /* Or both sides would wait for the other to read. */
                    .read_on_paused = true},
        .changed = WEFT_EVENT_INIT,
        .all = calloc(w->count, sizeof(struct client *)),
        .groups = calloc(w->count, sizeof(struct weft_group *)),
    };
    int r = all.all != NULL && all.groups != NULL ? 0 : -ENOMEM;
    current = &all;
    if (r == 0)
        r = connect_all(&all);
    int started = load_start_together(w); /* also with nothing: the others wait for it */
    if (r == 0)
        r = started;
    if (r == 0) {
        begin(&all);
        while (all.live > 0 && weft_now_ns() < w->to_ns &&
               wait_for_change(&all, (weft_deadline){w->to_ns}) == 0)
            continue;
        finish(&all);
    }
    for (uint32_t i = 0; all.groups != NULL && i < w->count; i++)
        weft_group_close(&all.groups[i]);
    current = NULL;
    for (uint32_t i = 0; i < all.connected; i++)
        free(all.all[i]);
    free(all.all);
    free(all.groups);
    return r;
}
