/* Inside the daemon: one loop thread owns all of this; workers see only their job. */
#ifndef SOTTO_COORDINATOR_DAEMON_INT_H
#define SOTTO_COORDINATOR_DAEMON_INT_H

#include <pthread.h>
#include <stdatomic.h>

#include "sotto/coordinator.h"
#include "store/store.h"

#define DAEMON_TASKS_MAX     32
#define DAEMON_SERVERS_MAX   2
#define DAEMON_EVENTS_QUEUED 256
#define DAEMON_TICK_MS       1000
#define DAEMON_UPLOAD_CREDIT 8

struct coordinator;
struct task_host;
struct work;
struct secure_round;

/* Where the answer to the message being handled goes. */
struct reply_to {
    struct transport_server *server; /* NULL: nobody waits for an answer */
    uint64_t peer;
    uint64_t serial;
    sotto_CheckInReply *check_in; /* while a check-in is handled */
    bool planned;
    bool secure; /* a SecureReady is handled: SecureState answers */
    const struct wire_hash *terms;
};

/* ---- outbox.c: what may happen only after the commit
 * ---------------------------------------------------------------- */
struct outbox;
struct outbox *outbox_new(void) SOTTO_NODISCARD;
void outbox_free(struct outbox *o);
enum sotto_status outbox_send(struct outbox *o, const struct reply_to *to,
                              const sotto_Envelope *message, struct view payload,
                              struct sotto_error *err);
/* An Error message. */
enum sotto_status outbox_send_error(struct outbox *o, const struct reply_to *to,
                                    enum sotto_status what, uint64_t retry_ms, const char *text,
                                    struct sotto_error *err);
enum sotto_status outbox_remove(struct outbox *o, const char *path, bool shred,
                                struct sotto_error *err);
enum sotto_status outbox_remove_tree(struct outbox *o, const char *path, struct sotto_error *err);
/* Does everything in order and empties the box. Sends that fail are dropped: the device asks again.
 */
enum sotto_status outbox_flush(struct outbox *o, struct sotto_error *err);

/* ---- One task
 * --------------------------------------------------------------------------------------------------------
 */
struct group_host {
    pthread_mutex_t lock;
    struct group_sums sums;
    bool ready;          /* sums are allocated */
    uint32_t pending;    /* jobs under way */
    uint32_t generation; /* of the sums: one higher each time they are rebuilt */
    bool spoiled;        /* they lack a counted report: they must not be committed */
    enum { GROUP_END_NONE, GROUP_END_SUM, GROUP_END_FAIL } end_due; /* once pending is 0 */
};
struct upload {
    uint64_t serial;
    uint8_t attempt, exchange; /* of a masked round's message; 0: a sealed report */
    struct chunk_receiver receiver;
};
struct task_host {
    struct coordinator *c;
    struct store_task row;
    struct config *config;
    struct task_config settings;
    struct graph graph;
    struct data_schema schema;
    struct task_data data;
    struct round_engine *engine;
    struct store_version version; /* current */
    bool round_live;
    bool down_changed; /* round.bytes_down is not stored yet */
    struct store_round round;
    struct report_keys keys;
    struct codec_spec spec;
    uint64_t report_bytes_max;
    struct secure_round *secure; /* NULL: a plain round */
    uint32_t group_count;
    struct group_host *groups;
    uint32_t upload_count;
    struct upload *uploads;
    uint32_t busy_count;     /* members of the round */
    bool *busy;              /* by member: a job is under way */
    uint8_t *waits;          /* by member: times that its check waited for a fault of ours to end */
    uint64_t check_again_ms; /* they are checked again then; 0: none waits */
    uint32_t jobs;           /* of this round, under way */
    bool advancing;          /* the server step is with a worker */
    uint64_t advance_again_ms;                       /* it is made again then; 0: not */
    struct round_event events[DAEMON_EVENTS_QUEUED]; /* FIFO between the engine and its host */
    uint32_t event_first, event_count;
    /* Of the server step, written by its worker: "distill", 120 of 200. */
    _Atomic(const char *) progress_what;
    atomic_uint progress_done, progress_total;
};

/* A task that could not be loaded: the others go on. */
struct task_broken {
    char name[64];
    char reason[192];
};

