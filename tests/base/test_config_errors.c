/* The exact words with which a wrong config is refused: they are what an operator sees first. */
#include "support.h"

#include <stdio.h>
#include <string.h>

#include "config_table.h"

static const struct {
    const char *text, *message;
} golden[] = {
    {"local:\n  lr: abc\n",
     "t.yaml:2:7: key 'local.lr': 'abc' is not a number; allowed: 0 to 10 (default 0.1)"},
    {"local: {lr: 11}\n",
     "t.yaml:1:13: key 'local.lr': '11' is out of range; allowed: 0 to 10 (default 0.1)"},
    {"local: {lr: nan}\n",
     "t.yaml:1:13: key 'local.lr': 'nan' is not a number; allowed: 0 to 10 (default 0.1)"},
    {"local: {lr: 1e999}\n",
     "t.yaml:1:13: key 'local.lr': '1e999' is not a number; allowed: 0 to 10 (default 0.1)"},
    {"rounds: 10x\n",
     "t.yaml:1:9: key 'rounds': '10x' is not a whole number; allowed: 1 to 1000 (default 10)"},
    {"rounds: 010\n",
     "t.yaml:1:9: key 'rounds': '010' is not a whole number; allowed: 1 to 1000 (default 10)"},
    {"rounds: 0x10\n",
     "t.yaml:1:9: key 'rounds': '0x10' is not a whole number; allowed: 1 to 1000 (default 10)"},
    {"rounds: ' 7'\n",
     "t.yaml:1:9: key 'rounds': ' 7' is not a whole number; allowed: 1 to 1000 (default 10)"},
    {"rounds: 0\n",
     "t.yaml:1:9: key 'rounds': '0' is out of range; allowed: 1 to 1000 (default 10)"},
    {"rounds: -1\n",
     "t.yaml:1:9: key 'rounds': '-1' is not a whole number; allowed: 1 to 1000 (default 10)"},
    {"rounds: [1]\n",
     "t.yaml:1:9: key 'rounds': '[...]' is not a single value; allowed: 1 to 1000 (default 10)"},
    {"rounds:\n",
     "t.yaml:1:8: key 'rounds': '' is no value; write \"\" for empty text; allowed: 1 to 1000 "
     "(default 10)"},
    {"local: {nesterov: True}\n",
     "t.yaml:1:19: key 'local.nesterov': 'True' is not a switch; allowed: true, false, yes, no, "
     "on, off (default no)"},
    {"server: {strategy: fedsgd}\n",
     "t.yaml:1:20: key 'server.strategy': 'fedsgd' is not one of the allowed words; allowed: "
     "fedavg, fedadam (default fedavg)"},
    {"memory: 1.5MiB\n", "t.yaml:1:9: key 'memory': '1.5MiB' is not a size; allowed: 1KiB to 1GiB, "
                         "such as 512, 64KiB or 10MB (default 64MiB)"},
    {"memory: 2GiB\n", "t.yaml:1:9: key 'memory': '2GiB' is out of range; allowed: 1KiB to 1GiB, "
                       "such as 512, 64KiB or 10MB (default 64MiB)"},
    {"deadline: 30\n", "t.yaml:1:11: key 'deadline': '30' is not a duration; allowed: 0s to 1h, "
                       "such as 250ms, 5s or 2h (default 90s)"},
    {"task: {name: ''}\n", "t.yaml:1:14: key 'task.name': '' is too short; allowed: 1 to 32 bytes "
                           "of text (default digits)"},
    {"model: {shape: 28}\n", "t.yaml:1:16: key 'model.shape': '28' is not a list such as [a, b]; "
                             "allowed: 1 to 4096 (default 28,28,1)"},
    {"model: {shape: [28, 0]}\n", "t.yaml:1:16: key 'model.shape': '0' is out of range; allowed: "
                                  "1 to 4096 (default 28,28,1)"},
    {"data: {token: [x]}\n",
     "t.yaml:1:15: key 'data.token': '(secret)' is not a single value; allowed: text"},
    {"locl:\n  lr: 1\n", "t.yaml:1:1: unknown key 'locl'; did you mean 'local'?"},
    {"local:\n  rl: 1\n", "t.yaml:2:3: unknown key 'local.rl'; did you mean 'local.lr'?"},
    {"local:\n  velocity: 1\n",
     "t.yaml:2:3: unknown key 'local.velocity'; allowed below 'local': lr, nesterov"},
    {"zzzzzzzzz: 1\n",
     "t.yaml:1:1: unknown key 'zzzzzzzzz'; allowed: rounds, local, task, data, server, memory, "
     "deadline, model, listen"},
    {"\"a\\nb\": 1\n",
     "t.yaml:1:1: unknown key 'a\\x0ab'; allowed: rounds, local, task, data, server, memory, "
     "deadline, model, listen"},
    {"local: 3\n",
     "t.yaml:1:8: key 'local': '3' is not a group of settings; allowed: lr, nesterov"},
    {"rounds: 1\nrounds: 2\n", "t.yaml:2:1: key 'rounds' is there twice; the first is in line 1"},
    {"local: {lr: 1}\nlocal.lr: 2\n", "t.yaml:2:11: key 'local.lr' is there twice"},
    {"rounds: &a 1\n", "t.yaml:1:9: anchors and aliases (& and *) are not allowed"},
    {"rounds: *a\n", "t.yaml:1:9: anchors and aliases (& and *) are not allowed"},
    {"rounds: !!int 1\n", "t.yaml:1:9: tags (!) are not allowed"},
    {"? [a]\n: 1\n", "t.yaml:1:3: a key must be a plain word"},
    {"task: {name: \"a\\0b\"}\n", "t.yaml:1:14: a zero byte inside a value"},
    {"- a\n", "t.yaml:1:1: not a mapping of keys to values"},
    {"text\n", "t.yaml:1:1: not a mapping of keys to values"},
    {"---\nrounds: 1\n---\nrounds: 2\n", "t.yaml:3:1: only one document is allowed"},
    {"rounds: [1\n", "t.yaml:2:1: not valid YAML: did not find expected ',' or ']'"},
    {"\trounds: 1\n", "t.yaml:1:1: not valid YAML: found character that cannot start any token"},
    {"task: {name: \xff}\n", "t.yaml: byte 13: not valid YAML: invalid leading UTF-8 octet"},
};

