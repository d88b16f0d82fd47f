/* Products of halves on cores that run out of order, by widening. */
#if defined(__aarch64__)
#define TILE(name) name##_wide
#include "neon/f16_tpl.h"
#else
typedef int kern_neon_f16_wide_is_for_arm;
#endif
