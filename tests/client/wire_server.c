/* The scripted coordinator behind the library's tests: real transport, packages, sealing; no rounds
 * of its own. */
#include "wire_server.h"

#include <string.h>

static void make_graph(struct wire_server *s) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    const uint32_t dims[3] = {28, 28, 1};
    uint32_t node = 0;
    graph_init(&s->graph);
    ASSERT_OK(graph_input(&s->graph, 3, dims, &node, &err));
    struct graph_node flat = {.op = GRAPH_FLATTEN, .inputs = {node}};
    ASSERT_OK(graph_add(&s->graph, &flat, &node, &err));
    struct graph_node hidden = {.op = GRAPH_DENSE, .inputs = {node}, .units = 100, .bias = true};
    ASSERT_OK(graph_add(&s->graph, &hidden, &node, &err));
    struct graph_node act = {.op = GRAPH_ACT, .inputs = {node}, .act = KERN_ACT_RELU};
    ASSERT_OK(graph_add(&s->graph, &act, &node, &err));
    struct graph_node out = {.op = GRAPH_DENSE, .inputs = {node}, .units = 10, .bias = true};
    ASSERT_OK(graph_add(&s->graph, &out, &node, &err));
    ASSERT_OK(graph_finish(&s->graph, &err));
    s->schema = (struct data_schema){DATA_U8, 3, {28, 28, 1}, 10, 1.0f / 255.0f, 0.0f};
}

void wire_server_init(struct wire_server *s) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    memset(s, 0, sizeof *s);
    ASSERT_OK(id_setup(&err));
    id_keys_generate(&s->authority);
    id_keys_generate(&s->signer);
    id_curve_generate(&s->keys);
    s->gate = transport_gate_new();
    assert_non_null(s->gate);
    struct transport_server_config config = TRANSPORT_SERVER_INIT;
    config.keys = &s->keys;
    config.peers_max = 16;
    ASSERT_OK(transport_server_open(&config, s->gate, &s->transport, &err));
    s->document.version = 1;
    memcpy(s->document.signing_key, s->signer.public_key, ID_KEY);
    s->document.endpoint_count = 1;
    wire_set_text(s->document.endpoints[0].address, ID_ADDRESS_MAX,
                  transport_server_address(s->transport));
    memcpy(s->document.endpoints[0].curve_key, s->keys.public_key, ID_KEY);
    memcpy(s->document.authority_key, s->authority.public_key, ID_KEY);
    buf_init(&s->document_bytes, 1u << 20);
    ASSERT_OK(id_document_sign(&s->document, &s->authority, &s->document_bytes, &err));
    buf_init(&s->package, PACKAGE_BYTES_MAX);
    buf_init(&s->base, PACKAGE_BYTES_MAX);
    buf_init(&s->terms_bytes, WIRE_TERMS_MAX);
    buf_init(&s->report, WIRE_BLOB_MAX);
    s->serial = 42;
    s->come_back_ms = 20;
    s->outcome = sotto_Outcome_OUTCOME_OPEN;
    make_graph(s);
}

void wire_server_deinit(struct wire_server *s) {
    transport_server_close(s->transport);
    transport_gate_free(s->gate);
    graph_deinit(&s->graph);
    buf_deinit(&s->document_bytes);
    buf_deinit(&s->package);
    buf_deinit(&s->base);
    buf_deinit(&s->terms_bytes);
    buf_deinit(&s->report);
}

void wire_server_token(struct wire_server *s, struct buf *text) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct id_token token;
    const int64_t expiry = clock_wall_ms() + 3600 * 1000;
    ASSERT_OK(id_token_issue(&s->authority, s->serial, expiry, buf_view(&s->document_bytes), &token,
                             &err));
    buf_init(text, ID_TOKEN_MAX + 1);
    ASSERT_OK(id_token_encode(&token, text, &err));
    if (text->len == 0 || text->data[text->len - 1] != 0)
        buf_put_u8(text, 0);
    assert_int_equal(
        transport_gate_allow(s->gate, token.ticket.curve_key, TRANSPORT_ENROLL, s->serial, expiry),
        SOTTO_OK);
    id_token_deinit(&token);
}

