/* The engine's actions: opening a round, answers, sums, the server step, failures; and resuming
 * after a restart. */
#include "daemon/secure_int.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define RETRY_PACE_MS 5000

enum sotto_status round_key_path(const struct task_host *t, const struct wire_hash *terms,
                                 char *out, size_t cap, struct sotto_error *err) {
    char hex[2 * WIRE_HASH + 1];
    return io_join(out, cap, t->c->config.round_keys_dir, num_format_hex(hex, terms->b, WIRE_HASH),
                   err);
}

enum sotto_status round_sums_path(const struct task_host *t, const struct wire_hash *terms,
                                  uint32_t group, char *out, size_t cap, struct sotto_error *err) {
    char hex[2 * WIRE_HASH + 1], name[2 * WIRE_HASH + 24], dir[IO_PATH_MAX];
    enum sotto_status status = io_join(dir, sizeof dir, t->c->state_dir, "sums", err);
    snprintf(name, sizeof name, "%s-%u", num_format_hex(hex, terms->b, WIRE_HASH), group);
    return status == SOTTO_OK ? io_join(out, cap, dir, name, err) : status;
}

static void group_hosts_free(struct task_host *t) {
    for (uint32_t i = 0; i < t->group_count; i++) {
        if (t->groups[i].ready)
            group_sums_deinit(&t->groups[i].sums);
        pthread_mutex_destroy(&t->groups[i].lock);
    }
    mem_free(t->groups);
    t->groups = NULL;
    t->group_count = 0;
}

enum sotto_status round_group_hosts(struct task_host *t, uint32_t groups, struct sotto_error *err) {
    group_hosts_free(t);
    t->groups = mem_array(groups ? groups : 1, sizeof *t->groups);
    if (!t->groups)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "round: out of memory");
    for (uint32_t i = 0; i < groups; i++)
        pthread_mutex_init(&t->groups[i].lock, NULL);
    t->group_count = groups;
    return SOTTO_OK;
}

void round_deinit(struct task_host *t) {
    group_hosts_free(t);
    secure_free(t->secure);
    t->secure = NULL;
    mem_free(t->uploads);
    mem_free(t->busy);
    mem_free(t->waits);
    t->uploads = NULL;
    t->busy = NULL;
    t->waits = NULL;
    t->upload_count = t->busy_count = 0;
    t->advance_again_ms = t->check_again_ms = 0;
    id_wipe(&t->keys, sizeof t->keys);
    t->round_live = false;
}

enum sotto_status round_hosts(struct task_host *t, uint32_t groups, uint32_t members,
                              struct sotto_error *err) {
    task_spec(&t->settings, &t->graph.layout, t->round.kind == ROUND_EVALUATE, &t->spec);
    t->busy = mem_array(members ? members : 1, sizeof *t->busy);
    t->waits = mem_array(members ? members : 1, sizeof *t->waits);
    if (!t->busy || !t->waits)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "round: out of memory");
    t->busy_count = members;
    return round_group_hosts(t, groups, err);
}

/* ---- Opening
 * -----------------------------------------------------------------------------------------------------------
 */

static enum sotto_status make_terms(struct task_host *t, uint32_t round, bool evaluate,
                                    struct sotto_error *err) {
    struct coordinator *c = t->c;
    enum sotto_status status;
    struct buf bytes;
    sotto_Terms terms = sotto_Terms_init_zero;
    buf_init(&bytes, sizeof t->round.terms);
    task_terms(&t->settings, &t->graph.layout, t->row.task_id, round, evaluate, &terms);
    WIRE_SET_HASH(terms.package_hash, &t->version.package_hash);
    terms.package_bytes = t->version.package_bytes;
    task_spec(&t->settings, &t->graph.layout, evaluate, &t->spec);
    if (t->secure) { /* nothing is sealed: no key */
        terms.report_bytes_max = secure_report_max(t->secure);
    } else {
        terms.round_key.size = SEAL_PUBLIC;
        memcpy(terms.round_key.bytes, t->keys.public_key, SEAL_PUBLIC);
        terms.report_bytes_max =
            codec_bytes_max(&t->spec) + 4096 + 64u * (codec_block_count(&t->spec) + 1u);
    }
    t->report_bytes_max = terms.report_bytes_max;
    TRY(wire_terms_encode(&terms, &bytes, err));
    memcpy(t->round.terms, bytes.data, bytes.len);
    t->round.terms_bytes = (uint32_t)bytes.len;
    t->round.terms_hash = wire_terms_hash(buf_view(&bytes));
    t->keys.terms = t->round.terms_hash;
    id_sign(&c->signing, ID_LABEL_TERMS, buf_view(&bytes), t->round.signature);
    memcpy(t->round.signing_key, c->signing.public_key, ID_KEY);
out:
    buf_deinit(&bytes);
    return status;
}

