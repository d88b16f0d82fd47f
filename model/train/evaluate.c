/* Evaluation: loss, accuracy and class probabilities with a program compiled once; and filling a
 * program's input. */
#include "train/train_int.h"

#include <math.h>
#include <string.h>

#define FETCH_ROWS 2u /* examples fetched ahead */
#define FETCH_MAX  4096u

enum sotto_status train_check_examples(uint32_t input_count, uint32_t classes,
                                       const struct examples *e, struct sotto_error *err) {
    if (e->count == 0)
        return SOTTO_FAIL(err, SOTTO_INVALID, "no examples");
    if (data_schema_count(e->schema) != input_count || e->schema->classes != classes) {
        char text[64];
        return SOTTO_FAIL(err, SOTTO_INVALID,
                          "examples are %s, but the model takes %u values and gives %u classes",
                          data_schema_text(e->schema, text, sizeof text), input_count, classes);
    }
    size_t bytes = data_schema_example_bytes(e->schema);
    for (uint32_t i = 0; i < e->count; i++) {
        uint32_t at = e->index ? e->index[i] : i;
        const void *x = (const uint8_t *)e->x + bytes * at;
        if (e->labels && e->labels[at] >= (int32_t)classes)
            return SOTTO_FAIL(err, SOTTO_INVALID, "example %u has label %d of %u classes", at,
                              e->labels[at], classes);
        if (e->schema->dtype == DATA_F32 && !vec_all_finite_f32(x, input_count))
            return SOTTO_FAIL(err, SOTTO_INVALID, "example %u holds a value that is not finite",
                              at);
    }
    return SOTTO_OK;
}

static void gather_one(const struct data_schema *s, const uint8_t *x, uint32_t count, float *out) {
    if (s->dtype == DATA_U8) {
        vec_u8_f32(out, x, count, s->scale, s->shift);
        return;
    }
    memcpy(out, x, count * sizeof *out);
    if (s->scale != 1.0f || s->shift != 0.0f)
        for (uint32_t i = 0; i < count; i++)
            out[i] = s->scale * out[i] + s->shift;
}

static uint32_t position_of(const struct examples *e, const uint32_t *order, uint32_t r) {
    const uint32_t at = order ? order[r] : r;
    return e->index ? e->index[at] : at;
}

/* Examples lie far apart in an order drawn at random: small models wait for memory unless it is
 * asked for in time. */
static void fetch_ahead(const uint8_t *p, size_t bytes) {
    for (size_t i = 0; i < bytes && i < FETCH_MAX; i += 64)
        __builtin_prefetch(p + i, 0, 2);
}

void train_gather(const struct examples *e, const uint32_t *order, uint32_t rows, uint32_t batch,
                  float *x, int32_t *labels) {
    uint32_t count = data_schema_count(e->schema);
    size_t bytes = data_schema_example_bytes(e->schema);
    for (uint32_t r = 0; r < rows; r++) {
        const uint32_t at = position_of(e, order, r);
        if (r + FETCH_ROWS < rows)
            fetch_ahead((const uint8_t *)e->x + bytes * position_of(e, order, r + FETCH_ROWS),
                        bytes);
        gather_one(e->schema, (const uint8_t *)e->x + bytes * at, count, x + (size_t)r * count);
        if (labels)
            labels[r] = e->labels ? e->labels[at] : -1;
    }
    if (rows < batch)
        memset(x + (size_t)rows * count, 0, (size_t)(batch - rows) * count * sizeof *x);
    for (uint32_t r = rows; labels && r < batch; r++)
        labels[r] = -1;
}

enum sotto_status train_engine_init(struct train_engine *e, const struct graph *g,
                                    const struct graph_options *options,
                                    const struct kern_backend *backend, struct sotto_error *err) {
    return train_engine_init_lanes(e, g, options, backend, 1, err);
}

enum sotto_status train_engine_init_lanes(struct train_engine *e, const struct graph *g,
                                          const struct graph_options *options,
                                          const struct kern_backend *backend, uint32_t lanes,
                                          struct sotto_error *err) {
    memset(e, 0, sizeof *e);
    enum sotto_status status = graph_compile_program(g, options, &e->program, err);
    if (status == SOTTO_OK)
        status = kern_exec_new_lanes(e->program, backend, lanes, &e->exec, err);
    if (status != SOTTO_OK)
        train_engine_deinit(e);
    return status;
}

void train_engine_deinit(struct train_engine *e) {
    kern_exec_free(e->exec);
    graph_program_free(e->program);
    memset(e, 0, sizeof *e);
}

/* ---- The evaluator ---- */

struct evaluator {
    struct train_engine engine;
    uint32_t batch, input_count, classes;
    bool fixed, loaded; /* weights come from packages alone; have come from one */
    float *x;
    int32_t *labels;
    const float *logits;
};

enum sotto_status evaluator_new(const struct graph *g, uint32_t batch,
                                const struct kern_backend *backend, struct evaluator **out,
                                struct sotto_error *err) {
    return evaluator_new_precision(g, batch, GRAPH_F32, backend, out, err);
}

struct graph_options evaluator_options(uint32_t batch, enum graph_precision precision) {
    return (struct graph_options){.mode = GRAPH_EVAL, .precision = precision, .batch = batch};
}