struct coordinator {
    struct daemon_config config;
    char state_dir[IO_PATH_MAX], keys_dir[IO_PATH_MAX];
    int lock_fd, control_fd, wake_fd;
    struct store *store;
    struct transport_gate *gate;
    uint32_t server_count;
    struct transport_server *servers[DAEMON_SERVERS_MAX]; /* 0: current key, 1: retired one */
    struct id_curve curve[DAEMON_SERVERS_MAX];
    struct id_keys signing, signing_next;
    uint8_t authority_key[ID_KEY];
    struct id_document document;
    struct buf document_bytes; /* signed; empty: not certified yet */
    struct outbox *outbox;
    struct pool *pool;
    struct queue *results;
    const struct kern_backend *backend;
    uint32_t task_count;
    struct task_host *tasks[DAEMON_TASKS_MAX];
    uint32_t broken_count;
    struct task_broken broken[DAEMON_TASKS_MAX];
    struct work *backlog_first, *backlog_last; /* jobs that the pool has no room for yet */
    uint32_t running;                          /* jobs with the pool */
    atomic_bool closing;
    int64_t retired_until_ms; /* when the retired CURVE key is closed and shredded */
    uint64_t retain_after_ms,
        started_ms; /* on the monotonic clock: the other one is set at times */
    uint64_t checkins, enrolled, rejected;
    char control_path[IO_PATH_MAX];
    uint64_t disk_used, disk_free, disk_checked_ms; /* of the state folder */
    uint64_t disk_promised;                         /* to reports since then */
};

/* ---- keys.c
 * ------------------------------------------------------------------------------------------------------------
 */
/* Reads or makes the coordinator's keys below <state>/keys and the document. */
enum sotto_status keys_open(struct coordinator *c, struct sotto_error *err);
/* Makes new signing (next becomes current) and CURVE keys; they take effect at the next start.
 * certified: the current document, or NULL. STATE when a key would be lost that devices still need;
 * force gives up a CURVE key that is still in its overlap. */
enum sotto_status keys_rotate(const char *state_dir, const struct id_document *certified,
                              bool signing, bool curve, bool force, struct sotto_error *err);
/* The document that this coordinator would like certified: version one higher than the current. */
enum sotto_status keys_document_wanted(struct coordinator *c, struct id_document *out,
                                       struct sotto_error *err);
/* Whether the certified document lacks anything that it should say. */
bool keys_document_stale(struct coordinator *c);
enum sotto_status keys_document_import(struct coordinator *c, struct view bytes,
                                       struct sotto_error *err);
enum sotto_status keys_paths(const char *state_dir, char *keys_dir, size_t cap,
                             struct sotto_error *err);

/* Whether the authority's key lies or ever lay beside this coordinator. */
bool keys_authority_beside(const struct coordinator *c);
/* Shreds the retired CURVE key: its time is over. */
void keys_drop_retired(struct coordinator *c);

/* ---- keep.c: files that stay and files that go
 * ------------------------------------------------------------------------- */
/* Makes the folder of open rounds' keys; config.round_keys_dir becomes its path, the coordinator's
 * own. DENIED when it is not ours alone. */
enum sotto_status keep_round_keys_folder(struct coordinator *c, struct sotto_error *err);
/* At start: what a crash left of erasures and writes. */
enum sotto_status keep_sweep(struct coordinator *c, struct sotto_error *err);
/* Once a minute: old versions, events, outcomes, files that nothing names, the retired key. */
enum sotto_status keep_retain(struct coordinator *c, struct sotto_error *err);
uint64_t keep_disk_used(struct coordinator *c); /* bytes of the state folder, some seconds old */
/* Promises bytes of disk; false when they would leave less than the reserve of the disk or of
 * disk_max. */
bool keep_disk_take(struct coordinator *c, uint64_t bytes);

/* ---- device.c, upload.c: messages
 * --------------------------------------------------------------------------------------- */
enum sotto_status device_message(struct coordinator *c, struct transport_server *server,
                                 const struct transport_message *m, struct sotto_error *err);
enum sotto_status upload_open(struct coordinator *c, const struct reply_to *to,
                              const sotto_ReportOpen *m, struct sotto_error *err);
enum sotto_status upload_chunk(struct coordinator *c, const struct reply_to *to,
                               const sotto_ReportChunk *m, struct view payload,
                               struct sotto_error *err);
enum sotto_status upload_path(const struct coordinator *c, const struct wire_hash *terms,
                              uint64_t serial, bool part, char *out, size_t cap,
                              struct sotto_error *err);
enum sotto_status upload_dir(const struct coordinator *c, const struct wire_hash *terms, char *out,
                             size_t cap, struct sotto_error *err);
/* Messages of masked rounds (secure_message.c). */
enum sotto_status secure_ready(struct coordinator *c, struct reply_to *to,
                               const sotto_SecureReady *m, struct sotto_error *err);
enum sotto_status secure_get(struct coordinator *c, struct reply_to *to, const sotto_SecureGet *m,
                             struct sotto_error *err);
enum sotto_status package_request(struct coordinator *c, const struct reply_to *to,
                                  const sotto_GetPackage *m, struct sotto_error *err);
/* What the device is told of a report under these terms that is not open any more; stored before it
 * is said. held: the device was still working under them, so nothing of it was summed unless the
 * store says so. */
enum sotto_status outcome_of(struct coordinator *c, uint64_t serial, const struct wire_hash *terms,
                             bool held, sotto_Outcome *out, struct sotto_error *err);

/* ---- task.c, round.c: engines and their actions
 * --------------------------------------------------------------------------- */
