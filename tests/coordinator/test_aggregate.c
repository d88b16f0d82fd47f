/* Group sums against plain double sums: any order, any split, sealed or not; damaged and foreign
 * reports are refused. */
#include "sotto/coordinator/aggregate.h"

#include "support.h"

#include <math.h>
#include <string.h>

#define UPDATES 6u

struct bed {
    struct layout layout;
    struct codec_spec spec;
    struct report_keys keys;
    struct codec_update update[UPDATES];
    struct buf report[UPDATES]; /* sealed, of serial i + 1 */
    double *sum;                /* weight * decoded value */
    double weight;
    uint32_t n;
};

static void make_update(struct bed *b, uint32_t i) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct rng r;
    rng_init(&r, test_seed(), 0, i, RNG_FAULT);
    float *x = mem_array(b->n, sizeof *x);
    for (uint32_t j = 0; j < b->n; j++)
        x[j] = (float)(0.02 * rng_normal(&r));
    double w = 1 + rng_below(&r, 100);
    struct codec_input in = {.values = {x}, .scalars = {w, 3, 1.5 * w, w / 2, w}};
    in.scalars[CODEC_CORRECT] = floor(in.scalars[CODEC_CORRECT]);
    codec_update_init(&b->update[i]);
    ASSERT_OK(codec_encode(&b->spec, &in, &r, &b->update[i], &err));
    for (uint32_t j = 0; j < b->n; j++)
        b->sum[j] += w * (double)x[j];
    b->weight += w;
    mem_free(x);
    uint8_t content[SEAL_KEY];
    memset(content, (int)i + 1, sizeof content);
    buf_init(&b->report[i], 1 << 24);
    ASSERT_OK(seal_report(&b->update[i], b->keys.public_key, &b->keys.terms, i + 1, content,
                          &b->report[i], &err));
}

static void bed_init(struct bed *b, unsigned bits, float keep) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    memset(b, 0, sizeof *b);
    layout_init(&b->layout);
    ASSERT_OK(layout_add(&b->layout, "w", LAYOUT_WEIGHT, 2, (uint32_t[]){700, 100}, &err));
    ASSERT_OK(layout_add(&b->layout, "b", LAYOUT_BIAS, 1, (uint32_t[]){100}, &err));
    b->n = b->layout.total;
    b->spec = (struct codec_spec){
        .pipeline = CODEC_PIPELINE_INIT, .section_count = 1, .weight_max = 100, .accept_max = 6};
    b->spec.pipeline.bits = bits;
    b->spec.pipeline.keep = keep;
    memcpy(b->spec.sections[0].name, "weights", sizeof "weights");
    b->spec.sections[0].layout = &b->layout;
    seal_keypair(b->keys.public_key, b->keys.secret_key);
    b->keys.terms = wire_hash_of("", view_of("terms", 5));
    b->sum = mem_array(b->n, sizeof *b->sum);
    for (uint32_t i = 0; i < UPDATES; i++)
        make_update(b, i);
}

static void bed_deinit(struct bed *b) {
    for (uint32_t i = 0; i < UPDATES; i++) {
        codec_update_deinit(&b->update[i]);
        buf_deinit(&b->report[i]);
    }
    mem_free(b->sum);
    layout_deinit(&b->layout);
}

static void add_sealed(struct bed *b, struct group_sums *g, uint32_t i) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    bool torn = true;
    ASSERT_OK(report_check(&b->spec, &b->keys, i + 1, buf_view(&b->report[i]), &err));
    ASSERT_OK(report_add(g, &b->keys, i + 1, buf_view(&b->report[i]), &torn, &err));
    assert_false(torn);
}

static void assert_same_sums(const struct group_sums *a, const struct group_sums *b) {
    assert_int_equal(a->sums.updates, b->sums.updates);
    assert_memory_equal(a->sums.scalars, b->sums.scalars, sizeof a->sums.scalars);
    assert_memory_equal(a->sums.sums[0], b->sums.sums[0],
                        a->sums.counts[0] * sizeof *a->sums.sums[0]);
}

