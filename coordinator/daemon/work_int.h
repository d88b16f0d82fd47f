/* Jobs inside the daemon: what a worker is given, and how it gets there. */
#ifndef SOTTO_COORDINATOR_WORK_INT_H
#define SOTTO_COORDINATOR_WORK_INT_H

#include "daemon/daemon_int.h"

#define WORK_ATTEMPTS 5 /* of a job that failed for a reason of ours, at once */

enum work_kind { WORK_CHECK, WORK_ADVANCE, WORK_UNMASK };

struct advance_job {
    struct advance_in in;
    struct advance_out out;
    struct group_host
        *hosts[ROUND_GROUPS_MAX]; /* of summed groups; the job's alone until it ends */
    uint32_t host_count;
    const struct group_sums *groups[ROUND_GROUPS_MAX];
    struct store_version base;
};
struct work {
    struct work *next; /* in the backlog */
    enum work_kind kind;
    struct task_host *task;
    uint32_t round;
    enum sotto_status status;
    struct sotto_error error;
    /* check: small, a large cohort has one each after a restart */
    uint64_t serial;
    uint32_t group;
    bool announce; /* the engine waits for the answer; otherwise it is a repeated addition */
    bool torn;
    uint8_t attempts;
    uint32_t generation;
    bool read;                    /* the report could be read, and its bytes have this hash: */
    struct wire_hash report_hash; /* computed when it is not taken */
    struct report_keys keys;
    struct advance_job *advance;
    /* unmask: the session is the job's alone until it ends */
    struct group_sums *sums;
    double seconds;
};

struct work *work_new(struct task_host *t, enum work_kind kind, struct sotto_error *err);
enum sotto_status work_submit(struct work *w, struct sotto_error *err);
bool work_ours(enum sotto_status status); /* not the report's fault */

/* work_unmask.c: in the worker, and when its result is back */
void work_run_unmask(struct work *w);
enum sotto_status work_unmasked(struct work *w, struct sotto_error *err);

#endif
