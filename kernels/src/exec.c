/* Prepared programs: the arena, parameters in and out, running, metrics and profile. */
#include <math.h>

#include "sotto/base/buf.h"
#include "sotto/base/clock.h"
#include "sotto/base/mem.h"

#include "kern_int.h"

struct kern_exec {
    const struct kern_program *p;
    const struct kern_backend *backend;
    const struct kern_impl **impl;       /* [instr_count]: the row that runs each instruction */
    const struct kern_backend **runs_on; /* [instr_count]: whose row it is */
    unsigned char *arena;
    unsigned char *scratch;
    size_t scratch_bytes;
    double metrics[KERN_METRIC_COUNT];
    double *seconds; /* [instr_count] */
    bool profile;
};

/* The row for an instruction: the backend's own, else the cpu's, else the reference, which lacks
 * none. */
static const struct kern_impl *choose(const struct kern_backend *b, enum kern_op op,
                                      const struct kern_backend **whose) {
    const struct kern_backend *order[] = {b, kern_cpu(), &kern_ref};
    for (unsigned i = 0; i < ARRAY_LEN(order); i++)
        if (order[i]->ops[op].run) {
            *whose = order[i];
            return &order[i]->ops[op];
        }
    return NULL;
}

static void clear_buffers(struct kern_exec *e) {
    const struct kern_program *p = e->p;
    for (uint32_t i = 0; i < p->buffer_count; i++) {
        const struct kern_buffer *b = &p->buffers[i];
        size_t size = b->dtype == KERN_F32 || b->dtype == KERN_I32 ? 4 : 1;
        if (b->role != KERN_ROLE_TEMP)
            memset(e->arena + b->offset, 0, b->count * size);
    }
    memset(e->arena + p->param_offset, 0, p->param_count * sizeof(float));
    memset(e->arena + p->state_first, 0, p->state_count * sizeof(float));
    memset(e->arena + p->anchor_first, 0, p->anchor_count * sizeof(float));
}

enum sotto_status kern_exec_new(const struct kern_program *p, const struct kern_backend *b,
                                struct kern_exec **out, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    *out = NULL;
    TRY(kern_program_check(p, err));
    struct kern_exec *e = mem_zalloc(sizeof(*e));
    if (!e)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "kernels: no memory for a program");
    e->p = p;
    e->backend = b;
    uint32_t n = p->instr_count ? p->instr_count : 1;
    e->impl = mem_array(n, sizeof(*e->impl));
    e->runs_on = mem_array(n, sizeof(*e->runs_on));
    e->seconds = mem_array(n, sizeof(*e->seconds));
    e->arena = mem_alloc_aligned(p->arena_bytes, KERN_ALIGN);
    if (!e->impl || !e->runs_on || !e->seconds || !e->arena) {
        status = SOTTO_NOMEM;
        goto fail;
    }
    for (uint32_t i = 0; i < p->instr_count; i++) {
        e->impl[i] = choose(b, p->instrs[i].op, &e->runs_on[i]);
        size_t need = e->impl[i]->scratch ? e->impl[i]->scratch(&p->instrs[i]) : 0;
        if (need > e->scratch_bytes)
            e->scratch_bytes = need;
    }
    if (e->scratch_bytes) {
        e->scratch = mem_alloc_aligned(e->scratch_bytes, KERN_ALIGN);
        if (!e->scratch) {
            status = SOTTO_NOMEM;
            goto fail;
        }
    }
    clear_buffers(e);
    *out = e;
    return SOTTO_OK;
fail:
    status =
        SOTTO_FAIL(err, status, "kernels: no memory for an arena of %llu and scratch of %zu bytes",
                   (unsigned long long)p->arena_bytes, e->scratch_bytes);
    kern_exec_free(e);
out:
    return status;
}

void kern_exec_free(struct kern_exec *e) {
    if (!e)
        return;
    mem_free_aligned(e->scratch);
    mem_free_aligned(e->arena);
    mem_free(e->seconds);
    mem_free((void *)e->runs_on);
    mem_free((void *)e->impl);
    mem_free(e);
}

