/* The instructions that cpu/ writes once over vectors, compiled for NEON. */
#if defined(__aarch64__)
#define KERN_ISA_NEON 1
#include "cpu/ops_tpl.h"

#include "neon/neon.h"

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
