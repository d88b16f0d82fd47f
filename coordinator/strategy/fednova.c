/* FedNova: devices that make more steps do not pull harder.
 *
 * Wang et al. 2020 (arXiv:2007.07481), equations 3 and 5, with delta_i = -lr G_i a_i the raw
 * update: master = master + tau_eff sum_i p_i delta_i / |a_i|_1,   tau_eff = sum_i p_i |a_i|_1
 * Devices send delta_i / |a_i|_1 (TRAIN_NOVA; train_normalizer gives |a_i|_1, with momentum and
 * proximal term) and, as one more number, weight times |a_i|_1. Both are only ever summed: the
 * server knows no device's steps, and masks change nothing. Server momentum is the paper's section
 * 6 (averaging.h). */
#include "strategy/averaging.h"

static enum sotto_status fednova_check(const struct task_config *t, struct sotto_error *err) {
    if (t->local_lr * t->local_prox_mu < 1.0)
        return SOTTO_OK;
    return SOTTO_FAIL(
        err, SOTTO_INVALID,
        "local.prox_mu: times local.lr it is %g, fednova's normalizer needs less than "
        "1; lower one of them",
        t->local_lr * t->local_prox_mu);
}

static void fednova_step(const struct task_config *t, uint32_t n, float *master,
                         const struct strategy_update *u, float *state) {
    averaging_step(t, n, master, u->delta, (float)u->steps, state);
}

const struct strategy strategy_fednova = {
    .name = "fednova",
    .summary = "FedNova: updates normalized by the steps that devices made",
    .state_arrays = AVERAGING_STATE_ARRAYS,
    .keeps_state = averaging_keeps_state,
    .momentum = true,
    .algorithm = TRAIN_NOVA,
    .check = fednova_check,
    .step = fednova_step,
};
