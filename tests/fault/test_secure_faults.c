/* Secure rounds of the engine under schedules of loss, delay, duplication, reordering, crashes of
 * the coordinator and of devices, silence and sessions that fail, all drawn from one seed. Members
 * and sessions are scripts: which message of which exchange, no bytes; the cryptography has tests
 * of its own, and the daemon's tests drive both.
 *
 * Whatever happens: nobody masks its input twice in a round; who may have masked is never told that
 * it comes back; what is shown once does not change; a sum holds exactly the inputs stored in its
 * session, and no fewer than the minimum; once the faults stop, the task ends. SOTTO_SEED,
 * SOTTO_SCHEDULES and SOTTO_SCHEDULE choose the schedules. */
#include <stdlib.h>
#include <string.h>

#include "sotto/coordinator/engine.h"
#include "sotto/secagg.h"

#include "support.h"

#define DEVICES     45u
#define ROUNDS      64u
#define MESSAGES    1024u
#define JOBS        256u
#define SCHEDULES   3000u
#define FAULT_STEPS 2500u
#define CALM_STEPS  4000u

enum outcome { NONE, KEPT, RETURNED };

/* What survives a crash of the host. */
struct store {
    uint32_t next_round;
    uint64_t train_done;
    bool open, finished;
    enum round_kind kind;
    uint32_t member_count, group_count;
    struct round_member members[DEVICES];
    struct round_group groups[ROUND_GROUPS_MAX];
    uint16_t sent[DEVICES + 1];        /* in its newest session: bit of each exchange stored */
    uint16_t closed[ROUND_GROUPS_MAX]; /* in the group's session */
    uint8_t asked[ROUND_GROUPS_MAX];   /* the session that asked for inputs; 0: none */
    enum outcome outcome[ROUNDS][DEVICES + 1];
    bool counted[ROUNDS][DEVICES + 1];
    bool revoked[DEVICES + 1];
};
enum job_kind { JOB_OPEN, JOB_GROUP, JOB_CLOSE, JOB_SUM, JOB_FAIL, JOB_ADVANCE };
struct job {
    enum job_kind kind;
    uint32_t round, group;
    uint8_t attempt, exchange;
};
enum message_kind { CHECK_IN, READY, SEND, DECLINE, PLAN, STATE };
struct message {
    enum message_kind kind;
    uint32_t serial, round;
    uint8_t attempt, exchange;
    enum outcome outcome;
};
enum stage { IDLE, TRAINING, TRAINED };
struct device {
    enum stage stage; /* these two and masked survive its death */
    uint32_t round, last;
    bool masked[ROUNDS];
    uint8_t attempt; /* session secrets: lost with the process */
    uint64_t next_ms;
    enum outcome told[ROUNDS];
    bool silent;
};
struct world {
    uint64_t seed;
    uint32_t schedule, devices;
    struct rng rng;
    struct task_config config;
    bool faults;
    struct store store;
    struct round_engine *engine;
    struct job jobs[JOBS];
    uint32_t job_count;
    struct device device[DEVICES + 1];
    struct message messages[MESSAGES];
    uint32_t message_count;
    uint64_t now_ms;
    uint32_t crashes, sums, again;
    uint32_t revoking; /* in the next transaction */
};

#define CHECK(w, condition)                                                                        \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            print_error("schedule %u of SOTTO_SEED=%llu: %s\n", (w)->schedule,                     \
                        (unsigned long long)(w)->seed, #condition);                                \
            fail();                                                                                \
        }                                                                                          \
    } while (0)

static bool chance(struct world *w, uint32_t permille) {
    return w->faults && rng_below(&w->rng, 1000) < permille;
}

static void post(struct world *w, struct message m) {
    if (w->message_count < MESSAGES)
        w->messages[w->message_count++] = m;
}

static void add_job(struct world *w, struct job j) {
    CHECK(w, w->job_count < JOBS);
    w->jobs[w->job_count++] = j;
}

static void event(struct world *w, struct round_event ev);

/* ---- The host
 * --------------------------------------------------------------------------------------------------------
 */

static struct round_member *member(struct world *w, uint64_t serial) {
    for (uint32_t i = 0; i < w->store.member_count; i++)
        if (w->store.members[i].serial == serial)
            return &w->store.members[i];
    return NULL;
}

