/* Messages from devices: enrolment, check-in, package requests, heartbeats, declines. */
#include "daemon/daemon_int.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define DAY_MS             INT64_C(86400000)
#define SEEN_EVERY_MS      30000 /* a device's last-seen time is written at most so often */
#define PACKAGE_CHUNKS_MAX CHUNK_CREDIT_MAX

/* ---- Enrolment
 * ------------------------------------------------------------------------------------------------------
 */

static enum sotto_status enroll_check(struct coordinator *c, const struct transport_message *m,
                                      const struct id_cert *cert, bool *known,
                                      struct sotto_error *err) {
    struct store_ticket ticket;
    struct store_device device;
    enum sotto_status status;
    *known = false;
    if (memcmp(cert->ticket.curve_key, m->curve_key, ID_KEY) != 0)
        TRY_FAIL(err, SOTTO_DENIED, "the connection's key is not the token's");
    status = store_ticket_get(c->store, cert->ticket.serial, &ticket, NULL);
    if (status != SOTTO_OK || memcmp(&ticket.ticket, &cert->ticket, sizeof ticket.ticket) != 0)
        TRY_FAIL(err, SOTTO_DENIED, "this coordinator does not know the token");
    status = store_device_get(c->store, cert->ticket.serial, &device, NULL);
    if (status == SOTTO_OK) {
        if (memcmp(device.device_key, cert->device_key, ID_KEY) != 0 ||
            memcmp(device.curve_key, cert->device_curve, ID_KEY) != 0)
            TRY_FAIL(err, SOTTO_DENIED, "the token was used by another device already");
        if (device.revoked_ms)
            TRY_FAIL(err, SOTTO_DENIED, "this device was revoked");
        *known = true;
        return SOTTO_OK;
    }
    if (ticket.spent)
        TRY_FAIL(err, SOTTO_DENIED, "the token was used already");
    if (cert->ticket.expiry_ms <= clock_wall_ms())
        TRY_FAIL(err, SOTTO_DENIED, "the token has expired; ask the operator for a new one");
    status = SOTTO_OK;
out:
    return status;
}

/* DENIED in *verdict: the device's keys are another's. */
static enum sotto_status enroll_store(struct coordinator *c, const struct id_cert *cert,
                                      const char *version, enum sotto_status *verdict,
                                      struct sotto_error *why, struct sotto_error *err) {
    enum sotto_status status;
    int64_t now = clock_wall_ms();
    bool known = false;
    char text[96];
    TRY(store_begin(c->store, err));
    TRY(store_curve_known(c->store, cert->device_curve, &known, err));
    *verdict = known ? SOTTO_FAIL(why, SOTTO_DENIED, "the device's CURVE key is in use already")
                     : store_device_add(c->store, cert, version, now, why);
    if (*verdict != SOTTO_OK)
        return *verdict == SOTTO_DENIED ? SOTTO_OK : SOTTO_FAIL(err, *verdict, "%s", why->message);
    snprintf(text, sizeof text, "device %llu enrolled", (unsigned long long)cert->ticket.serial);
    TRY(store_event_add(c->store, now, "device.enroll", "", 0, text, err));
    TRY(transport_gate_allow(c->gate, cert->device_curve, TRANSPORT_DEVICE, cert->ticket.serial,
                             0));
    LOG(LOG_INFO, "device.enroll", LU("serial", cert->ticket.serial), LS("version", version));
    c->enrolled++;
    for (uint32_t i = 0; i < c->task_count; i++) {
        struct round_event add = {
            .kind = ROUND_EV_DEVICE_ADD, .now_ms = clock_mono_ms(), .serial = cert->ticket.serial};
        TRY(task_event(c->tasks[i], &add, NULL, err));
    }
out:
    return status;
}

