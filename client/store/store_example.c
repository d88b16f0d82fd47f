/* The example store: collections with one schema each, a budget of bytes and age. */
#include "store/store_int.h"

#include <stdio.h>
#include <string.h>

#define COLLECTION_COLUMNS                                                                         \
    "name, dtype, rank, dim0, dim1, dim2, classes, scale, shift, count, bytes, id"

static void read_collection(sqlite3_stmt *stmt, struct devstore_collection *c) {
    memset(c, 0, sizeof *c);
    snprintf(c->name, sizeof c->name, "%s", (const char *)sqlite3_column_text(stmt, 0));
    c->schema.dtype = (enum data_dtype)sqlite3_column_int(stmt, 1);
    c->schema.rank = (uint32_t)sqlite3_column_int(stmt, 2);
    for (int i = 0; i < 3; i++)
        c->schema.dims[i] = (uint32_t)sqlite3_column_int64(stmt, 3 + i);
    c->schema.classes = (uint32_t)sqlite3_column_int64(stmt, 6);
    c->schema.scale = (float)sqlite3_column_double(stmt, 7);
    c->schema.shift = (float)sqlite3_column_double(stmt, 8);
    c->count = (uint64_t)sqlite3_column_int64(stmt, 9);
    c->bytes = (uint64_t)sqlite3_column_int64(stmt, 10);
}

static enum sotto_status find(struct devstore *s, const char *name, struct devstore_collection *out,
                              int64_t *id, struct sotto_error *err) {
    sqlite3_stmt *stmt = NULL;
    char what[DEVSTORE_NAME_MAX + 16];
    snprintf(what, sizeof what, "collection %.63s", name);
    const enum sotto_status status =
        db_first(s, err, &stmt, what,
                 "SELECT " COLLECTION_COLUMNS " FROM collection WHERE name = ?", "t", name);
    if (status != SOTTO_OK)
        return status;
    read_collection(stmt, out);
    *id = sqlite3_column_int64(stmt, 11);
    sqlite3_finalize(stmt);
    return SOTTO_OK;
}

enum sotto_status devstore_collection_get(struct devstore *s, const char *name,
                                          struct devstore_collection *out,
                                          struct sotto_error *err) {
    int64_t id;
    return find(s, name, out, &id, err);
}

enum sotto_status devstore_collection_put(struct devstore *s, const char *name,
                                          const struct data_schema *schema,
                                          struct sotto_error *err) {
    struct devstore_collection old;
    struct data_schema have = *schema;
    int64_t id;
    char a[96], b[96];
    const size_t length = strlen(name);
    if (length == 0 || length >= DEVSTORE_NAME_MAX)
        return SOTTO_FAIL(err, SOTTO_INVALID, "a collection's name has 1 to %d bytes",
                          DEVSTORE_NAME_MAX - 1);
    if (have.rank < 1 || have.rank > 3 || have.classes < 1 || have.dtype > DATA_F32)
        return SOTTO_FAIL(err, SOTTO_INVALID,
                          "collection %.63s: rank is 1 to 3, classes at least 1", name);
    size_t bytes = have.dtype == DATA_U8 ? 1 : 4;
    for (uint32_t i = 0; i < have.rank; i++)
        if (have.dims[i] == 0 || !num_mul_size(bytes, have.dims[i], &bytes) || bytes > (64u << 20))
            return SOTTO_FAIL(err, SOTTO_LIMIT, "collection %.63s: an example has 1 byte to 64 MiB",
                              name);
    for (uint32_t i = have.rank; i < 3; i++)
        have.dims[i] = 0;
    const enum sotto_status status = find(s, name, &old, &id, NULL);
    if (status == SOTTO_OK && data_schema_equal(&old.schema, &have))
        return SOTTO_OK;
    if (status == SOTTO_OK)
        return SOTTO_FAIL(err, SOTTO_EXISTS, "collection %.63s holds %s, not %s", name,
                          data_schema_text(&old.schema, a, sizeof a),
                          data_schema_text(&have, b, sizeof b));
    return db_exec(s, err,
                   "INSERT INTO collection(name, dtype, rank, dim0, dim1, dim2, classes, scale,"
                   " shift) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)",
                   "tiiiiiiff", name, (int64_t)have.dtype, (int64_t)have.rank,
                   (int64_t)have.dims[0], (int64_t)have.dims[1], (int64_t)have.dims[2],
                   (int64_t)have.classes, (double)have.scale, (double)have.shift);
}

