/* kern_program_check refuses what a backend could not run safely, and names the place. */
#include "harness.h"

#include <math.h>
#include <string.h>

/* A valid program of one convolution and one loss, to be broken in one place. */
static void base_program(struct harness *h) {
    harness_init(h, test_seed(), 2);
    struct kern_conv v = {.batch = 2, .in_h = 4, .in_w = 4, .in_c = 2, .out_h = 4, .out_w = 4};
    v.out_c = 2, v.kernel_h = v.kernel_w = 3, v.stride_h = v.stride_w = 1;
    v.pad_top = v.pad_left = 1, v.groups = 1, v.pool_h = v.pool_w = 2, v.act = KERN_ACT_RELU;
    uint32_t x = harness_f32(h, 64), w = harness_f32(h, 36), y = harness_f32(h, 64);
    uint32_t labels = harness_buffer(h, KERN_I32, KERN_ROLE_INPUT, 2);
    uint32_t logits = harness_f32(h, 64);
    harness_instr(h, KERN_CONV2D, (uint32_t[]){x, w, y}, 3)->u.conv = v;
    harness_instr(h, KERN_SOFTMAX_XENT, (uint32_t[]){y, labels, logits, h->p.metric}, 4)->u.rows =
        (struct kern_rows){.rows = 2, .cols = 32};
}

static void expect(struct harness *h, const char *part) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct kern_exec *e = NULL;
    ASSERT_FAILS(kern_program_check(&h->p, &err), SOTTO_INVALID, part);
    ASSERT_STATUS(kern_exec_new(&h->p, kern_backend_find("cpu"), &e, NULL), SOTTO_INVALID);
    assert_null(e);
    harness_deinit(h);
}

#define BROKEN(part, change)                                                                       \
    do {                                                                                           \
        struct harness h;                                                                          \
        base_program(&h);                                                                          \
        struct kern_conv *v = &h.instrs[0].u.conv;                                                 \
        (void)v;                                                                                   \
        change;                                                                                    \
        expect(&h, part);                                                                          \
    } while (0)

static void test_valid(void **state) {
    (void)state;
    struct harness h;
    struct sotto_error err = SOTTO_ERROR_INIT;
    base_program(&h);
    ASSERT_OK(kern_program_check(&h.p, &err));
    harness_deinit(&h);
}

static void test_program(void **state) {
    (void)state;
    BROKEN("no arena", h.p.arena_bytes = 0);
    BROKEN("no arena", h.p.arena_bytes = KERN_ARENA_MAX + 1);
    BROKEN("batch", h.p.batch = 0);
    BROKEN("too many", h.p.buffer_count = KERN_BUFFERS_MAX + 1);
    BROKEN("too many", h.p.instr_count = KERN_INSTRS_MAX + 1);
    BROKEN("input", h.p.input = 999);
    BROKEN("input", h.p.input = h.p.logits);
    BROKEN("input does not have", h.p.batch = 3);
    BROKEN("logits", h.p.logits = KERN_NONE);
    BROKEN("labels", h.p.labels = h.p.input);
    BROKEN("metric", h.p.metric = 0);
    BROKEN("outside the arena", (h.p.param_offset = 1u << 30, h.p.param_count = 4));
    BROKEN("outside the arena", h.p.param_count = UINT32_MAX);
    BROKEN("overlap", (h.p.param_count = 8, h.p.state_count = 8));
    BROKEN("overlaps parameters", h.p.param_count = 4);
}

static void test_buffers(void **state) {
    (void)state;
    BROKEN("buffer 3: dimensions", h.buffers[3].count = 63);
    BROKEN("buffer 3: dimensions", h.buffers[3].rank = 0);
    BROKEN("buffer 3: dimensions", h.buffers[3].rank = KERN_RANK_MAX + 1);
    BROKEN("buffer 3: dimensions", (h.buffers[3].rank = 2, h.buffers[3].dims[1] = 0));
    BROKEN("buffer 3: offset", h.buffers[3].offset += 4);
    BROKEN("buffer 3: lies outside", h.buffers[3].offset = h.p.arena_bytes);
    BROKEN("buffer 3: lies outside", h.buffers[3].offset = UINT64_MAX - 63);
    BROKEN("buffer 3: unknown", h.buffers[3].dtype = (enum kern_dtype)77);
    BROKEN("buffer 3: unknown", h.buffers[3].role = (enum kern_role)77);
    BROKEN("buffer 3: lies outside its role", h.buffers[3].role = KERN_ROLE_PARAM);
    BROKEN("buffer 2: not a metric", (h.buffers[2].count = 1, h.buffers[2].dims[0] = 1));
}

