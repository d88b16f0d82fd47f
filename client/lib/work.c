/* The work under a plan: package and examples made ready, training in slices with checkpoints, the
 * update sealed and stored. */
#include "lib/client_int.h"

#include <stdio.h>
#include <string.h>

enum graph_precision client_precision(const struct package *p) {
    return p->precision == PACKAGE_I8 ? GRAPH_W8 : GRAPH_F32;
}

static void free_package(struct client_work *w) {
    if (w->have_package)
        package_deinit(&w->package);
    buf_deinit(&w->bytes);
    w->have_package = false;
}

void client_work_clear(struct sotto_client *c) {
    struct client_work *w = &c->work;
    trainer_free(w->trainer);
    evaluator_free(w->evaluator);
    free_package(w);
    if (w->have_data)
        dataset_deinit(&w->data);
    memset(w, 0, sizeof *w);
}

static enum sotto_status save_checkpoint(struct sotto_client *c, struct sotto_error *err) {
    const struct wire_hash terms = session_terms_hash(c->session);
    struct buf bytes;
    buf_init(&bytes, (size_t)1 << 30);
    trainer_save(c->work.trainer, &bytes);
    enum sotto_status status = bytes.status;
    if (status == SOTTO_OK)
        status = devstore_checkpoint_put(c->store, &terms, buf_view(&bytes), err);
    buf_deinit(&bytes);
    return status;
}

void client_work_cancel(struct sotto_client *c) {
    if (c->work.kind == CLIENT_WORK_TRAINING && c->work.trainer != NULL &&
        session_terms(c->session) != NULL)
        (void)save_checkpoint(c, NULL); /* without one it begins anew */
    client_work_clear(c);
}

uint32_t client_work_permille(const struct sotto_client *c) {
    const struct client_work *w = &c->work;
    uint64_t done = 0, all = 0;
    if (w->kind == CLIENT_WORK_TRAINING) {
        done = trainer_steps_done(w->trainer);
        all = trainer_steps_total(w->trainer);
    } else if (w->kind == CLIENT_WORK_EVALUATING) {
        done = w->evaluated;
        all = w->data.count;
    }
    return all == 0 ? 0 : (uint32_t)(done * 1000 / all);
}

/* ---- Prepare
 * ----------------------------------------------------------------------------------------------------------------
 */

static bool is_package(struct view bytes, const struct wire_hash *hash) {
    const struct wire_hash got = wire_hash_of(SESSION_LABEL_PACKAGE, bytes);
    return wire_hash_equal(&got, hash);
}

/* What was downloaded becomes the package; it goes when it does not hold. */
static enum sotto_status take_download(struct sotto_client *c, const struct wire_hash *hash,
                                       const char *task, struct buf *out, struct sotto_error *err) {
    struct devstore_part part;
    struct buf blob, base;
    enum sotto_status status;
    buf_init(&blob, PACKAGE_BYTES_MAX);
    buf_init(&base, PACKAGE_BYTES_MAX);
    TRY(devstore_part_get(c->store, &part, err));
    if (!wire_hash_equal(&part.package, hash) || part.chunks != chunk_count(part.bytes))
        TRY_FAIL(err, SOTTO_CORRUPT, "the download is of another package");
    if (part.delta) {
        TRY(devstore_part_read(c->store, &blob, err));
        TRY(devstore_package_read(c->store, &c->work.base_hash, NULL, &base, err));
        TRY(package_delta_apply(buf_view(&base), buf_view(&blob), out, err));
    } else {
        TRY(devstore_part_read(c->store, out, err));
    }
    if (!is_package(buf_view(out), hash))
        TRY_FAIL(err, SOTTO_CORRUPT, "the package that was downloaded does not have its hash");
    TRY(devstore_package_put(c->store, hash, task, buf_view(out), err));
    client_predict_clear(c);
out:
    buf_deinit(&blob);
    buf_deinit(&base);
    return status;
}

