/* Products of halves on cores that run in order, by widening: A35, A53, A55. */
#if defined(__aarch64__)
#define TILE(name)   name##_small
#define F16_IN_ORDER 1
#include "neon/f16_tpl.h"
#else
typedef int kern_neon_f16_small_is_for_arm;
#endif
