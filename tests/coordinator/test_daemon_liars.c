/* Devices that lie, repeat, flood or speak garbage: each a counted rejection or a clear error,
 * never a crash or a wrong model. */
#include "daemon_world.h"

#include <stdio.h>
#include <string.h>

#include "daemon/daemon_int.h"

static struct world w;

static uint64_t number_after(const char *json, const char *key) {
    const char *p = strstr(json, key);
    unsigned long long v = 0;
    assert_non_null(p);
    assert_int_equal(sscanf(p + strlen(key), "%llu", &v), 1);
    return v;
}

static void digest_now(char out[65]) {
    const char *p = strstr(world_json(&w, "models-show", "t", "current"), "\"digest\":\"");
    assert_non_null(p);
    snprintf(out, 65, "%.64s", p + 10);
}

/* Sends what was sealed; it is acknowledged, since form is checked later. */
static void upload(struct device *d) {
    sotto_ReportAck ack;
    enum sotto_status status = SOTTO_OK;
    assert_true(device_upload(d, &ack, &status));
    assert_int_equal(ack.status, SOTTO_OK);
}

static void honest(struct device *d) {
    device_seal(d, NULL);
    upload(d);
}

static void begin(const char *name, uint32_t devices, unsigned cohort, const char *more) {
    world_init(&w, name);
    world_start(&w);
    for (uint32_t i = 0; i < devices; i++)
        world_enrolled(&w);
    world_task(&w, "t", cohort, more);
    for (uint32_t i = 0; i < devices; i++)
        device_plan(&w.devices[i]);
    device_fetch(&w.devices[0]);
}

static void lies_are_rejected(void **state) {
    (void)state;
    const struct lie lies[] = {
        {.scale = 1, .nan = true},
        {.scale = 1, .weight = 100000},
        {.scale = 1, .wrong_key = true},
        {.scale = 1, .serial = 1},
        {.scale = 4000}, /* past clip_inf */
        {.scale = 300},  /* past the norm */
    };
    char alone[65], among[65];
    begin("alone", 1, 1, "rounds: 1\nuplink: {clip_norm: 30}\n");
    honest(&w.devices[0]);
    world_await_version(&w, "t", 2);
    digest_now(alone);
    world_deinit(&w);
    begin("among", 7, 7, "cohort_min: 1\nrounds: 1\nuplink: {clip_norm: 30}\n");
    for (uint32_t i = 0; i < 6; i++) {
        device_seal(&w.devices[i + 1], &lies[i]);
        upload(&w.devices[i + 1]);
    }
    honest(&w.devices[0]);
    world_await_version(&w, "t", 2);
    digest_now(among);
    assert_string_equal(alone, among);
    const char *round = world_json(&w, "rounds-show", "t", "1");
    assert_int_equal(number_after(round, "\"counted\":"), 1);
    assert_int_equal(number_after(round, "\"rejected\":"), 6);
    for (uint32_t i = 1; i < 7; i++)
        assert_int_equal(device_outcome(&w.devices[i], &w.devices[i].terms_hash),
                         sotto_Outcome_OUTCOME_KEPT);
    const char *devices = world_json(&w, "devices", NULL, NULL);
    const char *second = strstr(devices, "\"serial\":2,");
    assert_non_null(second);
    assert_int_equal(number_after(second, "\"reports\":"), 1);
    assert_int_equal(number_after(second, "\"rejected\":"), 1);
    world_deinit(&w);
}

static void open_report(struct device *d, const struct wire_hash *terms, uint64_t bytes,
                        uint8_t hash, sotto_Envelope *m) {
    memset(m, 0, sizeof *m);
    m->which_body = sotto_Envelope_report_open_tag;
    WIRE_SET_HASH(m->body.report_open.terms_hash, terms);
    m->body.report_open.bytes = bytes;
    m->body.report_open.hash.size = WIRE_HASH;
    memset(m->body.report_open.hash.bytes, hash, WIRE_HASH);
    device_send(d, m, view_of(NULL, 0));
    device_recv(d, 0, m, NULL);
}

