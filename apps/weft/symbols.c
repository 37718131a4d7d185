/* SPDX-License-Identifier: MIT */
/*
 * Shows: a child process with its output read through a stream. See symbols.h.
 *
 * Floor 6.
 */
#include "symbols.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <weft/signal.h>
#include <weft/stream.h>

enum {
    FRAMES_MAX = 4096, /* different ones; more stay raw */
    ASK_MAX = 200,     /* frames a call of addr2line */
    PATH_MAX_LEN = 512,
    WAIT_S = 20,
};

struct frame {
    const char *word; /* in the text */
    size_t len;
    size_t module_len;
    char *names; /* owned, a line each: the function, then those it was inlined into; NULL: none */
    bool asked;
};

struct frames {
    struct frame all[FRAMES_MAX];
    size_t count;
    bool missing; /* addr2line is not there */
};

/* --- Finding frames ------------------------------------------------------------------------ */

/* The next word that looks like a frame, at or after p; NULL: none. */
static const char *next_frame(const char *p, const char *end, size_t *len, size_t *module_len)
{
    while (p < end) {
        if (*p != '/') {
            p++;
            continue;
        }
        size_t n = 0;
        while (p + n < end && p[n] > ' ' && p[n] != ']')
            n++;
        size_t hex = n;
        while (hex > 0 && strchr("0123456789abcdef", p[hex - 1]) != NULL)
            hex--;
        if (hex < n && hex > 3 && memcmp(p + hex - 3, "+0x", 3) == 0) {
            *len = n;
            *module_len = hex - 3;
            return p;
        }
        p += n > 0 ? n : 1;
    }
    return NULL;
}

static struct frame *find(struct frames *f, const char *word, size_t len)
{
    for (size_t i = 0; i < f->count; i++)
        if (f->all[i].len == len && memcmp(f->all[i].word, word, len) == 0)
            return &f->all[i];
    return NULL;
}

static void collect(struct frames *f, const char *text, size_t text_len)
{
    const char *end = text + text_len;
    size_t len;
    size_t module_len;
    const char *p = text;
    while ((p = next_frame(p, end, &len, &module_len)) != NULL) {
        if (f->count < FRAMES_MAX && module_len < PATH_MAX_LEN && find(f, p, len) == NULL)
            f->all[f->count++] = (struct frame){.word = p, .len = len, .module_len = module_len};
        p += len;
    }
}

/* --- Asking addr2line ---------------------------------------------------------------------- */

/* Adds a line "FUNCTION (FILE:LINE)". */
static void add_name(struct frame *x, const char *function, const char *place)
{
    char *names = NULL;
    const char *slash = strrchr(place, '/');
    const char *before = x->names != NULL ? x->names : "";
    const char *between = x->names != NULL ? "\n" : "";
    if (function[0] == '?' || function[0] == '\0')
        return;
    if (slash != NULL)
        place = slash + 1;
    int r = place[0] == '?' ? asprintf(&names, "%s%s%s", before, between, function)
                            : asprintf(&names, "%s%s%s (%.*s)", before, between, function,
                                       (int)strcspn(place, " "), place);
    if (r < 0)
        return;
    free(x->names);
    x->names = names;
}

/* Without its end; false at the end. */
static bool read_line(struct weft_stream *out, char *buf, size_t cap, weft_deadline d)
{
    ssize_t n = weft_read_until(out, buf, cap, '\n', d);
    if (n <= 0)
        return false;
    buf[n - 1] = '\0';
    return true;
}

/* addr2line -afi gives each address, and after it two lines for each function that is there: its
 * name, then FILE:LINE. */
static void read_names(struct weft_stream *out, struct frame **asked, size_t n, weft_deadline d)
{
    char function[1024];
    char place[1024];
    size_t begun = 0; /* addresses that were read */
    while (read_line(out, function, sizeof(function), d)) {
        if (strncmp(function, "0x", 2) == 0) {
            if (++begun > n)
                return;
        } else if (begun == 0 || !read_line(out, place, sizeof(place), d)) {
            return;
        } else {
            add_name(asked[begun - 1], function, place);
        }
    }
}

