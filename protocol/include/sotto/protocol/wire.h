/* Control messages: encode, decode, and the checks that a schema cannot express. */
#ifndef SOTTO_PROTOCOL_WIRE_H
#define SOTTO_PROTOCOL_WIRE_H

#include "sotto.pb.h" /* generated from sotto.proto: struct types sotto_Envelope, sotto_Terms, ... */
#include <string.h>

#include "sotto/base.h"

#define WIRE_VERSION 1u
#define WIRE_CONTROL_MAX 4096u /* bytes of a control frame */
#define WIRE_HASH 32u

struct wire_hash {
    uint8_t b[WIRE_HASH];
};
/* BLAKE2b-256 of the bytes; with a label ("sotto package v1") that names its kind hashed first, or "" for none. */
struct wire_hash wire_hash_of(const char *label, struct view bytes);
bool wire_hash_equal(const struct wire_hash *a, const struct wire_hash *b);
/* Incremental form, for files. */
struct wire_hasher;
struct wire_hasher *wire_hasher_new(const char *label) SOTTO_NODISCARD;
void wire_hasher_add(struct wire_hasher *h, struct view bytes);
struct wire_hash wire_hasher_finish(struct wire_hasher *h); /* frees h */
/* Of a model's fp32 weights in layout order: the digest of protocol.md section 6. */
struct wire_hash wire_digest(const float *params, size_t count);

/* Empties out and writes the envelope. INTERNAL when it does not fit WIRE_CONTROL_MAX. */
enum sotto_status wire_encode(const sotto_Envelope *message, struct buf *out,
                              struct sotto_error *err);
/* Decodes and checks one control frame: version, body present, hash and nonce lengths, strings printable, enums known,
 * numbers in range. VERSION for another version, CORRUPT otherwise, with the field's name. */
enum sotto_status wire_decode(struct view frame, sotto_Envelope *out, struct sotto_error *err);
const char *wire_name(const sotto_Envelope *message); /* "check_in" */

/* Terms travel as bytes that are signed and hashed as received, never encoded again. */
enum sotto_status wire_terms_encode(const sotto_Terms *terms, struct buf *out,
                                    struct sotto_error *err);
/* Checks every range (protocol.md section 2): a device may rely on all numbers being sane. */
enum sotto_status wire_terms_decode(struct view bytes, sotto_Terms *out, struct sotto_error *err);
struct wire_hash wire_terms_hash(struct view bytes);

/* pb bytes fields <-> hashes. set returns the field's size. */
#define WIRE_SET_HASH(field, hash)                                                                 \
    do {                                                                                           \
        (field).size = WIRE_HASH;                                                                  \
        memcpy((field).bytes, (hash)->b, WIRE_HASH);                                               \
    } while (0)
#define WIRE_GET_HASH(field, hash) memcpy((hash)->b, (field).bytes, WIRE_HASH)

#endif
