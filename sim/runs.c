/* Runs from their folders: config.yaml says which experiment it was, rounds.csv what happened. */
#include "runs.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CSV_MAX    ((size_t)256 << 20)
#define FIELDS_MAX 64
#define DEPTH_MAX  4

/* ---- Tables */

/* The fields of a line in place; 0 when there are too many. */
static size_t split(char *line, char *fields[FIELDS_MAX]) {
    size_t n = 0;
    for (char *p = line; p; n++) {
        if (n == FIELDS_MAX)
            return 0;
        fields[n] = p;
        p = strchr(p, ',');
        if (p)
            *p++ = '\0';
    }
    return n;
}

/* Sums and others; a run of an earlier version may lack some. */
static const struct {
    const char *name;
    enum runs_column column;
    bool sum, needed;
} csv_columns[] = {
    {"accuracy_fraction", RUNS_ACCURACY, false, true},
    {"loss_nats", RUNS_LOSS, false, true},
    {"bytes_up", RUNS_UP, true, false},
    {"bytes_down", RUNS_DOWN, true, false},
    {"up_bytes", RUNS_UP, true, false}, /* as a coordinator exports them */
    {"down_bytes", RUNS_DOWN, true, false},
    {"clock_seconds", RUNS_CLOCK, false, false},
    {"wall_seconds", RUNS_WALL, true, false},
    {"energy_joules", RUNS_ENERGY, true, false},
};

struct table {
    const char *path;
    size_t heads, kind;
    size_t at[ARRAY_LEN(csv_columns)]; /* FIELDS_MAX: not there */
};

static size_t find_field(char *const *fields, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(fields[i], name) == 0)
            return i;
    return FIELDS_MAX;
}

static enum sotto_status read_head(struct table *t, char *line, struct sotto_error *err) {
    char *fields[FIELDS_MAX];
    t->heads = line ? split(line, fields) : 0;
    t->kind = find_field(fields, t->heads, "kind");
    bool good = t->kind != FIELDS_MAX;
    for (size_t i = 0; i < ARRAY_LEN(csv_columns); i++) {
        t->at[i] = find_field(fields, t->heads, csv_columns[i].name);
        good = good && (t->at[i] != FIELDS_MAX || !csv_columns[i].needed);
    }
    return good ? SOTTO_OK : SOTTO_FAIL(err, SOTTO_CORRUPT, "%s is not a table of a run", t->path);
}

/* One line into the totals, and as a point when it was tested. */
static enum sotto_status read_row(const struct table *t, char *line, struct run_data *out,
                                  struct sotto_error *err) {
    char *fields[FIELDS_MAX];
    const size_t n = split(line, fields);
    if (n != t->heads)
        return SOTTO_FAIL(err, SOTTO_CORRUPT, "%s: a row has %zu fields instead of %zu", t->path, n,
                          t->heads);
    const bool trains = strcmp(fields[t->kind], "train") == 0;
    bool tested = false;
    out->total[RUNS_ROUND] += trains;
    for (size_t i = 0; i < ARRAY_LEN(csv_columns); i++) {
        const enum runs_column c = csv_columns[i].column;
        const bool test = c == RUNS_ACCURACY || c == RUNS_LOSS;
        double v;
        if (t->at[i] == FIELDS_MAX || fields[t->at[i]][0] == '\0' || (test && !trains))
            continue;
        const enum sotto_status status = num_parse_f64(fields[t->at[i]], -1e300, 1e300, &v, err);
        if (status != SOTTO_OK) {
            (void)sotto_error_prefix(err, "%s: %s", t->path, csv_columns[i].name);
            return status;
        }
        out->total[c] = csv_columns[i].sum ? out->total[c] + v : v;
        tested = tested || c == RUNS_ACCURACY;
    }
    if (!tested)
        return SOTTO_OK;
    for (int c = 0; c < RUNS_COLUMNS; c++)
        out->column[c][out->count] = out->total[c];
    out->count++;
    if (!(out->best_accuracy >= out->total[RUNS_ACCURACY]))
        out->best_accuracy = out->total[RUNS_ACCURACY];
    return SOTTO_OK;
}

