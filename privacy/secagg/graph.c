/* Who shares with whom: the search for degree and threshold, and the random ring. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "secagg_int.h"

#define SEARCH_N_MAX 1000000u

/* Logarithms of factorials: every probability below is a ratio of them. */
struct search {
    uint32_t n, adversarial, survivors;
    double log_limit_security; /* ln of 2^-(sigma+1) */
    double limit_security;     /* 2^-(sigma+1) / n: of one member */
    double limit_correctness;  /* 2^-eta / n */
    double *log_factorial;     /* n + 1 of them */
};

static double log_choose(const struct search *s, uint32_t n, uint32_t k) {
    return s->log_factorial[n] - s->log_factorial[k] - s->log_factorial[n - k];
}

/* P[X = x] when k are drawn of n of which marked are marked. */
static double pmf(const struct search *s, uint32_t marked, uint32_t k, uint32_t x) {
    if (x > marked || x > k || k - x > s->n - marked)
        return 0.0;
    return exp(log_choose(s, marked, x) + log_choose(s, s->n - marked, k - x) -
               log_choose(s, s->n, k));
}

/* E2, the honest survivors fall apart: two gaps of k/2 bad neighbours on the ring. */
static bool stays_connected(const struct search *s, uint32_t bad, uint32_t k) {
    if (k > bad)
        return true;
    const double bound = log((double)s->n) + log((double)(s->n - k - 1)) - log(2.0) +
                         s->log_factorial[bad] + s->log_factorial[s->n - k] -
                         s->log_factorial[s->n] - s->log_factorial[bad - k];
    return bound < s->log_limit_security;
}

/* E1: the smallest x with P[adversarial neighbours > x] within the limit; summed from the top. */
static uint32_t adversarial_at_most(const struct search *s, uint32_t k) {
    double tail = 0.0;
    uint32_t x = k < s->adversarial ? k : s->adversarial;
    for (; x > 0; x--) {
        tail += pmf(s, s->adversarial, k, x); /* now P[X > x - 1] */
        if (tail > s->limit_security)
            return x;
    }
    return 0;
}

/* E3: the smallest x with P[surviving neighbours <= x] no longer negligible; from the bottom. */
static uint32_t surviving_at_least(const struct search *s, uint32_t k) {
    double tail = 0.0;
    for (uint32_t x = 0; x < k; x++) {
        tail += pmf(s, s->survivors, k, x);
        if (tail >= s->limit_correctness)
            return x;
    }
    return k;
}

static enum sotto_status search_init(struct search *s, uint32_t n, double gamma, double delta,
                                     struct sotto_error *err) {
    const double slack = 1e-14;
    s->n = n;
    s->adversarial = (uint32_t)floor((gamma + slack) * n);
    s->survivors = (uint32_t)ceil((1.0 - delta - slack) * n);
    s->log_limit_security = -(SECAGG_SIGMA + 1) * log(2.0);
    s->limit_security = exp2(-(SECAGG_SIGMA + 1)) / n;
    s->limit_correctness = exp2(-SECAGG_ETA) / n;
    s->log_factorial = mem_array((size_t)n + 1, sizeof *s->log_factorial);
    if (!s->log_factorial)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "graph search over %u clients: out of memory", n);
    for (uint32_t i = 2; i <= n; i++) {
        int sign;
        s->log_factorial[i] = lgamma_r((double)i + 1.0, &sign);
    }
    return SOTTO_OK;
}

enum sotto_status secagg_graph_search(uint32_t n, double gamma, double delta,
                                      enum secagg_adversary adversary,
                                      struct secagg_graph_params *out, struct sotto_error *err) {
    const bool semi = adversary == SECAGG_SEMI_MALICIOUS;
    struct search s = {0};
    if (n < 3 || n > SEARCH_N_MAX)
        return SOTTO_FAIL(err, SOTTO_LIMIT, "%u clients: the graph search takes 3 to %u", n,
                          SEARCH_N_MAX);
    if (!(gamma >= 0.0 && gamma <= 1.0 && delta >= 0.0 && delta <= 1.0))
        return SOTTO_FAIL(err, SOTTO_INVALID,
                          "adversarial %g and drop-out %g must be shares of the clients, 0 to 1",
                          gamma, delta);
    if (gamma + (semi ? 2.0 : 1.0) * delta > 0.9)
        return SOTTO_FAIL(err, SOTTO_UNSUPPORTED,
                          "infeasible: adversarial %g and %sdrop-out %g together exceed 0.9", gamma,
                          semi ? "twice " : "", delta);
    const enum sotto_status ready = search_init(&s, n, gamma, delta, err);
    if (ready != SOTTO_OK)
        return ready;
    const uint32_t dropped = (uint32_t)floor((delta + 1e-14) * n), bad = s.adversarial + dropped;
    bool found = false;
    for (uint32_t k = 2; k < n - 1 && !found; k += 2) {
        if (!stays_connected(&s, bad, k))
            continue;
        uint32_t t1 = adversarial_at_most(&s, k);
        if (semi) /* 2t - k > t1: both kinds of share cannot reach t */
            t1 = (uint32_t)ceil(((double)t1 + (double)k - 1.25) / 2.0);
        if (surviving_at_least(&s, k) <= t1)
            continue;
        *out = (struct secagg_graph_params){k, t1 + 1 > 2 ? t1 + 1 : 2, false};
        found = true;
    }
    mem_free(s.log_factorial);
    if (!found)
        return SOTTO_FAIL(err, SOTTO_UNSUPPORTED,
                          "infeasible: %u clients are too few for adversarial %g, drop-out %g", n,
                          gamma, delta);
    return SOTTO_OK;
}

