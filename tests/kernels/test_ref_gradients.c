/* The reference's backwards against finite differences in double of a second implementation of the
 * forwards, written here from the definitions: for every instruction that computes a gradient. The
 * scalar that is differentiated is L = sum r[i] y[i] with fixed random r (for the losses, the
 * loss). */
#include "harness.h"

#include <math.h>
#include <string.h>

#define CASES  20
#define PROBES 12 /* coordinates checked a tensor */

/* A forward pass in double: y from x and w (either may be NULL). */
typedef void forward_fn(const struct kern_instr *in, const double *x, const double *w, double *y);

static double *to_double(const float *x, uint32_t n) {
    double *d = mem_array(n, sizeof(double));
    assert_non_null(d);
    for (uint32_t i = 0; i < n; i++)
        d[i] = (double)x[i];
    return d;
}

struct problem {
    forward_fn *forward;
    const struct kern_instr *in;
    double *x, *w, *y;
    const float *r;
    uint32_t x_n, w_n, y_n;
};

static double objective(const struct problem *p) {
    double sum = 0.0;
    p->forward(p->in, p->x, p->w, p->y);
    for (uint32_t i = 0; i < p->y_n; i++)
        sum += (double)p->r[i] * p->y[i];
    return sum;
}

/* dL/d(at[i]) by central differences, against what the instruction said. */
static void probe(struct harness *h, const struct problem *p, double *at, uint32_t n,
                  const float *got, double scale) {
    for (unsigned k = 0; k < PROBES; k++) {
        uint32_t i = harness_pick(h, 0, n - 1);
        const double step = 1e-5;
        double kept = at[i];
        at[i] = kept + step;
        double up = objective(p);
        at[i] = kept - step;
        double down = objective(p);
        at[i] = kept;
        double want = scale * (up - down) / (2.0 * step);
        if (!(fabs(want - (double)got[i]) <= 2e-5 * (fabs(want) + 1.0)))
            fail_msg("coordinate %u of %u: finite difference %g, instruction %g", i, n, want,
                     (double)got[i]);
    }
}

static void problem_free(struct problem *p) {
    mem_free(p->x);
    mem_free(p->w);
    mem_free(p->y);
}

/* ---- Forwards in double ---- */

static double act_double(enum kern_act act, double slope, double x) {
    switch (act) {
    case KERN_ACT_RELU:
        return x > 0 ? x : 0;
    case KERN_ACT_LEAKY_RELU:
        return x > 0 ? x : slope * x;
    case KERN_ACT_SIGMOID:
        return 1 / (1 + exp(-x));
    case KERN_ACT_TANH:
        return tanh(x);
    case KERN_ACT_NONE:
    default:
        return x;
    }
}

static void conv_double(const struct kern_instr *in, const double *x, const double *w, double *y) {
    const struct kern_conv *v = &in->u.conv;
    int ci = (int)(v->in_c / v->groups), co = (int)(v->out_c / v->groups);
    memset(y, 0, (size_t)v->batch * v->out_h * v->out_w * v->out_c * sizeof(*y));
    for (uint32_t o = 0; o < v->batch * v->out_h * v->out_w * v->out_c; o++) {
        int ch = (int)(o % v->out_c), ox = (int)(o / v->out_c % v->out_w);
        int oy = (int)(o / v->out_c / v->out_w % v->out_h);
        int b = (int)(o / v->out_c / v->out_w / v->out_h);
        for (int ky = 0; ky < (int)v->kernel_h; ky++)
            for (int kx = 0; kx < (int)v->kernel_w; kx++) {
                int iy = oy * (int)v->stride_h - (int)v->pad_top + ky;
                int ix = ox * (int)v->stride_w - (int)v->pad_left + kx;
                if (iy < 0 || ix < 0 || iy >= (int)v->in_h || ix >= (int)v->in_w)
                    continue;
                for (int i = 0; i < ci; i++)
                    y[o] += x[((b * (int)v->in_h + iy) * (int)v->in_w + ix) * (int)v->in_c +
                              ch / co * ci + i] *
                            w[((ky * (int)v->kernel_w + kx) * ci + i) * (int)v->out_c + ch];
            }
    }
}

