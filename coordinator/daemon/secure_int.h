/* Secure rounds inside the daemon: the sessions of a round's groups, and who is at which
 * connection. The engine says who is waited for, secagg's server what is shown; here both meet the
 * store. */
#ifndef SOTTO_COORDINATOR_SECURE_INT_H
#define SOTTO_COORDINATOR_SECURE_INT_H

#include "daemon/daemon_int.h"

struct secure_group {
    struct secagg_server *server; /* NULL: none, or lost */
    struct store_secure row;      /* of the present session */
    bool busy;                    /* a worker unmasks: the server is its own */
    uint8_t attempts;             /* of unmasking, that failed for a fault of ours */
};
/* Where a member's newest message came from. */
struct secure_peer {
    struct transport_server *server;
    uint64_t peer;
};
struct secure_round {
    struct masked_plan *plan;
    struct buf mask; /* borrowed by the plan */
    struct secagg_config config;
    struct secure_ids ids;
    struct secagg_identity identity;
    uint32_t group_count;
    struct secure_group *groups;
    uint32_t peer_count; /* members of the round */
    struct secure_peer *peers;
};

/* secure.c: the round's object, and the engine's actions */
/* The plan of the round's vectors, which its terms need; before they are made. */
enum sotto_status secure_plan(struct task_host *t, uint32_t round, bool evaluate,
                              struct secure_round **out, struct sotto_error *err);
uint64_t secure_report_max(const struct secure_round *s); /* bytes of a masked input */
/* Once the terms are. */
enum sotto_status secure_configure(struct task_host *t, uint32_t members, struct sotto_error *err);
void secure_free(struct secure_round *s);
enum sotto_status secure_groups_new(struct task_host *t, uint32_t count, struct sotto_error *err);
enum sotto_status secure_session_new(struct task_host *t, uint32_t group, struct sotto_error *err);
enum sotto_status secure_action(struct task_host *t, const struct round_action *a,
                                struct reply_to *to, struct sotto_error *err);
/* The group's session has ended: its record, and what is erased of it. In the transaction that
 * commits the group. */
enum sotto_status secure_ended(struct task_host *t, uint32_t group, bool ok,
                               struct sotto_error *err);
/* The worker is done with the group's sum. */
enum sotto_status secure_summed(struct task_host *t, uint32_t group, enum sotto_status sum,
                                const char *why, double seconds, struct sotto_error *err);
/* What is known of the session into its row. */
void secure_row_update(struct task_host *t, uint32_t group);
enum sotto_status secure_row_store(struct task_host *t, uint32_t group, struct sotto_error *err);
enum sotto_status masked_path(const struct coordinator *c, const struct wire_hash *terms,
                              uint64_t serial, uint32_t attempt, bool part, char *out, size_t cap,
                              struct sotto_error *err);

/* secure_message.c: what devices say, and are told */
enum sotto_status secure_tell(struct task_host *t, const struct round_member *m,
                              const struct reply_to *to, struct sotto_error *err);
enum sotto_status secure_tell_outcome(struct coordinator *c, const struct reply_to *to,
                                      const struct wire_hash *terms, sotto_Outcome outcome,
                                      uint64_t come_back_ms, const char *reason,
                                      struct sotto_error *err);
/* The member's newest connection; false: none is known. */
bool secure_peer(struct task_host *t, uint64_t serial, struct reply_to *out);

/* secure_resume.c */
enum sotto_status secure_saved(struct task_host *t, struct round_member *members, uint32_t count,
                               struct round_group *groups, uint32_t group_count,
                               struct sotto_error *err);
/* The sessions are built again from stored messages and closes; what cannot be goes to the engine.
 */
enum sotto_status secure_resume(struct task_host *t, struct sotto_error *err);
/* One group's session anew, up to its last close. *why: why it cannot be. */
enum sotto_status secure_replay(struct task_host *t, uint32_t group, bool unmask,
                                struct sotto_error *why);

#endif