/* All that may fail without harm: key, terms, memory. Nothing is in the store yet. */
static enum sotto_status prepare_round(struct task_host *t, uint32_t number, uint32_t members,
                                       uint32_t groups, struct sotto_error *err) {
    enum sotto_status status;
    char path[IO_PATH_MAX];
    round_deinit(t);
    memset(&t->round, 0, sizeof t->round);
    t->round.task = t->row.id;
    t->round.round = number;
    t->round.kind = (int)round_kind(t->engine);
    t->round.opened_ms = clock_wall_ms();
    t->round.base_version = t->version.number;
    t->round.members = members;
    t->round.train_loss = t->round.train_accuracy = NAN;
    const bool evaluate = t->round.kind == ROUND_EVALUATE;
    if (task_secure(&t->settings)) {
        TRY(secure_plan(t, number, evaluate, &t->secure, err));
        TRY(make_terms(t, number, evaluate, err));
        TRY(secure_configure(t, members, err));
        TRY(round_hosts(t, groups, members, err));
        return SOTTO_OK;
    }
    seal_keypair(t->keys.public_key, t->keys.secret_key);
    memcpy(t->round.round_public, t->keys.public_key, SEAL_PUBLIC);
    TRY(make_terms(t, number, evaluate, err));
    TRY(round_key_path(t, &t->round.terms_hash, path, sizeof path, err));
    TRY(round_hosts(t, groups, members, err));
    TRY(io_write_file(path, t->keys.secret_key, SEAL_SECRET, 0600, true, err));
out:
    return status;
}

static enum sotto_status open_round(struct task_host *t, uint32_t number, struct sotto_error *err) {
    struct coordinator *c = t->c;
    enum sotto_status status;
    char text[160];
    struct sotto_error why = SOTTO_ERROR_INIT;
    uint32_t members = 0, groups = 0;
    const struct round_member *member = round_members(t->engine, &members);
    const struct round_group *group = round_groups(t->engine, &groups);
    status = prepare_round(t, number, members, groups, &why);
    if (status != SOTTO_OK) { /* a full disk, say: the engine tries again later */
        LOG(LOG_ERROR, "round.open_failed", LS("task", t->row.name), LU("round", number),
            LS("reason", why.message));
        round_deinit(t);
        struct round_event failed = {
            .kind = ROUND_EV_FAILED, .now_ms = clock_mono_ms(), .round = number};
        return task_queue_event(t, &failed, err);
    }
    TRY(store_begin(c->store, err));
    TRY(store_round_add(c->store, &t->round, member, members, group, groups, err));
    t->row.next_round = number + 1;
    t->round_live = true;
    snprintf(text, sizeof text, "%s round opened: %u device%s in %u group%s, from version %u",
             t->round.kind == ROUND_EVALUATE ? "evaluation" : "training", members,
             members == 1 ? "" : "s", groups, groups == 1 ? "" : "s", t->version.number);
    TRY(task_event_log(t, "round.open", number, text, err));
    struct round_event opened = {
        .kind = ROUND_EV_OPENED, .now_ms = clock_mono_ms(), .round = number};
    TRY(task_queue_event(t, &opened, err));
out:
    return status;
}

/* ---- Answers
 * -----------------------------------------------------------------------------------------------------------
 */

static void answer_plan(struct task_host *t, const struct round_action *a, struct reply_to *to) {
    if (!to || !to->check_in || to->serial != a->serial)
        return;
    sotto_CheckInReply *r = to->check_in;
    to->planned = true;
    r->reason[0] = '\0';
    r->come_back_ms = t->settings.pace_ms;
    r->terms.size = (pb_size_t)t->round.terms_bytes;
    memcpy(r->terms.bytes, t->round.terms, t->round.terms_bytes);
    r->terms_signature.size = ID_SIG;
    memcpy(r->terms_signature.bytes, t->round.signature, ID_SIG);
    r->signing_key.size = ID_KEY;
    memcpy(r->signing_key.bytes, t->round.signing_key, ID_KEY);
    r->has_invitation = true;
    WIRE_SET_HASH(r->invitation.terms_hash, &t->round.terms_hash);
    r->invitation.valid_ms = t->settings.deadline_ms ? t->settings.deadline_ms : 86400000u;
}

