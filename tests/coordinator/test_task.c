/* A task's settings: the option rows, checks between fields, and what other rooms get of them. */
#include "sotto/coordinator/task_options.h"

#include "task_fixture.h"

#include <math.h>
#include <string.h>

struct bed {
    struct layout layout;
    struct task_config t;
};

static int bed_setup(void **state) {
    static struct bed b;
    struct sotto_error err = SOTTO_ERROR_INIT;
    b.t = task_defaults();
    layout_init(&b.layout);
    ASSERT_OK(layout_add(&b.layout, "w", LAYOUT_WEIGHT, 2, (uint32_t[]){30, 10}, &err));
    ASSERT_OK(layout_add(&b.layout, "b", LAYOUT_BIAS, 1, (uint32_t[]){10}, &err));
    *state = &b;
    return 0;
}

static int bed_teardown(void **state) {
    struct bed *b = *state;
    layout_deinit(&b->layout);
    return 0;
}

static void test_rows_are_whole(void **state) {
    (void)state;
    size_t n = 0;
    for (const struct config_option *o = task_options; o->path; o++, n++) {
        assert_true(o->help && strlen(o->help) > 10 && o->help[strlen(o->help) - 1] == '.');
        assert_true(o->fallback || o->type == CONFIG_NODE);
        assert_true(o->offset < sizeof(struct task_config));
        assert_true((o->type == CONFIG_ENUM) == (o->names != NULL));
        assert_non_null(o->unit);
        if (o->type == CONFIG_U64 || o->type == CONFIG_F64 || o->type == CONFIG_DURATION)
            assert_true(o->min < o->max);
        for (const struct config_option *p = task_options; p < o; p++) {
            assert_string_not_equal(p->path, o->path);
            assert_int_not_equal(p->offset, o->offset);
        }
    }
    assert_true(n > 50);
}

static void test_defaults_pass(void **state) {
    struct bed *b = *state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    ASSERT_OK(task_check(&b->t, &b->layout, &err));
}

#define REFUSED(change, part)                                                                      \
    do {                                                                                           \
        struct task_config t = b->t;                                                               \
        change;                                                                                    \
        ASSERT_FAILS(task_check(&t, &b->layout, &err), SOTTO_INVALID, part);                       \
    } while (0)

static int strategy(const char *name) {
    int i = 0;
    while (strategy_names[i] && strcmp(strategy_names[i], name) != 0)
        i++;
    assert_non_null(strategy_names[i]);
    return i;
}

static void test_refusals_say_what_to_do(void **state) {
    struct bed *b = *state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    char word[80];
    memset(word, 'x', sizeof word - 1);
    word[sizeof word - 1] = 0;
    REFUSED(t.name = word, "task.name");
    REFUSED(t.name = NULL, "task.name");
    REFUSED(t.collection = (char *)(uintptr_t) "a\nb", "task.collection");
    REFUSED(t.model = NULL, "model.zoo");
    REFUSED(t.model_package = word, "exactly one");
    REFUSED(t.cohort_min = 11, "cohort_min: 11 is more than cohort, 10");
    REFUSED(t.groups = 11, "groups: 11");
    REFUSED((t.groups = 5, t.cohort_min = 4), "cohort_min is 4");
    REFUSED((t.cohort = 60000, t.over_selection = 2.0, t.weight_max = 1), "cohort_over_selection");
    REFUSED(t.devices_min = 5, "devices_min: 5");
    REFUSED(t.lease_ms = 40000, "lease: 40000");
    REFUSED(t.availability_ms = 3000, "availability");
    REFUSED(t.local_nesterov = true, "local.nesterov");
    REFUSED((t.strategy = 1, t.server_momentum = 0.5), "server.momentum: fedadagrad has none");
    REFUSED(t.strategy = strategy("fedprox"), "fedprox needs it above 0");
    REFUSED((t.strategy = strategy("fednova"), t.local_prox_mu = 10), "fednova's normalizer");
    REFUSED((t.strategy = strategy("scaffold"), t.local_prox_mu = 0.1), "control variates");
    REFUSED((t.strategy = strategy("scaffold"), t.server_momentum = 0.1),
            "server.momentum: scaffold has none; leave");
    REFUSED((t.strategy = strategy("scaffold"), t.secure_aggregation = 1), "under masks");
    REFUSED(t.bits = 20, "uplink.bits: 20");
    REFUSED(t.stochastic = true, "uplink.stochastic");
    REFUSED(t.residual_rounds_max = 3, "uplink.error_feedback");
    REFUSED((t.cohort = 60000, t.weight_max = 1u << 20), "lower weight_max");
    REFUSED(t.distill = true, "groups of 2 or more");
}

