/* The buffer's limit and sticky error, and the reader against every way to run off the end. */
#include "support.h"

#include <math.h>
#include <string.h>

static void values_are_little_endian(void **state) {
    (void)state;
    struct buf b;
    buf_init(&b, 64);
    buf_put_u8(&b, 1);
    buf_put_u16(&b, 0x0302);
    buf_put_u32(&b, 0x07060504);
    buf_put_u64(&b, 0x0f0e0d0c0b0a0908);
    assert_int_equal(b.len, 15);
    for (uint8_t i = 0; i < 15; i++)
        assert_int_equal(b.data[i], i + 1);
    buf_deinit(&b);
}

static void round_trip(void **state) {
    (void)state;
    struct buf b;
    struct reader r;
    struct sotto_error err = SOTTO_ERROR_INIT;
    char text[32];
    buf_init(&b, 4096);
    buf_put_f32(&b, -1.5f);
    buf_put_f64(&b, 0.1);
    buf_put_varint(&b, 0);
    buf_put_varint(&b, 300);
    buf_put_varint(&b, UINT64_MAX);
    buf_put_str(&b, "héllo");
    buf_put(&b, "xyz", 3);
    buf_put(&b, NULL, 0);
    reader_init(&r, buf_view(&b));
    assert_true(reader_f32(&r, "a") == -1.5f);
    assert_true(reader_f64(&r, "b") == 0.1);
    assert_int_equal(reader_varint(&r, 0, "c"), 0);
    assert_int_equal(reader_varint(&r, 300, "d"), 300);
    assert_true(reader_varint(&r, UINT64_MAX, "e") == UINT64_MAX);
    reader_str(&r, text, sizeof text, "f");
    assert_string_equal(text, "héllo");
    assert_int_equal(reader_left(&r), 3);
    assert_memory_equal(reader_bytes(&r, 3, "g").p, "xyz", 3);
    ASSERT_OK(reader_finish(&r, true, "thing", &err));
    buf_deinit(&b);
}

static void limit_is_sticky_until_reset(void **state) {
    (void)state;
    struct buf b;
    buf_init(&b, 10);
    buf_put(&b, "0123456789", 10);
    assert_int_equal(b.status, SOTTO_OK);
    buf_put_u8(&b, 1);
    assert_int_equal(b.status, SOTTO_LIMIT);
    assert_null(buf_grow(&b, 0));
    buf_printf(&b, "x");
    assert_int_equal(b.len, 10);
    buf_reset(&b);
    buf_put_u8(&b, 1);
    assert_int_equal(b.status, SOTTO_OK);
    assert_null(buf_grow(&b, SIZE_MAX));
    assert_int_equal(b.status, SOTTO_LIMIT);
    buf_deinit(&b);
}

static void out_of_memory_is_sticky(void **state) {
    (void)state;
    struct buf b;
    buf_init(&b, 1000);
    test_fail_alloc_after(0);
    buf_put_u8(&b, 1);
    buf_put_u8(&b, 1);
    test_fail_alloc_off();
    assert_int_equal(b.status, SOTTO_NOMEM);
    assert_int_equal(b.len, 0);
    buf_deinit(&b);
}

static void printf_of_any_length(void **state) {
    (void)state;
    struct buf b;
    char text[1000];
    memset(text, 'q', sizeof text);
    for (size_t n = 250; n < 262; n++) {
        buf_init(&b, n);
        buf_printf(&b, "%.*s", (int)n, text);
        assert_int_equal(b.status, SOTTO_OK);
        assert_int_equal(b.len, n);
        buf_printf(&b, "%d", 7);
        assert_int_equal(b.status, SOTTO_LIMIT);
        buf_deinit(&b);
    }
}

static void take_hands_over(void **state) {
    (void)state;
    struct buf b;
    size_t n;
    buf_init(&b, 100);
    buf_put(&b, "abc", 3);
    uint8_t *p = buf_take(&b, &n);
    assert_int_equal(n, 3);
    assert_memory_equal(p, "abc", 3);
    assert_null(b.data);
    buf_put(&b, "d", 1);
    assert_int_equal(b.len, 1);
    mem_free(p);
    buf_deinit(&b);
}

static void first_failure_is_kept(void **state) {
    (void)state;
    static const uint8_t bytes[] = {1, 2, 3};
    struct reader r;
    struct sotto_error err = SOTTO_ERROR_INIT;
    reader_init(&r, view_of(bytes, sizeof bytes));
    assert_int_equal(reader_u8(&r, "one"), 1);
    assert_int_equal(reader_u32(&r, "two"), 0);
    assert_int_equal(reader_u8(&r, "three"), 0); /* ignored although a byte is left */
    assert_int_equal(reader_left(&r), 0);
    reader_fail(&r, SOTTO_LIMIT, "four");
    ASSERT_FAILS(reader_finish(&r, true, "offer", &err), SOTTO_CORRUPT,
                 "offer: field two at byte 1: corrupt data");
}

