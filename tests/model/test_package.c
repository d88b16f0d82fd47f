/* Packages: round trips in every precision, the quantization rules, sizes, hostile bytes, deltas;
 * encoding of graphs. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "oracle.h"
#include "package/package_int.h"
#include "support.h"

static const enum package_precision precisions[] = {PACKAGE_F32, PACKAGE_I8, PACKAGE_I4};

static struct data_schema schema_of(const struct graph *g) {
    return (struct data_schema){DATA_U8,          1,          {graph_input_count(g), 0, 0},
                                graph_classes(g), 1.0f / 255, 0.5f};
}

/* A random graph with weights that span several magnitudes. */
static float *random_model(struct rng *rng, struct graph *g) {
    oracle_random_graph(rng, g);
    float *w = mem_array(g->layout.total, sizeof *w);
    assert_non_null(w);
    oracle_random_values(rng, w, g->layout.total);
    for (uint32_t i = 0; i < g->layout.total; i++)
        w[i] *= rng_below(rng, 3) ? 0.01f : 3.0f;
    return w;
}

static struct buf encode(const struct graph *g, const float *w, enum package_precision p) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct data_schema schema = schema_of(g);
    struct buf out;
    buf_init(&out, PACKAGE_BYTES_MAX);
    ASSERT_OK(package_encode(g, &schema, w, p, &out, &err));
    return out;
}

static void check_values(const struct graph *g, const float *w, const struct package *p) {
    for (uint32_t s = 0; s < g->layout.segment_count; s++) {
        const struct layout_segment *l = &g->layout.segments[s];
        const float *a = w + l->offset, *b = p->params + l->offset;
        enum quant_form form = quant_form_of(&g->layout, s, p->precision);
        uint32_t channels = l->dims[l->rank - 1];
        for (uint32_t i = 0; i < l->count; i++) {
            float top = 0, bound = 0;
            if (form == QUANT_I8) {
                for (uint32_t k = i % channels; k < l->count; k += channels)
                    top = fmaxf(top, fabsf(a[k]));
                bound = top / 254 * 1.001f;
            } else if (form == QUANT_I4) {
                uint32_t first = i / 32 * 32, end = first + 32 < l->count ? first + 32 : l->count;
                for (uint32_t k = first; k < end; k++)
                    top = fmaxf(top, fabsf(a[k]));
                bound = top / 14 * 1.01f;
            }
            assert_true(fabsf(a[i] - b[i]) <= bound);
        }
    }
}

static void test_round_trip(void **state) {
    (void)state;
    struct rng rng;
    rng_init(&rng, test_seed(), 10, 0, RNG_GENERATE);
    for (int i = 0; i < 40; i++) {
        struct graph g;
        float *w = random_model(&rng, &g);
        for (size_t k = 0; k < ARRAY_LEN(precisions); k++) {
            struct sotto_error err = SOTTO_ERROR_INIT;
            struct buf bytes = encode(&g, w, precisions[k]), again;
            struct package p;
            struct data_schema schema = schema_of(&g);
            ASSERT_OK(package_decode(buf_view(&bytes), &p, &err));
            assert_true(layout_equal(&p.graph.layout, &g.layout));
            assert_true(data_schema_equal(&p.schema, &schema));
            assert_int_equal(p.precision, precisions[k]);
            check_values(&g, w, &p);
            /* What was decoded encodes to itself: the rounded weights are a fixed point of fp32 and
             * int8. */
            if (precisions[k] != PACKAGE_I4) {
                again = encode(&p.graph, p.params, precisions[k]);
                assert_int_equal(again.len, bytes.len);
                if (precisions[k] == PACKAGE_F32)
                    assert_memory_equal(again.data, bytes.data, bytes.len);
                buf_deinit(&again);
            }
            again = encode(&g, w, precisions[k]);
            assert_int_equal(again.len, bytes.len);
            assert_memory_equal(again.data, bytes.data, bytes.len);
            buf_deinit(&again);
            package_deinit(&p);
            buf_deinit(&bytes);
        }
        mem_free(w);
        graph_deinit(&g);
    }
}

