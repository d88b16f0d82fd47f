/* `sotto-sim plot`: accuracy over rounds of several runs, from the rounds.csv of their folders. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plot.h"
#include "report.h"

#define CSV_MAX     ((size_t)256 << 20)
#define FIELDS_MAX  64
#define FIELD_CHARS 48

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

static size_t find_field(char *const *fields, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(fields[i], name) == 0)
            return i;
    return FIELDS_MAX;
}

/* Tested training rounds of one table; x and y have room for a value a line. */
static enum sotto_status read_points(char *text, const char *path, double *x, double *y,
                                     size_t *count, struct sotto_error *err) {
    char *fields[FIELDS_MAX], *rest = NULL;
    char *line = strtok_r(text, "\n", &rest);
    const size_t heads = line ? split(line, fields) : 0;
    const size_t at_round = find_field(fields, heads, "round");
    const size_t at_kind = find_field(fields, heads, "kind");
    const size_t at_accuracy = find_field(fields, heads, "accuracy_fraction");
    *count = 0;
    if (at_round == FIELDS_MAX || at_kind == FIELDS_MAX || at_accuracy == FIELDS_MAX)
        return SOTTO_FAIL(err, SOTTO_CORRUPT, "%s is not a table of a run", path);
    while ((line = strtok_r(NULL, "\n", &rest)) != NULL) {
        const size_t n = split(line, fields);
        if (n != heads)
            return SOTTO_FAIL(err, SOTTO_CORRUPT, "%s: a row has %zu fields instead of %zu", path,
                              n, heads);
        if (strcmp(fields[at_kind], "train") != 0 || fields[at_accuracy][0] == '\0')
            continue;
        enum sotto_status status = num_parse_f64(fields[at_round], 0, 1e12, &x[*count], err);
        if (status == SOTTO_OK)
            status = num_parse_f64(fields[at_accuracy], 0, 1, &y[*count], err);
        if (status != SOTTO_OK)
            return sotto_error_prefix(err, "%s", path);
        ++*count;
    }
    return SOTTO_OK;
}

static enum sotto_status read_series(const char *dir, struct plot_series *s, double **values,
                                     struct sotto_error *err) {
    enum sotto_status status;
    char path[IO_PATH_MAX];
    struct buf text;
    size_t lines = 1;
    buf_init(&text, CSV_MAX);
    TRY(io_join(path, sizeof path, dir, "rounds.csv", err));
    TRY(io_read_file(path, CSV_MAX - 1, &text, err));
    buf_put_u8(&text, '\0');
    if (text.status != SOTTO_OK || strlen((const char *)text.data) + 1 != text.len)
        TRY_FAIL(err, SOTTO_CORRUPT, "%s is not text", path);
    for (size_t i = 0; i < text.len; i++)
        lines += text.data[i] == '\n';
    *values = mem_array(lines * 2, sizeof **values);
    if (!*values)
        TRY_FAIL(err, SOTTO_NOMEM, "%s: no memory", path);
    s->name = dir;
    s->x = *values;
    s->y = *values + lines;
    TRY(read_points((char *)text.data, path, *values, *values + lines, &s->count, err));
out:
    buf_deinit(&text);
    return status;
}

enum sotto_status report_plot(const char *const *dirs, size_t count, const char *path,
                              struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct plot_series series[PLOT_SERIES_MAX];
    double *values[PLOT_SERIES_MAX] = {NULL};
    memset(series, 0, sizeof series);
    if (count > PLOT_SERIES_MAX)
        return SOTTO_FAIL(err, SOTTO_USAGE, "at most %d runs fit one plot", PLOT_SERIES_MAX);
    for (size_t i = 0; i < count; i++)
        TRY(read_series(dirs[i], &series[i], &values[i], err));
    const struct plot p = {.title = "test accuracy",
                           .x = {.label = "rounds", .unit = PLOT_NUMBER},
                           .y = {.label = "test accuracy", .unit = PLOT_PERCENT},
                           .series = series,
                           .series_count = count};
    TRY(plot_write(&p, path, err));
out:
    for (size_t i = 0; i < count; i++)
        mem_free(values[i]);
    return status;
}
