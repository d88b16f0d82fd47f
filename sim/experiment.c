/* From settings to what they describe: model, first weights, examples, and who has which. */
#include "experiment.h"

#include <stdio.h>
#include <string.h>

#define HASH_LABEL "sotto experiment v1"
#define TEXT_MAX   (1u << 20)
#define DRAWN      "drawn" /* data.name of examples of the model's own shape */
#define DRAWN_MAX  (1u << 30)

/* ---- Settings */

static enum sotto_status check_settings(const struct sim_settings *s, struct sotto_error *err) {
    if (s->task.rounds == 0 && s->stop_accuracy <= 0 && s->stop_bytes == 0)
        return SOTTO_FAIL(err, SOTTO_CONFIG,
                          "rounds: 0 goes on for ever; give rounds, stop.accuracy or "
                          "stop.bytes_up");
    if (s->stop_accuracy > 0 && s->test_every == 0)
        return SOTTO_FAIL(err, SOTTO_CONFIG,
                          "stop.accuracy: nothing is tested with evaluation.every: 0");
    const bool traced = s->fleet_trace[0] != '\0';
    if (traced && s->fleet_online > 0)
        return SOTTO_FAIL(
            err, SOTTO_CONFIG,
            "fleet.online: a trace says when devices are there; leave one of them out");
    if (s->task.availability_ms && !traced && s->fleet_online <= 0)
        return SOTTO_FAIL(err, SOTTO_CONFIG,
                          "availability: all clients are always there; give fleet.online or "
                          "fleet.trace, or leave it out");
    return SOTTO_OK;
}

static bool given(const struct experiment *x, const char *key) {
    return strcmp(config_origin(x->config, key), "default") != 0;
}

