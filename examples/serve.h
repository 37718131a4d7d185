/* SPDX-License-Identifier: MIT */
/* The main of examples whose subject is the handler: serves HANDLER in tasks at argv[1]. */
static int serve(void *arg)
{
    struct weft_server *server = NULL;
    struct weft_group *group = NULL;
    char text[WEFT_ENDPOINT_MAX];
    int err = weft_group_open(&group);
    if (err == 0)
        err = weft_server_open(&server, group, arg, NULL, HANDLER, NULL, NULL);
    if (err == 0 && (err = weft_server_endpoint(server, text, sizeof text)) > 0) {
        printf("listening %s\n", text);
        fflush(stdout);
        err = weft_group_wait(group, WEFT_NEVER);
    }
    if (err < 0)
        fprintf(stderr, "serve: %s %s\n", weft_error_text(err), weft_error_detail());
    (void)weft_group_close(&group);
    return err;
}

int main(int argc, char **argv)
{
    return weft_run(NULL, serve, argc > 1 ? argv[1] : "tcp://127.0.0.1:8888") < 0;
}