static enum sotto_status on_enroll(struct coordinator *c, const struct reply_to *to,
                                   const struct transport_message *m, const sotto_Enroll *in,
                                   struct sotto_error *err) {
    struct id_cert cert;
    struct sotto_error why = SOTTO_ERROR_INIT;
    bool known = false;
    sotto_Envelope e = sotto_Envelope_init_zero;
    e.version = WIRE_VERSION;
    e.which_body = sotto_Envelope_enroll_reply_tag;
    sotto_EnrollReply *reply = &e.body.enroll_reply;
    enum sotto_status verdict = id_cert_decode(view_of(in->certificate.bytes, in->certificate.size),
                                               c->authority_key, &cert, &why);
    if (verdict == SOTTO_OK)
        verdict = enroll_check(c, m, &cert, &known, &why);
    if (store_failed(c->store))
        return SOTTO_FAIL(err, SOTTO_IO, "the store cannot be read: %s", why.message);
    if (verdict == SOTTO_OK && c->document_bytes.len == 0)
        verdict = SOTTO_FAIL(&why, SOTTO_STATE, "this coordinator has no certified document yet");
    if (verdict == SOTTO_OK && !known) {
        enum sotto_status status = enroll_store(c, &cert, in->version, &verdict, &why, err);
        if (status != SOTTO_OK)
            return status;
    }
    reply->status = (uint32_t)verdict;
    reply->serial = verdict == SOTTO_OK ? cert.ticket.serial : 0;
    WIRE_SET_TEXT(reply->reason, verdict == SOTTO_OK ? "" : why.message);
    if (verdict != SOTTO_OK) {
        c->rejected++;
        LOG(LOG_WARN, "device.enroll_refused", LU("serial", m->serial), LS("reason", why.message));
    }
    return outbox_send(c->outbox, to, &e,
                       verdict == SOTTO_OK ? buf_view(&c->document_bytes) : view_of(NULL, 0), err);
}

/* ---- Check-in
 * ---------------------------------------------------------------------------------------------------------
 */

enum sotto_status outcome_of(struct coordinator *c, uint64_t serial, const struct wire_hash *terms,
                             bool held, sotto_Outcome *out, struct sotto_error *err) {
    struct store_round round;
    enum sotto_status status = store_outcome_get(c->store, serial, terms, out, err);
    if (status != SOTTO_NOT_FOUND)
        return status;
    /* A report that was acknowledged but is known no longer was summed long ago; one that never
     * arrived was not. */
    *out = held ? sotto_Outcome_OUTCOME_RETURNED : sotto_Outcome_OUTCOME_KEPT;
    status = store_round_by_terms(c->store, terms, &round, err);
    if (status == SOTTO_NOT_FOUND)
        return SOTTO_OK; /* nor will it ever be known: the answer needs no record */
    if (status != SOTTO_OK)
        return status;
    if (round.state == STORE_ROUND_OPEN || round.state == STORE_ROUND_ADVANCING) {
        struct task_host *t = task_by_terms(c, terms);
        if (!t) { /* its task is not loaded: it goes on when it is */
            *out = sotto_Outcome_OUTCOME_OPEN;
            return SOTTO_OK;
        }
        const struct round_member *m = round_member_find(t->engine, serial);
        if (!m)
            return SOTTO_OK;
        if (m->state != ROUND_DECLINED && m->state != ROUND_DROPPED) {
            *out = sotto_Outcome_OUTCOME_OPEN;
            return SOTTO_OK;
        }
    } else if (round.closed_ms < clock_wall_ms() - (int64_t)c->config.keep_outcomes_days * DAY_MS) {
        *out = sotto_Outcome_OUTCOME_KEPT; /* too long ago to say */
        return SOTTO_OK;
    }
    status = store_begin(c->store, err);
    if (status == SOTTO_OK)
        status = store_outcome_set(c->store, serial, terms, *out, clock_wall_ms(), err);
    return status;
}

static enum sotto_status add_outcome(struct coordinator *c, uint64_t serial,
                                     const struct wire_hash *terms, bool held,
                                     sotto_CheckInReply *reply, struct sotto_error *err) {
    sotto_Outcome outcome;
    if (reply->outcomes_count == ARRAY_LEN(reply->outcomes))
        return SOTTO_OK;
    enum sotto_status status = outcome_of(c, serial, terms, held, &outcome, err);
    if (status != SOTTO_OK || (held && outcome == sotto_Outcome_OUTCOME_OPEN))
        return status;
    sotto_ReportOutcome *o = &reply->outcomes[reply->outcomes_count++];
    WIRE_SET_HASH(o->terms_hash, terms);
    o->outcome = outcome;
    return SOTTO_OK;
}

