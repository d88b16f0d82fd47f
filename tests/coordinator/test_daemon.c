/* The daemon with scripted devices: whole rounds, their outcomes, restarts, several tasks. */
#include "daemon_world.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/daemon_int.h"

static struct world w;

static void reports(uint32_t first, uint32_t count) {
    for (uint32_t i = first; i < first + count; i++)
        device_report(&w.devices[i]);
}

static uint64_t number_after(const char *json, const char *key) {
    const char *p = strstr(json, key);
    unsigned long long v = 0;
    assert_non_null(p);
    assert_int_equal(sscanf(p + strlen(key), "%llu", &v), 1);
    return v;
}

static enum sotto_status count_one(void *ctx, const char *file) {
    (void)file;
    ++*(uint32_t *)ctx;
    return SOTTO_OK;
}
static uint32_t files_in(const char *name) {
    char path[IO_PATH_MAX];
    uint32_t count = 0;
    struct sotto_error err = SOTTO_ERROR_INIT;
    ASSERT_OK(io_join(path, sizeof path, w.state, name, &err));
    ASSERT_OK(io_list(path, count_one, &count, &err));
    return count;
}

static void whole_rounds(void **state) {
    (void)state;
    struct wire_hash terms[3];
    world_init(&w, "rounds");
    world_start(&w);
    for (int i = 0; i < 3; i++)
        world_enrolled(&w);
    world_task(&w, "t", 3, "rounds: 2\n");
    reports(0, 3);
    for (int i = 0; i < 3; i++)
        terms[i] = w.devices[i].terms_hash;
    assert_memory_equal(&terms[0], &terms[2], sizeof terms[0]);
    world_await_version(&w, "t", 2);
    for (int i = 0; i < 3; i++)
        assert_int_equal(device_outcome(&w.devices[i], &terms[i]), sotto_Outcome_OUTCOME_KEPT);
    reports(0, 3);
    world_await_version(&w, "t", 3);
    world_await(&w, "task-show", "t", "\"state\":\"finished\"");
    const char *round = world_json(&w, "rounds-show", "t", "2");
    assert_int_equal(number_after(round, "\"counted\":"), 3);
    assert_int_equal(number_after(round, "\"train_examples\":"), 30);
    assert_non_null(strstr(round, "\"state\":\"committed\""));
    /* Nothing is left of what devices sent, nor the keys that opened it. */
    assert_int_equal(files_in("uploads"), 0);
    assert_int_equal(files_in("sums"), 0);
    uint32_t keys = 0;
    struct sotto_error err = SOTTO_ERROR_INIT;
    ASSERT_OK(io_list(w.c->config.round_keys_dir, count_one, &keys, &err));
    assert_int_equal(keys, 0);
    world_deinit(&w);
}

/* The digest of version `version` after the same rounds, undisturbed or with restarts after every
 * report. */
static void digest_of(const char *name, bool restarts, char out[65]) {
    world_init(&w, name);
    world_start(&w);
    for (int i = 0; i < 3; i++)
        world_enrolled(&w);
    world_task(&w, "t", 3, "rounds: 2\nserver: {momentum: 0.9}\n");
    for (uint32_t round = 1; round <= 2; round++) {
        for (uint32_t i = 0; i < 3; i++) {
            device_report(&w.devices[i]);
            if (!restarts)
                continue;
            world_stop(&w);
            world_start(&w);
            for (uint32_t k = 0; k < 3; k++)
                device_connect(&w.devices[k], &w.devices[k].curve);
        }
        world_await_version(&w, "t", round + 1);
    }
    const char *p = strstr(world_json(&w, "models-show", "t", "3"), "\"digest\":\"");
    assert_non_null(p);
    snprintf(out, 65, "%.64s", p + 10);
    world_deinit(&w);
}

static void restarts_change_nothing(void **state) {
    (void)state;
    char plain[65], disturbed[65];
    digest_of("plain", false, plain);
    digest_of("disturbed", true, disturbed);
    assert_string_equal(plain, disturbed);
}

