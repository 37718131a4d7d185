/* SPDX-License-Identifier: MIT */
/*
 * Torture of the HTTP client, and of HTTP/2 on both sides: every allocation, system call and wait
 * goes wrong in turn; see torture_kit.h.
 */
#include <weft/http_client.h>
#include <weft/http_server.h>

#include "torture_kit.h"

#define THEN(err, expr)                                                                            \
    do {                                                                                           \
        if ((err) == 0)                                                                            \
            (err) = torture_first(0, (expr));                                                      \
    } while (0)

struct scene {
    bool http2;
    char url[300];
};

static int echo(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    const void *data;
    size_t len;
    (void)arg;
    int err = weft_http_add(r, "Set-Cookie", "a=1; Path=/");
    THEN(err, weft_http_body(q, &data, &len, TORTURE_SOON));
    return err < 0 ? err : weft_http_send(r, 200, "text/plain", data, len);
}

static int moved(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)q, (void)arg;
    return weft_http_redirect(r, 307, "/echo");
}

static int pieces(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    static char text[3000];
    (void)q, (void)arg;
    memset(text, 'a', sizeof text);
    int err = weft_http_set(r, "Content-Type", "text/plain");
    for (int i = 0; i < 3; i++)
        THEN(err, weft_http_write(r, text, sizeof text, TORTURE_SOON));
    return err;
}

static int fetch(struct weft_http_client *c, const char *base, const char *path, const char *body)
{
    char url[400];
    struct weft_http_reply *r = NULL;
    const void *data;
    size_t len;
    (void)snprintf(url, sizeof url, "%s%s", base, path);
    struct weft_http_call call = {
        .url = url, .body = body, .body_len = body != NULL ? strlen(body) : 0};
    int err = weft_http_fetch(c, &call, &r, TORTURE_SOON);
    THEN(err, weft_http_reply_body(r, &data, &len, TORTURE_SOON));
    weft_http_reply_close(&r);
    return err;
}

static int ask_all(const struct scene *s)
{
    const struct weft_http_client_options o = {.http2_prior = s->http2, .max_per_host = 2};
    struct weft_http_client *c = NULL;
    static char much[20001]; /* so much that the server is listened to meanwhile */
    memset(much, 'm', sizeof much - 1);
    int err = weft_http_client_open(&c, &o);
    THEN(err, fetch(c, s->url, "/echo", "abc"));
    THEN(err, fetch(c, s->url, "/echo", much));
    THEN(err, fetch(c, s->url, "/none", much)); /* refused early */
    THEN(err, fetch(c, s->url, "/moved", "again"));
    THEN(err, fetch(c, s->url, "/pieces", NULL));
    THEN(err, fetch(c, s->url, "/none", NULL));
    weft_http_client_close(&c);
    return err;
}

static int body(void *arg)
{
    struct scene *s = arg;
    struct weft_http_app *app = NULL;
    struct weft_http_server *server = NULL;
    struct weft_group *g = NULL;
    char at[WEFT_ENDPOINT_MAX];
    int err = weft_http_app_open(&app);
    THEN(err, weft_http_route(app, "POST /echo", echo, NULL));
    THEN(err, weft_http_route(app, "POST /moved", moved, NULL));
    THEN(err, weft_http_route(app, "GET /pieces", pieces, NULL));
    THEN(err, weft_group_open(&g));
    THEN(err, weft_http_server_open(&server, g, "tcp://127.0.0.1:0", app, NULL));
    THEN(err, weft_http_server_endpoint(server, at, sizeof at));
    if (err == 0) {
        (void)snprintf(s->url, sizeof s->url, "http://%.200s", at + strlen("tcp://"));
        err = ask_all(s);
    }
    err = torture_first(err, weft_group_close(&g));
    weft_http_app_close(&app);
    return err;
}

static int http1(const char *driver)
{
    struct scene s = {.http2 = false};
    return torture_run(driver, body, &s);
}

static int http2(const char *driver)
{
    struct scene s = {.http2 = true};
    return torture_run(driver, body, &s);
}

int main(void)
{
    static const struct torture_scene scenes[] = {{"http1", http1}, {"http2", http2}};
    return torture_main(scenes, 2, NULL, 0, 15);
}
