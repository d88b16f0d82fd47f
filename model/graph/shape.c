/* The table of layer kinds: what fields each has, and its output shape from its inputs' shapes. */
#include "graph/graph_int.h"

#include <math.h>
#include <string.h>

uint32_t graph_node_count(const struct graph_node *n) {
    uint32_t count = 1;
    for (uint32_t i = 0; i < n->rank; i++)
        count *= n->dims[i];
    return count;
}

uint32_t graph_pad_before(enum graph_padding padding, uint32_t in, uint32_t out, uint32_t kernel,
                          uint32_t stride) {
    if (padding == GRAPH_VALID)
        return 0;
    uint32_t covered = (out - 1) * stride + kernel;
    return covered > in ? (covered - in) / 2 : 0;
}

const char *graph_act_text(enum kern_act act) {
    switch (act) {
    case KERN_ACT_NONE:
        return "none";
    case KERN_ACT_RELU:
        return "relu";
    case KERN_ACT_LEAKY_RELU:
        return "leaky_relu";
    case KERN_ACT_SIGMOID:
        return "sigmoid";
    case KERN_ACT_TANH:
        return "tanh";
    }
    return "unknown";
}

static const struct graph_node *node_input(const struct graph *g, const struct graph_node *n) {
    return &g->nodes[n->inputs[0]];
}

static enum sotto_status check_size(const struct graph_node *n, struct sotto_error *err) {
    if (n->rank < 1 || n->rank > 3)
        return SOTTO_FAIL(err, SOTTO_INVALID, "layer %s: rank %u, allowed are 1 to 3", n->name,
                          n->rank);
    uint64_t count = 1;
    for (uint32_t i = 0; i < n->rank; i++) {
        if (n->dims[i] == 0)
            return SOTTO_FAIL(err, SOTTO_INVALID, "layer %s: dimension %u is 0", n->name, i + 1);
        count *= n->dims[i];
        if (count > GRAPH_VALUES_MAX)
            return SOTTO_FAIL(err, SOTTO_LIMIT, "layer %s: more than %u values an example", n->name,
                              GRAPH_VALUES_MAX);
    }
    return SOTTO_OK;
}

static enum sotto_status need_image(const struct graph_node *x, const struct graph_node *n,
                                    struct sotto_error *err) {
    if (x->rank == 3 && x->dims[0] <= GRAPH_SIDE_MAX && x->dims[1] <= GRAPH_SIDE_MAX)
        return SOTTO_OK;
    if (x->rank == 3)
        return SOTTO_FAIL(err, SOTTO_LIMIT, "layer %s: sides of %s are over %u", n->name, x->name,
                          GRAPH_SIDE_MAX);
    return SOTTO_FAIL(err, SOTTO_INVALID,
                      "layer %s: needs [height, width, channels], but %s gives rank %u", n->name,
                      x->name, x->rank);
}

static enum sotto_status same_shape(struct graph_node *n, const struct graph_node *x) {
    n->rank = x->rank;
    memcpy(n->dims, x->dims, sizeof n->dims);
    return SOTTO_OK;
}

/* One side of a window: output size, or 0 when the kernel does not fit. */
static uint32_t window_out(enum graph_padding padding, uint32_t in, uint32_t kernel,
                           uint32_t stride) {
    if (padding == GRAPH_SAME)
        return (in + stride - 1) / stride;
    return kernel <= in ? (in - kernel) / stride + 1 : 0;
}

static enum sotto_status infer_window(const struct graph_node *x, struct graph_node *n,
                                      struct sotto_error *err) {
    if (n->kernel_h < 1 || n->kernel_w < 1 || n->kernel_h > GRAPH_WINDOW_MAX ||
        n->kernel_w > GRAPH_WINDOW_MAX)
        return SOTTO_FAIL(err, SOTTO_INVALID, "layer %s: kernel %ux%u, allowed are 1 to %u",
                          n->name, n->kernel_h, n->kernel_w, GRAPH_WINDOW_MAX);
    if (n->stride_h < 1 || n->stride_w < 1 || n->stride_h > GRAPH_STRIDE_MAX ||
        n->stride_w > GRAPH_STRIDE_MAX)
        return SOTTO_FAIL(err, SOTTO_INVALID, "layer %s: stride %ux%u, allowed are 1 to %u",
                          n->name, n->stride_h, n->stride_w, GRAPH_STRIDE_MAX);
    if (n->padding != GRAPH_VALID && n->padding != GRAPH_SAME)
        return SOTTO_FAIL(err, SOTTO_INVALID, "layer %s: unknown padding %u", n->name,
                          (unsigned)n->padding);
    n->rank = 3;
    n->dims[0] = window_out(n->padding, x->dims[0], n->kernel_h, n->stride_h);
    n->dims[1] = window_out(n->padding, x->dims[1], n->kernel_w, n->stride_w);
    n->dims[2] = x->dims[2];
    if (n->dims[0] == 0 || n->dims[1] == 0)
        return SOTTO_FAIL(err, SOTTO_INVALID,
                          "layer %s: kernel %ux%u does not fit into %ux%u of %s", n->name,
                          n->kernel_h, n->kernel_w, x->dims[0], x->dims[1], x->name);
    return SOTTO_OK;
}

