/* SPDX-License-Identifier: MIT */
/*
 * `weft up`: a node that serves echo in every way there is.
 *
 * Shows: several services and a status line in one group; names made by defaults and options.
 *
 * Floor 6. Invariants: it listens at exactly the endpoints that it prints, or ends with an error;
 * its directory for Unix sockets is the user's own and closed to others.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <weft/run.h>
#include <weft/time.h>

#include "cli.h"
#include "node.h"
#include "site.h"

static struct {
    const char *host, *tasks, *threads, *protocols, *udp, *path, *http, *files, *driver;
    int64_t workers, drain_ms, watchdog_ms, status_ms;
} config = {
    .host = "127.0.0.1",
    .workers = 1,
    .drain_ms = 5000,
};

static const struct cli_option options[] = {
    {"host", "HOST", "of the endpoints below that are not given (127.0.0.1)", CLI_TEXT,
     &config.host, 0, 0, NULL},
    {"tasks", "ENDPOINT", "echo, a task a connection (tcp://HOST:7001)", CLI_TEXT, &config.tasks, 0,
     0, NULL},
    {"threads", "ENDPOINT", "echo, a thread a connection (tcp://HOST:7002)", CLI_TEXT,
     &config.threads, 0, 0, NULL},
    {"protocols", "ENDPOINT", "echo by callbacks (tcp://HOST:7003)", CLI_TEXT, &config.protocols, 0,
     0, NULL},
    {"udp", "ENDPOINT", "echo of datagrams (udp://HOST:7001)", CLI_TEXT, &config.udp, 0, 0, NULL},
    {"unix", "ENDPOINT",
     "echo over a Unix socket (unix:$XDG_RUNTIME_DIR/weft/echo.sock,\n"
     "or unix:/tmp/weft-UID/echo.sock)\n"
     "each of these five takes 'none', too, as does --http",
     CLI_TEXT, &config.path, 0, 0, NULL},
    {"http", "ENDPOINT", "the node's page, /metrics and /healthz (tcp://HOST:8080)", CLI_TEXT,
     &config.http, 0, 0, NULL},
    {"files", "DIRECTORY", "serve its files at /files/ of the page", CLI_TEXT, &config.files, 0, 0,
     NULL},
    {"workers", "N", "loops of each service, each with its own thread (1)", CLI_NUMBER,
     &config.workers, 1, 256, NULL},
    {"driver", "NAME", "uring or epoll (the best that works here)", CLI_CHOICE, &config.driver, 0,
     0, "uring|epoll"},
    {"drain-ms", "MS", "how long open connections may go on after a signal (5000)", CLI_NUMBER,
     &config.drain_ms, 0, 86400000, NULL},
    {"status-ms", "MS", "time between status lines (1000 on a terminal, else 10000; 0: none)",
     CLI_NUMBER, &config.status_ms, 0, 86400000, NULL},
    {"watchdog-ms", "MS", "report tasks that hold their loop longer (0: off)", CLI_NUMBER,
     &config.watchdog_ms, 0, 3600000, NULL},
    {NULL, NULL, NULL, CLI_FLAG, NULL, 0, 0, NULL},
};

static const struct cli_verb verb = {
    .name = "up",
    .synopsis = "[OPTION...]",
    .about =
        "Runs a node. It prints its version, its driver and its endpoints, then a status line\n"
        "now and then, until SIGINT or SIGTERM; then open connections may finish, and it\n"
        "exits. A second signal ends it at once. `weft tree PID` and SIGQUIT show its tasks.",
    .options = options,
};

/* --- Endpoints ----------------------------------------------------------------------------- */

struct service {
    const char *endpoint; /* NULL: the default */
    enum weft_model model;
    const char *scheme;
    int port;
};

static void default_endpoint(const struct service *s, char *buf, size_t cap)
{
    bool v6 = strchr(config.host, ':') != NULL && config.host[0] != '[';
    snprintf(buf, cap, v6 ? "%s://[%s]:%d" : "%s://%s:%d", s->scheme, config.host, s->port);
}

