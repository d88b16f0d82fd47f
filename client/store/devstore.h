/* The device's store: identity, document, examples, terms, reports, residuals, packages, counters,
 * history. An interface of records; only store_*.c behind it speaks SQL.
 *
 * <dir>/device.db (WAL, 0600) and <dir>/files/ for large bytes: a file is written and synced first,
 * its name is committed, what it replaces is removed afterwards, and what no row names is swept at
 * open. So a kill at any instruction leaves either the old or the new state. One process at a time
 * (<dir>/lock), one thread. */
#ifndef SOTTO_CLIENT_DEVSTORE_H
#define SOTTO_CLIENT_DEVSTORE_H

#include "sotto/client/session.h"

#define DEVSTORE_NAME_MAX 64
#define DEVSTORE_HISTORY  2000         /* entries kept */
#define DEVSTORE_LOAD_MAX (512u << 20) /* bytes of examples in memory at once */
#define DEVSTORE_RESIDUAL ((size_t)1 << 30)

struct devstore;

enum devstore_mode {
    DEVSTORE_OWN,   /* the one process that works and sends */
    DEVSTORE_SHARE, /* beside it: adds examples, looks at what there is */
};
/* Makes what is missing, migrates, checks the database after an unclean stop. BUSY: another process
 * owns it, or a lock is held; CORRUPT, VERSION, FULL say what to do. */
enum sotto_status devstore_open(const char *dir, enum devstore_mode mode, struct devstore **out,
                                struct sotto_error *err);
void devstore_close(struct devstore *s);
const char *devstore_dir(const struct devstore *s);
/* All changes between begin and commit hold together, or none. They nest: the outermost counts.
 * After an error: rollback. */
enum sotto_status devstore_begin(struct devstore *s, struct sotto_error *err);
enum sotto_status devstore_commit(struct devstore *s, struct sotto_error *err);
void devstore_rollback(struct devstore *s);

/* ---- Identity
 * -----------------------------------------------------------------------------------------------------------
 */
struct devstore_identity {
    uint64_t serial;
    uint8_t authority[ID_KEY];
    struct id_keys keys;
    struct id_curve curve;
    bool enrolled;
    bool certified;
    uint8_t cert[ID_CERT_BYTES]; /* encoded; what it shows to other devices of a secure group */
};
void devstore_identity_wipe(struct devstore_identity *i);
/* NOT_FOUND: no token has been taken. */
enum sotto_status devstore_identity_get(struct devstore *s, struct devstore_identity *out,
                                        struct sotto_error *err);
/* A new, not yet enrolled identity with its token's text and document; replaces one that is not
 * enrolled. */
enum sotto_status devstore_identity_put(struct devstore *s, const struct devstore_identity *i,
                                        const char *token, uint64_t document_version,
                                        struct view document, struct sotto_error *err);
/* Text of the token, until enrolled; NOT_FOUND afterwards. */
enum sotto_status devstore_token_get(struct devstore *s, struct buf *out, struct sotto_error *err);
/* Enrolled: the token is wiped. */
enum sotto_status devstore_enrolled(struct devstore *s, struct sotto_error *err);
/* After a commit that wiped something: its old bytes leave the database's log too. */
enum sotto_status devstore_scrub(struct devstore *s, struct sotto_error *err);
enum sotto_status devstore_document_get(struct devstore *s, struct buf *out,
                                        struct sotto_error *err);
enum sotto_status devstore_document_put(struct devstore *s, uint64_t version, struct view document,
                                        struct sotto_error *err);

/* ---- Examples
 * -----------------------------------------------------------------------------------------------------------
 */
struct devstore_collection {
    char name[DEVSTORE_NAME_MAX];
    struct data_schema schema;
    uint64_t count, bytes;
};
/* Makes it, or finds it again with the same schema; EXISTS for another one. */
enum sotto_status devstore_collection_put(struct devstore *s, const char *name,
                                          const struct data_schema *schema,
                                          struct sotto_error *err);
