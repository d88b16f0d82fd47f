/* FedAvg with a server learning rate and momentum.
 *
 * McMahan et al. 2017 (arXiv:1602.05629), algorithm 1: the weighted mean of the clients' models,
 * here as master + mean update; the momentum is in averaging.h. */
#include "strategy/averaging.h"

static void fedavg_step(const struct task_config *t, uint32_t n, float *master,
                        const struct strategy_update *u, float *state) {
    averaging_step(t, n, master, u->delta, 1.0f, state);
}

const struct strategy strategy_fedavg = {
    .name = "fedavg",
    .summary = "the weighted mean of the updates, with server learning rate and momentum",
    .state_arrays = AVERAGING_STATE_ARRAYS,
    .keeps_state = averaging_keeps_state,
    .momentum = true,
    .step = fedavg_step,
};
