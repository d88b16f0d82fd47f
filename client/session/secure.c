/* One device's part in one session: the chunks that come, the message that goes out, and the
 * secagg_client between them. */
#include "sotto/client/secure.h"

#include <inttypes.h>
#include <string.h>

struct secure_member {
    struct secagg_config config;
    struct secure_ids ids;
    struct secagg_identity identity; /* points to ids */
    struct secagg_client *client;
    uint32_t attempt;
    uint64_t masked; /* coordinates */
    struct buf in;   /* the message that is coming */
    enum secagg_kind in_kind;
    uint64_t in_bytes;
    uint32_t in_next; /* chunk */
    struct buf out;
};

struct wire_hash secure_message_hash(struct view bytes) {
    return wire_hash_of(WIRE_LABEL_REPORT, bytes);
}

enum sotto_status secure_member_new(const struct secure_member_config *config, uint32_t attempt,
                                    const uint8_t random[SECAGG_CLIENT_RANDOM],
                                    struct secure_member **out, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    *out = NULL;
    struct secure_member *m = mem_zalloc(sizeof *m);
    if (m == NULL)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for a member of a secure group");
    m->attempt = attempt;
    m->ids = config->ids;
    buf_init(&m->in, 0);
    buf_init(&m->out, 0);
    secure_identity(&m->ids, &m->identity);
    TRY(secure_config(config->terms, config->terms_hash, config->length, &m->config, err));
    if (m->config.members_min < config->minimum_group)
        m->config.members_min = config->minimum_group;
    /* No answer is longer than the shares, no message longer than a list. */
    buf_init(&m->in, secagg_message_max(&m->config, SECAGG_LIST) +
                         secagg_message_max(&m->config, SECAGG_DELIVERY));
    buf_init(&m->out, secagg_message_max(&m->config, SECAGG_ADVERTISE) +
                          secagg_message_max(&m->config, SECAGG_SHARES) +
                          secagg_message_max(&m->config, SECAGG_UNMASK));
    TRY(secagg_client_new(&m->config, &m->identity, config->serial, config->certificate, random,
                          config->masked_before, &m->client, err));
    TRY(secagg_client_advertise(m->client, &m->out, err));
    *out = m;
    m = NULL;
out:
    secure_member_free(m);
    return status;
}

void secure_member_free(struct secure_member *m) {
    if (m == NULL)
        return;
    secagg_client_free(m->client);
    buf_deinit(&m->in);
    buf_deinit(&m->out);
    mem_free(m);
}

uint32_t secure_member_attempt(const struct secure_member *m) {
    return m->attempt;
}

static bool of_the_server(enum secagg_kind kind) {
    return kind == SECAGG_LIST || kind == SECAGG_DELIVERY || kind == SECAGG_SURVIVORS ||
           kind == SECAGG_SIGNATURES;
}

enum sotto_status secure_member_chunk(struct secure_member *m, enum secagg_kind kind,
                                      uint32_t chunk, uint64_t blob_bytes, struct view bytes,
                                      struct sotto_error *err) {
    if (!of_the_server(kind))
        return SOTTO_FAIL(err, SOTTO_INVALID, "exchange %d is not a coordinator's message",
                          (int)kind);
    if (blob_bytes == 0 || blob_bytes > secagg_message_max(&m->config, kind))
        return SOTTO_FAIL(err, SOTTO_LIMIT,
                          "a message of %" PRIu64 " bytes, exchange %d has %zu at most", blob_bytes,
                          (int)kind, secagg_message_max(&m->config, kind));
    if (chunk == 0) {
        buf_reset(&m->in);
        m->in_kind = kind;
        m->in_bytes = blob_bytes;
        m->in_next = 0;
    }
    if (kind != m->in_kind || blob_bytes != m->in_bytes || chunk != m->in_next ||
        bytes.n != chunk_size(blob_bytes, chunk))
        return SOTTO_FAIL(err, SOTTO_INVALID, "chunk %u of exchange %d is out of order", chunk,
                          (int)kind);
    buf_put(&m->in, bytes.p, bytes.n);
    if (m->in.status != SOTTO_OK)
        return SOTTO_FAIL(err, m->in.status, "no memory for a message of %" PRIu64 " bytes",
                          blob_bytes);
    m->in_next++;
    return SOTTO_OK;
}

enum sotto_status secure_member_take(struct secure_member *m, enum secagg_kind kind,
                                     const struct wire_hash *hash, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    const struct wire_hash got = wire_hash_of(WIRE_LABEL_SECURE, buf_view(&m->in));
    if (kind != m->in_kind || m->in.len != m->in_bytes || m->in.len == 0)
        TRY_FAIL(err, SOTTO_STATE, "the message of exchange %d is not all there", (int)kind);
    if (!wire_hash_equal(&got, hash))
        TRY_FAIL(err, SOTTO_CORRUPT,
                 "the message of exchange %d does not have the hash that was announced", (int)kind);
    buf_reset(&m->out);
    if (kind == SECAGG_LIST)
        status = secagg_client_list(m->client, buf_view(&m->in), &m->out, err);
    else if (kind == SECAGG_DELIVERY)
        status = secagg_client_delivery(m->client, buf_view(&m->in), err);
    else if (kind == SECAGG_SURVIVORS)
        status = secagg_client_survivors(m->client, buf_view(&m->in), &m->out, err);
    else
        status = secagg_client_signatures(m->client, buf_view(&m->in), &m->out, err);
out:
    buf_deinit(&m->in); /* lists are large, and not needed again */
    m->in_bytes = 0;
    return status;
}

struct view secure_member_out(const struct secure_member *m) {
    return buf_view(&m->out);
}

struct view secure_member_out_chunk(const struct secure_member *m, uint32_t chunk) {
    const uint32_t size = m->out.len > 0 ? chunk_size(m->out.len, chunk) : 0;
    return size > 0 ? view_of(m->out.data + (size_t)chunk * CHUNK_BYTES, size) : view_of(NULL, 0);
}

enum sotto_status secure_member_mask(struct secure_member *m, const uint32_t *codes, size_t count,
                                     struct buf *out, struct sotto_error *err) {
    const enum sotto_status status =
        secagg_client_mask(m->client, m->masked, codes, count, out, err);
    if (status == SOTTO_OK)
        m->masked += count;
    return status;
}

uint64_t secure_member_length(const struct secure_member *m) {
    return m->config.length;
}

uint64_t secure_member_masked(const struct secure_member *m) {
    return m->masked;
}

uint64_t secure_member_masked_bytes(const struct secure_member *m) {
    return secagg_message_max(&m->config, SECAGG_MASKED);
}

void secure_member_report(const struct secure_member *m, struct secagg_client_report *out) {
    secagg_client_report(m->client, out);
}
