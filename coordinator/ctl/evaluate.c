/* sottoctl models evaluate: a published package on the task's held-out examples, as a device gets
 * it. */
#include "ctl/ctl.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define EVALUATE_BATCH    100
#define SAMPLES_DEFAULT   8
#define SAMPLES_MAX       64
#define CLASSES_SHOWN_MAX 16
#define SAMPLE_COLUMNS    28
#define SAMPLES_A_ROW     4

struct evaluation {
    struct package package;
    struct task_config task;
    struct config *config;
    struct task_data data;
    const struct dataset *set;
    float *probabilities; /* count * classes */
    uint32_t *confusion;  /* classes * classes: row label, column prediction */
    uint32_t classes;
    double accuracy, loss;
};

static uint32_t best(const float *p, uint32_t n) {
    uint32_t k = 0;
    for (uint32_t i = 1; i < n; i++)
        if (p[i] > p[k])
            k = i;
    return k;
}

static enum sotto_status fetch(struct cli *cli, struct evaluation *e, struct sotto_error *err) {
    enum sotto_status status;
    struct buf package, yaml;
    const char *task = cli_arg(cli, 0), *version = cli_arg(cli, 1) ? cli_arg(cli, 1) : "current";
    struct view want[] = {view_of("models-package", 14), view_of(task, strlen(task)),
                          view_of(version, strlen(version))};
    struct view settings[] = {view_of("task-yaml", 9), view_of(task, strlen(task))};
    buf_init(&package, PACKAGE_BYTES_MAX);
    buf_init(&yaml, CONFIG_FILE_MAX);
    TRY(ctl_ask(cli, false, want, 3, &package, err));
    TRY(ctl_ask(cli, false, settings, 2, &yaml, err));
    TRY(package_decode(buf_view(&package), &e->package, err));
    TRY(config_parse(task_options, &e->task, task, buf_view(&yaml), NULL, 0, &e->config, err));
    e->task.distill = false; /* its pool is not needed here */
    if (cli_flag(cli, "all"))
        e->task.data_count = 0;
    TRY(task_data_load(&e->task, &e->package.schema, cli_flag(cli, "data"), &e->data, err));
    e->set = &e->data.test;
    if (e->set->count == 0)
        TRY_FAIL(err, SOTTO_NOT_FOUND, "task '%s' holds no test examples", task);
out:
    buf_deinit(&package);
    buf_deinit(&yaml);
    return status;
}

static enum sotto_status evaluate(struct evaluation *e, struct sotto_error *err) {
    enum sotto_status status;
    struct evaluator *evaluator = NULL;
    struct examples all = dataset_examples(e->set);
    struct train_metrics m;
    e->classes = graph_classes(&e->package.graph);
    e->probabilities = mem_array(e->set->count, e->classes * sizeof *e->probabilities);
    e->confusion = mem_array((size_t)e->classes * e->classes, sizeof *e->confusion);
    if (!e->probabilities || !e->confusion)
        TRY_FAIL(err, SOTTO_NOMEM, "out of memory");
    TRY(evaluator_new(&e->package.graph, EVALUATE_BATCH, kern_backend_find("cpu"), &evaluator,
                      err));
    TRY(evaluator_run(evaluator, e->package.params, &all, &m, err));
    TRY(evaluator_predict(evaluator, e->package.params, &all, 1.0f, e->probabilities, err));
    e->accuracy = m.seen ? (double)m.correct / (double)m.seen : NAN;
    e->loss = m.seen ? m.loss / (double)m.seen : NAN;
    for (uint32_t i = 0; i < e->set->count; i++) {
        int32_t label = e->set->labels[i];
        if (label >= 0 && (uint32_t)label < e->classes)
            e->confusion[(uint32_t)label * e->classes +
                         best(e->probabilities + (size_t)i * e->classes, e->classes)]++;
    }
out:
    evaluator_free(evaluator);
    return status;
}

static void print_json(const struct evaluation *e) {
    struct buf out;
    struct json j;
    buf_init(&out, (size_t)64 << 20);
    json_init(&j, &out);
    json_object_begin(&j);
    json_put_u64(&j, "examples", e->set->count);
    json_put_f64(&j, "accuracy", e->accuracy);
    json_put_f64(&j, "loss", e->loss);
    json_key(&j, "confusion");
    json_array_begin(&j);
    for (uint32_t r = 0; r < e->classes; r++) {
        json_array_begin(&j);
        for (uint32_t c = 0; c < e->classes; c++)
            json_u64(&j, e->confusion[r * e->classes + c]);
        json_array_end(&j);
    }
    json_array_end(&j);
    json_object_end(&j);
    buf_put_u8(&out, '\n');
    if (out.status == SOTTO_OK)
        fwrite(out.data, 1, out.len, stdout);
    buf_deinit(&out);
}

