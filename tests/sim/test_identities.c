/* Algorithms that must be the same as others in their special cases, run as whole experiments:
 * masters are compared, not curves. */
#include <math.h>

#include "sim_fixture.h"

/* Twelve drawn writers of twenty digits each, all of them in every round, nothing lost on the way.
 */
#define ALL_YAML                                                                                   \
    "task: {name: all, seed: 5}\n"                                                                 \
    "model: {zoo: logreg}\n"                                                                       \
    "data: {name: generator, per_writer: 20}\n"                                                    \
    "clients: 12\n"                                                                                \
    "partition: {scheme: natural}\n"                                                               \
    "rounds: 3\n"                                                                                  \
    "cohort: 12\n"                                                                                 \
    "local: {epochs: 1, batch: 5, lr: 0.1}\n"                                                      \
    "downlink: f32\n"                                                                              \
    "evaluation: {count: 50}\n"

struct result {
    uint32_t n;
    float *master;
    float *state; /* the strategy's first array, or NULL */
    float *kept;  /* the mean over clients of what they keep, or NULL */
    struct wire_hash digest;
};

static void result_deinit(struct result *r) {
    mem_free(r->master);
    mem_free(r->state);
    mem_free(r->kept);
}

static float *mean_kept(struct sim *s) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    float *one = mem_array(s->kept_count, sizeof *one);
    float *mean = mem_array(s->kept_count, sizeof *mean);
    assert_true(one && mean);
    for (uint32_t c = 0; c < s->device_count; c++) {
        ASSERT_OK(residuals_read(s->residuals, c, one, &err));
        for (uint32_t i = 0; i < s->kept_count; i++)
            mean[i] += one[i] / (float)s->device_count;
    }
    mem_free(one);
    return mean;
}

/* Runs ALL_YAML with the settings; with x, also gives the experiment, which the caller deinits. */
static struct result run(const char *const *sets, struct experiment *x) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct experiment mine;
    struct experiment *e = x ? x : &mine;
    struct sim *s = NULL;
    struct result r;
    size_t n = 0;
    const struct sim_config config = {.workers = 2, .temp_dir = test_tmpdir()};
    memset(&r, 0, sizeof r);
    while (sets[n])
        n++;
    ASSERT_OK(
        experiment_open(e, NULL, view_of(ALL_YAML, sizeof ALL_YAML - 1), NULL, sets, n, &err));
    ASSERT_OK(sim_open(e, &config, &s, &err));
    ASSERT_OK(sim_run(s, &err));
    r.n = e->graph.layout.total;
    r.master = mem_dup(s->version->master, r.n * sizeof *r.master);
    r.state = s->state ? mem_dup(s->state, r.n * sizeof *r.state) : NULL;
    r.kept = s->residuals ? mean_kept(s) : NULL;
    r.digest = sim_totals(s)->digest;
    assert_non_null(r.master);
    sim_close(s);
    if (!x)
        experiment_deinit(&mine);
    return r;
}

static double distance(const float *a, const float *b, uint32_t n) {
    double most = 0.0;
    for (uint32_t i = 0; i < n; i++)
        most = fmax(most, fabs((double)a[i] - (double)b[i]));
    return most;
}

/* How far two experiments end apart, in the worst coordinate. */
static double apart(const char *const *one, const char *const *other) {
    struct result a = run(one, NULL), b = run(other, NULL);
    assert_int_equal(a.n, b.n);
    const double d = distance(a.master, b.master, a.n);
    result_deinit(&a);
    result_deinit(&b);
    return d;
}

static bool same_bits(const char *const *one, const char *const *other) {
    struct result a = run(one, NULL), b = run(other, NULL);
    const bool same = wire_hash_equal(&a.digest, &b.digest);
    result_deinit(&a);
    result_deinit(&b);
    return same;
}

/* FedAvg with all clients, one full batch each, is gradient descent over all examples; with one
 * client it is that client's own training. */
static void test_fedavg_is_gradient_descent(void **state) {
    (void)state;
    static const char *const everybody[] = {"local.batch=0", NULL};
    static const char *const alone[] = {"clients=1", "cohort=1", "partition.scheme=iid",
                                        "local.batch=0", NULL};
    for (int k = 0; k < 2; k++) {
        struct sotto_error err = SOTTO_ERROR_INIT;
        struct experiment x;
        struct result r = run(k ? alone : everybody, &x);
        struct examples all = experiment_client(&x, 0);
        uint32_t *index = NULL, count = 0;
        for (uint32_t c = 0; c < x.partition.client_count; c++)
            count += experiment_client(&x, c).count;
        index = mem_array(count, sizeof *index);
        assert_non_null(index);
        for (uint32_t c = 0, at = 0; c < x.partition.client_count; c++) {
            const struct examples e = experiment_client(&x, c);
            for (uint32_t i = 0; i < e.count; i++)
                index[at++] = e.index[i];
        }
        all.index = index;
        all.count = count;
        const struct train_rule rule = {.epochs = 3, .batch = 0, .lr = 0.1f};
        const struct train_stream stream = {1, 1, 1};
        float *w = mem_array(r.n, sizeof *w);
        struct trainer *t = NULL;
        ASSERT_OK(trainer_new(&x.graph, &rule, count, kern_backend_find("cpu"), &t, &err));
        ASSERT_OK(trainer_begin(t, x.params, &all, &stream, &err));
        ASSERT_OK(trainer_advance(t, 0, NULL, &err));
        trainer_finish(t, w, NULL);
        assert_true(distance(w, r.master, r.n) < 1e-6);
        trainer_free(t);
        mem_free(w);
        mem_free(index);
        result_deinit(&r);
        experiment_deinit(&x);
    }
}

