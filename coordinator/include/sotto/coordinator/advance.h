/* The server step: group sums -> new fp32 master -> (distillation) -> package -> evaluation ->
 * gate. Used by the daemon's worker and by the simulator alike; a pure function of its inputs. */
#ifndef SOTTO_COORDINATOR_ADVANCE_H
#define SOTTO_COORDINATOR_ADVANCE_H

#include "sotto/coordinator/aggregate.h"
#include "sotto/coordinator/task.h"

/* What a round's reports give a server step: means over all groups, weighted by the reports'
 * weights. */
struct strategy_update {
    const float *delta;   /* layout.total: the mean update */
    const float *control; /* layout.total: the mean change of the devices' control variates; NULL:
                             they send none */
    double steps;         /* the mean normalizer (train_normalizer) of updates that were divided by
                             it; else 0 */
    double share;         /* reports among all enrolled devices, above 0 up to 1 */
};
/* A strategy is a row: name, how many state arrays of layout.total floats it keeps, what it asks of
 * devices, and its server step. */
struct strategy {
    const char *name;
    const char *summary;
    uint32_t state_arrays;
    bool (*keeps_state)(const struct task_config *t); /* false: with these settings no state is
                                                         needed; NULL: it always is */
    bool momentum;                                    /* server.momentum is a setting of it */
    enum train_algorithm algorithm; /* the devices' half, in the terms' local rule */
    const char *extra; /* the first state array travels with the model as the extra of this name;
                          NULL: nothing does */
    /* Refuses (INVALID) settings that the step cannot work with; NULL: there are none. */
    enum sotto_status (*check)(const struct task_config *t, struct sotto_error *err);
    /* master (in/out); state: state_arrays * n floats, zero at the start, or NULL when none is
     * kept. Deterministic. */
    void (*step)(const struct task_config *t, uint32_t n, float *master,
                 const struct strategy_update *u, float *state);
};
extern const char *const strategy_names[];      /* for the option table, NULL-terminated */
const struct strategy *strategy_get(int index); /* NULL when there is none */
/* How many state arrays of layout.total floats this task's strategy keeps. */
uint32_t strategy_state_arrays(const struct task_config *t);

/* Data the coordinator itself holds: test (reported), validation (choices and gate), unlabelled
 * pool (distillation). */
struct task_data {
    struct dataset test, validation, pool; /* validation empty unless distillation or the gate is
                                              on, pool unless distillation is */
};
/* Drawn examples come from writers with numbers from here on; devices are given lower ones. */
#define TASK_DATA_WRITER_FIRST 0x40000000u
/* Reads or draws what the task's config asks for; test and validation are disjoint (validation is
 * the end of a data set's test part). data_dir overrides the config's when not NULL. INVALID when
 * the examples do not fit the model's schema. */
enum sotto_status task_data_load(const struct task_config *t, const struct data_schema *schema,
                                 const char *data_dir, struct task_data *out,
                                 struct sotto_error *err);
void task_data_deinit(struct task_data *d);

struct advance_in {
    const struct task_config *task;
    const struct graph *graph;
    const struct data_schema *schema;
    const struct task_data *data;
    uint32_t round;
    uint64_t train_rounds_done;             /* before this one */
    uint64_t devices;                       /* enrolled now; 0: as many as have reported */
    const struct group_sums *const *groups; /* summed groups in group order */
    uint32_t group_count;
    const float *master;             /* current */
    const float *state;              /* strategy state, or NULL when it has none yet (zeros) */
    double best_loss, best_accuracy; /* lowest validation loss and highest accuracy of published
                                        versions; NAN: none yet */
    const struct kern_backend *backend;
    bool evaluate; /* false skips test evaluation (simulator speed runs); validation for gate and
                      distillation still runs if needed */
    uint32_t test_limit; /* use the first so many test examples; 0: all */
    bool (*progress)(void *ctx, const char *what, uint32_t done,
                     uint32_t total); /* may be NULL; false cancels */
    void *ctx;
};
struct advance_out {
    float *master; /* layout.total, owned; not finite: not published, and package is empty,
                      package_hash zero */
    float *state;  /* owned, or NULL */
    struct buf package;
    struct wire_hash package_hash, digest;
    double test_loss, test_accuracy; /* mean; NAN when not evaluated */
    double validation_loss, validation_accuracy;
    bool distilled;      /* the distilled model won */
    double distill_gain; /* validation accuracy of distilled less average; NAN when off */
    bool published;      /* passed the gate */
    char reason[160];    /* why not */
    double train_loss, train_accuracy; /* means over the examples that devices saw */
    uint64_t train_examples;           /* sum of seen */
    double seconds_step, seconds_distill,
        seconds_evaluate; /* host's business to log; measured through the clock callback-free base
                             clock */
};
/* The server step of a training round. OK also when the version is not published. out is deinited
 * by the caller, also after an error; CANCELLED when progress said so; INVALID when groups, task
 * and graph do not fit each other. */
enum sotto_status advance_run(const struct advance_in *in, struct advance_out *out,
                              struct sotto_error *err);
void advance_out_deinit(struct advance_out *out);
/* Appends the mask of a version's package for masked_terms.mask: nothing where the task publishes
 * no support, or the package has none yet. */
enum sotto_status advance_mask(const struct task_config *t, struct view package, struct buf *out,
                               struct sotto_error *err);
/* What devices reported, over all groups: means over the examples seen (NAN when none) and their
 * number. Of training and evaluation rounds; an evaluation round has no server step, these are its
 * result. */
void advance_metrics(const struct group_sums *const *groups, uint32_t group_count, double *loss,
                     double *accuracy, uint64_t *examples);
/* The first version of a task: initial weights, package, hash, digest and evaluation. INVALID when
 * params are not finite. */
enum sotto_status advance_first(const struct task_config *t, const struct graph *g,
                                const struct data_schema *schema, const struct task_data *data,
                                const float *params, const struct kern_backend *backend,
                                bool evaluate, struct advance_out *out, struct sotto_error *err);

#endif
