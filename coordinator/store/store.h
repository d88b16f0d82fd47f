/* The coordinator's store: an interface of records; only store_*.c behind it speaks SQL.
 *
 * Every change happens between store_begin and store_commit. A failed commit is fatal to the
 * process: it is started again and resumes from what is durable. Not thread-safe: the loop thread
 * alone uses it. */
#ifndef SOTTO_COORDINATOR_STORE_H
#define SOTTO_COORDINATOR_STORE_H

#include "sotto/base.h"
#include "sotto/coordinator/engine.h"
#include "sotto/protocol.h"

struct store;

/* Opens (and makes) <dir>/coordinator.db, migrates, checks after an unclean stop. CORRUPT, VERSION,
 * BUSY say what to do. */
enum sotto_status store_open(const char *dir, struct store **out, struct sotto_error *err);
void store_close(struct store *s);
enum sotto_status store_begin(struct store *s,
                              struct sotto_error *err); /* nothing when one is open */
enum sotto_status store_commit(struct store *s, struct sotto_error *err);
bool store_in_transaction(const struct store *s);
/* Whether a statement failed for a reason of the database (disk, lock, damage): end the process. */
bool store_failed(const struct store *s);
/* A consistent copy of the database in a new file. */
enum sotto_status store_backup(struct store *s, const char *path, struct sotto_error *err);
/* Copies what a backup holds beside the database (keys, packages, masters, strategy states, an
 * authority that lies in the state) from one folder into another, durably; what is not there is
 * left out. */
enum sotto_status store_copy_files(const char *from, const char *to, struct sotto_error *err);
enum sotto_status store_copy_file(const char *from_dir, const char *name, const char *to_dir,
                                  struct sotto_error *err);

#define STORE_DOCUMENT_FLOOR "document_floor" /* u64: no lower document version is asked for */
/* ---- Settings of this coordinator
 * -------------------------------------------------------------------------------- */
enum sotto_status store_meta_set(struct store *s, const char *key, struct view value,
                                 struct sotto_error *err);
/* NOT_FOUND when there is none. */
enum sotto_status store_meta_get(struct store *s, const char *key, struct buf *out,
                                 struct sotto_error *err);

/* ---- Devices and tickets
 * ------------------------------------------------------------------------------------------ */
struct store_device {
    uint64_t serial;
    uint8_t device_key[ID_KEY], curve_key[ID_KEY];
    char version[32], tier[32], backend[64];
    int64_t enrolled_ms, seen_ms, revoked_ms; /* revoked_ms 0: not */
    uint64_t rejected, reports;
    double samples_per_s;          /* as the device says; 0: it has not measured yet */
    uint64_t bytes_up, bytes_down; /* of its reports, and of packages sent to it */
};
struct store_ticket {
    struct id_ticket ticket;
    bool spent;
};
enum sotto_status store_ticket_add(struct store *s, const struct id_ticket *t,
                                   struct sotto_error *err);
enum sotto_status store_ticket_get(struct store *s, uint64_t serial, struct store_ticket *out,
                                   struct sotto_error *err);
/* The first serial never given to a ticket; reserves count of them. */
enum sotto_status store_serial_reserve(struct store *s, uint64_t count, uint64_t *first,
                                       struct sotto_error *err);
enum sotto_status store_device_add(struct store *s, const struct id_cert *cert, const char *version,
                                   int64_t now_ms, struct sotto_error *err); /* spends the ticket */
enum sotto_status store_device_get(struct store *s, uint64_t serial, struct store_device *out,
                                   struct sotto_error *err);
enum sotto_status store_device_seen(struct store *s, uint64_t serial, int64_t now_ms,
                                    const char *version, const char *tier, const char *backend,
                                    double samples_per_s, struct sotto_error *err);
enum sotto_status store_device_moved(struct store *s, uint64_t serial, uint64_t up, uint64_t down,
                                     struct sotto_error *err); /* more bytes */
enum sotto_status store_device_count_report(struct store *s, uint64_t serial, bool rejected,
                                            struct sotto_error *err);
enum sotto_status store_device_revoke(struct store *s, uint64_t serial, int64_t now_ms,
                                      struct sotto_error *err);
/* Ascending by serial; visit returning another status than OK stops. */
enum sotto_status store_device_each(struct store *s,
                                    enum sotto_status (*visit)(void *ctx,
                                                               const struct store_device *d),
                                    void *ctx, struct sotto_error *err);
