/* The round engine step by step: opening, answers, ends of groups and rounds, pause, stop,
 * evaluation rounds. */
#include "engine_fixture.h"

static void test_round_goes_through(void **state) {
    (void)state;
    struct fixture f = {.config = fixture_config()};
    fixture_start(&f, 1, 0, 3);
    fixture_tick(&f);
    assert_int_equal(f.count, 0); /* three of four devices */
    assert_int_equal(round_state(f.engine), ROUND_WAITING);
    fixture_add(&f, 10, 1);
    assert_int_equal(round_next_ms(f.engine), 0);
    fixture_open(&f);
    assert_int_equal(round_number(f.engine), 1);
    assert_int_equal(round_next_ms(f.engine), UINT64_MAX);
    for (uint32_t i = 0; i < 4; i++) {
        assert_null(fixture_find(&f, ROUND_DO_SUM));
        fixture_serve(&f, i);
    }
    const struct round_action *sum = fixture_find(&f, ROUND_DO_SUM);
    assert_non_null(sum);
    assert_int_equal(sum->group, 0);
    fixture_summed(&f, 0, true);
    assert_non_null(fixture_find(&f, ROUND_DO_ADVANCE));
    assert_int_equal(round_state(f.engine), ROUND_ADVANCING);
    fixture_advanced(&f, true);
    /* The next one opens at once. */
    const struct round_action *open = fixture_find(&f, ROUND_DO_OPEN);
    assert_non_null(open);
    assert_int_equal(open->round, 2);
    fixture_end(&f);
}

static void test_answers_to_members(void **state) {
    (void)state;
    struct fixture f = {.config = fixture_config()};
    f.config.cohort = 3;
    f.config.groups = 1;
    fixture_start(&f, 5, 4, 3);
    fixture_open(&f);
    uint64_t a = fixture_member(&f, 0), b = fixture_member(&f, 1);
    fixture_device(&f, ROUND_EV_CHECK_IN, a);
    const struct round_action *stored = fixture_find(&f, ROUND_DO_STORE_MEMBER);
    assert_non_null(stored);
    assert_int_equal(stored->member_state, ROUND_PLANNED);
    assert_non_null(fixture_find(&f, ROUND_DO_PLAN));
    /* The same again: the same plan, nothing to store. */
    fixture_device(&f, ROUND_EV_CHECK_IN, a);
    assert_int_equal(f.count, 1);
    assert_int_equal(f.actions[0].kind, ROUND_DO_PLAN);
    assert_int_equal(f.actions[0].round, 5);
    fixture_device(&f, ROUND_EV_HEARTBEAT, a);
    assert_non_null(fixture_find(&f, ROUND_DO_CONTINUE));
    fixture_device(&f, ROUND_EV_REPORT, a);
    assert_non_null(fixture_find(&f, ROUND_DO_ACCEPT));
    fixture_device(&f, ROUND_EV_REPORT, a);
    assert_int_equal(f.count, 1);
    assert_int_equal(f.actions[0].kind, ROUND_DO_REPEAT);
    fixture_device(&f, ROUND_EV_CHECK_IN, a);
    assert_string_equal(fixture_find(&f, ROUND_DO_COME_BACK)->text, "the report is in");
    /* A late heartbeat of a device that has reported must not stop it. */
    fixture_device(&f, ROUND_EV_HEARTBEAT, a);
    assert_non_null(fixture_find(&f, ROUND_DO_CONTINUE));
    fixture_checked(&f, a, true);
    fixture_checked(&f, a, true);
    fixture_checked(&f, a, false);
    uint32_t n;
    assert_int_equal(round_groups(f.engine, &n)[0].checked, 1);
    assert_int_equal(round_groups(f.engine, &n)[0].stored, 1);
    /* A report whose check fails stays counted as rejected, and is acknowledged again when it comes
     * again. */
    fixture_device(&f, ROUND_EV_REPORT, b);
    fixture_checked(&f, b, false);
    assert_int_equal(fixture_find(&f, ROUND_DO_STORE_MEMBER)->member_state, ROUND_REJECTED);
    fixture_end(&f);
}

