/* One device's update under masks: the vector beside a slow second implementation, rounding,
 * clipping, supports, masks from outside. */
#include "masked_support.h"

#include "codec/masked_int.h"
#include "sotto/privacy.h"

/* Segments of the sizes, every third one a bias. */
static void layout_of(struct layout *l, const uint32_t *sizes, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        case_segment(l, i % 3 == 2 ? LAYOUT_BIAS : LAYOUT_WEIGHT, sizes[i]);
}

static void random_case(struct codec_case *c, struct rng *r) {
    static const float keeps[] = {1.0f, 0.5f, 0.1f, 0.013f};
    case_init(c, 1 + rng_below(r, 3));
    for (uint32_t s = 0; s < c->spec.section_count; s++) {
        uint32_t sizes[5];
        const uint32_t n = 1 + rng_below(r, 5);
        for (uint32_t i = 0; i < n; i++)
            sizes[i] = 1 + rng_below(r, rng_below(r, 2) != 0 ? 3000 : 20);
        layout_of(&c->layouts[s], sizes, n);
    }
    masked_pipeline(c, keeps[rng_below(r, ARRAY_LEN(keeps))], 2 + rng_below(r, 9),
                    rng_below(r, 3) == 0 ? 0 : 3 + rng_below(r, 8));
    c->spec.pipeline.stochastic = rng_below(r, 4) != 0;
    c->spec.pipeline.error_feedback = rng_below(r, 3) != 0;
    case_arrays(c);
    case_fill(c, r);
}

static uint32_t *encode(const struct masked_plan *p, struct codec_input *in, uint64_t serial) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct rng r;
    uint32_t *out = mem_array((size_t)masked_length(p), sizeof *out);
    assert_non_null(out);
    rng_init(&r, 1, 1, serial, RNG_ROUNDING);
    ASSERT_OK(masked_encode(p, in, &r, out, &err));
    return out;
}

static float *copy_of(const float *x, uint32_t n) {
    float *y = mem_array(n, sizeof *y);
    assert_non_null(y);
    memcpy(y, x, n * sizeof *y);
    return y;
}

/* What the stages before the gathering make of a section. */
static float *clipped_of(const struct codec_case *c, uint32_t s) {
    const uint32_t n = c->layouts[s].total;
    float *x = copy_of(c->in.values[s], n);
    if (c->spec.pipeline.error_feedback)
        vec_add_f32(x, x, c->in.residual[s], n);
    privacy_clip_norm(x, n, (double)c->spec.pipeline.clip_norm);
    privacy_clamp(x, n, c->spec.pipeline.clip_inf);
    return x;
}

/* The decoded values are the witness's, zero off the support; clipped = decoded + residual as
 * floats are kept. */
static void check_section(const struct codec_case *c, const struct witness *w, uint32_t s,
                          const float *clipped, const uint32_t *vector, struct rng *r) {
    const float *values = c->in.values[s], *residual = c->in.residual[s];
    uint32_t on = 0;
    for (uint32_t i = 0; i < c->layouts[s].total; i++) {
        if (c->spec.pipeline.error_feedback)
            assert_true(residual[i] == clipped[i] - values[i]);
        if (on < w->count[s] && w->support[s][on] == i)
            on++;
        else
            assert_true(values[i] == 0.0f);
    }
    assert_int_equal(on, w->count[s]);
    const double factor = c->in.scalars[CODEC_WEIGHT] / c->spec.weight_max;
    for (uint32_t b = 0; b < w->block_count; b++) {
        const struct witness_block *block = &w->blocks[b];
        if (block->section != s)
            continue;
        for (uint32_t tries = 0; tries < 200; tries++) {
            const uint32_t i =
                block->count <= 200 ? tries % block->count : rng_below(r, block->count);
            const double want = witness_value(w, block, i, 1, vector) / factor;
            const double got = (double)values[w->support[s][block->first + i]];
            assert_true(fabs(got - want) <= 1e-6 * fabs(want) + 1e-12);
        }
    }
}

static void check_codes(const struct codec_case *c, const struct masked_plan *p,
                        const struct witness *w, const uint32_t *vector) {
    const uint32_t most = (1u << c->spec.pipeline.bits) - 2u;
    assert_int_equal(w->values, masked_scalars_at(p));
    for (uint64_t i = 0; i < w->values; i++)
        assert_true(vector[i] <= most);
    const unsigned limb = secagg_limb_bits(p->ring_bits, p->members_max);
    for (uint64_t i = w->values; i < masked_length(p); i++)
        assert_true(vector[i] < 1u << limb);
}

