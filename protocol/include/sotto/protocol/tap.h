/* The debug tap of test builds (CMake option SOTTO_TEST_TAP; such a build cannot be installed):
 * devices write what they mask and coordinators what they unmask, so that a test can compare the
 * aggregate with the plain sum of the survivors' vectors; and either can die at an exchange. In any
 * other build there is no such code. */
#ifndef SOTTO_PROTOCOL_TAP_H
#define SOTTO_PROTOCOL_TAP_H

#include "sotto/protocol/wire.h"

#ifdef SOTTO_TEST_TAP
/* Values [first, first + count) into $SOTTO_TAP_DIR/<what>-<terms hash>-<id in hex>, as u32 in the
 * machine's order. Nothing where the variable is not set. */
void tap_values(const char *what, const uint8_t terms[WIRE_HASH], const void *id, size_t id_bytes,
                uint64_t first, const uint32_t *values, size_t count);
/* kill -9 of this process, once for each tap folder, when $SOTTO_TAP_DIE names the exchange
 * (enum secagg_kind), or <who>:<exchange>. */
void tap_die(const char *who, unsigned exchange);
#else
static inline void tap_values(const char *what, const uint8_t terms[WIRE_HASH], const void *id,
                              size_t id_bytes, uint64_t first, const uint32_t *values,
                              size_t count) {
    (void)what;
    (void)terms;
    (void)id;
    (void)id_bytes;
    (void)first;
    (void)values;
    (void)count;
}
static inline void tap_die(const char *who, unsigned exchange) {
    (void)who;
    (void)exchange;
}
#endif

#endif