static void test_rules(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct graph g;
    uint32_t dims[1] = {2}, at;
    graph_init(&g);
    ASSERT_OK(graph_input(&g, 1, dims, &at, &err));
    struct graph_node n = {.op = GRAPH_DENSE, .inputs = {at}, .units = 3, .bias = true};
    ASSERT_OK(graph_add(&g, &n, &at, &err));
    ASSERT_OK(graph_finish(&g, &err));
    /* Channels: max 127 (scale 1), all zero, max 12.7. 2.5 and 3.5 are ties: both go to the even
     * neighbour. */
    const float w[9] = {127, 0, 12.7f, 2.5f, 0, -12.7f, 0.1f, 0.2f, 0.3f};
    struct buf bytes = encode(&g, w, PACKAGE_I8);
    struct package p;
    ASSERT_OK(package_decode(buf_view(&bytes), &p, &err));
    assert_true(p.params[0] == 127 && p.params[3] == 2 && p.params[1] == 0 && p.params[4] == 0);
    assert_true(fabsf(p.params[2] - 12.7f) < 1e-5f && fabsf(p.params[5] + 12.7f) < 1e-5f);
    assert_true(p.params[6] == 0.1f && p.params[8] == 0.3f); /* biases keep their bits */
    package_deinit(&p);
    buf_deinit(&bytes);
    struct data_schema schema = schema_of(&g);
    struct buf out;
    buf_init(&out, PACKAGE_BYTES_MAX);
    float bad[9] = {0};
    bad[4] = NAN;
    ASSERT_FAILS(package_encode(&g, &schema, bad, PACKAGE_I8, &out, &err), SOTTO_INVALID,
                 "not finite");
    bad[4] = 3e38f;
    ASSERT_FAILS(package_encode(&g, &schema, bad, PACKAGE_I8, &out, &err), SOTTO_INVALID,
                 "too large");
    schema.classes = 4;
    ASSERT_FAILS(package_encode(&g, &schema, w, PACKAGE_I8, &out, &err), SOTTO_INVALID,
                 "do not fit");
    buf_deinit(&out);
    graph_deinit(&g);
}

static void test_half(void **state) {
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        float v = quant_half_to((uint16_t)h);
        if (v == v)
            assert_int_equal(quant_half_from(v), h);
    }
    assert_int_equal(quant_half_from(1.0f), 0x3c00);
    assert_int_equal(quant_half_from(65504.0f), 0x7bff);
    assert_int_equal(quant_half_from(65520.0f), 0x7c00);
    assert_int_equal(quant_half_from(1e-9f), 0);
    assert_int_equal(quant_half_from(2049.0f), quant_half_from(2048.0f)); /* a tie to even */
    assert_int_equal(quant_half_from(ldexpf(3, -25)), 2);                 /* 1.5 units: to even */
}

static enum sotto_status decode_without_memory(void *ctx, struct sotto_error *err) {
    struct package p;
    enum sotto_status status = package_decode(buf_view(ctx), &p, err);
    package_deinit(&p);
    return status;
}

