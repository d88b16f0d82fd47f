/* Private to sim/: a running experiment. One thread, the host, owns everything; workers own a job
 * while it is with them. */
#ifndef SOTTO_SIM_SIM_H
#define SOTTO_SIM_SIM_H

#include <pthread.h>

#include "checkpoint.h"
#include "experiment.h"
#include "fleet.h"
#include "journal.h"
#include "profile.h"
#include "sotto/client/session.h"
#include "vtime.h"

#define SIM_KEEP_VERSIONS                                                                          \
    20 /* packages kept as bases of deltas: as many as a coordinator keeps                         \
        */
#define SIM_EVENTS_QUEUED 128
#define SIM_SPARES        64
#define SIM_NO_ROUND      0u

/* ---- What a round made */

struct sim_round_result {
    uint32_t round;
    bool evaluation; /* devices evaluated: test_* are theirs */
    bool failed, published, distilled;
    bool again; /* read from a checkpoint, not made now */
    char reason[160];
    double test_accuracy, test_loss;   /* NAN: not tested */
    double train_accuracy, train_loss; /* over the examples that devices saw */
    double distill_gain;
    uint64_t train_samples;
    uint32_t members, counted, returned, rejected, declined, dropped;
    uint32_t sessions; /* of secure aggregation that were begun, another one after a failure too */
    uint64_t bytes_up, bytes_down;
    double train_seconds; /* wall clock from the first training handed out to the last one done */
    double eval_seconds, server_seconds, wall_seconds;
    double virtual_seconds; /* from opening to its last group's end */
    double energy_joules;   /* of all devices, since the round before ended */
};
/* Of the devices that took part: bytes of reports and packages, energy. */
struct sim_devices {
    uint32_t count;
    double sent_mean, sent_max, received_mean, received_max, joules_mean, joules_max;
};
struct sim_totals {
    uint32_t rounds; /* training rounds, failed ones included */
    uint64_t bytes_up, bytes_down, train_samples;
    double accuracy, best_accuracy, loss; /* of the last test; NAN: none */
    double wall_seconds, train_seconds, eval_seconds, server_seconds, virtual_seconds;
    double energy_joules;
    struct sim_devices devices; /* in the end */
    bool target_reached;
    struct wire_hash digest, package_hash;
    char kernel_set[64];
};
/* Called on the host's thread after every round; false ends the run (CANCELLED). */
typedef bool sim_on_round(void *ctx, const struct sim_round_result *r,
                          const struct sim_totals *so_far);

/* ---- Shared, counted: a model version and a round's terms live while a device works under them */

struct sim_package { /* kept longer than its version's weights: older ones are bases of deltas */
    uint32_t refs;
    uint32_t number; /* of the version */
    uint64_t size;   /* of bytes; those of older rounds are not there after a resume */
    struct buf bytes;
    struct wire_hash hash;
};
struct sim_version {
    uint32_t refs;
    float *master;  /* layout.total */
    float *params;  /* as devices decode them; the master itself where the downlink is f32 */
    float *control; /* control variates that came with them, as devices decode them; or NULL */
    struct sim_package *package; /* counted */
    struct wire_hash digest;
};
struct sim_plan {
    uint32_t refs;
    uint32_t round;
    bool evaluation;
    struct sim_version *base;
    sotto_Terms terms;
    struct buf bytes;
    struct report_keys keys; /* with the terms' hash */
    uint8_t signature[ID_SIG];
    struct codec_spec spec;
    /* under masks: */
    struct masked_plan *masked;  /* NULL: plain */
    struct buf support;          /* borrowed by masked */
    struct secagg_config secagg; /* of the round's sessions */
};

/* ---- Work for the pool */

enum sim_job_kind { SIM_TRAIN, SIM_ADD, SIM_DELTA };
enum sim_job_state { SIM_JOB_NEW, SIM_JOB_QUEUED, SIM_JOB_DONE };
/* What a report would give back if it is not used: what is added to which coordinate of what the
 * client keeps. */
