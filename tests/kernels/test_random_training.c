/* Random training programs: a random stack of layers with its forward, loss, backward and update.
 * Every instruction is run by a backend and by "ref" from the same state, and must agree within the
 * bound of its own rounding, 2 (K + 3) eps sum |a||b| for a sum of K products; the whole program
 * must give the same bits twice. */
#include "harness.h"

#include <math.h>
#include <string.h>

#define PROGRAMS   HARNESS_CASES(60)
#define LAYERS_MAX 5

static const double EPS = 1.1920929e-7;

enum kind { CONV, CONV_POOL, POOL_MAX, POOL_AVG, ACT, DROPOUT, DENSE, KINDS };

struct layer {
    enum kind kind;
    struct kern_conv conv; /* of CONV and CONV_POOL; its geometry of the pools too */
    uint32_t x, y, w, bias, arg;
    uint32_t in, out; /* elements of x and y */
    enum kern_act act;
    uint32_t stream;
};

struct net {
    struct harness h;
    struct layer layers[LAYERS_MAX + 1];
    unsigned count;
    uint32_t batch, height, width, channels; /* of the next layer's input */
};

static struct kern_pool pool_of(const struct layer *l) {
    const struct kern_conv *v = &l->conv;
    if (l->kind == CONV_POOL)
        return (struct kern_pool){v->batch,
                                  v->out_h,
                                  v->out_w,
                                  v->out_c,
                                  v->out_h / v->pool_h,
                                  v->out_w / v->pool_w,
                                  v->pool_h,
                                  v->pool_w,
                                  v->pool_h,
                                  v->pool_w,
                                  0,
                                  0};
    return (struct kern_pool){v->batch,    v->in_h,     v->in_w,     v->in_c,
                              v->out_h,    v->out_w,    v->kernel_h, v->kernel_w,
                              v->stride_h, v->stride_w, v->pad_top,  v->pad_left};
}

/* A window over the current image. */
static struct kern_conv random_window(struct net *n) {
    struct harness *h = &n->h;
    struct kern_conv v = {.batch = n->batch, .in_h = n->height, .in_w = n->width, .groups = 1};
    v.in_c = n->channels;
    v.kernel_h = harness_pick(h, 1, n->height < 5 ? n->height : 5);
    v.kernel_w = harness_pick(h, 1, n->width < 5 ? n->width : 5);
    v.stride_h = harness_pick(h, 1, 2);
    v.stride_w = harness_pick(h, 1, 2);
    v.pad_top = harness_pick(h, 0, 1) ? v.kernel_h / 2 : 0;
    v.pad_left = harness_pick(h, 0, 1) ? v.kernel_w / 2 : 0;
    v.out_h = (n->height + 2 * v.pad_top - v.kernel_h) / v.stride_h + 1;
    v.out_w = (n->width + 2 * v.pad_left - v.kernel_w) / v.stride_w + 1;
    v.slope = 0.1f;
    return v;
}

static void add_forward(struct net *n, struct layer *l) {
    struct harness *h = &n->h;
    struct kern_conv *v = &l->conv;
    const uint32_t x = l->x, y = l->y;
    switch (l->kind) {
    case CONV:
        harness_instr(h, KERN_CONV2D, (uint32_t[]){x, l->w, y, l->bias}, 4)->u.conv = *v;
        break;
    case CONV_POOL:
        harness_instr(h, KERN_CONV2D_POOL, (uint32_t[]){x, l->w, y, l->bias, l->arg}, 5)->u.conv =
            *v;
        break;
    case POOL_MAX:
        harness_instr(h, KERN_POOL_MAX, (uint32_t[]){x, y, l->arg}, 3)->u.pool = pool_of(l);
        break;
    case POOL_AVG:
        harness_instr(h, KERN_POOL_AVG, (uint32_t[]){x, y}, 2)->u.pool = pool_of(l);
        break;
    case ACT:
        harness_instr(h, KERN_ACT, (uint32_t[]){x, y}, 2)->u.pointwise =
            (struct kern_pointwise){l->in, l->act, 0.1f};
        break;
    case DROPOUT:
        harness_instr(h, KERN_DROPOUT, (uint32_t[]){x, y}, 2)->u.dropout =
            (struct kern_dropout){l->in, 0.25f, l->stream};
        break;
    case DENSE:
    case KINDS:
    default:
        harness_instr(h, KERN_GEMM, (uint32_t[]){x, l->w, y, l->bias}, 4)->u.gemm =
            (struct kern_gemm){.m = n->batch,
                               .n = l->out / n->batch,
                               .k = l->in / n->batch,
                               .act = l->act,
                               .slope = 0.1f};
        break;
    }
}

