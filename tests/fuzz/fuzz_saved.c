/* Fuzzes what comes back from a disk as bytes: layouts, saved sums, checkpoints of a training, and
 * CIFAR-10 records. First byte: which. Sums and checkpoints are good ones with bytes changed, the
 * sums' checksum made right again. */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "data/data_private.h"
#include "sotto/model.h"
#include "sotto/protocol/codec.h"

#define FUZZ_BYTES_MAX ((size_t)1 << 20)
#define EXAMPLES       7
#define PIXELS         4
#define CIFAR_RECORD   3073

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok) {
    if (!ok)
        abort();
}

/* Pairs of place (u16) and value. */
static void change(struct buf *b, struct view v) {
    for (size_t i = 0; i + 2 < v.n; i += 3)
        b->data[((size_t)v.p[i] | (size_t)v.p[i + 1] << 8) % b->len] = v.p[i + 2];
}

static void decode_layout(struct view v) {
    struct layout l;
    struct reader r;
    struct buf again;
    reader_init(&r, v);
    if (layout_decode(&l, &r, NULL) != SOTTO_OK) {
        check(r.status != SOTTO_OK && l.segment_count == 0 && l.segments == NULL);
        return;
    }
    check(l.segment_count <= LAYOUT_SEGMENTS_MAX && l.total <= LAYOUT_TOTAL_MAX);
    buf_init(&again, FUZZ_BYTES_MAX);
    layout_encode(&l, &again);
    check(again.status == SOTTO_OK && again.len == r.off && memcmp(again.data, v.p, r.off) == 0);
    buf_deinit(&again);
    layout_deinit(&l);
}

/* As it is, and as changes of a good one. */
static void try_layout(struct view v) {
    static const uint32_t dims[4] = {3, 2, 5, 1};
    struct layout l;
    struct buf good;
    decode_layout(v);
    layout_init(&l);
    buf_init(&good, FUZZ_BYTES_MAX);
    check(layout_add(&l, "conv.weight", LAYOUT_WEIGHT, 4, dims, NULL) == SOTTO_OK);
    check(layout_add(&l, "conv.bias", LAYOUT_BIAS, 1, dims, NULL) == SOTTO_OK);
    layout_encode(&l, &good);
    change(&good, v);
    decode_layout(buf_view(&good));
    buf_deinit(&good);
    layout_deinit(&l);
}

static void try_sums(struct view v) {
    static struct layout layout;
    static struct codec_spec spec;
    static struct accumulator a;
    static struct buf good;
    struct buf saved, again;
    float mean[5];
    if (layout.total == 0) {
        const uint32_t dims[1] = {ARRAY_LEN(mean)};
        layout_init(&layout);
        check(layout_add(&layout, "a", LAYOUT_WEIGHT, 1, dims, NULL) == SOTTO_OK);
        spec = (struct codec_spec){.pipeline = CODEC_PIPELINE_INIT,
                                   .section_count = 1,
                                   .sections = {{"weights", &layout}},
                                   .weight_max = 100,
                                   .accept_max = 100};
        check(accumulator_init(&a, &spec, NULL) == SOTTO_OK);
        buf_init(&good, FUZZ_BYTES_MAX);
        accumulator_save(&a, &good);
    }
    buf_init(&saved, FUZZ_BYTES_MAX);
    buf_put(&saved, good.data, good.len);
    change(&saved, v);
    const size_t body = saved.len - 32;
    crypto_generichash(saved.data + body, 32, saved.data, body, NULL, 0);
    if (accumulator_load(&a, buf_view(&saved), NULL) == SOTTO_OK) {
        buf_init(&again, FUZZ_BYTES_MAX);
        accumulator_save(&a, &again);
        check(again.len == saved.len && memcmp(again.data, saved.data, saved.len) == 0);
        check(a.updates <= spec.accept_max);
        (void)accumulator_mean(&a, &spec, 0, mean, NULL);
        buf_deinit(&again);
    }
    buf_deinit(&saved);
}

