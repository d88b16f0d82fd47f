/* Random valid programs: chains of random instructions over random buffers, run by "ref" and
 * another backend. Differences grow along a chain, so the bound is loose; what it catches is an
 * instruction that reads or writes where it should not. */
#include "harness.h"

#include <math.h>
#include <string.h>

#define PROGRAMS HARNESS_CASES(device() ? 30 : 60)
#define CHAIN    10

/* The chain's current values: a buffer seen as [b][h][w][c]. */
struct value {
    uint32_t buffer, b, h, w, c;
};

static bool device(void) {
    return kern_backend_is_device(kern_backend_find(harness_backend()));
}

/* Of a product. Each is a pipeline of its own on a device, and a second of compiling where that is
 * a processor: test_vulkan has them all. */
static enum kern_act pick_act(struct harness *h) {
    return (enum kern_act)harness_pick(h, 0, device() ? KERN_ACT_RELU : KERN_ACT_TANH);
}

static uint32_t count_of(const struct value *v) {
    return v->b * v->h * v->w * v->c;
}
static struct value like(struct harness *h, uint32_t b, uint32_t hh, uint32_t w, uint32_t c) {
    return (struct value){harness_f32(h, b * hh * w * c), b, hh, w, c};
}

static struct value add_conv(struct harness *h, struct value x, bool pool) {
    struct kern_conv v = {.batch = x.b, .in_h = x.h, .in_w = x.w, .in_c = x.c, .groups = 1};
    v.kernel_h = harness_pick(h, 1, x.h < 3 ? x.h : 3);
    v.kernel_w = harness_pick(h, 1, x.w < 3 ? x.w : 3);
    v.pad_top = v.kernel_h / 2, v.pad_left = v.kernel_w / 2;
    v.stride_h = v.stride_w = harness_pick(h, 1, 2);
    v.out_h = (x.h + v.stride_h - 1) / v.stride_h;
    v.out_w = (x.w + v.stride_w - 1) / v.stride_w;
    v.out_c = harness_pick(h, 1, 18);
    v.act = pick_act(h);
    v.slope = 0.1f;
    v.pool_h = v.out_h > 1 ? 2 : 1;
    v.pool_w = v.out_w > 1 ? 2 : 1;
    uint32_t w = harness_f32(h, v.kernel_h * v.kernel_w * v.in_c * v.out_c);
    uint32_t bias = harness_f32(h, v.out_c);
    if (!pool) {
        struct value y = like(h, x.b, v.out_h, v.out_w, v.out_c);
        harness_instr(h, KERN_CONV2D, (uint32_t[]){x.buffer, w, y.buffer, bias}, 4)->u.conv = v;
        return y;
    }
    struct value y = like(h, x.b, v.out_h / v.pool_h, v.out_w / v.pool_w, v.out_c);
    uint32_t arg = harness_buffer(h, KERN_U8, KERN_ROLE_TEMP, count_of(&y));
    harness_instr(h, KERN_CONV2D_POOL, (uint32_t[]){x.buffer, w, y.buffer, bias, arg}, 5)->u.conv =
        v;
    return y;
}

/* Dense in halves: values stay within their range, which the chain's may have left. */
static struct value add_half(struct harness *h, struct value x) {
    struct kern_gemm g = {.m = x.b, .k = x.h * x.w * x.c, .n = harness_pick(h, 1, 40)};
    g.act = pick_act(h);
    g.slope = 0.1f;
    struct value y = like(h, x.b, 1, 1, g.n);
    uint32_t w = harness_f32(h, g.k * g.n), bias = harness_f32(h, g.n);
    harness_instr(h, KERN_CLIP_NORM, (uint32_t[]){x.buffer}, 1)->u.clip =
        (struct kern_clip){count_of(&x), sqrtf((float)count_of(&x))};
    harness_instr(h, KERN_GEMM_F16, (uint32_t[]){x.buffer, w, y.buffer, bias}, 4)->u.gemm = g;
    return y;
}

static struct value add_dense(struct harness *h, struct value x) {
    struct kern_gemm g = {.m = x.b, .k = x.h * x.w * x.c, .n = harness_pick(h, 1, 40)};
    g.trans_b = harness_pick(h, 0, 1);
    g.act = pick_act(h);
    g.slope = 0.1f;
    struct value y = like(h, x.b, 1, 1, g.n);
    uint32_t w = harness_f32(h, g.k * g.n), bias = harness_f32(h, g.n);
    harness_instr(h, KERN_GEMM, (uint32_t[]){x.buffer, w, y.buffer, bias}, 4)->u.gemm = g;
    /* The chain goes on with values of about 1. */
    harness_instr(h, KERN_CLIP_NORM, (uint32_t[]){y.buffer}, 1)->u.clip =
        (struct kern_clip){count_of(&y), sqrtf((float)count_of(&y))};
    return y;
}

static struct value add_pool(struct harness *h, struct value x, bool max) {
    struct kern_pool v = {.batch = x.b, .in_h = x.h, .in_w = x.w, .channels = x.c};
    v.kernel_h = v.stride_h = x.h > 1 ? 2 : 1;
    v.kernel_w = v.stride_w = x.w > 1 ? 2 : 1;
    v.out_h = x.h / v.kernel_h, v.out_w = x.w / v.kernel_w;
    struct value y = like(h, x.b, v.out_h, v.out_w, x.c);
    if (max) {
        uint32_t arg = harness_buffer(h, KERN_U8, KERN_ROLE_TEMP, count_of(&y));
        harness_instr(h, KERN_POOL_MAX, (uint32_t[]){x.buffer, y.buffer, arg}, 3)->u.pool = v;
        /* And back, with y as the gradient. */
        struct value dx = like(h, x.b, x.h, x.w, x.c);
        harness_instr(h, KERN_POOL_MAX_DX, (uint32_t[]){y.buffer, arg, dx.buffer}, 3)->u.pool = v;
        return harness_pick(h, 0, 1) ? dx : y;
    }
    harness_instr(h, KERN_POOL_AVG, (uint32_t[]){x.buffer, y.buffer}, 2)->u.pool = v;
    return y;
}

