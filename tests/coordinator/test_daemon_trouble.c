/* Faults of the coordinator's own memory and disk while it checks reports: they reject nobody, lose
 * no mass, and never leave a sum that lacks a counted report. */
#include "daemon/daemon_int.h"
#include "daemon_world.h"

#include <stdio.h>
#include <string.h>

static struct world w;

/* ---- report_add, failing as ordered
 * ----------------------------------------------------------------------------------------- */
static _Atomic uint64_t fail_serial;
static _Atomic int fail_status, fail_times, spare_times;
static _Atomic bool fail_torn;

enum sotto_status __real_report_add(struct group_sums *g, const struct report_keys *keys,
                                    uint64_t serial, struct view report, bool *torn,
                                    struct sotto_error *err);
enum sotto_status __wrap_report_add(struct group_sums *g, const struct report_keys *keys,
                                    uint64_t serial, struct view report, bool *torn,
                                    struct sotto_error *err);
enum sotto_status __wrap_report_add(struct group_sums *g, const struct report_keys *keys,
                                    uint64_t serial, struct view report, bool *torn,
                                    struct sotto_error *err) {
    if (serial != fail_serial || fail_times == 0)
        return __real_report_add(g, keys, serial, report, torn, err);
    if (spare_times > 0) {
        spare_times--;
        return __real_report_add(g, keys, serial, report, torn, err);
    }
    fail_times--;
    if (fail_torn)
        (void)__real_report_add(g, keys, serial, report, torn, NULL);
    *torn = fail_torn;
    return SOTTO_FAIL(err, (enum sotto_status)fail_status, "as ordered");
}

static void order(uint64_t serial, enum sotto_status status, int times, int spare, bool torn) {
    fail_serial = serial;
    fail_status = (int)status;
    spare_times = spare;
    fail_torn = torn;
    fail_times = times;
}

/* ---- Rounds
 * ----------------------------------------------------------------------------------------------------------------
 */
static uint64_t number_after(const char *json, const char *key) {
    unsigned long long v = 0;
    const char *p = strstr(json, key);
    assert_non_null(p);
    assert_int_equal(sscanf(p + strlen(key), "%llu", &v), 1);
    return v;
}

static void digest_now(char out[65]) {
    const char *p = strstr(world_json(&w, "models-show", "t", "current"), "\"digest\":\"");
    assert_non_null(p);
    snprintf(out, 65, "%.64s", p + 10);
}

static void begin(const char *name, uint32_t devices) {
    world_init(&w, name);
    world_start(&w);
    for (uint32_t i = 0; i < devices; i++)
        world_enrolled(&w);
    world_task(&w, "t", devices, "cohort_min: 1\nrounds: 1\n");
    for (uint32_t i = 0; i < devices; i++)
        device_plan(&w.devices[i]);
    device_fetch(&w.devices[0]);
}

static void report(uint32_t i) {
    sotto_ReportAck ack;
    enum sotto_status status = SOTTO_OK;
    device_seal(&w.devices[i], NULL);
    assert_true(device_upload(&w.devices[i], &ack, &status));
    assert_int_equal(ack.status, SOTTO_OK);
}

/* Turns until the check of a report waits for better times. */
static void await_waiting(struct task_host *t) {
    const uint64_t end = clock_mono_ms() + WORLD_PATIENCE;
    while (t->check_again_ms == 0) {
        world_turn(&w);
        assert_true(clock_mono_ms() < end);
    }
}

/* A round of three in which the second's addition fails so often at first. */
static void round_with(const char *name, enum sotto_status what, int times, bool torn,
                       char digest[65]) {
    begin(name, 3);
    struct task_host *t = w.c->tasks[0];
    order(w.devices[1].serial, what, times, 0, torn);
    report(0);
    report(1);
    if (times > 4) { /* the attempts that follow at once */
        await_waiting(t);
        t->check_again_ms = 1;
    }
    report(2);
    world_await_version(&w, "t", 2);
    const char *round = world_json(&w, "rounds-show", "t", "1");
    assert_int_equal(number_after(round, "\"counted\":"), 3);
    assert_int_equal(number_after(round, "\"rejected\":"), 0);
    assert_int_equal(w.c->rejected, 0);
    digest_now(digest);
    order(0, SOTTO_OK, 0, 0, false);
    world_deinit(&w);
}

