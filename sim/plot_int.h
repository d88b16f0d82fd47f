/* Private to the plots: axes with round ticks. */
#ifndef SOTTO_SIM_PLOT_INT_H
#define SOTTO_SIM_PLOT_INT_H

#include "plot.h"

#define PLOT_TICKS_MAX 24
#define PLOT_LABEL_MAX 32

/* An axis fitted to data: values min..max lie at pixels from..to. */
struct plot_scale {
    double min, max, from, to;
    bool log;
    enum plot_unit unit;
    double ticks[PLOT_TICKS_MAX];
    size_t tick_count;
    double factor; /* a value is written as value / factor with decimals places, then suffix */
    int decimals;
    const char *suffix;
};
/* Whether a value has a place on the axis. */
bool plot_drawable(const struct plot_axis *axis, double v);
/* Fits the axis to data low..high with about `want` ticks; `wide` extends it to the ticks around.
 * INVALID: fixed and empty. */
enum sotto_status plot_scale_fit(struct plot_scale *s, const struct plot_axis *axis, double low,
                                 double high, int want, bool wide, struct sotto_error *err);
double plot_scale_at(const struct plot_scale *s, double v);
/* Writes a value as the axis does, with `more` decimals than its ticks have. Returns out. */
char *plot_scale_text(const struct plot_scale *s, double v, int more, char out[PLOT_LABEL_MAX]);

#endif
