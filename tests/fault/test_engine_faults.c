/* Thousands of schedules of loss, delay, duplication, reordering and crashes, drawn from one seed,
 * through the round engine.
 *
 * Whatever happens: an acknowledged update is summed exactly once or returned, never both; no group
 * commits with fewer than its minimum; once the faults stop, the task ends. Without over-selection
 * and time limits the summed sets are those of an undisturbed run. SOTTO_SEED and SOTTO_SCHEDULES
 * choose the schedules. */
#include "engine_world.h"

#include <stdlib.h>
#include <string.h>

#define SCHEDULES_DEFAULT 4000u
#define FAULT_STEPS       400u
#define CALM_STEPS        20000u

static void make_world(struct world *w, uint64_t seed, uint32_t schedule) {
    memset(w, 0, sizeof *w);
    w->seed = seed;
    w->schedule = schedule;
    rng_init(&w->rng, seed, schedule, 0, RNG_FAULT);
    struct rng *r = &w->rng;
    w->strict = rng_below(r, 2) == 0;
    w->devices = 2 + rng_below(r, WORLD_DEVICES - 1);
    struct task_config *t = &w->config;
    t->seed = rng_u64(r);
    t->cohort = 1 + rng_below(r, w->devices);
    t->cohort_min = rng_below(r, 2) ? 0 : 1 + rng_below(r, (uint32_t)t->cohort);
    t->groups = 1 + rng_below(r, 3);
    t->groups = num_min_u64(t->groups, t->cohort_min ? t->cohort_min : t->cohort);
    t->over_selection = 1.0;
    t->rounds = 1 + rng_below(r, 6);
    t->pace_ms = 200;
    t->evaluate_every = rng_below(r, 3) ? 0 : 1 + rng_below(r, 3);
    t->weight_max = 1;
    if (!w->strict) {
        t->over_selection = 1.0 + rng_f64(r);
        t->deadline_ms = rng_below(r, 2) ? 0 : 500 + rng_below(r, 20000);
        t->lease_ms = rng_below(r, 2) ? 0 : 500 + rng_below(r, 5000);
        t->availability_ms = rng_below(r, 2) ? 0 : 2000 + rng_below(r, 5000);
    }
    for (uint64_t s = 1; s <= w->devices; s++) {
        w->device[s].kind =
            rng_below(r, 4) ? DEVICE_HONEST : (enum world_device_kind)(1 + rng_below(r, 3));
        w->store.enrolled |= 1u << s;
    }
    w->store.next_round = 1;
    w->now_ms = 1000;
}

static void operator_acts(struct world *w) {
    if (rng_below(&w->rng, 2)) {
        w->store.paused = !w->store.paused;
        world_event(
            w, (struct round_event){.kind = w->store.paused ? ROUND_EV_PAUSE : ROUND_EV_RESUME});
        return;
    }
    /* A revoked device comes back later, as another enrolment of the same serial would not: the
     * engine must bear both. */
    uint64_t serial = 1 + rng_below(&w->rng, w->devices);
    if (w->strict)
        return;
    bool there = w->store.enrolled & (1u << serial);
    w->store.enrolled ^= 1u << serial;
    world_event(w,
                (struct round_event){.kind = there ? ROUND_EV_DEVICE_REMOVE : ROUND_EV_DEVICE_ADD,
                                     .serial = serial});
}

/* One random thing happens. */
static void fault_step(struct world *w) {
    struct rng *r = &w->rng;
    uint32_t what = rng_below(r, 100);
    if (what < 45 && w->message_count > 0) {
        uint32_t i = rng_below(r, w->message_count);
        uint32_t fate = rng_below(r, 10);
        if (fate == 0) {
            w->messages[i] = w->messages[--w->message_count]; /* lost */
        } else {
            if (fate == 1)
                world_send(w, w->messages[i]); /* doubled */
            world_deliver(w, i);
        }
    } else if (what < 65) {
        if (w->job_count > 0)
            world_run_job(w, rng_below(r, w->job_count));
    } else if (what < 85) {
        world_device_act(w, 1 + rng_below(r, w->devices));
    } else if (what < 95) {
        w->now_ms += 1 + rng_below(r, rng_below(r, 10) ? 200 : 5000);
        world_event(w, (struct round_event){.kind = ROUND_EV_TICK});
    } else if (what < 97) {
        operator_acts(w);
    } else if (what < 98) {
        world_crash(w);
    } else {
        world_event(w, (struct round_event){.kind = ROUND_EV_TICK});
    }
}

