/* Counter-based random numbers: Philox4x32-10 (Salmon et al., SC'11, section 3.3). Same key, same
 * numbers, everywhere. */
#ifndef SOTTO_BASE_RNG_H
#define SOTTO_BASE_RNG_H

#include <stdint.h>

/* What a stream is for: streams with another purpose share nothing. Values are part of
 * reproducibility: append only. */
enum rng_purpose {
    RNG_INIT = 1,    /* model initialisation */
    RNG_SHUFFLE = 2, /* order of local examples */
    RNG_DROPOUT = 3,
    RNG_ROUNDING = 4, /* stochastic quantization of an update */
    RNG_SELECT = 5,   /* cohort sampling */
    RNG_PARTITION = 6,
    RNG_GENERATE = 7, /* drawn examples */
    RNG_DISTILL = 8,
    RNG_FAULT = 9,
    RNG_FLEET = 10,
    RNG_SUPPORT = 11, /* coordinates that are sent under masks */
    RNG_ROTATE = 12,  /* signs of a rotation */
};

/* One block: out = Philox4x32-10(ctr, key). */
void rng_philox4x32(const uint32_t ctr[4], const uint32_t key[2], uint32_t out[4]);

struct rng {
    uint32_t key[2];
    uint32_t ctr[4];
    uint32_t out[4];
    unsigned used; /* words of out already given */
};
/* The stream of (seed, round, serial, purpose): key = first words of Philox(ctr = {serial lo,
 * serial hi, round, purpose}, key = seed), counter from 0. */
void rng_init(struct rng *r, uint64_t seed, uint32_t round, uint64_t serial,
              enum rng_purpose purpose);
uint32_t rng_u32(struct rng *r);
uint64_t rng_u64(struct rng *r);
uint32_t rng_below(struct rng *r, uint32_t n); /* uniform in [0, n), unbiased (Lemire); n > 0 */
float rng_f32(struct rng *r);                  /* uniform in [0, 1), 24 bits */
double rng_f64(struct rng *r);                 /* uniform in [0, 1), 53 bits */
double rng_normal(struct rng *r);              /* Box-Muller */
double rng_gamma(struct rng *r, double shape); /* Marsaglia-Tsang; shape > 0 */
void rng_shuffle_u32(struct rng *r, uint32_t *a, uint32_t n); /* Fisher-Yates */

#endif
