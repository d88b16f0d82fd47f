/* Exact sums: updates added in fixed point, merged, averaged, saved. */
#include <inttypes.h>
#include <math.h>
#include <sodium.h>
#include <string.h>

#include "codec_int.h"

#define SUMS_MAGIC   0x4d555353u /* "SSUM" */
#define SUMS_VERSION 2u
#define SUMS_HASH    32u

void accumulator_deinit(struct accumulator *a) {
    for (uint32_t s = 0; s < CODEC_SECTIONS_MAX; s++)
        mem_free(a->sums[s]);
    *a = (struct accumulator){0};
}

enum sotto_status accumulator_init(struct accumulator *a, const struct codec_spec *spec,
                                   struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    *a = (struct accumulator){0};
    TRY(codec_spec_check(spec, err));
    a->section_count = spec->section_count;
    a->accept_max = spec->accept_max;
    a->fraction_bits = spec->pipeline.fraction_bits;
    for (uint32_t s = 0; s < spec->section_count; s++) {
        a->counts[s] = spec->sections[s].layout->total;
        a->sums[s] = mem_array(a->counts[s], sizeof *a->sums[s]);
        if (a->sums[s] == NULL)
            TRY_FAIL(err, SOTTO_NOMEM, "no memory for sums of %" PRIu32 " coordinates",
                     a->counts[s]);
    }
out:
    if (status != SOTTO_OK)
        accumulator_deinit(a);
    return status;
}

void accumulator_clear(struct accumulator *a) {
    for (uint32_t s = 0; s < a->section_count; s++)
        memset(a->sums[s], 0, (size_t)a->counts[s] * sizeof *a->sums[s]);
    memset(a->scalars, 0, sizeof a->scalars);
    a->updates = 0;
}

struct add {
    int64_t *sums;
    unsigned fraction_bits;
    uint32_t weight;
};

static void add_run(void *ctx, uint32_t first, const float *values, uint32_t n) {
    const struct add *add = ctx;
    codec_fixed_add_run(add->sums + first, values, n, add->fraction_bits, add->weight);
}

static void add_scatter(void *ctx, const uint32_t *coordinates, const float *values, uint32_t n) {
    const struct add *add = ctx;
    codec_fixed_add_scatter(add->sums, coordinates, values, n, add->fraction_bits, add->weight);
}

enum sotto_status accumulator_add_part(struct accumulator *a, const struct codec_spec *spec,
                                       const struct codec_head *head, uint32_t part_index,
                                       struct view part, struct sotto_error *err) {
    struct codec_place place = {0};
    if (!codec_place_of(spec, part_index, &place))
        return SOTTO_FAIL(err, SOTTO_INVALID, "an update of this task has no part %" PRIu32,
                          part_index);
    struct add add = {
        .sums = a->sums[place.section], .fraction_bits = a->fraction_bits, .weight = head->weight};
    const struct codec_visitor visitor = {.ctx = &add, .run = add_run, .scatter = add_scatter};
    return codec_walk(spec, head, part_index, part, &visitor, err);
}

enum sotto_status accumulator_add_head(struct accumulator *a, const struct codec_spec *spec,
                                       const struct codec_head *head) {
    (void)spec;
    if (a->updates >= a->accept_max)
        return SOTTO_LIMIT;
    for (int i = 0; i < CODEC_SCALARS; i++)
        a->scalars[i] += codec_scalar_whole(i, head->scalars[i]);
    a->updates++;
    return SOTTO_OK;
}

static bool same_shape(const struct accumulator *a, const struct accumulator *b) {
    return a->section_count == b->section_count && a->fraction_bits == b->fraction_bits &&
           memcmp(a->counts, b->counts, sizeof a->counts) == 0;
}

enum sotto_status accumulator_merge(struct accumulator *a, const struct accumulator *b,
                                    struct sotto_error *err) {
    if (!same_shape(a, b))
        return SOTTO_FAIL(err, SOTTO_INVALID, "sums of different shapes do not add");
    if ((uint64_t)a->updates + b->updates > a->accept_max)
        return SOTTO_FAIL(err, SOTTO_LIMIT,
                          "sums of %" PRIu32 " and %" PRIu32 " updates pass the limit of %" PRIu32,
                          a->updates, b->updates, a->accept_max);
    for (uint32_t s = 0; s < a->section_count; s++)
        for (uint32_t i = 0; i < a->counts[s]; i++)
            a->sums[s][i] = (int64_t)((uint64_t)a->sums[s][i] + (uint64_t)b->sums[s][i]);
    for (int i = 0; i < CODEC_SCALARS; i++)
        a->scalars[i] += b->scalars[i];
    a->updates += b->updates;
    return SOTTO_OK;
}

