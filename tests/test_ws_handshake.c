/* SPDX-License-Identifier: MIT */
/* Tests of src/wire/ws_handshake.h: keys, sub-protocols, parameters of permessage-deflate.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <weft/error.h>

#include "base/base.h"
#include "wire/ws_handshake.h"

static struct weft__slice t(const char *s)
{
    return weft__slice_text(s);
}

/* RFC 6455, 1.3 */
static void keys(void **state)
{
    char out[WEFT__WS_ACCEPT_LEN], key[WEFT__WS_KEY_LEN];
    (void)state;
    weft__ws_accept_value(t("dGhlIHNhbXBsZSBub25jZQ=="), out);
    assert_memory_equal(out, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", sizeof out);
    weft__ws_key_make((const unsigned char *)"the sample nonce", key);
    assert_memory_equal(key, "dGhlIHNhbXBsZSBub25jZQ==", sizeof key);
    assert_true(weft__ws_key_ok(weft__slice_of(key, sizeof key)));
    assert_true(weft__ws_key_ok(t("AAAAAAAAAAAAAAAAAAAAAA==")));
    static const char *const bad[] = {"",
                                      "dGhlIHNhbXBsZSBub25jZQ=",
                                      "dGhlIHNhbXBsZSBub25jZQ===",
                                      "dGhlIHNhbXBsZSBub25jZQAA",
                                      "dGhlIHNhbXBsZSBub25jZR==",
                                      "dGhlIHNhbXBsZ!Bub25jZQ==",
                                      "dGhlIHNhbXBsZSBub25jZ===",
                                      " GhlIHNhbXBsZSBub25jZQ=="};
    for (size_t i = 0; i < WEFT__ARRAY_LEN(bad); i++)
        assert_false(weft__ws_key_ok(t(bad[i])));
    assert_false(weft__ws_key_ok((struct weft__slice){NULL, 0}));
}

static void protocols(void **state)
{
    struct weft__slice e;
    (void)state;
    assert_true(weft__ws_tokens_ok(t("chat, superchat")));
    assert_false(weft__ws_tokens_ok(t("chat, superchat, chat")));
    assert_false(weft__ws_tokens_ok(t("chat super")));
    assert_false(weft__ws_tokens_ok(t("ch\xc3\xa9t")));
    assert_false(weft__ws_tokens_ok(t(" ,")));
    char many[6 * (WEFT__WS_PROTOCOLS_MAX + 1)] = "";
    for (int i = 0; i < WEFT__WS_PROTOCOLS_MAX; i++)
        (void)snprintf(many + strlen(many), sizeof many - strlen(many), "p%d,", i);
    assert_true(weft__ws_tokens_ok(t(many)));
    strcat(many, "more");
    assert_false(weft__ws_tokens_ok(t(many)));
    assert_true(weft__ws_protocol_choose(t("v2, v1"), t("v1, v2"), &e) && weft__slice_is(e, "v2"));
    assert_true(weft__ws_protocol_choose(t("v3,v1"), t("v1, v2"), &e) && weft__slice_is(e, "v1"));
    assert_false(weft__ws_protocol_choose(t("V1"), t("v1"), &e));
}

/* RFC 6455, 9.1: who sends something else than this grammar has failed the connection. */
static void extensions(void **state)
{
    static const char *const good[] = {
        "x",
        "x, y",
        ", x ,, y,",
        "x;a",
        "x; a=b; c=\"d\" , y ; e = f\t;\tg",
        "x; a=\"b\\c\"",
        "permessage-deflate; unknown=1",
    };
    static const char *const bad[] = {
        "",         ",",          "x;",           "x; ;a",        ";a",
        "x y",      "x a; b",     "x; a b",       "x; a=",        "x; =b",
        "x; a=b c", "x; a==b",    "x; a=\"\"",    "x; a=\"b c\"", "x; a=\"b,c\"",
        "x; a=\"b", "x; a=\"b\\", "x; a=\"b\\\"", "x; a=\"b\"c",  "x; a=b\"",
        "x; \"a\"", "\"x\"",      "x, y;",        "x@y",          "\xc3\xa9",
    };
    (void)state;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(good); i++)
        if (!weft__ws_extensions_ok(t(good[i])))
            fail_msg("'%s' was refused", good[i]);
    for (size_t i = 0; i < WEFT__ARRAY_LEN(bad); i++)
        if (weft__ws_extensions_ok(t(bad[i])))
            fail_msg("'%s' was taken", bad[i]);
}

