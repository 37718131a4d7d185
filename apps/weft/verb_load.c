/* SPDX-License-Identifier: MIT */
/*
 * `weft load`: the options of a run, its threads, its report.
 *
 * Shows: a group of threads on a plain thread, each with a loop of its own.
 *
 * Floor 6. Invariants: the report goes to stdout whole or not at all; the exit status is 0 only if
 * every message came back as it was sent.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <weft/error.h>
#include <weft/group.h>
#include <weft/run.h>

#include "cli.h"
#include "cli_tls.h"
#include "load.h"

static struct load_options config = {
    .connections = 64,
    .size = 64,
    .pipeline = 1,
    .threads = 1,
    .seconds = 5,
    .per_source = 25000,
    .connect_ms = 10000,
};

static const struct cli_option options[] = {
    {"connections", "N", "connections at once (64)", CLI_NUMBER, &config.connections, 1, 1000000,
     NULL},
    {"size", "BYTES", "of a message (64); K and M are understood", CLI_SIZE, &config.size, 1,
     64 << 20, NULL},
    {"pipeline", "N", "messages on the way on each connection (1)", CLI_NUMBER, &config.pipeline, 1,
     65536, NULL},
    {"seconds", "S", "how long to measure (5)", CLI_SECONDS, &config.seconds, 0, 86400, NULL},
    {"warmup", "S", "how long to run before measuring (0)", CLI_SECONDS, &config.warmup, 0, 86400,
     NULL},
    {"threads", "N", "loops to share the connections (1)", CLI_NUMBER, &config.threads, 1, 256,
     NULL},
    {"reconnect", NULL, "a connection for each message: connect, echo, reset", CLI_FLAG,
     &config.reconnect, 0, 0, NULL},
    {"connect-ms", "MS", "time-out of connecting (10000)", CLI_NUMBER, &config.connect_ms, 1,
     3600000, NULL},
    {"per-source", "N",
     "connections of one source address (25000); the next ones come\n"
     "from 127.1.0.1 and so on, so the server must be on this host",
     CLI_NUMBER, &config.per_source, 1, 60000, NULL},
    {"ca", "FILE", "tls://: certificates to trust instead of the system's", CLI_TEXT, &config.ca, 0,
     0, NULL},
    {"insecure-no-verify", NULL, "tls://: believe any certificate", CLI_FLAG, &config.insecure, 0,
     0, NULL},
    {"driver", "NAME", "uring or epoll (the best that works here)", CLI_CHOICE, &config.driver, 0,
     0, "uring|epoll"},
    {"json", NULL, "the report as one JSON object", CLI_FLAG, &config.json, 0, 0, NULL},
    {NULL, NULL, NULL, CLI_FLAG, NULL, 0, 0, NULL},
};

static const struct cli_verb verb = {
    .name = "load",
    .synopsis = "ENDPOINT [OPTION...]",
    .about =
        "Sends messages to an echo server, compares what comes back, and reports messages and\n"
        "bytes per second, latency, and errors by kind. The exit status is 1 if there were any.",
    .operand = "ENDPOINT",
    .options = options,
};

/* --- Checks -------------------------------------------------------------------------------- */

/* All of 127/8 is this host, and every address of it may be bound. */
static bool is_loopback4(const struct weft_endpoint *e)
{
    struct weft_address loopback;
    if (e->host[0] != '\0')
        return strcasecmp(e->host, "localhost") == 0;
    if (e->address.sa.ss_family != AF_INET || weft_address_ip(&loopback, "127.0.0.1", 0) < 0)
        return false;
    return ((const uint8_t *)&e->address.sa)[4] == ((const uint8_t *)&loopback.sa)[4];
}

