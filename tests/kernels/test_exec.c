/* Prepared programs: running without allocation, the same bits every time, parameters, metrics,
 * padding rows, dropout's rule, reports, and the table of backends. */
#include "harness.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One dense layer of 5 -> 3 trained by fused SGD: parameters, momentum-free, labels, metric. */
struct tiny {
    struct harness h;
    uint32_t w, x, labels, d;
};

static void tiny_init(struct tiny *t) {
    struct harness *h = &t->h;
    harness_init(h, test_seed(), 4);
    t->x = harness_buffer(h, KERN_F32, KERN_ROLE_INPUT, 20);
    t->labels = harness_buffer(h, KERN_I32, KERN_ROLE_INPUT, 4);
    t->w = harness_buffer(h, KERN_F32, KERN_ROLE_PARAM, 15);
    uint32_t logits = harness_f32(h, 12);
    t->d = harness_f32(h, 12);
    h->p.param_offset = h->buffers[t->w].offset;
    h->p.param_count = 15;
    for (uint32_t r = 0; r < 4; r++)
        ((int32_t *)h->start[t->labels])[r] = (int32_t)(r % 3);
    harness_instr(h, KERN_GEMM, (uint32_t[]){t->x, t->w, logits}, 3)->u.gemm =
        (struct kern_gemm){.m = 4, .n = 3, .k = 5};
    harness_instr(h, KERN_SOFTMAX_XENT, (uint32_t[]){logits, t->labels, t->d, h->p.metric}, 4)
        ->u.rows = (struct kern_rows){.rows = 4, .cols = 3};
    harness_instr(h, KERN_GEMM, (uint32_t[]){t->x, t->d, t->w}, 3)->u.gemm = (struct kern_gemm){
        .m = 5, .n = 3, .k = 4, .trans_a = true, .scale = KERN_SCALE_NEG_LR, .beta = KERN_BETA_ONE};
}

static struct kern_exec *tiny_exec(struct tiny *t, const char *backend) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct kern_exec *e = NULL;
    ASSERT_OK(kern_exec_new(&t->h.p, kern_backend_find(backend), &e, &err));
    kern_exec_load_params(e, harness_values(&t->h, t->w));
    memcpy(kern_exec_host(e, t->x), t->h.start[t->x], 20 * sizeof(float));
    memcpy(kern_exec_host(e, t->labels), t->h.start[t->labels], 4 * sizeof(int32_t));
    return e;
}

static void test_training_lowers_loss(void **state) {
    (void)state;
    const char *const names[] = {"ref", harness_backend()};
    for (unsigned b = 0; b < 2; b++) {
        struct tiny t;
        tiny_init(&t);
        struct sotto_error err = SOTTO_ERROR_INIT;
        struct kern_exec *e = tiny_exec(&t, names[b]);
        double first[KERN_METRIC_COUNT], last[KERN_METRIC_COUNT];
        struct kern_step step = {.lr = 0.5f, .rows = 4};
        ASSERT_OK(kern_exec_run(e, &step, &err));
        kern_exec_metrics(e, first);
        for (unsigned i = 0; i < 50; i++)
            ASSERT_OK(kern_exec_run(e, &step, &err));
        kern_exec_clear_metrics(e);
        ASSERT_OK(kern_exec_run(e, &step, &err));
        kern_exec_metrics(e, last);
        assert_true(last[KERN_METRIC_LOSS] < first[KERN_METRIC_LOSS]);
        assert_true(last[KERN_METRIC_SEEN] == 4.0);
        assert_true(((float *)kern_exec_host(e, t.h.p.metric))[KERN_METRIC_SEEN] == 4.0f);
        kern_exec_free(e);
        harness_deinit(&t.h);
    }
}

