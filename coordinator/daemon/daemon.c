/* The daemon as an object: opening, the loop's one turn, closing. */
#include "daemon/daemon_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

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
    {"disk_max", CONFIG_SIZE, AT(disk_max), "0B", 0, 0, NULL, 0, "",
     "Size that the state folder may reach; reports and new tasks are refused before. 0B: as much "
     "as "
     "the disk has."},
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
     "Folder below which round keys lie; empty: /dev/shm for memory, the state folder for disk."},
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

/* Where the address that a CURVE key was last bound at is kept: it stays the key's own, so that
 * documents which name both go on being true. */
static const char *address_key(const struct id_curve *k, char out[40]) {
    char hex[17];
    snprintf(out, 40, "address:%s", num_format_hex(hex, k->public_key, 8));
    return out;
}

/* The last address of the key; false when it never had one. */
static bool last_address(struct coordinator *c, uint32_t i, char out[TRANSPORT_ADDRESS_MAX]) {
    struct buf b;
    char key[40];
    buf_init(&b, TRANSPORT_ADDRESS_MAX - 1);
    bool have = store_meta_get(c->store, address_key(&c->curve[i], key), &b, NULL) == SOTTO_OK;
    snprintf(out, TRANSPORT_ADDRESS_MAX, "%.*s", (int)b.len, b.len ? (const char *)b.data : "");
    buf_deinit(&b);
    return have && out[0];
}

static enum sotto_status bind_server(struct coordinator *c, uint32_t i, const char *address,
                                     struct sotto_error *err) {
    enum sotto_status status;
    char key[40];
    struct transport_server_config config = TRANSPORT_SERVER_INIT;
    config.bind = address;
    config.keys = &c->curve[i];
    config.peers_max = (uint32_t)c->config.devices_max;
    TRY(transport_server_open(&config, c->gate, &c->servers[i], err));
    c->server_count = i + 1;
    const char *bound = transport_server_address(c->servers[i]);
    TRY(store_begin(c->store, err));
    TRY(store_meta_set(c->store, address_key(&c->curve[i], key), view_of(bound, strlen(bound)),
                       err));
    TRY(store_commit(c->store, err));
out:
    return status;
}

/* The retired key keeps its port; the current one has the configured port or, where that says *,
 * the one that it found free at first. */
static enum sotto_status open_transport(struct coordinator *c, struct sotto_error *err) {
    enum sotto_status status;
    char address[TRANSPORT_ADDRESS_MAX], last[TRANSPORT_ADDRESS_MAX],
        retired[TRANSPORT_ADDRESS_MAX] = "";
    bool has_retired = c->retired_until_ms != 0 && last_address(c, 1, retired);
    TRY(store_device_each(c->store, allow_device, c, err));
    TRY(store_ticket_each_open(c->store, clock_wall_ms(), allow_ticket, c, err));
    snprintf(address, sizeof address, "%s", c->config.listen);
    size_t n = strlen(address);
    if (n && address[n - 1] == '*' && last_address(c, 0, last) && strrchr(last, ':'))
        snprintf(address + n - 1, sizeof address - (n - 1), "%s", strrchr(last, ':') + 1);
    if (has_retired && strcmp(strrchr(address, ':') ? strrchr(address, ':') : "",
                              strrchr(retired, ':') ? strrchr(retired, ':') : "-") == 0) {
        int64_t left = (c->retired_until_ms - clock_wall_ms()) / 86400000 + 1;
        TRY_FAIL(err, SOTTO_CONFIG,
                 "listen %s is the retired CURVE key's port for %lld more days: give the new key "
                 "another port, or set rotate_overlap_days to 0 to give the retired one up",
                 c->config.listen, (long long)left);
    }
    TRY(bind_server(c, 0, address, err));
    if (has_retired)
        TRY(bind_server(c, 1, retired, err));
out:
    return status;
}

struct opening {
    struct coordinator *c;
    struct sotto_error *err;
};
/* One that cannot be opened is noted; the others go on. A task that has ended is opened only where
 * a crash left its last round open. */