/* Extras: each form comes back, without them nothing changes, and every truncation is refused. */
static void test_extras(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct rng rng;
    struct graph g;
    struct package p;
    rng_init(&rng, test_seed(), 15, 0, RNG_GENERATE);
    float *w = random_model(&rng, &g);
    const uint32_t n = g.layout.total;
    const struct data_schema schema = schema_of(&g);
    float *control = mem_array(n, sizeof *control);
    uint8_t *bits = mem_array((n + 7) / 8, 1);
    assert_true(control && bits);
    oracle_random_values(&rng, control, n);
    for (uint32_t i = 0; i < n; i += 3)
        bits[i / 8] |= (uint8_t)(1u << i % 8);
    struct package_extra extras[] = {{PACKAGE_CONTROL, PACKAGE_FORM_F32, control, NULL},
                                     {"small", PACKAGE_FORM_I8, control, NULL},
                                     {"support", PACKAGE_FORM_BITS, NULL, bits}};
    struct buf plain = encode(&g, w, PACKAGE_I8), out;
    buf_init(&out, PACKAGE_BYTES_MAX);
    ASSERT_OK(package_encode_extras(&g, &schema, w, PACKAGE_I8, extras, 0, &out, &err));
    assert_int_equal(out.len, plain.len);
    assert_memory_equal(out.data, plain.data, plain.len);
    buf_reset(&out);
    ASSERT_OK(package_encode_extras(&g, &schema, w, PACKAGE_I8, extras, 3, &out, &err));
    ASSERT_OK(package_decode(buf_view(&out), &p, &err));
    assert_int_equal(p.extra_count, 3);
    assert_null(package_extra_find(&p, "other"));
    assert_memory_equal(package_extra_find(&p, PACKAGE_CONTROL)->values, control,
                        n * sizeof *control);
    assert_memory_equal(package_extra_find(&p, "support")->bits, bits, (n + 7) / 8);
    struct package as_weights = {.graph = g, .precision = PACKAGE_I8};
    as_weights.params = package_extra_find(&p, "small")->values;
    check_values(&g, control, &as_weights);
    package_deinit(&p);
    for (size_t k = plain.len; k < out.len; k++) {
        assert_int_not_equal(package_decode(view_of(out.data, k), &p, NULL), SOTTO_OK);
        package_deinit(&p);
    }
    test_oom_loop(decode_without_memory, &out);
    buf_reset(&out);
    struct package_extra twice[] = {extras[0], extras[0]};
    ASSERT_FAILS(package_encode_extras(&g, &schema, w, PACKAGE_I8, twice, 2, &out, &err),
                 SOTTO_INVALID, "extra 1");
    control[n - 1] = INFINITY;
    ASSERT_FAILS(package_encode_extras(&g, &schema, w, PACKAGE_I8, extras, 1, &out, &err),
                 SOTTO_INVALID, "not finite");
    if (n % 8 != 0) {
        bits[n / 8] |= 0x80;
        ASSERT_FAILS(package_encode_extras(&g, &schema, w, PACKAGE_I8, extras + 2, 1, &out, &err),
                     SOTTO_INVALID, "past the last");
    }
    buf_deinit(&plain);
    buf_deinit(&out);
    mem_free(control);
    mem_free(bits);
    mem_free(w);
    graph_deinit(&g);
}

/* Every truncation and many changed bytes: an error or a valid package, never a crash or a leak. */
static void test_hostile_bytes(void **state) {
    (void)state;
    struct rng rng;
    rng_init(&rng, test_seed(), 11, 0, RNG_GENERATE);
    for (int i = 0; i < 6; i++) {
        struct graph g;
        float *w = random_model(&rng, &g);
        struct buf bytes = encode(&g, w, precisions[i % 3]);
        struct package p;
        uint64_t live = mem_live_count();
        for (size_t n = 0; n < bytes.len; n++) {
            assert_int_not_equal(package_decode(view_of(bytes.data, n), &p, NULL), SOTTO_OK);
            package_deinit(&p);
        }
        buf_put_u8(&bytes, 0);
        assert_int_not_equal(package_decode(buf_view(&bytes), &p, NULL), SOTTO_OK);
        package_deinit(&p);
        bytes.len--;
        for (int k = 0; k < 4000; k++) {
            size_t head = bytes.len < 200 ? bytes.len : 200; /* mostly the structure */
            size_t at = rng_below(&rng, (uint32_t)(k % 4 ? head : bytes.len));
            uint8_t keep = bytes.data[at];
            bytes.data[at] =
                k % 2 ? (uint8_t)(keep ^ (1u << rng_below(&rng, 8))) : (uint8_t)rng_u32(&rng);
            if (package_decode(buf_view(&bytes), &p, NULL) == SOTTO_OK) {
                struct buf again = encode(&p.graph, p.params, p.precision);
                assert_int_equal(again.len, bytes.len);
                buf_deinit(&again);
            }
            package_deinit(&p);
            bytes.data[at] = keep;
        }
        assert_int_equal(mem_live_count(), live);
        buf_deinit(&bytes);
        mem_free(w);
        graph_deinit(&g);
    }
}

