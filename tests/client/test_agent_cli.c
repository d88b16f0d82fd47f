/* The agent's commands that look at the device: devices and bench, their output, their help, and
 * wrong lines. */
#include "support.h"

#include "sotto/kernels.h"
#include "sotto/model.h"
#include "sotto/zoo.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORDS_MAX 16

/* Runs the agent with the words of line; its output (both streams) is in said afterwards. */
static char said[1 << 16];
static int run(const char *line) {
    char copy[512], *save = NULL;
    const char *argv[WORDS_MAX + 2] = {AGENT_PATH};
    int n = 1, status = 0, pipes[2];
    size_t used = 0;
    ssize_t got;
    snprintf(copy, sizeof copy, "%s", line);
    for (char *word = strtok_r(copy, " ", &save); word != NULL && n <= WORDS_MAX;
         word = strtok_r(NULL, " ", &save))
        argv[n++] = word;
    assert_int_equal(pipe(pipes), 0);
    fflush(NULL);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)dup2(pipes[1], 1);
        (void)dup2(pipes[1], 2);
        (void)setenv("HOME", test_path("home"), 1);
        (void)unsetenv("XDG_STATE_HOME");
        execv(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    close(pipes[1]);
    while (used < sizeof said - 1 &&
           (got = read(pipes[0], said + used, sizeof said - 1 - used)) > 0)
        used += (size_t)got;
    said[used] = '\0';
    close(pipes[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

#define EXPECT(line, code, part)                                                                   \
    do {                                                                                           \
        const int code_ = run(line);                                                               \
        if (code_ != (code) || strstr(said, part) == NULL)                                         \
            fail_msg("%s: exit %d, no \"%s\" in: %s", line, code_, part, said);                    \
    } while (0)

static void test_devices(void **state) {
    (void)state;
    EXPECT("devices", 0, "processor\n");
    assert_non_null(strstr(said, "cores"));
    assert_non_null(strstr(said, "backends\n"));
    assert_non_null(strstr(said, kern_backend_kernel_set(kern_backend_host())));
    assert_non_null(strstr(said, "vulkan devices\n"));
    EXPECT("devices --json", 0, "{\"processor\":{\"model\":");
    assert_non_null(strstr(said, "\"backends\":[{\"name\":"));
    assert_non_null(strstr(said, "\"vulkan\":["));
    EXPECT("devices --test --state none/here", 0, "backends\n"); /* no driver is no fault */
    EXPECT("devices now", 2, "usage: sotto-client devices");
}

static void test_bench(void **state) {
    (void)state;
    EXPECT("bench --model logreg --seconds 1 --backend ref", 0,
           "logreg: 7850 weights, batch 10, on one core with a peak of ");
    assert_non_null(strstr(said, "ref/scalar"));
    EXPECT("bench --model logreg --seconds 1 --backend ref --batch 7 --json", 0,
           "{\"model\":\"logreg\",\"weights\":7850,\"batch\":7,\"peak_flops\":");
    static const char *const keys[] = {
        "\"backend\":\"ref\"",
        "\"samples_per_s\":", "\"share_of_peak\":", "\"arena_bytes\":", "\"ms_per_step\":"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        assert_non_null(strstr(said, keys[i]));
    EXPECT("bench --model logreg --seconds 1", 0, kern_backend_name(kern_backend_host()));
    assert_null(strstr(said, "ref/scalar")); /* the oracle only when it is asked for */
}

/* Evaluation beside training: w8 reads a byte a weight, and all agree with f32. */
static void test_bench_forward(void **state) {
    (void)state;
    static const char *const names[] = {"f32", "w8", "f16", "bf16"};
    uint64_t bytes[ARRAY_LEN(names)];
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char line[128], want[64];
        const char *at;
        snprintf(line, sizeof line,
                 "bench --model mnist-2nn --seconds 1 --backend %s --json --precision %s",
                 kern_backend_name(kern_backend_host()), names[i]);
        snprintf(want, sizeof want, "\"forward\":{\"precision\":\"%s\",", names[i]);
        EXPECT(line, 0, want);
        at = strstr(strstr(said, "\"forward\""), "\"arena_bytes\":");
        assert_non_null(at);
        bytes[i] = strtoull(at + strlen("\"arena_bytes\":"), NULL, 10);
        at = strstr(said, "\"agreement\":");
        assert_non_null(at);
        assert_true(strtod(at + strlen("\"agreement\":"), NULL) > 0.9);
        at = strstr(said, "\"farthest\":");
        assert_non_null(at);
        const double farthest = strtod(at + strlen("\"farthest\":"), NULL);
        assert_true(i == 0 ? farthest <= 0 : farthest > 0 && farthest < 0.1);
    }
    assert_true(bytes[0] > bytes[1] + 3 * 198000); /* of 199210 weights, all but biases */
    EXPECT("bench --model logreg --seconds 1 --backend ref --precision w8", 0, "\nforward w8 ");
    EXPECT("bench --precision int8", 2, "--precision: \"int8\" is none of f32, w8, f16, bf16");
}

/* A package as devices get it, whole and damaged. */
static void test_bench_package(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct graph graph;
    struct data_schema schema;
    struct buf bytes;
    char line[512];
    graph_init(&graph);
    buf_init(&bytes, PACKAGE_BYTES_MAX);
    ASSERT_OK(zoo_build("logreg", &graph, &schema, &err));
    float *params = mem_array(graph.layout.total, sizeof *params);
    graph_init_params(&graph, 1, params);
    ASSERT_OK(package_encode(&graph, &schema, params, PACKAGE_I8, &bytes, &err));
    ASSERT_OK(io_write_file(test_path("model.sotto"), bytes.data, bytes.len, 0600, false, &err));
    ASSERT_OK(io_write_file(test_path("half.sotto"), bytes.data, bytes.len / 2, 0600, false, &err));
    snprintf(line, sizeof line, "bench --seconds 1 --model %s", test_path("model.sotto"));
    EXPECT(line, 0, "7850 weights");
    snprintf(line, sizeof line, "bench --seconds 1 --model %s", test_path("half.sotto"));
    EXPECT(line, 1, "half.sotto: ");
    snprintf(line, sizeof line, "bench --seconds 1 --model %s", test_path("."));
    assert_int_not_equal(run(line), 0);
    mem_free(params);
    graph_deinit(&graph);
    buf_deinit(&bytes);
}

static void test_bad_lines(void **state) {
    (void)state;
    EXPECT("bench --model abacus", 2,
           "sotto-client: --model: no file and no model \"abacus\"; models: logreg, mnist-2nn, "
           "mnist-cnn, cifar-cnn");
    EXPECT("bench --backend abacus", 2,
           "sotto-client: --backend: there is no backend \"abacus\" in this program: see "
           "sotto-client devices\n");
    EXPECT("bench --batch 4097", 2, "--batch: 4097 is not in 1..4096");
    EXPECT("bench --model cifar-cnn --batch 4096", 1, "--batch: examples of 16 steps take");
    EXPECT("bench --batch x", 2, "--batch");
    EXPECT("bench --seconds 601", 2, "--seconds: 601 is not in 1..600");
    EXPECT("bench --modle x", 2, "there is no option \"modle\"; did you mean --model?");
    EXPECT("bench model", 2, "usage: sotto-client bench");
    EXPECT("bensh", 2, "there is no command \"bensh\"; did you mean bench?");
}

/* The help of both commands, as it stands in agent_help.exp. */
static void test_help(void **state) {
    (void)state;
    const char *source = getenv("SOTTO_SOURCE");
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct buf want;
    char path[IO_PATH_MAX], both[sizeof said];
    if (source == NULL)
        skip();
    EXPECT("devices --help", 0, "--test");
    snprintf(both, sizeof both, "%s", said);
    EXPECT("bench --help", 0, "--model");
    const size_t used = strlen(both);
    snprintf(both + used, sizeof both - used, "%s", said);
    buf_init(&want, sizeof said);
    ASSERT_OK(io_join(path, sizeof path, source, "tests/client/agent_help.exp", &err));
    if (getenv("SOTTO_UPDATE") != NULL)
        ASSERT_OK(io_write_file(path, both, strlen(both), 0644, false, &err));
    ASSERT_OK(io_read_file(path, sizeof said, &want, &err));
    buf_put_u8(&want, 0);
    assert_string_equal((const char *)want.data, both);
    EXPECT("man", 0, ".B sotto\\-client bench\n");
    assert_non_null(strstr(said, ".BR \\-\\-model"));
    buf_deinit(&want);
}

int main(void) {
#ifdef NO_DRIVERS
    (void)setenv("SOTTO_VULKAN_DISABLE", "all", 1); /* no sanitizer lets them pass */
#endif
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_devices),       cmocka_unit_test(test_bench),
        cmocka_unit_test(test_bench_forward), cmocka_unit_test(test_bench_package),
        cmocka_unit_test(test_bad_lines),     cmocka_unit_test(test_help),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
