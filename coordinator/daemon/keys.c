/* The coordinator's own keys and its certified document. */
#include "daemon/daemon_int.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum sotto_status keys_paths(const char *state_dir, char *keys_dir, size_t cap,
                             struct sotto_error *err) {
    return io_join(keys_dir, cap, state_dir, "keys", err);
}

static enum sotto_status read_exact(const char *dir, const char *name, void *out, size_t n,
                                    struct sotto_error *err) {
    char path[IO_PATH_MAX];
    struct buf b;
    struct stat st;
    buf_init(&b, 4096);
    enum sotto_status status;
    TRY(io_join(path, sizeof path, dir, name, err));
    if (stat(path, &st) == 0 && (st.st_mode & 077) != 0)
        TRY_FAIL(err, SOTTO_DENIED, "%s: readable by others (mode %03o); chmod 600 it", path,
                 st.st_mode & 0777u);
    TRY(io_read_file(path, 4096, &b, err));
    if (b.len != n)
        TRY_FAIL(err, SOTTO_CORRUPT, "%s: %zu bytes instead of %zu", path, b.len, n);
    memcpy(out, b.data, n);
out:
    if (b.data)
        id_wipe(b.data, b.len);
    buf_deinit(&b);
    return status;
}

static enum sotto_status write_key(const char *dir, const char *name, const void *data, size_t n,
                                   struct sotto_error *err) {
    char path[IO_PATH_MAX];
    enum sotto_status status = io_join(path, sizeof path, dir, name, err);
    return status == SOTTO_OK ? io_write_file(path, data, n, 0600, true, err) : status;
}

static bool have(const char *dir, const char *name) {
    char path[IO_PATH_MAX];
    return io_join(path, sizeof path, dir, name, NULL) == SOTTO_OK && io_exists(path);
}

static enum sotto_status read_or_make_signing(const char *dir, const char *name, struct id_keys *k,
                                              struct sotto_error *err) {
    if (have(dir, name))
        return read_exact(dir, name, k, sizeof *k, err);
    id_keys_generate(k);
    return write_key(dir, name, k, sizeof *k, err);
}

static enum sotto_status read_or_make_curve(const char *dir, const char *name, struct id_curve *k,
                                            struct sotto_error *err) {
    if (have(dir, name))
        return read_exact(dir, name, k, sizeof *k, err);
    id_curve_generate(k);
    return write_key(dir, name, k, sizeof *k, err);
}

static enum sotto_status read_document(struct coordinator *c, struct sotto_error *err) {
    enum sotto_status status = store_meta_get(c->store, "document", &c->document_bytes, NULL);
    if (status == SOTTO_NOT_FOUND)
        return SOTTO_OK;
    if (status != SOTTO_OK)
        return SOTTO_FAIL(err, status, "the coordinator document cannot be read from the store");
    return id_document_read(buf_view(&c->document_bytes), c->authority_key, &c->document, err);
}

enum sotto_status keys_open(struct coordinator *c, struct sotto_error *err) {
    enum sotto_status status;
    TRY(io_mkdir_p(c->keys_dir, 0700, err));
    if (!have(c->keys_dir, "authority.pub"))
        TRY_FAIL(err, SOTTO_STATE, "%s: not set up yet; run: sottoctl init --state %s",
                 c->state_dir, c->state_dir);
    TRY(read_exact(c->keys_dir, "authority.pub", c->authority_key, ID_KEY, err));
    TRY(read_or_make_curve(c->keys_dir, "curve.key", &c->curve[0], err));
    TRY(read_or_make_signing(c->keys_dir, "signing.key", &c->signing, err));
    TRY(read_or_make_signing(c->keys_dir, "signing-next.key", &c->signing_next, err));
    if (have(c->keys_dir, "curve-retired.key"))
        TRY(read_exact(c->keys_dir, "curve-retired.key", &c->curve[1], sizeof c->curve[1], err));
    TRY(read_document(c, err));
out:
    return status;
}

enum sotto_status keys_rotate(const char *state_dir, bool signing, bool curve,
                              struct sotto_error *err) {
    enum sotto_status status;
    char dir[IO_PATH_MAX];
    struct id_keys next, fresh;
    struct id_curve current, new_curve;
    TRY(keys_paths(state_dir, dir, sizeof dir, err));
    if (signing) {
        TRY(read_exact(dir, "signing-next.key", &next, sizeof next, err));
        id_keys_generate(&fresh);
        TRY(write_key(dir, "signing.key", &next, sizeof next, err));
        TRY(write_key(dir, "signing-next.key", &fresh, sizeof fresh, err));
    }
    if (curve) {
        TRY(read_exact(dir, "curve.key", &current, sizeof current, err));
        id_curve_generate(&new_curve);
        TRY(write_key(dir, "curve-retired.key", &current, sizeof current, err));
        TRY(write_key(dir, "curve.key", &new_curve, sizeof new_curve, err));
    }
out:
    id_wipe(&next, sizeof next);
    id_wipe(&fresh, sizeof fresh);
    id_wipe(&current, sizeof current);
    id_wipe(&new_curve, sizeof new_curve);
    return status;
}

