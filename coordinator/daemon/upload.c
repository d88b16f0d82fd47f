/* Uploads of reports: chunks into a file, resumed after a broken link, whole before the engine
 * hears of them. */
#include "daemon/secure_int.h"
#include "daemon/upload_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define RETRY_FULL_MS 60000
#define RETRY_IO_MS   10000

enum sotto_status upload_dir(const struct coordinator *c, const struct wire_hash *terms, char *out,
                             size_t cap, struct sotto_error *err) {
    char hex[2 * WIRE_HASH + 1], dir[IO_PATH_MAX];
    enum sotto_status status = io_join(dir, sizeof dir, c->state_dir, "uploads", err);
    return status == SOTTO_OK
               ? io_join(out, cap, dir, num_format_hex(hex, terms->b, WIRE_HASH), err)
               : status;
}

enum sotto_status upload_path(const struct coordinator *c, const struct wire_hash *terms,
                              uint64_t serial, bool part, char *out, size_t cap,
                              struct sotto_error *err) {
    char dir[IO_PATH_MAX], name[40];
    enum sotto_status status = upload_dir(c, terms, dir, sizeof dir, err);
    snprintf(name, sizeof name, "%llu%s", (unsigned long long)serial, part ? ".part" : ".report");
    return status == SOTTO_OK ? io_join(out, cap, dir, name, err) : status;
}

enum sotto_status upload_file(const struct task_host *t, uint64_t serial, uint32_t attempt,
                              bool part, char *out, size_t cap, struct sotto_error *err) {
    return attempt ? masked_path(t->c, &t->round.terms_hash, serial, attempt, part, out, cap, err)
                   : upload_path(t->c, &t->round.terms_hash, serial, part, out, cap, err);
}

static enum sotto_status upload_ack(struct coordinator *c, const struct reply_to *to,
                                    const struct wire_hash *terms, enum sotto_status what,
                                    sotto_Outcome outcome, uint64_t come_back_ms,
                                    const char *reason, struct sotto_error *err) {
    sotto_Envelope e = sotto_Envelope_init_zero;
    e.version = WIRE_VERSION;
    e.which_body = sotto_Envelope_report_ack_tag;
    WIRE_SET_HASH(e.body.report_ack.terms_hash, terms);
    e.body.report_ack.status = (uint32_t)what;
    e.body.report_ack.outcome = outcome;
    e.body.report_ack.come_back_ms = come_back_ms;
    WIRE_SET_TEXT(e.body.report_ack.reason, reason);
    return outbox_send(c->outbox, to, &e, view_of(NULL, 0), err);
}

static enum sotto_status upload_grant(struct coordinator *c, const struct reply_to *to,
                                      const struct wire_hash *terms, uint32_t index, uint32_t count,
                                      struct sotto_error *err) {
    sotto_Envelope e = sotto_Envelope_init_zero;
    e.version = WIRE_VERSION;
    e.which_body = sotto_Envelope_report_grant_tag;
    WIRE_SET_HASH(e.body.report_grant.terms_hash, terms);
    e.body.report_grant.next_index = index;
    e.body.report_grant.credit = count;
    return outbox_send(c->outbox, to, &e, view_of(NULL, 0), err);
}

enum sotto_status upload_refuse(struct coordinator *c, const struct reply_to *to,
                                enum sotto_status what, uint64_t retry_ms, const char *text,
                                struct sotto_error *err) {
    c->rejected++;
    return outbox_send_error(c->outbox, to, what, retry_ms, text, err);
}

/* A report under terms that are not open (any more): the outcome, stored before it is said. */
static enum sotto_status upload_closed(struct coordinator *c, const struct reply_to *to,
                                       const struct wire_hash *terms, struct sotto_error *err) {
    sotto_Outcome outcome;
    enum sotto_status status = outcome_of(c, to->serial, terms, true, &outcome, err);
    if (status != SOTTO_OK)
        return status;
    if (outcome == sotto_Outcome_OUTCOME_OPEN)
        return upload_refuse(
            c, to, SOTTO_BUSY, RETRY_FULL_MS,
            "the report's task is not loaded at present; keep the report and try later", err);
    return upload_ack(c, to, terms,
                      outcome == sotto_Outcome_OUTCOME_RETURNED ? SOTTO_STATE : SOTTO_OK, outcome,
                      0, "the round has ended", err);
}