enum sotto_status runs_table(char *text, const char *path, struct run_data *out,
                             struct sotto_error *err) {
    struct table t = {.path = path};
    char *rest = NULL;
    size_t lines = 1;
    for (const char *p = text; *p; p++)
        lines += *p == '\n';
    for (int c = 0; c < RUNS_COLUMNS; c++) {
        out->column[c] = mem_array(lines, sizeof *out->column[c]);
        if (!out->column[c])
            return SOTTO_FAIL(err, SOTTO_NOMEM, "%s: no memory", path);
        out->total[c] = 0;
    }
    out->total[RUNS_ACCURACY] = out->total[RUNS_LOSS] = out->best_accuracy = NAN;
    enum sotto_status status = read_head(&t, strtok_r(text, "\n", &rest), err);
    for (char *line; status == SOTTO_OK && (line = strtok_r(NULL, "\n", &rest)) != NULL;)
        status = read_row(&t, line, out, err);
    return status;
}

static enum sotto_status read_table(struct run_data *r, struct sotto_error *err) {
    enum sotto_status status;
    char path[IO_PATH_MAX];
    struct buf text;
    buf_init(&text, CSV_MAX);
    TRY(io_join(path, sizeof path, r->dir, "rounds.csv", err));
    TRY(io_read_file(path, CSV_MAX - 1, &text, err));
    buf_put_u8(&text, '\0');
    if (text.status != SOTTO_OK || strlen((const char *)text.data) + 1 != text.len)
        TRY_FAIL(err, SOTTO_CORRUPT, "%s is not text", path);
    TRY(runs_table((char *)text.data, path, r, err));
    TRY(io_join(path, sizeof path, r->dir, "summary.json", err));
    r->done = io_exists(path);
out:
    buf_deinit(&text);
    return status;
}

/* ---- Settings */

/* A coordinator's export is a table alone: its folder names it. */
static enum sotto_status name_by_folder(struct run_data *r, struct sotto_error *err) {
    const char *last = strrchr(r->dir, '/');
    snprintf(r->name, sizeof r->name, "%s", last && last[1] ? last + 1 : r->dir);
    r->settings = mem_strdup(r->name);
    return r->settings ? SOTTO_OK : SOTTO_FAIL(err, SOTTO_NOMEM, "%s: no memory", r->dir);
}

static enum sotto_status read_settings(struct run_data *r, struct sotto_error *err) {
    static char none[1] = "";
    struct sim_settings s;
    struct config *config = NULL;
    enum sotto_status status;
    char path[IO_PATH_MAX];
    struct buf text;
    memset(&s, 0, sizeof s);
    buf_init(&text, CONFIG_FILE_MAX);
    TRY(io_join(path, sizeof path, r->dir, "config.yaml", err));
    TRY(config_load(sim_options, &s, path, NULL, 0, &config, err));
    r->seed = s.task.seed;
    r->clients = s.clients;
    r->stop_accuracy = s.stop_accuracy;
    snprintf(r->name, sizeof r->name, "%s", s.task.name);
    s.data_dir = s.task.data_dir = none;
    s.task.seed = 0;
    config_canonical(sim_options, &s, &text);
    buf_put_u8(&text, '\0');
    if (text.status != SOTTO_OK)
        TRY_FAIL(err, text.status, "%s: its settings do not fit", path);
    r->settings = mem_strdup((const char *)text.data);
    if (!r->settings)
        TRY_FAIL(err, SOTTO_NOMEM, "%s: no memory", path);
out:
    config_free(config);
    buf_deinit(&text);
    return status;
}

/* ---- Folders */

static bool has(const char *dir, const char *name) {
    char path[IO_PATH_MAX];
    return io_join(path, sizeof path, dir, name, NULL) == SOTTO_OK && io_exists(path);
}

