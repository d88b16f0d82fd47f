/* The phase SECURE: from "ready" to the end of a session of secure aggregation. One masked input
 * leaves under one terms, ever; all else may be lost, come twice, late or out of order. */
#include "session_int.h"

#include <stdio.h>
#include <string.h>

static bool mine(const struct session *s, const uint8_t *bytes, size_t n) {
    return s->stage == SESSION_READY && n == WIRE_HASH && memcmp(bytes, s->terms_hash.b, n) == 0;
}

static uint64_t wait_ms(const struct session *s) {
    if (s->secure.wait_ms == 0)
        return SESSION_REPLY_MS;
    const uint64_t least = num_max_u64(s->secure.wait_ms, SESSION_SECURE_WAIT_MIN_MS);
    return num_min_u64(least, SESSION_SECURE_WAIT_MAX_MS);
}

/* ---- Messages out
 * -----------------------------------------------------------------------------------------------------
 */

static void send_ready(struct session *s) {
    const struct session_secure *sec = &s->secure;
    s->await_ms = s->now_ms + SESSION_REPLY_MS;
    sotto_Envelope *m = session_message(s, sotto_Envelope_secure_ready_tag, NULL);
    if (m == NULL)
        return;
    WIRE_SET_HASH(m->body.secure_ready.terms_hash, &s->terms_hash);
    if (sec->live || sec->masked) { /* else it can be of no use to that session */
        m->body.secure_ready.attempt = sec->attempt;
        m->body.secure_ready.have = sec->have;
    }
}

static void send_open(struct session *s) {
    s->await_ms = s->now_ms + SESSION_REPLY_MS;
    s->granted = false;
    sotto_Envelope *m = session_message(s, sotto_Envelope_report_open_tag, NULL);
    if (m == NULL)
        return;
    WIRE_SET_HASH(m->body.report_open.terms_hash, &s->terms_hash);
    WIRE_SET_HASH(m->body.report_open.hash, &s->secure.out_hash);
    m->body.report_open.bytes = s->secure.out_bytes;
    m->body.report_open.attempt = s->secure.attempt;
    m->body.report_open.exchange = s->secure.out_kind;
}

static void send_get(struct session *s, uint32_t index, uint32_t count) {
    s->await_ms = s->now_ms + SESSION_REPLY_MS;
    sotto_Envelope *m = session_message(s, sotto_Envelope_secure_get_tag, NULL);
    if (m == NULL)
        return;
    WIRE_SET_HASH(m->body.secure_get.terms_hash, &s->terms_hash);
    m->body.secure_get.attempt = s->secure.attempt;
    m->body.secure_get.exchange = s->secure.in_kind;
    m->body.secure_get.index = index;
    m->body.secure_get.count = count;
}

static void begin_send(struct session *s) {
    s->secure.sending = true;
    s->secure.fetching = false;
    s->tries = 0;
    chunk_sender_init(&s->sender, s->secure.out_bytes);
    send_open(s);
}

void session_secure_again(struct session *s) {
    uint32_t index, count;
    if (s->secure.sending) {
        send_open(s);
    } else if (s->secure.fetching) {
        s->receiver.granted = s->receiver.next; /* what has not come is lost */
        if (chunk_receiver_grant(&s->receiver, &index, &count))
            send_get(s, index, count);
    } else {
        send_ready(s);
    }
}

/* ---- Beginning and end
 * ------------------------------------------------------------------------------------------------
 */

void session_begin_secure(struct session *s) {
    s->phase = SESSION_SECURE;
    s->tries = 0;
    s->granted = s->secure.sending = s->secure.fetching = false;
    s->reason[0] = '\0';
    if (s->link == LINK_UP)
        send_ready(s);
    else if (s->link == LINK_DOWN)
        s->link_due_ms = num_max_u64(s->now_ms, s->link_due_ms);
}

void session_secure_connected(struct session *s) {
    s->tries = 0;
    s->granted = s->secure.sending = s->secure.fetching =
        false; /* the coordinator says how to go on */
    send_ready(s);
}

