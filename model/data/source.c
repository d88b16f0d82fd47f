/* A file's bytes in order, inflated on the way when they are gzip. */
#include "data_private.h"

#include <limits.h>
#include <string.h>

#define GZIP_RATIO_MAX 1032 /* what deflate can reach (zlib's technical notes) */

static voidpf source_zalloc(voidpf opaque, uInt items, uInt size) {
    (void)opaque;
    return mem_array(items, size);
}

static void source_zfree(voidpf opaque, voidpf p) {
    (void)opaque;
    mem_free(p);
}

enum sotto_status data_source_open(struct data_source *s, struct view raw, const char *name,
                                   struct sotto_error *err) {
    memset(s, 0, sizeof *s);
    s->name = data_shown(name);
    s->raw = raw;
    s->gzip = raw.n >= 2 && raw.p[0] == 0x1f && raw.p[1] == 0x8b;
    if (!s->gzip)
        return SOTTO_OK;
    if (raw.n > UINT_MAX) {
        s->gzip = false;
        return SOTTO_FAIL(err, SOTTO_LIMIT, "%s: %zu bytes are too many for one gzip file", s->name,
                          raw.n);
    }
    s->z.zalloc = source_zalloc;
    s->z.zfree = source_zfree;
    s->z.next_in = (z_const Bytef *)(uintptr_t)raw.p;
    s->z.avail_in = (uInt)raw.n;
    if (inflateInit2(&s->z, 16 + MAX_WBITS) != Z_OK) {
        s->gzip = false;
        return SOTTO_FAIL(err, SOTTO_NOMEM, "%s: no memory to inflate", s->name);
    }
    return SOTTO_OK;
}

void data_source_close(struct data_source *s) {
    if (s->gzip)
        inflateEnd(&s->z);
    s->gzip = false;
}

static enum sotto_status source_inflate(struct data_source *s, uint8_t *out, size_t n, size_t *got,
                                        struct sotto_error *err) {
    *got = 0;
    while (*got < n && !s->ended) {
        size_t want = n - *got;
        uInt piece = want > UINT_MAX ? UINT_MAX : (uInt)want;
        s->z.next_out = out + *got;
        s->z.avail_out = piece;
        int rc = inflate(&s->z, Z_NO_FLUSH);
        *got += piece - s->z.avail_out;
        if (rc == Z_STREAM_END)
            s->ended = true;
        else if (rc == Z_MEM_ERROR)
            return SOTTO_FAIL(err, SOTTO_NOMEM, "%s: no memory to inflate", s->name);
        else if (rc == Z_BUF_ERROR)
            return SOTTO_FAIL(err, SOTTO_CORRUPT, "%s: the gzip stream ends early, at byte %zu",
                              s->name, s->raw.n);
        else if (rc != Z_OK)
            return SOTTO_FAIL(err, SOTTO_CORRUPT, "%s: gzip data is damaged near byte %zu (%s)",
                              s->name, s->raw.n - s->z.avail_in,
                              s->z.msg ? s->z.msg : "unknown reason");
    }
    return SOTTO_OK;
}

static enum sotto_status source_get(struct data_source *s, uint8_t *out, size_t n, size_t *got,
                                    struct sotto_error *err) {
    if (s->gzip)
        return source_inflate(s, out, n, got, err);
    size_t left = s->raw.n - s->off;
    *got = n < left ? n : left;
    if (*got)
        memcpy(out, s->raw.p + s->off, *got);
    return SOTTO_OK;
}

enum sotto_status data_source_read(struct data_source *s, void *out, size_t n, const char *what,
                                   struct sotto_error *err) {
    size_t got;
    enum sotto_status status = source_get(s, out, n, &got, err);
    if (status != SOTTO_OK)
        return status;
    if (got < n)
        return SOTTO_FAIL(err, SOTTO_CORRUPT,
                          "%s: ends at byte %zu inside its %s, which need bytes up to %zu", s->name,
                          s->off + got, what, s->off + n);
    s->off += n;
    return SOTTO_OK;
}

enum sotto_status data_source_skip(struct data_source *s, size_t n, const char *what,
                                   struct sotto_error *err) {
    uint8_t piece[4096];
    while (n > 0) {
        size_t now = n < sizeof piece ? n : sizeof piece;
        enum sotto_status status = data_source_read(s, piece, now, what, err);
        if (status != SOTTO_OK)
            return status;
        n -= now;
    }
    return SOTTO_OK;
}

enum sotto_status data_source_end(struct data_source *s, struct sotto_error *err) {
    uint8_t extra;
    size_t got;
    enum sotto_status status = source_get(s, &extra, 1, &got, err);
    if (status != SOTTO_OK)
        return status;
    if (got > 0)
        return SOTTO_FAIL(err, SOTTO_CORRUPT,
                          "%s: goes on after byte %zu, where its header says that it ends", s->name,
                          s->off);
    if (s->gzip && s->z.avail_in > 0)
        return SOTTO_FAIL(err, SOTTO_CORRUPT, "%s: %u bytes follow the end of the gzip stream",
                          s->name, s->z.avail_in);
    return SOTTO_OK;
}

size_t data_source_bytes_max(const struct data_source *s) {
    size_t n = s->raw.n;
    if (s->gzip && (!num_mul_size(n, GZIP_RATIO_MAX, &n)))
        return SIZE_MAX;
    return n;
}
