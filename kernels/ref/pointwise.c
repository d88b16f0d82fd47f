/* Reference elementwise instructions, dropout and the optimizer. */
#include <math.h>

#include "sotto/base/rng.h"

#include "ref/ref.h"

float kern_act_value(enum kern_act act, float slope, float x) {
    switch (act) {
    case KERN_ACT_RELU:
        return x <= 0.0f ? 0.0f : x; /* NaN goes through */
    case KERN_ACT_LEAKY_RELU:
        return x > 0.0f ? x : slope * x;
    case KERN_ACT_SIGMOID:
        return (float)(1.0 / (1.0 + exp(-(double)x)));
    case KERN_ACT_TANH:
        return (float)tanh((double)x);
    case KERN_ACT_NONE:
    default:
        return x;
    }
}

float kern_act_slope(enum kern_act act, float slope, float y) {
    switch (act) {
    case KERN_ACT_RELU:
        return y > 0.0f ? 1.0f : 0.0f;
    case KERN_ACT_LEAKY_RELU:
        return y > 0.0f ? 1.0f : slope;
    case KERN_ACT_SIGMOID:
        return y * (1.0f - y);
    case KERN_ACT_TANH:
        return 1.0f - y * y;
    case KERN_ACT_NONE:
    default:
        return 1.0f;
    }
}

void kern_act_ref(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_pointwise *v = &in->u.pointwise;
    const float *x = kern_f32(c, in, 0);
    float *y = kern_f32(c, in, 1);
    for (uint32_t i = 0; i < v->count; i++)
        y[i] = kern_act_value(v->act, v->slope, x[i]);
}

void kern_act_dx_ref(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_pointwise *v = &in->u.pointwise;
    const float *y = kern_f32(c, in, 0), *dy = kern_f32(c, in, 1);
    float *dx = kern_f32(c, in, 2);
    for (uint32_t i = 0; i < v->count; i++)
        dx[i] = dy[i] * kern_act_slope(v->act, v->slope, y[i]);
}

void kern_add_ref(const struct kern_ctx *c, const struct kern_instr *in) {
    const float *x = kern_f32(c, in, 0), *y = kern_f32(c, in, 1);
    float *z = kern_f32(c, in, 2);
    for (uint32_t i = 0; i < in->u.pointwise.count; i++)
        z[i] = x[i] + y[i];
}

void kern_copy_ref(const struct kern_ctx *c, const struct kern_instr *in) {
    memcpy(kern_f32(c, in, 1), kern_f32(c, in, 0), in->u.pointwise.count * sizeof(float));
}

void kern_fill0_ref(const struct kern_ctx *c, const struct kern_instr *in) {
    memset(kern_f32(c, in, 0), 0, in->u.pointwise.count * sizeof(float));
}

/* Philox4x32-10 keyed by the step's seed: the rule in kernels.h. */
void kern_dropout_ref(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_dropout *v = &in->u.dropout;
    const float *x = kern_f32(c, in, 0);
    float *y = kern_f32(c, in, 1);
    const uint32_t key[2] = {(uint32_t)c->step->seed, (uint32_t)(c->step->seed >> 32)};
    uint32_t limit = (uint32_t)floor((double)v->rate * 4294967296.0);
    float keep = 1.0f / (1.0f - v->rate);
    for (uint32_t i = 0; i < v->count; i += 4) {
        const uint32_t ctr[4] = {i / 4, v->stream, c->step->index, 0};
        uint32_t word[4];
        rng_philox4x32(ctr, key, word);
        for (uint32_t j = 0; j < 4 && i + j < v->count; j++)
            y[i + j] = word[j] >= limit ? x[i + j] * keep : 0.0f;
    }
}

void kern_sgd_ref(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_sgd *s = &in->u.sgd;
    float *w = kern_f32(c, in, 0), *v = kern_f32(c, in, 2);
    const float *g = kern_f32(c, in, 1), *anchor = kern_f32(c, in, 3);
    float lr = c->step->lr;
    for (uint32_t i = 0; i < s->count; i++) {
        float d = g[i] + s->weight_decay * w[i];
        if (anchor)
            d += s->prox_mu * (w[i] - anchor[i]);
        if (v) {
            v[i] = s->momentum * v[i] + d;
            d = s->nesterov ? d + s->momentum * v[i] : v[i];
        }
        w[i] -= lr * d;
    }
}

void kern_clip_norm_ref(const struct kern_ctx *c, const struct kern_instr *in) {
    float *g = kern_f32(c, in, 0);
    double sum = 0.0;
    for (uint32_t i = 0; i < in->u.clip.count; i++)
        sum += (double)g[i] * (double)g[i];
    double norm = sqrt(sum);
    if (!(norm > (double)in->u.clip.max_norm))
        return;
    float factor = (float)((double)in->u.clip.max_norm / norm);
    for (uint32_t i = 0; i < in->u.clip.count; i++)
        g[i] *= factor;
}

void kern_quant_i8_ref(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_quant *v = &in->u.quant;
    const float *x = kern_f32(c, in, 0);
    int8_t *q = kern_ptr(c, in, 1);
    float *scale = kern_f32(c, in, 2);
    for (uint32_t ch = 0; ch < v->channels; ch++) {
        float most = 0.0f;
        for (size_t r = 0; r < v->rows; r++)
            most = fmaxf(most, fabsf(x[r * v->channels + ch]));
        scale[ch] = most > 0.0f ? most / 127.0f : 1.0f;
        /* A subnormal maximum rounds its scale to 0; then nothing is representable but zeros. */
        if (!(scale[ch] > 0.0f))
            scale[ch] = 1.0f;
        for (size_t r = 0; r < v->rows; r++) {
            float t = rintf(x[r * v->channels + ch] / scale[ch]);
            q[r * v->channels + ch] = (int8_t)(t > 127.0f ? 127.0f : t > -127.0f ? t : -127.0f);
        }
    }
}

void kern_dequant_i8_ref(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_quant *v = &in->u.quant;
    const int8_t *q = kern_ptr(c, in, 0);
    const float *scale = kern_f32(c, in, 1);
    float *x = kern_f32(c, in, 2);
    for (size_t r = 0; r < v->rows; r++)
        for (uint32_t ch = 0; ch < v->channels; ch++)
            x[r * v->channels + ch] = scale[ch] * (float)q[r * v->channels + ch];
}
