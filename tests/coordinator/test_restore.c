/* Restoring an engine: from every state of a round it goes on to the same end, and broken saves are
 * refused. */
#include "engine_fixture.h"

#define MEMBERS 4u

/* What a host would have stored by now: checked is in memory only, unless the group is committed.
 */
struct saved {
    struct round_saved s;
    struct round_member members[MEMBERS];
    struct round_group groups[2];
};

static struct saved save(const struct fixture *f) {
    struct saved v = {.s = {.round = round_number(f->engine),
                            .kind = round_kind(f->engine),
                            .state = round_state(f->engine)}};
    const struct round_member *m = round_members(f->engine, &v.s.member_count);
    const struct round_group *g = round_groups(f->engine, &v.s.group_count);
    assert_int_equal(v.s.member_count, MEMBERS);
    memcpy(v.members, m, sizeof v.members);
    memcpy(v.groups, g, v.s.group_count * sizeof *g);
    for (uint32_t i = 0; i < MEMBERS; i++) {
        v.members[i].seen_ms = 0;
        if (v.members[i].state == ROUND_CHECKED)
            v.members[i].state = ROUND_STORED;
    }
    return v;
}

/* A new engine in place of the old one, as after a crash; stored reports are checked again. */
static void restart(struct fixture *f) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct saved v = save(f);
    v.s.members = v.members;
    v.s.groups = v.groups;
    fixture_end(f);
    f->now_ms += 100000; /* another boot's clock: nobody may expire by that */
    ASSERT_OK(round_engine_new(&f->config, v.s.round + 1, 0, &f->engine, &err));
    fixture_add(f, 1, MEMBERS);
    ASSERT_OK(round_restore(f->engine, &v.s, &err));
    assert_int_equal(round_next_ms(f->engine), 0);
    for (uint32_t i = 0; i < MEMBERS; i++)
        if (v.members[i].state == ROUND_STORED &&
            v.groups[v.members[i].group].state != ROUND_GROUP_SUMMED)
            fixture_checked(f, v.members[i].serial, true);
    if (fixture_count(f, ROUND_DO_SUM) == 0 && fixture_count(f, ROUND_DO_ADVANCE) == 0)
        fixture_tick(f);
}

/* The script of a round of two groups; steps below `stop` are done, then the engine is restarted.
 */
static void script(struct fixture *f, int stop) {
    int n = 0;
    for (uint32_t i = 0; i < MEMBERS; i++) {
        uint64_t serial = fixture_member(f, i);
        if (n++ >= stop)
            return;
        fixture_device(f, ROUND_EV_CHECK_IN, serial);
        if (n++ >= stop)
            return;
        fixture_device(f, ROUND_EV_REPORT, serial);
        if (n++ >= stop)
            return;
        fixture_checked(f, serial, true);
        if (i == 1) {
            if (n++ >= stop)
                return;
            fixture_summed(f, 0, true);
        }
    }
    if (n++ >= stop)
        return;
    fixture_summed(f, 1, true);
}

/* Finishes the round from wherever it is; what was asked for is asked again. */
static void finish(struct fixture *f) {
    uint32_t n;
    for (uint32_t i = 0; i < MEMBERS; i++) {
        const struct round_member *m = round_member_find(f->engine, fixture_member(f, i));
        if (m->state == ROUND_INVITED || m->state == ROUND_PLANNED) {
            fixture_device(f, ROUND_EV_CHECK_IN, m->serial);
            assert_non_null(fixture_find(f, ROUND_DO_PLAN));
            fixture_device(f, ROUND_EV_REPORT, m->serial);
            assert_non_null(fixture_find(f, ROUND_DO_ACCEPT));
        } else {
            fixture_device(f, ROUND_EV_REPORT, m->serial);
            assert_non_null(fixture_find(f, ROUND_DO_REPEAT));
        }
        fixture_checked(f, m->serial, true);
    }
    for (uint32_t g = 0; g < 2; g++) {
        assert_int_equal(round_groups(f->engine, &n)[g].checked, 2);
        fixture_summed(f, g, true);
    }
    assert_int_equal(round_state(f->engine), ROUND_ADVANCING);
    fixture_advanced(f, true);
    assert_int_equal(round_number(f->engine), 2);
}

static void test_every_state(void **state) {
    (void)state;
    for (int stop = 0; stop <= 15; stop++) {
        struct fixture f = {.config = fixture_config()};
        f.config.groups = 2;
        f.config.lease_ms = 50000;
        f.config.deadline_ms = 90000;
        fixture_start(&f, 1, 0, MEMBERS);
        fixture_open(&f);
        script(&f, stop);
        restart(&f);
        if (stop >= 14)
            assert_true(round_state(f.engine) == ROUND_ADVANCING || stop == 14);
        finish(&f);
        fixture_end(&f);
    }
}

