/* The scripted coordinator, the ghosts and the in-memory device behind tests of secure sessions. */
#include "secure_world.h"

#include <string.h>

static const uint8_t task_id[WIRE_TASK_ID] = {9, 8, 7, 6, 5, 4, 3, 2, 1};
static const uint8_t package[] = "a package";

static void random_bytes(struct sw *w, void *out, size_t n) {
    uint8_t *p = out;
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)rng_u32(&w->rng);
}

static bool chance(struct sw *w, uint32_t permille) {
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
    const struct wire_hash hash =
        wire_hash_of(WIRE_LABEL_PACKAGE, view_of(package, sizeof package));
    memcpy(t->task, "digits", 7);
    t->round = 3;
    t->kind = sotto_Kind_KIND_TRAIN;
    WIRE_SET_HASH(t->package_hash, &hash);
    t->package_bytes = sizeof package;
    t->has_rule = t->has_pipeline = t->has_privacy = true;
    t->rule.epochs = 1;
    t->rule.lr = 0.1f;
    t->pipeline.clip_norm = t->pipeline.clip_inf = t->pipeline.range = 1;
    t->pipeline.keep = 1;
    t->pipeline.bits = 8;
    t->pipeline.fraction_bits = 30;
    t->privacy.secure_aggregation = SECURE_REQUIRED;
    t->privacy.minimum_group = 10;
    t->privacy.ring_bits = 16;
    t->privacy.exchange_ms = 30000;
    t->privacy.adversary = SECAGG_CURIOUS;
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
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct sw *w = mem_zalloc(sizeof *w);
    struct id_curve curve;
    assert_non_null(w);
    ASSERT_OK(id_setup(&err));
    rng_init(&w->rng, seed, 0, 0, RNG_FAULT);
    id_keys_generate(&w->authority);
    id_keys_generate(&w->signer);
    w->document.version = 3;
    memcpy(w->document.authority_key, w->authority.public_key, ID_KEY);
    memcpy(w->document.signing_key, w->signer.public_key, ID_KEY);
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
    w->config.serial = SW_SERIAL;
    memcpy(w->config.authority_key, w->authority.public_key, ID_KEY);
    session_policy_defaults(&w->config.policy);
    w->config.jitter_seed = seed;
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

static void close_group(struct sw *w) {
    secagg_server_free(w->server);
    w->server = NULL;
    for (uint32_t i = 0; i < SW_GHOSTS; i++) {
        secagg_client_free(w->ghosts[i].client);
        w->ghosts[i].client = NULL;
    }
}

void sw_free(struct sw *w) {
    session_free(w->session);
    secure_member_free(w->member);
    close_group(w);
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

/* ---- Coordinator
 * ---------------------------------------------------------------------------------------------------------
 */

void sw_say(struct sw *w, const sotto_Envelope *m, struct view payload) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct buf frame;
    buf_init(&frame, WIRE_CONTROL_MAX);
    ASSERT_OK(wire_encode(m, &frame, &err));
    buf_deinit(&frame);
    if (!w->link)
        return;
    for (int copies = chance(w, w->repeat_permille) ? 2 : 1; copies > 0; copies--) {
        if (chance(w, w->loss_permille) || w->queued == SW_QUEUE)
            continue;
        struct sw_mail *mail = &w->queue[w->queued++];
        *mail = (struct sw_mail){.m = *m, .n = payload.n};
        if (payload.n == 0)
            continue;
        mail->payload = mem_alloc(payload.n);
        assert_non_null(mail->payload);
        memcpy(mail->payload, payload.p, payload.n);
    }
}

void sw_state(struct sw *w, uint32_t attempt, uint32_t exchange, struct view message,
              sotto_Outcome outcome) {
    sotto_Envelope m = sotto_Envelope_init_zero;
    m.which_body = sotto_Envelope_secure_state_tag;
    sotto_SecureState *s = &m.body.secure_state;
    WIRE_SET_HASH(s->terms_hash, &w->hash);
    s->attempt = attempt;
    s->exchange = exchange;
    s->bytes = message.n;
    if (message.n > 0) {
        const struct wire_hash hash = wire_hash_of(WIRE_LABEL_SECURE, message);
        WIRE_SET_HASH(s->hash, &hash);
    }
    s->wait_ms = w->wait_ms;
    s->outcome = outcome;
    sw_say(w, &m, view_of(NULL, 0));
}

void sw_say_wanted(struct sw *w) {
    sw_state(w, w->attempt, w->want,
             w->want > SECAGG_ADVERTISE ? buf_view(&w->down) : view_of(NULL, 0), w->outcome);
}

static enum sotto_status certify_anybody(void *ctx, uint64_t serial, struct view certificate,
                                         uint8_t key[SECAGG_KEY], struct sotto_error *err) {
    (void)ctx;
    (void)serial;
    (void)err;
    memcpy(key, certificate.p + ID_TICKET_BYTES, SECAGG_KEY);
    return SOTTO_OK;
}

void sw_group(struct sw *w, uint32_t attempt) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct secagg_identity server = w->device.identity;
    if (w->trusts_all)
        server.certify = certify_anybody;
    uint8_t random[SECAGG_CLIENT_RANDOM];
    struct buf record;
    close_group(w);
    for (size_t i = 0; i < ARRAY_LEN(w->up); i++) {
        buf_reset(&w->up[i]);
        w->up_done[i] = false;
        w->up_bytes[i] = 0;
    }
    memset(w->sum, 0, SW_LENGTH * sizeof *w->sum);
    w->in_sum = false;
    w->attempt = attempt;
    w->want = w->open = SECAGG_ADVERTISE;
    ASSERT_OK(secagg_server_new(&w->group, &server, &w->server, &err));
    buf_init(&record, 4096);
    for (uint32_t i = 0; i < SW_GHOSTS; i++) {
        struct sw_member *g = &w->ghosts[i];
        if (g->gone)
            continue;
        if (w->trusts_all)
            g->identity.certify = certify_anybody;
        random_bytes(w, random, sizeof random);
        ASSERT_OK(secagg_client_new(&w->group, &g->identity, g->serial,
                                    view_of(g->cert, ID_CERT_BYTES), random, false, &g->client,
                                    &err));
        buf_reset(&record);
        ASSERT_OK(secagg_client_advertise(g->client, &record, &err));
        ASSERT_OK(secagg_server_advertise(w->server, g->serial, buf_view(&record), &err));
    }
    buf_deinit(&record);
    if (w->link)
        sw_say_wanted(w);
}

