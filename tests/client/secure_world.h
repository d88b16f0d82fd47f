/* One device's session in a secure group of twelve: the others are members without a session, the
 * coordinator is scripted and can be told to cheat. Cryptography and sums are real; time is
 * virtual, no byte leaves the process. */
#ifndef SOTTO_TESTS_SECURE_WORLD_H
#define SOTTO_TESTS_SECURE_WORLD_H

#include "sotto/client/secure.h"
#include "sotto/client/session.h"
#include "support.h"

#define SW_GHOSTS  11u
#define SW_GROUP   (SW_GHOSTS + 1)
#define SW_LENGTH  140000u /* coordinates: the masked input is more than one chunk */
#define SW_QUEUE   64
#define SW_SERIAL  7u
#define SW_PACKAGE 10u
extern const uint8_t sw_package[SW_PACKAGE];

struct sw_member { /* what a member knows of itself */
    uint64_t serial;
    struct id_keys keys;
    struct secure_ids ids;
    struct secagg_identity identity;
    uint8_t cert[ID_CERT_BYTES];
    struct secagg_client *client; /* of a ghost */
    bool gone;                    /* a ghost that says nothing any more */
};

struct sw_mail {
    sotto_Envelope m;
    uint8_t *payload;
    size_t n;
};

struct sw {
    uint64_t now_ms;
    struct rng rng;
    struct id_keys authority, signer;
    struct id_document document;
    struct session_config config;
    sotto_Terms terms;
    uint8_t terms_bytes[WIRE_TERMS_MAX];
    size_t terms_size;
    struct wire_hash hash;
    struct sw_member device, ghosts[SW_GHOSTS];
    uint32_t *codes[SW_GROUP]; /* of the ghosts, then the device */

    /* coordinator */
    struct secagg_config group;
    struct secagg_server *server;
    uint32_t attempt;
    enum secagg_kind want; /* what SecureState asks of the device; 0: nothing */
    enum secagg_kind open; /* whose messages come now; 0: none */
    bool hold;             /* takes messages, but closes no exchange */
    bool trusts_all;       /* the server certifies anybody */
    bool mute;             /* answers nothing */
    bool up_done[WIRE_EXCHANGE_MAX + 1];
    struct buf up[WIRE_EXCHANGE_MAX + 1]; /* from the device, this attempt */
    struct wire_hash up_hash[WIRE_EXCHANGE_MAX + 1];
    uint64_t up_bytes[WIRE_EXCHANGE_MAX + 1];
    struct buf down; /* the message for the device */
    uint32_t *sum;   /* of all masked inputs */
    uint64_t wait_ms;
    uint32_t survivors;
    bool in_sum; /* the device's input */
    bool summed; /* the sum is right */
    sotto_Outcome outcome;

    /* device */
    struct session *session;
    struct secure_member *member;
    uint32_t member_attempt;
    bool link, connecting;
    bool working;
    bool charging;
    struct session_event work; /* what the host has to answer when it is done */
    enum secagg_kind taking;
    struct wire_hash taking_hash;
    struct {
        enum session_stage stage;
        uint32_t attempt;
        bool masked, mass;  /* mass: the decoded update can still go back */
        struct buf message; /* masked */
        struct wire_hash message_hash;
        struct session_task task;
        bool have_task;
        sotto_Outcome outcome;
    } store;
    struct secagg_client_report report; /* newest */
    struct buf first_masked;            /* the first bytes of MASKED that ever left */
    uint32_t begins, masked_sent;
    uint32_t sends[32];
    sotto_Envelope last_sent;
    char note[160];
    struct sw_mail queue[SW_QUEUE];
    uint32_t queued;
    uint32_t loss_permille, repeat_permille; /* of messages, both ways */
    struct buf forged;                       /* shown in place of `down` when it is not empty */
};

struct sw *sw_new(uint64_t seed);
void sw_free(struct sw *w);
/* A new session from the store, as after a crash. */
void sw_restart(struct sw *w);
void sw_event(struct sw *w, struct session_event *e);
void sw_tick(struct sw *w);
/* What the coordinator says. */
void sw_say(struct sw *w, const sotto_Envelope *m, struct view payload);
void sw_state(struct sw *w, uint32_t attempt, uint32_t exchange, struct view message,
              sotto_Outcome outcome);
/* What the coordinator asks of the device now, as in answer to SecureReady. */
void sw_say_wanted(struct sw *w);
/* Closes the exchange, whether the device has sent or not. */
void sw_close(struct sw *w, enum secagg_kind kind);
/* Opens a session with all ghosts that are not gone. */
void sw_group(struct sw *w, uint32_t attempt);
/* Lets it run until nothing happens before now + ms, or until `stop` says so. */
void sw_run(struct sw *w, uint64_t ms);
bool sw_run_until(struct sw *w, bool (*stop)(struct sw *w), uint64_t ms);
/* Between the two files. */
void sw_random(struct sw *w, void *out, size_t n);
bool sw_chance(struct sw *w, uint32_t permille);
void sw_close_group(struct sw *w);
void sw_coordinator(struct sw *w, const sotto_Envelope *m, struct view payload);
/* The device is ready: checked in, "trained". */
void sw_make_ready(struct sw *w);

#endif
