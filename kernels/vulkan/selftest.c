/* Drivers are wrong now and then: every instruction is compared with "ref" before a device may run
 * it, on small random programs, and the result is kept beside the pipelines. */
#include <math.h>
#include <string.h>

#include "sotto/base/io.h"
#include "sotto/base/log.h"
#include "sotto/base/num.h"
#include "sotto/base/rng.h"

#include "vulkan/gpu.h"

#define BUFFERS_MAX  10
#define BATCH        12u
#define VARIANTS_MAX 4

/* One instruction with its operands, all TEMP but what a program must have. */
struct sample {
    struct kern_program p;
    struct kern_buffer buffers[BUFFERS_MAX];
    struct kern_instr instr;
    double bound; /* on differences, relative to a buffer's largest value */
};

static uint32_t add_buffer(struct sample *s, enum kern_dtype dtype, enum kern_role role,
                           uint32_t count) {
    uint32_t i = s->p.buffer_count++;
    s->buffers[i] = (struct kern_buffer){.dtype = dtype,
                                         .role = role,
                                         .rank = 1,
                                         .dims = {count},
                                         .count = count,
                                         .offset = s->p.arena_bytes};
    s->p.arena_bytes += num_round_up(kern_buffer_bytes(&s->buffers[i]), KERN_ALIGN);
    return i;
}
static uint32_t temp(struct sample *s, uint32_t count) {
    return add_buffer(s, KERN_F32, KERN_ROLE_TEMP, count);
}
static void set_args(struct sample *s, uint32_t a, uint32_t b, uint32_t c, uint32_t d, uint32_t e) {
    const uint32_t args[KERN_ARGS_MAX] = {a, b, c, d, e, KERN_NONE, KERN_NONE, KERN_NONE};
    memcpy(s->instr.args, args, sizeof(args));
}

/* ---- Samples, one function a kind; false when there is no such variant ---- */

typedef bool sample_fn(struct sample *s, unsigned variant);

static bool sample_gemm(struct sample *s, unsigned variant) {
    static const struct kern_gemm gemms[] = {
        {.m = 10, .n = 33, .k = 300, .act = KERN_ACT_RELU},
        {.m = 70,
         .n = 40,
         .k = 10,
         .trans_a = true,
         .scale = KERN_SCALE_NEG_LR,
         .beta = KERN_BETA_DECAY,
         .weight_decay = 0.5f},
        {.m = 12, .n = 65, .k = 20, .trans_b = true},
        {.m = 130, .n = 10, .k = 40},
    };
    const struct kern_gemm *g = &gemms[variant];
    s->instr.u.gemm = *g;
    set_args(s, temp(s, g->m * g->k), temp(s, g->k * g->n), temp(s, g->m * g->n),
             variant == 0 ? temp(s, g->n) : KERN_NONE, KERN_NONE);
    s->bound = 1e-4;
    return true;
}

static bool sample_short(struct sample *s, unsigned variant) {
    struct kern_gemm g = {.m = 21, .n = 33, .k = variant ? 260 : 45, .act = KERN_ACT_RELU};
    set_args(s, temp(s, g.m * g.k), temp(s, g.k * g.n), temp(s, g.m * g.n), temp(s, g.n),
             KERN_NONE);
    s->instr.u.gemm = g;
    s->bound = 1e-4;
    return variant < 2;
}

static bool sample_int8(struct sample *s, unsigned variant) {
    struct kern_gemm g = {.m = 21, .n = variant ? 36 : 33, .k = variant ? 64 : 45};
    bool w8 = s->instr.op == KERN_GEMM_W8;
    if (variant > 1)
        return false;
    uint32_t a = w8 ? temp(s, g.m * g.k) : add_buffer(s, KERN_I8, KERN_ROLE_TEMP, g.m * g.k);
    uint32_t b = add_buffer(s, KERN_I8, KERN_ROLE_TEMP, g.k * g.n);
    if (w8)
        set_args(s, a, b, temp(s, g.n), temp(s, g.m * g.n), variant ? temp(s, g.n) : KERN_NONE);
    else
        set_args(s, a, b, add_buffer(s, KERN_I32, KERN_ROLE_TEMP, g.m * g.n), KERN_NONE, KERN_NONE);
    s->instr.u.gemm = g;
    s->bound = w8 ? 1e-4 : 0.0;
    return true;
}

