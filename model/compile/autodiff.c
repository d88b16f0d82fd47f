/* Reverse-mode differentiation over a lowered graph, and the weight update of each layer right
 * after its last use. */
#include "compile/compile_int.h"

#include <string.h>

/* ---- Gradient buffers: shared until somebody must write ---- */

static uint32_t new_grad(struct compiler *c, uint32_t like) {
    const struct kern_buffer b = c->p->buffers[like];
    uint32_t g = compile_buffer(c, KERN_F32, KERN_ROLE_TEMP, b.rank, b.dims);
    if (c->status == SOTTO_OK)
        c->info[g].refs = 1;
    return g;
}

/* dy itself when nobody else holds it, else a new buffer for the result; takes over the caller's
 * reference. */
static uint32_t writable(struct compiler *c, uint32_t dy) {
    if (c->status != SOTTO_OK || (c->info[dy].refs == 1 && !c->o.unfused))
        return dy;
    c->info[dy].refs--;
    return new_grad(c, dy);
}

/* Adds gradient b, of which the caller gives up one reference, to that of node's output. */
static void give_grad(struct compiler *c, uint32_t node, uint32_t b) {
    struct lowered *l = &c->nodes[c->nodes[node].root];
    if (c->status != SOTTO_OK)
        return;
    uint32_t e = l->grad, sum;
    if (e == KERN_NONE) {
        l->grad = b;
        return;
    }
    bool both =
        e == b && c->info[b].refs == 2; /* the two references are this slot's and the caller's */
    if (c->info[e].refs == 1 || both)
        sum = e;
    else
        sum = c->info[b].refs == 1 ? b : new_grad(c, e);
    EMIT(c, KERN_ADD, e, b, sum)->u.pointwise.count = compile_count(c, b);
    c->info[e].refs--;
    c->info[b].refs--;
    c->info[sum].refs = sum == e || sum == b ? c->info[sum].refs + 1 : 1;
    l->grad = sum;
}

/* The caller has read dy for the last time. */
static void drop_grad(struct compiler *c, uint32_t dy) {
    if (c->status == SOTTO_OK)
        c->info[dy].refs--;
}

static bool input_needs_grad(const struct compiler *c, uint32_t node, uint32_t k) {
    return c->nodes[c->g->nodes[node].inputs[k]].needs_grad;
}

/* ---- Parameter gradients and updates ---- */

/* Where a segment's gradient goes and how. */
struct sink {
    uint32_t buffer;
    enum kern_scale scale;
    enum kern_beta beta;
};

static struct sink segment_sink(struct compiler *c, uint32_t segment) {
    if (c->fused_update)
        return (struct sink){c->params + segment, KERN_SCALE_NEG_LR,
                             c->o.weight_decay > 0 ? KERN_BETA_DECAY : KERN_BETA_ONE};
    if (c->grads != KERN_NONE)
        return (struct sink){c->grads + segment, KERN_SCALE_ONE, KERN_BETA_ZERO};
    return (struct sink){new_grad(c, c->params + segment), KERN_SCALE_ONE, KERN_BETA_ZERO};
}

static void emit_sgd(struct compiler *c, uint32_t segment, uint32_t grad) {
    EMIT(c, KERN_SGD, c->params + segment, grad,
         c->states != KERN_NONE ? c->states + segment : KERN_NONE,
         c->o.prox_mu > 0 ? c->anchors + segment : KERN_NONE)
        ->u.sgd = (struct kern_sgd){.count = c->g->layout.segments[segment].count,
                                    .momentum = c->o.momentum,
                                    .weight_decay = c->o.weight_decay,
                                    .prox_mu = c->o.prox_mu,
                                    .nesterov = c->o.nesterov};
}

/* After a segment's gradient has been written: its update, unless it is done already or waits for
 * the clipping. */
static void finish_segment(struct compiler *c, uint32_t segment, struct sink sink) {
    if (!c->fused_update && c->grads == KERN_NONE)
        emit_sgd(c, segment, sink.buffer);
}

static void bias_grad(struct compiler *c, uint32_t segment, uint32_t dy) {
    if (segment == KERN_NONE || c->status != SOTTO_OK)
        return;
    uint32_t cols = c->g->layout.segments[segment].count;
    struct sink sink = segment_sink(c, segment);
    EMIT(c, KERN_BIAS_GRAD, dy, sink.buffer)->u.rows =
        (struct kern_rows){.rows = compile_count(c, dy) / cols,
                           .cols = cols,
                           .scale = sink.scale,
                           .beta = sink.beta,
                           .weight_decay = c->o.weight_decay};
    finish_segment(c, segment, sink);
}

/* ---- Backward, one function a layer kind ---- */