static enum sotto_status load_package(struct sotto_client *c, const sotto_Terms *t,
                                      struct sotto_error *err) {
    struct client_work *w = &c->work;
    enum sotto_status status;
    free_package(w);
    buf_init(&w->bytes, PACKAGE_BYTES_MAX);
    status = devstore_package_read(c->store, &w->package_hash, NULL, &w->bytes, NULL);
    if (status == SOTTO_OK && !is_package(buf_view(&w->bytes), &w->package_hash)) {
        TRY(devstore_package_drop(c->store, &w->package_hash, err));
        TRY_FAIL(err, SOTTO_CORRUPT, "the stored package is damaged");
    }
    if (status != SOTTO_OK) {
        buf_reset(&w->bytes);
        status = take_download(c, &w->package_hash, t->task, &w->bytes, err);
        if (status != SOTTO_OK) {
            (void)devstore_part_drop(c->store, NULL);
            goto out;
        }
    }
    w->have_package = true; /* to be deinited, whatever becomes of it */
    TRY(package_open(buf_view(&w->bytes), &w->package, err));
out:
    if (status != SOTTO_OK)
        free_package(w);
    return status;
}

/* Bytes and operations that the work will take; nothing of it is allocated yet. */
static enum sotto_status measure(struct sotto_client *c, const sotto_Terms *t,
                                 struct session_event *e, struct sotto_error *err) {
    const struct client_work *w = &c->work;
    struct train_rule rule;
    struct kern_program *program = NULL;
    uint32_t count = w->data.count;
    if (count == 0)
        return SOTTO_OK;
    terms_rule(t, &rule);
    if (rule.examples_max > 0 && count > rule.examples_max)
        count = rule.examples_max;
    const bool train = t->kind == sotto_Kind_KIND_TRAIN;
    const struct graph_options options =
        train ? train_options(&rule, rule.batch > 0 ? rule.batch : count)
              : evaluator_options(CLIENT_EVAL_BATCH, client_precision(&w->package));
    enum sotto_status status = graph_compile_program(&w->package.graph, &options, &program, err);
    if (status != SOTTO_OK)
        return status;
    double steps = (double)(count / options.batch) + (count % options.batch > 0 ? 1 : 0);
    steps *= train ? rule.epochs : 1;
    if (rule.steps_max > 0 && steps > rule.steps_max)
        steps = rule.steps_max;
    e->prepared.flops = kern_program_flops(program) * steps;
    status = kern_exec_plan(program, kern_backend_host(), 1, &e->prepared.arena_bytes, err);
    graph_program_free(program);
    return status;
}

/* What of the examples concerns the plan goes into the event; only a failing store is an error. */
static enum sotto_status load_examples(struct sotto_client *c, const sotto_Terms *t,
                                       struct session_event *e, struct sotto_error *err) {
    struct client_work *w = &c->work;
    struct devstore_collection collection;
    char have[64], want[64];
    const char *name = t->collection[0] != '\0' ? t->collection : t->task;
    enum sotto_status status = devstore_collection_get(c->store, name, &collection, err);
    e->prepared.schema_ok = false;
    if (status == SOTTO_NOT_FOUND) {
        snprintf(e->prepared.detail, sizeof e->prepared.detail, "no collection \"%.60s\"", name);
        return SOTTO_OK;
    }
    if (status != SOTTO_OK)
        return status;
    if (!data_schema_equal(&collection.schema, &w->package.schema)) {
        snprintf(e->prepared.detail, sizeof e->prepared.detail, "has %.40s, the model takes %.40s",
                 data_schema_text(&collection.schema, have, sizeof have),
                 data_schema_text(&w->package.schema, want, sizeof want));
        return SOTTO_OK;
    }
    TRY(devstore_examples_expire(c->store, clock_wall_ms(), err));
    TRY(devstore_examples_load(c->store, name, &w->data, err));
    w->have_data = true;
    e->prepared.schema_ok = true;
    e->prepared.examples = w->data.count;
out:
    return status;
}

static enum sotto_status prepare(struct sotto_client *c, struct session_event *e,
                                 struct sotto_error *err) {
    const sotto_Terms *t = session_terms(c->session);
    enum sotto_status status;
    if (t == NULL)
        return SOTTO_FAIL(err, SOTTO_STATE, "no plan");
    TRY(load_package(c, t, err));
    TRY(load_examples(c, t, e, err));
    TRY(measure(c, t, e, err));
    c->work.kind = CLIENT_WORK_PREPARED;
    e->kind = SESSION_PREPARED;
out:
    return status;
}