static enum sotto_status add_run(struct runs *r, const char *dir, struct sotto_error *err) {
    if (r->count == RUNS_MAX)
        return SOTTO_FAIL(err, SOTTO_LIMIT, "more than %u runs", RUNS_MAX);
    if (r->count == r->cap) {
        const uint32_t cap = r->cap ? r->cap * 2 : 16;
        struct run_data *grown = mem_resize(r->run, cap, sizeof *grown);
        if (!grown)
            return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for %u runs", cap);
        r->run = grown;
        r->cap = cap;
    }
    struct run_data *to = &r->run[r->count++];
    memset(to, 0, sizeof *to);
    to->dir = mem_strdup(dir);
    if (!to->dir)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for a run");
    enum sotto_status status =
        has(dir, "config.yaml") ? read_settings(to, err) : name_by_folder(to, err);
    if (status == SOTTO_OK)
        status = read_table(to, err);
    return status;
}

struct walk {
    struct runs *runs;
    const char *dir;
    int depth;
    struct sotto_error *err;
};
static enum sotto_status add_dir(struct runs *r, const char *dir, int depth,
                                 struct sotto_error *err);

static enum sotto_status visit(void *ctx, const char *name) {
    struct walk *w = ctx;
    char path[IO_PATH_MAX];
    struct sotto_error ignored = SOTTO_ERROR_INIT;
    if (name[0] == '.' || io_join(path, sizeof path, w->dir, name, &ignored) != SOTTO_OK)
        return SOTTO_OK;
    return add_dir(w->runs, path, w->depth + 1, w->err);
}

static enum sotto_status nothing(void *ctx, const char *name) {
    (void)ctx;
    (void)name;
    return SOTTO_OK;
}

static enum sotto_status add_dir(struct runs *r, const char *dir, int depth,
                                 struct sotto_error *err) {
    if (has(dir, "rounds.csv"))
        return add_run(r, dir, err);
    if (depth >= DEPTH_MAX || io_list(dir, nothing, NULL, NULL) != SOTTO_OK)
        return SOTTO_OK;
    struct walk w = {r, dir, depth, err};
    return io_list(dir, visit, &w, err);
}

/* ---- Groups */

static int by_settings(const void *a, const void *b) {
    const struct run_data *p = a, *q = b;
    const int order = strcmp(p->settings, q->settings);
    if (order != 0)
        return order;
    return p->seed != q->seed ? (p->seed < q->seed ? -1 : 1) : strcmp(p->dir, q->dir);
}

/* The line "key: value" of a setting, and its length; NULL when it has none. */
static const char *line_of(const char *settings, const char *key, size_t key_len, size_t *len) {
    for (const char *p = settings; *p; p += strcspn(p, "\n") + 1) {
        if (strncmp(p, key, key_len) == 0 && p[key_len] == ':') {
            *len = strcspn(p, "\n");
            return p;
        }
        if (p[strcspn(p, "\n")] == '\0')
            break;
    }
    return NULL;
}

static bool differs(const struct runs *r, const char *key, size_t key_len) {
    size_t n = 0;
    const char *first = line_of(r->run[0].settings, key, key_len, &n);
    for (uint32_t g = 1; g < r->group_count; g++) {
        size_t m = 0;
        const char *other = line_of(r->run[r->group[g].first].settings, key, key_len, &m);
        if (!first || !other || n != m || memcmp(first, other, n) != 0)
            return true;
    }
    return false;
}

/* "local.lr=0.1 partition.scheme=shards" of the settings that are not the same in all groups. */
static void label_group(const struct runs *r, struct run_group *g) {
    const struct run_data *run = &r->run[g->first];
    size_t at = 0;
    for (const struct config_option *o = sim_options; o->path; o++) {
        const size_t key = strlen(o->path);
        size_t n = 0;
        const char *line = line_of(run->settings, o->path, key, &n);
        if (!line || strcmp(o->path, "task.name") == 0 || !differs(r, o->path, key))
            continue;
        if (n == key + 4 && memcmp(line + key, ": \"\"", 4) == 0)
            continue; /* the default, which goes without saying */
        const int wrote = snprintf(g->label + at, sizeof g->label - at, "%s%s=%.*s", at ? " " : "",
                                   o->path, (int)(n - key - 2), line + key + 2);
        if (wrote < 0 || (size_t)wrote >= sizeof g->label - at)
            break;
        at += (size_t)wrote;
    }
    if (at == 0)
        snprintf(g->label, sizeof g->label, "%s", run->name);
}