enum sotto_status devstore_collection_get(struct devstore *s, const char *name,
                                          struct devstore_collection *out, struct sotto_error *err);
enum sotto_status devstore_collection_each(struct devstore *s,
                                           void (*visit)(void *ctx,
                                                         const struct devstore_collection *c),
                                           void *ctx, struct sotto_error *err);
/* label -1: none. The oldest examples of the store go when it would hold more than its bytes. */
enum sotto_status devstore_example_add(struct devstore *s, const char *collection,
                                       struct view value, int32_t label, int64_t now_ms,
                                       struct sotto_error *err);
/* bytes 0, age 0: no limit. */
void devstore_budget(struct devstore *s, uint64_t bytes_max, uint64_t age_max_ms);
/* Drops what is too old. */
enum sotto_status devstore_examples_expire(struct devstore *s, int64_t now_ms,
                                           struct sotto_error *err);
/* All labelled examples, oldest first. LIMIT above DEVSTORE_LOAD_MAX. */
enum sotto_status devstore_examples_load(struct devstore *s, const char *collection,
                                         struct dataset *out, struct sotto_error *err);

/* ---- Packages
 * -----------------------------------------------------------------------------------------------------------
 */
struct devstore_part {
    struct wire_hash package;
    uint64_t bytes;
    bool delta;
    uint32_t chunks;
};
/* Chunk 0 starts a download anew, the next ones go on. */
enum sotto_status devstore_part_add(struct devstore *s, const struct devstore_part *part,
                                    uint32_t chunk, struct view bytes, struct sotto_error *err);
enum sotto_status devstore_part_get(struct devstore *s, struct devstore_part *out,
                                    struct sotto_error *err); /* NOT_FOUND */
enum sotto_status devstore_part_read(struct devstore *s, struct buf *out, struct sotto_error *err);
enum sotto_status devstore_part_drop(struct devstore *s, struct sotto_error *err);
/* Keeps a whole package, whose hash has been checked, as the newest one of task; older ones of the
 * task go, the part too. */
enum sotto_status devstore_package_put(struct devstore *s, const struct wire_hash *hash,
                                       const char *task, struct view bytes,
                                       struct sotto_error *err);
/* task NULL: by hash; hash NULL: the newest of the task. */
enum sotto_status devstore_package_read(struct devstore *s, const struct wire_hash *hash,
                                        const char *task, struct buf *out, struct sotto_error *err);
enum sotto_status devstore_package_newest(struct devstore *s, struct wire_hash *out,
                                          struct sotto_error *err); /* NOT_FOUND */
enum sotto_status devstore_package_drop(struct devstore *s, const struct wire_hash *hash,
                                        struct sotto_error *err);

/* ---- Rounds
 * -------------------------------------------------------------------------------------------------------------
 */
/* What a session is restored from: everything but document. terms and tasks point into *hold, which
 * the caller deinits. */
enum sotto_status devstore_session(struct devstore *s, struct session_saved *out, struct buf *hold,
                                   struct sotto_error *err);
enum sotto_status devstore_terms_accept(struct devstore *s, const struct wire_hash *hash,
                                        struct view terms, const sotto_Terms *t,
                                        struct sotto_error *err);
enum sotto_status devstore_terms_drop(struct devstore *s, struct sotto_error *err);
/* A checkpoint in the middle of training; not durable, checked when read. NOT_FOUND when there is
 * none for these terms. */
enum sotto_status devstore_checkpoint_put(struct devstore *s, const struct wire_hash *terms,
                                          struct view bytes, struct sotto_error *err);
enum sotto_status devstore_checkpoint_get(struct devstore *s, const struct wire_hash *terms,
                                          struct buf *out, struct sotto_error *err);
struct devstore_residual {
    uint8_t task_id[WIRE_TASK_ID];
    struct wire_hash layout; /* of layout_encode's bytes */
    uint32_t round;          /* that changed it last */
};
/* count values into out; NOT_FOUND when there is none for this task and layout, or it is older than
 * rounds_max (0: any). */
