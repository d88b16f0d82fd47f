/* Predictions with the newest model of a task. */
#include "lib/client_int.h"

#include <string.h>

void client_predict_clear(struct sotto_client *c) {
    struct client_predictor *p = &c->predictor;
    if (p->evaluator != NULL) {
        evaluator_free(p->evaluator);
        package_deinit(&p->package);
    }
    memset(p, 0, sizeof *p);
}

static enum sotto_status load(struct sotto_client *c, const char *task, struct sotto_error *err) {
    struct client_predictor *p = &c->predictor;
    struct buf bytes;
    enum sotto_status status;
    bool opened = false;
    client_predict_clear(c);
    buf_init(&bytes, PACKAGE_BYTES_MAX);
    TRY(devstore_package_read(c->store, NULL, task, &bytes, err));
    opened = true;
    TRY(package_open(buf_view(&bytes), &p->package, err));
    TRY(evaluator_new_precision(&p->package.graph, 1, client_precision(&p->package), c->backend,
                                &p->evaluator, err));
    TRY(evaluator_load(p->evaluator, &p->package, err));
    package_drop_weights(&p->package);
    wire_set_text(p->task, sizeof p->task, task);
out:
    if (status != SOTTO_OK && opened) {
        evaluator_free(p->evaluator);
        p->evaluator = NULL;
        package_deinit(&p->package);
    }
    buf_deinit(&bytes);
    return status;
}

enum sotto_status client_predict(struct sotto_client *c, const char *task, struct view values,
                                 float *out, uint32_t classes, struct sotto_error *err) {
    struct client_predictor *p = &c->predictor;
    if (p->evaluator == NULL || strcmp(p->task, task) != 0) {
        const enum sotto_status status = load(c, task, err);
        if (status != SOTTO_OK)
            return status;
    }
    if (values.n != data_schema_example_bytes(&p->package.schema))
        return SOTTO_FAIL(err, SOTTO_INVALID, "an example has %zu bytes, not %zu",
                          data_schema_example_bytes(&p->package.schema), values.n);
    if (classes != p->package.schema.classes)
        return SOTTO_FAIL(err, SOTTO_INVALID, "the model has %u classes, not %u",
                          p->package.schema.classes, classes);
    const struct examples one = {.schema = &p->package.schema, .x = values.p, .count = 1};
    return evaluator_predict(p->evaluator, NULL, &one, 1.0f, out, err);
}
