/* Step programs and the backends that run them. Knows no layer, model, file or network.
 *
 * A program is a flat list of instructions over one arena: forward, loss, backward, update. Whoever
 * builds it (model/) has planned every buffer's place. A backend prepares a program once and runs
 * it any number of times without allocating. All that differs per step (learning rate, seed, valid
 * rows) is data in struct kern_step.
 *
 * Tensors are row-major. Images are NHWC, filters HWIO ([kh][kw][cin/groups][cout]), dense weights
 * [in][out].
 */
#ifndef SOTTO_KERNELS_H
#define SOTTO_KERNELS_H

#include "sotto/base.h"

#define KERN_RANK_MAX    4
#define KERN_ARGS_MAX    8
#define KERN_NONE        UINT32_MAX
#define KERN_ALIGN       64
#define KERN_BUFFERS_MAX 4096
#define KERN_INSTRS_MAX  4096
#define KERN_ARENA_MAX   ((uint64_t)4 << 30)

enum kern_dtype { KERN_F32 = 0, KERN_I32, KERN_I8, KERN_U8 };

enum kern_role {
    KERN_ROLE_PARAM,  /* weights: one contiguous range in layout order, read and written by the host
                         between runs */
    KERN_ROLE_STATE,  /* optimizer state (momentum), same shape as its parameter; survives runs */
    KERN_ROLE_ANCHOR, /* the round's global weights, for the proximal term; written by the host */
    KERN_ROLE_FIXED,  /* weights that no instruction writes, of any type (a package's int8 codes and
                         their scales): written by the host with kern_exec_write, survive runs */
    KERN_ROLE_INPUT,  /* written by the host before a run: examples, labels, soft targets */
    KERN_ROLE_OUTPUT, /* read by the host after a run: logits, probabilities */
    KERN_ROLE_METRIC, /* f32[KERN_METRIC_COUNT], summed over runs until the host clears it */
    KERN_ROLE_TEMP,   /* activations, gradients: contents undefined between runs; places may overlap
                         by lifetime */
};
/* loss: summed over valid rows; correct: rows whose arg max (first of equals) is the label; seen:
 * valid rows. Kept by the backends in double precision between runs; kern_exec_metrics reads them.
 */
enum { KERN_METRIC_LOSS = 0, KERN_METRIC_CORRECT, KERN_METRIC_SEEN, KERN_METRIC_COUNT };

struct kern_buffer {
    enum kern_dtype dtype;
    enum kern_role role;
    uint32_t rank;
    uint32_t dims[KERN_RANK_MAX];
    uint32_t count;  /* elements */
    uint64_t offset; /* bytes from the arena's start, multiple of KERN_ALIGN (parameters: of 4) */
};

enum kern_act {
    KERN_ACT_NONE = 0,
    KERN_ACT_RELU,
    KERN_ACT_LEAKY_RELU,
    KERN_ACT_SIGMOID,
    KERN_ACT_TANH
};
/* What a weight-shaped result is multiplied by before it is added to its destination. */
enum kern_scale {
    KERN_SCALE_ONE = 0,
    KERN_SCALE_NEG_LR /* -step.lr: the update of plain SGD, fused */
};
/* What the destination is multiplied by first. */
enum kern_beta {
    KERN_BETA_ZERO = 0,
    KERN_BETA_ONE,
    KERN_BETA_DECAY /* 1 - step.lr * weight_decay */
};

