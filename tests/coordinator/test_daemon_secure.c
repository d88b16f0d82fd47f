/* Masked rounds of a real coordinator with scripted members, step by step over real sockets: the
 * coordinator is stopped and started in the middle of each exchange and shows the same bytes;
 * messages come twice, late, changed, for other sessions and from those who were not asked; members
 * vanish at each exchange, and are told what became of what they trained. */
#include "daemon_world.h"

#include <stdio.h>
#include <string.h>

#include "sotto/client/session.h"

#define MEMBERS 10u

static const uint8_t exchanges[] = {SECAGG_ADVERTISE, SECAGG_SHARES, SECAGG_MASKED,
                                    SECAGG_SIGNATURE, SECAGG_UNMASK};

struct member {
    struct device *d;
    struct secure_ids ids;
    struct secagg_identity identity;
    uint8_t certificate[ID_CERT_BYTES];
    struct secagg_client *client;
    uint32_t *codes;
    struct buf out;         /* its newest message */
    struct wire_hash shown; /* of what it fetched last */
};
static struct world world;
static struct member members[WORLD_DEVICES];
static struct masked_plan *plan;
static uint32_t member_count;

static const char secure_yaml[] =
    "uplink: {clip_norm: 1, bits: 8, stochastic: true, support: round}\n"
    "privacy: {secure_aggregation: required, exchange_timeout: 1m}\n";

/* ---- Messages
 * --------------------------------------------------------------------------------------------------------
 */

/* What the coordinator says to a SecureReady. */
static sotto_SecureState ask(struct member *m, uint32_t attempt) {
    static sotto_Envelope e;
    memset(&e, 0, sizeof e);
    e.which_body = sotto_Envelope_secure_ready_tag;
    WIRE_SET_HASH(e.body.secure_ready.terms_hash, &m->d->terms_hash);
    e.body.secure_ready.attempt = attempt;
    while (device_recv(m->d, 1, &e, NULL)) /* what was pushed meanwhile */
        ;
    memset(&e, 0, sizeof e);
    e.which_body = sotto_Envelope_secure_ready_tag;
    WIRE_SET_HASH(e.body.secure_ready.terms_hash, &m->d->terms_hash);
    e.body.secure_ready.attempt = attempt;
    device_send(m->d, &e, view_of(NULL, 0));
    do
        assert_true(device_recv(m->d, 0, &e, NULL));
    while (e.which_body != sotto_Envelope_secure_state_tag);
    return e.body.secure_state;
}

/* Until the coordinator asks for this. */
static sotto_SecureState await(struct member *m, uint32_t attempt, uint32_t task) {
    const uint64_t end = clock_mono_ms() + WORLD_PATIENCE;
    sotto_SecureState s;
    do {
        assert_true(clock_mono_ms() < end);
        s = ask(m, attempt);
    } while (s.exchange != task);
    return s;
}

/* Until it says how the round ended for this member: what was pushed before may come first. */
static sotto_Outcome await_outcome(struct member *m, uint32_t attempt) {
    const uint64_t end = clock_mono_ms() + WORLD_PATIENCE;
    sotto_SecureState s;
    do {
        assert_true(clock_mono_ms() < end);
        s = ask(m, attempt);
    } while (s.outcome == sotto_Outcome_OUTCOME_UNSPECIFIED);
    return s.outcome;
}

/* Sends a message: the acknowledgement's status, or the Error's. */
static enum sotto_status deliver(struct member *m, uint32_t attempt, uint32_t exchange,
                                 struct view message, sotto_Outcome *outcome) {
    static sotto_Envelope e;
    const struct wire_hash hash = wire_hash_of(WIRE_LABEL_REPORT, message);
    memset(&e, 0, sizeof e);
    e.which_body = sotto_Envelope_report_open_tag;
    WIRE_SET_HASH(e.body.report_open.terms_hash, &m->d->terms_hash);
    WIRE_SET_HASH(e.body.report_open.hash, &hash);
    e.body.report_open.bytes = message.n;
    e.body.report_open.attempt = attempt;
    e.body.report_open.exchange = exchange;
    device_send(m->d, &e, view_of(NULL, 0));
    for (;;) {
        assert_true(device_recv(m->d, 0, &e, NULL));
        if (e.which_body == sotto_Envelope_error_tag)
            return (enum sotto_status)e.body.error.status;
        if (e.which_body == sotto_Envelope_report_ack_tag) {
            assert_int_equal(e.body.report_ack.attempt, attempt);
            assert_int_equal(e.body.report_ack.exchange, exchange);
            if (outcome)
                *outcome = e.body.report_ack.outcome;
            return (enum sotto_status)e.body.report_ack.status;
        }
        if (e.which_body != sotto_Envelope_report_grant_tag)
            continue;
        const uint32_t first = e.body.report_grant.next_index,
                       end = first + e.body.report_grant.credit;
        for (uint32_t i = first; i < end && i < chunk_count(message.n); i++) {
            memset(&e, 0, sizeof e);
            e.which_body = sotto_Envelope_report_chunk_tag;
            WIRE_SET_HASH(e.body.report_chunk.terms_hash, &m->d->terms_hash);
            e.body.report_chunk.index = i;
            e.body.report_chunk.attempt = attempt;
            e.body.report_chunk.exchange = exchange;
            device_send(m->d, &e,
                        view_of(message.p + (size_t)i * CHUNK_BYTES, chunk_size(message.n, i)));
        }
    }
}