static struct task_config secure_task(const struct bed *b) {
    struct task_config t = b->t;
    t.secure_aggregation = 1;
    t.cohort = 20;
    t.weight_max = 1000;
    t.clip_norm = 5.0;
    t.keep = 0.1;
    t.support = CODEC_SUPPORT_ROUND;
    t.bits = 11;
    t.stochastic = t.error_feedback = true;
    return t;
}

#define SECURE_REFUSED(change, part)                                                               \
    do {                                                                                           \
        struct task_config t = secure_task(b);                                                     \
        change;                                                                                    \
        ASSERT_FAILS(task_check(&t, &b->layout, &err), SOTTO_INVALID, part);                       \
    } while (0)

static void test_secure_refusals(void **state) {
    struct bed *b = *state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    const struct task_config good = secure_task(b);
    ASSERT_OK(task_check(&good, &b->layout, &err));
    SECURE_REFUSED(t.support = CODEC_SUPPORT_OWN, "uplink.support to round or published");
    SECURE_REFUSED(t.bits = 32, "set uplink.bits to 11");
    SECURE_REFUSED(t.bits = 12, "set uplink.bits to 11");
    SECURE_REFUSED((t.cohort = 300, t.group_max = 100), "set uplink.bits to 9");
    SECURE_REFUSED(t.clip_norm = 0.0, "uplink.clip_norm");
    SECURE_REFUSED(t.cohort = 9, "cohort: 9 devices in 1 secure groups");
    SECURE_REFUSED(t.groups = 3, "lower groups");
    SECURE_REFUSED((t.groups = 2, t.cohort_min = 19), "cohort_min: 19");
    SECURE_REFUSED((t.evaluate_every = 2, t.evaluate_cohort = 5), "evaluate.cohort: 5");
    SECURE_REFUSED((t.cohort = 15, t.group_max = 10), "raise privacy.group_max");
    SECURE_REFUSED(t.minimum_group = 21, "raise cohort to 21");
    SECURE_REFUSED((t.minimum_group = 60, t.group_max = 50), "privacy.minimum_group: 60");
    SECURE_REFUSED(t.ring_bits = 18, "16, 20, 24 or 32");
    SECURE_REFUSED((t.cohort = 9000, t.group_max = 9000, t.adversarial = 0.45, t.dropout = 0.5),
                   "a group of 9000");
    SECURE_REFUSED((t.weight_max = 1u << 24, t.fraction_bits = 40), "lower fraction_bits");
    /* The other way round: stages of masks in a plain task. */
    struct task_config plain = secure_task(b);
    plain.secure_aggregation = 0;
    ASSERT_FAILS(task_check(&plain, &b->layout, &err), SOTTO_INVALID, "uplink.support");
    plain.support = CODEC_SUPPORT_OWN;
    ASSERT_OK(task_check(&plain, &b->layout, &err));
    plain.range = 0.5;
    ASSERT_FAILS(task_check(&plain, &b->layout, &err), SOTTO_INVALID, "uplink.range");
    /* What does compose: several groups as teachers, a published support, no rotation. */
    struct task_config more = secure_task(b);
    more.groups = 2;
    more.distill = true;
    more.support = CODEC_SUPPORT_PUBLISHED;
    more.rotate = false;
    ASSERT_OK(task_check(&more, &b->layout, &err));
}

static void test_secure_terms(void **state) {
    struct bed *b = *state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct task_config t = secure_task(b);
    const uint8_t id[16] = {1, 2, 3};
    t.cohort = 250;
    t.bits = 9;
    t.evaluate_cohort = 30;
    t.ring_bits = 16;
    for (int evaluate = 0; evaluate <= 1; evaluate++) {
        sotto_Terms terms, back;
        struct codec_spec spec;
        struct buf bytes;
        task_terms(&t, &b->layout, id, 3, evaluate, &terms);
        task_spec(&t, &b->layout, evaluate, &spec);
        assert_true(secure_wanted(&terms));
        assert_int_equal(terms.n_max, evaluate ? 30 : 100);
        assert_int_equal(spec.accept_max, evaluate ? 30 : 250);
        assert_int_equal(terms.privacy.minimum_group, 10);
        assert_int_equal(terms.privacy.ring_bits, 16);
        assert_int_equal(terms.privacy.exchange_ms, 30000);
        assert_int_equal(terms.privacy.adversary, SECAGG_SEMI_MALICIOUS);
        assert_int_equal(terms.pipeline.support, CODEC_SUPPORT_ROUND);
        assert_int_equal(terms.pipeline.rotate_log2, 15);
        /* 30 of 300 weights and 10 biases: blocks of 32, with no more than the norm. */
        assert_true(fabs((double)terms.pipeline.range - 4.5 * 5.0 / sqrt(32.0)) < 1e-5);
        assert_true(terms.pipeline.range == spec.pipeline.range);
        terms.package_hash.size = 32; /* and no round key: nothing is sealed */
        terms.package_bytes = terms.report_bytes_max = 1000;
        buf_init(&bytes, WIRE_TERMS_MAX);
        ASSERT_OK(wire_terms_encode(&terms, &bytes, &err));
        ASSERT_OK(wire_terms_decode(buf_view(&bytes), &back, &err));
        buf_deinit(&bytes);
    }
    t.range = 0.25;
    struct codec_spec spec;
    task_spec(&t, &b->layout, false, &spec);
    assert_true(spec.pipeline.range == 0.25f);
}

