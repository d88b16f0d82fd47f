/* Speed of single instructions at the shapes that the zoo's models use: GFLOP/s and share of one
 * core's measured peak.
 *
 * bench_kernels [--json] [--backend NAME] [--seconds S] [NAME...]   (names of cases; all when none
 * is given) */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sotto/kernels.h"

enum shape { GEMM, CONV, CONV_POOL, CONV_DX, CONV_DW };

struct bench_case {
    const char *name;
    enum shape shape;
    struct kern_gemm gemm;
    struct kern_conv conv;
    double zeros; /* share of gradients that are zero */
};

#define UPDATE .scale = KERN_SCALE_NEG_LR, .beta = KERN_BETA_ONE
#define CONV5(b, size, cin, cout)                                                                  \
    .batch = (b), .in_h = (size), .in_w = (size), .in_c = (cin), .out_h = (size), .out_w = (size), \
    .out_c = (cout), .kernel_h = 5, .kernel_w = 5, .stride_h = 1, .stride_w = 1, .pad_top = 2,     \
    .pad_left = 2, .groups = 1, .pool_h = 2, .pool_w = 2

static const struct bench_case cases[] = {
    {"fc1-forward", GEMM, {.m = 10, .n = 512, .k = 3136, .act = KERN_ACT_RELU}, {0}, 0},
    {"fc1-dx", GEMM, {.m = 10, .n = 3136, .k = 512, .trans_b = true}, {0}, 0},
    {"fc1-dw", GEMM, {.m = 3136, .n = 512, .k = 10, .trans_a = true, UPDATE}, {0}, 0},
    {"2nn-forward", GEMM, {.m = 10, .n = 200, .k = 784, .act = KERN_ACT_RELU}, {0}, 0},
    {"2nn-dx", GEMM, {.m = 10, .n = 200, .k = 200, .trans_b = true}, {0}, 0},
    {"2nn-dw", GEMM, {.m = 784, .n = 200, .k = 10, .trans_a = true, UPDATE}, {0}, 0},
    {"logreg-forward", GEMM, {.m = 10, .n = 10, .k = 784}, {0}, 0},
    {"logreg-dw", GEMM, {.m = 784, .n = 10, .k = 10, .trans_a = true, UPDATE}, {0}, 0},
    {"eval-fc1", GEMM, {.m = 200, .n = 512, .k = 3136}, {0}, 0},
    {"square-256", GEMM, {.m = 256, .n = 256, .k = 256}, {0}, 0},
    {"square-1024", GEMM, {.m = 1024, .n = 1024, .k = 1024}, {0}, 0},
    {"square-1024-nt", GEMM, {.m = 1024, .n = 1024, .k = 1024, .trans_b = true}, {0}, 0},
    {"square-1024-tn", GEMM, {.m = 1024, .n = 1024, .k = 1024, .trans_a = true}, {0}, 0},
    {"conv1-forward", CONV_POOL, {0}, {CONV5(10, 28, 1, 32), .act = KERN_ACT_RELU}, 0},
    {"conv1-dw", CONV_DW, {0}, {CONV5(10, 28, 1, 32), UPDATE}, 0.8},
    {"conv2-forward", CONV_POOL, {0}, {CONV5(10, 14, 32, 64), .act = KERN_ACT_RELU}, 0},
    {"conv2-dx", CONV_DX, {0}, {CONV5(10, 14, 32, 64)}, 0.87},
    {"conv2-dx-dense", CONV_DX, {0}, {CONV5(10, 14, 32, 64)}, 0},
    {"conv2-dw", CONV_DW, {0}, {CONV5(10, 14, 32, 64), UPDATE}, 0.87},
    {"conv2-dw-dense", CONV_DW, {0}, {CONV5(10, 14, 32, 64), UPDATE}, 0},
};

struct one {
    struct kern_buffer buffers[8];
    struct kern_instr instr;
    struct kern_program p;
};

static uint32_t add(struct one *o, enum kern_dtype type, enum kern_role role, uint32_t count) {
    uint32_t i = o->p.buffer_count++;
    o->buffers[i] = (struct kern_buffer){type, role, 1, {count}, count, o->p.arena_bytes};
    o->p.arena_bytes += num_round_up((size_t)count * 4, KERN_ALIGN);
    return i;
}

