/* Prepared programs: the arena, parameters in and out, running, metrics and profile. What runs on a
 * device is handed to it whole. */
#include <math.h>

#include "sotto/base/buf.h"
#include "sotto/base/clock.h"
#include "sotto/base/mem.h"
#include "sotto/base/num.h"

#include "src/panels.h"

#define UNPACK_PIECE 16384u /* parameters unpacked at a time for a device, into panels */

struct kern_exec {
    const struct kern_program *p;
    const struct kern_backend *backend;
    struct kern_dev *dev; /* a device's; then the host's members below stay NULL */
    uint32_t lanes;
    const struct kern_impl **impl;       /* [instr_count]: the row that runs each instruction */
    const struct kern_backend **runs_on; /* [instr_count]: whose row it is */
    unsigned char *arena;                /* [lanes][stride] */
    size_t stride;
    unsigned char *scratch;
    size_t scratch_bytes;
    struct kern_panels panels;            /* weights that do not lie in layout order */
    bool lost;                            /* the device that was asked for */
    double (*metrics)[KERN_METRIC_COUNT]; /* [lanes] */
    double *seconds;                      /* [instr_count] */
    double *profile;                      /* where a run adds to: NULL or seconds, or another's */
};

/* The row for an instruction: the backend's own, else the processor's, else the reference, which
 * lacks none. */
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

const struct kern_impl *kern_host_impl(enum kern_op op) {
    const struct kern_backend *whose;
    return choose(kern_backend_host(), op, &whose);
}

unsigned char *kern_exec_arena(const struct kern_exec *e, uint32_t lane) {
    return e->arena + lane * e->stride;
}

/* Bytes of a lane's arena, in and out; src NULL writes zeros. buffer: whose bytes they are, or
 * KERN_NONE for parameters, state, anchor. */
static void put_buffer(struct kern_exec *e, uint32_t lane, uint32_t buffer, uint64_t offset,
                       const void *src, uint64_t bytes) {
    if (src && e->panels.count)
        kern_panels_write(&e->panels, e->p, kern_exec_arena(e, lane), buffer, offset, src, bytes);
    else if (e->dev)
        e->backend->device->write(e->dev, lane, offset, src, bytes);
    else if (src)
        memcpy(kern_exec_arena(e, lane) + offset, src, bytes);
    else
        memset(kern_exec_arena(e, lane) + offset, 0, bytes);
}

static void put(struct kern_exec *e, uint32_t lane, uint64_t offset, const void *src,
                uint64_t bytes) {
    put_buffer(e, lane, KERN_NONE, offset, src, bytes);
}

static void get_buffer(const struct kern_exec *e, uint32_t lane, uint32_t buffer, uint64_t offset,
                       void *dst, uint64_t bytes) {
    if (e->panels.count)
        kern_panels_read(&e->panels, e->p, kern_exec_arena(e, lane), buffer, offset, dst, bytes);
    else if (e->dev)
        e->backend->device->read(e->dev, lane, offset, dst, bytes);
    else
        memcpy(dst, kern_exec_arena(e, lane) + offset, bytes);
}

static void get(const struct kern_exec *e, uint32_t lane, uint64_t offset, void *dst,
                uint64_t bytes) {
    get_buffer(e, lane, KERN_NONE, offset, dst, bytes);
}

static void clear_buffers(struct kern_exec *e) {
    const struct kern_program *p = e->p;
    for (uint32_t lane = 0; lane < e->lanes; lane++) {
        for (uint32_t i = 0; i < p->buffer_count; i++)
            if (p->buffers[i].role != KERN_ROLE_TEMP)
                put(e, lane, p->buffers[i].offset, NULL, kern_buffer_bytes(&p->buffers[i]));
        put(e, lane, p->param_offset, NULL, p->param_count * sizeof(float));
        put(e, lane, p->state_first, NULL, p->state_count * sizeof(float));
        put(e, lane, p->anchor_first, NULL, p->anchor_count * sizeof(float));
    }
}

static enum sotto_status check_lanes(uint32_t lanes, struct sotto_error *err) {
    if (lanes == 0 || lanes > KERN_LANES_MAX)
        return SOTTO_FAIL(err, SOTTO_INVALID, "kernels: %u lanes, allowed are 1 to %d", lanes,
                          KERN_LANES_MAX);
    return SOTTO_OK;
}

