/* Seeded schedules of loss, repeats, delay, reordering and crashes: whatever happens, a report
 * counts once or comes back once, and the device works on when the weather clears. SOTTO_SEED
 * chooses the first schedule. */
#include "session_world.h"

#include <stdio.h>
#include <string.h>

#define SCHEDULES 60

static void disturb(struct world *w) {
    const uint32_t dice = rng_below(&w->rng, 100);
    if (dice < 12)
        world_restart(w);
    else if (dice < 24 && w->connection != 0)
        world_step(w, &(struct session_event){.kind = SESSION_LOST, .now_ms = w->now_ms});
    else if (dice < 28 && w->connection != 0)
        world_step(w, &(struct session_event){.kind = SESSION_REFUSED, .now_ms = w->now_ms});
    else if (dice < 36)
        w->coordinator_up = !w->coordinator_up;
    else if (dice < 42)
        w->online = !w->online;
    else if (dice < 60 && w->round > 0) {
        const uint32_t next = w->round + 1 + rng_below(&w->rng, 2);
        world_close_round(w, rng_below(&w->rng, 3) > 0);
        world_open_round(w, next);
    } else if (dice < 64 && (w->training || w->preparing)) {
        struct sotto_error error = SOTTO_ERROR_INIT;
        (void)SOTTO_FAIL(&error, rng_below(&w->rng, 2) ? SOTTO_CORRUPT : SOTTO_NOMEM, "as ordered");
        w->training = w->preparing = false;
        world_step(w, &(struct session_event){
                          .kind = SESSION_FAILED, .now_ms = w->now_ms, .error = &error});
    }
}

static void check_accounts(struct world *w, uint64_t seed) {
    for (uint32_t i = 1; i < WORLD_ROUNDS; i++) {
        const struct world_round *r = &w->rounds[i];
        if (!r->exists)
            continue;
        const bool fine = r->sealed <= 1 && r->counted <= 1 && r->returned <= 1 &&
                          r->dropped <= 1 && r->returned + r->dropped <= r->sealed &&
                          !(r->returned && r->counted) &&
                          !(r->dropped && r->state == REPORT_RETURNED);
        if (!fine)
            fail_msg("SOTTO_SEED=%llu: round %u: sealed %u, counted %u, returned %u, dropped %u, "
                     "state %d",
                     (unsigned long long)seed, i, r->sealed, r->counted, r->returned, r->dropped,
                     (int)r->state);
    }
}

static void run_schedule(uint64_t seed) {
    struct world *w = world_new(seed);
    w->loss_permille = rng_below(&w->rng, 200);
    w->repeat_permille = rng_below(&w->rng, 200);
    w->delay_max_ms = rng_below(&w->rng, 3) == 0 ? 12000 : 100;
    w->report_bytes = (1 + rng_below(&w->rng, 8)) * CHUNK_BYTES - 7;
    world_open_round(w, 1);
    for (int k = 0; k < 60; k++) {
        world_run(w, 1 + rng_below(&w->rng, 9000));
        disturb(w);
        check_accounts(w, seed);
    }
    /* The weather clears. */
    w->loss_permille = w->repeat_permille = 0;
    w->delay_max_ms = 50;
    w->coordinator_up = w->online = true;
    const uint32_t last = w->round + 1;
    world_close_round(w, true);
    world_open_round(w, last);
    world_run(w, 3600 * 1000 + 60 * 60 * 1000);
    check_accounts(w, seed);
    if (w->rounds[last].state != REPORT_OPEN)
        fail_msg("SOTTO_SEED=%llu: the device is stuck in phase %d, stage %d: %s",
                 (unsigned long long)seed, (int)session_phase(w->session),
                 (int)session_stage(w->session), w->note);
    world_close_round(w, true);
    world_run(w, 60000);
    assert_int_equal(w->store.open_count, 0);
    for (uint32_t i = 1; i <= last; i++) /* in the end every report has gone one way */
        if (w->rounds[i].exists)
            assert_int_equal(w->rounds[i].sealed, w->rounds[i].returned + w->rounds[i].dropped);
    world_free(w);
}

static void test_schedules(void **state) {
    (void)state;
    const uint64_t first = test_seed();
    for (uint64_t k = 0; k < SCHEDULES; k++)
        run_schedule(first + k);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_schedules)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
