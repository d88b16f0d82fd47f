/* Degree and threshold against reference values; parameters of groups; the random ring. */
#include <math.h>
#include <string.h>

#include "secagg/secagg_int.h"
#include "support.h"

/* Degree 0: infeasible. The degree must be equal, the threshold not larger. */
static const struct {
    uint32_t n;
    double gamma, delta;
    enum secagg_adversary adversary;
    uint32_t degree, threshold;
} reference[] = {
    {100, 0.45, 0.45, SECAGG_CURIOUS, 92, 46},
    {1000, 0.45, 0.45, SECAGG_CURIOUS, 822, 417},
    {10000, 0.45, 0.45, SECAGG_CURIOUS, 3494, 1771},
    {1000000, 0.45, 0.45, SECAGG_CURIOUS, 6240, 3156},
    {10, 0.33, 0.33, SECAGG_CURIOUS, 8, 4},
    {100, 0.33, 0.33, SECAGG_CURIOUS, 68, 34},
    {10000, 0.33, 0.33, SECAGG_CURIOUS, 422, 221},
    {100000, 0.33, 0.33, SECAGG_CURIOUS, 480, 251},
    {1000000, 0.33, 0.33, SECAGG_CURIOUS, 518, 270},
    {1000, 0.3, 0.3, SECAGG_SEMI_MALICIOUS, 872, 584},
    {10000, 0.3, 0.3, SECAGG_SEMI_MALICIOUS, 4822, 3230},
    {100000, 0.3, 0.3, SECAGG_SEMI_MALICIOUS, 9388, 6286},
    {10, 0.05, 0.33, SECAGG_CURIOUS, 4, 2},
    {100, 0.05, 0.33, SECAGG_CURIOUS, 28, 6},
    {1000, 0.05, 0.33, SECAGG_CURIOUS, 72, 24},
    {100000, 0.05, 0.33, SECAGG_CURIOUS, 96, 32},
    {1000000, 0.05, 0.33, SECAGG_CURIOUS, 102, 34},
    {10, 0.05, 0.33, SECAGG_SEMI_MALICIOUS, 8, 5},
    {1000, 0.05, 0.33, SECAGG_SEMI_MALICIOUS, 398, 223},
    {10000, 0.05, 0.33, SECAGG_SEMI_MALICIOUS, 746, 420},
    {100000, 0.05, 0.33, SECAGG_SEMI_MALICIOUS, 882, 496},
    {10, 0.33, 0.05, SECAGG_CURIOUS, 4, 4},
    {100, 0.33, 0.05, SECAGG_CURIOUS, 34, 29},
    {1000, 0.33, 0.05, SECAGG_CURIOUS, 78, 60},
    {100000, 0.33, 0.05, SECAGG_CURIOUS, 102, 77},
    {1000000, 0.33, 0.05, SECAGG_CURIOUS, 110, 83},
    {10, 0.33, 0.05, SECAGG_SEMI_MALICIOUS, 4, 4},
    {1000, 0.33, 0.05, SECAGG_SEMI_MALICIOUS, 132, 109},
    {10000, 0.33, 0.05, SECAGG_SEMI_MALICIOUS, 178, 146},
    {100000, 0.33, 0.05, SECAGG_SEMI_MALICIOUS, 196, 160},
    {10, 0.05, 0.05, SECAGG_CURIOUS, 2, 2},
    {100, 0.05, 0.05, SECAGG_CURIOUS, 12, 6},
    {1000, 0.05, 0.05, SECAGG_CURIOUS, 30, 17},
    {100000, 0.05, 0.05, SECAGG_CURIOUS, 36, 21},
    {1000000, 0.05, 0.05, SECAGG_CURIOUS, 38, 22},
    {10, 0.05, 0.05, SECAGG_SEMI_MALICIOUS, 2, 2},
    {1000, 0.05, 0.05, SECAGG_SEMI_MALICIOUS, 52, 37},
    {10000, 0.05, 0.05, SECAGG_SEMI_MALICIOUS, 62, 44},
    {100000, 0.05, 0.05, SECAGG_SEMI_MALICIOUS, 68, 48},
    {10, 0.33, 0.0, SECAGG_CURIOUS, 4, 4},
    {100, 0.33, 0.0, SECAGG_CURIOUS, 26, 25},
    {1000, 0.33, 0.0, SECAGG_CURIOUS, 38, 36},
    {100000, 0.33, 0.0, SECAGG_CURIOUS, 46, 44},
    {1000000, 0.33, 0.0, SECAGG_CURIOUS, 50, 47},
    {10, 0.33, 0.0, SECAGG_SEMI_MALICIOUS, 4, 4},
    {1000, 0.33, 0.0, SECAGG_SEMI_MALICIOUS, 38, 37},
    {10000, 0.33, 0.0, SECAGG_SEMI_MALICIOUS, 42, 41},
    {100000, 0.33, 0.0, SECAGG_SEMI_MALICIOUS, 46, 45},
    {10, 0.0, 0.33, SECAGG_CURIOUS, 4, 2},
    {100, 0.0, 0.33, SECAGG_CURIOUS, 26, 2},
    {1000, 0.0, 0.33, SECAGG_CURIOUS, 38, 2},
    {100000, 0.0, 0.33, SECAGG_CURIOUS, 46, 2},
    {1000000, 0.0, 0.33, SECAGG_CURIOUS, 50, 2},
    {10, 0.0, 0.33, SECAGG_NONE, 4, 2},
    {1000, 0.0, 0.33, SECAGG_NONE, 38, 2},
    {10000, 0.0, 0.33, SECAGG_NONE, 42, 2},
    {100000, 0.0, 0.33, SECAGG_NONE, 46, 2},
    {10, 0.0, 0.33, SECAGG_SEMI_MALICIOUS, 8, 5},
    {100, 0.0, 0.33, SECAGG_SEMI_MALICIOUS, 68, 35},
    {1000, 0.0, 0.33, SECAGG_SEMI_MALICIOUS, 228, 115},
    {100000, 0.0, 0.33, SECAGG_SEMI_MALICIOUS, 372, 187},
    {1000000, 0.0, 0.33, SECAGG_SEMI_MALICIOUS, 410, 206},
    {10, 0.0, 0.0, SECAGG_CURIOUS, 2, 2},
    {1000, 0.0, 0.0, SECAGG_CURIOUS, 2, 2},
    {10000, 0.0, 0.0, SECAGG_CURIOUS, 2, 2},
    {100000, 0.0, 0.0, SECAGG_CURIOUS, 2, 2},
    {1000, 0.0, 0.0, SECAGG_NONE, 2, 2},
    {10000, 0.0, 0.0, SECAGG_NONE, 2, 2},
    {100000, 0.0, 0.0, SECAGG_NONE, 2, 2},
    {10, 0.0, 0.0, SECAGG_SEMI_MALICIOUS, 2, 2},
    {100, 0.0, 0.0, SECAGG_SEMI_MALICIOUS, 2, 2},
    {1000, 0.0, 0.0, SECAGG_SEMI_MALICIOUS, 2, 2},
    {100000, 0.0, 0.0, SECAGG_SEMI_MALICIOUS, 2, 2},
    {1000000, 0.0, 0.0, SECAGG_SEMI_MALICIOUS, 2, 2},
    {1000, 0.1, 1.0, SECAGG_CURIOUS, 0, 0},
    {1000, 0.5, 0.5, SECAGG_SEMI_MALICIOUS, 0, 0},
    {1000, 0.33, 0.33, SECAGG_SEMI_MALICIOUS, 0, 0},
    {1000, 0.5, 0.5, SECAGG_NONE, 0, 0},
};

