/* What the worlds of session tests begin with: a fleet's keys, a device's document and settings,
 * terms under masks. */
#ifndef SOTTO_TESTS_WORLD_DEVICE_H
#define SOTTO_TESTS_WORLD_DEVICE_H

#include <string.h>

#include "sotto/client/session.h"
#include "support.h"

/* The fleet's keys, its document (no endpoints) and the settings of one of its devices. */
static inline void world_device_init(struct id_keys *authority, struct id_keys *signer,
                                     struct id_document *document, struct session_config *config,
                                     uint64_t serial, uint64_t seed) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    ASSERT_OK(id_setup(&err));
    id_keys_generate(authority);
    id_keys_generate(signer);
    document->version = 3;
    memcpy(document->authority_key, authority->public_key, ID_KEY);
    memcpy(document->signing_key, signer->public_key, ID_KEY);
    config->serial = serial;
    memcpy(config->authority_key, authority->public_key, ID_KEY);
    session_policy_defaults(&config->policy);
    config->jitter_seed = seed;
}

/* What masks ask of terms. */
static inline void world_masked_terms(sotto_Terms *t) {
    t->has_privacy = true;
    t->privacy.secure_aggregation = SECURE_REQUIRED;
    t->privacy.minimum_group = 10;
    t->privacy.ring_bits = 16;
    t->privacy.exchange_ms = 30000;
    t->privacy.adversary = SECAGG_CURIOUS;
    t->pipeline.bits = 8;
    t->pipeline.clip_norm = 1;
    t->pipeline.range = 1;
}

#endif
