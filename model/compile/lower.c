/* Graph to step program: fusion, the forward instructions of every layer kind, the loss; then
 * autodiff and the plan. */
#include "compile/compile_int.h"

#include <string.h>

/* ---- Buffers and instructions ---- */

uint32_t compile_buffer(struct compiler *c, enum kern_dtype dtype, enum kern_role role,
                        uint32_t rank, const uint32_t *dims) {
    uint64_t count = 1;
    if (c->status != SOTTO_OK)
        return 0;
    for (uint32_t i = 0; i < rank; i++)
        count = count > UINT32_MAX ? count : count * dims[i];
    if (count > KERN_ARENA_MAX / 4) {
        c->status = SOTTO_FAIL(c->err, SOTTO_LIMIT,
                               "a tensor of the program is over %llu MiB: use a smaller batch",
                               (unsigned long long)(KERN_ARENA_MAX >> 20));
        return 0;
    }
    if (c->p->buffer_count >= c->buffer_cap) {
        c->status =
            SOTTO_FAIL(c->err, SOTTO_LIMIT, "the program has more than %u buffers", c->buffer_cap);
        return 0;
    }
    uint32_t index = c->p->buffer_count++;
    struct kern_buffer *b = &c->p->buffers[index];
    *b = (struct kern_buffer){.dtype = dtype, .role = role, .rank = rank, .count = (uint32_t)count};
    memcpy(b->dims, dims, rank * sizeof *dims);
    c->info[index] = (struct buffer_info){.parent = KERN_NONE};
    return index;
}

uint32_t compile_node_buffer(struct compiler *c, enum kern_dtype dtype, uint32_t node) {
    const struct graph_node *n = &c->g->nodes[node];
    uint32_t dims[4] = {c->o.batch, n->dims[0], n->dims[1], n->dims[2]};
    enum kern_role role = n->op == GRAPH_INPUT ? KERN_ROLE_INPUT : KERN_ROLE_TEMP;
    return compile_buffer(c, dtype, role, n->rank + 1, dims);
}

struct kern_instr *compile_emit(struct compiler *c, enum kern_op op, const uint32_t *args,
                                uint32_t count) {
    struct kern_instr *in = &c->nowhere;
    if (c->status == SOTTO_OK) {
        if (c->p->instr_count < c->instr_cap)
            in = &c->p->instrs[c->p->instr_count++];
        else
            c->status = SOTTO_FAIL(c->err, SOTTO_LIMIT, "the program has more than %u instructions",
                                   c->instr_cap);
    }
    memset(in, 0, sizeof *in);
    in->op = op;
    for (uint32_t i = 0; i < KERN_ARGS_MAX; i++)
        in->args[i] = i < count ? args[i] : KERN_NONE;
    return in;
}

uint32_t compile_count(const struct compiler *c, uint32_t buffer) {
    return c->p->buffers[buffer].count;
}

/* ---- Geometry ---- */

struct kern_conv compile_conv(const struct compiler *c, uint32_t node) {
    const struct graph_node *n = &c->g->nodes[node], *x = &c->g->nodes[n->inputs[0]];
    return (struct kern_conv){
        .batch = c->o.batch,
        .in_h = x->dims[0],
        .in_w = x->dims[1],
        .in_c = x->dims[2],
        .out_h = n->dims[0],
        .out_w = n->dims[1],
        .out_c = n->dims[2],
        .kernel_h = n->kernel_h,
        .kernel_w = n->kernel_w,
        .stride_h = n->stride_h,
        .stride_w = n->stride_w,
        .pad_top = graph_pad_before(n->padding, x->dims[0], n->dims[0], n->kernel_h, n->stride_h),
        .pad_left = graph_pad_before(n->padding, x->dims[1], n->dims[1], n->kernel_w, n->stride_w),
        .groups = n->groups,
    };
}

