/* What a sweep's file asks for. */
#include <stdlib.h>
#include <string.h>

#include "support.h"
#include "sweep.h"

static struct sweep_run *runs;
static uint32_t count;

static enum sotto_status expand(const char *yaml, struct sotto_error *err) {
    struct sweep_settings s;
    struct config *config = NULL;
    memset(&s, 0, sizeof s);
    mem_free(runs);
    runs = NULL;
    count = 0;
    enum sotto_status status = config_parse(sweep_options, &s, "sweep.yaml",
                                            view_of(yaml, strlen(yaml)), NULL, 0, &config, err);
    if (status == SOTTO_OK)
        status = sweep_expand(&s, &runs, &count, err);
    config_free(config);
    return status;
}

static bool has_set(const struct sweep_run *r, const char *set) {
    for (uint32_t i = 0; i < r->set_count; i++)
        if (strcmp(r->sets[i], set) == 0)
            return true;
    return false;
}

static void test_combinations(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    ASSERT_OK(expand("experiment: x.yaml\n", &err));
    assert_int_equal(count, 1);
    assert_string_equal(runs[0].name, "seed=1");
    ASSERT_OK(expand("experiment: x.yaml\n"
                     "seeds: [1, 7]\n"
                     "set: {rounds: 9, server: {lr: 1.5}}\n"
                     "grid: {local.lr: [0.1, 0.2, 0.3], local: {batch: 10, epochs: [1, 5]}}\n"
                     "list:\n"
                     "  - partition: {scheme: shards, shards: 2}\n"
                     "  - {partition.scheme: iid}\n",
                     &err));
    assert_int_equal(count, 2 * 3 * 2 * 2);
    for (uint32_t i = 0; i < count; i++) {
        assert_true(has_set(&runs[i], "rounds=9") && has_set(&runs[i], "server.lr=1.5"));
        assert_true(has_set(&runs[i], "local.batch=10"));
        assert_true(has_set(&runs[i], i % 2 ? "task.seed=7" : "task.seed=1"));
        assert_true(has_set(&runs[i], i < 12 ? "partition.scheme=shards" : "partition.scheme=iid"));
        for (uint32_t k = 0; k < i; k++)
            assert_string_not_equal(runs[i].name, runs[k].name);
    }
    assert_true(has_set(&runs[0], "local.lr=0.1") && has_set(&runs[0], "local.epochs=1"));
    assert_string_equal(runs[23].name,
                        "partition.scheme=iid,local.lr=0.3,local.batch=10,local.epochs=5,seed=7");
    ASSERT_OK(expand("experiment: x.yaml\ngrid: {data.name: [a/b, a b]}\nseeds: [1]\n"
                     "set: {clients: 3}\n",
                     &err) == SOTTO_CONFIG
                  ? SOTTO_OK
                  : SOTTO_INVALID); /* the same folder for two */
    mem_free(runs);
    runs = NULL;
}

static void test_refusals(void **state) {
    (void)state;
    static const struct {
        const char *yaml, *says;
    } wrong[] = {
        {"out: x\n", "experiment"},
        {"experiment: x\ngrid: [1, 2]\n", "expected keys"},
        {"experiment: x\ngrid: {a: [[1]]}\n", "list of values"},
        {"experiment: x\ngrid: {a: []}\n", "list of values"},
        {"experiment: x\nset: {a: [1, 2]}\n", "expected a value"},
        {"experiment: x\nlist: {a: 1}\n", "list of settings"},
        {"experiment: x\nlist: []\n", "list of settings"},
        {"experiment: x\nlist: [a]\n", "expected keys"},
        {"experiment: x\nlist: [{a: 1}, {a: 1}]\n", "two runs would be a=1"},
        {"experiment: x\nseeds: [1, 1]\n", "two runs would be seed=1"},
        {"experiment: x\ngrid: {a: [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16], b: "
         "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16], c: "
         "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]}\n",
         "a sweep makes 1 to 4096"},
    };
    struct sotto_error err = SOTTO_ERROR_INIT;
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        print_message("%s", wrong[i].yaml);
        ASSERT_FAILS(expand(wrong[i].yaml, &err), SOTTO_CONFIG, wrong[i].says);
        assert_null(runs);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_combinations),
                                       cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
