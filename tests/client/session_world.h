/* A world for one session without I/O: a scripted coordinator, a device with a store, and a network
 * between them that can lose, repeat, delay and reorder. Time is virtual. */
#ifndef SOTTO_TESTS_SESSION_WORLD_H
#define SOTTO_TESTS_SESSION_WORLD_H

#include "sotto/client/session.h"
#include "support.h"

#define WORLD_PACKETS 256
#define WORLD_ROUNDS  256
#define WORLD_SERIAL  7u

enum world_report_state {
    REPORT_NONE = 0,
    REPORT_UPLOAD,
    REPORT_OPEN,
    REPORT_KEPT,
    REPORT_RETURNED
};
/* One round's terms and what became of the device's report, at both sides. */
struct world_round {
    bool exists;
    struct wire_hash hash;
    uint8_t terms[WIRE_TERMS_MAX];
    size_t terms_size;
    uint64_t announced_bytes;
    struct wire_hash announced_hash;
    uint32_t chunks;
    enum world_report_state state; /* at the coordinator */
    uint32_t counted;              /* times the coordinator has added it to a sum */
    uint32_t sealed;               /* times the device has trained and sealed it */
    uint32_t returned;             /* times the device has taken its mass back */
    uint32_t dropped;              /* times the device has let it go as kept */
};

struct world_packet {
    bool used, to_device;
    uint64_t at_ms;
    uint64_t number; /* those of one moment arrive as they were sent */
    uint32_t connection;
    sotto_Envelope message;
    size_t payload_size; /* chunks of zeros: only sizes matter here */
};

/* What the device's store holds. */
struct world_store {
    enum session_stage stage;
    uint8_t terms[WIRE_TERMS_MAX];
    size_t terms_size;
    struct wire_hash terms_hash;
    uint64_t report_bytes;
    struct wire_hash report_hash;
    uint32_t open_count;
    struct wire_hash open[SESSION_OPEN_REPORTS_MAX + 1];
    struct wire_hash package_held, part;
    uint64_t part_bytes;
    bool part_delta;
    uint32_t part_chunks;
    uint32_t task_count;
    struct session_task tasks[8];
    double bytes_left, rounds_left;
    uint64_t bucket_ms;
};

struct world {
    uint64_t now_ms;
    struct rng rng;
    struct id_keys authority, signer;
    struct id_document document;
    struct session_config config;

    /* coordinator */
    uint32_t round; /* 0: none open */
    struct world_round rounds[WORLD_ROUNDS];
    sotto_Terms template;
    uint64_t package_bytes;
    uint64_t come_back_ms;
    bool coordinator_up;
    bool silent;

    /* device */
    struct session *session;
    struct world_store store;
    uint32_t connection; /* number of the live one; 0: none */
    uint32_t connections_made;
    bool connecting;
    uint64_t connected_at_ms;
    bool online;
    bool preparing, training;
    uint64_t work_at_ms;
    uint64_t report_bytes;
    char note[160];
    uint32_t trained, acknowledged, prepared;
    uint32_t sends[32]; /* by body tag */
    sotto_Envelope last_sent;
    sotto_Decline last_decline;

    /* network */
    struct world_packet packets[WORLD_PACKETS];
    uint64_t packet_count;
    uint32_t loss_permille, repeat_permille, delay_max_ms;
};

/* A coordinator without an open round, a device that has never worked. */
struct world *world_new(uint64_t seed);
void world_free(struct world *w);
/* Makes (or makes again) the session from the store, as after a crash. */
void world_restart(struct world *w);
/* Rounds from now on are summed under masks; the device may take part. */
void world_masks(struct world *w);
/* Opens a round with terms from the template. */
void world_open_round(struct world *w, uint32_t round);
void world_close_round(struct world *w, bool keep);
/* One event to the session; actions are executed. */
void world_step(struct world *w, const struct session_event *event);
void world_tick(struct world *w);
void world_deliver(struct world *w, const sotto_Envelope *m, size_t payload_size);
/* Lets time pass until nothing is due before now + ms. */
void world_run(struct world *w, uint64_t ms);
/* A signed reply to the last check-in, as the scripted coordinator would send it. */
void world_plan(struct world *w, struct world_round *r, const uint8_t nonce[16],
                sotto_CheckInReply *out);
struct world_round *world_find(struct world *w, const uint8_t *hash);

#endif
