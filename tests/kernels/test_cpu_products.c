/* gemm and the convolutions of a backend against "ref": random shapes, odd sizes, transposes,
 * padding, strides, groups, epilogues. The bound is the textbook one: |error| <= 2 K eps sum
 * |a||b|; the sums of absolute values come from running the same instruction on absolute values. */
#include "harness.h"

#include <math.h>
#include <string.h>

#define CASES HARNESS_CASES(250)

static const float EPS = 1.1920929e-7f;

/* Runs h on both backends and compares buffer out; k is the length of the sums. slack: absolute,
 * for activations. */
static void compare(struct harness *h, uint32_t out, const uint32_t *inputs, unsigned input_count,
                    double k, double slack) {
    uint32_t n = h->buffers[out].count;
    harness_run(h, "ref");
    float *want = mem_dup(harness_result(h, out), n * sizeof(float));
    harness_run(h, harness_backend());
    float *got = mem_dup(harness_result(h, out), n * sizeof(float));
    /* The same sums of absolute values, without scale and activation. */
    struct kern_instr *in = &h->instrs[0], kept = *in;
    for (unsigned i = 0; i < input_count; i++)
        if (inputs[i] != KERN_NONE)
            harness_abs(h, inputs[i]);
    harness_abs(h, out);
    if (in->op == KERN_GEMM || in->op == KERN_GEMM_BF16 || in->op == KERN_GEMM_F16) {
        in->u.gemm.scale = KERN_SCALE_ONE;
        in->u.gemm.act = KERN_ACT_NONE;
    } else {
        in->u.conv.scale = KERN_SCALE_ONE;
        in->u.conv.act = KERN_ACT_NONE;
    }
    harness_run(h, "ref");
    const float *most = harness_result(h, out);
    for (uint32_t i = 0; i < n; i++) {
        double error = fabs((double)got[i] - (double)want[i]);
        double bound = 2.0 * (k + 3.0) * (double)EPS * (double)most[i] + slack;
        if (!(error <= bound))
            fail_msg("element %u of %u: %g, ref %g, bound %g", i, n, (double)got[i],
                     (double)want[i], bound);
    }
    *in = kept;
    mem_free(want);
    mem_free(got);
}

static enum kern_act pick_act(struct harness *h) {
    return (enum kern_act)harness_pick(h, KERN_ACT_NONE, KERN_ACT_TANH);
}

static void gemm_case(uint64_t seed, uint32_t mn_max, uint32_t k_max) {
    struct harness h;
    harness_init(&h, seed, 4);
    struct kern_gemm g = {.m = harness_pick(&h, 1, mn_max),
                          .n = harness_pick(&h, 1, mn_max),
                          .k = harness_pick(&h, 1, k_max)};
    if (harness_pick(&h, 0, 7) == 0)
        g.n = 10; /* as many as classes */
    g.trans_a = harness_pick(&h, 0, 1);
    g.trans_b = harness_pick(&h, 0, 1);
    g.scale = (enum kern_scale)harness_pick(&h, 0, 1);
    g.beta = (enum kern_beta)harness_pick(&h, 0, 2);
    g.weight_decay = 0.25f;
    g.act = pick_act(&h);
    g.slope = 0.1f;
    uint32_t a = harness_f32(&h, g.m * g.k), b = harness_f32(&h, g.k * g.n);
    uint32_t c = harness_f32(&h, g.m * g.n);
    uint32_t bias = harness_pick(&h, 0, 1) ? harness_f32(&h, g.n) : KERN_NONE;
    harness_instr(&h, KERN_GEMM, (uint32_t[]){a, b, c, bias}, 4)->u.gemm = g;
    if (g.beta == KERN_BETA_ZERO) /* the destination may hold anything then */
        harness_values(&h, c)[0] = NAN;
    compare(&h, c, (uint32_t[]){a, b, bias}, 3, g.k, g.act > KERN_ACT_LEAKY_RELU ? 1e-6 : 1e-37);
    harness_deinit(&h);
}

static void test_gemm(void **state) {
    (void)state;
    for (uint64_t i = 0; i < CASES; i++)
        gemm_case(test_seed() + i, i % 3 ? 40 : 130, i % 5 ? 80 : 700);
}