/* Everything arrives, in order; nothing fails; time passes. False: the task did not end. */
static bool run_calm(struct world *w) {
    w->faults = false;
    w->store.paused = false;
    world_event(w, (struct round_event){.kind = ROUND_EV_RESUME});
    for (uint64_t s = 1; s <= w->devices; s++)
        if (!(w->store.enrolled & (1u << s))) {
            w->store.enrolled |= 1u << s;
            world_event(w, (struct round_event){.kind = ROUND_EV_DEVICE_ADD, .serial = s});
        }
    for (uint32_t i = 0; i < CALM_STEPS && !w->store.finished; i++) {
        while (w->message_count > 0)
            world_deliver(w, 0);
        while (w->job_count > 0)
            world_run_job(w, 0);
        for (uint64_t s = 1; s <= w->devices; s++)
            if (w->device[s].next_ms <= w->now_ms)
                world_device_act(w, s);
        w->now_ms += 50;
        world_event(w, (struct round_event){.kind = ROUND_EV_TICK});
    }
    return w->store.finished;
}

static void check_end(struct world *w) {
    const struct world_store *s = &w->store;
    WORLD_CHECK(w, !s->open && s->train_done == w->config.rounds);
    WORLD_CHECK(w, round_state(w->engine) == ROUND_STOPPED);
    for (uint32_t r = 1; r < s->next_round; r++) {
        WORLD_CHECK(w, s->ending[r] != END_NONE);
        WORLD_CHECK(w, (s->ending[r] == END_COMMITTED) == (s->counted[r] != 0));
        for (uint64_t d = 1; d <= w->devices; d++) {
            bool counted = s->counted[r] & (1u << d);
            WORLD_CHECK(w, s->outcome[r][d] != OUT_OPEN);
            WORLD_CHECK(w, counted == (s->outcome[r][d] == OUT_KEPT));
            WORLD_CHECK(w, !counted || !s->bad[r][d]);
            WORLD_CHECK(w, !counted || !(w->device[d].returned & (1ull << r)));
        }
    }
}

static void run_schedule(uint64_t seed, uint32_t schedule, uint32_t *crashes, uint32_t *strict) {
    static struct world w, calm;
    make_world(&w, seed, schedule);
    w.faults = true;
    world_start(&w);
    for (uint32_t i = 0; i < FAULT_STEPS && !w.store.finished; i++)
        fault_step(&w);
    WORLD_CHECK(&w, run_calm(&w));
    check_end(&w);
    world_stop(&w);
    *crashes += w.crashes;
    if (!w.strict)
        return;
    make_world(&calm, seed, schedule);
    world_start(&calm);
    WORLD_CHECK(&w, run_calm(&calm));
    check_end(&calm);
    world_stop(&calm);
    WORLD_CHECK(&w, w.store.next_round == calm.store.next_round);
    WORLD_CHECK(&w, memcmp(w.store.counted, calm.store.counted, sizeof w.store.counted) == 0);
    WORLD_CHECK(&w, memcmp(w.store.ending, calm.store.ending, sizeof w.store.ending) == 0);
    ++*strict;
}

static void test_schedules(void **state) {
    (void)state;
    uint64_t seed = test_seed(), schedules = SCHEDULES_DEFAULT;
    const char *text = getenv("SOTTO_SCHEDULES");
    struct sotto_error err = SOTTO_ERROR_INIT;
    if (text)
        ASSERT_OK(num_parse_u64(text, 1, UINT32_MAX, &schedules, &err));
    const char *only = getenv("SOTTO_SCHEDULE");
    uint32_t crashes = 0, strict = 0;
    if (only) {
        uint64_t one;
        ASSERT_OK(num_parse_u64(only, 0, UINT32_MAX, &one, &err));
        run_schedule(seed, (uint32_t)one, &crashes, &strict);
        return;
    }
    for (uint32_t i = 0; i < schedules; i++)
        run_schedule(seed, i, &crashes, &strict);
    print_message("%llu schedules, %u crashes, %u compared with an undisturbed run\n",
                  (unsigned long long)schedules, crashes, strict);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_schedules)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
