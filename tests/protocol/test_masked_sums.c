/* Sums of vectors under masks: exact, whatever the order; rings that cannot wrap; what liars can
 * make; sizes. */
#include "masked_support.h"

#include "sotto/protocol/chunk.h"
#include "sotto/protocol/secure.h"

/* Devices' vectors summed in a ring, their values and scalars beside them. */
struct group {
    struct codec_case c;
    struct masked_terms terms;
    struct masked_plan *p;
    uint32_t members;
    uint32_t *sum;
    double *values[CODEC_SECTIONS_MAX]; /* of weight * decoded */
    double scalars[CODEC_SCALARS];
};

static void group_init(struct group *g, unsigned ring_bits, uint32_t members_max) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    g->terms = masked_terms_of(ring_bits, members_max);
    ASSERT_OK(masked_plan_new(&g->c.spec, &g->terms, &g->p, &err));
    g->sum = mem_zalloc((size_t)masked_length(g->p) * sizeof *g->sum);
    assert_non_null(g->sum);
    for (uint32_t s = 0; s < g->c.spec.section_count; s++) {
        g->values[s] = mem_zalloc(g->c.layouts[s].total * sizeof(double));
        assert_non_null(g->values[s]);
    }
}

static void group_deinit(struct group *g) {
    for (uint32_t s = 0; s < g->c.spec.section_count; s++)
        mem_free(g->values[s]);
    mem_free(g->sum);
    masked_plan_free(g->p);
    case_deinit(&g->c);
}

/* One more device, as the ring carries it. */
static void group_add(struct group *g, struct rng *r) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    const size_t length = (size_t)masked_length(g->p);
    uint32_t *vector = mem_array(length, sizeof *vector);
    uint8_t *packed = mem_alloc(secagg_ring_bytes(g->terms.ring_bits, length));
    assert_true(vector != NULL && packed != NULL);
    ASSERT_OK(masked_encode(g->p, &g->c.in, r, vector, &err));
    secagg_ring_pack(g->terms.ring_bits, vector, length, packed);
    secagg_ring_add(g->terms.ring_bits, g->sum, packed, length);
    secagg_ring_reduce(g->terms.ring_bits, g->sum, length);
    g->members++;
    for (int i = 0; i < CODEC_SCALARS; i++)
        g->scalars[i] += ldexp(rint(ldexp(g->c.in.scalars[i], 16)), -16);
    for (uint32_t s = 0; s < g->c.spec.section_count; s++)
        for (uint32_t i = 0; i < g->c.layouts[s].total; i++)
            g->values[s][i] += g->c.in.scalars[CODEC_WEIGHT] * (double)g->c.in.values[s][i];
    mem_free(packed);
    mem_free(vector);
}

/* All blocks, the last first or the first first. */
static enum sotto_status take_all(const struct group *g, bool backwards, struct accumulator *a,
                                  struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    const uint64_t length = masked_length(g->p);
    const uint64_t blocks = (length + MASKED_BLOCK - 1) / MASKED_BLOCK;
    for (uint64_t i = 0; i < blocks; i++) {
        const uint64_t first = (backwards ? blocks - 1 - i : i) * MASKED_BLOCK;
        const uint64_t count = num_min_u64(MASKED_BLOCK, length - first);
        TRY(masked_sum_take(g->p, g->members, first, g->sum + first, (size_t)count, a, err));
    }
    TRY(masked_sum_finish(g->p, g->members, a, err));
out:
    return status;
}

/* The sum decodes to the sum of what each device decodes of its own, in any order of blocks. */
static void sums_are_sums(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    for (uint32_t n = 0; n < 12; n++) {
        struct group g = {0};
        struct accumulator a, b;
        struct rng r;
        rng_init(&r, test_seed(), n, 11, RNG_FAULT);
        case_init(&g.c, n % 4); /* 0: an evaluation */
        for (uint32_t s = 0; s < g.c.spec.section_count; s++) {
            case_segment(&g.c.layouts[s], LAYOUT_WEIGHT, 30000 + rng_below(&r, 60000));
            case_segment(&g.c.layouts[s], LAYOUT_BIAS, 1 + rng_below(&r, 900));
        }
        if (n % 4 == 0) {
            g.c.spec.pipeline.bits = 8; /* not looked at */
        } else {
            masked_pipeline(&g.c, n % 2 == 0 ? 1.0f : 0.3f, n < 8 ? 9 : 12,
                            n % 3 == 0 ? 0 : 15 - n);
        }
        case_arrays(&g.c);
        group_init(&g, n < 8 ? 16 : 32, 100);
        for (uint32_t d = 0; d < 7; d++) {
            case_fill(&g.c, &r);
            group_add(&g, &r);
        }
        ASSERT_OK(accumulator_init(&a, &g.c.spec, &err));
        ASSERT_OK(accumulator_init(&b, &g.c.spec, &err));
        ASSERT_OK(take_all(&g, false, &a, &err));
        ASSERT_OK(take_all(&g, true, &b, &err));
        assert_int_equal(a.updates, 7);
        assert_memory_equal(a.scalars, b.scalars, sizeof a.scalars);
        for (int i = 0; i < CODEC_SCALARS; i++)
            assert_true(accumulator_scalar(&a, (enum codec_scalar)i) == g.scalars[i]);
        for (uint32_t s = 0; s < g.c.spec.section_count; s++) {
            assert_memory_equal(a.sums[s], b.sums[s], a.counts[s] * sizeof(int64_t));
            for (uint32_t i = 0; i < a.counts[s]; i++) {
                const double got = ldexp((double)a.sums[s][i], -24);
                /* The floats of 7 devices are rounded, each to 2^-24 of at most about 5e3. */
                assert_true(fabs(got - g.values[s][i]) < 1e-2);
            }
        }
        accumulator_deinit(&a);
        accumulator_deinit(&b);
        group_deinit(&g);
    }
}

