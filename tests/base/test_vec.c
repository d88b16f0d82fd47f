/* Vector loops: the variant in use against the scalar one, bit for bit, at every length and offset;
 * bit-packing. */
#include "support.h"

#include <math.h>
#include <string.h>

#include "src/vec_int.h"

enum { N = 300 };

struct data {
    float a[N], b[N], out[2][N];
    int8_t q[N];
    uint8_t u[N];
};

static void fill(struct data *d, struct rng *rng) {
    for (int i = 0; i < N; i++) {
        const double x = rng_normal(rng); /* in this order, whatever the compiler */
        d->a[i] = (float)ldexp(x, (int)rng_below(rng, 60) - 30);
        d->b[i] = (float)rng_normal(rng);
        d->q[i] = (int8_t)(rng_below(rng, 256) - 128);
        d->u[i] = (uint8_t)rng_below(rng, 256);
    }
}

static uint32_t bits_of(float x) {
    uint32_t b;
    memcpy(&b, &x, sizeof b);
    return b;
}

static void same(const struct data *d, size_t n) {
    assert_memory_equal(d->out[0], d->out[1], n * sizeof(float));
}

/* Runs every loop over n elements from offset, once in each variant, and compares. */
static void compare(struct data *d, size_t off, size_t n) {
    const float *a = d->a + off, *b = d->b + off;
    float most[2];
    double squares[2];
    bool finite[2];
    for (int v = 0; v < 2; v++) {
        vec_force_scalar(v == 1);
        most[v] = vec_max_abs_f32(a, n);
        squares[v] = vec_sum_squares_f32(a, n);
        finite[v] = vec_all_finite_f32(a, n);
    }
    assert_int_equal(bits_of(most[0]), bits_of(most[1]));
    assert_memory_equal(&squares[0], &squares[1], sizeof squares[0]);
    assert_int_equal(finite[0], finite[1]);
#define BOTH(call)                                                                                 \
    for (int v = 0; v < 2; v++) {                                                                  \
        float *out = d->out[v];                                                                    \
        vec_force_scalar(v == 1);                                                                  \
        call;                                                                                      \
    }                                                                                              \
    same(d, n)
    BOTH(vec_sub_f32(out, a, b, n));
    BOTH(vec_add_f32(out, a, b, n));
    BOTH((memcpy(out, a, n * sizeof *a), vec_scale_f32(out, n, 0.3f)));
    BOTH(vec_dequant_i8_f32(out, d->q + off, n, 0.0173f));
    BOTH(vec_dequant_row_f32(out, d->q + off, b, n));
    BOTH(vec_u8_f32(out, d->u + off, n, 1 / 255.f, -0.1f));
#undef BOTH
    vec_force_scalar(false);
}

static void variants_give_the_same_bits(void **state) {
    (void)state;
    static struct data d;
    struct rng rng;
    rng_init(&rng, test_seed(), 0, 0, RNG_GENERATE);
    print_message("variant: %s\n", vec_isa());
    for (size_t off = 0; off < 9; off++)
        for (size_t n = 0; n < 70; n++) {
            fill(&d, &rng);
            compare(&d, off, n);
        }
    compare(&d, 1, N - 1);
}

static void specials(void **state) {
    (void)state;
    static struct data d;
    struct rng rng;
    static const float odd[] = {NAN, INFINITY, -INFINITY, -0.0f, 1e-45f};
    rng_init(&rng, test_seed(), 0, 1, RNG_GENERATE);
    for (size_t k = 0; k < ARRAY_LEN(odd); k++)
        for (size_t at = 0; at < 19; at++) {
            fill(&d, &rng);
            d.a[at] = odd[k];
            assert_true(vec_all_finite_f32(d.a, 19) == (isfinite(odd[k]) != 0));
            const float most = vec_max_abs_f32(d.a, 19);
            assert_true(!isnan(most) == !isnan(odd[k]));
            assert_true(!isinf(most) == !isinf(odd[k]));
            if (isfinite(odd[k]))
                compare(&d, 0, 19);
        }
    assert_true(vec_max_abs_f32(d.a, 0) == 0 && vec_sum_squares_f32(d.a, 0) == 0);
    assert_true(vec_all_finite_f32(d.a, 0));
}

static void against_plain_arithmetic(void **state) {
    (void)state;
    static const float x[10] = {1, -2, 3, -4, 5, -6, 7, -8, 9, -10};
    static const int8_t q[3] = {-128, 0, 127};
    static const uint8_t u[2] = {0, 255};
    float out[10];
    assert_true(vec_max_abs_f32(x, 10) == 10);
    assert_true(vec_sum_squares_f32(x, 10) == 385);
    vec_add_f32(out, x, x, 10);
    assert_true(out[9] == -20);
    vec_sub_f32(out, out, x, 10); /* in place */
    assert_true(out[9] == -10 && out[0] == 1);
    vec_dequant_i8_f32(out, q, 3, 0.5f);
    assert_true(out[0] == -64 && out[1] == 0 && out[2] == 63.5f);
    vec_u8_f32(out, u, 2, 2, 1);
    assert_true(out[0] == 1 && out[1] == 511);
}

/* The definition: bit k of the stream is bit k % bits of value k / bits. The buffers are exact, so
 * ASan sees a step too far. */
