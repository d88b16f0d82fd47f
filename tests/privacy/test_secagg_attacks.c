/* Secure aggregation against a coordinator that cheats. Each test names what is tried; the members
 * must catch it, and one that does holds no secret any more. */
#include <sodium.h>
#include <string.h>

#include "secagg_world.h"

enum { N = 12, T = 9, VICTIM = 4 };
enum { RECORD = 8 + 3 * 32 + 64 + WORLD_CERT, LIST_RECORDS = 40 + 8 };

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

static struct secagg_client *victim(void) {
    return w.members[VICTIM].client;
}

/* The member refuses with this reason, and says nothing more in this session. */
static void assert_refused(enum sotto_status got, const char *reason) {
    struct secagg_client_report r;
    struct buf out;
    test_assert_fails(got, SOTTO_DENIED, &err, reason, "refusal", __FILE__, __LINE__);
    secagg_client_report(victim(), &r);
    assert_int_equal(r.stage, SECAGG_STAGE_REFUSED);
    buf_init(&out, 1 << 16);
    ASSERT_STATUS(secagg_client_advertise(victim(), &out, NULL), SOTTO_STATE);
    ASSERT_STATUS(secagg_client_mask(victim(), 0, w.members[VICTIM].values, 20, &out, NULL),
                  SOTTO_STATE);
    assert_int_equal(out.len, 0);
    buf_deinit(&out);
}

static enum sotto_status give_list(struct buf *list) {
    struct buf out;
    buf_init(&out, 1 << 20);
    const enum sotto_status status = secagg_client_list(victim(), buf_view(list), &out, &err);
    assert_true(status == SOTTO_OK || out.len == 0);
    buf_deinit(&out);
    return status;
}

static uint8_t *list_record(struct buf *list, uint32_t i) {
    return list->data + LIST_RECORDS + (size_t)i * RECORD;
}

static uint32_t own_index(const struct buf *list) {
    return list->data[40];
}

static struct world_member *by_record(const uint8_t *record) {
    uint64_t serial;
    memcpy(&serial, record, 8);
    for (uint32_t i = 0; i < N; i++)
        if (w.members[i].serial == serial)
            return &w.members[i];
    fail();
    return NULL;
}

/* ---- What a coordinator may try with the list ---- */

static void test_invented_member(void **state) {
    struct buf list;
    (void)state;
    ASSERT_OK(world_advertise(&w, &err));
    world_say(&w, SECAGG_LIST, VICTIM, &list);
    const uint32_t at = own_index(&list) == 2 ? 3 : 2;
    uint8_t *record = list_record(&list, at);
    struct world_member fake = *by_record(record);
    uint8_t seed[32] = {99};
    struct world_fleet own_fleet = {.fast = false}; /* an authority of its own */
    crypto_sign_seed_keypair(own_fleet.authority_public, own_fleet.authority_secret, seed);
    seed[0] = 98;
    crypto_sign_seed_keypair(fake.key, fake.secret, seed);
    world_certify(&own_fleet, &fake);
    memcpy(record + RECORD - WORLD_CERT, fake.certificate, WORLD_CERT);
    world_resign(&fake, w.config.terms_hash, record);
    assert_refused(give_list(&list), "not certified");
    buf_deinit(&list);
}

static void test_altered_key(void **state) {
    struct buf list;
    (void)state;
    ASSERT_OK(world_advertise(&w, &err));
    world_say(&w, SECAGG_LIST, VICTIM, &list);
    list_record(&list, own_index(&list) == 2 ? 3 : 2)[8 + 32 + 5] ^= 1; /* a mask key of its own */
    assert_refused(give_list(&list), "signature does not hold");
    buf_deinit(&list);
}

