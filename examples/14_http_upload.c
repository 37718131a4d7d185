/* SPDX-License-Identifier: MIT */
/*
 * Uploads, as they come: PUT /NAME stores the body in a directory, however long it is.
 *
 * Shows: a body in pieces; memory stays at one buffer, and a slow disk holds the client back.
 * usage: 14_http_upload ENDPOINT DIRECTORY; try: curl -T big.iso http://127.0.0.1:8080/big.iso
 */
#include <string.h>

#include "http_serve.h"

static int64_t store(struct weft_http_request *q, struct weft_file *f)
{
    char buf[16384];
    int64_t at = 0;
    ssize_t n;
    while ((n = weft_http_read(q, buf, sizeof buf, weft_after_s(60))) > 0) {
        int err = weft_file_write_at(f, buf, (size_t)n, at, weft_after_s(60));
        if (err < 0)
            return err;
        at += n;
    }
    return n < 0 ? n : at;
}

static int put(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    char path[1024];
    struct weft_file *f = NULL;
    const char *name = weft_http_param(q, "name");
    if (name[0] == '.' || strchr(name, '/') != NULL ||
        snprintf(path, sizeof path, "%s/%s", (const char *)arg, name) >= (int)sizeof path)
        return 400;
    int err = weft_file_open(&f, path, WEFT_FILE_WRITE | WEFT_FILE_CREATE | WEFT_FILE_EXCLUSIVE, 0,
                             weft_after_s(10));
    if (err < 0)
        return 409;
    int64_t len = store(q, f);
    (void)weft_file_close(&f, weft_after_s(10));
    if (len >= 0)
        return weft_http_text(r, 201, "%lld bytes\n", (long long)len);
    err = weft_file_remove(path, weft_after_s(10)); /* half a file is of no use */
    return err < 0 ? err : (int)len;
}

static int run(void *arg)
{
    char **argv = arg;
    struct weft_http_app *app = NULL;
    int err = weft_http_app_open(&app);
    if (err == 0)
        err = weft_http_route(app, "PUT /:name", put, argv[2]);
    return serve_app(err, app, argv[1], NULL);
}

int main(int argc, char **argv)
{
    return argc < 3 ? 2 : weft_run(NULL, run, argv);
}