static void fetch(struct member *m, uint32_t attempt, uint32_t kind, struct buf *out) {
    static sotto_Envelope e;
    struct buf chunk;
    const sotto_SecureState s = await(m, attempt, kind);
    buf_init(&chunk, TRANSPORT_PAYLOAD_MAX);
    buf_reset(out);
    for (uint32_t i = 0, chunks = 1; i < chunks; i++) {
        memset(&e, 0, sizeof e);
        e.which_body = sotto_Envelope_secure_get_tag;
        WIRE_SET_HASH(e.body.secure_get.terms_hash, &m->d->terms_hash);
        e.body.secure_get.attempt = attempt;
        e.body.secure_get.exchange = kind;
        e.body.secure_get.index = i;
        e.body.secure_get.count = 1;
        device_send(m->d, &e, view_of(NULL, 0));
        do
            assert_true(device_recv(m->d, 0, &e, &chunk));
        while (e.which_body != sotto_Envelope_secure_chunk_tag);
        assert_int_equal(e.body.secure_chunk.index, i);
        chunks = e.body.secure_chunk.chunks;
        buf_put(out, chunk.data, chunk.len);
    }
    m->shown = wire_hash_of(WIRE_LABEL_SECURE, buf_view(out));
    assert_int_equal(out->len, s.bytes);
    assert_memory_equal(m->shown.b, s.hash.bytes, WIRE_HASH);
    buf_deinit(&chunk);
}

/* ---- Members
 * ---------------------------------------------------------------------------------------------------------
 */

static void make_codes(struct member *m) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct codec_spec spec;
    struct codec_input in;
    struct rng rng;
    const struct layout *layout = &world.package.graph.layout;
    memset(&in, 0, sizeof in);
    terms_spec(&m->d->terms, layout, &spec);
    if (!plan) {
        const struct masked_terms t = {.ring_bits = m->d->terms.privacy.ring_bits,
                                       .members_max = m->d->terms.n_max,
                                       .task_seed = m->d->terms.task_seed,
                                       .round = m->d->terms.round};
        ASSERT_OK(masked_plan_new(&spec, &t, &plan, &err));
    }
    rng_init(&rng, 1, m->d->terms.round, m->d->serial, RNG_ROUNDING);
    in.values[0] = mem_array(layout->total, sizeof(float));
    m->codes = mem_array(masked_length(plan), sizeof *m->codes);
    assert_true(in.values[0] && m->codes);
    for (uint32_t i = 0; i < layout->total; i++)
        in.values[0][i] = 0.01f * (float)((m->d->serial + i) % 7) - 0.03f;
    in.scalars[CODEC_WEIGHT] = 1;
    in.scalars[CODEC_STEPS] = 1;
    in.scalars[CODEC_LOSS] = 2.5;
    in.scalars[CODEC_CORRECT] = 5;
    in.scalars[CODEC_SEEN] = 10;
    ASSERT_OK(masked_encode(plan, &in, &rng, m->codes, &err));
    mem_free(in.values[0]);
}

static void make_member(struct member *m, struct device *d) {
    struct id_cert cert;
    memset(m, 0, sizeof *m);
    m->d = d;
    buf_init(&m->out, 1u << 22);
    id_cert_make(&d->token, d->keys.public_key, d->curve.public_key, &cert);
    id_cert_encode(&cert, m->certificate);
    memcpy(m->ids.authority, world.authority.public_key, ID_KEY);
    m->ids.keys = &d->keys;
    secure_identity(&m->ids, &m->identity);
    device_plan(d);
    device_fetch(d);
    make_codes(m);
}