static const char *show(const struct weft__ws_deflate *d)
{
    static char text[100];
    (void)snprintf(text, sizeof text, "%d/%d %d/%d", d->server_no_takeover, d->client_no_takeover,
                   d->server_bits, d->client_bits);
    return text;
}

/* What a server with some wishes makes of offers; NULL: no extension. */
static void accepts(void **state)
{
    static const struct weft__ws_deflate any = {.on = true, .server_bits = 15, .client_bits = 15};
    static const struct weft__ws_deflate small = {.on = true,
                                                  .server_no_takeover = true,
                                                  .client_no_takeover = true,
                                                  .server_bits = 11,
                                                  .client_bits = 10};
    static const struct {
        const char *offers;
        const struct weft__ws_deflate *wishes;
        const char *agreed, *answer;
    } v[] = {
        {"permessage-deflate", &any, "0/0 15/15", "permessage-deflate"},
        {"permessage-deflate; client_max_window_bits", &any, "0/0 15/15", "permessage-deflate"},
        {"permessage-deflate; client_max_window_bits; server_max_window_bits=10", &any, "0/0 10/15",
         "permessage-deflate; server_max_window_bits=10"},
        {"permessage-deflate; client_max_window_bits=9", &any, "0/0 15/9",
         "permessage-deflate; client_max_window_bits=9"},
        {"permessage-deflate; server_no_context_takeover; client_no_context_takeover", &any,
         "1/1 15/15", "permessage-deflate; server_no_context_takeover; client_no_context_takeover"},
        {"permessage-deflate; client_max_window_bits", &small, "1/1 11/10",
         "permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
         "server_max_window_bits=11; client_max_window_bits=10"},
        {"permessage-deflate", &small, "1/1 11/15",
         "permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
         "server_max_window_bits=11"},
        {"x-other, permessage-deflate; server_max_window_bits=\"8\"", &any, "0/0 8/15",
         "permessage-deflate; server_max_window_bits=8"},
        {"Permessage-Deflate; SERVER_MAX_WINDOW_BITS=9 ", &any, "0/0 9/15",
         "permessage-deflate; server_max_window_bits=9"},
        /* The first offer has something wrong in it, the second is taken. */
        {"permessage-deflate; unknown, permessage-deflate", &any, "0/0 15/15",
         "permessage-deflate"},
        {"permessage-deflate; server_max_window_bits, permessage-deflate; "
         "server_no_context_takeover",
         &any, "1/0 15/15", "permessage-deflate; server_no_context_takeover"},
        {"permessage-deflate; server_max_window_bits=7", &any, NULL, NULL},
        {"permessage-deflate; server_max_window_bits=16", &any, NULL, NULL},
        {"permessage-deflate; server_max_window_bits=08", &any, NULL, NULL},
        {"permessage-deflate; server_max_window_bits=", &any, NULL, NULL},
        {"permessage-deflate; server_max_window_bits=10x", &any, NULL, NULL},
        {"permessage-deflate; client_max_window_bits=20", &any, NULL, NULL},
        {"permessage-deflate; server_no_context_takeover=1", &any, NULL, NULL},
        {"permessage-deflate; server_no_context_takeover=", &any, NULL, NULL},
        {"permessage-deflate; server_no_context_takeover; server_no_context_takeover", &any, NULL,
         NULL},
        {"permessage-deflate; client_max_window_bits; client_max_window_bits=9", &any, NULL, NULL},
        {"permessage-deflate; =1", &any, NULL, NULL},
        {"permessage-deflate;", &any, NULL, NULL},
        {"permessage-deflate; server_max_window_bits=\"1\\1\"", &any, "0/0 11/15",
         "permessage-deflate; server_max_window_bits=11"},
        {"x-webkit-deflate-frame", &any, NULL, NULL},
        {"", &any, NULL, NULL},
    };
    (void)state;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(v); i++) {
        struct weft__ws_deflate d = {0};
        char out[WEFT__WS_DEFLATE_TEXT_MAX + 1] = "";
        bool on = weft__ws_deflate_accept(t(v[i].offers), v[i].wishes, &d);
        if (on != (v[i].agreed != NULL))
            fail_msg("'%s' was %staken", v[i].offers, on ? "" : "not ");
        if (!on)
            continue;
        assert_string_equal(show(&d), v[i].agreed);
        size_t n = weft__ws_deflate_write(&d, false, out);
        assert_int_equal(n, strlen(v[i].answer));
        assert_memory_equal(out, v[i].answer, n);
    }
    struct weft__ws_deflate d;
    assert_false(
        weft__ws_deflate_accept(t("permessage-deflate"), &(struct weft__ws_deflate){0}, &d));
}

