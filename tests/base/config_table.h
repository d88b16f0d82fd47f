/* The option table that the config tests and the fuzz target share: one row of every type. */
#ifndef SOTTO_TESTS_CONFIG_TABLE_H
#define SOTTO_TESTS_CONFIG_TABLE_H

#include "sotto/config.h"

struct sample_settings {
    uint64_t rounds;
    double lr;
    bool nesterov;
    char *name;
    char *data;
    char *token;
    int strategy;
    uint64_t memory, deadline_ms;
    struct config_list_u64 shape;
    struct config_list_str addresses;
    struct config_node *layers;
};

static const char *const sample_strategies[] = {"fedavg", "fedadam", NULL};

#define AT(field) offsetof(struct sample_settings, field)
static const struct config_option sample_table[] = {
    {"rounds", CONFIG_U64, AT(rounds), "10", 1, 1000, NULL, CONFIG_RELOAD, "rounds",
     "How many rounds."},
    {"local.lr", CONFIG_F64, AT(lr), "0.1", 0, 10, NULL, 0, "", "Learning rate."},
    {"task.name", CONFIG_STR, AT(name), "digits", 1, 32, NULL, 0, "", "Name of the task."},
    {"local.nesterov", CONFIG_BOOL, AT(nesterov), "no", 0, 0, NULL, 0, "", "Nesterov momentum."},
    {"data.dir", CONFIG_STR, AT(data), "", 0, 0, NULL, CONFIG_PATH, "", "Folder of the data."},
    {"data.token", CONFIG_STR, AT(token), NULL, 0, 0, NULL, CONFIG_SECRET, "", "Access token."},
    {"server.strategy", CONFIG_ENUM, AT(strategy), "fedavg", 0, 0, sample_strategies, 0, "",
     "Server step."},
    {"memory", CONFIG_SIZE, AT(memory), "64MiB", 1024, 1073741824, NULL, 0, "", "Memory."},
    {"deadline", CONFIG_DURATION, AT(deadline_ms), "90s", 0, 3600000, NULL, 0, "", "Deadline."},
    {"model.shape", CONFIG_LIST_U64, AT(shape), "28,28,1", 1, 4096, NULL, 0, "", "Input shape."},
    {"listen", CONFIG_LIST_STR, AT(addresses), "", 0, 0, NULL, 0, "", "Addresses."},
    {"model.layers", CONFIG_NODE, AT(layers), NULL, 0, 0, NULL, 0, "", "Layers."},
    CONFIG_END,
};
#undef AT

#endif