static void test_reference(void **state) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct secagg_graph_params p;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(reference); i++) {
        const enum sotto_status got =
            secagg_graph_search(reference[i].n, reference[i].gamma, reference[i].delta,
                                reference[i].adversary, &p, &err);
        if (reference[i].degree == 0) {
            ASSERT_FAILS(got, SOTTO_UNSUPPORTED, "infeasible");
            continue;
        }
        ASSERT_OK(got);
        if (p.degree != reference[i].degree || p.threshold > reference[i].threshold)
            fail_msg("row %zu: degree %u, threshold %u; expected %u, %u", i, p.degree, p.threshold,
                     reference[i].degree, reference[i].threshold);
    }
}

/* Values of the search for everyday groups. */
static void test_everyday(void **state) {
    static const uint32_t sizes[] = {20, 50, 100, 200, 500, 1000, 5000};
    static const struct {
        enum secagg_adversary adversary;
        double gamma, delta;
        uint32_t want[7][2];
    } rows[] = {
        {SECAGG_CURIOUS,
         .05,
         .05,
         {{4, 2}, {6, 3}, {12, 6}, {20, 11}, {28, 16}, {30, 17}, {32, 19}}},
        {SECAGG_CURIOUS,
         .1,
         .1,
         {{6, 3}, {12, 6}, {22, 11}, {34, 19}, {42, 24}, {48, 27}, {52, 30}}},
        {SECAGG_CURIOUS,
         .05,
         .3,
         {{8, 2}, {18, 3}, {26, 6}, {38, 11}, {58, 20}, {66, 23}, {76, 27}}},
        {SECAGG_CURIOUS,
         .33,
         .1,
         {{10, 7}, {22, 17}, {42, 32}, {66, 47}, {90, 64}, {102, 72}, {120, 84}}},
        {SECAGG_SEMI_MALICIOUS,
         .05,
         .05,
         {{4, 3}, {8, 6}, {16, 11}, {30, 21}, {44, 31}, {52, 37}, {58, 41}}},
        {SECAGG_SEMI_MALICIOUS,
         .1,
         .1,
         {{8, 6}, {16, 11}, {32, 22}, {56, 39}, {82, 57}, {96, 67}, {116, 81}}},
        {SECAGG_SEMI_MALICIOUS,
         .05,
         .3,
         {{14, 8}, {34, 19}, {66, 36}, {116, 64}, {212, 119}, {314, 179}, {474, 271}}},
        {SECAGG_SEMI_MALICIOUS,
         .33,
         .1,
         {{12, 10}, {28, 23}, {54, 44}, {98, 78}, {168, 132}, {218, 171}, {292, 228}}},
    };
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct secagg_graph_params p;
    (void)state;
    for (size_t r = 0; r < ARRAY_LEN(rows); r++)
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
            ASSERT_OK(secagg_graph_search(sizes[i], rows[r].gamma, rows[r].delta, rows[r].adversary,
                                          &p, &err));
            assert_int_equal(p.degree, rows[r].want[i][0]);
            assert_int_equal(p.threshold, rows[r].want[i][1]);
        }
}