/* The most scratch that an instruction needs on a backend of the host. */
static size_t scratch_of(const struct kern_program *p, const struct kern_backend *b) {
    const struct kern_backend *whose;
    size_t most = 0;
    for (uint32_t i = 0; i < p->instr_count; i++) {
        const struct kern_impl *impl = choose(b, p->instrs[i].op, &whose);
        size_t need = impl->scratch ? impl->scratch(&p->instrs[i]) : 0;
        most = need > most ? need : most;
    }
    return most;
}

/* What new_exec allocates beside a device's program. */
static uint64_t host_bytes(const struct kern_program *p, const struct kern_backend *b,
                           uint32_t lanes, uint32_t panels) {
    uint64_t sum = sizeof(struct kern_exec) + p->instr_count * sizeof(double) +
                   lanes * sizeof(double[KERN_METRIC_COUNT]);
    if (b->device)
        return sum;
    if (panels)
        sum += p->buffer_count + panels * sizeof(struct kern_panel_buffer);
    return sum + p->instr_count * 2 * sizeof(void *) +
           num_round_up(p->arena_bytes, KERN_ALIGN) * lanes + scratch_of(p, b);
}

enum sotto_status kern_exec_plan(const struct kern_program *p, const struct kern_backend *b,
                                 uint32_t lanes, uint64_t *bytes, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct kern_panels panels = {0};
    uint64_t on_device = 0;
    TRY(check_lanes(lanes, err));
    TRY(kern_program_check(p, err));
    if (b->device && b->device->lost())
        b = kern_backend_host();
    if (b->device) {
        TRY(b->device->ready(err));
        TRY(b->device->plan(p, lanes, &on_device, err));
    } else if (b->panels && kern_panels_plan(p, &panels) != SOTTO_OK) {
        TRY_FAIL(err, SOTTO_NOMEM, "kernels: no memory for a plan");
    }
    *bytes = host_bytes(p, b, lanes, panels.count) + on_device;
out:
    kern_panels_deinit(&panels);
    return status;
}

/* What a program needs on the host: rows, arena, scratch. NOMEM without a message. */
static enum sotto_status prepare_host(struct kern_exec *e, bool panels) {
    const struct kern_program *p = e->p;
    uint32_t n = p->instr_count ? p->instr_count : 1;
    e->impl = mem_array(n, sizeof(*e->impl));
    e->runs_on = mem_array(n, sizeof(*e->runs_on));
    e->stride = num_round_up(p->arena_bytes, KERN_ALIGN);
    size_t arena_bytes;
    if (!e->impl || !e->runs_on || !num_mul_size(e->stride, e->lanes, &arena_bytes))
        return SOTTO_NOMEM;
    for (uint32_t i = 0; i < p->instr_count; i++)
        e->impl[i] = choose(e->backend, p->instrs[i].op, &e->runs_on[i]);
    e->scratch_bytes = scratch_of(p, e->backend);
    if (panels && kern_panels_plan(p, &e->panels) != SOTTO_OK)
        return SOTTO_NOMEM;
    e->arena = mem_alloc_aligned(arena_bytes, KERN_ALIGN);
    if (!e->arena)
        return SOTTO_NOMEM;
    if (e->scratch_bytes) {
        e->scratch = mem_alloc_aligned(e->scratch_bytes, KERN_ALIGN);
        if (!e->scratch)
            return SOTTO_NOMEM;
    }
    return SOTTO_OK;
}

static enum sotto_status new_exec(const struct kern_program *p, const struct kern_backend *b,
                                  uint32_t lanes, bool plain, struct kern_exec **out,
                                  struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct kern_exec *e = NULL;
    *out = NULL;
    TRY(check_lanes(lanes, err));
    TRY(kern_program_check(p, err));
    e = mem_zalloc(sizeof(*e));
    if (!e)
        TRY_FAIL(err, SOTTO_NOMEM, "kernels: no memory for a program");
    e->lost = b->device && b->device->lost();
    if (e->lost) /* whoever chose it goes on, like the programs it had then */
        b = kern_backend_host();
    e->p = p;
    e->backend = b;
    e->lanes = lanes;
    e->seconds = mem_array(p->instr_count ? p->instr_count : 1, sizeof(*e->seconds));
    e->metrics = mem_array(lanes, sizeof(*e->metrics));
    if (!e->seconds || !e->metrics)
        TRY_FAIL(err, SOTTO_NOMEM, "kernels: no memory for a program");
    if (b->device) {
        TRY(b->device->ready(err));
        TRY(b->device->open(p, lanes, &e->dev, err));
    } else if (prepare_host(e, !plain && b->panels) != SOTTO_OK) {
        TRY_FAIL(err, SOTTO_NOMEM,
                 "kernels: no memory for %u arenas of %llu and scratch of %zu bytes", lanes,
                 (unsigned long long)p->arena_bytes, e->scratch_bytes);
    }
    clear_buffers(e);
    *out = e;
    e = NULL;
out:
    kern_exec_free(e);
    return status;
}

