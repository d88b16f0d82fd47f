/* Jobs of the worker pool: checking and adding a report, the server step. A job owns copies of what
 * it reads; its result comes back through the one bounded queue. */
#include "daemon/daemon_int.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define WORK_REPORT_MAX ((size_t)2 << 30)

enum work_kind { WORK_CHECK, WORK_ADVANCE };

struct work {
    enum work_kind kind;
    struct task_host *task;
    uint32_t round;
    enum sotto_status status;
    struct sotto_error error;
    /* check */
    uint64_t serial;
    uint32_t group;
    bool announce; /* the engine waits for the answer; otherwise it is a repeated addition */
    bool torn;
    uint32_t generation;
    struct report_keys keys;
    char path[IO_PATH_MAX];
    /* advance */
    struct advance_in in;
    struct advance_out out;
    const struct group_sums *groups[ROUND_GROUPS_MAX];
    struct store_version base;
};

enum sotto_status blob_path(const struct coordinator *c, const char *kind,
                            const struct wire_hash *hash, char *out, size_t cap,
                            struct sotto_error *err) {
    char hex[2 * WIRE_HASH + 1], blobs[IO_PATH_MAX], dir[IO_PATH_MAX];
    enum sotto_status status;
    TRY(io_join(blobs, sizeof blobs, c->state_dir, "blobs", err));
    TRY(io_join(dir, sizeof dir, blobs, kind, err));
    TRY(io_join(out, cap, dir, num_format_hex(hex, hash->b, WIRE_HASH), err));
out:
    return status;
}

enum sotto_status blob_write_version(const struct coordinator *c, const struct advance_out *v,
                                     uint32_t params, uint32_t state_floats,
                                     struct sotto_error *err) {
    enum sotto_status status;
    char path[IO_PATH_MAX];
    TRY(blob_path(c, "packages", &v->package_hash, path, sizeof path, err));
    if (!io_exists(path))
        TRY(io_write_file(path, v->package.data, v->package.len, 0600, true, err));
    TRY(blob_path(c, "masters", &v->digest, path, sizeof path, err));
    if (!io_exists(path))
        TRY(io_write_file(path, v->master, (size_t)params * sizeof(float), 0600, true, err));
    if (v->state && state_floats) {
        TRY(blob_path(c, "states", &v->digest, path, sizeof path, err));
        TRY(io_write_file(path, v->state, (size_t)state_floats * sizeof(float), 0600, true, err));
    }
out:
    return status;
}

enum sotto_status blob_read_floats(const struct coordinator *c, const char *kind,
                                   const struct wire_hash *hash, uint32_t count, float **out,
                                   struct sotto_error *err) {
    enum sotto_status status;
    char path[IO_PATH_MAX];
    struct buf b;
    size_t bytes;
    *out = NULL;
    if (!num_mul_size(count, sizeof(float), &bytes))
        return SOTTO_FAIL(err, SOTTO_LIMIT, "model: too large");
    buf_init(&b, bytes);
    TRY(blob_path(c, kind, hash, path, sizeof path, err));
    TRY(io_read_file(path, bytes, &b, err));
    if (b.len != bytes)
        TRY_FAIL(err, SOTTO_CORRUPT, "%s: %zu bytes instead of %zu", path, b.len, bytes);
    size_t n;
    *out = (float *)(void *)buf_take(&b, &n);
out:
    buf_deinit(&b);
    return status;
}

/* ---- In the worker
 * -------------------------------------------------------------------------------------------------------
 */

static void run_check(struct work *w) {
    struct task_host *t = w->task;
    struct group_host *g = &t->groups[w->group];
    struct buf report;
    buf_init(&report, WORK_REPORT_MAX);
    w->status = io_read_file(w->path, WORK_REPORT_MAX, &report, &w->error);
    if (w->status == SOTTO_OK)
        w->status = report_check(&t->spec, &w->keys, w->serial, buf_view(&report), &w->error);
    if (w->status == SOTTO_OK) {
        pthread_mutex_lock(&g->lock);
        w->generation = g->generation;
        if (!g->ready) {
            w->status = group_sums_init(&g->sums, &t->spec, &w->error);
            g->ready = w->status == SOTTO_OK;
        }
        if (w->status == SOTTO_OK)
            w->status =
                report_add(&g->sums, &w->keys, w->serial, buf_view(&report), &w->torn, &w->error);
        pthread_mutex_unlock(&g->lock);
    }
    buf_deinit(&report);
}

