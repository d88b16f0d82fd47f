/* A member of a secure group: one device's part in one session of secure aggregation, without I/O.
 * It keeps what the session's messages need (the chunks of one that is coming, the one that is
 * going out) and the secagg_client behind them. Hosts: the client library, the simulator. The
 * session (sotto/client/session.h) says when to do what.
 *
 * docs/internals/device.md, "Under masks". */
#ifndef SOTTO_CLIENT_SECURE_H
#define SOTTO_CLIENT_SECURE_H

#include "sotto/protocol.h"
#include "sotto/protocol/secure.h"

/* Coordinates masked in one go: what a host has in memory of its vector at a time. */
#define SECURE_MASK_BLOCK (16u * SECAGG_BLOCK)

struct secure_member_config {
    const sotto_Terms *terms; /* these two are borrowed during secure_member_new */
    const struct wire_hash *terms_hash;
    uint64_t length;        /* of the vector: masked_length */
    uint32_t minimum_group; /* the device owner's; the terms' counts where it is larger */
    uint64_t serial;
    struct secure_ids ids; /* copied; what it borrows lives as long as the member */
    struct view certificate;
    bool masked_before; /* a masked input has left under these terms: DENIED */
};
struct secure_member;
/* random: SECAGG_CLIENT_RANDOM fresh, secret bytes, which the caller wipes. The record, the first
 * message, stands in secure_member_out at once. */
enum sotto_status secure_member_new(const struct secure_member_config *config, uint32_t attempt,
                                    const uint8_t random[SECAGG_CLIENT_RANDOM],
                                    struct secure_member **out, struct sotto_error *err);
void secure_member_free(struct secure_member *m); /* wipes; NULL is fine */
uint32_t secure_member_attempt(const struct secure_member *m);

/* The next chunk of a message from the coordinator; chunk 0 begins it anew. INVALID out of order or
 * of a wrong size, LIMIT when blob_bytes is more than such a message has at most. */
enum sotto_status secure_member_chunk(struct secure_member *m, enum secagg_kind kind,
                                      uint32_t chunk, uint64_t blob_bytes, struct view bytes,
                                      struct sotto_error *err);
/* Takes the message whose chunks have all come, when it has the announced hash (CORRUPT): LIST,
 * DELIVERY, SURVIVORS or SIGNATURES. The answer then stands in secure_member_out; DELIVERY has
 * none, its answer is made by secure_member_mask. After an error the member is of no use. */
enum sotto_status secure_member_take(struct secure_member *m, enum secagg_kind kind,
                                     const struct wire_hash *hash, struct sotto_error *err);
/* The newest message to send that lies in memory: all but SECAGG_MASKED. Borrowed until the next
 * call. */
struct view secure_member_out(const struct secure_member *m);
/* Chunk `chunk` of it; empty when there is none. */
struct view secure_member_out_chunk(const struct secure_member *m, uint32_t chunk);

/* Masks the next count codes (below 2^ring_bits; a multiple of SECAGG_BLOCK but at the end) and
 * appends them to out, behind the message's head the first time. All of it, that is
 * secure_member_masked_bytes, is stored together with masked(terms) before any byte leaves. */
enum sotto_status secure_member_mask(struct secure_member *m, const uint32_t *codes, size_t count,
                                     struct buf *out, struct sotto_error *err);
uint64_t secure_member_length(const struct secure_member *m); /* coordinates */
uint64_t secure_member_masked(const struct secure_member *m); /* of them masked so far */
uint64_t secure_member_masked_bytes(const struct secure_member *m);

/* What the device keeps of a session that it took part in. */
void secure_member_report(const struct secure_member *m, struct secagg_client_report *out);

/* How a device announces a message of a session (the coordinator: WIRE_LABEL_SECURE). */
struct wire_hash secure_message_hash(struct view bytes);

#endif
