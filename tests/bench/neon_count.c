/* What bench_neon.sh runs under an emulator that counts instructions: each case once between marks,
 * its name and its ideal before, by NEON and by OpenBLAS where that can be loaded.
 *
 * The ideal counts one instruction a vector: the multiply-adds of the tile and its loads, for
 * skinny products also the traffic of C. A convolution's multiply-adds are those whose tap lies
 * inside the image; those of a whole training step are nominal, padding and zeros done. */
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sotto/kernels.h"
#include "sotto/zoo.h"

#define MARK_BEGIN() __asm__ volatile(".inst 0xd28bc03f" ::: "memory")
#define MARK_END()   __asm__ volatile(".inst 0xd28bc05f" ::: "memory")

/* A tile's multiply-adds and loads by multiply-accumulate. */
enum tile {
    TILE_12,    /* 12 x 8, 2 + 3 loads a step of k */
    TILE_10,    /* 10 x 8, 2 + 3 */
    TILE_ROWS,  /* 8 x 8 in 4 steps of k: 8 + 8 loads */
    TILE_DOT,   /* 5 x 4 of vectors along k: 5 + 4 */
    TILE_5,     /* 5 x 8 adjacent taps: 2 + 2 */
    TILE_I8,    /* 8 x 8 of int8, by what the processor has */
    TILE_BF16,  /* 8 x 8 in 4 steps of k: 16 bfmmla, 8 loads */
    TILE_DW,    /* 4 pixels by 4 channels, a tap: 4 + 1 loads for 4 */
    TILE_DW_DW, /* a tap, 4 channels: 2 loads for 1 */
    TILE_F16    /* 12 x 8 of halves, in order 8 x 8, by what the processor has */
};
static const double TILE_COST[] = {29.0 / 96, 25.0 / 80,  80.0 / 256, 29.0 / 80, 14.0 / 40,
                                   0,         24.0 / 256, 9.0 / 16,   3.0 / 4,   0};

struct count_case {
    const char *name;
    enum kern_op op;
    enum tile tile;
    bool traffic; /* of C counts as ideal */
    struct kern_gemm gemm;
    struct kern_conv conv;
    float zeros; /* share of gradients that are 0 */
};

#define UPDATE .scale = KERN_SCALE_NEG_LR, .beta = KERN_BETA_ONE
#define CONV5(b, size, cin, cout)                                                                  \
    .batch = (b), .in_h = (size), .in_w = (size), .in_c = (cin), .out_h = (size), .out_w = (size), \
    .out_c = (cout), .kernel_h = 5, .kernel_w = 5, .stride_h = 1, .stride_w = 1, .pad_top = 2,     \
    .pad_left = 2, .groups = 1, .pool_h = 2, .pool_w = 2
#define DEPTHWISE                                                                                  \
    .batch = 10, .in_h = 14, .in_w = 14, .in_c = 64, .out_h = 14, .out_w = 14, .out_c = 64,        \
    .kernel_h = 3, .kernel_w = 3, .stride_h = 1, .stride_w = 1, .pad_top = 1, .pad_left = 1,       \
    .groups = 64, .pool_h = 2, .pool_w = 2
#define GEMM(mm, nn, kk, ...)                                                                      \
    { .m = mm, .n = nn, .k = kk, __VA_ARGS__ }

