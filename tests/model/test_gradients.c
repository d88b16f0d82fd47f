/* Compiled programs against the oracle: logits, loss and every parameter's gradient, for each layer
 * kind and for random graphs; fused and unfused programs against each other; the arena plan. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "oracle.h"
#include "support.h"

#define BATCH 4u

struct run {
    struct kern_program *program;
    struct kern_exec *exec;
};

static const char *backend = "ref"; /* tests set another */

static struct run run_new(const struct graph *g, const struct graph_options *o) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct run r;
    ASSERT_OK(graph_compile_program(g, o, &r.program, &err));
    ASSERT_OK(kern_program_check(r.program, &err));
    ASSERT_OK(kern_exec_new(r.program, kern_backend_find(backend), &r.exec, &err));
    return r;
}
static void run_free(struct run *r) {
    kern_exec_free(r->exec);
    graph_program_free(r->program);
}

/* One step from params on x and labels (or targets); the result goes to after. Returns the mean
 * loss. */
static double run_step(struct run *r, const float *params, const struct oracle_batch *b,
                       const float *targets, float lr, float *after) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    const struct kern_program *p = r->program;
    double m[KERN_METRIC_COUNT];
    float *x = kern_exec_host(r->exec, p->input);
    uint32_t per = p->buffers[p->input].count / p->batch;
    for (uint32_t i = 0; i < p->buffers[p->input].count; i++)
        x[i] = i < b->rows * per ? b->x[i] : 7.5f; /* padding rows hold something */
    if (p->labels != KERN_NONE) {
        int32_t *labels = kern_exec_host(r->exec, p->labels);
        for (uint32_t i = 0; i < p->batch; i++)
            labels[i] = i < b->rows ? b->labels[i] : 0;
    }
    if (p->targets != KERN_NONE)
        memcpy(kern_exec_host(r->exec, p->targets), targets,
               p->buffers[p->targets].count * sizeof *targets);
    kern_exec_load_params(r->exec, params);
    kern_exec_load_anchor(r->exec, params);
    kern_exec_clear_metrics(r->exec);
    struct kern_step step = {.lr = lr, .rows = b->rows, .seed = b->seed, .index = b->index};
    ASSERT_OK(kern_exec_run(r->exec, &step, &err));
    kern_exec_store_params(r->exec, after);
    kern_exec_metrics(r->exec, m);
    return m[KERN_METRIC_LOSS] / m[KERN_METRIC_SEEN];
}

struct sample {
    float *x, *params, *after, *other, targets[BATCH * 8];
    double *wide, wide_targets[BATCH * 8];
    int32_t labels[BATCH];
    struct oracle_batch b;
};

static void sample_init(struct sample *s, const struct graph *g, struct rng *rng) {
    uint32_t n = g->layout.total, classes = graph_classes(g);
    memset(s, 0, sizeof *s);
    s->x = mem_array((size_t)BATCH * graph_input_count(g), sizeof *s->x);
    s->params = mem_array(n, sizeof *s->params);
    s->after = mem_array(n, sizeof *s->after);
    s->other = mem_array(n, sizeof *s->other);
    s->wide = mem_array(n, sizeof *s->wide);
    assert_true(s->x && s->params && s->after && s->other && s->wide);
    oracle_random_values(rng, s->x, (size_t)BATCH * graph_input_count(g));
    oracle_random_values(rng, s->params, n);
    for (uint32_t i = 0; i < n; i++)
        s->wide[i] = (double)s->params[i];
    for (uint32_t r = 0; r < BATCH; r++) {
        s->labels[r] = (int32_t)rng_below(rng, classes);
        float sum = 0;
        for (uint32_t k = 0; k < classes; k++)
            sum += s->targets[r * classes + k] = 0.1f + rng_f32(rng);
        for (uint32_t k = 0; k < classes; k++) {
            s->targets[r * classes + k] /= sum;
            s->wide_targets[r * classes + k] = (double)s->targets[r * classes + k];
        }
    }
    s->b = (struct oracle_batch){.rows = BATCH - 1, /* the last one is padding */
                                 .x = s->x,
                                 .labels = s->labels,
                                 .temperature = 1,
                                 .dropout = true,
                                 .seed = rng_u64(rng),
                                 .index = rng_below(rng, 1000)};
}
static void sample_deinit(struct sample *s) {
    mem_free(s->x);
    mem_free(s->params);
    mem_free(s->after);
    mem_free(s->other);
    mem_free(s->wide);
}

