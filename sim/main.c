/* sotto-sim: experiments with virtual clients through the production cores. */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "report.h"
#include "sotto/zoo.h"
#include "wire.h"

#define SETS_MAX (CONFIG_LIST_MAX - 2)

#define CHECKPOINT_MS 120000u /* between two, unless --checkpoint says otherwise */

static volatile sig_atomic_t stop_asked;

static void on_signal(int number) {
    (void)number;
    stop_asked = 1;
}

/* The first signal ends the run after its round, a second one at once. */
static void catch_signals(void) {
    const struct sigaction once = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    (void)sigaction(SIGINT, &once, NULL);
    (void)sigaction(SIGTERM, &once, NULL);
}

static bool on_round(void *ctx, const struct sim_round_result *r, const struct sim_totals *t) {
    report_round(ctx, r, t);
    return !stop_asked;
}

static enum sotto_status open_experiment(const struct cli *cli, struct experiment *x,
                                         struct sotto_error *err) {
    const char *const *given = NULL;
    const char *sets[SETS_MAX + 1];
    char seed[64];
    size_t n = cli_flag_all(cli, "set", &given);
    if (n > SETS_MAX)
        return SOTTO_FAIL(err, SOTTO_USAGE, "at most %d times --set", SETS_MAX);
    for (size_t i = 0; i < n; i++)
        sets[i] = given[i];
    if (cli_flag(cli, "seed")) {
        snprintf(seed, sizeof seed, "task.seed=%.40s", cli_flag(cli, "seed"));
        sets[n++] = seed;
    }
    return experiment_open(x, cli_arg(cli, 0), view_of(NULL, 0), cli_flag(cli, "data"), sets, n,
                           err);
}

static void say_start(const struct report *r) {
    const struct sim_settings *s = &r->x->settings;
    char up[32];
    num_format_size(up, sizeof up, (uint64_t)r->x->graph.layout.total * 4);
    fprintf(
        r->out, "%s: %u parameters (%s), %u examples of %u clients (%s), %llu a round, seed %llu\n",
        s->task.name, r->x->graph.layout.total, up, r->x->train.count, r->x->partition.client_count,
        s->scheme, (unsigned long long)s->task.cohort, (unsigned long long)s->task.seed);
}

/* Checkpoints go into the folder of the results. */
static enum sotto_status checkpoint_flags_read(const struct cli *cli, struct sim_config *config,
                                               struct sotto_error *err) {
    const char *every = cli_flag(cli, "checkpoint"), *dir = cli_flag(cli, "out");
    uint64_t rounds = 0;
    config->resume = cli_flag(cli, "resume") != NULL;
    if ((every || config->resume) && (!dir || cli_flag(cli, "wire")))
        return SOTTO_FAIL(err, SOTTO_USAGE, "%s: %s", every ? "--checkpoint" : "--resume",
                          dir ? "a run over the wire keeps none, leave --wire out"
                              : "checkpoints are kept in the folder of --out, give one");
    config->checkpoint_ms = every ? 0 : CHECKPOINT_MS;
    if (every && num_parse_u64(every, 0, UINT32_MAX, &rounds, NULL) != SOTTO_OK) {
        if (num_parse_duration_ms(every, UINT32_MAX, &config->checkpoint_ms, err) != SOTTO_OK)
            return sotto_error_prefix(err, "--checkpoint (a number of rounds, or a time like 5m)");
    }
    config->checkpoint_rounds = (uint32_t)rounds;
    config->checkpoint_dir =
        dir && (config->checkpoint_ms || rounds || config->resume) ? dir : NULL;
    return SOTTO_OK;
}

static enum sotto_status run_flags_read(const struct cli *cli, struct sim_config *config,
                                        struct sotto_error *err) {
    uint64_t workers = 0;
    config->profile = cli_flag(cli, "profile") != NULL;
    if (config->profile && cli_flag(cli, "wire"))
        return SOTTO_FAIL(err, SOTTO_USAGE, "--profile: not with --wire, leave one of them out");
    const enum sotto_status status = cli_flag_u64(cli, "workers", 1, 256, &workers, err);
    config->workers = (unsigned)workers;
    return status == SOTTO_OK ? checkpoint_flags_read(cli, config, err) : status;
}

