/* SPDX-License-Identifier: MIT */
/*
 * Multipart bodies: whole, a byte at a time and at every split point; what is refused; limits.
 */
#include "http1_kit.h"

#include <errno.h>

#include "wire/multipart.h"

static char text[KIT_TEXT];

struct setup {
    bool form;
    const char *boundary;
    struct weft__multipart_limits limits;
};

static const struct setup form = {.form = true, .boundary = "b"};
static const struct setup mixed = {.boundary = "b"};

/* Bytes that were not used are given again; what came is written down. */
static int decode(const struct setup *s, const char *bytes, const size_t *ends, size_t count,
                  char *out)
{
    struct weft__multipart m;
    char data[4096];
    size_t data_len = 0;
    size_t start = 0;
    int r = 0;
    char *p = out;
    char *end = out + KIT_TEXT;
#define SAY(...) p += snprintf(p, (size_t)(end - p), __VA_ARGS__)
    assert_int_equal(weft__multipart_init(&m, weft__slice_text(s->boundary), s->form, &s->limits),
                     0);
    for (size_t i = 0; i < count && r >= 0 && r != WEFT__MULTIPART_END; i++) {
        do {
            size_t len = ends[i] - start;
            size_t used = 0;
            char *block = malloc(len + (len == 0));
            assert_non_null(block);
            memcpy(block, bytes + start, len);
            r = weft__multipart_next(&m, block, len, &used);
            assert_true(used <= len);
            if (r == WEFT__MULTIPART_MORE)
                assert_true(len - used < weft__multipart_window(&m));
            if (r == WEFT__MULTIPART_PART) {
                SAY("{");
                for (uint32_t f = 0; f < m.field_count; f++)
                    SAY("%.*s=%.*s;", (int)m.fields[f].name.len, block + m.fields[f].name.at,
                        (int)m.fields[f].value.len, block + m.fields[f].value.at);
                if (s->form)
                    SAY("%s|%s", m.disposition.name, m.disposition.filename);
                SAY("}");
                data_len = 0;
            } else if (r == WEFT__MULTIPART_DATA) {
                assert_true(m.data.len > 0 && m.data.at >= block &&
                            m.data.at + m.data.len <= block + used);
                memcpy(data + data_len, m.data.at, m.data.len);
                data_len += m.data.len;
            } else if (r == WEFT__MULTIPART_DONE) {
                SAY("[%.*s]", (int)data_len, data);
            } else if (r == WEFT__MULTIPART_END) {
                SAY(" end %zu", start + used);
            } else if (r < 0) {
                SAY(" [%.*s] refused %d %d at %zu: %s", (int)data_len, data, r, m.error.status,
                    m.error.at, m.error.why);
            }
            start += used;
            free(block);
        } while (r > 0 && r != WEFT__MULTIPART_END);
    }
    if (r == 0) {
        assert_int_equal(weft__multipart_complete(&m), WEFT_EPROTOCOL);
        SAY(" more [%.*s]", (int)data_len, data);
    } else if (r == WEFT__MULTIPART_END) {
        assert_int_equal(weft__multipart_complete(&m), 0);
    }
#undef SAY
    return r;
}

static void check(const struct setup *s, const char *bytes, size_t len, const char *wanted)
{
    static char other[KIT_TEXT];
    size_t *ends = calloc(len + 1, sizeof(*ends));
    assert_non_null(ends);
    decode(s, bytes, &len, 1, text);
    if (strncmp(text, wanted, strlen(wanted)) != 0)
        fail_msg("%s\ngave: %s\nwanted: %s", bytes, text, wanted);
    for (size_t i = 0; i <= len; i++)
        ends[i] = i;
    decode(s, bytes, ends, len + 1, other);
    assert_string_equal(other, text);
    free(ends);
    for (size_t split = 0; split < len; split++) {
        size_t two[] = {split, len};
        decode(s, bytes, two, 2, other);
        assert_string_equal(other, text);
    }
}

#define CD "Content-Disposition: form-data; name="