static void add_masked(struct sw *w, struct view message) {
    secagg_ring_add(16, w->sum, message.p + SECAGG_MASKED_HEAD, SW_LENGTH);
}

/* One ghost's part between two closes. */
static void ghost_turn(struct sw *w, uint32_t i, enum secagg_kind said) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct sw_member *g = &w->ghosts[i];
    struct buf in, out;
    buf_init(&in, 16u << 20);
    buf_init(&out, 16u << 20);
    ASSERT_OK(secagg_server_message(w->server, said, g->serial, &in, &err));
    const struct view message = buf_view(&in);
    if (said == SECAGG_LIST) {
        ASSERT_OK(secagg_client_list(g->client, message, &out, &err));
        ASSERT_OK(secagg_server_shares(w->server, g->serial, buf_view(&out), &err));
    } else if (said == SECAGG_DELIVERY) {
        ASSERT_OK(secagg_client_delivery(g->client, message, &err));
        ASSERT_OK(secagg_client_mask(g->client, 0, w->codes[i], SW_LENGTH, &out, &err));
        ASSERT_OK(secagg_server_masked(w->server, g->serial, view_of(out.data, SECAGG_MASKED_HEAD),
                                       out.len, &err));
        add_masked(w, buf_view(&out));
    } else if (said == SECAGG_SURVIVORS) {
        ASSERT_OK(secagg_client_survivors(g->client, message, &out, &err));
        ASSERT_OK(secagg_server_signature(w->server, g->serial, buf_view(&out), &err));
    } else {
        ASSERT_OK(secagg_client_signatures(g->client, message, &out, &err));
        ASSERT_OK(secagg_server_unmask(w->server, g->serial, buf_view(&out), &err));
    }
    buf_deinit(&in);
    buf_deinit(&out);
}

static void reveal(struct sw *w) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    uint32_t *mine = w->codes[SW_GHOSTS];
    ASSERT_OK(secagg_server_open(w->server, NULL, &err));
    ASSERT_OK(secagg_server_reveal(w->server, w->sum, 0, SW_LENGTH, NULL, &err));
    w->summed = true;
    w->survivors = w->in_sum;
    for (uint32_t i = 0; i < SW_GHOSTS; i++)
        w->survivors += !w->ghosts[i].gone;
    for (uint32_t k = 0; k < SW_LENGTH; k++) {
        uint32_t want = w->in_sum ? mine[k] : 0;
        for (uint32_t i = 0; i < SW_GHOSTS; i++)
            want += w->ghosts[i].gone ? 0 : w->codes[i][k];
        w->summed = w->summed && w->sum[k] == want % 65536;
    }
}

