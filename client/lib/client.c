/* libsotto-client's interface: everything happens here, on the caller's thread. */
#include "lib/client_int.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

void client_log(struct sotto_client *c, const char *fmt, ...) {
    char line[320];
    va_list args;
    if (c->log == NULL)
        return;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    c->log(c->log_ctx, line);
}

int client_result(struct sotto_client *c, enum sotto_status status) {
    if (status != SOTTO_OK && c->error.status != status)
        (void)SOTTO_FAIL(&c->error, status, "%s", sotto_status_text(status));
    return (int)status;
}

void client_sleep(uint64_t ms) {
    if (ms > 0)
        (void)poll(NULL, 0, ms > INT32_MAX ? INT32_MAX : (int)ms);
}

const char *sotto_client_status_text(int status) {
    return sotto_status_text((enum sotto_status)status);
}

const char *sotto_client_version(void) {
    return SOTTO_VERSION_TEXT;
}

/* ---- Opening
 * ------------------------------------------------------------------------------------------------------------------
 */

static enum sotto_status open_policy(struct sotto_client *c, const char *path,
                                     struct sotto_error *err) {
    char beside[IO_PATH_MAX];
    client_policy_defaults(&c->policy);
    if (path == NULL) {
        const enum sotto_status status =
            io_join(beside, sizeof beside, devstore_dir(c->store), "policy", err);
        if (status != SOTTO_OK || !io_exists(beside))
            return status;
        path = beside;
    }
    return client_policy_read(path, &c->policy, err);
}

static enum sotto_status open_all(struct sotto_client *c, const sotto_client_config *config,
                                  struct sotto_error *err) {
    struct devstore_counters counters;
    enum sotto_status status;
    TRY(id_setup(err));
    TRY(devstore_open(config->state_dir, DEVSTORE_OWN, &c->store, err));
    TRY(open_policy(c, config->policy_file, err));
    TRY(client_choose_open(c, config->backend, err));
    devstore_budget(c->store, c->policy.examples_bytes_max, c->policy.examples_age_max_ms);
    TRY(client_identity_load(c, err));
    TRY(devstore_counters_get(c->store, &counters, err));
    c->rounds_done = (uint32_t)counters.rounds_done;
out:
    return status;
}

int sotto_client_open(const sotto_client_config *config, sotto_client **out, char *message) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    sotto_client_config own;
    enum sotto_status status = SOTTO_OK;
    struct sotto_client *c = NULL;
    *out = NULL;
    memset(&own, 0, sizeof own);
    if (config == NULL || config->size < offsetof(sotto_client_config, policy_file))
        TRY_FAIL(&err, SOTTO_USAGE, "sotto_client_config.size is not set");
    memcpy(&own, config, config->size < sizeof own ? config->size : sizeof own);
    if (own.state_dir == NULL)
        TRY_FAIL(&err, SOTTO_USAGE, "sotto_client_config.state_dir is not set");
    c = mem_zalloc(sizeof *c);
    if (c == NULL)
        TRY_FAIL(&err, SOTTO_NOMEM, "no memory for a client");
    buf_init(&c->frame, WIRE_CONTROL_MAX);
    buf_init(&c->chunk, TRANSPORT_PAYLOAD_MAX);
    c->conditions = (sotto_client_conditions){true, true, true, true, -1};
    c->slice_ms = own.slice_ms > 0 ? own.slice_ms : 100;
    c->log = own.log;
    c->log_ctx = own.log_ctx;
    wire_set_text(c->tier, sizeof c->tier, own.tier != NULL ? own.tier : "");
    TRY(open_all(c, &own, &err));
    *out = c;
    c = NULL;
out:
    sotto_client_close(c);
    if (message != NULL)
        snprintf(message, 256, "%s", err.message);
    return (int)status;
}

void sotto_client_close(sotto_client *c) {
    if (c == NULL)
        return;
    if (c->session != NULL)
        client_work_cancel(c); /* with a checkpoint */
    client_work_clear(c);
    client_session_end(c);
    client_enroll_close(c);
    client_predict_clear(c);
    if (c->store != NULL)
        client_flush_traffic(c);
    devstore_close(c->store);
    if (c->have_document)
        id_document_deinit(&c->document);
    devstore_identity_wipe(&c->identity);
    buf_deinit(&c->frame);
    buf_deinit(&c->chunk);
    mem_free(c);
}

const char *sotto_client_error(const sotto_client *c) {
    return c->error.message;
}

/* ---- Identity
 * ------------------------------------------------------------------------------------------------------------------
 */

int sotto_client_enroll(sotto_client *c, const char *token) {
    return client_result(c, client_enroll_take(c, token, &c->error));
}