static void test_groups(void **state) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct secagg_graph_params p;
    (void)state;
    for (uint32_t n = 0; n < SECAGG_MEMBERS_MIN; n++)
        ASSERT_FAILS(secagg_group_params(n, 0, 0, SECAGG_CURIOUS, &p, &err), SOTTO_LIMIT,
                     "refused");
    for (uint32_t n = SECAGG_MEMBERS_MIN; n <= SECAGG_COMPLETE_MAX; n++) {
        ASSERT_OK(secagg_group_params(n, 0.9, 0.9, SECAGG_SEMI_MALICIOUS, &p, &err));
        assert_int_equal(p.degree, n - 1);
        assert_int_equal(p.threshold, (uint32_t)floor(2.0 * n / 3.0) + 1);
        assert_true(p.complete);
    }
    ASSERT_OK(secagg_group_params(500, .05, .05, SECAGG_CURIOUS, &p, &err));
    assert_int_equal(p.degree, 28);
    assert_false(p.complete);
    ASSERT_FAILS(secagg_graph_search(100, NAN, 0, SECAGG_CURIOUS, &p, &err), SOTTO_INVALID,
                 "shares");
    ASSERT_FAILS(secagg_graph_search(100, -.1, 0, SECAGG_CURIOUS, &p, &err), SOTTO_INVALID,
                 "shares");
    ASSERT_FAILS(secagg_graph_search(2000000, 0, 0, SECAGG_CURIOUS, &p, &err), SOTTO_LIMIT,
                 "takes");
    ASSERT_FAILS(secagg_graph_search(11, .4, .45, SECAGG_CURIOUS, &p, &err), SOTTO_UNSUPPORTED,
                 "too few");
}

