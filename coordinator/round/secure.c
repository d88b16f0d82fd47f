/* Secure rounds: gathering of members that have trained, their groups, and the exchanges of each
 * group's session. What the session says is secagg's business; here is who is waited for, and how
 * long. */
#include "round/round_int.h"

#include <stdio.h>

#include "sotto/secagg.h"

bool secure_round(const struct round_engine *e) {
    return e->config->secure_aggregation != 0;
}

bool secure_gathering(const struct round_engine *e) {
    return e->group_count > 0 && e->groups[0].state == ROUND_GROUP_GATHERING;
}

uint32_t secure_least(const struct round_engine *e) {
    return (uint32_t)num_max_u64(e->config->minimum_group, SECAGG_MEMBERS_MIN);
}

static void note_why(struct round_engine *e, const char *why) {
    snprintf(e->why, sizeof e->why, "%s", why);
}

static uint64_t most_members(const struct round_engine *e) {
    return num_max_u64(e->config->group_max, SECAGG_MEMBERS_MIN);
}

static bool is_ready(const struct round_member *m) {
    return m->state == ROUND_READY || m->state == ROUND_STORED || m->state == ROUND_CHECKED;
}

/* Of the group's session under way, and not fallen out. */
static bool is_in(const struct round_engine *e, const struct round_member *m) {
    return is_ready(m) && m->attempt > 0 && m->attempt == e->groups[m->group].attempt &&
           m->out == 0;
}

static void recount(struct round_engine *e, uint32_t group) {
    struct group_more *more = &e->more[group];
    more->in = more->sent = 0;
    for (uint32_t i = 0; i < e->member_count; i++) {
        const struct round_member *m = &e->members[i];
        if (m->group != group || !is_in(e, m))
            continue;
        more->in++;
        more->sent += m->sent >= e->groups[group].exchange;
    }
}

/* The members fall out of the session in its present exchange. */
static void fall_out(struct round_engine *e, struct round_member *m) {
    const struct round_group *g = &e->groups[m->group];
    if (!is_in(e, m))
        return;
    m->out = g->exchange;
    e->more[m->group].in--;
    e->more[m->group].sent -= m->sent >= g->exchange;
}

/* ---- Gathering
 * --------------------------------------------------------------------------------------------------------
 */

/* How many groups the ready members make: as many as wanted, more where a group would be too large,
 * fewer where one would be too small; 0: not even one. */
static uint32_t group_count(const struct round_engine *e, uint32_t ready) {
    uint64_t fewest = (ready + most_members(e) - 1) / most_members(e);
    uint64_t wanted = e->kind == ROUND_TRAIN ? num_max_u64(e->config->groups, 1) : 1;
    uint64_t n = num_min_u64(num_max_u64(wanted, fewest), ROUND_GROUPS_MAX);
    while (n > 1 && ready / n < secure_least(e))
        n--;
    if (n < fewest || ready / n < secure_least(e))
        return 0;
    return (uint32_t)n;
}

/* By serial, into runs whose sizes differ by at most one. Who is not ready belongs to no session.
 */
static void make_groups(struct round_engine *e, uint32_t groups, uint32_t ready) {
    e->group_count = groups;
    for (uint32_t g = 0; g < groups; g++) {
        const uint32_t members = (ready + groups - 1 - g) / groups;
        e->groups[g] = (struct round_group){.members = members,
                                            .goal = members,
                                            .minimum = secure_least(e),
                                            .state = ROUND_GROUP_RUNNING,
                                            .attempt = 1,
                                            .exchange = SECAGG_ADVERTISE};
        e->more[g] = (struct group_more){.waiting = true};
    }
    uint32_t g = 0, left = e->groups[0].members;
    for (uint32_t i = 0; i < e->member_count; i++) {
        struct round_member *m = &e->members[i];
        m->group = 0;
        m->attempt = m->sent = m->out = 0;
        if (m->state != ROUND_READY)
            continue;
        if (left == 0)
            left = e->groups[++g].members;
        left--;
        m->group = g;
        m->attempt = 1;
    }
    groups_recount(e);
    for (g = 0; g < groups; g++)
        recount(e, g);
}

