/* The host of the fault test: executes an engine's actions against a store, as a daemon does, and
 * checks what may be stored. */
#include "engine_world.h"

#include <string.h>

bool world_chance(struct world *w, uint32_t permille) {
    return w->faults && rng_below(&w->rng, 1000) < permille;
}

void world_send(struct world *w, struct world_message m) {
    if (w->message_count < WORLD_MESSAGES) /* more are lost, as on any link */
        w->messages[w->message_count++] = m;
}

static void add_job(struct world *w, struct world_job job) {
    WORLD_CHECK(w, w->job_count < WORLD_JOBS);
    w->jobs[w->job_count++] = job;
}

static struct round_member *stored_member(struct world *w, uint64_t serial) {
    for (uint32_t i = 0; i < w->store.member_count; i++)
        if (w->store.members[i].serial == serial)
            return &w->store.members[i];
    return NULL;
}

void world_stop(struct world *w) {
    round_engine_free(w->engine);
    w->engine = NULL;
    w->job_count = 0;
    memset(w->sums, 0, sizeof w->sums);
}

void world_start(struct world *w) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct world_store *s = &w->store;
    struct round_action actions[ROUND_ACTIONS_MAX];
    size_t count;
    ASSERT_OK(round_engine_new(&w->config, s->next_round, s->train_done, &w->engine, &err));
    for (uint64_t serial = 1; serial <= w->devices; serial++) {
        struct round_event add = {
            .kind = ROUND_EV_DEVICE_ADD, .serial = serial, .now_ms = w->now_ms};
        if (s->enrolled & (1u << serial))
            ASSERT_OK(round_step(w->engine, &add, actions, &count, &err));
    }
    if (s->open) {
        struct round_saved saved = {
            .round = s->next_round - 1,
            .kind = s->kind,
            .state = ROUND_OPEN,
            .opened_ms = 0,
            .member_count = s->member_count,
            .group_count = s->group_count,
            .members = s->members,
            .groups = s->groups,
        };
        ASSERT_OK(round_restore(w->engine, &saved, &err));
        for (uint32_t i = 0; i < s->member_count; i++)
            if (s->members[i].state == ROUND_STORED &&
                s->groups[s->members[i].group].state == ROUND_GROUP_RUNNING)
                add_job(w, (struct world_job){JOB_CHECK, saved.round, s->members[i].group,
                                              s->members[i].serial});
    }
    if (s->paused)
        world_event(w, (struct round_event){.kind = ROUND_EV_PAUSE});
}

void world_crash(struct world *w) {
    w->crashes++;
    world_stop(w);
    world_start(w);
}

/* ---- Actions
 * --------------------------------------------------------------------------------------------------------
 */

static void end_round(struct world *w, uint32_t round, enum world_ending ending) {
    struct world_store *s = &w->store;
    WORLD_CHECK(w, s->open && round == s->next_round - 1 && s->ending[round] == END_NONE);
    for (uint64_t d = 1; d <= w->devices; d++)
        WORLD_CHECK(w, s->outcome[round][d] != OUT_OPEN);
    s->ending[round] = ending;
    s->open = false;
    s->train_done += s->kind == ROUND_TRAIN;
}

static void store_member(struct world *w, const struct round_action *a) {
    struct round_member *m = stored_member(w, a->serial);
    WORLD_CHECK(w, w->store.open && m && a->round == w->store.next_round - 1);
    if (a->member_state == ROUND_REJECTED) {
        WORLD_CHECK(w, w->store.outcome[a->round][a->serial] == OUT_OPEN);
        WORLD_CHECK(w, w->store.bad[a->round][a->serial]);
        w->store.outcome[a->round][a->serial] = OUT_REJECTED;
    } else {
        WORLD_CHECK(w, m->state == ROUND_INVITED || m->state == ROUND_PLANNED);
    }
    m->state = a->member_state;
}

