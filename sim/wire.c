/* --wire: the experiment with nothing simulated but the place: daemon, transport, client libraries
 * and their stores. */
#include "wire.h"

#include <errno.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "sotto/client.h"

#define PACE_MS       20u /* of idle clients: nobody waits for them here */
#define LOOK_MS       50u /* between two looks at the rounds */
#define ENROLL_MS     60000u
#define DOCUMENT_MAX  ((size_t)1 << 20)
#define TOKEN_LIFE_MS 3600000
#define POLICY        "checkin_min_ms 10\nexamples_bytes 0\n"

struct wire {
    const struct experiment *x;
    const struct sim_config *config;
    char dir[IO_PATH_MAX], control[IO_PATH_MAX];
    struct id_keys authority;
    struct buf document;
    struct daemon_config daemon_settings;
    struct config *daemon_config;
    struct coordinator *coordinator;
    pthread_t thread;
    bool thread_runs;
    atomic_bool stop, failed;
    struct sotto_error thread_error;
    sotto_client **clients;
    uint32_t count;
    struct buf answer;
    uint32_t next_round; /* first one not told yet */
    struct sim_totals *totals;
};

/* ---- The coordinator, on a thread of its own */

static void *serve(void *ctx) {
    struct wire *w = ctx;
    while (!atomic_load(&w->stop))
        if (coordinator_run_once(w->coordinator, 20, &w->thread_error) != SOTTO_OK) {
            atomic_store(&w->failed, true);
            break;
        }
    return NULL;
}

static enum sotto_status ask(struct wire *w, bool json, const struct view *args, size_t count,
                             struct sotto_error *err) {
    if (atomic_load(&w->failed))
        return SOTTO_FAIL(err, w->thread_error.status, "coordinator: %.200s",
                          w->thread_error.message);
    return wire_ask(w->control, json, args, count, &w->answer, err);
}

static enum sotto_status start_coordinator(struct wire *w, struct sotto_error *err) {
    char keys[IO_PATH_MAX], path[IO_PATH_MAX], set_state[IO_PATH_MAX + 8], set_workers[40];
    enum sotto_status status;
    const char *sets[] = {set_state, set_workers, "listen=tcp://127.0.0.1:*"};
    TRY(io_join(path, sizeof path, w->dir, "c", err));
    snprintf(set_state, sizeof set_state, "state=%s", path);
    snprintf(set_workers, sizeof set_workers, "workers=%u", w->config->workers);
    TRY(io_join(w->control, sizeof w->control, path, "control.sock", err));
    TRY(io_join(keys, sizeof keys, path, "keys", err));
    TRY(io_mkdir_p(path, 0700, err));
    TRY(io_mkdir_p(keys, 0700, err));
    TRY(io_join(path, sizeof path, keys, "authority.pub", err));
    id_keys_generate(&w->authority);
    TRY(io_write_file(path, w->authority.public_key, ID_KEY, 0600, false, err));
    TRY(config_parse(daemon_options, &w->daemon_settings, "coordinator", view_of("", 0), sets,
                     ARRAY_LEN(sets), &w->daemon_config, err));
    TRY(coordinator_open(&w->daemon_settings, &w->coordinator, err));
    if (pthread_create(&w->thread, NULL, serve, w) != 0)
        TRY_FAIL(err, SOTTO_NOMEM, "a thread for the coordinator cannot be started");
    w->thread_runs = true;
out:
    return status;
}

static enum sotto_status certify(struct wire *w, struct sotto_error *err) {
    struct id_document d;
    enum sotto_status status;
    const struct view request[] = {WIRE_ARG("document-request")};
    memset(&d, 0, sizeof d);
    TRY(ask(w, false, request, 1, err));
    TRY(id_document_request_read(buf_view(&w->answer), &d, err));
    TRY(id_document_sign(&d, &w->authority, &w->document, err));
    const struct view import[] = {WIRE_ARG("document-import"), buf_view(&w->document)};
    TRY(ask(w, false, import, 2, err));
out:
    id_document_deinit(&d);
    return status;
}

/* ---- The clients */

static enum sotto_status client_failed(const struct wire *w, uint32_t i, int code,
                                       struct sotto_error *err) {
    return SOTTO_FAIL(err, (enum sotto_status)code, "client %u: %.200s", i,
                      sotto_client_error(w->clients[i]));
}

