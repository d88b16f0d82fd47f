/* Work for the pool: local training up to the coded (or sealed) report, its check and addition,
 * deltas, tests. */
#include "sim.h"

#include <string.h>

#define POOL_QUEUE 4096
/* Trainings handed out for each worker before their results are taken; of large models fewer, since
 * each holds an update. */
#define JOBS_AHEAD       3
#define JOBS_AHEAD_LARGE 2
#define LARGE            (1u << 20) /* parameters */
#define EVALUATE_BATCH   50u        /* both as the coordinator does it */
#define EVALUATE_PIECE   500u
#define SEALED_HEAD      (4 + 1 + 4) /* magic, version, part count */
#define SEALED_KEY_BYTES (48u + SEAL_KEY)
#define SEALED_TAG       16u

uint64_t sealed_bytes(const struct codec_update *u) {
    return SEALED_HEAD + SEALED_KEY_BYTES + u->bytes.len +
           (uint64_t)u->part_count * (4 + SEALED_TAG);
}

void mass_free(struct sim_mass *m) {
    if (!m)
        return;
    mem_free(m->index);
    mem_free(m->value);
    mem_free(m);
}

/* ---- Jobs, on the host's thread */

/* Empties a job; its update's memory is kept for the next one. */
static void job_recycle(struct sim_job *j) {
    struct sim *s = j->sim;
    sim_plan_drop(j->plan);
    sim_package_drop(j->from);
    sim_package_drop(j->to);
    mem_free(j->kept);
    mass_free(j->mass);
    const struct codec_update update = j->update;
    const struct buf report = j->report;
    memset(j, 0, sizeof *j);
    j->sim = s;
    j->update = update;
    j->report = report;
    j->next = s->free_jobs;
    s->free_jobs = j;
}

static void reap_orphans(struct sim *s) {
    pthread_mutex_lock(&s->lock);
    struct sim_job *j = s->orphans;
    s->orphans = NULL;
    pthread_mutex_unlock(&s->lock);
    while (j) {
        struct sim_job *next = j->next;
        job_recycle(j);
        j = next;
    }
}

struct sim_job *job_new(struct sim *s, enum sim_job_kind kind, struct sotto_error *err) {
    reap_orphans(s);
    struct sim_job *j = s->free_jobs;
    if (j) {
        s->free_jobs = j->next;
    } else {
        j = mem_zalloc(sizeof *j);
        if (!j) {
            (void)SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for a job");
            return NULL;
        }
        codec_update_init(&j->update);
        buf_init(&j->report, WIRE_BLOB_MAX);
    }
    j->sim = s;
    j->next = NULL;
    j->kind = kind;
    j->state = SIM_JOB_NEW;
    j->id = ++s->job_ids;
    return j;
}

void job_drop(struct sim_job *j) {
    if (!j)
        return;
    pthread_mutex_lock(&j->sim->lock);
    const bool mine = j->state == SIM_JOB_DONE || (j->state == SIM_JOB_NEW && !j->planned);
    j->orphan = !mine;
    pthread_mutex_unlock(&j->sim->lock);
    if (mine)
        job_recycle(j);
}

uint64_t job_order(const struct sim_job *j) {
    return UINT64_MAX - j->examples;
}

/* Hands out planned trainings until so many are with the workers, and the wanted one in any case.
 */
static enum sotto_status hand_out(struct sim *s, const struct sim_job *wanted, uint32_t most,
                                  struct sotto_error *err) {
    struct vtime_event e;
    for (;;) {
        pthread_mutex_lock(&s->lock);
        const bool busy = s->outstanding >= most;
        pthread_mutex_unlock(&s->lock);
        if ((busy && !(wanted && wanted->planned)) || !vtime_next(&s->ready, &e))
            return SOTTO_OK;
        struct sim_job *j = e.data;
        j->planned = false;
        if (j->orphan) {
            job_recycle(j);
            continue;
        }
        if (s->train_begin_ns == 0)
            s->train_begin_ns = clock_mono_ns();
        const enum sotto_status status = job_submit(j, err);
        if (status != SOTTO_OK)
            return status;
    }
}

