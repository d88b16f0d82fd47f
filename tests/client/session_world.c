/* The scripted coordinator, the in-memory device and the faulty network behind session tests. */
#include "session_world.h"

#include <string.h>

#include "world_device.h"

static const uint8_t task_id[WIRE_TASK_ID] = {1, 2,  3,  4,  5,  6,  7,  8,
                                              9, 10, 11, 12, 13, 14, 15, 16};

static bool chance(struct world *w, uint32_t permille) {
    return permille > 0 && rng_below(&w->rng, 1000) < permille;
}

struct world *world_new(uint64_t seed) {
    struct world *w = mem_zalloc(sizeof *w);
    assert_non_null(w);
    rng_init(&w->rng, seed, 0, 0, RNG_FAULT);
    world_device_init(&w->authority, &w->signer, &w->document, &w->config, WORLD_SERIAL, seed);
    w->document.endpoint_count = 2;
    memcpy(w->config.backend, "ref", 4);
    w->coordinator_up = true;
    w->online = true;
    w->come_back_ms = 500;
    w->now_ms = 1000;
    w->package_bytes = 5 * CHUNK_BYTES + 17;
    w->report_bytes = 9 * CHUNK_BYTES + 5;
    w->store.bytes_left = w->store.rounds_left = -1;
    sotto_Terms *t = &w->template;
    memcpy(t->task, "digits", 7);
    t->kind = sotto_Kind_KIND_TRAIN;
    t->package_hash.size = WIRE_HASH;
    t->package_bytes = w->package_bytes;
    memcpy(t->collection, "digits", 7);
    t->has_rule = true;
    t->rule.epochs = 1;
    t->rule.batch = 10;
    t->rule.lr = 0.1f;
    t->has_pipeline = true;
    t->pipeline.clip_inf = 16;
    t->pipeline.keep = 1;
    t->pipeline.bits = 32;
    t->pipeline.fraction_bits = 30;
    t->weight_max = 100;
    t->n_max = 10;
    t->round_key.size = 32;
    memset(t->round_key.bytes, 9, 32);
    t->report_bytes_max = 64 * CHUNK_BYTES;
    t->heartbeat_ms = 2000;
    t->train_ms = 600000;
    t->examples_min = 1;
    t->task_id.size = WIRE_TASK_ID;
    memcpy(t->task_id.bytes, task_id, WIRE_TASK_ID);
    world_restart(w);
    return w;
}

void world_masks(struct world *w) {
    sotto_Terms *t = &w->template;
    world_masked_terms(t);
    t->n_max = 100;
    t->round_key.size = 0;
    w->config.certified = true;
}

void world_free(struct world *w) {
    session_free(w->session);
    mem_free(w);
}

void world_restart(struct world *w) {
    struct world_store *st = &w->store;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct session_saved saved;
    memset(&saved, 0, sizeof saved);
    saved.document = &w->document;
    saved.stage = st->stage;
    saved.terms = view_of(st->terms, st->terms_size);
    saved.report_bytes = st->report_bytes;
    saved.report_hash = st->report_hash;
    saved.open_report_count = st->open_count;
    memcpy(saved.open_reports, st->open, sizeof saved.open_reports);
    saved.package_held = st->package_held;
    saved.part = st->part;
    saved.part_bytes = st->part_bytes;
    saved.part_delta = st->part_delta;
    saved.part_chunks = st->part_chunks;
    saved.task_count = st->task_count;
    saved.tasks = st->tasks;
    saved.bytes_left = st->bytes_left;
    saved.rounds_left = st->rounds_left;
    saved.bucket_ms = st->bucket_ms;
    session_free(w->session);
    w->session = NULL;
    w->connection = 0;
    w->connecting = w->preparing = w->training = false;
    ASSERT_OK(session_new(&w->config, &saved, &w->session, &err));
}

