/* The session: a whole round, resumption, plan checks, policy, replays, back-off. */
#include "session_world.h"

#include <string.h>

static void test_whole_round(void **state) {
    (void)state;
    struct world *w = world_new(1);
    world_open_round(w, 5);
    world_run(w, 60000);
    struct world_round *r = &w->rounds[5];
    assert_int_equal(r->state, REPORT_OPEN);
    assert_int_equal(r->sealed, 1);
    assert_int_equal(w->acknowledged, 1);
    assert_int_equal(w->store.open_count, 1);
    assert_int_equal(session_stage(w->session), SESSION_NONE);
    assert_true(w->sends[sotto_Envelope_heartbeat_tag] >= 1);
    world_close_round(w, true);
    world_run(w, 5000);
    assert_int_equal(r->dropped, 1);
    assert_int_equal(w->store.open_count, 0);
    world_free(w);
}

static void test_returned_mass(void **state) {
    (void)state;
    struct world *w = world_new(2);
    world_open_round(w, 1);
    world_run(w, 30000);
    world_close_round(w, false);
    world_open_round(w, 2);
    world_run(w, 30000);
    assert_int_equal(w->rounds[1].returned, 1);
    assert_int_equal(w->rounds[1].dropped, 0);
    assert_int_equal(w->rounds[2].sealed, 1);
    world_free(w);
}

/* The sealed bytes are gone from the device's disk while they are sent. */
static void test_report_is_lost(void **state) {
    (void)state;
    struct world *w = world_new(31);
    struct sotto_error error = SOTTO_ERROR_INIT;
    world_open_round(w, 1);
    for (int i = 0; i < 60000 && session_phase(w->session) != SESSION_REPORT; i++)
        world_run(w, 1);
    assert_int_equal(w->store.stage, SESSION_SEALED);
    (void)SOTTO_FAIL(&error, SOTTO_CORRUPT, "report-1 is missing");
    world_step(
        w, &(struct session_event){.kind = SESSION_FAILED, .now_ms = w->now_ms, .error = &error});
    assert_int_equal(w->last_sent.which_body, sotto_Envelope_decline_tag);
    assert_string_equal(w->last_sent.body.decline.rule, "report");
    assert_int_equal(w->store.stage, SESSION_NONE);
    assert_int_equal(w->rounds[1].returned, 1);
    world_run(w, 60000);
    assert_int_equal(w->rounds[1].sealed, 1); /* never anew under these terms */
    world_open_round(w, 2);
    world_run(w, 60000);
    assert_int_equal(w->rounds[2].state, REPORT_OPEN);
    world_free(w);
}

static void test_late_report_is_returned(void **state) {
    (void)state;
    struct world *w = world_new(3);
    w->template.heartbeat_ms = 0; /* nothing tells it that the round has moved on */
    world_open_round(w, 1);
    world_run(w, 3000);
    assert_true(w->training);
    world_open_round(w, 2);
    world_run(w, 60000);
    assert_int_equal(w->rounds[1].returned, 1);
    assert_int_equal(w->rounds[1].state, REPORT_RETURNED);
    assert_int_equal(w->rounds[2].state, REPORT_OPEN);
    world_free(w);
}

static void test_abort_by_heartbeat(void **state) {
    (void)state;
    struct world *w = world_new(4);
    world_open_round(w, 1);
    world_run(w, 2500);
    assert_true(w->training);
    world_open_round(w, 2);
    world_run(w, 60000);
    assert_int_equal(w->rounds[1].sealed, 0);
    assert_int_equal(w->rounds[2].state, REPORT_OPEN);
    world_free(w);
}

/* A restart at any moment: the same terms go on, a sealed report is never trained again. */
static void test_restart_anywhere(void **state) {
    (void)state;
    for (uint64_t at = 0; at < 9000; at += 11) {
        struct world *w = world_new(5);
        world_open_round(w, 1);
        world_run(w, at);
        world_restart(w);
        world_run(w, 60000);
        assert_int_equal(w->rounds[1].sealed, 1);
        assert_int_equal(w->rounds[1].state, REPORT_OPEN);
        assert_int_equal(w->store.open_count, 1);
        world_free(w);
    }
}

