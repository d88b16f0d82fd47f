/* Identities: signatures, documents, tickets, tokens, certificates; every byte of each is tampered
 * with. */
#include "support.h"

#include "sotto/protocol/identity.h"

#include <stdio.h>
#include <string.h>

static struct id_keys authority;

static int set_up(void **state) {
    (void)state;
    if (id_setup(NULL) != SOTTO_OK)
        return 1;
    id_keys_generate(&authority);
    return 0;
}

/* A document with the given number of revoked serials (3, 6, 9, ...), signed. */
static void sample_document(uint32_t revoked, struct buf *out) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct id_document d = {.version = 5, .authority_beside = true, .endpoint_count = 2};
    memcpy(d.authority_key, authority.public_key, ID_KEY);
    snprintf(d.endpoints[0].address, ID_ADDRESS_MAX, "tcp://coordinator.example:7700");
    snprintf(d.endpoints[1].address, ID_ADDRESS_MAX, "tcp://[2001:db8::1]:7701");
    memset(d.endpoints[0].curve_key, 1, ID_KEY);
    memset(d.endpoints[1].curve_key, 2, ID_KEY);
    memset(d.signing_key, 3, ID_KEY);
    if (revoked > 0) {
        d.revoked = mem_array(revoked, sizeof *d.revoked);
        assert_non_null(d.revoked);
        d.revoked_count = revoked;
        for (uint32_t i = 0; i < revoked; i++)
            d.revoked[i] = 3u * (i + 1);
    }
    ASSERT_OK(id_document_sign(&d, &authority, out, &err));
    id_document_deinit(&d);
}

static void signatures(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct id_keys k, other;
    uint8_t sig[ID_SIG];
    id_keys_generate(&k);
    id_keys_generate(&other);
    const struct view body = view_of("body", 4);
    id_sign(&k, ID_LABEL_TERMS, body, sig);
    ASSERT_OK(id_verify(k.public_key, ID_LABEL_TERMS, body, sig, &err));
    /* A memory helps only the very same. */
    struct id_checked memory = {false};
    ASSERT_STATUS(id_verify_again(&memory, other.public_key, ID_LABEL_TERMS, body, sig, &err),
                  SOTTO_DENIED);
    assert_false(memory.set);
    for (int i = 0; i < 2; i++) {
        ASSERT_OK(id_verify_again(&memory, k.public_key, ID_LABEL_TERMS, body, sig, &err));
        assert_true(memory.set);
        ASSERT_STATUS(id_verify_again(&memory, other.public_key, ID_LABEL_TERMS, body, sig, &err),
                      SOTTO_DENIED);
        ASSERT_STATUS(
            id_verify_again(&memory, k.public_key, ID_LABEL_TERMS, view_of("bodi", 4), sig, &err),
            SOTTO_DENIED);
        sig[63] ^= 1;
        ASSERT_STATUS(id_verify_again(&memory, k.public_key, ID_LABEL_TERMS, body, sig, &err),
                      SOTTO_DENIED);
        sig[63] ^= 1;
    }
    ASSERT_FAILS(id_verify(k.public_key, "sotto terms v2", body, sig, &err), SOTTO_DENIED,
                 "sotto terms v2");
    ASSERT_STATUS(id_verify(other.public_key, ID_LABEL_TERMS, body, sig, &err), SOTTO_DENIED);
    ASSERT_STATUS(id_verify(k.public_key, ID_LABEL_TERMS, view_of("bodY", 4), sig, &err),
                  SOTTO_DENIED);
    /* The label's end cannot move into the body. */
    ASSERT_STATUS(id_verify(k.public_key, "sotto terms v", view_of("1body", 5), sig, &err),
                  SOTTO_DENIED);
    id_sign(&k, "x", view_of(NULL, 0), sig);
    ASSERT_OK(id_verify(k.public_key, "x", view_of(NULL, 0), sig, &err));
}

