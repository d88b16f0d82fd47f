/* Coded updates from liars and broken links: refused with a reason, or decoded to something within
 * bounds. */
#include <math.h>

#include "codec/codec_int.h"
#include "codec_support.h"

/* A small update: a pruned weight, a bias, 4 bits. */
static void small_case(struct codec_case *c, unsigned bits, float keep) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct rng r;
    rng_init(&r, test_seed(), 1, 1, RNG_FAULT);
    case_init(c, 1);
    case_segment(&c->layouts[0], LAYOUT_WEIGHT, 400);
    case_segment(&c->layouts[0], LAYOUT_BIAS, 21);
    c->spec.pipeline.bits = bits;
    c->spec.pipeline.keep = keep;
    c->spec.pipeline.clip_inf = 4.0f;
    c->spec.pipeline.clip_norm = 100.0f;
    case_arrays(c);
    case_fill(c, &r);
    ASSERT_OK(codec_encode(&c->spec, &c->in, &r, &c->update, &err));
    ASSERT_OK(case_check(&c->spec, &c->update, &err));
}

/* Checks head and block 1 given as bytes. */
static enum sotto_status check_parts(const struct codec_spec *spec, struct view head_bytes,
                                     struct view block, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct codec_head *head = NULL;
    struct codec_check *check = codec_check_new(spec);
    assert_non_null(check);
    TRY(codec_head_decode(spec, head_bytes, &head, err));
    TRY(codec_check_part(spec, head, check, block, err));
    TRY(codec_check_finish(spec, head, check, err));
out:
    codec_check_free(check);
    codec_head_free(head);
    return status;
}

/* Adds what the check let through; every sum lies within weight * clip_inf. */
static void assert_bounded(const struct codec_spec *spec, struct view head_bytes,
                           struct view block) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct codec_head *head = NULL;
    struct accumulator a;
    ASSERT_OK(codec_head_decode(spec, head_bytes, &head, &err));
    ASSERT_OK(accumulator_init(&a, spec, &err));
    ASSERT_OK(accumulator_add_head(&a, spec, head));
    ASSERT_OK(accumulator_add_part(&a, spec, head, 1, block, &err));
    const int64_t most =
        (int64_t)head->weight * codec_fixed(spec->pipeline.clip_inf, spec->pipeline.fraction_bits);
    for (uint32_t i = 0; i < a.counts[0]; i++)
        assert_true(a.sums[0][i] <= most && a.sums[0][i] >= -most);
    accumulator_deinit(&a);
    codec_head_free(head);
}

static void truncations_are_refused(void **state) {
    (void)state;
    static const struct {
        unsigned bits;
        float keep;
    } rows[] = {{4, 0.1f}, {4, 1.0f}, {32, 0.1f}, {32, 1.0f}, {3, 0.5f}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct codec_case c;
        small_case(&c, rows[i].bits, rows[i].keep);
        const struct view head = codec_update_part(&c.update, 0);
        const struct view block = codec_update_part(&c.update, 1);
        for (size_t n = 0; n < head.n; n++) {
            uint8_t *cut =
                n > 0 ? mem_dup(head.p, n) : NULL; /* exact, so that ASan sees an overread */
            ASSERT_STATUS(check_parts(&c.spec, view_of(cut, n), block, NULL), SOTTO_CORRUPT);
            mem_free(cut);
        }
        for (size_t n = 0; n < block.n; n++) {
            uint8_t *cut = n > 0 ? mem_dup(block.p, n) : NULL;
            ASSERT_STATUS(check_parts(&c.spec, head, view_of(cut, n), NULL), SOTTO_CORRUPT);
            mem_free(cut);
        }
        uint8_t *longer = mem_zalloc(block.n + 1);
        assert_non_null(longer);
        memcpy(longer, block.p, block.n);
        ASSERT_STATUS(check_parts(&c.spec, head, view_of(longer, block.n + 1), NULL),
                      SOTTO_CORRUPT);
        mem_free(longer);
        case_deinit(&c);
    }
}

