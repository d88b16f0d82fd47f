/* Key pairs, random bytes, and signatures that cover a label of their kind. */
#include "identity/id_int.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

_Static_assert(ID_KEY == crypto_sign_PUBLICKEYBYTES && ID_SECRET == crypto_sign_SECRETKEYBYTES &&
                   ID_SIG == crypto_sign_BYTES && ID_KEY == crypto_scalarmult_BYTES,
               "sizes of Ed25519 and X25519");

enum sotto_status id_setup(struct sotto_error *err) {
    if (sodium_init() < 0)
        return SOTTO_FAIL(err, SOTTO_INTERNAL, "libsodium does not start: no source of randomness");
    return SOTTO_OK;
}

void id_random(void *out, size_t n) {
    randombytes_buf(out, n);
}

void id_wipe(void *p, size_t n) {
    if (p != NULL)
        sodium_memzero(p, n);
}

void id_keys_generate(struct id_keys *k) {
    (void)crypto_sign_keypair(k->public_key, k->secret_key);
}

void id_curve_generate(struct id_curve *k) {
    randombytes_buf(k->secret_key, sizeof k->secret_key);
    (void)crypto_scalarmult_base(k->public_key, k->secret_key);
}

/* Ed25519ph (RFC 8032, section 5.1) over length || label || body: streamed, so that a document of
 * megabytes needs no copy and signing cannot run out of memory. */
static void start(crypto_sign_state *state, const char *label, struct view body) {
    const size_t n = strlen(label);
    assert(n > 0 && n < 256);
    const uint8_t length = (uint8_t)n;
    (void)crypto_sign_init(state);
    (void)crypto_sign_update(state, &length, 1);
    (void)crypto_sign_update(state, (const uint8_t *)label, n);
    if (body.n > 0)
        (void)crypto_sign_update(state, body.p, body.n);
}

void id_sign(const struct id_keys *k, const char *label, struct view body, uint8_t sig[ID_SIG]) {
    crypto_sign_state state;
    start(&state, label, body);
    (void)crypto_sign_final_create(&state, sig, NULL, k->secret_key);
}

enum sotto_status id_verify(const uint8_t public_key[ID_KEY], const char *label, struct view body,
                            const uint8_t sig[ID_SIG], struct sotto_error *err) {
    crypto_sign_state state;
    start(&state, label, body);
    if (crypto_sign_final_verify(&state, sig, public_key) != 0)
        return SOTTO_FAIL(err, SOTTO_DENIED, "the signature \"%s\" does not hold", label);
    return SOTTO_OK;
}

enum sotto_status id_verify_again(struct id_checked *checked, const uint8_t public_key[ID_KEY],
                                  const char *label, struct view body, const uint8_t sig[ID_SIG],
                                  struct sotto_error *err) {
    uint8_t hash[sizeof checked->body];
    if (!checked)
        return id_verify(public_key, label, body, sig, err);
    (void)crypto_generichash(hash, sizeof hash, body.p, body.n, NULL, 0);
    if (checked->set && memcmp(checked->key, public_key, ID_KEY) == 0 &&
        memcmp(checked->sig, sig, ID_SIG) == 0 && memcmp(checked->body, hash, sizeof hash) == 0)
        return SOTTO_OK;
    const enum sotto_status status = id_verify(public_key, label, body, sig, err);
    if (status != SOTTO_OK)
        return status;
    checked->set = true;
    memcpy(checked->key, public_key, ID_KEY);
    memcpy(checked->sig, sig, ID_SIG);
    memcpy(checked->body, hash, sizeof hash);
    return SOTTO_OK;
}

void id_read_bytes(struct reader *r, void *out, size_t n, const char *field) {
    const struct view v = reader_bytes(r, n, field);
    if (v.p != NULL)
        memcpy(out, v.p, n);
    else
        memset(out, 0, n);
}

bool id_is_zero(const uint8_t key[ID_KEY]) {
    return sodium_is_zero(key, ID_KEY) == 1;
}
