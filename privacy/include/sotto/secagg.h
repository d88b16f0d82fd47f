/* Secure aggregation: a group's sum and nothing else (Bonawitz et al. 2017, ePrint 2017/281, with
 * the graph of Bell et al. 2020, ePrint 2020/704). Both sides are state machines: message bytes in,
 * message bytes out; randomness and identities come from the host, which has called sodium_init.
 * docs/secure-aggregation.md walks through the exchanges. */
#ifndef SOTTO_SECAGG_H
#define SOTTO_SECAGG_H

#include "sotto/base.h"

#define SECAGG_KEY          32u
#define SECAGG_SIG          64u
#define SECAGG_MEMBERS_MIN  10u    /* smaller groups are refused by both sides */
#define SECAGG_COMPLETE_MAX 200u   /* up to here everybody shares with everybody */
#define SECAGG_MEMBERS_MAX  16384u /* a share's point must fit GF(2^16), lists must fit a frame */
#define SECAGG_BLOCK        4096u  /* coordinates masked at a time; ranges start at multiples */
#define SECAGG_LENGTH_MAX   (UINT64_C(1) << 32)
#define SECAGG_CERT_MAX     1024u

/* ---- Parameters ---- */

enum secagg_adversary {
    SECAGG_CURIOUS = 1,        /* the server follows the protocol, and looks */
    SECAGG_SEMI_MALICIOUS = 2, /* honest while the keys are handed out */
    SECAGG_NONE = 3,           /* only the graph's connection and the drop-outs count */
};
#define SECAGG_SIGMA 40 /* security: failure below 2^-40 */
#define SECAGG_ETA   20 /* correctness: failure below 2^-20 */

/* degree: neighbours of each member; threshold: shares that open a secret, of degree + 1. */
struct secagg_graph_params {
    uint32_t degree;
    uint32_t threshold;
    bool complete;
};
/* The smallest even degree, and a threshold, that keep every failure of Bell et al. section 3 below
 * 2^-sigma and 2^-eta (the search of google-parfait's graph_parameter_finder). n in 3..10^6; gamma
 * is the share of adversarial members, delta of drop-outs. UNSUPPORTED with the reason when no
 * degree will do. */
enum sotto_status secagg_graph_search(uint32_t n, double gamma, double delta,
                                      enum secagg_adversary adversary,
                                      struct secagg_graph_params *out, struct sotto_error *err);
/* What a group of n runs: refused under 10; the complete graph with t = floor(2n/3) + 1 up to 200;
 * above, the search. */
enum sotto_status secagg_group_params(uint32_t n, double gamma, double delta,
                                      enum secagg_adversary adversary,
                                      struct secagg_graph_params *out, struct sotto_error *err);

struct secagg_question {
    uint32_t clients;
    double adversarial, dropout; /* shares of the clients, 0..1 */
    enum secagg_adversary adversary;
    uint64_t dimension; /* ring coordinates of the update, scalars included */
    unsigned ring_bits;
    uint32_t cert_bytes; /* of each member's certificate chain; 0: 304 */
};
struct secagg_answer {
    uint32_t degree, threshold;           /* the search's, also where the complete graph is run */
    uint32_t used_degree, used_threshold; /* of one group of all clients */
    bool complete;
    uint32_t groups, group_min,
        group_max;                 /* groups of at most 200 that the clients would split in */
    uint32_t group_threshold;      /* of the largest of them */
    uint64_t bytes_up, bytes_down; /* a client, one group of all, no drop-outs */
    double client_seconds;         /* an estimate from rates of one 3.6 GHz x86 core */
};
/* UNSUPPORTED or LIMIT with the reason where it is infeasible. */
enum sotto_status secagg_parameters_answer(const struct secagg_question *q,
                                           struct secagg_answer *out, struct sotto_error *err);
/* The answer as lines for people, or as one JSON object with the names of the struct. */
void secagg_parameters_describe(const struct secagg_question *q, const struct secagg_answer *a,
                                bool json, struct buf *out);