/* Rows past step.rows hold rubbish: they change neither weights nor metrics. */
static void test_padding_rows_do_not_count(void **state) {
    (void)state;
    float a[15], b[15];
    for (unsigned pass = 0; pass < 2; pass++) {
        struct tiny t;
        tiny_init(&t);
        struct sotto_error err = SOTTO_ERROR_INIT;
        struct kern_exec *e = tiny_exec(&t, harness_backend());
        float *x = kern_exec_host(e, t.x);
        for (unsigned i = 10; i < 20; i++)
            x[i] = pass ? 1e3f : 0.0f;
        double m[KERN_METRIC_COUNT];
        ASSERT_OK(kern_exec_run(e, &(struct kern_step){.lr = 0.5f, .rows = 2}, &err));
        kern_exec_metrics(e, m);
        assert_true(m[KERN_METRIC_SEEN] == 2.0);
        kern_exec_store_params(e, pass ? b : a);
        kern_exec_free(e);
        harness_deinit(&t.h);
    }
    assert_memory_equal(a, b, sizeof(a));
}

static void test_steps_out_of_range(void **state) {
    (void)state;
    struct tiny t;
    tiny_init(&t);
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct kern_exec *e = tiny_exec(&t, harness_backend());
    ASSERT_FAILS(kern_exec_run(e, &(struct kern_step){.rows = 0}, &err), SOTTO_INVALID, "0 rows");
    ASSERT_FAILS(kern_exec_run(e, &(struct kern_step){.rows = 5}, &err), SOTTO_INVALID, "5 rows");
    ASSERT_FAILS(kern_exec_run(e, &(struct kern_step){.rows = 1, .lr = NAN}, &err), SOTTO_INVALID,
                 "learning rate");
    ASSERT_FAILS(kern_exec_run(e, &(struct kern_step){.rows = 1, .lr = -1.0f}, &err), SOTTO_INVALID,
                 "learning rate");
    assert_null(kern_exec_host(e, 9999));
    kern_exec_free(e);
    kern_exec_free(NULL);
    harness_deinit(&t.h);
}

/* Everything that a convolution net runs, at odd sizes: no allocation in a run, and the same bits
 * in every exec. */
static void build_conv_net(struct harness *h) {
    harness_init(h, test_seed(), 3);
    struct kern_conv v = {.batch = 3, .in_h = 9, .in_w = 9, .in_c = 5, .out_h = 9, .out_w = 9};
    v.out_c = 24, v.kernel_h = v.kernel_w = 3, v.stride_h = v.stride_w = 1;
    v.pad_top = v.pad_left = 1, v.groups = 1, v.pool_h = v.pool_w = 2, v.act = KERN_ACT_RELU;
    struct kern_pool p = {3, 9, 9, 24, 4, 4, 2, 2, 2, 2, 0, 0};
    uint32_t x = harness_f32(h, 3 * 81 * 5), w = harness_f32(h, 9 * 5 * 24);
    uint32_t y = harness_f32(h, 3 * 16 * 24), bias = harness_f32(h, 24);
    uint32_t arg = harness_buffer(h, KERN_U8, KERN_ROLE_TEMP, 3 * 16 * 24);
    uint32_t dy = harness_f32(h, 3 * 81 * 24), dx = harness_f32(h, 3 * 81 * 5);
    uint32_t dense = harness_f32(h, 384 * 10), logits = harness_f32(h, 30);
    uint32_t dpool = harness_f32(h, 3 * 384);
    harness_instr(h, KERN_CONV2D_POOL, (uint32_t[]){x, w, y, bias, arg}, 5)->u.conv = v;
    harness_instr(h, KERN_GEMM, (uint32_t[]){y, dense, logits}, 3)->u.gemm =
        (struct kern_gemm){.m = 3, .n = 10, .k = 384};
    harness_instr(h, KERN_GEMM, (uint32_t[]){logits, dense, dpool}, 3)->u.gemm =
        (struct kern_gemm){.m = 3, .n = 384, .k = 10, .trans_b = true};
    harness_instr(h, KERN_GEMM, (uint32_t[]){y, logits, dense}, 3)->u.gemm =
        (struct kern_gemm){.m = 384,
                           .n = 10,
                           .k = 3,
                           .trans_a = true,
                           .scale = KERN_SCALE_NEG_LR,
                           .beta = KERN_BETA_ONE};
    harness_instr(h, KERN_POOL_MAX_DX, (uint32_t[]){dpool, arg, dy}, 3)->u.pool = p;
    harness_instr(h, KERN_CONV2D_DX, (uint32_t[]){dy, w, dx}, 3)->u.conv = v;
    v.scale = KERN_SCALE_NEG_LR, v.beta = KERN_BETA_ONE;
    harness_instr(h, KERN_CONV2D_DW, (uint32_t[]){x, dy, w}, 3)->u.conv = v;
    harness_instr(h, KERN_DROPOUT, (uint32_t[]){dx, dx}, 2)->u.dropout =
        (struct kern_dropout){3 * 81 * 5, 0.5f, 1};
}

