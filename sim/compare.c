/* Tables of many runs: mean and standard deviation over seeds, what reaching a target took. */
#include "compare.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define CELL       64
#define COLUMNS    12
#define SEEDS_SEEN 4096

static enum runs_column cost_columns[] = {RUNS_ROUND, RUNS_UP, RUNS_DOWN, RUNS_CLOCK, RUNS_ENERGY};
enum cost { COST_ROUNDS, COST_UP, COST_DOWN, COST_CLOCK, COST_ENERGY, COST_COUNT };

/* What one group's row tells of one target. */
struct row {
    const char *label;
    uint32_t runs, done;
    struct runs_stat accuracy, best, rounds, wall;
    double target; /* 0: none */
    struct runs_stat cost[COST_COUNT];
};

static void fill_row(const struct runs *r, const struct run_group *g, double target,
                     double values[SEEDS_SEEN], struct row *out) {
    const struct run_data *run = &r->run[g->first];
    const uint32_t n = g->count < SEEDS_SEEN ? g->count : SEEDS_SEEN;
    *out = (struct row){.label = g->label, .runs = g->count, .target = target};
    for (uint32_t i = 0; i < n; i++)
        out->done += run[i].done;
    for (uint32_t i = 0; i < n; i++)
        values[i] = run[i].total[RUNS_ACCURACY];
    runs_stat(values, n, &out->accuracy);
    for (uint32_t i = 0; i < n; i++)
        values[i] = run[i].best_accuracy;
    runs_stat(values, n, &out->best);
    for (uint32_t i = 0; i < n; i++)
        values[i] = run[i].total[RUNS_ROUND];
    runs_stat(values, n, &out->rounds);
    for (uint32_t i = 0; i < n; i++)
        values[i] = run[i].total[RUNS_WALL];
    runs_stat(values, n, &out->wall);
    for (int c = 0; c < COST_COUNT; c++) {
        for (uint32_t i = 0; i < n; i++)
            values[i] = target > 0
                            ? runs_crossing(run[i].column[cost_columns[c]],
                                            run[i].column[RUNS_ACCURACY], run[i].count, target)
                            : run[i].total[cost_columns[c]];
        runs_stat(values, n, &out->cost[c]);
    }
}

/* ---- Text */

static void put_stat(char *out, const struct runs_stat *s, double scale, int decimals) {
    if (s->count == 0)
        snprintf(out, CELL, "-");
    else if (s->count == 1)
        snprintf(out, CELL, "%.*f", decimals, s->mean * scale);
    else
        snprintf(out, CELL, "%.*f +- %.*f", decimals, s->mean * scale, decimals, s->sd * scale);
}

static void put_bytes(char *out, const struct runs_stat *s) {
    if (s->count == 0)
        snprintf(out, CELL, "-");
    else
        (void)num_format_size(out, CELL, (uint64_t)s->mean);
}

static void put_time(char *out, const struct runs_stat *s) {
    if (s->count == 0 || s->mean <= 0)
        snprintf(out, CELL, "-");
    else
        (void)num_format_duration(out, CELL, (uint64_t)(s->mean * 1e3));
}

static void put_cells(const struct row *r, char cells[COLUMNS][CELL]) {
    snprintf(cells[1], CELL, r->done == r->runs ? "%u" : "%u (%u ended)", r->runs, r->done);
    put_stat(cells[2], &r->accuracy, 100, 2);
    put_stat(cells[3], &r->best, 100, 2);
    put_stat(cells[4], &r->rounds, 1, 0);
    if (r->target > 0)
        snprintf(cells[5], CELL, "%.4g%% in %u", 100 * r->target, r->cost[COST_ROUNDS].count);
    else
        snprintf(cells[5], CELL, "all");
    put_stat(cells[6], &r->cost[COST_ROUNDS], 1, 1);
    put_bytes(cells[7], &r->cost[COST_UP]);
    put_bytes(cells[8], &r->cost[COST_DOWN]);
    put_time(cells[9], &r->cost[COST_CLOCK]);
    if (r->cost[COST_ENERGY].count == 0 || r->cost[COST_ENERGY].mean <= 0)
        snprintf(cells[10], CELL, "-");
    else
        put_stat(cells[10], &r->cost[COST_ENERGY], 1e-3, 2);
    put_time(cells[11], &r->wall);
}

static enum sotto_status text_table(const struct row *rows, size_t count, struct buf *out,
                                    struct sotto_error *err) {
    static const char *const heads[COLUMNS] = {
        "experiment", "runs",     "accuracy %", "best %",     "rounds", "target",
        "rounds to",  "up to it", "down to it", "virtual to", "kJ to",  "run took"};
    char(*cells)[COLUMNS][CELL] = mem_array(count, sizeof *cells);
    const char **list = mem_array(count * COLUMNS, sizeof *list);
    enum sotto_status status = SOTTO_OK;
    if (!cells || !list)
        TRY_FAIL(err, SOTTO_NOMEM, "no memory for %zu rows", count);
    for (size_t i = 0; i < count; i++) {
        put_cells(&rows[i], cells[i]);
        list[i * COLUMNS] = rows[i].label;
        for (size_t c = 1; c < COLUMNS; c++)
            list[i * COLUMNS + c] = cells[i][c];
    }
    cli_table(out, heads, COLUMNS, list, count);
out:
    mem_free(cells);
    mem_free(list);
    return status;
}