static void fail_gathering(struct round_engine *e, uint32_t ready, const char *why,
                           struct emit *out) {
    struct round_action *a = emit_action(out, ROUND_DO_FAIL_GROUP, e->number);
    if (why)
        emit_text(a, "%s", why);
    else
        emit_text(a, "%u devices were ready, %u are needed, and groups of at least %u", ready,
                  e->groups[0].minimum, secure_least(e));
    note_why(e, a->text);
    e->groups[0].state = ROUND_GROUP_SUMMING;
    e->more[0].failing = true;
}

static void settle_gathering(struct round_engine *e, struct emit *out) {
    const struct round_group *g = &e->groups[0];
    const uint32_t ready = e->more[0].ready;
    const bool enough = ready >= g->goal, last = e->more[0].live == 0;
    if (!enough && !last && !e->stopping)
        return;
    if (!emit_room(out, 1)) {
        e->wake = true;
        return;
    }
    const uint32_t groups = ready >= g->minimum ? group_count(e, ready) : 0;
    if (e->stopping || groups == 0) {
        fail_gathering(e, ready, e->stopping ? "the task was stopped" : NULL, out);
        return;
    }
    make_groups(e, groups, ready);
    struct round_action *a = emit_action(out, ROUND_DO_GROUP, e->number);
    a->group = ROUND_ALL_GROUPS;
    emit_text(a, "%u ready devices in %u group%s", ready, groups, groups == 1 ? "" : "s");
}

/* ---- Exchanges
 * --------------------------------------------------------------------------------------------------------
 */

static void begin_exchange(struct round_engine *e, uint32_t group, enum secagg_kind exchange) {
    e->groups[group].exchange = (uint8_t)exchange;
    e->more[group].waiting = false;
    e->more[group].complete = false;
    e->more[group].notify = true;
    e->more[group].since_ms = e->now_ms;
    recount(e, group);
}

static void fail_group(struct round_engine *e, uint32_t group, const char *why, struct emit *out) {
    struct round_action *a = emit_action(out, ROUND_DO_FAIL_GROUP, e->number);
    a->group = group;
    emit_text(a, "%s", why);
    note_why(e, why);
    e->groups[group].state = ROUND_GROUP_SUMMING;
    e->more[group].failing = true;
}

static bool takes_along(const struct round_engine *e, const struct round_member *m) {
    return m->state == ROUND_READY && (is_in(e, m) || m->back);
}

/* The session failed before anybody was asked for its input: once more, with those who are still
 * there. */
static void regroup(struct round_engine *e, uint32_t group, struct emit *out) {
    struct round_group *g = &e->groups[group];
    uint32_t left = 0;
    for (uint32_t i = 0; i < e->member_count; i++)
        left += e->members[i].group == group && takes_along(e, &e->members[i]);
    e->more[group].regroup = false;
    if (g->attempt >= ROUND_ATTEMPTS_MAX || left < secure_least(e) || e->stopping) {
        fail_group(e, group,
                   e->stopping ? "the task was stopped"
                   : g->attempt < ROUND_ATTEMPTS_MAX
                       ? "too few members are left for another session"
                       : "its sessions failed four times",
                   out);
        return;
    }
    for (uint32_t i = 0; i < e->member_count; i++) {
        struct round_member *m = &e->members[i];
        if (m->group != group || !takes_along(e, m))
            continue;
        m->attempt = (uint8_t)(g->attempt + 1);
        m->sent = m->out = 0;
        m->back = false;
    }
    g->attempt++;
    g->members = left;
    g->exchange = SECAGG_ADVERTISE;
    e->more[group].waiting = true;
    recount(e, group);
    struct round_action *a = emit_action(out, ROUND_DO_REGROUP, e->number);
    a->group = group;
    a->attempt = g->attempt;
    emit_text(a, "session %u of %u members", g->attempt, left);
}

static uint64_t exchange_end(const struct round_engine *e, uint32_t group) {
    const uint64_t ms = e->config->exchange_ms, since = e->more[group].since_ms;
    return ms == 0 || since > UINT64_MAX - ms ? UINT64_MAX : since + ms;
}

