/* SPDX-License-Identifier: MIT */
#ifndef WEFT_APP_CLI_H
#define WEFT_APP_CLI_H
/*
 * The command line of every verb: one table says what the options are, and parsing, `--help` and
 * the messages for mistakes all come from it.
 *
 * Floor 6. Invariants: a mistake on the command line is one sentence and a hint on stderr, exit
 * status 2; a failure of the world (address in use, refused) is one sentence, exit status 1; help
 * goes to stdout, exit status 0.
 */
#include <stdbool.h>
#include <stdint.h>

#include <weft/run.h>

enum cli_status {
    CLI_OK = 0,
    CLI_FAILED = 1,
    CLI_USAGE = 2,
    CLI_GO_ON = -1, /* of cli_parse: nothing to exit for */
};

enum cli_kind {
    CLI_FLAG,    /* bool *: no value */
    CLI_TEXT,    /* const char ** */
    CLI_NUMBER,  /* int64_t *, min to max */
    CLI_SIZE,    /* the same; K and M behind it multiply by 1,024 and its square */
    CLI_SECONDS, /* double *, min to max, with decimals */
    CLI_CHOICE,  /* const char **: one of `words` */
    CLI_LIST,    /* struct cli_list *: may be given several times */
};

struct cli_list {
    const char **texts; /* room for max */
    size_t n, max;
};

struct cli_option {
    const char *name;  /* without the dashes; NULL ends a table */
    const char *value; /* how --help calls the value */
    const char *help;  /* may hold newlines */
    enum cli_kind kind;
    void *target;
    int64_t min, max;
    const char *words; /* of a choice: "uring|epoll"; of a flag: its short form, "-v", or NULL */
};

struct cli_verb {
    const char *name;
    const char *synopsis; /* behind the name, in --help */
    const char *about;    /* --help's paragraph */
    const char *operand;  /* what the one operand is called, or NULL: there is none */
    bool program;         /* the operand is a program: what follows it is the program's */
    const struct cli_option *options;
};

/* Reads argv[1...]. Returns CLI_GO_ON, or what to exit with. *operand: borrowed from argv. */
int cli_parse(const struct cli_verb *verb, int argc, char **argv, const char **operand);

/* "weft VERB: SENTENCE. Try ..."; returns CLI_USAGE. */
int cli_usage_error(const char *verb, const char *fmt, ...) WEFT_PRINTF(2, 3);

/* "weft VERB: SENTENCE"; returns CLI_FAILED. */
int cli_failed(const char *verb, const char *fmt, ...) WEFT_PRINTF(2, 3);

/*
 * "weft VERB: SENTENCE: why", where why is the code's text and the detail of the last failed call.
 * Returns CLI_USAGE, with a hint, for an endpoint that is not understood, else CLI_FAILED.
 */
int cli_failed_code(const char *verb, int code, const char *fmt, ...) WEFT_PRINTF(3, 4);

/* Raises the soft limit of open files to the hard one and returns it. */
int64_t cli_raise_file_limit(void);

/* A weft_log_fn that prints warnings and errors to stderr. */
void cli_log(void *arg, enum weft_log_level level, const char *text);

/* "1,234,567"; buf holds 32 bytes. Returns buf. */
const char *cli_thousands(uint64_t n, char *buf);

/* The verbs. Each takes its own argv, with its name as argv[0], and returns the exit status. */
int up_main(int argc, char **argv);
int echo_main(int argc, char **argv);
int serve_main(int argc, char **argv);
int load_main(int argc, char **argv);
int tree_main(int argc, char **argv);
int connect_main(int argc, char **argv);
int get_main(int argc, char **argv);
int ws_main(int argc, char **argv);
int sim_main(int argc, char **argv);

#endif
