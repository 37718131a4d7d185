/* SPDX-License-Identifier: MIT */
/*
 * A progress bar: see progress.h.
 *
 * Floor 6.
 */
#include "progress.h"

#include <stdio.h>
#include <unistd.h>

#include <weft/time.h>

#define BAR 30
#define REDRAW_NS INT64_C(100000000)

void progress_open(struct progress *p, bool wanted, uint64_t from, int64_t more)
{
    *p = (struct progress){.shown = wanted && isatty(STDERR_FILENO),
                           .from = from,
                           .done = from,
                           .total = more < 0 ? -1 : (int64_t)from + more,
                           .began_ns = weft_now_ns()};
}

/* "1.5 MiB" */
static const char *amount(double bytes, char *buf, size_t cap)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    size_t i = 0;
    for (; bytes >= 1024 && i + 1 < sizeof units / sizeof units[0]; i++)
        bytes /= 1024;
    snprintf(buf, cap, i == 0 ? "%.0f %s" : "%.1f %s", bytes, units[i]);
    return buf;
}

static void draw(struct progress *p, int64_t now)
{
    char done[24], total[24], rate[24], bar[BAR + 1];
    double seconds = (double)(now - p->began_ns + 1) / 1e9;
    double per_s = (double)(p->done - p->from) / seconds;
    p->drawn_ns = now;
    amount((double)p->done, done, sizeof done);
    amount(per_s, rate, sizeof rate);
    if (p->total <= 0) {
        fprintf(stderr, "\r%s, %s/s\033[K", done, rate);
        return;
    }
    double share = (double)p->done / (double)p->total;
    for (int i = 0; i < BAR; i++)
        bar[i] = i < (int)(share * BAR) ? '#' : '.';
    bar[BAR] = '\0';
    fprintf(stderr, "\r[%s] %3d %%  %s of %s, %s/s\033[K", bar, (int)(share * 100), done,
            amount((double)p->total, total, sizeof total), rate);
}

void progress_add(struct progress *p, uint64_t n)
{
    p->done += n;
    if (!p->shown)
        return;
    int64_t now = weft_now_ns();
    if (now - p->drawn_ns >= REDRAW_NS)
        draw(p, now);
}

void progress_close(struct progress *p)
{
    if (!p->shown)
        return;
    draw(p, weft_now_ns());
    fputc('\n', stderr);
}