static void test_stripped_signature(void **state) {
    struct buf list;
    (void)state;
    ASSERT_OK(world_advertise(&w, &err));
    world_say(&w, SECAGG_LIST, VICTIM, &list);
    memset(list_record(&list, own_index(&list) == 2 ? 3 : 2) + 8 + 96, 0, 64);
    assert_refused(give_list(&list), "signature does not hold");
    buf_deinit(&list);
}

/* One device under two keys: its own signatures hold. */
static void test_serial_twice(void **state) {
    struct buf list;
    (void)state;
    ASSERT_OK(world_advertise(&w, &err));
    world_say(&w, SECAGG_LIST, VICTIM, &list);
    uint32_t i = own_index(&list) > 1 ? 0 : 3;
    uint8_t *from = list_record(&list, i), *to = list_record(&list, i + 1);
    struct world_member *m = by_record(from);
    memcpy(to, from, 8); /* serial, then its certificate; the keys stay the other's */
    memcpy(to + RECORD - WORLD_CERT, m->certificate, WORLD_CERT);
    world_resign(m, w.config.terms_hash, to);
    assert_refused(give_list(&list), "listed twice");
    buf_deinit(&list);
}

static void test_key_twice(void **state) {
    struct buf list;
    (void)state;
    ASSERT_OK(world_advertise(&w, &err));
    world_say(&w, SECAGG_LIST, VICTIM, &list);
    const uint32_t i = own_index(&list) > 1 ? 0 : 3;
    memcpy(list_record(&list, i + 1) + 40, list_record(&list, i) + 40, 32); /* s_pk */
    world_resign(by_record(list_record(&list, i + 1)), w.config.terms_hash,
                 list_record(&list, i + 1));
    assert_refused(give_list(&list), "share one key");
    buf_deinit(&list);
}

static void test_low_order_key(void **state) {
    struct buf list, record;
    struct world_member *m = &w.members[7];
    (void)state;
    /* The coordinator refuses such a device, */
    buf_init(&record, 4096);
    ASSERT_OK(secagg_client_advertise(m->client, &record, &err));
    memset(record.data + 40 + 8 + 32, 0, 32);
    record.data[40 + 8 + 32] = 1;
    world_resign(m, w.config.terms_hash, record.data + 40);
    ASSERT_FAILS(secagg_server_advertise(w.server, m->serial, buf_view(&record), &err),
                 SOTTO_DENIED, "low order");
    /* and members refuse a coordinator that lists one. */
    ASSERT_OK(world_advertise(&w, &err));
    world_say(&w, SECAGG_LIST, VICTIM, &list);
    uint8_t *r = list_record(&list, own_index(&list) == 2 ? 3 : 2);
    memset(r + 40, 0, 32);
    world_resign(by_record(r), w.config.terms_hash, r);
    assert_refused(give_list(&list), "low order");
    buf_deinit(&list);
    buf_deinit(&record);
}

static void test_own_record_missing(void **state) {
    struct buf list;
    (void)state;
    ASSERT_OK(world_advertise(&w, &err));
    world_say(&w, SECAGG_LIST, VICTIM + 1, &list); /* the list as another member gets it */
    assert_refused(give_list(&list), "own record");
    buf_deinit(&list);
}

static void test_own_record_replaced(void **state) {
    struct buf list;
    (void)state;
    ASSERT_OK(world_advertise(&w, &err));
    world_say(&w, SECAGG_LIST, VICTIM, &list);
    world_client(&w, &w.members[VICTIM]); /* the same device with fresh keys: a regrouping */
    struct buf out;
    buf_init(&out, 4096);
    ASSERT_OK(secagg_client_advertise(victim(), &out, &err));
    assert_refused(give_list(&list), "own record"); /* an old session's list */
    buf_deinit(&out);
    buf_deinit(&list);
}

/* The group shrinks to the victim and few others. */
static void test_shrunk_group(void **state) {
    struct buf list;
    (void)state;
    ASSERT_OK(world_advertise(&w, &err));
    world_say(&w, SECAGG_LIST, VICTIM, &list);
    list.data[4] = 9; /* count */
    list.data[44] = 9;
    list.len -= 3 * RECORD;
    assert_refused(give_list(&list), "below the minimum");
    buf_deinit(&list);
}

