/* The session under masks: a whole group with real cryptography, faults of every kind, and a
 * coordinator that cheats. SOTTO_SEED chooses the first schedule of faults. */
#include "secure_world.h"

#include <string.h>

#define SCHEDULES 25

static struct sw *ready_world(uint64_t seed) {
    struct sw *w = sw_new(seed);
    sw_make_ready(w);
    return w;
}

static uint32_t ready_stop;
static bool has_sent_more_ready(struct sw *w) {
    return w->sends[sotto_Envelope_secure_ready_tag] > ready_stop;
}
static enum secagg_kind up_stop;
static bool has_come(struct sw *w) {
    return w->up_done[up_stop];
}
static bool is_uploading(struct sw *w) {
    return w->up_bytes[up_stop] > 0;
}
static bool is_fetching(struct sw *w) {
    return w->last_sent.which_body == sotto_Envelope_secure_get_tag &&
           w->last_sent.body.secure_get.exchange == (uint32_t)up_stop;
}
static bool is_masked(struct sw *w) {
    return w->store.masked;
}

static void run_until(struct sw *w, bool (*stop)(struct sw *w), enum secagg_kind kind) {
    up_stop = kind;
    assert_true(sw_run_until(w, stop, 60000));
}

static void say_outcome(struct sw *w, sotto_Outcome outcome) {
    w->outcome = outcome;
    sw_state(w, w->attempt, 0, view_of(NULL, 0), outcome);
}

/* The device is out of the session, unhurt: it says so, and waits for another. */
static void expect_left(struct sw *w) {
    assert_int_equal(w->store.stage, SESSION_READY);
    assert_int_equal(session_phase(w->session), SESSION_SECURE);
    assert_null(w->member);
    assert_int_equal(w->last_sent.which_body, sotto_Envelope_secure_ready_tag);
    assert_int_equal(w->last_sent.body.secure_ready.attempt, 0);
    assert_false(w->store.masked);
    assert_true(w->store.mass);
}

/* ---- As it should be
 * -------------------------------------------------------------------------------------------------------
 */

static void test_whole_group(void **state) {
    (void)state;
    struct sw *w = ready_world(test_seed());
    assert_int_equal(session_phase(w->session), SESSION_SECURE);
    sw_group(w, 1);
    sw_run(w, 20000);
    assert_true(w->summed);
    assert_int_equal(w->survivors, SW_GROUP);
    assert_int_equal(w->store.stage, SESSION_NONE);
    assert_int_equal(w->store.outcome, sotto_Outcome_OUTCOME_KEPT);
    assert_null(w->member);
    assert_int_equal(w->begins, 1);
    assert_int_equal(w->report.members, SW_GROUP);
    assert_int_equal(w->report.survivors, SW_GROUP);
    assert_int_equal(w->report.threshold, 2 * SW_GROUP / 3 + 1);
    assert_int_equal(w->report.stage, SECAGG_STAGE_DONE);
    assert_true(w->report.complete);
    assert_int_equal(session_stage(w->session), SESSION_NONE);
    assert_int_equal(w->sends[sotto_Envelope_decline_tag], 0);
    sw_free(w);
}

/* It says that it is ready as often as it is told to, and over a broken link. */
static void test_waits(void **state) {
    (void)state;
    struct sw *w = ready_world(2);
    w->wait_ms = 5000;
    sw_run(w, 61000);
    assert_in_range(w->sends[sotto_Envelope_secure_ready_tag], 10, 16);
    sw_event(w, &(struct session_event){.kind = SESSION_LOST});
    assert_false(w->link);
    ready_stop = w->sends[sotto_Envelope_secure_ready_tag];
    assert_true(sw_run_until(w, has_sent_more_ready, 3000));
    w->wait_ms = 1; /* not more often than is sensible */
    sw_run(w, 10000);
    assert_in_range(w->sends[sotto_Envelope_secure_ready_tag], ready_stop, ready_stop + 50);
    say_outcome(w, sotto_Outcome_OUTCOME_RETURNED); /* more were ready than the round wanted */
    sw_run(w, 100);
    assert_int_equal(w->store.outcome, sotto_Outcome_OUTCOME_RETURNED);
    assert_int_equal(session_stage(w->session), SESSION_NONE);
    sw_free(w);
}