struct world_round *world_find(struct world *w, const uint8_t *hash) {
    for (uint32_t i = 0; i < WORLD_ROUNDS; i++)
        if (w->rounds[i].exists && memcmp(w->rounds[i].hash.b, hash, WIRE_HASH) == 0)
            return &w->rounds[i];
    return NULL;
}

void world_open_round(struct world *w, uint32_t round) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct buf bytes;
    struct world_round *r = &w->rounds[round];
    assert_true(round < WORLD_ROUNDS);
    buf_init(&bytes, WIRE_TERMS_MAX);
    w->template.round = round;
    memset(w->template.package_hash.bytes, (int)(1 + round % 200), WIRE_HASH);
    ASSERT_OK(wire_terms_encode(&w->template, &bytes, &err));
    memset(r, 0, sizeof *r);
    r->exists = true;
    r->terms_size = bytes.len;
    memcpy(r->terms, bytes.data, bytes.len);
    r->hash = wire_terms_hash(buf_view(&bytes));
    w->round = round;
    buf_deinit(&bytes);
}

void world_close_round(struct world *w, bool keep) {
    struct world_round *r = &w->rounds[w->round];
    if (r->state == REPORT_OPEN) {
        r->state = keep ? REPORT_KEPT : REPORT_RETURNED;
        r->counted += keep;
    }
    w->round = 0;
}

/* ---- Network
 * -------------------------------------------------------------------------------------------------------------
 */

static void put_packet(struct world *w, bool to_device, const sotto_Envelope *m, size_t payload) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct buf frame;
    buf_init(&frame, WIRE_CONTROL_MAX);
    ASSERT_OK(wire_encode(m, &frame, &err)); /* all that is said must be sayable */
    buf_deinit(&frame);
    const uint32_t copies = chance(w, w->loss_permille) ? 0 : chance(w, w->repeat_permille) ? 2 : 1;
    for (uint32_t k = 0; k < copies; k++)
        for (uint32_t i = 0; i < WORLD_PACKETS; i++) {
            struct world_packet *p = &w->packets[i];
            if (p->used)
                continue;
            *p = (struct world_packet){.used = true,
                                       .to_device = to_device,
                                       .connection = w->connection,
                                       .message = *m,
                                       .payload_size = payload};
            p->number = w->packet_count++;
            p->at_ms = w->now_ms + 1 + (w->delay_max_ms ? rng_below(&w->rng, w->delay_max_ms) : 0);
            break;
        }
}

/* ---- Coordinator
 * ---------------------------------------------------------------------------------------------------------
 */

void world_plan(struct world *w, struct world_round *r, const uint8_t nonce[16],
                sotto_CheckInReply *out) {
    out->terms.size = (pb_size_t)r->terms_size;
    memcpy(out->terms.bytes, r->terms, r->terms_size);
    out->terms_signature.size = ID_SIG;
    id_sign(&w->signer, ID_LABEL_TERMS, view_of(r->terms, r->terms_size),
            out->terms_signature.bytes);
    out->signing_key.size = ID_KEY;
    memcpy(out->signing_key.bytes, w->signer.public_key, ID_KEY);
    out->has_invitation = true;
    WIRE_SET_HASH(out->invitation.terms_hash, &r->hash);
    out->invitation.serial = WORLD_SERIAL;
    out->invitation.nonce.size = WIRE_NONCE;
    memcpy(out->invitation.nonce.bytes, nonce, WIRE_NONCE);
    out->invitation.valid_ms = 60000;
}

