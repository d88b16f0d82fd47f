/* The coordinator's own keys and its certified document. */
#include "daemon/daemon_int.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define DAY_MS      INT64_C(86400000)
#define RETIRED_KEY "curve-retired.key"

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

bool keys_authority_beside(const struct coordinator *c) {
    return have(c->keys_dir, "authority-beside");
}

void keys_drop_retired(struct coordinator *c) {
    char path[IO_PATH_MAX];
    id_wipe(&c->curve[1], sizeof c->curve[1]);
    c->retired_until_ms = 0;
    if (io_join(path, sizeof path, c->keys_dir, RETIRED_KEY, NULL) == SOTTO_OK &&
        io_shred(path, NULL) == SOTTO_OK)
        LOG(LOG_INFO, "keys.retired_gone", LS("path", path));
}

/* The age of its file says when a retired key's time is over. */
static enum sotto_status open_retired(struct coordinator *c, struct sotto_error *err) {
    char path[IO_PATH_MAX];
    struct stat st;
    enum sotto_status status = io_join(path, sizeof path, c->keys_dir, RETIRED_KEY, err);
    if (status != SOTTO_OK || stat(path, &st) != 0)
        return status;
    c->retired_until_ms =
        (int64_t)st.st_mtime * 1000 + (int64_t)c->config.rotate_overlap_days * DAY_MS;
    if (c->retired_until_ms <= clock_wall_ms()) {
        keys_drop_retired(c);
        return SOTTO_OK;
    }
    return read_exact(c->keys_dir, RETIRED_KEY, &c->curve[1], sizeof c->curve[1], err);
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
    TRY(open_retired(c, err));
    TRY(read_document(c, err));
out:
    return status;
}

/* A key that no certified document names yet would be thrown away by a second rotation, and with it
 * what devices learn next. */
static enum sotto_status rotate_signing(const char *dir, const struct id_document *certified,
                                        struct sotto_error *err) {
    enum sotto_status status;
    struct id_keys current, next, fresh;
    TRY(read_exact(dir, "signing.key", &current, sizeof current, err));
    TRY(read_exact(dir, "signing-next.key", &next, sizeof next, err));
    if (!certified || memcmp(certified->signing_key, current.public_key, ID_KEY) != 0 ||
        memcmp(certified->signing_key_next, next.public_key, ID_KEY) != 0)
        TRY_FAIL(err, SOTTO_STATE,
                 "the certified document does not name the present signing keys yet: restart the "
                 "coordinator after a rotation, then document request, authority certify, document "
                 "import");
    id_keys_generate(&fresh);
    TRY(write_key(dir, "signing.key", &next, sizeof next, err));
    TRY(write_key(dir, "signing-next.key", &fresh, sizeof fresh, err));
out:
    id_wipe(&current, sizeof current);
    id_wipe(&next, sizeof next);
    id_wipe(&fresh, sizeof fresh);
    return status;
}

static enum sotto_status rotate_curve(const char *dir, bool force, struct sotto_error *err) {
    enum sotto_status status;
    struct id_curve current, fresh;
    if (have(dir, RETIRED_KEY) && !force)
        return SOTTO_FAIL(
            err, SOTTO_STATE,
            "an earlier CURVE key is still bound for devices that know no other; wait "
            "for rotate_overlap_days, or --force to give it up");
    TRY(read_exact(dir, "curve.key", &current, sizeof current, err));
    id_curve_generate(&fresh);
    TRY(write_key(dir, RETIRED_KEY, &current, sizeof current, err));
    TRY(write_key(dir, "curve.key", &fresh, sizeof fresh, err));
out:
    id_wipe(&current, sizeof current);
    id_wipe(&fresh, sizeof fresh);
    return status;
}

enum sotto_status keys_rotate(const char *state_dir, const struct id_document *certified,
                              bool signing, bool curve, bool force, struct sotto_error *err) {
    enum sotto_status status;
    char dir[IO_PATH_MAX];
    TRY(keys_paths(state_dir, dir, sizeof dir, err));
    if (!have(dir, "curve.key") || !have(dir, "signing-next.key"))
        TRY_FAIL(err, SOTTO_STATE,
                 "%s: has no keys to rotate; start the coordinator once first, it makes them",
                 state_dir);
    if (curve && !force && have(dir, RETIRED_KEY)) /* before the other keys are touched */
        TRY(rotate_curve(dir, force, err));
    if (signing)
        TRY(rotate_signing(dir, certified, err));
    if (curve)
        TRY(rotate_curve(dir, force, err));
out:
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

/* Devices know the retired key at the addresses that the certified document gives it. */
static enum sotto_status add_retired(struct coordinator *c, struct id_document *d,
                                     struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    bool named = false;
    for (uint32_t i = 0; i < c->document.endpoint_count; i++) {
        const struct id_endpoint *e = &c->document.endpoints[i];
        if (memcmp(e->curve_key, c->curve[1].public_key, ID_KEY) != 0)
            continue;
        TRY(add_endpoint(d, e->address, e->curve_key, err));
        named = true;
    }
    if (!named)
        TRY(add_endpoint(d, transport_server_address(c->servers[1]), c->curve[1].public_key, err));
out:
    return status;
}

/* One higher than the certified one; after a restore far higher, past any that the backup missed.
 */
static enum sotto_status wanted_version(struct coordinator *c, uint64_t *out,
                                        struct sotto_error *err) {
    struct buf b;
    uint64_t floor = 0;
    buf_init(&b, sizeof floor);
    enum sotto_status status = store_meta_get(c->store, STORE_DOCUMENT_FLOOR, &b, err);
    if (status == SOTTO_OK && b.len == sizeof floor)
        memcpy(&floor, b.data, sizeof floor);
    buf_deinit(&b);
    *out = num_max_u64(c->document.version + 1, floor);
    return status == SOTTO_NOT_FOUND ? SOTTO_OK : status;
}

enum sotto_status keys_document_wanted(struct coordinator *c, struct id_document *d,
                                       struct sotto_error *err) {
    enum sotto_status status;
    memset(d, 0, sizeof *d);
    memcpy(d->authority_key, c->authority_key, ID_KEY);
    d->authority_beside = keys_authority_beside(c);
    memcpy(d->signing_key, c->signing.public_key, ID_KEY);
    memcpy(d->signing_key_next, c->signing_next.public_key, ID_KEY);
    TRY(wanted_version(c, &d->version, err));
    for (uint32_t i = 0; i < c->config.advertise.count; i++)
        TRY(add_endpoint(d, c->config.advertise.v[i], c->curve[0].public_key, err));
    if (c->config.advertise.count == 0)
        TRY(add_endpoint(d, transport_server_address(c->servers[0]), c->curve[0].public_key, err));
    if (c->server_count > 1)
        TRY(add_retired(c, d, err));
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
    if (bytes.n > TRANSPORT_PAYLOAD_MAX)
        TRY_FAIL(err, SOTTO_LIMIT,
                 "a document of %zu bytes cannot be sent to devices, at most %u can: too many "
                 "revoked serials",
                 bytes.n, TRANSPORT_PAYLOAD_MAX);
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
