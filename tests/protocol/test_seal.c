/* Sealed reports: only the round key opens them, for one device, one set of terms, part by part. */
#include "sotto/protocol/seal.h"

#include <sodium.h>

#include "codec_support.h"

struct sealed {
    struct codec_case c;
    struct wire_hash terms;
    uint8_t public_key[SEAL_PUBLIC], secret_key[SEAL_SECRET];
    uint8_t content_key[SEAL_KEY];
    struct buf report;
};
enum { SERIAL = 77 };

static void setup(struct sealed *s) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct rng r;
    assert_true(sodium_init() >= 0);
    rng_init(&r, test_seed(), 0, 9, RNG_FAULT);
    case_init(&s->c, 2);
    case_segment(&s->c.layouts[0], LAYOUT_WEIGHT, 70000);
    case_segment(&s->c.layouts[1], LAYOUT_BIAS, 5);
    s->c.spec.pipeline.keep = 0.01f;
    s->c.spec.pipeline.bits = 4;
    case_arrays(&s->c);
    case_fill(&s->c, &r);
    ASSERT_OK(codec_encode(&s->c.spec, &s->c.in, &r, &s->c.update, &err));
    assert_int_equal(s->c.update.part_count, 4);
    for (size_t i = 0; i < WIRE_HASH; i++)
        s->terms.b[i] = (uint8_t)i;
    seal_keypair(s->public_key, s->secret_key);
    randombytes_buf(s->content_key, sizeof s->content_key);
    buf_init(&s->report, 1u << 20);
    ASSERT_OK(seal_report(&s->c.update, s->public_key, &s->terms, SERIAL, s->content_key,
                          &s->report, &err));
}

static void teardown(struct sealed *s) {
    buf_deinit(&s->report);
    case_deinit(&s->c);
}

/* Opens all parts; OK only when they are the update's. */
static enum sotto_status open_all(const struct sealed *s, struct view report,
                                  const struct wire_hash *terms, uint64_t serial,
                                  struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct seal_opener *o = NULL;
    struct view part;
    TRY(seal_open(report, s->public_key, s->secret_key, terms, serial, s->c.update.part_count, &o,
                  err));
    for (int pass = 0; pass < 2; pass++) /* check, then add */
        for (uint32_t i = 0; i < seal_part_count(o); i++) {
            TRY(seal_open_part(o, i, &part, err));
            const struct view want = codec_update_part(&s->c.update, i);
            assert_int_equal(part.n, want.n);
            assert_memory_equal(part.p, want.p, want.n);
        }
out:
    seal_opener_free(o);
    return status;
}

static void opens_with_the_round_key_alone(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct sealed s;
    struct wire_hash other;
    setup(&s);
    ASSERT_OK(open_all(&s, buf_view(&s.report), &s.terms, SERIAL, &err));
    ASSERT_FAILS(open_all(&s, buf_view(&s.report), &s.terms, SERIAL + 1, &err), SOTTO_CORRUPT,
                 "part 0");
    other = s.terms;
    other.b[31] ^= 1;
    ASSERT_FAILS(open_all(&s, buf_view(&s.report), &other, SERIAL, &err), SOTTO_CORRUPT, "part 0");
    /* Nothing of the update is readable in the report. */
    for (uint32_t i = 0; i < s.c.update.part_count; i++) {
        const struct view part = codec_update_part(&s.c.update, i);
        assert_null(memmem(s.report.data, s.report.len, part.p, part.n < 12 ? part.n : 12));
    }
    seal_keypair(s.public_key, s.secret_key);
    ASSERT_FAILS(open_all(&s, buf_view(&s.report), &s.terms, SERIAL, &err), SOTTO_CORRUPT,
                 "content key");
    teardown(&s);
}

static void framing_is_small(void **state) {
    (void)state;
    struct sealed s;
    setup(&s);
    assert_int_equal(s.report.len,
                     s.c.update.bytes.len + 4 + 1 + 4 + 80 + s.c.update.part_count * (4u + 16u));
    teardown(&s);
}

/* The same update sealed twice under one content key and two reports of two keys: parts do not mix.
 */