static void set_outcome(struct world *w, uint32_t round, uint64_t serial, enum outcome o) {
    enum outcome *was = &w->store.outcome[round][serial];
    if (*was != NONE)
        return;
    *was = o;
    /* Mass that left under a mask never comes back. */
    CHECK(w, o != RETURNED || !w->device[serial].masked[round]);
    CHECK(w, o != RETURNED || !w->store.counted[round][serial]);
}

static uint16_t bit(uint32_t exchange) {
    return (uint16_t)(1u << exchange);
}

/* Of the group's session: sent this and all before it. */
static bool reached(const struct store *s, const struct round_member *m, uint32_t exchange) {
    for (uint32_t x = 1; x <= exchange; x += 2)
        if (!(s->sent[m->serial] & bit(x)))
            return false;
    return m->attempt > 0 && m->attempt == s->groups[m->group].attempt;
}

static uint32_t count_reached(const struct store *s, uint32_t group, uint32_t exchange) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->member_count; i++)
        n += s->members[i].group == group && reached(s, &s->members[i], exchange);
    return n;
}

static void restart(struct world *w) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct store *s = &w->store;
    struct round_action actions[ROUND_ACTIONS_MAX];
    struct round_member members[DEVICES];
    struct round_group groups[ROUND_GROUPS_MAX];
    size_t count;
    round_engine_free(w->engine);
    w->job_count = 0;
    ASSERT_OK(round_engine_new(&w->config, s->next_round, s->train_done, &w->engine, &err));
    for (uint64_t serial = 1; serial <= w->devices; serial++) {
        struct round_event add = {
            .kind = ROUND_EV_DEVICE_ADD, .serial = serial, .now_ms = w->now_ms};
        if (!s->revoked[serial])
            ASSERT_OK(round_step(w->engine, &add, actions, &count, &err));
    }
    if (!s->open)
        return;
    memcpy(members, s->members, sizeof members);
    memcpy(groups, s->groups, sizeof groups);
    for (uint32_t g = 0; g < s->group_count; g++) {
        if (groups[g].state != ROUND_GROUP_RUNNING)
            continue;
        uint32_t x = 1;
        while (x < SECAGG_UNMASK && (s->closed[g] & bit(x)))
            x += 2;
        groups[g].exchange = (uint8_t)x;
        for (uint32_t i = 0; i < s->member_count; i++) {
            struct round_member *m = &members[i];
            if (m->group != g || m->attempt != groups[g].attempt)
                continue;
            m->sent = m->out = 0;
            for (uint32_t y = 1; y <= x && m->out == 0; y += 2) {
                if (s->sent[m->serial] & bit(y))
                    m->sent = (uint8_t)y;
                else if (y < x)
                    m->out = (uint8_t)y;
            }
            if (s->revoked[m->serial] && m->out == 0)
                m->out = (uint8_t)x;
        }
    }
    struct round_saved saved = {.round = s->next_round - 1,
                                .kind = s->kind,
                                .state = ROUND_OPEN,
                                .member_count = s->member_count,
                                .group_count = s->group_count,
                                .members = members,
                                .groups = groups};
    ASSERT_OK(round_restore(w->engine, &saved, &err));
    for (uint32_t g = 0; g < s->group_count; g++)
        if (groups[g].state == ROUND_GROUP_RUNNING && groups[g].exchange == SECAGG_UNMASK)
            event(w, (struct round_event){.kind = ROUND_EV_SECURE,
                                          .round = saved.round,
                                          .group = g,
                                          .ok = true,
                                          .complete = count_reached(s, g, SECAGG_UNMASK) >=
                                                      groups[g].members * 2 / 3 + 1});
}

static void crash(struct world *w) {
    w->crashes++;
    w->revoking = 0;
    restart(w);
}

static void tell(struct world *w, uint64_t serial) {
    struct message m = {
        .kind = STATE, .serial = (uint32_t)serial, .round = round_number(w->engine)};
    m.outcome = w->store.outcome[m.round][serial];
    m.exchange = round_secure_task(w->engine, serial, &m.attempt);
    post(w, m);
}

