/* Runs that end in the middle, by request or by a kill, and go on: the same digest, whatever was
 * under way. Files that are not this run's are refused. */
#include <math.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crc32c.h"
#include "sim_fixture.h"

#define SETS_CAP 24

/* Slow devices under over-selection: at the end of a round others are in the middle of their work.
 */
static const char *const busy[] = {"fleet.speed=10",
                                   "fleet.spread=1",
                                   "fleet.uplink=500",
                                   "fleet.drop=0.1",
                                   "rounds=12",
                                   "cohort_min=1",
                                   "cohort_over_selection=2",
                                   "deadline=20s",
                                   "evaluate.every=3",
                                   "server.momentum=0.5",
                                   NULL};
static const char *const plain[] = {"rounds=12",
                                    "downlink=f32",
                                    "uplink.bits=32",
                                    "uplink.keep=1",
                                    "uplink.stochastic=false",
                                    "uplink.error_feedback=false",
                                    NULL};
static const char *const sealed[] = {"rounds=8", "seal=true", "groups=2", "deltas=on", NULL};
/* Control variates beside residuals, and trainings under older versions of both. */
static const char *const control[] = {"server.strategy=scaffold",
                                      "fleet.speed=10",
                                      "fleet.spread=1",
                                      "rounds=10",
                                      "cohort_min=1",
                                      "cohort_over_selection=2",
                                      "deadline=20s",
                                      NULL};
static const char *const *const kinds[] = {busy, plain, sealed, control};

static bool same_number(double a, double b) {
    return a == b || (isnan(a) && isnan(b));
}

static void assert_same(const struct fixture *a, const struct fixture *b) {
    assert_memory_equal(a->totals.digest.b, b->totals.digest.b, WIRE_HASH);
    assert_memory_equal(a->totals.package_hash.b, b->totals.package_hash.b, WIRE_HASH);
    assert_int_equal(a->totals.bytes_up, b->totals.bytes_up);
    assert_int_equal(a->totals.bytes_down, b->totals.bytes_down);
    assert_int_equal(a->totals.train_samples, b->totals.train_samples);
    assert_int_equal(a->count, b->count);
    for (uint32_t i = 0; i < a->count; i++) {
        const struct sim_round_result *r = &a->rounds[i], *q = &b->rounds[i];
        assert_int_equal(r->round, q->round);
        assert_true(same_number(r->test_accuracy, q->test_accuracy));
        assert_true(same_number(r->train_loss, q->train_loss));
        assert_true(same_number(r->virtual_seconds, q->virtual_seconds));
        assert_true(r->failed == q->failed && r->published == q->published);
        assert_int_equal(r->counted, q->counted);
        assert_int_equal(r->dropped, q->dropped);
    }
}

static void fresh_dir(const char *dir) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    if (io_exists(dir))
        ASSERT_OK(io_remove_tree(dir, &err));
    ASSERT_OK(io_mkdir_p(dir, 0700, &err));
}

/* Stopped after every few rounds, with other numbers of workers. */
static void test_pieces(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct fixture whole;
    struct part p = {.stop_after = 0};
    char dir[512];
    snprintf(dir, sizeof dir, "%s", test_path("pieces"));
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        ASSERT_OK(fixture_run(&whole, 2, kinds[k], &err));
        for (uint32_t step = 1; step <= 5; step += 2) {
            fresh_dir(dir);
            uint32_t pieces = 0, before = 0;
            p.stop_after = step;
            enum sotto_status status;
            while ((status = part_run(&p, dir, 1 + pieces % 2, 0, kinds[k], &err)) ==
                   SOTTO_CANCELLED) {
                assert_int_equal(p.again, before);
                before = p.again + p.made;
                pieces++;
                assert_in_range(pieces, 1, FIXTURE_ROUNDS);
            }
            ASSERT_OK(status);
            assert_true(pieces >= whole.count / step - 1);
            assert_same(&whole, &p.f);
            assert_false(io_exists(test_path("pieces/" CHECKPOINT_FILE)));
        }
    }
}

