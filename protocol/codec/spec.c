/* What the terms fix about an update: the checks of a pipeline, the overflow proof, parts and
 * pieces, sizes. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "codec_int.h"
#include "sotto/protocol/codec.h"

static enum sotto_status check_pipeline(const struct codec_pipeline *p, struct sotto_error *err) {
    if (!isfinite(p->clip_norm) || p->clip_norm < 0.0f)
        return SOTTO_FAIL(err, SOTTO_INVALID, "clip_norm must be finite and >= 0 (0: none)");
    if (!isfinite(p->clip_inf) || p->clip_inf <= 0.0f)
        return SOTTO_FAIL(err, SOTTO_INVALID, "clip_inf must be finite and > 0");
    if (!(p->keep > 0.0f && p->keep <= 1.0f))
        return SOTTO_FAIL(err, SOTTO_INVALID, "keep must be in (0, 1], it is %g", (double)p->keep);
    if (p->bits != 32 && (p->bits < 2 || p->bits > 16))
        return SOTTO_FAIL(err, SOTTO_INVALID, "bits must be 2 to 16, or 32 for fp32, it is %u",
                          p->bits);
    if (p->fraction_bits < 8 || p->fraction_bits > 40)
        return SOTTO_FAIL(err, SOTTO_INVALID, "fraction_bits must be 8 to 40, it is %u",
                          p->fraction_bits);
    return SOTTO_OK;
}

/* A range is what makes a pipeline one of masks. */
static enum sotto_status check_common(const struct codec_pipeline *p, struct sotto_error *err) {
    if (!isfinite(p->range) || p->range < 0.0f)
        return SOTTO_FAIL(err, SOTTO_INVALID, "range must be finite and >= 0 (0: no masks)");
    if (p->range <= 0.0f) {
        if (p->support != CODEC_SUPPORT_OWN || p->rotate_log2 != 0)
            return SOTTO_FAIL(err, SOTTO_INVALID,
                              "a common support and rotation are of updates under masks, which "
                              "need a range above 0");
        return SOTTO_OK;
    }
    if (p->bits > 16)
        return SOTTO_FAIL(err, SOTTO_INVALID,
                          "updates under masks are levels of 2 to 16 bits, not fp32");
    if (p->clip_norm <= 0.0f)
        return SOTTO_FAIL(
            err, SOTTO_INVALID,
            "updates under masks need a clip_norm above 0: nobody else can bound them");
    if (p->support != CODEC_SUPPORT_OWN && p->support != CODEC_SUPPORT_ROUND &&
        p->support != CODEC_SUPPORT_PUBLISHED)
        return SOTTO_FAIL(err, SOTTO_INVALID, "support %d is not known", (int)p->support);
    if (p->keep < 1.0f && p->support == CODEC_SUPPORT_OWN)
        return SOTTO_FAIL(err, SOTTO_INVALID,
                          "devices that each keep their own coordinates do not sum under masks; "
                          "use a support drawn for the round or a published one, or keep 1");
    if (p->rotate_log2 != 0 && (p->rotate_log2 < 3 || p->rotate_log2 > 15))
        return SOTTO_FAIL(err, SOTTO_INVALID, "rotation in blocks of 2^3 to 2^15, not 2^%u",
                          p->rotate_log2);
    return SOTTO_OK;
}

static enum sotto_status check_sections(const struct codec_spec *spec, struct sotto_error *err) {
    if (spec->section_count > CODEC_SECTIONS_MAX)
        return SOTTO_FAIL(err, SOTTO_INVALID, "update has %" PRIu32 " sections, limit is %d",
                          spec->section_count, CODEC_SECTIONS_MAX);
    for (uint32_t s = 0; s < spec->section_count; s++) {
        const struct codec_section *section = &spec->sections[s];
        if (memchr(section->name, '\0', sizeof section->name) == NULL)
            return SOTTO_FAIL(err, SOTTO_INVALID, "section %" PRIu32 " has a name without an end",
                              s);
        if (section->layout == NULL || section->layout->total == 0)
            return SOTTO_FAIL(err, SOTTO_INVALID, "section %" PRIu32 " has no coordinates", s);
        if (section->layout->total > LAYOUT_TOTAL_MAX ||
            section->layout->segment_count > LAYOUT_SEGMENTS_MAX)
            return SOTTO_FAIL(err, SOTTO_INVALID, "section %" PRIu32 " has too large a layout", s);
    }
    return SOTTO_OK;
}

/* A published mask names half of what is kept, at least floor(k / 2) are drawn: of n coordinates
 * each stands for at most n / floor(k / 2) <= 3 n / k. */