static void test_no_allocation_and_same_bits(void **state) {
    (void)state;
    struct harness h;
    struct sotto_error err = SOTTO_ERROR_INIT;
    build_conv_net(&h);
    struct kern_exec *e[2] = {NULL, NULL};
    for (unsigned i = 0; i < 2; i++) {
        ASSERT_OK(kern_exec_new(&h.p, kern_backend_find(harness_backend()), &e[i], &err));
        for (uint32_t b = 0; b < h.p.buffer_count; b++)
            if (h.buffers[b].dtype == KERN_F32 && b != h.p.metric)
                memcpy(kern_exec_host(e[i], b), h.start[b], h.buffers[b].count * sizeof(float));
        uint64_t calls = mem_call_count();
        for (unsigned s = 0; s < 5; s++) {
            struct kern_step step = {.lr = 0.01f, .rows = 3, .seed = 7, .index = s};
            ASSERT_OK(kern_exec_run(e[i], &step, &err));
        }
        assert_true(mem_call_count() == calls);
    }
    for (uint32_t b = 0; b < h.p.buffer_count; b++)
        if (h.buffers[b].dtype == KERN_F32)
            assert_memory_equal(kern_exec_host(e[0], b), kern_exec_host(e[1], b),
                                h.buffers[b].count * sizeof(float));
    assert_true(kern_exec_bytes(e[0]) >= h.p.arena_bytes);
    kern_exec_free(e[0]);
    kern_exec_free(e[1]);
    harness_deinit(&h);
}

/* A convolution and a dense layer of the size of the MNIST network's, forward and back: what is
 * taken from the system is what kern_exec_bytes promises, within 1%. */
static void test_memory_is_the_plan(void **state) {
    (void)state;
    struct harness h;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct kern_exec *e = NULL;
    uint64_t planned = 0;
    harness_init(&h, test_seed(), 2);
    struct kern_conv v = {.batch = 2, .in_h = 14, .in_w = 14, .in_c = 32, .out_h = 14, .out_w = 14};
    v.out_c = 64, v.kernel_h = v.kernel_w = 5, v.stride_h = v.stride_w = 1;
    v.pad_top = v.pad_left = 2, v.groups = 1, v.pool_h = v.pool_w = 2;
    uint32_t x = harness_f32(&h, 2 * 6272), w = harness_f32(&h, 51200), y = harness_f32(&h, 6272);
    uint32_t arg = harness_buffer(&h, KERN_U8, KERN_ROLE_TEMP, 6272);
    uint32_t dy = harness_f32(&h, 2 * 12544), dx = harness_f32(&h, 2 * 6272);
    uint32_t dense = harness_f32(&h, 3136 * 512), z = harness_f32(&h, 1024);
    harness_instr(&h, KERN_CONV2D_POOL, (uint32_t[]){x, w, y, KERN_NONE, arg}, 5)->u.conv = v;
    harness_instr(&h, KERN_CONV2D_DX, (uint32_t[]){dy, w, dx}, 3)->u.conv = v;
    harness_instr(&h, KERN_CONV2D_DW, (uint32_t[]){x, dy, w}, 3)->u.conv = v;
    harness_instr(&h, KERN_GEMM, (uint32_t[]){y, dense, z}, 3)->u.gemm =
        (struct kern_gemm){.m = 2, .n = 512, .k = 3136};
    ASSERT_OK(kern_exec_plan(&h.p, kern_backend_find(harness_backend()), 1, &planned, &err));
    test_count_bytes();
    const enum sotto_status made =
        kern_exec_new(&h.p, kern_backend_find(harness_backend()), &e, &err);
    const enum sotto_status ran = made == SOTTO_OK ? kern_exec_run(e, &h.step, &err) : made;
    const size_t most = test_count_bytes_off();
    assert_int_equal(ran, SOTTO_OK);
    const double promised = (double)kern_exec_bytes(e), taken = (double)most;
    print_message("promised %.0f bytes, taken %.0f\n", promised, taken);
    assert_true(fabs(taken - promised) <= 0.01 * promised);
    assert_int_equal(planned, kern_exec_bytes(e));
    kern_exec_free(e);
    harness_deinit(&h);
}

