/* Opening a round: who is invited, how they are split into groups, when to try again. */
#include "round/round_int.h"

#include <math.h>

#define BACK_OFF_MAX_MS 600000u

/* Part g of n things dealt to `parts`, contiguous, sizes differing by at most one. */
static uint32_t share(uint64_t n, uint32_t parts, uint32_t g) {
    return (uint32_t)((n + parts - 1 - g) / parts);
}

struct opening {
    enum round_kind kind;
    uint64_t goal, minimum, invited, needed;
    uint32_t groups;
};

/* What the config asks for, before it is known how many devices there are. */
static struct opening opening_wanted(const struct round_engine *e) {
    const struct task_config *t = e->config;
    struct opening o = {.kind = e->evaluate_due ? ROUND_EVALUATE : ROUND_TRAIN};
    uint64_t cohort_min = t->cohort_min ? num_min_u64(t->cohort_min, t->cohort) : t->cohort;
    if (o.kind == ROUND_TRAIN) {
        o.goal = t->cohort;
        o.minimum = cohort_min;
        o.needed = num_max_u64(t->devices_min ? t->devices_min : t->cohort, cohort_min);
        o.groups = (uint32_t)num_min_u64(num_max_u64(t->groups, 1), ROUND_GROUPS_MAX);
    } else {
        /* Means over half of the devices asked are worth having: nothing is trained on them. */
        o.goal = t->evaluate_cohort ? t->evaluate_cohort : t->cohort;
        o.minimum = (o.goal + 1) / 2;
        o.needed = 1;
        o.groups = 1;
    }
    if (secure_round(e)) {
        o.minimum = num_max_u64(o.minimum, secure_least(e));
        o.needed = num_max_u64(o.needed, o.minimum);
    }
    double over = t->over_selection > 1.0 ? t->over_selection : 1.0;
    double invited = ceil((double)o.goal * over - 1e-9);
    o.invited = invited >= ROUND_COHORT_MAX ? ROUND_COHORT_MAX : (uint64_t)invited;
    return o;
}

static void make_groups(struct round_engine *e, const struct opening *o) {
    uint32_t first = 0;
    e->group_count = o->groups;
    for (uint32_t g = 0; g < o->groups; g++) {
        struct round_group *group = &e->groups[g];
        uint32_t minimum = share(o->minimum, o->groups, g);
        *group = (struct round_group){
            .members = share(o->invited, o->groups, g),
            .goal = share(o->goal, o->groups, g),
            .minimum = minimum ? minimum : 1,
            .state = ROUND_GROUP_RUNNING,
        };
        e->more[g] = (struct group_more){0};
        for (uint32_t i = 0; i < group->members; i++)
            e->members[first + i].group = g;
        first += group->members;
    }
}

/* Picks members into e->members; false when there is no memory. */
static bool pick_members(struct round_engine *e, struct opening *o) {
    if (e->candidate_cap < e->device_count) {
        uint64_t *grown = mem_resize(e->candidates, e->device_cap, sizeof *grown);
        if (!grown)
            return false;
        e->candidates = grown;
        e->candidate_cap = e->device_cap;
    }
    uint32_t available = device_list_available(e, e->candidates);
    uint32_t invited = (uint32_t)num_min_u64(o->invited, available);
    if (e->member_cap < invited) {
        struct round_member *grown = mem_resize(e->members, invited, sizeof *grown);
        if (!grown)
            return false;
        e->members = grown;
        e->member_cap = invited;
    }
    uint64_t *picked = mem_array(invited, sizeof *picked);
    if (!picked)
        return false;
    round_select(e->config->seed, e->next_number, e->candidates, available, invited, picked);
    for (uint32_t i = 0; i < invited; i++)
        e->members[i] = (struct round_member){
            .serial = picked[i], .state = ROUND_INVITED, .seen_ms = e->now_ms};
    mem_free(picked);
    e->member_count = invited;
    o->invited = invited;
    o->goal = num_min_u64(o->goal, invited);
    o->minimum = num_min_u64(o->minimum, o->goal);
    o->groups = (uint32_t)num_min_u64(o->groups, o->goal);
    return true;
}

void round_try_open(struct round_engine *e, struct emit *out) {
    if (e->now_ms < e->not_before_ms)
        return;
    if (e->config->availability_ms && (!e->seen_changed || e->now_ms < e->count_ms))
        return;
    struct opening o = opening_wanted(e);
    if (e->device_count < o.needed)
        return;
    uint32_t available = device_available(e);
    if (available < o.needed || available == 0) {
        /* Counting goes over all devices: not at every check-in. */
        e->seen_changed = false;
        e->count_ms = e->now_ms + num_min_u64(e->config->pace_ms / 4, 1000);
        return;
    }
    if (!emit_room(out, 1)) {
        e->wake = true;
        return;
    }
    if (!pick_members(e, &o)) {
        e->failures++;
        round_back_off(e);
        emit_text(emit_action(out, ROUND_DO_NOTE, e->next_number),
                  "round %u cannot open: no memory for its members", e->next_number);
        return;
    }
    make_groups(e, &o);
    if (secure_round(e))
        secure_opened(e);
    e->kind = o.kind;
    e->number = e->next_number;
    e->state = ROUND_OPENING;
    groups_recount(e);
    emit_text(emit_action(out, ROUND_DO_OPEN, e->number),
              "%s round %u: %u devices of %u invited, %u reports wanted in %u group%s",
              o.kind == ROUND_TRAIN ? "training" : "evaluation", e->number, e->member_count,
              available, (unsigned)o.goal, o.groups, o.groups == 1 ? "" : "s");
}

void round_opened(struct round_engine *e, struct emit *out) {
    e->state = ROUND_OPEN;
    e->next_number = e->number + 1;
    e->opened_ms = e->now_ms;
    for (uint32_t i = 0; i < e->member_count; i++)
        e->members[i].seen_ms = e->now_ms;
    groups_recount(e);
    emit_text(emit_action(out, ROUND_DO_NOTE, e->number), "round %u is open", e->number);
}

/* The wait doubles with every failure in a row: a task that cannot work must not spin. */
void round_back_off(struct round_engine *e) {
    unsigned doublings = e->failures > 1 ? e->failures - 1 : 0;
    if (doublings > 10)
        doublings = 10;
    uint64_t wait = num_min_u64(num_max_u64(e->config->pace_ms, 100) << doublings, BACK_OFF_MAX_MS);
    e->not_before_ms = e->now_ms + wait;
    e->seen_changed = true;
}
