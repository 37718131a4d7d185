/* SPDX-License-Identifier: MIT */
/*
 * `weft ws URL`: a conversation with a WebSocket from the terminal.
 *
 * Shows: a reader and a writer of one connection in a group; a close handshake that either side
 * may begin.
 *
 * Floor 6. Invariant: what has come before the peer's close has been written when it ends.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <weft/error.h>
#include <weft/run.h>
#include <weft/stream.h>
#include <weft/time.h>
#include <weft/tls.h>
#include <weft/websocket.h>

#include "cli.h"
#include "cli_tls.h"
#include "talk.h"

#define LINE_MAX_BYTES (1 << 20)
#define FIELDS_CAP 4096
#define CLOSE_S 5
#define REASON_CAP 128 /* a close frame has room for 123 bytes */
#define MESSAGE_MAX ((size_t)64 << 20)

static struct {
    const char *protocols, *origin, *ca, *proxy, *driver;
    struct cli_list headers;
    const char *header_texts[32];
    int64_t connect_ms, linger_ms;
    bool insecure, verbose, binary, deflate;
} config = {
    .connect_ms = 10000, .linger_ms = 1000, .headers = {.texts = config.header_texts, .max = 32}};

static const struct cli_option options[] = {
    {"verbose", NULL, "say on stderr what was agreed on, and how it ended", CLI_FLAG,
     &config.verbose, 0, 0, "-v"},
    {"protocols", "LIST", "sub-protocols to offer, the preferred first: 'v2.chat, v1.chat'",
     CLI_TEXT, &config.protocols, 0, 0, NULL},
    {"origin", "ORIGIN", "the Origin to send, as a browser would", CLI_TEXT, &config.origin, 0, 0,
     NULL},
    {"header", "'NAME: VALUE'", "a field of the request; may be given up to 32 times", CLI_LIST,
     &config.headers, 0, 0, NULL},
    {"binary", NULL, "send lines as binary messages, not as text", CLI_FLAG, &config.binary, 0, 0,
     NULL},
    {"deflate", NULL, "offer permessage-deflate", CLI_FLAG, &config.deflate, 0, 0, NULL},
    {"ca", "FILE", "certificates to trust instead of the system's", CLI_TEXT, &config.ca, 0, 0,
     NULL},
    {"insecure-no-verify", NULL, "believe any certificate", CLI_FLAG, &config.insecure, 0, 0, NULL},
    {"proxy", "URL", "socks5://[USER:PASSWORD@]HOST:PORT, or http://... (CONNECT)", CLI_TEXT,
     &config.proxy, 0, 0, NULL},
    {"connect-ms", "MS", "time for the name, connecting and the handshakes (10000)", CLI_NUMBER,
     &config.connect_ms, 1, 3600000, NULL},
    {"linger-ms", "MS", "how long to wait for answers after the end of input (1000)", CLI_NUMBER,
     &config.linger_ms, 1, 86400000, NULL},
    {"driver", "NAME", "uring or epoll (the best that works here)", CLI_CHOICE, &config.driver, 0,
     0, "uring|epoll"},
    {NULL, NULL, NULL, CLI_FLAG, NULL, 0, 0, NULL},
};

static const struct cli_verb verb = {
    .name = "ws",
    .synopsis = "URL [OPTION...]",
    .about =
        "Talks to a WebSocket, ws:// or wss://. Each line of standard input is a message, and\n"
        "each message that comes is a line of standard output. The end of input closes the\n"
        "connection, once nothing has come for a while.",
    .operand = "URL",
    .options = options,
};

struct talk {
    struct weft_ws *ws;
    struct weft_stream *in;
    bool input_ended;
    int64_t active_ns; /* when something was last sent or came */
};

/* Messages that come, until the peer closes, or has said nothing for a while after the last line
 * of input. */
static int print_messages(struct talk *t)
{
    struct weft_ws_message m;
    for (;;) {
        int r = weft_ws_read(t->ws, &m, weft_after_ms(config.linger_ms));
        if (r == -ETIMEDOUT) {
            if (t->input_ended && weft_now_ns() - t->active_ns >= weft_ms(config.linger_ms))
                return 0;
            continue;
        }
        if (r <= 0)
            return r;
        t->active_ns = weft_now_ns();
        if (fwrite(m.data, 1, m.len, stdout) != m.len || putchar('\n') == EOF ||
            fflush(stdout) != 0)
            return -errno;
    }
}

static int send_lines(struct talk *t, char *line)
{
    enum weft_ws_type type = config.binary ? WEFT_WS_BINARY : WEFT_WS_TEXT;
    for (;;) {
        const void *rest;
        ssize_t n = weft_read_until(t->in, line, LINE_MAX_BYTES, '\n', WEFT_NEVER);
        if (n == 0)
            return 0;
        int r = n < 0 ? (int)n : weft_ws_write(t->ws, type, line, (size_t)n - 1, WEFT_NEVER);
        if (n == WEFT_EEOF && (n = weft_peek(t->in, &rest, WEFT_NOW)) > 0) /* without its end */
            return weft_ws_write(t->ws, type, rest, (size_t)n, WEFT_NEVER);
        if (r < 0)
            return r;
        t->active_ns = weft_now_ns();
    }
}

