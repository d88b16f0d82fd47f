/* A real coordinator, in this process or as a program of its own, and scripted devices that speak
 * to it over real sockets: honest step by step, so that a test can lie at any of them. */
#ifndef SOTTO_TESTS_DAEMON_WORLD_H
#define SOTTO_TESTS_DAEMON_WORLD_H

#include "support.h"

#include <sys/types.h>

#include "sotto/coordinator.h"

#define WORLD_DEVICES  12
#define WORLD_PATIENCE 60000 /* ms, of steps that end at once when all is well */

struct device {
    struct world *w;
    uint64_t serial;
    struct id_token token;
    struct id_keys keys;
    struct id_curve curve;
    struct transport_client *link;
    bool planned;
    uint8_t terms_bytes[WIRE_TERMS_MAX];
    size_t terms_size;
    sotto_Terms terms;
    struct wire_hash terms_hash;
    uint8_t nonce[WIRE_NONCE];
    bool acknowledged;
    struct buf report; /* sealed, under these terms */
    struct wire_hash report_hash;
};
struct world {
    char state[IO_PATH_MAX];
    struct daemon_config config;
    struct coordinator *c; /* NULL: a program of its own, or none */
    pid_t child;
    char address[TRANSPORT_ADDRESS_MAX];
    struct id_keys authority;
    struct id_document document;
    struct buf document_bytes;
    struct package package; /* last fetched: its graph's layout serves all */
    struct wire_hash package_hash;
    unsigned patience_ms; /* 0: WORLD_PATIENCE, and the test fails; else `lost` is set then */
    bool lost;
    uint32_t device_count;
    struct device devices[WORLD_DEVICES];
};

/* A state folder with an authority, and a coordinator on it. */
void world_init(struct world *w, const char *name);
void world_start(struct world *w);
void world_start_program(struct world *w); /* sotto-coordinator, from SOTTO_BIN */
/* Without any clean-up of files; devices are disconnected. */
void world_stop(struct world *w);
void world_kill(struct world *w); /* kill -9 of the program */
void world_deinit(struct world *w);
/* One turn of an in-process coordinator; nothing otherwise. */
void world_turn(struct world *w);
/* A request over the control socket. The answer (or the error's text) is in out. */
enum sotto_status world_ask(struct world *w, struct buf *out, const char *command, struct view a,
                            struct view b);
enum sotto_status world_say(struct world *w, const char *command, const char *a, const char *b);
/* The answer as a string that the next call overwrites; JSON. */
const char *world_json(struct world *w, const char *command, const char *a, const char *b);
void world_certify(struct world *w); /* document request, certify, import */
/* A task of that name on logreg with drawn digits; more YAML lines are appended. */
void world_task(struct world *w, const char *name, unsigned cohort, const char *more);

struct device *world_device(struct world *w); /* with a token, neither enrolled nor connected */
struct device *world_enrolled(struct world *w);
void device_connect(struct device *d, const struct id_curve *keys);
void device_disconnect(struct device *d);
void device_send(struct device *d, const sotto_Envelope *e, struct view payload);
void device_send_raw(struct device *d, struct view control, struct view payload);
/* The next message; false when none came within ms (0: the world's patience, then the test fails).
 */
bool device_recv(struct device *d, unsigned ms, sotto_Envelope *e, struct buf *payload);
/* Sends the token's certificate over the token's connection; the reply's status. */
enum sotto_status device_enroll(struct device *d);
enum sotto_status device_enroll_as(struct device *d, const struct id_keys *keys,
                                   const struct id_curve *curve);
void device_check_in(struct device *d, sotto_CheckInReply *reply); /* takes the plan, if one came */
/* Check-ins until there is a plan. */
void device_plan(struct device *d);
void device_fetch(struct device *d); /* the terms' package, checked, into the world */
/* What a report says: change it before device_seal. values: the world's layout. */
struct lie {
    float scale;     /* of the values */
    double weight;   /* 0: 10 */
    bool nan;        /* some values are none */
    bool wrong_key;  /* sealed to another key */
    uint64_t serial; /* sealed as another device; 0: itself */
};
void device_seal(struct device *d, const struct lie *lie);
/* Announces and sends the report; false when an Error answered: *status is its. */
bool device_upload(struct device *d, sotto_ReportAck *ack, enum sotto_status *status);
void device_report(struct device *d); /* plan, fetch, seal, upload: acknowledged */
/* What the coordinator says of the report under those terms. */
sotto_Outcome device_outcome(struct device *d, const struct wire_hash *terms);
/* Turns until the task has that version. */
void world_await_version(struct world *w, const char *task, uint32_t version);
/* Turns until the command's JSON holds the text. */
void world_await(struct world *w, const char *command, const char *a, const char *text);

#endif
