/* The round engine of one task: an I/O-free state machine over groups and phases. Events in,
 * actions out; no clock, socket or disk.
 *
 * The host executes a step's actions in order. STORE-like actions (OPEN, ACCEPT, OUTCOME, CLOSE...)
 * of one step are one transaction, durable before any reply of that step leaves. After a crash the
 * host rebuilds the engine from its store (round_restore).
 *
 * OPEN, ACCEPT, SUM, FAIL_GROUP and ADVANCE are asked for once and answered by their event: a host
 * must not lose that answer, but by a crash. */
#ifndef SOTTO_COORDINATOR_ENGINE_H
#define SOTTO_COORDINATOR_ENGINE_H

#include "sotto/coordinator/task.h"

#define ROUND_GROUPS_MAX 64
#define ROUND_COHORT_MAX 100000
#define ROUND_ALL_GROUPS UINT32_MAX /* in EV_GROUPED */
/* Sessions of a secure group at most: three regroupings. */
#define ROUND_ATTEMPTS_MAX 4
/* A restored backup goes on so many round numbers later (protocol.md section 2). */
#define ROUND_RESTORE_GAP (1u << 20)

enum round_kind { ROUND_TRAIN = 1, ROUND_EVALUATE = 2 };
enum round_state {
    ROUND_WAITING,   /* not enough devices, paused, or between rounds */
    ROUND_OPENING,   /* OPEN is with the host */
    ROUND_OPEN,      /* members train and report */
    ROUND_ADVANCING, /* all groups have ended; the server step is with the host */
    ROUND_STOPPED,
};
enum round_member_state {
    ROUND_INVITED,  /* selected, has no plan yet */
    ROUND_PLANNED,  /* has the plan */
    ROUND_STORED,   /* report stored and acknowledged, check under way */
    ROUND_CHECKED,  /* in the group's sums */
    ROUND_REJECTED, /* the check refused it */
    ROUND_DECLINED,
    ROUND_DROPPED, /* lease or deadline passed, revoked, or the report was lost by the host */
    ROUND_READY,   /* secure: has trained, waits for a session or is in one. STORED: its masked
                      input is stored; CHECKED: it is in the session's sum */
};
enum round_group_state {
    ROUND_GROUP_RUNNING,
    ROUND_GROUP_SUMMING,
    ROUND_GROUP_SUMMED,
    ROUND_GROUP_FAILED,
    ROUND_GROUP_GATHERING, /* secure: the only group, of all invited, until the ready ones are
                              grouped */
};

struct round_member {
    uint64_t serial;
    uint32_t group;
    enum round_member_state state;
    uint64_t seen_ms;
    /* Secure rounds: */
    uint8_t attempt; /* the newest session that it was put into; 0: none */
    uint8_t sent;    /* enum secagg_kind of its newest stored message in it */
    uint8_t out;     /* the exchange in which it fell out of it; 0: it is in */
    bool back;       /* it is out, and has asked again since: the next session takes it */
};
struct round_group {
    uint32_t members, goal, minimum;
    uint32_t stored, checked; /* stored includes checked */
    enum round_group_state state;
    uint8_t attempt;  /* secure, from the grouping on: the session under way, 1.. */
    uint8_t exchange; /* enum secagg_kind: what members send now */
};