static void document(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct id_document d;
    struct id_keys other;
    struct buf b;
    buf_init(&b, 1u << 20);
    sample_document(4, &b);
    ASSERT_OK(id_document_read(buf_view(&b), authority.public_key, &d, &err));
    assert_int_equal(d.version, 5);
    assert_true(d.authority_beside);
    assert_int_equal(d.endpoint_count, 2);
    assert_string_equal(d.endpoints[1].address, "tcp://[2001:db8::1]:7701");
    assert_int_equal(d.revoked_count, 4);
    for (uint64_t s = 0; s < 15; s++)
        assert_int_equal(id_document_revoked(&d, s), s > 0 && s % 3 == 0 && s <= 12);
    id_document_deinit(&d);
    ASSERT_OK(id_document_read(buf_view(&b), NULL, &d, &err)); /* first contact */
    id_document_deinit(&d);
    id_keys_generate(&other);
    ASSERT_FAILS(id_document_read(buf_view(&b), other.public_key, &d, &err), SOTTO_DENIED,
                 "pinned");
    buf_deinit(&b);
}

static void document_refusals(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct id_document good, d;
    struct id_keys other;
    struct buf b, out;
    uint64_t twice[2] = {7, 7};
    buf_init(&b, 1u << 20);
    buf_init(&out, 1u << 20);
    sample_document(0, &b);
    ASSERT_OK(id_document_read(buf_view(&b), NULL, &good, &err));
    static const char *const bad[] = {"",
                                      "tcp://",
                                      "tcp://:7700",
                                      "tcp://host",
                                      "tcp://host:0",
                                      "tcp://host:65536",
                                      "tcp://host:*",
                                      "tcp://*:7700;x",
                                      "ipc:///tmp/x:1",
                                      "inproc://x:1",
                                      "tcp://a b:1",
                                      "tcp://host:7700\n"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        d = good;
        memset(d.endpoints[0].address, 0, ID_ADDRESS_MAX);
        snprintf(d.endpoints[0].address, ID_ADDRESS_MAX, "%s", bad[i]);
        ASSERT_FAILS(id_document_sign(&d, &authority, &out, &err), SOTTO_INVALID, "address");
    }
    d = good;
    d.version = 0;
    ASSERT_FAILS(id_document_sign(&d, &authority, &out, &err), SOTTO_INVALID, "version");
    d = good;
    d.endpoint_count = 0;
    ASSERT_FAILS(id_document_sign(&d, &authority, &out, &err), SOTTO_INVALID, "endpoints");
    d = good;
    memset(d.endpoints[1].curve_key, 0, ID_KEY);
    ASSERT_FAILS(id_document_sign(&d, &authority, &out, &err), SOTTO_INVALID, "key");
    d = good;
    memset(d.signing_key, 0, ID_KEY);
    ASSERT_FAILS(id_document_sign(&d, &authority, &out, &err), SOTTO_INVALID, "signing key");
    d = good;
    d.revoked = twice;
    d.revoked_count = 2;
    ASSERT_FAILS(id_document_sign(&d, &authority, &out, &err), SOTTO_INVALID, "order");
    id_keys_generate(&other);
    ASSERT_FAILS(id_document_sign(&good, &other, &out, &err), SOTTO_INVALID, "another authority");
    id_document_deinit(&good);
    buf_deinit(&b);
    buf_deinit(&out);
}

static void requests(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct id_document d, back;
    struct buf b, r;
    buf_init(&b, 1u << 20);
    buf_init(&r, 1u << 20);
    sample_document(2, &b);
    ASSERT_OK(id_document_read(buf_view(&b), NULL, &d, &err));
    memset(d.authority_key, 0, ID_KEY); /* a coordinator need not know it yet */
    ASSERT_OK(id_document_request(&d, &r, &err));
    ASSERT_OK(id_document_request_read(buf_view(&r), &back, &err));
    assert_int_equal(back.revoked_count, 2);
    id_document_deinit(&back);
    /* Neither passes for the other. */
    ASSERT_STATUS(id_document_read(buf_view(&r), NULL, &back, &err), SOTTO_CORRUPT);
    ASSERT_STATUS(id_document_request_read(buf_view(&b), &back, &err), SOTTO_CORRUPT);
    id_document_deinit(&d);
    buf_deinit(&b);
    buf_deinit(&r);
}

