/* A second implementation of graphs for tests: forward and loss in double, straight from the
 * definitions; random graphs. */
#ifndef SOTTO_TESTS_MODEL_ORACLE_H
#define SOTTO_TESTS_MODEL_ORACLE_H

#include "sotto/model.h"

struct oracle_batch {
    uint32_t rows;         /* valid rows */
    const float *x;        /* rows * input count */
    const int32_t *labels; /* hard labels, or NULL */
    const double *targets; /* soft targets, rows * classes, when labels is NULL */
    double temperature;    /* for targets */
    double smoothing;      /* for labels */
    bool dropout;          /* on, with: */
    uint64_t seed;
    uint32_t index;
};

/* Mean loss of the batch; logits (rows * classes) are written when not NULL. */
double oracle_loss(const struct graph *g, const double *params, const struct oracle_batch *b,
                   double *logits);
/* d loss / d params[i] by central differences. */
double oracle_slope(const struct graph *g, double *params, uint32_t i,
                    const struct oracle_batch *b);

/* A random valid graph with a handful of layers of every kind over a small image, 2 to 5 classes.
 */
void oracle_random_graph(struct rng *rng, struct graph *g);
/* Uniform in [-1, 1). */
void oracle_random_values(struct rng *rng, float *x, size_t n);

#endif