enum sotto_status job_plan(struct sim_job *j, uint64_t at_ms, struct sotto_error *err) {
    struct sim *s = j->sim;
    const struct vtime_event e = {.at_ms = at_ms, .order = job_order(j), .data = j};
    j->at_ms = at_ms;
    if (journal_reads(&s->journal)) /* its outcome is known, or it is handed out after that */
        return SOTTO_OK;
    const enum sotto_status status = vtime_add(&s->ready, &e, err);
    if (status != SOTTO_OK)
        return status;
    j->planned = true;
    return hand_out(s, NULL, s->workers, err); /* no worker is idle while others still check in */
}

/* Until it is done. */
static enum sotto_status await(struct sim_job *j, struct sotto_error *err) {
    struct sim *s = j->sim;
    const unsigned ahead = s->x->graph.layout.total > LARGE ? JOBS_AHEAD_LARGE : JOBS_AHEAD;
    if (j->kind == SIM_TRAIN) {
        const enum sotto_status status = hand_out(s, j, ahead * s->workers, err);
        if (status != SOTTO_OK)
            return status;
    }
    pthread_mutex_lock(&s->lock);
    while (j->state == SIM_JOB_QUEUED)
        pthread_cond_wait(&s->done, &s->lock);
    pthread_mutex_unlock(&s->lock);
    return SOTTO_OK;
}

enum sotto_status job_wait(struct sim_job *j, struct sotto_error *err) {
    struct sim *s = j->sim;
    if (j->told)
        return SOTTO_OK;
    const enum sotto_status status = journal_reads(&s->journal) ? SOTTO_OK : await(j, err);
    if (status != SOTTO_OK)
        return status;
    j->told = true;
    return journal_job(s, j, err);
}

/* ---- In a worker */

/* Profiling: nothing but a test of a pointer while it is off. */
static uint64_t phase_begin(const struct sim_worker *w) {
    return w->profile ? clock_mono_ns() : 0;
}

static void phase_end(struct sim_worker *w, enum sim_phase phase, uint64_t begin_ns) {
    if (w->profile)
        w->profile->phase[phase] += (double)(clock_mono_ns() - begin_ns) * 1e-9;
}

static void mass_add(struct sim_mass *m, const float *values, uint32_t n, uint32_t first,
                     float sign) {
    for (uint32_t i = 0; i < n; i++)
        if (values[i] != 0.0f) {
            m->index[m->count] = first + i;
            m->value[m->count++] = sign * values[i];
        }
}

/* decoded, change: what was sent of the update and of the control variate; NULL: neither is kept
 * account of. The first would go back to the residual, the second out of the variate. */
static enum sotto_status keep_mass(struct sim_job *j, const float *decoded, const float *change) {
    const struct sim *s = j->sim;
    const uint32_t n = s->x->graph.layout.total;
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; i++) {
        count += decoded && decoded[i] != 0.0f;
        count += change && change[i] != 0.0f;
    }
    struct sim_mass *m = mem_zalloc(sizeof *m);
    j->mass = m;
    if (!m)
        return SOTTO_NOMEM;
    if (count == 0)
        return SOTTO_OK;
    m->index = mem_array(count, sizeof *m->index);
    m->value = mem_array(count, sizeof *m->value);
    if (!m->index || !m->value)
        return SOTTO_NOMEM;
    if (decoded)
        mass_add(m, decoded, n, 0, 1.0f);
    if (change)
        mass_add(m, change, n, s->control_at, -1.0f);
    return SOTTO_OK;
}

/* The worker's trainer: one for all clients, but that a full batch needs one for each size. */
static enum sotto_status trainer_for(struct sim_worker *w, struct sim_job *j) {
    const struct sim *s = j->sim;
    struct train_rule rule;
    terms_rule(&j->plan->terms, &rule);
    const uint32_t rows = rule.batch == 0 ? j->examples : 0;
    if (w->trainer && w->trainer_rows == rows)
        return SOTTO_OK;
    enum sotto_status status = SOTTO_OK;
    if (w->trainer && w->profile)
        status = profile_take(w->profile, w->trainer);
    if (status != SOTTO_OK)
        return SOTTO_FAIL(&j->error, status, "no memory for a profile");
    trainer_free(w->trainer);
    w->trainer = NULL;
    w->trainer_rows = rows;
    status = s->group ? trainer_new_grouped(s->group, &w->trainer, &j->error)
                      : trainer_new(&s->x->graph, &rule, rows, s->backend, &w->trainer, &j->error);
    if (status == SOTTO_OK && w->profile)
        trainer_profile(w->trainer, true);
    return status;
}

