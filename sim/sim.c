/* A run: its fleet, its coordinator, and the loop that takes virtual events until the task has
 * ended. */
#include "sim.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define START_MS 1000u /* 0 means "never" to the cores */

static enum sotto_status make_identities(struct sim *s, struct sotto_error *err) {
    struct id_keys authority;
    enum sotto_status status;
    TRY(id_setup(err));
    id_keys_generate(&authority);
    id_keys_generate(&s->signing);
    s->document.version = 1;
    memcpy(s->document.authority_key, authority.public_key, ID_KEY);
    memcpy(s->document.signing_key, s->signing.public_key, ID_KEY);
    s->document.endpoint_count = 1; /* of a form that certificates' tickets can carry */
    snprintf(s->document.endpoints[0].address, sizeof s->document.endpoints[0].address, "%s",
             "tcp://simulator:1");
    memcpy(s->document.endpoints[0].curve_key, s->signing.public_key, ID_KEY);
    s->authority = authority;
    id_wipe(&authority, sizeof authority);
    memcpy(s->task_id, s->x->config_hash, sizeof s->task_id);
out:
    return status;
}

/* What a client has to keep under this task. */
static void shape_kept(struct sim *s) {
    struct train_rule rule;
    const uint32_t n = s->x->graph.layout.total;
    task_rule(&s->x->settings.task, &rule);
    s->has_control = rule.algorithm == TRAIN_SCAFFOLD;
    s->control_at = s->x->settings.task.error_feedback ? n : 0;
    s->kept_count = s->control_at + (s->has_control ? n : 0);
}

static enum sotto_status make_fleet(struct sim *s, const char *temp_dir, struct sotto_error *err) {
    s->devices = mem_array(s->device_count, sizeof *s->devices);
    if (!s->devices)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for %u clients", s->device_count);
    if (s->kept_count == 0)
        return SOTTO_OK;
    if (s->checkpoint_dir) {
        char path[IO_PATH_MAX];
        const enum sotto_status status =
            io_join(path, sizeof path, s->checkpoint_dir, CHECKPOINT_RESIDUALS, err);
        return status == SOTTO_OK ? residuals_open_at(path, s->resume, s->device_count,
                                                      s->kept_count, &s->residuals, err)
                                  : status;
    }
    const char *dir = temp_dir ? temp_dir : getenv("TMPDIR");
    return residuals_open(dir && dir[0] ? dir : "/tmp", s->device_count, s->kept_count,
                          &s->residuals, err);
}

static enum sotto_status make_checkpoints(struct sim *s, const struct sim_config *config,
                                          struct sotto_error *err) {
    s->checkpoint_dir = config->checkpoint_dir;
    s->checkpoint_rounds = config->checkpoint_rounds;
    s->checkpoint_ms = config->checkpoint_ms;
    s->checkpoint_ns = clock_mono_ns();
    s->resume = config->resume;
    s->device_count = s->x->client_count;
    return s->checkpoint_dir ? checkpoint_open(s, err) : SOTTO_OK;
}

static enum sotto_status make_engine(struct sim *s, struct sotto_error *err) {
    struct round_action none[ROUND_ACTIONS_MAX];
    size_t count = 0;
    const bool seen_only = s->x->settings.task.availability_ms > 0;
    enum sotto_status status = round_engine_new(&s->x->settings.task, 1, 0, &s->engine, err);
    for (uint32_t i = 0; i < s->device_count && status == SOTTO_OK; i++) {
        const struct round_event add = {.kind = ROUND_EV_DEVICE_ADD,
                                        .now_ms = seen_only ? 0 : s->time.now_ms,
                                        .serial = (uint64_t)i + 1};
        const struct vtime_event here = {
            .at_ms = s->time.now_ms, .rank = SIM_RANK_TIMER, .kind = SIM_EV_HERE, .device = i};
        status = round_step(s->engine, &add, none, &count, err);
        if (status == SOTTO_OK && seen_only)
            status = vtime_add(&s->time, &here, err);
    }
    return status;
}

/* What a training step needs, if a device's memory may be less than that. */
static enum sotto_status measure_training(struct sim *s, struct sotto_error *err) {
    struct train_rule rule;
    struct trainer *t = NULL;
    bool limited = s->x->settings.fleet_memory > 0;
    for (uint32_t i = 0; i < s->x->fleet.class_count; i++)
        limited = limited || s->x->fleet.classes[i].memory > 0;
    if (!limited)
        return SOTTO_OK;
    task_rule(&s->x->settings.task, &rule);
    const enum sotto_status status =
        trainer_new(&s->x->graph, &rule, rule.batch ? 0 : s->x->examples_most, s->backend, &t, err);
    if (status == SOTTO_OK)
        s->training_bytes = trainer_program(t)->arena_bytes;
    trainer_free(t);
    return status;
}

