/* The program: JSON lines, the files of --out, exit codes and messages. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "support.h"

static const char yaml[] = "task: {name: small, seed: 5}\n"
                           "model: {zoo: logreg}\n"
                           "data: {name: generator, per_writer: 20}\n"
                           "clients: 6\n"
                           "partition: {scheme: natural}\n"
                           "rounds: 3\n"
                           "cohort: 3\n"
                           "evaluation: {count: 60, every: 2}\n";

/* Runs sotto-sim with args; out (cap) takes what it printed, both streams. Its exit code. */
static int run(const char *args, char *out, size_t cap) {
    char command[2560];
    const char *bin = getenv("SOTTO_BIN");
    snprintf(command, sizeof command, "%s/sotto-sim %s 2>&1", bin ? bin : "bin", args);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    size_t n = fread(out, 1, cap - 1, f);
    out[n] = '\0';
    const int status = pclose(f);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static const char *write_yaml(void) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    const char *path = test_path("small.yaml");
    ASSERT_OK(io_write_file(path, yaml, sizeof yaml - 1, 0600, false, &err));
    return path;
}

static void test_json(void **state) {
    (void)state;
    static char out[1 << 16];
    static const char *const keys[] = {"round",         "accuracy",   "loss",
                                       "train_samples", "bytes_up",   "train_seconds",
                                       "eval_seconds",  "bytes_down", "wall_seconds"};
    char args[1600], want[64];
    snprintf(args, sizeof args, "run %s --json --seed 9 --workers 2", write_yaml());
    assert_int_equal(run(args, out, sizeof out), 0);
    size_t lines = 0;
    char *rest = NULL;
    for (char *line = strtok_r(out, "\n", &rest); line;
         line = strtok_r(NULL, "\n", &rest), lines++) {
        assert_int_equal(line[0], '{');
        assert_int_equal(line[strlen(line) - 1], '}');
        if (lines == 3) {
            assert_non_null(strstr(line, "\"event\":\"done\""));
            assert_non_null(strstr(line, "\"digest\":\""));
            assert_non_null(strstr(line, "\"seed\":9"));
            assert_non_null(strstr(line, "\"rounds\":3"));
            continue;
        }
        for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
            snprintf(want, sizeof want, "\"%s\":", keys[i]);
            assert_non_null(strstr(line, want));
        }
        snprintf(want, sizeof want, "{\"round\":%zu,", lines + 1);
        assert_memory_equal(line, want, strlen(want));
        assert_int_equal(strstr(line, "\"accuracy\":null") != NULL, lines == 0); /* not tested */
    }
    assert_int_equal(lines, 4);
}

static void test_files(void **state) {
    (void)state;
    static char out[1 << 16];
    static const char *const names[] = {"config.yaml",  "rounds.csv",    "rounds.jsonl",
                                        "summary.json", "model.package", "accuracy.svg"};
    char args[1600], dir[512], path[600];
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct buf text;
    snprintf(dir, sizeof dir, "%s", test_path("run"));
    snprintf(args, sizeof args, "run %s --out %s", write_yaml(), dir);
    assert_int_equal(run(args, out, sizeof out), 0);
    assert_non_null(strstr(out, "digest "));
    buf_init(&text, 1 << 20);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        ASSERT_OK(io_read_file(path, 1 << 20, &text, &err));
        assert_true(text.len > 100);
        if (strcmp(names[i], "rounds.csv") == 0) {
            size_t rows = 0;
            for (size_t k = 0; k < text.len; k++)
                rows += text.data[k] == '\n';
            assert_int_equal(rows, 4);
        }
    }
    /* What was dumped is the same experiment. */
    char first[80], second[80];
    snprintf(first, sizeof first, "%.79s", strstr(out, "digest "));
    snprintf(args, sizeof args, "run %s/config.yaml", dir);
    assert_int_equal(run(args, out, sizeof out), 0);
    snprintf(second, sizeof second, "%.79s", strstr(out, "digest "));
    assert_string_equal(first, second);
    snprintf(args, sizeof args, "plot %s -o %s/all.svg", dir, dir);
    assert_int_equal(run(args, out, sizeof out), 0);
    snprintf(path, sizeof path, "%s/all.svg", dir);
    assert_true(io_exists(path));
    buf_deinit(&text);
}

