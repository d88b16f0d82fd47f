/* Tasks of the daemon: loading one from the store, creating one, feeding its engine. */
#include "daemon/daemon_int.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct task_host *task_find(struct coordinator *c, const char *name) {
    for (uint32_t i = 0; i < c->task_count; i++)
        if (strcmp(c->tasks[i]->row.name, name) == 0)
            return c->tasks[i];
    return NULL;
}

struct task_host *task_by_terms(struct coordinator *c, const struct wire_hash *terms) {
    for (uint32_t i = 0; i < c->task_count; i++)
        if (c->tasks[i]->round_live && wire_hash_equal(&c->tasks[i]->round.terms_hash, terms))
            return c->tasks[i];
    return NULL;
}

enum sotto_status task_event_log(struct task_host *t, const char *kind, uint32_t round,
                                 const char *text, struct sotto_error *err) {
    enum sotto_status status = store_begin(t->c->store, err);
    if (status == SOTTO_OK)
        status = store_event_add(t->c->store, clock_wall_ms(), kind, t->row.name, round, text, err);
    LOG(LOG_INFO, kind, LS("task", t->row.name), LU("round", round), LS("text", text));
    return status;
}

enum sotto_status task_make_engine(struct task_host *t, struct sotto_error *err) {
    round_engine_free(t->engine);
    t->engine = NULL;
    return round_engine_new(&t->settings, t->row.next_round, t->row.train_rounds_done, &t->engine,
                            err);
}

static enum sotto_status add_device(void *ctx, const struct store_device *d) {
    struct task_host *t = ctx;
    size_t count = 0;
    struct round_action none[ROUND_ACTIONS_MAX];
    if (d->revoked_ms)
        return SOTTO_OK;
    /* Last seen, on the monotonic clock: what lies before its start counts as its start. */
    int64_t ago = clock_wall_ms() - d->seen_ms;
    uint64_t now = clock_mono_ms();
    struct round_event e = {.kind = ROUND_EV_DEVICE_ADD,
                            .serial = d->serial,
                            .now_ms = ago <= 0              ? now
                                      : (uint64_t)ago < now ? now - (uint64_t)ago
                                                            : 0};
    return round_step(t->engine, &e, none, &count, NULL);
}

enum sotto_status task_devices(struct task_host *t, struct sotto_error *err) {
    return store_device_each(t->c->store, add_device, t, err);
}

static enum sotto_status load(struct task_host *t, struct sotto_error *err) {
    enum sotto_status status;
    float *params = NULL;
    char origin[96];
    snprintf(origin, sizeof origin, "task %s", t->row.name);
    TRY(config_parse(task_options, &t->settings, origin, view_of(t->row.yaml, t->row.yaml_bytes),
                     NULL, 0, &t->config, err));
    TRY(task_graph(&t->settings, origin, &t->graph, &t->schema, &params, err));
    TRY(task_check(&t->settings, &t->graph.layout, err));
    TRY(task_data_load(&t->settings, &t->schema,
                       t->c->config.data_dir && t->c->config.data_dir[0] ? t->c->config.data_dir
                                                                         : NULL,
                       &t->data, err));
out:
    mem_free(params);
    return status;
}

static struct task_host *host_new(struct coordinator *c) {
    struct task_host *t = mem_zalloc(sizeof *t);
    if (!t)
        return NULL;
    t->c = c;
    graph_init(&t->graph);
    dataset_init(&t->data.test);
    dataset_init(&t->data.validation);
    dataset_init(&t->data.pool);
    return t;
}

static enum sotto_status row_copy(struct store_task *to, const struct store_task *from,
                                  struct sotto_error *err) {
    *to = *from;
    to->yaml = mem_dup(from->yaml, from->yaml_bytes + 1);
    return to->yaml ? SOTTO_OK : SOTTO_FAIL(err, SOTTO_NOMEM, "task: out of memory");
}

enum sotto_status task_open(struct coordinator *c, const struct store_task *row,
                            struct task_host **out, struct sotto_error *err) {
    enum sotto_status status;
    struct task_host *t = host_new(c);
    if (!t)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "task: out of memory");
    TRY(row_copy(&t->row, row, err));
    TRY(load(t, err));
    TRY(store_version_get(c->store, t->row.id, t->row.version, &t->version, err));
    TRY(task_make_engine(t, err));
    TRY(round_resume(t, err));
    TRY(task_devices(t, err));
    *out = t;
    t = NULL;
