/* The session's moves: actions, messages out, the link with its back-off, and the change from one
 * phase to the next. */
#include "session_int.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct session_action *session_emit(struct session *s, enum session_action_kind kind) {
    assert(s->action_count < SESSION_ACTIONS_MAX); /* our own arithmetic: see the header */
    struct session_action *a = &s->actions[s->action_count++];
    memset(a, 0, sizeof *a);
    a->kind = kind;
    a->terms_hash = s->terms_hash;
    return a;
}

void session_note(struct session *s, const char *fmt, ...) {
    struct session_action *a = session_emit(s, SESSION_DO_NOTE);
    va_list args;
    va_start(args, fmt);
    vsnprintf(a->text, sizeof a->text, fmt, args);
    va_end(args);
}

void session_emit_counters(struct session *s) {
    struct session_action *a = session_emit(s, SESSION_DO_STORE_COUNTERS);
    a->bytes_left = s->bytes_left;
    a->rounds_left = s->rounds_left;
}

void session_emit_charge(struct session *s) {
    if (s->config.policy.bytes_per_day_max > 0)
        session_emit_counters(s);
}

/* ---- Messages out
 * ------------------------------------------------------------------------------------------------------
 */

/* NULL: no room in this step, or no link. */
sotto_Envelope *session_message(struct session *s, pb_size_t which,
                                struct session_action **action) {
    if (s->out == NULL || s->out_count >= SESSION_OUT_MAX || s->link != LINK_UP)
        return NULL;
    sotto_Envelope *m = &s->out[s->out_count++];
    memset(m, 0, sizeof *m);
    m->version = WIRE_VERSION;
    m->which_body = which;
    struct session_action *a = session_emit(s, SESSION_DO_SEND);
    a->message = m;
    if (action != NULL)
        *action = a;
    return m;
}

static void await_answer(struct session *s) {
    s->await_ms = s->now_ms + SESSION_REPLY_MS;
}

static void send_check_in(struct session *s) {
    sotto_Envelope *m = session_message(s, sotto_Envelope_check_in_tag, NULL);
    if (m == NULL)
        return;
    if (!s->nonce_used) /* a check-in that is sent again asks the same */
        memcpy(s->nonce, s->step_nonce, WIRE_NONCE);
    s->nonce_used = true;
    s->last_check_in_ms = s->now_ms;
    sotto_CheckIn *c = &m->body.check_in;
    c->nonce.size = WIRE_NONCE;
    memcpy(c->nonce.bytes, s->nonce, WIRE_NONCE);
    c->document_version = s->document->version;
    c->memory_bytes = s->config.memory_bytes;
    WIRE_SET_TEXT(c->backend, s->config.backend);
    c->samples_per_s = s->config.samples_per_s;
    WIRE_SET_TEXT(c->tier, s->config.tier);
    WIRE_SET_TEXT(c->version, s->config.version);
    if (s->held_any)
        WIRE_SET_HASH(c->package_held, &s->held);
    c->open_reports_count = (pb_size_t)s->open_count;
    for (uint32_t i = 0; i < s->open_count; i++)
        WIRE_SET_HASH(c->open_reports[i].terms_hash, &s->open_reports[i]);
    if (s->stage != SESSION_NONE)
        WIRE_SET_HASH(c->terms_held, &s->terms_hash);
    await_answer(s);
}

void session_request_package(struct session *s, uint32_t index, uint32_t count) {
    sotto_Envelope *m = session_message(s, sotto_Envelope_get_package_tag, NULL);
    if (m == NULL)
        return;
    sotto_GetPackage *g = &m->body.get_package;
    g->hash.size = WIRE_HASH;
    memcpy(g->hash.bytes, s->terms.package_hash.bytes, WIRE_HASH);
    if (s->held_any && !s->whole_only)
        WIRE_SET_HASH(g->base, &s->held);
    g->index = index;
    g->count = count;
    await_answer(s);
}

/* Forgets what was granted: all that has not come is lost. */
static void request_again(struct session *s) {
    uint32_t index = s->part_chunks, count = SESSION_CREDIT;
    if (s->receiving) {
        s->receiver.granted = s->receiver.next;
        (void)chunk_receiver_grant(&s->receiver, &index, &count);
    }
    session_request_package(s, index, count);
}

static void send_report_open(struct session *s) {
    sotto_Envelope *m = session_message(s, sotto_Envelope_report_open_tag, NULL);
    if (m == NULL)
        return;
    WIRE_SET_HASH(m->body.report_open.terms_hash, &s->terms_hash);
    m->body.report_open.bytes = s->report_bytes;
    WIRE_SET_HASH(m->body.report_open.hash, &s->report_hash);
    await_answer(s);
}

static void send_decline(struct session *s) {
    sotto_Envelope *m = session_message(s, sotto_Envelope_decline_tag, NULL);
    if (m == NULL)
        return;
    WIRE_SET_HASH(m->body.decline.terms_hash, &s->decline_hash);
    WIRE_SET_TEXT(m->body.decline.rule, s->decline_rule);
    WIRE_SET_TEXT(m->body.decline.detail, s->decline_detail);
    await_answer(s);
}

