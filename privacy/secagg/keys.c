/* The key schedule: agreement, derivation, commitments, sealed shares, and the arena for secrets.
 */
#include <sodium.h>
#include <string.h>

#include "secagg_int.h"

#define LABEL "SOTTO1"

static void hash_put(crypto_generichash_state *h, const void *p, size_t n) {
    (void)crypto_generichash_update(h, p, n);
}

static void hash_put_u64(crypto_generichash_state *h, uint64_t v) {
    uint8_t bytes[8];
    for (unsigned i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(v >> (8 * i));
    hash_put(h, bytes, sizeof bytes);
}

bool keys_agree(const uint8_t own_secret[SECAGG_KEY], const uint8_t own_public[SECAGG_KEY],
                const uint8_t peer_public[SECAGG_KEY], const uint8_t session[SECAGG_KEY],
                const uint8_t terms[SECAGG_KEY], uint8_t prk[SECAGG_KEY]) {
    uint8_t shared[SECAGG_KEY];
    crypto_generichash_state h;
    const bool usable = crypto_scalarmult(shared, own_secret, peer_public) == 0;
    if (usable) {
        const bool own_first = memcmp(own_public, peer_public, SECAGG_KEY) < 0;
        (void)crypto_generichash_init(&h, shared, sizeof shared, SECAGG_KEY);
        hash_put(&h, LABEL, sizeof LABEL - 1);
        hash_put(&h, own_first ? own_public : peer_public, SECAGG_KEY);
        hash_put(&h, own_first ? peer_public : own_public, SECAGG_KEY);
        hash_put(&h, session, SECAGG_KEY);
        hash_put(&h, terms, SECAGG_KEY);
        (void)crypto_generichash_final(&h, prk, SECAGG_KEY);
        sodium_memzero(&h, sizeof h);
    }
    sodium_memzero(shared, sizeof shared);
    return usable;
}

void keys_derive(const uint8_t prk[SECAGG_KEY], uint64_t purpose, uint8_t out[SECAGG_KEY]) {
    crypto_generichash_state h;
    (void)crypto_generichash_init(&h, prk, SECAGG_KEY, SECAGG_KEY);
    hash_put(&h, LABEL " kdf", sizeof LABEL " kdf" - 1);
    hash_put_u64(&h, purpose);
    (void)crypto_generichash_final(&h, out, SECAGG_KEY);
    sodium_memzero(&h, sizeof h);
}

void keys_self(const uint8_t b[SECAGG_KEY], uint32_t owner, const uint8_t session[SECAGG_KEY],
               const uint8_t terms[SECAGG_KEY], uint8_t out[SECAGG_KEY]) {
    uint8_t prk[SECAGG_KEY];
    crypto_generichash_state h;
    (void)crypto_generichash_init(&h, b, SECAGG_KEY, SECAGG_KEY);
    hash_put(&h, LABEL " self", sizeof LABEL " self" - 1);
    hash_put_u64(&h, owner);
    hash_put(&h, session, SECAGG_KEY);
    hash_put(&h, terms, SECAGG_KEY);
    (void)crypto_generichash_final(&h, prk, SECAGG_KEY);
    sodium_memzero(&h, sizeof h);
    keys_derive(prk, KDF_MASK, out);
    sodium_memzero(prk, sizeof prk);
}

void keys_commit_self(const uint8_t b[SECAGG_KEY], uint8_t out[SECAGG_KEY]) {
    const struct view part = view_of(b, SECAGG_KEY);
    keys_hash("sotto secagg self v1", &part, 1, out);
}

/* The u-coordinates of small order on Curve25519 and its twist (Bernstein, "Curve25519", 2006, and
 * libsodium's own list), the top bit cleared: 0, 1, two of order 8, p - 1, p, p + 1. */
static const uint8_t small_order[7][SECAGG_KEY] = {
    {0},
    {1},
    {0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a,
     0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8},
    {0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1,
     0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c,
     0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57},
    {0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
     0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
     0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
    {0xed, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
     0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
     0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
    {0xee, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
     0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
     0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
};

bool keys_public_usable(const uint8_t public_key[SECAGG_KEY]) {
    uint8_t cleared[SECAGG_KEY];
    memcpy(cleared, public_key, sizeof cleared);
    cleared[SECAGG_KEY - 1] &= 0x7f;
    for (size_t i = 0; i < ARRAY_LEN(small_order); i++)
        if (memcmp(cleared, small_order[i], sizeof cleared) == 0)
            return false;
    return true;
}

void keys_hash(const char *label, const struct view *parts, size_t count, uint8_t out[SECAGG_KEY]) {
    crypto_generichash_state h;
    (void)crypto_generichash_init(&h, NULL, 0, SECAGG_KEY);
    hash_put_u64(&h, strlen(label));
    hash_put(&h, label, strlen(label));
    for (size_t i = 0; i < count; i++) {
        hash_put_u64(&h, parts[i].n);
        hash_put(&h, parts[i].p, parts[i].n);
    }
    (void)crypto_generichash_final(&h, out, SECAGG_KEY);
    sodium_memzero(&h, sizeof h);
}

void keys_expand(const uint8_t seed[SECAGG_KEY], uint8_t *out, size_t n) {
    static const uint8_t nonce[crypto_stream_chacha20_NONCEBYTES];
    (void)crypto_stream_chacha20(out, n, nonce, seed);
}

/* session, exchange, dealer, holder, threshold, degree, commitments. */
#define SEAL_AD (SECAGG_KEY + 5u * 4u + 2u * SHAMIR_COMMIT)

static void seal_inputs(const struct share_context *at, const uint8_t commits[2 * SHAMIR_COMMIT],
                        uint8_t ad[SEAL_AD],
                        uint8_t nonce[crypto_aead_xchacha20poly1305_ietf_NPUBBYTES]) {
    const uint32_t words[5] = {SECAGG_SHARES, at->dealer, at->holder, at->threshold, at->degree};
    uint8_t *p = ad;
    memcpy(p, at->session, SECAGG_KEY);
    p += SECAGG_KEY;
    for (unsigned w = 0; w < 5; w++)
        for (unsigned b = 0; b < 4; b++)
            *p++ = (uint8_t)(words[w] >> (8 * b));
    memcpy(p, commits, 2 * SHAMIR_COMMIT);
    memset(nonce, 0, crypto_aead_xchacha20poly1305_ietf_NPUBBYTES);
    memcpy(nonce, ad + SECAGG_KEY + 4, 8);
}

void keys_seal_shares(const uint8_t key[SECAGG_KEY], const struct share_context *at,
                      const uint8_t commits[2 * SHAMIR_COMMIT],
                      const uint8_t shares[2 * SECAGG_KEY], uint8_t out[SEALED_SHARES]) {
    uint8_t ad[SEAL_AD], nonce[crypto_aead_xchacha20poly1305_ietf_NPUBBYTES];
    unsigned long long n = 0;
    seal_inputs(at, commits, ad, nonce);
    (void)crypto_aead_xchacha20poly1305_ietf_encrypt(out, &n, shares, 2 * SECAGG_KEY, ad, sizeof ad,
                                                     NULL, nonce, key);
}

bool keys_open_shares(const uint8_t key[SECAGG_KEY], const struct share_context *at,
                      const uint8_t commits[2 * SHAMIR_COMMIT], const uint8_t sealed[SEALED_SHARES],
                      uint8_t shares[2 * SECAGG_KEY]) {
    uint8_t ad[SEAL_AD], nonce[crypto_aead_xchacha20poly1305_ietf_NPUBBYTES];
    unsigned long long n = 0;
    seal_inputs(at, commits, ad, nonce);
    return crypto_aead_xchacha20poly1305_ietf_decrypt(shares, &n, NULL, sealed, SEALED_SHARES, ad,
                                                      sizeof ad, nonce, key) == 0;
}

enum sotto_status secret_arena_init(struct secret_arena *a, size_t size, struct sotto_error *err) {
    *a = (struct secret_arena){sodium_malloc(size), size, 0};
    if (!a->p)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "guarded memory for secrets: %zu bytes refused", size);
    sodium_memzero(a->p, size);
    return SOTTO_OK;
}

uint8_t *secret_arena_take(struct secret_arena *a, size_t n) {
    uint8_t *p = a->p + a->used;
    if (n > a->size - a->used)
        __builtin_trap(); /* our own sum of sizes is wrong; nothing outside can cause it */
    a->used += n;
    return p;
}

void secret_arena_deinit(struct secret_arena *a) {
    sodium_free(a->p); /* wipes first; NULL is fine */
    *a = (struct secret_arena){0};
}
