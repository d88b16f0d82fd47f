/* Opening the store: pragmas, migrations by user_version, check after an unclean stop,
 * transactions, backup. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "store/store_int.h"

#define STORE_APPLICATION_ID 0x536f7474 /* "Sott" */
#define NFS_MAGIC            0x6969
#define STORE_COPY_MAX       ((size_t)4 << 30)

/* One entry a version, forward only; never edited once released. */
const char *const store_migrations[] = {
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;"
    "CREATE TABLE tickets (serial INTEGER PRIMARY KEY, ticket BLOB NOT NULL, curve_key BLOB NOT "
    "NULL UNIQUE,"
    "  expiry_ms INTEGER NOT NULL, spent INTEGER NOT NULL DEFAULT 0) STRICT;"
    "CREATE TABLE devices (serial INTEGER PRIMARY KEY, device_key BLOB NOT NULL UNIQUE, curve_key "
    "BLOB NOT NULL UNIQUE,"
    "  version TEXT NOT NULL, tier TEXT NOT NULL DEFAULT '', backend TEXT NOT NULL DEFAULT '',"
    "  enrolled_ms INTEGER NOT NULL, seen_ms INTEGER NOT NULL, revoked_ms INTEGER NOT NULL DEFAULT "
    "0,"
    "  rejected INTEGER NOT NULL DEFAULT 0, reports INTEGER NOT NULL DEFAULT 0) STRICT;"
    "CREATE TABLE tasks (id INTEGER PRIMARY KEY, task_id BLOB NOT NULL UNIQUE, name TEXT NOT NULL "
    "UNIQUE,"
    "  state INTEGER NOT NULL, created_ms INTEGER NOT NULL, next_round INTEGER NOT NULL,"
    "  train_rounds_done INTEGER NOT NULL, version INTEGER NOT NULL, yaml BLOB NOT NULL) STRICT;"
    "CREATE TABLE rounds (task INTEGER NOT NULL REFERENCES tasks(id), round INTEGER NOT NULL, kind "
    "INTEGER NOT NULL,"
    "  state INTEGER NOT NULL, opened_ms INTEGER NOT NULL, closed_ms INTEGER NOT NULL DEFAULT 0,"
    "  base_version INTEGER NOT NULL, version INTEGER NOT NULL DEFAULT 0, terms BLOB NOT NULL,"
    "  signature BLOB NOT NULL, signing_key BLOB NOT NULL, round_public BLOB NOT NULL, terms_hash "
    "BLOB NOT NULL UNIQUE,"
    "  members INTEGER NOT NULL, counted INTEGER NOT NULL DEFAULT 0, rejected INTEGER NOT NULL "
    "DEFAULT 0,"
    "  returned INTEGER NOT NULL DEFAULT 0, bytes_up INTEGER NOT NULL DEFAULT 0, bytes_down "
    "INTEGER NOT NULL DEFAULT 0,"
    "  train_examples INTEGER NOT NULL DEFAULT 0, train_loss REAL, train_accuracy REAL, reason "
    "TEXT NOT NULL DEFAULT '',"
    "  PRIMARY KEY (task, round)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE members (task INTEGER NOT NULL, round INTEGER NOT NULL, serial INTEGER NOT NULL,"
    "  grp INTEGER NOT NULL, state INTEGER NOT NULL, report_bytes INTEGER NOT NULL DEFAULT 0,"
    "  PRIMARY KEY (task, round, serial)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE groups (task INTEGER NOT NULL, round INTEGER NOT NULL, grp INTEGER NOT NULL,"
    "  members INTEGER NOT NULL, goal INTEGER NOT NULL, minimum INTEGER NOT NULL, state INTEGER "
    "NOT NULL,"
    "  PRIMARY KEY (task, round, grp)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE uploads (terms_hash BLOB NOT NULL, serial INTEGER NOT NULL, bytes INTEGER NOT "
    "NULL,"
    "  hash BLOB NOT NULL, PRIMARY KEY (terms_hash, serial)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE outcomes (serial INTEGER NOT NULL, terms_hash BLOB NOT NULL, outcome INTEGER NOT "
    "NULL,"
    "  at_ms INTEGER NOT NULL, PRIMARY KEY (serial, terms_hash)) STRICT, WITHOUT ROWID;"
    "CREATE INDEX outcomes_at ON outcomes (at_ms);"
    "CREATE TABLE versions (task INTEGER NOT NULL REFERENCES tasks(id), number INTEGER NOT NULL, "
    "parent INTEGER NOT NULL,"
    "  round INTEGER NOT NULL, origin TEXT NOT NULL, published INTEGER NOT NULL, created_ms "
    "INTEGER NOT NULL,"
    "  package_hash BLOB NOT NULL, digest BLOB NOT NULL, package_bytes INTEGER NOT NULL, test_loss "
    "REAL,"
    "  test_accuracy REAL, validation_loss REAL, validation_accuracy REAL, distill_gain REAL,"
    "  released INTEGER NOT NULL DEFAULT 0, kernel_set TEXT NOT NULL DEFAULT '', reason TEXT NOT "
    "NULL DEFAULT '',"
    "  PRIMARY KEY (task, number)) STRICT, WITHOUT ROWID;"
    "CREATE INDEX versions_package ON versions (package_hash);"
    "CREATE INDEX versions_digest ON versions (digest);"
    "CREATE TABLE events (id INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, kind TEXT "
    "NOT NULL,"
    "  task TEXT NOT NULL, round INTEGER NOT NULL, text TEXT NOT NULL) STRICT;"
    "CREATE INDEX events_at ON events (at_ms);",
    /* 2: how fast a device trains, as it says, and what went over its link, as we counted */
    "ALTER TABLE devices ADD COLUMN samples_per_s REAL NOT NULL DEFAULT 0;"
    "ALTER TABLE devices ADD COLUMN bytes_up INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE devices ADD COLUMN bytes_down INTEGER NOT NULL DEFAULT 0;",
    /* 3: secure groups: their sessions, the messages that members sent, the exchanges closed */
    "ALTER TABLE members ADD COLUMN attempt INTEGER NOT NULL DEFAULT 0;"
    "CREATE TABLE uploads_3 (terms_hash BLOB NOT NULL, serial INTEGER NOT NULL, attempt INTEGER "
    "NOT NULL, bytes INTEGER NOT NULL,"
    "  hash BLOB NOT NULL, PRIMARY KEY (terms_hash, serial, attempt)) STRICT, WITHOUT ROWID;"
    "INSERT INTO uploads_3 SELECT terms_hash, serial, 0, bytes, hash FROM uploads;"
    "DROP TABLE uploads;"
    "ALTER TABLE uploads_3 RENAME TO uploads;"
    "CREATE TABLE secure_groups (task INTEGER NOT NULL, round INTEGER NOT NULL, grp INTEGER NOT "
    "NULL, attempt INTEGER NOT NULL,"
    "  state INTEGER NOT NULL, members INTEGER NOT NULL, sharers INTEGER NOT NULL, survivors "
    "INTEGER NOT NULL, signers INTEGER NOT NULL,"
    "  unmaskers INTEGER NOT NULL, dropped_advertise INTEGER NOT NULL, dropped_shares INTEGER NOT "
    "NULL, dropped_masked INTEGER NOT NULL,"
    "  dropped_signature INTEGER NOT NULL, dropped_unmask INTEGER NOT NULL, degree INTEGER NOT "
    "NULL, threshold INTEGER NOT NULL,"
    "  minimum INTEGER NOT NULL, bad_shares INTEGER NOT NULL, complete INTEGER NOT NULL, beside "
    "INTEGER NOT NULL, bytes_up INTEGER NOT NULL,"
    "  bytes_down INTEGER NOT NULL, seconds REAL NOT NULL, started_ms INTEGER NOT NULL, ended_ms "
    "INTEGER NOT NULL, session BLOB NOT NULL,"
    "  reason TEXT NOT NULL, PRIMARY KEY (task, round, grp, attempt)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE secure_messages (task INTEGER NOT NULL, round INTEGER NOT NULL, grp INTEGER NOT "
    "NULL, attempt INTEGER NOT NULL,"
    "  exchange INTEGER NOT NULL, serial INTEGER NOT NULL, bytes INTEGER NOT NULL, hash BLOB NOT "
    "NULL, body BLOB NOT NULL,"
    "  PRIMARY KEY (task, round, grp, attempt, exchange, serial)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE secure_closes (task INTEGER NOT NULL, round INTEGER NOT NULL, grp INTEGER NOT "
    "NULL, attempt INTEGER NOT NULL,"
    "  exchange INTEGER NOT NULL, at_ms INTEGER NOT NULL, PRIMARY KEY (task, round, grp, attempt, "
    "exchange)) STRICT, WITHOUT ROWID;",
};
const size_t store_migration_count = ARRAY_LEN(store_migrations);

