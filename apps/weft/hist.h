/* SPDX-License-Identifier: MIT */
#ifndef WEFT_APP_HIST_H
#define WEFT_APP_HIST_H
/*
 * A histogram of 64-bit values in constant memory: log-linear, as HdrHistogram is. Each power of
 * two is cut into 128 equal cells, so a value is known to within 1/128, and a percentile, which is
 * told as the middle of its cell, to within 1/256 (0.4 %).
 *
 * Floor 6. Invariants: nothing waits or allocates; an all-zero histogram is empty and ready;
 * smallest and largest value are kept exactly.
 */
#include <stdint.h>

#define HIST_BITS 7
#define HIST_CELLS ((64 - HIST_BITS + 1) << HIST_BITS)

struct hist {
    uint64_t count;
    uint64_t min, max;
    uint64_t cells[HIST_CELLS];
};

void hist_record(struct hist *h, uint64_t value);
void hist_merge(struct hist *into, const struct hist *from);

/* The smallest value that at least `percent` of all are at or below; 0 for an empty histogram.
 * percent: 0 to 100, to a thousandth. */
uint64_t hist_percentile(const struct hist *h, double percent);

#endif