static bool is_made(const char *directory)
{
    return mkdir(directory, 0700) == 0 || errno == EEXIST;
}

/* The directory is made, for this user alone; one that somebody else made is not trusted. Where
 * XDG_RUNTIME_DIR is no absolute path, or no directory can be made in it, it is as if it were not
 * set. */
static int default_path(char *buf, size_t cap)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    char directory[WEFT_ENDPOINT_MAX] = "";
    struct stat st;
    if (runtime != NULL && runtime[0] == '/')
        snprintf(directory, sizeof(directory), "%s/weft", runtime);
    if (directory[0] == '\0' || !is_made(directory))
        snprintf(directory, sizeof(directory), "/tmp/weft-%u", (unsigned)geteuid());
    if (!is_made(directory))
        return cli_failed(verb.name, "cannot make the directory %s: %s", directory,
                          strerror(errno));
    if (lstat(directory, &st) < 0)
        return cli_failed(verb.name, "cannot look at %s: %s", directory, strerror(errno));
    if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 022) != 0)
        return cli_failed(verb.name,
                          "%s is not a directory that only this user may write to; "
                          "give a path with --unix",
                          directory);
    if (snprintf(buf, cap, "unix:%s/echo.sock", directory) >= (int)cap)
        return cli_failed(verb.name, "the path of %s is too long; give one with --unix", directory);
    return CLI_GO_ON;
}

static int open_service(struct node *n, const struct service *s)
{
    char buf[WEFT_ENDPOINT_MAX + 16];
    const char *endpoint = s->endpoint;
    const struct node_service *opened;
    if (endpoint != NULL && strcmp(endpoint, "none") == 0)
        return CLI_GO_ON;
    if (endpoint == NULL && s->port == 0) {
        int r = default_path(buf, sizeof(buf));
        if (r != CLI_GO_ON)
            return r;
        endpoint = buf;
    } else if (endpoint == NULL) {
        default_endpoint(s, buf, sizeof(buf));
        endpoint = buf;
    }
    int r = node_serve(n, endpoint, s->model, &opened);
    if (r == CLI_GO_ON)
        printf("listening %s echo%s%s\n", opened->endpoint, opened->kind != NULL ? " " : "",
               opened->kind != NULL ? opened->kind : "");
    return r;
}

/* The page, unless it is not wanted. */
static int open_site(struct site *site, struct node *n)
{
    const struct service s = {config.http, WEFT_TASKS, "tcp", 8080};
    char buf[WEFT_ENDPOINT_MAX + 16];
    const char *endpoint = s.endpoint;
    if (endpoint != NULL && strcmp(endpoint, "none") == 0)
        return CLI_GO_ON;
    if (endpoint == NULL) {
        default_endpoint(&s, buf, sizeof(buf));
        endpoint = buf;
    }
    int r = site_open(site, n, endpoint, config.files);
    if (r < 0)
        return cli_failed_code(verb.name, r, "cannot serve the page on %s", endpoint);
    printf("listening %s http\n", site->endpoint);
    if (strncmp(site->endpoint, "tcp://", 6) == 0)
        printf("the node's page: http://%s/\n", site->endpoint + 6);
    return CLI_GO_ON;
}

/* --- Status -------------------------------------------------------------------------------- */

struct status {
    const struct node *node;
    const struct site *site;
};

static void show_stop(const struct status *s, bool terminal)
{
    struct node_counts now;
    struct weft_http_server_stats http = {0};
    node_counts(s->node, &now);
    if (s->site->server != NULL)
        weft_http_server_stats_mt(s->site->server, &http);
    if (terminal)
        putchar('\n');
    if (now.live + http.server.live > 0)
        printf("stopping; open connections (%llu) may go on for %lld ms\n",
               (unsigned long long)(now.live + http.server.live), (long long)config.drain_ms);
    fflush(stdout);
}

