/* Feature skew: the same examples under more noise from client to client. */
#include <string.h>

#include "experiment.h"

#define SALT 0xd1b54a32d192ed03u /* apart from the partition's own draws */

/* d as f32, as the model takes its values. */
static enum sotto_status to_f32(struct dataset *d, struct sotto_error *err) {
    const uint32_t values = data_schema_count(&d->schema);
    const float scale = d->schema.scale, shift = d->schema.shift;
    const size_t all = (size_t)d->count * values;
    if (d->count == 0)
        return SOTTO_OK;
    size_t bytes;
    if (!num_mul_size(all, sizeof(float), &bytes) || bytes > DATASET_BYTES_MAX)
        return SOTTO_FAIL(err, SOTTO_LIMIT,
                          "partition.noise: %u examples of %u values do not fit as f32", d->count,
                          values);
    float *x = mem_array(all, sizeof *x);
    if (!x)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for %u examples as f32", d->count);
    for (size_t i = 0; i < all; i++)
        x[i] = scale * (d->schema.dtype == DATA_U8 ? (float)((const uint8_t *)d->x)[i]
                                                   : ((const float *)d->x)[i]) +
               shift;
    mem_free(d->x);
    d->x = x;
    d->schema.dtype = DATA_F32;
    d->schema.scale = 1;
    d->schema.shift = 0;
    return SOTTO_OK;
}

enum sotto_status noise_apply(struct experiment *x, struct sotto_error *err) {
    struct dataset *const sets[] = {&x->train, &x->data.test, &x->data.validation, &x->data.pool};
    const uint32_t values = data_schema_count(&x->schema), clients = x->partition.client_count;
    const uint64_t seed =
        x->settings.partition_seed ? x->settings.partition_seed : x->settings.task.seed;
    if (x->settings.noise <= 0)
        return SOTTO_OK;
    for (size_t i = 0; i < ARRAY_LEN(sets); i++) {
        const enum sotto_status status = to_f32(sets[i], err);
        if (status != SOTTO_OK)
            return status;
    }
    x->schema = x->train.schema;
    for (uint32_t c = 1; c < clients; c++) {
        const double sd = x->settings.noise * c / (clients - 1);
        for (uint32_t i = x->partition.start[c]; i < x->partition.start[c + 1]; i++) {
            float *at = (float *)x->train.x + (size_t)x->partition.index[i] * values;
            struct rng r;
            rng_init(&r, seed ^ SALT, 0, x->partition.index[i], RNG_PARTITION);
            for (uint32_t k = 0; k < values; k++)
                at[k] += (float)(sd * rng_normal(&r));
        }
    }
    return SOTTO_OK;
}
