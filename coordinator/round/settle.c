/* What follows from the state after an event: leases end, groups end, the round advances or fails,
 * the next one opens. */
#include "round/round_int.h"

static uint32_t pending(const struct round_group *g) {
    return g->stored - g->checked;
}

/* Drops live members whose lease or the round's deadline has passed. */
static void drop_expired(struct round_engine *e, struct emit *out) {
    if (e->now_ms < e->expiry_ms)
        return;
    uint64_t next = UINT64_MAX;
    for (uint32_t i = 0; i < e->member_count; i++) {
        struct round_member *m = &e->members[i];
        if (!member_is_live(m) || (e->groups[m->group].state != ROUND_GROUP_RUNNING &&
                                   e->groups[m->group].state != ROUND_GROUP_GATHERING))
            continue;
        uint64_t expiry = member_expiry(e, m);
        if (expiry > e->now_ms) {
            next = num_min_u64(next, expiry);
            continue;
        }
        if (!emit_room(out, 1)) {
            e->wake = true;
            return; /* expiry_ms stays in the past: the next step goes on here */
        }
        bool late = e->config->deadline_ms && e->now_ms - e->opened_ms >= e->config->deadline_ms;
        member_store(e, m, ROUND_DROPPED,
                     late ? "the round's deadline has passed" : "its lease has ended", out);
    }
    e->expiry_ms = next;
}

static void group_sum(struct round_engine *e, uint32_t i, struct emit *out) {
    struct round_action *a = emit_action(out, ROUND_DO_SUM, e->number);
    a->group = i;
    emit_text(a, "%u of %u reports", e->groups[i].checked, e->groups[i].goal);
    e->groups[i].state = ROUND_GROUP_SUMMING;
    e->more[i].failing = false;
}

static void group_fail(struct round_engine *e, uint32_t i, const char *why, struct emit *out) {
    struct round_action *a = emit_action(out, ROUND_DO_FAIL_GROUP, e->number);
    a->group = i;
    emit_text(a, "%s: %u checked reports, at least %u needed", why, e->groups[i].checked,
              e->groups[i].minimum);
    e->groups[i].state = ROUND_GROUP_SUMMING;
    e->more[i].failing = true;
}

/* A group ends only when no check is under way: what the host has summed by then is exactly the
 * CHECKED set. */
static void end_groups(struct round_engine *e, struct emit *out) {
    for (uint32_t i = 0; i < e->group_count; i++) {
        struct round_group *g = &e->groups[i];
        if (g->state != ROUND_GROUP_RUNNING || pending(g) > 0)
            continue;
        uint32_t live = e->more[i].live;
        bool enough = g->checked >= g->goal || (live == 0 && g->checked >= g->minimum);
        bool hopeless = g->checked + live < g->minimum;
        if (!enough && !hopeless && !e->stopping)
            continue;
        if (!emit_room(out, 1)) {
            e->wake = true;
            return;
        }
        if (enough)
            group_sum(e, i, out);
        else
            group_fail(e, i, hopeless ? "too few members are left" : "the task was stopped", out);
    }
}

void group_ended(struct round_engine *e, uint32_t group, bool ok, struct emit *out) {
    struct round_group *g = &e->groups[group];
    if (g->state != ROUND_GROUP_SUMMING)
        return;
    if (ok && !e->more[group].failing) {
        g->state = ROUND_GROUP_SUMMED;
        return;
    }
    if (!e->more[group].failing) {
        /* The host could not commit the sums: nothing of them stands, so the reports go back. */
        group_fail(e, group, "its sums could not be committed", out);
        return;
    }
    g->state = ROUND_GROUP_FAILED;
}

void round_over(struct round_engine *e) {
    uint64_t every = e->config->evaluate_every;
    if (e->kind == ROUND_TRAIN) {
        e->train_done++;
        e->evaluate_due = every && e->train_done % every == 0;
    } else {
        e->evaluate_due = false;
    }
    e->state = ROUND_WAITING;
    e->advance_asked = false;
    e->seen_changed = true;
    e->count_ms = 0;
}

/* True when the round's state has changed and must be looked at again. */
static bool end_round(struct round_engine *e, struct emit *out) {
    uint32_t summed = 0;
    for (uint32_t i = 0; i < e->group_count; i++) {
        if (e->groups[i].state != ROUND_GROUP_SUMMED && e->groups[i].state != ROUND_GROUP_FAILED)
            return false;
        summed += e->groups[i].state == ROUND_GROUP_SUMMED;
    }
    if (summed > 0) {
        e->state = ROUND_ADVANCING;
        e->advance_asked = false;
        return true;
    }
    if (!emit_room(out, 1)) {
        e->wake = true;
        return false;
    }
    emit_text(emit_action(out, ROUND_DO_FAIL, e->number), "%s",
              e->stopping                    ? "the task was stopped"
              : secure_round(e) && e->why[0] ? e->why
                                             : "no group reached its minimum of reports");
    round_over(e);
    e->failures++;
    round_back_off(e);
    return true;
}

static bool rounds_made(const struct round_engine *e) {
    return e->config->rounds && e->train_done >= e->config->rounds && !e->evaluate_due;
}

static void settle_waiting(struct round_engine *e, struct emit *out) {
    if (e->stopping) {
        e->state = ROUND_STOPPED;
    } else if (rounds_made(e)) {
        if (!emit_room(out, 1)) {
            e->wake = true;
            return;
        }
        emit_text(emit_action(out, ROUND_DO_FINISHED, e->number), "%llu training rounds made",
                  (unsigned long long)e->train_done);
        e->state = ROUND_STOPPED;
    } else if (!e->paused) {
        round_try_open(e, out);
    }
}

void round_settle(struct round_engine *e, struct emit *out) {
    bool again = true;
    while (again) {
        again = false;
        switch (e->state) {
        case ROUND_OPEN:
            drop_expired(e, out);
            if (secure_round(e))
                secure_settle(e, out);
            else
                end_groups(e, out);
            again = end_round(e, out);
            break;
        case ROUND_ADVANCING:
            if (e->advance_asked)
                break;
            if (emit_room(out, 1)) {
                emit_action(out, ROUND_DO_ADVANCE, e->number);
                e->advance_asked = true;
            } else {
                e->wake = true;
            }
            break;
        case ROUND_WAITING:
            settle_waiting(e, out);
            break;
        case ROUND_OPENING:
        case ROUND_STOPPED:
            break;
        }
    }
}
