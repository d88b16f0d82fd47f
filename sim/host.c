/* The coordinator's half: messages of devices in, answers of the production round engine out. It
 * mirrors the daemon's device.c and upload.c, without a store: nothing here outlives the process.
 */
#include "sim.h"

#include <stdio.h>
#include <string.h>

#define UPLOAD_CREDIT 8u

static const uint8_t unread[1]; /* of a package that only a journal tells of */

static struct sim_device *device_of(struct sim *s, uint64_t serial) {
    return &s->devices[serial - 1];
}

enum sotto_status host_send(struct sim *s, uint32_t device, const sotto_Envelope *e,
                            struct view payload, struct sotto_error *err) {
    struct sim_message *m = s->free_messages;
    if (m)
        s->free_messages = m->next;
    else
        m = mem_alloc(sizeof *m);
    if (!m)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for a message");
    m->m = *e;
    m->payload = payload;
    struct fleet_class c;
    fleet_device(s, device, &c);
    device_moved(s, device, 0, payload.n);
    const uint64_t at =
        fleet_send_ms(s->time.now_ms, &s->devices[device].down_free_ms, payload.n, c.downlink);
    const struct vtime_event event = {
        .at_ms = at, .kind = SIM_EV_DOWN, .device = device, .data = m};
    return vtime_add(&s->time, &event, err);
}

/* ---- The engine */

void host_queue(struct sim *s, const struct round_event *event) {
    if (s->event_count == SIM_EVENTS_QUEUED)
        return; /* the engine derives what it owes from its state */
    s->events[(s->event_first + s->event_count++) % SIM_EVENTS_QUEUED] = *event;
}

static enum sotto_status step(struct sim *s, const struct round_event *event, struct sim_reply *to,
                              struct sotto_error *err) {
    struct round_action actions[ROUND_ACTIONS_MAX];
    size_t count = 0;
    enum sotto_status status = round_step(s->engine, event, actions, &count, err);
    for (size_t i = 0; i < count && status == SOTTO_OK; i++)
        status = host_action_do(s, &actions[i], to, err);
    return status;
}

enum sotto_status host_event(struct sim *s, const struct round_event *event, struct sim_reply *to,
                             struct sotto_error *err) {
    enum sotto_status status = step(s, event, to, err);
    while (status == SOTTO_OK) {
        struct round_event next;
        if (s->event_count) {
            next = s->events[s->event_first];
            s->event_first = (s->event_first + 1) % SIM_EVENTS_QUEUED;
            s->event_count--;
        } else if (round_next_ms(s->engine) == 0) {
            next = (struct round_event){.kind = ROUND_EV_TICK, .now_ms = s->time.now_ms};
        } else {
            break;
        }
        status = step(s, &next, NULL, err);
    }
    if (status != SOTTO_OK)
        return status;
    const uint64_t due = round_next_ms(s->engine);
    if (due == UINT64_MAX || due == s->engine_timer_ms)
        return SOTTO_OK;
    s->engine_timer_ms = due;
    const struct vtime_event e = {
        .at_ms = due, .kind = SIM_EV_ENGINE, .rank = SIM_RANK_ENGINE, .tag = due};
    return vtime_add(&s->time, &e, err);
}

static struct round_event event_of(const struct sim *s, enum round_event_kind kind,
                                   uint32_t device) {
    return (struct round_event){.kind = kind,
                                .now_ms = s->time.now_ms,
                                .serial = (uint64_t)device + 1,
                                .round = s->plan ? s->plan->round : 0};
}

static bool is_open(const struct sim *s, const uint8_t *hash, size_t n) {
    return s->plan && n == WIRE_HASH && memcmp(hash, s->plan->keys.terms.b, n) == 0;
}

/* ---- Check-in */

static enum sotto_status on_check_in(struct sim *s, uint32_t device, const sotto_CheckIn *in,
                                     struct sotto_error *err) {
    const struct sim_device *d = &s->devices[device];
    sotto_Envelope e = sotto_Envelope_init_zero;
    e.version = WIRE_VERSION;
    e.which_body = sotto_Envelope_check_in_reply_tag;
    sotto_CheckInReply *reply = &e.body.check_in_reply;
    struct sim_reply to = {.device = device, .check_in = reply};
    struct round_event event = event_of(s, ROUND_EV_CHECK_IN, device);
    event.holds_terms = is_open(s, in->terms_held.bytes, in->terms_held.size);
    const enum sotto_status status = host_event(s, &event, &to, err);
    if (status != SOTTO_OK)
        return status;
    if (in->open_reports_count > 0 && d->open_outcome > (uint8_t)sotto_Outcome_OUTCOME_OPEN) {
        sotto_ReportOutcome *o = &reply->outcomes[reply->outcomes_count++];
        o->terms_hash.size = WIRE_HASH;
        memcpy(o->terms_hash.bytes, in->open_reports[0].terms_hash.bytes, WIRE_HASH);
        o->outcome = (sotto_Outcome)d->open_outcome;
    }
    if (to.planned) {
        reply->invitation.serial = (uint64_t)device + 1;
        reply->invitation.nonce.size = in->nonce.size;
        memcpy(reply->invitation.nonce.bytes, in->nonce.bytes, in->nonce.size);
    } else if (reply->come_back_ms == 0) {
        reply->come_back_ms = num_max_u64(s->x->settings.task.pace_ms, 1);
    }
    return host_send(s, device, &e, view_of(NULL, 0), err);
}

