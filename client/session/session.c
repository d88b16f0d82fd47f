/* The session's frame: making one from saved state, one step, its timers, and what hosts may look
 * at. */
#include "session_int.h"

#include <stdio.h>
#include <string.h>

static bool hash_set(const struct wire_hash *h) {
    static const struct wire_hash none;
    return !wire_hash_equal(h, &none);
}

static enum sotto_status restore_terms(struct session *s, const struct session_saved *saved,
                                       struct sotto_error *err) {
    if (saved->stage == SESSION_NONE)
        return SOTTO_OK;
    if (saved->stage != SESSION_ACCEPTED && saved->stage != SESSION_SEALED &&
        saved->stage != SESSION_READY)
        return SOTTO_FAIL(err, SOTTO_INVALID, "unknown stage %d of a session", (int)saved->stage);
    const bool sent =
        saved->stage == SESSION_SEALED || (saved->stage == SESSION_READY && saved->masked);
    if (sent && (saved->report_bytes == 0 || saved->report_bytes > WIRE_BLOB_MAX))
        return SOTTO_FAIL(err, SOTTO_INVALID, "a sealed report of %llu bytes",
                          (unsigned long long)saved->report_bytes);
    enum sotto_status status = wire_terms_decode(saved->terms, &s->terms, err);
    if (status != SOTTO_OK)
        return status;
    s->stage = saved->stage;
    s->terms_size = saved->terms.n;
    memcpy(s->terms_bytes, saved->terms.p, saved->terms.n);
    s->terms_hash = wire_terms_hash(saved->terms);
    s->report_bytes = saved->report_bytes;
    s->report_hash = saved->report_hash;
    if (s->stage != SESSION_READY)
        return SOTTO_OK;
    if (!secure_wanted(&s->terms) || saved->secure_attempt > WIRE_ATTEMPTS_MAX ||
        (saved->masked && saved->secure_attempt == 0))
        return SOTTO_FAIL(err, SOTTO_INVALID, "a session of secure aggregation that cannot be");
    s->secure.attempt = saved->secure_attempt;
    s->secure.masked = saved->masked;
    if (saved->masked) { /* that very message may be sent again, to the same session */
        s->secure.taken = s->secure.have = SECAGG_DELIVERY;
        s->secure.out_kind = SECAGG_MASKED;
        s->secure.out_bytes = saved->report_bytes;
        s->secure.out_hash = saved->report_hash;
    }
    return SOTTO_OK;
}

static enum sotto_status restore_lists(struct session *s, const struct session_saved *saved,
                                       struct sotto_error *err) {
    if (saved->open_report_count > SESSION_OPEN_REPORTS_MAX)
        return SOTTO_FAIL(err, SOTTO_INVALID, "%u open reports, at most %d",
                          saved->open_report_count, SESSION_OPEN_REPORTS_MAX);
    if (saved->task_count > SESSION_TASKS_MAX)
        return SOTTO_FAIL(err, SOTTO_INVALID, "%u tasks, at most %d", saved->task_count,
                          SESSION_TASKS_MAX);
    s->open_count = saved->open_report_count;
    for (uint32_t i = 0; i < s->open_count; i++)
        s->open_reports[i] = saved->open_reports[i];
    s->held = saved->package_held;
    s->held_any = hash_set(&s->held);
    if (hash_set(&saved->part) && saved->part_bytes > 0 && saved->part_bytes <= WIRE_BLOB_MAX &&
        saved->part_chunks <= chunk_count(saved->part_bytes)) {
        s->part = saved->part;
        s->part_bytes = saved->part_bytes;
        s->part_delta = saved->part_delta;
        s->part_chunks = saved->part_chunks;
    }
    s->bytes_left = saved->bytes_left;
    s->rounds_left = saved->rounds_left;
    s->bucket_ms = saved->bucket_ms;
    if (saved->task_count == 0)
        return SOTTO_OK;
    s->tasks = mem_array(saved->task_count, sizeof *s->tasks);
    if (s->tasks == NULL)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for %u tasks", saved->task_count);
    memcpy(s->tasks, saved->tasks, saved->task_count * sizeof *s->tasks);
    s->task_count = s->task_cap = saved->task_count;
    return SOTTO_OK;
}

