/* Answers to devices, and to the host's checks of their reports. */
#include "round/round_int.h"

static void come_back(struct round_engine *e, uint64_t serial, uint64_t base_ms, const char *why,
                      struct emit *out) {
    struct round_action *a = emit_action(out, ROUND_DO_COME_BACK, e->number);
    a->serial = serial;
    a->after_ms = round_after_ms(e, serial, base_ms);
    emit_text(a, "%s", why);
}

static const char *no_plan_reason(const struct round_engine *e, const struct round_member *m) {
    if (e->stopping || e->state == ROUND_STOPPED)
        return "the task has ended";
    if (e->state == ROUND_ADVANCING)
        return "the round's result is being computed";
    if (e->state == ROUND_WAITING)
        return e->paused ? "the task is paused" : "no round is open";
    if (e->state == ROUND_OPENING)
        return m ? "the round is about to open" : "not selected for this round";
    if (!m)
        return "not selected for this round";
    switch (m->state) {
    case ROUND_STORED:
    case ROUND_CHECKED:
        return "the report is in";
    case ROUND_REJECTED:
        return "the report was rejected";
    case ROUND_DECLINED:
        return "declined this round";
    case ROUND_DROPPED:
        return "dropped from this round";
    case ROUND_READY:
        return "has trained, its group is to come or under way";
    case ROUND_INVITED:
    case ROUND_PLANNED:
        break;
    }
    return "the group has ended";
}

static uint64_t pace(const struct round_engine *e, const struct round_member *m) {
    uint64_t ms = round_pace_ms(e);
    if (e->stopping || e->state == ROUND_STOPPED)
        return ms * 16;
    if (e->state == ROUND_WAITING && e->paused)
        return ms * 4;
    if (e->state == ROUND_OPENING && m)
        return ms / 8;
    return ms;
}

void answer_check_in(struct round_engine *e, const struct round_event *ev, struct emit *out) {
    if (!device_seen(e, ev->serial)) {
        come_back(e, ev->serial, round_pace_ms(e) * 4, "not a device of this task", out);
        return;
    }
    /* A round that can open now opens before the answer, or a lone device would always come too
     * early. */
    if (e->state == ROUND_WAITING)
        round_settle(e, out);
    struct round_member *m = e->member_count ? member_find(e, ev->serial) : NULL;
    bool works =
        e->state == ROUND_OPEN && m && member_is_live(m) && !e->stopping &&
        (secure_round(e) ? secure_gathering(e) : e->groups[m->group].state == ROUND_GROUP_RUNNING);
    if (!works) {
        come_back(e, ev->serial, pace(e, m), no_plan_reason(e, m), out);
        return;
    }
    m->seen_ms = e->now_ms;
    if (m->state == ROUND_INVITED)
        member_store(e, m, ROUND_PLANNED, "has the plan", out);
    struct round_action *a = emit_action(out, ROUND_DO_PLAN, e->number);
    a->serial = m->serial;
    a->group = m->group;
}

void return_report(struct round_engine *e, const struct round_event *ev, struct round_member *m,
                   const char *why, struct emit *out) {
    struct round_action *a = emit_action(out, ROUND_DO_RETURN, ev->round);
    a->serial = ev->serial;
    a->group = m ? m->group : 0;
    emit_text(a, "%s", why);
    /* Also while the group's sums are being committed: after a crash it would run again, and must
     * not take the report then. */
    if (m && member_is_live(m) && e->state == ROUND_OPEN)
        member_store(e, m, ROUND_DROPPED, why, out);
}

