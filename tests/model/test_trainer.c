/* Local training: it learns, equals a plain gradient step, repeats, resumes bit for bit, allocates
 * nothing on the way; evaluation and distillation. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "oracle.h"
#include "support.h"

#define CLASSES 3u
#define SIDE    6u
#define PIXELS  (SIDE * SIDE)

static const struct data_schema schema = {DATA_U8, 3, {SIDE, SIDE, 1}, CLASSES, 1.0f / 255, 0};

/* Bright bars: rows, columns or the diagonal, with noise. */
static void draw(struct rng *rng, uint8_t *x, int32_t *label) {
    uint32_t kind = rng_below(rng, CLASSES), at = rng_below(rng, SIDE);
    for (uint32_t i = 0; i < PIXELS; i++) {
        uint32_t r = i / SIDE, c = i % SIDE;
        bool on = kind == 0 ? r == at : kind == 1 ? c == at : (r + at) % SIDE == c;
        x[i] = (uint8_t)(rng_below(rng, 60) + (on ? 180 : 0));
    }
    *label = (int32_t)kind;
}

static struct dataset task(uint32_t count, uint32_t stream) {
    struct dataset d;
    struct rng rng;
    dataset_init(&d);
    rng_init(&rng, test_seed(), stream, 0, RNG_GENERATE);
    d.schema = schema;
    d.count = count;
    d.x = mem_array(count, PIXELS);
    d.labels = mem_array(count, sizeof *d.labels);
    assert_true(d.x && d.labels);
    for (uint32_t i = 0; i < count; i++)
        draw(&rng, (uint8_t *)d.x + i * PIXELS, &d.labels[i]);
    return d;
}

static struct graph model(bool dropout) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct graph g;
    uint32_t at;
    graph_init(&g);
    struct graph_node layers[] = {
        {.op = GRAPH_CONV2D, .units = 6, .kernel_h = 3, .padding = GRAPH_SAME, .bias = true},
        {.op = GRAPH_ACT, .act = KERN_ACT_RELU},
        {.op = GRAPH_MAXPOOL, .kernel_h = 2},
        {.op = GRAPH_DROPOUT, .rate = dropout ? 0.3f : 0.0f},
        {.op = GRAPH_FLATTEN},
        {.op = GRAPH_DENSE, .units = 16, .bias = true},
        {.op = GRAPH_ACT, .act = KERN_ACT_RELU},
        {.op = GRAPH_DENSE, .units = CLASSES, .bias = true},
    };
    ASSERT_OK(graph_input(&g, 3, schema.dims, &at, &err));
    for (size_t i = 0; i < ARRAY_LEN(layers); i++) {
        layers[i].inputs[0] = at;
        ASSERT_OK(graph_add(&g, &layers[i], &at, &err));
    }
    ASSERT_OK(graph_finish(&g, &err));
    return g;
}

static float *initial(const struct graph *g) {
    float *w = mem_array(g->layout.total, sizeof *w);
    assert_non_null(w);
    graph_init_params(g, test_seed(), w);
    return w;
}

static const struct kern_backend *ref(void) {
    return kern_backend_find("ref");
}

static const struct train_stream stream_a = {77, 3, 42};

static const float *drift; /* of rules with control variates */

/* Trains from w into out, through checkpoints every `every` steps when it is not 0. */
static struct train_metrics train(const struct graph *g, const struct train_rule *rule,
                                  const struct examples *e, const struct train_stream *stream,
                                  const float *w, uint32_t every, float *out) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct train_metrics m;
    struct trainer *t;
    bool done = false;
    ASSERT_OK(trainer_new(g, rule, e->count, ref(), &t, &err));
    ASSERT_OK(trainer_begin(t, w, e, stream, &err));
    if (drift)
        trainer_drift(t, drift);
    while (!done) {
        ASSERT_OK(trainer_advance(t, every, &done, &err));
        if (every == 0 || done)
            continue;
        struct buf saved;
        struct trainer *next;
        buf_init(&saved, 1u << 24);
        trainer_save(t, &saved);
        ASSERT_OK(saved.status);
        trainer_free(t);
        ASSERT_OK(trainer_new(g, rule, e->count, ref(), &next, &err));
        ASSERT_OK(trainer_begin(next, w, e, stream, &err));
        if (drift)
            trainer_drift(next, drift);
        ASSERT_OK(trainer_resume(next, buf_view(&saved), &err));
        buf_deinit(&saved);
        t = next;
    }
    assert_int_equal(trainer_steps_done(t), trainer_steps_total(t));
    trainer_finish(t, out, &m);
    trainer_free(t);
    return m;
}