static void test_silence(void **state) {
    (void)state;
    struct sw *w = ready_world(3);
    w->mute = true;
    sw_run(w, 40 * 60 * 1000);
    assert_in_range(w->sends[sotto_Envelope_secure_ready_tag], 10, 60);
    assert_int_equal(w->store.stage, SESSION_READY);
    w->mute = false;
    sw_group(w, 1);
    sw_run(w, 20 * 60 * 1000);
    assert_true(w->summed);
    sw_free(w);
}

static void test_policy_pauses(void **state) {
    (void)state;
    struct sw *w = sw_new(4);
    w->config.policy.need_charging = true;
    sw_restart(w);
    sw_make_ready(w);
    sw_group(w, 1);
    run_until(w, has_come, SECAGG_SHARES);
    w->charging = false;
    sw_tick(w);
    assert_false(w->link);
    assert_string_equal(session_reason(w->session), "policy.charging");
    sw_run(w, 5000);
    assert_false(w->up_done[SECAGG_MASKED]);
    w->charging = true; /* the member is still there, and so is the session */
    sw_run(w, 20000);
    assert_true(w->summed && w->up_done[SECAGG_MASKED]);
    assert_int_equal(w->begins, 1);
    sw_free(w);
}

/* ---- Regrouping, restarts
 * -------------------------------------------------------------------------------------------------
 */

static void test_regrouped_three_times(void **state) {
    (void)state;
    struct sw *w = ready_world(5);
    for (uint32_t attempt = 1; attempt <= 3; attempt++) {
        sw_group(w, attempt);
        run_until(w, is_uploading, attempt == 1 ? SECAGG_ADVERTISE : SECAGG_SHARES);
        w->hold = attempt == 3; /* before it closes */
    }
    /* late words of an old session change nothing */
    sw_state(w, 1, SECAGG_ADVERTISE, view_of(NULL, 0), 0);
    sw_state(w, 2, SECAGG_LIST, view_of("late", 4), 0);
    sw_run(w, 100);
    assert_int_equal(w->begins, 3);
    assert_int_equal(w->store.attempt, 3);
    w->hold = false;
    sw_group(w, 4);
    sw_run(w, 20000);
    assert_true(w->summed);
    assert_int_equal(w->begins, 4);
    sw_free(w);
}

/* A number that the wire would not let through, and one that was used. */
static void test_regrouped_too_often(void **state) {
    (void)state;
    struct sw *w = ready_world(6);
    sotto_Envelope m = sotto_Envelope_init_zero;
    sw_group(w, 4);
    run_until(w, has_come, SECAGG_SHARES);
    m.which_body = sotto_Envelope_secure_state_tag;
    WIRE_SET_HASH(m.body.secure_state.terms_hash, &w->hash);
    m.body.secure_state.attempt = 5;
    m.body.secure_state.exchange = SECAGG_ADVERTISE;
    struct session_event e = {.kind = SESSION_MESSAGE, .message = &m};
    sw_event(w, &e);
    m.body.secure_state.attempt = 4;
    sw_event(w, &e);
    assert_int_equal(w->begins, 1);
    sw_run(w, 20000);
    assert_true(w->summed);
    sw_free(w);
}

/* Secrets live in memory only: a restarted device is out of its session, and good for the next. */
static void test_restart_before_masks(void **state) {
    (void)state;
    static const enum secagg_kind at[] = {SECAGG_ADVERTISE, SECAGG_SHARES};
    for (size_t i = 0; i < ARRAY_LEN(at); i++) {
        struct sw *w = ready_world(7);
        sw_group(w, 1);
        run_until(w, is_uploading, at[i]);
        w->hold = true;
        run_until(w, has_come, at[i]);
        sw_restart(w);
        ready_stop = w->sends[sotto_Envelope_secure_ready_tag];
        assert_true(sw_run_until(w, has_sent_more_ready, 10000));
        assert_int_equal(w->last_sent.body.secure_ready.attempt, 0);
        sw_run(w, 10000); /* whatever is asked of the old session */
        assert_int_equal(w->begins, 1);
        assert_false(w->up_done[SECAGG_MASKED]);
        w->hold = false;
        sw_group(w, 2);
        sw_run(w, 20000);
        assert_true(w->summed && w->up_done[SECAGG_MASKED]);
        assert_int_equal(w->begins, 2);
        sw_free(w);
    }
}