static enum sotto_status fill_store(struct wire *w, uint32_t i, struct sotto_error *err) {
    sotto_client *c = w->clients[i];
    const struct data_schema *s = &w->x->schema;
    const struct examples e = experiment_client(w->x, i);
    const char *name = w->x->settings.task.collection;
    int code = sotto_client_collection(c, name, (int)s->dtype, s->rank, s->dims, s->classes,
                                       s->scale, s->shift);
    if (code == 0)
        code = sotto_client_begin(c);
    for (uint32_t k = 0; k < e.count && code == 0; k++)
        code = sotto_client_add_example(c, name, dataset_example(&w->x->train, e.index[k]),
                                        data_schema_example_bytes(s), e.labels[e.index[k]]);
    if (code == 0)
        code = sotto_client_commit(c);
    return code == 0 ? SOTTO_OK : client_failed(w, i, code, err);
}

/* A client with serial i + 1, its examples and its token. */
static enum sotto_status add_client(struct wire *w, uint32_t i, struct sotto_error *err) {
    char name[32], dir[IO_PATH_MAX], policy[IO_PATH_MAX], message[256];
    struct id_token token;
    struct buf text;
    enum sotto_status status;
    uint8_t ticket[ID_TICKET_BYTES];
    memset(&token, 0, sizeof token);
    buf_init(&text, ID_TOKEN_MAX + 2);
    snprintf(name, sizeof name, "d%u", i);
    TRY(io_join(dir, sizeof dir, w->dir, name, err));
    TRY(io_join(policy, sizeof policy, w->dir, "policy", err));
    TRY(io_write_file(policy, POLICY, sizeof POLICY - 1, 0600, false, err));
    const sotto_client_config config = {.size = sizeof config,
                                        .state_dir = dir,
                                        .policy_file = policy,
                                        .backend = w->config->backend};
    int code = sotto_client_open(&config, &w->clients[i], message);
    if (code != 0)
        TRY_FAIL(err, (enum sotto_status)code, "client %u: %.200s", i, message);
    TRY(fill_store(w, i, err));
    TRY(id_token_issue(&w->authority, (uint64_t)i + 1, clock_wall_ms() + TOKEN_LIFE_MS,
                       buf_view(&w->document), &token, err));
    id_ticket_encode(&token.ticket, ticket);
    const struct view args[] = {WIRE_ARG("tickets"), view_of(ticket, sizeof ticket)};
    TRY(ask(w, false, args, 2, err));
    TRY(id_token_encode(&token, &text, err));
    buf_put_u8(&text, '\0');
    if (text.status != SOTTO_OK)
        TRY_FAIL(err, text.status, "client %u: its token does not fit", i);
    code = sotto_client_enroll(w->clients[i], (const char *)text.data);
    if (code != 0)
        status = client_failed(w, i, code, err);
out:
    id_token_deinit(&token);
    if (text.data)
        id_wipe(text.data, text.len);
    buf_deinit(&text);
    return status;
}

/* Each client does what is due; a short sleep when nothing is. */
static void poll_clients(struct wire *w) {
    uint64_t next = LOOK_MS;
    for (uint32_t i = 0; i < w->count; i++) {
        sotto_client_state state = {.size = sizeof state};
        (void)sotto_client_poll(w->clients[i], 0); /* what fails is tried again by the client */
        sotto_client_state_get(w->clients[i], &state);
        next = num_min_u64(next, state.next_ms);
    }
    if (next > 0) {
        const struct timespec rest = {0, 1000000};
        nanosleep(&rest, NULL);
    }
}

static enum sotto_status enroll_all(struct wire *w, struct sotto_error *err) {
    const uint64_t begin = clock_mono_ms();
    for (uint32_t enrolled = 0; enrolled < w->count;) {
        poll_clients(w);
        enrolled = 0;
        for (uint32_t i = 0; i < w->count; i++)
            enrolled += sotto_client_enrolled(w->clients[i]);
        if (atomic_load(&w->failed))
            return SOTTO_FAIL(err, w->thread_error.status, "coordinator: %.200s",
                              w->thread_error.message);
        if (clock_mono_ms() - begin > ENROLL_MS)
            return SOTTO_FAIL(err, SOTTO_TIMEOUT, "only %u of %u clients could enrol", enrolled,
                              w->count);
    }
    return SOTTO_OK;
}

/* ---- Task and rounds */

static enum sotto_status create_task(struct wire *w, struct sotto_error *err) {
    struct task_config task = w->x->settings.task;
    struct buf yaml;
    buf_init(&yaml, CONFIG_FILE_MAX);
    task.pace_ms = PACE_MS;
    config_dump(task_options, &task, &yaml);
    enum sotto_status status = yaml.status;
    if (status == SOTTO_OK) {
        const struct view args[] = {WIRE_ARG("task-create"), WIRE_ARG("experiment"),
                                    buf_view(&yaml)};
        status = ask(w, false, args, 3, err);
    }
    buf_deinit(&yaml);
    return status;
}

