/* The option table of an experiment: the production task's rows, then the simulator's. */
#include "experiment.h"

#include "sotto/coordinator/task_options.h"

#define AT(field)   offsetof(struct sim_settings, task.field)
#define HERE(field) offsetof(struct sim_settings, field)

static const char *const delta_names[] = {
    [SIM_DELTAS_AUTO] = "auto", [SIM_DELTAS_ON] = "on", [SIM_DELTAS_OFF] = "off", NULL};

static const char *const crypto_names[] = {
    [SIM_CRYPTO_EXACT] = "exact", [SIM_CRYPTO_REAL] = "real", NULL};

/* clang-format off */
#define SIM_DATA_ROWS \
    {"data.name", CONFIG_STR, HERE(data), "generator", 0, 0, NULL, 0, "", \
     "Training examples: generator (drawn digits), drawn (patterns under noise in the model's shape), mnist, fashion-mnist, cifar10, fsdd, shakespeare, IMAGES,LABELS (IDX) or a .csv file."}, \
    {"data.dir", CONFIG_STR, HERE(data_dir), "", 0, 0, NULL, CONFIG_PATH, "", \
     "Folder of a named data set, also of its test part; --data is the same."}, \
    {"data.seed", CONFIG_U64, HERE(data_seed), "1", 0, 9007199254740992.0, NULL, 0, "", \
     "Seed of drawn examples."}, \
    {"data.per_writer", CONFIG_U64, HERE(data_per_writer), "100", 1, 1000000, NULL, 0, "examples", \
     "Examples drawn for each writer; there are as many writers as clients."}, \
    {"data.limit", CONFIG_U64, HERE(data_limit), "0", 0, 4294967295.0, NULL, 0, "examples", \
     "Use only the first so many; 0: all."}

#define SIM_PARTITION_ROWS \
    {"clients", CONFIG_U64, HERE(clients), "100", 0, PARTITION_CLIENTS_MAX, NULL, 0, "clients", \
     "Virtual clients; their serials are 1, 2, ...; 0: as many as natural keys give."}, \
    {"partition.scheme", CONFIG_STR, HERE(scheme), "iid", 0, 0, NULL, 0, "", \
     "How the examples are dealt out: iid, shards, classes, dirichlet, quantity or natural."}, \
    {"partition.shards", CONFIG_STR, HERE(shards), "", 0, 0, NULL, 0, "shards", \
     "Of scheme shards: for each client."}, \
    {"partition.classes", CONFIG_STR, HERE(classes), "", 0, 0, NULL, 0, "classes", \
     "Of scheme classes: that each client has examples of."}, \
    {"partition.keys", CONFIG_STR, HERE(keys), "", 0, 0, NULL, 0, "keys", \
     "Of scheme natural: keys of each client where clients is 0."}, \
    {"partition.alpha", CONFIG_STR, HERE(alpha), "", 0, 0, NULL, 0, "", \
     "Of schemes dirichlet and quantity: concentration, near 0 very uneven."}, \
    {"partition.size_min", CONFIG_STR, HERE(size_min), "", 0, 0, NULL, 0, "examples", \
     "Of schemes dirichlet and quantity: draw again while a client has fewer."}, \
    {"partition.noise", CONFIG_F64, HERE(noise), "0", 0, 1000, NULL, 0, "", \
     "Any scheme: Gaussian noise on the clients' examples, with a standard deviation from 0 of the first to this of the last."}, \
    {"partition.seed", CONFIG_U64, HERE(partition_seed), "0", 0, 9007199254740992.0, NULL, 0, "", \
     "Seed of the partition; 0: task.seed."}

#define SIM_TEST_ROWS \
    {"evaluation.every", CONFIG_U64, HERE(test_every), "1", 0, 1e9, NULL, 0, "rounds", \
     "Test the model after every so many rounds, and after the last; 0: never."}, \
    {"evaluation.limit", CONFIG_U64, HERE(test_limit), "0", 0, 4294967295.0, NULL, 0, "examples", \
     "Test examples used in all but the last round, the first ones; 0: all."}, \
    {"stop.accuracy", CONFIG_F64, HERE(stop_accuracy), "0", 0, 1, NULL, 0, "", \
     "Stop once the test accuracy is at least this; 0: make all rounds."}, \
    {"stop.bytes_up", CONFIG_SIZE, HERE(stop_bytes), "0", 0, 1e18, NULL, 0, "", \
     "Stop once all clients have sent so much; 0: make all rounds."}