static enum sotto_status make_exec(void *ctx, struct sotto_error *err) {
    struct kern_exec *e = NULL;
    enum sotto_status status = kern_exec_new(ctx, kern_backend_find(harness_backend()), &e, err);
    kern_exec_free(e);
    return status;
}

static void test_out_of_memory(void **state) {
    (void)state;
    struct harness h;
    build_conv_net(&h);
    test_oom_loop(make_exec, &h.p);
    harness_deinit(&h);
}

/* The rule of kernels.h, word for word, from the generator itself. */
static void test_dropout_rule(void **state) {
    (void)state;
    struct harness h;
    harness_init(&h, test_seed(), 1);
    uint32_t n = 203, x = harness_f32(&h, n), y = harness_f32(&h, n);
    harness_instr(&h, KERN_DROPOUT, (uint32_t[]){x, y}, 2)->u.dropout =
        (struct kern_dropout){n, 0.3f, 9};
    h.step.seed = 0x123456789abcdef0u;
    h.step.index = 77;
    const char *const names[] = {"ref", harness_backend()};
    for (unsigned b = 0; b < 2; b++) {
        harness_run(&h, names[b]);
        uint32_t kept = 0;
        for (uint32_t i = 0; i < n; i++) {
            const uint32_t ctr[4] = {i / 4, 9, 77, 0}, key[2] = {0x9abcdef0u, 0x12345678u};
            uint32_t word[4];
            rng_philox4x32(ctr, key, word);
            bool keep = (double)word[i % 4] >= (double)0.3f * 4294967296.0 - 1.0;
            float want = keep ? harness_values(&h, x)[i] * (1.0f / (1.0f - 0.3f)) : 0.0f;
            assert_true(harness_result(&h, y)[i] == want);
            kept += keep;
        }
        assert_in_range(kept, n / 2, n * 9 / 10);
    }
    harness_deinit(&h);
}