static void close_exchange(struct round_engine *e, uint32_t group, struct emit *out) {
    struct round_group *g = &e->groups[group];
    const uint32_t waited = e->more[group].in, got = e->more[group].sent;
    for (uint32_t i = 0; i < e->member_count; i++) {
        struct round_member *m = &e->members[i];
        /* Unmasking may end before all have answered: that is no fault of theirs. */
        if (m->group == group && m->sent < g->exchange && !e->more[group].complete)
            fall_out(e, m);
    }
    struct round_action *a = emit_action(out, ROUND_DO_CLOSE, e->number);
    a->group = group;
    a->attempt = g->attempt;
    a->exchange = g->exchange;
    emit_text(a, "%u of %u members", got, waited);
    e->more[group].waiting = true;
}

static void settle_group(struct round_engine *e, uint32_t group, struct emit *out) {
    struct group_more *more = &e->more[group];
    if (more->waiting)
        return;
    if (!emit_room(out, 2)) {
        e->wake = true;
        return;
    }
    if (e->stopping) {
        fail_group(e, group, "the task was stopped", out);
        return;
    }
    if (more->regroup) {
        regroup(e, group, out);
        return;
    }
    if (more->notify) {
        struct round_action *a = emit_action(out, ROUND_DO_NOTIFY, e->number);
        a->group = group;
        more->notify = false;
    }
    if (more->sent >= more->in || more->complete || e->now_ms >= exchange_end(e, group))
        close_exchange(e, group, out);
}

void secure_settle(struct round_engine *e, struct emit *out) {
    if (e->groups[0].state == ROUND_GROUP_GATHERING) {
        settle_gathering(e, out);
        return;
    }
    for (uint32_t g = 0; g < e->group_count; g++)
        if (e->groups[g].state == ROUND_GROUP_RUNNING)
            settle_group(e, g, out);
}

uint64_t secure_next_ms(const struct round_engine *e) {
    uint64_t next = UINT64_MAX;
    for (uint32_t g = 0; g < e->group_count; g++)
        if (e->groups[g].state == ROUND_GROUP_RUNNING && !e->more[g].waiting)
            next = num_min_u64(next, exchange_end(e, g));
    return next;
}

/* ---- Events
 * -----------------------------------------------------------------------------------------------------------
 */

void secure_opened(struct round_engine *e) {
    struct round_group *g = &e->groups[0];
    uint32_t members = 0, goal = 0, minimum = 0;
    for (uint32_t i = 0; i < e->group_count; i++) {
        members += e->groups[i].members;
        goal += e->groups[i].goal;
        minimum += e->groups[i].minimum;
    }
    *g = (struct round_group){.members = members,
                              .goal = goal,
                              .minimum = (uint32_t)num_max_u64(minimum, secure_least(e)),
                              .state = ROUND_GROUP_GATHERING};
    g->goal = (uint32_t)num_max_u64(g->goal, g->minimum);
    e->group_count = 1;
    e->more[0] = (struct group_more){0};
    e->why[0] = '\0';
    for (uint32_t i = 0; i < e->member_count; i++)
        e->members[i].group = 0;
}

static struct round_action *state_action(struct round_engine *e, const struct round_member *m,
                                         struct emit *out) {
    struct round_action *a = emit_action(out, ROUND_DO_STATE, e->number);
    a->serial = m->serial;
    a->group = m->group;
    return a;
}

/* A device with the session's secrets names the session; one that names none, though its record
 * came, has lost them. */
static void ready_again(struct round_engine *e, const struct round_event *ev,
                        struct round_member *m) {
    const struct round_group *g = &e->groups[m->group];
    if (g->state != ROUND_GROUP_RUNNING || g->attempt == 0)
        return;
    if (ev->attempt < g->attempt && m->sent > 0 && !e->more[m->group].waiting)
        fall_out(e, m);
    if (!is_in(e, m) && m->state == ROUND_READY)
        m->back = true;
}

