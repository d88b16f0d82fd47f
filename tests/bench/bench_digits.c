/* How fast digits are drawn, and how hard they are: accuracy on unseen writers of the zoo's models,
 * trained on all writers' examples in one place.
 *
 * bench_digits [--json] [--model NAME] [--writers N] [--examples N] [--epochs N] */
#include <stdio.h>
#include <string.h>

#include "sotto/zoo.h"

#define TEST_WRITER_FIRST 1000000 /* far from any writer that is trained on */
#define TEST_WRITERS      200
#define TEST_EXAMPLES     50

struct options {
    bool json;
    const char *model;                  /* NULL: all below */
    uint64_t writers, examples, epochs; /* epochs 0: as the model needs */
};

/* Learning rates of plain SGD at B=10, and passes after which little changes. */
static const struct {
    const char *name;
    float lr;
    uint32_t epochs;
} models[] = {{"logreg", 0.03f, 10}, {"mnist-2nn", 0.1f, 10}, {"mnist-cnn", 0.05f, 3}};

static enum sotto_status draw(const struct options *o, struct dataset *train, struct dataset *test,
                              struct sotto_error *err) {
    const struct digits_config seen = {
        .seed = 1, .writer_count = (uint32_t)o->writers, .per_writer = (uint32_t)o->examples};
    const struct digits_config unseen = {.seed = 1,
                                         .writer_first = TEST_WRITER_FIRST,
                                         .writer_count = TEST_WRITERS,
                                         .per_writer = TEST_EXAMPLES,
                                         .uniform_classes = true};
    uint64_t begin = clock_thread_cpu_ns();
    enum sotto_status status = dataset_draw_digits(&seen, train, err);
    double seconds = (double)(clock_thread_cpu_ns() - begin) * 1e-9;
    if (status == SOTTO_OK)
        status = dataset_draw_digits(&unseen, test, err);
    if (status != SOTTO_OK)
        return status;
    if (o->json)
        printf("{\"what\":\"draw\",\"examples\":%u,\"examples_per_s\":%.0f}\n", train->count,
               train->count / seconds);
    else
        printf("%u digits of %u writers drawn, %.0f/s on one core\n\n%-10s %5s %9s %7s %9s\n",
               train->count, train->key_count, train->count / seconds, "model", "epoch", "accuracy",
               "loss", "seconds");
    return SOTTO_OK;
}

static void report(const struct options *o, const char *model, uint32_t epoch,
                   const struct train_metrics *m, double seconds) {
    double accuracy = (double)m->correct / (double)m->seen, loss = m->loss / (double)m->seen;
    if (o->json)
        printf("{\"what\":\"train\",\"model\":\"%s\",\"epoch\":%u,\"accuracy\":%.4f,\"loss\":%.4f,"
               "\"seconds\":%.2f}\n",
               model, epoch, accuracy, loss, seconds);
    else
        printf("%-10s %5u %8.2f%% %7.4f %9.2f\n", model, epoch, 100 * accuracy, loss, seconds);
    fflush(stdout);
}

static enum sotto_status run_model(const struct options *o, const char *name, float lr,
                                   uint32_t epochs, const struct dataset *train,
                                   const struct dataset *test, struct sotto_error *err) {
    struct graph graph;
    struct data_schema schema;
    struct trainer *trainer = NULL;
    struct evaluator *evaluator = NULL;
    float *params = NULL;
    double seconds = 0;
    enum sotto_status status;
    const struct kern_backend *backend = kern_backend_find("cpu");
    struct train_rule rule = TRAIN_RULE_INIT;
    rule.lr = lr;
    graph_init(&graph);
    TRY(zoo_build(name, &graph, &schema, err));
    params = mem_array(graph.layout.total, sizeof *params);
    if (!params)
        TRY_FAIL(err, SOTTO_NOMEM, "no memory for %u parameters", graph.layout.total);
    graph_init_params(&graph, 1, params);
    TRY(trainer_new(&graph, &rule, 0, backend, &trainer, err));
    TRY(evaluator_new(&graph, 100, backend, &evaluator, err));
    struct examples seen = dataset_examples(train), unseen = dataset_examples(test);
    for (uint32_t epoch = 1; epoch <= epochs; epoch++) {
        struct train_stream stream = {1, epoch, 0};
        struct train_metrics m;
        bool done = false;
        uint64_t begin = clock_mono_ns();
        TRY(trainer_begin(trainer, params, &seen, &stream, err));
        while (!done)
            TRY(trainer_advance(trainer, 0, &done, err));
        trainer_finish(trainer, params, &m);
        seconds += (double)(clock_mono_ns() - begin) * 1e-9;
        TRY(evaluator_run(evaluator, params, &unseen, &m, err));
        report(o, name, epoch, &m, seconds);
    }
out:
    evaluator_free(evaluator);
    trainer_free(trainer);
    mem_free(params);
    graph_deinit(&graph);
    return status;
}

static enum sotto_status run(const struct options *o, struct sotto_error *err) {
    struct dataset train, test;
    dataset_init(&train);
    dataset_init(&test);
    enum sotto_status status;
    TRY(draw(o, &train, &test, err));
    for (size_t i = 0; i < ARRAY_LEN(models); i++)
        if (!o->model || strcmp(o->model, models[i].name) == 0)
            TRY(run_model(o, models[i].name, models[i].lr,
                          o->epochs ? (uint32_t)o->epochs : models[i].epochs, &train, &test, err));
out:
    dataset_deinit(&test);
    dataset_deinit(&train);
    return status;
}

static enum sotto_status parse(struct options *o, int argc, char **argv, struct sotto_error *err) {
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--json") == 0) {
            o->json = true;
            continue;
        }
        enum sotto_status status = SOTTO_OK;
        if (strcmp(argv[i], "--model") == 0)
            o->model = value;
        else if (strcmp(argv[i], "--writers") == 0)
            status = num_parse_u64(value, 1, TEST_WRITER_FIRST, &o->writers, err);
        else if (strcmp(argv[i], "--examples") == 0)
            status = num_parse_u64(value, 1, 100000, &o->examples, err);
        else if (strcmp(argv[i], "--epochs") == 0)
            status = num_parse_u64(value, 1, 1000, &o->epochs, err);
        else
            status = SOTTO_FAIL(err, SOTTO_USAGE,
                                "usage: bench_digits [--json] [--model NAME] [--writers N] "
                                "[--examples N] [--epochs N]");
        if (status != SOTTO_OK)
            return status;
        i++;
    }
    for (size_t i = 0; o->model && i < ARRAY_LEN(models); i++)
        if (strcmp(models[i].name, o->model) == 0)
            return SOTTO_OK;
    return o->model ? SOTTO_FAIL(err, SOTTO_USAGE, "--model is logreg, mnist-2nn or mnist-cnn")
                    : SOTTO_OK;
}

int main(int argc, char **argv) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct options o = {.writers = 200, .examples = 60};
    enum sotto_status status = parse(&o, argc, argv, &err);
    if (status == SOTTO_OK)
        status = run(&o, &err);
    if (status != SOTTO_OK)
        fprintf(stderr, "bench_digits: %s\n", err.message);
    return sotto_status_exit(status);
}
