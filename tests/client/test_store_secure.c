/* The device's store under masks: the coded vector, its one change into the masked message, what
 * survives, the record of sessions; and a kill at every point of it. */
#include "store/devstore.h"
#include "support.h"

#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT  500u
#define LENGTH 70001u /* codes: more than one piece, and not a round number */
#define RING   20u

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
    t.has_rule = t.has_pipeline = t.has_privacy = true;
    t.rule.epochs = 1;
    t.rule.lr = 0.1f;
    t.pipeline.clip_norm = t.pipeline.clip_inf = t.pipeline.range = 1;
    t.pipeline.keep = 1;
    t.pipeline.bits = 12;
    t.pipeline.fraction_bits = 20;
    t.privacy.secure_aggregation = SECURE_REQUIRED;
    t.privacy.minimum_group = 10;
    t.privacy.ring_bits = RING;
    t.privacy.adversary = SECAGG_CURIOUS;
    t.weight_max = 10;
    t.n_max = 100;
    t.report_bytes_max = 1000000;
    t.task_id.size = WIRE_TASK_ID;
    memset(t.task_id.bytes, 7, WIRE_TASK_ID);
    buf_init(bytes, WIRE_TERMS_MAX);
    ASSERT_OK(wire_terms_encode(&t, bytes, &err));
    *hash = wire_terms_hash(buf_view(bytes));
    return t;
}

static struct wire_hash hash_of(uint32_t round) {
    struct buf bytes;
    struct wire_hash hash;
    (void)make_terms(round, &bytes, &hash);
    buf_deinit(&bytes);
    return hash;
}

static enum sotto_status accept(struct devstore *s, uint32_t round, struct sotto_error *err) {
    struct buf bytes;
    struct wire_hash hash;
    const sotto_Terms t = make_terms(round, &bytes, &hash);
    const enum sotto_status status = devstore_terms_accept(s, &hash, buf_view(&bytes), &t, err);
    buf_deinit(&bytes);
    return status;
}

static uint32_t code(uint32_t i) {
    return (i * 2654435761u) >> (32 - RING);
}

/* Residual i = i + 0.5, decoded i = i for every tenth. */
static enum sotto_status ready(struct devstore *s, uint32_t round, struct sotto_error *err) {
    static float residual[COUNT], decoded[COUNT];
    static uint32_t codes[LENGTH];
    struct buf bytes;
    struct devstore_seal in;
    memset(&in, 0, sizeof in);
    const sotto_Terms t = make_terms(round, &bytes, &in.terms);
    buf_deinit(&bytes);
    for (uint32_t i = 0; i < COUNT; i++) {
        residual[i] = 0.5f + (float)i;
        decoded[i] = i % 10 == 0 ? (float)i : 0;
    }
    for (uint32_t i = 0; i < LENGTH; i++)
        codes[i] = code(i);
    in.t = &t;
    memset(in.residual.task_id, 7, WIRE_TASK_ID);
    in.residual.round = round;
    in.residual_values = residual;
    in.decoded = decoded;
    in.count = COUNT;
    return devstore_ready(s, &in, codes, LENGTH, RING, 1000, err);
}

/* The "mask" adds nothing: what matters is that these bytes, and no others, leave. */
static enum sotto_status mask(struct devstore *s, uint32_t round, struct wire_hash *out,
                              struct sotto_error *err) {
    static uint32_t codes[4096];
    uint8_t packed[4096 * RING / 8];
    const struct wire_hash hash = hash_of(round);
    struct devstore_masking *m = NULL;
    uint64_t bytes = 0;
    uint32_t at = 0;
    size_t count;
    enum sotto_status status;
    TRY(devstore_masking_new(s, &hash, &m, err));
    TRY(devstore_masking_put(m, view_of("head", 4), err));
    do {
        TRY(devstore_masking_codes(m, codes, ARRAY_LEN(codes), &count, err));
        for (size_t i = 0; i < count; i++)
            if (codes[i] != code(at + (uint32_t)i))
                TRY_FAIL(err, SOTTO_CHECK, "code %u is %u", at, codes[i]);
        at += (uint32_t)count;
        secagg_ring_pack(RING, codes, count, packed);
        TRY(devstore_masking_put(m, view_of(packed, secagg_ring_bytes(RING, count)), err));
    } while (count > 0);
    TRY(devstore_masking_commit(m, &bytes, out, err));
    if (bytes != 4 + secagg_ring_bytes(RING, LENGTH) || at != LENGTH)
        TRY_FAIL(err, SOTTO_CHECK, "%llu bytes", (unsigned long long)bytes);
out:
    devstore_masking_free(m);
    return status;
}