static void test_operands(void **state) {
    (void)state;
    BROKEN("instr 0 conv2d: operand 1 is missing", h.instrs[0].args[1] = KERN_NONE);
    BROKEN("operand 1 is buffer 500", h.instrs[0].args[1] = 500);
    BROKEN("operand 1 has the wrong type", h.instrs[0].args[1] = 6);
    BROKEN("operand 1 has 64 elements", h.instrs[0].args[1] = 3);
    BROKEN("operands 2 and 0 overlap", h.instrs[0].args[2] = h.instrs[0].args[0]);
    BROKEN("operand 2 is an input", h.buffers[5].role = KERN_ROLE_INPUT);
    BROKEN("operand 3 is not a metric", h.instrs[1].args[3] = harness_f32(&h, 3));
    BROKEN("instr 1 softmax_xent", h.instrs[1].u.rows.cols = 31);
    BROKEN("unknown instruction", h.instrs[0].op = KERN_OP_COUNT);
    BROKEN("unknown instruction", h.instrs[0].op = (enum kern_op) - 1);
    /* The anchor may be read, never written. */
    BROKEN("operand 2 is the anchor",
           (h.buffers[5].role = KERN_ROLE_ANCHOR, h.p.anchor_first = (uint32_t)h.buffers[5].offset,
            h.p.anchor_count = 64, h.p.param_count = 64, h.p.param_offset = h.buffers[3].offset,
            h.buffers[3].role = KERN_ROLE_PARAM));
    /* Half an overlap is a mistake even where the same place is allowed. */
    BROKEN("overlap", h.buffers[7].offset = h.buffers[5].offset + 64);
}

static void test_attributes(void **state) {
    (void)state;
    BROKEN("a size is 0", v->stride_h = 0);
    BROKEN("a size is 0", v->out_w = 0);
    BROKEN("too large", v->kernel_h = 5000);
    BROKEN("padding", v->pad_left = 3);
    BROKEN("outside the input", v->in_h = 2);
    BROKEN("groups", v->groups = 0);
    BROKEN("groups", v->groups = 3);
    BROKEN("unknown activation", v->act = (enum kern_act)9);
    BROKEN("slope", (v->act = KERN_ACT_LEAKY_RELU, v->slope = 0.0f));
    BROKEN("slope", (v->act = KERN_ACT_LEAKY_RELU, v->slope = NAN));
    BROKEN("scale or beta", v->beta = (enum kern_beta)3);
    BROKEN("weight decay", v->weight_decay = -1.0f);
    BROKEN("weight decay", v->weight_decay = INFINITY);
    BROKEN("elements", v->batch = UINT32_MAX);
    BROKEN("pooling window", (h.instrs[0].op = KERN_CONV2D_POOL, v->pool_h = 5));
    BROKEN("label smoothing", h.instrs[1].u.rows.label_smoothing = 1.0f);
}

/* One instruction over three buffers of 8, with attributes to be refused. */
static void bad_attributes(enum kern_op op, struct kern_instr want, const char *part) {
    struct harness h;
    harness_init(&h, test_seed(), 1);
    uint32_t a = harness_f32(&h, 8), b = harness_f32(&h, 8), c = harness_f32(&h, 8);
    struct kern_instr *in = harness_instr(&h, op, (uint32_t[]){a, b, c}, 3);
    in->u = want.u;
    expect(&h, part);
}

static void test_other_attributes(void **state) {
    (void)state;
    struct kern_instr in = {0};
    in.u.dropout = (struct kern_dropout){8, 1.0f, 0};
    bad_attributes(KERN_DROPOUT, in, "rate");
    in.u.dropout.rate = NAN;
    bad_attributes(KERN_DROPOUT, in, "rate");
    in.u.clip = (struct kern_clip){8, 0.0f};
    bad_attributes(KERN_CLIP_NORM, in, "norm");
    in.u.sgd = (struct kern_sgd){.count = 8, .momentum = 1.0f};
    bad_attributes(KERN_SGD, in, "momentum");
    in.u.sgd = (struct kern_sgd){.count = 8, .prox_mu = 0.5f};
    bad_attributes(KERN_SGD, in, "anchor");
    in.u.sgd = (struct kern_sgd){.count = 8, .weight_decay = NAN};
    bad_attributes(KERN_SGD, in, "weight decay");
    in.u.rows = (struct kern_rows){.rows = 1, .cols = 8};
    bad_attributes(KERN_SOFT_XENT, in, "temperature");
    in.u.pool = (struct kern_pool){1, 8, 1, 1, 8, 1, 1, 1, 2, 1, 0, 0};
    bad_attributes(KERN_POOL_AVG, in, "outside the input");
    in.u.pool = (struct kern_pool){1, 300, 1, 1, 1, 1, 300, 1, 1, 1, 0, 0};
    bad_attributes(KERN_POOL_MAX, in, "255");
    in.u.gemm = (struct kern_gemm){.m = 65536, .n = 65536, .k = 1};
    bad_attributes(KERN_GEMM, in, "elements");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_valid),      cmocka_unit_test(test_program),
        cmocka_unit_test(test_buffers),    cmocka_unit_test(test_operands),
        cmocka_unit_test(test_attributes), cmocka_unit_test(test_other_attributes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
