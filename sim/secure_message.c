/* Rounds under masks, the coordinator's half: what devices say, fetch and are told. It mirrors the
 * daemon's sim_secure_message.c. */
#include "secure.h"

#include <string.h>

#define WAIT_MIN_MS   250u
#define WAIT_MAX_MS   10000u
#define UPLOAD_CREDIT 8u

static const uint8_t unread[1]; /* of messages whose bytes nobody reads */

static bool is_open(const struct sim *s, const uint8_t *hash, size_t n) {
    return s->secure && s->plan && n == WIRE_HASH &&
           memcmp(hash, s->plan->keys.terms.b, WIRE_HASH) == 0;
}

/* ---- What devices are told */

static void state_begin(sotto_Envelope *e, const struct wire_hash *terms) {
    e->version = WIRE_VERSION;
    e->which_body = sotto_Envelope_secure_state_tag;
    WIRE_SET_HASH(e->body.secure_state.terms_hash, terms);
}

/* Without keys a message is known by its kind and session: nobody reads it. */
static struct wire_hash name_of(uint32_t attempt, uint32_t kind) {
    struct wire_hash h = {{0}};
    h.b[0] = (uint8_t)attempt;
    h.b[1] = (uint8_t)kind;
    return h;
}

enum sotto_status sim_secure_tell(struct sim *s, const struct round_member *m,
                                  struct sotto_error *err) {
    sotto_Envelope e = sotto_Envelope_init_zero;
    const struct sim_secure_group *g =
        m->group < s->secure->group_count ? &s->secure->groups[m->group] : NULL;
    sotto_SecureState *state = &e.body.secure_state;
    struct buf message;
    enum sotto_status status = SOTTO_OK;
    uint8_t attempt;
    const uint8_t task = round_secure_task(s->engine, m->serial, &attempt);
    buf_init(&message, secagg_message_max(&s->plan->secagg, SECAGG_LIST) +
                           secagg_message_max(&s->plan->secagg, SECAGG_DELIVERY));
    state_begin(&e, &s->plan->keys.terms);
    state->attempt = attempt;
    state->exchange = task;
    state->wait_ms =
        num_min_u64(num_max_u64(s->x->settings.task.pace_ms, WAIT_MIN_MS), (uint64_t)WAIT_MAX_MS);
    if (task != 0 && task != SECAGG_ADVERTISE && g) {
        struct wire_hash hash = name_of(attempt, task);
        state->bytes = sim_secure_shown_bytes(g, &s->plan->secagg, (enum secagg_kind)task);
        if (g->server) {
            TRY(secagg_server_message(g->server, (enum secagg_kind)task, m->serial, &message, err));
            state->bytes = message.len;
            hash = wire_hash_of(WIRE_LABEL_SECURE, buf_view(&message));
        }
        WIRE_SET_HASH(state->hash, &hash);
    }
    status = host_send(s, (uint32_t)(m->serial - 1), &e, view_of(NULL, 0), err);
out:
    buf_deinit(&message);
    return status;
}

static enum sotto_status tell_outcome(struct sim *s, uint32_t device, const struct wire_hash *terms,
                                      sotto_Outcome outcome, const char *reason,
                                      struct sotto_error *err) {
    sotto_Envelope e = sotto_Envelope_init_zero;
    state_begin(&e, terms);
    e.body.secure_state.outcome = outcome;
    e.body.secure_state.come_back_ms = s->x->settings.task.pace_ms;
    WIRE_SET_TEXT(e.body.secure_state.reason, reason);
    return host_send(s, device, &e, view_of(NULL, 0), err);
}

enum sotto_status sim_secure_return(struct sim *s, const struct round_action *a,
                                    const struct sim_reply *to, struct sotto_error *err) {
    const uint32_t device = (uint32_t)(a->serial - 1);
    s->round.returned++;
    const enum sotto_status status =
        device_settle(s, device, a->round, sotto_Outcome_OUTCOME_RETURNED, err);
    if (status != SOTTO_OK || !to)
        return status;
    return tell_outcome(s, device, &s->plan->keys.terms, sotto_Outcome_OUTCOME_RETURNED, a->text,
                        err);
}

