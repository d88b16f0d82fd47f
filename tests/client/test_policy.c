/* The policy file: every key, errors with file and line, and what is printed reads back the same.
 */
#include "lib/client_int.h"
#include "support.h"

#include <string.h>

static enum sotto_status parse(const char *text, struct client_policy *p, struct sotto_error *err) {
    return client_policy_parse("limits", view_of(text, strlen(text)), p, err);
}

static void test_all_keys(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct client_policy p, back;
    struct buf text;
    ASSERT_OK(parse(
        "# limits of my phone\n"
        "bytes_per_day 50MiB\n  rounds_per_day\t4  \r\n\n"
        "arena_bytes 64MiB\nflops_per_round 1e12\ntrain_ms 60000\n"
        "charging yes\nidle no\nunmetered on\nbattery_percent 40\n"
        "secure_aggregation preferred\nminimum_group 20\nrounds_between_min 5\nminimum_noise 0.5\n"
        "allowed_key 0101010101010101010101010101010101010101010101010101010101010101\n"
        "checkin_min_ms 50\nexamples_bytes 1GiB\nexamples_age 30d\nbackend cpu",
        &p, &err));
    assert_int_equal(p.session.bytes_per_day_max, 50u << 20);
    assert_int_equal(p.session.rounds_per_day_max, 4);
    assert_int_equal(p.session.arena_bytes_max, 64u << 20);
    assert_true(p.session.flops_per_round_max == 1e12);
    assert_int_equal(p.session.train_ms_max, 60000);
    assert_true(p.session.need_charging && !p.session.need_idle && p.session.need_unmetered);
    assert_int_equal(p.session.battery_percent_min, 40);
    assert_int_equal(p.session.secure_aggregation, SESSION_SECAGG_PREFERRED);
    assert_int_equal(p.session.minimum_group, 20);
    assert_int_equal(p.session.rounds_between_min, 5);
    assert_true(p.session.minimum_noise == 0.5f);
    assert_int_equal(p.session.allowed_key_count, 1);
    assert_int_equal(p.session.allowed_keys[0][31], 1);
    assert_int_equal(p.session.checkin_min_ms, 50);
    assert_int_equal(p.examples_bytes_max, 1u << 30);
    assert_string_equal(p.backend, "cpu");
    assert_int_equal(p.examples_age_max_ms, 30ll * 86400000);
    buf_init(&text, 1u << 16);
    client_policy_print(&p, &text);
    ASSERT_OK(client_policy_parse("printed", buf_view(&text), &back, &err));
    assert_memory_equal(&p, &back, sizeof p);
    buf_deinit(&text);
}

static void test_errors(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct client_policy p;
    ASSERT_FAILS(parse("charging yes\nbytes_per_dya 3\n", &p, &err), SOTTO_CONFIG, "limits:2");
    ASSERT_FAILS(parse("bytes_per_day 10x\n", &p, &err), SOTTO_CONFIG, "limits:1: bytes_per_day");
    ASSERT_FAILS(parse("battery_percent 101", &p, &err), SOTTO_CONFIG, "battery_percent");
    ASSERT_FAILS(parse("rounds_per_day", &p, &err), SOTTO_CONFIG, "needs a value");
    ASSERT_FAILS(parse("secure_aggregation maybe", &p, &err), SOTTO_CONFIG, "preferred");
    ASSERT_FAILS(parse("allowed_key 0102", &p, &err), SOTTO_CONFIG, "allowed_key");
    ASSERT_FAILS(parse("backend abacus", &p, &err), SOTTO_CONFIG, "abacus");
    ASSERT_OK(parse("backend auto", &p, &err));
    ASSERT_FAILS(parse("examples_age 30", &p, &err), SOTTO_CONFIG, "examples_age");
    ASSERT_FAILS(client_policy_parse("limits", view_of("idle\0yes", 8), &p, &err), SOTTO_CONFIG,
                 "not text");
    ASSERT_STATUS(client_policy_read(test_path("nowhere"), &p, &err), SOTTO_NOT_FOUND);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_keys),
        cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
