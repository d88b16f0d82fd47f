/* Graphs: shapes accepted and refused, names, layout, initial weights, bytes; and the arena plan of
 * random programs. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "graph/graph_int.h"
#include "oracle.h"
#include "support.h"

#define CONV(n, ...)                                                                               \
    { .op = GRAPH_CONV2D, .units = (n), __VA_ARGS__ }

/* One layer on a 7x5x4 image. */
static const struct shape_case {
    struct graph_node node;
    enum sotto_status status;
    const char *part; /* of the message */
    uint32_t rank, dims[3];
} image_cases[] = {
    {CONV(8, .kernel_h = 3), SOTTO_OK, NULL, 3, {5, 3, 8}},
    {CONV(8, .kernel_h = 3, .padding = GRAPH_SAME), SOTTO_OK, NULL, 3, {7, 5, 8}},
    {CONV(8, .kernel_h = 3, .stride_h = 2, .padding = GRAPH_SAME), SOTTO_OK, NULL, 3, {4, 3, 8}},
    {CONV(8, .kernel_h = 2, .kernel_w = 5, .stride_h = 3, .stride_w = 1),
     SOTTO_OK,
     NULL,
     3,
     {2, 1, 8}},
    {CONV(8, .kernel_h = 9, .padding = GRAPH_SAME), SOTTO_OK, NULL, 3, {7, 5, 8}},
    {CONV(8, .kernel_h = 3, .groups = 4), SOTTO_OK, NULL, 3, {5, 3, 8}},
    {CONV(8, .kernel_h = 6), SOTTO_INVALID, "does not fit", 0, {0}},
    {CONV(0, .kernel_h = 3), SOTTO_INVALID, "units", 0, {0}},
    {CONV(8, .kernel_h = 0), SOTTO_INVALID, "kernel", 0, {0}},
    {CONV(8, .kernel_h = 300, .padding = GRAPH_SAME), SOTTO_INVALID, "kernel", 0, {0}},
    {CONV(8, .kernel_h = 3, .stride_h = 300), SOTTO_INVALID, "stride", 0, {0}},
    {CONV(8, .kernel_h = 3, .padding = (enum graph_padding)2), SOTTO_INVALID, "padding", 0, {0}},
    {CONV(8, .kernel_h = 3, .groups = 3), SOTTO_INVALID, "groups", 0, {0}},
    {CONV(6, .kernel_h = 3, .groups = 4), SOTTO_INVALID, "groups", 0, {0}},
    {CONV(1u << 26, .kernel_h = 3), SOTTO_LIMIT, "values", 0, {0}},
    {{.op = GRAPH_MAXPOOL, .kernel_h = 2}, SOTTO_OK, NULL, 3, {3, 2, 4}},
    {{.op = GRAPH_MAXPOOL, .kernel_h = 2, .padding = GRAPH_SAME}, SOTTO_OK, NULL, 3, {4, 3, 4}},
    {{.op = GRAPH_AVGPOOL, .kernel_h = 3, .stride_h = 1}, SOTTO_OK, NULL, 3, {5, 3, 4}},
    {{.op = GRAPH_AVGPOOL, .kernel_h = 8}, SOTTO_INVALID, "does not fit", 0, {0}},
    {{.op = GRAPH_MAXPOOL, .kernel_h = 16, .padding = GRAPH_SAME}, SOTTO_INVALID, "window", 0, {0}},
    {{.op = GRAPH_GLOBALPOOL}, SOTTO_OK, NULL, 1, {4}},
    {{.op = GRAPH_FLATTEN}, SOTTO_OK, NULL, 1, {140}},
    {{.op = GRAPH_RESHAPE, .rank = 2, .dims = {10, 14}}, SOTTO_OK, NULL, 2, {10, 14}},
    {{.op = GRAPH_RESHAPE, .rank = 2, .dims = {10, 13}}, SOTTO_INVALID, "130 values", 0, {0}},
    {{.op = GRAPH_RESHAPE, .rank = 0}, SOTTO_INVALID, "rank", 0, {0}},
    {{.op = GRAPH_RESHAPE, .rank = 2, .dims = {140, 0}}, SOTTO_INVALID, "dimension 2", 0, {0}},
    {{.op = GRAPH_ACT, .act = KERN_ACT_TANH}, SOTTO_OK, NULL, 3, {7, 5, 4}},
    {{.op = GRAPH_ACT, .act = KERN_ACT_NONE}, SOTTO_INVALID, "activation", 0, {0}},
    {{.op = GRAPH_ACT, .act = (enum kern_act)9}, SOTTO_INVALID, "activation", 0, {0}},
    {{.op = GRAPH_ACT, .act = KERN_ACT_LEAKY_RELU}, SOTTO_INVALID, "slope", 0, {0}},
    {{.op = GRAPH_ACT, .act = KERN_ACT_LEAKY_RELU, .slope = NAN}, SOTTO_INVALID, "slope", 0, {0}},
    {{.op = GRAPH_DROPOUT, .rate = 0.5f}, SOTTO_OK, NULL, 3, {7, 5, 4}},
    {{.op = GRAPH_DROPOUT, .rate = 1.0f}, SOTTO_INVALID, "rate", 0, {0}},
    {{.op = GRAPH_DROPOUT, .rate = NAN}, SOTTO_INVALID, "rate", 0, {0}},
    {{.op = GRAPH_ADD}, SOTTO_OK, NULL, 3, {7, 5, 4}},
    {{.op = GRAPH_ADD, .inputs = {0, 1}}, SOTTO_INVALID, "not an earlier", 0, {0}},
    {{.op = GRAPH_DENSE, .units = 5}, SOTTO_INVALID, "flatten", 0, {0}},
    {{.op = GRAPH_INPUT, .rank = 1, .dims = {3}}, SOTTO_INVALID, "one input", 0, {0}},
    {{.op = (enum graph_op)99}, SOTTO_UNSUPPORTED, "kind 99", 0, {0}},
    {{.op = GRAPH_FLATTEN, .name = "a b"}, SOTTO_INVALID, "letters", 0, {0}},
    {{.op = GRAPH_FLATTEN, .name = "input"}, SOTTO_EXISTS, "twice", 0, {0}},
};

