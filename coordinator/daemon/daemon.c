/* The daemon as an object: opening, the loop's one turn, closing. */
#include "daemon/daemon_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define DAY_MS          INT64_C(86400000)
#define RETAIN_EVERY_MS 60000
#define MESSAGES_A_TURN 256

static const char *const round_keys_names[] = {"memory", "disk", NULL};
static const char *const log_level_names[] = {"error", "warn", "info", "debug", NULL};
static const char *const log_format_names[] = {"text", "json", NULL};

#define AT(member) offsetof(struct daemon_config, member)
const struct config_option daemon_options[] = {
    {"state", CONFIG_STR, AT(state_dir), NULL, 0, 0, NULL, CONFIG_REQUIRED | CONFIG_PATH, "",
     "Folder of store, keys and models; made by sottoctl init."},
    {"listen", CONFIG_STR, AT(listen), "tcp://127.0.0.1:*", 0, 0, NULL, 0, "",
     "Address that devices connect to; port * takes a free one at the first start and keeps it."},
    {"advertise", CONFIG_LIST_STR, AT(advertise), NULL, 0, 0, NULL, 0, "",
     "Addresses that the coordinator document names instead of the bound one."},
    {"control", CONFIG_STR, AT(control), "", 0, 0, NULL, CONFIG_PATH, "",
     "Control socket; empty: control.sock in state."},
    {"workers", CONFIG_U64, AT(workers), "0", 0, 256, NULL, 0, "threads",
     "Worker threads for decoding and the server step; 0: one a processor."},
    {"devices_max", CONFIG_U64, AT(devices_max), "1000", 1, 1000000, NULL, 0, "devices",
     "Connections at one time; the limit of open files must be higher."},
    {"keep_versions", CONFIG_U64, AT(keep_versions), "20", 2, 100000, NULL, 0, "versions",
     "Model versions kept, besides released ones."},
    {"keep_events_days", CONFIG_U64, AT(keep_events_days), "90", 1, 36500, NULL, 0, "days",
     "Events kept."},
    {"keep_outcomes_days", CONFIG_U64, AT(keep_outcomes_days), "30", 1, 36500, NULL, 0, "days",
     "Outcomes of reports kept; a device closes older ones as kept."},
    {"rotate_overlap_days", CONFIG_U64, AT(rotate_overlap_days), "30", 0, 3650, NULL, 0, "days",
     "How long a retired CURVE key stays bound at its own port."},
    {"round_keys", CONFIG_ENUM, AT(round_keys), "memory", 0, 0, round_keys_names, 0, "",
     "memory: outlive a crash, not a reboot; disk: outlive power loss, but a thief of the disk "
     "reads the open round."},
    {"round_keys_dir", CONFIG_STR, AT(round_keys_dir), "", 0, 0, NULL, CONFIG_PATH, "",
     "Folder of round keys; empty: below /dev/shm for memory, in state for disk."},
    {"data", CONFIG_STR, AT(data_dir), "", 0, 0, NULL, CONFIG_PATH, "",
     "Folder of evaluation data sets."},
    {"log.level", CONFIG_ENUM, AT(log_level), "info", 0, 0, log_level_names, CONFIG_RELOAD, "",
     "Least level logged."},
    {"log.format", CONFIG_ENUM, AT(log_format), "text", 0, 0, log_format_names, 0, "",
     "Form of log lines."},
    CONFIG_END,
};

static enum sotto_status make_folders(struct coordinator *c, struct sotto_error *err) {
    static const char *const names[] = {"blobs/packages", "blobs/masters", "blobs/states",
                                        "blobs/deltas",   "uploads",       "sums"};
    enum sotto_status status = SOTTO_OK;
    char path[IO_PATH_MAX];
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        TRY(io_join(path, sizeof path, c->state_dir, names[i], err));
        TRY(io_mkdir_p(path, 0700, err));
    }
out:
    return status;
}

/* Where open rounds' keys lie: a tmpfs folder named by the authority's key, so that two
 * coordinators never share one. */