/* dy through the derivative of an activation whose output is y. */
static uint32_t act_dx(struct compiler *c, const struct graph_node *act, uint32_t y, uint32_t dy) {
    uint32_t dx = writable(c, dy);
    EMIT(c, KERN_ACT_DX, y, dy, dx)->u.pointwise =
        (struct kern_pointwise){compile_count(c, dy), act->act, act->slope};
    return dx;
}

void autodiff_dense(struct compiler *c, uint32_t node, uint32_t dy) {
    const struct graph_node *n = &c->g->nodes[node];
    const struct lowered *l = &c->nodes[node];
    uint32_t x = c->nodes[n->inputs[0]].value, w = c->params + n->weight_segment;
    uint32_t features = c->g->nodes[n->inputs[0]].dims[0];
    if (l->act != KERN_NONE)
        dy = act_dx(c, &c->g->nodes[l->act], c->nodes[l->tail].value, dy);
    if (c->status != SOTTO_OK)
        return;
    if (input_needs_grad(c, node, 0)) { /* before the update changes the weights */
        uint32_t dx = new_grad(c, x);
        EMIT(c, KERN_GEMM, dy, w, dx, KERN_NONE)->u.gemm =
            (struct kern_gemm){.m = c->o.batch, .n = features, .k = n->units, .trans_b = true};
        give_grad(c, n->inputs[0], dx);
    }
    struct sink sink = segment_sink(c, n->weight_segment);
    EMIT(c, KERN_GEMM, x, dy, sink.buffer, KERN_NONE)->u.gemm =
        (struct kern_gemm){.m = features,
                           .n = n->units,
                           .k = c->o.batch,
                           .trans_a = true,
                           .scale = sink.scale,
                           .beta = sink.beta,
                           .weight_decay = c->o.weight_decay};
    finish_segment(c, n->weight_segment, sink);
    bias_grad(c, n->bias_segment, dy);
    drop_grad(c, dy);
}

void autodiff_conv(struct compiler *c, uint32_t node, uint32_t dy) {
    const struct graph_node *n = &c->g->nodes[node];
    const struct lowered *l = &c->nodes[node];
    uint32_t x = c->nodes[n->inputs[0]].value, w = c->params + n->weight_segment;
    struct kern_conv conv = compile_conv(c, node);
    /* A pooled maximum kept its activation, and all its window's gradient goes to that one place:
     * the derivative and the sums for the bias are taken on the pooled (smaller) side. */
    if (l->act != KERN_NONE)
        dy = act_dx(c, &c->g->nodes[l->act], c->nodes[l->tail].value, dy);
    bias_grad(c, n->bias_segment, dy);
    if (c->status != SOTTO_OK)
        return;
    if (l->pool != KERN_NONE) {
        uint32_t dims[4] = {c->o.batch, n->dims[0], n->dims[1], n->dims[2]};
        uint32_t full = compile_buffer(c, KERN_F32, KERN_ROLE_TEMP, 4, dims);
        if (c->status != SOTTO_OK)
            return;
        c->info[full].refs = 1;
        EMIT(c, KERN_POOL_MAX_DX, dy, l->arg, full)->u.pool = compile_pool(c, l->pool);
        drop_grad(c, dy);
        dy = full;
    }
    if (input_needs_grad(c, node, 0)) {
        uint32_t dx = new_grad(c, x);
        EMIT(c, KERN_CONV2D_DX, dy, w, dx)->u.conv = conv;
        give_grad(c, n->inputs[0], dx);
    }
    struct sink sink = segment_sink(c, n->weight_segment);
    conv.scale = sink.scale;
    conv.beta = sink.beta;
    conv.weight_decay = c->o.weight_decay;
    EMIT(c, KERN_CONV2D_DW, x, dy, sink.buffer)->u.conv = conv;
    finish_segment(c, n->weight_segment, sink);
    drop_grad(c, dy);
}

void autodiff_act(struct compiler *c, uint32_t node, uint32_t dy) {
    const struct graph_node *n = &c->g->nodes[node];
    give_grad(c, n->inputs[0], act_dx(c, n, c->nodes[node].value, dy));
}

static uint32_t input_shaped(struct compiler *c, uint32_t node) {
    return new_grad(c, c->nodes[c->g->nodes[node].inputs[0]].value);
}

void autodiff_maxpool(struct compiler *c, uint32_t node, uint32_t dy) {
    uint32_t dx = input_shaped(c, node);
    EMIT(c, KERN_POOL_MAX_DX, dy, c->nodes[node].arg, dx)->u.pool = compile_pool(c, node);
    drop_grad(c, dy);
    give_grad(c, c->g->nodes[node].inputs[0], dx);
}

void autodiff_avgpool(struct compiler *c, uint32_t node, uint32_t dy) {
    uint32_t dx = input_shaped(c, node);
    EMIT(c, KERN_POOL_AVG_DX, dy, dx)->u.pool = compile_pool(c, node);
    drop_grad(c, dy);
    give_grad(c, c->g->nodes[node].inputs[0], dx);
}