/* Durable before any reply leaves. */
static void store_action(struct world *w, const struct round_action *a) {
    struct store *s = &w->store;
    if (a->kind == ROUND_DO_STORE_MEMBER) {
        struct round_member *m = member(w, a->serial);
        CHECK(w, m && s->open);
        m->state = a->member_state;
        if (a->member_state == ROUND_DROPPED)
            set_outcome(w, a->round, a->serial, RETURNED);
    } else if (a->kind == ROUND_DO_RETURN) {
        set_outcome(w, a->round, a->serial, RETURNED);
    } else if (a->kind == ROUND_DO_FAIL) {
        for (uint32_t g = 0; g < s->group_count; g++)
            CHECK(w, s->groups[g].state == ROUND_GROUP_FAILED);
        s->open = false;
        s->train_done += s->kind == ROUND_TRAIN;
    } else if (a->kind == ROUND_DO_FINISHED) {
        s->finished = true;
    }
}

static void start_action(struct world *w, const struct round_action *a) {
    static const struct {
        enum round_action_kind action;
        enum job_kind job;
    } jobs[] = {{ROUND_DO_OPEN, JOB_OPEN},      {ROUND_DO_GROUP, JOB_GROUP},
                {ROUND_DO_REGROUP, JOB_GROUP},  {ROUND_DO_CLOSE, JOB_CLOSE},
                {ROUND_DO_SUM, JOB_SUM},        {ROUND_DO_FAIL_GROUP, JOB_FAIL},
                {ROUND_DO_ADVANCE, JOB_ADVANCE}};
    uint32_t count = 0;
    const struct round_member *m = round_members(w->engine, &count);
    for (size_t i = 0; i < ARRAY_LEN(jobs); i++)
        if (jobs[i].action == a->kind)
            add_job(w, (struct job){jobs[i].job, a->round, a->group, a->attempt, a->exchange});
    switch ((int)a->kind) {
    case ROUND_DO_PLAN:
        post(w, (struct message){.kind = PLAN, .serial = (uint32_t)a->serial, .round = a->round});
        break;
    case ROUND_DO_STATE:
        tell(w, a->serial);
        break;
    case ROUND_DO_RETURN:
        post(w, (struct message){.kind = STATE,
                                 .serial = (uint32_t)a->serial,
                                 .round = a->round,
                                 .outcome = w->store.outcome[a->round][a->serial]});
        break;
    case ROUND_DO_NOTIFY:
        for (uint32_t i = 0; i < count; i++)
            if (m[i].group == a->group)
                tell(w, m[i].serial);
        break;
    default:
        break;
    }
}

static void event(struct world *w, struct round_event ev) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct round_action actions[ROUND_ACTIONS_MAX];
    size_t count;
    ev.now_ms = w->now_ms;
    ASSERT_OK(round_step(w->engine, &ev, actions, &count, &err));
    if (chance(w, 2)) { /* killed before the transaction */
        crash(w);
        return;
    }
    for (size_t i = 0; i < count; i++)
        store_action(w, &actions[i]);
    w->store.revoked[w->revoking] |= w->revoking != 0;
    w->revoking = 0;
    if (chance(w, 2)) { /* killed behind it */
        crash(w);
        return;
    }
    for (size_t i = 0; i < count; i++)
        start_action(w, &actions[i]);
}

/* ---- Its work
 * --------------------------------------------------------------------------------------------------------
 */

static bool asked(const struct store *s, const struct round_member *m) {
    return (s->closed[m->group] & bit(SECAGG_SHARES)) && reached(s, m, SECAGG_SHARES);
}

static void job_open(struct world *w, const struct job *j) {
    struct store *s = &w->store;
    if (chance(w, 50)) {
        event(w, (struct round_event){.kind = ROUND_EV_FAILED, .round = j->round});
        return;
    }
    CHECK(w, !s->open && j->round == s->next_round && j->round < ROUNDS);
    const struct round_member *m = round_members(w->engine, &s->member_count);
    memcpy(s->members, m, sizeof *m * s->member_count);
    const struct round_group *g = round_groups(w->engine, &s->group_count);
    CHECK(w, s->group_count == 1 && g[0].state == ROUND_GROUP_GATHERING);
    memcpy(s->groups, g, sizeof *g);
    memset(s->sent, 0, sizeof s->sent);
    memset(s->closed, 0, sizeof s->closed);
    memset(s->asked, 0, sizeof s->asked);
    s->kind = round_kind(w->engine);
    s->open = true;
    s->next_round = j->round + 1;
    event(w, (struct round_event){.kind = ROUND_EV_OPENED, .round = j->round});
}

