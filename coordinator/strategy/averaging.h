/* What FedAvg, FedProx and FedNova share: the weighted mean update, moved along with a server
 * learning rate and, with server.momentum b, Hsu et al. 2019 (arXiv:1909.06335), section 4.1
 * (FedAvgM):
 *     v = b v + scale delta
 *     master = master + lr v
 * One state array, v, and none without momentum. */
#ifndef SOTTO_COORDINATOR_STRATEGY_AVERAGING_H
#define SOTTO_COORDINATOR_STRATEGY_AVERAGING_H

#include "strategy/strategies.h"

#define AVERAGING_STATE_ARRAYS 1

static inline bool averaging_keeps_state(const struct task_config *t) {
    return t->server_momentum > 0.0;
}

static inline void averaging_step(const struct task_config *t, uint32_t n, float *master,
                                  const float *delta, float scale, float *state) {
    const float lr = (float)t->server_lr, momentum = (float)t->server_momentum;
    if (!state) {
        for (uint32_t i = 0; i < n; i++)
            master[i] += lr * (scale * delta[i]);
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        state[i] = momentum * state[i] + scale * delta[i];
        master[i] += lr * state[i];
    }
}

#endif
