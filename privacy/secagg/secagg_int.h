/* Inside secure aggregation: graph, secret sharing, key schedule, masks, messages. */
#ifndef SOTTO_SECAGG_INT_H
#define SOTTO_SECAGG_INT_H

#include "sotto/secagg.h"

/* ---- graph.c ---- */

/* A random ring of n members; neighbours are at most degree / 2 apart on it (a Harary graph). */
struct ring_graph {
    uint32_t n, degree;
    uint32_t *at;  /* at[p]: the member at place p */
    uint32_t *pos; /* its inverse */
};
/* degree even, or n - 1 (complete: no ring is drawn). */
enum sotto_status ring_graph_init(struct ring_graph *g, uint32_t n, uint32_t degree,
                                  const uint8_t seed[SECAGG_KEY], struct sotto_error *err);
void ring_graph_deinit(struct ring_graph *g);
/* The member itself and its neighbours, ascending: degree + 1 of them. */
void ring_graph_holders(const struct ring_graph *g, uint32_t member, uint32_t *out);
/* The place of member among count ascending holders, or UINT32_MAX. */
uint32_t holder_place(const uint32_t *holders, uint32_t count, uint32_t member);

/* ---- shamir.c: t of n over GF(2^16), polynomial x^16 + x^12 + x^3 + x + 1 ---- */

#define SHAMIR_COMMIT 16u
/* shares[i] = secret + c1 x + ... at x = points[i]; coefficients: (threshold - 1) * 32 uniform
 * bytes, secret. Time and addresses depend on no secret. points are in 1..65535, distinct. */
void shamir_split(const uint8_t secret[SECAGG_KEY], uint32_t threshold, const uint8_t *coefficients,
                  const uint32_t *points, uint32_t count, uint8_t *shares);
/* Logarithms for public points; never touched by a secret. */
struct shamir_field {
    uint16_t log[65536];
    uint16_t exp[2 * 65535];
};
struct shamir_field *shamir_field_new(void) SOTTO_NODISCARD;
/* Lagrange coefficients at 0 for t distinct points. */
void shamir_weights(const struct shamir_field *f, const uint32_t *points, uint32_t threshold,
                    uint16_t *weights);
/* secret = sum of weights[i] * share i; shares[i] points to 32 bytes. */
void shamir_combine(const uint16_t *weights, const uint8_t *const *shares, uint32_t threshold,
                    uint8_t secret[SECAGG_KEY]);
/* What a dealer publishes of a share: BLAKE2b-128 (session, kind, dealer, holder, share). A share
 * is uniform to all who know fewer than t - 1 others, so this hides it. */
void shamir_commit(const uint8_t session[SECAGG_KEY], uint32_t kind, uint32_t dealer,
                   uint32_t holder, const uint8_t share[SECAGG_KEY], uint8_t out[SHAMIR_COMMIT]);

/* ---- keys.c ---- */

enum { SHARE_PAIR = 1, SHARE_SELF = 2 }; /* of s_sk, of b; on the wire */
#define KDF_SEAL 1u                      /* purposes; masks of vector v: KDF_MASK + v */
#define KDF_MASK 2u

/* prk = BLAKE2b-256(key = X25519(own, peer), "SOTTO1" || min(pk) || max(pk) || session || terms);
 * false for a low-order peer key. */
bool keys_agree(const uint8_t own_secret[SECAGG_KEY], const uint8_t own_public[SECAGG_KEY],
                const uint8_t peer_public[SECAGG_KEY], const uint8_t session[SECAGG_KEY],
                const uint8_t terms[SECAGG_KEY], uint8_t prk[SECAGG_KEY]);
/* BLAKE2b-256(key = prk, "SOTTO1 kdf" || purpose as u64). */
void keys_derive(const uint8_t prk[SECAGG_KEY], uint64_t purpose, uint8_t out[SECAGG_KEY]);
/* The key of the self mask: the same schedule from b, the owner's index in place of the keys. */
void keys_self(const uint8_t b[SECAGG_KEY], uint32_t owner, const uint8_t session[SECAGG_KEY],
               const uint8_t terms[SECAGG_KEY], uint8_t out[SECAGG_KEY]);
void keys_commit_self(const uint8_t b[SECAGG_KEY], uint8_t out[SECAGG_KEY]); /* H(b) */
bool keys_public_usable(const uint8_t public_key[SECAGG_KEY]);               /* not low-order */
/* BLAKE2b-256 over the parts, each behind its length. */
void keys_hash(const char *label, const struct view *parts, size_t count, uint8_t out[SECAGG_KEY]);
/* Fills out with the ChaCha20 stream of the seed, from its start. */
void keys_expand(const uint8_t seed[SECAGG_KEY], uint8_t *out, size_t n);

/* One sealed pair of shares (s, then b) for a holder: XChaCha20-Poly1305 under the pair's key. The
 * key seals once each way, so the nonce is (dealer, holder). */
