/* The instructions that cpu/ writes once over vectors, compiled for NEON. */
#if defined(__aarch64__)
#define KERN_ISA_NEON 1
#include "cpu/ops_tpl.h"
#else
typedef int kern_ops_neon_is_for_arm;
#endif