static double accuracy(const struct graph *g, const float *w, const struct dataset *d) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct evaluator *e;
    struct train_metrics m;
    struct examples all = dataset_examples(d);
    ASSERT_OK(evaluator_new(g, 17, ref(), &e, &err));
    ASSERT_OK(evaluator_run(e, w, &all, &m, &err));
    evaluator_free(e);
    assert_int_equal(m.seen, d->count);
    return (double)m.correct / (double)m.seen;
}

static void test_learns(void **state) {
    (void)state;
    struct graph g = model(true);
    struct dataset d = task(200, 1), test = task(200, 2);
    struct examples e = dataset_examples(&d);
    float *w = initial(&g), *out = mem_array(g.layout.total, sizeof *out);
    const struct train_rule rules[] = {
        {.epochs = 8, .batch = 10, .lr = 0.2f},
        {.epochs = 8, .batch = 10, .lr = 0.02f, .momentum = 0.9f, .nesterov = true},
        {.epochs = 12,
         .batch = 16,
         .lr = 0.2f,
         .prox_mu = 0.01f,
         .clip_norm = 2,
         .weight_decay = 1e-4f},
    };
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        struct train_metrics m = train(&g, &rules[i], &e, &stream_a, w, 0, out);
        double a = accuracy(&g, out, &test);
        print_message("rule %zu: loss %.3f, accuracy %.3f\n", i, m.loss / (double)m.seen, a);
        assert_int_equal(m.seen, 200u * rules[i].epochs);
        assert_true(a > 0.9);
    }
    mem_free(w);
    mem_free(out);
    dataset_deinit(&d);
    dataset_deinit(&test);
    graph_deinit(&g);
}

/* FedAvg with one epoch of one full batch is a gradient step: w - lr (mean gradient), and the
 * average over clients with equal counts is the step on the union. */
static void test_full_batch_is_gradient_step(void **state) {
    (void)state;
    enum { CLIENTS = 4, EACH = 10 };
    struct graph g = model(false);
    uint32_t n = g.layout.total;
    struct dataset d = task(CLIENTS * EACH, 3);
    struct examples all = dataset_examples(&d);
    float *w = initial(&g), *one = mem_array(n, sizeof *one), *whole = mem_array(n, sizeof *whole);
    double *mean = mem_array(n, sizeof *mean);
    assert_true(one && whole && mean);
    struct train_rule rule = {.epochs = 1, .batch = 0, .lr = 0.3f};
    (void)train(&g, &rule, &all, &stream_a, w, 0, whole);
    for (uint32_t c = 0; c < CLIENTS; c++) {
        uint32_t index[EACH];
        for (uint32_t i = 0; i < EACH; i++)
            index[i] = c + CLIENTS * i;
        struct examples part = {&d.schema, d.x, d.labels, index, EACH};
        (void)train(&g, &rule, &part, &(struct train_stream){1, 1, c}, w, 0, one);
        for (uint32_t i = 0; i < n; i++)
            mean[i] += (double)one[i] / CLIENTS;
    }
    double *wide = mem_array(n, sizeof *wide);
    float *x = mem_array((size_t)d.count * PIXELS, sizeof *x);
    assert_true(wide && x);
    vec_u8_f32(x, d.x, (size_t)d.count * PIXELS, schema.scale, schema.shift);
    struct oracle_batch b = {.rows = d.count, .x = x, .labels = d.labels};
    for (uint32_t i = 0; i < n; i++)
        wide[i] = (double)w[i];
    for (uint32_t i = 0; i < n; i++) {
        assert_true(fabs(mean[i] - (double)whole[i]) < 1e-6);
        if (i % 23 == 0) {
            double step = (double)w[i] - 0.3 * oracle_slope(&g, wide, i, &b);
            assert_true(fabs(step - (double)whole[i]) < 1e-6);
        }
    }
    mem_free(wide);
    mem_free(x);
    mem_free(mean);
    mem_free(one);
    mem_free(whole);
    mem_free(w);
    dataset_deinit(&d);
    graph_deinit(&g);
}