static void test_download_resumes(void **state) {
    (void)state;
    struct world *w = world_new(6);
    w->package_bytes = w->template.package_bytes = 40 * CHUNK_BYTES;
    world_open_round(w, 1);
    world_run(w, 15);
    const uint32_t stored = w->store.part_chunks;
    assert_in_range(stored, 2, 38);
    world_restart(w);
    world_run(w, 7);
    assert_int_equal(w->last_sent.which_body, sotto_Envelope_check_in_tag);
    const uint32_t before = w->sends[sotto_Envelope_get_package_tag];
    world_run(w, 60000);
    assert_int_equal(w->rounds[1].state, REPORT_OPEN);
    assert_true(w->sends[sotto_Envelope_get_package_tag] - before <= (40 - stored) / 2 + 1);
    world_free(w);
}

static void test_package_held_is_not_fetched(void **state) {
    (void)state;
    struct world *w = world_new(7);
    world_open_round(w, 1);
    world_run(w, 30000);
    const uint32_t fetches = w->sends[sotto_Envelope_get_package_tag];
    world_close_round(w, true);
    w->template.round = 201; /* the same package hash: 1 + 201 % 200 */
    world_open_round(w, 201);
    world_run(w, 30000);
    assert_int_equal(w->rounds[201].state, REPORT_OPEN);
    assert_int_equal(w->sends[sotto_Envelope_get_package_tag], fetches);
    world_free(w);
}

static sotto_GetPackage first_request(struct world *w, uint32_t round) {
    const uint32_t before = w->sends[sotto_Envelope_get_package_tag];
    world_open_round(w, round);
    for (int i = 0; i < 60000 && w->sends[sotto_Envelope_get_package_tag] == before; i++)
        world_run(w, 1);
    assert_int_equal(w->last_sent.which_body, sotto_Envelope_get_package_tag);
    const sotto_GetPackage got = w->last_sent.body.get_package;
    world_run(w, 60000);
    assert_int_equal(w->rounds[round].state, REPORT_OPEN);
    world_close_round(w, true);
    return got;
}

/* Two tasks in turn: a delta's base is what the device holds of this task, not of the other. */
static void test_two_tasks_two_packages(void **state) {
    (void)state;
    struct world *w = world_new(34);
    const sotto_GetPackage one = first_request(w, 1);
    assert_int_equal(one.base.size, 0);
    w->template.task_id.bytes[0] ^= 1;
    const sotto_GetPackage other = first_request(w, 2);
    w->template.task_id.bytes[0] ^= 1;
    const sotto_GetPackage next = first_request(w, 3);
    assert_memory_equal(next.base.bytes, one.hash.bytes, WIRE_HASH);
    w->template.task_id.bytes[0] ^= 1;
    assert_memory_equal(first_request(w, 4).base.bytes, other.hash.bytes, WIRE_HASH);
    world_free(w);
}

/* ---- Plan checks
 * ----------------------------------------------------------------------------------------------------------
 */

enum forge {
    FORGE_NOTHING,
    FORGE_SIGNATURE,
    FORGE_KEY,
    FORGE_TERMS_BYTE,
    FORGE_SERIAL,
    FORGE_NONCE,
    FORGE_TERMS_HASH,
    FORGE_VALID,
    FORGE_OLD_ROUND,
    FORGE_SAME_ROUND,
    FORGE_SEALED,
    FORGE_TIER,
    FORGE_SECURE,
};