static void on_check_in(struct world *w, const sotto_CheckIn *c, sotto_Envelope *out) {
    out->which_body = sotto_Envelope_check_in_reply_tag;
    sotto_CheckInReply *reply = &out->body.check_in_reply;
    reply->come_back_ms = w->come_back_ms;
    for (uint32_t i = 0; i < c->open_reports_count; i++) {
        const struct world_round *r = world_find(w, c->open_reports[i].terms_hash.bytes);
        sotto_ReportOutcome *o = &reply->outcomes[reply->outcomes_count++];
        o->terms_hash.size = WIRE_HASH;
        memcpy(o->terms_hash.bytes, c->open_reports[i].terms_hash.bytes, WIRE_HASH);
        o->outcome = r != NULL && r->state == REPORT_OPEN       ? sotto_Outcome_OUTCOME_OPEN
                     : r != NULL && r->state == REPORT_RETURNED ? sotto_Outcome_OUTCOME_RETURNED
                                                                : sotto_Outcome_OUTCOME_KEPT;
    }
    struct world_round *open = &w->rounds[w->round];
    struct world_round *held =
        c->terms_held.size == WIRE_HASH ? world_find(w, c->terms_held.bytes) : NULL;
    if (held != NULL && reply->outcomes_count < ARRAY_LEN(reply->outcomes) &&
        (held != open || w->round == 0) && rng_below(&w->rng, 2) == 0) {
        if (held->state < REPORT_OPEN) /* stored before it is said */
            held->state = REPORT_RETURNED;
        sotto_ReportOutcome *o = &reply->outcomes[reply->outcomes_count++];
        WIRE_SET_HASH(o->terms_hash, &held->hash);
        o->outcome = held->state == REPORT_OPEN       ? sotto_Outcome_OUTCOME_OPEN
                     : held->state == REPORT_RETURNED ? sotto_Outcome_OUTCOME_RETURNED
                                                      : sotto_Outcome_OUTCOME_KEPT;
    }
    if (w->round > 0 && (open->state == REPORT_NONE || open->state == REPORT_UPLOAD))
        world_plan(w, open, c->nonce.bytes, reply);
}

static void ack(sotto_Envelope *out, const struct world_round *r, enum sotto_status status) {
    out->which_body = sotto_Envelope_report_ack_tag;
    memset(&out->body, 0, sizeof out->body);
    WIRE_SET_HASH(out->body.report_ack.terms_hash, &r->hash);
    out->body.report_ack.status = (uint32_t)status;
    out->body.report_ack.outcome = r->state == REPORT_OPEN   ? sotto_Outcome_OUTCOME_OPEN
                                   : r->state == REPORT_KEPT ? sotto_Outcome_OUTCOME_KEPT
                                                             : sotto_Outcome_OUTCOME_RETURNED;
    out->body.report_ack.come_back_ms = 300;
}

static void grant(sotto_Envelope *out, const struct world_round *r) {
    out->which_body = sotto_Envelope_report_grant_tag;
    WIRE_SET_HASH(out->body.report_grant.terms_hash, &r->hash);
    out->body.report_grant.next_index = r->chunks;
    out->body.report_grant.credit = 4;
}

static bool on_report(struct world *w, const sotto_Envelope *m, sotto_Envelope *out) {
    const bool opens = m->which_body == sotto_Envelope_report_open_tag;
    struct world_round *r = world_find(w, opens ? m->body.report_open.terms_hash.bytes
                                                : m->body.report_chunk.terms_hash.bytes);
    if (r == NULL)
        return false;
    if (r->state >= REPORT_OPEN) {
        ack(out, r, r->state == REPORT_RETURNED ? SOTTO_STATE : SOTTO_OK);
        return true;
    }
    if (w->round == 0 || r != &w->rounds[w->round]) { /* late */
        r->state = REPORT_RETURNED;
        ack(out, r, SOTTO_STATE);
        return true;
    }
    if (opens) {
        if (r->state == REPORT_NONE) {
            r->state = REPORT_UPLOAD;
            r->announced_bytes = m->body.report_open.bytes;
            memcpy(r->announced_hash.b, m->body.report_open.hash.bytes, WIRE_HASH);
        }
        /* a resend is the very same bytes */
        assert_true(r->announced_bytes == m->body.report_open.bytes);
        assert_memory_equal(r->announced_hash.b, m->body.report_open.hash.bytes, WIRE_HASH);
    } else if (r->state == REPORT_UPLOAD && m->body.report_chunk.index == r->chunks) {
        r->chunks++;
        if (r->chunks == chunk_count(r->announced_bytes)) {
            r->state = REPORT_OPEN;
            ack(out, r, SOTTO_OK);
            return true;
        }
    }
    grant(out, r);
    return true;
}