static void trailing_bytes_are_refused_when_asked(void **state) {
    (void)state;
    struct reader r;
    struct sotto_error err = SOTTO_ERROR_INIT;
    reader_init(&r, view_of("ab", 2));
    (void)reader_u8(&r, "a");
    ASSERT_OK(reader_finish(&r, false, "x", &err));
    ASSERT_FAILS(reader_finish(&r, true, "x", &err), SOTTO_CORRUPT,
                 "x: field end at byte 1: 1 bytes too many");
}

static void varints_have_one_form(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        enum sotto_status status;
    } bad[] = {
        {"", 0, SOTTO_CORRUPT},
        {"\x80", 1, SOTTO_CORRUPT},
        {"\x80\x00", 2, SOTTO_CORRUPT}, /* 0 in two bytes */
        {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10, SOTTO_CORRUPT},
        {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11, SOTTO_CORRUPT},
        {"\x65", 1, SOTTO_LIMIT}, /* 101 */
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct reader r;
        reader_init(&r, view_of(bad[i].bytes, bad[i].n));
        assert_int_equal(reader_varint(&r, 100, "v"), 0);
        assert_int_equal(r.status, bad[i].status);
    }
}

static void odd_floats_and_strings_are_refused(void **state) {
    (void)state;
    struct buf b;
    struct reader r;
    char text[8];
    static const char *const bad[] = {"a\x01", "\x7f",     "\xc0\x80", "\xed\xa0\x80",
                                      "\xff",  "\xc2\x85", "\xe2\x82", "\xf4\x90\x80\x80"};
    buf_init(&b, 64);
    buf_put_f32(&b, NAN);
    reader_init(&r, buf_view(&b));
    assert_true(reader_f32(&r, "x") == 0);
    assert_int_equal(r.status, SOTTO_CORRUPT);
    assert_int_equal(r.error_off, 0);
    buf_reset(&b);
    buf_put_f64(&b, -INFINITY);
    reader_init(&r, buf_view(&b));
    assert_true(reader_f64(&r, "x") == 0);
    assert_int_equal(r.status, SOTTO_CORRUPT);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        buf_reset(&b);
        buf_put_str(&b, bad[i]);
        reader_init(&r, buf_view(&b));
        reader_str(&r, text, sizeof text, "s");
        assert_int_equal(r.status, SOTTO_CORRUPT);
        assert_string_equal(text, "");
    }
    buf_reset(&b);
    buf_put_str(&b, "12345678"); /* needs 9 bytes with its terminator */
    reader_init(&r, buf_view(&b));
    reader_str(&r, text, sizeof text, "s");
    assert_int_equal(r.status, SOTTO_LIMIT);
    buf_reset(&b);
    buf_put(&b, "\x02x\0", 3);
    reader_init(&r, buf_view(&b));
    reader_str(&r, text, sizeof text, "s");
    assert_int_equal(r.status, SOTTO_CORRUPT);
    buf_deinit(&b);
}

/* Every prefix of a valid message fails cleanly, and never reads beyond it (ASan watches: the copy
 * is exact). */
static void every_prefix_fails(void **state) {
    (void)state;
    struct buf b;
    buf_init(&b, 256);
    buf_put_u16(&b, 7);
    buf_put_str(&b, "name");
    buf_put_f64(&b, 2.5);
    buf_put_varint(&b, 1000000);
    for (size_t n = 0; n <= b.len; n++) {
        uint8_t *copy = n > 0 ? mem_dup(b.data, n) : NULL;
        struct reader r;
        char name[16];
        reader_init(&r, view_of(copy, n));
        (void)reader_u16(&r, "a");
        reader_str(&r, name, sizeof name, "b");
        (void)reader_f64(&r, "c");
        (void)reader_varint(&r, UINT64_MAX, "d");
        assert_int_equal(reader_finish(&r, true, "m", NULL) == SOTTO_OK, n == b.len);
        mem_free(copy);
    }
    buf_deinit(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_little_endian),
        cmocka_unit_test(round_trip),
        cmocka_unit_test(limit_is_sticky_until_reset),
        cmocka_unit_test(out_of_memory_is_sticky),
        cmocka_unit_test(printf_of_any_length),
        cmocka_unit_test(take_hands_over),
        cmocka_unit_test(first_failure_is_kept),
        cmocka_unit_test(trailing_bytes_are_refused_when_asked),
        cmocka_unit_test(varints_have_one_form),
        cmocka_unit_test(odd_floats_and_strings_are_refused),
        cmocka_unit_test(every_prefix_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
