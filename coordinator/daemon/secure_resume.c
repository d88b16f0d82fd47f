/* Secure rounds after a restart: what the store knows of a session is shown to a new one, which
 * then says the same as the old one did. Where that cannot be, the engine hears why. */
#include "daemon/secure_int.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const uint32_t exchanges[] = {SECAGG_ADVERTISE, SECAGG_SHARES, SECAGG_MASKED,
                                     SECAGG_SIGNATURE, SECAGG_UNMASK};

/* ---- What the engine is given
 * ---------------------------------------------------------------------------------------- */

struct marking {
    struct round_member *members;
    uint32_t count;
    uint32_t exchange;
    uint64_t bytes;
};

static enum sotto_status mark_sent(void *ctx, const struct store_message *message) {
    struct marking *k = ctx;
    k->bytes += message->bytes;
    uint32_t low = 0, high = k->count;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (k->members[middle].serial < message->serial)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < k->count && k->members[low].serial == message->serial && k->members[low].out == 0)
        k->members[low].sent = (uint8_t)k->exchange;
    return SOTTO_OK;
}

/* Where the group's session stands: messages and closes say who is in. */
static enum sotto_status saved_group(struct task_host *t, uint32_t index, struct round_group *g,
                                     struct round_member *members, uint32_t count,
                                     struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct marking marking = {members, count, 0, 0};
    struct store_device d;
    for (size_t i = 0; i < ARRAY_LEN(exchanges); i++) {
        bool closed = false;
        g->exchange = (uint8_t)exchanges[i];
        marking.exchange = exchanges[i];
        const uint64_t before = marking.bytes;
        TRY(store_message_each(t->c->store, t->row.id, t->round.round, index, g->attempt,
                               exchanges[i], mark_sent, &marking, err));
        if (exchanges[i] != SECAGG_MASKED) /* those are counted with their members */
            t->round.bytes_up += marking.bytes - before;
        t->secure->groups[index].row.bytes_up = marking.bytes;
        TRY(store_close_get(t->c->store, t->row.id, t->round.round, index, g->attempt, exchanges[i],
                            &closed, err));
        if (!closed || exchanges[i] == SECAGG_UNMASK)
            break; /* an unmasking that was closed is closed again, and summed */
        for (uint32_t k = 0; k < count; k++)
            if (members[k].group == index && members[k].attempt == g->attempt &&
                members[k].out == 0 && members[k].sent != exchanges[i])
                members[k].out = (uint8_t)exchanges[i];
    }
    for (uint32_t k = 0; k < count; k++) {
        if (members[k].group != index || members[k].attempt != g->attempt || members[k].out)
            continue;
        status = store_device_get(t->c->store, members[k].serial, &d, err);
        if (status != SOTTO_NOT_FOUND)
            TRY(status);
        if (status == SOTTO_NOT_FOUND || d.revoked_ms)
            members[k].out = g->exchange;
        status = SOTTO_OK;
    }
out:
    return status;
}

enum sotto_status secure_saved(struct task_host *t, struct round_member *members, uint32_t count,
                               struct round_group *groups, uint32_t group_count,
                               struct sotto_error *err) {
    enum sotto_status status;
    struct store_secure *rows = NULL;
    uint32_t row_count = 0;
    TRY(store_secure_list(t->c->store, t->row.id, t->round.round, &rows, &row_count, err));
    TRY(secure_groups_new(t, group_count, err));
    for (uint32_t i = 0; i < row_count; i++)
        if (rows[i].group < group_count) { /* ascending: the newest session stays */
            groups[rows[i].group].attempt = (uint8_t)rows[i].attempt;
            t->secure->groups[rows[i].group].row = rows[i];
        }
    for (uint32_t i = 0; i < group_count; i++)
        if (groups[i].state == ROUND_GROUP_RUNNING)
            TRY(saved_group(t, i, &groups[i], members, count, err));
out:
    mem_free(rows);
    return status;
}

/* ---- The session
 * ----------------------------------------------------------------------------------------------------
 */

struct replay {
    struct task_host *t;
    struct secagg_server *server;
    uint32_t attempt, exchange;
    struct sotto_error *why;
};