static enum sotto_status exec(struct store *s, const char *sql, const char *doing,
                              struct sotto_error *err) {
    if (sqlite3_exec(s->db, sql, NULL, NULL, NULL) != SQLITE_OK)
        return db_fail(s, doing, err);
    return SOTTO_OK;
}

static enum sotto_status pragma_int(struct store *s, const char *sql, int64_t *out,
                                    struct sotto_error *err) {
    sqlite3_stmt *stmt = NULL;
    if (sqlite3_prepare_v2(s->db, sql, -1, &stmt, NULL) != SQLITE_OK)
        return db_fail(s, sql, err);
    int rc = sqlite3_step(stmt);
    *out = rc == SQLITE_ROW ? sqlite3_column_int64(stmt, 0) : 0;
    sqlite3_finalize(stmt);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SOTTO_OK : db_fail(s, sql, err);
}

/* A copy beside the database before an older schema is changed; one of an interrupted try is
 * replaced. */
static enum sotto_status snapshot(struct store *s, const char *path, size_t version,
                                  struct sotto_error *err) {
    char copy[IO_PATH_MAX + 32];
    sqlite3_stmt *stmt = NULL;
    snprintf(copy, sizeof copy, "%s.schema%zu", path, version);
    enum sotto_status status = io_remove(copy, err);
    if (status != SOTTO_OK)
        return status;
    if (sqlite3_prepare_v2(s->db, "VACUUM INTO ?", -1, &stmt, NULL) != SQLITE_OK ||
        sqlite3_bind_text(stmt, 1, copy, -1, SQLITE_TRANSIENT) != SQLITE_OK ||
        sqlite3_step(stmt) != SQLITE_DONE)
        status = db_fail(s, "saving a copy before the schema changes", err);
    sqlite3_finalize(stmt);
    (void)chmod(copy, 0600);
    return status;
}

