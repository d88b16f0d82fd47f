/* Building graphs: nodes one by one with their shapes checked, then the parameter layout; initial
 * weights; descriptions. */
#include "graph/graph_int.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void graph_init(struct graph *g) {
    memset(g, 0, sizeof *g);
    layout_init(&g->layout);
}

void graph_deinit(struct graph *g) {
    mem_free(g->nodes);
    layout_deinit(&g->layout);
    graph_init(g);
}

static bool name_is_used(const struct graph *g, const char *name) {
    for (uint32_t i = 0; i < g->node_count; i++)
        if (strcmp(g->nodes[i].name, name) == 0)
            return true;
    return false;
}

/* "relu2": the kind (an activation's own name) and the first free number. */
static void make_name(const struct graph *g, struct graph_node *n) {
    const char *kind = n->op == GRAPH_ACT ? graph_act_text(n->act) : graph_op_info(n->op)->text;
    if (n->op == GRAPH_INPUT) {
        snprintf(n->name, sizeof n->name, "%s", kind);
        return;
    }
    for (uint32_t i = 1; i <= GRAPH_NODES_MAX + 1; i++) {
        snprintf(n->name, sizeof n->name, "%s%u", kind, i);
        if (!name_is_used(g, n->name))
            return;
    }
}

static enum sotto_status check_name(const struct graph *g, struct graph_node *n,
                                    struct sotto_error *err) {
    if (!memchr(n->name, 0, sizeof n->name))
        return SOTTO_FAIL(err, SOTTO_INVALID, "layer %u: its name has no end", g->node_count);
    if (n->name[0] == 0) {
        make_name(g, n);
        return SOTTO_OK;
    }
    for (const char *c = n->name; *c; c++) {
        bool good = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
                    (*c >= '0' && *c <= '9') || *c == '_' || *c == '-' || *c == '/';
        if (!good) {
            char shown[4 * GRAPH_NAME_MAX + 1];
            return SOTTO_FAIL(err, SOTTO_INVALID,
                              "layer name \"%s\": letters, digits, _, - and / are allowed",
                              sotto_escape(shown, sizeof shown, n->name, strlen(n->name)));
        }
    }
    if (name_is_used(g, n->name))
        return SOTTO_FAIL(err, SOTTO_EXISTS, "layer %s: the name is used twice", n->name);
    return SOTTO_OK;
}

/* Defaults for what is left zero, and zero for what the kind does not have: equal graphs have equal
 * bytes. */
static struct graph_node normalized(const struct graph_node *spec, unsigned fields) {
    struct graph_node n = {.op = spec->op, .weight_segment = KERN_NONE, .bias_segment = KERN_NONE};
    memcpy(n.name, spec->name, sizeof n.name);
    if (fields & GRAPH_F_UNITS)
        n.units = spec->units;
    if (fields & GRAPH_F_WINDOW) {
        bool pool = spec->op == GRAPH_MAXPOOL || spec->op == GRAPH_AVGPOOL;
        n.kernel_h = spec->kernel_h;
        n.kernel_w = spec->kernel_w ? spec->kernel_w : spec->kernel_h;
        n.stride_h = spec->stride_h ? spec->stride_h : pool ? n.kernel_h : 1;
        n.stride_w = spec->stride_w ? spec->stride_w
                     : pool         ? (spec->stride_h ? spec->stride_h : n.kernel_w)
                                    : n.stride_h;
        n.padding = spec->padding;
    }
    if (fields & GRAPH_F_GROUPS)
        n.groups = spec->groups ? spec->groups : 1;
    if (fields & GRAPH_F_BIAS)
        n.bias = spec->bias;
    if (fields & GRAPH_F_ACT) {
        n.act = spec->act;
        n.slope = spec->slope;
    }
    if (fields & GRAPH_F_RATE)
        n.rate = spec->rate;
    if (fields & GRAPH_F_SHAPE) {
        n.rank = spec->rank;
        memcpy(n.dims, spec->dims, sizeof n.dims);
        for (uint32_t i = spec->rank; i < 3; i++)
            n.dims[i] = 0;
    }
    return n;
}

