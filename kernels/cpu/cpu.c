/* The cpu backend's table: the reference fills it, then what is faster on this processor takes
 * over. */
#include <pthread.h>

#include "src/kern_int.h"

static struct kern_backend table;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void fill(void) {
    table = kern_ref;
    table.name = "cpu";
    table.kernel_set = "cpu/scalar";
}

const struct kern_backend *kern_cpu(void) {
    pthread_once(&once, fill);
    return &table;
}
