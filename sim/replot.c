/* `sotto-sim plot`: curves of many runs, those of one experiment's seeds as a line with a band. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "compare.h"
#include "plot.h"

struct axis {
    const char *name;
    enum runs_column column;
    struct plot_axis axis;
};
static const struct axis x_axes[] = {
    {"rounds", RUNS_ROUND, {.label = "rounds", .unit = PLOT_NUMBER}},
    {"bytes", RUNS_UP, {.label = "bytes sent by all devices", .unit = PLOT_BYTES}},
    {"seconds", RUNS_CLOCK, {.label = "time of the fleet", .unit = PLOT_SECONDS}},
    {"energy", RUNS_ENERGY, {.label = "joules of all devices", .unit = PLOT_NUMBER}},
};
static const struct axis y_axes[] = {
    {"accuracy", RUNS_ACCURACY, {.label = "test accuracy", .unit = PLOT_PERCENT}},
    {"loss", RUNS_LOSS, {.label = "test loss", .unit = PLOT_NUMBER}},
};

static enum sotto_status find_axis(const struct axis *axes, size_t count, const char *name,
                                   const struct axis **out, struct sotto_error *err) {
    char known[64] = "";
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(axes[i].name, name) == 0) {
            *out = &axes[i];
            return SOTTO_OK;
        }
        at += (size_t)snprintf(known + at, sizeof known - at, "%s%s", i ? ", " : "", axes[i].name);
    }
    return SOTTO_FAIL(err, SOTTO_USAGE, "an axis cannot be '%.20s'; it is one of %s", name, known);
}

/* One line: runs of a group, or a single run. values holds 4 * count numbers. */
static void mean_curve(const struct run_data *run, uint32_t runs, const struct axis *x,
                       const struct axis *y, double *values, size_t count,
                       struct plot_series *out) {
    double *lists[4];
    for (size_t i = 0; i < 4; i++)
        lists[i] = values + i * count;
    for (size_t k = 0; k < count; k++) {
        double sum_x = 0, sum_y = 0, squares = 0;
        for (uint32_t i = 0; i < runs; i++) {
            sum_x += run[i].column[x->column][k];
            sum_y += run[i].column[y->column][k];
        }
        const double mean = sum_y / runs;
        for (uint32_t i = 0; i < runs; i++) {
            const double d = run[i].column[y->column][k] - mean;
            squares += d * d;
        }
        const double sd = runs > 1 ? sqrt(squares / (runs - 1)) : 0;
        lists[0][k] = sum_x / runs;
        lists[1][k] = mean;
        lists[2][k] = mean - sd;
        lists[3][k] = y->column == RUNS_ACCURACY ? fmin(mean + sd, 1) : mean + sd;
    }
    out->x = lists[0];
    out->y = lists[1];
    out->low = runs > 1 ? lists[2] : NULL;
    out->high = runs > 1 ? lists[3] : NULL;
    out->count = count;
}

/* Tested rounds that all of them have: a mean of fewer would jump where a run ends. */
static size_t common_count(const struct run_data *run, uint32_t runs) {
    size_t count = run[0].count;
    for (uint32_t i = 1; i < runs; i++) {
        count = run[i].count < count ? run[i].count : count;
        for (size_t k = 0; k < count; k++)
            if (run[i].column[RUNS_ROUND][k] != run[0].column[RUNS_ROUND][k])
                count = k;
    }
    return count;
}

static enum sotto_status draw_all(const struct runs *r, const struct compare_plot *p,
                                  const struct axis *x, const struct axis *y, const char *path,
                                  struct plot_series *series, double **values,
                                  struct sotto_error *err) {
    struct plot_mark marks[COMPARE_TARGETS_MAX];
    char subtitle[160];
    const uint32_t count = p->apart ? r->count : r->group_count;
    memset(marks, 0, sizeof marks);
    for (uint32_t i = 0; i < count; i++) {
        const struct run_data *run = p->apart ? &r->run[i] : &r->run[r->group[i].first];
        const uint32_t runs = p->apart ? 1 : r->group[i].count;
        const size_t n = common_count(run, runs);
        values[i] = mem_array(4 * (n + 1), sizeof **values);
        if (!values[i])
            return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for a curve");
        mean_curve(run, runs, x, y, values[i], n, &series[i]);
        series[i].name = p->apart ? run->dir : r->group[i].label;
    }
    for (size_t i = 0; i < p->target_count && i < COMPARE_TARGETS_MAX; i++)
        marks[i] = (struct plot_mark){.on_y = true, .at = p->targets[i]};
    snprintf(subtitle, sizeof subtitle, "%u run%s%s, sotto %s", r->count, r->count == 1 ? "" : "s",
             r->count > r->group_count && !p->apart ? ", means and standard deviations" : "",
             SOTTO_VERSION_TEXT);
    const struct plot plot = {.title = y->axis.label,
                              .subtitle = subtitle,
                              .x = x->axis,
                              .y = y->axis,
                              .series = series,
                              .series_count = count,
                              .marks = marks,
                              .mark_count = y->column == RUNS_ACCURACY ? p->target_count : 0};
    return plot_write(&plot, path, err);
}

enum sotto_status compare_draw(const struct runs *r, const struct compare_plot *p, const char *path,
                               struct sotto_error *err) {
    const struct axis *x = NULL, *y = NULL;
    struct plot_series series[PLOT_SERIES_MAX];
    double *values[PLOT_SERIES_MAX] = {NULL};
    enum sotto_status status = find_axis(x_axes, ARRAY_LEN(x_axes), p->x, &x, err);
    if (status == SOTTO_OK)
        status = find_axis(y_axes, ARRAY_LEN(y_axes), p->y, &y, err);
    if (status != SOTTO_OK)
        return status;
    memset(series, 0, sizeof series);
    if ((p->apart ? r->count : r->group_count) > PLOT_SERIES_MAX)
        return SOTTO_FAIL(err, SOTTO_USAGE, "at most %d curves fit one plot", PLOT_SERIES_MAX);
    status = draw_all(r, p, x, y, path, series, values, err);
    for (size_t i = 0; i < PLOT_SERIES_MAX; i++)
        mem_free(values[i]);
    return status;
}
