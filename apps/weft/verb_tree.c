/* SPDX-License-Identifier: MIT */
/*
 * `weft tree PID`: what a running process's loops are doing.
 *
 * Shows: library calls that wait, on a plain thread, with no loop at all.
 *
 * Floor 6. Invariant: nothing is printed before all has arrived, so output is whole or absent.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <weft/error.h>
#include <weft/tree.h>

#include "cli.h"
#include "symbols.h"

static struct {
    bool backtrace;
    int64_t timeout_ms;
} config = {.timeout_ms = 5000};

static const struct cli_option options[] = {
    {"backtrace", NULL, "with the backtrace of each task", CLI_FLAG, &config.backtrace, 0, 0, NULL},
    {"timeout-ms", "MS", "how long to wait for the process's answer (5000)", CLI_NUMBER,
     &config.timeout_ms, 1, 3600000, NULL},
    {NULL, NULL, NULL, CLI_FLAG, NULL, 0, 0, NULL},
};

static const struct cli_verb verb = {
    .name = "tree",
    .synopsis = "PID [OPTION...]",
    .about =
        "Prints the groups, tasks, threads, servers and connections of a process whose loops are\n"
        "visible, as those of `weft up` are.",
    .operand = "PID",
    .options = options,
};

struct text {
    char *data;
    size_t len, cap;
    bool lost; /* out of memory */
};

static void append(void *arg, const char *piece, size_t len)
{
    struct text *t = arg;
    if (t->len + len >= t->cap) { /* and a NUL */
        size_t cap = (t->len + len + 1) * 2;
        char *grown = realloc(t->data, cap);
        if (grown == NULL) {
            t->lost = true;
            return;
        }
        t->data = grown;
        t->cap = cap;
    }
    memcpy(t->data + t->len, piece, len);
    t->len += len;
    t->data[t->len] = '\0';
}

static int read_pid(const char *text, int *ret)
{
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (text[0] < '1' || text[0] > '9' || *end != '\0' || errno != 0 || value > INT_MAX)
        return cli_usage_error(verb.name, "'%s' is not a process id", text);
    *ret = (int)value;
    return CLI_GO_ON;
}

int tree_main(int argc, char **argv)
{
    const char *operand;
    int pid = 0;
    int r = cli_parse(&verb, argc, argv, &operand);
    if (r == CLI_GO_ON)
        r = read_pid(operand, &pid);
    if (r != CLI_GO_ON)
        return r;
    struct text t = {0};
    r = weft_tree_fetch(pid, config.backtrace ? WEFT_TREE_BACKTRACE : 0, append, &t,
                        weft_after_ms(config.timeout_ms));
    if (r == 0 && t.lost)
        r = -ENOMEM;
    if (r == -ENOENT)
        r = cli_failed(verb.name, "there is no process %d with a visible loop", pid);
    else if (r < 0)
        r = cli_failed_code(verb.name, r, "cannot ask process %d", pid);
    else if (config.backtrace && t.len > 0)
        symbols_print(t.data, t.len);
    else if (t.len > 0)
        fwrite(t.data, 1, t.len, stdout);
    free(t.data);
    return r;
}