static void test_shapes(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    for (size_t i = 0; i < ARRAY_LEN(image_cases); i++) {
        const struct shape_case *c = &image_cases[i];
        struct graph g;
        uint32_t dims[3] = {7, 5, 4}, at = 0;
        graph_init(&g);
        ASSERT_OK(graph_input(&g, 3, dims, &at, &err));
        if (c->status == SOTTO_OK) {
            ASSERT_OK(graph_add(&g, &c->node, &at, &err));
            assert_int_equal(g.nodes[at].rank, c->rank);
            assert_memory_equal(g.nodes[at].dims, c->dims, c->rank * sizeof c->dims[0]);
        } else {
            ASSERT_FAILS(graph_add(&g, &c->node, &at, &err), c->status, c->part);
            assert_int_equal(g.node_count, 1);
        }
        graph_deinit(&g);
    }
}

static struct graph flat_graph(void) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct graph g;
    uint32_t dims[1] = {6};
    graph_init(&g);
    ASSERT_OK(graph_input(&g, 1, dims, NULL, &err));
    return g;
}

static void test_finish_refuses(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct graph_node dense = {.op = GRAPH_DENSE, .units = 4, .bias = true};
    struct graph g = flat_graph();
    ASSERT_FAILS(graph_finish(&g, &err), SOTTO_INVALID, "a layer");
    ASSERT_OK(
        graph_add(&g, &(struct graph_node){.op = GRAPH_ACT, .act = KERN_ACT_RELU}, NULL, &err));
    ASSERT_FAILS(graph_finish(&g, &err), SOTTO_INVALID, "no weights");
    graph_deinit(&g);
    g = flat_graph();
    ASSERT_OK(graph_add(&g, &dense, NULL, &err));
    ASSERT_OK(graph_add(&g, &dense, NULL, &err)); /* also on the input: dense1 is left over */
    ASSERT_FAILS(graph_finish(&g, &err), SOTTO_INVALID, "dense1: nothing uses");
    graph_deinit(&g);
    g = flat_graph();
    dense.units = 1;
    ASSERT_OK(graph_add(&g, &dense, NULL, &err));
    ASSERT_FAILS(graph_finish(&g, &err), SOTTO_INVALID, "[classes]");
    struct kern_program *p;
    struct graph_options o = {.mode = GRAPH_TRAIN, .batch = 1};
    ASSERT_FAILS(graph_compile_program(&g, &o, &p, &err), SOTTO_STATE, "not finished");
    graph_deinit(&g);
    g = flat_graph();
    dense.units = 2;
    ASSERT_OK(graph_add(&g, &dense, NULL, &err));
    ASSERT_OK(graph_finish(&g, &err));
    ASSERT_FAILS(graph_finish(&g, &err), SOTTO_STATE, "already");
    ASSERT_FAILS(graph_add(&g, &dense, NULL, &err), SOTTO_STATE, "finished");
    graph_deinit(&g);
    /* Too large a layout, too many layers. */
    g = flat_graph();
    dense.units = 1u << 26;
    ASSERT_OK(graph_add(&g, &dense, NULL, &err));
    assert_int_equal(graph_finish(&g, &err), SOTTO_LIMIT);
    graph_deinit(&g);
    g = flat_graph();
    for (uint32_t i = 1; i < GRAPH_NODES_MAX; i++)
        ASSERT_OK(graph_add(&g, &(struct graph_node){.op = GRAPH_FLATTEN, .inputs = {i - 1}}, NULL,
                            &err));
    ASSERT_FAILS(graph_add(&g, &dense, NULL, &err), SOTTO_LIMIT, "512");
    graph_deinit(&g);
}