static void chunk(struct device *d, uint32_t index, size_t n, sotto_Envelope *m) {
    static uint8_t zeros[CHUNK_BYTES];
    memset(m, 0, sizeof *m);
    m->which_body = sotto_Envelope_report_chunk_tag;
    WIRE_SET_HASH(m->body.report_chunk.terms_hash, &d->terms_hash);
    m->body.report_chunk.index = index;
    device_send(d, m, view_of(zeros, n));
    device_recv(d, 0, m, NULL);
}

static void assert_error(const sotto_Envelope *m, enum sotto_status status) {
    assert_int_equal(m->which_body, sotto_Envelope_error_tag);
    assert_int_equal(m->body.error.status, status);
}

static void uploads_keep_their_word(void **state) {
    (void)state;
    static sotto_Envelope m;
    sotto_ReportAck ack;
    enum sotto_status status = SOTTO_OK;
    struct wire_hash unknown;
    begin("uploads", 2, 2, "rounds: 1\n");
    struct device *d = &w.devices[0];
    memset(&unknown, 0x5a, sizeof unknown);
    chunk(d, 0, 100, &m); /* before any announcement */
    assert_error(&m, SOTTO_STATE);
    open_report(d, &d->terms_hash, d->terms.report_bytes_max + 1, 1, &m);
    assert_error(&m, SOTTO_LIMIT);
    open_report(d, &unknown, 1000, 1, &m);
    assert_int_equal(m.which_body, sotto_Envelope_report_ack_tag);
    assert_int_equal(m.body.report_ack.outcome, sotto_Outcome_OUTCOME_RETURNED);
    open_report(d, &d->terms_hash, 1000, 1, &m);
    assert_int_equal(m.which_body, sotto_Envelope_report_grant_tag);
    open_report(d, &d->terms_hash, 1001, 1, &m); /* the first announcement holds */
    assert_error(&m, SOTTO_INVALID);
    chunk(d, 1, 100, &m);
    assert_error(&m, SOTTO_INVALID);
    chunk(d, 0, 999, &m);
    assert_error(&m, SOTTO_INVALID);
    chunk(d, 0, 1000, &m); /* not the bytes that were announced */
    assert_error(&m, SOTTO_CORRUPT);
    honest(&w.devices[1]);
    d->report_hash = w.devices[1].report_hash; /* another announcement than its first */
    buf_put(&d->report, w.devices[1].report.data, w.devices[1].report.len);
    assert_false(device_upload(d, &ack, &status));
    assert_int_equal(status, SOTTO_INVALID);
    /* The same report twice counts once, however often it is asked. */
    assert_true(device_upload(&w.devices[1], &ack, &status));
    assert_int_equal(ack.status, SOTTO_OK);
    assert_true(number_after(world_json(&w, "status", NULL, NULL), "\"rejected\":") >= 7);
    world_deinit(&w);
}

static void rounds_of_others_are_closed(void **state) {
    (void)state;
    sotto_ReportAck ack;
    enum sotto_status status = SOTTO_OK;
    sotto_CheckInReply reply;
    world_init(&w, "others");
    world_start(&w);
    world_enrolled(&w);
    world_task(&w, "t", 1, "rounds: 2\n");
    device_plan(&w.devices[0]);
    device_fetch(&w.devices[0]);
    struct device *late = world_enrolled(&w);
    device_check_in(late, &reply);
    assert_false(late->planned);
    /* It learnt the terms of a round that it is not in. */
    late->terms = w.devices[0].terms;
    late->terms_hash = w.devices[0].terms_hash;
    late->terms_size = w.devices[0].terms_size;
    device_seal(late, NULL);
    assert_true(device_upload(late, &ack, &status));
    assert_int_equal(ack.status, SOTTO_STATE);
    assert_int_equal(ack.outcome, sotto_Outcome_OUTCOME_RETURNED);
    honest(&w.devices[0]);
    world_await_version(&w, "t", 2);
    assert_int_equal(number_after(world_json(&w, "rounds-show", "t", "1"), "\"counted\":"), 1);
    world_deinit(&w);
}

