/* Control commands about tasks, rounds and model versions. */
#include "daemon/control_int.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define PACKAGE_ANSWER_MAX PACKAGE_BYTES_MAX

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

struct listing {
    struct coordinator *c;
    const struct control_request *r;
    struct buf *out;
    struct json j;
    double params;
    uint32_t rows;
    bool yaml; /* with the settings */
};

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

/* ---- Rounds
 * ----------------------------------------------------------------------------------------------------------
 */

static const char *const round_states[] = {"open", "advancing", "committed", "failed"};

static void round_json(struct json *j, const struct store_round *r, double params) {
    double fp32 = 4.0 * params * (r->counted ? r->counted : 1);
    json_object_begin(j);
    json_put_u64(j, "round", r->round);
    json_put_str(j, "kind", r->kind == ROUND_EVALUATE ? "evaluate" : "train");
    json_put_str(j, "state", round_states[r->state]);
    json_put_u64(j, "opened_ms", (uint64_t)r->opened_ms);
    json_put_u64(j, "closed_ms", (uint64_t)r->closed_ms);
    json_put_u64(j, "base_version", r->base_version);
    json_put_u64(j, "version", r->version);
    json_put_u64(j, "members", r->members);
    json_put_u64(j, "counted", r->counted);
    json_put_u64(j, "rejected", r->rejected);
    json_put_u64(j, "returned", r->returned);
    json_put_u64(j, "bytes_up", r->bytes_up);
    json_put_u64(j, "bytes_down", r->bytes_down);
    json_put_f64(j, "uplink_ratio", r->bytes_up ? fp32 / (double)r->bytes_up : NAN);
    json_put_f64(j, "downlink_ratio", r->bytes_down ? fp32 / (double)r->bytes_down : NAN);
    json_put_u64(j, "train_examples", r->train_examples);
    json_put_f64(j, "train_loss", r->train_loss);
    json_put_f64(j, "train_accuracy", r->train_accuracy);
    json_put_str(j, "reason", r->reason);
}

static void round_version_json(struct json *j, struct coordinator *c, const struct store_round *r) {
    struct store_version v;
    if (r->version && store_version_get(c->store, r->task, r->version, &v, NULL) == SOTTO_OK) {
        json_put_f64(j, "accuracy", v.test_accuracy);
        json_put_f64(j, "loss", v.test_loss);
        json_put_bool(j, "published", v.published);
        json_put_str(j, "origin", v.origin);
        json_put_f64(j, "distill_gain", v.distill_gain);
        json_key(j, "digest");
        json_hex(j, v.digest.b, WIRE_HASH);
    }
    json_object_end(j);
}

static enum sotto_status round_line(void *ctx, const struct store_round *r) {
    struct listing *l = ctx;
    char acc[24], loss[24], up[32], down[32], took[32] = "-";
    struct store_version v;
    double accuracy = NAN;
    l->rows++;
    if (l->r->json) {
        round_json(&l->j, r, l->params);
        round_version_json(&l->j, l->c, r);
        return SOTTO_OK;
    }
    if (r->version && store_version_get(l->c->store, r->task, r->version, &v, NULL) == SOTTO_OK)
        accuracy = v.test_accuracy;
    else if (r->kind == ROUND_EVALUATE)
        accuracy = r->train_accuracy;
    if (r->closed_ms > r->opened_ms)
        num_format_duration(took, sizeof took, (uint64_t)(r->closed_ms - r->opened_ms));
    buf_printf(l->out, "%-6u %-8s %-9s %7u %6u %6u %9s %8s %10s %10s %9s  %s\n", r->round,
               r->kind == ROUND_EVALUATE ? "evaluate" : "train", round_states[r->state], r->counted,
               r->rejected, r->returned, control_number(accuracy, acc),
               control_number(r->train_loss, loss), num_format_size(up, sizeof up, r->bytes_up),
               num_format_size(down, sizeof down, r->bytes_down), took, r->reason);
    return SOTTO_OK;
}

static double parameters(struct coordinator *c, const char *task) {
    const struct task_host *t = task_find(c, task);
    return t ? (double)t->graph.layout.total : NAN;
}

