/* The virtual devices: the production session of each one at work, its messages, its store in a few
 * words. */
#include "sim.h"

#include <string.h>

static uint64_t serial_of(uint32_t device) {
    return (uint64_t)device + 1;
}

/* ---- Between rounds: the session goes, its few facts stay */

static enum sotto_status add_event(struct sim *s, uint32_t device, enum sim_event kind,
                                   uint64_t at_ms, struct sotto_error *err) {
    const struct vtime_event e = {.at_ms = at_ms, .kind = (uint32_t)kind, .device = device};
    return vtime_add(&s->time, &e, err);
}

static enum sotto_status session_make(struct sim *s, uint32_t device, struct sotto_error *err) {
    struct sim_device *d = &s->devices[device];
    struct session_task task;
    struct session_config config;
    struct session_saved saved;
    memset(&config, 0, sizeof config);
    memset(&saved, 0, sizeof saved);
    memset(&task, 0, sizeof task);
    config.serial = serial_of(device);
    memcpy(config.authority_key, s->document.authority_key, ID_KEY);
    session_policy_defaults(&config.policy);
    config.policy.large_groups = true; /* sizes are the experiment's to choose */
    WIRE_SET_TEXT(config.backend, kern_backend_kernel_set(s->backend));
    WIRE_SET_TEXT(config.version, SOTTO_VERSION_TEXT);
    config.jitter_seed = s->x->settings.task.seed;
    config.certified = task_secure(&s->x->settings.task);
    config.checked = &s->checked;
    if (s->training_bytes > 0) {
        struct fleet_class c;
        fleet_device(s, device, &c);
        config.policy.arena_bytes_max = (uint64_t)c.memory;
    }
    config.policy.need_charging = fleet_comes_and_goes(s);
    saved.document = &s->document;
    saved.bytes_left = saved.rounds_left = -1;
    if (d->version_held)
        saved.package_held = s->version_hash[d->version_held];
    if (d->last_round) {
        memcpy(task.task_id, s->task_id, sizeof task.task_id);
        task.last_round = d->last_round;
        task.terms_hash = s->terms[d->last_round];
        task.sealed = d->sealed;
        saved.tasks = &task;
        saved.task_count = 1;
    }
    if (d->open_round) {
        saved.open_reports[0] = s->terms[d->open_round];
        saved.open_report_count = 1;
    }
    return session_new(&config, &saved, &d->session, err);
}

/* Whether the coordinator still waits for it in the open round. */
static bool is_wanted(const struct sim *s, uint32_t device) {
    const struct round_member *m = s->plan ? round_member_find(s->engine, serial_of(device)) : NULL;
    return m && (m->state == ROUND_INVITED || m->state == ROUND_PLANNED);
}

void device_go_home(struct sim *s, uint32_t device) {
    struct sim_device *d = &s->devices[device];
    session_free(d->session);
    d->session = NULL;
    device_masks_end(d);
    sim_plan_drop(d->plan);
    d->plan = NULL;
    d->timer_ms = 0;
}

/* ---- Actions of a session */

static enum sotto_status send_up(struct sim *s, uint32_t device, const struct session_action *a,
                                 struct sotto_error *err) {
    struct sim_device *d = &s->devices[device];
    struct sim_message *m = s->free_messages;
    if (m)
        s->free_messages = m->next;
    else
        m = mem_alloc(sizeof *m);
    if (!m)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for a message");
    m->m = *a->message;
    m->payload = view_of(NULL, 0);
    if (a->has_chunk && a->exchange) {
        m->payload = device_masks_chunk(d, a->chunk);
    } else if (a->has_chunk && d->job) {
        const uint32_t size = chunk_size(d->job->report_bytes, a->chunk);
        const uint8_t *from = d->job->report.len
                                  ? d->job->report.data + (size_t)a->chunk * CHUNK_BYTES
                                  : d->job->update.bytes.data;
        m->payload = view_of(from, size);
    }
    struct fleet_class c;
    fleet_device(s, device, &c);
    device_moved(s, device, m->payload.n, 0);
    const uint64_t at = fleet_send_ms(s->time.now_ms, &d->up_free_ms, m->payload.n, c.uplink);
    const struct vtime_event e = {.at_ms = at, .kind = SIM_EV_UP, .device = device, .data = m};
    return vtime_add(&s->time, &e, err);
}