static bool sample_conv(struct sample *s, unsigned variant) {
    struct kern_conv v = {.batch = 2, .in_h = 9, .in_w = 8, .in_c = 6, .groups = 1};
    if (variant > 1)
        return false;
    v.out_c = variant ? 20 : 4;
    v.kernel_h = 3, v.kernel_w = 5, v.pad_top = 1, v.pad_left = 2;
    v.stride_h = v.stride_w = 1 + variant;
    v.out_h = (v.in_h - 1) / v.stride_h + 1, v.out_w = (v.in_w - 1) / v.stride_w + 1;
    v.pool_h = v.pool_w = 2;
    uint32_t x = temp(s, v.batch * v.in_h * v.in_w * v.in_c);
    uint32_t w = temp(s, v.kernel_h * v.kernel_w * v.in_c * v.out_c);
    uint32_t y = temp(s, v.batch * v.out_h * v.out_w * v.out_c), bias = temp(s, v.out_c);
    uint32_t pooled = v.batch * (v.out_h / 2) * (v.out_w / 2) * v.out_c;
    if (s->instr.op == KERN_CONV2D_DX) {
        set_args(s, y, w, x, KERN_NONE, KERN_NONE);
    } else if (s->instr.op == KERN_CONV2D_DW) {
        set_args(s, x, y, w, KERN_NONE, KERN_NONE);
        v.scale = KERN_SCALE_NEG_LR, v.beta = KERN_BETA_ONE;
    } else {
        v.act = KERN_ACT_RELU;
        set_args(s, x, w, y, bias, KERN_NONE);
    }
    if (s->instr.op == KERN_CONV2D_POOL)
        set_args(s, x, w, temp(s, pooled), bias, add_buffer(s, KERN_U8, KERN_ROLE_TEMP, pooled));
    s->instr.u.conv = v;
    s->bound = 1e-4;
    return true;
}

static bool sample_pool(struct sample *s, unsigned variant) {
    struct kern_pool v = {.batch = 2, .in_h = 7, .in_w = 6, .channels = 5};
    v.kernel_h = v.kernel_w = 2 + variant, v.stride_h = v.stride_w = 2;
    v.pad_top = v.pad_left = variant;
    v.out_h = (v.in_h + v.pad_top - v.kernel_h) / 2 + 1;
    v.out_w = (v.in_w + v.pad_left - v.kernel_w) / 2 + 1;
    if (variant > 1)
        return false;
    uint32_t x = temp(s, v.batch * v.in_h * v.in_w * v.channels), arg = KERN_NONE;
    uint32_t n = v.batch * v.out_h * v.out_w * v.channels, y = temp(s, n);
    if (s->instr.op == KERN_POOL_MAX || s->instr.op == KERN_POOL_MAX_DX)
        arg = add_buffer(s, KERN_U8, KERN_ROLE_TEMP, n);
    switch ((unsigned)s->instr.op) {
    case KERN_POOL_MAX:
        set_args(s, x, y, arg, KERN_NONE, KERN_NONE);
        break;
    case KERN_POOL_MAX_DX:
        set_args(s, y, arg, x, KERN_NONE, KERN_NONE);
        break;
    case KERN_POOL_AVG:
        set_args(s, x, y, KERN_NONE, KERN_NONE, KERN_NONE);
        break;
    default:
        set_args(s, y, x, KERN_NONE, KERN_NONE, KERN_NONE);
        break;
    }
    s->instr.u.pool = v;
    s->bound = 1e-5;
    return true;
}

static bool sample_pointwise(struct sample *s, unsigned variant) {
    uint32_t n = 501, x = temp(s, n), y = temp(s, n), z = temp(s, n);
    bool act = s->instr.op == KERN_ACT || s->instr.op == KERN_ACT_DX;
    if (variant > (act ? 3u : 0u))
        return false;
    s->instr.u.pointwise = (struct kern_pointwise){n, KERN_ACT_NONE, 0.1f};
    if (act)
        s->instr.u.pointwise.act = (enum kern_act)(KERN_ACT_RELU + variant);
    if (s->instr.op == KERN_ACT || s->instr.op == KERN_COPY)
        set_args(s, x, y, KERN_NONE, KERN_NONE, KERN_NONE);
    else if (s->instr.op == KERN_FILL0)
        set_args(s, x, KERN_NONE, KERN_NONE, KERN_NONE, KERN_NONE);
    else
        set_args(s, x, y, s->instr.op == KERN_ACT_DX ? y : z, KERN_NONE, KERN_NONE);
    s->bound = 1e-5;
    return true;
}

