/* The table of backends: one row each. */
#include <stdio.h>

#include "kern_int.h"

static const struct kern_backend *row(size_t i) {
    const struct kern_backend *const rows[] = {
        kern_cpu(),
        &kern_ref,
#ifdef SOTTO_HAVE_VULKAN
        &kern_vulkan,
#endif
    };
    return i < ARRAY_LEN(rows) ? rows[i] : NULL;
}

const struct kern_backend *kern_backend_host(void) {
    return kern_cpu();
}

const struct kern_backend *kern_backend_find(const char *name) {
    if (strcmp(name, "cpu") == 0)
        return kern_cpu();
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
    if ((unsigned)op >= KERN_OP_COUNT)
        return false;
    return b->device ? b->device->has(op) : b->ops[op].run != NULL;
}

bool kern_backend_available(const struct kern_backend *b) {
    return !b->device || b->device->ready(NULL) == SOTTO_OK;
}

bool kern_backend_is_device(const struct kern_backend *b) {
    return b->device != NULL;
}

const char *kern_backend_kernel_set(const struct kern_backend *b) {
    return b->device ? b->device->kernel_set() : b->kernel_set;
}

#ifndef SOTTO_HAVE_VULKAN
/* Built without devices: there are none, and that is said. */
static enum sotto_status not_built(struct sotto_error *err) {
    return SOTTO_FAIL(err, SOTTO_UNSUPPORTED, "this build has no Vulkan backend");
}

enum sotto_status kern_device_setup(const struct kern_device_options *o, struct sotto_error *err) {
    (void)o;
    (void)err;
    return SOTTO_OK;
}

size_t kern_device_list(struct kern_device_info *out, size_t cap, char *reason, size_t reason_cap) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    (void)out;
    (void)cap;
    (void)not_built(&err);
    if (reason && reason_cap)
        snprintf(reason, reason_cap, "%s", err.message);
    return 0;
}

enum sotto_status kern_device_test(struct sotto_error *err) {
    return not_built(err);
}
#endif