static void matches_witness(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    for (uint32_t n = 0; n < 60; n++) {
        struct rng r;
        struct codec_case c;
        struct witness w;
        struct masked_plan *p;
        float *clipped[CODEC_SECTIONS_MAX];
        rng_init(&r, test_seed(), n, 1, RNG_FAULT);
        random_case(&c, &r);
        const struct masked_terms terms = masked_terms_of(20, 100);
        ASSERT_OK(masked_plan_new(&c.spec, &terms, &p, &err));
        witness_init(&w, &c.spec, &terms);
        for (uint32_t s = 0; s < c.spec.section_count; s++)
            clipped[s] = clipped_of(&c, s);
        uint32_t *vector = encode(p, &c.in, n);
        check_codes(&c, p, &w, vector);
        for (uint32_t s = 0; s < c.spec.section_count; s++) {
            check_section(&c, &w, s, clipped[s], vector, &r);
            mem_free(clipped[s]);
        }
        mem_free(vector);
        masked_plan_free(p);
        witness_deinit(&w);
        case_deinit(&c);
    }
}

/* Every size of a rotation block, with a remainder; and the error that is stated: a level off by at
 * most 1 in each rotated coordinate is at most step * sqrt(size) in all of the block. */
static void every_rotation(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    for (unsigned log2 = 3; log2 <= 15; log2++) {
        struct rng r;
        struct codec_case c;
        struct witness w;
        struct masked_plan *p;
        rng_init(&r, test_seed(), log2, 2, RNG_FAULT);
        case_init(&c, 1);
        case_segment(&c.layouts[0], LAYOUT_WEIGHT, (1u << log2) + (1u << log2) / 3 + 5);
        masked_pipeline(&c, 1.0f, 12, log2);
        case_arrays(&c);
        for (uint32_t i = 0; i < c.layouts[0].total; i++)
            c.in.values[0][i] = (float)rng_normal(&r) / sqrtf((float)c.layouts[0].total);
        c.in.scalars[CODEC_WEIGHT] = c.spec.weight_max;
        const struct masked_terms terms = masked_terms_of(24, 100);
        ASSERT_OK(masked_plan_new(&c.spec, &terms, &p, &err));
        witness_init(&w, &c.spec, &terms);
        assert_int_equal(w.blocks[0].size, 1u << log2);
        assert_true(w.values <= c.layouts[0].total + c.layouts[0].total / 16 + 64);
        float *clipped = clipped_of(&c, 0);
        uint32_t *vector = encode(p, &c.in, log2);
        check_section(&c, &w, 0, clipped, vector, &r);
        const double step = (double)c.spec.pipeline.range / (double)((1 << 11) - 1);
        for (uint32_t b = 0; b < w.block_count; b++) {
            double squares = 0.0;
            for (uint32_t i = 0; i < w.blocks[b].count; i++) {
                const double e = (double)c.in.residual[0][w.blocks[b].first + i];
                squares += e * e;
            }
            assert_true(sqrt(squares) <= step * sqrt((double)w.blocks[b].size) * 1.001);
        }
        mem_free(clipped);
        mem_free(vector);
        masked_plan_free(p);
        witness_deinit(&w);
        case_deinit(&c);
    }
}

/* Stochastic rounding is unbiased, with and without rotation: the mean of many codings. */
static void unbiased(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    for (unsigned log2 = 0; log2 <= 6; log2 += 6) {
        enum { N = 70, TIMES = 4000 };
        struct codec_case c;
        struct masked_plan *p;
        float x[N], zero[N] = {0};
        double sum[N] = {0};
        struct rng r;
        case_init(&c, 1);
        case_segment(&c.layouts[0], LAYOUT_WEIGHT, N);
        masked_pipeline(&c, 1.0f, 4, log2);
        case_arrays(&c);
        rng_init(&r, test_seed(), log2, 3, RNG_FAULT);
        for (uint32_t i = 0; i < N; i++)
            x[i] = 0.05f * (float)rng_normal(&r);
        const struct masked_terms terms = masked_terms_of(16, 100);
        ASSERT_OK(masked_plan_new(&c.spec, &terms, &p, &err));
        c.in.scalars[CODEC_WEIGHT] = 500;
        for (uint32_t t = 0; t < TIMES; t++) {
            memcpy(c.in.values[0], x, sizeof x);
            memcpy(c.in.residual[0], zero, sizeof zero);
            mem_free(encode(p, &c.in, t));
            for (uint32_t i = 0; i < N; i++)
                sum[i] += (double)c.in.values[0][i];
        }
        /* A level is off by a variance of at most 1/4, in units of step / (weight / weight_max). */
        const double step = 2.0 * (double)c.spec.pipeline.range / 7.0;
        for (uint32_t i = 0; i < N; i++)
            assert_true(fabs(sum[i] / TIMES - (double)x[i]) < 5.5 * step / 2.0 / sqrt(TIMES));
        masked_plan_free(p);
        case_deinit(&c);
    }
}

