/* Files of a fleet: classes of devices, and traces of when devices are there. Both are CSV with a
 * line of names; columns may stand in any order. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleet.h"

#define FIELDS_MAX 16
#define HASH_LABEL "sotto fleet v1"

struct column {
    const char *name;
    bool needed;
    double max;
};

/* A table that is read line by line; at[i] is where column i stands. */
struct table {
    const char *name;
    const struct column *columns;
    size_t column_count, fields;
    size_t at[FIELDS_MAX];
    char *rest;
    unsigned line;
};

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

/* The next line with something on it that is no comment; its end (also \r) is cut off. */
static char *next_line(struct table *t) {
    while (t->rest && *t->rest) {
        char *line = t->rest, *end = strchr(line, '\n');
        t->rest = end ? end + 1 : line + strlen(line);
        if (end)
            *end = '\0';
        line[strcspn(line, "\r")] = '\0';
        t->line++;
        if (line[0] != '\0' && line[0] != '#')
            return line;
    }
    return NULL;
}

static enum sotto_status table_open(struct table *t, char *text, struct sotto_error *err) {
    char *fields[FIELDS_MAX], shown[40];
    t->rest = text;
    char *head = next_line(t);
    t->fields = head ? split(head, fields) : 0;
    for (size_t i = 0; i < t->column_count; i++)
        t->at[i] = FIELDS_MAX;
    for (size_t k = 0; k < t->fields; k++) {
        size_t i = 0;
        while (i < t->column_count && strcmp(t->columns[i].name, fields[k]) != 0)
            i++;
        if (i == t->column_count || t->at[i] != FIELDS_MAX)
            return SOTTO_FAIL(err, SOTTO_CORRUPT, "%s: column '%s' is unknown, or there twice",
                              t->name,
                              sotto_escape(shown, sizeof shown, fields[k], strlen(fields[k])));
        t->at[i] = k;
    }
    for (size_t i = 0; i < t->column_count; i++)
        if (t->columns[i].needed && t->at[i] == FIELDS_MAX)
            return SOTTO_FAIL(err, SOTTO_CORRUPT, "%s: the first line names no column '%s'",
                              t->name, t->columns[i].name);
    return SOTTO_OK;
}

/* One line's values, 0 where a column is not there. false at the end. */
static enum sotto_status table_row(struct table *t, double *values, bool *have,
                                   struct sotto_error *err) {
    char *fields[FIELDS_MAX];
    char *line = next_line(t);
    *have = line != NULL;
    if (!line)
        return SOTTO_OK;
    if (split(line, fields) != t->fields)
        return SOTTO_FAIL(err, SOTTO_CORRUPT, "%s:%u: the line has other columns than the first",
                          t->name, t->line);
    for (size_t i = 0; i < t->column_count; i++) {
        values[i] = 0;
        if (t->at[i] == FIELDS_MAX)
            continue;
        const enum sotto_status status =
            num_parse_f64(fields[t->at[i]], 0, t->columns[i].max, &values[i], err);
        if (status != SOTTO_OK) {
            (void)sotto_error_prefix(err, "%s:%u: %s", t->name, t->line, t->columns[i].name);
            return status;
        }
    }
    return SOTTO_OK;
}

/* ---- Classes */

enum sotto_status fleet_classes_parse(struct fleet *f, char *text, const char *name,
                                      struct sotto_error *err) {
    static const struct column columns[] = {
        {"share", true, 1e12},       {"speed", false, 1e12},  {"uplink", false, 1e15},
        {"downlink", false, 1e15},   {"memory", false, 1e15}, {"joules_sample", false, 1e9},
        {"joules_byte", false, 1e9},
    };
    struct table t = {.name = name, .columns = columns, .column_count = ARRAY_LEN(columns)};
    double v[ARRAY_LEN(columns)], sum = 0;
    bool have = true;
    enum sotto_status status = table_open(&t, text, err);
    f->classes = mem_array(FLEET_CLASSES_MAX, sizeof *f->classes);
    if (!f->classes)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "%s: no memory", name);
    while (status == SOTTO_OK && have) {
        status = table_row(&t, v, &have, err);
        if (status != SOTTO_OK || !have)
            break;
        if (f->class_count == FLEET_CLASSES_MAX)
            return SOTTO_FAIL(err, SOTTO_LIMIT, "%s: more than %u classes", name,
                              FLEET_CLASSES_MAX);
        f->classes[f->class_count++] =
            (struct fleet_class){v[0], v[1], v[2], v[3], v[4], v[5], v[6]};
        sum += v[0];
    }
    if (status == SOTTO_OK && !(sum > 0))
        return SOTTO_FAIL(err, SOTTO_CORRUPT, "%s: no class has a share", name);
    return status;
}

/* ---- Traces */

struct stay {
    uint32_t user;
    struct fleet_window window;
};

static int by_user(const void *a, const void *b) {
    const struct stay *p = a, *q = b;
    if (p->user != q->user)
        return p->user < q->user ? -1 : 1;
    return (p->window.begin_ms > q->window.begin_ms) - (p->window.begin_ms < q->window.begin_ms);
}

