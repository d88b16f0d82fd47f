/* The coordinator document: where coordinators are, which keys sign plans, whom nobody trusts any
 * more. Signed by the authority.
 *
 *   magic 8 | version u64 | authority key 32 | flags u8 | endpoints u8 x (address, curve key 32)
 *   | signing key 32 | next signing key 32 | revoked u32 x serial u64 | signature 64 (not in a
 * request) */
#include "identity/id_int.h"

#include <string.h>

#define MAGIC_DOCUMENT "SOTTODC1"
#define MAGIC_REQUEST  "SOTTODR1"
#define MAGIC_BYTES    8u
#define FLAG_BESIDE    1u
/* All but the revoked serials, at most. */
#define FIXED_MAX                                                                                  \
    (MAGIC_BYTES + 8u + 32u + 1u + 1u + ID_ENDPOINTS_MAX * (2u + ID_ADDRESS_MAX + 32u) + 64u + 4u)

void id_document_deinit(struct id_document *d) {
    mem_free(d->revoked);
    *d = (struct id_document){0};
}

/* "tcp://host:port", the host a name, an IPv4 address or an IPv6 address in brackets. */
static bool address_ok(const char *a) {
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_:[]%";
    if (strncmp(a, "tcp://", 6) != 0)
        return false;
    const char *host = a + 6, *port = strrchr(host, ':');
    uint64_t number;
    return port != NULL && port > host && strspn(host, allowed) == strlen(host) &&
           num_parse_u64(port + 1, 1, 65535, &number, NULL) == SOTTO_OK;
}

/* The rules of the header; what is the name of what is wrong, or NULL. A request has no authority
 * yet. */
static const char *what_is_wrong(const struct id_document *d, bool request) {
    if (d->version == 0)
        return "version";
    if (!request && id_is_zero(d->authority_key))
        return "authority key";
    if (d->endpoint_count == 0 || d->endpoint_count > ID_ENDPOINTS_MAX)
        return "number of endpoints";
    for (uint32_t i = 0; i < d->endpoint_count; i++) {
        if (strnlen(d->endpoints[i].address, ID_ADDRESS_MAX) == ID_ADDRESS_MAX ||
            !address_ok(d->endpoints[i].address))
            return "endpoint's address";
        if (id_is_zero(d->endpoints[i].curve_key))
            return "endpoint's key";
    }
    if (id_is_zero(d->signing_key))
        return "signing key";
    if (d->revoked_count > ID_REVOKED_MAX)
        return "number of revoked serials";
    for (uint32_t i = 1; i < d->revoked_count; i++)
        if (d->revoked[i - 1] >= d->revoked[i])
            return "order of revoked serials";
    return NULL;
}

static enum sotto_status put(const struct id_document *d, bool request, struct buf *out,
                             struct sotto_error *err) {
    const char *wrong = what_is_wrong(d, request);
    if (wrong != NULL)
        return SOTTO_FAIL(err, SOTTO_INVALID, "coordinator document: %s is not valid", wrong);
    buf_reset(out);
    buf_put(out, request ? MAGIC_REQUEST : MAGIC_DOCUMENT, MAGIC_BYTES);
    buf_put_u64(out, d->version);
    buf_put(out, d->authority_key, ID_KEY);
    buf_put_u8(out, d->authority_beside ? FLAG_BESIDE : 0);
    buf_put_u8(out, (uint8_t)d->endpoint_count);
    for (uint32_t i = 0; i < d->endpoint_count; i++) {
        buf_put_str(out, d->endpoints[i].address);
        buf_put(out, d->endpoints[i].curve_key, ID_KEY);
    }
    buf_put(out, d->signing_key, ID_KEY);
    buf_put(out, d->signing_key_next, ID_KEY);
    buf_put_u32(out, d->revoked_count);
    for (uint32_t i = 0; i < d->revoked_count; i++)
        buf_put_u64(out, d->revoked[i]);
    return SOTTO_OK;
}

static enum sotto_status finish(const struct buf *out, struct sotto_error *err) {
    if (out->status != SOTTO_OK)
        return SOTTO_FAIL(err, out->status, "cannot hold the coordinator document");
    return SOTTO_OK;
}

enum sotto_status id_document_sign(const struct id_document *d, const struct id_keys *authority,
                                   struct buf *out, struct sotto_error *err) {
    uint8_t sig[ID_SIG];
    enum sotto_status status;
    if (memcmp(d->authority_key, authority->public_key, ID_KEY) != 0)
        return SOTTO_FAIL(err, SOTTO_INVALID, "the document names another authority");
    TRY(put(d, false, out, err));
    TRY(finish(out, err));
    id_sign(authority, LABEL_DOCUMENT, buf_view(out), sig);
    buf_put(out, sig, sizeof sig);
    TRY(finish(out, err));
out:
    return status;
}

enum sotto_status id_document_request(const struct id_document *d, struct buf *out,
                                      struct sotto_error *err) {
    enum sotto_status status;
    TRY(put(d, true, out, err));
    TRY(finish(out, err));
out:
    return status;
}

