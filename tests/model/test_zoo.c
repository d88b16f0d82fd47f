/* The named architectures, their sizes and packages, and models from YAML, good and bad. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sotto/config.h"
#include "sotto/zoo.h"

#include "support.h"

static void test_named(void **state) {
    (void)state;
    static const struct {
        const char *name;
        uint32_t params, segments;
    } want[] = {{"logreg", 7850, 2},
                {"mnist-2nn", 199210, 6},
                {"mnist-cnn", 1663370, 8},
                {"cifar-cnn", 1626442, 8},
                {"lenet5", 44426, 10}};
    struct sotto_error err = SOTTO_ERROR_INIT;
    size_t count;
    const struct zoo_entry *list = zoo_list(&count);
    assert_int_equal(count, ARRAY_LEN(want));
    for (size_t i = 0; i < count; i++) {
        struct graph g;
        struct data_schema s;
        struct kern_program *p;
        assert_string_equal(list[i].name, want[i].name);
        assert_ptr_equal(zoo_find(want[i].name), &list[i]);
        ASSERT_OK(zoo_build(want[i].name, &g, &s, &err));
        assert_int_equal(g.layout.total, want[i].params);
        assert_int_equal(list[i].params, want[i].params);
        assert_int_equal(g.layout.segment_count, want[i].segments);
        assert_int_equal(data_schema_count(&s), graph_input_count(&g));
        assert_int_equal(s.classes, graph_classes(&g));
        for (int m = GRAPH_TRAIN; m <= GRAPH_PREDICT; m++) {
            struct graph_options o = {.mode = (enum graph_mode)m, .batch = 10};
            ASSERT_OK(graph_compile_program(&g, &o, &p, &err));
            if (m == GRAPH_TRAIN) /* plain SGD: no gradient and no momentum beside the weights */
                assert_true(p->arena_bytes < 4 * (uint64_t)want[i].params + ((uint64_t)6 << 20));
            graph_program_free(p);
        }
        graph_deinit(&g);
    }
    struct graph g;
    struct data_schema s;
    ASSERT_FAILS(zoo_build("resnet\n", &g, &s, &err), SOTTO_NOT_FOUND, "resnet\\x0a");
}

/* The rate that the downlink must reach: int8 with all framing at most 1/3.9 of fp32's bytes. */
static void test_package_size(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct graph g;
    struct data_schema s;
    struct package p;
    ASSERT_OK(zoo_build("mnist-cnn", &g, &s, &err));
    float *w = mem_array(g.layout.total, sizeof *w);
    assert_non_null(w);
    graph_init_params(&g, test_seed(), w);
    const double rates[] = {0.99, 3.9, 7.0};
    for (int k = PACKAGE_F32; k <= PACKAGE_I4; k++) {
        struct buf b;
        buf_init(&b, PACKAGE_BYTES_MAX);
        ASSERT_OK(package_encode(&g, &s, w, (enum package_precision)k, &b, &err));
        assert_true(4.0 * g.layout.total / (double)b.len >= rates[k]);
        ASSERT_OK(package_decode(buf_view(&b), &p, &err));
        assert_true(layout_equal(&p.graph.layout, &g.layout));
        package_deinit(&p);
        buf_deinit(&b);
    }
    mem_free(w);
    graph_deinit(&g);
}

/* ---- YAML ---- */

struct settings {
    struct config_node *model;
};
static const struct config_option table[] = {{"model", CONFIG_NODE,
                                              offsetof(struct settings, model), NULL, 0, 0, NULL,
                                              CONFIG_REQUIRED, "", "layers"},
                                             CONFIG_END};

static enum sotto_status from_yaml(const char *text, struct graph *g, struct data_schema *s,
                                   struct sotto_error *err) {
    struct settings settings = {0};
    struct config *config = NULL;
    graph_init(g);
    enum sotto_status status = config_parse(table, &settings, "m.yaml", view_of(text, strlen(text)),
                                            NULL, 0, &config, err);
    if (status == SOTTO_OK)
        status = zoo_from_yaml(settings.model, "m.yaml", g, s, err);
    config_free(config);
    return status;
}