static const struct count_case CASES[] = {
    {"gemm 128x128x128", KERN_GEMM, TILE_12, false, GEMM(128, 128, 128, ), {0}, 0},
    {"gemm 256x256x256", KERN_GEMM, TILE_12, false, GEMM(256, 256, 256, ), {0}, 0},
    {"gemm 192x512x384", KERN_GEMM, TILE_12, false, GEMM(192, 512, 384, ), {0}, 0},
    {"forward 10x512x3136", KERN_GEMM, TILE_10, true, GEMM(10, 512, 3136, ), {0}, 0},
    {"forward 20x512x3136", KERN_GEMM, TILE_10, true, GEMM(20, 512, 3136, ), {0}, 0},
    {"dX 10x3136x512", KERN_GEMM, TILE_DOT, true, GEMM(10, 3136, 512, .trans_b = true), {0}, 0},
    {"dX 20x3136x512", KERN_GEMM, TILE_DOT, true, GEMM(20, 3136, 512, .trans_b = true), {0}, 0},
    {"dW 3136x512x10",
     KERN_GEMM,
     TILE_12,
     true,
     GEMM(3136, 512, 10, .trans_a = true, UPDATE),
     {0},
     0},
    {"dW 3136x512x20",
     KERN_GEMM,
     TILE_12,
     true,
     GEMM(3136, 512, 20, .trans_a = true, UPDATE),
     {0},
     0},
    {"forward 10x200x784", KERN_GEMM, TILE_10, true, GEMM(10, 200, 784, ), {0}, 0},
    {"dW 784x200x10",
     KERN_GEMM,
     TILE_12,
     true,
     GEMM(784, 200, 10, .trans_a = true, UPDATE),
     {0},
     0},
    {"forward 10x10x512", KERN_GEMM, TILE_10, true, GEMM(10, 10, 512, ), {0}, 0},
    {"int8 256x256x256", KERN_GEMM_I8, TILE_I8, false, GEMM(256, 256, 256, ), {0}, 0},
    {"bf16 256x256x256", KERN_GEMM_BF16, TILE_BF16, false, GEMM(256, 256, 256, ), {0}, 0},
    {"half 256x256x256", KERN_GEMM_F16, TILE_F16, false, GEMM(256, 256, 256, ), {0}, 0},
    {"half 64x512x1024", KERN_GEMM_F16, TILE_F16, false, GEMM(64, 512, 1024, ), {0}, 0},
    {"int8 64x512x1024", KERN_GEMM_I8, TILE_I8, false, GEMM(64, 512, 1024, ), {0}, 0},
    {"conv1 forward",
     KERN_CONV2D,
     TILE_12,
     true,
     {0},
     {CONV5(10, 28, 1, 32), .act = KERN_ACT_RELU},
     0},
    {"conv1 dW", KERN_CONV2D_DW, TILE_5, false, {0}, {CONV5(10, 28, 1, 32), UPDATE}, 0},
    {"conv2 forward",
     KERN_CONV2D,
     TILE_ROWS,
     false,
     {0},
     {CONV5(10, 14, 32, 64), .act = KERN_ACT_RELU},
     0},
    {"conv2 dX", KERN_CONV2D_DX, TILE_ROWS, false, {0}, {CONV5(10, 14, 32, 64)}, 0},
    {"conv2 dW", KERN_CONV2D_DW, TILE_12, false, {0}, {CONV5(10, 14, 32, 64), UPDATE}, 0},
    {"depthwise forward", KERN_CONV2D, TILE_DW, false, {0}, {DEPTHWISE, .act = KERN_ACT_RELU}, 0},
    {"depthwise dX", KERN_CONV2D_DX, TILE_DW, false, {0}, {DEPTHWISE}, 0},
    {"depthwise dW", KERN_CONV2D_DW, TILE_DW_DW, false, {0}, {DEPTHWISE, UPDATE}, 0},
    {"conv2 dX, 1 in 8", KERN_CONV2D_DX, TILE_ROWS, false, {0}, {CONV5(10, 14, 32, 64)}, 0.875f},
    {"conv2 dW, 1 in 8",
     KERN_CONV2D_DW,
     TILE_12,
     false,
     {0},
     {CONV5(10, 14, 32, 64), UPDATE},
     0.875f},
};

/* A dense layer's: B, or dW's C, is a parameter and lies as the backend likes it. */
static bool of_layer(const struct count_case *c) {
    return c->op == KERN_GEMM && c->traffic;
}

static bool is_gemm(const struct count_case *c) {
    return c->op == KERN_GEMM || c->op == KERN_GEMM_I8 || c->op == KERN_GEMM_BF16 ||
           c->op == KERN_GEMM_F16;
}

struct one {
    struct kern_buffer buffers[8];
    struct kern_instr instr;
    struct kern_program p;
};

static uint32_t add(struct one *o, enum kern_dtype type, enum kern_role role, uint32_t count) {
    const uint32_t i = o->p.buffer_count++;
    o->buffers[i] = (struct kern_buffer){type, role, 1, {count}, count, o->p.arena_bytes};
    o->p.arena_bytes += num_round_up((size_t)count * 4, KERN_ALIGN);
    return i;
}

