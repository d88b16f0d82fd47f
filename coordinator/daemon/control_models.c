/* Control commands about model versions. */
#include "daemon/control_int.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define PACKAGE_ANSWER_MAX PACKAGE_BYTES_MAX

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