/* Without error feedback the drawn coordinates stand for the others: the mean over many rounds is
 * the update, with a round's support and with a published one. */
static void unbiased_over_rounds(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    enum { N = 60, TIMES = 6000 };
    for (int published = 0; published <= 1; published++) {
        struct codec_case c;
        struct buf mask;
        struct rng r;
        float x[N];
        double sum[N] = {0};
        case_init(&c, 1);
        case_segment(&c.layouts[0], LAYOUT_WEIGHT, N - 4);
        case_segment(&c.layouts[0], LAYOUT_BIAS, 4);
        masked_pipeline(&c, 0.2f, 8, 3);
        c.spec.pipeline.error_feedback = false;
        case_arrays(&c);
        c.in.scalars[CODEC_WEIGHT] = c.spec.weight_max;
        rng_init(&r, test_seed(), 0, 5, RNG_FAULT);
        for (uint32_t i = 0; i < N; i++)
            x[i] = 0.05f * (float)rng_normal(&r);
        buf_init(&mask, 64);
        struct masked_terms terms = masked_terms_of(16, 100);
        if (published) {
            c.spec.pipeline.support = CODEC_SUPPORT_PUBLISHED;
            masked_support_of(&c.spec.pipeline, &c.layouts[0], x, &mask);
            terms.mask = buf_view(&mask);
        }
        for (uint32_t t = 0; t < TIMES; t++) {
            struct masked_plan *p;
            terms.round = t;
            ASSERT_OK(masked_plan_new(&c.spec, &terms, &p, &err));
            memcpy(c.in.values[0], x, sizeof x);
            mem_free(encode(p, &c.in, t));
            for (uint32_t i = 0; i < N; i++)
                sum[i] += (double)c.in.values[0][i];
            masked_plan_free(p);
        }
        /* Drawn with probability p, worth 1 / p: a variance of (1 / p - 1) x^2, and the rounding's.
         */
        const double step = (double)c.spec.pipeline.range / 127.0;
        for (uint32_t i = 0; i < N; i++) {
            const double sigma = sqrt(9.0 * pow((double)x[i], 2.0) + 10.0 * step * step / 4.0);
            assert_true(fabs(sum[i] / TIMES - (double)x[i]) < 5.5 * sigma / sqrt(TIMES));
        }
        buf_deinit(&mask);
        case_deinit(&c);
    }
}

static double levels_squared(const struct masked_plan *p, const uint32_t *vector) {
    double squares = 0.0;
    for (uint64_t i = 0; i < masked_scalars_at(p); i++) {
        const double level = (double)vector[i] - (double)p->level_max;
        squares += level * level;
    }
    return squares;
}

/* Vectors that rounding wants to lift: all coordinates just above half a step, few levels. */
static void rounded_norm_is_bounded(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    for (uint32_t n = 0; n < 120; n++) {
        struct codec_case c;
        struct masked_plan *p;
        const uint32_t count = 16 + 97 * (n / 12);
        case_init(&c, 1);
        case_segment(&c.layouts[0], LAYOUT_WEIGHT, count);
        masked_pipeline(&c, 1.0f, 2 + n % 3, n % 2 == 0 ? 0 : 10);
        struct codec_pipeline *pipeline = &c.spec.pipeline;
        const double step = 0.01, part = 0.51;
        const double level_max = (double)((1 << (pipeline->bits - 1)) - 1);
        pipeline->stochastic = n % 4 < 2;
        pipeline->range = (float)(step * level_max);
        /* The clip is the norm that this vector has: nothing is left for rounding. */
        pipeline->clip_norm = (float)(step * part * sqrt((double)count));
        case_arrays(&c);
        c.in.scalars[CODEC_WEIGHT] = c.spec.weight_max;
        for (uint32_t i = 0; i < count; i++)
            c.in.values[0][i] = (float)(step * part);
        const struct masked_terms terms = masked_terms_of(16, 20);
        ASSERT_OK(masked_plan_new(&c.spec, &terms, &p, &err));
        uint32_t *vector = encode(p, &c.in, n);
        const double clip = (double)pipeline->clip_norm / step;
        const double d = (double)masked_scalars_at(p);
        const double always = pow(clip + sqrt(d), 2.0);
        const double likely = clip * clip + d / 4.0 + clip + sqrt(d) / 2.0;
        assert_true(levels_squared(p, vector) <= (always < likely ? always : likely) * 1.0001);
        /* Nearest without rotation would make every level 1, far above: it is cut to 0 instead. */
        if (!pipeline->stochastic && pipeline->rotate_log2 == 0)
            assert_true(levels_squared(p, vector) == 0.0);
        mem_free(vector);
        masked_plan_free(p);
        case_deinit(&c);
    }
}

