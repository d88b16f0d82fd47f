/* The host of the session: carries out its actions on store and transport, and brings it messages
 * and time. */
#include "lib/client_int.h"

#include <string.h>

static bool stores(enum session_action_kind kind) {
    switch (kind) {
    case SESSION_DO_STORE_TERMS:
    case SESSION_DO_STORE_CHUNK:
    case SESSION_DO_STORE_OUTCOME:
    case SESSION_DO_DROP_TERMS:
    case SESSION_DO_STORE_DOCUMENT:
    case SESSION_DO_STORE_COUNTERS:
    case SESSION_DO_NOTE:
    case SESSION_DO_SECURE_BEGIN:
        return true;
    case SESSION_DO_SECURE_CHUNK:
    case SESSION_DO_SECURE_TAKE:
    case SESSION_DO_SECURE_END:
    case SESSION_DO_CONNECT:
    case SESSION_DO_DISCONNECT:
    case SESSION_DO_SEND:
    case SESSION_DO_PREPARE:
    case SESSION_DO_TRAIN:
    case SESSION_DO_CANCEL:
        break;
    }
    return false;
}

static enum sotto_status store_document(struct sotto_client *c, struct view bytes,
                                        struct sotto_error *err) {
    struct id_document d;
    enum sotto_status status = id_document_read(bytes, c->identity.authority, &d, err);
    if (status != SOTTO_OK)
        return status;
    status = devstore_document_put(c->store, d.version, bytes, err);
    id_document_deinit(&d);
    return status;
}

static void keep_terms(struct sotto_client *c) {
    const sotto_Terms *t = session_terms(c->session);
    if (t == NULL)
        return;
    wire_set_text(c->note_task, sizeof c->note_task, t->task);
    c->note_round = t->round;
}

static enum sotto_status note(struct sotto_client *c, const char *text, struct sotto_error *err) {
    keep_terms(c);
    client_log(c, "%s", text);
    wire_set_text(c->note, sizeof c->note, text);
    return devstore_history_add(c->store, clock_wall_ms(), c->note_task, c->note_round, text, err);
}

static enum sotto_status store_one(struct sotto_client *c, const struct session_action *a,
                                   struct sotto_error *err) {
    if (a->kind == SESSION_DO_STORE_TERMS) {
        sotto_Terms terms;
        const enum sotto_status status = wire_terms_decode(a->bytes, &terms, err);
        return status == SOTTO_OK
                   ? devstore_terms_accept(c->store, &a->terms_hash, a->bytes, &terms, err)
                   : status;
    }
    if (a->kind == SESSION_DO_STORE_CHUNK) {
        const struct devstore_part part = {
            .package = a->package, .bytes = a->blob_bytes, .delta = a->delta};
        return devstore_part_add(c->store, &part, a->chunk, a->bytes, err);
    }
    if (a->kind == SESSION_DO_STORE_OUTCOME)
        return devstore_outcome(c->store, &a->terms_hash, a->outcome, err);
    if (a->kind == SESSION_DO_DROP_TERMS)
        return devstore_terms_drop(c->store, err);
    if (a->kind == SESSION_DO_STORE_DOCUMENT)
        return store_document(c, a->bytes, err);
    if (a->kind == SESSION_DO_STORE_COUNTERS)
        return devstore_buckets_put(c->store, a->bytes_left, a->rounds_left, err);
    if (a->kind == SESSION_DO_SECURE_BEGIN)
        return devstore_secure_begin(c->store, &a->terms_hash, a->attempt, err);
    return note(c, a->text, err);
}

/* One transaction, durable before anything is sent. */
static enum sotto_status store_all(struct sotto_client *c, const struct session_action *actions,
                                   size_t count, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    bool any = false, document = false, outcome = false;
    for (size_t i = 0; i < count; i++) {
        any = any || stores(actions[i].kind);
        document = document || actions[i].kind == SESSION_DO_STORE_DOCUMENT;
        outcome = outcome || actions[i].kind == SESSION_DO_STORE_OUTCOME;
    }
    if (!any)
        return SOTTO_OK;
    TRY(devstore_begin(c->store, err));
    for (size_t i = 0; i < count && status == SOTTO_OK; i++)
        if (stores(actions[i].kind))
            status = store_one(c, &actions[i], err);
    if (status == SOTTO_OK && outcome)
        client_flush_traffic(c);
    if (status == SOTTO_OK)
        status = devstore_commit(c->store, err);
    if (status != SOTTO_OK) {
        devstore_rollback(c->store);
        goto out;
    }
    if (document) {
        TRY(client_identity_load(c, err));
        session_document(c->session, &c->document);
    }
    if (outcome) {
        struct devstore_counters counters;
        if (devstore_counters_get(c->store, &counters, NULL) == SOTTO_OK)
            c->rounds_done = (uint32_t)counters.rounds_done;
    }
out:
    return status;
}