static void build(struct one *o, const struct bench_case *c) {
    memset(o, 0, sizeof(*o));
    const struct kern_gemm *g = &c->gemm;
    const struct kern_conv *v = &c->conv;
    uint32_t x = v->batch * v->in_h * v->in_w * v->in_c;
    uint32_t y = v->batch * v->out_h * v->out_w * v->out_c;
    uint32_t w = v->kernel_h * v->kernel_w * v->in_c * v->out_c;
    o->p.buffers = o->buffers;
    o->p.instrs = &o->instr;
    o->p.instr_count = o->p.batch = 1;
    o->p.labels = o->p.targets = o->p.metric = KERN_NONE;
    o->p.input = add(o, KERN_F32, KERN_ROLE_INPUT, 1);
    o->p.logits = add(o, KERN_F32, KERN_ROLE_OUTPUT, 1);
    uint32_t *a = o->instr.args;
    memset(a, 0xff, sizeof(o->instr.args));
    switch (c->shape) {
    case GEMM:
        o->instr.op = KERN_GEMM;
        o->instr.u.gemm = *g;
        a[0] = add(o, KERN_F32, KERN_ROLE_TEMP, g->m * g->k);
        a[1] = add(o, KERN_F32, KERN_ROLE_TEMP, g->k * g->n);
        a[2] = add(o, KERN_F32, KERN_ROLE_TEMP, g->m * g->n);
        return;
    case CONV:
    case CONV_POOL:
        o->instr.op = c->shape == CONV ? KERN_CONV2D : KERN_CONV2D_POOL;
        a[0] = add(o, KERN_F32, KERN_ROLE_TEMP, x);
        a[1] = add(o, KERN_F32, KERN_ROLE_TEMP, w);
        a[2] = add(o, KERN_F32, KERN_ROLE_TEMP, c->shape == CONV ? y : y / 4);
        a[3] = add(o, KERN_F32, KERN_ROLE_TEMP, v->out_c);
        a[4] = c->shape == CONV ? KERN_NONE : add(o, KERN_U8, KERN_ROLE_TEMP, y / 4);
        break;
    case CONV_DX:
        o->instr.op = KERN_CONV2D_DX;
        a[0] = add(o, KERN_F32, KERN_ROLE_TEMP, y);
        a[1] = add(o, KERN_F32, KERN_ROLE_TEMP, w);
        a[2] = add(o, KERN_F32, KERN_ROLE_TEMP, x);
        break;
    case CONV_DW:
        o->instr.op = KERN_CONV2D_DW;
        a[1] = add(o, KERN_F32, KERN_ROLE_TEMP, y);
        a[0] = add(o, KERN_F32, KERN_ROLE_TEMP, x);
        a[2] = add(o, KERN_F32, KERN_ROLE_TEMP, w);
        break;
    }
    o->instr.u.conv = *v;
}

/* Random values; of the gradients a share is zero. */
static void fill(struct one *o, const struct bench_case *c, struct kern_exec *e) {
    struct rng rng;
    rng_init(&rng, 1, 0, 0, RNG_GENERATE);
    for (uint32_t b = 0; b < o->p.buffer_count; b++) {
        float *x = mem_array(o->buffers[b].count, sizeof(float));
        bool gradient = (c->shape == CONV_DX && b == o->instr.args[0]) ||
                        (c->shape == CONV_DW && b == o->instr.args[1]);
        for (uint32_t i = 0; x && i < o->buffers[b].count; i++) {
            x[i] = 2.0f * rng_f32(&rng) - 1.0f;
            if (gradient && rng_f64(&rng) < c->zeros)
                x[i] = 0.0f;
        }
        if (x && o->buffers[b].dtype == KERN_F32)
            kern_exec_write(e, b, x);
        mem_free(x);
    }
}

/* The median seconds of a run. */
static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}
static double measure(struct kern_exec *e, double seconds) {
    enum { SPANS = 15 };
    struct kern_step step = {.lr = 1e-6f, .rows = 1};
    double spans[SPANS];
    uint64_t start = clock_mono_ns();
    (void)kern_exec_run(e, &step, NULL);
    double once = (double)(clock_mono_ns() - start) * 1e-9;
    unsigned reps = (unsigned)(seconds / SPANS / once) + 1;
    for (unsigned s = 0; s < SPANS; s++) {
        start = clock_thread_cpu_ns();
        for (unsigned r = 0; r < reps; r++)
            (void)kern_exec_run(e, &step, NULL);
        spans[s] = (double)(clock_thread_cpu_ns() - start) * 1e-9 / reps;
    }
    qsort(spans, SPANS, sizeof(*spans), by_value);
    return spans[SPANS / 2];
}

static bool wanted(const char *name, char **names, int count) {
    for (int i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return count == 0;
}

int main(int argc, char **argv) {
    bool json = false;
    double seconds = 0.3;
    const char *backend = "cpu";
    int i = 1;
    for (; i < argc && argv[i][0] == '-'; i++) {
        if (strcmp(argv[i], "--json") == 0)
            json = true;
        else if (i + 1 < argc && strcmp(argv[i], "--backend") == 0)
            backend = argv[++i];
        else if (i + 1 < argc && strcmp(argv[i], "--seconds") == 0)
            seconds = strtod(argv[++i], NULL);
        else {
            fprintf(stderr, "bench_kernels: unknown option \"%s\"\n", argv[i]);
            return 2;
        }
    }
    const struct kern_backend *b = kern_backend_find(backend);
    if (!b) {
        fprintf(stderr, "bench_kernels: unknown backend \"%s\"\n", backend);
        return 2;
    }
    double peak = kern_peak_flops();
    fprintf(stderr, "bench_kernels: %s, peak of one core %.1f GFLOP/s\n",
            kern_backend_kernel_set(b), peak * 1e-9);
    for (size_t c = 0; c < ARRAY_LEN(cases); c++) {
        struct one o;
        struct kern_exec *e = NULL;
        struct sotto_error err = SOTTO_ERROR_INIT;
        if (!wanted(cases[c].name, argv + i, argc - i))
            continue;
        build(&o, &cases[c]);
        if (kern_exec_new(&o.p, b, &e, &err) != SOTTO_OK) {
            fprintf(stderr, "bench_kernels: %s: %s\n", cases[c].name, err.message);
            return 1;
        }
        fill(&o, &cases[c], e);
        double t = measure(e, seconds), rate = kern_instr_flops(&o.instr) / t;
        printf(json ? "{\"case\":\"%s\",\"backend\":\"%s\",\"microseconds\":%.2f,\"gflops\":%.1f,"
                      "\"share_of_peak\":%.4f}\n"
                    : "%-16s %-6s %10.2f us %8.1f GFLOP/s %7.3f of peak\n",
               cases[c].name, backend, t * 1e6, rate * 1e-9, rate / peak);
        kern_exec_free(e);
    }
    return 0;
}
