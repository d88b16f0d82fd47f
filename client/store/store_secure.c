/* Under masks: the coded vector, its change into the masked message, and the record of the sessions
 * that the device took part in.
 *
 * The vector's file: "SOTTOCOD" | ring bits u32 | 0 u32 | coordinates u64 | packed codes; its hash
 * stands in the row. */
#include "store/store_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CODES_MAGIC "SOTTOCOD"
#define CODES_LABEL "sotto codes v1"
#define CODES_HEAD  24u
#define CODES_PIECE 16384u /* codes written or checked at a time; a multiple of 8 */

static enum sotto_status write_all(struct devstore *s, int fd, const uint8_t *p, size_t n,
                                   struct sotto_error *err) {
    while (n > 0) {
        const ssize_t done = write(fd, p, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0) {
            s->failed = true;
            return SOTTO_FAIL_SYS(err, store_errno(errno), "cannot write an update under masks");
        }
        p += done;
        n -= (size_t)done;
    }
    return SOTTO_OK;
}

/* ---- The coded vector
 * -----------------------------------------------------------------------------------------------------
 */

static void codes_head(uint8_t head[CODES_HEAD], unsigned ring_bits, uint64_t length) {
    memset(head, 0, CODES_HEAD);
    memcpy(head, CODES_MAGIC, 8);
    for (unsigned i = 0; i < 4; i++)
        head[8 + i] = (uint8_t)(ring_bits >> (8 * i));
    for (unsigned i = 0; i < 8; i++)
        head[16 + i] = (uint8_t)(length >> (8 * i));
}

static enum sotto_status codes_write(struct devstore *s, const uint32_t *codes, uint64_t length,
                                     unsigned ring_bits, struct store_report *out,
                                     struct sotto_error *err) {
    enum sotto_status status;
    uint8_t head[CODES_HEAD];
    int fd = -1;
    struct wire_hasher *hasher = wire_hasher_new(CODES_LABEL);
    uint8_t *piece = mem_alloc(secagg_ring_bytes(ring_bits, CODES_PIECE));
    if (hasher == NULL || piece == NULL)
        TRY_FAIL(err, SOTTO_NOMEM, "no memory to store a coded update");
    TRY(store_file_begin(s, "codes", out->file, &fd, err));
    codes_head(head, ring_bits, length);
    TRY(write_all(s, fd, head, CODES_HEAD, err));
    wire_hasher_add(hasher, view_of(head, CODES_HEAD));
    out->bytes = CODES_HEAD + secagg_ring_bytes(ring_bits, length);
    for (uint64_t at = 0; at < length; at += CODES_PIECE) {
        const size_t count = (size_t)num_min_u64(CODES_PIECE, length - at);
        const size_t bytes = secagg_ring_bytes(ring_bits, count);
        secagg_ring_pack(ring_bits, codes + at, count, piece);
        wire_hasher_add(hasher, view_of(piece, bytes));
        TRY(write_all(s, fd, piece, bytes, err));
    }
    out->hash = wire_hasher_finish(hasher);
    hasher = NULL;
    TRY(store_file_end(s, out->file, fd, err));
    fd = -1;
out:
    if (fd >= 0)
        close(fd);
    if (hasher != NULL)
        (void)wire_hasher_finish(hasher);
    mem_free(piece);
    return status;
}

enum sotto_status devstore_ready(struct devstore *s, const struct devstore_seal *seal,
                                 const uint32_t *codes, uint64_t length, unsigned ring_bits,
                                 int64_t now_ms, struct sotto_error *err) {
    struct store_report report = {.masks = STORE_CODES, .now_ms = now_ms};
    if (!secagg_ring_valid(ring_bits) || length == 0 || length > SECAGG_LENGTH_MAX)
        return SOTTO_FAIL(err, SOTTO_INVALID, "a coded update in a ring of %u bits", ring_bits);
    enum sotto_status status = devstore_begin(s, err);
    if (status != SOTTO_OK)
        return status;
    TRY(codes_write(s, codes, length, ring_bits, &report, err));
    TRY(store_seal(s, seal, &report, err));
    TRY(devstore_commit(s, err));
out:
    if (status != SOTTO_OK)
        devstore_rollback(s);
    return status;
}

