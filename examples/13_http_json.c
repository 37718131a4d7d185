/* SPDX-License-Identifier: MIT */
/*
 * A small JSON API with jansson: POST /sum with a list of numbers gives their sum.
 *
 * Shows: a whole body with its maximum, errors as statuses, JSON in and out.
 * usage: 13_http_json ENDPOINT; try: curl -d '[1, 2.5]' http://127.0.0.1:8080/sum
 */
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "http_serve.h"

static int send_json(struct weft_http_response *r, json_t *value)
{
    char *text = value != NULL ? json_dumps(value, JSON_COMPACT) : NULL;
    int err = text != NULL ? weft_http_send(r, 200, "application/json", text, strlen(text)) : 500;
    free(text);
    json_decref(value);
    return err;
}

static int sum(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    const void *data;
    size_t len, i;
    double total = 0;
    json_t *item;
    (void)arg;
    int err = weft_http_body(q, &data, &len, weft_after_s(10));
    if (err < 0)
        return err; /* 413, 408 or 400 */
    json_t *list = json_loadb(data, len, 0, NULL);
    if (!json_is_array(list)) {
        json_decref(list);
        return weft_http_error(r, 400, "a JSON list of numbers is wanted");
    }
    json_array_foreach(list, i, item) total += json_number_value(item);
    size_t n = json_array_size(list);
    json_decref(list);
    return send_json(r, json_pack("{s:I, s:f}", "count", (json_int_t)n, "sum", total));
}

static int run(void *arg)
{
    char **argv = arg;
    struct weft_http_app *app = NULL;
    int err = weft_http_app_open(&app);
    if (err == 0)
        err = weft_http_route(app, "POST /sum", sum, NULL);
    return serve_app(err, app, argv[1], &(struct weft_http_options){.body_max = 64 * 1024});
}

int main(int argc, char **argv)
{
    return argc < 2 ? 2 : weft_run(NULL, run, argv);
}