out:
    if (status != SOTTO_OK)
        (void)sotto_error_prefix(err, "task '%s'", row->name);
    task_close(t);
    return status;
}

void task_close(struct task_host *t) {
    if (!t)
        return;
    round_deinit(t);
    round_engine_free(t->engine);
    task_data_deinit(&t->data);
    graph_deinit(&t->graph);
    config_free(t->config);
    store_task_deinit(&t->row);
    mem_free(t);
}

/* Tasks that have ended make room: their rounds and models stay in the store. */
static void task_drop_ended(struct coordinator *c) {
    for (uint32_t i = 0; i < c->task_count;) {
        struct task_host *t = c->tasks[i];
        bool ended = t->row.state == STORE_TASK_STOPPED || t->row.state == STORE_TASK_FINISHED;
        if (!ended || t->round_live || t->jobs) {
            i++;
            continue;
        }
        task_close(t);
        c->tasks[i] = c->tasks[--c->task_count];
    }
}

void task_broken(struct coordinator *c, const char *name, const char *reason) {
    uint32_t i = 0;
    while (i < c->broken_count && strcmp(c->broken[i].name, name) != 0)
        i++;
    if (i == DAEMON_TASKS_MAX)
        return;
    if (reason) {
        snprintf(c->broken[i].name, sizeof c->broken[i].name, "%s", name);
        wire_set_text(c->broken[i].reason, sizeof c->broken[i].reason, reason);
        c->broken_count += i == c->broken_count;
    } else if (i < c->broken_count) {
        c->broken[i] = c->broken[--c->broken_count];
    }
}

enum sotto_status task_load(struct coordinator *c, const struct store_task *row,
                            struct sotto_error *err) {
    enum sotto_status status;
    struct task_host *t = NULL;
    task_drop_ended(c);
    if (c->task_count == DAEMON_TASKS_MAX)
        return SOTTO_FAIL(err, SOTTO_LIMIT, "a coordinator runs at most %d tasks; stop one first",
                          DAEMON_TASKS_MAX);
    TRY(task_open(c, row, &t, err));
    c->tasks[c->task_count++] = t;
    task_broken(c, row->name, NULL);
    struct round_event e = {.kind = row->state == STORE_TASK_PAUSED    ? ROUND_EV_PAUSE
                                    : row->state == STORE_TASK_RUNNING ? ROUND_EV_TICK
                                                                       : ROUND_EV_STOP,
                            .now_ms = clock_mono_ms()};
    TRY(task_event(t, &e, NULL, err));
out:
    return status;
}

/* ---- Creation
 * -------------------------------------------------------------------------------------------------------
 */

static void version_fill(struct store_version *v, const struct task_host *t,
                         const struct advance_out *a) {
    memset(v, 0, sizeof *v);
    v->task = t->row.id;
    v->created_ms = clock_wall_ms();
    v->package_hash = a->package_hash;
    v->digest = a->digest;
    v->package_bytes = a->package.len;
    v->test_loss = a->test_loss;
    v->test_accuracy = a->test_accuracy;
    v->validation_loss = a->validation_loss;
    v->validation_accuracy = a->validation_accuracy;
    v->distill_gain = a->distill_gain;
    snprintf(v->kernel_set, sizeof v->kernel_set, "%s", kern_backend_kernel_set(t->c->backend));
}

static enum sotto_status first_version(struct task_host *t, struct sotto_error *err) {
    enum sotto_status status;
    struct coordinator *c = t->c;
    struct advance_out a;
    float *params = NULL;
    char origin[96];
    struct graph graph;
    struct data_schema schema;
    memset(&a, 0, sizeof a);
    graph_init(&graph);
    snprintf(origin, sizeof origin, "task %s", t->row.name);
    TRY(task_graph(&t->settings, origin, &graph, &schema, &params, err));
    TRY(advance_first(&t->settings, &t->graph, &t->schema, &t->data, params, c->backend, true, &a,
                      err));
    TRY(blob_write_version(c, &a, t->graph.layout.total, 0, err));
    TRY(store_begin(c->store, err));
    TRY(store_task_add(c->store, &t->row, err));
    version_fill(&t->version, t, &a);
    t->version.number = 1;
    t->version.published = true;
    snprintf(t->version.origin, sizeof t->version.origin, "initial");
    TRY(store_version_add(c->store, &t->version, true, err));
    t->row.version = 1;
out:
    graph_deinit(&graph);
    mem_free(params);
    advance_out_deinit(&a);
    return status;
}

