/* SPDX-License-Identifier: MIT */
/*
 * Servers and connections in the tree.
 *
 * Floor 3. Invariant: all of it runs on the loop's thread, between tasks.
 */
#include <stdio.h>

#include "net/server.h"
#include "rt/printer.h"

void weft__tree_worker(struct weft__member *m, struct weft__printer *p)
{
    struct weft__worker *w = WEFT__CONTAINER_OF(m, struct weft__worker, member);
    const char *state = w->stopping ? "draining" : w->accepting ? "accepting" : "paused";
    char fd[32] = "";
    if (w->fd >= 0)
        snprintf(fd, sizeof fd, " fd %d", w->fd);
    weft__print(p, "server %s worker %d%s, %s, %zu connections", w->server->endpoint, w->index, fd,
                state, w->conns.live);
    weft__print_group(p, &w->conns);
}

static void describe(char *buf, size_t cap, const struct weft_stream *s, bool peer)
{
    char text[WEFT__PRINT_PEER_MAX] = "", fd[32] = "";
    if (peer && s->fd >= 0) {
        weft__print_peer(text, sizeof text, s->fd);
        snprintf(fd, sizeof fd, ", fd %d", s->fd);
    }
    snprintf(buf, cap, "%s%s, in %llu out %llu queued %zu%s%s", fd, text,
             (unsigned long long)s->bytes_in, (unsigned long long)s->bytes_out, weft__out_queued(s),
             s->label != NULL ? ", " : "", s->label != NULL ? s->label : "");
}

/* A server's connection in the task model; the peer is there already when it waits for it. */
void weft__tree_conn_note(const struct weft__flow *f, char *buf, size_t cap)
{
    const struct weft__conn *c = f->arg;
    const struct weft_stream *s = c->stream;
    if (s != NULL)
        describe(buf, cap, s, f->wait == NULL || f->wait->ended || f->wait->fd != s->fd);
}

void weft__tree_transport(struct weft__member *m, struct weft__printer *p)
{
    struct weft__transport *t = WEFT__CONTAINER_OF(m, struct weft__transport, member);
    char text[256] = "";
    if (t->s.detached)
        return; /* a task has it */
    describe(text, sizeof text, &t->s, true);
    weft__print(p, "connection%s%s%s%s%s", text[0] == ',' ? text + 1 : text,
                t->s.held ? ", reading paused" : "", t->s.paused ? ", writing paused" : "",
                t->s.closing || t->s.aborting ? ", closing" : "", t->s.end ? ", peer ended" : "");
}