enum sotto_status session_new(const struct session_config *config,
                              const struct session_saved *saved, struct session **out,
                              struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    *out = NULL;
    if (saved->document == NULL)
        return SOTTO_FAIL(err, SOTTO_INVALID, "a session needs a coordinator document");
    struct session *s = mem_zalloc(sizeof *s);
    if (s == NULL)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for a session");
    s->config = *config;
    if (s->config.policy.allowed_key_count > ARRAY_LEN(s->config.policy.allowed_keys))
        TRY_FAIL(err, SOTTO_INVALID, "a policy names at most %zu keys",
                 ARRAY_LEN(s->config.policy.allowed_keys));
    s->document = saved->document;
    s->deadline_ms = s->train_limit_ms = UINT64_MAX;
    s->conditions.battery_percent = -1;
    rng_init(&s->jitter, config->jitter_seed, 0, config->serial, RNG_FAULT);
    TRY(restore_terms(s, saved, err));
    TRY(restore_lists(s, saved, err));
    *out = s;
    s = NULL;
out:
    session_free(s);
    return status;
}

void session_free(struct session *s) {
    if (s == NULL)
        return;
    mem_free(s->tasks);
    mem_free(s->out);
    mem_free(s);
}

/* ---- Answers of the host
 * -----------------------------------------------------------------------------------------------
 */

/* In secure tasks a rule that depends on the examples is nobody's business. */
static void decline_by_examples(struct session *s, const char *rule, const char *detail) {
    const struct wire_hash hash = s->terms_hash;
    const bool secret = s->terms.has_privacy && s->terms.privacy.secure_aggregation > 0;
    if (secret)
        session_note(s, "%s: %.120s", rule, detail);
    session_decline(s, &hash, secret ? "declined" : rule, secret ? "" : detail);
}

static void on_prepared(struct session *s, const struct session_event *e) {
    const struct session_policy *p = &s->config.policy;
    const struct wire_hash hash = s->terms_hash;
    char detail[128] = "";
    if (s->phase != SESSION_PREPARE || s->stage != SESSION_ACCEPTED)
        return;
    WIRE_GET_HASH(s->terms.package_hash, &s->held);
    s->held_any = true;
    s->whole_only = false;
    struct session_task *task = session_task_find(s, s->terms.task_id.bytes);
    if (task != NULL)
        task->package = s->held;
    memset(&s->part, 0, sizeof s->part);
    s->part_chunks = 0;
    if (!e->prepared.schema_ok) {
        decline_by_examples(s, "schema", e->prepared.detail);
    } else if (e->prepared.examples == 0 || e->prepared.examples < s->terms.examples_min) {
        snprintf(detail, sizeof detail, "%u examples, the plan wants %u", e->prepared.examples,
                 s->terms.examples_min);
        decline_by_examples(s, "examples", detail);
    } else if (p->arena_bytes_max > 0 && e->prepared.arena_bytes > p->arena_bytes_max) {
        snprintf(detail, sizeof detail, "%llu bytes, the device allows %llu",
                 (unsigned long long)e->prepared.arena_bytes,
                 (unsigned long long)p->arena_bytes_max);
        session_decline(s, &hash, "policy.arena_bytes", detail);
    } else if (p->flops_per_round_max > 0 && e->prepared.flops > p->flops_per_round_max) {
        snprintf(detail, sizeof detail, "%.3g, the device allows %.3g", e->prepared.flops,
                 p->flops_per_round_max);
        decline_by_examples(s, "policy.flops_per_round", detail);
    } else {
        s->phase = SESSION_TRAIN;
        s->errors = 0;
        s->train_permille = 0;
        s->train_limit_ms = p->train_ms_max > 0 ? s->now_ms + p->train_ms_max : UINT64_MAX;
        session_emit(s, SESSION_DO_TRAIN);
    }
}