/* What the client has kept: a residual that is not too old, a control variate. */
static enum sotto_status load_kept(struct sim_job *j) {
    const struct sim *s = j->sim;
    if (!s->residuals)
        return SOTTO_OK;
    j->kept = mem_array(s->kept_count, sizeof *j->kept);
    if (!j->kept)
        return SOTTO_FAIL(&j->error, SOTTO_NOMEM, "no memory for what client %u keeps", j->device);
    const enum sotto_status status = residuals_read(s->residuals, j->device, j->kept, &j->error);
    if (status == SOTTO_OK && !j->carried)
        memset(j->kept, 0, s->control_at * sizeof *j->kept);
    return status;
}

static enum sotto_status train(struct sim_job *j, struct sim_worker *w) {
    struct sim *s = j->sim;
    enum sotto_status status;
    const sotto_Terms *t = &j->plan->terms;
    const struct sim_version *base = j->plan->base;
    const struct examples examples = experiment_client(s->x, j->device);
    const struct train_stream stream = {t->task_seed, t->round, (uint64_t)j->device + 1};
    TRY(trainer_for(w, j));
    TRY(load_kept(j));
    TRY(trainer_begin(w->trainer, base->params, &examples, &stream, &j->error));
    if (s->has_control) {
        terms_drift(t, s->x->graph.layout.total, base->control, j->kept + s->control_at, w->drift);
        trainer_drift(w->trainer, w->drift);
    }
    TRY(trainer_advance(w->trainer, 0, NULL, &j->error));
    trainer_finish(w->trainer, w->scratch, &j->metrics);
    if (w->profile)
        w->profile->steps += trainer_steps_done(w->trainer);
out:
    return status;
}

/* From trained weights to the coded update, and what the client keeps of it. */
static enum sotto_status encode(struct sim_job *j, struct sim_worker *w) {
    const struct sim *s = j->sim;
    const bool evaluation = j->plan->evaluation;
    const bool residual = j->kept && s->control_at > 0, control = j->kept && s->has_control;
    struct terms_control variates;
    memset(&variates, 0, sizeof variates);
    if (control)
        variates = (struct terms_control){
            .global = j->plan->base->control, .own = j->kept + s->control_at, .change = w->drift};
    const enum sotto_status status = terms_encode_update(
        &j->plan->terms, &s->x->graph.layout, (uint64_t)j->device + 1,
        evaluation ? NULL : j->plan->base->params, evaluation ? NULL : w->scratch,
        residual ? j->kept : NULL, control ? &variates : NULL, &j->metrics, j->examples, &j->update,
        &j->error);
    if (status != SOTTO_OK || !j->kept)
        return status;
    return keep_mass(j, residual ? w->scratch : NULL, control ? w->drift : NULL) == SOTTO_OK
               ? SOTTO_OK
               : SOTTO_FAIL(&j->error, SOTTO_NOMEM, "no memory for an update's mass");
}

/* The same for a sum under masks: the codes lie in the report as its masked message would, where
 * masks are put on them, or are not. */
static enum sotto_status encode_masked(struct sim_job *j, struct sim_worker *w) {
    const struct sim *s = j->sim;
    const struct sim_plan *p = j->plan;
    const bool residual = j->kept && !p->evaluation;
    const uint64_t length = masked_length(p->masked);
    enum sotto_status status;
    uint32_t *codes = mem_array((size_t)length, sizeof *codes);
    if (!codes)
        return SOTTO_FAIL(&j->error, SOTTO_NOMEM, "no memory for a coded update");
    TRY(terms_encode_masked(&p->terms, p->masked, &s->x->graph.layout, (uint64_t)j->device + 1,
                            p->evaluation ? NULL : p->base->params,
                            p->evaluation ? NULL : w->scratch, residual ? j->kept : NULL, NULL,
                            &j->metrics, j->examples, codes, &j->error));
    buf_reset(&j->report);
    uint8_t *to = buf_grow(&j->report, (size_t)p->terms.report_bytes_max);
    if (!to)
        TRY_FAIL(&j->error, SOTTO_NOMEM, "no memory for a coded update");
    memset(to, 0, SECAGG_MASKED_HEAD);
    secagg_ring_pack(p->secagg.ring_bits, codes, (size_t)length, to + SECAGG_MASKED_HEAD);
    if (residual && keep_mass(j, w->scratch, NULL) != SOTTO_OK)
        TRY_FAIL(&j->error, SOTTO_NOMEM, "no memory for an update's mass");
out:
    mem_free(codes);
    return status;
}

