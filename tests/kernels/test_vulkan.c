/* Every instruction of the Vulkan backend against "ref", on random shapes, with validation and
 * synchronization validation on and silent. CTest runs this file once for each set of masked
 * features. */
#include "harness.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vulkan/gpu.h"

#define ROUNDS 6

/* Runs h on both; float buffers may differ by bound relative to the largest value of each, others
 * must be equal. Returns the largest relative difference. */
static double compare(struct harness *h, double bound, const char *what) {
    void *want[HARNESS_BUFFERS];
    double metrics[KERN_METRIC_COUNT], worst = 0.0;
    harness_run(h, "ref");
    for (uint32_t i = 0; i < h->p.buffer_count; i++) {
        size_t size = h->buffers[i].dtype == KERN_F32 || h->buffers[i].dtype == KERN_I32 ? 4 : 1;
        want[i] = mem_dup(h->result[i], h->buffers[i].count * size);
    }
    memcpy(metrics, h->metrics, sizeof(metrics));
    harness_run(h, "vulkan");
    for (uint32_t i = 0; i < h->p.buffer_count; i++) {
        const struct kern_buffer *b = &h->buffers[i];
        if (b->dtype != KERN_F32) {
            size_t size = b->dtype == KERN_I32 ? 4 : 1;
            if (memcmp(want[i], h->result[i], b->count * size) != 0)
                fail_msg("%s: buffer %u differs (seed %llu)", what, i,
                         (unsigned long long)test_seed());
        } else {
            const float *w = want[i], *got = h->result[i];
            double most = 1e-30, gap = 0.0;
            for (uint32_t e = 0; e < b->count; e++) {
                most = fmax(most, fabs((double)w[e]));
                gap = fmax(gap, fabs((double)w[e] - (double)got[e]));
            }
            worst = fmax(worst, gap / most);
            if (!(gap <= bound * most))
                fail_msg("%s: buffer %u is off by %g of %g, allowed %g (seed %llu)", what, i, gap,
                         most, bound, (unsigned long long)test_seed());
        }
        mem_free(want[i]);
    }
    for (unsigned i = 0; i < KERN_METRIC_COUNT; i++)
        assert_true(fabs(metrics[i] - h->metrics[i]) <= 1e-5 * (1.0 + fabs(metrics[i])));
    return worst;
}

/* |error| <= 2 K eps sum |a||b|, and the sum is at most K for values in [-1, 1]; relative to the
 * largest value of about sqrt(K / 9) that is below 12 K sqrt(K) eps, far above what is seen. */
static double product_bound(uint32_t k) {
    return 2.0 * (k + 8) * 6e-8 * (3.0 * sqrt((double)k) + 3.0);
}

static void one_gemm(struct harness *h, struct kern_gemm g, bool bias) {
    uint32_t a = harness_f32(h, g.m * g.k), b = harness_f32(h, g.k * g.n);
    uint32_t c = harness_f32(h, g.m * g.n), d = bias ? harness_f32(h, g.n) : KERN_NONE;
    harness_instr(h, KERN_GEMM, (uint32_t[]){a, b, c, d}, 4)->u.gemm = g;
    compare(h, product_bound(g.k), "gemm");
}

static void test_gemm(void **state) {
    (void)state;
    static const uint32_t shapes[][3] = {{10, 10, 784}, {10, 200, 300}, {784, 20, 10},
                                         {64, 64, 64},  {1, 1, 1},      {33, 65, 17},
                                         {300, 70, 40}, {17, 5, 2000},  {130, 130, 260}};
    for (unsigned i = 0; i < ARRAY_LEN(shapes); i++)
        for (unsigned t = i % 2; t < 4; t += 2) {
            struct harness h;
            harness_init(&h, test_seed() + i, 2);
            struct kern_gemm g = {.m = shapes[i][0], .n = shapes[i][1], .k = shapes[i][2]};
            g.trans_a = t & 1, g.trans_b = t >> 1;
            /* Each is a pipeline, and a second of compiling for a processor. */
            g.act = i < 5 ? (enum kern_act)i : KERN_ACT_RELU, g.slope = 0.1f;
            g.scale = (enum kern_scale)harness_pick(&h, 0, 1);
            g.beta = (enum kern_beta)harness_pick(&h, 0, 2);
            g.weight_decay = 0.5f;
            one_gemm(&h, g, t % 2);
            harness_deinit(&h);
        }
}