static enum sotto_status round_keys_folder(struct coordinator *c, struct sotto_error *err) {
    enum sotto_status status;
    char path[IO_PATH_MAX], name[64], hex[17];
    if (!c->config.round_keys_dir || !c->config.round_keys_dir[0]) {
        if (c->config.round_keys == 0) {
            struct wire_hash h =
                wire_hash_of("sotto state dir", view_of(c->state_dir, strlen(c->state_dir)));
            snprintf(name, sizeof name, "sotto-%u-%s", (unsigned)getuid(),
                     num_format_hex(hex, h.b, 8));
            TRY(io_join(path, sizeof path, "/dev/shm", name, err));
        } else {
            TRY(io_join(path, sizeof path, c->state_dir, "round-keys", err));
        }
        c->config.round_keys_dir = mem_strdup(path);
    } else {
        c->config.round_keys_dir = mem_strdup(c->config.round_keys_dir);
    }
    if (!c->config.round_keys_dir)
        TRY_FAIL(err, SOTTO_NOMEM, "out of memory");
    TRY(io_mkdir_p(c->config.round_keys_dir, 0700, err));
out:
    return status;
}

static enum sotto_status allow_device(void *ctx, const struct store_device *d) {
    struct coordinator *c = ctx;
    return d->revoked_ms
               ? SOTTO_OK
               : transport_gate_allow(c->gate, d->curve_key, TRANSPORT_DEVICE, d->serial, 0);
}

static enum sotto_status allow_ticket(void *ctx, const struct store_ticket *t) {
    struct coordinator *c = ctx;
    return transport_gate_allow(c->gate, t->ticket.curve_key, TRANSPORT_ENROLL, t->ticket.serial,
                                t->ticket.expiry_ms);
}

/* The address to bind: the configured one, with the port of the first start where it says *. */
static void bind_address(struct coordinator *c, const char *key, char *out, size_t cap) {
    struct buf port;
    buf_init(&port, 16);
    snprintf(out, cap, "%s", c->config.listen);
    size_t n = strlen(out);
    if (n && out[n - 1] == '*' && store_meta_get(c->store, key, &port, NULL) == SOTTO_OK &&
        port.len < 8)
        snprintf(out + n - 1, cap - (n - 1), "%.*s", (int)port.len, (const char *)port.data);
    buf_deinit(&port);
}

static enum sotto_status bind_server(struct coordinator *c, uint32_t i, const char *port_key,
                                     struct sotto_error *err) {
    enum sotto_status status;
    char address[TRANSPORT_ADDRESS_MAX];
    struct transport_server_config config = TRANSPORT_SERVER_INIT;
    bind_address(c, port_key, address, sizeof address);
    config.bind = address;
    config.keys = &c->curve[i];
    config.peers_max = (uint32_t)c->config.devices_max;
    TRY(transport_server_open(&config, c->gate, &c->servers[i], err));
    c->server_count = i + 1;
    const char *port = strrchr(transport_server_address(c->servers[i]), ':');
    if (port) {
        TRY(store_begin(c->store, err));
        TRY(store_meta_set(c->store, port_key, view_of(port + 1, strlen(port + 1)), err));
        TRY(store_commit(c->store, err));
    }
out:
    return status;
}

static enum sotto_status open_transport(struct coordinator *c, struct sotto_error *err) {
    enum sotto_status status;
    static const uint8_t none[ID_KEY];
    TRY(store_device_each(c->store, allow_device, c, err));
    TRY(store_ticket_each_open(c->store, clock_wall_ms(), allow_ticket, c, err));
    TRY(bind_server(c, 0, "port", err));
    if (memcmp(c->curve[1].public_key, none, ID_KEY) != 0)
        TRY(bind_server(c, 1, "port_retired", err));
out:
    return status;
}