static void test_options_refused(void **state) {
    (void)state;
    static const struct graph_options bad[] = {
        {.mode = (enum graph_mode)4, .batch = 1},
        {.mode = GRAPH_TRAIN, .batch = 0},
        {.mode = GRAPH_TRAIN, .batch = 1, .momentum = 1},
        {.mode = GRAPH_TRAIN, .batch = 1, .weight_decay = -1},
        {.mode = GRAPH_TRAIN, .batch = 1, .prox_mu = NAN},
        {.mode = GRAPH_TRAIN, .batch = 1, .clip_norm = INFINITY},
        {.mode = GRAPH_TRAIN, .batch = 1, .label_smoothing = 1},
        {.mode = GRAPH_DISTILL, .batch = 1, .temperature = -1},
    };
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct kern_program *p;
    struct graph g = flat_graph();
    ASSERT_OK(graph_add(&g, &(struct graph_node){.op = GRAPH_DENSE, .units = 3}, NULL, &err));
    ASSERT_OK(graph_finish(&g, &err));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        ASSERT_FAILS(graph_compile_program(&g, &bad[i], &p, &err), SOTTO_INVALID, "options");
        assert_null(p);
    }
    struct graph_options huge = {.mode = GRAPH_TRAIN, .batch = UINT32_MAX};
    assert_int_equal(graph_compile_program(&g, &huge, &p, &err), SOTTO_LIMIT);
    huge.batch = 150u << 20;
    ASSERT_FAILS(graph_compile_program(&g, &huge, &p, &err), SOTTO_LIMIT, "smaller batch");
    graph_deinit(&g);
}

static void test_layout_and_init(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct graph g, copy;
    uint32_t dims[3] = {8, 8, 4}, at;
    graph_init(&g);
    ASSERT_OK(graph_input(&g, 3, dims, &at, &err));
    const struct graph_node layers[] = {
        CONV(6, .kernel_h = 3, .groups = 2, .bias = true),
        {.op = GRAPH_ACT, .act = KERN_ACT_RELU},
        {.op = GRAPH_GLOBALPOOL},
        {.op = GRAPH_DENSE, .units = 3, .name = "head"},
    };
    for (size_t i = 0; i < ARRAY_LEN(layers); i++) {
        struct graph_node n = layers[i];
        n.inputs[0] = at;
        ASSERT_OK(graph_add(&g, &n, &at, &err));
    }
    ASSERT_OK(graph_finish(&g, &err));
    assert_int_equal(g.layout.segment_count, 3);
    assert_string_equal(g.layout.segments[0].name, "conv1.weight");
    const uint32_t conv_dims[4] = {3, 3, 2, 6};
    assert_memory_equal(g.layout.segments[0].dims, conv_dims, sizeof conv_dims);
    assert_string_equal(g.layout.segments[1].name, "conv1.bias");
    assert_string_equal(g.layout.segments[2].name, "head.weight");
    assert_int_equal(g.layout.total, 108 + 6 + 18);
    assert_int_equal(graph_classes(&g), 3);
    assert_int_equal(graph_input_count(&g), 256);
    float a[132], b[132];
    graph_init_params(&g, 5, a);
    graph_init_params(&g, 5, b);
    assert_memory_equal(a, b, sizeof a);
    graph_init_params(&g, 6, b);
    assert_memory_not_equal(a, b, sizeof a);
    /* He before the rectifier: sqrt(6 / 18); Glorot at the head: sqrt(6 / 9); biases zero. */
    float top[2] = {0, 0};
    for (uint32_t i = 0; i < 132; i++) {
        if (i >= 108 && i < 114)
            assert_true(a[i] == 0);
        else
            top[i >= 114] = fmaxf(top[i >= 114], fabsf(a[i]));
    }
    assert_true(top[0] <= sqrtf(6.0f / 18) && top[0] > 0.9f * sqrtf(6.0f / 18));
    assert_true(top[1] <= sqrtf(6.0f / 9) && top[1] > 0.7f * sqrtf(6.0f / 9));
    /* Glorot everywhere, halved: the same draws within sqrt(6 / (18 + 27)) / 2 and sqrt(6 / 9) / 2.
     */
    graph_init_params_by(&g, GRAPH_INIT_GLOROT, 0.5, 5, b);
    for (uint32_t i = 0; i < 132; i++)
        assert_float_equal(b[i], i < 108 ? a[i] * 0.5f * sqrtf(18.0f / 45) : a[i] * 0.5f, 1e-6f);
    ASSERT_OK(graph_copy(&copy, &g, &err));
    assert_true(layout_equal(&copy.layout, &g.layout));
    struct buf text;
    buf_init(&text, 4096);
    graph_describe(&copy, &text);
    buf_put_u8(&text, 0);
    assert_non_null(strstr((const char *)text.data, "conv1"));
    assert_non_null(strstr((const char *)text.data, "6x6x6"));
    buf_deinit(&text);
    graph_deinit(&copy);
    graph_deinit(&g);
}

