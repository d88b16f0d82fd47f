/* The model package: graph, schema and tensors as one deterministic byte string. Format:
 * docs/internals/model-package.md. */
#include "package/package_int.h"

#include <math.h>
#include <string.h>

#define PACKAGE_MAGIC          "SOTTOPK1"
#define PACKAGE_VERSION        1u
#define PACKAGE_VERSION_EXTRAS 2u /* the same, and extras behind the tensors */
#define PACKAGE_GRAPH_MAX                                                                          \
    (1u << 17) /* bytes; a graph of 512 layers with long names takes about 40 KiB */
#define PACKAGE_DIM_MAX (1u << 26)
#define PACKAGE_PIECE   1024u /* values unpacked at a time where they are wanted for a moment */

static void put_schema(const struct data_schema *s, struct buf *out) {
    buf_put_u8(out, (uint8_t)s->dtype);
    buf_put_u8(out, (uint8_t)s->rank);
    for (uint32_t i = 0; i < s->rank; i++)
        buf_put_varint(out, s->dims[i]);
    buf_put_varint(out, s->classes);
    buf_put_f32(out, s->scale);
    buf_put_f32(out, s->shift);
}

/* A schema that fits the graph: examples of its input's size, labels of its classes. */
static enum sotto_status check_schema(const struct data_schema *s, const struct graph *g,
                                      struct sotto_error *err) {
    uint64_t count = 1;
    if ((s->dtype != DATA_U8 && s->dtype != DATA_F32) || s->rank < 1 || s->rank > 3)
        return SOTTO_FAIL(err, SOTTO_INVALID, "package: unknown type or rank of examples");
    for (uint32_t i = 0; i < s->rank; i++)
        count = count > PACKAGE_DIM_MAX ? count : count * s->dims[i];
    if (!isfinite(s->scale) || !isfinite(s->shift))
        return SOTTO_FAIL(err, SOTTO_INVALID, "package: scale or shift of examples is not finite");
    if (count != graph_input_count(g) || s->classes != graph_classes(g))
        return SOTTO_FAIL(
            err, SOTTO_INVALID,
            "package: examples of %llu values and %u classes do not fit a model of %u and %u",
            (unsigned long long)count, s->classes, graph_input_count(g), graph_classes(g));
    return SOTTO_OK;
}

static uint64_t tensor_bytes(const struct layout *l, enum package_precision precision) {
    uint64_t sum = 0;
    for (uint32_t s = 0; s < l->segment_count; s++)
        sum += quant_bytes(&l->segments[s], quant_form_of(l, s, precision));
    return sum;
}

static enum sotto_status put_graph(const struct graph *g, struct buf *out,
                                   struct sotto_error *err) {
    struct buf bytes;
    buf_init(&bytes, PACKAGE_GRAPH_MAX);
    graph_encode(g, &bytes);
    buf_put_varint(out, bytes.len);
    buf_put(out, bytes.data, bytes.len);
    enum sotto_status status = bytes.status;
    buf_deinit(&bytes);
    return status == SOTTO_OK ? status : SOTTO_FAIL(err, status, "package: graph");
}

enum sotto_status package_encode(const struct graph *g, const struct data_schema *schema,
                                 const float *params, enum package_precision precision,
                                 struct buf *out, struct sotto_error *err) {
    return package_encode_extras(g, schema, params, precision, NULL, 0, out, err);
}