void wire_server_package(struct wire_server *s, uint64_t seed) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    float *params = mem_array(s->graph.layout.total, sizeof *params);
    assert_non_null(params);
    graph_init_params(&s->graph, seed, params);
    buf_reset(&s->base);
    buf_put(&s->base, s->package.data, s->package.len);
    s->base_hash = s->package_hash;
    buf_reset(&s->package);
    ASSERT_OK(package_encode(&s->graph, &s->schema, params, PACKAGE_F32, &s->package, &err));
    s->package_hash = wire_hash_of(WIRE_LABEL_PACKAGE, buf_view(&s->package));
    mem_free(params);
}

void wire_server_round(struct wire_server *s, uint32_t round) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    sotto_Terms *t = &s->terms;
    memset(t, 0, sizeof *t);
    seal_keypair(s->round_public, s->round_secret);
    WIRE_SET_TEXT(t->task, "digits");
    t->round = round;
    t->kind = sotto_Kind_KIND_TRAIN;
    WIRE_SET_HASH(t->package_hash, &s->package_hash);
    t->package_bytes = s->package.len;
    WIRE_SET_TEXT(t->collection, "examples");
    t->has_rule = true;
    t->rule.epochs = 2;
    t->rule.batch = 10;
    t->rule.lr = 0.1f;
    t->has_pipeline = true;
    t->pipeline.clip_inf = 16;
    t->pipeline.keep = 0.1f;
    t->pipeline.bits = 8;
    t->pipeline.stochastic = true;
    t->pipeline.error_feedback = true;
    t->pipeline.fraction_bits = 30;
    t->weight_max = 1000;
    t->n_max = 10;
    t->round_key.size = SEAL_PUBLIC;
    memcpy(t->round_key.bytes, s->round_public, SEAL_PUBLIC);
    t->task_seed = 77;
    t->report_bytes_max = 1u << 20;
    t->train_ms = 600000;
    t->heartbeat_ms = 1000;
    t->examples_min = 1;
    t->task_id.size = WIRE_TASK_ID;
    memset(t->task_id.bytes, 3, WIRE_TASK_ID);
    ASSERT_OK(wire_terms_encode(t, &s->terms_bytes, &err));
    s->terms_hash = wire_terms_hash(buf_view(&s->terms_bytes));
    s->plan = true;
    s->stored = false;
    buf_reset(&s->report);
    s->report_bytes = 0;
}

static void say(struct wire_server *s, const sotto_Envelope *m, struct view payload) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct buf frame;
    buf_init(&frame, WIRE_CONTROL_MAX);
    ASSERT_OK(wire_encode(m, &frame, &err));
    (void)transport_server_send(s->transport, s->peer, buf_view(&frame), payload, &err);
    buf_deinit(&frame);
}

static void on_enroll(struct wire_server *s, const sotto_Enroll *e) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct id_cert cert;
    sotto_Envelope m = sotto_Envelope_init_zero;
    s->enrols++;
    ASSERT_OK(id_cert_decode(view_of(e->certificate.bytes, e->certificate.size),
                             s->authority.public_key, &cert, &err));
    assert_int_equal(cert.ticket.serial, s->serial);
    assert_int_equal(
        transport_gate_allow(s->gate, cert.device_curve, TRANSPORT_DEVICE, s->serial, 0), SOTTO_OK);
    m.which_body = sotto_Envelope_enroll_reply_tag;
    m.body.enroll_reply.serial = s->serial;
    say(s, &m, buf_view(&s->document_bytes));
}