enum sotto_status kern_exec_run(struct kern_exec *e, const struct kern_step *step,
                                struct sotto_error *err) {
    const struct kern_program *p = e->p;
    if (step->rows == 0 || step->rows > p->batch)
        return SOTTO_FAIL(err, SOTTO_INVALID,
                          "kernels: a step of %u rows, the program takes 1 to %u", step->rows,
                          p->batch);
    if (!(step->lr >= 0.0f && isfinite(step->lr)))
        return SOTTO_FAIL(err, SOTTO_INVALID, "kernels: a learning rate of %g", (double)step->lr);
    struct kern_ctx c = {e->arena, p->buffers, step, e->metrics, e->scratch};
    for (uint32_t i = 0; i < p->instr_count; i++) {
        uint64_t start = e->profile ? clock_mono_ns() : 0;
        e->impl[i]->run(&c, &p->instrs[i]);
        if (e->profile)
            e->seconds[i] += (double)(clock_mono_ns() - start) * 1e-9;
    }
    if (p->metric != KERN_NONE) {
        float *m = (float *)(void *)(e->arena + p->buffers[p->metric].offset);
        for (unsigned i = 0; i < KERN_METRIC_COUNT; i++)
            m[i] = (float)e->metrics[i];
    }
    return SOTTO_OK;
}

void kern_exec_load_params(struct kern_exec *e, const float *params) {
    memcpy(e->arena + e->p->param_offset, params, e->p->param_count * sizeof(float));
    kern_exec_clear_state(e);
}

void kern_exec_store_params(const struct kern_exec *e, float *params) {
    memcpy(params, e->arena + e->p->param_offset, e->p->param_count * sizeof(float));
}

void kern_exec_load_anchor(struct kern_exec *e, const float *params) {
    memcpy(e->arena + e->p->anchor_first, params, e->p->anchor_count * sizeof(float));
}

void kern_exec_clear_state(struct kern_exec *e) {
    memset(e->arena + e->p->state_first, 0, e->p->state_count * sizeof(float));
}

void kern_exec_clear_metrics(struct kern_exec *e) {
    memset(e->metrics, 0, sizeof(e->metrics));
    if (e->p->metric != KERN_NONE)
        memset(e->arena + e->p->buffers[e->p->metric].offset, 0, KERN_METRIC_COUNT * sizeof(float));
}

void kern_exec_metrics(const struct kern_exec *e, double out[KERN_METRIC_COUNT]) {
    memcpy(out, e->metrics, sizeof(e->metrics));
}

void *kern_exec_host(struct kern_exec *e, uint32_t buffer) {
    return buffer < e->p->buffer_count ? e->arena + e->p->buffers[buffer].offset : NULL;
}

uint64_t kern_exec_bytes(const struct kern_exec *e) {
    return e->p->arena_bytes + e->scratch_bytes;
}

void kern_exec_report(const struct kern_exec *e, struct buf *out) {
    const struct kern_program *p = e->p;
    buf_printf(out, "backend %s (%s): %u instructions, %u buffers, arena %llu bytes, scratch %zu\n",
               e->backend->name, e->backend->kernel_set, p->instr_count, p->buffer_count,
               (unsigned long long)p->arena_bytes, e->scratch_bytes);
    for (uint32_t i = 0; i < p->instr_count; i++) {
        buf_printf(out, "%4u %-14s %10.3f MFLOP", i, kern_op_name(p->instrs[i].op),
                   kern_instr_flops(&p->instrs[i]) * 1e-6);
        if (e->seconds[i] > 0.0)
            buf_printf(out, " %10.6f s", e->seconds[i]);
        if (e->runs_on[i] != e->backend)
            buf_printf(out, "  runs on %s: %s lacks it", e->runs_on[i]->name, e->backend->name);
        buf_printf(out, "\n");
    }
}

void kern_exec_profile(struct kern_exec *e, bool on) {
    e->profile = on;
}

const double *kern_exec_profile_seconds(const struct kern_exec *e) {
    return e->seconds;
}
