/* The cpu kernels for x86 with AVX2 and FMA, entered only where the processor has both. */
#if defined(__x86_64__)
#define KERN_ISA_AVX2 1
#include "cpu/ops_tpl.h"
#else
typedef int kern_isa_avx2_is_for_x86;
#endif