void session_secure_finish(struct session *s, sotto_Outcome outcome) {
    const struct wire_hash hash = s->terms_hash;
    if (s->secure.masked && outcome == sotto_Outcome_OUTCOME_RETURNED) {
        session_note(s, "%s round %u: said to be unused, but a masked update has left: it is gone",
                     s->terms.task, s->terms.round);
        outcome = sotto_Outcome_OUTCOME_KEPT;
    }
    session_close_report(s, &hash, outcome);
    session_emit(s, SESSION_DO_SECURE_END);
    s->stage = SESSION_NONE;
    memset(&s->secure, 0, sizeof s->secure);
    s->deadline_ms = s->train_limit_ms = UINT64_MAX;
    s->report_refusals = 0;
    s->errors = 0;
    s->answers++;
    session_emit_counters(s);
}

static void end_with(struct session *s, sotto_Outcome outcome, const char *reason,
                     uint64_t come_back_ms) {
    session_note(s, "%s round %u %s%s%.80s", s->terms.task, s->terms.round,
                 outcome == sotto_Outcome_OUTCOME_RETURNED ? "was not used: returned"
                                                           : "is done with",
                 reason[0] != '\0' ? ": " : "", reason);
    session_secure_finish(s, outcome);
    snprintf(s->reason, sizeof s->reason, "%s", reason);
    session_go_idle(s, s->now_ms + come_back_ms);
}

/* This device is out of this session. What is masked may still be sent, to the same session. */
static void leave(struct session *s, const char *why) {
    struct session_secure *sec = &s->secure;
    session_note(s, "leaves the secure group of %s round %u: %.100s", s->terms.task, s->terms.round,
                 why);
    session_emit(s, SESSION_DO_SECURE_END);
    sec->live = sec->working = sec->sending = sec->fetching = false;
    if (sec->out_kind != SECAGG_MASKED)
        sec->out_kind = 0;
    if (s->phase == SESSION_SECURE && s->link == LINK_UP)
        send_ready(s);
}

static void join(struct session *s, uint32_t attempt) {
    struct session_secure *sec = &s->secure;
    const uint64_t wait = sec->wait_ms;
    if (sec->masked || attempt > WIRE_ATTEMPTS_MAX) {
        if (sec->refused == attempt)
            return; /* asking again and again fills no history */
        sec->refused = attempt;
        session_note(s, "refuses session %u of %s round %u: %s", attempt, s->terms.task,
                     s->terms.round,
                     sec->masked ? "a masked update has left already" : "regrouped too often");
        return;
    }
    *sec =
        (struct session_secure){.attempt = attempt, .live = true, .working = true, .wait_ms = wait};
    s->granted = false;
    session_emit(s, SESSION_DO_SECURE_BEGIN)->attempt = attempt;
}

/* ---- What the coordinator wants
 * ---------------------------------------------------------------------------------------
 */

static uint32_t next_from_server(const struct session_secure *sec) {
    return sec->taken == 0 ? SECAGG_LIST : sec->taken + 2;
}

/* The announced message may be fetched: of a size that such a one can have. */
static bool announced_well(const struct session *s, const sotto_SecureState *m) {
    struct secagg_config config;
    if (m->hash.size != WIRE_HASH || m->bytes == 0 ||
        secure_config(&s->terms, &s->terms_hash, 1, &config, NULL) != SOTTO_OK)
        return false;
    return m->bytes <= secagg_message_max(&config, (enum secagg_kind)m->exchange);
}

static void begin_fetch(struct session *s, const sotto_SecureState *m) {
    struct session_secure *sec = &s->secure;
    uint32_t index, count;
    sec->in_kind = m->exchange;
    sec->in_bytes = m->bytes;
    WIRE_GET_HASH(m->hash, &sec->in_hash);
    /* Who is shown this has been heard. */
    sec->out_acked = true;
    sec->have = sec->out_kind;
    sec->sending = false;
    s->tries = 0;
    if (chunk_receiver_init(&s->receiver, sec->in_bytes, WIRE_BLOB_MAX, &sec->in_hash, 0,
                            SESSION_CREDIT, NULL) != SOTTO_OK ||
        !chunk_receiver_grant(&s->receiver, &index, &count))
        return;
    sec->fetching = true;
    send_get(s, index, count);
}