static enum sotto_status send_one(struct sotto_client *c, const struct session_action *a,
                                  struct sotto_error *err) {
    struct view payload = view_of(NULL, 0);
    struct sotto_error ignored = SOTTO_ERROR_INIT;
    enum sotto_status status;
    if (c->link == NULL)
        return SOTTO_OK;
    if (a->has_chunk) {
        TRY(client_masks_chunk(c, a, &payload, err));
        if (payload.p == NULL) /* of a session that is over */
            return SOTTO_OK;
    }
    TRY(wire_encode(a->message, &c->frame, err));
    /* A full queue or a broken link is like a lost message: the session's timers send it again. */
    if (transport_client_send(c->link, buf_view(&c->frame), payload, &ignored) != SOTTO_OK)
        client_log(c, "%s not sent: %s", wire_name(a->message), ignored.message);
    c->bytes_up += c->frame.len + payload.n;
    c->traffic_up += c->frame.len + payload.n;
out:
    return status;
}

static enum sotto_status open_link(struct sotto_client *c, uint32_t endpoint,
                                   struct sotto_error *err) {
    client_link_close(c);
    const struct id_endpoint *to = &c->document.endpoints[endpoint % c->document.endpoint_count];
    const struct transport_client_config config = {to->address, to->curve_key, &c->identity.curve};
    /* Without a link the session's time-out leads on. */
    if (transport_client_open(&config, &c->link, err) != SOTTO_OK)
        client_log(c, "cannot connect to %s: %s", to->address, err != NULL ? err->message : "");
    return SOTTO_OK;
}

static enum sotto_status act(struct sotto_client *c, const struct session_action *a,
                             struct sotto_error *err) {
    switch (a->kind) {
    case SESSION_DO_CONNECT:
        return open_link(c, a->endpoint, err);
    case SESSION_DO_DISCONNECT:
        client_link_close(c);
        break;
    case SESSION_DO_SEND:
        return send_one(c, a, err);
    case SESSION_DO_PREPARE:
        client_work_clear(c);
        c->work.kind = CLIENT_WORK_PREPARE;
        c->work.package_hash = a->package;
        c->work.base_hash = a->base;
        break;
    case SESSION_DO_TRAIN:
        c->work.kind = CLIENT_WORK_TRAIN;
        break;
    case SESSION_DO_CANCEL:
        client_work_cancel(c);
        break;
    case SESSION_DO_STORE_TERMS:
    case SESSION_DO_STORE_CHUNK:
    case SESSION_DO_STORE_OUTCOME:
    case SESSION_DO_DROP_TERMS:
    case SESSION_DO_STORE_DOCUMENT:
    case SESSION_DO_STORE_COUNTERS:
    case SESSION_DO_NOTE:
    case SESSION_DO_SECURE_BEGIN:
    case SESSION_DO_SECURE_CHUNK:
    case SESSION_DO_SECURE_TAKE:
    case SESSION_DO_SECURE_END:
        return client_masks_act(c, a, err);
    }
    return SOTTO_OK;
}

/* A report whose file is gone or damaged costs that report, not the device. */
static enum sotto_status report_lost(struct sotto_client *c, const struct sotto_error *why,
                                     struct sotto_error *err) {
    struct session_event lost = {.kind = SESSION_FAILED, .error = why};
    client_log(c, "%s", why->message);
    return client_step(c, &lost, err);
}

enum sotto_status client_step(struct sotto_client *c, struct session_event *event,
                              struct sotto_error *err) {
    struct sotto_error why = SOTTO_ERROR_INIT;
    struct session_action actions[SESSION_ACTIONS_MAX];
    size_t count = SESSION_ACTIONS_MAX;
    uint8_t nonce[WIRE_NONCE];
    enum sotto_status status;
    id_random(nonce, sizeof nonce);
    event->now_ms = clock_mono_ms();
    c->note_task[0] = '\0';
    c->note_round = 0;
    keep_terms(c);
    TRY(session_step(c->session, event, nonce, actions, &count, err));
    /* Cancelling keeps a checkpoint, which dropping the terms takes away: so it comes first. */
    for (size_t i = 0; i < count; i++)
        if (actions[i].kind == SESSION_DO_CANCEL)
            TRY(act(c, &actions[i], err));
    TRY(store_all(c, actions, count, err));
    for (size_t i = 0; i < count; i++) {
        if (actions[i].kind == SESSION_DO_CANCEL)
            continue;
        status = act(c, &actions[i], &why);
        if (status == SOTTO_CORRUPT && actions[i].has_chunk)
            return report_lost(c, &why, err);
        if (status != SOTTO_OK) {
            if (err != NULL)
                *err = why;
            goto out;
        }
    }
out:
    return status;
}

void client_link_close(struct sotto_client *c) {
    transport_client_close(c->link);
    c->link = NULL;
    c->link_up = false;
}

void client_flush_traffic(struct sotto_client *c) {
    if (c->traffic_up + c->traffic_down > 0 &&
        devstore_traffic_add(c->store, c->traffic_up, c->traffic_down, NULL) == SOTTO_OK)
        c->traffic_up = c->traffic_down = 0;
}

/* ---- Session
 * ------------------------------------------------------------------------------------------------------------------
 */