/* Speeds differ a little each time; a write is for a change that somebody would look at. */
static bool other_speed(double was, double now) {
    return fabs(now - was) > 0.1 * was;
}

static enum sotto_status note_seen(struct coordinator *c, uint64_t serial, const sotto_CheckIn *in,
                                   struct sotto_error *err) {
    struct store_device d;
    enum sotto_status status = store_device_get(c->store, serial, &d, err);
    if (status != SOTTO_OK)
        return status;
    int64_t now = clock_wall_ms();
    double speed = (double)in->samples_per_s;
    if (speed == 0 && strcmp(d.backend, in->backend) == 0)
        speed = d.samples_per_s; /* after a restart it has not trained again yet */
    if (d.seen_ms <= now && now - d.seen_ms < SEEN_EVERY_MS &&
        strcmp(d.backend, in->backend) == 0 && strcmp(d.tier, in->tier) == 0 &&
        strcmp(d.version, in->version) == 0 && !other_speed(d.samples_per_s, speed))
        return SOTTO_OK;
    status = store_begin(c->store, err);
    return status == SOTTO_OK ? store_device_seen(c->store, serial, now, in->version, in->tier,
                                                  in->backend, speed, err)
                              : status;
}

static enum sotto_status ask_tasks(struct coordinator *c, struct reply_to *to,
                                   const sotto_CheckIn *in, struct sotto_error *err) {
    struct wire_hash held = {{0}};
    if (in->terms_held.size == WIRE_HASH)
        memcpy(held.b, in->terms_held.bytes, WIRE_HASH);
    for (uint32_t pass = 0; pass < 2; pass++) /* the task whose terms the device holds goes first */
        for (uint32_t i = 0; i < c->task_count && !to->planned; i++) {
            /* The others in turn: a busy task must not have all devices. */
            struct task_host *t = c->tasks[(i + c->checkins) % c->task_count];
            bool holds = t->round_live && wire_hash_equal(&held, &t->round.terms_hash);
            if (holds != (pass == 0))
                continue;
            struct round_event e = {.kind = ROUND_EV_CHECK_IN,
                                    .now_ms = clock_mono_ms(),
                                    .serial = to->serial,
                                    .round = t->round_live ? t->round.round : 0,
                                    .holds_terms = holds};
            enum sotto_status status = task_event(t, &e, to, err);
            if (status != SOTTO_OK)
                return status;
        }
    return SOTTO_OK;
}

static enum sotto_status on_check_in(struct coordinator *c, struct reply_to *to,
                                     const sotto_CheckIn *in, struct sotto_error *err) {
    enum sotto_status status;
    sotto_Envelope *e = mem_zalloc(sizeof *e);
    if (!e)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "check-in: out of memory");
    e->version = WIRE_VERSION;
    e->which_body = sotto_Envelope_check_in_reply_tag;
    sotto_CheckInReply *reply = &e->body.check_in_reply;
    c->checkins++;
    to->check_in = reply;
    TRY(note_seen(c, to->serial, in, err));
    TRY(ask_tasks(c, to, in, err));
    for (pb_size_t i = 0; i < in->open_reports_count; i++) {
        struct wire_hash terms;
        WIRE_GET_HASH(in->open_reports[i].terms_hash, &terms);
        TRY(add_outcome(c, to->serial, &terms, false, reply, err));
    }
    if (in->terms_held.size == WIRE_HASH) {
        struct wire_hash terms;
        WIRE_GET_HASH(in->terms_held, &terms);
        struct task_host *t = to->planned ? task_by_terms(c, &terms) : NULL;
        bool same = t && memcmp(reply->invitation.terms_hash.bytes, terms.b, WIRE_HASH) == 0;
        if (!same)
            TRY(add_outcome(c, to->serial, &terms, true, reply, err));
    }
    if (to->planned) {
        reply->invitation.serial = to->serial;
        reply->invitation.nonce.size = in->nonce.size;
        memcpy(reply->invitation.nonce.bytes, in->nonce.bytes, in->nonce.size);
    } else if (reply->come_back_ms == 0) {
        reply->come_back_ms = 5000;
        if (!reply->reason[0])
            WIRE_SET_TEXT(reply->reason, "no task is running");
    }
    reply->document_follows =
        c->document_bytes.len > 0 && c->document.version > in->document_version;
    TRY(outbox_send(c->outbox, to, e,
                    reply->document_follows ? buf_view(&c->document_bytes) : view_of(NULL, 0),
                    err));
