/* The device half of a round as a state machine without I/O: events in, actions out. Hosts: the
 * client library (ZeroMQ, SQLite), the simulator (virtual clock), the fault tests. No clock,
 * socket, disk or entropy inside.
 *
 * The host executes a step's actions in order; all STORE actions of a step are one transaction,
 * durable before any SEND of that step leaves. After a crash, or when such a transaction fails, the
 * host makes a new session from its store and goes on. */
#ifndef SOTTO_CLIENT_SESSION_H
#define SOTTO_CLIENT_SESSION_H

#include "sotto/model.h"
#include "sotto/protocol.h"

#define SESSION_OPEN_REPORTS_MAX 16
#define SESSION_TASKS_MAX        256
/* What is hashed, with wire_hash_of's label: a package as a device downloads it, and a sealed
 * report as it is announced. */
#define SESSION_LABEL_PACKAGE WIRE_LABEL_PACKAGE
#define SESSION_LABEL_REPORT  WIRE_LABEL_REPORT

/* The device owner's limits; a plan that asks for more is declined by the rule's name. 0 means no
 * limit where a maximum. */
struct session_policy {
    uint64_t bytes_per_day_max;
    uint32_t rounds_per_day_max;
    uint64_t arena_bytes_max;
    double flops_per_round_max;
    uint64_t train_ms_max;
    bool need_charging, need_idle, need_unmetered;
    int battery_percent_min;
    enum {
        SESSION_SECAGG_OFF = 0,
        SESSION_SECAGG_PREFERRED,
        SESSION_SECAGG_REQUIRED
    } secure_aggregation;
    uint32_t minimum_group; /* members that a sum must hold at the least; under masks the device
                               itself sees to it */
    bool large_groups; /* takes plans whose groups may pass SECAGG_COMPLETE_MAX members: there the
                          coordinator draws the graph, and no device can see to a minimum */
    uint32_t rounds_between_min; /* takes part in at most one of so many rounds of a task */
    float minimum_noise;
    uint32_t allowed_key_count; /* 0: any of the document's */
    uint8_t allowed_keys[4][ID_KEY];
    uint32_t
        checkin_min_ms; /* shortest time between two check-ins, and the first step of back-off */
};
/* No limits, any signing key, masks where a plan has them, nothing needed but to be online; at most
 * one check-in a second. */
void session_policy_defaults(struct session_policy *p);

/* Terms the device has accepted and not yet finished, as the host keeps them. */
enum session_stage {
    SESSION_NONE = 0,
    SESSION_ACCEPTED, /* terms stored; package may be missing; training may be under way */
    SESSION_SEALED,   /* report sealed and stored: never trained again */
    SESSION_READY,    /* under masks: the coded vector is stored, or what became of it under masks;
                         never trained again */
};

enum session_event_kind {
    SESSION_TICK, /* time passed, conditions may have changed */
    SESSION_CONNECTED,
    SESSION_REFUSED,  /* ZAP refused the key */
    SESSION_LOST,     /* connection lost or endpoint silent */
    SESSION_MESSAGE,  /* envelope and payload from the coordinator */
    SESSION_PREPARED, /* answer to PREPARE: package decoded, schema and counts known */
    SESSION_TRAINED,  /* answer to TRAIN: the report is sealed, under masks the vector coded, and
                         stored (the host did residual + report + terms in one transaction) */
    SESSION_FAILED,   /* PREPARE or TRAIN failed, or a chunk of the sealed report to SEND cannot be
                         read any more; error says why */
    SESSION_SECURE_OUT,    /* answer to SECURE_BEGIN and SECURE_TAKE: the message in `secure` stands
                            */
    SESSION_SECURE_FAILED, /* answer to the same: the device is out of this session; error says why
                            */
};
struct session_event {
    enum session_event_kind kind;
    uint64_t now_ms; /* monotonic */
    const sotto_Envelope *message;
    struct view payload;
    struct {
        bool charging, idle, unmetered, online;
        int battery_percent;
    } conditions;            /* TICK; battery -1: unknown */
    uint32_t train_permille; /* TICK: of the local training, for heartbeats */
    struct {
        bool schema_ok;
        uint32_t examples;
        uint64_t arena_bytes;
        double flops;
        char detail[128];
    } prepared;
    struct {
        uint64_t bytes;
        struct wire_hash hash;
    } report; /* TRAINED, but not under masks */
    struct {
        uint32_t attempt, exchange;
        uint64_t bytes;
        struct wire_hash hash; /* secure_message_hash */
    } secure;                  /* SECURE_OUT; SECURE_FAILED: the attempt */
    const struct sotto_error *error;
};

