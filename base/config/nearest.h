/* Did you mean ...? */
#ifndef SOTTO_CONFIG_NEAREST_H
#define SOTTO_CONFIG_NEAREST_H

#include <stddef.h>

/* Offers one candidate (len bytes) for word; *best (cap bytes, "" at first) and *distance (SIZE_MAX
 * at first) keep the nearest that is close enough to be a slip. */
void nearest_offer(const char *word, const char *candidate, size_t len, char *best, size_t cap,
                   size_t *distance);

#endif