static bool sample_rows(struct sample *s, unsigned variant) {
    struct kern_rows v = {.rows = variant ? 600 : BATCH, .cols = 9, .temperature = 2.0f};
    bool loss = s->instr.op == KERN_SOFTMAX_XENT || s->instr.op == KERN_SOFT_XENT;
    if (variant > 1 || (variant && s->instr.op != KERN_BIAS_GRAD))
        return false;
    uint32_t n = v.rows * v.cols, x = temp(s, n), y = temp(s, n), b = temp(s, v.cols);
    if (s->instr.op == KERN_SOFTMAX)
        set_args(s, x, y, KERN_NONE, KERN_NONE, KERN_NONE);
    else if (s->instr.op == KERN_BIAS_GRAD)
        set_args(s, x, b, KERN_NONE, KERN_NONE, KERN_NONE);
    else if (s->instr.op == KERN_BIAS_ADD)
        set_args(s, x, b, y, KERN_NONE, KERN_NONE);
    if (loss)
        set_args(s, x,
                 s->instr.op == KERN_SOFT_XENT ? temp(s, n)
                                               : add_buffer(s, KERN_I32, KERN_ROLE_TEMP, v.rows),
                 y, s->p.metric, KERN_NONE);
    s->instr.u.rows = v;
    s->bound = 2e-5;
    return true;
}

static bool sample_dropout(struct sample *s, unsigned variant) {
    uint32_t n = 403;
    s->instr.u.dropout = (struct kern_dropout){n, 0.4f, 5};
    set_args(s, temp(s, n), temp(s, n), KERN_NONE, KERN_NONE, KERN_NONE);
    return variant == 0;
}

static bool sample_sgd(struct sample *s, unsigned variant) {
    uint32_t n = 300, w = temp(s, n), g = temp(s, n);
    s->instr.u.sgd = (struct kern_sgd){.count = n, .weight_decay = 0.1f};
    if (variant) {
        s->instr.u.sgd.momentum = 0.9f, s->instr.u.sgd.nesterov = true;
        s->instr.u.sgd.prox_mu = 0.5f;
    }
    set_args(s, w, g, variant ? temp(s, n) : KERN_NONE, variant ? temp(s, n) : KERN_NONE,
             KERN_NONE);
    s->bound = 1e-5;
    return variant < 2;
}

static bool sample_clip_norm(struct sample *s, unsigned variant) {
    s->instr.u.clip = (struct kern_clip){10000, 1.5f};
    set_args(s, temp(s, 10000), KERN_NONE, KERN_NONE, KERN_NONE, KERN_NONE);
    s->bound = 1e-5;
    return variant == 0;
}

static bool sample_quant(struct sample *s, unsigned variant) {
    struct kern_quant v = {70, 6};
    uint32_t n = v.rows * v.channels, x = temp(s, n), scale = temp(s, v.channels);
    uint32_t q = add_buffer(s, KERN_I8, KERN_ROLE_TEMP, n);
    s->instr.u.quant = v;
    if (s->instr.op == KERN_QUANT_I8)
        set_args(s, x, q, scale, KERN_NONE, KERN_NONE);
    else
        set_args(s, q, scale, x, KERN_NONE, KERN_NONE);
    return variant == 0;
}