static void check_pipeline(unsigned bits, float keep) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct bed b;
    struct group_sums forward, backward, parts[2];
    bed_init(&b, bits, keep);
    ASSERT_OK(group_sums_init(&forward, &b.spec, &err));
    ASSERT_OK(group_sums_init(&backward, &b.spec, &err));
    for (uint32_t i = 0; i < UPDATES; i++)
        add_sealed(&b, &forward, i);
    for (uint32_t i = UPDATES; i-- > 0;) {
        ASSERT_OK(update_check(&b.spec, &b.update[i], &err));
        ASSERT_OK(update_add(&backward, &b.update[i], &err));
    }
    assert_same_sums(&forward, &backward);
    for (uint32_t g = 0; g < 2; g++)
        ASSERT_OK(group_sums_init(&parts[g], &b.spec, &err));
    for (uint32_t i = 0; i < UPDATES; i++)
        add_sealed(&b, &parts[i % 2], i);
    ASSERT_OK(accumulator_merge(&parts[0].sums, &parts[1].sums, &err));
    assert_same_sums(&forward, &parts[0]);
    float *mean = mem_array(b.n, sizeof *mean);
    ASSERT_OK(accumulator_mean(&forward.sums, &b.spec, 0, mean, &err));
    for (uint32_t j = 0; j < b.n; j++) {
        double want = b.sum[j] / b.weight;
        assert_true(fabs((double)mean[j] - want) <= 1e-9 + 1e-7 * fabs(want));
    }
    assert_true(accumulator_scalar(&forward.sums, CODEC_WEIGHT) == b.weight);
    assert_true(accumulator_scalar(&forward.sums, CODEC_STEPS) == 3 * UPDATES);
    /* One more than was proved not to overflow. */
    assert_int_not_equal(update_add(&forward, &b.update[0], &err), SOTTO_OK);
    assert_same_sums(&forward, &backward);
    mem_free(mean);
    group_sums_deinit(&forward);
    group_sums_deinit(&backward);
    group_sums_deinit(&parts[0]);
    group_sums_deinit(&parts[1]);
    bed_deinit(&b);
}

static void test_sums(void **state) {
    (void)state;
    check_pipeline(32, 1.0f);
    check_pipeline(8, 1.0f);
    check_pipeline(4, 0.05f);
}

static void test_foreign_reports(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct bed b;
    bed_init(&b, 8, 0.1f);
    struct view r = buf_view(&b.report[0]);
    assert_int_not_equal(report_check(&b.spec, &b.keys, 2, r, &err), SOTTO_OK); /* another's */
    struct report_keys other = b.keys;
    other.terms.b[5] ^= 1;
    assert_int_not_equal(report_check(&b.spec, &other, 1, r, &err), SOTTO_OK);
    seal_keypair(other.public_key, other.secret_key);
    other.terms = b.keys.terms;
    assert_int_not_equal(report_check(&b.spec, &other, 1, r, &err), SOTTO_OK);
    /* The update of a task with another shape. */
    struct codec_spec wider = b.spec;
    struct layout layout;
    layout_init(&layout);
    ASSERT_OK(layout_add(&layout, "w", LAYOUT_WEIGHT, 2, (uint32_t[]){1400, 100}, &err));
    wider.sections[0].layout = &layout;
    assert_int_not_equal(report_check(&wider, &b.keys, 1, r, &err), SOTTO_OK);
    assert_int_not_equal(update_check(&wider, &b.update[0], &err), SOTTO_OK);
    /* A weight above the bound. */
    struct codec_spec light = b.spec;
    light.weight_max = 1;
    uint32_t refused = 0;
    for (uint32_t i = 0; i < UPDATES; i++)
        refused += update_check(&light, &b.update[i], &err) != SOTTO_OK;
    assert_true(refused >= UPDATES - 1);
    layout_deinit(&layout);
    bed_deinit(&b);
}

