/* What the files of this room share: the context a kernel runs in and the shape of a backend's
 * table. */
#ifndef SOTTO_KERN_INT_H
#define SOTTO_KERN_INT_H

#include <string.h>

#include "sotto/kernels.h"

/* What a kernel sees of a run. */
struct kern_ctx {
    unsigned char *arena;
    const struct kern_buffer *buffers;
    const struct kern_step *step;
    double *metrics; /* [KERN_METRIC_COUNT], summed over runs */
    unsigned char
        *scratch;          /* at least what the row's scratch function asked for, 64-byte aligned */
    const uint8_t *panels; /* [buffer]: KERN_PANEL_IN where it lies in panels (src/panels.h); NULL:
                              everything is in layout order */
};

typedef void kern_fn(const struct kern_ctx *c, const struct kern_instr *in);
/* Bytes of scratch that one run of in needs; NULL in a row means none. */
typedef size_t kern_scratch_fn(const struct kern_instr *in);

struct kern_impl {
    kern_fn *run; /* NULL: the backend lacks this instruction */
    kern_scratch_fn *scratch;
};

/* Where a run's metrics go: sums of each lane, and what each step added ([count][lanes], may be
 * NULL). */
struct kern_sums {
    double (*total)[KERN_METRIC_COUNT];
    double (*each)[KERN_METRIC_COUNT];
    uint32_t lanes;
};
static inline void kern_sums_add(const struct kern_sums *s, uint32_t step, uint32_t lane,
                                 const double m[KERN_METRIC_COUNT]) {
    for (unsigned i = 0; i < KERN_METRIC_COUNT; i++) {
        s->total[lane][i] += m[i];
        if (s->each)
            s->each[(size_t)step * s->lanes + lane][i] = m[i];
    }
}

/* A backend whose arena is not the host's: it takes whole programs. State lies behind d; exec.c
 * has checked the program and the steps. Offsets are the program's, in bytes; a lane is < lanes. */
struct kern_dev;
struct kern_device_ops {
    enum sotto_status (*ready)(struct sotto_error *err); /* UNSUPPORTED: why there is no device */
    bool (*lost)(void);                                  /* there was one in this process */
    const char *(*kernel_set)(void);
    bool (*has)(enum kern_op op);
    enum sotto_status (*open)(const struct kern_program *p, uint32_t lanes, struct kern_dev **out,
                              struct sotto_error *err);
    /* What open would allocate, on the device and beside it. */
    enum sotto_status (*plan)(const struct kern_program *p, uint32_t lanes, uint64_t *bytes,
                              struct sotto_error *err);
    void (*close)(struct kern_dev *d);
    enum sotto_status (*run)(struct kern_dev *d, const struct kern_step *steps, uint32_t count,
                             kern_fill_fn *fill, void *ctx, const struct kern_sums *sums,
                             struct sotto_error *err);
    void (*write)(struct kern_dev *d, uint32_t lane, uint64_t offset, const void *src,
                  uint64_t bytes); /* src NULL: zeros */
    void (*read)(struct kern_dev *d, uint32_t lane, uint64_t offset, void *dst, uint64_t bytes);
    void *(*host)(struct kern_dev *d, uint32_t lane, uint32_t buffer);
    uint64_t (*bytes)(const struct kern_dev *d);
    void (*counts)(const struct kern_dev *d, struct kern_device_counts *out);
    /* What instruction i runs on and why, when not here; "" otherwise. */
    const char *(*elsewhere)(const struct kern_dev *d, uint32_t i);
    /* Adds every instruction's seconds to seconds from now on; NULL: no more. */
    void (*profile)(struct kern_dev *d, double *seconds);
};

/* One backend: every instruction that it lacks is run by "cpu" or, failing that, by "ref". */
struct kern_backend {
    const char *name;
    const char *kernel_set;
    struct kern_impl ops[KERN_OP_COUNT];
    const struct kern_device_ops *device; /* NULL: the host, by ops */
    bool panels;                          /* its GEMM takes weights in panels: see src/panels.h */
};

