/* Messages of secure rounds: ready devices, what they are told, what they fetch, what they send. A
 * message is stored before it is acknowledged, or acted on. */
#include "daemon/secure_int.h"
#include "daemon/upload_int.h"
#include "sotto/protocol/tap.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define WAIT_MIN_MS   250u
#define WAIT_MAX_MS   10000u
#define RETRY_FULL_MS 60000

/* ---- Connections
 * -----------------------------------------------------------------------------------------------------
 */

static struct secure_peer *peer_of(struct task_host *t, uint64_t serial) {
    uint32_t count = 0;
    const struct round_member *first = round_members(t->engine, &count);
    const struct round_member *m = round_member_find(t->engine, serial);
    size_t i = m ? (size_t)(m - first) : SIZE_MAX;
    return t->secure && i < t->secure->peer_count ? &t->secure->peers[i] : NULL;
}

static void note_peer(struct task_host *t, const struct reply_to *to) {
    struct secure_peer *p = peer_of(t, to->serial);
    if (p)
        *p = (struct secure_peer){to->server, to->peer};
}

bool secure_peer(struct task_host *t, uint64_t serial, struct reply_to *out) {
    const struct secure_peer *p = peer_of(t, serial);
    *out = (struct reply_to){.serial = serial};
    if (!p || !p->server)
        return false;
    for (uint32_t i = 0; i < t->c->server_count; i++)
        if (t->c->servers[i] == p->server) { /* a retired key's may be closed by now */
            out->server = p->server;
            out->peer = p->peer;
            return true;
        }
    return false;
}

/* ---- What devices are told
 * -------------------------------------------------------------------------------------------- */

static void state_begin(sotto_Envelope *e, const struct wire_hash *terms) {
    e->version = WIRE_VERSION;
    e->which_body = sotto_Envelope_secure_state_tag;
    WIRE_SET_HASH(e->body.secure_state.terms_hash, terms);
}

enum sotto_status secure_tell_outcome(struct coordinator *c, const struct reply_to *to,
                                      const struct wire_hash *terms, sotto_Outcome outcome,
                                      uint64_t come_back_ms, const char *reason,
                                      struct sotto_error *err) {
    sotto_Envelope e = sotto_Envelope_init_zero;
    state_begin(&e, terms);
    e.body.secure_state.outcome = outcome;
    e.body.secure_state.come_back_ms = come_back_ms;
    WIRE_SET_TEXT(e.body.secure_state.reason, reason);
    return outbox_send(c->outbox, to, &e, view_of(NULL, 0), err);
}

/* What the session shows this member in this exchange. NOT_FOUND: nothing now. */
static enum sotto_status shown(struct task_host *t, const struct round_member *m, uint32_t exchange,
                               struct buf *out, struct sotto_error *err) {
    struct secure_round *s = t->secure;
    struct secure_group *g = m->group < s->group_count ? &s->groups[m->group] : NULL;
    buf_init(out, secagg_message_max(&s->config, (enum secagg_kind)exchange));
    if (!g || !g->server || g->busy)
        return SOTTO_FAIL(err, SOTTO_NOT_FOUND, "no session is open");
    return secagg_server_message(g->server, (enum secagg_kind)exchange, m->serial, out, err);
}

enum sotto_status secure_tell(struct task_host *t, const struct round_member *m,
                              const struct reply_to *to, struct sotto_error *err) {
    sotto_Envelope e = sotto_Envelope_init_zero;
    struct sotto_error why = SOTTO_ERROR_INIT;
    uint8_t attempt;
    const uint8_t task = round_secure_task(t->engine, m->serial, &attempt);
    state_begin(&e, &t->round.terms_hash);
    sotto_SecureState *state = &e.body.secure_state;
    state->attempt = attempt;
    state->exchange = task;
    state->wait_ms =
        num_min_u64(num_max_u64(t->settings.pace_ms, WAIT_MIN_MS), (uint64_t)WAIT_MAX_MS);
    if (task != 0 && task != SECAGG_ADVERTISE) {
        struct buf message;
        enum sotto_status status = shown(t, m, task, &message, &why);
        if (status == SOTTO_OK) {
            struct wire_hash hash = wire_hash_of(WIRE_LABEL_SECURE, buf_view(&message));
            state->bytes = message.len;
            WIRE_SET_HASH(state->hash, &hash);
        } else {
            state->exchange = 0;
        }
        buf_deinit(&message);
        if (status == SOTTO_NOMEM)
            return SOTTO_FAIL(err, status, "%s", why.message);
    }
    return outbox_send(t->c->outbox, to, &e, view_of(NULL, 0), err);
}