enum sotto_status devstore_collection_each(struct devstore *s,
                                           void (*visit)(void *ctx,
                                                         const struct devstore_collection *c),
                                           void *ctx, struct sotto_error *err) {
    sqlite3_stmt *stmt = NULL;
    struct devstore_collection c;
    enum sotto_status status =
        db_first(s, NULL, &stmt, "collection",
                 "SELECT " COLLECTION_COLUMNS " FROM collection ORDER BY name", "");
    while (status == SOTTO_OK) {
        read_collection(stmt, &c);
        visit(ctx, &c);
        status = db_next(s, stmt, err);
    }
    sqlite3_finalize(stmt);
    return status == SOTTO_NOT_FOUND ? SOTTO_OK : status;
}

void devstore_budget(struct devstore *s, uint64_t bytes_max, uint64_t age_max_ms) {
    s->bytes_max = bytes_max;
    s->age_max_ms = age_max_ms;
}

static enum sotto_status recount(struct devstore *s, struct sotto_error *err) {
    return db_exec(s, err,
                   "UPDATE collection SET"
                   " count = (SELECT count(*) FROM example WHERE collection = collection.id),"
                   " bytes = (SELECT coalesce(sum(length(value)), 0) FROM example"
                   " WHERE collection = collection.id)",
                   "");
}

static enum sotto_status make_room(struct devstore *s, size_t size, struct sotto_error *err) {
    sqlite3_stmt *stmt = NULL;
    int64_t bytes = 0;
    enum sotto_status status;
    if (s->bytes_max == 0)
        return SOTTO_OK;
    if (size > s->bytes_max)
        return SOTTO_FAIL(err, SOTTO_LIMIT, "an example of %zu bytes, the store holds %llu", size,
                          (unsigned long long)s->bytes_max);
    TRY(db_first(s, err, &stmt, "sum", "SELECT coalesce(sum(bytes), 0) FROM collection", ""));
    bytes = sqlite3_column_int64(stmt, 0);
    while ((uint64_t)bytes + size > s->bytes_max) {
        sqlite3_stmt *oldest = NULL;
        TRY(db_first(s, err, &oldest, "example",
                     "SELECT id, collection, length(value) FROM example ORDER BY id LIMIT 1", ""));
        const int64_t id = sqlite3_column_int64(oldest, 0), c = sqlite3_column_int64(oldest, 1),
                      n = sqlite3_column_int64(oldest, 2);
        sqlite3_finalize(oldest);
        TRY(db_exec(s, err, "DELETE FROM example WHERE id = ?", "i", id));
        TRY(db_exec(s, err,
                    "UPDATE collection SET count = count - 1, bytes = bytes - ? WHERE id = ?", "ii",
                    n, c));
        bytes -= n;
    }
out:
    sqlite3_finalize(stmt);
    return status;
}

