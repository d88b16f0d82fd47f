/* Chunks: sizes, windows, repeats, resumption, and both ends against each other over a bad link. */
#include "sotto/protocol/chunk.h"

#include <string.h>

#include "support.h"

static const struct wire_hash no_hash;

static void sizes(void **state) {
    (void)state;
    assert_int_equal(chunk_count(0), 1);
    assert_int_equal(chunk_size(0, 0), 0);
    assert_int_equal(chunk_count(1), 1);
    assert_int_equal(chunk_size(1, 0), 1);
    assert_int_equal(chunk_count(CHUNK_BYTES), 1);
    assert_int_equal(chunk_size(CHUNK_BYTES, 0), CHUNK_BYTES);
    assert_int_equal(chunk_size(CHUNK_BYTES, 1), 0);
    assert_int_equal(chunk_count(CHUNK_BYTES + 1), 2);
    assert_int_equal(chunk_size(CHUNK_BYTES + 1, 1), 1);
    assert_int_equal(chunk_count(UINT64_MAX), UINT32_MAX);
    assert_int_equal(chunk_size(UINT64_MAX, UINT32_MAX), CHUNK_BYTES);
}

static void receiver_refuses(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct chunk_receiver r;
    uint32_t index, count;
    ASSERT_FAILS(chunk_receiver_init(&r, 101, 100, &no_hash, 0, 4, &err), SOTTO_LIMIT, "100");
    ASSERT_FAILS(chunk_receiver_init(&r, UINT64_MAX, UINT64_MAX, &no_hash, 0, 4, &err), SOTTO_LIMIT,
                 "blob");
    ASSERT_FAILS(chunk_receiver_init(&r, 100, 100, &no_hash, 0, 0, &err), SOTTO_INVALID, "credit");
    ASSERT_FAILS(chunk_receiver_init(&r, 100, 100, &no_hash, 0, 17, &err), SOTTO_INVALID, "credit");
    ASSERT_FAILS(chunk_receiver_init(&r, 100, 100, &no_hash, 2, 1, &err), SOTTO_INVALID, "stored");
    const uint64_t bytes = 3 * CHUNK_BYTES + 5;
    ASSERT_OK(chunk_receiver_init(&r, bytes, bytes, &no_hash, 0, 2, &err));
    ASSERT_FAILS(chunk_receiver_accept(&r, 0, CHUNK_BYTES, &err), SOTTO_INVALID, "grant");
    assert_true(chunk_receiver_grant(&r, &index, &count));
    assert_true(index == 0 && count == 2);
    assert_false(chunk_receiver_grant(&r, &index, &count));
    ASSERT_FAILS(chunk_receiver_accept(&r, 1, CHUNK_BYTES, &err), SOTTO_INVALID, "before chunk 0");
    ASSERT_FAILS(chunk_receiver_accept(&r, 0, CHUNK_BYTES - 1, &err), SOTTO_INVALID, "bytes");
    ASSERT_FAILS(chunk_receiver_accept(&r, 4, 0, &err), SOTTO_INVALID, "chunk 4");
    ASSERT_OK(chunk_receiver_accept(&r, 0, CHUNK_BYTES, &err));
    assert_true(chunk_receiver_grant(&r, &index, &count));
    assert_true(index == 2 && count == 1);
    ASSERT_STATUS(chunk_receiver_accept(&r, 0, CHUNK_BYTES, &err), SOTTO_EXISTS);
    ASSERT_OK(chunk_receiver_accept(&r, 1, CHUNK_BYTES, &err));
    ASSERT_OK(chunk_receiver_accept(&r, 2, CHUNK_BYTES, &err));
    ASSERT_FAILS(chunk_receiver_accept(&r, 3, 5, &err), SOTTO_INVALID, "grant");
    assert_true(chunk_receiver_grant(&r, &index, &count));
    assert_true(index == 3 && count == 1);
    assert_false(chunk_receiver_done(&r));
    ASSERT_OK(chunk_receiver_accept(&r, 3, 5, &err));
    assert_true(chunk_receiver_done(&r));
    assert_false(chunk_receiver_grant(&r, &index, &count));
}