enum sotto_status control_rounds_list(struct coordinator *c, const struct control_request *r,
                                      struct buf *out, struct sotto_error *err) {
    struct store_task row = {0};
    struct listing l = {.c = c, .r = r, .out = out};
    uint64_t limit = 0;
    enum sotto_status status;
    TRY(control_task_row(c, control_arg(r, 1), &row, err));
    if (control_arg(r, 2)[0] &&
        num_parse_u64(control_arg(r, 2), 0, 1000000, &limit, NULL) != SOTTO_OK)
        TRY_FAIL(err, SOTTO_USAGE, "LIMIT must be a number, 0 for all rounds");
    l.params = parameters(c, row.name);
    json_init(&l.j, out);
    if (r->json)
        json_array_begin(&l.j);
    else
        buf_printf(out, "%-6s %-8s %-9s %7s %6s %6s %9s %8s %10s %10s %9s  %s\n", "ROUND", "KIND",
                   "STATE", "DEVICES", "REJ", "RET", "ACCURACY", "LOSS", "UP", "DOWN", "TOOK",
                   "NOTE");
    TRY(store_round_each(c->store, row.id, (uint32_t)limit, round_line, &l, err));
    if (r->json) {
        json_array_end(&l.j);
        buf_put_u8(out, '\n');
    } else if (l.rows == 0) {
        buf_printf(out, "no round has opened yet\n");
    }
out:
    store_task_deinit(&row);
    return status;
}

static const char *member_state(int state) {
    static const char *const names[] = {"invited",  "planned",  "stored", "counted",
                                        "rejected", "declined", "dropped"};
    return state >= 0 && (size_t)state < ARRAY_LEN(names) ? names[state] : "unknown";
}

static void round_show_text(struct coordinator *c, const struct store_round *round,
                            const struct store_member *m, uint32_t members,
                            const struct store_group *g, uint32_t groups, struct buf *out) {
    static const char *const group_states[] = {"running", "summing", "summed", "failed"};
    char opened[24], closed[24], hex[2 * WIRE_HASH + 1], acc[24], size[32];
    buf_printf(out, "round %u (%s): %s%s%s\n", round->round,
               round->kind == ROUND_EVALUATE ? "evaluate" : "train", round_states[round->state],
               round->reason[0] ? ": " : "", round->reason);
    buf_printf(out, "opened %s, closed %s (UTC); from version %u",
               control_time(round->opened_ms, opened), control_time(round->closed_ms, closed),
               round->base_version);
    if (round->version)
        buf_printf(out, ", made version %u", round->version);
    buf_printf(out,
               "\nterms %s\nplain task: updates are sealed to the round's key, which the "
               "coordinator holds: it can read them\nauthority %s\n",
               num_format_hex(hex, round->terms_hash.b, WIRE_HASH),
               c->document.authority_beside
                   ? "beside the coordinator: at most secure against a curious coordinator"
                   : "elsewhere");
    buf_printf(out, "%u counted, %u rejected, %u returned; %llu examples, local loss %s\n",
               round->counted, round->rejected, round->returned,
               (unsigned long long)round->train_examples, control_number(round->train_loss, acc));
    for (uint32_t i = 0; i < groups; i++)
        buf_printf(out, "group %u: %u members, goal %u, minimum %u, %s\n", i, g[i].members,
                   g[i].goal, g[i].minimum,
                   (unsigned)g[i].state < 4 ? group_states[g[i].state] : "unknown");
    buf_printf(out, "%-10s %-6s %-9s %s\n", "DEVICE", "GROUP", "STATE", "REPORT");
    for (uint32_t i = 0; i < members; i++)
        buf_printf(out, "%-10llu %-6u %-9s %s\n", (unsigned long long)m[i].serial, m[i].group,
                   member_state(m[i].state),
                   m[i].report_bytes ? num_format_size(size, sizeof size, m[i].report_bytes) : "-");
}

enum sotto_status control_rounds_show(struct coordinator *c, const struct control_request *r,
                                      struct buf *out, struct sotto_error *err) {
    struct store_task row = {0};
    struct store_round round;
    struct store_member *m = NULL;
    struct store_group *g = NULL;
    uint32_t members = 0, groups = 0;
    uint64_t number;
    enum sotto_status status;
    TRY(control_task_row(c, control_arg(r, 1), &row, err));
    if (num_parse_u64(control_arg(r, 2), 1, UINT32_MAX, &number, NULL) != SOTTO_OK)
        TRY_FAIL(err, SOTTO_USAGE, "ROUND must be a number from 1 on");
    status = store_round_get(c->store, row.id, (uint32_t)number, &round, err);
    if (status == SOTTO_NOT_FOUND)
        TRY_FAIL(err, status, "task '%s' has no round %llu; see sottoctl rounds list %s", row.name,
                 (unsigned long long)number, row.name);
    TRY(status);
    TRY(store_members(c->store, row.id, round.round, &m, &members, err));
    TRY(store_groups(c->store, row.id, round.round, &g, &groups, err));
    if (!r->json) {
        round_show_text(c, &round, m, members, g, groups, out);
        goto out;
    }
    struct json j;
    json_init(&j, out);
    round_json(&j, &round, parameters(c, row.name));
    json_key(&j, "member_list");
    json_array_begin(&j);
    for (uint32_t i = 0; i < members; i++) {
        json_object_begin(&j);
        json_put_u64(&j, "serial", m[i].serial);
        json_put_u64(&j, "group", m[i].group);
        json_put_str(&j, "state", member_state(m[i].state));
        json_put_u64(&j, "report_bytes", m[i].report_bytes);
        json_object_end(&j);
    }
    json_array_end(&j);
    round_version_json(&j, c, &round);
    buf_put_u8(out, '\n');
out:
    mem_free(m);
    mem_free(g);
    store_task_deinit(&row);
    return status;
}

