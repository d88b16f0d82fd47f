/* The round engine's shell: life cycle, events to handlers, restoring, when to come again. */
#include "round/round_int.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "sotto/secagg.h"

struct round_action *emit_action(struct emit *out, enum round_action_kind kind, uint32_t round) {
    assert(out->count < ROUND_ACTIONS_MAX);
    struct round_action *a = &out->actions[out->count++];
    memset(a, 0, sizeof *a);
    a->kind = kind;
    a->round = round;
    return a;
}

void emit_text(struct round_action *a, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    vsnprintf(a->text, sizeof a->text, fmt, args);
    va_end(args);
}

/* Whether an evaluation round stands between the last training round and the next: the numbers used
 * tell how many there were. */
static bool evaluate_due(const struct task_config *t, uint32_t first_round, uint64_t train_done) {
    if (t->evaluate_every == 0 || train_done == 0 || train_done % t->evaluate_every != 0)
        return false;
    uint64_t evaluations = ((uint64_t)first_round - 1 - train_done) % ROUND_RESTORE_GAP;
    return evaluations < train_done / t->evaluate_every;
}

enum sotto_status round_engine_new(const struct task_config *config, uint32_t first_round,
                                   uint64_t train_rounds_done, struct round_engine **out,
                                   struct sotto_error *err) {
    *out = NULL;
    if (first_round == 0 || first_round > UINT32_MAX / 2)
        return SOTTO_FAIL(err, SOTTO_INVALID, "round number %u is outside 1..%u", first_round,
                          UINT32_MAX / 2);
    if (config->cohort == 0 || config->cohort > ROUND_COHORT_MAX)
        return SOTTO_FAIL(err, SOTTO_INVALID, "cohort is outside 1..%u", ROUND_COHORT_MAX);
    struct round_engine *e = mem_zalloc(sizeof *e);
    if (!e)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for a round engine");
    e->config = config;
    e->state = ROUND_WAITING;
    e->kind = ROUND_TRAIN;
    e->next_number = first_round;
    e->number = first_round - 1;
    e->train_done = train_rounds_done;
    e->evaluate_due = evaluate_due(config, first_round, train_rounds_done);
    e->expiry_ms = UINT64_MAX;
    e->wake = true;
    *out = e;
    return SOTTO_OK;
}

void round_engine_free(struct round_engine *e) {
    if (!e)
        return;
    mem_free(e->devices);
    mem_free(e->candidates);
    mem_free(e->members);
    mem_free(e);
}

static void device_gone(struct round_engine *e, uint64_t serial, struct emit *out) {
    device_remove(e, serial);
    struct round_member *m = member_find(e, serial);
    if (m && member_is_live(m) && e->state == ROUND_OPENING)
        member_set(e, m, ROUND_DROPPED); /* the host stores the members when it opens */
    else if (m && member_is_live(m) && e->state == ROUND_OPEN &&
             (e->groups[m->group].state == ROUND_GROUP_RUNNING || secure_gathering(e)))
        member_store(e, m, ROUND_DROPPED, "revoked", out);
    else if (m && e->state == ROUND_OPEN && secure_round(e))
        secure_member_gone(e, m, "revoked", out);
}

static void advanced(struct round_engine *e, const struct round_event *ev) {
    if (e->state != ROUND_ADVANCING || ev->round != e->number)
        return;
    round_over(e);
    e->failures = 0;
    if (!ev->ok)
        round_back_off(e);
}

static void open_failed(struct round_engine *e, struct emit *out) {
    if (e->state != ROUND_OPENING)
        return;
    e->state = ROUND_WAITING;
    e->member_count = 0;
    e->group_count = 0;
    e->number = e->next_number - 1;
    e->failures++;
    round_back_off(e);
    emit_text(emit_action(out, ROUND_DO_NOTE, e->next_number),
              "round %u could not open, it is tried again in %llu ms", e->next_number,
              (unsigned long long)(e->not_before_ms - e->now_ms));
}

