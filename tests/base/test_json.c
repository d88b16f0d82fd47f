/* The JSON writer: commas, escapes, number forms. */
#include "support.h"

#include <math.h>
#include <string.h>

static void assert_text(struct buf *b, const char *want) {
    assert_int_equal(b->status, SOTTO_OK);
    buf_put_u8(b, 0);
    assert_string_equal((const char *)b->data, want);
    buf_reset(b);
}

static void structure(void **state) {
    (void)state;
    struct buf b;
    struct json j;
    buf_init(&b, 1000);
    json_init(&j, &b);
    json_object_begin(&j);
    json_put_str(&j, "a", "x");
    json_key(&j, "list");
    json_array_begin(&j);
    json_u64(&j, UINT64_MAX);
    json_i64(&j, INT64_MIN);
    json_object_begin(&j);
    json_object_end(&j);
    json_array_begin(&j);
    json_array_end(&j);
    json_null(&j);
    json_array_end(&j);
    json_put_bool(&j, "t", true);
    json_put_u64(&j, "n", 0);
    json_key(&j, "h");
    json_hex(&j, (const uint8_t *)"\x01\xfe", 2);
    json_put_f64(&j, "f", -0.25);
    json_object_end(&j);
    assert_text(&b, "{\"a\":\"x\",\"list\":[18446744073709551615,-9223372036854775808,{},[],null],"
                    "\"t\":true,\"n\":0,\"h\":\"01fe\",\"f\":-0.25}");
    buf_deinit(&b);
}

static void escapes(void **state) {
    (void)state;
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"", "\"\""},
        {"\"\\/", "\"\\\"\\\\/\""},
        {"\b\f\n\r\t\x01\x1f\x7f", "\"\\u0008\\u000c\\n\\r\\t\\u0001\\u001f\\u007f\""},
        {"gr\xc3\xbc\xc3\x9f \xf0\x9f\x98\x80", "\"gr\xc3\xbc\xc3\x9f \xf0\x9f\x98\x80\""},
        {"\xe2\x80\xa8", "\"\\u2028\""},
        {"a\xff"
         "b",
         "\"a\\ufffdb\""},
        {"\xc3", "\"\\ufffd\""},
        {"\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\""},
    };
    struct buf b;
    struct json j;
    buf_init(&b, 1000);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        json_init(&j, &b);
        json_str(&j, cases[i].in);
        assert_text(&b, cases[i].out);
    }
    json_init(&j, &b);
    json_str(&j, NULL);
    assert_text(&b, "null");
    buf_deinit(&b);
}

static void numbers(void **state) {
    (void)state;
    static const struct {
        double v;
        const char *text;
    } cases[] = {{0, "0"},          {0.1, "0.1"},
                 {1e300, "1e+300"}, {1.0 / 3, "0.3333333333333333"},
                 {NAN, "null"},     {INFINITY, "null"}};
    struct buf b;
    struct json j;
    buf_init(&b, 1000);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        json_init(&j, &b);
        json_f64(&j, cases[i].v);
        assert_text(&b, cases[i].text);
    }
    buf_deinit(&b);
}

static void full_buffer_is_noticed(void **state) {
    (void)state;
    struct buf b;
    struct json j;
    buf_init(&b, 5);
    json_init(&j, &b);
    json_str(&j, "too long");
    assert_int_equal(b.status, SOTTO_LIMIT);
    buf_deinit(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(structure),
        cmocka_unit_test(escapes),
        cmocka_unit_test(numbers),
        cmocka_unit_test(full_buffer_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