/* The device has sent the last message that was missing (or never will). */
void sw_close(struct sw *w, enum secagg_kind kind) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    ASSERT_OK(secagg_server_close(w->server, kind, &err));
    w->want = 0;
    w->open = kind == SECAGG_UNMASK ? 0 : kind + 2;
    if (kind == SECAGG_UNMASK) {
        reveal(w);
        w->outcome = w->in_sum ? sotto_Outcome_OUTCOME_KEPT : sotto_Outcome_OUTCOME_RETURNED;
        return;
    }
    const enum secagg_kind say = kind + 1;
    for (uint32_t i = 0; i < SW_GHOSTS; i++)
        if (!w->ghosts[i].gone)
            ghost_turn(w, i, say);
    buf_reset(&w->down);
    if (secagg_server_message(w->server, say, SW_SERIAL, &w->down, NULL) == SOTTO_OK)
        w->want = say;
    if (w->link && w->want != 0)
        sw_say_wanted(w);
}

static enum sotto_status server_takes(struct sw *w, enum secagg_kind kind) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    const struct view message = buf_view(&w->up[kind]);
    if (kind == SECAGG_ADVERTISE)
        return secagg_server_advertise(w->server, SW_SERIAL, message, &err);
    if (kind == SECAGG_SHARES)
        return secagg_server_shares(w->server, SW_SERIAL, message, &err);
    if (kind == SECAGG_SIGNATURE)
        return secagg_server_signature(w->server, SW_SERIAL, message, &err);
    if (kind == SECAGG_UNMASK)
        return secagg_server_unmask(w->server, SW_SERIAL, message, &err);
    assert_int_equal(kind, SECAGG_MASKED);
    const enum sotto_status status = secagg_server_masked(
        w->server, SW_SERIAL, view_of(message.p, SECAGG_MASKED_HEAD), message.n, &err);
    if (status == SOTTO_OK) {
        add_masked(w, message);
        w->in_sum = true;
    }
    return status;
}

static void say_ack(struct sw *w, uint32_t exchange, enum sotto_status status) {
    sotto_Envelope m = sotto_Envelope_init_zero;
    m.which_body = sotto_Envelope_report_ack_tag;
    WIRE_SET_HASH(m.body.report_ack.terms_hash, &w->hash);
    m.body.report_ack.status = (uint32_t)status;
    m.body.report_ack.attempt = w->attempt;
    m.body.report_ack.exchange = exchange;
    m.body.report_ack.come_back_ms = 1000;
    sw_say(w, &m, view_of(NULL, 0));
}

static void say_grant(struct sw *w, uint32_t exchange) {
    sotto_Envelope m = sotto_Envelope_init_zero;
    m.which_body = sotto_Envelope_report_grant_tag;
    WIRE_SET_HASH(m.body.report_grant.terms_hash, &w->hash);
    m.body.report_grant.attempt = w->attempt;
    m.body.report_grant.exchange = exchange;
    m.body.report_grant.next_index = (uint32_t)(w->up[exchange].len / CHUNK_BYTES);
    m.body.report_grant.credit = 1;
    sw_say(w, &m, view_of(NULL, 0));
}

static void on_open(struct sw *w, const sotto_ReportOpen *o) {
    if (o->attempt != w->attempt || w->server == NULL) {
        return;
    }
    if (w->up_bytes[o->exchange] == 0) {
        w->up_bytes[o->exchange] = o->bytes;
        WIRE_GET_HASH(o->hash, &w->up_hash[o->exchange]);
    }
    assert_int_equal(o->bytes, w->up_bytes[o->exchange]); /* a resend is those bytes */
    assert_memory_equal(o->hash.bytes, w->up_hash[o->exchange].b, WIRE_HASH);
    if (w->up_done[o->exchange])
        say_ack(w, o->exchange, SOTTO_OK);
    else
        say_grant(w, o->exchange);
}

static void on_chunk(struct sw *w, const sotto_ReportChunk *c, struct view payload) {
    struct buf *up = &w->up[c->exchange];
    if (c->attempt != w->attempt || w->up_done[c->exchange] ||
        up->len != (size_t)c->index * CHUNK_BYTES)
        return;
    assert_int_equal(payload.n, chunk_size(w->up_bytes[c->exchange], c->index));
    buf_put(up, payload.p, payload.n);
    if (up->len < w->up_bytes[c->exchange]) {
        say_grant(w, c->exchange);
        return;
    }
    const struct wire_hash got = secure_message_hash(buf_view(up));
    assert_memory_equal(got.b, w->up_hash[c->exchange].b, WIRE_HASH);
    w->up_done[c->exchange] = true;
    const enum sotto_status status = w->server != NULL ? server_takes(w, c->exchange) : SOTTO_STATE;
    say_ack(w, c->exchange, status);
    if (status == SOTTO_OK && !w->hold)
        sw_close(w, c->exchange);
}

