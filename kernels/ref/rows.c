/* Reference instructions over rows: bias, softmax and the losses. */
#include <math.h>

#include "ref/ref.h"

void kern_bias_add_ref(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_rows *v = &in->u.rows;
    const float *x = kern_f32(c, in, 0), *bias = kern_f32(c, in, 1);
    float *y = kern_f32(c, in, 2);
    for (size_t r = 0; r < v->rows; r++)
        for (size_t j = 0; j < v->cols; j++)
            y[r * v->cols + j] = x[r * v->cols + j] + bias[j];
}

void kern_bias_grad_ref(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_rows *v = &in->u.rows;
    const float *dy = kern_f32(c, in, 0);
    float *db = kern_f32(c, in, 1);
    float scale = kern_scale_of(c, v->scale), beta = kern_beta_of(c, v->beta, v->weight_decay);
    for (size_t j = 0; j < v->cols; j++) {
        double sum = 0.0;
        for (size_t r = 0; r < v->rows; r++)
            sum += (double)dy[r * v->cols + j];
        kern_put(&db[j], sum, scale, beta);
    }
}

/* log(sum(exp(x / t))), with the largest taken out first. */
static double log_sum_exp(const float *x, uint32_t n, double t) {
    double most = (double)x[kern_arg_max(x, n)] / t, sum = 0.0;
    for (uint32_t i = 0; i < n; i++)
        sum += exp((double)x[i] / t - most);
    return most + log(sum);
}

void kern_softmax_ref(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_rows *v = &in->u.rows;
    const float *x = kern_f32(c, in, 0);
    float *y = kern_f32(c, in, 1);
    for (size_t r = 0; r < v->rows; r++, x += v->cols, y += v->cols) {
        double lse = log_sum_exp(x, v->cols, 1.0);
        for (uint32_t j = 0; j < v->cols; j++)
            y[j] = (float)exp((double)x[j] - lse);
    }
}

void kern_softmax_xent_ref(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_rows *v = &in->u.rows;
    const float *x = kern_f32(c, in, 0);
    const int32_t *labels = kern_ptr(c, in, 1);
    float *d = kern_f32(c, in, 2);
    uint32_t rows = c->step->rows < v->rows ? c->step->rows : v->rows;
    uint32_t valid = kern_count_valid(labels, rows, v->cols);
    double off = (double)v->label_smoothing / v->cols, on = 1.0 - (double)v->label_smoothing + off;
    for (uint32_t r = 0; r < v->rows; r++, x += v->cols) {
        bool counts = r < rows && labels[r] >= 0 && (uint32_t)labels[r] < v->cols;
        if (!counts) {
            if (d)
                memset(d + (size_t)r * v->cols, 0, v->cols * sizeof(*d));
            continue;
        }
        double lse = log_sum_exp(x, v->cols, 1.0), loss = 0.0;
        uint32_t label = (uint32_t)labels[r];
        bool correct = kern_arg_max(x, v->cols) == label;
        for (uint32_t j = 0; j < v->cols; j++) {
            double target = j == label ? on : off, log_p = (double)x[j] - lse;
            if (target > 0.0)
                loss -= target * log_p;
            if (d)
                d[(size_t)r * v->cols + j] = (float)((exp(log_p) - target) / valid);
        }
        c->metrics[KERN_METRIC_LOSS] += loss;
        c->metrics[KERN_METRIC_CORRECT] += correct;
        c->metrics[KERN_METRIC_SEEN] += 1.0;
    }
}

void kern_soft_xent_ref(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_rows *v = &in->u.rows;
    const float *x = kern_f32(c, in, 0), *target = kern_f32(c, in, 1);
    float *d = kern_f32(c, in, 2);
    uint32_t rows = c->step->rows < v->rows ? c->step->rows : v->rows;
    double t = (double)v->temperature;
    for (uint32_t r = 0; r < v->rows; r++, x += v->cols, target += v->cols) {
        if (r >= rows) {
            if (d)
                memset(d + (size_t)r * v->cols, 0, v->cols * sizeof(*d));
            continue;
        }
        double lse = log_sum_exp(x, v->cols, t), loss = 0.0;
        bool correct = kern_arg_max(x, v->cols) == kern_arg_max(target, v->cols);
        for (uint32_t j = 0; j < v->cols; j++) {
            double log_p = (double)x[j] / t - lse, q = (double)target[j];
            if (q > 0.0)
                loss -= q * log_p;
            if (d)
                d[(size_t)r * v->cols + j] = (float)(t * (exp(log_p) - q) / rows);
        }
        c->metrics[KERN_METRIC_LOSS] += t * t * loss;
        c->metrics[KERN_METRIC_CORRECT] += correct;
        c->metrics[KERN_METRIC_SEEN] += 1.0;
    }
}