static void packing_round_trip(void **state) {
    (void)state;
    struct rng rng;
    rng_init(&rng, test_seed(), 0, 2, RNG_GENERATE);
    for (unsigned bits = 1; bits <= 32; bits++)
        for (uint32_t n = 1; n < 60; n++) {
            uint32_t *in = mem_array(n, sizeof *in), *back = mem_array(n, sizeof *back);
            const size_t bytes = ((size_t)n * bits + 7) / 8;
            uint8_t *packed = mem_alloc(bytes);
            for (uint32_t i = 0; i < n; i++)
                in[i] = rng_u32(&rng) >> (32 - bits);
            memset(packed, 0xff, bytes);
            vec_pack_bits(packed, in, n, bits);
            for (size_t k = 0; k < bytes * 8; k++) {
                const uint32_t want = k < (size_t)n * bits ? in[k / bits] >> (k % bits) & 1 : 0;
                assert_int_equal(packed[k / 8] >> (k % 8) & 1, want);
            }
            vec_unpack_bits(back, packed, n, bits);
            assert_memory_equal(in, back, n * sizeof *in);
            mem_free(in);
            mem_free(back);
            mem_free(packed);
        }
}

/* Both variants give the same bits; small integers make the definition exact: y[k] = sum over i of
 * (-1)^popcount(i & k) x[i]; twice gives n x. */
static void hadamard(void **state) {
    (void)state;
    struct rng rng;
    rng_init(&rng, test_seed(), 0, 3, RNG_GENERATE);
    for (size_t n = 1; n <= 32768; n *= 2) {
        float *x = mem_array(n, sizeof *x), *y = mem_array(n, sizeof *y);
        float *z = mem_array(n, sizeof *z);
        for (size_t i = 0; i < n; i++)
            x[i] = y[i] = z[i] = (float)rng_normal(&rng);
        vec_fwht_f32(y, n);
        vec_force_scalar(true);
        vec_fwht_f32(z, n);
        vec_force_scalar(false);
        assert_memory_equal(y, z, n * sizeof *y);
        for (size_t i = 0; i < n; i++)
            x[i] = y[i] = (float)(int)rng_below(&rng, 15) - 7.0f;
        vec_fwht_f32(y, n);
        for (size_t k = 0; k < n; k += n < 256 ? 1 : n / 16 - 1) {
            float want = 0;
            for (size_t i = 0; i < n; i++)
                want += __builtin_parityl(i & k) ? -x[i] : x[i];
            assert_true(y[k] == want);
        }
        vec_fwht_f32(y, n);
        for (size_t i = 0; i < n; i++)
            assert_true(y[i] == (float)n * x[i]);
        mem_free(x);
        mem_free(y);
        mem_free(z);
    }
}

static void rounding(void **state) {
    (void)state;
    struct rng rng;
    rng_init(&rng, test_seed(), 0, 5, RNG_GENERATE);
    for (size_t n = 0; n < 40; n++)
        for (int most = 7; most <= 127; most += 120) {
            float x[40];
            uint32_t draws[40];
            int32_t got[2][40], near[2][40];
            for (size_t i = 0; i < n; i++) {
                x[i] = (float)(rng_normal(&rng) * 50);
                draws[i] = i % 5 ? rng_u32(&rng) : i % 2 ? UINT32_MAX : 0;
                x[i] = i % 7 ? x[i] : (float)((int)rng_below(&rng, 9) - 4) * 0.5f; /* ties */
            }
            for (int v = 0; v < 2; v++) {
                vec_force_scalar(v == 1);
                vec_round_levels(got[v], x, draws, n, 1.0, most);
                vec_round_levels(near[v], x, NULL, n, 1.0, most);
            }
            vec_force_scalar(false);
            assert_memory_equal(got[0], got[1], n * sizeof(int32_t));
            assert_memory_equal(near[0], near[1], n * sizeof(int32_t));
            for (size_t i = 0; i < n; i++) {
                const double v = floor((double)x[i] + (double)draws[i] / 4294967296.0);
                assert_int_equal(got[0][i], (int)fmin(fmax(v, -most), most));
                assert_int_equal(near[0][i], (int)fmin(fmax(rint((double)x[i]), -most), most));
            }
        }
}

static void philox(void **state) {
    (void)state;
    const uint32_t ctr[4] = {0xfffffff0u - 60, 1, 0xffffffffu, 7}, key[2] = {3, 0xdeadbeefu};
    for (size_t blocks = 0; blocks < 60; blocks++) {
        uint32_t out[4 * 60], want[4];
        vec_philox_u32(out, blocks, ctr, key);
        for (size_t i = 0; i < blocks; i++) {
            const uint32_t at[4] = {ctr[0] + (uint32_t)i, ctr[1], ctr[2], ctr[3]};
            rng_philox4x32(at, key, want);
            assert_memory_equal(out + 4 * i, want, sizeof want);
        }
    }
}

static void modular_addition(void **state) {
    (void)state;
    struct rng rng;
    rng_init(&rng, test_seed(), 0, 4, RNG_GENERATE);
    for (unsigned bits = 1; bits <= 32; bits++)
        for (size_t n = 0; n < 40; n++) {
            uint32_t acc[40], x[40], want[40];
            for (size_t i = 0; i < n; i++) {
                acc[i] = rng_u32(&rng);
                x[i] = rng_u32(&rng);
                want[i] = (uint32_t)(((uint64_t)acc[i] + x[i]) % (UINT64_C(1) << bits));
            }
            vec_add_mod_u32(acc, x, n, bits);
            assert_memory_equal(acc, want, n * sizeof *acc);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hadamard),
        cmocka_unit_test(modular_addition),
        cmocka_unit_test(rounding),
        cmocka_unit_test(philox),
        cmocka_unit_test(variants_give_the_same_bits),
        cmocka_unit_test(specials),
        cmocka_unit_test(against_plain_arithmetic),
        cmocka_unit_test(packing_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