static struct kern_conv random_conv(struct harness *h, bool pool) {
    struct kern_conv v = {.batch = harness_pick(h, 1, 4),
                          .in_h = harness_pick(h, 3, 13),
                          .in_w = harness_pick(h, 3, 13),
                          .groups = harness_pick(h, 0, 3) == 0 ? 2 : 1};
    v.in_c = v.groups * harness_pick(h, 1, 9);
    v.out_c = v.groups * (harness_pick(h, 0, 1) ? harness_pick(h, 1, 9) : 32);
    v.kernel_h = harness_pick(h, 1, 5), v.kernel_w = harness_pick(h, 1, 5);
    v.stride_h = harness_pick(h, 1, 2), v.stride_w = harness_pick(h, 1, 2);
    v.pad_top = v.kernel_h / 2, v.pad_left = v.kernel_w / 2;
    v.out_h = (v.in_h + v.stride_h - 1) / v.stride_h;
    v.out_w = (v.in_w + v.stride_w - 1) / v.stride_w;
    v.act = KERN_ACT_LEAKY_RELU, v.slope = 0.1f;
    if (pool) {
        v.pool_h = harness_pick(h, 1, v.out_h < 3 ? v.out_h : 3);
        v.pool_w = harness_pick(h, 1, v.out_w < 3 ? v.out_w : 3);
        if (harness_pick(h, 0, 2))
            v.pool_h = v.out_h > 1 ? 2 : 1, v.pool_w = v.out_w > 1 ? 2 : 1;
    }
    return v;
}

static void one_conv(struct harness *h, enum kern_op op, struct kern_conv v) {
    uint32_t x = harness_f32(h, v.batch * v.in_h * v.in_w * v.in_c);
    uint32_t w = harness_f32(h, v.kernel_h * v.kernel_w * (v.in_c / v.groups) * v.out_c);
    uint32_t bias = harness_pick(h, 0, 1) ? harness_f32(h, v.out_c) : KERN_NONE;
    uint32_t y = harness_f32(h, v.batch * v.out_h * v.out_w * v.out_c);
    uint32_t k = v.kernel_h * v.kernel_w * v.in_c / v.groups;
    struct kern_instr *in;
    switch ((unsigned)op) {
    case KERN_CONV2D:
        in = harness_instr(h, op, (uint32_t[]){x, w, y, bias}, 4);
        break;
    case KERN_CONV2D_POOL: {
        uint32_t n = v.batch * (v.out_h / v.pool_h) * (v.out_w / v.pool_w) * v.out_c;
        uint32_t arg = harness_buffer(h, KERN_U8, KERN_ROLE_TEMP, n);
        in = harness_instr(h, op, (uint32_t[]){x, w, harness_f32(h, n), bias, arg}, 5);
        break;
    }
    case KERN_CONV2D_DX:
        in = harness_instr(h, op, (uint32_t[]){y, w, x}, 3);
        k = v.kernel_h * v.kernel_w * v.out_c / v.groups;
        break;
    default:
        in = harness_instr(h, op, (uint32_t[]){x, y, w}, 3);
        v.scale = (enum kern_scale)harness_pick(h, 0, 1);
        v.beta = (enum kern_beta)harness_pick(h, 0, 2);
        v.weight_decay = 0.25f;
        k = v.batch * v.out_h * v.out_w;
        break;
    }
    in->u.conv = v;
    compare(h, product_bound(k), kern_op_name(op));
}

static void test_convolutions(void **state) {
    (void)state;
    static const enum kern_op ops[] = {KERN_CONV2D, KERN_CONV2D_POOL, KERN_CONV2D_DX,
                                       KERN_CONV2D_DW};
    for (unsigned o = 0; o < ARRAY_LEN(ops); o++)
        for (unsigned i = 0; i < ROUNDS; i++) {
            struct harness h;
            harness_init(&h, test_seed() + i + 100 * o, 2);
            one_conv(&h, ops[o], random_conv(&h, ops[o] == KERN_CONV2D_POOL));
            harness_deinit(&h);
        }
}

