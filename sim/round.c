/* The engine's actions, as the daemon's round.c and work.c carry them out: opening, sums, the
 * server step, the end of a round. */
#include "secure.h"
#include "versions.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define SLOTS_PER_GROUP_MAX 8u  /* sums kept apart so that workers need not wait for each other */
#define SLOTS_MAX           16u /* ... and in all, since each costs 8 bytes a parameter */

static double seconds_since(uint64_t start_ns) {
    return (double)(clock_mono_ns() - start_ns) / 1e9;
}

/* ---- Opening */

void sim_plan_drop(struct sim_plan *p) {
    if (!p || --p->refs > 0)
        return;
    sim_version_drop(p->base);
    id_wipe(&p->keys, sizeof p->keys);
    masked_plan_free(p->masked);
    buf_deinit(&p->support);
    buf_deinit(&p->bytes);
    mem_free(p);
}

static enum sotto_status make_plan(struct sim *s, uint32_t round, bool evaluation,
                                   struct sotto_error *err) {
    const struct task_config *t = &s->x->settings.task;
    enum sotto_status status;
    struct sim_plan *p = mem_zalloc(sizeof *p);
    if (!p)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for a plan");
    p->refs = 1;
    p->round = round;
    p->evaluation = evaluation;
    p->base = s->version;
    p->base->refs++;
    buf_init(&p->bytes, WIRE_TERMS_MAX);
    buf_init(&p->support, 0);
    seal_keypair(p->keys.public_key, p->keys.secret_key);
    task_terms(t, &s->x->graph.layout, s->task_id, round, evaluation, &p->terms);
    WIRE_SET_HASH(p->terms.package_hash, &p->base->package->hash);
    p->terms.package_bytes = p->base->package->size;
    task_spec(t, &s->x->graph.layout, evaluation, &p->spec);
    if (task_secure(t)) { /* nothing is sealed: no key */
        TRY(sim_secure_plan_make(s, p, err));
    } else {
        p->terms.round_key.size = SEAL_PUBLIC;
        memcpy(p->terms.round_key.bytes, p->keys.public_key, SEAL_PUBLIC);
        p->terms.report_bytes_max =
            codec_bytes_max(&p->spec) + 4096 + 64u * (codec_block_count(&p->spec) + 1u);
    }
    TRY(wire_terms_encode(&p->terms, &p->bytes, err));
    p->keys.terms = wire_terms_hash(buf_view(&p->bytes));
    id_sign(&s->signing, ID_LABEL_TERMS, buf_view(&p->bytes), p->signature);
    TRY(sim_hash_put(&s->terms, &s->terms_cap, round, &p->keys.terms, err));
    sim_plan_drop(s->plan);
    s->plan = p;
    p = NULL;
out:
    sim_plan_drop(p);
    return status;
}

/* Deltas to the new package from every version that a member holds, made by the workers. */
static enum sotto_status begin_deltas(struct sim *s, const struct round_member *m, uint32_t count,
                                      struct sotto_error *err) {
    for (uint32_t i = 0; i < s->delta_count; i++)
        job_drop(s->deltas[i]);
    s->delta_count = 0;
    if (!s->x->deltas)
        return SOTTO_OK;
    bool wanted[SIM_KEEP_VERSIONS] = {false};
    struct sim_package *to = s->version->package;
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t held = s->devices[m[i].serial - 1].version_held;
        const struct sim_package *p = s->kept[held % SIM_KEEP_VERSIONS];
        if (held && p && p->number == held && held != to->number)
            wanted[held % SIM_KEEP_VERSIONS] = true;
    }
    for (uint32_t i = 0; i < SIM_KEEP_VERSIONS; i++) {
        if (!wanted[i])
            continue;
        struct sim_job *j = job_new(s, SIM_DELTA, err);
        if (!j)
            return SOTTO_NOMEM;
        j->from = s->kept[i];
        j->to = to;
        j->from->refs++;
        j->to->refs++;
        s->deltas[s->delta_count++] = j;
        const enum sotto_status status = job_submit(j, err);
        if (status != SOTTO_OK)
            return status;
    }
    return SOTTO_OK;
}

