/* The sum of vectors back into exact sums, a piece of the vector at a time. */
#include <inttypes.h>
#include <math.h>

#include "masked_int.h"
#include "sotto/secagg.h"

static enum sotto_status check_call(const struct masked_plan *p, uint32_t members, uint64_t first,
                                    size_t count, const struct accumulator *a,
                                    struct sotto_error *err) {
    const uint64_t length = masked_length(p);
    if (members < 1 || members > p->members_max)
        return SOTTO_FAIL(err, SOTTO_INVALID,
                          "a sum of %" PRIu32 " members, 1 to %" PRIu32 " are possible", members,
                          p->members_max);
    if (first % MASKED_BLOCK != 0 || first >= length || count > length - first || count == 0 ||
        (count % MASKED_BLOCK != 0 && first + count != length))
        return SOTTO_FAIL(err, SOTTO_INVALID,
                          "coordinates %" PRIu64 " to %" PRIu64 " are no whole blocks of a vector "
                          "of %" PRIu64,
                          first, first + count, length);
    if (a->section_count != p->spec.section_count ||
        a->fraction_bits != p->spec.pipeline.fraction_bits)
        return SOTTO_FAIL(err, SOTTO_INVALID, "sums of another shape than the vector's");
    for (uint32_t s = 0; s < a->section_count; s++)
        if (a->counts[s] != p->spec.sections[s].layout->total)
            return SOTTO_FAIL(err, SOTTO_INVALID, "sums of another shape than the vector's");
    return SOTTO_OK;
}

/* Codes that members can have made sum to at most members * most. */
static enum sotto_status check_sums(const uint32_t *sum, size_t n, uint64_t first, uint32_t members,
                                    uint32_t most, struct sotto_error *err) {
    const uint32_t bound = members * most; /* below 2^ring_bits, so it fits */
    uint32_t largest = 0;
    for (size_t i = 0; i < n; i++)
        largest = sum[i] > largest ? sum[i] : largest;
    if (largest <= bound)
        return SOTTO_OK;
    return SOTTO_FAIL(err, SOTTO_CORRUPT,
                      "coordinates from %" PRIu64 " on sum to %" PRIu32 ", but %" PRIu32
                      " members cannot pass %" PRIu32,
                      first, largest, members, bound);
}

/* ---- Coordinates --------------------------------------------------------------------------- */

struct taker {
    const struct masked_plan *p;
    uint32_t members;
    struct accumulator *a;
    struct sotto_error *err;
    int64_t *wide; /* MASKED_BLOCK values, or as many halves */
    uint32_t signs[MASKED_BLOCK / 32];
};

/* What a level is worth in the sums: weight * value in fixed point. */
static double fixed_unit(const struct masked_plan *p, const struct masked_block *b) {
    return ldexp(masked_unit(p, b) * (double)p->spec.weight_max,
                 (int)p->spec.pipeline.fraction_bits);
}

/* One level, or what a transform has made of them, into the sums: the only rounding. */
static void add(struct taker *t, const struct masked_block *b, uint32_t i, double level,
                double unit) {
    const struct masked_plan *p = t->p;
    const uint32_t place = b->first + i;
    t->a->sums[b->section][masked_coordinate(p, b->section, place)] +=
        llrint(level * unit * masked_gain(p, b->section, place));
}

/* Levels of the block, turned back exactly, then one rounding a coordinate: where the pieces of the
 * vector are cut changes nothing. */
static void take_rotated(struct taker *t, const struct masked_block *b, const uint32_t *sum) {
    const int64_t offset = (int64_t)t->members * t->p->level_max;
    const double unit = fixed_unit(t->p, b);
    masked_signs(t->p, b, t->signs);
    if (offset * b->size <= INT32_MAX) {
        int32_t *x = (int32_t *)(void *)t->wide;
        for (uint32_t i = 0; i < b->size; i++)
            x[i] = (int32_t)((int64_t)sum[i] - offset);
        masked_fwht_i32(x, b->size);
        for (uint32_t i = 0; i < b->count; i++)
            add(t, b, i, (double)x[i], masked_negative(t->signs, i) ? -unit : unit);
        return;
    }
    for (uint32_t i = 0; i < b->size; i++)
        t->wide[i] = (int64_t)sum[i] - offset;
    masked_fwht_i64(t->wide, b->size);
    for (uint32_t i = 0; i < b->count; i++)
        add(t, b, i, (double)t->wide[i], masked_negative(t->signs, i) ? -unit : unit);
}

