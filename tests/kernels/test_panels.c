/* Weights that a backend keeps in an order of its own: nobody outside sees it, training gives what
 * "ref" gives, and weights that are used in some other way stay as they are. */
#include "harness.h"

#include <math.h>
#include <string.h>

static const double EPS = 1.1920929e-7;

/* One dense layer without an activation: z = x w + b, dX, and the update of w from dz = target. */
struct dense {
    struct harness h;
    uint32_t batch, k, n;
    uint32_t x, w, b, z, dz, dx, g, v, anchor, all_g;
};

/* Where an update goes: fused, through a gradient, through one with momentum and anchor that is
 * clipped with another. */
enum way { FUSED, GRADIENT, MOMENTUM, WAYS };

static void dense_init(struct dense *d, enum way way, uint32_t batch, uint32_t k, uint32_t n) {
    memset(d, 0, sizeof *d);
    struct harness *h = &d->h;
    harness_init(h, test_seed() + k * 1000 + n, batch);
    d->batch = batch, d->k = k, d->n = n;
    d->x = harness_buffer(h, KERN_F32, KERN_ROLE_INPUT, batch * k);
    d->dz = harness_buffer(h, KERN_F32, KERN_ROLE_INPUT, batch * n);
    d->z = harness_f32(h, batch * n), d->dx = harness_f32(h, batch * k);
    /* Not at the start of the parameters, which are aligned to floats alone. */
    d->b = harness_buffer(h, KERN_F32, KERN_ROLE_PARAM, n);
    d->w = harness_buffer(h, KERN_F32, KERN_ROLE_PARAM, k * n);
    h->buffers[d->w].offset = h->buffers[d->b].offset + 4ull * n;
    h->p.param_offset = h->buffers[d->b].offset, h->p.param_count = n + k * n;
    harness_instr(h, KERN_GEMM, (uint32_t[]){d->x, d->w, d->z, d->b}, 4)->u.gemm =
        (struct kern_gemm){.m = batch, .n = n, .k = k, .act = KERN_ACT_RELU};
    harness_instr(h, KERN_GEMM, (uint32_t[]){d->dz, d->w, d->dx}, 3)->u.gemm =
        (struct kern_gemm){.m = batch, .n = k, .k = n, .trans_b = true};
    struct kern_gemm update = {.m = k, .n = n, .k = batch, .trans_a = true};
    if (way == FUSED) {
        update.scale = KERN_SCALE_NEG_LR, update.beta = KERN_BETA_DECAY;
        update.weight_decay = 0.25f;
        harness_instr(h, KERN_GEMM, (uint32_t[]){d->x, d->dz, d->w}, 3)->u.gemm = update;
        return;
    }
    d->all_g = harness_f32(h, k * n + 16);
    d->g = harness_f32(h, k * n);
    h->buffers[d->g].offset = h->buffers[d->all_g].offset;
    harness_instr(h, KERN_FILL0, (uint32_t[]){d->all_g}, 1)->u.pointwise.count = k * n + 16;
    update.beta = KERN_BETA_ONE;
    harness_instr(h, KERN_GEMM, (uint32_t[]){d->x, d->dz, d->g}, 3)->u.gemm = update;
    struct kern_sgd sgd = {.count = k * n};
    uint32_t args[4] = {d->w, d->g, KERN_NONE, KERN_NONE};
    if (way == MOMENTUM) {
        d->v = args[2] = harness_buffer(h, KERN_F32, KERN_ROLE_STATE, k * n);
        d->anchor = args[3] = harness_buffer(h, KERN_F32, KERN_ROLE_ANCHOR, k * n);
        h->p.state_first = (uint32_t)h->buffers[d->v].offset, h->p.state_count = k * n;
        /* The anchor is the parameters' copy, biases first. */
        h->p.arena_bytes += num_round_up(4ull * n, KERN_ALIGN);
        h->p.anchor_first = (uint32_t)h->buffers[d->anchor].offset;
        h->p.anchor_count = n + k * n;
        h->buffers[d->anchor].offset += 4ull * n;
        sgd.momentum = 0.9f, sgd.prox_mu = 0.5f, sgd.nesterov = true;
        harness_instr(h, KERN_CLIP_NORM, (uint32_t[]){d->all_g}, 1)->u.clip =
            (struct kern_clip){k * n + 16, 0.5f};
    }
    harness_instr(h, KERN_SGD, args, 4)->u.sgd = sgd;
}

static struct kern_exec *dense_exec(struct dense *d, const char *backend) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct kern_exec *e = NULL;
    ASSERT_OK(kern_exec_new(&d->h.p, kern_backend_find(backend), &e, &err));
    return e;
}