static void answer_come_back(const struct round_action *a, struct reply_to *to) {
    if (!to || !to->check_in || to->serial != a->serial || to->planned)
        return;
    sotto_CheckInReply *r = to->check_in;
    if (r->come_back_ms == 0 || a->after_ms < r->come_back_ms) {
        r->come_back_ms = num_max_u64(a->after_ms, 1);
        WIRE_SET_TEXT(r->reason, a->text);
    }
}

static enum sotto_status answer_ack(struct task_host *t, const struct round_action *a,
                                    struct reply_to *to, const struct wire_hash *terms,
                                    enum sotto_status what, sotto_Outcome outcome,
                                    struct sotto_error *err) {
    if (!to || to->serial != a->serial || to->check_in)
        return SOTTO_OK;
    if (to->secure)
        return secure_tell_outcome(t->c, to, terms, outcome, t->settings.pace_ms, a->text, err);
    sotto_Envelope e = sotto_Envelope_init_zero;
    e.version = WIRE_VERSION;
    e.which_body = sotto_Envelope_report_ack_tag;
    WIRE_SET_HASH(e.body.report_ack.terms_hash, terms);
    e.body.report_ack.status = (uint32_t)what;
    e.body.report_ack.outcome = outcome;
    e.body.report_ack.come_back_ms = t->settings.pace_ms;
    WIRE_SET_TEXT(e.body.report_ack.reason, a->text);
    return outbox_send(t->c->outbox, to, &e, view_of(NULL, 0), err);
}

static enum sotto_status answer_heartbeat(struct task_host *t, const struct round_action *a,
                                          struct reply_to *to, struct sotto_error *err) {
    if (!to || to->serial != a->serial)
        return SOTTO_OK;
    sotto_Envelope e = sotto_Envelope_init_zero;
    e.version = WIRE_VERSION;
    e.which_body = sotto_Envelope_heartbeat_reply_tag;
    WIRE_SET_HASH(e.body.heartbeat_reply.terms_hash, &t->round.terms_hash);
    e.body.heartbeat_reply.abort = a->kind == ROUND_DO_ABORT;
    WIRE_SET_TEXT(e.body.heartbeat_reply.reason, a->text);
    return outbox_send(t->c->outbox, to, &e, view_of(NULL, 0), err);
}

static enum sotto_status accept_report(struct task_host *t, const struct round_action *a,
                                       struct reply_to *to, struct sotto_error *err) {
    enum sotto_status status;
    char path[IO_PATH_MAX];
    TRY(upload_path(t->c, &t->round.terms_hash, a->serial, false, path, sizeof path, err));
    int64_t bytes = io_file_size(path);
    TRY(store_begin(t->c->store, err));
    TRY(store_member_report(t->c->store, t->row.id, t->round.round, a->serial, ROUND_STORED,
                            bytes > 0 ? (uint64_t)bytes : 0, err));
    TRY(store_device_count_report(t->c->store, a->serial, false, err));
    TRY(store_device_moved(t->c->store, a->serial, bytes > 0 ? (uint64_t)bytes : 0, 0, err));
    t->round.bytes_up += bytes > 0 ? (uint64_t)bytes : 0;
    TRY(answer_ack(t, a, to, &t->round.terms_hash, SOTTO_OK, sotto_Outcome_OUTCOME_OPEN, err));
    TRY(work_check(t, a->serial, a->group, true, err));
out:
    return status;
}

/* Acknowledged again, with what became of it since. */
static enum sotto_status repeat_report(struct task_host *t, const struct round_action *a,
                                       struct reply_to *to, struct sotto_error *err) {
    sotto_Outcome outcome;
    enum sotto_status status =
        store_outcome_get(t->c->store, a->serial, &t->round.terms_hash, &outcome, NULL);
    if (status == SOTTO_NOT_FOUND)
        outcome = a->member_state == ROUND_REJECTED ? sotto_Outcome_OUTCOME_KEPT
                                                    : sotto_Outcome_OUTCOME_OPEN;
    else if (status != SOTTO_OK)
        return SOTTO_FAIL(err, status, "an outcome cannot be read from the store");
    return answer_ack(t, a, to, &t->round.terms_hash, SOTTO_OK, outcome, err);
}