static void surplus_is_returned(void **state) {
    (void)state;
    sotto_ReportAck ack;
    enum sotto_status status = SOTTO_OK;
    world_init(&w, "surplus");
    world_start(&w);
    for (int i = 0; i < 3; i++)
        world_enrolled(&w);
    world_task(&w, "t", 2, "cohort_over_selection: 1.5\nrounds: 1\n");
    for (int i = 0; i < 3; i++) {
        device_plan(&w.devices[i]);
        device_fetch(&w.devices[i]);
        device_seal(&w.devices[i], NULL);
    }
    for (int i = 0; i < 2; i++) {
        assert_true(device_upload(&w.devices[i], &ack, &status));
        assert_int_equal(ack.status, SOTTO_OK);
    }
    assert_true(device_upload(&w.devices[2], &ack, &status));
    assert_int_equal(ack.status, SOTTO_STATE);
    assert_int_equal(ack.outcome, sotto_Outcome_OUTCOME_RETURNED);
    world_await_version(&w, "t", 2);
    assert_int_equal(device_outcome(&w.devices[2], &w.devices[2].terms_hash),
                     sotto_Outcome_OUTCOME_RETURNED);
    assert_int_equal(device_outcome(&w.devices[0], &w.devices[0].terms_hash),
                     sotto_Outcome_OUTCOME_KEPT);
    assert_int_equal(number_after(world_json(&w, "rounds-show", "t", "1"), "\"counted\":"), 2);
    world_deinit(&w);
}

static void decline(struct device *d) {
    static sotto_Envelope m;
    memset(&m, 0, sizeof m);
    m.which_body = sotto_Envelope_decline_tag;
    WIRE_SET_HASH(m.body.decline.terms_hash, &d->terms_hash);
    WIRE_SET_TEXT(m.body.decline.rule, "policy.rounds_per_day");
    device_send(d, &m, view_of(NULL, 0));
    device_recv(d, 0, &m, NULL);
    assert_int_equal(m.which_body, sotto_Envelope_decline_reply_tag);
}

static void a_group_fails_alone(void **state) {
    (void)state;
    world_init(&w, "groups");
    world_start(&w);
    for (int i = 0; i < 4; i++)
        world_enrolled(&w);
    world_task(&w, "t", 4, "groups: 2\nrounds: 1\n");
    device_plan(&w.devices[2]);
    device_plan(&w.devices[3]); /* the second group: its minimum is two */
    decline(&w.devices[3]);
    decline(&w.devices[3]); /* once more says nothing new */
    reports(0, 2);
    world_await_version(&w, "t", 2);
    assert_int_equal(device_outcome(&w.devices[0], &w.devices[0].terms_hash),
                     sotto_Outcome_OUTCOME_KEPT);
    assert_int_equal(device_outcome(&w.devices[2], &w.devices[2].terms_hash),
                     sotto_Outcome_OUTCOME_RETURNED);
    const char *events = world_json(&w, "events", "0", "0");
    const char *first = strstr(events, "device.decline");
    assert_non_null(first);
    assert_null(strstr(first + 1, "device.decline"));
    world_deinit(&w);
}

static void devices_evaluate(void **state) {
    (void)state;
    world_init(&w, "evaluate");
    world_start(&w);
    for (int i = 0; i < 2; i++)
        world_enrolled(&w);
    world_task(&w, "t", 2, "rounds: 1\nevaluate: {every: 1}\n");
    reports(0, 2);
    world_await_version(&w, "t", 2);
    reports(0, 2); /* of the evaluation round that follows */
    assert_int_equal(w.devices[0].terms.kind, sotto_Kind_KIND_EVALUATE);
    world_await(&w, "task-show", "t", "\"state\":\"finished\"");
    const char *round = world_json(&w, "rounds-show", "t", "2");
    assert_non_null(strstr(round, "\"kind\":\"evaluate\""));
    assert_int_equal(number_after(round, "\"train_examples\":"), 20);
    assert_non_null(strstr(round, "\"train_accuracy\":0.5"));
    world_deinit(&w);
}