/* A layer on the net's end; units 0: a random number of them. */
static void add_layer(struct net *n, enum kind kind, uint32_t units) {
    struct harness *h = &n->h;
    struct layer *l = &n->layers[n->count];
    *l = (struct layer){.kind = kind, .stream = n->count, .bias = KERN_NONE};
    l->x = n->count ? n->layers[n->count - 1].y
                    : harness_f32(h, n->batch * n->height * n->width * n->channels);
    l->in = h->buffers[l->x].count;
    l->act = (enum kern_act)harness_pick(h, units ? 0 : 1, units ? 0 : 4);
    l->conv = random_window(n);
    struct kern_conv *v = &l->conv;
    const bool conv = kind == CONV || kind == CONV_POOL;
    if (kind == DENSE) {
        n->height = n->width = 1;
        n->channels = units ? units : harness_pick(h, 1, 40);
        l->w = harness_f32(h, l->in / n->batch * n->channels);
    } else if (kind != ACT && kind != DROPOUT) {
        if (conv)
            n->channels = harness_pick(h, 1, 20);
        v->out_c = n->channels;
        v->act = conv ? l->act : KERN_ACT_NONE;
        v->pool_h = v->out_h > 1 ? 2 : 1;
        v->pool_w = v->out_w > 1 ? 2 : 1;
        n->height = kind == CONV_POOL ? v->out_h / v->pool_h : v->out_h;
        n->width = kind == CONV_POOL ? v->out_w / v->pool_w : v->out_w;
    }
    if (conv)
        l->w = harness_f32(h, v->kernel_h * v->kernel_w * v->in_c * v->out_c);
    if ((conv || kind == DENSE) && harness_pick(h, 0, 3))
        l->bias = harness_f32(h, n->channels);
    l->out = n->batch * n->height * n->width * n->channels;
    l->y = harness_f32(h, l->out);
    if (kind == CONV_POOL || kind == POOL_MAX)
        l->arg = harness_buffer(h, KERN_U8, KERN_ROLE_TEMP, l->out);
    add_forward(n, l);
    n->count++;
}

/* The update of a weight or bias: fused, or through a gradient with momentum. Returns the operand
 * that the gradient goes to. */
static uint32_t update_target(struct net *n, uint32_t w, enum kern_scale *scale,
                              enum kern_beta *beta, bool *sgd) {
    *sgd = harness_pick(&n->h, 0, 1);
    *scale = *sgd ? KERN_SCALE_ONE : KERN_SCALE_NEG_LR;
    *beta = *sgd ? KERN_BETA_ZERO : (enum kern_beta)harness_pick(&n->h, 1, 2);
    return *sgd ? harness_f32(&n->h, n->h.buffers[w].count) : w;
}
static void add_sgd(struct net *n, uint32_t w, uint32_t g) {
    struct harness *h = &n->h;
    const uint32_t count = h->buffers[w].count, v = harness_f32(h, count);
    harness_instr(h, KERN_CLIP_NORM, (uint32_t[]){g}, 1)->u.clip = (struct kern_clip){count, 0.5f};
    harness_instr(h, KERN_SGD, (uint32_t[]){w, g, v}, 3)->u.sgd = (struct kern_sgd){
        .count = count, .momentum = 0.9f, .weight_decay = 0.01f, .nesterov = harness_pick(h, 0, 1)};
}

static void add_bias_update(struct net *n, const struct layer *l, uint32_t dz, uint32_t cols) {
    struct kern_rows v = {.cols = cols, .rows = n->h.buffers[dz].count / cols};
    bool sgd;
    v.weight_decay = 0.25f;
    const uint32_t g = update_target(n, l->bias, &v.scale, &v.beta, &sgd);
    harness_instr(&n->h, KERN_BIAS_GRAD, (uint32_t[]){dz, g}, 2)->u.rows = v;
    if (sgd)
        add_sgd(n, l->bias, g);
}