static enum sotto_status open_task(void *ctx, const struct store_task *row) {
    struct coordinator *c = ctx;
    struct sotto_error why = SOTTO_ERROR_INIT;
    if (row->state == STORE_TASK_STOPPED || row->state == STORE_TASK_FINISHED ||
        c->task_count == DAEMON_TASKS_MAX)
        return SOTTO_OK;
    enum sotto_status status = task_open(c, row, &c->tasks[c->task_count], &why);
    if (status != SOTTO_OK) {
        LOG(LOG_ERROR, "task.broken", LS("task", row->name), LS("reason", why.message));
        return status == SOTTO_NOMEM
                   ? status
                   : SOTTO_OK; /* the others go on; sottoctl task list shows it as not loaded */
    }
    struct task_host *t = c->tasks[c->task_count++];
    if (row->state == STORE_TASK_PAUSED) {
        struct round_event pause = {.kind = ROUND_EV_PAUSE, .now_ms = clock_mono_ms()};
        status = task_event(t, &pause, NULL, &why);
    }
    return status;
}

/* Uploads, sums and keys whose round is not open any more: what an interrupted erasure left. */
struct sweep {
    struct coordinator *c;
    const char *dir;
    bool shred;
};
static enum sotto_status sweep_one(void *ctx, const char *name) {
    struct sweep *s = ctx;
    struct wire_hash terms;
    char hex[2 * WIRE_HASH + 1], path[IO_PATH_MAX];
    struct store_round r;
    if (strlen(name) < 2 * WIRE_HASH)
        return SOTTO_OK;
    memcpy(hex, name, 2 * WIRE_HASH);
    hex[2 * WIRE_HASH] = '\0';
    if (num_parse_hex(hex, terms.b, WIRE_HASH, NULL) != SOTTO_OK)
        return SOTTO_OK;
    if (store_round_by_terms(s->c->store, &terms, &r, NULL) == SOTTO_OK &&
        (r.state == STORE_ROUND_OPEN || r.state == STORE_ROUND_ADVANCING))
        return SOTTO_OK;
    if (io_join(path, sizeof path, s->dir, name, NULL) != SOTTO_OK)
        return SOTTO_OK;
    LOG(LOG_INFO, "store.sweep", LS("path", path));
    return s->shred                                 ? io_shred(path, NULL)
           : io_remove_tree(path, NULL) == SOTTO_OK ? SOTTO_OK
                                                    : io_remove(path, NULL);
}

static enum sotto_status sweep(struct coordinator *c, struct sotto_error *err) {
    static const char *const names[] = {"uploads", "sums"};
    enum sotto_status status = SOTTO_OK;
    char dir[IO_PATH_MAX];
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        TRY(io_join(dir, sizeof dir, c->state_dir, names[i], err));
        struct sweep s = {c, dir, false};
        TRY(io_list(dir, sweep_one, &s, err));
    }
    struct sweep keys = {c, c->config.round_keys_dir, true};
    TRY(io_list(c->config.round_keys_dir, sweep_one, &keys, err));
out:
    return status;
}

static enum sotto_status unused_blob(void *ctx, const char *name) {
    struct sweep *s = ctx;
    struct wire_hash hash;
    char path[IO_PATH_MAX];
    bool used = true;
    char first[2 * WIRE_HASH + 1] = "";
    size_t n = strlen(name);
    if (n < 2 * WIRE_HASH)
        return SOTTO_OK;
    /* A delta is named base-target: it goes with its target. */
    memcpy(first, n > 2 * WIRE_HASH ? name + n - 2 * WIRE_HASH : name, 2 * WIRE_HASH);
    if (num_parse_hex(first, hash.b, WIRE_HASH, NULL) != SOTTO_OK ||
        store_blob_used(s->c->store, &hash, &used, NULL) != SOTTO_OK || used ||
        io_join(path, sizeof path, s->dir, name, NULL) != SOTTO_OK)
        return SOTTO_OK;
    return io_remove(path, NULL);
}

static enum sotto_status retain(struct coordinator *c, struct sotto_error *err) {
    static const char *const names[] = {"blobs/packages", "blobs/masters", "blobs/states",
                                        "blobs/deltas"};
    enum sotto_status status;
    char dir[IO_PATH_MAX];
    int64_t now = clock_wall_ms();
    struct store_keep keep = {
        .versions = (uint32_t)c->config.keep_versions,
        .events_before_ms = now - (int64_t)c->config.keep_events_days * DAY_MS,
        .outcomes_before_ms = now - (int64_t)c->config.keep_outcomes_days * DAY_MS};
    c->retain_after_ms = now + RETAIN_EVERY_MS;
    for (uint32_t i = 0; i < c->task_count; i++)
        if (c->tasks[i]->advancing)
            return SOTTO_OK; /* a new version's files lie there before its row */
    TRY(store_begin(c->store, err));
    TRY(store_retain(c->store, &keep, err));
    TRY(store_commit(c->store, err));
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        TRY(io_join(dir, sizeof dir, c->state_dir, names[i], err));
        struct sweep s = {c, dir, false};
        TRY(io_list(dir, unused_blob, &s, err));
    }
