/* The daemon as an object: transport, store, engines, workers, control socket. The program is a
 * loop around daemon_run_once; the simulator's --wire and the tests host it in their own process.
 */
#ifndef SOTTO_COORDINATOR_DAEMON_H
#define SOTTO_COORDINATOR_DAEMON_H

#include "sotto/coordinator/task.h"

struct daemon_config {
    char *state_dir;                  /* store, keys, blobs */
    char *listen;                     /* "tcp://0.0.0.0:7700" */
    struct config_list_str advertise; /* addresses for the document; empty: the bound one */
    char *control;                    /* control socket path; empty: <state_dir>/control.sock */
    uint64_t workers;
    uint64_t devices_max;
    uint64_t disk_max; /* bytes of the state folder */
    uint64_t keep_versions, keep_events_days, keep_outcomes_days, rotate_overlap_days;
    int round_keys;       /* memory | disk */
    char *round_keys_dir; /* of memory: a tmpfs folder; empty: $XDG_RUNTIME_DIR or /dev/shm */
    char *data_dir;       /* evaluation data sets */
    int log_level, log_format;
};
extern const struct config_option daemon_options[];

struct coordinator;
/* Opens everything: store (migrates, sweeps orphans, finishes erasures), gate, transport
 * (self-test), engines of active tasks. */
enum sotto_status coordinator_open(const struct daemon_config *config, struct coordinator **out,
                                   struct sotto_error *err);
/* Waits up to timeout_ms for work and does it. Errors are fatal: the process ends and is started
 * again. */
enum sotto_status coordinator_run_once(struct coordinator *c, int timeout_ms,
                                       struct sotto_error *err);
void coordinator_close(struct coordinator *c);
const char *coordinator_address(const struct coordinator *c);

#endif