enum round_event_kind {
    ROUND_EV_TICK,
    ROUND_EV_DEVICE_ADD,    /* enrolled (or known at start): serial, now_ms = last seen */
    ROUND_EV_DEVICE_REMOVE, /* revoked */
    ROUND_EV_CHECK_IN,      /* serial, terms_held_matches */
    ROUND_EV_OPENED,        /* OPEN is durable: terms exist */
    ROUND_EV_REPORT,        /* a complete upload for this round: serial */
    ROUND_EV_CHECKED,       /* the check of serial's update: ok */
    ROUND_EV_HEARTBEAT,
    ROUND_EV_DECLINE,
    ROUND_EV_SUMMED,   /* the group's sums and outcomes are committed: group, ok */
    ROUND_EV_ADVANCED, /* the server step of the round is committed: ok (false: gate refused, or
                          failed) */
    ROUND_EV_FAILED,   /* OPEN failed: try again later */
    ROUND_EV_PAUSE,
    ROUND_EV_RESUME,
    ROUND_EV_STOP,
    /* Secure rounds, all with round: */
    ROUND_EV_READY,   /* serial has trained; attempt: the session that it is in, 0: none */
    ROUND_EV_GROUPED, /* GROUP (group ROUND_ALL_GROUPS) or REGROUP (group) is durable: ok */
    ROUND_EV_SECURE,  /* serial's message of (attempt, exchange): ok: stored; else refused for good.
                         complete: unmasking has all that the sum needs. serial 0, after a restart:
                         complete of the group, or not ok: its session is lost */
    ROUND_EV_CLOSED,  /* the group's exchange is closed: ok; else the session has failed */
};
struct round_event {
    enum round_event_kind kind;
    uint64_t now_ms;
    uint64_t serial;
    uint32_t round; /* of REPORT, CHECKED, HEARTBEAT, DECLINE, SUMMED, ADVANCED: another round's is
                       answered, never counted */
    uint32_t group;
    bool ok;
    bool lost;        /* CHECKED and not ok: through no fault of the report; its mass goes back */
    bool holds_terms; /* CHECK_IN: the device already works under this round's terms */
    uint8_t attempt, exchange;
    bool complete;
};

enum round_action_kind {
    ROUND_DO_OPEN, /* make the round key and terms, store round and members (round_members), then
                      EV_OPENED */
    ROUND_DO_PLAN, /* answer the check-in with this round's terms */
    ROUND_DO_COME_BACK, /* answer the check-in (or the decline): not now, after_ms, reason */
    ROUND_DO_ACCEPT,    /* store the report as serial's in group, acknowledge; then check it and add
                           it: EV_CHECKED */
    ROUND_DO_REPEAT,    /* a report that is stored already: acknowledge again, with the outcome as
                           stored (member_state) */
    ROUND_DO_RETURN,    /* late, over-selected, not a member, group ended: store outcome RETURNED,
                           answer with reason. The engine does not remember ended rounds: where the
                           store has an outcome of (round, serial), that is the answer */
    ROUND_DO_CONTINUE,  /* heartbeat: go on */
    ROUND_DO_ABORT,     /* heartbeat: stop, reason */
    ROUND_DO_STORE_MEMBER, /* member state changed (planned, declined, dropped, rejected: outcome
                              kept): store it; reason */
    ROUND_DO_SUM, /* group reached its goal (or ended with its minimum): commit its sums, outcomes
                     kept/returned: EV_SUMMED */
    ROUND_DO_FAIL_GROUP, /* commit the group's failure: stored reports become RETURNED: EV_SUMMED
                            with ok false */
    ROUND_DO_ADVANCE,  /* all groups have ended, at least one summed: server step, commit, publish:
                          EV_ADVANCED */
    ROUND_DO_FAIL,     /* the round failed: commit, erase its key; reason */
    ROUND_DO_FINISHED, /* the task has made its rounds: store it */
    ROUND_DO_NOTE,     /* an event for log and store: text */
    /* Secure rounds. GROUP, REGROUP and CLOSE are asked for once, as OPEN is: */
    ROUND_DO_GROUP,   /* the groups are made (round_members, round_groups): store them, make their
                         sessions: EV_GROUPED */
    ROUND_DO_REGROUP, /* group begins its next session, of the members with its attempt: EV_GROUPED
                         with the group */
    ROUND_DO_STATE,   /* answer serial's READY with what it shall do now (round_secure_task) */
    ROUND_DO_NOTIFY,  /* tell all members of the group that are in what they shall do now */
    ROUND_DO_CLOSE,   /* close the group's exchange, durably: EV_CLOSED. After the last one comes
                         SUM */
};
struct round_action {
    enum round_action_kind kind;
    uint32_t round;
    uint64_t serial;
    uint32_t group;
    uint64_t after_ms;
    enum round_member_state member_state;
    uint8_t attempt, exchange;
    char text[120];
};
#define ROUND_ACTIONS_MAX 64

