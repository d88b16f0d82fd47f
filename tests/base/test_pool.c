/* The queue between threads and the worker pool. */
#include "support.h"

#include <pthread.h>
#include <stdatomic.h>

static int items[64];

static void queue_is_a_bounded_fifo(void **state) {
    (void)state;
    struct queue *q = queue_new(3);
    void *item;
    assert_non_null(q);
    for (int lap = 0; lap < 5; lap++) {
        for (int i = 0; i < 3; i++)
            ASSERT_STATUS(queue_push(q, &items[i]), SOTTO_OK);
        ASSERT_STATUS(queue_push(q, &items[3]), SOTTO_BUSY);
        assert_int_equal(queue_len(q), 3);
        for (int i = 0; i < 3; i++) {
            ASSERT_STATUS(queue_pop(q, 0, &item), SOTTO_OK);
            assert_ptr_equal(item, &items[i]);
        }
        ASSERT_STATUS(queue_pop(q, 0, &item), SOTTO_TIMEOUT);
        assert_null(item);
        ASSERT_STATUS(queue_pop(q, 1, &item), SOTTO_TIMEOUT);
        /* Shift the ring by one for the next lap. */
        ASSERT_STATUS(queue_push(q, &items[9]), SOTTO_OK);
        ASSERT_STATUS(queue_pop(q, -1, &item), SOTTO_OK);
    }
    queue_free(q);
    queue_free(NULL);
    assert_null(queue_new(0));
}

static void closing_drains(void **state) {
    (void)state;
    struct queue *q = queue_new(2);
    void *item;
    ASSERT_STATUS(queue_push(q, &items[0]), SOTTO_OK);
    queue_close(q);
    ASSERT_STATUS(queue_push(q, &items[1]), SOTTO_CANCELLED);
    ASSERT_STATUS(queue_push_wait(q, &items[1]), SOTTO_CANCELLED);
    ASSERT_STATUS(queue_pop(q, -1, &item), SOTTO_OK);
    ASSERT_STATUS(queue_pop(q, -1, &item), SOTTO_CANCELLED);
    queue_free(q);
}

struct flow {
    struct queue *q;
    uintptr_t sum;
    size_t count;
};

static void *consume(void *arg) {
    struct flow *f = arg;
    void *item;
    while (queue_pop(f->q, -1, &item) == SOTTO_OK) {
        f->sum += (uintptr_t)item;
        f->count++;
    }
    return NULL;
}

static void *produce(void *arg) {
    struct flow *f = arg;
    for (uintptr_t i = 1; i <= 500; i++)
        if (queue_push_wait(f->q, (void *)i) != SOTTO_OK)
            break;
    return NULL;
}

static void nothing_is_lost_between_threads(void **state) {
    (void)state;
    struct queue *q = queue_new(4);
    struct flow flows[3] = {{q, 0, 0}, {q, 0, 0}, {q, 0, 0}};
    pthread_t in[2], out[3];
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&out[i], NULL, consume, &flows[i]), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&in[i], NULL, produce, &flows[0]), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(in[i], NULL);
    queue_close(q);
    uintptr_t sum = 0;
    size_t count = 0;
    for (int i = 0; i < 3; i++) {
        pthread_join(out[i], NULL);
        sum += flows[i].sum;
        count += flows[i].count;
    }
    assert_int_equal(count, 1000);
    assert_int_equal(sum, 2 * 500 * 501 / 2);
    queue_free(q);
}

struct tally {
    atomic_uint done;
    atomic_uint busy[3]; /* per worker: never two jobs at once */
    atomic_bool overlap;
};

static void job(void *ctx, unsigned worker) {
    struct tally *t = ctx;
    if (worker >= 3 || atomic_fetch_add(&t->busy[worker], 1) != 0)
        atomic_store(&t->overlap, true);
    atomic_fetch_add(&t->done, 1);
    if (worker < 3)
        atomic_fetch_sub(&t->busy[worker], 1);
}

static void pool_runs_every_job(void **state) {
    (void)state;
    struct tally t = {0};
    struct pool *p = pool_new(3, 2);
    assert_non_null(p);
    assert_int_equal(pool_workers(p), 3);
    pool_wait(p); /* nothing to wait for */
    for (unsigned lap = 1; lap <= 3; lap++) {
        for (int i = 0; i < 100; i++)
            ASSERT_STATUS(pool_submit(p, job, &t), SOTTO_OK);
        pool_wait(p);
        assert_int_equal(atomic_load(&t.done), lap * 100);
    }
    for (int i = 0; i < 50; i++)
        ASSERT_STATUS(pool_submit(p, job, &t), SOTTO_OK);
    pool_free(p); /* finishes what is queued */
    assert_int_equal(atomic_load(&t.done), 350);
    assert_false(atomic_load(&t.overlap));
    pool_free(NULL);
    assert_true(pool_cpu_count() >= 1);
}

static void bad_sizes_are_refused(void **state) {
    (void)state;
    const uint64_t live = mem_live_count();
    assert_null(pool_new(0, 1));
    assert_null(pool_new(1, 0));
    assert_null(pool_new(100000, 1));
    assert_int_equal(mem_live_count(), live);
}

static enum sotto_status make_both(void *ctx, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    (void)ctx;
    struct pool *p = NULL;
    struct queue *q = queue_new(2);
    if (q == NULL)
        TRY_FAIL(err, SOTTO_NOMEM, "queue");
    p = pool_new(2, 2);
    if (p == NULL)
        TRY_FAIL(err, SOTTO_NOMEM, "pool");
out:
    pool_free(p);
    queue_free(q);
    return status;
}

static void survives_oom(void **state) {
    (void)state;
    test_oom_loop(make_both, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(queue_is_a_bounded_fifo),         cmocka_unit_test(closing_drains),
        cmocka_unit_test(nothing_is_lost_between_threads), cmocka_unit_test(pool_runs_every_job),
        cmocka_unit_test(bad_sizes_are_refused),           cmocka_unit_test(survives_oom),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
