/* After a restart: the open round is rebuilt from the store; what cannot go on is closed with its
 * reason. */
#include "daemon/secure_int.h"

#include <stdio.h>
#include <string.h>

/* Closes the open round in the store and on disk without an engine. */
static enum sotto_status close_open_round(struct task_host *t, const char *reason,
                                          struct sotto_error *err) {
    struct coordinator *c = t->c;
    enum sotto_status status;
    struct store_member *members = NULL;
    uint32_t count = 0;
    char path[IO_PATH_MAX];
    TRY(store_members(c->store, t->row.id, t->round.round, &members, &count, err));
    TRY(store_begin(c->store, err));
    for (uint32_t i = 0; i < count; i++) {
        bool asked = false; /* for its masked input: what it trained may have left */
        TRY(store_secure_asked(c->store, t->row.id, t->round.round, members[i].serial, &asked,
                               err));
        TRY(store_outcome_set(c->store, members[i].serial, &t->round.terms_hash,
                              asked ? sotto_Outcome_OUTCOME_KEPT : sotto_Outcome_OUTCOME_RETURNED,
                              clock_wall_ms(), err));
    }
    t->round.state = STORE_ROUND_FAILED;
    t->round.closed_ms = clock_wall_ms();
    snprintf(t->round.reason, sizeof t->round.reason, "%s", reason);
    if (t->round.kind == ROUND_TRAIN) /* as a round that fails: those to make include it */
        t->row.train_rounds_done++;
    t->row.next_round = t->round.round + 1;
    TRY(store_round_close(c->store, &t->round, err));
    TRY(store_task_progress(c->store, t->row.id, t->row.next_round, t->row.train_rounds_done, err));
    TRY(store_upload_clear(c->store, &t->round.terms_hash, err));
    TRY(task_event_log(t, "round.fail", t->round.round, reason, err));
    TRY(round_key_path(t, &t->round.terms_hash, path, sizeof path, err));
    TRY(outbox_remove(c->outbox, path, true, err));
    TRY(upload_dir(c, &t->round.terms_hash, path, sizeof path, err));
    TRY(outbox_remove_tree(c->outbox, path, err));
    for (uint32_t g = 0; g < ROUND_GROUPS_MAX; g++) {
        TRY(store_messages_clear(c->store, t->row.id, t->round.round, g, err));
        TRY(round_sums_path(t, &t->round.terms_hash, g, path, sizeof path, err));
        if (io_exists(path))
            TRY(outbox_remove(c->outbox, path, false, err));
    }
    id_wipe(t->keys.secret_key, sizeof t->keys.secret_key);
    t->round_live = false;
out:
    mem_free(members);
    return status;
}

enum sotto_status round_abandon(struct task_host *t, const char *reason, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    if (!t->round_live)
        return SOTTO_OK;
    if (t->jobs)
        return SOTTO_FAIL(err, SOTTO_BUSY, "round %u is being computed; try again in a moment",
                          t->round.round);
    TRY(close_open_round(t, reason, err));
    round_deinit(t);
    TRY(task_make_engine(t, err));
    TRY(task_devices(t, err));
    if (t->row.state == STORE_TASK_PAUSED) {
        struct round_event pause = {.kind = ROUND_EV_PAUSE, .now_ms = clock_mono_ms()};
        TRY(task_event(t, &pause, NULL, err));
    }
out:
    return status;
}

static enum sotto_status load_sums(struct task_host *t, uint32_t group, struct sotto_error *err) {
    enum sotto_status status;
    char path[IO_PATH_MAX];
    struct buf bytes;
    struct group_host *g = &t->groups[group];
    buf_init(&bytes, SIZE_MAX / 2);
    TRY(round_sums_path(t, &t->round.terms_hash, group, path, sizeof path, err));
    TRY(io_read_file(path, (size_t)4 << 30, &bytes, err));
    TRY(group_sums_init(&g->sums, &t->spec, err));
    g->ready = true;
    TRY(accumulator_load(&g->sums.sums, buf_view(&bytes), err));
out:
    buf_deinit(&bytes);
    return status;
}