static void test_strangers_and_other_rounds(void **state) {
    (void)state;
    struct fixture f = {.config = fixture_config()};
    fixture_start(&f, 3, 2, 6);
    fixture_open(&f);
    uint64_t outsider = 0;
    for (uint64_t s = 1; s <= 6; s++)
        if (!round_member_find(f.engine, s))
            outsider = s;
    assert_true(outsider > 0);
    fixture_device(&f, ROUND_EV_CHECK_IN, outsider);
    assert_string_equal(fixture_find(&f, ROUND_DO_COME_BACK)->text, "not selected for this round");
    fixture_device(&f, ROUND_EV_CHECK_IN, 999);
    assert_string_equal(fixture_find(&f, ROUND_DO_COME_BACK)->text, "not a device of this task");
    fixture_device(&f, ROUND_EV_REPORT, outsider);
    assert_non_null(fixture_find(&f, ROUND_DO_RETURN));
    fixture_device(&f, ROUND_EV_HEARTBEAT, 999);
    assert_non_null(fixture_find(&f, ROUND_DO_ABORT));
    uint64_t a = fixture_member(&f, 0);
    const enum round_event_kind kinds[] = {ROUND_EV_REPORT,  ROUND_EV_HEARTBEAT, ROUND_EV_DECLINE,
                                           ROUND_EV_CHECKED, ROUND_EV_SUMMED,    ROUND_EV_ADVANCED};
    for (uint32_t round = 0; round < 6; round++) {
        if (round == 3)
            continue;
        for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
            fixture_step(&f, EVENT(.kind = kinds[i], .serial = a, .round = round, .ok = true));
            assert_int_equal(round_member_find(f.engine, a)->state, ROUND_INVITED);
            if (kinds[i] == ROUND_EV_REPORT) {
                assert_int_equal(fixture_find(&f, ROUND_DO_RETURN)->round, round);
            }
            if (kinds[i] == ROUND_EV_HEARTBEAT) {
                assert_int_equal(fixture_find(&f, ROUND_DO_ABORT)->round, round);
            }
        }
    }
    fixture_step(&f, EVENT(.kind = ROUND_EV_SUMMED, .round = 3, .group = 4000000000u, .ok = true));
    fixture_summed(&f, 0, true); /* nobody asked for it */
    assert_int_equal(round_state(f.engine), ROUND_OPEN);
    fixture_advanced(&f, true);
    assert_int_equal(round_state(f.engine), ROUND_OPEN);
    fixture_end(&f);
}

static void test_over_selection(void **state) {
    (void)state;
    struct fixture f = {.config = fixture_config()};
    f.config.over_selection = 1.5;
    fixture_start(&f, 1, 0, 20);
    fixture_open(&f);
    uint32_t n;
    round_members(f.engine, &n);
    assert_int_equal(n, 6);
    assert_int_equal(round_groups(f.engine, &n)[0].goal, 4);
    uint64_t fifth = fixture_member(&f, 4), sixth = fixture_member(&f, 5);
    for (uint32_t i = 0; i < 3; i++)
        fixture_serve(&f, i);
    uint64_t fourth = fixture_member(&f, 3);
    fixture_device(&f, ROUND_EV_REPORT, fourth);
    assert_non_null(fixture_find(&f, ROUND_DO_ACCEPT));
    /* Four are stored, the fourth's check is under way: the fifth is one too many. */
    fixture_device(&f, ROUND_EV_REPORT, fifth);
    assert_non_null(fixture_find(&f, ROUND_DO_RETURN));
    assert_int_equal(fixture_find(&f, ROUND_DO_STORE_MEMBER)->member_state, ROUND_DROPPED);
    fixture_device(&f, ROUND_EV_REPORT, fifth);
    assert_non_null(fixture_find(&f, ROUND_DO_RETURN));
    fixture_checked(&f, fourth, true);
    assert_non_null(fixture_find(&f, ROUND_DO_SUM));
    fixture_device(&f, ROUND_EV_HEARTBEAT, sixth);
    assert_non_null(fixture_find(&f, ROUND_DO_ABORT));
    fixture_device(&f, ROUND_EV_REPORT, sixth);
    assert_non_null(fixture_find(&f, ROUND_DO_RETURN));
    fixture_summed(&f, 0, true);
    /* Also now a summed report is acknowledged again, never returned. */
    fixture_device(&f, ROUND_EV_REPORT, fourth);
    assert_non_null(fixture_find(&f, ROUND_DO_REPEAT));
    fixture_end(&f);
}