static void teachers_distill(void **state) {
    (void)state;
    world_init(&w, "distill");
    world_start(&w);
    for (int i = 0; i < 2; i++)
        world_enrolled(&w);
    world_task(&w, "t", 2,
               "groups: 2\nrounds: 1\ndistill: {enabled: true, steps: 3, pool: 40, batch: 8}\n"
               "gate: {loss_factor: 100}\n");
    reports(0, 2);
    world_await_version(&w, "t", 2);
    assert_null(strstr(world_json(&w, "models-show", "t", "2"), "\"distill_gain\":null"));
    world_deinit(&w);
}

static void rollback_publishes_again(void **state) {
    (void)state;
    char digest[96];
    world_init(&w, "rollback");
    world_start(&w);
    world_enrolled(&w);
    world_task(&w, "t", 1, "rounds: 3\n");
    reports(0, 1);
    world_await_version(&w, "t", 2);
    const char *p = strstr(world_json(&w, "models-show", "t", "1"), "\"digest\":");
    assert_non_null(p);
    snprintf(digest, sizeof digest, "%.75s", p);
    device_plan(&w.devices[0]); /* an open round is given up */
    struct wire_hash open = w.devices[0].terms_hash;
    assert_int_equal(world_say(&w, "models-rollback", "t", "1"), SOTTO_OK);
    assert_int_equal(world_say(&w, "models-rollback", "t", "3"), SOTTO_STATE); /* current */
    assert_int_equal(world_say(&w, "models-rollback", "t", "9"), SOTTO_NOT_FOUND);
    assert_non_null(strstr(world_json(&w, "models-show", "t", "current"), digest));
    assert_int_equal(device_outcome(&w.devices[0], &open), sotto_Outcome_OUTCOME_RETURNED);
    reports(0, 1);
    world_await_version(&w, "t", 4);
    assert_int_equal(number_after(world_json(&w, "models-show", "t", "4"), "\"parent\":"), 3);
    world_deinit(&w);
}

static void tasks_share_devices(void **state) {
    (void)state;
    world_init(&w, "tasks");
    world_start(&w);
    for (int i = 0; i < 2; i++)
        world_enrolled(&w);
    world_task(&w, "one", 2, "rounds: 1\n");
    world_task(&w, "two", 2, "rounds: 1\n");
    for (int pass = 0; pass < 2; pass++)
        reports(0, 2);
    world_await_version(&w, "one", 2);
    world_await_version(&w, "two", 2);
    char yaml[] = "task: {name: one}\nmodel: {zoo: logreg}\nevaluation: {count: 10}\n";
    assert_int_equal(world_say(&w, "task-create", "x.yaml", yaml), SOTTO_EXISTS);
    world_deinit(&w);
}