/* ---- Train, evaluate
 * --------------------------------------------------------------------------------------------------------
 */

static void describe_residual(const sotto_Terms *t, const struct layout *layout,
                              struct devstore_residual *out) {
    struct buf bytes;
    buf_init(&bytes, (size_t)1 << 20);
    layout_encode(layout, &bytes);
    memcpy(out->task_id, t->task_id.bytes, WIRE_TASK_ID);
    out->layout = wire_hash_of("sotto layout v1", buf_view(&bytes));
    out->round = t->round;
    buf_deinit(&bytes);
}

static bool has_control(const sotto_Terms *t) {
    return t->kind == sotto_Kind_KIND_TRAIN && t->rule.algorithm == WIRE_ALGORITHM_SCAFFOLD;
}

/* What the package says of the model's control variates. */
static enum sotto_status global_control(const struct client_work *w, const float **out,
                                        struct sotto_error *err) {
    const struct package_extra *e = package_extra_find(&w->package, PACKAGE_CONTROL);
    if (e == NULL || e->values == NULL)
        return SOTTO_FAIL(err, SOTTO_INVALID,
                          "the package lacks the control variates that its "
                          "terms train with");
    *out = e->values;
    return SOTTO_OK;
}

/* This device's, zeros before its first report of the task; the caller's. A damaged file costs what
 * was learnt, not the device. */
static enum sotto_status own_control(struct sotto_client *c, const sotto_Terms *t, float **out,
                                     struct sotto_error *err) {
    const struct layout *layout = &c->work.package.graph.layout;
    struct devstore_residual which;
    float *own = mem_array(layout->total, sizeof *own);
    *out = own;
    if (own == NULL)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for %u control variates", layout->total);
    describe_residual(t, layout, &which);
    const enum sotto_status status =
        devstore_control_get(c->store, &which, own, layout->total, err);
    if (status != SOTTO_NOT_FOUND && status != SOTTO_CORRUPT)
        return status;
    memset(own, 0, layout->total * sizeof *own);
    return SOTTO_OK;
}

static enum sotto_status begin_steps(struct sotto_client *c, const sotto_Terms *t,
                                     struct sotto_error *err) {
    struct client_work *w = &c->work;
    const struct train_stream stream = {t->task_seed, t->round, c->identity.serial};
    const struct examples examples = dataset_examples(&w->data);
    const float *global = NULL;
    float *own = NULL;
    enum sotto_status status;
    TRY(trainer_begin_package(w->trainer, &w->package, &examples, &stream, err));
    if (!has_control(t))
        return SOTTO_OK;
    TRY(global_control(w, &global, err));
    TRY(own_control(c, t, &own, err));
    terms_drift(t, w->package.graph.layout.total, global, own, own);
    trainer_drift(w->trainer, own);
out:
    mem_free(own);
    return status;
}

static enum sotto_status begin_training(struct sotto_client *c, const sotto_Terms *t,
                                        struct sotto_error *err) {
    struct client_work *w = &c->work;
    const struct wire_hash terms = session_terms_hash(c->session);
    struct train_rule rule;
    struct buf saved;
    enum sotto_status status;
    terms_rule(t, &rule);
    buf_init(&saved, (size_t)1 << 30);
    TRY(trainer_new(&w->package.graph, &rule, w->data.count, w->backend, &w->trainer, err));
    TRY(begin_steps(c, t, err));
    if (devstore_checkpoint_get(c->store, &terms, &saved, NULL) == SOTTO_OK) {
        if (trainer_resume(w->trainer, buf_view(&saved), NULL) == SOTTO_OK)
            client_log(c, "training goes on at step %u of %u", trainer_steps_done(w->trainer),
                       trainer_steps_total(w->trainer));
        else
            TRY(begin_steps(c, t, err));
    }
    w->checkpoint_ms = clock_mono_ms();
    w->train_ns = 0;
    w->first_step = trainer_steps_done(w->trainer);
    w->kind = CLIENT_WORK_TRAINING;
out:
    buf_deinit(&saved);
    return status;
}

