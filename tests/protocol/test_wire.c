/* Encoding of control messages and terms: golden bytes, versions, hostile frames, hashes. */
#include "support.h"

#include "wire_samples.h"

#include <stdio.h>
#include <stdlib.h>

/* The golden line of a name as bytes. */
static size_t golden(const char *name, uint8_t *out, size_t cap) {
    const char *source = getenv("SOTTO_SOURCE");
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct buf text;
    char path[IO_PATH_MAX];
    if (source == NULL)
        skip();
    ASSERT_OK(io_join(path, sizeof path, source, "tests/protocol/wire.exp", &err));
    buf_init(&text, 1u << 20);
    ASSERT_OK(io_read_file(path, 1u << 20, &text, &err));
    buf_put_u8(&text, 0);
    size_t n = 0;
    char *rest = NULL;
    for (char *line = strtok_r((char *)text.data, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        char *space = strchr(line, ' ');
        if (line[0] == '#' || space == NULL)
            continue;
        *space = '\0';
        if (strcmp(line, name) != 0)
            continue;
        n = strlen(space + 1) / 2;
        assert_true(n > 0 && n <= cap);
        ASSERT_OK(num_parse_hex(space + 1, out, n, &err));
    }
    buf_deinit(&text);
    return n;
}

static void golden_bytes(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    uint8_t want[WIRE_CONTROL_MAX];
    struct buf b;
    buf_init(&b, WIRE_CONTROL_MAX);
    for (unsigned i = 0; i < SAMPLE_COUNT; i++) {
        sotto_Envelope m, back;
        sample_message(&m, i);
        ASSERT_OK(wire_encode(&m, &b, &err));
        assert_int_equal(golden(wire_name(&m), want, sizeof want), b.len);
        assert_memory_equal(b.data, want, b.len);
        ASSERT_OK(wire_decode(buf_view(&b), &back, &err));
        assert_string_equal(wire_name(&back), wire_name(&m));
        ASSERT_OK(wire_encode(&back, &b, &err)); /* all fields came back */
        assert_memory_equal(b.data, want, b.len);
    }
    sotto_Terms t, back;
    sample_terms(&t);
    ASSERT_OK(wire_terms_encode(&t, &b, &err));
    assert_int_equal(golden("terms", want, sizeof want), b.len);
    assert_memory_equal(b.data, want, b.len);
    ASSERT_OK(wire_terms_decode(buf_view(&b), &back, &err));
    ASSERT_OK(wire_terms_encode(&back, &b, &err));
    assert_memory_equal(b.data, want, b.len);
    buf_deinit(&b);
}

static void another_version(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    sotto_Envelope m;
    /* Version 2, and a body that version 1 cannot read. */
    const uint8_t two[] = {0x08, 0x02, 0x22, 0x03, 0xff, 0xff, 0xff};
    ASSERT_FAILS(wire_decode(view_of(two, sizeof two), &m, &err), SOTTO_VERSION, "version 2");
    const uint8_t none[] = {0x22, 0x00};
    ASSERT_FAILS(wire_decode(view_of(none, sizeof none), &m, &err), SOTTO_VERSION, "version 0");
    /* Encode writes the version itself. */
    struct buf b;
    buf_init(&b, WIRE_CONTROL_MAX);
    sample_message(&m, 10);
    m.version = 77;
    ASSERT_OK(wire_encode(&m, &b, &err));
    ASSERT_OK(wire_decode(buf_view(&b), &m, &err));
    assert_int_equal(m.version, WIRE_VERSION);
    buf_deinit(&b);
}

static void unknown_fields_are_skipped(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    sotto_Envelope m, want;
    struct buf b;
    buf_init(&b, WIRE_CONTROL_MAX);
    sample_message(&want, 7);
    ASSERT_OK(wire_encode(&want, &b, &err));
    const uint8_t more[] = {0xa2, 0x06, 0x02, 'h', 'i', 0xa8, 0x06, 0x05}; /* tags 100, 101 */
    buf_put(&b, more, sizeof more);
    ASSERT_OK(wire_decode(buf_view(&b), &m, &err));
    assert_int_equal(m.body.report_grant.credit, want.body.report_grant.credit);
    buf_deinit(&b);
}

static void bad_frames(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    sotto_Envelope m;
    uint8_t large[WIRE_CONTROL_MAX + 1] = {0x08, 0x01};
    ASSERT_FAILS(wire_decode(view_of(large, 0), &m, &err), SOTTO_CORRUPT, "0 bytes");
    ASSERT_FAILS(wire_decode(view_of(large, sizeof large), &m, &err), SOTTO_CORRUPT, "4097 bytes");
    ASSERT_FAILS(wire_decode(view_of(large, 2), &m, &err), SOTTO_CORRUPT, "body");
    const uint8_t unknown_body[] = {0x08, 0x01, 0xa2, 0x06, 0x00};
    ASSERT_FAILS(wire_decode(view_of(unknown_body, sizeof unknown_body), &m, &err), SOTTO_CORRUPT,
                 "body");
    /* 1,000 open reports in one check-in: stops at the array's bound. */
    uint8_t many[2 + 3 + 2000] = {0x08, 0x01, 0x22, 0xd0, 0x0f};
    for (size_t i = 0; i < 1000; i++)
        many[5 + 2 * i] = 0x42;
    ASSERT_FAILS(wire_decode(view_of(many, sizeof many), &m, &err), SOTTO_CORRUPT,
                 "array overflow");
    /* A length that claims 4 GiB. */
    const uint8_t huge[] = {0x08, 0x01, 0x12, 0xff, 0xff, 0xff, 0xff, 0x0f};
    ASSERT_STATUS(wire_decode(view_of(huge, sizeof huge), &m, &err), SOTTO_CORRUPT);
}

/* Every cut and 8 changes of every byte: no crash, and never another status. */
static void mutations(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct rng r;
    rng_init(&r, test_seed(), 0, 0, RNG_FAULT);
    struct buf b;
    buf_init(&b, WIRE_CONTROL_MAX);
    for (unsigned i = 0; i <= SAMPLE_COUNT; i++) {
        sotto_Envelope m;
        sotto_Terms t;
        const bool terms = i == SAMPLE_COUNT;
        if (terms) {
            sample_terms(&t);
            ASSERT_OK(wire_terms_encode(&t, &b, &err));
        } else {
            sample_message(&m, i);
            ASSERT_OK(wire_encode(&m, &b, &err));
        }
        for (size_t at = 0; at < b.len * 9; at++) {
            const size_t byte = at / 9;
            const uint8_t was = b.data[byte];
            const bool cut = at % 9 == 8;
            if (!cut)
                b.data[byte] = (uint8_t)rng_u32(&r);
            const struct view v = view_of(b.data, cut ? byte : b.len);
            const enum sotto_status s =
                terms ? wire_terms_decode(v, &t, &err) : wire_decode(v, &m, &err);
            assert_true(s == SOTTO_OK || s == SOTTO_CORRUPT || s == SOTTO_VERSION);
            b.data[byte] = was;
        }
    }
    buf_deinit(&b);
}

static void hashes(void **state) {
    (void)state;
    char hex[2 * WIRE_HASH + 1];
    struct wire_hash h = wire_hash_of("", view_of(NULL, 0));
    assert_string_equal(num_format_hex(hex, h.b, WIRE_HASH), /* BLAKE2b-256 of nothing */
                        "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8");
    struct wire_hash abc = wire_hash_of("", view_of("abc", 3));
    assert_string_equal(num_format_hex(hex, abc.b, WIRE_HASH),
                        "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319");
    struct wire_hash labelled = wire_hash_of("sotto package v1", view_of("abc", 3));
    assert_false(wire_hash_equal(&abc, &labelled));
    struct wire_hasher *hasher = wire_hasher_new("sotto package v1");
    assert_non_null(hasher);
    wire_hasher_add(hasher, view_of("a", 1));
    wire_hasher_add(hasher, view_of(NULL, 0));
    wire_hasher_add(hasher, view_of("bc", 2));
    struct wire_hash parts = wire_hasher_finish(hasher);
    assert_true(wire_hash_equal(&parts, &labelled));
    const float x[2] = {1.0f, -2.0f};
    const uint8_t bytes[8] = {0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0};
    struct wire_hash digest = wire_digest(x, 2), of_bytes = wire_hash_of("", view_of(bytes, 8));
    assert_true(wire_hash_equal(&digest, &of_bytes));
    struct wire_hash terms = wire_terms_hash(view_of("abc", 3));
    assert_false(wire_hash_equal(&terms, &labelled));
}

static enum sotto_status encode_both(void *ctx, struct sotto_error *err) {
    enum sotto_status status;
    struct buf b;
    sotto_Envelope m;
    sotto_Terms t;
    (void)ctx;
    buf_init(&b, WIRE_CONTROL_MAX);
    sample_message(&m, 3);
    sample_terms(&t);
    TRY(wire_encode(&m, &b, err));
    TRY(wire_terms_encode(&t, &b, err));
    struct wire_hasher *h = wire_hasher_new("x");
    if (h == NULL)
        TRY_FAIL(err, SOTTO_NOMEM, "hasher");
    (void)wire_hasher_finish(h);
out:
    buf_deinit(&b);
    return status;
}

static void out_of_memory(void **state) {
    (void)state;
    test_oom_loop(encode_both, NULL);
}

static void small_buffer(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct buf b;
    sotto_Envelope m;
    buf_init(&b, 10);
    sample_message(&m, 3);
    ASSERT_STATUS(wire_encode(&m, &b, &err), SOTTO_LIMIT);
    buf_deinit(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_bytes),  cmocka_unit_test(another_version),
        cmocka_unit_test(bad_frames),    cmocka_unit_test(unknown_fields_are_skipped),
        cmocka_unit_test(mutations),     cmocka_unit_test(hashes),
        cmocka_unit_test(out_of_memory), cmocka_unit_test(small_buffer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