struct kern_gemm { /* C[m][n] = scale * op(A) op(B) + beta * C, then + bias[n], then act */
    uint32_t m, n, k;
    bool trans_a, trans_b; /* A is [k][m] / B is [n][k] in memory */
    enum kern_scale scale;
    enum kern_beta beta;
    float weight_decay; /* for KERN_BETA_DECAY */
    enum kern_act act;
    float slope; /* of leaky ReLU */
};
struct kern_conv { /* geometry shared by forward and both backwards */
    uint32_t batch, in_h, in_w, in_c, out_h, out_w, out_c;
    uint32_t kernel_h, kernel_w, stride_h, stride_w;
    uint32_t pad_top, pad_left; /* the bottom and right follow from out_h, out_w */
    uint32_t groups;            /* divides in_c and out_c */
    enum kern_scale scale;      /* CONV2D_DW only, with beta and weight_decay */
    enum kern_beta beta;
    float weight_decay;
    enum kern_act act; /* CONV2D and CONV2D_POOL: after bias */
    float slope;
    uint32_t pool_h, pool_w; /* CONV2D_POOL: max pooling with stride = window, no padding, after
                                act; rows and columns that fill no window are dropped */
};
struct kern_pool { /* channels untouched; average divides by the number of covered inputs (padding
                      not counted) */
    uint32_t batch, in_h, in_w, channels, out_h, out_w;
    uint32_t kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left;
};
struct kern_pointwise { /* elementwise over count */
    uint32_t count;
    enum kern_act act;
    float slope;
};
struct kern_rows { /* things over a [rows][cols] matrix */
    uint32_t rows, cols;
    enum kern_scale scale; /* BIAS_GRAD only */
    enum kern_beta beta;
    float weight_decay;
    float temperature; /* SOFT_XENT, T > 0: logits are divided by it; loss and gradient times T^2.
                          The targets are taken as given: whoever made them has divided the
                          teachers' logits by T */
    float label_smoothing; /* SOFTMAX_XENT */
};
struct kern_dropout {
    uint32_t count;
    float rate;      /* in [0, 1) */
    uint32_t stream; /* distinguishes the program's dropouts; forward and backward share it */
};
struct kern_sgd { /* w, g (and v, anchor) over count elements, see KERN_SGD */
    uint32_t count;
    float momentum, weight_decay, prox_mu;
    bool nesterov;
};
struct kern_quant {
    uint32_t rows, channels; /* x is [rows][channels], one scale a channel */
};

/* X(NAME, text, attribute member, number of operands). Operands in the order given; [x] may be
 * KERN_NONE. In place (same buffer for input and output) is allowed where said. */
#define KERN_OP_MAP(X)                                                                             \
    X(GEMM, "gemm", gemm, 4)     /* A, B, C, [bias] */                                             \
    X(CONV2D, "conv2d", conv, 4) /* x, w, y, [bias] */                                             \
    X(CONV2D_POOL, "conv2d_pool", conv,                                                            \
      5)                               /* x, w, y (pooled), [bias], arg (u8, index in window) */   \
    X(CONV2D_DX, "conv2d_dx", conv, 3) /* dy, w, dx */                                             \
    X(CONV2D_DW, "conv2d_dw", conv, 3) /* x, dy, dw (or w itself with SCALE_NEG_LR) */             \
    X(POOL_MAX, "pool_max", pool, 3)   /* x, y, arg (u8: index in window; window <= 255) */        \
    X(POOL_MAX_DX, "pool_max_dx", pool, 3) /* dy, arg, dx (overwritten) */                         \
    X(POOL_AVG, "pool_avg", pool, 2)       /* x, y */                                              \
    X(POOL_AVG_DX, "pool_avg_dx", pool, 2) /* dy, dx (overwritten) */                              \
    X(ACT, "act", pointwise, 2)            /* x, y; in place */                                    \
    X(ACT_DX, "act_dx", pointwise, 3)      /* y (the activation's output), dy, dx; dx may be dy */ \
    X(BIAS_ADD, "bias_add", rows, 3)       /* x, bias[cols], y; in place */                        \
    X(BIAS_GRAD, "bias_grad", rows, 2)     /* dy, db[cols] = scale * column sums + beta * db */    \
    X(ADD, "add", pointwise, 3)            /* x, y, z = x + y; z may be x or y */                  \
    X(COPY, "copy", pointwise, 2)          /* x, y */                                              \
    X(FILL0, "fill0", pointwise, 1)        /* x = 0 */                                             \
    X(DROPOUT, "dropout", dropout,                                                                 \
      2) /* x, y = x * keep / (1 - rate); in place; backward is the same on dy */                  \
    X(SOFTMAX, "softmax", rows, 2) /* logits, probabilities; in place */                           \
    X(SOFTMAX_XENT, "softmax_xent", rows,                                                          \
      4) /* logits, labels (i32; < 0: row ignored), [dlogits], metric */                           \
    X(SOFT_XENT, "soft_xent", rows, 4)    /* logits, target probabilities, [dlogits], metric */    \
    X(SGD, "sgd", sgd, 4)                 /* w, g, [v], [anchor] */                                \
    X(CLIP_NORM, "clip_norm", clip, 1)    /* g: one contiguous range of all gradients, in place */ \
    X(QUANT_I8, "quant_i8", quant, 3)     /* x, q (i8), scale[channels] (f32) */                   \
    X(DEQUANT_I8, "dequant_i8", quant, 3) /* q, scale, x */                                        \
    X(GEMM_I8, "gemm_i8", gemm, 3)        /* A (i8 [m][k]), B (i8 [k][n]), C (i32): exact */       \
    X(GEMM_W8, "gemm_w8", gemm, 5)        /* A (f32), W (i8 [k][n]), scale[n], C (f32), [bias] */  \
    X(GEMM_BF16, "gemm_bf16", gemm, 4)    /* A, B, C, [bias] */                                    \
    X(GEMM_F16, "gemm_f16", gemm, 4)      /* A, B, C, [bias] */

