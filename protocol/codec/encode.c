/* The device's half: raw update and residual into a coded update. Stages in order, each a function.
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "codec_int.h"
#include "sotto/privacy.h"

struct encoder {
    const struct codec_spec *spec;
    struct codec_input *in;
    struct rng *rng;
    struct codec_update *out;
    struct sotto_error *err;
    uint32_t *codes;     /* of one piece */
    uint32_t *positions; /* of one piece, counted from its begin */
    float *scales;       /* per segment of all sections */
    struct codec_selection *selections;
    size_t scales_at; /* offset in the head */
};

void codec_update_init(struct codec_update *u) {
    *u = (struct codec_update){0};
    buf_init(&u->bytes, 0);
}

void codec_update_deinit(struct codec_update *u) {
    buf_deinit(&u->bytes);
    mem_free(u->ends);
    *u = (struct codec_update){0};
}

struct view codec_update_part(const struct codec_update *u, uint32_t part) {
    if (part >= u->part_count)
        return view_of(NULL, 0);
    const uint32_t begin = part == 0 ? 0 : u->ends[part - 1];
    return view_of(u->bytes.data + begin, u->ends[part] - begin);
}

/* ---- Stage: what comes in ------------------------------------------------------------------ */

enum sotto_status codec_input_check(const struct codec_spec *spec, const struct codec_input *in,
                                    struct sotto_error *err) {
    for (int i = 0; i < CODEC_SCALARS; i++) {
        const struct codec_scalar_form *form = &codec_scalar_forms[i];
        const double v = in->scalars[i];
        const double most = i == CODEC_WEIGHT
                                ? (double)spec->weight_max
                                : ldexp((double)form->most, -(int)form->fraction_bits);
        const double least = i == CODEC_WEIGHT ? 1.0 : 0.0;
        const bool whole = form->fraction_bits == 0;
        if (!(v >= least && v <= most) || (whole && v != floor(v)))
            return SOTTO_FAIL(err, SOTTO_INVALID, "%s %g of an update; allowed: %s%g to %g",
                              form->name, v, whole ? "whole numbers, " : "", least, most);
    }
    for (uint32_t s = 0; s < spec->section_count; s++) {
        const uint32_t n = spec->sections[s].layout->total;
        if (!vec_all_finite_f32(in->values[s], n))
            return SOTTO_FAIL(err, SOTTO_INVALID, "section %s has values that are not finite",
                              spec->sections[s].name);
        if (spec->pipeline.error_feedback && in->residual[s] != NULL &&
            !vec_all_finite_f32(in->residual[s], n))
            return SOTTO_FAIL(err, SOTTO_INVALID, "the residual of section %s is not finite",
                              spec->sections[s].name);
    }
    return SOTTO_OK;
}

/* ---- Stage: residual and clipping ---------------------------------------------------------- */

/* values = clip(values + residual); the residual's place keeps the clipped values until the end. */
enum sotto_status codec_input_clip(const struct codec_spec *spec, struct codec_input *in,
                                   struct sotto_error *err) {
    const struct codec_pipeline *p = &spec->pipeline;
    for (uint32_t s = 0; s < spec->section_count; s++) {
        float *values = in->values[s];
        float *residual = p->error_feedback ? in->residual[s] : NULL;
        const uint32_t n = spec->sections[s].layout->total;
        if (residual != NULL) {
            vec_add_f32(values, values, residual, n);
            if (!vec_all_finite_f32(values, n))
                return SOTTO_FAIL(err, SOTTO_INVALID,
                                  "section %s overflows with its residual; drop the residual",
                                  spec->sections[s].name);
        }
        if (s == 0 || spec->pipeline.range > 0.0f) /* one range for all under masks */
            privacy_clip_norm(values, n, (double)p->clip_norm);
        privacy_clamp(values, n, p->clip_inf);
        if (residual != NULL)
            memcpy(residual, values, (size_t)n * sizeof *values);
    }
    return SOTTO_OK;
}

/* residual = clipped - decoded. */
void codec_input_residuals(const struct codec_spec *spec, struct codec_input *in) {
    for (uint32_t s = 0; s < spec->section_count; s++)
        if (spec->pipeline.error_feedback && in->residual[s] != NULL)
            vec_sub_f32(in->residual[s], in->residual[s], in->values[s],
                        spec->sections[s].layout->total);
}

