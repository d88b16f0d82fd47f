/* Secure aggregation, honest coordinator: exact sums, whoever drops out and whenever. */
#include <stdatomic.h>
#include <stdlib.h>

#include "secagg_world.h"

static void all_stay(unsigned bits, uint32_t n, uint64_t length) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct secagg_config config = world_config(bits, length, n);
    struct secagg_server_report report;
    struct secagg_client_report own;
    struct world w;
    world_init(&w, n, &config, test_seed() + bits, false);
    ASSERT_OK(world_run(&w, &err));
    world_assert_sum(&w);
    secagg_server_report(w.server, &report);
    assert_int_equal(report.threshold, 2 * n / 3 + 1);
    assert_true(report.complete);
    assert_int_equal(report.survivors, n);
    assert_int_equal(report.mask_streams, n);
    secagg_client_report(w.members[3].client, &own);
    assert_int_equal(own.stage, SECAGG_STAGE_DONE);
    assert_int_equal(own.signatures, n);
    assert_memory_equal(own.session, report.session, SECAGG_KEY);
    world_deinit(&w);
}

static void test_rings(void **state) {
    (void)state;
    all_stay(16, 10, 5);
    all_stay(20, 11, 4099); /* an odd number of 20-bit coordinates behind one block */
    all_stay(24, 12, 10001);
    all_stay(32, 13, 8192);
}

/* One drop-out or more at every exchange, down to exactly the threshold. */
static void test_dropouts_everywhere(void **state) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct secagg_config config = world_config(20, 700, 30);
    struct world w;
    (void)state;
    world_init(&w, 30, &config, test_seed(), true);
    w.members[0].quits = SECAGG_ADVERTISE; /* 29 members: t = 20 */
    w.members[4].quits = w.members[9].quits = SECAGG_SHARES;
    w.members[5].quits = w.members[17].quits = w.members[29].quits = SECAGG_MASKED;
    w.members[11].quits = w.members[12].quits = SECAGG_SIGNATURE;
    w.members[13].quits = w.members[14].quits = SECAGG_UNMASK;
    ASSERT_OK(world_run(&w, &err));
    world_assert_sum(&w);
    struct secagg_server_report r;
    secagg_server_report(w.server, &r);
    assert_int_equal(r.members, 29);
    assert_int_equal(r.threshold, 20);
    assert_int_equal(r.sharers, 27);
    assert_int_equal(r.survivors, 24);
    assert_int_equal(r.signers, 22);
    assert_int_equal(r.unmaskers, 20); /* exactly t */
    assert_int_equal(r.mask_streams, 24 + 3 * 24);
    uint64_t serials[30];
    assert_int_equal(secagg_server_set(w.server, SECAGG_MASKED, serials, 30), 24);
    world_deinit(&w);
}

/* One fewer than the threshold at any exchange fails closed, and says why. */
static void test_below_threshold(void **state) {
    static const enum secagg_kind kinds[] = {SECAGG_SHARES, SECAGG_MASKED, SECAGG_SIGNATURE,
                                             SECAGG_UNMASK};
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct secagg_config config = world_config(16, 40, 12);
    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        struct world w;
        world_init(&w, 12, &config, test_seed(), true); /* t = 9 */
        for (uint32_t i = 0; i < 4; i++)
            w.members[2 * i].quits = kinds[k];
        ASSERT_FAILS(world_run(&w, &err), SOTTO_CHECK,
                     kinds[k] == SECAGG_UNMASK ? "shares" : "needed");
        struct secagg_server_report r;
        secagg_server_report(w.server, &r);
        assert_true(r.failed);
        ASSERT_STATUS(world_reveal(&w, NULL), SOTTO_STATE);
        world_deinit(&w);
    }
    struct world w; /* too few even to begin */
    world_init(&w, 12, &config, test_seed(), true);
    w.members[0].quits = w.members[1].quits = w.members[2].quits = SECAGG_ADVERTISE;
    ASSERT_FAILS(world_run(&w, &err), SOTTO_CHECK, "minimum group of 10");
    world_deinit(&w);
}

