/* The member of a secure group as a host sees it: chunks in order and within their limits, messages
 * with their hash, no second masked input, and memory that fails. */
#include "secure_world.h"

#include <string.h>

static struct secure_member_config config_of(struct sw *w) {
    return (struct secure_member_config){.terms = &w->terms,
                                         .terms_hash = &w->hash,
                                         .length = SW_LENGTH,
                                         .serial = SW_SERIAL,
                                         .ids = w->device.ids,
                                         .certificate = view_of(w->device.cert, ID_CERT_BYTES)};
}

static struct secure_member *make(struct sw *w) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    const struct secure_member_config config = config_of(w);
    struct secure_member *m = NULL;
    uint8_t random[SECAGG_CLIENT_RANDOM];
    sw_random(w, random, sizeof random);
    ASSERT_OK(secure_member_new(&config, 2, random, &m, &err));
    return m;
}

static void test_refused(void **state) {
    (void)state;
    struct sw *w = sw_new(1);
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct secure_member_config config = config_of(w);
    struct secure_member *m = NULL;
    const uint8_t random[SECAGG_CLIENT_RANDOM] = {1};
    config.masked_before = true;
    ASSERT_STATUS(secure_member_new(&config, 1, random, &m, &err), SOTTO_DENIED);
    config = config_of(w);
    config.minimum_group = w->terms.n_max + 1;
    ASSERT_STATUS(secure_member_new(&config, 1, random, &m, &err), SOTTO_INVALID);
    config = config_of(w);
    config.certificate.n--;
    ASSERT_STATUS(secure_member_new(&config, 1, random, &m, &err), SOTTO_INVALID);
    config = config_of(w);
    config.length = 0;
    ASSERT_STATUS(secure_member_new(&config, 1, random, &m, &err), SOTTO_INVALID);
    assert_null(m);
    secure_member_free(NULL);
    sw_free(w);
}

static void test_chunks(void **state) {
    (void)state;
    struct sw *w = sw_new(2);
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct secure_member *m = make(w);
    const struct view bytes = view_of("\001abcdefghi", 10);
    const struct wire_hash hash = wire_hash_of(WIRE_LABEL_SECURE, bytes);
    const size_t most = secagg_message_max(&w->group, SECAGG_LIST);
    assert_int_equal(secure_member_attempt(m), 2);
    assert_int_equal(secure_member_out(m).n, secagg_message_max(&w->group, SECAGG_ADVERTISE));
    assert_int_equal(secure_member_out_chunk(m, 0).n, secure_member_out(m).n);
    assert_int_equal(secure_member_out_chunk(m, 1).n, 0);
    /* not the coordinator's; too large for its kind; out of order; a wrong size */
    ASSERT_STATUS(secure_member_chunk(m, SECAGG_SHARES, 0, 10, bytes, &err), SOTTO_INVALID);
    ASSERT_STATUS(secure_member_chunk(m, SECAGG_LIST, 0, most + 1, bytes, &err), SOTTO_LIMIT);
    ASSERT_STATUS(secure_member_chunk(m, SECAGG_LIST, 0, 0, bytes, &err), SOTTO_LIMIT);
    ASSERT_STATUS(secure_member_chunk(m, SECAGG_LIST, 1, 10, bytes, &err), SOTTO_INVALID);
    ASSERT_STATUS(secure_member_chunk(m, SECAGG_LIST, 0, 11, bytes, &err), SOTTO_INVALID);
    ASSERT_STATUS(secure_member_take(m, SECAGG_LIST, &hash, &err), SOTTO_STATE);
    /* whole, but of another hash, or another kind */
    ASSERT_OK(secure_member_chunk(m, SECAGG_LIST, 0, 10, bytes, &err));
    ASSERT_STATUS(secure_member_take(m, SECAGG_LIST, &w->hash, &err), SOTTO_CORRUPT);
    ASSERT_OK(secure_member_chunk(m, SECAGG_LIST, 0, 10, bytes, &err));
    ASSERT_STATUS(secure_member_take(m, SECAGG_DELIVERY, &hash, &err), SOTTO_STATE);
    ASSERT_OK(secure_member_chunk(m, SECAGG_LIST, 0, 10, bytes, &err));
    ASSERT_STATUS(secure_member_take(m, SECAGG_LIST, &hash, &err), SOTTO_CORRUPT); /* no list */
    secure_member_free(m);
    sw_free(w);
}

static bool is_masking(struct sw *w) {
    return w->store.masked;
}

/* Each coordinate once, in order. */
static void test_masks_once(void **state) {
    (void)state;
    struct sw *w = sw_new(3);
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct buf out;
    buf_init(&out, 1u << 20);
    sw_make_ready(w);
    sw_group(w, 1);
    assert_true(sw_run_until(w, is_masking, 60000));
    assert_int_equal(secure_member_masked(w->member), secure_member_length(w->member));
    assert_int_equal(w->store.message.len, secure_member_masked_bytes(w->member));
    assert_int_not_equal(
        secure_member_mask(w->member, w->codes[SW_GHOSTS], SECAGG_BLOCK, &out, &err), SOTTO_OK);
    assert_int_equal(out.len, 0);
    buf_deinit(&out);
    sw_free(w);
}

static enum sotto_status make_and_feed(void *ctx, struct sotto_error *err) {
    struct sw *w = ctx;
    const struct secure_member_config config = config_of(w);
    const uint8_t random[SECAGG_CLIENT_RANDOM] = {7};
    struct secure_member *m = NULL;
    enum sotto_status status;
    TRY(secure_member_new(&config, 1, random, &m, err));
    TRY(secure_member_chunk(m, SECAGG_LIST, 0, 4, view_of("list", 4), err));
out:
    secure_member_free(m);
    return status;
}

static void test_out_of_memory(void **state) {
    (void)state;
    struct sw *w = sw_new(4);
    test_oom_loop(make_and_feed, w);
    sw_free(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_masks_once),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