/* ---- Stage: pruning ------------------------------------------------------------------------ */

/* Of the values whose magnitude agrees with prefix above bit shift + width: how many have each of
 * the next width bits. */
static void histogram(uint32_t *counts, const float *x, uint32_t n, uint32_t prefix, unsigned shift,
                      unsigned width) {
    const uint32_t mask = (1u << width) - 1u;
    memset(counts, 0, ((size_t)mask + 1) * sizeof *counts);
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t m = codec_magnitude(x[i]) >> shift;
        if ((uint64_t)m >> width == prefix)
            counts[m & mask]++;
    }
}

/* The k-th largest magnitude by three histograms of 11, 10 and 10 bits: exact, the same whatever
 * the order of equals, no copy and no worst case, which quickselect has. */
struct codec_selection codec_select_top(const float *x, uint32_t n, uint32_t k) {
    static const unsigned widths[3] = {11, 10, 10};
    uint32_t counts[1u << 11];
    uint32_t prefix = 0, left = k;
    unsigned shift = 31;
    for (int pass = 0; pass < 3; pass++) {
        shift -= widths[pass];
        histogram(counts, x, n, prefix, shift, widths[pass]);
        uint32_t bin = (1u << widths[pass]) - 1u;
        for (; counts[bin] < left; bin--)
            left -= counts[bin];
        prefix = prefix << widths[pass] | bin;
    }
    return (struct codec_selection){.threshold = prefix, .ties = left};
}

/* ---- Stage: scale, round ------------------------------------------------------------------- */

/* The largest magnitude over the largest level, rounded so that no level passes clip_inf. */
static float scale_of(const struct codec_pipeline *p, float most) {
    const float level_max = (float)codec_level_max(p->bits);
    float scale = most / level_max;
    while (scale * level_max > p->clip_inf)
        scale = nextafterf(scale, 0.0f);
    return scale;
}

/* Levels of n <= CODEC_CHUNK values. */
static void round_chunk(struct encoder *e, int32_t *levels, const float *x, uint32_t n,
                        double inverse) {
    const int32_t level_max = codec_level_max(e->spec->pipeline.bits);
    uint32_t draws[CODEC_CHUNK];
    const bool stochastic = e->spec->pipeline.stochastic;
    if (stochastic)
        codec_draw(e->rng, draws, n);
    vec_round_levels(levels, x, stochastic ? draws : NULL, n, inverse, level_max);
}

/* Values become what the other side decodes, codes say so in bits. */
static void round_values(struct encoder *e, float *values, uint32_t *codes, uint32_t n,
                         float scale) {
    const unsigned bits = e->spec->pipeline.bits;
    if (bits == 32) {
        memcpy(codes, values, (size_t)n * sizeof *codes);
        return;
    }
    const uint32_t mask = (1u << bits) - 1u;
    const double inverse = scale > 0.0f ? 1.0 / (double)scale : 0.0;
    int32_t levels[CODEC_CHUNK];
    for (uint32_t done = 0, m; done < n; done += m) {
        m = n - done < CODEC_CHUNK ? n - done : CODEC_CHUNK;
        round_chunk(e, levels, values + done, m, inverse);
        for (uint32_t i = 0; i < m; i++) {
            codes[done + i] = (uint32_t)levels[i] & mask;
            values[done + i] = (float)levels[i] * scale;
        }
    }
}

/* The same for the values at the kept positions. */
static void round_kept(struct encoder *e, float *values, uint32_t kept, float scale) {
    float x[CODEC_CHUNK];
    for (uint32_t done = 0, m; done < kept; done += m) {
        const uint32_t *at = e->positions + done;
        m = kept - done < CODEC_CHUNK ? kept - done : CODEC_CHUNK;
        for (uint32_t i = 0; i < m; i++)
            x[i] = values[at[i]];
        round_values(e, x, e->codes + done, m, scale);
        for (uint32_t i = 0; i < m; i++)
            values[at[i]] = x[i];
    }
}

/* ---- Stage: code --------------------------------------------------------------------------- */

static void put_packed(struct encoder *e, uint32_t n) {
    const unsigned bits = e->spec->pipeline.bits;
    uint8_t *to = buf_grow(&e->out->bytes, codec_packed_bytes(n, bits));
    if (to != NULL)
        vec_pack_bits(to, e->codes, n, bits);
}