static uint64_t samples_of(const sotto_Terms *t, uint32_t examples) {
    const uint64_t used =
        t->rule.examples_max && t->rule.examples_max < examples ? t->rule.examples_max : examples;
    if (t->kind != sotto_Kind_KIND_TRAIN)
        return examples;
    const uint64_t batch = t->rule.batch ? t->rule.batch : used;
    const uint64_t all = used * t->rule.epochs;
    const uint64_t most = t->rule.steps_max ? t->rule.steps_max * batch : all;
    return all < most ? all : most;
}

static enum sotto_status begin_training(struct sim *s, uint32_t device, struct sotto_error *err) {
    struct sim_device *d = &s->devices[device];
    const sotto_Terms *t = session_terms(d->session);
    if (!d->plan)
        return SOTTO_OK; /* its round has ended: a heartbeat will tell it so */
    struct sim_job *j = job_new(s, SIM_TRAIN, err);
    if (!j)
        return SOTTO_NOMEM;
    j->device = device;
    j->plan = d->plan;
    d->plan->refs++;
    j->examples = experiment_client(s->x, device).count;
    const uint64_t age = d->residual_round ? d->plan->round - d->residual_round : 0;
    j->carried = d->residual_round &&
                 (t->pipeline.residual_rounds_max == 0 || age <= t->pipeline.residual_rounds_max);
    d->job = j;
    j->begin_ms = s->time.now_ms;
    j->samples = samples_of(t, j->examples);
    const struct vtime_event e = {
        .at_ms = s->time.now_ms + fleet_train_ms(s, device, t->round, j->samples),
        .rank = SIM_RANK_TRAINED,
        .kind = SIM_EV_TRAINED,
        .order = job_order(j),
        .device = device,
        .tag = j->id,
    };
    const enum sotto_status status = job_plan(j, e.at_ms, err);
    return status == SOTTO_OK ? vtime_add(&s->time, &e, err) : status;
}

/* ---- What it spends */

static void spend(struct sim *s, struct sim_device *d, double joules) {
    d->joules += (float)joules;
    s->round.energy_joules += joules;
}

void device_moved(struct sim *s, uint32_t device, uint64_t sent, uint64_t received) {
    struct sim_device *d = &s->devices[device];
    struct fleet_class c;
    d->sent += sent;
    d->received += received;
    fleet_device(s, device, &c);
    if (c.joules_byte > 0)
        spend(s, d, c.joules_byte * (double)(sent + received));
}

/* For a training that ended, or the part of it that was made. */
static void spend_training(struct sim *s, uint32_t device, const struct sim_job *j) {
    struct fleet_class c;
    fleet_device(s, device, &c);
    const double whole = (double)(j->at_ms - j->begin_ms);
    const double part = whole > 0 ? (double)(s->time.now_ms - j->begin_ms) / whole : 1;
    if (c.joules_sample > 0)
        spend(s, &s->devices[device], c.joules_sample * (double)j->samples * (part < 1 ? part : 1));
}

static void end_job(struct sim *s, uint32_t device) {
    struct sim_device *d = &s->devices[device];
    if (d->job && d->job->kind == SIM_TRAIN && !d->job->told)
        spend_training(s, device, d->job);
    job_drop(d->job);
    d->job = NULL;
}

static enum sotto_status store_outcome(struct sim *s, uint32_t device,
                                       const struct session_action *a, struct sotto_error *err) {
    struct sim_device *d = &s->devices[device];
    const bool last = d->last_round && wire_hash_equal(&a->terms_hash, &s->terms[d->last_round]);
    if (a->outcome == sotto_Outcome_OUTCOME_OPEN) {
        d->open_round = d->last_round;
        return SOTTO_OK;
    }
    if (d->open_round && wire_hash_equal(&a->terms_hash, &s->terms[d->open_round])) {
        d->open_round = SIM_NO_ROUND; /* its mass was settled with the round */
        return SOTTO_OK;
    }
    return last ? device_settle(s, device, d->last_round, a->outcome, err) : SOTTO_OK;
}

static void store_terms(struct sim *s, struct sim_device *d) {
    d->last_round = session_terms(d->session)->round;
    d->sealed = false;
    sim_plan_drop(d->plan);
    d->plan = s->plan && s->plan->round == d->last_round ? s->plan : NULL;
    if (d->plan)
        d->plan->refs++;
}

