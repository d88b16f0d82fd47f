/* Forward programs in int8, bf16 and f16 against f32, and packages unpacked straight into programs:
 * on "ref", the processor's own backend, or the one that SOTTO_TEST_BACKEND names. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oracle.h"
#include "support.h"

static const struct kern_backend *list[2];
static size_t list_count;
static int model_count = 12,
           layer_count = 6; /* fewer on a device: each program is compiled for it */

static int choose(void **state) {
    (void)state;
    const char *name = getenv("SOTTO_TEST_BACKEND");
    list[0] = name ? kern_backend_find(name) : kern_backend_find("ref");
    list[1] = kern_backend_host();
    list_count = name ? 1 : 2;
    if (name) {
        model_count = 5;
        layer_count = 2;
    }
    return list[0] != NULL ? 0 : -1;
}

/* ---- Models, their packages and examples ---- */

struct fixture {
    struct graph g;
    struct data_schema schema;
    float *w; /* as the package's values are */
    struct buf bytes;
    struct package opened; /* from bytes */
    struct examples e;
    float *x;
    int32_t *labels;
};

static void fixture_fill(struct fixture *f, struct rng *rng, enum package_precision precision,
                         uint32_t examples) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    const struct graph_node *in = &f->g.nodes[0];
    const uint32_t total = f->g.layout.total, inputs = graph_input_count(&f->g);
    f->schema = (struct data_schema){.dtype = DATA_F32,
                                     .rank = in->rank,
                                     .dims = {in->dims[0], in->dims[1], in->dims[2]},
                                     .classes = graph_classes(&f->g),
                                     .scale = 1};
    f->w = mem_array(total, sizeof *f->w);
    f->x = mem_array((size_t)examples * inputs, sizeof *f->x);
    f->labels = mem_array(examples, sizeof *f->labels);
    assert_true(f->w && f->x && f->labels);
    graph_init_params(&f->g, rng_u64(rng), f->w);
    for (uint32_t s = 0; s < f->g.layout.segment_count; s++)
        if (f->g.layout.segments[s].kind != LAYOUT_WEIGHT) /* biases are drawn too */
            oracle_random_values(rng, f->w + f->g.layout.segments[s].offset,
                                 f->g.layout.segments[s].count);
    oracle_random_values(rng, f->x, (size_t)examples * inputs);
    for (uint32_t i = 0; i < examples; i++)
        f->labels[i] = (int32_t)rng_below(rng, f->schema.classes);
    buf_init(&f->bytes, PACKAGE_BYTES_MAX);
    buf_put_u8(&f->bytes, 0); /* tensors lie at any address */
    ASSERT_OK(package_encode(&f->g, &f->schema, f->w, precision, &f->bytes, &err));
    ASSERT_OK(package_open(view_of(f->bytes.data + 1, f->bytes.len - 1), &f->opened, &err));
    assert_null(f->opened.params);
    package_unpack(&f->opened, 0, total, f->w);
    f->e =
        (struct examples){.schema = &f->schema, .x = f->x, .labels = f->labels, .count = examples};
}

static void fixture_free(struct fixture *f) {
    package_deinit(&f->opened);
    buf_deinit(&f->bytes);
    graph_deinit(&f->g);
    mem_free(f->w);
    mem_free(f->x);
    mem_free(f->labels);
}

/* inputs -> hidden (ReLU, 0: none) -> classes. */
static void dense_graph(struct graph *g, uint32_t inputs, uint32_t hidden, uint32_t classes) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    uint32_t at;
    graph_init(g);
    ASSERT_OK(graph_input(g, 1, &inputs, &at, &err));
    struct graph_node layers[] = {
        {.op = GRAPH_DENSE, .units = hidden, .bias = true},
        {.op = GRAPH_ACT, .act = KERN_ACT_RELU},
        {.op = GRAPH_DENSE, .units = classes, .bias = hidden % 2 == 0},
    };
    for (size_t i = hidden ? 0 : 2; i < ARRAY_LEN(layers); i++) {
        layers[i].inputs[0] = at;
        ASSERT_OK(graph_add(g, &layers[i], &at, &err));
    }
    ASSERT_OK(graph_finish(g, &err));
}