/* dz: the gradient before bias and activation. dX comes first: the update changes the weights. */
static uint32_t weights_backward(struct net *n, const struct layer *l, uint32_t dz) {
    struct harness *h = &n->h;
    const uint32_t dx = harness_f32(h, l->in);
    bool sgd;
    if (l->kind == DENSE) {
        const uint32_t in = l->in / n->batch, out = l->out / n->batch;
        struct kern_gemm g = {.m = in, .n = out, .k = n->batch, .trans_a = true};
        harness_instr(h, KERN_GEMM, (uint32_t[]){dz, l->w, dx}, 3)->u.gemm =
            (struct kern_gemm){.m = n->batch, .n = in, .k = out, .trans_b = true};
        g.weight_decay = 0.25f;
        const uint32_t to = update_target(n, l->w, &g.scale, &g.beta, &sgd);
        harness_instr(h, KERN_GEMM, (uint32_t[]){l->x, dz, to}, 3)->u.gemm = g;
        if (sgd)
            add_sgd(n, l->w, to);
    } else {
        struct kern_conv v = l->conv;
        v.act = KERN_ACT_NONE;
        v.weight_decay = 0.25f;
        harness_instr(h, KERN_CONV2D_DX, (uint32_t[]){dz, l->w, dx}, 3)->u.conv = v;
        const uint32_t to = update_target(n, l->w, &v.scale, &v.beta, &sgd);
        harness_instr(h, KERN_CONV2D_DW, (uint32_t[]){l->x, dz, to}, 3)->u.conv = v;
        if (sgd)
            add_sgd(n, l->w, to);
    }
    if (l->bias != KERN_NONE)
        add_bias_update(n, l, dz, l->kind == DENSE ? l->out / n->batch : l->conv.out_c);
    return dx;
}

/* Returns the gradient of the layer's input. */
static uint32_t add_backward(struct net *n, const struct layer *l, uint32_t dy) {
    struct harness *h = &n->h;
    const struct kern_conv *v = &l->conv;
    const uint32_t dx = harness_f32(h, l->in);
    switch (l->kind) {
    case POOL_MAX:
        harness_instr(h, KERN_POOL_MAX_DX, (uint32_t[]){dy, l->arg, dx}, 3)->u.pool = pool_of(l);
        return dx;
    case POOL_AVG:
        harness_instr(h, KERN_POOL_AVG_DX, (uint32_t[]){dy, dx}, 2)->u.pool = pool_of(l);
        return dx;
    case DROPOUT:
        harness_instr(h, KERN_DROPOUT, (uint32_t[]){dy, dx}, 2)->u.dropout =
            (struct kern_dropout){l->in, 0.25f, l->stream};
        return dx;
    case CONV:
    case CONV_POOL:
    case ACT:
    case DENSE:
    case KINDS:
    default:
        break;
    }
    uint32_t dz = harness_f32(h, l->out);
    harness_instr(h, KERN_ACT_DX, (uint32_t[]){l->y, dy, dz}, 3)->u.pointwise =
        (struct kern_pointwise){l->out, l->act, 0.1f};
    if (l->kind == ACT)
        return dz;
    if (l->kind == CONV_POOL) {
        const uint32_t whole = harness_f32(h, v->batch * v->out_h * v->out_w * v->out_c);
        harness_instr(h, KERN_POOL_MAX_DX, (uint32_t[]){dz, l->arg, whole}, 3)->u.pool = pool_of(l);
        dz = whole;
    }
    return weights_backward(n, l, dz);
}

static void net_init(struct net *n, uint64_t seed) {
    memset(n, 0, sizeof *n);
    harness_init(&n->h, seed, 4);
    struct harness *h = &n->h;
    n->batch = harness_pick(h, 1, 6);
    n->height = harness_pick(h, 1, 11);
    n->width = harness_pick(h, 1, 11);
    n->channels = harness_pick(h, 0, 1) ? 1 : harness_pick(h, 2, 12);
    const unsigned layers = harness_pick(h, 1, LAYERS_MAX);
    for (unsigned i = 0; i < layers; i++)
        add_layer(n, (enum kind)harness_pick(h, 0, KINDS - 1), 0);
    add_layer(n, DENSE, harness_pick(h, 2, 12));
    const struct layer *last = &n->layers[n->count - 1];
    const uint32_t classes = last->out / n->batch;
    uint32_t labels = harness_buffer(h, KERN_I32, KERN_ROLE_INPUT, n->batch);
    for (uint32_t r = 0; r < n->batch; r++)
        ((int32_t *)h->start[labels])[r] = (int32_t)harness_pick(h, 0, classes) - 1;
    uint32_t d = harness_f32(h, last->out);
    harness_instr(h, KERN_SOFTMAX_XENT, (uint32_t[]){last->y, labels, d, h->p.metric}, 4)->u.rows =
        (struct kern_rows){.rows = n->batch, .cols = classes};
    for (unsigned i = n->count; i > 0; i--)
        d = add_backward(n, &n->layers[i - 1], d);
    h->step.rows = n->batch < 4 ? n->batch : 4;
}