static void await_refusal(struct device *d) {
    uint64_t end = clock_mono_ms() + WORLD_PATIENCE;
    struct view a, b;
    while (transport_client_state(d->link) != TRANSPORT_REFUSED) {
        assert_true(clock_mono_ms() < end);
        world_turn(&w);
        (void)transport_client_recv(d->link, 0, &a, &b, NULL);
    }
}

static void enrolment_is_once(void **state) {
    (void)state;
    static sotto_Envelope m;
    struct id_keys other;
    struct id_curve other_curve, once;
    struct id_keys e;
    struct sotto_error err = SOTTO_ERROR_INIT;
    world_init(&w, "enrol");
    world_start(&w);
    struct device *a = world_device(&w), *b = world_device(&w), *c = world_device(&w);
    id_keys_generate(&other);
    id_curve_generate(&other_curve);
    assert_int_equal(device_enroll(a), SOTTO_OK);
    assert_int_equal(device_enroll(a), SOTTO_OK); /* the reply was lost: the same again */
    assert_int_equal(device_enroll_as(a, &other, &other_curve), SOTTO_DENIED);
    /* Keys of another device or of a token, which are no secret. */
    assert_int_equal(device_enroll_as(b, &a->keys, &other_curve), SOTTO_DENIED);
    assert_int_equal(device_enroll_as(b, &b->keys, &a->curve), SOTTO_DENIED);
    id_token_keys(&c->token, &e, &once);
    assert_int_equal(device_enroll_as(b, &b->keys, &once), SOTTO_DENIED);
    /* A token's key may do nothing else. */
    memset(&m, 0, sizeof m);
    m.which_body = sotto_Envelope_check_in_tag;
    m.body.check_in.nonce.size = WIRE_NONCE;
    device_send(b, &m, view_of(NULL, 0));
    device_recv(b, 0, &m, NULL);
    assert_error(&m, SOTTO_DENIED);
    assert_int_equal(device_enroll(b), SOTTO_OK);
    /* Withdrawn before it was used. */
    assert_int_equal(world_say(&w, "revoke", "3", NULL), SOTTO_OK);
    device_connect(c, &once);
    await_refusal(c);
    /* Expired. */
    ASSERT_OK(store_begin(w.c->store, &err));
    struct id_token old;
    ASSERT_OK(id_token_issue(&w.authority, 77, clock_wall_ms() - 1000, buf_view(&w.document_bytes),
                             &old, &err));
    ASSERT_OK(store_ticket_add(w.c->store, &old.ticket, &err));
    ASSERT_OK(store_commit(w.c->store, &err));
    ASSERT_OK(transport_gate_allow(w.c->gate, old.ticket.curve_key, TRANSPORT_ENROLL, 77, 0));
    id_token_deinit(&c->token);
    c->token = old;
    assert_int_equal(device_enroll(c), SOTTO_DENIED);
    world_deinit(&w);
}

