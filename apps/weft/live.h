/* SPDX-License-Identifier: MIT */
#ifndef WEFT_APP_LIVE_H
#define WEFT_APP_LIVE_H
/*
 * What a node tells of itself: figures once a second as JSON for its page, and as text for
 * Prometheus.
 *
 * Floor 6. Invariant: a report is made at most once a REPORT_MS, however many look.
 */
#include <stdint.h>

#include <weft/group.h>
#include <weft/http_server.h>
#include <weft/websocket.h>

struct node;

struct live {
    const struct node *node;
    struct weft_http_server *http; /* counted, too; NULL: none yet */
    int64_t began_ns;
    int64_t lag_ns[2]; /* the longest of the last second, and of this one */
    int64_t lag_since_ns;
    struct weft_ws_encoded *report; /* the last one, or NULL */
    int64_t reported_ns;
};

/* Begins to measure, as a task of the group. The struct stays where it is until live_close. */
int live_open(struct live *l, const struct node *n, struct weft_group *g);
void live_close(struct live *l);

/* The report for pages, ready to be sent; belongs to l until the next call. */
int live_report(struct live *l, struct weft_ws_encoded **ret);
/* The text exposition format, version 0.0.4; to be freed by free(3). NULL: no memory. */
char *live_metrics(const struct live *l);

#endif