void answer_report(struct round_engine *e, const struct round_event *ev, struct emit *out) {
    device_seen(e, ev->serial);
    struct round_member *m = ev->round == e->number ? member_find(e, ev->serial) : NULL;
    if (ev->round != e->number) {
        return_report(e, ev, NULL, "the round has ended", out);
        return;
    }
    if (!m || e->state == ROUND_OPENING) {
        return_report(e, ev, NULL, "not a member of this round", out);
        return;
    }
    if (secure_round(e)) { /* never in clear */
        return_report(e, ev, m, "this task sums masked updates only", out);
        return;
    }
    struct round_group *g = &e->groups[m->group];
    bool in = m->state == ROUND_STORED || m->state == ROUND_CHECKED;
    if (m->state == ROUND_REJECTED || (in && g->state != ROUND_GROUP_FAILED)) {
        struct round_action *a = emit_action(out, ROUND_DO_REPEAT, e->number);
        a->serial = m->serial;
        a->group = m->group;
        a->member_state = m->state;
        return;
    }
    if (g->state != ROUND_GROUP_RUNNING) {
        return_report(e, ev, m,
                      g->state == ROUND_GROUP_FAILED ? "the group has failed"
                                                     : "the group has its reports",
                      out);
        return;
    }
    if (m->state == ROUND_DROPPED || m->state == ROUND_DECLINED) {
        return_report(e, ev, m,
                      m->state == ROUND_DROPPED ? "dropped from this round" : "declined this round",
                      out);
        return;
    }
    if (e->stopping || g->stored >= g->goal) {
        return_report(e, ev, m, e->stopping ? "the task was stopped" : "the group has its reports",
                      out);
        return;
    }
    m->seen_ms = e->now_ms;
    member_set(e, m, ROUND_STORED);
    struct round_action *a = emit_action(out, ROUND_DO_ACCEPT, e->number);
    a->serial = m->serial;
    a->group = m->group;
    a->member_state = ROUND_STORED;
}

void answer_heartbeat(struct round_engine *e, const struct round_event *ev, struct emit *out) {
    device_seen(e, ev->serial);
    struct round_member *m = ev->round == e->number ? member_find(e, ev->serial) : NULL;
    const char *why = NULL;
    if (!m || e->state == ROUND_OPENING)
        why = ev->round == e->number ? "not a member of this round" : "the round has ended";
    else if (m->state == ROUND_DROPPED)
        why = "dropped from this round";
    else if (m->state == ROUND_DECLINED || m->state == ROUND_REJECTED)
        why = "ended for this device";
    else if (member_is_live(m) && secure_round(e) && !secure_gathering(e))
        why = "the round has its members";
    else if (member_is_live(m) && !secure_round(e) &&
             e->groups[m->group].state != ROUND_GROUP_RUNNING)
        why = "the group has ended";
    else if (member_is_live(m) && e->stopping)
        why = "the task was stopped";
    struct round_action *a;
    if (!why && member_is_live(m)) {
        m->seen_ms = e->now_ms;
        if (m->state == ROUND_INVITED)
            member_store(e, m, ROUND_PLANNED, "works under the plan", out);
    }
    /* A late heartbeat of a device whose report is in: "go on" does no harm, "stop" might. */
    a = emit_action(out, why ? ROUND_DO_ABORT : ROUND_DO_CONTINUE, ev->round);
    a->serial = ev->serial;
    a->group = m ? m->group : 0;
    emit_text(a, "%s", why ? why : "");
}

void answer_decline(struct round_engine *e, const struct round_event *ev, struct emit *out) {
    device_seen(e, ev->serial);
    struct round_member *m = ev->round == e->number ? member_find(e, ev->serial) : NULL;
    if (m && e->state == ROUND_OPEN && member_is_live(m) &&
        (e->groups[m->group].state == ROUND_GROUP_RUNNING || secure_gathering(e)))
        member_store(e, m, ROUND_DECLINED, "declined by the device", out);
    else if (m && e->state == ROUND_OPEN && secure_round(e))
        secure_member_gone(e, m, "declined by the device", out);
    come_back(e, ev->serial, pace(e, m), "declined this round", out);
}

void answer_checked(struct round_engine *e, const struct round_event *ev, struct emit *out) {
    struct round_member *m = ev->round == e->number ? member_find(e, ev->serial) : NULL;
    if (!m || secure_round(e) || m->state != ROUND_STORED ||
        e->groups[m->group].state != ROUND_GROUP_RUNNING)
        return;
    if (ev->ok)
        member_set(e, m, ROUND_CHECKED);
    else
        member_store(
            e, m, ev->lost ? ROUND_DROPPED : ROUND_REJECTED,
            ev->lost ? "its report cannot be read any more" : "the check refused its report", out);
}
