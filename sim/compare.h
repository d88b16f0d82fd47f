/* Private to sim/: sotto-sim report and plot: many runs beside each other. */
#ifndef SOTTO_SIM_COMPARE_H
#define SOTTO_SIM_COMPARE_H

#include "runs.h"

#define COMPARE_TARGETS_MAX 8

enum compare_format { COMPARE_TEXT, COMPARE_JSON, COMPARE_CSV };
/* A row a group: mean and standard deviation over its seeds of the last and the best accuracy, and
 * of what reaching each target took. No target given: each group's stop.accuracy. */
enum sotto_status compare_table(const struct runs *r, const double *targets, size_t target_count,
                                enum compare_format format, struct buf *out,
                                struct sotto_error *err);
/* Curves of groups over their seeds with bands of one standard deviation, or (apart) each run's.
 * CONFIG when x or y is not the name of one. */
struct compare_plot {
    const char *x, *y; /* rounds, bytes, seconds, energy; accuracy, loss */
    bool apart;
    const double *targets; /* drawn as lines */
    size_t target_count;
};
enum sotto_status compare_draw(const struct runs *r, const struct compare_plot *p, const char *path,
                               struct sotto_error *err);

#endif