/* Rules that every backend keeps:
 * - rows at or past step.rows of the batch are padding: SOFTMAX_XENT and SOFT_XENT give them zero
 * gradient and no metric. dlogits of a valid row = (softmax - target) / number of valid rows
 * (step.rows less ignored labels; a label that is no class is ignored too). SOFT_XENT with
 * temperature T: dlogits = T (softmax(logits / T) - target) / step.rows.
 * - DROPOUT keeps element i when word i%4 of Philox4x32-10(ctr = {i/4, stream, step.index, 0}, key
 * = step.seed) is
 *   >= floor(rate * 2^32): the same elements on every backend.
 * - SGD: g' = g + weight_decay w + prox_mu (w - anchor); without v: w -= lr g'; with v: v =
 * momentum v + g', w -= lr v (nesterov: w -= lr (g' + momentum v)).
 * - CLIP_NORM: g *= min(1, max_norm / ||g||2).
 * - QUANT_I8: scale[c] = max|x| / 127 (1 when all are 0), q = clamp(round to nearest, ties to even,
 * of x / scale, -127, 127).
 * - GEMM_I8: C = A B in integers, k < 2^17, so that no sum leaves 32 bits: the same bits
 * everywhere.
 * - GEMM_W8: C = act(A (scale W) + bias), the weights of a package as they lie: nothing unpacks
 * them to memory.
 * - GEMM_BF16: C = act(A B + bias), A and B rounded to bfloat16 (nearest, ties to even; infinite
 * past its range), sums in fp32.
 * - GEMM_F16: the same with IEEE binary16: nearest, ties to even, infinite from 65520 on,
 * subnormals kept. Products of two halves are exact in fp32. None of the four takes transposes,
 * scale or beta.
 * - arg max ties take the first; POOL_MAX ties take the first in row-major order; NaN never wins.
 */
struct kern_clip {
    uint32_t count;
    float max_norm;
};

enum kern_op {
#define KERN_OP_ENUM(name, text, attr, args) KERN_##name,
    KERN_OP_MAP(KERN_OP_ENUM)
#undef KERN_OP_ENUM
        KERN_OP_COUNT
};

struct kern_instr {
    enum kern_op op;
    uint32_t args[KERN_ARGS_MAX]; /* buffer indices */
    union {
        struct kern_gemm gemm;
        struct kern_conv conv;
        struct kern_pool pool;
        struct kern_pointwise pointwise;
        struct kern_rows rows;
        struct kern_dropout dropout;
        struct kern_sgd sgd;
        struct kern_clip clip;
        struct kern_quant quant;
    } u;
};