static void on_check_in(struct wire_server *s, const sotto_CheckIn *c) {
    sotto_Envelope m = sotto_Envelope_init_zero;
    m.which_body = sotto_Envelope_check_in_reply_tag;
    sotto_CheckInReply *r = &m.body.check_in_reply;
    s->check_ins++;
    WIRE_SET_TEXT(s->backend, c->backend);
    s->samples_per_s = c->samples_per_s;
    r->come_back_ms = s->come_back_ms;
    for (pb_size_t i = 0; i < c->open_reports_count; i++) {
        s->outcomes_asked++;
        r->outcomes[i].terms_hash.size = WIRE_HASH;
        memcpy(r->outcomes[i].terms_hash.bytes, c->open_reports[i].terms_hash.bytes, WIRE_HASH);
        r->outcomes[i].outcome = s->outcome;
        r->outcomes_count++;
    }
    if (s->plan && !s->stored) {
        r->terms.size = (pb_size_t)s->terms_bytes.len;
        memcpy(r->terms.bytes, s->terms_bytes.data, s->terms_bytes.len);
        r->terms_signature.size = ID_SIG;
        id_sign(&s->signer, ID_LABEL_TERMS, buf_view(&s->terms_bytes), r->terms_signature.bytes);
        r->signing_key.size = ID_KEY;
        memcpy(r->signing_key.bytes, s->signer.public_key, ID_KEY);
        r->has_invitation = true;
        WIRE_SET_HASH(r->invitation.terms_hash, &s->terms_hash);
        r->invitation.serial = s->serial;
        r->invitation.nonce.size = WIRE_NONCE;
        memcpy(r->invitation.nonce.bytes, c->nonce.bytes, WIRE_NONCE);
        r->invitation.valid_ms = 60000;
    }
    say(s, &m, view_of(NULL, 0));
}

static void on_get_package(struct wire_server *s, const sotto_GetPackage *g) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct buf delta;
    buf_init(&delta, PACKAGE_BYTES_MAX);
    struct view blob = buf_view(&s->package);
    assert_memory_equal(g->hash.bytes, s->package_hash.b, WIRE_HASH);
    const bool use_delta = g->base.size == WIRE_HASH && s->base.len > 0 &&
                           memcmp(g->base.bytes, s->base_hash.b, WIRE_HASH) == 0;
    if (use_delta) {
        ASSERT_OK(package_delta_encode(buf_view(&s->base), blob, &delta, &err));
        blob = buf_view(&delta);
        s->deltas_sent++;
    }
    for (uint32_t i = g->index; i < g->index + g->count && i < chunk_count(blob.n); i++) {
        sotto_Envelope m = sotto_Envelope_init_zero;
        m.which_body = sotto_Envelope_package_chunk_tag;
        WIRE_SET_HASH(m.body.package_chunk.hash, &s->package_hash);
        m.body.package_chunk.index = i;
        m.body.package_chunk.chunks = chunk_count(blob.n);
        m.body.package_chunk.bytes = blob.n;
        m.body.package_chunk.delta = use_delta;
        say(s, &m, view_of(blob.p + (size_t)i * CHUNK_BYTES, chunk_size(blob.n, i)));
        s->chunks_sent++;
    }
    buf_deinit(&delta);
}

static void on_report(struct wire_server *s, const sotto_Envelope *in, struct view payload) {
    sotto_Envelope m = sotto_Envelope_init_zero;
    if (in->which_body == sotto_Envelope_report_open_tag) {
        s->opens++;
        assert_memory_equal(in->body.report_open.terms_hash.bytes, s->terms_hash.b, WIRE_HASH);
        s->report_bytes = in->body.report_open.bytes;
        memcpy(s->report_hash.b, in->body.report_open.hash.bytes, WIRE_HASH);
    } else if ((uint64_t)in->body.report_chunk.index * CHUNK_BYTES == s->report.len) {
        buf_put(&s->report, payload.p, payload.n);
        s->stored = s->report.len == s->report_bytes;
    }
    if (s->stored) {
        m.which_body = sotto_Envelope_report_ack_tag;
        WIRE_SET_HASH(m.body.report_ack.terms_hash, &s->terms_hash);
        m.body.report_ack.outcome = sotto_Outcome_OUTCOME_OPEN;
        m.body.report_ack.come_back_ms = s->come_back_ms;
    } else {
        m.which_body = sotto_Envelope_report_grant_tag;
        WIRE_SET_HASH(m.body.report_grant.terms_hash, &s->terms_hash);
        m.body.report_grant.next_index = (uint32_t)(s->report.len / CHUNK_BYTES);
        m.body.report_grant.credit = 2;
    }
    say(s, &m, view_of(NULL, 0));
}

