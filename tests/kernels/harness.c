/* Small programs made by hand. */
#include "harness.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static size_t element_bytes(enum kern_dtype t) {
    return t == KERN_F32 || t == KERN_I32 ? 4 : 1;
}

void harness_init(struct harness *h, uint64_t seed, uint32_t batch) {
    memset(h, 0, sizeof(*h));
    rng_init(&h->rng, seed, 0, 0, RNG_FAULT);
    h->p.buffers = h->buffers;
    h->p.instrs = h->instrs;
    h->p.batch = batch;
    h->p.labels = h->p.targets = KERN_NONE;
    h->step = (struct kern_step){.lr = 0.125f, .rows = batch, .seed = seed, .index = 3};
    h->p.input = harness_buffer(h, KERN_F32, KERN_ROLE_INPUT, batch);
    h->p.logits = harness_buffer(h, KERN_F32, KERN_ROLE_OUTPUT, batch);
    h->p.metric = harness_buffer(h, KERN_F32, KERN_ROLE_METRIC, KERN_METRIC_COUNT);
}

void harness_deinit(struct harness *h) {
    for (uint32_t i = 0; i < HARNESS_BUFFERS; i++) { /* a test may have broken buffer_count */
        mem_free(h->start[i]);
        mem_free(h->result[i]);
    }
}

uint32_t harness_buffer(struct harness *h, enum kern_dtype dtype, enum kern_role role,
                        uint32_t count) {
    uint32_t i = h->p.buffer_count++;
    assert_true(i < HARNESS_BUFFERS);
    h->buffers[i] = (struct kern_buffer){.dtype = dtype,
                                         .role = role,
                                         .rank = 1,
                                         .dims = {count},
                                         .count = count,
                                         .offset = h->p.arena_bytes};
    size_t bytes = count * element_bytes(dtype);
    h->p.arena_bytes += num_round_up(bytes, KERN_ALIGN);
    h->start[i] = mem_zalloc(bytes);
    h->result[i] = mem_zalloc(bytes);
    assert_non_null(h->start[i]);
    assert_non_null(h->result[i]);
    if (dtype == KERN_F32 && role != KERN_ROLE_METRIC)
        for (uint32_t e = 0; e < count; e++)
            ((float *)h->start[i])[e] = 2.0f * rng_f32(&h->rng) - 1.0f;
    return i;
}

uint32_t harness_f32(struct harness *h, uint32_t count) {
    return harness_buffer(h, KERN_F32, KERN_ROLE_TEMP, count);
}

float *harness_values(struct harness *h, uint32_t buffer) {
    return h->start[buffer];
}

const float *harness_result(const struct harness *h, uint32_t buffer) {
    return h->result[buffer];
}

void harness_thin(struct harness *h, uint32_t buffer, double share) {
    float *x = h->start[buffer];
    for (uint32_t i = 0; i < h->buffers[buffer].count; i++)
        if (rng_f64(&h->rng) < share)
            x[i] = 0.0f;
}

void harness_bytes(struct harness *h, uint32_t buffer, bool ends) {
    int8_t *q = h->start[buffer];
    for (uint32_t i = 0; i < h->buffers[buffer].count; i++) {
        uint32_t v = rng_below(&h->rng, 256);
        q[i] = ends ? (v % 8 ? -128 : 127) : (int8_t)((int)v - 128);
    }
}

void harness_abs(struct harness *h, uint32_t buffer) {
    float *x = h->start[buffer];
    for (uint32_t i = 0; i < h->buffers[buffer].count; i++)
        x[i] = fabsf(x[i]);
}

struct kern_instr *harness_instr(struct harness *h, enum kern_op op, const uint32_t *args,
                                 unsigned count) {
    assert_true(h->p.instr_count < HARNESS_INSTRS);
    struct kern_instr *in = &h->instrs[h->p.instr_count++];
    memset(in, 0, sizeof(*in));
    in->op = op;
    for (unsigned i = 0; i < KERN_ARGS_MAX; i++)
        in->args[i] = i < count ? args[i] : KERN_NONE;
    return in;
}

const char *harness_backend(void) {
    const char *name = getenv("SOTTO_TEST_BACKEND");
    return name ? name : "cpu";
}

void harness_run(struct harness *h, const char *backend) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct kern_exec *e = NULL;
    const struct kern_backend *b = kern_backend_find(backend);
    assert_non_null(b);
    ASSERT_OK(kern_exec_new(&h->p, b, &e, &err));
    for (uint32_t i = 0; i < h->p.buffer_count; i++) {
        const struct kern_buffer *buf = &h->buffers[i];
        if (buf->role != KERN_ROLE_METRIC)
            kern_exec_write(e, i, h->start[i]);
    }
    ASSERT_OK(kern_exec_run(e, &h->step, &err));
    for (uint32_t i = 0; i < h->p.buffer_count; i++)
        kern_exec_read(e, i, h->result[i]);
    kern_exec_metrics(e, h->metrics);
    kern_exec_free(e);
}

uint32_t harness_pick(struct harness *h, uint32_t lo, uint32_t hi) {
    return lo + rng_below(&h->rng, hi - lo + 1);
}
