/* What single ranges cannot say about a task: fields that must fit each other, and the bounds of
 * its sums. */
#include "sotto/coordinator/task_options.h"

#include "sotto/coordinator/advance.h"

#include <math.h>
#include <string.h>

static bool given(const char *s) {
    return s && *s;
}

/* Printable ASCII that fits a field of the terms. */
static enum sotto_status check_name(const char *key, const char *value, size_t cap,
                                    struct sotto_error *err) {
    size_t n = value ? strlen(value) : 0;
    if (n == 0 || n >= cap)
        return SOTTO_FAIL(err, SOTTO_INVALID, "%s: has %zu characters, 1 to %zu are possible", key,
                          n, cap - 1);
    for (size_t i = 0; i < n; i++)
        if (value[i] < ' ' || value[i] > '~')
            return SOTTO_FAIL(err, SOTTO_INVALID, "%s: only printable ASCII is possible", key);
    return SOTTO_OK;
}

static enum sotto_status check_identity(const struct task_config *t, struct sotto_error *err) {
    enum sotto_status status =
        check_name("task.name", t->name, sizeof((sotto_Terms *)0)->task, err);
    if (status == SOTTO_OK)
        status =
            check_name("task.collection", t->collection, sizeof((sotto_Terms *)0)->collection, err);
    if (status != SOTTO_OK)
        return status;
    int models = given(t->model) + (t->model_yaml != NULL) + given(t->model_package);
    if (models != 1)
        return SOTTO_FAIL(err, SOTTO_INVALID,
                          "%s: give exactly one of model.zoo, model.graph and model.package",
                          models ? "more than one model" : "no model");
    return SOTTO_OK;
}

static uint64_t invited(const struct task_config *t, uint64_t goal) {
    return (uint64_t)ceil((double)goal * t->over_selection - 1e-9);
}

static enum sotto_status check_cohort(const struct task_config *t, struct sotto_error *err) {
    uint64_t minimum = t->cohort_min ? t->cohort_min : t->cohort;
    if (t->cohort_min > t->cohort)
        return SOTTO_FAIL(err, SOTTO_INVALID, "cohort_min: %llu is more than cohort, %llu",
                          (unsigned long long)t->cohort_min, (unsigned long long)t->cohort);
    if (t->groups > minimum)
        return SOTTO_FAIL(err, SOTTO_INVALID,
                          "groups: %llu groups need at least one report each, but %s is %llu",
                          (unsigned long long)t->groups, t->cohort_min ? "cohort_min" : "cohort",
                          (unsigned long long)minimum);
    uint64_t most = num_max_u64(t->cohort, t->evaluate_cohort);
    if (invited(t, most) > ROUND_COHORT_MAX)
        return SOTTO_FAIL(
            err, SOTTO_INVALID,
            "cohort_over_selection: %llu devices would be invited, %d are possible; lower it or %s",
            (unsigned long long)invited(t, most), ROUND_COHORT_MAX,
            t->evaluate_cohort > t->cohort ? "evaluate.cohort" : "cohort");
    if (t->devices_min && t->devices_min < minimum)
        return SOTTO_FAIL(
            err, SOTTO_INVALID,
            "devices_min: %llu is less than the %llu reports a round needs; raise it, "
            "or lower cohort_min",
            (unsigned long long)t->devices_min, (unsigned long long)minimum);
    return SOTTO_OK;
}

static enum sotto_status check_times(const struct task_config *t, struct sotto_error *err) {
    if (t->lease_ms && t->lease_ms < 2 * t->heartbeat_ms)
        return SOTTO_FAIL(err, SOTTO_INVALID,
                          "lease: %llu ms is less than two heartbeats of %llu ms; raise lease or "
                          "lower heartbeat",
                          (unsigned long long)t->lease_ms, (unsigned long long)t->heartbeat_ms);
    if (t->availability_ms && t->availability_ms < 2 * t->pace_ms)
        return SOTTO_FAIL(err, SOTTO_INVALID,
                          "availability: %llu ms is less than two paces of %llu ms, idle devices "
                          "would look absent; raise availability or lower pace",
                          (unsigned long long)t->availability_ms, (unsigned long long)t->pace_ms);
    return SOTTO_OK;
}

static enum sotto_status check_rule(const struct task_config *t, struct sotto_error *err) {
    struct train_rule rule;
    task_rule(t, &rule);
    if (t->local_nesterov && t->local_momentum == 0.0)
        return SOTTO_FAIL(err, SOTTO_INVALID, "local.nesterov: needs local.momentum above 0");
    enum sotto_status status = train_rule_check(&rule, err);
    if (status != SOTTO_OK)
        sotto_error_prefix(err, "local");
    return status;
}

