/* The coordinator's store: every record, migrations, retention, restore, damage, locks, full disks,
 * kills between steps. */
#include "store/store_int.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "round/round_int.h"
#include "support.h"

static struct sotto_error err;

static struct store *opened(const char *name) {
    struct store *s = NULL;
    ASSERT_OK(io_mkdir_p(test_path(name), 0700, &err));
    ASSERT_OK(store_open(test_path(name), &s, &err));
    return s;
}

static void commit(struct store *s) {
    assert_true(store_in_transaction(s));
    ASSERT_OK(store_commit(s, &err));
    assert_false(store_in_transaction(s));
}

static struct store_task a_task(struct store *s, const char *name) {
    struct store_task t = {.created_ms = 5, .next_round = 1, .version = 1};
    snprintf(t.name, sizeof t.name, "%s", name);
    memset(t.task_id, name[0], sizeof t.task_id);
    t.yaml = mem_dup("cohort: 2\n", 11);
    t.yaml_bytes = 10;
    ASSERT_OK(store_task_add(s, &t, &err));
    return t;
}

static struct wire_hash hash_of(unsigned n) {
    struct wire_hash h;
    memset(h.b, (int)n, sizeof h.b);
    return h;
}

static void a_round(struct store *s, int64_t task, uint32_t number, enum store_round_state state,
                    int64_t closed_ms) {
    struct store_round r = {.task = task, .round = number, .kind = ROUND_TRAIN, .opened_ms = 1};
    struct round_member members[2] = {{.serial = 3}, {.serial = 9, .group = 1}};
    struct round_group groups[2] = {{.members = 1, .goal = 1, .minimum = 1},
                                    {.members = 1, .goal = 1, .minimum = 1}};
    r.base_version = 1;
    r.terms_bytes = 4;
    memcpy(r.terms, "abcd", 4);
    r.terms_hash = hash_of(number);
    ASSERT_OK(store_round_add(s, &r, members, 2, groups, 2, &err));
    r.state = state;
    r.closed_ms = closed_ms;
    r.counted = 2;
    r.train_loss = 0.5;
    r.train_accuracy = NAN;
    snprintf(r.reason, sizeof r.reason, "because");
    if (state >= STORE_ROUND_COMMITTED)
        ASSERT_OK(store_round_close(s, &r, &err));
}

static void a_version(struct store *s, int64_t task, uint32_t number, bool current) {
    struct store_version v = {.task = task,
                              .number = number,
                              .parent = number - 1,
                              .published = number != 3,
                              .package_hash = hash_of(100 + number),
                              .digest = hash_of(200 + number),
                              .test_loss = NAN,
                              .validation_loss = 1.0 / number,
                              .validation_accuracy = 0.1 * number};
    snprintf(v.origin, sizeof v.origin, "round");
    ASSERT_OK(store_version_add(s, &v, current, &err));
}

static void an_identity(struct store *s, uint64_t serial, struct id_cert *cert) {
    static struct id_keys authority;
    struct id_token token;
    struct id_keys keys;
    struct id_curve curve;
    if (!authority.public_key[0])
        id_keys_generate(&authority);
    struct id_document d = {.version = 4, .endpoint_count = 1};
    struct buf bytes;
    buf_init(&bytes, 4096);
    memcpy(d.authority_key, authority.public_key, ID_KEY);
    snprintf(d.endpoints[0].address, ID_ADDRESS_MAX, "tcp://127.0.0.1:1");
    id_curve_generate(&curve);
    memcpy(d.endpoints[0].curve_key, curve.public_key, ID_KEY);
    id_keys_generate(&keys);
    memcpy(d.signing_key, keys.public_key, ID_KEY);
    ASSERT_OK(id_document_sign(&d, &authority, &bytes, &err));
    ASSERT_OK(id_token_issue(&authority, serial, 1000, buf_view(&bytes), &token, &err));
    id_keys_generate(&keys);
    id_curve_generate(&curve);
    id_cert_make(&token, keys.public_key, curve.public_key, cert);
    if (serial == 1)
        ASSERT_OK(store_meta_set(s, "document", buf_view(&bytes), &err));
    id_token_deinit(&token);
    buf_deinit(&bytes);
}