static void on_trained(struct session *s, const struct session_event *e) {
    if (s->phase != SESSION_TRAIN || s->stage != SESSION_ACCEPTED)
        return;
    s->report_refusals = 0;
    struct session_task *task = session_task_find(s, s->terms.task_id.bytes);
    if (task != NULL) {
        task->sealed = true;
        task->part_round = s->terms.round;
    }
    s->deadline_ms = s->train_limit_ms = UINT64_MAX;
    if (secure_wanted(&s->terms)) {
        s->stage = SESSION_READY;
        memset(&s->secure, 0, sizeof s->secure);
        session_begin_secure(s);
        return;
    }
    s->stage = SESSION_SEALED;
    s->report_bytes = e->report.bytes;
    s->report_hash = e->report.hash;
    session_begin_report(s);
}

/* The sealed bytes cannot be read any more, and the coordinator asks for them: it does not have
 * them. Their mass goes back; sealing anew is out of the question. */
static void report_lost(struct session *s, const char *message) {
    const struct wire_hash hash = s->terms_hash;
    session_note(s, "report of %s round %u is lost: %.100s", s->terms.task, s->terms.round,
                 message);
    session_close_report(s, &hash, sotto_Outcome_OUTCOME_RETURNED);
    s->stage = SESSION_NONE;
    s->report_refusals = 0;
    session_decline(s, &hash, "report", "the sealed report cannot be read any more");
}

static void on_failed(struct session *s, const struct sotto_error *error) {
    const char *message = error != NULL ? error->message : "";
    const enum sotto_status status = error != NULL ? error->status : SOTTO_INTERNAL;
    if (s->stage == SESSION_SEALED && s->phase == SESSION_REPORT)
        report_lost(s, message);
    else if (s->stage == SESSION_READY && s->phase == SESSION_SECURE)
        session_secure_lost(s, message);
    if (s->stage != SESSION_ACCEPTED)
        return;
    if (s->phase == SESSION_TRAIN) {
        s->phase = SESSION_IDLE; /* nothing to cancel */
        decline_by_examples(s, "training", message);
    } else if (s->phase == SESSION_PREPARE) {
        const bool was_delta = s->part_delta && s->part_chunks > 0;
        s->phase = SESSION_IDLE;
        s->part_chunks = 0;
        s->part_bytes = 0;
        s->part_delta = false;
        if (!was_delta) { /* what the host dropped is not a base either */
            struct session_task *task = session_task_find(s, s->terms.task_id.bytes);
            s->held_any = false;
            if (task != NULL)
                memset(&task->package, 0, sizeof task->package);
        }
        if (was_delta || (status == SOTTO_CORRUPT && s->fetch_again == 0)) {
            session_note(s, "package is fetched again: %.110s", message);
            s->fetch_again += was_delta ? 0 : 1;
            s->whole_only = s->whole_only || was_delta;
            session_begin_work(s);
        } else {
            const struct wire_hash hash = s->terms_hash;
            session_decline(s, &hash, status == SOTTO_NOMEM ? "memory" : "package", message);
        }
    }
}

/* ---- Timers
 * ------------------------------------------------------------------------------------------------------------
 */

static void pause_work(struct session *s, const char *missing) {
    session_note(s, "stops: %s", missing);
    if (s->phase == SESSION_TRAIN || s->phase == SESSION_PREPARE)
        session_emit(s, SESSION_DO_CANCEL);
    session_link_close(s);
    session_go_idle(s, s->now_ms);
    snprintf(s->reason, sizeof s->reason, "%s", missing);
}

static void run_training_timers(struct session *s) {
    if (s->phase == SESSION_TRAIN && s->now_ms >= s->train_limit_ms) {
        decline_by_examples(s, "policy.train_ms", "the training takes longer than allowed");
        return;
    }
    if (s->terms.heartbeat_ms == 0)
        return;
    if (s->link == LINK_UP && s->now_ms >= s->heartbeat_due_ms)
        session_send_heartbeat(s);
    else if (s->link == LINK_DOWN && s->now_ms >= s->link_due_ms && s->conditions.online)
        session_link_open(s);
}