static void test_own_minimum(void **state) {
    struct buf list, out;
    (void)state;
    w.members[VICTIM].config.members_min = 12; /* the device's own policy */
    world_client(&w, &w.members[VICTIM]);
    w.members[0].quits = SECAGG_ADVERTISE;
    ASSERT_OK(world_advertise(&w, &err));
    world_say(&w, SECAGG_LIST, VICTIM, &list);
    assert_refused(give_list(&list), "below the minimum of 12");
    buf_deinit(&list);
    buf_init(&out, 64);
    buf_deinit(&out);
}

static void test_unordered_list(void **state) {
    struct buf list;
    uint8_t swap[RECORD];
    (void)state;
    ASSERT_OK(world_advertise(&w, &err));
    world_say(&w, SECAGG_LIST, VICTIM, &list);
    const uint32_t i = own_index(&list) > 1 ? 0 : 3;
    memcpy(swap, list_record(&list, i), RECORD);
    memcpy(list_record(&list, i), list_record(&list, i + 1), RECORD);
    memcpy(list_record(&list, i + 1), swap, RECORD);
    assert_refused(give_list(&list), "order of the keys");
    buf_deinit(&list);
}

/* Different lists to different members: one is left out for the victim. They are then in two
 * sessions, and nothing of one is taken in the other. */
static void test_split_lists(void **state) {
    struct buf list, out;
    (void)state;
    ASSERT_OK(world_advertise(&w, &err));
    world_say(&w, SECAGG_LIST, VICTIM, &list);
    const uint32_t drop = own_index(&list) == N - 1 ? 0 : N - 1;
    memmove(list_record(&list, drop), list_record(&list, drop + 1), (N - 1 - drop) * RECORD);
    list.data[4] = list.data[44] = N - 1;
    list.data[40] = (uint8_t)(own_index(&list) - (drop == 0));
    list.len -= RECORD;
    buf_init(&out, 1 << 16);
    ASSERT_OK(secagg_client_list(victim(), buf_view(&list), &out, &err));
    ASSERT_STATUS(secagg_server_shares(w.server, w.members[VICTIM].serial, buf_view(&out), &err),
                  SOTTO_STATE); /* another session id */
    buf_reset(&out);
    struct buf real; /* and a second list in one session is proof of cheating */
    world_say(&w, SECAGG_LIST, VICTIM, &real);
    assert_refused(secagg_client_list(victim(), buf_view(&real), &out, &err), "two things");
    buf_deinit(&real);
    buf_deinit(&list);
    buf_deinit(&out);
}

/* Two models: members with other terms derive other keys; the records do not even verify. */
static void test_two_models(void **state) {
    struct buf out;
    struct world_member *m = &w.members[VICTIM];
    (void)state;
    m->config.terms_hash[0] ^= 1;
    world_client(&w, m);
    buf_init(&out, 4096);
    ASSERT_OK(secagg_client_advertise(m->client, &out, &err));
    ASSERT_STATUS(secagg_server_advertise(w.server, m->serial, buf_view(&out), &err), SOTTO_STATE);
    memcpy(out.data + 8, w.config.terms_hash, 32); /* a coordinator that relabels it */
    ASSERT_FAILS(secagg_server_advertise(w.server, m->serial, buf_view(&out), &err), SOTTO_DENIED,
                 "signature does not hold");
    /* The others' list, relabelled, is refused as well. */
    m->quits = SECAGG_ADVERTISE;
    ASSERT_OK(world_advertise(&w, &err));
    struct buf list;
    world_say(&w, SECAGG_LIST, 0, &list);
    memcpy(list.data + 8, m->config.terms_hash, 32);
    memcpy(list_record(&list, own_index(&list)), out.data + 40, RECORD);
    ASSERT_STATUS(give_list(&list), SOTTO_DENIED);
    buf_deinit(&list);
    buf_deinit(&out);
}