/* The same bits whatever the backend; a few long sums of the largest values. */
static void test_gemm_i8(void **state) {
    (void)state;
    for (uint64_t i = 0; i < CASES; i++) {
        struct harness h;
        harness_init(&h, test_seed() + i, 1);
        struct kern_gemm g = {.m = harness_pick(&h, 1, i % 3 ? 20 : 70)};
        g.n = harness_pick(&h, 1, i % 3 ? 40 : 100);
        g.k = harness_pick(&h, 1, i % 5 ? 70 : 600);
        uint32_t a = harness_buffer(&h, KERN_I8, KERN_ROLE_TEMP, g.m * g.k);
        uint32_t b = harness_buffer(&h, KERN_I8, KERN_ROLE_TEMP, g.k * g.n);
        uint32_t c = harness_buffer(&h, KERN_I32, KERN_ROLE_TEMP, g.m * g.n);
        harness_bytes(&h, a, i % 10 == 0);
        harness_bytes(&h, b, i % 10 == 0);
        harness_instr(&h, KERN_GEMM_I8, (uint32_t[]){a, b, c}, 3)->u.gemm = g;
        harness_run(&h, "ref");
        int32_t *want = mem_dup(h.result[c], g.m * g.n * sizeof(int32_t));
        harness_run(&h, harness_backend());
        assert_memory_equal(want, h.result[c], g.m * g.n * sizeof(int32_t));
        mem_free(want);
        harness_deinit(&h);
    }
}

static void short_floats(enum kern_op op) {
    for (uint64_t i = 0; i < CASES; i++) {
        struct harness h;
        harness_init(&h, test_seed() + i, 1);
        struct kern_gemm g = {.m = harness_pick(&h, 1, i % 3 ? 30 : 100)};
        g.n = harness_pick(&h, 1, 60);
        g.k = harness_pick(&h, 1, i % 5 ? 80 : 600);
        g.act = pick_act(&h);
        g.slope = 0.1f;
        uint32_t a = harness_f32(&h, g.m * g.k), b = harness_f32(&h, g.k * g.n);
        uint32_t c = harness_f32(&h, g.m * g.n);
        uint32_t bias = harness_pick(&h, 0, 1) ? harness_f32(&h, g.n) : KERN_NONE;
        harness_instr(&h, op, (uint32_t[]){a, b, c, bias}, 4)->u.gemm = g;
        compare(&h, c, (uint32_t[]){a, b, bias}, 3, g.k,
                g.act > KERN_ACT_LEAKY_RELU ? 1e-6 : 1e-37);
        harness_deinit(&h);
    }
}

static void test_gemm_bf16(void **state) {
    (void)state;
    short_floats(KERN_GEMM_BF16);
}

static void test_gemm_f16(void **state) {
    (void)state;
    short_floats(KERN_GEMM_F16);
}

/* The nearest binary16 by arithmetic instead of bits. */
static float nearest_half(float x) {
    if (x == 0.0f || !isfinite(x))
        return x;
    const int exponent = ilogbf(x) < -14 ? -14 : ilogbf(x);
    const double place = ldexp(1.0, exponent - 10);
    const double r = nearbyint((double)x / place) * place;
    return fabs(r) > 65504.0 ? copysignf(INFINITY, x) : (float)r;
}

/* One value at a time through a product by 1: every backend rounds as the definition says. */
static void test_half_rounding(void **state) {
    (void)state;
    static const float ends[][2] = {
        {65504.0f, 65504.0f},        {65519.996f, 65504.0f},   {65520.0f, INFINITY},
        {-65520.0f, -INFINITY},      {1e30f, INFINITY},        {INFINITY, INFINITY},
        {0x1p-24f, 0x1p-24f},        {0x1p-25f, 0.0f},         {0x1.000002p-25f, 0x1p-24f},
        {0x1.8p-24f, 0x1p-23f},      {-0x1.4p-23f, -0x1p-23f}, {0x1.ffap-15f, 0x1.ff8p-15f},
        {0x1.ffcp-15f, 0x1p-14f},    {0x1.002p0f, 1.0f},       {0x1.006p0f, 0x1.008p0f},
        {0x1.002002p0f, 0x1.004p0f}, {1e-40f, 0.0f},           {-1e-40f, -0.0f},
    };
    enum { COUNT = 4000 };
    struct harness h;
    harness_init(&h, test_seed(), 1);
    const uint32_t x = harness_f32(&h, COUNT), one = harness_f32(&h, 1), y = harness_f32(&h, COUNT);
    float *v = harness_values(&h, x);
    for (uint32_t i = 0; i < COUNT; i++)
        v[i] = ldexpf(v[i], (int)harness_pick(&h, 0, 50) - 30);
    for (uint32_t i = 0; i < COUNT; i += 3) /* and ties */
        v[i] = (float)ldexp(nearbyint(ldexp((double)v[i], 25)), -25);
    for (size_t i = 0; i < ARRAY_LEN(ends); i++)
        v[i] = ends[i][0];
    v[COUNT - 1] = NAN;
    harness_values(&h, one)[0] = 1.0f;
    harness_instr(&h, KERN_GEMM_F16, (uint32_t[]){x, one, y}, 3)->u.gemm =
        (struct kern_gemm){.m = COUNT, .n = 1, .k = 1};
    const char *const backends[] = {"ref", harness_backend()};
    for (size_t b = 0; b < ARRAY_LEN(backends); b++) {
        harness_run(&h, backends[b]);
        const float *got = harness_result(&h, y);
        for (uint32_t i = 0; i + 1 < COUNT; i++) {
            const float want = i < ARRAY_LEN(ends) ? ends[i][1] : nearest_half(v[i]);
            if (got[i] != want)
                fail_msg("%s: %a becomes %a, not %a", backends[b], (double)v[i], (double)got[i],
                         (double)want);
        }
        assert_true(isnan(got[COUNT - 1]));
    }
    harness_deinit(&h);
}

