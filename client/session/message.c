/* What the coordinator says. Every message is taken in every phase: what does not belong to it is
 * ignored. */
#include "session_int.h"

#include <stdio.h>
#include <string.h>

static bool about(const struct session *s, const uint8_t *bytes, size_t n) {
    return s->stage != SESSION_NONE && n == WIRE_HASH && memcmp(bytes, s->terms_hash.b, n) == 0;
}

static void take_outcomes(struct session *s, const sotto_CheckInReply *m) {
    for (size_t i = 0; i < m->outcomes_count && i < ARRAY_LEN(m->outcomes); i++) {
        struct wire_hash hash;
        if (m->outcomes[i].terms_hash.size != WIRE_HASH ||
            m->outcomes[i].outcome <= sotto_Outcome_OUTCOME_OPEN)
            continue;
        WIRE_GET_HASH(m->outcomes[i].terms_hash, &hash);
        if (s->stage == SESSION_SEALED && wire_hash_equal(&hash, &s->terms_hash)) {
            session_note(s, "report of %s round %u %s", s->terms.task, s->terms.round,
                         m->outcomes[i].outcome == sotto_Outcome_OUTCOME_RETURNED
                             ? "came too late: it is returned"
                             : "is done with");
            session_close_report(s, &hash, m->outcomes[i].outcome);
            s->stage = SESSION_NONE;
            s->report_refusals = 0;
            continue;
        }
        if (s->stage == SESSION_READY && wire_hash_equal(&hash, &s->terms_hash)) {
            session_note(s, "%s round %u %s", s->terms.task, s->terms.round,
                         m->outcomes[i].outcome == sotto_Outcome_OUTCOME_RETURNED
                             ? "was not used: returned"
                             : "is done with");
            session_secure_finish(s, m->outcomes[i].outcome);
            continue;
        }
        for (uint32_t k = 0; k < s->open_count; k++)
            if (wire_hash_equal(&s->open_reports[k], &hash)) {
                session_close_report(s, &hash, m->outcomes[i].outcome);
                break;
            }
    }
}

/* True when the payload is a newer document of our authority; out is then the caller's to deinit.
 */
static bool take_document(struct session *s, struct view payload, struct id_document *out) {
    struct sotto_error error = SOTTO_ERROR_INIT;
    if (payload.p == NULL || payload.n == 0)
        return false;
    if (id_document_read(payload, s->config.authority_key, out, &error) != SOTTO_OK) {
        session_note(s, "the coordinator sent a document that does not hold: %.90s", error.message);
        return false;
    }
    if (out->version <= s->document->version) {
        id_document_deinit(out);
        return false;
    }
    session_emit(s, SESSION_DO_STORE_DOCUMENT)->bytes = payload;
    return true;
}

static void accept_plan(struct session *s, const sotto_CheckInReply *m,
                        const struct session_plan *plan) {
    if (!plan->same) {
        session_drop_terms(s);
        s->terms = plan->terms;
        s->terms_hash = plan->hash;
        s->terms_size = m->terms.size;
        memcpy(s->terms_bytes, m->terms.bytes, m->terms.size);
        s->stage = SESSION_ACCEPTED;
        s->fetch_again = 0;
        s->whole_only = false;
        struct session_task *task = session_task_find(s, plan->terms.task_id.bytes);
        if (task == NULL) { /* there is room: session_step made it */
            task = &s->tasks[s->task_count++];
            memset(task, 0, sizeof *task);
        }
        memcpy(task->task_id, plan->terms.task_id.bytes, WIRE_TASK_ID);
        task->last_round = plan->terms.round;
        task->terms_hash = plan->hash;
        task->sealed = false;
        if (s->config.policy.rounds_per_day_max > 0)
            s->rounds_left -= 1;
        struct session_action *a = session_emit(s, SESSION_DO_STORE_TERMS);
        a->bytes = view_of(s->terms_bytes, s->terms_size);
        session_emit_counters(s);
        session_note(s, "accepted %s round %u", s->terms.task, s->terms.round);
        s->deadline_ms = UINT64_MAX;
    }
    /* Deadlines end at a reboot; within one process a repeat does not move them. */
    if (s->deadline_ms == UINT64_MAX && s->terms.train_ms > 0)
        s->deadline_ms = s->now_ms + s->terms.train_ms;
    session_begin_work(s);
}