static enum sotto_status masked_head(const struct replay *r, const struct store_message *m,
                                     uint8_t head[SECAGG_MASKED_HEAD]) {
    char path[IO_PATH_MAX];
    enum sotto_status status = masked_path(r->t->c, &r->t->round.terms_hash, m->serial, r->attempt,
                                           false, path, sizeof path, r->why);
    if (status != SOTTO_OK)
        return status;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    const bool good = fd >= 0 && lseek(fd, 0, SEEK_END) == (off_t)m->bytes &&
                      pread(fd, head, SECAGG_MASKED_HEAD, 0) == (ssize_t)SECAGG_MASKED_HEAD;
    if (fd >= 0)
        close(fd);
    return good ? SOTTO_OK
                : SOTTO_FAIL(r->why, SOTTO_CHECK, "the masked input of device %llu is lost",
                             (unsigned long long)m->serial);
}

static enum sotto_status replay_message(void *ctx, const struct store_message *m) {
    const struct replay *r = ctx;
    uint8_t head[SECAGG_MASKED_HEAD];
    struct view message = m->body;
    bool taken = false;
    if (r->exchange == SECAGG_MASKED) {
        enum sotto_status status = masked_head(r, m, head);
        if (status != SOTTO_OK)
            return status;
        message = view_of(head, sizeof head);
    }
    enum sotto_status status = secure_take(r->server, (enum secagg_kind)r->exchange, m->serial,
                                           message, m->bytes, &taken, r->why);
    return taken ? SOTTO_OK : status;
}

enum sotto_status secure_replay(struct task_host *t, uint32_t group, bool unmask,
                                struct sotto_error *why) {
    enum sotto_status status;
    struct secure_group *g = &t->secure->groups[group];
    TRY(secure_session_new(t, group, why));
    for (size_t i = 0; i < ARRAY_LEN(exchanges); i++) {
        bool closed = false;
        struct replay r = {t, g->server, g->row.attempt, exchanges[i], why};
        TRY(store_message_each(t->c->store, t->row.id, t->round.round, group, g->row.attempt,
                               exchanges[i], replay_message, &r, why));
        TRY(store_close_get(t->c->store, t->row.id, t->round.round, group, g->row.attempt,
                            exchanges[i], &closed, why));
        if (exchanges[i] == SECAGG_UNMASK ? !unmask : !closed)
            break;
        TRY(secagg_server_close(g->server, (enum secagg_kind)exchanges[i], why));
    }
out:
    if (status != SOTTO_OK) {
        secagg_server_free(g->server);
        g->server = NULL;
    }
    return status;
}

enum sotto_status secure_resume(struct task_host *t, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    uint32_t groups = 0;
    char text[240];
    const struct round_group *g = round_groups(t->engine, &groups);
    for (uint32_t i = 0; i < groups && i < t->secure->group_count; i++) {
        struct sotto_error why = SOTTO_ERROR_INIT;
        if (g[i].state != ROUND_GROUP_RUNNING)
            continue;
        const enum sotto_status replayed = secure_replay(t, i, false, &why);
        if (replayed == SOTTO_NOMEM)
            return SOTTO_FAIL(err, replayed, "%s", why.message);
        struct secure_group *group = &t->secure->groups[i];
        struct round_event e = {.kind = ROUND_EV_SECURE,
                                .now_ms = clock_mono_ms(),
                                .round = t->round.round,
                                .group = i,
                                .ok = replayed == SOTTO_OK,
                                .complete = group->server && secagg_server_ready(group->server)};
        if (replayed != SOTTO_OK) {
            snprintf(group->row.reason, sizeof group->row.reason, "not resumed: %.140s",
                     why.message);
            group->row.state = STORE_SECURE_FAILED;
            TRY(secure_row_store(t, i, err));
        }
        snprintf(text, sizeof text, "group %u, session %u: %s%.160s", i, group->row.attempt,
                 replayed == SOTTO_OK ? "resumed from its stored messages" : "not resumed: ",
                 replayed == SOTTO_OK ? "" : why.message);
        TRY(task_event_log(t, "secure.resume", t->round.round, text, err));
        TRY(task_queue_event(t, &e, err));
    }
out:
    return status;
}
