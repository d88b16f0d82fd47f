/* Blobs in chunks: the receiver grants windows and takes chunks in order, the sender goes as far as
 * it may. */
#include "sotto/protocol/chunk.h"

#include <inttypes.h>

/* Chunks of a blob, before any cap. */
static uint64_t chunks_of(uint64_t blob_bytes) {
    return blob_bytes == 0 ? 1 : blob_bytes / CHUNK_BYTES + (blob_bytes % CHUNK_BYTES != 0);
}

uint32_t chunk_count(uint64_t blob_bytes) {
    return (uint32_t)num_min_u64(chunks_of(blob_bytes), UINT32_MAX);
}

uint32_t chunk_size(uint64_t blob_bytes, uint32_t index) {
    const uint64_t start = (uint64_t)index * CHUNK_BYTES;
    if (start >= blob_bytes)
        return 0;
    return (uint32_t)num_min_u64(blob_bytes - start, CHUNK_BYTES);
}

enum sotto_status chunk_receiver_init(struct chunk_receiver *r, uint64_t bytes, uint64_t bytes_max,
                                      const struct wire_hash *hash, uint32_t next, uint32_t credit,
                                      struct sotto_error *err) {
    *r = (struct chunk_receiver){0};
    if (bytes > bytes_max || chunks_of(bytes) > UINT32_MAX)
        return SOTTO_FAIL(err, SOTTO_LIMIT, "a blob of %" PRIu64 " bytes, limit is %" PRIu64, bytes,
                          bytes_max);
    if (credit < 1 || credit > CHUNK_CREDIT_MAX)
        return SOTTO_FAIL(err, SOTTO_INVALID, "a credit of %" PRIu32 " chunks; allowed: 1 to %u",
                          credit, CHUNK_CREDIT_MAX);
    if (next > chunk_count(bytes))
        return SOTTO_FAIL(err, SOTTO_INVALID, "%" PRIu32 " stored chunks of a blob of %" PRIu32,
                          next, chunk_count(bytes));
    *r = (struct chunk_receiver){.bytes = bytes,
                                 .chunks = chunk_count(bytes),
                                 .next = next,
                                 .granted = next,
                                 .credit = credit,
                                 .hash = *hash};
    return SOTTO_OK;
}

enum sotto_status chunk_receiver_accept(struct chunk_receiver *r, uint32_t index, size_t size,
                                        struct sotto_error *err) {
    if (index >= r->chunks)
        return SOTTO_FAIL(err, SOTTO_INVALID, "chunk %" PRIu32 " of a blob of %" PRIu32, index,
                          r->chunks);
    if (size != chunk_size(r->bytes, index))
        return SOTTO_FAIL(err, SOTTO_INVALID, "chunk %" PRIu32 " has %zu bytes instead of %" PRIu32,
                          index, size, chunk_size(r->bytes, index));
    if (index < r->next)
        return SOTTO_EXISTS;
    if (index != r->next)
        return SOTTO_FAIL(err, SOTTO_INVALID, "chunk %" PRIu32 " came before chunk %" PRIu32, index,
                          r->next);
    if (index >= r->granted)
        return SOTTO_FAIL(err, SOTTO_INVALID, "chunk %" PRIu32 " came without a grant", index);
    r->next++;
    return SOTTO_OK;
}

bool chunk_receiver_done(const struct chunk_receiver *r) {
    return r->next == r->chunks;
}

/* Half a window ahead, so that the sender need not stop. */
bool chunk_receiver_grant(struct chunk_receiver *r, uint32_t *index, uint32_t *count) {
    const uint32_t ahead = r->granted - r->next;
    if (r->granted == r->chunks || ahead > r->credit / 2)
        return false;
    const uint32_t room = r->credit - ahead;
    const uint32_t left = r->chunks - r->granted;
    *index = r->granted;
    *count = room < left ? room : left;
    r->granted += *count;
    return true;
}

void chunk_sender_init(struct chunk_sender *s, uint64_t bytes) {
    *s = (struct chunk_sender){.bytes = bytes, .chunks = chunk_count(bytes)};
}

void chunk_sender_grant(struct chunk_sender *s, uint32_t next_index, uint32_t credit) {
    if (next_index > s->chunks)
        return;
    const uint32_t left = s->chunks - next_index;
    const uint32_t end = next_index + (credit < left ? credit : left);
    if (next_index < s->next || next_index > s->limit) {
        /* The receiver lost some, or has stored more than this sender knows of: go on where it
         * says. */
        s->next = next_index;
        s->limit = end;
    } else if (end > s->limit) {
        s->limit = end;
    }
}

bool chunk_sender_next(struct chunk_sender *s, uint32_t *index) {
    if (s->next >= s->limit)
        return false;
    *index = s->next++;
    return true;
}