#ifdef __aarch64__
/* On 64-bit Arm the bits are known, whatever the processor has: one rounding an addition, in the
 * order of k, blocks of 256 of k added up. So its ways to multiply halves agree. */
static void test_half_bits(void **state) {
    (void)state;
    for (uint64_t i = 0; i < CASES; i++) {
        struct harness h;
        harness_init(&h, test_seed() + i, 1);
        struct kern_gemm g = {.m = harness_pick(&h, 1, 30), .n = harness_pick(&h, 1, 30)};
        g.k = harness_pick(&h, 1, i % 3 ? 60 : 600);
        const uint32_t a = harness_f32(&h, g.m * g.k), b = harness_f32(&h, g.k * g.n);
        const uint32_t c = harness_f32(&h, g.m * g.n);
        harness_instr(&h, KERN_GEMM_F16, (uint32_t[]){a, b, c}, 3)->u.gemm = g;
        harness_run(&h, harness_backend());
        for (uint32_t e = 0; e < g.m * g.n; e++) {
            float want = 0.0f, sum = 0.0f;
            for (uint32_t k = 0; k < g.k; k++) {
                sum = fmaf(nearest_half(harness_values(&h, a)[e / g.n * g.k + k]),
                           nearest_half(harness_values(&h, b)[k * g.n + e % g.n]), sum);
                if (k % 256 == 255 || k + 1 == g.k) {
                    want = k < 256 ? sum : sum + want;
                    sum = 0.0f;
                }
            }
            assert_true(harness_result(&h, c)[e] == want);
        }
        harness_deinit(&h);
    }
}
#endif

static void test_gemm_w8(void **state) {
    (void)state;
    for (uint64_t i = 0; i < CASES; i++) {
        struct harness h;
        harness_init(&h, test_seed() + i, 1);
        struct kern_gemm g = {.m = harness_pick(&h, 1, 30), .n = harness_pick(&h, 1, 60)};
        g.k = harness_pick(&h, 1, i % 5 ? 80 : 600);
        g.act = (enum kern_act)harness_pick(&h, KERN_ACT_NONE, KERN_ACT_TANH);
        g.slope = 0.1f;
        uint32_t a = harness_f32(&h, g.m * g.k), scale = harness_f32(&h, g.n);
        uint32_t w = harness_buffer(&h, KERN_I8, KERN_ROLE_TEMP, g.k * g.n);
        uint32_t c = harness_f32(&h, g.m * g.n), back = harness_f32(&h, g.k * g.n);
        uint32_t plain = harness_f32(&h, g.m * g.n);
        uint32_t bias = harness_pick(&h, 0, 1) ? harness_f32(&h, g.n) : KERN_NONE;
        harness_bytes(&h, w, false);
        harness_abs(&h, scale);
        harness_instr(&h, KERN_GEMM_W8, (uint32_t[]){a, w, scale, c, bias}, 5)->u.gemm = g;
        harness_instr(&h, KERN_DEQUANT_I8, (uint32_t[]){w, scale, back}, 3)->u.quant =
            (struct kern_quant){g.k, g.n};
        harness_instr(&h, KERN_GEMM, (uint32_t[]){a, back, plain, bias}, 4)->u.gemm = g;
        harness_run(&h, "ref");
        float *want = mem_dup(harness_result(&h, plain), g.m * g.n * sizeof(float));
        harness_run(&h, harness_backend());
        for (uint32_t e = 0; e < g.m * g.n; e++) {
            double most = bias == KERN_NONE ? 0 : fabs((double)harness_values(&h, bias)[e % g.n]);
            for (uint32_t k = 0; k < g.k; k++)
                most += fabs((double)harness_values(&h, a)[e / g.n * g.k + k] *
                             (double)harness_result(&h, back)[k * g.n + e % g.n]);
            double gap = fabs((double)harness_result(&h, c)[e] - (double)want[e]);
            assert_true(gap <= 2.0 * (g.k + 4.0) * (double)EPS * most + 1e-6);
        }
        mem_free(want);
        harness_deinit(&h);
    }
}

