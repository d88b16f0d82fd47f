/* One experiment: settings, simulation, results. */
#include "run.h"

#include <math.h>
#include <signal.h>
#include <string.h>

#include "report.h"
#include "wire.h"

#define SUMMARY_MAX ((size_t)1 << 20)

static volatile sig_atomic_t stop_asked;

static void on_signal(int number) {
    (void)number;
    stop_asked = 1;
}

bool run_stop_asked(void) {
    return stop_asked != 0;
}

/* The first signal is a request, a second one is not caught. */
void run_catch_signals(void) {
    const struct sigaction once = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    (void)sigaction(SIGINT, &once, NULL);
    (void)sigaction(SIGTERM, &once, NULL);
}

static bool on_round(void *ctx, const struct sim_round_result *r, const struct sim_totals *t) {
    report_round(ctx, r, t);
    return !stop_asked;
}

bool run_has_ended(const char *dir, const char *config_hash) {
    char path[IO_PATH_MAX], hash[2 * WIRE_HASH + 1];
    struct buf text;
    buf_init(&text, SUMMARY_MAX);
    const bool read = io_join(path, sizeof path, dir, "summary.json", NULL) == SOTTO_OK &&
                      io_read_file(path, SUMMARY_MAX, &text, NULL) == SOTTO_OK;
    const bool ended = read && wire_text(buf_view(&text), "config_hash", hash, sizeof hash) &&
                       strcmp(hash, config_hash) == 0;
    buf_deinit(&text);
    return ended;
}

static void say_start(const struct report *r) {
    const struct sim_settings *s = &r->x->settings;
    char up[32];
    num_format_size(up, sizeof up, (uint64_t)r->x->graph.layout.total * 4);
    fprintf(r->out,
            "%s: %u parameters (%s), %u examples of %u clients (%s), %llu a round, seed %llu\n",
            s->task.name, r->x->graph.layout.total, up, r->x->train.count, r->x->client_count,
            s->scheme, (unsigned long long)s->task.cohort, (unsigned long long)s->task.seed);
}

static enum sotto_status run_virtual(const struct run_request *q, const struct sim_config *config,
                                     struct report *r, struct sotto_error *err) {
    struct sim *s = NULL;
    struct sim_profile profile;
    struct sim_spread spread;
    enum sotto_status status;
    memset(&profile, 0, sizeof profile);
    memset(&spread, 0, sizeof spread);
    TRY(sim_open(r->x, config, &s, err));
    run_catch_signals();
    r->resumes = sim_resumes(s);
    TRY(sim_run(s, err));
    if (q->config.profile) {
        TRY(sim_profile(s, &profile, err));
        r->profile = &profile;
    }
    if (strcmp(r->x->settings.scheme, "natural") == 0 && !isnan(sim_totals(s)->accuracy)) {
        TRY(spread_measure(s, &spread, err));
        r->spread = spread.keys > 0 ? &spread : NULL;
    }
    TRY(report_end(r, sim_totals(s), sim_package(s), err));
    checkpoint_remove(s);
out:
    profile_deinit(&profile);
    spread_deinit(&spread);
    r->profile = NULL;
    r->spread = NULL;
    sim_close(s);
    return status;
}

static enum sotto_status run_wired(const struct sim_config *config, struct report *r,
                                   struct sotto_error *err) {
    struct sim_totals totals;
    struct buf package;
    buf_init(&package, PACKAGE_BYTES_MAX);
    enum sotto_status status = wire_run(r->x, config, &totals, &package, err);
    if (status == SOTTO_OK)
        status = report_end(r, &totals, buf_view(&package), err);
    buf_deinit(&package);
    return status;
}

enum sotto_status run_experiment(const struct run_request *q, struct sotto_error *err) {
    struct experiment x;
    struct report r = {.x = &x, .out = q->out, .json = q->json, .live = q->live, .dir = q->dir};
    struct sim_config config = q->config;
    enum sotto_status status;
    config.on_round = on_round;
    config.ctx = &r;
    TRY(experiment_open(&x, q->file, view_of(NULL, 0), q->data, q->sets, q->set_count, err));
    if (config.resume && run_has_ended(q->dir, x.config_hash)) {
        if (!q->json)
            fprintf(q->out, "%s: run %s has ended\n", q->dir, x.run_id);
        goto out;
    }
    TRY(report_open(&r, err));
    if (!r.json)
        say_start(&r);
    TRY(q->wire ? run_wired(&config, &r, err) : run_virtual(q, &config, &r, err));
out:
    report_close(&r);
    experiment_deinit(&x);
    return status;
}
