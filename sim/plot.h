/* Line plots as self-contained SVG: no script, no external font, readable on light and on dark
 * pages. */
#ifndef SOTTO_SIM_PLOT_H
#define SOTTO_SIM_PLOT_H

#include "sotto/base.h"

#define PLOT_SERIES_MAX 64
#define PLOT_MARKS_MAX  32
#define PLOT_VALUE_MAX  1e100 /* larger values, infinities and NaN are gaps in a line */

/* How the values of an axis are written. */
enum plot_unit {
    PLOT_NUMBER,  /* 12, 0.05, 1.5M */
    PLOT_PERCENT, /* values are fractions: 0.97 is 97% */
    PLOT_BYTES,   /* 200 MB */
    PLOT_SECONDS, /* 90 s, 2.5 h */
};

struct plot_axis {
    const char *label; /* NULL: none */
    enum plot_unit unit;
    bool log;   /* values <= 0 are gaps */
    bool fixed; /* min and max below instead of what the data need */
    double min, max;
};

/* Points are joined in their order. All arrays hold count values and are borrowed. */
struct plot_series {
    const char *name; /* NULL: not in the legend */
    const double *x, *y;
    const double *low, *high; /* a band around y; both or neither */
    size_t count;
};

/* A labelled line across the plot: at a value of x (an event) or of y (a target). */
struct plot_mark {
    bool on_y;
    double at;
    const char *label; /* NULL: none */
};

struct plot {
    const char *title, *subtitle; /* NULL: none */
    struct plot_axis x, y;
    const struct plot_series *series;
    size_t series_count;
    const struct plot_mark *marks;
    size_t mark_count;
    uint32_t width, height; /* pixels; 0: 760 x 440 */
};

/* Appends one <svg> document to out. Texts may hold anything: they are escaped, bytes that are not
 * UTF-8 replaced. INVALID: no point can be drawn, or an axis is fixed to an empty range; LIMIT: too
 * many series or marks, a size out of 200..4096, or out is full. */
enum sotto_status plot_svg(const struct plot *p, struct buf *out, struct sotto_error *err);
/* Writes the document to a file. */
enum sotto_status plot_write(const struct plot *p, const char *path, struct sotto_error *err);

#endif