#define SEALED_SHARES (2u * SECAGG_KEY + 16u)
struct share_context {
    const uint8_t *session;
    uint32_t dealer, holder, threshold, degree;
};
void keys_seal_shares(const uint8_t key[SECAGG_KEY], const struct share_context *at,
                      const uint8_t commits[2 * SHAMIR_COMMIT],
                      const uint8_t shares[2 * SECAGG_KEY], uint8_t out[SEALED_SHARES]);
bool keys_open_shares(const uint8_t key[SECAGG_KEY], const struct share_context *at,
                      const uint8_t commits[2 * SHAMIR_COMMIT], const uint8_t sealed[SEALED_SHARES],
                      uint8_t shares[2 * SECAGG_KEY]);

/* ---- mask.c ---- */

/* acc[i] += or -= the mask of key at coordinates first + i; first a multiple of SECAGG_BLOCK, any
 * count. */
void mask_apply(unsigned bits, const uint8_t key[SECAGG_KEY], bool add, uint64_t first,
                uint32_t *acc, size_t count);

/* ---- message.c ---- */

#define MSG_HEAD       40u
#define ENTRY_SHARES   (SEALED_SHARES + 2u * SHAMIR_COMMIT)
#define ENTRY_SIG      (4u + SECAGG_SIG)
#define ENTRY_UNMASK   (8u + SECAGG_KEY)
#define RECORD_FIXED   (8u + 3u * SECAGG_KEY + SECAGG_SIG)
#define RECORD_SIGNED  (3u * SECAGG_KEY + SECAGG_KEY + 8u)
#define MSG_CHECK_SETS 1u

struct msg_head {
    enum secagg_kind kind;
    uint32_t count;
    const uint8_t *context; /* terms hash for ADVERTISE and LIST, else the session id */
};
void msg_put_head(struct buf *out, enum secagg_kind kind, uint32_t count,
                  const uint8_t context[SECAGG_KEY]);
/* CORRUPT when it is no head of that kind, STATE when its context is another. */
enum sotto_status msg_get_head(struct view message, enum secagg_kind kind,
                               const uint8_t context[SECAGG_KEY], struct msg_head *out,
                               struct view *body, struct sotto_error *err);

/* What a member advertises; points into the record's bytes. */
struct record {
    uint64_t serial;
    const uint8_t *seal_public; /* c_pk */
    const uint8_t *mask_public; /* s_pk */
    const uint8_t *self_commit; /* H(b) */
    const uint8_t *signature;
    struct view certificate;
};
/* bytes.n == RECORD_FIXED + certificate. */
void record_read(struct view bytes, struct record *out);
/* What its signature covers: c_pk, s_pk, H(b), terms hash, serial. */
void record_signed(const struct record *r, const uint8_t terms[SECAGG_KEY],
                   uint8_t out[RECORD_SIGNED]);
void record_hash(struct view bytes, uint8_t out[SECAGG_KEY]);
/* Certificate, then signature, then keys; DENIED says what is wrong with which serial. */
enum sotto_status record_check(const struct record *r, const struct secagg_config *config,
                               const struct secagg_identity *identity, uint8_t key[SECAGG_KEY],
                               struct sotto_error *err);
/* DENIED when two of the records share a serial or any key. */
enum sotto_status records_distinct(const struct record *records, uint32_t count,
                                   struct sotto_error *err);
/* The session id: BLAKE2b-256 (terms hash, n, hashes of the records in order of c_pk). */
void session_id(const uint8_t terms[SECAGG_KEY], const uint8_t *hashes, uint32_t n,
                uint8_t out[SECAGG_KEY]);
/* The seed of the group's graph; nobody chooses it alone. */
void session_graph_seed(const uint8_t session[SECAGG_KEY], uint8_t out[SECAGG_KEY]);

static inline size_t bitmap_bytes(uint32_t n) {
    return (n + 7u) / 8u;
}
static inline bool bitmap_get(const uint8_t *set, uint32_t i) {
    return (set[i / 8u] >> (i % 8u) & 1u) != 0;
}
static inline void bitmap_put(uint8_t *set, uint32_t i) {
    set[i / 8u] = (uint8_t)(set[i / 8u] | 1u << (i % 8u));
}
uint32_t bitmap_count(const uint8_t *set, uint32_t n);
/* No bit at or behind n. */
bool bitmap_clean(const uint8_t *set, uint32_t n);

/* CONFIG-independent checks of a session's configuration. */
enum sotto_status config_check(const struct secagg_config *config, struct sotto_error *err);
static inline uint32_t config_minimum(const struct secagg_config *config) {
    return config->members_min > SECAGG_MEMBERS_MIN ? config->members_min : SECAGG_MEMBERS_MIN;
}

/* Secrets of one session: one guarded allocation, wiped whole. */
struct secret_arena {
    uint8_t *p;
    size_t size, used;
};
enum sotto_status secret_arena_init(struct secret_arena *a, size_t size, struct sotto_error *err);
uint8_t *secret_arena_take(struct secret_arena *a, size_t n); /* zeroed; size was computed before */
void secret_arena_deinit(struct secret_arena *a);             /* wipes */

#endif
