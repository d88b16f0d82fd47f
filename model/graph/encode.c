/* Canonical bytes of a graph: which fields a node has is decided by its kind. Format:
 * docs/internals/model-package.md. */
#include "graph/graph_int.h"

#include <string.h>

#define GRAPH_VERSION 1u

static void encode_node(const struct graph_node *n, struct buf *out) {
    const struct graph_op_info *info = graph_op_info(n->op);
    buf_put_u8(out, (uint8_t)n->op);
    buf_put_str(out, n->name);
    for (uint32_t i = 0; i < info->input_count; i++)
        buf_put_varint(out, n->inputs[i]);
    if (info->fields & GRAPH_F_UNITS)
        buf_put_varint(out, n->units);
    if (info->fields & GRAPH_F_WINDOW) {
        buf_put_varint(out, n->kernel_h);
        buf_put_varint(out, n->kernel_w);
        buf_put_varint(out, n->stride_h);
        buf_put_varint(out, n->stride_w);
        buf_put_u8(out, (uint8_t)n->padding);
    }
    if (info->fields & GRAPH_F_GROUPS)
        buf_put_varint(out, n->groups);
    if (info->fields & GRAPH_F_BIAS)
        buf_put_u8(out, n->bias);
    if (info->fields & GRAPH_F_ACT) {
        buf_put_u8(out, (uint8_t)n->act);
        buf_put_f32(out, n->slope);
    }
    if (info->fields & GRAPH_F_RATE)
        buf_put_f32(out, n->rate);
    if (info->fields & GRAPH_F_SHAPE) {
        buf_put_u8(out, (uint8_t)n->rank);
        for (uint32_t i = 0; i < n->rank; i++)
            buf_put_varint(out, n->dims[i]);
    }
}

void graph_encode(const struct graph *g, struct buf *out) {
    buf_put_u8(out, GRAPH_VERSION);
    buf_put_varint(out, g->node_count);
    for (uint32_t i = 0; i < g->node_count; i++)
        encode_node(&g->nodes[i], out);
}

static uint32_t get_u32(struct reader *r, uint32_t max, const char *field) {
    return (uint32_t)reader_varint(r, max, field);
}

static void decode_fields(struct graph_node *n, unsigned fields, struct reader *r) {
    if (fields & GRAPH_F_UNITS)
        n->units = get_u32(r, GRAPH_VALUES_MAX, "units");
    if (fields & GRAPH_F_WINDOW) {
        n->kernel_h = get_u32(r, GRAPH_WINDOW_MAX, "kernel_h");
        n->kernel_w = get_u32(r, GRAPH_WINDOW_MAX, "kernel_w");
        n->stride_h = get_u32(r, GRAPH_STRIDE_MAX, "stride_h");
        n->stride_w = get_u32(r, GRAPH_STRIDE_MAX, "stride_w");
        n->padding = (enum graph_padding)reader_u8(r, "padding");
        /* Zero stands for a default when a graph is built; on the wire nothing is left to default.
         */
        if (n->kernel_h == 0 || n->kernel_w == 0 || n->stride_h == 0 || n->stride_w == 0)
            reader_fail(r, SOTTO_INVALID, "window");
    }
    if (fields & GRAPH_F_GROUPS) {
        n->groups = get_u32(r, GRAPH_VALUES_MAX, "groups");
        if (n->groups == 0)
            reader_fail(r, SOTTO_INVALID, "groups");
    }
    if (fields & GRAPH_F_BIAS) {
        uint8_t bias = reader_u8(r, "bias");
        if (bias > 1)
            reader_fail(r, SOTTO_INVALID, "bias");
        n->bias = bias == 1;
    }
    if (fields & GRAPH_F_ACT) {
        n->act = (enum kern_act)reader_u8(r, "activation");
        n->slope = reader_f32(r, "slope");
    }
    if (fields & GRAPH_F_RATE)
        n->rate = reader_f32(r, "rate");
    if (fields & GRAPH_F_SHAPE) {
        n->rank = reader_u8(r, "rank");
        if (n->rank < 1 || n->rank > 3)
            reader_fail(r, SOTTO_INVALID, "rank");
        for (uint32_t i = 0; i < n->rank && i < 3; i++)
            n->dims[i] = get_u32(r, GRAPH_VALUES_MAX, "dimension");
    }
}

static enum sotto_status decode_node(struct graph *g, struct reader *r, struct sotto_error *err) {
    struct graph_node n = {0};
    uint8_t op = reader_u8(r, "layer kind");
    const struct graph_op_info *info = graph_op_info((enum graph_op)op);
    if (!info) {
        reader_fail(r, SOTTO_UNSUPPORTED, "layer kind");
        return reader_finish(r, false, "graph", err);
    }
    n.op = (enum graph_op)op;
    reader_str(r, n.name, sizeof n.name, "layer name");
    if (n.name[0] == 0)
        reader_fail(r, SOTTO_INVALID, "layer name");
    for (uint32_t i = 0; i < info->input_count; i++)
        n.inputs[i] = get_u32(r, GRAPH_NODES_MAX - 1, "layer input");
    decode_fields(&n, info->fields, r);
    enum sotto_status status = reader_finish(r, false, "graph", err);
    return status == SOTTO_OK ? graph_add(g, &n, NULL, err) : status;
}

enum sotto_status graph_decode(struct graph *g, struct reader *r, struct sotto_error *err) {
    enum sotto_status status;
    graph_init(g);
    if (reader_u8(r, "graph version") != GRAPH_VERSION)
        reader_fail(r, SOTTO_VERSION, "graph version");
    uint32_t count = get_u32(r, GRAPH_NODES_MAX, "layer count");
    TRY(reader_finish(r, false, "graph", err));
    for (uint32_t i = 0; i < count; i++)
        TRY(decode_node(g, r, err));
    status = graph_finish(g, err);
out:
    if (status != SOTTO_OK)
        graph_deinit(g);
    return status;
}
