/* Hashes that name things on the wire: BLAKE2b-256 with an optional label that says what was
 * hashed. */
#include "sotto/protocol/wire.h"

#include <sodium.h>
#include <string.h>

_Static_assert(WIRE_HASH == crypto_generichash_BYTES, "BLAKE2b-256");
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the digest hashes fp32 in memory order, which has to be little-endian"
#endif

struct wire_hasher {
    crypto_generichash_state state; /* needs 64-byte alignment: allocated aligned */
};

static void start(crypto_generichash_state *state, const char *label) {
    (void)crypto_generichash_init(state, NULL, 0, WIRE_HASH);
    if (label == NULL || label[0] == '\0')
        return;
    /* The terminator goes in too: no label is then the beginning of another one's text. */
    (void)crypto_generichash_update(state, (const uint8_t *)label, strlen(label) + 1);
}

struct wire_hash wire_hash_of(const char *label, struct view bytes) {
    struct wire_hash out;
    crypto_generichash_state state;
    start(&state, label);
    if (bytes.n > 0)
        (void)crypto_generichash_update(&state, bytes.p, bytes.n);
    (void)crypto_generichash_final(&state, out.b, WIRE_HASH);
    return out;
}

bool wire_hash_equal(const struct wire_hash *a, const struct wire_hash *b) {
    return memcmp(a->b, b->b, WIRE_HASH) == 0;
}

struct wire_hasher *wire_hasher_new(const char *label) {
    struct wire_hasher *h = mem_alloc_aligned(sizeof *h, 64);
    if (h != NULL)
        start(&h->state, label);
    return h;
}

void wire_hasher_add(struct wire_hasher *h, struct view bytes) {
    if (bytes.n > 0)
        (void)crypto_generichash_update(&h->state, bytes.p, bytes.n);
}

struct wire_hash wire_hasher_finish(struct wire_hasher *h) {
    struct wire_hash out;
    (void)crypto_generichash_final(&h->state, out.b, WIRE_HASH);
    mem_free_aligned(h);
    return out;
}

struct wire_hash wire_digest(const float *params, size_t count) {
    return wire_hash_of("", view_of(params, count * sizeof *params));
}