/* The shape of the zoo's first layers: split along k, pooled by tiles. */
static void test_model_convolutions(void **state) {
    (void)state;
    static const enum kern_op ops[] = {KERN_CONV2D, KERN_CONV2D_POOL, KERN_CONV2D_DX,
                                       KERN_CONV2D_DW};
    for (unsigned o = 0; o < ARRAY_LEN(ops); o++) {
        struct harness h;
        harness_init(&h, test_seed() + o, 2);
        struct kern_conv v = {.batch = 3, .in_h = 14, .in_w = 14, .in_c = 32, .groups = 1};
        v.out_h = v.out_w = 14, v.out_c = 64, v.kernel_h = v.kernel_w = 5;
        v.stride_h = v.stride_w = 1, v.pad_top = v.pad_left = 2;
        v.act = KERN_ACT_LEAKY_RELU, v.slope = 0.1f, v.pool_h = v.pool_w = 2;
        one_conv(&h, ops[o], v);
        harness_deinit(&h);
    }
}

static void test_pooling(void **state) {
    (void)state;
    for (unsigned i = 0; i < 4 * ROUNDS; i++) {
        struct harness h;
        harness_init(&h, test_seed() + i, 2);
        struct kern_pool v = {.batch = harness_pick(&h, 1, 3),
                              .in_h = harness_pick(&h, 2, 9),
                              .in_w = harness_pick(&h, 2, 9),
                              .channels = harness_pick(&h, 1, 7)};
        v.kernel_h = harness_pick(&h, 1, 3), v.kernel_w = harness_pick(&h, 1, 3);
        v.stride_h = harness_pick(&h, 1, 3), v.stride_w = harness_pick(&h, 1, 3);
        v.pad_top = harness_pick(&h, 0, v.kernel_h - 1);
        v.pad_left = harness_pick(&h, 0, v.kernel_w - 1);
        v.out_h = (v.in_h + v.pad_top - 1) / v.stride_h + 1;
        v.out_w = (v.in_w + v.pad_left - 1) / v.stride_w + 1;
        uint32_t nx = v.batch * v.in_h * v.in_w * v.channels;
        uint32_t ny = v.batch * v.out_h * v.out_w * v.channels;
        uint32_t x = harness_f32(&h, nx), y = harness_f32(&h, ny), dx = harness_f32(&h, nx);
        if (i % 2) {
            uint32_t arg = harness_buffer(&h, KERN_U8, KERN_ROLE_TEMP, ny);
            harness_instr(&h, KERN_POOL_MAX, (uint32_t[]){x, y, arg}, 3)->u.pool = v;
            harness_instr(&h, KERN_POOL_MAX_DX, (uint32_t[]){y, arg, dx}, 3)->u.pool = v;
        } else {
            harness_instr(&h, KERN_POOL_AVG, (uint32_t[]){x, y}, 2)->u.pool = v;
            harness_instr(&h, KERN_POOL_AVG_DX, (uint32_t[]){y, dx}, 2)->u.pool = v;
        }
        compare(&h, 1e-6, "pooling");
        harness_deinit(&h);
    }
}

static void test_pointwise(void **state) {
    (void)state;
    for (unsigned act = 0; act <= KERN_ACT_TANH; act++) {
        struct harness h;
        harness_init(&h, test_seed() + act, 2);
        uint32_t n = harness_pick(&h, 1, 1000), x = harness_f32(&h, n), y = harness_f32(&h, n);
        uint32_t d = harness_f32(&h, n), z = harness_f32(&h, n), u = harness_f32(&h, n);
        uint32_t cols = harness_pick(&h, 1, 9), rows = harness_pick(&h, 1, 90);
        uint32_t m = harness_f32(&h, rows * cols), b = harness_f32(&h, cols);
        struct kern_pointwise p = {n, (enum kern_act)act, 0.1f};
        for (uint32_t i = 0; i < n; i++)
            harness_values(&h, x)[i] *= i % 3 ? 1.0f : 20.0f;
        harness_instr(&h, KERN_ACT, (uint32_t[]){x, y}, 2)->u.pointwise = p;
        harness_instr(&h, KERN_ACT_DX, (uint32_t[]){y, d, d}, 3)->u.pointwise = p;
        harness_instr(&h, KERN_ADD, (uint32_t[]){y, d, z}, 3)->u.pointwise.count = n;
        harness_instr(&h, KERN_ACT, (uint32_t[]){z, z}, 2)->u.pointwise = p;
        harness_instr(&h, KERN_COPY, (uint32_t[]){z, u}, 2)->u.pointwise.count = n;
        harness_instr(&h, KERN_FILL0, (uint32_t[]){d}, 1)->u.pointwise.count = n;
        harness_instr(&h, KERN_BIAS_ADD, (uint32_t[]){m, b, m}, 3)->u.rows =
            (struct kern_rows){.rows = rows, .cols = cols};
        compare(&h, 4e-6, "pointwise");
        harness_deinit(&h);
    }
}

