/* The device owner's policy: its defaults, conditions, daily buckets and the limits on a plan. */
#include "session_int.h"

#include <stdio.h>

void session_policy_defaults(struct session_policy *p) {
    *p = (struct session_policy){.checkin_min_ms = 1000};
}

const char *session_conditions_missing(const struct session *s) {
    const struct session_policy *p = &s->config.policy;
    if (!s->conditions.online)
        return "offline";
    if (p->need_charging && !s->conditions.charging)
        return "policy.charging";
    if (p->need_idle && !s->conditions.idle)
        return "policy.idle";
    if (p->need_unmetered && !s->conditions.unmetered)
        return "policy.unmetered";
    if (s->conditions.battery_percent >= 0 && !s->conditions.charging &&
        s->conditions.battery_percent < p->battery_percent_min)
        return "policy.battery_percent";
    return NULL;
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

static bool check_privacy(const struct session_policy *p, struct session_plan *plan) {
    const sotto_PrivacyTerms off = sotto_PrivacyTerms_init_zero;
    const sotto_PrivacyTerms *t = plan->terms.has_privacy ? &plan->terms.privacy : &off;
    const bool secure = t->secure_aggregation == 2;
    if (p->secure_aggregation == SESSION_SECAGG_REQUIRED && !secure)
        return refuse(plan, "policy.secure_aggregation");
    if (p->secure_aggregation == SESSION_SECAGG_OFF && secure)
        return refuse(plan, "policy.secure_aggregation");
    if (secure) /* this version has no masks: it must not answer with anything that is readable */
        return refuse(plan, "secure_aggregation");
    if (t->minimum_group < p->minimum_group) {
        snprintf(plan->detail, sizeof plan->detail, "the plan has %u, the device wants %u",
                 t->minimum_group, p->minimum_group);
        return refuse(plan, "policy.minimum_group");
    }
    if (!(t->noise_multiplier >= p->minimum_noise)) {
        snprintf(plan->detail, sizeof plan->detail, "the plan has %g, the device wants %g",
                 (double)t->noise_multiplier, (double)p->minimum_noise);
        return refuse(plan, "policy.minimum_noise");
    }
    return true;
}

bool session_policy_check(struct session *s, struct session_plan *plan) {
    const struct session_policy *p = &s->config.policy;
    const sotto_Terms *t = &plan->terms;
    if (!check_privacy(p, plan))
        return false;
    if (plan->same) /* paid for already */
        return true;
    if (p->rounds_per_day_max > 0 && s->rounds_left < 1) {
        snprintf(plan->detail, sizeof plan->detail, "at most %u a day", p->rounds_per_day_max);
        return refuse(plan, "policy.rounds_per_day");
    }
    if (p->bytes_per_day_max > 0) {
        struct wire_hash package;
        WIRE_GET_HASH(t->package_hash, &package);
        double need = (double)t->report_bytes_max;
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