enum sotto_status kern_exec_new_lanes(const struct kern_program *p, const struct kern_backend *b,
                                      uint32_t lanes, struct kern_exec **out,
                                      struct sotto_error *err) {
    return new_exec(p, b, lanes, false, out, err);
}

enum sotto_status kern_exec_new_plain(const struct kern_program *p, const struct kern_backend *b,
                                      uint32_t lanes, struct kern_exec **out,
                                      struct sotto_error *err) {
    return new_exec(p, b, lanes, true, out, err);
}

enum sotto_status kern_exec_new(const struct kern_program *p, const struct kern_backend *b,
                                struct kern_exec **out, struct sotto_error *err) {
    return kern_exec_new_lanes(p, b, 1, out, err);
}

void kern_exec_free(struct kern_exec *e) {
    if (!e)
        return;
    if (e->dev)
        e->backend->device->close(e->dev);
    mem_free_aligned(e->scratch);
    mem_free_aligned(e->arena);
    kern_panels_deinit(&e->panels);
    mem_free(e->metrics);
    mem_free(e->seconds);
    mem_free((void *)e->runs_on);
    mem_free((void *)e->impl);
    mem_free(e);
}

uint32_t kern_exec_lanes(const struct kern_exec *e) {
    return e->lanes;
}

static enum sotto_status check_step(const struct kern_exec *e, const struct kern_step *step,
                                    struct sotto_error *err) {
    uint32_t least = e->lanes > 1 ? 0 : 1; /* an idle lane */
    if (step->rows < least || step->rows > e->p->batch)
        return SOTTO_FAIL(err, SOTTO_INVALID,
                          "kernels: a step of %u rows, the program takes %u to %u", step->rows,
                          least, e->p->batch);
    if (!(step->lr >= 0.0f && isfinite(step->lr)))
        return SOTTO_FAIL(err, SOTTO_INVALID, "kernels: a learning rate of %g", (double)step->lr);
    return SOTTO_OK;
}

static void run_on_host(struct kern_exec *e, uint32_t lane, const struct kern_step *step,
                        double metrics[KERN_METRIC_COUNT]) {
    const struct kern_program *p = e->p;
    struct kern_ctx c = {kern_exec_arena(e, lane), p->buffers, step, metrics, e->scratch,
                         e->panels.flags};
    for (uint32_t i = 0; i < p->instr_count; i++) {
        uint64_t start = e->profile ? clock_mono_ns() : 0;
        e->impl[i]->run(&c, &p->instrs[i]);
        if (e->profile)
            e->profile[i] += (double)(clock_mono_ns() - start) * 1e-9;
    }
}

/* The metric buffer shows the sums, for whoever looks into the arena. */
static void show_metrics(struct kern_exec *e, uint32_t lane) {
    float m[KERN_METRIC_COUNT];
    if (e->p->metric == KERN_NONE)
        return;
    for (unsigned i = 0; i < KERN_METRIC_COUNT; i++)
        m[i] = (float)e->metrics[lane][i];
    put(e, lane, e->p->buffers[e->p->metric].offset, m, sizeof(m));
}

enum sotto_status kern_exec_run_many(struct kern_exec *e, const struct kern_step *steps,
                                     uint32_t count, kern_fill_fn *fill, void *ctx,
                                     double (*metrics)[KERN_METRIC_COUNT],
                                     struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct kern_sums sums = {e->metrics, metrics, e->lanes};
    size_t total = (size_t)count * e->lanes;
    for (size_t i = 0; i < total; i++)
        TRY(check_step(e, &steps[i], err));
    if (e->dev)
        return e->backend->device->run(e->dev, steps, count, fill, ctx, &sums, err);
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t lane = 0; lane < e->lanes; lane++) {
            const struct kern_step *step = &steps[(size_t)i * e->lanes + lane];
            double m[KERN_METRIC_COUNT] = {0};
            if (fill)
                fill(ctx, i, lane);
            if (step->rows > 0)
                run_on_host(e, lane, step, m);
            kern_sums_add(&sums, i, lane, m);
            show_metrics(e, lane);
        }