void answer_ready(struct round_engine *e, const struct round_event *ev, struct emit *out) {
    device_seen(e, ev->serial);
    struct round_member *m = ev->round == e->number ? member_find(e, ev->serial) : NULL;
    if (!m || e->state == ROUND_OPENING) {
        return_report(e, ev, NULL,
                      ev->round == e->number ? "not a member of this round" : "the round has ended",
                      out);
        return;
    }
    const struct round_group *g = &e->groups[m->group];
    const bool gathering = g->state == ROUND_GROUP_GATHERING && e->state == ROUND_OPEN;
    if (member_is_live(m) && gathering && !e->stopping && e->more[0].ready < g->goal) {
        m->seen_ms = e->now_ms;
        member_store(e, m, ROUND_READY, "has trained", out);
    } else if (!is_ready(m)) {
        return_report(e, ev, m,
                      m->state == ROUND_DROPPED    ? "dropped from this round"
                      : m->state == ROUND_DECLINED ? "declined this round"
                      : e->stopping                ? "the task was stopped"
                                                   : "the round has its members",
                      out);
        return;
    } else {
        ready_again(e, ev, m);
    }
    state_action(e, m, out);
}

void secure_grouped(struct round_engine *e, const struct round_event *ev, struct emit *out) {
    if (e->state != ROUND_OPEN || ev->round != e->number)
        return;
    for (uint32_t g = 0; g < e->group_count; g++) {
        if (ev->group != ROUND_ALL_GROUPS && ev->group != g)
            continue;
        if (e->groups[g].state != ROUND_GROUP_RUNNING || !e->more[g].waiting ||
            e->groups[g].exchange != SECAGG_ADVERTISE)
            continue;
        if (ev->ok)
            begin_exchange(e, g, SECAGG_ADVERTISE);
        else
            fail_group(e, g, "its session could not be made", out);
    }
}

/* The session could not go on: another one, where nobody was asked for an input yet. */
static void session_failed(struct round_engine *e, uint32_t group, const char *why,
                           struct emit *out) {
    e->more[group].waiting = false;
    if (e->groups[group].exchange < SECAGG_MASKED)
        e->more[group].regroup = true; /* settling does it */
    else
        fail_group(e, group, why, out);
}

/* What a host found when it built the sessions again. */
static void session_found(struct round_engine *e, const struct round_event *ev, struct emit *out) {
    if (ev->round != e->number || e->state != ROUND_OPEN || ev->group >= e->group_count ||
        e->groups[ev->group].state != ROUND_GROUP_RUNNING || e->more[ev->group].waiting)
        return;
    if (!ev->ok)
        session_failed(e, ev->group, "its session could not be resumed", out);
    else if (e->groups[ev->group].exchange == SECAGG_UNMASK)
        e->more[ev->group].complete |= ev->complete;
}

void secure_message(struct round_engine *e, const struct round_event *ev, struct emit *out) {
    if (ev->serial == 0) {
        session_found(e, ev, out);
        return;
    }
    struct round_member *m = ev->round == e->number ? member_find(e, ev->serial) : NULL;
    if (!m || e->state != ROUND_OPEN ||
        round_secure_due(e, ev->serial, ev->attempt, ev->exchange) != SOTTO_OK)
        return;
    m->seen_ms = e->now_ms;
    if (!ev->ok) {
        fall_out(e, m);
        return;
    }
    m->sent = ev->exchange;
    e->more[m->group].sent++;
    if (ev->exchange == SECAGG_MASKED)
        member_set(e, m, ROUND_STORED);
    e->more[m->group].complete |= ev->complete && ev->exchange == SECAGG_UNMASK;
}

/* Those whose input is in the session's sum. */
static void mark_survivors(struct round_engine *e, uint32_t group) {
    for (uint32_t i = 0; i < e->member_count; i++) {
        struct round_member *m = &e->members[i];
        if (m->group == group && m->attempt == e->groups[group].attempt &&
            m->state == ROUND_STORED && m->sent >= SECAGG_MASKED)
            member_set(e, m, ROUND_CHECKED);
    }
}

void secure_closed(struct round_engine *e, const struct round_event *ev, struct emit *out) {
    if (e->state != ROUND_OPEN || ev->round != e->number || ev->group >= e->group_count)
        return;
    struct round_group *g = &e->groups[ev->group];
    if (g->state != ROUND_GROUP_RUNNING || !e->more[ev->group].waiting ||
        g->attempt != ev->attempt || g->exchange != ev->exchange)
        return;
    e->more[ev->group].waiting = false;
    if (!ev->ok) {
        session_failed(e, ev->group, "its session failed after masked inputs had been asked for",
                       out);
        return;
    }
    if (g->exchange == SECAGG_MASKED)
        mark_survivors(e, ev->group);
    if (g->exchange < SECAGG_UNMASK) {
        begin_exchange(e, ev->group, (enum secagg_kind)(g->exchange + 2));
        return;
    }
    struct round_action *a = emit_action(out, ROUND_DO_SUM, e->number);
    a->group = ev->group;
    emit_text(a, "%u of %u members are in the sum", g->checked, g->members);
    g->state = ROUND_GROUP_SUMMING;
    e->more[ev->group].failing = false;
}