static void test_form(void **state)
{
    static const struct {
        const char *bytes, *wanted;
    } cases[] = {
        {"--b\r\n" CD "a\r\n\r\n1\r\n--b--\r\n",
         "{Content-Disposition=form-data; name=a;a|}[1] end 55"},
        {"--b\r\n" CD "a\r\n\r\n1\r\n--b\r\n" CD "\"c d\"; filename=\"x.txt\"\r\n"
         "Content-Type: text/plain\r\n\r\nline\r\nline\r\n\r\n--b--",
         "{Content-Disposition=form-data; name=a;a|}[1]{Content-Disposition=form-data; name=\"c d\"; "
         "filename=\"x.txt\";Content-Type=text/plain;c d|x.txt}[line\r\nline\r\n] end"},
        {"--b\r\n" CD "a\r\n\r\n\r\n--b--", "{Content-Disposition=form-data; name=a;a|}[] end"},
        {"--b\r\n" CD "a\r\n\r\n--b--", "{Content-Disposition=form-data; name=a;a|}[] end"},
        {"--b--", " end 5"},
        {"\r\n--b--\r\nepilogue", " end 7"},
        {"some text\r\nof a preamble --b\r\n--b \t\r\n" CD "a\r\n\r\n1\r\n--b--",
         "{Content-Disposition=form-data; name=a;a|}[1] end"},
        {"--b\r\n" CD "a\r\n\r\n\r\n\r\n-\r\n--\r\n--c\r\n --b\r\r\n--b--",
         "{Content-Disposition=form-data; name=a;a|}[\r\n\r\n-\r\n--\r\n--c\r\n --b\r] end"},
        {"--b\r\n" CD "a\r\n\r\n--b1\r\n--b--", "{Content-Disposition=form-data; name=a;a|}[]"},
        {"--b\r\n" CD "a\r\n\r\n1\r\n--b", "{Content-Disposition=form-data; name=a;a|}[1] more"},
        {"--b\r\n" CD "a\r\n\r\n123\r\n", "{Content-Disposition=form-data; name=a;a|} more [123]"},
        {"", " more []"},
        {"--b\r\n" CD "a\r\n", " more"},
        {"--b\r\n" CD "a; filename=\"C:\\\\x\\\\y.txt\"\r\n\r\n1\r\n--b--",
         "{Content-Disposition="},
    };
    (void)state;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(cases); i++)
        check(&form, cases[i].bytes, strlen(cases[i].bytes), cases[i].wanted);
}

static void test_mixed(void **state)
{
    static const struct {
        const char *bytes, *wanted;
    } cases[] = {
        {"--b\r\n\r\nbody\r\n--b--", "{}[body] end"},
        {"--b\r\n\r\n--b--", "{}[] end"},
        {"--b\r\nA: b\r\nC: d\r\n\r\nx\r\n--b\r\n\r\ny\r\n--b--", "{A=b;C=d;}[x]{}[y] end"},
    };
    static const struct setup longer = {.boundary = "gc0p4Jq0M2Yt08j34c0p' (x)+_,-./:=?y"};
    static const char bytes[] = "--gc0p4Jq0M2Yt08j34c0p' (x)+_,-./:=?y\r\n\r\n"
                                "1\r\n--gc0p4Jq0M2Yt08j34c0p' (x)+_,-./:=?z\r\n"
                                "--gc0p4Jq0M2Yt08j34c0p' (x)+_,-./:=?y--";
    (void)state;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(cases); i++)
        check(&mixed, cases[i].bytes, strlen(cases[i].bytes), cases[i].wanted);
    check(&longer, bytes, strlen(bytes), "{}[1\r\n--gc0p4Jq0M2Yt08j34c0p' (x)+_,-./:=?z] end");
    check(&mixed, "--b\r\n\r\n\0\xff\r\n--b--", 17, "{}[");
}

static void test_refused(void **state)
{
    static const struct {
        const char *bytes;
        int status;
        size_t at;
    } cases[] = {
        {"--bx\r\n\r\n1\r\n--b--", 400, 3},
        {"--b-x\r\n\r\n1\r\n--b--", 400, 4},
        {"--b\n\r\n1\r\n--b--", 400, 3},
        {"--b\rx", 400, 4},
        {"--b\r\n\r\n1\r\n--bx\r\n", 400, 13},
        {"--b\r\nA\r\n\r\n1\r\n--b--", 400, 6},
        {"--b\r\nA : b\r\n\r\n1\r\n--b--", 400, 6},
        {"--b\r\nA: b\r\n c\r\n\r\n1\r\n--b--", 400, 11},
        {"--b\r\nA: b\n\r\n1\r\n--b--", 400, 9},
        {"--b\r\nA: \x01\r\n\r\n1\r\n--b--", 400, 8},
    };
    static const struct {
        const char *bytes;
        size_t at;
    } forms[] = {
        {"--b\r\n\r\n1\r\n--b--", 5},
        {"--b\r\nContent-Type: text/plain\r\n\r\n1\r\n--b--", 5},
        {"--b\r\nContent-Disposition: form-data\r\n\r\n1\r\n--b--", 26},
        {"--b\r\nContent-Disposition: attachment; name=a\r\n\r\n1\r\n--b--", 26},
        {"--b\r\nContent-Disposition: form-data; name=\"a\r\n\r\n1\r\n--b--", 26},
        {"--b\r\n" CD "a\r\n" CD "b\r\n\r\n1\r\n--b--", 45},
    };
    char wanted[64];
    (void)state;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(cases); i++) {
        decode(&mixed, cases[i].bytes, &(size_t){strlen(cases[i].bytes)}, 1, text);
        snprintf(wanted, sizeof(wanted), "refused %d %d at %zu: ", WEFT_EPROTOCOL, cases[i].status,
                 cases[i].at);
        if (strstr(text, wanted) == NULL)
            fail_msg("%s\ngave: %s\nwanted: %s", cases[i].bytes, text, wanted);
        check(&mixed, cases[i].bytes, strlen(cases[i].bytes), "");
    }
    for (size_t i = 0; i < WEFT__ARRAY_LEN(forms); i++) {
        snprintf(wanted, sizeof(wanted), " [] refused %d 400 at %zu: ", WEFT_EPROTOCOL,
                 forms[i].at);
        check(&form, forms[i].bytes, strlen(forms[i].bytes), wanted);
    }
}