/* gemm without transposes: y[m][n] = x[m][k] w[k][n]; attributes of the forward. */
static void gemm_double(const struct kern_instr *in, const double *x, const double *w, double *y) {
    const struct kern_gemm *g = &in->u.gemm;
    for (uint32_t i = 0; i < g->m; i++)
        for (uint32_t j = 0; j < g->n; j++) {
            double sum = 0;
            for (uint32_t k = 0; k < g->k; k++)
                sum += x[i * g->k + k] * w[k * g->n + j];
            y[i * g->n + j] = sum;
        }
}

static void act_forward_double(const struct kern_instr *in, const double *x, const double *w,
                               double *y) {
    (void)w;
    for (uint32_t i = 0; i < in->u.pointwise.count; i++)
        y[i] = act_double(in->u.pointwise.act, (double)in->u.pointwise.slope, x[i]);
}

static void bias_double(const struct kern_instr *in, const double *x, const double *w, double *y) {
    for (uint32_t i = 0; i < in->u.rows.rows * in->u.rows.cols; i++)
        y[i] = x[i] + w[i % in->u.rows.cols];
}

static void pool_double(const struct kern_instr *in, const double *x, bool max, double *y) {
    const struct kern_pool *v = &in->u.pool;
    for (uint32_t o = 0; o < v->batch * v->out_h * v->out_w * v->channels; o++) {
        int ch = (int)(o % v->channels), ox = (int)(o / v->channels % v->out_w);
        int oy = (int)(o / v->channels / v->out_w % v->out_h);
        int b = (int)(o / v->channels / v->out_w / v->out_h), n = 0;
        double most = -INFINITY, sum = 0;
        for (int ky = 0; ky < (int)v->kernel_h; ky++)
            for (int kx = 0; kx < (int)v->kernel_w; kx++) {
                int iy = oy * (int)v->stride_h - (int)v->pad_top + ky;
                int ix = ox * (int)v->stride_w - (int)v->pad_left + kx;
                if (iy < 0 || ix < 0 || iy >= (int)v->in_h || ix >= (int)v->in_w)
                    continue;
                double val =
                    x[((b * (int)v->in_h + iy) * (int)v->in_w + ix) * (int)v->channels + ch];
                most = fmax(most, val);
                sum += val;
                n++;
            }
        y[o] = max ? most : sum / n;
    }
}
static void pool_max_double(const struct kern_instr *in, const double *x, const double *w,
                            double *y) {
    (void)w;
    pool_double(in, x, true, y);
}
static void pool_avg_double(const struct kern_instr *in, const double *x, const double *w,
                            double *y) {
    (void)w;
    pool_double(in, x, false, y);
}

/* Mean loss over 3 rows; w holds the target distribution of each row. */
static void xent_double(const struct kern_instr *in, const double *x, const double *w, double *y) {
    const struct kern_rows *v = &in->u.rows;
    double t = in->op == KERN_SOFT_XENT ? (double)v->temperature : 1.0;
    y[0] = 0;
    for (uint32_t r = 0; r < v->rows; r++) {
        double sum = 0;
        for (uint32_t j = 0; j < v->cols; j++)
            sum += exp(x[r * v->cols + j] / t);
        for (uint32_t j = 0; j < v->cols; j++)
            y[0] -= t * t * w[r * v->cols + j] * (x[r * v->cols + j] / t - log(sum)) / v->rows;
    }
}

/* ---- Tests ---- */

