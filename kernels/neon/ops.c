/* The instructions that cpu/ writes once over vectors, compiled for NEON: all but the products, and
 * the convolutions' backwards by lists of nonzero gradients. */
#if defined(__aarch64__)
#define KERN_ISA_NEON 1
#include "cpu/cpu.h"

#include "cpu/conv_back_tpl.h"

#include "cpu/pointwise_tpl.h"

#include "cpu/int8_tpl.h"

#include "neon/neon.h"

const struct kern_impl kern_ops_neon[KERN_OP_COUNT] = {
    [KERN_CONV2D_DX] = {conv2d_dx_neon, conv2d_dx_scratch_neon},
    [KERN_CONV2D_DW] = {conv2d_dw_neon, conv2d_dw_scratch_neon},
    [KERN_POOL_MAX] = {pool_max_neon, NULL},
    [KERN_POOL_MAX_DX] = {pool_max_dx_neon, NULL},
    [KERN_ACT] = {act_neon, NULL},
    [KERN_ACT_DX] = {act_dx_neon, NULL},
    [KERN_BIAS_ADD] = {bias_add_neon, NULL},
    [KERN_BIAS_GRAD] = {bias_grad_neon, NULL},
    [KERN_ADD] = {add_neon, NULL},
    [KERN_SOFTMAX] = {softmax_neon, NULL},
    [KERN_SOFTMAX_XENT] = {softmax_xent_neon, NULL},
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