static enum sotto_status act(struct sim *s, uint32_t device, const struct session_action *a,
                             struct sotto_error *err) {
    struct sim_device *d = &s->devices[device];
    switch (a->kind) {
    case SESSION_DO_CONNECT:
        return add_event(s, device, SIM_EV_CONNECTED, s->time.now_ms, err);
    case SESSION_DO_SEND:
        return send_up(s, device, a, err);
    case SESSION_DO_STORE_TERMS:
        store_terms(s, d);
        break;
    case SESSION_DO_PREPARE:
        return add_event(s, device, SIM_EV_PREPARED, s->time.now_ms, err);
    case SESSION_DO_TRAIN:
        return begin_training(s, device, err);
    case SESSION_DO_STORE_OUTCOME:
        return store_outcome(s, device, a, err);
    case SESSION_DO_DROP_TERMS:
    case SESSION_DO_CANCEL:
        end_job(s, device);
        break;
    case SESSION_DO_DISCONNECT:
    case SESSION_DO_STORE_CHUNK: /* the package is shared: only its way here is simulated */
    case SESSION_DO_STORE_DOCUMENT:
    case SESSION_DO_STORE_COUNTERS:
    case SESSION_DO_NOTE:
    case SESSION_DO_SECURE_CHUNK: /* it is at hand once it has all come */
        break;
    case SESSION_DO_SECURE_BEGIN:
    case SESSION_DO_SECURE_TAKE:
    case SESSION_DO_SECURE_END:
        return device_masks_act(s, device, a, err);
    }
    return SOTTO_OK;
}

enum sotto_status device_event(struct sim *s, uint32_t device, struct session_event *event,
                               struct sotto_error *err) {
    struct sim_device *d = &s->devices[device];
    struct session_action actions[SESSION_ACTIONS_MAX];
    size_t count = SESSION_ACTIONS_MAX;
    uint8_t nonce[WIRE_NONCE] = {0};
    enum sotto_status status;
    if (!d->session)
        return SOTTO_OK; /* it went home meanwhile */
    s->nonces++;
    memcpy(nonce, &s->nonces, sizeof s->nonces); /* fresh is enough: nobody here replays */
    event->now_ms = s->time.now_ms;
    event->conditions.charging = event->conditions.idle = !d->away;
    event->conditions.unmetered = event->conditions.online = d->away != DEVICE_GONE;
    event->conditions.battery_percent = -1;
    TRY(session_step(d->session, event, nonce, actions, &count, err));
    for (size_t i = 0; i < count; i++)
        TRY(act(s, device, &actions[i], err));
    if (session_phase(d->session) == SESSION_IDLE && session_stage(d->session) == SESSION_NONE &&
        !is_wanted(s, device)) {
        device_go_home(s, device);
        return SOTTO_OK;
    }
    const uint64_t next = session_next_ms(d->session);
    if (next == UINT64_MAX || next == d->timer_ms)
        return SOTTO_OK;
    d->timer_ms = next;
    const struct vtime_event e = {
        .at_ms = next, .kind = SIM_EV_TIMER, .rank = SIM_RANK_TIMER, .device = device, .tag = next};
    TRY(vtime_add(&s->time, &e, err));
out:
    return status;
}

enum sotto_status device_wake(struct sim *s, uint32_t device, struct sotto_error *err) {
    struct session_event tick = {.kind = SESSION_TICK};
    struct sim_device *d = &s->devices[device];
    uint64_t begin, end;
    enum sotto_status status = SOTTO_OK;
    if (!fleet_window(s, device, &begin, &end)) /* once it is back, if it is wanted then */
        return add_event(s, device, SIM_EV_WAKE, begin, err);
    if (!d->session && !is_wanted(s, device))
        return SOTTO_OK;
    if ((!d->session || d->away) && end != UINT64_MAX) {
        const struct vtime_event away = {
            .at_ms = end, .rank = SIM_RANK_TIMER, .kind = SIM_EV_AWAY, .device = device};
        TRY(vtime_add(&s->time, &away, err));
    }
    d->away = DEVICE_HERE;
    if (!d->session)
        TRY(session_make(s, device, err));
    status = device_event(s, device, &tick, err);
out:
    return status;
}

enum sotto_status device_here(struct sim *s, uint32_t device, struct sotto_error *err) {
    uint64_t begin, end, next;
    sotto_CheckInReply reply = sotto_CheckInReply_init_zero;
    struct sim_reply to = {.device = device, .check_in = &reply};
    const struct round_event seen = {.kind = ROUND_EV_CHECK_IN,
                                     .now_ms = s->time.now_ms,
                                     .serial = serial_of(device),
                                     .round = s->plan ? s->plan->round : 0};
    enum sotto_status status = SOTTO_OK;
    next = s->x->settings.task.pace_ms;
    if (!fleet_window(s, device, &begin, &end))
        return add_event(s, device, SIM_EV_HERE, begin, err);
    if (is_wanted(s, device)) {
        status = s->devices[device].session ? SOTTO_OK : device_wake(s, device, err);
    } else {
        status = host_event(s, &seen, &to, err);
        next = reply.come_back_ms ? reply.come_back_ms : next;
    }
    return status == SOTTO_OK ? add_event(s, device, SIM_EV_HERE, s->time.now_ms + next, err)
                              : status;
}

