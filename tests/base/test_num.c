/* The strict parsers by tables of what they accept and refuse, and the formatters. */
#include "support.h"

#include <math.h>
#include <string.h>

static void whole_numbers(void **state) {
    (void)state;
    static const char *const refused[] = {"",    " 1", "1 ",  "+1",  "-1",  "01", "00",  "0x10",
                                          "1e3", "1.", "1.0", "10x", "1_0", "١",  "nan", "٣"};
    struct sotto_error err = SOTTO_ERROR_INIT;
    uint64_t v = 77;
    for (size_t i = 0; i < ARRAY_LEN(refused); i++)
        ASSERT_FAILS(num_parse_u64(refused[i], 0, UINT64_MAX, &v, &err), SOTTO_INVALID,
                     "is not a whole number; allowed: 0 to 18446744073709551615");
    assert_int_equal(v, 77); /* untouched by a failure */
    ASSERT_OK(num_parse_u64("0", 0, 0, &v, &err));
    assert_int_equal(v, 0);
    ASSERT_OK(num_parse_u64("18446744073709551615", 0, UINT64_MAX, &v, &err));
    assert_true(v == UINT64_MAX);
    ASSERT_FAILS(num_parse_u64("18446744073709551616", 0, UINT64_MAX, &v, &err), SOTTO_INVALID,
                 "'18446744073709551616' is out of range");
    ASSERT_FAILS(num_parse_u64("11", 1, 10, &v, &err), SOTTO_INVALID,
                 "'11' is out of range; allowed: 1 to 10");
    ASSERT_FAILS(num_parse_u64("0", 1, 10, &v, &err), SOTTO_INVALID, "out of range");
    ASSERT_STATUS(num_parse_u64("x", 0, 1, &v, NULL), SOTTO_INVALID);
}

static void signed_numbers(void **state) {
    (void)state;
    static const char *const refused[] = {"", "-", "--1", "+1", "-0", "-01", "- 1", "1-"};
    struct sotto_error err = SOTTO_ERROR_INIT;
    int64_t v = 0;
    for (size_t i = 0; i < ARRAY_LEN(refused); i++)
        ASSERT_FAILS(num_parse_i64(refused[i], INT64_MIN, INT64_MAX, &v, &err), SOTTO_INVALID,
                     "is not a whole number");
    ASSERT_OK(num_parse_i64("-9223372036854775808", INT64_MIN, INT64_MAX, &v, &err));
    assert_true(v == INT64_MIN);
    ASSERT_OK(num_parse_i64("9223372036854775807", INT64_MIN, INT64_MAX, &v, &err));
    assert_true(v == INT64_MAX);
    ASSERT_FAILS(num_parse_i64("9223372036854775808", INT64_MIN, INT64_MAX, &v, &err),
                 SOTTO_INVALID, "out of range");
    ASSERT_FAILS(num_parse_i64("-9223372036854775809", INT64_MIN, INT64_MAX, &v, &err),
                 SOTTO_INVALID, "out of range");
    ASSERT_FAILS(num_parse_i64("-3", -2, 2, &v, &err), SOTTO_INVALID,
                 "'-3' is out of range; allowed: -2 to 2");
}

static void decimals(void **state) {
    (void)state;
    static const struct {
        const char *text;
        double value;
    } good[] = {{"0", 0},         {"-0", 0},          {"1", 1},       {"0.5", 0.5},
                {"-2.25", -2.25}, {"1e3", 1000},      {"1E+3", 1000}, {"2.5e-1", 0.25},
                {"0e99", 0},      {"5e-324", 5e-324}, {"0.1", 0.1},   {"0.000", 0}};
    static const char *const refused[] = {
        "",   ".",  ".5", "5.",   "1e",  "1e+",   "nan",  "inf", "-inf", "0x1", "1,5",  "1 ",
        " 1", "+1", "1f", "01.5", "--1", "1.5.2", "1e5x", "NaN", "1_0",  "abc", "1e1.5"};
    struct sotto_error err = SOTTO_ERROR_INIT;
    double v = 7;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        ASSERT_OK(num_parse_f64(good[i].text, -1e6, 1e6, &v, &err));
        assert_true(v == good[i].value);
    }
    for (size_t i = 0; i < ARRAY_LEN(refused); i++)
        ASSERT_FAILS(num_parse_f64(refused[i], 0, 10, &v, &err), SOTTO_INVALID,
                     "is not a number; allowed: 0 to 10");
    ASSERT_FAILS(num_parse_f64("1e999", -INFINITY, INFINITY, &v, &err), SOTTO_INVALID,
                 "'1e999' is out of range");
    ASSERT_FAILS(num_parse_f64("1e-999", 0, 1, &v, &err), SOTTO_INVALID, "out of range");
    ASSERT_FAILS(num_parse_f64("10.5", 0, 10, &v, &err), SOTTO_INVALID,
                 "'10.5' is out of range; allowed: 0 to 10");
}

