/* sottoctl: the operator's tool. One table of subcommands. */
#include "ctl/ctl.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Subcommands that only pass their words on. */
#define PASS(function, verb)                                                                       \
    static int function(struct cli *cli) {                                                         \
        const char *args[] = {verb, cli_arg(cli, 0), cli_arg(cli, 1)};                             \
        return ctl_print(cli, args, 1 + (size_t)cli_arg_count(cli));                               \
    }
PASS(devices, "devices")
PASS(device_revoke, "revoke")
PASS(task_list, "task-list")
PASS(task_show, "task-show")
PASS(task_pause, "task-pause")
PASS(task_resume, "task-resume")
PASS(task_stop, "task-stop")
PASS(rounds_list, "rounds-list")
PASS(rounds_show, "rounds-show")
PASS(models_list, "models-list")
PASS(models_show, "models-show")
PASS(models_rollback, "models-rollback")
PASS(models_release, "models-release")

/* The daemon writes the backup: it needs an absolute path. */
static int backup(struct cli *cli) {
    char path[IO_PATH_MAX], cwd[IO_PATH_MAX];
    const char *dir = cli_arg(cli, 0);
    struct sotto_error err = SOTTO_ERROR_INIT;
    if (dir[0] == '/')
        snprintf(path, sizeof path, "%s", dir);
    else if (!getcwd(cwd, sizeof cwd) || io_join(path, sizeof path, cwd, dir, &err) != SOTTO_OK)
        return cli_fail(cli, &err);
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        path[--n] = '\0';
    const char *args[] = {"backup", path};
    return ctl_print(cli, args, 2);
}

static const struct cli_flag no_flags[] = {CLI_FLAGS_END};
static const struct cli_flag output[] = {
    {"output", 'o', "FILE", false, "where to write; - for standard output"}, CLI_FLAGS_END};
static const struct cli_flag authority[] = {CTL_AUTHORITY_FLAGS, CLI_FLAGS_END};
static const struct cli_flag init[] = {
    CTL_AUTHORITY_FLAGS,
    {"authority-key", 0, "FILE", false,
     "public key of a fleet authority that lies elsewhere (authority.pub)"},
    CLI_FLAGS_END};
static const struct cli_flag certify[] = {
    CTL_AUTHORITY_FLAGS,
    {"output", 'o', "FILE", false, "where to write the document"},
    CLI_FLAGS_END};
static const struct cli_flag issue[] = {
    CTL_AUTHORITY_FLAGS,
    {"count", 'n', "N", false, "tokens to make; default 1"},
    {"days", 0, "N", false, "days until they expire; default 7"},
    {"first", 0, "SERIAL", false, "first serial; never use one twice"},
    {"document", 0, "FILE", false, "the certified coordinator document"},
    {"list", 0, "FILE", false, "where to write the public list for enroll import"},
    {"output", 'o', "DIR", false, "folder for token files; default: one a line on standard output"},
    CLI_FLAGS_END};
static const struct cli_flag enroll[] = {
    CTL_AUTHORITY_FLAGS,
    {"count", 'n', "N", false, "tokens to make; default 1"},
    {"days", 0, "N", false, "days until they expire; default 7"},
    {"output", 'o', "DIR", false, "folder for token files; default: one a line on standard output"},
    CLI_FLAGS_END};
static const struct cli_flag rotate[] = {
    {"signing", 0, NULL, false, "only the plan-signing keys"},
    {"curve", 0, NULL, false, "only the CURVE key"},
    {"force", 0, NULL, false, "give up a CURVE key that is still in its overlap"},
    CLI_FLAGS_END};
static const struct cli_flag watch[] = {
    {"watch", 'w', NULL, false, "go on with events as they come"}, CLI_FLAGS_END};
static const struct cli_flag events[] = {
    {"limit", 'n', "N", false, "newest events shown; default 50, 0 for all"},
    {"follow", 'f', NULL, false, "go on with events as they come"},
    CLI_FLAGS_END};
static const struct cli_flag evaluate[] = {
    {"samples", 'n', "N", false, "examples shown; default 8"},
    {"ascii", 0, NULL, false, "shades in plain ASCII"},
    {"all", 0, NULL, false, "all test examples there are, not only evaluation.count of them"},
    {"data", 0, "DIR", false, "folder of the data sets, instead of the task's"},
    CLI_FLAGS_END};
static const struct cli_flag secagg[] = {
    {"clients", 'n', "N", false, "members of the group"},
    {"adversarial", 0, "G", false, "share of adversarial members, 0 to 1; default 0"},
    {"dropout", 0, "D", false, "share of members that drop out, 0 to 1; default 0"},
    {"adversary", 0, "KIND", false, "curious (default) or semi-malicious"},
    {"dimension", 'd', "D", false, "coordinates of the update; default 1000000"},
    {"ring", 0, "B", false, "ring bits: 16 (default), 20, 24 or 32"},
    CLI_FLAGS_END};
static const struct cli_flag config[] = {
    {"daemon", 0, NULL, false, "FILE is a coordinator's config, not a task's"}, CLI_FLAGS_END};

