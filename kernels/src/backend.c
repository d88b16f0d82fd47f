/* The table of backends: one row each. */
#include "kern_int.h"

static const struct kern_backend *row(size_t i) {
    switch (i) {
    case 0:
        return kern_cpu();
    case 1:
        return &kern_ref;
    default:
        return NULL;
    }
}

const struct kern_backend *kern_backend_find(const char *name) {
    for (size_t i = 0; row(i); i++)
        if (strcmp(row(i)->name, name) == 0)
            return row(i);
    return NULL;
}

const char *kern_backend_name(const struct kern_backend *b) {
    return b->name;
}

size_t kern_backend_list(const struct kern_backend **out, size_t cap) {
    size_t n = 0;
    for (; row(n); n++)
        if (n < cap)
            out[n] = row(n);
    return n;
}

bool kern_backend_has(const struct kern_backend *b, enum kern_op op) {
    return (unsigned)op < KERN_OP_COUNT && b->ops[op].run;
}

const char *kern_backend_kernel_set(const struct kern_backend *b) {
    return b->kernel_set;
}