struct sim_mass {
    uint32_t count;
    uint32_t *index;
    float *value;
};
struct sim_job {
    struct sim *sim;
    struct sim_job *next; /* of a list */
    enum sim_job_kind kind;
    enum sim_job_state state;
    bool planned;               /* waits in sim->ready */
    bool orphan;                /* nobody waits for it */
    bool told;                  /* its outcome has come to the host, and to the journal */
    uint64_t begin_ms, samples; /* of a training, on the virtual clock */
    uint64_t at_ms;             /* when it is delivered, of a training */
    uint64_t id;
    uint32_t device;
    struct sim_plan *plan; /* counted */
    enum sotto_status status;
    struct sotto_error error;
    /* TRAIN, then ADD of the same object */
    uint32_t examples;
    bool carried; /* the residual from before is not too old */
    struct train_metrics metrics;
    struct codec_update update;
    struct buf report;     /* sealed, when sealing is on */
    uint64_t report_bytes; /* as it travels */
    struct wire_hash report_hash;
    float *kept; /* what the device keeps once the report is sealed; NULL: nothing */
    struct sim_mass *mass;
    uint32_t group;
    /* DELTA */
    struct sim_package *from, *to; /* counted */
    uint64_t delta_bytes;          /* 0: it does not pay */
};

/* ---- Devices */

enum device_away { DEVICE_HERE = 0, DEVICE_UNPLUGGED, DEVICE_GONE };
/* A client between its rounds: small, since there may be a million. */
struct sim_device {
    struct session *session;           /* only while it works */
    struct sim_job *job;               /* training, or a sealed report on its way */
    struct sim_plan *plan;             /* that it works under; counted */
    struct sim_mass *mass;             /* of its report, until that is settled; NULL: none */
    struct sim_masks *masks;           /* its part in a secure session; NULL: none */
    uint64_t timer_ms;                 /* of its pending timer; 0: none */
    uint64_t up_free_ms, down_free_ms; /* when its link is free again */
    uint32_t last_round;               /* 0: none; its terms hash is sim->terms[last_round] */
    uint32_t open_round; /* of the acknowledged report whose outcome it has not heard; 0: none */
    uint32_t residual_round; /* 0: no residual */
    uint32_t version_held;   /* 0: none */
    float joules;            /* spent so far */
    uint64_t sent, received; /* bytes of reports and packages so far */
    uint8_t away;            /* enum device_away: it went while it was at work */
    uint8_t sealed;          /* under last_round */
    uint8_t open_outcome;    /* sotto_Outcome, as the coordinator has it */
};

/* A message under way. */
struct sim_message {
    struct sim_message *next;
    sotto_Envelope m;
    struct view payload; /* p may point to fewer bytes than n when nobody reads them */
};

/* ---- The coordinator's half */

struct sim_slot { /* sums that one worker adds to */
    pthread_mutex_t lock;
    bool ready;
    struct group_sums sums;
};
struct sim_upload {
    uint32_t device;
    struct chunk_receiver receiver;
};
struct sim_reply { /* whom an engine's answer goes to */
    uint32_t device;
    sotto_CheckInReply *check_in;
    bool planned;
};

struct sim_worker {
    struct trainer *trainer;
    uint32_t trainer_rows; /* of a full batch; 0: the rule says */
    struct evaluator *evaluator;
    float *scratch;
    float *drift; /* of control variates, then their change; NULL: the task has none */
    struct sim_profile *profile; /* NULL: off */
};