static int check(const struct weft_endpoint *e)
{
    const char *name = verb.name;
    bool udp = e->kind == WEFT_ENDPOINT_UDP;
    if (e->kind == WEFT_ENDPOINT_FD)
        return cli_usage_error(name, "load makes connections, so it cannot use %s",
                               config.endpoint);
    if ((config.ca != NULL || config.insecure) && e->kind != WEFT_ENDPOINT_TLS)
        return cli_usage_error(name, "--ca and --insecure-no-verify are for tls:// endpoints");
    if (config.size * config.pipeline > 64 << 20)
        return cli_usage_error(name, "--size times --pipeline is over 64M");
    if (udp && config.reconnect)
        return cli_usage_error(name, "--reconnect makes no sense over udp");
    if (config.reconnect && config.pipeline > 1)
        return cli_usage_error(name, "--reconnect sends one message a connection, so --pipeline "
                                     "makes no sense");
    if (udp && (config.size < 8 || config.size > 65507))
        return cli_usage_error(name, "a datagram has from 8 to 65507 bytes");
    if (config.seconds <= 0)
        return cli_usage_error(name, "--seconds must be more than 0");
    if (config.threads > config.connections)
        config.threads = config.connections;
    config.internet = e->kind == WEFT_ENDPOINT_TCP || e->kind == WEFT_ENDPOINT_TLS;
    if (config.connections > config.per_source && config.internet && !is_loopback4(e))
        return cli_usage_error(name,
                               "%s is neither on 127.0.0.0/8 nor localhost, so it takes at most "
                               "--per-source (%lld) connections",
                               config.endpoint, (long long)config.per_source);
    int64_t limit = cli_raise_file_limit();
    int64_t need = config.connections + 16 + 8 * config.threads;
    if (need > limit)
        return cli_failed(name,
                          "%lld connections need %lld open files, and the limit (ulimit -Hn) "
                          "is %lld",
                          (long long)config.connections, (long long)need, (long long)limit);
    return CLI_GO_ON;
}

/* --- The run ------------------------------------------------------------------------------- */

static int work(void *arg)
{
    struct load_worker *w = arg;
    const struct load_options *o = w->run->o;
    struct weft_options loop = {.driver = o->driver, .log = cli_log, .name = "load"};
    weft_fn run = load_streams_run;
    if (strncmp(o->endpoint, "udp:", 4) == 0)
        run = load_udp_run;
    else if (o->reconnect)
        run = load_reconnect_run;
    w->result = weft_run(&loop, run, w);
    load_ready(w); /* also when the loop could not even start */
    return 0;
}

static int run_workers(struct load_worker *workers, struct load_run *run)
{
    struct weft_group *g;
    uint32_t next = 0;
    int r = weft_group_open(&g);
    if (r < 0)
        return r;
    for (int64_t i = 0; i < config.threads && r == 0; i++) {
        workers[i].run = run;
        workers[i].first = next;
        workers[i].count = (uint32_t)(config.connections / config.threads +
                                      (i < config.connections % config.threads));
        next += workers[i].count;
        r = weft_group_go(g, "load", work, &workers[i]);
    }
    if (r == 0)
        r = weft_group_wait(g, WEFT_NEVER);
    weft_group_close(&g);
    return r;
}

/* --- The report ---------------------------------------------------------------------------- */

static const struct {
    const char *key, *label;
    double percent;
} percentiles[] = {
    {"p50", "p50", 50},      {"p90", "p90", 90},  {"p99", "p99", 99},
    {"p999", "p99.9", 99.9}, {"max", "max", 100},
};
#define PERCENTILES (sizeof(percentiles) / sizeof(percentiles[0]))

