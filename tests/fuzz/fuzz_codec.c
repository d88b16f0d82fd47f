/* Fuzzes the decoder of updates. First byte: which spec, and whether the head is a good one. Then,
 * where it is not, a length and the head; then length and bytes of each block. What passes the
 * check must add without an error, within bounds. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "codec/codec_int.h"

enum { SPECS = 8 };

static struct layout layout;
static struct codec_spec specs[SPECS];
static struct codec_update good[SPECS];

static void must(bool ok) {
    if (!ok)
        abort();
}

static void add_segment(const char *name, enum layout_kind kind, uint32_t count) {
    must(layout_add(&layout, name, kind, 1, &count, NULL) == SOTTO_OK);
}

/* A good update of each spec: its head lets inputs reach the blocks. */
static void setup(void) {
    static const unsigned bits[SPECS] = {2, 4, 8, 16, 32, 4, 32, 3};
    static const float keeps[SPECS] = {0.1f, 0.05f, 0.5f, 0.01f, 0.1f, 1.0f, 1.0f, 0.9f};
    struct rng r;
    layout_init(&layout);
    add_segment("a", LAYOUT_WEIGHT, 300);
    add_segment("b", LAYOUT_BIAS, 9);
    add_segment("c", LAYOUT_WEIGHT, CODEC_BLOCK);
    float *values = mem_array(layout.total, sizeof *values);
    must(values != NULL);
    for (int s = 0; s < SPECS; s++) {
        struct codec_input in = {.values = {values}, .scalars = {[CODEC_WEIGHT] = 3}};
        rng_init(&r, 1, (uint32_t)s, 1, RNG_FAULT);
        for (uint32_t i = 0; i < layout.total; i++)
            values[i] = (float)rng_normal(&r) * 0.1f;
        specs[s] = (struct codec_spec){.pipeline = CODEC_PIPELINE_INIT,
                                       .section_count = 1,
                                       .sections = {{"weights", &layout}},
                                       .weight_max = 100,
                                       .accept_max = 100};
        specs[s].pipeline.bits = bits[s];
        specs[s].pipeline.keep = keeps[s];
        specs[s].pipeline.clip_inf = 2.0f;
        specs[s].pipeline.clip_norm = s % 2 != 0 ? 100.0f : 0.0f;
        codec_update_init(&good[s]);
        must(codec_encode(&specs[s], &in, &r, &good[s], NULL) == SOTTO_OK);
    }
    mem_free(values);
}

/* A block the fuzzer leaves empty is the good one, so that it can work on one at a time. */
static struct view block_of(struct reader *in, const struct codec_update *u, uint32_t part) {
    const struct view bytes =
        reader_bytes(in, num_min_u64(reader_u16(in, "n"), reader_left(in)), "block");
    return bytes.n > 0 ? bytes : codec_update_part(u, part);
}

static void add_all(const struct codec_spec *spec, const struct codec_head *head,
                    const struct view *blocks, uint32_t count) {
    struct accumulator a;
    must(accumulator_init(&a, spec, NULL) == SOTTO_OK);
    must(accumulator_add_head(&a, spec, head) == SOTTO_OK);
    for (uint32_t i = 0; i < count; i++)
        must(accumulator_add_part(&a, spec, head, i + 1, blocks[i], NULL) == SOTTO_OK);
    const int64_t most =
        (int64_t)head->weight * codec_fixed(spec->pipeline.clip_inf, spec->pipeline.fraction_bits);
    for (uint32_t i = 0; i < a.counts[0]; i++)
        must(a.sums[0][i] <= most && a.sums[0][i] >= -most);
    accumulator_deinit(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static bool ready;
    if (!ready)
        setup();
    ready = true;
    struct reader in;
    struct codec_head *head = NULL;
    struct view blocks[2];
    reader_init(&in, view_of(data, size));
    const uint8_t choice = reader_u8(&in, "choice");
    const struct codec_spec *spec = &specs[choice % SPECS];
    const struct codec_update *u = &good[choice % SPECS];
    struct view head_bytes = codec_update_part(u, 0);
    if (choice >= 128)
        head_bytes = reader_bytes(&in, num_min_u64(reader_u8(&in, "n"), reader_left(&in)), "head");
    must(codec_block_count(spec) == ARRAY_LEN(blocks));
    struct codec_check *check = codec_check_new(spec);
    enum sotto_status status = codec_head_decode(spec, head_bytes, &head, NULL);
    for (uint32_t i = 0; i < ARRAY_LEN(blocks) && status == SOTTO_OK; i++) {
        blocks[i] = block_of(&in, u, i + 1);
        status = codec_check_part(spec, head, check, blocks[i], NULL);
    }
    if (status == SOTTO_OK && codec_check_finish(spec, head, check, NULL) == SOTTO_OK)
        add_all(spec, head, blocks, ARRAY_LEN(blocks));
    codec_check_free(check);
    codec_head_free(head);
    return 0;
}