static struct kern_conv random_conv(struct harness *h, uint32_t channels_max) {
    struct kern_conv v = {.batch = harness_pick(h, 1, 7)};
    v.kernel_h = harness_pick(h, 1, 5);
    v.kernel_w = harness_pick(h, 1, 5);
    v.stride_h = harness_pick(h, 1, 3);
    v.stride_w = harness_pick(h, 1, 3);
    v.pad_top = harness_pick(h, 0, v.kernel_h - 1);
    v.pad_left = harness_pick(h, 0, v.kernel_w - 1);
    v.out_h = harness_pick(h, 1, 9);
    /* A first layer's shape now and then: few channels, windows of 2 x 2. */
    bool first = harness_pick(h, 0, 2) == 0;
    v.out_w = first ? harness_pick(h, 6, 13) : harness_pick(h, 1, 9);
    /* Any input from one that the last window just touches to one with rows that no window sees. */
    uint32_t reach_h = (v.out_h - 1) * v.stride_h, reach_w = (v.out_w - 1) * v.stride_w;
    v.in_h = (reach_h >= v.pad_top ? reach_h - v.pad_top : 0) + harness_pick(h, 1, v.kernel_h + 2);
    v.in_w =
        (reach_w >= v.pad_left ? reach_w - v.pad_left : 0) + harness_pick(h, 1, v.kernel_w + 2);
    const bool depthwise = !first && harness_pick(h, 0, 7) == 0;
    v.groups = depthwise                        ? harness_pick(h, 2, channels_max)
               : first || harness_pick(h, 0, 3) ? 1
                                                : harness_pick(h, 2, 3);
    v.in_c = v.groups * harness_pick(h, 1, depthwise ? 1 : first ? 3 : channels_max);
    v.out_c = v.groups * harness_pick(h, 1, depthwise ? 2 : first ? 8 : channels_max);
    v.scale = (enum kern_scale)harness_pick(h, 0, 1);
    v.beta = (enum kern_beta)harness_pick(h, 0, 2);
    v.weight_decay = 0.5f;
    v.act = pick_act(h);
    v.slope = 0.2f;
    v.pool_h = harness_pick(h, 1, v.out_h < 3 ? v.out_h : 3);
    v.pool_w = harness_pick(h, 1, v.out_w < 3 ? v.out_w : 3);
    if (first && v.out_h >= 2)
        v.pool_h = v.pool_w = 2;
    return v;
}

struct conv_sizes {
    uint32_t x, y, w;
};
static struct conv_sizes sizes_of(const struct kern_conv *v) {
    return (struct conv_sizes){v->batch * v->in_h * v->in_w * v->in_c,
                               v->batch * v->out_h * v->out_w * v->out_c,
                               v->kernel_h * v->kernel_w * (v->in_c / v->groups) * v->out_c};
}

static void test_conv2d(void **state) {
    (void)state;
    for (uint64_t i = 0; i < CASES; i++) {
        struct harness h;
        harness_init(&h, test_seed() + i, 4);
        struct kern_conv v = random_conv(&h, 20);
        struct conv_sizes n = sizes_of(&v);
        uint32_t x = harness_f32(&h, n.x), w = harness_f32(&h, n.w), y = harness_f32(&h, n.y);
        uint32_t bias = harness_pick(&h, 0, 1) ? harness_f32(&h, v.out_c) : KERN_NONE;
        harness_instr(&h, KERN_CONV2D, (uint32_t[]){x, w, y, bias}, 4)->u.conv = v;
        compare(&h, y, (uint32_t[]){x, w, bias}, 3, v.kernel_h * v.kernel_w * (v.in_c / v.groups),
                v.act > KERN_ACT_LEAKY_RELU ? 1e-6 : 1e-37);
        harness_deinit(&h);
    }
}

/* The pooled value, and that arg points at a place that holds it (ties within rounding may differ
 * from ref's). */
