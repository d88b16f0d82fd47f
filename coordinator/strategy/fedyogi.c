/* FedYogi: as FedAdam, but v moves by a bounded amount, so that it falls slowly.
 *
 * Reddi et al. 2021 (arXiv:2003.00295), algorithm 2: v = v - (1 - b2) delta^2 sign(v - delta^2);
 * the rest of the step is in adaptive.h. */
#include "strategy/adaptive.h"

static void fedyogi_step(const struct task_config *t, uint32_t n, float *master,
                         const struct strategy_update *u, float *state) {
    const struct adaptive a = adaptive_of(t);
    const float *delta = u->delta;
    float *m = state, *v = state + n;
    for (uint32_t i = 0; i < n; i++) {
        const float square = delta[i] * delta[i];
        const float sign = (float)((v[i] > square) - (v[i] < square));
        v[i] -= a.b2_rest * square * sign;
        adaptive_move(&a, &master[i], &m[i], v[i], delta[i]);
    }
}

const struct strategy strategy_fedyogi = {
    .name = "fedyogi",
    .summary = "FedYogi: as FedAdam, with a second moment that falls slowly",
    .state_arrays = ADAPTIVE_STATE_ARRAYS,
    .step = fedyogi_step,
};