static void on_check_in_reply(struct session *s, const sotto_CheckInReply *m, struct view payload) {
    if (s->phase != SESSION_CHECK_IN || !s->nonce_used)
        return;
    struct id_document newer;
    const bool have_newer = m->document_follows && take_document(s, payload, &newer);
    take_outcomes(s, m);
    const bool stale =
        m->has_invitation && (m->invitation.nonce.size != WIRE_NONCE ||
                              memcmp(m->invitation.nonce.bytes, s->nonce, WIRE_NONCE) != 0);
    if (stale) { /* replayed, or late: ours is still to come */
        session_note(s, "a plan that answers another check-in is refused");
    } else if (s->stage == SESSION_SEALED) { /* first this one: a plan comes again */
        session_begin_report(s);
    } else if (s->stage == SESSION_READY) {
        session_begin_secure(s);
    } else if (m->terms.size == 0) {
        session_drop_terms(s);
        s->errors = 0;
        s->answers++;
        snprintf(s->reason, sizeof s->reason, "%s", m->reason);
        session_go_idle(s, s->now_ms + m->come_back_ms);
    } else {
        struct session_plan plan;
        if (session_plan_check(s, have_newer ? &newer : s->document, m, &plan))
            accept_plan(s, m, &plan);
        else {
            session_drop_terms(s); /* whatever it was, it is not this round's any more */
            session_decline(s, &plan.hash, plan.rule, plan.detail);
        }
    }
    if (have_newer)
        id_document_deinit(&newer);
}

/* The first chunk of a download: what kind of blob it is, and whether it goes on with the one begun
 * before. */
static bool start_receiver(struct session *s, const sotto_PackageChunk *m) {
    struct sotto_error error = SOTTO_ERROR_INIT;
    const bool fits = m->delta ? s->held_any && !s->whole_only && m->bytes <= s->terms.package_bytes
                               : m->bytes == s->terms.package_bytes;
    if (!fits || m->chunks != chunk_count(m->bytes)) {
        session_note(s, "package chunk announces %llu bytes, the terms say %llu",
                     (unsigned long long)m->bytes, (unsigned long long)s->terms.package_bytes);
        return false;
    }
    if (s->part_bytes != m->bytes || s->part_delta != m->delta)
        s->part_chunks = 0;
    s->part_bytes = m->bytes;
    s->part_delta = m->delta;
    if (chunk_receiver_init(&s->receiver, m->bytes, WIRE_BLOB_MAX, &s->part, s->part_chunks,
                            SESSION_CREDIT, &error) != SOTTO_OK) {
        session_note(s, "%.120s", error.message);
        return false;
    }
    uint32_t index, count;
    (void)chunk_receiver_grant(&s->receiver, &index, &count); /* that has been asked for */
    s->receiving = true;
    if (m->index >
        s->part_chunks) /* it goes on with another blob than the one begun: from the start */
        session_request_package(s, s->part_chunks, SESSION_CREDIT);
    return true;
}

static void on_package_chunk(struct session *s, const sotto_PackageChunk *m, struct view payload) {
    if (s->phase != SESSION_FETCH || m->hash.size != WIRE_HASH ||
        memcmp(m->hash.bytes, s->terms.package_hash.bytes, WIRE_HASH) != 0 || payload.p == NULL)
        return;
    if (!s->receiving && !start_receiver(s, m)) {
        session_go_idle(s, s->now_ms + session_backoff(s, ++s->errors));
        return;
    }
    if (m->bytes != s->part_bytes || m->delta != s->part_delta ||
        chunk_receiver_accept(&s->receiver, m->index, payload.n, NULL) != SOTTO_OK)
        return; /* a repeat, or behind a lost one: asked for again when the answer is due */
    struct session_action *a = session_emit(s, SESSION_DO_STORE_CHUNK);
    a->package = s->part;
    a->chunk = m->index;
    a->bytes = payload;
    a->blob_bytes = s->part_bytes;
    a->delta = s->part_delta;
    s->part_chunks = s->receiver.next;
    s->tries = 0;
    s->await_ms = s->now_ms + SESSION_REPLY_MS;
    session_charge(s, payload.n);
    session_emit_charge(s);
    uint32_t index, count;
    if (chunk_receiver_done(&s->receiver)) {
        session_begin_prepare(s);
    } else if (chunk_receiver_grant(&s->receiver, &index, &count)) {
        session_request_package(s, index, count);
    }
}

static void on_report_grant(struct session *s, const sotto_ReportGrant *m) {
    if (s->phase != SESSION_REPORT || !about(s, m->terms_hash.bytes, m->terms_hash.size))
        return;
    s->granted = true;
    s->tries = 0;
    s->errors = 0;
    s->await_ms = s->now_ms + SESSION_REPLY_MS;
    chunk_sender_grant(&s->sender, m->next_index, m->credit);
    session_send_chunks(s);
}

