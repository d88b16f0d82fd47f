/* Rates of the update codec on the MNIST CNN's layout, beside what memory allows in the same run.
 * bench_codec [--json] [--seconds S] */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "sotto/protocol/codec.h"
#include "sotto/protocol/masked.h"

static const struct bench_case {
    const char *name;
    float keep;
    unsigned bits;
} cases[] = {
    {"dense-fp32", 1.0f, 32}, {"dense-8bit", 1.0f, 8},    {"dense-4bit", 1.0f, 4},
    {"5%-fp32", 0.05f, 32},   {"5%-8bit", 0.05f, 8},      {"5%-4bit", 0.05f, 4},
    {"1%-4bit", 0.01f, 4},    {"0.25%-2bit", 0.0025f, 2},
};

struct bench {
    struct layout layout;
    struct codec_spec spec;
    struct codec_input in;
    struct codec_update update;
    struct accumulator sums;
    float *raw;
    double seconds; /* of each measurement */
    bool json;
};

/* Rates in coordinates a second, sizes in bytes. */
struct result {
    double encode, check, add;
    uint64_t kept, bytes;
    double kept_bits, kept_bits_entropy;
};

/* CPU time of this thread: other work on the machine then disturbs least. */
static double now_s(void) {
    return (double)clock_thread_cpu_ns() * 1e-9;
}

static enum sotto_status bench_init(struct bench *b, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    static const struct {
        const char *name;
        enum layout_kind kind;
        uint32_t rank, dims[4];
    } segments[] = {
        {"conv1.weight", LAYOUT_WEIGHT, 4, {5, 5, 1, 32}},  {"conv1.bias", LAYOUT_BIAS, 1, {32}},
        {"conv2.weight", LAYOUT_WEIGHT, 4, {5, 5, 32, 64}}, {"conv2.bias", LAYOUT_BIAS, 1, {64}},
        {"fc1.weight", LAYOUT_WEIGHT, 2, {3136, 512}},      {"fc1.bias", LAYOUT_BIAS, 1, {512}},
        {"fc2.weight", LAYOUT_WEIGHT, 2, {512, 10}},        {"fc2.bias", LAYOUT_BIAS, 1, {10}},
    };
    struct rng r;
    layout_init(&b->layout);
    codec_update_init(&b->update);
    for (size_t i = 0; i < ARRAY_LEN(segments); i++)
        TRY(layout_add(&b->layout, segments[i].name, segments[i].kind, segments[i].rank,
                       segments[i].dims, err));
    b->raw = mem_array(b->layout.total, sizeof *b->raw);
    b->in.values[0] = mem_array(b->layout.total, sizeof(float));
    b->in.residual[0] = mem_array(b->layout.total, sizeof(float));
    if (b->raw == NULL || b->in.values[0] == NULL || b->in.residual[0] == NULL)
        TRY_FAIL(err, SOTTO_NOMEM, "no memory for the arrays");
    rng_init(&r, 1, 0, 0, RNG_INIT);
    for (uint32_t i = 0; i < b->layout.total; i++)
        b->raw[i] = (float)rng_normal(&r) * 0.01f;
    b->in.scalars[CODEC_WEIGHT] = 600;
    b->spec = (struct codec_spec){.pipeline = CODEC_PIPELINE_INIT,
                                  .section_count = 1,
                                  .sections = {{"weights", &b->layout}},
                                  .weight_max = 1000,
                                  .accept_max = 10000};
    b->spec.pipeline.fraction_bits = 28;
    b->spec.pipeline.clip_inf = 1.0f;
    b->spec.pipeline.stochastic = true;
    b->spec.pipeline.error_feedback = true;
    TRY(accumulator_init(&b->sums, &b->spec, err));
out:
    return status;
}

static void bench_deinit(struct bench *b) {
    accumulator_deinit(&b->sums);
    codec_update_deinit(&b->update);
    mem_free(b->in.residual[0]);
    mem_free(b->in.values[0]);
    mem_free(b->raw);
    layout_deinit(&b->layout);
}

/* Bits of a kept value with its position at the entropy of a random support: the value's bits and
 * H(p) / p. */