enum session_action_kind {
    SESSION_DO_CONNECT, /* to endpoint `endpoint` of the document */
    SESSION_DO_DISCONNECT,
    SESSION_DO_SEND, /* message; when has_chunk, payload = chunk `chunk` of the sealed report, or,
                        where exchange is not 0, of that message of secure aggregation */
    SESSION_DO_STORE_TERMS, /* accept terms: bytes, terms_hash; the last round of session_terms'
                               task moves with it */
    SESSION_DO_STORE_CHUNK, /* bytes at chunk * CHUNK_BYTES of the download of package `package`;
                               chunk 0 starts it anew with blob_bytes and delta (from the package
                               held). Need not be durable */
    SESSION_DO_PREPARE,     /* verify `package` (apply the delta to `base`), decode it, open the
                               collection; answer PREPARED, or FAILED after dropping what was
                               downloaded
                             */
    SESSION_DO_TRAIN, /* train or evaluate (from the checkpoint, if one is kept for these terms),
                         encode, seal, store; answer TRAINED or FAILED */
    SESSION_DO_STORE_OUTCOME, /* of a report. OPEN: acknowledged, the terms are done, the report is
                                 kept open. KEPT: drop it. RETURNED: add its decoded mass to the
                                 residual and drop it. Each in one transaction */
    SESSION_DO_DROP_TERMS, /* aborted, declined or expired before sealing: terms and training state
                              are dropped */
    SESSION_DO_STORE_DOCUMENT, /* payload: a newer coordinator document, already verified */
    SESSION_DO_STORE_COUNTERS, /* daily buckets: bytes_left, rounds_left */
    SESSION_DO_CANCEL,         /* stop training; a checkpoint is kept until DROP_TERMS or TRAINED */
    SESSION_DO_NOTE,           /* text for history and log */
    SESSION_DO_SECURE_BEGIN,   /* session `attempt` under the terms: the number is stored (a STORE
                                  action); then a member with fresh randomness in place of an older
                                  one (secure_member_new); answer SECURE_OUT with its record, or
                                  SECURE_FAILED */
    SESSION_DO_SECURE_CHUNK,   /* bytes: chunk `chunk` of the message `exchange`, for the member
                                  (secure_member_chunk; what that refuses need not be told: the
                                  TAKE will fail) */
    SESSION_DO_SECURE_TAKE,    /* the message `exchange` is whole; the member takes it when it has
                                  hash `blob`; answer SECURE_OUT with what it says next, or
                                  SECURE_FAILED. Of DELIVERY this is the masked input: its bytes, the
                                  mark masked(terms) and the end of the coded vector and its mass are
                                  one transaction, before the answer */
    SESSION_DO_SECURE_END,     /* the member is freed, whatever it was at */
};
struct session_action {
    enum session_action_kind kind;
    uint32_t endpoint;
    const sotto_Envelope *message; /* owned by the session, valid until the next step */
    bool has_chunk;
    uint32_t chunk;
    uint32_t attempt, exchange;
    struct wire_hash blob;
    bool delta;
    uint64_t blob_bytes;
    double bytes_left, rounds_left;
    struct wire_hash terms_hash;
    struct wire_hash package; /* STORE_CHUNK, PREPARE */
    struct wire_hash base;    /* PREPARE: of a delta */
    struct view bytes;        /* terms, chunk or document: valid until the next step */
    sotto_Outcome outcome;
    char text[160];
};