/* Plain data, owned by whoever built it; must outlive every exec made from it. */
struct kern_program {
    uint32_t buffer_count, instr_count;
    struct kern_buffer *buffers;
    struct kern_instr *instrs;
    uint64_t arena_bytes;
    uint32_t batch;        /* rows of one step */
    uint32_t param_count;  /* coordinates of the parameter layout; they lie at param_offset as one
                              f32 array */
    uint64_t param_offset; /* bytes into the arena */
    uint32_t input;        /* buffer of the examples, f32 [batch][...] */
    uint32_t labels;       /* i32 [batch], or KERN_NONE */
    uint32_t targets;      /* f32 [batch][classes] soft targets, or KERN_NONE */
    uint32_t logits;       /* f32 [batch][classes] */
    uint32_t metric;       /* KERN_ROLE_METRIC buffer, or KERN_NONE */
    uint32_t state_first, state_count; /* coordinates of momentum as one f32 array: byte offset and
                                          count, 0 if none */
    uint32_t anchor_first, anchor_count; /* the same for the anchor */
    uint64_t fixed_first, fixed_bytes;   /* FIXED buffers lie in this range and nothing else does */
};

/* Checks ranges, operand counts, shapes against attributes, roles, overlaps: what a backend may
 * then rely on. INVALID names the instruction ("instr 12 conv2d_dx: ..."). */
enum sotto_status kern_program_check(const struct kern_program *p, struct sotto_error *err);
const char *kern_op_name(enum kern_op op);
/* Multiply-accumulates x 2 of one run, for roofline reports. */
double kern_program_flops(const struct kern_program *p);
double kern_instr_flops(const struct kern_instr *i);

/* ---- Backends
 * -----------------------------------------------------------------------------------------------------
 */

struct kern_step {
    float lr;
    uint32_t rows;  /* valid rows, 1..batch */
    uint64_t seed;  /* of this client and round */
    uint32_t index; /* of the step within the client's training */
};

struct kern_exec; /* a prepared program with its arena */

/* A backend is one row of a table. It may lack instructions; those run on the processor's own, and
 * kern_exec_report says so. */
struct kern_backend;
/* "ref", "cpu", "neon", "vulkan"; NULL when unknown or not built. On 64-bit Arm "cpu" is "neon". */
const struct kern_backend *kern_backend_find(const char *name);
/* The processor's own: "neon" on 64-bit Arm, else "cpu". */
const struct kern_backend *kern_backend_host(void);
const char *kern_backend_name(const struct kern_backend *b);
size_t kern_backend_list(const struct kern_backend **out,
                         size_t cap); /* number of rows; fills up to cap */
bool kern_backend_has(const struct kern_backend *b, enum kern_op op);
/* Names the instruction-set and library that decide its bits ("cpu/avx2+openblas-0.3.21"); static
 * string. */
const char *kern_backend_kernel_set(const struct kern_backend *b);

/* Whether programs can run on it here: false for "vulkan" without driver, loader or device, and
 * kern_exec_new then answers UNSUPPORTED with the reason. May take as long as opening a device. */
bool kern_backend_available(const struct kern_backend *b);
/* Whether programs run beside the host: small ones then gain from lanes. */
bool kern_backend_is_device(const struct kern_backend *b);

/* Checks and prepares p: allocates the arena and all scratch once. p must outlive the exec. On a
 * device, kernels that were never used on it are tested against "ref" first; when it was lost since
 * the process began, the program is prepared for "cpu" and kern_exec_counts says so. */
enum sotto_status kern_exec_new(const struct kern_program *p, const struct kern_backend *b,
                                struct kern_exec **out, struct sotto_error *err);
void kern_exec_free(struct kern_exec *e);
/* One step. Allocates nothing. Fails only when step is out of range. A device that is lost in it
 * loses no work: the step is redone on "cpu", which runs all further steps too. */
enum sotto_status kern_exec_run(struct kern_exec *e, const struct kern_step *step,
                                struct sotto_error *err);

/* Many steps in one call, so that a device gets as many in one submission as its time budget
 * allows. Before step i is run, fill(ctx, i, 0) writes its inputs through kern_exec_host's
 * pointers (fill may be NULL: inputs stay as they are); calls come in order, once a step, perhaps
 * while earlier steps still run. metrics (may be NULL) gets what each step added to the exec's
 * metrics. Afterwards OUTPUT buffers hold those of the last step. Allocates nothing. INVALID when
 * any step is out of range: then none has run. */
