/* SPDX-License-Identifier: MIT */
/*
 * Shows: a command line parsed from a table, and the form of messages to people. See cli.h.
 *
 * Floor 6.
 */
#include "cli.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <weft/error.h>

/* --- Messages ------------------------------------------------------------------------------ */

static void print_hint(const char *verb)
{
    if (verb != NULL)
        fprintf(stderr, "Try 'weft %s --help'.\n", verb);
    else
        fprintf(stderr, "Try 'weft --help'.\n");
}

static void print_who(const char *verb)
{
    fflush(stdout);
    fprintf(stderr, verb != NULL ? "weft %s: " : "weft: ", verb);
}

int cli_usage_error(const char *verb, const char *fmt, ...)
{
    va_list ap;
    print_who(verb);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputs(".\n", stderr);
    print_hint(verb);
    return CLI_USAGE;
}

int cli_failed(const char *verb, const char *fmt, ...)
{
    va_list ap;
    print_who(verb);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    return CLI_FAILED;
}

int cli_failed_code(const char *verb, int code, const char *fmt, ...)
{
    const char *detail = weft_error_detail();
    va_list ap;
    print_who(verb);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, ": %s%s%s\n", weft_error_text(code), detail[0] != '\0' ? ": " : "", detail);
    if (code != WEFT_EENDPOINT)
        return CLI_FAILED;
    print_hint(verb);
    return CLI_USAGE;
}

void cli_log(void *arg, enum weft_log_level level, const char *text)
{
    (void)arg;
    if (level <= WEFT_LOG_WARNING)
        fprintf(stderr, "weft: %s: %s\n", weft_log_level_name(level), text);
}

const char *cli_thousands(uint64_t n, char *buf)
{
    char digits[24];
    int len = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)n);
    char *out = buf;
    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0)
            *out++ = ',';
        *out++ = digits[i];
    }
    *out = '\0';
    return buf;
}

int64_t cli_raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return 0;
    if (limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
            getrlimit(RLIMIT_NOFILE, &limit);
    }
    return limit.rlim_cur == RLIM_INFINITY ? INT64_MAX : (int64_t)limit.rlim_cur;
}

/* --- Help ---------------------------------------------------------------------------------- */

static void print_option(const struct cli_option *o)
{
    char left[64];
    const char *help = o->help;
    const char *letter = o->kind == CLI_FLAG && o->words != NULL ? o->words : NULL;
    snprintf(left, sizeof(left), "%s%s--%s%s%s", letter != NULL ? letter : "",
             letter != NULL ? ", " : "", o->name, o->value != NULL ? " " : "",
             o->value != NULL ? o->value : "");
    while (help != NULL) {
        const char *end = strchr(help, '\n');
        int len = end != NULL ? (int)(end - help) : (int)strlen(help);
        printf("  %-24s %.*s\n", left, len, help);
        left[0] = '\0';
        help = end != NULL ? end + 1 : NULL;
    }
}

static void print_help(const struct cli_verb *verb)
{
    printf("Usage: weft %s %s\n\n%s\n\nOptions:\n", verb->name, verb->synopsis, verb->about);
    for (const struct cli_option *o = verb->options; o->name != NULL; o++)
        print_option(o);
    printf("  %-24s %s\n", "--help", "print this and exit");
}

/* --- Values -------------------------------------------------------------------------------- */