static enum sotto_status begin_work(struct sotto_client *c, struct sotto_error *err) {
    const sotto_Terms *t = session_terms(c->session);
    struct client_work *w = &c->work;
    bool ready = false;
    if (t == NULL || !w->have_package || !w->have_data)
        return SOTTO_FAIL(err, SOTTO_STATE, "nothing is prepared");
    enum sotto_status status = client_choose(c, t, &ready, err);
    if (status != SOTTO_OK || !ready)
        return status;
    if (t->kind == sotto_Kind_KIND_TRAIN)
        return begin_training(c, t, err);
    TRY(evaluator_new_precision(&w->package.graph, CLIENT_EVAL_BATCH, client_precision(&w->package),
                                w->backend, &w->evaluator, err));
    TRY(evaluator_load(w->evaluator, &w->package, err));
    w->kind = CLIENT_WORK_EVALUATING;
out:
    return status;
}

/* Seals and stores what was computed. what: residual, control variate and what is decoded of them,
 * each NULL where there is none; the rest is filled in. */
static enum sotto_status seal_and_store(struct sotto_client *c, const sotto_Terms *t,
                                        const struct codec_update *update,
                                        struct devstore_seal *what, struct session_event *e,
                                        struct sotto_error *err) {
    uint8_t content_key[SEAL_KEY];
    struct buf report;
    enum sotto_status status;
    buf_init(&report, (size_t)WIRE_BLOB_MAX);
    what->terms = session_terms_hash(c->session);
    id_random(content_key, sizeof content_key);
    TRY(seal_report(update, t->round_key.bytes, &what->terms, c->identity.serial, content_key,
                    &report, err));
    what->t = t;
    what->report = buf_view(&report);
    what->report_hash = wire_hash_of(SESSION_LABEL_REPORT, what->report);
    TRY(devstore_seal(c->store, what, clock_wall_ms(), err));
    e->kind = SESSION_TRAINED;
    e->report.bytes = report.len;
    e->report.hash = what->report_hash;
out:
    id_wipe(content_key, sizeof content_key);
    buf_deinit(&report);
    return status;
}

/* The coordinates that the others send too, as the package names them. */
static struct view common_support(const struct client_work *w, const sotto_Terms *t) {
    const struct package_extra *e = package_extra_find(&w->package, PACKAGE_SUPPORT);
    const bool wanted = t->has_pipeline && t->pipeline.support == CODEC_SUPPORT_PUBLISHED;
    return wanted && e != NULL && e->bits != NULL
               ? view_of(e->bits, (w->package.graph.layout.total + 7) / 8)
               : view_of(NULL, 0);
}

/* The arrays of a training's end, of the layout's size, NULL where there is none; the caller's. */
struct finished {
    float *change, *residual; /* trained weights less the package's */
    struct terms_control control;
};

static void finished_deinit(struct finished *f) {
    mem_free(f->change);
    mem_free(f->residual);
    mem_free(f->control.own);
    mem_free(f->control.change);
}

/* The weights come out of the trainer, whose memory makes room for the rest; the package's are
 * subtracted as they lie, and go too. */
static enum sotto_status take_change(struct sotto_client *c, uint32_t total, struct finished *f,
                                     struct sotto_error *err) {
    struct client_work *w = &c->work;
    f->change = mem_array(total, sizeof *f->change);
    if (f->change == NULL)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for %u weights", total);
    const uint64_t begin = clock_mono_ns();
    const uint32_t steps = trainer_steps_done(w->trainer);
    trainer_finish(w->trainer, f->change, &w->metrics);
    client_choose_trained(c, (double)w->metrics.seen * (steps - w->first_step) / steps,
                          (double)(w->train_ns + clock_mono_ns() - begin) * 1e-9);
    trainer_free(w->trainer);
    w->trainer = NULL;
    dataset_deinit(&w->data);
    w->have_data = false;
    package_subtract(&w->package, f->change);
    package_drop_weights(&w->package);
    buf_deinit(&w->bytes);
    return SOTTO_OK;
}

