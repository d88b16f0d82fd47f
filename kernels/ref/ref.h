/* The reference backend's kernels: plain loops that follow the definitions, sums in double. */
#ifndef SOTTO_KERN_REF_H
#define SOTTO_KERN_REF_H

#include "src/kern_int.h"

kern_fn kern_gemm_ref;
kern_fn kern_conv2d_ref;
kern_fn kern_conv2d_pool_ref;
kern_fn kern_conv2d_dx_ref;
kern_fn kern_conv2d_dw_ref;
kern_fn kern_pool_max_ref;
kern_fn kern_pool_max_dx_ref;
kern_fn kern_pool_avg_ref;
kern_fn kern_pool_avg_dx_ref;
kern_fn kern_act_ref;
kern_fn kern_act_dx_ref;
kern_fn kern_bias_add_ref;
kern_fn kern_bias_grad_ref;
kern_fn kern_add_ref;
kern_fn kern_copy_ref;
kern_fn kern_fill0_ref;
kern_fn kern_dropout_ref;
kern_fn kern_softmax_ref;
kern_fn kern_softmax_xent_ref;
kern_fn kern_soft_xent_ref;
kern_fn kern_sgd_ref;
kern_fn kern_clip_norm_ref;
kern_fn kern_quant_i8_ref;
kern_fn kern_dequant_i8_ref;
kern_fn kern_gemm_i8_ref;
kern_fn kern_gemm_w8_ref;
kern_fn kern_gemm_bf16_ref;
kern_fn kern_gemm_f16_ref;

/* y = act(x) for one value; the derivative from the output. */
float kern_act_value(enum kern_act act, float slope, float x);
float kern_act_slope(enum kern_act act, float slope, float y);

#endif