void secure_member_gone(struct round_engine *e, struct round_member *m, const char *why,
                        struct emit *out) {
    const struct round_group *g = &e->groups[m->group];
    if (g->state == ROUND_GROUP_GATHERING && m->state == ROUND_READY) {
        member_store(e, m, ROUND_DROPPED, why, out);
    } else if (g->state == ROUND_GROUP_RUNNING && is_ready(m)) {
        fall_out(e, m);
        m->back = false;
    }
}

/* ---- Restoring, views
 * --------------------------------------------------------------------------------------------------------
 */

void secure_restored(struct round_engine *e) {
    for (uint32_t i = 0; i < e->member_count; i++) {
        struct round_member *m = &e->members[i];
        const struct round_group *g = &e->groups[m->group];
        m->back = false;
        if (g->state == ROUND_GROUP_RUNNING && is_ready(m)) {
            const bool input = m->attempt == g->attempt && m->sent >= SECAGG_MASKED;
            m->state = !input                        ? ROUND_READY
                       : g->exchange > SECAGG_MASKED ? ROUND_CHECKED
                                                     : ROUND_STORED;
        }
    }
    groups_recount(e);
    for (uint32_t g = 0; g < e->group_count; g++)
        if (e->groups[g].state == ROUND_GROUP_RUNNING)
            begin_exchange(e, g, (enum secagg_kind)e->groups[g].exchange);
}

void secure_start_clock(struct round_engine *e) {
    for (uint32_t g = 0; g < e->group_count; g++)
        if (e->more[g].since_ms == 0)
            e->more[g].since_ms = e->now_ms;
}

uint8_t round_secure_task(const struct round_engine *e, uint64_t serial, uint8_t *attempt) {
    const struct round_member *m = round_member_find(e, serial);
    *attempt = 0;
    if (!m || e->state != ROUND_OPEN || !is_ready(m))
        return 0;
    const struct round_group *g = &e->groups[m->group];
    *attempt = g->attempt;
    if (g->state != ROUND_GROUP_RUNNING || e->more[m->group].waiting || !is_in(e, m) ||
        m->sent >= g->exchange)
        return 0;
    return g->exchange == SECAGG_ADVERTISE ? g->exchange : (uint8_t)(g->exchange - 1);
}

enum sotto_status round_secure_due(const struct round_engine *e, uint64_t serial, uint32_t attempt,
                                   uint32_t exchange) {
    const struct round_member *m = round_member_find(e, serial);
    if (!m || e->state != ROUND_OPEN || m->attempt != attempt || attempt == 0)
        return SOTTO_STATE;
    const struct round_group *g = &e->groups[m->group];
    if (m->attempt == g->attempt && m->sent >= exchange && exchange % 2 == 1)
        return SOTTO_EXISTS;
    return g->state == ROUND_GROUP_RUNNING && !e->more[m->group].waiting && is_in(e, m) &&
                   g->exchange == exchange
               ? SOTTO_OK
               : SOTTO_STATE;
}

bool round_secure_asked(const struct round_engine *e, const struct round_member *m) {
    const struct round_group *g = &e->groups[m->group];
    return m->attempt > 0 && m->attempt == g->attempt && g->exchange >= SECAGG_MASKED &&
           (m->out == 0 || m->out >= SECAGG_MASKED);
}

void round_secure_counts(const struct round_engine *e, uint32_t group, uint32_t out[10]) {
    for (uint32_t i = 0; i < 10; i++)
        out[i] = 0;
    for (uint32_t i = 0; i < e->member_count; i++) {
        const struct round_member *m = &e->members[i];
        if (m->group == group && m->attempt > 0 && m->attempt == e->groups[group].attempt)
            out[m->out < 10 ? m->out : 9]++;
    }
}