typedef void kern_fill_fn(void *ctx, uint32_t step, uint32_t lane);
enum sotto_status kern_exec_run_many(struct kern_exec *e, const struct kern_step *steps,
                                     uint32_t count, kern_fill_fn *fill, void *ctx,
                                     double (*metrics)[KERN_METRIC_COUNT], struct sotto_error *err);

/* Copies count = param_count values in or out, at any address (a byte of a saved state, say);
 * loading also resets optimizer state to zero. */
void kern_exec_load_params(struct kern_exec *e, const float *params);
void kern_exec_store_params(const struct kern_exec *e, float *params);
/* The same for optimizer state (state_count values; nothing without): for checkpoints. */
void kern_exec_load_state(struct kern_exec *e, const float *state);
void kern_exec_store_state(const struct kern_exec *e, float *state);
void kern_exec_load_anchor(struct kern_exec *e,
                           const float *params); /* nothing without an anchor */
void kern_exec_clear_state(struct kern_exec *e);
void kern_exec_clear_metrics(struct kern_exec *e);
void kern_exec_metrics(const struct kern_exec *e, double out[KERN_METRIC_COUNT]);
/* Host access to INPUT and OUTPUT buffers: a pointer into host memory, valid until the exec is
 * freed; for a device backend input is taken at run and output is there after it. NULL for a
 * buffer of another role of a device backend; on the host weights may lie there in an order of the
 * backend's own ("neon"), which the calls that copy turn into layout order. */
void *kern_exec_host(struct kern_exec *e, uint32_t buffer);
/* Copies a whole buffer of any role in or out, between runs: for tests and inspection. */
void kern_exec_write(struct kern_exec *e, uint32_t buffer, const void *src);
void kern_exec_read(const struct kern_exec *e, uint32_t buffer, void *dst);

/* Lanes: many independent clients of one program, each with its own parameters, state, inputs,
 * metrics and step, run by grouped launches. All calls above mean lane 0 of such an exec, except
 * kern_exec_run_many: its steps and metrics are [count][lanes], fill is called for every lane of a
 * step, and a step with rows = 0 leaves that lane as it is. A lane computes the bits that an exec
 * of its own would. On "cpu" and "ref" lanes run one after the other. */
#define KERN_LANES_MAX 256
enum sotto_status kern_exec_new_lanes(const struct kern_program *p, const struct kern_backend *b,
                                      uint32_t lanes, struct kern_exec **out,
                                      struct sotto_error *err);
uint32_t kern_exec_lanes(const struct kern_exec *e);
/* Loads a lane's parameters from elsewhere, without a copy of all of them in between:
 * unpack(ctx, first, count, to) writes coordinates first to first + count. On the host `to` is the
 * arena and one call takes all, where its weights lie in layout order; else, and for a device, they
 * come in pieces through a small buffer. Then as
 * kern_exec_load_lane. NOMEM: no memory for that buffer, some may be loaded. */
typedef void kern_unpack_fn(void *ctx, uint32_t first, uint32_t count, float *to);
enum sotto_status kern_exec_unpack_lane(struct kern_exec *e, uint32_t lane, kern_unpack_fn *unpack,
                                        void *ctx, struct sotto_error *err);
/* The same calls for any lane (< lanes). load_lane: params; then anchor = params, state = 0,
 * metrics = 0: a new client. */
void kern_exec_load_lane(struct kern_exec *e, uint32_t lane, const float *params);
void kern_exec_store_lane(const struct kern_exec *e, uint32_t lane, float *params);
void kern_exec_load_lane_params(struct kern_exec *e, uint32_t lane, const float *params);
void kern_exec_load_lane_anchor(struct kern_exec *e, uint32_t lane, const float *params);
void kern_exec_load_lane_state(struct kern_exec *e, uint32_t lane, const float *state);
void kern_exec_store_lane_state(const struct kern_exec *e, uint32_t lane, float *state);
void *kern_exec_lane_host(struct kern_exec *e, uint32_t lane, uint32_t buffer);
void kern_exec_lane_metrics(const struct kern_exec *e, uint32_t lane,
                            double out[KERN_METRIC_COUNT]);
/* Bytes held, on the device and on the host: arena, scratch, what lies between, bookkeeping. A
 * profile and the program on "cpu" after a loss come on top. */
