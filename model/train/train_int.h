/* Shared by trainer, evaluator and distillation: checking examples and filling a program's input.
 */
#ifndef SOTTO_TRAIN_INT_H
#define SOTTO_TRAIN_INT_H

#include "sotto/model/train.h"

/* The examples fit the graph (shape, classes) and hold neither values that are not finite nor
 * labels past the classes. */
enum sotto_status train_check_examples(uint32_t input_count, uint32_t classes,
                                       const struct examples *examples, struct sotto_error *err);

/* Row r of x becomes example order[r] (r itself when order is NULL) in model units, for r < rows;
 * rows up to batch become zero. labels may be NULL; those of padding rows and of unlabelled
 * examples become -1. */
void train_gather(const struct examples *examples, const uint32_t *order, uint32_t rows,
                  uint32_t batch, float *x, int32_t *labels);

/* Runs the evaluator over all examples; metrics are then in its exec. params NULL: what was loaded.
 * With out, weight * softmax(logits / temperature) is added to its count * classes values; without
 * how the logits themselves are written there. */
struct train_soften {
    float temperature, weight;
};
enum sotto_status train_run_batches(struct evaluator *e, const float *params,
                                    const struct examples *examples, const struct train_soften *how,
                                    float *out, struct sotto_error *err);

/* A compiled program and its exec, freed together. */
struct train_engine {
    struct kern_program *program;
    struct kern_exec *exec;
};
enum sotto_status train_engine_init(struct train_engine *e, const struct graph *g,
                                    const struct graph_options *options,
                                    const struct kern_backend *backend, struct sotto_error *err);
enum sotto_status train_engine_init_lanes(struct train_engine *e, const struct graph *g,
                                          const struct graph_options *options,
                                          const struct kern_backend *backend, uint32_t lanes,
                                          struct sotto_error *err);
void train_engine_deinit(struct train_engine *e);
/* load.c: a lane's parameters from the package, as kern_exec_unpack_lane; and the program's fixed
 * weights, of lane 0. INVALID: the package is of another model, or its weights not int8 where the
 * program's are. */
enum sotto_status train_engine_load(struct train_engine *e, uint32_t lane, const struct package *p,
                                    struct sotto_error *err);

/* The options of a rule's program, checked. */
enum sotto_status train_rule_options(const struct train_rule *rule, uint32_t batch_max,
                                     struct graph_options *out, struct sotto_error *err);

/* ---- Groups, as their trainers see them ---- */

#define TRAIN_CHUNK 64u /* steps of one call of the kernels: enough for a device's submission */

bool train_group_take(struct train_group *group, uint32_t *lane); /* false when all are taken */
void train_group_give(struct train_group *group, uint32_t lane);
const struct train_engine *train_group_engine(const struct train_group *group);
const struct graph *train_group_graph(const struct train_group *group);
const struct train_rule *train_group_rule(const struct train_group *group);
/* Between them the exec is the caller's alone. */
void train_group_enter(struct train_group *group);
void train_group_leave(struct train_group *group);
/* Around an advance: grouped runs wait for those that advance. */
void train_group_join(struct train_group *group, bool advances);
/* kern_exec_run_many for one lane: returns when its steps are done, with others' or alone. */
enum sotto_status train_group_run(struct train_group *group, uint32_t lane,
                                  const struct kern_step *steps, uint32_t count, kern_fill_fn *fill,
                                  void *ctx, double (*metrics)[KERN_METRIC_COUNT],
                                  struct sotto_error *err);

#endif