/* A fault of our own disk: the device keeps its report and tries again. */
enum sotto_status upload_trouble(struct coordinator *c, const struct reply_to *to,
                                 const struct sotto_error *why, struct sotto_error *err) {
    bool full = why->status == SOTTO_FULL || why->sys_errno == ENOSPC || why->sys_errno == EDQUOT ||
                why->sys_errno == EFBIG;
    LOG(LOG_ERROR, "report.not_stored", LU("serial", to->serial), LS("reason", why->message));
    c->disk_checked_ms = 0;
    return full
               ? upload_refuse(c, to, SOTTO_FULL, RETRY_FULL_MS,
                               "the coordinator's disk is full; keep the report and try later", err)
               : upload_refuse(c, to, SOTTO_BUSY, RETRY_IO_MS,
                               "the coordinator cannot store reports now; keep it and try later",
                               err);
}

/* Whether the member's report may still come: its group takes reports and nothing was said of it.
 */
static bool awaited(struct task_host *t, const struct round_member *m) {
    uint32_t groups = 0;
    const struct round_group *g = round_groups(t->engine, &groups);
    return (m->state == ROUND_INVITED || m->state == ROUND_PLANNED) && m->group < groups &&
           g[m->group].state == ROUND_GROUP_RUNNING;
}

static bool stored(const struct round_member *m) {
    return m->state == ROUND_STORED || m->state == ROUND_CHECKED || m->state == ROUND_REJECTED;
}

void upload_drop(struct task_host *t, struct upload *u) {
    *u = t->uploads[--t->upload_count];
}

struct upload *upload_find(struct task_host *t, uint64_t serial) {
    for (uint32_t i = 0; i < t->upload_count; i++)
        if (t->uploads[i].serial == serial)
            return &t->uploads[i];
    return NULL;
}

/* The upload's state, made from the announcement; an interrupted one goes on behind its whole
 * chunks. */
enum sotto_status upload_begin(struct task_host *t, const struct reply_to *to,
                               const sotto_ReportOpen *in, struct upload **out,
                               struct sotto_error *err) {
    struct coordinator *c = t->c;
    enum sotto_status status;
    char dir[IO_PATH_MAX], path[IO_PATH_MAX];
    struct store_upload announced = {.bytes = in->bytes}, held;
    WIRE_GET_HASH(in->hash, &announced.hash);
    status = store_upload_get(c->store, &t->round.terms_hash, to->serial, in->attempt, &held, NULL);
    if (status == SOTTO_NOT_FOUND) {
        TRY(store_begin(c->store, err));
        TRY(store_upload_set(c->store, &t->round.terms_hash, to->serial, in->attempt, &announced,
                             err));
        held = announced;
    }
    if (held.bytes != announced.bytes || !wire_hash_equal(&held.hash, &announced.hash)) {
        *out = NULL;
        return upload_refuse(c, to, SOTTO_INVALID, 0,
                             "another report was announced under these terms; the first one holds",
                             err);
    }
    TRY(upload_dir(c, &t->round.terms_hash, dir, sizeof dir, err));
    *out = NULL;
    if (!io_exists(dir)) {
        struct sotto_error why = SOTTO_ERROR_INIT;
        char parent[IO_PATH_MAX];
        TRY(io_join(parent, sizeof parent, c->state_dir, "uploads", err));
        if (io_mkdir_p(dir, 0700, &why) != SOTTO_OK || io_fsync_dir(parent, &why) != SOTTO_OK)
            return upload_trouble(c, to, &why, err);
    }
    TRY(upload_file(t, to->serial, in->attempt, true, path, sizeof path, err));
    int64_t have = io_file_size(path);
    uint64_t chunks = have > 0 ? (uint64_t)have / CHUNK_BYTES : 0;
    if (chunks >= chunk_count(held.bytes))
        chunks = chunk_count(held.bytes) - 1;
    struct upload *u = upload_find(t, to->serial);
    if (!u) {
        struct upload *grown = mem_resize(t->uploads, t->upload_count + 1, sizeof *grown);
        if (!grown)
            TRY_FAIL(err, SOTTO_NOMEM, "uploads: out of memory");
        t->uploads = grown;
        u = &t->uploads[t->upload_count++];
    }
    u->serial = to->serial;
    u->attempt = (uint8_t)in->attempt;
    u->exchange = (uint8_t)in->exchange;
    status = chunk_receiver_init(&u->receiver, held.bytes, t->report_bytes_max, &held.hash,
                                 (uint32_t)chunks, DAEMON_UPLOAD_CREDIT, err);
    *out = u;
out:
    return status;
}