#define SIM_FLEET_ROWS \
    {"seal", CONFIG_BOOL, HERE(seal), "false", 0, 0, NULL, 0, "", \
     "Seal every report to the round's key and open it, as in production; the result is the same."}, \
    {"deltas", CONFIG_ENUM, HERE(deltas), "auto", 0, 0, delta_names, 0, "", \
     "Whether a client that holds an older version gets the difference; auto: unless the downlink is f32, where it hardly pays."}, \
    {"secure.crypto", CONFIG_ENUM, HERE(crypto), "exact", 0, 0, crypto_names, 0, "", \
     "Under masks: exact makes the sums without keys and masks, real with all of them; the model is the same."}, \
    {"fleet.speed", CONFIG_F64, HERE(fleet_speed), "0", 0, 1e12, NULL, 0, "examples/s", \
     "Examples that a client trains on in a virtual second; 0: training takes no virtual time."}, \
    {"fleet.spread", CONFIG_F64, HERE(fleet_spread), "0", 0, 5, NULL, 0, "", \
     "Clients differ in speed: standard deviation of its natural logarithm."}, \
    {"fleet.uplink", CONFIG_SIZE, HERE(fleet_uplink), "0", 0, 1e15, NULL, 0, "/s", \
     "Uplink of a client in bytes a virtual second; 0: sending takes no virtual time."}, \
    {"fleet.downlink", CONFIG_SIZE, HERE(fleet_downlink), "0", 0, 1e15, NULL, 0, "/s", \
     "Downlink of a client in bytes a virtual second; 0: receiving takes no virtual time."}, \
    {"fleet.drop", CONFIG_F64, HERE(fleet_drop), "0", 0, 1, NULL, 0, "", \
     "Probability that an invited client vanishes for the round."}, \
    {"fleet.leave", CONFIG_F64, HERE(fleet_leave), "0", 0, 1, NULL, 0, "", \
     "Under masks: probability that a client that has trained leaves before one of the five messages of its session, each as likely."}, \
    {"fleet.straggle", CONFIG_F64, HERE(fleet_straggle), "0", 0, 1, NULL, 0, "", \
     "Probability that a client takes fleet.straggle_by times as long in a round."}, \
    {"fleet.straggle_by", CONFIG_F64, HERE(fleet_straggle_by), "5", 1, 1000, NULL, 0, "", \
     "How much longer a straggler trains."}, \
    {"fleet.devices", CONFIG_STR, HERE(fleet_devices), "", 0, 0, NULL, CONFIG_PATH, "", \
     "A CSV file of classes of devices in place of speed, links, memory and joules: share,speed,uplink,downlink,memory,joules_sample,joules_byte."}, \
    {"fleet.copies", CONFIG_U64, HERE(fleet_copies), "1", 1, PARTITION_CLIENTS_MAX, NULL, 0, "", \
     "Devices with the examples of each client: a fleet larger than its data."}, \
    {"fleet.link_spread", CONFIG_F64, HERE(fleet_link_spread), "0", 0, 5, NULL, 0, "", \
     "Clients differ in links: standard deviation of their natural logarithm."}, \
    {"fleet.memory", CONFIG_SIZE, HERE(fleet_memory), "0", 0, 1e15, NULL, 0, "", \
     "Memory of a client for a training step; a plan that needs more is declined; 0: no limit."}, \
    {"fleet.online", CONFIG_F64, HERE(fleet_online), "0", 0, 1, NULL, 0, "", \
     "Part of a day that a client is there (charging, idle, on an unmetered network), in one stay a day; 0: always."}, \
    {"fleet.night", CONFIG_F64, HERE(fleet_night), "2", 0, 24, NULL, 0, "h", \
     "Hour of the clients' own day around which their stays lie; 0 is when the run starts, for a client of the first zone."}, \
    {"fleet.zones", CONFIG_F64, HERE(fleet_zones), "0", 0, 24, NULL, 0, "h", \
     "Hours over which the clients' clocks are spread."}, \
    {"fleet.trace", CONFIG_STR, HERE(fleet_trace), "", 0, 0, NULL, CONFIG_PATH, "", \
     "A CSV file of stays in place of fleet.online: device,begin_seconds,end_seconds."}, \
    {"fleet.trace_period", CONFIG_DURATION, HERE(fleet_trace_period_ms), "1d", 1000, 3e9, NULL, 0, "", \
     "After this long the trace repeats."}, \
    {"fleet.joules_per_sample", CONFIG_F64, HERE(fleet_joules_sample), "0", 0, 1e9, NULL, 0, "J", \
     "Energy that training on one example takes."}, \
    {"fleet.joules_per_byte", CONFIG_F64, HERE(fleet_joules_byte), "0", 0, 1e9, NULL, 0, "J", \
     "Energy that sending or receiving one byte takes."}

const struct config_option sim_options[] = {
    TASK_OPTION_ROWS(AT)
    SIM_DATA_ROWS,
    SIM_PARTITION_ROWS,
    SIM_TEST_ROWS,
    SIM_FLEET_ROWS,
    CONFIG_END,
};
/* clang-format on */