static void test_limits(void **state)
{
    struct setup s = {.boundary = "b",
                      .limits = {.parts = 2, .head = 20, .line = 10, .preamble = 5, .part = 4}};
    char many[1024] = "--b\r\n";
    (void)state;
    check(&s, "--b\r\n\r\n1234\r\n--b\r\n\r\n5\r\n--b--", 29, "{}[1234]{}[5] end");
    check(&s, "--b\r\n\r\n12345\r\n--b--", 19, "{} [1234] refused -10003 413 at 11: a part is too");
    check(&s, "--b\r\n\r\n\r\n--b\r\n\r\n\r\n--b\r\n\r\n\r\n--b--", 32,
          "{}[]{}[] [] refused -10003 413 at 21: there are too many parts");
    check(&s, "--b\r\nA: 4567890\r\n\r\n\r\n--b--", 26, "{A=4567890;}[] end");
    check(&s, "--b\r\nA: 45678901\r\n\r\n\r\n--b--", 27, " [] refused -10003 413 at 15");
    check(&s, "--b\r\nA: 456\r\nB: 45678\r\n\r\n\r\n--b--", 32, "{A=456;B=45678;}[] end");
    check(&s, "--b\r\nA: 456\r\nB: 456789\r\n\r\n\r\n--b--", 33, " [] refused -10003 413 at 23");
    check(&s, "12345\r\n--b--", 12, " end");
    check(&s, "123456\r\n--b--", 13, " [] refused -10004 400 at 5");
    s.limits = (struct weft__multipart_limits){0};
    for (int i = 0; i < 16; i++)
        strcat(many, "A: b\r\n");
    size_t n = strlen(many);
    strcat(many, "\r\n\r\n--b--");
    check(&s, many, strlen(many), "{A=b;");
    strcpy(many + n, "A: b\r\n\r\n\r\n--b--");
    check(&s, many, strlen(many), " [] refused -10003 413 at 101: a part has too many fields");
    strcpy(many, "--b");
    memset(many + 3, ' ', 64);
    strcpy(many + 67, "\r\n\r\n\r\n--b--");
    check(&s, many, strlen(many), "{}[] end");
    strcpy(many + 67, " \r\n\r\n\r\n--b--");
    check(&s, many, strlen(many), " [] refused -10004 400 at 67");
}

static void test_boundary(void **state)
{
    static const struct {
        const char *type;
        const char *boundary; /* NULL: none */
        bool form;
    } cases[] = {
        {"multipart/form-data; boundary=abc", "abc", true},
        {"Multipart/Form-Data; charset=utf-8; Boundary=\"a b\"", "a b", true},
        {"multipart/byteranges; boundary=\"a\\b\"", "ab", false},
        {"multipart/form-data", NULL, false},
        {"text/plain; boundary=abc", NULL, false},
        {"multipart/form-data; boundary=\"\"", NULL, false},
        {"multipart/form-data; boundary=\"a \"", NULL, false},
        {"multipart/form-data; boundary=\"a;\"", NULL, false},
        {"multipart/form-data; boundary=a;x", NULL, false},
        {"multipart/form-data; boundary="
         "0123456789012345678901234567890123456789012345678901234567890123456789",
         "0123456789012345678901234567890123456789012345678901234567890123456789", true},
        {"multipart/form-data; boundary="
         "01234567890123456789012345678901234567890123456789012345678901234567890",
         NULL, false},
    };
    struct weft__multipart m;
    (void)state;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(cases); i++) {
        char buf[WEFT__MULTIPART_BOUNDARY];
        size_t len;
        bool is_form;
        bool found = weft__multipart_boundary(weft__slice_text(cases[i].type), &is_form, buf, &len);
        if (found != (cases[i].boundary != NULL))
            fail_msg("%s", cases[i].type);
        if (!found)
            continue;
        assert_true(weft__slice_is(weft__slice_of(buf, len), cases[i].boundary));
        assert_int_equal(is_form, cases[i].form);
        assert_int_equal(weft__multipart_init(&m, weft__slice_of(buf, len), is_form, NULL), 0);
    }
    assert_int_equal(weft__multipart_init(&m, weft__slice_text(""), true, NULL), -EINVAL);
    assert_int_equal(weft__multipart_init(&m, weft__slice_text("a\r\n"), true, NULL), -EINVAL);
    assert_int_equal(weft__multipart_init(&m, weft__slice_of("a\0", 2), true, NULL), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_form),     cmocka_unit_test(test_mixed),
        cmocka_unit_test(test_refused),  cmocka_unit_test(test_limits),
        cmocka_unit_test(test_boundary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