/* The outcome that the store has; false: none yet. */
static bool known_outcome(struct coordinator *c, uint64_t serial, const struct wire_hash *terms,
                          sotto_Outcome *out) {
    return store_outcome_get(c->store, serial, terms, out, NULL) == SOTTO_OK;
}

/* Under terms that are not open (any more): what became of it, stored before it is said. */
static enum sotto_status tell_closed(struct coordinator *c, const struct reply_to *to,
                                     const struct wire_hash *terms, struct sotto_error *err) {
    sotto_Outcome outcome;
    enum sotto_status status = outcome_of(c, to->serial, terms, true, &outcome, err);
    if (status != SOTTO_OK)
        return status;
    if (outcome == sotto_Outcome_OUTCOME_OPEN)
        return outbox_send_error(c->outbox, to, SOTTO_BUSY, RETRY_FULL_MS,
                                 "the task is not loaded at present; try later", err);
    return secure_tell_outcome(c, to, terms, outcome, 0, "the round has ended", err);
}

enum sotto_status secure_ready(struct coordinator *c, struct reply_to *to,
                               const sotto_SecureReady *in, struct sotto_error *err) {
    struct wire_hash terms;
    sotto_Outcome outcome;
    WIRE_GET_HASH(in->terms_hash, &terms);
    struct task_host *t = task_by_terms(c, &terms);
    if (t && !t->secure)
        return upload_refuse(c, to, SOTTO_INVALID, 0, "these terms ask for no masks", err);
    if (!t)
        return tell_closed(c, to, &terms, err);
    if (known_outcome(c, to->serial, &terms, &outcome))
        return secure_tell_outcome(c, to, &terms, outcome, t->settings.pace_ms,
                                   outcome == sotto_Outcome_OUTCOME_KEPT
                                       ? "the group has ended"
                                       : "not in this round's sums",
                                   err);
    note_peer(t, to);
    to->terms = &terms;
    to->secure = true;
    struct round_event e = {.kind = ROUND_EV_READY,
                            .now_ms = clock_mono_ms(),
                            .serial = to->serial,
                            .round = t->round.round,
                            .attempt = (uint8_t)in->attempt};
    return task_event(t, &e, to, err);
}

enum sotto_status secure_get(struct coordinator *c, struct reply_to *to, const sotto_SecureGet *in,
                             struct sotto_error *err) {
    struct wire_hash terms;
    struct buf message;
    struct sotto_error why = SOTTO_ERROR_INIT;
    uint8_t attempt = 0;
    enum sotto_status status = SOTTO_OK;
    WIRE_GET_HASH(in->terms_hash, &terms);
    struct task_host *t = task_by_terms(c, &terms);
    const struct round_member *m = t ? round_member_find(t->engine, to->serial) : NULL;
    if (!t || !t->secure || !m)
        return tell_closed(c, to, &terms, err);
    note_peer(t, to);
    if (round_secure_task(t->engine, to->serial, &attempt) != in->exchange ||
        attempt != in->attempt || in->exchange == SECAGG_ADVERTISE)
        return secure_tell(t, m, to, err);
    if (shown(t, m, in->exchange, &message, &why) != SOTTO_OK) {
        buf_deinit(&message);
        return secure_tell(t, m, to, err);
    }
    sotto_Envelope e = sotto_Envelope_init_zero;
    e.version = WIRE_VERSION;
    e.which_body = sotto_Envelope_secure_chunk_tag;
    sotto_SecureChunk *chunk = &e.body.secure_chunk;
    WIRE_SET_HASH(chunk->terms_hash, &terms);
    chunk->attempt = in->attempt;
    chunk->exchange = in->exchange;
    chunk->bytes = message.len;
    chunk->chunks = chunk_count(message.len);
    const uint64_t end =
        num_min_u64((uint64_t)in->index + num_min_u64(in->count, CHUNK_CREDIT_MAX), chunk->chunks);
    for (uint64_t i = in->index; i < end; i++) {
        const uint32_t size = chunk_size(message.len, (uint32_t)i);
        chunk->index = (uint32_t)i;
        TRY(outbox_send(c->outbox, to, &e, view_of(message.data + i * CHUNK_BYTES, size), err));
        t->secure->groups[m->group].row.bytes_down += size;
        t->round.bytes_down += size;
        t->down_changed = true;
    }
out:
    buf_deinit(&message);
    return status;
}

/* ---- What devices send
 * ------------------------------------------------------------------------------------------------
 */

