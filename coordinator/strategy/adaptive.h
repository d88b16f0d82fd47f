/* What FedAdagrad, FedAdam and FedYogi share; they differ in how the second moment v follows.
 *
 * Reddi et al. 2021 (arXiv:2003.00295), algorithm 2, with delta the mean update:
 *     m = b1 m + (1 - b1) delta
 *     v = by the rule, from v and delta^2
 *     master = master + lr m / (sqrt(v) + tau)
 * b1 = server.beta1, b2 = server.beta2, tau = server.adaptivity. Two state arrays, m then v, both
 * from zero: there is no bias correction in the paper's algorithm, and none here. */
#ifndef SOTTO_COORDINATOR_STRATEGY_ADAPTIVE_H
#define SOTTO_COORDINATOR_STRATEGY_ADAPTIVE_H

#include <math.h>

#include "strategy/strategies.h"

#define ADAPTIVE_STATE_ARRAYS 2

/* The settings as the loops use them. */
struct adaptive {
    float lr, b1, b1_rest, b2, b2_rest, tau;
};

static inline struct adaptive adaptive_of(const struct task_config *t) {
    return (struct adaptive){
        .lr = (float)t->server_lr,
        .b1 = (float)t->server_beta1,
        .b1_rest = (float)(1.0 - t->server_beta1),
        .b2 = (float)t->server_beta2,
        .b2_rest = (float)(1.0 - t->server_beta2),
        .tau = (float)t->server_adaptivity,
    };
}

/* One coordinate, once its v is known. */
static inline void adaptive_move(const struct adaptive *a, float *master, float *m, float v,
                                 float delta) {
    *m = a->b1 * *m + a->b1_rest * delta;
    *master += a->lr * *m / (sqrtf(v) + a->tau);
}

#endif
