/* Test seams of the log. Private to base and its tests. */
#ifndef SOTTO_BASE_LOG_INT_H
#define SOTTO_BASE_LOG_INT_H

#include <stdint.h>

/* Where lines go (default 2), and the clock that the suppression counts by (NULL: clock_mono_ms).
 */
void log_set_sink(int fd, uint64_t (*now_ms)(void));

#endif
