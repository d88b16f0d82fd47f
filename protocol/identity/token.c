/* Enrolment tokens, the tickets inside them, and the certificates that devices make with them. */
#include "identity/id_int.h"

#include <sodium.h>
#include <string.h>

#define PREFIX      "sotto1:"
#define PREFIX_LEN  (sizeof PREFIX - 1)
#define VARIANT     sodium_base64_VARIANT_URLSAFE_NO_PADDING
#define ALPHABET    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
#define TOKEN_FIXED (ID_TICKET_BYTES + ID_KEY)
#define TOKEN_BYTES ((ID_TOKEN_MAX - PREFIX_LEN) / 4 * 3) /* decoded, at most */

_Static_assert(ID_CERT_BYTES <= sizeof((sotto_Enroll *)0)->certificate.bytes,
               "a certificate fits its message");

void id_ticket_encode(const struct id_ticket *t, uint8_t out[ID_TICKET_BYTES]) {
    uint8_t *p = out;
    const uint64_t numbers[2] = {t->serial, (uint64_t)t->expiry_ms};
    memcpy(p, t->fleet, ID_KEY);
    p += ID_KEY;
    for (size_t i = 0; i < 16; i++)
        *p++ = (uint8_t)(numbers[i / 8] >> (8 * (i % 8)));
    memcpy(p, t->e_key, ID_KEY);
    memcpy(p + ID_KEY, t->curve_key, ID_KEY);
    memcpy(p + (size_t)2 * ID_KEY, t->authority_sig, ID_SIG);
}

enum sotto_status id_ticket_decode(struct view bytes, const uint8_t *pinned_authority,
                                   struct id_ticket *out, struct sotto_error *err) {
    enum sotto_status status;
    struct reader r;
    reader_init(&r, bytes);
    id_read_bytes(&r, out->fleet, ID_KEY, "fleet");
    out->serial = reader_u64(&r, "serial");
    const uint64_t expiry = reader_u64(&r, "expiry");
    if (expiry > INT64_MAX)
        reader_fail(&r, SOTTO_CORRUPT, "expiry");
    out->expiry_ms = (int64_t)(expiry & INT64_MAX);
    id_read_bytes(&r, out->e_key, ID_KEY, "E");
    id_read_bytes(&r, out->curve_key, ID_KEY, "curve key");
    id_read_bytes(&r, out->authority_sig, ID_SIG, "signature");
    TRY(reader_finish(&r, true, "ticket", err));
    if (pinned_authority != NULL && memcmp(pinned_authority, out->fleet, ID_KEY) != 0)
        TRY_FAIL(err, SOTTO_DENIED, "the ticket is of another fleet");
    TRY(id_verify(out->fleet, LABEL_TICKET, view_of(bytes.p, ID_TICKET_SIGNED), out->authority_sig,
                  err));
out:
    if (status != SOTTO_OK)
        *out = (struct id_ticket){0};
    return status;
}

bool id_ticket_expired(const struct id_ticket *t, int64_t now_ms) {
    return now_ms >= t->expiry_ms;
}

void id_token_deinit(struct id_token *t) {
    id_wipe(t->secret, sizeof t->secret);
    if (t->document != NULL)
        id_wipe(t->document, t->document_bytes);
    mem_free(t->document);
    *t = (struct id_token){0};
}

/* A 32-byte seed for one purpose: BLAKE2b-256 keyed by the secret, over the purpose's label. */
static void derive(const uint8_t secret[ID_KEY], const char *label, uint8_t out[ID_KEY]) {
    (void)crypto_generichash(out, ID_KEY, (const uint8_t *)label, strlen(label), secret, ID_KEY);
}

void id_token_keys(const struct id_token *t, struct id_keys *e, struct id_curve *curve) {
    uint8_t seed[ID_KEY];
    derive(t->secret, "sotto token e v1", seed);
    (void)crypto_sign_seed_keypair(e->public_key, e->secret_key, seed);
    derive(t->secret, "sotto token curve v1", curve->secret_key);
    (void)crypto_scalarmult_base(curve->public_key, curve->secret_key);
    id_wipe(seed, sizeof seed);
}