/* ---- Package */

/* Bytes of the delta that the open round's package is from the one with this hash; 0: none. */
static enum sotto_status delta_bytes(struct sim *s, const sotto_GetPackage *in, uint64_t *out,
                                     struct sotto_error *err) {
    *out = 0;
    if (in->base.size != WIRE_HASH)
        return SOTTO_OK;
    for (uint32_t i = 0; i < s->delta_count; i++) {
        struct sim_job *j = s->deltas[i];
        if (memcmp(j->from->hash.b, in->base.bytes, WIRE_HASH) != 0)
            continue;
        const enum sotto_status status = job_wait(j, err);
        if (status == SOTTO_OK && j->status == SOTTO_OK)
            *out = j->delta_bytes;
        return status;
    }
    return SOTTO_OK;
}

static enum sotto_status on_get_package(struct sim *s, uint32_t device, const sotto_GetPackage *in,
                                        struct sotto_error *err) {
    enum sotto_status status;
    sotto_Envelope e = sotto_Envelope_init_zero;
    e.version = WIRE_VERSION;
    if (!s->plan || in->hash.size != WIRE_HASH ||
        memcmp(in->hash.bytes, s->plan->base->package->hash.b, WIRE_HASH) != 0) {
        e.which_body = sotto_Envelope_error_tag;
        e.body.error.status = SOTTO_NOT_FOUND;
        e.body.error.retry_ms = 1000;
        WIRE_SET_TEXT(e.body.error.text, "this package is not served any more; check in again");
        return host_send(s, device, &e, view_of(NULL, 0), err);
    }
    const struct buf *package = &s->plan->base->package->bytes;
    uint64_t delta = 0;
    TRY(delta_bytes(s, in, &delta, err));
    e.which_body = sotto_Envelope_package_chunk_tag;
    sotto_PackageChunk *m = &e.body.package_chunk;
    m->hash.size = WIRE_HASH;
    memcpy(m->hash.bytes, in->hash.bytes, WIRE_HASH);
    m->delta = delta > 0;
    m->bytes = delta ? delta : s->plan->base->package->size;
    m->chunks = chunk_count(m->bytes);
    const uint64_t count = num_min_u64(in->count, CHUNK_CREDIT_MAX);
    for (uint64_t i = in->index; i < (uint64_t)in->index + count && i < m->chunks; i++) {
        const uint32_t size = chunk_size(m->bytes, (uint32_t)i);
        m->index = (uint32_t)i;
        s->round.bytes_down += size;
        TRY(host_send(s, device, &e, view_of(package->data ? package->data : unread, size), err));
    }
out:
    return status;
}

/* ---- Reports */

static enum sotto_status send_ack(struct sim *s, uint32_t device, const struct wire_hash *terms,
                                  sotto_Outcome outcome, const char *reason,
                                  struct sotto_error *err) {
    sotto_Envelope e = sotto_Envelope_init_zero;
    e.version = WIRE_VERSION;
    e.which_body = sotto_Envelope_report_ack_tag;
    sotto_ReportAck *ack = &e.body.report_ack;
    WIRE_SET_HASH(ack->terms_hash, terms);
    ack->status = outcome == sotto_Outcome_OUTCOME_RETURNED ? SOTTO_STATE : SOTTO_OK;
    ack->outcome = outcome;
    ack->come_back_ms = s->x->settings.task.pace_ms;
    WIRE_SET_TEXT(ack->reason, reason);
    return host_send(s, device, &e, view_of(NULL, 0), err);
}

enum sotto_status host_ack(struct sim *s, uint64_t serial, sotto_Outcome outcome,
                           const char *reason, struct sotto_error *err) {
    return send_ack(s, (uint32_t)(serial - 1), &s->plan->keys.terms, outcome, reason, err);
}

static enum sotto_status send_grant(struct sim *s, uint32_t device, struct chunk_receiver *r,
                                    bool first, struct sotto_error *err) {
    uint32_t index = 0, count = 0;
    sotto_Envelope e = sotto_Envelope_init_zero;
    if (!chunk_receiver_grant(r, &index, &count) && !first)
        return SOTTO_OK;
    e.version = WIRE_VERSION;
    e.which_body = sotto_Envelope_report_grant_tag;
    WIRE_SET_HASH(e.body.report_grant.terms_hash, &s->plan->keys.terms);
    e.body.report_grant.next_index = index;
    e.body.report_grant.credit = count;
    return host_send(s, device, &e, view_of(NULL, 0), err);
}

