/* A group's sums: reports are opened, checked, then added part by part; no dense copy of an update
 * is ever made. */
#ifndef SOTTO_COORDINATOR_AGGREGATE_H
#define SOTTO_COORDINATOR_AGGREGATE_H

#include "sotto/protocol.h"

struct group_sums {
    struct codec_spec spec; /* layouts borrowed */
    struct accumulator sums;
};
enum sotto_status group_sums_init(struct group_sums *g, const struct codec_spec *spec,
                                  struct sotto_error *err);
void group_sums_deinit(struct group_sums *g);

struct report_keys {
    uint8_t public_key[SEAL_PUBLIC], secret_key[SEAL_SECRET];
    struct wire_hash terms;
};
/* Opens and checks all of a sealed report, touching nothing. CORRUPT, LIMIT or INVALID: rejected,
 * with the reason. */
enum sotto_status report_check(const struct codec_spec *spec, const struct report_keys *keys,
                               uint64_t serial, struct view report, struct sotto_error *err);
/* Adds a checked report. If a part fails now, *torn is true: the group's sums must be rebuilt
 * without it. */
enum sotto_status report_add(struct group_sums *g, const struct report_keys *keys, uint64_t serial,
                             struct view report, bool *torn, struct sotto_error *err);
/* The same two passes for an update that was never sealed (the simulator's fast path). */
enum sotto_status update_check(const struct codec_spec *spec, const struct codec_update *u,
                               struct sotto_error *err);
enum sotto_status update_add(struct group_sums *g, const struct codec_update *u,
                             struct sotto_error *err);

#endif
