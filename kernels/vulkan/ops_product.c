/* Products on the device: gemm and the convolutions as tiles of one shader, split along k where
 * there would be too few workgroups, or directly where tiles would be wasted. */
#include "vulkan/gpu.h"

#define BK 16u

struct tile {
    uint32_t bm, bn, tm, tn;
};
/* At most 128 threads and 13 KiB of shared memory each. */
static const struct tile TILE_LARGE = {128, 64, 8, 8}, TILE_MEDIUM = {64, 64, 8, 4},
                         TILE_SMALL = {32, 32, 4, 4}, TILE_FLAT = {16, 64, 4, 4},
                         TILE_TALL = {64, 16, 4, 4};

#define TRANS_INT8   4u /* beside the two transposes */
#define TRANS_BF16   8u
#define TRANS_UNROLL 16u /* LLVM, which compiles for processors, takes seconds over it */
#define TRANS_HALF   32u /* A and B are halves in scratch */

enum mode { MODE_GEMM = 0, MODE_FORWARD, MODE_DX, MODE_DW, MODE_POOL };

/* What the shaders' parameters say; gemm leaves conv NULL. */
struct product {
    enum mode mode;
    uint32_t m, n, k, trans;
    uint32_t groups, window;
    const struct kern_conv *conv;
    enum kern_scale scale;
    enum kern_beta beta;
    float weight_decay;
    enum kern_act act;
    float slope;
    bool bias;
    uint32_t bias_at;  /* words from the start of its view: the fourth, or B's when pooling */
    uint32_t scale_at; /* of int8 columns, in the fourth */
    uint64_t parts_at; /* bytes from the start of scratch: before it lie halves */
};

static uint64_t ceil_div(uint64_t a, uint64_t b) {
    return (a + b - 1) / b;
}
static uint64_t tile_count(const struct tile *t, const struct product *v) {
    return ceil_div(v->m, t->bm) * ceil_div(v->n, t->bn) * v->groups;
}

/* Workgroups that keep the device busy: a processor has few cores, a GPU many. Lanes do not count:
 * a client's bits must not depend on whom it shares launches with. */
static uint64_t busy_groups(const struct gpu_recorder *r) {
    return r->g->properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU ? 4 : 128;
}

static struct tile choose_tile(const struct gpu_recorder *r, const struct product *v) {
    if (r->g->config.disabled & GPU_TILE)
        return TILE_SMALL;
    if (v->m <= 16)
        return TILE_FLAT;
    if (v->n <= 16)
        return TILE_TALL;
    if (v->m <= 32 || v->n <= 32)
        return TILE_SMALL;
    if (v->m >= 256 && v->n >= 64 && tile_count(&TILE_LARGE, v) >= busy_groups(r))
        return TILE_LARGE;
    return tile_count(&TILE_MEDIUM, v) >= busy_groups(r) / 4 ? TILE_MEDIUM : TILE_SMALL;
}

static uint32_t choose_splits(const struct gpu_recorder *r, const struct tile *t,
                              const struct product *v) {
    uint64_t tiles = tile_count(t, v), busy = busy_groups(r);
    if (v->window || (v->trans & TRANS_INT8) || tiles * 2 > busy || v->k < 256)
        return 1;
    uint64_t splits = busy / tiles, most = v->k / 128;
    splits = splits < most ? splits : most;
    return (uint32_t)(splits < 64 ? splits : 64);
}

static uint32_t flags_of(const struct product *v, bool finish) {
    if (!finish)
        return 0;
    return (uint32_t)v->scale | (uint32_t)v->beta << 4 | (uint32_t)v->act << 8 |
           (uint32_t)v->bias << 12;
}

static void put_params(struct gpu_launch *l, const struct product *v, uint32_t splits) {
    static const struct kern_conv none;
    const struct kern_conv *c = v->conv ? v->conv : &none;
    gpu_param(l, v->m);
    gpu_param(l, v->n);
    gpu_param(l, v->k);
    gpu_param(l, splits);
    gpu_param(l, flags_of(v, splits == 1));
    gpu_param_f32(l, v->slope);
    gpu_param_f32(l, v->weight_decay);
    gpu_param(l, v->groups);
    gpu_param(l, v->n * v->groups);
    gpu_param(l, c->batch);
    gpu_param(l, c->in_h);
    gpu_param(l, c->in_w);
    gpu_param(l, c->in_c);
    gpu_param(l, c->out_h);
    gpu_param(l, c->out_w);
    gpu_param(l, c->out_c);
    gpu_param(l, c->kernel_h | c->kernel_w << 16);
    gpu_param(l, c->stride_h | c->stride_w << 16);
    gpu_param(l, c->pad_top | c->pad_left << 16);
    gpu_param(l, c->pool_h | c->pool_w << 16);
    gpu_param(l, v->bias_at);
    gpu_param(l, v->scale_at);
}