static void run_timers(struct session *s) {
    const char *missing = session_conditions_missing(s);
    if (s->stage == SESSION_ACCEPTED && s->now_ms >= s->deadline_ms) {
        session_note(s, "%s round %u: its time is over", s->terms.task, s->terms.round);
        session_drop_terms(s);
        session_go_idle(s, s->now_ms);
    }
    const bool offline_training = missing != NULL && strcmp(missing, "offline") == 0 &&
                                  (s->phase == SESSION_TRAIN || s->phase == SESSION_PREPARE);
    if (missing != NULL && s->phase != SESSION_IDLE && !offline_training)
        pause_work(s, missing);
    if (s->link == LINK_CONNECTING && s->now_ms >= s->link_due_ms)
        session_link_fail(s, "no answer from the coordinator's endpoint", false);
    switch (s->phase) {
    case SESSION_IDLE:
        if (missing == NULL && s->now_ms >= s->due_ms)
            session_begin_check_in(s);
        break;
    case SESSION_PREPARE:
    case SESSION_TRAIN:
        run_training_timers(s);
        break;
    case SESSION_SECURE:
        session_secure_timers(s);
        break;
    case SESSION_REPORT:
        if (s->granted)
            session_send_chunks(s);
        /* fall through */
    case SESSION_CHECK_IN:
    case SESSION_FETCH:
    case SESSION_DECLINE:
        if (s->link != LINK_UP || s->now_ms < s->await_ms)
            break;
        if (++s->tries >= SESSION_TRIES)
            session_link_fail(s, "the coordinator does not answer", false);
        else
            session_send_again(s);
        break;
    }
}

static void on_connected(struct session *s) {
    if (s->link != LINK_CONNECTING)
        return;
    s->link = LINK_UP;
    if (s->phase == SESSION_CHECK_IN)
        session_send_again(s);
    else if (s->phase == SESSION_SECURE)
        session_secure_connected(s);
    else if ((s->phase == SESSION_TRAIN || s->phase == SESSION_PREPARE) &&
             s->terms.heartbeat_ms > 0)
        session_send_heartbeat(s);
}

static enum sotto_status make_room(struct session *s, const struct session_event *event,
                                   struct sotto_error *err) {
    if (s->link != LINK_DOWN && s->out == NULL) {
        s->out = mem_array(SESSION_OUT_MAX, sizeof *s->out);
        if (s->out == NULL)
            return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for messages");
    }
    if (event->kind != SESSION_MESSAGE || s->task_count < s->task_cap ||
        s->task_count >= SESSION_TASKS_MAX)
        return SOTTO_OK;
    const uint32_t cap = s->task_cap + 4;
    struct session_task *tasks = mem_resize(s->tasks, cap, sizeof *tasks);
    if (tasks == NULL)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for %u tasks", cap);
    s->tasks = tasks;
    s->task_cap = cap;
    return SOTTO_OK;
}

enum sotto_status session_step(struct session *s, const struct session_event *event,
                               const uint8_t nonce[16], struct session_action *actions,
                               size_t *count, struct sotto_error *err) {
    if (*count < SESSION_ACTIONS_MAX)
        return SOTTO_FAIL(err, SOTTO_INVALID, "room for %zu actions, a step needs %d", *count,
                          SESSION_ACTIONS_MAX);
    *count = 0;
    const enum sotto_status status = make_room(s, event, err);
    if (status != SOTTO_OK)
        return status;
    s->actions = actions;
    s->action_count = 0;
    s->out_count = 0;
    s->now_ms = num_max_u64(s->now_ms, event->now_ms);
    memcpy(s->step_nonce, nonce, WIRE_NONCE);
    session_buckets_fill(s);
    switch (event->kind) {
    case SESSION_TICK:
        s->conditions.charging = event->conditions.charging;
        s->conditions.idle = event->conditions.idle;
        s->conditions.unmetered = event->conditions.unmetered;
        s->conditions.online = event->conditions.online;
        s->conditions.battery_percent = event->conditions.battery_percent;
        s->train_permille = event->train_permille;
        break;
    case SESSION_CONNECTED:
        on_connected(s);
        break;
    case SESSION_REFUSED:
        session_link_fail(s, "the coordinator refuses this device's key", true);
        break;
    case SESSION_LOST:
        if (s->link != LINK_DOWN)
            session_link_fail(s, "connection lost", false);
        break;
    case SESSION_MESSAGE:
        session_on_message(s, event->message, event->payload);
        break;
    case SESSION_PREPARED:
        on_prepared(s, event);
        break;
    case SESSION_TRAINED:
        on_trained(s, event);
        break;
    case SESSION_FAILED:
        on_failed(s, event->error);
        break;
    case SESSION_SECURE_OUT:
        session_on_secure_out(s, event);
        break;
    case SESSION_SECURE_FAILED:
        session_on_secure_failed(s, event);
        break;
    }
    run_timers(s);
    if (s->link == LINK_DOWN && s->out_count == 0) {
        mem_free(s->out);
        s->out = NULL;
    }
    *count = s->action_count;
    s->actions = NULL;
    return SOTTO_OK;
}

