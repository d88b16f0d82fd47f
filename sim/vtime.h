/* Private to sim/: the virtual clock, a queue of events in the order of their time. */
#ifndef SOTTO_SIM_VTIME_H
#define SOTTO_SIM_VTIME_H

#include "sotto/base.h"

/* Events of one moment come by rank (small first), then by order, then as they were added. */
struct vtime_event {
    uint64_t at_ms;
    uint32_t rank;
    uint32_t kind; /* the user's */
    uint64_t order;
    uint64_t number; /* filled by add */
    uint32_t device; /* the user's, as the two below */
    uint64_t tag;
    void *data;
};
struct vtime {
    uint64_t now_ms; /* of the event taken last */
    struct vtime_event *heap;
    size_t count, cap;
    uint64_t added;
};
void vtime_init(struct vtime *q, uint64_t start_ms);
void vtime_deinit(struct vtime *q);
/* An event before now comes at now. NOMEM. */
enum sotto_status vtime_add(struct vtime *q, const struct vtime_event *event,
                            struct sotto_error *err);
/* Takes the next event and moves the clock to it; false when there is none. */
bool vtime_next(struct vtime *q, struct vtime_event *out);

#endif