bool sotto_client_enrolled(const sotto_client *c) {
    return c->have_identity && c->identity.enrolled;
}

int sotto_client_document(sotto_client *c, const void *bytes, size_t size) {
    struct id_document d;
    enum sotto_status status;
    memset(&d, 0, sizeof d);
    if (!c->have_identity)
        TRY_FAIL(&c->error, SOTTO_STATE, "enrol first: the token says whose documents count");
    TRY(id_document_read(view_of(bytes, size), c->identity.authority, &d, &c->error));
    if (d.version <= c->document.version)
        TRY_FAIL(&c->error, SOTTO_EXISTS,
                 "document %llu is not newer than %llu, which the device has",
                 (unsigned long long)d.version, (unsigned long long)c->document.version);
    TRY(devstore_document_put(c->store, d.version, view_of(bytes, size), &c->error));
    TRY(client_identity_load(c, &c->error));
    if (c->session != NULL)
        session_document(c->session, &c->document);
out:
    id_document_deinit(&d);
    return client_result(c, status);
}

/* ---- Examples
 * ------------------------------------------------------------------------------------------------------------------
 */

int sotto_client_collection(sotto_client *c, const char *name, int dtype, uint32_t rank,
                            const uint32_t *dims, uint32_t classes, float scale, float shift) {
    struct data_schema schema;
    memset(&schema, 0, sizeof schema);
    if (rank < 1 || rank > ARRAY_LEN(schema.dims) || (dtype != DATA_U8 && dtype != DATA_F32))
        return client_result(c, SOTTO_FAIL(&c->error, SOTTO_INVALID,
                                           "a collection has dtype 0 or 1 and rank 1 to 3"));
    schema.dtype = (enum data_dtype)dtype;
    schema.rank = rank;
    memcpy(schema.dims, dims, rank * sizeof *dims);
    schema.classes = classes;
    schema.scale = scale;
    schema.shift = shift;
    return client_result(c, devstore_collection_put(c->store, name, &schema, &c->error));
}

int sotto_client_add_example(sotto_client *c, const char *collection, const void *values,
                             size_t size, int32_t label) {
    return client_result(c, devstore_example_add(c->store, collection, view_of(values, size), label,
                                                 clock_wall_ms(), &c->error));
}

int sotto_client_begin(sotto_client *c) {
    return client_result(c, devstore_begin(c->store, &c->error));
}

int sotto_client_commit(sotto_client *c) {
    return client_result(c, devstore_commit(c->store, &c->error));
}

int64_t sotto_client_example_count(sotto_client *c, const char *collection) {
    struct devstore_collection found;
    if (devstore_collection_get(c->store, collection, &found, &c->error) != SOTTO_OK)
        return -1;
    return (int64_t)found.count;
}

int sotto_client_forget(sotto_client *c) {
    client_work_clear(c);
    client_session_end(c);
    client_predict_clear(c);
    return client_result(c, devstore_forget(c->store, &c->error));
}

int sotto_client_predict(sotto_client *c, const char *task, const void *values, size_t size,
                         float *out, uint32_t classes) {
    return client_result(c,
                         client_predict(c, task, view_of(values, size), out, classes, &c->error));
}

/* ---- Running
 * -------------------------------------------------------------------------------------------------------------------
 */

void sotto_client_conditions_set(sotto_client *c, const sotto_client_conditions *now) {
    const sotto_client_conditions *was = &c->conditions;
    c->conditions_changed = c->conditions_changed || was->charging != now->charging ||
                            was->idle != now->idle || was->unmetered != now->unmetered ||
                            was->online != now->online ||
                            was->battery_percent != now->battery_percent;
    c->conditions = *now;
}

static sotto_client_phase phase_of(const sotto_client *c) {
    static const sotto_client_phase phases[] = {
        [SESSION_IDLE] = SOTTO_CLIENT_WAITING,        [SESSION_CHECK_IN] = SOTTO_CLIENT_CHECKING_IN,
        [SESSION_FETCH] = SOTTO_CLIENT_FETCHING,      [SESSION_PREPARE] = SOTTO_CLIENT_FETCHING,
        [SESSION_TRAIN] = SOTTO_CLIENT_TRAINING,      [SESSION_REPORT] = SOTTO_CLIENT_SENDING,
        [SESSION_DECLINE] = SOTTO_CLIENT_CHECKING_IN, [SESSION_SECURE] = SOTTO_CLIENT_SENDING,
    };
    if (!c->have_identity)
        return SOTTO_CLIENT_IDLE;
    if (!c->identity.enrolled)
        return SOTTO_CLIENT_ENROLLING;
    return c->session != NULL ? phases[session_phase(c->session)] : SOTTO_CLIENT_WAITING;
}