struct watching {
    struct listing l;
    uint32_t after, last;
    struct store_round rounds[256]; /* newest first, as the store gives them */
    uint32_t count;
};

static enum sotto_status collect_closed(void *ctx, const struct store_round *r) {
    struct watching *w = ctx;
    if (r->round > w->after && r->state >= STORE_ROUND_COMMITTED && w->count < ARRAY_LEN(w->rounds))
        w->rounds[w->count++] = *r;
    return SOTTO_OK;
}

static void ratio(char *out, size_t cap, double fp32, uint64_t bytes) {
    if (bytes && fp32 == fp32)
        snprintf(out, cap, "1/%.1f", fp32 / (double)bytes);
    else
        snprintf(out, cap, "-");
}

static void watch_line(struct watching *w, const struct store_round *r) {
    char up[32], down[32], took[32], up_ratio[32], down_ratio[32], note[64] = "";
    struct store_version v = {0};
    double fp32 = 4.0 * w->l.params * (r->counted ? r->counted : 1), accuracy = r->train_accuracy;
    if (r->version && store_version_get(w->l.c->store, r->task, r->version, &v, NULL) == SOTTO_OK) {
        accuracy = v.test_accuracy;
        if (v.distill_gain == v.distill_gain)
            snprintf(note, sizeof note, "distillation %+.2f points%s", 100 * v.distill_gain,
                     strcmp(v.origin, "distilled") == 0 ? "" : ", average kept");
    }
    ratio(up_ratio, sizeof up_ratio, fp32, r->bytes_up);
    ratio(down_ratio, sizeof down_ratio, fp32, r->bytes_down);
    num_format_duration(took, sizeof took, (uint64_t)(r->closed_ms - r->opened_ms));
    buf_printf(w->l.out, "%-6u %8.2f%% %8u %11s %8s %11s %8s %9s  %s%s%s\n", r->round,
               100 * accuracy, r->counted, num_format_size(up, sizeof up, r->bytes_up), up_ratio,
               num_format_size(down, sizeof down, r->bytes_down), down_ratio, took,
               r->kind == ROUND_EVALUATE ? "evaluation on devices " : "",
               r->state == STORE_ROUND_FAILED ? "failed: " : note, r->reason);
}

/* Answer: u32 newest closed round, u8 whether the task has ended, then a line (or a JSON line) for
 * each round after `after`. */
enum sotto_status control_rounds_watch(struct coordinator *c, const struct control_request *r,
                                       struct buf *out, struct sotto_error *err) {
    struct store_task row = {0};
    uint64_t after = 0;
    enum sotto_status status;
    struct watching *w = mem_zalloc(sizeof *w);
    if (!w)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "out of memory");
    TRY(control_task_row(c, control_arg(r, 1), &row, err));
    TRY(num_parse_u64(control_arg(r, 2), 0, UINT32_MAX, &after, err));
    w->l = (struct listing){.c = c, .r = r, .out = out, .params = parameters(c, row.name)};
    w->after = w->last = (uint32_t)after;
    TRY(store_round_each(c->store, row.id, ARRAY_LEN(w->rounds), collect_closed, w, err));
    if (w->count)
        w->last = w->rounds[0].round;
    buf_put_u32(out, w->last);
    buf_put_u8(out, row.state == STORE_TASK_FINISHED || row.state == STORE_TASK_STOPPED);
    for (uint32_t i = w->count; i-- > 0;) {
        if (!r->json) {
            watch_line(w, &w->rounds[i]);
            continue;
        }
        struct json j;
        json_init(&j, out);
        round_json(&j, &w->rounds[i], w->l.params);
        round_version_json(&j, c, &w->rounds[i]);
        buf_put_u8(out, '\n');
    }