static struct sim_upload *upload_find(struct sim *s, uint32_t device) {
    for (uint32_t i = 0; i < s->upload_count; i++)
        if (s->uploads[i].device == device)
            return &s->uploads[i];
    return NULL;
}

static struct sim_upload *upload_add(struct sim *s, uint32_t device) {
    if (s->upload_count == s->upload_cap) {
        const uint32_t cap = s->upload_cap ? s->upload_cap * 2 : 16;
        struct sim_upload *grown = mem_resize(s->uploads, cap, sizeof *grown);
        if (!grown)
            return NULL;
        s->uploads = grown;
        s->upload_cap = cap;
    }
    struct sim_upload *u = &s->uploads[s->upload_count++];
    u->device = device;
    return u;
}

static bool is_in(const struct round_member *m) {
    return m->state == ROUND_STORED || m->state == ROUND_CHECKED || m->state == ROUND_REJECTED;
}

/* A report under terms that are not open any more was not used. */
static enum sotto_status answer_closed(struct sim *s, uint32_t device, const uint8_t *hash,
                                       struct sotto_error *err) {
    struct wire_hash terms;
    memcpy(terms.b, hash, WIRE_HASH);
    return send_ack(s, device, &terms, sotto_Outcome_OUTCOME_RETURNED, "the round has ended", err);
}

static enum sotto_status on_report_open(struct sim *s, uint32_t device, const sotto_ReportOpen *in,
                                        struct sotto_error *err) {
    const bool open = is_open(s, in->terms_hash.bytes, in->terms_hash.size);
    const struct round_member *m = open ? round_member_find(s->engine, (uint64_t)device + 1) : NULL;
    struct wire_hash hash;
    if (!m || m->state == ROUND_DECLINED)
        return answer_closed(s, device, in->terms_hash.bytes, err);
    if (is_in(m))
        return host_ack(s, m->serial, sotto_Outcome_OUTCOME_OPEN, "", err);
    struct sim_upload *u = upload_find(s, device);
    const uint32_t stored = u ? u->receiver.next : 0; /* an interrupted upload goes on */
    if (!u)
        u = upload_add(s, device);
    if (!u)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for an upload");
    WIRE_GET_HASH(in->hash, &hash);
    const enum sotto_status status =
        chunk_receiver_init(&u->receiver, in->bytes, s->plan->terms.report_bytes_max, &hash, stored,
                            UPLOAD_CREDIT, err);
    return status == SOTTO_OK ? send_grant(s, device, &u->receiver, true, err) : status;
}

static enum sotto_status on_report_chunk(struct sim *s, uint32_t device,
                                         const sotto_ReportChunk *in, struct view payload,
                                         struct sotto_error *err) {
    const bool open = is_open(s, in->terms_hash.bytes, in->terms_hash.size);
    const struct round_member *m = open ? round_member_find(s->engine, (uint64_t)device + 1) : NULL;
    struct sim_upload *u = m ? upload_find(s, device) : NULL;
    if (!m)
        return answer_closed(s, device, in->terms_hash.bytes, err);
    if (!u)
        return is_in(m) ? host_ack(s, m->serial, sotto_Outcome_OUTCOME_OPEN, "", err) : SOTTO_OK;
    if (chunk_receiver_accept(&u->receiver, in->index, payload.n, NULL) != SOTTO_OK)
        return SOTTO_OK; /* a repeat */
    if (!chunk_receiver_done(&u->receiver))
        return send_grant(s, device, &u->receiver, false, err);
    *u = s->uploads[--s->upload_count];
    const struct sim_job *j = s->devices[device].job;
    if (s->x->settings.seal && j && !journal_reads(&s->journal)) { /* as the daemon does */
        const struct wire_hash got = wire_hash_of(SESSION_LABEL_REPORT, buf_view(&j->report));
        if (!wire_hash_equal(&got, &j->report_hash))
            return SOTTO_FAIL(err, SOTTO_INTERNAL, "report of client %u does not have its hash",
                              device);
    }
    struct sim_reply to = {.device = device};
    const struct round_event event = event_of(s, ROUND_EV_REPORT, device);
    return host_event(s, &event, &to, err);
}

