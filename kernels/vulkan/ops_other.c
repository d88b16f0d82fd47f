/* The device's other instructions, and the table of all. */
#include <math.h>

#include "vulkan/gpu.h"

#define THREADS 64u

static uint64_t groups_for(uint64_t count, uint64_t per_group) {
    return (count + per_group - 1) / per_group;
}

static bool emit_pooling(struct gpu_recorder *r, const struct kern_instr *in, uint32_t op) {
    const struct kern_pool *p = &in->u.pool;
    bool backward = op == 1 || op == 3;
    struct gpu_launch l = {.shader = GPU_POOL, .threads = THREADS};
    uint32_t count = p->batch * p->channels * (backward ? p->in_h * p->in_w : p->out_h * p->out_w);
    gpu_spec(&l, op);
    gpu_bind(r, &l, 0, in, 0, GPU_READ);
    if (op == 0) {
        gpu_bind(r, &l, 2, in, 1, GPU_WRITE);
        gpu_bind(r, &l, 1, in, 2, GPU_WRITE);
    } else if (op == 1) {
        gpu_bind(r, &l, 1, in, 1, GPU_READ);
        gpu_bind(r, &l, 2, in, 2, GPU_WRITE);
    } else {
        gpu_bind(r, &l, 2, in, 1, GPU_WRITE);
    }
    gpu_param(&l, count);
    gpu_param(&l, p->in_h);
    gpu_param(&l, p->in_w);
    gpu_param(&l, p->channels);
    gpu_param(&l, p->out_h);
    gpu_param(&l, p->out_w);
    gpu_param(&l, p->kernel_h | p->kernel_w << 16);
    gpu_param(&l, p->stride_h | p->stride_w << 16);
    gpu_param(&l, p->pad_top | p->pad_left << 16);
    l.groups = groups_for(count, op == 0 ? THREADS * 4 : THREADS);
    return gpu_launch(r, &l);
}

bool gpu_emit_pool(struct gpu_recorder *r, const struct kern_instr *in) {
    return emit_pooling(r, in, in->op == KERN_POOL_MAX ? 0 : 2);
}
bool gpu_emit_pool_dx(struct gpu_recorder *r, const struct kern_instr *in) {
    return emit_pooling(r, in, in->op == KERN_POOL_MAX_DX ? 1 : 3);
}

/* op as in pointwise.comp; x, y (or -1) and z are operands. */
static bool emit_each(struct gpu_recorder *r, const struct kern_instr *in, uint32_t op, int x,
                      int y, unsigned z, uint32_t count, uint32_t cols) {
    const struct kern_pointwise *p = &in->u.pointwise;
    bool act = in->op == KERN_ACT || in->op == KERN_ACT_DX;
    struct gpu_launch l = {.shader = GPU_POINTWISE, .threads = THREADS};
    gpu_spec(&l, op);
    gpu_spec(&l, act ? p->act : 0);
    if (x >= 0)
        gpu_bind(r, &l, 0, in, (unsigned)x, GPU_READ);
    if (y >= 0)
        gpu_bind(r, &l, 1, in, (unsigned)y, GPU_READ);
    gpu_bind(r, &l, 2, in, z, GPU_WRITE);
    gpu_param(&l, count);
    gpu_param_f32(&l, act ? p->slope : 0.0f);
    gpu_param(&l, cols);
    l.groups = groups_for(count, THREADS * 4);
    return gpu_launch(r, &l);
}

bool gpu_emit_pointwise(struct gpu_recorder *r, const struct kern_instr *in) {
    uint32_t n = in->u.pointwise.count;
    switch ((unsigned)in->op) {
    case KERN_ACT:
        return emit_each(r, in, 0, 0, -1, 1, n, 1);
    case KERN_ACT_DX:
        return emit_each(r, in, 1, 0, 1, 2, n, 1);
    case KERN_ADD:
        return emit_each(r, in, 2, 0, 1, 2, n, 1);
    case KERN_COPY:
        return emit_each(r, in, 3, 0, -1, 1, n, 1);
    default: /* FILL0 */
        return emit_each(r, in, 4, -1, -1, 0, n, 1);
    }
}

bool gpu_emit_bias_add(struct gpu_recorder *r, const struct kern_instr *in) {
    const struct kern_rows *v = &in->u.rows;
    return emit_each(r, in, 5, 0, 1, 2, v->rows * v->cols, v->cols);
}

