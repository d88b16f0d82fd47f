/* The scripted coordinator and the members without a session behind tests of secure sessions. */
#include "secure_world.h"

#include <string.h>

void sw_close_group(struct sw *w) {
    secagg_server_free(w->server);
    w->server = NULL;
    for (uint32_t i = 0; i < SW_GHOSTS; i++) {
        secagg_client_free(w->ghosts[i].client);
        w->ghosts[i].client = NULL;
    }
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
    for (int copies = sw_chance(w, w->repeat_permille) ? 2 : 1; copies > 0; copies--) {
        if (sw_chance(w, w->loss_permille) || w->queued == SW_QUEUE)
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
    sw_close_group(w);
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
        sw_random(w, random, sizeof random);
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

void sw_coordinator(struct sw *w, const sotto_Envelope *m, struct view payload) {
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
        out.body.package_chunk.bytes = SW_PACKAGE;
        sw_say(w, &out, view_of(sw_package, SW_PACKAGE));
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
