/* OpenBLAS behind three functions, for products large enough to be worth its packing. */
#ifdef SOTTO_HAVE_OPENBLAS
#include <cblas.h>
#include <stdio.h>

#include "cpu/cpu.h"

/* Every worker of ours is one thread and has its own products: threads of OpenBLAS would fight with
 * them, and the number of threads must not decide the order of a sum. */
void kern_blas_setup(void) {
    openblas_set_num_threads(1);
}

const char *kern_blas_version(void) {
    static char name[32];
    /* "OpenBLAS 0.3.21 NO_LAPACK DYNAMIC_ARCH ..." */
    int major = 0, minor = 0, patch = 0;
    if (sscanf(openblas_get_config(), "OpenBLAS %d.%d.%d", &major, &minor, &patch) == 3)
        snprintf(name, sizeof(name), "openblas-%d.%d.%d", major, minor, patch);
    else
        snprintf(name, sizeof(name), "openblas");
    return name;
}

void kern_blas_gemm(size_t m, size_t n, size_t k, bool trans_a, bool trans_b, float alpha,
                    const float *a, const float *b, float beta, float *c) {
    cblas_sgemm(CblasRowMajor, trans_a ? CblasTrans : CblasNoTrans,
                trans_b ? CblasTrans : CblasNoTrans, (blasint)m, (blasint)n, (blasint)k, alpha, a,
                (blasint)(trans_a ? m : k), b, (blasint)(trans_b ? k : n), beta, c, (blasint)n);
}
#else
typedef int kern_blas_is_not_built;
#endif
