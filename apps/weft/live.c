/* SPDX-License-Identifier: MIT */
/*
 * A node's figures: see live.h.
 *
 * Shows: a loop's lag measured by a ticker; counters read while servers run; JSON by a library; a
 * message encoded once for all who get it.
 *
 * Floor 6.
 */
#include "live.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <weft/run.h>
#include <weft/time.h>
#include <weft/tree.h>

#include "node.h"

#define REPORT_NS INT64_C(900000000)
#define LAG_TICK_MS 20
#define TREE_MAX ((size_t)64 * 1024)
#define TREE_CONNECTIONS_MAX 1000 /* with more of them the tree is no longer made each second */

struct text {
    char *data;
    size_t len, cap;
    bool lost, cut;
};

/* --- Measuring ---------------------------------------------------------------------------------
 */

/* How much later than it should a task runs that sleeps: the time that others hold the loop. */
static int measure_lag(void *arg)
{
    struct live *l = arg;
    for (;;) {
        int64_t due = weft_now_ns() + weft_ms(LAG_TICK_MS);
        int err = weft_sleep_until((weft_deadline){due});
        if (err < 0)
            return err;
        int64_t now = weft_now_ns();
        if (now - l->lag_since_ns > weft_s(1)) {
            l->lag_ns[0] = l->lag_ns[1];
            l->lag_ns[1] = 0;
            l->lag_since_ns = now;
        }
        if (now - due > l->lag_ns[1])
            l->lag_ns[1] = now - due;
    }
}

static double lag_s(const struct live *l)
{
    int64_t most = l->lag_ns[0] > l->lag_ns[1] ? l->lag_ns[0] : l->lag_ns[1];
    return (double)most / 1e9;
}

