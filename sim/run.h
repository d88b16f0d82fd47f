/* Private to sim/: one experiment from its file to its results, as sotto-sim run and sweep make it.
 */
#ifndef SOTTO_SIM_RUN_H
#define SOTTO_SIM_RUN_H

#include <stdio.h>

#include "sim.h"

struct run_request {
    const char *file, *data; /* data: NULL, or the folder of data sets */
    const char *dir;         /* of the results; NULL: none */
    const char *const *sets;
    size_t set_count;
    struct sim_config config; /* callbacks are filled here */
    bool json, live, wire;
    FILE *out;
};
/* Makes the run and its files. With config.resume: goes on from a checkpoint, and a run that has
 * ended is only told of. A first SIGINT or SIGTERM ends it after its round, with a checkpoint
 * (CANCELLED). */
enum sotto_status run_experiment(const struct run_request *q, struct sotto_error *err);
/* Whether dir holds the results of a run of this config hash that has ended. */
bool run_has_ended(const char *dir, const char *config_hash);

/* Asked by a signal. */
bool run_stop_asked(void);
void run_catch_signals(void);

#endif