static void send_package(struct world *w, const sotto_GetPackage *g) {
    for (uint32_t i = g->index; i < g->index + g->count && i < chunk_count(w->package_bytes); i++) {
        sotto_Envelope out = sotto_Envelope_init_zero;
        out.which_body = sotto_Envelope_package_chunk_tag;
        out.body.package_chunk.hash.size = WIRE_HASH;
        memcpy(out.body.package_chunk.hash.bytes, g->hash.bytes, WIRE_HASH);
        out.body.package_chunk.index = i;
        out.body.package_chunk.chunks = chunk_count(w->package_bytes);
        out.body.package_chunk.bytes = w->package_bytes;
        put_packet(w, true, &out, chunk_size(w->package_bytes, i));
    }
}

static void coordinator_takes(struct world *w, const sotto_Envelope *m) {
    sotto_Envelope out = sotto_Envelope_init_zero;
    if (!w->coordinator_up || w->silent)
        return;
    switch (m->which_body) {
    case sotto_Envelope_check_in_tag:
        on_check_in(w, &m->body.check_in, &out);
        break;
    case sotto_Envelope_get_package_tag:
        send_package(w, &m->body.get_package);
        return;
    case sotto_Envelope_report_open_tag:
    case sotto_Envelope_report_chunk_tag:
        if (!on_report(w, m, &out))
            return;
        break;
    case sotto_Envelope_heartbeat_tag:
        out.which_body = sotto_Envelope_heartbeat_reply_tag;
        out.body.heartbeat_reply.terms_hash.size = WIRE_HASH;
        memcpy(out.body.heartbeat_reply.terms_hash.bytes, m->body.heartbeat.terms_hash.bytes,
               WIRE_HASH);
        out.body.heartbeat_reply.abort =
            w->round == 0 ||
            memcmp(w->rounds[w->round].hash.b, m->body.heartbeat.terms_hash.bytes, WIRE_HASH) != 0;
        break;
    case sotto_Envelope_decline_tag:
        out.which_body = sotto_Envelope_decline_reply_tag;
        out.body.decline_reply.terms_hash.size = WIRE_HASH;
        memcpy(out.body.decline_reply.terms_hash.bytes, m->body.decline.terms_hash.bytes,
               WIRE_HASH);
        out.body.decline_reply.come_back_ms = 2000;
        break;
    default:
        fail_msg("the device said %s", wire_name(m));
    }
    put_packet(w, true, &out, 0);
}

/* ---- Device
 * --------------------------------------------------------------------------------------------------------------
 */

static void store_outcome(struct world *w, const struct session_action *a) {
    struct world_store *st = &w->store;
    struct world_round *r = world_find(w, a->terms_hash.b);
    assert_non_null(r);
    if (a->outcome == sotto_Outcome_OUTCOME_OPEN)
        w->acknowledged++;
    if (st->stage == SESSION_SEALED && wire_hash_equal(&st->terms_hash, &a->terms_hash))
        st->stage = SESSION_NONE;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < st->open_count; i++)
        if (!wire_hash_equal(&st->open[i], &a->terms_hash))
            st->open[kept++] = st->open[i];
    st->open_count = kept;
    if (a->outcome == sotto_Outcome_OUTCOME_OPEN)
        st->open[st->open_count++] = a->terms_hash;
    else if (a->outcome == sotto_Outcome_OUTCOME_RETURNED)
        r->returned++;
    else
        r->dropped++;
}