/* Restarted in the middle of its masked input: the very same bytes go on, and nothing else. */
static void test_restart_with_masks(void **state) {
    (void)state;
    for (int uploaded = 0; uploaded < 2; uploaded++) {
        struct sw *w = ready_world(8);
        sw_group(w, 1);
        if (uploaded)
            run_until(w, is_uploading, SECAGG_MASKED);
        else
            run_until(w, is_masked, 0);
        sw_restart(w);
        ready_stop = w->sends[sotto_Envelope_secure_ready_tag];
        assert_true(sw_run_until(w, has_sent_more_ready, 10000));
        assert_int_equal(w->last_sent.body.secure_ready.attempt, 1);
        assert_int_equal(w->last_sent.body.secure_ready.have, SECAGG_DELIVERY);
        run_until(w, has_come, SECAGG_MASKED);
        assert_int_equal(w->want, SECAGG_SURVIVORS); /* which it cannot sign any more */
        sw_run(w, 5000);
        assert_false(w->up_done[SECAGG_SIGNATURE]);
        sw_close(w, SECAGG_SIGNATURE);
        sw_close(w, SECAGG_UNMASK);
        assert_true(w->summed);
        assert_int_equal(w->survivors, SW_GROUP);
        say_outcome(w, sotto_Outcome_OUTCOME_KEPT);
        sw_run(w, 1000);
        assert_int_equal(w->store.outcome, sotto_Outcome_OUTCOME_KEPT);
        assert_int_equal(w->begins, 1);
        sw_free(w);
    }
}

static void test_masked_message_is_lost(void **state) {
    (void)state;
    struct sw *w = ready_world(9);
    struct sotto_error error = SOTTO_ERROR_INIT;
    sw_group(w, 1);
    run_until(w, is_uploading, SECAGG_MASKED);
    (void)SOTTO_FAIL(&error, SOTTO_CORRUPT, "masked-1 is missing");
    sw_event(w, &(struct session_event){.kind = SESSION_FAILED, .error = &error});
    const uint32_t sent = w->masked_sent;
    sw_run(w, 20000);
    assert_int_equal(w->masked_sent, sent);
    assert_int_equal(w->store.stage, SESSION_READY);
    say_outcome(w, sotto_Outcome_OUTCOME_RETURNED);
    sw_run(w, 1000);
    assert_int_equal(w->store.outcome, sotto_Outcome_OUTCOME_KEPT);
    sw_free(w);
}

/* Too late in an exchange: out of this session, in the next. */
static void test_dropped_in_an_exchange(void **state) {
    (void)state;
    struct sw *w = ready_world(10);
    sw_group(w, 1);
    run_until(w, is_uploading, SECAGG_ADVERTISE);
    sw_close(w, SECAGG_ADVERTISE);
    sw_run(w, 5000); /* its record is refused */
    expect_left(w);
    sw_group(w, 2);
    sw_run(w, 20000);
    assert_true(w->summed && w->up_done[SECAGG_MASKED]);
    sw_free(w);
}

/* ---- A coordinator that cheats
 * -------------------------------------------------------------------------------------------
 */

