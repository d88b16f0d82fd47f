/* Residuals of the virtual clients: one unlinked, sparse file, so that thousands of them cost disk
 * and page cache, not memory. */
#include "sim.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct sim_residuals {
    int fd;
    size_t bytes; /* of one */
};

enum sotto_status residuals_open(const char *dir, uint32_t clients, uint32_t count,
                                 struct sim_residuals **out, struct sotto_error *err) {
    char path[IO_PATH_MAX];
    size_t total;
    *out = NULL;
    struct sim_residuals *r = mem_zalloc(sizeof *r);
    if (!r)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for residuals");
    r->fd = -1;
    r->bytes = (size_t)count * sizeof(float);
    enum sotto_status status = SOTTO_OK;
    if (!num_mul_size(r->bytes, clients, &total) || total > (size_t)INT64_MAX)
        TRY_FAIL(err, SOTTO_LIMIT, "residuals of %u clients do not fit a file", clients);
    TRY(io_join(path, sizeof path, dir, "sotto-sim-XXXXXX", err));
    r->fd = mkstemp(path);
    if (r->fd < 0)
        TRY_FAIL(err, SOTTO_IO, "%s: cannot make a file for residuals: %s", dir, strerror(errno));
    (void)unlink(path); /* gone with the process */
    *out = r;
    r = NULL;
out:
    residuals_close(r);
    return status;
}

void residuals_close(struct sim_residuals *r) {
    if (!r)
        return;
    if (r->fd >= 0)
        close(r->fd);
    mem_free(r);
}

enum sotto_status residuals_read(struct sim_residuals *r, uint32_t client, float *out,
                                 struct sotto_error *err) {
    uint8_t *p = (uint8_t *)out;
    const off_t at = (off_t)r->bytes * client;
    for (size_t done = 0; done < r->bytes;) {
        const ssize_t n = pread(r->fd, p + done, r->bytes - done, at + (off_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return SOTTO_FAIL(err, SOTTO_IO, "the residual of client %u cannot be read: %s", client,
                              n < 0 ? strerror(errno) : "the file is too short");
        done += (size_t)n;
    }
    return SOTTO_OK;
}

enum sotto_status residuals_write(struct sim_residuals *r, uint32_t client, const float *values,
                                  struct sotto_error *err) {
    const uint8_t *p = (const uint8_t *)values;
    const off_t at = (off_t)r->bytes * client;
    for (size_t done = 0; done < r->bytes;) {
        const ssize_t n = pwrite(r->fd, p + done, r->bytes - done, at + (off_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return SOTTO_FAIL(err, SOTTO_FULL, "the residual of client %u cannot be kept: %s",
                              client, strerror(errno));
        done += (size_t)n;
    }
    return SOTTO_OK;
}