/* The mean of many is close to the mean of what they wanted to send. */
static void mean_is_close(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    enum { N = 5000, MEMBERS = 64 };
    struct group g = {0};
    struct accumulator a;
    struct rng r;
    static float want[N], mean[N];
    rng_init(&r, test_seed(), 0, 12, RNG_FAULT);
    case_init(&g.c, 1);
    case_segment(&g.c.layouts[0], LAYOUT_WEIGHT, N);
    masked_pipeline(&g.c, 1.0f, 9, 15);
    case_arrays(&g.c);
    group_init(&g, 16, 100);
    memset(want, 0, sizeof want);
    for (uint32_t d = 0; d < MEMBERS; d++) {
        for (uint32_t i = 0; i < N; i++) {
            const float v = ((float)(i % 7) - 3.0f + (float)rng_normal(&r)) * 0.01f;
            want[i] += v / MEMBERS;
            g.c.in.values[0][i] = v;
            g.c.in.residual[0][i] = 0.0f;
        }
        g.c.in.scalars[CODEC_WEIGHT] = 400;
        group_add(&g, &r);
    }
    ASSERT_OK(accumulator_init(&a, &g.c.spec, &err));
    ASSERT_OK(take_all(&g, false, &a, &err));
    ASSERT_OK(accumulator_mean(&a, &g.c.spec, 0, mean, &err));
    double off = 0.0, all = 0.0;
    for (uint32_t i = 0; i < N; i++) {
        off += pow((double)mean[i] - (double)want[i], 2.0);
        all += pow((double)want[i], 2.0);
    }
    /* step = 4.5 * 2 / sqrt(4096) / 255, over 0.4 of the weight; a sixth to a quarter of its square
     * is the variance of a device's rounding. */
    const double step = 4.5 * 2.0 / 64.0 / 255.0 / 0.4;
    assert_true(sqrt(off / N) < 0.55 * step / sqrt(MEMBERS));
    assert_true(off < all * 1e-2);
    accumulator_deinit(&a);
    group_deinit(&g);
}

/* ---- Rings --------------------------------------------------------------------------------- */

/* n_max members at the highest code and limb: the sum in the ring is the sum of integers. One bit
 * or one member more is refused. */
