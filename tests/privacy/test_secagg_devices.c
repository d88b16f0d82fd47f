/* Secure aggregation against devices that cheat, and what the coordinator itself refuses. */
#include <string.h>

#include "secagg/client_int.h"
#include "secagg_world.h"

enum { N = 12, VICTIM = 4 };

static struct world w;
static struct sotto_error err;

static int setup(void **state) {
    struct secagg_config config = world_config(16, 20, N);
    (void)state;
    err = (struct sotto_error)SOTTO_ERROR_INIT;
    world_init(&w, N, &config, test_seed(), false);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    world_deinit(&w);
    return 0;
}

/* Gives every member its list but lets one device's SHARES message be edited first. */
static void share_with(void (*edit)(struct buf *shares), uint32_t liar) {
    ASSERT_OK(world_advertise(&w, &err));
    for (uint32_t i = 0; i < N; i++) {
        struct buf list, out;
        world_say(&w, SECAGG_LIST, i, &list);
        buf_init(&out, 1 << 16);
        ASSERT_OK(secagg_client_list(w.members[i].client, buf_view(&list), &out, &err));
        if (i == liar)
            edit(&out);
        ASSERT_OK(secagg_server_shares(w.server, w.members[i].serial, buf_view(&out), &err));
        buf_deinit(&list);
        buf_deinit(&out);
    }
    ASSERT_OK(secagg_server_close(w.server, SECAGG_SHARES, &err));
}

static void spoil_all(struct buf *shares) {
    for (size_t at = 40; at < shares->len; at += 112)
        shares->data[at] ^= 1;
}

static void spoil_commits(struct buf *shares) {
    for (size_t at = 40 + 80; at < shares->len; at += 112)
        shares->data[at] ^= 1;
}

/* Bad shares, or commitments that do not fit: no holder signs a set with that dealer in it. */
static void bad_dealer(void (*edit)(struct buf *)) {
    struct buf set, out;
    share_with(edit, 7);
    ASSERT_OK(world_masked(&w, &err));
    world_say(&w, SECAGG_SURVIVORS, VICTIM, &set);
    buf_init(&out, 4096);
    ASSERT_FAILS(secagg_client_survivors(w.members[VICTIM].client, buf_view(&set), &out, &err),
                 SOTTO_DENIED, "dealt bad shares");
    assert_int_equal(out.len, 0);
    buf_deinit(&out);
    buf_deinit(&set);
}

static void test_bad_shares(void **state) {
    (void)state;
    bad_dealer(spoil_all);
}

static void test_wrong_commitments(void **state) {
    (void)state;
    bad_dealer(spoil_commits);
}

/* A member that gives back shares which it was not dealt is found out by the commitments; the
 * others' suffice. */
static void test_bad_unmask(void **state) {
    (void)state;
    ASSERT_OK(world_advertise(&w, &err));
    ASSERT_OK(world_shares(&w, &err));
    ASSERT_OK(world_masked(&w, &err));
    ASSERT_OK(world_signatures(&w, &err));
    for (uint32_t i = 0; i < N; i++) {
        struct buf sigs, out;
        world_say(&w, SECAGG_SIGNATURES, i, &sigs);
        buf_init(&out, 1 << 16);
        ASSERT_OK(secagg_client_signatures(w.members[i].client, buf_view(&sigs), &out, &err));
        if (i == 3) {
            out.data[40 + 8] ^= 1;
            out.data[40 + 40 + 9] ^= 4;
            ASSERT_FAILS(secagg_server_unmask(w.server, w.members[i].serial, buf_view(&out), &err),
                         SOTTO_CORRUPT, "2 bad shares");
        } else if (i == 5) { /* the other kind, unasked */
            out.data[40 + 4] = 1;
            ASSERT_STATUS(secagg_server_unmask(w.server, w.members[i].serial, buf_view(&out), &err),
                          SOTTO_CORRUPT);
        } else {
            ASSERT_OK(secagg_server_unmask(w.server, w.members[i].serial, buf_view(&out), &err));
        }
        buf_deinit(&sigs);
        buf_deinit(&out);
    }
    ASSERT_OK(secagg_server_close(w.server, SECAGG_UNMASK, &err));
    ASSERT_OK(world_reveal(&w, &err));
    world_assert_sum(&w);
    struct secagg_server_report r;
    secagg_server_report(w.server, &r);
    assert_int_equal(r.bad_shares, 2);
}

/* A dealer whose H(b) is of another b: its shares are consistent, what they open is not what it
 * advertised. The group fails closed and names it. */
static void test_wrong_self_commitment(void **state) {
    struct secagg_client *liar = w.members[7].client;
    (void)state;
    liar->own_record[8 + 64] ^= 1;
    world_resign(&w.members[7], w.config.terms_hash, liar->own_record);
    ASSERT_FAILS(world_run(&w, &err), SOTTO_CHECK, "do not open what it advertised");
    struct secagg_server_report r;
    secagg_server_report(w.server, &r);
    assert_true(r.failed);
}

/* The same for the mask key of a member that drops out: what is opened is not the advertised key.
 */
static void test_wrong_mask_key(void **state) {
    struct secagg_client *liar = w.members[7].client;
    (void)state;
    liar->secrets.mask_secret[3] ^= 1; /* after the public key was made */
    w.members[7].quits = SECAGG_MASKED;
    ASSERT_FAILS(world_run(&w, &err), SOTTO_CHECK, "do not open what it advertised");
}