/* The parts of a split product in scratch become C. */
static bool sum_parts(struct gpu_recorder *r, const struct product *v, struct gpu_operand c,
                      struct gpu_operand bias, uint32_t splits, uint64_t bytes) {
    struct gpu_launch l = {.shader = GPU_SUM_PARTS, .threads = 64};
    uint32_t count = v->m * v->n * v->groups;
    gpu_bind_scratch(&l, 0, v->parts_at, bytes, GPU_READ);
    l.operands[2] = c;
    l.operands[3] = bias;
    gpu_param(&l, count);
    gpu_param(&l, splits);
    gpu_param(&l, v->n * v->groups);
    gpu_param(&l, flags_of(v, true));
    gpu_param_f32(&l, v->slope);
    gpu_param_f32(&l, v->weight_decay);
    l.groups = ceil_div(count, l.threads);
    return gpu_launch(r, &l);
}

/* operands: A, B, C, and bias or places, bound by the caller. */
static bool emit_product(struct gpu_recorder *r, const struct product *v,
                         const struct gpu_operand operands[GPU_STORAGE_MAX]) {
    struct tile t = choose_tile(r, v);
    uint32_t splits = choose_splits(r, &t, v);
    uint64_t part_bytes = 4ull * splits * v->m * v->n * v->groups;
    bool half = v->trans & TRANS_HALF && r->g->storage_16bit;
    struct gpu_launch l = {.shader = half ? GPU_PRODUCT_HALF : GPU_PRODUCT,
                           .threads = t.bm / t.tm * (t.bn / t.tn)};
    for (unsigned i = 0; i < GPU_STORAGE_MAX; i++)
        l.operands[i] = operands[i];
    if (splits > 1) {
        l.operands[3].used = false;
        gpu_bind_scratch(&l, 2, v->parts_at, part_bytes, GPU_WRITE);
    }
    gpu_spec(&l, v->mode == MODE_POOL ? MODE_FORWARD : v->mode);
    gpu_spec(&l, t.bm);
    gpu_spec(&l, t.bn);
    gpu_spec(&l, t.tm);
    gpu_spec(&l, t.tn);
    bool gpu = r->g->properties.deviceType != VK_PHYSICAL_DEVICE_TYPE_CPU;
    gpu_spec(&l, v->trans | (gpu ? TRANS_UNROLL : 0));
    gpu_spec(&l, v->window);
    gpu_spec(&l, splits == 1 ? v->act : KERN_ACT_NONE);
    put_params(&l, v, splits);
    l.groups = tile_count(&t, v) * splits;
    if (!gpu_launch(r, &l))
        return false;
    return splits == 1 || sum_parts(r, v, operands[2], operands[3], splits, part_bytes);
}

static bool emit_direct(struct gpu_recorder *r, const struct product *v,
                        const struct gpu_operand operands[GPU_STORAGE_MAX], uint64_t count) {
    struct gpu_launch l = {.shader = GPU_CONV_DIRECT, .threads = 64};
    for (unsigned i = 0; i < GPU_STORAGE_MAX; i++)
        l.operands[i] = operands[i];
    gpu_spec(&l, v->mode);
    put_params(&l, v, 1);
    l.params[0] = (uint32_t)count;
    l.groups = v->mode == MODE_DW ? count : ceil_div(count, l.threads);
    return gpu_launch(r, &l);
}

static enum gpu_access access_of(enum kern_beta beta) {
    return beta == KERN_BETA_ZERO ? GPU_WRITE : GPU_READ_WRITE;
}

bool gpu_emit_gemm(struct gpu_recorder *r, const struct kern_instr *in) {
    const struct kern_gemm *g = &in->u.gemm;
    struct gpu_launch l = {.shader = GPU_PRODUCT};
    struct product v = {.mode = MODE_GEMM,
                        .m = g->m,
                        .n = g->n,
                        .k = g->k,
                        .trans = (g->trans_a ? 1u : 0u) | (g->trans_b ? 2u : 0u) |
                                 (in->op == KERN_GEMM_BF16 ? TRANS_BF16 : 0u),
                        .groups = 1,
                        .scale = g->scale,
                        .beta = g->beta,
                        .weight_decay = g->weight_decay,
                        .act = g->act,
                        .slope = g->slope};
    gpu_bind(r, &l, 0, in, 0, GPU_READ);
    gpu_bind(r, &l, 1, in, 1, GPU_READ);
    gpu_bind(r, &l, 2, in, 2, access_of(g->beta));
    v.bias = gpu_bind(r, &l, 3, in, 3, GPU_READ);
    return emit_product(r, &v, l.operands);
}

