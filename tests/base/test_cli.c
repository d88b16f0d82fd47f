/* The command line: commands, flags, arguments, help, the man page, and what a wrong line says. */
#include "support.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config_table.h"

static char seen[256];

static int show(struct cli *cli) {
    const char *const *tags;
    const size_t n = cli_flag_all(cli, "tag", &tags);
    const char *out = cli_flag(cli, "out");
    (void)snprintf(seen, sizeof seen, "args=%d first=%s out=%s force=%d json=%d tags=%zu%s%s",
                   cli_arg_count(cli), cli_arg(cli, 0) ? cli_arg(cli, 0) : "-", out ? out : "-",
                   cli_flag(cli, "force") != NULL, cli_json(cli), n, n > 0 ? tags[0] : "",
                   n > 1 ? tags[1] : "");
    return 0;
}

static int count(struct cli *cli) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    uint64_t n = 7;
    if (cli_flag_u64(cli, "count", 1, 10, &n, &err) != SOTTO_OK)
        return cli_fail(cli, &err);
    (void)snprintf(seen, sizeof seen, "n=%llu", (unsigned long long)n);
    return 0;
}

static int fail_busy(struct cli *cli) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    (void)SOTTO_FAIL(&err, SOTTO_UNREACHABLE, "no \"daemon\" runs");
    return cli_fail(cli, &err);
}

static const struct cli_flag create_flags[] = {{"force", 'f', NULL, false, "replace it"},
                                               {"out", 'o', "FILE", false, "where to"},
                                               {"tag", 0, "TAG", true, "a tag"},
                                               CLI_FLAGS_END};
static const struct cli_flag every_flags[] = {{"state", 's', "DIR", false, "state folder"},
                                              CLI_FLAGS_END};
static const struct cli_command commands[] = {
    {"task create", "FILE", 1, 2, create_flags, "create a task",
     "tool task create x.yaml --out y\n\n.Starts with a dot - and a minus.", show},
    {"task list", "", 0, 0, NULL, "list tasks", NULL, show},
    {"status", "", 0, -1, NULL, "show the state", NULL, fail_busy},
    CLI_COMMANDS_END};
static const struct cli_tool tool = {"tool",   "does things", "1",
                                     commands, every_flags,   sample_table};
static const struct cli_command bare_commands[] = {
    {"", "[FILE]", 0, 1, create_flags, "runs", NULL, show}, CLI_COMMANDS_END};
static const struct cli_tool bare = {"bare", "is bare", "8", bare_commands, NULL, NULL};

static const struct cli_flag count_flags[] = {{"count", 'n', "N", false, "how many"},
                                              CLI_FLAGS_END};
static const struct cli_command count_commands[] = {
    {"", "", 0, 0, count_flags, "counts", NULL, count}, CLI_COMMANDS_END};
static const struct cli_tool counter = {"counter", "counts", "8", count_commands, NULL, NULL};

static char out_text[1 << 16], err_text[1 << 16];

static int redirect(int fd, const char *path) {
    const int saved = dup(fd);
    const int f = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_true(saved >= 0 && f >= 0 && dup2(f, fd) == fd);
    close(f);
    return saved;
}