/* The step's gradient (params - after) / lr against the oracle's, on up to 60 coordinates. */
static void check_gradient(const struct graph *g, struct sample *s, float lr, struct rng *rng) {
    uint32_t n = g->layout.total, checks = n < 60 ? n : 60;
    for (uint32_t k = 0; k < checks; k++) {
        uint32_t i = n <= 60 ? k : rng_below(rng, n);
        double want = oracle_slope(g, s->wide, i, &s->b);
        double got = ((double)s->params[i] - (double)s->after[i]) / (double)lr;
        if (fabs(got - want) > 2e-5 + 2e-4 * fabs(want)) {
            struct buf text;
            buf_init(&text, 65536);
            graph_describe(g, &text);
            print_error("coordinate %u: gradient %.9g, differences give %.9g\n%.*s", i, got, want,
                        (int)text.len, (const char *)text.data);
            buf_deinit(&text);
            fail();
        }
    }
}

static void check_graph(const struct graph *g, struct rng *rng) {
    struct sample s;
    sample_init(&s, g, rng);
    struct graph_options o = {.mode = GRAPH_TRAIN, .batch = BATCH};
    for (int unfused = 0; unfused < 2; unfused++) {
        o.unfused = unfused;
        struct run r = run_new(g, &o);
        double loss = run_step(&r, s.params, &s.b, NULL, 1.0f, s.after);
        double want = oracle_loss(g, s.wide, &s.b, NULL);
        assert_true(fabs(loss - want) < 1e-5 * (1 + fabs(want)));
        check_gradient(g, &s, 1.0f, rng);
        if (unfused)
            for (uint32_t i = 0; i < g->layout.total; i++)
                assert_true(fabsf(s.after[i] - s.other[i]) <= 2e-5f * (1 + fabsf(s.other[i])));
        memcpy(s.other, s.after, g->layout.total * sizeof *s.after);
        run_free(&r);
    }
    /* Evaluation: dropout off, the same logits as the oracle. */
    double *logits = mem_array((size_t)BATCH * graph_classes(g), sizeof *logits);
    assert_non_null(logits);
    for (int m = GRAPH_EVAL; m <= GRAPH_PREDICT; m++) {
        struct run r =
            run_new(g, &(struct graph_options){.mode = (enum graph_mode)m, .batch = BATCH});
        s.b.dropout = false;
        (void)run_step(&r, s.params, &s.b, NULL, 1.0f, s.after);
        assert_memory_equal(s.after, s.params, g->layout.total * sizeof *s.after);
        (void)oracle_loss(g, s.wide, &s.b, logits);
        const float *z = kern_exec_host(r.exec, r.program->logits);
        for (uint32_t i = 0; i < s.b.rows * graph_classes(g); i++)
            assert_true(fabs((double)z[i] - logits[i]) < 1e-4 * (1 + fabs(logits[i])));
        run_free(&r);
    }
    mem_free(logits);
    sample_deinit(&s);
}

/* ---- One small graph for each layer kind ---- */

#define CONV(n, ...)                                                                               \
    { .op = GRAPH_CONV2D, .units = (n), .bias = true, __VA_ARGS__ }
#define ACT(a)                                                                                     \
    { .op = GRAPH_ACT, .act = (a), .slope = 0.3f }
#define LAYERS_MAX 6