/* ---- Comparison ---- */

struct limit {
    unsigned out;    /* the operand compared, float */
    double k;        /* products a sum has; 0: none, the other two apply */
    double relative; /* of the reference's value */
    double absolute;
};

static struct limit limit_of(const struct kern_instr *in) {
    const struct kern_conv *v = &in->u.conv;
    const double transcendental =
        in->op == KERN_GEMM ? in->u.gemm.act > KERN_ACT_LEAKY_RELU : v->act > KERN_ACT_LEAKY_RELU;
    const double taps = (double)v->kernel_h * v->kernel_w;
    switch ((unsigned)in->op) {
    case KERN_GEMM:
        return (struct limit){2, in->u.gemm.k, 0, 1e-6 * transcendental};
    case KERN_CONV2D:
    case KERN_CONV2D_POOL:
        return (struct limit){2, taps * v->in_c, 0, 1e-6 * transcendental};
    case KERN_CONV2D_DX:
        return (struct limit){2, taps * v->out_c, 0, 0};
    case KERN_CONV2D_DW:
        return (struct limit){2, (double)v->batch * v->out_h * v->out_w, 0, 0};
    case KERN_BIAS_GRAD:
        return (struct limit){1, in->u.rows.rows, 0, 0};
    case KERN_POOL_AVG:
    case KERN_POOL_AVG_DX:
        return (struct limit){1, (double)in->u.pool.kernel_h * in->u.pool.kernel_w, 0, 0};
    case KERN_POOL_MAX:
    case KERN_DROPOUT:
        return (struct limit){1, 0, 0, 0};
    case KERN_POOL_MAX_DX: /* a sum where windows overlap */
        return (struct limit){2, (double)in->u.pool.kernel_h * in->u.pool.kernel_w, 0, 0};
    case KERN_ACT:
        return (struct limit){1, 0, 4e-6, 3e-7};
    case KERN_ACT_DX:
        return (struct limit){2, 0, 4e-7, 0};
    case KERN_SOFTMAX_XENT:
        return (struct limit){2, 0, 4e-6, 3e-7};
    default: /* SGD, CLIP_NORM */
        return (struct limit){0, 0, 1e-6, 1e-6};
    }
}

/* The instruction on absolute values, without activation and with scale 1: the sums that bound its
 * rounding. */
static void magnitudes(struct harness *h, struct kern_instr *in) {
    const struct kern_instr kept = *in;
    void *start[HARNESS_BUFFERS] = {NULL};
    for (unsigned a = 0; a < 5; a++) {
        const uint32_t b = in->args[a];
        if (b == KERN_NONE || h->buffers[b].dtype != KERN_F32)
            continue;
        if (!start[b])
            start[b] = mem_dup(h->start[b], h->buffers[b].count * sizeof(float));
        harness_abs(h, b);
    }
    if (in->op == KERN_GEMM)
        in->u.gemm.scale = KERN_SCALE_ONE, in->u.gemm.act = KERN_ACT_NONE;
    else if (in->op == KERN_BIAS_GRAD)
        in->u.rows.scale = KERN_SCALE_ONE;
    else if (in->op != KERN_POOL_AVG && in->op != KERN_POOL_AVG_DX && in->op != KERN_POOL_MAX_DX)
        in->u.conv.scale = KERN_SCALE_ONE, in->u.conv.act = KERN_ACT_NONE;
    harness_run(h, "ref");
    *in = kept;
    for (uint32_t b = 0; b < HARNESS_BUFFERS; b++)
        if (start[b]) {
            memcpy(h->start[b], start[b], h->buffers[b].count * sizeof(float));
            mem_free(start[b]);
        }
}

