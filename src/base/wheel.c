/* SPDX-License-Identifier: MIT */
/*
 * The timer wheel; see wheel.h for its invariants.
 *
 * Floor 0. Ticks are unsigned numbers of at most 47 bits, read as eight 64-ary digits. Filing by
 * the highest digit that differs from the current tick means that within a level only slots after
 * the current digit are in use, so the next one is the lowest bit set, and that a lower level's
 * next slot always comes before a higher level's.
 */
#include "base/wheel.h"

#include "base/base.h"

#define SLOT_BITS 6
#define SLOT_DUE (WEFT__WHEEL_LEVELS * WEFT__WHEEL_SLOTS) /* in w->due */
#define SLOT_EXPIRED (SLOT_DUE + 1)                       /* in the caller's list */

/* The last tick whose time is an int64_t. */
#define TICK_MAX ((uint64_t)INT64_MAX >> WEFT__WHEEL_TICK_SHIFT)

_Static_assert(sizeof(struct weft__timer) <= 32, "timers are embedded in every waiting call");

/* The tick at which a deadline fires: rounded up, so that it is never early. */
static inline uint64_t tick_of(int64_t when_ns)
{
    if (when_ns <= 0)
        return 0;
    uint64_t t = ((uint64_t)when_ns + WEFT__WHEEL_TICK_NS - 1) >> WEFT__WHEEL_TICK_SHIFT;
    return weft__min_u64(t, TICK_MAX);
}

/* Files an unlinked timer by its deadline and the current tick. */
static inline void file(struct weft__wheel *w, struct weft__timer *t)
{
    uint64_t tick = tick_of(t->when_ns);
    if (tick <= w->now) {
        t->slot = SLOT_DUE;
        weft__list_push_back(&w->due, &t->node);
        return;
    }
    unsigned int level = (unsigned int)(63 - __builtin_clzll(tick ^ w->now)) / SLOT_BITS;
    unsigned int digit = (unsigned int)(tick >> (level * SLOT_BITS)) & (WEFT__WHEEL_SLOTS - 1);
    unsigned int slot = level * WEFT__WHEEL_SLOTS + digit;
    t->slot = (uint16_t)slot;
    w->bitmap[level] |= UINT64_C(1) << digit;
    weft__list_push_back(&w->slots[slot], &t->node);
}

void weft__wheel_init(struct weft__wheel *w, int64_t now_ns)
{
    WEFT__ASSERT(now_ns >= 0);
    w->now = (uint64_t)now_ns >> WEFT__WHEEL_TICK_SHIFT;
    w->armed = 0;
    weft__list_init(&w->due);
    for (size_t i = 0; i < WEFT__ARRAY_LEN(w->bitmap); i++)
        w->bitmap[i] = 0;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(w->slots); i++)
        weft__list_init(&w->slots[i]);
}

void weft__wheel_add(struct weft__wheel *w, struct weft__timer *t, int64_t when_ns)
{
    WEFT__ASSERT(!weft__node_linked(&t->node));
    t->when_ns = when_ns;
    w->armed++;
    file(w, t);
}

void weft__wheel_del(struct weft__wheel *w, struct weft__timer *t)
{
    if (!weft__node_linked(&t->node))
        return;
    weft__list_remove(&t->node);
    if (t->slot == SLOT_EXPIRED)
        return;
    WEFT__ASSERT(w->armed > 0);
    w->armed--;
    if (t->slot < SLOT_DUE && weft__list_empty(&w->slots[t->slot]))
        w->bitmap[t->slot / WEFT__WHEEL_SLOTS] &= ~(UINT64_C(1) << (t->slot % WEFT__WHEEL_SLOTS));
}

/* Finds the next slot in use: its level and the tick at which it begins. False when none is. */
static bool next_slot(const struct weft__wheel *w, unsigned int *level, uint64_t *tick)
{
    for (unsigned int l = 0; l < WEFT__WHEEL_LEVELS; l++) {
        if (w->bitmap[l] == 0)
            continue;
        uint64_t digit = (uint64_t)__builtin_ctzll(w->bitmap[l]);
        unsigned int shift = l * SLOT_BITS;
        uint64_t above = w->now >> shift >> SLOT_BITS << SLOT_BITS << shift;
        *level = l;
        *tick = above | digit << shift;
        return true;
    }
    return false;
}