static void begin_session(struct member *m) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct secagg_config config;
    uint8_t random[SECAGG_CLIENT_RANDOM];
    secagg_client_free(m->client);
    id_random(random, sizeof random);
    ASSERT_OK(secure_config(&m->d->terms, &m->d->terms_hash, masked_length(plan), &config, &err));
    ASSERT_OK(secagg_client_new(&config, &m->identity, m->d->serial,
                                view_of(m->certificate, ID_CERT_BYTES), random, false, &m->client,
                                &err));
}

/* Fetches what is due and makes the message of this exchange. */
static void make_message(struct member *m, uint32_t attempt, uint32_t exchange) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct buf in;
    buf_init(&in, 1u << 22);
    if (exchange == SECAGG_ADVERTISE)
        (void)await(m, attempt - 1, SECAGG_ADVERTISE);
    else
        fetch(m, attempt, exchange - 1, &in);
    buf_reset(&m->out);
    switch (exchange) {
    case SECAGG_ADVERTISE:
        begin_session(m);
        ASSERT_OK(secagg_client_advertise(m->client, &m->out, &err));
        break;
    case SECAGG_SHARES:
        ASSERT_OK(secagg_client_list(m->client, buf_view(&in), &m->out, &err));
        break;
    case SECAGG_MASKED:
        ASSERT_OK(secagg_client_delivery(m->client, buf_view(&in), &err));
        ASSERT_OK(secagg_client_mask(m->client, 0, m->codes, masked_length(plan), &m->out, &err));
        break;
    case SECAGG_SIGNATURE:
        ASSERT_OK(secagg_client_survivors(m->client, buf_view(&in), &m->out, &err));
        break;
    default:
        ASSERT_OK(secagg_client_signatures(m->client, buf_view(&in), &m->out, &err));
        break;
    }
    buf_deinit(&in);
}

static void open_task(uint32_t count, const char *more) {
    char yaml[1024];
    member_count = count;
    for (uint32_t i = 0; i < count; i++)
        (void)world_enrolled(&world);
    snprintf(yaml, sizeof yaml, "rounds: 1\ncohort_min: 10\n%s%s", secure_yaml, more);
    world_task(&world, "masked", count, yaml);
    for (uint32_t i = 0; i < count; i++)
        make_member(&members[i], &world.devices[i]);
    for (uint32_t i = 0; i < count; i++)
        (void)ask(&members[i], 0);
}

static int set_up(void **state) {
    (void)state;
    static unsigned number;
    char name[32];
    snprintf(name, sizeof name, "secure-%u", number++);
    world_init(&world, name);
    world_start(&world);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    for (uint32_t i = 0; i < member_count; i++) {
        secagg_client_free(members[i].client);
        mem_free(members[i].codes);
        buf_deinit(&members[i].out);
    }
    memset(members, 0, sizeof members);
    member_count = 0;
    masked_plan_free(plan);
    plan = NULL;
    world_deinit(&world);
    return 0;
}

static void restart(void) {
    world_stop(&world);
    world_start(&world);
    for (uint32_t i = 0; i < world.device_count; i++)
        device_connect(&world.devices[i], &world.devices[i].curve);
}

/* ---- Tests
 * -----------------------------------------------------------------------------------------------------------
 */

static void restarts_and_repeats_change_nothing(void **state) {
    (void)state;
    sotto_Outcome outcome;
    open_task(MEMBERS, "");
    for (size_t x = 0; x < ARRAY_LEN(exchanges); x++) {
        const uint32_t exchange = exchanges[x];
        for (uint32_t i = 0; i < MEMBERS; i++) {
            struct member *m = &members[i];
            if (exchange == SECAGG_UNMASK && i == 7)
                break; /* the threshold is there */
            make_message(m, 1, exchange);
            if (i == MEMBERS / 2) { /* in the middle: what was fetched is shown again */
                const struct wire_hash before = m->shown;
                struct buf again;
                buf_init(&again, 1u << 22);
                restart();
                if (exchange != SECAGG_ADVERTISE) {
                    fetch(m, 1, exchange - 1, &again);
                    assert_memory_equal(before.b, m->shown.b, WIRE_HASH);
                }
                assert_int_equal(deliver(&members[0], 1, exchange, buf_view(&members[0].out), NULL),
                                 SOTTO_OK); /* stored before */
                buf_deinit(&again);
            }
            assert_int_equal(deliver(m, 1, exchange, buf_view(&m->out), &outcome), SOTTO_OK);
            assert_int_equal(outcome, sotto_Outcome_OUTCOME_OPEN);
            if (i + 1 == MEMBERS)
                break;
            /* Twice is once; other bytes come too late. */
            if (exchange == SECAGG_UNMASK && i == 6)
                continue;
            assert_int_equal(deliver(m, 1, exchange, buf_view(&m->out), NULL), SOTTO_OK);
            m->out.data[m->out.len - 1] ^= 1;
            assert_int_equal(deliver(m, 1, exchange, buf_view(&m->out), NULL), SOTTO_DENIED);
            m->out.data[m->out.len - 1] ^= 1;
        }
    }
    world_await_version(&world, "masked", 2);
    for (uint32_t i = 0; i < MEMBERS; i++)
        assert_int_equal(await_outcome(&members[i], 1), sotto_Outcome_OUTCOME_KEPT);
    const char *shown = world_json(&world, "rounds-show", "masked", "1");
    assert_non_null(strstr(shown, "\"survivors\":10"));
    assert_non_null(strstr(shown, "\"state\":\"summed\""));
    assert_non_null(strstr(shown, "\"train_examples\":100"));
}

