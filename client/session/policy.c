/* The device owner's policy: its defaults, conditions, daily buckets and the limits on a plan. */
#include "session_int.h"

#include <stdio.h>

void session_policy_defaults(struct session_policy *p) {
    *p = (struct session_policy){.checkin_min_ms = 1000,
                                 .secure_aggregation = SESSION_SECAGG_PREFERRED};
}

const char *session_conditions_missing(const struct session *s) {
    const struct session_policy *p = &s->config.policy;
    if (p->need_charging && !s->conditions.charging)
        return "policy.charging";
    if (p->need_idle && !s->conditions.idle)
        return "policy.idle";
    if (p->need_unmetered && !s->conditions.unmetered)
        return "policy.unmetered";
    if (s->conditions.battery_percent >= 0 && !s->conditions.charging &&
        s->conditions.battery_percent < p->battery_percent_min)
        return "policy.battery_percent";
    return s->conditions.online ? NULL : "offline"; /* last: training goes on without a link */
}

void session_buckets_fill(struct session *s) {
    const struct session_policy *p = &s->config.policy;
    const double bytes_max = (double)p->bytes_per_day_max, rounds_max = p->rounds_per_day_max;
    if (s->bucket_ms == 0 || s->bytes_left < 0 || s->rounds_left < 0) { /* from now on */
        if (s->bytes_left < 0 || s->bytes_left > bytes_max)
            s->bytes_left = bytes_max;
        if (s->rounds_left < 0 || s->rounds_left > rounds_max)
            s->rounds_left = rounds_max;
    } else {
        const uint64_t ran_ms = s->now_ms > s->bucket_ms ? s->now_ms - s->bucket_ms : 0;
        const double days = (double)ran_ms / SESSION_DAY_MS;
        s->bytes_left += days * bytes_max;
        s->rounds_left += days * rounds_max;
        if (s->bytes_left > bytes_max)
            s->bytes_left = bytes_max;
        if (s->rounds_left > rounds_max)
            s->rounds_left = rounds_max;
    }
    s->bucket_ms = s->now_ms == 0 ? 1 : s->now_ms;
}

void session_charge(struct session *s, size_t bytes) {
    if (s->config.policy.bytes_per_day_max == 0)
        return;
    s->bytes_left -= (double)bytes;
    if (s->bytes_left < 0)
        s->bytes_left = 0;
}

uint64_t session_buckets_wait_ms(const struct session *s) {
    const struct session_policy *p = &s->config.policy;
    double days = 0;
    if (p->rounds_per_day_max > 0 && s->rounds_left < 1)
        days = (1 - s->rounds_left) / p->rounds_per_day_max;
    if (p->bytes_per_day_max > 0 && s->bytes_left < (double)p->bytes_per_day_max / 16) {
        const double wait = 1.0 / 16 - s->bytes_left / (double)p->bytes_per_day_max;
        days = wait > days ? wait : days;
    }
    return (uint64_t)(days * SESSION_DAY_MS) + 1;
}

static bool refuse(struct session_plan *plan, const char *rule) {
    snprintf(plan->rule, sizeof plan->rule, "%s", rule);
    return false;
}

/* Sums of n_max codes, and of limbs, cannot wrap; a group can hold as many as the owner wants. */
static bool check_masks(const struct session *s, struct session_plan *plan) {
    const sotto_Terms *t = &plan->terms;
    const uint64_t ring = UINT64_C(1) << t->privacy.ring_bits;
    const uint64_t code = t->has_pipeline && t->kind == sotto_Kind_KIND_TRAIN
                              ? (UINT64_C(1) << t->pipeline.bits) - 1
                              : 1;
    if (!s->config.certified) {
        snprintf(plan->detail, sizeof plan->detail,
                 "the device has no certificate to show to the others: it must be enrolled anew");
        return refuse(plan, "secure_aggregation");
    }
    if (t->n_max * code >= ring || t->n_max > SECAGG_MEMBERS_MAX) {
        snprintf(plan->detail, sizeof plan->detail,
                 "groups of up to %u do not fit a ring of %u bits", t->n_max, t->privacy.ring_bits);
        return refuse(plan, "secure_aggregation");
    }
    /* Or a coordinator that cheats would get by that way what small groups keep from it. */
    if (t->n_max > SECAGG_COMPLETE_MAX && !s->config.policy.large_groups) {
        snprintf(plan->detail, sizeof plan->detail,
                 "groups of up to %u, the device takes part in those of %u at most", t->n_max,
                 SECAGG_COMPLETE_MAX);
        return refuse(plan, "policy.large_groups");
    }
    if (t->n_max < s->config.policy.minimum_group || t->n_max < t->privacy.minimum_group) {
        snprintf(plan->detail, sizeof plan->detail, "groups have %u at most, the device wants %u",
                 t->n_max, s->config.policy.minimum_group);
        return refuse(plan, "policy.minimum_group");
    }
    return true;
}