/* Killed at any moment, again and again, while checkpoints are written after every round. */
static void test_kills(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct fixture whole;
    struct part p = {.stop_after = 0};
    struct rng r;
    char dir[512];
    rng_init(&r, test_seed(), 0, 0, RNG_FAULT);
    snprintf(dir, sizeof dir, "%s", test_path("kills"));
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        ASSERT_OK(fixture_run(&whole, 1, kinds[k], &err));
        fresh_dir(dir);
        for (int i = 0; i < 6; i++) {
            const uint32_t micros = rng_below(&r, 120000);
            const unsigned workers = 1 + rng_below(&r, 2);
            const pid_t child = fork();
            assert_true(child >= 0);
            if (child == 0) { /* an alarm that nobody handles ends it wherever it is */
                const struct itimerval alarm = {.it_value = {.tv_usec = (suseconds_t)micros + 1}};
                (void)setitimer(ITIMER_REAL, &alarm, NULL);
                (void)part_run(&p, dir, workers, 1, kinds[k], &err);
                _exit(0);
            }
            assert_int_equal(waitpid(child, NULL, 0), child);
        }
        ASSERT_OK(part_run(&p, dir, 2, 1, kinds[k], &err));
        print_message("%u rounds from the checkpoint, %u made\n", p.again, p.made);
        assert_same(&whole, &p.f);
    }
}

static void flip(const char *path, size_t at) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct buf b;
    buf_init(&b, 1 << 24);
    ASSERT_OK(io_read_file(path, 1 << 24, &b, &err));
    assert_true(b.len > at);
    b.data[at == 0 ? b.len / 2 : at] ^= 0x40;
    ASSERT_OK(io_write_file(path, b.data, b.len, 0600, false, &err));
    buf_deinit(&b);
}

static void test_refusals(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct part p = {.stop_after = 3};
    char dir[512], path[600];
    const char *const other[] = {"rounds=13", NULL};
    const char *const feedback[] = {"rounds=12", NULL};
    snprintf(dir, sizeof dir, "%s", test_path("refusals"));
    snprintf(path, sizeof path, "%s/%s", dir, CHECKPOINT_FILE);
    fresh_dir(dir);
    ASSERT_STATUS(part_run(&p, dir, 1, 0, feedback, &err), SOTTO_CANCELLED);
    ASSERT_FAILS(part_run(&p, dir, 1, 0, other, &err), SOTTO_STATE, "other settings");
    flip(path, 0);
    ASSERT_FAILS(part_run(&p, dir, 1, 0, feedback, &err), SOTTO_CORRUPT, "hash");
    flip(path, 0);
    flip(path, 2);
    ASSERT_FAILS(part_run(&p, dir, 1, 0, feedback, &err), SOTTO_CORRUPT, "not a checkpoint");
    flip(path, 2);
    snprintf(path, sizeof path, "%s/%s", dir, CHECKPOINT_RESIDUALS);
    flip(path, 5);
    p.stop_after = 0;
    const enum sotto_status status = part_run(&p, dir, 1, 0, feedback, &err);
    print_message("%s\n", err.message);
    /* A client whose residual is damaged declines its next round; its values are never used. */
    if (status == SOTTO_OK) {
        uint32_t declined = 0;
        for (uint32_t i = 0; i < p.f.count; i++)
            declined += p.f.rounds[i].declined;
        assert_true(declined > 0);
    } else {
        assert_int_equal(status, SOTTO_CORRUPT);
    }
}

static void test_crc32c(void **state) {
    (void)state;
    uint8_t bytes[32];
    /* RFC 3720, appendix B.4. */
    memset(bytes, 0, sizeof bytes);
    assert_int_equal(crc32c(bytes, 32), 0x8a9136aau);
    memset(bytes, 0xff, sizeof bytes);
    assert_int_equal(crc32c(bytes, 32), 0x62a8ab43u);
    for (int i = 0; i < 32; i++)
        bytes[i] = (uint8_t)i;
    assert_int_equal(crc32c(bytes, 32), 0x46dd794eu);
    assert_int_equal(crc32c("123456789", 9), 0xe3069283u);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_kills),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_crc32c),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
