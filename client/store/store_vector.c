/* Arrays of coordinates in files, written and read in pieces: "SOTTOVEC" | count u32 | kept u32
 * (count: dense) | values, or index and value of each that is not 0 | hash of all before. */
#include "store/store_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define VEC_MAGIC "SOTTOVEC"
#define VEC_LABEL "sotto vector v1"
#define VEC_HEAD  16u
#define VEC_PIECE (64u << 10) /* a multiple of 8 */

struct piecewise {
    int fd;
    struct wire_hasher *hasher;
    uint8_t *piece;
    size_t used;
    enum sotto_status status;
    int sys_errno;
};

static bool write_whole(int fd, const uint8_t *p, size_t n) {
    while (n > 0) {
        const ssize_t done = write(fd, p, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return false;
        p += done;
        n -= (size_t)done;
    }
    return true;
}

static void flush(struct piecewise *w) {
    if (w->status == SOTTO_OK && !write_whole(w->fd, w->piece, w->used)) {
        w->sys_errno = errno;
        w->status = store_errno(errno);
    }
    if (w->hasher != NULL)
        wire_hasher_add(w->hasher, view_of(w->piece, w->used));
    w->used = 0;
}

static void put(struct piecewise *w, const void *p, size_t n) {
    if (w->used + n > VEC_PIECE)
        flush(w);
    memcpy(w->piece + w->used, p, n);
    w->used += n;
}

static void put_values(struct piecewise *w, const float *values, uint32_t count, uint32_t kept,
                       bool dense) {
    const uint32_t says = dense ? count : kept;
    put(w, VEC_MAGIC, 8);
    put(w, &count, 4);
    put(w, &says, 4);
    for (uint32_t i = 0; i < count; i++) {
        if (!dense && values[i] == 0.0f)
            continue;
        if (!dense)
            put(w, &i, 4);
        put(w, &values[i], 4);
    }
    flush(w);
}

enum sotto_status store_vector_write(struct devstore *s, const char *kind, const float *values,
                                     uint32_t count, char *name, struct sotto_error *err) {
    struct piecewise w = {.fd = -1};
    enum sotto_status status;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++)
        kept += values[i] != 0.0f;
    w.piece = mem_alloc(VEC_PIECE);
    w.hasher = wire_hasher_new(VEC_LABEL);
    if (w.piece == NULL || w.hasher == NULL)
        TRY_FAIL(err, SOTTO_NOMEM, "no memory to store %u coordinates", count);
    TRY(store_file_begin(s, kind, name, &w.fd, err));
    put_values(&w, values, count, kept, kept > count / 2);
    const struct wire_hash sum = wire_hasher_finish(w.hasher);
    w.hasher = NULL;
    put(&w, sum.b, WIRE_HASH);
    flush(&w);
    if (w.status != SOTTO_OK) {
        errno = w.sys_errno;
        s->failed = true;
        status = SOTTO_FAIL_SYS(err, w.status, "cannot write %s", name);
        goto out;
    }
    TRY(store_file_end(s, name, w.fd, err));
    w.fd = -1;
out:
    if (w.fd >= 0)
        close(w.fd);
    if (w.hasher != NULL)
        (void)wire_hasher_finish(w.hasher);
    mem_free(w.piece);
    return status;
}

static enum sotto_status read_at(int fd, const char *name, uint8_t *out, size_t n, uint64_t offset,
                                 struct sotto_error *err) {
    while (n > 0) {
        const ssize_t got = pread(fd, out, n, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return SOTTO_FAIL_SYS(err, SOTTO_IO, "cannot read %s", name);
        if (got == 0)
            return SOTTO_FAIL(err, SOTTO_CORRUPT, "%s is cut short", name);
        out += got;
        n -= (size_t)got;
        offset += (uint64_t)got;
    }
    return SOTTO_OK;
}

/* The head fits the size, and the hash holds. */
static enum sotto_status check_file(int fd, const char *name, uint8_t *piece, uint32_t count,
                                    uint32_t *kept, uint64_t *body, struct sotto_error *err) {
    enum sotto_status status;
    struct wire_hasher *hasher = NULL;
    struct wire_hash want;
    uint32_t n = 0;
    const off_t size = lseek(fd, 0, SEEK_END);
    TRY(read_at(fd, name, piece, VEC_HEAD, 0, err));
    memcpy(&n, piece + 8, 4);
    memcpy(kept, piece + 12, 4);
    *body = VEC_HEAD + (*kept == n ? (uint64_t)n * 4 : (uint64_t)*kept * 8);
    if (memcmp(piece, VEC_MAGIC, 8) != 0 || n != count || *kept > n || size < 0 ||
        (uint64_t)size != *body + WIRE_HASH)
        TRY_FAIL(err, SOTTO_CORRUPT, "%s does not hold %u coordinates", name, count);
    hasher = wire_hasher_new(VEC_LABEL);
    if (hasher == NULL)
        TRY_FAIL(err, SOTTO_NOMEM, "no memory to check %s", name);
    for (uint64_t at = 0; at < *body; at += VEC_PIECE) {
        const size_t part = (size_t)num_min_u64(VEC_PIECE, *body - at);
        TRY(read_at(fd, name, piece, part, at, err));
        wire_hasher_add(hasher, view_of(piece, part));
    }
    TRY(read_at(fd, name, want.b, WIRE_HASH, *body, err));
    const struct wire_hash sum = wire_hasher_finish(hasher);
    hasher = NULL;
    if (!wire_hash_equal(&sum, &want))
        TRY_FAIL(err, SOTTO_CORRUPT, "%s is damaged", name);
out:
    if (hasher != NULL)
        (void)wire_hasher_finish(hasher);
    return status;
}

enum sotto_status store_vector_read(struct devstore *s, const char *name, bool add, float *values,
                                    uint32_t count, struct sotto_error *err) {
    char path[IO_PATH_MAX];
    enum sotto_status status;
    uint8_t *piece = NULL;
    uint32_t kept = 0, next = 0;
    uint64_t body = 0;
    int fd = -1;
    TRY(store_file_path(s, name, path, sizeof path, err));
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        TRY_FAIL(err, SOTTO_CORRUPT, "%s is missing", name);
    piece = mem_alloc(VEC_PIECE);
    if (piece == NULL)
        TRY_FAIL(err, SOTTO_NOMEM, "no memory to read %s", name);
    TRY(check_file(fd, name, piece, count, &kept, &body, err));
    const bool dense = kept == count;
    const size_t each = dense ? 4 : 8;
    if (!add)
        memset(values, 0, (size_t)count * sizeof *values);
    for (uint64_t at = VEC_HEAD; at < body; at += VEC_PIECE) {
        const size_t part = (size_t)num_min_u64(VEC_PIECE, body - at);
        TRY(read_at(fd, name, piece, part, at, err));
        for (size_t k = 0; k < part; k += each) {
            uint32_t index = next++;
            float x;
            if (!dense)
                memcpy(&index, piece + k, 4);
            memcpy(&x, piece + k + each - 4, 4);
            if (index >= count || !vec_all_finite_f32(&x, 1))
                TRY_FAIL(err, SOTTO_CORRUPT, "%s: an entry is out of range", name);
            values[index] += x;
        }
    }
out:
    if (fd >= 0)
        close(fd);
    mem_free(piece);
    return status;
}
