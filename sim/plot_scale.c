/* Axes: round ticks, and values written in a unit that suits the whole axis. */
#include "plot_int.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

bool plot_drawable(const struct plot_axis *axis, double v) {
    return v >= -PLOT_VALUE_MAX && v <= PLOT_VALUE_MAX && (!axis->log || v > 1 / PLOT_VALUE_MAX);
}

/* The smallest of 1, 2, 2.5, 5, 10 times a power of ten that is at least v. */
static double round_step(double v) {
    static const double steps[] = {1, 2, 2.5, 5, 10};
    double power = pow(10, floor(log10(v)));
    for (size_t i = 0; i < ARRAY_LEN(steps); i++)
        if (steps[i] * power >= v * (1 - 1e-9))
            return steps[i] * power;
    return 10 * power;
}

/* The largest unit that suits a value: from `least` on it is used, and then counts `factor`. */
static void unit_for(enum plot_unit unit, double value, double *factor, const char **suffix) {
    static const struct {
        enum plot_unit unit;
        double least, factor;
        const char *suffix;
    } units[] = {
        {PLOT_NUMBER, 1e9, 1e9, "G"},           {PLOT_NUMBER, 1e6, 1e6, "M"},
        {PLOT_NUMBER, 1e4, 1e3, "k"},           {PLOT_NUMBER, 0, 1, ""},
        {PLOT_PERCENT, 0, 0.01, "%"},           {PLOT_BYTES, 1e12, 1e12, " TB"},
        {PLOT_BYTES, 1e9, 1e9, " GB"},          {PLOT_BYTES, 1e6, 1e6, " MB"},
        {PLOT_BYTES, 1e3, 1e3, " kB"},          {PLOT_BYTES, 0, 1, " B"},
        {PLOT_SECONDS, 2 * 86400, 86400, " d"}, {PLOT_SECONDS, 2 * 3600, 3600, " h"},
        {PLOT_SECONDS, 5 * 60, 60, " min"},     {PLOT_SECONDS, 0, 1, " s"},
    };
    *factor = 1;
    *suffix = "";
    for (size_t i = 0; i < ARRAY_LEN(units); i++)
        if (units[i].unit == unit && fabs(value) >= units[i].least * (1 - 1e-9)) {
            *factor = units[i].factor;
            *suffix = units[i].suffix;
            return;
        }
}

static void linear_ticks(struct plot_scale *s, double step, bool fixed, bool wide) {
    double first = ceil(s->min / step - 1e-6), last = floor(s->max / step + 1e-6);
    if (wide && !fixed) {
        first = floor(s->min / step + 1e-6);
        last = ceil(s->max / step - 1e-6);
        s->min = first * step;
        s->max = last * step;
    }
    for (double k = first; k <= last && s->tick_count < PLOT_TICKS_MAX; k++)
        s->ticks[s->tick_count++] = k * step;
    double shown = step / s->factor;
    while (s->decimals < 9 && fabs(shown - round(shown)) > 1e-6 * shown) {
        shown *= 10;
        s->decimals++;
    }
}

static void log_ticks(struct plot_scale *s, bool fixed, bool wide) {
    static const double steps[] = {1, 2, 5};
    double low = floor(log10(s->min) + 1e-9), high = ceil(log10(s->max) - 1e-9);
    if (high <= low)
        high = low + 1;
    if (wide && !fixed) {
        s->min = pow(10, low);
        s->max = pow(10, high);
    }
    size_t each = high - low <= 3 ? 3 : 1;
    double stride = ceil((high - low) / 10);
    for (double k = low; k <= high; k += stride)
        for (size_t i = 0; i < each; i++) {
            double v = steps[i] * pow(10, k);
            if (v >= s->min * (1 - 1e-9) && v <= s->max * (1 + 1e-9) &&
                s->tick_count < PLOT_TICKS_MAX)
                s->ticks[s->tick_count++] = v;
        }
}

enum sotto_status plot_scale_fit(struct plot_scale *s, const struct plot_axis *axis, double low,
                                 double high, int want, bool wide, struct sotto_error *err) {
    memset(s, 0, sizeof *s);
    s->log = axis->log;
    s->unit = axis->unit;
    s->min = axis->fixed ? axis->min : low;
    s->max = axis->fixed ? axis->max : high;
    if (!plot_drawable(axis, s->min) || !plot_drawable(axis, s->max) || s->min > s->max ||
        (axis->fixed && !(s->min < s->max)))
        return SOTTO_FAIL(err, SOTTO_INVALID, "plot: an axis from %g to %g has no room", s->min,
                          s->max);
    double size = fmax(fabs(s->min), fabs(s->max));
    if (!axis->log && s->max - s->min <= 1e-9 * size) { /* one value: room around it */
        s->min -= 0.5 * size;
        s->max += 0.5 * size;
    }
    if (axis->log && s->max <= s->min * (1 + 1e-9)) {
        s->min /= 2;
        s->max *= 2;
    }
    if (s->min >= s->max) /* all zero */
        s->max = s->min + 1;
    unit_for(s->unit, fmax(fabs(s->min), fabs(s->max)), &s->factor, &s->suffix);
    if (axis->log) {
        log_ticks(s, axis->fixed, wide);
        return SOTTO_OK;
    }
    /* Round in the unit that is shown: 15 min is round, 1000 s is not. */
    double step = round_step((s->max - s->min) / s->factor / want) * s->factor;
    linear_ticks(s, step, axis->fixed, wide);
    return SOTTO_OK;
}

double plot_scale_at(const struct plot_scale *s, double v) {
    double part =
        s->log ? log10(v / s->min) / log10(s->max / s->min) : (v - s->min) / (s->max - s->min);
    return s->from + part * (s->to - s->from);
}

char *plot_scale_text(const struct plot_scale *s, double v, int more, char out[PLOT_LABEL_MAX]) {
    double factor = s->factor;
    const char *suffix = s->suffix;
    if (s->log) /* values of very different size: each in its own unit */
        unit_for(s->unit, v, &factor, &suffix);
    double shown = v / factor;
    if (s->log || fabs(shown) >= 1e7)
        snprintf(out, PLOT_LABEL_MAX, "%.*g%s", 3 + more, shown, suffix);
    else
        snprintf(out, PLOT_LABEL_MAX, "%.*f%s", s->decimals + more, shown, suffix);
    if (out[0] == '-' && strspn(out + 1, "0.") == strlen(out + 1) - strlen(suffix))
        memmove(out, out + 1, strlen(out)); /* no "-0" */
    return out;
}