double codec_gain_max(const struct codec_spec *spec) {
    const struct codec_pipeline *p = &spec->pipeline;
    double most = 1.0;
    if (p->error_feedback || p->support == CODEC_SUPPORT_OWN)
        return 1.0;
    for (uint32_t s = 0; s < spec->section_count; s++)
        for (uint32_t i = 0; i < spec->sections[s].layout->segment_count; i++) {
            const struct layout_segment *segment = &spec->sections[s].layout->segments[i];
            most = fmax(most, (double)segment->count / codec_keep_count(p, segment));
        }
    return p->support == CODEC_SUPPORT_PUBLISHED && most > 1.0 ? 3.0 * most : most;
}

/* Under masks a coordinate of m rotated levels within range is at most sqrt(m) * range, whatever a
 * device sends, times what a drawn one stands for. Below 2^62: the products are rounded doubles. */
static enum sotto_status check_masked_sums(const struct codec_spec *spec, struct sotto_error *err) {
    const struct codec_pipeline *p = &spec->pipeline;
    const double most =
        ldexp((double)p->range, (int)(p->rotate_log2 + 1) / 2) * codec_gain_max(spec);
    const double updates = (double)spec->accept_max * (double)spec->weight_max;
    if (updates * (ldexp(most, (int)p->fraction_bits) + 2.0) < 0x1p62)
        return SOTTO_OK;
    unsigned fits = p->fraction_bits;
    while (fits > 0 && updates * (ldexp(most, (int)fits) + 2.0) >= 0x1p62)
        fits--;
    return SOTTO_FAIL(
        err, SOTTO_INVALID,
        "sums could overflow: %" PRIu32 " updates of weight %" PRIu32
        " and range %g with %u fraction bits pass 2^62; lower fraction_bits to %u, or "
        "weight_max, or clip_norm",
        spec->accept_max, spec->weight_max, (double)p->range, p->fraction_bits, fits);
}

/* accept_max * weight_max * (ceil(clip_inf * 2^F) + 1) < 2^63: no sum of accepted updates can wrap.
 */
static enum sotto_status check_sums(const struct codec_spec *spec, struct sotto_error *err) {
    const struct codec_pipeline *p = &spec->pipeline;
    const double fixed = ceil(ldexp((double)p->clip_inf, (int)p->fraction_bits)) + 1.0;
    if (fixed > (double)CODEC_FIXED_MAX)
        return SOTTO_FAIL(err, SOTTO_INVALID,
                          "a coordinate of clip_inf %g with %u fraction bits needs more than 50 "
                          "bits; lower clip_inf or fraction_bits",
                          (double)p->clip_inf, p->fraction_bits);
    const uint64_t updates = (uint64_t)spec->accept_max * spec->weight_max; /* <= 2^40 */
    const uint64_t most = (uint64_t)fixed;
    uint64_t sum;
    if (!__builtin_mul_overflow(updates, most, &sum) && sum <= (uint64_t)INT64_MAX)
        return SOTTO_OK;
    const uint64_t weight_fits = (uint64_t)INT64_MAX / most / spec->accept_max;
    unsigned fraction_fits = p->fraction_bits;
    while (fraction_fits > 0 &&
           (double)updates * (ldexp((double)p->clip_inf, (int)fraction_fits) + 2.0) >= 0x1p63)
        fraction_fits--;
    return SOTTO_FAIL(
        err, SOTTO_INVALID,
        "sums could overflow: %" PRIu32 " updates of weight %" PRIu32
        " and clip_inf %g with %u fraction bits pass 2^63; lower weight_max to %" PRIu64
        ", or fraction_bits to %u, or clip_inf",
        spec->accept_max, spec->weight_max, (double)p->clip_inf, p->fraction_bits, weight_fits,
        fraction_fits);
}

enum sotto_status codec_spec_check(const struct codec_spec *spec, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    TRY(check_pipeline(&spec->pipeline, err));
    TRY(check_common(&spec->pipeline, err));
    TRY(check_sections(spec, err));
    if (spec->weight_max < 1 || spec->weight_max > CODEC_WEIGHT_MAX_LIMIT)
        TRY_FAIL(err, SOTTO_INVALID, "weight_max must be 1 to %u, it is %" PRIu32,
                 CODEC_WEIGHT_MAX_LIMIT, spec->weight_max);
    if (spec->accept_max < 1 || spec->accept_max > CODEC_ACCEPT_MAX_LIMIT)
        TRY_FAIL(err, SOTTO_INVALID, "accepted updates must be 1 to %u, they are %" PRIu32,
                 CODEC_ACCEPT_MAX_LIMIT, spec->accept_max);
    TRY(spec->pipeline.range > 0.0f ? check_masked_sums(spec, err) : check_sums(spec, err));
    if (codec_bytes_max(spec) > UINT32_MAX)
        TRY_FAIL(err, SOTTO_INVALID, "a coded update could pass 4 GiB; lower keep or bits");
out:
    return status;
}

