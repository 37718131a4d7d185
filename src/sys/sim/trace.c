/* SPDX-License-Identifier: MIT */
/*
 * The trace of a simulated world: the last lines, and a hash of all of them; see world.h.
 *
 * Floor 1. A line is kept as its format and values and made into text when it is read. The hash
 * takes in what the text would say, never an address, so it is the same in every build.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "sys/sim/memory.h"
#include "sys/sim/world.h"

#define NOTE_MAX 120

struct weft__trace_line {
    int64_t when_ns;
    const char *fmt; /* NULL: note */
    const struct weft__host *from, *to;
    int64_t values[4];
    char *note; /* NOTE_MAX bytes, had when first needed and kept */
};

int weft__trace_open(struct weft__world *w, size_t last)
{
    w->last = weft__calloc(last, sizeof *w->last);
    if (w->last == NULL)
        return -ENOMEM;
    w->last_cap = last;
    return 0;
}

void weft__trace_close(struct weft__world *w)
{
    for (size_t i = 0; i < w->last_cap; i++)
        weft__free(w->last[i].note);
    weft__free(w->last);
    w->last = NULL;
    w->last_cap = 0;
}

static uint64_t mix(uint64_t h, uint64_t x)
{
    h ^= x;
    h *= UINT64_C(0x9fb21c651e98df25);
    return h ^ (h >> 29);
}

static uint64_t mix_text(uint64_t h, const char *text)
{
    for (; *text != '\0'; text++)
        h = (h ^ (uint8_t)*text) * UINT64_C(0x100000001b3);
    return mix(h, 0);
}

static uint64_t host_number(const struct weft__host *h)
{
    return h != NULL ? h->id + UINT64_C(1) : 0;
}

/* Its time, as "s.micros" and the nanoseconds below. */
static void print_line(const struct weft__trace_line *l, FILE *to)
{
    fprintf(to, "%6" PRId64 ".%06" PRId64 " s  %s", l->when_ns / 1000000000,
            l->when_ns % 1000000000 / 1000, l->from != NULL ? l->from->name : "*");
    if (l->to != NULL)
        fprintf(to, " -> %s", l->to->name);
    fputs(": ", to);
    if (l->fmt == NULL) {
        fputs(l->note != NULL ? l->note : "", to);
    } else {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        fprintf(to, l->fmt, l->values[0], l->values[1], l->values[2], l->values[3]);
#pragma GCC diagnostic pop
    }
    fputc('\n', to);
}

/* The place of the next line in the ring; with none, a line that is printed and forgotten. */
static struct weft__trace_line *next_line(struct weft__world *w, struct weft__trace_line *none)
{
    uint64_t n = w->last_n++;
    return w->last_cap > 0 ? &w->last[n % w->last_cap] : none;
}

void weft__trace(struct weft__world *w, const struct weft__host *from, const struct weft__host *to,
                 const char *fmt, int64_t a, int64_t b, int64_t c, int64_t d)
{
    struct weft__trace_line none = {0};
    struct weft__trace_line *l = next_line(w, &none);
    l->when_ns = w->now_ns;
    l->fmt = fmt;
    l->from = from;
    l->to = to;
    l->values[0] = a;
    l->values[1] = b;
    l->values[2] = c;
    l->values[3] = d;
    uint64_t h = mix(w->hash, (uint64_t)w->now_ns);
    h = mix(h, host_number(from) << 32 | host_number(to));
    h = mix(h, (uint64_t)a);
    h = mix(h, (uint64_t)b);
    h = mix(h, (uint64_t)c);
    h = mix(h, (uint64_t)d);
    w->hash = mix_text(h, fmt);
    if (w->trace != NULL)
        print_line(l, w->trace);
}

void weft__trace_note(struct weft__world *w, const struct weft__host *from, const char *text)
{
    char room[NOTE_MAX];
    struct weft__trace_line none = {.note = room};
    struct weft__trace_line *l = next_line(w, &none);
    l->when_ns = w->now_ns;
    l->fmt = NULL;
    l->from = from;
    l->to = NULL;
    if (l->note == NULL)
        l->note = weft__alloc(NOTE_MAX);
    if (l->note != NULL)
        (void)snprintf(l->note, NOTE_MAX, "%s", text);
    w->hash = mix_text(mix(mix(w->hash, (uint64_t)w->now_ns), host_number(from)), text);
    if (w->trace != NULL)
        print_line(l, w->trace);
}

void weft__trace_print(const struct weft__world *w, FILE *to)
{
    uint64_t n = weft__min_u64(w->last_n, w->last_cap);
    for (uint64_t i = w->last_n - n; i < w->last_n; i++)
        print_line(&w->last[i % w->last_cap], to);
}