static sample_fn *const samples[KERN_OP_COUNT] = {
    [KERN_GEMM] = sample_gemm,        [KERN_CONV2D] = sample_conv,
    [KERN_CONV2D_POOL] = sample_conv, [KERN_CONV2D_DX] = sample_conv,
    [KERN_CONV2D_DW] = sample_conv,   [KERN_POOL_MAX] = sample_pool,
    [KERN_POOL_MAX_DX] = sample_pool, [KERN_POOL_AVG] = sample_pool,
    [KERN_POOL_AVG_DX] = sample_pool, [KERN_ACT] = sample_pointwise,
    [KERN_ACT_DX] = sample_pointwise, [KERN_ADD] = sample_pointwise,
    [KERN_COPY] = sample_pointwise,   [KERN_FILL0] = sample_pointwise,
    [KERN_BIAS_ADD] = sample_rows,    [KERN_BIAS_GRAD] = sample_rows,
    [KERN_SOFTMAX] = sample_rows,     [KERN_SOFTMAX_XENT] = sample_rows,
    [KERN_SOFT_XENT] = sample_rows,   [KERN_DROPOUT] = sample_dropout,
    [KERN_SGD] = sample_sgd,          [KERN_CLIP_NORM] = sample_clip_norm,
    [KERN_QUANT_I8] = sample_quant,   [KERN_DEQUANT_I8] = sample_quant,
    [KERN_GEMM_I8] = sample_int8,     [KERN_GEMM_W8] = sample_int8,
    [KERN_GEMM_BF16] = sample_short,  [KERN_GEMM_F16] = sample_short,
};

/* ---- Running one on both sides ---- */

/* Values in [-1, 1]; places in windows and labels are small numbers. */
static void draw(struct rng *r, const struct kern_buffer *b, unsigned char *out) {
    for (uint32_t i = 0; i < b->count; i++)
        if (b->dtype == KERN_F32) {
            float v = 2.0f * rng_f32(r) - 1.0f;
            memcpy(out + 4 * (size_t)i, &v, 4);
        } else if (b->dtype == KERN_I32) {
            int32_t v = (int32_t)rng_below(r, 10) - 1;
            memcpy(out + 4 * (size_t)i, &v, 4);
        } else {
            out[i] = (unsigned char)rng_below(r, b->dtype == KERN_U8 ? 4 : 256);
        }
}

static bool agree(const struct sample *s, const struct kern_buffer *b, const unsigned char *want,
                  const unsigned char *got) {
    double most = 0.0, gap = 0.0;
    if (b->dtype != KERN_F32 || s->bound == 0.0)
        return memcmp(want, got, kern_buffer_bytes(b)) == 0;
    for (uint32_t i = 0; i < b->count; i++) {
        float w, g;
        memcpy(&w, want + 4 * (size_t)i, 4);
        memcpy(&g, got + 4 * (size_t)i, 4);
        if (!(fabs((double)w - (double)g) < HUGE_VAL))
            return false;
        most = fmax(most, fabs((double)w));
        gap = fmax(gap, fabs((double)w - (double)g));
    }
    return gap <= s->bound * most;
}

/* UNREACHABLE when the device is lost in it; the result is then unknown. */
static enum sotto_status run_sample(struct gpu *g, struct sample *s, bool *same) {
    enum sotto_status status;
    struct kern_exec *ref = NULL;
    struct kern_dev *dev = NULL;
    double total[1][KERN_METRIC_COUNT] = {{0}}, want[KERN_METRIC_COUNT];
    const struct kern_sums sums = {total, NULL, 1};
    struct kern_step step = {.lr = 0.125f, .rows = BATCH - 2, .seed = 7, .index = 3};
    unsigned char *bytes = mem_zalloc(s->p.arena_bytes);
    struct rng rng;
    *same = false;
    rng_init(&rng, 1, (uint32_t)s->instr.op, 0, RNG_FAULT);
    if (!bytes)
        return SOTTO_NOMEM;
    TRY(kern_exec_new(&s->p, &kern_ref, &ref, NULL));
    TRY(gpu_exec_open(g, &s->p, 1, true, &dev, NULL));
    for (uint32_t i = 0; i < s->p.buffer_count; i++) {
        const struct kern_buffer *b = &s->buffers[i];
        draw(&rng, b, bytes + b->offset);
        memcpy(kern_exec_host(ref, i), bytes + b->offset, kern_buffer_bytes(b));
        gpu_exec_write(dev, 0, b->offset, bytes + b->offset, kern_buffer_bytes(b));
    }
    bool here = dev->on_cpu == 0;
    TRY(kern_exec_run(ref, &step, NULL));
    TRY(gpu_exec_run(dev, &step, 1, NULL, NULL, &sums, NULL));
    if (dev->cpu)
        TRY_FAIL(NULL, SOTTO_UNREACHABLE, "lost");
    *same = here;
    kern_exec_metrics(ref, want);
    for (unsigned i = 0; i < KERN_METRIC_COUNT; i++)
        *same &= fabs(want[i] - total[0][i]) <= 1e-4 * (1.0 + fabs(want[i]));
    for (uint32_t i = 0; i < s->p.buffer_count; i++) {
        const struct kern_buffer *b = &s->buffers[i];
        if (b->role != KERN_ROLE_TEMP)
            continue;
        gpu_exec_read(dev, 0, b->offset, bytes + b->offset, kern_buffer_bytes(b));
        *same &= agree(s, b, kern_exec_host(ref, i), bytes + b->offset);
    }
out:
    gpu_exec_close(dev);
    kern_exec_free(ref);
    mem_free(bytes);
    return status;
}