/* A member of the node's group: it ends when the node is told to stop. */
static int show_status(void *arg)
{
    const struct status *s = arg;
    const struct node *n = s->node;
    bool terminal = isatty(STDOUT_FILENO);
    struct node_counts last = {0};
    struct weft_ticker ticker;
    int64_t last_ns = weft_now_ns();
    char messages[32];
    char bytes[32];
    weft_ticker_init(&ticker, config.status_ms);
    for (;;) {
        int64_t r = weft_ticker_wait(&ticker);
        if (r < 0) {
            show_stop(s, terminal);
            return (int)r;
        }
        struct node_counts now;
        int64_t now_ns = weft_now_ns();
        node_counts(n, &now);
        double seconds = (double)(now_ns - last_ns) / 1e9;
        printf(
            "%s%llu connections, %s messages/s, %s bytes/s%s", terminal ? "\r\033[K" : "",
            (unsigned long long)now.live,
            cli_thousands((uint64_t)((double)(now.messages - last.messages) / seconds), messages),
            cli_thousands((uint64_t)((double)(now.bytes - last.bytes) / seconds), bytes),
            terminal ? "" : "\n");
        fflush(stdout);
        last = now;
        last_ns = now_ns;
    }
}

/* --- The node ------------------------------------------------------------------------------ */

static int run(void *arg)
{
    const struct service services[] = {
        {config.tasks, WEFT_TASKS, "tcp", 7001},
        {config.threads, WEFT_THREADS, "tcp", 7002},
        {config.protocols, WEFT_PROTOCOLS, "tcp", 7003},
        {config.udp, WEFT_TASKS, "udp", 7001},
        {config.path, WEFT_TASKS, "unix", 0},
    };
    struct node n = {
        .verb = verb.name,
        .drain_ms = config.drain_ms,
        .workers = (int)config.workers,
        .loop = arg,
    };
    struct site site = {0};
    struct status status = {.node = &n, .site = &site};
    printf("weft %s, driver %s\n", weft_version(), weft_driver_name());
    int r = node_open(&n);
    for (size_t i = 0; i < sizeof(services) / sizeof(services[0]) && r == CLI_GO_ON; i++)
        r = open_service(&n, &services[i]);
    if (r == CLI_GO_ON)
        r = open_site(&site, &n);
    if (r == CLI_GO_ON && config.status_ms > 0 &&
        weft_group_go(n.group, "status", show_status, &status) < 0)
        r = cli_failed(verb.name, "cannot start the status line");
    if (r == CLI_GO_ON) {
        fflush(stdout);
        r = node_run(&n);
    }
    node_close(&n);
    site_close(&site);
    return r;
}

int up_main(int argc, char **argv)
{
    config.status_ms = isatty(STDOUT_FILENO) ? 1000 : 10000;
    int r = cli_parse(&verb, argc, argv, NULL);
    if (r != CLI_GO_ON)
        return r;
    if (config.files != NULL && config.http != NULL && strcmp(config.http, "none") == 0)
        return cli_usage_error(verb.name, "--files are served by the page, and --http is none");
    const char *const given[] = {config.tasks, config.threads, config.protocols,
                                 config.udp,   config.path,    config.http};
    for (size_t i = 0; i < sizeof(given) / sizeof(given[0]) && r == CLI_GO_ON; i++)
        if (given[i] != NULL && strcmp(given[i], "none") != 0)
            r = node_check(verb.name, given[i]);
    if (r != CLI_GO_ON)
        return r;
    /* A node outlives whoever read its status lines. */
    signal(SIGPIPE, SIG_IGN);
    cli_raise_file_limit();
    struct weft_options loop = {
        .driver = config.driver,
        .watchdog_ms = config.watchdog_ms,
        .visible = true,
        .sigquit_tree = true,
        .log = cli_log,
        .name = "node",
    };
    /* The loops of other workers. SIGQUIT is the process's, so one loop answers it. */
    struct weft_options worker = loop;
    worker.sigquit_tree = false;
    worker.name = "worker";
    r = weft_run(&loop, run, &worker);
    return r < 0 ? cli_failed_code(verb.name, r, "cannot run a loop") : r;
}
