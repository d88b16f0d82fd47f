/* The virtual clock: a binary heap of events. Time stands still between them. */
#include "vtime.h"

void vtime_init(struct vtime *q, uint64_t start_ms) {
    *q = (struct vtime){.now_ms = start_ms};
}

void vtime_deinit(struct vtime *q) {
    mem_free(q->heap);
    *q = (struct vtime){0};
}

static bool before(const struct vtime_event *a, const struct vtime_event *b) {
    if (a->at_ms != b->at_ms)
        return a->at_ms < b->at_ms;
    if (a->rank != b->rank)
        return a->rank < b->rank;
    if (a->order != b->order)
        return a->order < b->order;
    return a->number < b->number;
}

enum sotto_status vtime_add(struct vtime *q, const struct vtime_event *event,
                            struct sotto_error *err) {
    if (q->count == q->cap) {
        const size_t cap = q->cap ? q->cap * 2 : 256;
        struct vtime_event *grown = mem_resize(q->heap, cap, sizeof *grown);
        if (!grown)
            return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for %zu virtual events", cap);
        q->heap = grown;
        q->cap = cap;
    }
    struct vtime_event e = *event;
    e.number = q->added++;
    if (e.at_ms < q->now_ms)
        e.at_ms = q->now_ms;
    size_t i = q->count++;
    for (; i > 0 && before(&e, &q->heap[(i - 1) / 2]); i = (i - 1) / 2)
        q->heap[i] = q->heap[(i - 1) / 2];
    q->heap[i] = e;
    return SOTTO_OK;
}

bool vtime_next(struct vtime *q, struct vtime_event *out) {
    if (q->count == 0)
        return false;
    *out = q->heap[0];
    q->now_ms = out->at_ms;
    const struct vtime_event last = q->heap[--q->count];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < q->count; i = child) {
        if (child + 1 < q->count && before(&q->heap[child + 1], &q->heap[child]))
            child++;
        if (!before(&q->heap[child], &last))
            break;
        q->heap[i] = q->heap[child];
    }
    if (q->count > 0)
        q->heap[i] = last;
    return true;
}