enum sotto_status id_token_issue(const struct id_keys *authority, uint64_t serial,
                                 int64_t expiry_ms, struct view document, struct id_token *out,
                                 struct sotto_error *err) {
    enum sotto_status status;
    struct id_document d = {0};
    struct id_keys e;
    struct id_curve curve;
    uint8_t bytes[ID_TICKET_BYTES];
    *out = (struct id_token){0};
    if (expiry_ms < 0)
        TRY_FAIL(err, SOTTO_INVALID, "a token's expiry lies before 1970");
    if (document.n > TOKEN_BYTES - TOKEN_FIXED)
        TRY_FAIL(err, SOTTO_LIMIT,
                 "the document has %zu bytes, a token holds %zu: make one without revoked serials",
                 document.n, (size_t)(TOKEN_BYTES - TOKEN_FIXED));
    TRY(id_document_read(document, authority->public_key, &d, err));
    out->document = mem_dup(document.p, document.n);
    if (out->document == NULL)
        TRY_FAIL(err, SOTTO_NOMEM, "cannot hold the token's document");
    out->document_bytes = document.n;
    id_random(out->secret, sizeof out->secret);
    id_token_keys(out, &e, &curve);
    memcpy(out->ticket.fleet, authority->public_key, ID_KEY);
    out->ticket.serial = serial;
    out->ticket.expiry_ms = expiry_ms;
    memcpy(out->ticket.e_key, e.public_key, ID_KEY);
    memcpy(out->ticket.curve_key, curve.public_key, ID_KEY);
    id_ticket_encode(&out->ticket, bytes);
    id_sign(authority, LABEL_TICKET, view_of(bytes, ID_TICKET_SIGNED), out->ticket.authority_sig);
    id_wipe(&e, sizeof e);
    id_wipe(&curve, sizeof curve);
out:
    id_document_deinit(&d);
    if (status != SOTTO_OK)
        id_token_deinit(out);
    return status;
}

enum sotto_status id_token_encode(const struct id_token *t, struct buf *out,
                                  struct sotto_error *err) {
    const size_t n = TOKEN_FIXED + t->document_bytes;
    if (t->document_bytes == 0 || n > TOKEN_BYTES)
        return SOTTO_FAIL(err, SOTTO_LIMIT, "a token's document has 1..%zu bytes, this one %zu",
                          (size_t)(TOKEN_BYTES - TOKEN_FIXED), t->document_bytes);
    uint8_t *bytes = mem_alloc(n);
    if (bytes == NULL)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "cannot encode the token");
    id_ticket_encode(&t->ticket, bytes);
    memcpy(bytes + ID_TICKET_BYTES, t->secret, ID_KEY);
    memcpy(bytes + TOKEN_FIXED, t->document, t->document_bytes);
    /* In one step, so that growing leaves no copies of the secret behind. */
    const size_t chars = sodium_base64_encoded_len(n, VARIANT); /* with the terminator */
    buf_reset(out);
    char *text = (char *)buf_grow(out, PREFIX_LEN + chars);
    if (text != NULL) {
        memcpy(text, PREFIX, PREFIX_LEN);
        (void)sodium_bin2base64(text + PREFIX_LEN, chars, bytes, n, VARIANT);
        out->len--;
    }
    id_wipe(bytes, n);
    mem_free(bytes);
    if (text == NULL)
        return SOTTO_FAIL(err, out->status, "cannot hold the token's text");
    return SOTTO_OK;
}

/* The secret and the document of decoded bytes against the ticket. */
static enum sotto_status take_token(struct view bytes, struct id_token *out,
                                    struct sotto_error *err) {
    enum sotto_status status;
    struct id_document d = {0};
    struct id_keys e = {{0}, {0}};
    struct id_curve curve = {{0}, {0}};
    if (bytes.n <= TOKEN_FIXED)
        TRY_FAIL(err, SOTTO_CORRUPT, "the token is cut short");
    TRY(id_ticket_decode(view_of(bytes.p, ID_TICKET_BYTES), NULL, &out->ticket, err));
    memcpy(out->secret, bytes.p + ID_TICKET_BYTES, ID_KEY);
    id_token_keys(out, &e, &curve);
    if (memcmp(e.public_key, out->ticket.e_key, ID_KEY) != 0 ||
        memcmp(curve.public_key, out->ticket.curve_key, ID_KEY) != 0)
        TRY_FAIL(err, SOTTO_CORRUPT, "the token's secret does not belong to its ticket");
    const struct view document = {bytes.p + TOKEN_FIXED, bytes.n - TOKEN_FIXED};
    status = id_document_read(document, out->ticket.fleet, &d, err);
    if (status != SOTTO_OK) {
        (void)sotto_error_prefix(err, "the token is damaged");
        goto out;
    }
    out->document = mem_dup(document.p, document.n);
    if (out->document == NULL)
        TRY_FAIL(err, SOTTO_NOMEM, "cannot hold the token's document");
    out->document_bytes = document.n;
out:
    id_wipe(&e, sizeof e);
    id_wipe(&curve, sizeof curve);
    id_document_deinit(&d);
    return status;
}