/* What a client makes of the answer to its offer; agreed NULL: it fails. */
static void answers(void **state)
{
    static const struct weft__ws_deflate any = {.on = true, .server_bits = 15, .client_bits = 15};
    static const struct weft__ws_deflate none = {.server_bits = 15, .client_bits = 15};
    static const struct weft__ws_deflate asked = {
        .on = true, .server_no_takeover = true, .server_bits = 10, .client_bits = 12};
    static const struct {
        const char *answer;
        const struct weft__ws_deflate *wishes;
        const char *agreed;
        bool on;
    } v[] = {
        {NULL, &any, "0/0 15/15", false},
        {NULL, &none, "0/0 15/15", false},
        {"", &any, NULL, false},
        {"permessage-deflate;", &any, NULL, false},
        {"permessage-deflate; server_max_window_bits=\"9", &any, NULL, false},
        {"permessage-deflate; server_max_window_bits=\"9\"", &any, "0/0 9/15", true},
        {"permessage-deflate", &any, "0/0 15/15", true},
        {"permessage-deflate; client_max_window_bits=9; server_max_window_bits=8", &any, "0/0 8/9",
         true},
        {"permessage-deflate; server_no_context_takeover; client_no_context_takeover", &any,
         "1/1 15/15", true},
        {"permessage-deflate", &none, NULL, false},
        {"x-other", &any, NULL, false},
        {"permessage-deflate, permessage-deflate", &any, NULL, false},
        {"permessage-deflate; client_max_window_bits", &any, NULL, false},
        {"permessage-deflate; what", &any, NULL, false},
        {"permessage-deflate; server_max_window_bits=16", &any, NULL, false},
        {"permessage-deflate", &asked, NULL, false},
        {"permessage-deflate; server_no_context_takeover", &asked, NULL, false},
        {"permessage-deflate; server_no_context_takeover; server_max_window_bits=11", &asked, NULL,
         false},
        {"permessage-deflate; server_max_window_bits=10", &asked, NULL, false},
        {"permessage-deflate; server_no_context_takeover; server_max_window_bits=9", &asked,
         "1/0 9/12", true},
        {"permessage-deflate; server_no_context_takeover; server_max_window_bits=10; "
         "client_max_window_bits=15",
         &asked, "1/0 10/12", true},
    };
    (void)state;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(v); i++) {
        struct weft__ws_deflate d = {0};
        int err = weft__ws_deflate_answered(t(v[i].answer), v[i].wishes, &d);
        if (err != (v[i].agreed != NULL ? 0 : WEFT_EPROTOCOL))
            fail_msg("'%s': %s %s", v[i].answer, weft_error_name(err), weft_error_detail());
        if (err == 0) {
            assert_true(d.on == v[i].on);
            assert_string_equal(show(&d), v[i].agreed);
        }
    }
    char out[WEFT__WS_DEFLATE_TEXT_MAX + 1] = "";
    out[weft__ws_deflate_write(&any, true, out)] = '\0';
    assert_string_equal(out, "permessage-deflate; client_max_window_bits");
    out[weft__ws_deflate_write(&asked, true, out)] = '\0';
    assert_string_equal(out, "permessage-deflate; server_no_context_takeover; "
                             "server_max_window_bits=10; client_max_window_bits=12");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys),    cmocka_unit_test(protocols), cmocka_unit_test(extensions),
        cmocka_unit_test(accepts), cmocka_unit_test(answers),
    };
    return cmocka_run_group_tests_name("ws handshake", tests, NULL, NULL);
}