static size_t buffer_bytes(const struct kern_buffer *b) {
    return b->count * (b->dtype == KERN_F32 || b->dtype == KERN_I32 ? sizeof(float) : 1);
}

/* One instruction from the current state on both; the state becomes the reference's. */
static void one_instruction(struct harness *h, struct kern_instr *in, uint64_t seed) {
    const struct limit limit = limit_of(in);
    const uint32_t out = in->args[limit.out], n = h->buffers[out].count;
    void *after[HARNESS_BUFFERS];
    double metrics[KERN_METRIC_COUNT];
    h->p.instrs = in;
    h->p.instr_count = 1;
    harness_run(h, "ref");
    memcpy(metrics, h->metrics, sizeof metrics);
    for (uint32_t b = 0; b < h->p.buffer_count; b++)
        after[b] = mem_dup(h->result[b], buffer_bytes(&h->buffers[b]));
    harness_run(h, harness_backend());
    for (unsigned m = 0; m < KERN_METRIC_COUNT; m++)
        assert_true(fabs(metrics[m] - h->metrics[m]) <= 1e-5 * (fabs(metrics[m]) + 1.0));
    float *got = mem_dup(harness_result(h, out), n * sizeof(float));
    const float *want = after[out];
    if (limit.k > 0)
        magnitudes(h, in);
    const float *most = harness_result(h, out);
    for (uint32_t i = 0; i < n; i++) {
        const double bound = limit.relative * fabs((double)want[i]) + limit.absolute +
                             (limit.k > 0 ? 2.0 * (limit.k + 3.0) * EPS * (double)most[i] : 0.0) +
                             1e-37;
        if (!(fabs((double)got[i] - (double)want[i]) <= bound))
            fail_msg("seed %llu, %s: element %u of %u is %.9g, ref %.9g, bound %.3g",
                     (unsigned long long)seed, kern_op_name(in->op), i, n, (double)got[i],
                     (double)want[i], bound);
    }
    mem_free(got);
    for (uint32_t b = 0; b < h->p.buffer_count; b++) {
        memcpy(h->start[b], after[b], buffer_bytes(&h->buffers[b]));
        mem_free(after[b]);
    }
}

/* The whole program twice: all that is left after it has the same bits. */
static void same_bits(struct harness *h) {
    void *first[HARNESS_BUFFERS];
    harness_run(h, harness_backend());
    for (uint32_t b = 0; b < h->p.buffer_count; b++)
        first[b] = mem_dup(h->result[b], buffer_bytes(&h->buffers[b]));
    harness_run(h, harness_backend());
    for (uint32_t i = 0; i < h->p.instr_count; i++)
        for (unsigned a = 0; a < KERN_ARGS_MAX; a++) {
            const uint32_t b = h->instrs[i].args[a];
            if (b != KERN_NONE)
                assert_memory_equal(first[b], h->result[b], buffer_bytes(&h->buffers[b]));
        }
    for (uint32_t b = 0; b < h->p.buffer_count; b++)
        mem_free(first[b]);
}

static void test_random_training(void **state) {
    (void)state;
    static struct net n;
    unsigned ran[KERN_OP_COUNT] = {0};
    for (uint64_t i = 0; i < PROGRAMS; i++) {
        net_init(&n, test_seed() + i);
        struct harness *h = &n.h;
        const uint32_t count = h->p.instr_count;
        same_bits(h);
        for (uint32_t k = 0; k < count; k++) {
            ran[h->instrs[k].op]++;
            one_instruction(h, &h->instrs[k], test_seed() + i);
        }
        harness_deinit(h);
    }
    static const enum kern_op all[] = {
        KERN_GEMM,        KERN_CONV2D,       KERN_CONV2D_POOL, KERN_CONV2D_DX,
        KERN_CONV2D_DW,   KERN_POOL_MAX,     KERN_POOL_AVG,    KERN_POOL_MAX_DX,
        KERN_POOL_AVG_DX, KERN_ACT,          KERN_ACT_DX,      KERN_BIAS_GRAD,
        KERN_DROPOUT,     KERN_SOFTMAX_XENT, KERN_SGD,         KERN_CLIP_NORM};
    for (unsigned i = 0; i < ARRAY_LEN(all); i++)
        assert_true(ran[all[i]] > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_training)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