static void test_groups_and_minimum(void **state) {
    (void)state;
    struct fixture f = {.config = fixture_config()};
    f.config.cohort = 7;
    f.config.cohort_min = 5;
    f.config.groups = 3;
    fixture_start(&f, 1, 0, 7);
    fixture_open(&f);
    uint32_t groups, members;
    const struct round_group *g = round_groups(f.engine, &groups);
    const struct round_member *m = round_members(f.engine, &members);
    assert_int_equal(groups, 3);
    const uint32_t sizes[] = {3, 2, 2}, minima[] = {2, 2, 1};
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(g[i].members, sizes[i]);
        assert_int_equal(g[i].goal, sizes[i]);
        assert_int_equal(g[i].minimum, minima[i]);
    }
    for (uint32_t i = 1; i < members; i++)
        assert_true(m[i].group >= m[i - 1].group && m[i].serial > m[i - 1].serial);
    /* Group 0: one of three declines, two are enough when nobody is left. */
    fixture_serve(&f, 0);
    fixture_device(&f, ROUND_EV_DECLINE, m[1].serial);
    assert_int_equal(fixture_find(&f, ROUND_DO_STORE_MEMBER)->member_state, ROUND_DECLINED);
    assert_non_null(fixture_find(&f, ROUND_DO_COME_BACK));
    assert_null(fixture_find(&f, ROUND_DO_SUM));
    fixture_serve(&f, 2);
    assert_non_null(fixture_find(&f, ROUND_DO_SUM));
    /* Group 1 cannot reach its minimum of two any more: it fails at once, and takes the stored
     * report with it. */
    fixture_serve(&f, 3);
    fixture_device(&f, ROUND_EV_DECLINE, m[4].serial);
    const struct round_action *fail = fixture_find(&f, ROUND_DO_FAIL_GROUP);
    assert_non_null(fail);
    assert_int_equal(fail->group, 1);
    fixture_summed(&f, 1, false);
    fixture_device(&f, ROUND_EV_REPORT, m[3].serial);
    assert_non_null(fixture_find(&f, ROUND_DO_RETURN));
    fixture_serve(&f, 5);
    fixture_serve(&f, 6);
    assert_int_equal(fixture_find(&f, ROUND_DO_SUM)->group, 2);
    fixture_summed(&f, 2, true);
    assert_null(fixture_find(&f, ROUND_DO_ADVANCE)); /* group 0's sums are still with the host */
    fixture_summed(&f, 0, true);
    assert_non_null(fixture_find(&f, ROUND_DO_ADVANCE));
    fixture_end(&f);
}

static void test_sums_that_cannot_be_committed(void **state) {
    (void)state;
    struct fixture f = {.config = fixture_config()};
    f.config.cohort = 1;
    fixture_start(&f, 1, 0, 1);
    fixture_open(&f);
    fixture_serve(&f, 0);
    assert_non_null(fixture_find(&f, ROUND_DO_SUM));
    fixture_summed(&f, 0, false);
    assert_non_null(fixture_find(&f, ROUND_DO_FAIL_GROUP));
    fixture_summed(&f, 0, true); /* an old answer must not turn a failure into a success */
    assert_non_null(fixture_find(&f, ROUND_DO_FAIL));
    assert_int_equal(round_state(f.engine), ROUND_WAITING);
    fixture_end(&f);
}

