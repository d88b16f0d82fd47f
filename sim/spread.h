/* Private to sim/: how evenly a model serves people: its accuracy on each natural key (writer,
 * speaker) of the test part. */
#ifndef SOTTO_SIM_SPREAD_H
#define SOTTO_SIM_SPREAD_H

#include <stdio.h>

#include "sim.h"

struct sim_spread {
    uint32_t keys;                  /* with at least one example */
    uint32_t *key, *seen, *correct; /* [keys], in ascending order of key */
    /* Of the keys' accuracies, each key counting the same; p10 is the nearest-rank percentile: a
     * tenth of the keys have at most that. */
    double mean, sd, min, p10, median;
};

/* Tests the run's last model; call when the run is over. A test part without keys gives none.
 * spread_deinit() frees, also after a failure. */
enum sotto_status spread_measure(struct sim *s, struct sim_spread *out, struct sotto_error *err);
void spread_deinit(struct sim_spread *p);
/* A line for people; an object with the statistics; a table with a row a key. */
void spread_print(const struct sim_spread *p, FILE *out);
void spread_json(const struct sim_spread *p, struct json *j);
enum sotto_status spread_write(const struct sim_spread *p, const struct experiment *x,
                               const char *path, struct sotto_error *err);

#endif
