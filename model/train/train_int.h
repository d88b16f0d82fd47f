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

/* Runs the evaluator over all examples; metrics are then in its exec. With out, weight *
 * softmax(logits / temperature) is added to its count * classes values. */
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
void train_engine_deinit(struct train_engine *e);

#endif