/* Brings the session to an open check-in and answers it with a plan that is wrong in one way. */
static struct world *answer_with(enum forge forge, void (*change)(struct world *w)) {
    struct world *w = world_new(8);
    sotto_Envelope m = sotto_Envelope_init_zero;
    w->silent = true;
    if (forge == FORGE_OLD_ROUND || forge == FORGE_SAME_ROUND) {
        w->store.task_count = 1;
        memcpy(w->store.tasks[0].task_id, w->template.task_id.bytes, WIRE_TASK_ID);
        w->store.tasks[0].last_round = forge == FORGE_OLD_ROUND ? 6 : 5;
    }
    if (forge == FORGE_TIER) {
        memcpy(w->template.tier, "small", 6);
        memcpy(w->config.tier, "large", 6);
    }
    if (forge == FORGE_SECURE) {
        world_masks(w);
        w->config.policy.secure_aggregation = SESSION_SECAGG_OFF;
    }
    if (change != NULL)
        change(w);
    world_open_round(w, 5);
    if (forge == FORGE_SEALED) { /* reported already; the coordinator has forgotten */
        w->store.task_count = 1;
        memcpy(w->store.tasks[0].task_id, w->template.task_id.bytes, WIRE_TASK_ID);
        w->store.tasks[0].last_round = 5;
        w->store.tasks[0].terms_hash = w->rounds[5].hash;
        w->store.tasks[0].sealed = true;
    }
    world_restart(w);
    world_run(w, 20);
    assert_int_equal(w->last_sent.which_body, sotto_Envelope_check_in_tag);
    m.which_body = sotto_Envelope_check_in_reply_tag;
    sotto_CheckInReply *reply = &m.body.check_in_reply;
    world_plan(w, &w->rounds[5], w->last_sent.body.check_in.nonce.bytes, reply);
    if (forge == FORGE_SIGNATURE)
        reply->terms_signature.bytes[3] ^= 1;
    if (forge == FORGE_KEY) {
        struct id_keys other;
        id_keys_generate(&other);
        id_sign(&other, ID_LABEL_TERMS, view_of(reply->terms.bytes, reply->terms.size),
                reply->terms_signature.bytes);
        memcpy(reply->signing_key.bytes, other.public_key, ID_KEY);
    }
    if (forge == FORGE_TERMS_BYTE)
        reply->terms.bytes[4] ^= 1;
    if (forge == FORGE_SERIAL)
        reply->invitation.serial++;
    if (forge == FORGE_NONCE)
        reply->invitation.nonce.bytes[0] ^= 1;
    if (forge == FORGE_TERMS_HASH)
        reply->invitation.terms_hash.bytes[0] ^= 1;
    if (forge == FORGE_VALID)
        reply->invitation.valid_ms = 0;
    world_deliver(w, &m, 0);
    return w;
}

static void expect_decline(struct world *w, const char *rule) {
    assert_int_equal(w->last_sent.which_body, sotto_Envelope_decline_tag);
    assert_string_equal(w->last_sent.body.decline.rule, rule);
    assert_int_equal(w->store.stage, SESSION_NONE);
    assert_int_equal(w->sends[sotto_Envelope_get_package_tag], 0);
    world_free(w);
}