/* What the task has left on this device: a residual, a control variate. */
static enum sotto_status load_kept(struct sotto_client *c, const sotto_Terms *t,
                                   const struct devstore_residual *which, uint32_t total,
                                   struct finished *f, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    if (t->has_pipeline && t->pipeline.error_feedback) {
        f->residual = mem_array(total, sizeof *f->residual);
        if (f->residual == NULL)
            TRY_FAIL(err, SOTTO_NOMEM, "no memory for a residual of %u weights", total);
        status = devstore_residual_get(c->store, which, t->pipeline.residual_rounds_max,
                                       f->residual, total, err);
        if (status == SOTTO_NOT_FOUND || status == SOTTO_CORRUPT)
            memset(f->residual, 0, total * sizeof *f->residual);
        else if (status != SOTTO_OK)
            goto out;
        status = SOTTO_OK;
    }
    if (has_control(t)) {
        TRY(global_control(&c->work, &f->control.global, err));
        TRY(own_control(c, t, &f->control.own, err));
        f->control.change = mem_array(total, sizeof *f->control.change);
        if (f->control.change == NULL)
            TRY_FAIL(err, SOTTO_NOMEM, "no memory for %u control variates", total);
    }
out:
    return status;
}

/* The sealed form: what is decoded of the update is left in f. */
static enum sotto_status finish_plain(struct sotto_client *c, const sotto_Terms *t,
                                      uint32_t examples, struct finished *f,
                                      struct devstore_seal *what, struct session_event *e,
                                      struct sotto_error *err) {
    struct client_work *w = &c->work;
    struct codec_update update;
    enum sotto_status status;
    codec_update_init(&update);
    TRY(terms_encode_update(t, &w->package.graph.layout, c->identity.serial, NULL, f->change,
                            f->residual, f->control.own != NULL ? &f->control : NULL, &w->metrics,
                            examples, &update, err));
    free_package(w);
    TRY(seal_and_store(c, t, &update, what, e, err));
out:
    codec_update_deinit(&update);
    return status;
}

/* The form under masks: coded, and stored until a group is there. */
static enum sotto_status finish_masked(struct sotto_client *c, const sotto_Terms *t,
                                       uint32_t examples, struct finished *f,
                                       struct devstore_seal *what, struct session_event *e,
                                       struct sotto_error *err) {
    struct client_work *w = &c->work;
    const struct layout *layout = &w->package.graph.layout;
    struct masked_plan *plan = NULL;
    uint32_t *codes = NULL;
    enum sotto_status status;
    TRY(terms_masked_plan(t, layout, common_support(w, t), &plan, err));
    const uint64_t length = masked_length(plan);
    codes = length <= SIZE_MAX / sizeof *codes ? mem_array((size_t)length, sizeof *codes) : NULL;
    if (codes == NULL)
        TRY_FAIL(err, SOTTO_NOMEM, "no memory for %llu codes", (unsigned long long)length);
    TRY(terms_encode_masked(t, plan, layout, c->identity.serial, NULL, f->change, f->residual,
                            f->control.own != NULL ? &f->control : NULL, &w->metrics, examples,
                            codes, err));
    masked_plan_free(plan);
    plan = NULL;
    free_package(w);
    what->terms = session_terms_hash(c->session);
    what->t = t;
    TRY(devstore_ready(c->store, what, codes, length, t->privacy.ring_bits, clock_wall_ms(), err));
    e->kind = SESSION_TRAINED;
out:
    masked_plan_free(plan);
    mem_free(codes);
    return status;
}

static enum sotto_status finish_training(struct sotto_client *c, struct session_event *e,
                                         struct sotto_error *err) {
    const sotto_Terms *t = session_terms(c->session);
    struct client_work *w = &c->work;
    const struct layout *layout = &w->package.graph.layout;
    const uint32_t examples = w->data.count;
    struct finished f;
    struct devstore_seal what;
    enum sotto_status status = SOTTO_OK;
    memset(&f, 0, sizeof f);
    memset(&what, 0, sizeof what);
    what.count = layout->total;
    describe_residual(t, layout, &what.residual);
    if (t->kind == sotto_Kind_KIND_TRAIN) {
        TRY(take_change(c, layout->total, &f, err));
        TRY(load_kept(c, t, &what.residual, layout->total, &f, err));
    }
    what.residual_values = f.residual;
    what.decoded = f.residual != NULL ? f.change : NULL;
    what.control = f.control.own;
    what.control_change = f.control.change;
    TRY((secure_wanted(t) ? finish_masked : finish_plain)(c, t, examples, &f, &what, e, err));
out:
    finished_deinit(&f);
    return status;
}

