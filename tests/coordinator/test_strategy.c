/* The strategy table, and each strategy against its equations. */
#include "sotto/coordinator/advance.h"

#include "task_fixture.h"

#include <math.h>
#include <string.h>

#define N 1000u

static void fill(float *x, uint64_t stream) {
    struct rng r;
    rng_init(&r, test_seed(), 0, stream, RNG_FAULT);
    for (uint32_t i = 0; i < N; i++)
        x[i] = (float)rng_normal(&r);
}

static void test_table(void **state) {
    (void)state;
    int n = 0;
    for (; strategy_names[n]; n++) {
        const struct strategy *s = strategy_get(n);
        assert_non_null(s);
        assert_string_equal(s->name, strategy_names[n]);
        assert_non_null(s->step);
        assert_true(strlen(s->summary) > 10);
    }
    assert_true(n >= 1);
    assert_null(strategy_get(n));
    assert_null(strategy_get(-1));
}

/* A mean update of zero leaves the model as it is, whatever the strategy (learning handbook:
 * identities). */
static void test_no_update_no_change(void **state) {
    (void)state;
    static float master[N], before[N], delta[N], memory[4 * N];
    for (int s = 0; strategy_names[s]; s++) {
        struct task_config t = task_defaults();
        t.strategy = s;
        t.server_momentum = 0.9;
        assert_true(strategy_state_arrays(&t) <= 4);
        memset(memory, 0, sizeof memory);
        memset(delta, 0, sizeof delta);
        fill(master, 1);
        memcpy(before, master, sizeof master);
        strategy_get(s)->step(&t, N, master, delta, strategy_state_arrays(&t) ? memory : NULL);
        assert_memory_equal(before, master, sizeof master);
    }
}

static void test_fedavg_is_the_average(void **state) {
    (void)state;
    static float master[N], before[N], delta[N];
    struct task_config t = task_defaults();
    assert_int_equal(strategy_state_arrays(&t), 0);
    fill(master, 1);
    fill(delta, 2);
    memcpy(before, master, sizeof master);
    strategy_get(0)->step(&t, N, master, delta, NULL);
    for (uint32_t i = 0; i < N; i++)
        assert_true(master[i] == before[i] + delta[i]);
}

static void test_fedavg_learning_rate_and_momentum(void **state) {
    (void)state;
    static float master[N], delta[N], memory[N];
    static double want[N], v[N];
    struct task_config t = task_defaults();
    t.server_lr = 0.7;
    t.server_momentum = 0.9;
    assert_int_equal(strategy_state_arrays(&t), 1);
    fill(master, 1);
    for (uint32_t i = 0; i < N; i++) {
        want[i] = (double)master[i];
        v[i] = 0.0;
    }
    for (uint64_t round = 0; round < 20; round++) {
        fill(delta, 10 + round);
        strategy_get(0)->step(&t, N, master, delta, memory);
        for (uint32_t i = 0; i < N; i++) {
            v[i] = 0.9 * v[i] + (double)delta[i];
            want[i] += 0.7 * v[i];
        }
    }
    for (uint32_t i = 0; i < N; i++)
        assert_true(fabs((double)master[i] - want[i]) < 1e-4);
}

static int row_of(const char *name) {
    for (int i = 0; strategy_names[i]; i++)
        if (strcmp(strategy_names[i], name) == 0)
            return i;
    fail_msg("no strategy %s", name);
    return -1;
}

/* One coordinate's second moment after an update whose square is s (Reddi et al. 2021, algorithm
 * 2). */
typedef double second_moment(double v, double s, double b2);
static double adagrad_moment(double v, double s, double b2) {
    (void)b2;
    return v + s;
}
static double adam_moment(double v, double s, double b2) {
    return b2 * v + (1.0 - b2) * s;
}
static double yogi_moment(double v, double s, double b2) {
    return v - (1.0 - b2) * s * (v > s ? 1.0 : v < s ? -1.0 : 0.0);
}

/* Twenty rounds against the equations in double, and once more for the same bits. */
static void check_adaptive(const char *name, second_moment *moment) {
    static float master[2][N], delta[N], memory[2][2 * N];
    static double want[N], m[N], v[N];
    struct task_config t = task_defaults();
    t.strategy = row_of(name);
    t.server_lr = 0.03;
    assert_int_equal(strategy_state_arrays(&t), 2);
    memset(memory, 0, sizeof memory);
    fill(master[0], 1);
    memcpy(master[1], master[0], sizeof master[0]);
    for (uint32_t i = 0; i < N; i++) {
        want[i] = (double)master[0][i];
        m[i] = v[i] = 0.0;
    }
    for (uint64_t round = 0; round < 20; round++) {
        fill(delta, 10 + round);
        for (int again = 0; again < 2; again++)
            strategy_get(t.strategy)->step(&t, N, master[again], delta, memory[again]);
        for (uint32_t i = 0; i < N; i++) {
            const double d = (double)delta[i];
            m[i] = 0.9 * m[i] + (1.0 - 0.9) * d;
            v[i] = moment(v[i], d * d, 0.99);
            want[i] += 0.03 * m[i] / (sqrt(v[i]) + 1e-3);
        }
    }
    for (uint32_t i = 0; i < N; i++)
        assert_true(fabs((double)master[0][i] - want[i]) < 1e-4);
    assert_memory_equal(master[0], master[1], sizeof master[0]);
    assert_memory_equal(memory[0], memory[1], sizeof memory[0]);
}

static void test_fedadagrad(void **state) {
    (void)state;
    check_adaptive("fedadagrad", adagrad_moment);
}

static void test_fedadam(void **state) {
    (void)state;
    check_adaptive("fedadam", adam_moment);
}

static void test_fedyogi(void **state) {
    (void)state;
    check_adaptive("fedyogi", yogi_moment);
}

/* With tau far above the root of v, b1 = 0 and lr = tau, an adaptive step is the plain average. */
static void test_adaptive_with_large_adaptivity_is_the_average(void **state) {
    (void)state;
    static const char *const names[] = {"fedadagrad", "fedadam", "fedyogi"};
    static float master[N], before[N], delta[N], memory[2 * N];
    for (size_t k = 0; k < ARRAY_LEN(names); k++) {
        struct task_config t = task_defaults();
        t.strategy = row_of(names[k]);
        t.server_lr = t.server_adaptivity = 1e6;
        t.server_beta1 = 0.0;
        memset(memory, 0, sizeof memory);
        fill(master, 1);
        fill(delta, 2);
        memcpy(before, master, sizeof master);
        strategy_get(t.strategy)->step(&t, N, master, delta, memory);
        for (uint32_t i = 0; i < N; i++)
            assert_true(fabs((double)master[i] - ((double)before[i] + (double)delta[i])) < 1e-4);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_no_update_no_change),
        cmocka_unit_test(test_fedavg_is_the_average),
        cmocka_unit_test(test_fedavg_learning_rate_and_momentum),
        cmocka_unit_test(test_fedadagrad),
        cmocka_unit_test(test_fedadam),
        cmocka_unit_test(test_fedyogi),
        cmocka_unit_test(test_adaptive_with_large_adaptivity_is_the_average),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
