/* The task file: defaults, every part set, refusals with their place. */
#include "sotto/coordinator/task_options.h"
#include "sotto/zoo.h"

#include "task_fixture.h"

#include <stddef.h>
#include <string.h>

static enum sotto_status parse(const char *text, struct task_config *t, struct config **c,
                               struct sotto_error *err) {
    memset(t, 0, sizeof *t);
    return config_parse(task_options, t, "task.yaml", view_of(text, strlen(text)), NULL, 0, c, err);
}

static void test_defaults(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct task_config t, want = task_defaults();
    struct config *c;
    struct buf a, b;
    ASSERT_OK(parse("model:\n  zoo: logreg\n", &t, &c, &err));
    buf_init(&a, 1 << 20);
    buf_init(&b, 1 << 20);
    want.model_package = want.distill_pool_file = want.data_dir = (char *)(uintptr_t) "";
    config_canonical(task_options, &t, &a);
    config_canonical(task_options, &want, &b);
    buf_put_u8(&a, 0);
    buf_put_u8(&b, 0);
    assert_string_equal((const char *)a.data, (const char *)b.data);
    buf_deinit(&a);
    buf_deinit(&b);
    config_free(c);
}

static const char whole[] = "task:\n"
                            "  name: digits\n"
                            "  seed: 42\n"
                            "model:\n"
                            "  zoo: mnist-cnn\n"
                            "rounds: 20\n"
                            "cohort: 12\n"
                            "cohort_min: 9\n"
                            "cohort_over_selection: 1.25\n"
                            "groups: 3\n"
                            "deadline: 2m\n"
                            "pace: 500ms\n"
                            "evaluate:\n"
                            "  every: 5\n"
                            "local:\n"
                            "  lr: 0.05\n"
                            "  batch: 20\n"
                            "server:\n"
                            "  strategy: fedavg\n"
                            "  momentum: 0.9\n"
                            "downlink: int4\n"
                            "uplink:\n"
                            "  bits: 4\n"
                            "  keep: 0.05\n"
                            "  stochastic: true\n"
                            "  error_feedback: true\n"
                            "distill:\n"
                            "  enabled: true\n"
                            "gate:\n"
                            "  accuracy_drop: 0.05\n"
                            "privacy:\n"
                            "  secure_aggregation: \"off\"\n";

static void test_whole_file(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct task_config t;
    struct config *c;
    struct graph g;
    struct data_schema schema;
    ASSERT_OK(parse(whole, &t, &c, &err));
    assert_string_equal(t.name, "digits");
    assert_string_equal(t.model, "mnist-cnn");
    assert_int_equal(t.deadline_ms, 120000);
    assert_int_equal(t.pace_ms, 500);
    assert_int_equal(t.downlink, PACKAGE_I4);
    assert_true(t.over_selection == 1.25 && t.keep == 0.05 && t.distill);
    graph_init(&g);
    ASSERT_OK(zoo_build(t.model, &g, &schema, &err));
    ASSERT_OK(task_check(&t, &g.layout, &err));
    graph_deinit(&g);
    config_free(c);
}

static void test_refusals(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct task_config t;
    struct config *c;
    const struct {
        const char *text, *part;
    } cases[] = {
        {"cohort: 0\n", "task.yaml:1"},
        {"\ncohorts: 10\n", "cohort"},
        {"local:\n  lr: nan\n", "task.yaml:2"},
        {"local:\n  momentum: 1\n", "local.momentum"},
        {"downlink: int2\n", "int8"},
        {"privacy:\n  secure_aggregation: preferred\n", "required"},
        {"privacy:\n  group_max: 9\n", "privacy.group_max"},
        {"deadline: 60\n", "deadline"},
        {"pace: 0s\n", "pace"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        enum sotto_status status = parse(cases[i].text, &t, &c, &err);
        assert_int_not_equal(status, SOTTO_OK);
        if (!strstr(err.message, cases[i].part))
            fail_msg("case %zu: \"%s\" does not say \"%s\"", i, err.message, cases[i].part);
    }
}

/* The same rows inside another table, as the simulator has them. */
struct outer {
    uint64_t before;
    struct task_config task;
    uint64_t after;
};
#define AT(field) offsetof(struct outer, task.field)
static const struct config_option outer_options[] = {
    TASK_OPTION_ROWS(AT){"after", CONFIG_U64, offsetof(struct outer, after), "7", 0, 9, NULL, 0, "",
                         "One more row."},
    CONFIG_END};

static void test_rows_move(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct outer o = {0};
    struct task_config t;
    struct config *inner, *c;
    ASSERT_OK(parse(whole, &t, &inner, &err));
    ASSERT_OK(config_parse(outer_options, &o, "outer.yaml", view_of(whole, strlen(whole)), NULL, 0,
                           &c, &err));
    assert_int_equal(o.before, 0);
    assert_int_equal(o.after, 7);
    assert_string_equal(o.task.name, t.name);
    assert_int_equal(o.task.cohort, t.cohort);
    assert_int_equal(o.task.data_validation, t.data_validation);
    config_free(c);
    config_free(inner);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_whole_file),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_rows_move),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