static void a_broken_task_stops_no_other(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    char csv[8192] = "", more[IO_PATH_MAX + 128];
    size_t n = 0;
    for (int row = 0; row < 12; row++)
        for (int k = 0; k < 5; k++)
            n += (size_t)snprintf(csv + n, sizeof csv - n, k < 4 ? "%d," : "%d\n",
                                  k < 4 ? row * k : row % 3);
    world_init(&w, "broken");
    const char *path = test_path("data.csv");
    ASSERT_OK(io_write_file(path, csv, n, 0600, false, &err));
    world_start(&w);
    world_enrolled(&w);
    snprintf(
        more, sizeof more,
        "task: {name: csv}\nmodel: {graph: {input: [4], dtype: f32, classes: 3, layers: [{dense: "
        "{units: 3}}]}}\ncohort: 1\npace: 10ms\nevaluation: {data: %s, count: 4}\n",
        path);
    enum sotto_status made = world_say(&w, "task-create", "x.yaml", more);
    if (made != SOTTO_OK) { /* models from YAML are another room's to test */
        world_deinit(&w);
        skip();
    }
    device_plan(&w.devices[0]);
    struct wire_hash open = w.devices[0].terms_hash;
    world_task(&w, "good", 1, "rounds: 1\n");
    world_stop(&w);
    ASSERT_OK(io_remove(path, &err));
    world_start(&w);
    device_connect(&w.devices[0], &w.devices[0].curve);
    assert_non_null(
        strstr(world_json(&w, "status", NULL, NULL), "\"broken_tasks\":[{\"task\":\"csv\""));
    /* The round of a task that is not loaded is not over: its report is neither kept nor returned.
     */
    assert_int_equal(device_outcome(&w.devices[0], &open), sotto_Outcome_OUTCOME_OPEN);
    w.devices[0].terms_size = 0;
    device_report(&w.devices[0]);
    world_await_version(&w, "good", 2);
    assert_int_not_equal(world_say(&w, "task-resume", "csv", NULL), SOTTO_OK);
    ASSERT_OK(io_write_file(path, csv, n, 0600, false, &err));
    assert_int_equal(world_say(&w, "task-resume", "csv", NULL), SOTTO_OK);
    assert_non_null(strstr(world_json(&w, "status", NULL, NULL), "\"broken_tasks\":[]"));
    w.devices[0].terms_size = 0;
    device_plan(&w.devices[0]);
    assert_memory_equal(&w.devices[0].terms_hash, &open, sizeof open);
    world_deinit(&w);
}

static void a_stopped_task_ends_after_a_crash(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    world_init(&w, "stopped");
    world_start(&w);
    for (int i = 0; i < 2; i++)
        world_enrolled(&w);
    world_task(&w, "t", 2, "rounds: 1\n");
    reports(0, 1);
    struct wire_hash open = w.devices[0].terms_hash;
    /* As if the daemon had died between storing the state and ending the round. */
    ASSERT_OK(store_begin(w.c->store, &err));
    ASSERT_OK(store_task_state_set(w.c->store, 1, STORE_TASK_STOPPED, &err));
    ASSERT_OK(store_commit(w.c->store, &err));
    world_stop(&w);
    world_start(&w);
    device_connect(&w.devices[0], &w.devices[0].curve);
    world_await(&w, "rounds-list", "t", "\"state\":\"failed\"");
    assert_int_equal(device_outcome(&w.devices[0], &open), sotto_Outcome_OUTCOME_RETURNED);
    assert_int_equal(files_in("uploads"), 0);
    world_deinit(&w);
}

static void sums_that_are_lost_close_the_round(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    char path[IO_PATH_MAX];
    world_init(&w, "sums");
    world_start(&w);
    for (int i = 0; i < 2; i++)
        world_enrolled(&w);
    world_task(&w, "t", 2, "groups: 2\n");
    reports(0, 1);
    struct wire_hash open = w.devices[0].terms_hash;
    while (files_in("sums") == 0)
        world_turn(&w);
    world_turn(&w);
    ASSERT_OK(round_sums_path(w.c->tasks[0], &open, 0, path, sizeof path, &err));
    world_stop(&w);
    ASSERT_OK(io_write_file(path, "garbage", 7, 0600, false, &err));
    world_start(&w);
    for (int i = 0; i < 2; i++)
        device_connect(&w.devices[i], &w.devices[i].curve);
    assert_non_null(strstr(world_json(&w, "rounds-show", "t", "1"), "are lost"));
    assert_int_equal(device_outcome(&w.devices[1], &open), sotto_Outcome_OUTCOME_RETURNED);
    reports(0, 2); /* the next round */
    world_await_version(&w, "t", 2);
    world_deinit(&w);
}