/* ---- The ring Z_{2^bits}, bits in {16, 20, 24, 32} ---- */

bool secagg_ring_valid(unsigned bits);
/* Bytes of count packed coordinates; the last byte is padded with zero bits. count <=
 * SECAGG_LENGTH_MAX. */
size_t secagg_ring_bytes(unsigned bits, uint64_t count);
/* values[i] mod 2^bits -> out, coordinate i at bit i * bits, little-endian. */
void secagg_ring_pack(unsigned bits, const uint32_t *values, size_t count, uint8_t *out);
void secagg_ring_unpack(unsigned bits, const uint8_t *packed, size_t count, uint32_t *values);
/* acc[i] += / -= coordinate i, mod 2^32: a sum mod 2^bits is exact in its low bits. */
void secagg_ring_add(unsigned bits, uint32_t *acc, const uint8_t *packed, size_t count);
void secagg_ring_sub(unsigned bits, uint32_t *acc, const uint8_t *packed, size_t count);
/* acc[i] mod 2^bits. */
void secagg_ring_reduce(unsigned bits, uint32_t *acc, size_t count);
/* The widest limb such that sums over n members cannot wrap: n (2^b - 1) < 2^bits; 0: none. */
unsigned secagg_limb_bits(unsigned ring_bits, uint32_t n);
/* A scalar below 2^(limb_bits * limbs) as limbs, lowest first; the sum of limbs joins to the sum of
 * scalars (mod 2^64). */
void secagg_limbs_split(uint64_t value, unsigned limb_bits, size_t limbs, uint32_t *out);
uint64_t secagg_limbs_join(const uint32_t *sums, unsigned limb_bits, size_t limbs);

/* ---- A session ---- */

/* The same on both sides; all of it is fixed by the terms that terms_hash names. */
struct secagg_config {
    uint8_t terms_hash[SECAGG_KEY];
    unsigned ring_bits;
    uint64_t length;      /* ring coordinates, scalars included */
    uint32_t members_max; /* n_max: what the ring was sized for */
    uint32_t members_min; /* the side's own minimum group; at least SECAGG_MEMBERS_MIN counts */
    uint32_t cert_bytes;  /* of each certificate, fixed */
    enum secagg_adversary adversary; /* these three matter above SECAGG_COMPLETE_MAX members only */
    double gamma, delta;
};

/* What the host knows of identities. certify: the certificate is of this serial, verified to the
 * authority and not revoked; gives the device's signing key. sign and verify cover the label. */
struct secagg_identity {
    void *ctx;
    enum sotto_status (*certify)(void *ctx, uint64_t serial, struct view certificate,
                                 uint8_t key[SECAGG_KEY], struct sotto_error *err);
    enum sotto_status (*verify)(void *ctx, const uint8_t key[SECAGG_KEY], const char *label,
                                struct view body, const uint8_t sig[SECAGG_SIG],
                                struct sotto_error *err);
    enum sotto_status (*sign)(void *ctx, const char *label, struct view body,
                              uint8_t sig[SECAGG_SIG], struct sotto_error *err); /* client only */
};
#define SECAGG_LABEL_RECORD    "sotto secagg record v1"
#define SECAGG_LABEL_SURVIVORS "sotto secagg survivors v1"

/* Kinds of message, in the order of the exchanges. Values travel: append only. */
enum secagg_kind {
    SECAGG_ADVERTISE = 1,  /* client: its record */
    SECAGG_LIST = 2,       /* server: the group */
    SECAGG_SHARES = 3,     /* client: sealed shares for each neighbour, and commitments */
    SECAGG_DELIVERY = 4,   /* server: who shared, and the shares for this member */
    SECAGG_MASKED = 5,     /* client: the masked input */
    SECAGG_SURVIVORS = 6,  /* server: whose inputs arrived */
    SECAGG_SIGNATURE = 7,  /* client: signs that set */
    SECAGG_SIGNATURES = 8, /* server: the others' signatures */
    SECAGG_UNMASK = 9,     /* client: one share for each member that shared */
};
/* The most bytes a message of this kind has in a group of config's members_max (SECAGG_MASKED: its
 * head and the packed coordinates). */