static struct kern_conv random_conv(struct harness *h) {
    struct kern_conv v = {.batch = harness_pick(h, 1, 2), .groups = harness_pick(h, 1, 2)};
    v.kernel_h = harness_pick(h, 1, 3), v.kernel_w = harness_pick(h, 1, 4);
    v.stride_h = harness_pick(h, 1, 2), v.stride_w = harness_pick(h, 1, 3);
    v.pad_top = harness_pick(h, 0, v.kernel_h - 1), v.pad_left = harness_pick(h, 0, v.kernel_w - 1);
    v.out_h = harness_pick(h, 2, 4), v.out_w = harness_pick(h, 2, 4);
    v.in_h = (v.out_h - 1) * v.stride_h + harness_pick(h, 1, v.kernel_h + 1) - v.pad_top;
    v.in_w = (v.out_w - 1) * v.stride_w + harness_pick(h, 1, v.kernel_w + 1) - v.pad_left;
    v.in_h = v.in_h == 0 || v.in_h > 99 ? 1 : v.in_h;
    v.in_w = v.in_w == 0 || v.in_w > 99 ? 1 : v.in_w;
    v.in_c = v.groups * harness_pick(h, 1, 3), v.out_c = v.groups * harness_pick(h, 1, 4);
    /* The last window has to touch the input. */
    while ((v.out_h - 1) * v.stride_h >= v.in_h + v.pad_top)
        v.in_h++;
    while ((v.out_w - 1) * v.stride_w >= v.in_w + v.pad_left)
        v.in_w++;
    return v;
}

static void test_conv2d(void **state) {
    (void)state;
    for (uint64_t i = 0; i < CASES; i++) {
        struct harness h;
        harness_init(&h, test_seed() + i, 1);
        struct kern_conv v = random_conv(&h);
        struct problem p = {.forward = conv_double};
        p.x_n = v.batch * v.in_h * v.in_w * v.in_c;
        p.y_n = v.batch * v.out_h * v.out_w * v.out_c;
        p.w_n = v.kernel_h * v.kernel_w * v.in_c / v.groups * v.out_c;
        uint32_t x = harness_f32(&h, p.x_n), w = harness_f32(&h, p.w_n), y = harness_f32(&h, p.y_n);
        uint32_t r = harness_f32(&h, p.y_n), dx = harness_f32(&h, p.x_n);
        uint32_t dw = harness_f32(&h, p.w_n);
        p.in = harness_instr(&h, KERN_CONV2D, (uint32_t[]){x, w, y}, 3);
        h.instrs[0].u.conv = v;
        harness_instr(&h, KERN_CONV2D_DX, (uint32_t[]){r, w, dx}, 3)->u.conv = v;
        v.scale = KERN_SCALE_NEG_LR; /* the fused update of plain SGD: -lr times the gradient */
        harness_instr(&h, KERN_CONV2D_DW, (uint32_t[]){x, r, dw}, 3)->u.conv = v;
        harness_run(&h, "ref");
        p.x = to_double(harness_values(&h, x), p.x_n);
        p.w = to_double(harness_values(&h, w), p.w_n);
        p.y = mem_array(p.y_n, sizeof(double));
        p.r = harness_values(&h, r);
        conv_double(p.in, p.x, p.w, p.y);
        for (uint32_t e = 0; e < p.y_n; e++)
            assert_true(fabs(p.y[e] - (double)harness_result(&h, y)[e]) <= 1e-5);
        probe(&h, &p, p.x, p.x_n, harness_result(&h, dx), 1.0);
        probe(&h, &p, p.w, p.w_n, harness_result(&h, dw), -(double)h.step.lr);
        problem_free(&p);
        harness_deinit(&h);
    }
}

