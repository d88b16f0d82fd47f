/* What a virtual client keeps between its rounds (residuals, control variates): one sparse file of
 * slots, so that thousands of clients cost disk and page cache, not memory. A slot is given to a
 * client when it first keeps something. With checkpoints a slot that the last one tells of is not
 * written over until the next one stands: the client moves to another slot. */
#include "sim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crc32c.h"

struct sim_residuals {
    pthread_mutex_t lock; /* of the tables below */
    int fd;
    bool kept;    /* a file with a name: its slots are checked and moved */
    size_t bytes; /* of one */
    uint32_t clients;
    uint32_t *slot; /* of each client, from 1; 0: none */
    uint32_t slot_count, slot_cap;
    uint32_t *crc;   /* of each slot, from 1, while kept */
    uint8_t *frozen; /* of each slot: the last checkpoint tells of it */
    uint32_t *spare; /* slots to give */
    uint32_t spare_count;
};

static enum sotto_status make(uint32_t clients, uint32_t count, struct sim_residuals **out,
                              struct sotto_error *err) {
    size_t total;
    enum sotto_status status = SOTTO_OK;
    struct sim_residuals *r = mem_zalloc(sizeof *r);
    *out = NULL;
    if (!r)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for residuals");
    pthread_mutex_init(&r->lock, NULL);
    r->fd = -1;
    r->bytes = (size_t)count * sizeof(float);
    r->clients = clients;
    if (!num_mul_size(r->bytes, (size_t)clients * 2 + 2, &total) || total > (size_t)INT64_MAX)
        TRY_FAIL(err, SOTTO_LIMIT, "residuals of %u clients do not fit a file", clients);
    r->slot = mem_array(clients ? clients : 1, sizeof *r->slot);
    if (!r->slot)
        TRY_FAIL(err, SOTTO_NOMEM, "no memory for the residuals of %u clients", clients);
    *out = r;
    r = NULL;
out:
    residuals_close(r);
    return status;
}

enum sotto_status residuals_open(const char *dir, uint32_t clients, uint32_t count,
                                 struct sim_residuals **out, struct sotto_error *err) {
    char path[IO_PATH_MAX];
    enum sotto_status status = make(clients, count, out, err);
    if (status != SOTTO_OK)
        return status;
    TRY(io_join(path, sizeof path, dir, "sotto-sim-XXXXXX", err));
    (*out)->fd = mkstemp(path);
    if ((*out)->fd < 0)
        TRY_FAIL(err, SOTTO_IO, "%s: cannot make a file for residuals: %s", dir, strerror(errno));
    (void)unlink(path); /* gone with the process */
out:
    if (status != SOTTO_OK) {
        residuals_close(*out);
        *out = NULL;
    }
    return status;
}

enum sotto_status residuals_open_at(const char *path, bool again, uint32_t clients, uint32_t count,
                                    struct sim_residuals **out, struct sotto_error *err) {
    enum sotto_status status = make(clients, count, out, err);
    if (status != SOTTO_OK)
        return status;
    (*out)->kept = true;
    (*out)->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | (again ? 0 : O_TRUNC), 0600);
    if ((*out)->fd >= 0)
        return SOTTO_OK;
    status = SOTTO_FAIL(err, SOTTO_IO, "%s: cannot be opened: %s", path, strerror(errno));
    residuals_close(*out);
    *out = NULL;
    return status;
}

void residuals_close(struct sim_residuals *r) {
    if (!r)
        return;
    if (r->fd >= 0)
        close(r->fd);
    mem_free(r->slot);
    mem_free(r->crc);
    mem_free(r->frozen);
    mem_free(r->spare);
    pthread_mutex_destroy(&r->lock);
    mem_free(r);
}

/* ---- Slots; under the lock */

static bool reserve(struct sim_residuals *r, uint32_t slots) {
    if (slots < r->slot_cap)
        return true;
    if (slots > UINT32_MAX / 2)
        return false;
    const uint32_t cap = slots < 64 ? 128 : slots * 2;
    uint32_t *crc = mem_resize(r->crc, cap, sizeof *crc);
    r->crc = crc ? crc : r->crc;
    uint8_t *frozen = crc ? mem_resize(r->frozen, cap, sizeof *frozen) : NULL;
    r->frozen = frozen ? frozen : r->frozen;
    uint32_t *spare = frozen ? mem_resize(r->spare, cap, sizeof *spare) : NULL;
    r->spare = spare ? spare : r->spare;
    if (!spare)
        return false;
    memset(r->frozen + r->slot_cap, 0, cap - r->slot_cap);
    memset(r->crc + r->slot_cap, 0, (cap - r->slot_cap) * sizeof *crc);
    r->slot_cap = cap;
    return true;
}

