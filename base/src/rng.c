/* Philox4x32-10 streams (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC'11) and
 * draws from them. */
#include "sotto/base/rng.h"

#include <math.h>

#define PHILOX_M0 0xd2511f53u
#define PHILOX_M1 0xcd9e8d57u
#define PHILOX_W0 0x9e3779b9u
#define PHILOX_W1 0xbb67ae85u
#define TWO_PI    6.283185307179586476925286766559

void rng_philox4x32(const uint32_t ctr[4], const uint32_t key[2], uint32_t out[4]) {
    uint32_t c0 = ctr[0], c1 = ctr[1], c2 = ctr[2], c3 = ctr[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)PHILOX_M0 * c0;
        const uint64_t p1 = (uint64_t)PHILOX_M1 * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += PHILOX_W0;
        k1 += PHILOX_W1;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

void rng_init(struct rng *r, uint64_t seed, uint32_t round, uint64_t serial,
              enum rng_purpose purpose) {
    const uint32_t ctr[4] = {(uint32_t)serial, (uint32_t)(serial >> 32), round, (uint32_t)purpose};
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t out[4];
    rng_philox4x32(ctr, key, out);
    *r = (struct rng){.key = {out[0], out[1]}, .used = 4};
}

uint32_t rng_u32(struct rng *r) {
    if (r->used >= 4) {
        rng_philox4x32(r->ctr, r->key, r->out);
        for (int i = 0; i < 4; i++)
            if (++r->ctr[i] != 0)
                break;
        r->used = 0;
    }
    return r->out[r->used++];
}

uint64_t rng_u64(struct rng *r) {
    const uint64_t lo = rng_u32(r);
    return lo | (uint64_t)rng_u32(r) << 32;
}

uint32_t rng_below(struct rng *r, uint32_t n) {
    /* Lemire, "Fast random integer generation in an interval" (2019), algorithm 5. */
    uint64_t m = (uint64_t)rng_u32(r) * n;
    if ((uint32_t)m < n) {
        const uint32_t threshold = (0u - n) % n;
        while ((uint32_t)m < threshold)
            m = (uint64_t)rng_u32(r) * n;
    }
    return (uint32_t)(m >> 32);
}

float rng_f32(struct rng *r) {
    return (float)(rng_u32(r) >> 8) * 0x1p-24f;
}

double rng_f64(struct rng *r) {
    return (double)(rng_u64(r) >> 11) * 0x1p-53;
}

double rng_normal(struct rng *r) {
    const double u1 = 1.0 - rng_f64(r); /* in (0, 1]: the logarithm stays finite */
    const double u2 = rng_f64(r);
    return sqrt(-2.0 * log(u1)) * cos(TWO_PI * u2);
}

double rng_gamma(struct rng *r, double shape) {
    /* Marsaglia and Tsang, "A simple method for generating gamma variables" (2000); section 6 for
     * shape < 1. */
    if (shape < 1.0) {
        const double u = 1.0 - rng_f64(r);
        return rng_gamma(r, shape + 1.0) * pow(u, 1.0 / shape);
    }
    const double d = shape - 1.0 / 3.0;
    const double c = 1.0 / sqrt(9.0 * d);
    for (;;) {
        const double x = rng_normal(r);
        const double t = 1.0 + c * x;
        if (t <= 0.0)
            continue;
        const double v = t * t * t;
        const double u = 1.0 - rng_f64(r);
        if (log(u) < 0.5 * x * x + d - d * v + d * log(v))
            return d * v;
    }
}

void rng_shuffle_u32(struct rng *r, uint32_t *a, uint32_t n) {
    for (uint32_t i = n; i > 1; i--) {
        const uint32_t j = rng_below(r, i);
        const uint32_t t = a[i - 1];
        a[i - 1] = a[j];
        a[j] = t;
    }
}