out:
    mem_free(e);
    return status;
}

/* ---- Packages
 * ---------------------------------------------------------------------------------------------------------
 */

/* The delta from base to hash, made once and kept while the version is; false when it does not pay.
 */
static bool delta_file(struct coordinator *c, const struct wire_hash *base,
                       const struct wire_hash *hash, char *path, size_t cap) {
    char base_path[IO_PATH_MAX], target_path[IO_PATH_MAX], name[2 * WIRE_HASH * 2 + 2],
        hex[2 * WIRE_HASH + 1];
    struct buf old, target, delta;
    bool good = false;
    num_format_hex(hex, base->b, WIRE_HASH);
    memcpy(name, hex, 2 * WIRE_HASH);
    name[2 * WIRE_HASH] = '-';
    num_format_hex(name + 2 * WIRE_HASH + 1, hash->b, WIRE_HASH);
    char dir[IO_PATH_MAX];
    if (io_join(dir, sizeof dir, c->state_dir, "blobs/deltas", NULL) != SOTTO_OK ||
        io_join(path, cap, dir, name, NULL) != SOTTO_OK)
        return false;
    if (io_exists(path))
        return io_file_size(path) > 0; /* an empty file: it did not pay */
    if (blob_path(c, "packages", base, base_path, sizeof base_path, NULL) != SOTTO_OK ||
        !io_exists(base_path) ||
        blob_path(c, "packages", hash, target_path, sizeof target_path, NULL) != SOTTO_OK)
        return false;
    buf_init(&old, PACKAGE_BYTES_MAX);
    buf_init(&target, PACKAGE_BYTES_MAX);
    buf_init(&delta, PACKAGE_BYTES_MAX);
    if (io_read_file(base_path, PACKAGE_BYTES_MAX, &old, NULL) == SOTTO_OK &&
        io_read_file(target_path, PACKAGE_BYTES_MAX, &target, NULL) == SOTTO_OK &&
        package_delta_encode(buf_view(&old), buf_view(&target), &delta, NULL) == SOTTO_OK) {
        good = delta.len < target.len;
    }
    /* Kept too when it does not pay or cannot be made: it is not tried again. */
    if (io_write_file(path, delta.data, good ? delta.len : 0, 0600, false, NULL) != SOTTO_OK)
        good = false;
    buf_deinit(&old);
    buf_deinit(&target);
    buf_deinit(&delta);
    return good;
}

/* Sends one chunk past the outbox: it changes nothing, so it waits for no commit, and a megabyte a
 * request is not piled up in memory. BUSY when the peer's queue is full. */
static enum sotto_status send_chunk(struct coordinator *c, const struct reply_to *to, int fd,
                                    sotto_Envelope *e, uint32_t index, uint8_t *chunk,
                                    struct buf *control, uint64_t *moved) {
    sotto_PackageChunk *m = &e->body.package_chunk;
    uint32_t size = chunk_size(m->bytes, index);
    m->index = index;
    if (pread(fd, chunk, size, (off_t)index * CHUNK_BYTES) != (ssize_t)size)
        return SOTTO_IO;
    enum sotto_status status = wire_encode(e, control, NULL);
    if (status == SOTTO_OK)
        status = transport_server_send(to->server, to->peer, buf_view(control),
                                       view_of(chunk, size), NULL);
    if (status != SOTTO_OK)
        return status;
    *moved += size;
    for (uint32_t i = 0; i < c->task_count; i++)
        if (memcmp(c->tasks[i]->version.package_hash.b, m->hash.bytes, WIRE_HASH) == 0) {
            c->tasks[i]->round.bytes_down += size;
            c->tasks[i]->down_changed = true;
        }
    return SOTTO_OK;
}

