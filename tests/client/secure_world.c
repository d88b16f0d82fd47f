/* The in-memory device behind tests of secure sessions, and how its world is made. */
#include "secure_world.h"

#include <string.h>

#include "world_device.h"

static const uint8_t task_id[WIRE_TASK_ID] = {9, 8, 7, 6, 5, 4, 3, 2, 1};
const uint8_t sw_package[SW_PACKAGE] = "a package";

void sw_random(struct sw *w, void *out, size_t n) {
    uint8_t *p = out;
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)rng_u32(&w->rng);
}

bool sw_chance(struct sw *w, uint32_t permille) {
    return permille > 0 && rng_below(&w->rng, 1000) < permille;
}

/* ---- Making
 * ---------------------------------------------------------------------------------------------------------------
 */

static void make_member(struct sw *w, struct sw_member *m, uint64_t serial) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct id_token token;
    struct id_cert cert;
    struct id_curve curve;
    struct buf document;
    m->serial = serial;
    id_keys_generate(&m->keys);
    id_curve_generate(&curve);
    buf_init(&document, 4096);
    ASSERT_OK(id_document_sign(&w->document, &w->authority, &document, &err));
    ASSERT_OK(
        id_token_issue(&w->authority, serial, INT64_MAX / 2, buf_view(&document), &token, &err));
    id_cert_make(&token, m->keys.public_key, curve.public_key, &cert);
    id_cert_encode(&cert, m->cert);
    id_token_deinit(&token);
    buf_deinit(&document);
    memcpy(m->ids.authority, w->authority.public_key, ID_KEY);
    m->ids.document = &w->document;
    m->ids.keys = &m->keys;
    secure_identity(&m->ids, &m->identity);
}

static void make_terms(struct sw *w) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    sotto_Terms *t = &w->terms;
    struct buf bytes;
    const struct wire_hash hash = wire_hash_of(WIRE_LABEL_PACKAGE, view_of(sw_package, SW_PACKAGE));
    memcpy(t->task, "digits", 7);
    t->round = 3;
    t->kind = sotto_Kind_KIND_TRAIN;
    WIRE_SET_HASH(t->package_hash, &hash);
    t->package_bytes = SW_PACKAGE;
    t->has_rule = t->has_pipeline = true;
    t->rule.epochs = 1;
    t->rule.lr = 0.1f;
    world_masked_terms(t);
    t->pipeline.clip_inf = 1;
    t->pipeline.keep = 1;
    t->pipeline.fraction_bits = 30;
    t->weight_max = 100;
    t->n_max = 20;
    t->report_bytes_max = 64 * CHUNK_BYTES;
    t->task_id.size = WIRE_TASK_ID;
    memcpy(t->task_id.bytes, task_id, WIRE_TASK_ID);
    buf_init(&bytes, WIRE_TERMS_MAX);
    ASSERT_OK(wire_terms_encode(t, &bytes, &err));
    memcpy(w->terms_bytes, bytes.data, bytes.len);
    w->terms_size = bytes.len;
    w->hash = wire_terms_hash(buf_view(&bytes));
    buf_deinit(&bytes);
    ASSERT_OK(secure_config(t, &w->hash, SW_LENGTH, &w->group, &err));
}

struct sw *sw_new(uint64_t seed) {
    struct sw *w = mem_zalloc(sizeof *w);
    struct id_curve curve;
    assert_non_null(w);
    rng_init(&w->rng, seed, 0, 0, RNG_FAULT);
    world_device_init(&w->authority, &w->signer, &w->document, &w->config, SW_SERIAL, seed);
    w->document.endpoint_count = 1;
    id_curve_generate(&curve);
    memcpy(w->document.endpoints[0].curve_key, curve.public_key, ID_KEY);
    memcpy(w->document.endpoints[0].address, "tcp://127.0.0.1:7", 18);
    make_terms(w);
    make_member(w, &w->device, SW_SERIAL);
    for (uint32_t i = 0; i < SW_GHOSTS; i++)
        make_member(w, &w->ghosts[i], 100 + i);
    for (uint32_t i = 0; i < SW_GROUP; i++) {
        w->codes[i] = mem_array(SW_LENGTH, sizeof **w->codes);
        assert_non_null(w->codes[i]);
        for (uint32_t k = 0; k < SW_LENGTH; k++)
            w->codes[i][k] = (k * (i + 3) + i) % 255;
    }
    w->sum = mem_array(SW_LENGTH, sizeof *w->sum);
    for (size_t i = 0; i < ARRAY_LEN(w->up); i++)
        buf_init(&w->up[i], 64u << 20);
    buf_init(&w->down, 64u << 20);
    buf_init(&w->forged, 64u << 20);
    buf_init(&w->store.message, 64u << 20);
    buf_init(&w->first_masked, 64u << 20);
    w->config.certified = true;
    w->now_ms = 1000;
    w->wait_ms = 2000;
    w->charging = true;
    sw_restart(w);
    return w;
}