struct kern_pool compile_pool(const struct compiler *c, uint32_t node) {
    const struct graph_node *n = &c->g->nodes[node], *x = &c->g->nodes[n->inputs[0]];
    struct kern_pool p = {.batch = c->o.batch,
                          .in_h = x->dims[0],
                          .in_w = x->dims[1],
                          .channels = x->dims[2],
                          .out_h = 1,
                          .out_w = 1,
                          .kernel_h = x->dims[0],
                          .kernel_w = x->dims[1],
                          .stride_h = 1,
                          .stride_w = 1};
    if (n->op == GRAPH_GLOBALPOOL)
        return p;
    p.out_h = n->dims[0];
    p.out_w = n->dims[1];
    p.kernel_h = n->kernel_h;
    p.kernel_w = n->kernel_w;
    p.stride_h = n->stride_h;
    p.stride_w = n->stride_w;
    p.pad_top = graph_pad_before(n->padding, x->dims[0], n->dims[0], n->kernel_h, n->stride_h);
    p.pad_left = graph_pad_before(n->padding, x->dims[1], n->dims[1], n->kernel_w, n->stride_w);
    return p;
}

/* ---- Forward, one function a layer kind ---- */

static uint32_t input_value(const struct compiler *c, uint32_t node, uint32_t k) {
    return c->nodes[c->g->nodes[node].inputs[k]].value;
}
static uint32_t param_or_none(const struct compiler *c, uint32_t segment) {
    return segment == KERN_NONE ? KERN_NONE : c->params + segment;
}

/* Marks a buffer as read again by the derivative of act, which looks at its output. */
static void keep_for_act(struct compiler *c, uint32_t buffer, enum kern_act act) {
    if (!c->train || act == KERN_ACT_NONE || c->status != SOTTO_OK)
        return;
    bool sign = act == KERN_ACT_RELU || act == KERN_ACT_LEAKY_RELU;
    c->info[buffer].keep = sign ? KEEP_SIGN : KEEP_VALUES;
}

/* Whether an instruction may write its result over its input k: nobody else reads that buffer, now
 * or backward. */
static bool may_overwrite(const struct compiler *c, uint32_t node, uint32_t k,
                          enum keep tolerated) {
    const struct lowered *x = &c->nodes[c->g->nodes[node].inputs[k]];
    const struct lowered *root = &c->nodes[x->root];
    if (c->o.unfused || c->status != SOTTO_OK || root->uses != 1)
        return false;
    return c->p->buffers[x->value].role == KERN_ROLE_TEMP && c->info[x->value].keep <= tolerated;
}

static void forward_input(struct compiler *c, uint32_t node) {
    c->nodes[node].value = c->p->input = compile_node_buffer(c, KERN_F32, node);
}

static void bias_add(struct compiler *c, uint32_t y, uint32_t bias, uint32_t channels) {
    struct kern_instr *in = EMIT(c, KERN_BIAS_ADD, y, bias, y);
    in->u.rows = (struct kern_rows){.rows = compile_count(c, y) / channels, .cols = channels};
}

/* The product of a dense layer in the program's precision; the caller fills u. */
static struct kern_instr *emit_dense(struct compiler *c, uint32_t x, uint32_t segment, uint32_t y,
                                     uint32_t bias) {
    static const enum kern_op ops[] = {[GRAPH_F32] = KERN_GEMM,
                                       [GRAPH_W8] = KERN_GEMM_W8,
                                       [GRAPH_BF16] = KERN_GEMM_BF16,
                                       [GRAPH_F16] = KERN_GEMM_F16};
    const enum kern_op op = ops[c->o.precision];
    const uint32_t w = c->params + segment;
    if (c->o.precision != GRAPH_W8)
        return EMIT(c, op, x, w, y, bias);
    const struct layout_segment *s = &c->g->layout.segments[segment];
    const uint32_t scale = compile_buffer(c, KERN_F32, KERN_ROLE_FIXED, 1, &s->dims[s->rank - 1]);
    return EMIT(c, op, x, w, scale, y, bias);
}