static enum sotto_status count_devices(void *ctx, const struct store_device *d) {
    (void)d;
    ++*(int *)ctx;
    return SOTTO_OK;
}
static enum sotto_status count_tickets(void *ctx, const struct store_ticket *t) {
    (void)t;
    ++*(int *)ctx;
    return SOTTO_OK;
}

static void identities_are_kept(void **state) {
    (void)state;
    struct store *s = opened("identities");
    struct id_cert cert, other;
    struct store_ticket ticket;
    struct store_device d;
    uint64_t first, *revoked;
    uint32_t revoked_count;
    int n = 0;
    bool known;
    ASSERT_OK(store_begin(s, &err));
    ASSERT_OK(store_serial_reserve(s, 5, &first, &err));
    assert_int_equal(first, 1);
    ASSERT_OK(store_serial_reserve(s, 0, &first, &err));
    assert_int_equal(first, 6);
    an_identity(s, 1, &cert);
    an_identity(s, 2, &other);
    ASSERT_STATUS(store_ticket_get(s, 1, &ticket, &err), SOTTO_NOT_FOUND);
    ASSERT_OK(store_ticket_add(s, &cert.ticket, &err));
    ASSERT_FAILS(store_ticket_add(s, &cert.ticket, &err), SOTTO_EXISTS, "ticket 1 is known");
    assert_false(store_failed(s)); /* a refused record is no fault of the database */
    ASSERT_OK(store_ticket_add(s, &other.ticket, &err));
    ASSERT_OK(store_device_add(s, &cert, "1.0", 77, &err));
    ASSERT_FAILS(store_device_add(s, &cert, "1.0", 77, &err), SOTTO_DENIED, "enrolled already");
    ASSERT_OK(store_ticket_get(s, 1, &ticket, &err));
    assert_true(ticket.spent);
    assert_memory_equal(&ticket.ticket, &cert.ticket, sizeof cert.ticket);
    ASSERT_OK(store_curve_known(s, cert.device_curve, &known, &err));
    assert_true(known);
    ASSERT_OK(store_curve_known(s, other.device_curve, &known, &err));
    assert_false(known);
    ASSERT_OK(store_device_seen(s, 1, 99, "1.1", "big", "cpu", 250.5, &err));
    ASSERT_OK(store_device_moved(s, 1, 10, 0, &err));
    ASSERT_OK(store_device_moved(s, 1, 5, 7, &err));
    ASSERT_OK(store_device_count_report(s, 1, false, &err));
    ASSERT_OK(store_device_count_report(s, 1, true, &err));
    ASSERT_OK(store_device_get(s, 1, &d, &err));
    assert_string_equal(d.tier, "big");
    assert_int_equal(d.seen_ms, 99);
    assert_int_equal(d.reports, 1);
    assert_int_equal(d.rejected, 1);
    assert_true(d.samples_per_s == 250.5);
    assert_int_equal(d.bytes_up, 15);
    assert_int_equal(d.bytes_down, 7);
    ASSERT_OK(store_device_revoke(s, 1, 55, &err));
    ASSERT_OK(store_device_revoke(s, 1, 66, &err)); /* the first time holds */
    ASSERT_OK(store_device_get(s, 1, &d, &err));
    assert_int_equal(d.revoked_ms, 55);
    ASSERT_OK(store_revoked(s, &revoked, &revoked_count, &err));
    assert_int_equal(revoked_count, 1);
    assert_int_equal(revoked[0], 1);
    mem_free(revoked);
    ASSERT_OK(store_device_each(s, count_devices, &n, &err));
    assert_int_equal(n, 1);
    n = 0;
    ASSERT_OK(store_ticket_each_open(s, 999, count_tickets, &n, &err));
    assert_int_equal(n, 2);
    n = 0;
    ASSERT_OK(store_ticket_each_open(s, 1000, count_tickets, &n, &err));
    assert_int_equal(n, 0);
    commit(s);
    store_close(s);
}