/* Every test example counts for one natural key, and together they are the test. */
static void test_spread(void **state) {
    (void)state;
    static char out[1 << 16];
    char args[1600], path[600], *rest = NULL;
    unsigned long long seen = 0, correct = 0, keys = 0, last = 0;
    double accuracy = -1, mean = -1, sum = 0;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct buf text;
    snprintf(args, sizeof args, "run %s --json --out %s", write_yaml(), test_path("spread"));
    assert_int_equal(run(args, out, sizeof out), 0);
    const char *end = strstr(out, "\"event\":\"done\"");
    assert_non_null(end);
    assert_int_equal(sscanf(strstr(end, "\"accuracy\":"), "\"accuracy\":%lf", &accuracy), 1);
    assert_non_null(strstr(end, "\"by_key\":{\"keys\":"));
    assert_int_equal(
        sscanf(strstr(end, "\"by_key\""), "\"by_key\":{\"keys\":%*u,\"mean\":%lf", &mean), 1);
    buf_init(&text, 1 << 20);
    snprintf(path, sizeof path, "%s/keys.csv", test_path("spread"));
    ASSERT_OK(io_read_file(path, 1 << 19, &text, &err));
    buf_put_u8(&text, '\0');
    assert_string_equal(strtok_r((char *)text.data, "\n", &rest),
                        "run,seed,key,examples,correct,accuracy_fraction");
    for (char *line; (line = strtok_r(NULL, "\n", &rest)) != NULL; keys++) {
        unsigned long long key, n, k;
        assert_int_equal(sscanf(line, "%*[^,],5,%llu,%llu,%llu,", &key, &n, &k), 3);
        assert_true(n > 0 && k <= n && (keys == 0 || key > last));
        seen += n;
        correct += k;
        sum += (double)k / (double)n;
        last = key;
    }
    assert_int_equal(seen, 60);
    assert_true(keys > 1);
    assert_true(fabs((double)correct / (double)seen - accuracy) < 1e-9);
    assert_true(fabs(sum / (double)keys - mean) < 1e-9);
    snprintf(args, sizeof args, "run %s --json --set partition.scheme=iid", write_yaml());
    assert_int_equal(run(args, out, sizeof out), 0);
    assert_null(strstr(out, "by_key"));
    buf_deinit(&text);
}

/* Phases add up to the workers' time, and profiling changes no bit. */
static void test_profile(void **state) {
    (void)state;
    static char out[1 << 16];
    static const char *const keys[] = {"kernels", "train_rest", "encode", "add",
                                       "delta",   "evaluate",   "idle"};
    char args[1600], digest[80], want[32];
    double sum = 0.0, wall = 0.0;
    snprintf(args, sizeof args, "run %s --json --workers 2", write_yaml());
    assert_int_equal(run(args, out, sizeof out), 0);
    assert_null(strstr(out, "\"profile\""));
    assert_non_null(strstr(out, "\"digest\":"));
    snprintf(digest, sizeof digest, "%.75s", strstr(out, "\"digest\":"));
    snprintf(args, sizeof args, "run %s --json --workers 2 --profile", write_yaml());
    assert_int_equal(run(args, out, sizeof out), 0);
    assert_non_null(strstr(out, digest));
    const char *profile = strstr(out, "\"profile\":{\"workers\":2,");
    assert_non_null(profile);
    assert_int_equal(sscanf(profile, "\"profile\":{\"workers\":2,\"wall_seconds\":%lf", &wall), 1);
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        double seconds = -1.0;
        snprintf(want, sizeof want, "\"%s\":", keys[i]);
        const char *at = strstr(profile, want);
        assert_non_null(at);
        assert_int_equal(sscanf(at + strlen(want), "%lf", &seconds), 1);
        assert_true(seconds >= 0.0);
        sum += seconds;
    }
    print_message("phases %.6f s of 2 workers, %.6f s wall clock\n", sum, wall);
    assert_true(sum > 1.99 * wall); /* more where a worker's last clock read comes after the end */
    assert_non_null(strstr(profile, "{\"instruction\":\"gemm 10x10x784\",\"seconds\":"));

    snprintf(args, sizeof args, "run %s --profile --set local.batch=0", write_yaml());
    assert_int_equal(run(args, out, sizeof out), 0);
    assert_non_null(strstr(out, "training kernels"));
    assert_non_null(strstr(out, "of peak"));
    snprintf(args, sizeof args, "run %s --profile --wire", write_yaml());
    assert_int_not_equal(run(args, out, sizeof out), 0);
    assert_non_null(strstr(out, "--profile: not with --wire"));
}