static enum sotto_status outcome(struct devstore *s, uint32_t round, sotto_Outcome what,
                                 struct sotto_error *err) {
    const struct wire_hash hash = hash_of(round);
    return devstore_outcome(s, &hash, what, err);
}

static enum sotto_status residual_at(struct devstore *s, float *out) {
    struct devstore_residual which;
    memset(&which, 0, sizeof which);
    memset(which.task_id, 7, WIRE_TASK_ID);
    which.round = 2;
    return devstore_residual_get(s, &which, 0, out, COUNT, NULL);
}

static struct session_saved saved_of(struct devstore *s) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct session_saved saved;
    struct buf hold;
    ASSERT_OK(devstore_session(s, &saved, &hold, &err));
    if (saved.task_count > 0)
        assert_int_equal(saved.tasks[0].part_round, saved.tasks[0].sealed ? 1 : 0);
    buf_deinit(&hold); /* without what it keeps */
    return saved;
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

static void test_life(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct devstore *s = open_store("life");
    const struct wire_hash hash = hash_of(1);
    struct wire_hash message;
    struct session_saved saved;
    struct buf chunk;
    uint64_t length = 0;
    float r[COUNT];
    buf_init(&chunk, CHUNK_BYTES);
    ASSERT_STATUS(ready(s, 1, &err), SOTTO_STATE); /* no terms */
    ASSERT_OK(accept(s, 1, &err));
    ASSERT_STATUS(devstore_secure_begin(s, &hash, 1, &err), SOTTO_STATE); /* not ready */
    ASSERT_OK(ready(s, 1, &err));
    ASSERT_STATUS(ready(s, 1, &err), SOTTO_STATE); /* once */
    saved = saved_of(s);
    assert_int_equal(saved.stage, SESSION_READY);
    assert_false(saved.masked);
    assert_int_equal(saved.secure_attempt, 0);
    ASSERT_OK(devstore_ready_length(s, &hash, &length, &err));
    assert_int_equal(length, LENGTH);
    /* without masks not a byte leaves */
    ASSERT_STATUS(devstore_report_chunk(s, &hash, 0, &chunk, &err), SOTTO_STATE);
    ASSERT_OK(devstore_secure_begin(s, &hash, 1, &err));
    ASSERT_STATUS(devstore_secure_begin(s, &hash, 1, &err), SOTTO_STATE);
    ASSERT_OK(devstore_secure_begin(s, &hash, 3, &err));
    ASSERT_STATUS(devstore_secure_begin(s, &hash, 2, &err), SOTTO_STATE);
    ASSERT_OK(mask(s, 1, &message, &err));
    devstore_close(s);
    s = open_store("life");
    saved = saved_of(s);
    assert_int_equal(saved.stage, SESSION_READY);
    assert_true(saved.masked);
    assert_int_equal(saved.secure_attempt, 3);
    assert_int_equal(saved.report_bytes, 4 + secagg_ring_bytes(RING, LENGTH));
    assert_memory_equal(saved.report_hash.b, message.b, WIRE_HASH);
    assert_int_equal(files_in("life"), 2); /* message, residual: vector and mass are gone */
    ASSERT_OK(devstore_report_chunk(s, &hash, 0, &chunk, &err));
    assert_memory_equal(chunk.data, "head", 4);
    /* never another */
    ASSERT_STATUS(mask(s, 1, &message, &err), SOTTO_DENIED);
    ASSERT_STATUS(devstore_secure_begin(s, &hash, 4, &err), SOTTO_STATE);
    ASSERT_STATUS(devstore_ready_length(s, &hash, &length, &err), SOTTO_NOT_FOUND);
    /* "It was not used": its mass is gone anyway */
    ASSERT_OK(outcome(s, 1, sotto_Outcome_OUTCOME_RETURNED, &err));
    assert_int_equal(residual_at(s, r), SOTTO_OK);
    assert_true(r[20] == 20.5f);
    saved = saved_of(s);
    assert_int_equal(saved.stage, SESSION_NONE);
    assert_int_equal(saved.open_report_count, 0);
    assert_int_equal(files_in("life"), 1);
    struct devstore_counters counters;
    ASSERT_OK(devstore_counters_get(s, &counters, &err));
    assert_int_equal(counters.rounds_done, 1);
    buf_deinit(&chunk);
    devstore_close(s);
}