enum sotto_status package_encode_extras(const struct graph *g, const struct data_schema *schema,
                                        const float *params, enum package_precision precision,
                                        const struct package_extra *extras, uint32_t count,
                                        struct buf *out, struct sotto_error *err) {
    enum sotto_status status;
    if (!g->finished || (unsigned)precision > PACKAGE_I4)
        TRY_FAIL(err, SOTTO_INVALID, "package: unfinished graph or unknown precision");
    TRY(check_schema(schema, g, err));
    if (!vec_all_finite_f32(params, g->layout.total))
        TRY_FAIL(err, SOTTO_INVALID, "package: a weight is not finite");
    buf_put(out, PACKAGE_MAGIC, 8);
    buf_put_u8(out, count ? PACKAGE_VERSION_EXTRAS : PACKAGE_VERSION);
    buf_put_u8(out, (uint8_t)precision);
    TRY(put_graph(g, out, err));
    put_schema(schema, out);
    for (uint32_t s = 0; s < g->layout.segment_count; s++) {
        const struct layout_segment *segment = &g->layout.segments[s];
        TRY(quant_put(segment, quant_form_of(&g->layout, s, precision), params + segment->offset,
                      out, err));
    }
    if (count)
        TRY(extras_put(&g->layout, extras, count, out, err));
    if (out->status != SOTTO_OK)
        TRY_FAIL(err, out->status, "package: more than %zu bytes or out of memory", out->max);
out:
    return status;
}

static void get_schema(struct reader *r, struct data_schema *s) {
    *s = (struct data_schema){0};
    s->dtype = (enum data_dtype)reader_u8(r, "example type");
    s->rank = reader_u8(r, "example rank");
    if (s->rank < 1 || s->rank > 3)
        reader_fail(r, SOTTO_INVALID, "example rank");
    for (uint32_t i = 0; i < s->rank && i < 3; i++)
        s->dims[i] = (uint32_t)reader_varint(r, PACKAGE_DIM_MAX, "example dimension");
    s->classes = (uint32_t)reader_varint(r, PACKAGE_DIM_MAX, "class count");
    s->scale = reader_f32(r, "example scale");
    s->shift = reader_f32(r, "example shift");
}

static uint64_t scale_count(const struct layout *l, enum package_precision precision) {
    uint64_t sum = 0;
    for (uint32_t s = 0; s < l->segment_count; s++)
        if (quant_form_of(l, s, precision) == QUANT_I8)
            sum += quant_channels(&l->segments[s]);
    return sum;
}

static enum sotto_status get_tensors(struct package *p, struct reader *r, bool extras,
                                     struct sotto_error *err) {
    const struct layout *l = &p->graph.layout;
    const uint64_t needed = tensor_bytes(l, p->precision);
    const uint64_t scales = scale_count(l, p->precision);
    /* The bytes must be there before memory is taken for what they say. */
    if (extras ? needed > reader_left(r) : needed != reader_left(r))
        return SOTTO_FAIL(err, SOTTO_CORRUPT,
                          "package: %zu bytes of tensors, the layout needs %llu", reader_left(r),
                          (unsigned long long)needed);
    p->tensors = mem_zalloc(sizeof *p->tensors + l->segment_count * sizeof p->tensors->of[0]);
    if (p->tensors)
        p->tensors->scales = mem_array((size_t)scales + 1, sizeof(float));
    if (!p->tensors || !p->tensors->scales)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "package: %u tensors", l->segment_count);
    float *at = p->tensors->scales;
    for (uint32_t s = 0; s < l->segment_count && r->status == SOTTO_OK; s++) {
        const enum quant_form form = quant_form_of(l, s, p->precision);
        quant_check(&l->segments[s], form, r, at, &p->tensors->of[s]);
        at += form == QUANT_I8 ? quant_channels(&l->segments[s]) : 0;
    }
    if (extras && r->status == SOTTO_OK) {
        const enum sotto_status status = extras_get(p, r, err);
        if (status != SOTTO_OK)
            return status;
    }
    return reader_finish(r, true, "package", err);
}

