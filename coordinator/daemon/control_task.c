/* Control commands about tasks. */
#include "daemon/control_int.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum sotto_status control_task_row(struct coordinator *c, const char *name, struct store_task *out,
                                   struct sotto_error *err) {
    return store_task_get(c->store, name, out, err);
}

enum sotto_status control_task_create(struct coordinator *c, const struct control_request *r,
                                      struct buf *out, struct sotto_error *err) {
    enum sotto_status status = task_create(c, control_arg(r, 1), r->argv[2], err);
    if (status != SOTTO_OK)
        return status;
    const struct task_host *t = c->tasks[c->task_count - 1];
    char acc[24];
    if (r->json) {
        struct json j;
        json_init(&j, out);
        json_object_begin(&j);
        json_put_str(&j, "task", t->row.name);
        json_put_u64(&j, "parameters", t->graph.layout.total);
        json_put_u64(&j, "version", 1);
        json_put_f64(&j, "accuracy", t->version.test_accuracy);
        json_object_end(&j);
        buf_put_u8(out, '\n');
    } else {
        buf_printf(out,
                   "task %s created: %u parameters, untrained accuracy %s. Watch it with: sottoctl "
                   "status --watch\n",
                   t->row.name, t->graph.layout.total,
                   control_number(t->version.test_accuracy, acc));
    }
    return SOTTO_OK;
}

static enum sotto_status task_line(void *ctx, const struct store_task *row) {
    struct listing *l = ctx;
    const struct task_host *t = task_find(l->c, row->name);
    char acc[24], created[24];
    struct store_version v;
    double accuracy = NAN;
    if (store_version_get(l->c->store, row->id, row->version, &v, NULL) == SOTTO_OK)
        accuracy = v.test_accuracy;
    l->rows++;
    const char *engine = t ? round_state_name(round_state(t->engine)) : "not loaded";
    if (l->r->json) {
        json_object_begin(&l->j);
        json_put_str(&l->j, "task", row->name);
        json_put_str(&l->j, "state", store_task_state_name(row->state));
        json_put_str(&l->j, "round_state", engine);
        json_put_u64(&l->j, "rounds_done", row->train_rounds_done);
        json_put_u64(&l->j, "version", row->version);
        json_put_f64(&l->j, "accuracy", accuracy);
        json_put_u64(&l->j, "created_ms", (uint64_t)row->created_ms);
        if (t)
            json_put_u64(&l->j, "parameters", t->graph.layout.total);
        if (l->yaml)
            json_put_str(&l->j, "settings", (const char *)row->yaml);
        json_object_end(&l->j);
    } else {
        buf_printf(l->out, "%-24s %-9s %-10s %6llu %8u %9s  %s\n", row->name,
                   store_task_state_name(row->state), engine,
                   (unsigned long long)row->train_rounds_done, row->version,
                   control_number(accuracy, acc), control_time(row->created_ms, created));
    }
    return SOTTO_OK;
}

enum sotto_status control_task_list(struct coordinator *c, const struct control_request *r,
                                    struct buf *out, struct sotto_error *err) {
    struct listing l = {.c = c, .r = r, .out = out};
    json_init(&l.j, out);
    if (r->json)
        json_array_begin(&l.j);
    else
        buf_printf(out, "%-24s %-9s %-10s %6s %8s %9s  %s\n", "TASK", "STATE", "ENGINE", "ROUNDS",
                   "VERSION", "ACCURACY", "CREATED (UTC)");
    enum sotto_status status = store_task_each(c->store, task_line, &l, err);
    if (r->json) {
        json_array_end(&l.j);
        buf_put_u8(out, '\n');
    } else if (l.rows == 0) {
        buf_printf(out, "no tasks; create one with sottoctl task create FILE\n");
    }
    return status;
}

enum sotto_status control_task_show(struct coordinator *c, const struct control_request *r,
                                    struct buf *out, struct sotto_error *err) {
    struct store_task row;
    enum sotto_status status = control_task_row(c, control_arg(r, 1), &row, err);
    if (status != SOTTO_OK)
        return status;
    struct listing l = {.c = c, .r = r, .out = out};
    json_init(&l.j, out);
    if (r->json) {
        l.yaml = true;
        status = task_line(&l, &row);
        buf_put_u8(out, '\n');
    } else {
        struct task_host *t = task_find(c, row.name);
        buf_printf(out, "%s: %s, %llu rounds done, version %u\n", row.name,
                   store_task_state_name(row.state), (unsigned long long)row.train_rounds_done,
                   row.version);
        if (t)
            graph_describe(&t->graph, out);
        buf_printf(out, "\n%.*s", (int)row.yaml_bytes, (const char *)row.yaml);
    }
    store_task_deinit(&row);
    return status;
}

enum sotto_status control_task_yaml(struct coordinator *c, const struct control_request *r,
                                    struct buf *out, struct sotto_error *err) {
    struct store_task row;
    enum sotto_status status = control_task_row(c, control_arg(r, 1), &row, err);
    if (status != SOTTO_OK)
        return status;
    buf_put(out, row.yaml, row.yaml_bytes);
    store_task_deinit(&row);
    return SOTTO_OK;
}

static enum sotto_status set_state(struct coordinator *c, const struct control_request *r,
                                   struct buf *out, enum store_task_state state,
                                   enum round_event_kind kind, const char *word,
                                   struct sotto_error *err) {
    enum sotto_status status;
    struct store_task row = {0};
    TRY(control_task_row(c, control_arg(r, 1), &row, err));
    if (row.state == STORE_TASK_STOPPED || row.state == STORE_TASK_FINISHED)
        TRY_FAIL(err, SOTTO_STATE,
                 "task '%s' is %s; create a new task from its model instead (model.package)",
                 row.name, store_task_state_name(row.state));
    struct task_host *t = task_find(c, row.name);
    if (!t) { /* it could not be loaded at start: perhaps it can now */
        TRY(task_load(c, &row, err));
        t = task_find(c, row.name);
    }
    TRY(store_begin(c->store, err));
    TRY(store_task_state_set(c->store, row.id, state, err));
    t->row.state = state;
    TRY(task_event_log(t, "task.state", 0, word, err));
    struct round_event e = {.kind = kind, .now_ms = clock_mono_ms()};
    TRY(task_event(t, &e, NULL, err));
    buf_printf(out, "task %s %s\n", row.name, word);
out:
    store_task_deinit(&row);
    return status;
}

enum sotto_status control_task_pause(struct coordinator *c, const struct control_request *r,
                                     struct buf *out, struct sotto_error *err) {
    return set_state(c, r, out, STORE_TASK_PAUSED, ROUND_EV_PAUSE,
                     "paused: the open round ends, no new one opens", err);
}
enum sotto_status control_task_resume(struct coordinator *c, const struct control_request *r,
                                      struct buf *out, struct sotto_error *err) {
    return set_state(c, r, out, STORE_TASK_RUNNING, ROUND_EV_RESUME, "resumed", err);
}
enum sotto_status control_task_stop(struct coordinator *c, const struct control_request *r,
                                    struct buf *out, struct sotto_error *err) {
    return set_state(c, r, out, STORE_TASK_STOPPED, ROUND_EV_STOP, "stopped for good", err);
}