/* Under terms that are not open any more: what became of it, which is known, or it was not used. */
static enum sotto_status tell_closed(struct sim *s, uint32_t device, const uint8_t *hash,
                                     struct sotto_error *err) {
    struct sim_device *d = &s->devices[device];
    struct wire_hash terms;
    enum sotto_status status = SOTTO_OK;
    sotto_Outcome outcome = sotto_Outcome_OUTCOME_RETURNED;
    memcpy(terms.b, hash, WIRE_HASH);
    if (d->last_round && wire_hash_equal(&terms, &s->terms[d->last_round])) {
        if (d->open_outcome > (uint8_t)sotto_Outcome_OUTCOME_OPEN)
            outcome = (sotto_Outcome)d->open_outcome;
        else
            status = device_settle(s, device, d->last_round, outcome, err);
    }
    return status == SOTTO_OK ? tell_outcome(s, device, &terms, outcome, "the round has ended", err)
                              : status;
}

/* Whether its group has settled what it trained while the round goes on. */
static bool is_settled(const struct sim *s, uint32_t device) {
    const struct sim_device *d = &s->devices[device];
    return d->last_round == s->plan->round && d->open_outcome > (uint8_t)sotto_Outcome_OUTCOME_OPEN;
}

static enum sotto_status on_ready(struct sim *s, uint32_t device, const sotto_SecureReady *in,
                                  struct sotto_error *err) {
    struct sim_reply to = {.device = device};
    if (!is_open(s, in->terms_hash.bytes, in->terms_hash.size) || is_settled(s, device))
        return tell_closed(s, device, in->terms_hash.bytes, err);
    const struct round_event e = {.kind = ROUND_EV_READY,
                                  .now_ms = s->time.now_ms,
                                  .serial = (uint64_t)device + 1,
                                  .round = s->plan->round,
                                  .attempt = (uint8_t)in->attempt};
    return host_event(s, &e, &to, err);
}

/* ---- What devices fetch */

/* The facts that a message tells, and (real) the message itself, for the device to take. */
static enum sotto_status show(struct sim *s, uint32_t device, const struct sim_secure_group *g,
                              enum secagg_kind kind, uint64_t *bytes, struct sotto_error *err) {
    struct sim_masks *k = s->devices[device].masks;
    enum sotto_status status = SOTTO_OK;
    *bytes = sim_secure_shown_bytes(g, &s->plan->secagg, kind);
    k->holders = g->params.degree + 1;
    k->sharers = g->params.complete
                     ? g->sharers
                     : (uint32_t)((uint64_t)g->sharers * k->holders / num_max_u64(g->members, 1));
    if (!g->server)
        return SOTTO_OK;
    buf_reset(&k->in);
    k->in_kind = kind;
    status = secagg_server_message(g->server, kind, (uint64_t)device + 1, &k->in, err);
    *bytes = k->in.len;
    return status;
}

