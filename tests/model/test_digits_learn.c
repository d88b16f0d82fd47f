/* Drawn digits are worth learning: on unseen writers a linear model falls clearly behind one with
 * hidden layers. */
#include "support.h"

#include <stdio.h>

#include "sotto/zoo.h"

/* Accuracy on 40 unseen writers after passes over the examples of 100 others. */
static double learn(const char *model, float lr, uint32_t passes) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    const struct digits_config seen = {1, 0, 100, 50, false}, unseen = {1, 5000, 40, 40, true};
    struct dataset train, test;
    struct graph graph;
    struct data_schema schema;
    struct trainer *trainer = NULL;
    struct evaluator *evaluator = NULL;
    struct train_rule rule = TRAIN_RULE_INIT;
    struct train_metrics m;
    bool done = false;
    rule.lr = lr;
    rule.epochs = passes;
    graph_init(&graph);
    ASSERT_OK(dataset_draw_digits(&seen, &train, &err));
    ASSERT_OK(dataset_draw_digits(&unseen, &test, &err));
    ASSERT_OK(zoo_build(model, &graph, &schema, &err));
    assert_true(data_schema_equal(&schema, &train.schema));
    float *params = mem_array(graph.layout.total, sizeof *params);
    assert_non_null(params);
    graph_init_params(&graph, 1, params);
    ASSERT_OK(trainer_new(&graph, &rule, 0, kern_backend_find("cpu"), &trainer, &err));
    ASSERT_OK(evaluator_new(&graph, 50, kern_backend_find("cpu"), &evaluator, &err));
    struct examples all = dataset_examples(&train), held_out = dataset_examples(&test);
    struct train_stream stream = {1, 1, 0};
    ASSERT_OK(trainer_begin(trainer, params, &all, &stream, &err));
    while (!done)
        ASSERT_OK(trainer_advance(trainer, 0, &done, &err));
    trainer_finish(trainer, params, &m);
    ASSERT_OK(evaluator_run(evaluator, params, &held_out, &m, &err));
    evaluator_free(evaluator);
    trainer_free(trainer);
    mem_free(params);
    graph_deinit(&graph);
    dataset_deinit(&test);
    dataset_deinit(&train);
    double accuracy = (double)m.correct / (double)m.seen;
    printf("%s: %.2f%% on unseen writers\n", model, 100 * accuracy);
    return accuracy;
}

static void hidden_layers_pay(void **state) {
    (void)state;
    double linear = learn("logreg", 0.03f, 5), hidden = learn("mnist-2nn", 0.05f, 5);
    assert_true(linear > 0.78 && linear < 0.92);
    assert_true(hidden > 0.93);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(hidden_layers_pay)};
    return cmocka_run_group_tests_name("model/data/learn", tests, NULL, NULL);
}
