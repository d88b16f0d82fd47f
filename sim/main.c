/* sotto-sim: experiments with virtual clients through the production cores. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "compare.h"
#include "list.h"
#include "run.h"
#include "sweep.h"

#define SETS_MAX (CONFIG_LIST_MAX - 2)
#define DIRS_MAX 1024

#define CHECKPOINT_MS 120000u /* between two, unless --checkpoint says otherwise */

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
    config->backend = cli_flag(cli, "backend");
    const enum sotto_status status = cli_flag_u64(cli, "workers", 1, 256, &workers, err);
    config->workers = (unsigned)workers;
    return status == SOTTO_OK ? checkpoint_flags_read(cli, config, err) : status;
}

static enum sotto_status sets_read(const struct cli *cli, const char *sets[SETS_MAX + 1],
                                   char seed[64], size_t *count, struct sotto_error *err) {
    const char *const *given = NULL;
    size_t n = cli_flag_all(cli, "set", &given);
    if (n > SETS_MAX)
        return SOTTO_FAIL(err, SOTTO_USAGE, "at most %d times --set", SETS_MAX);
    for (size_t i = 0; i < n; i++)
        sets[i] = given[i];
    if (cli_flag(cli, "seed")) {
        snprintf(seed, 64, "task.seed=%.40s", cli_flag(cli, "seed"));
        sets[n++] = seed;
    }
    *count = n;
    return SOTTO_OK;
}

static int run_command(struct cli *cli) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    const char *sets[SETS_MAX + 1];
    char seed[64];
    enum sotto_status status;
    struct run_request q = {.file = cli_arg(cli, 0),
                            .data = cli_flag(cli, "data"),
                            .dir = cli_flag(cli, "out"),
                            .sets = sets,
                            .json = cli_json(cli),
                            .wire = cli_flag(cli, "wire") != NULL,
                            .out = stdout};
    q.live = !q.json && isatty(STDOUT_FILENO);
    log_setup(LOG_WARN, LOG_TEXT);
    TRY(run_flags_read(cli, &q.config, &err));
    TRY(sets_read(cli, sets, seed, &q.set_count, &err));
    TRY(run_experiment(&q, &err));
out:
    return status == SOTTO_OK ? 0 : cli_fail(cli, &err);
}

static int sweep_command(struct cli *cli) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    const char *const *sets = NULL;
    uint64_t jobs = 0, workers = 0;
    enum sotto_status status;
    struct sweep_request q = {.file = cli_arg(cli, 0),
                              .out = cli_flag(cli, "out"),
                              .data = cli_flag(cli, "data"),
                              .json = cli_json(cli),
                              .say = stdout};
    q.live = !q.json && isatty(STDOUT_FILENO);
    log_setup(LOG_WARN, LOG_TEXT);
    q.set_count = cli_flag_all(cli, "set", &sets);
    q.sets = sets;
    TRY(cli_flag_u64(cli, "jobs", 1, 1024, &jobs, &err));
    TRY(cli_flag_u64(cli, "workers", 1, 256, &workers, &err));
    q.jobs = (unsigned)jobs;
    q.workers = (unsigned)workers;
    TRY(sweep_make(&q, &err));
out:
    return status == SOTTO_OK ? 0 : cli_fail(cli, &err);
}

/* ---- Many runs */

static size_t dirs_of(const struct cli *cli, const char *dirs[DIRS_MAX]) {
    size_t n = 0;
    for (int i = 0; i < cli_arg_count(cli) && n < DIRS_MAX; i++)
        dirs[n++] = cli_arg(cli, i);
    return n;
}

static enum sotto_status targets_read(const struct cli *cli, double targets[COMPARE_TARGETS_MAX],
                                      size_t *count, struct sotto_error *err) {
    const char *const *given = NULL;
    *count = cli_flag_all(cli, "target", &given);
    if (*count > COMPARE_TARGETS_MAX)
        return SOTTO_FAIL(err, SOTTO_USAGE, "at most %d times --target", COMPARE_TARGETS_MAX);
    for (size_t i = 0; i < *count; i++)
        if (num_parse_f64(given[i], 0, 1, &targets[i], err) != SOTTO_OK)
            return sotto_error_prefix(err, "--target (a fraction such as 0.97)");
    return SOTTO_OK;
}