enum sotto_status id_token_decode(const char *text, struct id_token *out, struct sotto_error *err) {
    enum sotto_status status;
    size_t n = 0;
    *out = (struct id_token){0};
    size_t chars = strnlen(text, ID_TOKEN_MAX + 3);
    /* A file's or a terminal's line end is no part of it. */
    while (chars > 0 && (text[chars - 1] == '\n' || text[chars - 1] == '\r'))
        chars--;
    if (chars > ID_TOKEN_MAX || chars < PREFIX_LEN || memcmp(text, PREFIX, PREFIX_LEN) != 0)
        return SOTTO_FAIL(err, SOTTO_CORRUPT,
                          "not an enrolment token: it begins with " PREFIX
                          " and has at most %u characters",
                          ID_TOKEN_MAX);
    uint8_t *bytes = mem_alloc(TOKEN_BYTES);
    if (bytes == NULL)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "cannot decode the token");
    /* libsodium 1.0.18 also takes the byte 0xdf for '_': look at the alphabet first. */
    if (strspn(text + PREFIX_LEN, ALPHABET) < chars - PREFIX_LEN ||
        sodium_base642bin(bytes, TOKEN_BYTES, text + PREFIX_LEN, chars - PREFIX_LEN, NULL, &n, NULL,
                          VARIANT) != 0)
        TRY_FAIL(err, SOTTO_CORRUPT, "the token is not base64url");
    TRY(take_token(view_of(bytes, n), out, err));
out:
    id_wipe(bytes, TOKEN_BYTES);
    mem_free(bytes);
    if (status != SOTTO_OK)
        id_token_deinit(out);
    return status;
}

/* What E signs: serial || device key || device curve key. */
static void put_device(const struct id_cert *c, uint8_t out[8 + 2 * ID_KEY]) {
    for (size_t i = 0; i < 8; i++)
        out[i] = (uint8_t)(c->ticket.serial >> (8 * i));
    memcpy(out + 8, c->device_key, ID_KEY);
    memcpy(out + 8 + ID_KEY, c->device_curve, ID_KEY);
}

void id_cert_make(const struct id_token *t, const uint8_t device_key[ID_KEY],
                  const uint8_t device_curve[ID_KEY], struct id_cert *out) {
    struct id_keys e;
    struct id_curve curve;
    uint8_t body[8 + 2 * ID_KEY];
    out->ticket = t->ticket;
    memcpy(out->device_key, device_key, ID_KEY);
    memcpy(out->device_curve, device_curve, ID_KEY);
    put_device(out, body);
    id_token_keys(t, &e, &curve);
    id_sign(&e, LABEL_DEVICE, view_of(body, sizeof body), out->e_sig);
    id_wipe(&e, sizeof e);
    id_wipe(&curve, sizeof curve);
}

void id_cert_encode(const struct id_cert *c, uint8_t out[ID_CERT_BYTES]) {
    id_ticket_encode(&c->ticket, out);
    memcpy(out + ID_TICKET_BYTES, c->device_key, ID_KEY);
    memcpy(out + ID_TICKET_BYTES + ID_KEY, c->device_curve, ID_KEY);
    memcpy(out + ID_TICKET_BYTES + (size_t)2 * ID_KEY, c->e_sig, ID_SIG);
}

enum sotto_status id_cert_decode(struct view bytes, const uint8_t *pinned_authority,
                                 struct id_cert *out, struct sotto_error *err) {
    enum sotto_status status;
    uint8_t body[8 + 2 * ID_KEY];
    if (bytes.n != ID_CERT_BYTES)
        TRY_FAIL(err, SOTTO_CORRUPT, "certificate of %zu bytes instead of %u", bytes.n,
                 ID_CERT_BYTES);
    TRY(id_ticket_decode(view_of(bytes.p, ID_TICKET_BYTES), pinned_authority, &out->ticket, err));
    memcpy(out->device_key, bytes.p + ID_TICKET_BYTES, ID_KEY);
    memcpy(out->device_curve, bytes.p + ID_TICKET_BYTES + ID_KEY, ID_KEY);
    memcpy(out->e_sig, bytes.p + ID_TICKET_BYTES + (size_t)2 * ID_KEY, ID_SIG);
    put_device(out, body);
    TRY(id_verify(out->ticket.e_key, LABEL_DEVICE, view_of(body, sizeof body), out->e_sig, err));
out:
    if (status != SOTTO_OK)
        *out = (struct id_cert){0};
    return status;
}