static void our_faults_reject_nobody(void **state) {
    (void)state;
    char plain[65], again[65];
    round_with("plain", SOTTO_OK, 0, false, plain);
    round_with("nomem", SOTTO_NOMEM, 3, false, again);
    assert_string_equal(plain, again);
    round_with("io", SOTTO_IO, 7, false, again);
    assert_string_equal(plain, again);
    round_with("torn", SOTTO_NOMEM, 1, true, again);
    assert_string_equal(plain, again);
}

static enum sotto_status damage(void *ctx, const char *name) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    char path[IO_PATH_MAX];
    struct buf b;
    if (!strstr(name, ".report"))
        return SOTTO_OK;
    ASSERT_OK(io_join(path, sizeof path, ctx, name, &err));
    buf_init(&b, 1u << 20);
    ASSERT_OK(io_read_file(path, 1u << 20, &b, &err));
    b.data[b.len / 2] ^= 1;
    ASSERT_OK(io_write_file(path, b.data, b.len, 0600, false, &err));
    buf_deinit(&b);
    return SOTTO_OK;
}

static enum sotto_status vanish(void *ctx, const char *name) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    char path[IO_PATH_MAX];
    if (!strstr(name, ".report"))
        return SOTTO_OK;
    ASSERT_OK(io_join(path, sizeof path, ctx, name, &err));
    return io_remove(path, NULL);
}

/* An acknowledged report that our disk has lost is returned, not rejected. */
static void lost_reports_are_returned(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    enum sotto_status (*const ways[])(void *, const char *) = {damage, vanish};
    for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
        char dir[IO_PATH_MAX];
        begin(i == 0 ? "damaged" : "vanished", 2);
        struct task_host *t = w.c->tasks[0];
        const struct wire_hash terms = w.devices[0].terms_hash;
        order(w.devices[1].serial, SOTTO_IO, 5, 0, false);
        report(1);
        await_waiting(t);
        ASSERT_OK(upload_dir(w.c, &terms, dir, sizeof dir, &err));
        ASSERT_OK(io_list(dir, ways[i], dir, &err));
        t->check_again_ms = 1;
        report(0);
        world_await_version(&w, "t", 2);
        assert_int_equal(w.c->rejected, 0);
        assert_int_equal(number_after(world_json(&w, "rounds-show", "t", "1"), "\"counted\":"), 1);
        assert_int_equal(device_outcome(&w.devices[1], &terms), sotto_Outcome_OUTCOME_RETURNED);
        assert_int_equal(device_outcome(&w.devices[0], &terms), sotto_Outcome_OUTCOME_KEPT);
        order(0, SOTTO_OK, 0, 0, false);
        world_deinit(&w);
    }
}

/* The first report is counted; the second's torn addition throws the sums away, and the first
 * cannot be added again: nothing of the group may be used. */
static void spoiled_sums_are_not_used(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    begin("spoiled", 2);
    const struct wire_hash terms = w.devices[0].terms_hash;
    struct task_host *t = w.c->tasks[0];
    const uint64_t end = clock_mono_ms() + WORLD_PATIENCE;
    report(0);
    uint32_t groups = 0;
    while (round_groups(t->engine, &groups)[0].checked == 0) {
        world_turn(&w);
        assert_true(clock_mono_ms() < end);
    }
    t->groups[0].generation++; /* as a torn addition does, with the sums cleared */
    accumulator_clear(&t->groups[0].sums.sums);
    order(w.devices[0].serial, SOTTO_CORRUPT, 1, 0, false);
    ASSERT_OK(work_check(t, w.devices[0].serial, 0, false, &err));
    report(1);
    world_await(&w, "rounds-list", "t", "no group reached its minimum");
    assert_int_equal(device_outcome(&w.devices[0], &terms), sotto_Outcome_OUTCOME_RETURNED);
    assert_int_equal(device_outcome(&w.devices[1], &terms), sotto_Outcome_OUTCOME_RETURNED);
    order(0, SOTTO_OK, 0, 0, false);
    world_deinit(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(our_faults_reject_nobody),
        cmocka_unit_test(lost_reports_are_returned),
        cmocka_unit_test(spoiled_sums_are_not_used),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