static void drop_mail(struct sw *w) {
    for (uint32_t i = 0; i < w->queued; i++)
        mem_free(w->queue[i].payload);
    w->queued = 0;
}

void sw_free(struct sw *w) {
    session_free(w->session);
    secure_member_free(w->member);
    sw_close_group(w);
    drop_mail(w);
    for (uint32_t i = 0; i < SW_GROUP; i++)
        mem_free(w->codes[i]);
    for (size_t i = 0; i < ARRAY_LEN(w->up); i++)
        buf_deinit(&w->up[i]);
    buf_deinit(&w->down);
    buf_deinit(&w->forged);
    buf_deinit(&w->store.message);
    buf_deinit(&w->first_masked);
    mem_free(w->sum);
    mem_free(w);
}

void sw_restart(struct sw *w) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct session_saved saved;
    memset(&saved, 0, sizeof saved);
    saved.document = &w->document;
    saved.stage = w->store.stage;
    saved.terms = view_of(w->terms_bytes, w->terms_size);
    saved.secure_attempt = w->store.attempt;
    saved.masked = w->store.masked;
    saved.report_bytes = w->store.message.len;
    saved.report_hash = w->store.message_hash;
    saved.bytes_left = saved.rounds_left = -1;
    saved.task_count = w->store.have_task;
    saved.tasks = &w->store.task;
    session_free(w->session);
    w->session = NULL;
    secure_member_free(w->member);
    w->member = NULL;
    drop_mail(w);
    w->link = w->connecting = w->working = false;
    ASSERT_OK(session_new(&w->config, &saved, &w->session, &err));
}

/* ---- Device
 * --------------------------------------------------------------------------------------------------------------
 */

static struct view send_payload(struct sw *w, const struct session_action *a) {
    if (!a->has_chunk)
        return view_of(NULL, 0);
    if (a->exchange != SECAGG_MASKED)
        return secure_member_out_chunk(w->member, a->chunk);
    assert_true(w->store.masked); /* before the first byte leaves */
    assert_false(w->store.mass);
    const size_t at = (size_t)a->chunk * CHUNK_BYTES;
    const uint32_t n = chunk_size(w->store.message.len, a->chunk);
    if (w->first_masked.len == 0)
        buf_put(&w->first_masked, w->store.message.data, w->store.message.len);
    assert_int_equal(w->first_masked.len, w->store.message.len);
    assert_memory_equal(w->first_masked.data, w->store.message.data, w->store.message.len);
    w->masked_sent++;
    return view_of(w->store.message.data + at, n);
}

static void send(struct sw *w, const struct session_action *a) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct buf frame;
    const struct view payload = send_payload(w, a);
    assert_true(w->link);
    buf_init(&frame, WIRE_CONTROL_MAX);
    ASSERT_OK(wire_encode(a->message, &frame, &err)); /* all that is said must be sayable */
    buf_deinit(&frame);
    w->sends[a->message->which_body]++;
    w->last_sent = *a->message;
    if (!sw_chance(w, w->loss_permille))
        sw_coordinator(w, a->message, payload);
}

static void store_outcome(struct sw *w, const struct session_action *a) {
    assert_memory_equal(a->terms_hash.b, w->hash.b, WIRE_HASH);
    assert_int_equal(w->store.stage, SESSION_READY);
    w->store.stage = SESSION_NONE;
    w->store.outcome = a->outcome;
    if (a->outcome == sotto_Outcome_OUTCOME_RETURNED)
        assert_true(w->store.mass && !w->store.masked);
    w->store.mass = false;
    buf_reset(&w->store.message);
}

