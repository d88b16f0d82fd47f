/* Fuzz target: CSV tables from hostile bytes. */
#include <stddef.h>
#include <stdint.h>

#include "data/data_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct dataset d;
    if (dataset_parse_csv(view_of(data, size), "table.csv", &d, &err) != SOTTO_OK)
        return 0;
    if (!vec_all_finite_f32(d.x, (size_t)d.count * data_schema_count(&d.schema)))
        __builtin_trap();
    for (uint32_t i = 0; i < d.count; i++)
        if (d.labels[i] < 0 || (uint32_t)d.labels[i] >= d.schema.classes)
            __builtin_trap();
    dataset_deinit(&d);
    return 0;
}