enum sotto_status accumulator_mean(const struct accumulator *a, const struct codec_spec *spec,
                                   uint32_t section, float *out, struct sotto_error *err) {
    (void)spec;
    if (section >= a->section_count)
        return SOTTO_FAIL(err, SOTTO_INVALID, "sums have no section %" PRIu32, section);
    if (a->scalars[CODEC_WEIGHT] <= 0)
        return SOTTO_FAIL(err, SOTTO_INVALID, "sums without weight have no mean");
    const double unit = ldexp(1.0, -(int)a->fraction_bits);
    const double weight = (double)a->scalars[CODEC_WEIGHT];
    for (uint32_t i = 0; i < a->counts[section]; i++)
        out[i] = (float)((double)a->sums[section][i] * unit / weight);
    return SOTTO_OK;
}

double accumulator_scalar(const struct accumulator *a, enum codec_scalar s) {
    return ldexp((double)a->scalars[s], -(int)codec_scalar_forms[s].fraction_bits);
}

size_t accumulator_save_bytes(const struct accumulator *a) {
    size_t n = 4 + 1 + 1 + 1 + CODEC_SECTIONS_MAX * 4 + 4 + CODEC_SCALARS * 8 + SUMS_HASH;
    for (uint32_t s = 0; s < a->section_count; s++)
        n += (size_t)a->counts[s] * sizeof *a->sums[s];
    return n;
}

void accumulator_save(const struct accumulator *a, struct buf *out) {
    const size_t start = out->len;
    buf_put_u32(out, SUMS_MAGIC);
    buf_put_u8(out, SUMS_VERSION);
    buf_put_u8(out, (uint8_t)a->section_count);
    buf_put_u8(out, (uint8_t)a->fraction_bits);
    for (int s = 0; s < CODEC_SECTIONS_MAX; s++)
        buf_put_u32(out, a->counts[s]);
    buf_put_u32(out, a->updates);
    for (int i = 0; i < CODEC_SCALARS; i++)
        buf_put_u64(out, (uint64_t)a->scalars[i]);
    for (uint32_t s = 0; s < a->section_count; s++)
        for (uint32_t i = 0; i < a->counts[s]; i++)
            buf_put_u64(out, (uint64_t)a->sums[s][i]);
    uint8_t hash[SUMS_HASH];
    if (out->status != SOTTO_OK)
        return;
    crypto_generichash(hash, sizeof hash, out->data + start, out->len - start, NULL, 0);
    buf_put(out, hash, sizeof hash);
}

/* The shape and the number of updates, as saved. */
static void load_header(const struct accumulator *a, struct reader *r, uint32_t *updates) {
    if (reader_u32(r, "magic") != SUMS_MAGIC)
        reader_fail(r, SOTTO_CORRUPT, "magic");
    if (reader_u8(r, "version") != SUMS_VERSION)
        reader_fail(r, SOTTO_VERSION, "version");
    if (reader_u8(r, "sections") != a->section_count)
        reader_fail(r, SOTTO_CORRUPT, "sections");
    if (reader_u8(r, "fraction bits") != a->fraction_bits)
        reader_fail(r, SOTTO_CORRUPT, "fraction bits");
    for (int s = 0; s < CODEC_SECTIONS_MAX; s++)
        if (reader_u32(r, "coordinates") != a->counts[s])
            reader_fail(r, SOTTO_CORRUPT, "coordinates");
    *updates = reader_u32(r, "updates");
    if (*updates > a->accept_max)
        reader_fail(r, SOTTO_LIMIT, "updates");
}

enum sotto_status accumulator_load(struct accumulator *a, struct view bytes,
                                   struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct reader r;
    uint32_t updates;
    uint8_t hash[SUMS_HASH];
    if (bytes.n != accumulator_save_bytes(a))
        TRY_FAIL(err, SOTTO_CORRUPT, "saved sums have %zu bytes instead of %zu", bytes.n,
                 accumulator_save_bytes(a));
    const size_t body = bytes.n - SUMS_HASH;
    crypto_generichash(hash, sizeof hash, bytes.p, body, NULL, 0);
    if (memcmp(hash, bytes.p + body, SUMS_HASH) != 0)
        TRY_FAIL(err, SOTTO_CORRUPT, "saved sums do not match their checksum");
    reader_init(&r, view_of(bytes.p, body));
    load_header(a, &r, &updates);
    TRY(reader_finish(&r, false, "saved sums", err));
    for (int i = 0; i < CODEC_SCALARS; i++) {
        const uint64_t sum = reader_u64(&r, "scalar");
        if (sum >
            updates * codec_scalar_forms[i].most) /* later additions rely on it not to overflow */
            TRY_FAIL(err, SOTTO_CORRUPT, "saved sums hold a scalar that %u updates cannot give",
                     updates);
        a->scalars[i] = (int64_t)sum;
    }
    for (uint32_t s = 0; s < a->section_count; s++)
        for (uint32_t i = 0; i < a->counts[s]; i++)
            a->sums[s][i] = (int64_t)reader_u64(&r, "sum");
    a->updates = updates;
out:
    return status;
}