/* The part of an action that is durable before any reply leaves. */
static void store_action(struct world *w, const struct round_action *a, bool bad) {
    struct world_store *s = &w->store;
    switch (a->kind) {
    case ROUND_DO_ACCEPT: {
        struct round_member *m = stored_member(w, a->serial);
        WORLD_CHECK(w, m && s->outcome[a->round][a->serial] == OUT_NONE);
        m->state = ROUND_STORED;
        s->outcome[a->round][a->serial] = OUT_OPEN;
        s->bad[a->round][a->serial] = bad;
        break;
    }
    case ROUND_DO_RETURN: {
        enum world_outcome *o = &s->outcome[a->round][a->serial];
        WORLD_CHECK(w, *o != OUT_OPEN); /* acknowledged and undecided: never returned by the way */
        if (*o == OUT_NONE)
            *o = OUT_RETURNED;
        break;
    }
    case ROUND_DO_STORE_MEMBER:
        store_member(w, a);
        break;
    case ROUND_DO_FAIL:
        for (uint32_t g = 0; g < s->group_count; g++)
            WORLD_CHECK(w, s->groups[g].state == ROUND_GROUP_FAILED);
        end_round(w, a->round, END_FAILED);
        break;
    case ROUND_DO_FINISHED:
        s->finished = true;
        break;
    case ROUND_DO_OPEN:
    case ROUND_DO_PLAN:
    case ROUND_DO_COME_BACK:
    case ROUND_DO_REPEAT:
    case ROUND_DO_CONTINUE:
    case ROUND_DO_ABORT:
    case ROUND_DO_SUM:
    case ROUND_DO_FAIL_GROUP:
    case ROUND_DO_ADVANCE:
    case ROUND_DO_NOTE:
    case ROUND_DO_GROUP:
    case ROUND_DO_REGROUP:
    case ROUND_DO_STATE:
    case ROUND_DO_NOTIFY:
    case ROUND_DO_CLOSE:
        break;
    }
}

static void reply(struct world *w, const struct round_action *a, enum world_message_kind kind,
                  uint32_t nonce) {
    struct world_message m = {.kind = kind,
                              .serial = a->serial,
                              .round = a->round,
                              .nonce = nonce,
                              .after_ms = a->after_ms};
    if (kind == TO_DEVICE_OUTCOME)
        m.outcome = w->store.outcome[a->round][a->serial];
    world_send(w, m);
}

/* The rest: replies and work, both lost in a crash. */
static void start_action(struct world *w, const struct round_action *a, uint32_t nonce) {
    switch (a->kind) {
    case ROUND_DO_OPEN:
        add_job(w, (struct world_job){JOB_OPEN, a->round, 0, 0});
        break;
    case ROUND_DO_PLAN:
        reply(w, a, TO_DEVICE_PLAN, nonce);
        break;
    case ROUND_DO_COME_BACK:
        reply(w, a, TO_DEVICE_COME_BACK, nonce);
        break;
    case ROUND_DO_ACCEPT:
        reply(w, a, TO_DEVICE_OUTCOME, 0);
        add_job(w, (struct world_job){JOB_CHECK, a->round, a->group, a->serial});
        break;
    case ROUND_DO_REPEAT:
        WORLD_CHECK(w, w->store.outcome[a->round][a->serial] != OUT_NONE);
        reply(w, a, TO_DEVICE_OUTCOME, 0);
        break;
    case ROUND_DO_RETURN:
        reply(w, a, TO_DEVICE_OUTCOME, 0);
        break;
    case ROUND_DO_CONTINUE:
        reply(w, a, TO_DEVICE_CONTINUE, 0);
        break;
    case ROUND_DO_ABORT:
        reply(w, a, TO_DEVICE_ABORT, 0);
        break;
    case ROUND_DO_SUM:
        add_job(w, (struct world_job){JOB_SUM, a->round, a->group, 0});
        break;
    case ROUND_DO_FAIL_GROUP:
        add_job(w, (struct world_job){JOB_FAIL_GROUP, a->round, a->group, 0});
        break;
    case ROUND_DO_ADVANCE:
        add_job(w, (struct world_job){JOB_ADVANCE, a->round, 0, 0});
        break;
    case ROUND_DO_STORE_MEMBER:
    case ROUND_DO_FAIL:
    case ROUND_DO_FINISHED:
    case ROUND_DO_NOTE:
    case ROUND_DO_GROUP:
    case ROUND_DO_REGROUP:
    case ROUND_DO_STATE:
    case ROUND_DO_NOTIFY:
    case ROUND_DO_CLOSE:
        break;
    }
}