enum sotto_status device_away(struct sim *s, uint32_t device, struct sotto_error *err) {
    struct sim_device *d = &s->devices[device];
    struct session_event lost = {.kind = SESSION_LOST}, tick = {.kind = SESSION_TICK};
    uint64_t begin, end;
    enum sotto_status status;
    if (!d->session || d->away || fleet_window(s, device, &begin, &end))
        return SOTTO_OK;
    d->away = DEVICE_UNPLUGGED; /* which stops a training; one that is only offline would go on */
    TRY(device_event(s, device, &tick, err));
    d->away = DEVICE_GONE;
    d->up_free_ms = d->down_free_ms = s->time.now_ms; /* what was on its way is lost */
    TRY(device_event(s, device, &lost, err));
    if (d->session)
        TRY(add_event(s, device, SIM_EV_WAKE, begin, err));
out:
    return status;
}

/* ---- The end of a training */

static enum sotto_status keep(struct sim *s, uint32_t device, struct sim_job *j,
                              struct sotto_error *err) {
    struct sim_device *d = &s->devices[device];
    if (j->plan->evaluation || !s->residuals)
        return SOTTO_OK;
    d->residual_round = j->plan->round;
    if (journal_reads(&s->journal)) /* a checkpoint has it */
        return SOTTO_OK;
    const enum sotto_status status = residuals_write(s->residuals, device, j->kept, err);
    mem_free(j->kept);
    j->kept = NULL;
    mass_free(d->mass);
    d->mass = j->mass;
    j->mass = NULL;
    return status;
}

enum sotto_status device_trained(struct sim *s, uint32_t device, uint64_t id,
                                 struct sotto_error *err) {
    struct sim_device *d = &s->devices[device];
    struct sim_job *j = d->job;
    struct session_event e = {.kind = SESSION_TRAINED};
    enum sotto_status status;
    if (!j || j->id != id || !d->session || session_phase(d->session) != SESSION_TRAIN)
        return SOTTO_OK; /* stopped meanwhile */
    TRY(job_wait(j, err));
    spend_training(s, device, j);
    if (j->status == SOTTO_OK) {
        TRY(keep(s, device, j, err)); /* with the report, as in one transaction */
        d->sealed = true;
        if (j->plan->masked)
            d->open_outcome = (uint8_t)sotto_Outcome_OUTCOME_OPEN;
        e.report.bytes = j->report_bytes;
        e.report.hash = j->report_hash;
    } else {
        e.kind = SESSION_FAILED;
        e.error = &j->error;
    }
    status = device_event(s, device, &e, err);
    if (e.kind == SESSION_FAILED && d->job == j)
        end_job(s, device);
out:
    return status;
}

enum sotto_status device_settle(struct sim *s, uint32_t device, uint32_t round,
                                sotto_Outcome outcome, struct sotto_error *err) {
    struct sim_device *d = &s->devices[device];
    enum sotto_status status = SOTTO_OK;
    float *kept = NULL;
    if (d->last_round != round || !d->sealed)
        return SOTTO_OK;
    d->open_outcome = (uint8_t)outcome;
    end_job(s, device);
    if (d->mass && outcome == sotto_Outcome_OUTCOME_RETURNED) {
        kept = mem_array(s->kept_count, sizeof *kept);
        if (!kept)
            TRY_FAIL(err, SOTTO_NOMEM, "no memory for what client %u keeps", device);
        TRY(residuals_read(s->residuals, device, kept, err));
        for (uint32_t i = 0; i < d->mass->count; i++)
            kept[d->mass->index[i]] += d->mass->value[i];
        TRY(residuals_write(s->residuals, device, kept, err));
    }
out:
    mem_free(kept);
    mass_free(d->mass);
    d->mass = NULL;
    return status;
}

void device_deinit(struct sim *s, uint32_t device) {
    struct sim_device *d = &s->devices[device];
    session_free(d->session);
    device_masks_end(d);
    job_drop(d->job);
    sim_plan_drop(d->plan);
    mass_free(d->mass);
}
