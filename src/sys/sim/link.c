/* SPDX-License-Identifier: MIT */
/*
 * Links of a simulated network: rules that say how the ways between hosts are, and the ways; see
 * world.h.
 *
 * Floor 1. A way (path) keeps the figures of the rules that match it and looks at the rules again
 * only when one has come since, so a packet costs an addition and a number or two of chance.
 *
 * Cuts are of the network, and a host that is cut off still reaches itself: they do not count for
 * the way within a host.
 */
#include <errno.h>
#include <fnmatch.h>
#include <string.h>

#include "sys/sim/memory.h"
#include "sys/sim/world.h"

#define LATENCY_NS INT64_C(500000)
#define MTU 1500u
#define PATHS_MIN 64

enum kind { LINK, CUT, HEAL };

enum form { ANY, EXACT, PATTERN };

struct pattern {
    char *text;
    enum form form; /* most patterns need no fnmatch(3) */
};

struct rule {
    struct weft__node link; /* in world->rules, in the order of their making */
    enum kind kind;
    struct pattern from, to;
    struct weft__link l; /* of LINK */
};

/* --- Rules ------------------------------------------------------------------------------------ */

static int pattern_init(struct pattern *p, const char *text)
{
    p->text = weft__strdup(text);
    if (p->text == NULL)
        return -ENOMEM;
    p->form = strcmp(text, "*") == 0 ? ANY : strpbrk(text, "*?[\\") == NULL ? EXACT : PATTERN;
    return 0;
}

static bool pattern_matches(const struct pattern *p, const struct weft__host *h)
{
    switch (p->form) {
    case ANY:
        return true;
    case EXACT:
        return strcmp(p->text, h->name) == 0;
    default:
        return fnmatch(p->text, h->name, 0) == 0;
    }
}

static void rule_free(struct rule *r)
{
    if (r == NULL)
        return;
    weft__list_remove(&r->link);
    weft__free(r->from.text);
    weft__free(r->to.text);
    weft__free(r);
}

/* True when nothing of `old` counts any more behind r. */
static bool replaces(const struct rule *r, const struct rule *old)
{
    if ((r->kind == LINK) != (old->kind == LINK))
        return false;
    bool from = r->from.form == ANY || strcmp(r->from.text, old->from.text) == 0;
    bool to = r->to.form == ANY || strcmp(r->to.text, old->to.text) == 0;
    return from && to;
}

/* The list stays as short as the scenario has different rules, however often they alternate. */
static void rule_add(struct weft__world *w, struct rule *r)
{
    WEFT__LIST_EACH_SAFE(&w->rules, n, tmp) {
        struct rule *old = WEFT__CONTAINER_OF(n, struct rule, link);
        if (replaces(r, old))
            rule_free(old);
    }
    weft__list_push_back(&w->rules, &r->link);
    w->epoch++;
}

static int rule_new(struct weft__world *w, enum kind kind, const char *from, const char *to,
                    const struct weft__link *l)
{
    struct rule *r = weft__calloc(1, sizeof *r);
    if (r == NULL)
        return -ENOMEM;
    r->kind = kind;
    if (l != NULL)
        r->l = *l;
    if (pattern_init(&r->from, from) < 0 || pattern_init(&r->to, to) < 0) {
        rule_free(r);
        return -ENOMEM;
    }
    rule_add(w, r);
    return 0;
}

int weft__link_set(struct weft__world *w, const char *from, const char *to,
                   const struct weft__link *l)
{
    if (l->latency_ns < 0 || l->jitter_ns < 0 || l->bytes_per_s < 0 || l->reorder_ns < 0)
        return -EINVAL;
    return rule_new(w, LINK, from, to, l);
}

int weft__link_cut(struct weft__world *w, const char *from, const char *to, bool cut)
{
    return rule_new(w, cut ? CUT : HEAL, from, to, NULL);
}

/* --- Paths ------------------------------------------------------------------------------------ */

static void look_up(struct weft__path *p)
{
    static const struct weft__link between = {.latency_ns = LATENCY_NS}, within;
    const struct weft__link *l = p->from == p->to ? &within : &between;
    p->cut = false;
    WEFT__LIST_EACH(&p->from->world->rules, n) {
        const struct rule *r = WEFT__CONTAINER_OF(n, struct rule, link);
        if (!pattern_matches(&r->from, p->from) || !pattern_matches(&r->to, p->to))
            continue;
        if (r->kind == LINK)
            l = &r->l;
        else
            p->cut = r->kind == CUT && p->from != p->to;
    }
    p->latency_ns = l->latency_ns;
    p->jitter_ns = l->jitter_ns;
    p->bytes_per_s = l->bytes_per_s;
    p->reorder_ns = l->reorder_ns;
    p->loss = l->loss;
    p->duplicate = l->duplicate;
    p->reorder = l->reorder;
    p->mtu = l->mtu != 0 ? l->mtu : MTU;
}