static void answer(struct wire_server *s, const sotto_Envelope *in, struct view payload) {
    sotto_Envelope m = sotto_Envelope_init_zero;
    if (in->which_body == sotto_Envelope_enroll_tag) {
        on_enroll(s, &in->body.enroll);
    } else if (in->which_body == sotto_Envelope_check_in_tag) {
        on_check_in(s, &in->body.check_in);
    } else if (in->which_body == sotto_Envelope_get_package_tag) {
        on_get_package(s, &in->body.get_package);
    } else if (in->which_body == sotto_Envelope_heartbeat_tag) {
        m.which_body = sotto_Envelope_heartbeat_reply_tag;
        m.body.heartbeat_reply.terms_hash.size = WIRE_HASH;
        memcpy(m.body.heartbeat_reply.terms_hash.bytes, in->body.heartbeat.terms_hash.bytes,
               WIRE_HASH);
        say(s, &m, view_of(NULL, 0));
    } else if (in->which_body == sotto_Envelope_decline_tag) {
        s->declines++;
        WIRE_SET_TEXT(s->rule, in->body.decline.rule);
        m.which_body = sotto_Envelope_decline_reply_tag;
        m.body.decline_reply.terms_hash.size = WIRE_HASH;
        memcpy(m.body.decline_reply.terms_hash.bytes, in->body.decline.terms_hash.bytes, WIRE_HASH);
        m.body.decline_reply.come_back_ms = s->come_back_ms;
        say(s, &m, view_of(NULL, 0));
    } else {
        on_report(s, in, payload);
    }
}

void wire_server_poll(struct wire_server *s) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct transport_message in;
    sotto_Envelope m;
    while (transport_server_recv(s->transport, 0, &in, &err) == SOTTO_OK) {
        s->peer = in.peer;
        ASSERT_OK(wire_decode(in.control, &m, &err));
        answer(s, &m, in.payload);
    }
}

void wire_server_open_report(struct wire_server *s, float *update, double *scalars) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct codec_spec spec;
    struct seal_opener *opener = NULL;
    struct codec_head *head = NULL;
    struct accumulator sums;
    struct view part;
    const struct wire_hash hash = wire_hash_of(WIRE_LABEL_REPORT, buf_view(&s->report));
    assert_memory_equal(hash.b, s->report_hash.b, WIRE_HASH);
    terms_spec(&s->terms, &s->graph.layout, &spec);
    const uint32_t parts = 1 + codec_block_count(&spec);
    ASSERT_OK(seal_open(buf_view(&s->report), s->round_public, s->round_secret, &s->terms_hash,
                        s->serial, parts, &opener, &err));
    ASSERT_OK(seal_open_part(opener, 0, &part, &err));
    ASSERT_OK(codec_head_decode(&spec, part, &head, &err));
    memcpy(scalars, codec_head_scalars(head), CODEC_SCALARS * sizeof *scalars);
    struct codec_check *check = codec_check_new(&spec);
    ASSERT_OK(accumulator_init(&sums, &spec, &err));
    ASSERT_OK(accumulator_add_head(&sums, &spec, head));
    for (uint32_t i = 1; i < parts; i++) {
        ASSERT_OK(seal_open_part(opener, i, &part, &err));
        ASSERT_OK(codec_check_part(&spec, head, check, part, &err));
        ASSERT_OK(accumulator_add_part(&sums, &spec, head, i, part, &err));
    }
    ASSERT_OK(codec_check_finish(&spec, head, check, &err));
    ASSERT_OK(accumulator_mean(&sums, &spec, 0, update, &err));
    accumulator_deinit(&sums);
    codec_check_free(check);
    codec_head_free(head);
    seal_opener_free(opener);
}