static const struct layer_case {
    const char *name;
    struct graph_node layers[LAYERS_MAX]; /* up to the first INPUT */
    uint32_t skip;                        /* inputs[1] of an ADD */
} cases[] = {
    {"conv 3x3 valid", {CONV(3, .kernel_h = 3)}, 0},
    {"conv 3x3 same", {CONV(3, .kernel_h = 3, .padding = GRAPH_SAME)}, 0},
    {"conv 3x2 stride 2x1 same",
     {CONV(2, .kernel_h = 3, .kernel_w = 2, .stride_h = 2, .stride_w = 1, .padding = GRAPH_SAME)},
     0},
    {"conv groups", {CONV(4, .kernel_h = 3, .groups = 2)}, 0},
    {"conv without bias", {{.op = GRAPH_CONV2D, .units = 2, .kernel_h = 2}}, 0},
    {"conv relu", {CONV(3, .kernel_h = 3), ACT(KERN_ACT_RELU)}, 0},
    {"conv leaky", {CONV(3, .kernel_h = 3), ACT(KERN_ACT_LEAKY_RELU)}, 0},
    {"conv tanh pool fused",
     {CONV(3, .kernel_h = 3), ACT(KERN_ACT_TANH), {.op = GRAPH_MAXPOOL, .kernel_h = 2}},
     0},
    {"two convs pooled",
     {CONV(3, .kernel_h = 3, .padding = GRAPH_SAME),
      ACT(KERN_ACT_RELU),
      {.op = GRAPH_MAXPOOL, .kernel_h = 2},
      CONV(2, .kernel_h = 2),
      ACT(KERN_ACT_RELU)},
     0},
    {"conv pool without act",
     {CONV(3, .kernel_h = 2), {.op = GRAPH_MAXPOOL, .kernel_h = 2}, ACT(KERN_ACT_SIGMOID)},
     0},
    {"conv relu dropout",
     {CONV(3, .kernel_h = 3), ACT(KERN_ACT_RELU), {.op = GRAPH_DROPOUT, .rate = 0.4f}},
     0},
    {"conv sigmoid dropout",
     {CONV(3, .kernel_h = 3), ACT(KERN_ACT_SIGMOID), {.op = GRAPH_DROPOUT, .rate = 0.4f}},
     0},
    {"overlapping maxpool",
     {CONV(2, .kernel_h = 2), {.op = GRAPH_MAXPOOL, .kernel_h = 3, .stride_h = 1}},
     0},
    {"same maxpool",
     {CONV(2, .kernel_h = 2), {.op = GRAPH_MAXPOOL, .kernel_h = 2, .padding = GRAPH_SAME}},
     0},
    {"avgpool same",
     {CONV(2, .kernel_h = 2),
      {.op = GRAPH_AVGPOOL, .kernel_h = 3, .stride_h = 2, .padding = GRAPH_SAME}},
     0},
    {"globalpool", {CONV(3, .kernel_h = 3), ACT(KERN_ACT_TANH), {.op = GRAPH_GLOBALPOOL}}, 0},
    {"reshape", {{.op = GRAPH_RESHAPE, .rank = 3, .dims = {12, 4, 2}}, CONV(2, .kernel_h = 2)}, 0},
    {"residual",
     {CONV(4, .kernel_h = 3, .padding = GRAPH_SAME),
      CONV(4, .kernel_h = 3, .padding = GRAPH_SAME),
      ACT(KERN_ACT_RELU),
      {.op = GRAPH_ADD},
      ACT(KERN_ACT_RELU)},
     1},
    {"residual from the input",
     {CONV(4, .kernel_h = 3, .padding = GRAPH_SAME), {.op = GRAPH_ADD}, ACT(KERN_ACT_TANH)},
     0},
    {"two shortcuts",
     {CONV(4, .kernel_h = 3, .padding = GRAPH_SAME),
      CONV(4, .kernel_h = 3, .padding = GRAPH_SAME),
      {.op = GRAPH_ADD},
      {.op = GRAPH_ADD},
      ACT(KERN_ACT_TANH)},
     1},
    {"act after act",
     {CONV(3, .kernel_h = 3),
      ACT(KERN_ACT_TANH),
      ACT(KERN_ACT_SIGMOID),
      ACT(KERN_ACT_LEAKY_RELU),
      {.op = GRAPH_DROPOUT, .rate = 0.2f},
      ACT(KERN_ACT_TANH)},
     0},
    {"doubled",
     {CONV(4, .kernel_h = 3, .padding = GRAPH_SAME), {.op = GRAPH_ADD}, ACT(KERN_ACT_TANH)},
     1},
};

static void build_case(const struct layer_case *k, struct graph *g) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    uint32_t dims[3] = {6, 4, 4}, at;
    graph_init(g);
    ASSERT_OK(graph_input(g, 3, dims, &at, &err));
    for (uint32_t i = 0; i < LAYERS_MAX && k->layers[i].op != GRAPH_INPUT; i++) {
        struct graph_node n = k->layers[i];
        n.inputs[0] = at;
        n.inputs[1] = k->skip;
        ASSERT_OK(graph_add(g, &n, &at, &err));
    }
    if (g->nodes[at].rank == 3) {
        struct graph_node flat = {.op = GRAPH_FLATTEN, .inputs = {at}};
        ASSERT_OK(graph_add(g, &flat, &at, &err));
    }
    struct graph_node last = {.op = GRAPH_DENSE, .inputs = {at}, .units = 3, .bias = true};
    ASSERT_OK(graph_add(g, &last, &at, &err));
    ASSERT_OK(graph_finish(g, &err));
}

static void test_layer_kinds(void **state) {
    backend = *state;
    struct rng rng;
    rng_init(&rng, test_seed(), 1, 0, RNG_GENERATE);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct graph g;
        build_case(&cases[i], &g);
        check_graph(&g, &rng);
        graph_deinit(&g);
    }
}

static void test_random_graphs(void **state) {
    backend = *state;
    struct rng rng;
    rng_init(&rng, test_seed(), 2, 0, RNG_GENERATE);
    for (int i = 0; i < 100; i++) {
        struct graph g;
        oracle_random_graph(&rng, &g);
        check_graph(&g, &rng);
        graph_deinit(&g);
    }
}