void session_send_heartbeat(struct session *s) {
    s->heartbeat_due_ms = s->now_ms + s->terms.heartbeat_ms;
    sotto_Envelope *m = session_message(s, sotto_Envelope_heartbeat_tag, NULL);
    if (m == NULL)
        return;
    WIRE_SET_HASH(m->body.heartbeat.terms_hash, &s->terms_hash);
    /* How fast it grows tells the number of steps, which is a scalar that only sums show. */
    if (!secure_wanted(&s->terms))
        m->body.heartbeat.permille = (uint32_t)num_min_u64(s->train_permille, 1000);
}

void session_send_chunks(struct session *s) {
    const uint32_t first = s->sender.next;
    uint32_t index;
    while (s->out_count < SESSION_OUT_MAX && s->link == LINK_UP &&
           chunk_sender_next(&s->sender, &index)) {
        struct session_action *a = NULL;
        sotto_Envelope *m = session_message(s, sotto_Envelope_report_chunk_tag, &a);
        if (m == NULL)
            break;
        WIRE_SET_HASH(m->body.report_chunk.terms_hash, &s->terms_hash);
        m->body.report_chunk.index = index;
        a->has_chunk = true;
        a->chunk = index;
        if (s->phase == SESSION_SECURE) {
            m->body.report_chunk.attempt = a->attempt = s->secure.attempt;
            m->body.report_chunk.exchange = a->exchange = s->secure.out_kind;
        }
        session_charge(s, chunk_size(s->sender.bytes, index));
        await_answer(s);
    }
    if (s->sender.next != first)
        session_emit_charge(s);
}

void session_send_again(struct session *s) {
    switch (s->phase) {
    case SESSION_CHECK_IN:
        send_check_in(s);
        break;
    case SESSION_FETCH:
        request_again(s);
        break;
    case SESSION_REPORT:
        s->granted = false;
        send_report_open(s);
        break;
    case SESSION_DECLINE:
        send_decline(s);
        break;
    case SESSION_SECURE:
        session_secure_again(s);
        break;
    case SESSION_IDLE:
    case SESSION_PREPARE:
    case SESSION_TRAIN:
        break;
    }
}

/* ---- The link
 * ----------------------------------------------------------------------------------------------------------
 */

/* Exponential with equal jitter: between half the step and the step. */
static uint64_t jittered(struct session *s, uint64_t first_ms, uint32_t n, uint64_t max_ms) {
    uint64_t step = first_ms == 0 ? 1 : first_ms;
    for (uint32_t i = 1; i < n && step < max_ms; i++)
        step *= 2;
    if (step > max_ms)
        step = max_ms;
    return step / 2 + rng_below(&s->jitter, (uint32_t)(step - step / 2) + 1);
}

uint64_t session_backoff(struct session *s, uint32_t count) {
    return jittered(s, s->config.policy.checkin_min_ms, count, SESSION_BACKOFF_MAX_MS);
}

void session_link_open(struct session *s) {
    if (s->document->endpoint_count > 0)
        s->endpoint %= s->document->endpoint_count;
    s->link = LINK_CONNECTING;
    s->link_due_ms = s->now_ms + SESSION_CONNECT_MS;
    session_emit(s, SESSION_DO_CONNECT)->endpoint = s->endpoint;
}

void session_link_close(struct session *s) {
    if (s->link != LINK_DOWN)
        session_emit(s, SESSION_DO_DISCONNECT);
    s->link = LINK_DOWN;
}

void session_link_fail(struct session *s, const char *why, bool refused) {
    session_link_close(s);
    if (s->phase == SESSION_IDLE) /* nothing was asked of it */
        return;
    const uint32_t endpoints = s->document->endpoint_count > 1 ? s->document->endpoint_count : 1;
    s->failures++;
    s->endpoint = (s->endpoint + 1) % endpoints;
    uint64_t wait = session_backoff(s, (s->failures + endpoints - 1) / endpoints);
    if (refused) {
        const uint64_t long_wait =
            jittered(s, SESSION_REFUSED_MS, ++s->refusals, SESSION_REFUSED_MAX_MS);
        wait = wait > long_wait ? wait : long_wait;
    }
    snprintf(s->reason, sizeof s->reason, "%s", why);
    session_note(s, "%s; again in %llu ms", why, (unsigned long long)wait);
    /* Training needs no link, a session of secure aggregation lives in this process. */
    if (s->phase == SESSION_TRAIN || s->phase == SESSION_PREPARE || s->phase == SESSION_SECURE)
        s->link_due_ms = s->now_ms + wait;
    else
        session_go_idle(s, s->now_ms + wait);
}

/* ---- Phases
 * ------------------------------------------------------------------------------------------------------------
 */

void session_go_idle(struct session *s, uint64_t due_ms) {
    s->phase = SESSION_IDLE;
    s->due_ms = due_ms;
    if (s->last_check_in_ms > 0)
        s->due_ms = num_max_u64(due_ms, s->last_check_in_ms + s->config.policy.checkin_min_ms);
    if (s->due_ms - s->now_ms > SESSION_KEEP_LINK_MS && s->due_ms > s->now_ms)
        session_link_close(s);
}