enum sotto_status graph_add(struct graph *g, const struct graph_node *spec, uint32_t *node,
                            struct sotto_error *err) {
    const struct graph_op_info *info = graph_op_info(spec->op);
    if (g->finished)
        return SOTTO_FAIL(err, SOTTO_STATE, "the graph is finished: no layer can be added");
    if (!info)
        return SOTTO_FAIL(err, SOTTO_UNSUPPORTED, "layer %u: unknown kind %u", g->node_count,
                          (unsigned)spec->op);
    if (g->node_count >= GRAPH_NODES_MAX)
        return SOTTO_FAIL(err, SOTTO_LIMIT, "more than %d layers", GRAPH_NODES_MAX);
    struct graph_node n = normalized(spec, info->fields);
    enum sotto_status status = check_name(g, &n, err);
    if (status != SOTTO_OK)
        return status;
    for (uint32_t i = 0; i < info->input_count; i++) {
        if (spec->inputs[i] >= g->node_count)
            return SOTTO_FAIL(err, SOTTO_INVALID, "layer %s: input %u is not an earlier layer",
                              n.name, spec->inputs[i]);
        n.inputs[i] = spec->inputs[i];
    }
    status = info->infer(g, &n, err);
    if (status != SOTTO_OK)
        return status;
    if ((g->node_count & (g->node_count - 1)) == 0) { /* grow at powers of two */
        size_t cap = g->node_count ? 2 * (size_t)g->node_count : 1;
        struct graph_node *nodes = mem_resize(g->nodes, cap, sizeof *nodes);
        if (!nodes)
            return SOTTO_FAIL(err, SOTTO_NOMEM, "graph of %zu layers", cap);
        g->nodes = nodes;
    }
    g->nodes[g->node_count] = n;
    if (node)
        *node = g->node_count;
    g->node_count++;
    return SOTTO_OK;
}

enum sotto_status graph_input(struct graph *g, uint32_t rank, const uint32_t *dims, uint32_t *node,
                              struct sotto_error *err) {
    struct graph_node n = {.op = GRAPH_INPUT, .rank = rank};
    for (uint32_t i = 0; i < rank && i < 3; i++)
        n.dims[i] = dims[i];
    return graph_add(g, &n, node, err);
}

static enum sotto_status check_connected(const struct graph *g, struct sotto_error *err) {
    bool used[GRAPH_NODES_MAX] = {false};
    for (uint32_t i = 0; i < g->node_count; i++)
        for (uint32_t k = 0; k < graph_op_info(g->nodes[i].op)->input_count; k++)
            used[g->nodes[i].inputs[k]] = true;
    for (uint32_t i = 0; i + 1 < g->node_count; i++)
        if (!used[i])
            return SOTTO_FAIL(err, SOTTO_INVALID, "layer %s: nothing uses its output",
                              g->nodes[i].name);
    return SOTTO_OK;
}

static enum sotto_status add_segments(struct graph *g, struct graph_node *n,
                                      struct sotto_error *err) {
    uint32_t rank, dims[4];
    char name[LAYOUT_NAME_MAX];
    if (!graph_weight_dims(g, n, &rank, dims))
        return SOTTO_OK;
    snprintf(name, sizeof name, "%s.weight", n->name);
    n->weight_segment = g->layout.segment_count;
    enum sotto_status status = layout_add(&g->layout, name, LAYOUT_WEIGHT, rank, dims, err);
    if (status != SOTTO_OK || !n->bias)
        return status;
    snprintf(name, sizeof name, "%s.bias", n->name);
    n->bias_segment = g->layout.segment_count;
    return layout_add(&g->layout, name, LAYOUT_BIAS, 1, &n->units, err);
}

