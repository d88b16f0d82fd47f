/* bench: how fast each backend trains, and evaluates, a model on this device. Needs no store and no
 * coordinator. */
#include "agent/agent.h"

#include "sotto/kernels.h"
#include "sotto/zoo.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define BENCH_MODEL       "mnist-2nn"
#define BENCH_BATCH       10u
#define BENCH_BATCH_MAX   4096u
#define BENCH_SECONDS     2u
#define BENCH_SECONDS_MAX 600u
#define EPOCH_STEPS       16u
#define EXAMPLES_BYTES    ((size_t)64 << 20)

struct bench {
    struct graph graph;
    struct data_schema schema;
    float *params; /* graph.layout.total */
    char name[96];
    struct dataset data;
    uint32_t batch;
    double seconds, peak;
    bool forward; /* too, in: */
    enum graph_precision precision;
};
struct result {
    const struct kern_backend *backend;
    double samples_per_s, share, ms_per_step; /* share NAN: of a device, whose peak is not known */
    uint64_t arena_bytes;
    struct agent_forward forward;
    struct sotto_error err;
};

/* ---- The model and examples for it
 * ------------------------------------------------------------------------------------------
 */

static enum sotto_status from_zoo(struct bench *b, const char *name, struct sotto_error *err) {
    enum sotto_status status;
    TRY(zoo_build(name, &b->graph, &b->schema, err));
    b->params = mem_array(b->graph.layout.total, sizeof *b->params);
    if (b->params == NULL)
        TRY_FAIL(err, SOTTO_NOMEM, "no memory for %u weights", b->graph.layout.total);
    graph_init_params(&b->graph, 1, b->params);
out:
    return status;
}

static enum sotto_status no_model(const char *name, struct sotto_error *err) {
    char names[200] = "", shown[120];
    size_t count = 0;
    const struct zoo_entry *list = zoo_list(&count);
    for (size_t i = 0; i < count; i++) {
        const size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%s", i > 0 ? ", " : "", list[i].name);
    }
    return SOTTO_FAIL(err, SOTTO_USAGE, "--model: no file and no model \"%s\"; models: %s",
                      sotto_escape(shown, sizeof shown, name, strnlen(name, 28)), names);
}

/* A package as devices get it: sottoctl models export writes one. */
static enum sotto_status from_file(struct bench *b, const char *path, struct sotto_error *err) {
    struct package package;
    struct buf bytes;
    enum sotto_status status;
    buf_init(&bytes, PACKAGE_BYTES_MAX);
    memset(&package, 0, sizeof package);
    TRY(io_read_file(path, PACKAGE_BYTES_MAX, &bytes, err));
    status = package_decode(buf_view(&bytes), &package, err);
    if (status != SOTTO_OK) {
        (void)sotto_error_prefix(err, "%.100s", path);
        package_deinit(&package);
        goto out;
    }
    b->graph = package.graph;
    b->schema = package.schema;
    b->params = package.params;
out:
    buf_deinit(&bytes);
    return status;
}

static enum sotto_status draw_examples(struct bench *b, struct sotto_error *err) {
    struct dataset *d = &b->data;
    const size_t example = data_schema_example_bytes(&b->schema),
                 values = data_schema_count(&b->schema);
    struct rng rng;
    size_t bytes = 0;
    d->schema = b->schema;
    d->count = b->batch * EPOCH_STEPS;
    if (!num_mul_size(d->count, example, &bytes) || bytes > EXAMPLES_BYTES)
        return SOTTO_FAIL(err, SOTTO_LIMIT, "--batch: examples of %u steps take more than %zu MiB",
                          EPOCH_STEPS, EXAMPLES_BYTES >> 20);
    d->x = mem_alloc(bytes);
    d->labels = mem_array(d->count, sizeof *d->labels);
    if (d->x == NULL || d->labels == NULL)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for %u examples", d->count);
    rng_init(&rng, 1, 0, 0, RNG_GENERATE);
    for (size_t i = 0; i < d->count * values; i++) {
        if (b->schema.dtype == DATA_U8)
            ((uint8_t *)d->x)[i] = (uint8_t)rng_u32(&rng);
        else
            ((float *)d->x)[i] = (float)(rng_u32(&rng) >> 8) / 16777216.0f;
    }
    for (uint32_t i = 0; i < d->count; i++)
        d->labels[i] = (int32_t)rng_below(&rng, b->schema.classes);
    return SOTTO_OK;
}