/* Scale and bias share the fourth view: the smallest range with both. */
bool gpu_emit_gemm_w8(struct gpu_recorder *r, const struct kern_instr *in) {
    const struct kern_gemm *g = &in->u.gemm;
    struct gpu_launch l = {.shader = GPU_PRODUCT}, other = {.shader = GPU_PRODUCT};
    struct product v = {.mode = MODE_GEMM,
                        .m = g->m,
                        .n = g->n,
                        .k = g->k,
                        .trans = TRANS_INT8,
                        .groups = 1,
                        .act = g->act,
                        .slope = g->slope};
    struct gpu_operand *both = &l.operands[3];
    const struct gpu_operand *bias = &other.operands[0];
    gpu_bind(r, &l, 0, in, 0, GPU_READ);
    gpu_bind(r, &l, 1, in, 1, GPU_READ);
    gpu_bind(r, &l, 2, in, 3, GPU_WRITE);
    gpu_bind(r, &l, 3, in, 2, GPU_READ);
    v.bias = gpu_bind(r, &other, 0, in, 4, GPU_READ);
    if (v.bias) {
        uint64_t scale_at = both->offset, end = both->offset + both->bytes;
        uint64_t bias_end = bias->offset + bias->bytes;
        both->offset = scale_at < bias->offset ? scale_at : bias->offset;
        both->bytes = (end > bias_end ? end : bias_end) - both->offset;
        v.scale_at = (uint32_t)((scale_at - both->offset) / 4);
        v.bias_at = (uint32_t)((bias->offset - both->offset) / 4);
    }
    return emit_product(r, &v, l.operands);
}

/* Operand i of in as halves at offset of scratch, where the product's operand i then is. */
static bool emit_half(struct gpu_recorder *r, const struct kern_instr *in, unsigned i,
                      uint64_t count, uint64_t *offset, struct gpu_launch *product) {
    struct gpu_launch l = {.shader = GPU_HALF, .threads = 64};
    uint64_t bytes = ceil_div(count, 2) * 4;
    gpu_bind(r, &l, 0, in, i, GPU_READ);
    gpu_bind_scratch(&l, 2, *offset, bytes, GPU_WRITE);
    gpu_bind_scratch(product, i, *offset, bytes, GPU_READ);
    gpu_param(&l, (uint32_t)count);
    l.groups = ceil_div(count, 64 * 2 * 4);
    *offset += ceil_div(bytes, GPU_SCRATCH_ALIGN) * GPU_SCRATCH_ALIGN;
    return gpu_launch(r, &l);
}

/* Both operands become halves in scratch, half the bytes for a product that reads them many times:
 * through 16-bit storage where the device has it, else two a word. */
bool gpu_emit_gemm_f16(struct gpu_recorder *r, const struct kern_instr *in) {
    const struct kern_gemm *g = &in->u.gemm;
    struct gpu_launch l = {.shader = GPU_PRODUCT};
    struct product v = {.mode = MODE_GEMM,
                        .m = g->m,
                        .n = g->n,
                        .k = g->k,
                        .trans = TRANS_HALF,
                        .groups = 1,
                        .act = g->act,
                        .slope = g->slope};
    gpu_bind(r, &l, 2, in, 2, GPU_WRITE);
    v.bias = gpu_bind(r, &l, 3, in, 3, GPU_READ);
    return emit_half(r, in, 0, (uint64_t)g->m * g->k, &v.parts_at, &l) &&
           emit_half(r, in, 1, (uint64_t)g->k * g->n, &v.parts_at, &l) &&
           emit_product(r, &v, l.operands);
}

bool gpu_emit_gemm_i8(struct gpu_recorder *r, const struct kern_instr *in) {
    const struct kern_gemm *g = &in->u.gemm;
    struct gpu_launch l = {.shader = r->g->int8_dot ? GPU_GEMM_I8_DOT : GPU_GEMM_I8, .threads = 64};
    gpu_bind(r, &l, 0, in, 0, GPU_READ);
    gpu_bind(r, &l, 1, in, 1, GPU_READ);
    gpu_bind(r, &l, 2, in, 2, GPU_WRITE);
    gpu_param(&l, g->m);
    gpu_param(&l, g->n);
    gpu_param(&l, g->k);
    l.groups = ceil_div(g->m, 32) * ceil_div(g->n, 32);
    return gpu_launch(r, &l);
}

/* Few channels in a group leave most of a tile empty. */
static bool is_thin(const struct kern_conv *c, uint32_t columns) {
    return columns < (c->groups > 1 ? 8u : 3u);
}

static struct product conv_product(const struct kern_conv *c, enum mode mode) {
    return (struct product){.mode = mode, .groups = c->groups, .conv = c, .slope = c->slope};
}