static void slots_deinit(struct sim *s) {
    for (uint32_t i = 0; i < s->slot_count; i++) {
        if (s->slots[i].ready)
            group_sums_deinit(&s->slots[i].sums);
        pthread_mutex_destroy(&s->slots[i].lock);
    }
    mem_free(s->slots);
    s->slots = NULL;
    s->slot_count = 0;
}

/* Those of the round before, where they fit. */
enum sotto_status sim_slots_prepare(struct sim *s, uint32_t groups, bool evaluation,
                                    struct sotto_error *err) {
    uint32_t each = s->workers < SLOTS_PER_GROUP_MAX ? s->workers : SLOTS_PER_GROUP_MAX;
    if (task_secure(&s->x->settings.task))
        each = 1; /* nobody adds but the end of the session */
    while (each > 1 && each * groups > SLOTS_MAX)
        each--;
    if (s->slot_count == groups * each && s->slots_evaluate == evaluation) {
        for (uint32_t i = 0; i < s->slot_count; i++)
            if (s->slots[i].ready && s->slots[i].sums.sums.updates > 0)
                accumulator_clear(&s->slots[i].sums.sums);
        return SOTTO_OK;
    }
    slots_deinit(s);
    s->slots = mem_array((size_t)groups * each, sizeof *s->slots);
    if (!s->slots)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for the sums of %u groups", groups);
    s->slots_per_group = each;
    s->slot_count = groups * each;
    s->slots_evaluate = evaluation;
    for (uint32_t i = 0; i < s->slot_count; i++)
        pthread_mutex_init(&s->slots[i].lock, NULL);
    return SOTTO_OK;
}

static enum sotto_status wake_members(struct sim *s, const struct round_member *m, uint32_t count,
                                      uint32_t round, struct sotto_error *err) {
    for (uint32_t i = 0; i < count; i++) {
        const struct vtime_event e = {
            .at_ms = s->time.now_ms, .kind = SIM_EV_WAKE, .device = (uint32_t)(m[i].serial - 1)};
        if (fleet_drops(s, e.device, round)) {
            s->round.dropped++;
            continue;
        }
        const enum sotto_status status = vtime_add(&s->time, &e, err);
        if (status != SOTTO_OK)
            return status;
    }
    return SOTTO_OK;
}

static enum sotto_status open_round(struct sim *s, uint32_t number, struct sotto_error *err) {
    enum sotto_status status;
    uint32_t members = 0, groups = 0;
    const struct round_member *m = round_members(s->engine, &members);
    const bool evaluation = round_kind(s->engine) == ROUND_EVALUATE;
    (void)round_groups(s->engine, &groups);
    s->round = (struct sim_round_result){.round = number,
                                         .energy_joules = s->round.energy_joules,
                                         .evaluation = evaluation,
                                         .members = members,
                                         .test_accuracy = NAN,
                                         .test_loss = NAN,
                                         .train_accuracy = NAN,
                                         .train_loss = NAN,
                                         .distill_gain = NAN};
    s->round_open_ms = s->time.now_ms;
    s->train_begin_ns = 0;
    s->upload_count = 0;
    TRY(make_plan(s, number, evaluation, err));
    TRY(sim_slots_prepare(s, groups, evaluation, err));
    if (task_secure(&s->x->settings.task))
        TRY(sim_secure_open(s, members, err));
    TRY(begin_deltas(s, m, members, err));
    TRY(wake_members(s, m, members, number, err));
    const struct round_event opened = {
        .kind = ROUND_EV_OPENED, .now_ms = s->time.now_ms, .round = number};
    host_queue(s, &opened);
out:
    return status;
}

/* ---- Answers */