/* The engine takes the report: from here on it is the coordinator's. */
enum sotto_status host_accept(struct sim *s, const struct round_action *a,
                              struct sotto_error *err) {
    struct sim_device *d = device_of(s, a->serial);
    struct sim_job *j = d->job;
    enum sotto_status status;
    if (!j)
        return SOTTO_FAIL(err, SOTTO_INTERNAL, "client %llu has no report",
                          (unsigned long long)a->serial);
    d->job = NULL;
    d->open_outcome = (uint8_t)sotto_Outcome_OUTCOME_OPEN;
    s->round.bytes_up += j->report_bytes;
    j->kind = SIM_ADD;
    j->told = false;
    s->adding++;
    j->group = a->group;
    TRY(host_ack(s, a->serial, sotto_Outcome_OUTCOME_OPEN, "", err));
    const struct vtime_event e = {.at_ms = s->time.now_ms,
                                  .kind = SIM_EV_CHECKED,
                                  .rank = SIM_RANK_CHECKED,
                                  .device = j->device,
                                  .data = j};
    TRY(job_submit(j, err));
    TRY(vtime_add(&s->time, &e, err));
out:
    return status;
}

enum sotto_status host_checked(struct sim *s, struct sim_job *j, struct sotto_error *err) {
    enum sotto_status status = job_wait(j, err);
    if (status != SOTTO_OK)
        return status;
    s->adding--;
    if (j->status != SOTTO_OK) {
        s->round.rejected++;
        LOG(LOG_WARN, "report.reject", LU("client", j->device), LS("reason", j->error.message));
    }
    struct round_event event = event_of(s, ROUND_EV_CHECKED, j->device);
    event.round = j->plan->round;
    event.ok = j->status == SOTTO_OK;
    job_drop(j);
    return host_event(s, &event, NULL, err);
}

/* ---- Other messages */

static enum sotto_status on_heartbeat(struct sim *s, uint32_t device, const sotto_Heartbeat *in,
                                      struct sotto_error *err) {
    if (is_open(s, in->terms_hash.bytes, in->terms_hash.size)) {
        struct sim_reply to = {.device = device};
        const struct round_event event = event_of(s, ROUND_EV_HEARTBEAT, device);
        return host_event(s, &event, &to, err);
    }
    sotto_Envelope e = sotto_Envelope_init_zero;
    e.version = WIRE_VERSION;
    e.which_body = sotto_Envelope_heartbeat_reply_tag;
    e.body.heartbeat_reply.terms_hash.size = WIRE_HASH;
    memcpy(e.body.heartbeat_reply.terms_hash.bytes, in->terms_hash.bytes, WIRE_HASH);
    e.body.heartbeat_reply.abort = true;
    WIRE_SET_TEXT(e.body.heartbeat_reply.reason, "the round has ended");
    return host_send(s, device, &e, view_of(NULL, 0), err);
}

static enum sotto_status on_decline(struct sim *s, uint32_t device, const sotto_Decline *in,
                                    struct sotto_error *err) {
    sotto_Envelope e = sotto_Envelope_init_zero;
    LOG(s->training_bytes ? LOG_INFO : LOG_WARN, "device.decline", LU("client", device),
        LS("rule", in->rule), LS("detail", in->detail));
    if (is_open(s, in->terms_hash.bytes, in->terms_hash.size)) {
        s->round.declined++;
        const struct round_event event = event_of(s, ROUND_EV_DECLINE, device);
        const enum sotto_status status = host_event(s, &event, NULL, err);
        if (status != SOTTO_OK)
            return status;
    }
    e.version = WIRE_VERSION;
    e.which_body = sotto_Envelope_decline_reply_tag;
    e.body.decline_reply.terms_hash.size = WIRE_HASH;
    memcpy(e.body.decline_reply.terms_hash.bytes, in->terms_hash.bytes, WIRE_HASH);
    e.body.decline_reply.come_back_ms = s->x->settings.task.pace_ms;
    return host_send(s, device, &e, view_of(NULL, 0), err);
}

enum sotto_status host_message(struct sim *s, uint32_t device, const struct sim_message *m,
                               struct sotto_error *err) {
    enum sotto_status status;
    if (task_secure(&s->x->settings.task) && sim_secure_message(s, device, m, &status, err))
        return status;
    switch (m->m.which_body) {
    case sotto_Envelope_check_in_tag:
        return on_check_in(s, device, &m->m.body.check_in, err);
    case sotto_Envelope_get_package_tag:
        return on_get_package(s, device, &m->m.body.get_package, err);
    case sotto_Envelope_report_open_tag:
        return on_report_open(s, device, &m->m.body.report_open, err);
    case sotto_Envelope_report_chunk_tag:
        return on_report_chunk(s, device, &m->m.body.report_chunk, m->payload, err);
    case sotto_Envelope_heartbeat_tag:
        return on_heartbeat(s, device, &m->m.body.heartbeat, err);
    case sotto_Envelope_decline_tag:
        return on_decline(s, device, &m->m.body.decline, err);
    default:
        return SOTTO_FAIL(err, SOTTO_INTERNAL, "a device sent %s", wire_name(&m->m));
    }
}