static enum sotto_status train_slice(struct sotto_client *c, struct session_event *e,
                                     struct sotto_error *err) {
    struct client_work *w = &c->work;
    const uint64_t begin = clock_mono_ns(), slice_ns = (uint64_t)c->slice_ms * 1000000;
    bool done = false;
    enum sotto_status status;
    do {
        TRY(trainer_advance(w->trainer, 1, &done, err));
    } while (!done && clock_mono_ns() - begin < slice_ns);
    w->train_ns += clock_mono_ns() - begin;
    if (done) {
        TRY(finish_training(c, e, err));
    } else if (clock_mono_ms() - w->checkpoint_ms >= CLIENT_CHECKPOINT_MS) {
        w->checkpoint_ms = clock_mono_ms();
        if (save_checkpoint(c, err) != SOTTO_OK) /* a reboot would cost more, that is all */
            client_log(c, "no checkpoint: %s", err != NULL ? err->message : "");
    }
out:
    return status;
}

static enum sotto_status evaluate_slice(struct sotto_client *c, struct session_event *e,
                                        struct sotto_error *err) {
    struct client_work *w = &c->work;
    struct train_metrics part;
    struct examples examples = dataset_examples(&w->data);
    enum sotto_status status;
    memset(&part, 0, sizeof part);
    const uint32_t left = w->data.count - w->evaluated;
    examples.count = left < CLIENT_EVAL_SLICE ? left : CLIENT_EVAL_SLICE;
    examples.x = dataset_example(&w->data, w->evaluated);
    examples.labels = w->data.labels + w->evaluated;
    TRY(evaluator_run(w->evaluator, NULL, &examples, &part, err));
    w->metrics.loss += part.loss;
    w->metrics.correct += part.correct;
    w->metrics.seen += part.seen;
    w->evaluated += examples.count;
    if (w->evaluated == w->data.count)
        TRY(finish_training(c, e, err));
out:
    return status;
}

/* Whether the device's disk is to blame, and not the plan. */
static bool of_the_store(enum sotto_status status) {
    return status == SOTTO_IO || status == SOTTO_FULL || status == SOTTO_BUSY ||
           status == SOTTO_DENIED;
}

enum sotto_status client_work_slice(struct sotto_client *c, struct sotto_error *err) {
    struct session_event e = {.kind = SESSION_TICK};
    struct sotto_error why = SOTTO_ERROR_INIT;
    enum sotto_status status = SOTTO_OK;
    switch (c->work.kind) {
    case CLIENT_WORK_PREPARE:
        status = prepare(c, &e, &why);
        break;
    case CLIENT_WORK_TRAIN:
        status = begin_work(c, &why);
        break;
    case CLIENT_WORK_TRAINING:
        status = train_slice(c, &e, &why);
        break;
    case CLIENT_WORK_EVALUATING:
        status = evaluate_slice(c, &e, &why);
        break;
    case CLIENT_WORK_NONE:
    case CLIENT_WORK_PREPARED:
        return SOTTO_OK;
    }
    if (of_the_store(status)) {
        if (err != NULL)
            *err = why;
        return status;
    }
    if (status != SOTTO_OK && client_choose_again(c, &why))
        return SOTTO_OK;
    if (status != SOTTO_OK) {
        e = (struct session_event){.kind = SESSION_FAILED, .error = &why};
        client_log(c, "%s", why.message);
    }
    if (e.kind == SESSION_TICK)
        return SOTTO_OK;
    if (e.kind != SESSION_PREPARED)
        client_work_clear(c);
    status = client_step(c, &e, err);
    if (e.kind == SESSION_PREPARED && c->work.kind == CLIENT_WORK_PREPARED)
        client_work_clear(c); /* the session declined */
    return status;
}
