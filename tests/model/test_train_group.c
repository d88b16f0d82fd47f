/* Trainers that share a program: in threads of their own, each computes the bits it would alone. */
#include <pthread.h>
#include <string.h>

#include "sotto/model.h"
#include "support.h"

#define CLASSES 3u
#define PIXELS  12u
#define LANES   4u
#define CLIENTS 9u

static const struct data_schema schema = {DATA_U8, 1, {PIXELS, 1, 1}, CLASSES, 1.0f / 255, 0};

static struct graph model(void) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct graph g;
    uint32_t at;
    graph_init(&g);
    struct graph_node layers[] = {
        {.op = GRAPH_DENSE, .units = 8, .bias = true},
        {.op = GRAPH_ACT, .act = KERN_ACT_RELU},
        {.op = GRAPH_DROPOUT, .rate = 0.2f},
        {.op = GRAPH_DENSE, .units = CLASSES, .bias = true},
    };
    ASSERT_OK(graph_input(&g, 1, schema.dims, &at, &err));
    for (size_t i = 0; i < ARRAY_LEN(layers); i++) {
        layers[i].inputs[0] = at;
        ASSERT_OK(graph_add(&g, &layers[i], &at, &err));
    }
    ASSERT_OK(graph_finish(&g, &err));
    return g;
}

/* Clients differ in size: lanes end at different steps. */
static struct dataset task(uint32_t client) {
    struct dataset d;
    struct rng rng;
    dataset_init(&d);
    rng_init(&rng, test_seed(), client, 0, RNG_GENERATE);
    d.schema = schema;
    d.count = 20 + 17 * client;
    uint8_t *x = d.x = mem_array(d.count, PIXELS);
    d.labels = mem_array(d.count, sizeof *d.labels);
    assert_true(d.x && d.labels);
    for (uint32_t i = 0; i < d.count * PIXELS; i++)
        x[i] = (uint8_t)rng_u32(&rng);
    for (uint32_t i = 0; i < d.count; i++)
        d.labels[i] = (int32_t)rng_below(&rng, CLASSES);
    return d;
}

struct client {
    const struct graph *g;
    const struct dataset *data;
    uint32_t index;
    float *start, *w;
    struct train_metrics metrics;
    enum sotto_status status;
};

static enum sotto_status train(struct client *c, struct trainer *t) {
    enum sotto_status status;
    struct examples e = dataset_examples(c->data);
    struct train_stream stream = {5, 1, c->index};
    TRY(trainer_begin(t, c->start, &e, &stream, NULL));
    TRY(trainer_advance(t, 3, NULL, NULL));
    TRY(trainer_advance(t, 0, NULL, NULL));
    trainer_finish(t, c->w, &c->metrics);
out:
    return status;
}

/* A worker takes every LANES-th client. */
struct worker {
    struct train_group *group;
    struct client *clients;
    uint32_t first;
};

static void *work(void *ctx) {
    struct worker *w = ctx;
    struct trainer *t;
    enum sotto_status status = trainer_new_grouped(w->group, &t, NULL);
    for (uint32_t i = w->first; i < CLIENTS; i += LANES)
        w->clients[i].status = status == SOTTO_OK ? train(&w->clients[i], t) : status;
    if (status == SOTTO_OK)
        trainer_free(t);
    return NULL;
}

static void test_group(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct graph g = model();
    uint32_t n = g.layout.total;
    struct train_rule rule = {
        .epochs = 2, .batch = 8, .lr = 0.1f, .momentum = 0.5f, .prox_mu = 0.1f};
    struct dataset data[CLIENTS];
    struct client clients[CLIENTS];
    struct train_group *group;
    struct trainer *t;
    float *start = mem_array(n, sizeof *start), *alone = mem_array(n, sizeof *alone);
    assert_true(start && alone);
    graph_init_params(&g, 3, start);
    ASSERT_OK(train_group_new(&g, &rule, 0, kern_backend_find("cpu"), LANES, &group, &err));
    struct worker workers[LANES];
    pthread_t threads[LANES];
    for (uint32_t i = 0; i < CLIENTS; i++) {
        data[i] = task(i);
        clients[i] = (struct client){.g = &g,
                                     .data = &data[i],
                                     .index = i,
                                     .start = start,
                                     .w = mem_array(n, sizeof(float))};
        assert_non_null(clients[i].w);
    }
    for (uint32_t l = 0; l < LANES; l++) {
        workers[l] = (struct worker){group, clients, l};
        assert_int_equal(pthread_create(&threads[l], NULL, work, &workers[l]), 0);
    }
    for (uint32_t l = 0; l < LANES; l++)
        pthread_join(threads[l], NULL);
    ASSERT_OK(trainer_new(&g, &rule, 0, kern_backend_find("cpu"), &t, &err));
    for (uint32_t i = 0; i < CLIENTS; i++) {
        struct client one = clients[i];
        one.w = alone;
        ASSERT_STATUS(clients[i].status, SOTTO_OK);
        ASSERT_STATUS(train(&one, t), SOTTO_OK);
        assert_memory_equal(alone, clients[i].w, n * sizeof(float));
        assert_true(one.metrics.loss == clients[i].metrics.loss &&
                    one.metrics.seen == clients[i].metrics.seen &&
                    one.metrics.steps == clients[i].metrics.steps);
        mem_free(clients[i].w);
        dataset_deinit(&data[i]);
    }
    trainer_free(t);
    train_group_free(group);
    mem_free(start);
    mem_free(alone);
    graph_deinit(&g);
}

static void test_full(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct graph g = model();
    struct train_rule rule = TRAIN_RULE_INIT;
    struct train_group *group;
    struct trainer *a, *b;
    ASSERT_OK(train_group_new(&g, &rule, 0, kern_backend_find("ref"), 1, &group, &err));
    ASSERT_OK(trainer_new_grouped(group, &a, &err));
    ASSERT_FAILS(trainer_new_grouped(group, &b, &err), SOTTO_FULL, "every lane");
    trainer_free(a);
    ASSERT_OK(trainer_new_grouped(group, &b, &err));
    trainer_free(b);
    train_group_free(group);
    ASSERT_STATUS(train_group_new(&g, &rule, 0, kern_backend_find("ref"), 0, &group, &err),
                  SOTTO_INVALID);
    graph_deinit(&g);
}

static enum sotto_status make_group(void *ctx, struct sotto_error *err) {
    struct train_rule rule = TRAIN_RULE_INIT;
    struct train_group *group;
    struct trainer *t = NULL;
    enum sotto_status status =
        train_group_new(ctx, &rule, 0, kern_backend_find("cpu"), 2, &group, err);
    if (status == SOTTO_OK)
        status = trainer_new_grouped(group, &t, err);
    trainer_free(t);
    train_group_free(group);
    return status;
}

static void test_no_memory(void **state) {
    (void)state;
    struct graph g = model();
    test_oom_loop(make_group, &g);
    graph_deinit(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_group),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