static enum sotto_status secure_ack(struct coordinator *c, const struct reply_to *to,
                                    const struct wire_hash *terms, uint32_t attempt,
                                    uint32_t exchange, enum sotto_status what,
                                    sotto_Outcome outcome, const char *reason,
                                    struct sotto_error *err) {
    sotto_Envelope e = sotto_Envelope_init_zero;
    e.version = WIRE_VERSION;
    e.which_body = sotto_Envelope_report_ack_tag;
    WIRE_SET_HASH(e.body.report_ack.terms_hash, terms);
    e.body.report_ack.status = (uint32_t)what;
    e.body.report_ack.outcome = outcome;
    e.body.report_ack.attempt = attempt;
    e.body.report_ack.exchange = exchange;
    WIRE_SET_TEXT(e.body.report_ack.reason, reason);
    return outbox_send(c->outbox, to, &e, view_of(NULL, 0), err);
}

static enum sotto_status secure_grant(struct coordinator *c, const struct reply_to *to,
                                      const struct wire_hash *terms, const struct upload *u,
                                      uint32_t index, uint32_t count, struct sotto_error *err) {
    sotto_Envelope e = sotto_Envelope_init_zero;
    e.version = WIRE_VERSION;
    e.which_body = sotto_Envelope_report_grant_tag;
    WIRE_SET_HASH(e.body.report_grant.terms_hash, terms);
    e.body.report_grant.next_index = index;
    e.body.report_grant.credit = count;
    e.body.report_grant.attempt = u->attempt;
    e.body.report_grant.exchange = u->exchange;
    return outbox_send(c->outbox, to, &e, view_of(NULL, 0), err);
}

/* A masked round's terms are over, or no masked round's at all. True: answered. */
static bool not_open(struct coordinator *c, struct task_host *t, const struct reply_to *to,
                     const struct wire_hash *terms, uint32_t attempt, uint32_t exchange,
                     enum sotto_status *status, struct sotto_error *err) {
    sotto_Outcome outcome = sotto_Outcome_OUTCOME_OPEN;
    if (t && exchange == 0) {
        *status = upload_refuse(c, to, SOTTO_DENIED, 0, "this task takes masked updates only", err);
        return true;
    }
    if (t && !t->secure) {
        *status = upload_refuse(c, to, SOTTO_INVALID, 0, "these terms ask for no masks", err);
        return true;
    }
    if (t && !known_outcome(c, to->serial, terms, &outcome))
        return false;
    *status = SOTTO_OK;
    if (!t)
        *status = outcome_of(c, to->serial, terms, true, &outcome, err);
    if (*status == SOTTO_OK)
        *status = secure_ack(c, to, terms, attempt, exchange,
                             outcome == sotto_Outcome_OUTCOME_KEPT ? SOTTO_OK : SOTTO_STATE,
                             outcome, "the group has ended", err);
    return true;
}

/* First bytes hold: acknowledged again where they are the same. */
static enum sotto_status again(struct task_host *t, const struct reply_to *to, uint32_t attempt,
                               uint32_t exchange, const struct wire_hash *hash,
                               struct sotto_error *err) {
    struct wire_hash stored;
    const struct round_member *m = round_member_find(t->engine, to->serial);
    enum sotto_status found =
        store_message_get(t->c->store, t->row.id, t->round.round, m ? m->group : 0, attempt,
                          exchange, to->serial, &stored, NULL);
    bool same = found != SOTTO_OK || !hash || wire_hash_equal(&stored, hash);
    return secure_ack(t->c, to, &t->round.terms_hash, attempt, exchange,
                      same ? SOTTO_OK : SOTTO_DENIED, sotto_Outcome_OUTCOME_OPEN,
                      same ? "" : "another message came first, and holds", err);
}

static enum sotto_status announce_small(struct task_host *t, const struct reply_to *to,
                                        const sotto_ReportOpen *in, struct upload **out,
                                        struct sotto_error *err) {
    struct wire_hash hash;
    struct upload *u = upload_find(t, to->serial);
    WIRE_GET_HASH(in->hash, &hash);
    if (!u) {
        struct upload *grown = mem_resize(t->uploads, t->upload_count + 1, sizeof *grown);
        if (!grown)
            return SOTTO_FAIL(err, SOTTO_NOMEM, "uploads: out of memory");
        t->uploads = grown;
        u = &t->uploads[t->upload_count++];
    }
    u->serial = to->serial;
    u->attempt = (uint8_t)in->attempt;
    u->exchange = (uint8_t)in->exchange;
    *out = u;
    return chunk_receiver_init(&u->receiver, in->bytes, CHUNK_BYTES, &hash, 0, 1, err);
}