static void test_deadline_and_lease(void **state) {
    (void)state;
    struct fixture f = {.config = fixture_config()};
    f.config.cohort_min = 2;
    f.config.deadline_ms = 60000;
    f.config.lease_ms = 5000;
    fixture_start(&f, 1, 0, 4);
    fixture_open(&f);
    /* Without a plan yet: the lease and one and a half paces. */
    assert_int_equal(round_next_ms(f.engine), f.now_ms + 6500);
    fixture_device(&f, ROUND_EV_CHECK_IN, fixture_member(&f, 0));
    assert_int_equal(round_next_ms(f.engine), f.now_ms + 5000);
    f.now_ms += 4000;
    fixture_device(&f, ROUND_EV_HEARTBEAT, fixture_member(&f, 0));
    for (uint32_t i = 1; i < 4; i++)
        fixture_device(&f, ROUND_EV_CHECK_IN, fixture_member(&f, i));
    f.now_ms += 4999;
    fixture_tick(&f);
    assert_int_equal(f.count, 0);
    fixture_serve(&f, 0);
    f.now_ms += 1;
    fixture_tick(&f);
    assert_int_equal(fixture_count(&f, ROUND_DO_STORE_MEMBER), 3);
    assert_non_null(fixture_find(&f, ROUND_DO_FAIL_GROUP)); /* one checked, two needed, none left */
    fixture_summed(&f, 0, false);
    assert_non_null(fixture_find(&f, ROUND_DO_FAIL));
    /* Backs off, then goes on with the next number. */
    uint64_t again = round_next_ms(f.engine);
    assert_int_equal(again, f.now_ms + 1000);
    fixture_tick(&f);
    assert_int_equal(f.count, 0);
    f.now_ms = again;
    fixture_open(&f);
    assert_int_equal(round_number(f.engine), 2);
    /* The deadline holds for all; what is stored then is still checked and counted. */
    for (uint32_t i = 0; i < 3; i++) {
        fixture_device(&f, ROUND_EV_CHECK_IN, fixture_member(&f, i));
        fixture_device(&f, ROUND_EV_REPORT, fixture_member(&f, i));
    }
    f.config.lease_ms = 0;
    f.now_ms += 60000;
    fixture_tick(&f);
    assert_int_equal(fixture_count(&f, ROUND_DO_STORE_MEMBER), 1);
    assert_null(fixture_find(&f, ROUND_DO_SUM));
    for (uint32_t i = 0; i < 3; i++)
        fixture_checked(&f, fixture_member(&f, i), true);
    assert_non_null(fixture_find(&f, ROUND_DO_SUM));
    fixture_device(&f, ROUND_EV_REPORT, fixture_member(&f, 3));
    assert_non_null(fixture_find(&f, ROUND_DO_RETURN));
    fixture_end(&f);
}

static void test_many_drops_take_several_steps(void **state) {
    (void)state;
    struct fixture f = {.config = fixture_config()};
    f.config.cohort = 500;
    f.config.cohort_min = 1;
    f.config.deadline_ms = 100;
    fixture_start(&f, 1, 0, 500);
    fixture_open(&f);
    f.now_ms += 100;
    size_t drops = 0, steps = 0;
    do {
        fixture_tick(&f);
        drops += fixture_count(&f, ROUND_DO_STORE_MEMBER);
        steps++;
    } while (round_next_ms(f.engine) == 0 && steps < 100);
    assert_int_equal(drops, 500);
    assert_non_null(fixture_find(&f, ROUND_DO_FAIL_GROUP));
    fixture_end(&f);
}

static void test_revoked(void **state) {
    (void)state;
    struct fixture f = {.config = fixture_config()};
    f.config.cohort_min = 3;
    fixture_start(&f, 1, 0, 4);
    fixture_open(&f);
    fixture_serve(&f, 0);
    /* A stored report was acknowledged and counts; an open lease ends. */
    fixture_step(&f, EVENT(.kind = ROUND_EV_DEVICE_REMOVE, .serial = fixture_member(&f, 0)));
    assert_int_equal(f.count, 0);
    fixture_step(&f, EVENT(.kind = ROUND_EV_DEVICE_REMOVE, .serial = fixture_member(&f, 1)));
    assert_int_equal(fixture_find(&f, ROUND_DO_STORE_MEMBER)->member_state, ROUND_DROPPED);
    fixture_device(&f, ROUND_EV_CHECK_IN, fixture_member(&f, 1));
    assert_non_null(fixture_find(&f, ROUND_DO_COME_BACK));
    assert_int_equal(round_device_count(f.engine), 2);
    fixture_serve(&f, 2);
    fixture_serve(&f, 3);
    assert_non_null(fixture_find(&f, ROUND_DO_SUM));
    fixture_summed(&f, 0, true);
    fixture_advanced(&f, true);
    assert_int_equal(round_state(f.engine), ROUND_WAITING); /* too few devices now */
    fixture_end(&f);
}

