/* SPDX-License-Identifier: MIT */
/*
 * Clients with a kept connection of HTTP/1 whose server begins to drain: who asks again soon is
 * answered, and who does not is hung up on. In simulation, so that the clock is exact.
 */
#include "http_kit.h"
#include "sim_host_kit.h"

#define SOON weft_after_s(60)

struct place {
    const char *path;
    struct weft_event go;
    int64_t park_ms;
};

static int small(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)q, (void)arg;
    return weft_http_text(r, 200, "small");
}

static int server_host(void *arg)
{
    struct place *p = arg;
    struct weft_http_options o = {.park_ms = p->park_ms};
    struct weft_http_server *s = NULL;
    struct weft_http_app *app = http_kit_app();
    struct weft_group *g = kit_group();
    http_kit_at_once(app, "GET /now", small);
    http_kit_route(app, "GET /task", small);
    CHECK_EQ(weft_http_server_open(&s, g, "tcp://*:80", app, &o), 0);
    CHECK_EQ(weft_event_wait(&p->go, WEFT_NEVER), 0);
    CHECK_EQ(weft_http_server_drain(s, weft_after_s(5)), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    weft_http_app_close(&app);
    return 0;
}

/* Asks, and reads the answer, which is all in one piece or two; ret: at least 256 bytes. */
static void ask(struct weft_stream *s, const char *path, char *ret)
{
    char request[128];
    size_t len = 0;
    int n = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", path);
    CHECK_EQ(weft_write(s, request, (size_t)n, SOON), 0);
    ret[0] = '\0';
    while (strstr(ret, "\r\n\r\nsmall") == NULL) {
        ssize_t got = weft_read(s, ret + len, 255 - len, SOON);
        CHECK(got > 0);
        len += (size_t)got;
        ret[len] = '\0';
    }
}

static int client_host(void *arg)
{
    struct place *p = arg;
    struct weft_stream *busy = NULL, *idle = NULL;
    char answer[256];
    CHECK_EQ(weft_dial(&busy, "tcp://server:80", NULL, SOON), 0);
    CHECK_EQ(weft_dial(&idle, "tcp://server:80", NULL, SOON), 0);
    ask(idle, p->path, answer);
    ask(busy, p->path, answer);
    CHECK(strstr(answer, "Connection: close") == NULL);
    CHECK_EQ(weft_sleep_ms(20), 0);
    weft_event_set(&p->go);
    CHECK_EQ(weft_sleep_ms(350), 0);
    ask(busy, p->path, answer);
    CHECK(strstr(answer, "Connection: close") != NULL);
    CHECK_EQ(weft_read(busy, answer, 1, SOON), 0);
    CHECK_EQ(weft_read(idle, answer, 1, weft_after_ms(1000)), 0);
    weft_abort(&busy);
    weft_abort(&idle);
    return 0;
}

static void play(const char *path, int64_t park_ms)
{
    struct place p = {.path = path, .park_ms = park_ms};
    struct weft_sim *sim = sim_open(1, false);
    CHECK_EQ(weft_sim_host(sim, "server", server_host, &p), 0);
    CHECK_EQ(weft_sim_host(sim, "client", client_host, &p), 0);
    sim_end(sim);
}

static void answered_at_once(const char *driver)
{
    (void)driver;
    play("/now", 0);
}

static void in_a_task(const char *driver)
{
    (void)driver;
    play("/task", 0);
    play("/task", 10); /* parked when the drain begins */
}

static const struct kit_case cases[] = {ON_THREAD(answered_at_once), ON_THREAD(in_a_task)};
KIT_MAIN(cases)