int64_t weft__wheel_next_ns(const struct weft__wheel *w)
{
    unsigned int level;
    uint64_t tick;
    if (!weft__list_empty(&w->due))
        return (int64_t)(w->now << WEFT__WHEEL_TICK_SHIFT);
    if (!next_slot(w, &level, &tick))
        return INT64_MAX;
    /* A timer alone in the next slot needs no wake-up on the way down the levels. */
    if (level > 0) {
        unsigned int digit = (unsigned int)__builtin_ctzll(w->bitmap[level]);
        const struct weft__list *slot = &w->slots[level * WEFT__WHEEL_SLOTS + digit];
        if (slot->head.next == slot->head.prev)
            tick = tick_of(weft__timer_of(slot->head.next)->when_ns);
    }
    return (int64_t)(tick << WEFT__WHEEL_TICK_SHIFT);
}

static inline int64_t when_of(struct weft__node *n)
{
    return weft__timer_of(n)->when_ns;
}

/* Merges two chains that are sorted and end in NULL; `a` goes first where deadlines are equal. */
static struct weft__node *merge(struct weft__node *a, struct weft__node *b)
{
    struct weft__node *first = NULL;
    struct weft__node **tail = &first;
    while (a != NULL && b != NULL) {
        struct weft__node **from = when_of(b) < when_of(a) ? &b : &a;
        *tail = *from;
        tail = &(*from)->next;
        *from = (*from)->next;
    }
    *tail = a != NULL ? a : b;
    return first;
}

/* Sorts by deadline and keeps the order of equals: a merge sort over the next pointers. */
static void sort(struct weft__list *l)
{
    struct weft__node *runs[64] = {NULL}; /* runs[i] has 2^i nodes, older than those of runs[i-1] */
    struct weft__node *n = l->head.next;
    l->head.prev->next = NULL;
    while (n != NULL) {
        struct weft__node *run = n;
        size_t i = 0;
        n = n->next;
        run->next = NULL;
        for (; runs[i] != NULL; i++) {
            run = merge(runs[i], run);
            runs[i] = NULL;
        }
        runs[i] = run;
    }
    struct weft__node *sorted = NULL;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(runs); i++)
        sorted = merge(runs[i], sorted);

    struct weft__node *prev = &l->head;
    for (n = sorted; n != NULL; n = n->next) {
        prev->next = n;
        n->prev = prev;
        prev = n;
    }
    prev->next = &l->head;
    l->head.prev = prev;
}

/* Moves the timers of one slot, or the due ones, to the expired, in order of their deadlines. */
static void expire(struct weft__wheel *w, struct weft__list *from, struct weft__list *expired)
{
    int64_t last = INT64_MIN;
    bool sorted = true;
    WEFT__LIST_EACH(from, n) {
        struct weft__timer *t = weft__timer_of(n);
        sorted = sorted && t->when_ns >= last;
        last = t->when_ns;
        t->slot = SLOT_EXPIRED;
        WEFT__ASSERT(w->armed > 0);
        w->armed--;
    }
    if (!sorted)
        sort(from);
    weft__list_splice_back(expired, from);
}

void weft__wheel_advance(struct weft__wheel *w, int64_t now_ns, struct weft__list *expired)
{
    WEFT__ASSERT(now_ns >= 0);
    uint64_t target = (uint64_t)now_ns >> WEFT__WHEEL_TICK_SHIFT;
    unsigned int level;
    uint64_t tick;

    expire(w, &w->due, expired);
    while (next_slot(w, &level, &tick) && tick <= target) {
        unsigned int digit = (unsigned int)__builtin_ctzll(w->bitmap[level]);
        struct weft__list *slot = &w->slots[level * WEFT__WHEEL_SLOTS + digit];
        WEFT__ASSERT(tick > w->now);
        w->now = tick;
        w->bitmap[level] &= ~(UINT64_C(1) << digit);
        if (level == 0) {
            expire(w, slot, expired);
            continue;
        }
        /* The slot begins: its timers go to finer levels, those of its first tick are due. */
        struct weft__node *n;
        while ((n = weft__list_pop_front(slot)) != NULL)
            file(w, weft__timer_of(n));
        expire(w, &w->due, expired);
    }
    /* Nothing lies between the last slot and target, so every level stays as it is filed. */
    if (target > w->now)
        w->now = target;
}