/* Once a session is over, or refused, the member holds no secret. */
static void test_wiped(void **state) {
    struct buf bad, out;
    (void)state;
    ASSERT_OK(world_run(&w, &err));
    for (uint32_t i = 0; i < N; i++) {
        assert_null(w.members[i].client->arena.p);
        assert_null(w.members[i].client->secrets.held);
    }
    world_client(&w, &w.members[0]);
    buf_init(&bad, 4096);
    buf_init(&out, 4096);
    ASSERT_OK(secagg_client_advertise(w.members[0].client, &out, &err));
    assert_non_null(w.members[0].client->arena.p);
    world_say(&w, SECAGG_LIST, 0, &bad); /* of the old session */
    buf_reset(&out);
    ASSERT_STATUS(secagg_client_list(w.members[0].client, buf_view(&bad), &out, &err),
                  SOTTO_DENIED);
    assert_null(w.members[0].client->arena.p);
    buf_deinit(&bad);
    buf_deinit(&out);
}

/* The server's own rules: strangers, second messages, late ones, foreign records, wrong sizes. */
static void test_server_refusals(void **state) {
    struct buf a, b;
    (void)state;
    buf_init(&a, 1 << 16);
    buf_init(&b, 1 << 16);
    ASSERT_OK(secagg_client_advertise(w.members[0].client, &a, &err));
    ASSERT_FAILS(secagg_server_advertise(w.server, 77, buf_view(&a), &err), SOTTO_DENIED,
                 "record of");
    ASSERT_OK(secagg_server_advertise(w.server, w.members[0].serial, buf_view(&a), &err));
    world_client(&w, &w.members[0]);
    ASSERT_OK(secagg_client_advertise(w.members[0].client, &b, &err));
    ASSERT_FAILS(secagg_server_advertise(w.server, w.members[0].serial, buf_view(&b), &err),
                 SOTTO_DENIED, "second message");
    ASSERT_STATUS(secagg_server_shares(w.server, w.members[0].serial, buf_view(&a), &err),
                  SOTTO_STATE);
    ASSERT_STATUS(secagg_server_close(w.server, SECAGG_SHARES, &err), SOTTO_STATE);
    w.members[0].quits = SECAGG_ADVERTISE; /* its new client is in no list */
    for (uint32_t i = 1; i < N; i++) {
        buf_reset(&b);
        ASSERT_OK(secagg_client_advertise(w.members[i].client, &b, &err));
        if (i == 1) { /* an equal key in another record */
            memcpy(b.data + 40 + 8, a.data + 40 + 8, 32);
            world_resign(&w.members[i], w.config.terms_hash, b.data + 40);
            ASSERT_FAILS(secagg_server_advertise(w.server, w.members[i].serial, buf_view(&b), &err),
                         SOTTO_DENIED, "in use");
        }
    }
    ASSERT_OK(world_advertise(&w, &err));
    ASSERT_STATUS(secagg_server_shares(w.server, 77, buf_view(&a), &err), SOTTO_DENIED);
    ASSERT_OK(world_shares(&w, &err));
    uint8_t head[SECAGG_MASKED_HEAD];
    struct buf in;
    world_say(&w, SECAGG_DELIVERY, 1, &in);
    ASSERT_OK(secagg_client_delivery(w.members[1].client, buf_view(&in), &err));
    ASSERT_OK(world_mask(&w.members[1], &err));
    memcpy(head, w.members[1].masked.data, sizeof head);
    ASSERT_STATUS(secagg_server_masked(w.server, w.members[1].serial, view_of(head, sizeof head),
                                       w.members[1].masked.len - 1, &err),
                  SOTTO_CORRUPT);
    head[40]++; /* another length */
    ASSERT_STATUS(secagg_server_masked(w.server, w.members[1].serial, view_of(head, sizeof head),
                                       w.members[1].masked.len, &err),
                  SOTTO_CORRUPT);
    ASSERT_STATUS(secagg_server_message(w.server, SECAGG_SURVIVORS, w.members[1].serial, &a, &err),
                  SOTTO_NOT_FOUND);
    ASSERT_STATUS(secagg_server_masked(w.server, w.members[0].serial, view_of(head, sizeof head),
                                       w.members[1].masked.len, &err),
                  SOTTO_STATE); /* it never shared */
    buf_deinit(&in);
    buf_deinit(&a);
    buf_deinit(&b);
}

static enum sotto_status oom_once(void *ctx, struct sotto_error *e) {
    struct secagg_config config = world_config(16, 20, N);
    struct world_member *m = &w.members[0];
    const struct secagg_identity id = world_identity(m);
    struct secagg_client *c = NULL;
    struct secagg_server *s = NULL;
    struct buf out;
    enum sotto_status status = SOTTO_OK;
    const struct buf *list = ctx;
    buf_init(&out, 1 << 16);
    TRY(secagg_server_new(&config, &w.identity, &s, e));
    TRY(secagg_client_new(&config, &id, m->serial, view_of(m->certificate, WORLD_CERT), m->random,
                          false, &c, e));
    TRY(secagg_client_advertise(c, &out, e));
    TRY(secagg_server_advertise(s, m->serial, buf_view(&out), e));
    buf_reset(&out);
    TRY(secagg_client_list(c, buf_view(list), &out, e));
out:
    buf_deinit(&out);
    secagg_client_free(c);
    secagg_server_free(s);
    return status;
}

static void test_out_of_memory(void **state) {
    struct buf list;
    (void)state;
    ASSERT_OK(world_advertise(&w, &err));
    world_say(&w, SECAGG_LIST, 0, &list);
    test_oom_loop(oom_once, &list);
    buf_deinit(&list);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(test_bad_shares),      CASE(test_wrong_commitments),
        CASE(test_bad_unmask),      CASE(test_wrong_self_commitment),
        CASE(test_wrong_mask_key),  CASE(test_wiped),
        CASE(test_server_refusals), CASE(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
