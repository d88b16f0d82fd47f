/* The strategy table: position = the value of server.strategy. Append only, stores hold the
 * position's name. */
#include "strategy/strategies.h"

#define STRATEGIES(X)                                                                              \
    X(fedavg) X(fedadagrad) X(fedadam) X(fedyogi) X(fedprox) X(fednova) X(scaffold)

#define STRATEGY_NAME(name) #name,
const char *const strategy_names[] = {STRATEGIES(STRATEGY_NAME) NULL};

#define STRATEGY_ROW(name) &strategy_##name,
static const struct strategy *const strategies[] = {STRATEGIES(STRATEGY_ROW)};

const struct strategy *strategy_get(int index) {
    return index >= 0 && (size_t)index < ARRAY_LEN(strategies) ? strategies[index] : NULL;
}

uint32_t strategy_state_arrays(const struct task_config *t) {
    const struct strategy *s = strategy_get(t->strategy);
    return s && (!s->keeps_state || s->keeps_state(t)) ? s->state_arrays : 0;
}
