/* SPDX-License-Identifier: MIT */
/*
 * What the HTTP examples have in common: `listening ENDPOINT` first, then serve until killed. Each
 * example's own file says what is served.
 */
#ifndef EXAMPLE_HTTP_SERVE_H
#define EXAMPLE_HTTP_SERVE_H

#include <stdio.h>

#include <weft/weft.h>

/* Serves app at an endpoint; closes it. Returns an exit status. err: of making app. */
static inline int serve_app(int err, struct weft_http_app *app, const char *at,
                            const struct weft_http_options *o)
{
    char endpoint[WEFT_ENDPOINT_MAX];
    struct weft_http_server *server = NULL;
    struct weft_group *g = NULL;
    if (err == 0)
        err = weft_group_open(&g);
    if (err == 0)
        err = weft_http_server_open(&server, g, at, app, o);
    if (err == 0)
        err = weft_http_server_endpoint(server, endpoint, sizeof endpoint);
    if (err >= 0) {
        printf("listening %s\n", endpoint);
        fflush(stdout);
        err = weft_group_wait(g, WEFT_NEVER);
    }
    if (err < 0)
        (void)fprintf(stderr, "%s: %s\n", weft_error_text(err), weft_error_detail());
    (void)weft_group_close(&g);
    weft_http_app_close(&app);
    return err < 0 ? 1 : 0;
}

#endif