static const struct cli_command commands[] = {
    {"init", "", 0, 0, init,
     "Sets up a coordinator's state folder, with a fleet authority unless one is named.",
     "sottoctl init --state /var/lib/sotto\n", ctl_init},
    {"status", "", 0, 0, watch, "Shows the coordinator and its tasks.", NULL, ctl_status},
    {"events", "", 0, 0, events, "Lists what happened.", NULL, ctl_events},
    {"enroll", "", 0, 0, enroll, "Makes one-time tokens that enrol devices.",
     "sottoctl enroll --count 20 --output tokens\n", ctl_enroll},
    {"enroll import", "FILE", 1, 1, no_flags,
     "Takes the public list of tokens that an authority elsewhere issued.", NULL,
     ctl_enroll_import},
    {"devices", "", 0, 0, no_flags, "Lists enrolled devices.", NULL, devices},
    {"revoke", "SERIAL", 1, 1, no_flags,
     "Shuts a device out at once, or withdraws a token that none has used.", NULL, device_revoke},
    {"task create", "FILE", 1, 1, no_flags, "Creates a task from YAML and starts it.",
     "sottoctl task create examples/digits.yaml --set rounds=20\n", ctl_task_create},
    {"task list", "", 0, 0, no_flags, "Lists tasks.", NULL, task_list},
    {"task show", "TASK", 1, 1, no_flags, "Shows a task, its model and its settings.", NULL,
     task_show},
    {"task pause", "TASK", 1, 1, no_flags, "Opens no new rounds.", NULL, task_pause},
    {"task resume", "TASK", 1, 1, no_flags, "Opens rounds again.", NULL, task_resume},
    {"task stop", "TASK", 1, 1, no_flags, "Ends a task for good; its models stay.", NULL,
     task_stop},
    {"rounds list", "TASK [LIMIT]", 1, 2, no_flags, "Lists rounds, newest first.", NULL,
     rounds_list},
    {"rounds watch", "TASK [AFTER]", 1, 2, no_flags,
     "Prints a line as each round ends, until the task does; waits for a coordinator that "
     "restarts.",
     NULL, ctl_rounds_watch},
    {"rounds export", "TASK", 1, 1, output, "Writes the closed rounds as CSV.",
     "sottoctl rounds export digits --output rounds.csv\n", ctl_rounds_export},
    {"rounds show", "TASK ROUND", 2, 2, no_flags, "Shows a round with its groups and devices.",
     NULL, rounds_show},
    {"models list", "TASK", 1, 1, no_flags, "Lists model versions, newest first.", NULL,
     models_list},
    {"models show", "TASK VERSION", 2, 2, no_flags,
     "Shows a version with its lineage; VERSION may be current.", NULL, models_show},
    {"models export", "TASK [VERSION]", 1, 2, output, "Writes a version's package.",
     "sottoctl models export digits --output digits.sotto\n", ctl_models_export},
    {"models evaluate", "TASK [VERSION]", 1, 2, evaluate,
     "Evaluates a version on the task's held-out examples, with samples and a confusion matrix.",
     NULL, ctl_models_evaluate},
    {"models rollback", "TASK VERSION", 2, 2, no_flags, "Publishes an old version again.", NULL,
     models_rollback},
    {"models release", "TASK VERSION", 2, 2, no_flags, "Keeps a version for ever.", NULL,
     models_release},
    {"backup", "DIR", 1, 1, no_flags, "Writes database, keys and models into a new folder.", NULL,
     backup},
    {"restore", "DIR", 1, 1, no_flags, "Makes a new state folder from a backup.",
     "sottoctl restore backup-monday --state /var/lib/sotto\n", ctl_restore},
    {"config check", "FILE", 1, 1, config,
     "Checks a task's (or the daemon's) config; exit code 4 when it is wrong.", NULL,
     ctl_config_check},
    {"config dump", "FILE", 1, 1, config, "Prints the effective settings as YAML.", NULL,
     ctl_config_dump},
    {"document show", "", 0, 0, output, "Writes the certified coordinator document.", NULL,
     ctl_document_show},
    {"document request", "", 0, 0, output, "Writes what the authority should certify.", NULL,
     ctl_document_request},
    {"document import", "FILE", 1, 1, no_flags, "Takes a certified document.", NULL,
     ctl_document_import},
    {"authority init", "", 0, 0, authority, "Makes a fleet authority in a folder of its own.",
     "sottoctl authority init --authority /media/usb/fleet\n", ctl_authority_init},
    {"authority certify", "REQUEST", 1, 1, certify, "Signs a coordinator's document request.", NULL,
     ctl_authority_certify},
    {"authority issue", "", 0, 0, issue,
     "Makes tokens where the authority lies; they never pass the coordinator.", NULL,
     ctl_authority_issue},
    {"keys rotate", "", 0, 0, rotate,
     "Makes new signing and CURVE keys for the coordinator's next start.", NULL, ctl_keys_rotate},
    {"secagg parameters", "", 0, 0, secagg,
     "Shows what a secure group of that size runs, and its cost; fails where it is infeasible.",
     "sottoctl secagg parameters --clients 1000 --adversarial 0.05 --dropout 0.1\n",
     ctl_secagg_parameters},
    CLI_COMMANDS_END,
};

static const struct cli_flag flags[] = {
    {"state", 's', "DIR", false,
     "the coordinator's state folder; default $SOTTO_STATE or /var/lib/sotto"},
    {"control", 0, "SOCKET", false,
     "the coordinator's control socket; default control.sock in the state folder"},
    CLI_FLAGS_END};

int main(int argc, char **argv) {
    static const struct cli_tool tool = {.name = "sottoctl",
                                         .summary = "operates a sotto coordinator",
                                         .section = "1",
                                         .commands = commands,
                                         .flags = flags,
                                         .options = task_options};
    return cli_main(&tool, argc, argv);
}
