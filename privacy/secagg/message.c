/* Messages of a session: heads, records, sets, and what can be said of them without secrets. */
#include <stdlib.h>
#include <string.h>

#include "secagg_int.h"

#define MSG_VERSION 1u

void msg_put_head(struct buf *out, enum secagg_kind kind, uint32_t count,
                  const uint8_t context[SECAGG_KEY]) {
    buf_put_u8(out, MSG_VERSION);
    buf_put_u8(out, (uint8_t)kind);
    buf_put_u16(out, 0);
    buf_put_u32(out, count);
    buf_put(out, context, SECAGG_KEY);
}

enum sotto_status msg_get_head(struct view message, enum secagg_kind kind,
                               const uint8_t context[SECAGG_KEY], struct msg_head *out,
                               struct view *body, struct sotto_error *err) {
    struct reader r;
    reader_init(&r, message);
    if (reader_u8(&r, "version") != MSG_VERSION)
        reader_fail(&r, SOTTO_VERSION, "version");
    const uint8_t got = reader_u8(&r, "kind");
    if (reader_u16(&r, "reserved") != 0)
        reader_fail(&r, SOTTO_CORRUPT, "reserved");
    out->count = reader_u32(&r, "count");
    out->context = reader_bytes(&r, SECAGG_KEY, "context").p;
    const enum sotto_status status = reader_finish(&r, false, "secure aggregation message", err);
    if (status != SOTTO_OK)
        return status == SOTTO_VERSION ? status : SOTTO_CORRUPT;
    if (got != (unsigned)kind)
        return SOTTO_FAIL(err, SOTTO_CORRUPT, "a message of kind %u where %u was due",
                          (unsigned)got, (unsigned)kind);
    if (memcmp(out->context, context, SECAGG_KEY) != 0)
        return SOTTO_FAIL(err, SOTTO_STATE, "message %u is of another session or other terms",
                          (unsigned)kind);
    out->kind = kind;
    *body = view_of(message.p + MSG_HEAD, message.n - MSG_HEAD);
    return SOTTO_OK;
}

static size_t holders_max(const struct secagg_config *config) {
    return config->members_max;
}

size_t secagg_message_max(const struct secagg_config *config, enum secagg_kind kind) {
    const size_t n = config->members_max, holders = holders_max(config),
                 record = RECORD_FIXED + (size_t)config->cert_bytes;
    switch (kind) {
    case SECAGG_ADVERTISE:
        return MSG_HEAD + record;
    case SECAGG_LIST:
        return MSG_HEAD + 8 + n * SECAGG_KEY + holders * record;
    case SECAGG_SHARES:
        return MSG_HEAD + holders * ENTRY_SHARES;
    case SECAGG_DELIVERY:
        return MSG_HEAD + bitmap_bytes(config->members_max) + holders * ENTRY_SHARES;
    case SECAGG_MASKED:
        return SECAGG_MASKED_HEAD + secagg_ring_bytes(config->ring_bits, config->length);
    case SECAGG_SURVIVORS:
        return MSG_HEAD + bitmap_bytes(config->members_max);
    case SECAGG_SIGNATURE:
        return MSG_HEAD + SECAGG_SIG;
    case SECAGG_SIGNATURES:
        return MSG_HEAD + holders * ENTRY_SIG;
    case SECAGG_UNMASK:
        return MSG_HEAD + holders * ENTRY_UNMASK;
    }
    return 0;
}

enum sotto_status config_check(const struct secagg_config *config, struct sotto_error *err) {
    if (!secagg_ring_valid(config->ring_bits))
        return SOTTO_FAIL(err, SOTTO_INVALID, "ring of %u bits: 16, 20, 24 or 32 are known",
                          config->ring_bits);
    if (config->length == 0 || config->length > SECAGG_LENGTH_MAX)
        return SOTTO_FAIL(err, SOTTO_LIMIT, "a masked vector needs 1 to 2^32 coordinates");
    if (config->members_max < SECAGG_MEMBERS_MIN || config->members_max > SECAGG_MEMBERS_MAX)
        return SOTTO_FAIL(err, SOTTO_LIMIT, "a group of at most %u: %u to %u are allowed",
                          config->members_max, SECAGG_MEMBERS_MIN, SECAGG_MEMBERS_MAX);
    if (config->members_min > config->members_max)
        return SOTTO_FAIL(err, SOTTO_INVALID, "minimum group %u is above the maximum %u",
                          config->members_min, config->members_max);
    if (config->cert_bytes == 0 || config->cert_bytes > SECAGG_CERT_MAX)
        return SOTTO_FAIL(err, SOTTO_LIMIT, "certificates of %u bytes: 1 to %u are allowed",
                          config->cert_bytes, SECAGG_CERT_MAX);
    if (config->adversary != SECAGG_CURIOUS && config->adversary != SECAGG_SEMI_MALICIOUS)
        return SOTTO_FAIL(err, SOTTO_INVALID, "adversary %u: curious or semi-malicious",
                          (unsigned)config->adversary);
    if (!(config->gamma >= 0 && config->gamma <= 1 && config->delta >= 0 && config->delta <= 1))
        return SOTTO_FAIL(err, SOTTO_INVALID, "adversarial and drop-out shares lie in 0..1");
    return SOTTO_OK;
}