/* Positions of the kept values of a piece; the selection's ties are used up in coordinate order. */
static uint32_t gather(struct encoder *e, const struct codec_piece *piece, const float *values) {
    struct codec_selection *top = &e->selections[piece->index];
    uint32_t kept = 0;
    for (uint32_t i = 0; i < piece->count; i++) {
        if (!codec_selected(top, values[i]))
            continue;
        e->positions[kept++] = i;
    }
    return kept;
}

/* Zeroes what is not kept. */
static void prune(const struct encoder *e, float *values, uint32_t n, uint32_t kept) {
    uint32_t next = 0;
    for (uint32_t i = 0; i < kept; i++) {
        memset(values + next, 0, (size_t)(e->positions[i] - next) * sizeof *values);
        next = e->positions[i] + 1;
    }
    memset(values + next, 0, (size_t)(n - next) * sizeof *values);
}

static void encode_piece(struct encoder *e, const struct codec_piece *piece, float *section) {
    struct buf *out = &e->out->bytes;
    float *values = section + piece->begin;
    const float scale = e->scales[piece->index];
    uint32_t kept = piece->count;
    if (!piece->dense) {
        kept = gather(e, piece, values);
        const int64_t more = (int64_t)kept - (int64_t)piece->expected;
        buf_put_varint(out, (uint64_t)more << 1 ^ (uint64_t)(more >> 63));
        prune(e, values, piece->count, kept);
    }
    if (kept == piece->count) {
        round_values(e, values, e->codes, kept, scale);
        put_packed(e, kept);
    } else if (kept > 0) {
        uint64_t bits;
        const unsigned b = codec_rice_best(e->positions, kept, piece->count, &bits);
        buf_put_u8(out, (uint8_t)b);
        round_kept(e, values, kept, scale);
        put_packed(e, kept);
        uint8_t *to = buf_grow(out, (size_t)((bits + 7) / 8));
        if (to != NULL)
            codec_rice_write(to, e->positions, kept, b);
    }
}

static void encode_head(struct encoder *e) {
    struct buf *out = &e->out->bytes;
    buf_put_u16(out, CODEC_MAGIC);
    buf_put_u8(out, CODEC_VERSION);
    buf_put_u8(out, (uint8_t)e->spec->section_count);
    for (int i = 0; i < CODEC_SCALARS; i++)
        if (i == CODEC_LOSS)
            buf_put_f64(out, e->in->scalars[i]);
        else
            buf_put_varint(out, (uint64_t)codec_scalar_whole(i, e->in->scalars[i]));
    e->scales_at = out->len;
    if (e->spec->pipeline.bits != 32)
        for (uint32_t i = 0; i < codec_segment_total(e->spec); i++)
            buf_put_f32(out, 0.0f); /* put_scales, when they are final */
    e->out->ends[0] = (uint32_t)out->len;
}

static void put_scales(const struct encoder *e) {
    if (e->spec->pipeline.bits == 32 || e->out->bytes.status != SOTTO_OK)
        return;
    uint8_t *to = e->out->bytes.data + e->scales_at;
    for (uint32_t i = 0; i < codec_segment_total(e->spec); i++) {
        uint32_t bits;
        memcpy(&bits, &e->scales[i], sizeof bits);
        for (unsigned j = 0; j < 4; j++)
            *to++ = (uint8_t)(bits >> (8 * j));
    }
}

/* Scales and selections of every segment, from the clipped values. */
static void plan_segments(struct encoder *e) {
    const struct codec_pipeline *p = &e->spec->pipeline;
    uint32_t index = 0;
    for (uint32_t s = 0; s < e->spec->section_count; s++) {
        const struct layout *layout = e->spec->sections[s].layout;
        for (uint32_t i = 0; i < layout->segment_count; i++, index++) {
            const struct layout_segment *segment = &layout->segments[i];
            const float *x = e->in->values[s] + segment->offset;
            const uint32_t keep = codec_keep_count(p, segment);
            if (keep < segment->count)
                e->selections[index] = codec_select_top(x, segment->count, keep);
            if (p->bits != 32)
                e->scales[index] = scale_of(p, vec_max_abs_f32(x, segment->count));
        }
    }
}

