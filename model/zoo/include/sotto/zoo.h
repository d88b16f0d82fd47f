/* Architectures by name, and from YAML layers. A device links the names alone, for its bench. */
#ifndef SOTTO_ZOO_H
#define SOTTO_ZOO_H

#include "sotto/model.h"

struct config_node;

struct zoo_entry {
    const char *name; /* "mnist-cnn" */
    const char *summary;
    uint32_t params;
    struct data_schema schema; /* what its examples look like */
    enum sotto_status (*build)(struct graph *g, struct sotto_error *err);
};
/* logreg (7,850), mnist-2nn (199,210), mnist-cnn (1,663,370; McMahan 2017), cifar-cnn (1,626,442;
 * pfl-research), lenet5 (44,426; NIID-Bench). */
const struct zoo_entry *zoo_list(size_t *count);
const struct zoo_entry *zoo_find(const char *name);
enum sotto_status zoo_build(const char *name, struct graph *g, struct data_schema *schema,
                            struct sotto_error *err);
/* A model as YAML: {input: [28, 28, 1], classes: 10, scale: .., dtype: u8|f32, layers: [{conv:
 * {units: 32, kernel: 5, padding: same}}, {relu: {}}, {maxpool: {kernel: 2}}, {dense: {units: 10}},
 * {add: {from: name}}, ...]}. Errors name line and column. */
enum sotto_status zoo_from_yaml(const struct config_node *model, const char *file, struct graph *g,
                                struct data_schema *schema, struct sotto_error *err);

#endif