bool gpu_emit_bias_grad(struct gpu_recorder *r, const struct kern_instr *in) {
    const struct kern_rows *v = &in->u.rows;
    /* Long columns take the whole workgroup for few of them. */
    uint32_t columns = v->rows >= 512 ? 4 : 16;
    struct gpu_launch l = {.shader = GPU_BIAS_GRAD, .threads = 128};
    gpu_spec(&l, columns);
    gpu_bind(r, &l, 0, in, 0, GPU_READ);
    gpu_bind(r, &l, 2, in, 1, v->beta == KERN_BETA_ZERO ? GPU_WRITE : GPU_READ_WRITE);
    gpu_param(&l, v->rows);
    gpu_param(&l, v->cols);
    gpu_param(&l, (uint32_t)v->scale | (uint32_t)v->beta << 4);
    gpu_param_f32(&l, v->weight_decay);
    l.groups = groups_for(v->cols, columns);
    return gpu_launch(r, &l);
}

bool gpu_emit_dropout(struct gpu_recorder *r, const struct kern_instr *in) {
    const struct kern_dropout *v = &in->u.dropout;
    struct gpu_launch l = {.shader = GPU_DROPOUT, .threads = THREADS};
    gpu_bind(r, &l, 0, in, 0, GPU_READ);
    gpu_bind(r, &l, 2, in, 1, GPU_WRITE);
    gpu_param(&l, v->count);
    gpu_param(&l, (uint32_t)floor((double)v->rate * 4294967296.0));
    gpu_param_f32(&l, 1.0f / (1.0f - v->rate));
    gpu_param(&l, v->stream);
    l.groups = groups_for(v->count, THREADS * 4);
    return gpu_launch(r, &l);
}

bool gpu_emit_softmax(struct gpu_recorder *r, const struct kern_instr *in) {
    const struct kern_rows *v = &in->u.rows;
    struct gpu_launch l = {.shader = GPU_SOFTMAX, .threads = THREADS};
    gpu_bind(r, &l, 0, in, 0, GPU_READ);
    gpu_bind(r, &l, 2, in, 1, GPU_WRITE);
    gpu_param(&l, v->rows);
    gpu_param(&l, v->cols);
    l.groups = groups_for(v->rows, THREADS);
    return gpu_launch(r, &l);
}

bool gpu_emit_xent(struct gpu_recorder *r, const struct kern_instr *in) {
    const struct kern_rows *v = &in->u.rows;
    bool soft = in->op == KERN_SOFT_XENT;
    struct gpu_launch l = {.shader = GPU_XENT, .threads = v->rows <= 32 ? 32 : 128};
    gpu_bind(r, &l, 0, in, 0, GPU_READ);
    gpu_bind(r, &l, 1, in, 1, GPU_READ);
    bool gradient = gpu_bind(r, &l, 2, in, 2, GPU_WRITE);
    gpu_bind_out(&l, 3); /* the backend counts, metric buffer or not */
    gpu_spec(&l, soft);
    gpu_spec(&l, gradient);
    gpu_spec(&l, 1);
    gpu_param(&l, v->rows);
    gpu_param(&l, v->cols);
    gpu_param_f32(&l, soft ? v->temperature : 1.0f);
    double off = (double)v->label_smoothing / v->cols;
    gpu_param_f32(&l, (float)off);
    gpu_param_f32(&l, (float)(1.0 - (double)v->label_smoothing + off));
    l.groups = 1;
    return gpu_launch(r, &l);
}

bool gpu_emit_sgd(struct gpu_recorder *r, const struct kern_instr *in) {
    const struct kern_sgd *v = &in->u.sgd;
    struct gpu_launch l = {.shader = GPU_SGD, .threads = THREADS};
    gpu_bind(r, &l, 0, in, 0, GPU_READ_WRITE);
    gpu_bind(r, &l, 1, in, 1, GPU_READ);
    gpu_spec(&l, gpu_bind(r, &l, 2, in, 2, GPU_READ_WRITE));
    gpu_spec(&l, gpu_bind(r, &l, 3, in, 3, GPU_READ));
    gpu_spec(&l, v->nesterov);
    gpu_param(&l, v->count);
    gpu_param_f32(&l, v->momentum);
    gpu_param_f32(&l, v->weight_decay);
    gpu_param_f32(&l, v->prox_mu);
    l.groups = groups_for(v->count, THREADS * 4);
    return gpu_launch(r, &l);
}

#define CLIP_PARTS 64u /* more than one workgroup; few enough that every one can add them again */

