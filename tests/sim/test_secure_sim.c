/* Rounds under masks on the virtual clock: with all cryptography and without, the same model, bytes
 * and drop-outs; groups that fail and come again; checkpoints; what is refused. */
#include <math.h>
#include <unistd.h>

#include "secure.h"
#include "sim_fixture.h"

#define SETS_MAX 40

/* Twelve clients in a group, all at one moment. */
static const char *const masked[] = {"privacy.secure_aggregation=required",
                                     "uplink.clip_norm=3",
                                     "uplink.bits=10",
                                     "uplink.keep=0.2",
                                     "uplink.support=round",
                                     "weight_max=20",
                                     "cohort=12",
                                     "rounds=3",
                                     NULL};
/* A slow fleet that loses clients at every exchange. */
static const char *const lossy[] = {"clients=40",
                                    "cohort=24",
                                    "cohort_min=20",
                                    "cohort_over_selection=1.2",
                                    "groups=2",
                                    "lease=1m",
                                    "fleet.leave=0.15",
                                    "fleet.drop=0.05",
                                    "fleet.speed=20",
                                    "fleet.spread=0.5",
                                    "fleet.uplink=20000",
                                    "fleet.downlink=50000",
                                    "fleet.link_spread=0.5",
                                    "rounds=6",
                                    "evaluate.every=3",
                                    NULL};

/* The settings of masked, those of sets and one more each, NULL: none. */
static void join(const char *out[SETS_MAX + 1], const char *const *sets, const char *more) {
    size_t n = 0;
    for (size_t i = 0; masked[i]; i++)
        out[n++] = masked[i];
    for (size_t i = 0; sets && sets[i] && n < SETS_MAX - 1; i++)
        out[n++] = sets[i];
    if (more)
        out[n++] = more;
    out[n] = NULL;
}

static void run(struct fixture *f, unsigned workers, const char *const *sets, const char *more) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    const char *all[SETS_MAX + 1];
    join(all, sets, more);
    ASSERT_OK(fixture_run(f, workers, all, &err));
}

static void assert_same(const struct fixture *a, const struct fixture *b) {
    assert_int_equal(a->count, b->count);
    for (uint32_t i = 0; i < a->count; i++) {
        const struct sim_round_result *x = &a->rounds[i], *y = &b->rounds[i];
        assert_int_equal(x->bytes_up, y->bytes_up);
        assert_int_equal(x->bytes_down, y->bytes_down);
        assert_int_equal(x->counted, y->counted);
        assert_int_equal(x->dropped, y->dropped);
        assert_int_equal(x->returned, y->returned);
        assert_int_equal(x->sessions, y->sessions);
        assert_int_equal(x->train_samples, y->train_samples);
        assert_true(x->failed == y->failed && x->virtual_seconds == y->virtual_seconds);
    }
    assert_memory_equal(a->totals.digest.b, b->totals.digest.b, WIRE_HASH);
}

static void test_real_and_exact(void **state) {
    (void)state;
    struct fixture exact, other;
    run(&exact, 1, NULL, NULL);
    for (uint32_t i = 0; i < exact.count; i++) {
        assert_true(exact.rounds[i].published && exact.rounds[i].counted == 12);
        assert_int_equal(exact.rounds[i].train_samples, 240);
        assert_int_equal(exact.rounds[i].dropped + exact.rounds[i].returned, 0);
        /* more than the codes, and no more than twice that: records, shares, signatures */
        assert_in_range(exact.rounds[i].bytes_up, 12 * 2 * 1560, 12 * 4 * 1560);
    }
    run(&other, 2, NULL, NULL);
    assert_same(&exact, &other);
    run(&other, 1, NULL, "secure.crypto=real");
    assert_same(&exact, &other);
    run(&other, 2, NULL, "secure.crypto=real");
    assert_same(&exact, &other);
    run(&other, 2, NULL, "task.seed=6");
    assert_memory_not_equal(exact.totals.digest.b, other.totals.digest.b, WIRE_HASH);
}

/* Every ring, rotation, a published support, evaluations on the devices, groups as teachers. */
static void test_pipelines(void **state) {
    (void)state;
    const char *const published[] = {"uplink.support=published",
                                     "uplink.rotate=true",
                                     "rounds=4",
                                     "clients=14",
                                     "cohort_over_selection=1.1",
                                     NULL};
    const char *const dense[] = {"uplink.keep=1",      "uplink.error_feedback=false",
                                 "uplink.bits=16",     "privacy.ring_bits=24",
                                 "uplink.support=own", "evaluate.every=1",
                                 "rounds=2",           NULL};
    const char *const teachers[] = {"clients=20",
                                    "cohort=20",
                                    "groups=2",
                                    "distill.enabled=true",
                                    "distill.pool=100",
                                    "distill.steps=5",
                                    "evaluation.validation=100",
                                    "rounds=2",
                                    NULL};
    const char *const *const all[] = {published, dense, teachers};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        struct fixture exact, real;
        run(&exact, 2, all[i], NULL);
        run(&real, 2, all[i], "secure.crypto=real");
        assert_same(&exact, &real);
        for (uint32_t k = 0; k < exact.count; k++)
            assert_true(!exact.rounds[k].failed);
        if (all[i] == dense) {
            assert_int_equal(exact.count, 4);
            assert_true(exact.rounds[1].evaluation && exact.rounds[1].test_accuracy >= 0);
        }
        if (all[i] == teachers)
            assert_true(!isnan(exact.rounds[0].distill_gain));
    }
}

