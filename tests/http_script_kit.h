/* SPDX-License-Identifier: MIT */
/*
 * A server for tests of HTTP clients that says exactly the bytes that it is told to: for each
 * connection a script of steps, taken from one list in the order in which connections come.
 *
 * A step waits for a whole request (head, and a body by Content-Length or in chunks) and keeps its
 * text; then says its reply, and may hang up.
 */
#ifndef HTTP_SCRIPT_KIT_H
#define HTTP_SCRIPT_KIT_H

#include <weft/server.h>

#include "rt_kit.h"

#define SCRIPT_STEPS 32

struct script_step {
    const char *reply; /* NULL: hangs up without a word */
    size_t len;        /* of reply; 0: it is text */
    bool hang_up;      /* after it */
    bool early;        /* before the body: only the head is read */
    bool hang;         /* says nothing until the connection is cancelled */
};

struct script {
    const struct script_step *steps;
    size_t n, next;
    size_t connections;
    char *asked[SCRIPT_STEPS]; /* what each step was asked */
    char endpoint[WEFT_ENDPOINT_MAX];
    char url[WEFT_ENDPOINT_MAX];
    struct weft_group *group;
};

static inline size_t script_length(const char *head)
{
    const char *at = strcasestr(head, "\r\ncontent-length:");
    return at == NULL ? 0 : (size_t)strtoull(at + strlen("\r\ncontent-length:"), NULL, 10);
}

/* One request whole, or NULL at the end. */
static inline char *script_read(struct weft_stream *s, bool early)
{
    size_t len = 0, cap = 1 << 20;
    char *text = calloc(1, cap + 1);
    CHECK(text != NULL);
    for (;;) {
        char *end = strstr(text, "\r\n\r\n");
        if (end != NULL) {
            size_t head = (size_t)(end - text) + 4;
            bool chunked = strcasestr(text, "transfer-encoding: chunked") != NULL;
            if (early || (chunked ? strstr(text + head - 2, "\r\n0\r\n\r\n") != NULL
                                  : len >= head + script_length(text)))
                return text;
        }
        CHECK(len < cap);
        ssize_t n = weft_read(s, text + len, cap - len, weft_after_s(30));
        if (n <= 0) {
            free(text);
            return NULL;
        }
        len += (size_t)n;
    }
}

static inline int script_serve(struct weft_stream *s, void *arg)
{
    struct script *k = arg;
    k->connections++;
    for (;;) {
        char *text = script_read(s, k->next < k->n && k->steps[k->next].early);
        if (text == NULL)
            return 0;
        CHECK(k->next < k->n); /* more requests than steps */
        const struct script_step *step = &k->steps[k->next];
        k->asked[k->next++] = text;
        if (step->hang) {
            int err = weft_sleep_until(WEFT_NEVER);
            return err == -ECANCELED ? 0 : err;
        }
        if (step->reply == NULL)
            return 0;
        int err = weft_write(s, step->reply, step->len > 0 ? step->len : strlen(step->reply),
                             weft_after_s(30));
        if (err < 0 || step->hang_up)
            return err;
    }
}

static inline void script_open(struct script *k, const struct script_step *steps, size_t n)
{
    struct weft_server *server = NULL;
    *k = (struct script){.steps = steps, .n = n, .group = kit_group()};
    CHECK(n <= SCRIPT_STEPS);
    CHECK_EQ(weft_server_open(&server, k->group, "tcp://127.0.0.1:0", NULL, script_serve, k, NULL),
             0);
    CHECK(weft_server_endpoint(server, k->endpoint, sizeof k->endpoint) > 0);
    (void)snprintf(k->url, sizeof k->url, "http://%s", k->endpoint + strlen("tcp://"));
}

/* All steps were taken. */
static inline void script_close(struct script *k)
{
    CHECK_EQ(k->next, k->n);
    (void)weft_group_close(&k->group);
    for (size_t i = 0; i < k->n; i++)
        free(k->asked[i]);
}

#define SCRIPT_TEXT(text)                                                                          \
    {                                                                                              \
        .reply = (text)                                                                            \
    }
#define SCRIPT_OPEN(k, ...)                                                                        \
    static const struct script_step script_steps_[] = {__VA_ARGS__};                               \
    script_open((k), script_steps_, sizeof script_steps_ / sizeof script_steps_[0])

#endif