enum sotto_status store_ticket_each_open(struct store *s, int64_t now_ms,
                                         enum sotto_status (*visit)(void *ctx,
                                                                    const struct store_ticket *t),
                                         void *ctx, struct sotto_error *err);
/* Serials of revoked devices, ascending; *serials is the caller's. */
/* Whether a ticket or a device has this CURVE key. */
enum sotto_status store_curve_known(struct store *s, const uint8_t curve_key[ID_KEY], bool *known,
                                    struct sotto_error *err);
/* A token that no device has used is worth nothing from here on. */
enum sotto_status store_ticket_withdraw(struct store *s, uint64_t serial, struct sotto_error *err);
enum sotto_status store_revoked(struct store *s, uint64_t **serials, uint32_t *count,
                                struct sotto_error *err);

/* ---- Tasks
 * ---------------------------------------------------------------------------------------------------------
 */
enum store_task_state {
    STORE_TASK_RUNNING = 0,
    STORE_TASK_PAUSED,
    STORE_TASK_STOPPED,
    STORE_TASK_FINISHED
};
struct store_task {
    int64_t id;
    uint8_t task_id[16];
    char name[64];
    enum store_task_state state;
    int64_t created_ms;
    uint32_t next_round;
    uint64_t train_rounds_done;
    uint32_t version; /* number of the current one */
    uint8_t *yaml;    /* owned */
    size_t yaml_bytes;
};
void store_task_deinit(struct store_task *t);
enum sotto_status store_task_add(struct store *s, struct store_task *t,
                                 struct sotto_error *err); /* sets id */
enum sotto_status store_task_get(struct store *s, const char *name, struct store_task *out,
                                 struct sotto_error *err);
enum sotto_status store_task_state_set(struct store *s, int64_t id, enum store_task_state state,
                                       struct sotto_error *err);
enum sotto_status store_task_progress(struct store *s, int64_t id, uint32_t next_round,
                                      uint64_t train_rounds_done, struct sotto_error *err);
enum sotto_status store_task_each(struct store *s,
                                  enum sotto_status (*visit)(void *ctx, const struct store_task *t),
                                  void *ctx, struct sotto_error *err);
const char *store_task_state_name(enum store_task_state state);

/* ---- Rounds
 * ---------------------------------------------------------------------------------------------------------
 */
enum store_round_state {
    STORE_ROUND_OPEN = 0,
    STORE_ROUND_ADVANCING,
    STORE_ROUND_COMMITTED,
    STORE_ROUND_FAILED
};
struct store_round {
    int64_t task;
    uint32_t round;
    int kind; /* enum round_kind */
    enum store_round_state state;
    int64_t opened_ms, closed_ms;
    uint32_t base_version, version; /* trained from; made (0: none) */
    uint8_t terms[1024];
    uint32_t terms_bytes;
    uint8_t signature[ID_SIG], signing_key[ID_KEY], round_public[SEAL_PUBLIC];
    struct wire_hash terms_hash;
    uint32_t members, counted, rejected, returned;
    uint64_t bytes_up, bytes_down, train_examples;
    double train_loss, train_accuracy; /* NAN: none */
    char reason[160];
};
struct store_member {
    uint64_t serial;
    uint32_t group;
    int state; /* enum round_member_state */
    uint64_t report_bytes;
    uint32_t attempt; /* the newest secure session that it was put into; 0: none */
};
struct store_group {
    uint32_t members, goal, minimum;
    int state; /* enum round_group_state */
};
enum sotto_status store_round_add(struct store *s, const struct store_round *r,
                                  const struct round_member *members, uint32_t member_count,
                                  const struct round_group *groups, uint32_t group_count,
                                  struct sotto_error *err);
/* NOT_FOUND when there is no such round; round 0: the newest that is open or advancing. */
enum sotto_status store_round_get(struct store *s, int64_t task, uint32_t round,
                                  struct store_round *out, struct sotto_error *err);
enum sotto_status store_round_by_terms(struct store *s, const struct wire_hash *terms,
                                       struct store_round *out, struct sotto_error *err);
enum sotto_status
store_round_close(struct store *s, const struct store_round *r,
                  struct sotto_error *err); /* state, counts, metrics, reason, version */
enum sotto_status
store_round_each(struct store *s, int64_t task, uint32_t limit,
                 enum sotto_status (*visit)(void *ctx, const struct store_round *r), void *ctx,
                 struct sotto_error *err); /* newest first; limit 0: all */
enum sotto_status store_round_state_set(struct store *s, int64_t task, uint32_t round,
                                        enum store_round_state state, struct sotto_error *err);