static float *logits_of(const struct fixture *f, const struct kern_backend *b,
                        enum graph_precision precision, uint32_t batch) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct evaluator *ev;
    float *out = mem_array((size_t)f->e.count * f->schema.classes, sizeof *out);
    assert_non_null(out);
    ASSERT_OK(evaluator_new_precision(&f->g, batch, precision, b, &ev, &err));
    ASSERT_OK(evaluator_load(ev, &f->opened, &err));
    ASSERT_OK(evaluator_logits(ev, NULL, &f->e, out, &err));
    evaluator_free(ev);
    return out;
}

/* ---- Values ---- */

/* What a product's factors and sums may lose, as a share of sum |a||b|: K eps for the sums, and for
 * short floats half an ulp of each operand. f16 loses the last bits of small values too. */
static double share_of(enum graph_precision precision, double k) {
    const double operand = precision == GRAPH_BF16  ? ldexp(1, -8)
                           : precision == GRAPH_F16 ? ldexp(1, -11)
                                                    : 0;
    return 2.02 * operand + 2 * (k + 2) * (double)FLT_EPSILON;
}

/* One dense layer: against sums in double over the package's values. */
static void check_layer(struct rng *rng, const struct kern_backend *b,
                        enum graph_precision precision) {
    struct fixture f;
    const uint32_t k = 1 + rng_below(rng, 300), n = 2 + rng_below(rng, 40);
    memset(&f, 0, sizeof f);
    dense_graph(&f.g, k, 0, n);
    fixture_fill(&f, rng, PACKAGE_I8, 1 + rng_below(rng, 20));
    float *got = logits_of(&f, b, precision, 1 + rng_below(rng, 9));
    const float *bias = f.g.layout.segment_count > 1 ? f.w + f.g.layout.segments[1].offset : NULL;
    for (uint32_t r = 0; r < f.e.count; r++)
        for (uint32_t c = 0; c < n; c++) {
            double want = bias ? (double)bias[c] : 0, sum = fabs(want);
            for (uint32_t i = 0; i < k; i++) {
                const double p = (double)f.x[r * k + i] * (double)f.w[i * n + c];
                want += p;
                sum += fabs(p);
            }
            const double off = fabs((double)got[r * n + c] - want);
            const double small = precision == GRAPH_F16 ? k * ldexp(1, -24) : 0;
            if (off > share_of(precision, k) * sum + small)
                fail_msg("%s, precision %d, k %u: %g is off by %g of %g", kern_backend_name(b),
                         precision, k, want, off, sum);
        }
    mem_free(got);
    fixture_free(&f);
}

static void test_layers(void **state) {
    (void)state;
    struct rng rng;
    rng_init(&rng, test_seed(), 1, 0, RNG_GENERATE);
    for (size_t b = 0; b < list_count; b++)
        for (enum graph_precision p = GRAPH_F32; p <= GRAPH_F16; p++)
            for (int i = 0; i < layer_count; i++)
                check_layer(&rng, list[b], p);
}

static double farthest(const float *a, const float *b, size_t n, double *top) {
    double far = 0;
    *top = 0;
    for (size_t i = 0; i < n; i++) {
        far = fmax(far, fabs((double)a[i] - (double)b[i]));
        *top = fmax(*top, fabs((double)b[i]));
    }
    return far;
}

/* Whole models: the int8 codes give what their dequantized values give. */
static void test_models(void **state) {
    (void)state;
    struct rng rng;
    rng_init(&rng, test_seed(), 2, 0, RNG_GENERATE);
    for (size_t b = 0; b < list_count; b++)
        for (int i = 0; i < model_count; i++) {
            struct fixture f;
            double top;
            memset(&f, 0, sizeof f);
            if (i < 2)
                dense_graph(&f.g, 150, 120 + (uint32_t)i, 11); /* more than one piece of a load */
            else
                oracle_random_graph(&rng, &f.g);
            fixture_fill(&f, &rng, PACKAGE_I8, 9);
            float *want = logits_of(&f, kern_backend_find("ref"), GRAPH_F32, 4);
            const double bound[] = {1e-4, 1e-4, 0.1, 0.02};
            for (enum graph_precision p = GRAPH_F32; p <= GRAPH_F16; p++) {
                float *got = logits_of(&f, list[b], p, 4);
                const double far = farthest(got, want, (size_t)9 * f.schema.classes, &top);
                if (!(far <= bound[p] * (1 + top)))
                    fail_msg("%s, precision %d, model %d: off by %g of %g",
                             kern_backend_name(list[b]), p, i, far, top);
                mem_free(got);
            }
            mem_free(want);
            fixture_free(&f);
        }
}