static void store_terms(struct world *w, const struct session_action *a) {
    struct world_store *st = &w->store;
    const sotto_Terms *t = session_terms(w->session);
    assert_non_null(t);
    st->stage = SESSION_ACCEPTED;
    st->terms_size = a->bytes.n;
    memcpy(st->terms, a->bytes.p, a->bytes.n);
    st->terms_hash = a->terms_hash;
    uint32_t i = 0;
    while (i < st->task_count && memcmp(st->tasks[i].task_id, t->task_id.bytes, WIRE_TASK_ID) != 0)
        i++;
    if (i == st->task_count)
        st->task_count++;
    else
        assert_true(t->round >= st->tasks[i].last_round);
    memcpy(st->tasks[i].task_id, t->task_id.bytes, WIRE_TASK_ID);
    st->tasks[i].last_round = t->round;
    st->tasks[i].terms_hash = a->terms_hash;
    st->tasks[i].sealed = false;
}

static void store_chunk(struct world *w, const struct session_action *a) {
    struct world_store *st = &w->store;
    if (a->chunk == 0) {
        st->part = a->package;
        st->part_bytes = a->blob_bytes;
        st->part_delta = a->delta;
        st->part_chunks = 0;
    }
    assert_true(wire_hash_equal(&st->part, &a->package));
    assert_int_equal(st->part_chunks, a->chunk);
    assert_int_equal(a->bytes.n, chunk_size(a->blob_bytes, a->chunk));
    st->part_chunks++;
}

static void execute(struct world *w, const struct session_action *a) {
    switch (a->kind) {
    case SESSION_DO_CONNECT:
        w->connection = ++w->connections_made;
        w->connecting = true;
        w->connected_at_ms = w->now_ms + 5;
        break;
    case SESSION_DO_DISCONNECT:
        w->connection = 0;
        w->connecting = false;
        break;
    case SESSION_DO_SEND:
        assert_int_not_equal(w->connection, 0);
        w->sends[a->message->which_body]++;
        w->last_sent = *a->message;
        if (a->message->which_body == sotto_Envelope_decline_tag)
            w->last_decline = a->message->body.decline;
        put_packet(w, false, a->message, a->has_chunk ? 1 : 0);
        break;
    case SESSION_DO_STORE_TERMS:
        store_terms(w, a);
        break;
    case SESSION_DO_STORE_CHUNK:
        store_chunk(w, a);
        break;
    case SESSION_DO_PREPARE:
        w->preparing = true;
        w->work_at_ms = w->now_ms + 3;
        break;
    case SESSION_DO_TRAIN:
        assert_int_equal(world_find(w, a->terms_hash.b)->sealed, 0);
        w->training = true;
        w->work_at_ms = w->now_ms + 5000;
        break;
    case SESSION_DO_CANCEL:
        w->preparing = w->training = false;
        break;
    case SESSION_DO_STORE_OUTCOME:
        store_outcome(w, a);
        break;
    case SESSION_DO_DROP_TERMS:
        assert_int_equal(w->store.stage, SESSION_ACCEPTED);
        w->store.stage = SESSION_NONE;
        break;
    case SESSION_DO_STORE_COUNTERS:
        w->store.bytes_left = a->bytes_left;
        w->store.rounds_left = a->rounds_left;
        w->store.bucket_ms = w->now_ms;
        break;
    case SESSION_DO_NOTE:
        memcpy(w->note, a->text, sizeof w->note);
        break;
    case SESSION_DO_STORE_DOCUMENT:
    case SESSION_DO_SECURE_BEGIN:
    case SESSION_DO_SECURE_CHUNK:
    case SESSION_DO_SECURE_TAKE:
    case SESSION_DO_SECURE_END:
        break;
    }
}

void world_step(struct world *w, const struct session_event *event) {
    struct session_action actions[SESSION_ACTIONS_MAX];
    struct sotto_error err = SOTTO_ERROR_INIT;
    uint8_t nonce[WIRE_NONCE];
    size_t count = SESSION_ACTIONS_MAX;
    for (size_t i = 0; i < sizeof nonce; i++)
        nonce[i] = (uint8_t)rng_u32(&w->rng);
    ASSERT_OK(session_step(w->session, event, nonce, actions, &count, &err));
    for (size_t i = 0; i < count; i++)
        execute(w, &actions[i]);
}

