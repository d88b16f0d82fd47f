/* Fuzz target: IDX images, labels and QMNIST rows from hostile bytes, plain and gzip. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "data/data_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Puts a header that is right for n items in front of the bytes, so that the fuzzer gets past it.
 */
static size_t with_header(uint8_t *out, uint8_t kind, const uint8_t *dims, uint32_t rank,
                          struct view body) {
    memset(out, 0, 4 + 4 * (size_t)rank);
    out[2] = kind;
    out[3] = (uint8_t)rank;
    for (uint32_t i = 0; i < rank; i++)
        out[7 + 4 * i] = dims[i];
    if (body.n)
        memcpy(out + 4 + 4 * (size_t)rank, body.p, body.n);
    return 4 + 4 * (size_t)rank + body.n;
}

/* The input: flags, two lengths (u16), then images, labels and rows one behind the other. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static uint8_t whole[3][(1 << 16) + 16];
    if (size < 6 || size > 1 << 16)
        return 0;
    uint8_t flags = data[0], n = data[5];
    size_t a = (size_t)data[1] | (size_t)data[2] << 8, b = (size_t)data[3] | (size_t)data[4] << 8;
    data += 6, size -= 6;
    a = a < size ? a : size;
    b = b < size - a ? b : size - a;
    struct view part[3] = {view_of(data, a), view_of(data + a, b),
                           view_of(data + a + b, size - a - b)};
    const uint8_t dims[3] = {n, (uint8_t)(flags >> 4), 2}, rows[2] = {n, 8};
    if (flags & 1)
        part[0] = view_of(whole[0], with_header(whole[0], 8, dims, 3, part[0]));
    if (flags & 2)
        part[1] = view_of(whole[1], with_header(whole[1], 8, dims, 1, part[1]));
    if (flags & 4)
        part[2] = view_of(whole[2], with_header(whole[2], 12, rows, 2, part[2]));
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct dataset d;
    if (dataset_parse_idx(part[0], "images", part[1], "labels", &d, &err) != SOTTO_OK)
        return 0;
    if (dataset_parse_qmnist(&d, part[2], "rows", &err) == SOTTO_OK)
        for (uint32_t i = 0; i < d.count; i++)
            if (d.keys[i] >= d.key_count || d.labels[i] < 0 || d.labels[i] > 9)
                __builtin_trap();
    dataset_deinit(&d);
    return 0;
}