static void answer_plan(struct sim *s, const struct round_action *a, struct sim_reply *to) {
    if (!to || !to->check_in || (uint64_t)to->device + 1 != a->serial)
        return;
    const struct sim_plan *p = s->plan;
    sotto_CheckInReply *r = to->check_in;
    to->planned = true;
    r->come_back_ms = s->x->settings.task.pace_ms;
    r->terms.size = (pb_size_t)p->bytes.len;
    memcpy(r->terms.bytes, p->bytes.data, p->bytes.len);
    r->terms_signature.size = ID_SIG;
    memcpy(r->terms_signature.bytes, p->signature, ID_SIG);
    r->signing_key.size = ID_KEY;
    memcpy(r->signing_key.bytes, s->signing.public_key, ID_KEY);
    r->has_invitation = true;
    WIRE_SET_HASH(r->invitation.terms_hash, &p->keys.terms);
    r->invitation.valid_ms = p->terms.train_ms ? p->terms.train_ms : 86400000u;
}

static enum sotto_status answer_heartbeat(struct sim *s, const struct round_action *a,
                                          const struct sim_reply *to, struct sotto_error *err) {
    if (!to)
        return SOTTO_OK;
    sotto_Envelope e = sotto_Envelope_init_zero;
    e.version = WIRE_VERSION;
    e.which_body = sotto_Envelope_heartbeat_reply_tag;
    WIRE_SET_HASH(e.body.heartbeat_reply.terms_hash, &s->plan->keys.terms);
    e.body.heartbeat_reply.abort = a->kind == ROUND_DO_ABORT;
    WIRE_SET_TEXT(e.body.heartbeat_reply.reason, a->text);
    return host_send(s, to->device, &e, view_of(NULL, 0), err);
}

static void answer_come_back(const struct round_action *a, struct sim_reply *to) {
    if (!to || !to->check_in || (uint64_t)to->device + 1 != a->serial || to->planned)
        return;
    to->check_in->come_back_ms = num_max_u64(a->after_ms, 1);
    WIRE_SET_TEXT(to->check_in->reason, a->text);
}

/* ---- The end of groups and rounds */

/* What becomes of the members of a group that has ended, and of what they sent. A masked input of
 * which something may have left is gone, sum or not; a rejected report was taken. */
static enum sotto_status settle_group(struct sim *s, uint32_t group, bool ok,
                                      struct sotto_error *err) {
    const bool masked = s->secure != NULL;
    uint32_t count = 0;
    const struct round_member *m = round_members(s->engine, &count);
    for (uint32_t i = 0; i < count; i++) {
        const enum round_member_state other = masked ? ROUND_READY : ROUND_REJECTED;
        if (m[i].group != group ||
            (m[i].state != ROUND_STORED && m[i].state != ROUND_CHECKED && m[i].state != other))
            continue;
        const bool counted = ok && m[i].state == ROUND_CHECKED;
        const bool kept = counted || (masked ? round_secure_asked(s->engine, &m[i])
                                             : m[i].state == ROUND_REJECTED);
        const bool gone = masked && m[i].out > 0; /* its device left on the way */
        s->round.counted += counted;
        s->round.dropped += masked && !counted && (kept || gone);
        s->round.returned += !kept && !gone;
        if (masked)
            sim_secure_input_drop(s, i);
        const enum sotto_status status =
            device_settle(s, (uint32_t)(m[i].serial - 1), s->plan->round,
                          kept ? sotto_Outcome_OUTCOME_KEPT : sotto_Outcome_OUTCOME_RETURNED, err);
        if (status != SOTTO_OK)
            return status;
    }
    const struct round_event e = {.kind = ROUND_EV_SUMMED,
                                  .now_ms = s->time.now_ms,
                                  .round = s->plan->round,
                                  .group = group,
                                  .ok = ok};
    host_queue(s, &e);
    return SOTTO_OK;
}