/* ---- The losses and the update rules ---- */

static void test_losses(void **state) {
    (void)state;
    struct rng rng;
    rng_init(&rng, test_seed(), 3, 0, RNG_GENERATE);
    for (int i = 0; i < 10; i++) {
        struct graph g;
        struct sample s;
        oracle_random_graph(&rng, &g);
        sample_init(&s, &g, &rng);
        struct graph_options o = {.mode = GRAPH_TRAIN, .batch = BATCH, .label_smoothing = 0.1f};
        struct run r = run_new(&g, &o);
        s.b.smoothing = (double)o.label_smoothing;
        (void)run_step(&r, s.params, &s.b, NULL, 1.0f, s.after);
        check_gradient(&g, &s, 1.0f, &rng);
        run_free(&r);
        o = (struct graph_options){.mode = GRAPH_DISTILL, .batch = BATCH, .temperature = 3.0f};
        r = run_new(&g, &o);
        s.b.labels = NULL;
        s.b.targets = s.wide_targets;
        s.b.temperature = (double)o.temperature;
        (void)run_step(&r, s.params, &s.b, s.targets, 1.0f, s.after);
        check_gradient(&g, &s, 1.0f, &rng);
        run_free(&r);
        sample_deinit(&s);
        graph_deinit(&g);
    }
}

/* w after one step of every rule, from the gradient that plain SGD shows. */
static void test_update_rules(void **state) {
    (void)state;
    struct rng rng;
    rng_init(&rng, test_seed(), 4, 0, RNG_GENERATE);
    for (int i = 0; i < 20; i++) {
        struct graph g;
        struct sample s;
        oracle_random_graph(&rng, &g);
        sample_init(&s, &g, &rng);
        uint32_t n = g.layout.total;
        float *grad = mem_array(n, sizeof *grad);
        assert_non_null(grad);
        struct run r = run_new(&g, &(struct graph_options){.mode = GRAPH_TRAIN, .batch = BATCH});
        (void)run_step(&r, s.params, &s.b, NULL, 1.0f, s.after);
        run_free(&r);
        double norm = 0;
        for (uint32_t k = 0; k < n; k++) {
            grad[k] = s.params[k] - s.after[k];
            norm += (double)grad[k] * (double)grad[k];
        }
        norm = sqrt(norm);
        const struct graph_options rules[] = {
            {.weight_decay = 0.1f},
            {.weight_decay = 0.1f, .momentum = 0.9f},
            {.momentum = 0.9f, .nesterov = true},
            {.prox_mu = 0.5f, .weight_decay = 0.01f},
            {.clip_norm = (float)(norm / 3)},
            {.clip_norm = (float)(norm / 3), .momentum = 0.5f, .prox_mu = 1.0f},
            {.clip_norm = (float)(norm * 3), .weight_decay = 0.2f},
            {.drift = true},
            {.drift = true, .momentum = 0.5f, .clip_norm = (float)(norm / 3)},
        };
        for (size_t k = 0; k < ARRAY_LEN(rules); k++) {
            struct graph_options o = rules[k];
            o.mode = GRAPH_TRAIN;
            o.batch = BATCH;
            r = run_new(&g, &o);
            const float lr = 0.25f;
            (void)run_step(&r, s.params, &s.b, NULL, lr, s.after);
            double clip =
                o.clip_norm > 0 && norm > (double)o.clip_norm ? (double)o.clip_norm / norm : 1;
            for (uint32_t j = 0; j < n;
                 j++) { /* the anchor is where we start, and momentum starts at 0 */
                double gj = clip * (double)grad[j] + (double)o.weight_decay * (double)s.params[j];
                double step = o.nesterov ? gj + (double)o.momentum * gj : gj;
                double want = (double)s.params[j] - (double)lr * step;
                if (o.drift) /* run_step's anchor, added afterwards */
                    want += (double)s.params[j];
                if (fabs((double)s.after[j] - want) > 3e-6 * (1 + fabs(want) + fabs(gj)))
                    fail_msg("rule %zu coordinate %u: %.9g, want %.9g", k, j, (double)s.after[j],
                             want);
            }
            run_free(&r);
        }
        mem_free(grad);
        sample_deinit(&s);
        graph_deinit(&g);
    }
}

int main(void) {
    static char ref[] = "ref", cpu[] = "cpu";
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_layer_kinds, ref),
        cmocka_unit_test_prestate(test_random_graphs, ref),
        cmocka_unit_test(test_losses),
        cmocka_unit_test(test_update_rules),
        cmocka_unit_test_prestate(test_layer_kinds, cpu),
        cmocka_unit_test_prestate(test_random_graphs, cpu),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