struct codes_row {
    char file[STORE_FILE_NAME], decoded[STORE_FILE_NAME], change[STORE_FILE_NAME];
    uint64_t bytes;
    struct wire_hash hash;
};

static void copy_name(sqlite3_stmt *stmt, int column, char out[STORE_FILE_NAME]) {
    out[0] = '\0';
    if (sqlite3_column_type(stmt, column) == SQLITE_TEXT)
        snprintf(out, STORE_FILE_NAME, "%s", (const char *)sqlite3_column_text(stmt, column));
}

static enum sotto_status codes_row(struct devstore *s, const struct wire_hash *terms,
                                   struct codes_row *out, struct sotto_error *err) {
    sqlite3_stmt *stmt = NULL;
    enum sotto_status status;
    TRY(db_first(s, err, &stmt, "update to mask under these terms",
                 "SELECT file, decoded, change, bytes, hash FROM report WHERE terms_hash = ?"
                 " AND masks = 1",
                 "b", terms->b, (size_t)WIRE_HASH));
    copy_name(stmt, 0, out->file);
    copy_name(stmt, 1, out->decoded);
    copy_name(stmt, 2, out->change);
    out->bytes = (uint64_t)sqlite3_column_int64(stmt, 3);
    TRY(db_blob(s, stmt, 4, out->hash.b, WIRE_HASH, err));
out:
    sqlite3_finalize(stmt);
    return status;
}