static bool check_noise(const struct session_policy *p, const sotto_PrivacyTerms *t,
                        struct session_plan *plan) {
    if (t->noise_multiplier >= p->minimum_noise)
        return true;
    snprintf(plan->detail, sizeof plan->detail, "the plan has %g, the device wants %g",
             (double)t->noise_multiplier, (double)p->minimum_noise);
    return refuse(plan, "policy.minimum_noise");
}

static bool check_privacy(const struct session *s, struct session_plan *plan) {
    const struct session_policy *p = &s->config.policy;
    const sotto_PrivacyTerms off = sotto_PrivacyTerms_init_zero;
    const sotto_PrivacyTerms *t = plan->terms.has_privacy ? &plan->terms.privacy : &off;
    const bool secure = secure_wanted(&plan->terms);
    if (p->secure_aggregation == SESSION_SECAGG_REQUIRED && !secure)
        return refuse(plan, "policy.secure_aggregation");
    if (p->secure_aggregation == SESSION_SECAGG_OFF && secure)
        return refuse(plan, "policy.secure_aggregation");
    if (secure)
        return check_masks(s, plan) && check_noise(p, t, plan);
    if (t->minimum_group < p->minimum_group) {
        snprintf(plan->detail, sizeof plan->detail, "the plan has %u, the device wants %u",
                 t->minimum_group, p->minimum_group);
        return refuse(plan, "policy.minimum_group");
    }
    return check_noise(p, t, plan);
}

/* What the exchanges may move beside the masked input, once. */
static double secure_bytes(const struct session_plan *plan) {
    struct secagg_config config;
    double bytes = 0;
    if (!secure_wanted(&plan->terms) ||
        secure_config(&plan->terms, &plan->hash, 1, &config, NULL) != SOTTO_OK)
        return 0;
    for (int kind = SECAGG_ADVERTISE; kind <= SECAGG_UNMASK; kind++)
        bytes +=
            kind != SECAGG_MASKED ? (double)secagg_message_max(&config, (enum secagg_kind)kind) : 0;
    return bytes;
}

/* A device that takes part seldom is harder to single out by subtracting sums. */
static bool check_rate(struct session *s, struct session_plan *plan) {
    const uint32_t every = s->config.policy.rounds_between_min;
    const struct session_task *task = session_task_find(s, plan->terms.task_id.bytes);
    if (every < 2 || task == NULL || task->part_round == 0 ||
        plan->terms.round - task->part_round >= every)
        return true;
    snprintf(plan->detail, sizeof plan->detail, "one of %u rounds, the last was %u", every,
             task->part_round);
    return refuse(plan, "policy.rounds_between_min");
}

bool session_policy_check(struct session *s, struct session_plan *plan) {
    const struct session_policy *p = &s->config.policy;
    const sotto_Terms *t = &plan->terms;
    if (!check_privacy(s, plan))
        return false;
    if (plan->same) /* paid for already */
        return true;
    if (!check_rate(s, plan))
        return false;
    if (p->rounds_per_day_max > 0 && s->rounds_left < 1) {
        snprintf(plan->detail, sizeof plan->detail, "at most %u a day", p->rounds_per_day_max);
        return refuse(plan, "policy.rounds_per_day");
    }
    if (p->bytes_per_day_max > 0) {
        struct wire_hash package;
        WIRE_GET_HASH(t->package_hash, &package);
        double need = (double)t->report_bytes_max + secure_bytes(plan);
        if (!s->held_any || !wire_hash_equal(&package, &s->held))
            need += (double)t->package_bytes;
        if (need > s->bytes_left) {
            snprintf(plan->detail, sizeof plan->detail,
                     "the plan may need %.0f bytes, %.0f are left of %llu a day", need,
                     s->bytes_left, (unsigned long long)p->bytes_per_day_max);
            return refuse(plan, "policy.bytes_per_day");
        }
    }
    return true;
}
