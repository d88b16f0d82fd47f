/* IDX files: MNIST-like images and labels, and the writers of a QMNIST label file. */
#include "data_private.h"

#include <stdlib.h>
#include <string.h>

#define IDX_MAGIC_IMAGES 0x00000803u
#define IDX_MAGIC_LABELS 0x00000801u
#define IDX_MAGIC_QMNIST 0x00000c02u
#define QMNIST_COLUMNS   8
#define QMNIST_ROW_BYTES (QMNIST_COLUMNS * 4)

static uint32_t be32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Reads magic and rank dimensions; refuses a size that the source cannot hold. *bytes: what follows
 * the header. */
static enum sotto_status idx_header(struct data_source *s, uint32_t magic, uint32_t rank,
                                    size_t value_bytes, uint32_t *dims, size_t *bytes,
                                    struct sotto_error *err) {
    uint8_t raw[16];
    enum sotto_status status = data_source_read(s, raw, 4 + 4 * (size_t)rank, "header", err);
    if (status != SOTTO_OK)
        return status;
    if (be32(raw) != magic)
        return SOTTO_FAIL(err, SOTTO_CORRUPT, "%s: byte 0: magic is 0x%08x, expected 0x%08x",
                          s->name, be32(raw), magic);
    size_t n = value_bytes, end;
    for (uint32_t i = 0; i < rank; i++) {
        dims[i] = be32(raw + 4 + 4 * (size_t)i);
        if (dims[i] == 0 || (i > 0 && dims[i] > DATA_SIDE_MAX))
            return SOTTO_FAIL(err, SOTTO_CORRUPT,
                              "%s: byte %u: dimension %u is %u, expected 1 to %u", s->name,
                              4 + 4 * i, i, dims[i], i > 0 ? DATA_SIDE_MAX : UINT32_MAX);
        if (!num_mul_size(n, dims[i], &n) || n > DATASET_BYTES_MAX)
            return SOTTO_FAIL(err, SOTTO_LIMIT,
                              "%s: byte %u: promises more than the limit of %zu bytes", s->name,
                              4 + 4 * i, DATASET_BYTES_MAX);
    }
    end = s->off + n;
    if (end > data_source_bytes_max(s))
        return SOTTO_FAIL(err, SOTTO_CORRUPT,
                          "%s: header promises %zu bytes, the file can hold at most %zu", s->name,
                          end, data_source_bytes_max(s));
    *bytes = n;
    return SOTTO_OK;
}

/* Reads count label bytes in pieces and checks them. */
static enum sotto_status idx_labels(struct data_source *s, int32_t *labels, size_t count,
                                    struct sotto_error *err) {
    uint8_t piece[4096];
    for (size_t done = 0; done < count;) {
        size_t n = count - done < sizeof piece ? count - done : sizeof piece;
        enum sotto_status status = data_source_read(s, piece, n, "labels", err);
        if (status != SOTTO_OK)
            return status;
        for (size_t i = 0; i < n; i++) {
            if (piece[i] >= DATA_IDX_CLASSES)
                return SOTTO_FAIL(err, SOTTO_CORRUPT,
                                  "%s: byte %zu: label of example %zu is %u, expected 0 to %d",
                                  s->name, s->off - n + i, done + i, piece[i],
                                  DATA_IDX_CLASSES - 1);
            labels[done + i] = piece[i];
        }
        done += n;
    }
    return SOTTO_OK;
}

enum sotto_status dataset_parse_idx(struct view images, const char *images_name, struct view labels,
                                    const char *labels_name, struct dataset *out,
                                    struct sotto_error *err) {
    dataset_init(out);
    struct data_source xs, ys;
    enum sotto_status status = data_source_open(&xs, images, images_name, err);
    if (status != SOTTO_OK)
        return status;
    status = data_source_open(&ys, labels, labels_name, err);
    if (status != SOTTO_OK) {
        data_source_close(&xs);
        return status;
    }
    uint32_t dims[3] = {0}, label_count = 0;
    size_t image_bytes = 0, label_bytes = 0;
    TRY(idx_header(&xs, IDX_MAGIC_IMAGES, 3, 1, dims, &image_bytes, err));
    TRY(idx_header(&ys, IDX_MAGIC_LABELS, 1, 1, &label_count, &label_bytes, err));
    if (label_count != dims[0])
        TRY_FAIL(err, SOTTO_CORRUPT, "%s: byte 4: %u labels for the %u images of %s", ys.name,
                 label_count, dims[0], xs.name);
    struct data_schema schema = {.dtype = DATA_U8,
                                 .rank = 3,
                                 .dims = {dims[1], dims[2], 1},
                                 .classes = DATA_IDX_CLASSES,
                                 .scale = 1.0f / 255.0f,
                                 .shift = 0.0f};
    TRY(dataset_alloc(out, &schema, dims[0], xs.name, err));
    TRY(data_source_read(&xs, out->x, image_bytes, "images", err));
    TRY(data_source_end(&xs, err));
    TRY(idx_labels(&ys, out->labels, label_count, err));
    TRY(data_source_end(&ys, err));
out:
    if (status != SOTTO_OK)
        dataset_deinit(out);
    data_source_close(&ys);
    data_source_close(&xs);
    return status;
}