static void lists_of_tokens(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct buf list, out;
    uint8_t ticket[ID_TICKET_BYTES];
    struct id_token t;
    world_init(&w, "lists");
    world_start(&w);
    world_certify(&w);
    buf_init(&list, 1u << 16);
    buf_init(&out, 1u << 16);
    for (uint64_t serial = 10; serial < 13; serial++) {
        ASSERT_OK(id_token_issue(&w.authority, serial, clock_wall_ms() + 1000000,
                                 buf_view(&w.document_bytes), &t, &err));
        id_ticket_encode(&t.ticket, ticket);
        buf_put(&list, ticket, sizeof ticket);
        id_token_deinit(&t);
    }
    struct view none = view_of(NULL, 0);
    assert_int_equal(world_ask(&w, &out, "tickets", view_of(list.data, list.len - 1), none),
                     SOTTO_CORRUPT);
    list.data[ID_TICKET_BYTES + 9] ^= 1;
    assert_int_not_equal(world_ask(&w, &out, "tickets", buf_view(&list), none), SOTTO_OK);
    list.data[ID_TICKET_BYTES + 9] ^= 1;
    assert_int_equal(transport_gate_count(w.c->gate), 0); /* all or nothing */
    assert_int_equal(world_ask(&w, &out, "tickets", buf_view(&list), none), SOTTO_OK);
    assert_int_equal(world_ask(&w, &out, "tickets", buf_view(&list), none), SOTTO_OK);
    buf_put_u8(&out, 0);
    assert_string_equal((char *)out.data, "0 tokens taken, 3 known already\n");
    assert_int_equal(world_ask(&w, &out, "serials", view_of("1", 1), none), SOTTO_OK);
    assert_int_equal(out.data[0], 13);
    buf_deinit(&list);
    buf_deinit(&out);
    world_deinit(&w);
}

static void the_revoked_are_shut_out(void **state) {
    (void)state;
    begin("revoked", 2, 2, "cohort_min: 1\nrounds: 1\n");
    struct device *d = &w.devices[1];
    device_seal(d, NULL);
    assert_int_equal(world_say(&w, "revoke", "2", NULL), SOTTO_OK);
    assert_int_equal(world_say(&w, "revoke", "2", NULL), SOTTO_EXISTS);
    assert_int_equal(world_say(&w, "revoke", "99", NULL), SOTTO_NOT_FOUND);
    assert_int_equal(world_say(&w, "revoke", "x", NULL), SOTTO_USAGE);
    assert_non_null(strstr(world_json(&w, "status", NULL, NULL), "\"document_stale\":true"));
    /* Its open connection is deaf, a new one is refused. */
    static sotto_Envelope m;
    memset(&m, 0, sizeof m);
    m.which_body = sotto_Envelope_heartbeat_tag;
    WIRE_SET_HASH(m.body.heartbeat.terms_hash, &d->terms_hash);
    device_send(d, &m, view_of(NULL, 0));
    assert_false(device_recv(d, 200, &m, NULL));
    device_connect(d, &d->curve);
    await_refusal(d);
    honest(&w.devices[0]); /* its place in the round is free: the round ends without it */
    world_await_version(&w, "t", 2);
    world_certify(&w);
    assert_true(id_document_revoked(&w.document, 2));
    assert_non_null(strstr(world_json(&w, "status", NULL, NULL), "\"document_stale\":false"));
    world_deinit(&w);
}

static void garbage_and_floods_pass(void **state) {
    (void)state;
    static sotto_Envelope m;
    uint8_t bytes[600];
    struct rng rng;
    begin("garbage", 2, 2, "rounds: 1\n");
    struct device *d = &w.devices[1];
    rng_init(&rng, test_seed(), 0, 0, 0);
    for (int i = 0; i < 300; i++) {
        size_t n = 1 + rng_u32(&rng) % sizeof bytes;
        for (size_t k = 0; k < n; k++)
            bytes[k] = (uint8_t)rng_u32(&rng);
        device_send_raw(d, view_of(bytes, n), i % 3 ? view_of(NULL, 0) : view_of(bytes, n));
        device_recv(d, 0, &m, NULL);
        assert_int_equal(m.which_body, sotto_Envelope_error_tag);
    }
    /* A flood that nobody reads the answers of. */
    memset(&m, 0, sizeof m);
    m.which_body = sotto_Envelope_check_in_tag;
    m.body.check_in.nonce.size = WIRE_NONCE;
    m.body.check_in.open_reports_count = 16;
    for (pb_size_t i = 0; i < 16; i++)
        m.body.check_in.open_reports[i].terms_hash.size = WIRE_HASH;
    for (uint32_t i = 0; i < 500; i++) {
        memcpy(m.body.check_in.open_reports[i % 16].terms_hash.bytes, &i, sizeof i);
        device_send(d, &m, view_of(NULL, 0));
    }
    device_connect(d, &d->curve);
    honest(d);
    honest(&w.devices[0]);
    world_await_version(&w, "t", 2);
    /* Questions about rounds that never were leave nothing behind. */
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct wire_hash made_up = {{0}};
    sotto_Outcome outcome;
    uint32_t last = 499;
    memcpy(made_up.b, &last, sizeof last);
    assert_int_equal(store_outcome_get(w.c->store, d->serial, &made_up, &outcome, &err),
                     SOTTO_NOT_FOUND);
    world_deinit(&w);
}