static void step(struct world *w, struct round_event ev, bool bad, uint32_t nonce) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct round_action actions[ROUND_ACTIONS_MAX];
    size_t count;
    ev.now_ms = w->now_ms;
    ASSERT_OK(round_step(w->engine, &ev, actions, &count, &err));
    if (world_chance(w, 4)) { /* killed before the transaction */
        world_crash(w);
        return;
    }
    for (size_t i = 0; i < count; i++)
        store_action(w, &actions[i], bad);
    if (world_chance(w, 4)) { /* killed after it, before the replies */
        world_crash(w);
        return;
    }
    for (size_t i = 0; i < count; i++)
        start_action(w, &actions[i], nonce);
}

void world_event(struct world *w, struct round_event ev) {
    step(w, ev, false, 0);
}

/* ---- Work
 * -------------------------------------------------------------------------------------------------------------
 */

static struct round_event job_open(struct world *w, const struct world_job *job) {
    struct world_store *s = &w->store;
    if (world_chance(w, 100))
        return (struct round_event){.kind = ROUND_EV_FAILED, .round = job->round};
    WORLD_CHECK(w, !s->open && job->round == s->next_round && job->round < WORLD_ROUNDS);
    const struct round_member *members = round_members(w->engine, &s->member_count);
    const struct round_group *groups = round_groups(w->engine, &s->group_count);
    WORLD_CHECK(w, s->member_count >= 1 && s->member_count <= w->devices);
    memcpy(s->members, members, s->member_count * sizeof *members);
    memcpy(s->groups, groups, s->group_count * sizeof *groups);
    memset(w->sums, 0, sizeof w->sums);
    s->kind = round_kind(w->engine);
    s->open = true;
    s->next_round = job->round + 1;
    return (struct round_event){.kind = ROUND_EV_OPENED, .round = job->round};
}

static struct round_event job_check(struct world *w, const struct world_job *job) {
    bool ok = !w->store.bad[job->round][job->serial];
    if (ok) {
        WORLD_CHECK(w, !(w->sums[job->group] & (1u << job->serial)));
        w->sums[job->group] |= 1u << job->serial;
    }
    return (struct round_event){
        .kind = ROUND_EV_CHECKED, .round = job->round, .serial = job->serial, .ok = ok};
}

static struct round_event job_sum(struct world *w, const struct world_job *job) {
    struct world_store *s = &w->store;
    struct round_group *g = &s->groups[job->group];
    struct round_event ev = {
        .kind = ROUND_EV_SUMMED, .round = job->round, .group = job->group, .ok = true};
    WORLD_CHECK(w, s->open && g->state == ROUND_GROUP_RUNNING);
    if (!w->strict && world_chance(w, 30)) {
        ev.ok = false;
        return ev;
    }
    uint32_t counted = 0;
    for (uint32_t i = 0; i < s->member_count; i++) {
        const struct round_member *m = &s->members[i];
        if (m->group != job->group || m->state != ROUND_STORED)
            continue;
        WORLD_CHECK(w, s->outcome[job->round][m->serial] == OUT_OPEN);
        s->outcome[job->round][m->serial] = OUT_KEPT;
        counted |= 1u << m->serial;
    }
    /* The sums hold exactly what was acknowledged and not rejected, at least the minimum, at most
     * the goal. */
    WORLD_CHECK(w, counted == w->sums[job->group]);
    WORLD_CHECK(w, (uint32_t)__builtin_popcount(counted) >= g->minimum);
    WORLD_CHECK(w, (uint32_t)__builtin_popcount(counted) <= g->goal);
    s->counted[job->round] |= counted;
    g->state = ROUND_GROUP_SUMMED;
    return ev;
}

static struct round_event job_fail_group(struct world *w, const struct world_job *job) {
    struct world_store *s = &w->store;
    WORLD_CHECK(w, s->open && s->groups[job->group].state == ROUND_GROUP_RUNNING);
    for (uint32_t i = 0; i < s->member_count; i++)
        if (s->members[i].group == job->group &&
            s->outcome[job->round][s->members[i].serial] == OUT_OPEN)
            s->outcome[job->round][s->members[i].serial] = OUT_RETURNED;
    s->groups[job->group].state = ROUND_GROUP_FAILED;
    return (struct round_event){
        .kind = ROUND_EV_SUMMED, .round = job->round, .group = job->group, .ok = false};
}