static double entropy_bits(const struct bench *b, uint64_t kept) {
    double bits = 0.0;
    for (uint32_t i = 0; i < b->layout.segment_count; i++) {
        const struct layout_segment *s = &b->layout.segments[i];
        const double k = (double)codec_keep_count(&b->spec.pipeline, s);
        const double p = k / (double)s->count;
        bits += k * b->spec.pipeline.bits;
        if (p < 1.0)
            bits -= (double)s->count * (p * log2(p) + (1.0 - p) * log2(1.0 - p));
    }
    return bits / (double)kept;
}

static enum sotto_status encode_once(struct bench *b, struct sotto_error *err) {
    struct rng r;
    rng_init(&r, 1, 1, 1, RNG_ROUNDING);
    memcpy(b->in.values[0], b->raw, b->layout.total * sizeof *b->raw);
    memset(b->in.residual[0], 0, b->layout.total * sizeof(float));
    return codec_encode(&b->spec, &b->in, &r, &b->update, err);
}

static enum sotto_status check_once(const struct bench *b, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct codec_head *head = NULL;
    struct codec_check *check = codec_check_new(&b->spec);
    if (check == NULL)
        TRY_FAIL(err, SOTTO_NOMEM, "no memory for a check");
    TRY(codec_head_decode(&b->spec, codec_update_part(&b->update, 0), &head, err));
    for (uint32_t i = 1; i < b->update.part_count; i++)
        TRY(codec_check_part(&b->spec, head, check, codec_update_part(&b->update, i), err));
    TRY(codec_check_finish(&b->spec, head, check, err));
out:
    codec_head_free(head);
    codec_check_free(check);
    return status;
}

static enum sotto_status add_once(struct bench *b, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct codec_head *head = NULL;
    if (b->sums.updates == b->spec.accept_max)
        accumulator_clear(&b->sums);
    TRY(codec_head_decode(&b->spec, codec_update_part(&b->update, 0), &head, err));
    TRY(accumulator_add_head(&b->sums, &b->spec, head));
    for (uint32_t i = 1; i < b->update.part_count; i++)
        TRY(accumulator_add_part(&b->sums, &b->spec, head, i, codec_update_part(&b->update, i),
                                 err));
out:
    codec_head_free(head);
    return status;
}

/* The best of many batches of at least a millisecond, in coordinates a second. */
#define RATE(out, call)                                                                            \
    do {                                                                                           \
        double best = INFINITY;                                                                    \
        const double start = now_s();                                                              \
        do {                                                                                       \
            const double t0 = now_s();                                                             \
            double t = 0.0, runs = 0.0;                                                            \
            for (; t < 1e-3; t = now_s() - t0, runs++)                                             \
                TRY(call);                                                                         \
            best = t / runs < best ? t / runs : best;                                              \
        } while (now_s() - start < b->seconds);                                                    \
        (out) = (double)b->layout.total / best;                                                    \
    } while (0)

static enum sotto_status measure(struct bench *b, struct result *r, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    RATE(r->encode, encode_once(b, err));
    RATE(r->check, check_once(b, err));
    accumulator_clear(&b->sums);
    RATE(r->add, add_once(b, err));
    r->bytes = b->update.bytes.len;
    for (uint32_t i = 0; i < b->layout.segment_count; i++)
        r->kept += codec_keep_count(&b->spec.pipeline, &b->layout.segments[i]);
    r->kept_bits = 8.0 * (double)r->bytes / (double)r->kept;
    r->kept_bits_entropy = entropy_bits(b, r->kept);
out:
    return status;
}

static enum sotto_status copy_once(struct bench *b) {
    memcpy(b->in.values[0], b->raw, b->layout.total * sizeof *b->raw);
    __asm__ volatile("" ::"r"(b->in.values[0]) : "memory");
    return SOTTO_OK;
}

/* The bytes that adding fp32 values must move: one int64 read and written, one float read a
 * coordinate. */
static enum sotto_status stream_once(struct bench *b) {
    const uint32_t *x = (const void *)b->raw;
    int64_t *sums = b->sums.sums[0];
    for (uint32_t i = 0; i < b->layout.total; i++)
        sums[i] += (int64_t)(x[i] & 0xffffu);
    __asm__ volatile("" ::"r"(sums) : "memory");
    return SOTTO_OK;
}