static void test_yaml_good(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct graph g, named;
    struct data_schema s, t;
    struct buf a, b;
    ASSERT_OK(from_yaml("model:\n"
                        "  input: [28, 28, 1]\n"
                        "  classes: 10\n"
                        "  layers:\n"
                        "    - conv: {units: 32, kernel: 5, padding: same}\n"
                        "    - relu\n"
                        "    - maxpool: {kernel: 2}\n"
                        "    - conv: {units: 64, kernel: [5, 5], padding: same}\n"
                        "    - relu: {}\n"
                        "    - maxpool: {kernel: 2, stride: 2}\n"
                        "    - flatten: {}\n"
                        "    - dense: {units: 512}\n"
                        "    - relu: {}\n"
                        "    - dense: {units: 10}\n",
                        &g, &s, &err));
    ASSERT_OK(zoo_build("mnist-cnn", &named, &t, &err));
    assert_true(data_schema_equal(&s, &t));
    buf_init(&a, 1u << 16);
    buf_init(&b, 1u << 16);
    graph_encode(&g, &a);
    graph_encode(&named, &b);
    assert_int_equal(a.len, b.len);
    assert_memory_equal(a.data, b.data, a.len);
    buf_deinit(&a);
    buf_deinit(&b);
    graph_deinit(&named);
    graph_deinit(&g);

    ASSERT_OK(from_yaml("model:\n"
                        "  input: [8, 8, 2]\n"
                        "  classes: 3\n"
                        "  dtype: f32\n"
                        "  scale: 0.5\n"
                        "  shift: -1\n"
                        "  layers:\n"
                        "    - conv: {units: 4, kernel: 3, padding: same, groups: 2, bias: false}\n"
                        "    - leaky_relu: {slope: 0.1, name: start}\n"
                        "    - conv: {units: 4, kernel: 3, padding: same}\n"
                        "    - tanh\n"
                        "    - add: {from: start}\n"
                        "    - conv: {units: 4, kernel: 1, input: start, name: side}\n"
                        "    - add: {from: add1}\n"
                        "    - avgpool: {kernel: 2, stride: [1, 2]}\n"
                        "    - dropout: {rate: 0.25}\n"
                        "    - globalpool\n"
                        "    - reshape: {shape: [4]}\n"
                        "    - sigmoid\n"
                        "    - dense: {units: 3, name: head}\n",
                        &g, &s, &err));
    assert_int_equal(s.dtype, DATA_F32);
    assert_true(s.scale == 0.5f && s.shift == -1.0f);
    assert_int_equal(g.layout.total, 36 + 36 * 4 + 4 + 16 + 4 + 15);
    struct kern_program *p;
    struct graph_options o = {.mode = GRAPH_TRAIN, .batch = 2};
    ASSERT_OK(graph_compile_program(&g, &o, &p, &err));
    graph_program_free(p);
    graph_deinit(&g);
}

#define HEAD "model:\n  input: [8, 8, 2]\n  classes: 3\n  layers:\n"

