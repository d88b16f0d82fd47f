/* Private to model/: the table of layer kinds and shape helpers. */
#ifndef SOTTO_GRAPH_INT_H
#define SOTTO_GRAPH_INT_H

#include "sotto/model/graph.h"

#define GRAPH_OP_COUNT   11u
#define GRAPH_VALUES_MAX (1u << 26) /* values of one example at any node */
#define GRAPH_SIDE_MAX   65536u     /* height and width of an image */
#define GRAPH_GLOBAL_MAX 1024u      /* height and width under a global pooling */
#define GRAPH_WINDOW_MAX                                                                           \
    255u /* kernel side; elements of a pooling window (a max pool's index is a byte) */
#define GRAPH_STRIDE_MAX 255u

/* Which fields of a node belong to its kind: the others are kept zero and are not encoded. */
enum graph_field {
    GRAPH_F_UNITS = 1,
    GRAPH_F_WINDOW = 2, /* kernel, stride and padding */
    GRAPH_F_GROUPS = 4,
    GRAPH_F_BIAS = 8,
    GRAPH_F_ACT = 16, /* act and slope */
    GRAPH_F_RATE = 32,
    GRAPH_F_SHAPE = 64, /* rank and dims are given, not inferred */
};

/* One kind of layer. Its lowering and its backward stand in the tables of compile/. */
struct graph_op_info {
    const char *text; /* "conv" */
    uint32_t input_count;
    unsigned fields;
    /* Fills rank and dims of n from its inputs, and checks its fields. */
    enum sotto_status (*infer)(const struct graph *g, struct graph_node *n,
                               struct sotto_error *err);
};
/* NULL for an unknown kind. */
const struct graph_op_info *graph_op_info(enum graph_op op);
/* The name of an activation in YAML and in descriptions ("relu"). */
const char *graph_act_text(enum kern_act act);

/* Values of one example at the node's output. */
uint32_t graph_node_count(const struct graph_node *n);
/* Rows of zero padding above (or left of) the input for this window. */
uint32_t graph_pad_before(enum graph_padding padding, uint32_t in, uint32_t out, uint32_t kernel,
                          uint32_t stride);
/* Weights and biases of a node: dims of the weight tensor (rank 2 or 4); false when it has none. */
bool graph_weight_dims(const struct graph *g, const struct graph_node *n, uint32_t *rank,
                       uint32_t dims[4]);

#endif