static void do_exchange(struct session *s, const sotto_SecureState *m) {
    struct session_secure *sec = &s->secure;
    const uint32_t x = m->exchange;
    const bool same = m->bytes == sec->in_bytes && m->hash.size == WIRE_HASH &&
                      memcmp(m->hash.bytes, sec->in_hash.b, WIRE_HASH) == 0;
    if (x == 0)
        return;
    if (sec->live && x == sec->in_kind && m->bytes > 0 && !same) {
        leave(s, "the coordinator shows two messages in one exchange");
    } else if (sec->working) {
        return; /* the answer to it is being made */
    } else if (x == SECAGG_ADVERTISE || x <= sec->taken ||
               (sec->masked && !sec->live && x == SECAGG_DELIVERY)) {
        const uint32_t answer = x == SECAGG_ADVERTISE ? x : x + 1;
        if (answer == sec->out_kind && !sec->out_acked && !sec->sending)
            begin_send(s);
    } else if (sec->live && x == next_from_server(sec) && !sec->fetching) {
        if (announced_well(s, m))
            begin_fetch(s, m);
        else
            leave(s, "the coordinator announces a message of a size that none has");
    }
}

void session_on_secure_state(struct session *s, const sotto_SecureState *m) {
    struct session_secure *sec = &s->secure;
    if (!mine(s, m->terms_hash.bytes, m->terms_hash.size))
        return;
    if (m->outcome > sotto_Outcome_OUTCOME_OPEN) {
        end_with(s, m->outcome, m->reason, m->come_back_ms);
        return;
    }
    if (s->phase != SESSION_SECURE)
        return;
    s->tries = 0;
    s->errors = 0;
    sec->wait_ms = m->wait_ms;
    if (!sec->sending && !sec->fetching)
        s->await_ms = s->now_ms + wait_ms(s);
    snprintf(s->reason, sizeof s->reason, "%s", m->reason);
    if (m->attempt > sec->attempt && m->exchange == SECAGG_ADVERTISE)
        join(s, m->attempt);
    else if (m->attempt > 0 && m->attempt == sec->attempt)
        do_exchange(s, m);
}

void session_on_secure_chunk(struct session *s, const sotto_SecureChunk *m, struct view payload) {
    struct session_secure *sec = &s->secure;
    uint32_t index, count;
    if (!mine(s, m->terms_hash.bytes, m->terms_hash.size) || s->phase != SESSION_SECURE ||
        !sec->fetching || m->attempt != sec->attempt || m->exchange != sec->in_kind ||
        m->bytes != sec->in_bytes || payload.p == NULL ||
        chunk_receiver_accept(&s->receiver, m->index, payload.n, NULL) != SOTTO_OK)
        return; /* late, a repeat, or behind a lost one: that is asked for again */
    struct session_action *a = session_emit(s, SESSION_DO_SECURE_CHUNK);
    a->attempt = sec->attempt;
    a->exchange = sec->in_kind;
    a->chunk = m->index;
    a->blob_bytes = sec->in_bytes;
    a->bytes = payload;
    s->tries = 0;
    s->await_ms = s->now_ms + SESSION_REPLY_MS;
    session_charge(s, payload.n);
    session_emit_charge(s);
    if (chunk_receiver_done(&s->receiver)) {
        sec->fetching = false;
        sec->working = true;
        a = session_emit(s, SESSION_DO_SECURE_TAKE);
        a->attempt = sec->attempt;
        a->exchange = sec->in_kind;
        a->blob = sec->in_hash;
    } else if (chunk_receiver_grant(&s->receiver, &index, &count)) {
        send_get(s, index, count);
    }
}

/* ---- Answers of the host
 * ----------------------------------------------------------------------------------------------
 */

