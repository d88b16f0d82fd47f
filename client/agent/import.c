/* import: examples from IDX files, CSV, or the digit generator, into a collection of the store. */
#include "agent/agent.h"

#include "lib/client_int.h"

#include <stdio.h>
#include <string.h>

static bool wanted(const struct agent_args *a, uint32_t writer) {
    if (a->writer_count == 0)
        return true;
    for (uint32_t i = 0; i < a->writer_count; i++)
        if (a->writers[i] == writer)
            return true;
    return false;
}

static enum sotto_status need_args(const struct agent_args *a, int count, struct sotto_error *err) {
    if (a->arg_count == count)
        return SOTTO_OK;
    return SOTTO_FAIL(err, SOTTO_USAGE,
                      "usage: sotto-client import digits | csv FILE | idx IMAGES LABELS");
}

/* Adds what is wanted of d; all in one transaction. */
static enum sotto_status add_all(const struct agent_args *a, struct devstore *store,
                                 const char *name, const struct dataset *d, uint64_t *added,
                                 struct sotto_error *err) {
    const size_t each = data_schema_example_bytes(&d->schema);
    const int64_t now = clock_wall_ms();
    enum sotto_status status = devstore_collection_put(store, name, &d->schema, err);
    if (status != SOTTO_OK)
        return status;
    TRY(devstore_begin(store, err));
    for (uint32_t i = 0; i < d->count && status == SOTTO_OK; i++) {
        if (d->keys != NULL && !wanted(a, d->keys[i]))
            continue;
        if (a->count > 0 && *added >= a->count)
            break;
        status = devstore_example_add(store, name, view_of(dataset_example(d, i), each),
                                      d->labels != NULL ? d->labels[i] : -1, now, err);
        *added += status == SOTTO_OK;
    }
    if (status == SOTTO_OK)
        status = devstore_commit(store, err);
    if (status != SOTTO_OK)
        devstore_rollback(store);
out:
    return status;
}

static enum sotto_status import_digits(const struct agent_args *a, struct devstore *store,
                                       const char *name, uint64_t *added, struct sotto_error *err) {
    struct agent_args all = *a;
    const uint32_t writers = a->writer_count > 0 ? a->writer_count : 1;
    all.writer_count = 0;
    all.count = 0;
    for (uint32_t i = 0; i < writers; i++) {
        struct dataset d;
        const struct digits_config config = {
            .seed = a->seed,
            .writer_first = a->writer_count > 0 ? a->writers[i] : 0,
            .writer_count = 1,
            .per_writer = (uint32_t)(a->count == 0       ? 200
                                     : a->count > 100000 ? 100000
                                                         : a->count),
        };
        dataset_init(&d);
        enum sotto_status status = dataset_draw_digits(&config, &d, err);
        if (status == SOTTO_OK)
            status = add_all(&all, store, name, &d, added, err);
        dataset_deinit(&d);
        if (status != SOTTO_OK)
            return status;
    }
    return SOTTO_OK;
}

static enum sotto_status import_files(const struct agent_args *a, struct devstore *store,
                                      const char *name, uint64_t *added, struct sotto_error *err) {
    struct dataset d;
    enum sotto_status status;
    const bool idx = strcmp(a->args[0], "idx") == 0;
    dataset_init(&d);
    TRY(need_args(a, idx ? 3 : 2, err));
    if (idx) {
        TRY(dataset_read_idx(a->args[1], a->args[2], &d, err));
        if (a->keys != NULL)
            TRY(dataset_read_qmnist_keys(&d, a->keys, err));
    } else {
        TRY(dataset_read_csv(a->args[1], &d, err));
        if (a->classes > 0 && (a->classes < d.schema.classes || a->classes > 1000000))
            TRY_FAIL(err, SOTTO_INVALID, "--classes: the file has labels up to %u",
                     d.schema.classes - 1);
        if (a->classes > 0)
            d.schema.classes = (uint32_t)a->classes;
    }
    if (a->writer_count > 0 && d.keys == NULL)
        TRY_FAIL(err, SOTTO_USAGE, "--writer needs --writers FILE, which says who wrote what");
    TRY(add_all(a, store, name, &d, added, err));
out:
    dataset_deinit(&d);
    return status;
}

int agent_import(struct agent_args *a) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct devstore *store = NULL;
    struct devstore_collection c;
    struct client_policy policy;
    char dir[IO_PATH_MAX], path[IO_PATH_MAX], text[96];
    const char *name = a->collection != NULL ? a->collection : "examples";
    uint64_t added = 0;
    enum sotto_status status;
    TRY(id_setup(&err));
    TRY(agent_state_dir(a, dir, sizeof dir, &err));
    TRY(io_join(path, sizeof path, dir, "policy", &err));
    client_policy_defaults(&policy);
    if (a->policy != NULL || io_exists(path))
        TRY(client_policy_read(a->policy != NULL ? a->policy : path, &policy, &err));
    TRY(devstore_open(dir, DEVSTORE_SHARE, &store, &err));
    devstore_budget(store, policy.examples_bytes_max, policy.examples_age_max_ms);
    if (strcmp(a->args[0], "digits") == 0) {
        TRY(need_args(a, 1, &err));
        TRY(import_digits(a, store, name, &added, &err));
    } else if (strcmp(a->args[0], "idx") == 0 || strcmp(a->args[0], "csv") == 0) {
        TRY(import_files(a, store, name, &added, &err));
    } else {
        TRY_FAIL(&err, SOTTO_USAGE, "import knows digits, csv FILE and idx IMAGES LABELS");
    }
    TRY(devstore_collection_get(store, name, &c, &err));
    if (a->json)
        printf("{\"collection\":\"%s\",\"added\":%llu,\"count\":%llu}\n", name,
               (unsigned long long)added, (unsigned long long)c.count);
    else
        printf("%llu examples added; %s holds %llu (%s).\n", (unsigned long long)added, name,
               (unsigned long long)c.count, data_schema_text(&c.schema, text, sizeof text));
out:
    devstore_close(store);
    return status == SOTTO_OK ? 0 : agent_fail(&err);
}