static void test_returned(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct devstore *s = open_store("returned");
    const struct wire_hash hash = hash_of(1);
    struct devstore_masking *m = NULL;
    float r[COUNT];
    ASSERT_OK(accept(s, 1, &err));
    ASSERT_OK(ready(s, 1, &err));
    ASSERT_OK(devstore_masking_new(s, &hash, &m, &err)); /* begun, and given up */
    assert_int_equal(files_in("returned"), 4);
    devstore_masking_free(m);
    assert_int_equal(files_in("returned"), 3);
    ASSERT_OK(outcome(s, 1, sotto_Outcome_OUTCOME_RETURNED, &err));
    ASSERT_OK(outcome(s, 1, sotto_Outcome_OUTCOME_RETURNED, &err));
    assert_int_equal(residual_at(s, r), SOTTO_OK);
    assert_true(r[20] == 40.5f && r[21] == 21.5f);
    assert_int_equal(files_in("returned"), 1);
    devstore_close(s);
}

static void flip(const char *store, const char *kind) {
    char cmd[4096];
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct buf bytes;
    FILE *list;
    snprintf(cmd, sizeof cmd, "ls %s/files/%s-*", test_path(store), kind);
    list = popen(cmd, "r");
    assert_non_null(list);
    assert_non_null(fgets(cmd, sizeof cmd, list));
    pclose(list);
    cmd[strcspn(cmd, "\n")] = '\0';
    buf_init(&bytes, 1u << 20);
    ASSERT_OK(io_read_file(cmd, 1u << 20, &bytes, &err));
    bytes.data[bytes.len / 2] ^= 4;
    ASSERT_OK(io_write_file(cmd, bytes.data, bytes.len, 0600, false, &err));
    buf_deinit(&bytes);
}

static void test_damaged_vector(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct devstore *s = open_store("damaged");
    struct wire_hash message;
    ASSERT_OK(accept(s, 1, &err));
    ASSERT_OK(ready(s, 1, &err));
    flip("damaged", "codes");
    ASSERT_FAILS(mask(s, 1, &message, &err), SOTTO_CORRUPT, "damaged");
    assert_false(saved_of(s).masked);
    ASSERT_OK(outcome(s, 1, sotto_Outcome_OUTCOME_RETURNED, &err));
    devstore_close(s);
}

