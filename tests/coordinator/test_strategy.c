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

/* One server step on a mean update alone. */
static void step(const struct task_config *t, float *master, const float *delta, float *state) {
    const struct strategy_update u = {.delta = delta, .control = delta, .steps = 1, .share = 1};
    strategy_get(t->strategy)->step(t, N, master, &u, state);
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
        step(&t, master, delta, strategy_state_arrays(&t) ? memory : NULL);
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
    step(&t, master, delta, NULL);
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
        step(&t, master, delta, memory);
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
            step(&t, master[again], delta, memory[again]);
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
        step(&t, master, delta, memory);
        for (uint32_t i = 0; i < N; i++)
            assert_true(fabs((double)master[i] - ((double)before[i] + (double)delta[i])) < 1e-4);
    }
}

/* FedProx differs from FedAvg in training alone: its server step has the same bits. */
static void test_fedprox_is_fedavg_at_the_server(void **state) {
    (void)state;
    static float master[2][N], delta[N], memory[2][N];
    for (int momentum = 0; momentum < 2; momentum++) {
        struct task_config t = task_defaults();
        t.server_lr = 0.7;
        t.server_momentum = momentum ? 0.9 : 0.0;
        memset(memory, 0, sizeof memory);
        fill(master[0], 1);
        memcpy(master[1], master[0], sizeof master[0]);
        for (uint64_t round = 0; round < 5; round++) {
            fill(delta, 10 + round);
            for (int k = 0; k < 2; k++) {
                t.strategy = k ? row_of("fedprox") : 0;
                step(&t, master[k], delta, momentum ? memory[k] : NULL);
            }
        }
        assert_memory_equal(master[0], master[1], sizeof master[0]);
    }
}

/* Wang et al. 2020, equation 3, over devices with their own steps, against the sums in double; and
 * with equal steps it is FedAvg. */
static void test_fednova(void **state) {
    (void)state;
    enum { DEVICES = 5 };
    static float master[N], before[N], delta[DEVICES][N], mean[N];
    static const double weight[DEVICES] = {10, 40, 25, 5, 20};
    for (int equal = 0; equal < 2; equal++) {
        struct task_config t = task_defaults();
        t.strategy = row_of("fednova");
        t.server_lr = 0.5;
        double steps[DEVICES], total = 0.0, effective = 0.0;
        for (int d = 0; d < DEVICES; d++) {
            fill(delta[d], 20 + (uint64_t)d);
            steps[d] = equal ? 12.0 : 3.0 * d + 1.5;
            total += weight[d];
            effective += weight[d] * steps[d];
        }
        for (uint32_t i = 0; i < N; i++) {
            double sum = 0.0;
            for (int d = 0; d < DEVICES; d++)
                sum += weight[d] * (double)delta[d][i] / steps[d];
            mean[i] = (float)(sum / total);
        }
        fill(master, 1);
        memcpy(before, master, sizeof master);
        const struct strategy_update u = {.delta = mean, .steps = effective / total, .share = 1};
        strategy_get(t.strategy)->step(&t, N, master, &u, NULL);
        for (uint32_t i = 0; i < N; i++) {
            double want = 0.0;
            for (int d = 0; d < DEVICES; d++)
                want += weight[d] / total * (double)delta[d][i] / steps[d];
            want *= effective / total;
            if (equal) { /* the plain average */
                want = 0.0;
                for (int d = 0; d < DEVICES; d++)
                    want += weight[d] / total * (double)delta[d][i];
            }
            assert_true(fabs((double)master[i] - ((double)before[i] + 0.5 * want)) < 1e-5);
        }
    }
}

/* Karimireddy et al. 2020, algorithm 1, lines 16 and 17; with no change of control it is FedAvg. */
static void test_scaffold(void **state) {
    (void)state;
    static float master[N], average[N], delta[N], control[N], memory[N];
    static double want[N], c[N];
    struct task_config t = task_defaults(), plain = task_defaults();
    t.strategy = row_of("scaffold");
    t.server_lr = plain.server_lr = 0.8;
    assert_int_equal(strategy_state_arrays(&t), 1);
    assert_string_equal(strategy_get(t.strategy)->extra, PACKAGE_CONTROL);
    memset(memory, 0, sizeof memory);
    fill(master, 1);
    memcpy(average, master, sizeof master);
    for (uint32_t i = 0; i < N; i++) {
        want[i] = (double)master[i];
        c[i] = 0.0;
    }
    for (uint64_t round = 0; round < 20; round++) {
        fill(delta, 10 + round);
        fill(control, 50 + round);
        const struct strategy_update u = {.delta = delta, .control = control, .share = 0.25};
        strategy_get(t.strategy)->step(&t, N, master, &u, memory);
        step(&plain, average, delta, NULL);
        for (uint32_t i = 0; i < N; i++) {
            want[i] += 0.8 * (double)delta[i];
            c[i] += 0.25 * (double)control[i];
        }
    }
    for (uint32_t i = 0; i < N; i++)
        assert_true(fabs((double)master[i] - want[i]) < 1e-4 &&
                    fabs((double)memory[i] - c[i]) < 1e-4);
    assert_memory_equal(master, average, sizeof master); /* the controls act in training only */
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
        cmocka_unit_test(test_fedprox_is_fedavg_at_the_server),
        cmocka_unit_test(test_fednova),
        cmocka_unit_test(test_scaffold),
        cmocka_unit_test(test_adaptive_with_large_adaptivity_is_the_average),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