/* The report is in: what was acknowledged is acknowledged again, with what became of it since. */
static enum sotto_status acknowledge_again(struct coordinator *c, struct task_host *t,
                                           const struct reply_to *to, const struct wire_hash *terms,
                                           struct sotto_error *err) {
    sotto_Outcome outcome = sotto_Outcome_OUTCOME_OPEN;
    enum sotto_status status = outcome_of(c, to->serial, terms, false, &outcome, err);
    if (status != SOTTO_OK)
        return status;
    return upload_ack(c, to, terms,
                      outcome == sotto_Outcome_OUTCOME_RETURNED ? SOTTO_STATE : SOTTO_OK, outcome,
                      t->settings.pace_ms, "", err);
}

enum sotto_status upload_open(struct coordinator *c, const struct reply_to *to,
                              const sotto_ReportOpen *in, struct sotto_error *err) {
    struct wire_hash terms;
    enum sotto_status status;
    WIRE_GET_HASH(in->terms_hash, &terms);
    struct task_host *t = task_by_terms(c, &terms);
    if (in->exchange || (t && t->secure))
        return secure_open(c, t, to, in, err);
    const struct round_member *m = t ? round_member_find(t->engine, to->serial) : NULL;
    if (m && stored(m))
        return acknowledge_again(c, t, to, &terms, err);
    if (!m || !awaited(t, m))
        return upload_closed(c, to, &terms, err);
    if (in->bytes == 0 || in->bytes > t->report_bytes_max)
        return upload_refuse(c, to, SOTTO_LIMIT, 0, "the report is larger than the terms allow",
                             err);
    if (!upload_find(t, to->serial) && !keep_disk_take(c, in->bytes))
        return upload_refuse(c, to, SOTTO_FULL, RETRY_FULL_MS,
                             "the coordinator's disk is full; keep the report and try later", err);
    struct upload *u = NULL;
    status = upload_begin(t, to, in, &u, err);
    if (status != SOTTO_OK || !u)
        return status;
    uint32_t index = 0, count = 0;
    (void)chunk_receiver_grant(&u->receiver, &index, &count);
    return upload_grant(c, to, &terms, index, count, err);
}

enum sotto_status upload_write(const char *path, uint32_t index, struct view payload,
                               struct sotto_error *err) {
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return SOTTO_FAIL_SYS(err, SOTTO_IO, "%s: cannot be written", path);
    ssize_t put = pwrite(fd, payload.p, payload.n, (off_t)index * CHUNK_BYTES);
    enum sotto_status status = SOTTO_OK;
    if (put != (ssize_t)payload.n)
        status = SOTTO_FAIL_SYS(err, SOTTO_FULL, "%s: cannot be written", path);
    if (close(fd) != 0 && status == SOTTO_OK)
        status = SOTTO_FAIL_SYS(err, SOTTO_IO, "%s: cannot be written", path);
    return status;
}

/* Hash of the whole file, which is then durable under its final name. False: not the announced
 * bytes. */