static void test_determinism_and_rules(void **state) {
    (void)state;
    struct graph g = model(true);
    uint32_t n = g.layout.total;
    struct dataset d = task(47, 4);
    struct examples e = dataset_examples(&d);
    float *w = initial(&g), *a = mem_array(n, sizeof *a), *b = mem_array(n, sizeof *b);
    assert_true(a && b);
    struct train_rule rule = {.epochs = 2, .batch = 10, .lr = 0.1f};
    struct train_metrics ma = train(&g, &rule, &e, &stream_a, w, 0, a);
    struct train_metrics mb = train(&g, &rule, &e, &stream_a, w, 0, b);
    assert_memory_equal(a, b, n * sizeof *a);
    assert_memory_equal(&ma, &mb, sizeof ma);
    assert_int_equal(ma.steps, 10);
    /* Another serial: another order and other dropout. */
    (void)train(&g, &rule, &e, &(struct train_stream){77, 3, 43}, w, 0, b);
    assert_memory_not_equal(a, b, n * sizeof *a);
    /* The limits. */
    rule.steps_max = 7;
    assert_int_equal(train(&g, &rule, &e, &stream_a, w, 0, b).steps, 7);
    rule.steps_max = 0;
    rule.examples_max = 12;
    ma = train(&g, &rule, &e, &stream_a, w, 0, b);
    assert_int_equal(ma.steps, 4);
    assert_int_equal(ma.seen, 24);
    mem_free(w);
    mem_free(a);
    mem_free(b);
    dataset_deinit(&d);
    graph_deinit(&g);
}

/* mu = 0 is SGD by the rule; with mu > 0 the first step has no pull, and a huge mu holds the
 * weights near the start. */
static void test_prox(void **state) {
    (void)state;
    struct graph g = model(false);
    uint32_t n = g.layout.total;
    struct dataset d = task(40, 5);
    struct examples e = dataset_examples(&d);
    float *w = initial(&g), *a = mem_array(n, sizeof *a), *b = mem_array(n, sizeof *b);
    assert_true(a && b);
    struct train_rule rule = {.epochs = 1, .batch = 10, .lr = 0.1f, .steps_max = 1};
    (void)train(&g, &rule, &e, &stream_a, w, 0, a);
    rule.prox_mu = 0.5f;
    (void)train(&g, &rule, &e, &stream_a, w, 0, b);
    for (uint32_t i = 0; i < n; i++)
        assert_true(fabsf(a[i] - b[i]) < 1e-6f);
    /* The general rule (gradients, clipping, SGD with a vanishing pull) and the fused update agree
     * over whole epochs. */
    rule = (struct train_rule){.epochs = 2, .batch = 10, .lr = 0.1f, .weight_decay = 0.01f};
    (void)train(&g, &rule, &e, &stream_a, w, 0, a);
    for (int k = 0; k < 2; k++) {
        rule.prox_mu = 1e-30f;
        rule.clip_norm = k ? 1e9f : 0.0f;
        (void)train(&g, &rule, &e, &stream_a, w, 0, b);
        for (uint32_t i = 0; i < n; i++)
            assert_true(fabsf(a[i] - b[i]) < 1e-5f);
    }
    double far[2] = {0, 0};
    for (int k = 0; k < 2; k++) {
        rule =
            (struct train_rule){.epochs = 5, .batch = 10, .lr = 0.1f, .prox_mu = k ? 5.0f : 0.0f};
        (void)train(&g, &rule, &e, &stream_a, w, 0, a);
        for (uint32_t i = 0; i < n; i++)
            far[k] += pow((double)(a[i] - w[i]), 2);
    }
    assert_true(far[1] < far[0] / 2);
    mem_free(w);
    mem_free(a);
    mem_free(b);
    dataset_deinit(&d);
    graph_deinit(&g);
}

/* SCAFFOLD's step is y - lr (g - c_i + c): zero variates give SGD's bits, and a drift is added once
 * a step, also across checkpoints. */