static enum sotto_status evaluator_for(struct sim *s, struct sim_worker *w,
                                       struct sotto_error *err) {
    return w->evaluator
               ? SOTTO_OK
               : evaluator_new(&s->x->graph, EVALUATE_BATCH, s->backend, &w->evaluator, err);
}

static enum sotto_status seal(struct sim_job *j) {
    uint8_t key[SEAL_KEY];
    const struct sim_plan *p = j->plan;
    id_random(key, sizeof key);
    const enum sotto_status status =
        seal_report(&j->update, p->terms.round_key.bytes, &p->keys.terms, (uint64_t)j->device + 1,
                    key, &j->report, &j->error);
    id_wipe(key, sizeof key);
    if (status == SOTTO_OK)
        j->report_hash = wire_hash_of(SESSION_LABEL_REPORT, buf_view(&j->report));
    return status;
}

/* Memory for the update to come: with large models and cohorts there is more of it than of all
 * else, if each report keeps its own until it is settled. */
static void take_spare(struct sim_job *j) {
    struct sim *s = j->sim;
    pthread_mutex_lock(&s->lock);
    if (!j->update.bytes.data && s->spare_count > 0)
        j->update = s->spares[--s->spare_count];
    pthread_mutex_unlock(&s->lock);
}

static enum sotto_status run_train(struct sim_job *j, struct sim_worker *w) {
    struct sim *s = j->sim;
    enum sotto_status status;
    const bool evaluation = j->plan->evaluation;
    const struct examples examples = experiment_client(s->x, j->device);
    uint64_t begin_ns = phase_begin(w);
    if (evaluation) {
        TRY(evaluator_for(s, w, &j->error));
        TRY(evaluator_run(w->evaluator, j->plan->base->params, &examples, &j->metrics, &j->error));
    } else {
        TRY(train(j, w));
    }
    phase_end(w, evaluation ? SIM_PHASE_EVALUATE : SIM_PHASE_TRAIN, begin_ns);
    begin_ns = phase_begin(w);
    if (j->plan->masked) {
        status = encode_masked(j, w);
        j->report_bytes = j->report.len;
        phase_end(w, SIM_PHASE_ENCODE, begin_ns);
        return status;
    }
    take_spare(j);
    TRY(encode(j, w));
    j->report_bytes = sealed_bytes(&j->update);
    if (s->x->settings.seal) {
        TRY(seal(j));
        j->report_bytes = j->report.len;
    }
    phase_end(w, SIM_PHASE_ENCODE, begin_ns);
out:
    return status;
}

static enum sotto_status run_add(struct sim_job *j, unsigned worker) {
    struct sim *s = j->sim;
    struct sim_slot *slot = &s->slots[j->group * s->slots_per_group + worker % s->slots_per_group];
    const struct sim_plan *p = j->plan;
    const uint64_t serial = (uint64_t)j->device + 1;
    const bool sealed = s->x->settings.seal;
    bool torn = false;
    enum sotto_status status =
        sealed ? report_check(&p->spec, &p->keys, serial, buf_view(&j->report), &j->error)
               : update_check(&p->spec, &j->update, &j->error);
    if (status != SOTTO_OK)
        return status;
    pthread_mutex_lock(&slot->lock);
    if (!slot->ready) {
        status = group_sums_init(&slot->sums, &p->spec, &j->error);
        slot->ready = status == SOTTO_OK;
    }
    if (status == SOTTO_OK)
        status = sealed ? report_add(&slot->sums, &p->keys, serial, buf_view(&j->report), &torn,
                                     &j->error)
                        : update_add(&slot->sums, &j->update, &j->error);
    pthread_mutex_unlock(&slot->lock);
    return status;
}