/* Groups as the engine has made them: all, or one for another session. */
static void job_group(struct world *w, const struct job *j) {
    struct store *s = &w->store;
    uint32_t members, groups;
    const struct round_member *m = round_members(w->engine, &members);
    const struct round_group *g = round_groups(w->engine, &groups);
    struct round_event ev = {
        .kind = ROUND_EV_GROUPED, .round = j->round, .group = j->group, .ok = !chance(w, 20)};
    if (j->group == ROUND_ALL_GROUPS)
        s->group_count = groups;
    for (uint32_t i = 0; i < groups; i++)
        if (j->group == ROUND_ALL_GROUPS || j->group == i) {
            CHECK(w, g[i].members >= SECAGG_MEMBERS_MIN && g[i].members <= w->config.group_max);
            CHECK(w, g[i].attempt >= 1 && g[i].attempt <= ROUND_ATTEMPTS_MAX);
            CHECK(w, s->asked[i] == 0); /* who was asked for an input is in no other session */
            s->groups[i] = g[i];
            s->closed[i] = 0;
            w->again += g[i].attempt > 1;
        }
    for (uint32_t i = 0; i < members; i++)
        if (j->group == ROUND_ALL_GROUPS || m[i].group == j->group) {
            s->members[i].group = m[i].group;
            s->members[i].attempt = m[i].attempt;
            if (m[i].attempt == g[m[i].group].attempt)
                s->sent[m[i].serial] = 0;
        }
    event(w, ev);
}

/* A session's own rule: enough for its threshold and minimum. */
static void job_close(struct world *w, const struct job *j) {
    struct store *s = &w->store;
    struct round_group *g = &s->groups[j->group];
    const uint32_t n = count_reached(s, j->group, SECAGG_ADVERTISE), t = n * 2 / 3 + 1,
                   least = t > SECAGG_MEMBERS_MIN ? t : SECAGG_MEMBERS_MIN,
                   have = count_reached(s, j->group, j->exchange);
    bool ok = have >= (j->exchange == SECAGG_UNMASK ? t : least);
    CHECK(w, g->state == ROUND_GROUP_RUNNING && g->attempt == j->attempt);
    CHECK(w, !(s->closed[j->group] & bit(j->exchange)) || j->exchange == SECAGG_UNMASK);
    ok = ok && !chance(w, 60); /* a member that lied, say */
    if (ok) {
        s->closed[j->group] |= bit(j->exchange);
        if (j->exchange == SECAGG_SHARES)
            s->asked[j->group] = j->attempt;
    }
    event(w, (struct round_event){.kind = ROUND_EV_CLOSED,
                                  .round = j->round,
                                  .group = j->group,
                                  .attempt = j->attempt,
                                  .exchange = j->exchange,
                                  .ok = ok});
}

static void job_end(struct world *w, const struct job *j, bool ok) {
    struct store *s = &w->store;
    struct round_group *g = &s->groups[j->group];
    uint32_t sum = 0;
    CHECK(w, s->open && (g->state == ROUND_GROUP_RUNNING || g->state == ROUND_GROUP_GATHERING));
    CHECK(w, !ok || (s->closed[j->group] & bit(SECAGG_UNMASK)));
    for (uint32_t i = 0; i < s->member_count; i++) {
        struct round_member *m = &s->members[i];
        if (m->group != j->group)
            continue;
        const struct round_member *live = round_member_find(w->engine, m->serial);
        const bool gathering = g->state == ROUND_GROUP_GATHERING;
        /* One that fell out in the exchange of shares, though its shares came, is not asked. */
        const bool was_asked = !gathering && round_secure_asked(w->engine, live);
        CHECK(w, !was_asked || asked(s, m));
        const bool in = ok && live->state == ROUND_CHECKED;
        CHECK(w, !in || (w->device[m->serial].masked[j->round] && reached(s, m, SECAGG_MASKED)));
        /* All whose input was stored when the exchange closed, and nobody else. */
        CHECK(w, !ok || in == reached(s, m, SECAGG_MASKED));
        s->counted[j->round][m->serial] |= in;
        sum += in;
        set_outcome(w, j->round, m->serial, in || was_asked ? KEPT : RETURNED);
    }
    CHECK(w, !ok || sum >= SECAGG_MEMBERS_MIN);
    w->sums += ok;
    g->state = ok ? ROUND_GROUP_SUMMED : ROUND_GROUP_FAILED;
    event(w, (struct round_event){
                 .kind = ROUND_EV_SUMMED, .round = j->round, .group = j->group, .ok = ok});
}