static void test_answer(void **state) {
    struct secagg_question q = {.clients = 1000,
                                .adversarial = 0.05,
                                .dropout = 0.3,
                                .adversary = SECAGG_SEMI_MALICIOUS,
                                .dimension = 100000,
                                .ring_bits = 16};
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct secagg_answer a;
    struct buf text;
    (void)state;
    ASSERT_OK(secagg_parameters_answer(&q, &a, &err));
    assert_int_equal(a.degree, 314);
    assert_int_equal(a.used_threshold, 179);
    assert_int_equal(a.groups, 5);
    assert_int_equal(a.group_threshold, 134);
    assert_true(a.bytes_up > 200000 && a.bytes_up < 300000);
    buf_init(&text, 4096);
    secagg_parameters_describe(&q, &a, true, &text);
    buf_put_u8(&text, 0);
    assert_non_null(strstr((char *)text.data, "\"used_degree\":314,"));
    buf_reset(&text);
    q.clients = 100;
    ASSERT_OK(secagg_parameters_answer(&q, &a, &err));
    assert_int_equal(a.degree, 66);
    assert_int_equal(a.used_degree, 99);
    assert_int_equal(a.used_threshold, 67);
    secagg_parameters_describe(&q, &a, false, &text);
    buf_put_u8(&text, 0);
    assert_non_null(strstr((char *)text.data, "cheating"));
    buf_deinit(&text);
    q.clients = 9;
    ASSERT_FAILS(secagg_parameters_answer(&q, &a, &err), SOTTO_LIMIT, "refused");
    q.clients = 1000;
    q.dropout = 0.5;
    ASSERT_FAILS(secagg_parameters_answer(&q, &a, &err), SOTTO_UNSUPPORTED, "infeasible");
}

/* Degree everywhere, symmetric, connected; another seed gives another ring. */
static void test_ring(void **state) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    uint8_t seed[SECAGG_KEY] = {1}, other[SECAGG_KEY] = {2};
    uint32_t mine[13], theirs[13], differ = 0;
    struct ring_graph g, h;
    (void)state;
    ASSERT_OK(ring_graph_init(&g, 301, 12, seed, &err));
    ASSERT_OK(ring_graph_init(&h, 301, 12, other, &err));
    for (uint32_t i = 0; i < 301; i++) {
        ring_graph_holders(&g, i, mine);
        assert_true(holder_place(mine, 13, i) < 13);
        for (uint32_t k = 0; k < 13; k++) {
            assert_true(mine[k] < 301 && (k == 0 || mine[k] > mine[k - 1]));
            ring_graph_holders(&g, mine[k], theirs);
            assert_true(holder_place(theirs, 13, i) < 13);
        }
        ring_graph_holders(&h, i, theirs);
        differ += memcmp(mine, theirs, sizeof mine) != 0;
        assert_int_equal(g.at[g.pos[i]], i);
    }
    assert_true(differ > 290);
    ring_graph_deinit(&g);
    ring_graph_deinit(&h);
    ASSERT_OK(ring_graph_init(&g, 13, 12, seed, &err)); /* complete */
    ring_graph_holders(&g, 5, mine);
    for (uint32_t k = 0; k < 13; k++)
        assert_int_equal(mine[k], k);
    ring_graph_deinit(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference), cmocka_unit_test(test_everyday),
        cmocka_unit_test(test_groups),    cmocka_unit_test(test_answer),
        cmocka_unit_test(test_ring),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