static enum sotto_status return_report(struct task_host *t, const struct round_action *a,
                                       struct reply_to *to, struct sotto_error *err) {
    struct coordinator *c = t->c;
    enum sotto_status status;
    struct wire_hash terms = t->round.terms_hash;
    sotto_Outcome outcome = sotto_Outcome_OUTCOME_RETURNED;
    char path[IO_PATH_MAX];
    if (!t->round_live || a->round != t->round.round) {
        struct store_round old;
        status = store_round_get(c->store, t->row.id, a->round, &old, NULL);
        if (status == SOTTO_NOT_FOUND)
            return SOTTO_OK;
        terms = old.terms_hash;
    }
    TRY(store_begin(c->store, err));
    TRY(store_outcome_set(c->store, a->serial, &terms, outcome, clock_wall_ms(), err));
    TRY(store_outcome_get(c->store, a->serial, &terms, &outcome, err));
    TRY(upload_path(c, &terms, a->serial, false, path, sizeof path, err));
    TRY(outbox_remove(c->outbox, path, false, err));
    if (t->round_live && a->round == t->round.round)
        t->round.returned++;
    TRY(answer_ack(t, a, to, &terms,
                   outcome == sotto_Outcome_OUTCOME_RETURNED ? SOTTO_STATE : SOTTO_OK, outcome,
                   err));
out:
    return status;
}

/* ---- Sums and failures of groups
 * ----------------------------------------------------------------------------------------- */

/* What a member is told when its group has ended. Mass that may have left under a mask is gone,
 * whatever became of the sum. */
static sotto_Outcome group_outcome(const struct task_host *t, const struct round_member *m,
                                   bool ok) {
    bool kept = m->state == ROUND_REJECTED || (ok && m->state == ROUND_CHECKED);
    if (t->secure)
        kept |= round_secure_asked(t->engine, m);
    return kept ? sotto_Outcome_OUTCOME_KEPT : sotto_Outcome_OUTCOME_RETURNED;
}

static enum sotto_status commit_group(struct task_host *t, uint32_t group, bool ok,
                                      struct sotto_error *err) {
    struct coordinator *c = t->c;
    enum sotto_status status;
    uint32_t count = 0;
    int64_t now = clock_wall_ms();
    char path[IO_PATH_MAX];
    const struct round_member *m = round_members(t->engine, &count);
    if (t->groups[group].pending) { /* an addition is still with a worker */
        t->groups[group].end_due = ok ? GROUP_END_SUM : GROUP_END_FAIL;
        return SOTTO_OK;
    }
    TRY(store_begin(c->store, err));
    for (uint32_t i = 0; i < count; i++) {
        if (m[i].group != group)
            continue;
        const sotto_Outcome outcome = group_outcome(t, &m[i], ok);
        if (ok && m[i].state == ROUND_CHECKED) {
            TRY(store_member_set(c->store, t->row.id, t->round.round, m[i].serial, ROUND_CHECKED,
                                 err));
            t->round.counted++;
        } else if (outcome == sotto_Outcome_OUTCOME_RETURNED &&
                   (m[i].state == ROUND_STORED || m[i].state == ROUND_CHECKED ||
                    m[i].state == ROUND_READY)) {
            t->round.returned++;
        }
        TRY(store_outcome_set(c->store, m[i].serial, &t->round.terms_hash, outcome, now, err));
        TRY(upload_path(c, &t->round.terms_hash, m[i].serial, false, path, sizeof path, err));
        TRY(outbox_remove(c->outbox, path, false, err));
        TRY(upload_path(c, &t->round.terms_hash, m[i].serial, true, path, sizeof path, err));
        TRY(outbox_remove(c->outbox, path, false, err));
    }
    TRY(store_group_set(c->store, t->row.id, t->round.round, group,
                        ok ? ROUND_GROUP_SUMMED : ROUND_GROUP_FAILED, err));
    if (t->secure)
        TRY(secure_ended(t, group, ok, err));
    struct round_event e = {.kind = ROUND_EV_SUMMED,
                            .now_ms = clock_mono_ms(),
                            .round = t->round.round,
                            .group = group,
                            .ok = ok};
    TRY(task_queue_event(t, &e, err));
out:
    return status;
}

