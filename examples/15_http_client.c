/* SPDX-License-Identifier: MIT */
/*
 * 15: a client with a pool, 15_http_client URL...: fetches all of them at once, through at most
 * four connections a host, with one time budget for everything. (Python: aiohttp.ClientSession and
 * asyncio.gather.)
 */
#include <stdio.h>
#include <weft/weft.h>

struct page {
    struct weft_http_client *client;
    const char *url;
    weft_deadline until;
    int status;
    size_t bytes;
};

static int fetch(void *arg)
{
    struct page *p = arg;
    struct weft_http_reply *reply = NULL;
    char piece[4096];
    ssize_t n = 0;
    int err = weft_http_get(p->client, p->url, &reply, p->until);
    if (err < 0)
        return err;
    p->status = weft_http_reply_status(reply);
    while ((n = weft_http_reply_read(reply, piece, sizeof piece, p->until)) > 0)
        p->bytes += (size_t)n; /* as it comes: a body of any length needs one piece of memory */
    weft_http_reply_close(&reply);
    return (int)n;
}

static int fetch_all(void *arg)
{
    char **urls = (char **)arg + 1;
    struct weft_http_client_options options = {.max_per_host = 4};
    struct weft_http_client *client = NULL;
    struct weft_http_client_stats stats;
    struct weft_group *group = NULL;
    struct page pages[64] = {0};
    weft_deadline until = weft_after_s(10);
    size_t n = 0;
    int err = weft_http_client_open(&client, &options);
    if (err == 0)
        err = weft_group_open(&group);
    for (; err == 0 && n < 64 && urls[n] != NULL; n++) {
        pages[n] = (struct page){.client = client, .url = urls[n], .until = until};
        err = weft_group_go(group, urls[n], fetch, &pages[n]);
    }
    if (err == 0)
        err = weft_group_wait(group, WEFT_NEVER); /* the first failure cancels the others */
    (void)weft_group_close(&group);
    if (err < 0) {
        fprintf(stderr, "%s: %s\n", weft_error_text(err), weft_error_detail());
    } else {
        for (size_t i = 0; i < n; i++)
            printf("%d %zu %s\n", pages[i].status, pages[i].bytes, pages[i].url);
        weft_http_client_stats(client, &stats);
        printf("%zu requests, %zu connections\n", (size_t)stats.requests,
               (size_t)stats.connections);
    }
    weft_http_client_close(&client);
    return err;
}

int main(int argc, char **argv)
{
    return argc < 2 ? 2 : weft_run(NULL, fetch_all, argv) < 0;
}