static void what_is_not_asked_for_is_not_taken(void **state) {
    (void)state;
    static sotto_Envelope e;
    sotto_ReportAck ack;
    sotto_Outcome outcome;
    enum sotto_status status = SOTTO_OK;
    open_task(MEMBERS, "");
    struct member *m = &members[0];
    /* A sealed report would be readable. */
    buf_put(&m->d->report, "readable", 8);
    m->d->report_hash = wire_hash_of(WIRE_LABEL_REPORT, buf_view(&m->d->report));
    assert_false(device_upload(m->d, &ack, &status));
    assert_int_equal(status, SOTTO_DENIED);
    make_message(m, 1, SECAGG_ADVERTISE);
    assert_int_equal(deliver(m, 2, SECAGG_ADVERTISE, buf_view(&m->out), &outcome), SOTTO_STATE);
    assert_int_equal(outcome, sotto_Outcome_OUTCOME_OPEN);
    assert_int_equal(deliver(m, 1, SECAGG_MASKED, buf_view(&m->out), &outcome), SOTTO_STATE);
    assert_int_equal(deliver(m, 1, SECAGG_LIST, buf_view(&m->out), &outcome), SOTTO_STATE);
    /* A list that is not there yet: what to do instead. */
    memset(&e, 0, sizeof e);
    e.which_body = sotto_Envelope_secure_get_tag;
    WIRE_SET_HASH(e.body.secure_get.terms_hash, &m->d->terms_hash);
    e.body.secure_get.attempt = 1;
    e.body.secure_get.exchange = SECAGG_LIST;
    e.body.secure_get.count = 1;
    device_send(m->d, &e, view_of(NULL, 0));
    do
        assert_true(device_recv(m->d, 0, &e, NULL));
    while (e.which_body != sotto_Envelope_secure_state_tag);
    assert_int_equal(e.body.secure_state.exchange, SECAGG_ADVERTISE);
    /* Larger than any record; then another's record, which the session refuses for good. */
    uint8_t *large = mem_zalloc(CHUNK_BYTES);
    assert_non_null(large);
    assert_int_equal(deliver(m, 1, SECAGG_ADVERTISE, view_of(large, CHUNK_BYTES), &outcome),
                     SOTTO_LIMIT);
    mem_free(large);
    make_message(&members[1], 1, SECAGG_ADVERTISE);
    assert_int_equal(deliver(m, 1, SECAGG_ADVERTISE, buf_view(&members[1].out), &outcome),
                     SOTTO_DENIED);
    assert_int_equal(outcome, sotto_Outcome_OUTCOME_OPEN);
    assert_int_equal(deliver(m, 1, SECAGG_ADVERTISE, buf_view(&m->out), &outcome), SOTTO_STATE);
    assert_non_null(strstr(world_json(&world, "events", "0", "100"), "secure.refuse"));
    /* Nobody but a member. */
    struct member stranger = {.d = world_enrolled(&world)};
    stranger.d->terms_hash = m->d->terms_hash;
    assert_int_equal(deliver(&stranger, 1, SECAGG_ADVERTISE, buf_view(&m->out), &outcome),
                     SOTTO_STATE);
    assert_int_equal(await_outcome(&stranger, 0), sotto_Outcome_OUTCOME_RETURNED);
}

