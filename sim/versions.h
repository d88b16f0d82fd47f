/* Private to sim/: what rounds do with versions. What others see of them is in sim.h. */
#ifndef SOTTO_SIM_VERSIONS_H
#define SOTTO_SIM_VERSIONS_H

#include "sim.h"

/* list[at] = *h; the list grows. SOTTO_NOMEM. */
enum sotto_status sim_hash_put(struct wire_hash **list, size_t *cap, size_t at,
                               const struct wire_hash *h, struct sotto_error *err);
/* What a server step made becomes the current version; a is emptied of it. SOTTO_NOMEM, and what
 * decoding its package says. */
enum sotto_status sim_publish(struct sim *s, struct advance_out *a, struct sotto_error *err);
/* Its validation, if it is the best so far. */
void sim_note_best(struct sim *s, const struct advance_out *a);

#endif
