/* The allocator seam, its counters, failure injection, and arenas. */
#include "support.h"

#include <string.h>

static void counters_follow(void **state) {
    (void)state;
    const uint64_t live = mem_live_count(), calls = mem_call_count();
    void *a = mem_alloc(10);
    uint8_t *b = mem_zalloc(10);
    assert_non_null(a);
    assert_int_equal(b[9], 0);
    assert_int_equal(mem_live_count() - live, 2);
    a = mem_resize(a, 100, 10);
    assert_non_null(a);
    assert_int_equal(mem_live_count() - live, 2);
    assert_int_equal(mem_call_count() - calls, 3);
    mem_free(a);
    mem_free(b);
    mem_free(NULL);
    assert_int_equal(mem_live_count(), live);
}

static void zero_and_overflow_are_refused(void **state) {
    (void)state;
    assert_null(mem_alloc(0));
    assert_null(mem_zalloc(0));
    assert_null(mem_array(0, 8));
    assert_null(mem_array(SIZE_MAX / 2, 3));
    assert_null(mem_alloc_aligned(0, 64));
    assert_null(mem_alloc_aligned(SIZE_MAX - 8, 64));
    assert_null(mem_alloc_aligned(8, 3));
    assert_null(mem_alloc_aligned(8, 8192));
    char *p = mem_strdup("abc");
    assert_null(mem_resize(p, SIZE_MAX, 2));
    assert_null(mem_resize(p, 0, 1));
    assert_string_equal(p, "abc"); /* still ours */
    mem_free(p);
}

static void alignment_holds(void **state) {
    (void)state;
    for (size_t align = 1; align <= 4096; align *= 2)
        for (size_t size = 1; size < 200; size += 37) {
            uint8_t *p = mem_alloc_aligned(size, align);
            assert_non_null(p);
            assert_int_equal((uintptr_t)p % align, 0);
            memset(p, 0xab, size);
            mem_free_aligned(p);
        }
    mem_free_aligned(NULL);
}

static void ordered_failure_happens_once(void **state) {
    (void)state;
    test_fail_alloc_after(1);
    void *a = mem_alloc(1);
    void *b = mem_alloc(1);
    void *c = mem_alloc(1);
    test_fail_alloc_off();
    assert_non_null(a);
    assert_null(b);
    assert_non_null(c);
    assert_true(test_fail_alloc_hit());
    mem_free(a);
    mem_free(c);
}

static enum sotto_status two_blocks(void *ctx, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    int *runs = ctx;
    (*runs)++;
    void *a = mem_alloc(1), *b = NULL;
    if (a == NULL)
        TRY_FAIL(err, SOTTO_NOMEM, "a");
    b = mem_alloc(1);
    if (b == NULL)
        TRY_FAIL(err, SOTTO_NOMEM, "b");
out:
    mem_free(b);
    mem_free(a);
    return status;
}

static void oom_loop_reaches_success(void **state) {
    (void)state;
    int runs = 0;
    test_oom_loop(two_blocks, &runs);
    assert_int_equal(runs, 3);
}

static void arena_is_bounded_and_zeroed(void **state) {
    (void)state;
    struct arena *arena = arena_new(200);
    assert_non_null(arena);
    for (int round = 0; round < 3; round++) {
        uint8_t *a = arena_alloc(arena, 1), *b = arena_alloc(arena, 64);
        uint8_t *c = arena_alloc(arena, 72);
        assert_non_null(a);
        assert_non_null(b);
        assert_non_null(c);
        assert_int_equal((uintptr_t)a % 64, 0);
        assert_int_equal((uintptr_t)b % 64, 0);
        assert_int_equal(b - a, 64);
        for (int i = 0; i < 72; i++)
            assert_int_equal(c[i], 0);
        memset(c, 0xff, 72);
        assert_null(arena_alloc(arena, 1)); /* the last block took the rest */
        assert_null(arena_alloc(arena, 0));
        assert_null(arena_alloc(arena, SIZE_MAX));
        arena_reset(arena);
    }
    arena_free(arena);
    arena_free(NULL);
    assert_null(arena_new(0));
}

static enum sotto_status one_arena(void *ctx, struct sotto_error *err) {
    (void)ctx;
    struct arena *arena = arena_new(64);
    if (arena == NULL)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "arena");
    arena_free(arena);
    return SOTTO_OK;
}

static void arena_survives_oom(void **state) {
    (void)state;
    test_oom_loop(one_arena, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counters_follow),          cmocka_unit_test(zero_and_overflow_are_refused),
        cmocka_unit_test(alignment_holds),          cmocka_unit_test(ordered_failure_happens_once),
        cmocka_unit_test(oom_loop_reaches_success), cmocka_unit_test(arena_is_bounded_and_zeroed),
        cmocka_unit_test(arena_survives_oom),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
