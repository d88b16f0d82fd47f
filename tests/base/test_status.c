/* Status table, error record and escaping. */
#include "support.h"

#include <errno.h>
#include <string.h>

static void table_is_complete(void **state) {
    (void)state;
    assert_string_equal(sotto_status_text(SOTTO_NOMEM), "out of memory");
    assert_string_equal(sotto_status_name(SOTTO_NOMEM), "NOMEM");
    assert_int_equal(sotto_status_exit(SOTTO_OK), 0);
    assert_int_equal(sotto_status_exit(SOTTO_USAGE), 2);
    assert_int_equal(sotto_status_exit(SOTTO_UNREACHABLE), 3);
    assert_int_equal(sotto_status_exit(SOTTO_CHECK), 4);
    assert_int_equal(sotto_status_exit(SOTTO_CONFIG), 78);
    assert_true(sotto_status_retryable(SOTTO_TIMEOUT));
    assert_false(sotto_status_retryable(SOTTO_DENIED));
    /* Values travel on the wire: these may never move. */
    assert_int_equal(SOTTO_CORRUPT, 7);
    assert_int_equal(SOTTO_CHECK, 20);
}

static void unknown_values_are_named(void **state) {
    (void)state;
    static const int values[] = {-1, 21, 1000000};
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        const enum sotto_status s = (enum sotto_status)values[i];
        assert_string_equal(sotto_status_text(s), "unknown status");
        assert_string_equal(sotto_status_name(s), "UNKNOWN");
        assert_int_equal(sotto_status_exit(s), 1);
        assert_false(sotto_status_retryable(s));
    }
}

static void error_keeps_place_and_message(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    assert_int_equal(SOTTO_FAIL(&err, SOTTO_LIMIT, "%d chunks, limit is %d", 9, 8), SOTTO_LIMIT);
    assert_string_equal(err.message, "9 chunks, limit is 8");
    assert_int_equal(err.status, SOTTO_LIMIT);
    assert_non_null(strstr(err.file, "test_status.c"));
    assert_true(err.line > 0);
    assert_int_equal(sotto_error_prefix(&err, "client %d", 3), SOTTO_LIMIT);
    assert_string_equal(err.message, "client 3: 9 chunks, limit is 8");
    errno = ENOENT;
    assert_int_equal(SOTTO_FAIL_SYS(&err, SOTTO_IO, "open"), SOTTO_IO);
    assert_string_equal(err.message, "open: No such file or directory");
    assert_int_equal(err.sys_errno, ENOENT);
}

static void no_record_is_fine(void **state) {
    (void)state;
    assert_int_equal(SOTTO_FAIL(NULL, SOTTO_IO, "x"), SOTTO_IO);
    assert_int_equal(sotto_error_prefix(NULL, "x"), SOTTO_INTERNAL);
}

static void long_and_odd_messages_are_one_line(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    char text[600];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    (void)SOTTO_FAIL(&err, SOTTO_IO, "%s", text);
    assert_int_equal(strlen(err.message), sizeof err.message - 1);
    (void)sotto_error_prefix(&err, "%s", text);
    assert_int_equal(strlen(err.message), sizeof err.message - 1);
    (void)SOTTO_FAIL(&err, SOTTO_IO, "a\nb\x1b[0m");
    assert_string_equal(err.message, "a b [0m");
}

static void escape_is_bounded(void **state) {
    (void)state;
    char out[16];
    assert_string_equal(sotto_escape(out, sizeof out, "a\n\\\xff", 4), "a\\x0a\\x5c\\xff");
    assert_string_equal(sotto_escape(out, 4, "abcdef", 6), "abc");
    /* An escape that does not fit is left out whole. */
    assert_string_equal(sotto_escape(out, 6, "ab\n", 3), "ab");
    assert_string_equal(sotto_escape(out, 1, "x", 1), "");
    assert_string_equal(sotto_escape(out, sizeof out, "", 0), "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_is_complete),
        cmocka_unit_test(unknown_values_are_named),
        cmocka_unit_test(error_keeps_place_and_message),
        cmocka_unit_test(no_record_is_fine),
        cmocka_unit_test(long_and_odd_messages_are_one_line),
        cmocka_unit_test(escape_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