static void test_advance_is_asked_again(void **state) {
    (void)state;
    struct fixture f = {.config = fixture_config()};
    f.config.groups = 2;
    fixture_start(&f, 1, 0, MEMBERS);
    fixture_open(&f);
    script(&f, 100);
    assert_int_equal(round_state(f.engine), ROUND_ADVANCING);
    restart(&f);
    assert_int_equal(round_state(f.engine), ROUND_ADVANCING);
    assert_non_null(fixture_find(&f, ROUND_DO_ADVANCE));
    fixture_tick(&f);
    assert_int_equal(f.count, 0);
    fixture_end(&f);
}

static void test_failure_is_told_again(void **state) {
    (void)state;
    struct fixture f = {.config = fixture_config()};
    fixture_start(&f, 1, 0, MEMBERS);
    fixture_open(&f);
    struct saved v = save(&f);
    v.s.members = v.members;
    v.s.groups = v.groups;
    v.groups[0].state = ROUND_GROUP_FAILED;
    fixture_end(&f);
    struct sotto_error err = SOTTO_ERROR_INIT;
    ASSERT_OK(round_engine_new(&f.config, 2, 0, &f.engine, &err));
    ASSERT_OK(round_restore(f.engine, &v.s, &err));
    fixture_tick(&f);
    assert_non_null(fixture_find(&f, ROUND_DO_FAIL));
    assert_int_equal(round_state(f.engine), ROUND_WAITING);
    fixture_end(&f);
}

static void test_times_that_are_known(void **state) {
    (void)state;
    struct fixture f = {.config = fixture_config()};
    f.config.deadline_ms = 5000;
    fixture_start(&f, 1, 0, MEMBERS);
    fixture_open(&f);
    struct saved v = save(&f);
    v.s.members = v.members;
    v.s.groups = v.groups;
    f.now_ms = 10000;
    v.s.opened_ms = f.now_ms - 4000;
    fixture_end(&f);
    struct sotto_error err = SOTTO_ERROR_INIT;
    ASSERT_OK(round_engine_new(&f.config, 2, 0, &f.engine, &err));
    ASSERT_OK(round_restore(f.engine, &v.s, &err));
    fixture_tick(&f);
    assert_int_equal(round_next_ms(f.engine), v.s.opened_ms + 5000);
    fixture_end(&f);
}

static void test_broken_saves_are_refused(void **state) {
    (void)state;
    struct fixture f = {.config = fixture_config()};
    struct sotto_error err = SOTTO_ERROR_INIT;
    fixture_start(&f, 1, 0, MEMBERS);
    fixture_open(&f);
    struct saved good = save(&f);
    fixture_end(&f);
    for (int kind = 0; kind < 9; kind++) {
        struct saved v = good;
        v.s.members = v.members;
        v.s.groups = v.groups;
        switch (kind) {
        case 0:
            v.s.state = ROUND_WAITING;
            break;
        case 1:
            v.s.kind = (enum round_kind)7;
            break;
        case 2:
            v.s.group_count = 0;
            break;
        case 3:
            v.s.group_count = ROUND_GROUPS_MAX + 1;
            break;
        case 4:
            v.s.member_count = 0;
            break;
        case 5:
            v.members[2].group = 1;
            break;
        case 6:
            v.members[2].serial = v.members[1].serial;
            break;
        case 7:
            v.groups[0].minimum = 0;
            break;
        default:
            v.members[0].state = (enum round_member_state)99;
            break;
        }
        ASSERT_OK(round_engine_new(&f.config, 2, 0, &f.engine, &err));
        ASSERT_STATUS(round_restore(f.engine, &v.s, &err), SOTTO_INVALID);
        fixture_end(&f);
    }
    /* And not over a round that is open. */
    fixture_start(&f, 1, 0, MEMBERS);
    fixture_open(&f);
    good.s.members = good.members;
    good.s.groups = good.groups;
    ASSERT_STATUS(round_restore(f.engine, &good.s, &err), SOTTO_STATE);
    fixture_end(&f);
    ASSERT_STATUS(round_engine_new(&f.config, 0, 0, &f.engine, &err), SOTTO_INVALID);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_state),
        cmocka_unit_test(test_advance_is_asked_again),
        cmocka_unit_test(test_failure_is_told_again),
        cmocka_unit_test(test_times_that_are_known),
        cmocka_unit_test(test_broken_saves_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