static struct trainer *make_trainer(struct graph *g) {
    static const struct train_rule rule = {
        .epochs = 3, .batch = 3, .lr = 0.1f, .momentum = 0.5f, .clip_norm = 1};
    const uint32_t dims[1] = {PIXELS};
    struct trainer *t;
    uint32_t at;
    graph_init(g);
    check(graph_input(g, 1, dims, &at, NULL) == SOTTO_OK);
    check(graph_add(
              g, &(struct graph_node){.op = GRAPH_DENSE, .inputs = {at}, .units = 2, .bias = true},
              &at, NULL) == SOTTO_OK);
    check(graph_finish(g, NULL) == SOTTO_OK);
    check(trainer_new(g, &rule, 0, kern_backend_find("ref"), &t, NULL) == SOTTO_OK);
    return t;
}

/* A checkpoint that is taken trains on to the end, whatever weights it brought. */
static void try_checkpoint(struct view v) {
    static const struct train_stream stream = {7, 1, 2};
    static const float params[PIXELS * 2 + 2] = {0.5f, -1};
    static struct graph g;
    static struct dataset d;
    static struct trainer *t;
    static struct buf good;
    float trained[PIXELS * 2 + 2];
    struct train_metrics m;
    struct buf saved;
    bool done = false;
    if (t == NULL) {
        const struct data_schema schema = {DATA_U8, 1, {PIXELS}, 2, 1, 0};
        t = make_trainer(&g);
        check(dataset_alloc(&d, &schema, EXAMPLES, "fuzz", NULL) == SOTTO_OK);
        for (int i = 0; i < EXAMPLES; i++) {
            memset((uint8_t *)d.x + PIXELS * i, i, PIXELS);
            d.labels[i] = i % 2;
        }
        const struct examples e = dataset_examples(&d);
        check(trainer_begin(t, params, &e, &stream, NULL) == SOTTO_OK);
        check(trainer_advance(t, 4, NULL, NULL) == SOTTO_OK);
        buf_init(&good, FUZZ_BYTES_MAX);
        trainer_save(t, &good);
    }
    const struct examples e = dataset_examples(&d);
    check(trainer_begin(t, params, &e, &stream, NULL) == SOTTO_OK);
    buf_init(&saved, FUZZ_BYTES_MAX);
    buf_put(&saved, good.data, good.len);
    change(&saved, v);
    if (trainer_resume(t, buf_view(&saved), NULL) != SOTTO_OK)
        check(trainer_steps_done(t) == 0);
    check(trainer_steps_done(t) <= trainer_steps_total(t));
    check(trainer_advance(t, 0, &done, NULL) == SOTTO_OK && done);
    trainer_finish(t, trained, &m);
    buf_deinit(&saved);
}

/* Second byte: how many records there is room for. The records are the input's, over and over, with
 * labels of their own, so that short inputs make whole ones. */
static void try_cifar10(struct view v) {
    struct dataset d;
    struct buf file;
    size_t done = 0;
    if (v.n < 2)
        return;
    const size_t room = 1 + v.p[0] % 3, bytes = v.p[1] < 8 ? v.n : v.p[1] % 4u * CIFAR_RECORD;
    check(dataset_alloc(&d, &data_cifar10_schema, room, "fuzz", NULL) == SOTTO_OK);
    memset(d.x, 0, room * data_schema_example_bytes(&d.schema));
    buf_init(&file, FUZZ_BYTES_MAX);
    for (size_t i = 0; i < bytes; i++)
        buf_put_u8(&file, v.p[i % v.n]);
    for (size_t i = 0; v.p[1] >= 8 && i < file.len; i += CIFAR_RECORD)
        file.data[i] = v.p[i / CIFAR_RECORD % v.n] % 12;
    while (dataset_parse_cifar10(buf_view(&file), "fuzz", &d, &done, NULL) == SOTTO_OK && file.len)
        check(done <= d.count && done % (file.len / CIFAR_RECORD) == 0);
    for (size_t i = 0; i < done; i++)
        check(d.labels[i] >= 0 && d.labels[i] < 10);
    buf_deinit(&file);
    dataset_deinit(&d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0)
        return 0;
    const struct view v = view_of(data + 1, size - 1);
    switch (data[0] % 4) {
    case 0:
        try_layout(v);
        break;
    case 1:
        try_sums(v);
        break;
    case 2:
        try_checkpoint(v);
        break;
    default:
        try_cifar10(v);
    }
    return 0;
}