struct sim {
    const struct experiment *x;
    const struct kern_backend *backend;
    struct train_group *group; /* of the workers' trainers on a device; NULL: each has its own */
    sim_on_round *on_round;
    void *ctx;
    struct vtime time;
    uint64_t start_ms; /* when the fleet's time begins */
    /* fleet */
    uint64_t training_bytes;           /* that a training step needs; 0: nobody asks */
    struct id_keys signing, authority; /* the second for certificates only */
    struct id_document document;
    uint8_t task_id[WIRE_TASK_ID];
    struct id_checked checked; /* every device of a round gets the same terms */
    struct sim_device *devices;
    uint32_t device_count;
    struct wire_hash *terms; /* by round */
    size_t terms_cap;
    struct sim_message *free_messages;
    uint64_t nonces;
    /* coordinator */
    struct round_engine *engine;
    uint64_t engine_timer_ms;
    struct round_event events[SIM_EVENTS_QUEUED];
    uint32_t event_first, event_count;
    struct sim_plan *plan;     /* of the open round; NULL: none */
    struct sim_secure *secure; /* its sessions under masks; NULL: none */
    struct sim_version *version;
    struct sim_package *kept[SIM_KEEP_VERSIONS];
    uint32_t version_count;         /* numbers given */
    struct wire_hash *version_hash; /* by number */
    size_t version_cap;
    struct sim_slot *slots; /* group_count * slots_per_group */
    uint32_t slot_count, slots_per_group;
    bool slots_evaluate; /* they are shaped for an evaluation */
    struct sim_upload *uploads;
    uint32_t upload_count, upload_cap;
    struct sim_job *deltas[SIM_KEEP_VERSIONS]; /* of the open round */
    uint32_t delta_count;
    float *state; /* the strategy's */
    double best_loss, best_accuracy;
    uint64_t train_rounds_done;
    bool finished, cancelled;
    /* workers */
    struct pool *pool;
    unsigned workers;
    struct sim_worker *worker;
    pthread_mutex_t lock; /* job states, free jobs, the marks below */
    pthread_cond_t done;
    struct sim_job *free_jobs;
    struct codec_update spares[SIM_SPARES]; /* memory of updates that have been added */
    unsigned spare_count;
    struct sim_job *orphans; /* done, with nobody to wait for them */
    struct vtime ready; /* trainings not handed out yet, in the order in which they are delivered */
    uint32_t outstanding;
    uint64_t job_ids;
    uint64_t train_begin_ns, train_end_ns;
    /* What a client keeps: its residual (with error feedback), then its control variate (SCAFFOLD):
     * kept_count values in one slot, control_at: where the second begins. NULL: neither. */
    struct sim_residuals *residuals;
    uint32_t kept_count, control_at;
    bool has_control;
    /* checkpoints */
    struct sim_journal journal;
    const char *checkpoint_dir;                   /* NULL: none */
    uint32_t checkpoint_rounds, checkpoint_round; /* between two, and of the last one */
    uint64_t checkpoint_ms, checkpoint_ns;
    uint32_t adding; /* reports that are being checked */
    bool resume;
    struct buf saved; /* the file that the run goes on from, until it is put back */
    struct checkpoint checkpoint;
    uint32_t resumed_rounds;
    /* results */
    struct sim_round_result round;
    uint64_t round_wall_ns, round_open_ms;
    struct sim_totals totals;
};

struct sim_config {
    unsigned workers;     /* 0: one a processor */
    bool profile;         /* see sim_profile */
    const char *temp_dir; /* for residuals; NULL: $TMPDIR or /tmp */
    const char *backend;  /* NULL: "cpu" */
    /* A folder for checkpoints, NULL: none; one after so many rounds or milliseconds, 0: not so.
     * Borrowed for the sim's life. */
    const char *checkpoint_dir;
    uint32_t checkpoint_rounds;
    uint64_t checkpoint_ms;
    bool resume;            /* go on from the folder's checkpoint, where there is one */
    sim_on_round *on_round; /* may be NULL */
    void *ctx;
};
/* The experiment is borrowed for the sim's life. */
enum sotto_status sim_open(const struct experiment *x, const struct sim_config *config,
                           struct sim **out, struct sotto_error *err);
/* All rounds. STATE when a round can never end (no deadline, and its clients are gone). */
enum sotto_status sim_run(struct sim *s, struct sotto_error *err);
void sim_close(struct sim *s);
const struct sim_totals *sim_totals(const struct sim *s);
/* What the run took, when its configuration asked for that; the caller deinits, also after an
 * error.
 */
enum sotto_status sim_profile(struct sim *s, struct sim_profile *out, struct sotto_error *err);
/* The last published version's package, for a file. */
struct view sim_package(const struct sim *s);
/* How many rounds came from a checkpoint; known once they have been made again. */
uint32_t sim_resumed(const struct sim *s);
/* Whether sim_run will go on from a checkpoint. */
bool sim_resumes(const struct sim *s);

/* ---- host.c: the coordinator's messages and the engine's actions */

enum sim_event {
    SIM_EV_UP,   /* message of a device reaches the coordinator */
    SIM_EV_DOWN, /* and back */
    SIM_EV_CONNECTED,
    SIM_EV_WAKE,
    SIM_EV_TIMER,
    SIM_EV_PREPARED,
    SIM_EV_TRAINED,
    SIM_EV_CHECKED,
    SIM_EV_ENGINE,
    SIM_EV_HERE,  /* a device that is there looks whether there is work */
    SIM_EV_AWAY,  /* it goes */
    SIM_EV_MASKS, /* a device has made its next message of a secure session */
};
/* Within a moment: messages first, so that a report goes its whole way before the next training is
 * waited for. */