static void on_report_ack(struct session *s, const sotto_ReportAck *m) {
    if (s->stage != SESSION_SEALED || !about(s, m->terms_hash.bytes, m->terms_hash.size))
        return; /* of an older report: its outcome comes with a check-in */
    const sotto_Outcome outcome =
        m->outcome > sotto_Outcome_OUTCOME_OPEN ? m->outcome : sotto_Outcome_OUTCOME_OPEN;
    const struct wire_hash hash = s->terms_hash;
    session_close_report(s, &hash, outcome);
    s->stage = SESSION_NONE;
    s->deadline_ms = s->train_limit_ms = UINT64_MAX;
    s->errors = 0;
    s->answers++;
    s->report_refusals = 0;
    session_emit_counters(s);
    if (m->status == SOTTO_OK)
        session_note(s, "report of %s round %u acknowledged", s->terms.task, s->terms.round);
    else
        session_note(s, "report of %s round %u not taken (%s): %.80s", s->terms.task,
                     s->terms.round,
                     outcome == sotto_Outcome_OUTCOME_RETURNED ? "returned" : "kept", m->reason);
    snprintf(s->reason, sizeof s->reason, "%s", m->reason);
    session_go_idle(s, s->now_ms + m->come_back_ms);
}

static void on_heartbeat_reply(struct session *s, const sotto_HeartbeatReply *m) {
    if (s->stage != SESSION_ACCEPTED || !m->abort ||
        !about(s, m->terms_hash.bytes, m->terms_hash.size))
        return;
    session_note(s, "%s round %u: stopped by the coordinator: %.80s", s->terms.task, s->terms.round,
                 m->reason);
    session_drop_terms(s);
    session_go_idle(s, s->now_ms);
}

static void on_error(struct session *s, const sotto_Error *m) {
    if (s->phase == SESSION_IDLE || s->phase == SESSION_PREPARE || s->phase == SESSION_TRAIN)
        return;
    session_note(s, "the coordinator answers: %s: %.100s",
                 sotto_status_text((enum sotto_status)m->status), m->text);
    snprintf(s->reason, sizeof s->reason, "%s", m->text);
    /* A full disk over there is no verdict on the report; the same refusal again and again is one.
     */
    if ((s->phase == SESSION_REPORT || s->phase == SESSION_SECURE) &&
        !sotto_status_retryable((enum sotto_status)m->status) &&
        ++s->report_refusals >= SESSION_REPORT_REFUSALS) {
        const struct wire_hash hash = s->terms_hash;
        session_note(s, "report of %s round %u given up", s->terms.task, s->terms.round);
        s->report_refusals = 0;
        if (s->phase == SESSION_SECURE) { /* without masks nothing has left: it was not used */
            session_secure_finish(s, sotto_Outcome_OUTCOME_RETURNED);
        } else {
            session_close_report(s, &hash, sotto_Outcome_OUTCOME_KEPT);
            s->stage = SESSION_NONE;
        }
    }
    const uint64_t wait = session_backoff(s, ++s->errors);
    session_go_idle(s, s->now_ms + num_max_u64(wait, m->retry_ms));
}

void session_on_message(struct session *s, const sotto_Envelope *m, struct view payload) {
    if (m == NULL || s->link == LINK_DOWN)
        return;
    s->link = LINK_UP;
    s->failures = s->refusals = 0;
    switch (m->which_body) {
    case sotto_Envelope_check_in_reply_tag:
        on_check_in_reply(s, &m->body.check_in_reply, payload);
        break;
    case sotto_Envelope_package_chunk_tag:
        on_package_chunk(s, &m->body.package_chunk, payload);
        break;
    case sotto_Envelope_report_grant_tag:
        if (m->body.report_grant.exchange > 0)
            session_on_secure_grant(s, &m->body.report_grant);
        else
            on_report_grant(s, &m->body.report_grant);
        break;
    case sotto_Envelope_report_ack_tag:
        if (s->stage == SESSION_READY) /* an outcome may come without an exchange */
            session_on_secure_ack(s, &m->body.report_ack);
        else
            on_report_ack(s, &m->body.report_ack);
        break;
    case sotto_Envelope_secure_state_tag:
        session_on_secure_state(s, &m->body.secure_state);
        break;
    case sotto_Envelope_secure_chunk_tag:
        session_on_secure_chunk(s, &m->body.secure_chunk, payload);
        break;
    case sotto_Envelope_heartbeat_reply_tag:
        on_heartbeat_reply(s, &m->body.heartbeat_reply);
        break;
    case sotto_Envelope_decline_reply_tag:
        if (s->phase == SESSION_DECLINE && m->body.decline_reply.terms_hash.size == WIRE_HASH &&
            memcmp(m->body.decline_reply.terms_hash.bytes, s->decline_hash.b, WIRE_HASH) == 0) {
            uint64_t wait = m->body.decline_reply.come_back_ms;
            if (strstr(s->decline_rule, "_per_day") != NULL)
                wait = num_max_u64(wait, session_buckets_wait_ms(s));
            s->answers++;
            session_go_idle(s, s->now_ms + wait);
        }
        break;
    case sotto_Envelope_error_tag:
        on_error(s, &m->body.error);
        break;
    default: /* of an enrolment, or meant for a coordinator */
        break;
    }
}
