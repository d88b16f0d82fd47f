/* The reference backend's table: complete, so that every other backend has something to fall back
 * on and agree with. */
#include "ref/ref.h"

const struct kern_backend kern_ref = {
    .name = "ref",
    .kernel_set = "ref/scalar",
    .ops =
        {
            [KERN_GEMM] = {kern_gemm_ref, NULL},
            [KERN_CONV2D] = {kern_conv2d_ref, NULL},
            [KERN_CONV2D_POOL] = {kern_conv2d_pool_ref, NULL},
            [KERN_CONV2D_DX] = {kern_conv2d_dx_ref, NULL},
            [KERN_CONV2D_DW] = {kern_conv2d_dw_ref, NULL},
            [KERN_POOL_MAX] = {kern_pool_max_ref, NULL},
            [KERN_POOL_MAX_DX] = {kern_pool_max_dx_ref, NULL},
            [KERN_POOL_AVG] = {kern_pool_avg_ref, NULL},
            [KERN_POOL_AVG_DX] = {kern_pool_avg_dx_ref, NULL},
            [KERN_ACT] = {kern_act_ref, NULL},
            [KERN_ACT_DX] = {kern_act_dx_ref, NULL},
            [KERN_BIAS_ADD] = {kern_bias_add_ref, NULL},
            [KERN_BIAS_GRAD] = {kern_bias_grad_ref, NULL},
            [KERN_ADD] = {kern_add_ref, NULL},
            [KERN_COPY] = {kern_copy_ref, NULL},
            [KERN_FILL0] = {kern_fill0_ref, NULL},
            [KERN_DROPOUT] = {kern_dropout_ref, NULL},
            [KERN_SOFTMAX] = {kern_softmax_ref, NULL},
            [KERN_SOFTMAX_XENT] = {kern_softmax_xent_ref, NULL},
            [KERN_SOFT_XENT] = {kern_soft_xent_ref, NULL},
            [KERN_SGD] = {kern_sgd_ref, NULL},
            [KERN_CLIP_NORM] = {kern_clip_norm_ref, NULL},
            [KERN_QUANT_I8] = {kern_quant_i8_ref, NULL},
            [KERN_DEQUANT_I8] = {kern_dequant_i8_ref, NULL},
            [KERN_GEMM_I8] = {kern_gemm_i8_ref, NULL},
            [KERN_GEMM_W8] = {kern_gemm_w8_ref, NULL},
            [KERN_GEMM_BF16] = {kern_gemm_bf16_ref, NULL},
            [KERN_GEMM_F16] = {kern_gemm_f16_ref, NULL},
        },
};
