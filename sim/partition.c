/* The common part of all partitions: options, the registry, and from an owner of each example to
 * lists. */
#include "partition.h"

#include <stdio.h>
#include <string.h>

#include "partition_int.h"

/* clang-format off */
static const struct partition_option option_clients = {
    "clients", PARTITION_U32, offsetof(struct partition_config, clients), 1, PARTITION_CLIENTS_MAX, 100,
    "number of clients"};
static const struct partition_option option_clients_or_keys = {
    "clients", PARTITION_U32, offsetof(struct partition_config, clients), 0, PARTITION_CLIENTS_MAX, 0,
    "number of clients, each with about as many keys; 0: as many as `keys` gives"};
static const struct partition_option option_shards = {
    "shards", PARTITION_U32, offsetof(struct partition_config, shards), 1, 65536, 2,
    "shards of examples with neighbouring labels that each client gets"};
static const struct partition_option option_classes = {
    "classes", PARTITION_U32, offsetof(struct partition_config, classes), 1, 65536, 2,
    "classes that each client has examples of"};
static const struct partition_option option_keys = {
    "keys", PARTITION_U32, offsetof(struct partition_config, keys), 1, PARTITION_CLIENTS_MAX, 1,
    "natural keys (writers, speakers) of each client, when `clients` is 0"};
static const struct partition_option option_alpha = {
    "alpha", PARTITION_F64, offsetof(struct partition_config, alpha), 1e-3, 1e6, 0.5,
    "concentration: near 0 very uneven, large even"};
static const struct partition_option option_size_min = {
    "size_min", PARTITION_U32, offsetof(struct partition_config, size_min), 0, 1u << 30, 10,
    "draw again while a client has fewer examples"};

static const struct partition_option *const options_iid[] = {&option_clients, NULL};
static const struct partition_option *const options_shards[] = {&option_clients, &option_shards, NULL};
static const struct partition_option *const options_classes[] = {&option_clients, &option_classes, NULL};
static const struct partition_option *const options_dirichlet[] = {
    &option_clients, &option_alpha, &option_size_min, NULL};
static const struct partition_option *const options_natural[] = {
    &option_clients_or_keys, &option_keys, NULL};

/* One row a scheme: see docs/howto/add-a-partition.md. */
static const struct partition_scheme schemes[] = {
    {"iid", "shuffled and dealt out evenly", options_iid, partition_assign_iid},
    {"shards", "sorted by label, cut into shards, some for each client (McMahan 2017)",
     options_shards, partition_assign_shards},
    {"dirichlet", "each class split by a Dirichlet draw (Hsu 2019, as in NIID-Bench)",
     options_dirichlet, partition_assign_dirichlet},
    {"quantity", "alike classes, sizes by a Dirichlet draw (NIID-Bench)",
     options_dirichlet, partition_assign_quantity},
    {"natural", "by natural key: one writer a client, or several", options_natural,
     partition_assign_natural},
    {"classes", "each client has examples of a few classes only (NIID-Bench)", options_classes,
     partition_assign_classes},
};
/* clang-format on */

const struct partition_scheme *partition_schemes(size_t *count) {
    *count = ARRAY_LEN(schemes);
    return schemes;
}

const struct partition_scheme *partition_find(const char *name) {
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++)
        if (strcmp(schemes[i].name, name) == 0)
            return &schemes[i];
    return NULL;
}

static void option_store(struct partition_config *config, const struct partition_option *o,
                         double value) {
    char *at = (char *)config + o->offset;
    uint32_t whole = (uint32_t)value;
    if (o->type == PARTITION_F64)
        memcpy(at, &value, sizeof value);
    else
        memcpy(at, &whole, sizeof whole);
}

static double option_load(const struct partition_config *config, const struct partition_option *o) {
    const char *at = (const char *)config + o->offset;
    double value;
    uint32_t whole;
    if (o->type == PARTITION_F64) {
        memcpy(&value, at, sizeof value);
        return value;
    }
    memcpy(&whole, at, sizeof whole);
    return whole;
}

void partition_defaults(struct partition_config *config, const struct partition_scheme *scheme) {
    memset(config, 0, sizeof *config);
    for (size_t i = 0; scheme->options[i]; i++)
        option_store(config, scheme->options[i], scheme->options[i]->initial);
}

static enum sotto_status unknown_option(const struct partition_scheme *scheme, const char *name,
                                        struct sotto_error *err) {
    char shown[40], known[96] = "";
    size_t at = 0;
    for (size_t i = 0; scheme->options[i] && at < sizeof known; i++)
        at += (size_t)snprintf(known + at, sizeof known - at, "%s%s", i ? ", " : "",
                               scheme->options[i]->name);
    return SOTTO_FAIL(err, SOTTO_INVALID, "partition %s has no option '%s'; it has %s",
                      scheme->name, sotto_escape(shown, sizeof shown, name, strlen(name)), known);
}