/* Asks for the frames of one module that have not been asked for, beginning with `first`. */
static void ask(struct frames *f, size_t first)
{
    char module[PATH_MAX_LEN];
    char offsets[ASK_MAX][24];
    const char *argv[ASK_MAX + 5] = {"addr2line", "-afi", "-C", "-e", module};
    struct frame *asked[ASK_MAX];
    const struct frame *like = &f->all[first];
    size_t n = 0;
    snprintf(module, sizeof(module), "%.*s", (int)like->module_len, like->word);
    for (size_t i = first; i < f->count && n < ASK_MAX - 1; i++) {
        struct frame *x = &f->all[i];
        if (x->asked || x->module_len != like->module_len ||
            memcmp(x->word, like->word, like->module_len) != 0)
            continue;
        /* One less: the frame says where the call returns to, which may be the next line. */
        unsigned long long offset = strtoull(x->word + x->module_len + 1, NULL, 16);
        snprintf(offsets[n], sizeof(offsets[n]), "0x%llx", offset > 0 ? offset - 1 : 0);
        argv[5 + n] = offsets[n];
        x->asked = true;
        asked[n++] = x;
    }
    argv[5 + n] = NULL;
    struct weft_process_options o = {
        .argv = argv, .in = WEFT_PIPE_NULL, .out = WEFT_PIPE_STREAM, .err = WEFT_PIPE_NULL};
    struct weft_process *p;
    if (weft_process_open(&p, &o) < 0) {
        f->missing = true;
        return;
    }
    weft_deadline d = weft_after_s(WAIT_S);
    read_names(weft_process_out(p), asked, n, d);
    weft_process_close(&p);
}

/* --- Printing ------------------------------------------------------------------------------ */

/* Prints the names, each below the other, as in the line that begins at `line` and ends at `at`. */
static void print_names(const char *names, const char *line, const char *at)
{
    size_t len = strcspn(names, "\n");
    fwrite(names, 1, len, stdout);
    for (names += len; *names != '\0'; names += len) {
        names++;
        len = strcspn(names, "\n");
        putchar('\n');
        fwrite(line, 1, (size_t)(at - line), stdout);
        fwrite(names, 1, len, stdout);
    }
}

/*
 * Prints the text before a frame, "... at NAME [", and the frame; a resolved one takes the place of
 * NAME and the brackets. Returns where the text goes on.
 */
static const char *print_frame(const char *p, const struct frame *f, const char *word, size_t len)
{
    const char *name = word;
    if (f != NULL && f->names != NULL && word - p >= 2 && word[-1] == '[' && word[len] == ']') {
        name = word - 2; /* the blank before the bracket */
        while (name > p && name[-1] > ' ')
            name--;
    }
    fwrite(p, 1, (size_t)(name - p), stdout);
    if (f == NULL || f->names == NULL) {
        fwrite(word, 1, len, stdout);
        return word + len;
    }
    const char *line = name;
    while (line > p && line[-1] != '\n')
        line--;
    print_names(f->names, line, name);
    return word + len + (name < word ? 1 : 0);
}

void symbols_print(const char *text, size_t text_len)
{
    const char *end = text + text_len;
    const char *p = text;
    const char *word;
    size_t len;
    size_t module_len;
    struct frames *f = calloc(1, sizeof(*f));
    if (f != NULL) {
        collect(f, text, text_len);
        for (size_t i = 0; i < f->count && !f->missing; i++)
            if (!f->all[i].asked)
                ask(f, i);
    }
    while (f != NULL && (word = next_frame(p, end, &len, &module_len)) != NULL)
        p = print_frame(p, find(f, word, len), word, len);
    fwrite(p, 1, (size_t)(end - p), stdout);
    for (size_t i = 0; f != NULL && i < f->count; i++)
        free(f->all[i].names);
    free(f);
}
