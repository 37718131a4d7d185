/* SPDX-License-Identifier: MIT */
/*
 * Load by datagrams: each client keeps so many on the way; one without an answer for half a second
 * is lost, and another takes its place.
 *
 * Shows: a task a socket, batches of datagrams, and time-outs where nothing else tells of a loss.
 *
 * Floor 6. Invariants: a datagram's first 8 bytes are its number, the others the pattern from that
 * number on; an answer to a number that is not on the way (late or doubled) is passed over.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <weft/error.h>
#include <weft/group.h>
#include <weft/udp.h>

#include "load.h"

enum { LOST_MS = 500 };

struct slot {
    uint64_t number;
    int64_t sent_ns; /* 0: free */
};

struct sender {
    struct load_worker *w;
    struct weft_udp *socket;
    uint32_t stream;
    uint64_t next;
    struct slot *slots; /* pipeline of them; number n is in n modulo pipeline */
    uint8_t *memory;    /* for a batch */
    int batch;
};

static int send_due(struct sender *s, int64_t now)
{
    const struct load_options *o = s->w->run->o;
    struct weft_datagram dg[WEFT_UDP_BATCH_MAX];
    int64_t on_the_way = 0;
    for (int64_t i = 0; i < o->pipeline; i++)
        on_the_way += s->slots[i].sent_ns != 0;
    while (on_the_way < o->pipeline) {
        int n = 0;
        for (; n < s->batch && on_the_way < o->pipeline; n++, on_the_way++) {
            uint8_t *p = s->memory + (size_t)n * (size_t)o->size;
            /* A slot that is still on the way keeps its number; the next free one is near. */
            while (s->slots[s->next % (uint64_t)o->pipeline].sent_ns != 0)
                s->next++;
            s->slots[s->next % (uint64_t)o->pipeline] = (struct slot){s->next, now};
            memcpy(p, &s->next, 8);
            memcpy(p + 8, load_pattern(s->stream, s->next), (size_t)o->size - 8);
            dg[n] = (struct weft_datagram){.data = p, .len = (size_t)o->size};
            s->next++;
        }
        int r = weft_udp_send_batch(s->socket, dg, n, weft_after_ms(LOST_MS));
        if (r < 0)
            return r;
    }
    return 0;
}

static void take_answer(struct sender *s, const struct weft_datagram *dg, int64_t now)
{
    const struct load_options *o = s->w->run->o;
    uint64_t number;
    if (dg->len != (size_t)o->size || dg->truncated) {
        load_errors_add(&s->w->errors, LOAD_MISMATCH, 1);
        return;
    }
    memcpy(&number, dg->data, 8);
    struct slot *slot = &s->slots[number % (uint64_t)o->pipeline];
    if (slot->sent_ns == 0 || slot->number != number)
        return;
    if (memcmp((const uint8_t *)dg->data + 8, load_pattern(s->stream, number), dg->len - 8) != 0)
        load_errors_add(&s->w->errors, LOAD_MISMATCH, 1);
    else
        load_answer(s->w, slot->sent_ns, now);
    slot->sent_ns = 0;
}

static void count_lost(struct sender *s, int64_t before_ns)
{
    const struct load_options *o = s->w->run->o;
    for (int64_t i = 0; i < o->pipeline; i++) {
        struct slot *slot = &s->slots[i];
        if (slot->sent_ns != 0 && slot->sent_ns <= before_ns) {
            load_errors_add(&s->w->errors, LOAD_UNANSWERED, 1);
            slot->sent_ns = 0;
        }
    }
}

static int receive(struct sender *s, weft_deadline d)
{
    const struct load_options *o = s->w->run->o;
    struct weft_datagram dg[WEFT_UDP_BATCH_MAX];
    for (int i = 0; i < s->batch; i++)
        dg[i] = (struct weft_datagram){.data = s->memory + (size_t)i * (size_t)o->size,
                                       .cap = (size_t)o->size};
    int n = weft_udp_recv_batch(s->socket, dg, s->batch, d);
    int64_t now = weft_now_ns();
    for (int i = 0; i < n; i++)
        take_answer(s, &dg[i], now);
    return n;
}

static int64_t oldest(const struct sender *s)
{
    int64_t ns = 0;
    for (int64_t i = 0; i < s->w->run->o->pipeline; i++)
        if (s->slots[i].sent_ns != 0 && (ns == 0 || s->slots[i].sent_ns < ns))
            ns = s->slots[i].sent_ns;
    return ns;
}

/* One round: fill up, wait for answers or for the oldest to be lost. */
static int exchange(struct sender *s)
{
    int64_t now = weft_now_ns();
    bool over = now >= s->w->to_ns;
    count_lost(s, now - (int64_t)LOST_MS * 1000000);
    int r = over ? 0 : send_due(s, now);
    if (r == 0 && oldest(s) == 0)
        return over ? 1 : 0;
    if (r == 0)
        r = receive(s, (weft_deadline){oldest(s) + (int64_t)LOST_MS * 1000000});
    if (r == -ECANCELED)
        return r;
    if (r < 0 && r != -ETIMEDOUT) {
        /* A refusal comes back once for each datagram; the datagrams themselves count as lost. */
        load_errors_code(&s->w->errors, r);
        if ((r = weft_sleep_ms(10)) < 0)
            return r;
    }
    return 0;
}

static int send_and_receive(void *arg)
{
    struct sender *s = arg;
    const struct load_options *o = s->w->run->o;
    s->batch = o->pipeline < WEFT_UDP_BATCH_MAX ? (int)o->pipeline : WEFT_UDP_BATCH_MAX;
    s->memory = malloc((size_t)s->batch * (size_t)o->size);
    s->slots = calloc((size_t)o->pipeline, sizeof(*s->slots));
    int r = s->memory != NULL && s->slots != NULL ? 0 : -ENOMEM;
    while (r == 0)
        r = exchange(s);
    free(s->memory);
    free(s->slots);
    return r < 0 ? r : 0;
}

int load_udp_run(void *arg)
{
    struct load_worker *w = arg;
    struct weft_group *g = NULL;
    struct sender *senders = calloc(w->count, sizeof(*senders));
    int r = senders != NULL ? weft_group_open(&g) : -ENOMEM;
    for (uint32_t i = 0; i < w->count && r == 0; i++) {
        senders[i] = (struct sender){.w = w, .stream = w->first + i};
        int error = weft_udp_dial(&senders[i].socket, w->run->o->endpoint, NULL);
        if (error < 0)
            load_errors_code(&w->errors, error);
        else
            w->connected++;
    }
    int started = load_start_together(w);
    if (r == 0)
        r = started;
    for (uint32_t i = 0; i < w->count && r == 0; i++)
        if (senders[i].socket != NULL)
            r = weft_group_go(g, "sender", send_and_receive, &senders[i]);
    if (r == 0)
        r = weft_group_wait(g, WEFT_NEVER);
    weft_group_close(&g);
    for (uint32_t i = 0; senders != NULL && i < w->count; i++)
        weft_udp_close(&senders[i].socket);
    free(senders);
    return r;
}