static enum sotto_status make_groups(struct runs *r, struct sotto_error *err) {
    qsort(r->run, r->count, sizeof *r->run, by_settings);
    r->group = mem_array(r->count, sizeof *r->group);
    if (!r->group)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for %u runs", r->count);
    for (uint32_t i = 0; i < r->count; i++) {
        const bool same = i > 0 && strcmp(r->run[i].settings, r->run[i - 1].settings) == 0;
        if (!same)
            r->group[r->group_count++].first = i;
        r->run[i].group = r->group_count - 1;
        r->group[r->group_count - 1].count++;
    }
    for (uint32_t g = 0; g < r->group_count; g++)
        label_group(r, &r->group[g]);
    return SOTTO_OK;
}

enum sotto_status runs_read(struct runs *out, const char *const *dirs, size_t count,
                            struct sotto_error *err) {
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < count; i++) {
        const uint32_t before = out->count;
        const enum sotto_status status = add_dir(out, dirs[i], 0, err);
        if (status != SOTTO_OK)
            return status;
        if (out->count == before)
            return SOTTO_FAIL(
                err, SOTTO_NOT_FOUND,
                "%s: there is no run in it (rounds.csv of --out, or of sottoctl rounds export)",
                dirs[i]);
    }
    return make_groups(out, err);
}

void run_data_deinit(struct run_data *r) {
    mem_free(r->dir);
    mem_free(r->settings);
    for (int c = 0; c < RUNS_COLUMNS; c++)
        mem_free(r->column[c]);
    memset(r, 0, sizeof *r);
}

void runs_deinit(struct runs *r) {
    for (uint32_t i = 0; i < r->count; i++)
        run_data_deinit(&r->run[i]);
    mem_free(r->run);
    mem_free(r->group);
    memset(r, 0, sizeof *r);
}

/* ---- Numbers */

double runs_crossing(const double *x, const double *y, size_t count, double target) {
    double best = -INFINITY;
    for (size_t i = 0; i < count; i++) {
        if (!(y[i] > best))
            continue;
        if (y[i] >= target) /* best holds up to the point before this one */
            return isinf(best) ? x[i]
                               : x[i - 1] + (target - best) / (y[i] - best) * (x[i] - x[i - 1]);
        best = y[i];
    }
    return NAN;
}

static int by_value(const void *a, const void *b) {
    const double p = *(const double *)a, q = *(const double *)b;
    return p < q ? -1 : p > q;
}

void runs_stat(const double *values, size_t count, struct runs_stat *out) {
    double sum = 0, squares = 0, sorted[64];
    size_t kept = 0;
    *out = (struct runs_stat){
        .mean = NAN, .sd = NAN, .median = NAN, .min = INFINITY, .max = -INFINITY};
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(values[i]))
            continue;
        sum += values[i];
        out->count++;
        out->min = fmin(out->min, values[i]);
        out->max = fmax(out->max, values[i]);
        if (kept < ARRAY_LEN(sorted))
            sorted[kept++] = values[i];
    }
    if (out->count == 0) {
        out->min = out->max = NAN;
        return;
    }
    out->mean = sum / out->count;
    for (size_t i = 0; i < count; i++)
        if (isfinite(values[i]))
            squares += (values[i] - out->mean) * (values[i] - out->mean);
    if (out->count > 1)
        out->sd = sqrt(squares / (out->count - 1));
    qsort(sorted, kept, sizeof *sorted, by_value);
    out->median = kept % 2 ? sorted[kept / 2] : (sorted[kept / 2 - 1] + sorted[kept / 2]) / 2;
}
