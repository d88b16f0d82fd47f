/* Every instruction of a backend that is not a product, against "ref". */
#include "harness.h"

#include <math.h>
#include <string.h>

#define CASES HARNESS_CASES(120)

/* Runs h on both backends and compares buffer out within relative and absolute bounds; returns the
 * largest metric gap. */
static void compare(struct harness *h, uint32_t out, double relative, double absolute) {
    uint32_t n = h->buffers[out].count;
    double metrics[KERN_METRIC_COUNT];
    harness_run(h, "ref");
    float *want = mem_dup(harness_result(h, out), n * sizeof(float));
    memcpy(metrics, h->metrics, sizeof(metrics));
    harness_run(h, harness_backend());
    const float *got = harness_result(h, out);
    for (uint32_t i = 0; i < n; i++) {
        double bound = relative * fabs((double)want[i]) + absolute;
        if (!(fabs((double)got[i] - (double)want[i]) <= bound))
            fail_msg("%s: element %u of %u: %.9g, ref %.9g", kern_op_name(h->instrs[0].op), i, n,
                     (double)got[i], (double)want[i]);
    }
    for (unsigned m = 0; m < KERN_METRIC_COUNT; m++)
        assert_true(fabs(metrics[m] - h->metrics[m]) <= 1e-5 * (fabs(metrics[m]) + 1.0));
    mem_free(want);
}

static void pointwise_case(enum kern_op op, enum kern_act act, uint64_t seed, bool in_place) {
    struct harness h;
    harness_init(&h, seed, 2);
    uint32_t n = harness_pick(&h, 1, 70);
    uint32_t x = harness_f32(&h, n), y = harness_f32(&h, n);
    uint32_t z = in_place ? y : harness_f32(&h, n);
    if (op == KERN_ACT) /* the whole range that matters */
        for (uint32_t i = 0; i < n; i++)
            harness_values(&h, x)[i] *= seed % 2 ? 100.0f : 4.0f;
    const uint32_t one[] = {x, in_place ? x : y}, two[] = {x, y, z};
    bool pair = op == KERN_ACT_DX || op == KERN_ADD;
    struct kern_instr *in = harness_instr(&h, op, pair ? two : one, pair ? 3 : 2);
    in->u.pointwise = (struct kern_pointwise){.count = n, .act = act, .slope = 0.25f};
    compare(&h, pair ? z : one[1], 4e-6, 3e-7);
    harness_deinit(&h);
}

static void test_pointwise(void **state) {
    (void)state;
    for (uint64_t i = 0; i < CASES; i++) {
        enum kern_act act = (enum kern_act)(i % 5);
        pointwise_case(KERN_ACT, act, test_seed() + i, i % 3 == 0);
        pointwise_case(KERN_ACT_DX, act, test_seed() + i, i % 3 == 0);
        pointwise_case(KERN_ADD, KERN_ACT_NONE, test_seed() + i, i % 3 == 0);
        pointwise_case(KERN_COPY, KERN_ACT_NONE, test_seed() + i, false);
    }
}

static struct kern_pool random_pool(struct harness *h) {
    struct kern_pool v = {.batch = harness_pick(h, 1, 3), .channels = harness_pick(h, 1, 20)};
    v.kernel_h = harness_pick(h, 1, 4);
    v.kernel_w = harness_pick(h, 1, 4);
    v.stride_h = harness_pick(h, 0, 1) ? v.kernel_h : harness_pick(h, 1, 4);
    v.stride_w = harness_pick(h, 0, 1) ? v.kernel_w : harness_pick(h, 1, 4);
    v.pad_top = harness_pick(h, 0, 1) ? 0 : harness_pick(h, 0, v.kernel_h - 1);
    v.pad_left = harness_pick(h, 0, 1) ? 0 : harness_pick(h, 0, v.kernel_w - 1);
    v.out_h = harness_pick(h, 1, 6);
    v.out_w = harness_pick(h, 1, 6);
    uint32_t reach_h = (v.out_h - 1) * v.stride_h, reach_w = (v.out_w - 1) * v.stride_w;
    v.in_h = (reach_h >= v.pad_top ? reach_h - v.pad_top : 0) + harness_pick(h, 1, v.kernel_h);
    v.in_w = (reach_w >= v.pad_left ? reach_w - v.pad_left : 0) + harness_pick(h, 1, v.kernel_w);
    if (harness_pick(h, 0, 3) == 0) { /* windows that tile the input: most networks' */
        v.stride_h = v.kernel_h, v.stride_w = v.kernel_w;
        v.pad_top = v.pad_left = 0;
        v.in_h = v.out_h * v.stride_h, v.in_w = v.out_w * v.stride_w;
    }
    return v;
}