static enum sotto_status infer_input(const struct graph *g, struct graph_node *n,
                                     struct sotto_error *err) {
    if (g->node_count != 0)
        return SOTTO_FAIL(err, SOTTO_INVALID, "layer %s: a graph has one input, its first node",
                          n->name);
    return check_size(n, err);
}

static enum sotto_status check_units(const struct graph_node *n, struct sotto_error *err) {
    if (n->units >= 1 && n->units <= GRAPH_VALUES_MAX)
        return SOTTO_OK;
    return SOTTO_FAIL(err, SOTTO_INVALID, "layer %s: units %u, allowed are 1 to %u", n->name,
                      n->units, GRAPH_VALUES_MAX);
}

static enum sotto_status infer_dense(const struct graph *g, struct graph_node *n,
                                     struct sotto_error *err) {
    const struct graph_node *x = node_input(g, n);
    if (x->rank != 1)
        return SOTTO_FAIL(err, SOTTO_INVALID,
                          "layer %s: needs [features], but %s gives rank %u: put a flatten between",
                          n->name, x->name, x->rank);
    n->rank = 1;
    n->dims[0] = n->units;
    return check_units(n, err);
}

static enum sotto_status infer_conv(const struct graph *g, struct graph_node *n,
                                    struct sotto_error *err) {
    const struct graph_node *x = node_input(g, n);
    enum sotto_status status;
    TRY(need_image(x, n, err));
    TRY(check_units(n, err));
    if (n->groups < 1 || x->dims[2] % n->groups != 0 || n->units % n->groups != 0)
        TRY_FAIL(err, SOTTO_INVALID,
                 "layer %s: %u groups must divide %u input and %u output channels", n->name,
                 n->groups, x->dims[2], n->units);
    TRY(infer_window(x, n, err));
    n->dims[2] = n->units;
    status = check_size(n, err);
out:
    return status;
}

static enum sotto_status infer_act(const struct graph *g, struct graph_node *n,
                                   struct sotto_error *err) {
    if (n->act < KERN_ACT_RELU || n->act > KERN_ACT_TANH)
        return SOTTO_FAIL(err, SOTTO_INVALID, "layer %s: unknown activation %u", n->name,
                          (unsigned)n->act);
    if (n->act == KERN_ACT_LEAKY_RELU && !(n->slope > 0.0f && n->slope <= 1.0f))
        return SOTTO_FAIL(err, SOTTO_INVALID, "layer %s: slope %g, allowed are above 0 up to 1",
                          n->name, (double)n->slope);
    if (n->act != KERN_ACT_LEAKY_RELU)
        n->slope = 0.0f;
    return same_shape(n, node_input(g, n));
}

static enum sotto_status infer_pool(const struct graph *g, struct graph_node *n,
                                    struct sotto_error *err) {
    const struct graph_node *x = node_input(g, n);
    enum sotto_status status;
    TRY(need_image(x, n, err));
    TRY(infer_window(x, n, err));
    if (n->kernel_h * n->kernel_w > GRAPH_WINDOW_MAX)
        TRY_FAIL(err, SOTTO_INVALID, "layer %s: window %ux%u, at most %u values", n->name,
                 n->kernel_h, n->kernel_w, GRAPH_WINDOW_MAX);
out:
    return status;
}

