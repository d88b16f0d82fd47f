/* Clocks. Cores never call these: time comes to them as an argument. */
#ifndef SOTTO_BASE_CLOCK_H
#define SOTTO_BASE_CLOCK_H

#include <stdint.h>

uint64_t clock_mono_ms(void); /* CLOCK_MONOTONIC */
uint64_t clock_mono_ns(void);
uint64_t clock_boot_ms(void);       /* CLOCK_BOOTTIME */
int64_t clock_wall_ms(void);        /* Unix time */
uint64_t clock_thread_cpu_ns(void); /* this thread's CPU time */

#endif
