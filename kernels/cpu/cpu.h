/* The tables that the cpu backend chooses from. Rows without run are left to the reference. */
#ifndef SOTTO_KERN_CPU_H
#define SOTTO_KERN_CPU_H

#include "src/kern_int.h"

extern const struct kern_impl
    kern_ops_portable[KERN_OP_COUNT]; /* vector extensions, any processor */
#if defined(__x86_64__)
extern const struct kern_impl kern_ops_avx2[KERN_OP_COUNT];
#endif

#endif
