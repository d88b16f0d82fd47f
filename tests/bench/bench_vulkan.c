/* Training steps of the zoo's models through Vulkan: what a step asks of the device, and its speed
 * beside the processor's own kernels in the same run; many clients in grouped launches; one large
 * product.
 *
 * bench_vulkan [--json] [--seconds S] [--batch B] [--lanes N] [--model NAME] [--product N] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sotto/zoo.h"

#define CHUNK 32

struct options {
    bool json;
    double seconds;
    uint32_t batch, lanes, product;
    const char *model;
};

static int fail(const struct sotto_error *err) {
    fprintf(stderr, "bench_vulkan: %s\n", err->message);
    return 1;
}

static void fill_inputs(const struct kern_program *p, struct kern_exec *e) {
    struct rng rng;
    rng_init(&rng, 1, 0, 0, RNG_GENERATE);
    for (uint32_t lane = 0; lane < kern_exec_lanes(e); lane++) {
        float *x = kern_exec_lane_host(e, lane, p->input);
        int32_t *labels = kern_exec_lane_host(e, lane, p->labels);
        for (uint32_t i = 0; i < p->buffers[p->input].count; i++)
            x[i] = rng_f32(&rng);
        for (uint32_t i = 0; i < p->batch; i++)
            labels[i] = (int32_t)rng_below(&rng, 10);
    }
}

/* Steps of all lanes in a second, or 0. The first call warms up: pipelines, clocks, the budget. */
static double steps_per_second(struct kern_exec *e, uint32_t batch, double seconds) {
    static struct kern_step steps[CHUNK * KERN_LANES_MAX];
    uint32_t lanes = kern_exec_lanes(e), count = CHUNK, done = 0;
    for (uint32_t i = 0; i < CHUNK * lanes; i++)
        steps[i] = (struct kern_step){.lr = 0.001f, .rows = batch, .index = i / lanes};
    uint64_t start = clock_mono_ns();
    if (kern_exec_run_many(e, steps, 2, NULL, NULL, NULL, NULL) != SOTTO_OK)
        return 0.0;
    double once = (double)(clock_mono_ns() - start) * 0.5e-9;
    if (once * CHUNK > seconds)
        count = (uint32_t)(seconds / once) + 1;
    start = clock_mono_ns();
    double elapsed;
    do {
        if (kern_exec_run_many(e, steps, count < CHUNK ? count : CHUNK, NULL, NULL, NULL, NULL) !=
            SOTTO_OK)
            return 0.0;
        done += count < CHUNK ? count : CHUNK;
        elapsed = (double)(clock_mono_ns() - start) * 1e-9;
    } while (elapsed < seconds);
    return done / elapsed;
}

static enum sotto_status speed(const struct graph *g, const struct kern_program *p,
                               const char *backend, uint32_t lanes, double seconds, double *rate,
                               struct kern_device_counts *counts, struct sotto_error *err) {
    struct kern_exec *e = NULL;
    enum sotto_status status = SOTTO_OK;
    float *w = mem_array(g->layout.total, sizeof(float));
    if (!w)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for weights");
    graph_init_params(g, 1, w);
    TRY(kern_exec_new_lanes(p, kern_backend_find(backend), lanes, &e, err));
    for (uint32_t lane = 0; lane < lanes; lane++)
        kern_exec_load_lane(e, lane, w);
    fill_inputs(p, e);
    *rate = steps_per_second(e, p->batch, seconds) * lanes * p->batch;
    kern_exec_counts(e, counts);
out:
    kern_exec_free(e);
    mem_free(w);
    return status;
}

static enum sotto_status one_model(const struct options *o, const char *name, uint32_t lanes,
                                   struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct graph g;
    struct data_schema schema;
    struct kern_program *p = NULL;
    struct kern_device_counts c, none;
    double vulkan = 0.0, cpu = 0.0;
    struct graph_options options = {.mode = GRAPH_TRAIN, .batch = o->batch};
    graph_init(&g);
    TRY(zoo_build(name, &g, &schema, err));
    TRY(graph_compile_program(&g, &options, &p, err));
    TRY(speed(&g, p, "vulkan", lanes, o->seconds, &vulkan, &c, err));
    TRY(speed(&g, p, "cpu", 1, o->seconds, &cpu, &none, err));
    double submits = c.steps ? (double)c.submits / (double)c.steps : 0.0;
    if (o->json)
        printf("{\"model\":\"%s\",\"batch\":%u,\"lanes\":%u,\"dispatches\":%u,\"barriers\":%u,"
               "\"submits_per_step\":%.3f,\"on_cpu\":%u,\"samples_per_s\":%.1f,"
               "\"cpu_samples_per_s\":%.1f}\n",
               name, o->batch, lanes, c.dispatches, c.barriers, submits, c.on_cpu, vulkan, cpu);
    else
        printf("%-10s %5u %5u %10u %8u %8.3f %6u %12.1f %12.1f\n", name, o->batch, lanes,
               c.dispatches, c.barriers, submits, c.on_cpu, vulkan, cpu);
    fflush(stdout);
out:
    graph_program_free(p);
    graph_deinit(&g);
    return status;
}

