/* Jobs of the worker pool: a secure group's sum. The group's session is the worker's alone
 * meanwhile. */
#include "daemon/secure_int.h"
#include "daemon/work_int.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* A survivor's packed coordinates, behind the message's head. */
static enum sotto_status read_masked(void *ctx, uint64_t serial, uint64_t offset, void *out,
                                     size_t bytes, struct sotto_error *err) {
    const struct work *w = ctx;
    const struct task_host *t = w->task;
    char path[IO_PATH_MAX];
    enum sotto_status status =
        masked_path(t->c, &t->round.terms_hash, serial, t->secure->groups[w->group].row.attempt,
                    false, path, sizeof path, err);
    if (status != SOTTO_OK)
        return status;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return SOTTO_FAIL_SYS(err, SOTTO_IO, "%s: cannot be read", path);
    if (pread(fd, out, bytes, (off_t)(SECAGG_MASKED_HEAD + offset)) != (ssize_t)bytes)
        status = SOTTO_FAIL_SYS(err, SOTTO_IO, "%s: cannot be read", path);
    close(fd);
    return status;
}

void work_run_unmask(struct work *w) {
    struct task_host *t = w->task;
    struct secure_round *s = t->secure;
    const struct secure_source source = {w, read_masked};
    const uint64_t start = clock_mono_ns();
    w->status = secure_sum(s->groups[w->group].server, &s->config, s->plan, &t->spec, &source, 0,
                           w->sums, &w->error);
    w->seconds = (double)(clock_mono_ns() - start) * 1e-9;
}

enum sotto_status work_unmask(struct task_host *t, uint32_t group, struct sotto_error *err) {
    struct work *w = work_new(t, WORK_UNMASK, err);
    if (!w)
        return SOTTO_NOMEM;
    w->sums = mem_zalloc(sizeof *w->sums);
    if (!w->sums) {
        work_drop(w);
        return SOTTO_FAIL(err, SOTTO_NOMEM, "work: out of memory");
    }
    w->group = group;
    t->secure->groups[group].busy = true;
    return work_submit(w, err);
}

/* Secrets are opened once: after a fault of ours the session is built again first. */
static bool unmask_again(struct work *w) {
    struct secure_group *g = &w->task->secure->groups[w->group];
    struct sotto_error why = SOTTO_ERROR_INIT;
    if (!work_ours(w->status) || ++g->attempts > WORK_ATTEMPTS)
        return false;
    LOG(LOG_WARN, "secure.again", LU("group", w->group), LS("reason", w->error.message));
    return secure_replay(w->task, w->group, true, &why) == SOTTO_OK;
}

enum sotto_status work_unmasked(struct work *w, struct sotto_error *err) {
    struct task_host *t = w->task;
    enum sotto_status status = SOTTO_OK;
    if (w->round != t->round.round || !t->round_live || !t->secure || w->group >= t->group_count)
        return SOTTO_OK;
    if (w->status != SOTTO_OK && unmask_again(w))
        return work_unmask(t, w->group, err);
    TRY(secure_summed(t, w->group, w->status, w->error.message, w->seconds, err));
    if (w->status == SOTTO_OK) {
        struct group_host *g = &t->groups[w->group];
        struct round_event tick = {.kind = ROUND_EV_TICK, .now_ms = clock_mono_ms()};
        g->sums = *w->sums;
        g->ready = true;
        memset(w->sums, 0, sizeof *w->sums);
        TRY(round_sum_group(t, w->group, err));
        TRY(task_event(t, &tick, NULL, err));
    }
out:
    return status;
}