static void flips_are_refused_or_bounded(void **state) {
    (void)state;
    static const struct {
        unsigned bits;
        float keep;
    } rows[] = {{4, 0.1f}, {2, 1.0f}, {32, 0.1f}, {16, 0.3f}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct codec_case c;
        uint32_t let_through = 0;
        small_case(&c, rows[i].bits, rows[i].keep);
        const struct view head = codec_update_part(&c.update, 0);
        const struct view block = codec_update_part(&c.update, 1);
        for (size_t bit = 0; bit < 8 * (head.n + block.n); bit++) {
            c.update.bytes.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
            struct sotto_error err = SOTTO_ERROR_INIT;
            const enum sotto_status status = check_parts(&c.spec, head, block, &err);
            if (status == SOTTO_OK) {
                assert_bounded(&c.spec, head, block);
                let_through++;
            } else {
                assert_true(status == SOTTO_CORRUPT || status == SOTTO_LIMIT ||
                            status == SOTTO_VERSION);
                assert_true(strlen(err.message) > 10);
            }
            c.update.bytes.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        print_message("%u bits, keep %g: %u of %zu flips decode, all bounded\n", rows[i].bits,
                      (double)rows[i].keep, (unsigned)let_through, 8 * (head.n + block.n));
        case_deinit(&c);
    }
}

static void garbage_is_refused_or_bounded(void **state) {
    (void)state;
    struct codec_case c;
    struct rng r;
    small_case(&c, 4, 0.1f);
    const struct view head = codec_update_part(&c.update, 0);
    const struct view block = codec_update_part(&c.update, 1);
    rng_init(&r, test_seed(), 2, 1, RNG_FAULT);
    for (int i = 0; i < 20000; i++) {
        /* A good start, then garbage: the deeper checks are reached. */
        const uint32_t n = rng_below(&r, (uint32_t)block.n + 20);
        const uint32_t good = rng_below(&r, 30);
        uint8_t *bytes = mem_alloc((size_t)n + 1);
        assert_non_null(bytes);
        for (uint32_t j = 0; j < n; j++)
            bytes[j] = j < good && j < block.n ? block.p[j] : (uint8_t)rng_u32(&r);
        if (check_parts(&c.spec, head, view_of(bytes, n), NULL) == SOTTO_OK)
            assert_bounded(&c.spec, head, view_of(bytes, n));
        mem_free(bytes);
    }
    case_deinit(&c);
}

static void put_float(uint8_t *to, float v) {
    memcpy(to, &v, sizeof v);
}

static void values_out_of_bounds(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct codec_case c;
    small_case(&c, 32, 1.0f);
    const struct view head = codec_update_part(&c.update, 0);
    const struct view block = codec_update_part(&c.update, 1);
    uint8_t *at = c.update.bytes.data + head.n + 4 * 77;
    put_float(at, NAN);
    ASSERT_FAILS(check_parts(&c.spec, head, block, &err), SOTTO_CORRUPT, "not finite");
    put_float(at, -INFINITY);
    ASSERT_FAILS(check_parts(&c.spec, head, block, &err), SOTTO_CORRUPT, "part 1");
    put_float(at, -4.0001f);
    ASSERT_FAILS(check_parts(&c.spec, head, block, &err), SOTTO_LIMIT, "clip_inf 4");
    put_float(at, -4.0f);
    ASSERT_OK(check_parts(&c.spec, head, block, &err));
    c.spec.pipeline.clip_norm = 1.0f;
    ASSERT_FAILS(check_parts(&c.spec, head, block, &err), SOTTO_LIMIT, "clip_norm 1");
    case_deinit(&c);
}

static void heads_that_lie(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct codec_case c;
    struct codec_head *head;
    small_case(&c, 4, 0.1f);
    struct view part = codec_update_part(&c.update, 0);
    uint8_t *scales = c.update.bytes.data + part.n - 8;
    const float good = (float)(4.0 / 7.0);
    put_float(scales, good);
    ASSERT_OK(codec_head_decode(&c.spec, part, &head, &err));
    codec_head_free(head);
    put_float(scales, good * 1.01f);
    ASSERT_FAILS(codec_head_decode(&c.spec, part, &head, &err), SOTTO_LIMIT, "scale");
    assert_null(head);
    put_float(scales, -good);
    ASSERT_FAILS(codec_head_decode(&c.spec, part, &head, &err), SOTTO_CORRUPT, "scale");
    put_float(scales, NAN);
    ASSERT_FAILS(codec_head_decode(&c.spec, part, &head, &err), SOTTO_CORRUPT, "scale");
    put_float(scales, good);
    /* The weight that the encoder would not write. */
    c.spec.weight_max = (uint32_t)c.in.scalars[CODEC_WEIGHT] - 1;
    ASSERT_FAILS(codec_head_decode(&c.spec, part, &head, &err), SOTTO_LIMIT, "weight");
    c.spec.weight_max = 1000;
    static const uint8_t weightless[] = {0x55, 0x53, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0,
                                         0,    0,    0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    ASSERT_FAILS(codec_head_decode(&c.spec, view_of(weightless, sizeof weightless), &head, &err),
                 SOTTO_LIMIT, "weight");
    static const uint8_t tireless[] = {0x55, 0x53, 2, 1, 1, 0,    0,    0,    0,    0,    0,
                                       0,    0,    0, 0, 0, 0x81, 0x80, 0x80, 0x80, 0x80, 0x20};
    ASSERT_FAILS(codec_head_decode(&c.spec, view_of(tireless, sizeof tireless), &head, &err),
                 SOTTO_LIMIT, "weighted steps");
    c.update.bytes.data[2] = 1;
    ASSERT_FAILS(codec_head_decode(&c.spec, part, &head, &err), SOTTO_VERSION, "version");
    c.update.bytes.data[2] = 2;
    c.update.bytes.data[3] = 2;
    ASSERT_FAILS(codec_head_decode(&c.spec, part, &head, &err), SOTTO_CORRUPT, "sections");
    case_deinit(&c);
}

/* One segment of 64 weights, 8 kept, 4 bits: count as expected, parameter b, levels, gaps. */
static enum sotto_status check_block(const uint8_t *bytes, size_t n, struct sotto_error *err) {
    struct codec_case c;
    case_init(&c, 1);
    case_segment(&c.layouts[0], LAYOUT_WEIGHT, 64);
    c.spec.pipeline.bits = 4;
    c.spec.pipeline.keep = 0.125f;
    const uint8_t head[] = {0x55, 0x53, 2, 1, 1, 0, 0, 0, 0,    0,   0,
                            0,    0,    0, 0, 0, 0, 0, 0, 0x80, 0x3e};
    const enum sotto_status status =
        check_parts(&c.spec, view_of(head, sizeof head), view_of(bytes, n), err);
    case_deinit(&c);
    return status;
}
#define BLOCK(...)                                                                                 \
    check_block((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}), &err)

static void blocks_that_lie(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    /* Eight gaps of 0 with b = 0 are eight zero bits. */
    ASSERT_OK(BLOCK(0, 0, 0x77, 0x77, 0x77, 0x77, 0));
    ASSERT_FAILS(BLOCK(0, 17, 0x77, 0x77, 0x77, 0x77, 0), SOTTO_CORRUPT, "parameter");
    ASSERT_FAILS(BLOCK(0, 0, 0x77, 0x78, 0x77, 0x77, 0), SOTTO_CORRUPT, "level out of range");
    ASSERT_FAILS(BLOCK(0, 0, 0x77, 0x77, 0x77, 0x77, 0, 0), SOTTO_CORRUPT, "left over");
    /* 56 ones, then eight zeros: the last of 64; one more is outside. */
    ASSERT_OK(BLOCK(0, 0, 0x77, 0x77, 0x77, 0x77, 255, 255, 255, 255, 255, 255, 255, 0));
    ASSERT_FAILS(BLOCK(0, 0, 0x77, 0x77, 0x77, 0x77, 255, 255, 255, 255, 255, 255, 255, 1, 0),
                 SOTTO_CORRUPT, "outside");
    /* A run without an end, a run above the cap, and gaps that stop early. */
    ASSERT_FAILS(BLOCK(0, 0, 0x77, 0x77, 0x77, 0x77, 255, 255, 255, 255, 255), SOTTO_CORRUPT,
                 "runs past");
    ASSERT_FAILS(BLOCK(0, 0, 0x77, 0x77, 0x77, 0x77, 255, 255, 255, 255, 255, 255, 255, 255, 255,
                       255, 255, 0),
                 SOTTO_CORRUPT, "runs past");
    ASSERT_FAILS(BLOCK(0, 1, 0x77, 0x77, 0x77, 0x77, 0), SOTTO_CORRUPT, "runs past");
    /* b = 16 with all bits set. */
    ASSERT_FAILS(BLOCK(0, 16, 0x77, 0x77, 0x77, 0x77, 0xfe, 255, 255), SOTTO_CORRUPT, "outside");
    /* Padding after the gaps: nine bits are used with one gap of 1. */
    ASSERT_OK(BLOCK(0, 0, 0x77, 0x77, 0x77, 0x77, 1, 0));
    ASSERT_FAILS(BLOCK(0, 0, 0x77, 0x77, 0x77, 0x77, 1, 2), SOTTO_CORRUPT, "zero bits");
    /* Counts: one too many, one too few, below none, above all, none at all. */
    ASSERT_FAILS(BLOCK(2, 0, 0x77, 0x77, 0x77, 0x77, 0x07, 0, 0), SOTTO_CORRUPT, "keeps more");
    ASSERT_FAILS(BLOCK(1, 0, 0x77, 0x77, 0x77, 0x07, 0), SOTTO_CORRUPT, "instead of 8");
    ASSERT_FAILS(BLOCK(1, 0, 0x77, 0x77, 0x77, 0x17, 0), SOTTO_CORRUPT, "zero bits");
    ASSERT_FAILS(BLOCK(17), SOTTO_CORRUPT, "kept count");
    ASSERT_FAILS(BLOCK(114), SOTTO_CORRUPT, "kept count");
    ASSERT_FAILS(BLOCK(15), SOTTO_CORRUPT, "instead of 8");
    ASSERT_FAILS(BLOCK(255, 255, 255, 255, 255, 255), SOTTO_CORRUPT, "kept count");
}

static void parts_out_of_order(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct rng r = {0};
    struct codec_case c;
    struct codec_head *head;
    struct accumulator a;
    case_init(&c, 2);
    case_segment(&c.layouts[0], LAYOUT_WEIGHT, 100000);
    case_segment(&c.layouts[1], LAYOUT_WEIGHT, 10);
    c.spec.pipeline.keep = 0.5f;
    c.spec.pipeline.bits = 8;
    case_arrays(&c);
    for (uint32_t i = 0; i < 100000; i++)
        c.in.values[0][i] = (float)i * 1e-6f;
    ASSERT_OK(codec_encode(&c.spec, &c.in, &r, &c.update, &err));
    ASSERT_OK(codec_head_decode(&c.spec, codec_update_part(&c.update, 0), &head, &err));
    struct codec_check *check = codec_check_new(&c.spec);
    assert_non_null(check);
    ASSERT_FAILS(codec_check_finish(&c.spec, head, check, &err), SOTTO_STATE, "0 of 3");
    ASSERT_STATUS(codec_check_part(&c.spec, head, check, codec_update_part(&c.update, 2), &err),
                  SOTTO_CORRUPT);
    codec_check_free(check);
    check = codec_check_new(&c.spec);
    assert_non_null(check);
    for (uint32_t part = 1; part <= 3; part++)
        ASSERT_OK(codec_check_part(&c.spec, head, check, codec_update_part(&c.update, part), &err));
    ASSERT_FAILS(codec_check_part(&c.spec, head, check, codec_update_part(&c.update, 3), &err),
                 SOTTO_STATE, "3 blocks");
    ASSERT_OK(codec_check_finish(&c.spec, head, check, &err));
    codec_check_free(check);
    ASSERT_OK(accumulator_init(&a, &c.spec, &err));
    ASSERT_STATUS(accumulator_add_part(&a, &c.spec, head, 0, codec_update_part(&c.update, 0), &err),
                  SOTTO_INVALID);
    ASSERT_STATUS(accumulator_add_part(&a, &c.spec, head, 4, codec_update_part(&c.update, 3), &err),
                  SOTTO_INVALID);
    assert_int_equal(codec_update_part(&c.update, 4).n, 0);
    accumulator_deinit(&a);
    codec_head_free(head);
    case_deinit(&c);
}

static void specs_that_do_not_compose(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct codec_case c;
    case_init(&c, 1);
    ASSERT_FAILS(codec_spec_check(&c.spec, &err), SOTTO_INVALID, "no coordinates");
    case_segment(&c.layouts[0], LAYOUT_WEIGHT, 10);
    ASSERT_OK(codec_spec_check(&c.spec, &err));
    const struct codec_spec good = c.spec;
#define REFUSED(change, part)                                                                      \
    do {                                                                                           \
        c.spec = good;                                                                             \
        c.spec.change;                                                                             \
        ASSERT_FAILS(codec_spec_check(&c.spec, &err), SOTTO_INVALID, part);                        \
    } while (0)
    REFUSED(pipeline.keep = 0.0f, "keep");
    REFUSED(pipeline.keep = 1.01f, "keep");
    REFUSED(pipeline.keep = NAN, "keep");
    REFUSED(pipeline.bits = 1, "bits");
    REFUSED(pipeline.bits = 17, "bits");
    REFUSED(pipeline.clip_norm = -1.0f, "clip_norm");
    REFUSED(pipeline.clip_norm = INFINITY, "clip_norm");
    REFUSED(pipeline.clip_inf = 0.0f, "clip_inf");
    REFUSED(pipeline.clip_inf = NAN, "clip_inf");
    REFUSED(pipeline.fraction_bits = 7, "fraction_bits");
    REFUSED(pipeline.fraction_bits = 41, "fraction_bits");
    REFUSED(weight_max = 0, "weight_max");
    REFUSED(weight_max = CODEC_WEIGHT_MAX_LIMIT + 1, "weight_max");
    REFUSED(accept_max = 0, "accepted updates");
    REFUSED(accept_max = CODEC_ACCEPT_MAX_LIMIT + 1, "accepted updates");
    REFUSED(section_count = 5, "sections");
    REFUSED(pipeline.clip_inf = 1e9f, "50 bits");
#undef REFUSED
    /* 16 * 2^30 + 1 is above 2^34: 2^5 updates of weight 2^24 pass 2^63, 2^4 and a little less
     * weight do not. */
    c.spec = good;
    c.spec.weight_max = CODEC_WEIGHT_MAX_LIMIT;
    c.spec.accept_max = 32;
    ASSERT_FAILS(codec_spec_check(&c.spec, &err), SOTTO_INVALID, "lower weight_max to 16777215");
    ASSERT_FAILS(codec_spec_check(&c.spec, &err), SOTTO_INVALID, "fraction_bits to 29");
    c.spec.weight_max = 16777215;
    ASSERT_OK(codec_spec_check(&c.spec, &err));
    c.spec.weight_max = CODEC_WEIGHT_MAX_LIMIT;
    c.spec.pipeline.fraction_bits = 29;
    ASSERT_OK(codec_spec_check(&c.spec, &err));
    case_deinit(&c);
}

static void bad_input_is_left_alone(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct rng r = {0};
    struct codec_case c;
    small_case(&c, 8, 0.5f);
    c.spec.pipeline.error_feedback = true;
    static const struct {
        enum codec_scalar scalar;
        double value;
    } rows[] = {{CODEC_WEIGHT, 0},    {CODEC_WEIGHT, 1001},        {CODEC_WEIGHT, 1.5},
                {CODEC_WEIGHT, NAN},  {CODEC_STEPS, -1},           {CODEC_LOSS, -0.5},
                {CODEC_LOSS, 2e8},    {CODEC_LOSS, NAN},           {CODEC_SEEN, 5e9},
                {CODEC_CORRECT, 0.1}, {CODEC_WEIGHTED_STEPS, 5e9}, {CODEC_WEIGHTED_STEPS, -1}};
    float *before = mem_dup(c.in.values[0], c.layouts[0].total * sizeof *before);
    assert_non_null(before);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const double good = c.in.scalars[rows[i].scalar];
        c.in.scalars[rows[i].scalar] = rows[i].value;
        ASSERT_STATUS(codec_encode(&c.spec, &c.in, &r, &c.update, &err), SOTTO_INVALID);
        c.in.scalars[rows[i].scalar] = good;
    }
    c.in.residual[0][5] = NAN;
    ASSERT_FAILS(codec_encode(&c.spec, &c.in, &r, &c.update, &err), SOTTO_INVALID, "residual");
    c.in.residual[0][5] = 0.0f;
    assert_memory_equal(before, c.in.values[0], c.layouts[0].total * sizeof *before);
    c.in.values[0][7] = INFINITY;
    ASSERT_FAILS(codec_encode(&c.spec, &c.in, &r, &c.update, &err), SOTTO_INVALID, "not finite");
    c.in.values[0][7] = 3e38f;
    c.in.residual[0][7] = 3e38f;
    ASSERT_FAILS(codec_encode(&c.spec, &c.in, &r, &c.update, &err), SOTTO_INVALID, "overflows");
    mem_free(before);
    case_deinit(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(truncations_are_refused),
        cmocka_unit_test(flips_are_refused_or_bounded),
        cmocka_unit_test(garbage_is_refused_or_bounded),
        cmocka_unit_test(values_out_of_bounds),
        cmocka_unit_test(heads_that_lie),
        cmocka_unit_test(blocks_that_lie),
        cmocka_unit_test(parts_out_of_order),
        cmocka_unit_test(specs_that_do_not_compose),
        cmocka_unit_test(bad_input_is_left_alone),
    };
    return cmocka_run_group_tests_name("codec_hostile", tests, NULL, NULL);
}