static enum sotto_status add_endpoint(struct id_document *d, const char *address,
                                      const uint8_t key[ID_KEY], struct sotto_error *err) {
    if (d->endpoint_count == ID_ENDPOINTS_MAX)
        return SOTTO_FAIL(err, SOTTO_LIMIT, "more than %d endpoints", ID_ENDPOINTS_MAX);
    if (strlen(address) >= ID_ADDRESS_MAX)
        return SOTTO_FAIL(err, SOTTO_LIMIT, "address '%s' is longer than %d characters", address,
                          ID_ADDRESS_MAX - 1);
    struct id_endpoint *e = &d->endpoints[d->endpoint_count++];
    memset(e, 0, sizeof *e);
    memcpy(e->address, address, strlen(address));
    memcpy(e->curve_key, key, ID_KEY);
    return SOTTO_OK;
}

enum sotto_status keys_document_wanted(struct coordinator *c, struct id_document *d,
                                       struct sotto_error *err) {
    enum sotto_status status;
    memset(d, 0, sizeof *d);
    d->version = c->document.version + 1;
    memcpy(d->authority_key, c->authority_key, ID_KEY);
    d->authority_beside = have(c->keys_dir, "authority-beside");
    memcpy(d->signing_key, c->signing.public_key, ID_KEY);
    memcpy(d->signing_key_next, c->signing_next.public_key, ID_KEY);
    for (uint32_t i = 0; i < c->config.advertise.count; i++)
        TRY(add_endpoint(d, c->config.advertise.v[i], c->curve[0].public_key, err));
    for (uint32_t i = 0; i < c->server_count; i++)
        if (i > 0 || c->config.advertise.count == 0)
            TRY(add_endpoint(d, transport_server_address(c->servers[i]), c->curve[i].public_key,
                             err));
    TRY(store_revoked(c->store, &d->revoked, &d->revoked_count, err));
out:
    if (status != SOTTO_OK)
        id_document_deinit(d);
    return status;
}

bool keys_document_stale(struct coordinator *c) {
    struct id_document w;
    if (c->document_bytes.len == 0)
        return true;
    if (keys_document_wanted(c, &w, NULL) != SOTTO_OK)
        return false;
    const struct id_document *d = &c->document;
    bool same = w.endpoint_count == d->endpoint_count &&
                w.authority_beside == d->authority_beside && w.revoked_count == d->revoked_count &&
                memcmp(w.signing_key, d->signing_key, ID_KEY) == 0 &&
                memcmp(w.signing_key_next, d->signing_key_next, ID_KEY) == 0;
    for (uint32_t i = 0; same && i < w.endpoint_count; i++)
        same = strcmp(w.endpoints[i].address, d->endpoints[i].address) == 0 &&
               memcmp(w.endpoints[i].curve_key, d->endpoints[i].curve_key, ID_KEY) == 0;
    if (same && w.revoked_count)
        same = memcmp(w.revoked, d->revoked, w.revoked_count * sizeof *w.revoked) == 0;
    id_document_deinit(&w);
    return !same;
}

enum sotto_status keys_document_import(struct coordinator *c, struct view bytes,
                                       struct sotto_error *err) {
    struct id_document d;
    memset(&d, 0, sizeof d);
    enum sotto_status status;
    TRY(id_document_read(bytes, c->authority_key, &d, err));
    if (d.version <= c->document.version)
        TRY_FAIL(err, SOTTO_EXISTS, "document version %llu is not higher than the current %llu",
                 (unsigned long long)d.version, (unsigned long long)c->document.version);
    if (memcmp(d.signing_key, c->signing.public_key, ID_KEY) != 0 ||
        memcmp(d.signing_key_next, c->signing_next.public_key, ID_KEY) != 0)
        TRY_FAIL(
            err, SOTTO_INVALID,
            "the document names other signing keys than this coordinator's; make a new request");
    TRY(store_meta_set(c->store, "document", bytes, err));
    buf_reset(&c->document_bytes);
    buf_put(&c->document_bytes, bytes.p, bytes.n);
    id_document_deinit(&c->document);
    c->document = d;
    memset(&d, 0, sizeof d);
out:
    id_document_deinit(&d);
    return status;
}
