/* The devices a task may select: a sorted array of serials with the time each was last seen. */
#include "round/round_int.h"

#include <string.h>

/* Position of serial, or where it would stand. */
static uint32_t device_position(const struct round_engine *e, uint64_t serial) {
    uint32_t low = 0, high = e->device_count;
    /* Serials are mostly added in ascending order. */
    if (high > 0 && e->devices[high - 1].serial < serial)
        return high;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (e->devices[middle].serial < serial)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct device *device_find(const struct round_engine *e, uint64_t serial) {
    uint32_t at = device_position(e, serial);
    return at < e->device_count && e->devices[at].serial == serial ? &e->devices[at] : NULL;
}

enum sotto_status device_add(struct round_engine *e, uint64_t serial, uint64_t seen_ms,
                             struct sotto_error *err) {
    uint32_t at = device_position(e, serial);
    e->seen_changed = true;
    if (at < e->device_count && e->devices[at].serial == serial) {
        e->devices[at].seen_ms = num_max_u64(e->devices[at].seen_ms, seen_ms);
        return SOTTO_OK;
    }
    if (e->device_count == ROUND_DEVICES_MAX)
        return SOTTO_FAIL(err, SOTTO_LIMIT, "a task has at most %u devices", ROUND_DEVICES_MAX);
    if (e->device_count == e->device_cap) {
        uint32_t cap = e->device_cap ? e->device_cap * 2 : 64;
        struct device *grown = mem_resize(e->devices, cap, sizeof *grown);
        if (!grown)
            return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for %u devices", cap);
        e->devices = grown;
        e->device_cap = cap;
    }
    memmove(&e->devices[at + 1], &e->devices[at], (e->device_count - at) * sizeof *e->devices);
    e->devices[at] = (struct device){serial, seen_ms};
    e->device_count++;
    return SOTTO_OK;
}

void device_remove(struct round_engine *e, uint64_t serial) {
    struct device *d = device_find(e, serial);
    if (!d)
        return;
    size_t at = (size_t)(d - e->devices);
    memmove(d, d + 1, (e->device_count - at - 1) * sizeof *d);
    e->device_count--;
}

bool device_seen(struct round_engine *e, uint64_t serial) {
    struct device *d = device_find(e, serial);
    if (!d)
        return false;
    d->seen_ms = e->now_ms;
    e->seen_changed = true;
    return true;
}

static bool is_available(const struct round_engine *e, const struct device *d) {
    uint64_t within = e->config->availability_ms;
    return within == 0 || e->now_ms <= d->seen_ms || e->now_ms - d->seen_ms <= within;
}

uint32_t device_available(const struct round_engine *e) {
    if (e->config->availability_ms == 0)
        return e->device_count;
    uint32_t n = 0;
    for (uint32_t i = 0; i < e->device_count; i++)
        n += is_available(e, &e->devices[i]);
    return n;
}

uint32_t device_list_available(const struct round_engine *e, uint64_t *out) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < e->device_count; i++)
        if (is_available(e, &e->devices[i]))
            out[n++] = e->devices[i].serial;
    return n;
}

uint32_t round_device_count(const struct round_engine *e) {
    return e->device_count;
}