static void forward_dense(struct compiler *c, uint32_t node) {
    const struct graph_node *n = &c->g->nodes[node];
    struct lowered *l = &c->nodes[node];
    uint32_t bias = param_or_none(c, n->bias_segment);
    uint32_t y = compile_node_buffer(c, KERN_F32, node);
    struct kern_instr *in = emit_dense(c, input_value(c, node, 0), n->weight_segment, y,
                                       c->o.unfused ? KERN_NONE : bias);
    in->u.gemm =
        (struct kern_gemm){.m = c->o.batch, .n = n->units, .k = c->g->nodes[n->inputs[0]].dims[0]};
    if (l->act != KERN_NONE) {
        in->u.gemm.act = c->g->nodes[l->act].act;
        in->u.gemm.slope = c->g->nodes[l->act].slope;
        keep_for_act(c, y, in->u.gemm.act);
    }
    if (c->o.unfused && bias != KERN_NONE)
        bias_add(c, y, bias, n->units);
    c->nodes[l->tail].value = y;
}

static void forward_conv(struct compiler *c, uint32_t node) {
    const struct graph_node *n = &c->g->nodes[node];
    struct lowered *l = &c->nodes[node];
    uint32_t x = input_value(c, node, 0), w = c->params + n->weight_segment;
    uint32_t bias = param_or_none(c, n->bias_segment);
    uint32_t y = compile_node_buffer(c, KERN_F32, l->pool != KERN_NONE ? l->pool : node);
    struct kern_conv conv = compile_conv(c, node);
    if (l->act != KERN_NONE) {
        conv.act = c->g->nodes[l->act].act;
        conv.slope = c->g->nodes[l->act].slope;
        keep_for_act(c, y, conv.act);
    }
    if (l->pool != KERN_NONE) {
        conv.pool_h = c->g->nodes[l->pool].kernel_h;
        conv.pool_w = c->g->nodes[l->pool].kernel_w;
        l->arg = compile_node_buffer(c, KERN_U8, l->pool);
        EMIT(c, KERN_CONV2D_POOL, x, w, y, bias, l->arg)->u.conv = conv;
    } else {
        EMIT(c, KERN_CONV2D, x, w, y, c->o.unfused ? KERN_NONE : bias)->u.conv = conv;
        if (c->o.unfused && bias != KERN_NONE)
            bias_add(c, y, bias, n->units);
    }
    c->nodes[l->tail].value = y;
}

static void forward_act(struct compiler *c, uint32_t node) {
    const struct graph_node *n = &c->g->nodes[node];
    uint32_t x = input_value(c, node, 0);
    uint32_t y = may_overwrite(c, node, 0, KEEP_NOT) ? x : compile_node_buffer(c, KERN_F32, node);
    EMIT(c, KERN_ACT, x, y)->u.pointwise =
        (struct kern_pointwise){compile_count(c, y), n->act, n->slope};
    keep_for_act(c, y, n->act);
    c->nodes[node].value = y;
}

static void forward_maxpool(struct compiler *c, uint32_t node) {
    uint32_t y = compile_node_buffer(c, KERN_F32, node);
    c->nodes[node].arg = compile_node_buffer(c, KERN_U8, node);
    EMIT(c, KERN_POOL_MAX, input_value(c, node, 0), y, c->nodes[node].arg)->u.pool =
        compile_pool(c, node);
    c->nodes[node].value = y;
}

static void forward_avgpool(struct compiler *c, uint32_t node) {
    uint32_t y = compile_node_buffer(c, KERN_F32, node);
    EMIT(c, KERN_POOL_AVG, input_value(c, node, 0), y)->u.pool = compile_pool(c, node);
    c->nodes[node].value = y;
}

static void forward_add(struct compiler *c, uint32_t node) {
    uint32_t x = input_value(c, node, 0), y = input_value(c, node, 1), z;
    if (may_overwrite(c, node, 0, KEEP_NOT))
        z = x;
    else if (may_overwrite(c, node, 1, KEEP_NOT))
        z = y;
    else
        z = compile_node_buffer(c, KERN_F32, node);
    EMIT(c, KERN_ADD, x, y, z)->u.pointwise.count = compile_count(c, z);
    c->nodes[node].value = z;
}