static enum sotto_status read_key(struct task_host *t, struct sotto_error *err) {
    enum sotto_status status;
    char path[IO_PATH_MAX];
    struct buf b;
    buf_init(&b, SEAL_SECRET);
    TRY(round_key_path(t, &t->round.terms_hash, path, sizeof path, err));
    TRY(io_read_file(path, SEAL_SECRET, &b, err));
    if (b.len != SEAL_SECRET)
        TRY_FAIL(err, SOTTO_CORRUPT, "%s: damaged", path);
    memcpy(t->keys.secret_key, b.data, SEAL_SECRET);
out:
    if (b.data)
        id_wipe(b.data, b.len);
    buf_deinit(&b);
    return status;
}

struct resume {
    struct store_member *stored;
    struct store_group *stored_groups;
    struct round_member *members;
    struct round_group *groups;
    uint32_t member_count, group_count;
    bool running;
};

static enum sotto_status read_saved(struct task_host *t, struct resume *r,
                                    struct sotto_error *err) {
    enum sotto_status status;
    TRY(store_members(t->c->store, t->row.id, t->round.round, &r->stored, &r->member_count, err));
    TRY(store_groups(t->c->store, t->row.id, t->round.round, &r->stored_groups, &r->group_count,
                     err));
    r->members = mem_array(r->member_count ? r->member_count : 1, sizeof *r->members);
    r->groups = mem_array(r->group_count ? r->group_count : 1, sizeof *r->groups);
    if (!r->members || !r->groups)
        TRY_FAIL(err, SOTTO_NOMEM, "round: out of memory");
    for (uint32_t i = 0; i < r->group_count; i++) {
        r->groups[i] =
            (struct round_group){.members = r->stored_groups[i].members,
                                 .goal = r->stored_groups[i].goal,
                                 .minimum = r->stored_groups[i].minimum,
                                 .state = (enum round_group_state)r->stored_groups[i].state};
        r->running |= r->groups[i].state == ROUND_GROUP_RUNNING ||
                      r->groups[i].state == ROUND_GROUP_GATHERING;
    }
    for (uint32_t i = 0; i < r->member_count; i++) {
        r->members[i] = (struct round_member){.serial = r->stored[i].serial,
                                              .group = r->stored[i].group,
                                              .state = (enum round_member_state)r->stored[i].state,
                                              .attempt = (uint8_t)r->stored[i].attempt};
        t->round.bytes_up += r->stored[i].report_bytes;
        t->round.rejected += r->members[i].state == ROUND_REJECTED;
        t->round.counted += r->members[i].state == ROUND_CHECKED;
    }
out:
    return status;
}

/* What a crash between a group's commit and the removal of its sealed files has left. */
static enum sotto_status erase_report(struct task_host *t, uint64_t serial,
                                      struct sotto_error *err) {
    enum sotto_status status;
    char path[IO_PATH_MAX];
    for (uint32_t attempt = 0; attempt <= (t->secure ? ROUND_ATTEMPTS_MAX : 0u); attempt++)
        for (int part = 0; part < 2; part++) {
            TRY(attempt ? masked_path(t->c, &t->round.terms_hash, serial, attempt, part != 0, path,
                                      sizeof path, err)
                        : upload_path(t->c, &t->round.terms_hash, serial, part != 0, path,
                                      sizeof path, err));
            if (io_exists(path))
                TRY(outbox_remove(t->c->outbox, path, false, err));
        }
    status = SOTTO_OK;
out:
    return status;
}

