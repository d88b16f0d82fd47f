/* Uploads in chunks inside the daemon: sealed reports and masked inputs travel alike. */
#ifndef SOTTO_COORDINATOR_UPLOAD_INT_H
#define SOTTO_COORDINATOR_UPLOAD_INT_H

#include "daemon/daemon_int.h"

/* The file of a sealed report (attempt 0), or of a masked input. */
enum sotto_status upload_file(const struct task_host *t, uint64_t serial, uint32_t attempt,
                              bool part, char *out, size_t cap, struct sotto_error *err);
struct upload *upload_find(struct task_host *t, uint64_t serial); /* NULL: none is under way */
void upload_drop(struct task_host *t, struct upload *u);
/* The upload's state, made from the announcement: the first one holds, and what is on disk of it
 * already counts. *out NULL: refused, and said so. */
enum sotto_status upload_begin(struct task_host *t, const struct reply_to *to,
                               const sotto_ReportOpen *in, struct upload **out,
                               struct sotto_error *err);
enum sotto_status upload_write(const char *path, uint32_t index, struct view payload,
                               struct sotto_error *err);
/* All chunks are there: *done: they have the announced hash, and lie durably under their name.
 * Otherwise it was said what is wrong. u is gone. */
enum sotto_status upload_finish(struct task_host *t, struct upload *u, const struct reply_to *to,
                                bool *done, struct sotto_error *err);
enum sotto_status upload_refuse(struct coordinator *c, const struct reply_to *to,
                                enum sotto_status what, uint64_t retry_ms, const char *text,
                                struct sotto_error *err);
/* A fault of our own disk: the device keeps what it has and tries again. */
enum sotto_status upload_trouble(struct coordinator *c, const struct reply_to *to,
                                 const struct sotto_error *why, struct sotto_error *err);

/* secure_message.c: t may be NULL (no such round is open), or a plain one. */
enum sotto_status secure_open(struct coordinator *c, struct task_host *t, const struct reply_to *to,
                              const sotto_ReportOpen *in, struct sotto_error *err);
enum sotto_status secure_chunk(struct coordinator *c, struct task_host *t,
                               const struct reply_to *to, const sotto_ReportChunk *in,
                               struct view payload, struct sotto_error *err);

#endif
