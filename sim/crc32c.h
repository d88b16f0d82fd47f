/* Private to sim/: CRC-32C (Castagnoli, RFC 3720 appendix B.4), of TensorBoard's records and of
 * what a checkpoint keeps in files. */
#ifndef SOTTO_SIM_CRC32C_H
#define SOTTO_SIM_CRC32C_H

#include <stddef.h>
#include <stdint.h>

uint32_t crc32c(const void *bytes, size_t n);

#endif
