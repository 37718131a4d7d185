/* SPDX-License-Identifier: MIT */
/*
 * The load generator's shared parts: pattern, errors, common start. See load.h.
 *
 * Shows: threads that start together without a lock, by two atomics and a task that looks.
 *
 * Floor 6.
 */
#include "load.h"

#include <stdio.h>
#include <string.h>

#include <weft/error.h>
#include <weft/time.h>

/* --- Errors by kind ------------------------------------------------------------------------ */

void load_errors_add(struct load_errors *e, const char *name, uint64_t count)
{
    int i = 0;
    if (count == 0)
        return;
    while (i < LOAD_ERROR_KINDS - 1 && e->kinds[i].name != NULL &&
           strcmp(e->kinds[i].name, name) != 0)
        i++;
    if (e->kinds[i].name == NULL)
        e->kinds[i].name = i < LOAD_ERROR_KINDS - 1 ? name : "other";
    e->kinds[i].count += count;
    e->total += count;
}

void load_errors_code(struct load_errors *e, int code)
{
    if (e->first == 0)
        e->first = code;
    load_errors_add(e, weft_error_name(code), 1);
}

void load_errors_merge(struct load_errors *into, const struct load_errors *from)
{
    if (into->first == 0)
        into->first = from->first;
    for (int i = 0; i < LOAD_ERROR_KINDS && from->kinds[i].name != NULL; i++)
        load_errors_add(into, from->kinds[i].name, from->kinds[i].count);
}

/* --- The pattern --------------------------------------------------------------------------- */

/* The period and, again, its beginning, so that any slice lies in one piece. */
static uint8_t pattern[LOAD_PERIOD + LOAD_SLICE];

void load_pattern_init(void)
{
    uint32_t x = 2463534242u;
    for (size_t i = 0; i < LOAD_PERIOD; i++) {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        pattern[i] = (uint8_t)(x >> 24);
    }
    for (size_t i = 0; i < LOAD_SLICE; i++)
        pattern[LOAD_PERIOD + i] = pattern[i % LOAD_PERIOD];
}

const uint8_t *load_pattern(uint32_t stream, uint64_t position)
{
    return pattern + (position + (uint64_t)stream * 7919) % LOAD_PERIOD;
}

bool load_pattern_matches(uint32_t stream, uint64_t position, const void *data, size_t len)
{
    const uint8_t *p = data;
    while (len > 0) {
        size_t n = len < LOAD_SLICE ? len : LOAD_SLICE;
        if (memcmp(p, load_pattern(stream, position), n) != 0)
            return false;
        p += n;
        position += n;
        len -= n;
    }
    return true;
}

/* --- The run ------------------------------------------------------------------------------- */

void load_ready(struct load_worker *w)
{
    struct load_run *run = w->run;
    if (!w->ready && atomic_fetch_add(&run->ready, 1) + 1 == run->o->threads)
        atomic_store(&run->start_ns, weft_now_ns());
    w->ready = true;
}

int load_start_together(struct load_worker *w)
{
    struct load_run *run = w->run;
    int64_t start;
    load_ready(w);
    while ((start = atomic_load(&run->start_ns)) == 0) {
        int r = weft_sleep_ms(1);
        if (r < 0)
            return r;
    }
    w->from_ns = start + (int64_t)(run->o->warmup * 1e9);
    w->to_ns = w->from_ns + (int64_t)(run->o->seconds * 1e9);
    return 0;
}

const char *load_source(const struct load_options *o, uint32_t i, char *buf, size_t cap)
{
    uint32_t n = i / (uint32_t)o->per_source;
    if (n == 0 || !o->internet)
        return NULL;
    snprintf(buf, cap, "tcp://127.%u.%u.%u:0", 1 + (n >> 16), (n >> 8) & 255, n & 255);
    return buf;
}