static void keys_rotate_in_their_order(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    char retired[IO_PATH_MAX], old_address[TRANSPORT_ADDRESS_MAX];
    world_init(&w, "rotate");
    world_start(&w);
    struct device *d = world_enrolled(&w);
    snprintf(old_address, sizeof old_address, "%s", w.address);
    ASSERT_OK(keys_rotate(w.state, &w.document, true, true, false, &err)); /* while it runs */
    ASSERT_FAILS(keys_rotate(w.state, &w.document, true, false, false, &err), SOTTO_STATE,
                 "certified document");
    ASSERT_FAILS(keys_rotate(w.state, &w.document, false, true, false, &err), SOTTO_STATE,
                 "still bound");
    world_task(&w, "t", 1, "");
    device_plan(d);
    world_stop(&w);
    world_start(&w);
    assert_string_not_equal(w.address, old_address);
    assert_non_null(strstr(world_json(&w, "status", NULL, NULL), "\"document_stale\":true"));
    /* A device with the old document still gets in, at the old address with the old key. */
    snprintf(w.address, sizeof w.address, "%s", old_address);
    device_connect(d, &d->curve);
    world_certify(&w);
    assert_int_equal(w.document.endpoint_count, 2);
    assert_string_equal(w.document.endpoints[1].address, old_address);
    sotto_CheckInReply reply;
    device_check_in(d, &reply);
    world_stop(&w);
    /* Past its time it is gone from the disk too. */
    w.config.rotate_overlap_days = 0;
    world_start(&w);
    ASSERT_OK(io_join(retired, sizeof retired, w.state, "keys/curve-retired.key", &err));
    assert_false(io_exists(retired));
    device_connect(d, &d->curve);
    device_report(d);
    world_await_version(&w, "t", 2);
    world_deinit(&w);
}

static void folders_of_others_are_refused(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    world_init(&w, "folders");
    world_start(&w);
    char keys[IO_PATH_MAX];
    snprintf(keys, sizeof keys, "%s", w.c->config.round_keys_dir);
    struct coordinator *second;
    ASSERT_FAILS(coordinator_open(&w.config, &second, &err), SOTTO_BUSY, "another");
    world_stop(&w);
    assert_int_equal(mkdir(keys, 0700), 0); /* it went with the process */
    assert_int_equal(chmod(keys, 0755), 0);
    ASSERT_FAILS(coordinator_open(&w.config, &second, &err), SOTTO_DENIED, "chmod 700");
    ASSERT_OK(io_remove_tree(keys, &err));
    ASSERT_OK(io_write_file(keys, "", 0, 0600, false, &err));
    assert_int_not_equal(coordinator_open(&w.config, &second, &err), SOTTO_OK);
    world_deinit(&w);
}

static void a_full_disk_refuses_reports(void **state) {
    (void)state;
    sotto_ReportAck ack;
    enum sotto_status status = SOTTO_OK;
    world_init(&w, "full");
    world_start(&w);
    struct device *d = world_enrolled(&w);
    world_task(&w, "t", 1, "rounds: 1\n");
    device_plan(d);
    device_fetch(d);
    device_seal(d, NULL);
    w.c->config.disk_max = 1000;
    assert_false(device_upload(d, &ack, &status));
    assert_int_equal(status, SOTTO_FULL);
    w.c->config.disk_max = 0;
    assert_true(device_upload(d, &ack, &status));
    world_await_version(&w, "t", 2);
    world_deinit(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_rounds),
        cmocka_unit_test(restarts_change_nothing),
        cmocka_unit_test(surplus_is_returned),
        cmocka_unit_test(a_group_fails_alone),
        cmocka_unit_test(devices_evaluate),
        cmocka_unit_test(teachers_distill),
        cmocka_unit_test(rollback_publishes_again),
        cmocka_unit_test(tasks_share_devices),
        cmocka_unit_test(a_broken_task_stops_no_other),
        cmocka_unit_test(a_stopped_task_ends_after_a_crash),
        cmocka_unit_test(sums_that_are_lost_close_the_round),
        cmocka_unit_test(keys_rotate_in_their_order),
        cmocka_unit_test(folders_of_others_are_refused),
        cmocka_unit_test(a_full_disk_refuses_reports),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
