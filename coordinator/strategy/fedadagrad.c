/* FedAdagrad: steps divided by the root of the sum of squares so far.
 *
 * Reddi et al. 2021 (arXiv:2003.00295), algorithm 2: v = v + delta^2;
 * the rest of the step is in adaptive.h. */
#include "strategy/adaptive.h"

static void fedadagrad_step(const struct task_config *t, uint32_t n, float *master,
                            const struct strategy_update *u, float *state) {
    const struct adaptive a = adaptive_of(t);
    const float *delta = u->delta;
    float *m = state, *v = state + n;
    for (uint32_t i = 0; i < n; i++) {
        v[i] += delta[i] * delta[i];
        adaptive_move(&a, &master[i], &m[i], v[i], delta[i]);
    }
}

const struct strategy strategy_fedadagrad = {
    .name = "fedadagrad",
    .summary = "FedAdagrad: steps shrink with the sum of squared updates",
    .state_arrays = ADAPTIVE_STATE_ARRAYS,
    .step = fedadagrad_step,
};