static int run_command(struct cli *cli) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct experiment x;
    struct sim *s = NULL;
    struct report r = {.x = &x, .out = stdout, .json = cli_json(cli), .dir = cli_flag(cli, "out")};
    struct sim_config config = {.on_round = on_round, .ctx = &r};
    struct sim_totals wired;
    struct buf package;
    struct sim_profile profile;
    enum sotto_status status;
    memset(&profile, 0, sizeof profile);
    buf_init(&package, PACKAGE_BYTES_MAX);
    memset(&x, 0, sizeof x);
    log_setup(LOG_WARN, LOG_TEXT);
    r.live = !r.json && isatty(STDOUT_FILENO);
    TRY(run_flags_read(cli, &config, &err));
    TRY(open_experiment(cli, &x, &err));
    TRY(report_open(&r, &err));
    if (!r.json)
        say_start(&r);
    if (cli_flag(cli, "wire")) {
        TRY(wire_run(&x, &config, &wired, &package, &err));
        TRY(report_end(&r, &wired, buf_view(&package), &err));
    } else {
        TRY(sim_open(&x, &config, &s, &err));
        catch_signals();
        r.resumes = sim_resumes(s);
        TRY(sim_run(s, &err));
        if (config.profile) {
            TRY(sim_profile(s, &profile, &err));
            r.profile = &profile;
        }
        TRY(report_end(&r, sim_totals(s), sim_package(s), &err));
        checkpoint_remove(s);
    }
out:
    buf_deinit(&package);
    profile_deinit(&profile);
    sim_close(s);
    report_close(&r);
    experiment_deinit(&x);
    return status == SOTTO_OK ? 0 : cli_fail(cli, &err);
}

static void list_models(struct buf *out) {
    size_t count;
    char text[64];
    const struct zoo_entry *z = zoo_list(&count);
    buf_printf(out, "models (model.zoo)\n");
    for (size_t i = 0; i < count; i++)
        buf_printf(out, "  %-12s %9u parameters, %s; %s\n", z[i].name, z[i].params,
                   data_schema_text(&z[i].schema, text, sizeof text), z[i].summary);
}

static void list_partitions(struct buf *out) {
    size_t count;
    const struct partition_scheme *p = partition_schemes(&count);
    buf_printf(out, "partitions (partition.scheme)\n");
    for (size_t i = 0; i < count; i++) {
        buf_printf(out, "  %-12s %s\n", p[i].name, p[i].summary);
        for (size_t k = 0; p[i].options[k]; k++)
            if (strcmp(p[i].options[k]->name, "clients") != 0)
                buf_printf(out, "    partition.%s = %g: %s\n", p[i].options[k]->name,
                           p[i].options[k]->initial, p[i].options[k]->help);
    }
}

static int list_command(struct cli *cli) {
    struct buf out;
    (void)cli;
    buf_init(&out, 1u << 20);
    list_models(&out);
    list_partitions(&out);
    buf_printf(&out, "server steps (server.strategy)\n");
    for (int i = 0; strategy_names[i]; i++)
        buf_printf(&out, "  %-12s %s\n", strategy_names[i], strategy_get(i)->summary);
    buf_printf(&out, "data sets (data.name)\n"
                     "  generator    drawn handwritten digits, one writer a client; needs no file\n"
                     "  mnist, fashion-mnist, cifar10    below --data DIR\n"
                     "  IMAGES,LABELS    two IDX files\n"
                     "  FILE.csv    numbers, the label last\n");
    fwrite(out.data, 1, out.len, stdout);
    buf_deinit(&out);
    return 0;
}

static int plot_command(struct cli *cli) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    const char *dirs[64];
    size_t n = 0;
    const char *path = cli_flag(cli, "output");
    for (int i = 0; i < cli_arg_count(cli) && n < ARRAY_LEN(dirs); i++)
        dirs[n++] = cli_arg(cli, i);
    const enum sotto_status status = report_plot(dirs, n, path ? path : "accuracy.svg", &err);
    return status == SOTTO_OK ? 0 : cli_fail(cli, &err);
}