out:
    return status;
}

static enum sotto_status open_all(struct coordinator *c, struct sotto_error *err) {
    enum sotto_status status;
    char lock[IO_PATH_MAX];
    TRY(id_setup(err));
    if (!io_exists(c->state_dir))
        TRY_FAIL(err, SOTTO_NOT_FOUND, "%s: no such folder; run: sottoctl init --state %s",
                 c->state_dir, c->state_dir);
    TRY(io_join(lock, sizeof lock, c->state_dir, "lock", err));
    status = io_lock(lock, &c->lock_fd, err);
    if (status == SOTTO_BUSY)
        TRY_FAIL(err, SOTTO_BUSY, "%s: another sotto-coordinator runs on this state", c->state_dir);
    if (status != SOTTO_OK)
        goto out;
    TRY(keys_paths(c->state_dir, c->keys_dir, sizeof c->keys_dir, err));
    TRY(make_folders(c, err));
    TRY(round_keys_folder(c, err));
    TRY(store_open(c->state_dir, &c->store, err));
    TRY(keys_open(c, err));
    TRY(sweep(c, err));
    c->backend = kern_backend_find("cpu");
    if (!c->backend)
        c->backend = kern_backend_find("ref");
    c->outbox = outbox_new();
    c->gate = transport_gate_new();
    c->results = queue_new(4096);
    c->pool = pool_new(c->config.workers ? (unsigned)c->config.workers : pool_cpu_count(), 1024);
    c->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (!c->outbox || !c->gate || !c->results || !c->pool || c->wake_fd < 0)
        TRY_FAIL(err, SOTTO_NOMEM, "out of memory");
    TRY(open_transport(c, err));
    TRY(store_task_each(c->store, open_task, c, err));
    TRY(store_commit(c->store, err));
    TRY(outbox_flush(c->outbox, err));
    TRY(control_listen(c, err));
out:
    return status;
}

enum sotto_status coordinator_open(const struct daemon_config *config, struct coordinator **out,
                                   struct sotto_error *err) {
    struct coordinator *c = mem_zalloc(sizeof *c);
    if (!c)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "out of memory");
    c->config = *config;
    c->lock_fd = c->control_fd = c->wake_fd = -1;
    c->started_ms = clock_wall_ms();
    buf_init(&c->document_bytes, 16u << 20);
    c->config.round_keys_dir = config->round_keys_dir;
    /* The real path: round keys and relative names must not depend on where the daemon was started.
     */
    if (!realpath(config->state_dir, c->state_dir))
        snprintf(c->state_dir, sizeof c->state_dir, "%s", config->state_dir);
    enum sotto_status status = open_all(c, err);
    if (status != SOTTO_OK) {
        if (c->config.round_keys_dir == config->round_keys_dir)
            c->config.round_keys_dir = NULL; /* still the caller's */
        coordinator_close(c);
        return status;
    }
    LOG(LOG_INFO, "coordinator.start", LS("address", coordinator_address(c)),
        LU("tasks", c->task_count), LU("devices", transport_gate_count(c->gate)));
    *out = c;
    return SOTTO_OK;
}