static enum sotto_status migrate_one(struct store *s, size_t version, struct sotto_error *err) {
    enum sotto_status status;
    char sql[128];
    TRY(exec(s, "BEGIN IMMEDIATE", "starting a migration", err));
    TRY(exec(s, store_migrations[version], "migrating", err));
    snprintf(sql, sizeof sql, "PRAGMA user_version=%zu; PRAGMA application_id=%d; COMMIT",
             version + 1, STORE_APPLICATION_ID);
    TRY(exec(s, sql, "committing a migration", err));
out:
    if (status != SOTTO_OK)
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    return status;
}

static enum sotto_status migrate(struct store *s, const char *path, struct sotto_error *err) {
    enum sotto_status status;
    int64_t version = 0, application = 0, tables = 0;
    TRY(pragma_int(s, "PRAGMA user_version", &version, err));
    TRY(pragma_int(s, "PRAGMA application_id", &application, err));
    TRY(pragma_int(s, "SELECT count(*) FROM sqlite_schema", &tables, err));
    if ((version != 0 || tables != 0) && application != STORE_APPLICATION_ID)
        TRY_FAIL(err, SOTTO_CORRUPT, "%s: not a coordinator's database", path);
    if (version < 0 || version > (int64_t)store_migration_count)
        TRY_FAIL(err, SOTTO_VERSION,
                 "%s: made by a newer sotto (schema %lld, this one knows %zu); upgrade sotto", path,
                 (long long)version, store_migration_count);
    for (size_t i = (size_t)version; i < store_migration_count; i++) {
        if (i > 0)
            TRY(snapshot(s, path, i, err));
        TRY(migrate_one(s, i, err));
    }
out:
    return status;
}

