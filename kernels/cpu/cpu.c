/* The cpu backend's table: the reference fills it, then what is faster on this processor takes
 * over. */
#include <pthread.h>
#include <stdlib.h>

#include "cpu/cpu.h"

static struct kern_backend table;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void override(const struct kern_impl *ops) {
    for (unsigned i = 0; i < KERN_OP_COUNT; i++)
        if (ops[i].run)
            table.ops[i] = ops[i];
}

static void fill(void) {
    table = kern_ref;
    table.name = "cpu";
    table.kernel_set = "cpu/portable";
    override(kern_ops_portable);
    /* SOTTO_KERNELS=portable leaves it at that: for tests, and to rule a processor's own kernels
     * out. */
    const char *only = getenv("SOTTO_KERNELS");
    if (only && strcmp(only, "portable") == 0)
        return;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        table.kernel_set = "cpu/avx2";
        override(kern_ops_avx2);
    }
#endif
}

const struct kern_backend *kern_cpu(void) {
    pthread_once(&once, fill);
    return &table;
}
