/* The second pass over a decoded message: what a schema cannot say. The first failure is kept. */
#ifndef SOTTO_PROTOCOL_WIRE_CHECK_H
#define SOTTO_PROTOCOL_WIRE_CHECK_H

#include "sotto/protocol/wire.h"

struct check {
    const char *message;         /* "check_in", for the error's text */
    enum sotto_status status;    /* OK until something fails */
    enum sotto_status failed_as; /* CORRUPT for received bytes, INTERNAL for our own message */
    struct sotto_error *err;
};
void check_that(struct check *c, bool holds, const char *field, const char *rule);
/* A bytes field's length is n, or also 0 when optional. */
void check_size(struct check *c, size_t size, size_t n, bool optional, const char *field);
void check_range(struct check *c, uint64_t value, uint64_t min, uint64_t max, const char *field);
/* Finite and within [min, max]. */
void check_float(struct check *c, float value, float min, float max, const char *field);
/* Printable UTF-8 without controls, terminated within cap; not empty when needed. */
void check_text(struct check *c, const char *text, size_t cap, bool needed, const char *field);
#define CHECK_TEXT(c, field, needed, name) check_text((c), (field), sizeof(field), (needed), (name))

void check_envelope(struct check *c, const sotto_Envelope *m);
void check_terms(struct check *c, const sotto_Terms *t);

#endif
