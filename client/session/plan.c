/* What a device checks before it accepts a plan (protocol.md section 2). */
#include "session_int.h"

#include <stdio.h>
#include <string.h>

struct session_task *session_task_find(struct session *s, const uint8_t task_id[WIRE_TASK_ID]) {
    for (uint32_t i = 0; i < s->task_count; i++)
        if (memcmp(s->tasks[i].task_id, task_id, WIRE_TASK_ID) == 0)
            return &s->tasks[i];
    return NULL;
}

/* detail NULL: it is in the plan already. */
static bool refuse(struct session_plan *plan, const char *rule, const char *detail) {
    snprintf(plan->rule, sizeof plan->rule, "%s", rule);
    if (detail != NULL)
        snprintf(plan->detail, sizeof plan->detail, "%s", detail);
    return false;
}

static bool check_signature(const struct session *s, const struct id_document *d,
                            const sotto_CheckInReply *m, struct session_plan *plan) {
    static const uint8_t none[ID_KEY];
    const uint8_t *key = m->signing_key.bytes;
    struct sotto_error error = SOTTO_ERROR_INIT;
    if (m->signing_key.size != ID_KEY || m->terms_signature.size != ID_SIG)
        return refuse(plan, "signature", "key or signature is missing");
    const bool known =
        memcmp(key, d->signing_key, ID_KEY) == 0 || memcmp(key, d->signing_key_next, ID_KEY) == 0;
    if (!known || memcmp(key, none, ID_KEY) == 0)
        return refuse(plan, "signature", "the key is not in the coordinator document");
    bool allowed = s->config.policy.allowed_key_count == 0;
    for (uint32_t i = 0; i < s->config.policy.allowed_key_count; i++)
        allowed = allowed || memcmp(key, s->config.policy.allowed_keys[i], ID_KEY) == 0;
    if (!allowed)
        return refuse(plan, "policy.allowed_keys", "the device's owner does not allow this key");
    if (id_verify_again(s->config.checked, key, ID_LABEL_TERMS,
                        view_of(m->terms.bytes, m->terms.size), m->terms_signature.bytes,
                        &error) != SOTTO_OK)
        return refuse(plan, "signature", "the signature does not hold");
    return true;
}

static bool check_invitation(const struct session *s, const sotto_CheckInReply *m,
                             struct session_plan *plan) {
    const sotto_Invitation *i = &m->invitation;
    if (!m->has_invitation)
        return refuse(plan, "invitation", "there is none");
    if (i->terms_hash.size != WIRE_HASH ||
        memcmp(i->terms_hash.bytes, plan->hash.b, WIRE_HASH) != 0)
        return refuse(plan, "invitation", "it is for other terms");
    if (i->serial != s->config.serial)
        return refuse(plan, "invitation", "it is for another device");
    if (i->nonce.size != WIRE_NONCE || memcmp(i->nonce.bytes, s->nonce, WIRE_NONCE) != 0)
        return refuse(plan, "invitation", "it does not answer this check-in");
    if (i->valid_ms == 0)
        return refuse(plan, "invitation", "it is not valid any more");
    return true;
}

static bool check_round(struct session *s, struct session_plan *plan) {
    const sotto_Terms *t = &plan->terms;
    const struct session_task *task = session_task_find(s, t->task_id.bytes);
    plan->same = s->stage != SESSION_NONE && wire_hash_equal(&plan->hash, &s->terms_hash);
    if (task == NULL) {
        if (s->task_count >= SESSION_TASKS_MAX)
            return refuse(plan, "tasks", "the device works for too many tasks already");
        return true;
    }
    if (t->round < task->last_round) {
        snprintf(plan->detail, sizeof plan->detail, "round %u after round %u", t->round,
                 task->last_round);
        return refuse(plan, "round", NULL);
    }
    if (t->round == task->last_round && !wire_hash_equal(&plan->hash, &task->terms_hash))
        return refuse(plan, "round", "other terms for a round that was accepted");
    if (t->round == task->last_round && task->sealed)
        return refuse(plan, "round", "a report under these terms was made already");
    return true;
}

bool session_plan_check(struct session *s, const struct id_document *document,
                        const sotto_CheckInReply *m, struct session_plan *plan) {
    const struct view bytes = view_of(m->terms.bytes, m->terms.size);
    struct sotto_error error = SOTTO_ERROR_INIT;
    memset(plan, 0, sizeof *plan);
    plan->hash = wire_terms_hash(bytes);
    if (!check_signature(s, document, m, plan) || !check_invitation(s, m, plan))
        return false;
    if (wire_terms_decode(bytes, &plan->terms, &error) != SOTTO_OK) {
        snprintf(plan->detail, sizeof plan->detail, "%.120s", error.message);
        return refuse(plan, "terms", NULL);
    }
    const sotto_Terms *t = &plan->terms;
    if (t->tier[0] != '\0' && s->config.tier[0] != '\0' && strcmp(t->tier, s->config.tier) != 0)
        return refuse(plan, "tier", "the plan is for devices of another tier");
    return check_round(s, plan) && session_policy_check(s, plan);
}
