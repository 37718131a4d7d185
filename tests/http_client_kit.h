/* SPDX-License-Identifier: MIT */
/* What the tests of the HTTP client share: asking a scripted server, and bodies that are produced.
 */
#ifndef HTTP_CLIENT_KIT_H
#define HTTP_CLIENT_KIT_H

#include <weft/http_client.h>

#include "http_script_kit.h"

#define OK(body) "HTTP/1.1 200 OK\r\nContent-Length: " body

static inline struct weft_http_client *client_of(const struct weft_http_client_options *o)
{
    struct weft_http_client *c = NULL;
    CHECK_EQ(weft_http_client_open(&c, o), 0);
    return c;
}

static inline bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

static inline weft_deadline soon(void)
{
    return weft_after_s(30);
}

static inline void url_of(char *buf, size_t cap, const struct script *k, const char *path)
{
    (void)snprintf(buf, cap, "%s%s", k->url, path);
}

/* Fetches with this call, whose url is a path of the script's; wants status and body. */
static inline void fetch(struct weft_http_client *c, const struct script *k,
                         struct weft_http_call call, int status, const char *body)
{
    char url[1024];
    struct weft_http_reply *r = NULL;
    const void *data;
    size_t len;
    url_of(url, sizeof url, k, call.url);
    call.url = url;
    CHECK_EQ(weft_http_fetch(c, &call, &r, soon()), 0);
    CHECK_EQ(weft_http_reply_status(r), status);
    CHECK_EQ(weft_http_reply_body(r, &data, &len, soon()), 0);
    CHECK_EQ(len, strlen(body));
    CHECK(memcmp(data, body, len) == 0);
    weft_http_reply_close(&r);
    CHECK(r == NULL);
}

static inline void get(struct weft_http_client *c, const struct script *k, const char *path,
                       int status, const char *body)
{
    fetch(c, k, (struct weft_http_call){.url = path}, status, body);
}

/* A GET that fails; its code. */
static inline int get_error(struct weft_http_client *c, const struct script *k, const char *path)
{
    char url[1024];
    struct weft_http_reply *r = NULL;
    const void *data;
    size_t len;
    url_of(url, sizeof url, k, path);
    int err = weft_http_get(c, url, &r, soon());
    if (err == 0)
        err = weft_http_reply_body(r, &data, &len, soon());
    weft_http_reply_close(&r);
    return err;
}

struct source {
    size_t left, rewound;
};

static inline ssize_t produce(void *arg, void *buf, size_t cap, weft_deadline d)
{
    struct source *s = arg;
    size_t n = s->left < cap ? s->left : cap;
    (void)d;
    memset(buf, 'p', n);
    s->left -= n;
    return (ssize_t)n;
}

static inline int rewind_source(void *arg)
{
    struct source *s = arg;
    s->rewound++;
    s->left = 7;
    return 0;
}

#endif
