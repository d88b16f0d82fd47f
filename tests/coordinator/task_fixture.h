/* Task settings with the option table's defaults, without a file. */
#ifndef SOTTO_TESTS_TASK_FIXTURE_H
#define SOTTO_TESTS_TASK_FIXTURE_H

#include "sotto/coordinator/advance.h"

#include "support.h"

/* The strings are literals: nothing to free. */
static inline struct task_config task_defaults(void) {
    return (struct task_config){
        .name = (char *)(uintptr_t) "task",
        .seed = 1,
        .init_gain = 1,
        .collection = (char *)(uintptr_t) "examples",
        .model = (char *)(uintptr_t) "logreg",
        .cohort = 10,
        .over_selection = 1.0,
        .groups = 1,
        .lease_ms = 600000,
        .heartbeat_ms = 30000,
        .pace_ms = 2000,
        .checkins_per_s_max = 500,
        .weight_max = 10000,
        .examples_min = 1,
        .local_epochs = 1,
        .local_batch = 10,
        .local_lr = 0.1,
        .server_lr = 1.0,
        .server_beta1 = 0.9,
        .server_beta2 = 0.99,
        .server_adaptivity = 1e-3,
        .downlink = PACKAGE_I8,
        .clip_inf = 16.0,
        .keep = 1.0,
        .bits = 32,
        .fraction_bits = 30,
        .rotate = true,
        .minimum_group = 10,
        .group_max = 100,
        .ring_bits = 16,
        .exchange_ms = 30000,
        .adversary = 1,
        .adversarial = 0.05,
        .dropout = 0.3,
        .distill_from_round = 1,
        .distill_steps = 200,
        .distill_batch = 32,
        .distill_pool = 2000,
        .distill_lr = 0.05,
        .distill_momentum = 0.9,
        .distill_temperature = 1.0,
        .data = (char *)(uintptr_t) "generator",
        .data_seed = 1,
        .data_validation = 1000,
    };
}

#endif
