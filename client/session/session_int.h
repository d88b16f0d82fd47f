/* The session's state and the seams between its files. */
#ifndef SOTTO_CLIENT_SESSION_INT_H
#define SOTTO_CLIENT_SESSION_INT_H

#include "sotto/client/session.h"
#include "sotto/protocol/secure.h"

#define SESSION_OUT_MAX 6  /* messages in one step */
#define SESSION_CREDIT  4u /* package chunks on the way */
#define SESSION_REPLY_MS                                                                           \
    10000u /* an answer is due within this time, then the message is sent again */
#define SESSION_TRIES           3 /* ... so often, then the next endpoint is tried */
#define SESSION_CONNECT_MS      8000u
#define SESSION_BACKOFF_MAX_MS  (15u * 60 * 1000)
#define SESSION_REFUSED_MS      5000u
#define SESSION_REFUSED_MAX_MS  (60u * 60 * 1000)
#define SESSION_KEEP_LINK_MS    2000u  /* a connection is kept over a shorter wait */
#define SESSION_RECHECK_MS      30000u /* how often missing conditions are looked at */
#define SESSION_REPORT_REFUSALS 10     /* errors about one report until it is given up */
#define SESSION_DAY_MS          86400000.0
/* What a coordinator may ask of a waiting device: to say again that it is ready. */
#define SESSION_SECURE_WAIT_MIN_MS 250u
#define SESSION_SECURE_WAIT_MAX_MS (5u * 60 * 1000)

enum session_link { LINK_DOWN = 0, LINK_CONNECTING, LINK_UP };

/* The phase SECURE: where this device is in its session. */
struct session_secure {
    uint32_t attempt; /* of the newest session; stored */
    bool live;        /* the host has a member of it */
    bool masked;      /* stored: a masked input has left under these terms */
    bool working;     /* the host owes an answer */
    bool sending, fetching;
    uint32_t taken, have; /* enum secagg_kind: taken; taken, or sent and acknowledged */
    uint32_t out_kind;    /* the newest message of this device; 0: none */
    uint64_t out_bytes;
    struct wire_hash out_hash;
    bool out_acked;
    uint32_t in_kind; /* that is announced, being fetched or taken; 0: none */
    uint64_t in_bytes;
    struct wire_hash in_hash;
    uint64_t wait_ms; /* as the coordinator said; 0: it did not */
    uint32_t refused; /* the session that was refused last: noted once */
};

struct session {
    struct session_config config;
    const struct id_document *document;
    struct rng jitter;

    /* this step */
    uint64_t now_ms;
    uint8_t step_nonce[WIRE_NONCE];
    struct session_action *actions;
    size_t action_count;
    sotto_Envelope *out; /* SESSION_OUT_MAX, only while there is a link */
    uint32_t out_count;

    struct {
        bool charging, idle, unmetered, online;
        int battery_percent;
    } conditions;
    uint32_t train_permille;

    enum session_phase phase;
    enum session_link link;
    uint32_t endpoint;
    uint32_t failures, refusals; /* of the link, in a row */
    uint32_t errors;             /* answers of kind Error since something last went well */
    uint32_t answers;            /* conversations that came to an end */
    uint32_t tries;              /* of the message that waits for its answer */
    uint64_t due_ms;             /* IDLE: next check-in */
    uint64_t link_due_ms;        /* CONNECTING: time-out; TRAIN without a link: next attempt */
    uint64_t await_ms;           /* an answer is due */
    uint64_t heartbeat_due_ms;
    uint64_t deadline_ms;      /* of the terms; UINT64_MAX: none */
    uint64_t train_limit_ms;   /* the policy's; UINT64_MAX: none */
    uint64_t last_check_in_ms; /* 0: never */
    uint8_t nonce[WIRE_NONCE]; /* of the check-in under way */
    bool nonce_used;           /* whether it has been sent */

    enum session_stage stage;
    sotto_Terms terms;
    uint8_t terms_bytes[WIRE_TERMS_MAX];
    size_t terms_size;
    struct wire_hash terms_hash;
    uint64_t report_bytes;
    struct wire_hash report_hash;
    uint32_t report_refusals;
    struct chunk_sender sender;
    bool granted;
    struct session_secure secure;

    uint32_t open_count;
    struct wire_hash open_reports[SESSION_OPEN_REPORTS_MAX];