/* Seeded schedules of drop-outs, repeats and orders at n <= 16. SOTTO_SCHEDULES sets how many. */
static void test_schedules(void **state) {
    const char *text = getenv("SOTTO_SCHEDULES");
    uint64_t count = 100, completed = 0;
    struct sotto_error err = SOTTO_ERROR_INIT;
    (void)state;
    if (text)
        ASSERT_OK(num_parse_u64(text, 1, 1000000, &count, &err));
    for (uint64_t k = 0; k < count; k++) {
        static const unsigned rings[] = {16, 20, 24, 32};
        const uint64_t seed = test_seed() + k;
        struct rng r;
        struct world w;
        rng_init(&r, seed, 1, 0, RNG_FAULT);
        const uint32_t n = 10 + rng_below(&r, 7);
        struct secagg_config config =
            world_config(rings[rng_below(&r, 4)], 1 + rng_below(&r, 50), n);
        world_init(&w, n, &config, seed, true);
        w.noisy = true;
        const uint32_t share = 1 + rng_below(&r, 12);
        for (uint32_t i = 0; i < n; i++)
            if (rng_below(&r, 40) < share)
                w.members[i].quits = (enum secagg_kind)(1 + 2 * rng_below(&r, 5));
        const uint32_t n1 = world_senders(&w, SECAGG_ADVERTISE);
        uint32_t need = 2 * n1 / 3 + 1;
        need = need < SECAGG_MEMBERS_MIN ? SECAGG_MEMBERS_MIN : need;
        const bool fine = n1 >= SECAGG_MEMBERS_MIN && world_senders(&w, SECAGG_SIGNATURE) >= need &&
                          world_senders(&w, SECAGG_UNMASK) >= 2 * n1 / 3 + 1;
        const enum sotto_status got = world_run(&w, &err);
        if (got != (fine ? SOTTO_OK : SOTTO_CHECK))
            fail_msg("seed %llu: status %d, %s", (unsigned long long)seed, (int)got, err.message);
        if (fine)
            world_assert_sum(&w);
        completed += fine;
        world_deinit(&w);
    }
    print_message("%llu schedules, %llu completed\n", (unsigned long long)count,
                  (unsigned long long)completed);
    assert_true(completed > count / 4 && completed < count);
}

struct jobs {
    atomic_size_t next;
    size_t count;
    secagg_job *job;
    void *ctx;
};

static void work(void *ctx, unsigned worker) {
    struct jobs *j = ctx;
    (void)worker;
    for (size_t i; (i = atomic_fetch_add(&j->next, 1)) < j->count;)
        j->job(j->ctx, i);
}

static void run_on_pool(void *ctx, size_t count, secagg_job *job, void *job_ctx) {
    struct jobs j = {.count = count, .job = job, .ctx = job_ctx};
    for (unsigned i = 0; i < pool_workers(ctx); i++)
        assert_int_equal(pool_submit(ctx, work, &j), SOTTO_OK);
    pool_wait(ctx);
}

/* Opening and unmasking over several threads, and in pieces. */
static void test_parallel(void **state) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct secagg_config config = world_config(24, 5 * SECAGG_BLOCK + 3, 20);
    struct pool *pool = pool_new(3, 8);
    const struct secagg_parallel par = {pool, run_on_pool};
    struct world w;
    (void)state;
    assert_non_null(pool);
    world_init(&w, 20, &config, test_seed(), true);
    w.members[3].quits = w.members[8].quits = w.members[9].quits = SECAGG_MASKED;
    ASSERT_OK(world_advertise(&w, &err));
    ASSERT_OK(world_shares(&w, &err));
    ASSERT_OK(world_masked(&w, &err));
    ASSERT_OK(world_signatures(&w, &err));
    ASSERT_OK(world_unmask(&w, &err));
    ASSERT_STATUS(secagg_server_reveal(w.server, w.sum, 0, 10, &par, NULL), SOTTO_STATE);
    ASSERT_OK(secagg_server_open(w.server, &par, &err));
    ASSERT_STATUS(secagg_server_open(w.server, &par, NULL), SOTTO_STATE);
    ASSERT_STATUS(secagg_server_reveal(w.server, w.sum, 1, 10, &par, NULL), SOTTO_INVALID);
    const size_t half = 2 * SECAGG_BLOCK;
    ASSERT_OK(secagg_server_reveal(w.server, w.sum + half, half, (size_t)config.length - half, &par,
                                   &err));
    ASSERT_OK(secagg_server_reveal(w.server, w.sum, 0, half, &par, &err));
    world_assert_sum(&w);
    world_deinit(&w);
    pool_free(pool);
}