void weft__path_refresh(struct weft__path *p)
{
    uint64_t epoch = p->from->world->epoch;
    if (WEFT__LIKELY(p->epoch == epoch))
        return;
    look_up(p);
    p->epoch = epoch;
}

static size_t slot(const struct weft__world *w, uint32_t from, uint32_t to)
{
    uint64_t h = ((uint64_t)from << 32 | to) * UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)(h >> 32) & (w->paths_cap - 1);
}

/* One path a slot on average at most. */
static int make_room(struct weft__world *w)
{
    if (w->n_paths < w->paths_cap)
        return 0;
    size_t old_cap = w->paths_cap;
    size_t cap = old_cap > 0 ? 2 * old_cap : PATHS_MIN;
    struct weft__path **old = w->paths;
    struct weft__path **table = weft__calloc(cap, sizeof(struct weft__path *));
    if (table == NULL)
        return -ENOMEM;
    w->paths = table;
    w->paths_cap = cap;
    for (size_t i = 0; i < old_cap; i++) {
        for (struct weft__path *p = old[i], *next; p != NULL; p = next) {
            size_t at = slot(w, p->from->id, p->to->id);
            next = p->next;
            p->next = table[at];
            table[at] = p;
        }
    }
    weft__free(old);
    return 0;
}

struct weft__path *weft__path_get(struct weft__world *w, struct weft__host *from,
                                  struct weft__host *to)
{
    if (WEFT__LIKELY(w->paths_cap > 0)) {
        struct weft__path *p = w->paths[slot(w, from->id, to->id)];
        for (; p != NULL; p = p->next) {
            if (p->from == from && p->to == to) {
                weft__path_refresh(p);
                return p;
            }
        }
    }
    if (make_room(w) < 0)
        return NULL;
    struct weft__path *p = weft__calloc(1, sizeof *p);
    if (p == NULL)
        return NULL;
    size_t at = slot(w, from->id, to->id);
    p->from = from;
    p->to = to;
    p->next = w->paths[at];
    w->paths[at] = p;
    w->n_paths++;
    look_up(p);
    p->epoch = w->epoch;
    return p;
}

/* When the last of so many bytes is on the wire, behind what was sent before. */
static int64_t serialise(struct weft__path *p, size_t bytes)
{
    int64_t now = p->from->world->now_ns;
    if (p->bytes_per_s == 0)
        return now;
    unsigned __int128 ns = (unsigned __int128)bytes * 1000000000 + (uint64_t)p->bytes_per_s - 1;
    p->busy_ns = weft__max_i64(p->busy_ns, now) + (int64_t)(ns / (uint64_t)p->bytes_per_s);
    return p->busy_ns;
}

/* Each packet has a jitter of its own, so one may overtake another; who wants order keeps it. */
int64_t weft__path_send(struct weft__path *p, size_t bytes)
{
    struct weft__world *w = p->from->world;
    weft__path_refresh(p);
    if (WEFT__UNLIKELY(p->cut))
        return -1;
    int64_t arrives = serialise(p, bytes) + p->latency_ns;
    /* The largest number means always; the chance would miss it once in 2^32. */
    if (WEFT__UNLIKELY(p->loss == UINT32_MAX) || weft__world_chance(w, p->loss))
        return -1;
    if (p->jitter_ns > 0)
        arrives += (int64_t)weft__world_below(w, (uint64_t)p->jitter_ns + 1);
    return arrives;
}

void weft__links_close(struct weft__world *w)
{
    for (size_t i = 0; i < w->paths_cap; i++) {
        for (struct weft__path *p = w->paths[i], *next; p != NULL; p = next) {
            next = p->next;
            weft__free(p);
        }
    }
    weft__free(w->paths);
    w->paths = NULL;
    w->paths_cap = w->n_paths = 0;
    WEFT__LIST_EACH_SAFE(&w->rules, n, tmp)
        rule_free(WEFT__CONTAINER_OF(n, struct rule, link));
}
