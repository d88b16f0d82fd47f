/* The parameter layout: limits, lookup, round trip, hostile bytes, out of memory. */
#include "support.h"

#include <stdio.h>
#include <string.h>

static void make(struct layout *l, uint32_t segments) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    layout_init(l);
    for (uint32_t i = 0; i < segments; i++) {
        char name[LAYOUT_NAME_MAX];
        (void)snprintf(name, sizeof name, "layer%u.weight", i);
        const uint32_t dims[4] = {i % 3 + 1, 2, 5, i % 7 + 1};
        ASSERT_OK(layout_add(l, name, i % 2 ? LAYOUT_BIAS : LAYOUT_WEIGHT, i % 4 + 1, dims, &err));
    }
}

static void segments_follow_each_other(void **state) {
    (void)state;
    struct layout l;
    make(&l, 37);
    uint32_t at = 0;
    for (uint32_t i = 0; i < l.segment_count; i++) {
        assert_int_equal(l.segments[i].offset, at);
        for (uint32_t k = 0; k < l.segments[i].count; k++)
            assert_ptr_equal(layout_find(&l, at + k), &l.segments[i]);
        at += l.segments[i].count;
    }
    assert_int_equal(l.total, at);
    assert_null(layout_find(&l, at));
    layout_deinit(&l);
    assert_null(layout_find(&l, 0));
}

static void bad_segments_are_refused(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct layout l;
    static const uint32_t one[4] = {1, 1, 1, 1}, zero[2] = {3, 0};
    static const uint32_t huge[4] = {65536, 65536, 65536, 65536}, all[1] = {LAYOUT_TOTAL_MAX};
    char name[80];
    memset(name, 'n', sizeof name);
    name[64] = '\0';
    layout_init(&l);
    ASSERT_FAILS(layout_add(&l, "", LAYOUT_BIAS, 1, one, &err), SOTTO_INVALID, "segment name ''");
    ASSERT_STATUS(layout_add(&l, name, LAYOUT_BIAS, 1, one, &err), SOTTO_INVALID);
    name[63] = '\0';
    ASSERT_OK(layout_add(&l, name, LAYOUT_BIAS, 1, one, &err));
    ASSERT_FAILS(layout_add(&l, name, LAYOUT_BIAS, 1, one, &err), SOTTO_INVALID, "is there twice");
    ASSERT_STATUS(layout_add(&l, "a b", LAYOUT_BIAS, 1, one, &err), SOTTO_INVALID);
    ASSERT_STATUS(layout_add(&l, "a\n", LAYOUT_BIAS, 1, one, &err), SOTTO_INVALID);
    ASSERT_STATUS(layout_add(&l, "k", (enum layout_kind)2, 1, one, &err), SOTTO_INVALID);
    ASSERT_FAILS(layout_add(&l, "r", LAYOUT_BIAS, 0, one, &err), SOTTO_INVALID, "rank 0");
    ASSERT_STATUS(layout_add(&l, "r", LAYOUT_BIAS, 5, one, &err), SOTTO_INVALID);
    ASSERT_FAILS(layout_add(&l, "z", LAYOUT_BIAS, 2, zero, &err), SOTTO_INVALID,
                 "dimension 1 is zero");
    ASSERT_STATUS(layout_add(&l, "h", LAYOUT_BIAS, 4, huge, &err), SOTTO_LIMIT);
    ASSERT_STATUS(layout_add(&l, "t", LAYOUT_BIAS, 1, all, &err), SOTTO_LIMIT);
    assert_int_equal(l.segment_count, 1);
    layout_deinit(&l);
    make(&l, LAYOUT_SEGMENTS_MAX);
    ASSERT_FAILS(layout_add(&l, "x", LAYOUT_BIAS, 1, one, &err), SOTTO_LIMIT, "more than 1024");
    layout_deinit(&l);
}

static void round_trip(void **state) {
    (void)state;
    static const uint32_t counts[] = {0, 1, 2, 33};
    struct sotto_error err = SOTTO_ERROR_INIT;
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        struct layout a, b, c;
        struct buf bytes, again;
        struct reader r;
        make(&a, counts[i]);
        buf_init(&bytes, 1 << 16);
        buf_init(&again, 1 << 16);
        layout_encode(&a, &bytes);
        reader_init(&r, buf_view(&bytes));
        ASSERT_OK(layout_decode(&b, &r, &err));
        assert_int_equal(reader_left(&r), 0);
        assert_true(layout_equal(&a, &b));
        layout_encode(&b, &again);
        assert_int_equal(bytes.len, again.len);
        assert_memory_equal(bytes.data, again.data, bytes.len);
        ASSERT_OK(layout_copy(&c, &a, &err));
        assert_true(layout_equal(&c, &a));
        if (counts[i] > 0) {
            c.segments[0].kind = LAYOUT_BIAS;
            assert_false(layout_equal(&c, &a));
        }
        layout_deinit(&a);
        layout_deinit(&b);
        layout_deinit(&c);
        buf_deinit(&bytes);
        buf_deinit(&again);
    }
}

/* Prefixes and single changed bytes of a valid encoding: decoded or refused, never a crash, never
 * half a layout. */
static void hostile_bytes(void **state) {
    (void)state;
    struct layout a, b;
    struct buf bytes;
    struct reader r;
    struct sotto_error err = SOTTO_ERROR_INIT;
    make(&a, 9);
    buf_init(&bytes, 1 << 16);
    layout_encode(&a, &bytes);
    for (size_t n = 0; n < bytes.len; n++) {
        reader_init(&r, view_of(bytes.data, n));
        assert_int_not_equal(layout_decode(&b, &r, &err), SOTTO_OK);
        assert_int_equal(b.segment_count, 0);
        assert_null(b.segments);
        assert_int_not_equal(r.status, SOTTO_OK);
        assert_true(err.message[0] != '\0');
    }
    struct rng rng;
    rng_init(&rng, test_seed(), 0, 0, RNG_FAULT);
    for (int i = 0; i < 5000; i++) {
        const uint32_t at = rng_below(&rng, (uint32_t)bytes.len);
        const uint8_t was = bytes.data[at];
        bytes.data[at] = (uint8_t)rng_u32(&rng);
        reader_init(&r, buf_view(&bytes));
        if (layout_decode(&b, &r, &err) == SOTTO_OK)
            assert_true(b.total <= LAYOUT_TOTAL_MAX);
        layout_deinit(&b);
        bytes.data[at] = was;
    }
    static const uint8_t many[4] = {0xff, 0xff, 0xff, 0xff};
    reader_init(&r, view_of(many, sizeof many));
    ASSERT_FAILS(layout_decode(&b, &r, &err), SOTTO_LIMIT, "layout: field layout.segments");
    layout_deinit(&a);
    buf_deinit(&bytes);
}

static enum sotto_status copy_once(void *ctx, struct sotto_error *err) {
    struct layout copy;
    const enum sotto_status status = layout_copy(&copy, ctx, err);
    layout_deinit(&copy);
    return status;
}

static void copies_survive_oom(void **state) {
    (void)state;
    struct layout a;
    make(&a, 20);
    test_oom_loop(copy_once, &a);
    layout_deinit(&a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(segments_follow_each_other),
        cmocka_unit_test(bad_segments_are_refused),
        cmocka_unit_test(round_trip),
        cmocka_unit_test(hostile_bytes),
        cmocka_unit_test(copies_survive_oom),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