enum sotto_status devstore_example_add(struct devstore *s, const char *collection,
                                       struct view value, int32_t label, int64_t now_ms,
                                       struct sotto_error *err) {
    struct devstore_collection c;
    int64_t id = 0;
    enum sotto_status status = find(s, collection, &c, &id, err);
    if (status != SOTTO_OK)
        return status;
    if (value.n != data_schema_example_bytes(&c.schema))
        return SOTTO_FAIL(err, SOTTO_INVALID, "collection %.63s: an example has %zu bytes, not %zu",
                          collection, data_schema_example_bytes(&c.schema), value.n);
    if (label < -1 || label >= (int32_t)c.schema.classes)
        return SOTTO_FAIL(err, SOTTO_INVALID, "collection %.63s: label %d is not in -1..%u",
                          collection, label, c.schema.classes - 1);
    if (c.schema.dtype == DATA_F32) {
        float x;
        for (size_t i = 0; i < value.n; i += sizeof x) {
            memcpy(&x, value.p + i, sizeof x);
            if (!vec_all_finite_f32(&x, 1))
                return SOTTO_FAIL(err, SOTTO_INVALID, "collection %.63s: value %zu is not finite",
                                  collection, i / sizeof x);
        }
    }
    TRY(devstore_begin(s, err));
    status = make_room(s, value.n, err);
    if (status == SOTTO_OK)
        status = db_exec(
            s, err, "INSERT INTO example(collection, label, added_ms, value) VALUES(?, ?, ?, ?)",
            "iiib", id, (int64_t)label, now_ms, value.p, value.n);
    if (status == SOTTO_OK)
        status = db_exec(s, err,
                         "UPDATE collection SET count = count + 1, bytes = bytes + ? WHERE id = ?",
                         "ii", (int64_t)value.n, id);
    if (status == SOTTO_OK)
        status = devstore_commit(s, err);
    if (status != SOTTO_OK)
        devstore_rollback(s);
out:
    return status;
}

enum sotto_status devstore_examples_expire(struct devstore *s, int64_t now_ms,
                                           struct sotto_error *err) {
    if (s->age_max_ms == 0)
        return SOTTO_OK;
    enum sotto_status status = devstore_begin(s, err);
    if (status != SOTTO_OK)
        return status;
    TRY(db_exec(s, err, "DELETE FROM example WHERE added_ms < ?", "i",
                now_ms - (int64_t)s->age_max_ms));
    if (sqlite3_changes(s->db) > 0)
        TRY(recount(s, err));
    TRY(devstore_commit(s, err));
out:
    if (status != SOTTO_OK)
        devstore_rollback(s);
    return status;
}

enum sotto_status devstore_examples_load(struct devstore *s, const char *collection,
                                         struct dataset *out, struct sotto_error *err) {
    struct devstore_collection c;
    sqlite3_stmt *stmt = NULL;
    int64_t id = 0;
    enum sotto_status status = find(s, collection, &c, &id, err);
    dataset_init(out);
    if (status != SOTTO_OK)
        return status;
    out->schema = c.schema;
    const size_t each = data_schema_example_bytes(&c.schema);
    size_t bytes = 0;
    if (c.count > UINT32_MAX || !num_mul_size(each, (size_t)c.count, &bytes) ||
        bytes > DEVSTORE_LOAD_MAX)
        return SOTTO_FAIL(err, SOTTO_LIMIT, "collection %.63s: too many examples to load",
                          collection);
    if (c.count == 0)
        return SOTTO_OK;
    out->x = mem_alloc(bytes);
    out->labels = mem_array((size_t)c.count, sizeof *out->labels);
    if (out->x == NULL || out->labels == NULL)
        TRY_FAIL(err, SOTTO_NOMEM, "no memory for %llu examples", (unsigned long long)c.count);
    status =
        db_first(s, NULL, &stmt, "example",
                 "SELECT label, value FROM example WHERE collection = ? AND label >= 0 ORDER BY id",
                 "i", id);
    while (status == SOTTO_OK && out->count < c.count) {
        out->labels[out->count] = sqlite3_column_int(stmt, 0);
        if (out->labels[out->count] >= (int32_t)c.schema.classes)
            TRY_FAIL(err, SOTTO_CORRUPT, "collection %.63s: a label out of range", collection);
        TRY(db_blob(s, stmt, 1, (uint8_t *)out->x + each * out->count, each, err));
        out->count++;
        status = db_next(s, stmt, err);
    }
    if (status == SOTTO_NOT_FOUND)
        status = SOTTO_OK;
out:
    sqlite3_finalize(stmt);
    if (status != SOTTO_OK)
        dataset_deinit(out);
    return status;
}
