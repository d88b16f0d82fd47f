/* Private to sim/: an experiment's settings, and what is made of them: model, examples, partition.
 */
#ifndef SOTTO_SIM_EXPERIMENT_H
#define SOTTO_SIM_EXPERIMENT_H

#include "fleet.h"
#include "partition.h"
#include "sotto/coordinator.h"
#include "sotto/model.h"

/* The production task's keys (struct task_config) and the simulator's own. */
struct sim_settings {
    struct task_config task;
    char *data; /* data.name: mnist, fashion-mnist, cifar10, generator, IMAGES,LABELS, FILE.csv */
    char *data_dir; /* data.dir */
    uint64_t data_seed, data_per_writer, data_limit;
    uint64_t clients;
    char *scheme; /* partition.scheme */
    /* partition.*: as text; empty: the scheme's default */
    char *shards, *classes, *keys, *alpha, *size_min;
    uint64_t partition_seed;         /* 0: task.seed */
    double noise;                    /* partition.noise */
    uint64_t test_every, test_limit; /* evaluation.every, evaluation.limit */
    double stop_accuracy;
    uint64_t stop_bytes;
    bool seal;
    int deltas; /* enum sim_deltas */
    int crypto; /* enum sim_crypto, under masks */
    double fleet_speed,
        fleet_spread; /* examples a virtual second, 0: no time; sigma of its logarithm */
    uint64_t fleet_uplink, fleet_downlink; /* bytes a virtual second, 0: no time */
    double fleet_drop, fleet_leave;
    char *fleet_devices, *fleet_trace; /* files */
    uint64_t fleet_copies;
    double fleet_link_spread;
    uint64_t fleet_memory, fleet_trace_period_ms;
    double fleet_online, fleet_night, fleet_zones;
    double fleet_straggle, fleet_straggle_by;
    double fleet_joules_sample, fleet_joules_byte;
};
enum sim_deltas { SIM_DELTAS_AUTO = 0, SIM_DELTAS_ON, SIM_DELTAS_OFF };
enum sim_crypto { SIM_CRYPTO_EXACT = 0, SIM_CRYPTO_REAL };
extern const struct config_option sim_options[];

/* Settings and everything that follows from them alone; read-only once it is made. */
struct experiment {
    struct sim_settings settings;
    struct config *config;
    char config_hash[2 * WIRE_HASH + 1]; /* of the effective settings, without folders */
    char run_id[40];
    struct graph graph;
    struct data_schema schema;
    float *params; /* initial */
    struct dataset train;
    struct task_data data;
    struct partition partition;
    uint32_t client_count; /* devices: of the partition, times its copies */
    struct fleet fleet;
    uint32_t examples_most; /* of a client */
    bool deltas;
};
/* path: a YAML file, "-" or NULL (then text is read). data_dir overrides data.dir where not NULL.
 * CONFIG, INVALID and NOT_FOUND name the key. The caller deinits, also after an error. */
enum sotto_status experiment_open(struct experiment *x, const char *path, struct view text,
                                  const char *data_dir, const char *const *sets, size_t set_count,
                                  struct sotto_error *err);
/* The same as far as it goes without examples: settings, model and partition scheme. */
enum sotto_status experiment_check(struct experiment *x, const char *path, const char *const *sets,
                                   size_t set_count, struct sotto_error *err);
void experiment_deinit(struct experiment *x);

/* drawn.c: examples first, first + 1, ... of the data set of a seed; u8 of the schema's shape. The
 * caller deinits out, also after an error. */
enum sotto_status drawn_examples(const struct data_schema *s, uint64_t seed, uint32_t first,
                                 uint32_t count, struct dataset *out, struct sotto_error *err);
/* noise.c: partition.noise, NIID-Bench's feature skew (Li et al. 2022, arXiv:2102.02079, section
 * IV-C, as its code has it): client i of N, from 0, sees its examples under Gaussian noise of
 * standard deviation noise * i / (N - 1), drawn once; test examples have none. All examples become
 * f32 as the model takes them, and so does the experiment's schema. */
enum sotto_status noise_apply(struct experiment *x, struct sotto_error *err);
struct examples experiment_client(const struct experiment *x, uint32_t client);

#endif