enum sotto_status devstore_residual_get(struct devstore *s, const struct devstore_residual *which,
                                        uint32_t rounds_max, float *out, uint32_t count,
                                        struct sotto_error *err);
/* The device's control variate (SCAFFOLD's c_i) of a task, as devstore_residual_get; it has no age.
 */
enum sotto_status devstore_control_get(struct devstore *s, const struct devstore_residual *which,
                                       float *out, uint32_t count, struct sotto_error *err);
/* One transaction: the sealed report, the residual (NULL: unchanged), what the coordinator would
 * decode (NULL: none), the control variate and its change by this report (NULL: none), terms
 * SEALED.
 */
struct devstore_seal {
    struct wire_hash terms;
    const sotto_Terms *t;
    struct view report;
    struct wire_hash report_hash;
    struct devstore_residual residual;
    const float *residual_values, *decoded;
    const float *control, *control_change;
    uint32_t count;
};
enum sotto_status devstore_seal(struct devstore *s, const struct devstore_seal *seal,
                                int64_t now_ms, struct sotto_error *err);
/* Bytes [index * CHUNK_BYTES, ...) of a sealed report, or of a masked message; a vector without its
 * masks is refused (STATE). */
enum sotto_status devstore_report_chunk(struct devstore *s, const struct wire_hash *terms,
                                        uint32_t index, struct buf *out, struct sotto_error *err);
/* As SESSION_DO_STORE_OUTCOME says. An unknown report is no error. */
enum sotto_status devstore_outcome(struct devstore *s, const struct wire_hash *terms,
                                   sotto_Outcome outcome, struct sotto_error *err);
/* Retention: reports older than that are closed as kept, residuals and models of tasks that are
 * silent for so long go. */
enum sotto_status devstore_expire(struct devstore *s, int64_t before_ms, struct sotto_error *err);

/* ---- Under masks
 * ---------------------------------------------------------------------------------------------------------
 */
/* One transaction, in place of devstore_seal (whose report counts for nothing here): the coded
 * vector, codes below 2^ring_bits, and the same of residual and mass; terms READY. */
enum sotto_status devstore_ready(struct devstore *s, const struct devstore_seal *seal,
                                 const uint32_t *codes, uint64_t length, unsigned ring_bits,
                                 int64_t now_ms, struct sotto_error *err);
/* Coordinates of the stored vector; NOT_FOUND: none under these terms. */
enum sotto_status devstore_ready_length(struct devstore *s, const struct wire_hash *terms,
                                        uint64_t *out, struct sotto_error *err);
/* The session that is begun under the terms: STATE for a number that was begun before, or when
 * nothing is ready. */
enum sotto_status devstore_secure_begin(struct devstore *s, const struct wire_hash *terms,
                                        uint32_t attempt, struct sotto_error *err);
/* From the coded vector to the masked message, in pieces and between other calls. CORRUPT: the
 * vector is damaged; DENIED: a masked input has left under these terms. */
struct devstore_masking;
enum sotto_status devstore_masking_new(struct devstore *s, const struct wire_hash *terms,
                                       struct devstore_masking **out, struct sotto_error *err);
/* The next codes: at most cap of them, a multiple of 8; *count 0 at the end. */
enum sotto_status devstore_masking_codes(struct devstore_masking *m, uint32_t *codes, size_t cap,
                                         size_t *count, struct sotto_error *err);
enum sotto_status devstore_masking_put(struct devstore_masking *m, struct view bytes,
                                       struct sotto_error *err);
/* One transaction: the message is what the terms' report is from now on, masked(terms) is set, the
 * vector and its mass are gone. */
enum sotto_status devstore_masking_commit(struct devstore_masking *m, uint64_t *bytes,
                                          struct wire_hash *hash, struct sotto_error *err);
/* Without a commit nothing has changed. NULL is fine. */
void devstore_masking_free(struct devstore_masking *m);