static void an_old_check_in_is_answered_to_its_sender(void **state) {
    (void)state;
    sotto_CheckInReply first, second;
    begin("replay", 1, 1, "rounds: 1\n");
    struct device *d = &w.devices[0];
    device_check_in(d, &first);
    uint8_t nonce[WIRE_NONCE];
    memcpy(nonce, d->nonce, sizeof nonce);
    device_check_in(d, &second);
    /* The invitation repeats this check-in's nonce, not an earlier one's. */
    assert_memory_not_equal(second.invitation.nonce.bytes, nonce, WIRE_NONCE);
    assert_memory_equal(first.terms.bytes, second.terms.bytes, first.terms.size);
    world_deinit(&w);
}

/* ---- An addition that fails although the check passed: only a fault of memory does that, so it is
 * made here. */
enum sotto_status __real_report_add(struct group_sums *g, const struct report_keys *keys,
                                    uint64_t serial, struct view report, bool *torn,
                                    struct sotto_error *err);
enum sotto_status __wrap_report_add(struct group_sums *g, const struct report_keys *keys,
                                    uint64_t serial, struct view report, bool *torn,
                                    struct sotto_error *err);
static _Atomic uint64_t torn_serial, torn_serial_2;

enum sotto_status __wrap_report_add(struct group_sums *g, const struct report_keys *keys,
                                    uint64_t serial, struct view report, bool *torn,
                                    struct sotto_error *err) {
    enum sotto_status status = __real_report_add(g, keys, serial, report, torn, err);
    if (status != SOTTO_OK || (serial != torn_serial && serial != torn_serial_2))
        return status;
    *torn = true; /* all of it is in the sums, as the worst of torn additions */
    return SOTTO_FAIL(err, SOTTO_CORRUPT, "part 1 does not authenticate");
}

static void torn_round(const char *name, uint32_t liars, char digest[65]) {
    begin(name, 5, 5, "cohort_min: 1\nrounds: 1\n");
    if (!liars) { /* the same without those two: they decline by silence */
        assert_int_equal(world_say(&w, "revoke", "2", NULL), SOTTO_OK);
        assert_int_equal(world_say(&w, "revoke", "4", NULL), SOTTO_OK);
    }
    for (uint32_t i = 0; i < 5; i++)
        if (liars || i % 2 == 0)
            honest(&w.devices[i]);
    world_await_version(&w, "t", 2);
    digest_now(digest);
    assert_int_equal(number_after(world_json(&w, "rounds-show", "t", "1"), "\"counted\":"), 3);
    world_deinit(&w);
}

static void torn_additions_leave_no_trace(void **state) {
    (void)state;
    char without[65], torn[65];
    torn_serial = torn_serial_2 = 0;
    torn_round("whole", 0, without);
    torn_serial = 2;
    torn_serial_2 = 4;
    torn_round("torn", 2, torn);
    torn_serial = torn_serial_2 = 0;
    assert_string_equal(without, torn);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lies_are_rejected),
        cmocka_unit_test(uploads_keep_their_word),
        cmocka_unit_test(rounds_of_others_are_closed),
        cmocka_unit_test(enrolment_is_once),
        cmocka_unit_test(lists_of_tokens),
        cmocka_unit_test(the_revoked_are_shut_out),
        cmocka_unit_test(garbage_and_floods_pass),
        cmocka_unit_test(an_old_check_in_is_answered_to_its_sender),
        cmocka_unit_test(torn_additions_leave_no_trace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
