/* SCAFFOLD: control variates take the drift of each device's own data out of its steps.
 *
 * Karimireddy et al. 2020 (arXiv:1910.06378), algorithm 1 with option II. A device steps by
 * y - lr (g - c_i + c) and then has c_i+ = c_i - c + (x - y) / (K lr), K its steps; it sends y - x
 * and c_i+ - c_i. With S of N devices reporting:
 *     master = master + lr_g mean(y - x)
 *     c = c + S / N mean(c_i+ - c_i)
 * One state array, c, which travels with the model. The means are weighted as the task weighs its
 * reports, so that c follows the weighted mean of all c_i; weight_max: 1 gives the paper's.
 */
#include "strategy/strategies.h"

static enum sotto_status scaffold_check(const struct task_config *t, struct sotto_error *err) {
    if (t->local_prox_mu > 0.0)
        return SOTTO_FAIL(err, SOTTO_INVALID,
                          "local.prox_mu: does not go with the control variates of "
                          "server.strategy: scaffold; leave it out, or use fedprox");
    return SOTTO_OK;
}

static void scaffold_step(const struct task_config *t, uint32_t n, float *master,
                          const struct strategy_update *u, float *state) {
    const float lr = (float)t->server_lr, share = (float)u->share;
    for (uint32_t i = 0; i < n; i++) {
        master[i] += lr * u->delta[i];
        state[i] += share * u->control[i];
    }
}

const struct strategy strategy_scaffold = {
    .name = "scaffold",
    .summary = "SCAFFOLD: control variates correct the drift of each device's data",
    .state_arrays = 1,
    .algorithm = TRAIN_SCAFFOLD,
    .extra = PACKAGE_CONTROL,
    .check = scaffold_check,
    .step = scaffold_step,
};
