/* SPDX-License-Identifier: MIT */
/*
 * Shows: a log-linear histogram. See hist.h.
 *
 * Floor 6. How a cell is found: the values below 2 * 128 have a cell each. Above, a value of b bits
 * keeps its 8 leading bits, of which the first is always 1: they count the cell within the
 * power of two, and b the power.
 */
#include "hist.h"

#include <stddef.h>

static size_t cell_of(uint64_t value)
{
    unsigned bits = 64 - (unsigned)__builtin_clzll(value | 1);
    if (bits <= HIST_BITS + 1)
        return (size_t)value;
    unsigned shift = bits - (HIST_BITS + 1);
    return ((size_t)shift << HIST_BITS) + (size_t)(value >> shift);
}

static uint64_t middle_of(size_t cell)
{
    if (cell < (size_t)2 << HIST_BITS)
        return cell;
    unsigned shift = (unsigned)(cell >> HIST_BITS) - 1;
    uint64_t leading = (cell & ((1u << HIST_BITS) - 1)) | 1u << HIST_BITS;
    return (leading << shift) + ((uint64_t)1 << shift >> 1);
}

void hist_record(struct hist *h, uint64_t value)
{
    if (h->count == 0 || value < h->min)
        h->min = value;
    if (value > h->max)
        h->max = value;
    h->count++;
    h->cells[cell_of(value)]++;
}

void hist_merge(struct hist *into, const struct hist *from)
{
    if (from->count == 0)
        return;
    if (into->count == 0 || from->min < into->min)
        into->min = from->min;
    if (from->max > into->max)
        into->max = from->max;
    into->count += from->count;
    for (size_t i = 0; i < HIST_CELLS; i++)
        into->cells[i] += from->cells[i];
}

uint64_t hist_percentile(const struct hist *h, double percent)
{
    if (h->count == 0)
        return 0;
    /* In whole numbers: 99.9 is no binary fraction, and a hair too much would be the next rank. */
    const uint64_t all = 100000;
    uint64_t part = (uint64_t)(percent * 1000 + 0.5);
    uint64_t rank = h->count / all * part + (h->count % all * part + all - 1) / all;
    if (rank < 1)
        return h->min;
    if (rank >= h->count)
        return h->max;
    uint64_t seen = 0;
    size_t cell = 0;
    while (cell < HIST_CELLS - 1 && (seen += h->cells[cell]) < rank)
        cell++;
    uint64_t value = middle_of(cell);
    /* The middle of the outermost cells may lie beyond what was really seen. */
    if (value < h->min)
        return h->min;
    return value > h->max ? h->max : value;
}