out:
    return status;
}

enum sotto_status kern_exec_run(struct kern_exec *e, const struct kern_step *step,
                                struct sotto_error *err) {
    if (e->lanes != 1)
        return SOTTO_FAIL(err, SOTTO_STATE, "kernels: one step for a program of %u lanes",
                          e->lanes);
    return kern_exec_run_many(e, step, 1, NULL, NULL, NULL, err);
}

static void clear_lane_state(struct kern_exec *e, uint32_t lane) {
    put(e, lane, e->p->state_first, NULL, e->p->state_count * sizeof(float));
}

static void clear_lane_metrics(struct kern_exec *e, uint32_t lane) {
    memset(e->metrics[lane], 0, sizeof(e->metrics[lane]));
    show_metrics(e, lane);
}

void kern_exec_load_lane_params(struct kern_exec *e, uint32_t lane, const float *params) {
    put(e, lane, e->p->param_offset, params, e->p->param_count * sizeof(float));
    clear_lane_state(e, lane);
}

void kern_exec_load_params(struct kern_exec *e, const float *params) {
    kern_exec_load_lane_params(e, 0, params);
}

void kern_exec_store_params(const struct kern_exec *e, float *params) {
    kern_exec_store_lane(e, 0, params);
}

void kern_exec_load_lane_state(struct kern_exec *e, uint32_t lane, const float *state) {
    put(e, lane, e->p->state_first, state, e->p->state_count * sizeof(float));
}

void kern_exec_store_lane_state(const struct kern_exec *e, uint32_t lane, float *state) {
    get(e, lane, e->p->state_first, state, e->p->state_count * sizeof(float));
}

void kern_exec_load_lane_anchor(struct kern_exec *e, uint32_t lane, const float *params) {
    put(e, lane, e->p->anchor_first, params, e->p->anchor_count * sizeof(float));
}

void kern_exec_load_state(struct kern_exec *e, const float *state) {
    kern_exec_load_lane_state(e, 0, state);
}

void kern_exec_store_state(const struct kern_exec *e, float *state) {
    kern_exec_store_lane_state(e, 0, state);
}

void kern_exec_load_anchor(struct kern_exec *e, const float *params) {
    kern_exec_load_lane_anchor(e, 0, params);
}

void kern_exec_clear_state(struct kern_exec *e) {
    clear_lane_state(e, 0);
}

void kern_exec_clear_metrics(struct kern_exec *e) {
    clear_lane_metrics(e, 0);
}

void kern_exec_metrics(const struct kern_exec *e, double out[KERN_METRIC_COUNT]) {
    kern_exec_lane_metrics(e, 0, out);
}

void kern_exec_load_lane(struct kern_exec *e, uint32_t lane, const float *params) {
    put(e, lane, e->p->param_offset, params, e->p->param_count * sizeof(float));
    put(e, lane, e->p->anchor_first, params, e->p->anchor_count * sizeof(float));
    clear_lane_state(e, lane);
    clear_lane_metrics(e, lane);
}

static enum sotto_status unpack_by_pieces(struct kern_exec *e, uint32_t lane,
                                          kern_unpack_fn *unpack, void *ctx,
                                          struct sotto_error *err) {
    const struct kern_program *p = e->p;
    float *piece = mem_array(UNPACK_PIECE, sizeof(*piece));
    if (!piece)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "kernels: no memory for a piece of the parameters");
    for (uint32_t at = 0; at < p->param_count; at += UNPACK_PIECE) {
        const uint32_t n = p->param_count - at < UNPACK_PIECE ? p->param_count - at : UNPACK_PIECE;
        unpack(ctx, at, n, piece);
        put(e, lane, p->param_offset + 4ull * at, piece, 4ull * n);
        if (p->anchor_count)
            put(e, lane, p->anchor_first + 4ull * at, piece, 4ull * n);
    }
    mem_free(piece);
    return SOTTO_OK;
}

enum sotto_status kern_exec_unpack_lane(struct kern_exec *e, uint32_t lane, kern_unpack_fn *unpack,
                                        void *ctx, struct sotto_error *err) {
    const struct kern_program *p = e->p;
    if (e->dev || e->panels.count) {
        const enum sotto_status status = unpack_by_pieces(e, lane, unpack, ctx, err);
        if (status != SOTTO_OK)
            return status;
    } else {
        float *to = (float *)(void *)(kern_exec_arena(e, lane) + p->param_offset);
        unpack(ctx, 0, p->param_count, to);
        put(e, lane, p->anchor_first, to, 4ull * p->anchor_count);
    }
    clear_lane_state(e, lane);
    clear_lane_metrics(e, lane);
    return SOTTO_OK;
}