/* Any part of an opened package is what decoding it gives. */
static void test_parts(void **state) {
    (void)state;
    struct rng rng;
    struct sotto_error err = SOTTO_ERROR_INIT;
    rng_init(&rng, test_seed(), 3, 0, RNG_GENERATE);
    for (int i = 0; i < 30; i++) {
        struct fixture f;
        struct package decoded;
        memset(&f, 0, sizeof f);
        oracle_random_graph(&rng, &f.g);
        fixture_fill(&f, &rng, (enum package_precision)(i % 3), 1);
        const uint32_t total = f.g.layout.total;
        ASSERT_OK(package_decode(view_of(f.bytes.data + 1, f.bytes.len - 1), &decoded, &err));
        assert_null(decoded.tensors);
        assert_memory_equal(f.w, decoded.params, total * sizeof(float));
        float *part = mem_array(total, sizeof *part), *other = mem_array(total, sizeof *other);
        assert_true(part && other);
        for (int k = 0; k < 20; k++) {
            const uint32_t first = rng_below(&rng, total);
            const uint32_t count = 1 + rng_below(&rng, total - first);
            package_unpack(k % 2 ? &decoded : &f.opened, first, count, part);
            assert_memory_equal(part, decoded.params + first, count * sizeof(float));
        }
        oracle_random_values(&rng, part, total);
        vec_sub_f32(other, part, decoded.params, total);
        package_subtract(&f.opened, part);
        assert_memory_equal(part, other, total * sizeof(float));
        mem_free(part);
        mem_free(other);
        package_deinit(&decoded);
        fixture_free(&f);
    }
}

/* Training that begins from a package has the bits of one that begins from its values, with
 * momentum and with an anchor. */
static void test_training(void **state) {
    (void)state;
    struct rng rng;
    struct sotto_error err = SOTTO_ERROR_INIT;
    const struct train_stream stream = {7, 1, 3};
    rng_init(&rng, test_seed(), 4, 0, RNG_GENERATE);
    for (size_t b = 0; b < list_count; b++)
        for (int i = 0; i < 6; i++) {
            struct fixture f;
            struct train_rule rule = TRAIN_RULE_INIT;
            struct trainer *t;
            memset(&f, 0, sizeof f);
            if (i == 0)
                dense_graph(&f.g, 150, 120, 11);
            else
                oracle_random_graph(&rng, &f.g);
            fixture_fill(&f, &rng, (enum package_precision)(i % 3), 12);
            const uint32_t total = f.g.layout.total;
            float *want = mem_array(total, sizeof *want), *got = mem_array(total, sizeof *got);
            assert_true(want && got);
            rule.batch = 5;
            rule.momentum = i % 2 ? 0.9f : 0;
            rule.prox_mu = i > 3 ? 0.1f : 0;
            ASSERT_OK(trainer_new(&f.g, &rule, 0, list[b], &t, &err));
            ASSERT_OK(trainer_begin(t, f.w, &f.e, &stream, &err));
            ASSERT_OK(trainer_advance(t, 0, NULL, &err));
            trainer_finish(t, want, NULL);
            ASSERT_OK(trainer_begin_package(t, &f.opened, &f.e, &stream, &err));
            ASSERT_OK(trainer_advance(t, 0, NULL, &err));
            trainer_finish(t, got, NULL);
            assert_memory_equal(got, want, total * sizeof *got);
            trainer_free(t);
            mem_free(want);
            mem_free(got);
            fixture_free(&f);
        }
}

/* ---- Memory and wrong uses ---- */