static enum sotto_status run_delta(struct sim_job *j) {
    struct buf delta;
    buf_init(&delta, PACKAGE_BYTES_MAX);
    const enum sotto_status status =
        package_delta_encode(buf_view(&j->from->bytes), buf_view(&j->to->bytes), &delta, &j->error);
    j->delta_bytes = status == SOTTO_OK && delta.len < j->to->bytes.len ? delta.len : 0;
    buf_deinit(&delta);
    return status;
}

static void run(void *ctx, unsigned worker) {
    struct sim_job *j = ctx;
    struct sim *s = j->sim;
    struct sim_worker *w = &s->worker[worker];
    enum sotto_status status = SOTTO_OK;
    const uint64_t begin_ns = phase_begin(w);
    if (j->kind == SIM_TRAIN)
        status = run_train(j, w);
    else if (j->kind == SIM_ADD)
        status = run_add(j, worker);
    else
        status = run_delta(j);
    if (j->kind != SIM_TRAIN) /* that has several */
        phase_end(w, j->kind == SIM_ADD ? SIM_PHASE_ADD : SIM_PHASE_DELTA, begin_ns);
    pthread_mutex_lock(&s->lock);
    j->status = status;
    j->state = SIM_JOB_DONE;
    if (j->kind == SIM_ADD && s->spare_count < SIM_SPARES) { /* its outcome may wait for long */
        s->spares[s->spare_count++] = j->update;
        codec_update_init(&j->update);
    }
    if (j->kind == SIM_TRAIN) {
        s->outstanding--;
        s->train_end_ns = clock_mono_ns();
    }
    if (j->orphan) {
        j->next = s->orphans;
        s->orphans = j;
    }
    pthread_cond_broadcast(&s->done);
    pthread_mutex_unlock(&s->lock);
}

enum sotto_status job_submit(struct sim_job *j, struct sotto_error *err) {
    struct sim *s = j->sim;
    if (journal_reads(&s->journal))
        return SOTTO_OK;
    pthread_mutex_lock(&s->lock);
    j->state = SIM_JOB_QUEUED;
    s->outstanding += j->kind == SIM_TRAIN;
    pthread_mutex_unlock(&s->lock);
    const enum sotto_status status = pool_submit(s->pool, run, j);
    return status == SOTTO_OK ? status : SOTTO_FAIL(err, status, "the workers take no more jobs");
}

/* ---- Tests of the model */

struct piece {
    struct sim *s;
    const float *params;
    struct examples examples;
    struct train_metrics metrics;
    enum sotto_status status;
    struct sotto_error error;
};

static void run_piece(void *ctx, unsigned worker) {
    struct piece *p = ctx;
    struct sim_worker *w = &p->s->worker[worker];
    const uint64_t begin_ns = phase_begin(w);
    p->status = evaluator_for(p->s, w, &p->error);
    if (p->status == SOTTO_OK)
        p->status = evaluator_run(w->evaluator, p->params, &p->examples, &p->metrics, &p->error);
    phase_end(w, SIM_PHASE_EVALUATE, begin_ns);
}

enum sotto_status work_parts(struct sim *s, const float *params, const struct examples *parts,
                             uint32_t count, struct train_metrics *metrics,
                             struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct piece *pieces = mem_array(count ? count : 1, sizeof *pieces);
    if (!pieces)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for a test in %u parts", count);
    for (uint32_t i = 0; i < count; i++) {
        pieces[i] = (struct piece){.s = s, .params = params, .examples = parts[i]};
        TRY(pool_submit(s->pool, run_piece, &pieces[i]));
    }
out:
    pool_wait(s->pool);
    for (uint32_t i = 0; i < count && status == SOTTO_OK; i++) {
        status = pieces[i].status;
        if (status != SOTTO_OK && err)
            *err = pieces[i].error;
        metrics[i] = pieces[i].metrics;
    }
    mem_free(pieces);
    return status;
}