static enum sotto_status read_exactly(int fd, uint8_t *p, size_t n, struct sotto_error *err) {
    while (n > 0) {
        const ssize_t got = read(fd, p, n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return SOTTO_FAIL_SYS(err, SOTTO_IO, "cannot read a coded update");
        if (got == 0)
            return SOTTO_FAIL(err, SOTTO_CORRUPT, "the coded update is cut short");
        p += got;
        n -= (size_t)got;
    }
    return SOTTO_OK;
}

/* Opens the vector and reads its head: *fd stands at the first code. */
static enum sotto_status codes_open(struct devstore *s, const struct codes_row *row, int *fd,
                                    unsigned *ring_bits, uint64_t *length,
                                    struct sotto_error *err) {
    char path[IO_PATH_MAX];
    uint8_t head[CODES_HEAD], expect[CODES_HEAD];
    enum sotto_status status;
    *fd = -1;
    TRY(store_file_path(s, row->file, path, sizeof path, err));
    *fd = open(path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0)
        TRY_FAIL(err, errno == ENOENT ? SOTTO_CORRUPT : SOTTO_IO, "the coded update %.100s is gone",
                 row->file);
    TRY(read_exactly(*fd, head, CODES_HEAD, err));
    *ring_bits = head[8];
    *length = 0;
    for (unsigned i = 8; i-- > 0;)
        *length = *length << 8 | head[16 + i];
    codes_head(expect, *ring_bits, *length);
    if (memcmp(head, expect, CODES_HEAD) != 0 || !secagg_ring_valid(*ring_bits) || *length == 0 ||
        *length > SECAGG_LENGTH_MAX ||
        row->bytes != CODES_HEAD + secagg_ring_bytes(*ring_bits, *length))
        TRY_FAIL(err, SOTTO_CORRUPT, "the coded update %.100s is damaged", row->file);
out:
    if (status != SOTTO_OK && *fd >= 0) {
        close(*fd);
        *fd = -1;
    }
    return status;
}

enum sotto_status devstore_ready_length(struct devstore *s, const struct wire_hash *terms,
                                        uint64_t *out, struct sotto_error *err) {
    struct codes_row row;
    unsigned ring_bits;
    int fd = -1;
    enum sotto_status status;
    TRY(codes_row(s, terms, &row, err));
    TRY(codes_open(s, &row, &fd, &ring_bits, out, err));
    close(fd);
out:
    return status;
}

enum sotto_status devstore_secure_begin(struct devstore *s, const struct wire_hash *terms,
                                        uint32_t attempt, struct sotto_error *err) {
    const enum sotto_status status = db_exec(
        s, err,
        "UPDATE terms SET attempt = ? WHERE hash = ? AND attempt < ? AND EXISTS (SELECT 1 FROM"
        " report WHERE terms_hash = terms.hash AND masks = 1)",
        "ibi", (int64_t)attempt, terms->b, (size_t)WIRE_HASH, (int64_t)attempt);
    if (status != SOTTO_OK || sqlite3_changes(s->db) == 1)
        return status;
    s->failed = true;
    return SOTTO_FAIL(err, SOTTO_STATE, "device store: session %u cannot be begun", attempt);
}

/* ---- Masking
 * --------------------------------------------------------------------------------------------------------------
 */

struct devstore_masking {
    struct devstore *s;
    struct wire_hash terms;
    struct codes_row row;
    unsigned ring_bits;
    uint64_t length, done;
    int in;
    int out;
    char name[STORE_FILE_NAME]; /* of the masked message; "" when it is committed */
    uint64_t bytes;
    struct wire_hasher *hasher;
    uint8_t *piece;
};

/* Of the whole file, from where it stands behind its head. */
static enum sotto_status check_codes(struct devstore_masking *m, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    uint8_t head[CODES_HEAD];
    uint64_t left = m->row.bytes - CODES_HEAD;
    struct wire_hasher *hasher = wire_hasher_new(CODES_LABEL);
    if (hasher == NULL)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory to check a coded update");
    codes_head(head, m->ring_bits, m->length);
    wire_hasher_add(hasher, view_of(head, CODES_HEAD));
    while (left > 0 && status == SOTTO_OK) {
        const size_t part = (size_t)num_min_u64(secagg_ring_bytes(m->ring_bits, CODES_PIECE), left);
        status = read_exactly(m->in, m->piece, part, err);
        wire_hasher_add(hasher, view_of(m->piece, part));
        left -= part;
    }
    const struct wire_hash got = wire_hasher_finish(hasher);
    if (status == SOTTO_OK && !wire_hash_equal(&got, &m->row.hash))
        return SOTTO_FAIL(err, SOTTO_CORRUPT, "the coded update %.100s is damaged", m->row.file);
    if (status == SOTTO_OK && lseek(m->in, CODES_HEAD, SEEK_SET) != (off_t)CODES_HEAD)
        return SOTTO_FAIL_SYS(err, SOTTO_IO, "cannot read a coded update");
    return status;
}

static enum sotto_status refuse_second(struct devstore *s, const struct wire_hash *terms,
                                       struct sotto_error *err) {
    sqlite3_stmt *stmt = NULL;
    const enum sotto_status status =
        db_first(s, NULL, &stmt, "mark", "SELECT 1 FROM task WHERE masked = ?", "b", terms->b,
                 (size_t)WIRE_HASH);
    sqlite3_finalize(stmt);
    if (status == SOTTO_OK)
        return SOTTO_FAIL(err, SOTTO_DENIED,
                          "a masked update has left under these terms: never another");
    return status == SOTTO_NOT_FOUND ? SOTTO_OK : status;
}

enum sotto_status devstore_masking_new(struct devstore *s, const struct wire_hash *terms,
                                       struct devstore_masking **out, struct sotto_error *err) {
    enum sotto_status status;
    *out = NULL;
    struct devstore_masking *m = mem_zalloc(sizeof *m);
    if (m == NULL)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory to mask an update");
    m->s = s;
    m->terms = *terms;
    m->in = m->out = -1;
    TRY(refuse_second(s, terms, err));
    TRY(codes_row(s, terms, &m->row, err));
    TRY(codes_open(s, &m->row, &m->in, &m->ring_bits, &m->length, err));
    m->piece = mem_alloc(secagg_ring_bytes(m->ring_bits, CODES_PIECE));
    m->hasher = wire_hasher_new(WIRE_LABEL_REPORT);
    if (m->piece == NULL || m->hasher == NULL)
        TRY_FAIL(err, SOTTO_NOMEM, "no memory to mask an update");
    TRY(check_codes(m, err));
    TRY(store_file_begin(s, "masked", m->name, &m->out, err));
    *out = m;
    m = NULL;
out:
    devstore_masking_free(m);
    return status;
}

enum sotto_status devstore_masking_codes(struct devstore_masking *m, uint32_t *codes, size_t cap,
                                         size_t *count, struct sotto_error *err) {
    *count = 0;
    while (*count < cap && m->done < m->length) {
        const size_t n =
            (size_t)num_min_u64(num_min_u64(CODES_PIECE, cap - *count), m->length - m->done);
        const enum sotto_status status =
            read_exactly(m->in, m->piece, secagg_ring_bytes(m->ring_bits, n), err);
        if (status != SOTTO_OK)
            return status;
        secagg_ring_unpack(m->ring_bits, m->piece, n, codes + *count);
        *count += n;
        m->done += n;
    }
    return SOTTO_OK;
}

enum sotto_status devstore_masking_put(struct devstore_masking *m, struct view bytes,
                                       struct sotto_error *err) {
    wire_hasher_add(m->hasher, bytes);
    m->bytes += bytes.n;
    return write_all(m->s, m->out, bytes.p, bytes.n, err);
}

enum sotto_status devstore_masking_commit(struct devstore_masking *m, uint64_t *bytes,
                                          struct wire_hash *hash, struct sotto_error *err) {
    struct devstore *s = m->s;
    enum sotto_status status;
    if (m->hasher == NULL || m->done != m->length)
        return SOTTO_FAIL(err, SOTTO_STATE, "the update is not masked to its end");
    *hash = wire_hasher_finish(m->hasher);
    m->hasher = NULL;
    *bytes = m->bytes;
    status = devstore_begin(s, err);
    if (status != SOTTO_OK)
        return status;
    TRY(store_file_end(s, m->name, m->out, err));
    m->out = -1;
    TRY(refuse_second(s, &m->terms, err));
    TRY(db_exec(s, err,
                "UPDATE report SET file = ?, bytes = ?, hash = ?, decoded = NULL, change = NULL,"
                " masks = 2 WHERE terms_hash = ? AND masks = 1",
                "tibb", m->name, (int64_t)m->bytes, hash->b, (size_t)WIRE_HASH, m->terms.b,
                (size_t)WIRE_HASH));
    if (sqlite3_changes(s->db) != 1)
        TRY_FAIL(err, SOTTO_STATE, "device store: the update to mask is gone");
    TRY(db_exec(s, err, "UPDATE task SET masked = ? WHERE terms_hash = ?", "bb", m->terms.b,
                (size_t)WIRE_HASH, m->terms.b, (size_t)WIRE_HASH));
    if (sqlite3_changes(s->db) != 1)
        TRY_FAIL(err, SOTTO_STATE, "device store: the task of these terms is gone");
    store_file_drop(s, m->row.file);
    store_file_drop(s, m->row.decoded);
    store_file_drop(s, m->row.change);
    TRY(devstore_commit(s, err));
    m->name[0] = '\0';
out:
    if (status != SOTTO_OK)
        devstore_rollback(s);
    return status;
}

void devstore_masking_free(struct devstore_masking *m) {
    char path[IO_PATH_MAX];
    if (m == NULL)
        return;
    if (m->in >= 0)
        close(m->in);
    if (m->out >= 0)
        close(m->out);
    if (m->name[0] != '\0' && store_file_path(m->s, m->name, path, sizeof path, NULL) == SOTTO_OK)
        (void)io_remove(path, NULL); /* else the sweep at the next start does it */
    if (m->hasher != NULL)
        (void)wire_hasher_finish(m->hasher);
    mem_free(m->piece);
    mem_free(m);
}

/* ---- The record of sessions
 * ---------------------------------------------------------------------------------------------
 */

enum sotto_status devstore_secure_put(struct devstore *s, const struct devstore_secure *r,
                                      struct sotto_error *err) {
    const struct secagg_client_report *p = &r->report;
    enum sotto_status status = devstore_begin(s, err);
    if (status != SOTTO_OK)
        return status;
    TRY(db_exec(s, err,
                "INSERT INTO secure(terms_hash, attempt, at_ms, task, round, session, stage,"
                " members, sharers, survivors, signatures, degree, threshold, minimum, beside)"
                " VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT(terms_hash, attempt) DO UPDATE SET session = excluded.session,"
                " stage = excluded.stage, members = excluded.members, sharers = excluded.sharers,"
                " survivors = excluded.survivors, signatures = excluded.signatures,"
                " degree = excluded.degree, threshold = excluded.threshold,"
                " minimum = excluded.minimum, beside = excluded.beside",
                "biitibiiiiiiiii", r->terms.b, (size_t)WIRE_HASH, (int64_t)r->attempt, r->at_ms,
                r->task, (int64_t)r->round, p->session, (size_t)SECAGG_KEY, (int64_t)p->stage,
                (int64_t)p->members, (int64_t)p->sharers, (int64_t)p->survivors,
                (int64_t)p->signatures, (int64_t)p->degree, (int64_t)p->threshold,
                (int64_t)p->minimum, (int64_t)r->beside));
    TRY(db_exec(s, err, "DELETE FROM secure WHERE id <= (SELECT max(id) FROM secure) - ?", "i",
                (int64_t)DEVSTORE_SECURE_KEPT));
    TRY(devstore_commit(s, err));
out:
    if (status != SOTTO_OK)
        devstore_rollback(s);
    return status;
}

enum sotto_status store_secure_outcome(struct devstore *s, const struct wire_hash *terms,
                                       sotto_Outcome outcome, struct sotto_error *err) {
    return db_exec(s, err,
                   "UPDATE secure SET outcome = ? WHERE terms_hash = ? AND attempt ="
                   " (SELECT max(attempt) FROM secure WHERE terms_hash = ?)",
                   "ibb", (int64_t)outcome, terms->b, (size_t)WIRE_HASH, terms->b,
                   (size_t)WIRE_HASH);
}

static uint32_t column_u32(sqlite3_stmt *stmt, int column) {
    return (uint32_t)sqlite3_column_int64(stmt, column);
}

static enum sotto_status secure_row(struct devstore *s, sqlite3_stmt *stmt,
                                    struct devstore_secure *r, struct sotto_error *err) {
    struct secagg_client_report *p = &r->report;
    enum sotto_status status;
    memset(r, 0, sizeof *r);
    TRY(db_blob(s, stmt, 0, r->terms.b, WIRE_HASH, err));
    r->attempt = column_u32(stmt, 1);
    r->at_ms = sqlite3_column_int64(stmt, 2);
    wire_set_text(r->task, sizeof r->task, (const char *)sqlite3_column_text(stmt, 3));
    r->round = column_u32(stmt, 4);
    TRY(db_blob(s, stmt, 5, p->session, SECAGG_KEY, err));
    p->stage = (enum secagg_stage)sqlite3_column_int(stmt, 6);
    p->members = column_u32(stmt, 7);
    p->sharers = column_u32(stmt, 8);
    p->survivors = column_u32(stmt, 9);
    p->signatures = column_u32(stmt, 10);
    p->degree = column_u32(stmt, 11);
    p->threshold = column_u32(stmt, 12);
    p->minimum = column_u32(stmt, 13);
    p->complete = p->members > 0 && p->members <= SECAGG_COMPLETE_MAX;
    r->beside = sqlite3_column_int(stmt, 14) != 0;
    r->outcome = (sotto_Outcome)sqlite3_column_int(stmt, 15);
out:
    return status;
}

enum sotto_status devstore_secure_each(struct devstore *s, uint32_t limit,
                                       void (*visit)(void *ctx, const struct devstore_secure *r),
                                       void *ctx, struct sotto_error *err) {
    sqlite3_stmt *stmt = NULL;
    struct devstore_secure r;
    enum sotto_status status =
        db_first(s, NULL, &stmt, "session",
                 "SELECT terms_hash, attempt, at_ms, task, round, session, stage, members, sharers,"
                 " survivors, signatures, degree, threshold, minimum, beside, outcome FROM secure"
                 " ORDER BY id DESC LIMIT ?",
                 "i", (int64_t)limit);
    while (status == SOTTO_OK) {
        status = secure_row(s, stmt, &r, err);
        if (status == SOTTO_OK) {
            visit(ctx, &r);
            status = db_next(s, stmt, err);
        }
    }
    sqlite3_finalize(stmt);
    return status == SOTTO_NOT_FOUND ? SOTTO_OK : status;
}
