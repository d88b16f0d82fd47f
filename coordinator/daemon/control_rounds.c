/* Control commands about rounds. */
#include "daemon/control_int.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

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
    static const char *const names[] = {"invited",  "planned",  "stored",  "counted",
                                        "rejected", "declined", "dropped", "ready"};
    return state >= 0 && (size_t)state < ARRAY_LEN(names) ? names[state] : "unknown";
}

static bool is_secure(const struct store_round *round) {
    sotto_Terms terms;
    return wire_terms_decode(view_of(round->terms, round->terms_bytes), &terms, NULL) == SOTTO_OK &&
           secure_wanted(&terms);
}

static enum sotto_status round_show_text(struct coordinator *c, const struct store_round *round,
                                         const struct store_member *m, uint32_t members,
                                         const struct store_group *g, uint32_t groups,
                                         struct buf *out, struct sotto_error *err) {
    static const char *const group_states[] = {"running", "summing", "summed", "failed",
                                               "gathering"};
    char opened[24], closed[24], hex[2 * WIRE_HASH + 1], acc[24], size[32];
    buf_printf(out, "round %u (%s): %s%s%s\n", round->round,
               round->kind == ROUND_EVALUATE ? "evaluate" : "train", round_states[round->state],
               round->reason[0] ? ": " : "", round->reason);
    buf_printf(out, "opened %s, closed %s (UTC); from version %u",
               control_time(round->opened_ms, opened), control_time(round->closed_ms, closed),
               round->base_version);
    if (round->version)
        buf_printf(out, ", made version %u", round->version);
    buf_printf(
        out, "\nterms %s\n%s\nauthority %s\n", num_format_hex(hex, round->terms_hash.b, WIRE_HASH),
        is_secure(round)
            ? "masked task: no single update is readable at the coordinator, a group's sum is"
            : "plain task: updates are sealed to the round's key, which the coordinator "
              "holds: it can read them",
        c->document.authority_beside || keys_authority_beside(c)
            ? "beside the coordinator: at most secure against a curious coordinator"
            : "elsewhere");
    buf_printf(out, "%u counted, %u rejected, %u returned; %llu examples, local loss %s\n",
               round->counted, round->rejected, round->returned,
               (unsigned long long)round->train_examples, control_number(round->train_loss, acc));
    for (uint32_t i = 0; i < groups; i++)
        buf_printf(out, "group %u: %u members, goal %u, minimum %u, %s\n", i, g[i].members,
                   g[i].goal, g[i].minimum,
                   (unsigned)g[i].state < ARRAY_LEN(group_states) ? group_states[g[i].state]
                                                                  : "unknown");
    enum sotto_status status = control_secure_text(c, round, out, err);
    buf_printf(out, "%-10s %-6s %-9s %s\n", "DEVICE", "GROUP", "STATE", "REPORT");
    for (uint32_t i = 0; i < members; i++)
        buf_printf(out, "%-10llu %-6u %-9s %s\n", (unsigned long long)m[i].serial, m[i].group,
                   member_state(m[i].state),
                   m[i].report_bytes ? num_format_size(size, sizeof size, m[i].report_bytes) : "-");
    return status;
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
        status = round_show_text(c, &round, m, members, g, groups, out, err);
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
    json_put_bool(&j, "masked", is_secure(&round));
    if (is_secure(&round))
        TRY(control_secure_json(c, &round, &j, err));
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
    num_format_duration(took, sizeof took,
                        r->closed_ms > r->opened_ms ? (uint64_t)(r->closed_ms - r->opened_ms) : 0);
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

static void csv_number(struct buf *out, double v) {
    if (v == v)
        buf_printf(out, ",%.9g", v);
    else
        buf_put_u8(out, ',');
}

static enum sotto_status round_csv(void *ctx, const struct store_round *r) {
    struct listing *l = ctx;
    struct store_version v = {.test_accuracy = NAN, .test_loss = NAN};
    if (r->state < STORE_ROUND_COMMITTED)
        return SOTTO_OK;
    if (r->version)
        (void)store_version_get(l->c->store, r->task, r->version, &v, NULL);
    buf_printf(l->out, "%u,%s,%s,%u,%u,%u,%u", r->round,
               r->kind == ROUND_EVALUATE ? "evaluate" : "train", round_states[r->state], r->version,
               r->counted, r->rejected, r->returned);
    csv_number(l->out, v.test_accuracy);
    csv_number(l->out, v.test_loss);
    csv_number(l->out, r->train_accuracy);
    csv_number(l->out, r->train_loss);
    buf_printf(l->out, ",%llu,%llu,%.3f\n", (unsigned long long)r->bytes_up,
               (unsigned long long)r->bytes_down, (double)(r->closed_ms - r->opened_ms) / 1000.0);
    return SOTTO_OK;
}

/* One row a closed round, in order; what sotto-sim plot reads too. */
enum sotto_status control_rounds_csv(struct coordinator *c, const struct control_request *r,
                                     struct buf *out, struct sotto_error *err) {
    struct store_task row = {0};
    struct buf lines; /* newest first, as the store gives them */
    struct listing l = {.c = c, .r = r, .out = &lines};
    enum sotto_status status;
    buf_init(&lines, (size_t)256 << 20);
    TRY(control_task_row(c, control_arg(r, 1), &row, err));
    TRY(store_round_each(c->store, row.id, 0, round_csv, &l, err));
    buf_printf(out, "round,kind,state,version,counted,rejected,returned,accuracy_fraction,"
                    "loss_nats,train_accuracy_fraction,train_loss_nats,up_bytes,down_bytes,"
                    "duration_seconds\n");
    for (size_t end = lines.len; end > 0;) {
        size_t start = end - 1;
        while (start > 0 && lines.data[start - 1] != '\n')
            start--;
        buf_put(out, lines.data + start, end - start);
        end = start;
    }
    if (lines.status != SOTTO_OK)
        status = SOTTO_FAIL(err, lines.status, "too many rounds for one table");
out:
    buf_deinit(&lines);
    store_task_deinit(&row);
    return status;
}
