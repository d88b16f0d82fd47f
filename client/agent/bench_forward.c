/* bench's forward passes: a model evaluated in a precision, its speed, its memory, and how far it
 * is from f32. */
#include "agent/agent.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const names[] = {
    [GRAPH_F32] = "f32", [GRAPH_W8] = "w8", [GRAPH_BF16] = "bf16", [GRAPH_F16] = "f16"};

enum sotto_status agent_forward_precision(const char *name, enum graph_precision *out,
                                          struct sotto_error *err) {
    for (unsigned i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(name, names[i]) == 0) {
            *out = (enum graph_precision)i;
            return SOTTO_OK;
        }
    char shown[64];
    return SOTTO_FAIL(err, SOTTO_USAGE, "--precision: \"%s\" is none of f32, w8, f16, bf16",
                      sotto_escape(shown, sizeof shown, name, strnlen(name, 15)));
}

const char *agent_precision_name(enum graph_precision precision) {
    return names[precision];
}

/* An evaluator with the weights in it: the way of a device that was given an int8 package, or f32
 * values. */
static enum sotto_status open_evaluator(const struct graph *g, const struct data_schema *schema,
                                        const float *params, uint32_t batch,
                                        enum graph_precision precision,
                                        const struct kern_backend *backend, struct evaluator **out,
                                        struct sotto_error *err) {
    struct package package;
    struct buf bytes;
    enum sotto_status status;
    bool opened = false;
    buf_init(&bytes, PACKAGE_BYTES_MAX);
    TRY(evaluator_new_precision(g, batch, precision, backend, out, err));
    TRY(package_encode(g, schema, params, precision == GRAPH_W8 ? PACKAGE_I8 : PACKAGE_F32, &bytes,
                       err));
    opened = true;
    TRY(package_open(buf_view(&bytes), &package, err));
    TRY(evaluator_load(*out, &package, err));
out:
    if (opened)
        package_deinit(&package);
    buf_deinit(&bytes);
    return status;
}

static enum sotto_status time_passes(struct evaluator *e, const struct examples *examples,
                                     double seconds, struct agent_forward *out,
                                     struct sotto_error *err) {
    struct train_metrics m;
    double spent = 0;
    uint64_t seen = 0;
    enum sotto_status status;
    TRY(evaluator_run(e, NULL, examples, &m, err)); /* warms up */
    do {
        const uint64_t begin = clock_mono_ns();
        TRY(evaluator_run(e, NULL, examples, &m, err));
        spent += (double)(clock_mono_ns() - begin) * 1e-9;
        seen += m.seen;
    } while (spent < seconds && !agent_stopped());
    out->samples_per_s = spent > 0 ? (double)seen / spent : 0;
out:
    return status;
}

static uint32_t best_of(const float *x, uint32_t n) {
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++)
        if (x[i] > x[best])
            best = i;
    return best;
}

static void compare(const float *got, const float *want, uint32_t rows, uint32_t classes,
                    struct agent_forward *out) {
    uint32_t same = 0;
    out->farthest = 0;
    for (uint32_t r = 0; r < rows; r++) {
        const float *a = got + (size_t)r * classes, *b = want + (size_t)r * classes;
        same += best_of(a, classes) == best_of(b, classes);
        for (uint32_t c = 0; c < classes; c++)
            out->farthest = fmax(out->farthest, fabs((double)a[c] - (double)b[c]));
    }
    out->agreement = (double)same / rows;
}

enum sotto_status agent_forward_measure(const struct graph *g, const struct data_schema *schema,
                                        const float *params, const struct examples *examples,
                                        uint32_t batch, double seconds,
                                        enum graph_precision precision,
                                        const struct kern_backend *backend,
                                        struct agent_forward *out, struct sotto_error *err) {
    struct evaluator *e = NULL, *plain = NULL;
    const uint32_t classes = graph_classes(g);
    const size_t count = (size_t)examples->count * classes;
    float *got = mem_array(count, sizeof *got), *want = mem_array(count, sizeof *want);
    enum sotto_status status;
    memset(out, 0, sizeof *out);
    if (got == NULL || want == NULL)
        TRY_FAIL(err, SOTTO_NOMEM, "no memory for %zu logits", count);
    TRY(open_evaluator(g, schema, params, batch, precision, backend, &e, err));
    out->bytes = kern_exec_bytes(evaluator_exec(e));
    TRY(evaluator_logits(e, NULL, examples, got, err));
    TRY(time_passes(e, examples, seconds, out, err));
    TRY(evaluator_new(g, batch, backend, &plain, err));
    TRY(evaluator_logits(plain, params, examples, want, err));
    compare(got, want, examples->count, classes, out);
out:
    evaluator_free(e);
    evaluator_free(plain);
    mem_free(got);
    mem_free(want);
    return status;
}