static void restore(int fd, int saved, char *text, size_t cap) {
    const ssize_t n = pread(fd, text, cap - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    assert_int_equal(dup2(saved, fd), fd);
    close(saved);
}

/* Runs a line of words; what it printed is in out_text and err_text. */
static int run_tool(const struct cli_tool *t, const char *line) {
    static char words[1024];
    char *argv[32] = {NULL};
    int argc = 0;
    (void)snprintf(words, sizeof words, "%s", line);
    char *rest = words;
    for (char *w; (w = strsep(&rest, " ")) != NULL && argc < 31;)
        if (*w != '\0')
            argv[argc++] = w;
    seen[0] = '\0';
    (void)fflush(stdout);
    (void)fflush(stderr);
    const int o = redirect(STDOUT_FILENO, test_path("out"));
    const int e = redirect(STDERR_FILENO, test_path("err"));
    const int code = cli_main(t, argc, argv);
    (void)fflush(stdout);
    restore(STDOUT_FILENO, o, out_text, sizeof out_text);
    restore(STDERR_FILENO, e, err_text, sizeof err_text);
    return code;
}

static void lines_that_run(void **state) {
    (void)state;
    static const struct {
        const char *line, *seen;
    } cases[] = {
        {"tool task create a", "args=1 first=a out=- force=0 json=0 tags=0"},
        {"tool --json task create a b", "args=2 first=a out=- force=0 json=1 tags=0"},
        {"tool task create --out x a -f", "args=1 first=a out=x force=1 json=0 tags=0"},
        {"tool task create --out=x=y a", "args=1 first=a out=x=y force=0 json=0 tags=0"},
        {"tool task create -ox -o y a", "args=1 first=a out=y force=0 json=0 tags=0"},
        {"tool task create a --tag 1 -f --tag=2", "args=1 first=a out=- force=1 json=0 tags=212"},
        {"tool -s d task create -- --out", "args=1 first=--out out=- force=0 json=0 tags=0"},
        {"tool task create -", "args=1 first=- out=- force=0 json=0 tags=0"},
        {"tool task list --state x", "args=0 first=- out=- force=0 json=0 tags=0"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(run_tool(&tool, cases[i].line), 0);
        assert_string_equal(seen, cases[i].seen);
    }
    assert_int_equal(run_tool(&bare, "bare -f file"), 0);
    assert_string_equal(seen, "args=1 first=file out=- force=1 json=0 tags=0");
    assert_int_equal(run_tool(&bare, "bare"), 0);
    assert_string_equal(seen, "args=0 first=- out=- force=0 json=0 tags=0");
}

static void wrong_lines(void **state) {
    (void)state;
    static const struct {
        const char *line, *message;
    } cases[] = {
        {"tool task creat x",
         "tool: unknown command 'task creat'; did you mean 'tool task create'?\n"},
        {"tool stats", "tool: unknown command 'stats'; did you mean 'tool status'?\n"},
        {"tool task", "tool: incomplete command 'task'; allowed after 'task': create, list\n"},
        {"tool task zzzzzz",
         "tool: unknown command 'task zzzzzz'; allowed after 'task': create, list\n"},
        {"tool qqqqqq", "tool: unknown command 'qqqqqq'; 'tool --help' shows what is possible\n"},
        {"tool task create",
         "tool: an argument is missing; usage: tool task create [FLAGS] FILE\n"},
        {"tool task create a b c",
         "tool: one argument too many: 'c'; usage: tool task create [FLAGS] FILE\n"},
        {"tool task create a --forse", "tool: unknown flag '--forse'; did you mean '--force'?\n"},
        {"tool task create a -z",
         "tool: unknown flag '-z'; 'tool task create --help' shows what is possible\n"},
        {"tool task create a --out", "tool: a value is missing after '--out'; 'tool task create "
                                     "--help' shows what is possible\n"},
        {"tool task create a --force=1", "tool: a switch that takes no value: '--force=1'; 'tool "
                                         "task create --help' shows what is possible\n"},
        {"tool --out x task create a",
         "tool: unknown flag '--out'; 'tool --help' shows what is possible\n"},
        {"tool task list --log-level loud",
         "tool: --log-level must be error, warn, info or debug, not 'loud'; 'tool task list "
         "--help' shows what is possible\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(run_tool(&tool, cases[i].line), 2);
        assert_string_equal(err_text, cases[i].message);
        assert_string_equal(out_text, "");
        assert_string_equal(seen, "");
    }
}

static void flags_that_are_numbers(void **state) {
    (void)state;
    assert_int_equal(run_tool(&counter, "counter --count 10"), 0);
    assert_string_equal(seen, "n=10");
    assert_int_equal(run_tool(&counter, "counter"), 0);
    assert_string_equal(seen, "n=7");
    assert_int_equal(run_tool(&counter, "counter -n 0"), 2);
    assert_string_equal(err_text, "counter: --count: '0' is out of range; allowed: 1 to 10\n");
    assert_int_equal(run_tool(&counter, "counter -n 1x"), 2);
    assert_string_equal(err_text,
                        "counter: --count: '1x' is not a whole number; allowed: 1 to 10\n");
}

static void failures_have_codes(void **state) {
    (void)state;
    assert_int_equal(run_tool(&tool, "tool status"), 3);
    assert_string_equal(err_text, "tool: no \"daemon\" runs\n");
    assert_int_equal(run_tool(&tool, "tool status --json"), 3);
    assert_string_equal(err_text, "{\"error\":{\"tool\":\"tool\",\"status\":\"UNREACHABLE\","
                                  "\"message\":\"no \\\"daemon\\\" runs\",\"retryable\":true}}\n");
}

static void help_and_version(void **state) {
    (void)state;
    assert_int_equal(run_tool(&tool, "tool --version"), 0);
    assert_string_equal(out_text, "tool " SOTTO_VERSION_TEXT "\n");
    assert_int_equal(run_tool(&tool, "tool --help"), 0);
    assert_non_null(strstr(out_text, "COMMANDS\n  task create  create a task\n"));
    assert_non_null(strstr(out_text, "  -s, --state DIR         state folder\n"));
    assert_non_null(strstr(out_text, "  local.lr NUMBER\n"));
    /* Examples come first, and --help wins over a line that is wrong otherwise. */
    assert_int_equal(run_tool(&tool, "tool task create --help"), 0);
    const char *example = strstr(out_text, "  tool task create x.yaml --out y\n");
    assert_true(example != NULL && example < strstr(out_text, "USAGE"));
    assert_int_equal(run_tool(&tool, "tool help task list"), 0);
    assert_int_equal(strncmp(out_text, "tool task list: list tasks\n", 27), 0);
    assert_int_equal(run_tool(&tool, "tool"), 2);
    assert_string_equal(out_text, "");
    assert_non_null(strstr(err_text, "'tool --help' says more"));
    assert_int_equal(run_tool(&bare, "bare --help"), 0);
    assert_non_null(strstr(out_text, "bare [FLAGS] [FILE]\n"));
}

static void man_page(void **state) {
    (void)state;
    assert_int_equal(run_tool(&tool, "tool man"), 0);
    assert_int_equal(strncmp(out_text, ".TH TOOL 1 ", 11), 0);
    assert_non_null(strstr(out_text, "\n.SH NAME\ntool \\- does things\n"));
    assert_non_null(strstr(out_text, "\n\\&.Starts with a dot \\- and a minus.\n"));
    assert_non_null(strstr(out_text, "\\fB\\-o\\fR, \\fB\\-\\-out\\fR \\fIFILE\\fR\n"));
    assert_non_null(strstr(out_text, ".SH \"EXIT STATUS\"\n"));
    assert_non_null(strstr(out_text, "local.lr NUMBER"));
}

static void tables_are_aligned(void **state) {
    (void)state;
    static const char *const heads[] = {"NAME", "N"};
    static const char *const cells[] = {"a",
                                        "1",
                                        "gr\xc3\xbc\xc3\x9f"
                                        "e",
                                        "22",
                                        "",
                                        ""};
    struct buf b;
    buf_init(&b, 1000);
    cli_table(&b, heads, 2, cells, 3);
    buf_put_u8(&b, 0);
    assert_string_equal((const char *)b.data, "NAME   N\na      1\ngr\xc3\xbc\xc3\x9f"
                                              "e  22\n       \n");
    buf_deinit(&b);
}

static void memory_runs_out_politely(void **state) {
    (void)state;
    for (uint64_t n = 0; n < 3; n++) {
        const uint64_t live = mem_live_count();
        test_fail_alloc_after(n);
        const int code = run_tool(&tool, "tool task create a");
        test_fail_alloc_off();
        assert_int_equal(code, 1);
        assert_string_equal(err_text, "tool: out of memory\n");
        assert_int_equal(mem_live_count(), live);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_that_run),         cmocka_unit_test(wrong_lines),
        cmocka_unit_test(flags_that_are_numbers), cmocka_unit_test(failures_have_codes),
        cmocka_unit_test(help_and_version),       cmocka_unit_test(man_page),
        cmocka_unit_test(tables_are_aligned),     cmocka_unit_test(memory_runs_out_politely),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
