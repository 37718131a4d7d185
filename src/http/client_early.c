/* SPDX-License-Identifier: MIT */
/*
 * A reply by HTTP/1 that comes while the body is being sent (RFC 9112 section 9.5): a server that
 * says 413 or 401 and reads no more is heard, and the rest of the body is not sent.
 *
 * Floor 5. On a loop a task listens while the request's own flow writes, and cuts its write short.
 * A plain thread has one flow: it looks before each piece, and waits for what the server says as
 * well as for room, so that the write behind that need not wait. A body that the server is asked
 * for first (100 Continue) waits for its answer.
 *
 * Invariants: nobody listens any more when weft__http_early_end has returned; listening takes
 * nothing off the stream; only a write is cut short, never who makes the body.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "http/client.h"
#include "http/h1_head.h"

#define STATUS_AT 9u /* "HTTP/1.1 413" */
#define STATUS_END 12u

/* The three digits of the reply that begins at `at`: 0, or what reading came to. */
static int status_at(struct weft_stream *s, size_t at, char ret[4], weft_deadline d)
{
    const void *data;
    ssize_t n = weft_peek_min(s, &data, at + STATUS_END, d);
    if (n <= 0)
        return n == 0 ? WEFT_EEOF : (int)n;
    memcpy(ret, (const char *)data + at + STATUS_AT, 3);
    return 0;
}

/* One that others follow (RFC 9110 section 15.2); behind a 101 comes another protocol. */
static bool is_interim(const char *status)
{
    return status[0] == '1' && strcmp(status, "101") != 0;
}

/* Behind the interim reply that begins at `at`: 0, or that there is too much of it, or what reading
 * came to. */
static int skip_interim(struct weft_stream *s, size_t *at, weft_deadline d)
{
    const void *data;
    ssize_t n = weft_peek_min(s, &data, *at + STATUS_END, d);
    while (n > 0) {
        const char *head = (const char *)data + *at;
        const char *end = memmem(head, (size_t)n - *at, "\r\n\r\n", 4);
        if (end != NULL) {
            *at += (size_t)(end - head) + 4;
            return *at + STATUS_END <= WEFT__H1_HEAD_MAX ? 0 : -EMSGSIZE;
        }
        if ((size_t)n >= WEFT__H1_HEAD_MAX)
            return -EMSGSIZE;
        n = weft_peek_min(s, &data, (size_t)n + 1, d);
    }
    return n == 0 ? WEFT_EEOF : (int)n;
}

/*
 * 1: the server wants no more of the body: it has replied, with anything but a 1xx or 2xx, or has
 * hung up. 0: it takes the body, and there is nothing else to listen for. -ETIMEDOUT, -ECANCELED.
 */
static int look(struct weft_stream *s, weft_deadline d)
{
    size_t at = 0;
    for (;;) {
        char status[4] = "";
        int err = status_at(s, at, status, d);
        if (err == 0 && !is_interim(status))
            return status[0] != '2';
        if (err == 0)
            err = skip_interim(s, &at, d);
        if (err == -EMSGSIZE)
            return 0; /* reading the reply will say so */
        if (err < 0)
            return err == -ETIMEDOUT || err == -ECANCELED ? err : 1;
    }
}

int weft__http_may_continue(struct weft_stream *s, weft_deadline d)
{
    weft_deadline patience = weft_earlier(d, weft_after_ms(WEFT__HTTP_CONTINUE_MS));
    size_t at = 0;
    int err = 0;
    while (err == 0) {
        char status[4] = "";
        err = status_at(s, at, status, patience);
        if (err == 0 && (!is_interim(status) || strcmp(status, "100") == 0))
            return is_interim(status);
        if (err == 0)
            err = skip_interim(s, &at, patience);
    }
    if (err == -ETIMEDOUT)
        return weft_left_ns(d) > 0 ? 1 : err; /* some servers do not know it */
    if (err == -EMSGSIZE)
        return 1; /* more of them than are looked through: as if none had come */
    return err == WEFT_EEOF ? 0 : err;
}

static int listen_for_reply(void *arg)
{
    struct weft__http_early *e = arg;
    e->told = look(e->s, e->until) > 0;
    e->over = true;
    while (e->told && e->writer != NULL) { /* it may be between two waits of its write */
        if (e->writer->wait != NULL)
            weft__wait_abort(e->writer->wait, -ECANCELED);
        if (weft_yield() < 0)
            break;
    }
    return 0;
}

int weft__http_early_begin(struct weft__http_early *e, struct weft_stream *s, bool on_loop,
                           weft_deadline d)
{
    *e = (struct weft__http_early){.s = s, .until = d};
    if (!on_loop)
        return 0;
    int err = weft_group_open(&e->group);
    if (err == 0)
        err = weft_group_go(e->group, "http early reply", listen_for_reply, e);
    if (err == 0)
        return 0;
    weft__http_early_end(e);
    e->over = err == WEFT_ELIMIT; /* no task is to be had: heard when the write has failed */
    return e->over ? 0 : err;
}

void weft__http_early_end(struct weft__http_early *e)
{
    (void)weft_group_close(&e->group);
}

size_t weft__http_early_most(const struct weft__http_early *e, size_t len)
{
    return e->group == NULL && !e->over ? weft__min_size(len, WEFT__HTTP_EARLY_PIECE) : len;
}

static int stop(void)
{
    return weft__fail(-EPIPE, "the server has replied before it had the whole body");
}

/* A plain thread: until there is room, or the server has said something. */
static int look_alone(struct weft__http_early *e)
{
    while (!e->over) {
        int heard = look(e->s, WEFT_NOW);
        if (heard != -ETIMEDOUT) {
            e->told = heard > 0;
            e->over = true;
            return heard < 0 ? heard : 0;
        }
        int ready = weft_poll(weft_stream_fd(e->s), POLLIN | POLLOUT, e->until);
        if (ready < 0)
            return ready;
        if (ready != POLLIN)
            return 0;
    }
    return 0;
}

int weft__http_early_enter(struct weft__http_early *e)
{
    int err = e->group == NULL ? look_alone(e) : 0;
    if (err < 0 || e->told)
        return err < 0 ? err : stop();
    e->writer = e->group != NULL ? weft__flow_self() : NULL;
    return 0;
}

int weft__http_early_leave(struct weft__http_early *e, int err)
{
    e->writer = NULL;
    return err == -ECANCELED && e->told ? stop() : err;
}