static enum sotto_status quick_check(struct store *s, const char *path, struct sotto_error *err) {
    sqlite3_stmt *stmt = NULL;
    if (sqlite3_prepare_v2(s->db, "PRAGMA quick_check(1)", -1, &stmt, NULL) != SQLITE_OK)
        return db_fail(s, "checking the database", err);
    const char *text =
        sqlite3_step(stmt) == SQLITE_ROW ? (const char *)sqlite3_column_text(stmt, 0) : NULL;
    bool good = text && strcmp(text, "ok") == 0;
    sqlite3_finalize(stmt);
    if (!good)
        return SOTTO_FAIL(err, SOTTO_CORRUPT,
                          "%s: the database is damaged; restore a backup with sottoctl restore",
                          path);
    return SOTTO_OK;
}

enum sotto_status store_open(const char *dir, struct store **out, struct sotto_error *err) {
    enum sotto_status status;
    char path[IO_PATH_MAX], wal[IO_PATH_MAX];
    struct statfs fs;
    struct store *s = mem_zalloc(sizeof *s);
    if (!s)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "store: out of memory");
    TRY(io_join(path, sizeof path, dir, "coordinator.db", err));
    TRY(io_join(wal, sizeof wal, dir, "coordinator.db-wal", err));
    if (statfs(dir, &fs) == 0 && fs.f_type == NFS_MAGIC)
        TRY_FAIL(err, SOTTO_UNSUPPORTED,
                 "%s: on a network filesystem, where the database's log does not work", dir);
    bool unclean = io_file_size(wal) > 0;
    if (sqlite3_open_v2(path, &s->db,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                        NULL) != SQLITE_OK)
        TRY_FAIL(err, SOTTO_IO, "%s: cannot be opened: %s", path,
                 s->db ? sqlite3_errmsg(s->db) : "out of memory");
    sqlite3_extended_result_codes(s->db, 1);
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_busy_timeout(s->db, 5000);
    TRY(exec(s,
             "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA "
             "trusted_schema=OFF;"
             "PRAGMA cell_size_check=ON; PRAGMA mmap_size=0; PRAGMA secure_delete=ON; PRAGMA "
             "cache_size=-2048;"
             "PRAGMA journal_size_limit=8388608",
             path, err));
    (void)chmod(path, 0600);
    if (unclean)
        TRY(quick_check(s, path, err));
    TRY(migrate(s, path, err));
    *out = s;
    return SOTTO_OK;
out:
    store_close(s);
    return status;
}

void store_close(struct store *s) {
    if (!s)
        return;
    for (size_t i = 0; i < s->statement_count; i++)
        sqlite3_finalize(s->statements[i].stmt);
    if (s->db && s->in_transaction)
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    sqlite3_close(s->db);
    mem_free(s);
}

enum sotto_status store_begin(struct store *s, struct sotto_error *err) {
    if (s->in_transaction)
        return SOTTO_OK;
    enum sotto_status status = exec(s, "BEGIN IMMEDIATE", "starting a transaction", err);
    s->in_transaction = status == SOTTO_OK;
    return status;
}