static void test_second_session_after_masks(void **state) {
    (void)state;
    struct sw *w = ready_world(11);
    sw_group(w, 1);
    run_until(w, has_come, SECAGG_MASKED);
    /* "It failed": all but one member regrouped. */
    sw_group(w, 2);
    sw_run(w, 20000);
    assert_int_equal(w->begins, 1);
    assert_false(w->up_done[SECAGG_ADVERTISE]);
    assert_non_null(strstr(w->note, "refuses session 2"));
    memset(w->note, 0, sizeof w->note);
    sw_say_wanted(w); /* it says so once */
    sw_run(w, 5000);
    assert_string_equal(w->note, "");
    sw_restart(w); /* nor after a restart */
    sw_run(w, 20000);
    assert_int_equal(w->begins, 1);
    assert_false(w->up_done[SECAGG_ADVERTISE]);
    /* A claim that its masked update was not used gives nothing back. */
    say_outcome(w, sotto_Outcome_OUTCOME_RETURNED);
    sw_run(w, 1000);
    assert_int_equal(w->store.outcome, sotto_Outcome_OUTCOME_KEPT);
    sw_free(w);
}

static bool is_masking(struct sw *w) {
    return w->working && w->taking == SECAGG_DELIVERY;
}

/* The outcome comes while the host masks: what has not left is whole. */
static void test_returned_while_masking(void **state) {
    (void)state;
    struct sw *w = ready_world(21);
    sw_group(w, 1);
    run_until(w, is_masking, 0);
    say_outcome(w, sotto_Outcome_OUTCOME_RETURNED);
    sw_run(w, 5000);
    assert_int_equal(w->store.outcome, sotto_Outcome_OUTCOME_RETURNED);
    assert_false(w->store.masked);
    assert_int_equal(w->masked_sent, 0);
    sw_free(w);
}

static void test_other_terms(void **state) {
    (void)state;
    struct sw *w = ready_world(12);
    sotto_Envelope m = sotto_Envelope_init_zero;
    m.which_body = sotto_Envelope_secure_state_tag;
    m.body.secure_state.attempt = 1;
    m.body.secure_state.exchange = SECAGG_ADVERTISE;
    m.body.secure_state.terms_hash.size = WIRE_HASH;
    sw_say(w, &m, view_of(NULL, 0)); /* of a round that it does not know */
    sw_run(w, 100);
    assert_int_equal(w->begins, 0);
    w->group.terms_hash[0] ^= 1; /* the others were given other terms, or another model */
    sw_group(w, 1);
    sw_run(w, 5000);
    assert_true(w->up_done[SECAGG_ADVERTISE]); /* refused: signed over its own */
    expect_left(w);
    w->group.terms_hash[0] ^= 1;
    w->hold = true;
    sw_group(w, 2);
    run_until(w, has_come, SECAGG_ADVERTISE);
    w->hold = false;
    sw_close(w, SECAGG_ADVERTISE);
    w->down.data[8] ^= 1; /* its list names other terms */
    w->queued = 0;
    sw_say_wanted(w);
    sw_run(w, 5000);
    expect_left(w);
    sw_free(w);
}

static void test_list_of_wrong_size_or_hash(void **state) {
    (void)state;
    for (int how = 0; how < 3; how++) {
        struct sw *w = ready_world(13);
        sw_group(w, 1);
        w->hold = true;
        run_until(w, has_come, SECAGG_ADVERTISE);
        sw_run(w, 10);
        if (how == 0) { /* no such list has so many bytes */
            sotto_Envelope m = sotto_Envelope_init_zero;
            m.which_body = sotto_Envelope_secure_state_tag;
            WIRE_SET_HASH(m.body.secure_state.terms_hash, &w->hash);
            WIRE_SET_HASH(m.body.secure_state.hash, &w->hash);
            m.body.secure_state.attempt = 1;
            m.body.secure_state.exchange = SECAGG_LIST;
            m.body.secure_state.bytes = 1u << 30;
            sw_say(w, &m, view_of(NULL, 0));
        } else {
            w->hold = false;
            sw_close(w, SECAGG_ADVERTISE);
            buf_put(&w->forged, w->down.data, w->down.len);
            w->forged.data[w->forged.len - 1] ^= how == 1;
            if (how == 2) /* shorter than announced: it never comes to its end */
                w->forged.len--;
        }
        const uint32_t gets = w->sends[sotto_Envelope_secure_get_tag];
        sw_run(w, 5000);
        if (how == 0)
            assert_int_equal(w->sends[sotto_Envelope_secure_get_tag], gets);
        if (how < 2)
            expect_left(w);
        assert_int_equal(w->sends[sotto_Envelope_report_open_tag], 1);
        assert_false(w->up_done[SECAGG_SHARES]);
        sw_free(w);
    }
}