enum sotto_status partition_set(struct partition_config *config,
                                const struct partition_scheme *scheme, const char *option,
                                const char *value, struct sotto_error *err) {
    const struct partition_option *o = NULL;
    for (size_t i = 0; scheme->options[i]; i++)
        if (strcmp(scheme->options[i]->name, option) == 0)
            o = scheme->options[i];
    if (!o)
        return unknown_option(scheme, option, err);
    double number = 0;
    uint64_t whole = 0;
    enum sotto_status status =
        o->type == PARTITION_F64
            ? num_parse_f64(value, o->min, o->max, &number, err)
            : num_parse_u64(value, (uint64_t)o->min, (uint64_t)o->max, &whole, err);
    if (status == SOTTO_OK)
        option_store(config, o, o->type == PARTITION_F64 ? number : (double)whole);
    else
        (void)sotto_error_prefix(err, "partition option %s", o->name);
    return status;
}

/* The options that the scheme reads are in range, and the scratch that follows from them is
 * affordable. */
static enum sotto_status check_config(const struct partition_scheme *scheme,
                                      const struct partition_config *config,
                                      const struct dataset *d, struct sotto_error *err) {
    for (size_t i = 0; scheme->options[i]; i++) {
        const struct partition_option *o = scheme->options[i];
        double v = option_load(config, o);
        if (!(v >= o->min && v <= o->max))
            return SOTTO_FAIL(err, SOTTO_INVALID, "partition option %s is %g, expected %g to %g",
                              o->name, v, o->min, o->max);
    }
    if (config->clients > d->count)
        return SOTTO_FAIL(err, SOTTO_INVALID, "partition %s: %u clients for %u examples",
                          scheme->name, config->clients, d->count);
    return SOTTO_OK;
}

/* Turns owners into lists; positions ascend because examples are visited in order. */
static enum sotto_status build_lists(struct partition *p, const struct partition_work *w,
                                     struct sotto_error *err) {
    uint32_t count = w->d->count;
    p->client_count = w->client_count;
    p->start = mem_array((size_t)w->client_count + 2, sizeof *p->start);
    p->index = mem_array(count, sizeof *p->index);
    if (!p->start || !p->index)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "partition: no memory for %u clients", w->client_count);
    /* start[c + 2] counts client c; then start[c + 1] is where its next example goes, and in the
     * end where it ends. */
    for (uint32_t i = 0; i < count; i++) {
        if (w->owner[i] == PARTITION_NOBODY)
            continue;
        if (w->owner[i] >= w->client_count)
            return SOTTO_FAIL(err, SOTTO_INTERNAL, "partition: example %u went to client %u of %u",
                              i, w->owner[i], w->client_count);
        p->start[(size_t)w->owner[i] + 2]++;
    }
    for (uint32_t c = 0; c < w->client_count; c++)
        p->start[(size_t)c + 2] += p->start[(size_t)c + 1];
    for (uint32_t i = 0; i < count; i++)
        if (w->owner[i] != PARTITION_NOBODY)
            p->index[p->start[(size_t)w->owner[i] + 1]++] = i;
    return SOTTO_OK;
}

enum sotto_status partition_build(struct partition *out, const struct dataset *d,
                                  const struct partition_scheme *scheme,
                                  const struct partition_config *config, uint64_t seed,
                                  struct sotto_error *err) {
    memset(out, 0, sizeof *out);
    struct partition_work w = {
        .d = d, .config = config, .seed = seed, .client_count = config->clients};
    enum sotto_status status = check_config(scheme, config, d, err);
    if (status != SOTTO_OK)
        return status;
    if (d->count == 0)
        return SOTTO_FAIL(err, SOTTO_INVALID, "partition %s: the data set is empty", scheme->name);
    w.owner = mem_array(d->count, sizeof *w.owner);
    w.order = mem_array(d->count, sizeof *w.order);
    w.share = mem_array(config->clients ? config->clients : 1, sizeof *w.share);
    if (!w.owner || !w.order || !w.share)
        TRY_FAIL(err, SOTTO_NOMEM, "partition: no memory for %u examples", d->count);
    for (uint32_t i = 0; i < d->count; i++) {
        w.owner[i] = PARTITION_NOBODY;
        w.order[i] = i;
    }
    TRY(scheme->assign(&w, err));
    TRY(build_lists(out, &w, err));
out:
    mem_free(w.share);
    mem_free(w.order);
    mem_free(w.owner);
    if (status != SOTTO_OK)
        partition_deinit(out);
    return status;
}

void partition_deinit(struct partition *p) {
    mem_free(p->start);
    mem_free(p->index);
    memset(p, 0, sizeof *p);
}

struct examples partition_client(const struct partition *p, const struct dataset *d,
                                 uint32_t client) {
    return (struct examples){.schema = &d->schema,
                             .x = d->x,
                             .labels = d->labels,
                             .index = p->index + p->start[client],
                             .count = p->start[client + 1] - p->start[client]};
}
