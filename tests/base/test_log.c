/* Log lines in both formats, escaping, levels, suppression by a clock of our own, and whole lines
 * from many threads. */
#include "support.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "src/log_int.h"

static uint64_t now_ms;
static uint64_t fake_now(void) {
    return now_ms;
}

static int sink = -1;
static char text[1 << 20];

static int open_sink(void **state) {
    (void)state;
    sink = open(test_path("log"), O_RDWR | O_CREAT | O_TRUNC | O_APPEND, 0600);
    log_set_sink(sink, fake_now);
    log_setup(LOG_INFO, LOG_TEXT);
    log_limit(0);
    return sink >= 0 ? 0 : -1;
}

static int close_sink(void **state) {
    (void)state;
    log_set_sink(STDERR_FILENO, NULL);
    return close(sink);
}

/* What was written since the last call. */
static const char *written(void) {
    const ssize_t n = pread(sink, text, sizeof text - 1, 0);
    assert_true(n >= 0);
    text[n] = '\0';
    assert_int_equal(ftruncate(sink, 0), 0);
    return text;
}

static void text_lines(void **state) {
    (void)state;
    LOG(LOG_INFO, "round.commit", LS("task", "digits"), LU("round", 7), LI("drift", -3),
        LF("loss", 0.25));
    const char *line = written();
    assert_int_equal(line[4], '-');
    assert_non_null(strstr(line, "Z info round.commit task=digits round=7 drift=-3 loss=0.25\n"));
    LOG(LOG_WARN, "peer.reject", LS("why", "say \"hi\"\n\xff"), LS("none", NULL), LS("e", "a=b"));
    assert_non_null(strstr(
        written(), " warn peer.reject why=\"say \\\"hi\\\"\\n\\xff\" none=\"\" e=\"a=b\"\n"));
}

static void json_lines(void **state) {
    (void)state;
    log_setup(LOG_INFO, LOG_JSON);
    LOG(LOG_ERROR, "a.b", LS("s", "x\n\"\xff"), LU("u", UINT64_MAX), LF("f", 0.0 / 1.0),
        LS("n", NULL));
    const char *line = written();
    assert_int_equal(strncmp(line, "{\"ts\":\"20", 9), 0);
    assert_non_null(strstr(line,
                           "Z\",\"level\":\"error\",\"event\":\"a.b\",\"s\":\"x\\n\\\"\\ufffd\","
                           "\"u\":18446744073709551615,\"f\":0,\"n\":null}\n"));
}

static void levels_filter(void **state) {
    (void)state;
    enum log_level level;
    LOG(LOG_DEBUG, "a.b", LU("x", 1));
    assert_string_equal(written(), "");
    log_setup(LOG_DEBUG, LOG_TEXT);
    LOG(LOG_DEBUG, "a.b", LU("x", 1));
    assert_non_null(strstr(written(), " debug a.b x=1\n"));
    log_setup(LOG_ERROR, LOG_TEXT);
    LOG(LOG_WARN, "a.b", LU("x", 1));
    assert_string_equal(written(), "");
    ASSERT_STATUS(log_level_parse("warn", &level), SOTTO_OK);
    assert_int_equal(level, LOG_WARN);
    ASSERT_STATUS(log_level_parse("loud", &level), SOTTO_INVALID);
}

static int lines_in(const char *s) {
    int n = 0;
    for (; *s != '\0'; s++)
        n += *s == '\n';
    return n;
}

static void repeats_are_counted(void **state) {
    (void)state;
    log_limit(3);
    now_ms = 5000;
    for (int i = 0; i < 10; i++)
        LOG(LOG_INFO, "peer.noise", LU("i", i));
    LOG(LOG_INFO, "peer.other", LU("i", 0)); /* counted apart */
    assert_int_equal(lines_in(written()), 4);
    now_ms = 5999;
    LOG(LOG_INFO, "peer.noise", LU("i", 10));
    assert_string_equal(written(), "");
    now_ms = 6000;
    LOG(LOG_INFO, "peer.noise", LU("i", 11));
    assert_non_null(strstr(written(), "peer.noise i=11 suppressed=8\n"));
    LOG(LOG_INFO, "peer.noise", LU("i", 12));
    assert_null(strstr(written(), "suppressed"));
}

static void too_long_lines_lose_whole_fields(void **state) {
    (void)state;
    static char big[5000];
    memset(big, 'z', sizeof big - 1);
    LOG(LOG_INFO, "a.b", LU("first", 1), LS("big", big), LU("last", 2));
    assert_non_null(strstr(written(), " info a.b first=1 truncated=1\n"));
    log_setup(LOG_INFO, LOG_JSON);
    LOG(LOG_INFO, "a.b", LU("first", 1), LS("big", big));
    assert_non_null(strstr(written(), "\"first\":1,\"truncated\":1}\n"));
}

static void works_without_memory(void **state) {
    (void)state;
    const uint64_t calls = mem_call_count();
    LOG(LOG_INFO, "a.b", LS("s", "text"), LF("f", 0.1));
    assert_int_equal(mem_call_count(), calls);
    assert_int_equal(lines_in(written()), 1);
}

static void *shout(void *arg) {
    for (int i = 0; i < 200; i++)
        LOG(LOG_INFO, "thread.says", LS("name", arg), LU("i", i));
    return NULL;
}

static void lines_of_threads_stay_whole(void **state) {
    (void)state;
    static char names[4][8] = {"one", "two", "three", "four"};
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, shout, names[i]), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    const char *p = written();
    assert_int_equal(lines_in(p), 800);
    for (const char *end; (end = strchr(p, '\n')) != NULL; p = end + 1) {
        assert_int_equal(p[4], '-');
        const char *event = strstr(p, " info thread.says name=");
        assert_true(event != NULL && event < end);
    }
}

int main(void) {
#define WITH_SINK(f) cmocka_unit_test_setup_teardown(f, open_sink, close_sink)
    const struct CMUnitTest tests[] = {
        WITH_SINK(text_lines),
        WITH_SINK(json_lines),
        WITH_SINK(levels_filter),
        WITH_SINK(repeats_are_counted),
        WITH_SINK(works_without_memory),
        WITH_SINK(too_long_lines_lose_whole_fields),
        WITH_SINK(lines_of_threads_stay_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