enum sotto_status client_session_make(struct sotto_client *c, struct sotto_error *err) {
    struct session_saved saved;
    struct session_config config;
    struct buf hold;
    enum sotto_status status;
    memset(&config, 0, sizeof config);
    config.serial = c->identity.serial;
    memcpy(config.authority_key, c->identity.authority, ID_KEY);
    config.policy = c->policy.session;
    config.certified = c->identity.certified;
    config.memory_bytes = c->policy.session.arena_bytes_max;
    WIRE_SET_TEXT(config.backend, kern_backend_kernel_set(c->backend));
    WIRE_SET_TEXT(config.tier, c->tier);
    WIRE_SET_TEXT(config.version, SOTTO_VERSION_TEXT);
    id_random(&config.jitter_seed, sizeof config.jitter_seed);
    buf_init(&hold, 0);
    TRY(devstore_expire(c->store, clock_wall_ms() - CLIENT_RETENTION_MS, err));
    status = devstore_session(c->store, &saved, &hold, err);
    if (status == SOTTO_OK) {
        saved.document = &c->document;
        status = session_new(&config, &saved, &c->session, err);
    }
    client_choose_tell(c);
    c->conditions_changed = true;
out:
    buf_deinit(&hold);
    return status;
}

void client_session_end(struct sotto_client *c) {
    client_link_close(c);
    client_masks_end(c);
    session_free(c->session);
    c->session = NULL;
}

/* ---- Network
 * ------------------------------------------------------------------------------------------------------------------
 */

static enum sotto_status tell(struct sotto_client *c, enum session_event_kind kind,
                              struct sotto_error *err) {
    struct session_event e = {.kind = kind};
    return client_step(c, &e, err);
}

static enum sotto_status take_message(struct sotto_client *c, struct view control,
                                      struct view payload, struct sotto_error *err) {
    sotto_Envelope m;
    struct sotto_error bad = SOTTO_ERROR_INIT;
    struct session_event e = {.kind = SESSION_MESSAGE, .message = &m, .payload = payload};
    c->bytes_down += control.n + payload.n;
    c->traffic_down += control.n + payload.n;
    if (wire_decode(control, &m, &bad) != SOTTO_OK) {
        client_log(c, "a message that does not hold: %s", bad.message);
        return SOTTO_OK;
    }
    return client_step(c, &e, err);
}

/* What a receive said, as an event. False: nothing came. */
static bool take_received(struct sotto_client *c, enum sotto_status got, struct view control,
                          struct view payload, enum sotto_status *status, struct sotto_error *err) {
    if (got == SOTTO_OK)
        *status = take_message(c, control, payload, err);
    else if (got == SOTTO_DENIED)
        *status = tell(c, SESSION_REFUSED, err);
    else if (got == SOTTO_UNREACHABLE)
        *status = tell(c, SESSION_LOST, err);
    else
        return got == SOTTO_CORRUPT;
    return true;
}

static enum sotto_status look_at_link(struct sotto_client *c, bool *busy, struct sotto_error *err) {
    struct view control, payload;
    enum sotto_status status = SOTTO_OK;
    for (int i = 0; i < CLIENT_MESSAGES_MAX && c->link != NULL; i++) {
        const enum transport_state before = transport_client_state(c->link);
        if (before == TRANSPORT_CONNECTED && !c->link_up) {
            c->link_up = true;
            TRY(tell(c, SESSION_CONNECTED, err));
            *busy = true;
            continue;
        }
        const enum sotto_status got = transport_client_recv(c->link, 0, &control, &payload, NULL);
        if (!take_received(c, got, control, payload, &status, err))
            break;
        *busy = true;
        if (status != SOTTO_OK)
            break;
    }
out:
    return status;
}

enum sotto_status client_network(struct sotto_client *c, bool *busy, struct sotto_error *err) {
    enum sotto_status status = look_at_link(c, busy, err);
    for (int i = 0; i < 8 && status == SOTTO_OK; i++) {
        if (!c->conditions_changed && session_next_ms(c->session) > clock_mono_ms())
            break;
        struct session_event e = {.kind = SESSION_TICK};
        e.conditions.charging = c->conditions.charging;
        e.conditions.idle = c->conditions.idle;
        e.conditions.unmetered = c->conditions.unmetered;
        e.conditions.online = c->conditions.online;
        e.conditions.battery_percent = c->conditions.battery_percent;
        e.train_permille = client_work_permille(c);
        c->conditions_changed = false;
        status = client_step(c, &e, err);
        *busy = true;
    }
    return status;
}

enum sotto_status client_network_wait(struct sotto_client *c, uint64_t ms,
                                      struct sotto_error *err) {
    struct view control, payload;
    enum sotto_status status = SOTTO_OK;
    if (c->link == NULL) {
        client_sleep(ms);
        return SOTTO_OK;
    }
    if (!c->link_up)
        ms = num_min_u64(ms, CLIENT_CONNECT_WAIT_MS);
    const int timeout = ms > INT32_MAX ? INT32_MAX : (int)ms;
    const enum sotto_status got = transport_client_recv(c->link, timeout, &control, &payload, NULL);
    (void)take_received(c, got, control, payload, &status, err);
    return status;
}