enum sotto_status package_open(struct view bytes, struct package *out, struct sotto_error *err) {
    enum sotto_status status;
    struct reader r, graph_reader;
    memset(out, 0, sizeof *out);
    graph_init(&out->graph);
    if (bytes.n > PACKAGE_BYTES_MAX)
        TRY_FAIL(err, SOTTO_LIMIT, "package: %zu bytes, the limit is %zu", bytes.n,
                 PACKAGE_BYTES_MAX);
    reader_init(&r, bytes);
    struct view magic = reader_bytes(&r, 8, "magic");
    if (magic.p && memcmp(magic.p, PACKAGE_MAGIC, 8) != 0)
        reader_fail(&r, SOTTO_CORRUPT, "magic");
    const uint8_t version = reader_u8(&r, "version");
    if (version != PACKAGE_VERSION && version != PACKAGE_VERSION_EXTRAS)
        reader_fail(&r, SOTTO_VERSION, "version");
    uint8_t precision = reader_u8(&r, "precision");
    if (precision > PACKAGE_I4)
        reader_fail(&r, SOTTO_UNSUPPORTED, "precision");
    out->precision = (enum package_precision)precision;
    size_t graph_bytes = (size_t)reader_varint(&r, PACKAGE_GRAPH_MAX, "graph size");
    struct view graph = reader_bytes(&r, graph_bytes, "graph");
    get_schema(&r, &out->schema);
    TRY(reader_finish(&r, false, "package", err));
    reader_init(&graph_reader, graph);
    TRY(graph_decode(&out->graph, &graph_reader, err));
    TRY(reader_finish(&graph_reader, true, "graph", err));
    TRY(check_schema(&out->schema, &out->graph, err));
    TRY(get_tensors(out, &r, version == PACKAGE_VERSION_EXTRAS, err));
out:
    return status;
}

static void drop_tensors(struct package *p) {
    if (p->tensors)
        mem_free(p->tensors->scales);
    mem_free(p->tensors);
    p->tensors = NULL;
}

enum sotto_status package_decode(struct view bytes, struct package *out, struct sotto_error *err) {
    enum sotto_status status;
    TRY(package_open(bytes, out, err));
    const uint32_t total = out->graph.layout.total;
    float *params = mem_array(total, sizeof *params);
    if (!params)
        TRY_FAIL(err, SOTTO_NOMEM, "package: %u parameters", total);
    package_unpack(out, 0, total, params);
    out->params = params;
out:
    drop_tensors(out);
    return status;
}

void package_unpack(const struct package *p, uint32_t first, uint32_t count, float *out) {
    const struct layout *l = &p->graph.layout;
    if (p->params) {
        memcpy(out, p->params + first, count * sizeof *out);
        return;
    }
    for (uint32_t s = 0; s < l->segment_count && count > 0; s++) {
        const struct layout_segment *segment = &l->segments[s];
        if (first - segment->offset >= segment->count) /* also when it lies before */
            continue;
        const uint32_t left = segment->count - (first - segment->offset);
        const uint32_t n = left < count ? left : count;
        quant_unpack(segment, &p->tensors->of[s], first - segment->offset, n, out);
        first += n;
        out += n;
        count -= n;
    }
}

void package_subtract(const struct package *p, float *values) {
    float piece[PACKAGE_PIECE];
    const uint32_t total = p->graph.layout.total;
    for (uint32_t at = 0; at < total; at += PACKAGE_PIECE) {
        const uint32_t n = total - at < PACKAGE_PIECE ? total - at : PACKAGE_PIECE;
        package_unpack(p, at, n, piece);
        vec_sub_f32(values + at, values + at, piece, n);
    }
}

bool package_int8(const struct package *p, uint32_t segment, const int8_t **codes,
                  const float **scales) {
    if (!p->tensors || p->tensors->of[segment].form != QUANT_I8)
        return false;
    *codes = (const int8_t *)p->tensors->of[segment].bytes;
    *scales = p->tensors->of[segment].scales;
    return true;
}

void package_drop_weights(struct package *p) {
    drop_tensors(p);
    mem_free(p->params);
    p->params = NULL;
}

void package_deinit(struct package *p) {
    graph_deinit(&p->graph);
    package_drop_weights(p);
    extras_deinit(p);
}