struct round_engine;
/* config is borrowed. first_round: the next round's number (1 for a new task). */
enum sotto_status round_engine_new(const struct task_config *config, uint32_t first_round,
                                   uint64_t train_rounds_done, struct round_engine **out,
                                   struct sotto_error *err);
void round_engine_free(struct round_engine *e);
/* One event. Fills actions (room for ROUND_ACTIONS_MAX) from the first on and sets *count; what
 * does not fit comes with the next step (ask with TICK while round_next_ms is 0). The time of an
 * event never lies before an earlier one's but for DEVICE_ADD, which gives no actions. NOMEM and
 * LIMIT: only for DEVICE_ADD, nothing has changed. */
enum sotto_status round_step(struct round_engine *e, const struct round_event *event,
                             struct round_action *actions, size_t *count, struct sotto_error *err);
uint64_t round_next_ms(
    const struct round_engine *e); /* next TICK at the latest; 0: at once; UINT64_MAX: none */

/* Selection, a pure function: the `wanted` (<= count) serials of smallest Philox rank under (seed,
 * round, serial, RNG_SELECT), ascending. */
void round_select(uint64_t seed, uint32_t round, const uint64_t *serials, uint32_t count,
                  uint32_t wanted, uint64_t *out);

/* After a restart: the open round as the store has it, into a new engine before its first TICK.
 * Members of a running group in state STORED (CHECKED becomes that) are checked again: the host
 * adds each to new sums and delivers EV_CHECKED, without an ACCEPT. A group that was SUMMING runs
 * again. Groups, round and its ADVANCE then end as they would have: no asked-for action is lost. */
struct round_saved {
    uint32_t round;
    enum round_kind kind;
    enum round_state state; /* OPEN or ADVANCING */
    uint64_t opened_ms; /* on the new clock, as is seen_ms; 0: unknown, deadlines and leases count
                           from the first event */
    uint32_t member_count, group_count;
    /* Secure groups that run: attempt, exchange, and the members' attempt, sent and out, as the
     * stored messages and closes say. An exchange whose CLOSE failed, or was not committed, runs
     * again. */
    const struct round_member *members;
    const struct round_group *groups;
};
enum sotto_status round_restore(struct round_engine *e, const struct round_saved *saved,
                                struct sotto_error *err);

/* Views for hosts and status pages. */
enum round_state round_state(const struct round_engine *e);
enum round_kind round_kind(const struct round_engine *e);
uint32_t round_number(const struct round_engine *e); /* of the current or last round */
const struct round_member *round_members(const struct round_engine *e, uint32_t *count);
const struct round_group *round_groups(const struct round_engine *e, uint32_t *count);
const struct round_member *round_member_find(const struct round_engine *e, uint64_t serial);
/* Secure rounds. What the member shall do now: SECAGG_ADVERTISE: send its record; LIST, DELIVERY,
 * SURVIVORS, SIGNATURES: fetch that and answer; 0: wait. *attempt: the session that this belongs
 * to, 0: not grouped yet. */
uint8_t round_secure_task(const struct round_engine *e, uint64_t serial, uint8_t *attempt);
/* Whether this message of serial is due: OK; EXISTS: it is stored already; STATE: too late, or
 * never due. */
enum sotto_status round_secure_due(const struct round_engine *e, uint64_t serial, uint32_t attempt,
                                   uint32_t exchange);
/* Whether its group asked it for its masked input: then what it trained is gone, sum or not. */
bool round_secure_asked(const struct round_engine *e, const struct round_member *m);
/* Members of a group in its present session, by the exchange in which they fell out; [0]: in. */
void round_secure_counts(const struct round_engine *e, uint32_t group, uint32_t out[10]);
uint32_t round_device_count(const struct round_engine *e);
const char *round_state_name(enum round_state s);

#endif
