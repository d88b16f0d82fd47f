/* The virtual clock: order of events, ties, time that never goes back. */
#include "vtime.h"

#include <stdlib.h>
#include <string.h>

#include "support.h"

static void add(struct vtime *q, uint64_t at, uint32_t rank, uint64_t order, uint32_t device) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    const struct vtime_event e = {.at_ms = at, .rank = rank, .order = order, .device = device};
    ASSERT_OK(vtime_add(q, &e, &err));
}

static void test_order(void **state) {
    (void)state;
    struct vtime q;
    struct vtime_event e;
    vtime_init(&q, 100);
    assert_false(vtime_next(&q, &e));
    add(&q, 300, 0, 0, 1);
    add(&q, 200, 1, 5, 2);
    add(&q, 200, 1, 4, 3);
    add(&q, 200, 0, 9, 4);
    add(&q, 200, 1, 4, 5);
    add(&q, 50, 0, 0, 6); /* in the past: now */
    static const uint32_t want[] = {6, 4, 3, 5, 2, 1};
    static const uint64_t times[] = {100, 200, 200, 200, 200, 300};
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        assert_true(vtime_next(&q, &e));
        assert_int_equal(e.device, want[i]);
        assert_int_equal(q.now_ms, times[i]);
    }
    assert_false(vtime_next(&q, &e));
    vtime_deinit(&q);
}

static int compare(const void *a, const void *b) {
    const struct vtime_event *x = a, *y = b;
    if (x->at_ms != y->at_ms)
        return x->at_ms < y->at_ms ? -1 : 1;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    return x->number < y->number ? -1 : 1;
}

/* Against a sort, with events added while others are taken. */
static void test_random(void **state) {
    (void)state;
    enum { COUNT = 5000 };
    struct vtime q;
    struct rng r;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct vtime_event *all = mem_array(COUNT, sizeof *all), last, e;
    assert_non_null(all);
    rng_init(&r, test_seed(), 0, 0, RNG_FAULT);
    vtime_init(&q, 0);
    for (uint32_t i = 0; i < COUNT; i++) {
        all[i] = (struct vtime_event){
            .at_ms = rng_below(&r, 700), .rank = rng_below(&r, 3), .number = i};
        ASSERT_OK(vtime_add(&q, &all[i], &err));
    }
    qsort(all, COUNT, sizeof *all, compare);
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_true(vtime_next(&q, &e));
        assert_int_equal(e.number, all[i].number);
    }
    mem_free(all);
    memset(&last, 0, sizeof last);
    uint32_t taken = 0;
    for (uint32_t i = 0; i < COUNT; i++) {
        add(&q, q.now_ms + rng_below(&r, 40), 0, 0, i);
        while (rng_below(&r, 3) == 0 && vtime_next(&q, &e)) {
            assert_true(e.at_ms >= last.at_ms);
            last = e;
            taken++;
        }
    }
    while (vtime_next(&q, &e))
        taken++;
    assert_int_equal(taken, COUNT);
    vtime_deinit(&q);
}

static enum sotto_status fill(void *ctx, struct sotto_error *err) {
    (void)ctx;
    struct vtime q;
    enum sotto_status status = SOTTO_OK;
    vtime_init(&q, 0);
    for (uint32_t i = 0; i < 2000 && status == SOTTO_OK; i++)
        status = vtime_add(&q, &(struct vtime_event){.at_ms = i}, err);
    vtime_deinit(&q);
    return status;
}

static void test_no_memory(void **state) {
    (void)state;
    test_oom_loop(fill, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
