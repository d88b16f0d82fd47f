/* Private to sim/: rounds under masks. The round engine, the device sessions and the codec are
 * production's, and so are all messages' sizes and moments. With secure.crypto real the keys,
 * certificates, shares and masks are too; with exact nobody has any: the sum is made of the codes
 * themselves, which is what taking off all masks leaves. */
#ifndef SOTTO_SIM_SECURE_H
#define SOTTO_SIM_SECURE_H

#include "sim.h"
#include "sotto/client/secure.h"
#include "sotto/coordinator/secure.h"

/* A session at the coordinator. Exact: counts; real: the server has them. */
struct sim_secure_group {
    struct secagg_server *server; /* NULL: exact, or none */
    struct secagg_graph_params params;
    uint32_t minimum; /* that every set from the sharers on must have */
    uint32_t members, sharers, survivors, signers, unmaskers;
    bool failed;
};
/* Of the open round. */
struct sim_secure {
    struct secure_ids ids;
    struct secagg_identity identity; /* points to ids */
    uint32_t group_count;
    struct sim_secure_group *groups;
    uint32_t member_count;
    struct sim_job **inputs; /* by member of the round: what it sent as its masked input */
};
/* A session at a device. */
struct sim_masks {
    struct secagg_config config;
    uint32_t attempt;
    /* what it was shown: of the group's sets */
    uint32_t holders, sharers;
    /* its message on the way up */
    uint64_t out_bytes;
    struct chunk_receiver upload; /* the coordinator's end of it */
    uint32_t upload_kind;         /* 0: none */
    /* real: */
    struct secure_member *member;
    struct id_keys keys;
    uint8_t certificate[ID_CERT_BYTES];
    struct buf in; /* the coordinator's message that comes, of this kind */
    uint32_t in_kind;
};

static inline bool sim_is_real(const struct sim *s) {
    return s->x->settings.crypto == SIM_CRYPTO_REAL;
}

/* ---- secure.c: the coordinator's sessions */
uint64_t sim_secure_shown_bytes(const struct sim_secure_group *g,
                                const struct secagg_config *config, enum secagg_kind kind);
/* A member's message has come whole: into its session. *taken as secure_take has it. */
enum sotto_status sim_secure_message_take(struct sim *s, const struct round_member *m,
                                          enum secagg_kind kind, uint64_t bytes, bool *taken,
                                          struct sotto_error *err);
/* What this member of the round sent as its masked input, if anything, is not needed any more. */
void sim_secure_input_drop(struct sim *s, uint32_t member);
/* Whether unmasking has all that it needs. */
bool sim_secure_group_ready(const struct sim_secure_group *g);

/* ---- sim_secure_message.c */
enum sotto_status sim_secure_tell(struct sim *s, const struct round_member *m,
                                  struct sotto_error *err);
/* The engine's RETURN: what was trained is not used. */
enum sotto_status sim_secure_return(struct sim *s, const struct round_action *a,
                                    const struct sim_reply *to, struct sotto_error *err);

/* ---- secure_sum.c */
/* The sum of the group's survivors, into its slot. */
enum sotto_status sim_secure_group_sum(struct sim *s, uint32_t group, struct sotto_error *err);

/* ---- secure_device.c */
void masks_free(struct sim_masks *k);

#endif