static void test_resume(void **state) {
    (void)state;
    static char out[1 << 16];
    char args[1600], dir[512];
    snprintf(dir, sizeof dir, "%s", test_path("again"));
    snprintf(args, sizeof args, "run %s --resume", write_yaml());
    assert_int_equal(run(args, out, sizeof out), 2);
    assert_non_null(strstr(out, "--out"));
    snprintf(args, sizeof args, "run %s --out %s --checkpoint soon", write_yaml(), dir);
    assert_int_equal(run(args, out, sizeof out), 1);
    assert_non_null(strstr(out, "--checkpoint"));
    snprintf(args, sizeof args, "run %s --out %s --checkpoint 1 --resume", write_yaml(), dir);
    assert_int_equal(run(args, out, sizeof out), 0); /* there is nothing to go on from */
    assert_false(io_exists(test_path("again/run.checkpoint")));
}

static void test_errors(void **state) {
    (void)state;
    static char out[1 << 16];
    char args[1600];
    snprintf(args, sizeof args, "run %s --set cohrot=3", write_yaml());
    assert_int_equal(run(args, out, sizeof out), 78);
    assert_non_null(strstr(out, "cohort"));
    snprintf(args, sizeof args, "run %s --set data.name=mnist", write_yaml());
    assert_int_equal(run(args, out, sizeof out), 78);
    assert_non_null(strstr(out, "--data"));
    assert_int_equal(run("run /nonexistent.yaml", out, sizeof out), 78);
    assert_non_null(strstr(out, "/nonexistent.yaml"));
    snprintf(args, sizeof args, "run %s --backend abacus", write_yaml());
    assert_int_equal(run(args, out, sizeof out), 2);
    assert_non_null(strstr(out, "--backend"));
    snprintf(args, sizeof args, "run %s --workers 0", write_yaml());
    assert_int_not_equal(run(args, out, sizeof out), 0);
    assert_non_null(strstr(out, "--workers"));
    assert_int_equal(run("plot /nonexistent", out, sizeof out), 1);
    assert_int_equal(run("list", out, sizeof out), 0);
    assert_non_null(strstr(out, "mnist-2nn"));
    assert_non_null(strstr(out, "dirichlet"));
    assert_int_equal(run("--help", out, sizeof out), 0);
    assert_non_null(strstr(out, "fleet.speed"));
}

static void test_config_check(void **state) {
    (void)state;
    static char out[1 << 16];
    static const struct {
        const char *set, *want;
    } wrong[] = {{"cohrot=3", "cohort"},         {"local.lr=fast", "local.lr"},
                 {"model.zoo=logrec", "logrec"}, {"partition.scheme=cards", "cards"},
                 {"partition.alpha=1", "alpha"}, {"rounds=0", "rounds"}};
    char args[1600];
    snprintf(args, sizeof args, "config check %s", write_yaml());
    assert_int_equal(run(args, out, sizeof out), 0);
    assert_non_null(strstr(out, "small.yaml: good\n"));
    snprintf(args, sizeof args, "config check --json %s", write_yaml());
    assert_int_equal(run(args, out, sizeof out), 0);
    assert_non_null(strstr(out, "{\"message\":\""));
    /* The data need not be there. */
    snprintf(args, sizeof args, "config check %s --set data.name=mnist", write_yaml());
    assert_int_equal(run(args, out, sizeof out), 0);
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        snprintf(args, sizeof args, "config check %s --set %s", write_yaml(), wrong[i].set);
        assert_int_equal(run(args, out, sizeof out), 4);
        assert_non_null(strstr(out, wrong[i].want));
    }
    assert_int_equal(run("config check /nonexistent.yaml", out, sizeof out), 4);
    assert_non_null(strstr(out, "/nonexistent.yaml"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json),         cmocka_unit_test(test_files),
        cmocka_unit_test(test_spread),       cmocka_unit_test(test_profile),
        cmocka_unit_test(test_resume),       cmocka_unit_test(test_errors),
        cmocka_unit_test(test_config_check),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