/* The row that runs an instruction on the host: the processor's own, else "cpu", else "ref". */
const struct kern_impl *kern_host_impl(enum kern_op op);
/* The operands that an instruction has at most, and whether it only writes one of them (with beta
 * it reads it too). */
unsigned kern_op_operands(enum kern_op op);
bool kern_op_only_writes(enum kern_op op, unsigned arg);
/* kern_exec_new_lanes with everything in layout order: for who reaches into the arena. */
enum sotto_status kern_exec_new_plain(const struct kern_program *p, const struct kern_backend *b,
                                      uint32_t lanes, struct kern_exec **out,
                                      struct sotto_error *err);
/* A lane's arena of a program on the host that was made by kern_exec_new_plain. */
unsigned char *kern_exec_arena(const struct kern_exec *e, uint32_t lane);

/* Profiles a program on the host into another's seconds; NULL: off. */
void kern_exec_profile_into(struct kern_exec *e, double *seconds);

extern const struct kern_backend kern_ref;    /* complete: the oracle */
extern const struct kern_backend kern_vulkan; /* only where it is built */
/* The processor's own, filled once: "cpu" with the reference's rows, then what is faster here; on
 * 64-bit Arm "neon", which lacks what NEON makes no faster. */
const struct kern_backend *kern_cpu(void);

#define KERN_PHILOX_ROUNDS 10

static inline void *kern_ptr(const struct kern_ctx *c, const struct kern_instr *in, unsigned arg) {
    uint32_t b = in->args[arg];
    return b == KERN_NONE ? NULL : c->arena + c->buffers[b].offset;
}
static inline float *kern_f32(const struct kern_ctx *c, const struct kern_instr *in, unsigned arg) {
    return kern_ptr(c, in, arg);
}

static inline float kern_scale_of(const struct kern_ctx *c, enum kern_scale s) {
    return s == KERN_SCALE_NEG_LR ? -c->step->lr : 1.0f;
}
static inline float kern_beta_of(const struct kern_ctx *c, enum kern_beta b, float weight_decay) {
    if (b == KERN_BETA_ZERO)
        return 0.0f;
    return b == KERN_BETA_ONE ? 1.0f : 1.0f - c->step->lr * weight_decay;
}

/* dst = scale * v + beta * dst, never reading dst when beta is 0 (it may hold anything). */
static inline void kern_put(float *dst, double v, float scale, float beta) {
    double old = beta == 0.0f ? 0.0 : (double)beta * (double)*dst;
    *dst = (float)(v * (double)scale + old);
}

/* The taps of a window at position o that lie inside the input: [*k0, *k1) and the input index of
 * tap 0 (may be < 0). */
static inline int64_t kern_taps(uint32_t o, uint32_t stride, uint32_t pad, uint32_t kernel,
                                uint32_t in, uint32_t *k0, uint32_t *k1) {
    int64_t base = (int64_t)o * stride - pad;
    int64_t last = (int64_t)in - base;
    *k0 = base < 0 ? (uint32_t)-base : 0;
    *k1 = last < (int64_t)kernel ? (uint32_t)last : kernel;
    return base;
}

/* Ends of loss instructions: the number of rows of labels that count. Labels outside [0, cols) are
 * ignored rows. */
static inline uint32_t kern_count_valid(const int32_t *labels, uint32_t rows, uint32_t cols) {
    uint32_t n = 0;
    for (uint32_t r = 0; r < rows; r++)
        n += labels[r] >= 0 && (uint32_t)labels[r] < cols;
    return n;
}
static inline uint64_t kern_buffer_bytes(const struct kern_buffer *b) {
    return (uint64_t)b->count * (b->dtype == KERN_F32 || b->dtype == KERN_I32 ? 4 : 1);
}
/* First index of the largest value; NaN never wins. */
static inline uint32_t kern_arg_max(const float *x, uint32_t n) {
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++)
        if (x[i] > x[best] || (x[best] != x[best] && x[i] == x[i]))
            best = i;
    return best;
}

#endif