/* Who wipes its data must not be made to answer the same terms once more. */
static void test_forget(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct devstore *s = open_store("forget");
    struct wire_hash message;
    struct buf hold;
    struct session_saved saved;
    ASSERT_OK(accept(s, 1, &err));
    ASSERT_OK(ready(s, 1, &err));
    ASSERT_OK(mask(s, 1, &message, &err));
    ASSERT_OK(devstore_forget(s, &err));
    assert_int_equal(files_in("forget"), 0);
    ASSERT_OK(devstore_session(s, &saved, &hold, &err));
    assert_int_equal(saved.stage, SESSION_NONE);
    assert_int_equal(saved.task_count, 1);
    assert_true(saved.tasks[0].sealed);
    assert_int_equal(saved.tasks[0].last_round, 1);
    assert_int_equal(saved.tasks[0].part_round, 1);
    buf_deinit(&hold);
    /* Were the terms taken again all the same, the mark would hold. */
    ASSERT_OK(accept(s, 1, &err));
    ASSERT_OK(ready(s, 1, &err));
    ASSERT_STATUS(mask(s, 1, &message, &err), SOTTO_DENIED);
    devstore_close(s);
}

static void test_expires(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct devstore *s = open_store("expires");
    ASSERT_OK(accept(s, 1, &err));
    ASSERT_OK(ready(s, 1, &err));
    ASSERT_OK(devstore_expire(s, 999, &err));
    assert_int_equal(saved_of(s).stage, SESSION_READY);
    ASSERT_OK(devstore_expire(s, 1001, &err));
    assert_int_equal(saved_of(s).stage, SESSION_NONE);
    devstore_close(s);
}

/* ---- Records
 * ---------------------------------------------------------------------------------------------------------------
 */

struct seen {
    uint32_t count;
    struct devstore_secure first;
};
static void see(void *ctx, const struct devstore_secure *r) {
    struct seen *seen = ctx;
    if (seen->count++ == 0)
        seen->first = *r;
}