enum sotto_status secure_open(struct coordinator *c, struct task_host *t, const struct reply_to *to,
                              const sotto_ReportOpen *in, struct sotto_error *err) {
    struct wire_hash terms, hash;
    struct upload *u = NULL;
    uint32_t index = 0, count = 0;
    enum sotto_status status;
    WIRE_GET_HASH(in->terms_hash, &terms);
    WIRE_GET_HASH(in->hash, &hash);
    if (not_open(c, t, to, &terms, in->attempt, in->exchange, &status, err))
        return status;
    note_peer(t, to);
    const enum sotto_status due =
        round_secure_due(t->engine, to->serial, in->attempt, in->exchange);
    if (due == SOTTO_EXISTS)
        return again(t, to, in->attempt, in->exchange, &hash, err);
    if (due != SOTTO_OK)
        return secure_ack(c, to, &terms, in->attempt, in->exchange, SOTTO_STATE,
                          sotto_Outcome_OUTCOME_OPEN, "this exchange is not open", err);
    const bool masked = in->exchange == SECAGG_MASKED;
    const size_t most = secagg_message_max(&t->secure->config, (enum secagg_kind)in->exchange);
    if (in->bytes == 0 || in->bytes > most || (!masked && in->bytes > CHUNK_BYTES))
        return secure_ack(c, to, &terms, in->attempt, in->exchange, SOTTO_LIMIT,
                          sotto_Outcome_OUTCOME_OPEN, "the message is larger than any can be", err);
    if (!upload_find(t, to->serial) && !keep_disk_take(c, in->bytes))
        return upload_refuse(c, to, SOTTO_FULL, RETRY_FULL_MS,
                             "the coordinator's disk is full; try later", err);
    status = masked ? upload_begin(t, to, in, &u, err) : announce_small(t, to, in, &u, err);
    if (status != SOTTO_OK || !u)
        return status;
    (void)chunk_receiver_grant(&u->receiver, &index, &count);
    return secure_grant(c, to, &terms, u, index, count, err);
}

/* The session has it: stored, counted, then the engine hears of it. */
static enum sotto_status store_taken(struct task_host *t, const struct round_member *m,
                                     uint32_t attempt, uint32_t exchange,
                                     const struct store_message *message, struct sotto_error *err) {
    enum sotto_status status;
    struct store *store = t->c->store;
    TRY(store_begin(store, err));
    TRY(store_message_add(store, t->row.id, t->round.round, m->group, attempt, exchange, message,
                          err));
    TRY(store_device_moved(store, m->serial, message->bytes, 0, err));
    if (exchange == SECAGG_MASKED) {
        TRY(store_member_report(store, t->row.id, t->round.round, m->serial, ROUND_STORED,
                                message->bytes, err));
        TRY(store_device_count_report(store, m->serial, false, err));
    }
    t->secure->groups[m->group].row.bytes_up += message->bytes;
    t->round.bytes_up += message->bytes;
out:
    return status;
}

/* head: the message, or the beginning of a masked input. */
static enum sotto_status take(struct task_host *t, const struct reply_to *to, uint32_t attempt,
                              uint32_t exchange, struct view head, uint64_t bytes,
                              const struct wire_hash *hash, struct sotto_error *err) {
    enum sotto_status status;
    struct sotto_error why = SOTTO_ERROR_INIT;
    const bool masked = exchange == SECAGG_MASKED;
    const struct round_member *m = round_member_find(t->engine, to->serial);
    struct secure_group *g = &t->secure->groups[m->group];
    bool taken = false;
    char text[240];
    enum sotto_status verdict = g->server ? secure_take(g->server, (enum secagg_kind)exchange,
                                                        to->serial, head, bytes, &taken, &why)
                                          : SOTTO_FAIL(&why, SOTTO_STATE, "the session is lost");
    if (verdict == SOTTO_NOMEM)
        return SOTTO_FAIL(err, verdict, "%s", why.message);
    if (taken) {
        const struct store_message message = {.serial = to->serial,
                                              .bytes = bytes,
                                              .hash = *hash,
                                              .body = masked ? view_of(NULL, 0) : head};
        tap_die("coordinator", exchange);
        TRY(store_taken(t, m, attempt, exchange, &message, err));
    }
    if (verdict != SOTTO_OK) {
        t->c->rejected++;
        TRY(store_begin(t->c->store, err));
        if (verdict != SOTTO_STATE) /* the device's fault */
            TRY(store_device_count_report(t->c->store, to->serial, true, err));
        snprintf(text, sizeof text, "device %llu: %.200s", (unsigned long long)to->serial,
                 why.message);
        TRY(task_event_log(t, "secure.refuse", t->round.round, text, err));
    }
    struct round_event e = {.kind = ROUND_EV_SECURE,
                            .now_ms = clock_mono_ms(),
                            .serial = to->serial,
                            .round = t->round.round,
                            .attempt = (uint8_t)attempt,
                            .exchange = (uint8_t)exchange,
                            .ok = taken,
                            .complete = exchange == SECAGG_UNMASK && g->server &&
                                        secagg_server_ready(g->server)};
    TRY(secure_ack(t->c, to, &t->round.terms_hash, attempt, exchange, taken ? SOTTO_OK : verdict,
                   sotto_Outcome_OUTCOME_OPEN, taken ? "" : why.message, err));
    TRY(task_event(t, &e, NULL, err));
out:
    return status;
}

