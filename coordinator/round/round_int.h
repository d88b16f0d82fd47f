/* The round engine's inside, shared by the files of this folder. See
 * docs/internals/round-engine.md. */
#ifndef SOTTO_COORDINATOR_ROUND_INT_H
#define SOTTO_COORDINATOR_ROUND_INT_H

#include "sotto/coordinator/engine.h"

#define ROUND_DEVICES_MAX (1u << 26)

struct device {
    uint64_t serial, seen_ms;
};
/* What a group needs beside its public part. */
struct group_more {
    uint32_t live;  /* members invited or planned */
    uint32_t ready; /* members that have trained, in secure rounds */
    bool failing;   /* FAIL_GROUP is with the host, not SUM */
    /* Of a secure group's session: */
    uint32_t in, sent; /* members that have not fallen out, and those of them whose message of the
                          present exchange is stored */
    bool waiting;      /* GROUP, REGROUP or CLOSE is with the host */
    bool notify;       /* the members do not know of the exchange yet */
    bool complete;     /* unmasking has what it needs */
    bool regroup;      /* the session has failed, the next one is due */
    uint64_t since_ms; /* the present exchange */
};
struct round_engine {
    const struct task_config *config;
    struct device *devices; /* ascending by serial */
    uint32_t device_count, device_cap;
    uint64_t *candidates; /* scratch of selection, candidate_cap values */
    uint32_t candidate_cap;

    struct round_member *members; /* ascending by serial; of the current or last round */
    uint32_t member_count, member_cap;
    struct round_group groups[ROUND_GROUPS_MAX];
    struct group_more more[ROUND_GROUPS_MAX];
    uint32_t group_count;

    enum round_state state;
    enum round_kind kind;
    uint32_t number, next_number;
    uint64_t train_done;
    bool evaluate_due;
    bool paused, stopping;
    bool advance_asked;
    bool wake;          /* a TICK is wanted at once */
    bool clock_unknown; /* restored: the first event's time stands in for times that are 0 */
    bool seen_changed;  /* a device appeared since the last count of available ones */
    unsigned failures;  /* rounds that failed in a row */

    uint64_t now_ms;
    uint64_t opened_ms;
    uint64_t expiry_ms;     /* no live member's lease or deadline ends before this */
    uint64_t not_before_ms; /* no round opens before this: back-off */
    uint64_t count_ms;      /* available devices are not counted again before this */
    char why[120];          /* secure: why the last group failed */
};

/* A step's actions. Handlers may rely on room for their own few; settling asks first. */
struct emit {
    struct round_action *actions;
    size_t count;
};
static inline bool emit_room(const struct emit *out, size_t n) {
    return out->count + n <= ROUND_ACTIONS_MAX;
}
struct round_action *emit_action(struct emit *out, enum round_action_kind kind, uint32_t round)
    SOTTO_NONNULL(1);
void emit_text(struct round_action *a, const char *fmt, ...) SOTTO_PRINTF(2, 3);

/* select.c */
uint64_t round_pace_ms(const struct round_engine *e);
uint64_t round_after_ms(const struct round_engine *e, uint64_t serial, uint64_t base_ms);

/* devices.c */
enum sotto_status device_add(struct round_engine *e, uint64_t serial, uint64_t seen_ms,
                             struct sotto_error *err);
void device_remove(struct round_engine *e, uint64_t serial);
bool device_seen(struct round_engine *e, uint64_t serial); /* now; false: not known */
uint32_t device_available(const struct round_engine *e);
uint32_t device_list_available(const struct round_engine *e, uint64_t *out);

/* members.c */
struct round_member *member_find(struct round_engine *e, uint64_t serial);
bool member_is_live(const struct round_member *m);
/* Moves a live member to an ended state or to PLANNED/STORED and stores that where the host has no
 * action of its own for it. */
void member_set(struct round_engine *e, struct round_member *m, enum round_member_state state);
void member_store(struct round_engine *e, struct round_member *m, enum round_member_state state,
                  const char *why, struct emit *out);
uint64_t member_expiry(const struct round_engine *e, const struct round_member *m);
void groups_recount(struct round_engine *e);

/* open.c */
void round_try_open(struct round_engine *e, struct emit *out);
void round_opened(struct round_engine *e, struct emit *out);
void round_back_off(struct round_engine *e);

/* settle.c */
void round_settle(struct round_engine *e, struct emit *out);
void round_over(struct round_engine *e);
void group_ended(struct round_engine *e, uint32_t group, bool ok, struct emit *out);

/* answer.c */
void return_report(struct round_engine *e, const struct round_event *ev, struct round_member *m,
                   const char *why, struct emit *out);
void answer_check_in(struct round_engine *e, const struct round_event *ev, struct emit *out);
void answer_report(struct round_engine *e, const struct round_event *ev, struct emit *out);
void answer_heartbeat(struct round_engine *e, const struct round_event *ev, struct emit *out);
void answer_decline(struct round_engine *e, const struct round_event *ev, struct emit *out);
void answer_checked(struct round_engine *e, const struct round_event *ev, struct emit *out);

/* secure.c: secure rounds */
bool secure_round(const struct round_engine *e);
bool secure_gathering(const struct round_engine *e);
uint32_t secure_least(const struct round_engine *e); /* members of a group */
void secure_opened(struct round_engine *e); /* all invited are one group until they are ready */
void secure_settle(struct round_engine *e, struct emit *out);
uint64_t secure_next_ms(const struct round_engine *e);
void secure_start_clock(struct round_engine *e);
void secure_restored(struct round_engine *e);
void secure_grouped(struct round_engine *e, const struct round_event *ev, struct emit *out);
void secure_message(struct round_engine *e, const struct round_event *ev, struct emit *out);
void secure_closed(struct round_engine *e, const struct round_event *ev, struct emit *out);
/* Revoked or declined: it leaves at once. */
void secure_member_gone(struct round_engine *e, struct round_member *m, const char *why,
                        struct emit *out);
void answer_ready(struct round_engine *e, const struct round_event *ev, struct emit *out);

#endif