static void run_job(struct world *w, uint32_t at) {
    const struct job j = w->jobs[at];
    struct round_event failed = {.kind = ROUND_EV_SUMMED, .round = j.round, .group = j.group};
    memmove(&w->jobs[at], &w->jobs[at + 1], (w->job_count - at - 1) * sizeof j);
    w->job_count--;
    if (j.kind == JOB_OPEN) {
        job_open(w, &j);
    } else if (j.kind == JOB_GROUP) {
        job_group(w, &j);
    } else if (j.kind == JOB_CLOSE) {
        job_close(w, &j);
    } else if (j.kind == JOB_ADVANCE) {
        w->store.open = false;
        w->store.train_done += w->store.kind == ROUND_TRAIN;
        event(w, (struct round_event){.kind = ROUND_EV_ADVANCED, .round = j.round, .ok = true});
    } else if (j.kind == JOB_SUM && chance(w, 30)) {
        event(w, failed); /* shares that do not open: the engine asks for the group's end */
    } else {
        job_end(w, &j, j.kind == JOB_SUM);
    }
}

static void host_receive(struct world *w, const struct message *m) {
    struct store *s = &w->store;
    struct round_event ev = {.serial = m->serial, .round = m->round, .attempt = m->attempt};
    if (s->revoked[m->serial])
        return;
    if (m->kind == CHECK_IN || m->kind == DECLINE) {
        ev.kind = m->kind == CHECK_IN ? ROUND_EV_CHECK_IN : ROUND_EV_DECLINE;
        event(w, ev);
        if (m->kind == CHECK_IN && m->round && s->outcome[m->round][m->serial] != NONE)
            post(w, (struct message){.kind = STATE,
                                     .serial = m->serial,
                                     .round = m->round,
                                     .outcome = s->outcome[m->round][m->serial]});
        return;
    }
    if (m->round == 0 || m->round >= s->next_round)
        return;
    if (s->outcome[m->round][m->serial] != NONE) {
        post(w, (struct message){.kind = STATE,
                                 .serial = m->serial,
                                 .round = m->round,
                                 .outcome = s->outcome[m->round][m->serial]});
        return;
    }
    if (m->kind == READY) {
        ev.kind = ROUND_EV_READY;
        event(w, ev);
        return;
    }
    if (round_number(w->engine) != m->round ||
        round_secure_due(w->engine, m->serial, m->attempt, m->exchange) != SOTTO_OK)
        return;
    const struct round_member *stored = member(w, m->serial);
    const uint32_t group = stored->group;
    ev.kind = ROUND_EV_SECURE;
    ev.exchange = m->exchange;
    ev.ok = !chance(w, 10); /* else the session does not take it */
    if (ev.ok) {
        CHECK(w, stored->attempt == m->attempt && s->groups[group].attempt == m->attempt);
        /* What was shown does not change; unmasking that was closed is asked for again. */
        CHECK(w, m->exchange == SECAGG_UNMASK || !(s->closed[group] & bit(m->exchange)));
        s->sent[m->serial] |= bit(m->exchange);
        if (m->exchange == SECAGG_MASKED)
            CHECK(w, w->device[m->serial].masked[m->round]);
        ev.complete = m->exchange == SECAGG_UNMASK &&
                      count_reached(s, group, SECAGG_UNMASK) >=
                          count_reached(s, group, SECAGG_ADVERTISE) * 2 / 3 + 1;
    }
    event(w, ev);
}

/* ---- Devices
 * -------------------------------------------------------------------------------------------------------
 */