enum sotto_status sim_open(const struct experiment *x, const struct sim_config *config,
                           struct sim **out, struct sotto_error *err) {
    enum sotto_status status;
    const char *backend = config->backend ? config->backend : "cpu";
    *out = NULL;
    struct sim *s = mem_zalloc(sizeof *s);
    if (!s)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for a simulation");
    s->x = x;
    s->on_round = config->on_round;
    s->ctx = config->ctx;
    s->best_loss = s->best_accuracy = NAN;
    s->totals.accuracy = s->totals.best_accuracy = s->totals.loss = NAN;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->done, NULL);
    /* Devices that the engine has not seen yet must be older than what it takes for present. */
    s->start_ms = START_MS + x->settings.task.availability_ms;
    vtime_init(&s->time, s->start_ms);
    buf_init(&s->journal.bytes, SIM_JOURNAL_MAX);
    buf_init(&s->saved, CHECKPOINT_BYTES_MAX);
    s->backend = kern_backend_find(backend);
    if (!s->backend)
        TRY_FAIL(err, SOTTO_USAGE,
                 "--backend: this program has no backend '%.40s': see sotto-client devices",
                 backend);
    if (!kern_backend_available(s->backend))
        TRY_FAIL(err, SOTTO_UNSUPPORTED, "--backend: there is no device for '%.40s' here", backend);
    snprintf(s->totals.kernel_set, sizeof s->totals.kernel_set, "%s",
             kern_backend_kernel_set(s->backend));
    TRY(make_identities(s, err));
    shape_kept(s);
    TRY(make_checkpoints(s, config, err));
    TRY(make_fleet(s, config->temp_dir, err));
    TRY(workers_open(s, config->workers, config->profile, err));
    TRY(sim_first_version(s, err));
    TRY(measure_training(s, err));
    TRY(make_engine(s, err));
    *out = s;
    s = NULL;
out:
    sim_close(s);
    return status;
}

void sim_close(struct sim *s) {
    struct vtime_event e;
    if (!s)
        return;
    while (vtime_next(&s->time, &e)) {
        if (e.kind == SIM_EV_CHECKED)
            job_drop(e.data);
        else if (e.kind == SIM_EV_UP || e.kind == SIM_EV_DOWN)
            mem_free(e.data);
    }
    if (s->pool)
        pool_wait(s->pool);
    buf_deinit(&s->journal.bytes);
    buf_deinit(&s->saved);
    for (uint32_t i = 0; i < s->device_count && s->devices; i++)
        device_deinit(s, i);
    sim_round_deinit(s);
    workers_close(s);
    residuals_close(s->residuals);
    round_engine_free(s->engine);
    mem_free(s->devices);
    vtime_deinit(&s->time);
    id_wipe(&s->signing, sizeof s->signing);
    id_wipe(&s->authority, sizeof s->authority);
    pthread_cond_destroy(&s->done);
    pthread_mutex_destroy(&s->lock);
    mem_free(s);
}

static enum sotto_status take_message(struct sim *s, const struct vtime_event *e,
                                      struct sotto_error *err) {
    struct sim_message *m = e->data;
    enum sotto_status status;
    if (s->devices[e->device].away) {
        status = SOTTO_OK; /* its link is gone, and what was on it */
    } else if (e->kind == SIM_EV_UP) {
        status = host_message(s, e->device, m, err);
    } else {
        struct session_event event = {
            .kind = SESSION_MESSAGE, .message = &m->m, .payload = m->payload};
        status = device_event(s, e->device, &event, err);
    }
    m->next = s->free_messages;
    s->free_messages = m;
    return status;
}

/* The package is the shared one: what a device makes ready is known. */
static enum sotto_status prepared(struct sim *s, uint32_t device, struct sotto_error *err) {
    struct sim_device *d = &s->devices[device];
    struct session_event e = {.kind = SESSION_PREPARED};
    e.prepared.schema_ok = true;
    e.prepared.arena_bytes = s->training_bytes;
    e.prepared.examples = experiment_client(s->x, device).count;
    if (d->plan)
        d->version_held = d->plan->base->package->number;
    return device_event(s, device, &e, err);
}

