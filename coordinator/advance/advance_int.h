/* The server step's parts, one file each. */
#ifndef SOTTO_COORDINATOR_ADVANCE_INT_H
#define SOTTO_COORDINATOR_ADVANCE_INT_H

#include "sotto/coordinator/advance.h"
#include "sotto/coordinator/engine.h"

/* A master as devices get it: its package, and how that does on the task's data. */
struct candidate {
    float *master; /* owned */
    struct buf bytes;
    struct wire_hash hash;
    struct package package;
    bool finite; /* false: nothing else is set */
    bool validated;
    double validation_loss, validation_accuracy;
};
struct scene {
    const struct task_config *task;
    const struct graph *graph;
    const struct data_schema *schema;
    const struct task_data *data;
    const struct kern_backend *backend;
    uint32_t test_limit;
    const float *extra; /* what the strategy sends along (strategy.extra); NULL: zeros yet */
    struct buf support; /* the mask of the next round's updates; empty: none is published */
    bool (*progress)(void *ctx, const char *what, uint32_t done, uint32_t total);
    void *ctx;
    struct evaluator *evaluator; /* made when it is first needed */
};
/* Takes master over, also after an error. */
enum sotto_status candidate_init(struct candidate *c, const struct scene *scene, float *master,
                                 struct sotto_error *err);
void candidate_deinit(struct candidate *c);
enum sotto_status candidate_validate(struct candidate *c, struct scene *scene,
                                     struct sotto_error *err);
/* Means over the examples; NAN for an empty set. limit 0: all. */
enum sotto_status scene_evaluate(struct scene *scene, const float *params,
                                 const struct dataset *data, uint32_t limit, const char *what,
                                 double *loss, double *accuracy, struct sotto_error *err);
bool task_needs_validation(const struct task_config *t);
/* data.c: at most `most` images of an IDX file of bytes, without labels; out is empty and the
 * caller deinits it, also after an error. path is shown in errors. */
enum sotto_status task_data_parse_pool(struct view file, const char *path, uint32_t most,
                                       struct dataset *out, struct sotto_error *err);

/* The weighted mean normalizer of the groups' updates; 0: they were not divided by one. */
double advance_steps(const struct group_sums *const *groups, uint32_t group_count);

/* mask.c: appends the support that the mean update gives the next round, where the task publishes
 * one. */
enum sotto_status mask_make(const struct task_config *t, const struct layout *layout,
                            const float *mean, struct buf *out, struct sotto_error *err);

/* distill.c: weights trained from `average` on the pool; *out is the caller's. */
enum sotto_status distill_from(struct scene *scene, const struct advance_in *in,
                               const float *average, float **out, struct sotto_error *err);
/* gate.c: whether the candidate may be published; reason[cap] says why not. */
bool gate_passes(const struct task_config *t, const struct candidate *c, double best_loss,
                 double best_accuracy, char *reason, size_t cap);

#endif