void world_tick(struct world *w) {
    struct session_event e = {.kind = SESSION_TICK, .now_ms = w->now_ms};
    e.conditions.online = w->online;
    e.conditions.charging = e.conditions.idle = e.conditions.unmetered = true;
    e.conditions.battery_percent = -1;
    world_step(w, &e);
}

void world_deliver(struct world *w, const sotto_Envelope *m, size_t payload_size) {
    static uint8_t zeros[CHUNK_BYTES];
    struct session_event e = {.kind = SESSION_MESSAGE, .now_ms = w->now_ms, .message = m};
    if (payload_size > 0)
        e.payload = view_of(zeros, payload_size);
    world_step(w, &e);
}

static void finish_work(struct world *w) {
    struct session_event e = {.now_ms = w->now_ms};
    if (w->preparing) {
        w->preparing = false;
        w->prepared++;
        memcpy(w->store.package_held.b, session_terms(w->session)->package_hash.bytes, WIRE_HASH);
        memset(&w->store.part, 0, sizeof w->store.part);
        w->store.part_chunks = 0;
        e.kind = SESSION_PREPARED;
        e.prepared.schema_ok = true;
        e.prepared.examples = 50;
    } else {
        w->training = false;
        w->trained++;
        struct world_round *r = world_find(w, w->store.terms_hash.b);
        r->sealed++;
        w->store.stage = SESSION_SEALED;
        w->store.report_bytes = w->report_bytes;
        memset(w->store.report_hash.b, (int)(w->trained % 251), WIRE_HASH);
        for (uint32_t i = 0; i < w->store.task_count; i++)
            if (wire_hash_equal(&w->store.tasks[i].terms_hash, &w->store.terms_hash)) {
                w->store.tasks[i].sealed = true;
                w->store.tasks[i].part_round = w->store.tasks[i].last_round;
            }
        e.kind = SESSION_TRAINED;
        e.report.bytes = w->store.report_bytes;
        e.report.hash = w->store.report_hash;
    }
    world_step(w, &e);
}

/* The next thing that happens; true if it is due before end. */
static bool happen(struct world *w, uint64_t end) {
    struct world_packet *first = NULL;
    uint64_t at = session_next_ms(w->session);
    enum { TICK, PACKET, WORK, CONNECT } what = TICK;
    for (uint32_t i = 0; i < WORLD_PACKETS; i++)
        if (w->packets[i].used && (w->packets[i].at_ms < at ||
                                   (w->packets[i].at_ms == at &&
                                    (first == NULL || w->packets[i].number < first->number)))) {
            first = &w->packets[i];
            at = first->at_ms;
            what = PACKET;
        }
    if ((w->preparing || w->training) && w->work_at_ms <= at) {
        at = w->work_at_ms;
        what = WORK;
    }
    if (w->connecting && w->connected_at_ms <= at && w->coordinator_up) {
        at = w->connected_at_ms;
        what = CONNECT;
    }
    if (at >= end)
        return false;
    if (at > w->now_ms)
        w->now_ms = at;
    if (what == PACKET) {
        const struct world_packet p = *first;
        first->used = false;
        if (!p.to_device)
            coordinator_takes(w, &p.message);
        else if (p.connection == w->connection)
            world_deliver(w, &p.message, p.payload_size);
    } else if (what == WORK) {
        finish_work(w);
    } else if (what == CONNECT) {
        w->connecting = false;
        world_step(w, &(struct session_event){.kind = SESSION_CONNECTED, .now_ms = w->now_ms});
    } else {
        world_tick(w);
    }
    return true;
}

void world_run(struct world *w, uint64_t ms) {
    const uint64_t end = w->now_ms + ms;
    uint32_t steps = 0;
    world_tick(w);
    while (happen(w, end))
        assert_true(++steps < 1000000); /* a loop that makes no time pass */
    w->now_ms = end;
}
