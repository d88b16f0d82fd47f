/* sottoctl and the daemon as programs: help, errors with their exit codes, JSON, set-up with the
 * authority beside and elsewhere, backup and restore. */
#include "support.h"

#include <ctype.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char out[1u << 18], err_text[1u << 16];
static char state_dir[256];

/* ---- Running programs
 * -------------------------------------------------------------------------------------------------
 */

static void slurp(const char *path, char *to, size_t cap) {
    struct buf b;
    buf_init(&b, cap - 1);
    if (io_read_file(path, cap - 1, &b, NULL) == SOTTO_OK && b.len)
        memcpy(to, b.data, b.len);
    to[b.len] = '\0';
    buf_deinit(&b);
}

static pid_t spawn(const char *tool, const char *const *args, int out_fd, int err_fd) {
    char program[1024];
    const char *argv[40] = {tool};
    size_t n = 1;
    const char *bin = getenv("SOTTO_BIN");
    assert_non_null(bin);
    snprintf(program, sizeof program, "%s/%s", bin, tool);
    for (; args[n - 1]; n++)
        argv[n] = args[n - 1];
    argv[n] = NULL;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)dup2(out_fd, STDOUT_FILENO);
        (void)dup2(err_fd, STDERR_FILENO);
        execv(program, (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    return child;
}

/* Runs it to its end: the exit code; out and err_text are what it wrote. */
static int run_tool(const char *tool, const char *const *args) {
    char a[512], b[512];
    int status;
    snprintf(a, sizeof a, "%s", test_path("stdout"));
    snprintf(b, sizeof b, "%s", test_path("stderr"));
    int o = open(a, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600),
        e = open(b, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(o >= 0 && e >= 0);
    pid_t child = spawn(tool, args, o, e);
    assert_int_equal(waitpid(child, &status, 0), child);
    close(o);
    close(e);
    slurp(a, out, sizeof out);
    slurp(b, err_text, sizeof err_text);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}
#define TOOL(tool, ...) run_tool((tool), (const char *const[]){__VA_ARGS__, NULL})
#define CTL(...)        TOOL("sottoctl", "--state", state_dir, __VA_ARGS__)

static void expect(int code, int want, const char *part, const char *where, int line) {
    if (code != want || (part && !strstr(err_text, part) && !strstr(out, part)))
        fail_msg("%s:%d: exit code %d, wanted %d and \"%s\"; stdout: %.400s; stderr: %.400s", where,
                 line, code, want, part ? part : "", out, err_text);
}
#define EXPECT(code, want, part) expect((code), (want), (part), __FILE__, __LINE__)

static pid_t start_daemon(const char *state) {
    int fds[2];
    char line[256] = "", keys[512];
    assert_int_equal(pipe(fds), 0);
    snprintf(keys, sizeof keys, "round_keys_dir=%s", test_tmpdir());
    const char *const args[] = {"--state",         state,   "--set",           keys, "--set",
                                "round_keys=disk", "--set", "log.level=error", NULL};
    pid_t child = spawn("sotto-coordinator", args, fds[1], STDERR_FILENO);
    close(fds[1]);
    FILE *in = fdopen(fds[0], "r");
    assert_non_null(in);
    assert_non_null(fgets(line, sizeof line, in));
    assert_int_equal(strncmp(line, "listening on tcp://", 19), 0);
    fclose(in);
    return child;
}

static void stop_daemon(pid_t child) {
    int status;
    assert_int_equal(kill(child, SIGTERM), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- A checker of JSON: values one after the other
 * ------------------------------------------------------------------------
 */

static const char *skip_space(const char *p) {
    while (*p && strchr(" \t\r\n", *p))
        p++;
    return p;
}

static const char *json_text(const char *p) {
    for (p++; *p && *p != '"'; p++) {
        if ((unsigned char)*p < 0x20)
            return NULL;
        if (*p == '\\' && !strchr("\"\\/bfnrtu", *++p))
            return NULL;
    }
    return *p == '"' ? p + 1 : NULL;
}

static const char *json_value(const char *p, int depth) {
    p = skip_space(p);
    if (depth > 20)
        return NULL;
    if (*p == '"')
        return json_text(p);
    if (*p == '{' || *p == '[') {
        char close = *p == '{' ? '}' : ']';
        p = skip_space(p + 1);
        if (*p == close)
            return p + 1;
        for (;;) {
            if (close == '}') {
                p = skip_space(p);
                p = *p == '"' ? json_text(p) : NULL;
                if (!p || *(p = skip_space(p)) != ':')
                    return NULL;
                p++;
            }
            p = json_value(p, depth + 1);
            if (!p)
                return NULL;
            p = skip_space(p);
            if (*p == close)
                return p + 1;
            if (*p++ != ',')
                return NULL;
        }
    }
    static const char *const words[] = {"true", "false", "null"};
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (strncmp(p, words[i], strlen(words[i])) == 0)
            return p + strlen(words[i]);
    char *end;
    if (*p != '-' && !isdigit((unsigned char)*p))
        return NULL;
    (void)strtod(p, &end);
    return end;
}

static void expect_json(const char *text, const char *what) {
    const char *p = skip_space(text);
    if (!*p)
        fail_msg("%s: no JSON at all", what);
    while (*p) {
        const char *next = json_value(p, 0);
        if (!next)
            fail_msg("%s: not JSON: %.300s", what, p);
        p = skip_space(next);
    }
}

/* ---- Tests
 * -----------------------------------------------------------------------------------------------------------
 */

static void helps_are_as_agreed(void **state) {
    (void)state;
    static const char *const tools[] = {"sottoctl", "sotto-coordinator"};
    char path[1024];
    struct sotto_error err = SOTTO_ERROR_INIT;
    const char *source = getenv("SOTTO_SOURCE");
    assert_non_null(source);
    for (size_t i = 0; i < ARRAY_LEN(tools); i++) {
        static char want[1u << 16];
        EXPECT(TOOL(tools[i], "--help"), 0, NULL);
        snprintf(path, sizeof path, "%s/tests/coordinator/%s.exp", source, tools[i]);
        if (getenv("SOTTO_UPDATE"))
            ASSERT_OK(io_write_file(path, out, strlen(out), 0644, false, &err));
        slurp(path, want, sizeof want);
        assert_string_equal(out, want);
        EXPECT(TOOL(tools[i], "--version"), 0, "0.");
        EXPECT(TOOL(tools[i], "man"), 0, ".TH");
    }
}

static void nothing_runs(void **state) {
    (void)state;
    snprintf(state_dir, sizeof state_dir, "%s", test_path("nowhere"));
    static const char *const asks[] = {"status", "devices", "events"};
    for (size_t i = 0; i < ARRAY_LEN(asks); i++)
        EXPECT(CTL(asks[i]), 3, "start one with: sotto-coordinator --state");
    EXPECT(CTL("task", "list", "--json"), 3, "\"retryable\":true");
    expect_json(err_text, "an error");
    EXPECT(TOOL("sotto-coordinator", "--state", state_dir), 1, "sottoctl init --state");
    EXPECT(CTL("keys", "rotate"), 1, NULL);
    EXPECT(CTL("restore", state_dir), 1, "not a backup");
    EXPECT(
        TOOL("sottoctl", "--state",
             "/tmp/a-folder-with-a-name-that-is-much-too-long/for-the-path-of-a-socket/which-the-"
             "kernel/holds-in-108-bytes",
             "status"),
        1, "--control");
}

static void wrong_words(void **state) {
    (void)state;
    EXPECT(CTL("rond", "list"), 2, "did you mean");
    EXPECT(CTL("rounds", "show", "t"), 2, NULL);
    EXPECT(CTL("status", "--wtch"), 2, NULL);
    EXPECT(CTL("authority", "init"), 2, "--authority DIR is needed");
    EXPECT(CTL("authority", "issue"), 2, "--first SERIAL");
    EXPECT(CTL("events", "--limit", "many"), 2, "--limit");
}

static void write_text(const char *name, const char *text) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    ASSERT_OK(io_write_file(test_path(name), text, strlen(text), 0600, false, &err));
}

static void wrong_configs_name_their_place(void **state) {
    (void)state;
    write_text("bad.yaml", "task: {name: t}\nmodel: {zoo: logreg}\nlocal:\n  lr: fast\n");
    EXPECT(CTL("config", "check", test_path("bad.yaml")), 4, "bad.yaml:4:7");
    EXPECT(CTL("task", "create", test_path("bad.yaml")), 78, "local.lr");
    EXPECT(CTL("config", "dump", test_path("bad.yaml")), 78, "bad.yaml:4:7");
    write_text("key.yaml", "task: {name: t}\nmodel: {zoo: logreg}\ncohrt: 4\n");
    EXPECT(CTL("config", "check", test_path("key.yaml")), 4, "cohort");
    write_text("daemon.yaml", "state: /tmp\nworkers: 10x\n");
    EXPECT(TOOL("sotto-coordinator", "--config", test_path("daemon.yaml")), 78, "daemon.yaml:2:10");
    EXPECT(CTL("config", "check", "--daemon", test_path("daemon.yaml")), 4, "workers");
    write_text("listen.yaml", "listen: tcp://127.0.0.1:1\n");
    EXPECT(TOOL("sotto-coordinator", "--config", test_path("listen.yaml")), 78, "state");
    write_text("good.yaml", "task: {name: digits}\nmodel: {zoo: logreg}\ncohort: 2\n"
                            "evaluation: {count: 20}\n");
    EXPECT(CTL("config", "check", test_path("good.yaml")), 0, "good");
    EXPECT(CTL("config", "check", "--json", test_path("good.yaml")), 0, NULL);
    expect_json(out, "config check");
    EXPECT(CTL("config", "dump", "--json", test_path("good.yaml")), 0, "logreg");
    expect_json(out, "config dump");
    EXPECT(CTL("config", "check", test_path("missing.yaml")), 4, "missing.yaml");
}

static void all_of_it_in_json(void) {
    static const char *const asks[][4] = {
        {"status"},
        {"devices"},
        {"events"},
        {"events", "--limit", "1"},
        {"task", "list"},
        {"task", "show", "digits"},
        {"rounds", "list", "digits"},
        {"models", "list", "digits"},
        {"models", "show", "digits", "current"},
        {"task", "pause", "digits"},
        {"task", "resume", "digits"},
        {"models", "release", "digits", "1"},
        {"enroll"},
        {"revoke", "1"},
    };
    for (size_t i = 0; i < ARRAY_LEN(asks); i++) {
        const char *args[] = {"--state",  state_dir,  "--json",   asks[i][0],
                              asks[i][1], asks[i][2], asks[i][3], NULL};
        EXPECT(run_tool("sottoctl", args), 0, NULL);
        expect_json(out, asks[i][0]);
    }
}

static void operator_mistakes(void) {
    EXPECT(CTL("task", "show", "nope"), 1, "no task 'nope'");
    EXPECT(CTL("task", "create", test_path("good.yaml")), 1, "exists already");
    EXPECT(CTL("rounds", "show", "digits", "7"), 1, "has no round 7");
    EXPECT(CTL("rounds", "show", "digits", "x"), 2, "ROUND");
    EXPECT(CTL("rounds", "list", "digits", "x"), 2, "LIMIT");
    EXPECT(CTL("models", "show", "digits", "99"), 1, "models list");
    EXPECT(CTL("models", "rollback", "digits", "1"), 1, "current");
    EXPECT(CTL("models", "export", "digits", "x"), 2, "VERSION");
    EXPECT(CTL("revoke", "77"), 1, "no device or token 77");
    EXPECT(CTL("enroll", "import", test_path("good.yaml")), 1, "not a list of tickets");
    EXPECT(CTL("document", "import", test_path("good.yaml")), 1, NULL);
    EXPECT(CTL("backup", test_tmpdir()), 1, "never overwrites");
    EXPECT(TOOL("sotto-coordinator", "--state", state_dir), 3, "another sotto-coordinator");
}

static void the_authority_beside(void **state) {
    (void)state;
    char backup[300], restored[256];
    struct stat st;
    snprintf(state_dir, sizeof state_dir, "%s", test_path("state"));
    EXPECT(CTL("init"), 0, "curious coordinator");
    EXPECT(CTL("init"), 1, "set up already");
    pid_t daemon = start_daemon(state_dir);
    EXPECT(CTL("status"), 0, "not certified yet");
    EXPECT(CTL("document", "show"), 1, "no certified document");
    EXPECT(CTL("enroll", "--count", "3", "--output", test_path("tokens")), 0, "3 tokens");
    assert_int_equal(stat(test_path("tokens/device-0003.token"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    EXPECT(CTL("task", "create", "--json", test_path("good.yaml")), 0, "7850");
    expect_json(out, "task create");
    all_of_it_in_json();
    operator_mistakes();
    EXPECT(CTL("models", "export", "digits", "--output", test_path("digits.sotto")), 0,
           "package of digits");
    /* The rotation of a key that a document names, once. */
    EXPECT(CTL("keys", "rotate", "--signing"), 0, "start");
    EXPECT(CTL("keys", "rotate", "--signing"), 1, "certified document");
    snprintf(backup, sizeof backup, "%s", test_path("backup"));
    snprintf(restored, sizeof restored, "%s", test_path("restored"));
    EXPECT(CTL("backup", backup), 0, "secret");
    EXPECT(CTL("restore", backup), 1, "empty folder");
    stop_daemon(daemon);
    snprintf(state_dir, sizeof state_dir, "%s", restored);
    EXPECT(CTL("restore", backup), 0, "restored into");
    assert_false(io_exists(test_path("restored.restoring")));
    daemon = start_daemon(state_dir);
    EXPECT(CTL("models", "list", "digits"), 0, "initial");
    EXPECT(CTL("enroll", "--json"), 0, "\"serial\":10485"); /* far behind those of the backup */
    EXPECT(CTL("status"), 0, "document version 10485");
    EXPECT(CTL("task", "stop", "digits"), 0, "stopped");
    EXPECT(CTL("task", "resume", "digits"), 1, "is stopped");
    stop_daemon(daemon);
}

static void the_authority_elsewhere(void **state) {
    (void)state;
    char authority[300], pub[340], phrase[300];
    snprintf(state_dir, sizeof state_dir, "%s", test_path("far"));
    snprintf(authority, sizeof authority, "%s", test_path("fleet"));
    snprintf(pub, sizeof pub, "%s/authority.pub", authority);
    snprintf(phrase, sizeof phrase, "%s", test_path("phrase"));
    write_text("phrase", "correct horse\n");
    EXPECT(CTL("authority", "init", "--authority", authority, "--passphrase-file", phrase), 0,
           "public key");
    EXPECT(CTL("authority", "init", "--authority", authority, "--passphrase-file", phrase), 1,
           "exists already");
    EXPECT(CTL("init", "--authority-key", test_path("good.yaml")), 1, NULL);
    EXPECT(CTL("init", "--authority-key", pub), 0, "elsewhere");
    pid_t daemon = start_daemon(state_dir);
    EXPECT(CTL("enroll"), 1, "--authority");
    EXPECT(CTL("document", "request", "--output", test_path("request")), 0,
           "next: sottoctl authority certify");
    EXPECT(CTL("document", "request", "--json", "--output", test_path("request")), 0, "message");
    expect_json(out, "document request");
    EXPECT(CTL("authority", "certify", test_path("request"), "--authority", authority, "--output",
               test_path("document")),
           1, NULL); /* without the passphrase */
    EXPECT(CTL("authority", "certify", test_path("request"), "--authority", authority,
               "--passphrase-file", phrase, "--output", test_path("document")),
           0, "endpoint tcp://");
    EXPECT(CTL("document", "import", test_path("document")), 0, "version 1");
    EXPECT(CTL("document", "import", test_path("document")), 1, "not higher");
    EXPECT(CTL("authority", "issue", "--authority", authority, "--passphrase-file", phrase,
               "--count", "2", "--first", "5", "--document", test_path("document"), "--list",
               test_path("list"), "--output", test_path("far-tokens")),
           0, "serials from 5");
    EXPECT(CTL("enroll", "import", test_path("list")), 0, "2 tokens taken");
    EXPECT(CTL("enroll", "import", "--json", test_path("list")), 0, "2 known already");
    expect_json(out, "enroll import");
    EXPECT(CTL("status"), 0, "authority elsewhere");
    stop_daemon(daemon);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(helps_are_as_agreed),  cmocka_unit_test(nothing_runs),
        cmocka_unit_test(wrong_words),          cmocka_unit_test(wrong_configs_name_their_place),
        cmocka_unit_test(the_authority_beside), cmocka_unit_test(the_authority_elsewhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