static double number_of(struct view object, const char *key, double missing) {
    double v;
    return wire_number(object, key, &v) ? v : missing;
}

static void read_round(struct view o, struct sim_round_result *r) {
    char kind[16] = "", state[16] = "";
    memset(r, 0, sizeof *r);
    (void)wire_text(o, "kind", kind, sizeof kind);
    (void)wire_text(o, "state", state, sizeof state);
    (void)wire_text(o, "reason", r->reason, sizeof r->reason);
    r->evaluation = strcmp(kind, "evaluate") == 0;
    r->failed = strcmp(state, "failed") == 0;
    r->round = (uint32_t)number_of(o, "round", 0);
    r->members = (uint32_t)number_of(o, "members", 0);
    r->counted = (uint32_t)number_of(o, "counted", 0);
    r->rejected = (uint32_t)number_of(o, "rejected", 0);
    r->returned = (uint32_t)number_of(o, "returned", 0);
    r->bytes_up = (uint64_t)number_of(o, "bytes_up", 0);
    r->bytes_down = (uint64_t)number_of(o, "bytes_down", 0);
    r->train_samples = (uint64_t)number_of(o, "train_examples", 0);
    r->train_loss = number_of(o, "train_loss", NAN);
    r->train_accuracy = number_of(o, "train_accuracy", NAN);
    r->test_loss = r->evaluation ? r->train_loss : number_of(o, "loss", NAN);
    r->test_accuracy = r->evaluation ? r->train_accuracy : number_of(o, "accuracy", NAN);
    r->distill_gain = number_of(o, "distill_gain", NAN);
    r->wall_seconds = (number_of(o, "closed_ms", 0) - number_of(o, "opened_ms", 0)) / 1000.0;
    r->train_seconds = r->eval_seconds = r->server_seconds = NAN; /* the store does not say */
    r->virtual_seconds = r->wall_seconds;
    const char published[] = "\"published\":true";
    r->published = memmem(o.p, o.n, published, sizeof published - 1) != NULL;
}

static enum sotto_status tell_round(struct wire *w, struct view o, struct sotto_error *err) {
    struct sim_round_result r;
    struct sim_totals *t = w->totals;
    char hex[2 * WIRE_HASH + 1];
    read_round(o, &r);
    t->rounds += !r.evaluation;
    t->bytes_up += r.bytes_up;
    t->bytes_down += r.bytes_down;
    t->train_samples += r.evaluation ? 0 : r.train_samples;
    t->wall_seconds += r.wall_seconds;
    t->virtual_seconds += r.virtual_seconds;
    if (!isnan(r.test_accuracy) && !r.evaluation) {
        t->accuracy = r.test_accuracy;
        t->loss = r.test_loss;
        if (!(t->best_accuracy >= r.test_accuracy))
            t->best_accuracy = r.test_accuracy;
    }
    if (r.published && wire_text(o, "digest", hex, sizeof hex))
        (void)num_parse_hex(hex, t->digest.b, WIRE_HASH, NULL);
    const double target = w->x->settings.stop_accuracy;
    t->target_reached = t->target_reached || (target > 0 && t->accuracy >= target);
    if (w->config->on_round && !w->config->on_round(w->config->ctx, &r, t))
        return SOTTO_FAIL(err, SOTTO_CANCELLED, "stopped after round %u", r.round);
    return SOTTO_OK;
}

/* Tells of every round that has ended since the last look. */
static enum sotto_status look_at_rounds(struct wire *w, struct sotto_error *err) {
    const struct view args[] = {WIRE_ARG("rounds-list"), WIRE_ARG(w->x->settings.task.name)};
    enum sotto_status status = ask(w, true, args, 2, err);
    for (bool found = true; found && status == SOTTO_OK;) {
        found = false;
        const uint8_t *p = w->answer.data, *end = p + w->answer.len;
        while (p && p < end && (p = memchr(p, '{', (size_t)(end - p))) != NULL) {
            const uint8_t *close = memchr(p, '}', (size_t)(end - p));
            if (!close)
                break;
            const struct view o = view_of(p, (size_t)(close - p));
            char state[16] = "";
            (void)wire_text(o, "state", state, sizeof state);
            p = close;
            if (number_of(o, "round", 0) != w->next_round ||
                (strcmp(state, "committed") != 0 && strcmp(state, "failed") != 0))
                continue;
            found = true;
            w->next_round++;
            status = tell_round(w, o, err);
            break;
        }
    }
    return status;
}