void kern_exec_store_lane(const struct kern_exec *e, uint32_t lane, float *params) {
    get(e, lane, e->p->param_offset, params, e->p->param_count * sizeof(float));
}

void kern_exec_lane_metrics(const struct kern_exec *e, uint32_t lane,
                            double out[KERN_METRIC_COUNT]) {
    memcpy(out, e->metrics[lane], sizeof(e->metrics[lane]));
}

void *kern_exec_lane_host(struct kern_exec *e, uint32_t lane, uint32_t buffer) {
    if (buffer >= e->p->buffer_count || lane >= e->lanes)
        return NULL;
    if (e->dev)
        return e->backend->device->host(e->dev, lane, buffer);
    return kern_exec_arena(e, lane) + e->p->buffers[buffer].offset;
}

void *kern_exec_host(struct kern_exec *e, uint32_t buffer) {
    return kern_exec_lane_host(e, 0, buffer);
}

void kern_exec_write(struct kern_exec *e, uint32_t buffer, const void *src) {
    const struct kern_buffer *b = &e->p->buffers[buffer];
    void *host = e->dev ? kern_exec_host(e, buffer) : NULL;
    if (host)
        memcpy(host, src, kern_buffer_bytes(b));
    put_buffer(e, 0, buffer, b->offset, src, kern_buffer_bytes(b));
}

void kern_exec_read(const struct kern_exec *e, uint32_t buffer, void *dst) {
    const struct kern_buffer *b = &e->p->buffers[buffer];
    float *sums = dst;
    if (b->role == KERN_ROLE_METRIC) /* a device keeps none of its own */
        for (unsigned i = 0; i < KERN_METRIC_COUNT; i++)
            sums[i] = (float)e->metrics[0][i];
    else
        get_buffer(e, 0, buffer, b->offset, dst, kern_buffer_bytes(b));
}

uint64_t kern_exec_bytes(const struct kern_exec *e) {
    return host_bytes(e->p, e->backend, e->lanes, e->panels.count) +
           (e->dev ? e->backend->device->bytes(e->dev) : 0);
}

void kern_exec_counts(const struct kern_exec *e, struct kern_device_counts *out) {
    *out = (struct kern_device_counts){.lost = e->lost};
    if (e->dev)
        e->backend->device->counts(e->dev, out);
}

void kern_exec_report(const struct kern_exec *e, struct buf *out) {
    const struct kern_program *p = e->p;
    struct kern_device_counts counts;
    kern_exec_counts(e, &counts);
    buf_printf(out, "backend %s (%s): %u instructions, %u buffers, arena %llu bytes, scratch %zu\n",
               e->backend->name, kern_backend_kernel_set(e->backend), p->instr_count,
               p->buffer_count, (unsigned long long)p->arena_bytes, e->scratch_bytes);
    if (e->panels.count)
        buf_printf(out, "%u buffers in panels\n", e->panels.count);
    if (e->dev)
        buf_printf(out, "a step: %u dispatches, %u barriers, %u instructions on the host\n",
                   counts.dispatches, counts.barriers, counts.on_cpu);
    for (uint32_t i = 0; i < p->instr_count; i++) {
        buf_printf(out, "%4u %-14s %10.3f MFLOP", i, kern_op_name(p->instrs[i].op),
                   kern_instr_flops(&p->instrs[i]) * 1e-6);
        if (e->seconds[i] > 0.0)
            buf_printf(out, " %10.6f s", e->seconds[i]);
        if (e->dev)
            buf_printf(out, "%s", e->backend->device->elsewhere(e->dev, i));
        else if (e->runs_on[i] != e->backend)
            buf_printf(out, "  runs on %s: %s lacks it", e->runs_on[i]->name, e->backend->name);
        buf_printf(out, "\n");
    }
}

void kern_exec_profile(struct kern_exec *e, bool on) {
    kern_exec_profile_into(e, on ? e->seconds : NULL);
}

void kern_exec_profile_into(struct kern_exec *e, double *seconds) {
    e->profile = seconds;
    if (e->dev)
        e->backend->device->profile(e->dev, seconds);
}

const double *kern_exec_profile_seconds(const struct kern_exec *e) {
    return e->seconds;
}