static void words_are_exact(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(golden); i++) {
        struct sotto_error err = SOTTO_ERROR_INIT;
        struct sample_settings s = {0};
        struct config *c = NULL;
        const char *text = golden[i].text;
        ASSERT_STATUS(config_parse(sample_table, &s, "t.yaml", view_of(text, strlen(text)), NULL, 0,
                                   &c, &err),
                      SOTTO_CONFIG);
        assert_null(c);
        assert_string_equal(err.message, golden[i].message);
    }
}

static const struct {
    const char *set, *message;
} golden_sets[] = {
    {"local.lr=abc",
     "--set: key 'local.lr': 'abc' is not a number; allowed: 0 to 10 (default 0.1)"},
    {"local.lr", "--set 'local.lr': must have the form key=value, such as rounds=10"},
    {"=1", "--set '=1': must have the form key=value, such as rounds=10"},
    {"locall.lr=1", "--set: unknown key 'locall.lr'; did you mean 'local.lr'?"},
    {"local=1", "--set: key 'local': '1' is not a group of settings; allowed: lr, nesterov"},
    {"model.shape=1,,2", "--set: key 'model.shape': '' is not a whole number; allowed: 1 to 4096 "
                         "(default 28,28,1)"},
    {"model.layers=[a", "--set:2:1: not valid YAML: did not find expected ',' or ']'"},
};

static void sets_are_refused_too(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(golden_sets); i++) {
        struct sotto_error err = SOTTO_ERROR_INIT;
        struct sample_settings s = {0};
        struct config *c = NULL;
        ASSERT_STATUS(config_load(sample_table, &s, NULL, &golden_sets[i].set, 1, &c, &err),
                      SOTTO_CONFIG);
        assert_string_equal(err.message, golden_sets[i].message);
    }
}

static void missing_files_and_keys(void **state) {
    (void)state;
    static const struct config_option table[] = {
        {"model", CONFIG_STR, 0, NULL, 0, 0, NULL, CONFIG_REQUIRED, "", "What is trained."},
        CONFIG_END,
    };
    struct sotto_error err = SOTTO_ERROR_INIT;
    char *model = NULL;
    struct config *c = NULL;
    ASSERT_FAILS(config_parse(table, &model, "t.yaml", view_of("", 0), NULL, 0, &c, &err),
                 SOTTO_CONFIG, "t.yaml: key 'model' is missing (What is trained.); allowed: text");
    ASSERT_FAILS(config_load(table, &model, test_path("none.yaml"), NULL, 0, &c, &err),
                 SOTTO_CONFIG, "none.yaml: cannot open: No such file");
    assert_int_equal(err.status, SOTTO_CONFIG);
}

/* n opening brackets, then n closing ones. Returns how many bytes that is. */
static size_t nest(char *out, size_t n) {
    memset(out, '[', n);
    memset(out + n, ']', n);
    return 2 * n;
}

static enum sotto_status parse_text(const char *text, size_t n, struct sotto_error *err) {
    struct sample_settings s = {0};
    struct config *c = NULL;
    const enum sotto_status status =
        config_parse(sample_table, &s, "t.yaml", view_of(text, n), NULL, 0, &c, err);
    config_free(c);
    return status;
}

static void limits(void **state) {
    (void)state;
    static char text[CONFIG_FILE_MAX + 2];
    struct sotto_error err = SOTTO_ERROR_INIT;
    size_t head = (size_t)snprintf(text, sizeof text, "model.layers: ");
    size_t n = head + nest(text + head, 15);
    ASSERT_OK(parse_text(text, n, &err));
    n = head + nest(text + head, 16);
    ASSERT_FAILS(parse_text(text, n, &err), SOTTO_CONFIG, "t.yaml:1:30: nested more than 16");
    n = head + nest(text + head, 100000);
    ASSERT_FAILS(parse_text(text, n, &err), SOTTO_CONFIG, "nested more than 16 levels deep");
    memset(text, '#', sizeof text);
    ASSERT_OK(parse_text(text, CONFIG_FILE_MAX, &err));
    ASSERT_FAILS(parse_text(text, CONFIG_FILE_MAX + 1, &err), SOTTO_CONFIG, "larger than 1 MiB");
    n = head;
    (void)snprintf(text, sizeof text, "model.layers: [");
    for (n = head + 1; n < head + 2 * 5000; n += 2)
        memcpy(text + n, "1,", 2);
    text[n++] = ']';
    ASSERT_FAILS(parse_text(text, n, &err), SOTTO_CONFIG, "more than 4096 entries");
    (void)snprintf(text, sizeof text, "listen: [");
    n = strlen(text);
    for (int i = 0; i < 65; i++, n += 2)
        memcpy(text + n, "1,", 2);
    text[n++] = ']';
    ASSERT_FAILS(parse_text(text, n, &err), SOTTO_CONFIG, "'1' is the 65th item");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_are_exact),
        cmocka_unit_test(sets_are_refused_too),
        cmocka_unit_test(missing_files_and_keys),
        cmocka_unit_test(limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