static void device_act(struct world *w, uint32_t serial) {
    struct device *d = &w->device[serial];
    struct message m = {.kind = CHECK_IN, .serial = serial, .round = d->round};
    d->next_ms = w->now_ms + 300;
    if (d->silent && w->faults)
        return;
    if (d->stage == TRAINING && rng_below(&w->rng, 3) == 0)
        d->stage = TRAINED;
    if (d->stage == TRAINED) {
        m.kind = chance(w, 5) ? DECLINE : READY;
        m.attempt = d->attempt;
    }
    post(w, m);
}

static void device_die(struct world *w, uint32_t serial) {
    w->device[serial].attempt = 0;
}

static void device_receive(struct world *w, const struct message *m) {
    struct device *d = &w->device[m->serial];
    if (m->kind == PLAN) {
        if (d->stage == IDLE && m->round > d->last && d->told[m->round] == NONE) {
            d->stage = TRAINING;
            d->round = d->last = m->round;
        }
        return;
    }
    if (m->outcome != NONE) {
        CHECK(w, d->told[m->round] == NONE || d->told[m->round] == m->outcome);
        d->told[m->round] = m->outcome;
        CHECK(w, m->outcome != RETURNED || !d->masked[m->round]);
        if (d->round == m->round && d->stage != IDLE) {
            d->stage = IDLE;
            d->attempt = 0;
        }
        return;
    }
    if (d->stage != TRAINED || d->round != m->round || m->exchange == 0 || d->silent)
        return;
    if (m->exchange == SECAGG_ADVERTISE) {
        if (d->masked[m->round] || m->attempt < d->attempt)
            return;
        d->attempt = m->attempt;
    } else if (m->attempt != d->attempt) {
        return;
    }
    struct message out = {.kind = SEND,
                          .serial = m->serial,
                          .round = m->round,
                          .attempt = m->attempt,
                          .exchange = (uint8_t)(m->exchange + (m->exchange % 2 == 0))};
    if (out.exchange == SECAGG_MASKED)
        d->masked[m->round] = true; /* before the first byte leaves */
    post(w, out);
}

/* ---- Schedules
 * -----------------------------------------------------------------------------------------------------
 */

static void make_world(struct world *w, uint64_t seed, uint32_t schedule) {
    memset(w, 0, sizeof *w);
    w->seed = seed;
    w->schedule = schedule;
    rng_init(&w->rng, seed, schedule, 1, RNG_FAULT);
    struct rng *r = &w->rng;
    w->devices = schedule % 4 ? 10 + rng_below(r, 7) : 10 + rng_below(r, DEVICES - 9);
    struct task_config *t = &w->config;
    t->seed = rng_u64(r);
    t->cohort = 10 + rng_below(r, w->devices - 9);
    t->cohort_min = 10;
    t->groups = 1 + rng_below(r, 3);
    t->over_selection = rng_below(r, 2) ? 1.0 : 1.0 + rng_f64(r);
    t->rounds = 1 + rng_below(r, 4);
    t->pace_ms = 200;
    t->evaluate_every = rng_below(r, 3) ? 0 : 1;
    t->weight_max = 1;
    t->deadline_ms = rng_below(r, 2) ? 0 : 4000 + rng_below(r, 20000);
    t->lease_ms = rng_below(r, 2) ? 0 : 4000 + rng_below(r, 5000);
    t->secure_aggregation = 1;
    t->minimum_group = 10;
    t->group_max = 20 + rng_below(r, 26);
    t->exchange_ms = 1000 + rng_below(r, 4000);
    w->store.next_round = 1;
    w->now_ms = 1000;
    for (uint32_t i = 1; i <= w->devices; i++)
        w->device[i].silent = rng_below(r, 12) == 0;
}

static void deliver(struct world *w, uint32_t i) {
    const struct message m = w->messages[i];
    memmove(&w->messages[i], &w->messages[i + 1], (w->message_count - i - 1) * sizeof m);
    w->message_count--;
    if (m.kind <= DECLINE)
        host_receive(w, &m);
    else
        device_receive(w, &m);
}

static void revoke(struct world *w, uint32_t serial) {
    uint32_t left = 0;
    for (uint32_t i = 1; i <= w->devices; i++)
        left += !w->store.revoked[i];
    if (w->store.revoked[serial] || left <= 10 || w->config.cohort > left - 1)
        return;
    w->revoking = serial;
    event(w, (struct round_event){.kind = ROUND_EV_DEVICE_REMOVE, .serial = serial});
}