static void print_result(const struct bench *b, const struct bench_case *c,
                         const struct result *r) {
    const double n = (double)b->layout.total;
    const double share = (double)r->kept / n;
    const double ratio = 4.0 * n / (double)r->bytes;
    if (b->json) {
        printf("{\"bench\":\"codec\",\"case\":\"%s\",\"coordinates\":%u,\"kept\":%llu,"
               "\"bytes\":%llu,\"ratio\":%.2f,\"encode_coordinates_per_s\":%.4g,"
               "\"check_coordinates_per_s\":%.4g,\"add_coordinates_per_s\":%.4g,"
               "\"add_kept_per_s\":%.4g,\"add_bytes_per_s\":%.4g,\"kept_bits\":%.4f,"
               "\"kept_bits_entropy\":%.4f}\n",
               c->name, (unsigned)b->layout.total, (unsigned long long)r->kept,
               (unsigned long long)r->bytes, ratio, r->encode, r->check, r->add, r->add * share,
               r->add / n * (double)r->bytes, r->kept_bits, r->kept_bits_entropy);
        return;
    }
    printf("%-11s %9llu %6.1fx %9.1f %9.1f %9.1f %9.1f %9.1f %8.3f %8.3f\n", c->name,
           (unsigned long long)r->bytes, ratio, r->encode * 1e-6, r->check * 1e-6, r->add * 1e-6,
           r->add * share * 1e-6, r->add / n * (double)r->bytes * 1e-6, r->kept_bits,
           r->kept_bits_entropy);
}

/* ---- Under masks: one device's vector, and a group's sum into the exact sums ---------------- */

#define MASKED_MEMBERS 100u

static const struct {
    const char *name;
    float keep;
    unsigned ring_bits, rotate_log2;
} masked_cases[] = {
    {"dense-ring16", 1.0f, 16, 15},
    {"10%-ring16", 0.1f, 16, 15},
    {"10%-ring32", 0.1f, 32, 15},
    {"10%-unrotated", 0.1f, 16, 0},
};

struct masked_bench {
    struct bench *b;
    struct masked_plan *plan;
    uint32_t *vector;
};

static enum sotto_status masked_encode_once(struct masked_bench *m, struct sotto_error *err) {
    struct bench *b = m->b;
    struct rng r;
    rng_init(&r, 1, 1, 1, RNG_ROUNDING);
    memcpy(b->in.values[0], b->raw, b->layout.total * sizeof *b->raw);
    memset(b->in.residual[0], 0, b->layout.total * sizeof(float));
    return masked_encode(m->plan, &b->in, &r, m->vector, err);
}

/* The sum of as many equal vectors as the group may have. */
static enum sotto_status masked_take_once(struct masked_bench *m, struct sotto_error *err) {
    const uint64_t length = masked_length(m->plan);
    for (uint64_t first = 0; first < length; first += MASKED_BLOCK) {
        const size_t count = (size_t)num_min_u64(MASKED_BLOCK, length - first);
        const enum sotto_status status = masked_sum_take(
            m->plan, MASKED_MEMBERS, first, m->vector + first, count, &m->b->sums, err);
        if (status != SOTTO_OK)
            return status;
    }
    accumulator_clear(&m->b->sums);
    return SOTTO_OK;
}

