/* The update codec: what goes in is what comes out, at the rates promised. */
#include <math.h>

#include "codec/codec_int.h"
#include "codec_support.h"

static float *copy(const float *x, uint32_t n) {
    float *y = mem_dup(x, n * sizeof *x);
    assert_non_null(y);
    return y;
}

/* Every coordinate of the sums of one update of weight w is w * llrint(decoded * 2^F). */
static void assert_sums_are(const struct codec_case *c, const struct accumulator *a) {
    const int64_t weight = (int64_t)c->in.scalars[CODEC_WEIGHT];
    for (uint32_t s = 0; s < c->spec.section_count; s++)
        for (uint32_t i = 0; i < c->layouts[s].total; i++)
            assert_int_equal(a->sums[s][i], weight * codec_fixed(c->in.values[s][i],
                                                                 c->spec.pipeline.fraction_bits));
    for (int i = 0; i < CODEC_SCALARS; i++)
        assert_true(fabs(accumulator_scalar(a, (enum codec_scalar)i) - c->in.scalars[i]) <=
                    0x1p-16);
}

/* Exactly k coordinates of a weight segment may differ from zero, and they are the largest. */
static void assert_top_k(const struct codec_case *c, uint32_t s, const float *clipped) {
    for (uint32_t i = 0; i < c->layouts[s].segment_count; i++) {
        const struct layout_segment *g = &c->layouts[s].segments[i];
        const uint32_t keep = codec_keep_count(&c->spec.pipeline, g);
        float least_kept = INFINITY, most_dropped = 0.0f;
        uint32_t kept = 0;
        for (uint32_t j = g->offset; j < g->offset + g->count; j++) {
            const float m = fabsf(clipped[j]);
            if (c->in.values[s][j] != 0.0f) {
                kept++;
                least_kept = m < least_kept ? m : least_kept;
            } else if (c->spec.pipeline.bits == 32) {
                most_dropped = m > most_dropped ? m : most_dropped;
            }
        }
        assert_true(kept <= keep);
        assert_true(least_kept >= most_dropped);
    }
}

static void random_case(uint64_t seed, uint32_t number) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct rng r, rounding;
    struct codec_case c;
    struct accumulator a;
    float *clipped[CODEC_SECTIONS_MAX];
    rng_init(&r, seed, number, 1, RNG_FAULT);
    case_random(&c, &r);
    ASSERT_OK(codec_spec_check(&c.spec, &err));
    /* What encoding clips: the residual's place holds it in the end as clipped - decoded. */
    for (uint32_t s = 0; s < c.spec.section_count; s++)
        clipped[s] = copy(c.in.values[s], c.layouts[s].total);
    float *before = copy(c.in.residual[0], c.layouts[0].total);
    rng_init(&rounding, seed, number, 2, RNG_ROUNDING);
    ASSERT_OK(codec_encode(&c.spec, &c.in, &rounding, &c.update, &err));
    assert_true(c.update.bytes.len <= codec_bytes_max(&c.spec));
    assert_int_equal(c.update.part_count, codec_block_count(&c.spec) + 1);
    ASSERT_OK(case_check(&c.spec, &c.update, &err));
    ASSERT_OK(accumulator_init(&a, &c.spec, &err));
    ASSERT_OK(case_add(&a, &c.spec, &c.update, &err));
    assert_sums_are(&c, &a);
    for (uint32_t s = 0; s < c.spec.section_count; s++) {
        if (c.spec.pipeline.error_feedback)
            for (uint32_t i = 0; i < c.layouts[s].total; i++)
                clipped[s][i] = c.in.residual[s][i] + c.in.values[s][i];
        else if (s == 0)
            assert_memory_equal(before, c.in.residual[0], c.layouts[0].total * sizeof *before);
        if (c.spec.pipeline.error_feedback && c.spec.pipeline.bits == 32)
            assert_top_k(&c, s, clipped[s]);
        mem_free(clipped[s]);
    }
    mem_free(before);
    accumulator_deinit(&a);
    case_deinit(&c);
}

static void round_trips(void **state) {
    (void)state;
    const uint64_t seed = test_seed();
    for (uint32_t i = 0; i < 150; i++)
        random_case(seed, i);
}

/* Without clipping, raw + residual - decoded is the new residual, to the bit, in float arithmetic.
 */