static void test_yaml_bad(void **state) {
    (void)state;
    static const struct {
        const char *text, *part;
    } bad[] = {
        {"model: 3\n", "m.yaml:1:8: a model is a mapping"},
        {"model:\n  classes: 3\n  layers: [flatten]\n", "lacks input"},
        {"model:\n  input: [8]\n  layers: [flatten]\n", "lacks classes"},
        {"model:\n  input: [8]\n  classes: 3\n", "lacks layers"},
        {"model:\n  input: 8\n  classes: 3\n  layers: [flatten]\n", "m.yaml:2:10: input must be"},
        {"model:\n  input: [8, x]\n  classes: 3\n  layers: [flatten]\n", "m.yaml:2:14: input"},
        {"model:\n  input: [8, 1, 1, 1]\n  classes: 3\n  layers: [flatten]\n", "list of 1 to 3"},
        {"model:\n  input: [60000000, 60000000]\n  classes: 3\n  layers: [flatten]\n",
         "m.yaml:2:10: input: layer input: more than"},
        {"model:\n  input: [8]\n  classes: 1\n  layers: [flatten]\n", "m.yaml:3:12: classes"},
        {"model:\n  input: [8]\n  classes: 3\n  colour: 1\n  layers: [flatten]\n", "no \"colour\""},
        {"model:\n  input: [8]\n  classes: 3\n  dtype: i8\n  layers: [flatten]\n",
         "m.yaml:4:10: dtype: \"i8\" is not one of u8, f32"},
        {"model:\n  input: [8]\n  classes: 3\n  scale: big\n  layers: [flatten]\n",
         "m.yaml:4:10: scale"},
        {"model:\n  input: [8]\n  classes: 3\n  layers: []\n", "layers must be a list"},
        {HEAD "    - lstm: {units: 3}\n", "m.yaml:5:7: no layer kind \"lstm\""},
        {HEAD "    - conv: {units: 3}\n", "m.yaml:5:7: conv needs kernel"},
        {HEAD "    - conv: {units: 3, kernel: 2, size: 2}\n",
         "m.yaml:5:41: conv has no option \"size\": units, kernel"},
        {HEAD "    - conv: {units: 3, kernel: 9}\n", "m.yaml:5:7: layer conv1: kernel 9x9"},
        {HEAD "    - conv: {units: 3, kernel: [2]}\n", "[height, width]"},
        {HEAD "    - conv: {units: many, kernel: 2}\n", "m.yaml:5:21: units"},
        {HEAD "    - conv: {units: 3, kernel: 2, padding: half}\n", "valid, same"},
        {HEAD "    - conv: {units: 3, kernel: 2, bias: perhaps}\n", "bias"},
        {HEAD "    - conv: 3\n", "must be a mapping"},
        {HEAD "    - {relu: {}, flatten: {}}\n", "a layer is one kind"},
        {HEAD "    - [relu]\n", "a layer is one kind"},
        {HEAD "    - dense: {units: 3}\n", "put a flatten between"},
        {HEAD "    - add: {from: nobody}\n", "no earlier layer is named \"nobody\""},
        {HEAD "    - dropout: {rate: 1.5}\n", "rate 1.5"},
        {HEAD "    - flatten: {name: 'a b'}\n", "letters"},
        {HEAD "    - flatten\n    - dense: {units: 4}\n",
         "m.yaml:3:12: classes: 3, but the last layer gives 4"},
        {HEAD "    - flatten\n    - relu\n", "no weights"},
        {HEAD "    - conv: {units: 3, kernel: 3}\n", "must give [classes]"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct sotto_error err = SOTTO_ERROR_INIT;
        struct graph g;
        struct data_schema s;
        uint64_t live = mem_live_count();
        if (from_yaml(bad[i].text, &g, &s, &err) != SOTTO_CONFIG ||
            !strstr(err.message, bad[i].part))
            fail_msg("%s gives \"%s\", expected \"%s\"", bad[i].text, err.message, bad[i].part);
        assert_int_equal(mem_live_count(), live);
    }
}

static enum sotto_status yaml_without_memory(void *ctx, struct sotto_error *err) {
    struct graph g;
    struct data_schema s;
    enum sotto_status status = zoo_from_yaml(ctx, "m.yaml", &g, &s, err);
    graph_deinit(&g);
    return status;
}

static void test_yaml_no_memory(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct settings settings = {0};
    struct config *config = NULL;
    const char *text = HEAD "    - flatten\n    - dense: {units: 3}\n";
    ASSERT_OK(config_parse(table, &settings, "m.yaml", view_of(text, strlen(text)), NULL, 0,
                           &config, &err));
    test_oom_loop(yaml_without_memory, settings.model);
    config_free(config);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_named),          cmocka_unit_test(test_package_size),
        cmocka_unit_test(test_yaml_good),      cmocka_unit_test(test_yaml_bad),
        cmocka_unit_test(test_yaml_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
