/* CIFAR-10 binary files: records of a label and three colour planes, turned into NHWC pixels. */
#include "data_private.h"

#define CIFAR_SIDE         32
#define CIFAR_PLANE        (CIFAR_SIDE * CIFAR_SIDE)
#define CIFAR_RECORD_BYTES (1 + 3 * CIFAR_PLANE)
#define CIFAR_CLASSES      10

const struct data_schema data_cifar10_schema = {.dtype = DATA_U8,
                                                .rank = 3,
                                                .dims = {CIFAR_SIDE, CIFAR_SIDE, 3},
                                                .classes = CIFAR_CLASSES,
                                                .scale = 1.0f / 255.0f,
                                                .shift = 0.0f};

enum sotto_status dataset_parse_cifar10(struct view file, const char *path, struct dataset *d,
                                        size_t *done, struct sotto_error *err) {
    const size_t first = *done, records = file.n / CIFAR_RECORD_BYTES;
    /* The sizes were taken before: a file that changes meanwhile must not write past the end. */
    if (file.n % CIFAR_RECORD_BYTES != 0 || records > d->count - first)
        return SOTTO_FAIL(err, SOTTO_IO, "%s: changed its size while it was read",
                          data_shown(path));
    uint8_t *x = (uint8_t *)d->x + first * 3 * CIFAR_PLANE;
    for (size_t i = 0; i < records; i++) {
        const uint8_t *record = file.p + i * CIFAR_RECORD_BYTES;
        if (record[0] >= CIFAR_CLASSES)
            return SOTTO_FAIL(
                err, SOTTO_CORRUPT, "%s: byte %zu: label of record %zu is %u, expected 0 to %d",
                data_shown(path), i * CIFAR_RECORD_BYTES, i, record[0], CIFAR_CLASSES - 1);
        d->labels[first + i] = record[0];
        for (size_t p = 0; p < CIFAR_PLANE; p++)
            for (size_t c = 0; c < 3; c++)
                *x++ = record[1 + c * CIFAR_PLANE + p];
    }
    *done = first + records;
    return SOTTO_OK;
}

/* The number of records in a file, by its size. */
static enum sotto_status cifar_count(const char *path, size_t *count, struct sotto_error *err) {
    int64_t size = io_file_size(path);
    if (size < 0)
        return SOTTO_FAIL(err, SOTTO_NOT_FOUND, "%s: cannot be opened", data_shown(path));
    if (size == 0 || size % CIFAR_RECORD_BYTES != 0)
        return SOTTO_FAIL(err, SOTTO_CORRUPT,
                          "%s: %lld bytes are not a multiple of %d-byte records", data_shown(path),
                          (long long)size, CIFAR_RECORD_BYTES);
    if (!num_add_size(*count, (size_t)size / CIFAR_RECORD_BYTES, count))
        return SOTTO_FAIL(err, SOTTO_LIMIT, "%s: too many records", data_shown(path));
    return SOTTO_OK;
}

enum sotto_status dataset_read_cifar10(const char *const *paths, size_t path_count,
                                       struct dataset *out, struct sotto_error *err) {
    dataset_init(out);
    struct buf file;
    buf_init(&file, DATASET_BYTES_MAX);
    enum sotto_status status;
    size_t total = 0, done = 0;
    if (path_count == 0)
        TRY_FAIL(err, SOTTO_INVALID, "cifar10: no file is named");
    for (size_t i = 0; i < path_count; i++)
        TRY(cifar_count(paths[i], &total, err));
    TRY(dataset_alloc(out, &data_cifar10_schema, total, paths[0], err));
    for (size_t i = 0; i < path_count; i++) {
        TRY(io_read_file(paths[i], DATASET_BYTES_MAX, &file, err));
        TRY(dataset_parse_cifar10(buf_view(&file), paths[i], out, &done, err));
    }
    if (done != total)
        TRY_FAIL(err, SOTTO_IO, "%s: changed its size while it was read", data_shown(paths[0]));
out:
    buf_deinit(&file);
    if (status != SOTTO_OK)
        dataset_deinit(out);
    return status;
}