static void test_rule_spec_and_terms_agree(void **state) {
    struct bed *b = *state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct task_config t = b->t;
    t.local_momentum = 0.5;
    t.local_nesterov = true;
    t.local_prox_mu = 0.01;
    t.bits = 4;
    t.keep = 0.05;
    t.stochastic = t.error_feedback = true;
    t.residual_rounds_max = 9;
    t.evaluate_cohort = 30;
    t.deadline_ms = 60000;
    const uint8_t id[16] = {1, 2, 3};
    for (int evaluate = 0; evaluate <= 1; evaluate++) {
        struct codec_spec spec;
        sotto_Terms terms;
        task_spec(&t, &b->layout, evaluate, &spec);
        ASSERT_OK(codec_spec_check(&spec, &err));
        assert_int_equal(spec.section_count, evaluate ? 0 : 1);
        assert_int_equal(spec.accept_max, evaluate ? 30 : 10);
        task_terms(&t, &b->layout, id, 17, evaluate, &terms);
        assert_int_equal(terms.round, 17);
        assert_int_equal(terms.kind, evaluate ? sotto_Kind_KIND_EVALUATE : sotto_Kind_KIND_TRAIN);
        assert_int_equal(terms.n_max, spec.accept_max);
        assert_int_equal(terms.weight_max, spec.weight_max);
        assert_int_equal(terms.pipeline.bits, 4);
        assert_true(terms.pipeline.keep == spec.pipeline.keep);
        assert_true(terms.rule.momentum == 0.5f && terms.rule.nesterov);
        assert_int_equal(terms.train_ms, 60000);
        /* With the host's fields it travels. */
        struct buf bytes;
        buf_init(&bytes, WIRE_TERMS_MAX);
        terms.package_hash.size = terms.round_key.size = 32;
        terms.package_bytes = 1000;
        terms.report_bytes_max = codec_bytes_max(&spec);
        ASSERT_OK(wire_terms_encode(&terms, &bytes, &err));
        buf_deinit(&bytes);
    }
}

/* The devices' half of a strategy stands in the terms, and in the form of an update. */
static void test_strategies_have_local_rules(void **state) {
    struct bed *b = *state;
    static const struct {
        const char *name;
        enum train_algorithm algorithm;
        uint32_t sections;
    } rows[] = {{"fedavg", TRAIN_SGD, 1},
                {"fedprox", TRAIN_SGD, 1},
                {"fednova", TRAIN_NOVA, 1},
                {"scaffold", TRAIN_SCAFFOLD, 2}};
    const uint8_t id[16] = {1};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct sotto_error err = SOTTO_ERROR_INIT;
        struct task_config t = b->t;
        struct codec_spec spec;
        struct train_rule rule;
        sotto_Terms terms;
        t.strategy = strategy(rows[i].name);
        t.local_prox_mu = rows[i].algorithm == TRAIN_SCAFFOLD ? 0.0 : 0.01;
        ASSERT_OK(task_check(&t, &b->layout, &err));
        task_rule(&t, &rule);
        task_spec(&t, &b->layout, false, &spec);
        task_terms(&t, &b->layout, id, 3, false, &terms);
        assert_int_equal(rule.algorithm, rows[i].algorithm);
        assert_int_equal(terms.rule.algorithm, rows[i].algorithm);
        assert_int_equal(spec.section_count, rows[i].sections);
        if (spec.section_count > 1)
            assert_string_equal(spec.sections[1].name, "control");
        task_spec(&t, &b->layout, true, &spec);
        assert_int_equal(spec.section_count, 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_are_whole),
        cmocka_unit_test_setup_teardown(test_defaults_pass, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_refusals_say_what_to_do, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_secure_refusals, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_secure_terms, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_rule_spec_and_terms_agree, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_strategies_have_local_rules, bed_setup, bed_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