    struct wire_hash held; /* package */
    bool held_any;
    struct wire_hash part;
    uint64_t part_bytes;
    bool part_delta;
    uint32_t part_chunks;
    bool receiving; /* receiver is set up */
    struct chunk_receiver receiver;
    bool whole_only;      /* a delta did not fit: ask without a base */
    uint32_t fetch_again; /* downloads of these terms that did not hold */

    uint32_t task_count, task_cap;
    struct session_task *tasks;

    double bytes_left, rounds_left;
    uint64_t bucket_ms; /* when they were last filled; 0: not yet */

    struct wire_hash decline_hash;
    char decline_rule[48];
    char decline_detail[128];
    char reason[160];
};

/* ---- flow.c: actions, messages, link, phases
 * -------------------------------------------------------------------------- */
struct session_action *session_emit(struct session *s, enum session_action_kind kind);
void session_note(struct session *s, const char *fmt, ...) SOTTO_PRINTF(2, 3);
void session_emit_counters(struct session *s);
void session_emit_charge(struct session *s); /* bytes were charged: stored before they leave */
void session_link_fail(struct session *s, const char *why, bool refused);
void session_link_close(struct session *s);
void session_link_open(struct session *s);
uint64_t session_backoff(struct session *s, uint32_t count);
/* Waits until due_ms at least; the link is closed when that is long. */
void session_go_idle(struct session *s, uint64_t due_ms);
void session_begin_check_in(struct session *s);
void session_begin_work(struct session *s); /* ACCEPTED: fetch or prepare */
void session_begin_prepare(struct session *s);
void session_begin_report(struct session *s);
void session_send_again(struct session *s); /* the message of this phase */
void session_send_heartbeat(struct session *s);
void session_send_chunks(struct session *s);
void session_request_package(struct session *s, uint32_t index, uint32_t count);
/* Ends terms that are not sealed. */
void session_drop_terms(struct session *s);
/* Drops what is accepted, tells the coordinator the rule (if there is a link), waits. */
void session_decline(struct session *s, const struct wire_hash *terms, const char *rule,
                     const char *detail);
void session_close_report(struct session *s, const struct wire_hash *terms, sotto_Outcome outcome);

/* A message with room in this step and a link, or NULL; *action (may be NULL) is its SEND. */
sotto_Envelope *session_message(struct session *s, pb_size_t which, struct session_action **action);

/* ---- exchange.c
 * -------------------------------------------------------------------------------------------------------
 */
/* READY: says so, and does what the coordinator asks for. */
void session_begin_secure(struct session *s);
void session_secure_again(struct session *s); /* the message that waits for its answer */
void session_secure_connected(struct session *s);
void session_secure_timers(struct session *s);
uint64_t session_secure_next_ms(const struct session *s);
/* Of READY terms: KEPT or RETURNED; with a masked input out there the mass is gone anyway. */
void session_secure_finish(struct session *s, sotto_Outcome outcome);
/* The masked message cannot be read any more. */
void session_secure_lost(struct session *s, const char *message);
void session_on_secure_out(struct session *s, const struct session_event *e);
void session_on_secure_failed(struct session *s, const struct session_event *e);
void session_on_secure_state(struct session *s, const sotto_SecureState *m);
void session_on_secure_chunk(struct session *s, const sotto_SecureChunk *m, struct view payload);
void session_on_secure_grant(struct session *s, const sotto_ReportGrant *m);
void session_on_secure_ack(struct session *s, const sotto_ReportAck *m);

/* ---- message.c
 * --------------------------------------------------------------------------------------------------------
 */
void session_on_message(struct session *s, const sotto_Envelope *m, struct view payload);

/* ---- plan.c
 * -----------------------------------------------------------------------------------------------------------
 */
struct session_plan {
    sotto_Terms terms;
    struct wire_hash hash;
    bool same; /* as the terms at work */
    char rule[48];
    char detail[128];
};
/* False: refused, with rule and detail. */
bool session_plan_check(struct session *s, const struct id_document *document,
                        const sotto_CheckInReply *m, struct session_plan *out);
struct session_task *session_task_find(struct session *s, const uint8_t task_id[WIRE_TASK_ID]);

/* ---- policy.c
 * ---------------------------------------------------------------------------------------------------------
 */
/* The rule that keeps the device from working now, or NULL. */
const char *session_conditions_missing(const struct session *s);
bool session_policy_check(struct session *s, struct session_plan *plan);
void session_buckets_fill(struct session *s);
void session_charge(struct session *s, size_t bytes);
/* When the buckets allow need_bytes and one more round. */
uint64_t session_buckets_wait_ms(const struct session *s);

#endif
