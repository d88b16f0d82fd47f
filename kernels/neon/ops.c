/* The instructions that cpu/ writes once over vectors, compiled for NEON: all but the products, and
 * the convolutions' backwards by lists of nonzero gradients. */
#if defined(__aarch64__)
#define KERN_ISA_NEON 1
#include "cpu/cpu.h"

#include "cpu/conv_back_tpl.h"

#include "cpu/pointwise_tpl.h"

#include "cpu/pool_avg_tpl.h"

#include "cpu/loss_tpl.h"

#include "cpu/int8_tpl.h"

#include "neon/neon.h"

#define DROPOUT_WORDS 256

/* Words of the reference's stream, a few at a time; kept elements are multiplied, as there. */
static void dropout_neon(const struct kern_ctx *c, const struct kern_instr *in) {
    const struct kern_dropout *v = &in->u.dropout;
    const float *x = kern_f32(c, in, 0);
    float *y = kern_f32(c, in, 1);
    const uint32_t key[2] = {(uint32_t)c->step->seed, (uint32_t)(c->step->seed >> 32)};
    const uint32x4_t limit = vdupq_n_u32((uint32_t)floor((double)v->rate * 4294967296.0));
    const float32x4_t factor = vdupq_n_f32(1.0f / (1.0f - v->rate));
    uint32_t words[DROPOUT_WORDS];
    for (uint32_t at = 0, n; at < v->count; at += n) {
        const uint32_t ctr[4] = {at / 4, v->stream, c->step->index, 0};
        n = v->count - at < DROPOUT_WORDS ? v->count - at : DROPOUT_WORDS;
        vec_philox_u32(words, (n + 3) / 4, ctr, key);
        uint32_t i = 0;
        for (; i + 4 <= n; i += 4) {
            const uint32x4_t keep = vcgeq_u32(vld1q_u32(words + i), limit);
            const float32x4_t kept = vmulq_f32(vld1q_f32(x + at + i), factor);
            vst1q_f32(y + at + i,
                      vreinterpretq_f32_u32(vandq_u32(keep, vreinterpretq_u32_f32(kept))));
        }
        for (; i < n; i++)
            y[at + i] =
                words[i] >= vgetq_lane_u32(limit, 0) ? x[at + i] * vgetq_lane_f32(factor, 0) : 0.0f;
    }
}

const struct kern_impl kern_ops_neon[KERN_OP_COUNT] = {
    [KERN_CONV2D_DX] = {conv2d_dx_neon, conv2d_dx_scratch_neon},
    [KERN_CONV2D_DW] = {conv2d_dw_neon, conv2d_dw_scratch_neon},
    [KERN_POOL_MAX] = {pool_max_neon, NULL},
    [KERN_POOL_MAX_DX] = {pool_max_dx_neon, NULL},
    [KERN_POOL_AVG] = {pool_avg_neon, NULL},
    [KERN_POOL_AVG_DX] = {pool_avg_dx_neon, NULL},
    [KERN_ACT] = {act_neon, NULL},
    [KERN_ACT_DX] = {act_dx_neon, NULL},
    [KERN_BIAS_ADD] = {bias_add_neon, NULL},
    [KERN_BIAS_GRAD] = {bias_grad_neon, NULL},
    [KERN_ADD] = {add_neon, NULL},
    [KERN_DROPOUT] = {dropout_neon, NULL},
    [KERN_SOFTMAX] = {softmax_neon, NULL},
    [KERN_SOFTMAX_XENT] = {softmax_xent_neon, NULL},
    [KERN_SOFT_XENT] = {soft_xent_neon, NULL},
    [KERN_SGD] = {sgd_neon, NULL},
    [KERN_CLIP_NORM] = {clip_norm_neon, NULL},
    [KERN_QUANT_I8] = {quant_i8_neon, NULL},
    [KERN_DEQUANT_I8] = {dequant_i8_neon, NULL},
};

void neon_act_values(enum kern_act act, float slope, const float *x, float *y, size_t n) {
    act_values_neon(act, slope, x, y, n);
}

void neon_pool_images(const struct kern_conv *v, uint32_t images, const float *x, float *y,
                      uint8_t *arg) {
    conv_pool_images_max_neon(v, images, x, y, arg);
}
#else
typedef int kern_ops_neon_is_for_arm;
#endif