static bool advance_progress(void *ctx, const char *what, uint32_t done, uint32_t total) {
    struct work *w = ctx;
    (void)w;
    if (total && (done == total || done % (total / 4 + 1) == 0))
        LOG(LOG_DEBUG, "round.progress", LS("what", what), LU("done", done), LU("total", total));
    return true;
}

static void run_advance(struct work *w) {
    struct task_host *t = w->task;
    const struct coordinator *c = t->c;
    float *master = NULL, *state = NULL;
    uint32_t n = t->graph.layout.total;
    uint32_t arrays = strategy_get(t->settings.strategy)->state_arrays;
    enum sotto_status status;
    TRY(blob_read_floats(c, "masters", &w->base.digest, n, &master, &w->error));
    if (arrays &&
        blob_read_floats(c, "states", &w->base.digest, n * arrays, &state, NULL) != SOTTO_OK)
        state = NULL; /* the first version has none */
    w->in.master = master;
    w->in.state = state;
    w->in.progress = advance_progress;
    w->in.ctx = w;
    TRY(advance_run(&w->in, &w->out, &w->error));
    TRY(blob_write_version(c, &w->out, n, n * arrays, &w->error));
out:
    mem_free(master);
    mem_free(state);
    w->status = status;
}

static void run(void *ctx, unsigned worker) {
    struct work *w = ctx;
    struct coordinator *c = w->task->c;
    uint64_t one = 1;
    (void)worker;
    if (w->kind == WORK_CHECK)
        run_check(w);
    else
        run_advance(w);
    id_wipe(&w->keys, sizeof w->keys);
    (void)queue_push_wait(c->results, w);
    ssize_t put = write(c->wake_fd, &one, sizeof one);
    (void)put; /* a full counter is a wake-up too */
}

/* ---- In the loop
 * ------------------------------------------------------------------------------------------------------------
 */

static enum sotto_status submit(struct work *w, struct sotto_error *err) {
    w->task->jobs++;
    enum sotto_status status = pool_submit(w->task->c->pool, run, w);
    if (status != SOTTO_OK) {
        w->task->jobs--;
        mem_free(w);
        return SOTTO_FAIL(err, status, "the worker pool does not take jobs");
    }
    return SOTTO_OK;
}

static struct work *work_new(struct task_host *t, enum work_kind kind, struct sotto_error *err) {
    struct work *w = mem_zalloc(sizeof *w);
    if (!w) {
        (void)SOTTO_FAIL(err, SOTTO_NOMEM, "work: out of memory");
        return NULL;
    }
    w->kind = kind;
    w->task = t;
    w->round = t->round.round;
    return w;
}

enum sotto_status work_check(struct task_host *t, uint64_t serial, uint32_t group, bool announce,
                             struct sotto_error *err) {
    struct work *w = work_new(t, WORK_CHECK, err);
    if (!w)
        return SOTTO_NOMEM;
    enum sotto_status status =
        upload_path(t->c, &t->round.terms_hash, serial, false, w->path, sizeof w->path, err);
    if (status != SOTTO_OK) {
        mem_free(w);
        return status;
    }
    w->serial = serial;
    w->group = group;
    w->announce = announce;
    w->keys = t->keys;
    t->groups[group].pending++;
    return submit(w, err);
}