/* What ends the connection is the reader's to tell. */
static int send_input(void *arg)
{
    struct talk *t = arg;
    char *line = malloc(LINE_MAX_BYTES);
    int r = line != NULL ? send_lines(t, line) : -ENOMEM;
    free(line);
    t->input_ended = true;
    t->active_ns = weft_now_ns();
    return r == WEFT_ECLOSED || r == -EPIPE || r == -ECONNRESET ? 0 : r;
}

/* "Name: value\r\n" of all --header; false when they are too long or not of that form. */
static bool gather_fields(char *buf, size_t cap)
{
    size_t len = 0;
    buf[0] = '\0';
    for (size_t i = 0; i < config.headers.n; i++) {
        const char *text = config.header_texts[i];
        int n = snprintf(buf + len, cap - len, "%s\r\n", text);
        if (strchr(text, ':') == NULL || n < 0 || (size_t)n >= cap - len)
            return false;
        len += (size_t)n;
    }
    return true;
}

static void say_agreed(const struct weft_ws *ws)
{
    const char *protocol = weft_ws_subprotocol(ws);
    struct weft_tls_info i;
    fprintf(stderr, "open%s%s%s\n", protocol[0] != '\0' ? ", sub-protocol " : "", protocol,
            weft_ws_deflates(ws) ? ", permessage-deflate" : "");
    if (weft_tls_info(weft_ws_stream(ws), &i) == 0)
        fprintf(stderr, "%s, %s, certificate %s of %s\n", i.version, i.cipher,
                i.verified ? "trusted" : "NOT VERIFIED", i.subject);
}

/* The reader's end is the conversation's: as a member's error it ends the group. */
static int print_all(void *arg)
{
    int r = print_messages(arg);
    return r == 0 ? TALK_ENDED : r;
}

static int talk(struct talk *t)
{
    int r = weft_stream_from_fd(&t->in, dup(STDIN_FILENO));
    if (r == 0)
        r = talk_both_ways(send_input, print_all, t);
    (void)weft_close(&t->in, WEFT_NOW);
    return r;
}

/* " REASON" or nothing. A peer's text is not to steer the terminal: a question mark for each
 * control character (those of Unicode from 0x80 on are 0xc2 and a second byte). */
static const char *close_reason(const struct weft_ws *ws, char buf[REASON_CAP])
{
    const unsigned char *p = (const unsigned char *)weft_ws_close_reason(ws);
    size_t n = 0;
    if (*p != '\0')
        buf[n++] = ' ';
    for (; *p != '\0' && n < REASON_CAP - 1; p++) {
        bool high = p[0] == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0;
        buf[n++] = high || *p < ' ' || *p == 0x7f ? '?' : (char)*p;
        p += high;
    }
    buf[n] = '\0';
    return buf;
}

/* Whether the peer's close frame tells of no trouble, or none has come. */
static bool is_normal(unsigned code)
{
    return code == 0 || code == 1000 || code == 1001 || code == 1005;
}

static int open_and_talk(const char *url, const char *fields, struct weft_tls *tls)
{
    struct talk t = {.active_ns = weft_now_ns()};
    char reason[REASON_CAP];
    const struct weft_ws_options o = {.protocols = config.protocols,
                                      .origin = config.origin,
                                      .fields = fields[0] != '\0' ? fields : NULL,
                                      .deflate = config.deflate,
                                      .message_max = MESSAGE_MAX};
    const struct weft_dial_options dial = {.tls = tls, .proxy = config.proxy};
    int r = weft_ws_dial(&t.ws, url, &o, &dial, weft_after_ms(config.connect_ms));
    if (r == WEFT_EURL)
        return cli_usage_error(verb.name, "%s: %s", url, weft_error_detail());
    if (r < 0)
        return cli_failed_code(verb.name, r, "cannot connect to %s", url);
    if (config.verbose)
        say_agreed(t.ws);
    r = talk(&t);
    unsigned code = weft_ws_close_code(t.ws);
    if (config.verbose && code != 0)
        fprintf(stderr, "closed by the peer: %u%s\n", code, close_reason(t.ws, reason));
    int status = CLI_OK;
    if (r < 0)
        status = cli_failed_code(verb.name, r, "%s", url);
    else if (!is_normal(code))
        status = cli_failed(verb.name, "%s: the peer closed with %u%s", url, code,
                            close_reason(t.ws, reason));
    (void)weft_ws_close(&t.ws, 1000, NULL, weft_after_s(CLOSE_S));
    return status;
}

static int run(void *arg)
{
    char fields[FIELDS_CAP];
    struct weft_tls *tls = NULL;
    if (!gather_fields(fields, sizeof fields))
        return cli_usage_error(verb.name, "--header: not of the form 'NAME: VALUE', or too long");
    int status = cli_tls_client(verb.name, &tls, config.ca, config.insecure);
    if (status == CLI_GO_ON)
        status = open_and_talk(arg, fields, tls);
    weft_tls_close(&tls);
    return status;
}

int ws_main(int argc, char **argv)
{
    const char *url;
    int r = cli_parse(&verb, argc, argv, &url);
    if (r != CLI_GO_ON)
        return r;
    struct weft_options loop = {.driver = config.driver, .log = cli_log, .name = "ws"};
    r = weft_run(&loop, run, (void *)(uintptr_t)url);
    return r < 0 ? cli_failed_code(verb.name, r, "cannot run a loop") : r;
}