/* Opens the package's file, or the delta's when one was asked for and pays. */
static int open_package(struct coordinator *c, const sotto_GetPackage *in,
                        const struct wire_hash *hash, sotto_PackageChunk *m) {
    char path[IO_PATH_MAX];
    struct wire_hash base;
    if (in->base.size == WIRE_HASH) {
        WIRE_GET_HASH(in->base, &base);
        m->delta = delta_file(c, &base, hash, path, sizeof path);
    }
    if (!m->delta && blob_path(c, "packages", hash, path, sizeof path, NULL) != SOTTO_OK)
        return -1;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    off_t size = fd >= 0 ? lseek(fd, 0, SEEK_END) : -1;
    m->bytes = (uint64_t)(size < 0 ? 0 : size);
    m->chunks = chunk_count(m->bytes);
    WIRE_SET_HASH(m->hash, hash);
    return fd;
}

enum sotto_status package_request(struct coordinator *c, const struct reply_to *to,
                                  const sotto_GetPackage *in, struct sotto_error *err) {
    struct wire_hash hash;
    struct buf control;
    sotto_Envelope e = sotto_Envelope_init_zero;
    bool used = false;
    WIRE_GET_HASH(in->hash, &hash);
    enum sotto_status status = store_blob_used(c->store, &hash, &used, err);
    if (status != SOTTO_OK)
        return status;
    if (!used)
        return outbox_send_error(c->outbox, to, SOTTO_NOT_FOUND, 1000,
                                 "this package is not served any more; check in again", err);
    e.version = WIRE_VERSION;
    e.which_body = sotto_Envelope_package_chunk_tag;
    sotto_PackageChunk *m = &e.body.package_chunk;
    buf_init(&control, WIRE_CONTROL_MAX);
    uint8_t *chunk = mem_alloc(CHUNK_BYTES);
    int fd = chunk ? open_package(c, in, &hash, m) : -1;
    enum sotto_status sent = fd < 0 ? SOTTO_IO : SOTTO_OK;
    uint64_t count = num_min_u64(in->count, PACKAGE_CHUNKS_MAX), moved = 0;
    for (uint64_t i = in->index; i < (uint64_t)in->index + count && i < m->chunks; i++) {
        sent = sent == SOTTO_OK ? send_chunk(c, to, fd, &e, (uint32_t)i, chunk, &control, &moved)
                                : sent;
        if (sent != SOTTO_OK)
            break; /* BUSY, UNREACHABLE: lost chunks are asked for again */
    }
    if (sent == SOTTO_IO) {
        char hex[2 * WIRE_HASH + 1];
        LOG(LOG_ERROR, "package.unreadable", LS("hash", num_format_hex(hex, hash.b, WIRE_HASH)));
        status = outbox_send_error(c->outbox, to, SOTTO_BUSY, 10000,
                                   "the package cannot be read now; try later", err);
    }
    if (moved > 0 && status == SOTTO_OK && (status = store_begin(c->store, err)) == SOTTO_OK)
        status = store_device_moved(c->store, to->serial, 0, moved, err);
    if (fd >= 0)
        close(fd);
    buf_deinit(&control);
    mem_free(chunk);
    return status;
}

/* ---- Heartbeats, declines, dispatch
 * ----------------------------------------------------------------------------------- */

static enum sotto_status on_heartbeat(struct coordinator *c, struct reply_to *to,
                                      const sotto_Heartbeat *in, struct sotto_error *err) {
    struct wire_hash terms;
    WIRE_GET_HASH(in->terms_hash, &terms);
    to->terms = &terms;
    struct task_host *t = task_by_terms(c, &terms);
    if (t) {
        struct round_event e = {.kind = ROUND_EV_HEARTBEAT,
                                .now_ms = clock_mono_ms(),
                                .serial = to->serial,
                                .round = t->round.round};
        return task_event(t, &e, to, err);
    }
    struct round_action a = {.kind = ROUND_DO_ABORT};
    sotto_Envelope e = sotto_Envelope_init_zero;
    e.version = WIRE_VERSION;
    e.which_body = sotto_Envelope_heartbeat_reply_tag;
    WIRE_SET_HASH(e.body.heartbeat_reply.terms_hash, &terms);
    e.body.heartbeat_reply.abort = a.kind == ROUND_DO_ABORT;
    WIRE_SET_TEXT(e.body.heartbeat_reply.reason, "the round has ended");
    return outbox_send(c->outbox, to, &e, view_of(NULL, 0), err);
}