void session_begin_check_in(struct session *s) {
    s->phase = SESSION_CHECK_IN;
    s->tries = 0;
    s->nonce_used = false;
    s->reason[0] = '\0';
    if (s->link == LINK_UP)
        send_check_in(s);
    else if (s->link == LINK_DOWN)
        session_link_open(s);
}

/* The newest package may be another task's: of that no delta can be made. */
static void hold_task_package(struct session *s, const struct wire_hash *wanted) {
    const struct session_task *task = session_task_find(s, s->terms.task_id.bytes);
    static const struct wire_hash none;
    if (task == NULL || wire_hash_equal(&task->package, &none) ||
        (s->held_any && wire_hash_equal(&s->held, wanted)))
        return;
    s->held = task->package;
    s->held_any = true;
}

void session_begin_work(struct session *s) {
    struct wire_hash wanted;
    WIRE_GET_HASH(s->terms.package_hash, &wanted);
    hold_task_package(s, &wanted);
    s->tries = 0;
    s->heartbeat_due_ms = s->now_ms + s->terms.heartbeat_ms;
    s->reason[0] = '\0';
    if (s->held_any && wire_hash_equal(&wanted, &s->held)) {
        session_begin_prepare(s);
        return;
    }
    s->phase = SESSION_FETCH;
    s->receiving = false;
    if (!wire_hash_equal(&wanted, &s->part)) {
        s->part = wanted;
        s->part_bytes = 0;
        s->part_chunks = 0;
        s->part_delta = false;
    } else if (s->part_chunks > 0 && s->part_chunks >= chunk_count(s->part_bytes)) {
        session_begin_prepare(s); /* all there, but never checked */
        return;
    }
    if (s->link == LINK_UP)
        session_request_package(s, s->part_chunks, SESSION_CREDIT);
    else
        session_go_idle(s, s->now_ms);
}

void session_begin_prepare(struct session *s) {
    s->phase = SESSION_PREPARE;
    s->receiving = false;
    struct session_action *a = session_emit(s, SESSION_DO_PREPARE);
    WIRE_GET_HASH(s->terms.package_hash, &a->package);
    if (s->held_any)
        a->base = s->held;
}

void session_begin_report(struct session *s) {
    s->phase = SESSION_REPORT;
    s->tries = 0;
    s->granted = false;
    s->reason[0] = '\0';
    chunk_sender_init(&s->sender, s->report_bytes);
    if (s->link == LINK_UP)
        send_report_open(s);
    else /* by way of a check-in: the coordinator may have news about the round */
        session_go_idle(s,
                        s->link == LINK_DOWN ? num_max_u64(s->now_ms, s->link_due_ms) : s->now_ms);
}

void session_drop_terms(struct session *s) {
    if (s->stage != SESSION_ACCEPTED)
        return;
    if (s->phase == SESSION_TRAIN || s->phase == SESSION_PREPARE)
        session_emit(s, SESSION_DO_CANCEL);
    session_emit(s, SESSION_DO_DROP_TERMS);
    s->stage = SESSION_NONE;
    s->receiving = false;
    s->deadline_ms = s->train_limit_ms = UINT64_MAX;
    s->whole_only = false;
    s->fetch_again = 0;
}

void session_decline(struct session *s, const struct wire_hash *terms, const char *rule,
                     const char *detail) {
    s->decline_hash = *terms;
    snprintf(s->decline_rule, sizeof s->decline_rule, "%s", rule);
    snprintf(s->decline_detail, sizeof s->decline_detail, "%s", detail);
    session_note(s, "declined: %s%s%s", s->decline_rule, detail[0] != '\0' ? ": " : "",
                 s->decline_detail);
    snprintf(s->reason, sizeof s->reason, "%s", s->decline_rule);
    if (s->stage == SESSION_ACCEPTED && wire_hash_equal(terms, &s->terms_hash))
        session_drop_terms(s);
    if (s->link != LINK_UP) { /* the coordinator will see it by its lease */
        session_go_idle(s, s->now_ms + session_backoff(s, ++s->errors));
        return;
    }
    s->phase = SESSION_DECLINE;
    s->tries = 0;
    send_decline(s);
}

void session_close_report(struct session *s, const struct wire_hash *terms, sotto_Outcome outcome) {
    struct session_action *a = session_emit(s, SESSION_DO_STORE_OUTCOME);
    a->terms_hash = *terms;
    a->outcome = outcome;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < s->open_count; i++)
        if (!wire_hash_equal(&s->open_reports[i], terms))
            s->open_reports[kept++] = s->open_reports[i];
    s->open_count = kept;
    if (outcome != sotto_Outcome_OUTCOME_OPEN)
        return;
    if (s->open_count == SESSION_OPEN_REPORTS_MAX) { /* older ones are closed as kept */
        const struct wire_hash oldest = s->open_reports[0];
        session_close_report(s, &oldest, sotto_Outcome_OUTCOME_KEPT);
    }
    s->open_reports[s->open_count++] = *terms;
}
