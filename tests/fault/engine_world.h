/* A world around one round engine: devices that are honest or not, a network that loses, delays,
 * doubles and reorders, and a host with a store that survives crashes. One random stream decides
 * everything. */
#ifndef SOTTO_TESTS_ENGINE_WORLD_H
#define SOTTO_TESTS_ENGINE_WORLD_H

#include "sotto/coordinator/engine.h"

#include "support.h"

#define WORLD_DEVICES  12
#define WORLD_ROUNDS   48
#define WORLD_MESSAGES 512
#define WORLD_JOBS     256

enum world_outcome { OUT_NONE, OUT_OPEN, OUT_KEPT, OUT_REJECTED, OUT_RETURNED };
enum world_ending { END_NONE, END_COMMITTED, END_FAILED };

/* What survives a crash of the host. Serial s is bit s of a mask. */
struct world_store {
    uint32_t next_round;
    uint64_t train_done;
    bool open, paused, finished;
    enum round_kind kind;
    uint32_t member_count, group_count;
    struct round_member members[WORLD_DEVICES];
    struct round_group groups[ROUND_GROUPS_MAX];
    enum world_outcome outcome[WORLD_ROUNDS][WORLD_DEVICES + 1];
    bool bad[WORLD_ROUNDS][WORLD_DEVICES + 1]; /* the stored report fails its check */
    uint32_t counted[WORLD_ROUNDS];
    enum world_ending ending[WORLD_ROUNDS];
    uint32_t enrolled; /* mask */
};

enum world_job_kind { JOB_OPEN, JOB_CHECK, JOB_SUM, JOB_FAIL_GROUP, JOB_ADVANCE };
struct world_job {
    enum world_job_kind kind;
    uint32_t round, group;
    uint64_t serial;
};

enum world_message_kind {
    TO_HOST_CHECK_IN,
    TO_HOST_REPORT,
    TO_HOST_HEARTBEAT,
    TO_HOST_DECLINE,
    TO_DEVICE_PLAN,
    TO_DEVICE_COME_BACK,
    TO_DEVICE_OUTCOME,
    TO_DEVICE_CONTINUE,
    TO_DEVICE_ABORT,
};
struct world_message {
    enum world_message_kind kind;
    uint64_t serial;
    uint32_t round, nonce;
    bool bad;
    uint64_t after_ms;
    enum world_outcome outcome;
};

enum world_device_kind { DEVICE_HONEST, DEVICE_BAD, DEVICE_DECLINES, DEVICE_FLOODS };
enum world_stage { STAGE_IDLE, STAGE_TRAINING, STAGE_SEALED };
struct world_device {
    enum world_device_kind kind;
    enum world_stage stage;
    uint32_t round; /* of the stage */
    uint32_t last;  /* accepted last */
    uint32_t nonce;
    uint64_t next_ms;
    uint64_t open, kept, returned; /* masks of rounds */
};

struct world {
    uint64_t seed;
    uint32_t schedule;
    struct rng rng;
    struct task_config config;
    uint32_t devices;
    bool strict; /* nothing that makes the summed set depend on time */
    bool faults;

    struct world_store store;
    /* Lost in a crash: */
    struct round_engine *engine;
    uint32_t sums[ROUND_GROUPS_MAX];
    struct world_job jobs[WORLD_JOBS];
    uint32_t job_count;

    struct world_device device[WORLD_DEVICES + 1];
    struct world_message messages[WORLD_MESSAGES];
    uint32_t message_count;
    uint64_t now_ms;
    uint32_t crashes;
};

/* Prints what is needed to see it again, and fails the test. */
#define WORLD_CHECK(w, condition)                                                                  \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            print_error("schedule %u of SOTTO_SEED=%llu: %s\n", (w)->schedule,                     \
                        (unsigned long long)(w)->seed, #condition);                                \
            fail();                                                                                \
        }                                                                                          \
    } while (0)

bool world_chance(struct world *w, uint32_t permille); /* false when faults are off */

/* engine_world_host.c */
void world_start(struct world *w); /* the engine, from the store */
void world_stop(struct world *w);
void world_crash(struct world *w);
void world_event(struct world *w, struct round_event ev);
void world_run_job(struct world *w, uint32_t i);
void world_deliver(struct world *w, uint32_t i); /* message i, removed */
void world_send(struct world *w, struct world_message m);

/* engine_world_device.c */
void world_device_act(struct world *w, uint64_t serial);
void world_device_receive(struct world *w, const struct world_message *m);

#endif