static int say_good(const struct cli *cli) {
    struct buf out;
    char text[IO_PATH_MAX + 16];
    buf_init(&out, 1u << 16);
    snprintf(text, sizeof text, "%s: good", cli_arg(cli, 0));
    if (cli_json(cli)) {
        struct json j;
        json_init(&j, &out);
        json_object_begin(&j);
        json_put_str(&j, "message", text);
        json_object_end(&j);
    } else {
        buf_put(&out, text, strlen(text));
    }
    buf_put_u8(&out, '\n');
    fwrite(out.data, 1, out.len, stdout);
    buf_deinit(&out);
    return 0;
}

static int check_command(struct cli *cli) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct experiment x;
    const char *const *sets = NULL;
    const size_t n = cli_flag_all(cli, "set", &sets);
    const enum sotto_status status = experiment_check(&x, cli_arg(cli, 0), sets, n, &err);
    experiment_deinit(&x);
    if (status == SOTTO_OK)
        return say_good(cli);
    (void)cli_fail(cli, &err);
    return sotto_status_exit(SOTTO_CHECK);
}

static int dump_command(struct cli *cli) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct sim_settings settings;
    struct config *config = NULL;
    struct buf out;
    const char *const *sets = NULL;
    const size_t n = cli_flag_all(cli, "set", &sets);
    memset(&settings, 0, sizeof settings);
    buf_init(&out, CONFIG_FILE_MAX);
    const enum sotto_status status =
        config_load(sim_options, &settings, cli_arg(cli, 0), sets, n, &config, &err);
    if (status == SOTTO_OK) {
        config_dump(sim_options, &settings, &out);
        fwrite(out.data, 1, out.len, stdout);
    }
    buf_deinit(&out);
    config_free(config);
    return status == SOTTO_OK ? 0 : cli_fail(cli, &err);
}

static const struct cli_flag run_flags[] = {
    {"data", 'd', "DIR", false, "folder of the data sets, the same as --set data.dir=DIR"},
    {"out", 'o', "DIR", false,
     "write rounds.csv, rounds.jsonl, accuracy.svg, model.package and more"},
    {"seed", 's', "N", false, "the same as --set task.seed=N"},
    {"checkpoint", 0, "EVERY", false,
     "keep a checkpoint in the folder of --out after so many rounds, or a time like 5m; 0: none "
     "(default: 2m)"},
    {"resume", 'r', NULL, false,
     "go on from the checkpoint in the folder of --out, where there is one"},
    {"workers", 'w', "N", false,
     "threads that train; the result does not depend on it (default: one a processor)"},
    {"profile", 0, NULL, false,
     "show in the end where the workers' time went, by phase and by instruction"},
    {"wire", 0, NULL, false,
     "over the real transport: a coordinator and at most 32 clients in this process"},
    CLI_FLAGS_END,
};
static const struct cli_flag plot_flags[] = {
    {"output", 'o', "FILE", false, "the plot (default: accuracy.svg)"},
    CLI_FLAGS_END,
};
static const struct cli_command commands[] = {
    {"run", "FILE", 1, 1, run_flags, "Runs an experiment.",
     "sotto-sim run examples/digits-sim.yaml\n"
     "sotto-sim run examples/mnist-2nn-iid.yaml --data ~/data --json --seed 2\n",
     run_command},
    {"list", "", 0, 0, NULL, "Shows models, partitions, server steps and data sets.", NULL,
     list_command},
    {"plot", "DIR...", 1, 64, plot_flags, "Draws the accuracy of runs made with --out.", NULL,
     plot_command},
    {"config check", "FILE", 1, 1, NULL,
     "Checks an experiment's settings, model and partition, not its data; exit code 4 when one is "
     "wrong.",
     NULL, check_command},
    {"config dump", "FILE", 1, 1, NULL, "Prints an experiment's settings, defaults included.", NULL,
     dump_command},
    CLI_COMMANDS_END,
};

int main(int argc, char **argv) {
    static const struct cli_tool tool = {.name = "sotto-sim",
                                         .summary =
                                             "simulates federated training on virtual clients",
                                         .section = "1",
                                         .commands = commands,
                                         .options = sim_options};
    return cli_main(&tool, argc, argv);
}