struct session; /* opaque, ~a few KB: thousands fit in memory */
/* What a status page says. */
enum session_phase {
    SESSION_IDLE,     /* waits for its time or for conditions */
    SESSION_CHECK_IN, /* connects, asks for work */
    SESSION_FETCH,
    SESSION_PREPARE,
    SESSION_TRAIN,
    SESSION_REPORT,
    SESSION_DECLINE,
    SESSION_SECURE, /* under masks: ready, waits for a group, or is in its exchanges */
};
struct session_task { /* the last round accepted of a task */
    uint8_t task_id[WIRE_TASK_ID];
    uint32_t last_round;
    struct wire_hash terms_hash;
    bool sealed;              /* a report under these terms was sealed: never again */
    uint32_t part_round;      /* the last one that it took part in; 0: none */
    struct wire_hash package; /* that the host holds of the task, a delta's base; zero: none */
};
struct session_config {
    uint64_t serial;
    uint8_t authority_key[ID_KEY];
    struct session_policy policy;
    uint64_t memory_bytes;
    char backend[64], tier[32], version[32];
    float samples_per_s;  /* that backend trains, measured; 0: not yet */
    bool certified;       /* the device has its certificate, which sums under masks need */
    uint64_t jitter_seed; /* of back-off */
    /* Signatures of terms that held, shared by many sessions of one thread; NULL: none. Borrowed.
     */
    struct id_checked *checked;
};
/* What a host restores after a restart. */
struct session_saved {
    const struct id_document
        *document; /* borrowed for the session's life; replaced by session_document; never NULL */
    enum session_stage stage;
    struct view terms;     /* ACCEPTED, SEALED, READY */
    uint64_t report_bytes; /* SEALED; READY and masked: of the masked message */
    struct wire_hash report_hash;
    uint32_t secure_attempt; /* READY: the last session that was begun under these terms; 0: none */
    bool masked;             /* READY: a masked input has left, of that session */
    uint32_t open_report_count; /* acknowledged reports whose outcome is not known, oldest first;
                                   without the SEALED one */
    struct wire_hash open_reports[SESSION_OPEN_REPORTS_MAX];
    struct wire_hash package_held; /* zero: none */
    struct wire_hash part;         /* package whose download has begun; zero: none */
    uint64_t part_bytes;           /* of the blob */
    bool part_delta;
    uint32_t part_chunks; /* stored, from the first on */
    uint32_t task_count;
    const struct session_task *tasks; /* borrowed during session_new */
    double bytes_left, rounds_left;   /* daily buckets; negative: fill them */
    uint64_t bucket_ms; /* when that was so, on the clock of the events; 0: unknown, or before a
                           reboot: they fill from the first step on */
};
/* Takes any saved state (a store may be old): what does not fit is INVALID. */
enum sotto_status session_new(const struct session_config *config,
                              const struct session_saved *saved, struct session **out,
                              struct sotto_error *err);
void session_free(struct session *s);
/* One step: up to *count actions in, how many were produced out; never more than
 * SESSION_ACTIONS_MAX. */
#define SESSION_ACTIONS_MAX 48
/* *count must be SESSION_ACTIONS_MAX at least. nonce: 16 fresh random bytes from the host, used if
 * this step checks in. Fails only on misuse and NOMEM (the event can then be repeated). */
enum sotto_status session_step(struct session *s, const struct session_event *event,
                               const uint8_t nonce[16], struct session_action *actions,
                               size_t *count, struct sotto_error *err);
/* When the host must call with TICK at the latest (monotonic ms); UINT64_MAX: nothing to wait for.
 */
uint64_t session_next_ms(const struct session *s);
enum session_stage session_stage(const struct session *s);
enum session_phase session_phase(const struct session *s);
const sotto_Terms *session_terms(const struct session *s); /* NULL when none */
struct wire_hash session_terms_hash(const struct session *s);
/* Why nothing is done now ("policy.charging", the coordinator's reason, ...), "" when something is.
 * Static until the next step. */
