/* Which plans under masks a device takes, and how often it takes part. */
#include "session_world.h"

#include <string.h>

/* Opens round 1 under masks and lets the device answer: the rule that it declines by, or "". */
static const char *answer(void (*change)(struct world *w)) {
    static char rule[48];
    struct world *w = world_new(1);
    world_masks(w);
    w->template.heartbeat_ms = 0;
    if (change != NULL)
        change(w);
    world_restart(w);
    world_open_round(w, 1);
    world_run(w, 3000);
    rule[0] = '\0';
    if (w->sends[sotto_Envelope_decline_tag] > 0)
        memcpy(rule, w->last_decline.rule, sizeof rule);
    else
        assert_true(w->training);
    world_free(w);
    return rule;
}

static void no_certificate(struct world *w) {
    w->config.certified = false;
}
static void no_masks(struct world *w) {
    w->config.policy.secure_aggregation = SESSION_SECAGG_OFF;
}
static void only_masks(struct world *w) {
    w->config.policy.secure_aggregation = SESSION_SECAGG_REQUIRED;
}
static void only_masks_but_plain(struct world *w) {
    only_masks(w);
    w->template.has_privacy = false;
    w->template.round_key.size = 32;
}
static void small_ring(struct world *w) { /* 300 codes of 8 bits do not fit 16 */
    w->template.n_max = 300;
}
static void just_fits(struct world *w) {
    w->template.n_max = 257;
    w->config.policy.large_groups = true;
}
static void large_groups(struct world *w) { /* hold against a curious coordinator only */
    w->template.n_max = 201;
}
static void largest_complete(struct world *w) {
    w->template.n_max = 200;
}
static void own_minimum(struct world *w) { /* the device sees to it itself */
    w->config.policy.minimum_group = 50;
}
static void own_minimum_too_large(struct world *w) {
    w->config.policy.minimum_group = 101;
}
static void noise(struct world *w) {
    w->config.policy.minimum_noise = 1;
}
static void few_bytes(struct world *w) { /* enough for the report, not for the exchanges */
    w->template.report_bytes_max = 100;
    w->config.policy.bytes_per_day_max = w->package_bytes + 20000;
}

static void test_plans(void **state) {
    (void)state;
    assert_string_equal(answer(NULL), "");
    assert_string_equal(answer(only_masks), "");
    assert_string_equal(answer(no_masks), "policy.secure_aggregation");
    assert_string_equal(answer(only_masks_but_plain), "policy.secure_aggregation");
    assert_string_equal(answer(no_certificate), "secure_aggregation");
    assert_string_equal(answer(small_ring), "secure_aggregation");
    assert_string_equal(answer(just_fits), "");
    assert_string_equal(answer(large_groups), "policy.large_groups");
    assert_string_equal(answer(largest_complete), "");
    assert_string_equal(answer(own_minimum), "");
    assert_string_equal(answer(own_minimum_too_large), "policy.minimum_group");
    assert_string_equal(answer(noise), "policy.minimum_noise");
    assert_string_equal(answer(few_bytes), "policy.bytes_per_day");
}

/* What depends on the examples is nobody's business. */
static void test_says_only_declined(void **state) {
    (void)state;
    struct world *w = world_new(2);
    world_masks(w);
    world_restart(w);
    world_open_round(w, 1);
    for (int i = 0; i < 3000 && !w->preparing; i++)
        world_run(w, 1);
    assert_true(w->preparing);
    w->preparing = false;
    struct session_event e = {.kind = SESSION_PREPARED, .now_ms = w->now_ms};
    e.prepared.schema_ok = true;
    e.prepared.examples = 0;
    world_step(w, &e);
    assert_string_equal(w->last_decline.rule, "declined");
    assert_string_equal(w->last_decline.detail, "");
    world_free(w);
}

static bool tells_progress(bool masks) {
    struct world *w = world_new(4);
    if (masks)
        world_masks(w);
    world_restart(w);
    world_open_round(w, 1);
    for (int i = 0; i < 5000 && !w->training; i++)
        world_run(w, 1);
    assert_true(w->training);
    const uint32_t before = w->sends[sotto_Envelope_heartbeat_tag];
    struct session_event e = {.kind = SESSION_TICK,
                              .now_ms = w->now_ms + w->template.heartbeat_ms,
                              .conditions = {.online = true, .battery_percent = -1},
                              .train_permille = 310};
    world_step(w, &e);
    assert_int_equal(w->sends[sotto_Envelope_heartbeat_tag], before + 1);
    const uint32_t told = w->last_sent.body.heartbeat.permille;
    world_free(w);
    assert_true(told == 0 || told == 310);
    return told != 0;
}

/* Progress tells the number of steps, and so does a training that is too long. */
static void test_hides_steps(void **state) {
    (void)state;
    assert_true(tells_progress(false));
    assert_false(tells_progress(true));
    struct world *w = world_new(5);
    world_masks(w);
    w->config.policy.train_ms_max = 500;
    world_restart(w);
    world_open_round(w, 1);
    for (int i = 0; i < 5000 && !w->training; i++)
        world_run(w, 1);
    assert_true(w->training);
    struct session_event e = {.kind = SESSION_TICK,
                              .now_ms = w->now_ms + 1000,
                              .conditions = {.online = true, .battery_percent = -1}};
    world_step(w, &e);
    assert_string_equal(w->last_decline.rule, "declined");
    assert_string_equal(w->last_decline.detail, "");
    world_free(w);
}

/* At most one of three rounds of a task, whatever happened in between. */
static void test_rounds_between(void **state) {
    (void)state;
    struct world *w = world_new(3);
    w->config.policy.rounds_between_min = 3;
    world_restart(w);
    for (uint32_t round = 1; round <= 9; round++) {
        w->sends[sotto_Envelope_decline_tag] = 0;
        world_open_round(w, round);
        world_run(w, 60000);
        const bool took_part = w->rounds[round].state == REPORT_OPEN;
        assert_int_equal(took_part, round % 3 == 1);
        if (!took_part)
            assert_string_equal(w->last_decline.rule, "policy.rounds_between_min");
        world_close_round(w, true);
        world_run(w, 2000);
        world_restart(w);
    }
    world_free(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plans),
        cmocka_unit_test(test_says_only_declined),
        cmocka_unit_test(test_hides_steps),
        cmocka_unit_test(test_rounds_between),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
