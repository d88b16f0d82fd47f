/* The shaders' SPIR-V, compiled by glslc into the build folder. */
#include "vulkan/gpu.h"

static const uint32_t product_words[] =
#include "product.spv.h"
    ;
static const uint32_t conv_direct_words[] =
#include "conv_direct.spv.h"
    ;
static const uint32_t sum_parts_words[] =
#include "sum_parts.spv.h"
    ;
static const uint32_t pointwise_words[] =
#include "pointwise.spv.h"
    ;
static const uint32_t dropout_words[] =
#include "dropout.spv.h"
    ;
static const uint32_t pool_words[] =
#include "pool.spv.h"
    ;
static const uint32_t softmax_words[] =
#include "softmax.spv.h"
    ;
static const uint32_t xent_words[] =
#include "xent.spv.h"
    ;
static const uint32_t bias_grad_words[] =
#include "bias_grad.spv.h"
    ;
static const uint32_t sgd_words[] =
#include "sgd.spv.h"
    ;
static const uint32_t clip_norm_words[] =
#include "clip_norm.spv.h"
    ;
static const uint32_t quant_words[] =
#include "quant.spv.h"
    ;
static const uint32_t gemm_i8_words[] =
#include "gemm_i8.spv.h"
    ;
static const uint32_t gemm_i8_dot_words[] =
#include "gemm_i8_dot.spv.h"
    ;
static const uint32_t half_words[] =
#include "half.spv.h"
    ;
static const uint32_t product_half_words[] =
#include "product_half.spv.h"
    ;

const struct gpu_spirv gpu_shaders[GPU_SHADER_COUNT] = {
#define ROW(name, file) {#file, file##_words, sizeof(file##_words)},
    GPU_SHADER_MAP(ROW)
#undef ROW
};

/* FNV-1a over all words. */
uint64_t gpu_shaders_hash(void) {
    uint64_t h = 0xcbf29ce484222325u;
    for (unsigned s = 0; s < GPU_SHADER_COUNT; s++)
        for (size_t i = 0; i < gpu_shaders[s].bytes / sizeof(uint32_t); i++)
            h = (h ^ gpu_shaders[s].words[i]) * 0x100000001b3u;
    return h;
}
