/* The NEON tiles for cores that run out of order. */
#if defined(__aarch64__)
#define TILE(name) name##_wide
#include "neon/tile_tpl.h"
#else
typedef int kern_neon_tile_wide_is_for_arm;
#endif
