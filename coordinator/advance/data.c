/* The coordinator's own examples: drawn, or from files; test, validation and pool. */
#include "advance/advance_int.h"

#include <stdio.h>
#include <string.h>

#define DRAWN_TEST_DEFAULT 2000u
#define DRAWN_PER_WRITER   20u
/* Writers of the three parts, each with room for more than can be drawn. */
#define WRITERS_TEST       TASK_DATA_WRITER_FIRST
#define WRITERS_VALIDATION (TASK_DATA_WRITER_FIRST + 0x10000000u)
#define WRITERS_POOL       (TASK_DATA_WRITER_FIRST + 0x20000000u)
#define IDX_BYTES_MAX      ((size_t)1 << 30)

/* Cuts out down to its first count examples. */
static void keep_first(struct dataset *d, uint32_t count) {
    if (count < d->count)
        d->count = count;
}

static enum sotto_status draw(uint64_t seed, uint32_t writers, uint32_t count, struct dataset *out,
                              struct sotto_error *err) {
    struct digits_config c = {
        .seed = seed,
        .writer_first = writers,
        .writer_count = (count + DRAWN_PER_WRITER - 1) / DRAWN_PER_WRITER,
        .per_writer = count < DRAWN_PER_WRITER ? count : DRAWN_PER_WRITER,
        .uniform_classes = true,
    };
    enum sotto_status status = dataset_draw_digits(&c, out, err);
    if (status == SOTTO_OK)
        keep_first(out, count);
    return status;
}