static void handle(struct round_engine *e, const struct round_event *ev, struct emit *out) {
    switch (ev->kind) {
    case ROUND_EV_DEVICE_REMOVE:
        device_gone(e, ev->serial, out);
        break;
    case ROUND_EV_CHECK_IN:
        answer_check_in(e, ev, out);
        break;
    case ROUND_EV_OPENED:
        if (e->state == ROUND_OPENING)
            round_opened(e, out);
        break;
    case ROUND_EV_REPORT:
        answer_report(e, ev, out);
        break;
    case ROUND_EV_CHECKED:
        answer_checked(e, ev, out);
        break;
    case ROUND_EV_HEARTBEAT:
        answer_heartbeat(e, ev, out);
        break;
    case ROUND_EV_DECLINE:
        answer_decline(e, ev, out);
        break;
    case ROUND_EV_SUMMED:
        if (ev->round == e->number && ev->group < e->group_count)
            group_ended(e, ev->group, ev->ok, out);
        break;
    case ROUND_EV_ADVANCED:
        advanced(e, ev);
        break;
    case ROUND_EV_FAILED:
        open_failed(e, out);
        break;
    case ROUND_EV_PAUSE:
        e->paused = true;
        break;
    case ROUND_EV_RESUME:
        e->paused = false;
        e->seen_changed = true;
        break;
    case ROUND_EV_STOP:
        e->stopping = true;
        break;
    case ROUND_EV_READY:
        answer_ready(e, ev, out);
        break;
    case ROUND_EV_GROUPED:
        secure_grouped(e, ev, out);
        break;
    case ROUND_EV_SECURE:
        secure_message(e, ev, out);
        break;
    case ROUND_EV_CLOSED:
        secure_closed(e, ev, out);
        break;
    case ROUND_EV_TICK:
    case ROUND_EV_DEVICE_ADD:
        break;
    }
}

/* Times that the store did not know start with the first event after the restart. */
static void start_clock(struct round_engine *e) {
    if (e->opened_ms == 0)
        e->opened_ms = e->now_ms;
    for (uint32_t i = 0; i < e->member_count; i++)
        if (e->members[i].seen_ms == 0)
            e->members[i].seen_ms = e->now_ms;
    secure_start_clock(e);
    groups_recount(e);
    e->clock_unknown = false;
}

enum sotto_status round_step(struct round_engine *e, const struct round_event *event,
                             struct round_action *actions, size_t *count, struct sotto_error *err) {
    struct emit out = {actions, 0};
    *count = 0;
    if (event->kind == ROUND_EV_DEVICE_ADD) {
        /* Its time is when the device was last seen, no clock: what follows waits for a TICK. */
        e->wake = true;
        return device_add(e, event->serial, event->now_ms, err);
    }
    e->now_ms = num_max_u64(e->now_ms, event->now_ms);
    e->wake = false;
    if (e->clock_unknown)
        start_clock(e);
    handle(e, event, &out);
    round_settle(e, &out);
    *count = out.count;
    return SOTTO_OK;
}

uint64_t round_next_ms(const struct round_engine *e) {
    if (e->wake || e->clock_unknown)
        return 0;
    switch (e->state) {
    case ROUND_OPEN:
        return secure_round(e) ? num_min_u64(e->expiry_ms, secure_next_ms(e)) : e->expiry_ms;
    case ROUND_WAITING:
        if (e->paused)
            return UINT64_MAX;
        if (e->now_ms < e->not_before_ms)
            return e->not_before_ms;
        return e->config->availability_ms && e->seen_changed && e->now_ms < e->count_ms
                   ? e->count_ms
                   : UINT64_MAX;
    case ROUND_OPENING:
    case ROUND_ADVANCING:
    case ROUND_STOPPED:
        break;
    }
    return UINT64_MAX;
}

static bool saved_group_good(const struct round_group *g, bool secure) {
    if (g->minimum == 0 || g->goal < g->minimum)
        return false;
    if (!secure)
        return g->state <= ROUND_GROUP_FAILED;
    return g->state <= ROUND_GROUP_GATHERING &&
           (g->state != ROUND_GROUP_RUNNING ||
            (g->attempt >= 1 && g->attempt <= ROUND_ATTEMPTS_MAX && g->exchange % 2 == 1 &&
             g->exchange <= SECAGG_UNMASK));
}