static void begin_member(struct sw *w, const struct session_action *a) {
    assert_int_equal(w->store.stage, SESSION_READY);
    assert_false(w->store.masked);
    assert_true(a->attempt > w->store.attempt);
    w->store.attempt = a->attempt;
    secure_member_free(w->member);
    w->member = NULL;
    w->member_attempt = a->attempt;
    w->begins++;
    w->working = true;
    w->taking = 0;
}

static void execute(struct sw *w, const struct session_action *a) {
    switch (a->kind) {
    case SESSION_DO_CONNECT:
        w->connecting = true;
        break;
    case SESSION_DO_DISCONNECT:
        w->link = w->connecting = false;
        drop_mail(w);
        break;
    case SESSION_DO_SEND:
        send(w, a);
        break;
    case SESSION_DO_STORE_TERMS:
        w->store.stage = SESSION_ACCEPTED;
        w->store.have_task = true;
        memcpy(w->store.task.task_id, task_id, WIRE_TASK_ID);
        w->store.task.last_round = w->terms.round;
        w->store.task.terms_hash = w->hash;
        break;
    case SESSION_DO_PREPARE:
    case SESSION_DO_TRAIN:
        w->work.kind = a->kind == SESSION_DO_PREPARE ? SESSION_PREPARED : SESSION_TRAINED;
        w->working = true;
        break;
    case SESSION_DO_STORE_OUTCOME:
        store_outcome(w, a);
        break;
    case SESSION_DO_SECURE_BEGIN:
        begin_member(w, a);
        w->work.kind = SESSION_SECURE_OUT;
        break;
    case SESSION_DO_SECURE_CHUNK:
        assert_non_null(w->member);
        (void)secure_member_chunk(w->member, (enum secagg_kind)a->exchange, a->chunk, a->blob_bytes,
                                  a->bytes, NULL);
        break;
    case SESSION_DO_SECURE_TAKE:
        w->working = true;
        w->work.kind = SESSION_SECURE_OUT;
        w->taking = (enum secagg_kind)a->exchange;
        w->taking_hash = a->blob;
        break;
    case SESSION_DO_SECURE_END:
        secure_member_free(w->member);
        w->member = NULL;
        w->working = false;
        break;
    case SESSION_DO_DROP_TERMS:
        w->store.stage = SESSION_NONE;
        break;
    case SESSION_DO_NOTE:
        memcpy(w->note, a->text, sizeof w->note);
        break;
    case SESSION_DO_CANCEL:
        w->working = false;
        break;
    case SESSION_DO_STORE_CHUNK:
    case SESSION_DO_STORE_DOCUMENT:
    case SESSION_DO_STORE_COUNTERS:
        break;
    }
}

void sw_event(struct sw *w, struct session_event *e) {
    struct session_action actions[SESSION_ACTIONS_MAX];
    struct sotto_error err = SOTTO_ERROR_INIT;
    size_t count = SESSION_ACTIONS_MAX;
    uint8_t nonce[WIRE_NONCE];
    sw_random(w, nonce, sizeof nonce);
    e->now_ms = w->now_ms;
    ASSERT_OK(session_step(w->session, e, nonce, actions, &count, &err));
    for (size_t i = 0; i < count; i++)
        execute(w, &actions[i]);
}

void sw_tick(struct sw *w) {
    struct session_event e = {.kind = SESSION_TICK};
    e.conditions.online = e.conditions.idle = e.conditions.unmetered = true;
    e.conditions.charging = w->charging;
    e.conditions.battery_percent = -1;
    sw_event(w, &e);
}

static enum sotto_status make_member_client(struct sw *w, struct sotto_error *err) {
    uint8_t random[SECAGG_CLIENT_RANDOM];
    const struct secure_member_config config = {.terms = &w->terms,
                                                .terms_hash = &w->hash,
                                                .length = SW_LENGTH,
                                                .minimum_group = w->config.policy.minimum_group,
                                                .serial = SW_SERIAL,
                                                .ids = w->device.ids,
                                                .certificate =
                                                    view_of(w->device.cert, ID_CERT_BYTES),
                                                .masked_before = w->store.masked};
    sw_random(w, random, sizeof random);
    return secure_member_new(&config, w->member_attempt, random, &w->member, err);
}

