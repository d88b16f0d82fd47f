/* The cpu backend's table: the reference fills it, then what is faster on this processor takes
 * over. 64-bit Arm has neon/ in its place. */
#if !defined(__aarch64__)
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "cpu/cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>

/* Conversions of halves; not every compiler's __builtin_cpu_supports knows them. AVX state is the
 * caller's to ask for. */
static bool has_f16c(void) {
    unsigned eax, ebx, ecx, edx;
    return __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & bit_F16C);
}
#endif

static struct kern_backend table;
static char kernel_set[64];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void override(const struct kern_impl *ops) {
    for (unsigned i = 0; i < KERN_OP_COUNT; i++)
        if (ops[i].run)
            table.ops[i] = ops[i];
}

static void fill(void) {
    const char *isa = "portable";
    table = kern_ref;
    table.name = "cpu";
    override(kern_ops_portable);
#if defined(__x86_64__)
    /* SOTTO_KERNELS=portable rules the processor's own kernels out: for tests and comparison. */
    const char *only = getenv("SOTTO_KERNELS");
    bool any = !only || strcmp(only, "portable") != 0;
    if (any && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        isa = "avx2";
        override(kern_ops_avx2);
        if (!has_f16c())
            table.ops[KERN_GEMM_F16] = kern_ops_portable[KERN_GEMM_F16];
    }
#endif
#ifdef SOTTO_HAVE_OPENBLAS
    kern_blas_setup();
    snprintf(kernel_set, sizeof(kernel_set), "cpu/%s+%s", isa, kern_blas_version());
#else
    snprintf(kernel_set, sizeof(kernel_set), "cpu/%s", isa);
#endif
    table.kernel_set = kernel_set;
}

const struct kern_backend *kern_cpu(void) {
    pthread_once(&once, fill);
    return &table;
}
#else
typedef int kern_cpu_is_not_for_arm;
#endif