/* What devices have fetched so far: a restart goes on counting from there. */
enum sotto_status store_round_down(struct store *s, int64_t task, uint32_t round,
                                   uint64_t bytes_down, struct sotto_error *err);
enum sotto_status store_member_set(struct store *s, int64_t task, uint32_t round, uint64_t serial,
                                   int state, struct sotto_error *err);
enum sotto_status store_member_report(struct store *s, int64_t task, uint32_t round,
                                      uint64_t serial, int state, uint64_t report_bytes,
                                      struct sotto_error *err);
enum sotto_status store_group_set(struct store *s, int64_t task, uint32_t round, uint32_t group,
                                  int state, struct sotto_error *err);
/* Both arrays are the caller's (mem_free), ascending. */
enum sotto_status store_members(struct store *s, int64_t task, uint32_t round,
                                struct store_member **out, uint32_t *count,
                                struct sotto_error *err);
enum sotto_status store_groups(struct store *s, int64_t task, uint32_t round,
                               struct store_group **out, uint32_t *count, struct sotto_error *err);

/* Announcements of uploads that are not complete: the first one holds. */
struct store_upload {
    uint64_t bytes;
    struct wire_hash hash;
};
/* attempt: of the secure session whose masked input it is; 0: a sealed report. */
enum sotto_status store_upload_set(struct store *s, const struct wire_hash *terms, uint64_t serial,
                                   uint32_t attempt, const struct store_upload *u,
                                   struct sotto_error *err);
enum sotto_status store_upload_get(struct store *s, const struct wire_hash *terms, uint64_t serial,
                                   uint32_t attempt, struct store_upload *out,
                                   struct sotto_error *err);
/* Forgets the announcements under these terms (the round has ended). */
enum sotto_status store_upload_clear(struct store *s, const struct wire_hash *terms,
                                     struct sotto_error *err);

/* ---- Secure groups (store_secure.c)
 * -------------------------------------------------------------------------------------- */
enum store_secure_state { STORE_SECURE_RUNNING = 0, STORE_SECURE_SUMMED, STORE_SECURE_FAILED };
/* One session of a group. Sets that it did not come to are 0. */
struct store_secure {
    uint32_t group, attempt;
    enum store_secure_state state;
    uint32_t members, sharers, survivors, signers, unmaskers;
    uint32_t dropped[5]; /* in ADVERTISE, SHARES, MASKED, SIGNATURE, UNMASK */
    uint32_t degree, threshold, minimum, bad_shares;
    bool complete;
    bool beside; /* the authority's key lay beside the coordinator then */
    uint64_t bytes_up, bytes_down;
    double seconds; /* of unmasking */
    int64_t started_ms, ended_ms;
    uint8_t session[32];
    char reason[160];
};
/* Replaces a row of the same (round, group, attempt). */
enum sotto_status store_secure_set(struct store *s, int64_t task, uint32_t round,
                                   const struct store_secure *g, struct sotto_error *err);
/* Ascending by (group, attempt); *out is the caller's (mem_free). */
enum sotto_status store_secure_list(struct store *s, int64_t task, uint32_t round,
                                    struct store_secure **out, uint32_t *count,
                                    struct sotto_error *err);
/* The round's groups are made anew: rows of groups, and the groups and states of members. */
enum sotto_status store_groups_replace(struct store *s, int64_t task, uint32_t round,
                                       const struct round_group *groups, uint32_t group_count,
                                       struct sotto_error *err);
enum sotto_status store_member_group(struct store *s, int64_t task, uint32_t round, uint64_t serial,
                                     uint32_t group, uint32_t attempt, struct sotto_error *err);

/* A member's message that was taken; body: all of it but of masked inputs, whose file is named by
 * (terms, serial, attempt). */
struct store_message {
    uint64_t serial;
    uint64_t bytes;
    struct wire_hash hash;
    struct view body; /* valid in the visit */
};
enum sotto_status store_message_add(struct store *s, int64_t task, uint32_t round, uint32_t group,
                                    uint32_t attempt, uint32_t exchange,
                                    const struct store_message *m, struct sotto_error *err);
/* The hash of a stored message; NOT_FOUND. */
enum sotto_status store_message_get(struct store *s, int64_t task, uint32_t round, uint32_t group,
                                    uint32_t attempt, uint32_t exchange, uint64_t serial,
                                    struct wire_hash *hash, struct sotto_error *err);