static void test_dropout(void **state) {
    (void)state;
    struct harness h;
    harness_init(&h, test_seed(), 2);
    uint32_t n = 1003, x = harness_f32(&h, n), y = harness_f32(&h, n);
    h.step.seed = 0x123456789abcdef0u;
    harness_instr(&h, KERN_DROPOUT, (uint32_t[]){x, y}, 2)->u.dropout =
        (struct kern_dropout){n, 0.3f, 9};
    harness_instr(&h, KERN_DROPOUT, (uint32_t[]){y, y}, 2)->u.dropout =
        (struct kern_dropout){n, 0.5f, 2};
    assert_true(compare(&h, 0.0, "dropout") == 0.0);
    harness_deinit(&h);
}

static void test_losses(void **state) {
    (void)state;
    for (unsigned i = 0; i < 2 * ROUNDS; i++) {
        struct harness h;
        uint32_t batch = i % 3 ? 10 : 150;
        harness_init(&h, test_seed() + i, batch);
        uint32_t cols = harness_pick(&h, 2, 12), n = batch * cols;
        uint32_t x = harness_f32(&h, n), d = harness_f32(&h, n), p = harness_f32(&h, n);
        uint32_t target =
            i % 2 ? harness_f32(&h, n) : harness_buffer(&h, KERN_I32, KERN_ROLE_INPUT, batch);
        struct kern_rows v = {.rows = batch, .cols = cols, .temperature = 3.0f};
        for (uint32_t e = 0; e < n; e++)
            harness_values(&h, x)[e] *= 9.0f;
        h.step.rows = harness_pick(&h, 1, batch);
        if (i % 2) {
            harness_abs(&h, target);
            harness_instr(&h, KERN_SOFT_XENT, (uint32_t[]){x, target, d, h.p.metric}, 4)->u.rows =
                v;
        } else {
            v.label_smoothing = i % 4 ? 0.1f : 0.0f;
            for (uint32_t r = 0; r < batch; r++)
                ((int32_t *)h.start[target])[r] = (int32_t)harness_pick(&h, 0, cols + 1) - 1;
            harness_instr(&h, KERN_SOFTMAX_XENT, (uint32_t[]){x, target, d, h.p.metric}, 4)
                ->u.rows = v;
        }
        harness_instr(&h, KERN_SOFTMAX, (uint32_t[]){x, p}, 2)->u.rows = v;
        harness_instr(&h, KERN_BIAS_GRAD, (uint32_t[]){d, harness_f32(&h, cols)}, 2)->u.rows =
            (struct kern_rows){.rows = batch,
                               .cols = cols,
                               .scale = KERN_SCALE_NEG_LR,
                               .beta = KERN_BETA_DECAY,
                               .weight_decay = 0.5f};
        compare(&h, 4e-6, "losses");
        harness_deinit(&h);
    }
}

static void test_updates(void **state) {
    (void)state;
    for (unsigned i = 0; i < 8; i++) {
        struct harness h;
        harness_init(&h, test_seed() + i, 2);
        uint32_t n = harness_pick(&h, 1, 5000);
        uint32_t w = harness_f32(&h, n), g = harness_f32(&h, n);
        uint32_t v = i & 1 ? harness_f32(&h, n) : KERN_NONE;
        uint32_t a = i & 2 ? harness_f32(&h, n) : KERN_NONE;
        struct kern_sgd s = {.count = n, .weight_decay = 0.1f};
        s.momentum = i & 1 ? 0.9f : 0.0f, s.prox_mu = i & 2 ? 0.2f : 0.0f;
        s.nesterov = (i & 5) == 5;
        harness_instr(&h, KERN_CLIP_NORM, (uint32_t[]){g}, 1)->u.clip =
            (struct kern_clip){n, i & 4 ? 1.5f : 1e6f};
        harness_instr(&h, KERN_SGD, (uint32_t[]){w, g, v, a}, 4)->u.sgd = s;
        compare(&h, 2e-6, "updates");
        harness_deinit(&h);
    }
}