static void refused_text_is_escaped_and_cut(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    double v;
    char text[400];
    memset(text, 'y', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    ASSERT_FAILS(num_parse_f64("a\nb\x1b", 0, 1, &v, &err), SOTTO_INVALID, "'a\\x0ab\\x1b' is");
    ASSERT_FAILS(num_parse_f64(text, 0, 1, &v, &err), SOTTO_INVALID, "allowed: 0 to 1");
    memset(text, '\n', sizeof text - 1);
    ASSERT_FAILS(num_parse_f64(text, 0, 1, &v, &err), SOTTO_INVALID, "allowed: 0 to 1");
}

static void sizes(void **state) {
    (void)state;
    static const struct {
        const char *text;
        uint64_t value;
    } good[] = {{"0", 0},
                {"512", 512},
                {"512B", 512},
                {"64KiB", 65536},
                {"10MiB", 10485760},
                {"2GiB", 1ull << 31},
                {"1TiB", 1ull << 40},
                {"5kB", 5000},
                {"5MB", 5000000},
                {"1GB", 1000000000}};
    static const char *const refused[] = {"",    "MiB",  "1 MiB", "1.5MiB", "1K",
                                          "1KB", "1mib", "-1",    "01",     "1MiBs"};
    struct sotto_error err = SOTTO_ERROR_INIT;
    uint64_t v;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        ASSERT_OK(num_parse_size(good[i].text, UINT64_MAX, &v, &err));
        assert_true(v == good[i].value);
    }
    for (size_t i = 0; i < ARRAY_LEN(refused); i++)
        ASSERT_FAILS(num_parse_size(refused[i], 1 << 20, &v, &err), SOTTO_INVALID,
                     "is not a size such as 512, 64KiB or 10MB; allowed: 0 to 1 MiB");
    ASSERT_FAILS(num_parse_size("2MiB", 1 << 20, &v, &err), SOTTO_INVALID,
                 "'2MiB' is too large; allowed: 0 to 1 MiB");
    ASSERT_FAILS(num_parse_size("18446744073709551615TiB", UINT64_MAX, &v, &err), SOTTO_INVALID,
                 "too large");
    ASSERT_FAILS(num_parse_size("99999999999999999999", UINT64_MAX, &v, &err), SOTTO_INVALID,
                 "too large");
}

static void durations(void **state) {
    (void)state;
    static const struct {
        const char *text;
        uint64_t value;
    } good[] = {{"0s", 0},      {"250ms", 250},  {"5s", 5000},
                {"2m", 120000}, {"1h", 3600000}, {"7d", 604800000}};
    static const char *const refused[] = {"",     "5",  "0",    "s",     "5 s",
                                          "1.5s", "5S", "5sec", "1h30m", "-1s"};
    struct sotto_error err = SOTTO_ERROR_INIT;
    uint64_t v;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        ASSERT_OK(num_parse_duration_ms(good[i].text, UINT64_MAX, &v, &err));
        assert_true(v == good[i].value);
    }
    for (size_t i = 0; i < ARRAY_LEN(refused); i++)
        ASSERT_FAILS(num_parse_duration_ms(refused[i], 60000, &v, &err), SOTTO_INVALID,
                     "is not a duration such as 250ms, 5s or 2h; allowed: 0 to 1 m 00 s");
    ASSERT_FAILS(num_parse_duration_ms("2m", 60000, &v, &err), SOTTO_INVALID, "'2m' is too long");
}

