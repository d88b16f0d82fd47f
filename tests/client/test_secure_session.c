/* The session under masks: a whole group with real cryptography, faults of every kind, and a
 * coordinator that cheats. */
#include "secure_world.h"

#include <string.h>

static void test_whole_group(void **state) {
    (void)state;
    struct sw *w = sw_new(test_seed());
    sw_make_ready(w);
    assert_int_equal(session_phase(w->session), SESSION_SECURE);
    sw_group(w, 1);
    sw_run(w, 20000);
    assert_true(w->summed);
    assert_int_equal(w->survivors, SW_GROUP);
    assert_int_equal(w->store.stage, SESSION_NONE);
    assert_int_equal(w->store.outcome, sotto_Outcome_OUTCOME_KEPT);
    assert_null(w->member);
    assert_int_equal(w->begins, 1);
    assert_int_equal(w->report.members, SW_GROUP);
    assert_int_equal(w->report.survivors, SW_GROUP);
    assert_int_equal(w->report.threshold, 2 * SW_GROUP / 3 + 1);
    assert_true(w->report.complete);
    assert_int_equal(session_stage(w->session), SESSION_NONE);
    sw_free(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_group),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
