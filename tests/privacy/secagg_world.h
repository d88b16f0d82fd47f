/* A secure group in one process: members, a coordinator, and whatever goes wrong between them. */
#ifndef SOTTO_TESTS_SECAGG_WORLD_H
#define SOTTO_TESTS_SECAGG_WORLD_H

#include "support.h"

#include "sotto/secagg.h"

#define WORLD_CERT 104u /* device key, serial, the authority's signature */

struct world_fleet {
    uint8_t authority_public[32], authority_secret[64];
    bool fast; /* signatures are keyed hashes: for large groups */
};
/* One device: what its host would know. */
struct world_member {
    const struct world_fleet *fleet;
    uint64_t serial;
    uint8_t key[32], secret[64];
    uint8_t certificate[WORLD_CERT];
    uint8_t random[SECAGG_CLIENT_RANDOM];
    struct secagg_config config; /* its own view of the terms */
    struct secagg_client *client;
    enum secagg_kind quits; /* its first message that never arrives; 0: none */
    uint32_t *values;       /* its input; owned */
    struct buf masked;      /* the bytes that it sent */
};
struct world {
    struct rng rng;
    struct world_fleet fleet;
    struct secagg_config config;
    struct secagg_identity identity; /* for the server: no sign */
    uint32_t n;
    struct world_member *members;
    struct secagg_server *server;
    uint32_t *sum;
    bool noisy; /* messages are repeated and shuffled */
};

/* n devices with random inputs; config has what the caller set before: ring, length, minimum,
 * adversary. */
void world_init(struct world *w, uint32_t n, const struct secagg_config *config, uint64_t seed,
                bool fast);
void world_deinit(struct world *w);
struct secagg_config world_config(unsigned bits, uint64_t length, uint32_t n);
void world_bytes(struct world *w, uint8_t *out, size_t n);
/* A certificate by the fleet's authority for the member's key and serial. */
void world_certify(const struct world_fleet *fleet, struct world_member *m);
struct secagg_identity world_identity(struct world_member *m);
/* Signs a record of the member again, after its bytes were changed. */
void world_resign(struct world_member *m, const uint8_t terms[32], uint8_t *record);
/* A fresh client for the member, with fresh keys. */
void world_client(struct world *w, struct world_member *m);

/* One exchange each: every member that has not quit answers, the server takes and closes. The
 * close's status comes back. */
enum sotto_status world_advertise(struct world *w, struct sotto_error *err);
enum sotto_status world_shares(struct world *w, struct sotto_error *err);
enum sotto_status world_masked(struct world *w, struct sotto_error *err);
enum sotto_status world_signatures(struct world *w, struct sotto_error *err);
enum sotto_status world_unmask(struct world *w, struct sotto_error *err);
/* All of them, then open and reveal into sum. */
enum sotto_status world_run(struct world *w, struct sotto_error *err);
enum sotto_status world_reveal(struct world *w, struct sotto_error *err);
/* The sum is the plain sum of the inputs that arrived, mod 2^bits. */
void world_assert_sum(const struct world *w);
/* How many get as far as sending this message. */
uint32_t world_senders(const struct world *w, enum secagg_kind kind);
/* What the server says to member i, in a fresh buffer. */
void world_say(struct world *w, enum secagg_kind kind, uint32_t i, struct buf *out);
/* Masks the whole input of the member into its buffer. */
enum sotto_status world_mask(struct world_member *m, struct sotto_error *err);

#endif