/* ---- Shares, inputs, survivors ---- */

static void test_dropped_victim(void **state) {
    struct buf in;
    (void)state;
    ASSERT_OK(world_advertise(&w, &err));
    ASSERT_OK(world_shares(&w, &err));
    world_say(&w, SECAGG_DELIVERY, VICTIM, &in);
    struct buf list;
    world_say(&w, SECAGG_LIST, VICTIM, &list);
    in.data[40 + own_index(&list) / 8] ^= (uint8_t)(1u << own_index(&list) % 8);
    assert_refused(secagg_client_delivery(victim(), buf_view(&in), &err), "not among them");
    buf_deinit(&list);
    buf_deinit(&in);
}

static void test_few_sharers(void **state) {
    struct buf in;
    (void)state;
    ASSERT_OK(world_advertise(&w, &err));
    ASSERT_OK(world_shares(&w, &err));
    world_say(&w, SECAGG_DELIVERY, VICTIM, &in);
    in.data[40] &= 0x0f; /* four of them vanish for the victim */
    in.data[40] |= (uint8_t)(1u << 4);
    ASSERT_STATUS(secagg_client_delivery(victim(), buf_view(&in), &err), SOTTO_DENIED);
    buf_deinit(&in);
}

static enum sotto_status give_survivors(struct buf *set) {
    struct buf out;
    buf_init(&out, 4096);
    const enum sotto_status status = secagg_client_survivors(victim(), buf_view(set), &out, &err);
    assert_true(status == SOTTO_OK || out.len == 0);
    buf_deinit(&out);
    return status;
}

static void to_survivors(struct buf *set) {
    ASSERT_OK(world_advertise(&w, &err));
    ASSERT_OK(world_shares(&w, &err));
    ASSERT_OK(world_masked(&w, &err));
    world_say(&w, SECAGG_SURVIVORS, VICTIM, set);
}

static uint32_t victim_index(void) {
    struct buf list;
    world_say(&w, SECAGG_LIST, VICTIM, &list);
    const uint32_t index = own_index(&list);
    buf_deinit(&list);
    return index;
}

static void clear_bit(struct buf *set, uint32_t i) {
    set->data[40 + i / 8] &= (uint8_t) ~(1u << i % 8);
    set->data[4]--;
}

static void test_two_survivor_sets(void **state) {
    struct buf set, other;
    (void)state;
    to_survivors(&set);
    buf_init(&other, 4096);
    buf_put(&other, set.data, set.len);
    clear_bit(&other, victim_index() == 0 ? 1 : 0);
    ASSERT_OK(give_survivors(&set));
    ASSERT_OK(give_survivors(&set)); /* a resend is none */
    assert_refused(give_survivors(&other), "two things");
    buf_deinit(&set);
    buf_deinit(&other);
}

static void test_survivors_without_victim(void **state) {
    struct buf set;
    (void)state;
    to_survivors(&set);
    clear_bit(&set, victim_index());
    assert_refused(give_survivors(&set), "not among them");
    buf_deinit(&set);
}

static void test_few_survivors(void **state) {
    struct buf set;
    (void)state;
    to_survivors(&set);
    for (uint32_t i = 0, left = 3; left > 0; i++) /* 9 would satisfy t, not the minimum of 10 */
        if (i != victim_index()) {
            clear_bit(&set, i);
            left--;
        }
    assert_refused(give_survivors(&set), "below the minimum of 10");
    buf_deinit(&set);
}

static void test_survivor_that_never_shared(void **state) {
    struct buf set;
    (void)state;
    w.members[1].quits = SECAGG_SHARES;
    to_survivors(&set);
    for (uint32_t i = 0; i < N; i++)
        if (!(set.data[40 + i / 8] >> i % 8 & 1u)) {
            set.data[40 + i / 8] |= (uint8_t)(1u << i % 8);
            set.data[4]++;
        }
    assert_refused(give_survivors(&set), "had not shared");
    buf_deinit(&set);
}

