/* SPDX-License-Identifier: MIT */
/*
 * Entries: questions and kept answers in one table by name and type (floor 4).
 *
 * Invariants: a name and type has at most one entry; kept entries are in the order of their last
 * use, at most cache_entries of them, and are never given out after their time.
 */
#include <string.h>

#include "base/alloc.h"
#include "dns/dns.h"

/* FNV-1a from a seed of the resolver's own, so that nobody outside can choose names that collide
 * without trying. */
static uint32_t hash_of(const struct weft__dns *n, const char *name, uint16_t type)
{
    uint32_t h = n->seed ^ 2166136261u ^ type;
    for (; *name != '\0'; name++)
        h = (h ^ (unsigned char)*name) * 16777619u;
    return h;
}

static struct weft__dns_entry **bucket(struct weft__dns *n, uint32_t hash)
{
    return &n->buckets[(hash ^ hash >> 16) % WEFT__ARRAY_LEN(n->buckets)];
}

void weft__dns_reply_unref(struct weft__dns_reply *r)
{
    if (r != NULL && --r->refs == 0)
        weft__free(r);
}

void weft__dns_entry_free(struct weft__dns_entry *e)
{
    struct weft__dns *n = e->dns;
    struct weft__dns_entry **at = bucket(n, e->hash);
    WEFT__ASSERT(weft__list_empty(&e->asks));
    while (*at != e)
        at = &(*at)->next;
    *at = e->next;
    weft__list_remove(&e->link);
    n->n_kept -= e->state == WEFT__DNS_KEPT;
    weft__dns_reply_unref(e->reply);
    weft__free(e);
}

struct weft__dns_entry *weft__dns_entry_find(struct weft__dns *n, const char *name, uint16_t type)
{
    uint32_t hash = hash_of(n, name, type);
    struct weft__dns_entry *e = *bucket(n, hash);
    while (e != NULL &&
           (e->forget || e->hash != hash || e->type != type || strcmp(e->name, name) != 0))
        e = e->next;
    if (e == NULL || e->state != WEFT__DNS_KEPT)
        return e;
    if (weft__clock_ns() >= e->until_ns) {
        weft__dns_entry_free(e);
        return NULL;
    }
    weft__list_remove(&e->link);
    weft__list_push_back(&n->kept, &e->link);
    return e;
}

struct weft__dns_entry *weft__dns_entry_make(struct weft__dns *n, const char *name, uint16_t type)
{
    size_t len = strlen(name) + 1;
    struct weft__dns_entry *e = weft__calloc(1, sizeof *e + len);
    if (e == NULL)
        return NULL;
    memcpy(e->name, name, len);
    e->dns = n;
    e->type = type;
    e->hash = hash_of(n, name, type);
    e->state = WEFT__DNS_QUEUED;
    weft__list_init(&e->asks);
    struct weft__dns_entry **at = bucket(n, e->hash);
    e->next = *at;
    *at = e;
    weft__list_push_back(&n->queued, &e->link);
    return e;
}

/* How long what e has come to may be kept; 0: not at all. */
static int64_t keep_ns(const struct weft__dns_entry *e)
{
    const struct weft_dns_options *o = &e->dns->settings->o;
    bool negative = e->status == WEFT__DNS_NO_NAME || e->status == WEFT__DNS_NO_DATA;
    if (e->forget || o->cache_entries == 0 || (e->status != WEFT__DNS_OK && !negative))
        return 0;
    if (e->reply != NULL && e->reply->len > WEFT__DNS_KEPT_LEN)
        return 0;
    int64_t ns = e->until_ns; /* what its TTL says */
    ns = weft__max_i64(ns, e->until_ns >= 0 ? weft_ms(o->ttl_min_ms) : 0);
    ns = weft__min_i64(ns, weft_ms(o->ttl_max_ms));
    return negative ? weft__min_i64(ns, weft_ms(o->negative_max_ms)) : ns;
}

void weft__dns_entry_keep(struct weft__dns_entry *e)
{
    struct weft__dns *n = e->dns;
    int64_t ns = keep_ns(e);
    if (ns <= 0) {
        weft__dns_entry_free(e);
        return;
    }
    if (n->n_kept >= n->settings->o.cache_entries)
        weft__dns_entry_free(
            WEFT__CONTAINER_OF(weft__list_first(&n->kept), struct weft__dns_entry, link));
    e->until_ns = weft__clock_ns() + ns;
    e->state = WEFT__DNS_KEPT;
    weft__list_remove(&e->link);
    weft__list_push_back(&n->kept, &e->link);
    n->n_kept++;
}

void weft__dns_forget_all(struct weft__dns *n)
{
    for (size_t i = 0; i < WEFT__ARRAY_LEN(n->buckets); i++) {
        struct weft__dns_entry *next;
        for (struct weft__dns_entry *e = n->buckets[i]; e != NULL; e = next) {
            next = e->next;
            e->forget = true; /* questions: nobody joins them any more */
            if (e->state == WEFT__DNS_KEPT)
                weft__dns_entry_free(e);
        }
    }
}