static uint32_t blocks_of(const struct codec_section *section) {
    return (section->layout->total + CODEC_BLOCK - 1) / CODEC_BLOCK;
}

uint32_t codec_block_count(const struct codec_spec *spec) {
    uint32_t n = 0;
    for (uint32_t s = 0; s < spec->section_count; s++)
        n += blocks_of(&spec->sections[s]);
    return n;
}

uint32_t codec_segment_total(const struct codec_spec *spec) {
    uint32_t n = 0;
    for (uint32_t s = 0; s < spec->section_count; s++)
        n += spec->sections[s].layout->segment_count;
    return n;
}

uint32_t codec_keep_count(const struct codec_pipeline *pipeline,
                          const struct layout_segment *segment) {
    if (segment->kind != LAYOUT_WEIGHT || pipeline->keep >= 1.0f)
        return segment->count;
    const double k = floor((double)pipeline->keep * (double)segment->count + 0.5);
    return k < 1.0 ? 1u : k > (double)segment->count ? segment->count : (uint32_t)k;
}

bool codec_place_of(const struct codec_spec *spec, uint32_t part_index, struct codec_place *out) {
    if (part_index == 0)
        return false;
    uint32_t block = part_index - 1;
    uint32_t base = 0;
    for (uint32_t s = 0; s < spec->section_count; s++) {
        const struct layout *layout = spec->sections[s].layout;
        const uint32_t blocks = blocks_of(&spec->sections[s]);
        if (block < blocks) {
            const uint32_t begin = block * CODEC_BLOCK;
            const uint32_t left = layout->total - begin;
            *out = (struct codec_place){
                .section = s,
                .begin = begin,
                .end = begin + (left < CODEC_BLOCK ? left : CODEC_BLOCK),
                .segment = (uint32_t)(layout_find(layout, begin) - layout->segments),
                .segments_base = base};
            return true;
        }
        block -= blocks;
        base += layout->segment_count;
    }
    return false;
}

bool codec_piece_of(const struct codec_spec *spec, const struct codec_place *place,
                    uint32_t segment, struct codec_piece *out) {
    const struct layout *layout = spec->sections[place->section].layout;
    if (segment >= layout->segment_count)
        return false;
    const struct layout_segment *s = &layout->segments[segment];
    if (s->offset >= place->end)
        return false;
    const uint32_t begin = s->offset > place->begin ? s->offset : place->begin;
    const uint32_t segment_end = s->offset + s->count;
    const uint32_t count = (segment_end < place->end ? segment_end : place->end) - begin;
    const uint32_t keep = codec_keep_count(&spec->pipeline, s);
    *out = (struct codec_piece){.segment = s,
                                .index = place->segments_base + segment,
                                .begin = begin,
                                .count = count,
                                .keep = keep,
                                .expected = (uint32_t)((uint64_t)keep * count / s->count),
                                .dense = keep == s->count};
    return true;
}

/* The most bytes of one segment's pieces. The encoder takes each piece's cheapest parameter, so one
 * parameter for the whole segment bounds the sum; b bits and a stop a kept value, and quotients
 * that sum to at most count >> b. */
static uint64_t segment_bytes_max(const struct codec_spec *spec, const struct layout_segment *s) {
    const uint64_t k = codec_keep_count(&spec->pipeline, s);
    const uint64_t pieces = s->count / CODEC_BLOCK + 2;
    const uint64_t values = (k * spec->pipeline.bits + 7) / 8;
    if (k == s->count)
        return values + pieces;
    uint64_t gaps = UINT64_MAX;
    for (unsigned b = 0; b <= CODEC_RICE_MAX; b++)
        gaps = num_min_u64(gaps, k * (b + 1) + (s->count >> b));
    return values + (gaps + 7) / 8 + pieces * 6; /* count (3), parameter, two paddings */
}

size_t codec_bytes_max(const struct codec_spec *spec) {
    uint64_t bytes = 64; /* the head without scales */
    for (uint32_t s = 0; s < spec->section_count; s++) {
        const struct layout *layout = spec->sections[s].layout;
        for (uint32_t i = 0; i < layout->segment_count; i++)
            bytes += 4 + segment_bytes_max(spec, &layout->segments[i]);
    }
    return (size_t)bytes;
}
