/* The first decoding of an update: all of it is checked and nothing is touched. */
#include <inttypes.h>
#include <math.h>

#include "codec_int.h"

struct codec_check {
    uint32_t next_part;
    uint32_t part_section; /* of the part being checked */
    double squares;        /* of section 0 */
    uint32_t seen[];       /* kept coordinates of each segment so far */
};

struct codec_check *codec_check_new(const struct codec_spec *spec) {
    struct codec_check *c =
        mem_zalloc(sizeof *c + (size_t)codec_segment_total(spec) * sizeof c->seen[0]);
    if (c != NULL)
        c->next_part = 1;
    return c;
}

void codec_check_free(struct codec_check *c) {
    mem_free(c);
}

static enum sotto_status on_piece(void *ctx, const struct codec_piece *piece, uint32_t kept,
                                  struct sotto_error *err) {
    struct codec_check *c = ctx;
    if (kept > piece->keep - c->seen[piece->index])
        return SOTTO_FAIL(err, SOTTO_CORRUPT, "segment %s keeps more than %" PRIu32 " coordinates",
                          piece->segment->name, piece->keep);
    c->seen[piece->index] += kept;
    return SOTTO_OK;
}

static void on_run(void *ctx, uint32_t first, const float *values, uint32_t n) {
    struct codec_check *c = ctx;
    (void)first;
    if (c->part_section == 0)
        c->squares += vec_sum_squares_f32(values, n);
}

static void on_scatter(void *ctx, const uint32_t *coordinates, const float *values, uint32_t n) {
    (void)coordinates;
    on_run(ctx, 0, values, n);
}

static enum sotto_status check_norm(const struct codec_spec *spec, const struct codec_check *c,
                                    struct sotto_error *err) {
    const double bound = (double)spec->pipeline.clip_norm;
    const double norm = sqrt(c->squares);
    if (bound > 0.0 && !(norm <= bound * (1.0 + CODEC_NORM_SLACK)))
        return SOTTO_FAIL(err, SOTTO_LIMIT, "an update of norm %g is above clip_norm %g", norm,
                          bound);
    return SOTTO_OK;
}

enum sotto_status codec_check_part(const struct codec_spec *spec, const struct codec_head *head,
                                   struct codec_check *c, struct view part,
                                   struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct codec_place place;
    if (!codec_place_of(spec, c->next_part, &place))
        TRY_FAIL(err, SOTTO_STATE, "all %" PRIu32 " blocks of this update are checked",
                 codec_block_count(spec));
    c->part_section = place.section;
    const struct codec_visitor visitor = {
        .ctx = c, .piece = on_piece, .run = on_run, .scatter = on_scatter};
    TRY(codec_walk(spec, head, c->next_part, part, &visitor, err));
    TRY(check_norm(spec, c, err));
    c->next_part++;
out:
    return status;
}

enum sotto_status codec_check_finish(const struct codec_spec *spec, const struct codec_head *head,
                                     struct codec_check *c, struct sotto_error *err) {
    (void)head;
    const uint32_t blocks = codec_block_count(spec);
    if (c->next_part != blocks + 1)
        return SOTTO_FAIL(err, SOTTO_STATE, "%" PRIu32 " of %" PRIu32 " blocks are checked",
                          c->next_part - 1, blocks);
    uint32_t index = 0;
    for (uint32_t s = 0; s < spec->section_count; s++)
        for (uint32_t i = 0; i < spec->sections[s].layout->segment_count; i++, index++) {
            const struct layout_segment *segment = &spec->sections[s].layout->segments[i];
            const uint32_t keep = codec_keep_count(&spec->pipeline, segment);
            if (c->seen[index] != keep)
                return SOTTO_FAIL(err, SOTTO_CORRUPT,
                                  "segment %s keeps %" PRIu32 " coordinates instead of %" PRIu32,
                                  segment->name, c->seen[index], keep);
        }
    return check_norm(spec, c, err);
}