static void residual_is_what_was_not_sent(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct rng r, rounding;
    struct codec_case c;
    rng_init(&r, test_seed(), 0, 3, RNG_FAULT);
    case_init(&c, 1);
    case_segment(&c.layouts[0], LAYOUT_WEIGHT, 100000);
    case_segment(&c.layouts[0], LAYOUT_BIAS, 33);
    c.spec.pipeline = (struct codec_pipeline){.clip_inf = 1e6f,
                                              .keep = 0.05f,
                                              .bits = 4,
                                              .stochastic = true,
                                              .error_feedback = true,
                                              .fraction_bits = 20};
    c.spec.weight_max = 10;
    case_arrays(&c);
    const uint32_t n = c.layouts[0].total;
    for (int round = 0; round < 3; round++) {
        float *old = copy(c.in.residual[0], n);
        case_fill(&c, &r);
        memcpy(c.in.residual[0], old, n * sizeof *old);
        float *raw = copy(c.in.values[0], n);
        rng_init(&rounding, test_seed(), (uint32_t)round, 1, RNG_ROUNDING);
        ASSERT_OK(codec_encode(&c.spec, &c.in, &rounding, &c.update, &err));
        for (uint32_t i = 0; i < n; i++) {
            const float clipped = raw[i] + old[i];
            const float want = clipped - c.in.values[0][i];
            assert_memory_equal(&want, &c.in.residual[0][i], sizeof want);
        }
        mem_free(raw);
        mem_free(old);
    }
    case_deinit(&c);
}

/* Many words at once are the words one by one, from every offset and across a carry of the counter.
 */
static void draws_are_the_stream(void **state) {
    (void)state;
    struct rng seeds;
    uint32_t words[CODEC_CHUNK];
    rng_init(&seeds, test_seed(), 0, 7, RNG_FAULT);
    for (uint32_t t = 0; t < 300; t++) {
        struct rng one, many;
        rng_init(&one, test_seed(), t, 1, RNG_ROUNDING);
        if (t % 3 == 0)
            one.ctr[0] = UINT32_MAX - rng_below(&seeds, 40);
        for (uint32_t i = rng_below(&seeds, 9); i > 0; i--)
            (void)rng_u32(&one);
        many = one;
        const uint32_t n = rng_below(&seeds, CODEC_CHUNK + 1);
        codec_draw(&many, words, n);
        for (uint32_t i = 0; i < n; i++)
            assert_int_equal(words[i], rng_u32(&one));
        assert_int_equal(rng_u32(&many), rng_u32(&one));
    }
}

/* The mean of 4000 stochastic roundings lies within 5 standard errors of the value; nearest
 * rounding is within half a step. */
static void stochastic_rounding_is_unbiased(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct rng rounding;
    struct codec_case c;
    enum { N = 64, TRIES = 4000 };
    float x[N];
    double mean[N] = {0};
    case_init(&c, 1);
    case_segment(&c.layouts[0], LAYOUT_WEIGHT, N);
    c.spec.pipeline.bits = 3;
    c.spec.pipeline.stochastic = true;
    case_arrays(&c);
    for (int i = 0; i < N; i++)
        x[i] = sinf((float)i * 0.7f);
    x[0] = 1.0f;
    const double step = 1.0 / 3.0;
    for (uint32_t t = 0; t < TRIES; t++) {
        memcpy(c.in.values[0], x, sizeof x);
        rng_init(&rounding, test_seed(), t, 1, RNG_ROUNDING);
        ASSERT_OK(codec_encode(&c.spec, &c.in, &rounding, &c.update, &err));
        for (int i = 0; i < N; i++) {
            assert_true(fabs((double)c.in.values[0][i] - (double)x[i]) <= step * 1.0001);
            mean[i] += (double)c.in.values[0][i] / TRIES;
        }
    }
    for (int i = 0; i < N; i++)
        assert_true(fabs(mean[i] - (double)x[i]) <= 5.0 * step / 2.0 / sqrt((double)TRIES) + 1e-6);
    c.spec.pipeline.stochastic = false;
    memcpy(c.in.values[0], x, sizeof x);
    ASSERT_OK(codec_encode(&c.spec, &c.in, &rounding, &c.update, &err));
    for (int i = 0; i < N; i++)
        assert_true(fabs((double)c.in.values[0][i] - (double)x[i]) <= step / 2.0 * 1.0001);
    case_deinit(&c);
}

/* Bits of positions per kept one, random positions of density 1/q, against STC's formula. */
static double position_bits(uint32_t q, struct rng *r) {
    enum { N = CODEC_BLOCK };
    uint32_t *positions = mem_array(N, sizeof *positions);
    uint64_t bits = 0, kept = 0;
    assert_non_null(positions);
    for (int block = 0; block < 40; block++) {
        uint32_t n = 0;
        uint64_t cost;
        for (uint32_t i = 0; i < N; i++)
            if (rng_below(r, q) == 0)
                positions[n++] = i;
        codec_rice_best(positions, n, N, &cost);
        bits += cost;
        kept += n;
    }
    mem_free(positions);
    return (double)bits / (double)kept;
}