/* dX = dY W^T and dW = X^T dY with the transposes that a dense layer's backward uses. */
static void test_gemm(void **state) {
    (void)state;
    for (uint64_t i = 0; i < CASES; i++) {
        struct harness h;
        harness_init(&h, test_seed() + i, 1);
        struct kern_gemm g = {.m = harness_pick(&h, 1, 6), .n = harness_pick(&h, 1, 7)};
        g.k = harness_pick(&h, 1, 8);
        struct problem p = {.forward = gemm_double, .x_n = g.m * g.k, .w_n = g.k * g.n};
        p.y_n = g.m * g.n;
        uint32_t x = harness_f32(&h, p.x_n), w = harness_f32(&h, p.w_n), y = harness_f32(&h, p.y_n);
        uint32_t r = harness_f32(&h, p.y_n), dx = harness_f32(&h, p.x_n);
        uint32_t dw = harness_f32(&h, p.w_n);
        p.in = harness_instr(&h, KERN_GEMM, (uint32_t[]){x, w, y}, 3);
        h.instrs[0].u.gemm = g;
        harness_instr(&h, KERN_GEMM, (uint32_t[]){r, w, dx}, 3)->u.gemm =
            (struct kern_gemm){.m = g.m, .n = g.k, .k = g.n, .trans_b = true};
        harness_instr(&h, KERN_GEMM, (uint32_t[]){x, r, dw}, 3)->u.gemm =
            (struct kern_gemm){.m = g.k, .n = g.n, .k = g.m, .trans_a = true};
        harness_run(&h, "ref");
        p.x = to_double(harness_values(&h, x), p.x_n);
        p.w = to_double(harness_values(&h, w), p.w_n);
        p.y = mem_array(p.y_n, sizeof(double));
        p.r = harness_values(&h, r);
        probe(&h, &p, p.x, p.x_n, harness_result(&h, dx), 1.0);
        probe(&h, &p, p.w, p.w_n, harness_result(&h, dw), 1.0);
        problem_free(&p);
        harness_deinit(&h);
    }
}

static void test_act_and_bias(void **state) {
    (void)state;
    for (uint64_t i = 0; i < CASES; i++) {
        struct harness h;
        harness_init(&h, test_seed() + i, 1);
        struct kern_rows rows = {.rows = 4, .cols = harness_pick(&h, 1, 9)};
        uint32_t n = rows.rows * rows.cols, x = harness_f32(&h, n), y = harness_f32(&h, n);
        uint32_t r = harness_f32(&h, n), dx = harness_f32(&h, n);
        uint32_t bias = harness_f32(&h, rows.cols), sum = harness_f32(&h, n);
        uint32_t db = harness_f32(&h, rows.cols);
        struct kern_pointwise act = {n, (enum kern_act)(i % 5), 0.3f};
        harness_instr(&h, KERN_ACT, (uint32_t[]){x, y}, 2)->u.pointwise = act;
        harness_instr(&h, KERN_ACT_DX, (uint32_t[]){y, r, dx}, 3)->u.pointwise = act;
        harness_instr(&h, KERN_BIAS_ADD, (uint32_t[]){x, bias, sum}, 3)->u.rows = rows;
        harness_instr(&h, KERN_BIAS_GRAD, (uint32_t[]){r, db}, 2)->u.rows = rows;
        harness_run(&h, "ref");
        struct problem p = {.forward = act_forward_double, .in = &h.instrs[0], .y_n = n};
        p.x = to_double(harness_values(&h, x), n);
        p.w = to_double(harness_values(&h, bias), rows.cols);
        p.y = mem_array(n, sizeof(double));
        p.r = harness_values(&h, r);
        probe(&h, &p, p.x, n, harness_result(&h, dx), 1.0);
        p.forward = bias_double;
        p.in = &h.instrs[2];
        probe(&h, &p, p.w, rows.cols, harness_result(&h, db), 1.0);
        probe(&h, &p, p.x, n, harness_values(&h, r), 1.0);
        problem_free(&p);
        harness_deinit(&h);
    }
}