void coordinator_close(struct coordinator *c) {
    if (!c)
        return;
    pool_free(c->pool); /* finishes what runs: its results are dropped, the store knows what to do
                           again */
    void *item;
    while (c->results && queue_pop(c->results, 0, &item) == SOTTO_OK)
        work_drop(item);
    for (uint32_t i = 0; i < c->task_count; i++)
        task_close(c->tasks[i]);
    for (uint32_t i = 0; i < c->server_count; i++)
        transport_server_close(c->servers[i]);
    transport_gate_free(c->gate);
    queue_free(c->results);
    outbox_free(c->outbox);
    store_close(c->store);
    if (c->control_fd >= 0) {
        char path[IO_PATH_MAX];
        close(c->control_fd);
        if (io_join(path, sizeof path, c->state_dir, "control.sock", NULL) == SOTTO_OK)
            (void)io_remove(path, NULL);
    }
    if (c->wake_fd >= 0)
        close(c->wake_fd);
    if (c->lock_fd >= 0)
        close(c->lock_fd);
    id_document_deinit(&c->document);
    buf_deinit(&c->document_bytes);
    id_wipe(&c->signing, sizeof c->signing);
    id_wipe(&c->signing_next, sizeof c->signing_next);
    id_wipe(c->curve, sizeof c->curve);
    mem_free(c->config.round_keys_dir);
    mem_free(c);
}

const char *coordinator_address(const struct coordinator *c) {
    return c->server_count ? transport_server_address(c->servers[0]) : "";
}

static enum sotto_status receive(struct coordinator *c, uint32_t i, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    for (int n = 0; n < MESSAGES_A_TURN && status == SOTTO_OK; n++) {
        struct transport_message m;
        struct sotto_error why = SOTTO_ERROR_INIT;
        status = transport_server_recv(c->servers[i], 0, &m, &why);
        if (status == SOTTO_TIMEOUT)
            return SOTTO_OK;
        if (status == SOTTO_CORRUPT || status == SOTTO_LIMIT || status == SOTTO_DENIED) {
            status = SOTTO_OK; /* dropped and counted by the transport */
            continue;
        }
        if (status != SOTTO_OK)
            return SOTTO_FAIL(err, status, "transport: %s", why.message);
        status = device_message(c, c->servers[i], &m, err);
    }
    return status;
}

static enum sotto_status tick(struct coordinator *c, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    uint64_t now = clock_mono_ms();
    for (uint32_t i = 0; i < c->task_count; i++) {
        struct task_host *t = c->tasks[i];
        if (round_next_ms(t->engine) > now)
            continue;
        struct round_event e = {.kind = ROUND_EV_TICK, .now_ms = now};
        TRY(task_event(t, &e, NULL, err));
    }
out:
    return status;
}

static int wait_ms(const struct coordinator *c, int timeout_ms) {
    uint64_t now = clock_mono_ms(), next = UINT64_MAX;
    for (uint32_t i = 0; i < c->task_count; i++)
        next = num_min_u64(next, round_next_ms(c->tasks[i]->engine));
    uint64_t left = next == UINT64_MAX ? DAEMON_TICK_MS : next > now ? next - now : 0;
    left = num_min_u64(left, DAEMON_TICK_MS);
    return timeout_ms >= 0 && (uint64_t)timeout_ms < left ? timeout_ms : (int)left;
}

enum sotto_status coordinator_run_once(struct coordinator *c, int timeout_ms,
                                       struct sotto_error *err) {
    enum sotto_status status;
    uint64_t ready = 0, drained;
    int fds[2] = {c->wake_fd, c->control_fd};
    status = transport_wait(c->servers, c->server_count, fds, 2, wait_ms(c, timeout_ms), &ready, err);
    if (status != SOTTO_OK && status != SOTTO_TIMEOUT)
        goto out;
    for (uint32_t i = 0; i < c->server_count; i++)
        if (ready & (1ull << i))
            TRY(receive(c, i, err));
    if (ready & (1ull << c->server_count)) {
        ssize_t got = read(c->wake_fd, &drained, sizeof drained);
        (void)got; /* only a wake-up: the queue holds the results */
    }
    TRY(work_results(c, err));
    TRY(tick(c, err));
    TRY(store_commit(c->store, err));
    TRY(outbox_flush(c->outbox, err));
    if (ready & (1ull << (c->server_count + 1)))
        TRY(control_serve(c, err));
    TRY(store_commit(c->store, err));
    TRY(outbox_flush(c->outbox, err));
    if (clock_wall_ms() >= c->retain_after_ms)
        TRY(retain(c, err));
out:
    return status;
}
