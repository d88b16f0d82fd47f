/* Runs on the virtual clock: sameness, what rounds say, stop rules, slow and vanishing clients. */
#include <math.h>

#include "sim_fixture.h"

static void assert_same(const struct fixture *a, const struct fixture *b) {
    assert_memory_equal(a->totals.digest.b, b->totals.digest.b, WIRE_HASH);
    assert_int_equal(a->totals.bytes_up, b->totals.bytes_up);
    assert_int_equal(a->totals.bytes_down, b->totals.bytes_down);
    assert_true(a->totals.accuracy == b->totals.accuracy);
    assert_true(a->totals.loss == b->totals.loss);
}

/* The digest depends on neither workers nor sealing, and neither do the bytes counted. */
static void test_sameness(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct fixture one, other;
    ASSERT_OK(fixture_run(&one, 1, NULL, &err));
    ASSERT_OK(fixture_run(&other, 2, NULL, &err));
    assert_same(&one, &other);
    ASSERT_OK(fixture_run(&other, 4, SETS("seal=true"), &err));
    assert_same(&one, &other);
    ASSERT_OK(fixture_run(&other, 2, SETS("task.seed=6"), &err));
    assert_memory_not_equal(one.totals.digest.b, other.totals.digest.b, WIRE_HASH);
}

/* fp32 both ways, groups with distillation, momentum, several epochs: the same again. */
static void test_sameness_of_pipelines(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct fixture a, b;
    const char *const plain[] = {
        "uplink.bits=32", "uplink.keep=1", "uplink.stochastic=false", "uplink.error_feedback=false",
        "downlink=f32",   "local.batch=0", "server.momentum=0.5",     NULL};
    const char *const groups[] = {"groups=2",
                                  "distill.enabled=true",
                                  "distill.pool=100",
                                  "distill.steps=5",
                                  "evaluation.validation=100",
                                  "evaluate.every=2",
                                  "local.momentum=0.5",
                                  NULL};
    ASSERT_OK(fixture_run(&a, 1, plain, &err));
    ASSERT_OK(fixture_run(&b, 3, plain, &err));
    assert_same(&a, &b);
    ASSERT_OK(fixture_run(&a, 1, groups, &err));
    ASSERT_OK(fixture_run(&b, 2, groups, &err));
    assert_same(&a, &b);
    assert_int_equal(a.count, 6); /* four training rounds, two evaluations on devices */
    assert_true(a.rounds[2].evaluation && a.rounds[5].evaluation);
    assert_true(a.rounds[2].test_accuracy >= 0);
    assert_true(a.rounds[2].train_samples > 0);
    const bool gained = !isnan(a.rounds[0].distill_gain);
    assert_true(gained);
}

static void test_rounds(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct fixture f;
    uint64_t up = 0, down = 0;
    ASSERT_OK(fixture_run(&f, 2, SETS("evaluation.every=3", "rounds=7"), &err));
    assert_int_equal(f.count, 7);
    assert_int_equal(f.totals.rounds, 7);
    for (uint32_t i = 0; i < f.count; i++) {
        const struct sim_round_result *r = &f.rounds[i];
        assert_int_equal(r->round, i + 1);
        assert_true(r->published && !r->failed && !r->evaluation);
        assert_int_equal(r->members, 4);
        assert_int_equal(r->counted, 4);
        assert_int_equal(r->train_samples, 4 * 20);
        assert_true(r->bytes_up > 0 && r->train_seconds > 0 && r->wall_seconds >= r->train_seconds);
        const bool tested = (i + 1) % 3 == 0 || i == 6;
        const bool has_test = !isnan(r->test_accuracy), has_time = r->eval_seconds > 0;
        assert_true(has_test == tested);
        assert_true(has_time == tested);
        up += r->bytes_up;
        down += r->bytes_down;
    }
    assert_int_equal(up, f.totals.bytes_up);
    assert_int_equal(down, f.totals.bytes_down);
    assert_true(f.totals.accuracy > 0.2); /* it learns */
}

