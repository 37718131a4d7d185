/* SPDX-License-Identifier: MIT */
/*
 * Thousands of idle HTTP connections: each costs at most 1 KiB of user space, all are still served,
 * and a drain ends them at once.
 */
#include <arpa/inet.h>
#include <malloc.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http_kit.h"

#define BATCH 500
#define COST_MAX 1024

static int hello(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)q, (void)arg;
    return weft_http_text(r, 200, "hello\n");
}

static size_t rss_bytes(void)
{
    unsigned long total, resident;
    FILE *f = fopen("/proc/self/statm", "r");
    CHECK(f != NULL && fscanf(f, "%lu %lu", &total, &resident) == 2 && fclose(f) == 0);
    return resident * 4096;
}

static void ask(int fd)
{
    static const char request[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    char buf[512];
    size_t got = 0;
    CHECK_EQ(send(fd, request, sizeof request - 1, MSG_NOSIGNAL), sizeof request - 1);
    while (got < 6 || memcmp(buf + got - 6, "hello\n", 6) != 0) {
        ssize_t n = recv(fd, buf + got, sizeof buf - got, 0);
        CHECK(n > 0);
        got += (size_t)n;
    }
}

static void await_parked(const struct http_kit *k, uint64_t n)
{
    struct weft_http_server_stats st;
    for (;;) {
        weft_http_server_stats_mt(k->server, &st);
        if (st.parked == n)
            return;
        CHECK_EQ(weft_sleep_ms(5), 0);
    }
}

static int idle_connections(void *arg)
{
    struct http_kit k;
    struct rlimit l;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    (void)arg;
    (void)mallopt(M_ARENA_MAX, 1); /* so that mallinfo sees it all */
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &l), 0);
    l.rlim_cur = l.rlim_max;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &l), 0);
    size_t n = weft__min_size(9500, (size_t)(l.rlim_cur - 200) / 2);
    int *fds = calloc(n, sizeof *fds);
    CHECK(fds != NULL);
    struct weft_http_app *app = http_kit_app();
    http_kit_route(app, "GET /", hello);
    http_kit_open(&k, app, &(struct weft_http_options){.workers = 1, .park_ms = 5});
    a.sin_port = htons((uint16_t)strtoul(strrchr(k.endpoint, ':') + 1, NULL, 10));
    size_t heap = 0, rss = 0;
    for (size_t i = 0; i < n; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        CHECK(fds[i] >= 0 && connect(fds[i], (struct sockaddr *)&a, sizeof a) == 0);
        ask(fds[i]);
        if ((i + 1) % BATCH == 0)
            await_parked(&k, i + 1);
        if (i + 1 == BATCH) { /* what is made once, and kept, is there by now */
            heap = mallinfo2().uordblks;
            rss = rss_bytes();
        }
    }
    await_parked(&k, n);
    size_t more = n - BATCH;
    size_t heap_each = (mallinfo2().uordblks - heap) / more;
    size_t rss_each = (weft__max_size(rss_bytes(), rss) - rss) / more;
    print_message("%zu idle connections: %zu bytes of heap each, %zu resident\n", n, heap_each,
                  rss_each);
    if (!KIT_SLOW) {
        CHECK(heap_each <= COST_MAX);
        CHECK(rss_each <= COST_MAX);
    }
    for (size_t i = 0; i < n; i += 37)
        ask(fds[i]);
    await_parked(&k, n);
    CHECK_EQ(weft_http_server_drain(k.server, weft_after_s(60)), 0);
    for (size_t i = 0; i < n; i++) {
        char byte;
        CHECK_EQ(recv(fds[i], &byte, 1, 0), 0);
        (void)close(fds[i]);
    }
    free(fds);
    http_kit_close(&k);
    return 0;
}

static const struct kit_case cases[] = {IN_TASK(idle_connections)};
KIT_MAIN(cases)