static void rounds_are_kept(void **state) {
    (void)state;
    struct store *s = opened("rounds");
    struct store_round r;
    struct store_member *m;
    struct store_group *g;
    uint32_t count;
    sotto_Outcome outcome;
    struct store_upload u = {1000, hash_of(7)}, got;
    ASSERT_OK(store_begin(s, &err));
    struct store_task t = a_task(s, "digits"), again;
    ASSERT_STATUS(store_round_get(s, t.id, 0, &r, &err), SOTTO_NOT_FOUND);
    a_round(s, t.id, 1, STORE_ROUND_COMMITTED, 10);
    a_round(s, t.id, 2, STORE_ROUND_OPEN, 0);
    ASSERT_OK(store_round_down(s, t.id, 2, 4321, &err));
    ASSERT_OK(store_round_get(s, t.id, 0, &r, &err));
    assert_int_equal(r.round, 2);
    assert_int_equal(r.bytes_down, 4321);
    assert_true(isnan(r.train_loss));
    ASSERT_OK(store_round_get(s, t.id, 1, &r, &err));
    assert_true(r.train_loss == 0.5 && isnan(r.train_accuracy));
    assert_string_equal(r.reason, "because");
    struct wire_hash terms = hash_of(2);
    ASSERT_OK(store_round_by_terms(s, &terms, &r, &err));
    assert_int_equal(r.terms_bytes, 4);
    ASSERT_OK(store_member_report(s, t.id, 2, 9, ROUND_STORED, 123, &err));
    ASSERT_OK(store_member_set(s, t.id, 2, 3, ROUND_DROPPED, &err));
    ASSERT_OK(store_group_set(s, t.id, 2, 1, ROUND_GROUP_SUMMED, &err));
    ASSERT_OK(store_members(s, t.id, 2, &m, &count, &err));
    assert_int_equal(count, 2);
    assert_int_equal(m[0].state, ROUND_DROPPED);
    assert_int_equal(m[1].report_bytes, 123);
    mem_free(m);
    ASSERT_OK(store_groups(s, t.id, 2, &g, &count, &err));
    assert_int_equal(count, 2);
    assert_int_equal(g[1].state, ROUND_GROUP_SUMMED);
    mem_free(g);
    ASSERT_OK(store_members(s, t.id, 9, &m, &count, &err));
    assert_int_equal(count, 0);
    ASSERT_STATUS(store_upload_get(s, &terms, 9, 0, &got, &err), SOTTO_NOT_FOUND);
    ASSERT_OK(store_upload_set(s, &terms, 9, 0, &u, &err));
    ASSERT_STATUS(store_upload_set(s, &terms, 9, 0, &u, &err), SOTTO_EXISTS);
    ASSERT_OK(store_upload_get(s, &terms, 9, 0, &got, &err));
    assert_int_equal(got.bytes, 1000);
    ASSERT_OK(store_upload_clear(s, &terms, &err));
    ASSERT_STATUS(store_upload_get(s, &terms, 9, 0, &got, &err), SOTTO_NOT_FOUND);
    ASSERT_OK(store_outcome_set(s, 9, &terms, sotto_Outcome_OUTCOME_KEPT, 1, &err));
    ASSERT_OK(store_outcome_set(s, 9, &terms, sotto_Outcome_OUTCOME_RETURNED, 2, &err));
    ASSERT_OK(store_outcome_get(s, 9, &terms, &outcome, &err));
    assert_int_equal(outcome, sotto_Outcome_OUTCOME_KEPT); /* what was said first holds */
    ASSERT_OK(store_round_state_set(s, t.id, 2, STORE_ROUND_ADVANCING, &err));
    ASSERT_OK(store_task_progress(s, t.id, 3, 2, &err));
    ASSERT_OK(store_task_state_set(s, t.id, STORE_TASK_PAUSED, &err));
    ASSERT_OK(store_task_get(s, "digits", &again, &err));
    assert_int_equal(again.next_round, 3);
    assert_int_equal(again.state, STORE_TASK_PAUSED);
    assert_memory_equal(again.yaml, "cohort: 2\n", 11);
    store_task_deinit(&again);
    ASSERT_FAILS(store_task_get(s, "no\nsuch", &again, &err), SOTTO_NOT_FOUND, "no\\x0asuch");
    commit(s);
    store_task_deinit(&t);
    store_close(s);
}