/* Nothing is sent twice: plain fp32 costs the package down and a little more than the weights up.
 */
static void test_bytes(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct fixture f, g;
    const uint64_t fp32 = 7850 * 4 * 4; /* four clients */
    ASSERT_OK(fixture_run(&f, 1,
                          SETS("rounds=1", "downlink=f32", "uplink.bits=32", "uplink.keep=1",
                               "uplink.stochastic=false", "uplink.error_feedback=false"),
                          &err));
    assert_in_range(f.totals.bytes_up, fp32, fp32 + fp32 / 50);
    assert_in_range(f.totals.bytes_down, fp32, fp32 + fp32 / 50);
    ASSERT_OK(fixture_run(&g, 1, SETS("rounds=8", "deltas=off"), &err));
    ASSERT_OK(fixture_run(&f, 1, SETS("rounds=8"), &err));
    assert_memory_equal(f.totals.digest.b, g.totals.digest.b, WIRE_HASH);
    assert_true(f.totals.bytes_down < g.totals.bytes_down);
}

static void test_stop(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct fixture f, all;
    ASSERT_OK(fixture_run(&all, 2, SETS("rounds=30"), &err));
    char target[40];
    snprintf(target, sizeof target, "stop.accuracy=%.4f", all.totals.best_accuracy - 1e-6);
    ASSERT_OK(fixture_run(&f, 2, SETS("rounds=30", target), &err));
    assert_true(f.totals.target_reached);
    assert_true(f.count <= 30 &&
                f.rounds[f.count - 1].test_accuracy >= all.totals.best_accuracy - 1e-4);
    for (uint32_t i = 0; i + 1 < f.count; i++)
        assert_true(f.rounds[i].test_accuracy < all.totals.best_accuracy);
    ASSERT_OK(fixture_run(&f, 2, SETS("rounds=0", "stop.bytes_up=20000"), &err));
    assert_true(f.totals.bytes_up >= 20000);
    assert_true(f.totals.bytes_up - f.rounds[f.count - 1].bytes_up < 20000);
}

/* Virtual time follows from speeds; over-selected clients are returned, and their mass with them.
 */
static void test_slow_fleet(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct fixture f, g;
    const char *const slow[] = {"fleet.speed=10", "fleet.spread=0.5", "cohort_over_selection=1.5",
                                "cohort_min=2",   "rounds=6",         NULL};
    ASSERT_OK(fixture_run(&f, 1, slow, &err));
    ASSERT_OK(fixture_run(&g, 3, slow, &err));
    assert_same(&f, &g);
    double seconds = 0;
    for (uint32_t i = 0; i < f.count; i++) {
        assert_int_equal(f.rounds[i].members, 6);
        assert_int_equal(f.rounds[i].counted, 4);
        assert_true(f.rounds[i].virtual_seconds > 0.3 && f.rounds[i].virtual_seconds < 30);
        seconds += f.rounds[i].virtual_seconds;
    }
    assert_true(f.totals.virtual_seconds >= seconds);
    ASSERT_OK(fixture_run(&g, 2, SETS("rounds=6", "fleet.speed=10", "fleet.uplink=1000"), &err));
    assert_true(g.rounds[0].virtual_seconds >
                1.0); /* some 1.4 kB at 1 kB/s, after 2 s of training */
}

static void test_deadline(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct fixture f;
    uint32_t dropped = 0, counted = 0;
    ASSERT_OK(fixture_run(&f, 2,
                          SETS("fleet.speed=10", "fleet.spread=1", "deadline=2s", "cohort_min=1",
                               "rounds=12", "evaluation.every=0"),
                          &err));
    assert_int_equal(f.count, 12);
    for (uint32_t i = 0; i < f.count; i++) {
        assert_true(f.rounds[i].virtual_seconds <= 2.001);
        dropped += f.rounds[i].dropped;
        counted += f.rounds[i].counted;
    }
    assert_true(dropped > 0 && counted > 0);
}

