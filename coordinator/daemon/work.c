/* Jobs of the worker pool: checking and adding a report, the server step. A job owns copies of what
 * it reads; its result comes back through the one bounded queue. */
#include "daemon/work_int.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define WORK_REPORT_MAX ((size_t)2 << 30)
#define WORK_WAITS_MAX  20 /* ... and then so often with a wait between */
#define WORK_WAIT_MS    15000
#define WORK_RUNNING_MAX                                                                           \
    256u /* jobs with the pool: fewer than its queue and the results' hold, so neither side ever   \
            waits */
#define ADVANCE_RETRY_MS 15000

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
    if (v->package.len > 0) { /* none of a master that is not finite */
        TRY(blob_path(c, "packages", &v->package_hash, path, sizeof path, err));
        if (!io_exists(path))
            TRY(io_write_file(path, v->package.data, v->package.len, 0600, true, err));
    }
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
    char path[IO_PATH_MAX];
    struct buf report;
    buf_init(&report, WORK_REPORT_MAX);
    w->status = upload_path(t->c, &w->keys.terms, w->serial, false, path, sizeof path, &w->error);
    if (w->status == SOTTO_OK)
        w->status = io_read_file(path, WORK_REPORT_MAX, &report, &w->error);
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
    w->read = w->status != SOTTO_OK && report.status == SOTTO_OK && report.len > 0;
    if (w->read)
        w->report_hash = wire_hash_of(WIRE_LABEL_REPORT, buf_view(&report));
    buf_deinit(&report);
}

/* Seen by status pages; false, which cancels, when the daemon is closing: the step is made again.
 */
static bool advance_progress(void *ctx, const char *what, uint32_t done, uint32_t total) {
    struct task_host *t = ((struct work *)ctx)->task;
    atomic_store(&t->progress_what, what);
    atomic_store(&t->progress_done, done);
    atomic_store(&t->progress_total, total);
    if (total && (done == total || done % (total / 4 + 1) == 0))
        LOG(LOG_DEBUG, "round.progress", LS("task", t->row.name), LS("what", what),
            LU("done", done), LU("total", total));
    return !atomic_load(&t->c->closing);
}

/* Where no group is a teacher, one sum takes the place of all: the same bits in less memory. The
 * groups' files stay until the round ends. */
static enum sotto_status gather_groups(struct work *w) {
    struct advance_job *a = w->advance;
    const struct task_config *t = &w->task->settings;
    bool teachers = t->distill && w->round >= t->distill_from_round;
    for (uint32_t i = 0; i < a->host_count; i++) {
        struct group_host *g = a->hosts[i];
        if (i == 0 || teachers) {
            a->groups[a->in.group_count++] = &g->sums;
            continue;
        }
        enum sotto_status status =
            accumulator_merge(&a->hosts[0]->sums.sums, &g->sums.sums, &w->error);
        if (status != SOTTO_OK)
            return status;
        group_sums_deinit(&g->sums);
        g->ready = false;
    }
    return SOTTO_OK;
}