static void encode_blocks(struct encoder *e) {
    struct codec_place place;
    struct codec_piece piece;
    for (uint32_t part = 1; codec_place_of(e->spec, part, &place); part++) {
        for (uint32_t s = place.segment; codec_piece_of(e->spec, &place, s, &piece); s++)
            encode_piece(e, &piece, e->in->values[place.section]);
        e->out->ends[part] = (uint32_t)e->out->bytes.len;
    }
}

/* Rounding can lift the norm over the clip norm, by much when levels are few, and the coordinator
 * would then refuse an honest device: section 0's scales shrink until it fits. Levels stay as they
 * are. */
static void fit_norm(struct encoder *e) {
    const struct codec_pipeline *p = &e->spec->pipeline;
    if (p->bits == 32 || p->clip_norm <= 0.0f || e->spec->section_count == 0)
        return;
    const struct layout *layout = e->spec->sections[0].layout;
    float *values = e->in->values[0];
    const double norm = privacy_norm(values, layout->total);
    if (norm <= (double)p->clip_norm * (1.0 + CODEC_NORM_SLACK / 2))
        return;
    const double factor = (double)p->clip_norm / norm;
    for (uint32_t i = 0; i < layout->segment_count; i++) {
        const float before = e->scales[i];
        const float after = (float)((double)before * factor);
        const struct layout_segment *segment = &layout->segments[i];
        for (uint32_t j = segment->offset; j < segment->offset + segment->count; j++)
            if (before > 0.0f) {
                const double level = rint((double)values[j] / (double)before);
                values[j] = (float)level * after;
            }
        e->scales[i] = after;
    }
}

/* Coordinates of the longest piece, at least 1: small models should not pay for scratch of whole
 * blocks. */
static uint32_t longest_piece(const struct codec_spec *spec) {
    uint32_t most = 1;
    for (uint32_t s = 0; s < spec->section_count; s++) {
        const struct layout *layout = spec->sections[s].layout;
        for (uint32_t i = 0; i < layout->segment_count; i++)
            most = layout->segments[i].count > most ? layout->segments[i].count : most;
    }
    return most < CODEC_BLOCK ? most : CODEC_BLOCK;
}

static enum sotto_status encoder_init(struct encoder *e) {
    const uint32_t parts = codec_block_count(e->spec) + 1;
    const uint32_t segments = codec_segment_total(e->spec);
    buf_reset(&e->out->bytes);
    e->out->bytes.max = codec_bytes_max(e->spec);
    e->out->part_count = 0;
    mem_free(e->out->ends);
    e->out->ends = mem_array(parts, sizeof *e->out->ends);
    const uint32_t piece_max = longest_piece(e->spec);
    e->codes = mem_array(piece_max, sizeof *e->codes);
    e->positions = mem_array(piece_max, sizeof *e->positions);
    e->scales = mem_array((size_t)segments + 1, sizeof *e->scales);
    e->selections = mem_array((size_t)segments + 1, sizeof *e->selections);
    if (e->out->ends == NULL || e->codes == NULL || e->positions == NULL || e->scales == NULL ||
        e->selections == NULL)
        return SOTTO_FAIL(e->err, SOTTO_NOMEM, "no memory to code an update");
    return SOTTO_OK;
}

enum sotto_status codec_encode(const struct codec_spec *spec, struct codec_input *in,
                               struct rng *rng, struct codec_update *out, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct encoder e = {.spec = spec, .in = in, .rng = rng, .out = out, .err = err};
    TRY(codec_input_check(spec, in, err));
    TRY(encoder_init(&e));
    TRY(codec_input_clip(spec, in, err));
    plan_segments(&e);
    encode_head(&e);
    encode_blocks(&e);
    fit_norm(&e);
    put_scales(&e);
    if (out->bytes.status != SOTTO_OK)
        TRY_FAIL(err, out->bytes.status, "a coded update of %zu bytes does not fit %zu",
                 out->bytes.len, out->bytes.max);
    codec_input_residuals(spec, in);
    out->part_count = codec_block_count(spec) + 1;
out:
    mem_free(e.selections);
    mem_free(e.scales);
    mem_free(e.positions);
    mem_free(e.codes);
    return status;
}
