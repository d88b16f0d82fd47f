/* Secure aggregation between the rooms: terms into a configuration, certificates into identities.
 */
#include "support.h"

#include "sotto/protocol/secure.h"

#include <string.h>

#include "wire_samples.h"

static struct id_keys authority;

static int set_up(void **state) {
    (void)state;
    if (id_setup(NULL) != SOTTO_OK)
        return 1;
    id_keys_generate(&authority);
    return 0;
}

static void secure_terms(sotto_Terms *t) {
    sample_terms(t);
    t->has_privacy = true;
    t->privacy = (sotto_PrivacyTerms){.secure_aggregation = SECURE_REQUIRED,
                                      .minimum_group = 12,
                                      .ring_bits = 20,
                                      .exchange_ms = 30000,
                                      .adversary = SECAGG_SEMI_MALICIOUS,
                                      .adversarial = 0.05f,
                                      .dropout = 0.25f};
    t->n_max = 64;
}

static void config(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct secagg_config c;
    struct wire_hash hash;
    sotto_Terms t;
    memset(hash.b, 7, sizeof hash.b);
    secure_terms(&t);
    assert_true(secure_wanted(&t));
    ASSERT_OK(secure_config(&t, &hash, 4096, &c, &err));
    assert_memory_equal(c.terms_hash, hash.b, sizeof hash.b);
    assert_int_equal(c.ring_bits, 20);
    assert_int_equal(c.length, 4096);
    assert_int_equal(c.members_max, 64);
    assert_int_equal(c.members_min, 12);
    assert_int_equal(c.cert_bytes, ID_CERT_BYTES);
    assert_int_equal(c.adversary, SECAGG_SEMI_MALICIOUS);
    assert_true(c.gamma == (double)0.05f && c.delta == 0.25);
    ASSERT_FAILS(secure_config(&t, &hash, 0, &c, &err), SOTTO_INVALID, "0 coordinates");
    t.privacy.minimum_group = 0; /* never below what the protocol wants */
    ASSERT_OK(secure_config(&t, &hash, 4096, &c, &err));
    assert_int_equal(c.members_min, SECAGG_MEMBERS_MIN);
    t.privacy.secure_aggregation = SECURE_OFF;
    assert_false(secure_wanted(&t));
    ASSERT_FAILS(secure_config(&t, &hash, 4096, &c, &err), SOTTO_INVALID, "no secure aggregation");
}

/* A device of the authority: its keys and certificate. */
static void device(const struct id_keys *by, uint64_t serial, struct id_keys *keys,
                   uint8_t cert[ID_CERT_BYTES]) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct id_token token;
    struct id_curve curve;
    struct id_cert c;
    struct buf document;
    struct id_document d = {.version = 1, .endpoint_count = 1, .endpoints = {{"tcp://a:1", {1}}}};
    memcpy(d.authority_key, by->public_key, ID_KEY);
    memset(d.signing_key, 3, ID_KEY);
    buf_init(&document, 4096);
    ASSERT_OK(id_document_sign(&d, by, &document, &err));
    ASSERT_OK(id_token_issue(by, serial, 4102444800000, buf_view(&document), &token, &err));
    id_keys_generate(keys);
    id_curve_generate(&curve);
    id_cert_make(&token, keys->public_key, curve.public_key, &c);
    id_cert_encode(&c, cert);
    id_token_deinit(&token);
    buf_deinit(&document);
}

static void identities(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct id_keys keys, stranger_authority, stranger_keys;
    uint8_t cert[ID_CERT_BYTES], stranger[ID_CERT_BYTES], key[SECAGG_KEY], sig[SECAGG_SIG];
    uint64_t revoked[] = {8};
    const struct id_document document = {.revoked_count = 1, .revoked = revoked};
    struct secure_ids ids = {.keys = &keys};
    struct secagg_identity id;
    memcpy(ids.authority, authority.public_key, ID_KEY);
    device(&authority, 8, &keys, cert);
    id_keys_generate(&stranger_authority);
    device(&stranger_authority, 8, &stranger_keys, stranger);
    secure_identity(&ids, &id);
    const struct view whole = view_of(cert, sizeof cert);

    ASSERT_OK(id.certify(id.ctx, 8, whole, key, &err));
    assert_memory_equal(key, keys.public_key, SECAGG_KEY);
    ASSERT_FAILS(id.certify(id.ctx, 9, whole, key, &err), SOTTO_DENIED, "shown for 9");
    ASSERT_STATUS(id.certify(id.ctx, 8, view_of(stranger, sizeof stranger), key, &err),
                  SOTTO_DENIED);
    ASSERT_STATUS(id.certify(id.ctx, 8, view_of(cert, sizeof cert - 1), key, &err), SOTTO_CORRUPT);
    ids.document = &document;
    ASSERT_FAILS(id.certify(id.ctx, 8, whole, key, &err), SOTTO_DENIED, "revoked");

    const struct view body = view_of("body", 4);
    ASSERT_OK(id.sign(id.ctx, SECAGG_LABEL_RECORD, body, sig, &err));
    ASSERT_OK(id.verify(id.ctx, keys.public_key, SECAGG_LABEL_RECORD, body, sig, &err));
    ASSERT_STATUS(id.verify(id.ctx, keys.public_key, SECAGG_LABEL_SURVIVORS, body, sig, &err),
                  SOTTO_DENIED);
    ids.keys = NULL;
    ASSERT_STATUS(id.sign(id.ctx, SECAGG_LABEL_RECORD, body, sig, &err), SOTTO_STATE);
}

static void claims(void **state) {
    (void)state;
    assert_int_equal(secure_claim_of(false, 10), SECURE_CLAIM_CHEATING);
    assert_int_equal(secure_claim_of(false, SECAGG_COMPLETE_MAX), SECURE_CLAIM_CHEATING);
    assert_int_equal(secure_claim_of(false, SECAGG_COMPLETE_MAX + 1), SECURE_CLAIM_CURIOUS);
    assert_int_equal(secure_claim_of(true, 10), SECURE_CLAIM_CURIOUS);
    assert_non_null(strstr(secure_claim_text(SECURE_CLAIM_CURIOUS), "curious"));
    assert_non_null(strstr(secure_claim_text(SECURE_CLAIM_CHEATING), "less than a third"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(config),
        cmocka_unit_test(identities),
        cmocka_unit_test(claims),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
