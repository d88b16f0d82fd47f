/* Private to sim/: finished and unfinished runs read back from their folders, grouped by their
 * settings without the seed. What sotto-sim report and plot show. */
#ifndef SOTTO_SIM_RUNS_H
#define SOTTO_SIM_RUNS_H

#include "experiment.h"

#define RUNS_MAX       4096u
#define RUNS_LABEL_MAX 256u

/* What a tested round says, at its end; sums are over all rounds up to it. */
enum runs_column {
    RUNS_ROUND, /* training rounds made */
    RUNS_ACCURACY,
    RUNS_LOSS,
    RUNS_UP, /* bytes of all clients */
    RUNS_DOWN,
    RUNS_CLOCK,  /* virtual seconds since the start */
    RUNS_WALL,   /* seconds that the simulation took */
    RUNS_ENERGY, /* joules of all devices */
    RUNS_COLUMNS
};

struct run_data {
    char *dir;
    char *settings; /* canonical, without folders and seed */
    char name[128]; /* task.name */
    uint64_t seed, clients;
    double stop_accuracy;
    bool done; /* it has a summary */
    uint32_t group;
    size_t count; /* tested rounds */
    double *column[RUNS_COLUMNS];
    double total[RUNS_COLUMNS]; /* at the end of the last round, tested or not; accuracy and loss of
                                   the last test */
    double best_accuracy;
};
struct run_group {
    char label[RUNS_LABEL_MAX]; /* the settings in which the groups differ */
    uint32_t first, count;      /* of runs, which are sorted by group and seed */
};
struct runs {
    struct run_data *run;
    struct run_group *group;
    uint32_t count, cap, group_count;
};

/* Reads each folder, or all runs in the folders below it. NOT_FOUND when there is none; the caller
 * deinits, also after an error. */
enum sotto_status runs_read(struct runs *out, const char *const *dirs, size_t count,
                            struct sotto_error *err);
void runs_deinit(struct runs *r);
/* Where a curve made monotone (the best value so far) crosses the target, linearly between tested
 * rounds (McMahan et al. 2017, section 3). NAN: it does not. */
double runs_crossing(const double *x, const double *y, size_t count, double target);

/* Mean and sample standard deviation (NAN for one value) of the values that are numbers. */
struct runs_stat {
    uint32_t count;
    double mean, sd, median, min, max;
};
void runs_stat(const double *values, size_t count, struct runs_stat *out);

/* A table of rounds from text that is changed on the way, into count and columns; path is for
 * messages. CORRUPT. */
enum sotto_status runs_table(char *text, const char *path, struct run_data *out,
                             struct sotto_error *err);
void run_data_deinit(struct run_data *r);

#endif
