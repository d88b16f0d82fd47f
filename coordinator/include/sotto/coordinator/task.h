/* A task: what is trained, how, with whom, until when. One YAML file; the simulator's experiments
 * use the same keys. */
#ifndef SOTTO_COORDINATOR_TASK_H
#define SOTTO_COORDINATOR_TASK_H

#include "sotto/config.h"
#include "sotto/model.h"
#include "sotto/protocol.h"

/* Flat settings, filled by the option table task_options (keys in the comments). Strings belong to
 * the struct config. */
struct task_config {
    char *name;       /* task.name */
    uint64_t seed;    /* task.seed */
    char *collection; /* task.collection: of the devices' example stores */
    char *model;      /* model.zoo: a zoo name */
    struct config_node
        *model_yaml;     /* model.layers etc. below `model.graph`: instead of a zoo name */
    int init_law;        /* model.init: enum graph_init_law */
    double init_gain;    /* model.init_gain */
    char *model_package; /* model.package: initial weights (and graph) from a package file */
    uint64_t rounds;     /* rounds: stop after so many committed or failed train rounds; 0: none */
    uint64_t cohort;     /* cohort: reports wanted a round (goal count) */
    double over_selection; /* cohort_over_selection: invited = ceil(cohort * this), >= 1 */
    uint64_t cohort_min;  /* cohort_min: fewer checked reports fail a group's share of the round; 0:
                             = cohort */
    uint64_t groups;      /* groups: of the cohort, by serial; each becomes a teacher */
    uint64_t devices_min; /* devices_min: enrolled (available) devices before a round opens; 0: =
                             cohort */
    uint64_t availability_ms;    /* availability: seen within; 0: every enrolled device */
    uint64_t deadline_ms;        /* deadline: of a round; 0: none */
    uint64_t lease_ms;           /* lease: a device silent for so long is dropped; 0: none */
    uint64_t heartbeat_ms;       /* heartbeat */
    uint64_t pace_ms;            /* pace: come-back time of devices that are not needed now */
    uint64_t checkins_per_s_max; /* checkins_per_second_max: pace grows with the fleet so that idle
                                    devices make no more; 0: no limit */
    uint64_t weight_max, examples_min;
    uint64_t evaluate_every;  /* evaluate.every: a device evaluation round after so many train
                                 rounds; 0: never */
    uint64_t evaluate_cohort; /* evaluate.cohort */
    uint64_t local_epochs, local_batch, local_steps_max, local_examples_max; /* local.* */
    double local_lr, local_momentum, local_weight_decay, local_prox_mu, local_clip_norm;
    bool local_nesterov;
    int strategy;                      /* server.strategy: index into strategy_names */
    double server_lr, server_momentum; /* server.lr, server.momentum */
    double server_beta1, server_beta2, server_adaptivity; /* server.*, of the adaptive strategies */
    int downlink;                     /* downlink: f32 | int8 | int4 = enum package_precision */
    double clip_norm, clip_inf, keep; /* uplink.* */
    uint64_t bits;
    bool stochastic, error_feedback;
    uint64_t residual_rounds_max, fraction_bits;
    int support;  /* uplink.support: enum codec_support; other than own under masks only */
    bool rotate;  /* uplink.rotate: under masks, rotation in blocks of at most 2^15 */
    double range; /* uplink.range: under masks, bound of a rotated coordinate; 0: by clip_norm */
    bool distill; /* distill.enabled */
    uint64_t distill_from_round, distill_steps, distill_batch, distill_pool;
    double distill_lr, distill_momentum, distill_temperature;
    char *distill_pool_file;     /* distill.pool_file: an IDX image file; empty: generated images */
    double gate_loss_factor;     /* gate.loss_factor: a version whose loss passes best * this is not
                                    published; 0: off */
    double gate_accuracy_drop;   /* gate.accuracy_drop: below best - this; 0: off */
    int secure_aggregation;      /* privacy.secure_aggregation: off | required */
    uint64_t minimum_group;      /* privacy.minimum_group: members that a sum holds at the least */
    uint64_t group_max;          /* privacy.group_max: members of a group at the most */
    uint64_t ring_bits;          /* privacy.ring_bits: 16, 20, 24 or 32 */
    uint64_t exchange_ms;        /* privacy.exchange_timeout */
    int adversary;               /* privacy.adversary: enum secagg_adversary - 1 */
    double adversarial, dropout; /* privacy.*: shares that groups above 200 are sized for */
    char *data;     /* evaluation.data: generator | a data set's name | IDX pair | CSV */
    char *data_dir; /* evaluation.dir */
    uint64_t data_seed, data_count,
        data_validation; /* examples held out for test / validation (teachers' choice, gate) */
};
extern const struct config_option task_options[]; /* offsets into struct task_config */
/* Cross-field checks: goal <= n_max, groups <= cohort, the pipeline composes with the model's
 * layout, accumulators cannot overflow. The message names the key and what to use instead. */
enum sotto_status task_check(const struct task_config *t, const struct layout *layout,
                             struct sotto_error *err);
/* The model that model.zoo, model.graph or model.package names, and its first weights
 * (layout.total, the caller's; by task.seed, or a package's). origin: the settings' file, for
 * messages. CONFIG names the key. After an error graph is empty. */
enum sotto_status task_graph(const struct task_config *t, const char *origin, struct graph *graph,
                             struct data_schema *schema, float **params, struct sotto_error *err);
void task_rule(const struct task_config *t, struct train_rule *out);
void task_spec(const struct task_config *t, const struct layout *layout, bool evaluate,
               struct codec_spec *out);
/* Whether the task's updates are summed under masks. */
bool task_secure(const struct task_config *t);
/* Members of a secure group at the most: group_max, or the whole cohort where that is smaller. */
uint32_t task_group_max(const struct task_config *t, bool evaluate);
/* Everything in the terms but package hash, round key and sizes' owners' fields, which the host
 * fills. Under masks n_max is task_group_max, else the reports accepted. */
void task_terms(const struct task_config *t, const struct layout *layout, const uint8_t task_id[16],
                uint32_t round, bool evaluate, sotto_Terms *out);

#endif
