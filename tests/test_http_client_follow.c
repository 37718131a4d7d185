/* SPDX-License-Identifier: MIT */
/* The HTTP client: where redirects lead, what goes along, and cookies. */
#include "http_client_kit.h"

#define MOVED(status, to)                                                                          \
    "HTTP/1.1 " status " Moved\r\nLocation: " to "\r\nContent-Length: 3\r\n\r\nbye"

static int redirects(void *arg)
{
    struct script k;
    struct weft_http_field secret = {.name = "Authorization", .value = "Bearer s3cret"};
    (void)arg;
    SCRIPT_OPEN(&k, SCRIPT_TEXT(MOVED("301", "../b?x#f")), SCRIPT_TEXT(OK("1\r\n\r\nb")),
                SCRIPT_TEXT(MOVED("303", "/see")), SCRIPT_TEXT(OK("1\r\n\r\ns")),
                SCRIPT_TEXT(MOVED("307", "/again")), SCRIPT_TEXT(OK("1\r\n\r\na")),
                SCRIPT_TEXT(MOVED("302", "/x")));
    struct weft_http_client *c = client_of(NULL);
    fetch(c, &k, (struct weft_http_call){.url = "/d/e/f", .fields = &secret, .n_fields = 1}, 200,
          "b");
    CHECK(begins(k.asked[1], "GET /d/b?x HTTP/1.1\r\n"));
    CHECK(strstr(k.asked[1], "s3cret") != NULL); /* the same origin */
    fetch(c, &k, (struct weft_http_call){.url = "/", .body = "q", .body_len = 1}, 200, "s");
    CHECK(begins(k.asked[3], "GET /see "));
    CHECK(strstr(k.asked[3], "Content-Length") == NULL);
    fetch(c, &k, (struct weft_http_call){.url = "/", .body = "q", .body_len = 1}, 200, "a");
    CHECK(begins(k.asked[5], "POST /again "));
    CHECK(strstr(k.asked[5], "\r\n\r\nq") != NULL);
    fetch(c, &k, (struct weft_http_call){.url = "/", .no_redirects = true}, 302, "bye");
    CHECK_EQ(k.connections, 1);
    weft_http_client_close(&c);
    script_close(&k);
    return 0;
}

/* RFC 9110 sections 10.2.2 (fragments) and 15.4 (what tells of a content that is left behind). */
static int left_behind(void *arg)
{
    struct script k;
    char url[1100];
    struct weft_http_reply *r = NULL;
    struct weft_http_field fields[] = {{.name = "Content-Type", .value = "text/x-own"},
                                       {.name = "content-language", .value = "x-own"},
                                       {.name = "X-Content", .value = "kept"}};
    static const struct {
        const char *asked, *came_to;
    } cases[] = {{"/a#one", "/b#one"}, {"/a#one", "/c#two"}, {"/a#one", "/d#"}, {"/a", "/b"}};
    (void)arg;
    SCRIPT_OPEN(&k, SCRIPT_TEXT(MOVED("302", "/b")), SCRIPT_TEXT(OK("0\r\n\r\n")),
                SCRIPT_TEXT(MOVED("302", "/c#two")), SCRIPT_TEXT(OK("0\r\n\r\n")),
                SCRIPT_TEXT(MOVED("302", "/d#")), SCRIPT_TEXT(OK("0\r\n\r\n")),
                SCRIPT_TEXT(MOVED("302", "/b")), SCRIPT_TEXT(OK("0\r\n\r\n")),
                SCRIPT_TEXT(MOVED("303", "/see")), SCRIPT_TEXT(OK("1\r\n\r\ns")));
    struct weft_http_client *c = client_of(NULL);
    for (size_t i = 0; i < WEFT__ARRAY_LEN(cases); i++) {
        url_of(url, sizeof url, &k, cases[i].asked);
        CHECK_EQ(weft_http_get(c, url, &r, soon()), 0);
        CHECK(strcmp(weft_http_reply_url(r) + strlen(k.url), cases[i].came_to) == 0);
        weft_http_reply_close(&r);
    }
    fetch(c, &k,
          (struct weft_http_call){
              .url = "/", .body = "q", .body_len = 1, .fields = fields, .n_fields = 3},
          200, "s");
    CHECK(strstr(k.asked[8], "x-own") != NULL);
    CHECK(strstr(k.asked[9], "x-own") == NULL);
    CHECK(strstr(k.asked[9], "X-Content: kept") != NULL);
    weft_http_client_close(&c);
    script_close(&k);
    return 0;
}

