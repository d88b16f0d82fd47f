/* Fuzzes what a device reads as a model: packages, graphs and deltas. What is accepted must encode
 * again and compile. */
#include <stdlib.h>

#include "sotto/model.h"

#define FUZZ_BYTES_MAX ((size_t)1 << 24)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok) {
    if (!ok)
        abort();
}

static void try_compile(const struct graph *g) {
    struct kern_program *p;
    if (g->layout.total > 1u << 20 || graph_input_count(g) > 1u << 16)
        return;
    struct graph_options o = {.mode = GRAPH_TRAIN, .batch = 2, .momentum = 0.5f, .clip_norm = 1};
    enum sotto_status status = graph_compile_program(g, &o, &p, NULL);
    check(status == SOTTO_OK || status == SOTTO_LIMIT);
    graph_program_free(p);
}

static void try_package(struct view v) {
    struct package p;
    struct buf again;
    if (package_decode(v, &p, NULL) == SOTTO_OK) {
        buf_init(&again, FUZZ_BYTES_MAX);
        check(package_encode_extras(&p.graph, &p.schema, p.params, p.precision, p.extras,
                                    p.extra_count, &again, NULL) == SOTTO_OK);
        check(again.len == v.n);
        buf_deinit(&again);
        try_compile(&p.graph);
    }
    package_deinit(&p);
}

static void try_graph(struct view v) {
    struct graph g;
    struct reader r;
    struct buf again;
    reader_init(&r, v);
    if (graph_decode(&g, &r, NULL) != SOTTO_OK)
        return;
    buf_init(&again, FUZZ_BYTES_MAX);
    graph_encode(&g, &again);
    check(again.len == r.off);
    buf_deinit(&again);
    try_compile(&g);
    graph_deinit(&g);
}

/* The first quarter stands for the base, the rest for the delta. */
static void try_delta(struct view v) {
    struct buf out;
    buf_init(&out, FUZZ_BYTES_MAX);
    size_t base = v.n / 4;
    (void)package_delta_apply(view_of(v.p, base), view_of(v.p + base, v.n - base), &out, NULL);
    check(out.len <= FUZZ_BYTES_MAX);
    buf_deinit(&out);
}

/* A small valid graph or package to mutate from: libFuzzer finds the format much sooner. */
static void try_mutated(const uint8_t *data, size_t size) {
    struct graph g;
    struct buf bytes;
    uint32_t dims[3] = {4, 4, 1}, at;
    static const struct data_schema schema = {DATA_U8, 3, {4, 4, 1}, 2, 1, 0};
    float params[16 * 2 + 2] = {0.5f, -1};
    graph_init(&g);
    buf_init(&bytes, FUZZ_BYTES_MAX);
    check(graph_input(&g, 3, dims, &at, NULL) == SOTTO_OK);
    check(graph_add(&g, &(struct graph_node){.op = GRAPH_FLATTEN, .inputs = {at}}, &at, NULL) ==
          SOTTO_OK);
    check(graph_add(
              &g, &(struct graph_node){.op = GRAPH_DENSE, .inputs = {at}, .units = 2, .bias = true},
              &at, NULL) == SOTTO_OK);
    check(graph_finish(&g, NULL) == SOTTO_OK);
    uint8_t bits[(ARRAY_LEN(params) + 7) / 8] = {0x5a, 1};
    const struct package_extra extras[] = {
        {PACKAGE_CONTROL, size % 5 ? PACKAGE_FORM_F32 : PACKAGE_FORM_I8, params, NULL},
        {"support", PACKAGE_FORM_BITS, NULL, bits}};
    check(package_encode_extras(&g, &schema, params, (enum package_precision)(size % 3), extras,
                                (uint32_t)(size / 3 % 3), &bytes, NULL) == SOTTO_OK);
    for (size_t i = 0; i + 1 < size; i += 2)
        bytes.data[data[i] % bytes.len] = data[i + 1];
    try_package(buf_view(&bytes));
    buf_deinit(&bytes);
    graph_deinit(&g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0)
        return 0;
    switch (data[0] % 4) {
    case 0:
        try_package(view_of(data + 1, size - 1));
        break;
    case 1:
        try_graph(view_of(data + 1, size - 1));
        break;
    case 2:
        try_delta(view_of(data + 1, size - 1));
        break;
    default:
        try_mutated(data + 1, size - 1);
    }
    return 0;
}