static struct round_event job_advance(struct world *w, const struct world_job *job) {
    struct world_store *s = &w->store;
    uint32_t summed = 0;
    for (uint32_t g = 0; g < s->group_count; g++) {
        WORLD_CHECK(w, s->groups[g].state == ROUND_GROUP_SUMMED ||
                           s->groups[g].state == ROUND_GROUP_FAILED);
        summed += s->groups[g].state == ROUND_GROUP_SUMMED;
    }
    WORLD_CHECK(w, summed > 0);
    end_round(w, job->round, END_COMMITTED);
    return (struct round_event){
        .kind = ROUND_EV_ADVANCED, .round = job->round, .ok = job->round % 5 != 0};
}

void world_run_job(struct world *w, uint32_t i) {
    struct world_job job = w->jobs[i];
    memmove(&w->jobs[i], &w->jobs[i + 1], (w->job_count - i - 1) * sizeof job);
    w->job_count--;
    struct round_event ev = {.kind = ROUND_EV_TICK};
    switch (job.kind) {
    case JOB_OPEN:
        ev = job_open(w, &job);
        break;
    case JOB_CHECK:
        ev = job_check(w, &job);
        break;
    case JOB_SUM:
        ev = job_sum(w, &job);
        break;
    case JOB_FAIL_GROUP:
        ev = job_fail_group(w, &job);
        break;
    case JOB_ADVANCE:
        ev = job_advance(w, &job);
        break;
    }
    if (world_chance(w, 20)) { /* killed between the commit and the engine's learning of it */
        world_crash(w);
        return;
    }
    uint32_t crashes = w->crashes;
    world_event(w, ev);
    if (world_chance(w, 50) && w->crashes == crashes &&
        (ev.ok || ev.kind != ROUND_EV_SUMMED)) /* an answer that comes twice */
        world_event(w, ev);
}

/* ---- Messages
 * ---------------------------------------------------------------------------------------------------------
 */

static void receive(struct world *w, const struct world_message *m) {
    const struct world_store *s = &w->store;
    struct round_event ev = {.serial = m->serial, .round = m->round};
    ev.kind = m->kind == TO_HOST_CHECK_IN    ? ROUND_EV_CHECK_IN
              : m->kind == TO_HOST_HEARTBEAT ? ROUND_EV_HEARTBEAT
              : m->kind == TO_HOST_DECLINE   ? ROUND_EV_DECLINE
                                             : ROUND_EV_REPORT;
    if (m->kind == TO_HOST_REPORT && (m->round == 0 || m->round >= s->next_round))
        return; /* terms that were never made are no round's */
    if (m->kind == TO_HOST_REPORT && m->round != round_number(w->engine) &&
        s->outcome[m->round][m->serial] != OUT_NONE) {
        world_send(w, (struct world_message){.kind = TO_DEVICE_OUTCOME,
                                             .serial = m->serial,
                                             .round = m->round,
                                             .outcome = s->outcome[m->round][m->serial]});
        return;
    }
    step(w, ev, m->bad, m->nonce);
    if (m->kind != TO_HOST_CHECK_IN)
        return;
    /* Open reports are answered from the store. */
    for (uint32_t r = 1; r < WORLD_ROUNDS; r++)
        if (w->device[m->serial].open & (1ull << r))
            world_send(w, (struct world_message){.kind = TO_DEVICE_OUTCOME,
                                                 .serial = m->serial,
                                                 .round = r,
                                                 .outcome = s->outcome[r][m->serial]});
}

void world_deliver(struct world *w, uint32_t i) {
    struct world_message m = w->messages[i];
    memmove(&w->messages[i], &w->messages[i + 1], (w->message_count - i - 1) * sizeof m);
    w->message_count--;
    if (m.kind <= TO_HOST_DECLINE)
        receive(w, &m);
    else
        world_device_receive(w, &m);
}