static int other_origins(void *arg)
{
    struct script to, from;
    char moved[1200];
    struct weft_http_field fields[] = {{.name = "Authorization", .value = "Bearer s3cret"},
                                       {.name = "Cookie", .value = "own=1"},
                                       {.name = "X-Kept", .value = "yes"}};
    static const struct script_step ok = SCRIPT_TEXT(OK("1\r\n\r\nt"));
    (void)arg;
    script_open(&to, &ok, 1);
    (void)snprintf(moved, sizeof moved, MOVED("302", "%s/t"), to.url);
    const struct script_step step = {.reply = moved};
    script_open(&from, &step, 1);
    struct weft_http_client *c = client_of(NULL);
    fetch(c, &from, (struct weft_http_call){.url = "/", .fields = fields, .n_fields = 3}, 200, "t");
    CHECK(strstr(from.asked[0], "s3cret") != NULL && strstr(from.asked[0], "own=1") != NULL);
    CHECK(strstr(to.asked[0], "s3cret") == NULL && strstr(to.asked[0], "own=1") == NULL);
    CHECK(strstr(to.asked[0], "X-Kept: yes") != NULL);
    weft_http_client_close(&c);
    script_close(&from);
    script_close(&to);
    return 0;
}

static int redirects_end(void *arg)
{
    struct script k;
    struct script_step steps[5];
    char moved[200];
    (void)arg;
    for (size_t i = 0; i < 3; i++)
        steps[i] = (struct script_step)SCRIPT_TEXT(MOVED("302", "/round"));
    steps[3] = (struct script_step)SCRIPT_TEXT(MOVED("302", "ftp://127.0.0.1/"));
    steps[4] = (struct script_step)SCRIPT_TEXT(moved);
    script_open(&k, steps, 5);
    (void)snprintf(moved, sizeof moved, MOVED("302", "http://*%s/"), strrchr(k.url, ':'));
    struct weft_http_client *c = client_of(&(struct weft_http_client_options){.redirects_max = 2});
    CHECK_EQ(get_error(c, &k, "/"), WEFT_ELIMIT);
    CHECK_EQ(get_error(c, &k, "/"), WEFT_EURL);
    CHECK_EQ(get_error(c, &k, "/"), WEFT_EURL); /* to whatever is at this machine's addresses */
    weft_http_client_close(&c);
    script_close(&k);
    return 0;
}

/* A body that cannot be produced twice cannot be redirected; one that can is. */
static int redirected_producers(void *arg)
{
    struct script k;
    struct source source = {.left = 7};
    char url[1024];
    struct weft_http_reply *r = NULL;
    (void)arg;
    SCRIPT_OPEN(&k, SCRIPT_TEXT(MOVED("307", "/x")), SCRIPT_TEXT(MOVED("307", "/x")),
                SCRIPT_TEXT(OK("0\r\n\r\n")));
    struct weft_http_client *c = client_of(NULL);
    struct weft_http_call call = {
        .url = url, .produce = produce, .produce_arg = &source, .produce_len = 7};
    url_of(url, sizeof url, &k, "/");
    CHECK_EQ(weft_http_fetch(c, &call, &r, soon()), -ESPIPE);
    call.rewind = rewind_source;
    source.left = 7;
    CHECK_EQ(weft_http_fetch(c, &call, &r, soon()), 0);
    CHECK_EQ(source.rewound, 1);
    CHECK(strstr(k.asked[2], "\r\n\r\nppppppp") != NULL);
    weft_http_reply_close(&r);
    weft_http_client_close(&c);
    script_close(&k);
    return 0;
}

static int cookies(void *arg)
{
    struct script k;
    (void)arg;
    SCRIPT_OPEN(&k,
                SCRIPT_TEXT("HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/\r\nSet-Cookie: b=2; "
                            "Path=/deep\r\nSet-Cookie: s=3; Secure\r\nContent-Length: 0\r\n\r\n"),
                SCRIPT_TEXT(OK("0\r\n\r\n")),
                SCRIPT_TEXT("HTTP/1.1 200 OK\r\nSet-Cookie: a=; Max-Age=0; Path=/\r\n"
                            "Content-Length: 0\r\n\r\n"),
                SCRIPT_TEXT(OK("0\r\n\r\n")), SCRIPT_TEXT(OK("0\r\n\r\n")));
    struct weft_http_client *c = client_of(NULL);
    get(c, &k, "/", 200, "");
    CHECK(strstr(k.asked[0], "Cookie:") == NULL);
    get(c, &k, "/deep/x", 200, "");
    CHECK(strstr(k.asked[1], "\r\nCookie: b=2; a=1\r\n") != NULL);
    get(c, &k, "/other", 200, "");
    CHECK(strstr(k.asked[2], "\r\nCookie: a=1\r\n") != NULL);
    get(c, &k, "/deep", 200, "");
    CHECK(strstr(k.asked[3], "\r\nCookie: b=2\r\n") != NULL);
    weft_http_client_forget(c);
    get(c, &k, "/deep", 200, "");
    CHECK(strstr(k.asked[4], "Cookie:") == NULL);
    weft_http_client_close(&c);
    script_close(&k);
    return 0;
}

static const struct kit_case cases[] = {
    IN_TASK(redirects),     IN_TASK(left_behind),          IN_TASK(other_origins),
    IN_TASK(redirects_end), IN_TASK(redirected_producers), IN_TASK(cookies),
};
KIT_MAIN(cases)