static void test_pause_resume_stop(void **state) {
    (void)state;
    struct fixture f = {.config = fixture_config()};
    f.config.cohort = 2;
    fixture_start(&f, 1, 0, 2);
    fixture_step(&f, EVENT(.kind = ROUND_EV_PAUSE));
    assert_int_equal(f.count, 0);
    assert_int_equal(round_next_ms(f.engine), UINT64_MAX);
    fixture_device(&f, ROUND_EV_CHECK_IN, 1);
    assert_string_equal(fixture_find(&f, ROUND_DO_COME_BACK)->text, "the task is paused");
    assert_true(fixture_find(&f, ROUND_DO_COME_BACK)->after_ms >= 3000);
    fixture_step(&f, EVENT(.kind = ROUND_EV_RESUME));
    assert_non_null(fixture_find(&f, ROUND_DO_OPEN));
    fixture_step(&f, EVENT(.kind = ROUND_EV_OPENED));
    /* A pause lets the open round end. */
    fixture_step(&f, EVENT(.kind = ROUND_EV_PAUSE));
    fixture_serve(&f, 0);
    fixture_serve(&f, 1);
    fixture_summed(&f, 0, true);
    fixture_advanced(&f, true);
    assert_int_equal(f.count, 0);
    assert_int_equal(round_state(f.engine), ROUND_WAITING);
    fixture_step(&f, EVENT(.kind = ROUND_EV_RESUME));
    fixture_step(&f, EVENT(.kind = ROUND_EV_OPENED));
    fixture_serve(&f, 0);
    fixture_step(&f, EVENT(.kind = ROUND_EV_STOP));
    assert_non_null(fixture_find(&f, ROUND_DO_FAIL_GROUP));
    fixture_summed(&f, 0, false);
    assert_non_null(fixture_find(&f, ROUND_DO_FAIL));
    assert_int_equal(round_state(f.engine), ROUND_STOPPED);
    fixture_device(&f, ROUND_EV_CHECK_IN, 1);
    assert_string_equal(fixture_find(&f, ROUND_DO_COME_BACK)->text, "the task has ended");
    fixture_step(&f, EVENT(.kind = ROUND_EV_RESUME));
    assert_int_equal(round_state(f.engine), ROUND_STOPPED);
    fixture_end(&f);
}

static void test_stop_while_opening(void **state) {
    (void)state;
    struct fixture f = {.config = fixture_config()};
    fixture_start(&f, 1, 0, 4);
    fixture_tick(&f);
    fixture_step(&f, EVENT(.kind = ROUND_EV_STOP));
    assert_int_equal(round_state(f.engine), ROUND_OPENING);
    fixture_step(&f, EVENT(.kind = ROUND_EV_OPENED));
    assert_non_null(fixture_find(&f, ROUND_DO_FAIL_GROUP));
    fixture_summed(&f, 0, false);
    assert_int_equal(round_state(f.engine), ROUND_STOPPED);
    fixture_end(&f);
}

static void test_open_fails(void **state) {
    (void)state;
    struct fixture f = {.config = fixture_config()};
    fixture_start(&f, 1, 0, 4);
    uint64_t waits[4];
    for (int i = 0; i < 4; i++) {
        fixture_tick(&f);
        assert_int_equal(fixture_find(&f, ROUND_DO_OPEN)->round, 1);
        fixture_step(&f, EVENT(.kind = ROUND_EV_FAILED));
        assert_int_equal(round_state(f.engine), ROUND_WAITING);
        assert_null(fixture_find(&f, ROUND_DO_OPEN));
        waits[i] = round_next_ms(f.engine) - f.now_ms;
        f.now_ms = round_next_ms(f.engine);
    }
    assert_int_equal(waits[0], 1000);
    assert_int_equal(waits[3], 8000);
    fixture_open(&f);
    assert_int_equal(round_number(f.engine), 1); /* the number was never used */
    fixture_end(&f);
}

