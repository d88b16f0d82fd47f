/* Cohort sampling: a pure function of seed, round and serials; uniform, without order or drift. */
#include "sotto/coordinator/engine.h"

#include "support.h"

#include <math.h>
#include <string.h>

#define N 400u

static void serials_make(uint64_t *s, uint32_t n, uint64_t seed) {
    struct rng r;
    rng_init(&r, seed, 0, 0, RNG_FAULT);
    uint64_t at = 0;
    for (uint32_t i = 0; i < n; i++)
        s[i] = at += 1 + rng_below(&r, 1000);
}

static bool contains(const uint64_t *a, uint32_t n, uint64_t x) {
    for (uint32_t i = 0; i < n; i++)
        if (a[i] == x)
            return true;
    return false;
}

/* The definition, done slowly: the wanted serials of smallest (rank, serial). */
static void select_slowly(uint64_t seed, uint32_t round, const uint64_t *s, uint32_t n,
                          uint32_t wanted, uint64_t *out) {
    uint32_t picked = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct rng r;
        rng_init(&r, seed, round, s[i], RNG_SELECT);
        uint64_t rank = rng_u64(&r);
        uint32_t before = 0;
        for (uint32_t j = 0; j < n; j++) {
            rng_init(&r, seed, round, s[j], RNG_SELECT);
            uint64_t other = rng_u64(&r);
            before += other < rank || (other == rank && s[j] < s[i]);
        }
        if (before < wanted)
            out[picked++] = s[i];
    }
    assert_int_equal(picked, wanted);
}

static void test_equals_definition(void **state) {
    (void)state;
    uint64_t s[60], fast[60], slow[60];
    serials_make(s, 60, test_seed());
    for (uint32_t wanted = 0; wanted <= 60; wanted++) {
        round_select(11, 3, s, 60, wanted, fast);
        select_slowly(11, 3, s, 60, wanted, slow);
        assert_memory_equal(fast, slow, wanted * sizeof *fast);
    }
}

static void test_independent_of_order_and_others(void **state) {
    (void)state;
    uint64_t s[N], reversed[N], a[N], b[N];
    serials_make(s, N, test_seed());
    for (uint32_t i = 0; i < N; i++)
        reversed[i] = s[N - 1 - i];
    round_select(5, 9, s, N, 50, a);
    round_select(5, 9, reversed, N, 50, b);
    assert_memory_equal(a, b, 50 * sizeof *a);
    for (uint32_t i = 1; i < 50; i++)
        assert_true(a[i] > a[i - 1]);
    /* Fewer wanted: a subset. One candidate gone that was not selected: nothing changes. */
    round_select(5, 9, s, N, 20, b);
    for (uint32_t i = 0; i < 20; i++)
        assert_true(contains(a, 50, b[i]));
    uint32_t n = 0;
    bool dropped = false;
    for (uint32_t i = 0; i < N; i++) {
        if (!dropped && !contains(a, 50, s[i]))
            dropped = true;
        else
            reversed[n++] = s[i];
    }
    assert_int_equal(n, N - 1);
    round_select(5, 9, reversed, n, 50, b);
    assert_memory_equal(a, b, 50 * sizeof *a);
}

static void test_wanting_more_takes_all(void **state) {
    (void)state;
    uint64_t s[8], out[8] = {0};
    serials_make(s, 8, 1);
    round_select(1, 1, s, 8, 100, out);
    assert_memory_equal(s, out, sizeof s);
}

/* Each serial's count over many rounds is binomial; the sum of squared deviations is close to
 * chi-squared. */
static void test_uniform(void **state) {
    (void)state;
    enum { ROUNDS = 4000, POOL = 50, WANTED = 10 };
    uint64_t s[POOL], out[WANTED];
    uint32_t counts[POOL] = {0};
    for (uint32_t i = 0; i < POOL; i++)
        s[i] = i + 1;
    for (uint32_t round = 1; round <= ROUNDS; round++) {
        round_select(test_seed(), round, s, POOL, WANTED, out);
        for (uint32_t i = 0; i < WANTED; i++)
            counts[out[i] - 1]++;
    }
    double p = (double)WANTED / POOL, expected = ROUNDS * p, chi = 0.0;
    for (uint32_t i = 0; i < POOL; i++)
        chi += pow(counts[i] - expected, 2) / (expected * (1.0 - p));
    /* Mean about 49, sd about 10: six of them. */
    assert_true(chi < 110.0);
    assert_true(chi > 12.0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equals_definition),
        cmocka_unit_test(test_independent_of_order_and_others),
        cmocka_unit_test(test_wanting_more_takes_all),
        cmocka_unit_test(test_uniform),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
