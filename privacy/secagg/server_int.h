/* The coordinator's side of a session: lists and sets that never change once shown. */
#ifndef SOTTO_SECAGG_SERVER_INT_H
#define SOTTO_SECAGG_SERVER_INT_H

#include "secagg_int.h"

enum exchange {
    EX_ADVERTISE,
    EX_SHARES,
    EX_MASKED,
    EX_SIGNATURE,
    EX_UNMASK,
    EX_OPEN, /* all closed: open the secrets */
    EX_REVEAL,
};

struct member {
    uint64_t serial;
    uint8_t *record; /* owned */
    uint8_t identity[SECAGG_KEY];
    uint8_t *shares;    /* its SHARES entries, ENTRY_SHARES a holder; later its commitments alone */
    uint8_t *unmask;    /* its UNMASK shares, 32 a holder */
    uint8_t *unmask_ok; /* per holder: the share is there and matches its commitment */
    uint8_t signature[SECAGG_SIG];
    uint8_t seen_hash[EX_OPEN][SECAGG_KEY]; /* of the bytes taken in each exchange */
    bool seen[EX_OPEN];
    uint32_t opens; /* good shares of the secret that the sum needs of this member */
};

struct secagg_server {
    struct secagg_config config;
    struct secagg_identity identity;
    enum exchange open; /* the exchange that takes messages */
    bool failed;
    uint32_t n;
    struct member *members; /* by arrival while advertising, then in the order of c_pk */
    uint32_t *by_serial;    /* indices, ascending by serial */
    uint8_t session[SECAGG_KEY];
    struct secagg_graph_params params;
    uint32_t holder_count;
    uint32_t *holders; /* holder_count a member, ascending */
    uint8_t *hashes;   /* of the records */
    uint8_t *sharers, *survivors, *signers;
    uint32_t sharer_count, survivor_count, signer_count, unmasker_count, bad_shares;
    struct secret_arena arena;
    uint8_t *mask_keys; /* in the arena: every mask to take off */
    bool *mask_adds;    /* whether the mask is in the sum with a plus */
    size_t mask_count;
};

static inline size_t record_size(const struct secagg_server *s) {
    return RECORD_FIXED + (size_t)s->config.cert_bytes;
}
static inline const uint32_t *holders_of(const struct secagg_server *s, uint32_t member) {
    return s->holders + (size_t)member * s->holder_count;
}
/* The member's commitment to the share of kind that holder number place holds. */
static inline const uint8_t *commit_of(const struct secagg_server *s, uint32_t member,
                                       uint32_t place, uint32_t kind) {
    const bool whole = s->open <= EX_MASKED; /* sealed shares are kept until the inputs are in */
    const size_t entry = whole ? ENTRY_SHARES : 2 * SHAMIR_COMMIT;
    return s->members[member].shares + place * entry + (whole ? SEALED_SHARES : 0) +
           (kind == SHARE_SELF ? SHAMIR_COMMIT : 0);
}
/* The index of a serial, or UINT32_MAX. */
uint32_t server_index(const struct secagg_server *s, uint64_t serial);
/* The public keys in a member's record. */
void server_record(const struct secagg_server *s, uint32_t member, struct record *out);
enum sotto_status server_failed(struct secagg_server *s, struct sotto_error *err);

#endif
