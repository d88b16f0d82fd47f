/* The tables that the cpu backend chooses from. Rows without run are left to the reference. */
#ifndef SOTTO_KERN_CPU_H
#define SOTTO_KERN_CPU_H

#include "src/kern_int.h"

extern const struct kern_impl
    kern_ops_portable[KERN_OP_COUNT]; /* vector extensions, any processor */
#if defined(__x86_64__)
extern const struct kern_impl kern_ops_avx2[KERN_OP_COUNT];
#endif

#ifdef SOTTO_HAVE_OPENBLAS
/* C[m][n] = alpha op(A) op(B) + beta C on one thread; C is not read when beta is 0. */
void kern_blas_gemm(size_t m, size_t n, size_t k, bool trans_a, bool trans_b, float alpha,
                    const float *a, const float *b, float beta, float *c);
void kern_blas_setup(void);          /* one thread, once */
const char *kern_blas_version(void); /* "openblas-0.3.21" */
#endif

/* The reference's activation of one value. */
float kern_act_value(enum kern_act act, float slope, float x);

#endif