static void build(struct one *o, const struct count_case *c) {
    const struct kern_gemm *g = &c->gemm;
    const struct kern_conv *v = &c->conv;
    uint32_t x = v->batch * v->in_h * v->in_w * v->in_c, w = 0;
    uint32_t y = v->batch * v->out_h * v->out_w * v->out_c;
    memset(o, 0, sizeof *o);
    o->p.buffers = o->buffers;
    o->p.instrs = &o->instr;
    o->p.instr_count = o->p.batch = 1;
    o->p.labels = o->p.targets = o->p.metric = KERN_NONE;
    o->p.input = add(o, KERN_F32, KERN_ROLE_INPUT, 1);
    o->p.logits = add(o, KERN_F32, KERN_ROLE_OUTPUT, 1);
    memset(o->instr.args, 0xff, sizeof o->instr.args);
    o->instr.op = c->op;
    if (is_gemm(c)) {
        o->instr.u.gemm = *g;
        x = g->m * g->k, w = g->k * g->n, y = g->m * g->n;
    } else {
        o->instr.u.conv = *v;
        w = v->kernel_h * v->kernel_w * (v->in_c / v->groups) * v->out_c;
    }
    const unsigned weights = c->gemm.trans_a ? 2 : 1;
    const uint32_t sizes[3] = {c->op == KERN_CONV2D_DX ? y : x, c->op == KERN_CONV2D_DW ? y : w,
                               c->op == KERN_CONV2D_DX   ? x
                               : c->op == KERN_CONV2D_DW ? w
                                                         : y};
    for (unsigned i = 0; i < 3; i++)
        o->instr.args[i] =
            add(o,
                c->op != KERN_GEMM_I8 ? KERN_F32
                : i < 2               ? KERN_I8
                                      : KERN_I32,
                of_layer(c) && i == weights ? KERN_ROLE_PARAM : KERN_ROLE_TEMP, sizes[i]);
    if (of_layer(c)) {
        o->p.param_offset = o->buffers[o->instr.args[weights]].offset;
        o->p.param_count = sizes[weights];
    }
    if (c->op == KERN_CONV2D)
        o->instr.args[3] = add(o, KERN_F32, KERN_ROLE_TEMP, v->out_c);
}

/* Taps of all windows of an axis that lie inside it. */
static double taps(uint32_t out, uint32_t stride, uint32_t pad, uint32_t kernel, uint32_t in) {
    double n = 0;
    for (int64_t o = 0; o < out; o++)
        for (int64_t k = 0; k < kernel; k++) {
            const int64_t at = o * stride - pad + k;
            n += at >= 0 && at < in;
        }
    return n;
}

static double macs_of(const struct count_case *c) {
    const struct kern_gemm *g = &c->gemm;
    const struct kern_conv *v = &c->conv;
    if (is_gemm(c))
        return (double)g->m * g->n * g->k;
    return taps(v->out_h, v->stride_h, v->pad_top, v->kernel_h, v->in_h) *
           taps(v->out_w, v->stride_w, v->pad_left, v->kernel_w, v->in_w) * v->batch *
           (v->in_c / v->groups) * v->out_c;
}

/* Vectors of C loaded and stored. */
static double traffic_of(const struct count_case *c) {
    if (!c->traffic)
        return 0;
    if (c->op == KERN_GEMM)
        return (double)c->gemm.m * c->gemm.n / 4 * (c->gemm.beta == KERN_BETA_ZERO ? 1 : 2);
    return (double)c->conv.batch * c->conv.out_h * c->conv.out_w * c->conv.out_c / 4;
}

static void fill(float *x, uint32_t n, float zeros) {
    uint32_t state = 12345;
    for (uint32_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        const float u = (float)(state >> 8) / 16777216.0f;
        x[i] = u < zeros ? 0.0f : 2.0f * u - zeros - 1.0f + 1e-3f;
    }
}

typedef void sgemm_fn(int order, int trans_a, int trans_b, int m, int n, int k, float alpha,
                      const float *a, int lda, const float *b, int ldb, float beta, float *c,
                      int ldc);

static sgemm_fn *load_blas(void) {
    void *lib = dlopen("libopenblas.so.0", RTLD_NOW);
    if (lib == NULL)
        return NULL;
    /* ISO C has no conversion from object pointers. */
    void *threads_at = dlsym(lib, "openblas_set_num_threads");
    void *gemm_at = dlsym(lib, "cblas_sgemm");
    void (*threads)(int) = NULL;
    sgemm_fn *gemm = NULL;
    memcpy(&threads, &threads_at, sizeof threads);
    memcpy(&gemm, &gemm_at, sizeof gemm);
    if (threads != NULL)
        threads(1);
    return gemm;
}

