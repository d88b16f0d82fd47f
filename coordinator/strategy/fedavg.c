/* FedAvg with a server learning rate and momentum.
 *
 * McMahan et al. 2017 (arXiv:1602.05629), algorithm 1: the weighted mean of the clients' models,
 * here as master + mean update. With server.momentum b, Hsu et al. 2019 (arXiv:1909.06335),
 * section 4.1 (FedAvgM): v = b v + delta, master = master + lr v. */
#include "strategy/strategies.h"

static bool fedavg_keeps_state(const struct task_config *t) {
    return t->server_momentum > 0.0;
}

static void fedavg_step(const struct task_config *t, uint32_t n, float *master, const float *delta,
                        float *state) {
    const float lr = (float)t->server_lr, momentum = (float)t->server_momentum;
    if (!state) {
        for (uint32_t i = 0; i < n; i++)
            master[i] += lr * delta[i];
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        state[i] = momentum * state[i] + delta[i];
        master[i] += lr * state[i];
    }
}

const struct strategy strategy_fedavg = {
    .name = "fedavg",
    .summary = "the weighted mean of the updates, with server learning rate and momentum",
    .state_arrays = 1,
    .keeps_state = fedavg_keeps_state,
    .step = fedavg_step,
};