static void retention_keeps_what_is_named(void **state) {
    (void)state;
    struct store *s = opened("retention");
    struct store_version v;
    struct store_round r;
    double loss, accuracy;
    bool used;
    uint32_t last, count;
    struct store_member *m;
    ASSERT_OK(store_begin(s, &err));
    struct store_task t = a_task(s, "t");
    for (uint32_t n = 1; n <= 12; n++)
        a_version(s, t.id, n, n == 5); /* 5 is current: a rollback, say */
    ASSERT_OK(store_version_release(s, t.id, 2, &err));
    a_round(s, t.id, 1, STORE_ROUND_OPEN, 0); /* trains from version 1 */
    a_round(s, t.id, 2, STORE_ROUND_COMMITTED, 10);
    a_round(s, t.id, 3, STORE_ROUND_COMMITTED, 1000);
    ASSERT_OK(store_event_add(s, 5, "a", "t", 1, "old", &err));
    ASSERT_OK(store_event_add(s, 500, "b", "t", 1, "new", &err));
    ASSERT_OK(store_version_best(s, t.id, &loss, &accuracy, &err));
    assert_true(loss == 1.0 / 12 && accuracy == 0.1 * 12);
    const struct store_keep keep = {2, 100, 100};
    ASSERT_OK(store_retain(s, &keep, &err));
    for (uint32_t n = 1; n <= 12; n++) {
        bool kept = n == 1 || n == 2 || n == 4 || n == 5 || n >= 11;
        assert_int_equal(store_version_get(s, t.id, n, &v, &err),
                         kept ? SOTTO_OK : SOTTO_NOT_FOUND);
        struct wire_hash h = hash_of(100 + n);
        ASSERT_OK(store_blob_used(s, &h, &used, &err));
        assert_int_equal(used, kept);
    }
    ASSERT_OK(store_version_last(s, t.id, &last, &err));
    assert_int_equal(last, 12);
    ASSERT_OK(store_members(s, t.id, 1, &m, &count, &err));
    assert_int_equal(count, 2);
    mem_free(m);
    ASSERT_OK(store_members(s, t.id, 2, &m, &count, &err));
    assert_int_equal(count, 0);
    ASSERT_OK(store_members(s, t.id, 3, &m, &count, &err));
    assert_int_equal(count, 2);
    mem_free(m);
    ASSERT_OK(store_round_get(s, t.id, 2, &r, &err)); /* among the newest thousand */
    ASSERT_OK(store_task_progress(s, t.id, 2000, 1, &err));
    ASSERT_OK(store_retain(s, &keep, &err));
    ASSERT_STATUS(store_round_get(s, t.id, 2, &r, &err), SOTTO_NOT_FOUND);
    ASSERT_OK(store_round_get(s, t.id, 1, &r, &err));
    ASSERT_OK(store_round_get(s, t.id, 3, &r, &err));
    commit(s);
    store_task_deinit(&t);
    store_close(s);
}

static void a_restore_goes_on_far_later(void **state) {
    (void)state;
    struct store *s = opened("restore"), *copy = NULL;
    struct id_cert cert;
    struct store_task t2;
    struct store_round r;
    sotto_Outcome outcome;
    uint64_t first, floor;
    struct buf b;
    ASSERT_OK(store_begin(s, &err));
    struct store_task t = a_task(s, "t");
    an_identity(s, 1, &cert);
    a_round(s, t.id, 1, STORE_ROUND_COMMITTED, 10);
    a_round(s, t.id, 2, STORE_ROUND_OPEN, 0);
    struct wire_hash terms = hash_of(2);
    ASSERT_OK(store_outcome_set(s, 3, &terms, sotto_Outcome_OUTCOME_KEPT, 1, &err));
    ASSERT_OK(store_serial_reserve(s, 7, &first, &err));
    commit(s);
    ASSERT_OK(io_mkdir_p(test_path("copy"), 0700, &err));
    ASSERT_OK(store_backup(s, test_path("copy/coordinator.db"), &err));
    ASSERT_FAILS(store_backup(s, test_path("copy/coordinator.db"), &err), SOTTO_EXISTS,
                 "never overwrites");
    store_close(s);
    ASSERT_OK(store_open(test_path("copy"), &copy, &err));
    ASSERT_OK(store_begin(copy, &err));
    ASSERT_OK(store_after_restore(copy, 50, &err));
    commit(copy);
    ASSERT_STATUS(store_round_get(copy, t.id, 0, &r, &err), SOTTO_NOT_FOUND);
    ASSERT_OK(store_round_get(copy, t.id, 2, &r, &err));
    assert_int_equal(r.state, STORE_ROUND_FAILED);
    ASSERT_OK(store_outcome_get(copy, 3, &terms, &outcome, &err));
    assert_int_equal(outcome, sotto_Outcome_OUTCOME_KEPT);
    ASSERT_OK(store_outcome_get(copy, 9, &terms, &outcome, &err));
    assert_int_equal(outcome, sotto_Outcome_OUTCOME_RETURNED);
    ASSERT_OK(store_task_get(copy, "t", &t2, &err));
    assert_int_equal(t2.next_round, 3 + (1 << 20));
    assert_int_equal(t2.train_rounds_done, 1); /* the open one, as every failed round */
    ASSERT_OK(store_begin(copy, &err));
    ASSERT_OK(store_serial_reserve(copy, 1, &first, &err));
    assert_int_equal(first, 8 + (1 << 20));
    buf_init(&b, 8);
    ASSERT_OK(store_meta_get(copy, STORE_DOCUMENT_FLOOR, &b, &err));
    memcpy(&floor, b.data, 8);
    assert_int_equal(floor, 4 + (1 << 20));
    buf_deinit(&b);
    store_task_deinit(&t);
    store_task_deinit(&t2);
    store_close(copy);
}