static void run_round(struct fixture *f, bool ok) {
    uint32_t n;
    fixture_step(f, EVENT(.kind = ROUND_EV_OPENED));
    round_members(f->engine, &n);
    for (uint32_t i = 0; i < n; i++)
        fixture_serve(f, i);
    fixture_summed(f, 0, true);
    assert_non_null(fixture_find(f, ROUND_DO_ADVANCE));
    fixture_advanced(f, ok);
}

static void test_evaluation_rounds_and_finish(void **state) {
    (void)state;
    struct fixture f = {.config = fixture_config()};
    f.config.rounds = 4;
    f.config.evaluate_every = 2;
    f.config.evaluate_cohort = 2;
    fixture_start(&f, 1, 0, 4);
    fixture_tick(&f);
    const enum round_kind kinds[] = {ROUND_TRAIN, ROUND_TRAIN, ROUND_EVALUATE,
                                     ROUND_TRAIN, ROUND_TRAIN, ROUND_EVALUATE};
    for (uint32_t i = 0; i < ARRAY_LEN(kinds); i++) {
        assert_int_equal(round_number(f.engine), i + 1);
        assert_int_equal(round_kind(f.engine), kinds[i]);
        uint32_t n;
        round_members(f.engine, &n);
        assert_int_equal(n, kinds[i] == ROUND_TRAIN ? 4 : 2);
        run_round(&f, true);
    }
    assert_non_null(fixture_find(&f, ROUND_DO_FINISHED));
    assert_int_equal(round_state(f.engine), ROUND_STOPPED);
    fixture_end(&f);
    /* An engine made anew between any two rounds goes on with the same kind. */
    uint64_t done = 0;
    for (uint32_t i = 0; i < ARRAY_LEN(kinds); i++) {
        for (uint32_t gap = 0; gap < 2; gap++) {
            fixture_start(&f, i + 1 + gap * (1u << 20), done, 4);
            fixture_tick(&f);
            assert_int_equal(round_kind(f.engine), kinds[i]);
            fixture_end(&f);
        }
        done += kinds[i] == ROUND_TRAIN;
    }
    fixture_start(&f, 7, done, 4);
    fixture_tick(&f);
    assert_non_null(fixture_find(&f, ROUND_DO_FINISHED));
    fixture_end(&f);
}

static void test_refused_version_is_a_round(void **state) {
    (void)state;
    struct fixture f = {.config = fixture_config()};
    f.config.rounds = 2;
    fixture_start(&f, 1, 0, 4);
    fixture_tick(&f);
    run_round(&f, false);
    assert_int_equal(round_state(f.engine), ROUND_WAITING);
    f.now_ms = round_next_ms(f.engine);
    fixture_tick(&f);
    run_round(&f, true);
    assert_non_null(fixture_find(&f, ROUND_DO_FINISHED));
    fixture_end(&f);
}

static void test_availability(void **state) {
    (void)state;
    struct fixture f = {.config = fixture_config()};
    f.config.cohort = 3;
    f.config.cohort_min = 2;
    f.config.devices_min = 2;
    f.config.availability_ms = 10000;
    fixture_start(&f, 1, 0, 5);
    f.now_ms += 20000;
    fixture_tick(&f);
    assert_int_equal(f.count, 0); /* five are enrolled, none was seen lately */
    fixture_device(&f, ROUND_EV_CHECK_IN, 2);
    assert_non_null(fixture_find(&f, ROUND_DO_COME_BACK));
    f.now_ms += 400;
    fixture_device(&f, ROUND_EV_CHECK_IN, 4);
    assert_non_null(fixture_find(&f, ROUND_DO_OPEN));
    uint32_t n;
    const struct round_member *m = round_members(f.engine, &n);
    assert_int_equal(n, 2);
    assert_int_equal(m[0].serial, 2);
    assert_int_equal(m[1].serial, 4);
    assert_int_equal(round_groups(f.engine, &n)[0].goal, 2);
    fixture_end(&f);
}