void autodiff_add(struct compiler *c, uint32_t node, uint32_t dy) {
    const struct graph_node *n = &c->g->nodes[node];
    bool needs[2] = {input_needs_grad(c, node, 0), input_needs_grad(c, node, 1)};
    if (c->status == SOTTO_OK && needs[0] && needs[1])
        c->info[dy].refs++;
    for (uint32_t k = 0; k < 2; k++)
        if (needs[k])
            give_grad(c, n->inputs[k], dy);
}

void autodiff_dropout(struct compiler *c, uint32_t node, uint32_t dy) {
    const struct graph_node *n = &c->g->nodes[node];
    uint32_t dx = writable(c, dy);
    EMIT(c, KERN_DROPOUT, dy, dx)->u.dropout =
        (struct kern_dropout){compile_count(c, dy), n->rate, node};
    give_grad(c, n->inputs[0], dx);
}

/* ---- The whole ---- */

/* All gradients in one range, each aligned; padding between them is zero so that the norm does not
 * see it. */
static void declare_grads(struct compiler *c) {
    const struct layout *l = &c->g->layout;
    uint64_t total = 0;
    for (uint32_t s = 0; s < l->segment_count; s++)
        total += num_round_up(l->segments[s].count, KERN_ALIGN / 4);
    if (total > UINT32_MAX) {
        c->status = SOTTO_FAIL(c->err, SOTTO_LIMIT, "too many parameters for clipping");
        return;
    }
    uint32_t dims[1] = {(uint32_t)total};
    c->grad_range = compile_buffer(c, KERN_F32, KERN_ROLE_TEMP, 1, dims);
    c->grads = c->p->buffer_count;
    uint64_t at = 0;
    for (uint32_t s = 0; s < l->segment_count; s++) {
        uint32_t b =
            compile_buffer(c, KERN_F32, KERN_ROLE_TEMP, l->segments[s].rank, l->segments[s].dims);
        if (c->status != SOTTO_OK)
            return;
        c->info[b].parent = c->grad_range;
        c->info[b].parent_offset = 4 * at;
        at += num_round_up(l->segments[s].count, KERN_ALIGN / 4);
    }
    if (total != l->total)
        EMIT(c, KERN_FILL0, c->grad_range)->u.pointwise.count = dims[0];
}

static uint32_t declare_like_params(struct compiler *c, enum kern_role role) {
    const struct layout *l = &c->g->layout;
    uint32_t first = c->p->buffer_count;
    for (uint32_t s = 0; s < l->segment_count; s++)
        compile_buffer(c, KERN_F32, role, l->segments[s].rank, l->segments[s].dims);
    return first;
}

void autodiff_declare(struct compiler *c) {
    if (c->o.momentum > 0)
        c->states = declare_like_params(c, KERN_ROLE_STATE);
    if (c->o.prox_mu > 0 || c->o.drift)
        c->anchors = declare_like_params(c, KERN_ROLE_ANCHOR);
}

static void clip_and_update(struct compiler *c) {
    if (c->grads == KERN_NONE || c->status != SOTTO_OK)
        return;
    EMIT(c, KERN_CLIP_NORM, c->grad_range)->u.clip =
        (struct kern_clip){compile_count(c, c->grad_range), c->o.clip_norm};
    for (uint32_t s = 0; s < c->g->layout.segment_count; s++)
        emit_sgd(c, s, c->grads + s);
}

/* w += drift, when all of the step has been done with the weights as they were. */
static void add_drift(struct compiler *c) {
    for (uint32_t s = 0; c->o.drift && s < c->g->layout.segment_count; s++)
        EMIT(c, KERN_ADD, c->params + s, c->anchors + s, c->params + s)->u.pointwise.count =
            c->g->layout.segments[s].count;
}

void autodiff_backward(struct compiler *c, uint32_t dlogits) {
    if (c->status != SOTTO_OK)
        return;
    if (c->o.clip_norm > 0)
        declare_grads(c);
    if (c->status != SOTTO_OK)
        return;
    c->info[dlogits].refs = 1;
    c->nodes[c->nodes[c->g->node_count - 1].root].grad = dlogits;
    for (uint32_t i = c->g->node_count; i-- > 0 && c->status == SOTTO_OK;) {
        const struct lowered *l = &c->nodes[i];
        /* A fused instruction's gradient arrives at its tail; its other nodes have none of their
         * own. */
        if (l->grad == KERN_NONE || !l->needs_grad)
            continue;
        uint32_t node = l->head != KERN_NONE ? l->head : i;
        if (compile_ops[c->g->nodes[node].op].backward)
            compile_ops[c->g->nodes[node].op].backward(c, node, l->grad);
    }
    clip_and_update(c);
    add_drift(c);
}