static void test_plan_checks(void **state) {
    (void)state;
    static const struct {
        enum forge forge;
        const char *rule;
    } cases[] = {
        {FORGE_SIGNATURE, "signature"},
        {FORGE_KEY, "signature"},
        {FORGE_TERMS_BYTE, "signature"},
        {FORGE_SERIAL, "invitation"},
        {FORGE_VALID, "invitation"},
        {FORGE_TERMS_HASH, "invitation"},
        {FORGE_OLD_ROUND, "round"},
        {FORGE_SAME_ROUND, "round"},
        {FORGE_SEALED, "round"},
        {FORGE_TIER, "tier"},
        {FORGE_SECURE, "policy.secure_aggregation"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        expect_decline(answer_with(cases[i].forge, NULL), cases[i].rule);
    struct world *w = answer_with(FORGE_NOTHING, NULL);
    assert_int_equal(w->store.stage, SESSION_ACCEPTED);
    assert_int_equal(w->last_sent.which_body, sotto_Envelope_get_package_tag);
    world_free(w);
    w = answer_with(FORGE_NONCE, NULL); /* not answered: ours is still to come */
    assert_int_equal(w->last_sent.which_body, sotto_Envelope_check_in_tag);
    assert_int_equal(w->store.stage, SESSION_NONE);
    w->silent = false;
    world_run(w, 60000);
    assert_int_equal(w->rounds[5].state, REPORT_OPEN);
    world_free(w);
}

static void few_bytes(struct world *w) {
    w->config.policy.bytes_per_day_max = 1000;
}
static void no_rounds(struct world *w) {
    w->config.policy.rounds_per_day_max = 3;
    w->store.rounds_left = 0.5;
}
static void big_group(struct world *w) {
    w->config.policy.minimum_group = 10;
}
static void much_noise(struct world *w) {
    w->config.policy.minimum_noise = 0.5f;
}
static void wants_masks(struct world *w) {
    w->config.policy.secure_aggregation = SESSION_SECAGG_REQUIRED;
}
static void other_key(struct world *w) {
    w->config.policy.allowed_key_count = 1;
    memset(w->config.policy.allowed_keys[0], 5, ID_KEY);
}

static void test_policy(void **state) {
    (void)state;
    expect_decline(answer_with(FORGE_NOTHING, few_bytes), "policy.bytes_per_day");
    expect_decline(answer_with(FORGE_NOTHING, no_rounds), "policy.rounds_per_day");
    expect_decline(answer_with(FORGE_NOTHING, big_group), "policy.minimum_group");
    expect_decline(answer_with(FORGE_NOTHING, much_noise), "policy.minimum_noise");
    expect_decline(answer_with(FORGE_NOTHING, wants_masks), "policy.secure_aggregation");
    expect_decline(answer_with(FORGE_NOTHING, other_key), "policy.allowed_keys");
}

/* What the host finds in package and examples. */
static void expect_after_prepare(const char *rule, bool schema_ok, uint32_t examples,
                                 uint64_t arena) {
    struct world *w = world_new(9);
    w->config.policy.arena_bytes_max = 1000000;
    world_restart(w);
    world_open_round(w, 1);
    world_run(w, 5);
    for (int i = 0; i < 200 && !w->preparing; i++)
        world_run(w, 1);
    assert_true(w->preparing);
    w->preparing = false;
    struct session_event e = {.kind = SESSION_PREPARED, .now_ms = w->now_ms};
    e.prepared.schema_ok = schema_ok;
    e.prepared.examples = examples;
    e.prepared.arena_bytes = arena;
    world_step(w, &e);
    assert_int_equal(w->last_sent.which_body, sotto_Envelope_decline_tag);
    assert_string_equal(w->last_sent.body.decline.rule, rule);
    assert_int_equal(w->store.stage, SESSION_NONE);
    world_free(w);
}

static void test_prepared_rules(void **state) {
    (void)state;
    expect_after_prepare("schema", false, 10, 10);
    expect_after_prepare("examples", true, 0, 10);
    expect_after_prepare("policy.arena_bytes", true, 10, 1000001);
}

static void test_rounds_bucket_refills(void **state) {
    (void)state;
    struct world *w = world_new(10);
    w->config.policy.rounds_per_day_max = 2;
    world_restart(w);
    for (uint32_t round = 1; round <= 3; round++) {
        world_open_round(w, round);
        world_run(w, 60000);
    }
    assert_int_equal(w->rounds[2].sealed, 1);
    assert_int_equal(w->rounds[3].sealed, 0);
    world_run(w, 12 * 3600 * 1000);
    assert_int_equal(w->rounds[3].sealed, 1);
    world_free(w);
}

/* What was left when the process ended counts on from there while the machine runs, and only then:
 * bucket_ms is 0 after a reboot. */
static void test_buckets_over_restarts(void **state) {
    (void)state;
    for (int rebooted = 0; rebooted < 2; rebooted++) {
        struct world *w = world_new(32);
        w->config.policy.rounds_per_day_max = 2;
        w->store.rounds_left = 0;
        w->store.bytes_left = 0;
        w->store.bucket_ms = w->now_ms;
        w->now_ms += 13 * 3600 * 1000;
        if (rebooted)
            w->store.bucket_ms = 0;
        world_restart(w);
        world_open_round(w, 1);
        world_run(w, 60000);
        assert_int_equal(w->rounds[1].sealed, !rebooted);
        world_free(w);
    }
}

/* Bytes are charged before they leave: a crash does not give them back. */
static void test_bytes_are_charged_first(void **state) {
    (void)state;
    struct world *w = world_new(33);
    w->config.policy.bytes_per_day_max = 1u << 30;
    world_restart(w);
    world_open_round(w, 1);
    for (int i = 0; i < 60000 && w->sends[sotto_Envelope_report_chunk_tag] == 0; i++)
        world_run(w, 1);
    const double sent = w->sends[sotto_Envelope_report_chunk_tag] * (double)CHUNK_BYTES;
    const double refilled = (double)w->now_ms / 86400000.0 * (1u << 30);
    assert_true(sent > refilled);
    assert_true(w->store.bytes_left <= (1u << 30) - (double)w->package_bytes - sent + refilled + 1);
    world_free(w);
}

/* ---- Links, conditions
 * ------------------------------------------------------------------------------------------------
 */

static void test_backoff_and_recovery(void **state) {
    (void)state;
    struct world *w = world_new(11);
    w->coordinator_up = false;
    world_open_round(w, 1);
    world_run(w, 3600 * 1000);
    assert_in_range(w->connections_made, 6, 40);
    w->coordinator_up = true;
    world_run(w, 16 * 60 * 1000);
    assert_int_equal(w->rounds[1].state, REPORT_OPEN);
    world_free(w);
}

static void test_refused_waits_long(void **state) {
    (void)state;
    struct world *w = world_new(12);
    for (int i = 0; i < 8; i++) {
        world_tick(w);
        const uint32_t made = w->connections_made;
        world_step(w, &(struct session_event){.kind = SESSION_REFUSED, .now_ms = w->now_ms});
        assert_int_equal(w->connection, 0);
        const uint64_t wait = session_next_ms(w->session) - w->now_ms;
        assert_true(wait >= (UINT64_C(2500) << i) || wait >= 1800000);
        w->now_ms += wait - 1;
        world_tick(w);
        assert_int_equal(w->connections_made, made);
        w->now_ms += 1;
    }
    world_free(w);
}

static void test_conditions_pause(void **state) {
    (void)state;
    struct world *w = world_new(13);
    w->config.policy.need_charging = true;
    world_restart(w);
    world_open_round(w, 1);
    world_run(w, 2500);
    assert_true(w->training);
    struct session_event e = {.kind = SESSION_TICK, .now_ms = w->now_ms};
    e.conditions.online = true;
    e.conditions.battery_percent = 90;
    world_step(w, &e);
    assert_false(w->training);
    assert_int_equal(w->connection, 0);
    assert_string_equal(session_reason(w->session), "policy.charging");
    assert_int_equal(session_stage(w->session), SESSION_ACCEPTED);
    world_run(w, 60000); /* charging again: the same terms go on */
    assert_int_equal(w->rounds[1].state, REPORT_OPEN);
    world_free(w);
}

static void test_trains_through_a_lost_link(void **state) {
    (void)state;
    struct world *w = world_new(14);
    world_open_round(w, 1);
    world_run(w, 2500);
    assert_true(w->training);
    world_step(w, &(struct session_event){.kind = SESSION_LOST, .now_ms = w->now_ms});
    assert_true(w->training);
    world_run(w, 60000);
    assert_int_equal(w->trained, 1);
    assert_int_equal(w->rounds[1].state, REPORT_OPEN);
    world_free(w);
}

static void test_deadline(void **state) {
    (void)state;
    struct world *w = world_new(15);
    w->template.train_ms = 3000;
    w->template.heartbeat_ms = 0;
    world_open_round(w, 1);
    world_run(w, 4500);
    assert_false(w->training && w->store.stage == SESSION_NONE);
    assert_int_equal(w->rounds[1].sealed, 0);
    world_free(w);
}

static void test_fills_open_reports(void **state) {
    (void)state;
    struct world *w = world_new(16);
    for (uint32_t round = 1; round <= SESSION_OPEN_REPORTS_MAX + 3; round++) {
        world_open_round(w, round); /* the last one stays open for ever */
        world_run(w, 30000);
        assert_int_equal(w->rounds[round].state, REPORT_OPEN);
    }
    assert_int_equal(w->store.open_count, SESSION_OPEN_REPORTS_MAX);
    assert_int_equal(w->rounds[1].dropped, 1);
    world_free(w);
}

/* Messages that nobody asked for, in every phase. */
static void test_unasked_messages(void **state) {
    (void)state;
    struct world *w = world_new(17);
    world_open_round(w, 1);
    for (int k = 0; k < 400; k++) {
        sotto_Envelope m = sotto_Envelope_init_zero;
        m.which_body = (pb_size_t)(2 + k % 15);
        if (w->connection != 0 && m.which_body != sotto_Envelope_error_tag)
            world_deliver(w, &m, k % 3 == 0 ? 10 : 0);
        world_run(w, 20);
    }
    world_run(w, 60000);
    assert_int_equal(w->rounds[1].state, REPORT_OPEN);
    assert_int_equal(w->trained, 1);
    world_free(w);
}

static void test_bad_saved_state(void **state) {
    (void)state;
    struct world *w = world_new(18);
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct session *s = NULL;
    struct session_saved saved = {.document = &w->document, .stage = SESSION_SEALED};
    ASSERT_STATUS(session_new(&w->config, &saved, &s, &err), SOTTO_INVALID);
    saved.report_bytes = 5;
    ASSERT_STATUS(session_new(&w->config, &saved, &s, &err), SOTTO_CORRUPT);
    saved.stage = SESSION_NONE;
    saved.open_report_count = SESSION_OPEN_REPORTS_MAX + 1;
    ASSERT_STATUS(session_new(&w->config, &saved, &s, &err), SOTTO_INVALID);
    saved.document = NULL;
    ASSERT_STATUS(session_new(&w->config, &saved, &s, &err), SOTTO_INVALID);
    assert_null(s);
    world_free(w);
}

/* Every allocation of making and stepping a session may fail: NOMEM, and the step can be repeated.
 */
static enum sotto_status make_and_step(void *ctx, struct sotto_error *err) {
    struct world *w = ctx;
    struct session_action actions[SESSION_ACTIONS_MAX];
    const uint8_t nonce[WIRE_NONCE] = {1};
    const struct session_task task = {.last_round = 3};
    struct session_saved saved = {
        .document = &w->document, .task_count = 1, .tasks = &task, .bytes_left = -1};
    struct session_event tick = {.kind = SESSION_TICK, .now_ms = 5, .conditions.online = true};
    struct session_event up = {.kind = SESSION_CONNECTED, .now_ms = 6};
    sotto_Envelope m = sotto_Envelope_init_zero;
    struct session_event message = {.kind = SESSION_MESSAGE, .now_ms = 7, .message = &m};
    struct session *s = NULL;
    size_t count = SESSION_ACTIONS_MAX;
    enum sotto_status status;
    TRY(session_new(&w->config, &saved, &s, err));
    TRY(session_step(s, &tick, nonce, actions, &count, err));
    count = SESSION_ACTIONS_MAX;
    TRY(session_step(s, &up, nonce, actions, &count, err));
    assert_int_equal(actions[count - 1].kind, SESSION_DO_SEND);
    m.which_body = sotto_Envelope_check_in_reply_tag;
    world_plan(w, &w->rounds[5], actions[count - 1].message->body.check_in.nonce.bytes,
               &m.body.check_in_reply);
    count = SESSION_ACTIONS_MAX;
    TRY(session_step(s, &message, nonce, actions, &count, err));
    assert_int_equal(session_stage(s), SESSION_ACCEPTED);
    count = 3;
    assert_int_equal(session_step(s, &tick, nonce, actions, &count, NULL), SOTTO_INVALID);
out:
    session_free(s);
    return status;
}

static void test_out_of_memory(void **state) {
    (void)state;
    struct world *w = world_new(19);
    world_open_round(w, 5);
    test_oom_loop(make_and_step, w);
    world_free(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_round),
        cmocka_unit_test(test_returned_mass),
        cmocka_unit_test(test_report_is_lost),
        cmocka_unit_test(test_late_report_is_returned),
        cmocka_unit_test(test_abort_by_heartbeat),
        cmocka_unit_test(test_restart_anywhere),
        cmocka_unit_test(test_download_resumes),
        cmocka_unit_test(test_package_held_is_not_fetched),
        cmocka_unit_test(test_two_tasks_two_packages),
        cmocka_unit_test(test_plan_checks),
        cmocka_unit_test(test_policy),
        cmocka_unit_test(test_prepared_rules),
        cmocka_unit_test(test_rounds_bucket_refills),
        cmocka_unit_test(test_buckets_over_restarts),
        cmocka_unit_test(test_bytes_are_charged_first),
        cmocka_unit_test(test_backoff_and_recovery),
        cmocka_unit_test(test_refused_waits_long),
        cmocka_unit_test(test_conditions_pause),
        cmocka_unit_test(test_trains_through_a_lost_link),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_fills_open_reports),
        cmocka_unit_test(test_unasked_messages),
        cmocka_unit_test(test_bad_saved_state),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