/* Ascending by serial. visit returning another status than OK stops. */
enum sotto_status store_message_each(struct store *s, int64_t task, uint32_t round, uint32_t group,
                                     uint32_t attempt, uint32_t exchange,
                                     enum sotto_status (*visit)(void *ctx,
                                                                const struct store_message *m),
                                     void *ctx, struct sotto_error *err);
/* Whether the exchange was closed well. */
enum sotto_status store_close_add(struct store *s, int64_t task, uint32_t round, uint32_t group,
                                  uint32_t attempt, uint32_t exchange, int64_t now_ms,
                                  struct sotto_error *err);
enum sotto_status store_close_get(struct store *s, int64_t task, uint32_t round, uint32_t group,
                                  uint32_t attempt, uint32_t exchange, bool *closed,
                                  struct sotto_error *err);
/* Whether this member was asked for its masked input: it was in its newest session when that
 * session closed SHARES. */
enum sotto_status store_secure_asked(struct store *s, int64_t task, uint32_t round, uint64_t serial,
                                     bool *asked, struct sotto_error *err);
/* The group's messages and closes: they have served. */
enum sotto_status store_messages_clear(struct store *s, int64_t task, uint32_t round,
                                       uint32_t group, struct sotto_error *err);

/* What a device is told of a report, for ever (until keep_outcomes_days). */
enum sotto_status store_outcome_set(struct store *s, uint64_t serial, const struct wire_hash *terms,
                                    sotto_Outcome outcome, int64_t now_ms, struct sotto_error *err);
enum sotto_status store_outcome_get(struct store *s, uint64_t serial, const struct wire_hash *terms,
                                    sotto_Outcome *out, struct sotto_error *err);

/* ---- Model versions
 * --------------------------------------------------------------------------------------------------
 */
struct store_version {
    int64_t task;
    uint32_t number;
    uint32_t parent; /* 0: none */
    uint32_t round;  /* that made it; 0: initial or rollback */
    char origin[16]; /* "initial", "round", "distilled", "rollback", "refused" */
    bool published;
    int64_t created_ms;
    struct wire_hash package_hash, digest;
    uint64_t package_bytes;
    double test_loss, test_accuracy, validation_loss, validation_accuracy, distill_gain;
    bool released; /* kept for ever */
    char kernel_set[64];
    char reason[160];
};
enum sotto_status store_version_add(struct store *s, const struct store_version *v,
                                    bool make_current, struct sotto_error *err);
enum sotto_status store_version_get(struct store *s, int64_t task, uint32_t number,
                                    struct store_version *out, struct sotto_error *err);
enum sotto_status store_version_each(struct store *s, int64_t task, uint32_t limit,
                                     enum sotto_status (*visit)(void *ctx,
                                                                const struct store_version *v),
                                     void *ctx, struct sotto_error *err); /* newest first */
enum sotto_status store_version_last(struct store *s, int64_t task, uint32_t *number,
                                     struct sotto_error *err);
enum sotto_status store_version_release(struct store *s, int64_t task, uint32_t number,
                                        struct sotto_error *err);
/* Best loss and accuracy of published versions; NAN when there are none. */
enum sotto_status store_version_best(struct store *s, int64_t task, double *loss, double *accuracy,
                                     struct sotto_error *err);
/* Whether any kept version or open round names this package or digest. */
enum sotto_status store_blob_used(struct store *s, const struct wire_hash *hash, bool *used,
                                  struct sotto_error *err);

/* ---- Events, retention
 * ------------------------------------------------------------------------------------------------
 */
enum sotto_status store_event_add(struct store *s, int64_t now_ms, const char *kind,
                                  const char *task, uint32_t round, const char *text,
                                  struct sotto_error *err);
enum sotto_status
store_event_each(struct store *s, uint64_t after_id, uint32_t limit,
                 enum sotto_status (*visit)(void *ctx, uint64_t id, int64_t at_ms, const char *kind,
                                            const char *task, uint32_t round, const char *text),
                 void *ctx, struct sotto_error *err); /* oldest first of the newest limit */
struct store_keep {
    uint32_t versions;
    int64_t events_before_ms, outcomes_before_ms;
};
/* Removes what the rules allow: old versions (never the current one, its parent, released ones, the
 * base of an open round), events, outcomes, expired spent tickets. */
enum sotto_status store_retain(struct store *s, const struct store_keep *keep,
                               struct sotto_error *err);
/* Closes every open round as failed and moves all tasks 2^20 round numbers on, serials and document
 * versions too: after a restore from a backup. */
enum sotto_status store_after_restore(struct store *s, int64_t now_ms, struct sotto_error *err);

#endif