size_t secagg_message_max(const struct secagg_config *config, enum secagg_kind kind);

/* Work over cores: run calls job(job_ctx, i) for every i below count, on any threads, and returns
 * when all are done. NULL where one is taken: a plain loop. */
typedef void secagg_job(void *job_ctx, size_t index);
struct secagg_parallel {
    void *ctx;
    void (*run)(void *ctx, size_t count, secagg_job *job, void *job_ctx);
};

/* ---- Client ---- */

enum secagg_stage { /* what the next message from the server must be */
                    SECAGG_STAGE_NEW,
                    SECAGG_STAGE_LIST,
                    SECAGG_STAGE_DELIVERY,
                    SECAGG_STAGE_MASK, /* masks its input now */
                    SECAGG_STAGE_SURVIVORS,
                    SECAGG_STAGE_SIGNATURES,
                    SECAGG_STAGE_DONE,    /* has unmasked; nothing secret is left */
                    SECAGG_STAGE_REFUSED, /* the server broke the protocol; nothing secret is left
                                           */
};
/* The device's own record of a session, for its history. */
struct secagg_client_report {
    enum secagg_stage stage;
    uint8_t session[SECAGG_KEY];
    uint32_t members, sharers, survivors, signatures; /* 0 where it did not come so far */
    uint32_t degree, threshold;
    uint32_t minimum; /* members that the sum holds at the least: max(t, own minimum) */
    bool complete;    /* holds against a cheating coordinator */
};

struct secagg_client;
#define SECAGG_CLIENT_RANDOM 128u
/* random: fresh, secret, used for nothing else; the caller wipes it. identity is copied, its ctx
 * borrowed; certificate (config's cert_bytes) is copied. masked_before: a masked input of these
 * terms has left this device; then DENIED, whatever the server claims. */
enum sotto_status secagg_client_new(const struct secagg_config *config,
                                    const struct secagg_identity *identity, uint64_t serial,
                                    struct view certificate,
                                    const uint8_t random[SECAGG_CLIENT_RANDOM], bool masked_before,
                                    struct secagg_client **out, struct sotto_error *err);
void secagg_client_free(struct secagg_client *c); /* wipes; NULL is fine */

/* Each of these takes a message (borrowed) and appends the answer to out. The same message again
 * gives the same answer again. CORRUPT: not a message of this kind, nothing changed. STATE: not
 * now, or of another session, nothing changed. DENIED: against the protocol: the session is over
 * for this member and its secrets are wiped. */
enum sotto_status secagg_client_advertise(struct secagg_client *c, struct buf *out,
                                          struct sotto_error *err);
enum sotto_status secagg_client_list(struct secagg_client *c, struct view message, struct buf *out,
                                     struct sotto_error *err);
enum sotto_status secagg_client_delivery(struct secagg_client *c, struct view message,
                                         struct sotto_error *err);
/* Masks coordinates [first, first + count) and appends them packed, behind the message's head when
 * first is 0. In order, each once: first is what was masked so far, count a multiple of
 * SECAGG_BLOCK but for the last. values < 2^ring_bits. The host has stored masked(terms) before
 * the first byte leaves, and stores what it sends: there is no second time. */
enum sotto_status secagg_client_mask(struct secagg_client *c, uint64_t first,
                                     const uint32_t *values, size_t count, struct buf *out,
                                     struct sotto_error *err);
enum sotto_status secagg_client_survivors(struct secagg_client *c, struct view message,
                                          struct buf *out, struct sotto_error *err);
enum sotto_status secagg_client_signatures(struct secagg_client *c, struct view message,
                                           struct buf *out, struct sotto_error *err);
void secagg_client_report(const struct secagg_client *c, struct secagg_client_report *out);