/* The sums into their file. */
static enum sotto_status save_sums(struct task_host *t, uint32_t group, struct sotto_error *err) {
    enum sotto_status status;
    char path[IO_PATH_MAX];
    struct buf bytes;
    struct group_host *g = &t->groups[group];
    buf_init(&bytes, SIZE_MAX / 2);
    accumulator_save(&g->sums.sums, &bytes);
    if (bytes.status != SOTTO_OK)
        TRY_FAIL(err, bytes.status, "the group's sums do not fit into memory");
    TRY(round_sums_path(t, &t->round.terms_hash, group, path, sizeof path, err));
    TRY(io_write_file(path, bytes.data, bytes.len, 0600, true, err));
out:
    buf_deinit(&bytes);
    return status;
}

enum sotto_status round_sum_group(struct task_host *t, uint32_t group, struct sotto_error *err) {
    struct sotto_error why = SOTTO_ERROR_INIT;
    enum sotto_status status;
    char text[240];
    if (t->groups[group].pending) { /* an addition is still with a worker */
        t->groups[group].end_due = GROUP_END_SUM;
        return SOTTO_OK;
    }
    status = t->groups[group].spoiled
                 ? SOTTO_FAIL(&why, SOTTO_CORRUPT, "a counted report could not be added again")
                 : save_sums(t, group, &why);
    if (status == SOTTO_OK)
        return commit_group(t, group, true, err);
    /* A full disk, say: nothing is committed, the engine gives the group's reports back. */
    struct round_event failed = {.kind = ROUND_EV_SUMMED,
                                 .now_ms = clock_mono_ms(),
                                 .round = t->round.round,
                                 .group = group};
    TRY(task_queue_event(t, &failed, err));
    snprintf(text, sizeof text, "the sums of group %u cannot be stored: %.160s", group,
             why.message);
    TRY(task_event_log(t, "round.note", t->round.round, text, err));
out:
    return status;
}

/* What is left on disk of a round whose groups have all ended: nobody can read its reports from
 * here on. */
static enum sotto_status erase_round(struct task_host *t, const struct wire_hash *terms, bool sums,
                                     struct sotto_error *err) {
    struct coordinator *c = t->c;
    enum sotto_status status;
    char path[IO_PATH_MAX];
    id_wipe(t->keys.secret_key, sizeof t->keys.secret_key);
    TRY(store_begin(c->store, err));
    TRY(store_upload_clear(c->store, terms, err));
    TRY(round_key_path(t, terms, path, sizeof path, err));
    TRY(outbox_remove(c->outbox, path, true, err));
    TRY(upload_dir(c, terms, path, sizeof path, err));
    TRY(outbox_remove_tree(c->outbox, path, err));
    for (uint32_t g = 0; sums && g < ROUND_GROUPS_MAX; g++) {
        TRY(round_sums_path(t, terms, g, path, sizeof path, err));
        if (io_exists(path))
            TRY(outbox_remove(c->outbox, path, false, err));
    }
out:
    return status;
}

/* An evaluation round ends with what the devices counted: no server step. */
static enum sotto_status evaluated(struct task_host *t, struct sotto_error *err) {
    struct coordinator *c = t->c;
    enum sotto_status status;
    char text[160];
    const struct group_sums *sums[ROUND_GROUPS_MAX];
    uint32_t groups = 0, summed = 0;
    const struct round_group *group = round_groups(t->engine, &groups);
    for (uint32_t g = 0; g < groups && g < t->group_count; g++)
        if (group[g].state == ROUND_GROUP_SUMMED && t->groups[g].ready)
            sums[summed++] = &t->groups[g].sums;
    advance_metrics(sums, summed, &t->round.train_loss, &t->round.train_accuracy,
                    &t->round.train_examples);
    t->round.state = STORE_ROUND_COMMITTED;
    t->round.closed_ms = clock_wall_ms();
    TRY(store_begin(c->store, err));
    TRY(store_round_close(c->store, &t->round, err));
    snprintf(
        text, sizeof text,
        "devices evaluated version %u: accuracy %.4f, loss %.4f on %llu examples of %u devices",
        t->round.base_version, t->round.train_accuracy, t->round.train_loss,
        (unsigned long long)t->round.train_examples, t->round.counted);
    TRY(task_event_log(t, "round.evaluate", t->round.round, text, err));
    TRY(erase_round(t, &t->round.terms_hash, true, err));
    struct round_event e = {
        .kind = ROUND_EV_ADVANCED, .now_ms = clock_mono_ms(), .round = t->round.round, .ok = true};
    TRY(task_queue_event(t, &e, err));
    t->round_live = false;
out:
    return status;
}

