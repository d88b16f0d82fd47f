/* Identities: fleet authority, coordinator document, enrolment tokens, device certificates
 * (protocol.md section 1). Encoded forms are canonical and little-endian; every signature covers a
 * label that names its kind. */
#ifndef SOTTO_PROTOCOL_IDENTITY_H
#define SOTTO_PROTOCOL_IDENTITY_H

#include "sotto/protocol/wire.h"

#define ID_KEY           32u
#define ID_SECRET        64u /* Ed25519 */
#define ID_SIG           64u
#define ID_ENDPOINTS_MAX 8
#define ID_ADDRESS_MAX   128
#define ID_REVOKED_MAX   (1u << 20)
#define ID_TOKEN_MAX     8192 /* characters */

struct id_keys { /* Ed25519 pair */
    uint8_t public_key[ID_KEY];
    uint8_t secret_key[ID_SECRET];
};
struct id_curve { /* CURVE (X25519) pair */
    uint8_t public_key[ID_KEY];
    uint8_t secret_key[ID_KEY];
};
enum sotto_status
id_setup(struct sotto_error *err); /* sodium_init; call once before anything else */
void id_random(void *out, size_t n);
void id_wipe(void *p, size_t n);
void id_keys_generate(struct id_keys *k);
void id_curve_generate(struct id_curve *k);
/* Ed25519ph (RFC 8032) over the label's length in one byte || label || body; verify is DENIED when
 * it does not hold. */
void id_sign(const struct id_keys *k, const char *label, struct view body, uint8_t sig[ID_SIG]);
enum sotto_status id_verify(const uint8_t public_key[ID_KEY], const char *label, struct view body,
                            const uint8_t sig[ID_SIG], struct sotto_error *err);
/* The same with a memory of the last signature that held: of equal key, body and signature nothing
 * is computed again. One label for a memory; NULL: none. */
struct id_checked {
    bool set;
    uint8_t key[ID_KEY], sig[ID_SIG], body[32]; /* body: its hash */
};
enum sotto_status id_verify_again(struct id_checked *checked, const uint8_t public_key[ID_KEY],
                                  const char *label, struct view body, const uint8_t sig[ID_SIG],
                                  struct sotto_error *err);
#define ID_LABEL_TERMS "sotto terms v1"

/* The authority's key file, 0600, sealed by a passphrase (Argon2id) or by a key file's 32 bytes
 * (XChaCha20-Poly1305). */
struct id_lock {
    const char *passphrase; /* or NULL */
    const char *key_file;   /* or NULL: made by id_authority_create when it does not exist */
};
enum sotto_status id_authority_create(const char *path, const struct id_lock *lock,
                                      struct id_keys *out, struct sotto_error *err);
enum sotto_status id_authority_open(const char *path, const struct id_lock *lock,
                                    struct id_keys *out, struct sotto_error *err);

struct id_endpoint {
    char address[ID_ADDRESS_MAX]; /* "tcp://host:port" */
    uint8_t curve_key[ID_KEY];
};
struct id_document {
    uint64_t version;
    uint8_t authority_key[ID_KEY];
    bool authority_beside; /* the authority's key lies or ever lay beside the coordinator */
    uint32_t endpoint_count;
    struct id_endpoint endpoints[ID_ENDPOINTS_MAX];
    uint8_t signing_key[ID_KEY];      /* of plans, current */
    uint8_t signing_key_next[ID_KEY]; /* all zero: none yet */
    uint32_t revoked_count;
    uint64_t *revoked; /* serials, ascending; owned */
};
void id_document_deinit(struct id_document *d);
/* Body || signature. certify: authority signs. */
enum sotto_status id_document_sign(const struct id_document *d, const struct id_keys *authority,
                                   struct buf *out, struct sotto_error *err);
/* Checks form and signature; pinned_authority NULL: the document's own key is taken (first contact
 * through a token). */
enum sotto_status id_document_read(struct view bytes, const uint8_t *pinned_authority,
                                   struct id_document *out, struct sotto_error *err);
bool id_document_revoked(const struct id_document *d, uint64_t serial);
/* An unsigned request that a coordinator makes and an authority certifies (document request ->
 * authority certify). */
enum sotto_status id_document_request(const struct id_document *d, struct buf *out,
                                      struct sotto_error *err);
enum sotto_status id_document_request_read(struct view bytes, struct id_document *out,
                                           struct sotto_error *err);

/* What the authority signed for one token, and what the coordinator keeps of it ("public list"). */
struct id_ticket {
    uint8_t fleet[ID_KEY]; /* authority key */
    uint64_t serial;
    int64_t expiry_ms; /* Unix time */
    uint8_t e_key[ID_KEY];
    uint8_t curve_key[ID_KEY];
    uint8_t authority_sig[ID_SIG];
};
#define ID_TICKET_BYTES (32u + 8u + 8u + 32u + 32u + 64u)
void id_ticket_encode(const struct id_ticket *t, uint8_t out[ID_TICKET_BYTES]);
enum sotto_status id_ticket_decode(struct view bytes, const uint8_t *pinned_authority,
                                   struct id_ticket *out,
                                   struct sotto_error *err); /* verifies the signature */

/* Whether the ticket's time is over at now_ms (Unix time); decoding does not judge it. */
bool id_ticket_expired(const struct id_ticket *t, int64_t now_ms);

struct id_token {
    struct id_ticket ticket;
    uint8_t secret[ID_KEY]; /* E and the one-time CURVE pair derive from it */
    uint8_t *document;      /* signed bytes; owned */
    size_t document_bytes;
};
void id_token_deinit(struct id_token *t); /* wipes */
enum sotto_status id_token_issue(const struct id_keys *authority, uint64_t serial,
                                 int64_t expiry_ms, struct view document, struct id_token *out,
                                 struct sotto_error *err);
/* "sotto1:" and base64url without padding; out is a secret, the caller wipes it. Decode checks all,
 * signatures too, and allows a line end behind. Issue and encode: LIMIT for a document that does
 * not fit ID_TOKEN_MAX (about 600 revoked serials). */
enum sotto_status id_token_encode(const struct id_token *t, struct buf *out,
                                  struct sotto_error *err);
enum sotto_status id_token_decode(const char *text, struct id_token *out, struct sotto_error *err);
void id_token_keys(const struct id_token *t, struct id_keys *e, struct id_curve *curve);

/* The chain authority -> E -> device. */
struct id_cert {
    struct id_ticket ticket;
    uint8_t device_key[ID_KEY];   /* Ed25519 */
    uint8_t device_curve[ID_KEY]; /* CURVE */
    uint8_t e_sig[ID_SIG];        /* over ticket's serial and both keys */
};
#define ID_CERT_BYTES (ID_TICKET_BYTES + 32u + 32u + 64u)
void id_cert_make(const struct id_token *t, const uint8_t device_key[ID_KEY],
                  const uint8_t device_curve[ID_KEY], struct id_cert *out);
void id_cert_encode(const struct id_cert *c, uint8_t out[ID_CERT_BYTES]);
/* Verifies the whole chain against the pinned authority; expiry is the coordinator's to judge. */
enum sotto_status id_cert_decode(struct view bytes, const uint8_t *pinned_authority,
                                 struct id_cert *out, struct sotto_error *err);

#endif