out:
    store_task_deinit(&row);
    mem_free(w);
    return status;
}

/* ---- Model versions
 * ------------------------------------------------------------------------------------------------------
 */

static void version_json(struct json *j, const struct store_version *v) {
    json_object_begin(j);
    json_put_u64(j, "version", v->number);
    json_put_u64(j, "parent", v->parent);
    json_put_u64(j, "round", v->round);
    json_put_str(j, "origin", v->origin);
    json_put_bool(j, "published", v->published);
    json_put_bool(j, "released", v->released);
    json_put_u64(j, "created_ms", (uint64_t)v->created_ms);
    json_put_u64(j, "package_bytes", v->package_bytes);
    json_key(j, "package");
    json_hex(j, v->package_hash.b, WIRE_HASH);
    json_key(j, "digest");
    json_hex(j, v->digest.b, WIRE_HASH);
    json_put_str(j, "kernel_set", v->kernel_set);
    json_put_f64(j, "accuracy", v->test_accuracy);
    json_put_f64(j, "loss", v->test_loss);
    json_put_f64(j, "validation_accuracy", v->validation_accuracy);
    json_put_f64(j, "validation_loss", v->validation_loss);
    json_put_f64(j, "distill_gain", v->distill_gain);
    json_put_str(j, "reason", v->reason);
    json_object_end(j);
}

static enum sotto_status version_line(void *ctx, const struct store_version *v) {
    struct listing *l = ctx;
    char acc[24], loss[24], created[24], size[32], hex[17];
    l->rows++;
    if (l->r->json)
        version_json(&l->j, v);
    else
        buf_printf(l->out, "%-8u %-7u %-6u %-10s %-4s %9s %8s %10s  %s  %s%s%s\n", v->number,
                   v->parent, v->round, v->origin, v->published ? "yes" : "no",
                   control_number(v->test_accuracy, acc), control_number(v->test_loss, loss),
                   num_format_size(size, sizeof size, v->package_bytes),
                   num_format_hex(hex, v->digest.b, 8), control_time(v->created_ms, created),
                   v->released ? " released" : "", v->reason);
    return SOTTO_OK;
}

enum sotto_status control_models_list(struct coordinator *c, const struct control_request *r,
                                      struct buf *out, struct sotto_error *err) {
    struct store_task row = {0};
    struct listing l = {.c = c, .r = r, .out = out};
    enum sotto_status status;
    TRY(control_task_row(c, control_arg(r, 1), &row, err));
    json_init(&l.j, out);
    if (r->json)
        json_array_begin(&l.j);
    else
        buf_printf(out, "%-8s %-7s %-6s %-10s %-4s %9s %8s %10s  %-16s  %s\n", "VERSION", "PARENT",
                   "ROUND", "ORIGIN", "PUB", "ACCURACY", "LOSS", "PACKAGE", "DIGEST",
                   "CREATED (UTC)");
    TRY(store_version_each(c->store, row.id, 0, version_line, &l, err));
    if (r->json) {
        json_array_end(&l.j);
        buf_put_u8(out, '\n');
    }
out:
    store_task_deinit(&row);
    return status;
}

/* VERSION as a number, or "current". */
static enum sotto_status find_version(struct coordinator *c, const struct control_request *r,
                                      struct store_task *row, struct store_version *v,
                                      struct sotto_error *err) {
    enum sotto_status status;
    uint64_t number;
    TRY(control_task_row(c, control_arg(r, 1), row, err));
    if (strcmp(control_arg(r, 2), "current") == 0)
        number = row->version;
    else if (num_parse_u64(control_arg(r, 2), 1, UINT32_MAX, &number, NULL) != SOTTO_OK)
        TRY_FAIL(err, SOTTO_USAGE, "VERSION must be a number from 1 on, or current");
    status = store_version_get(c->store, row->id, (uint32_t)number, v, err);
    if (status == SOTTO_NOT_FOUND)
        TRY_FAIL(err, SOTTO_NOT_FOUND,
                 "task '%s' has no version %llu (any more); see sottoctl models list %s", row->name,
                 (unsigned long long)number, row->name);
out:
    return status;
}