/* A count that claims more serials than there are bytes fails before anything is allocated. */
static void document_counts(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct id_document d;
    struct buf b;
    buf_init(&b, 1u << 20);
    sample_document(1, &b);
    uint8_t *count = b.data + b.len - ID_SIG - 8 - 4;
    assert_int_equal(count[0], 1);
    memset(count, 0xff, 4);
    const uint64_t calls = mem_call_count();
    ASSERT_FAILS(id_document_read(buf_view(&b), NULL, &d, &err), SOTTO_CORRUPT, "revoked");
    assert_int_equal(mem_call_count(), calls);
    buf_deinit(&b);
}

static void sample_token(struct id_token *t, int64_t expiry_ms) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct buf b;
    buf_init(&b, 1u << 20);
    sample_document(2, &b);
    ASSERT_OK(id_token_issue(&authority, 42, expiry_ms, buf_view(&b), t, &err));
    buf_deinit(&b);
}

static void token(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct id_token t, back;
    struct id_keys e, e2;
    struct id_curve curve, curve2;
    struct buf text;
    buf_init(&text, ID_TOKEN_MAX + 1);
    sample_token(&t, 1000);
    ASSERT_OK(id_token_encode(&t, &text, &err));
    assert_memory_equal(text.data, "sotto1:", 7);
    assert_null(memchr(text.data, '=', text.len));
    buf_put_u8(&text, '\n');
    buf_put_u8(&text, 0);
    ASSERT_OK(id_token_decode((const char *)text.data, &back, &err));
    assert_int_equal(back.ticket.serial, 42);
    assert_int_equal(back.ticket.expiry_ms, 1000);
    assert_memory_equal(&back.ticket, &t.ticket, sizeof t.ticket);
    assert_int_equal(back.document_bytes, t.document_bytes);
    assert_memory_equal(back.document, t.document, t.document_bytes);
    id_token_keys(&t, &e, &curve);
    id_token_keys(&back, &e2, &curve2);
    assert_memory_equal(&e, &e2, sizeof e);
    assert_memory_equal(&curve, &curve2, sizeof curve);
    assert_memory_equal(e.public_key, t.ticket.e_key, ID_KEY);
    assert_memory_equal(curve.public_key, t.ticket.curve_key, ID_KEY);
    /* An expired one decodes: expiry is the coordinator's to judge. */
    assert_false(id_ticket_expired(&back.ticket, 999));
    assert_true(id_ticket_expired(&back.ticket, 1000));
    id_token_deinit(&t);
    id_token_deinit(&back);
    assert_int_equal(t.secret[0] | t.secret[31], 0);
    buf_deinit(&text);
}

static void token_limits(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct id_token t;
    struct buf b, text;
    buf_init(&b, 1u << 20);
    buf_init(&text, ID_TOKEN_MAX + 1);
    sample_document(650, &b);
    ASSERT_OK(id_token_issue(&authority, 1, 1, buf_view(&b), &t, &err));
    ASSERT_OK(id_token_encode(&t, &text, &err));
    assert_true(text.len <= ID_TOKEN_MAX);
    id_token_deinit(&t);
    sample_document(1000, &b);
    ASSERT_FAILS(id_token_issue(&authority, 1, 1, buf_view(&b), &t, &err), SOTTO_LIMIT, "document");
    sample_document(0, &b);
    ASSERT_STATUS(id_token_issue(&authority, 1, -1, buf_view(&b), &t, &err), SOTTO_INVALID);
    b.data[b.len - 1] ^= 1;
    ASSERT_STATUS(id_token_issue(&authority, 1, 1, buf_view(&b), &t, &err), SOTTO_DENIED);
    ASSERT_STATUS(id_token_decode("", &t, &err), SOTTO_CORRUPT);
    ASSERT_STATUS(id_token_decode("sotto1:", &t, &err), SOTTO_CORRUPT);
    ASSERT_STATUS(id_token_decode("sotto2:AAAA", &t, &err), SOTTO_CORRUPT);
    ASSERT_STATUS(id_token_decode("sotto1:AA AA", &t, &err), SOTTO_CORRUPT);
    ASSERT_FAILS(id_token_decode("sotto1:AA\xdf"
                                 "A",
                                 &t, &err),
                 SOTTO_CORRUPT, "base64url"); /* libsodium takes it for '_' */
    buf_deinit(&b);
    buf_deinit(&text);
}