void session_on_secure_out(struct session *s, const struct session_event *e) {
    struct session_secure *sec = &s->secure;
    if (s->stage != SESSION_READY)
        return;
    const bool now = sec->live && sec->working && e->secure.attempt == sec->attempt;
    const bool first = e->secure.exchange == SECAGG_MASKED && !sec->masked;
    if (e->secure.exchange == SECAGG_MASKED)
        sec->masked = true;
    if (!now || e->secure.exchange != (sec->in_kind == 0 ? SECAGG_ADVERTISE : sec->in_kind + 1)) {
        if (first) /* of a session that was given up: there will be no other */
            leave(s, "a masked update has left in another session");
        return;
    }
    sec->working = false;
    sec->taken = sec->in_kind;
    if (sec->in_kind > sec->have)
        sec->have = sec->in_kind;
    sec->out_kind = e->secure.exchange;
    sec->out_bytes = e->secure.bytes;
    sec->out_hash = e->secure.hash;
    sec->out_acked = false;
    if (s->phase == SESSION_SECURE && s->link == LINK_UP)
        begin_send(s); /* else the coordinator asks for it when the link stands again */
}

void session_on_secure_failed(struct session *s, const struct session_event *e) {
    if (s->stage == SESSION_READY && s->secure.live && e->secure.attempt == s->secure.attempt)
        leave(s, e->error != NULL ? e->error->message : "it cannot go on");
}

void session_secure_lost(struct session *s, const char *message) {
    if (!s->secure.sending || s->secure.out_kind != SECAGG_MASKED)
        return;
    s->secure.out_kind = 0;
    leave(s, message);
}

/* ---- Uploads
 * ----------------------------------------------------------------------------------------------------------
 */

void session_on_secure_grant(struct session *s, const sotto_ReportGrant *m) {
    if (!mine(s, m->terms_hash.bytes, m->terms_hash.size) || s->phase != SESSION_SECURE ||
        !s->secure.sending || m->attempt != s->secure.attempt || m->exchange != s->secure.out_kind)
        return;
    s->granted = true;
    s->tries = 0;
    s->errors = 0;
    s->await_ms = s->now_ms + SESSION_REPLY_MS;
    chunk_sender_grant(&s->sender, m->next_index, m->credit);
    session_send_chunks(s);
}

void session_on_secure_ack(struct session *s, const sotto_ReportAck *m) {
    struct session_secure *sec = &s->secure;
    if (!mine(s, m->terms_hash.bytes, m->terms_hash.size))
        return;
    if (m->outcome > sotto_Outcome_OUTCOME_OPEN) {
        end_with(s, m->outcome, m->reason, m->come_back_ms);
        return;
    }
    if (m->attempt != sec->attempt || m->exchange != sec->out_kind || sec->out_kind == 0 ||
        sec->out_acked)
        return;
    sec->sending = false;
    sec->out_acked = true; /* or refused for good: not sent again */
    s->tries = 0;
    s->errors = 0;
    s->await_ms = s->now_ms + wait_ms(s);
    if (sec->out_kind == SECAGG_UNMASK) { /* or the others' shares were enough already */
        end_with(s, sotto_Outcome_OUTCOME_KEPT, "", m->come_back_ms);
        return;
    }
    if (m->status != SOTTO_OK) {
        leave(s, m->reason[0] != '\0' ? m->reason : "its message is not taken");
        return;
    }
    if (sec->out_kind > sec->have)
        sec->have = sec->out_kind;
}

/* ---- Time
 * -------------------------------------------------------------------------------------------------------------
 */

void session_secure_timers(struct session *s) {
    if (s->link == LINK_DOWN && s->now_ms >= s->link_due_ms && s->conditions.online)
        session_link_open(s);
    if (s->link != LINK_UP)
        return;
    if (s->secure.sending && s->granted)
        session_send_chunks(s);
    if (s->now_ms < s->await_ms)
        return;
    if (++s->tries >= SESSION_TRIES)
        session_link_fail(s, "the coordinator does not answer", false);
    else
        session_secure_again(s);
}

uint64_t session_secure_next_ms(const struct session *s) {
    if (s->link == LINK_CONNECTING)
        return s->link_due_ms;
    if (s->link == LINK_DOWN)
        return s->conditions.online ? s->link_due_ms
                                    : num_max_u64(s->link_due_ms, s->now_ms + SESSION_RECHECK_MS);
    if (s->secure.sending && s->granted && s->sender.next < s->sender.limit &&
        s->sender.next < s->sender.chunks)
        return s->now_ms;
    return s->await_ms;
}

uint32_t session_secure_attempt(const struct session *s) {
    return s->secure.attempt;
}

uint32_t session_secure_have(const struct session *s) {
    return s->secure.have;
}