static enum sotto_status open_task(void *ctx, const struct store_task *row) {
    struct opening *o = ctx;
    struct coordinator *c = o->c;
    struct sotto_error why = SOTTO_ERROR_INIT;
    struct store_round open;
    if ((row->state == STORE_TASK_STOPPED || row->state == STORE_TASK_FINISHED) &&
        store_round_get(c->store, row->id, 0, &open, NULL) != SOTTO_OK)
        return SOTTO_OK;
    enum sotto_status status = task_load(c, row, &why);
    if (status == SOTTO_OK)
        return SOTTO_OK;
    if (status == SOTTO_NOMEM || store_failed(c->store))
        return SOTTO_FAIL(o->err, status, "%s", why.message);
    LOG(LOG_ERROR, "task.broken", LS("task", row->name), LS("reason", why.message));
    task_broken(c, row->name, why.message);
    status = store_begin(c->store, o->err);
    return status == SOTTO_OK ? store_event_add(c->store, clock_wall_ms(), "task.broken", row->name,
                                                0, why.message, o->err)
                              : status;
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
    TRY(keep_round_keys_folder(c, err));
    TRY(store_open(c->state_dir, &c->store, err));
    TRY(keys_open(c, err));
    TRY(keep_sweep(c, err));
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
    struct opening opening = {c, err};
    TRY(store_task_each(c->store, open_task, &opening, err));
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
    c->started_ms = clock_mono_ms();
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
    /* What runs is finished or cancelled, its results are dropped: the store knows what to do
     * again. */
    atomic_store(&c->closing, true);
    pool_free(c->pool);
    work_close(c);
    for (uint32_t i = 0; i < c->task_count; i++)
        task_close(c->tasks[i]);
    for (uint32_t i = 0; i < c->server_count; i++)
        transport_server_close(c->servers[i]);
    transport_gate_free(c->gate);
    queue_free(c->results);
    outbox_free(c->outbox);
    store_close(c->store);
    if (c->control_fd >= 0) {
        close(c->control_fd);
        (void)io_remove(c->control_path, NULL);
    }
    if (c->wake_fd >= 0)
        close(c->wake_fd);
    if (c->config.round_keys_dir) /* while the state is still ours; one that holds a key stays */
        (void)rmdir(c->config.round_keys_dir);
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
        if (t->advance_again_ms && t->advance_again_ms <= now)
            TRY(work_advance(t, err));
        if (t->check_again_ms && t->check_again_ms <= now)
            TRY(work_check_waiting(t, err));
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

/* With each turn that sent chunks, so that a crash loses none of the count. */
static enum sotto_status store_bytes_down(struct coordinator *c, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    for (uint32_t i = 0; i < c->task_count; i++) {
        struct task_host *t = c->tasks[i];
        if (!t->round_live || !t->down_changed)
            continue;
        TRY(store_begin(c->store, err));
        TRY(store_round_down(c->store, t->row.id, t->round.round, t->round.bytes_down, err));
        t->down_changed = false;
    }
out:
    return status;
}

enum sotto_status coordinator_run_once(struct coordinator *c, int timeout_ms,
                                       struct sotto_error *err) {
    enum sotto_status status;
    uint64_t ready = 0, drained;
    int fds[2] = {c->wake_fd, c->control_fd};
    status =
        transport_wait(c->servers, c->server_count, fds, 2, wait_ms(c, timeout_ms), &ready, err);
    if (status != SOTTO_OK && status != SOTTO_TIMEOUT)
        goto out;
    for (uint32_t i = 0; i < c->server_count; i++)
        TRY(receive(c, i, err)); /* ready or not: it is also how a dead ZAP handler is noticed */
    if (ready & (1ull << c->server_count)) {
        ssize_t got = read(c->wake_fd, &drained, sizeof drained);
        (void)got; /* only a wake-up: the queue holds the results */
    }
    TRY(work_results(c, err));
    TRY(tick(c, err));
    TRY(store_bytes_down(c, err));
    TRY(store_commit(c->store, err));
    TRY(outbox_flush(c->outbox, err));
    if (ready & (1ull << (c->server_count + 1)))
        TRY(control_serve(c, err));
    TRY(store_commit(c->store, err));
    TRY(outbox_flush(c->outbox, err));
    TRY(keep_retain(c, err));
out:
    if (status != SOTTO_OK && err && !err->message[0])
        (void)SOTTO_FAIL(err, status, "the coordinator's turn failed");
    return status;
}