static enum sotto_status on_get(struct sim *s, uint32_t device, const sotto_SecureGet *in,
                                struct sotto_error *err) {
    const uint64_t serial = (uint64_t)device + 1;
    const bool open = is_open(s, in->terms_hash.bytes, in->terms_hash.size);
    const struct round_member *m = open ? round_member_find(s->engine, serial) : NULL;
    uint64_t bytes = 0;
    uint8_t attempt = 0;
    enum sotto_status status = SOTTO_OK;
    if (!m)
        return tell_closed(s, device, in->terms_hash.bytes, err);
    if (round_secure_task(s->engine, serial, &attempt) != in->exchange || attempt != in->attempt ||
        in->exchange == SECAGG_ADVERTISE || !s->devices[device].masks ||
        m->group >= s->secure->group_count)
        return sim_secure_tell(s, m, err);
    TRY(show(s, device, &s->secure->groups[m->group], (enum secagg_kind)in->exchange, &bytes, err));
    sotto_Envelope e = sotto_Envelope_init_zero;
    e.version = WIRE_VERSION;
    e.which_body = sotto_Envelope_secure_chunk_tag;
    sotto_SecureChunk *chunk = &e.body.secure_chunk;
    WIRE_SET_HASH(chunk->terms_hash, &s->plan->keys.terms);
    chunk->attempt = in->attempt;
    chunk->exchange = in->exchange;
    chunk->bytes = bytes;
    chunk->chunks = chunk_count(bytes);
    const uint64_t end =
        num_min_u64((uint64_t)in->index + num_min_u64(in->count, CHUNK_CREDIT_MAX), chunk->chunks);
    for (uint64_t i = in->index; i < end; i++) {
        const uint32_t size = chunk_size(bytes, (uint32_t)i);
        chunk->index = (uint32_t)i;
        s->round.bytes_down += size;
        TRY(host_send(s, device, &e, view_of(unread, size), err));
    }
out:
    return status;
}

/* ---- What devices send */

static enum sotto_status send_ack(struct sim *s, uint32_t device, uint32_t attempt,
                                  uint32_t exchange, enum sotto_status what, const char *reason,
                                  struct sotto_error *err) {
    sotto_Envelope e = sotto_Envelope_init_zero;
    e.version = WIRE_VERSION;
    e.which_body = sotto_Envelope_report_ack_tag;
    sotto_ReportAck *ack = &e.body.report_ack;
    WIRE_SET_HASH(ack->terms_hash, &s->plan->keys.terms);
    ack->status = (uint32_t)what;
    ack->attempt = attempt;
    ack->exchange = exchange;
    ack->come_back_ms = s->x->settings.task.pace_ms;
    WIRE_SET_TEXT(ack->reason, reason);
    return host_send(s, device, &e, view_of(NULL, 0), err);
}

static enum sotto_status send_grant(struct sim *s, uint32_t device, uint32_t attempt, bool first,
                                    struct sotto_error *err) {
    struct sim_masks *k = s->devices[device].masks;
    uint32_t index = 0, count = 0;
    sotto_Envelope e = sotto_Envelope_init_zero;
    if (!chunk_receiver_grant(&k->upload, &index, &count) && !first)
        return SOTTO_OK;
    e.version = WIRE_VERSION;
    e.which_body = sotto_Envelope_report_grant_tag;
    sotto_ReportGrant *grant = &e.body.report_grant;
    WIRE_SET_HASH(grant->terms_hash, &s->plan->keys.terms);
    grant->next_index = index;
    grant->credit = count;
    grant->attempt = attempt;
    grant->exchange = k->upload_kind;
    return host_send(s, device, &e, view_of(NULL, 0), err);
}

/* True: the message is due. Else *status is its answer's. */
static bool is_due(struct sim *s, uint32_t device, uint32_t attempt, uint32_t exchange,
                   enum sotto_status *status, struct sotto_error *err) {
    const uint64_t serial = (uint64_t)device + 1;
    const enum sotto_status due = round_secure_due(s->engine, serial, attempt, exchange);
    const struct sim_masks *k = s->devices[device].masks;
    if (due == SOTTO_OK && k && k->attempt == attempt)
        return true;
    *status = send_ack(s, device, attempt, exchange, due == SOTTO_EXISTS ? SOTTO_OK : SOTTO_STATE,
                       due == SOTTO_EXISTS ? "" : "this exchange is not open", err);
    return false;
}

