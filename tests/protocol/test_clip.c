/* Clipping on plain arrays. */
#include <math.h>
#include <string.h>

#include "sotto/privacy.h"
#include "support.h"

static void norms(void **state) {
    (void)state;
    const float x[3] = {3.0f, -4.0f, 12.0f};
    assert_true(privacy_norm(x, 3) == 13.0);
    assert_true(privacy_norm(x, 0) == 0.0);
}

static void clips_to_the_norm(void **state) {
    (void)state;
    struct rng r;
    rng_init(&r, test_seed(), 0, 1, RNG_FAULT);
    for (int t = 0; t < 200; t++) {
        float x[257], before[257];
        const size_t n = rng_below(&r, 258);
        const double bound = 0.01 + 20.0 * rng_f64(&r);
        for (size_t i = 0; i < n; i++)
            before[i] = x[i] = (float)rng_normal(&r);
        const double norm = privacy_norm(x, n);
        const double factor = privacy_clip_norm(x, n, bound);
        if (norm <= bound) {
            assert_true(factor == 1.0);
            assert_memory_equal(x, before, n * sizeof *x);
        } else {
            assert_true(fabs(factor - bound / norm) <= 1e-6 * factor);
            assert_true(privacy_norm(x, n) <= bound * (1.0 + 1e-6));
            assert_true(privacy_norm(x, n) >= bound * (1.0 - 1e-6));
        }
    }
}

static void no_bound_does_nothing(void **state) {
    (void)state;
    float x[2] = {1e30f, -1e30f};
    assert_true(privacy_clip_norm(x, 2, 0.0) == 1.0);
    assert_true(x[0] == 1e30f && x[1] == -1e30f);
}

static void clamps(void **state) {
    (void)state;
    float x[6] = {0.5f, -0.5f, 0.6f, -7.0f, -0.0f, INFINITY};
    const float want[6] = {0.5f, -0.5f, 0.5f, -0.5f, -0.0f, 0.5f};
    assert_int_equal(privacy_clamp(x, 6, 0.5f), 3);
    assert_memory_equal(x, want, sizeof want);
    assert_int_equal(privacy_clamp(x, 6, 0.5f), 0);
    x[2] = NAN;
    assert_int_equal(privacy_clamp(x, 6, 0.25f), 4);
    assert_true(isnan(x[2]));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(norms),
        cmocka_unit_test(clips_to_the_norm),
        cmocka_unit_test(no_bound_does_nothing),
        cmocka_unit_test(clamps),
    };
    return cmocka_run_group_tests_name("clip", tests, NULL, NULL);
}
