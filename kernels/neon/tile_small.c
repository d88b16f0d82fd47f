/* The NEON tiles for cores that run in order: A35, A53, A55, A510. */
#if defined(__aarch64__)
#define TILE(name)    name##_small
#define TILE_IN_ORDER 1
#include "neon/tile_tpl.h"
#else
typedef int kern_neon_tile_small_is_for_arm;
#endif