/* How many buffers do not lie in layout order, as the report says it. */
static unsigned in_panels(const struct kern_exec *e) {
    struct buf text;
    buf_init(&text, 1 << 16);
    kern_exec_report(e, &text);
    buf_put_u8(&text, 0);
    const char *end = strstr((const char *)text.data, " buffers in panels");
    unsigned n = 0;
    for (unsigned ten = 1; end && end[-1] >= '0' && end[-1] <= '9'; ten *= 10)
        n += ten * (unsigned)(*--end - '0');
    buf_deinit(&text);
    return n;
}
static bool likes_panels(void) {
    return strcmp(kern_backend_name(kern_backend_find(harness_backend())), "neon") == 0;
}

static float *random_floats(struct harness *h, uint32_t n) {
    float *x = mem_array(n, sizeof(float));
    assert_non_null(x);
    for (uint32_t i = 0; i < n; i++)
        x[i] = 2.0f * rng_f32(&h->rng) - 1.0f;
    return x;
}

static void assert_near(const float *got, const float *want, uint32_t n, double bound,
                        const char *what, const struct dense *d) {
    for (uint32_t i = 0; i < n; i++)
        if (!(fabs((double)got[i] - (double)want[i]) <= bound))
            fail_msg("%s of %u x %u, batch %u: element %u is %.9g, ref %.9g, bound %.3g", what,
                     d->k, d->n, d->batch, i, (double)got[i], (double)want[i], bound);
}

static const uint32_t SHAPES[][3] = {{1, 12, 12},  {3, 13, 23},    {10, 60, 16},  {10, 83, 33},
                                     {7, 84, 20},  {12, 200, 200}, {30, 61, 52},  {20, 190, 85},
                                     {5, 333, 27}, {2, 12, 131},   {300, 24, 14}, {10, 1, 40},
                                     {4, 40, 1},   {10, 64, 10},   {4, 130, 1100}};

/* Two steps on the backend and on "ref": all that can be read agrees, momentum and anchor too. */
static void test_training(void **state) {
    (void)state;
    for (unsigned s = 0; s < ARRAY_LEN(SHAPES); s++)
        for (unsigned way = 0; way < WAYS; way++) {
            struct dense d;
            dense_init(&d, (enum way)way, SHAPES[s][0], SHAPES[s][1], SHAPES[s][2]);
            struct harness *h = &d.h;
            const uint32_t params = h->p.param_count, weights = d.k * d.n;
            float *start = random_floats(h, params), *anchor = random_floats(h, params);
            float *moved = random_floats(h, weights), *end[2], *kept[2], *result[2][4];
            const uint32_t read[4] = {d.z, d.dx, d.w, way == FUSED ? d.x : d.g};
            for (unsigned b = 0; b < 2; b++) {
                struct sotto_error err = SOTTO_ERROR_INIT;
                struct kern_exec *e = dense_exec(&d, b ? harness_backend() : "ref");
                static const unsigned buffers[WAYS] = {1, 2, 4};
                const bool large = d.k >= 12 && d.n >= 12;
                assert_int_equal(in_panels(e), b && large && likes_panels() ? buffers[way] : 0);
                kern_exec_load_params(e, start);
                kern_exec_load_anchor(e, anchor);
                kern_exec_load_state(e, moved);
                kern_exec_write(e, d.x, h->start[d.x]);
                kern_exec_write(e, d.dz, h->start[d.dz]);
                h->step.lr = 0.01f;
                ASSERT_OK(kern_exec_run(e, &h->step, &err));
                ASSERT_OK(kern_exec_run(e, &h->step, &err));
                end[b] = mem_array(params, sizeof(float));
                kept[b] = mem_array(weights, sizeof(float));
                kern_exec_store_params(e, end[b]);
                if (way == MOMENTUM)
                    kern_exec_store_state(e, kept[b]);
                for (unsigned r = 0; r < 4; r++) {
                    result[b][r] = mem_array(h->buffers[read[r]].count, sizeof(float));
                    kern_exec_read(e, read[r], result[b][r]);
                }
                assert_memory_equal(result[b][2], end[b] + d.n, weights * sizeof(float));
                kern_exec_free(e);
            }
            const double most = 3.0; /* of any weight or gradient's terms */
            const double bound[4] = {
                2 * (d.k + 8.0) * EPS * most * d.k, 2 * (d.n + 8.0) * EPS * most * d.n,
                2 * (d.batch + 8.0) * EPS * most, 2 * (d.batch + 8.0) * EPS * most * d.batch};
            assert_near(end[1], end[0], params, bound[2], "parameters", &d);
            assert_near(kept[1], kept[0], weights, bound[3], "momentum", &d);
            for (unsigned r = 0; r < 4; r++) {
                assert_near(result[1][r], result[0][r], h->buffers[read[r]].count, bound[r],
                            "a result", &d);
                mem_free(result[0][r]);
                mem_free(result[1][r]);
            }
            for (unsigned b = 0; b < 2; b++) {
                mem_free(end[b]);
                mem_free(kept[b]);
            }
            mem_free(start);
            mem_free(anchor);
            mem_free(moved);
            harness_deinit(h);
        }
}