static void forward_dropout(struct compiler *c, uint32_t node) {
    uint32_t x = input_value(c, node, 0);
    /* Where dropout writes zeros the gradient is zero too, so a rectifier may read its signs
     * afterwards. */
    uint32_t y = may_overwrite(c, node, 0, KEEP_SIGN) ? x : compile_node_buffer(c, KERN_F32, node);
    EMIT(c, KERN_DROPOUT, x, y)->u.dropout =
        (struct kern_dropout){compile_count(c, y), c->g->nodes[node].rate, node};
    c->nodes[node].value = y;
}

const struct op_lowering compile_ops[GRAPH_OP_COUNT] = {
    [GRAPH_INPUT] = {forward_input, NULL},
    [GRAPH_DENSE] = {forward_dense, autodiff_dense},
    [GRAPH_CONV2D] = {forward_conv, autodiff_conv},
    [GRAPH_ACT] = {forward_act, autodiff_act},
    [GRAPH_MAXPOOL] = {forward_maxpool, autodiff_maxpool},
    [GRAPH_AVGPOOL] = {forward_avgpool, autodiff_avgpool},
    [GRAPH_GLOBALPOOL] = {forward_avgpool, autodiff_avgpool},
    [GRAPH_FLATTEN] = {NULL, NULL},
    [GRAPH_RESHAPE] = {NULL, NULL},
    [GRAPH_ADD] = {forward_add, autodiff_add},
    [GRAPH_DROPOUT] = {forward_dropout, autodiff_dropout},
};

/* ---- Analysis before lowering ---- */

static bool is_alias(const struct compiler *c, const struct graph_node *n) {
    if (n->op == GRAPH_DROPOUT)
        return !c->train || n->rate == 0.0f;
    return n->op != GRAPH_INPUT && !compile_ops[n->op].forward;
}

/* The only node that takes node's output, or KERN_NONE. */
static uint32_t sole_consumer(const struct compiler *c, uint32_t node) {
    uint32_t found = KERN_NONE;
    for (uint32_t i = node + 1; i < c->g->node_count; i++) {
        const struct graph_node *n = &c->g->nodes[i];
        for (uint32_t k = 0; k < graph_op_info(n->op)->input_count; k++) {
            if (n->inputs[k] != node)
                continue;
            if (found != KERN_NONE)
                return KERN_NONE;
            found = i;
        }
    }
    return found;
}

/* Max pooling as CONV2D_POOL does it: windows side by side, no padding, what fills no window
 * dropped. */
static bool is_plain_pool(const struct compiler *c, uint32_t node) {
    const struct graph_node *n = &c->g->nodes[node], *x = &c->g->nodes[n->inputs[0]];
    return n->op == GRAPH_MAXPOOL && n->stride_h == n->kernel_h && n->stride_w == n->kernel_w &&
           n->dims[0] == x->dims[0] / n->kernel_h && n->dims[1] == x->dims[1] / n->kernel_w;
}

static void fuse(struct compiler *c, uint32_t head) {
    enum graph_op op = c->g->nodes[head].op;
    struct lowered *l = &c->nodes[head];
    if (c->o.unfused || (op != GRAPH_CONV2D && op != GRAPH_DENSE))
        return;
    uint32_t next = sole_consumer(c, head);
    if (next != KERN_NONE && c->g->nodes[next].op == GRAPH_ACT) {
        l->act = l->tail = next;
        c->nodes[next].head = head;
        next = sole_consumer(c, next);
    }
    if (op == GRAPH_CONV2D && next != KERN_NONE && is_plain_pool(c, next)) {
        l->pool = l->tail = next;
        c->nodes[next].head = head;
    }
}

static void analyze(struct compiler *c) {
    uint32_t n = c->g->node_count;
    for (uint32_t i = 0; i < n; i++)
        c->nodes[i] = (struct lowered){.root = i,
                                       .head = KERN_NONE,
                                       .act = KERN_NONE,
                                       .pool = KERN_NONE,
                                       .tail = i,
                                       .arg = KERN_NONE,
                                       .grad = KERN_NONE};
    for (uint32_t i = 0; i < n; i++) {
        const struct graph_node *node = &c->g->nodes[i];
        uint32_t inputs = graph_op_info(node->op)->input_count;
        bool alias = is_alias(c, node);
        if (alias)
            c->nodes[i].root = c->nodes[node->inputs[0]].root;
        c->nodes[i].needs_grad = node->weight_segment != KERN_NONE;
        for (uint32_t k = 0; k < inputs; k++) {
            c->nodes[i].needs_grad |= c->nodes[node->inputs[k]].needs_grad;
            if (!alias)
                c->nodes[c->nodes[node->inputs[k]].root].uses++;
        }
    }
    c->nodes[c->nodes[n - 1].root].uses++; /* the loss, or the host */
    for (uint32_t i = 0; i < n; i++)
        if (c->nodes[i].head == KERN_NONE)
            fuse(c, i);
}