static enum sotto_status check_server(const struct task_config *t, struct sotto_error *err) {
    const struct strategy *s = strategy_get(t->strategy);
    if (s && !s->momentum && t->server_momentum != 0.0)
        return SOTTO_FAIL(err, SOTTO_INVALID,
                          "server.momentum: %s has none%s; leave server.momentum out or use "
                          "server.strategy: %s",
                          s->name,
                          s->algorithm == TRAIN_SGD ? ", its server.beta1 does the same" : "",
                          strategy_names[0]);
    if (s && s->algorithm == TRAIN_SCAFFOLD && task_secure(t))
        return SOTTO_FAIL(
            err, SOTTO_INVALID,
            "privacy.secure_aggregation: control variates are not summed under masks; "
            "use server.strategy: fednova, or turn secure aggregation off");
    return s && s->check ? s->check(t, err) : SOTTO_OK;
}

static enum sotto_status check_pipeline(const struct task_config *t, const struct layout *layout,
                                        struct sotto_error *err) {
    if (t->bits > 16 && t->bits != 32)
        return SOTTO_FAIL(err, SOTTO_INVALID,
                          "uplink.bits: %llu is not possible, use 2 to 16, or 32 for fp32",
                          (unsigned long long)t->bits);
    if (t->stochastic && t->bits == 32)
        return SOTTO_FAIL(err, SOTTO_INVALID,
                          "uplink.stochastic: fp32 values are not rounded; set uplink.bits to 2 to "
                          "16, or leave it out");
    if (t->residual_rounds_max && !t->error_feedback)
        return SOTTO_FAIL(err, SOTTO_INVALID,
                          "uplink.residual_rounds_max: needs uplink.error_feedback: true");
    for (int evaluate = 0; evaluate <= 1; evaluate++) {
        struct codec_spec spec;
        task_spec(t, layout, evaluate, &spec);
        enum sotto_status status = codec_spec_check(&spec, err);
        if (status != SOTTO_OK) {
            sotto_error_prefix(err, "uplink (cohort %u, weight_max %u)", spec.accept_max,
                               spec.weight_max);
            return status;
        }
        if (codec_bytes_max(&spec) > WIRE_BLOB_MAX / 2)
            return SOTTO_FAIL(err, SOTTO_LIMIT,
                              "the model: an update may take %zu bytes, a report has at most %llu; "
                              "use a smaller model, or lower uplink.bits or uplink.keep",
                              codec_bytes_max(&spec), (unsigned long long)(WIRE_BLOB_MAX / 2));
    }
    return SOTTO_OK;
}

/* ---- Sums under masks ---------------------------------------------------------------------- */

static enum sotto_status check_plain(const struct task_config *t, struct sotto_error *err) {
    if (t->support != CODEC_SUPPORT_OWN)
        return SOTTO_FAIL(err, SOTTO_INVALID,
                          "uplink.support: a common support is for sums under masks; set "
                          "privacy.secure_aggregation: required, or leave it out: each device then "
                          "sends its own largest changes");
    if (t->range > 0.0)
        return SOTTO_FAIL(err, SOTTO_INVALID,
                          "uplink.range: a common scale is for sums under masks; set "
                          "privacy.secure_aggregation: required, or leave it out");
    return SOTTO_OK;
}

/* Groups of reports devices each: enough for the smallest group that a device accepts? */
static enum sotto_status check_groups(const struct task_config *t, const char *key,
                                      uint64_t reports, struct sotto_error *err) {
    const uint64_t groups = num_max_u64(t->groups, (reports + t->group_max - 1) / t->group_max);
    const uint64_t minimum = num_max_u64(t->minimum_group, SECAGG_MEMBERS_MIN);
    if (reports / groups >= minimum)
        return SOTTO_OK;
    return SOTTO_FAIL(err, SOTTO_INVALID,
                      "%s: %llu devices in %llu secure groups make groups of %llu, but a sum holds "
                      "%llu at the least; raise %s to %llu, or %s",
                      key, (unsigned long long)reports, (unsigned long long)groups,
                      (unsigned long long)(reports / groups), (unsigned long long)minimum, key,
                      (unsigned long long)(groups * minimum),
                      t->groups > 1                           ? "lower groups"
                      : reports >= minimum                    ? "raise privacy.group_max"
                      : t->minimum_group > SECAGG_MEMBERS_MIN ? "lower privacy.minimum_group"
                                                              : "use a plain task");
}

#define SHARE_BYTES 112u /* for each holder, as docs/secure-aggregation.md has them */