/* A member that lost its secrets says so: the session fails, the next one takes it along. */
static void a_failed_session_is_followed_by_another(void **state) {
    (void)state;
    open_task(MEMBERS, "");
    for (uint32_t i = 0; i < MEMBERS; i++) {
        make_message(&members[i], 1, SECAGG_ADVERTISE);
        assert_int_equal(deliver(&members[i], 1, SECAGG_ADVERTISE, buf_view(&members[i].out), NULL),
                         SOTTO_OK);
    }
    assert_int_equal(await(&members[3], 0, 0).attempt, 1);
    for (uint32_t i = 0; i < MEMBERS; i++)
        if (i != 3) {
            make_message(&members[i], 1, SECAGG_SHARES);
            assert_int_equal(
                deliver(&members[i], 1, SECAGG_SHARES, buf_view(&members[i].out), NULL), SOTTO_OK);
        }
    restart();
    for (size_t x = 0; x < ARRAY_LEN(exchanges); x++)
        for (uint32_t i = 0; i < MEMBERS; i++) {
            if (exchanges[x] == SECAGG_UNMASK && i == 7)
                break;
            make_message(&members[i], 2, exchanges[x]);
            assert_int_equal(deliver(&members[i], 2, exchanges[x], buf_view(&members[i].out), NULL),
                             SOTTO_OK);
        }
    world_await_version(&world, "masked", 2);
    const char *shown = world_json(&world, "rounds-show", "masked", "1");
    assert_non_null(strstr(shown, "\"session\":1,\"state\":\"failed\""));
    assert_non_null(strstr(shown, "\"session\":2,\"state\":\"summed\""));
}

/* Who was asked for its input keeps nothing of it, who was not gets it back. */
static void outcomes_say_whose_mass_is_gone(void **state) {
    (void)state;
    open_task(MEMBERS + 1, "");
    for (size_t x = 0; x < 2; x++)
        for (uint32_t i = 0; i <= MEMBERS; i++) {
            make_message(&members[i], 1, exchanges[x]);
            assert_int_equal(deliver(&members[i], 1, exchanges[x], buf_view(&members[i].out), NULL),
                             SOTTO_OK);
        }
    for (uint32_t i = 0; i < MEMBERS; i++) {
        make_message(&members[i], 1, SECAGG_MASKED);
        assert_int_equal(deliver(&members[i], 1, SECAGG_MASKED, buf_view(&members[i].out), NULL),
                         SOTTO_OK);
    }
    /* The last one is asked, and falls out; its group goes on without it. */
    assert_int_equal(await(&members[MEMBERS], 1, SECAGG_DELIVERY).attempt, 1);
    (void)ask(&members[MEMBERS], 0);
    for (size_t x = 3; x < ARRAY_LEN(exchanges); x++)
        for (uint32_t i = 0; i < MEMBERS; i++) {
            if (exchanges[x] == SECAGG_UNMASK && i == 8)
                break;
            make_message(&members[i], 1, exchanges[x]);
            assert_int_equal(deliver(&members[i], 1, exchanges[x], buf_view(&members[i].out), NULL),
                             SOTTO_OK);
        }
    world_await_version(&world, "masked", 2);
    for (uint32_t i = 0; i <= MEMBERS; i++)
        assert_int_equal(device_outcome(members[i].d, &members[i].d->terms_hash),
                         sotto_Outcome_OUTCOME_KEPT);
    const char *shown = world_json(&world, "rounds-show", "masked", "1");
    assert_non_null(strstr(shown, "\"survivors\":10"));
    assert_non_null(strstr(shown, "\"masked\":1,\"signature\":0"));
}

static void a_task_that_is_stopped_gives_back(void **state) {
    (void)state;
    open_task(MEMBERS, "");
    make_message(&members[0], 1, SECAGG_ADVERTISE);
    assert_int_equal(deliver(&members[0], 1, SECAGG_ADVERTISE, buf_view(&members[0].out), NULL),
                     SOTTO_OK);
    assert_int_equal(world_say(&world, "task-stop", "masked", ""), SOTTO_OK);
    for (uint32_t i = 0; i < MEMBERS; i++)
        assert_int_equal(await_outcome(&members[i], i == 0), sotto_Outcome_OUTCOME_RETURNED);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(restarts_and_repeats_change_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_not_asked_for_is_not_taken, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_failed_session_is_followed_by_another, set_up, tear_down),
        cmocka_unit_test_setup_teardown(outcomes_say_whose_mass_is_gone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_task_that_is_stopped_gives_back, set_up, tear_down),
    };
    struct sotto_error err = SOTTO_ERROR_INIT;
    if (id_setup(&err) != SOTTO_OK)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