static bool work_is_due(const sotto_client *c) {
    const bool work = c->work.kind != CLIENT_WORK_NONE && c->work.kind != CLIENT_WORK_PREPARED;
    return work || client_masks_due(c);
}

static uint64_t next_ms(const sotto_client *c) {
    const uint64_t now = clock_mono_ms();
    uint64_t due = now + 60000;
    if (work_is_due(c))
        return 0;
    if (c->have_identity && !c->identity.enrolled)
        due = c->enroll.failed != SOTTO_OK ? due : c->enroll.due_ms;
    else if (c->session != NULL)
        due = session_next_ms(c->session);
    else if (c->have_identity)
        due = c->session_due_ms;
    return due > now ? due - now : 0;
}

void sotto_client_state_get(const sotto_client *c, sotto_client_state *out) {
    sotto_client_state s;
    const size_t size = out->size < sizeof s ? out->size : sizeof s;
    memset(&s, 0, sizeof s);
    s.size = out->size;
    s.phase = phase_of(c);
    s.serial = c->identity.serial;
    s.next_ms = next_ms(c);
    s.rounds_done = c->rounds_done;
    s.bytes_up = c->bytes_up;
    s.bytes_down = c->bytes_down;
    wire_set_text(s.note, sizeof s.note, c->note);
    if (c->session != NULL) {
        const sotto_Terms *t = session_terms(c->session);
        if (t != NULL) {
            wire_set_text(s.task, sizeof s.task, t->task);
            s.round = t->round;
        }
        s.permille = s.phase == SOTTO_CLIENT_TRAINING ? client_work_permille(c)
                                                      : session_permille(c->session);
        if (session_reason(c->session)[0] != '\0')
            wire_set_text(s.note, sizeof s.note, session_reason(c->session));
    }
    memcpy(out, &s, size);
}

/* The store failed in the middle: what holds is what it has, so the session begins anew from it. */
static void start_over(sotto_client *c) {
    const uint32_t n = c->store_failures < 8 ? c->store_failures : 8;
    const uint64_t wait = num_min_u64((uint64_t)CLIENT_STORE_RETRY_MS << n, CLIENT_STORE_RETRY_MAX);
    c->store_failures++;
    c->session_due_ms = clock_mono_ms() + wait;
    devstore_rollback(c->store);
    client_work_clear(c);
    client_session_end(c);
    wire_set_text(c->note, sizeof c->note, c->error.message);
    client_log(c, "%s; goes on in %llu ms", c->error.message, (unsigned long long)wait);
}

static enum sotto_status poll_session(sotto_client *c, bool *busy) {
    enum sotto_status status = SOTTO_OK;
    if (c->session == NULL) {
        if (clock_mono_ms() < c->session_due_ms)
            return SOTTO_OK;
        status = client_session_make(c, &c->error);
    }
    if (status == SOTTO_OK)
        status = client_network(c, busy, &c->error);
    if (status == SOTTO_OK && work_is_due(c)) {
        *busy = true;
        status = client_masks_due(c) ? client_masks_slice(c, &c->error)
                                     : client_work_slice(c, &c->error);
    }
    if (status != SOTTO_OK)
        start_over(c);
    else if (c->session != NULL && session_stage(c->session) >= SESSION_SEALED)
        c->store_failures = 0;
    return status;
}

/* Examples age also on a device that nobody asks for work. */
static void expire_examples(sotto_client *c) {
    struct sotto_error why = SOTTO_ERROR_INIT;
    if (clock_mono_ms() < c->expire_due_ms)
        return;
    c->expire_due_ms = clock_mono_ms() + CLIENT_EXPIRE_MS;
    if (devstore_examples_expire(c->store, clock_wall_ms(), &why) != SOTTO_OK)
        client_log(c, "%s", why.message); /* another time, then */
}

int sotto_client_poll(sotto_client *c, int timeout_ms) {
    const uint64_t wait_ms = timeout_ms > 0 ? (uint64_t)timeout_ms : 0;
    bool busy = false;
    enum sotto_status status = SOTTO_OK;
    c->error = (struct sotto_error)SOTTO_ERROR_INIT;
    expire_examples(c);
    if (!c->have_identity) {
        client_sleep(wait_ms);
        return SOTTO_OK;
    }
    if (!c->identity.enrolled)
        return client_result(c, client_enroll_poll(c, timeout_ms > 0 ? timeout_ms : 0, &c->error));
    status = poll_session(c, &busy);
    if (status == SOTTO_OK && !busy && wait_ms > 0) {
        status = client_network_wait(c, num_min_u64(wait_ms, next_ms(c)), &c->error);
        if (status == SOTTO_OK)
            status = poll_session(c, &busy);
        else
            start_over(c);
    }
    return client_result(c, status);
}