static enum sotto_status take_masked(struct task_host *t, struct upload *u,
                                     const struct reply_to *to, struct sotto_error *err) {
    const struct upload held = *u;
    char path[IO_PATH_MAX];
    uint8_t head[SECAGG_MASKED_HEAD];
    bool done = false;
    enum sotto_status status;
    TRY(upload_finish(t, u, to, &done, err));
    if (!done)
        goto out;
    TRY(upload_file(t, held.serial, held.attempt, false, path, sizeof path, err));
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    const ssize_t got = fd >= 0 ? pread(fd, head, sizeof head, 0) : -1;
    if (fd >= 0)
        close(fd);
    TRY(take(t, to, held.attempt, held.exchange, view_of(head, got > 0 ? (size_t)got : 0),
             held.receiver.bytes, &held.receiver.hash, err));
out:
    return status;
}

enum sotto_status secure_chunk(struct coordinator *c, struct task_host *t,
                               const struct reply_to *to, const sotto_ReportChunk *in,
                               struct view payload, struct sotto_error *err) {
    struct wire_hash terms;
    struct sotto_error why = SOTTO_ERROR_INIT;
    char path[IO_PATH_MAX];
    enum sotto_status status;
    WIRE_GET_HASH(in->terms_hash, &terms);
    if (not_open(c, t, to, &terms, in->attempt, in->exchange, &status, err))
        return status;
    note_peer(t, to);
    const enum sotto_status due =
        round_secure_due(t->engine, to->serial, in->attempt, in->exchange);
    if (due == SOTTO_EXISTS)
        return again(t, to, in->attempt, in->exchange, NULL, err);
    if (due != SOTTO_OK)
        return secure_ack(c, to, &terms, in->attempt, in->exchange, SOTTO_STATE,
                          sotto_Outcome_OUTCOME_OPEN, "this exchange is not open", err);
    struct upload *u = upload_find(t, to->serial);
    if (!u || u->attempt != in->attempt || u->exchange != in->exchange)
        return upload_refuse(c, to, SOTTO_STATE, 0, "announce the message first", err);
    status = chunk_receiver_accept(&u->receiver, in->index, payload.n, &why);
    if (status == SOTTO_EXISTS)
        return SOTTO_OK;
    if (status != SOTTO_OK)
        return upload_refuse(c, to, SOTTO_INVALID, 0, why.message, err);
    if (in->exchange != SECAGG_MASKED) {
        const struct wire_hash hash = wire_hash_of(WIRE_LABEL_REPORT, payload),
                               announced = u->receiver.hash;
        upload_drop(t, u);
        if (!wire_hash_equal(&hash, &announced))
            return upload_refuse(c, to, SOTTO_CORRUPT, 1000,
                                 "the message does not have the announced hash; send it again",
                                 err);
        return take(t, to, in->attempt, in->exchange, payload, payload.n, &hash, err);
    }
    status = upload_file(t, to->serial, in->attempt, true, path, sizeof path, err);
    if (status != SOTTO_OK)
        return status;
    if (upload_write(path, in->index, payload, &why) != SOTTO_OK) {
        upload_drop(t, u);
        return upload_trouble(c, to, &why, err);
    }
    if (chunk_receiver_done(&u->receiver))
        return take_masked(t, u, to, err);
    uint32_t index, count;
    if (chunk_receiver_grant(&u->receiver, &index, &count))
        return secure_grant(c, to, &terms, u, index, count, err);
    return SOTTO_OK;
}