static void rings_do_not_wrap(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    static const unsigned rings[] = {16, 20, 24, 32};
    static const uint32_t groups[] = {10, 32, 100, 128, 200, 1000, 16384};
    for (uint32_t i = 0; i < ARRAY_LEN(rings) * ARRAY_LEN(groups); i++) {
        const unsigned ring = rings[i / ARRAY_LEN(groups)];
        const uint32_t n = groups[i % ARRAY_LEN(groups)];
        const unsigned bits = masked_bits_max(ring, n);
        struct codec_case c;
        struct masked_plan *p;
        case_init(&c, 1);
        case_segment(&c.layouts[0], LAYOUT_WEIGHT, 16);
        c.spec.accept_max = n;
        masked_pipeline(&c, 1.0f, bits, 0);
        const struct masked_terms terms = masked_terms_of(ring, n);
        ASSERT_OK(masked_plan_new(&c.spec, &terms, &p, &err));
        const uint64_t top = ((UINT64_C(1) << bits) - 2) * n;
        assert_true(top < UINT64_C(1) << ring);
        assert_true(bits == 16 || ((UINT64_C(1) << (bits + 1)) - 1) * n >= UINT64_C(1) << ring);
        uint32_t *sum = mem_zalloc((size_t)masked_length(p) * sizeof *sum);
        struct accumulator a;
        assert_non_null(sum);
        ASSERT_OK(accumulator_init(&a, &c.spec, &err));
        sum[0] = (uint32_t)top;        /* all at +range */
        sum[2] = (uint32_t)(top / 2);  /* all at 0 */
        sum[masked_scalars_at(p)] = n; /* weight 1 each */
        ASSERT_OK(masked_sum_take(p, n, 0, sum, (size_t)masked_length(p), &a, &err));
        ASSERT_OK(masked_sum_finish(p, n, &a, &err));
        const double most = ldexp((double)c.spec.pipeline.range * c.spec.weight_max * n, 24);
        assert_true(fabs((double)a.sums[0][0] - most) <= 1.0 + 1e-9 * most);
        assert_true(fabs((double)a.sums[0][1] + most) <= 1.0 + 1e-9 * most);
        assert_int_equal(a.sums[0][2], 0);
        accumulator_deinit(&a);
        mem_free(sum);
        masked_plan_free(p);
        if (bits < 16) {
            c.spec.pipeline.bits++;
            char say[40];
            snprintf(say, sizeof say, "use %u bits or fewer", bits);
            ASSERT_FAILS(masked_plan_new(&c.spec, &terms, &p, &err), SOTTO_LIMIT, say);
        }
        case_deinit(&c);
    }
    assert_int_equal(masked_bits_max(16, 100), 9);
    assert_int_equal(masked_bits_max(16, 16384), 2);
    assert_int_equal(masked_bits_max(16, 65535), 0);
}

static void lying_sums(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct group g = {0};
    struct accumulator a;
    struct rng r;
    rng_init(&r, test_seed(), 0, 13, RNG_FAULT);
    case_init(&g.c, 1);
    case_segment(&g.c.layouts[0], LAYOUT_WEIGHT, 70000);
    masked_pipeline(&g.c, 1.0f, 8, 15);
    case_arrays(&g.c);
    group_init(&g, 16, 100);
    for (uint32_t d = 0; d < 3; d++) {
        case_fill(&g.c, &r);
        group_add(&g, &r);
    }
    const size_t length = (size_t)masked_length(g.p);
    const uint64_t limbs = masked_scalars_at(g.p);
    ASSERT_OK(accumulator_init(&a, &g.c.spec, &err));
    ASSERT_STATUS(masked_sum_take(g.p, 0, 0, g.sum, length, &a, &err), SOTTO_INVALID);
    ASSERT_STATUS(masked_sum_take(g.p, 101, 0, g.sum, length, &a, &err), SOTTO_INVALID);
    ASSERT_STATUS(masked_sum_take(g.p, 3, 8, g.sum, length - 8, &a, &err), SOTTO_INVALID);
    ASSERT_STATUS(masked_sum_take(g.p, 3, 0, g.sum, length + 1, &a, &err), SOTTO_INVALID);
    ASSERT_STATUS(masked_sum_take(g.p, 3, 0, g.sum, MASKED_BLOCK - 1, &a, &err), SOTTO_INVALID);
    ASSERT_STATUS(masked_sum_take(g.p, 3, 0, g.sum, 0, &a, &err), SOTTO_INVALID);
    ASSERT_OK(take_all(&g, false, &a, &err));

    const uint32_t keep = g.sum[5];
    g.sum[5] = 3 * 254 + 1; /* three members at 8 bits give 762 at most */
    ASSERT_FAILS(take_all(&g, false, &a, &err), SOTTO_CORRUPT, "cannot pass 762");
    g.sum[5] = keep;
    g.sum[limbs + 1] = 3 * 511 + 1; /* limbs of 9 bits */
    ASSERT_FAILS(take_all(&g, false, &a, &err), SOTTO_CORRUPT, "cannot pass 1533");
    accumulator_clear(&a);
    g.sum[limbs + 1] = 300; /* a weight that three members cannot have */
    ASSERT_FAILS(take_all(&g, false, &a, &err), SOTTO_CORRUPT, "weight");
    accumulator_clear(&a);
    g.sum[limbs] = 2;
    g.sum[limbs + 1] = 0;
    ASSERT_FAILS(take_all(&g, false, &a, &err), SOTTO_CORRUPT, "weight");
    accumulator_deinit(&a);

    g.c.spec.accept_max = 2; /* sums of another task */
    ASSERT_OK(accumulator_init(&a, &g.c.spec, &err));
    ASSERT_STATUS(masked_sum_finish(g.p, 3, &a, &err), SOTTO_LIMIT);
    accumulator_deinit(&a);
    g.c.spec.section_count = 0;
    ASSERT_OK(accumulator_init(&a, &g.c.spec, &err));
    ASSERT_FAILS(take_all(&g, false, &a, &err), SOTTO_INVALID, "shape");
    accumulator_deinit(&a);
    g.c.spec.section_count = 1;
    group_deinit(&g);
}