static void golomb_meets_stc(void **state) {
    (void)state;
    static const struct {
        uint32_t q;
        double rate; /* learning table: bits per parameter with one bit a value */
    } rows[] = {{25, 0.2834}, {100, 0.0911}, {400, 0.0278}};
    struct rng r;
    rng_init(&r, test_seed(), 0, 4, RNG_FAULT);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const double p = 1.0 / rows[i].q;
        const double b = 1.0 + floor(log2(log((sqrt(5.0) - 1.0) / 2.0) / log(1.0 - p)));
        const double formula = b + 1.0 / (1.0 - pow(1.0 - p, exp2(b)));
        const double measured = position_bits(rows[i].q, &r);
        print_message("p = 1/%u: %.4f bits a position, formula %.4f, %.4f bits a parameter\n",
                      (unsigned)rows[i].q, measured, formula, p * (measured + 1.0));
        assert_true(measured <= formula * 1.01);
        assert_true(p * (measured + 1.0) <= rows[i].rate * 1.01);
        assert_int_equal(codec_rice_star(CODEC_BLOCK / rows[i].q, CODEC_BLOCK), (int)b);
    }
}

/* 3,327,000 bytes of fp32 layers become at most 1/50 at 5% and 4 bits, sealing and framing
 * included. */
static void mnist_cnn_fits_a_fiftieth(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct rng r;
    struct codec_case c;
    static const uint32_t counts[] = {800, 32, 51200, 64, 1605632, 512, 5120, 10};
    case_init(&c, 1);
    for (size_t i = 0; i < ARRAY_LEN(counts); i++)
        case_segment(&c.layouts[0], i % 2 == 0 ? LAYOUT_WEIGHT : LAYOUT_BIAS, counts[i]);
    assert_int_equal(c.layouts[0].total, 1663370);
    c.spec.pipeline.keep = 0.05f;
    c.spec.pipeline.bits = 4;
    c.spec.pipeline.stochastic = true;
    case_arrays(&c);
    rng_init(&r, test_seed(), 0, 5, RNG_FAULT);
    for (uint32_t i = 0; i < c.layouts[0].total; i++)
        c.in.values[0][i] = (float)rng_normal(&r) * 0.01f;
    ASSERT_OK(codec_encode(&c.spec, &c.in, &r, &c.update, &err));
    const size_t sealed = c.update.bytes.len + 9 + 80 + c.update.part_count * (4u + 16u);
    const double ratio = 4.0 * 1663370 / (double)sealed;
    print_message("mnist-cnn: %zu bytes sealed, 1/%.1f of fp32\n", sealed, ratio);
    assert_true(ratio >= 50.0);
    ASSERT_OK(case_check(&c.spec, &c.update, &err));
    case_deinit(&c);
}

/* Equal magnitudes: the lower index is kept. */
static void ties_go_to_the_lower_index(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct rng r = {0};
    struct codec_case c;
    case_init(&c, 1);
    case_segment(&c.layouts[0], LAYOUT_WEIGHT, 200000);
    c.spec.pipeline.keep = 0.5f;
    case_arrays(&c);
    for (uint32_t i = 0; i < 200000; i++)
        c.in.values[0][i] = i == 199999 ? 2.0f : i % 3 == 0 ? -1.0f : 1.0f;
    ASSERT_OK(codec_encode(&c.spec, &c.in, &r, &c.update, &err));
    for (uint32_t i = 0; i < 200000; i++)
        assert_int_equal(c.in.values[0][i] != 0.0f, i < 99999 || i == 199999);
    case_deinit(&c);
}

/* Few levels and stochastic rounding lift the norm: the coordinator must still take the update. */
static void rounding_stays_within_the_clip_norm(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct rng r;
    struct codec_case c;
    rng_init(&r, test_seed(), 0, 6, RNG_FAULT);
    case_init(&c, 1);
    case_segment(&c.layouts[0], LAYOUT_WEIGHT, 5000);
    c.spec.pipeline.bits = 2;
    c.spec.pipeline.stochastic = true;
    c.spec.pipeline.clip_norm = 1.0f;
    c.spec.pipeline.error_feedback = true;
    case_arrays(&c);
    for (uint32_t i = 0; i < 5000; i++)
        c.in.values[0][i] = (float)rng_normal(&r);
    ASSERT_OK(codec_encode(&c.spec, &c.in, &r, &c.update, &err));
    ASSERT_OK(case_check(&c.spec, &c.update, &err));
    const double norm = sqrt(vec_sum_squares_f32(c.in.values[0], 5000));
    assert_true(norm > 0.99 && norm < 1.001);
    struct accumulator a;
    ASSERT_OK(accumulator_init(&a, &c.spec, &err));
    ASSERT_OK(case_add(&a, &c.spec, &c.update, &err));
    assert_sums_are(&c, &a);
    accumulator_deinit(&a);
    case_deinit(&c);
}