/* Members that were shown another set signed another thing: the split view is seen at once. */
static void test_split_view(void **state) {
    struct buf set, other, sigs, out;
    (void)state;
    to_survivors(&set);
    buf_init(&other, 4096);
    buf_put(&other, set.data, set.len);
    clear_bit(&other, victim_index() == N - 1 ? N - 2 : N - 1);
    ASSERT_OK(give_survivors(&other)); /* the victim alone sees this one */
    for (uint32_t i = 0; i < N; i++)
        if (i != VICTIM) {
            buf_init(&out, 4096);
            ASSERT_OK(secagg_client_survivors(w.members[i].client, buf_view(&set), &out, &err));
            ASSERT_OK(secagg_server_signature(w.server, w.members[i].serial, buf_view(&out), &err));
            buf_deinit(&out);
        }
    ASSERT_OK(secagg_server_close(w.server, SECAGG_SIGNATURE, &err));
    world_say(&w, SECAGG_SIGNATURES, VICTIM, &sigs);
    buf_init(&out, 1 << 16);
    assert_refused(secagg_client_signatures(victim(), buf_view(&sigs), &out, &err), "did not sign");
    assert_int_equal(out.len, 0);
    buf_deinit(&out);
    buf_deinit(&sigs);
    buf_deinit(&set);
    buf_deinit(&other);
}

static void to_signatures(struct buf *sigs) {
    ASSERT_OK(world_advertise(&w, &err));
    ASSERT_OK(world_shares(&w, &err));
    ASSERT_OK(world_masked(&w, &err));
    ASSERT_OK(world_signatures(&w, &err));
    world_say(&w, SECAGG_SIGNATURES, VICTIM, sigs);
}

static void test_few_signatures(void **state) {
    struct buf sigs, out;
    (void)state;
    to_signatures(&sigs);
    buf_init(&out, 1 << 16);
    sigs.data[4] = 9; /* t of them, below the minimum of 10 */
    sigs.len = 40 + 9 * 68;
    assert_refused(secagg_client_signatures(victim(), buf_view(&sigs), &out, &err), "are needed");
    buf_deinit(&sigs);
    buf_deinit(&out);
}

static void test_one_signature_many_times(void **state) {
    struct buf sigs, out;
    (void)state;
    to_signatures(&sigs);
    buf_init(&out, 1 << 16);
    for (uint32_t i = 1; i < N; i++)
        memcpy(sigs.data + 40 + i * 68, sigs.data + 40, 68);
    ASSERT_STATUS(secagg_client_signatures(victim(), buf_view(&sigs), &out, &err), SOTTO_CORRUPT);
    assert_int_equal(out.len, 0);
    buf_deinit(&sigs);
    buf_deinit(&out);
}

/* Both kinds of share: each dealer is named once, by its fate; after that there is nothing left. */
static void test_both_kinds(void **state) {
    struct buf sigs, out, again;
    bool named[N] = {false};
    (void)state;
    w.members[2].quits = SECAGG_MASKED;
    to_signatures(&sigs);
    buf_init(&out, 1 << 16);
    buf_init(&again, 1 << 16);
    ASSERT_OK(secagg_client_signatures(victim(), buf_view(&sigs), &out, &err));
    uint32_t pair = 0, self = 0;
    for (size_t at = 40; at < out.len; at += 40) {
        const uint8_t *e = out.data + at;
        assert_false(named[e[0]]);
        named[e[0]] = true;
        pair += e[4] == 1;
        self += e[4] == 2;
    }
    assert_int_equal(pair, 1);
    assert_int_equal(self, N - 1);
    /* The same question again: the same bytes. Another one: nothing. */
    ASSERT_OK(secagg_client_signatures(victim(), buf_view(&sigs), &again, &err));
    assert_int_equal(again.len, out.len);
    assert_memory_equal(again.data, out.data, out.len);
    buf_reset(&again);
    sigs.data[4]--;
    sigs.len -= 68;
    ASSERT_STATUS(secagg_client_signatures(victim(), buf_view(&sigs), &again, &err), SOTTO_DENIED);
    assert_int_equal(again.len, 0);
    buf_deinit(&sigs);
    buf_deinit(&out);
    buf_deinit(&again);
}