/* The device's own record of a session that it took part in. */
#define DEVSTORE_SECURE_KEPT 500
struct devstore_secure {
    struct wire_hash terms;
    uint32_t attempt;
    int64_t at_ms; /* of its beginning */
    char task[64];
    uint32_t round;
    struct secagg_client_report report;
    bool beside;           /* the authority's key lies or lay beside the coordinator */
    sotto_Outcome outcome; /* UNSPECIFIED: none yet, or another session took its place */
};
/* Adds it, or brings the one of these terms and attempt forward (its at_ms and outcome stay). */
enum sotto_status devstore_secure_put(struct devstore *s, const struct devstore_secure *r,
                                      struct sotto_error *err);
/* Newest first, at most limit. */
enum sotto_status devstore_secure_each(struct devstore *s, uint32_t limit,
                                       void (*visit)(void *ctx, const struct devstore_secure *r),
                                       void *ctx, struct sotto_error *err);

/* ---- Choice of a backend
 * --------------------------------------------------------------------------------------------------
 */
#define DEVSTORE_CHOICES 32 /* kept */
struct devstore_choice {
    struct wire_hash model;   /* of the graph's bytes: weights change, it stays */
    uint32_t batch;           /* rows of a step */
    struct wire_hash machine; /* of all that could change the choice: backends, devices, drivers */
    char backend[32];         /* the fastest */
    char kernels[64];         /* its kernel set, as the coordinator is told */
    double samples_per_s;     /* 0: not measured */
    char detail[160];         /* what each backend did, for people */
};
/* Replaces what was known of model and batch, as the newest. */
enum sotto_status devstore_choice_put(struct devstore *s, const struct devstore_choice *c,
                                      struct sotto_error *err);
/* The newest that fits; NULL, NULL, 0: any. NOT_FOUND. */
enum sotto_status devstore_choice_get(struct devstore *s, const struct wire_hash *machine,
                                      const struct wire_hash *model, uint32_t batch,
                                      struct devstore_choice *out, struct sotto_error *err);
enum sotto_status devstore_choice_drop(struct devstore *s, const struct wire_hash *model,
                                       struct sotto_error *err);
/* Newest first. */
enum sotto_status devstore_choice_each(struct devstore *s,
                                       void (*visit)(void *ctx, const struct devstore_choice *c),
                                       void *ctx, struct sotto_error *err);

/* ---- Counters, history
 * ----------------------------------------------------------------------------------------------------
 */
struct devstore_counters {
    double bytes_left, rounds_left; /* at bucket_ms of the monotonic clock */
    uint64_t bucket_ms;             /* 0: not known, or before a reboot */
    uint64_t rounds_done, bytes_up, bytes_down;
};
enum sotto_status devstore_counters_get(struct devstore *s, struct devstore_counters *out,
                                        struct sotto_error *err);
/* As they are now. */
enum sotto_status devstore_buckets_put(struct devstore *s, double bytes_left, double rounds_left,
                                       struct sotto_error *err);
enum sotto_status devstore_traffic_add(struct devstore *s, uint64_t up, uint64_t down,
                                       struct sotto_error *err);
enum sotto_status devstore_history_add(struct devstore *s, int64_t now_ms, const char *task,
                                       uint32_t round, const char *text, struct sotto_error *err);
struct devstore_history {
    int64_t at_ms;
    const char *task, *text;
    uint32_t round;
};
/* Newest first, at most limit. */
enum sotto_status devstore_history_each(struct devstore *s, uint32_t limit,
                                        void (*visit)(void *ctx, const struct devstore_history *h),
                                        void *ctx, struct sotto_error *err);
/* Wipes examples, residuals, reports, packages and training state; identity, last rounds and
 * counters stay. */
enum sotto_status devstore_forget(struct devstore *s, struct sotto_error *err);

/* For tests: the database may have so many pages at most, as on a full disk; 0 ends that. */
void devstore_limit_pages(struct devstore *s, int64_t pages);
/* For tests: called with a name at every point where a kill must not hurt. */
extern void (*devstore_crash_point)(const char *name);

#endif
