/* Private to sim/: sotto-sim sweep: one experiment with many settings and seeds. */
#ifndef SOTTO_SIM_SWEEP_H
#define SOTTO_SIM_SWEEP_H

#include <stdio.h>

#include "sotto/config.h"

#define SWEEP_RUNS_MAX  4096u
#define SWEEP_SETS_MAX  32u /* of one run, its seed included */
#define SWEEP_KEY_MAX   128u
#define SWEEP_TEXT_MAX  256u /* of "key=value" */
#define SWEEP_NAME_MAX  160u
#define SWEEP_GRIDS_MAX 16u

/* A sweep file. */
struct sweep_settings {
    char *experiment, *out;
    struct config_list_u64 seeds;
    struct config_list_str targets;
    struct config_node *grid, *list, *set;
};
extern const struct config_option sweep_options[];

struct sweep_run {
    char name[SWEEP_NAME_MAX]; /* of its folder: its settings and seed */
    uint32_t set_count;
    char sets[SWEEP_SETS_MAX][SWEEP_TEXT_MAX]; /* "key=value" */
};
/* All runs of a sweep: each item of list with each point of grid and each seed. CONFIG says what
 * cannot be. The caller frees *out. */
enum sotto_status sweep_expand(const struct sweep_settings *s, struct sweep_run **out,
                               uint32_t *count, struct sotto_error *err);

struct sweep_request {
    const char *file, *out, *data;
    const char *const *sets; /* for every run */
    size_t set_count;
    unsigned jobs, workers; /* 0: a job a processor; a worker a job */
    bool live, json;
    FILE *say;
};
/* Makes the runs that have not ended, several at a time, each in a process and a folder of its own;
 * then the table. FAILED runs do not stop others: CHECK in the end. */
enum sotto_status sweep_make(const struct sweep_request *q, struct sotto_error *err);

#endif
