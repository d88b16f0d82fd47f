/* The architecture of a model: layers over one input, and their compilation to step programs. */
#ifndef SOTTO_MODEL_GRAPH_H
#define SOTTO_MODEL_GRAPH_H

#include "sotto/kernels.h"

#define GRAPH_NODES_MAX  512
#define GRAPH_INPUTS_MAX 2
#define GRAPH_NAME_MAX   32

/* Wire values: append only. */
enum graph_op {
    GRAPH_INPUT = 0,
    GRAPH_DENSE = 1,  /* x[features] W[features][units] + b */
    GRAPH_CONV2D = 2, /* NHWC, W[kh][kw][cin/groups][cout] + b */
    GRAPH_ACT = 3,    /* enum kern_act */
    GRAPH_MAXPOOL = 4,
    GRAPH_AVGPOOL = 5,
    GRAPH_GLOBALPOOL = 6, /* average over height and width -> [channels] */
    GRAPH_FLATTEN = 7,
    GRAPH_RESHAPE = 8,
    GRAPH_ADD = 9, /* residual: two nodes of one shape */
    GRAPH_DROPOUT = 10,
};
enum graph_padding { GRAPH_VALID = 0, GRAPH_SAME = 1 };

struct graph_node {
    enum graph_op op;
    char name[GRAPH_NAME_MAX]; /* unique; segments are "<name>.weight", "<name>.bias" */
    uint32_t inputs[GRAPH_INPUTS_MAX];
    uint32_t units; /* dense units, conv output channels */
    uint32_t kernel_h, kernel_w, stride_h, stride_w, groups;
    enum graph_padding padding;
    bool bias;
    enum kern_act act;
    float slope, rate; /* leaky ReLU (0 < slope <= 1), dropout */
    uint32_t rank;     /* output shape without the batch: inferred (for INPUT and RESHAPE given) */
    uint32_t dims[3];
    uint32_t weight_segment, bias_segment; /* into graph.layout, or KERN_NONE */
};

struct graph {
    uint32_t node_count;
    struct graph_node *nodes; /* topological order; the last one is the output (logits) */
    struct layout layout;
    bool finished;
};

void graph_init(struct graph *g);
void graph_deinit(struct graph *g);
/* Each returns the new node's index in *node. Shapes are checked as nodes are added; errors name
 * the node. name NULL: a name is made from the kind and a number ("conv1"). */
enum sotto_status graph_input(struct graph *g, uint32_t rank, const uint32_t *dims, uint32_t *node,
                              struct sotto_error *err);
/* Adds a node described by every field but rank, dims (unless RESHAPE) and segments. Left zero:
 * kernel_w is kernel_h, a stride is 1 (of a pool: its kernel), groups is 1; an empty name is made
 * from the kind. */
enum sotto_status graph_add(struct graph *g, const struct graph_node *spec, uint32_t *node,
                            struct sotto_error *err);
/* Checks that it is one connected graph with a [classes] output, and fixes the layout. No more
 * nodes afterwards. */
enum sotto_status graph_finish(struct graph *g, struct sotto_error *err);
uint32_t graph_classes(const struct graph *g);
uint32_t graph_input_count(const struct graph *g); /* values of one example */
/* dst is overwritten (deinit it before if it holds something), and empty after an error; so is g of
 * graph_decode. */
enum sotto_status graph_copy(struct graph *dst, const struct graph *src, struct sotto_error *err);
/* Canonical bytes. Decode checks everything and returns a finished graph. */
void graph_encode(const struct graph *g, struct buf *out);
enum sotto_status graph_decode(struct graph *g, struct reader *r, struct sotto_error *err);
/* One line a layer: name, kind, output shape, parameters. */
void graph_describe(const struct graph *g, struct buf *out);

/* The law of the first weights, uniform within a limit: Glorot & Bengio 2010, equation 16, has
 * sqrt(6 / (fan_in + fan_out)); He et al. 2015, equation 10, has sqrt(6 / fan_in). */
enum graph_init_law {
    GRAPH_INIT_HE = 0, /* He's before a ReLU, Glorot's elsewhere */
    GRAPH_INIT_GLOROT  /* Glorot's everywhere, as TensorFlow's layers have it */
};
/* Writes layout.total initial weights, each of the law's times gain; biases are 0. Stream RNG_INIT
 * of seed. */
void graph_init_params_by(const struct graph *g, enum graph_init_law law, double gain,
                          uint64_t seed, float *params);
void graph_init_params(const struct graph *g, uint64_t seed,
                       float *params); /* GRAPH_INIT_HE, gain 1 */

enum graph_mode {
    GRAPH_TRAIN,   /* hard labels: forward, loss, backward, update */
    GRAPH_DISTILL, /* soft targets: the same with SOFT_XENT */
    GRAPH_EVAL,    /* forward, loss and metrics against labels; dropout off */
    GRAPH_PREDICT, /* forward only: logits */
};
/* What a program that only goes forward (EVAL, PREDICT) computes its dense layers with; all else is
 * f32. */
enum graph_precision {
    GRAPH_F32 = 0,
    GRAPH_W8, /* the int8 weights of a package, read as they lie: KERN_GEMM_W8. Buffer s is segment
                 s of the layout; those of dense weights are FIXED, each instruction names its
                 scales beside, and the others lie side by side as the program's parameters. */
    GRAPH_BF16, /* operands rounded to bfloat16, sums in f32; the parameters stay f32 */
    GRAPH_F16,  /* the same with IEEE binary16 */
};
struct graph_options {
    enum graph_mode mode;
    enum graph_precision precision;
    uint32_t batch;
    float momentum, weight_decay, prox_mu;
    bool nesterov;
    float clip_norm; /* of the gradient of a step; 0: none */
    bool drift; /* the anchor holds no weights but what is added to them after each step; not with a
                   proximal term */
    float temperature;     /* DISTILL; 1 if 0 */
    float label_smoothing; /* TRAIN */
    bool unfused; /* one instruction a layer and no fused update: for tests and comparison */
};
/* Builds the program: autodiff, in-place activations, fused update for plain SGD (no gradient
 * buffer), lifetimes, greedy-by-size placement (Pisarchyk & Lee, arXiv:2001.03288, algorithm 3) in
 * one arena. *out is freed by graph_program_free. The arena's size stands in out->arena_bytes
 * before anything is allocated for it. LIMIT when it passes KERN_ARENA_MAX. */
enum sotto_status graph_compile_program(const struct graph *g, const struct graph_options *options,
                                        struct kern_program **out, struct sotto_error *err);
void graph_program_free(struct kern_program *p);

#endif
