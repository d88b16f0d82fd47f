/* Private to sim/: where a run's time goes (sotto-sim run --profile): by phase of the workers and
 * by instruction of the training program. */
#ifndef SOTTO_SIM_PROFILE_H
#define SOTTO_SIM_PROFILE_H

#include <stdio.h>

#include "sotto/model.h"

/* What a worker does; everything else of its wall clock is idle. */
enum sim_phase {
    SIM_PHASE_TRAIN, /* kernels included; those are told apart below */
    SIM_PHASE_ENCODE,
    SIM_PHASE_ADD,
    SIM_PHASE_DELTA,
    SIM_PHASE_EVALUATE,
    SIM_PHASE_COUNT
};

struct sim_instr_time {
    char name[56]; /* operation and shape */
    double seconds, flops;
};
/* Of one worker while it runs, of all of them in the end. */
struct sim_profile {
    unsigned workers;
    double wall_seconds, server_seconds; /* of the host; filled in the end */
    double phase[SIM_PHASE_COUNT];
    uint64_t steps; /* of the present trainer, not taken yet */
    uint32_t instr_count;
    struct sim_instr_time *instr; /* in the program's order */
};

/* Adds what the trainer's instructions took to p, by instruction. Call once, before the trainer
 * goes. Programs of other batch sizes have the same instructions; names are the first one's. NOMEM.
 */
enum sotto_status profile_take(struct sim_profile *p, struct trainer *t);
/* Adds one worker's to the sum. NOMEM. */
enum sotto_status profile_add(struct sim_profile *sum, const struct sim_profile *p);
void profile_deinit(struct sim_profile *p);
double profile_kernel_seconds(const struct sim_profile *p);
/* The table, and the same as a JSON object (seconds, FLOP/s); both measure this core's peak. */
void profile_print(const struct sim_profile *p, FILE *out);
void profile_json(const struct sim_profile *p, struct json *j);

#endif