bool gpu_emit_conv(struct gpu_recorder *r, const struct kern_instr *in) {
    const struct kern_conv *c = &in->u.conv;
    struct gpu_launch l = {.shader = GPU_PRODUCT};
    struct product v = conv_product(c, MODE_FORWARD);
    v.m = c->batch * c->out_h * c->out_w;
    v.n = c->out_c / c->groups;
    v.k = c->kernel_h * c->kernel_w * (c->in_c / c->groups);
    v.act = c->act;
    gpu_bind(r, &l, 0, in, 0, GPU_READ);
    gpu_bind(r, &l, 1, in, 1, GPU_READ);
    gpu_bind(r, &l, 2, in, 2, GPU_WRITE);
    v.bias = gpu_bind(r, &l, 3, in, 3, GPU_READ);
    if (is_thin(c, v.n))
        return emit_direct(r, &v, l.operands, (uint64_t)v.m * c->out_c);
    return emit_product(r, &v, l.operands);
}

/* Weights and bias share a view, since pooling needs two outputs: the range from the weights to the
 * bias behind them. False where the bias lies before, as in no model of ours. */
static bool bind_with_bias(struct gpu_recorder *r, struct gpu_launch *l, struct product *v,
                           const struct kern_instr *in) {
    struct gpu_launch other = {.shader = GPU_PRODUCT};
    struct gpu_operand *w = &l->operands[1];
    const struct gpu_operand *b = &other.operands[0];
    gpu_bind(r, l, 1, in, 1, GPU_READ);
    v->bias = gpu_bind(r, &other, 0, in, 3, GPU_READ);
    if (!v->bias)
        return true;
    if (b->offset < w->offset)
        return false;
    v->bias_at = (uint32_t)((b->offset - w->offset) / 4);
    uint64_t end = b->offset + b->bytes, w_end = w->offset + w->bytes;
    w->bytes = (end > w_end ? end : w_end) - w->offset;
    return true;
}

bool gpu_emit_conv_pool(struct gpu_recorder *r, const struct kern_instr *in) {
    const struct kern_conv *c = &in->u.conv;
    struct gpu_launch l = {.shader = GPU_PRODUCT};
    struct product v = conv_product(c, MODE_POOL);
    uint32_t pooled = c->batch * (c->out_h / c->pool_h) * (c->out_w / c->pool_w);
    v.window = c->pool_h * c->pool_w;
    v.m = pooled * v.window;
    v.n = c->out_c / c->groups;
    v.k = c->kernel_h * c->kernel_w * (c->in_c / c->groups);
    v.act = c->act;
    gpu_bind(r, &l, 0, in, 0, GPU_READ);
    if (!bind_with_bias(r, &l, &v, in))
        return false;
    gpu_bind(r, &l, 2, in, 2, GPU_WRITE);
    gpu_bind(r, &l, 3, in, 4, GPU_READ_WRITE);
    if (is_thin(c, v.n) || (v.window != 1 && v.window != 2 && v.window != 4))
        return emit_direct(r, &v, l.operands, (uint64_t)pooled * c->out_c);
    return emit_product(r, &v, l.operands);
}

bool gpu_emit_conv_dx(struct gpu_recorder *r, const struct kern_instr *in) {
    const struct kern_conv *c = &in->u.conv;
    struct gpu_launch l = {.shader = GPU_PRODUCT};
    struct product v = conv_product(c, MODE_DX);
    v.m = c->batch * c->in_h * c->in_w;
    v.n = c->in_c / c->groups;
    v.k = c->kernel_h * c->kernel_w * (c->out_c / c->groups);
    gpu_bind(r, &l, 0, in, 0, GPU_READ);
    gpu_bind(r, &l, 1, in, 1, GPU_READ);
    gpu_bind(r, &l, 2, in, 2, GPU_WRITE);
    if (is_thin(c, v.n))
        return emit_direct(r, &v, l.operands, (uint64_t)v.m * c->in_c);
    return emit_product(r, &v, l.operands);
}

bool gpu_emit_conv_dw(struct gpu_recorder *r, const struct kern_instr *in) {
    const struct kern_conv *c = &in->u.conv;
    struct gpu_launch l = {.shader = GPU_PRODUCT};
    struct product v = conv_product(c, MODE_DW);
    v.m = c->kernel_h * c->kernel_w * (c->in_c / c->groups);
    v.n = c->out_c / c->groups;
    v.k = c->batch * c->out_h * c->out_w;
    v.scale = c->scale;
    v.beta = c->beta;
    v.weight_decay = c->weight_decay;
    gpu_bind(r, &l, 0, in, 0, GPU_READ);
    gpu_bind(r, &l, 1, in, 1, GPU_READ);
    gpu_bind(r, &l, 2, in, 2, access_of(c->beta));
    if (is_thin(c, v.n))
        return emit_direct(r, &v, l.operands, (uint64_t)v.m * c->out_c);
    return emit_product(r, &v, l.operands);
}
