/* The head of an update: scalars and scales. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "codec_int.h"

#define LOSS_MOST ((uint64_t)CODEC_LOSS_MAX << CODEC_LOSS_BITS)

const struct codec_scalar_form codec_scalar_forms[CODEC_SCALARS] = {
    [CODEC_WEIGHT] = {"weight", 0, CODEC_COUNT_MAX},
    [CODEC_STEPS] = {"steps", 0, CODEC_COUNT_MAX},
    [CODEC_LOSS] = {"loss", CODEC_LOSS_BITS, LOSS_MOST},
    [CODEC_CORRECT] = {"correct", 0, CODEC_COUNT_MAX},
    [CODEC_SEEN] = {"seen", 0, CODEC_COUNT_MAX},
    [CODEC_WEIGHTED_STEPS] = {"weighted steps", CODEC_STEPS_BITS, (uint64_t)1 << 40},
};
_Static_assert(((uint64_t)1 << 40) * CODEC_ACCEPT_MAX_LIMIT <= INT64_MAX, "sums of scalars fit");
_Static_assert(LOSS_MOST <= INT64_MAX / CODEC_ACCEPT_MAX_LIMIT, "sums of scalars fit");

static void read_scalars(struct codec_head *h, const struct codec_spec *spec, struct reader *r) {
    for (int i = 0; i < CODEC_SCALARS; i++) {
        const struct codec_scalar_form *form = &codec_scalar_forms[i];
        if (i == CODEC_LOSS)
            h->scalars[i] = reader_f64(r, form->name);
        else
            h->scalars[i] =
                ldexp((double)reader_varint(r, form->most, form->name), -(int)form->fraction_bits);
    }
    if (!(h->scalars[CODEC_LOSS] >= 0.0 && h->scalars[CODEC_LOSS] <= CODEC_LOSS_MAX))
        reader_fail(r, SOTTO_CORRUPT, "loss");
    if (h->scalars[CODEC_WEIGHT] < 1.0 || h->scalars[CODEC_WEIGHT] > (double)spec->weight_max)
        reader_fail(r, SOTTO_LIMIT, "weight");
    h->weight = r->status == SOTTO_OK ? (uint32_t)h->scalars[CODEC_WEIGHT] : 0;
}

/* The largest level of a segment stays within clip_inf, so every level does. */
static void read_scales(struct codec_head *h, const struct codec_spec *spec, struct reader *r) {
    const unsigned bits = spec->pipeline.bits;
    if (bits == 32)
        return;
    const float level_max = (float)codec_level_max(bits);
    for (uint32_t i = 0; i < h->segment_count && r->status == SOTTO_OK; i++) {
        h->scales[i] = reader_f32(r, "scale");
        if (signbit(h->scales[i]))
            reader_fail(r, SOTTO_CORRUPT, "scale");
        else if (!(level_max * h->scales[i] <= spec->pipeline.clip_inf))
            reader_fail(r, SOTTO_LIMIT, "scale");
    }
}

enum sotto_status codec_head_decode(const struct codec_spec *spec, struct view part,
                                    struct codec_head **out, struct sotto_error *err) {
    *out = NULL;
    struct reader r;
    reader_init(&r, part);
    const uint32_t segments = codec_segment_total(spec);
    struct codec_head *h = mem_zalloc(sizeof *h + (size_t)segments * sizeof h->scales[0]);
    if (h == NULL)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for the head of an update");
    h->segment_count = segments;
    if (reader_u16(&r, "magic") != CODEC_MAGIC)
        reader_fail(&r, SOTTO_CORRUPT, "magic");
    if (reader_u8(&r, "version") != CODEC_VERSION)
        reader_fail(&r, SOTTO_VERSION, "version");
    if (reader_u8(&r, "sections") != spec->section_count)
        reader_fail(&r, SOTTO_CORRUPT, "sections");
    read_scalars(h, spec, &r);
    read_scales(h, spec, &r);
    const enum sotto_status status = reader_finish(&r, true, "head of an update", err);
    if (status != SOTTO_OK)
        codec_head_free(h);
    else
        *out = h;
    return status;
}

void codec_head_free(struct codec_head *h) {
    mem_free(h);
}

const double *codec_head_scalars(const struct codec_head *h) {
    return h->scalars;
}