/* Too large a coordinate is clamped to the range, and what is cut stays in the residual. */
static void range_clamps(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct codec_case c;
    struct masked_plan *p;
    case_init(&c, 1);
    case_segment(&c.layouts[0], LAYOUT_WEIGHT, 40);
    masked_pipeline(&c, 1.0f, 8, 0);
    c.spec.pipeline.range = 0.127f;
    case_arrays(&c);
    c.in.scalars[CODEC_WEIGHT] = c.spec.weight_max;
    c.in.values[0][3] = 1.0f;
    c.in.values[0][4] = -1.0f;
    const struct masked_terms terms = masked_terms_of(16, 20);
    ASSERT_OK(masked_plan_new(&c.spec, &terms, &p, &err));
    uint32_t *vector = encode(p, &c.in, 1);
    assert_int_equal(vector[3], 254);
    assert_int_equal(vector[4], 0);
    assert_int_equal(vector[5], 127);
    assert_true(fabsf(c.in.values[0][3] - 0.127f) < 1e-6f);
    assert_true(fabsf(c.in.residual[0][4] + 0.873f) < 1e-6f);
    mem_free(vector);
    masked_plan_free(p);
    case_deinit(&c);
}

/* ---- Supports ------------------------------------------------------------------------------ */

static void support_is_common(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    enum { ROUNDS = 400 };
    static uint32_t hits[1000];
    struct codec_case c;
    memset(hits, 0, sizeof hits);
    case_init(&c, 2);
    layout_of(&c.layouts[0], (uint32_t[]){800, 200, 10}, 3);
    layout_of(&c.layouts[1], (uint32_t[]){800, 200, 10}, 3);
    masked_pipeline(&c, 0.1f, 8, 5);
    uint32_t same_round = 0, same_section = 0;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        struct masked_plan *a, *b, *next;
        struct masked_terms terms = masked_terms_of(16, 20);
        terms.round = round;
        ASSERT_OK(masked_plan_new(&c.spec, &terms, &a, &err));
        ASSERT_OK(masked_plan_new(&c.spec, &terms, &b, &err));
        terms.round++;
        ASSERT_OK(masked_plan_new(&c.spec, &terms, &next, &err));
        assert_int_equal(a->support_count[0], 80 + 20 + 10);
        assert_memory_equal(a->support[0], b->support[0], 110 * sizeof(uint32_t));
        for (uint32_t i = 0; i < 100; i++) {
            hits[a->support[0][i]]++;
            same_round += a->support[0][i] == next->support[0][i];
            same_section += a->support[0][i] == a->support[1][i];
        }
        assert_true(a->support[0][79] < 800 && a->support[0][80] >= 800);
        masked_plan_free(a);
        masked_plan_free(b);
        masked_plan_free(next);
    }
    /* Each coordinate is drawn with probability 0.1: chi square of 1000 cells, mean about 900. */
    double chi = 0.0;
    for (uint32_t i = 0; i < 1000; i++)
        chi += pow((double)hits[i] - ROUNDS / 10.0, 2.0) / (ROUNDS / 10.0);
    assert_true(chi > 700.0 && chi < 1100.0);
    assert_true(same_round < ROUNDS * 10 && same_section < ROUNDS * 10);
    case_deinit(&c);
}

