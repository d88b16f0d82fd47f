/* Files that the data tests write: IDX, QMNIST rows, gzip. */
#ifndef SOTTO_TESTS_DATA_FILES_H
#define SOTTO_TESTS_DATA_FILES_H

#include <stdio.h>
#include <zlib.h>

#include "support.h"

#include "sotto/model/data.h"

static inline void put_be32(struct buf *b, uint32_t v) {
    uint8_t bytes[4] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
    buf_put(b, bytes, 4);
}

/* n images of h x w whose pixel k of image i is (7 i + k) mod 256. */
static inline void make_images(struct buf *b, uint32_t n, uint32_t h, uint32_t w) {
    put_be32(b, 0x803);
    put_be32(b, n);
    put_be32(b, h);
    put_be32(b, w);
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = 0; k < h * w; k++)
            buf_put_u8(b, (uint8_t)(7 * i + k));
}

/* n labels, i mod 10. */
static inline void make_labels(struct buf *b, uint32_t n) {
    put_be32(b, 0x801);
    put_be32(b, n);
    for (uint32_t i = 0; i < n; i++)
        buf_put_u8(b, (uint8_t)(i % 10));
}

/* n QMNIST rows of labels i mod 10 and writers 1000 - 10 (i mod 3). */
static inline void make_rows(struct buf *b, uint32_t n) {
    put_be32(b, 0xc02);
    put_be32(b, n);
    put_be32(b, 8);
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t c = 0; c < 8; c++)
            put_be32(b, c == 0 ? i % 10 : c == 2 ? 1000 - 10 * (i % 3) : 77);
}

/* Replaces b by its gzip form. */
static inline void make_gzip(struct buf *b) {
    z_stream z = {0};
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
    size_t cap = deflateBound(&z, b->len);
    uint8_t *packed = mem_alloc(cap);
    assert_non_null(packed);
    z.next_in = b->data;
    z.avail_in = (uInt)b->len;
    z.next_out = packed;
    z.avail_out = (uInt)cap;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    buf_reset(b);
    buf_put(b, packed, z.total_out);
    deflateEnd(&z);
    mem_free(packed);
}

static inline const char *write_file(const char *name, const struct buf *b) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    const char *path = test_path(name);
    assert_int_equal(b->status, SOTTO_OK);
    ASSERT_OK(io_write_file(path, b->data, b->len, 0644, false, &err));
    return path;
}

#endif