static void test_conv2d_pool(void **state) {
    (void)state;
    for (uint64_t i = 0; i < CASES; i++) {
        struct harness h;
        harness_init(&h, test_seed() + i, 4);
        struct kern_conv v = random_conv(&h, 20);
        struct conv_sizes n = sizes_of(&v);
        uint32_t ph = v.out_h / v.pool_h, pw = v.out_w / v.pool_w;
        uint32_t x = harness_f32(&h, n.x), w = harness_f32(&h, n.w);
        uint32_t y = harness_f32(&h, v.batch * ph * pw * v.out_c), bias = harness_f32(&h, v.out_c);
        uint32_t arg = harness_buffer(&h, KERN_U8, KERN_ROLE_TEMP, v.batch * ph * pw * v.out_c);
        uint32_t full = harness_f32(&h, n.y);
        harness_instr(&h, KERN_CONV2D_POOL, (uint32_t[]){x, w, y, bias, arg}, 5)->u.conv = v;
        harness_instr(&h, KERN_CONV2D, (uint32_t[]){x, w, full, bias}, 4)->u.conv = v;
        harness_run(&h, "ref");
        float *want = mem_dup(harness_result(&h, y), h.buffers[y].count * sizeof(float));
        harness_run(&h, harness_backend());
        const float *got = harness_result(&h, y), *at = harness_result(&h, full);
        const uint8_t *place = h.result[arg];
        double bound = 4.0 * (double)EPS * (n.w / v.out_c + 3) * (n.w / v.out_c + 1) + 1e-6;
        for (uint32_t e = 0; e < h.buffers[y].count; e++) {
            uint32_t ch = e % v.out_c, px = e / v.out_c % pw, py = e / v.out_c / pw % ph;
            uint32_t b = e / v.out_c / pw / ph;
            assert_true(place[e] < v.pool_h * v.pool_w);
            uint32_t oy = py * v.pool_h + place[e] / v.pool_w;
            uint32_t ox = px * v.pool_w + place[e] % v.pool_w;
            assert_true(fabs((double)got[e] - (double)want[e]) <= bound);
            assert_true(got[e] == at[((b * v.out_h + oy) * v.out_w + ox) * v.out_c + ch]);
        }
        mem_free(want);
        harness_deinit(&h);
    }
}

static void test_conv2d_dx(void **state) {
    (void)state;
    for (uint64_t i = 0; i < CASES; i++) {
        struct harness h;
        harness_init(&h, test_seed() + i, 4);
        struct kern_conv v = random_conv(&h, 30);
        struct conv_sizes n = sizes_of(&v);
        uint32_t dy = harness_f32(&h, n.y), w = harness_f32(&h, n.w), dx = harness_f32(&h, n.x);
        harness_thin(&h, dy, (double)(i % 4) * 0.33);
        harness_instr(&h, KERN_CONV2D_DX, (uint32_t[]){dy, w, dx}, 3)->u.conv = v;
        compare(&h, dx, (uint32_t[]){dy, w}, 2, v.kernel_h * v.kernel_w * (v.out_c / v.groups),
                1e-37);
        harness_deinit(&h);
    }
}

static void test_conv2d_dw(void **state) {
    (void)state;
    for (uint64_t i = 0; i < CASES; i++) {
        struct harness h;
        harness_init(&h, test_seed() + i, 4);
        struct kern_conv v = random_conv(&h, 30);
        struct conv_sizes n = sizes_of(&v);
        uint32_t x = harness_f32(&h, n.x), dy = harness_f32(&h, n.y), dw = harness_f32(&h, n.w);
        harness_thin(&h, dy, (double)(i % 4) * 0.33);
        harness_instr(&h, KERN_CONV2D_DW, (uint32_t[]){x, dy, dw}, 3)->u.conv = v;
        if (v.beta == KERN_BETA_ZERO)
            harness_values(&h, dw)[0] = NAN;
        compare(&h, dw, (uint32_t[]){x, dy}, 2, v.batch * v.out_h * v.out_w, 1e-37);
        harness_deinit(&h);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gemm),        cmocka_unit_test(test_conv2d),
        cmocka_unit_test(test_conv2d_pool), cmocka_unit_test(test_conv2d_dx),
        cmocka_unit_test(test_conv2d_dw),   cmocka_unit_test(test_gemm_i8),
        cmocka_unit_test(test_gemm_w8),     cmocka_unit_test(test_gemm_bf16),
        cmocka_unit_test(test_gemm_f16),    cmocka_unit_test(test_half_rounding),
#ifdef __aarch64__
        cmocka_unit_test(test_half_bits),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
