/* The rows of the strategy table, one file each. See docs/howto/add-a-strategy.md. */
#ifndef SOTTO_COORDINATOR_STRATEGIES_H
#define SOTTO_COORDINATOR_STRATEGIES_H

#include "sotto/coordinator/advance.h"

extern const struct strategy strategy_fedavg;
extern const struct strategy strategy_fedadagrad;
extern const struct strategy strategy_fedadam;
extern const struct strategy strategy_fedyogi;
extern const struct strategy strategy_fedprox;
extern const struct strategy strategy_fednova;
extern const struct strategy strategy_scaffold;

#endif