enum sotto_status work_advance(struct task_host *t, struct sotto_error *err) {
    struct coordinator *c = t->c;
    struct work *w = work_new(t, WORK_ADVANCE, err);
    if (!w)
        return SOTTO_NOMEM;
    uint32_t count = 0;
    const struct round_group *states = round_groups(t->engine, &count);
    for (uint32_t i = 0; i < count; i++)
        if (states[i].state == ROUND_GROUP_SUMMED)
            w->groups[w->in.group_count++] = &t->groups[i].sums;
    enum sotto_status status;
    TRY(store_version_get(c->store, t->row.id, t->round.base_version, &w->base, err));
    TRY(store_version_best(c->store, t->row.id, &w->in.best_loss, &w->in.best_accuracy, err));
    w->in.task = &t->settings;
    w->in.graph = &t->graph;
    w->in.schema = &t->schema;
    w->in.data = &t->data;
    w->in.round = t->round.round;
    w->in.train_rounds_done = t->row.train_rounds_done;
    w->in.groups = w->groups;
    w->in.backend = c->backend;
    w->in.evaluate = true;
    t->advancing = true;
    return submit(w, err);
out:
    mem_free(w);
    return status;
}

/* A part failed while it was added: the group's sums are made anew from the other reports. */
static enum sotto_status rebuild(struct task_host *t, uint32_t group, struct sotto_error *err) {
    struct group_host *g = &t->groups[group];
    uint32_t count = 0;
    enum sotto_status status = SOTTO_OK;
    const struct round_member *m = round_members(t->engine, &count);
    LOG(LOG_WARN, "round.rebuild", LS("task", t->row.name), LU("round", t->round.round),
        LU("group", group));
    pthread_mutex_lock(&g->lock);
    g->generation++;
    if (g->ready)
        accumulator_clear(&g->sums.sums);
    pthread_mutex_unlock(&g->lock);
    for (uint32_t i = 0; i < count; i++)
        if (m[i].group == group && m[i].state == ROUND_CHECKED)
            TRY(work_check(t, m[i].serial, group, false, err));
out:
    return status;
}

static enum sotto_status checked(struct work *w, struct sotto_error *err) {
    struct task_host *t = w->task;
    struct group_host *g = &t->groups[w->group];
    enum sotto_status status = SOTTO_OK;
    g->pending--;
    if (w->status == SOTTO_OK &&
        w->generation != g->generation) /* added to sums that were thrown away */
        return work_check(t, w->serial, w->group, w->announce, err);
    if (w->status != SOTTO_OK) {
        char text[240];
        t->c->rejected++;
        snprintf(text, sizeof text, "device %llu: %.180s", (unsigned long long)w->serial,
                 w->error.message);
        TRY(task_event_log(t, "report.reject", w->round, text, err));
        if (w->torn)
            TRY(rebuild(t, w->group, err));
    }
    if (w->announce) {
        struct round_event e = {.kind = ROUND_EV_CHECKED,
                                .now_ms = clock_mono_ms(),
                                .serial = w->serial,
                                .round = w->round,
                                .ok = w->status == SOTTO_OK};
        TRY(task_event(t, &e, NULL, err));
    }
    if (g->sum_due && g->pending == 0) {
        struct round_action again = {.kind = ROUND_DO_SUM, .round = w->round, .group = w->group};
        TRY(round_action_do(t, &again, NULL, err));
        struct round_event tick = {.kind = ROUND_EV_TICK, .now_ms = clock_mono_ms()};
        TRY(task_event(t, &tick, NULL, err));
    }
out:
    return status;
}

static void describe(const struct task_host *t, const struct store_version *v, char *text,
                     size_t cap) {
    char up[32], down[32], took[32];
    double fp32 = 4.0 * t->graph.layout.total * (t->round.counted ? t->round.counted : 1);
    double up_ratio = t->round.bytes_up ? fp32 / (double)t->round.bytes_up : 0;
    num_format_size(up, sizeof up, t->round.bytes_up);
    num_format_size(down, sizeof down, t->round.bytes_down);
    num_format_duration(took, sizeof took, (uint64_t)(t->round.closed_ms - t->round.opened_ms));
    snprintf(text, cap,
             "version %u: accuracy %.4f, %u devices, up %s (1/%.1f of fp32), down %s, %s%s",
             v->number, v->test_accuracy, t->round.counted, up, up_ratio, down, took,
             v->published ? "" : " (not published)");
}