/* Forward gives the same values and, without near-ties to round apart, the same places; the
 * backwards use them. */
static void test_pool(void **state) {
    (void)state;
    for (uint64_t i = 0; i < CASES; i++) {
        struct harness h;
        harness_init(&h, test_seed() + i, 2);
        struct kern_pool v = random_pool(&h);
        uint32_t in_n = v.batch * v.in_h * v.in_w * v.channels;
        uint32_t out_n = v.batch * v.out_h * v.out_w * v.channels;
        uint32_t x = harness_f32(&h, in_n), y = harness_f32(&h, out_n);
        uint32_t arg = harness_buffer(&h, KERN_U8, KERN_ROLE_TEMP, out_n);
        uint32_t dx = harness_f32(&h, in_n), mean = harness_f32(&h, out_n);
        uint32_t dmean = harness_f32(&h, in_n);
        harness_thin(&h, x, 0.5); /* ties: the first wins */
        if (i % 8 == 0)
            harness_values(&h, x)[0] = NAN;
        harness_instr(&h, KERN_POOL_MAX, (uint32_t[]){x, y, arg}, 3)->u.pool = v;
        harness_instr(&h, KERN_POOL_MAX_DX, (uint32_t[]){y, arg, dx}, 3)->u.pool = v;
        harness_instr(&h, KERN_POOL_AVG, (uint32_t[]){x, mean}, 2)->u.pool = v;
        harness_instr(&h, KERN_POOL_AVG_DX, (uint32_t[]){mean, dmean}, 2)->u.pool = v;
        harness_run(&h, "ref");
        uint8_t *places = mem_dup(h.result[arg], out_n);
        float *want = mem_dup(harness_result(&h, y), out_n * sizeof(float));
        harness_run(&h, harness_backend());
        for (uint32_t e = 0; e < out_n; e++) {
            bool nan = isnan(want[e]);
            assert_true(nan ? isnan(harness_result(&h, y)[e])
                            : want[e] == harness_result(&h, y)[e]);
            assert_true(nan || places[e] == ((uint8_t *)h.result[arg])[e]);
        }
        mem_free(places);
        mem_free(want);
        if (i % 8) {
            compare(&h, dx, 1e-6, 1e-7);
            compare(&h, mean, 1e-6, 2e-6);
            compare(&h, dmean, 2e-6, 2e-6);
        }
        harness_deinit(&h);
    }
}

static void test_bias(void **state) {
    (void)state;
    for (uint64_t i = 0; i < CASES; i++) {
        struct harness h;
        harness_init(&h, test_seed() + i, 2);
        struct kern_rows v = {.rows = harness_pick(&h, 1, 40), .cols = harness_pick(&h, 1, 90)};
        v.scale = (enum kern_scale)(i % 2);
        v.beta = (enum kern_beta)(i % 3);
        v.weight_decay = 0.5f;
        uint32_t x = harness_f32(&h, v.rows * v.cols), bias = harness_f32(&h, v.cols);
        uint32_t y = i % 2 ? x : harness_f32(&h, v.rows * v.cols), db = harness_f32(&h, v.cols);
        if (v.beta == KERN_BETA_ZERO)
            harness_values(&h, db)[0] = NAN;
        harness_instr(&h, KERN_BIAS_ADD, (uint32_t[]){x, bias, y}, 3)->u.rows = v;
        harness_instr(&h, KERN_BIAS_GRAD, (uint32_t[]){y, db}, 2)->u.rows = v;
        compare(&h, y, 0.0, 0.0);
        compare(&h, db, 0.0, 2.0 * 1.2e-7 * v.rows * v.rows * 2.0);
        harness_deinit(&h);
    }
}

