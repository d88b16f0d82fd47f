/* The same experiment over the real transport, daemon and client library: the same digest and the
 * same bytes. */
#include "sim_fixture.h"
#include "wire.h"

static enum sotto_status run_wired(struct fixture *f, const char *const *sets, size_t n,
                                   struct sotto_error *err) {
    struct experiment x;
    struct buf package;
    const struct sim_config config = {
        .workers = 2, .temp_dir = test_tmpdir(), .on_round = fixture_on_round, .ctx = f};
    memset(f, 0, sizeof *f);
    buf_init(&package, PACKAGE_BYTES_MAX);
    log_setup(LOG_ERROR, LOG_TEXT);
    enum sotto_status status = experiment_open(
        &x, NULL, view_of(FIXTURE_YAML, sizeof FIXTURE_YAML - 1), NULL, sets, n, err);
    if (status == SOTTO_OK)
        status = wire_run(&x, &config, &f->totals, &package, err);
    if (status == SOTTO_OK)
        assert_true(package.len > 1000);
    buf_deinit(&package);
    experiment_deinit(&x);
    return status;
}

static void test_same_as_virtual(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct fixture virtual, wired;
    const char *const sets[] = {"clients=5", "cohort=3", "rounds=3", NULL};
    ASSERT_OK(fixture_run(&virtual, 2, sets, &err));
    ASSERT_OK(run_wired(&wired, sets, 3, &err));
    assert_memory_equal(virtual.totals.digest.b, wired.totals.digest.b, WIRE_HASH);
    assert_memory_equal(virtual.totals.package_hash.b, wired.totals.package_hash.b, WIRE_HASH);
    assert_int_equal(virtual.totals.bytes_up, wired.totals.bytes_up);
    assert_int_equal(virtual.totals.bytes_down, wired.totals.bytes_down);
    assert_int_equal(wired.count, 3);
    for (uint32_t i = 0; i < wired.count; i++) {
        assert_true(virtual.rounds[i].test_accuracy == wired.rounds[i].test_accuracy);
        assert_int_equal(virtual.rounds[i].bytes_up, wired.rounds[i].bytes_up);
    }
}

/* Strategies with a half of their own on the devices: what they keep between rounds comes from a
 * store here, from a file of slots there. */
static void test_local_rules(void **state) {
    (void)state;
    static const char *const strategies[] = {"server.strategy=fednova", "server.strategy=scaffold"};
    static const char *const feedback[] = {"uplink.error_feedback=true",
                                           "uplink.error_feedback=false"};
    for (size_t i = 0; i < ARRAY_LEN(strategies); i++)
        for (size_t k = 0; k < ARRAY_LEN(feedback); k++) {
            struct sotto_error err = SOTTO_ERROR_INIT;
            struct fixture virtual, wired;
            const char *const sets[] = {
                "clients=4",   "cohort=3",  "rounds=4", "local.momentum=0.5",
                strategies[i], feedback[k], NULL};
            ASSERT_OK(fixture_run(&virtual, 2, sets, &err));
            ASSERT_OK(run_wired(&wired, sets, ARRAY_LEN(sets) - 1, &err));
            assert_memory_equal(virtual.totals.digest.b, wired.totals.digest.b, WIRE_HASH);
            assert_int_equal(virtual.totals.bytes_up, wired.totals.bytes_up);
            assert_int_equal(virtual.totals.bytes_down, wired.totals.bytes_down);
        }
}

static void test_refused(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct fixture f;
    ASSERT_FAILS(run_wired(&f, SETS("clients=33"), 1, &err), SOTTO_CONFIG, "at most 32");
    ASSERT_FAILS(run_wired(&f, SETS("fleet.speed=3"), 1, &err), SOTTO_CONFIG, "fleet");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_as_virtual),
        cmocka_unit_test(test_local_rules),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
