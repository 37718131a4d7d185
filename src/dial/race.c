/* SPDX-License-Identifier: MIT */
/*
 * Which address is tried when. See race.h.
 *
 * Floor 4. Nothing here waits.
 */
#include "dial/race.h"

#include <errno.h>
#include <string.h>

#include "sys/call.h"

/* --- The order -------------------------------------------------------------------------------- */

static bool tried(const struct weft__race *r, const struct weft_address *a)
{
    for (size_t i = 0; i < r->next; i++)
        if (weft_address_equal(&r->at[i], a))
            return true;
    return false;
}

/* The next one of a family from *i on that was not tried; NULL: none. */
static const struct weft_address *next_of(const struct weft__race *r,
                                          const struct weft_addresses *a, int family, size_t *i)
{
    while (*i < a->n) {
        const struct weft_address *at = &a->at[(*i)++];
        if (at->sa.ss_family == family && !tried(r, at))
            return at;
    }
    return NULL;
}

/* RFC 8305, section 4: the first is of the family that the sorting prefers, and then by turns. */
void weft__race_add(struct weft__race *r, const struct weft_addresses *a)
{
    static const int families[] = {AF_INET6, AF_INET};
    size_t place[2] = {0, 0};
    int turn = a->at[0].sa.ss_family == AF_INET;
    if (r->next > 0)
        turn = r->at[r->next - 1].sa.ss_family == AF_INET6;
    r->n = r->next;
    for (int empty = 0; empty < 2 && r->n < WEFT__RACE_MAX; turn = !turn) {
        const struct weft_address *at = next_of(r, a, families[turn], &place[turn]);
        empty = at != NULL ? 0 : empty + 1;
        if (at != NULL)
            r->at[r->n++] = *at;
    }
}

/* --- Names ------------------------------------------------------------------------------------ */

static bool has_family(const struct weft__race *r, int family)
{
    for (size_t i = 0; i < r->n; i++)
        if (r->at[i].sa.ss_family == family)
            return true;
    return false;
}

void weft__race_told(struct weft__race *r)
{
    struct weft_addresses *a = NULL;
    if (r->over)
        return;
    r->looking = !r->w.k.done;
    int err = weft__resolve_finish(&r->w, &a);
    if (err == 0 && a->n > 0)
        weft__race_add(r, a);
    weft_addresses_free(&a);
    if (err < 0 && r->n == 0 && !r->looking)
        r->look_up = err;
    /* Section 3: IPv4 came first, so IPv6 is given a moment to come, too. */
    bool alone = r->looking && r->next == 0 && !has_family(r, AF_INET6);
    if (!alone)
        r->hold_ns = 0;
    else if (r->hold_ns == 0)
        r->hold_ns = weft__clock_ns() + WEFT__RACE_RESOLUTION_NS;
}

/* --- Attempts --------------------------------------------------------------------------------- */

static void drop(struct weft__race *r, struct weft__attempt *a)
{
    if (a->fd >= 0)
        weft__fd_close(r->loop, a->fd, true);
    a->fd = -1;
}

void weft__race_ended(struct weft__race *r, struct weft__attempt *a, int res)
{
    size_t place = (size_t)(a - r->attempts);
    if (a->live)
        r->live--;
    a->live = false;
    if (res == 0 && (r->over || r->winner >= 0))
        res = -ECANCELED; /* late */
    if (res == 0)
        res = weft__dial_settle(a->fd, &r->plan->how, &r->at[place]);
    a->res = res;
    if (res == 0) {
        r->winner = (int)place;
        weft__race_stop(r);
        return;
    }
    drop(r, a);
    r->next_ns = 0; /* the next one need not wait for its turn */
}

static void begin(struct weft__race *r)
{
    struct weft__attempt *a = &r->attempts[r->next];
    int family = r->at[r->next].sa.ss_family, res;
    r->next++;
    *a = (struct weft__attempt){.race = r, .fd = weft__dial_socket(&r->plan->how, family)};
    if (a->fd < 0) {
        res = a->fd;
        a->fd = -1;
        weft__race_ended(r, a, res);
        return;
    }
    r->next_ns = weft__clock_ns() + (int64_t)r->plan->attempt_delay_ms * 1000000;
    a->live = true;
    r->live++;
    if (weft__race_begin(r, a, &res))
        weft__race_ended(r, a, res);
}

int64_t weft__race_step(struct weft__race *r, int64_t now_ns)
{
    while (!r->over && r->next < r->n) {
        int64_t when_ns = r->live > 0 ? r->next_ns : r->hold_ns;
        if (when_ns > now_ns)
            return when_ns;
        begin(r);
    }
    return INT64_MAX;
}

void weft__race_stop(struct weft__race *r)
{
    bool first = !r->over;
    r->over = true;
    r->looking = false;
    if (!first)
        return;
    for (size_t i = 0; i < r->next; i++) {
        struct weft__attempt *a = &r->attempts[i];
        if (!a->live)
            continue;
        if (r->loop != NULL)
            weft__sys_cancel(r->loop->sys, &a->op);
        else
            weft__race_ended(r, a, -ECANCELED);
    }
}
