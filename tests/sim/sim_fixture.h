/* Small experiments for the simulator's tests: drawn digits, logistic regression. */
#ifndef SOTTO_TESTS_SIM_FIXTURE_H
#define SOTTO_TESTS_SIM_FIXTURE_H

#include <stdio.h>
#include <string.h>

#include "sim.h"
#include "support.h"

#define FIXTURE_ROUNDS 64u
#define FIXTURE_YAML                                                                               \
    "task: {name: small, seed: 5}\n"                                                               \
    "model: {zoo: logreg}\n"                                                                       \
    "data: {name: generator, per_writer: 20}\n"                                                    \
    "clients: 12\n"                                                                                \
    "partition: {scheme: natural}\n"                                                               \
    "rounds: 4\n"                                                                                  \
    "cohort: 4\n"                                                                                  \
    "local: {epochs: 1, batch: 10, lr: 0.1}\n"                                                     \
    "uplink: {keep: 0.1, bits: 8, stochastic: true, error_feedback: true}\n"                       \
    "evaluation: {count: 100}\n"

/* What a run said. */
struct fixture {
    struct sim_round_result rounds[FIXTURE_ROUNDS];
    double clock[FIXTURE_ROUNDS]; /* the fleet's, at the end of each */
    uint32_t count;
    struct sim_totals totals;
};

static inline bool fixture_on_round(void *ctx, const struct sim_round_result *r,
                                    const struct sim_totals *so_far) {
    struct fixture *f = ctx;
    if (f->count < FIXTURE_ROUNDS) {
        f->clock[f->count] = so_far->virtual_seconds;
        f->rounds[f->count++] = *r;
    }
    return true;
}

/* Runs the small experiment with the settings in sets, which ends with NULL, as config says: its
 * ctx is or begins with f. A checkpoint of a run that ends is removed. */
static inline enum sotto_status fixture_run_as(struct fixture *f, const struct sim_config *config,
                                               const char *const *sets, struct sotto_error *err) {
    struct experiment x;
    struct sim *s = NULL;
    size_t n = 0;
    memset(f, 0, sizeof *f);
    while (sets && sets[n])
        n++;
    enum sotto_status status = experiment_open(
        &x, NULL, view_of(FIXTURE_YAML, sizeof FIXTURE_YAML - 1), NULL, sets, n, err);
    if (status == SOTTO_OK)
        status = sim_open(&x, config, &s, err);
    if (status == SOTTO_OK)
        status = sim_run(s, err);
    if (s)
        f->totals = *sim_totals(s);
    if (status == SOTTO_OK && config->checkpoint_dir)
        checkpoint_remove(s);
    sim_close(s);
    experiment_deinit(&x);
    return status;
}

static inline enum sotto_status fixture_run(struct fixture *f, unsigned workers,
                                            const char *const *sets, struct sotto_error *err) {
    const struct sim_config config = {
        .workers = workers, .temp_dir = test_tmpdir(), .on_round = fixture_on_round, .ctx = f};
    return fixture_run_as(f, &config, sets, err);
}

/* ---- Runs in pieces */

struct part {
    struct fixture f;
    uint32_t stop_after; /* rounds; 0: none */
    uint32_t again;      /* rounds from the checkpoint */
    uint32_t made;       /* and others */
};

static inline bool part_on_round(void *ctx, const struct sim_round_result *r,
                                 const struct sim_totals *so_far) {
    struct part *p = ctx;
    (void)fixture_on_round(&p->f, r, so_far);
    p->again += r->again;
    p->made += !r->again;
    return p->stop_after == 0 || p->made < p->stop_after;
}

/* Goes on from the checkpoint in dir, if there is one, until stop_after rounds are made or to the
 * end; every: rounds between checkpoints, 0: as it likes. */
static inline enum sotto_status part_run(struct part *p, const char *dir, unsigned workers,
                                         uint32_t every, const char *const *sets,
                                         struct sotto_error *err) {
    const struct sim_config config = {.workers = workers,
                                      .temp_dir = test_tmpdir(),
                                      .checkpoint_dir = dir,
                                      .checkpoint_rounds = every,
                                      .resume = true,
                                      .on_round = part_on_round,
                                      .ctx = p};
    p->again = p->made = 0;
    return fixture_run_as(&p->f, &config, sets, err);
}

#define SETS(...) ((const char *const[]){__VA_ARGS__, NULL})

#endif
