/* Secure aggregation in groups above 200: the random graph, up to 1,000 members, with drop-outs. */
#include <stdlib.h>
#include <string.h>

#include "secagg_world.h"

/* Drops each member with the chance share, spread over the exchanges. */
static void drop(struct world *w, struct rng *r, double share) {
    for (uint32_t i = 0; i < w->n; i++)
        if (rng_f64(r) < share)
            w->members[i].quits = (enum secagg_kind)(1 + 2 * rng_below(r, 5));
}

static void group(uint32_t n, unsigned bits, uint64_t length, double gamma, double delta,
                  uint64_t seed) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct secagg_config config = world_config(bits, length, n);
    struct secagg_server_report report;
    struct rng r;
    struct world w;
    config.gamma = gamma;
    config.delta = delta;
    rng_init(&r, seed, 2, 0, RNG_FAULT);
    world_init(&w, n, &config, seed, true);
    w.noisy = n < 400;
    drop(&w, &r, delta / 2.0);
    const enum sotto_status got = world_run(&w, &err);
    if (got != SOTTO_OK)
        fail_msg("n %u, seed %llu: %s", n, (unsigned long long)seed, err.message);
    world_assert_sum(&w);
    secagg_server_report(w.server, &report);
    assert_false(report.complete);
    print_message("%u members: degree %u, threshold %u, %u shared, %u survived, %u unmasked\n", n,
                  report.degree, report.threshold, report.sharers, report.survivors,
                  report.unmaskers);
    world_deinit(&w);
}

static void test_300(void **state) {
    (void)state;
    group(300, 20, 33, 0.0, 0.2, test_seed());
}

/* SOTTO_SCHEDULES runs more than one. */
static void test_1000(void **state) {
    const char *text = getenv("SOTTO_SCHEDULES");
    struct sotto_error err = SOTTO_ERROR_INIT;
    uint64_t count = 1;
    (void)state;
    if (text)
        ASSERT_OK(num_parse_u64(text, 1, 1000, &count, &err));
    for (uint64_t k = 0; k < count; k++)
        group(1000, 16, 7, 0.0, 0.1, test_seed() + k);
}

/* Neighbours whose records are not those that were hashed into the session id. */
static void test_neighbour_replaced(void **state) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct secagg_config config = world_config(16, 4, 201);
    struct buf list, out;
    struct world w;
    (void)state;
    config.gamma = 0.0;
    world_init(&w, 201, &config, test_seed(), true);
    ASSERT_OK(world_advertise(&w, &err));
    world_say(&w, SECAGG_LIST, 9, &list);
    buf_init(&out, 1 << 16);
    list.data[list.len - 1] ^= 1;
    ASSERT_FAILS(secagg_client_list(w.members[9].client, buf_view(&list), &out, &err), SOTTO_DENIED,
                 "is not the listed one");
    assert_int_equal(out.len, 0);
    buf_deinit(&list);
    world_say(&w, SECAGG_LIST, 10, &list);
    memcpy(list.data + 48, list.data + 48 + 32, 32); /* a hash of another member, twice */
    const enum sotto_status got =
        secagg_client_list(w.members[10].client, buf_view(&list), &out, &err);
    assert_int_equal(got, SOTTO_DENIED); /* the graph is another one, so the records do not fit */
    buf_deinit(&list);
    buf_deinit(&out);
    world_deinit(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_300),
        cmocka_unit_test(test_1000),
        cmocka_unit_test(test_neighbour_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
