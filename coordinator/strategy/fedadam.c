/* FedAdam: steps divided by the root of a moving average of squares.
 *
 * Reddi et al. 2021 (arXiv:2003.00295), algorithm 2: v = b2 v + (1 - b2) delta^2;
 * the rest of the step is in adaptive.h. */
#include "strategy/adaptive.h"

static void fedadam_step(const struct task_config *t, uint32_t n, float *master,
                         const struct strategy_update *u, float *state) {
    const struct adaptive a = adaptive_of(t);
    const float *delta = u->delta;
    float *m = state, *v = state + n;
    for (uint32_t i = 0; i < n; i++) {
        v[i] = a.b2 * v[i] + a.b2_rest * delta[i] * delta[i];
        adaptive_move(&a, &master[i], &m[i], v[i], delta[i]);
    }
}

const struct strategy strategy_fedadam = {
    .name = "fedadam",
    .summary = "FedAdam: steps scaled by a moving average of squared updates",
    .state_arrays = ADAPTIVE_STATE_ARRAYS,
    .step = fedadam_step,
};