static void switches(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    bool v = false;
    ASSERT_OK(num_parse_bool("yes", &v, &err));
    assert_true(v);
    ASSERT_OK(num_parse_bool("off", &v, &err));
    assert_false(v);
    ASSERT_FAILS(num_parse_bool("True", &v, &err), SOTTO_INVALID, "'True' is not a switch");
    ASSERT_FAILS(num_parse_bool("1", &v, &err), SOTTO_INVALID, "not a switch");
}

static void hex(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    uint8_t v[3];
    char text[7];
    ASSERT_OK(num_parse_hex("00aBfF", v, 3, &err));
    assert_string_equal(num_format_hex(text, v, 3), "00abff");
    ASSERT_FAILS(num_parse_hex("00aBf", v, 3, &err), SOTTO_INVALID, "hex digit 6 is missing");
    ASSERT_FAILS(num_parse_hex("00aBfF0", v, 3, &err), SOTTO_INVALID, "more than 6");
    ASSERT_FAILS(num_parse_hex("g0aBfF", v, 3, &err), SOTTO_INVALID, "hex digit 1");
    ASSERT_FAILS(num_parse_hex("", v, 3, &err), SOTTO_INVALID, "hex digit 1");
}

static void formats_for_people(void **state) {
    (void)state;
    static const struct {
        uint64_t bytes;
        const char *text;
    } size[] = {{0, "0 B"},           {812, "812 B"},     {1023, "1023 B"},      {1024, "1 KiB"},
                {6606029, "6.3 MiB"}, {1048575, "1 MiB"}, {UINT64_MAX, "16 EiB"}};
    static const struct {
        uint64_t ms;
        const char *text;
    } duration[] = {{250, "250 ms"},      {1400, "1.4 s"},       {5000, "5 s"},
                    {125000, "2 m 05 s"}, {3900000, "1 h 05 m"}, {90000000, "1 d 01 h"}};
    char out[32];
    for (size_t i = 0; i < ARRAY_LEN(size); i++)
        assert_string_equal(num_format_size(out, sizeof out, size[i].bytes), size[i].text);
    for (size_t i = 0; i < ARRAY_LEN(duration); i++)
        assert_string_equal(num_format_duration(out, sizeof out, duration[i].ms), duration[i].text);
}

static void floats_read_back(void **state) {
    (void)state;
    struct rng rng;
    struct sotto_error err = SOTTO_ERROR_INIT;
    rng_init(&rng, test_seed(), 0, 0, RNG_GENERATE);
    for (int i = 0; i < 2000; i++) {
        const double half = rng_f64(&rng) - 0.5;
        const double x = ldexp(half, (int)rng_below(&rng, 600) - 300);
        char text[32];
        double back = 0;
        num_format_f64(text, sizeof text, x);
        ASSERT_OK(num_parse_f64(text, -INFINITY, INFINITY, &back, &err));
        assert_true(back == x);
    }
    char text[32];
    assert_string_equal(num_format_f64(text, sizeof text, 0.1), "0.1");
}

static void checked_arithmetic(void **state) {
    (void)state;
    size_t s = 5;
    uint64_t u = 5;
    assert_true(num_add_size(1, 2, &s) && s == 3);
    assert_false(num_add_size(SIZE_MAX, 1, &s) || s != 3);
    assert_true(num_mul_size(4, 2, &s) && s == 8);
    assert_false(num_mul_size(SIZE_MAX / 2, 3, &s) || s != 8);
    assert_true(num_mul_u64(1u << 31, 4, &u) && u == 1ull << 33);
    assert_false(num_add_u64(UINT64_MAX, 1, &u) || u != 1ull << 33);
    assert_false(num_mul_u64(UINT64_MAX, 2, &u) || u != 1ull << 33);
    assert_int_equal(num_round_up(65, 64), 128);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_numbers),
        cmocka_unit_test(signed_numbers),
        cmocka_unit_test(decimals),
        cmocka_unit_test(refused_text_is_escaped_and_cut),
        cmocka_unit_test(sizes),
        cmocka_unit_test(durations),
        cmocka_unit_test(switches),
        cmocka_unit_test(hex),
        cmocka_unit_test(formats_for_people),
        cmocka_unit_test(floats_read_back),
        cmocka_unit_test(checked_arithmetic),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