/* The form is fixed: these bytes of a small update never change. */
static void golden_bytes(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct rng r = {0};
    struct codec_case c;
    char hex[512];
    case_init(&c, 1);
    case_segment(&c.layouts[0], LAYOUT_WEIGHT, 32);
    case_segment(&c.layouts[0], LAYOUT_BIAS, 3);
    c.spec.pipeline.keep = 0.125f;
    c.spec.pipeline.bits = 4;
    case_arrays(&c);
    c.in.values[0][2] = 0.5f;
    c.in.values[0][3] = -0.25f;
    c.in.values[0][20] = 1.75f;
    c.in.values[0][31] = -1.5f;
    c.in.values[0][32] = 7.0f;
    c.in.values[0][34] = -3.0f;
    c.in.scalars[CODEC_WEIGHT] = 300;
    c.in.scalars[CODEC_STEPS] = 12;
    c.in.scalars[CODEC_LOSS] = 1.5;
    c.in.scalars[CODEC_CORRECT] = 7;
    c.in.scalars[CODEC_SEEN] = 9;
    c.in.scalars[CODEC_WEIGHTED_STEPS] = 300 * 12.5;
    ASSERT_OK(codec_encode(&c.spec, &c.in, &r, &c.update, &err));
    assert_true(c.update.bytes.len * 2 < sizeof hex);
    num_format_hex(hex, c.update.bytes.data, c.update.bytes.len);
    assert_string_equal(hex,
                        "55530201ac020c000000000000f83f070980cc3a"
                        "0000803e0000803f" /* scales 0.25 and 1 */
                        "0002f2a7c46302" /* as many as expected, b = 2; 2 -1 7 -6; gaps 2 0 16 10 */
                        "070d" /* 7 0 -3 */);
    case_deinit(&c);
}

/* Scalars alone, as an evaluation sends. */
static void no_sections(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct rng r = {0};
    struct codec_case c;
    struct accumulator a;
    case_init(&c, 0);
    c.in.scalars[CODEC_WEIGHT] = 1000;
    c.in.scalars[CODEC_LOSS] = 12.5;
    ASSERT_OK(codec_encode(&c.spec, &c.in, &r, &c.update, &err));
    assert_int_equal(c.update.part_count, 1);
    ASSERT_OK(case_check(&c.spec, &c.update, &err));
    ASSERT_OK(accumulator_init(&a, &c.spec, &err));
    ASSERT_OK(case_add(&a, &c.spec, &c.update, &err));
    assert_true(accumulator_scalar(&a, CODEC_LOSS) == 12.5);
    accumulator_deinit(&a);
    case_deinit(&c);
}

static enum sotto_status encode_once(void *ctx, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct codec_case *c = ctx;
    struct rng r = {0};
    struct codec_update u;
    struct accumulator a = {0};
    codec_update_init(&u);
    for (uint32_t i = 0; i < c->layouts[0].total; i++)
        c->in.values[0][i] = (float)(i % 7);
    TRY(codec_encode(&c->spec, &c->in, &r, &u, err));
    TRY(case_check(&c->spec, &u, err));
    TRY(accumulator_init(&a, &c->spec, err));
    TRY(case_add(&a, &c->spec, &u, err));
out:
    accumulator_deinit(&a);
    codec_update_deinit(&u);
    return status;
}

static void out_of_memory(void **state) {
    (void)state;
    struct codec_case c;
    case_init(&c, 1);
    case_segment(&c.layouts[0], LAYOUT_WEIGHT, 70000);
    c.spec.pipeline.keep = 0.1f;
    c.spec.pipeline.bits = 8;
    c.spec.pipeline.error_feedback = true;
    case_arrays(&c);
    test_oom_loop(encode_once, &c);
    case_deinit(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trips),
        cmocka_unit_test(residual_is_what_was_not_sent),
        cmocka_unit_test(draws_are_the_stream),
        cmocka_unit_test(stochastic_rounding_is_unbiased),
        cmocka_unit_test(golomb_meets_stc),
        cmocka_unit_test(mnist_cnn_fits_a_fiftieth),
        cmocka_unit_test(ties_go_to_the_lower_index),
        cmocka_unit_test(rounding_stays_within_the_clip_norm),
        cmocka_unit_test(golden_bytes),
        cmocka_unit_test(no_sections),
        cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests_name("codec", tests, NULL, NULL);
}
