/* Experiments that cannot be: each says which key is wrong. And what a good one becomes. */
#include <math.h>

#include "sim_fixture.h"

static void refuse(const char *const *sets, enum sotto_status want, const char *part) {
    struct experiment x;
    struct sotto_error err = SOTTO_ERROR_INIT;
    size_t n = 0;
    const uint64_t live = mem_live_count();
    while (sets[n])
        n++;
    ASSERT_FAILS(experiment_open(&x, NULL, view_of(FIXTURE_YAML, sizeof FIXTURE_YAML - 1), NULL,
                                 sets, n, &err),
                 want, part);
    experiment_deinit(&x);
    assert_int_equal(mem_live_count(), live);
}

static void test_bad_settings(void **state) {
    (void)state;
    refuse(SETS("rounds=0"), SOTTO_CONFIG, "rounds");
    refuse(SETS("stop.accuracy=0.9", "evaluation.every=0"), SOTTO_CONFIG, "stop.accuracy");
    refuse(SETS("availability=1h"), SOTTO_CONFIG, "availability");
    refuse(SETS("cohrot=3"), SOTTO_CONFIG, "cohort");
    refuse(SETS("fleet.drop=2"), SOTTO_CONFIG, "fleet.drop");
    refuse(SETS("model.zoo=resnet"), SOTTO_NOT_FOUND, "resnet");
    refuse(SETS("model.zoo="), SOTTO_CONFIG, "model");
    refuse(SETS("uplink.bits=17"), SOTTO_INVALID, "uplink.bits");
    refuse(SETS("cohort=13"), SOTTO_CONFIG, "cohort");
}

static void test_bad_data(void **state) {
    (void)state;
    refuse(SETS("data.name=mnist"), SOTTO_CONFIG, "data.dir");
    refuse(SETS("data.name=mnist", "data.dir=/nonexistent"), SOTTO_NOT_FOUND, "/nonexistent");
    refuse(SETS("data.name=nothing", "data.dir=/tmp"), SOTTO_INVALID, "nothing");
    refuse(SETS("data.name=x.csv"), SOTTO_CONFIG, "evaluation.data");
    refuse(SETS("data.name=a,b", "evaluation.data=generator"), SOTTO_NOT_FOUND, "a");
    refuse(SETS("clients=0"), SOTTO_CONFIG, "clients");
    refuse(SETS("model.zoo=cifar-cnn"), SOTTO_INVALID, "data.name");
    refuse(SETS("partition.scheme=random"), SOTTO_CONFIG, "partition.scheme");
    refuse(SETS("partition.shards=2"), SOTTO_INVALID, "shards");
    refuse(SETS("partition.scheme=dirichlet", "partition.alpha=x"), SOTTO_INVALID, "alpha");
}

static void test_hash(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct experiment a, b;
    const struct view text = view_of(FIXTURE_YAML, sizeof FIXTURE_YAML - 1);
    ASSERT_OK(experiment_open(&a, NULL, text, NULL, NULL, 0, &err));
    ASSERT_OK(experiment_open(&b, NULL, text, "/somewhere/else", NULL, 0, &err));
    assert_string_equal(a.config_hash, b.config_hash); /* where data lie changes nothing */
    assert_string_equal(a.run_id, b.run_id);
    experiment_deinit(&b);
    ASSERT_OK(experiment_open(&b, NULL, text, NULL, SETS("local.lr=0.2"), 1, &err));
    assert_string_not_equal(a.config_hash, b.config_hash);
    assert_int_equal(a.partition.client_count, 12);
    assert_int_equal(a.examples_most, 20);
    assert_int_equal(experiment_client(&a, 3).count, 20);
    assert_string_equal(a.settings.task.data, "generator");
    assert_int_equal(a.data.test.count, 100);
    experiment_deinit(&a);
    experiment_deinit(&b);
}

/* Every partition on one data set, through the settings. */
static void test_partitions(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct fixture f;
    const char *const schemes[] = {"iid", "shards", "dirichlet", "quantity", "natural"};
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
        char scheme[64];
        snprintf(scheme, sizeof scheme, "partition.scheme=%s", schemes[i]);
        ASSERT_OK(fixture_run(
            &f, 2, SETS(scheme, "data.per_writer=60", "rounds=2", "evaluation.count=50"), &err));
        assert_int_equal(f.count, 2);
    }
    ASSERT_OK(fixture_run(&f, 2, SETS("partition.scheme=shards", "partition.shards=3", "rounds=1"),
                          &err));
}

/* The first client's examples are as they were, the last one's noise has the given deviation. */
static void test_noise(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct experiment a, b;
    const char *const sets[] = {"partition.noise=0.5"};
    double sum[12] = {0};
    ASSERT_OK(experiment_open(&a, NULL, view_of(FIXTURE_YAML, sizeof FIXTURE_YAML - 1), NULL, NULL,
                              0, &err));
    ASSERT_OK(experiment_open(&b, NULL, view_of(FIXTURE_YAML, sizeof FIXTURE_YAML - 1), NULL, sets,
                              1, &err));
    assert_int_equal(b.schema.dtype, DATA_F32);
    assert_true(data_schema_equal(&b.schema, &b.data.test.schema));
    for (uint32_t c = 0; c < 12; c++) {
        const struct examples p = experiment_client(&a, c), q = experiment_client(&b, c);
        assert_int_equal(p.count, q.count);
        for (uint32_t i = 0; i < p.count; i++) {
            const uint8_t *was = dataset_example(&a.train, p.index[i]);
            const float *is = dataset_example(&b.train, q.index[i]);
            for (uint32_t k = 0; k < 784; k++) {
                const double d = (double)is[k] - (double)((float)was[k] * a.schema.scale);
                sum[c] += d * d;
            }
        }
        const double sd = sqrt(sum[c] / (784.0 * p.count));
        assert_true(fabs(sd - 0.5 * c / 11) < 0.01);
    }
    experiment_deinit(&a);
    experiment_deinit(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_settings), cmocka_unit_test(test_bad_data),
        cmocka_unit_test(test_hash),         cmocka_unit_test(test_partitions),
        cmocka_unit_test(test_noise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