static void published_mask(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct codec_case c;
    struct masked_plan *p;
    struct buf mask;
    struct rng r;
    float mean[1013];
    case_init(&c, 1);
    layout_of(&c.layouts[0], (uint32_t[]){800, 203, 10}, 3);
    masked_pipeline(&c, 0.1f, 8, 5);
    c.spec.pipeline.support = CODEC_SUPPORT_PUBLISHED;
    rng_init(&r, test_seed(), 0, 4, RNG_FAULT);
    for (uint32_t i = 0; i < 1013; i++)
        mean[i] = (float)rng_normal(&r);
    buf_init(&mask, 4096);
    masked_support_of(&c.spec.pipeline, &c.layouts[0], mean, &mask);
    assert_int_equal(mask.len, 127);
    /* 40 of 800, 10 of 203, and the bias: the largest, by counting who is larger. */
    for (uint32_t i = 0; i < 1013; i++) {
        const uint32_t begin = i < 800 ? 0 : 800, end = i < 800 ? 800 : 1003;
        uint32_t larger = 0;
        for (uint32_t j = begin; j < end; j++)
            larger += fabsf(mean[j]) > fabsf(mean[i]);
        const bool want = i >= 1003 || larger < (i < 800 ? 40u : 10u);
        assert_int_equal(mask.data[i / 8] >> (i % 8) & 1, want);
    }
    struct masked_terms terms = masked_terms_of(16, 20);
    terms.mask = buf_view(&mask);
    ASSERT_OK(masked_plan_new(&c.spec, &terms, &p, &err));
    assert_int_equal(p->support_count[0], 80 + 20 + 10);
    uint32_t named = 0;
    for (uint32_t i = 0; i < 110; i++)
        named += mask.data[p->support[0][i] / 8] >> (p->support[0][i] % 8) & 1;
    assert_int_equal(named, 40 + 10 + 10);
    for (uint32_t i = 1; i < 110; i++)
        assert_true(p->support[0][i] > p->support[0][i - 1]);
    struct witness w;
    witness_init(&w, &c.spec, &terms);
    assert_memory_equal(w.support[0], p->support[0], 110 * sizeof(uint32_t));
    witness_deinit(&w);
    masked_plan_free(p);

    /* From outside. */
    terms.mask.n--;
    ASSERT_FAILS(masked_plan_new(&c.spec, &terms, &p, &err), SOTTO_CORRUPT, "126 bytes");
    terms.mask.n++;
    mask.data[126] |= 0x20; /* coordinate 1013 */
    ASSERT_FAILS(masked_plan_new(&c.spec, &terms, &p, &err), SOTTO_CORRUPT, "behind");
    mask.data[126] &= 0x0f; /* takes 1012 from the bias */
    ASSERT_FAILS(masked_plan_new(&c.spec, &terms, &p, &err), SOTTO_CORRUPT, "segment s2");
    mask.data[126] |= 0x10;
    mask.data[0] = (uint8_t)~mask.data[0]; /* another number than half */
    ASSERT_FAILS(masked_plan_new(&c.spec, &terms, &p, &err), SOTTO_CORRUPT, "segment s0");
    c.spec.pipeline.support = CODEC_SUPPORT_ROUND;
    ASSERT_FAILS(masked_plan_new(&c.spec, &terms, &p, &err), SOTTO_INVALID, "published");
    buf_deinit(&mask);
    case_deinit(&c);
}

/* ---- Refusals ------------------------------------------------------------------------------ */

static void what_does_not_compose(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct codec_case c;
    struct masked_plan *p;
    struct accumulator a;
    case_init(&c, 1);
    layout_of(&c.layouts[0], (uint32_t[]){800}, 1);
    masked_pipeline(&c, 0.1f, 8, 5);
    const struct codec_pipeline good = c.spec.pipeline;
    struct masked_terms terms = masked_terms_of(16, 100);
#define REFUSED(change, status, part)                                                              \
    do {                                                                                           \
        c.spec.pipeline = good;                                                                    \
        change;                                                                                    \
        ASSERT_FAILS(masked_plan_new(&c.spec, &terms, &p, &err), status, part);                    \
        assert_null(p);                                                                            \
    } while (0)
    REFUSED(c.spec.pipeline.support = CODEC_SUPPORT_OWN, SOTTO_INVALID, "drawn for the round");
    REFUSED(c.spec.pipeline.support = (enum codec_support)7, SOTTO_INVALID, "support 7");
    REFUSED(c.spec.pipeline.clip_norm = 0.0f, SOTTO_INVALID, "clip_norm");
    REFUSED(c.spec.pipeline.bits = 32, SOTTO_INVALID, "not fp32");
    REFUSED(c.spec.pipeline.bits = 10, SOTTO_LIMIT, "use 9 bits or fewer");
    REFUSED(c.spec.pipeline.rotate_log2 = 2, SOTTO_INVALID, "2^3");
    REFUSED(c.spec.pipeline.rotate_log2 = 16, SOTTO_INVALID, "2^16");
    REFUSED(c.spec.pipeline.range = 0.0f, SOTTO_INVALID, "range above 0");
    REFUSED(c.spec.pipeline.range = NAN, SOTTO_INVALID, "range");
    REFUSED((c.spec.pipeline.fraction_bits = 40, c.spec.pipeline.range = 1e6f), SOTTO_INVALID,
            "lower fraction_bits to");
    REFUSED(terms.ring_bits = 17, SOTTO_INVALID, "16, 20, 24 or 32");
    terms.ring_bits = 16;
    REFUSED(terms.members_max = 0, SOTTO_INVALID, "groups of 0");
    REFUSED(terms.members_max = SECAGG_MEMBERS_MAX + 1, SOTTO_INVALID, "groups of");
    REFUSED(terms.members_max = 10000, SOTTO_LIMIT, "use 2 bits or fewer");
    c.spec.pipeline = good;
    c.spec.pipeline.range = 0.0f; /* a plain pipeline with stages of masks */
    ASSERT_FAILS(codec_spec_check(&c.spec, &err), SOTTO_INVALID, "under masks");
    ASSERT_FAILS(accumulator_init(&a, &c.spec, &err), SOTTO_INVALID, "under masks");
    case_deinit(&c);
}