enum sotto_status store_commit(struct store *s, struct sotto_error *err) {
    if (!s->in_transaction)
        return SOTTO_OK;
    enum sotto_status status = exec(s, "COMMIT", "committing", err);
    if (status == SOTTO_OK)
        s->in_transaction = false;
    return status;
}

bool store_failed(const struct store *s) {
    return s->failed;
}

bool store_in_transaction(const struct store *s) {
    return s->in_transaction;
}

enum sotto_status store_backup(struct store *s, const char *path, struct sotto_error *err) {
    if (io_exists(path))
        return SOTTO_FAIL(err, SOTTO_EXISTS, "%s: exists already; a backup never overwrites", path);
    sqlite3 *to = NULL;
    enum sotto_status status = SOTTO_OK;
    if (sqlite3_open(path, &to) != SQLITE_OK) {
        status = SOTTO_FAIL(err, SOTTO_IO, "%s: cannot be made: %s", path,
                            to ? sqlite3_errmsg(to) : "out of memory");
        goto out;
    }
    sqlite3_backup *backup = sqlite3_backup_init(to, "main", s->db, "main");
    if (!backup || sqlite3_backup_step(backup, -1) != SQLITE_DONE)
        status = SOTTO_FAIL(err, SOTTO_IO, "%s: backup failed: %s", path, sqlite3_errmsg(to));
    if (backup)
        sqlite3_backup_finish(backup);
    (void)chmod(path, 0600);
out:
    sqlite3_close(to);
    return status;
}

enum sotto_status store_copy_file(const char *from_dir, const char *name, const char *to_dir,
                                  struct sotto_error *err) {
    enum sotto_status status;
    char from[IO_PATH_MAX], to[IO_PATH_MAX];
    struct buf b;
    buf_init(&b, STORE_COPY_MAX);
    TRY(io_join(from, sizeof from, from_dir, name, err));
    TRY(io_join(to, sizeof to, to_dir, name, err));
    TRY(io_read_file(from, STORE_COPY_MAX, &b, err));
    TRY(io_write_file(to, b.data, b.len, 0600, true, err));
out:
    buf_deinit(&b);
    return status;
}

struct copying {
    const char *from, *to;
    struct sotto_error *err;
};
static enum sotto_status copy_one(void *ctx, const char *name) {
    const struct copying *k = ctx;
    return store_copy_file(k->from, name, k->to, k->err);
}

enum sotto_status store_copy_files(const char *from, const char *to, struct sotto_error *err) {
    static const char *const folders[] = {"keys", "blobs/packages", "blobs/masters", "blobs/states",
                                          "authority"};
    enum sotto_status status = SOTTO_OK;
    char source[IO_PATH_MAX], target[IO_PATH_MAX];
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        TRY(io_join(source, sizeof source, from, folders[i], err));
        TRY(io_join(target, sizeof target, to, folders[i], err));
        if (!io_exists(source))
            continue;
        TRY(io_mkdir_p(target, 0700, err));
        struct copying k = {source, target, err};
        TRY(io_list(source, copy_one, &k, err));
        TRY(io_fsync_dir(target, err));
    }
out:
    return status;
}

enum sotto_status store_meta_set(struct store *s, const char *key, struct view value,
                                 struct sotto_error *err) {
    return db_run(s, err,
                  "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET "
                  "value = excluded.value",
                  "tb", key, value);
}

enum sotto_status store_meta_get(struct store *s, const char *key, struct buf *out,
                                 struct sotto_error *err) {
    sqlite3_stmt *stmt;
    enum sotto_status status =
        db_one(s, &stmt, key, err, "SELECT value FROM meta WHERE key = ?", "t", key);
    if (status != SOTTO_OK)
        return status;
    buf_reset(out);
    buf_put(out, sqlite3_column_blob(stmt, 0), (size_t)sqlite3_column_bytes(stmt, 0));
    db_done(stmt);
    return out->status == SOTTO_OK ? SOTTO_OK
                                   : SOTTO_FAIL(err, out->status, "setting %s is too large", key);
}
