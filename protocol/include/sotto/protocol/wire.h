/* Control messages: encode, decode, and the checks that a schema cannot express. */
#ifndef SOTTO_PROTOCOL_WIRE_H
#define SOTTO_PROTOCOL_WIRE_H

#include "sotto.pb.h" /* generated from sotto.proto: struct types sotto_Envelope, sotto_Terms, ... */
#include <string.h>

#include "sotto/base.h"

#define WIRE_VERSION     1u
#define WIRE_CONTROL_MAX 4096u /* bytes of a control frame */
#define WIRE_HASH        32u
#define WIRE_NONCE       16u
#define WIRE_TASK_ID     16u
#define WIRE_TERMS_MAX   1024u /* bytes of encoded terms */
/* What the second pass accepts at most; a peer's own budgets lie below. */
#define WIRE_DURATION_MAX_MS (31ull * 24 * 3600 * 1000)
#define WIRE_BLOB_MAX        (1ull << 31) /* bytes of a package or a report */
#define WIRE_CHUNKS_MAX      (1u << 16)   /* chunks of a blob, and credit */
/* Sessions of secure aggregation under one terms: a device is regrouped at most 3 times. */
#define WIRE_ATTEMPTS_MAX 4u
#define WIRE_EXCHANGE_MAX 9u /* enum secagg_kind */

/* LocalRule.algorithm; the values of the model room's enum train_algorithm. */
#define WIRE_ALGORITHM_SGD      0u
#define WIRE_ALGORITHM_NOVA     1u
#define WIRE_ALGORITHM_SCAFFOLD 2u
#define WIRE_ALGORITHM_MAX      2u

struct wire_hash {
    uint8_t b[WIRE_HASH];
};
/* Kinds of hashed bytes. */
#define WIRE_LABEL_PACKAGE "sotto package v1"
#define WIRE_LABEL_REPORT  "sotto report v1"
#define WIRE_LABEL_SECURE  "sotto secure v1" /* what SecureState announces */
/* BLAKE2b-256 of the bytes; with a label ("sotto package v1") that names its kind hashed first, or
 * "" for none. */
struct wire_hash wire_hash_of(const char *label, struct view bytes);
bool wire_hash_equal(const struct wire_hash *a, const struct wire_hash *b);
/* Incremental form, for files. */
struct wire_hasher;
struct wire_hasher *wire_hasher_new(const char *label) SOTTO_NODISCARD;
void wire_hasher_add(struct wire_hasher *h, struct view bytes);
struct wire_hash wire_hasher_finish(struct wire_hasher *h); /* frees h */
/* Of a model's fp32 weights in layout order: the digest of protocol.md section 6. */
struct wire_hash wire_digest(const float *params, size_t count);

/* Empties out and writes the envelope, with WIRE_VERSION whatever its version field says. The same
 * checks as in wire_decode run first: INTERNAL, with the field's name, for what a peer would refuse
 * or what does not fit WIRE_CONTROL_MAX. */
enum sotto_status wire_encode(const sotto_Envelope *message, struct buf *out,
                              struct sotto_error *err);
/* Decodes and checks one control frame: version, body present, hash and nonce lengths, strings
 * printable, enums known, numbers in range. VERSION for another version, CORRUPT otherwise, with
 * the field's name. */
enum sotto_status wire_decode(struct view frame, sotto_Envelope *out, struct sotto_error *err);
const char *wire_name(const sotto_Envelope *message); /* "check_in"; "none" without a body */
/* Copies text into a string field: cut to cap - 1 bytes at a character's boundary, controls and
 * broken UTF-8 become '?'. */
void wire_set_text(char *field, size_t cap, const char *text);
#define WIRE_SET_TEXT(field, text) wire_set_text((field), sizeof(field), (text))

/* Terms travel as bytes that are signed and hashed as received, never encoded again. Encode checks
 * too, as wire_encode does. */
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