/* One transaction: message, mark, no vector and no mass any more. */
static void mask_and_store(struct sw *w) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    buf_reset(&w->store.message);
    for (size_t at = 0; at < SW_LENGTH; at += SECURE_MASK_BLOCK) {
        const size_t n = SW_LENGTH - at < SECURE_MASK_BLOCK ? SW_LENGTH - at : SECURE_MASK_BLOCK;
        ASSERT_OK(
            secure_member_mask(w->member, w->codes[SW_GHOSTS] + at, n, &w->store.message, &err));
    }
    assert_int_equal(w->store.message.len, secure_member_masked_bytes(w->member));
    w->store.message_hash = secure_message_hash(buf_view(&w->store.message));
    assert_false(w->store.masked);
    w->store.masked = true;
    w->store.mass = false;
}

static void secure_work(struct sw *w, struct session_event *e, struct sotto_error *err) {
    enum sotto_status status;
    e->secure.attempt = w->member_attempt;
    if (w->taking == 0) {
        status = make_member_client(w, err);
        e->secure.exchange = SECAGG_ADVERTISE;
    } else {
        status = secure_member_take(w->member, w->taking, &w->taking_hash, err);
        e->secure.exchange = w->taking + 1;
        secure_member_report(w->member, &w->report);
    }
    if (status != SOTTO_OK) {
        e->kind = SESSION_SECURE_FAILED;
        e->error = err;
    } else if (e->secure.exchange == SECAGG_MASKED) {
        mask_and_store(w);
        e->secure.bytes = w->store.message.len;
        e->secure.hash = w->store.message_hash;
    } else {
        e->secure.bytes = secure_member_out(w->member).n;
        e->secure.hash = secure_message_hash(secure_member_out(w->member));
    }
}

static void finish_work(struct sw *w) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct session_event e = w->work;
    w->working = false;
    if (e.kind == SESSION_PREPARED) {
        e.prepared.schema_ok = true;
        e.prepared.examples = 9;
    } else if (e.kind == SESSION_TRAINED) {
        assert_int_equal(w->store.stage, SESSION_ACCEPTED);
        w->store.stage = SESSION_READY;
        w->store.mass = true;
        w->store.task.sealed = true;
        w->store.task.part_round = w->terms.round;
    } else {
        secure_work(w, &e, &err);
    }
    sw_event(w, &e);
}

static void deliver(struct sw *w) {
    const struct sw_mail mail = w->queue[0];
    struct session_event e = {.kind = SESSION_MESSAGE, .message = &mail.m};
    if (mail.n > 0)
        e.payload = view_of(mail.payload, mail.n);
    memmove(w->queue, w->queue + 1, --w->queued * sizeof *w->queue);
    sw_event(w, &e);
    mem_free(mail.payload);
}

bool sw_run_until(struct sw *w, bool (*stop)(struct sw *w), uint64_t ms) {
    const uint64_t end = w->now_ms + ms;
    sw_tick(w);
    for (uint32_t steps = 0; stop == NULL || !stop(w); steps++) {
        assert_true(steps < 100000);
        if (w->connecting) {
            w->connecting = false;
            w->link = true;
            sw_event(w, &(struct session_event){.kind = SESSION_CONNECTED});
        } else if (w->link && w->queued > 0) {
            deliver(w);
        } else if (w->working) {
            finish_work(w);
        } else {
            const uint64_t next = session_next_ms(w->session);
            if (next >= end)
                break;
            w->now_ms = next > w->now_ms ? next : w->now_ms;
            sw_tick(w);
        }
    }
    const bool stopped = stop != NULL && stop(w);
    if (!stopped)
        w->now_ms = end;
    return stopped;
}

void sw_run(struct sw *w, uint64_t ms) {
    (void)sw_run_until(w, NULL, ms);
}

static bool is_ready(struct sw *w) {
    return w->sends[sotto_Envelope_secure_ready_tag] > 0;
}

void sw_make_ready(struct sw *w) {
    assert_true(sw_run_until(w, is_ready, 60000));
    assert_int_equal(w->store.stage, SESSION_READY);
}
