/* Schemas and data sets: what an example is, and the arrays that hold them. */
#include "data_private.h"

#include <stdio.h>
#include <string.h>

bool data_schema_equal(const struct data_schema *a, const struct data_schema *b) {
    if (a->dtype != b->dtype || a->rank != b->rank || a->rank > 3 || a->classes != b->classes ||
        memcmp(&a->scale, &b->scale, sizeof a->scale) != 0 ||
        memcmp(&a->shift, &b->shift, sizeof a->shift) != 0)
        return false;
    for (uint32_t i = 0; i < a->rank; i++)
        if (a->dims[i] != b->dims[i])
            return false;
    return true;
}

char *data_schema_text(const struct data_schema *s, char *out, size_t cap) {
    int n = snprintf(out, cap, "%s ", s->dtype == DATA_U8 ? "u8" : "f32");
    for (uint32_t i = 0; i < s->rank && i < 3 && n >= 0 && (size_t)n < cap; i++)
        n += snprintf(out + n, cap - (size_t)n, "%s%u", i ? "x" : "", s->dims[i]);
    if (n >= 0 && (size_t)n < cap)
        snprintf(out + n, cap - (size_t)n, ", %u class%s", s->classes, s->classes == 1 ? "" : "es");
    return out;
}

uint32_t data_schema_count(const struct data_schema *s) {
    uint32_t n = 1;
    for (uint32_t i = 0; i < s->rank && i < 3; i++)
        if (__builtin_mul_overflow(n, s->dims[i], &n))
            return 0;
    return s->rank ? n : 0;
}

size_t data_schema_example_bytes(const struct data_schema *s) {
    return (size_t)data_schema_count(s) * (s->dtype == DATA_U8 ? sizeof(uint8_t) : sizeof(float));
}

void dataset_init(struct dataset *d) {
    memset(d, 0, sizeof *d);
}

void dataset_deinit(struct dataset *d) {
    mem_free(d->x);
    mem_free(d->labels);
    mem_free(d->keys);
    memset(d, 0, sizeof *d);
}

const void *dataset_example(const struct dataset *d, uint32_t i) {
    return (const uint8_t *)d->x + (size_t)i * data_schema_example_bytes(&d->schema);
}

struct examples dataset_examples(const struct dataset *d) {
    return (struct examples){
        .schema = &d->schema, .x = d->x, .labels = d->labels, .index = NULL, .count = d->count};
}

const char *data_shown(const char *path) {
    size_t n = strlen(path);
    return n > DATA_NAME_SHOWN_MAX ? path + n - DATA_NAME_SHOWN_MAX : path;
}

enum sotto_status dataset_alloc(struct dataset *d, const struct data_schema *schema, size_t count,
                                const char *name, struct sotto_error *err) {
    dataset_init(d);
    size_t bytes, all;
    size_t each = data_schema_example_bytes(schema);
    if (each == 0 || count == 0)
        return SOTTO_FAIL(err, SOTTO_INVALID, "%s: holds no examples", data_shown(name));
    if (count > UINT32_MAX || !num_mul_size(count, each, &bytes) ||
        !num_add_size(bytes, count * sizeof *d->labels, &all) || all > DATASET_BYTES_MAX)
        return SOTTO_FAIL(err, SOTTO_LIMIT,
                          "%s: %zu examples of %zu bytes are more than the limit of %zu bytes",
                          data_shown(name), count, each, DATASET_BYTES_MAX);
    d->schema = *schema;
    d->count = (uint32_t)count;
    d->x = mem_alloc(bytes);
    d->labels = mem_alloc(count * sizeof *d->labels);
    if (!d->x || !d->labels) {
        dataset_deinit(d);
        return SOTTO_FAIL(err, SOTTO_NOMEM, "%s: no memory for %zu examples of %zu bytes",
                          data_shown(name), count, each);
    }
    memset(d->labels, 0xff, count * sizeof *d->labels);
    return SOTTO_OK;
}