enum sotto_status dataset_read_idx(const char *images_path, const char *labels_path,
                                   struct dataset *out, struct sotto_error *err) {
    dataset_init(out);
    struct buf images, labels;
    buf_init(&images, DATASET_BYTES_MAX);
    buf_init(&labels, DATASET_BYTES_MAX);
    enum sotto_status status;
    TRY(io_read_file(images_path, DATASET_BYTES_MAX, &images, err));
    TRY(io_read_file(labels_path, DATASET_BYTES_MAX, &labels, err));
    TRY(dataset_parse_idx(buf_view(&images), images_path, buf_view(&labels), labels_path, out,
                          err));
out:
    buf_deinit(&labels);
    buf_deinit(&images);
    return status;
}

static int compare_u32(const void *a, const void *b) {
    uint32_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

/* Replaces each id by its rank among the distinct ids; scratch holds count values. Returns the
 * number of ids. */
static uint32_t renumber(uint32_t *ids, uint32_t *scratch, uint32_t count) {
    memcpy(scratch, ids, (size_t)count * sizeof *ids);
    qsort(scratch, count, sizeof *scratch, compare_u32);
    uint32_t distinct = 0;
    for (uint32_t i = 0; i < count; i++)
        if (i == 0 || scratch[i] != scratch[i - 1])
            scratch[distinct++] = scratch[i];
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t *at = bsearch(&ids[i], scratch, distinct, sizeof *scratch, compare_u32);
        ids[i] = at ? (uint32_t)(at - scratch) : 0;
    }
    return distinct;
}

/* The writer ids of the first d->count rows, checked against the labels. */
static enum sotto_status qmnist_rows(struct data_source *s, const struct dataset *d, uint32_t *ids,
                                     struct sotto_error *err) {
    uint8_t piece[128 * QMNIST_ROW_BYTES];
    for (uint32_t done = 0; done < d->count;) {
        uint32_t n = d->count - done < 128 ? d->count - done : 128;
        size_t at = s->off;
        enum sotto_status status =
            data_source_read(s, piece, (size_t)n * QMNIST_ROW_BYTES, "rows", err);
        if (status != SOTTO_OK)
            return status;
        for (uint32_t i = 0; i < n; i++) {
            const uint8_t *row = piece + (size_t)i * QMNIST_ROW_BYTES;
            if ((int32_t)be32(row) != d->labels[done + i])
                return SOTTO_FAIL(err, SOTTO_CORRUPT,
                                  "%s: byte %zu: row %u has label %d, the data set has %d: these "
                                  "rows belong to other images",
                                  s->name, at + (size_t)i * QMNIST_ROW_BYTES, done + i,
                                  (int32_t)be32(row), d->labels[done + i]);
            ids[done + i] = be32(row + 8);
        }
        done += n;
    }
    return SOTTO_OK;
}

enum sotto_status dataset_parse_qmnist(struct dataset *d, struct view rows, const char *name,
                                       struct sotto_error *err) {
    struct data_source s;
    uint32_t *ids = NULL, *scratch = NULL;
    enum sotto_status status = data_source_open(&s, rows, name, err);
    if (status != SOTTO_OK)
        return status;
    uint32_t dims[2] = {0};
    size_t bytes;
    TRY(idx_header(&s, IDX_MAGIC_QMNIST, 2, 4, dims, &bytes, err));
    if (dims[1] != QMNIST_COLUMNS)
        TRY_FAIL(err, SOTTO_CORRUPT, "%s: byte 8: %u columns, expected %d", s.name, dims[1],
                 QMNIST_COLUMNS);
    if (dims[0] < d->count || d->count == 0)
        TRY_FAIL(err, SOTTO_CORRUPT, "%s: byte 4: %u rows for %u examples", s.name, dims[0],
                 d->count);
    ids = mem_array(d->count, sizeof *ids);
    scratch = mem_array(d->count, sizeof *scratch);
    if (!ids || !scratch)
        TRY_FAIL(err, SOTTO_NOMEM, "%s: no memory for %u keys", s.name, d->count);
    TRY(qmnist_rows(&s, d, ids, err));
    TRY(data_source_skip(&s, (size_t)(dims[0] - d->count) * QMNIST_ROW_BYTES, "rows", err));
    TRY(data_source_end(&s, err));
    mem_free(d->keys);
    d->key_count = renumber(ids, scratch, d->count);
    d->keys = ids;
    ids = NULL;
out:
    mem_free(scratch);
    mem_free(ids);
    data_source_close(&s);
    return status;
}

enum sotto_status dataset_read_qmnist_keys(struct dataset *d, const char *path,
                                           struct sotto_error *err) {
    struct buf rows;
    buf_init(&rows, DATASET_BYTES_MAX);
    enum sotto_status status;
    TRY(io_read_file(path, DATASET_BYTES_MAX, &rows, err));
    TRY(dataset_parse_qmnist(d, buf_view(&rows), path, err));
out:
    buf_deinit(&rows);
    return status;
}