static enum sotto_status bench_open(struct bench *b, const struct agent_args *a,
                                    struct sotto_error *err) {
    const char *name = a->model != NULL ? a->model : BENCH_MODEL;
    enum sotto_status status = SOTTO_OK;
    const uint64_t seconds = a->seconds > 0 ? a->seconds : BENCH_SECONDS;
    memset(b, 0, sizeof *b);
    graph_init(&b->graph);
    dataset_init(&b->data);
    if (a->batch > BENCH_BATCH_MAX)
        TRY_FAIL(err, SOTTO_USAGE, "--batch: %llu is not in 1..%u", (unsigned long long)a->batch,
                 BENCH_BATCH_MAX);
    if (seconds > BENCH_SECONDS_MAX)
        TRY_FAIL(err, SOTTO_USAGE, "--seconds: %llu is not in 1..%u", (unsigned long long)seconds,
                 BENCH_SECONDS_MAX);
    b->forward = a->precision != NULL;
    if (b->forward)
        TRY(agent_forward_precision(a->precision, &b->precision, err));
    b->batch = a->batch > 0 ? (uint32_t)a->batch : BENCH_BATCH;
    b->seconds = (double)seconds;
    sotto_escape(b->name, sizeof b->name, name, strnlen(name, 23));
    if (zoo_find(name) != NULL)
        TRY(from_zoo(b, name, err));
    else if (io_exists(name))
        TRY(from_file(b, name, err));
    else
        TRY(no_model(name, err));
    TRY(draw_examples(b, err));
    b->peak = kern_peak_flops();
out:
    return status;
}

static void bench_close(struct bench *b) {
    graph_deinit(&b->graph);
    dataset_deinit(&b->data);
    mem_free(b->params);
}

/* ---- One backend
 * -------------------------------------------------------------------------------------------------------------
 */

/* steps of a fresh training, to the end of what a device was given. */
static enum sotto_status run_steps(const struct bench *b, struct trainer *t, float *out,
                                   uint32_t steps, double *seconds, struct sotto_error *err) {
    const struct examples examples = dataset_examples(&b->data);
    const struct train_stream stream = {1, 1, 1};
    struct train_metrics metrics;
    enum sotto_status status;
    TRY(trainer_begin(t, b->params, &examples, &stream, err));
    const uint64_t begin = clock_mono_ns();
    TRY(trainer_advance(t, steps, NULL, err));
    trainer_finish(t, out, &metrics);
    *seconds = (double)(clock_mono_ns() - begin) * 1e-9;
out:
    return status;
}

static enum sotto_status measure(const struct bench *b, struct result *r, struct sotto_error *err) {
    struct train_rule rule = TRAIN_RULE_INIT;
    struct trainer *t = NULL;
    double once = 0, spent = 0;
    uint64_t steps = 0;
    enum sotto_status status = SOTTO_OK;
    float *out = mem_array(b->graph.layout.total, sizeof *out);
    rule.batch = b->batch;
    rule.lr = 0.01f;
    if (out == NULL)
        TRY_FAIL(err, SOTTO_NOMEM, "no memory for %u weights", b->graph.layout.total);
    if (!kern_backend_available(r->backend))
        TRY_FAIL(err, SOTTO_UNSUPPORTED, "there is no device for it");
    TRY(trainer_new(&b->graph, &rule, b->batch, r->backend, &t, err));
    r->arena_bytes = kern_exec_bytes(trainer_exec(t));
    TRY(run_steps(b, t, out, 1, &once, err)); /* warms up */
    TRY(run_steps(b, t, out, 1, &once, err));
    const uint32_t pass = once * EPOCH_STEPS > b->seconds ? 1 : EPOCH_STEPS;
    while (spent < b->seconds && !agent_stopped()) {
        TRY(run_steps(b, t, out, pass, &once, err));
        spent += once;
        steps += pass;
    }
    if (steps == 0)
        TRY_FAIL(err, SOTTO_CANCELLED, "stopped");
    r->ms_per_step = spent * 1e3 / (double)steps;
    r->samples_per_s = (double)steps * b->batch / spent;
    r->share = kern_program_flops(trainer_program(t)) * (double)steps / spent / b->peak;
    if (strcmp(kern_backend_name(r->backend), "vulkan") == 0)
        r->share = NAN;
    if (b->forward) {
        const struct examples examples = dataset_examples(&b->data);
        TRY(agent_forward_measure(&b->graph, &b->schema, b->params, &examples, b->batch, b->seconds,
                                  b->precision, r->backend, &r->forward, err));
    }
out:
    trainer_free(t);
    mem_free(out);
    return status;
}

/* ---- Output
 * ------------------------------------------------------------------------------------------------------------------
 */

static void text_forward(const struct bench *b, const struct agent_forward *f, struct buf *out) {
    char arena[32];
    buf_printf(out,
               "forward %-4s %8.1f samples/s, arena %s, same class as f32 in %.2f%%, logits within "
               "%.3g\n",
               agent_precision_name(b->precision), f->samples_per_s,
               num_format_size(arena, sizeof arena, f->bytes), 100 * f->agreement, f->farthest);
}