/* ---- JSON and CSV */

static void row_numbers(const struct row *r, const char *names[40], double values[40],
                        size_t *count) {
    static const char *const stems[] = {"accuracy",      "best_accuracy",    "rounds",
                                        "wall_seconds",  "rounds_to",        "bytes_up_to",
                                        "bytes_down_to", "clock_seconds_to", "energy_joules_to"};
    static char text[ARRAY_LEN(stems) * 3][40];
    const struct runs_stat *stats[ARRAY_LEN(stems)] = {
        &r->accuracy,          &r->best,          &r->rounds,          &r->wall,
        &r->cost[COST_ROUNDS], &r->cost[COST_UP], &r->cost[COST_DOWN], &r->cost[COST_CLOCK],
        &r->cost[COST_ENERGY]};
    *count = 0;
    for (size_t i = 0; i < ARRAY_LEN(stems); i++) {
        const double three[] = {stats[i]->mean, stats[i]->sd, stats[i]->median};
        static const char *const ends[] = {"mean", "sd", "median"};
        for (size_t k = 0; k < 3; k++) {
            snprintf(text[*count], sizeof text[0], "%s_%s", stems[i], ends[k]);
            names[*count] = text[*count];
            values[(*count)++] = three[k];
        }
    }
}

static void json_row(const struct row *r, struct buf *out) {
    const char *names[40];
    double values[40];
    size_t n;
    struct json j;
    row_numbers(r, names, values, &n);
    json_init(&j, out);
    json_object_begin(&j);
    json_put_str(&j, "experiment", r->label);
    json_put_u64(&j, "runs", r->runs);
    json_put_u64(&j, "ended", r->done);
    json_put_f64(&j, "target", r->target > 0 ? r->target : NAN);
    json_put_u64(&j, "reached", r->target > 0 ? r->cost[COST_ROUNDS].count : 0);
    for (size_t i = 0; i < n; i++)
        json_put_f64(&j, names[i], values[i]);
    json_object_end(&j);
    buf_put_u8(out, '\n');
}

static void csv_text(struct buf *out, const char *text) {
    buf_put_u8(out, '"');
    for (; *text; text++) {
        if (*text == '"')
            buf_put_u8(out, '"');
        buf_put_u8(out, (uint8_t)*text);
    }
    buf_put_u8(out, '"');
}

static void csv_row(const struct row *r, bool first, struct buf *out) {
    const char *names[40];
    double values[40];
    char text[32];
    size_t n;
    row_numbers(r, names, values, &n);
    if (first) {
        buf_printf(out, "experiment,runs,ended,target_fraction,reached");
        for (size_t i = 0; i < n; i++)
            buf_printf(out, ",%s", names[i]);
        buf_put_u8(out, '\n');
    }
    csv_text(out, r->label);
    buf_printf(out, ",%u,%u,", r->runs, r->done);
    if (r->target > 0)
        buf_printf(out, "%s", num_format_f64(text, sizeof text, r->target));
    buf_printf(out, ",%u", r->target > 0 ? r->cost[COST_ROUNDS].count : 0);
    for (size_t i = 0; i < n; i++)
        buf_printf(out, ",%s",
                   isfinite(values[i]) ? num_format_f64(text, sizeof text, values[i]) : "");
    buf_put_u8(out, '\n');
}

enum sotto_status compare_table(const struct runs *r, const double *targets, size_t target_count,
                                enum compare_format format, struct buf *out,
                                struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    const size_t each = target_count ? target_count : 1;
    const size_t count = (size_t)r->group_count * each;
    struct row *rows = mem_array(count, sizeof *rows);
    double *values = mem_array(SEEDS_SEEN, sizeof *values);
    if (!rows || !values)
        TRY_FAIL(err, SOTTO_NOMEM, "no memory for %zu rows", count);
    for (size_t i = 0; i < count; i++) {
        const struct run_group *g = &r->group[i / each];
        fill_row(r, g, target_count ? targets[i % each] : r->run[g->first].stop_accuracy, values,
                 &rows[i]);
    }
    if (format == COMPARE_TEXT)
        TRY(text_table(rows, count, out, err));
    for (size_t i = 0; i < count && format == COMPARE_JSON; i++)
        json_row(&rows[i], out);
    for (size_t i = 0; i < count && format == COMPARE_CSV; i++)
        csv_row(&rows[i], i == 0, out);
    if (out->status != SOTTO_OK)
        TRY_FAIL(err, out->status, "the table does not fit");
out:
    mem_free(rows);
    mem_free(values);
    return status;
}