static void test_drift(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct graph g = model(true);
    const uint32_t n = g.layout.total;
    struct dataset d = task(33, 6);
    struct examples e = dataset_examples(&d);
    float *w = initial(&g), *a = mem_array(n, sizeof *a), *b = mem_array(n, sizeof *b);
    float *by = mem_array(n, sizeof *by);
    assert_true(a && b && by);
    const struct train_rule rules[] = {
        {.epochs = 3, .batch = 10, .lr = 0.1f},
        {.epochs = 2, .batch = 8, .lr = 0.05f, .momentum = 0.9f, .clip_norm = 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        struct train_rule rule = rules[i];
        (void)train(&g, &rule, &e, &stream_a, w, 0, a);
        rule.algorithm = TRAIN_SCAFFOLD;
        memset(by, 0, n * sizeof *by);
        drift = by;
        (void)train(&g, &rule, &e, &stream_a, w, 0, b);
        assert_memory_equal(a, b, n * sizeof *a);
        rule.steps_max = 1; /* after one step the gradient no longer is the same */
        (void)train(&g, &rule, &e, &stream_a, w, 0, a);
        for (uint32_t k = 0; k < n; k++)
            by[k] = 0.25f * (float)(k % 7);
        (void)train(&g, &rule, &e, &stream_a, w, 0, b);
        for (uint32_t k = 0; k < n; k++)
            assert_true(b[k] == a[k] + by[k]);
        rule.steps_max = 0;
        for (uint32_t k = 0; k < n; k++)
            by[k] *= 0.01f;
        (void)train(&g, &rule, &e, &stream_a, w, 0, a);
        (void)train(&g, &rule, &e, &stream_a, w, 3, b);
        assert_memory_equal(a, b, n * sizeof *a);
        drift = NULL;
        struct trainer *t;
        ASSERT_OK(trainer_new(&g, &rule, 0, ref(), &t, &err));
        ASSERT_OK(trainer_begin(t, w, &e, &stream_a, &err));
        ASSERT_FAILS(trainer_advance(t, 1, NULL, &err), SOTTO_STATE, "control variates");
        trainer_free(t);
    }
    mem_free(w);
    mem_free(a);
    mem_free(b);
    mem_free(by);
    dataset_deinit(&d);
    graph_deinit(&g);
}

/* FedNova's a: all ones; (1 - m^(k+1)) / (1 - m) with momentum; (1 - lr mu)^k with a proximal term.
 */
static void test_normalizer(void **state) {
    (void)state;
    struct train_rule r = TRAIN_RULE_INIT;
    assert_true(train_normalizer(&r, 0) == 0.0 && train_normalizer(&r, 937) == 937.0);
    r.momentum = 0.9f;
    const double m = (double)r.momentum;
    double want = 0.0;
    for (int k = 1; k <= 50; k++)
        want += (1.0 - pow(m, k)) / (1.0 - m);
    assert_true(fabs(train_normalizer(&r, 50) - want) < 1e-9 * want);
    r.nesterov = true; /* g + m v: every gradient weighs 1 + m (1 + .. + m^rest) */
    want = 0.0;
    for (int k = 1; k <= 50; k++)
        want += 1.0 + m * (1.0 - pow(m, k)) / (1.0 - m);
    assert_true(fabs(train_normalizer(&r, 50) - want) < 1e-9 * want);
    const struct train_rule prox = {.lr = 0.1f, .prox_mu = 2.0f};
    const double pull = (double)prox.lr * (double)prox.prox_mu;
    want = (1.0 - pow(1.0 - pull, 30)) / pull;
    assert_true(fabs(train_normalizer(&prox, 30) - want) < 1e-9 * want);
}

static void test_resume_bits(void **state) {
    (void)state;
    struct graph g = model(true);
    uint32_t n = g.layout.total;
    struct dataset d = task(33, 6);
    struct examples e = dataset_examples(&d);
    float *w = initial(&g), *a = mem_array(n, sizeof *a), *b = mem_array(n, sizeof *b);
    assert_true(a && b);
    const struct train_rule rules[] = {
        {.epochs = 3, .batch = 10, .lr = 0.1f},
        {.epochs = 3, .batch = 10, .lr = 0.05f, .momentum = 0.9f, .examples_max = 20},
        {.epochs = 2, .batch = 8, .lr = 0.05f, .momentum = 0.5f, .prox_mu = 0.1f, .clip_norm = 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        struct train_metrics ma = train(&g, &rules[i], &e, &stream_a, w, 0, a);
        for (uint32_t every = 1; every <= 4; every++) {
            struct train_metrics mb = train(&g, &rules[i], &e, &stream_a, w, every, b);
            assert_memory_equal(a, b, n * sizeof *a);
            assert_memory_equal(&ma, &mb, sizeof ma);
        }
    }
    mem_free(w);
    mem_free(a);
    mem_free(b);
    dataset_deinit(&d);
    graph_deinit(&g);
}

static void test_resume_refuses(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct graph g = model(false);
    struct dataset d = task(30, 7);
    struct examples e = dataset_examples(&d);
    float *w = initial(&g);
    struct train_rule rule = {.epochs = 1, .batch = 10, .lr = 0.1f, .momentum = 0.9f};
    struct trainer *t;
    struct buf saved;
    buf_init(&saved, 1u << 24);
    ASSERT_OK(trainer_new(&g, &rule, 0, ref(), &t, &err));
    ASSERT_OK(trainer_begin(t, w, &e, &stream_a, &err));
    ASSERT_OK(trainer_advance(t, 1, NULL, &err));
    trainer_save(t, &saved);
    ASSERT_FAILS(trainer_resume(t, buf_view(&saved), &err), SOTTO_STATE, "another training");
    ASSERT_OK(trainer_begin(t, w, &e, &stream_a, &err));
    for (size_t k = 0; k < saved.len; k += k < 80 ? 1 : 997)
        assert_int_not_equal(trainer_resume(t, view_of(saved.data, k), NULL), SOTTO_OK);
    struct train_stream other = stream_a;
    other.round++;
    ASSERT_OK(trainer_begin(t, w, &e, &other, &err));
    ASSERT_FAILS(trainer_resume(t, buf_view(&saved), &err), SOTTO_STATE, "another training");
    trainer_free(t);
    buf_deinit(&saved);
    mem_free(w);
    dataset_deinit(&d);
    graph_deinit(&g);
}

static void test_no_allocation(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct graph g = model(true);
    struct dataset d = task(55, 8);
    struct examples e = dataset_examples(&d);
    float *w = initial(&g);
    struct train_rule rule = {.epochs = 3, .batch = 10, .lr = 0.1f, .momentum = 0.5f};
    struct trainer *t;
    bool done;
    ASSERT_OK(trainer_new(&g, &rule, 0, ref(), &t, &err));
    for (int k = 0; k < 2; k++) {
        uint64_t before = mem_call_count();
        ASSERT_OK(trainer_begin(t, w, &e, &stream_a, &err));
        if (k == 1) /* as large as before: begin allocates nothing either */
            assert_int_equal(mem_call_count(), before);
        before = mem_call_count();
        ASSERT_OK(trainer_advance(t, 0, &done, &err));
        assert_true(done);
        trainer_finish(t, w, NULL);
        assert_int_equal(mem_call_count(), before);
    }
    assert_true(trainer_bytes(t) >= trainer_program(t)->arena_bytes);
    trainer_free(t);
    mem_free(w);
    dataset_deinit(&d);
    graph_deinit(&g);
}

static void test_refusals(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct graph g = model(false);
    struct dataset d = task(10, 9);
    struct examples e = dataset_examples(&d);
    float *w = initial(&g);
    struct trainer *t;
    static const struct {
        struct train_rule rule;
        const char *part;
    } bad[] = {
        {{.epochs = 0, .batch = 1, .lr = 0.1f}, "epochs"},
        {{.epochs = 1, .batch = 1, .lr = 0}, "learning rate"},
        {{.epochs = 1, .batch = 1, .lr = NAN}, "learning rate"},
        {{.epochs = 1, .batch = 1 << 20, .lr = 0.1f}, "batch"},
        {{.epochs = 1, .batch = 1, .lr = 0.1f, .momentum = 1}, "momentum"},
        {{.epochs = 1, .batch = 1, .lr = 0.1f, .nesterov = true}, "nesterov"},
        {{.epochs = 1, .batch = 1, .lr = 0.1f, .weight_decay = -1}, "weight decay"},
        {{.epochs = 1, .batch = 1, .lr = 0.1f, .prox_mu = INFINITY}, "prox"},
        {{.epochs = 1, .batch = 1, .lr = 0.1f, .clip_norm = -1}, "clip"},
        {{.epochs = 1, .batch = 1, .lr = 0.1f, .algorithm = (enum train_algorithm)3}, "algorithm"},
        {{.epochs = 1, .batch = 1, .lr = 0.1f, .prox_mu = 1, .algorithm = TRAIN_SCAFFOLD},
         "proximal"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ASSERT_FAILS(trainer_new(&g, &bad[i].rule, 0, ref(), &t, &err), SOTTO_INVALID, bad[i].part);
    struct train_rule rule = {.epochs = 1, .batch = 0, .lr = 0.1f};
    ASSERT_FAILS(trainer_new(&g, &rule, 0, ref(), &t, &err), SOTTO_INVALID, "full batch");
    uint64_t planned = 0;
    ASSERT_OK(trainer_plan(&g, &rule, 9, ref(), &planned, &err));
    ASSERT_OK(trainer_new(&g, &rule, 9, ref(), &t, &err));
    assert_int_equal(planned, trainer_bytes(t));
    ASSERT_FAILS(trainer_begin(t, w, &e, &stream_a, &err), SOTTO_LIMIT, "10 examples");
    e.count = 0;
    ASSERT_FAILS(trainer_begin(t, w, &e, &stream_a, &err), SOTTO_INVALID, "no examples");
    e.count = 5;
    e.labels = NULL;
    ASSERT_FAILS(trainer_begin(t, w, &e, &stream_a, &err), SOTTO_INVALID, "labels");
    e.labels = d.labels;
    d.labels[2] = 3;
    ASSERT_FAILS(trainer_begin(t, w, &e, &stream_a, &err), SOTTO_INVALID, "label 3");
    struct data_schema other = schema;
    other.dims[0] = 5;
    e.schema = &other;
    ASSERT_FAILS(trainer_begin(t, w, &e, &stream_a, &err), SOTTO_INVALID, "u8 5x6x1");
    trainer_free(t);
    mem_free(w);
    dataset_deinit(&d);
    graph_deinit(&g);
}

static void test_predict(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct graph g = model(true);
    struct dataset d = task(23, 10);
    struct examples e = dataset_examples(&d);
    float *w = initial(&g), p[23 * CLASSES], q[2 * CLASSES];
    struct evaluator *ev;
    ASSERT_OK(evaluator_new(&g, 8, ref(), &ev, &err));
    e.labels = NULL;
    ASSERT_OK(evaluator_predict(ev, w, &e, 2.0f, p, &err));
    for (uint32_t i = 0; i < 23; i++)
        assert_true(fabsf(p[3 * i] + p[3 * i + 1] + p[3 * i + 2] - 1) < 1e-5f);
    const uint32_t index[2] = {19, 4};
    e.index = index;
    e.count = 2;
    ASSERT_OK(evaluator_predict(ev, w, &e, 2.0f, q, &err));
    assert_memory_equal(q, p + 19 * CLASSES, CLASSES * sizeof *q);
    assert_memory_equal(q + CLASSES, p + 4 * CLASSES, CLASSES * sizeof *q);
    ASSERT_FAILS(evaluator_predict(ev, w, &e, 0.0f, q, &err), SOTTO_INVALID, "temperature");
    evaluator_free(ev);
    mem_free(w);
    dataset_deinit(&d);
    graph_deinit(&g);
}

struct seen {
    uint32_t calls, stop_at;
};
static bool watch(void *ctx, uint32_t step, uint32_t steps, double loss) {
    struct seen *s = ctx;
    assert_true(step == s->calls + 1 && step <= steps && isfinite(loss));
    return ++s->calls != s->stop_at;
}

static void test_distill(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct graph g = model(false);
    uint32_t n = g.layout.total;
    struct dataset pool = task(150, 13), test = task(300, 14);
    struct examples unlabelled = dataset_examples(&pool);
    unlabelled.labels = NULL;
    float *w = initial(&g), *teachers[2], *student = mem_array(n, sizeof *student);
    assert_non_null(student);
    for (uint32_t k = 0; k < 2; k++) { /* each from its own start: their average is a poor model */
        struct dataset d = task(150, 11 + k);
        struct examples e = dataset_examples(&d);
        struct train_rule rule = {.epochs = 10, .batch = 10, .lr = 0.2f};
        teachers[k] = mem_array(n, sizeof **teachers);
        assert_non_null(teachers[k]);
        graph_init_params(&g, test_seed() + 100 + k, w);
        (void)train(&g, &rule, &e, &stream_a, w, 0, teachers[k]);
        dataset_deinit(&d);
    }
    for (uint32_t i = 0; i < n; i++)
        student[i] = (teachers[0][i] + teachers[1][i]) / 2;
    double before = accuracy(&g, student, &test);
    struct distill_config config = DISTILL_CONFIG_INIT;
    config.steps = 150;
    config.temperature = 2;
    struct seen seen = {0, 0};
    ASSERT_OK(distill_run(&g, &config, (const float *const *)teachers, 2, &unlabelled, ref(),
                          student, watch, &seen, &err));
    double after = accuracy(&g, student, &test);
    print_message("average %.3f, distilled %.3f, teachers %.3f %.3f\n", before, after,
                  accuracy(&g, teachers[0], &test), accuracy(&g, teachers[1], &test));
    assert_int_equal(seen.calls, config.steps);
    assert_true(after > before + 0.02 || after > 0.97);
    seen = (struct seen){0, 3};
    ASSERT_FAILS(distill_run(&g, &config, (const float *const *)teachers, 2, &unlabelled, ref(),
                             student, watch, &seen, &err),
                 SOTTO_CANCELLED, "step 3");
    mem_free(teachers[0]);
    mem_free(teachers[1]);
    mem_free(student);
    mem_free(w);
    dataset_deinit(&pool);
    dataset_deinit(&test);
    graph_deinit(&g);
}

static enum sotto_status all_without_memory(void *ctx, struct sotto_error *err) {
    struct dataset *d = ctx;
    struct graph g = {0};
    struct trainer *t = NULL;
    struct evaluator *e = NULL;
    struct train_rule rule = {
        .epochs = 1, .batch = 4, .lr = 0.1f, .momentum = 0.5f, .clip_norm = 1};
    struct examples all = dataset_examples(d);
    float w[PIXELS * CLASSES + CLASSES] = {0}, *student = w;
    uint32_t at;
    enum sotto_status status;
    graph_init(&g);
    TRY(graph_input(&g, 3, schema.dims, &at, err));
    TRY(graph_add(&g, &(struct graph_node){.op = GRAPH_FLATTEN, .inputs = {at}}, &at, err));
    TRY(graph_add(
        &g, &(struct graph_node){.op = GRAPH_DENSE, .inputs = {at}, .units = CLASSES, .bias = true},
        &at, err));
    TRY(graph_finish(&g, err));
    TRY(trainer_new(&g, &rule, 0, ref(), &t, err));
    TRY(trainer_begin(t, w, &all, &stream_a, err));
    TRY(evaluator_new(&g, 4, ref(), &e, err));
    struct distill_config config = DISTILL_CONFIG_INIT;
    config.steps = 1;
    const float *const teachers[1] = {w};
    TRY(distill_run(&g, &config, teachers, 1, &all, ref(), student, NULL, NULL, err));
out:
    evaluator_free(e);
    trainer_free(t);
    graph_deinit(&g);
    return status;
}

static void test_no_memory(void **state) {
    (void)state;
    struct dataset d = task(9, 15);
    test_oom_loop(all_without_memory, &d);
    dataset_deinit(&d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_learns),
        cmocka_unit_test(test_full_batch_is_gradient_step),
        cmocka_unit_test(test_determinism_and_rules),
        cmocka_unit_test(test_prox),
        cmocka_unit_test(test_drift),
        cmocka_unit_test(test_normalizer),
        cmocka_unit_test(test_resume_bits),
        cmocka_unit_test(test_resume_refuses),
        cmocka_unit_test(test_no_allocation),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_predict),
        cmocka_unit_test(test_distill),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
