/* The config reader: values of every type, where they come from, what a dump gives back, memory
 * running out. */
#include "support.h"

#include <stdlib.h>
#include <string.h>

#include "config_table.h"

static const char good[] = "# a comment\n"
                           "rounds: 25\n"
                           "local: {lr: 0.5, nesterov: yes}\n"
                           "task:\n"
                           "  name: \"two words\"\n"
                           "server.strategy: fedadam\n"
                           "memory: 10MB\n"
                           "deadline: 2m\n"
                           "model:\n"
                           "  shape: [32, 32, 3]\n"
                           "  layers:\n"
                           "    - conv: {units: 32, kernel: 5}\n"
                           "    - relu: {}\n"
                           "listen: [\"tcp://*:1\", b]\n";

static struct config *parse(struct sample_settings *s, const char *text, const char *const *sets,
                            size_t n) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct config *c = NULL;
    *s = (struct sample_settings){0};
    ASSERT_OK(
        config_parse(sample_table, s, "t.yaml", view_of(text, strlen(text)), sets, n, &c, &err));
    return c;
}

static void defaults(void **state) {
    (void)state;
    struct sample_settings s;
    struct config *c = parse(&s, "", NULL, 0);
    assert_int_equal(s.rounds, 10);
    assert_true(s.lr == 0.1);
    assert_false(s.nesterov);
    assert_string_equal(s.name, "digits");
    assert_string_equal(s.data, "");
    assert_null(s.token);
    assert_int_equal(s.strategy, 0);
    assert_int_equal(s.memory, 64 << 20);
    assert_int_equal(s.deadline_ms, 90000);
    assert_int_equal(s.shape.count, 3);
    assert_int_equal(s.shape.v[2], 1);
    assert_int_equal(s.addresses.count, 0);
    assert_null(s.layers);
    assert_string_equal(config_origin(c, "rounds"), "default");
    config_free(c);
    config_free(NULL);
}

static void every_type_from_a_file(void **state) {
    (void)state;
    struct sample_settings s;
    struct config *c = parse(&s, good, NULL, 0);
    assert_int_equal(s.rounds, 25);
    assert_true(s.lr == 0.5 && s.nesterov);
    assert_string_equal(s.name, "two words");
    assert_int_equal(s.strategy, 1);
    assert_int_equal(s.memory, 10000000);
    assert_int_equal(s.deadline_ms, 120000);
    assert_int_equal(s.shape.v[0], 32);
    assert_int_equal(s.addresses.count, 2);
    assert_string_equal(s.addresses.v[0], "tcp://*:1");
    assert_int_equal(s.layers->kind, CONFIG_SEQUENCE);
    assert_int_equal(s.layers->child_count, 2);
    const struct config_node *conv = config_node_get(s.layers->children[0], "conv");
    assert_string_equal(config_node_get(conv, "kernel")->text, "5");
    assert_null(config_node_get(conv, "stride"));
    assert_int_equal(conv->line, 12);
    assert_int_equal(conv->column, 13);
    assert_string_equal(config_origin(c, "local.lr"), "t.yaml:3:13");
    config_free(c);
}

static void precedence(void **state) {
    (void)state;
    static const char *const sets[] = {"local.lr=0.25", "model.shape=4,5", "local.lr=0.75",
                                       "model.layers=[{relu: {}}]", "listen=[x, 'y,z']"};
    struct sample_settings s;
    assert_int_equal(setenv("SOTTO_LOCAL_LR", "0.3", 1), 0);
    assert_int_equal(setenv("SOTTO_ROUNDS", "7", 1), 0);
    struct config *c = parse(&s, good, sets, ARRAY_LEN(sets));
    assert_int_equal(unsetenv("SOTTO_LOCAL_LR"), 0);
    assert_int_equal(unsetenv("SOTTO_ROUNDS"), 0);
    assert_true(s.lr == 0.75);
    assert_int_equal(s.rounds, 7);
    assert_int_equal(s.shape.count, 2);
    assert_int_equal(s.layers->child_count, 1);
    assert_string_equal(s.addresses.v[1], "y,z");
    assert_string_equal(config_origin(c, "local.lr"), "--set");
    assert_string_equal(config_origin(c, "rounds"), "environment");
    assert_string_equal(config_origin(c, "no.such"), "default");
    config_free(c);
}

static char *dump_of(const struct sample_settings *s, bool canonical) {
    struct buf b;
    size_t n;
    buf_init(&b, 1 << 16);
    if (canonical)
        config_canonical(sample_table, s, &b);
    else
        config_dump(sample_table, s, &b);
    buf_put_u8(&b, 0);
    assert_int_equal(b.status, SOTTO_OK);
    return (char *)buf_take(&b, &n);
}