static void test_pace_is_spread_and_repeatable(void **state) {
    (void)state;
    struct fixture f = {.config = fixture_config()};
    fixture_start(&f, 1, 0, 2);
    uint64_t low = UINT64_MAX, high = 0;
    for (uint64_t i = 0; i < 500; i++) {
        f.now_ms++;
        fixture_device(&f, ROUND_EV_CHECK_IN, 1 + i % 2);
        uint64_t after = fixture_find(&f, ROUND_DO_COME_BACK)->after_ms;
        assert_true(after >= 750 && after < 1250);
        low = num_min_u64(low, after);
        high = num_max_u64(high, after);
        fixture_device(&f, ROUND_EV_CHECK_IN, 1 + i % 2);
        assert_int_equal(fixture_find(&f, ROUND_DO_COME_BACK)->after_ms, after);
    }
    assert_true(low < 800 && high > 1200);
    fixture_end(&f);
}

static void test_pace_of_a_large_fleet(void **state) {
    (void)state;
    struct fixture f = {.config = fixture_config()};
    f.config.checkins_per_s_max = 500;
    f.config.lease_ms = 1000;
    fixture_start(&f, 1, 0, 5000); /* 5000 devices, 500 a second: 10 s instead of 1 s */
    fixture_open(&f);
    assert_int_equal(round_next_ms(f.engine), f.now_ms + 1000 + 15000);
    uint64_t serial = 1;
    while (round_member_find(f.engine, serial))
        serial++;
    fixture_device(&f, ROUND_EV_CHECK_IN, serial);
    uint64_t after = fixture_find(&f, ROUND_DO_COME_BACK)->after_ms;
    assert_true(after >= 7500 && after < 12500);
    fixture_end(&f);
}

static void test_evaluation_needs_half(void **state) {
    (void)state;
    struct fixture f = {.config = fixture_config()};
    f.config.evaluate_every = 1;
    fixture_start(&f, 2, 1, 4);
    fixture_open(&f);
    assert_int_equal(round_kind(f.engine), ROUND_EVALUATE);
    fixture_serve(&f, 0);
    fixture_device(&f, ROUND_EV_DECLINE, fixture_member(&f, 1));
    fixture_device(&f, ROUND_EV_DECLINE, fixture_member(&f, 2));
    fixture_serve(&f, 3);
    assert_non_null(fixture_find(&f, ROUND_DO_SUM));
    fixture_end(&f);
}

static enum sotto_status oom_round(void *ctx, struct sotto_error *err) {
    (void)ctx;
    enum sotto_status status = SOTTO_OK;
    struct task_config config = fixture_config();
    struct round_engine *e = NULL;
    struct round_action actions[ROUND_ACTIONS_MAX];
    size_t count;
    TRY(round_engine_new(&config, 1, 0, &e, err));
    for (uint64_t s = 1; s <= 100; s++)
        TRY(round_step(e, &EVENT(.kind = ROUND_EV_DEVICE_ADD, .serial = s), actions, &count, err));
    TRY(round_step(e, &EVENT(.kind = ROUND_EV_TICK, .now_ms = 1), actions, &count, err));
    /* Without memory for members the round is put off. */
    assert_int_equal(count, 1);
    if (actions[0].kind == ROUND_DO_NOTE)
        assert_true(round_next_ms(e) > 1 && round_next_ms(e) < UINT64_MAX);
    else
        assert_int_equal(actions[0].kind, ROUND_DO_OPEN);
out:
    round_engine_free(e);
    return status;
}

static void test_out_of_memory(void **state) {
    (void)state;
    test_oom_loop(oom_round, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_goes_through),
        cmocka_unit_test(test_answers_to_members),
        cmocka_unit_test(test_strangers_and_other_rounds),
        cmocka_unit_test(test_over_selection),
        cmocka_unit_test(test_groups_and_minimum),
        cmocka_unit_test(test_sums_that_cannot_be_committed),
        cmocka_unit_test(test_deadline_and_lease),
        cmocka_unit_test(test_many_drops_take_several_steps),
        cmocka_unit_test(test_revoked),
        cmocka_unit_test(test_pause_resume_stop),
        cmocka_unit_test(test_stop_while_opening),
        cmocka_unit_test(test_open_fails),
        cmocka_unit_test(test_evaluation_rounds_and_finish),
        cmocka_unit_test(test_refused_version_is_a_round),
        cmocka_unit_test(test_availability),
        cmocka_unit_test(test_pace_is_spread_and_repeatable),
        cmocka_unit_test(test_pace_of_a_large_fleet),
        cmocka_unit_test(test_evaluation_needs_half),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