static void fault_step(struct world *w) {
    struct rng *r = &w->rng;
    const uint32_t what = rng_below(r, 1000);
    if (what < 620 && w->message_count > 0) {
        /* Mostly the oldest, or nothing would ever get through. */
        uint32_t i = rng_below(r, 4) ? 0 : rng_below(r, w->message_count);
        const uint32_t fate = rng_below(r, 40);
        if (fate == 0) {
            w->messages[i] = w->messages[--w->message_count]; /* lost, and others out of order */
        } else {
            if (fate == 1)
                post(w, w->messages[i]); /* doubled */
            deliver(w, i);
        }
    } else if (what < 760) {
        if (w->job_count > 0)
            run_job(w, rng_below(r, w->job_count));
    } else if (what < 900) {
        device_act(w, 1 + rng_below(r, w->devices));
    } else if (what < 980) {
        w->now_ms += 1 + rng_below(r, rng_below(r, 30) ? 20 : 3000);
        event(w, (struct round_event){.kind = ROUND_EV_TICK});
    } else if (what < 990) {
        device_die(w, 1 + rng_below(r, w->devices));
    } else if (what < 992) {
        w->device[1 + rng_below(r, w->devices)].silent ^= true;
    } else if (what < 993) {
        revoke(w, 1 + rng_below(r, w->devices));
    } else if (what < 996) {
        crash(w);
    } else {
        event(w, (struct round_event){.kind = ROUND_EV_TICK});
    }
}

/* Everything arrives; nothing fails; time passes. False: the task did not end. */
static bool run_calm(struct world *w) {
    w->faults = false;
    for (uint32_t i = 1; i <= w->devices; i++)
        w->device[i].silent = false;
    for (uint32_t i = 0; i < CALM_STEPS && !w->store.finished; i++) {
        while (w->message_count > 0)
            deliver(w, 0);
        while (w->job_count > 0)
            run_job(w, 0);
        for (uint32_t s = 1; s <= w->devices; s++)
            if (w->device[s].next_ms <= w->now_ms)
                device_act(w, s);
        w->now_ms += 50;
        event(w, (struct round_event){.kind = ROUND_EV_TICK});
    }
    return w->store.finished;
}

static void run_schedule(uint64_t seed, uint32_t schedule, uint32_t totals[3]) {
    static struct world w;
    make_world(&w, seed, schedule);
    w.faults = true;
    restart(&w);
    for (uint32_t i = 0; i < FAULT_STEPS && !w.store.finished; i++)
        fault_step(&w);
    CHECK(&w, run_calm(&w));
    CHECK(&w, !w.store.open && w.store.train_done == w.config.rounds);
    for (uint32_t r = 1; r < w.store.next_round; r++)
        for (uint32_t d = 1; d <= w.devices; d++) {
            CHECK(&w, !w.store.counted[r][d] || w.store.outcome[r][d] == KEPT);
            CHECK(&w, !w.store.counted[r][d] || w.device[d].masked[r]);
        }
    totals[0] += w.crashes;
    totals[1] += w.sums;
    totals[2] += w.again;
    round_engine_free(w.engine);
}

static void test_schedules(void **state) {
    (void)state;
    uint64_t seed = test_seed(), schedules = SCHEDULES, one = 0;
    struct sotto_error err = SOTTO_ERROR_INIT;
    const char *many = getenv("SOTTO_SCHEDULES"), *only = getenv("SOTTO_SCHEDULE");
    uint32_t totals[3] = {0};
    if (many)
        ASSERT_OK(num_parse_u64(many, 1, UINT32_MAX, &schedules, &err));
    if (only) {
        ASSERT_OK(num_parse_u64(only, 0, UINT32_MAX, &one, &err));
        run_schedule(seed, (uint32_t)one, totals);
        return;
    }
    for (uint32_t i = 0; i < schedules; i++)
        run_schedule(seed, i, totals);
    print_message("%llu schedules, %u crashes, %u sums, %u further sessions\n",
                  (unsigned long long)schedules, totals[0], totals[1], totals[2]);
    assert_true(totals[1] > schedules / 2 && (totals[2] > 0 || schedules < 100));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_schedules)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