static void test_vanishing_clients(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct fixture f;
    uint32_t counted = 0, failed = 0;
    ASSERT_OK(fixture_run(
        &f, 2,
        SETS("fleet.drop=0.5", "lease=2m", "cohort_min=2", "rounds=16", "evaluation.every=0"),
        &err));
    for (uint32_t i = 0; i < f.count; i++) {
        counted += f.rounds[i].counted;
        failed += f.rounds[i].failed;
        assert_true(f.rounds[i].failed || f.rounds[i].counted >= 2);
    }
    assert_int_equal(f.totals.rounds, 16);
    assert_true(counted > 0 && counted < 64 && failed > 0);
    /* Without anything that ends a round, a vanished client would hold it for ever. */
    ASSERT_FAILS(fixture_run(&f, 2, SETS("fleet.drop=1", "lease=0s"), &err), SOTTO_STATE,
                 "can never end");
}

static bool stop_at_once(void *ctx, const struct sim_round_result *r, const struct sim_totals *t) {
    (void)ctx;
    (void)r;
    (void)t;
    return false;
}

/* A run that is given up in the middle leaves nothing behind. */
static void test_cancel(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct experiment x;
    struct sim *s = NULL;
    const struct sim_config config = {
        .workers = 2, .temp_dir = test_tmpdir(), .on_round = stop_at_once};
    const uint64_t live = mem_live_count();
    ASSERT_OK(experiment_open(
        &x, NULL, view_of(FIXTURE_YAML, sizeof FIXTURE_YAML - 1), NULL,
        SETS("fleet.speed=10", "fleet.spread=1", "cohort_over_selection=2", "cohort_min=1"), 4,
        &err));
    ASSERT_OK(sim_open(&x, &config, &s, &err));
    ASSERT_STATUS(sim_run(s, &err), SOTTO_CANCELLED);
    sim_close(s);
    experiment_deinit(&x);
    assert_int_equal(mem_live_count(), live);
}

static enum sotto_status open_and_close(void *ctx, struct sotto_error *err) {
    const struct experiment *x = ctx;
    struct sim *s = NULL;
    const struct sim_config config = {.workers = 2, .temp_dir = test_tmpdir()};
    const enum sotto_status status = sim_open(x, &config, &s, err);
    sim_close(s);
    return status;
}

/* Drawn examples take the model's shape, and can be learned; the test ones are others. */
static void test_drawn(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct fixture f;
    const char *const sets[] = {"data.name=drawn",     "partition.scheme=iid", "rounds=12",
                                "evaluation.count=50", "local.lr=0.05",        NULL};
    ASSERT_OK(fixture_run(&f, 2, sets, &err));
    assert_true(f.totals.accuracy > 0.8);
    ASSERT_FAILS(fixture_run(&f, 1, SETS("data.name=drawn", "partition.scheme=natural"), &err),
                 SOTTO_INVALID, "no natural keys");
    ASSERT_FAILS(fixture_run(&f, 1,
                             SETS("data.name=drawn", "partition.scheme=iid", "gate.loss_factor=2",
                                  "evaluation.validation=10"),
                             &err),
                 SOTTO_CONFIG, "gate");
}

static void test_no_memory(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct experiment x;
    ASSERT_OK(experiment_open(&x, NULL, view_of(FIXTURE_YAML, sizeof FIXTURE_YAML - 1), NULL, NULL,
                              0, &err));
    test_oom_loop(open_and_close, &x);
    experiment_deinit(&x);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sameness), cmocka_unit_test(test_sameness_of_pipelines),
        cmocka_unit_test(test_rounds),   cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_stop),     cmocka_unit_test(test_slow_fleet),
        cmocka_unit_test(test_deadline), cmocka_unit_test(test_vanishing_clients),
        cmocka_unit_test(test_cancel),   cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_drawn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