/* What the range is when nobody gives one. */
static void ranges(void **state) {
    (void)state;
    struct codec_case c;
    case_init(&c, 1);
    case_segment(&c.layouts[0], LAYOUT_WEIGHT, 100000);
    struct codec_pipeline p = {
        .clip_norm = 8.0f, .clip_inf = 16.0f, .keep = 1.0f, .rotate_log2 = 15};
    assert_true(fabs((double)masked_range(&p, &c.layouts[0]) - 4.5 * 8.0 / sqrt(32768.0)) < 1e-6);
    p.keep = 0.05f; /* 5000 of them: blocks of 4096 */
    assert_true(fabs((double)masked_range(&p, &c.layouts[0]) - 4.5 * 8.0 / 64.0) < 1e-6);
    p.keep = 1e-5f; /* one: a coordinate is never above the norm */
    assert_true(masked_range(&p, &c.layouts[0]) == 8.0f);
    p.rotate_log2 = 0;
    assert_true(masked_range(&p, &c.layouts[0]) == 8.0f);
    p.clip_inf = 0.5f;
    assert_true(masked_range(&p, &c.layouts[0]) == 0.5f);
    case_deinit(&c);
}

/* Nothing is touched by an input that is refused; memory that is missing leaves nothing behind. */
static enum sotto_status plan_and_encode(void *ctx, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct codec_case *c = ctx;
    struct masked_plan *p = NULL;
    const struct masked_terms terms = masked_terms_of(16, 20);
    uint32_t out[512];
    struct rng r;
    rng_init(&r, 1, 1, 1, RNG_ROUNDING);
    TRY(masked_plan_new(&c->spec, &terms, &p, err));
    assert_true(masked_length(p) <= ARRAY_LEN(out));
    TRY(masked_encode(p, &c->in, &r, out, err));
out:
    masked_plan_free(p);
    return status;
}

static void refused_input_and_memory(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct codec_case c;
    case_init(&c, 1);
    layout_of(&c.layouts[0], (uint32_t[]){900, 100}, 2);
    masked_pipeline(&c, 0.2f, 8, 5);
    case_arrays(&c);
    test_oom_loop(plan_and_encode, &c);
    for (uint32_t i = 0; i < 1000; i++)
        c.in.values[0][i] = (float)i;
    c.in.values[0][999] = NAN;
    ASSERT_FAILS(plan_and_encode(&c, &err), SOTTO_INVALID, "not finite");
    assert_true(c.in.values[0][998] == 998.0f);
    c.in.values[0][999] = 0.0f;
    c.in.scalars[CODEC_WEIGHT] = c.spec.weight_max + 1;
    ASSERT_FAILS(plan_and_encode(&c, &err), SOTTO_INVALID, "weight");
    case_deinit(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_witness),
        cmocka_unit_test(every_rotation),
        cmocka_unit_test(unbiased),
        cmocka_unit_test(unbiased_over_rounds),
        cmocka_unit_test(rounded_norm_is_bounded),
        cmocka_unit_test(range_clamps),
        cmocka_unit_test(support_is_common),
        cmocka_unit_test(published_mask),
        cmocka_unit_test(what_does_not_compose),
        cmocka_unit_test(ranges),
        cmocka_unit_test(refused_input_and_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
