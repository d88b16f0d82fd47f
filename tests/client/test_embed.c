/* Processes of their own against a scripted coordinator: the example app over the shared library,
 * and the agent. */
#include "wire_server.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define TURNS_MAX 20000

static pid_t start(const char *const *argv, const char *output) {
    fflush(NULL);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        const int fd = open(test_path(output), O_WRONLY | O_CREAT | O_TRUNC, 0600);
        (void)dup2(fd, 1);
        (void)dup2(fd, 2);
        execv(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    return pid;
}

/* Serves until the process ends; its exit code. */
static int serve(struct wire_server *s, pid_t pid) {
    int status = 0;
    for (int i = 0; i < TURNS_MAX; i++) {
        uint64_t ready = 0;
        if (waitpid(pid, &status, WNOHANG) == pid)
            return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
        (void)transport_wait(&s->transport, 1, NULL, 0, 20, &ready, NULL);
        wire_server_poll(s);
    }
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, &status, 0);
    return -1;
}

static void expect_output(const char *name, const char *part) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct buf text;
    buf_init(&text, 1u << 20);
    ASSERT_OK(io_read_file(test_path(name), 1u << 20, &text, &err));
    buf_put_u8(&text, 0);
    if (strstr((const char *)text.data, part) == NULL)
        fail_msg("no \"%s\" in: %s", part, (const char *)text.data);
    buf_deinit(&text);
}

static int run(struct wire_server *s, const char *const *argv, const char *output) {
    return serve(s, start(argv, output));
}

static void test_embed(void **state) {
    (void)state;
    struct wire_server s;
    struct buf token;
    wire_server_init(&s);
    wire_server_package(&s, 1);
    wire_server_round(&s, 1);
    WIRE_SET_TEXT(s.terms.collection, "digits");
    struct sotto_error err = SOTTO_ERROR_INIT;
    ASSERT_OK(wire_terms_encode(&s.terms, &s.terms_bytes, &err));
    s.terms_hash = wire_terms_hash(buf_view(&s.terms_bytes));
    wire_server_token(&s, &token);
    const char *const argv[] = {EMBED_PATH, test_path("embed"), (const char *)token.data, "2",
                                NULL};
    assert_int_equal(run(&s, argv, "embed.out"), 0);
    expect_output("embed.out", "1 reports acknowledged");
    expect_output("embed.out", "the model says");
    buf_deinit(&token);
    wire_server_deinit(&s);
}

static void test_agent(void **state) {
    (void)state;
    struct wire_server s;
    struct buf token;
    wire_server_init(&s);
    wire_server_package(&s, 1);
    wire_server_round(&s, 1);
    wire_server_token(&s, &token);
    assert_int_equal(
        io_write_file(test_path("token"), token.data, token.len - 1, 0600, false, NULL), SOTTO_OK);
    char at[512]; /* test_path's buffers are reused */
    const char *dir = "--state";
    snprintf(at, sizeof at, "%s", test_path("agent"));
    const char *const imports[] = {AGENT_PATH, "import", "digits",  dir,  at,
                                   "--writer", "3",      "--count", "25", NULL};
    const char *const early[] = {AGENT_PATH, "run", "--once", dir, at, NULL};
    const char *const enroll[] = {AGENT_PATH, "enroll", test_path("token"), dir, at, NULL};
    const char *const status[] = {AGENT_PATH, "status", dir, at, "--json", NULL};
    const char *const history[] = {AGENT_PATH, "history", dir, at, NULL};
    const char *const forget[] = {AGENT_PATH, "forget", "--yes", dir, at, NULL};
    assert_int_equal(run(&s, imports, "out"), 0);
    expect_output("out", "25 examples added");
    assert_int_equal(run(&s, early, "out"), 1);
    expect_output("out", "not enrolled");
    assert_int_equal(run(&s, enroll, "out"), 0);
    expect_output("out", "Enrolled with serial 42");
    assert_int_equal(run(&s, early, "out"), 0);
    expect_output("out", "1 report acknowledged");
    assert_true(s.stored);
    assert_int_equal(run(&s, status, "out"), 0);
    expect_output("out", "\"reports\":1,\"open_reports\":1");
    assert_int_equal(run(&s, history, "out"), 0);
    expect_output("out", "digits/1  accepted digits round 1");
    assert_int_equal(run(&s, early, "out"), 0); /* told to come back */
    assert_int_equal(run(&s, forget, "out"), 0);
    buf_deinit(&token);
    wire_server_deinit(&s);
}

/* SIGTERM ends a running agent cleanly. */
static void test_agent_stops(void **state) {
    (void)state;
    struct wire_server s;
    struct buf token;
    wire_server_init(&s);
    wire_server_token(&s, &token);
    const char *const enroll[] = {AGENT_PATH, "enroll",           (const char *)token.data,
                                  "--state",  test_path("stops"), NULL};
    const char *const forever[] = {AGENT_PATH, "run", "--state", test_path("stops"), NULL};
    assert_int_equal(run(&s, enroll, "out"), 0);
    const pid_t pid = start(forever, "out");
    for (int i = 0; i < TURNS_MAX && s.check_ins == 0; i++) {
        uint64_t ready = 0;
        (void)transport_wait(&s.transport, 1, NULL, 0, 20, &ready, NULL);
        wire_server_poll(&s);
    }
    assert_int_equal(kill(pid, SIGTERM), 0);
    assert_int_equal(serve(&s, pid), 0);
    expect_output("out", "0 reports acknowledged");
    buf_deinit(&token);
    wire_server_deinit(&s);
}

int main(void) {
    (void)setenv("SOTTO_VULKAN_DISABLE", "all", 1); /* no driver: its own tests are elsewhere */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_embed),
        cmocka_unit_test(test_agent),
        cmocka_unit_test(test_agent_stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
