/* SPDX-License-Identifier: MIT */
/* A counter: each line is a number to add, its answer the new sum, which is on disk by then. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <weft/weft.h>

static struct weft_mutex lock;
static unsigned long long sum;

/* Durable when it returns 0, and at any time the old file or the new one, whole. */
static int save(const char *text, size_t len)
{
    return weft_file_store("sum", text, len, WEFT_NEVER);
}

static int serve(struct weft_stream *s, void *arg)
{
    char line[32], text[32];
    int err = 0;
    (void)arg;
    while (err == 0 && weft_read_until(s, line, sizeof line, '\n', WEFT_NEVER) > 0 &&
           (err = weft_mutex_lock(&lock, WEFT_NEVER)) == 0) {
        unsigned long long next = sum + strtoull(line, NULL, 10);
        int len = snprintf(text, sizeof text, "%llu\n", next);
        if ((err = save(text, (size_t)len)) == 0)
            sum = next;
        weft_mutex_unlock(&lock);
        if (err == 0)
            err = weft_write(s, text, (size_t)len, weft_after_s(5));
    }
    return err;
}

static int counter(void *endpoint)
{
    struct weft_group *g = NULL;
    void *text = NULL;
    size_t len;
    int err = weft_file_load("sum", &text, &len, 32, WEFT_NEVER);
    sum = err == 0 ? strtoull(text, NULL, 10) : 0;
    free(text);
    if ((err == 0 || err == -ENOENT) && (err = weft_group_open(&g)) == 0 &&
        (err = weft_serve(g, endpoint, NULL, serve, NULL)) == 0)
        err = weft_group_wait(g, WEFT_NEVER);
    (void)weft_group_close(&g);
    return err;
}

int main(int argc, char **argv)
{
    return weft_run(NULL, counter, argc > 1 ? argv[1] : "tcp://127.0.0.1:8888") < 0;
}