void record_read(struct view bytes, struct record *out) {
    const uint8_t *p = bytes.p;
    out->serial = 0;
    for (unsigned i = 0; i < 8; i++)
        out->serial |= (uint64_t)p[i] << (8 * i);
    out->seal_public = p + 8;
    out->mask_public = p + 8 + SECAGG_KEY;
    out->self_commit = p + 8 + 2 * SECAGG_KEY;
    out->signature = p + 8 + 3 * SECAGG_KEY;
    out->certificate = view_of(p + RECORD_FIXED, bytes.n - RECORD_FIXED);
}

void record_signed(const struct record *r, const uint8_t terms[SECAGG_KEY],
                   uint8_t out[RECORD_SIGNED]) {
    memcpy(out, r->seal_public, SECAGG_KEY);
    memcpy(out + SECAGG_KEY, r->mask_public, SECAGG_KEY);
    memcpy(out + 2 * SECAGG_KEY, r->self_commit, SECAGG_KEY);
    memcpy(out + 3 * SECAGG_KEY, terms, SECAGG_KEY);
    for (unsigned i = 0; i < 8; i++)
        out[4 * SECAGG_KEY + i] = (uint8_t)(r->serial >> (8 * i));
}

void record_hash(struct view bytes, uint8_t out[SECAGG_KEY]) {
    keys_hash("sotto secagg record hash v1", &bytes, 1, out);
}

enum sotto_status record_check(const struct record *r, const struct secagg_config *config,
                               const struct secagg_identity *identity, uint8_t key[SECAGG_KEY],
                               struct sotto_error *err) {
    uint8_t body[RECORD_SIGNED];
    record_signed(r, config->terms_hash, body);
    if (identity->certify(identity->ctx, r->serial, r->certificate, key, err) != SOTTO_OK ||
        identity->verify(identity->ctx, key, SECAGG_LABEL_RECORD, view_of(body, sizeof body),
                         r->signature, err) != SOTTO_OK) {
        struct sotto_error inner = err ? *err : (struct sotto_error)SOTTO_ERROR_INIT;
        return SOTTO_FAIL(err, SOTTO_DENIED, "record of member %llu: %.180s",
                          (unsigned long long)r->serial, inner.message);
    }
    if (!keys_public_usable(r->seal_public) || !keys_public_usable(r->mask_public))
        return SOTTO_FAIL(err, SOTTO_DENIED, "record of member %llu: a key of low order",
                          (unsigned long long)r->serial);
    return SOTTO_OK;
}

static int compare_serials(const void *a, const void *b) {
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static int compare_keys(const void *a, const void *b) {
    return memcmp(a, b, SECAGG_KEY);
}

enum sotto_status records_distinct(const struct record *records, uint32_t count,
                                   struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    uint64_t *serials = mem_array(count, sizeof *serials);
    uint8_t *keys = mem_array(count, 2 * SECAGG_KEY);
    if (!serials || !keys)
        TRY_FAIL(err, SOTTO_NOMEM, "list of %u records: out of memory", count);
    for (uint32_t i = 0; i < count; i++) {
        serials[i] = records[i].serial;
        memcpy(keys + (size_t)i * 2 * SECAGG_KEY, records[i].seal_public, SECAGG_KEY);
        memcpy(keys + ((size_t)i * 2 + 1) * SECAGG_KEY, records[i].mask_public, SECAGG_KEY);
    }
    qsort(serials, count, sizeof *serials, compare_serials);
    qsort(keys, (size_t)count * 2, SECAGG_KEY, compare_keys);
    for (uint32_t i = 1; i < count; i++)
        if (serials[i] == serials[i - 1])
            TRY_FAIL(err, SOTTO_DENIED, "member %llu is listed twice",
                     (unsigned long long)serials[i]);
    for (size_t i = 1; i < (size_t)count * 2; i++)
        if (compare_keys(keys + i * SECAGG_KEY, keys + (i - 1) * SECAGG_KEY) == 0)
            TRY_FAIL(err, SOTTO_DENIED, "two members, or two uses, share one key");
out:
    mem_free(keys);
    mem_free(serials);
    return status;
}

void session_id(const uint8_t terms[SECAGG_KEY], const uint8_t *hashes, uint32_t n,
                uint8_t out[SECAGG_KEY]) {
    const uint8_t count[4] = {(uint8_t)n, (uint8_t)(n >> 8), (uint8_t)(n >> 16),
                              (uint8_t)(n >> 24)};
    const struct view parts[3] = {view_of(terms, SECAGG_KEY), view_of(count, sizeof count),
                                  view_of(hashes, (size_t)n * SECAGG_KEY)};
    keys_hash("sotto secagg session v1", parts, 3, out);
}

void session_graph_seed(const uint8_t session[SECAGG_KEY], uint8_t out[SECAGG_KEY]) {
    const struct view part = view_of(session, SECAGG_KEY);
    keys_hash("sotto secagg graph v1", &part, 1, out);
}

uint32_t bitmap_count(const uint8_t *set, uint32_t n) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; i++)
        count += bitmap_get(set, i);
    return count;
}

bool bitmap_clean(const uint8_t *set, uint32_t n) {
    return n % 8u == 0 || set[n / 8u] >> (n % 8u) == 0;
}
