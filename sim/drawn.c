/* Drawn examples of any shape, for measurements without a data set: a pattern for each class under
 * noise, so that a model learns something. */
#include <string.h>

#include "experiment.h"

#define SALT 0x8cb92ba72f3d8dd7u
#define CELL 4 /* a pattern's squares have this side */

static uint8_t pattern(uint64_t seed, uint32_t class, uint32_t at) {
    struct rng r;
    rng_init(&r, seed ^ SALT, class, at, RNG_GENERATE);
    return (uint8_t)rng_u32(&r);
}

/* Half of each value is its class's pattern, half noise. */
static void draw_one(const struct data_schema *s, const uint8_t *patterns, uint32_t class,
                     struct rng *r, uint8_t *out) {
    const uint32_t values = data_schema_count(s);
    const uint8_t *mine = patterns + (size_t) class * values;
    for (uint32_t i = 0; i < values; i += 4) {
        const uint32_t word = rng_u32(r);
        for (uint32_t k = 0; k < 4 && i + k < values; k++)
            out[i + k] = (uint8_t)((mine[i + k] + (word >> 8 * k & 0xff)) / 2);
    }
}

enum sotto_status drawn_examples(const struct data_schema *s, uint64_t seed, uint32_t first,
                                 uint32_t count, struct dataset *out, struct sotto_error *err) {
    const uint32_t values = data_schema_count(s);
    const uint32_t width = s->rank > 1 ? s->dims[1] : values, depth = s->rank > 2 ? s->dims[2] : 1;
    size_t bytes;
    dataset_init(out);
    if (s->dtype != DATA_U8)
        return SOTTO_FAIL(err, SOTTO_CONFIG,
                          "data.name: drawn examples are u8, the model's are not");
    if (count == 0 || !num_mul_size(values, count, &bytes) || bytes > DATASET_BYTES_MAX)
        return SOTTO_FAIL(err, SOTTO_LIMIT, "data.name: %u drawn examples of %u bytes", count,
                          values);
    out->schema = *s;
    out->count = count;
    out->x = mem_alloc(bytes);
    out->labels = mem_array(count, sizeof *out->labels);
    uint8_t *patterns = mem_array((size_t)values * s->classes, 1);
    if (!out->x || !out->labels || !patterns) {
        mem_free(patterns);
        return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for %u drawn examples", count);
    }
    for (uint32_t c = 0; c < s->classes; c++)
        for (uint32_t i = 0; i < values; i++) {
            const uint32_t column = i / depth % width, row = i / depth / width;
            patterns[(size_t)c * values + i] =
                pattern(seed, c, (row / CELL * width + column / CELL) * depth + i % depth);
        }
    for (uint32_t i = 0; i < count; i++) {
        struct rng r;
        rng_init(&r, seed, first + i, 1, RNG_GENERATE);
        out->labels[i] = (int32_t)rng_below(&r, s->classes);
        draw_one(s, patterns, (uint32_t)out->labels[i], &r, (uint8_t *)out->x + (size_t)i * values);
    }
    mem_free(patterns);
    return SOTTO_OK;
}