static enum sotto_status advance_round(struct task_host *t, struct sotto_error *err) {
    enum sotto_status status;
    if (t->round.kind == ROUND_EVALUATE)
        return evaluated(t, err);
    TRY(store_begin(t->c->store, err));
    TRY(store_round_state_set(t->c->store, t->row.id, t->round.round, STORE_ROUND_ADVANCING, err));
    TRY(erase_round(t, &t->round.terms_hash, false, err));
    TRY(work_advance(t, err));
out:
    return status;
}

static enum sotto_status fail_round(struct task_host *t, const char *reason,
                                    struct sotto_error *err) {
    struct coordinator *c = t->c;
    enum sotto_status status;
    t->round.state = STORE_ROUND_FAILED;
    t->round.closed_ms = clock_wall_ms();
    snprintf(t->round.reason, sizeof t->round.reason, "%s", reason);
    TRY(store_begin(c->store, err));
    TRY(store_round_close(c->store, &t->round, err));
    if (t->round.kind == ROUND_TRAIN)
        t->row.train_rounds_done++;
    TRY(store_task_progress(c->store, t->row.id, t->row.next_round, t->row.train_rounds_done, err));
    TRY(task_event_log(t, "round.fail", t->round.round, reason, err));
    TRY(erase_round(t, &t->round.terms_hash, true, err));
    t->round_live = false;
out:
    return status;
}

static enum sotto_status store_member_state(struct task_host *t, const struct round_action *a,
                                            struct sotto_error *err) {
    struct coordinator *c = t->c;
    enum sotto_status status;
    TRY(store_begin(c->store, err));
    TRY(store_member_set(c->store, t->row.id, a->round, a->serial, (int)a->member_state, err));
    if (a->member_state == ROUND_REJECTED) {
        t->round.rejected++;
        TRY(store_device_count_report(c->store, a->serial, true, err));
        TRY(store_outcome_set(c->store, a->serial, &t->round.terms_hash, sotto_Outcome_OUTCOME_KEPT,
                              clock_wall_ms(), err));
    }
    if (a->member_state == ROUND_DROPPED)
        TRY(store_outcome_set(c->store, a->serial, &t->round.terms_hash,
                              sotto_Outcome_OUTCOME_RETURNED, clock_wall_ms(), err));
out:
    return status;
}

static enum sotto_status finished(struct task_host *t, struct sotto_error *err) {
    enum sotto_status status;
    TRY(store_begin(t->c->store, err));
    if (t->row.state == STORE_TASK_RUNNING || t->row.state == STORE_TASK_PAUSED) {
        t->row.state = STORE_TASK_FINISHED;
        TRY(store_task_state_set(t->c->store, t->row.id, t->row.state, err));
    }
    TRY(task_event_log(t, "task.finish", 0, "the task has made its rounds", err));
out:
    return status;
}

enum sotto_status round_action_do(struct task_host *t, const struct round_action *a,
                                  struct reply_to *to, struct sotto_error *err) {
    switch (a->kind) {
    case ROUND_DO_OPEN:
        return open_round(t, a->round, err);
    case ROUND_DO_PLAN:
        answer_plan(t, a, to);
        return SOTTO_OK;
    case ROUND_DO_COME_BACK:
        answer_come_back(a, to);
        return SOTTO_OK;
    case ROUND_DO_ACCEPT:
        return accept_report(t, a, to, err);
    case ROUND_DO_REPEAT:
        return repeat_report(t, a, to, err);
    case ROUND_DO_RETURN:
        return return_report(t, a, to, err);
    case ROUND_DO_CONTINUE:
    case ROUND_DO_ABORT:
        return answer_heartbeat(t, a, to, err);
    case ROUND_DO_STORE_MEMBER:
        return store_member_state(t, a, err);
    case ROUND_DO_SUM:
        return t->secure ? work_unmask(t, a->group, err) : round_sum_group(t, a->group, err);
    case ROUND_DO_FAIL_GROUP:
        return commit_group(t, a->group, false, err);
    case ROUND_DO_ADVANCE:
        return advance_round(t, err);
    case ROUND_DO_FAIL:
        return fail_round(t, a->text, err);
    case ROUND_DO_FINISHED:
        return finished(t, err);
    case ROUND_DO_GROUP:
    case ROUND_DO_REGROUP:
    case ROUND_DO_STATE:
    case ROUND_DO_NOTIFY:
    case ROUND_DO_CLOSE:
        return t->secure ? secure_action(t, a, to, err) : SOTTO_OK;
    case ROUND_DO_NOTE:
        return task_event_log(t, "round.note", a->round, a->text, err);
    }
    return SOTTO_OK;
}
