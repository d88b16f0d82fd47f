/* kern_program_check: everything a backend relies on, said once. */
#include <math.h>

#include "kern_int.h"

enum mode { R = 1, W = 2, RW = 3 };

/* One operand: what it must hold, and which earlier operand it may share its place with. */
struct arg_spec {
    enum kern_dtype dtype;
    enum mode mode;
    bool optional;
    int in_place; /* index of an operand that may be the same place, or -1 */
    int in_place2;
};

#define IN(t)                                                                                      \
    { KERN_##t, R, false, -1, -1 }
#define IN_OPT(t)                                                                                  \
    { KERN_##t, R, true, -1, -1 }
#define OUT(t)                                                                                     \
    { KERN_##t, W, false, -1, -1 }
#define OUT_OVER(t, a)                                                                             \
    { KERN_##t, W, false, a, -1 }
#define INOUT(t)                                                                                   \
    { KERN_##t, RW, false, -1, -1 }

static const struct {
    unsigned count;
    struct arg_spec args[5];
} OPS[KERN_OP_COUNT] = {
    [KERN_GEMM] = {4, {IN(F32), IN(F32), OUT(F32), IN_OPT(F32)}},
    [KERN_CONV2D] = {4, {IN(F32), IN(F32), OUT(F32), IN_OPT(F32)}},
    [KERN_CONV2D_POOL] = {5, {IN(F32), IN(F32), OUT(F32), IN_OPT(F32), OUT(U8)}},
    [KERN_CONV2D_DX] = {3, {IN(F32), IN(F32), OUT(F32)}},
    [KERN_CONV2D_DW] = {3, {IN(F32), IN(F32), OUT(F32)}},
    [KERN_POOL_MAX] = {3, {IN(F32), OUT(F32), OUT(U8)}},
    [KERN_POOL_MAX_DX] = {3, {IN(F32), IN(U8), OUT(F32)}},
    [KERN_POOL_AVG] = {2, {IN(F32), OUT(F32)}},
    [KERN_POOL_AVG_DX] = {2, {IN(F32), OUT(F32)}},
    [KERN_ACT] = {2, {IN(F32), OUT_OVER(F32, 0)}},
    [KERN_ACT_DX] = {3, {IN(F32), IN(F32), OUT_OVER(F32, 1)}},
    [KERN_BIAS_ADD] = {3, {IN(F32), IN(F32), OUT_OVER(F32, 0)}},
    [KERN_BIAS_GRAD] = {2, {IN(F32), OUT(F32)}},
    [KERN_ADD] = {3, {IN(F32), IN(F32), {KERN_F32, W, false, 0, 1}}},
    [KERN_COPY] = {2, {IN(F32), OUT(F32)}},
    [KERN_FILL0] = {1, {OUT(F32)}},
    [KERN_DROPOUT] = {2, {IN(F32), OUT_OVER(F32, 0)}},
    [KERN_SOFTMAX] = {2, {IN(F32), OUT_OVER(F32, 0)}},
    [KERN_SOFTMAX_XENT] =
        {4, {IN(F32), IN(I32), {KERN_F32, W, true, 0, -1}, {KERN_F32, RW, true, -1, -1}}},
    [KERN_SOFT_XENT] =
        {4, {IN(F32), IN(F32), {KERN_F32, W, true, 0, -1}, {KERN_F32, RW, true, -1, -1}}},
    [KERN_SGD] = {4, {INOUT(F32), IN(F32), {KERN_F32, RW, true, -1, -1}, IN_OPT(F32)}},
    [KERN_CLIP_NORM] = {1, {INOUT(F32)}},
    [KERN_QUANT_I8] = {3, {IN(F32), OUT(I8), OUT(F32)}},
    [KERN_DEQUANT_I8] = {3, {IN(I8), IN(F32), OUT(F32)}},
    [KERN_GEMM_I8] = {3, {IN(I8), IN(I8), OUT(I32)}},
    [KERN_GEMM_BF16] = {4, {IN(F32), IN(F32), OUT(F32), IN_OPT(F32)}},
    [KERN_GEMM_F16] = {4, {IN(F32), IN(F32), OUT(F32), IN_OPT(F32)}},
    [KERN_GEMM_W8] = {5, {IN(F32), IN(I8), IN(F32), OUT(F32), IN_OPT(F32)}},
};

unsigned kern_op_operands(enum kern_op op) {
    return OPS[op].count;
}
bool kern_op_only_writes(enum kern_op op, unsigned arg) {
    return OPS[op].args[arg].mode == W;
}

struct range {
    uint64_t first, end; /* bytes */
};
static bool ranges_meet(struct range a, struct range b) {
    return a.first < b.end && b.first < a.end;
}
static uint64_t dtype_bytes(enum kern_dtype t) {
    return t == KERN_F32 || t == KERN_I32 ? 4 : 1;
}
static struct range buffer_range(const struct kern_buffer *b) {
    return (struct range){b->offset, b->offset + b->count * dtype_bytes(b->dtype)};
}

/* Product of n factors, each > 0, within 32 bits; 0 when not. */
static uint64_t product(unsigned n, const uint32_t *f) {
    uint64_t p = 1;
    for (unsigned i = 0; i < n; i++) {
        p *= f[i];
        if (p == 0 || p > UINT32_MAX)
            return 0;
    }
    return p;
}
#define PRODUCT(...)                                                                               \
    product(sizeof((uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t), (const uint32_t[]){__VA_ARGS__})

/* One axis of a window: every window overlaps the input, so that no average divides by zero. */
static const char *check_axis(uint32_t in, uint32_t out, uint32_t kernel, uint32_t stride,
                              uint32_t pad) {
    if (in == 0 || out == 0 || kernel == 0 || stride == 0)
        return "a size is 0";
    if (in > 65536 || out > 65536 || kernel > 1024 || stride > 1024)
        return "a size is too large";
    if (pad >= kernel)
        return "padding is not smaller than the window";
    uint64_t last = (uint64_t)(out - 1) * stride;
    if (last >= (uint64_t)in + pad)
        return "the last window lies outside the input";
    return NULL;
}

static const char *check_factors(enum kern_scale scale, enum kern_beta beta, float decay) {
    if ((unsigned)scale > KERN_SCALE_NEG_LR || (unsigned)beta > KERN_BETA_DECAY)
        return "unknown scale or beta";
    if (!isfinite(decay) || decay < 0.0f)
        return "weight decay is not finite or negative";
    return NULL;
}
static const char *check_act(enum kern_act act, float slope) {
    if ((unsigned)act > KERN_ACT_TANH)
        return "unknown activation";
    /* A positive slope keeps the sign, so that the backward pass can read it from the output. */
    if (act == KERN_ACT_LEAKY_RELU && !(slope > 0.0f && slope <= 1.0f))
        return "slope of leaky ReLU is not in (0, 1]";
    return NULL;
}

/* The checks of attributes, one per kind; each sets want[] to the operands' element counts. */
static const char *check_gemm(const struct kern_instr *in, uint64_t *want) {
    const struct kern_gemm *g = &in->u.gemm;
    want[0] = PRODUCT(g->m, g->k);
    want[1] = PRODUCT(g->k, g->n);
    want[2] = PRODUCT(g->m, g->n);
    want[3] = g->n;
    const char *bad = check_factors(g->scale, g->beta, g->weight_decay);
    return bad ? bad : check_act(g->act, g->slope);
}
/* Products of integers and of short floats: plain ones only. */
static const char *check_gemm_i8(const struct kern_instr *in, uint64_t *want) {
    const struct kern_gemm *g = &in->u.gemm;
    if (g->trans_a || g->trans_b || g->scale != KERN_SCALE_ONE || g->beta != KERN_BETA_ZERO)
        return "transposes, scale and beta are for fp32 alone";
    want[0] = PRODUCT(g->m, g->k);
    want[1] = PRODUCT(g->k, g->n);
    if (in->op == KERN_GEMM_I8) {
        want[2] = PRODUCT(g->m, g->n);
        if (g->k >= 1u << 17)
            return "k is 2^17 or more";
        return g->act == KERN_ACT_NONE ? NULL : "integers have no activation";
    }
    if (in->op == KERN_GEMM_BF16 || in->op == KERN_GEMM_F16) {
        want[2] = PRODUCT(g->m, g->n);
        want[3] = g->n;
        return check_act(g->act, g->slope);
    }
    want[2] = want[4] = g->n;
    want[3] = PRODUCT(g->m, g->n);
    return check_act(g->act, g->slope);
}
static const char *check_conv(const struct kern_instr *in, uint64_t *want) {
    const struct kern_conv *v = &in->u.conv;
    const char *bad = check_axis(v->in_h, v->out_h, v->kernel_h, v->stride_h, v->pad_top);
    if (!bad)
        bad = check_axis(v->in_w, v->out_w, v->kernel_w, v->stride_w, v->pad_left);
    if (!bad)
        bad = check_factors(v->scale, v->beta, v->weight_decay);
    if (!bad)
        bad = check_act(v->act, v->slope);
    if (bad)
        return bad;
    if (v->groups == 0 || v->in_c % v->groups || v->out_c % v->groups)
        return "groups do not divide the channels";
    uint64_t x = PRODUCT(v->batch, v->in_h, v->in_w, v->in_c);
    uint64_t w = PRODUCT(v->kernel_h, v->kernel_w, v->in_c / v->groups, v->out_c);
    uint64_t y = PRODUCT(v->batch, v->out_h, v->out_w, v->out_c);
    switch ((unsigned)in->op) {
    case KERN_CONV2D_DX:
        want[0] = y, want[1] = w, want[2] = x;
        return NULL;
    case KERN_CONV2D_DW:
        want[0] = x, want[1] = y, want[2] = w;
        return NULL;
    case KERN_CONV2D_POOL:
        if (v->pool_h == 0 || v->pool_w == 0 || v->pool_h > v->out_h || v->pool_w > v->out_w ||
            (uint64_t)v->pool_h * v->pool_w > 255)
            return "pooling window is 0, larger than the output, or has more than 255 places";
        want[4] = PRODUCT(v->batch, v->out_h / v->pool_h, v->out_w / v->pool_w, v->out_c);
        want[0] = x, want[1] = w, want[2] = y ? want[4] : 0, want[3] = v->out_c;
        return NULL;
    default:
        want[0] = x, want[1] = w, want[2] = y, want[3] = v->out_c;
        return NULL;
    }
}
static const char *check_pool(const struct kern_instr *in, uint64_t *want) {
    const struct kern_pool *v = &in->u.pool;
    const char *bad = check_axis(v->in_h, v->out_h, v->kernel_h, v->stride_h, v->pad_top);
    if (!bad)
        bad = check_axis(v->in_w, v->out_w, v->kernel_w, v->stride_w, v->pad_left);
    if (bad)
        return bad;
    uint64_t x = PRODUCT(v->batch, v->in_h, v->in_w, v->channels);
    uint64_t y = PRODUCT(v->batch, v->out_h, v->out_w, v->channels);
    bool max = in->op == KERN_POOL_MAX || in->op == KERN_POOL_MAX_DX;
    if (max && (uint64_t)v->kernel_h * v->kernel_w > 255)
        return "window has more than 255 places";
    bool backward = in->op == KERN_POOL_MAX_DX || in->op == KERN_POOL_AVG_DX;
    want[0] = backward ? y : x;
    if (in->op == KERN_POOL_MAX)
        want[1] = y, want[2] = y;
    else if (in->op == KERN_POOL_MAX_DX)
        want[1] = y, want[2] = x;
    else
        want[1] = backward ? x : y;
    return NULL;
}
static const char *check_rows(const struct kern_instr *in, uint64_t *want) {
    const struct kern_rows *v = &in->u.rows;
    uint64_t n = PRODUCT(v->rows, v->cols);
    want[0] = n;
    switch ((unsigned)in->op) {
    case KERN_BIAS_ADD:
        want[1] = v->cols, want[2] = n;
        return NULL;
    case KERN_BIAS_GRAD:
        want[1] = v->cols;
        return check_factors(v->scale, v->beta, v->weight_decay);
    case KERN_SOFTMAX:
        want[1] = n;
        return NULL;
    case KERN_SOFTMAX_XENT:
        want[1] = v->rows, want[2] = n, want[3] = KERN_METRIC_COUNT;
        if (!(v->label_smoothing >= 0.0f && v->label_smoothing < 1.0f))
            return "label smoothing is not in [0, 1)";
        return NULL;
    default: /* SOFT_XENT */
        want[1] = n, want[2] = n, want[3] = KERN_METRIC_COUNT;
        if (!(v->temperature > 0.0f && v->temperature <= 1000.0f))
            return "temperature is not in (0, 1000]";
        return NULL;
    }
}
static const char *check_sgd(const struct kern_instr *in, uint64_t *want) {
    const struct kern_sgd *v = &in->u.sgd;
    for (unsigned i = 0; i < 4; i++)
        want[i] = v->count;
    if (!(v->momentum >= 0.0f && v->momentum < 1.0f))
        return "momentum is not in [0, 1)";
    if (!(v->weight_decay >= 0.0f && isfinite(v->weight_decay)) ||
        !(v->prox_mu >= 0.0f && isfinite(v->prox_mu)))
        return "weight decay or proximal weight is not finite or negative";
    if (v->prox_mu > 0.0f && in->args[3] == KERN_NONE)
        return "proximal term without an anchor";
    if (v->momentum > 0.0f && in->args[2] == KERN_NONE)
        return "momentum without a state buffer";
    return NULL;
}
static const char *check_quant(const struct kern_instr *in, uint64_t *want) {
    const struct kern_quant *v = &in->u.quant;
    uint64_t n = PRODUCT(v->rows, v->channels);
    want[0] = n;
    want[1] = in->op == KERN_QUANT_I8 ? n : v->channels;
    want[2] = in->op == KERN_QUANT_I8 ? v->channels : n;
    return NULL;
}

/* NULL, or what is wrong with the attributes; a want of 0 is a size of 0 or one past 32 bits. */
static const char *check_attributes(const struct kern_instr *in, uint64_t *want) {
    switch ((unsigned)in->op) {
    case KERN_GEMM:
        return check_gemm(in, want);
    case KERN_GEMM_I8:
    case KERN_GEMM_W8:
    case KERN_GEMM_BF16:
    case KERN_GEMM_F16:
        return check_gemm_i8(in, want);
    case KERN_CONV2D:
    case KERN_CONV2D_POOL:
    case KERN_CONV2D_DX:
    case KERN_CONV2D_DW:
        return check_conv(in, want);
    case KERN_POOL_MAX:
    case KERN_POOL_MAX_DX:
    case KERN_POOL_AVG:
    case KERN_POOL_AVG_DX:
        return check_pool(in, want);
    case KERN_BIAS_ADD:
    case KERN_BIAS_GRAD:
    case KERN_SOFTMAX:
    case KERN_SOFTMAX_XENT:
    case KERN_SOFT_XENT:
        return check_rows(in, want);
    case KERN_ACT:
    case KERN_ACT_DX:
    case KERN_ADD:
    case KERN_COPY:
    case KERN_FILL0:
        want[0] = want[1] = want[2] = in->u.pointwise.count;
        return check_act(in->u.pointwise.act, in->u.pointwise.slope);
    case KERN_DROPOUT:
        want[0] = want[1] = in->u.dropout.count;
        return in->u.dropout.rate >= 0.0f && in->u.dropout.rate < 1.0f ? NULL
                                                                       : "rate is not in [0, 1)";
    case KERN_SGD:
        return check_sgd(in, want);
    case KERN_CLIP_NORM:
        want[0] = in->u.clip.count;
        return in->u.clip.max_norm > 0.0f && isfinite(in->u.clip.max_norm)
                   ? NULL
                   : "norm is not finite and positive";
    case KERN_QUANT_I8:
    case KERN_DEQUANT_I8:
        return check_quant(in, want);
    default:
        return "unknown instruction";
    }
}

static const char *check_role(const struct kern_program *p, const struct kern_instr *in,
                              unsigned arg) {
    const struct kern_buffer *b = &p->buffers[in->args[arg]];
    bool loss = in->op == KERN_SOFTMAX_XENT || in->op == KERN_SOFT_XENT;
    bool metric = loss && arg == 3;
    if (metric != (b->role == KERN_ROLE_METRIC))
        return metric ? "is not a metric buffer" : "is a metric buffer";
    if (OPS[in->op].args[arg].mode == R)
        return NULL;
    if (b->role == KERN_ROLE_INPUT)
        return "is an input and would be written";
    if (b->role == KERN_ROLE_ANCHOR)
        return "is the anchor and would be written";
    if (b->role == KERN_ROLE_FIXED)
        return "is fixed and would be written";
    return NULL;
}

/* Only exactly the same place counts as "in place"; any other sharing with a written operand is a
 * mistake. */
static bool may_share(const struct arg_spec *s, unsigned other, struct range a, struct range b) {
    bool same = a.first == b.first && a.end == b.end;
    return same && (s->in_place == (int)other || s->in_place2 == (int)other);
}

static enum sotto_status fail_at(struct sotto_error *err, uint32_t i, enum kern_op op,
                                 const char *what) {
    return SOTTO_FAIL(err, SOTTO_INVALID, "instr %u %s: %s", i, kern_op_name(op), what);
}

static enum sotto_status check_operands(const struct kern_program *p, uint32_t i,
                                        const uint64_t *want, struct sotto_error *err) {
    const struct kern_instr *in = &p->instrs[i];
    for (unsigned a = 0; a < OPS[in->op].count; a++) {
        const struct arg_spec *s = &OPS[in->op].args[a];
        uint32_t index = in->args[a];
        if (index == KERN_NONE) {
            if (!s->optional)
                return SOTTO_FAIL(err, SOTTO_INVALID, "instr %u %s: operand %u is missing", i,
                                  kern_op_name(in->op), a);
            continue;
        }
        if (index >= p->buffer_count)
            return SOTTO_FAIL(err, SOTTO_INVALID, "instr %u %s: operand %u is buffer %u of %u", i,
                              kern_op_name(in->op), a, index, p->buffer_count);
        const struct kern_buffer *b = &p->buffers[index];
        if (b->dtype != s->dtype)
            return SOTTO_FAIL(err, SOTTO_INVALID, "instr %u %s: operand %u has the wrong type", i,
                              kern_op_name(in->op), a);
        if (want[a] != b->count)
            return SOTTO_FAIL(err, SOTTO_INVALID,
                              "instr %u %s: operand %u has %u elements, the attributes say %llu", i,
                              kern_op_name(in->op), a, b->count, (unsigned long long)want[a]);
        const char *bad = check_role(p, in, a);
        if (bad)
            return SOTTO_FAIL(err, SOTTO_INVALID, "instr %u %s: operand %u %s", i,
                              kern_op_name(in->op), a, bad);
    }
    return SOTTO_OK;
}

static enum sotto_status check_sharing(const struct kern_program *p, uint32_t i,
                                       struct sotto_error *err) {
    const struct kern_instr *in = &p->instrs[i];
    unsigned n = OPS[in->op].count;
    for (unsigned a = 0; a < n; a++) {
        const struct arg_spec *s = &OPS[in->op].args[a];
        if (in->args[a] == KERN_NONE || s->mode == R)
            continue;
        struct range ra = buffer_range(&p->buffers[in->args[a]]);
        for (unsigned b = 0; b < n; b++) {
            if (b == a || in->args[b] == KERN_NONE)
                continue;
            struct range rb = buffer_range(&p->buffers[in->args[b]]);
            const struct arg_spec *t = &OPS[in->op].args[b];
            if (ranges_meet(ra, rb) && !may_share(s, b, ra, rb) &&
                !(t->mode != R && may_share(t, a, ra, rb)))
                return SOTTO_FAIL(err, SOTTO_INVALID, "instr %u %s: operands %u and %u overlap", i,
                                  kern_op_name(in->op), a, b);
        }
    }
    return SOTTO_OK;
}

/* The ranges that live across runs: nothing else may lie in them. */
struct kept {
    struct range param, state, anchor, fixed;
};

static enum sotto_status check_buffer(const struct kern_program *p, uint32_t i,
                                      const struct kept *k, struct sotto_error *err) {
    const struct kern_buffer *b = &p->buffers[i];
    if ((unsigned)b->dtype > KERN_U8 || (unsigned)b->role > KERN_ROLE_TEMP)
        return SOTTO_FAIL(err, SOTTO_INVALID, "buffer %u: unknown type or role", i);
    if (b->rank == 0 || b->rank > KERN_RANK_MAX || product(b->rank, b->dims) != b->count ||
        b->count == 0)
        return SOTTO_FAIL(err, SOTTO_INVALID, "buffer %u: dimensions do not give %u elements", i,
                          b->count);
    bool weights =
        b->role == KERN_ROLE_PARAM || b->role == KERN_ROLE_STATE || b->role == KERN_ROLE_ANCHOR;
    if (b->offset % (weights ? 4 : KERN_ALIGN))
        return SOTTO_FAIL(err, SOTTO_INVALID, "buffer %u: offset is not aligned", i);
    uint64_t bytes = b->count * dtype_bytes(b->dtype);
    if (b->offset > p->arena_bytes || bytes > p->arena_bytes - b->offset)
        return SOTTO_FAIL(err, SOTTO_INVALID, "buffer %u: lies outside the arena", i);
    struct range r = buffer_range(b);
    const struct range *home = b->role == KERN_ROLE_PARAM    ? &k->param
                               : b->role == KERN_ROLE_STATE  ? &k->state
                               : b->role == KERN_ROLE_ANCHOR ? &k->anchor
                               : b->role == KERN_ROLE_FIXED  ? &k->fixed
                                                             : NULL;
    if (home && ((weights && b->dtype != KERN_F32) || r.first < home->first || r.end > home->end))
        return SOTTO_FAIL(err, SOTTO_INVALID, "buffer %u: lies outside its role's range", i);
    const struct range *all[] = {&k->param, &k->state, &k->anchor, &k->fixed};
    for (unsigned j = 0; j < ARRAY_LEN(all); j++)
        if (all[j] != home && ranges_meet(r, *all[j]))
            return SOTTO_FAIL(err, SOTTO_INVALID,
                              "buffer %u: overlaps parameters, state, anchor or fixed weights", i);
    if (b->role == KERN_ROLE_METRIC && (b->dtype != KERN_F32 || b->count != KERN_METRIC_COUNT))
        return SOTTO_FAIL(err, SOTTO_INVALID, "buffer %u: not a metric's shape", i);
    return SOTTO_OK;
}

static enum sotto_status check_kept(const struct kern_program *p, struct kept *k,
                                    struct sotto_error *err) {
    *k = (struct kept){
        {p->param_offset, p->param_offset + 4 * (uint64_t)p->param_count},
        {p->state_first, p->state_first + 4 * (uint64_t)p->state_count},
        {p->anchor_first, p->anchor_first + 4 * (uint64_t)p->anchor_count},
        {p->fixed_first, p->fixed_first + p->fixed_bytes},
    };
    const struct range *all[] = {&k->param, &k->state, &k->anchor, &k->fixed};
    if (p->fixed_bytes > p->arena_bytes) /* no sum of the two wraps */
        return SOTTO_FAIL(err, SOTTO_INVALID, "fixed weights lie outside the arena");
    for (unsigned i = 0; i < ARRAY_LEN(all); i++) {
        if (all[i]->first % 4 || all[i]->first > p->arena_bytes || all[i]->end > p->arena_bytes)
            return SOTTO_FAIL(err, SOTTO_INVALID,
                              "parameters, state, anchor or fixed weights lie outside the arena");
        for (unsigned j = 0; j < i; j++)
            if (ranges_meet(*all[i], *all[j]))
                return SOTTO_FAIL(err, SOTTO_INVALID,
                                  "parameters, state, anchor and fixed weights overlap");
    }
    if (p->anchor_count && p->anchor_count != p->param_count)
        return SOTTO_FAIL(err, SOTTO_INVALID, "the anchor differs in size from the parameters");
    return SOTTO_OK;
}

static enum sotto_status check_named(const struct kern_program *p, uint32_t index,
                                     enum kern_dtype dtype, enum kern_role role, bool optional,
                                     const char *what, struct sotto_error *err) {
    if (index == KERN_NONE && optional)
        return SOTTO_OK;
    if (index >= p->buffer_count || p->buffers[index].dtype != dtype ||
        p->buffers[index].role != role)
        return SOTTO_FAIL(err, SOTTO_INVALID, "program: %s is not a buffer of that role", what);
    if (role == KERN_ROLE_METRIC)
        return SOTTO_OK;
    if (p->buffers[index].dims[0] != p->batch)
        return SOTTO_FAIL(err, SOTTO_INVALID, "program: %s does not have %u rows", what, p->batch);
    return SOTTO_OK;
}

enum sotto_status kern_program_check(const struct kern_program *p, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct kept kept;
    if (p->buffer_count > KERN_BUFFERS_MAX || p->instr_count > KERN_INSTRS_MAX ||
        p->arena_bytes == 0 || p->arena_bytes > KERN_ARENA_MAX || p->batch == 0)
        return SOTTO_FAIL(err, SOTTO_INVALID,
                          "program: too many buffers or instructions, or no arena or batch");
    TRY(check_kept(p, &kept, err));
    for (uint32_t i = 0; i < p->buffer_count; i++)
        TRY(check_buffer(p, i, &kept, err));
    TRY(check_named(p, p->input, KERN_F32, KERN_ROLE_INPUT, false, "input", err));
    TRY(check_named(p, p->labels, KERN_I32, KERN_ROLE_INPUT, true, "labels", err));
    TRY(check_named(p, p->targets, KERN_F32, KERN_ROLE_INPUT, true, "targets", err));
    TRY(check_named(p, p->logits, KERN_F32, KERN_ROLE_OUTPUT, false, "logits", err));
    TRY(check_named(p, p->metric, KERN_F32, KERN_ROLE_METRIC, true, "metric", err));
    for (uint32_t i = 0; i < p->instr_count; i++) {
        uint64_t want[KERN_ARGS_MAX] = {0};
        const char *bad = check_attributes(&p->instrs[i], want);
        if (bad)
            return fail_at(err, i, p->instrs[i].op, bad);
        TRY(check_operands(p, i, want, err));
        TRY(check_sharing(p, i, err));
    }
out:
    return status;
}
