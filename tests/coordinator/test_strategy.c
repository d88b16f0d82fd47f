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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_no_update_no_change),
        cmocka_unit_test(test_fedavg_is_the_average),
        cmocka_unit_test(test_fedavg_learning_rate_and_momentum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