static void test_bytes(void **state) {
    (void)state;
    struct rng rng;
    rng_init(&rng, test_seed(), 20, 0, RNG_GENERATE);
    for (int i = 0; i < 60; i++) {
        struct sotto_error err = SOTTO_ERROR_INIT;
        struct graph g, h;
        struct buf a, b;
        struct reader r;
        buf_init(&a, 1u << 20);
        buf_init(&b, 1u << 20);
        oracle_random_graph(&rng, &g);
        graph_encode(&g, &a);
        reader_init(&r, buf_view(&a));
        ASSERT_OK(graph_decode(&h, &r, &err));
        assert_int_equal(reader_left(&r), 0);
        graph_encode(&h, &b);
        assert_int_equal(a.len, b.len);
        assert_memory_equal(a.data, b.data, a.len);
        graph_deinit(&h);
        uint64_t live = mem_live_count();
        for (size_t n = 0; n < a.len; n++) {
            reader_init(&r, view_of(a.data, n));
            assert_int_not_equal(graph_decode(&h, &r, NULL), SOTTO_OK);
        }
        for (int k = 0; k < 1000; k++) {
            size_t at = rng_below(&rng, (uint32_t)a.len);
            uint8_t keep = a.data[at];
            a.data[at] = k % 2 ? (uint8_t)rng_u32(&rng) : (uint8_t)(keep ^ 1u << (k / 2 % 8));
            reader_init(&r, buf_view(&a));
            if (graph_decode(&h, &r, NULL) ==
                SOTTO_OK) { /* still a graph: then it also encodes to these bytes */
                buf_reset(&b);
                graph_encode(&h, &b);
                assert_true(b.len == r.off);
                graph_deinit(&h);
            }
            a.data[at] = keep;
        }
        assert_int_equal(mem_live_count(), live);
        graph_deinit(&g);
        buf_deinit(&a);
        buf_deinit(&b);
    }
}

/* ---- The arena ---- */

static uint64_t bytes_of(const struct kern_buffer *b) {
    return (uint64_t)b->count * (b->dtype == KERN_F32 || b->dtype == KERN_I32 ? 4 : 1);
}

struct life {
    uint32_t first, last;
};

static struct life life_of(const struct kern_program *p, uint32_t buffer) {
    struct life l = {UINT32_MAX, 0};
    for (uint32_t i = 0; i < p->instr_count; i++)
        for (uint32_t a = 0; a < KERN_ARGS_MAX; a++)
            if (p->instrs[i].args[a] == buffer) {
                l.first = l.first == UINT32_MAX ? i : l.first;
                l.last = i;
            }
    return l;
}

/* Whether a lies wholly inside b: the gradients of one range that is clipped as a whole. */
static bool inside(const struct kern_buffer *a, const struct kern_buffer *b) {
    return a->offset >= b->offset && a->offset + bytes_of(a) <= b->offset + bytes_of(b);
}

