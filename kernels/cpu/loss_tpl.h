/* The losses: softmax and cross entropy, with classes or probabilities as targets. */
#ifndef SOTTO_KERN_LOSS_TPL_H
#define SOTTO_KERN_LOSS_TPL_H

#include "cpu/pointwise_tpl.h"

/* weight[i] (x[i] - most), summed over i, and the weights' own sum; what has no weight > 0 counts
 * for nothing, whatever x. Without weights each is 1. Lanes first, then across. */
TARGET static double NAME(logit_sum)(const float *x, const float *weight, size_t n, float most,
                                     double *weights) {
    vf sum = V_SET(0.0f), own = V_SET(0.0f);
#define LOGIT_BODY(LD, ST)                                                                         \
    const vf w = weight ? LD(weight) : (vf)V_SET(1.0f), t = w * (LD(x) - most);                    \
    sum += V_SELECT(w > 0.0f, t, V_SET(0.0f));                                                     \
    own += V_SELECT(w > 0.0f, w, V_SET(0.0f));
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        LOGIT_BODY(V_LD, V_ST)
    }
#undef LOGIT_BODY
    double total = 0.0, all = 0.0;
    for (unsigned l = 0; l < LANES; l++) {
        total += (double)sum[l];
        all += (double)own[l];
    }
    for (; i < n; i++) {
        const float w = weight ? weight[i] : 1.0f;
        if (w > 0.0f) {
            total += (double)w * ((double)x[i] - (double)most);
            all += (double)w;
        }
    }
    *weights = all;
    return total;
}

/* Smoothed targets are off everywhere and 1 - smoothing + off at the label; they sum to 1, so
 * loss = log(sum of exponentials) - sum of target times logit, logits less their largest. */
TARGET static void NAME(softmax_xent)(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_rows *v = &in->u.rows;
    const float *x = kern_f32(c, in, 0);
    const int32_t *labels = kern_ptr(c, in, 1);
    float *d = kern_f32(c, in, 2);
    const uint32_t rows = c->step->rows < v->rows ? c->step->rows : v->rows;
    const uint32_t valid = kern_count_valid(labels, rows, v->cols);
    const double smoothing = (double)v->label_smoothing, off = smoothing / v->cols;
    double loss = 0.0, ones;
    uint32_t correct = 0;
    for (uint32_t r = 0; r < v->rows; r++, x += v->cols, d += d ? v->cols : 0) {
        if (r >= rows || labels[r] < 0 || (uint32_t)labels[r] >= v->cols) {
            if (d)
                memset(d, 0, v->cols * sizeof(*d));
            continue;
        }
        const uint32_t label = (uint32_t)labels[r], best = kern_arg_max(x, v->cols);
        const float most = x[best];
        /* All that is asked of x comes before d, which may be x. */
        double expected = ((double)x[label] - (double)most) * (1.0 - smoothing);
        if (smoothing > 0.0)
            expected += off * NAME(logit_sum)(x, NULL, v->cols, most, &ones);
        const double sum = NAME(exp_row)(x, d, v->cols, 1.0f, most);
        if (d) {
            const float factor = (float)(1.0 / (sum * valid)), shift = (float)(off / valid);
            float *y = d;
#define SHIFT_BODY(LD, ST) ST(y, LD(y) * factor - shift);
            V_EACH(v->cols, SHIFT_BODY)
            d[label] -= (float)((1.0 - smoothing) / valid);
        }
        loss += log(sum) - expected;
        correct += best == label;
    }
    c->metrics[KERN_METRIC_LOSS] += loss;
    c->metrics[KERN_METRIC_CORRECT] += (double)correct;
    c->metrics[KERN_METRIC_SEEN] += (double)valid;
}

/* The same with probabilities q as targets and logits over a temperature. */
TARGET static void NAME(soft_xent)(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_rows *v = &in->u.rows;
    const float *x = kern_f32(c, in, 0), *q = kern_f32(c, in, 1);
    float *d = kern_f32(c, in, 2);
    const uint32_t rows = c->step->rows < v->rows ? c->step->rows : v->rows;
    const double t = (double)v->temperature;
    for (uint32_t r = 0; r < v->rows; r++, x += v->cols, q += v->cols, d += d ? v->cols : 0) {
        if (r >= rows) {
            if (d)
                memset(d, 0, v->cols * sizeof(*d));
            continue;
        }
        const uint32_t best = kern_arg_max(x, v->cols);
        double weights, expected = NAME(logit_sum)(x, q, v->cols, x[best], &weights) / t;
        const double sum = NAME(exp_row)(x, d, v->cols, (float)(1.0 / t), x[best]);
        if (d) {
            const float factor = (float)(t / (sum * rows)), share = (float)(t / rows);
            float *y = d;
#define TARGET_BODY(LD, ST) ST(y, LD(y) * factor - LD(q) * share);
            V_EACH(v->cols, TARGET_BODY)
        }
        c->metrics[KERN_METRIC_LOSS] += t * t * (log(sum) * weights - expected);
        c->metrics[KERN_METRIC_CORRECT] += best == kern_arg_max(q, v->cols);
        c->metrics[KERN_METRIC_SEEN] += 1.0;
    }
}

#endif
