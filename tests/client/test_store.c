/* The device's store: identity, examples and their budget, packages, reports and residuals; and a
 * kill at every point where one could hurt. */
#include "store/devstore.h"
#include "support.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT 1000u

static struct devstore *open_store(const char *name) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct devstore *s = NULL;
    ASSERT_OK(id_setup(&err));
    ASSERT_OK(devstore_open(test_path(name), DEVSTORE_OWN, &s, &err));
    return s;
}

static sotto_Terms make_terms(uint32_t round, struct buf *bytes, struct wire_hash *hash) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    sotto_Terms t = sotto_Terms_init_zero;
    memcpy(t.task, "digits", 7);
    t.round = round;
    t.kind = sotto_Kind_KIND_TRAIN;
    t.package_hash.size = WIRE_HASH;
    t.package_bytes = 5;
    t.has_rule = t.has_pipeline = true;
    t.rule.epochs = 1;
    t.rule.lr = 0.1f;
    t.pipeline.clip_inf = 1;
    t.pipeline.keep = 1;
    t.pipeline.bits = 32;
    t.pipeline.fraction_bits = 20;
    t.weight_max = t.n_max = 10;
    t.round_key.size = 32;
    t.report_bytes_max = 1000;
    t.task_id.size = WIRE_TASK_ID;
    memset(t.task_id.bytes, 7, WIRE_TASK_ID);
    buf_init(bytes, WIRE_TERMS_MAX);
    ASSERT_OK(wire_terms_encode(&t, bytes, &err));
    *hash = wire_terms_hash(buf_view(bytes));
    return t;
}

static enum sotto_status accept(struct devstore *s, uint32_t round, struct sotto_error *err) {
    struct buf bytes;
    struct wire_hash hash;
    const sotto_Terms t = make_terms(round, &bytes, &hash);
    const enum sotto_status status = devstore_terms_accept(s, &hash, buf_view(&bytes), &t, err);
    buf_deinit(&bytes);
    return status;
}

/* Residual i = base + i, decoded i = i for every tenth; control variate i = base + i, but that
 * every tenth has gained 2 by this report. */
static enum sotto_status seal(struct devstore *s, uint32_t round, float base,
                              struct sotto_error *err) {
    static float residual[COUNT], decoded[COUNT], control[COUNT], change[COUNT];
    struct buf bytes;
    struct devstore_seal in;
    memset(&in, 0, sizeof in);
    const sotto_Terms t = make_terms(round, &bytes, &in.terms);
    for (uint32_t i = 0; i < COUNT; i++) {
        residual[i] = base + (float)i;
        decoded[i] = i % 10 == 0 ? (float)i : 0;
        change[i] = i % 10 == 0 ? 2 : 0;
        control[i] = residual[i] + change[i];
    }
    in.t = &t;
    in.report = view_of("sealed bytes", 12);
    in.report_hash = wire_hash_of(WIRE_LABEL_REPORT, in.report);
    memset(in.residual.task_id, 7, WIRE_TASK_ID);
    in.residual.round = round;
    in.residual_values = residual;
    in.decoded = decoded;
    in.control = control;
    in.control_change = change;
    in.count = COUNT;
    const enum sotto_status status = devstore_seal(s, &in, 1000, err);
    buf_deinit(&bytes);
    return status;
}

static enum sotto_status outcome(struct devstore *s, uint32_t round, sotto_Outcome what,
                                 struct sotto_error *err) {
    struct buf bytes;
    struct wire_hash hash;
    (void)make_terms(round, &bytes, &hash);
    buf_deinit(&bytes);
    return devstore_outcome(s, &hash, what, err);
}

static enum sotto_status residual_at(struct devstore *s, uint32_t round, float *out) {
    struct devstore_residual which;
    memset(&which, 0, sizeof which);
    memset(which.task_id, 7, WIRE_TASK_ID);
    which.round = round;
    return devstore_residual_get(s, &which, 3, out, COUNT, NULL);
}

