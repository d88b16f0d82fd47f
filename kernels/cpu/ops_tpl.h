/* Everything the cpu backend does itself, compiled for one instruction set: the file that includes
 * this says which. */
#include "cpu/cpu.h"

#include "cpu/tile_tpl.h"

#include "cpu/gemm_tpl.h"

#include "cpu/conv_tpl.h"

#include "cpu/conv_back_tpl.h"

#include "cpu/pointwise_tpl.h"

#include "cpu/pool_avg_tpl.h"

#include "cpu/loss_tpl.h"

#include "cpu/int8_tpl.h"

#include "cpu/half_tpl.h"

const struct kern_impl NAME(kern_ops)[KERN_OP_COUNT] = {
    [KERN_GEMM] = {NAME(gemm), NAME(gemm_scratch)},
    [KERN_CONV2D] = {NAME(conv2d), NAME(conv2d_scratch)},
    [KERN_CONV2D_POOL] = {NAME(conv2d_pool), NAME(conv2d_pool_scratch)},
    [KERN_CONV2D_DX] = {NAME(conv2d_dx), NAME(conv2d_dx_scratch)},
    [KERN_CONV2D_DW] = {NAME(conv2d_dw), NAME(conv2d_dw_scratch)},
    [KERN_POOL_MAX] = {NAME(pool_max), NULL},
    [KERN_POOL_MAX_DX] = {NAME(pool_max_dx), NULL},
    [KERN_POOL_AVG] = {NAME(pool_avg), NULL},
    [KERN_POOL_AVG_DX] = {NAME(pool_avg_dx), NULL},
    [KERN_ACT] = {NAME(act), NULL},
    [KERN_ACT_DX] = {NAME(act_dx), NULL},
    [KERN_BIAS_ADD] = {NAME(bias_add), NULL},
    [KERN_BIAS_GRAD] = {NAME(bias_grad), NULL},
    [KERN_ADD] = {NAME(add), NULL},
#ifdef KERN_ISA_AVX2
    [KERN_DROPOUT] = {dropout_avx2, NULL},
#endif
    [KERN_SOFTMAX] = {NAME(softmax), NULL},
    [KERN_SOFTMAX_XENT] = {NAME(softmax_xent), NULL},
    [KERN_SOFT_XENT] = {NAME(soft_xent), NULL},
    [KERN_SGD] = {NAME(sgd), NULL},
    [KERN_CLIP_NORM] = {NAME(clip_norm), NULL},
    [KERN_QUANT_I8] = {NAME(quant_i8), NULL},
    [KERN_DEQUANT_I8] = {NAME(dequant_i8), NULL},
    [KERN_GEMM_I8] = {NAME(gemm_i8), NULL},
    [KERN_GEMM_W8] = {NAME(gemm_w8), NAME(gemm_w8_scratch)},
    [KERN_GEMM_F16] = {NAME(gemm_f16), NAME(gemm_short_scratch)}, /* AVX2: with F16C */
    [KERN_GEMM_BF16] = {NAME(gemm_bf16), NAME(gemm_short_scratch)},
};