static enum sotto_status run_masked_case(struct bench *b, size_t which, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct masked_bench m = {.b = b};
    double encode, take;
    struct codec_pipeline *p = &b->spec.pipeline;
    const struct masked_terms terms = {
        .ring_bits = masked_cases[which].ring_bits, .members_max = MASKED_MEMBERS, .task_seed = 1};
    p->clip_norm = 10.0f;
    p->keep = masked_cases[which].keep;
    p->bits = masked_bits_max(terms.ring_bits, MASKED_MEMBERS);
    p->support = p->keep < 1.0f ? CODEC_SUPPORT_ROUND : CODEC_SUPPORT_OWN;
    p->rotate_log2 = masked_cases[which].rotate_log2;
    p->range = masked_range(p, &b->layout);
    TRY(masked_plan_new(&b->spec, &terms, &m.plan, err));
    const uint64_t length = masked_length(m.plan);
    m.vector = mem_array((size_t)length, sizeof *m.vector);
    if (m.vector == NULL)
        TRY_FAIL(err, SOTTO_NOMEM, "no memory for a vector");
    RATE(encode, masked_encode_once(&m, err));
    for (uint64_t i = 0; i < masked_scalars_at(m.plan); i++)
        m.vector[i] *= MASKED_MEMBERS;
    RATE(take, masked_take_once(&m, err));
    const double n = (double)b->layout.total, bytes = (double)masked_bytes(m.plan);
    if (b->json)
        printf("{\"bench\":\"codec\",\"case\":\"masked-%s\",\"coordinates\":%u,\"sent\":%llu,"
               "\"bits\":%u,\"bytes\":%.0f,\"encode_coordinates_per_s\":%.4g,"
               "\"encode_bytes_per_s\":%.4g,\"take_coordinates_per_s\":%.4g,"
               "\"take_bytes_per_s\":%.4g}\n",
               masked_cases[which].name, (unsigned)b->layout.total, (unsigned long long)length,
               p->bits, bytes, encode, encode * 4.0, take, take / n * bytes);
    else
        printf("%-13s %9llu %9.0f %4u %9.1f %9.1f %9.1f %9.1f\n", masked_cases[which].name,
               (unsigned long long)length, bytes, p->bits, encode * 1e-6, encode * 4e-6,
               take * 1e-6, take / n * bytes * 1e-6);
out:
    mem_free(m.vector);
    masked_plan_free(m.plan);
    return status;
}

static enum sotto_status run_masked(struct bench *b, struct sotto_error *err) {
    if (!b->json) {
        printf(
            "under masks, a group of %u; encode in MB/s of fp32, take in MB/s of the packed sum\n",
            MASKED_MEMBERS);
        printf("%-13s %9s %9s %4s %9s %9s %9s %9s\n", "case", "sent", "bytes", "bits", "encode",
               "encode", "take", "take");
        printf("%-13s %9s %9s %4s %9s %9s %9s %9s\n", "", "", "", "", "M coord/s", "MB/s",
               "M coord/s", "MB/s");
    }
    for (size_t i = 0; i < ARRAY_LEN(masked_cases); i++) {
        const enum sotto_status status = run_masked_case(b, i, err);
        if (status != SOTTO_OK)
            return status;
    }
    return SOTTO_OK;
}

static enum sotto_status run(struct bench *b, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    double copied, streamed;
    TRY(bench_init(b, err));
    RATE(copied, copy_once(b));
    RATE(streamed, stream_once(b));
    if (b->json) {
        printf("{\"bench\":\"codec\",\"case\":\"roofline\",\"memcpy_bytes_per_s\":%.4g,"
               "\"stream_add_coordinates_per_s\":%.4g}\n",
               copied * 4.0, streamed);
    } else {
        printf("memcpy %.1f GB/s; stream add of fp32 into int64 %.0f M coordinates/s; "
               "%u coordinates, one core\n",
               copied * 4e-9, streamed * 1e-6, (unsigned)b->layout.total);
        printf("%-11s %9s %7s %9s %9s %9s %9s %9s %8s %8s\n", "case", "bytes", "fp32/", "encode",
               "check", "add", "add", "add", "bits", "entropy");
        printf("%-11s %9s %7s %9s %9s %9s %9s %9s %8s %8s\n", "", "", "", "M coord/s", "M coord/s",
               "M coord/s", "M kept/s", "MB/s", "a kept", "a kept");
    }
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct result r = {0};
        b->spec.pipeline.keep = cases[i].keep;
        b->spec.pipeline.bits = cases[i].bits;
        TRY(measure(b, &r, err));
        print_result(b, &cases[i], &r);
    }
    TRY(run_masked(b, err));
out:
    return status;
}

int main(int argc, char **argv) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct bench b = {.seconds = 0.5};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            b.json = true;
        } else if (strcmp(argv[i], "--seconds") == 0 && i + 1 < argc &&
                   num_parse_f64(argv[i + 1], 0.001, 60.0, &b.seconds, &err) == SOTTO_OK) {
            i++;
        } else {
            fprintf(stderr, "usage: bench_codec [--json] [--seconds S]\n");
            return 2;
        }
    }
    const enum sotto_status status = run(&b, &err);
    bench_deinit(&b);
    if (status != SOTTO_OK)
        fprintf(stderr, "bench_codec: %s\n", err.message);
    return sotto_status_exit(status);
}