/* ---- The whole ---- */

static void declare_params(struct compiler *c) {
    const struct layout *l = &c->g->layout;
    c->params = c->p->buffer_count;
    for (uint32_t s = 0; s < l->segment_count; s++)
        compile_buffer(c, KERN_F32, KERN_ROLE_PARAM, l->segments[s].rank, l->segments[s].dims);
    for (uint32_t i = 0; i < c->g->node_count && c->status == SOTTO_OK; i++)
        if (c->o.precision == GRAPH_W8 && c->g->nodes[i].op == GRAPH_DENSE) {
            struct kern_buffer *b = &c->p->buffers[c->params + c->g->nodes[i].weight_segment];
            b->dtype = KERN_I8;
            b->role = KERN_ROLE_FIXED;
        }
}

static void lower_forward(struct compiler *c) {
    for (uint32_t i = 0; i < c->g->node_count && c->status == SOTTO_OK; i++) {
        struct lowered *l = &c->nodes[i];
        if (l->head != KERN_NONE)
            continue;
        if (l->root != i)
            l->value = c->nodes[l->root].value;
        else
            compile_ops[c->g->nodes[i].op].forward(c, i);
    }
}

/* Returns the buffer of the loss's gradient, or KERN_NONE when evaluating. */
static uint32_t lower_loss(struct compiler *c) {
    struct kern_program *p = c->p;
    uint32_t dims[2] = {c->o.batch, graph_classes(c->g)}, metric[1] = {KERN_METRIC_COUNT};
    uint32_t logits = c->nodes[c->g->node_count - 1].value, dlogits = KERN_NONE;
    if (c->status != SOTTO_OK)
        return KERN_NONE;
    p->logits = logits;
    p->buffers[logits].role = KERN_ROLE_OUTPUT;
    if (c->o.mode == GRAPH_PREDICT)
        return KERN_NONE;
    p->metric = compile_buffer(c, KERN_F32, KERN_ROLE_METRIC, 1, metric);
    if (c->train)
        dlogits = compile_buffer(c, KERN_F32, KERN_ROLE_TEMP, 2, dims);
    struct kern_rows rows = {.rows = dims[0],
                             .cols = dims[1],
                             .temperature = c->o.temperature > 0 ? c->o.temperature : 1.0f};
    if (c->o.mode == GRAPH_DISTILL) {
        p->targets = compile_buffer(c, KERN_F32, KERN_ROLE_INPUT, 2, dims);
        EMIT(c, KERN_SOFT_XENT, logits, p->targets, dlogits, p->metric)->u.rows = rows;
    } else {
        p->labels = compile_buffer(c, KERN_I32, KERN_ROLE_INPUT, 1, dims);
        rows.label_smoothing = c->o.mode == GRAPH_TRAIN ? c->o.label_smoothing : 0.0f;
        EMIT(c, KERN_SOFTMAX_XENT, logits, p->labels, dlogits, p->metric)->u.rows = rows;
    }
    return dlogits;
}

