/* Control commands about the coordinator, its document and its devices. */
#include "daemon/control_int.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TABLE_ROWS_MAX 100000

static uint64_t resident_bytes(void) {
    struct buf b;
    uint64_t pages = 0;
    buf_init(&b, 256);
    if (io_read_file("/proc/self/statm", 256, &b, NULL) == SOTTO_OK) {
        buf_put_u8(&b, 0);
        unsigned long long total = 0, resident = 0;
        if (sscanf((const char *)b.data, "%llu %llu", &total, &resident) == 2)
            pages = resident;
    }
    buf_deinit(&b);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void status_task_json(struct json *j, const struct task_host *t) {
    uint32_t groups = 0, members = 0, stored = 0;
    const struct round_group *g = round_groups(t->engine, &groups);
    (void)round_members(t->engine, &members);
    for (uint32_t i = 0; i < groups; i++)
        stored += g[i].stored;
    json_object_begin(j);
    json_put_str(j, "task", t->row.name);
    json_put_str(j, "state", store_task_state_name(t->row.state));
    json_put_str(j, "round_state", round_state_name(round_state(t->engine)));
    json_put_u64(j, "round", round_number(t->engine));
    json_put_u64(j, "rounds_done", t->row.train_rounds_done);
    json_put_u64(j, "rounds", t->settings.rounds);
    json_put_u64(j, "members", t->round_live ? members : 0);
    json_put_u64(j, "reports", t->round_live ? stored : 0);
    json_put_u64(j, "version", t->version.number);
    json_put_f64(j, "accuracy", t->version.test_accuracy);
    json_put_u64(j, "devices", round_device_count(t->engine));
    if (t->advancing && atomic_load(&t->progress_total)) {
        json_put_str(j, "step", atomic_load(&t->progress_what));
        json_put_u64(j, "step_done", atomic_load(&t->progress_done));
        json_put_u64(j, "step_total", atomic_load(&t->progress_total));
    }
    json_object_end(j);
}

static bool authority_beside(const struct coordinator *c) {
    return c->document.authority_beside || keys_authority_beside(c);
}

static void status_json(struct coordinator *c, const struct transport_stats *s, struct buf *out) {
    struct json j;
    json_init(&j, out);
    json_object_begin(&j);
    json_put_str(&j, "version", SOTTO_VERSION_TEXT);
    json_put_str(&j, "address", coordinator_address(c));
    json_put_u64(&j, "uptime_ms", clock_mono_ms() - c->started_ms);
    json_put_u64(&j, "document_version", c->document.version);
    json_put_bool(&j, "document_stale", keys_document_stale(c));
    json_put_str(&j, "claim",
                 authority_beside(c) ? "secure against a curious coordinator"
                                     : "authority elsewhere");
    json_put_str(&j, "kernel_set", kern_backend_kernel_set(c->backend));
    json_put_u64(&j, "resident_bytes", resident_bytes());
    json_put_u64(&j, "disk_bytes", keep_disk_used(c));
    json_put_u64(&j, "received", s->received);
    json_put_u64(&j, "sent", s->sent);
    json_put_u64(&j, "bytes_in", s->bytes_in);
    json_put_u64(&j, "bytes_out", s->bytes_out);
    json_put_u64(&j, "refused_connections", s->refused);
    json_put_u64(&j, "dropped_messages", s->dropped);
    json_put_u64(&j, "check_ins", c->checkins);
    json_put_u64(&j, "enrolled", c->enrolled);
    json_put_u64(&j, "rejected", c->rejected);
    json_key(&j, "tasks");
    json_array_begin(&j);
    for (uint32_t i = 0; i < c->task_count; i++)
        status_task_json(&j, c->tasks[i]);
    json_array_end(&j);
    json_key(&j, "broken_tasks");
    json_array_begin(&j);
    for (uint32_t i = 0; i < c->broken_count; i++) {
        json_object_begin(&j);
        json_put_str(&j, "task", c->broken[i].name);
        json_put_str(&j, "reason", c->broken[i].reason);
        json_object_end(&j);
    }
    json_array_end(&j);
    json_object_end(&j);
    buf_put_u8(out, '\n');
}

static void status_task_text(struct buf *out, const struct task_host *t) {
    uint32_t groups = 0, members = 0, stored = 0;
    char acc[24];
    const struct round_group *g = round_groups(t->engine, &groups);
    (void)round_members(t->engine, &members);
    for (uint32_t k = 0; k < groups; k++)
        stored += g[k].stored;
    buf_printf(out, "task %s: %s, %llu", t->row.name, store_task_state_name(t->row.state),
               (unsigned long long)t->row.train_rounds_done);
    if (t->settings.rounds)
        buf_printf(out, " of %llu", (unsigned long long)t->settings.rounds);
    buf_printf(out, " rounds done, version %u accuracy %s, ", t->version.number,
               control_number(t->version.test_accuracy, acc));
    if (!t->round_live) {
        const uint32_t devices = round_device_count(t->engine);
        buf_printf(out, "%s with %u device%s\n", round_state_name(round_state(t->engine)), devices,
                   devices == 1 ? "" : "s");
        return;
    }
    buf_printf(out, "round %u %s: %u of %u reports", round_number(t->engine),
               round_state_name(round_state(t->engine)), stored, members);
    if (t->advancing && atomic_load(&t->progress_total))
        buf_printf(out, ", %s %u/%u", atomic_load(&t->progress_what),
                   atomic_load(&t->progress_done), atomic_load(&t->progress_total));
    buf_printf(out, "\n");
}

enum sotto_status control_status(struct coordinator *c, const struct control_request *r,
                                 struct buf *out, struct sotto_error *err) {
    struct transport_stats s = {0}, one;
    char up[32], in[32], outb[32], rss[32], disk[32];
    (void)err;
    for (uint32_t i = 0; i < c->server_count; i++) {
        transport_server_stats(c->servers[i], &one);
        s.received += one.received;
        s.sent += one.sent;
        s.dropped += one.dropped;
        s.refused += one.refused;
        s.bytes_in += one.bytes_in;
        s.bytes_out += one.bytes_out;
    }
    if (r->json) {
        status_json(c, &s, out);
        return SOTTO_OK;
    }
    num_format_duration(up, sizeof up, clock_mono_ms() - c->started_ms);
    buf_printf(out, "coordinator %s at %s, up %s, %s resident, %s on disk\n", SOTTO_VERSION_TEXT,
               coordinator_address(c), up, num_format_size(rss, sizeof rss, resident_bytes()),
               num_format_size(disk, sizeof disk, keep_disk_used(c)));
    buf_printf(
        out, "document version %llu%s; authority %s\n", (unsigned long long)c->document.version,
        c->document_bytes.len == 0 ? " (not certified yet: run sottoctl enroll or document request)"
        : keys_document_stale(c)   ? " (out of date: run sottoctl document request)"
                                   : "",
        authority_beside(c) ? "beside the coordinator: at most secure against a curious coordinator"
                            : "elsewhere");
    buf_printf(
        out,
        "messages: %llu in (%s), %llu out (%s), %llu dropped, %llu connections refused, %llu "
        "rejected\n",
        (unsigned long long)s.received, num_format_size(in, sizeof in, s.bytes_in),
        (unsigned long long)s.sent, num_format_size(outb, sizeof outb, s.bytes_out),
        (unsigned long long)s.dropped, (unsigned long long)s.refused,
        (unsigned long long)c->rejected);
    for (uint32_t i = 0; i < c->task_count; i++)
        status_task_text(out, c->tasks[i]);
    for (uint32_t i = 0; i < c->broken_count; i++)
        buf_printf(out, "task %s: NOT LOADED: %s (mend it, then: sottoctl task resume %s)\n",
                   c->broken[i].name, c->broken[i].reason, c->broken[i].name);
    if (c->task_count == 0 && c->broken_count == 0)
        buf_printf(out, "no task is running; create one with sottoctl task create FILE\n");
    return SOTTO_OK;
}

static enum sotto_status device_line(void *ctx, const struct store_device *d) {
    struct listing *l = ctx;
    char seen[24], up[32], down[32], speed[24];
    const char *state = d->revoked_ms ? "revoked" : "enrolled";
    l->rows++;
    if (l->r->json) {
        json_object_begin(&l->j);
        json_put_u64(&l->j, "serial", d->serial);
        json_put_str(&l->j, "state", state);
        json_put_str(&l->j, "version", d->version);
        json_put_str(&l->j, "tier", d->tier);
        json_put_str(&l->j, "backend", d->backend);
        json_put_u64(&l->j, "enrolled_ms", (uint64_t)d->enrolled_ms);
        json_put_u64(&l->j, "seen_ms", (uint64_t)d->seen_ms);
        json_put_u64(&l->j, "reports", d->reports);
        json_put_u64(&l->j, "rejected", d->rejected);
        json_put_f64(&l->j, "samples_per_s", d->samples_per_s);
        json_put_u64(&l->j, "bytes_up", d->bytes_up);
        json_put_u64(&l->j, "bytes_down", d->bytes_down);
        json_object_end(&l->j);
    } else {
        snprintf(speed, sizeof speed, "%.0f", d->samples_per_s);
        buf_printf(l->out, "%-8llu %-9s %-20s %8llu %9llu %10s %10s %10s  %-10s %s\n",
                   (unsigned long long)d->serial, state, control_time(d->seen_ms, seen),
                   (unsigned long long)d->reports, (unsigned long long)d->rejected,
                   d->samples_per_s > 0 ? speed : "-", num_format_size(up, sizeof up, d->bytes_up),
                   num_format_size(down, sizeof down, d->bytes_down), d->version, d->backend);
    }
    return SOTTO_OK;
}

enum sotto_status control_devices(struct coordinator *c, const struct control_request *r,
                                  struct buf *out, struct sotto_error *err) {
    struct listing l = {.r = r, .out = out};
    json_init(&l.j, out);
    if (r->json)
        json_array_begin(&l.j);
    else
        buf_printf(out, "%-8s %-9s %-20s %8s %9s %10s %10s %10s  %-10s %s\n", "SERIAL", "STATE",
                   "SEEN (UTC)", "REPORTS", "REJECTED", "SAMPLES/S", "UP", "DOWN", "VERSION",
                   "BACKEND");
    enum sotto_status status = store_device_each(c->store, device_line, &l, err);
    if (r->json) {
        json_array_end(&l.j);
        buf_put_u8(out, '\n');
    } else if (l.rows == 0) {
        buf_printf(out, "no device is enrolled; make tokens with sottoctl enroll\n");
    }
    return status;
}

/* A token that no device has used yet. */
static enum sotto_status withdraw(struct coordinator *c, uint64_t serial, struct buf *out,
                                  struct sotto_error *err) {
    enum sotto_status status;
    struct store_ticket t;
    char text[64];
    status = store_ticket_get(c->store, serial, &t, err);
    if (status == SOTTO_NOT_FOUND)
        TRY_FAIL(err, status, "no device or token %llu; sottoctl devices lists the devices",
                 (unsigned long long)serial);
    TRY(status);
    if (t.spent)
        TRY_FAIL(err, SOTTO_EXISTS, "token %llu is withdrawn already", (unsigned long long)serial);
    TRY(store_begin(c->store, err));
    TRY(store_ticket_withdraw(c->store, serial, err));
    snprintf(text, sizeof text, "token %llu withdrawn", (unsigned long long)serial);
    TRY(store_event_add(c->store, clock_wall_ms(), "token.withdraw", "", 0, text, err));
    transport_gate_remove(c->gate, t.ticket.curve_key);
    buf_printf(out, "%s: no device had used it, and none can now\n", text);
out:
    return status;
}

enum sotto_status control_revoke(struct coordinator *c, const struct control_request *r,
                                 struct buf *out, struct sotto_error *err) {
    enum sotto_status status;
    struct store_device d;
    uint64_t serial;
    char text[64];
    if (num_parse_u64(control_arg(r, 1), 1, INT64_MAX, &serial, NULL) != SOTTO_OK)
        TRY_FAIL(err, SOTTO_USAGE,
                 "SERIAL must be a device's number, as sottoctl devices shows it");
    status = store_device_get(c->store, serial, &d, err);
    if (status == SOTTO_NOT_FOUND)
        return withdraw(c, serial, out, err);
    TRY(status);
    if (d.revoked_ms)
        TRY_FAIL(err, SOTTO_EXISTS, "device %llu is revoked already", (unsigned long long)serial);
    TRY(store_begin(c->store, err));
    TRY(store_device_revoke(c->store, serial, clock_wall_ms(), err));
    snprintf(text, sizeof text, "device %llu revoked", (unsigned long long)serial);
    TRY(store_event_add(c->store, clock_wall_ms(), "device.revoke", "", 0, text, err));
    transport_gate_remove(c->gate, d.curve_key);
    for (uint32_t i = 0; i < c->task_count; i++) {
        struct round_event e = {
            .kind = ROUND_EV_DEVICE_REMOVE, .now_ms = clock_mono_ms(), .serial = serial};
        TRY(task_event(c->tasks[i], &e, NULL, err));
    }
    buf_printf(out,
               "%s: it is shut out from now on. Its serial goes into the next document: run "
               "sottoctl document request, authority certify and document import\n",
               text);
out:
    return status;
}

enum sotto_status control_serials(struct coordinator *c, const struct control_request *r,
                                  struct buf *out, struct sotto_error *err) {
    enum sotto_status status;
    uint64_t count, first;
    TRY(num_parse_u64(control_arg(r, 1), 1, 100000, &count, err));
    TRY(store_begin(c->store, err));
    TRY(store_serial_reserve(c->store, (uint32_t)count, &first, err));
    buf_put_u64(out, first);
out:
    return status;
}

/* One ticket of a list; *known: it is in the store already, the same. EXISTS: another is. */
static enum sotto_status read_ticket(struct coordinator *c, struct view list, uint32_t i,
                                     struct id_ticket *t, bool *known, struct sotto_error *err) {
    struct store_ticket have;
    enum sotto_status status;
    *known = false;
    status = id_ticket_decode(view_of(list.p + (size_t)i * ID_TICKET_BYTES, ID_TICKET_BYTES),
                              c->authority_key, t, err);
    if (status != SOTTO_OK) {
        (void)sotto_error_prefix(err, "ticket %u of the list", i + 1);
        goto out;
    }
    status = store_ticket_get(c->store, t->serial, &have, err);
    if (status == SOTTO_NOT_FOUND) {
        bool taken = false;
        TRY(store_curve_known(c->store, t->curve_key, &taken, err));
        if (taken)
            TRY_FAIL(err, SOTTO_EXISTS, "ticket %llu has another's key",
                     (unsigned long long)t->serial);
        return SOTTO_OK;
    }
    TRY(status);
    if (memcmp(&have.ticket, t, sizeof *t) != 0)
        TRY_FAIL(err, SOTTO_EXISTS,
                 "another token with serial %llu is known already; issue with a higher --first",
                 (unsigned long long)t->serial);
    *known = true;
out:
    return status;
}

/* All or nothing; a list that is taken twice changes nothing. */
enum sotto_status control_tickets(struct coordinator *c, const struct control_request *r,
                                  struct buf *out, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct view list = r->argv[1];
    uint32_t n = (uint32_t)(list.n / ID_TICKET_BYTES), fresh = 0;
    struct id_ticket t;
    bool known;
    uint64_t last = 0, next = 0;
    if (n == 0 || list.n % ID_TICKET_BYTES != 0)
        TRY_FAIL(err, SOTTO_CORRUPT, "not a list of tickets: %zu bytes are no multiple of %u",
                 list.n, ID_TICKET_BYTES);
    for (uint32_t i = 0; i < n; i++) {
        TRY(read_ticket(c, list, i, &t, &known, err));
        if (t.serial <= last)
            TRY_FAIL(err, SOTTO_CORRUPT, "ticket %u of the list is out of order", i + 1);
        last = t.serial;
    }
    TRY(store_begin(c->store, err));
    for (uint32_t i = 0; i < n; i++) {
        TRY(read_ticket(c, list, i, &t, &known, err));
        if (known)
            continue;
        TRY(store_ticket_add(c->store, &t, err));
        TRY(transport_gate_allow(c->gate, t.curve_key, TRANSPORT_ENROLL, t.serial, t.expiry_ms));
        fresh++;
    }
    /* Serials given by a separate authority are never given again here. */
    TRY(store_serial_reserve(c->store, 0, &next, err));
    if (next <= last)
        TRY(store_serial_reserve(c->store, last + 1 - next, &next, err));
    buf_printf(out, "%u token%s taken", fresh, fresh == 1 ? "" : "s");
    if (fresh < n)
        buf_printf(out, ", %u known already", n - fresh);
    buf_printf(out, "\n");
out:
    return status;
}

enum sotto_status control_document(struct coordinator *c, const struct control_request *r,
                                   struct buf *out, struct sotto_error *err) {
    (void)r;
    if (c->document_bytes.len == 0)
        return SOTTO_FAIL(err, SOTTO_NOT_FOUND,
                          "no certified document yet; run sottoctl document request");
    buf_put_u8(out, keys_document_stale(c));
    buf_put(out, c->document_bytes.data, c->document_bytes.len);
    return SOTTO_OK;
}

enum sotto_status control_document_request(struct coordinator *c, const struct control_request *r,
                                           struct buf *out, struct sotto_error *err) {
    struct id_document d;
    (void)r;
    enum sotto_status status = keys_document_wanted(c, &d, err);
    if (status != SOTTO_OK)
        return status;
    status = id_document_request(&d, out, err);
    id_document_deinit(&d);
    return status;
}

enum sotto_status control_document_import(struct coordinator *c, const struct control_request *r,
                                          struct buf *out, struct sotto_error *err) {
    enum sotto_status status;
    char text[64];
    TRY(store_begin(c->store, err));
    TRY(keys_document_import(c, r->argv[1], err));
    snprintf(text, sizeof text, "document version %llu taken",
             (unsigned long long)c->document.version);
    TRY(store_event_add(c->store, clock_wall_ms(), "document.import", "", 0, text, err));
    buf_printf(out, "%s\n", text);
out:
    return status;
}

static enum sotto_status event_line(void *ctx, uint64_t id, int64_t at_ms, const char *kind,
                                    const char *task, uint32_t round, const char *text) {
    struct listing *l = ctx;
    char at[24];
    if (l->until && id > l->until)
        return SOTTO_OK;
    if (l->r->json) {
        struct json j;
        json_init(&j, l->out);
        json_object_begin(&j);
        json_put_u64(&j, "id", id);
        json_put_u64(&j, "at_ms", (uint64_t)at_ms);
        json_put_str(&j, "kind", kind);
        json_put_str(&j, "task", task);
        json_put_u64(&j, "round", round);
        json_put_str(&j, "text", text);
        json_object_end(&j);
        buf_put_u8(l->out, '\n');
    } else {
        buf_printf(l->out, "%s  %-16s %-12s", control_time(at_ms, at), kind, task);
        if (round)
            buf_printf(l->out, " round %-5u", round);
        buf_printf(l->out, " %s\n", text);
    }
    return SOTTO_OK;
}

enum sotto_status control_events(struct coordinator *c, const struct control_request *r,
                                 struct buf *out, struct sotto_error *err) {
    struct listing l = {.r = r, .out = out};
    uint64_t after, limit;
    enum sotto_status status;
    TRY(num_parse_u64(control_arg(r, 1), 0, INT64_MAX, &after, err));
    TRY(num_parse_u64(control_arg(r, 2), 0, TABLE_ROWS_MAX, &limit, err));
    if (control_arg(r, 3)[0])
        TRY(num_parse_u64(control_arg(r, 3), 0, INT64_MAX, &l.until, err));
    TRY(store_event_each(c->store, after, (uint32_t)limit, event_line, &l, err));
out:
    return status;
}

/* Database, keys, models, and the authority's folder where it lies in the state: all that a restore
 * needs. Reports of the open round are not in it. Under its name only when it is whole. */
enum sotto_status control_backup(struct coordinator *c, const struct control_request *r,
                                 struct buf *out, struct sotto_error *err) {
    enum sotto_status status;
    char part[IO_PATH_MAX], path[IO_PATH_MAX];
    const char *dir = control_arg(r, 1);
    if (dir[0] != '/' || strlen(dir) + 8 >= sizeof part)
        return SOTTO_FAIL(err, SOTTO_USAGE, "a backup needs an absolute path of moderate length");
    if (io_exists(dir))
        return SOTTO_FAIL(err, SOTTO_EXISTS, "%s: exists already; a backup never overwrites", dir);
    snprintf(part, sizeof part, "%s.part", dir);
    if (io_exists(part))
        TRY(io_remove_tree(part, err)); /* of one that was cut short */
    TRY(io_mkdir_p(part, 0700, err));
    TRY(io_join(path, sizeof path, part, "coordinator.db", err));
    TRY(store_backup(c->store, path, err));
    TRY(store_copy_files(c->state_dir, part, err));
    TRY(io_fsync_dir(part, err));
    if (rename(part, dir) != 0)
        TRY_FAIL(err, SOTTO_IO, "%s: cannot be put in place: %s", dir, strerror(errno));
    buf_printf(out,
               "backup in %s: database, keys and models. Keep it as secret as the coordinator "
               "itself.\n",
               dir);
out:
    if (status != SOTTO_OK)
        (void)io_remove_tree(part, NULL);
    return status;
}