static void print_json(const struct load_worker *sum)
{
    double per_s = (double)sum->messages / config.seconds;
    printf("{\"connections\": %lld, \"size\": %lld, \"pipeline\": %lld, \"seconds\": %.3f, "
           "\"messages\": %llu, \"messages_per_s\": %.1f, \"mb_per_s\": %.3f, \"errors\": %llu, "
           "\"errors_by_kind\": {",
           (long long)config.connections, (long long)config.size, (long long)config.pipeline,
           config.seconds, (unsigned long long)sum->messages, per_s,
           per_s * (double)config.size / 1e6, (unsigned long long)sum->errors.total);
    for (int i = 0; i < LOAD_ERROR_KINDS && sum->errors.kinds[i].name != NULL; i++)
        printf("%s\"%s\": %llu", i > 0 ? ", " : "", sum->errors.kinds[i].name,
               (unsigned long long)sum->errors.kinds[i].count);
    printf("}, \"latency_us\": {");
    for (size_t i = 0; i < PERCENTILES; i++)
        printf("%s\"%s\": %.2f", i > 0 ? ", " : "", percentiles[i].key,
               (double)hist_percentile(&sum->hist, percentiles[i].percent) / 1e3);
    printf("}}\n");
}

static void print_text(const struct load_worker *sum)
{
    char total[32];
    char per_second[32];
    double per_s = (double)sum->messages / config.seconds;
    printf("%s: %lld connections, %lld bytes, %lld on the way, %g s\n", config.endpoint,
           (long long)config.connections, (long long)config.size, (long long)config.pipeline,
           config.seconds);
    printf("  messages    %s, %s/s, %.2f MB/s\n", cli_thousands(sum->messages, total),
           cli_thousands((uint64_t)per_s, per_second), per_s * (double)config.size / 1e6);
    printf("  latency us ");
    for (size_t i = 0; i < PERCENTILES; i++)
        printf(" %s %.1f%s", percentiles[i].label,
               (double)hist_percentile(&sum->hist, percentiles[i].percent) / 1e3,
               i + 1 < PERCENTILES ? "," : "\n");
    printf("  errors      %s", sum->errors.total > 0 ? "" : "none");
    for (int i = 0; i < LOAD_ERROR_KINDS && sum->errors.kinds[i].name != NULL; i++)
        printf("%s%s %llu", i > 0 ? ", " : "", sum->errors.kinds[i].name,
               (unsigned long long)sum->errors.kinds[i].count);
    printf("\n");
}

static int report(struct load_worker *workers)
{
    struct load_worker *sum = &workers[0];
    for (int64_t i = 1; i < config.threads; i++) {
        const struct load_worker *w = &workers[i];
        load_errors_merge(&sum->errors, &w->errors);
        hist_merge(&sum->hist, &w->hist);
        sum->messages += w->messages;
        sum->connected += w->connected;
        if (sum->result == 0)
            sum->result = w->result;
    }
    if (sum->result < 0)
        return cli_failed(verb.name, "the run failed: %s", weft_error_text(sum->result));
    if (sum->connected == 0)
        return cli_failed(verb.name, "cannot connect to %s: %s", config.endpoint,
                          weft_error_text(sum->errors.first));
    if (config.json)
        print_json(sum);
    else
        print_text(sum);
    return sum->errors.total > 0 ? CLI_FAILED : CLI_OK;
}

int load_main(int argc, char **argv)
{
    int r = cli_parse(&verb, argc, argv, &config.endpoint);
    if (r != CLI_GO_ON)
        return r;
    struct weft_endpoint e;
    r = weft_endpoint_parse(&e, config.endpoint);
    if (r < 0)
        return cli_failed_code(verb.name, r, "cannot connect to %s", config.endpoint);
    r = check(&e);
    if (r != CLI_GO_ON)
        return r;
    if (cli_is_tls(config.endpoint)) {
        r = cli_tls_client(verb.name, &config.tls, config.ca, config.insecure);
        if (r != CLI_GO_ON)
            return r;
    }
    struct load_run run = {.o = &config};
    struct load_worker *workers = calloc((size_t)config.threads, sizeof(*workers));
    if (workers == NULL)
        return cli_failed_code(verb.name, -ENOMEM, "cannot start");
    load_pattern_init();
    r = run_workers(workers, &run);
    r = r < 0 ? cli_failed_code(verb.name, r, "cannot start threads") : report(workers);
    free(workers);
    weft_tls_close(&config.tls);
    return r;
}