static enum sotto_status upload_complete(struct task_host *t, const struct upload *u, bool *good,
                                         struct sotto_error *err) {
    enum sotto_status status;
    char part[IO_PATH_MAX], whole[IO_PATH_MAX], dir[IO_PATH_MAX];
    uint8_t *chunk = mem_alloc(CHUNK_BYTES);
    struct wire_hasher *hasher = wire_hasher_new(WIRE_LABEL_REPORT);
    int fd = -1;
    *good = false;
    if (!chunk || !hasher)
        TRY_FAIL(err, SOTTO_NOMEM, "upload: out of memory");
    TRY(upload_file(t, u->serial, u->attempt, true, part, sizeof part, err));
    TRY(upload_file(t, u->serial, u->attempt, false, whole, sizeof whole, err));
    TRY(upload_dir(t->c, &t->round.terms_hash, dir, sizeof dir, err));
    fd = open(part, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        TRY_FAIL(err, SOTTO_IO, "%s: vanished", part);
    if (ftruncate(fd, (off_t)u->receiver.bytes) != 0)
        TRY_FAIL(err, SOTTO_IO, "%s: cannot be cut to size", part);
    ssize_t got;
    while ((got = read(fd, chunk, CHUNK_BYTES)) > 0)
        wire_hasher_add(hasher, view_of(chunk, (size_t)got));
    struct wire_hash hash = wire_hasher_finish(hasher);
    hasher = NULL;
    *good = wire_hash_equal(&hash, &u->receiver.hash);
    if (!*good)
        goto out;
    if (fsync(fd) != 0 || rename(part, whole) != 0)
        TRY_FAIL(err, SOTTO_IO, "%s: cannot be made durable", part);
    TRY(io_fsync_dir(dir, err));
out:
    if (hasher)
        (void)wire_hasher_finish(hasher);
    if (fd >= 0)
        close(fd);
    mem_free(chunk);
    return status;
}

enum sotto_status upload_finish(struct task_host *t, struct upload *u, const struct reply_to *to,
                                bool *done, struct sotto_error *err) {
    bool good = false;
    struct sotto_error why = SOTTO_ERROR_INIT;
    const uint64_t serial = u->serial;
    enum sotto_status status = upload_complete(t, u, &good, &why);
    *done = false;
    if (status == SOTTO_NOMEM)
        return SOTTO_FAIL(err, status, "%s", why.message);
    if (status != SOTTO_OK || !good) { /* it is announced anew, and sent from the start */
        char part[IO_PATH_MAX];
        if (upload_file(t, serial, u->attempt, true, part, sizeof part, NULL) == SOTTO_OK)
            (void)io_remove(part, NULL);
        upload_drop(t, u);
    }
    if (status != SOTTO_OK)
        return upload_trouble(t->c, to, &why, err);
    if (!good) {
        LOG(LOG_WARN, "report.wrong_hash", LU("serial", serial));
        return upload_refuse(t->c, to, SOTTO_CORRUPT, 1000,
                             "the report's bytes do not have the announced hash; send it again",
                             err);
    }
    upload_drop(t, u);
    *done = true;
    return SOTTO_OK;
}

static enum sotto_status finish(struct task_host *t, struct upload *u, struct reply_to *to,
                                struct sotto_error *err) {
    bool done;
    struct round_event e = {.kind = ROUND_EV_REPORT,
                            .now_ms = clock_mono_ms(),
                            .serial = u->serial,
                            .round = t->round.round};
    enum sotto_status status = upload_finish(t, u, to, &done, err);
    return status == SOTTO_OK && done ? task_event(t, &e, to, err) : status;
}

enum sotto_status upload_chunk(struct coordinator *c, const struct reply_to *to,
                               const sotto_ReportChunk *in, struct view payload,
                               struct sotto_error *err) {
    struct wire_hash terms;
    struct sotto_error why = SOTTO_ERROR_INIT;
    char path[IO_PATH_MAX];
    WIRE_GET_HASH(in->terms_hash, &terms);
    struct task_host *t = task_by_terms(c, &terms);
    if (in->exchange || (t && t->secure))
        return secure_chunk(c, t, to, in, payload, err);
    const struct round_member *m = t ? round_member_find(t->engine, to->serial) : NULL;
    if (m && stored(m))
        return acknowledge_again(c, t, to, &terms, err);
    if (!m || !awaited(t, m))
        return upload_closed(c, to, &terms, err);
    struct upload *u = upload_find(t, to->serial);
    if (!u)
        return upload_refuse(c, to, SOTTO_STATE, 0, "announce the report first", err);
    enum sotto_status status = chunk_receiver_accept(&u->receiver, in->index, payload.n, &why);
    if (status == SOTTO_EXISTS)
        return SOTTO_OK;
    if (status != SOTTO_OK)
        return upload_refuse(c, to, SOTTO_INVALID, 0, why.message, err);
    status = upload_path(c, &terms, to->serial, true, path, sizeof path, err);
    if (status != SOTTO_OK)
        return status;
    if (upload_write(path, in->index, payload, &why) != SOTTO_OK) {
        upload_drop(t, u); /* announced anew, it goes on behind its last whole chunk */
        return upload_trouble(c, to, &why, err);
    }
    struct reply_to answer = *to;
    answer.terms = &terms;
    if (chunk_receiver_done(&u->receiver))
        return finish(t, u, &answer, err);
    uint32_t index, count;
    if (chunk_receiver_grant(&u->receiver, &index, &count))
        return upload_grant(c, to, &terms, index, count, err);
    return SOTTO_OK;
}