/* The group's sums, from those that the workers made. */
static enum sotto_status merge_slots(struct sim *s, uint32_t group, struct sotto_error *err) {
    struct sim_slot *slots = &s->slots[group * s->slots_per_group];
    struct sim_slot *into = NULL;
    for (uint32_t i = 0; i < s->slots_per_group; i++) {
        if (!slots[i].ready || slots[i].sums.sums.updates == 0)
            continue;
        if (!into) {
            into = &slots[i];
            continue;
        }
        const enum sotto_status status =
            accumulator_merge(&into->sums.sums, &slots[i].sums.sums, err);
        if (status != SOTTO_OK)
            return status;
        accumulator_clear(&slots[i].sums.sums);
    }
    return SOTTO_OK;
}

static enum sotto_status sum_group(struct sim *s, uint32_t group, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    if (!s->secure)
        status = merge_slots(s, group, err);
    else if (!journal_reads(&s->journal)) /* that has the server step */
        status = sim_secure_group_sum(s, group, err);
    return status == SOTTO_OK ? settle_group(s, group, true, err) : status;
}

/* What its clocks say. */
static void time_round(struct sim *s) {
    struct sim_round_result *r = &s->round;
    r->virtual_seconds = (double)(s->time.now_ms - s->round_open_ms) / 1000.0;
    pthread_mutex_lock(&s->lock); /* a straggler of an older round may still train */
    const uint64_t trained = s->train_end_ns;
    pthread_mutex_unlock(&s->lock);
    if (s->train_begin_ns && trained > s->train_begin_ns)
        r->train_seconds = (double)(trained - s->train_begin_ns) / 1e9;
    const uint64_t now = clock_mono_ns();
    r->wall_seconds = (double)(now - s->round_wall_ns) / 1e9;
    s->round_wall_ns = now;
}

/* While a journal is read: what the round's end gave then. After its last round the run is put
 * back. */
static enum sotto_status end_again(struct sim *s, struct sotto_error *err) {
    s->round.again = true;
    const enum sotto_status status = journal_round_again(s, err);
    if (status != SOTTO_OK || reader_left(&s->journal.in) > 0)
        return status;
    s->round_wall_ns = clock_mono_ns();
    return checkpoint_restore(s, err);
}

/* Everything that a round's end says, to the host's caller. */
static enum sotto_status end_round(struct sim *s, struct sotto_error *err) {
    struct sim_totals *t = &s->totals;
    struct sim_round_result *r = &s->round;
    if (!r->again) {
        time_round(s);
        journal_round(s);
    }
    t->rounds = (uint32_t)s->train_rounds_done;
    t->bytes_up += r->bytes_up;
    t->bytes_down += r->bytes_down;
    t->train_samples += r->evaluation ? 0 : r->train_samples;
    t->wall_seconds += r->wall_seconds;
    t->train_seconds += r->train_seconds;
    t->eval_seconds += r->eval_seconds;
    t->server_seconds += r->server_seconds;
    t->virtual_seconds = (double)(s->time.now_ms - s->start_ms) / 1000.0;
    t->energy_joules += r->energy_joules;
    if (!isnan(r->test_accuracy)) {
        t->accuracy = r->test_accuracy;
        t->loss = r->test_loss;
        if (!(t->best_accuracy >= r->test_accuracy))
            t->best_accuracy = r->test_accuracy;
    }
    t->digest = s->version->digest;
    t->package_hash = s->version->package->hash;
    const struct sim_settings *set = &s->x->settings;
    t->target_reached = t->target_reached || (set->stop_accuracy > 0 && !r->evaluation &&
                                              r->test_accuracy >= set->stop_accuracy);
    if (s->on_round && !s->on_round(s->ctx, r, t)) {
        s->cancelled = true;
        if (s->checkpoint_dir && !r->again)
            (void)checkpoint_write(s, NULL);
        return SOTTO_FAIL(err, SOTTO_CANCELLED, "stopped after round %u", r->round);
    }
    if (t->target_reached || (set->stop_bytes && t->bytes_up >= set->stop_bytes)) {
        const struct round_event stop = {.kind = ROUND_EV_STOP, .now_ms = s->time.now_ms};
        host_queue(s, &stop);
    }
    r->energy_joules = 0; /* told: what comes from here on is the next one's */
    return r->again ? SOTTO_OK : checkpoint_tick(s, err);
}

