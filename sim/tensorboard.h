/* Private to sim/: TensorBoard event files: TFRecords of Event messages, written by hand. */
#ifndef SOTTO_SIM_TENSORBOARD_H
#define SOTTO_SIM_TENSORBOARD_H

#include <stdio.h>

#include "sotto/base.h"

struct tensorboard_scalar {
    const char *tag;
    double value; /* not finite: left out */
};
/* The first record, which says what the file is. */
void tensorboard_begin(struct buf *out, double wall_seconds);
/* One record with the values of a step. */
void tensorboard_step(struct buf *out, double wall_seconds, uint64_t step,
                      const struct tensorboard_scalar *scalars, size_t count);
/* A text in the same panel ("text" plugin), such as the settings of a run. */
void tensorboard_text(struct buf *out, double wall_seconds, const char *tag, const char *text,
                      size_t len);

#endif