static void count_one(const struct count_case *c, sgemm_fn *blas) {
    struct one o;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct kern_exec *e = NULL;
    const struct kern_step step = {.lr = 1e-3f, .rows = 1};
    const struct kern_gemm *g = &c->gemm;
    build(&o, c);
    if (kern_exec_new(&o.p, kern_backend_find("neon"), &e, &err) != SOTTO_OK) {
        fprintf(stderr, "%s: %s\n", c->name, err.message);
        exit(1);
    }
    const unsigned gradient = c->op == KERN_CONV2D_DX ? 0 : c->op == KERN_CONV2D_DW ? 1 : 2;
    for (unsigned i = 0; i < 3; i++)
        if (o.buffers[o.instr.args[i]].dtype == KERN_F32)
            fill(kern_exec_host(e, o.instr.args[i]), o.buffers[o.instr.args[i]].count,
                 i == gradient ? c->zeros : 0.0f);
    const double macs = macs_of(c);
    double cost = TILE_COST[c->tile];
    if (c->tile == TILE_I8) {
        /* smmla: 16 and 8 loads for 8 of k; sdot: 16 and 4 for 4; smlal: 16 and 2 for 1. */
        const char *set = kern_backend_kernel_set(kern_backend_find("neon"));
        cost = strstr(set, "i8mm") ? 24.0 / 512 : strstr(set, "dotprod") ? 20.0 / 256 : 18.0 / 64;
    }
    if (c->tile == TILE_F16) {
        /* 16 bits a load of half a vector: FMLAL 24 and 2.5 loads a step of k, widening 5 more;
         * 8 x 8 in order: 16, 4 and 4. */
        const char *set = kern_backend_kernel_set(kern_backend_find("neon"));
        cost = strstr(set, "fhm") ? 26.5 / 96 : strstr(set, "a53") ? 24.0 / 64 : 31.5 / 96;
    }
    printf("case %s|neon|%.0f|%.0f\n", c->name, macs, macs * cost + traffic_of(c));
    fflush(stdout);
    if (kern_exec_run(e, &step, &err) != SOTTO_OK)
        exit(1);
    MARK_BEGIN();
    (void)kern_exec_run(e, &step, &err);
    MARK_END();
    if (blas != NULL && c->op == KERN_GEMM) {
        float *a = kern_exec_host(e, o.instr.args[0]), *b = kern_exec_host(e, o.instr.args[1]);
        float *out = kern_exec_host(e, o.instr.args[2]);
        printf("case %s|openblas|%.0f|%.0f\n", c->name, macs, 0.0);
        fflush(stdout);
        for (int pass = 0; pass < 2; pass++) {
            if (pass)
                MARK_BEGIN();
            blas(101, g->trans_a ? 112 : 111, g->trans_b ? 112 : 111, (int)g->m, (int)g->n,
                 (int)g->k, g->scale == KERN_SCALE_ONE ? 1.0f : -1e-3f, a,
                 (int)(g->trans_a ? g->m : g->k), b, (int)(g->trans_b ? g->k : g->n),
                 g->beta == KERN_BETA_ZERO ? 0.0f : 1.0f, out, (int)g->n);
            if (pass)
                MARK_END();
        }
    }
    kern_exec_free(e);
}

/* A training step of ten examples: forward, loss, backward, update. Early gradients, few zeros. */
static enum sotto_status count_step(const char *model, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct graph g;
    struct data_schema schema;
    struct kern_program *p = NULL;
    struct kern_exec *e = NULL;
    const struct graph_options options = {.mode = GRAPH_TRAIN, .batch = 10};
    const struct kern_step step = {.lr = 1e-3f, .rows = 10};
    float *weights = NULL;
    graph_init(&g);
    TRY(zoo_build(model, &g, &schema, err));
    TRY(graph_compile_program(&g, &options, &p, err));
    TRY(kern_exec_new(p, kern_backend_find("neon"), &e, err));
    weights = mem_array(g.layout.total, sizeof(float));
    if (weights == NULL)
        TRY_FAIL(err, SOTTO_NOMEM, "no memory for weights");
    graph_init_params(&g, 1, weights);
    kern_exec_load_params(e, weights);
    fill(kern_exec_host(e, p->input), p->buffers[p->input].count, 0.0f);
    int32_t *labels = kern_exec_host(e, p->labels);
    for (int32_t i = 0; i < 10; i++)
        labels[i] = i;
    const double macs = kern_program_flops(p) / 2;
    printf("case step %s|neon|%.0f|%.0f\n", model, macs, macs * TILE_COST[TILE_12]);
    fflush(stdout);
    TRY(kern_exec_run(e, &step, err));
    MARK_BEGIN();
    (void)kern_exec_run(e, &step, err);
    MARK_END();
out:
    mem_free(weights);
    kern_exec_free(e);
    graph_program_free(p);
    graph_deinit(&g);
    return status;
}

/* neon_count [PREFIX]: the cases whose names begin so. */
int main(int argc, char **argv) {
    sgemm_fn *blas = load_blas();
    for (size_t i = 0; i < ARRAY_LEN(CASES); i++)
        if (kern_backend_has(kern_backend_find("neon"), CASES[i].op) &&
            (argc < 2 || strncmp(CASES[i].name, argv[1], strlen(argv[1])) == 0))
            count_one(&CASES[i], blas);
    static const char *const models[] = {"logreg", "mnist-2nn", "mnist-cnn"};
    struct sotto_error err = SOTTO_ERROR_INIT;
    for (size_t i = 0; i < ARRAY_LEN(models) && (argc < 2 || strcmp(argv[1], "step") == 0); i++)
        if (count_step(models[i], &err) != SOTTO_OK) {
            fprintf(stderr, "%s: %s\n", models[i], err.message);
            return 1;
        }
    return 0;
}