static bool ends_with(const char *s, const char *end) {
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

/* "IMAGES,LABELS" */
static enum sotto_status read_idx_pair(const char *pair, struct dataset *out,
                                       struct sotto_error *err) {
    char images[IO_PATH_MAX];
    const char *comma = strchr(pair, ',');
    size_t n = (size_t)(comma - pair);
    if (n == 0 || n >= sizeof images || !comma[1])
        return SOTTO_FAIL(err, SOTTO_INVALID, "evaluation.data: \"%s\" is not IMAGES,LABELS", pair);
    memcpy(images, pair, n);
    images[n] = 0;
    return dataset_read_idx(images, comma + 1, out, err);
}

static enum sotto_status read_source(const struct task_config *t, const char *dir,
                                     struct dataset *out, struct sotto_error *err) {
    if (strchr(t->data, ','))
        return read_idx_pair(t->data, out, err);
    if (ends_with(t->data, ".csv"))
        return dataset_read_csv(t->data, out, err);
    if (!dir || !*dir)
        return SOTTO_FAIL(
            err, SOTTO_INVALID,
            "evaluation.data: \"%s\" is a named data set, and evaluation.dir does not "
            "say where it is",
            t->data);
    return dataset_read_named(t->data, dir, true, out, err);
}

/* Moves the last count examples of from into out. */
static enum sotto_status split_end(struct dataset *from, uint32_t count, struct dataset *out,
                                   struct sotto_error *err) {
    if (count >= from->count)
        return SOTTO_FAIL(err, SOTTO_INVALID,
                          "evaluation.validation: %u examples leave none of %u for the test", count,
                          from->count);
    uint32_t first = from->count - count;
    out->schema = from->schema;
    out->count = count;
    out->x =
        mem_dup(dataset_example(from, first), count * data_schema_example_bytes(&from->schema));
    out->labels = mem_dup(from->labels + first, count * sizeof *out->labels);
    if (!out->x || !out->labels)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for %u validation examples", count);
    from->count = first;
    return SOTTO_OK;
}

/* An IDX file: magic 0x00000803, count, height, width, then pixels (big-endian). */
enum sotto_status task_data_parse_pool(struct view file, const char *path, uint32_t most,
                                       struct dataset *out, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    uint32_t head[4];
    if (file.n >= 2 && file.p[0] == 0x1f && file.p[1] == 0x8b)
        TRY_FAIL(err, SOTTO_UNSUPPORTED, "distill.pool_file: %s is compressed; unpack it first",
                 path);
    if (file.n < sizeof head)
        TRY_FAIL(err, SOTTO_CORRUPT, "distill.pool_file: %s has no IDX head", path);
    for (int i = 0; i < 4; i++)
        head[i] = (uint32_t)file.p[4 * i] << 24 | (uint32_t)file.p[4 * i + 1] << 16 |
                  (uint32_t)file.p[4 * i + 2] << 8 | file.p[4 * i + 3];
    if (head[0] != 0x803 || head[2] == 0 || head[2] > 4096 || head[3] == 0 || head[3] > 4096)
        TRY_FAIL(err, SOTTO_CORRUPT, "distill.pool_file: %s holds no images of bytes", path);
    uint32_t have =
        (uint32_t)num_min_u64((file.n - sizeof head) / ((size_t)head[2] * head[3]), head[1]);
    if (have == 0 || have < head[1])
        TRY_FAIL(err, SOTTO_CORRUPT, "distill.pool_file: %s: %u of %u images are there", path, have,
                 head[1]);
    out->count = (uint32_t)num_min_u64(have, most);
    out->schema = (struct data_schema){DATA_U8, 3, {head[2], head[3], 1}, 1, 1.0f / 255.0f, 0.0f};
    out->x = mem_dup(file.p + sizeof head, (size_t)out->count * head[2] * head[3]);
    out->labels = mem_array(out->count, sizeof *out->labels);
    if (!out->x || !out->labels)
        TRY_FAIL(err, SOTTO_NOMEM, "no memory for %u pool examples", out->count);
out:
    return status;
}

static enum sotto_status read_pool_file(const char *path, uint32_t most, struct dataset *out,
                                        struct sotto_error *err) {
    struct buf file;
    buf_init(&file, IDX_BYTES_MAX);
    enum sotto_status status = io_read_file(path, IDX_BYTES_MAX, &file, err);
    if (status == SOTTO_OK)
        status = task_data_parse_pool(buf_view(&file), path, most, out, err);
    buf_deinit(&file);
    return status;
}

static enum sotto_status check_fits(const char *key, const struct dataset *d,
                                    const struct data_schema *schema, struct sotto_error *err) {
    char have[64], want[64];
    if (data_schema_equal(&d->schema, schema))
        return SOTTO_OK;
    return SOTTO_FAIL(err, SOTTO_INVALID, "%s: examples are %s, the model takes %s", key,
                      data_schema_text(&d->schema, have, sizeof have),
                      data_schema_text(schema, want, sizeof want));
}

static enum sotto_status load_pool(const struct task_config *t, const struct data_schema *schema,
                                   struct dataset *out, struct sotto_error *err) {
    enum sotto_status status;
    bool file = t->distill_pool_file && *t->distill_pool_file;
    TRY(file ? read_pool_file(t->distill_pool_file, (uint32_t)t->distill_pool, out, err)
             : draw(t->data_seed, WRITERS_POOL, (uint32_t)t->distill_pool, out, err));
    /* Unlabelled, whatever was drawn; a file of images says nothing about classes and scale. */
    for (uint32_t i = 0; i < out->count; i++)
        out->labels[i] = -1;
    if (file) {
        out->schema.classes = schema->classes;
        out->schema.scale = schema->scale;
        out->schema.shift = schema->shift;
    }
    TRY(check_fits(file ? "distill.pool_file"
                        : "distill.pool (drawn digits; give distill.pool_file)",
                   out, schema, err));
out:
    return status;
}

static enum sotto_status load_labelled(const struct task_config *t, const char *dir,
                                       struct task_data *out, struct sotto_error *err) {
    uint32_t count = (uint32_t)t->data_count;
    uint32_t validation = task_needs_validation(t) ? (uint32_t)t->data_validation : 0;
    if (!t->data || !*t->data || strcmp(t->data, "generator") == 0) {
        enum sotto_status status =
            draw(t->data_seed, WRITERS_TEST, count ? count : DRAWN_TEST_DEFAULT, &out->test, err);
        if (status == SOTTO_OK && validation)
            status = draw(t->data_seed, WRITERS_VALIDATION, validation, &out->validation, err);
        return status;
    }
    enum sotto_status status = read_source(t, dir, &out->test, err);
    if (status == SOTTO_OK && validation)
        status = split_end(&out->test, validation, &out->validation, err);
    if (status == SOTTO_OK && count)
        keep_first(&out->test, count);
    return status;
}

enum sotto_status task_data_load(const struct task_config *t, const struct data_schema *schema,
                                 const char *data_dir, struct task_data *out,
                                 struct sotto_error *err) {
    enum sotto_status status;
    dataset_init(&out->test);
    dataset_init(&out->validation);
    dataset_init(&out->pool);
    TRY(load_labelled(t, data_dir ? data_dir : t->data_dir, out, err));
    TRY(check_fits("evaluation.data", &out->test, schema, err));
    if (t->distill)
        TRY(load_pool(t, schema, &out->pool, err));
out:
    if (status != SOTTO_OK)
        task_data_deinit(out);
    return status;
}

void task_data_deinit(struct task_data *d) {
    dataset_deinit(&d->test);
    dataset_deinit(&d->validation);
    dataset_deinit(&d->pool);
}