enum sotto_status graph_finish(struct graph *g, struct sotto_error *err) {
    if (g->finished)
        return SOTTO_FAIL(err, SOTTO_STATE, "the graph is finished already");
    if (g->node_count < 2)
        return SOTTO_FAIL(err, SOTTO_INVALID, "a graph needs an input and a layer");
    const struct graph_node *last = &g->nodes[g->node_count - 1];
    if (last->rank != 1 || last->dims[0] < 2)
        return SOTTO_FAIL(err, SOTTO_INVALID,
                          "layer %s: the last layer must give [classes], at least 2", last->name);
    enum sotto_status status = check_connected(g, err);
    for (uint32_t i = 0; status == SOTTO_OK && i < g->node_count; i++)
        status = add_segments(g, &g->nodes[i], err);
    if (status != SOTTO_OK)
        return status;
    if (g->layout.total == 0)
        return SOTTO_FAIL(err, SOTTO_INVALID, "the graph has no weights to train");
    g->finished = true;
    return SOTTO_OK;
}

uint32_t graph_classes(const struct graph *g) {
    return g->nodes[g->node_count - 1].dims[0];
}

uint32_t graph_input_count(const struct graph *g) {
    return graph_node_count(&g->nodes[0]);
}

enum sotto_status graph_copy(struct graph *dst, const struct graph *src, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    graph_init(dst);
    for (uint32_t i = 0; i < src->node_count && status == SOTTO_OK; i++)
        status = graph_add(dst, &src->nodes[i], NULL, err);
    if (status == SOTTO_OK && src->finished)
        status = graph_finish(dst, err);
    if (status != SOTTO_OK)
        graph_deinit(dst);
    return status;
}

static void describe_shape(const struct graph_node *n, char *out, size_t cap) {
    if (n->rank == 1)
        snprintf(out, cap, "%u", n->dims[0]);
    else if (n->rank == 2)
        snprintf(out, cap, "%ux%u", n->dims[0], n->dims[1]);
    else
        snprintf(out, cap, "%ux%ux%u", n->dims[0], n->dims[1], n->dims[2]);
}

void graph_describe(const struct graph *g, struct buf *out) {
    for (uint32_t i = 0; i < g->node_count; i++) {
        const struct graph_node *n = &g->nodes[i];
        uint32_t params = 0;
        char shape[40];
        if (n->weight_segment != KERN_NONE)
            params += g->layout.segments[n->weight_segment].count;
        if (n->bias_segment != KERN_NONE)
            params += g->layout.segments[n->bias_segment].count;
        describe_shape(n, shape, sizeof shape);
        buf_printf(out, "%-16s %-12s %-14s %u\n", n->name,
                   n->op == GRAPH_ACT ? graph_act_text(n->act) : graph_op_info(n->op)->text, shape,
                   params);
    }
}

/* True when a rectifier takes the node's output directly. */
static bool feeds_relu(const struct graph *g, uint32_t node) {
    for (uint32_t i = node + 1; i < g->node_count; i++) {
        const struct graph_node *n = &g->nodes[i];
        if (n->op == GRAPH_ACT && n->inputs[0] == node &&
            (n->act == KERN_ACT_RELU || n->act == KERN_ACT_LEAKY_RELU))
            return true;
    }
    return false;
}

void graph_init_params(const struct graph *g, uint64_t seed, float *params) {
    graph_init_params_by(g, GRAPH_INIT_HE, 1.0, seed, params);
}

void graph_init_params_by(const struct graph *g, enum graph_init_law law, double gain,
                          uint64_t seed, float *params) {
    struct rng rng;
    rng_init(&rng, seed, 0, 0, RNG_INIT);
    memset(params, 0, (size_t)g->layout.total * sizeof *params);
    for (uint32_t i = 0; i < g->node_count; i++) {
        const struct graph_node *n = &g->nodes[i];
        if (n->weight_segment == KERN_NONE)
            continue;
        const struct layout_segment *s = &g->layout.segments[n->weight_segment];
        double window = n->op == GRAPH_CONV2D ? (double)n->kernel_h * n->kernel_w : 1.0;
        double fan_in = (double)s->count / n->units;
        double fan_out = window * n->units / (n->op == GRAPH_CONV2D ? n->groups : 1);
        const bool he = law == GRAPH_INIT_HE && feeds_relu(g, i);
        double limit = gain * sqrt(6.0 / (he ? fan_in : fan_in + fan_out));
        for (uint32_t k = 0; k < s->count; k++)
            params[s->offset + k] = (float)(limit * (2.0 * (double)rng_f32(&rng) - 1.0));
    }
}