static enum sotto_status store_advance(struct work *w, struct store_version *v,
                                       struct sotto_error *err) {
    struct task_host *t = w->task;
    struct coordinator *c = t->c;
    enum sotto_status status;
    uint32_t last = 0;
    TRY(store_version_last(c->store, t->row.id, &last, err));
    memset(v, 0, sizeof *v);
    v->task = t->row.id;
    v->number = last + 1;
    v->parent = t->round.base_version;
    v->round = w->round;
    v->published = w->out.published;
    snprintf(v->origin, sizeof v->origin, "%s",
             !w->out.published  ? "refused"
             : w->out.distilled ? "distilled"
                                : "round");
    v->created_ms = clock_wall_ms();
    v->package_hash = w->out.package_hash;
    v->digest = w->out.digest;
    v->package_bytes = w->out.package.len;
    v->test_loss = w->out.test_loss;
    v->test_accuracy = w->out.test_accuracy;
    v->validation_loss = w->out.validation_loss;
    v->validation_accuracy = w->out.validation_accuracy;
    v->distill_gain = w->out.distill_gain;
    snprintf(v->kernel_set, sizeof v->kernel_set, "%s", kern_backend_kernel_set(c->backend));
    snprintf(v->reason, sizeof v->reason, "%s", w->out.reason);
    TRY(store_version_add(c->store, v, v->published, err));
    t->round.version = v->number;
    t->round.train_loss = w->out.train_loss;
    t->round.train_accuracy = w->out.train_accuracy;
    t->round.train_examples = w->out.train_examples;
    snprintf(t->round.reason, sizeof t->round.reason, "%s", w->out.reason);
out:
    return status;
}

static enum sotto_status advanced(struct work *w, struct sotto_error *err) {
    struct task_host *t = w->task;
    struct coordinator *c = t->c;
    struct store_version v;
    enum sotto_status status;
    char text[240];
    t->advancing = false;
    TRY(store_begin(c->store, err));
    t->round.closed_ms = clock_wall_ms();
    if (w->status == SOTTO_OK) {
        t->round.state = STORE_ROUND_COMMITTED;
        TRY(store_advance(w, &v, err));
        describe(t, &v, text, sizeof text);
    } else {
        t->round.state = STORE_ROUND_FAILED;
        snprintf(t->round.reason, sizeof t->round.reason, "%.159s", w->error.message);
        snprintf(text, sizeof text, "the server step failed: %.180s", w->error.message);
    }
    t->row.train_rounds_done++;
    TRY(store_round_close(c->store, &t->round, err));
    TRY(store_task_progress(c->store, t->row.id, t->row.next_round, t->row.train_rounds_done, err));
    TRY(task_event_log(t, w->status == SOTTO_OK ? "round.commit" : "round.fail", w->round, text,
                       err));
    if (w->status == SOTTO_OK && v.reason[0])
        TRY(task_event_log(t, "round.gate", w->round, v.reason, err));
    if (w->status == SOTTO_OK && w->out.published) {
        t->version = v;
        t->row.version = v.number;
    }
    for (uint32_t g = 0; g < t->group_count; g++) {
        char path[IO_PATH_MAX];
        TRY(round_sums_path(t, &t->round.terms_hash, g, path, sizeof path, err));
        TRY(outbox_remove(c->outbox, path, false, err));
    }
    t->round_live = false;
    struct round_event e = {.kind = ROUND_EV_ADVANCED,
                            .now_ms = clock_mono_ms(),
                            .round = w->round,
                            .ok = w->status == SOTTO_OK && w->out.published};
    TRY(task_event(t, &e, NULL, err));
out:
    return status;
}

enum sotto_status work_results(struct coordinator *c, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    void *item;
    while (status == SOTTO_OK && queue_pop(c->results, 0, &item) == SOTTO_OK) {
        struct work *w = item;
        w->task->jobs--;
        status = w->kind == WORK_CHECK ? checked(w, err) : advanced(w, err);
        work_drop(w);
    }
    return status;
}

void work_drop(void *job) {
    struct work *w = job;
    if (w->kind == WORK_ADVANCE)
        advance_out_deinit(&w->out);
    mem_free(w);
}