static void test_two_lists(void **state) {
    (void)state;
    for (int taken = 0; taken < 2; taken++) {
        struct sw *w = ready_world(14);
        sw_group(w, 1);
        if (taken)
            run_until(w, is_uploading, SECAGG_SHARES);
        else
            run_until(w, is_fetching, SECAGG_LIST);
        w->hold = true;
        sw_state(w, 1, SECAGG_LIST, view_of("another list", 12), 0);
        sw_run(w, 50);
        assert_null(w->member);
        assert_false(w->store.masked);
        sw_run(w, 5000);
        assert_false(w->up_done[SECAGG_MASKED]);
        sw_free(w);
    }
}

/* Two sets of survivors: one signature at most. Two sets of signatures: one unmasking at most. */
static void test_asks_both(void **state) {
    (void)state;
    struct sw *w = ready_world(15);
    sw_group(w, 1);
    run_until(w, has_come, SECAGG_MASKED);
    w->hold = true;
    run_until(w, has_come, SECAGG_SIGNATURE);
    buf_reset(&w->down);
    buf_put(&w->down, "another set of survivors", 24);
    w->want = SECAGG_SURVIVORS;
    sw_say_wanted(w);
    sw_run(w, 100);
    assert_null(w->member); /* secrets are wiped: it unmasks nothing at all */
    w->hold = false;
    sw_close(w, SECAGG_SIGNATURE);
    sw_run(w, 10000);
    assert_false(w->up_done[SECAGG_UNMASK]);
    say_outcome(w, sotto_Outcome_OUTCOME_RETURNED);
    sw_run(w, 1000);
    assert_int_equal(w->store.outcome, sotto_Outcome_OUTCOME_KEPT);
    sw_free(w);

    w = ready_world(16);
    sw_group(w, 1);
    run_until(w, is_fetching, SECAGG_SIGNATURES);
    sw_state(w, 1, SECAGG_SIGNATURES, view_of("others", 6), 0);
    sw_run(w, 5000);
    assert_false(w->up_done[SECAGG_UNMASK]);
    sw_free(w);
}

static void test_shrunk_group(void **state) {
    (void)state;
    struct sw *w = sw_new(17);
    w->config.policy.minimum_group = SW_GROUP + 1;
    sw_restart(w);
    sw_make_ready(w);
    sw_group(w, 1);
    sw_run(w, 5000);
    assert_true(w->up_done[SECAGG_ADVERTISE]);
    assert_false(w->up_done[SECAGG_SHARES]);
    assert_non_null(strstr(w->note, "minimum"));
    expect_left(w);
    sw_free(w);
}

/* Invented members: certified by another authority. */
static void test_invented_members(void **state) {
    (void)state;
    struct sw *w = ready_world(18), *other = sw_new(19);
    for (uint32_t i = 0; i < SW_GHOSTS; i++) { /* the server trusts whom it likes */
        memcpy(w->ghosts[i].cert, other->ghosts[i].cert, ID_CERT_BYTES);
        w->ghosts[i].keys = other->ghosts[i].keys;
        memcpy(w->ghosts[i].ids.authority, other->authority.public_key, ID_KEY);
    }
    w->trusts_all = true;
    sw_group(w, 1);
    sw_run(w, 5000);
    assert_true(w->up_done[SECAGG_ADVERTISE]);
    assert_false(w->up_done[SECAGG_SHARES]);
    expect_left(w);
    sw_free(other);
    sw_free(w);
}