/* Int8 evaluation holds a byte a weight: the plan says so, and it is what is held. */
static void test_memory(void **state) {
    (void)state;
    struct rng rng;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct fixture f;
    uint64_t arena[2];
    memset(&f, 0, sizeof f);
    rng_init(&rng, test_seed(), 5, 0, RNG_GENERATE);
    dense_graph(&f.g, 784, 200, 10);
    fixture_fill(&f, &rng, PACKAGE_I8, 8);
    const uint64_t weights = 784 * 200 + 200 * 10, rest = 200 + 10 + 200 + 10;
    for (int i = 0; i < 2; i++) {
        const struct graph_options o = evaluator_options(8, i == 0 ? GRAPH_F32 : GRAPH_W8);
        struct kern_program *p;
        struct evaluator *ev;
        ASSERT_OK(graph_compile_program(&f.g, &o, &p, &err));
        arena[i] = p->arena_bytes;
        if (i == 0)
            assert_int_equal(p->fixed_bytes, 0);
        else
            assert_true(p->fixed_bytes >= weights && p->fixed_bytes < 2 * weights);
        assert_int_equal(p->param_count, i == 0 ? weights + 210 : 210);
        graph_program_free(p);
        ASSERT_OK(evaluator_new_precision(&f.g, 8, o.precision, list[list_count - 1], &ev, &err));
        assert_true(evaluator_bytes(ev) >= arena[i]);
        if (!kern_backend_is_device(list[list_count - 1]))
            assert_true(evaluator_bytes(ev) <= arena[i] + ((uint64_t)256 << 10)); /* scratch */
        evaluator_free(ev);
    }
    assert_true(arena[0] >= arena[1] + 3 * weights - 4 * rest);
    fixture_free(&f);
}

static void test_refusals(void **state) {
    (void)state;
    struct rng rng;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct fixture f, other;
    struct evaluator *ev;
    struct kern_program *p;
    float logits[2 * 11];
    memset(&f, 0, sizeof f);
    memset(&other, 0, sizeof other);
    rng_init(&rng, test_seed(), 6, 0, RNG_GENERATE);
    dense_graph(&f.g, 20, 6, 11);
    dense_graph(&other.g, 20, 8, 11);
    fixture_fill(&f, &rng, PACKAGE_F32, 2);
    fixture_fill(&other, &rng, PACKAGE_I8, 2);
    ASSERT_OK(evaluator_new_precision(&f.g, 2, GRAPH_W8, kern_backend_host(), &ev, &err));
    ASSERT_FAILS(evaluator_logits(ev, NULL, &f.e, logits, &err), SOTTO_STATE, "none is loaded");
    ASSERT_FAILS(evaluator_logits(ev, f.w, &f.e, logits, &err), SOTTO_STATE, "from a package");
    ASSERT_FAILS(evaluator_load(ev, &f.opened, &err), SOTTO_INVALID, "not int8");
    ASSERT_FAILS(evaluator_load(ev, &other.opened, &err), SOTTO_INVALID, "another model");
    ASSERT_FAILS(evaluator_logits(ev, NULL, &f.e, logits, &err), SOTTO_STATE, "none is loaded");
    evaluator_free(ev);
    ASSERT_OK(evaluator_new(&f.g, 2, kern_backend_host(), &ev, &err));
    ASSERT_OK(evaluator_load(ev, &f.opened, &err));
    ASSERT_OK(evaluator_logits(ev, NULL, &f.e, logits, &err));
    ASSERT_OK(evaluator_logits(ev, f.w, &f.e, logits, &err));
    ASSERT_FAILS(evaluator_logits(ev, NULL, &f.e, logits, &err), SOTTO_STATE, "none is loaded");
    evaluator_free(ev);
    for (enum graph_precision k = GRAPH_W8; k <= GRAPH_F16 + 1; k++) {
        const struct graph_options o = {
            .mode = k > GRAPH_F16 ? GRAPH_EVAL : GRAPH_TRAIN, .precision = k, .batch = 1};
        ASSERT_FAILS(graph_compile_program(&f.g, &o, &p, &err), SOTTO_INVALID, "precision");
    }
    fixture_free(&f);
    fixture_free(&other);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layers), cmocka_unit_test(test_models),
        cmocka_unit_test(test_parts),  cmocka_unit_test(test_training),
        cmocka_unit_test(test_memory), cmocka_unit_test(test_refusals),
    };
    const char *name = getenv("SOTTO_TEST_BACKEND");
    if (name && !kern_backend_available(kern_backend_find(name))) {
        printf("%s cannot be used here\n", name);
        return 77; /* skipped */
    }
    return cmocka_run_group_tests(tests, choose, NULL);
}