/* Clients that go at each exchange, on links that take time: others' sums stand, some groups fail,
 * and the two ways of making them do not differ. */
static void test_losses(void **state) {
    (void)state;
    struct fixture exact, real, one;
    uint32_t dropped = 0, counted = 0, returned = 0;
    run(&exact, 2, lossy, NULL);
    run(&real, 2, lossy, "secure.crypto=real");
    assert_same(&exact, &real);
    run(&one, 1, lossy, NULL);
    assert_same(&exact, &one);
    for (uint32_t i = 0; i < exact.count; i++) {
        dropped += exact.rounds[i].dropped;
        counted += exact.rounds[i].counted;
        returned += exact.rounds[i].returned;
        assert_true(exact.rounds[i].counted + exact.rounds[i].returned <= exact.rounds[i].members);
    }
    assert_true(dropped > 0 && returned > 0 && counted > dropped);
}

/* Half go early: no group comes through four sessions, and the rounds fail with the reason. */
static void test_groups_fail(void **state) {
    (void)state;
    struct fixture exact, real;
    const char *const sets[] = {"clients=24", "cohort=14",     "fleet.leave=0.9",
                                "lease=1m",   "cohort_min=12", "rounds=3",
                                NULL};
    run(&exact, 2, sets, NULL);
    run(&real, 2, sets, "secure.crypto=real");
    assert_same(&exact, &real);
    uint32_t failed = 0;
    for (uint32_t i = 0; i < exact.count; i++) {
        failed += exact.rounds[i].failed;
        if (exact.rounds[i].failed)
            assert_true(exact.rounds[i].reason[0] != '\0' && exact.rounds[i].counted == 0);
    }
    assert_true(failed > 0);
}

/* Links on which a third of the clients are too slow for the shares of twenty: another session, of
 * those who were in time, for whom the shares are fewer. */
static void test_regrouping(void **state) {
    (void)state;
    struct fixture exact, real;
    const char *const sets[] = {"clients=20",
                                "cohort=20",
                                "cohort_min=10",
                                "lease=1m",
                                "uplink.keep=0.05",
                                "fleet.uplink=1000",
                                "fleet.link_spread=0.8",
                                "privacy.exchange_timeout=3s",
                                NULL};
    run(&exact, 2, sets, NULL);
    run(&real, 2, sets, "secure.crypto=real");
    assert_same(&exact, &real);
    uint32_t again = 0; /* rounds that came through although a session of theirs had failed */
    for (uint32_t i = 0; i < exact.count; i++)
        again += exact.rounds[i].sessions > 1 && !exact.rounds[i].failed;
    assert_true(again > 0);
}

/* ---- Checkpoints */

static void test_checkpoints(void **state) {
    (void)state;
    static const char *const more[] = {"secure.crypto=exact", "secure.crypto=real",
                                       "uplink.support=published"};
    for (size_t i = 0; i < ARRAY_LEN(more); i++) {
        struct sotto_error err = SOTTO_ERROR_INIT;
        struct fixture whole;
        struct part p = {.stop_after = 3};
        char dir[IO_PATH_MAX];
        const char *all[SETS_MAX + 1];
        join(all, lossy, more[i]);
        ASSERT_OK(fixture_run(&whole, 2, all, &err));
        snprintf(dir, sizeof dir, "%s/masked-%zu", test_tmpdir(), i);
        ASSERT_OK(io_mkdir_p(dir, 0755, &err));
        assert_int_equal(part_run(&p, dir, 2, 1, all, &err), SOTTO_CANCELLED);
        p.stop_after = 0;
        ASSERT_OK(part_run(&p, dir, 2, 1, all, &err));
        assert_true(p.again > 0);
        assert_same(&whole, &p.f);
    }
}

/* ---- Refusals: a task's, when the experiment is read */

static void test_refusals(void **state) {
    (void)state;
    static const struct {
        const char *set, *text;
    } cases[] = {
        {"server.strategy=scaffold", "control variates are not summed under masks"},
        {"uplink.bits=16", "uplink.bits"},
        {"uplink.support=own", "support"},
        {"cohort=9", "devices"},
        {"secure.crypto=none", "secure.crypto"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct sotto_error err = SOTTO_ERROR_INIT;
        struct fixture f;
        const char *all[SETS_MAX + 1];
        join(all, NULL, cases[i].set);
        assert_int_not_equal(fixture_run(&f, 1, all, &err), SOTTO_OK);
        if (!strstr(err.message, cases[i].text))
            fail_msg("%s: %s", cases[i].set, err.message);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_real_and_exact), cmocka_unit_test(test_pipelines),
        cmocka_unit_test(test_losses),         cmocka_unit_test(test_groups_fail),
        cmocka_unit_test(test_regrouping),     cmocka_unit_test(test_checkpoints),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