/* Bit for bit, with values that test the rounding: halves, subnormals, infinities. */
static void test_quantization(void **state) {
    (void)state;
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct harness h;
        harness_init(&h, test_seed() + i, 2);
        uint32_t rows = harness_pick(&h, 1, 300), channels = harness_pick(&h, 1, 13);
        uint32_t n = rows * channels, x = harness_f32(&h, n), z = harness_f32(&h, n);
        uint32_t q = harness_buffer(&h, KERN_I8, KERN_ROLE_TEMP, n);
        uint32_t scale = harness_f32(&h, channels);
        float *v = harness_values(&h, x);
        for (uint32_t e = 0; e < n; e++) {
            if (i == 1)
                v[e] = (float)((int)(harness_pick(&h, 0, 508)) - 254) * 0.5f; /* ties */
            else if (i == 2)
                v[e] *= 1e-40f;
            else if (i == 3)
                v[e] = ldexpf(v[e], (int)harness_pick(&h, 0, 60) - 30);
            else if (i == 4 && e % 5 == 0)
                v[e] = 0.0f;
        }
        harness_instr(&h, KERN_QUANT_I8, (uint32_t[]){x, q, scale}, 3)->u.quant =
            (struct kern_quant){rows, channels};
        if (i != 2) /* products of subnormals may be flushed */
            harness_instr(&h, KERN_DEQUANT_I8, (uint32_t[]){q, scale, z}, 3)->u.quant =
                (struct kern_quant){rows, channels};
        assert_true(compare(&h, 0.0, "quantization") == 0.0);
        harness_deinit(&h);
    }
}

/* Exact in integers; a package's weights as they lie. */
static void test_int8(void **state) {
    (void)state;
    static const uint32_t shapes[][3] = {{1, 1, 1}, {33, 40, 64}, {7, 70, 129}, {40, 5, 1000}};
    for (unsigned i = 0; i < 2 * ARRAY_LEN(shapes); i++) {
        struct harness h;
        harness_init(&h, test_seed() + i, 2);
        struct kern_gemm g = {
            .m = shapes[i / 2][0], .n = shapes[i / 2][1], .k = shapes[i / 2][2], .slope = 0.1f};
        uint32_t b = harness_buffer(&h, KERN_I8, KERN_ROLE_TEMP, g.k * g.n);
        for (uint32_t e = 0; e < g.k * g.n; e++)
            ((int8_t *)h.start[b])[e] = (int8_t)harness_pick(&h, 0, 255);
        if (i % 2) {
            uint32_t a = harness_f32(&h, g.m * g.k), scale = harness_f32(&h, g.n);
            uint32_t c = harness_f32(&h, g.m * g.n), d = i > 3 ? harness_f32(&h, g.n) : KERN_NONE;
            g.act = KERN_ACT_RELU;
            harness_instr(&h, KERN_GEMM_W8, (uint32_t[]){a, b, scale, c, d}, 5)->u.gemm = g;
            compare(&h, product_bound(g.k), "gemm_w8");
        } else {
            uint32_t a = harness_buffer(&h, KERN_I8, KERN_ROLE_TEMP, g.m * g.k);
            uint32_t c = harness_buffer(&h, KERN_I32, KERN_ROLE_TEMP, g.m * g.n);
            for (uint32_t e = 0; e < g.m * g.k; e++)
                ((int8_t *)h.start[a])[e] = (int8_t)harness_pick(&h, 0, 255);
            harness_instr(&h, KERN_GEMM_I8, (uint32_t[]){a, b, c}, 3)->u.gemm = g;
            compare(&h, 0.0, "gemm_i8");
        }
        harness_deinit(&h);
    }
}

