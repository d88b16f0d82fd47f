/* Inside sottoctl: talking to the daemon, and the commands by file. */
#ifndef SOTTO_COORDINATOR_CTL_H
#define SOTTO_COORDINATOR_CTL_H

#include "sotto/config.h"
#include "sotto/coordinator.h"

#define CTL_ARGS_MAX 16

/* Where the coordinator's state lies: --state, $SOTTO_STATE, or /var/lib/sotto. */
const char *ctl_state(const struct cli *cli);
/* Asks the daemon of the state folder. Its errors become err; UNREACHABLE with advice when none
 * runs. */
enum sotto_status ctl_ask(const struct cli *cli, bool json, const struct view *args, size_t count,
                          struct buf *out, struct sotto_error *err);
/* The same for texts, printing the answer: what most subcommands are. Returns the exit code. */
int ctl_print(struct cli *cli, const char *const *args, size_t count);

/* Says what was done: a sentence, or {"message": ...} with --json. Returns 0. */
int ctl_say(const struct cli *cli, const char *fmt, ...) SOTTO_PRINTF(2, 3);
/* Prints a failure; returns the exit code. OK: 0. */
int ctl_end(const struct cli *cli, enum sotto_status status, const struct sotto_error *err);

int ctl_init(struct cli *cli);
int ctl_authority_init(struct cli *cli);
int ctl_authority_issue(struct cli *cli);
int ctl_authority_certify(struct cli *cli);
int ctl_document_request(struct cli *cli);
int ctl_document_import(struct cli *cli);
int ctl_document_show(struct cli *cli);
int ctl_keys_rotate(struct cli *cli);
int ctl_enroll(struct cli *cli);
int ctl_enroll_import(struct cli *cli);
int ctl_task_create(struct cli *cli);
int ctl_config_check(struct cli *cli);
int ctl_config_dump(struct cli *cli);
int ctl_status(struct cli *cli);
int ctl_events(struct cli *cli);
int ctl_rounds_watch(struct cli *cli);
int ctl_rounds_export(struct cli *cli);
int ctl_models_export(struct cli *cli);
int ctl_models_evaluate(struct cli *cli);
int ctl_restore(struct cli *cli);
int ctl_secagg_parameters(struct cli *cli);

/* Paths of an authority folder. */
struct ctl_authority {
    char key[IO_PATH_MAX], key_file[IO_PATH_MAX];
    char passphrase[1024];
    struct id_lock lock;
};
/* Reads --authority (default: <state>/authority), --passphrase-file and --key-file. */
enum sotto_status ctl_authority(struct cli *cli, struct ctl_authority *out,
                                struct sotto_error *err);
#define CTL_AUTHORITY_FLAGS                                                                        \
    {"authority", 0, "DIR", false,                                                                 \
     "folder of the fleet authority's key; default: authority in the state folder"},               \
        {"key-file", 0, "FILE", false,                                                             \
         "key file that seals the authority's key; default: authority.lock beside it"},            \
    {                                                                                              \
        "passphrase-file", 0, "FILE", false,                                                       \
            "file whose first line is the passphrase, instead of a key file"                       \
    }

#endif
