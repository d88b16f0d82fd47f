/* The debug tap of test builds (CMake option SOTTO_TEST_TAP): the bared integer sum of a group goes
 * into a file, so that a test can compare it with the plain sum of what the survivors' own tap
 * wrote. In any other build there is no such code. */
#ifndef SOTTO_COORDINATOR_SECURE_TAP_H
#define SOTTO_COORDINATOR_SECURE_TAP_H

#include "sotto/secagg.h"

#ifdef SOTTO_TEST_TAP
/* Coordinates [first, first + count) into $SOTTO_TAP_DIR/sum-<terms hash>-<session>, each as u32 in
 * the machine's order. Nothing where the variable is not set. */
void secure_tap(const struct secagg_config *config, const uint8_t session[SECAGG_KEY],
                uint64_t first, const uint32_t *sum, size_t count);
#else
static inline void secure_tap(const struct secagg_config *config, const uint8_t session[SECAGG_KEY],
                              uint64_t first, const uint32_t *sum, size_t count) {
    (void)config;
    (void)session;
    (void)first;
    (void)sum;
    (void)count;
}
#endif

#endif