static enum sotto_status check_options(const struct graph_options *o, struct sotto_error *err) {
    if ((unsigned)o->mode > GRAPH_PREDICT || o->batch == 0)
        return SOTTO_FAIL(err, SOTTO_INVALID, "program options: unknown mode or batch 0");
    if ((unsigned)o->precision > GRAPH_F16 ||
        (o->precision != GRAPH_F32 && o->mode != GRAPH_EVAL && o->mode != GRAPH_PREDICT))
        return SOTTO_FAIL(
            err, SOTTO_INVALID,
            "program options: unknown precision, or one that trains: training is f32");
    if (!(o->momentum >= 0 && o->momentum < 1) ||
        !(o->weight_decay >= 0 && o->weight_decay < 1e6f) ||
        !(o->prox_mu >= 0 && o->prox_mu < 1e6f) || !(o->clip_norm >= 0 && o->clip_norm < 1e12f))
        return SOTTO_FAIL(
            err, SOTTO_INVALID,
            "program options: momentum, weight decay, prox or clip norm out of range");
    if (o->drift && o->prox_mu > 0)
        return SOTTO_FAIL(err, SOTTO_INVALID,
                          "program options: a drift and a proximal term share one place");
    if (!(o->temperature >= 0 && o->temperature <= 1000) ||
        !(o->label_smoothing >= 0 && o->label_smoothing < 1))
        return SOTTO_FAIL(err, SOTTO_INVALID,
                          "program options: temperature or label smoothing out of range");
    return SOTTO_OK;
}

static enum sotto_status allocate(struct compiler *c) {
    /* A layer makes at most 3 buffers and 3 instructions forward, and as many backward with its
     * update. */
    uint32_t segments = c->g->layout.segment_count;
    c->instr_cap = 12 * c->g->node_count + 16;
    c->buffer_cap = 8 * c->g->node_count + 4 * segments + 16;
    if (c->instr_cap > KERN_INSTRS_MAX)
        c->instr_cap = KERN_INSTRS_MAX;
    if (c->buffer_cap > KERN_BUFFERS_MAX)
        c->buffer_cap = KERN_BUFFERS_MAX;
    c->p = mem_zalloc(sizeof *c->p);
    c->nodes = mem_array(c->g->node_count, sizeof *c->nodes);
    c->info = mem_array(c->buffer_cap, sizeof *c->info);
    if (c->p) {
        c->p->buffers = mem_array(c->buffer_cap, sizeof *c->p->buffers);
        c->p->instrs = mem_array(c->instr_cap, sizeof *c->p->instrs);
    }
    if (!c->p || !c->nodes || !c->info || !c->p->buffers || !c->p->instrs)
        return SOTTO_FAIL(c->err, SOTTO_NOMEM, "program of %u layers", c->g->node_count);
    return SOTTO_OK;
}

static void shrink(struct kern_program *p) {
    void *b = mem_resize(p->buffers, p->buffer_count, sizeof *p->buffers);
    if (b)
        p->buffers = b;
    void *i = mem_resize(p->instrs, p->instr_count, sizeof *p->instrs);
    if (i)
        p->instrs = i;
}

enum sotto_status graph_compile_program(const struct graph *g, const struct graph_options *options,
                                        struct kern_program **out, struct sotto_error *err) {
    enum sotto_status status;
    struct compiler c = {.g = g, .o = *options, .err = err};
    *out = NULL;
    if (!g->finished)
        TRY_FAIL(err, SOTTO_STATE, "the graph is not finished");
    TRY(check_options(options, err));
    TRY(allocate(&c));
    c.train = options->mode == GRAPH_TRAIN || options->mode == GRAPH_DISTILL;
    c.fused_update = !options->unfused && options->momentum <= 0 && options->prox_mu <= 0 &&
                     options->clip_norm <= 0;
    c.grads = c.states = c.anchors = c.grad_range = KERN_NONE;
    c.p->batch = options->batch;
    c.p->labels = c.p->targets = c.p->metric = KERN_NONE;
    analyze(&c);
    declare_params(&c);
    if (c.train)
        autodiff_declare(&c);
    lower_forward(&c);
    uint32_t dlogits = lower_loss(&c);
    if (c.train)
        autodiff_backward(&c, dlogits);
    TRY(c.status);
    TRY(plan_arena(&c));
    shrink(c.p);
    TRY(kern_program_check(c.p, err));
    *out = c.p;
    c.p = NULL;
out:
    graph_program_free(c.p);
    mem_free(c.nodes);
    mem_free(c.info);
    return status;
}

void graph_program_free(struct kern_program *p) {
    if (!p)
        return;
    mem_free(p->buffers);
    mem_free(p->instrs);
    mem_free(p);
}
