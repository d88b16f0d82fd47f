/* Secure aggregation between the rooms: a session's configuration out of the terms, and its
 * identities out of certificates. Both sides take both from here, so that they cannot differ. */
#ifndef SOTTO_PROTOCOL_SECURE_H
#define SOTTO_PROTOCOL_SECURE_H

#include "sotto/protocol/identity.h"
#include "sotto/protocol/wire.h"
#include "sotto/secagg.h"

/* The values of PrivacyTerms.secure_aggregation. */
#define SECURE_OFF      0u
#define SECURE_REQUIRED 2u

/* Whether masks are required under these terms. */
bool secure_wanted(const sotto_Terms *terms);
/* The session's configuration under terms (checked by wire_terms_decode) that terms_hash names, of
 * vectors of length coordinates. members_min is the terms' minimum group; a side that wants more
 * raises it afterwards. INVALID for terms without masks. */
enum sotto_status secure_config(const sotto_Terms *terms, const struct wire_hash *terms_hash,
                                uint64_t length, struct secagg_config *out,
                                struct sotto_error *err);

/* Whom a side trusts and as whom it signs. */
struct secure_ids {
    uint8_t authority[ID_KEY];          /* pinned */
    const struct id_document *document; /* borrowed: its revoked serials are refused; NULL: none */
    const struct id_keys *keys;         /* borrowed: the device's own; NULL at the server */
};
/* Callbacks over certificates of ID_CERT_BYTES. ids is borrowed for as long as out is used;
 * document and keys may be exchanged by the owner between calls. certify: CORRUPT for a certificate
 * without form, DENIED for one that is another serial's, not of this authority or revoked. sign
 * without keys is STATE. */
void secure_identity(const struct secure_ids *ids, struct secagg_identity *out);

/* What can be claimed of a session's sum, as one line for people. beside: the authority's key lies
 * or ever lay beside the coordinator. */
enum secure_claim {
    SECURE_CLAIM_CURIOUS = 1,  /* holds against a coordinator that follows the protocol */
    SECURE_CLAIM_CHEATING = 2, /* and against one that does not */
};
enum secure_claim secure_claim_of(bool beside, uint32_t members);
const char *secure_claim_text(enum secure_claim claim);

#endif