static void check_plan(const struct kern_program *p, bool clip) {
    uint64_t kept_end = 4 * (uint64_t)p->param_count, temp_bytes = 0;
    for (uint32_t i = 0; i < p->buffer_count; i++) {
        const struct kern_buffer *a = &p->buffers[i];
        struct life la = life_of(p, i);
        bool temp = a->role == KERN_ROLE_TEMP;
        assert_true(a->offset + bytes_of(a) <= p->arena_bytes);
        if (a->role != KERN_ROLE_TEMP && a->offset + bytes_of(a) > kept_end)
            kept_end = a->offset + bytes_of(a);
        if (temp && la.first != UINT32_MAX)
            temp_bytes += num_round_up(bytes_of(a), KERN_ALIGN);
        for (uint32_t k = 0; k < i; k++) {
            const struct kern_buffer *b = &p->buffers[k];
            struct life lb = life_of(p, k);
            bool meet = a->offset < b->offset + bytes_of(b) && b->offset < a->offset + bytes_of(a);
            if (!meet)
                continue;
            assert_true(temp && b->role == KERN_ROLE_TEMP);
            bool apart = la.first == UINT32_MAX || lb.first == UINT32_MAX || la.last < lb.first ||
                         lb.last < la.first;
            assert_true(apart || (clip && (inside(a, b) || inside(b, a))));
        }
    }
    assert_true(p->arena_bytes <= num_round_up(kept_end, KERN_ALIGN) + temp_bytes);
}

/* The same program with a place of its own for every temporary gives the same bits: nothing is read
 * after it was overwritten. */
static void check_apart(const struct graph *g, const struct graph_options *o, struct rng *rng) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    float *w[2], *start = mem_array(g->layout.total, sizeof *start);
    assert_non_null(start);
    oracle_random_values(rng, start, g->layout.total);
    uint64_t seed = rng_u64(rng);
    for (int k = 0; k < 2; k++) {
        struct kern_program *p;
        struct kern_exec *e;
        struct rng data;
        rng_init(&data, seed, 0, 0, RNG_GENERATE);
        ASSERT_OK(graph_compile_program(g, o, &p, &err));
        for (uint32_t i = 0; k == 1 && i < p->buffer_count; i++)
            if (p->buffers[i].role == KERN_ROLE_TEMP) {
                p->buffers[i].offset = num_round_up(p->arena_bytes, KERN_ALIGN);
                p->arena_bytes = p->buffers[i].offset + bytes_of(&p->buffers[i]);
            }
        ASSERT_OK(kern_exec_new(p, kern_backend_find("ref"), &e, &err));
        oracle_random_values(&data, kern_exec_host(e, p->input), p->buffers[p->input].count);
        int32_t *labels = kern_exec_host(e, p->labels);
        for (uint32_t i = 0; i < p->batch; i++)
            labels[i] = (int32_t)rng_below(&data, graph_classes(g));
        kern_exec_load_params(e, start);
        kern_exec_load_anchor(e, start);
        for (uint32_t i = 0; i < 3; i++)
            ASSERT_OK(kern_exec_run(
                e, &(struct kern_step){.lr = 0.1f, .rows = p->batch, .seed = seed, .index = i},
                &err));
        w[k] = mem_array(g->layout.total, sizeof *w[k]);
        assert_non_null(w[k]);
        kern_exec_store_params(e, w[k]);
        kern_exec_free(e);
        graph_program_free(p);
    }
    assert_memory_equal(w[0], w[1], g->layout.total * sizeof *start);
    mem_free(w[0]);
    mem_free(w[1]);
    mem_free(start);
}

static void test_arena(void **state) {
    (void)state;
    static const struct graph_options options[] = {
        {.mode = GRAPH_TRAIN, .batch = 3},
        {.mode = GRAPH_TRAIN, .batch = 3, .momentum = 0.9f, .prox_mu = 0.1f},
        {.mode = GRAPH_TRAIN, .batch = 3, .momentum = 0.9f, .clip_norm = 1},
        {.mode = GRAPH_DISTILL, .batch = 5, .momentum = 0.9f},
        {.mode = GRAPH_EVAL, .batch = 2},
        {.mode = GRAPH_PREDICT, .batch = 1},
        {.mode = GRAPH_TRAIN, .batch = 2, .unfused = true},
    };
    struct rng rng;
    rng_init(&rng, test_seed(), 21, 0, RNG_GENERATE);
    for (int i = 0; i < 150; i++) {
        struct graph g;
        oracle_random_graph(&rng, &g);
        for (size_t k = 0; k < ARRAY_LEN(options); k++) {
            struct sotto_error err = SOTTO_ERROR_INIT;
            struct kern_program *p;
            ASSERT_OK(graph_compile_program(&g, &options[k], &p, &err));
            check_plan(p, options[k].clip_norm > 0);
            graph_program_free(p);
            /* Clipped gradients must lie side by side, so only the other programs can be spread
             * out. */
            if (options[k].mode == GRAPH_TRAIN && options[k].clip_norm <= 0)
                check_apart(&g, &options[k], &rng);
        }
        graph_deinit(&g);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),          cmocka_unit_test(test_finish_refuses),
        cmocka_unit_test(test_options_refused), cmocka_unit_test(test_layout_and_init),
        cmocka_unit_test(test_bytes),           cmocka_unit_test(test_arena),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