static void test_pool(void **state) {
    (void)state;
    for (uint64_t i = 0; i < CASES; i++) {
        struct harness h;
        harness_init(&h, test_seed() + i, 1);
        struct kern_conv c = random_conv(&h);
        struct kern_pool v = {c.batch,    c.in_h,     c.in_w,     c.in_c,
                              c.out_h,    c.out_w,    c.kernel_h, c.kernel_w,
                              c.stride_h, c.stride_w, c.pad_top,  c.pad_left};
        uint32_t x_n = c.batch * c.in_h * c.in_w * c.in_c, n = c.batch * c.out_h * c.out_w * c.in_c;
        uint32_t x = harness_f32(&h, x_n), y = harness_f32(&h, n), r = harness_f32(&h, n);
        uint32_t arg = harness_buffer(&h, KERN_U8, KERN_ROLE_TEMP, n);
        uint32_t dmax = harness_f32(&h, x_n), davg = harness_f32(&h, x_n);
        harness_instr(&h, KERN_POOL_MAX, (uint32_t[]){x, y, arg}, 3)->u.pool = v;
        harness_instr(&h, KERN_POOL_MAX_DX, (uint32_t[]){r, arg, dmax}, 3)->u.pool = v;
        harness_instr(&h, KERN_POOL_AVG, (uint32_t[]){x, y}, 2)->u.pool = v;
        harness_instr(&h, KERN_POOL_AVG_DX, (uint32_t[]){r, davg}, 2)->u.pool = v;
        harness_run(&h, "ref");
        struct problem p = {.forward = pool_max_double, .in = &h.instrs[0], .y_n = n};
        p.x = to_double(harness_values(&h, x), x_n);
        p.y = mem_array(n, sizeof(double));
        p.r = harness_values(&h, r);
        probe(&h, &p, p.x, x_n, harness_result(&h, dmax), 1.0);
        p.forward = pool_avg_double;
        probe(&h, &p, p.x, x_n, harness_result(&h, davg), 1.0);
        problem_free(&p);
        harness_deinit(&h);
    }
}

/* Gradient and metric of both losses; label smoothing and temperature are in them. */
static void test_losses(void **state) {
    (void)state;
    static const float one = 1.0f;
    for (uint64_t i = 0; i < CASES; i++) {
        struct harness h;
        harness_init(&h, test_seed() + i, 3);
        struct kern_rows v = {.rows = 3, .cols = harness_pick(&h, 2, 9), .temperature = 2.5f};
        v.label_smoothing = i % 2 ? 0.1f : 0.0f;
        uint32_t n = 3 * v.cols, x = harness_f32(&h, n), d = harness_f32(&h, n);
        uint32_t targets = harness_f32(&h, n);
        uint32_t labels = harness_buffer(&h, KERN_I32, KERN_ROLE_INPUT, 3);
        harness_abs(&h, targets);
        bool soft = i % 3 == 0;
        double *w = to_double(harness_values(&h, targets), n);
        for (uint32_t r = 0; r < 3; r++) {
            double sum = 0;
            uint32_t label = harness_pick(&h, 0, v.cols - 1);
            ((int32_t *)h.start[labels])[r] = (int32_t)label;
            for (uint32_t j = 0; j < v.cols; j++)
                sum += w[r * v.cols + j];
            for (uint32_t j = 0; j < v.cols; j++) {
                double *at = &w[r * v.cols + j];
                double eps = (double)v.label_smoothing;
                *at = soft ? *at / sum : (j == label) * (1 - eps) + eps / v.cols;
                harness_values(&h, targets)[r * v.cols + j] = (float)*at;
                if (soft)
                    *at = (double)harness_values(&h, targets)[r * v.cols + j];
            }
        }
        const uint32_t args[] = {x, soft ? targets : labels, d, h.p.metric};
        harness_instr(&h, soft ? KERN_SOFT_XENT : KERN_SOFTMAX_XENT, args, 4)->u.rows = v;
        harness_run(&h, "ref");
        struct problem p = {.forward = xent_double, .in = &h.instrs[0], .y_n = 1, .r = &one};
        p.x = to_double(harness_values(&h, x), n);
        p.w = w;
        p.y = mem_array(1, sizeof(double));
        double loss = objective(&p) * 3;
        assert_true(fabs(loss - h.metrics[KERN_METRIC_LOSS]) <= 1e-5 * loss);
        probe(&h, &p, p.x, n, harness_result(&h, d), 1.0);
        problem_free(&p);
        harness_deinit(&h);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conv2d),       cmocka_unit_test(test_gemm),
        cmocka_unit_test(test_act_and_bias), cmocka_unit_test(test_pool),
        cmocka_unit_test(test_losses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