enum sotto_status task_create(struct coordinator *c, const char *origin, struct view yaml,
                              struct sotto_error *err) {
    enum sotto_status status;
    char text[128];
    task_drop_ended(c);
    if (c->task_count == DAEMON_TASKS_MAX)
        return SOTTO_FAIL(err, SOTTO_LIMIT, "a coordinator runs at most %d tasks; stop one first",
                          DAEMON_TASKS_MAX);
    struct task_host *t = host_new(c);
    if (!t)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "task: out of memory");
    t->row.yaml = mem_alloc(yaml.n + 1);
    if (!t->row.yaml)
        TRY_FAIL(err, SOTTO_NOMEM, "task: out of memory");
    memcpy(t->row.yaml, yaml.p, yaml.n);
    t->row.yaml[yaml.n] = '\0';
    t->row.yaml_bytes = yaml.n;
    snprintf(t->row.name, sizeof t->row.name, "new");
    status = load(t, err);
    if (status != SOTTO_OK) {
        (void)sotto_error_prefix(err, "%s", origin);
        goto out;
    }
    if (!t->settings.name || !t->settings.name[0] || strlen(t->settings.name) >= sizeof t->row.name)
        TRY_FAIL(err, SOTTO_CONFIG, "%s: task.name needs 1 to %zu characters", origin,
                 sizeof t->row.name - 1);
    snprintf(t->row.name, sizeof t->row.name, "%s", t->settings.name);
    struct store_task known;
    if (store_task_get(c->store, t->row.name, &known, NULL) == SOTTO_OK) {
        store_task_deinit(&known);
        TRY_FAIL(err, SOTTO_EXISTS, "task '%s' exists already; choose another task.name",
                 t->row.name);
    }
    id_random(t->row.task_id, sizeof t->row.task_id);
    t->row.created_ms = clock_wall_ms();
    t->row.next_round = 1;
    TRY(task_make_engine(t, err));
    TRY(task_devices(t, err));
    TRY(first_version(t, err)); /* last: what fails before leaves nothing in the store */
    snprintf(text, sizeof text, "created: %u parameters, version 1 accuracy %.4f",
             t->graph.layout.total, t->version.test_accuracy);
    TRY(task_event_log(t, "task.create", 0, text, err));
    c->tasks[c->task_count++] = t;
    struct round_event tick = {.kind = ROUND_EV_TICK, .now_ms = clock_mono_ms()};
    return task_event(t, &tick, NULL, err);
out:
    task_close(t);
    return status;
}

/* ---- Events
 * -----------------------------------------------------------------------------------------------------------
 */

enum sotto_status task_queue_event(struct task_host *t, const struct round_event *event,
                                   struct sotto_error *err) {
    if (t->event_count == DAEMON_EVENTS_QUEUED)
        return SOTTO_FAIL(err, SOTTO_INTERNAL, "task '%s': more than %d events wait", t->row.name,
                          DAEMON_EVENTS_QUEUED);
    t->events[(t->event_first + t->event_count++) % DAEMON_EVENTS_QUEUED] = *event;
    return SOTTO_OK;
}

static enum sotto_status step(struct task_host *t, const struct round_event *event,
                              struct reply_to *to, struct sotto_error *err) {
    struct round_action actions[ROUND_ACTIONS_MAX];
    size_t count = 0;
    enum sotto_status status = round_step(t->engine, event, actions, &count, err);
    for (size_t i = 0; i < count && status == SOTTO_OK; i++)
        status = round_action_do(t, &actions[i], to, err);
    return status;
}

enum sotto_status task_event(struct task_host *t, const struct round_event *event,
                             struct reply_to *to, struct sotto_error *err) {
    enum sotto_status status = step(t, event, to, err);
    while (status == SOTTO_OK) {
        struct round_event next;
        if (t->event_count) {
            next = t->events[t->event_first];
            t->event_first = (t->event_first + 1) % DAEMON_EVENTS_QUEUED;
            t->event_count--;
        } else if (round_next_ms(t->engine) == 0) {
            next = (struct round_event){.kind = ROUND_EV_TICK, .now_ms = clock_mono_ms()};
        } else {
            break;
        }
        status = step(t, &next, NULL, err);
    }
    return status;
}