static void unpack_floats(void *ctx, uint32_t first, uint32_t count, float *out) {
    memcpy(out, (const float *)ctx + first, count * sizeof(float));
}

/* All ways in, all ways out, by lanes, at any address. */
static void test_in_and_out(void **state) {
    (void)state;
    struct dense d;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct kern_exec *e = NULL;
    dense_init(&d, MOMENTUM, 4, 190, 203);
    struct harness *h = &d.h;
    const uint32_t params = h->p.param_count, weights = d.k * d.n;
    ASSERT_OK(kern_exec_new_lanes(&h->p, kern_backend_find(harness_backend()), 2, &e, &err));
    float *a = random_floats(h, params), *b = random_floats(h, params);
    float *out = mem_array(params, sizeof(float));
    unsigned char *odd = mem_array(params * sizeof(float) + 1, 1);
    memcpy(odd + 1, b, params * sizeof(float));
    kern_exec_load_lane(e, 0, a);
    kern_exec_load_lane_params(e, 1, (const float *)(const void *)(odd + 1));
    for (uint32_t lane = 0; lane < 2; lane++) {
        kern_exec_store_lane(e, lane, out);
        assert_memory_equal(out, lane ? b : a, params * sizeof(float));
    }
    kern_exec_load_lane_state(e, 1, b);
    kern_exec_store_lane_state(e, 1, out);
    assert_memory_equal(out, b, weights * sizeof(float));
    kern_exec_store_lane_state(e, 0, (float *)(void *)(odd + 1));
    for (uint32_t i = 0; i < weights * sizeof(float); i++)
        assert_int_equal(odd[1 + i], 0);
    /* Buffers by name: of parameters, of the state, of a gradient and of all gradients. */
    kern_exec_read(e, d.w, out);
    assert_memory_equal(out, a + d.n, weights * sizeof(float));
    const uint32_t named[] = {d.w, d.b, d.v, d.anchor, d.g, d.all_g};
    for (unsigned i = 0; i < ARRAY_LEN(named); i++) {
        const uint32_t bytes = h->buffers[named[i]].count * (uint32_t)sizeof(float);
        kern_exec_write(e, named[i], b);
        kern_exec_read(e, named[i], out);
        assert_memory_equal(out, b, bytes);
    }
    kern_exec_read(e, d.g, out); /* written as a part of all gradients */
    assert_memory_equal(out, b, weights * sizeof(float));
    kern_exec_store_params(e, out); /* biases and weights, each written by name */
    assert_memory_equal(out, b, d.n * sizeof(float));
    assert_memory_equal(out + d.n, b, weights * sizeof(float));
    ASSERT_OK(kern_exec_unpack_lane(e, 0, unpack_floats, a, &err));
    kern_exec_store_params(e, out);
    assert_memory_equal(out, a, params * sizeof(float));
    kern_exec_read(e, d.anchor, out);
    assert_memory_equal(out, a + d.n, weights * sizeof(float));
    mem_free(a);
    mem_free(b);
    mem_free(out);
    mem_free(odd);
    kern_exec_free(e);
    harness_deinit(h);
}

/* The same weights used in one more way: the program's results are still the reference's. */
enum other {
    PLAIN_A,
    ADDED,
    FLAT_VIEW,
    HALF_VIEW,
    OTHER_SHAPE,
    OTHER_GRADIENT,
    PLAIN_PRODUCT,
    CLIPPED_PART,
    OTHERS
};

