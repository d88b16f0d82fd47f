/* Files: whole reads with a cap, atomic durable writes, locks, folders. Paths are UTF-8. */
#ifndef SOTTO_BASE_IO_H
#define SOTTO_BASE_IO_H

#include "sotto/base/buf.h"
#include "sotto/base/status.h"

#define IO_PATH_MAX 4096

/* Replaces the content of out with the file; LIMIT when it holds more than max bytes. */
enum sotto_status io_read_file(const char *path, size_t max, struct buf *out,
                               struct sotto_error *err);
/* Writes to a temporary file beside path, fsyncs it when durable, renames, and fsyncs the folder.
 * mode as in open(2). */
enum sotto_status io_write_file(const char *path, const void *data, size_t n, unsigned mode,
                                bool durable, struct sotto_error *err);
enum sotto_status io_mkdir_p(const char *path, unsigned mode, struct sotto_error *err);
/* Removes a file; a missing one is OK. */
enum sotto_status io_remove(const char *path, struct sotto_error *err);
/* Overwrites with zeros, fsyncs, unlinks, fsyncs the folder; a missing one is OK. */
enum sotto_status io_shred(const char *path, struct sotto_error *err);
/* Removes a folder and all in it; never follows a link. */
enum sotto_status io_remove_tree(const char *path, struct sotto_error *err);
enum sotto_status io_fsync_dir(const char *path, struct sotto_error *err);
bool io_exists(const char *path);
/* Size in bytes, or -1. */
int64_t io_file_size(const char *path);
/* Bytes free to us on the filesystem of path, or UINT64_MAX when unknown. */
uint64_t io_free_bytes(const char *path);
/* out (cap bytes) = a/b; LIMIT when it does not fit. */
enum sotto_status io_join(char *out, size_t cap, const char *a, const char *b,
                          struct sotto_error *err);
/* Opens and flock()s path exclusively without waiting; BUSY when another process holds it. *fd is
 * the caller's. */
enum sotto_status io_lock(const char *path, int *fd, struct sotto_error *err);
/* Calls visit for each entry name except . and ..; stops at the first status that is not OK. */
enum sotto_status io_list(const char *path, enum sotto_status (*visit)(void *ctx, const char *name),
                          void *ctx, struct sotto_error *err);

#endif