static void test_state_and_anchor(void **state) {
    (void)state;
    struct harness h;
    struct sotto_error err = SOTTO_ERROR_INIT;
    harness_init(&h, test_seed(), 1);
    uint32_t w = harness_buffer(&h, KERN_F32, KERN_ROLE_PARAM, 16);
    uint32_t v = harness_buffer(&h, KERN_F32, KERN_ROLE_STATE, 16);
    uint32_t anchor = harness_buffer(&h, KERN_F32, KERN_ROLE_ANCHOR, 16);
    uint32_t g = harness_f32(&h, 16);
    h.p.param_offset = h.buffers[w].offset, h.p.param_count = 16;
    h.p.state_first = (uint32_t)h.buffers[v].offset, h.p.state_count = 16;
    h.p.anchor_first = (uint32_t)h.buffers[anchor].offset, h.p.anchor_count = 16;
    harness_instr(&h, KERN_SGD, (uint32_t[]){w, g, v, anchor}, 4)->u.sgd =
        (struct kern_sgd){.count = 16, .momentum = 0.5f, .prox_mu = 1.0f};
    struct kern_exec *e = NULL;
    ASSERT_OK(kern_exec_new(&h.p, kern_backend_find(harness_backend()), &e, &err));
    float start[16], end[16], ones[16];
    for (unsigned i = 0; i < 16; i++)
        start[i] = 0.0f, ones[i] = 1.0f;
    kern_exec_load_params(e, start);
    kern_exec_load_anchor(e, ones);
    memset(kern_exec_host(e, g), 0, 16 * sizeof(float));
    struct kern_step step = {.lr = 0.5f, .rows = 1};
    ASSERT_OK(kern_exec_run(e, &step, &err)); /* d = 0 - 1: v = -1, w = 0.5 */
    ASSERT_OK(kern_exec_run(e, &step, &err)); /* d = -0.5: v = -1, w = 1 */
    kern_exec_store_params(e, end);
    assert_true(end[3] == 1.0f);
    assert_true(((float *)kern_exec_host(e, v))[3] == -1.0f);
    kern_exec_load_params(e, start); /* forgets the momentum */
    assert_true(((float *)kern_exec_host(e, v))[3] == 0.0f);
    kern_exec_free(e);
    harness_deinit(&h);
}

static void test_report_and_profile(void **state) {
    (void)state;
    struct tiny t;
    tiny_init(&t);
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct kern_exec *e = tiny_exec(&t, harness_backend());
    kern_exec_profile(e, true);
    ASSERT_OK(kern_exec_run(e, &(struct kern_step){.lr = 0.1f, .rows = 4}, &err));
    assert_true(kern_exec_profile_seconds(e)[0] > 0.0);
    struct buf text;
    buf_init(&text, 1 << 16);
    kern_exec_report(e, &text);
    buf_put_u8(&text, 0);
    assert_non_null(strstr((char *)text.data, "softmax_xent"));
    assert_non_null(
        strstr((char *)text.data, kern_backend_name(kern_backend_find(harness_backend()))));
    buf_deinit(&text);
    kern_exec_free(e);
    assert_true(kern_program_flops(&t.h.p) == 2.0 * 4 * 3 * 5 * 2);
    harness_deinit(&t.h);
}

static void test_backends(void **state) {
    (void)state;
    const struct kern_backend *list[8];
    size_t n = kern_backend_list(list, 8);
    assert_in_range(n, 2, 8);
    assert_true(kern_backend_list(NULL, 0) == n);
    for (size_t i = 0; i < n; i++) {
        assert_ptr_equal(kern_backend_find(kern_backend_name(list[i])), list[i]);
        assert_true(strlen(kern_backend_kernel_set(list[i])) > 0);
    }
    assert_null(kern_backend_find("nothing"));
    for (unsigned op = 0; op < KERN_OP_COUNT; op++) {
        assert_true(kern_backend_has(kern_backend_find("ref"), (enum kern_op)op));
        assert_true(strlen(kern_op_name((enum kern_op)op)) > 0);
    }
    assert_false(kern_backend_has(list[0], KERN_OP_COUNT));
    assert_string_equal(kern_op_name(KERN_CONV2D_DX), "conv2d_dx");
    assert_true(kern_peak_flops() > 1e8);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_training_lowers_loss),
        cmocka_unit_test(test_padding_rows_do_not_count),
        cmocka_unit_test(test_steps_out_of_range),
        cmocka_unit_test(test_no_allocation_and_same_bits),
        cmocka_unit_test(test_memory_is_the_plan),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_dropout_rule),
        cmocka_unit_test(test_state_and_anchor),
        cmocka_unit_test(test_report_and_profile),
        cmocka_unit_test(test_backends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