static void parts_do_not_move(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct sealed s;
    struct seal_opener *o;
    struct view part;
    setup(&s);
    /* Lengths and ciphertexts of parts 1 and 2 change places. */
    const struct view one = codec_update_part(&s.c.update, 1);
    const struct view two = codec_update_part(&s.c.update, 2);
    uint8_t *lengths = s.report.data + 9;
    uint8_t *first = s.report.data + 9 + 16 + 80 + codec_update_part(&s.c.update, 0).n + 16;
    uint8_t *copy = mem_dup(first, one.n + two.n + 32);
    assert_non_null(copy);
    memcpy(first, copy + one.n + 16, two.n + 16);
    memcpy(first + two.n + 16, copy, one.n + 16);
    uint8_t swap[4];
    memcpy(swap, lengths + 4, 4);
    memcpy(lengths + 4, lengths + 8, 4);
    memcpy(lengths + 8, swap, 4);
    ASSERT_OK(
        seal_open(buf_view(&s.report), s.public_key, s.secret_key, &s.terms, SERIAL, 4, &o, &err));
    ASSERT_OK(seal_open_part(o, 0, &part, &err));
    ASSERT_FAILS(seal_open_part(o, 1, &part, &err), SOTTO_CORRUPT, "part 1");
    assert_null(part.p);
    ASSERT_FAILS(seal_open_part(o, 2, &part, &err), SOTTO_CORRUPT, "part 2");
    ASSERT_OK(seal_open_part(o, 3, &part, &err));
    ASSERT_FAILS(seal_open_part(o, 4, &part, &err), SOTTO_INVALID, "no part 4");
    seal_opener_free(o);
    mem_free(copy);
    ASSERT_FAILS(
        seal_open(buf_view(&s.report), s.public_key, s.secret_key, &s.terms, SERIAL, 5, &o, &err),
        SOTTO_CORRUPT, "part count");
    assert_null(o);
    teardown(&s);
}

static void damage_is_noticed(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct sealed s;
    setup(&s);
    for (size_t n = 0; n < s.report.len; n += n < 200 ? 1 : 37) {
        uint8_t *cut = n > 0 ? mem_dup(s.report.data, n) : NULL;
        assert_true(open_all(&s, view_of(cut, n), &s.terms, SERIAL, NULL) != SOTTO_OK);
        mem_free(cut);
    }
    for (size_t bit = 0; bit < 8 * s.report.len; bit += bit < 1600 ? 1 : 61) {
        s.report.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        const enum sotto_status status = open_all(&s, buf_view(&s.report), &s.terms, SERIAL, &err);
        assert_true(status == SOTTO_CORRUPT || status == SOTTO_VERSION || status == SOTTO_LIMIT);
        s.report.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    buf_put_u8(&s.report, 0);
    ASSERT_FAILS(open_all(&s, buf_view(&s.report), &s.terms, SERIAL, &err), SOTTO_CORRUPT,
                 "lengths");
    teardown(&s);
}

static void refuses_what_it_cannot_seal(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct sealed s;
    struct codec_update none;
    const uint8_t low_order[SEAL_PUBLIC] = {0};
    setup(&s);
    ASSERT_FAILS(seal_report(&s.c.update, low_order, &s.terms, 1, s.content_key, &s.report, &err),
                 SOTTO_INVALID, "round key");
    codec_update_init(&none);
    ASSERT_FAILS(seal_report(&none, s.public_key, &s.terms, 1, s.content_key, &s.report, &err),
                 SOTTO_INVALID, "0 parts");
    struct buf small;
    buf_init(&small, 300);
    ASSERT_FAILS(seal_report(&s.c.update, s.public_key, &s.terms, 1, s.content_key, &small, &err),
                 SOTTO_LIMIT, "300");
    buf_deinit(&small);
    teardown(&s);
}

static enum sotto_status seal_and_open(void *ctx, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    const struct sealed *s = ctx;
    struct buf report;
    buf_init(&report, 1u << 20);
    TRY(seal_report(&s->c.update, s->public_key, &s->terms, SERIAL, s->content_key, &report, err));
    TRY(open_all(s, buf_view(&report), &s->terms, SERIAL, err));
out:
    buf_deinit(&report);
    return status;
}

static void out_of_memory(void **state) {
    (void)state;
    struct sealed s;
    setup(&s);
    test_oom_loop(seal_and_open, &s);
    teardown(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_with_the_round_key_alone),
        cmocka_unit_test(framing_is_small),
        cmocka_unit_test(parts_do_not_move),
        cmocka_unit_test(damage_is_noticed),
        cmocka_unit_test(refuses_what_it_cannot_seal),
        cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests_name("seal", tests, NULL, NULL);
}