static void an_empty_blob_is_one_chunk(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct chunk_receiver r;
    struct chunk_sender s;
    uint32_t index, count;
    ASSERT_OK(chunk_receiver_init(&r, 0, 0, &no_hash, 0, 1, &err));
    chunk_sender_init(&s, 0);
    assert_false(chunk_sender_next(&s, &index));
    assert_true(chunk_receiver_grant(&r, &index, &count));
    chunk_sender_grant(&s, index, count);
    assert_true(chunk_sender_next(&s, &index));
    ASSERT_OK(chunk_receiver_accept(&r, index, 0, &err));
    assert_true(chunk_receiver_done(&r));
}

static void sender_follows(void **state) {
    (void)state;
    struct chunk_sender s;
    uint32_t index;
    chunk_sender_init(&s, 10 * CHUNK_BYTES);
    chunk_sender_grant(&s, 5, 3); /* the receiver has stored five: go on there */
    assert_true(chunk_sender_next(&s, &index) && index == 5);
    chunk_sender_grant(&s, 8, 16); /* the next window, before this one is through */
    for (uint32_t want = 6; want < 10; want++)
        assert_true(chunk_sender_next(&s, &index) && index == want);
    assert_false(chunk_sender_next(&s, &index));
    chunk_sender_grant(&s, 7, 2); /* the receiver came back with less */
    assert_true(chunk_sender_next(&s, &index) && index == 7);
    assert_true(chunk_sender_next(&s, &index) && index == 8);
    assert_false(chunk_sender_next(&s, &index));
    chunk_sender_grant(&s, 11, 2); /* no such chunk */
    assert_false(chunk_sender_next(&s, &index));
    chunk_sender_grant(&s, 10, 2); /* all are stored */
    assert_false(chunk_sender_next(&s, &index));
}

/* Chunks come twice or not at all, the receiver restarts from what it stored: the blob arrives, in
 * order, once. */
static void a_bad_link(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct rng rng;
    rng_init(&rng, test_seed(), 0, 1, RNG_FAULT);
    for (int t = 0; t < 300; t++) {
        const uint64_t bytes = rng_below(&rng, 40 * CHUNK_BYTES);
        const uint32_t credit = 1 + rng_below(&rng, CHUNK_CREDIT_MAX);
        struct chunk_receiver r;
        struct chunk_sender s;
        uint32_t stored = 0, index, count, steps = 0;
        ASSERT_OK(chunk_receiver_init(&r, bytes, bytes, &no_hash, 0, credit, &err));
        chunk_sender_init(&s, bytes);
        while (!chunk_receiver_done(&r)) {
            assert_true(++steps < 100000);
            while (chunk_receiver_grant(&r, &index, &count)) {
                chunk_sender_grant(&s, index, count);
                assert_true(r.granted - r.next <= credit);
            }
            const bool sent = chunk_sender_next(&s, &index);
            if (!sent || rng_below(&rng, 50) == 0) {
                /* Lost, or nothing may be sent: the receiver starts again from its store. */
                ASSERT_OK(chunk_receiver_init(&r, bytes, bytes, &no_hash, stored, credit, &err));
                if (rng_below(&rng, 2) != 0)
                    chunk_sender_init(&s, bytes);
                continue;
            }
            const enum sotto_status status =
                chunk_receiver_accept(&r, index, chunk_size(bytes, index), &err);
            if (status == SOTTO_OK) {
                assert_int_equal(index, stored);
                stored++;
            } else {
                assert_true(status == SOTTO_EXISTS || status == SOTTO_INVALID);
            }
        }
        assert_int_equal(stored, chunk_count(bytes));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes),
        cmocka_unit_test(receiver_refuses),
        cmocka_unit_test(an_empty_blob_is_one_chunk),
        cmocka_unit_test(sender_follows),
        cmocka_unit_test(a_bad_link),
    };
    return cmocka_run_group_tests_name("chunk", tests, NULL, NULL);
}