static void overwrite(const char *path, long at, const char *bytes, size_t n) {
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, at, SEEK_SET), 0);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static void foreign_and_damaged_files(void **state) {
    (void)state;
    struct store *s = opened("foreign");
    sqlite3 *db;
    char garbage[4096];
    store_close(s);
    const char *path = test_path("foreign/coordinator.db");
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "PRAGMA user_version=99", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    ASSERT_FAILS(store_open(test_path("foreign"), &s, &err), SOTTO_VERSION, "newer sotto");
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(db, "PRAGMA user_version=0; PRAGMA application_id=0", NULL, NULL, NULL),
        SQLITE_OK);
    sqlite3_close(db);
    ASSERT_FAILS(store_open(test_path("foreign"), &s, &err), SOTTO_CORRUPT,
                 "not a coordinator's database");
    memset(garbage, 0x5a, sizeof garbage);
    overwrite(path, 0, garbage, 100);
    ASSERT_FAILS(store_open(test_path("foreign"), &s, &err), SOTTO_CORRUPT, "restore a backup");
    /* Damage in the middle is found when the last stop was not clean. */
    s = opened("damaged");
    ASSERT_OK(store_begin(s, &err));
    for (int i = 0; i < 500; i++)
        ASSERT_OK(store_event_add(s, i, "kind", "task", 1, "some text to fill a few pages", &err));
    commit(s);
    store_close(s);
    path = test_path("damaged/coordinator.db");
    for (long at = 2 * 4096; at < 30 * 4096; at += 4096)
        overwrite(path, at, garbage, 64);
    ASSERT_OK(io_write_file(test_path("damaged/coordinator.db-wal"), "x", 1, 0600, false, &err));
    ASSERT_FAILS(store_open(test_path("damaged"), &s, &err), SOTTO_CORRUPT, "restore a backup");
}