static double cpu_s(void)
{
    struct rusage u;
    if (getrusage(RUSAGE_SELF, &u) < 0)
        return 0;
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static uint64_t resident(void)
{
    unsigned long long size, pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f == NULL)
        return 0;
    if (fscanf(f, "%llu %llu", &size, &pages) != 2)
        pages = 0;
    fclose(f);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static struct weft_http_server_stats http_stats(const struct live *l)
{
    struct weft_http_server_stats s = {0};
    if (l->http != NULL)
        weft_http_server_stats_mt(l->http, &s);
    return s;
}

/* --- The tree ----------------------------------------------------------------------------------
 */

static void append(void *arg, const char *piece, size_t len)
{
    struct text *t = arg;
    if (t->cut || t->lost)
        return;
    if (t->len + len > TREE_MAX) {
        t->cut = true;
        return;
    }
    if (t->len + len >= t->cap) {
        size_t cap = (t->len + len + 1) * 2;
        char *grown = realloc(t->data, cap);
        t->lost = grown == NULL;
        if (t->lost)
            return;
        t->data = grown;
        t->cap = cap;
    }
    memcpy(t->data + t->len, piece, len);
    t->len += len;
    t->data[t->len] = '\0';
}

static json_t *tree(uint64_t live)
{
    struct text t = {0};
    char line[120];
    if (live > TREE_CONNECTIONS_MAX) {
        snprintf(line, sizeof line, "%llu connections: see `weft tree %d`\n",
                 (unsigned long long)live, (int)getpid());
        return json_string(line);
    }
    int err = weft_loop_tree(weft_loop_current(), 0, append, &t);
    if (err == 0 && t.cut) {
        t.cut = false;
        t.len = t.len > TREE_MAX - sizeof line ? TREE_MAX - sizeof line : t.len;
        snprintf(line, sizeof line, "...: see `weft tree %d`\n", (int)getpid());
        append(&t, line, strlen(line));
    }
    /* Names may hold any bytes; JSON is UTF-8. */
    for (size_t i = 0; i < t.len; i++)
        if ((t.data[i] & 0x80) != 0)
            t.data[i] = '?';
    json_t *text = json_string(t.data != NULL ? t.data : "");
    free(t.data);
    return text;
}

/* --- The report --------------------------------------------------------------------------------
 */

static json_t *service(const char *kind, const char *endpoint, uint64_t live, uint64_t messages,
                       uint64_t bytes)
{
    return json_pack("{s:s, s:s, s:I, s:I, s:I}", "kind", kind, "endpoint", endpoint, "live",
                     (json_int_t)live, "messages", (json_int_t)messages, "bytes",
                     (json_int_t)bytes);
}

static json_t *services(const struct live *l)
{
    json_t *all = json_array();
    struct weft_http_server_stats http = http_stats(l);
    char endpoint[WEFT_ENDPOINT_MAX];
    for (int i = 0; i < l->node->count; i++) {
        const struct node_service *s = &l->node->services[i];
        struct weft_server_stats st = {.reads = s->udp.messages, .bytes_in = s->udp.bytes};
        char kind[40];
        if (s->server != NULL)
            weft_server_stats_mt(s->server, &st);
        snprintf(kind, sizeof kind, "echo%s%s", s->kind != NULL ? " " : "",
                 s->kind != NULL ? s->kind : "");
        json_array_append_new(all, service(kind, s->endpoint, st.live, st.reads, st.bytes_in));
    }
    if (l->http != NULL && weft_http_server_endpoint(l->http, endpoint, sizeof endpoint) > 0)
        json_array_append_new(
            all, service("http", endpoint, http.server.live, http.requests, http.server.bytes_in));
    return all;
}

static json_t *make_report(const struct live *l)
{
    struct node_counts c;
    struct weft_http_server_stats http = http_stats(l);
    node_counts(l->node, &c);
    return json_pack("{s:s, s:s, s:f, s:o, s:I, s:I, s:I, s:I, s:f, s:I, s:f, s:o}", "version",
                     weft_version(), "driver", weft_driver_name(), "up_s",
                     (double)(weft_now_ns() - l->began_ns) / 1e9, "services", services(l), "live",
                     (json_int_t)(c.live + http.server.live), "messages", (json_int_t)c.messages,
                     "requests", (json_int_t)http.requests, "bytes", (json_int_t)c.bytes, "cpu_s",
                     cpu_s(), "rss", (json_int_t)resident(), "lag_ms", lag_s(l) * 1e3, "tree",
                     tree(c.live + http.server.live));
}

int live_report(struct live *l, struct weft_ws_encoded **ret)
{
    int64_t now = weft_now_ns();
    if (l->report == NULL || now - l->reported_ns > REPORT_NS) {
        struct weft_ws_encoded *made = NULL;
        json_t *report = make_report(l);
        char *text = report != NULL ? json_dumps(report, JSON_COMPACT) : NULL;
        json_decref(report);
        if (text == NULL)
            return -ENOMEM;
        int err = weft_ws_encode(&made, WEFT_WS_TEXT, text, strlen(text), NULL);
        free(text);
        if (err < 0)
            return err;
        weft_ws_encoded_unref(l->report);
        l->report = made;
        l->reported_ns = now;
    }
    *ret = l->report;
    return 0;
}

/* --- Prometheus --------------------------------------------------------------------------------
 */

static void head(FILE *f, const char *name, const char *type, const char *help)
{
    fprintf(f, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* What a label's value may not hold as it is. */
static void label(FILE *f, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '\\' || *text == '"' || *text == '\n')
            fputc('\\', f);
        fputc(*text == '\n' ? 'n' : *text, f);
    }
}

static void per_service(FILE *f, const struct live *l, const char *name, const char *type,
                        const char *help, uint64_t (*value)(const struct weft_server_stats *st))
{
    head(f, name, type, help);
    for (int i = 0; i < l->node->count; i++) {
        const struct node_service *s = &l->node->services[i];
        struct weft_server_stats st = {.reads = s->udp.messages, .bytes_in = s->udp.bytes};
        if (s->server != NULL)
            weft_server_stats_mt(s->server, &st);
        fprintf(f, "%s{service=\"echo\",endpoint=\"", name);
        label(f, s->endpoint);
        fprintf(f, "\"} %llu\n", (unsigned long long)value(&st));
    }
}

static uint64_t live_of(const struct weft_server_stats *st)
{
    return st->live;
}
static uint64_t reads_of(const struct weft_server_stats *st)
{
    return st->reads;
}
static uint64_t bytes_of(const struct weft_server_stats *st)
{
    return st->bytes_in;
}

static void http_metrics(FILE *f, const struct live *l)
{
    struct weft_http_server_stats s = http_stats(l);
    head(f, "weft_http_requests_total", "counter",
         "Requests answered, by the class of the status.");
    for (int i = 1; i < 6; i++)
        fprintf(f, "weft_http_requests_total{class=\"%dxx\"} %llu\n", i,
                (unsigned long long)s.by_class[i]);
    head(f, "weft_http_connections", "gauge", "HTTP connections now.");
    fprintf(f, "weft_http_connections %llu\n", (unsigned long long)s.server.live);
    head(f, "weft_http_bad_requests_total", "counter",
         "Requests refused before a handler saw them.");
    fprintf(f, "weft_http_bad_requests_total %llu\n", (unsigned long long)s.bad_requests);
}

char *live_metrics(const struct live *l)
{
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);
    if (f == NULL)
        return NULL;
    head(f, "weft_build_info", "gauge", "Always 1; the labels say what runs.");
    fprintf(f, "weft_build_info{version=\"%s\",driver=\"%s\"} 1\n", weft_version(),
            weft_driver_name());
    per_service(f, l, "weft_connections", "gauge", "Connections now.", live_of);
    per_service(f, l, "weft_messages_total", "counter", "Messages received.", reads_of);
    per_service(f, l, "weft_received_bytes_total", "counter", "Bytes received.", bytes_of);
    http_metrics(f, l);
    head(f, "weft_loop_lag_seconds", "gauge",
         "The longest that a task had to wait, in the last two seconds.");
    fprintf(f, "weft_loop_lag_seconds %.6f\n", lag_s(l));
    head(f, "process_cpu_seconds_total", "counter", "CPU time of the process.");
    fprintf(f, "process_cpu_seconds_total %.6f\n", cpu_s());
    head(f, "process_resident_memory_bytes", "gauge", "Resident memory of the process.");
    fprintf(f, "process_resident_memory_bytes %llu\n", (unsigned long long)resident());
    if (fclose(f) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

/* --- Opening and closing -----------------------------------------------------------------------
 */

int live_open(struct live *l, const struct node *n, struct weft_group *g)
{
    *l = (struct live){.node = n, .began_ns = weft_now_ns()};
    l->lag_since_ns = l->began_ns;
    return weft_group_go(g, "loop lag", measure_lag, l);
}

void live_close(struct live *l)
{
    weft_ws_encoded_unref(l->report);
    l->report = NULL;
}