enum sotto_status secagg_group_params(uint32_t n, double gamma, double delta,
                                      enum secagg_adversary adversary,
                                      struct secagg_graph_params *out, struct sotto_error *err) {
    if (n < SECAGG_MEMBERS_MIN)
        return SOTTO_FAIL(err, SOTTO_LIMIT, "a secure group of %u is refused: at least %u members",
                          n, SECAGG_MEMBERS_MIN);
    if (n <= SECAGG_COMPLETE_MAX) {
        *out = (struct secagg_graph_params){n - 1, 2 * n / 3 + 1, true};
        return SOTTO_OK;
    }
    return secagg_graph_search(n, gamma, delta, adversary, out, err);
}

/* Uniform below bound from a key stream read at *used; rejects the biased top (Lemire). */
static uint32_t below(const uint8_t *stream, size_t cap, size_t *used, uint32_t bound) {
    for (;;) {
        uint32_t word = 0;
        if (*used + 4 > cap)
            return (uint32_t)(*used % bound); /* not reached: the stream has 2x what is expected */
        for (unsigned b = 0; b < 4; b++)
            word |= (uint32_t)stream[*used + b] << (8 * b);
        *used += 4;
        const uint64_t product = (uint64_t)word * bound;
        if ((uint32_t)product >= (0u - bound) % bound)
            return (uint32_t)(product >> 32);
    }
}

enum sotto_status ring_graph_init(struct ring_graph *g, uint32_t n, uint32_t degree,
                                  const uint8_t seed[SECAGG_KEY], struct sotto_error *err) {
    *g = (struct ring_graph){n, degree, NULL, NULL};
    if (degree + 1 >= n)
        return SOTTO_OK;
    const size_t stream_bytes = 8 * (size_t)n + 64;
    uint8_t *stream = mem_alloc(stream_bytes);
    g->at = mem_array(n, sizeof *g->at);
    g->pos = mem_array(n, sizeof *g->pos);
    if (!stream || !g->at || !g->pos) {
        mem_free(stream);
        ring_graph_deinit(g);
        return SOTTO_FAIL(err, SOTTO_NOMEM, "graph of %u members: out of memory", n);
    }
    keys_expand(seed, stream, stream_bytes);
    for (uint32_t i = 0; i < n; i++)
        g->at[i] = i;
    size_t used = 0;
    for (uint32_t i = n - 1; i > 0; i--) { /* Fisher-Yates */
        const uint32_t j = below(stream, stream_bytes, &used, i + 1);
        const uint32_t swap = g->at[i];
        g->at[i] = g->at[j];
        g->at[j] = swap;
    }
    for (uint32_t p = 0; p < n; p++)
        g->pos[g->at[p]] = p;
    mem_free(stream);
    return SOTTO_OK;
}

void ring_graph_deinit(struct ring_graph *g) {
    mem_free(g->at);
    mem_free(g->pos);
    *g = (struct ring_graph){0};
}

static int compare_u32(const void *a, const void *b) {
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

void ring_graph_holders(const struct ring_graph *g, uint32_t member, uint32_t *out) {
    if (!g->at) {
        for (uint32_t i = 0; i < g->n; i++)
            out[i] = i;
        return;
    }
    const uint32_t half = g->degree / 2;
    for (uint32_t i = 0; i <= g->degree; i++) /* places pos - half .. pos + half */
        out[i] = g->at[(g->pos[member] + g->n - half + i) % g->n];
    qsort(out, (size_t)g->degree + 1, sizeof *out, compare_u32);
}

uint32_t holder_place(const uint32_t *holders, uint32_t count, uint32_t member) {
    const uint32_t *p = bsearch(&member, holders, count, sizeof *holders, compare_u32);
    return p ? (uint32_t)(p - holders) : UINT32_MAX;
}
