/* Philox against the published vectors, and the distributions against their moments. */
#include "support.h"

#include <math.h>
#include <string.h>

/* kat_vectors of Random123 (Salmon et al.), philox4x32 with 10 rounds. */
static void known_answers(void **state) {
    (void)state;
    static const struct {
        uint32_t ctr[4], key[2], out[4];
    } vectors[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
        uint32_t out[4];
        rng_philox4x32(vectors[i].ctr, vectors[i].key, out);
        assert_memory_equal(out, vectors[i].out, sizeof out);
    }
}

static void stream_is_the_documented_one(void **state) {
    (void)state;
    struct rng r;
    const uint64_t seed = 0x1122334455667788, serial = 0x99aabbccddeeff00;
    const uint32_t ctr[4] = {0xddeeff00, 0x99aabbcc, 5, RNG_SHUFFLE};
    const uint32_t key[2] = {0x55667788, 0x11223344};
    uint32_t derived[4], zero[4] = {0}, block[4];
    rng_philox4x32(ctr, key, derived);
    rng_philox4x32(zero, derived, block);
    rng_init(&r, seed, 5, serial, RNG_SHUFFLE);
    for (int i = 0; i < 4; i++)
        assert_int_equal(rng_u32(&r), block[i]);
    zero[0] = 1;
    rng_philox4x32(zero, derived, block);
    assert_int_equal(rng_u64(&r), block[0] | (uint64_t)block[1] << 32);
}

static void counter_carries(void **state) {
    (void)state;
    struct rng r;
    rng_init(&r, 1, 0, 0, RNG_INIT);
    r.ctr[0] = r.ctr[1] = UINT32_MAX;
    (void)rng_u32(&r);
    assert_int_equal(r.ctr[0], 0);
    assert_int_equal(r.ctr[1], 0);
    assert_int_equal(r.ctr[2], 1);
    assert_int_equal(r.ctr[3], 0);
}

static void purposes_share_nothing(void **state) {
    (void)state;
    struct rng a, b;
    rng_init(&a, 1, 2, 3, RNG_INIT);
    rng_init(&b, 1, 2, 3, RNG_SHUFFLE);
    assert_int_not_equal(rng_u64(&a), rng_u64(&b));
    rng_init(&a, 1, 2, 3, RNG_INIT);
    rng_init(&b, 1, 3, 3, RNG_INIT);
    assert_int_not_equal(rng_u64(&a), rng_u64(&b));
}

static void below_is_uniform(void **state) {
    (void)state;
    enum { BINS = 10, DRAWS = 100000 };
    struct rng r;
    int seen[BINS] = {0};
    double chi = 0;
    rng_init(&r, test_seed(), 0, 0, RNG_SELECT);
    for (int i = 0; i < DRAWS; i++)
        seen[rng_below(&r, BINS)]++;
    for (int i = 0; i < BINS; i++)
        chi += pow(seen[i] - DRAWS / BINS, 2) / (DRAWS / BINS);
    assert_true(chi < 40); /* 9 degrees of freedom: p < 1e-5 beyond */
    for (int i = 0; i < 100; i++)
        assert_int_equal(rng_below(&r, 1), 0);
    for (int i = 0; i < 1000; i++)
        assert_true(rng_below(&r, 0x80000001u) <= 0x80000000u);
}

static void unit_intervals(void **state) {
    (void)state;
    struct rng r;
    double sum = 0;
    rng_init(&r, test_seed(), 0, 1, RNG_GENERATE);
    for (int i = 0; i < 20000; i++) {
        const float f = rng_f32(&r);
        const double d = rng_f64(&r);
        assert_true(f >= 0 && f < 1 && d >= 0 && d < 1);
        sum += (double)f + d;
    }
    assert_true(fabs(sum / 40000 - 0.5) < 0.008); /* over 5 standard errors */
}

static void normal_moments(void **state) {
    (void)state;
    enum { N = 50000 };
    struct rng r;
    double s1 = 0, s2 = 0, s4 = 0;
    rng_init(&r, test_seed(), 0, 2, RNG_GENERATE);
    for (int i = 0; i < N; i++) {
        const double x = rng_normal(&r);
        assert_true(isfinite(x));
        s1 += x;
        s2 += x * x;
        s4 += x * x * x * x;
    }
    assert_true(fabs(s1 / N) < 0.025);
    assert_true(fabs(s2 / N - 1) < 0.035);
    assert_true(fabs(s4 / N - 3) < 0.25);
}

static void gamma_moments(void **state) {
    (void)state;
    enum { N = 30000 };
    static const double shapes[] = {0.1, 0.5, 1, 2.5, 50};
    struct rng r;
    rng_init(&r, test_seed(), 0, 3, RNG_PARTITION);
    for (size_t k = 0; k < ARRAY_LEN(shapes); k++) {
        double s1 = 0, s2 = 0;
        const double a = shapes[k];
        for (int i = 0; i < N; i++) {
            const double x = rng_gamma(&r, a);
            assert_true(x >= 0 && isfinite(x));
            s1 += x;
            s2 += x * x;
        }
        const double mean = s1 / N, variance = s2 / N - mean * mean;
        assert_true(fabs(mean - a) < 6 * sqrt(a / N));
        assert_true(fabs(variance - a) < 8 * sqrt((2 * a * a + 6 * a) / N));
    }
}

static void shuffle_permutes(void **state) {
    (void)state;
    enum { N = 257 };
    struct rng r;
    uint32_t a[N];
    bool seen[N] = {false};
    int moved = 0;
    rng_init(&r, test_seed(), 0, 4, RNG_SHUFFLE);
    for (uint32_t i = 0; i < N; i++)
        a[i] = i;
    rng_shuffle_u32(&r, a, N);
    for (uint32_t i = 0; i < N; i++) {
        assert_true(a[i] < N && !seen[a[i]]);
        seen[a[i]] = true;
        moved += a[i] != i;
    }
    assert_true(moved > N / 2);
    rng_shuffle_u32(&r, a, 0);
    rng_shuffle_u32(&r, a, 1);
    /* Each of the 6 orders of 3 comes about equally often. */
    int orders[27] = {0};
    for (int i = 0; i < 6000; i++) {
        uint32_t three[3] = {0, 1, 2};
        rng_shuffle_u32(&r, three, 3);
        orders[three[0] * 9 + three[1] * 3 + three[2]]++;
    }
    int kinds = 0;
    for (int i = 0; i < 27; i++)
        if (orders[i] > 0) {
            kinds++;
            assert_true(orders[i] > 800 && orders[i] < 1200);
        }
    assert_int_equal(kinds, 6);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_answers),    cmocka_unit_test(stream_is_the_documented_one),
        cmocka_unit_test(counter_carries),  cmocka_unit_test(purposes_share_nothing),
        cmocka_unit_test(below_is_uniform), cmocka_unit_test(unit_intervals),
        cmocka_unit_test(normal_moments),   cmocka_unit_test(gamma_moments),
        cmocka_unit_test(shuffle_permutes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
