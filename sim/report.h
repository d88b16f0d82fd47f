/* Private to sim/: what a run says: lines for people, JSON lines, and the files of --out. */
#ifndef SOTTO_SIM_REPORT_H
#define SOTTO_SIM_REPORT_H

#include <stdio.h>

#include "spread.h"

struct report {
    const struct experiment *x;
    FILE *out;                         /* progress: stdout */
    bool json;                         /* one object a line instead of text */
    bool live;                         /* a terminal: the current line is written over */
    const char *dir;                   /* NULL: no files */
    bool resumes;                      /* the first rounds come from a checkpoint, and are told in
                                          one line */
    const struct sim_profile *profile; /* shown in the end; NULL: none */
    const struct sim_spread *spread;   /* by natural key; NULL: none */
    /* private */
    FILE *csv, *jsonl, *events;
    struct buf line;
    uint64_t begin_ns, shown_ns;
    uint32_t resumed;                  /* training rounds that came from the checkpoint */
    double *rounds, *accuracy, *bytes; /* for the plot, tested rounds only */
    size_t count, cap;
};
/* Makes the folder and its config.yaml, and opens its tables. */
enum sotto_status report_open(struct report *r, struct sotto_error *err);
void report_round(struct report *r, const struct sim_round_result *round,
                  const struct sim_totals *so_far);
/* The last line; and with a folder summary.json, accuracy.svg, and the model's package (empty:
 * none). */
enum sotto_status report_end(struct report *r, const struct sim_totals *t, struct view package,
                             struct sotto_error *err);
void report_close(struct report *r);

#endif
