/* Candidates for the next version: packed as devices will get them, and evaluated as such. */
#include "advance/advance_int.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Small: larger ones are no faster, and take more memory. */
#define EVALUATE_BATCH 25u
/* Evaluation goes in pieces, so that it shows progress and can be cancelled. */
#define EVALUATE_PIECE 500u

bool task_needs_validation(const struct task_config *t) {
    return t->distill || t->gate_loss_factor > 0.0 || t->gate_accuracy_drop > 0.0;
}

/* The package's bytes, with what the strategy and the uplink send along. An extra is small beside
 * what int4 saves: values never go below int8. */
static enum sotto_status encode(const struct scene *scene, const float *master, struct buf *out,
                                struct sotto_error *err) {
    const struct strategy *s = strategy_get(scene->task->strategy);
    const enum package_precision precision = (enum package_precision)scene->task->downlink;
    const uint32_t n = scene->graph->layout.total;
    struct package_extra extras[2];
    uint32_t count = 0;
    float *values = NULL;
    if (s && s->extra) {
        values =
            scene->extra ? mem_dup(scene->extra, n * sizeof(float)) : mem_array(n, sizeof(float));
        if (!values)
            return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for %u values beside the model", n);
        extras[count] = (struct package_extra){.form = precision == PACKAGE_F32 ? PACKAGE_FORM_F32
                                                                                : PACKAGE_FORM_I8,
                                               .values = values};
        snprintf(extras[count].name, sizeof extras[count].name, "%s", s->extra);
        count++;
    }
    if (scene->support.len > 0)
        extras[count++] = (struct package_extra){
            .name = PACKAGE_SUPPORT, .form = PACKAGE_FORM_BITS, .bits = scene->support.data};
    const enum sotto_status status = package_encode_extras(scene->graph, scene->schema, master,
                                                           precision, extras, count, out, err);
    mem_free(values);
    return status;
}

enum sotto_status candidate_init(struct candidate *c, const struct scene *scene, float *master,
                                 struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    memset(c, 0, sizeof *c);
    c->master = master;
    c->validation_loss = c->validation_accuracy = NAN;
    buf_init(&c->bytes, PACKAGE_BYTES_MAX);
    const struct strategy *s = strategy_get(scene->task->strategy);
    const uint32_t n = scene->graph->layout.total;
    c->finite = vec_all_finite_f32(master, n) &&
                (!s || !s->extra || !scene->extra || vec_all_finite_f32(scene->extra, n));
    if (!c->finite)
        return SOTTO_OK;
    TRY(encode(scene, master, &c->bytes, err));
    c->hash = wire_hash_of(WIRE_LABEL_PACKAGE, buf_view(&c->bytes));
    TRY(package_decode(buf_view(&c->bytes), &c->package, err));
out:
    return status;
}

void candidate_deinit(struct candidate *c) {
    mem_free(c->master);
    buf_deinit(&c->bytes);
    package_deinit(&c->package);
    memset(c, 0, sizeof *c);
}

enum sotto_status candidate_validate(struct candidate *c, struct scene *scene,
                                     struct sotto_error *err) {
    if (!c->finite || c->validated)
        return SOTTO_OK;
    c->validated = true;
    return scene_evaluate(scene, c->package.params, &scene->data->validation, 0, "validate",
                          &c->validation_loss, &c->validation_accuracy, err);
}

static enum sotto_status tell(struct scene *scene, const char *what, uint32_t done, uint32_t total,
                              struct sotto_error *err) {
    if (scene->progress && !scene->progress(scene->ctx, what, done, total))
        return SOTTO_FAIL(err, SOTTO_CANCELLED, "the server step was cancelled (%s, %u of %u)",
                          what, done, total);
    return SOTTO_OK;
}

enum sotto_status scene_evaluate(struct scene *scene, const float *params,
                                 const struct dataset *data, uint32_t limit, const char *what,
                                 double *loss, double *accuracy, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct examples all = dataset_examples(data);
    uint32_t total = limit && limit < all.count ? limit : all.count;
    struct train_metrics sum = {0};
    *loss = *accuracy = NAN;
    if (total == 0)
        return SOTTO_OK;
    if (!scene->evaluator)
        TRY(evaluator_new(scene->graph, EVALUATE_BATCH, scene->backend, &scene->evaluator, err));
    for (uint32_t done = 0; done < total;) {
        struct examples piece = all;
        piece.x = dataset_example(data, done);
        piece.labels = data->labels + done;
        piece.count = total - done < EVALUATE_PIECE ? total - done : EVALUATE_PIECE;
        struct train_metrics m;
        TRY(evaluator_run(scene->evaluator, params, &piece, &m, err));
        sum.loss += m.loss;
        sum.correct += m.correct;
        sum.seen += m.seen;
        done += piece.count;
        TRY(tell(scene, what, done, total, err));
    }
    if (sum.seen > 0) {
        *loss = sum.loss / (double)sum.seen;
        *accuracy = (double)sum.correct / (double)sum.seen;
    }
out:
    return status;
}