/* ---- Server ---- */

/* The server is deterministic: a host that stored the messages it accepted and the moments of the
 * closes builds the same session again by giving them again, and shows the same lists. */
struct secagg_server;
enum sotto_status secagg_server_new(const struct secagg_config *config,
                                    const struct secagg_identity *identity,
                                    struct secagg_server **out, struct sotto_error *err);
void secagg_server_free(struct secagg_server *s); /* wipes; NULL is fine */

/* Members are named by serial; the transport has authenticated it. First bytes hold: the same again
 * is OK, other bytes are DENIED. CORRUPT or DENIED: this member's message is not taken, the session
 * goes on. STATE: the exchange is not open. */
enum sotto_status secagg_server_advertise(struct secagg_server *s, uint64_t serial,
                                          struct view message, struct sotto_error *err);
enum sotto_status secagg_server_shares(struct secagg_server *s, uint64_t serial,
                                       struct view message, struct sotto_error *err);
/* head: the message's first SECAGG_MASKED_HEAD bytes; bytes: its whole length, as the host has it.
 * The host keeps the coordinates and adds those of the survivors into its sum. */
#define SECAGG_MASKED_HEAD 56u
enum sotto_status secagg_server_masked(struct secagg_server *s, uint64_t serial, struct view head,
                                       uint64_t bytes, struct sotto_error *err);
enum sotto_status secagg_server_signature(struct secagg_server *s, uint64_t serial,
                                          struct view message, struct sotto_error *err);
/* Shares that do not match their dealer's commitment are counted and left out; then CORRUPT. */
enum sotto_status secagg_server_unmask(struct secagg_server *s, uint64_t serial,
                                       struct view message, struct sotto_error *err);

/* Ends an exchange, in this order; what comes late is refused with STATE. CHECK with the reason
 * when the group cannot go on safely: the session has then failed for good. */
enum sotto_status secagg_server_close(struct secagg_server *s, enum secagg_kind client_kind,
                                      struct sotto_error *err);
/* What the server says to this member, from the close before it on: SECAGG_LIST, _DELIVERY,
 * _SURVIVORS or _SIGNATURES. Always the same bytes. NOT_FOUND: it is not a member, or has dropped
 * out before. */
enum sotto_status secagg_server_message(struct secagg_server *s, enum secagg_kind kind,
                                        uint64_t serial, struct buf *out, struct sotto_error *err);
/* Whether every secret that the sum needs can be opened by the shares so far. */
bool secagg_server_ready(const struct secagg_server *s);
/* Opens them, checks each against what its owner had advertised, and derives the masks to take
 * off. CHECK when one cannot be opened. After SECAGG_UNMASK was closed. */
enum sotto_status secagg_server_open(struct secagg_server *s, const struct secagg_parallel *par,
                                     struct sotto_error *err);
/* sum[0..count) holds coordinates [first, first + count) of the survivors' masked inputs, summed;
 * takes all masks off, and reduces mod 2^ring_bits. first is a multiple of SECAGG_BLOCK. O(block)
 * memory beside sum. */
enum sotto_status secagg_server_reveal(struct secagg_server *s, uint32_t *sum, uint64_t first,
                                       size_t count, const struct secagg_parallel *par,
                                       struct sotto_error *err);

struct secagg_server_report {
    uint8_t session[SECAGG_KEY];
    uint32_t members, sharers, survivors, signers, unmaskers;
    uint32_t degree, threshold, minimum;
    bool complete;
    uint32_t bad_shares;
    uint64_t mask_streams; /* taken off each coordinate */
    bool failed;
};
void secagg_server_report(const struct secagg_server *s, struct secagg_server_report *out);
/* The serials of survivors (or of any other set: members, sharers, signers) ascending by index;
 * which is the client's message that made it. Returns how many; fills at most cap. */
uint32_t secagg_server_set(const struct secagg_server *s, enum secagg_kind which, uint64_t *serials,
                           uint32_t cap);

#endif