static void text_result(const struct bench *b, const struct result *r, struct buf *out) {
    char arena[32], share[16] = "-";
    const char *name = kern_backend_name(r->backend);
    if (r->err.status != SOTTO_OK) {
        buf_printf(out, "%-8s failed: %s\n", name, r->err.message);
        return;
    }
    if (isfinite(r->share))
        snprintf(share, sizeof share, "%.1f%%", 100 * r->share);
    buf_printf(out, "%-8s %11.1f %8s %11s %10.3f  %s\n", name, r->samples_per_s, share,
               num_format_size(arena, sizeof arena, r->arena_bytes), r->ms_per_step,
               kern_backend_kernel_set(r->backend));
    if (b->forward)
        text_forward(b, &r->forward, out);
}

static void json_forward(const struct bench *b, const struct agent_forward *f, struct json *j) {
    json_key(j, "forward");
    json_object_begin(j);
    json_put_str(j, "precision", agent_precision_name(b->precision));
    json_put_f64(j, "samples_per_s", f->samples_per_s);
    json_put_u64(j, "arena_bytes", f->bytes);
    json_put_f64(j, "agreement", f->agreement);
    json_put_f64(j, "farthest", f->farthest);
    json_object_end(j);
}

static void json_result(const struct bench *b, const struct result *r, struct json *j) {
    json_object_begin(j);
    json_put_str(j, "backend", kern_backend_name(r->backend));
    if (r->err.status == SOTTO_OK) {
        json_put_str(j, "kernels", kern_backend_kernel_set(r->backend));
        json_put_f64(j, "samples_per_s", r->samples_per_s);
        json_put_f64(j, "share_of_peak", r->share);
        json_put_u64(j, "arena_bytes", r->arena_bytes);
        json_put_f64(j, "ms_per_step", r->ms_per_step);
        if (b->forward)
            json_forward(b, &r->forward, j);
    } else {
        json_put_str(j, "error", r->err.message);
    }
    json_object_end(j);
}

static void print_head(const struct bench *b, struct buf *out) {
    buf_printf(out,
               "%s: %u weights, batch %u, on one core with a peak of %.1f GFLOP/s\n"
               "%-8s %11s %8s %11s %10s  %s\n",
               b->name, b->graph.layout.total, b->batch, b->peak * 1e-9, "backend", "samples/s",
               "of peak", "arena", "ms/step", "kernels");
}

static void json_head(const struct bench *b, struct json *j) {
    json_object_begin(j);
    json_put_str(j, "model", b->name);
    json_put_u64(j, "weights", b->graph.layout.total);
    json_put_u64(j, "batch", b->batch);
    json_put_f64(j, "peak_flops", b->peak);
    json_key(j, "backends");
    json_array_begin(j);
}

/* The named backend, or all that are usable but the oracle. */
static enum sotto_status choose_backends(const char *name, const struct kern_backend **out,
                                         size_t cap, size_t *count, struct sotto_error *err) {
    const struct kern_backend *all[16];
    const size_t n = kern_backend_list(all, ARRAY_LEN(all));
    *count = 0;
    for (size_t i = 0; i < n && i < ARRAY_LEN(all) && *count < cap; i++) {
        const bool oracle = strcmp(kern_backend_name(all[i]), "ref") == 0;
        if (name != NULL ? strcmp(kern_backend_name(all[i]), name) == 0
                         : !oracle && kern_backend_available(all[i]))
            out[(*count)++] = all[i];
    }
    return *count > 0 ? SOTTO_OK
                      : SOTTO_FAIL(err, SOTTO_USAGE,
                                   "--backend: there is no backend \"%.40s\" in this program: see "
                                   "sotto-client devices",
                                   name != NULL ? name : "");
}

int agent_bench(struct agent_args *a) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    const struct kern_backend *list[16];
    struct bench b;
    struct buf out;
    struct json j;
    size_t count = 0, failed = 0;
    enum sotto_status status;
    memset(&b, 0, sizeof b);
    buf_init(&out, 1u << 16);
    json_init(&j, &out);
    agent_setup_devices(a);
    TRY(choose_backends(a->backend, list, ARRAY_LEN(list), &count, &err));
    TRY(bench_open(&b, a, &err));
    a->json ? json_head(&b, &j) : print_head(&b, &out);
    for (size_t i = 0; i < count && !agent_stopped(); i++) {
        struct result r = {.backend = list[i], .err = SOTTO_ERROR_INIT};
        if (measure(&b, &r, &r.err) != SOTTO_OK)
            failed++;
        a->json ? json_result(&b, &r, &j) : text_result(&b, &r, &out);
        if (!a->json) { /* one at a time: each takes a while */
            agent_print(&out);
            buf_reset(&out);
        }
        if (r.err.status != SOTTO_OK)
            err = r.err;
    }
    if (a->json) {
        json_array_end(&j);
        json_object_end(&j);
        buf_put_u8(&out, '\n');
        agent_print(&out);
    }
    if (failed == count)
        status = err.status;
out:
    bench_close(&b);
    buf_deinit(&out);
    return status == SOTTO_OK ? 0 : agent_fail(&err);
}