static int report_command(struct cli *cli) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    const char *dirs[DIRS_MAX];
    double targets[COMPARE_TARGETS_MAX];
    size_t target_count;
    struct runs runs;
    struct buf out;
    enum sotto_status status;
    const enum compare_format format = cli_json(cli)          ? COMPARE_JSON
                                       : cli_flag(cli, "csv") ? COMPARE_CSV
                                                              : COMPARE_TEXT;
    memset(&runs, 0, sizeof runs);
    buf_init(&out, (size_t)16 << 20);
    const size_t n = dirs_of(cli, dirs);
    TRY(targets_read(cli, targets, &target_count, &err));
    TRY(runs_read(&runs, dirs, n, &err));
    TRY(compare_table(&runs, targets, target_count, format, &out, &err));
    fwrite(out.data, 1, out.len, stdout);
out:
    buf_deinit(&out);
    runs_deinit(&runs);
    return status == SOTTO_OK ? 0 : cli_fail(cli, &err);
}

static int plot_command(struct cli *cli) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    const char *dirs[DIRS_MAX];
    const char *path = cli_flag(cli, "output"), *x = cli_flag(cli, "x"), *y = cli_flag(cli, "y");
    double targets[COMPARE_TARGETS_MAX];
    struct compare_plot p = {.x = x ? x : "rounds",
                             .y = y ? y : "accuracy",
                             .apart = cli_flag(cli, "apart") != NULL,
                             .targets = targets};
    struct runs runs;
    enum sotto_status status;
    memset(&runs, 0, sizeof runs);
    const size_t n = dirs_of(cli, dirs);
    TRY(targets_read(cli, targets, &p.target_count, &err));
    TRY(runs_read(&runs, dirs, n, &err));
    TRY(compare_draw(&runs, &p, path ? path : "accuracy.svg", &err));
out:
    runs_deinit(&runs);
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
    {"backend", 0, "NAME", false,
     "backend that trains (sotto-client devices lists them): each has its own digest (default: "
     "cpu)"},
    {"profile", 0, NULL, false,
     "show in the end where the workers' time went, by phase and by instruction"},
    {"wire", 0, NULL, false,
     "over the real transport: a coordinator and at most 32 clients in this process"},
    CLI_FLAGS_END,
};
static const struct cli_flag sweep_flags[] = {
    {"data", 'd', "DIR", false, "folder of the data sets"},
    {"out", 'o', "DIR", false, "folder of the runs' folders, in place of the file's key out"},
    {"jobs", 'j', "N", false,
     "runs at a time (default: so many that every processor has a worker)"},
    {"workers", 'w', "N", false, "threads of each run (default: 1)"},
    CLI_FLAGS_END,
};
static const struct cli_flag report_flags[] = {
    {"target", 't', "FRACTION", true,
     "also rounds and bytes to this accuracy, by the curve made monotone (default: stop.accuracy)"},
    {"csv", 0, NULL, false, "comma-separated values instead of a table"},
    CLI_FLAGS_END,
};
static const struct cli_flag plot_flags[] = {
    {"output", 'o', "FILE", false, "the plot (default: accuracy.svg)"},
    {"x", 'x', "AXIS", false, "rounds, bytes, seconds (of the fleet) or energy (default: rounds)"},
    {"y", 'y', "AXIS", false, "accuracy or loss (default: accuracy)"},
    {"target", 't', "FRACTION", true, "a line at this accuracy"},
    {"apart", 'a', NULL, false,
     "a line for each run, not one with a band for an experiment's seeds"},
    CLI_FLAGS_END,
};
static const struct cli_command commands[] = {
    {"run", "FILE", 1, 1, run_flags, "Runs an experiment.",
     "sotto-sim run examples/digits-sim.yaml\n"
     "sotto-sim run examples/mnist-2nn-iid.yaml --data ~/data --json --seed 2\n",
     run_command},
    {"sweep", "FILE", 1, 1, sweep_flags,
     "Runs an experiment with many settings and seeds; what has ended is not made again.",
     "sotto-sim sweep examples/sweep.yaml --out runs/sweep\n", sweep_command},
    {"report", "DIR...", 1, DIRS_MAX, report_flags,
     "Compares runs made with --out: mean and deviation over seeds, rounds and bytes to a target.",
     "sotto-sim report runs/sweep --target 0.97\n", report_command},
    {"plot", "DIR...", 1, DIRS_MAX, plot_flags,
     "Draws runs made with --out, seeds of one experiment as a line with a band.",
     "sotto-sim plot runs/sweep -x bytes -o accuracy.svg\n", plot_command},
    {"list", "", 0, 0, NULL,
     "Shows models, partitions, server steps, pipelines and data sets, with their options.", NULL,
     list_command},
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