enum sotto_status task_open(struct coordinator *c, const struct store_task *row,
                            struct task_host **out, struct sotto_error *err);
void task_close(struct task_host *t);
/* Opens a task and lets it run, paused or stopping as its row says. */
enum sotto_status task_load(struct coordinator *c, const struct store_task *row,
                            struct sotto_error *err);
/* Notes that a task is not loaded and why; reason NULL: it is again. */
void task_broken(struct coordinator *c, const char *name, const char *reason);
enum sotto_status task_create(struct coordinator *c, const char *origin, struct view yaml,
                              struct sotto_error *err);
struct task_host *task_find(struct coordinator *c, const char *name);
struct task_host *task_by_terms(struct coordinator *c, const struct wire_hash *terms);
/* Delivers an event and everything that follows from it. to may be NULL. */
enum sotto_status task_event(struct task_host *t, const struct round_event *event,
                             struct reply_to *to, struct sotto_error *err);
/* Puts an event behind those that wait; delivered before task_event returns. An engine asks once:
 * an answer that does not fit ends the daemon, and the next start asks again. */
enum sotto_status task_queue_event(struct task_host *t, const struct round_event *event,
                                   struct sotto_error *err);
enum sotto_status round_action_do(struct task_host *t, const struct round_action *a,
                                  struct reply_to *to, struct sotto_error *err);
/* Rebuilds the open round from the store at start. */
enum sotto_status round_resume(struct task_host *t, struct sotto_error *err);
/* Gives the open round up: failed in the store, reports returned, key erased; the engine starts
 * behind it. */
enum sotto_status round_abandon(struct task_host *t, const char *reason, struct sotto_error *err);
/* Room for a round's groups and members: no sums yet. */
enum sotto_status round_hosts(struct task_host *t, uint32_t groups, uint32_t members,
                              struct sotto_error *err);
/* Other groups, without sums. */
enum sotto_status round_group_hosts(struct task_host *t, uint32_t groups, struct sotto_error *err);
/* Stores a group's sums and commits it. */
enum sotto_status round_sum_group(struct task_host *t, uint32_t group, struct sotto_error *err);
void round_deinit(struct task_host *t); /* sums, uploads, keys */
enum sotto_status round_key_path(const struct task_host *t, const struct wire_hash *terms,
                                 char *out, size_t cap, struct sotto_error *err);
enum sotto_status round_sums_path(const struct task_host *t, const struct wire_hash *terms,
                                  uint32_t group, char *out, size_t cap, struct sotto_error *err);
/* Gives the engine every enrolled device. */
enum sotto_status task_devices(struct task_host *t, struct sotto_error *err);
enum sotto_status task_make_engine(struct task_host *t, struct sotto_error *err);
enum sotto_status task_event_log(struct task_host *t, const char *kind, uint32_t round,
                                 const char *text, struct sotto_error *err);

/* ---- work.c: jobs
 * ------------------------------------------------------------------------------------------------------------
 */
enum sotto_status work_check(struct task_host *t, uint64_t serial, uint32_t group, bool announce,
                             struct sotto_error *err);
enum sotto_status work_advance(struct task_host *t, struct sotto_error *err);
/* Unmasks and sums a secure group. */
enum sotto_status work_unmask(struct task_host *t, uint32_t group, struct sotto_error *err);
/* Checks again what had to wait. */
enum sotto_status work_check_waiting(struct task_host *t, struct sotto_error *err);
/* Takes finished jobs and delivers their events. */
enum sotto_status work_results(struct coordinator *c, struct sotto_error *err);
void work_drop(void *job);              /* a job whose result nobody takes any more */
void work_close(struct coordinator *c); /* after the pool has ended */
enum sotto_status blob_path(const struct coordinator *c, const char *kind,
                            const struct wire_hash *hash, char *out, size_t cap,
                            struct sotto_error *err);
/* Writes package, master and state files of a new version; content-addressed, durable, idempotent.
 */
enum sotto_status blob_write_version(const struct coordinator *c, const struct advance_out *v,
                                     uint32_t params, uint32_t state_floats,
                                     struct sotto_error *err);
enum sotto_status blob_read_floats(const struct coordinator *c, const char *kind,
                                   const struct wire_hash *hash, uint32_t count, float **out,
                                   struct sotto_error *err);

/* ---- control*.c: the control socket
 * ------------------------------------------------------------------------------------------- */
#define CONTROL_REQUEST_MAX (8u << 20)
#define CONTROL_ARGS_MAX    64
struct control_request {
    uint32_t argc;
    struct view argv[CONTROL_ARGS_MAX]; /* each terminated behind its n bytes */
    bool json;
};
enum sotto_status control_listen(struct coordinator *c, struct sotto_error *err);
/* Accepts and answers every waiting request. */
enum sotto_status control_serve(struct coordinator *c, struct sotto_error *err);
const char *control_arg(const struct control_request *r, uint32_t i); /* "" when absent */

#endif