static void test_records(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct devstore *s = open_store("records");
    struct devstore_secure r = {.terms = hash_of(1), .attempt = 1, .at_ms = 5, .round = 1};
    struct seen seen = {0};
    memcpy(r.task, "digits", 7);
    ASSERT_OK(accept(s, 1, &err));
    ASSERT_OK(ready(s, 1, &err));
    ASSERT_OK(devstore_secure_put(s, &r, &err));
    r.attempt = 2;
    ASSERT_OK(devstore_secure_put(s, &r, &err));
    r.at_ms = 9; /* the first stays */
    r.report.members = 40;
    r.report.survivors = 39;
    r.report.threshold = r.report.minimum = 27;
    r.report.stage = SECAGG_STAGE_DONE;
    memset(r.report.session, 6, SECAGG_KEY);
    r.beside = true;
    ASSERT_OK(devstore_secure_put(s, &r, &err));
    ASSERT_OK(outcome(s, 1, sotto_Outcome_OUTCOME_KEPT, &err));
    ASSERT_OK(devstore_secure_each(s, 10, see, &seen, &err));
    assert_int_equal(seen.count, 2);
    assert_int_equal(seen.first.attempt, 2);
    assert_int_equal(seen.first.at_ms, 5);
    assert_int_equal(seen.first.report.survivors, 39);
    assert_int_equal(seen.first.report.session[31], 6);
    assert_true(seen.first.beside && seen.first.report.complete);
    assert_int_equal(seen.first.outcome, sotto_Outcome_OUTCOME_KEPT);
    ASSERT_OK(devstore_begin(s, &err));
    for (uint32_t i = 0; i < DEVSTORE_SECURE_KEPT + 20; i++) {
        r.terms.b[0] = (uint8_t)i;
        r.terms.b[1] = (uint8_t)(i >> 8);
        ASSERT_OK(devstore_secure_put(s, &r, &err));
    }
    ASSERT_OK(devstore_commit(s, &err));
    seen.count = 0;
    ASSERT_OK(devstore_secure_each(s, 100000, see, &seen, &err));
    assert_int_equal(seen.count, DEVSTORE_SECURE_KEPT);
    devstore_close(s);
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

/* A round under masks; child of a fork, killed at point `at`. True when it came to the end. */
static bool child_lives(const char *name, int at) {
    fflush(NULL);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        const struct wire_hash hash = hash_of(1);
        struct devstore *s = NULL;
        struct wire_hash message;
        bool ok = devstore_open(test_path(name), DEVSTORE_OWN, &s, NULL) == SOTTO_OK;
        kill_at = at;
        points_seen = 0;
        devstore_crash_point = die_at_point;
        ok = ok && accept(s, 1, NULL) == SOTTO_OK && ready(s, 1, NULL) == SOTTO_OK;
        ok = ok && devstore_begin(s, NULL) == SOTTO_OK &&
             devstore_secure_begin(s, &hash, 1, NULL) == SOTTO_OK &&
             devstore_commit(s, NULL) == SOTTO_OK;
        ok = ok && mask(s, 1, &message, NULL) == SOTTO_OK;
        ok = ok && outcome(s, 1, sotto_Outcome_OUTCOME_KEPT, NULL) == SOTTO_OK;
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
    int at = 1, masked = 0, coded = 0;
    for (;; at++) {
        struct sotto_error err = SOTTO_ERROR_INIT;
        struct wire_hash message;
        float r[COUNT];
        char name[32];
        snprintf(name, sizeof name, "kill%d", at);
        const bool lived = child_lives(name, at);
        struct devstore *s = open_store(name);
        const struct session_saved saved = saved_of(s);
        const enum sotto_status residual = residual_at(s, r);
        const int files = files_in(name);
        if (saved.stage == SESSION_READY && saved.masked) {
            masked++;
            assert_int_equal(residual, SOTTO_OK);
            assert_int_equal(files, 2); /* message, residual */
            assert_int_equal(saved.secure_attempt, 1);
            ASSERT_STATUS(mask(s, 1, &message, &err), SOTTO_DENIED);
        } else if (saved.stage == SESSION_READY) {
            coded++;
            assert_int_equal(residual, SOTTO_OK);
            assert_int_equal(files, 3); /* vector, residual, mass */
            ASSERT_OK(mask(s, 1, &message, &err));
        } else if (residual == SOTTO_OK) {
            assert_int_equal(files, 1); /* it is over */
        } else {
            assert_int_equal(files, 0);
        }
        if (residual == SOTTO_OK)
            assert_true(r[20] == 20.5f);
        devstore_close(s);
        if (lived)
            break;
    }
    assert_true(at > 12 && masked > 1 && coded > 3);
    print_message("killed at %d points\n", at - 1);
}

/* ---- An older store
 * -----------------------------------------------------------------------------------------------------------
 */

static void test_identity_of_old(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct devstore *s = open_store("old");
    struct devstore_identity i, back;
    sqlite3 *db = NULL;
    memset(&i, 0, sizeof i);
    i.serial = 3;
    id_keys_generate(&i.keys);
    id_curve_generate(&i.curve);
    memset(i.cert, 8, sizeof i.cert);
    i.certified = true;
    ASSERT_OK(devstore_identity_put(s, &i, "sotto1:abc", 4, view_of("doc", 3), &err));
    ASSERT_OK(devstore_identity_get(s, &back, &err));
    assert_true(back.certified);
    assert_memory_equal(back.cert, i.cert, ID_CERT_BYTES);
    devstore_close(s);
    assert_int_equal(sqlite3_open(test_path("old/device.db"), &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "UPDATE identity SET cert = NULL", NULL, NULL, NULL),
                     SQLITE_OK);
    sqlite3_close(db);
    s = open_store("old");
    ASSERT_OK(devstore_identity_get(s, &back, &err));
    assert_false(back.certified);
    assert_int_equal(back.serial, 3);
    devstore_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_life),
        cmocka_unit_test(test_returned),
        cmocka_unit_test(test_damaged_vector),
        cmocka_unit_test(test_forget),
        cmocka_unit_test(test_expires),
        cmocka_unit_test(test_records),
        cmocka_unit_test(test_kill_everywhere),
        cmocka_unit_test(test_identity_of_old),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
