/* The rows of a task's settings, for every table that holds a struct task_config: the task file's,
 * the simulator's.
 *
 * AT(field) is the table's own offset of a task_config field:
 *     #define AT(field) offsetof(struct sim_config, task.field)
 *     static const struct config_option table[] = {TASK_OPTION_ROWS(AT) ..., CONFIG_END};
 * A table that leaves a part out uses the parts. */
#ifndef SOTTO_COORDINATOR_TASK_OPTIONS_H
#define SOTTO_COORDINATOR_TASK_OPTIONS_H

#include "sotto/coordinator/advance.h"
#include "sotto/coordinator/engine.h"

extern const char *const task_downlink_names[];  /* enum package_precision */
extern const char *const task_init_names[];      /* enum graph_init_law */
extern const char *const task_secure_names[];    /* off, required */
extern const char *const task_support_names[];   /* enum codec_support */
extern const char *const task_adversary_names[]; /* enum secagg_adversary - 1 */

#define TASK_ROW_(path, type, at, fallback, min, max, names, unit, help)                           \
    {path, CONFIG_##type, at, fallback, min, max, names, 0, unit, help},
#define TASK_PATH_(path, at, help) {path, CONFIG_STR, at, "", 0, 0, NULL, CONFIG_PATH, "", help},
/* Rounds and durations are bounded by what travels on the wire. */
#define TASK_MS_MAX_ ((double)WIRE_DURATION_MAX_MS)

#define TASK_IDENTITY_ROWS(AT)                                                                     \
    TASK_ROW_("task.name", STR, AT(name), "task", 0, 0, NULL, "",                                  \
              "Name of the task, unique at the coordinator.")                                      \
    TASK_ROW_("task.seed", U64, AT(seed), "1", 0, 9007199254740992.0, NULL, "",                    \
              "Seed of every random stream: selection, shuffling, dropout, rounding.")             \
    TASK_ROW_("task.collection", STR, AT(collection), "examples", 0, 0, NULL, "",                  \
              "Collection of the devices' example stores to train on.")

#define TASK_MODEL_ROWS(AT)                                                                        \
    TASK_ROW_("model.zoo", STR, AT(model), "", 0, 0, NULL, "",                                     \
              "A built-in architecture: logreg, mnist-2nn, mnist-cnn, cifar-cnn or lenet5.")       \
    TASK_ROW_("model.graph", NODE, AT(model_yaml), NULL, 0, 0, NULL, "",                           \
              "An architecture of one's own as input, classes and layers, instead of model.zoo.")  \
    TASK_PATH_("model.package", AT(model_package),                                                 \
               "A package file with architecture and first weights, instead of model.zoo.")        \
    TASK_ROW_(                                                                                     \
        "model.init", ENUM, AT(init_law), "he", 0, 0, task_init_names, "",                         \
        "First weights: he (He's law before a ReLU, Glorot's elsewhere) or glorot (Glorot's "      \
        "everywhere); without model.package.")                                                     \
    TASK_ROW_("model.init_gain", F64, AT(init_gain), "1", 0.001, 1000, NULL, "",                   \
              "The first weights are multiplied by it: less bears a higher learning rate.")

#define TASK_ROUND_ROWS(AT)                                                                        \
    TASK_ROW_("rounds", U64, AT(rounds), "0", 0, 1e9, NULL, "rounds",                              \
              "Training rounds to make, failed ones included; 0: go on until stopped.")            \
    TASK_ROW_("cohort", U64, AT(cohort), "10", 1, CODEC_ACCEPT_MAX_LIMIT, NULL, "devices",         \
              "Reports wanted in a round.")                                                        \
    TASK_ROW_("cohort_over_selection", F64, AT(over_selection), "1", 1, 10, NULL, "",              \
              "Devices invited for each report wanted; the slowest surplus is returned unused.")   \
    TASK_ROW_(                                                                                     \
        "cohort_min", U64, AT(cohort_min), "0", 0, CODEC_ACCEPT_MAX_LIMIT, NULL, "devices",        \
        "Fewer checked reports than this fail; each group has its share of it; 0: all of cohort.") \
    TASK_ROW_("groups", U64, AT(groups), "1", 1, ROUND_GROUPS_MAX, NULL, "groups",                 \
              "Groups of a cohort, by serial; each is summed alone and becomes a teacher.")        \
    TASK_ROW_("devices_min", U64, AT(devices_min), "0", 0, 67108864, NULL, "devices",              \
              "Devices that must be enrolled and available before a round opens; 0: cohort.")      \
    TASK_ROW_("availability", DURATION, AT(availability_ms), "0s", 0, TASK_MS_MAX_, NULL, "",      \
              "Only devices seen within this time are invited; 0s: every enrolled device.")        \
    TASK_ROW_("deadline", DURATION, AT(deadline_ms), "0s", 0, TASK_MS_MAX_, NULL, "",              \
              "A device without a report this long after the round opened is dropped; 0s: never.") \
    TASK_ROW_("lease", DURATION, AT(lease_ms), "10m", 0, TASK_MS_MAX_, NULL, "",                   \
              "A device silent for this long is dropped from its round; 0s: never.")               \
    TASK_ROW_("heartbeat", DURATION, AT(heartbeat_ms), "30s", 100, TASK_MS_MAX_, NULL, "",         \
              "How often a device says that it is still training.")                                \
    TASK_ROW_("pace", DURATION, AT(pace_ms), "2s", 10, 86400000, NULL, "",                         \
              "When a device that is not needed now comes back, plus or minus a quarter.")         \
    TASK_ROW_("checkins_per_second_max", U64, AT(checkins_per_s_max), "500", 0, 1e6, NULL, "",     \
              "The pace of a large fleet slows down to this many check-ins a second; 0: never.")   \
    TASK_ROW_("weight_max", U64, AT(weight_max), "10000", 1, CODEC_WEIGHT_MAX_LIMIT, NULL,         \
              "examples",                                                                          \
              "An update counts for at most this many examples. Under masks values are scaled by " \
              "its weight over this: much more than devices have costs precision.")                \
    TASK_ROW_("examples_min", U64, AT(examples_min), "1", 0, 2147483647, NULL, "examples",         \
              "A device with fewer declines.")                                                     \
    TASK_ROW_("evaluate.every", U64, AT(evaluate_every), "0", 0, 1e9, NULL, "rounds",              \
              "An evaluation round on devices after so many training rounds; 0: none.")            \
    TASK_ROW_("evaluate.cohort", U64, AT(evaluate_cohort), "0", 0, CODEC_ACCEPT_MAX_LIMIT, NULL,   \
              "devices", "Devices of an evaluation round; 0: as many as cohort.")

#define TASK_LOCAL_ROWS(AT)                                                                        \
    TASK_ROW_("local.epochs", U64, AT(local_epochs), "1", 1, 10000, NULL, "epochs",                \
              "Passes over a device's examples.")                                                  \
    TASK_ROW_("local.batch", U64, AT(local_batch), "10", 0, 65536, NULL, "examples",               \
              "Examples of a step; 0: all of them.")                                               \
    TASK_ROW_("local.steps_max", U64, AT(local_steps_max), "0", 0, 1e9, NULL, "steps",             \
              "Steps at most; 0: no limit.")                                                       \
    TASK_ROW_("local.examples_max", U64, AT(local_examples_max), "0", 0, 2147483647, NULL,         \
              "examples", "Examples used at most, drawn anew each round; 0: all.")                 \
    TASK_ROW_("local.lr", F64, AT(local_lr), "0.1", 1e-12, 1000, NULL, "", "Learning rate.")       \
    TASK_ROW_("local.momentum", F64, AT(local_momentum), "0", 0, 0.9999, NULL, "",                 \
              "Momentum of local SGD.")                                                            \
    TASK_ROW_("local.nesterov", BOOL, AT(local_nesterov), "false", 0, 0, NULL, "",                 \
              "Nesterov's form of momentum.")                                                      \
    TASK_ROW_("local.weight_decay", F64, AT(local_weight_decay), "0", 0, 1000, NULL, "",           \
              "L2 penalty of the weights.")                                                        \
    TASK_ROW_("local.prox_mu", F64, AT(local_prox_mu), "0", 0, 1e6, NULL, "",                      \
              "Strength of the pull towards the global model; fedprox needs it.")                  \
    TASK_ROW_("local.clip_norm", F64, AT(local_clip_norm), "0", 0, 1e9, NULL, "",                  \
              "L2 bound of each step's gradient; 0: none.")

#define TASK_SERVER_ROWS(AT)                                                                       \
    TASK_ROW_("server.strategy", ENUM, AT(strategy), "fedavg", 0, 0, strategy_names, "",           \
              "The server step, and with fednova and scaffold what devices do with it.")           \
    TASK_ROW_("server.lr", F64, AT(server_lr), "1", 1e-12, 1000, NULL, "",                         \
              "Learning rate of the server step; 1: the plain average.")                           \
    TASK_ROW_("server.momentum", F64, AT(server_momentum), "0", 0, 0.9999, NULL, "",               \
              "Momentum of the server step of fedavg, fedprox and fednova.")                       \
    TASK_ROW_("server.beta1", F64, AT(server_beta1), "0.9", 0, 0.9999, NULL, "",                   \
              "fedadagrad, fedadam, fedyogi: decay of the mean of updates.")                       \
    TASK_ROW_("server.beta2", F64, AT(server_beta2), "0.99", 0, 0.99999, NULL, "",                 \
              "fedadam, fedyogi: decay of the mean of squared updates.")                           \
    TASK_ROW_("server.adaptivity", F64, AT(server_adaptivity), "0.001", 1e-9, 1000, NULL, "",      \
              "fedadagrad, fedadam, fedyogi: added to the root that steps are divided by.")

#define TASK_CODEC_ROWS(AT)                                                                        \
    TASK_ROW_("downlink", ENUM, AT(downlink), "int8", 0, 0, task_downlink_names, "",               \
              "How the model travels to devices.")                                                 \
    TASK_ROW_("uplink.clip_norm", F64, AT(clip_norm), "0", 0, 1e9, NULL, "",                       \
              "L2 bound of an update: devices clip to it, the coordinator refuses more; 0: none.") \
    TASK_ROW_("uplink.clip_inf", F64, AT(clip_inf), "16", 1e-6, 1e6, NULL, "",                     \
              "Bound of each coordinate of an update.")                                            \
    TASK_ROW_("uplink.keep", F64, AT(keep), "1", 1e-6, 1, NULL, "",                                \
              "Part of each weight tensor that is sent, the largest changes; 1: all.")             \
    TASK_ROW_("uplink.bits", U64, AT(bits), "32", 2, 32, NULL, "bits",                             \
              "Bits of a value sent: 2 to 16, or 32 for fp32.")                                    \
    TASK_ROW_("uplink.stochastic", BOOL, AT(stochastic), "false", 0, 0, NULL, "",                  \
              "Stochastic rounding instead of nearest.")                                           \
    TASK_ROW_("uplink.error_feedback", BOOL, AT(error_feedback), "false", 0, 0, NULL, "",          \
              "Devices keep what was not sent and add it to their next update.")                   \
    TASK_ROW_("uplink.residual_rounds_max", U64, AT(residual_rounds_max), "0", 0, 1000000, NULL,   \
              "rounds", "What was kept is dropped when it is older; 0: never.")                    \
    TASK_ROW_("uplink.fraction_bits", U64, AT(fraction_bits), "30", 8, 40, NULL, "bits",           \
              "Fraction bits of the exact sums.")                                                  \
    TASK_ROW_("uplink.support", ENUM, AT(support), "own", 0, 0, task_support_names, "",            \
              "What keep selects: each device's own largest, or, under masks, the same for all: "  \
              "drawn for the round, or half of it published from the last aggregate.")             \
    TASK_ROW_("uplink.rotate", BOOL, AT(rotate), "true", 0, 0, NULL, "",                           \
              "Under masks: rotate before rounding, so that one scale suits all coordinates.")     \
    TASK_ROW_(                                                                                     \
        "uplink.range", F64, AT(range), "0", 0, 1e9, NULL, "",                                     \
        "Under masks: the common scale, the bound of a rotated coordinate; 0: by clip_norm.")

#define TASK_DISTILL_ROWS(AT)                                                                      \
    TASK_ROW_(                                                                                     \
        "distill.enabled", BOOL, AT(distill), "false", 0, 0, NULL, "",                             \
        "Train the average on the groups' averaged predictions; the better of both is kept.")      \
    TASK_ROW_("distill.from_round", U64, AT(distill_from_round), "1", 1, 4294967295.0, NULL, "",   \
              "Number of the first round that distills.")                                          \
    TASK_ROW_("distill.steps", U64, AT(distill_steps), "200", 1, 1000000, NULL, "steps",           \
              "Steps on the pool.")                                                                \
    TASK_ROW_("distill.batch", U64, AT(distill_batch), "32", 1, 65536, NULL, "examples",           \
              "Pool examples of a step.")                                                          \
    TASK_ROW_("distill.pool", U64, AT(distill_pool), "2000", 1, 10000000, NULL, "examples",        \
              "Unlabelled examples drawn, or taken from the pool file at most.")                   \
    TASK_PATH_("distill.pool_file", AT(distill_pool_file),                                         \
               "An IDX image file as the pool; empty: drawn digits.")                              \
    TASK_ROW_("distill.lr", F64, AT(distill_lr), "0.05", 1e-12, 1000, NULL, "",                    \
              "Learning rate of distillation.")                                                    \
    TASK_ROW_("distill.momentum", F64, AT(distill_momentum), "0.9", 0, 0.9999, NULL, "",           \
              "Momentum of distillation.")                                                         \
    TASK_ROW_("distill.temperature", F64, AT(distill_temperature), "1", 0.01, 1000, NULL, "",      \
              "Temperature of the teachers' predictions.")

#define TASK_GATE_ROWS(AT)                                                                         \
    TASK_ROW_("gate.loss_factor", F64, AT(gate_loss_factor), "0", 0, 1e9, NULL, "",                \
              "A version whose validation loss passes the best one's times this is not "           \
              "published; 0: off.")                                                                \
    TASK_ROW_("gate.accuracy_drop", F64, AT(gate_accuracy_drop), "0", 0, 1, NULL, "",              \
              "A version whose validation accuracy falls below the best one's less this is not "   \
              "published; 0: off.")

#define TASK_PRIVACY_ROWS(AT)                                                                      \
    TASK_ROW_("privacy.secure_aggregation", ENUM, AT(secure_aggregation), "off", 0, 0,             \
              task_secure_names, "", "Whether the coordinator sees only a group's sum.")           \
    TASK_ROW_("privacy.minimum_group", U64, AT(minimum_group), "10", 10, 16384, NULL, "devices",   \
              "Devices that a sum holds at the least; devices may insist on more.")                \
    TASK_ROW_("privacy.group_max", U64, AT(group_max), "100", 10, 16384, NULL, "devices",          \
              "Devices of a group at the most, larger cohorts split; above 200 nothing is "        \
              "claimed against a coordinator that cheats.")                                        \
    TASK_ROW_("privacy.ring_bits", U64, AT(ring_bits), "16", 16, 32, NULL, "bits",                 \
              "Bits of a masked value: 16, 20, 24 or 32; more let groups or values be larger.")    \
    TASK_ROW_("privacy.exchange_timeout", DURATION, AT(exchange_ms), "30s", 100, TASK_MS_MAX_,     \
              NULL, "", "A device silent in an exchange for this long drops out of its group.")    \
    TASK_ROW_("privacy.adversary", ENUM, AT(adversary), "semi-malicious", 0, 0,                    \
              task_adversary_names, "",                                                            \
              "What groups above 200 are sized against: a coordinator that only looks, or one "    \
              "that is honest only while keys are handed out.")                                    \
    TASK_ROW_("privacy.adversarial", F64, AT(adversarial), "0.05", 0, 0.5, NULL, "",               \
              "Share of devices in league with it that groups above 200 are sized for.")           \
    TASK_ROW_("privacy.dropout", F64, AT(dropout), "0.3", 0, 0.9, NULL, "",                        \
              "Share of devices lost on the way that groups above 200 are sized for.")

#define TASK_EVALUATION_ROWS(AT)                                                                   \
    TASK_ROW_("evaluation.data", STR, AT(data), "generator", 0, 0, NULL, "",                       \
              "Held-out examples: generator, mnist, fashion-mnist, cifar10, IMAGES,LABELS (IDX) "  \
              "or a .csv file.")                                                                   \
    TASK_PATH_("evaluation.dir", AT(data_dir), "Folder of a named data set.")                      \
    TASK_ROW_("evaluation.seed", U64, AT(data_seed), "1", 0, 9007199254740992.0, NULL, "",         \
              "Seed of drawn examples; their writers are none that devices can be given.")         \
    TASK_ROW_("evaluation.count", U64, AT(data_count), "0", 0, 10000000, NULL, "examples",         \
              "Test examples; 0: all of a data set, 2000 drawn ones.")                             \
    TASK_ROW_("evaluation.validation", U64, AT(data_validation), "1000", 1, 10000000, NULL,        \
              "examples",                                                                          \
              "Validation examples, taken only where distillation or the gate needs them.")

#define TASK_OPTION_ROWS(AT)                                                                       \
    TASK_IDENTITY_ROWS(AT)                                                                         \
    TASK_MODEL_ROWS(AT)                                                                            \
    TASK_ROUND_ROWS(AT)                                                                            \
    TASK_LOCAL_ROWS(AT)                                                                            \
    TASK_SERVER_ROWS(AT)                                                                           \
    TASK_CODEC_ROWS(AT)                                                                            \
    TASK_DISTILL_ROWS(AT)                                                                          \
    TASK_GATE_ROWS(AT)                                                                             \
    TASK_PRIVACY_ROWS(AT)                                                                          \
    TASK_EVALUATION_ROWS(AT)

#endif