/* Labels with ignored rows and rows past the valid ones; large logits; both losses and softmax. */
static void test_losses(void **state) {
    (void)state;
    for (uint64_t i = 0; i < 2 * CASES; i++) {
        struct harness h;
        harness_init(&h, test_seed() + i, 6);
        struct kern_rows v = {.rows = 6, .cols = harness_pick(&h, 1, 40)};
        v.temperature = i % 2 ? 1.0f : 3.0f;
        v.label_smoothing = i % 4 ? 0.0f : 0.1f;
        uint32_t x = harness_f32(&h, 6 * v.cols), d = i % 3 ? harness_f32(&h, 6 * v.cols) : x;
        uint32_t labels = harness_buffer(&h, KERN_I32, KERN_ROLE_TEMP, 6);
        const bool metric = i % 7 == 0; /* without a gradient */
        uint32_t targets = harness_f32(&h, 6 * v.cols), soft = harness_f32(&h, 6 * v.cols);
        for (uint32_t e = 0; e < 6 * v.cols; e++)
            harness_values(&h, x)[e] *= i % 5 ? 5.0f : 80.0f;
        for (uint32_t r = 0; r < 6; r++) /* -1 and cols: ignored */
            ((int32_t *)h.start[labels])[r] = (int32_t)harness_pick(&h, 0, v.cols + 1) - 1;
        h.step.rows = harness_pick(&h, 1, 6);
        harness_instr(&h, KERN_SOFTMAX, (uint32_t[]){x, targets}, 2)->u.rows = v;
        harness_instr(&h, KERN_SOFT_XENT,
                      (uint32_t[]){x, targets, metric ? KERN_NONE : soft, h.p.metric}, 4)
            ->u.rows = v;
        harness_instr(&h, KERN_SOFTMAX_XENT,
                      (uint32_t[]){x, labels, metric ? KERN_NONE : d, h.p.metric}, 4)
            ->u.rows = v;
        compare(&h, targets, 2e-6, 1e-7);
        compare(&h, soft, 2e-6, 4e-7 * (double)v.temperature);
        compare(&h, d, 2e-6, 2e-7);
        harness_deinit(&h);
    }
}

static void test_optimizer(void **state) {
    (void)state;
    for (uint64_t i = 0; i < CASES; i++) {
        struct harness h;
        harness_init(&h, test_seed() + i, 2);
        uint32_t n = harness_pick(&h, 1, 100);
        uint32_t w = harness_f32(&h, n), g = harness_f32(&h, n);
        uint32_t v = i % 2 ? harness_f32(&h, n) : KERN_NONE;
        uint32_t anchor = i % 3 ? harness_f32(&h, n) : KERN_NONE;
        harness_instr(&h, KERN_CLIP_NORM, (uint32_t[]){g}, 1)->u.clip =
            (struct kern_clip){n, i % 4 ? 1.0f : 100.0f};
        harness_instr(&h, KERN_SGD, (uint32_t[]){w, g, v, anchor}, 4)->u.sgd =
            (struct kern_sgd){.count = n,
                              .momentum = v == KERN_NONE ? 0.0f : 0.9f,
                              .weight_decay = 0.01f,
                              .prox_mu = anchor == KERN_NONE ? 0.0f : 0.5f,
                              .nesterov = i % 4 == 1};
        compare(&h, w, 1e-6, 1e-6);
        if (v != KERN_NONE)
            compare(&h, v, 1e-6, 1e-6);
        compare(&h, g, 1e-6, 1e-7);
        harness_deinit(&h);
    }
}

/* Quantization and dropout give the same bits everywhere. */
static void test_exact(void **state) {
    (void)state;
    for (uint64_t i = 0; i < CASES; i++) {
        struct harness h;
        harness_init(&h, test_seed() + i, 2);
        struct kern_quant v = {.rows = harness_pick(&h, 1, 40),
                               .channels = harness_pick(&h, 1, 20)};
        uint32_t n = v.rows * v.channels, x = harness_f32(&h, n), back = harness_f32(&h, n);
        uint32_t q = harness_buffer(&h, KERN_I8, KERN_ROLE_TEMP, n);
        uint32_t scale = harness_f32(&h, v.channels), dropped = harness_f32(&h, n);
        harness_thin(&h, x, i % 5 ? 0.3 : 1.0);
        harness_instr(&h, KERN_QUANT_I8, (uint32_t[]){x, q, scale}, 3)->u.quant = v;
        harness_instr(&h, KERN_DEQUANT_I8, (uint32_t[]){q, scale, back}, 3)->u.quant = v;
        harness_instr(&h, KERN_DROPOUT, (uint32_t[]){x, dropped}, 2)->u.dropout =
            (struct kern_dropout){n, 0.4f, (uint32_t)i};
        harness_instr(&h, KERN_FILL0, (uint32_t[]){x}, 1)->u.pointwise.count = n;
        compare(&h, back, 0.0, 0.0);
        compare(&h, dropped, 0.0, 0.0);
        compare(&h, scale, 0.0, 0.0);
        compare(&h, x, 0.0, 0.0);
        /* And what comes back is within half a step of what went in. */
        for (uint32_t e = 0; e < n; e++) {
            double step = (double)harness_result(&h, scale)[e % v.channels];
            double gap = (double)harness_values(&h, x)[e] - (double)harness_result(&h, back)[e];
            assert_true(fabs(gap) <= step * 0.5001);
        }
        harness_deinit(&h);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pointwise), cmocka_unit_test(test_pool),
        cmocka_unit_test(test_bias),      cmocka_unit_test(test_losses),
        cmocka_unit_test(test_optimizer), cmocka_unit_test(test_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