static void print_confusion(const struct evaluation *e) {
    if (e->classes > CLASSES_SHOWN_MAX)
        return;
    printf("\nconfusion (rows: label, columns: prediction)\n      ");
    for (uint32_t c = 0; c < e->classes; c++)
        printf("%5u", c);
    printf("   correct\n");
    for (uint32_t r = 0; r < e->classes; r++) {
        uint32_t sum = 0;
        printf("%5u ", r);
        for (uint32_t c = 0; c < e->classes; c++) {
            uint32_t n = e->confusion[r * e->classes + c];
            sum += n;
            if (n)
                printf("%5u", n);
            else
                printf("    .");
        }
        printf("   %6.1f%%\n", sum ? 100.0 * e->confusion[r * e->classes + r] / sum : 0.0);
    }
}

/* One row of images side by side: line by line from each picture's own text. */
static void print_row(const struct evaluation *e, const uint32_t *examples, uint32_t count,
                      bool unicode) {
    struct buf pictures[SAMPLES_A_ROW];
    size_t at[SAMPLES_A_ROW] = {0};
    bool more = true;
    for (uint32_t i = 0; i < count; i++) {
        buf_init(&pictures[i], 64u << 10);
        data_print_image(&e->set->schema, dataset_example(e->set, examples[i]), unicode,
                         &pictures[i]);
    }
    while (more) {
        more = false;
        for (uint32_t i = 0; i < count; i++) {
            const struct buf *b = &pictures[i];
            size_t start = at[i], columns = 0;
            while (at[i] < b->len && b->data[at[i]] != '\n') {
                columns += (b->data[at[i]] & 0xc0) != 0x80; /* characters, not bytes */
                at[i]++;
            }
            printf("%.*s%*s", (int)(at[i] - start), (const char *)b->data + start,
                   columns < SAMPLE_COLUMNS ? (int)(SAMPLE_COLUMNS - columns) + 2 : 2, "");
            if (at[i] < b->len)
                at[i]++;
            more |= at[i] < b->len;
        }
        printf("\n");
    }
    for (uint32_t i = 0; i < count; i++) {
        const float *p = e->probabilities + (size_t)examples[i] * e->classes;
        uint32_t k = best(p, e->classes);
        char text[64];
        bool right = (uint32_t)e->set->labels[examples[i]] == k;
        snprintf(text, sizeof text, "%d: predicted %u (%.0f%%)%s", e->set->labels[examples[i]], k,
                 100.0 * (double)p[k], right ? "" : ", wrong");
        printf("%-*s", SAMPLE_COLUMNS + 2, text);
        buf_deinit(&pictures[i]);
    }
    printf("\n\n");
}

/* Samples spread over the test set; the first wrong ones are shown too, since they teach more. */
static void print_samples(const struct evaluation *e, uint32_t wanted, bool unicode) {
    uint32_t chosen[SAMPLES_MAX], n = 0, wrong = wanted / 4;
    if (e->set->schema.dims[2] != 1 && e->set->schema.rank == 3)
        return;
    if (e->set->schema.rank < 2)
        return;
    for (uint32_t i = 0; i < e->set->count && n < wrong; i++)
        if ((uint32_t)e->set->labels[i] !=
            best(e->probabilities + (size_t)i * e->classes, e->classes))
            chosen[n++] = i;
    for (uint32_t i = 0; n < wanted && i < wanted; i++)
        chosen[n++] = (uint32_t)((uint64_t)i * e->set->count / wanted);
    printf("\n");
    for (uint32_t i = 0; i < n; i += SAMPLES_A_ROW)
        print_row(e, chosen + i, (uint32_t)num_min_u64(SAMPLES_A_ROW, n - i), unicode);
}

int ctl_models_evaluate(struct cli *cli) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct evaluation e;
    uint64_t samples = SAMPLES_DEFAULT;
    enum sotto_status status;
    memset(&e, 0, sizeof e);
    TRY(cli_flag_u64(cli, "samples", 0, SAMPLES_MAX, &samples, &err));
    TRY(id_setup(&err));
    TRY(fetch(cli, &e, &err));
    TRY(evaluate(&e, &err));
    if (cli_json(cli)) {
        print_json(&e);
    } else {
        printf("%s version %s: accuracy %.4f, loss %.4f on %u held-out examples\n", cli_arg(cli, 0),
               cli_arg(cli, 1) ? cli_arg(cli, 1) : "current", e.accuracy, e.loss, e.set->count);
        print_samples(&e, (uint32_t)samples, !cli_flag(cli, "ascii"));
        print_confusion(&e);
    }
out:
    package_deinit(&e.package);
    task_data_deinit(&e.data);
    config_free(e.config);
    mem_free(e.probabilities);
    mem_free(e.confusion);
    return status == SOTTO_OK ? 0 : cli_fail(cli, &err);
}
