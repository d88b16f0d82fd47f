/* Members of the open round: look-up, changes of state with the counts of their groups, leases. */
#include "round/round_int.h"

struct round_member *member_find(struct round_engine *e, uint64_t serial) {
    uint32_t low = 0, high = e->member_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (e->members[middle].serial < serial)
            low = middle + 1;
        else
            high = middle;
    }
    return low < e->member_count && e->members[low].serial == serial ? &e->members[low] : NULL;
}

bool member_is_live(const struct round_member *m) {
    return m->state == ROUND_INVITED || m->state == ROUND_PLANNED;
}

static void count_member(struct round_engine *e, const struct round_member *m, uint32_t by) {
    struct round_group *g = &e->groups[m->group];
    if (member_is_live(m))
        e->more[m->group].live += by;
    if (m->state == ROUND_READY)
        e->more[m->group].ready += by;
    if (m->state == ROUND_STORED || m->state == ROUND_CHECKED)
        g->stored += by;
    if (m->state == ROUND_CHECKED)
        g->checked += by;
}

void member_set(struct round_engine *e, struct round_member *m, enum round_member_state state) {
    count_member(e, m,
                 UINT32_MAX); /* adds -1: the counts are unsigned and hold at least this member */
    m->state = state;
    count_member(e, m, 1);
    if (member_is_live(m))
        e->expiry_ms = num_min_u64(e->expiry_ms, member_expiry(e, m));
}

void member_store(struct round_engine *e, struct round_member *m, enum round_member_state state,
                  const char *why, struct emit *out) {
    member_set(e, m, state);
    struct round_action *a = emit_action(out, ROUND_DO_STORE_MEMBER, e->number);
    a->serial = m->serial;
    a->group = m->group;
    a->member_state = state;
    emit_text(a, "%s", why);
}

static uint64_t add_time(uint64_t a, uint64_t b) {
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

uint64_t member_expiry(const struct round_engine *e, const struct round_member *m) {
    const struct task_config *t = e->config;
    uint64_t expiry = UINT64_MAX;
    if (t->deadline_ms)
        expiry = add_time(e->opened_ms, t->deadline_ms);
    if (t->lease_ms) {
        /* One that has no plan yet was told to come back after up to 5/4 of the pace. */
        uint64_t pace = round_pace_ms(e);
        uint64_t lease =
            m->state == ROUND_INVITED ? add_time(t->lease_ms, pace + pace / 2) : t->lease_ms;
        expiry = num_min_u64(expiry, add_time(m->seen_ms, lease));
    }
    return expiry;
}

void groups_recount(struct round_engine *e) {
    for (uint32_t i = 0; i < e->group_count; i++) {
        e->groups[i].stored = 0;
        e->groups[i].checked = 0;
        e->more[i].live = e->more[i].ready = 0;
    }
    e->expiry_ms = UINT64_MAX;
    for (uint32_t i = 0; i < e->member_count; i++) {
        count_member(e, &e->members[i], 1);
        if (member_is_live(&e->members[i]))
            e->expiry_ms = num_min_u64(e->expiry_ms, member_expiry(e, &e->members[i]));
    }
}

const struct round_member *round_members(const struct round_engine *e, uint32_t *count) {
    *count = e->member_count;
    return e->members;
}

const struct round_group *round_groups(const struct round_engine *e, uint32_t *count) {
    *count = e->group_count;
    return e->groups;
}

const struct round_member *round_member_find(const struct round_engine *e, uint64_t serial) {
    return member_find((struct round_engine *)(uintptr_t)e, serial);
}