enum sim_rank {
    SIM_RANK_MESSAGE = 0,
    SIM_RANK_TRAINED,
    SIM_RANK_CHECKED,
    SIM_RANK_TIMER,
    SIM_RANK_ENGINE
};
enum sotto_status host_message(struct sim *s, uint32_t device, const struct sim_message *m,
                               struct sotto_error *err);
enum sotto_status host_event(struct sim *s, const struct round_event *event, struct sim_reply *to,
                             struct sotto_error *err);
enum sotto_status host_checked(struct sim *s, struct sim_job *job, struct sotto_error *err);
void host_queue(struct sim *s, const struct round_event *event);
enum sotto_status host_accept(struct sim *s, const struct round_action *a, struct sotto_error *err);
enum sotto_status host_ack(struct sim *s, uint64_t serial, sotto_Outcome outcome,
                           const char *reason, struct sotto_error *err);

/* ---- round.c: opening, sums, server step */

enum sotto_status host_action_do(struct sim *s, const struct round_action *a, struct sim_reply *to,
                                 struct sotto_error *err);
void sim_plan_drop(struct sim_plan *p);
void sim_version_drop(struct sim_version *v);
void sim_package_drop(struct sim_package *p);
enum sotto_status sim_first_version(struct sim *s, struct sotto_error *err);
/* A version of which only its package's facts are known, as a journal gives them. */
enum sotto_status sim_version_noted(struct sim *s, const struct wire_hash *digest,
                                    const struct wire_hash *package_hash, uint64_t package_bytes,
                                    struct sotto_error *err);
/* Fills v->params and v->control, as devices decode them, from its master and package. */
enum sotto_status sim_version_params(const struct sim *s, struct sim_version *v,
                                     struct sotto_error *err);
/* Empty sums for so many groups of the open round. */
enum sotto_status sim_slots_prepare(struct sim *s, uint32_t groups, bool evaluation,
                                    struct sotto_error *err);
void sim_round_deinit(struct sim *s);
/* Adds the message to the queue, for the device. */
enum sotto_status host_send(struct sim *s, uint32_t device, const sotto_Envelope *m,
                            struct view payload, struct sotto_error *err);

/* ---- device.c: sessions */

enum sotto_status device_wake(struct sim *s, uint32_t device, struct sotto_error *err);
enum sotto_status device_event(struct sim *s, uint32_t device, struct session_event *event,
                               struct sotto_error *err);
enum sotto_status device_trained(struct sim *s, uint32_t device, uint64_t job,
                                 struct sotto_error *err);
/* The coordinator has settled the report of plan's round. */
enum sotto_status device_settle(struct sim *s, uint32_t device, uint32_t round,
                                sotto_Outcome outcome, struct sotto_error *err);
void device_deinit(struct sim *s, uint32_t device);
/* It looks for work although nobody woke it, as devices do while they are there. */
enum sotto_status device_here(struct sim *s, uint32_t device, struct sotto_error *err);
enum sotto_status device_away(struct sim *s, uint32_t device, struct sotto_error *err);
void device_moved(struct sim *s, uint32_t device, uint64_t sent, uint64_t received);
/* Its session ends: nothing more to do for this round. */
void device_go_home(struct sim *s, uint32_t device);

/* ---- secure*.c: rounds under masks (secure.h) */

/* The plan of the round's vectors, and what it says in the terms; with plan's spec filled. */
enum sotto_status sim_secure_plan_make(struct sim *s, struct sim_plan *p, struct sotto_error *err);
enum sotto_status sim_secure_open(struct sim *s, uint32_t members, struct sotto_error *err);
void sim_secure_close(struct sim *s); /* the round has ended; nothing open is fine */
/* What the engine asks for of a round under masks. */
enum sotto_status sim_secure_action(struct sim *s, const struct round_action *a,
                                    struct sim_reply *to, struct sotto_error *err);
/* True: the message is one of secure aggregation; *status says how it went. */
bool sim_secure_message(struct sim *s, uint32_t device, const struct sim_message *m,
                        enum sotto_status *status, struct sotto_error *err);