static bool is_tested(const struct sim *s, uint64_t done, bool *last) {
    const struct sim_settings *set = &s->x->settings;
    *last = set->task.rounds && done >= set->task.rounds;
    return set->test_every && (done % set->test_every == 0 || *last);
}

static enum sotto_status server_step(struct sim *s, struct advance_out *a,
                                     struct sotto_error *err) {
    const struct group_sums *groups[ROUND_GROUPS_MAX];
    uint32_t count = 0, summed = 0;
    const struct round_group *g = round_groups(s->engine, &count);
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t k = 0; k < s->slots_per_group && g[i].state == ROUND_GROUP_SUMMED; k++) {
            const struct sim_slot *slot = &s->slots[i * s->slots_per_group + k];
            if (slot->ready && slot->sums.sums.updates > 0)
                groups[summed++] = &slot->sums;
        }
    if (s->round.evaluation) {
        advance_metrics(groups, summed, &s->round.test_loss, &s->round.test_accuracy,
                        &s->round.train_samples);
        return SOTTO_OK;
    }
    const struct advance_in in = {
        .task = &s->x->settings.task,
        .graph = &s->x->graph,
        .schema = &s->x->schema,
        .data = &s->x->data,
        .round = s->round.round,
        .train_rounds_done = s->train_rounds_done,
        .groups = groups,
        .group_count = summed,
        .master = s->version->master,
        .state = s->state,
        .devices = round_device_count(s->engine),
        .best_loss = s->best_loss,
        .best_accuracy = s->best_accuracy,
        .backend = s->backend,
        .evaluate = false, /* the workers do that, faster */
    };
    return advance_run(&in, a, err);
}

static enum sotto_status take_step(struct sim *s, struct advance_out *a, struct sotto_error *err) {
    struct sim_round_result *r = &s->round;
    enum sotto_status status = SOTTO_OK;
    bool last;
    r->train_loss = a->train_loss;
    r->train_accuracy = a->train_accuracy;
    r->train_samples = a->train_examples;
    r->distilled = a->distilled;
    r->distill_gain = a->distill_gain;
    r->published = a->published;
    snprintf(r->reason, sizeof r->reason, "%s", a->reason);
    if (a->published) {
        sim_note_best(s, a);
        mem_free(s->state);
        s->state = a->state;
        a->state = NULL;
        TRY(sim_publish(s, a, err));
    }
    if (is_tested(s, s->train_rounds_done + 1, &last)) {
        const uint64_t start = clock_mono_ns();
        TRY(work_evaluate(s, s->version->params, last ? 0 : (uint32_t)s->x->settings.test_limit,
                          &r->test_loss, &r->test_accuracy, err));
        r->eval_seconds = seconds_since(start);
    }
out:
    return status;
}

static enum sotto_status advance_round(struct sim *s, struct sotto_error *err) {
    struct advance_out a;
    enum sotto_status status;
    memset(&a, 0, sizeof a);
    const uint64_t start = clock_mono_ns();
    const bool again = journal_reads(&s->journal);
    TRY(again ? end_again(s, err) : server_step(s, &a, err));
    if (!again)
        s->round.server_seconds = seconds_since(start);
    if (!again && !s->round.evaluation)
        TRY(take_step(s, &a, err));
    s->train_rounds_done += !s->round.evaluation;
    const struct round_event e = {.kind = ROUND_EV_ADVANCED,
                                  .now_ms = s->time.now_ms,
                                  .round = s->round.round,
                                  .ok = s->round.evaluation || s->round.published};
    sim_secure_close(s);
    sim_plan_drop(s->plan);
    s->plan = NULL;
    TRY(end_round(s, err));
    host_queue(s, &e); /* behind a STOP: the next round must not open first */
out:
    advance_out_deinit(&a);
    return status;
}