/* Operands rounded to 16 bits; the second shape is split along k. */
static void test_short_floats(void **state) {
    (void)state;
    static const uint32_t shapes[][3] = {{20, 45, 300}, {3, 5, 2049}, {1, 1, 1}};
    for (unsigned i = 0; i < 2 * ARRAY_LEN(shapes); i++) {
        struct harness h;
        harness_init(&h, test_seed() + i, 2);
        struct kern_gemm g = {
            .m = shapes[i / 2][0], .n = shapes[i / 2][1], .k = shapes[i / 2][2], .slope = 0.1f};
        enum kern_op op = i % 2 ? KERN_GEMM_BF16 : KERN_GEMM_F16;
        uint32_t a = harness_f32(&h, g.m * g.k), b = harness_f32(&h, g.k * g.n);
        uint32_t c = harness_f32(&h, g.m * g.n), d = i < 4 ? harness_f32(&h, g.n) : KERN_NONE;
        g.act = i < 2 ? KERN_ACT_LEAKY_RELU : KERN_ACT_NONE;
        harness_instr(&h, op, (uint32_t[]){a, b, c, d}, 4)->u.gemm = g;
        compare(&h, product_bound(g.k), kern_op_name(op));
        harness_deinit(&h);
    }
}

/* Every exponent of a float and the neighbourhoods of ties, times 1: the same bits as "ref". */
static void test_half_rounding(void **state) {
    (void)state;
    struct harness h;
    enum { COUNT = 256 * 48 };
    harness_init(&h, test_seed(), 2);
    uint32_t x = harness_f32(&h, COUNT), one = harness_f32(&h, 1), y = harness_f32(&h, COUNT);
    for (uint32_t i = 0; i < COUNT; i++) {
        static const uint32_t near[] = {0,       0x1fffu,   0x2000u,   0xfffu,    0x1000u,
                                        0x1001u, 0x7fe000u, 0x7fefffu, 0x7ff000u, 0x7fffffu};
        uint32_t k = i % 48, bits = i / 48 << 23;
        bits |= k < 20 ? near[k / 2] : harness_pick(&h, 0, 0x7fffff);
        bits |= (k & 1) << 31;
        memcpy(&harness_values(&h, x)[i], &bits, 4);
    }
    harness_values(&h, one)[0] = 1.0f;
    harness_instr(&h, KERN_GEMM_F16, (uint32_t[]){x, one, y}, 3)->u.gemm =
        (struct kern_gemm){.m = COUNT, .n = 1, .k = 1};
    harness_run(&h, "ref");
    float *want = mem_dup(harness_result(&h, y), COUNT * sizeof(float));
    harness_run(&h, "vulkan");
    for (uint32_t i = 0; i < COUNT; i++) {
        float got = harness_result(&h, y)[i];
        if (got != want[i] && !(isnan(got) && isnan(want[i])))
            fail_msg("%a becomes %a, not %a", (double)harness_values(&h, x)[i], (double)got,
                     (double)want[i]);
    }
    assert_true(kern_backend_has(kern_backend_find("vulkan"), KERN_GEMM_F16)); /* not on the host */
    mem_free(want);
    harness_deinit(&h);
}

static int no_messages(void **state) {
    (void)state;
    return gpu_hooks.messages == 0 ? 0 : -1;
}

int main(void) {
    struct gpu *g;
    struct sotto_error err = SOTTO_ERROR_INIT;
    setenv("SOTTO_VULKAN_VALIDATE", "1", 0);
    if (gpu_get(&g, &err) != SOTTO_OK) {
        printf("skipped: %s\n", err.message);
        return 77;
    }
    if (!gpu_hooks.validated)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_gemm, no_messages),
        cmocka_unit_test_teardown(test_convolutions, no_messages),
        cmocka_unit_test_teardown(test_model_convolutions, no_messages),
        cmocka_unit_test_teardown(test_pooling, no_messages),
        cmocka_unit_test_teardown(test_pointwise, no_messages),
        cmocka_unit_test_teardown(test_dropout, no_messages),
        cmocka_unit_test_teardown(test_losses, no_messages),
        cmocka_unit_test_teardown(test_updates, no_messages),
        cmocka_unit_test_teardown(test_quantization, no_messages),
        cmocka_unit_test_teardown(test_int8, no_messages),
        cmocka_unit_test_teardown(test_short_floats, no_messages),
        cmocka_unit_test_teardown(test_half_rounding, no_messages),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    gpu_reset();
    return failed ? failed : gpu_hooks.messages > 0;
}