static enum sotto_status infer_globalpool(const struct graph *g, struct graph_node *n,
                                          struct sotto_error *err) {
    const struct graph_node *x = node_input(g, n);
    enum sotto_status status = need_image(x, n, err);
    n->rank = 1;
    n->dims[0] = x->dims[2];
    if (status == SOTTO_OK && (x->dims[0] > GRAPH_GLOBAL_MAX || x->dims[1] > GRAPH_GLOBAL_MAX))
        return SOTTO_FAIL(err, SOTTO_LIMIT, "layer %s: sides of %s are over %u", n->name, x->name,
                          GRAPH_GLOBAL_MAX);
    return status;
}

static enum sotto_status infer_flatten(const struct graph *g, struct graph_node *n,
                                       struct sotto_error *err) {
    (void)err;
    n->rank = 1;
    n->dims[0] = graph_node_count(node_input(g, n));
    return SOTTO_OK;
}

static enum sotto_status infer_reshape(const struct graph *g, struct graph_node *n,
                                       struct sotto_error *err) {
    const struct graph_node *x = node_input(g, n);
    enum sotto_status status;
    TRY(check_size(n, err));
    if (graph_node_count(n) != graph_node_count(x))
        TRY_FAIL(err, SOTTO_INVALID, "layer %s: %u values do not fit the %u of %s", n->name,
                 graph_node_count(n), graph_node_count(x), x->name);
out:
    return status;
}

static enum sotto_status infer_add(const struct graph *g, struct graph_node *n,
                                   struct sotto_error *err) {
    const struct graph_node *x = node_input(g, n), *y = &g->nodes[n->inputs[1]];
    bool same = x->rank == y->rank;
    for (uint32_t i = 0; same && i < x->rank; i++)
        same = x->dims[i] == y->dims[i];
    if (!same)
        return SOTTO_FAIL(err, SOTTO_INVALID, "layer %s: %s and %s differ in shape", n->name,
                          x->name, y->name);
    return same_shape(n, x);
}

static enum sotto_status infer_dropout(const struct graph *g, struct graph_node *n,
                                       struct sotto_error *err) {
    if (!(n->rate >= 0.0f && n->rate <= 0.99f))
        return SOTTO_FAIL(err, SOTTO_INVALID, "layer %s: rate %g, allowed are 0 to 0.99", n->name,
                          (double)n->rate);
    return same_shape(n, node_input(g, n));
}

static const struct graph_op_info op_infos[GRAPH_OP_COUNT] = {
    [GRAPH_INPUT] = {"input", 0, GRAPH_F_SHAPE, infer_input},
    [GRAPH_DENSE] = {"dense", 1, GRAPH_F_UNITS | GRAPH_F_BIAS, infer_dense},
    [GRAPH_CONV2D] = {"conv", 1, GRAPH_F_UNITS | GRAPH_F_WINDOW | GRAPH_F_GROUPS | GRAPH_F_BIAS,
                      infer_conv},
    [GRAPH_ACT] = {"act", 1, GRAPH_F_ACT, infer_act},
    [GRAPH_MAXPOOL] = {"maxpool", 1, GRAPH_F_WINDOW, infer_pool},
    [GRAPH_AVGPOOL] = {"avgpool", 1, GRAPH_F_WINDOW, infer_pool},
    [GRAPH_GLOBALPOOL] = {"globalpool", 1, 0, infer_globalpool},
    [GRAPH_FLATTEN] = {"flatten", 1, 0, infer_flatten},
    [GRAPH_RESHAPE] = {"reshape", 1, GRAPH_F_SHAPE, infer_reshape},
    [GRAPH_ADD] = {"add", 2, 0, infer_add},
    [GRAPH_DROPOUT] = {"dropout", 1, GRAPH_F_RATE, infer_dropout},
};

const struct graph_op_info *graph_op_info(enum graph_op op) {
    return (unsigned)op < GRAPH_OP_COUNT ? &op_infos[op] : NULL;
}

bool graph_weight_dims(const struct graph *g, const struct graph_node *n, uint32_t *rank,
                       uint32_t dims[4]) {
    if (n->op == GRAPH_DENSE) {
        *rank = 2;
        dims[0] = g->nodes[n->inputs[0]].dims[0];
        dims[1] = n->units;
        return true;
    }
    if (n->op == GRAPH_CONV2D) {
        *rank = 4;
        dims[0] = n->kernel_h;
        dims[1] = n->kernel_w;
        dims[2] = g->nodes[n->inputs[0]].dims[2] / n->groups;
        dims[3] = n->units;
        return true;
    }
    return false;
}
