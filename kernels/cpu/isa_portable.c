/* The cpu kernels for any processor but 64-bit Arm, which has neon/: the compiler lowers the
 * vectors to what the target has. */
#if !defined(__aarch64__)
#include "cpu/ops_tpl.h"
#else
typedef int kern_isa_portable_is_not_for_arm;
#endif