static enum sotto_status get_revoked(struct reader *r, struct id_document *d,
                                     struct sotto_error *err) {
    const uint32_t n = reader_u32(r, "number of revoked serials");
    if (n > ID_REVOKED_MAX || reader_left(r) / 8 < n) { /* before anything is allocated */
        reader_fail(r, SOTTO_CORRUPT, "number of revoked serials");
        return SOTTO_OK;
    }
    if (n == 0)
        return SOTTO_OK;
    d->revoked = mem_array(n, sizeof *d->revoked);
    if (d->revoked == NULL)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "cannot hold %u revoked serials", n);
    d->revoked_count = n;
    for (uint32_t i = 0; i < n; i++)
        d->revoked[i] = reader_u64(r, "revoked serial");
    return SOTTO_OK;
}

/* Form alone; *d owns what it holds also after an error. */
static enum sotto_status get(struct view bytes, bool request, struct id_document *d,
                             struct sotto_error *err) {
    enum sotto_status status;
    struct reader r;
    reader_init(&r, bytes);
    const struct view magic = reader_bytes(&r, MAGIC_BYTES, "magic");
    if (magic.p == NULL ||
        memcmp(magic.p, request ? MAGIC_REQUEST : MAGIC_DOCUMENT, MAGIC_BYTES) != 0)
        return SOTTO_FAIL(err, SOTTO_CORRUPT, "not a coordinator document%s",
                          request ? " request" : "");
    d->version = reader_u64(&r, "version");
    id_read_bytes(&r, d->authority_key, ID_KEY, "authority key");
    const uint8_t flags = reader_u8(&r, "flags");
    if ((flags & ~FLAG_BESIDE) != 0)
        reader_fail(&r, SOTTO_CORRUPT, "flags");
    d->authority_beside = (flags & FLAG_BESIDE) != 0;
    const uint8_t endpoints = reader_u8(&r, "number of endpoints");
    if (endpoints > ID_ENDPOINTS_MAX)
        reader_fail(&r, SOTTO_CORRUPT, "number of endpoints");
    for (unsigned i = 0; i < endpoints && r.status == SOTTO_OK; i++) {
        reader_str(&r, d->endpoints[i].address, ID_ADDRESS_MAX, "endpoint's address");
        id_read_bytes(&r, d->endpoints[i].curve_key, ID_KEY, "endpoint's key");
        d->endpoint_count = i + 1;
    }
    id_read_bytes(&r, d->signing_key, ID_KEY, "signing key");
    id_read_bytes(&r, d->signing_key_next, ID_KEY, "next signing key");
    TRY(get_revoked(&r, d, err));
    TRY(reader_finish(&r, true, "coordinator document", err));
    const char *wrong = what_is_wrong(d, request);
    if (wrong != NULL)
        TRY_FAIL(err, SOTTO_CORRUPT, "coordinator document: %s is not valid", wrong);
out:
    return status;
}

static enum sotto_status check_length(struct view bytes, size_t sig, struct sotto_error *err) {
    const size_t max = FIXED_MAX + (size_t)ID_REVOKED_MAX * 8u + sig;
    if (bytes.n < sig || bytes.n > max)
        return SOTTO_FAIL(err, SOTTO_CORRUPT,
                          "coordinator document of %zu bytes; allowed: %zu..%zu", bytes.n, sig,
                          max);
    return SOTTO_OK;
}

enum sotto_status id_document_read(struct view bytes, const uint8_t *pinned_authority,
                                   struct id_document *out, struct sotto_error *err) {
    enum sotto_status status;
    *out = (struct id_document){0};
    TRY(check_length(bytes, ID_SIG, err));
    const struct view body = {bytes.p, bytes.n - ID_SIG};
    TRY(get(body, false, out, err));
    if (pinned_authority != NULL && memcmp(pinned_authority, out->authority_key, ID_KEY) != 0)
        TRY_FAIL(err, SOTTO_DENIED, "the document names another authority than the pinned one");
    TRY(id_verify(out->authority_key, LABEL_DOCUMENT, body, bytes.p + body.n, err));
out:
    if (status != SOTTO_OK)
        id_document_deinit(out);
    return status;
}

enum sotto_status id_document_request_read(struct view bytes, struct id_document *out,
                                           struct sotto_error *err) {
    enum sotto_status status;
    *out = (struct id_document){0};
    TRY(check_length(bytes, 0, err));
    TRY(get(bytes, true, out, err));
out:
    if (status != SOTTO_OK)
        id_document_deinit(out);
    return status;
}

bool id_document_revoked(const struct id_document *d, uint64_t serial) {
    size_t lo = 0, hi = d->revoked_count;
    while (lo < hi) {
        const size_t mid = lo + (hi - lo) / 2;
        if (d->revoked[mid] < serial)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < d->revoked_count && d->revoked[lo] == serial;
}
