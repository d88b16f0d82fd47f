/* A round engine under a test's hand: events in, the last step's actions to look at. */
#ifndef SOTTO_TESTS_ENGINE_FIXTURE_H
#define SOTTO_TESTS_ENGINE_FIXTURE_H

#include <string.h>

#include "sotto/coordinator/engine.h"

#include "support.h"

struct fixture {
    struct task_config config;
    struct round_engine *engine;
    struct round_action actions[ROUND_ACTIONS_MAX];
    size_t count;
    uint64_t now_ms;
};

static inline struct task_config fixture_config(void) {
    return (struct task_config){.seed = 7,
                                .cohort = 4,
                                .over_selection = 1.0,
                                .groups = 1,
                                .pace_ms = 1000,
                                .weight_max = 100};
}

static inline void fixture_step(struct fixture *f, struct round_event ev) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    ev.now_ms = f->now_ms;
    ASSERT_OK(round_step(f->engine, &ev, f->actions, &f->count, &err));
    assert_true(f->count <= ROUND_ACTIONS_MAX);
}

static inline void fixture_add(struct fixture *f, uint64_t first, uint64_t count) {
    for (uint64_t s = first; s < first + count; s++)
        fixture_step(f, (struct round_event){.kind = ROUND_EV_DEVICE_ADD, .serial = s});
}

/* A new engine with devices 1..devices. */
static inline void fixture_start(struct fixture *f, uint32_t first_round, uint64_t done,
                                 uint64_t devices) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    ASSERT_OK(round_engine_new(&f->config, first_round, done, &f->engine, &err));
    f->now_ms = 1000;
    fixture_add(f, 1, devices);
}

static inline void fixture_end(struct fixture *f) {
    round_engine_free(f->engine);
    f->engine = NULL;
}

/* The only action of a kind in the last step, or NULL. */
static inline const struct round_action *fixture_find(const struct fixture *f,
                                                      enum round_action_kind kind) {
    const struct round_action *found = NULL;
    for (size_t i = 0; i < f->count; i++)
        if (f->actions[i].kind == kind) {
            assert_null(found);
            found = &f->actions[i];
        }
    return found;
}

static inline size_t fixture_count(const struct fixture *f, enum round_action_kind kind) {
    size_t n = 0;
    for (size_t i = 0; i < f->count; i++)
        n += f->actions[i].kind == kind;
    return n;
}

#define EVENT(...) ((struct round_event){__VA_ARGS__})

static inline void fixture_tick(struct fixture *f) {
    fixture_step(f, EVENT(.kind = ROUND_EV_TICK));
}

/* An event of the current round. */
static inline void fixture_device(struct fixture *f, enum round_event_kind kind, uint64_t serial) {
    fixture_step(f, EVENT(.kind = kind, .serial = serial, .round = round_number(f->engine)));
}

static inline void fixture_checked(struct fixture *f, uint64_t serial, bool ok) {
    fixture_step(f, EVENT(.kind = ROUND_EV_CHECKED, .serial = serial,
                          .round = round_number(f->engine), .ok = ok));
}

static inline void fixture_summed(struct fixture *f, uint32_t group, bool ok) {
    fixture_step(f, EVENT(.kind = ROUND_EV_SUMMED, .group = group, .round = round_number(f->engine),
                          .ok = ok));
}

static inline void fixture_advanced(struct fixture *f, bool ok) {
    fixture_step(f, EVENT(.kind = ROUND_EV_ADVANCED, .round = round_number(f->engine), .ok = ok));
}

/* Ticks until a round is open. */
static inline void fixture_open(struct fixture *f) {
    fixture_tick(f);
    assert_non_null(fixture_find(f, ROUND_DO_OPEN));
    assert_int_equal(round_state(f->engine), ROUND_OPENING);
    fixture_step(f, EVENT(.kind = ROUND_EV_OPENED, .round = round_number(f->engine)));
    assert_int_equal(round_state(f->engine), ROUND_OPEN);
}

static inline uint64_t fixture_member(const struct fixture *f, uint32_t i) {
    uint32_t n;
    const struct round_member *m = round_members(f->engine, &n);
    assert_true(i < n);
    return m[i].serial;
}

/* Check-in, report, check of member i. */
static inline void fixture_serve(struct fixture *f, uint32_t i) {
    uint64_t serial = fixture_member(f, i);
    fixture_device(f, ROUND_EV_CHECK_IN, serial);
    assert_non_null(fixture_find(f, ROUND_DO_PLAN));
    fixture_device(f, ROUND_EV_REPORT, serial);
    assert_non_null(fixture_find(f, ROUND_DO_ACCEPT));
    fixture_checked(f, serial, true);
}

#endif