static bool ends_with(const char *s, const char *end) {
    const size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

/* What is tested on follows from what is trained on, unless the file says otherwise. */
static enum sotto_status link_data(struct experiment *x, struct sotto_error *err) {
    struct sim_settings *s = &x->settings;
    if (!given(x, "evaluation.data")) {
        if (strchr(s->data, ',') || ends_with(s->data, ".csv"))
            return SOTTO_FAIL(err, SOTTO_CONFIG,
                              "evaluation.data: '%s' has no test part of its own; name the file "
                              "to test on",
                              s->data);
        s->task.data = s->data;
    }
    if (!given(x, "evaluation.dir"))
        s->task.data_dir = s->data_dir;
    return SOTTO_OK;
}

static enum sotto_status hash_settings(struct experiment *x, struct sotto_error *err) {
    static char none[1] = "";
    struct buf text;
    struct sim_settings s = x->settings;
    s.data_dir = s.task.data_dir = none; /* where files lie changes nothing */
    buf_init(&text, TEXT_MAX);
    config_canonical(sim_options, &s, &text);
    if (text.status != SOTTO_OK) {
        buf_deinit(&text);
        return SOTTO_FAIL(err, text.status, "the settings do not fit %u bytes", TEXT_MAX);
    }
    if (x->fleet.class_count > 0 || x->fleet.users > 0)
        buf_put(&text, x->fleet.hash.b, WIRE_HASH); /* where its files lie changes nothing */
    const struct wire_hash h = wire_hash_of(HASH_LABEL, buf_view(&text));
    num_format_hex(x->config_hash, h.b, WIRE_HASH);
    snprintf(x->run_id, sizeof x->run_id, "%.12s-%llu", x->config_hash,
             (unsigned long long)s.task.seed);
    buf_deinit(&text);
    return SOTTO_OK;
}

static enum sotto_status load_settings(struct experiment *x, const char *path, struct view text,
                                       const char *data_dir, const char *const *sets,
                                       size_t set_count, struct sotto_error *err) {
    enum sotto_status status;
    const char *all[CONFIG_LIST_MAX + 1];
    char dir[IO_PATH_MAX + 16];
    size_t n = 0;
    if (set_count > CONFIG_LIST_MAX)
        return SOTTO_FAIL(err, SOTTO_USAGE, "at most %d settings can be set", CONFIG_LIST_MAX);
    if (data_dir) {
        snprintf(dir, sizeof dir, "data.dir=%s", data_dir);
        all[n++] = dir;
    }
    for (size_t i = 0; i < set_count; i++)
        all[n++] = sets[i];
    status =
        path ? config_load(sim_options, &x->settings, path, all, n, &x->config, err)
             : config_parse(sim_options, &x->settings, "experiment", text, all, n, &x->config, err);
    TRY(status);
    TRY(link_data(x, err));
    TRY(check_settings(&x->settings, err));
    TRY(fleet_load(&x->fleet, x->settings.fleet_devices, x->settings.fleet_trace,
                   x->settings.fleet_trace_period_ms, err));
    TRY(hash_settings(x, err));
out:
    return status;
}

/* ---- Model: as the coordinator makes it for a task */

static enum sotto_status build_model(struct experiment *x, const char *origin,
                                     struct sotto_error *err) {
    const struct task_config *t = &x->settings.task;
    const enum sotto_status status = task_graph(t, origin, &x->graph, &x->schema, &x->params, err);
    return status == SOTTO_OK ? task_check(t, &x->graph.layout, err) : status;
}

/* ---- Examples */

static enum sotto_status read_pair(const char *pair, struct dataset *out, struct sotto_error *err) {
    char images[IO_PATH_MAX];
    const char *comma = strchr(pair, ',');
    const size_t n = (size_t)(comma - pair);
    if (n == 0 || n >= sizeof images || !comma[1])
        return SOTTO_FAIL(err, SOTTO_CONFIG, "data.name: '%s' is not IMAGES,LABELS", pair);
    memcpy(images, pair, n);
    images[n] = '\0';
    return dataset_read_idx(images, comma + 1, out, err);
}

static enum sotto_status draw(const struct sim_settings *s, struct dataset *out,
                              struct sotto_error *err) {
    if (s->clients == 0)
        return SOTTO_FAIL(err, SOTTO_CONFIG,
                          "clients: drawn digits need a number, one writer is drawn for each");
    const struct digits_config c = {.seed = s->data_seed,
                                    .writer_count = (uint32_t)s->clients,
                                    .per_writer = (uint32_t)s->data_per_writer};
    return dataset_draw_digits(&c, out, err);
}

static enum sotto_status draw_any(struct experiment *x, struct sotto_error *err) {
    const struct sim_settings *s = &x->settings;
    if (s->clients * s->data_per_writer > DRAWN_MAX)
        return SOTTO_FAIL(err, SOTTO_CONFIG, "data.per_writer: %llu clients times %llu examples",
                          (unsigned long long)s->clients, (unsigned long long)s->data_per_writer);
    return drawn_examples(&x->schema, s->data_seed, 0, (uint32_t)(s->clients * s->data_per_writer),
                          &x->train, err);
}

/* What is tested on; of drawn examples those behind all that clients can have. */
static enum sotto_status load_test(struct experiment *x, struct sotto_error *err) {
    const struct task_config *t = &x->settings.task;
    if (strcmp(t->data, DRAWN) != 0)
        return task_data_load(t, &x->schema, NULL, &x->data, err);
    if (t->distill || t->gate_loss_factor > 0 || t->gate_accuracy_drop > 0)
        return SOTTO_FAIL(
            err, SOTTO_CONFIG,
            "evaluation.data: drawn examples are for tests, not for distillation or a "
            "gate");
    return drawn_examples(&x->schema, x->settings.data_seed, DRAWN_MAX, (uint32_t)t->data_count,
                          &x->data.test, err);
}

static enum sotto_status load_train(struct experiment *x, struct sotto_error *err) {
    const struct sim_settings *s = &x->settings;
    enum sotto_status status;
    char have[64], want[64];
    if (strcmp(s->data, "generator") == 0)
        TRY(draw(s, &x->train, err));
    else if (strcmp(s->data, DRAWN) == 0)
        TRY(draw_any(x, err));
    else if (strchr(s->data, ','))
        TRY(read_pair(s->data, &x->train, err));
    else if (ends_with(s->data, ".csv"))
        TRY(dataset_read_csv(s->data, &x->train, err));
    else if (!s->data_dir || !s->data_dir[0])
        TRY_FAIL(err, SOTTO_CONFIG,
                 "data.name: '%s' is a data set of files; say where they are with --data DIR or "
                 "data.dir",
                 s->data);
    else
        TRY(dataset_read_named(s->data, s->data_dir, false, &x->train, err));
    if (s->data_limit && s->data_limit < x->train.count)
        x->train.count = (uint32_t)s->data_limit;
    if (!data_schema_equal(&x->train.schema, &x->schema))
        TRY_FAIL(err, SOTTO_INVALID, "data.name: examples are %s, the model takes %s",
                 data_schema_text(&x->train.schema, have, sizeof have),
                 data_schema_text(&x->schema, want, sizeof want));
out:
    return status;
}

static enum sotto_status read_partition(const struct sim_settings *s,
                                        const struct partition_scheme **out,
                                        struct partition_config *config, struct sotto_error *err) {
    const struct partition_scheme *scheme = partition_find(s->scheme);
    const struct {
        const char *name, *value;
    } options[] = {{"shards", s->shards},
                   {"classes", s->classes},
                   {"keys", s->keys},
                   {"alpha", s->alpha},
                   {"size_min", s->size_min}};
    enum sotto_status status = SOTTO_OK;
    size_t count;
    (void)partition_schemes(&count);
    if (!scheme)
        return SOTTO_FAIL(err, SOTTO_CONFIG,
                          "partition.scheme: '%s' is unknown; `sotto-sim list` shows all %zu",
                          s->scheme, count);
    partition_defaults(config, scheme);
    config->clients = (uint32_t)s->clients;
    for (size_t i = 0; i < ARRAY_LEN(options); i++)
        if (options[i].value[0])
            TRY(partition_set(config, scheme, options[i].name, options[i].value, err));
    *out = scheme;
out:
    return status;
}

static enum sotto_status deal_out(struct experiment *x, struct sotto_error *err) {
    const struct sim_settings *s = &x->settings;
    const struct partition_scheme *scheme = NULL;
    struct partition_config config;
    enum sotto_status status;
    TRY(read_partition(s, &scheme, &config, err));
    TRY(partition_build(&x->partition, &x->train, scheme, &config,
                        s->partition_seed ? s->partition_seed : s->task.seed, err));
    for (uint32_t c = 0; c < x->partition.client_count; c++) {
        const uint32_t n = x->partition.start[c + 1] - x->partition.start[c];
        x->examples_most = n > x->examples_most ? n : x->examples_most;
    }
    const uint64_t needed = s->task.devices_min ? s->task.devices_min : s->task.cohort;
    const uint64_t devices = x->partition.client_count * s->fleet_copies;
    if (devices > PARTITION_CLIENTS_MAX)
        TRY_FAIL(err, SOTTO_CONFIG, "fleet.copies: %u clients %llu times are more than %u devices",
                 x->partition.client_count, (unsigned long long)s->fleet_copies,
                 PARTITION_CLIENTS_MAX);
    x->client_count = (uint32_t)devices;
    if (needed > devices)
        TRY_FAIL(err, SOTTO_CONFIG, "%s: %llu of %u clients",
                 s->task.devices_min ? "devices_min" : "cohort", (unsigned long long)needed,
                 x->client_count);
out:
    return status;
}

/* ---- All of it */

static void experiment_init(struct experiment *x) {
    memset(x, 0, sizeof *x);
    graph_init(&x->graph);
    dataset_init(&x->train);
    dataset_init(&x->data.test);
    dataset_init(&x->data.validation);
    dataset_init(&x->data.pool);
}

enum sotto_status experiment_check(struct experiment *x, const char *path, const char *const *sets,
                                   size_t set_count, struct sotto_error *err) {
    const struct partition_scheme *scheme;
    struct partition_config config;
    enum sotto_status status;
    experiment_init(x);
    status = load_settings(x, path, view_of(NULL, 0), NULL, sets, set_count, err);
    if (status != SOTTO_OK)
        return status;
    TRY(build_model(x, path, err));
    TRY(read_partition(&x->settings, &scheme, &config, err));
out:
    if (status != SOTTO_OK)
        (void)sotto_error_prefix(err, "%s", path);
    return status;
}

enum sotto_status experiment_open(struct experiment *x, const char *path, struct view text,
                                  const char *data_dir, const char *const *sets, size_t set_count,
                                  struct sotto_error *err) {
    enum sotto_status status;
    const char *origin = path ? path : "experiment";
    experiment_init(x);
    status = load_settings(x, path, text, data_dir, sets, set_count, err);
    if (status != SOTTO_OK)
        return status; /* the message names the file */
    TRY(build_model(x, origin, err));
    TRY(load_train(x, err));
    TRY(deal_out(x, err));
    TRY(load_test(x, err));
    TRY(noise_apply(x, err));
    x->deltas = x->settings.deltas == SIM_DELTAS_ON ||
                (x->settings.deltas == SIM_DELTAS_AUTO && x->settings.task.downlink != PACKAGE_F32);
out:
    if (status != SOTTO_OK)
        (void)sotto_error_prefix(err, "%s", origin);
    return status;
}

void experiment_deinit(struct experiment *x) {
    partition_deinit(&x->partition);
    fleet_deinit(&x->fleet);
    task_data_deinit(&x->data);
    dataset_deinit(&x->train);
    graph_deinit(&x->graph);
    mem_free(x->params);
    config_free(x->config);
    memset(x, 0, sizeof *x);
}

struct examples experiment_client(const struct experiment *x, uint32_t client) {
    return partition_client(&x->partition, &x->train, client % x->partition.client_count);
}