bool gpu_emit_clip_norm(struct gpu_recorder *r, const struct kern_instr *in) {
    for (uint32_t phase = 0; phase < 2; phase++) {
        struct gpu_launch l = {.shader = GPU_CLIP_NORM, .threads = 128};
        gpu_spec(&l, phase);
        gpu_spec(&l, CLIP_PARTS);
        gpu_bind(r, &l, 0, in, 0, phase == 0 ? GPU_READ : GPU_READ_WRITE);
        gpu_bind_scratch(&l, 1, 0, CLIP_PARTS * 4, phase == 0 ? GPU_WRITE : GPU_READ);
        gpu_param(&l, in->u.clip.count);
        gpu_param_f32(&l, in->u.clip.max_norm);
        l.groups = phase == 0 ? CLIP_PARTS : groups_for(in->u.clip.count, 128 * 4);
        if (!gpu_launch(r, &l))
            return false;
    }
    return true;
}

/* One phase of quant.comp: x, q and scale are operands, or -1. */
static bool emit_quant_phase(struct gpu_recorder *r, const struct kern_instr *in, uint32_t phase) {
    const struct kern_quant *v = &in->u.quant;
    struct gpu_launch l = {.shader = GPU_QUANT, .threads = THREADS};
    gpu_spec(&l, phase);
    if (phase == 2) {
        gpu_bind(r, &l, 1, in, 0, GPU_READ);
        gpu_bind(r, &l, 2, in, 1, GPU_READ);
        gpu_bind(r, &l, 3, in, 2, GPU_WRITE);
    } else {
        gpu_bind(r, &l, 0, in, 0, GPU_READ);
        if (phase == 1)
            gpu_bind(r, &l, 1, in, 1, GPU_WRITE);
        gpu_bind(r, &l, 2, in, 2, phase == 0 ? GPU_WRITE : GPU_READ);
    }
    gpu_param(&l, v->rows);
    gpu_param(&l, v->channels);
    l.groups = phase == 0 ? v->channels
                          : groups_for((uint64_t)v->rows * v->channels, (uint64_t)THREADS * 4);
    return gpu_launch(r, &l);
}

bool gpu_emit_quant(struct gpu_recorder *r, const struct kern_instr *in) {
    if (in->op == KERN_DEQUANT_I8)
        return emit_quant_phase(r, in, 2);
    return emit_quant_phase(r, in, 0) && emit_quant_phase(r, in, 1);
}

gpu_emit_fn *const gpu_rows[KERN_OP_COUNT] = {
    [KERN_GEMM] = gpu_emit_gemm,
    [KERN_CONV2D] = gpu_emit_conv,
    [KERN_CONV2D_POOL] = gpu_emit_conv_pool,
    [KERN_CONV2D_DX] = gpu_emit_conv_dx,
    [KERN_CONV2D_DW] = gpu_emit_conv_dw,
    [KERN_POOL_MAX] = gpu_emit_pool,
    [KERN_POOL_MAX_DX] = gpu_emit_pool_dx,
    [KERN_POOL_AVG] = gpu_emit_pool,
    [KERN_POOL_AVG_DX] = gpu_emit_pool_dx,
    [KERN_ACT] = gpu_emit_pointwise,
    [KERN_ACT_DX] = gpu_emit_pointwise,
    [KERN_BIAS_ADD] = gpu_emit_bias_add,
    [KERN_BIAS_GRAD] = gpu_emit_bias_grad,
    [KERN_ADD] = gpu_emit_pointwise,
    [KERN_COPY] = gpu_emit_pointwise,
    [KERN_FILL0] = gpu_emit_pointwise,
    [KERN_DROPOUT] = gpu_emit_dropout,
    [KERN_SOFTMAX] = gpu_emit_softmax,
    [KERN_SOFTMAX_XENT] = gpu_emit_xent,
    [KERN_SOFT_XENT] = gpu_emit_xent,
    [KERN_SGD] = gpu_emit_sgd,
    [KERN_CLIP_NORM] = gpu_emit_clip_norm,
    [KERN_QUANT_I8] = gpu_emit_quant,
    [KERN_DEQUANT_I8] = gpu_emit_quant,
    [KERN_GEMM_I8] = gpu_emit_gemm_i8,
    [KERN_GEMM_W8] = gpu_emit_gemm_w8,
    [KERN_GEMM_BF16] = gpu_emit_gemm,
    [KERN_GEMM_F16] = gpu_emit_gemm_f16,
};
