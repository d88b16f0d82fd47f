/* The NEON backend's table, filled once: what every 64-bit Arm has, then what this processor adds.
 */
#include "neon/neon.h"

#if defined(__aarch64__)
#include <pthread.h>

static struct kern_backend table = {.name = "neon", .kernel_set = "neon"};
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void override(const struct kern_impl *ops) {
    for (unsigned i = 0; i < KERN_OP_COUNT; i++)
        if (ops[i].run)
            table.ops[i] = ops[i];
}

static void fill(void) {
    override(kern_ops_neon);
}

const struct kern_backend *kern_neon(void) {
    pthread_once(&once, fill);
    return &table;
}
#endif