static void test_damaged_reports(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct bed b;
    struct rng r;
    struct group_sums g;
    bed_init(&b, 8, 0.02f);
    rng_init(&r, test_seed(), 1, 0, RNG_FAULT);
    ASSERT_OK(group_sums_init(&g, &b.spec, &err));
    struct buf *report = &b.report[0];
    for (uint32_t i = 0; i < 300; i++) {
        uint32_t at = i < 120 ? i % (uint32_t)report->len : rng_below(&r, (uint32_t)report->len);
        uint8_t bit = (uint8_t)(1u << rng_below(&r, 8));
        report->data[at] ^= bit;
        assert_int_not_equal(report_check(&b.spec, &b.keys, 1, buf_view(report), &err), SOTTO_OK);
        report->data[at] ^= bit;
        struct view cut = view_of(report->data, rng_below(&r, (uint32_t)report->len));
        assert_int_not_equal(report_check(&b.spec, &b.keys, 1, cut, &err), SOTTO_OK);
    }
    /* Bytes that change between check and addition tear the sums, and it is said so. */
    ASSERT_OK(report_check(&b.spec, &b.keys, 1, buf_view(report), &err));
    report->data[report->len - 1] ^= 1;
    bool torn = false;
    assert_int_not_equal(report_add(&g, &b.keys, 1, buf_view(report), &torn, &err), SOTTO_OK);
    assert_true(torn);
    accumulator_clear(&g.sums);
    report->data[report->len - 1] ^= 1;
    report->data[0] ^= 1; /* in the frame: nothing was touched */
    assert_int_not_equal(report_add(&g, &b.keys, 1, buf_view(report), &torn, &err), SOTTO_OK);
    assert_false(torn);
    report->data[0] ^= 1;
    group_sums_deinit(&g);
    bed_deinit(&b);
}

static void test_evaluations_are_scalars_only(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct codec_spec spec = {
        .pipeline = CODEC_PIPELINE_INIT, .section_count = 0, .weight_max = 100, .accept_max = 2};
    struct group_sums g;
    struct codec_update u;
    struct rng r;
    struct codec_input in = {.scalars = {50, 1, 25.5, 40, 50}};
    rng_init(&r, 1, 1, 1, RNG_ROUNDING);
    codec_update_init(&u);
    ASSERT_OK(codec_encode(&spec, &in, &r, &u, &err));
    ASSERT_OK(group_sums_init(&g, &spec, &err));
    for (int i = 0; i < 2; i++) {
        ASSERT_OK(update_check(&spec, &u, &err));
        ASSERT_OK(update_add(&g, &u, &err));
    }
    assert_true(accumulator_scalar(&g.sums, CODEC_LOSS) == 51.0);
    assert_true(accumulator_scalar(&g.sums, CODEC_CORRECT) == 80.0);
    assert_true(accumulator_scalar(&g.sums, CODEC_SEEN) == 100.0);
    group_sums_deinit(&g);
    codec_update_deinit(&u);
}

static enum sotto_status oom_report(void *ctx, struct sotto_error *err) {
    struct bed *b = ctx;
    struct group_sums g = {0};
    bool torn;
    enum sotto_status status;
    struct view report = buf_view(&b->report[0]);
    TRY(report_check(&b->spec, &b->keys, 1, report, err));
    TRY(group_sums_init(&g, &b->spec, err));
    TRY(report_add(&g, &b->keys, 1, report, &torn, err));
out:
    group_sums_deinit(&g);
    return status;
}

static void test_out_of_memory(void **state) {
    (void)state;
    struct bed b;
    bed_init(&b, 8, 0.1f);
    test_oom_loop(oom_report, &b);
    bed_deinit(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_foreign_reports),
        cmocka_unit_test(test_damaged_reports),
        cmocka_unit_test(test_evaluations_are_scalars_only),
        cmocka_unit_test(test_out_of_memory),
    };
    if (id_setup(NULL) != SOTTO_OK)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