static void certificate(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct id_token t;
    struct id_keys device, other;
    struct id_curve curve;
    struct id_cert c, back;
    uint8_t bytes[ID_CERT_BYTES];
    sample_token(&t, 1000);
    id_keys_generate(&device);
    id_keys_generate(&other);
    id_curve_generate(&curve);
    id_cert_make(&t, device.public_key, curve.public_key, &c);
    id_cert_encode(&c, bytes);
    ASSERT_OK(id_cert_decode(view_of(bytes, sizeof bytes), authority.public_key, &back, &err));
    assert_memory_equal(&back, &c, sizeof c);
    ASSERT_OK(id_cert_decode(view_of(bytes, sizeof bytes), NULL, &back, &err));
    ASSERT_FAILS(id_cert_decode(view_of(bytes, sizeof bytes), other.public_key, &back, &err),
                 SOTTO_DENIED, "another fleet");
    /* A token can make two certificates; the coordinator tells them apart by their keys. */
    id_cert_make(&t, other.public_key, curve.public_key, &back);
    id_cert_encode(&back, bytes);
    ASSERT_OK(id_cert_decode(view_of(bytes, sizeof bytes), authority.public_key, &back, &err));
    assert_int_equal(back.ticket.serial, c.ticket.serial);
    assert_memory_not_equal(back.device_key, c.device_key, ID_KEY);
    /* Keys that E did not sign, and a ticket that is not E's. */
    id_cert_encode(&c, bytes);
    memcpy(bytes + ID_TICKET_BYTES, other.public_key, ID_KEY);
    ASSERT_FAILS(id_cert_decode(view_of(bytes, sizeof bytes), NULL, &back, &err), SOTTO_DENIED,
                 "sotto device v1");
    struct id_token t2;
    sample_token(&t2, 1000);
    id_cert_encode(&c, bytes);
    id_ticket_encode(&t2.ticket, bytes);
    ASSERT_STATUS(id_cert_decode(view_of(bytes, sizeof bytes), NULL, &back, &err), SOTTO_DENIED);
    id_token_deinit(&t);
    id_token_deinit(&t2);
}

typedef enum sotto_status decode_fn(struct view bytes, struct sotto_error *err);

static enum sotto_status decode_document(struct view bytes, struct sotto_error *err) {
    struct id_document d;
    const enum sotto_status s = id_document_read(bytes, authority.public_key, &d, err);
    if (s == SOTTO_OK)
        id_document_deinit(&d);
    return s;
}
static enum sotto_status decode_document_unpinned(struct view bytes, struct sotto_error *err) {
    struct id_document d;
    const enum sotto_status s = id_document_read(bytes, NULL, &d, err);
    if (s == SOTTO_OK)
        id_document_deinit(&d);
    return s;
}
static enum sotto_status decode_ticket(struct view bytes, struct sotto_error *err) {
    struct id_ticket t;
    return id_ticket_decode(bytes, NULL, &t, err);
}
static enum sotto_status decode_cert(struct view bytes, struct sotto_error *err) {
    struct id_cert c;
    return id_cert_decode(bytes, NULL, &c, err);
}
static enum sotto_status decode_token(struct view bytes, struct sotto_error *err) {
    struct id_token t;
    char text[ID_TOKEN_MAX + 1];
    if (memchr(bytes.p, 0, bytes.n) != NULL || bytes.n > ID_TOKEN_MAX)
        return SOTTO_CORRUPT;
    memcpy(text, bytes.p, bytes.n);
    text[bytes.n] = '\0';
    const enum sotto_status s = id_token_decode(text, &t, err);
    if (s == SOTTO_OK)
        id_token_deinit(&t);
    return s;
}