static enum sotto_status on_open(struct sim *s, uint32_t device, const sotto_ReportOpen *in,
                                 struct sotto_error *err) {
    struct sim_masks *k = s->devices[device].masks;
    struct wire_hash hash;
    enum sotto_status status;
    if (!is_open(s, in->terms_hash.bytes, in->terms_hash.size))
        return tell_closed(s, device, in->terms_hash.bytes, err);
    if (!is_due(s, device, in->attempt, in->exchange, &status, err))
        return status;
    WIRE_GET_HASH(in->hash, &hash);
    const uint32_t stored = k->upload_kind == in->exchange ? k->upload.next : 0;
    k->upload_kind = in->exchange;
    status = chunk_receiver_init(&k->upload, in->bytes,
                                 secagg_message_max(&k->config, (enum secagg_kind)in->exchange),
                                 &hash, stored, UPLOAD_CREDIT, err);
    return status == SOTTO_OK ? send_grant(s, device, in->attempt, true, err) : status;
}

static enum sotto_status take(struct sim *s, uint32_t device, uint32_t attempt, uint32_t exchange,
                              struct sotto_error *err) {
    struct sotto_error why = SOTTO_ERROR_INIT;
    const struct round_member *m = round_member_find(s->engine, (uint64_t)device + 1);
    const struct sim_masks *k = s->devices[device].masks;
    bool taken = false;
    enum sotto_status status =
        sim_secure_message_take(s, m, (enum secagg_kind)exchange, k->upload.bytes, &taken, &why);
    if (status == SOTTO_NOMEM)
        return SOTTO_FAIL(err, status, "%s", why.message);
    if (!taken)
        LOG(LOG_WARN, "secure.refuse", LU("client", device), LS("reason", why.message));
    const struct round_event e = {.kind = ROUND_EV_SECURE,
                                  .now_ms = s->time.now_ms,
                                  .serial = m->serial,
                                  .round = s->plan->round,
                                  .attempt = (uint8_t)attempt,
                                  .exchange = (uint8_t)exchange,
                                  .ok = taken,
                                  .complete = exchange == SECAGG_UNMASK &&
                                              sim_secure_group_ready(&s->secure->groups[m->group])};
    status = send_ack(s, device, attempt, exchange, taken ? SOTTO_OK : status,
                      taken ? "" : why.message, err);
    return status == SOTTO_OK ? host_event(s, &e, NULL, err) : status;
}

static enum sotto_status on_chunk(struct sim *s, uint32_t device, const sotto_ReportChunk *in,
                                  struct view payload, struct sotto_error *err) {
    struct sim_masks *k = s->devices[device].masks;
    enum sotto_status status;
    if (!is_open(s, in->terms_hash.bytes, in->terms_hash.size))
        return tell_closed(s, device, in->terms_hash.bytes, err);
    if (!is_due(s, device, in->attempt, in->exchange, &status, err))
        return status;
    if (k->upload_kind != in->exchange ||
        chunk_receiver_accept(&k->upload, in->index, payload.n, NULL) != SOTTO_OK)
        return SOTTO_OK; /* a repeat */
    if (!chunk_receiver_done(&k->upload))
        return send_grant(s, device, in->attempt, false, err);
    k->upload_kind = 0;
    return take(s, device, in->attempt, in->exchange, err);
}

bool sim_secure_message(struct sim *s, uint32_t device, const struct sim_message *m,
                        enum sotto_status *status, struct sotto_error *err) {
    switch (m->m.which_body) {
    case sotto_Envelope_secure_ready_tag:
        *status = on_ready(s, device, &m->m.body.secure_ready, err);
        return true;
    case sotto_Envelope_secure_get_tag:
        *status = on_get(s, device, &m->m.body.secure_get, err);
        return true;
    case sotto_Envelope_report_open_tag:
        if (m->m.body.report_open.exchange == 0)
            return false;
        *status = on_open(s, device, &m->m.body.report_open, err);
        return true;
    case sotto_Envelope_report_chunk_tag:
        if (m->m.body.report_chunk.exchange == 0)
            return false;
        *status = on_chunk(s, device, &m->m.body.report_chunk, m->payload, err);
        return true;
    default:
        return false;
    }
}