/* A failure that did not happen, then a second session over the same update: the device's mark
 * holds; and within a session nothing is masked twice. */
static void test_second_masked_input(void **state) {
    struct world_member *m = &w.members[VICTIM];
    const struct secagg_identity id = world_identity(m);
    struct secagg_client *second = NULL;
    struct buf set, out;
    (void)state;
    to_survivors(&set);
    buf_init(&out, 1 << 16);
    ASSERT_STATUS(secagg_client_mask(m->client, 0, m->values, 20, &out, &err), SOTTO_STATE);
    assert_int_equal(out.len, 0);
    ASSERT_FAILS(secagg_client_new(&m->config, &id, m->serial, view_of(m->certificate, WORLD_CERT),
                                   m->random, true, &second, &err),
                 SOTTO_DENIED, "has left this device");
    buf_deinit(&set);
    buf_deinit(&out);
}

/* A replayed session: its messages carry its id, and another session takes none of them. */
static void test_replay(void **state) {
    struct secagg_config config = world_config(16, 20, N);
    struct world other;
    struct buf old, out;
    (void)state;
    world_init(&other, N, &config, test_seed() + 1, false);
    ASSERT_OK(world_run(&other, &err));
    ASSERT_OK(world_advertise(&w, &err));
    ASSERT_OK(world_shares(&w, &err));
    buf_init(&out, 1 << 16);
    world_say(&other, SECAGG_SURVIVORS, 0, &old);
    ASSERT_STATUS(secagg_client_survivors(victim(), buf_view(&old), &out, &err), SOTTO_STATE);
    buf_deinit(&old);
    world_say(&other, SECAGG_SIGNATURES, 0, &old);
    ASSERT_STATUS(secagg_client_signatures(victim(), buf_view(&old), &out, &err), SOTTO_STATE);
    ASSERT_STATUS(secagg_server_masked(w.server, w.members[0].serial,
                                       view_of(other.members[0].masked.data, SECAGG_MASKED_HEAD),
                                       other.members[0].masked.len, &err),
                  SOTTO_STATE);
    buf_deinit(&old);
    buf_deinit(&out);
    ASSERT_OK(world_masked(&w, &err)); /* nothing was harmed */
    ASSERT_OK(world_signatures(&w, &err));
    ASSERT_OK(world_unmask(&w, &err));
    ASSERT_OK(world_reveal(&w, &err));
    world_assert_sum(&w);
    world_deinit(&other);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(test_invented_member),
        CASE(test_altered_key),
        CASE(test_stripped_signature),
        CASE(test_serial_twice),
        CASE(test_key_twice),
        CASE(test_low_order_key),
        CASE(test_own_record_missing),
        CASE(test_own_record_replaced),
        CASE(test_shrunk_group),
        CASE(test_own_minimum),
        CASE(test_unordered_list),
        CASE(test_split_lists),
        CASE(test_two_models),
        CASE(test_dropped_victim),
        CASE(test_few_sharers),
        CASE(test_two_survivor_sets),
        CASE(test_survivors_without_victim),
        CASE(test_few_survivors),
        CASE(test_survivor_that_never_shared),
        CASE(test_split_view),
        CASE(test_few_signatures),
        CASE(test_one_signature_many_times),
        CASE(test_both_kinds),
        CASE(test_second_masked_input),
        CASE(test_replay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