/* A single masked vector looks uniform: chi-square over its bytes, for an input of zeros. */
static void test_uniform(void **state) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct secagg_config config = world_config(16, 1 << 17, 10);
    struct world w;
    double chi = 0.0;
    uint32_t bins[256] = {0};
    (void)state;
    world_init(&w, 10, &config, test_seed(), true);
    struct world_member *m = &w.members[6];
    for (uint64_t k = 0; k < config.length; k++)
        m->values[k] = 0;
    ASSERT_OK(world_advertise(&w, &err));
    ASSERT_OK(world_shares(&w, &err));
    struct buf in;
    world_say(&w, SECAGG_DELIVERY, 6, &in);
    ASSERT_OK(secagg_client_delivery(m->client, buf_view(&in), &err));
    ASSERT_OK(world_mask(m, &err));
    const size_t bytes = m->masked.len - SECAGG_MASKED_HEAD;
    for (size_t i = 0; i < bytes; i++)
        bins[m->masked.data[SECAGG_MASKED_HEAD + i]]++;
    for (int b = 0; b < 256; b++) {
        const double off = bins[b] - (double)bytes / 256.0;
        chi += off * off / ((double)bytes / 256.0);
    }
    assert_true(chi > 160.0 && chi < 370.0); /* 255 degrees of freedom: mean 255, sd 22.6 */
    buf_deinit(&in);
    world_deinit(&w);
}

/* A coordinator that restarts and is given the stored messages again shows the same lists. */
static void test_server_resumes(void **state) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct secagg_config config = world_config(16, 9, 10);
    struct secagg_server *again;
    struct world w;
    struct buf records[10], shares[10], said, resaid;
    (void)state;
    world_init(&w, 10, &config, test_seed(), true);
    ASSERT_OK(secagg_server_new(&config, &w.identity, &again, &err));
    for (uint32_t i = 0; i < 10; i++) {
        buf_init(&records[i], 4096);
        ASSERT_OK(secagg_client_advertise(w.members[i].client, &records[i], &err));
        ASSERT_OK(
            secagg_server_advertise(w.server, w.members[i].serial, buf_view(&records[i]), &err));
    }
    ASSERT_OK(secagg_server_close(w.server, SECAGG_ADVERTISE, &err));
    for (uint32_t i = 10; i-- > 0;) /* in another order */
        ASSERT_OK(secagg_server_advertise(again, w.members[i].serial, buf_view(&records[i]), &err));
    ASSERT_OK(secagg_server_close(again, SECAGG_ADVERTISE, &err));
    for (uint32_t i = 0; i < 10; i++) {
        world_say(&w, SECAGG_LIST, i, &said);
        buf_init(&resaid, 1 << 16);
        ASSERT_OK(secagg_server_message(again, SECAGG_LIST, w.members[i].serial, &resaid, &err));
        assert_int_equal(said.len, resaid.len);
        assert_memory_equal(said.data, resaid.data, said.len);
        buf_init(&shares[i], 1 << 16);
        ASSERT_OK(secagg_client_list(w.members[i].client, buf_view(&said), &shares[i], &err));
        ASSERT_OK(secagg_server_shares(again, w.members[i].serial, buf_view(&shares[i]), &err));
        buf_deinit(&said);
        buf_deinit(&resaid);
    }
    ASSERT_OK(secagg_server_close(again, SECAGG_SHARES, &err));
    secagg_server_free(w.server); /* the session goes on with the new one */
    w.server = again;
    ASSERT_OK(world_masked(&w, &err));
    ASSERT_OK(world_signatures(&w, &err));
    ASSERT_OK(world_unmask(&w, &err));
    ASSERT_OK(world_reveal(&w, &err));
    world_assert_sum(&w);
    for (uint32_t i = 0; i < 10; i++) {
        buf_deinit(&records[i]);
        buf_deinit(&shares[i]);
    }
    world_deinit(&w);
}

/* Limbs: sums of narrow limbs join to the sum of the scalars. */
static void test_limbs(void **state) {
    uint32_t limbs[11], sums[11] = {0};
    uint64_t sum = 0;
    (void)state;
    assert_int_equal(secagg_limb_bits(16, 1000), 6);
    assert_int_equal(secagg_limb_bits(32, 1), 32);
    assert_int_equal(secagg_limb_bits(16, 65535), 1);
    assert_int_equal(secagg_limb_bits(16, 65536), 0);
    for (uint64_t i = 0; i < 1000; i++) {
        const uint64_t value = (i * 0x9E3779B97F4A7C15u) >> 11;
        secagg_limbs_split(value, 6, 11, limbs);
        for (int k = 0; k < 11; k++)
            sums[k] += limbs[k];
        sum += value;
    }
    for (int k = 0; k < 11; k++)
        assert_true(sums[k] < 65536);
    assert_true(secagg_limbs_join(sums, 6, 11) == sum);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rings),           cmocka_unit_test(test_dropouts_everywhere),
        cmocka_unit_test(test_below_threshold), cmocka_unit_test(test_schedules),
        cmocka_unit_test(test_parallel),        cmocka_unit_test(test_uniform),
        cmocka_unit_test(test_server_resumes),  cmocka_unit_test(test_limbs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
