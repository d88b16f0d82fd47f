/* The client object and the seams between the library's files. Not part of its interface. */
#ifndef SOTTO_CLIENT_CLIENT_INT_H
#define SOTTO_CLIENT_CLIENT_INT_H

#include "sotto/client.h"
#include "sotto/client/secure.h"
#include "sotto/client/session.h"
#include "store/devstore.h"

#define CLIENT_EVAL_BATCH      64u
#define CLIENT_EVAL_SLICE      256u
#define CLIENT_CHECKPOINT_MS   5000u
#define CLIENT_MESSAGES_MAX    64  /* taken in one poll */
#define CLIENT_CONNECT_WAIT_MS 10u /* between two looks at a connection that is being made */
#define CLIENT_STORE_RETRY_MS  5000u
#define CLIENT_STORE_RETRY_MAX 300000u
#define CLIENT_ENROLL_WAIT_MS  10000u
#define CLIENT_EXPIRE_MS       (15u * 60 * 1000)
#define CLIENT_RETENTION_MS    (60ll * 24 * 3600 * 1000) /* of what nobody has asked for */

/* What the policy file says beside the session's policy. */
struct client_policy {
    struct session_policy session;
    uint64_t examples_bytes_max, examples_age_max_ms;
    char backend[32]; /* "auto", or the one to train with */
};

enum client_work_kind {
    CLIENT_WORK_NONE = 0,
    CLIENT_WORK_PREPARE, /* ordered, not begun */
    CLIENT_WORK_PREPARED,
    CLIENT_WORK_TRAIN, /* ordered, not begun */
    CLIENT_WORK_TRAINING,
    CLIENT_WORK_EVALUATING,
};
/* A choice of a backend under way, and what it came to. */
struct client_choosing {
    bool begun;
    size_t next; /* candidate */
    const struct kern_backend *fastest;
    struct devstore_choice best;
};
struct client_work {
    enum client_work_kind kind;
    struct client_choosing choosing;
    const struct kern_backend *backend; /* that does this work; NULL: not chosen yet */
    uint64_t train_ns;                  /* spent in steps, and which was the first */
    uint32_t first_step;
    struct wire_hash package_hash, base_hash;
    bool have_package, have_data;
    struct buf bytes; /* of the package: its weights stay in them, no f32 copy is made */
    struct package package;
    struct dataset data;
    struct trainer *trainer;
    struct evaluator *evaluator;
    uint32_t evaluated;
    struct train_metrics metrics;
    uint64_t checkpoint_ms; /* the last one's time */
};

/* A session of secure aggregation: its member, and what of it is to be done. */
struct client_masks {
    enum {
        CLIENT_MASKS_NONE = 0,
        CLIENT_MASKS_BEGIN,
        CLIENT_MASKS_TAKE, /* message `kind` with that hash */
        CLIENT_MASKS_MASK,
    } work;
    struct secure_member *member; /* NULL: none, or not begun */
    uint32_t attempt;
    enum secagg_kind kind;
    struct wire_hash hash;
    struct devstore_masking *masking; /* while masking, as these two */
    uint32_t *codes;                  /* SECURE_MASK_BLOCK */
    struct buf bytes;
};

struct client_enroll {
    struct transport_client *link;
    struct id_token token;
    bool have_token, sent;
    uint32_t endpoint, failures, refused;
    uint64_t due_ms;
    enum sotto_status failed; /* for good: another token is needed */
};

struct client_predictor {
    char task[64];
    struct package package; /* without its weights: the evaluator has them */
    struct evaluator *evaluator;
};

struct sotto_client {
    struct sotto_error error;
    struct devstore *store;
    struct client_policy policy;
    const struct kern_backend *backend; /* named by flag or policy, else the processor's */
    bool backend_fixed;
    uint32_t backends_failed; /* one bit each: not tried again */
    char told_kernels[64];    /* what the coordinator is told of the backend in use */
    double told_speed;
    const struct kern_backend *speed_of; /* whose trainings these are */
    double speed_samples, speed_seconds; /* older ones count less */
    char tier[32];
    uint32_t slice_ms;
    void (*log)(void *ctx, const char *line);
    void *log_ctx;

    bool have_identity;
    struct devstore_identity identity;
    bool have_document;
    struct id_document document;

    struct session *session;
    uint64_t session_due_ms; /* after a failure of the store */
    uint64_t expire_due_ms;  /* next look for examples that are too old */
    uint32_t store_failures;
    struct transport_client *link;
    bool link_up; /* CONNECTED was told */
    sotto_client_conditions conditions;
    bool conditions_changed;
    struct client_work work;
    struct client_masks masks;
    struct client_enroll enroll;
    struct client_predictor predictor;

    uint64_t bytes_up, bytes_down, traffic_up, traffic_down; /* traffic: not yet in the store */
    uint32_t rounds_done;
    char note[160];
    char note_task[64]; /* what a step is about, also when it ends the terms */
    uint32_t note_round;
    struct buf frame, chunk; /* reused for every message */
};

