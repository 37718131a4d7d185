/* SPDX-License-Identifier: MIT */
/*
 * The HTTP client and proxies: which texts name one, and what it is asked. The proxy says canned
 * bytes.
 */
#include "http_client_kit.h"

#define REFUSAL "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"

/* http:// goes to an HTTP proxy as a whole URL, https:// by CONNECT; one text names it for both. */
static int both_ways(void *arg)
{
    char proxy[WEFT_ENDPOINT_MAX + 20];
    (void)arg;
    for (int i = 0; i < 2; i++) {
        struct script k;
        struct weft_http_reply *r = NULL;
        SCRIPT_OPEN(&k, SCRIPT_TEXT(OK("2\r\n\r\nok")), SCRIPT_TEXT(REFUSAL));
        (void)snprintf(proxy, sizeof proxy, "http://m%%65:p:w@%s%s", k.endpoint + strlen("tcp://"),
                       i == 0 ? "" : "/");
        struct weft_http_client *c = client_of(&(struct weft_http_client_options){.proxy = proxy});
        CHECK_EQ(weft_http_get(c, "http://nowhere.invalid:81/a?b#c", &r, soon()), 0);
        CHECK_EQ(weft_http_reply_status(r), 200);
        weft_http_reply_close(&r);
        CHECK(begins(k.asked[0], "GET http://nowhere.invalid:81/a?b HTTP/1.1\r\n"));
        CHECK(strstr(k.asked[0], "\r\nProxy-Authorization: Basic bWU6cDp3\r\n") != NULL);
        CHECK_EQ(weft_http_get(c, "https://nowhere.invalid/", &r, soon()), -EACCES);
        CHECK(begins(k.asked[1], "CONNECT nowhere.invalid:443 HTTP/1.1\r\n"));
        CHECK(strstr(k.asked[1], "\r\nProxy-Authorization: Basic bWU6cDp3\r\n") != NULL);
        weft_http_client_close(&c);
        script_close(&k);
    }
    return 0;
}

/* What could only fail later is refused where the client is opened. */
static int texts(void *arg)
{
    static const char *const good[] = {"http://proxy",      "http://proxy/",  "http://u@proxy:1/",
                                       "http://[::1]/",     "socks5://proxy", "socks5://u:p@proxy/",
                                       "http://127.0.0.1:1"},
                             *const bad[] = {
                                 "foo://x",           "proxy:3128",        "",
                                 "http://",           "http:///",          "http://*",
                                 "http://:3128",      "http://proxy:0",    "http://proxy:x",
                                 "http://proxy//",    "http://proxy/path", "http://proxy?q",
                                 "http://u%zz@proxy", "https://proxy:443", "socks5://proxy:66000"};
    struct weft_http_client *c = NULL;
    (void)arg;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(good); i++) {
        c = client_of(&(struct weft_http_client_options){.proxy = good[i]});
        weft_http_client_close(&c);
    }
    for (size_t i = 0; i < WEFT__ARRAY_LEN(bad); i++) {
        CHECK_EQ(weft_http_client_open(&c, &(struct weft_http_client_options){.proxy = bad[i]}),
                 -EINVAL);
        CHECK(c == NULL);
        CHECK(begins(weft_error_detail(), "proxy"));
    }
    return 0;
}

static const struct kit_case cases[] = {IN_TASK(both_ways), IN_TASK(texts)};
KIT_MAIN(cases)