static void dump_loads_again(void **state) {
    (void)state;
    static const char *const odd[] = {
        "",
        good,
        "task.name: \"q\\\" \\\\ \\n \\u00e4 \\u0085 #: x\"\n",
        "task.name: '123'\n",
        "task.name: 'true'\n",
        "task.name: '- x'\n",
        "model.layers: {a: {b: ['1', ~, \"\"]}, c: , d: 1}\n",
        "model.layers:\n  -\n  - a\n",
        "local.lr: 1e-9\nmemory: 1025\ndeadline: 1500ms\nmodel.shape: []\n"};
    for (size_t i = 0; i < ARRAY_LEN(odd); i++) {
        struct sample_settings s, again;
        struct config *c = parse(&s, odd[i], NULL, 0);
        char *first = dump_of(&s, false);
        struct config *c2 = parse(&again, first, NULL, 0);
        char *second = dump_of(&again, false);
        assert_string_equal(first, second);
        char *hash_a = dump_of(&s, true), *hash_b = dump_of(&again, true);
        assert_string_equal(hash_a, hash_b);
        mem_free(hash_a);
        mem_free(hash_b);
        mem_free(first);
        mem_free(second);
        config_free(c);
        config_free(c2);
    }
}

static void dump_groups_and_hides(void **state) {
    (void)state;
    struct sample_settings s;
    struct config *c = parse(&s, "data: {token: abc, dir: /srv/x/mnist}\n", NULL, 0);
    char *text = dump_of(&s, false);
    assert_string_equal(text, "rounds: 10\n"
                              "local:\n  lr: 0.1\n  nesterov: false\n"
                              "task:\n  name: digits\n"
                              "data:\n  dir: /srv/x/mnist\n  token: (secret)\n"
                              "server:\n  strategy: fedavg\n"
                              "memory: 64MiB\n"
                              "deadline: 90s\n"
                              "model:\n  shape: [28, 28, 1]\n  # layers: not set\n"
                              "listen: []\n");
    mem_free(text);
    text = dump_of(&s, true);
    assert_non_null(strstr(text, "data.dir: mnist\n"));
    assert_null(strstr(text, "abc"));
    assert_null(strstr(text, "srv"));
    mem_free(text);
    config_free(c);
}

static void paths_are_beside_the_file(void **state) {
    (void)state;
    static const char text[] = "data.dir: sub/mnist\n";
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct sample_settings s = {0};
    struct config *c;
    char want[IO_PATH_MAX], real[IO_PATH_MAX];
    const char *path = test_path("conf.yaml");
    assert_non_null(realpath(test_tmpdir(), real));
    ASSERT_OK(io_join(want, sizeof want, real, "sub/mnist", &err));
    ASSERT_OK(io_write_file(path, text, strlen(text), 0600, false, &err));
    ASSERT_OK(config_load(sample_table, &s, path, NULL, 0, &c, &err));
    assert_string_equal(s.data, want);
    config_free(c);
    static const char *const sets[] = {"data.dir=rel"};
    s = (struct sample_settings){0};
    ASSERT_OK(config_load(sample_table, &s, NULL, sets, 1, &c, &err));
    assert_string_equal(s.data, "rel");
    config_free(c);
}

static void help_names_everything(void **state) {
    (void)state;
    struct buf b;
    buf_init(&b, 1 << 16);
    config_help(sample_table, &b);
    buf_put_u8(&b, 0);
    const char *text = (const char *)b.data;
    for (const struct config_option *o = sample_table; o->path != NULL; o++) {
        assert_non_null(strstr(text, o->path));
        assert_non_null(strstr(text, o->help));
    }
    assert_non_null(strstr(text, "  local.lr NUMBER\n      Learning rate.\n"
                                 "      Allowed: 0 to 10. Default: 0.1.\n"));
    buf_deinit(&b);
}

static enum sotto_status parse_once(void *ctx, struct sotto_error *err) {
    static const char *const sets[] = {"model.layers=[a, {b: c}]", "listen=p,q"};
    struct sample_settings s = {0};
    struct config *c = NULL;
    (void)ctx;
    enum sotto_status status =
        config_parse(sample_table, &s, "t.yaml", view_of(good, strlen(good)), sets, 2, &c, err);
    config_free(c);
    return status;
}

static void survives_oom(void **state) {
    (void)state;
    test_oom_loop(parse_once, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(every_type_from_a_file),
        cmocka_unit_test(precedence),
        cmocka_unit_test(dump_loads_again),
        cmocka_unit_test(dump_groups_and_hides),
        cmocka_unit_test(paths_are_beside_the_file),
        cmocka_unit_test(help_names_everything),
        cmocka_unit_test(survives_oom),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
