/* Products of halves by FMLAL (A76's successors, A510): compiled for, and entered on, processors
 * with it only. */
#if defined(__aarch64__)
#define TILE(name) name##_fhm
#define F16_FHM    1
#include "neon/f16_tpl.h"
#else
typedef int kern_neon_f16_fhm_is_for_arm;
#endif