void client_log(struct sotto_client *c, const char *fmt, ...) SOTTO_PRINTF(2, 3);
/* Keeps the error and gives its status as the API's result. */
int client_result(struct sotto_client *c, enum sotto_status status);

/* ---- policy_file.c
 * -------------------------------------------------------------------------------------------------------
 */
void client_policy_defaults(struct client_policy *p);
/* "key value" lines; errors name file, line and what is allowed. */
enum sotto_status client_policy_read(const char *path, struct client_policy *out,
                                     struct sotto_error *err);
enum sotto_status client_policy_parse(const char *name, struct view text, struct client_policy *out,
                                      struct sotto_error *err);
/* All keys with their values, in the file's form. */
void client_policy_print(const struct client_policy *p, struct buf *out);

/* ---- host.c
 * --------------------------------------------------------------------------------------------------------------
 */
enum sotto_status client_session_make(struct sotto_client *c, struct sotto_error *err);
void client_session_end(struct sotto_client *c);
/* One event; the session's actions are carried out. */
enum sotto_status client_step(struct sotto_client *c, struct session_event *event,
                              struct sotto_error *err);
/* Messages, changes of the connection, timers. *busy: something happened. */
enum sotto_status client_network(struct sotto_client *c, bool *busy, struct sotto_error *err);
/* Waits for a message and takes it; a signal ends the wait. */
enum sotto_status client_network_wait(struct sotto_client *c, uint64_t ms, struct sotto_error *err);
void client_link_close(struct sotto_client *c);
void client_flush_traffic(struct sotto_client *c);

/* ---- machine.c
 * -----------------------------------------------------------------------------------------------------------
 */
#define CLIENT_BACKENDS_MAX 16
/* Another one whenever program, processor or drivers are others. */
struct wire_hash client_machine(void);

/* ---- choose.c
 * ------------------------------------------------------------------------------------------------------------
 */
/* name NULL: the policy's; "auto" is chosen at the first training of a model. */
enum sotto_status client_choose_open(struct sotto_client *c, const char *name,
                                     struct sotto_error *err);
/* Goes on choosing the backend for the work that is prepared, one candidate a call; then
 * work.backend is set and *ready. Only a failing store is an error, or that nothing can train. */
enum sotto_status client_choose(struct sotto_client *c, const sotto_Terms *t, bool *ready,
                                struct sotto_error *err);
/* The chosen backend has failed: true when another one can begin the work anew. */
bool client_choose_again(struct sotto_client *c, const struct sotto_error *why);
/* So many examples took so long in a real training. */
void client_choose_trained(struct sotto_client *c, double samples, double seconds);
/* What the next check-in says. */
void client_choose_tell(struct sotto_client *c);
/* For tests: what there is to choose from, and how fast it is. */
extern size_t (*client_choose_candidates)(const struct kern_backend **out, size_t cap);
extern enum sotto_status (*client_choose_timing)(const struct kern_backend *b,
                                                 double *samples_per_s, struct sotto_error *err);

/* ---- work.c
 * --------------------------------------------------------------------------------------------------------------
 */
/* What a package is evaluated with: its int8 weights as they lie, else f32. */
enum graph_precision client_precision(const struct package *p);
/* Does a slice of what is ordered. */
enum sotto_status client_work_slice(struct sotto_client *c, struct sotto_error *err);
void client_work_cancel(struct sotto_client *c); /* keeps a checkpoint of training under way */
void client_work_clear(struct sotto_client *c);
uint32_t client_work_permille(const struct sotto_client *c);

/* ---- masks.c
 * -------------------------------------------------------------------------------------------------------------
 */
/* Carries out a SECURE action; the work of it is done in slices. */
enum sotto_status client_masks_act(struct sotto_client *c, const struct session_action *a,
                                   struct sotto_error *err);
bool client_masks_due(const struct sotto_client *c);
enum sotto_status client_masks_slice(struct sotto_client *c, struct sotto_error *err);
/* The payload of a SEND that has one, valid until the next. */
enum sotto_status client_masks_chunk(struct sotto_client *c, const struct session_action *a,
                                     struct view *out, struct sotto_error *err);
void client_masks_end(struct sotto_client *c); /* wipes the member's secrets */

/* ---- enroll.c
 * ------------------------------------------------------------------------------------------------------------
 */
enum sotto_status client_enroll_take(struct sotto_client *c, const char *token,
                                     struct sotto_error *err);
/* Goes on with an enrolment; waits for an answer up to timeout_ms. */
enum sotto_status client_enroll_poll(struct sotto_client *c, int timeout_ms,
                                     struct sotto_error *err);
void client_enroll_close(struct sotto_client *c);
/* Reads identity and document from the store. */
enum sotto_status client_identity_load(struct sotto_client *c, struct sotto_error *err);

/* ---- predict.c
 * -----------------------------------------------------------------------------------------------------------
 */
enum sotto_status client_predict(struct sotto_client *c, const char *task, struct view values,
                                 float *out, uint32_t classes, struct sotto_error *err);
void client_predict_clear(struct sotto_client *c);

/* Sleeps; a signal ends it. */
void client_sleep(uint64_t ms);

#endif