static enum sotto_status fail_round(struct sim *s, const char *reason, struct sotto_error *err) {
    s->round.failed = true;
    snprintf(s->round.reason, sizeof s->round.reason, "%s", reason);
    if (journal_reads(&s->journal)) {
        const enum sotto_status status = end_again(s, err);
        if (status != SOTTO_OK)
            return status;
    }
    s->train_rounds_done += !s->round.evaluation;
    sim_secure_close(s);
    sim_plan_drop(s->plan);
    s->plan = NULL;
    return end_round(s, err);
}

enum sotto_status host_action_do(struct sim *s, const struct round_action *a, struct sim_reply *to,
                                 struct sotto_error *err) {
    switch (a->kind) {
    case ROUND_DO_OPEN:
        return open_round(s, a->round, err);
    case ROUND_DO_PLAN:
        answer_plan(s, a, to);
        break;
    case ROUND_DO_COME_BACK:
        answer_come_back(a, to);
        break;
    case ROUND_DO_ACCEPT:
        return host_accept(s, a, err);
    case ROUND_DO_REPEAT:
        return to ? host_ack(s, a->serial, sotto_Outcome_OUTCOME_OPEN, a->text, err) : SOTTO_OK;
    case ROUND_DO_RETURN:
        if (s->secure)
            return sim_secure_action(s, a, to, err);
        s->round.returned++;
        return to ? host_ack(s, a->serial, sotto_Outcome_OUTCOME_RETURNED, a->text, err) : SOTTO_OK;
    case ROUND_DO_CONTINUE:
    case ROUND_DO_ABORT:
        return answer_heartbeat(s, a, to, err);
    case ROUND_DO_STORE_MEMBER:
        s->round.dropped += a->member_state == ROUND_DROPPED;
        break;
    case ROUND_DO_SUM:
        return sum_group(s, a->group, err);
    case ROUND_DO_GROUP:
    case ROUND_DO_REGROUP:
    case ROUND_DO_STATE:
    case ROUND_DO_NOTIFY:
    case ROUND_DO_CLOSE:
        return sim_secure_action(s, a, to, err);
    case ROUND_DO_FAIL_GROUP:
        if (s->secure)
            LOG(LOG_INFO, "secure.group_failed", LU("round", a->round), LU("group", a->group),
                LS("reason", a->text));
        return settle_group(s, a->group, false, err);
    case ROUND_DO_ADVANCE:
        return advance_round(s, err);
    case ROUND_DO_FAIL:
        return fail_round(s, a->text, err);
    case ROUND_DO_FINISHED:
        s->finished = true;
        break;
    case ROUND_DO_NOTE:
        LOG(LOG_DEBUG, "round.note", LU("round", a->round), LS("text", a->text));
        break;
    }
    return SOTTO_OK;
}

void sim_round_deinit(struct sim *s) {
    slots_deinit(s);
    sim_secure_close(s);
    for (uint32_t i = 0; i < s->delta_count; i++)
        job_drop(s->deltas[i]);
    s->delta_count = 0;
    sim_plan_drop(s->plan);
    s->plan = NULL;
    for (uint32_t i = 0; i < SIM_KEEP_VERSIONS; i++)
        sim_package_drop(s->kept[i]);
    sim_version_drop(s->version);
    mem_free(s->state);
    mem_free(s->terms);
    mem_free(s->version_hash);
    mem_free(s->uploads);
    while (s->free_messages) {
        struct sim_message *m = s->free_messages;
        s->free_messages = m->next;
        mem_free(m);
    }
}
