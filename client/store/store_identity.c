/* Who the device is: keys, token until enrolled, coordinator document. */
#include "store/store_int.h"

#include <string.h>

void devstore_identity_wipe(struct devstore_identity *i) {
    id_wipe(i, sizeof *i);
}

enum sotto_status devstore_identity_get(struct devstore *s, struct devstore_identity *out,
                                        struct sotto_error *err) {
    sqlite3_stmt *stmt = NULL;
    enum sotto_status status;
    memset(out, 0, sizeof *out);
    TRY(db_first(s, err, &stmt, "identity: enrol first",
                 "SELECT serial, authority, sign_public, sign_secret, curve_public, curve_secret,"
                 " enrolled, cert FROM identity",
                 ""));
    out->serial = (uint64_t)sqlite3_column_int64(stmt, 0);
    TRY(db_blob(s, stmt, 1, out->authority, ID_KEY, err));
    TRY(db_blob(s, stmt, 2, out->keys.public_key, ID_KEY, err));
    TRY(db_blob(s, stmt, 3, out->keys.secret_key, ID_SECRET, err));
    TRY(db_blob(s, stmt, 4, out->curve.public_key, ID_KEY, err));
    TRY(db_blob(s, stmt, 5, out->curve.secret_key, ID_KEY, err));
    out->enrolled = sqlite3_column_int(stmt, 6) != 0;
    out->certified = sqlite3_column_type(stmt, 7) == SQLITE_BLOB; /* not in stores of old */
    if (out->certified)
        TRY(db_blob(s, stmt, 7, out->cert, ID_CERT_BYTES, err));
out:
    sqlite3_finalize(stmt);
    return status;
}

enum sotto_status devstore_document_put(struct devstore *s, uint64_t version, struct view document,
                                        struct sotto_error *err) {
    return db_exec(s, err, "INSERT OR REPLACE INTO document VALUES(1, ?, ?)", "ib",
                   (int64_t)version, document.p, document.n);
}

enum sotto_status devstore_identity_put(struct devstore *s, const struct devstore_identity *i,
                                        const char *token, uint64_t document_version,
                                        struct view document, struct sotto_error *err) {
    enum sotto_status status = devstore_begin(s, err);
    if (status != SOTTO_OK)
        return status;
    TRY(db_exec(s, err,
                "INSERT OR REPLACE INTO identity(id, serial, authority, sign_public, sign_secret,"
                " curve_public, curve_secret, enrolled, token, cert)"
                " VALUES(1, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                "ibbbbbitb", (int64_t)i->serial, i->authority, (size_t)ID_KEY, i->keys.public_key,
                (size_t)ID_KEY, i->keys.secret_key, (size_t)ID_SECRET, i->curve.public_key,
                (size_t)ID_KEY, i->curve.secret_key, (size_t)ID_KEY, (int64_t)i->enrolled, token,
                i->cert, (size_t)ID_CERT_BYTES));
    TRY(devstore_document_put(s, document_version, document, err));
    TRY(devstore_commit(s, err));
out:
    if (status != SOTTO_OK)
        devstore_rollback(s);
    return status;
}

static enum sotto_status read_bytes(struct devstore *s, const char *what, const char *sql,
                                    struct buf *out, struct sotto_error *err) {
    sqlite3_stmt *stmt = NULL;
    const enum sotto_status status = db_first(s, err, &stmt, what, sql, "");
    if (status != SOTTO_OK)
        return status;
    buf_reset(out);
    buf_put(out, sqlite3_column_blob(stmt, 0), (size_t)sqlite3_column_bytes(stmt, 0));
    sqlite3_finalize(stmt);
    return out->status == SOTTO_OK
               ? SOTTO_OK
               : SOTTO_FAIL(err, out->status, "device store: no room for the %s", what);
}

enum sotto_status devstore_token_get(struct devstore *s, struct buf *out, struct sotto_error *err) {
    return read_bytes(s, "token", "SELECT token FROM identity WHERE token IS NOT NULL", out, err);
}

enum sotto_status devstore_document_get(struct devstore *s, struct buf *out,
                                        struct sotto_error *err) {
    return read_bytes(s, "document", "SELECT bytes FROM document", out, err);
}

enum sotto_status devstore_enrolled(struct devstore *s, struct sotto_error *err) {
    return db_exec(s, err, "UPDATE identity SET enrolled = 1, token = NULL", "");
}