static void a_locked_database_says_so(void **state) {
    (void)state;
    struct store *s = opened("locked");
    sqlite3 *db;
    sqlite3_busy_timeout(s->db, 50);
    assert_int_equal(sqlite3_open(test_path("locked/coordinator.db"), &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    ASSERT_FAILS(store_begin(s, &err), SOTTO_BUSY, "locked by another process");
    assert_true(store_failed(s));
    sqlite3_close(db);
    store_close(s);
}

/* A file size limit stands for a full disk: what is written past it fails, what was committed
 * stays. */
static void a_full_disk_loses_nothing(void **state) {
    (void)state;
    struct store *s = opened("full");
    struct rlimit before, small;
    enum sotto_status status = SOTTO_OK;
    int written = 0;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 400000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    for (int i = 0; i < 5000 && status == SOTTO_OK; i++) {
        status = store_begin(s, &err);
        for (int k = 0; k < 20 && status == SOTTO_OK; k++)
            status = store_event_add(s, i, "kind", "task", (uint32_t)i,
                                     "a text that fills the database as events do", &err);
        if (status == SOTTO_OK)
            status = store_commit(s, &err);
        written += status == SOTTO_OK;
    }
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_not_equal(status, SOTTO_OK);
    assert_true(store_failed(s) && written > 0);
    store_close(s);
    s = opened("full");
    sqlite3_stmt *stmt;
    ASSERT_OK(db_one(s, &stmt, "count", &err, "SELECT count(*) FROM events", ""));
    int64_t kept = sqlite3_column_int64(stmt, 0);
    db_done(stmt);
    assert_true(kept == 20 * written || kept == 20 * (written + 1));
    store_close(s);
}

/* A child that dies between any two steps leaves whole transactions. */
static void kills_leave_whole_transactions(void **state) {
    (void)state;
    struct store *s = opened("kills");
    store_close(s);
    for (int steps = 0; steps < 12; steps++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            struct store *c = NULL;
            int left = steps;
            if (store_open(test_path("kills"), &c, NULL) != SOTTO_OK)
                _exit(1);
            for (int i = 0;; i++) {
                struct wire_hash h = hash_of((unsigned)(steps * 20 + i));
                (void)store_begin(c, NULL);
                if (left-- == 0)
                    (void)kill(getpid(), SIGKILL);
                (void)store_outcome_set(c, 1, &h, sotto_Outcome_OUTCOME_KEPT, 1, NULL);
                if (left-- == 0)
                    (void)kill(getpid(), SIGKILL);
                (void)store_outcome_set(c, 2, &h, sotto_Outcome_OUTCOME_KEPT, 1, NULL);
                if (left-- == 0)
                    (void)kill(getpid(), SIGKILL);
                (void)store_commit(c, NULL);
            }
        }
        int how;
        assert_int_equal(waitpid(child, &how, 0), child);
        assert_true(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);
        s = opened("kills"); /* checks itself after the unclean stop */
        sqlite3_stmt *stmt;
        ASSERT_OK(db_one(s, &stmt, "count", &err,
                         "SELECT sum(serial = 1) - sum(serial = 2), count(*) FROM outcomes", ""));
        assert_int_equal(sqlite3_column_int64(stmt, 0), 0);
        db_done(stmt);
        store_close(s);
    }
}

static enum sotto_status see(void *ctx, uint64_t id, int64_t at_ms, const char *kind,
                             const char *task, uint32_t round, const char *text) {
    uint64_t *last = ctx;
    assert_true(id > *last);
    assert_true(at_ms >= 0 && kind[0] && task[0] && text[0]);
    (void)round;
    *last = id;
    return SOTTO_OK;
}

static void events_come_in_order(void **state) {
    (void)state;
    struct store *s = opened("events");
    uint64_t last = 0;
    ASSERT_OK(store_begin(s, &err));
    for (uint32_t i = 0; i < 10; i++)
        ASSERT_OK(store_event_add(s, i, "k", "t", i, "x", &err));
    commit(s);
    ASSERT_OK(store_event_each(s, 0, 3, see, &last, &err));
    assert_int_equal(last, 10);
    last = 7;
    ASSERT_OK(store_event_each(s, 7, 0, see, &last, &err));
    assert_int_equal(last, 10);
    store_close(s);
}

static void migrations_end_at_the_newest(void **state) {
    (void)state;
    struct store *s = opened("new");
    sqlite3_stmt *stmt;
    ASSERT_OK(db_one(s, &stmt, "version", &err, "PRAGMA user_version", ""));
    assert_int_equal(sqlite3_column_int64(stmt, 0), store_migration_count);
    db_done(stmt);
    store_close(s);
    s = opened("new"); /* and again: nothing to do */
    store_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(identities_are_kept),
        cmocka_unit_test(rounds_are_kept),
        cmocka_unit_test(retention_keeps_what_is_named),
        cmocka_unit_test(a_restore_goes_on_far_later),
        cmocka_unit_test(foreign_and_damaged_files),
        cmocka_unit_test(a_locked_database_says_so),
        cmocka_unit_test(a_full_disk_loses_nothing),
        cmocka_unit_test(kills_leave_whole_transactions),
        cmocka_unit_test(events_come_in_order),
        cmocka_unit_test(migrations_end_at_the_newest),
    };
    assert_int_equal(id_setup(&err), SOTTO_OK);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