uint64_t kern_exec_bytes(const struct kern_exec *e);
/* The same before anything of it is allocated (within 1%: a driver rounds sizes up). On a device it
 * compiles what the program will need. Errors are those of kern_exec_new_lanes. */
enum sotto_status kern_exec_plan(const struct kern_program *p, const struct kern_backend *b,
                                 uint32_t lanes, uint64_t *bytes, struct sotto_error *err);
/* Text for people: instructions, buffers, which run elsewhere and why. */
void kern_exec_report(const struct kern_exec *e, struct buf *out);

/* Seconds per instruction, summed over runs, when profiling is on (off by default: it costs two
 * clock reads each). A device then runs one step a submission and one instruction after the other,
 * by its own clock; lanes count together. On without a clock or memory for it: zeros, and the log
 * says so. */
void kern_exec_profile(struct kern_exec *e, bool on);
const double *kern_exec_profile_seconds(const struct kern_exec *e); /* instr_count values */
/* What a device was asked for, summed over the exec's life; zeros for a backend on the host. A
 * step is one run of the program by all lanes. */
struct kern_device_counts {
    uint32_t dispatches, barriers; /* of one step */
    uint32_t on_cpu;               /* instructions of one step that run on the host */
    uint64_t steps, submits;       /* so far */
    bool lost;                     /* the device is gone, "cpu" goes on */
};
void kern_exec_counts(const struct kern_exec *e, struct kern_device_counts *out);
/* The machine's fp32 multiply-accumulate peak of one core in FLOP/s, measured once by a
 * register-only loop (~20 ms). */
double kern_peak_flops(void);

/* ---- Devices beside the processor: those that Vulkan finds. Without the backend, a loader, a
 * driver or a device there are none, which is a normal state. */

struct kern_device_options {
    const char *cache_dir; /* compiled pipelines and self-test results are kept there; NULL: not */
    const char *device;    /* number in kern_device_list or part of a name; NULL: the best one */
    uint32_t submit_ms;    /* time budget of one submission, 1 to 1000; 0: 50 */
};
/* Before the first use of "vulkan" or kern_device_list; copies the strings. STATE when it is in
 * use already. The environment variable SOTTO_VULKAN_DEVICE overrides device, and
 * SOTTO_VULKAN_DISABLE lists features to leave alone: "all" (no device), "fp16" (16-bit storage),
 * "int8" (dot products), "subgroup", "unified" (memory shared with the host), "tile" (only the
 * smallest tiles). */
enum sotto_status kern_device_setup(const struct kern_device_options *o, struct sotto_error *err);

enum kern_test {
    KERN_TEST_LATER = 0, /* not used on this device yet */
    KERN_TEST_PASSED,
    KERN_TEST_FAILED, /* disagrees with "ref" on this driver: runs on the cpu */
    KERN_TEST_LACKS   /* the backend has no kernel for it: runs on the cpu */
};
#define KERN_DEVICES_MAX 16
struct kern_device_info {
    char name[128];      /* as the driver says it, printable ASCII */
    char driver[128];    /* name and version of the driver */
    char api[16];        /* "1.3.230" */
    const char *type;    /* "discrete", "integrated", "virtual", "cpu", "other" */
    char key[64];        /* device and driver: what a remembered choice belongs to */
    const char *problem; /* why it cannot be used, or NULL */
    bool selected;       /* the one that "vulkan" uses */
    uint64_t heap_bytes; /* of the largest device-local heap */
    bool unified;        /* its memory is the host's */
    uint32_t workgroup_max, shared_bytes, push_bytes, storage_buffers, subgroup;
    uint64_t storage_range_bytes;
    bool storage_16bit, int8_dot; /* after masks */
    uint8_t tests[KERN_OP_COUNT]; /* enum kern_test; of the selected device, else LATER */
};
/* Returns the number of devices; fills up to cap. reason (may be NULL, size reason_cap) says why
 * there is none. */
size_t kern_device_list(struct kern_device_info *out, size_t cap, char *reason, size_t reason_cap);
/* Tests every kernel on the selected device now. UNSUPPORTED without one. */
enum sotto_status kern_device_test(struct sotto_error *err);

#endif