static enum sotto_status read_stays(struct table *t, uint32_t period_ms, struct stay **out,
                                    uint32_t *count, struct sotto_error *err) {
    double v[3];
    uint32_t cap = 0;
    bool have = true;
    for (;;) {
        const enum sotto_status status = table_row(t, v, &have, err);
        if (status != SOTTO_OK || !have)
            return status;
        const double begin = v[1] * 1000, end = v[2] * 1000;
        if (v[0] != (double)(uint32_t)v[0] || !(begin < end) || end > period_ms)
            return SOTTO_FAIL(err, SOTTO_CORRUPT,
                              "%s:%u: expected a device's number and begin < end <= %.3f seconds",
                              t->name, t->line, period_ms / 1000.0);
        if (*count == FLEET_WINDOWS_MAX)
            return SOTTO_FAIL(err, SOTTO_LIMIT, "%s: more than %u stays", t->name,
                              FLEET_WINDOWS_MAX);
        if (*count == cap) {
            cap = cap ? cap * 2 : 256;
            struct stay *grown = mem_resize(*out, cap, sizeof *grown);
            if (!grown)
                return SOTTO_FAIL(err, SOTTO_NOMEM, "%s: no memory for %u stays", t->name, cap);
            *out = grown;
        }
        (*out)[(*count)++] = (struct stay){(uint32_t)v[0], {(uint32_t)begin, (uint32_t)end}};
    }
}

/* Sorted stays into windows; those that touch or overlap become one. */
static void join_stays(struct fleet *f, const struct stay *stays, uint32_t count) {
    uint32_t made = 0;
    for (uint32_t i = 0; i < count; i++) {
        const bool same = i > 0 && stays[i].user == stays[i - 1].user;
        if (!same)
            f->first[f->users++] = made;
        if (same && stays[i].window.begin_ms <= f->windows[made - 1].end_ms) {
            if (stays[i].window.end_ms > f->windows[made - 1].end_ms)
                f->windows[made - 1].end_ms = stays[i].window.end_ms;
        } else {
            f->windows[made++] = stays[i].window;
        }
    }
    f->first[f->users] = made;
}

enum sotto_status fleet_trace_parse(struct fleet *f, char *text, const char *name,
                                    struct sotto_error *err) {
    static const struct column columns[] = {
        {"device", true, 4294967295.0}, {"begin_seconds", true, 4e6}, {"end_seconds", true, 4e6}};
    struct table t = {.name = name, .columns = columns, .column_count = ARRAY_LEN(columns)};
    struct stay *stays = NULL;
    uint32_t count = 0;
    enum sotto_status status;
    TRY(table_open(&t, text, err));
    TRY(read_stays(&t, f->period_ms, &stays, &count, err));
    if (count == 0)
        TRY_FAIL(err, SOTTO_CORRUPT, "%s: no device is ever there", name);
    qsort(stays, count, sizeof *stays, by_user);
    f->first = mem_array((size_t)count + 1, sizeof *f->first);
    f->windows = mem_array(count, sizeof *f->windows);
    if (!f->first || !f->windows)
        TRY_FAIL(err, SOTTO_NOMEM, "%s: no memory for %u stays", name, count);
    join_stays(f, stays, count);
out:
    mem_free(stays);
    return status;
}

/* ---- Both */

static enum sotto_status read_text(const char *path, struct buf *out, struct sotto_error *err) {
    const enum sotto_status status = io_read_file(path, FLEET_FILE_MAX - 1, out, err);
    if (status != SOTTO_OK)
        return status;
    buf_put_u8(out, '\0');
    if (out->status != SOTTO_OK || strlen((const char *)out->data) + 1 != out->len)
        return SOTTO_FAIL(err, SOTTO_CORRUPT, "%s is not text", path);
    return SOTTO_OK;
}

enum sotto_status fleet_load(struct fleet *f, const char *devices, const char *trace,
                             uint64_t period_ms, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct buf one, two, hashes;
    memset(f, 0, sizeof *f);
    f->period_ms = (uint32_t)period_ms;
    buf_init(&one, FLEET_FILE_MAX);
    buf_init(&two, FLEET_FILE_MAX);
    buf_init(&hashes, 2 * WIRE_HASH);
    if (devices && devices[0]) {
        TRY(read_text(devices, &one, err));
        buf_put(&hashes, wire_hash_of(HASH_LABEL, buf_view(&one)).b, WIRE_HASH);
        TRY(fleet_classes_parse(f, (char *)one.data, devices, err));
    }
    if (trace && trace[0]) {
        TRY(read_text(trace, &two, err));
        buf_put(&hashes, wire_hash_of(HASH_LABEL, buf_view(&two)).b, WIRE_HASH);
        TRY(fleet_trace_parse(f, (char *)two.data, trace, err));
    }
    if (hashes.len > 0)
        f->hash = wire_hash_of(HASH_LABEL, buf_view(&hashes));
out:
    buf_deinit(&one);
    buf_deinit(&two);
    buf_deinit(&hashes);
    return status;
}

void fleet_deinit(struct fleet *f) {
    mem_free(f->classes);
    mem_free(f->first);
    mem_free(f->windows);
    memset(f, 0, sizeof *f);
}