uint64_t session_next_ms(const struct session *s) {
    uint64_t next = s->stage == SESSION_ACCEPTED ? s->deadline_ms : UINT64_MAX;
    if (s->link == LINK_CONNECTING)
        next = num_min_u64(next, s->link_due_ms);
    switch (s->phase) {
    case SESSION_IDLE:
        return num_min_u64(next, session_conditions_missing(s) == NULL
                                     ? s->due_ms
                                     : num_max_u64(s->due_ms, s->now_ms + SESSION_RECHECK_MS));
    case SESSION_PREPARE:
    case SESSION_TRAIN:
        next = num_min_u64(next, s->train_limit_ms);
        if (s->terms.heartbeat_ms == 0 || s->link == LINK_CONNECTING)
            return next;
        if (s->link == LINK_UP)
            return num_min_u64(next, s->heartbeat_due_ms);
        return num_min_u64(next, s->conditions.online
                                     ? s->link_due_ms
                                     : num_max_u64(s->link_due_ms, s->now_ms + SESSION_RECHECK_MS));
    case SESSION_SECURE:
        return session_secure_next_ms(s);
    case SESSION_REPORT:
        if (s->granted && s->sender.next < s->sender.limit && s->sender.next < s->sender.chunks)
            return s->now_ms;
        return num_min_u64(next, s->await_ms);
    case SESSION_CHECK_IN:
    case SESSION_FETCH:
    case SESSION_DECLINE:
        break;
    }
    return s->link == LINK_UP ? num_min_u64(next, s->await_ms) : next;
}

enum session_stage session_stage(const struct session *s) {
    return s->stage;
}

enum session_phase session_phase(const struct session *s) {
    return s->phase;
}

uint32_t session_answers(const struct session *s) {
    return s->answers;
}

uint32_t session_failures(const struct session *s) {
    return s->failures;
}

const sotto_Terms *session_terms(const struct session *s) {
    return s->stage == SESSION_NONE ? NULL : &s->terms;
}

struct wire_hash session_terms_hash(const struct session *s) {
    return s->terms_hash;
}

const char *session_reason(const struct session *s) {
    const char *missing = session_conditions_missing(s);
    if (s->phase == SESSION_IDLE && missing != NULL)
        return missing;
    return s->reason;
}

uint32_t session_permille(const struct session *s) {
    uint64_t done = 0, all = 0;
    if (s->phase == SESSION_FETCH && s->part_bytes > 0) {
        done = s->part_chunks;
        all = chunk_count(s->part_bytes);
    } else if (s->phase == SESSION_REPORT) {
        done = s->sender.next;
        all = s->sender.chunks;
    } else if (s->phase == SESSION_SECURE) {
        done = s->secure.have;
        all = SECAGG_UNMASK;
    } else if (s->phase == SESSION_TRAIN) {
        return s->train_permille > 1000 ? 1000 : s->train_permille;
    }
    return all == 0 ? 0 : (uint32_t)(num_min_u64(done, all) * 1000 / all);
}

void session_backend(struct session *s, const char *backend, float samples_per_s) {
    WIRE_SET_TEXT(s->config.backend, backend);
    s->config.samples_per_s = samples_per_s;
}

void session_document(struct session *s, const struct id_document *document) {
    s->document = document;
    s->failures = s->refusals = 0;
}