static enum sotto_status check_secure_groups(const struct task_config *t, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct secagg_graph_params graph;
    if (!secagg_ring_valid((unsigned)t->ring_bits))
        TRY_FAIL(err, SOTTO_INVALID,
                 "privacy.ring_bits: %llu is not possible, use 16, 20, 24 or 32",
                 (unsigned long long)t->ring_bits);
    if (t->minimum_group > t->group_max)
        TRY_FAIL(err, SOTTO_INVALID,
                 "privacy.minimum_group: %llu is more than privacy.group_max, %llu",
                 (unsigned long long)t->minimum_group, (unsigned long long)t->group_max);
    TRY(check_groups(t, "cohort", t->cohort, err));
    if (t->cohort_min > 0)
        TRY(check_groups(t, "cohort_min", t->cohort_min, err));
    if (t->evaluate_every > 0 && t->evaluate_cohort > 0)
        TRY(check_groups(t, "evaluate.cohort", t->evaluate_cohort, err));
    for (int evaluate = 0; evaluate <= (t->evaluate_every > 0); evaluate++) {
        status = secagg_group_params(task_group_max(t, evaluate), t->adversarial, t->dropout,
                                     (enum secagg_adversary)(t->adversary + 1), &graph, err);
        if (status != SOTTO_OK) {
            sotto_error_prefix(err, "privacy (a group of %u)", task_group_max(t, evaluate));
            return SOTTO_INVALID;
        }
        /* A device's shares travel as one chunk. */
        if ((graph.degree + 1) * SHARE_BYTES > CHUNK_BYTES - SHARE_BYTES)
            TRY_FAIL(err, SOTTO_INVALID,
                     "privacy.group_max: in a group of %u each device shares with %u others, more "
                     "than a message holds; make groups smaller, or lower privacy.adversarial or "
                     "privacy.dropout",
                     task_group_max(t, evaluate), graph.degree);
    }
out:
    return status;
}

static enum sotto_status check_secure_pipeline(const struct task_config *t,
                                               struct sotto_error *err) {
    const unsigned fits = masked_bits_max((unsigned)t->ring_bits, task_group_max(t, false));
    if (t->keep < 1.0 && t->support == CODEC_SUPPORT_OWN)
        return SOTTO_FAIL(
            err, SOTTO_INVALID,
            "uplink.keep: %g of each device's own largest changes does not sum under "
            "masks, places would differ; set uplink.support to round or published, or "
            "uplink.keep to 1",
            t->keep);
    if (t->clip_norm <= 0.0)
        return SOTTO_FAIL(err, SOTTO_INVALID,
                          "uplink.clip_norm: needed above 0 under masks, the common scale follows "
                          "from it; a little above the usual norm of an update is good");
    if (fits == 0)
        return SOTTO_FAIL(
            err, SOTTO_INVALID,
            "privacy.ring_bits: sums of %u devices do not fit %llu bits; use more, or "
            "lower privacy.group_max",
            task_group_max(t, false), (unsigned long long)t->ring_bits);
    if (t->bits > fits)
        return SOTTO_FAIL(
            err, SOTTO_INVALID,
            "uplink.bits: %llu do not sum under masks: a group of %u in a ring of %llu "
            "bits holds %u; set uplink.bits to %u, or raise privacy.ring_bits, or "
            "lower privacy.group_max",
            (unsigned long long)t->bits, task_group_max(t, false), (unsigned long long)t->ring_bits,
            fits, fits);
    return SOTTO_OK;
}

/* What devices and coordinator will do at the first round, tried now. */
static enum sotto_status check_secure_plan(const struct task_config *t, const struct layout *layout,
                                           struct sotto_error *err) {
    for (int evaluate = 0; evaluate <= 1; evaluate++) {
        struct codec_spec spec;
        struct masked_plan *plan;
        task_spec(t, layout, evaluate, &spec);
        const struct masked_terms terms = {.ring_bits = (unsigned)t->ring_bits,
                                           .members_max = task_group_max(t, evaluate),
                                           .task_seed = t->seed};
        const enum sotto_status status = masked_plan_new(&spec, &terms, &plan, err);
        if (status != SOTTO_OK) {
            sotto_error_prefix(err, "uplink");
            return status == SOTTO_LIMIT ? SOTTO_INVALID : status;
        }
        const uint64_t bytes = masked_bytes(plan);
        masked_plan_free(plan);
        if (bytes > WIRE_BLOB_MAX / 2)
            return SOTTO_FAIL(err, SOTTO_INVALID,
                              "the model: a masked update has %llu bytes, a message at most %llu; "
                              "use a smaller model, or lower uplink.keep",
                              (unsigned long long)bytes, (unsigned long long)(WIRE_BLOB_MAX / 2));
    }
    return SOTTO_OK;
}

static enum sotto_status check_secure(const struct task_config *t, const struct layout *layout,
                                      struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    TRY(check_secure_groups(t, err));
    TRY(check_secure_pipeline(t, err));
    TRY(check_secure_plan(t, layout, err));
out:
    return status;
}

enum sotto_status task_check(const struct task_config *t, const struct layout *layout,
                             struct sotto_error *err) {
    enum sotto_status status;
    TRY(check_identity(t, err));
    TRY(check_cohort(t, err));
    TRY(check_times(t, err));
    TRY(check_rule(t, err));
    TRY(check_server(t, err));
    TRY(task_secure(t) ? check_secure(t, layout, err) : check_plain(t, err));
    TRY(check_pipeline(t, layout, err));
    if (t->distill && t->groups < 2)
        TRY_FAIL(err, SOTTO_INVALID,
                 "distill.enabled: needs groups of 2 or more, each of them is a teacher");
out:
    return status;
}