static enum sotto_status saved_check(const struct round_saved *s, bool secure,
                                     struct sotto_error *err) {
    if (s->state != ROUND_OPEN && s->state != ROUND_ADVANCING)
        return SOTTO_FAIL(err, SOTTO_INVALID, "round %u: state %d cannot be restored", s->round,
                          (int)s->state);
    if (s->kind != ROUND_TRAIN && s->kind != ROUND_EVALUATE)
        return SOTTO_FAIL(err, SOTTO_INVALID, "round %u: unknown kind %d", s->round, (int)s->kind);
    if (s->group_count == 0 || s->group_count > ROUND_GROUPS_MAX)
        return SOTTO_FAIL(err, SOTTO_INVALID, "round %u: %u groups, not 1..%d", s->round,
                          s->group_count, ROUND_GROUPS_MAX);
    if (s->member_count == 0 || s->member_count > ROUND_COHORT_MAX)
        return SOTTO_FAIL(err, SOTTO_INVALID, "round %u: %u members, not 1..%d", s->round,
                          s->member_count, ROUND_COHORT_MAX);
    for (uint32_t i = 0; i < s->member_count; i++) {
        if (s->members[i].group >= s->group_count ||
            s->members[i].state > (secure ? ROUND_READY : ROUND_DROPPED))
            return SOTTO_FAIL(err, SOTTO_INVALID, "round %u: member %u is broken", s->round, i);
        if (i > 0 && s->members[i].serial <= s->members[i - 1].serial)
            return SOTTO_FAIL(err, SOTTO_INVALID, "round %u: members are not in ascending order",
                              s->round);
    }
    for (uint32_t i = 0; i < s->group_count; i++)
        if (!saved_group_good(&s->groups[i], secure))
            return SOTTO_FAIL(err, SOTTO_INVALID, "round %u: group %u is broken", s->round, i);
    return SOTTO_OK;
}

enum sotto_status round_restore(struct round_engine *e, const struct round_saved *saved,
                                struct sotto_error *err) {
    enum sotto_status status = saved_check(saved, secure_round(e), err);
    if (status != SOTTO_OK)
        return status;
    if (e->state != ROUND_WAITING || e->member_count > 0)
        return SOTTO_FAIL(err, SOTTO_STATE, "a round is restored into a new engine only");
    e->members = mem_array(saved->member_count, sizeof *e->members);
    if (!e->members)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for %u members", saved->member_count);
    e->member_cap = e->member_count = saved->member_count;
    memcpy(e->members, saved->members, saved->member_count * sizeof *e->members);
    e->group_count = saved->group_count;
    for (uint32_t i = 0; i < saved->group_count; i++) {
        e->groups[i] = saved->groups[i];
        e->more[i] = (struct group_more){0};
        if (e->groups[i].state == ROUND_GROUP_SUMMING)
            e->groups[i].state = ROUND_GROUP_RUNNING; /* it was not committed */
    }
    /* Sums of a running group lived in memory: its reports are checked again. Those of a committed
     * one stand. */
    for (uint32_t i = 0; i < e->member_count; i++) {
        struct round_member *m = &e->members[i];
        enum round_group_state group = e->groups[m->group].state;
        if (m->state == ROUND_CHECKED && group == ROUND_GROUP_RUNNING)
            m->state = ROUND_STORED;
        else if (m->state == ROUND_STORED && group == ROUND_GROUP_SUMMED)
            m->state = ROUND_CHECKED;
    }
    e->kind = saved->kind;
    e->state =
        ROUND_OPEN; /* from here settling finds that all groups have ended, where they have */
    e->number = saved->round;
    e->next_number = saved->round + 1;
    e->opened_ms = saved->opened_ms;
    e->clock_unknown = true;
    groups_recount(e);
    if (secure_round(e))
        secure_restored(e);
    return SOTTO_OK;
}

enum round_state round_state(const struct round_engine *e) {
    return e->state;
}

enum round_kind round_kind(const struct round_engine *e) {
    return e->kind;
}

uint32_t round_number(const struct round_engine *e) {
    return e->number;
}

const char *round_state_name(enum round_state s) {
    static const char *const names[] = {
        [ROUND_WAITING] = "waiting",     [ROUND_OPENING] = "opening", [ROUND_OPEN] = "open",
        [ROUND_ADVANCING] = "advancing", [ROUND_STOPPED] = "stopped",
    };
    return (unsigned)s < ARRAY_LEN(names) ? names[s] : "unknown";
}