static void run_advance(struct work *w) {
    struct task_host *t = w->task;
    struct advance_job *a = w->advance;
    const struct coordinator *c = t->c;
    float *master = NULL, *state = NULL;
    uint32_t n = t->graph.layout.total, arrays = strategy_state_arrays(&t->settings);
    enum sotto_status status;
    TRY(gather_groups(w));
    TRY(blob_read_floats(c, "masters", &a->base.digest, n, &master, &w->error));
    if (arrays) {
        status = blob_read_floats(c, "states", &a->base.digest, n * arrays, &state, &w->error);
        if (status != SOTTO_OK && status != SOTTO_NOT_FOUND) /* the first version has none */
            goto out;
    }
    a->in.master = master;
    a->in.state = state;
    a->in.progress = advance_progress;
    a->in.ctx = w;
    TRY(advance_run(&a->in, &a->out, &w->error));
    TRY(blob_write_version(c, &a->out, n, n * arrays, &w->error));
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
    else if (w->kind == WORK_UNMASK)
        work_run_unmask(w);
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

/* Hands waiting jobs to the pool. Its queue has room for all that may run, so this never waits: a
 * loop that waited for workers that wait for the loop would stand still. */
static enum sotto_status pump(struct coordinator *c, struct sotto_error *err) {
    while (c->backlog_first && c->running < WORK_RUNNING_MAX) {
        struct work *w = c->backlog_first;
        if (pool_submit(c->pool, run, w) != SOTTO_OK)
            return SOTTO_FAIL(err, SOTTO_INTERNAL, "the worker pool does not take jobs");
        c->backlog_first = w->next;
        if (!c->backlog_first)
            c->backlog_last = NULL;
        c->running++;
    }
    return SOTTO_OK;
}

enum sotto_status work_submit(struct work *w, struct sotto_error *err) {
    struct coordinator *c = w->task->c;
    w->task->jobs++;
    if (c->backlog_last)
        c->backlog_last->next = w;
    else
        c->backlog_first = w;
    c->backlog_last = w;
    return pump(c, err);
}

struct work *work_new(struct task_host *t, enum work_kind kind, struct sotto_error *err) {
    struct work *w = mem_zalloc(sizeof *w);
    if (w && kind == WORK_ADVANCE) {
        w->advance = mem_zalloc(sizeof *w->advance);
        if (!w->advance) {
            mem_free(w);
            w = NULL;
        }
    }
    if (!w) {
        (void)SOTTO_FAIL(err, SOTTO_NOMEM, "work: out of memory");
        return NULL;
    }
    w->kind = kind;
    w->task = t;
    w->round = t->round.round;
    return w;
}

/* Whether a job of the member is under way: a report is never added twice to the same sums. */
static bool *member_busy(struct task_host *t, uint64_t serial) {
    uint32_t count = 0;
    const struct round_member *first = round_members(t->engine, &count);
    const struct round_member *m = round_member_find(t->engine, serial);
    size_t i = m ? (size_t)(m - first) : SIZE_MAX;
    return i < t->busy_count ? &t->busy[i] : NULL;
}

static enum sotto_status check_again(struct task_host *t, uint64_t serial, uint32_t group,
                                     bool announce, uint8_t attempts, struct sotto_error *err) {
    bool *busy = member_busy(t, serial);
    if (!busy || *busy) /* what is under way is repeated when its sums were thrown away */
        return SOTTO_OK;
    struct work *w = work_new(t, WORK_CHECK, err);
    if (!w)
        return SOTTO_NOMEM;
    w->serial = serial;
    w->group = group;
    w->announce = announce;
    w->attempts = attempts;
    w->keys = t->keys;
    *busy = true;
    t->groups[group].pending++;
    return work_submit(w, err);
}

enum sotto_status work_check(struct task_host *t, uint64_t serial, uint32_t group, bool announce,
                             struct sotto_error *err) {
    return check_again(t, serial, group, announce, 0, err);
}

enum sotto_status work_advance(struct task_host *t, struct sotto_error *err) {
    struct coordinator *c = t->c;
    struct work *w = work_new(t, WORK_ADVANCE, err);
    if (!w)
        return SOTTO_NOMEM;
    struct advance_job *a = w->advance;
    uint32_t count = 0;
    const struct round_group *states = round_groups(t->engine, &count);
    for (uint32_t i = 0; i < count; i++)
        if (states[i].state == ROUND_GROUP_SUMMED && t->groups[i].ready) /* else in another's */
            a->hosts[a->host_count++] = &t->groups[i];
    enum sotto_status status;
    TRY(store_version_get(c->store, t->row.id, t->round.base_version, &a->base, err));
    TRY(store_version_best(c->store, t->row.id, &a->in.best_loss, &a->in.best_accuracy, err));
    a->in.task = &t->settings;
    a->in.graph = &t->graph;
    a->in.schema = &t->schema;
    a->in.data = &t->data;
    a->in.round = t->round.round;
    a->in.train_rounds_done = t->row.train_rounds_done;
    a->in.groups = a->groups;
    a->in.devices = round_device_count(t->engine);
    a->in.backend = c->backend;
    a->in.evaluate = true;
    atomic_store(&t->progress_total, 0);
    t->advancing = true;
    t->advance_again_ms = 0;
    return work_submit(w, err);
out:
    work_drop(w);
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

bool work_ours(enum sotto_status status) {
    return status == SOTTO_NOMEM || status == SOTTO_IO;
}

/* Whether the report that was not taken is the one that was acknowledged: a disk may lose bits. */
static enum sotto_status intact(const struct work *w, bool *good, struct sotto_error *err) {
    struct store_upload announced = {0};
    enum sotto_status status = store_upload_get(w->task->c->store, &w->task->round.terms_hash,
                                                w->serial, 0, &announced, err);
    *good =
        w->read && (status == SOTTO_NOT_FOUND || wire_hash_equal(&announced.hash, &w->report_hash));
    return status == SOTTO_NOT_FOUND ? SOTTO_OK : status;
}

/* The report is out: rejected where it is to blame, returned where we lost it. */
static enum sotto_status give_up(const struct work *w, bool lost, struct sotto_error *err) {
    struct task_host *t = w->task;
    char text[240];
    enum sotto_status status;
    t->c->rejected += !lost;
    snprintf(text, sizeof text, "device %llu: %.180s", (unsigned long long)w->serial,
             w->error.message);
    TRY(task_event_log(t, lost ? "report.lost" : "report.reject", w->round, text, err));
    struct round_event e = {.kind = ROUND_EV_CHECKED,
                            .now_ms = clock_mono_ms(),
                            .serial = w->serial,
                            .round = w->round,
                            .lost = lost};
    TRY(task_event(t, &e, NULL, err));
out:
    return status;
}

/* The report was counted already, and the sums are without it now: they must not be used. */
static enum sotto_status spoil(const struct work *w, struct sotto_error *err) {
    char text[240];
    w->task->groups[w->group].spoiled = true;
    snprintf(text, sizeof text, "device %llu: its report cannot be added again: %.150s",
             (unsigned long long)w->serial, w->error.message);
    return task_event_log(w->task, "round.note", w->round, text, err);
}

/* A check that did not end well. */
static enum sotto_status unchecked(struct work *w, struct sotto_error *err) {
    struct task_host *t = w->task;
    struct group_host *g = &t->groups[w->group];
    uint32_t count = 0;
    bool good = true;
    enum sotto_status status = SOTTO_OK;
    if (!w->announce && (w->torn || !work_ours(w->status) || w->attempts + 1 >= WORK_ATTEMPTS))
        return spoil(w, err);
    if (w->torn && w->generation == g->generation) /* else they were thrown away already */
        TRY(rebuild(t, w->group, err));
    if (!work_ours(w->status)) {
        TRY(intact(w, &good, err));
        return give_up(w, !good, err);
    }
    LOG(LOG_WARN, "report.again", LU("serial", w->serial), LS("reason", w->error.message));
    if (w->attempts + 1 < WORK_ATTEMPTS)
        return check_again(t, w->serial, w->group, w->announce, (uint8_t)(w->attempts + 1), err);
    const struct round_member *m = round_member_find(t->engine, w->serial);
    size_t i = m ? (size_t)(m - round_members(t->engine, &count)) : SIZE_MAX;
    if (i >= t->busy_count || ++t->waits[i] > WORK_WAITS_MAX)
        return give_up(w, true, err);
    if (!t->check_again_ms)
        t->check_again_ms = clock_mono_ms() + WORK_WAIT_MS;
out:
    return status;
}

enum sotto_status work_check_waiting(struct task_host *t, struct sotto_error *err) {
    uint32_t count = 0;
    const struct round_member *m = round_members(t->engine, &count);
    enum sotto_status status = SOTTO_OK;
    t->check_again_ms = 0;
    for (uint32_t i = 0; i < count && i < t->busy_count && t->round_live; i++)
        if (m[i].state == ROUND_STORED && t->waits[i] > 0 && !t->busy[i])
            TRY(work_check(t, m[i].serial, m[i].group, true, err));
out:
    return status;
}

/* A group whose end waited for additions that were under way. */
static enum sotto_status end_due(struct task_host *t, uint32_t group, struct sotto_error *err) {
    struct group_host *g = &t->groups[group];
    enum sotto_status status = SOTTO_OK;
    if (g->end_due == GROUP_END_NONE || g->pending > 0)
        return SOTTO_OK;
    struct round_action again = {.kind = g->end_due == GROUP_END_SUM ? ROUND_DO_SUM
                                                                     : ROUND_DO_FAIL_GROUP,
                                 .round = t->round.round,
                                 .group = group};
    struct round_event tick = {.kind = ROUND_EV_TICK, .now_ms = clock_mono_ms()};
    g->end_due = GROUP_END_NONE;
    TRY(round_action_do(t, &again, NULL, err));
    TRY(task_event(t, &tick, NULL, err));
out:
    return status;
}

static enum sotto_status checked(struct work *w, struct sotto_error *err) {
    struct task_host *t = w->task;
    enum sotto_status status = SOTTO_OK;
    bool *busy = member_busy(t, w->serial);
    if (w->round != t->round.round || !t->round_live || w->group >= t->group_count || !busy)
        return SOTTO_OK;
    struct group_host *g = &t->groups[w->group];
    *busy = false;
    g->pending--;
    if (w->status == SOTTO_OK &&
        w->generation != g->generation) /* added to sums that were thrown away */
        return check_again(t, w->serial, w->group, w->announce, w->attempts, err);
    if (w->status != SOTTO_OK) {
        TRY(unchecked(w, err));
    } else if (w->announce) {
        struct round_event e = {.kind = ROUND_EV_CHECKED,
                                .now_ms = clock_mono_ms(),
                                .serial = w->serial,
                                .round = w->round,
                                .ok = true};
        TRY(task_event(t, &e, NULL, err));
    }
    if (w->round == t->round.round && w->group < t->group_count)
        TRY(end_due(t, w->group, err));
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
    int64_t ms = t->round.closed_ms - t->round.opened_ms;
    num_format_duration(took, sizeof took, ms > 0 ? (uint64_t)ms : 0);
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
    v->published = w->advance->out.published;
    snprintf(v->origin, sizeof v->origin, "%s",
             !w->advance->out.published  ? "refused"
             : w->advance->out.distilled ? "distilled"
                                         : "round");
    v->created_ms = clock_wall_ms();
    v->package_hash = w->advance->out.package_hash;
    v->digest = w->advance->out.digest;
    v->package_bytes = w->advance->out.package.len;
    v->test_loss = w->advance->out.test_loss;
    v->test_accuracy = w->advance->out.test_accuracy;
    v->validation_loss = w->advance->out.validation_loss;
    v->validation_accuracy = w->advance->out.validation_accuracy;
    v->distill_gain = w->advance->out.distill_gain;
    snprintf(v->kernel_set, sizeof v->kernel_set, "%s", kern_backend_kernel_set(c->backend));
    snprintf(v->reason, sizeof v->reason, "%s", w->advance->out.reason);
    TRY(store_version_add(c->store, v, v->published, err));
    t->round.version = v->number;
    t->round.train_loss = w->advance->out.train_loss;
    t->round.train_accuracy = w->advance->out.train_accuracy;
    t->round.train_examples = w->advance->out.train_examples;
    snprintf(t->round.reason, sizeof t->round.reason, "%s", w->advance->out.reason);
out:
    return status;
}

/* What is wrong now may be right later, and the sums are safe: the step is made again. */
static enum sotto_status advance_later(struct work *w, struct sotto_error *err) {
    struct task_host *t = w->task;
    char text[240];
    t->advance_again_ms = clock_mono_ms() + ADVANCE_RETRY_MS;
    snprintf(text, sizeof text, "the server step is made again in %d s: %.160s",
             ADVANCE_RETRY_MS / 1000, w->error.message);
    return task_event_log(t, "round.retry", w->round, text, err);
}

static enum sotto_status advanced(struct work *w, struct sotto_error *err) {
    struct task_host *t = w->task;
    struct coordinator *c = t->c;
    struct store_version v;
    enum sotto_status status;
    char text[240];
    bool good = w->status == SOTTO_OK;
    memset(&v, 0, sizeof v);
    t->advancing = false;
    if (work_ours(w->status) || w->status == SOTTO_FULL || w->status == SOTTO_CANCELLED)
        return advance_later(w, err);
    TRY(store_begin(c->store, err));
    t->round.closed_ms = clock_wall_ms();
    if (good) {
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
    TRY(task_event_log(t, good ? "round.commit" : "round.fail", w->round, text, err));
    if (v.reason[0])
        TRY(task_event_log(t, "round.gate", w->round, v.reason, err));
    if (v.published) {
        t->version = v;
        t->row.version = v.number;
    }
    for (uint32_t g = 0; g < t->group_count; g++) {
        char path[IO_PATH_MAX];
        TRY(round_sums_path(t, &t->round.terms_hash, g, path, sizeof path, err));
        TRY(outbox_remove(c->outbox, path, false, err));
        if (t->groups[g].ready)
            group_sums_deinit(&t->groups[g].sums);
        t->groups[g].ready = false;
    }
    t->round_live = false;
    struct round_event e = {
        .kind = ROUND_EV_ADVANCED, .now_ms = clock_mono_ms(), .round = w->round, .ok = v.published};
    TRY(task_event(t, &e, NULL, err));
out:
    return status;
}

enum sotto_status work_results(struct coordinator *c, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    void *item;
    while (status == SOTTO_OK && queue_pop(c->results, 0, &item) == SOTTO_OK) {
        struct work *w = item;
        c->running--;
        w->task->jobs--;
        status = w->kind == WORK_CHECK    ? checked(w, err)
                 : w->kind == WORK_UNMASK ? work_unmasked(w, err)
                                          : advanced(w, err);
        work_drop(w);
        if (status == SOTTO_OK)
            status = pump(c, err);
    }
    return status;
}

void work_drop(void *job) {
    struct work *w = job;
    if (w->advance)
        advance_out_deinit(&w->advance->out);
    if (w->sums)
        group_sums_deinit(w->sums);
    id_wipe(&w->keys, sizeof w->keys);
    mem_free(w->sums);
    mem_free(w->advance);
    mem_free(w);
}

void work_close(struct coordinator *c) {
    void *item;
    while (c->results && queue_pop(c->results, 0, &item) == SOTTO_OK)
        work_drop(item);
    while (c->backlog_first) {
        struct work *w = c->backlog_first;
        c->backlog_first = w->next;
        work_drop(w);
    }
    c->backlog_last = NULL;
}
