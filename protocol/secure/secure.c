/* A session's configuration out of the terms, its identities out of certificates, and its claim. */
#include "sotto/protocol/secure.h"

#include <inttypes.h>
#include <string.h>

_Static_assert(SECAGG_KEY == ID_KEY && SECAGG_SIG == ID_SIG && SECAGG_KEY == WIRE_HASH,
               "both rooms mean Ed25519 and BLAKE2b-256");
_Static_assert(ID_CERT_BYTES <= SECAGG_CERT_MAX, "a certificate fits a record");

bool secure_wanted(const sotto_Terms *terms) {
    return terms->has_privacy && terms->privacy.secure_aggregation == SECURE_REQUIRED;
}

enum sotto_status secure_config(const sotto_Terms *terms, const struct wire_hash *terms_hash,
                                uint64_t length, struct secagg_config *out,
                                struct sotto_error *err) {
    const sotto_PrivacyTerms *p = &terms->privacy;
    if (!secure_wanted(terms))
        return SOTTO_FAIL(err, SOTTO_INVALID, "these terms ask for no secure aggregation");
    if (length == 0 || length > SECAGG_LENGTH_MAX)
        return SOTTO_FAIL(err, SOTTO_INVALID, "a masked vector of %" PRIu64 " coordinates", length);
    *out = (struct secagg_config){
        .ring_bits = p->ring_bits,
        .length = length,
        .members_max = terms->n_max,
        .members_min =
            p->minimum_group > SECAGG_MEMBERS_MIN ? p->minimum_group : SECAGG_MEMBERS_MIN,
        .cert_bytes = ID_CERT_BYTES,
        .adversary = p->adversary == SECAGG_CURIOUS ? SECAGG_CURIOUS : SECAGG_SEMI_MALICIOUS,
        .gamma = (double)p->adversarial,
        .delta = (double)p->dropout};
    memcpy(out->terms_hash, terms_hash->b, SECAGG_KEY);
    return SOTTO_OK;
}

static enum sotto_status certify(void *ctx, uint64_t serial, struct view certificate,
                                 uint8_t key[SECAGG_KEY], struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    const struct secure_ids *ids = ctx;
    struct id_cert cert;
    TRY(id_cert_decode(certificate, ids->authority, &cert, err));
    if (cert.ticket.serial != serial)
        TRY_FAIL(err, SOTTO_DENIED, "the certificate of device %" PRIu64 " is shown for %" PRIu64,
                 cert.ticket.serial, serial);
    if (ids->document != NULL && id_document_revoked(ids->document, serial))
        TRY_FAIL(err, SOTTO_DENIED, "device %" PRIu64 " is revoked", serial);
    memcpy(key, cert.device_key, SECAGG_KEY);
out:
    return status;
}

static enum sotto_status verify(void *ctx, const uint8_t key[SECAGG_KEY], const char *label,
                                struct view body, const uint8_t sig[SECAGG_SIG],
                                struct sotto_error *err) {
    (void)ctx;
    return id_verify(key, label, body, sig, err);
}

static enum sotto_status sign(void *ctx, const char *label, struct view body,
                              uint8_t sig[SECAGG_SIG], struct sotto_error *err) {
    const struct secure_ids *ids = ctx;
    if (ids->keys == NULL)
        return SOTTO_FAIL(err, SOTTO_STATE, "this side of a session has no key to sign with");
    id_sign(ids->keys, label, body, sig);
    return SOTTO_OK;
}

void secure_identity(const struct secure_ids *ids, struct secagg_identity *out) {
    *out = (struct secagg_identity){
        .ctx = (void *)ids, .certify = certify, .verify = verify, .sign = sign};
}

enum secure_claim secure_claim_of(bool beside, uint32_t members) {
    return beside || members > SECAGG_COMPLETE_MAX ? SECURE_CLAIM_CURIOUS : SECURE_CLAIM_CHEATING;
}

const char *secure_claim_text(enum secure_claim claim) {
    return claim == SECURE_CLAIM_CHEATING ? "secure against a cheating coordinator (less than a "
                                            "third of the group adversarial)"
                                          : "secure against a curious coordinator";
}