static void on_get(struct sw *w, const sotto_SecureGet *g) {
    const struct view shown = buf_view(w->forged.len > 0 ? &w->forged : &w->down);
    if (g->attempt != w->attempt || g->exchange != (uint32_t)w->want)
        return;
    for (uint32_t i = g->index; i < g->index + g->count && i < chunk_count(shown.n); i++) {
        sotto_Envelope m = sotto_Envelope_init_zero;
        m.which_body = sotto_Envelope_secure_chunk_tag;
        WIRE_SET_HASH(m.body.secure_chunk.terms_hash, &w->hash);
        m.body.secure_chunk.attempt = g->attempt;
        m.body.secure_chunk.exchange = g->exchange;
        m.body.secure_chunk.index = i;
        m.body.secure_chunk.chunks = chunk_count(shown.n);
        m.body.secure_chunk.bytes = shown.n;
        sw_say(w, &m, view_of(shown.p + (size_t)i * CHUNK_BYTES, chunk_size(shown.n, i)));
    }
}

static void on_check_in(struct sw *w, const sotto_CheckIn *c) {
    sotto_Envelope m = sotto_Envelope_init_zero;
    sotto_CheckInReply *r = &m.body.check_in_reply;
    m.which_body = sotto_Envelope_check_in_reply_tag;
    r->come_back_ms = 60000;
    if (w->store.outcome == 0 && w->outcome == 0) {
        r->terms.size = (pb_size_t)w->terms_size;
        memcpy(r->terms.bytes, w->terms_bytes, w->terms_size);
        r->terms_signature.size = ID_SIG;
        id_sign(&w->signer, ID_LABEL_TERMS, view_of(w->terms_bytes, w->terms_size),
                r->terms_signature.bytes);
        r->signing_key.size = ID_KEY;
        memcpy(r->signing_key.bytes, w->signer.public_key, ID_KEY);
        r->has_invitation = true;
        WIRE_SET_HASH(r->invitation.terms_hash, &w->hash);
        r->invitation.serial = SW_SERIAL;
        r->invitation.nonce.size = WIRE_NONCE;
        memcpy(r->invitation.nonce.bytes, c->nonce.bytes, WIRE_NONCE);
        r->invitation.valid_ms = 60000;
    } else if (c->terms_held.size == WIRE_HASH) {
        r->outcomes_count = 1;
        WIRE_SET_HASH(r->outcomes[0].terms_hash, &w->hash);
        r->outcomes[0].outcome = w->outcome;
    }
    sw_say(w, &m, view_of(NULL, 0));
}

static void coordinator(struct sw *w, const sotto_Envelope *m, struct view payload) {
    sotto_Envelope out = sotto_Envelope_init_zero;
    if (w->mute)
        return;
    if (m->which_body == sotto_Envelope_check_in_tag) {
        on_check_in(w, &m->body.check_in);
    } else if (m->which_body == sotto_Envelope_get_package_tag) {
        out.which_body = sotto_Envelope_package_chunk_tag;
        out.body.package_chunk.hash.size = WIRE_HASH;
        memcpy(out.body.package_chunk.hash.bytes, m->body.get_package.hash.bytes, WIRE_HASH);
        out.body.package_chunk.chunks = 1;
        out.body.package_chunk.bytes = sizeof package;
        sw_say(w, &out, view_of(package, sizeof package));
    } else if (m->which_body == sotto_Envelope_secure_ready_tag) {
        sw_say_wanted(w);
    } else if (m->which_body == sotto_Envelope_report_open_tag) {
        on_open(w, &m->body.report_open);
    } else if (m->which_body == sotto_Envelope_report_chunk_tag) {
        on_chunk(w, &m->body.report_chunk, payload);
    } else if (m->which_body == sotto_Envelope_secure_get_tag) {
        on_get(w, &m->body.secure_get);
    }
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
    case SESSION_DO_SEND: {
        struct sotto_error err = SOTTO_ERROR_INIT;
        struct buf frame;
        const struct view payload = send_payload(w, a);
        assert_true(w->link);
        buf_init(&frame, WIRE_CONTROL_MAX);
        ASSERT_OK(wire_encode(a->message, &frame, &err));
        buf_deinit(&frame);
        w->sends[a->message->which_body]++;
        w->last_sent = *a->message;
        if (!chance(w, w->loss_permille))
            coordinator(w, a->message, payload);
        break;
    }
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
    random_bytes(w, nonce, sizeof nonce);
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
    random_bytes(w, random, sizeof random);
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