/* C = A B of n x n, GFLOP/s with the waiting for one submission spread over ten products. */
static enum sotto_status product(const struct options *o, uint32_t n, struct sotto_error *err) {
    enum { TIMES = 10 };
    enum sotto_status status = SOTTO_OK;
    struct kern_buffer b[5] = {
        {KERN_F32, KERN_ROLE_INPUT, 1, {1}, 1, 0},
        {KERN_F32, KERN_ROLE_OUTPUT, 1, {1}, 1, KERN_ALIGN},
    };
    struct kern_instr in[TIMES];
    for (uint32_t i = 2; i < 5; i++)
        b[i] = (struct kern_buffer){KERN_F32, KERN_ROLE_TEMP, 1,
                                    {n * n},  n * n,          (i - 1) * 4ull * n * n + KERN_ALIGN};
    b[2].offset = 2 * KERN_ALIGN, b[3].offset = b[2].offset + 4ull * n * n;
    b[4].offset = b[3].offset + 4ull * n * n;
    for (unsigned i = 0; i < TIMES; i++)
        in[i] = (struct kern_instr){
            .op = KERN_GEMM,
            .args = {2, 3, 4, KERN_NONE, KERN_NONE, KERN_NONE, KERN_NONE, KERN_NONE},
            .u.gemm = {.m = n, .n = n, .k = n}};
    struct kern_program p = {.buffer_count = 5,
                             .buffers = b,
                             .instr_count = TIMES,
                             .instrs = in,
                             .arena_bytes = b[4].offset + 4ull * n * n,
                             .batch = 1,
                             .input = 0,
                             .logits = 1,
                             .labels = KERN_NONE,
                             .targets = KERN_NONE,
                             .metric = KERN_NONE};
    struct kern_exec *e = NULL;
    TRY(kern_exec_new(&p, kern_backend_find("vulkan"), &e, err));
    float *zeros = mem_array((size_t)n * n, sizeof(float));
    if (!zeros)
        TRY_FAIL(err, SOTTO_NOMEM, "no memory for a matrix");
    for (uint32_t i = 2; i < 5; i++)
        kern_exec_write(e, i, zeros);
    mem_free(zeros);
    double rate = steps_per_second(e, 1, o->seconds) * TIMES * 2e-9 * n * n * n;
    printf(o->json ? "{\"product\":%u,\"gflops\":%.2f}\n" : "product of %u: %.2f GFLOP/s\n", n,
           rate);
out:
    kern_exec_free(e);
    return status;
}

static bool parse(int argc, char **argv, struct options *o) {
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--json") == 0) {
            o->json = true;
            continue;
        }
        if (!value)
            return false;
        if (strcmp(argv[i], "--seconds") == 0)
            o->seconds = strtod(value, NULL);
        else if (strcmp(argv[i], "--batch") == 0)
            o->batch = (uint32_t)strtoul(value, NULL, 10);
        else if (strcmp(argv[i], "--lanes") == 0)
            o->lanes = (uint32_t)strtoul(value, NULL, 10);
        else if (strcmp(argv[i], "--product") == 0)
            o->product = (uint32_t)strtoul(value, NULL, 10);
        else if (strcmp(argv[i], "--model") == 0)
            o->model = value;
        else
            return false;
        i++;
    }
    return o->batch > 0 && o->lanes > 0 && o->lanes <= KERN_LANES_MAX && o->product <= 8192;
}

int main(int argc, char **argv) {
    static const char *const models[] = {"logreg", "mnist-2nn", "mnist-cnn", "cifar-cnn"};
    struct options o = {.seconds = 2.0, .batch = 10, .lanes = 1, .product = 256};
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct kern_device_info list[KERN_DEVICES_MAX];
    char reason[256];
    if (!parse(argc, argv, &o)) {
        fprintf(stderr, "usage: bench_vulkan [--json] [--seconds S] [--batch B] [--lanes N] "
                        "[--model NAME] [--product N]\n");
        return 2;
    }
    size_t n = kern_device_list(list, KERN_DEVICES_MAX, reason, sizeof(reason));
    if (n == 0) {
        fprintf(stderr, "bench_vulkan: nothing to measure: %s\n", reason);
        return 0;
    }
    for (size_t i = 0; i < n; i++)
        if (list[i].selected)
            fprintf(stderr, "bench_vulkan: %s (%s, %s), beside %s\n", list[i].name, list[i].type,
                    list[i].driver, kern_backend_kernel_set(kern_backend_find("cpu")));
    if (!o.json)
        printf("%-10s %5s %5s %10s %8s %8s %6s %12s %12s\n", "model", "batch", "lanes",
               "dispatches", "barriers", "submits", "on cpu", "samples/s", "cpu's");
    for (unsigned i = 0; i < ARRAY_LEN(models); i++) {
        if (o.model && strcmp(o.model, models[i]) != 0)
            continue;
        if (one_model(&o, models[i], o.lanes, &err) != SOTTO_OK)
            return fail(&err);
    }
    if (!o.model && o.product && product(&o, o.product, &err) != SOTTO_OK)
        return fail(&err);
    return 0;
}