static void test_refusals_end(void **state) {
    (void)state;
    struct sw *w = ready_world(20);
    sotto_Envelope m = sotto_Envelope_init_zero;
    m.which_body = sotto_Envelope_error_tag;
    m.body.error.status = SOTTO_INVALID;
    w->mute = true;
    for (int i = 0; i < 12 && session_stage(w->session) == SESSION_READY; i++) {
        w->mute = session_phase(w->session) == SESSION_SECURE;
        sw_say(w, &m, view_of(NULL, 0));
        sw_run(w, 1000);
        w->mute = false;
        ready_stop = w->sends[sotto_Envelope_secure_ready_tag];
        (void)sw_run_until(w, has_sent_more_ready, 20 * 60 * 1000);
    }
    assert_int_equal(w->store.outcome, sotto_Outcome_OUTCOME_RETURNED); /* nothing has left */
    sw_free(w);
}

/* ---- Faults
 * ----------------------------------------------------------------------------------------------------------------
 */

static bool may_regroup(const struct sw *w) {
    return w->attempt < WIRE_ATTEMPTS_MAX && w->open > 0 && w->open <= SECAGG_SHARES;
}

static void disturb(struct sw *w) {
    const uint32_t dice = rng_below(&w->rng, 100);
    if (dice < 15)
        sw_restart(w);
    else if (dice < 35 && w->link)
        sw_event(w, &(struct session_event){.kind = SESSION_LOST});
    else if (dice < 45)
        w->charging = !w->charging;
    else if (dice < 60 && may_regroup(w))
        sw_group(w, w->attempt + 1);
    else if (dice < 68 && w->open > 0 && w->attempt > 0)
        sw_close(w, w->open); /* without this device */
}

static void run_schedule(uint64_t seed) {
    struct sw *w = sw_new(seed);
    w->config.policy.need_charging = rng_below(&w->rng, 2) == 0;
    sw_restart(w);
    sw_make_ready(w);
    w->loss_permille = rng_below(&w->rng, 200);
    w->repeat_permille = rng_below(&w->rng, 300);
    sw_group(w, 1);
    for (int k = 0; k < 14 && w->store.stage == SESSION_READY; k++) {
        sw_run(w, 1 + rng_below(&w->rng, 6000));
        disturb(w);
    }
    /* The weather clears: the group ends, with this device or without. */
    w->loss_permille = w->repeat_permille = 0;
    w->charging = true;
    sw_run(w, 16 * 60 * 1000);
    while (w->open > 0)
        sw_close(w, w->open);
    assert_true(w->summed);
    sw_run(w, 16 * 60 * 1000);
    if (w->store.stage != SESSION_NONE || w->store.outcome == 0)
        fail_msg("SOTTO_SEED=%llu: stuck in phase %d: %s", (unsigned long long)seed,
                 (int)session_phase(w->session), w->note);
    if (w->store.masked)
        assert_int_equal(w->store.outcome, sotto_Outcome_OUTCOME_KEPT);
    else
        assert_int_equal(w->store.outcome, sotto_Outcome_OUTCOME_RETURNED);
    sw_free(w);
}

static void test_schedules(void **state) {
    (void)state;
    for (uint64_t k = 0; k < SCHEDULES; k++)
        run_schedule(test_seed() + k);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_group),
        cmocka_unit_test(test_waits),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_policy_pauses),
        cmocka_unit_test(test_regrouped_three_times),
        cmocka_unit_test(test_regrouped_too_often),
        cmocka_unit_test(test_restart_before_masks),
        cmocka_unit_test(test_restart_with_masks),
        cmocka_unit_test(test_masked_message_is_lost),
        cmocka_unit_test(test_dropped_in_an_exchange),
        cmocka_unit_test(test_second_session_after_masks),
        cmocka_unit_test(test_returned_while_masking),
        cmocka_unit_test(test_other_terms),
        cmocka_unit_test(test_list_of_wrong_size_or_hash),
        cmocka_unit_test(test_two_lists),
        cmocka_unit_test(test_asks_both),
        cmocka_unit_test(test_shrunk_group),
        cmocka_unit_test(test_invented_members),
        cmocka_unit_test(test_refusals_end),
        cmocka_unit_test(test_schedules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
