/* FedProx: FedAvg over devices that minimise their loss plus mu / 2 times the squared distance to
 * the global model.
 *
 * Li et al. 2020 (arXiv:1812.06127), algorithm 2. The proximal term is local.prox_mu, which every
 * strategy may use; this row is the name under which the paper's method is asked for, and refuses
 * to be FedAvg in disguise. */
#include "strategy/averaging.h"

static enum sotto_status fedprox_check(const struct task_config *t, struct sotto_error *err) {
    if (t->local_prox_mu > 0.0)
        return SOTTO_OK;
    return SOTTO_FAIL(err, SOTTO_INVALID,
                      "local.prox_mu: server.strategy: fedprox needs it above 0 (0.001 to 1 are "
                      "common); without it the method is server.strategy: fedavg");
}

static void fedprox_step(const struct task_config *t, uint32_t n, float *master,
                         const struct strategy_update *u, float *state) {
    averaging_step(t, n, master, u->delta, 1.0f, state);
}

const struct strategy strategy_fedprox = {
    .name = "fedprox",
    .summary = "FedProx: fedavg over devices held near the global model by local.prox_mu",
    .state_arrays = AVERAGING_STATE_ARRAYS,
    .keeps_state = averaging_keeps_state,
    .momentum = true,
    .check = fedprox_check,
    .step = fedprox_step,
};
