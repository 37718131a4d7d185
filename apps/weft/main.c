/* SPDX-License-Identifier: MIT */
/*
 * The program `weft`: finds the verb and hands over to it.
 *
 * Shows: one program of several verbs; each verb is a file of its own, against the public headers.
 *
 * Floor 6. Invariant: output that could not be written is a failure, also when all else went well.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <weft/base.h>

#include "cli.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *about;
} verbs[] = {
    {"up", up_main, "run a node: the echo service over TCP, UDP and a Unix socket"},
    {"echo", echo_main, "serve echo at one endpoint, in the model of your choice"},
    {"serve", serve_main, "serve the files of a directory over HTTP"},
    {"load", load_main, "put an echo server under load and measure it"},
    {"connect", connect_main, "standard input and output to any endpoint and back"},
    {"get", get_main, "fetch what is at a URL"},
    {"ws", ws_main, "talk to a WebSocket"},
    {"tree", tree_main, "show the tasks and connections of a running process"},
    {"sim", sim_main, "run a simulation with many seeds and gather what fails"},
};
#define VERBS (sizeof(verbs) / sizeof(verbs[0]))

static int print_help(void)
{
    printf("Usage: weft VERB [OPTION...]\n\n"
           "Network programming for C: a library, and this program on top of it.\n\nVerbs:\n");
    for (size_t i = 0; i < VERBS; i++)
        printf("  %-24s %s\n", verbs[i].name, verbs[i].about);
    printf(
        "\nOptions:\n"
        "  %-24s print this, or with a verb its own help, and exit\n"
        "  %-24s print the version and exit\n\n"
        "An ENDPOINT is tcp://HOST:PORT, tls://HOST:PORT, udp://HOST:PORT, unix:PATH, unix:@NAME\n"
        "or fd:N.\n",
        "--help", "--version");
    return CLI_OK;
}

static int dispatch(int argc, char **argv)
{
    if (argc < 2)
        return cli_usage_error(NULL, "a verb is missing");
    const char *verb = argv[1];
    if (strcmp(verb, "--help") == 0 || strcmp(verb, "-h") == 0)
        return print_help();
    if (strcmp(verb, "--version") == 0) {
        printf("weft %s\n", weft_version());
        return CLI_OK;
    }
    for (size_t i = 0; i < VERBS; i++)
        if (strcmp(verbs[i].name, verb) == 0)
            return verbs[i].run(argc - 1, argv + 1);
    return cli_usage_error(NULL, "there is no %s '%s'", verb[0] == '-' ? "option" : "verb", verb);
}

int main(int argc, char **argv)
{
    int status = dispatch(argc, argv);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        if (status == CLI_OK)
            status = cli_failed(NULL, "cannot write to standard output: %s", strerror(errno));
    }
    return status;
}