static enum sotto_status run_rounds(struct wire *w, struct sotto_error *err) {
    const struct task_config *t = &w->x->settings.task;
    enum sotto_status status = SOTTO_OK;
    uint64_t looked = clock_mono_ms();
    while (status == SOTTO_OK && !w->totals->target_reached &&
           !(t->rounds && w->totals->rounds >= t->rounds)) {
        poll_clients(w);
        if (clock_mono_ms() - looked < LOOK_MS)
            continue;
        looked = clock_mono_ms();
        status = look_at_rounds(w, err);
    }
    return status;
}

static enum sotto_status take_package(struct wire *w, struct buf *package,
                                      struct sotto_error *err) {
    char version[24] = "0";
    double v;
    enum sotto_status status;
    const struct view show[] = {WIRE_ARG("task-show"), WIRE_ARG(w->x->settings.task.name)};
    TRY(ask(w, true, show, 2, err));
    if (wire_number(buf_view(&w->answer), "version", &v))
        snprintf(version, sizeof version, "%.0f", v);
    const struct view get[] = {WIRE_ARG("models-package"), WIRE_ARG(w->x->settings.task.name),
                               WIRE_ARG(version)};
    TRY(ask(w, false, get, 3, err));
    buf_put(package, w->answer.data, w->answer.len);
    w->totals->package_hash = wire_hash_of(WIRE_LABEL_PACKAGE, buf_view(package));
    status = package->status;
out:
    return status;
}

/* ---- All of it */

static enum sotto_status check(const struct experiment *x, struct sotto_error *err) {
    const struct sim_settings *s = &x->settings;
    if (x->client_count > WIRE_CLIENTS_MAX)
        return SOTTO_FAIL(err, SOTTO_CONFIG, "clients: --wire takes at most %u, there are %u",
                          WIRE_CLIENTS_MAX, x->client_count);
    if (s->fleet_speed > 0 || s->fleet_drop > 0 || s->fleet_uplink || s->fleet_downlink ||
        s->fleet_online > 0 || s->fleet_trace[0] || s->fleet_devices[0])
        return SOTTO_FAIL(err, SOTTO_CONFIG,
                          "fleet: needs the virtual clock; leave it out with --wire");
    return SOTTO_OK;
}

static enum sotto_status make_folder(struct wire *w, struct sotto_error *err) {
    const char *dir = w->config->temp_dir ? w->config->temp_dir : getenv("TMPDIR");
    const enum sotto_status status =
        io_join(w->dir, sizeof w->dir, dir && dir[0] ? dir : "/tmp", "sotto-wire-XXXXXX", err);
    if (status != SOTTO_OK)
        return status;
    if (!mkdtemp(w->dir)) {
        w->dir[0] = '\0';
        return SOTTO_FAIL_SYS(err, SOTTO_IO, "no folder for the clients' state");
    }
    return SOTTO_OK;
}

static void clean_up(struct wire *w) {
    for (uint32_t i = 0; w->clients && i < w->count; i++)
        sotto_client_close(w->clients[i]);
    mem_free(w->clients);
    atomic_store(&w->stop, true);
    if (w->thread_runs)
        pthread_join(w->thread, NULL);
    coordinator_close(w->coordinator);
    config_free(w->daemon_config);
    buf_deinit(&w->document);
    buf_deinit(&w->answer);
    id_wipe(&w->authority, sizeof w->authority);
    if (w->dir[0])
        (void)io_remove_tree(w->dir, NULL);
}

enum sotto_status wire_run(const struct experiment *x, const struct sim_config *config,
                           struct sim_totals *totals, struct buf *package,
                           struct sotto_error *err) {
    struct wire w = {.x = x, .config = config, .totals = totals, .next_round = 1};
    enum sotto_status status;
    memset(totals, 0, sizeof *totals);
    totals->accuracy = totals->best_accuracy = totals->loss = NAN;
    buf_init(&w.document, DOCUMENT_MAX);
    buf_init(&w.answer, PACKAGE_BYTES_MAX);
    snprintf(totals->kernel_set, sizeof totals->kernel_set, "%s",
             kern_backend_kernel_set(kern_backend_find(config->backend ? config->backend : "cpu")));
    TRY(check(x, err));
    TRY(id_setup(err));
    TRY(make_folder(&w, err));
    TRY(start_coordinator(&w, err));
    TRY(certify(&w, err));
    w.clients = mem_array(x->client_count, sizeof(sotto_client *));
    if (!w.clients)
        TRY_FAIL(err, SOTTO_NOMEM, "no memory for %u clients", x->client_count);
    for (uint32_t i = 0; i < x->client_count; i++) {
        w.count = i + 1;
        TRY(add_client(&w, i, err));
    }
    TRY(enroll_all(&w, err));
    TRY(create_task(&w, err));
    TRY(run_rounds(&w, err));
    TRY(take_package(&w, package, err));
out:
    clean_up(&w);
    return status;
}