enum sotto_status device_masks_act(struct sim *s, uint32_t device, const struct session_action *a,
                                   struct sotto_error *err);
enum sotto_status device_masks(struct sim *s, uint32_t device, uint64_t tag,
                               struct sotto_error *err);
/* Chunk of its message on the way: only its size counts. */
struct view device_masks_chunk(const struct sim_device *d, uint32_t chunk);
void device_masks_end(struct sim_device *d);

/* ---- fleet.c: pure functions of the seed and the fleet's files */

void fleet_device(const struct sim *s, uint32_t device, struct fleet_class *out);
/* Whether it vanishes for the round, and how long it trains. */
bool fleet_drops(const struct sim *s, uint32_t device, uint32_t round);
/* The message (enum secagg_kind) before which it leaves its secure session for good; 0: none. */
uint32_t fleet_leaves(const struct sim *s, uint32_t device, uint32_t round);
uint64_t fleet_train_ms(const struct sim *s, uint32_t device, uint32_t round, uint64_t samples);
uint64_t fleet_send_ms(uint64_t now_ms, uint64_t *free_ms, uint64_t bytes, double per_second);
/* Whether devices are there at times only. */
bool fleet_comes_and_goes(const struct sim *s);
/* The present stay (true) or the next one, on the virtual clock. */
bool fleet_window(const struct sim *s, uint32_t device, uint64_t *begin_ms, uint64_t *end_ms);
bool fleet_is_there(const struct sim *s, uint32_t device);

/* ---- work.c */

struct sim_job *job_new(struct sim *s, enum sim_job_kind kind, struct sotto_error *err);
void job_drop(struct sim_job *j); /* by the host; a job with a worker becomes an orphan */
/* A training that is delivered at at_ms: handed out when the host waits for it or an earlier one.
 */
enum sotto_status job_plan(struct sim_job *j, uint64_t at_ms, struct sotto_error *err);
uint64_t job_order(const struct sim_job *j); /* longest first among those of one moment */
enum sotto_status job_submit(struct sim_job *j, struct sotto_error *err);
enum sotto_status job_wait(struct sim_job *j,
                           struct sotto_error *err); /* its own status stays in the job */
enum sotto_status workers_open(struct sim *s, unsigned workers, bool profile,
                               struct sotto_error *err);
void workers_close(struct sim *s);
uint64_t
sealed_bytes(const struct codec_update *u); /* of the report that this update would become */
/* What params make of each of count selections of examples, by all workers; metrics[i] is of
 * parts[i]. */
enum sotto_status work_parts(struct sim *s, const float *params, const struct examples *parts,
                             uint32_t count, struct train_metrics *metrics,
                             struct sotto_error *err);
/* Mean loss and accuracy of params on the first limit test examples (0: all), by all workers. */
enum sotto_status work_evaluate(struct sim *s, const float *params, uint32_t limit, double *loss,
                                double *accuracy, struct sotto_error *err);
void mass_free(struct sim_mass *m);

/* ---- residual.c: what error feedback carries, in an unlinked file or one beside a checkpoint */

struct sim_residuals;
enum sotto_status residuals_open(const char *dir, uint32_t clients, uint32_t count,
                                 struct sim_residuals **out, struct sotto_error *err);
/* The same in a file that stays; again: it holds what a checkpoint tells of. */
enum sotto_status residuals_open_at(const char *path, bool again, uint32_t clients, uint32_t count,
                                    struct sim_residuals **out, struct sotto_error *err);
void residuals_close(struct sim_residuals *r);
/* Thread-safe for different clients. Zeros for one that never wrote. */
enum sotto_status residuals_read(struct sim_residuals *r, uint32_t client, float *out,
                                 struct sotto_error *err);
enum sotto_status residuals_write(struct sim_residuals *r, uint32_t client, const float *values,
                                  struct sotto_error *err);
/* Which values are whose, into a checkpoint; the values are on the disk then. */
enum sotto_status residuals_save(struct sim_residuals *r, struct buf *out, struct sotto_error *err);
void residuals_saved(struct sim_residuals *r); /* the checkpoint stands */
enum sotto_status residuals_load(struct sim_residuals *r, struct reader *in,
                                 struct sotto_error *err);

#endif
