/* Deltas between two packages: byte differences, deflated. Small when few quantized weights
 * changed. */
#include "package/package_int.h"

#include <string.h>

#define ZLIB_CONST
#include <zlib.h>

#define DELTA_MAGIC "SOTTODL1"
#define DELTA_CHUNK 16384u
#define DELTA_LEVEL 6

static void *z_alloc(void *opaque, unsigned items, unsigned size) {
    (void)opaque;
    return mem_array(items, size);
}
static void z_free(void *opaque, void *p) {
    (void)opaque;
    mem_free(p);
}

/* Bytes [at, at + n) of target minus those of base (which may end before). */
static void subtract(struct view base, struct view target, size_t at, size_t n, uint8_t *out) {
    for (size_t i = 0; i < n; i++) {
        uint8_t b = at + i < base.n ? base.p[at + i] : 0;
        out[i] = (uint8_t)(target.p[at + i] - b);
    }
}

/* Runs deflate until it wants input again (or has ended), appending what it gives. */
static bool drain_deflate(z_stream *z, int flush, struct buf *out) {
    uint8_t packed[DELTA_CHUNK];
    do {
        z->next_out = packed;
        z->avail_out = sizeof packed;
        if (deflate(z, flush) == Z_STREAM_ERROR)
            return false;
        buf_put(out, packed, sizeof packed - z->avail_out);
    } while (z->avail_out == 0);
    return true;
}

enum sotto_status package_delta_encode(struct view base, struct view target, struct buf *out,
                                       struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    uint8_t diff[DELTA_CHUNK];
    z_stream z = {.zalloc = z_alloc, .zfree = z_free};
    if (base.n > PACKAGE_BYTES_MAX || target.n > PACKAGE_BYTES_MAX)
        return SOTTO_FAIL(err, SOTTO_LIMIT, "delta: a package is over %zu bytes",
                          PACKAGE_BYTES_MAX);
    if (deflateInit(&z, DELTA_LEVEL) != Z_OK)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "delta: deflate");
    buf_put(out, DELTA_MAGIC, 8);
    buf_put_varint(out, base.n);
    buf_put_varint(out, target.n);
    for (size_t at = 0; at < target.n; at += DELTA_CHUNK) {
        size_t n = target.n - at < DELTA_CHUNK ? target.n - at : DELTA_CHUNK;
        subtract(base, target, at, n, diff);
        z.next_in = diff;
        z.avail_in = (uInt)n;
        if (!drain_deflate(&z, Z_NO_FLUSH, out))
            TRY_FAIL(err, SOTTO_INTERNAL, "delta: deflate");
    }
    if (!drain_deflate(&z, Z_FINISH, out))
        TRY_FAIL(err, SOTTO_INTERNAL, "delta: deflate");
    if (out->status != SOTTO_OK)
        TRY_FAIL(err, out->status, "delta: more than %zu bytes or out of memory", out->max);
out:
    deflateEnd(&z);
    return status;
}

/* Inflates chunk by chunk, so that memory grows only with what is really there, and adds base. */
static enum sotto_status apply_stream(z_stream *z, struct view base, size_t target_n,
                                      struct buf *out, struct sotto_error *err) {
    uint8_t diff[DELTA_CHUNK];
    size_t at = 0;
    int result = Z_OK;
    while (result != Z_STREAM_END && out->status == SOTTO_OK) {
        z->next_out = diff;
        z->avail_out = sizeof diff;
        result = inflate(z, Z_NO_FLUSH);
        size_t n = sizeof diff - z->avail_out;
        if (result == Z_MEM_ERROR)
            return SOTTO_FAIL(err, SOTTO_NOMEM, "delta: inflate");
        if ((result != Z_OK && result != Z_STREAM_END) || n > target_n - at)
            return SOTTO_FAIL(err, SOTTO_CORRUPT, "delta: broken at byte %lu of its data",
                              z->total_in);
        for (size_t i = 0; i < n && at + i < base.n; i++)
            diff[i] = (uint8_t)(diff[i] + base.p[at + i]);
        buf_put(out, diff, n);
        at += n;
    }
    if (out->status != SOTTO_OK)
        return SOTTO_FAIL(err, out->status, "delta: more than %zu bytes or out of memory",
                          out->max);
    if (at != target_n || z->avail_in != 0)
        return SOTTO_FAIL(err, SOTTO_CORRUPT,
                          "delta: gives %zu bytes of %zu, or is followed by more", at, target_n);
    return SOTTO_OK;
}

enum sotto_status package_delta_apply(struct view base, struct view delta, struct buf *out,
                                      struct sotto_error *err) {
    enum sotto_status status;
    struct reader r;
    size_t start = out->len;
    z_stream z = {.zalloc = z_alloc, .zfree = z_free};
    if (delta.n > PACKAGE_BYTES_MAX)
        return SOTTO_FAIL(err, SOTTO_LIMIT, "delta: more than %zu bytes", PACKAGE_BYTES_MAX);
    reader_init(&r, delta);
    struct view magic = reader_bytes(&r, 8, "magic");
    if (magic.p && memcmp(magic.p, DELTA_MAGIC, 8) != 0)
        reader_fail(&r, SOTTO_CORRUPT, "magic");
    size_t base_n = (size_t)reader_varint(&r, PACKAGE_BYTES_MAX, "base size");
    size_t target_n = (size_t)reader_varint(&r, PACKAGE_BYTES_MAX, "target size");
    struct view packed = reader_bytes(&r, reader_left(&r), "data");
    status = reader_finish(&r, true, "delta", err);
    if (status != SOTTO_OK)
        return status;
    if (base_n != base.n)
        return SOTTO_FAIL(err, SOTTO_CORRUPT, "delta: made for a base of %zu bytes, this has %zu",
                          base_n, base.n);
    if (inflateInit(&z) != Z_OK)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "delta: inflate");
    z.next_in = packed.p;
    z.avail_in = (uInt)packed.n;
    status = apply_stream(&z, base, target_n, out, err);
    inflateEnd(&z);
    if (status != SOTTO_OK && out->len > start)
        out->len = start;
    return status;
}