/* Scalars at their limits, from as many members as the terms allow: limbs join exactly. */
static void scalars_are_exact(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct group g = {0};
    struct accumulator a;
    struct rng r;
    rng_init(&r, test_seed(), 0, 14, RNG_FAULT);
    case_init(&g.c, 0);
    g.c.spec.weight_max = CODEC_WEIGHT_MAX_LIMIT;
    g.c.spec.pipeline.fraction_bits = 8;
    g.c.spec.accept_max = 1000;
    group_init(&g, 16, 1000);
    assert_int_equal(secagg_limb_bits(16, 1000), 6);
    g.c.in.scalars[CODEC_WEIGHT] = CODEC_WEIGHT_MAX_LIMIT;
    g.c.in.scalars[CODEC_STEPS] = CODEC_COUNT_MAX;
    g.c.in.scalars[CODEC_LOSS] = CODEC_LOSS_MAX;
    g.c.in.scalars[CODEC_CORRECT] = CODEC_COUNT_MAX - 1;
    g.c.in.scalars[CODEC_SEEN] = CODEC_COUNT_MAX;
    g.c.in.scalars[CODEC_WEIGHTED_STEPS] = CODEC_WEIGHTED_STEPS_MAX;
    for (uint32_t d = 0; d < 1000; d++)
        group_add(&g, &r);
    ASSERT_OK(accumulator_init(&a, &g.c.spec, &err));
    ASSERT_OK(take_all(&g, false, &a, &err));
    for (int i = 0; i < CODEC_SCALARS; i++)
        assert_true(accumulator_scalar(&a, (enum codec_scalar)i) == 1000.0 * g.c.in.scalars[i]);
    accumulator_deinit(&a);
    group_deinit(&g);
}

/* ---- Sizes --------------------------------------------------------------------------------- */

/* The layout of mnist-cnn. */
static void mnist_cnn(struct layout *l) {
    static const uint32_t sizes[] = {5 * 5 * 32, 32, 5 * 5 * 32 * 64, 64, 3136 * 512, 512,
                                     5120,       10};
    for (uint32_t i = 0; i < ARRAY_LEN(sizes); i++)
        case_segment(l, i % 2 == 0 ? LAYOUT_WEIGHT : LAYOUT_BIAS, sizes[i]);
}

/* A group of 100, a tenth of the coordinates, 16 bit, rotated: all that a member sends in a round,
 * at most a quarter of a byte a parameter. */
static void a_quarter_byte_a_parameter(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    static const enum secagg_kind kinds[] = {SECAGG_ADVERTISE, SECAGG_SHARES, SECAGG_MASKED,
                                             SECAGG_SIGNATURE, SECAGG_UNMASK};
    struct codec_case c;
    struct masked_plan *p;
    struct secagg_config config;
    sotto_Terms t = {.has_privacy = true, .n_max = 100};
    const struct wire_hash hash = {{0}};
    case_init(&c, 1);
    mnist_cnn(&c.layouts[0]);
    assert_int_equal(c.layouts[0].total, 1663370);
    masked_pipeline(&c, 0.1f, masked_bits_max(16, 100), 15);
    const struct masked_terms terms = masked_terms_of(16, 100);
    ASSERT_OK(masked_plan_new(&c.spec, &terms, &p, &err));
    t.privacy.secure_aggregation = SECURE_REQUIRED;
    t.privacy.ring_bits = 16;
    ASSERT_OK(secure_config(&t, &hash, masked_length(p), &config, &err));
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < ARRAY_LEN(kinds); i++) {
        const uint64_t message = secagg_message_max(&config, kinds[i]);
        if (kinds[i] == SECAGG_MASKED)
            assert_int_equal(message, masked_bytes(p));
        /* Announced, asked for ready and fetched: as many control frames, each generously. */
        bytes += message + 256u * (chunk_count(message) + 4u);
    }
    const double each = (double)bytes / 1663370.0;
    print_message("%llu coordinates, %llu bytes masked, %llu in all: %.4f bytes a parameter\n",
                  (unsigned long long)masked_length(p), (unsigned long long)masked_bytes(p),
                  (unsigned long long)bytes, each);
    assert_true(each <= 0.25);
    masked_plan_free(p);
    case_deinit(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_sums),     cmocka_unit_test(mean_is_close),
        cmocka_unit_test(rings_do_not_wrap), cmocka_unit_test(lying_sums),
        cmocka_unit_test(scalars_are_exact), cmocka_unit_test(a_quarter_byte_a_parameter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
