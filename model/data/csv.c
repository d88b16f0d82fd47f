/* CSV of numbers: features as f32 and an integer label in the last column, checked line by line. */
#include "data_private.h"

#include <float.h>
#include <string.h>

/* Walks the lines of a text; a final line break ends the last line, it starts no new one. */
struct csv_lines {
    const char *p;
    size_t n, off;
    size_t number; /* of the line last given, from 1 */
};

static bool csv_next_line(struct csv_lines *l, const char **line, size_t *len) {
    if (l->off >= l->n)
        return false;
    *line = l->p + l->off;
    const char *end = memchr(*line, '\n', l->n - l->off);
    size_t all = end ? (size_t)(end - *line) : l->n - l->off;
    l->off += all + (end ? 1 : 0);
    l->number++;
    *len = all > 0 && (*line)[all - 1] == '\r' ? all - 1 : all;
    return true;
}

/* The next field of a line without blanks around it; false after the last. *at: offset in the line,
 * starts at 0. */
static bool csv_next_field(const char *line, size_t len, size_t *at, const char **field,
                           size_t *field_len) {
    if (*at > len)
        return false;
    const char *p = line + *at;
    const char *comma = *at < len ? memchr(p, ',', len - *at) : NULL;
    size_t n = comma ? (size_t)(comma - p) : len - *at;
    *at += n + 1;
    while (n > 0 && (*p == ' ' || *p == '\t'))
        p++, n--;
    while (n > 0 && (p[n - 1] == ' ' || p[n - 1] == '\t'))
        n--;
    *field = p;
    *field_len = n;
    return true;
}

static bool csv_number(const char *field, size_t len, double *out) {
    char text[CSV_FIELD_MAX];
    if (len == 0 || len >= sizeof text || memchr(field, 0, len))
        return false;
    memcpy(text, field, len);
    text[len] = 0;
    return num_parse_f64(text, -(double)FLT_MAX, (double)FLT_MAX, out, NULL) == SOTTO_OK;
}

/* Counts fields and those that are numbers. */
static size_t csv_fields(const char *line, size_t len, size_t *numbers) {
    size_t at = 0, count = 0, n;
    const char *field;
    double value;
    *numbers = 0;
    while (csv_next_field(line, len, &at, &field, &n)) {
        count++;
        *numbers += csv_number(field, n, &value) ? 1 : 0;
    }
    return count;
}

static enum sotto_status csv_bad_field(const char *name, size_t line, size_t column,
                                       const char *field, size_t len, const char *expected,
                                       struct sotto_error *err) {
    char shown[48];
    sotto_escape(shown, sizeof shown, field, len);
    return SOTTO_FAIL(err, SOTTO_CORRUPT, "%s:%zu: column %zu is '%s', expected %s",
                      data_shown(name), line, column, shown, expected);
}

/* One example of columns fields (counted before): columns - 1 features into x, the label into
 * *label. */
static enum sotto_status csv_row(const char *name, size_t number, const char *line, size_t len,
                                 size_t columns, float *x, int32_t *label,
                                 struct sotto_error *err) {
    size_t at = 0, column = 0, n;
    const char *field;
    while (csv_next_field(line, len, &at, &field, &n)) {
        double value;
        column++;
        if (!csv_number(field, n, &value))
            return csv_bad_field(name, number, column, field, n, "a finite number", err);
        if (column < columns) {
            x[column - 1] = (float)value;
            continue;
        }
        if (!(value >= 0 && value < CSV_CLASSES_MAX) || value != (double)(int32_t)value)
            return csv_bad_field(name, number, column, field, n,
                                 "a label (a whole number from 0 to 65535)", err);
        *label = (int32_t)value;
    }
    return SOTTO_OK;
}

static size_t csv_columns(const char *line, size_t len) {
    size_t columns = 1;
    for (size_t i = 0; i < len; i++)
        columns += line[i] == ',';
    return columns;
}

/* Finds the shape: columns from the first line, whether that is a header, and how many lines are
 * examples. Every line is counted before memory is taken: a short file cannot ask for much. */
static enum sotto_status csv_shape(struct csv_lines lines, const char *name, size_t *columns,
                                   bool *header, size_t *rows, struct sotto_error *err) {
    const char *line;
    size_t len, numbers;
    if (!csv_next_line(&lines, &line, &len))
        return SOTTO_FAIL(err, SOTTO_INVALID, "%s: is empty", data_shown(name));
    *columns = csv_fields(line, len, &numbers);
    *header = numbers == 0;
    if (*columns < 2 || *columns - 1 > CSV_FEATURES_MAX)
        return SOTTO_FAIL(err, SOTTO_CORRUPT,
                          "%s:1: %zu columns, expected a label and 1 to %d features",
                          data_shown(name), *columns, CSV_FEATURES_MAX);
    *rows = *header ? 0 : 1;
    while (csv_next_line(&lines, &line, &len)) {
        size_t found = csv_columns(line, len);
        if (found != *columns)
            return SOTTO_FAIL(err, SOTTO_CORRUPT, "%s:%zu: %zu column%s, the first line has %zu",
                              data_shown(name), lines.number, found, found == 1 ? "" : "s",
                              *columns);
        ++*rows;
    }
    if (*rows == 0)
        return SOTTO_FAIL(err, SOTTO_INVALID, "%s: has a header and no examples", data_shown(name));
    return SOTTO_OK;
}

enum sotto_status dataset_parse_csv(struct view text, const char *name, struct dataset *out,
                                    struct sotto_error *err) {
    dataset_init(out);
    struct csv_lines lines = {(const char *)text.p, text.n, 0, 0};
    if (text.n >= 3 && memcmp(text.p, "\xef\xbb\xbf", 3) == 0)
        lines.p += 3, lines.n -= 3; /* spreadsheets put a byte order mark there */
    const char *line;
    size_t len, columns = 0, rows = 0;
    bool header = false;
    enum sotto_status status = csv_shape(lines, name, &columns, &header, &rows, err);
    if (status != SOTTO_OK)
        return status;
    struct data_schema schema = {.dtype = DATA_F32,
                                 .rank = 1,
                                 .dims = {(uint32_t)(columns - 1)},
                                 .classes = 2,
                                 .scale = 1.0f,
                                 .shift = 0.0f};
    TRY(dataset_alloc(out, &schema, rows, name, err));
    if (header)
        (void)csv_next_line(&lines, &line, &len);
    for (size_t i = 0; i < rows && csv_next_line(&lines, &line, &len); i++) {
        TRY(csv_row(name, lines.number, line, len, columns, (float *)out->x + i * (columns - 1),
                    &out->labels[i], err));
        if ((uint32_t)out->labels[i] >= out->schema.classes)
            out->schema.classes = (uint32_t)out->labels[i] + 1;
    }
out:
    if (status != SOTTO_OK)
        dataset_deinit(out);
    return status;
}

enum sotto_status dataset_read_csv(const char *path, struct dataset *out, struct sotto_error *err) {
    dataset_init(out);
    struct buf text;
    buf_init(&text, DATASET_BYTES_MAX);
    enum sotto_status status;
    TRY(io_read_file(path, DATASET_BYTES_MAX, &text, err));
    TRY(dataset_parse_csv(buf_view(&text), path, out, err));
out:
    buf_deinit(&text);
    return status;
}
