/* What the files of identity share: labels, magic words, small readers. */
#ifndef SOTTO_PROTOCOL_ID_INT_H
#define SOTTO_PROTOCOL_ID_INT_H

#include "sotto/protocol/identity.h"

#define LABEL_DOCUMENT "sotto document v1"
#define LABEL_TICKET   "sotto ticket v1"
#define LABEL_DEVICE   "sotto device v1"

#define ID_TICKET_SIGNED (ID_TICKET_BYTES - ID_SIG)

/* Copies n bytes; zeroes after a failure of the reader. */
void id_read_bytes(struct reader *r, void *out, size_t n, const char *field);
bool id_is_zero(const uint8_t key[ID_KEY]);

#endif