static enum kern_test test_one(struct gpu *g, enum kern_op op) {
    if (gpu_hooks.fail[op])
        return KERN_TEST_FAILED;
    for (unsigned variant = 0; samples[op] && variant < VARIANTS_MAX; variant++) {
        struct sample s = {.instr = {.op = op}};
        bool same;
        s.p = (struct kern_program){.buffers = s.buffers,
                                    .instrs = &s.instr,
                                    .instr_count = 1,
                                    .batch = BATCH,
                                    .labels = KERN_NONE,
                                    .targets = KERN_NONE};
        s.p.input = add_buffer(&s, KERN_F32, KERN_ROLE_INPUT, BATCH);
        s.p.logits = add_buffer(&s, KERN_F32, KERN_ROLE_OUTPUT, BATCH);
        s.p.metric = add_buffer(&s, KERN_F32, KERN_ROLE_METRIC, KERN_METRIC_COUNT);
        if (!samples[op](&s, variant))
            break;
        enum sotto_status status = run_sample(g, &s, &same);
        if (status == SOTTO_UNREACHABLE || status == SOTTO_NOMEM)
            return KERN_TEST_LATER;
        if (status != SOTTO_OK || !same) {
            LOG(LOG_WARN, "vulkan.selftest", LS("instruction", kern_op_name(op)),
                LS("device", g->kernel_set), LU("variant", variant), LS("result", "differs"));
            return KERN_TEST_FAILED;
        }
    }
    return KERN_TEST_PASSED;
}

/* ---- Results on disk ---- */

void gpu_tests_load(struct gpu *g) {
    struct gpu_file_key key = gpu_file_key(g, GPU_FILE_TESTS);
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct view payload;
    struct buf file;
    char path[IO_PATH_MAX];
    if (!gpu_file_path(g, GPU_FILE_TESTS, path, sizeof(path)) || !io_exists(path))
        return;
    buf_init(&file, 4096);
    enum sotto_status status = io_read_file(path, 4096, &file, &err);
    if (status == SOTTO_OK)
        status = gpu_file_decode(buf_view(&file), &key, &payload, &err);
    if (status == SOTTO_OK)
        status = gpu_tests_decode(payload, g->tests, &err);
    if (status != SOTTO_OK)
        LOG(LOG_INFO, "vulkan.selftest", LS("ignored", err.message));
    buf_deinit(&file);
}

static void save(struct gpu *g) {
    struct gpu_file_key key = gpu_file_key(g, GPU_FILE_TESTS);
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct buf file;
    char path[IO_PATH_MAX];
    if (!gpu_file_path(g, GPU_FILE_TESTS, path, sizeof(path)))
        return;
    buf_init(&file, 4096);
    gpu_file_encode(&key, g->tests, sizeof(g->tests), &file);
    if (file.status != SOTTO_OK ||
        io_write_file(path, file.data, file.len, 0600, false, &err) != SOTTO_OK)
        LOG(LOG_WARN, "vulkan.selftest", LS("not_written", err.message));
    buf_deinit(&file);
}

void gpu_self_test(struct gpu *g, const bool which[KERN_OP_COUNT]) {
    bool any = false;
    pthread_mutex_lock(&g->test_lock);
    for (unsigned op = 0; op < KERN_OP_COUNT; op++)
        if (which[op] && g->tests[op] == KERN_TEST_LATER) {
            g->tests[op] = (uint8_t)test_one(g, (enum kern_op)op);
            any = true;
        }
    if (any)
        save(g);
    pthread_mutex_unlock(&g->test_lock);
}