enum sotto_status evaluator_new_precision(const struct graph *g, uint32_t batch,
                                          enum graph_precision precision,
                                          const struct kern_backend *backend,
                                          struct evaluator **out, struct sotto_error *err) {
    const struct graph_options options = evaluator_options(batch, precision);
    struct evaluator *e = mem_zalloc(sizeof *e);
    *out = NULL;
    if (!e)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "evaluator");
    enum sotto_status status = train_engine_init(&e->engine, g, &options, backend, err);
    if (status != SOTTO_OK) {
        evaluator_free(e);
        return status;
    }
    e->batch = batch;
    e->fixed = precision == GRAPH_W8;
    e->input_count = graph_input_count(g);
    e->classes = graph_classes(g);
    e->x = kern_exec_host(e->engine.exec, e->engine.program->input);
    e->labels = kern_exec_host(e->engine.exec, e->engine.program->labels);
    e->logits = kern_exec_host(e->engine.exec, e->engine.program->logits);
    *out = e;
    return SOTTO_OK;
}

void evaluator_free(struct evaluator *e) {
    if (!e)
        return;
    train_engine_deinit(&e->engine);
    mem_free(e);
}

enum sotto_status evaluator_load(struct evaluator *e, const struct package *p,
                                 struct sotto_error *err) {
    e->loaded = false;
    const enum sotto_status status = train_engine_load(&e->engine, 0, p, err);
    e->loaded = status == SOTTO_OK;
    return status;
}

uint64_t evaluator_bytes(const struct evaluator *e) {
    return kern_exec_bytes(e->engine.exec) + sizeof *e;
}

struct kern_exec *evaluator_exec(struct evaluator *e) {
    return e->engine.exec;
}

const struct kern_program *evaluator_program(const struct evaluator *e) {
    return e->engine.program;
}

/* Adds weight * softmax(logits / temperature) to p; in double and shifted by the maximum. */
static void soften(const float *logits, uint32_t classes, const struct train_soften *how,
                   float *p) {
    double top = -HUGE_VAL, sum = 0, t = (double)how->temperature;
    for (uint32_t k = 0; k < classes; k++)
        if ((double)logits[k] > top)
            top = (double)logits[k];
    for (uint32_t k = 0; k < classes; k++)
        sum += exp(((double)logits[k] - top) / t);
    for (uint32_t k = 0; k < classes; k++)
        p[k] += (float)((double)how->weight * exp(((double)logits[k] - top) / t) / sum);
}

/* The part of e from position at on. */
static struct examples tail_of(const struct examples *e, uint32_t at) {
    struct examples part = *e;
    part.count -= at;
    if (part.index) {
        part.index += at;
        return part;
    }
    part.x = (const uint8_t *)part.x + data_schema_example_bytes(part.schema) * at;
    part.labels = part.labels ? part.labels + at : NULL;
    return part;
}

enum sotto_status train_run_batches(struct evaluator *e, const float *params,
                                    const struct examples *examples, const struct train_soften *how,
                                    float *out, struct sotto_error *err) {
    enum sotto_status status = train_check_examples(e->input_count, e->classes, examples, err);
    if (status != SOTTO_OK)
        return status;
    if (params ? e->fixed : !e->loaded)
        return SOTTO_FAIL(err, SOTTO_STATE, "the evaluator's weights come from a package%s",
                          params ? "" : ", and none is loaded");
    if (params) {
        kern_exec_load_params(e->engine.exec, params);
        e->loaded = false;
    }
    kern_exec_clear_metrics(e->engine.exec);
    for (uint32_t at = 0; at < examples->count && status == SOTTO_OK; at += e->batch) {
        struct examples part = tail_of(examples, at);
        uint32_t rows = part.count < e->batch ? part.count : e->batch;
        train_gather(&part, NULL, rows, e->batch, e->x, e->labels);
        status = kern_exec_run(e->engine.exec, &(struct kern_step){.rows = rows}, err);
        if (out && !how)
            memcpy(out + (size_t)at * e->classes, e->logits,
                   (size_t)rows * e->classes * sizeof *out);
        for (uint32_t r = 0; out && how && r < rows; r++)
            soften(e->logits + (size_t)r * e->classes, e->classes, how,
                   out + (size_t)(at + r) * e->classes);
    }
    return status;
}

enum sotto_status evaluator_run(struct evaluator *e, const float *params,
                                const struct examples *examples, struct train_metrics *out,
                                struct sotto_error *err) {
    double m[KERN_METRIC_COUNT];
    enum sotto_status status = train_run_batches(e, params, examples, NULL, NULL, err);
    if (status != SOTTO_OK)
        return status;
    kern_exec_metrics(e->engine.exec, m);
    *out = (struct train_metrics){.loss = m[KERN_METRIC_LOSS],
                                  .correct = (uint64_t)m[KERN_METRIC_CORRECT],
                                  .seen = (uint64_t)m[KERN_METRIC_SEEN],
                                  .steps = (examples->count - 1) / e->batch + 1};
    return SOTTO_OK;
}

enum sotto_status evaluator_predict(struct evaluator *e, const float *params,
                                    const struct examples *examples, float temperature, float *out,
                                    struct sotto_error *err) {
    if (!(temperature > 0.0f && temperature <= 1000.0f))
        return SOTTO_FAIL(err, SOTTO_INVALID, "temperature %g, allowed are above 0 up to 1000",
                          (double)temperature);
    memset(out, 0, (size_t)examples->count * e->classes * sizeof *out);
    return train_run_batches(e, params, examples, &(struct train_soften){temperature, 1.0f}, out,
                             err);
}

enum sotto_status evaluator_logits(struct evaluator *e, const float *params,
                                   const struct examples *examples, float *out,
                                   struct sotto_error *err) {
    return train_run_batches(e, params, examples, NULL, out, err);
}
