/* The member's side of a session: what it knows, and what it must never tell. */
#ifndef SOTTO_SECAGG_CLIENT_INT_H
#define SOTTO_SECAGG_CLIENT_INT_H

#include "secagg_int.h"

/* The server's four messages; each is taken once, and answered again when it comes again. */
enum { SEEN_LIST, SEEN_DELIVERY, SEEN_SURVIVORS, SEEN_SIGNATURES, SEEN_COUNT };
struct seen {
    bool taken;
    uint8_t hash[SECAGG_KEY];
    struct buf answer;
};

/* A holder of shares: a neighbour, or the member itself. */
struct peer {
    uint64_t serial;
    uint8_t identity[SECAGG_KEY], seal_public[SECAGG_KEY], mask_public[SECAGG_KEY];
    bool sharing; /* in the set that shared, U2 */
    bool opened;  /* its shares for this member are good */
};

/* All of it lies in the guarded arena. */
struct secrets {
    uint8_t *seal_secret, *mask_secret, *self, *seed; /* c_sk, s_sk, b */
    uint8_t *seal_keys;                               /* 32 a holder, of shares */
    uint8_t *mask_keys;                               /* 32 a holder; its own: the self mask */
    uint8_t *held;                                    /* 64 a dealer: shares of its s_sk and b */
    uint8_t *coefficients, *dealt;                    /* while shares are made */
};

struct secagg_client {
    struct secagg_config config;
    struct secagg_identity identity;
    enum secagg_stage stage;
    struct secagg_client_report report;
    uint8_t *own_record;
    size_t record_bytes;
    uint8_t session[SECAGG_KEY];
    struct secagg_graph_params params;
    uint32_t n, own, own_place, holder_count;
    uint32_t *holders;
    struct peer *peers;           /* of holders, in their order */
    uint8_t *sharers, *survivors; /* sets over the n members */
    struct secret_arena arena;
    struct secrets secrets;
    uint64_t masked; /* coordinates that have left */
    struct seen seen[SEEN_COUNT];
};

/* Checks stage and resends. *done: the answer has been given. */
enum sotto_status client_due(struct secagg_client *c, int which, struct view message,
                             struct buf *out, bool *done, struct sotto_error *err);
/* Keeps the answer (may be NULL) for resends and appends it to out. */
enum sotto_status client_answer(struct secagg_client *c, int which, struct view message,
                                struct buf *out, struct sotto_error *err);
/* Ends the session when status is DENIED; returns status. */
enum sotto_status client_end_if_denied(struct secagg_client *c, enum sotto_status status);
void client_wipe(struct secagg_client *c);

#endif
