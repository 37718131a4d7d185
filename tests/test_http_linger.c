/* SPDX-License-Identifier: MIT */
/*
 * How long a server goes on reading from who was refused and sends the rest of his body: as long as
 * it comes, for half a minute; and no longer than two seconds when it drains. In simulation, so
 * that the clock is exact.
 */
#include "http_kit.h"
#include "sim_host_kit.h"

#define SOON weft_after_s(60)
#define S INT64_C(1000000000)

struct place {
    int64_t pause_ms; /* between two bytes of the client's; 0: it sends no more */
    int64_t drain_ms; /* when the server drains, counted from the answer; 0: at the end */
    int64_t lasted_ns;
    struct weft_event answered, over;
};

static int refused(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)q, (void)arg;
    return weft_http_text(r, 403, "no");
}

static int server_host(void *arg)
{
    struct place *p = arg;
    struct weft_http_server *s = NULL;
    struct weft_http_app *app = http_kit_app();
    struct weft_group *g = kit_group();
    http_kit_route(app, "POST /", refused);
    CHECK_EQ(weft_http_server_open(&s, g, "tcp://*:80", app, NULL), 0);
    CHECK_EQ(weft_event_wait(p->drain_ms > 0 ? &p->answered : &p->over, WEFT_NEVER), 0);
    CHECK_EQ(weft_sleep_ms(p->drain_ms), 0);
    CHECK_EQ(weft_http_server_drain(s, weft_after_s(60)), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    weft_http_app_close(&app);
    return 0;
}

/* True when the server has ended the connection, in any way. */
static bool is_over(struct weft_stream *s, int64_t wait_ms)
{
    char byte;
    ssize_t n = weft_read(s, &byte, 1, weft_after_ms(wait_ms));
    CHECK(n <= 0);
    return n != -ETIMEDOUT;
}

static int client_host(void *arg)
{
    static const char head[] = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n";
    struct place *p = arg;
    struct weft_stream *s = NULL;
    char answer[512] = "";
    size_t len = 0;
    CHECK_EQ(weft_dial(&s, "tcp://server:80", NULL, SOON), 0);
    CHECK_EQ(weft_write(s, head, sizeof head - 1, SOON), 0);
    while (strstr(answer, "\r\n\r\nno") == NULL) {
        ssize_t n = weft_read(s, answer + len, sizeof answer - 1 - len, SOON);
        CHECK(n > 0);
        len += (size_t)n;
    }
    CHECK(strstr(answer, " 403 ") != NULL);
    weft_event_set(&p->answered);
    int64_t from = weft_now_ns();
    /* The end of its side comes at once; that of the connection shows when a write fails. */
    CHECK(is_over(s, 1000));
    if (p->pause_ms > 0) {
        while (weft_write(s, "x", 1, SOON) == 0 && weft_flush(s, SOON) == 0)
            CHECK_EQ(weft_sleep_ms(p->pause_ms), 0);
        p->lasted_ns = weft_now_ns() - from;
    }
    weft_abort(&s);
    weft_event_set(&p->over);
    return 0;
}

static int64_t play(int64_t pause_ms, int64_t drain_ms)
{
    struct place p = {.pause_ms = pause_ms, .drain_ms = drain_ms};
    struct weft_sim *sim = sim_open(1, false);
    CHECK_EQ(weft_sim_host(sim, "server", server_host, &p), 0);
    CHECK_EQ(weft_sim_host(sim, "client", client_host, &p), 0);
    sim_end(sim);
    return p.lasted_ns;
}

static void as_long_as_it_comes(const char *driver)
{
    (void)driver;
    int64_t ns = play(500, 0);
    CHECK(ns >= 29 * S && ns <= 33 * S);
}

static void not_when_it_stops(const char *driver)
{
    (void)driver;
    int64_t ns = play(2500, 0);
    CHECK(ns <= 8 * S);
}

static void not_when_the_server_drains(const char *driver)
{
    (void)driver;
    int64_t ns = play(500, 4000);
    CHECK(ns >= 5 * S && ns <= 8 * S);
}

static const struct kit_case cases[] = {ON_THREAD(as_long_as_it_comes),
                                        ON_THREAD(not_when_it_stops),
                                        ON_THREAD(not_when_the_server_drains)};
KIT_MAIN(cases)
