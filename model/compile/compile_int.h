/* The compiler's working state, shared by lowering, autodiff and the memory plan. */
#ifndef SOTTO_COMPILE_INT_H
#define SOTTO_COMPILE_INT_H

#include "graph/graph_int.h"

/* What is known of a graph node while its program is built. */
struct lowered {
    uint32_t root; /* the node whose buffer this one's output lies in (another one for reshapes and
                      the like) */
    uint32_t uses; /* instructions that will read the root's buffer in the forward pass (the loss is
                      one) */
    uint32_t head; /* the conv or dense node that this node is fused into, or KERN_NONE */
    uint32_t act;  /* of a head: fused activation node, or KERN_NONE */
    uint32_t pool; /* of a head: fused pooling node, or KERN_NONE */
    uint32_t tail; /* of a head: the node whose output the fused instruction gives; otherwise the
                      node itself */
    uint32_t value;  /* buffer of the output */
    uint32_t arg;    /* of a max pool (at the head when fused): buffer of the winners' places */
    uint32_t grad;   /* of a root: buffer of the gradient summed so far, or KERN_NONE */
    bool needs_grad; /* a parameter lies at or before this node */
};

/* Whether the backward pass reads a buffer of the forward pass again. */
enum keep { KEEP_NOT = 0, KEEP_SIGN /* its signs (zeros may be added) */, KEEP_VALUES };

struct buffer_info {
    enum keep keep;
    uint32_t refs;        /* gradient slots that hold it */
    uint32_t first, last; /* instructions that touch it; first KERN_NONE: none */
    uint32_t parent;      /* it lies inside this buffer, at parent_offset bytes; or KERN_NONE */
    uint64_t parent_offset;
};

struct compiler {
    const struct graph *g;
    struct graph_options o;
    bool train;        /* TRAIN or DISTILL */
    bool fused_update; /* plain SGD straight into the parameters */
    struct lowered *nodes;
    struct kern_program *p;
    struct buffer_info *info; /* of p->buffers */
    uint32_t buffer_cap, instr_cap;
    uint32_t params;  /* buffer of segment s: params + s */
    uint32_t grads;   /* likewise, when clipping needs all gradients side by side; or KERN_NONE */
    uint32_t states;  /* likewise, with momentum */
    uint32_t anchors; /* likewise, with a proximal term or a drift */
    uint32_t grad_range;
    enum sotto_status status; /* the first failure; later emissions are ignored */
    struct sotto_error *err;
    struct kern_instr nowhere;
};

/* A new buffer of rank dims; LIMIT when it is too large. Its place is planned at the end. */
uint32_t compile_buffer(struct compiler *c, enum kern_dtype dtype, enum kern_role role,
                        uint32_t rank, const uint32_t *dims);
/* [batch] + the node's shape. */
uint32_t compile_node_buffer(struct compiler *c, enum kern_dtype dtype, uint32_t node);
/* Appends an instruction over up to five buffers; the caller fills u. Never NULL. */
struct kern_instr *compile_emit(struct compiler *c, enum kern_op op, const uint32_t *args,
                                uint32_t count);
#define EMIT(c, op, ...)                                                                           \
    compile_emit((c), (op), (const uint32_t[]){__VA_ARGS__},                                       \
                 (uint32_t)(sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t)))
uint32_t compile_count(const struct compiler *c, uint32_t buffer); /* elements */

/* Geometry of a conv head or a pooling node. */
struct kern_conv compile_conv(const struct compiler *c, uint32_t node);
struct kern_pool compile_pool(const struct compiler *c, uint32_t node);

/* One layer kind: what it does forward, and backward with dy, of which it owns one reference. NULL:
 * an alias of its input. */
struct op_lowering {
    void (*forward)(struct compiler *c, uint32_t node);
    void (*backward)(struct compiler *c, uint32_t node, uint32_t dy);
};
extern const struct op_lowering compile_ops[GRAPH_OP_COUNT];

void autodiff_dense(struct compiler *c, uint32_t node, uint32_t dy);
void autodiff_conv(struct compiler *c, uint32_t node, uint32_t dy);
void autodiff_act(struct compiler *c, uint32_t node, uint32_t dy);
void autodiff_maxpool(struct compiler *c, uint32_t node, uint32_t dy);
void autodiff_avgpool(struct compiler *c, uint32_t node, uint32_t dy);
void autodiff_add(struct compiler *c, uint32_t node, uint32_t dy);
void autodiff_dropout(struct compiler *c, uint32_t node, uint32_t dy);

/* Emits everything after the loss: gradients from dlogits back to the first layer with weights, and
 * the update. */
void autodiff_backward(struct compiler *c, uint32_t dlogits);
/* Buffers that the update needs: gradients side by side, momentum, anchor. */
void autodiff_declare(struct compiler *c);
/* Gives every buffer its place in one arena. */
enum sotto_status plan_arena(struct compiler *c);

#endif