static void test_delta(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct rng rng;
    rng_init(&rng, test_seed(), 12, 0, RNG_GENERATE);
    for (int i = 0; i < 20; i++) {
        struct graph g, h;
        float *w = random_model(&rng, &g), *v = random_model(&rng, &h);
        struct buf a = encode(&g, w, PACKAGE_I8), b, delta, out;
        for (uint32_t k = 0; k < g.layout.total; k += 7)
            w[k] *= 1.01f;
        b = i % 2 ? encode(&g, w, PACKAGE_I8) : encode(&h, v, PACKAGE_F32);
        buf_init(&delta, PACKAGE_BYTES_MAX);
        buf_init(&out, PACKAGE_BYTES_MAX);
        ASSERT_OK(package_delta_encode(buf_view(&a), buf_view(&b), &delta, &err));
        ASSERT_OK(package_delta_apply(buf_view(&a), buf_view(&delta), &out, &err));
        assert_int_equal(out.len, b.len);
        assert_memory_equal(out.data, b.data, b.len);
        for (size_t n = 0; n < delta.len; n++) {
            buf_reset(&out);
            assert_int_not_equal(
                package_delta_apply(buf_view(&a), view_of(delta.data, n), &out, NULL), SOTTO_OK);
            assert_int_equal(out.len, 0);
        }
        for (int k = 0; k < 300; k++) {
            size_t at = rng_below(&rng, (uint32_t)delta.len);
            delta.data[at] ^= (uint8_t)(1u << (k % 8));
            buf_reset(&out);
            (void)package_delta_apply(buf_view(&a), buf_view(&delta), &out, NULL);
            assert_true(out.len <= PACKAGE_BYTES_MAX);
            delta.data[at] ^= (uint8_t)(1u << (k % 8));
        }
        ASSERT_FAILS(package_delta_apply(view_of(a.data, a.len - 1), buf_view(&delta), &out, &err),
                     SOTTO_CORRUPT, "base");
        /* A target larger than the receiver's limit stops at the limit. */
        struct buf small;
        buf_init(&small, b.len / 2);
        assert_int_equal(package_delta_apply(buf_view(&a), buf_view(&delta), &small, NULL),
                         SOTTO_LIMIT);
        buf_deinit(&small);
        buf_deinit(&a);
        buf_deinit(&b);
        buf_deinit(&delta);
        buf_deinit(&out);
        mem_free(w);
        mem_free(v);
        graph_deinit(&g);
        graph_deinit(&h);
    }
}

static enum sotto_status delta_without_memory(void *ctx, struct sotto_error *err) {
    struct buf delta, out;
    buf_init(&delta, PACKAGE_BYTES_MAX);
    buf_init(&out, PACKAGE_BYTES_MAX);
    enum sotto_status status = package_delta_encode(view_of("abc", 3), buf_view(ctx), &delta, err);
    if (status == SOTTO_OK)
        status = package_delta_apply(view_of("abc", 3), buf_view(&delta), &out, err);
    buf_deinit(&delta);
    buf_deinit(&out);
    return status;
}

static void test_no_memory(void **state) {
    (void)state;
    struct rng rng;
    struct graph g;
    rng_init(&rng, test_seed(), 13, 0, RNG_GENERATE);
    float *w = random_model(&rng, &g);
    struct buf bytes = encode(&g, w, PACKAGE_I4);
    test_oom_loop(decode_without_memory, &bytes);
    test_oom_loop(delta_without_memory, &bytes);
    buf_deinit(&bytes);
    mem_free(w);
    graph_deinit(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),    cmocka_unit_test(test_rules),
        cmocka_unit_test(test_half),          cmocka_unit_test(test_extras),
        cmocka_unit_test(test_hostile_bytes), cmocka_unit_test(test_delta),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