const char *session_reason(const struct session *s);
/* Of the phase (FETCH, REPORT), 0..1000. */
uint32_t session_permille(const struct session *s);
/* Conversations that came to an end (no plan, declined, report acknowledged), and failures of the
 * link since the last answer. */
uint32_t session_answers(const struct session *s);
uint32_t session_failures(const struct session *s);
/* What the next check-in says of the backend and its speed. */
void session_backend(struct session *s, const char *backend, float samples_per_s);
/* A newer document, borrowed for the session's life: after STORE_DOCUMENT, or when one was given by
 * hand. */
void session_document(struct session *s, const struct id_document *document);

/* Under masks: the session that the device is in, the newest message (enum secagg_kind) that it has
 * taken, or that is acknowledged; 0: none. */
uint32_t session_secure_attempt(const struct session *s);
uint32_t session_secure_have(const struct session *s);

/* ---- The work behind DO_TRAIN, without I/O: shared by the library and the simulator.
 * -------------------------------------- */

/* Terms -> training rule and codec spec. */
void terms_rule(const sotto_Terms *t, struct train_rule *out);
void terms_spec(const sotto_Terms *t, const struct layout *layout, struct codec_spec *out);
/* SCAFFOLD's arrays of one training, layout.total values each. */
struct terms_control {
    const float *global; /* c, the package's extra PACKAGE_CONTROL */
    float *own;          /* in: c_i, zeros before the device's first report of the task; out: the
                            next one */
    float *change;       /* out: of own, as the coordinator decodes it */
};
/* What trainer_drift takes: lr (c_i - c). drift may be own. */
void terms_drift(const sotto_Terms *t, uint32_t count, const float *global, const float *own,
                 float *drift);
/* Ends a training: what is coded of it, plain or masked. values[0] = trained - global in trained's
 * place (global NULL: trained holds that already), the residual where the terms have error feedback
 * (NULL: none), weight = min(examples, rule.examples_max if any, weight_max), the scalars. A rule
 * with a normalizer divides the update by it; one with control variates needs control (else NULL),
 * whose change is values[1]. An evaluation has no values: global, trained, residual and control may
 * be NULL. */
enum sotto_status terms_input(const sotto_Terms *t, const struct layout *layout,
                              const float *global, float *trained, float *residual,
                              struct terms_control *control, const struct train_metrics *metrics,
                              uint32_t examples, struct codec_input *out, struct sotto_error *err);
/* The plain form: terms_input coded with the stream (task_seed, round, serial, RNG_ROUNDING).
 * trained and control->change are overwritten with what the coordinator decodes, control->own moves
 * by that: what coding takes away of a change is sent later. out is initialised by the caller.
 * INVALID for values that are not finite. */
enum sotto_status terms_encode_update(const sotto_Terms *t, const struct layout *layout,
                                      uint64_t serial, const float *global, float *trained,
                                      float *residual, struct terms_control *control,
                                      const struct train_metrics *metrics, uint32_t examples,
                                      struct codec_update *out, struct sotto_error *err);
/* The form under masks: the plan of the terms' vectors. support: the package's bits
 * (PACKAGE_SUPPORT), empty where it has none; layout is borrowed by the plan. */
enum sotto_status terms_masked_plan(const sotto_Terms *t, const struct layout *layout,
                                    struct view support, struct masked_plan **out,
                                    struct sotto_error *err);
/* As terms_encode_update, into codes (masked_length of the plan, below 2^ring_bits). */
enum sotto_status terms_encode_masked(const sotto_Terms *t, const struct masked_plan *plan,
                                      const struct layout *layout, uint64_t serial,
                                      const float *global, float *trained, float *residual,
                                      struct terms_control *control,
                                      const struct train_metrics *metrics, uint32_t examples,
                                      uint32_t *codes, struct sotto_error *err);

#endif
