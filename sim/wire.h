/* Private to sim/: the same experiment over the real transport: a coordinator and client libraries
 * in this process, over loopback. */
#ifndef SOTTO_SIM_WIRE_H
#define SOTTO_SIM_WIRE_H

#include "sim.h"

#define WIRE_CLIENTS_MAX 32u

/* Runs the experiment, with state folders in a temporary folder. Keys that only make sense on a
 * virtual clock (seal, deltas, fleet.*) are refused or have no effect; the last model's package
 * goes into *package, initialised by the caller. */
enum sotto_status wire_run(const struct experiment *x, const struct sim_config *config,
                           struct sim_totals *totals, struct buf *package, struct sotto_error *err);

/* ---- wire_control.c: requests over the coordinator's control socket */
enum sotto_status wire_ask(const char *socket_path, bool json, const struct view *args,
                           size_t count, struct buf *out, struct sotto_error *err);
#define WIRE_ARG(text) view_of((text), strlen(text))
/* The number or text behind "key": in one JSON object without nested ones; false when it is null or
 * missing. */
bool wire_number(struct view object, const char *key, double *out);
bool wire_text(struct view object, const char *key, char *out, size_t cap);

#endif
