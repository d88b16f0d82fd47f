/* Shamir's secret sharing over GF(2^16) (Shamir 1979): a 32-byte secret is 16 field elements.
 * Secrets meet only shifts, masks and exclusive ors; tables and branches see public points alone.
 */
#include <sodium.h>
#include <string.h>

#include "secagg_int.h"

enum { LANES = 16 };
#define POLYNOMIAL 0x100Bu /* x^16 + x^12 + x^3 + x + 1, primitive; the top bit is implied */

static void lanes_load(uint16_t v[LANES], const uint8_t *p) {
    for (int i = 0; i < LANES; i++)
        v[i] = (uint16_t)(p[2 * i] | p[2 * i + 1] << 8);
}

static void lanes_store(uint8_t *p, const uint16_t v[LANES]) {
    for (int i = 0; i < LANES; i++) {
        p[2 * i] = (uint8_t)v[i];
        p[2 * i + 1] = (uint8_t)(v[i] >> 8);
    }
}

/* v *= x in every lane: shift and add over all 16 bits of x, whatever they are. r is scratch, for
 * the caller to wipe. */
static void lanes_mul(uint16_t v[LANES], uint16_t x, uint16_t r[LANES]) {
    memset(r, 0, LANES * sizeof *r);
    for (int bit = 15; bit >= 0; bit--) {
        const uint16_t take = (uint16_t)(0u - (x >> bit & 1u));
        for (int i = 0; i < LANES; i++) {
            const uint16_t carry = (uint16_t)(0u - (uint16_t)(r[i] >> 15));
            r[i] = (uint16_t)((uint16_t)(r[i] << 1) ^ (carry & POLYNOMIAL) ^ (v[i] & take));
        }
    }
    memcpy(v, r, LANES * sizeof *r);
}

void shamir_split(const uint8_t secret[SECAGG_KEY], uint32_t threshold, const uint8_t *coefficients,
                  const uint32_t *points, uint32_t count, uint8_t *shares) {
    uint16_t value[LANES], term[LANES], scratch[LANES];
    for (uint32_t i = 0; i < count; i++) { /* Horner, from the highest coefficient */
        memset(value, 0, sizeof value);
        for (uint32_t j = threshold; j-- > 0;) {
            lanes_mul(value, (uint16_t)points[i], scratch);
            lanes_load(term, j > 0 ? coefficients + (size_t)(j - 1) * SECAGG_KEY : secret);
            for (int lane = 0; lane < LANES; lane++)
                value[lane] ^= term[lane];
        }
        lanes_store(shares + (size_t)i * SECAGG_KEY, value);
    }
    sodium_memzero(value, sizeof value);
    sodium_memzero(term, sizeof term);
    sodium_memzero(scratch, sizeof scratch);
}

struct shamir_field *shamir_field_new(void) {
    struct shamir_field *f = mem_alloc(sizeof *f);
    if (!f)
        return NULL;
    uint32_t x = 1;
    f->log[0] = 0; /* has none */
    for (uint32_t i = 0; i < 65535; i++) {
        f->exp[i] = f->exp[i + 65535] = (uint16_t)x;
        f->log[x] = (uint16_t)i;
        x <<= 1;
        if (x & 0x10000u)
            x ^= 0x10000u | POLYNOMIAL;
    }
    return f;
}

void shamir_weights(const struct shamir_field *f, const uint32_t *points, uint32_t threshold,
                    uint16_t *weights) {
    uint64_t all = 0;
    for (uint32_t i = 0; i < threshold; i++)
        all += f->log[points[i]];
    for (uint32_t i = 0; i < threshold; i++) { /* prod_j x_j / (x_j - x_i), j != i */
        uint64_t below = f->log[points[i]];
        for (uint32_t j = 0; j < threshold; j++)
            below += f->log[(points[i] ^ points[j]) & 0xFFFFu]; /* log[0] is 0 for j == i */
        weights[i] = f->exp[all % 65535 + (65535 - below % 65535)];
    }
}

void shamir_combine(const uint16_t *weights, const uint8_t *const *shares, uint32_t threshold,
                    uint8_t secret[SECAGG_KEY]) {
    uint16_t sum[LANES] = {0}, share[LANES], scratch[LANES];
    for (uint32_t i = 0; i < threshold; i++) {
        lanes_load(share, shares[i]);
        lanes_mul(share, weights[i], scratch);
        for (int lane = 0; lane < LANES; lane++)
            sum[lane] ^= share[lane];
    }
    lanes_store(secret, sum);
    sodium_memzero(sum, sizeof sum);
    sodium_memzero(share, sizeof share);
    sodium_memzero(scratch, sizeof scratch);
}

void shamir_commit(const uint8_t session[SECAGG_KEY], uint32_t kind, uint32_t dealer,
                   uint32_t holder, const uint8_t share[SECAGG_KEY], uint8_t out[SHAMIR_COMMIT]) {
    static const char label[] = "sotto secagg share v1";
    uint8_t in[sizeof label - 1 + SECAGG_KEY + 12 + SECAGG_KEY], *p = in;
    const uint32_t words[3] = {kind, dealer, holder};
    memcpy(p, label, sizeof label - 1);
    p += sizeof label - 1;
    memcpy(p, session, SECAGG_KEY);
    p += SECAGG_KEY;
    for (unsigned w = 0; w < 3; w++)
        for (unsigned b = 0; b < 4; b++)
            *p++ = (uint8_t)(words[w] >> (8 * b));
    memcpy(p, share, SECAGG_KEY);
    (void)crypto_generichash(out, SHAMIR_COMMIT, in, sizeof in, NULL, 0);
    sodium_memzero(in, sizeof in);
}