static enum sotto_status on_decline(struct coordinator *c, struct reply_to *to,
                                    const sotto_Decline *in, struct sotto_error *err) {
    struct wire_hash terms;
    enum sotto_status status = SOTTO_OK;
    WIRE_GET_HASH(in->terms_hash, &terms);
    struct task_host *t = task_by_terms(c, &terms);
    uint64_t pace = 5000;
    LOG(LOG_DEBUG, "device.decline", LU("serial", to->serial), LS("rule", in->rule),
        LS("detail", in->detail));
    if (t)
        pace = t->settings.pace_ms;
    const struct round_member *m = t ? round_member_find(t->engine, to->serial) : NULL;
    if (m && (m->state == ROUND_INVITED || m->state == ROUND_PLANNED ||
              (m->state == ROUND_READY && m->out == 0))) { /* once a round */
        char text[240];
        struct round_event e = {.kind = ROUND_EV_DECLINE,
                                .now_ms = clock_mono_ms(),
                                .serial = to->serial,
                                .round = t->round.round};
        snprintf(text, sizeof text, "device %llu declined: %s %s", (unsigned long long)to->serial,
                 in->rule, in->detail);
        TRY(task_event_log(t, "device.decline", t->round.round, text, err));
        TRY(task_event(t, &e, NULL, err));
    }
    sotto_Envelope e = sotto_Envelope_init_zero;
    e.version = WIRE_VERSION;
    e.which_body = sotto_Envelope_decline_reply_tag;
    WIRE_SET_HASH(e.body.decline_reply.terms_hash, &terms);
    e.body.decline_reply.come_back_ms = pace;
    TRY(outbox_send(c->outbox, to, &e, view_of(NULL, 0), err));
out:
    return status;
}

static enum sotto_status dispatch(struct coordinator *c, struct reply_to *to,
                                  const struct transport_message *m, const sotto_Envelope *e,
                                  struct sotto_error *err) {
    if (e->which_body == sotto_Envelope_enroll_tag)
        return m->role == TRANSPORT_ENROLL
                   ? on_enroll(c, to, m, &e->body.enroll, err)
                   : outbox_send_error(c->outbox, to, SOTTO_STATE, 0, "enrolled already", err);
    if (m->role != TRANSPORT_DEVICE) {
        c->rejected++;
        return outbox_send_error(c->outbox, to, SOTTO_DENIED, 0, "a token's key may only enrol",
                                 err);
    }
    switch (e->which_body) {
    case sotto_Envelope_check_in_tag:
        return on_check_in(c, to, &e->body.check_in, err);
    case sotto_Envelope_get_package_tag:
        return package_request(c, to, &e->body.get_package, err);
    case sotto_Envelope_report_open_tag:
        return upload_open(c, to, &e->body.report_open, err);
    case sotto_Envelope_report_chunk_tag:
        return upload_chunk(c, to, &e->body.report_chunk, m->payload, err);
    case sotto_Envelope_secure_ready_tag:
        return secure_ready(c, to, &e->body.secure_ready, err);
    case sotto_Envelope_secure_get_tag:
        return secure_get(c, to, &e->body.secure_get, err);
    case sotto_Envelope_heartbeat_tag:
        return on_heartbeat(c, to, &e->body.heartbeat, err);
    case sotto_Envelope_decline_tag:
        return on_decline(c, to, &e->body.decline, err);
    default:
        c->rejected++;
        return outbox_send_error(c->outbox, to, SOTTO_INVALID, 0, "not a message for a coordinator",
                                 err);
    }
}

enum sotto_status device_message(struct coordinator *c, struct transport_server *server,
                                 const struct transport_message *m, struct sotto_error *err) {
    struct reply_to to = {.server = server, .peer = m->peer, .serial = m->serial};
    struct sotto_error why = SOTTO_ERROR_INIT;
    sotto_Envelope *e = mem_alloc(sizeof *e);
    if (!e)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "device message: out of memory");
    enum sotto_status status = wire_decode(m->control, e, &why);
    if (status != SOTTO_OK) {
        c->rejected++;
        LOG(LOG_WARN, "device.bad_message", LU("serial", m->serial), LS("reason", why.message));
        status = outbox_send_error(c->outbox, &to,
                                   status == SOTTO_VERSION ? SOTTO_VERSION : SOTTO_CORRUPT, 0,
                                   why.message, err);
    } else {
        status = dispatch(c, &to, m, e, err);
    }
    mem_free(e);
    return status;
}