/* The proximal term belongs to training: under its own name FedProx has the bits of FedAvg with the
 * same term, and with a vanishing term it is FedAvg. */
static void test_fedprox(void **state) {
    (void)state;
    assert_true(
        same_bits(SETS("local.prox_mu=0.1"), SETS("local.prox_mu=0.1", "server.strategy=fedprox")));
    assert_true(apart(SETS("server.strategy=fedprox", "local.prox_mu=1e-30"),
                      SETS("server.strategy=fedavg")) < 1e-6);
    assert_true(apart(SETS("server.strategy=fedprox", "local.prox_mu=1"),
                      SETS("server.strategy=fedavg")) > 1e-3);
}

/* Equal steps: FedNova is FedAvg, whatever the optimizer. Other steps: it is not. */
static void test_fednova(void **state) {
    (void)state;
    static const char *const optimizers[] = {"local.momentum=0", "local.momentum=0.9",
                                             "local.prox_mu=0.5"};
    for (size_t i = 0; i < ARRAY_LEN(optimizers); i++)
        assert_true(apart(SETS("server.strategy=fednova", optimizers[i]), SETS(optimizers[i])) <
                    1e-6);
    assert_true(apart(SETS("server.strategy=fednova", "server.momentum=0.5"),
                      SETS("server.momentum=0.5")) < 1e-6);
    static const char *const uneven[] = {"partition.scheme=quantity", "partition.alpha=0.5",
                                         "partition.size_min=1", NULL};
    static const char *const uneven_nova[] = {"partition.scheme=quantity", "partition.alpha=0.5",
                                              "partition.size_min=1", "server.strategy=fednova",
                                              NULL};
    assert_true(apart(uneven, uneven_nova) > 1e-4);
}

/* SCAFFOLD begins with zero variates: its first round has FedAvg's bits. With one step a device and
 * all of them in every round the variates cancel in the mean; and c is the mean of all c_i. */
static void test_scaffold(void **state) {
    (void)state;
    assert_true(same_bits(SETS("rounds=1"), SETS("rounds=1", "server.strategy=scaffold")));
    assert_true(same_bits(SETS("rounds=1", "local.momentum=0.9"),
                          SETS("rounds=1", "local.momentum=0.9", "server.strategy=scaffold")));
    assert_true(apart(SETS("local.batch=0"), SETS("local.batch=0", "server.strategy=scaffold")) <
                1e-6);
    assert_true(apart(SETS("rounds=3"), SETS("server.strategy=scaffold")) > 1e-4);
    static const char *const pipelines[] = {"uplink.bits=32", "uplink.bits=8"};
    for (size_t i = 0; i < ARRAY_LEN(pipelines); i++) {
        struct result r =
            run(SETS("server.strategy=scaffold", "uplink.keep=0.3", pipelines[i], "weight_max=1"),
                NULL);
        assert_true(r.state && r.kept);
        assert_true(distance(r.state, r.kept, r.n) < 1e-6);
        result_deinit(&r);
    }
}

/* Groups split a cohort, not its sums; a group's own average, a teacher, is of its own steps. */
static void test_groups(void **state) {
    (void)state;
    static const char *const strategies[] = {"server.strategy=fedavg", "server.strategy=fednova",
                                             "server.strategy=scaffold"};
    for (size_t i = 0; i < ARRAY_LEN(strategies); i++)
        assert_true(same_bits(SETS(strategies[i]), SETS(strategies[i], "groups=3")));
    static const char *const average[] = {
        "groups=2",         "rounds=1",         "distill.enabled=true",
        "distill.steps=10", "distill.pool=100", NULL};
    static const char *const nova[] = {"groups=2",
                                       "rounds=1",
                                       "distill.enabled=true",
                                       "distill.steps=10",
                                       "distill.pool=100",
                                       "server.strategy=fednova",
                                       NULL};
    assert_true(apart(average, nova) < 1e-5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fedavg_is_gradient_descent),
        cmocka_unit_test(test_fedprox),
        cmocka_unit_test(test_fednova),
        cmocka_unit_test(test_scaffold),
        cmocka_unit_test(test_groups),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
