/* The named architectures, each a table of layers. */
#include "sotto/zoo.h"

#include <string.h>

/* Chains the layers behind an input of the schema's shape. */
static enum sotto_status build(struct graph *g, const struct data_schema *s,
                               const struct graph_node *layers, size_t count,
                               struct sotto_error *err) {
    enum sotto_status status;
    uint32_t node;
    graph_init(g);
    TRY(graph_input(g, s->rank, s->dims, &node, err));
    for (size_t i = 0; i < count; i++) {
        struct graph_node n = layers[i];
        n.inputs[0] = node;
        TRY(graph_add(g, &n, &node, err));
    }
    status = graph_finish(g, err);
out:
    if (status != SOTTO_OK)
        graph_deinit(g);
    return status;
}

#define MNIST_SCHEMA                                                                               \
    { DATA_U8, 3, {28, 28, 1}, 10, 1.0f / 255, 0 }
#define CIFAR_SCHEMA                                                                               \
    { DATA_U8, 3, {32, 32, 3}, 10, 1.0f / 255, 0 }
static const struct data_schema mnist = MNIST_SCHEMA, cifar = CIFAR_SCHEMA;

#define CONV(n, k, pad)                                                                            \
    { .op = GRAPH_CONV2D, .units = (n), .kernel_h = (k), .padding = (pad), .bias = true }
#define DENSE(n)                                                                                   \
    { .op = GRAPH_DENSE, .units = (n), .bias = true }
#define RELU                                                                                       \
    { .op = GRAPH_ACT, .act = KERN_ACT_RELU }
#define MAXPOOL(k)                                                                                 \
    { .op = GRAPH_MAXPOOL, .kernel_h = (k) }
#define DROPOUT(p)                                                                                 \
    { .op = GRAPH_DROPOUT, .rate = (p) }
#define FLATTEN                                                                                    \
    { .op = GRAPH_FLATTEN }

static enum sotto_status build_logreg(struct graph *g, struct sotto_error *err) {
    static const struct graph_node layers[] = {FLATTEN, DENSE(10)};
    return build(g, &mnist, layers, ARRAY_LEN(layers), err);
}

/* McMahan et al. 2017, section 3: two hidden layers of 200 units. */
static enum sotto_status build_mnist_2nn(struct graph *g, struct sotto_error *err) {
    static const struct graph_node layers[] = {FLATTEN,    DENSE(200), RELU,
                                               DENSE(200), RELU,       DENSE(10)};
    return build(g, &mnist, layers, ARRAY_LEN(layers), err);
}

/* McMahan et al. 2017, section 3: two 5x5 convolutions (32, 64), each with 2x2 max pooling, 512
 * units. */
static enum sotto_status build_mnist_cnn(struct graph *g, struct sotto_error *err) {
    static const struct graph_node layers[] = {CONV(32, 5, GRAPH_SAME),
                                               RELU,
                                               MAXPOOL(2),
                                               CONV(64, 5, GRAPH_SAME),
                                               RELU,
                                               MAXPOOL(2),
                                               FLATTEN,
                                               DENSE(512),
                                               RELU,
                                               DENSE(10)};
    return build(g, &mnist, layers, ARRAY_LEN(layers), err);
}

/* pfl-research's simple_cnn (arXiv:2404.06430): 3x3 convolutions (32, 64) without padding, one
 * pooling, 128 units. */
static enum sotto_status build_cifar_cnn(struct graph *g, struct sotto_error *err) {
    static const struct graph_node layers[] = {CONV(32, 3, GRAPH_VALID),
                                               RELU,
                                               CONV(64, 3, GRAPH_VALID),
                                               RELU,
                                               MAXPOOL(2),
                                               DROPOUT(0.25f),
                                               FLATTEN,
                                               DENSE(128),
                                               RELU,
                                               DROPOUT(0.5f),
                                               DENSE(10)};
    return build(g, &cifar, layers, ARRAY_LEN(layers), err);
}

/* The small LeNet of NIID-Bench (Li et al. 2022, arXiv:2102.02079, section 5): 5x5 convolutions (6,
 * 16) without padding, each with 2x2 max pooling, 120 and 84 units. */
static enum sotto_status build_lenet5(struct graph *g, struct sotto_error *err) {
    static const struct graph_node layers[] = {CONV(6, 5, GRAPH_VALID),
                                               RELU,
                                               MAXPOOL(2),
                                               CONV(16, 5, GRAPH_VALID),
                                               RELU,
                                               MAXPOOL(2),
                                               FLATTEN,
                                               DENSE(120),
                                               RELU,
                                               DENSE(84),
                                               RELU,
                                               DENSE(10)};
    return build(g, &mnist, layers, ARRAY_LEN(layers), err);
}

static const struct zoo_entry entries[] = {
    {"logreg", "multinomial logistic regression", 7850, MNIST_SCHEMA, build_logreg},
    {"mnist-2nn", "two hidden layers of 200 units (McMahan 2017)", 199210, MNIST_SCHEMA,
     build_mnist_2nn},
    {"mnist-cnn", "two 5x5 convolutions and 512 units (McMahan 2017)", 1663370, MNIST_SCHEMA,
     build_mnist_cnn},
    {"cifar-cnn", "two 3x3 convolutions and 128 units (pfl-research)", 1626442, CIFAR_SCHEMA,
     build_cifar_cnn},
    {"lenet5", "two 5x5 convolutions of 6 and 16 channels (NIID-Bench)", 44426, MNIST_SCHEMA,
     build_lenet5},
};

const struct zoo_entry *zoo_list(size_t *count) {
    *count = ARRAY_LEN(entries);
    return entries;
}

const struct zoo_entry *zoo_find(const char *name) {
    for (size_t i = 0; i < ARRAY_LEN(entries); i++)
        if (strcmp(entries[i].name, name) == 0)
            return &entries[i];
    return NULL;
}

enum sotto_status zoo_build(const char *name, struct graph *g, struct data_schema *schema,
                            struct sotto_error *err) {
    const struct zoo_entry *e = zoo_find(name);
    if (!e) {
        char shown[64];
        return SOTTO_FAIL(
            err, SOTTO_NOT_FOUND,
            "no model \"%s\": logreg, mnist-2nn, mnist-cnn, cifar-cnn and lenet5 are built in",
            sotto_escape(shown, sizeof shown, name, strlen(name)));
    }
    *schema = e->schema;
    return e->build(g, err);
}