static void add_other(struct dense *d, enum other other) {
    struct harness *h = &d->h;
    const uint32_t count = d->k * d->n;
    if (other == PLAIN_A) { /* w times something */
        uint32_t y = harness_f32(h, d->n * 16), out = harness_f32(h, d->k * 16);
        harness_instr(h, KERN_GEMM, (uint32_t[]){d->w, y, out}, 3)->u.gemm =
            (struct kern_gemm){.m = d->k, .n = 16, .k = d->n};
    } else if (other == ADDED) { /* a sum with something in layout order */
        uint32_t y = harness_f32(h, count), out = harness_f32(h, count);
        harness_instr(h, KERN_ADD, (uint32_t[]){d->w, y, out}, 3)->u.pointwise.count = count;
    } else if (other == FLAT_VIEW || other == HALF_VIEW) { /* another buffer in the same place */
        const uint32_t n = other == FLAT_VIEW ? count : count / 2;
        uint32_t view = harness_buffer(h, KERN_F32, KERN_ROLE_PARAM, n);
        uint32_t out = harness_f32(h, n);
        h->buffers[view].offset = h->buffers[d->w].offset;
        memcpy(h->start[view], h->start[d->w], n * sizeof(float));
        harness_instr(h, KERN_COPY, (uint32_t[]){view, out}, 2)->u.pointwise.count = n;
    } else if (other == OTHER_SHAPE) { /* [n][k] */
        uint32_t y = harness_f32(h, 3 * d->n), out = harness_f32(h, 3 * d->k);
        harness_instr(h, KERN_GEMM, (uint32_t[]){y, d->w, out}, 3)->u.gemm =
            (struct kern_gemm){.m = 3, .n = d->k, .k = d->n};
    } else if (other == OTHER_GRADIENT) { /* updated by what lies in layout order */
        uint32_t g = harness_buffer(h, KERN_F32, KERN_ROLE_INPUT, count);
        harness_instr(h, KERN_SGD, (uint32_t[]){d->w, g, KERN_NONE, KERN_NONE}, 4)->u.sgd =
            (struct kern_sgd){.count = count};
        uint32_t out = harness_f32(h, count);
        harness_instr(h, KERN_COPY, (uint32_t[]){g, out}, 2)->u.pointwise.count = count;
    } else if (other == PLAIN_PRODUCT) { /* a gradient that is a forward product of w itself */
        uint32_t y = harness_f32(h, d->k * d->k), g = harness_f32(h, count);
        harness_instr(h, KERN_GEMM, (uint32_t[]){y, d->w, g}, 3)->u.gemm =
            (struct kern_gemm){.m = d->k, .n = d->n, .k = d->k};
        harness_instr(h, KERN_SGD, (uint32_t[]){d->w, g, KERN_NONE, KERN_NONE}, 4)->u.sgd =
            (struct kern_sgd){.count = count};
    } else { /* a part of the weights is clipped: which ones matters */
        uint32_t part = harness_buffer(h, KERN_F32, KERN_ROLE_PARAM, count / 3);
        h->buffers[part].offset = h->buffers[d->w].offset;
        memcpy(h->start[part], h->start[d->w], count / 3 * sizeof(float));
        harness_instr(h, KERN_CLIP_NORM, (uint32_t[]){part}, 1)->u.clip =
            (struct kern_clip){count / 3, 0.5f};
    }
}

static void test_other_uses(void **state) {
    (void)state;
    for (unsigned other = 0; other < OTHERS; other++)
        for (unsigned way = 0; way < WAYS; way++) {
            struct dense d;
            dense_init(&d, (enum way)way, 6, 72, 44);
            add_other(&d, (enum other)other);
            struct harness *h = &d.h;
            h->step.lr = 0.01f;
            float *want[HARNESS_BUFFERS];
            struct kern_exec *e = dense_exec(&d, harness_backend());
            assert_int_equal(in_panels(e), 0);
            kern_exec_free(e);
            harness_run(h, "ref");
            for (uint32_t b = 0; b < h->p.buffer_count; b++)
                want[b] = mem_dup(h->result[b], h->buffers[b].count * sizeof(float));
            harness_run(h, harness_backend());
            for (uint32_t b = 0; b < h->p.buffer_count; b++) {
                assert_near(harness_result(h, b), want[b], h->buffers[b].count, 1e-4, "a buffer",
                            &d);
                mem_free(want[b]);
            }
            harness_deinit(h);
        }
}

/* Twice the same bits, and no allocation by steps. */
static void test_same_bits(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct dense d;
    dense_init(&d, MOMENTUM, 10, 200, 100);
    struct harness *h = &d.h;
    float *start = random_floats(h, h->p.param_count), *out[2];
    for (unsigned i = 0; i < 2; i++) {
        struct kern_exec *e = dense_exec(&d, harness_backend());
        kern_exec_load_lane(e, 0, start);
        kern_exec_write(e, d.x, h->start[d.x]);
        kern_exec_write(e, d.dz, h->start[d.dz]);
        out[i] = mem_array(h->p.param_count, sizeof(float));
        const uint64_t calls = mem_call_count();
        for (unsigned s = 0; s < 3; s++)
            ASSERT_OK(kern_exec_run(e, &h->step, &err));
        kern_exec_store_params(e, out[i]);
        assert_true(mem_call_count() == calls);
        kern_exec_free(e);
    }
    assert_memory_equal(out[0], out[1], h->p.param_count * sizeof(float));
    mem_free(out[0]);
    mem_free(out[1]);
    mem_free(start);
    harness_deinit(h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_training),
        cmocka_unit_test(test_in_and_out),
        cmocka_unit_test(test_other_uses),
        cmocka_unit_test(test_same_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