/* Digits only: strtoll alone would take blanks, signs and what overflows. */
static bool read_number(const char *text, bool size, int64_t *ret)
{
    char *end;
    if (text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    long long factor = 1;
    if (size && (*end == 'K' || *end == 'k'))
        factor = 1 << 10;
    if (size && *end == 'M')
        factor = 1 << 20;
    if (factor > 1)
        end++;
    if (errno != 0 || *end != '\0' || value > INT64_MAX / factor)
        return false;
    *ret = value * factor;
    return true;
}

static bool read_seconds(const char *text, double *ret)
{
    char *end;
    if (strspn(text, "0123456789.") != strlen(text) || text[0] == '\0')
        return false;
    *ret = strtod(text, &end);
    return *end == '\0' && isfinite(*ret);
}

static bool is_word(const char *words, const char *text)
{
    size_t len = strlen(text);
    for (const char *p = words; p != NULL; p = strchr(p, '|')) {
        p += *p == '|';
        if (len > 0 && strncmp(p, text, len) == 0 && (p[len] == '|' || p[len] == '\0'))
            return true;
    }
    return false;
}

static int add_to_list(const struct cli_verb *verb, const struct cli_option *o, const char *text)
{
    struct cli_list *list = o->target;
    if (list->n == list->max)
        return cli_usage_error(verb->name, "--%s may be given %zu times at most", o->name,
                               list->max);
    list->texts[list->n++] = text;
    return CLI_GO_ON;
}

static int set_value(const struct cli_verb *verb, const struct cli_option *o, const char *text)
{
    int64_t number;
    double seconds;
    switch (o->kind) {
    case CLI_FLAG:
        break;
    case CLI_TEXT:
        *(const char **)o->target = text;
        break;
    case CLI_NUMBER:
    case CLI_SIZE:
        if (!read_number(text, o->kind == CLI_SIZE, &number) || number < o->min || number > o->max)
            return cli_usage_error(verb->name, "--%s: '%s' is not a number from %lld to %lld",
                                   o->name, text, (long long)o->min, (long long)o->max);
        *(int64_t *)o->target = number;
        break;
    case CLI_SECONDS:
        if (!read_seconds(text, &seconds) || seconds < (double)o->min || seconds > (double)o->max)
            return cli_usage_error(verb->name,
                                   "--%s: '%s' is not a number of seconds from %lld to %lld",
                                   o->name, text, (long long)o->min, (long long)o->max);
        *(double *)o->target = seconds;
        break;
    case CLI_CHOICE:
        if (!is_word(o->words, text))
            return cli_usage_error(verb->name, "--%s: '%s' is none of %s", o->name, text, o->words);
        *(const char **)o->target = text;
        break;
    case CLI_LIST:
        return add_to_list(verb, o, text);
    }
    return CLI_GO_ON;
}

/* --- Parsing ------------------------------------------------------------------------------- */

/* Takes --NAME, --NAME=VALUE or --NAME VALUE at argv[*i]. */
static int parse_option(const struct cli_verb *verb, int argc, char **argv, int *i)
{
    const char *name = argv[*i] + 2;
    size_t len = strcspn(name, "=");
    const char *value = name[len] == '=' ? name + len + 1 : NULL;
    for (const struct cli_option *o = verb->options; o->name != NULL; o++) {
        if (strlen(o->name) != len || strncmp(o->name, name, len) != 0)
            continue;
        if (o->kind == CLI_FLAG) {
            if (value != NULL)
                return cli_usage_error(verb->name, "--%s takes no value", o->name);
            *(bool *)o->target = true;
            return CLI_GO_ON;
        }
        if (value == NULL && *i + 1 < argc)
            value = argv[++*i];
        if (value == NULL)
            return cli_usage_error(verb->name, "--%s needs a value: %s", o->name, o->value);
        return set_value(verb, o, value);
    }
    return cli_usage_error(verb->name, "there is no option '--%.*s'", (int)len, name);
}

/* Takes -v, where a flag has that short form. */
static int parse_short(const struct cli_verb *verb, const char *text)
{
    for (const struct cli_option *o = verb->options; o->name != NULL; o++)
        if (o->kind == CLI_FLAG && o->words != NULL && strcmp(o->words, text) == 0) {
            *(bool *)o->target = true;
            return CLI_GO_ON;
        }
    return cli_usage_error(verb->name, "there is no option '%s'", text);
}

int cli_parse(const struct cli_verb *verb, int argc, char **argv, const char **operand)
{
    bool options_end = false;
    const char *found = NULL;
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        if (!options_end && (strcmp(a, "--help") == 0 || strcmp(a, "-h") == 0)) {
            print_help(verb);
            return CLI_OK;
        }
        if (!options_end && strcmp(a, "--") == 0) {
            options_end = true;
        } else if (!options_end && strncmp(a, "--", 2) == 0) {
            int r = parse_option(verb, argc, argv, &i);
            if (r != CLI_GO_ON)
                return r;
        } else if (!options_end && a[0] == '-' && a[1] != '\0') {
            int r = parse_short(verb, a);
            if (r != CLI_GO_ON)
                return r;
        } else if (verb->operand == NULL || found != NULL) {
            return cli_usage_error(verb->name, "'%s' is one operand too many", a);
        } else {
            found = a;
            if (verb->program)
                break;
        }
    }
    if (verb->operand != NULL && found == NULL)
        return cli_usage_error(verb->name, "%s is missing", verb->operand);
    if (operand != NULL)
        *operand = found;
    return CLI_GO_ON;
}