/* Every changed byte and every cut is refused, and nothing stays allocated. */
static void tamper(decode_fn *decode, struct view bytes) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct rng r;
    rng_init(&r, test_seed(), 0, 0, RNG_FAULT);
    ASSERT_OK(decode(bytes, &err));
    uint8_t *copy = mem_dup(bytes.p, bytes.n);
    assert_non_null(copy);
    const uint64_t live = mem_live_count();
    for (size_t i = 0; i < bytes.n; i++) {
        copy[i] ^= (uint8_t)(1u << rng_below(&r, 8));
        if (decode(view_of(copy, bytes.n), &err) == SOTTO_OK)
            fail_msg("byte %zu may be 0x%02x instead of 0x%02x", i, copy[i], bytes.p[i]);
        copy[i] = bytes.p[i];
        if (i % 7 == 0)
            assert_int_not_equal(decode(view_of(copy, i), &err), SOTTO_OK);
    }
    assert_int_equal(mem_live_count(), live);
    mem_free(copy);
}

static void tampered(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct buf b, text;
    struct id_token t;
    struct id_cert c;
    uint8_t ticket[ID_TICKET_BYTES], cert[ID_CERT_BYTES];
    buf_init(&b, 1u << 20);
    buf_init(&text, ID_TOKEN_MAX + 1);
    sample_document(2, &b);
    tamper(decode_document, buf_view(&b));
    tamper(decode_document_unpinned, buf_view(&b));
    sample_token(&t, 5);
    id_ticket_encode(&t.ticket, ticket);
    tamper(decode_ticket, view_of(ticket, sizeof ticket));
    ASSERT_OK(id_token_encode(&t, &text, &err));
    tamper(decode_token, buf_view(&text));
    id_cert_make(&t, authority.public_key, authority.public_key, &c);
    id_cert_encode(&c, cert);
    tamper(decode_cert, view_of(cert, sizeof cert));
    id_token_deinit(&t);
    buf_deinit(&b);
    buf_deinit(&text);
}

static enum sotto_status whole_way(void *ctx, struct sotto_error *err) {
    enum sotto_status status;
    const struct view *document = ctx;
    struct id_token t = {0}, back = {0};
    struct id_document d = {0};
    struct buf text, b;
    buf_init(&text, ID_TOKEN_MAX + 1);
    buf_init(&b, 1u << 16);
    TRY(id_token_issue(&authority, 9, 9, *document, &t, err));
    TRY(id_token_encode(&t, &text, err));
    buf_put_u8(&text, 0);
    TRY(text.status);
    TRY(id_token_decode((const char *)text.data, &back, err));
    TRY(id_document_read(view_of(back.document, back.document_bytes), NULL, &d, err));
    TRY(id_document_request(&d, &b, err));
    TRY(id_document_sign(&d, &authority, &b, err));
out:
    id_token_deinit(&t);
    id_token_deinit(&back);
    id_document_deinit(&d);
    buf_deinit(&text);
    buf_deinit(&b);
    return status;
}

static void out_of_memory(void **state) {
    (void)state;
    struct buf b;
    buf_init(&b, 1u << 20);
    sample_document(3, &b);
    struct view v = buf_view(&b);
    test_oom_loop(whole_way, &v);
    buf_deinit(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signatures),  cmocka_unit_test(document),
        cmocka_unit_test(requests),    cmocka_unit_test(document_refusals),
        cmocka_unit_test(token),       cmocka_unit_test(document_counts),
        cmocka_unit_test(certificate), cmocka_unit_test(token_limits),
        cmocka_unit_test(tampered),    cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