static enum sotto_status on_timer(struct sim *s, const struct vtime_event *e,
                                  struct sotto_error *err) {
    struct sim_device *d = &s->devices[e->device];
    struct session_event tick = {.kind = SESSION_TICK};
    if (!d->session || d->timer_ms != e->tag)
        return SOTTO_OK; /* another time was set since */
    d->timer_ms = 0;
    return device_event(s, e->device, &tick, err);
}

static enum sotto_status take(struct sim *s, const struct vtime_event *e, struct sotto_error *err) {
    struct session_event connected = {.kind = SESSION_CONNECTED};
    const struct round_event tick = {.kind = ROUND_EV_TICK, .now_ms = s->time.now_ms};
    switch ((enum sim_event)e->kind) {
    case SIM_EV_UP:
    case SIM_EV_DOWN:
        return take_message(s, e, err);
    case SIM_EV_CONNECTED:
        return s->devices[e->device].away ? SOTTO_OK : device_event(s, e->device, &connected, err);
    case SIM_EV_WAKE:
        return device_wake(s, e->device, err);
    case SIM_EV_TIMER:
        return on_timer(s, e, err);
    case SIM_EV_PREPARED:
        return prepared(s, e->device, err);
    case SIM_EV_TRAINED:
        return device_trained(s, e->device, e->tag, err);
    case SIM_EV_CHECKED:
        return host_checked(s, e->data, err);
    case SIM_EV_HERE:
        return device_here(s, e->device, err);
    case SIM_EV_AWAY:
        return device_away(s, e->device, err);
    case SIM_EV_MASKS:
        return device_masks(s, e->device, e->tag, err);
    case SIM_EV_ENGINE:
        if (s->engine_timer_ms != e->tag)
            return SOTTO_OK;
        s->engine_timer_ms = 0;
        return host_event(s, &tick, NULL, err);
    }
    return SOTTO_OK;
}

static void sum_devices(struct sim *s) {
    struct sim_devices *t = &s->totals.devices;
    *t = (struct sim_devices){0};
    for (uint32_t i = 0; i < s->device_count; i++) {
        const struct sim_device *d = &s->devices[i];
        if (d->sent == 0 && d->received == 0)
            continue;
        t->count++;
        t->sent_mean += (double)d->sent;
        t->received_mean += (double)d->received;
        t->joules_mean += (double)d->joules;
        t->sent_max = fmax(t->sent_max, (double)d->sent);
        t->received_max = fmax(t->received_max, (double)d->received);
        t->joules_max = fmax(t->joules_max, (double)d->joules);
    }
    const double count = t->count ? t->count : 1;
    t->sent_mean /= count;
    t->received_mean /= count;
    t->joules_mean /= count;
}

enum sotto_status sim_run(struct sim *s, struct sotto_error *err) {
    struct vtime_event e;
    const struct round_event tick = {.kind = ROUND_EV_TICK, .now_ms = s->time.now_ms};
    s->totals.digest = s->version->digest;
    s->totals.package_hash = s->version->package->hash;
    s->round_wall_ns = clock_mono_ns();
    enum sotto_status status = host_event(s, &tick, NULL, err);
    while (status == SOTTO_OK && round_state(s->engine) != ROUND_STOPPED) {
        if (!vtime_next(&s->time, &e))
            return SOTTO_FAIL(err, SOTTO_STATE,
                              "round %u can never end: its clients are gone and nothing ends it; "
                              "give a deadline or a lease, and a cohort_min",
                              s->round.round);
        status = take(s, &e, err);
    }
    sum_devices(s);
    return status;
}

const struct sim_totals *sim_totals(const struct sim *s) {
    return &s->totals;
}

enum sotto_status sim_profile(struct sim *s, struct sim_profile *out, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    pool_wait(s->pool); /* stragglers */
    memset(out, 0, sizeof *out);
    out->workers = s->workers;
    out->wall_seconds = s->totals.wall_seconds;
    out->server_seconds = s->totals.server_seconds;
    for (unsigned i = 0; i < s->workers && status == SOTTO_OK; i++) {
        struct sim_worker *w = &s->worker[i];
        if (w->profile && w->trainer)
            status = profile_take(w->profile, w->trainer);
        if (w->profile && status == SOTTO_OK)
            status = profile_add(out, w->profile);
        if (w->profile)
            profile_deinit(w->profile);
    }
    return status == SOTTO_OK ? status : SOTTO_FAIL(err, status, "no memory for a profile");
}

struct view sim_package(const struct sim *s) {
    return buf_view(&s->version->package->bytes);
}

uint32_t sim_resumed(const struct sim *s) {
    return s->resumed_rounds;
}

bool sim_resumes(const struct sim *s) {
    return journal_reads(&s->journal);
}
