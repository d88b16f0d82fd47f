/* Blobs in chunks: both ends of a transfer as small state machines without I/O. */
#ifndef SOTTO_PROTOCOL_CHUNK_H
#define SOTTO_PROTOCOL_CHUNK_H

#include "sotto/protocol/wire.h"

#define CHUNK_BYTES      (256u * 1024u)
#define CHUNK_CREDIT_MAX 16u

uint32_t chunk_count(uint64_t blob_bytes); /* 1 for an empty blob */
/* Bytes of chunk index; 0 when out of range. */
uint32_t chunk_size(uint64_t blob_bytes, uint32_t index);

/* Receiver: takes chunks in order within the window that it granted; what is missing it grants
 * again. */
struct chunk_receiver {
    uint64_t bytes;
    uint32_t chunks, next, granted, credit;
    struct wire_hash hash; /* of the whole blob, as announced */
};
/* LIMIT when bytes > bytes_max. next > 0 resumes after that many stored chunks. */
enum sotto_status chunk_receiver_init(struct chunk_receiver *r, uint64_t bytes, uint64_t bytes_max,
                                      const struct wire_hash *hash, uint32_t next, uint32_t credit,
                                      struct sotto_error *err);
/* OK: store these bytes at index * CHUNK_BYTES, they are the next ones; EXISTS: a repeat, ignore;
 * INVALID: out of order or wrong size. */
enum sotto_status chunk_receiver_accept(struct chunk_receiver *r, uint32_t index, size_t size,
                                        struct sotto_error *err);
bool chunk_receiver_done(const struct chunk_receiver *r);
/* When a new grant is due (half a window is used up), fills [*index, *index + *count) and returns
 * true. */
bool chunk_receiver_grant(struct chunk_receiver *r, uint32_t *index, uint32_t *count);

/* Sender of a report: sends chunks as grants allow. */
struct chunk_sender {
    uint64_t bytes;
    uint32_t chunks, next, limit; /* next to send; may send below limit */
};
void chunk_sender_init(struct chunk_sender *s, uint64_t bytes);
/* A grant of [next_index, next_index + credit): the next window, or, when it starts elsewhere than
 * this sender's limit, where the receiver's store wants to go on. A grant past the blob is ignored.
 */
void chunk_sender_grant(struct chunk_sender *s, uint32_t next_index, uint32_t credit);
bool chunk_sender_next(struct chunk_sender *s, uint32_t *index); /* false: wait for a grant */

#endif