/* Sums that were committed; false when a file is gone or damaged, with the reason. */
static enum sotto_status restore_sums(struct task_host *t, const struct resume *r, bool *good,
                                      struct sotto_error *err) {
    struct sotto_error why = SOTTO_ERROR_INIT;
    char reason[160];
    *good = true;
    enum sotto_status status = round_hosts(t, r->group_count, r->member_count, err);
    for (uint32_t i = 0; status == SOTTO_OK && i < r->group_count; i++) {
        if (r->groups[i].state != ROUND_GROUP_SUMMED)
            continue;
        enum sotto_status loaded = load_sums(t, i, &why);
        if (loaded == SOTTO_NOMEM)
            return SOTTO_FAIL(err, loaded, "%s", why.message);
        if (loaded == SOTTO_OK)
            continue;
        *good = false;
        snprintf(reason, sizeof reason, "the sums of group %u are lost: %.120s", i, why.message);
        LOG(LOG_ERROR, "round.sums_lost", LS("task", t->row.name), LS("reason", why.message));
        return close_open_round(t, reason, err);
    }
    return status;
}

static enum sotto_status restore(struct task_host *t, struct resume *r, struct sotto_error *err) {
    enum sotto_status status;
    struct round_saved saved = {.round = t->round.round,
                                .kind = (enum round_kind)t->round.kind,
                                .state = t->round.state == STORE_ROUND_ADVANCING ? ROUND_ADVANCING
                                                                                 : ROUND_OPEN,
                                .member_count = r->member_count,
                                .group_count = r->group_count,
                                .members = r->members,
                                .groups = r->groups};
    if (t->secure && r->groups[0].state != ROUND_GROUP_GATHERING)
        TRY(secure_saved(t, r->members, r->member_count, r->groups, r->group_count, err));
    TRY(round_restore(t->engine, &saved, err));
    t->round_live = true;
    if (t->secure)
        TRY(secure_resume(t, err));
    for (uint32_t i = 0; i < r->member_count; i++) {
        const struct round_member *m = &r->members[i];
        bool running = r->groups[m->group].state == ROUND_GROUP_RUNNING;
        if (running && !t->secure && (m->state == ROUND_STORED || m->state == ROUND_CHECKED))
            TRY(work_check(t, m->serial, m->group, true, err));
        if (!running && r->groups[m->group].state != ROUND_GROUP_GATHERING)
            TRY(erase_report(t, m->serial, err));
    }
    LOG(LOG_INFO, "round.resume", LS("task", t->row.name), LU("round", t->round.round),
        LU("members", r->member_count));
out:
    return status;
}

enum sotto_status round_resume(struct task_host *t, struct sotto_error *err) {
    struct resume r = {0};
    sotto_Terms terms;
    enum sotto_status status = store_round_get(t->c->store, t->row.id, 0, &t->round, NULL);
    if (status == SOTTO_NOT_FOUND)
        return SOTTO_OK;
    TRY(wire_terms_decode(view_of(t->round.terms, t->round.terms_bytes), &terms, err));
    t->report_bytes_max = terms.report_bytes_max;
    t->keys.terms = t->round.terms_hash;
    memcpy(t->keys.public_key, t->round.round_public, SEAL_PUBLIC);
    task_spec(&t->settings, &t->graph.layout, t->round.kind == ROUND_EVALUATE, &t->spec);
    TRY(read_saved(t, &r, err));
    bool good = true;
    if (secure_wanted(&terms)) {
        TRY(secure_plan(t, t->round.round, t->round.kind == ROUND_EVALUATE, &t->secure, err));
        TRY(secure_configure(t, r.member_count, err));
    } else if (r.running && read_key(t, NULL) != SOTTO_OK) {
        good = false;
        TRY(close_open_round(t, "the round's key is gone (a reboot): its reports cannot be opened",
                             err));
    }
    if (good)
        TRY(restore_sums(t, &r, &good, err));
    if (good) {
        TRY(restore(t, &r, err));
    } else {
        round_deinit(t);
        TRY(task_make_engine(t, err));
    }
out:
    mem_free(r.stored);
    mem_free(r.stored_groups);
    mem_free(r.members);
    mem_free(r.groups);
    return status;
}
