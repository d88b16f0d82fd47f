/* Fuzzes what comes from outside under masks: a published mask, and sums. First byte: which spec;
 * then members, a mask (its bytes, or the seed of a good one), and the sums' coordinates, which
 * repeat when they run out. Whatever is taken stays within the bounds that accumulators were proved
 * for. */
#include <math.h>
#include <stdlib.h>

#include "codec/masked_int.h"

enum { SPECS = 6, LENGTH_MAX = 4096 };

static struct layout layout;
static struct codec_spec specs[SPECS];

static void must(bool ok) {
    if (!ok)
        abort();
}

static void setup(void) {
    static const unsigned bits[SPECS] = {2, 4, 8, 9, 3, 6};
    static const float keeps[SPECS] = {0.1f, 0.05f, 0.5f, 1.0f, 0.3f, 0.2f};
    static const unsigned rotates[SPECS] = {0, 3, 10, 15, 5, 0};
    layout_init(&layout);
    must(layout_add(&layout, "a", LAYOUT_WEIGHT, 1, (uint32_t[]){700}, NULL) == SOTTO_OK);
    must(layout_add(&layout, "b", LAYOUT_BIAS, 1, (uint32_t[]){9}, NULL) == SOTTO_OK);
    must(layout_add(&layout, "c", LAYOUT_WEIGHT, 1, (uint32_t[]){900}, NULL) == SOTTO_OK);
    for (int s = 0; s < SPECS; s++) {
        struct codec_pipeline *p = &specs[s].pipeline;
        specs[s] = (struct codec_spec){.pipeline = CODEC_PIPELINE_INIT,
                                       .section_count = 1,
                                       .sections = {{"weights", &layout}},
                                       .weight_max = 1000,
                                       .accept_max = 100};
        p->bits = bits[s];
        p->keep = keeps[s];
        p->clip_norm = 3.0f;
        p->support = CODEC_SUPPORT_PUBLISHED;
        p->rotate_log2 = rotates[s];
        p->range = masked_range(p, &layout);
    }
}

static void good_mask(const struct codec_pipeline *pipeline, uint64_t seed, struct buf *out) {
    static float mean[2048];
    struct rng r;
    must(layout.total <= ARRAY_LEN(mean));
    rng_init(&r, seed, 1, 1, RNG_FAULT);
    for (uint32_t i = 0; i < layout.total; i++)
        mean[i] = rng_f32(&r);
    masked_support_of(pipeline, &layout, mean, out);
}

static void take(const struct masked_plan *p, uint32_t members, struct reader *in) {
    static uint32_t sum[LENGTH_MAX];
    const uint64_t length = masked_length(p);
    const size_t given = reader_left(in) / 2;
    struct accumulator a;
    must(length <= LENGTH_MAX);
    for (uint64_t i = 0; i < length; i++)
        sum[i] = i < given ? reader_u16(in, "code") : given > 0 ? sum[i % given] : 0;
    must(accumulator_init(&a, &p->spec, NULL) == SOTTO_OK);
    if (masked_sum_take(p, members, 0, sum, (size_t)length, &a, NULL) == SOTTO_OK) {
        const double most =
            codec_gain_max(&p->spec) * ldexp((double)p->spec.pipeline.range * 1000.0 * members,
                                             (int)p->spec.pipeline.fraction_bits +
                                                 (int)(p->spec.pipeline.rotate_log2 + 1) / 2);
        for (uint32_t i = 0; i < a.counts[0]; i++)
            must(fabs((double)a.sums[0][i]) <= most * 1.0001 + 1.0);
        if (masked_sum_finish(p, members, &a, NULL) == SOTTO_OK)
            must(a.updates == members && a.scalars[CODEC_WEIGHT] >= (int64_t)members);
    }
    accumulator_deinit(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static bool ready;
    struct reader in;
    struct masked_plan *p;
    if (!ready)
        setup();
    ready = true;
    reader_init(&in, view_of(data, size));
    const struct codec_spec *spec = &specs[reader_u8(&in, "spec") % SPECS];
    const uint32_t members = reader_u8(&in, "members");
    struct masked_terms terms = {.ring_bits = 16, .members_max = 100, .task_seed = 3, .round = 1};
    struct buf good;
    buf_init(&good, 1024);
    const size_t mask = num_min_u64(reader_u8(&in, "mask"), reader_left(&in));
    if (mask < 8) {
        good_mask(&spec->pipeline, mask, &good);
        terms.mask = buf_view(&good);
    } else {
        terms.mask = reader_bytes(&in, mask, "mask");
    }
    const enum sotto_status status = masked_plan_new(spec, &terms, &p, NULL);
    must((status == SOTTO_OK) == (p != NULL) && (status == SOTTO_OK || mask >= 8));
    buf_deinit(&good); /* the plan has taken what it needs */
    if (p == NULL)
        return 0;
    for (uint32_t i = 0; i < p->support_count[0]; i++)
        must(masked_coordinate(p, 0, i) < layout.total);
    take(p, members, &in);
    masked_plan_free(p);
    return 0;
}