static enum sotto_status control_at(struct devstore *s, float *out) {
    struct devstore_residual which;
    memset(&which, 0, sizeof which);
    memset(which.task_id, 7, WIRE_TASK_ID);
    which.round = 500; /* it has no age */
    return devstore_control_get(s, &which, out, COUNT, NULL);
}

static enum session_stage stage_of(struct devstore *s, struct session_saved *saved) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct session_saved mine;
    struct buf hold;
    ASSERT_OK(devstore_session(s, &mine, &hold, &err));
    if (saved != NULL)
        *saved = mine; /* without what hold keeps */
    buf_deinit(&hold);
    return mine.stage;
}

static int file_count;
static enum sotto_status count_file(void *ctx, const char *name) {
    (void)ctx;
    (void)name;
    file_count++;
    return SOTTO_OK;
}
static int files_in(const char *name) {
    char path[4096];
    file_count = 0;
    snprintf(path, sizeof path, "%s/files", test_path(name));
    assert_int_equal(io_list(path, count_file, NULL, NULL), SOTTO_OK);
    return file_count;
}

static void test_identity(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct devstore *s = open_store("identity");
    struct devstore_identity i, back;
    struct buf text, raw;
    struct stat st;
    buf_init(&text, 4096);
    ASSERT_STATUS(devstore_identity_get(s, &back, &err), SOTTO_NOT_FOUND);
    memset(&i, 0, sizeof i);
    i.serial = UINT64_C(0x8000000000000001);
    id_keys_generate(&i.keys);
    id_curve_generate(&i.curve);
    ASSERT_OK(devstore_identity_put(s, &i, "sotto1:abc", 4, view_of("doc", 3), &err));
    ASSERT_OK(devstore_token_get(s, &text, &err));
    assert_int_equal(text.len, 10);
    ASSERT_OK(devstore_enrolled(s, &err));
    ASSERT_STATUS(devstore_token_get(s, &text, &err), SOTTO_NOT_FOUND);
    ASSERT_OK(devstore_scrub(s, &err)); /* not a trace of the token, while the store is open */
    assert_int_equal(io_file_size(test_path("identity/device.db-wal")), 0);
    buf_init(&raw, (size_t)1 << 20);
    ASSERT_OK(io_read_file(test_path("identity/device.db"), (size_t)1 << 20, &raw, &err));
    assert_null(memmem(raw.data, raw.len, "sotto1:abc", 10));
    buf_deinit(&raw);
    devstore_close(s);
    assert_int_equal(stat(test_path("identity"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(stat(test_path("identity/device.db"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    s = open_store("identity");
    ASSERT_OK(devstore_identity_get(s, &back, &err));
    assert_true(back.enrolled && back.serial == i.serial);
    assert_memory_equal(&back.keys, &i.keys, sizeof i.keys);
    ASSERT_OK(devstore_document_get(s, &text, &err));
    assert_memory_equal(text.data, "doc", 3);
    buf_deinit(&text);
    devstore_close(s);
}

static void test_examples(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct devstore *s = open_store("examples");
    struct data_schema schema = {DATA_U8, 2, {4, 5, 0}, 3, 1, 0};
    struct data_schema other = {DATA_F32, 1, {3, 0, 0}, 3, 1, 0};
    struct devstore_collection c;
    struct dataset d;
    uint8_t x[20];
    const float bad[3] = {1, (float)(1e300 * 1e10), 2};
    ASSERT_OK(devstore_collection_put(s, "a", &schema, &err));
    ASSERT_OK(devstore_collection_put(s, "a", &schema, &err));
    ASSERT_FAILS(devstore_collection_put(s, "a", &other, &err), SOTTO_EXISTS, "4x5");
    ASSERT_OK(devstore_collection_put(s, "f", &other, &err));
    ASSERT_FAILS(devstore_example_add(s, "f", view_of(bad, sizeof bad), 0, 1, &err), SOTTO_INVALID,
                 "finite");
    ASSERT_STATUS(devstore_example_add(s, "a", view_of(x, 19), 0, 1, &err), SOTTO_INVALID);
    ASSERT_STATUS(devstore_example_add(s, "a", view_of(x, 20), 3, 1, &err), SOTTO_INVALID);
    devstore_budget(s, 200, 1000);
    for (int i = 0; i < 25; i++) {
        memset(x, i, sizeof x);
        ASSERT_OK(devstore_example_add(s, "a", view_of(x, 20), i % 4 - 1, 100 + i, &err));
    }
    ASSERT_OK(devstore_collection_get(s, "a", &c, &err));
    assert_int_equal(c.count, 10); /* the newest that fit */
    assert_int_equal(c.bytes, 200);
    ASSERT_OK(devstore_examples_load(s, "a", &d, &err));
    assert_int_equal(d.count, 7); /* without the unlabelled */
    assert_int_equal(((uint8_t *)d.x)[0], 15);
    dataset_deinit(&d);
    ASSERT_OK(devstore_examples_expire(s, 1120, &err));
    ASSERT_OK(devstore_collection_get(s, "a", &c, &err));
    assert_int_equal(c.count, 5);
    ASSERT_OK(devstore_examples_load(s, "f", &d, &err));
    assert_int_equal(d.count, 0);
    dataset_deinit(&d);
    devstore_close(s);
}

static void test_report_life(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct devstore *s = open_store("report");
    struct session_saved saved;
    struct buf chunk;
    float r[COUNT];
    buf_init(&chunk, 1024);
    ASSERT_STATUS(seal(s, 1, 0, &err), SOTTO_STATE); /* no terms */
    ASSERT_OK(accept(s, 1, &err));
    assert_int_equal(stage_of(s, NULL), SESSION_ACCEPTED);
    ASSERT_OK(seal(s, 1, 0.5f, &err));
    ASSERT_STATUS(seal(s, 1, 0.5f, &err), SOTTO_STATE); /* once */
    assert_int_equal(stage_of(s, &saved), SESSION_SEALED);
    assert_int_equal(saved.report_bytes, 12);
    assert_int_equal(saved.open_report_count, 0);
    struct wire_hash hash;
    struct buf bytes;
    (void)make_terms(1, &bytes, &hash);
    buf_deinit(&bytes);
    ASSERT_OK(devstore_report_chunk(s, &hash, 0, &chunk, &err));
    assert_memory_equal(chunk.data, "sealed bytes", 12);
    ASSERT_STATUS(devstore_report_chunk(s, &hash, 1, &chunk, &err), SOTTO_INVALID);
    ASSERT_OK(outcome(s, 1, sotto_Outcome_OUTCOME_OPEN, &err));
    ASSERT_OK(outcome(s, 1, sotto_Outcome_OUTCOME_OPEN, &err));
    assert_int_equal(stage_of(s, &saved), SESSION_NONE);
    assert_int_equal(saved.open_report_count, 1);
    struct devstore_counters counters;
    ASSERT_OK(devstore_counters_get(s, &counters, &err));
    assert_int_equal(counters.rounds_done, 1);
    assert_int_equal(residual_at(s, 2, r), SOTTO_OK);
    assert_true(r[20] == 20.5f);
    assert_int_equal(residual_at(s, 5, r), SOTTO_NOT_FOUND); /* too old */
    assert_int_equal(control_at(s, r), SOTTO_OK);
    assert_true(r[20] == 22.5f && r[21] == 21.5f);
    ASSERT_OK(outcome(s, 1, sotto_Outcome_OUTCOME_RETURNED, &err));
    ASSERT_OK(outcome(s, 1, sotto_Outcome_OUTCOME_RETURNED, &err)); /* a repeat adds nothing */
    assert_int_equal(residual_at(s, 2, r), SOTTO_OK);
    assert_true(r[20] == 40.5f && r[21] == 21.5f);
    assert_int_equal(control_at(s, r), SOTTO_OK);
    assert_true(r[20] == 20.5f && r[21] == 21.5f); /* without its change again */
    assert_int_equal(files_in("report"), 2);       /* residual and control variate */
    ASSERT_OK(accept(s, 2, &err));
    ASSERT_OK(seal(s, 2, 1, &err));
    ASSERT_OK(outcome(s, 2, sotto_Outcome_OUTCOME_OPEN, &err));
    ASSERT_OK(devstore_expire(s, 1001, &err));
    (void)stage_of(s, &saved);
    assert_int_equal(saved.open_report_count, 0);
    buf_deinit(&chunk);
    devstore_close(s);
}

static void test_checkpoint(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct devstore *s = open_store("checkpoint");
    struct buf bytes, back;
    struct wire_hash hash;
    (void)make_terms(1, &bytes, &hash);
    buf_deinit(&bytes);
    buf_init(&back, 1u << 20);
    ASSERT_STATUS(devstore_checkpoint_put(s, &hash, view_of("abc", 3), &err), SOTTO_STATE);
    ASSERT_OK(accept(s, 1, &err));
    ASSERT_OK(devstore_checkpoint_put(s, &hash, view_of("abc", 3), &err));
    ASSERT_OK(devstore_checkpoint_put(s, &hash, view_of("defg", 4), &err));
    assert_int_equal(files_in("checkpoint"), 1);
    ASSERT_OK(devstore_checkpoint_get(s, &hash, &back, &err));
    assert_int_equal(back.len, 4);
    assert_memory_equal(back.data, "defg", 4);
    ASSERT_OK(seal(s, 1, 0, &err));
    ASSERT_STATUS(devstore_checkpoint_get(s, &hash, &back, &err), SOTTO_NOT_FOUND);
    assert_int_equal(files_in("checkpoint"), 5); /* report, decoded, residual, control, change */
    buf_deinit(&back);
    devstore_close(s);
}

static void test_packages(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct devstore *s = open_store("packages");
    static uint8_t chunk[CHUNK_BYTES];
    struct devstore_part part = {.bytes = CHUNK_BYTES + 10}, back;
    struct wire_hash newest;
    struct buf bytes;
    buf_init(&bytes, (size_t)1 << 20);
    part.package.b[0] = 5;
    ASSERT_STATUS(devstore_part_add(s, &part, 1, view_of(chunk, 10), &err), SOTTO_NOT_FOUND);
    ASSERT_OK(devstore_part_add(s, &part, 0, view_of(chunk, CHUNK_BYTES), &err));
    ASSERT_STATUS(devstore_part_add(s, &part, 2, view_of(chunk, 10), &err), SOTTO_STATE);
    devstore_close(s);
    s = open_store("packages");
    ASSERT_OK(devstore_part_get(s, &back, &err));
    assert_int_equal(back.chunks, 1);
    ASSERT_OK(devstore_part_add(s, &part, 1, view_of(chunk, 10), &err));
    ASSERT_OK(devstore_part_read(s, &bytes, &err));
    assert_int_equal(bytes.len, CHUNK_BYTES + 10);
    ASSERT_OK(devstore_package_put(s, &part.package, "a", buf_view(&bytes), &err));
    ASSERT_STATUS(devstore_part_get(s, &back, &err), SOTTO_NOT_FOUND);
    struct wire_hash second = part.package, third = part.package;
    second.b[0] = 6;
    third.b[0] = 7;
    ASSERT_OK(devstore_package_put(s, &second, "a", view_of("two", 3), &err));
    ASSERT_OK(devstore_package_put(s, &third, "b", view_of("three", 5), &err));
    assert_int_equal(files_in("packages"), 2); /* the newest of each task */
    ASSERT_OK(devstore_package_newest(s, &newest, &err));
    assert_int_equal(newest.b[0], 7);
    ASSERT_OK(devstore_package_read(s, NULL, "a", &bytes, &err));
    assert_int_equal(bytes.len, 3);
    ASSERT_STATUS(devstore_package_read(s, &part.package, NULL, &bytes, &err), SOTTO_NOT_FOUND);
    buf_deinit(&bytes);
    devstore_close(s);
}

static void test_forget(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct devstore *s = open_store("forget");
    struct session_saved saved;
    struct data_schema schema = {DATA_U8, 1, {20, 0, 0}, 3, 1, 0};
    const char canary[21] = "CANARYCANARYCANARY12";
    struct buf raw;
    ASSERT_OK(devstore_collection_put(s, "a", &schema, &err));
    ASSERT_OK(devstore_example_add(s, "a", view_of(canary, 20), 1, 1, &err));
    ASSERT_OK(accept(s, 3, &err));
    ASSERT_OK(seal(s, 3, 0, &err));
    ASSERT_OK(devstore_buckets_put(s, 12, 3, &err));
    float r[COUNT];
    assert_int_equal(control_at(s, r), SOTTO_OK);
    ASSERT_OK(devstore_forget(s, &err));
    assert_int_equal(control_at(s, r), SOTTO_NOT_FOUND);
    assert_int_equal(stage_of(s, &saved), SESSION_NONE);
    assert_int_equal(saved.task_count, 1);
    assert_true(saved.bytes_left == 12 && saved.rounds_left == 3);
    assert_true(saved.bucket_ms > 0 && saved.bucket_ms <= clock_mono_ms());
    assert_int_equal(files_in("forget"), 0);
    devstore_close(s);
    buf_init(&raw, (size_t)8 << 20);
    ASSERT_OK(io_read_file(test_path("forget/device.db"), (size_t)8 << 20, &raw, &err));
    assert_null(memmem(raw.data, raw.len, "CANARYCANARY", 12)); /* not a trace */
    buf_deinit(&raw);
}

/* ---- Kills
 * --------------------------------------------------------------------------------------------------------------------
 */

static int kill_at, points_seen;
static void die_at_point(const char *name) {
    (void)name;
    if (++points_seen == kill_at)
        _exit(9);
}

/* The whole life of two rounds; child of a fork, killed at point `at`. True when it came to the
 * end. */
static bool child_lives(const char *name, int at) {
    fflush(NULL);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct devstore *s = NULL;
        kill_at = at;
        points_seen = 0;
        devstore_crash_point = die_at_point;
        bool ok = devstore_open(test_path(name), DEVSTORE_OWN, &s, NULL) == SOTTO_OK;
        ok = ok && accept(s, 1, NULL) == SOTTO_OK && seal(s, 1, 0.5f, NULL) == SOTTO_OK;
        ok = ok && outcome(s, 1, sotto_Outcome_OUTCOME_OPEN, NULL) == SOTTO_OK;
        ok = ok && outcome(s, 1, sotto_Outcome_OUTCOME_RETURNED, NULL) == SOTTO_OK;
        _exit(ok ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_true(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 9);
    return WEXITSTATUS(status) == 0;
}

static void test_kill_everywhere(void **state) {
    (void)state;
    int at = 1;
    for (;; at++) {
        struct session_saved saved;
        float r[COUNT];
        char name[32];
        snprintf(name, sizeof name, "kill%d", at);
        const bool lived = child_lives(name, at);
        struct devstore *s = open_store(name);
        const enum session_stage stage = stage_of(s, &saved);
        const enum sotto_status residual = residual_at(s, 2, r);
        const int files = files_in(name);
        if (stage == SESSION_SEALED || saved.open_report_count == 1) {
            assert_int_equal(residual, SOTTO_OK); /* sealed bytes and residual together */
            assert_true(r[20] == 20.5f);
            assert_int_equal(control_at(s, r), SOTTO_OK);
            assert_true(r[20] == 22.5f);
            assert_int_equal(files, 5);
        } else if (residual == SOTTO_OK) {
            assert_true(r[20] == 40.5f); /* returned, once */
            assert_int_equal(control_at(s, r), SOTTO_OK);
            assert_true(r[20] == 20.5f);
            assert_int_equal(files, 2);
        } else {
            assert_int_equal(files, 0);
        }
        if (stage == SESSION_ACCEPTED)
            assert_int_equal(residual, SOTTO_NOT_FOUND);
        devstore_close(s);
        if (lived)
            break;
    }
    assert_true(at > 15);
    print_message("killed at %d points\n", at - 1);
}

/* ---- Trouble
 * -------------------------------------------------------------------------------------------------------------------
 */

static void test_bad_databases(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct devstore *s = open_store("bad"), *other = NULL;
    sqlite3 *db = NULL;
    ASSERT_FAILS(devstore_open(test_path("bad"), DEVSTORE_OWN, &other, &err), SOTTO_BUSY, "in use");
    ASSERT_OK(devstore_open(test_path("bad"), DEVSTORE_SHARE, &other, &err));
    devstore_close(other);
    devstore_close(s);
    /* a newer program's */
    assert_int_equal(sqlite3_open(test_path("bad/device.db"), &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "PRAGMA user_version=99", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    ASSERT_FAILS(devstore_open(test_path("bad"), DEVSTORE_OWN, &s, &err), SOTTO_VERSION, "99");
    /* not a database */
    ASSERT_OK(io_write_file(test_path("bad/device.db"),
                            "this is not a database, but text that is long enough", 52, 0600, false,
                            &err));
    ASSERT_STATUS(devstore_open(test_path("bad"), DEVSTORE_OWN, &s, &err), SOTTO_CORRUPT);
    /* a folder that cannot be */
    ASSERT_OK(io_write_file(test_path("plainfile"), "x", 1, 0600, false, &err));
    assert_int_not_equal(devstore_open(test_path("plainfile"), DEVSTORE_OWN, &s, &err), SOTTO_OK);
}

/* A page limit stands for a full disk: clear error, old state, and room again goes on. */
static void test_full_disk(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct devstore *s = open_store("full");
    struct data_schema schema = {DATA_U8, 1, {100000, 0, 0}, 3, 1, 0};
    uint8_t *x = mem_zalloc(100000);
    ASSERT_OK(devstore_collection_put(s, "a", &schema, &err));
    devstore_limit_pages(s, 100);
    enum sotto_status status = SOTTO_OK;
    int added = 0;
    for (; added < 100 && status == SOTTO_OK; added++)
        status = devstore_example_add(s, "a", view_of(x, 100000), 0, 1, &err);
    assert_int_equal(status, SOTTO_FULL);
    assert_non_null(strstr(err.message, "full"));
    devstore_limit_pages(s, 0);
    struct devstore_collection c;
    ASSERT_OK(devstore_collection_get(s, "a", &c, &err));
    assert_int_equal(c.count, added - 1);
    ASSERT_OK(devstore_example_add(s, "a", view_of(x, 100000), 0, 1, &err));
    mem_free(x);
    devstore_close(s);
}

static void count_entry(void *ctx, const struct devstore_history *h) {
    uint32_t *n = ctx;
    assert_string_equal(h->text, "something");
    ++*n;
}

static void test_history_is_bounded(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct devstore *s = open_store("history");
    uint32_t n = 0;
    ASSERT_OK(devstore_begin(s, &err));
    for (uint32_t i = 0; i < DEVSTORE_HISTORY + 50; i++)
        ASSERT_OK(devstore_history_add(s, i, "t", i, "something", &err));
    ASSERT_OK(devstore_commit(s, &err));
    ASSERT_OK(devstore_history_each(s, 100000, count_entry, &n, &err));
    assert_int_equal(n, DEVSTORE_HISTORY);
    devstore_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_identity),        cmocka_unit_test(test_examples),
        cmocka_unit_test(test_report_life),     cmocka_unit_test(test_checkpoint),
        cmocka_unit_test(test_packages),        cmocka_unit_test(test_forget),
        cmocka_unit_test(test_kill_everywhere), cmocka_unit_test(test_bad_databases),
        cmocka_unit_test(test_full_disk),       cmocka_unit_test(test_history_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