/* A slot that may be written; 0: no memory. */
static uint32_t slot_for_writing(struct sim_residuals *r, uint32_t client) {
    uint32_t slot = r->slot[client];
    if (slot && !r->frozen[slot])
        return slot;
    if (r->spare_count > 0) {
        slot = r->spare[--r->spare_count];
    } else {
        if (!reserve(r, r->slot_count + 1))
            return 0;
        slot = ++r->slot_count;
    }
    r->slot[client] = slot;
    return slot;
}

/* ---- Values */

enum sotto_status residuals_read(struct sim_residuals *r, uint32_t client, float *out,
                                 struct sotto_error *err) {
    uint8_t *p = (uint8_t *)out;
    pthread_mutex_lock(&r->lock);
    const uint32_t slot = r->slot[client], crc = slot ? r->crc[slot] : 0;
    pthread_mutex_unlock(&r->lock);
    if (!slot) { /* it never kept anything */
        memset(out, 0, r->bytes);
        return SOTTO_OK;
    }
    const off_t at = (off_t)r->bytes * (off_t)(slot - 1);
    for (size_t done = 0; done < r->bytes;) {
        const ssize_t n = pread(r->fd, p + done, r->bytes - done, at + (off_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return SOTTO_FAIL(err, SOTTO_IO, "the residual of client %u cannot be read: %s", client,
                              n < 0 ? strerror(errno) : "the file is too short");
        done += (size_t)n;
    }
    if (r->kept && crc32c(out, r->bytes) != crc)
        return SOTTO_FAIL(err, SOTTO_CORRUPT, "the residual of client %u is not the one kept",
                          client);
    return SOTTO_OK;
}

enum sotto_status residuals_write(struct sim_residuals *r, uint32_t client, const float *values,
                                  struct sotto_error *err) {
    const uint8_t *p = (const uint8_t *)values;
    const uint32_t crc = r->kept ? crc32c(values, r->bytes) : 0;
    pthread_mutex_lock(&r->lock);
    const uint32_t slot = slot_for_writing(r, client);
    if (slot)
        r->crc[slot] = crc;
    pthread_mutex_unlock(&r->lock);
    if (!slot)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for the residual of client %u", client);
    const off_t at = (off_t)r->bytes * (off_t)(slot - 1);
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

/* ---- Checkpoints */

enum sotto_status residuals_save(struct sim_residuals *r, struct buf *out,
                                 struct sotto_error *err) {
    uint32_t used = 0;
    for (uint32_t c = 0; c < r->clients; c++)
        used += r->slot[c] != 0;
    buf_put_u64(out, r->bytes);
    buf_put_u32(out, r->slot_count);
    buf_put_u32(out, used);
    for (uint32_t c = 0; c < r->clients; c++)
        if (r->slot[c]) {
            buf_put_u32(out, c);
            buf_put_u32(out, r->slot[c]);
            buf_put_u32(out, r->crc[r->slot[c]]);
        }
    if (fdatasync(r->fd) != 0)
        return SOTTO_FAIL(err, SOTTO_FULL, "residuals cannot be kept: %s", strerror(errno));
    return SOTTO_OK;
}

void residuals_saved(struct sim_residuals *r) {
    r->spare_count = 0;
    if (r->slot_count > 0)
        memset(r->frozen, 0, (size_t)r->slot_count + 1);
    for (uint32_t c = 0; c < r->clients; c++)
        if (r->slot[c])
            r->frozen[r->slot[c]] = 1;
    for (uint32_t i = r->slot_count; i > 0; i--) /* low slots are given first */
        if (!r->frozen[i])
            r->spare[r->spare_count++] = i;
}

enum sotto_status residuals_load(struct sim_residuals *r, struct reader *in,
                                 struct sotto_error *err) {
    const uint64_t bytes = reader_u64(in, "residual size");
    const uint32_t slots = reader_u32(in, "slots"), used = reader_u32(in, "slots used");
    if (in->status != SOTTO_OK || bytes != r->bytes || used > slots || used > r->clients ||
        slots > 2 * (uint64_t)r->clients + 1)
        return SOTTO_FAIL(err, SOTTO_CORRUPT, "checkpoint: its residuals are not this run's");
    if (!reserve(r, slots))
        return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for %u residuals", slots);
    r->slot_count = slots;
    for (uint32_t i = 0; i < used; i++) {
        const uint32_t client = reader_u32(in, "client"), slot = reader_u32(in, "slot");
        const uint32_t crc = reader_u32(in, "checksum");
        if (in->status != SOTTO_OK || client >= r->clients || slot == 0 || slot > slots ||
            r->slot[client] != 0 || r->frozen[slot])
            return SOTTO_FAIL(err, SOTTO_CORRUPT, "checkpoint: residual %u of %u is not one", i,
                              used);
        r->slot[client] = slot;
        r->crc[slot] = crc;
        r->frozen[slot] = 1;
    }
    residuals_saved(r);
    return SOTTO_OK;
}