/* Coordinates [from, to) of the vector, all of them in the block. */
static void take_run(struct taker *t, const struct masked_block *b, uint64_t from, uint64_t to,
                     const uint32_t *sum) {
    const int64_t offset = (int64_t)t->members * t->p->level_max;
    const double unit = fixed_unit(t->p, b);
    for (uint64_t i = from; i < to; i++)
        add(t, b, (uint32_t)(i - b->at), (double)((int64_t)sum[i - from] - offset), unit);
}

/* The first block that ends behind coordinate first. */
static uint32_t find_block(const struct masked_plan *p, uint64_t first) {
    uint32_t low = 0, high = p->block_count;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (p->blocks[middle].at + p->blocks[middle].size <= first)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static enum sotto_status take_values(struct taker *t, uint64_t first, const uint32_t *sum,
                                     uint64_t end) {
    const struct masked_plan *p = t->p;
    const enum sotto_status status = check_sums(sum, (size_t)(end - first), first, t->members,
                                                2u * (uint32_t)p->level_max, t->err);
    if (status != SOTTO_OK)
        return status;
    t->wide = mem_array(MASKED_BLOCK, sizeof *t->wide);
    if (t->wide == NULL)
        return SOTTO_FAIL(t->err, SOTTO_NOMEM, "no memory to decode a sum");
    for (uint32_t i = find_block(p, first); i < p->block_count && p->blocks[i].at < end; i++) {
        const struct masked_block *b = &p->blocks[i];
        const uint64_t from = num_max_u64(first, b->at);
        const uint64_t to = num_min_u64(end, b->at + b->size);
        if (masked_rotates(p)) /* whole: MASKED_BLOCK is a multiple of its size, and so is at */
            take_rotated(t, b, sum + (b->at - first));
        else
            take_run(t, b, from, to, sum + (from - first));
    }
    mem_free(t->wide);
    return SOTTO_OK;
}

/* ---- Scalars ------------------------------------------------------------------------------- */

/* Limbs [first, end) of all limbs. */
static void take_limbs(const struct masked_plan *p, uint64_t first, uint64_t end,
                       const uint32_t *sum, struct accumulator *a) {
    uint64_t at = 0;
    for (int i = 0; i < CODEC_SCALARS; i++)
        for (uint32_t j = 0; j < p->limbs[i]; j++, at++)
            if (at >= first && at < end)
                a->scalars[i] = (int64_t)((uint64_t)a->scalars[i] +
                                          ((uint64_t)sum[at - first] << (j * p->limb_bits)));
}

enum sotto_status masked_sum_take(const struct masked_plan *p, uint32_t members, uint64_t first,
                                  const uint32_t *sum, size_t count, struct accumulator *a,
                                  struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct taker t = {.p = p, .members = members, .a = a, .err = err};
    TRY(check_call(p, members, first, count, a, err));
    const uint64_t end = first + count;
    const uint64_t values_end = num_min_u64(end, p->limbs_at);
    const uint64_t limbs_from = num_max_u64(first, p->limbs_at);
    if (end > limbs_from)
        TRY(check_sums(sum + (limbs_from - first), (size_t)(end - limbs_from), limbs_from, members,
                       (1u << p->limb_bits) - 1u, err));
    if (first < values_end)
        TRY(take_values(&t, first, sum, values_end));
    if (end > limbs_from)
        take_limbs(p, limbs_from - p->limbs_at, end - p->limbs_at, sum + (limbs_from - first), a);
out:
    return status;
}

enum sotto_status masked_sum_finish(const struct masked_plan *p, uint32_t members,
                                    struct accumulator *a, struct sotto_error *err) {
    if (members > a->accept_max)
        return SOTTO_FAIL(err, SOTTO_LIMIT,
                          "sums of %" PRIu32 " updates pass the limit of %" PRIu32, members,
                          a->accept_max);
    for (int i = 0; i < CODEC_SCALARS; i++) {
        const uint64_t most = members * masked_scalar_most(p, i);
        const uint64_t least = i == CODEC_WEIGHT ? members : 0;
        const uint64_t sum = (uint64_t)a->scalars[i];
        if (sum < least || sum > most)
            return SOTTO_FAIL(err, SOTTO_CORRUPT,
                              "the %s of %" PRIu32 " members sums to %" PRIu64
                              " of at most %" PRIu64,
                              codec_scalar_forms[i].name, members, sum, most);
    }
    a->updates = members;
    return SOTTO_OK;
}