static struct value add_simple(struct harness *h, struct value x) {
    uint32_t n = count_of(&x);
    bool in_place = harness_pick(h, 0, 1);
    struct value y = x;
    if (!in_place)
        y.buffer = harness_f32(h, n);
    switch (harness_pick(h, 0, 3)) {
    case 0:
        harness_instr(h, KERN_ACT, (uint32_t[]){x.buffer, y.buffer}, 2)->u.pointwise =
            (struct kern_pointwise){n, (enum kern_act)harness_pick(h, 1, 4), 0.1f};
        break;
    case 1:
        harness_instr(h, KERN_DROPOUT, (uint32_t[]){x.buffer, y.buffer}, 2)->u.dropout =
            (struct kern_dropout){n, 0.2f, harness_pick(h, 0, 9)};
        break;
    case 2:
        harness_instr(h, KERN_ADD, (uint32_t[]){x.buffer, harness_f32(h, n), y.buffer}, 3)
            ->u.pointwise.count = n;
        break;
    default:
        harness_instr(h, KERN_BIAS_ADD, (uint32_t[]){x.buffer, harness_f32(h, x.c), y.buffer}, 3)
            ->u.rows = (struct kern_rows){.rows = n / x.c, .cols = x.c};
        break;
    }
    return y;
}

static void one_program(uint64_t seed) {
    struct harness h;
    harness_init(&h, seed, 4);
    uint32_t dims[3] = {harness_pick(&h, 1, 9), harness_pick(&h, 1, 9), harness_pick(&h, 1, 9)};
    struct value v = like(&h, harness_pick(&h, 1, 5), dims[0], dims[1], dims[2]);
    for (unsigned i = 0; i < CHAIN; i++) {
        uint32_t kind = harness_pick(&h, 0, 8);
        if (kind <= 1)
            v = add_conv(&h, v, kind == 1);
        else if (kind == 2)
            v = add_dense(&h, v);
        else if (kind <= 4)
            v = add_pool(&h, v, kind == 3);
        else if (kind == 5)
            v = add_half(&h, v);
        else
            v = add_simple(&h, v);
    }
    uint32_t n = count_of(&v);
    harness_run(&h, "ref");
    float *want = mem_dup(harness_result(&h, v.buffer), n * sizeof(float));
    harness_run(&h, harness_backend());
    double most = 1.0, gap = 0.0;
    uint32_t apart = 0;
    for (uint32_t i = 0; i < n; i++)
        most = fmax(most, fabs((double)want[i]));
    for (uint32_t i = 0; i < n; i++) {
        gap = fabs((double)want[i] - (double)harness_result(&h, v.buffer)[i]);
        apart += gap <= 1e-3 * most ? 0 : 1;
    }
    /* A tie that rounding decides can move one gradient of a max pool: nearly all must agree. */
    if (apart > n / 50 + 1)
        fail_msg("seed %llu: %u of %u values differ", (unsigned long long)seed, apart, n);
    mem_free(want);
    harness_deinit(&h);
}

static void test_random_programs(void **state) {
    (void)state;
    for (uint64_t i = 0; i < PROGRAMS; i++)
        one_program(test_seed() + i);
}

/* Random bytes in the attributes and operands: refused or run, never a crash. */
static void test_random_damage(void **state) {
    (void)state;
    unsigned refused = 0, accepted = 0;
    for (uint64_t i = 0; i < HARNESS_CASES(3000); i++) {
        struct harness h;
        harness_init(&h, test_seed() + i, 2);
        struct value v = like(&h, 2, 5, 5, 3);
        v = add_conv(&h, v, i % 2);
        v = add_dense(&h, v);
        /* Damage within the program, not of its pointers. */
        unsigned char *place = i % 3 ? (unsigned char *)&h.instrs[harness_pick(&h, 0, 2)]
                                     : (unsigned char *)&h.buffers[harness_pick(&h, 0, 7)];
        size_t size = i % 3 ? sizeof(struct kern_instr) : sizeof(struct kern_buffer);
        uint32_t word;
        size_t flags =
            offsetof(struct kern_instr, u.gemm.trans_a) / 4 * 4; /* a bool has 2 values */
        size_t at = harness_pick(&h, 0, (uint32_t)(size / 4 - 1)) * 4;
        at = i % 3 && at == flags ? 0 : at;
        memcpy(&word, place + at, 4);
        word ^= 1u << harness_pick(&h, 0, 31);
        memcpy(place + at, &word, 4);
        struct kern_exec *e = NULL;
        enum sotto_status status =
            kern_exec_new(&h.p, kern_backend_find(harness_backend()), &e, NULL);
        if (status == SOTTO_OK) {
            ASSERT_STATUS(kern_exec_run(e, &h.step, NULL), SOTTO_OK);
            kern_exec_free(e);
            accepted++;
        } else {
            refused += status == SOTTO_INVALID;
        }
        harness_deinit(&h);
    }
    assert_true(refused > HARNESS_CASES(600) / 6 && accepted > HARNESS_CASES(600) / 6);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_programs),
        cmocka_unit_test(test_random_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