enum sotto_status control_models_show(struct coordinator *c, const struct control_request *r,
                                      struct buf *out, struct sotto_error *err) {
    struct store_task row = {0};
    struct store_version v;
    enum sotto_status status = find_version(c, r, &row, &v, err);
    if (status == SOTTO_OK && r->json) {
        struct json j;
        json_init(&j, out);
        version_json(&j, &v);
        buf_put_u8(out, '\n');
    } else if (status == SOTTO_OK) {
        char hex[2 * WIRE_HASH + 1], acc[24], loss[24], created[24], size[32];
        buf_printf(out, "version %u of %s (%s)%s\n", v.number, row.name, v.origin,
                   v.number == row.version ? ", current" : "");
        buf_printf(out, "created %s UTC, parent %u, round %u, %s\n",
                   control_time(v.created_ms, created), v.parent, v.round,
                   v.published ? "published" : "not published");
        buf_printf(out, "accuracy %s, loss %s on the held-out test examples, as devices get it\n",
                   control_number(v.test_accuracy, acc), control_number(v.test_loss, loss));
        if (v.distill_gain == v.distill_gain)
            buf_printf(out, "distillation against the plain average: %+.4f validation accuracy\n",
                       v.distill_gain);
        buf_printf(out, "package %s (%s)\n", num_format_hex(hex, v.package_hash.b, WIRE_HASH),
                   num_format_size(size, sizeof size, v.package_bytes));
        buf_printf(out, "digest  %s (%s)\n", num_format_hex(hex, v.digest.b, WIRE_HASH),
                   v.kernel_set);
        if (v.reason[0])
            buf_printf(out, "%s\n", v.reason);
    }
    store_task_deinit(&row);
    return status;
}

enum sotto_status control_models_package(struct coordinator *c, const struct control_request *r,
                                         struct buf *out, struct sotto_error *err) {
    struct store_task row = {0};
    struct store_version v;
    struct buf bytes;
    char path[IO_PATH_MAX];
    enum sotto_status status;
    buf_init(&bytes, PACKAGE_ANSWER_MAX);
    TRY(find_version(c, r, &row, &v, err));
    TRY(blob_path(c, "packages", &v.package_hash, path, sizeof path, err));
    TRY(io_read_file(path, PACKAGE_ANSWER_MAX, &bytes, err));
    buf_put(out, bytes.data, bytes.len);
out:
    buf_deinit(&bytes);
    store_task_deinit(&row);
    return status;
}

enum sotto_status control_models_release(struct coordinator *c, const struct control_request *r,
                                         struct buf *out, struct sotto_error *err) {
    struct store_task row = {0};
    struct store_version v;
    enum sotto_status status;
    TRY(find_version(c, r, &row, &v, err));
    TRY(store_begin(c->store, err));
    TRY(store_version_release(c->store, row.id, v.number, err));
    buf_printf(out, "version %u of %s is kept for ever\n", v.number, row.name);
out:
    store_task_deinit(&row);
    return status;
}

/* An old version is published again as a new one, whose parent it is. The open round is given up:
 * its updates are against another model. */
enum sotto_status control_models_rollback(struct coordinator *c, const struct control_request *r,
                                          struct buf *out, struct sotto_error *err) {
    struct store_task row = {0};
    struct store_version v;
    uint32_t last = 0;
    char text[160];
    enum sotto_status status;
    TRY(find_version(c, r, &row, &v, err));
    struct task_host *t = task_find(c, row.name);
    if (v.number == row.version)
        TRY_FAIL(err, SOTTO_STATE, "version %u is the current one", v.number);
    if (!v.published)
        TRY_FAIL(err, SOTTO_STATE, "version %u was refused (%s), it is never published", v.number,
                 v.reason[0] ? v.reason : "by the gate");
    if (t)
        TRY(round_abandon(t, "the model was rolled back", err));
    TRY(store_begin(c->store, err));
    TRY(store_version_last(c->store, row.id, &last, err));
    uint32_t from = v.number;
    v.parent = v.number;
    v.number = last + 1;
    v.round = 0;
    v.published = true;
    v.released = false;
    v.created_ms = clock_wall_ms();
    snprintf(v.origin, sizeof v.origin, "rollback");
    snprintf(v.reason, sizeof v.reason, "version %u again", from);
    TRY(store_version_add(c->store, &v, true, err));
    snprintf(text, sizeof text, "version %u published again as version %u", from, v.number);
    if (t) {
        t->version = v;
        t->row.version = v.number;
        TRY(task_event_log(t, "models.rollback", 0, text, err));
        struct round_event tick = {.kind = ROUND_EV_TICK, .now_ms = clock_mono_ms()};
        TRY(task_event(t, &tick, NULL, err));
    }
    buf_printf(out, "%s; devices get it with their next plan\n", text);
out:
    store_task_deinit(&row);
    return status;
}