enum sotto_status work_evaluate(struct sim *s, const float *params, uint32_t limit, double *loss,
                                double *accuracy, struct sotto_error *err) {
    enum sotto_status status;
    const struct examples all = dataset_examples(&s->x->data.test);
    const uint32_t total = limit && limit < all.count ? limit : all.count;
    const uint32_t count = (total + EVALUATE_PIECE - 1) / EVALUATE_PIECE;
    struct train_metrics sum = {0};
    struct examples *parts = mem_array(count ? count : 1, sizeof *parts);
    struct train_metrics *metrics = mem_array(count ? count : 1, sizeof *metrics);
    if (!parts || !metrics)
        TRY_FAIL(err, SOTTO_NOMEM, "no memory for a test in %u parts", count);
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t first = i * EVALUATE_PIECE;
        parts[i] = all;
        parts[i].x = dataset_example(&s->x->data.test, first);
        parts[i].labels = all.labels + first;
        parts[i].count = total - first < EVALUATE_PIECE ? total - first : EVALUATE_PIECE;
    }
    TRY(work_parts(s, params, parts, count, metrics, err));
    for (uint32_t i = 0; i < count; i++) { /* in order: the same bits whoever did it */
        sum.loss += metrics[i].loss;
        sum.correct += metrics[i].correct;
        sum.seen += metrics[i].seen;
    }
    if (sum.seen > 0) {
        *loss = sum.loss / (double)sum.seen;
        *accuracy = (double)sum.correct / (double)sum.seen;
    }
out:
    mem_free(parts);
    mem_free(metrics);
    return status;
}

/* ---- The workers */

/* On a device the clients that train at the same time share launches: a lane a worker. */
static enum sotto_status open_group(struct sim *s, struct sotto_error *err) {
    struct train_rule rule;
    task_rule(&s->x->settings.task, &rule);
    if (!kern_backend_is_device(s->backend) || s->workers < 2 || s->workers > KERN_LANES_MAX ||
        rule.batch == 0)
        return SOTTO_OK;
    return train_group_new(&s->x->graph, &rule, 0, s->backend, s->workers, &s->group, err);
}

enum sotto_status workers_open(struct sim *s, unsigned workers, bool profile,
                               struct sotto_error *err) {
    s->workers = workers ? workers : pool_cpu_count();
    vtime_init(&s->ready, 0);
    s->worker = mem_array(s->workers, sizeof *s->worker);
    if (!s->worker)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for %u workers", s->workers);
    for (unsigned i = 0; i < s->workers; i++) {
        s->worker[i].scratch = mem_array(s->x->graph.layout.total, sizeof(float));
        if (profile)
            s->worker[i].profile = mem_zalloc(sizeof *s->worker[i].profile);
        if (s->has_control)
            s->worker[i].drift = mem_array(s->x->graph.layout.total, sizeof(float));
        if (!s->worker[i].scratch || (s->has_control && !s->worker[i].drift) ||
            (profile && !s->worker[i].profile))
            return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for %u workers", s->workers);
    }
    const enum sotto_status status = open_group(s, err);
    if (status != SOTTO_OK)
        return status;
    s->pool = pool_new(s->workers, POOL_QUEUE);
    return s->pool ? SOTTO_OK
                   : SOTTO_FAIL(err, SOTTO_NOMEM, "%u workers cannot be started", s->workers);
}

void workers_close(struct sim *s) {
    struct vtime_event e;
    if (s->pool)
        pool_wait(s->pool);
    while (vtime_next(&s->ready, &e)) {
        struct sim_job *j = e.data;
        j->planned = false;
        if (j->orphan)
            job_recycle(j);
    }
    reap_orphans(s);
    pool_free(s->pool);
    for (unsigned i = 0; s->worker && i < s->workers; i++) {
        trainer_free(s->worker[i].trainer);
        evaluator_free(s->worker[i].evaluator);
        mem_free(s->worker[i].scratch);
        mem_free(s->worker[i].drift);
        if (s->worker[i].profile)
            profile_deinit(s->worker[i].profile);
        mem_free(s->worker[i].profile);
    }
    mem_free(s->worker);
    train_group_free(s->group);
    while (s->spare_count > 0)
        codec_update_deinit(&s->spares[--s->spare_count]);
    vtime_deinit(&s->ready);
    while (s->free_jobs) {
        struct sim_job *j = s->free_jobs;
        s->free_jobs = j->next;
        codec_update_deinit(&j->update);
        buf_deinit(&j->report);
        mem_free(j);
    }
}
