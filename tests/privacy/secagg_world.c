/* A secure group in one process: honest members and coordinator, and who quits when. */
#include <sodium.h>
#include <string.h>

#include "secagg_world.h"

static void mac(const uint8_t key[32], const char *label, struct view body, uint8_t sig[64]) {
    crypto_generichash_state h;
    crypto_generichash_init(&h, key, 32, 64);
    crypto_generichash_update(&h, (const uint8_t *)label, strlen(label));
    crypto_generichash_update(&h, body.p, body.n);
    crypto_generichash_final(&h, sig, 64);
}

static void sign(bool fast, const uint8_t key[32], const uint8_t secret[64], const char *label,
                 struct view body, uint8_t sig[64]) {
    crypto_sign_state st;
    if (fast) {
        mac(key, label, body, sig);
        return;
    }
    crypto_sign_init(&st);
    crypto_sign_update(&st, (const uint8_t *)label, strlen(label));
    crypto_sign_update(&st, body.p, body.n);
    crypto_sign_final_create(&st, sig, NULL, secret);
}

static bool signed_by(bool fast, const uint8_t key[32], const char *label, struct view body,
                      const uint8_t sig[64]) {
    uint8_t expect[64], given[64];
    crypto_sign_state st;
    if (fast) {
        mac(key, label, body, expect);
        return memcmp(expect, sig, sizeof expect) == 0;
    }
    memcpy(given, sig, sizeof given);
    crypto_sign_init(&st);
    crypto_sign_update(&st, (const uint8_t *)label, strlen(label));
    crypto_sign_update(&st, body.p, body.n);
    return crypto_sign_final_verify(&st, given, key) == 0;
}

static const struct world_fleet *fleet_of(void *ctx) {
    return ((struct world_member *)ctx)->fleet;
}

static enum sotto_status id_certify(void *ctx, uint64_t serial, struct view certificate,
                                    uint8_t key[32], struct sotto_error *err) {
    const struct world_fleet *f = fleet_of(ctx);
    uint64_t named;
    if (certificate.n != WORLD_CERT)
        return SOTTO_FAIL(err, SOTTO_CORRUPT, "certificate");
    memcpy(&named, certificate.p + 32, sizeof named);
    if (named != serial || !signed_by(f->fast, f->authority_public, "test certificate",
                                      view_of(certificate.p, 40), certificate.p + 40))
        return SOTTO_FAIL(err, SOTTO_DENIED, "not certified by the authority");
    memcpy(key, certificate.p, 32);
    return SOTTO_OK;
}

static enum sotto_status id_verify(void *ctx, const uint8_t key[32], const char *label,
                                   struct view body, const uint8_t sig[64],
                                   struct sotto_error *err) {
    if (!signed_by(fleet_of(ctx)->fast, key, label, body, sig))
        return SOTTO_FAIL(err, SOTTO_DENIED, "signature does not hold");
    return SOTTO_OK;
}

static enum sotto_status id_sign(void *ctx, const char *label, struct view body, uint8_t sig[64],
                                 struct sotto_error *err) {
    const struct world_member *m = ctx;
    (void)err;
    sign(m->fleet->fast, m->key, m->secret, label, body, sig);
    return SOTTO_OK;
}

struct secagg_identity world_identity(struct world_member *m) {
    return (struct secagg_identity){m, id_certify, id_verify, id_sign};
}

void world_certify(const struct world_fleet *fleet, struct world_member *m) {
    m->fleet = fleet;
    memcpy(m->certificate, m->key, 32);
    memcpy(m->certificate + 32, &m->serial, 8);
    sign(fleet->fast, fleet->authority_public, fleet->authority_secret, "test certificate",
         view_of(m->certificate, 40), m->certificate + 40);
}

void world_resign(struct world_member *m, const uint8_t terms[32], uint8_t *record) {
    uint8_t body[4 * 32 + 8];
    memcpy(body, record + 8, 96);
    memcpy(body + 96, terms, 32);
    memcpy(body + 128, record, 8);
    sign(m->fleet->fast, m->key, m->secret, SECAGG_LABEL_RECORD, view_of(body, sizeof body),
         record + 8 + 96);
}

void world_bytes(struct world *w, uint8_t *out, size_t n) {
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)rng_u32(&w->rng);
}

struct secagg_config world_config(unsigned bits, uint64_t length, uint32_t n) {
    struct secagg_config c = {.ring_bits = bits,
                              .length = length,
                              .members_max = n < SECAGG_MEMBERS_MIN ? SECAGG_MEMBERS_MIN : n,
                              .members_min = SECAGG_MEMBERS_MIN,
                              .cert_bytes = WORLD_CERT,
                              .adversary = SECAGG_CURIOUS,
                              .gamma = 0.05,
                              .delta = 0.05};
    memset(c.terms_hash, 0x5e, sizeof c.terms_hash);
    return c;
}

void world_client(struct world *w, struct world_member *m) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    const struct secagg_identity identity = world_identity(m);
    secagg_client_free(m->client);
    m->client = NULL;
    world_bytes(w, m->random, sizeof m->random);
    ASSERT_OK(secagg_client_new(&m->config, &identity, m->serial,
                                view_of(m->certificate, WORLD_CERT), m->random, false, &m->client,
                                &err));
}

void world_init(struct world *w, uint32_t n, const struct secagg_config *config, uint64_t seed,
                bool fast) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    uint8_t key_seed[32];
    assert_true(sodium_init() >= 0);
    memset(w, 0, sizeof *w);
    rng_init(&w->rng, seed, 0, 0, RNG_FAULT);
    w->fleet.fast = fast;
    world_bytes(w, key_seed, sizeof key_seed);
    crypto_sign_seed_keypair(w->fleet.authority_public, w->fleet.authority_secret, key_seed);
    w->config = *config;
    w->n = n;
    w->members = mem_array(n, sizeof *w->members);
    w->sum = mem_array((size_t)config->length, sizeof *w->sum);
    assert_non_null(w->members);
    assert_non_null(w->sum);
    for (uint32_t i = 0; i < n; i++) {
        struct world_member *m = &w->members[i];
        m->serial = 1000 + 7 * (uint64_t)((i * 37u + 11u) % 10007u) + ((uint64_t)i << 32);
        world_bytes(w, key_seed, sizeof key_seed);
        if (fast)
            memcpy(m->key, key_seed, 32);
        else
            crypto_sign_seed_keypair(m->key, m->secret, key_seed);
        world_certify(&w->fleet, m);
        m->config = *config;
        m->values = mem_array((size_t)config->length, sizeof *m->values);
        assert_non_null(m->values);
        for (uint64_t k = 0; k < config->length; k++)
            m->values[k] = rng_u32(&w->rng) >> (32 - config->ring_bits);
        buf_init(&m->masked, secagg_message_max(config, SECAGG_MASKED));
        world_client(w, m);
    }
    w->identity = world_identity(&w->members[0]);
    w->identity.sign = NULL;
    ASSERT_OK(secagg_server_new(config, &w->identity, &w->server, &err));
}

void world_deinit(struct world *w) {
    for (uint32_t i = 0; i < w->n; i++) {
        secagg_client_free(w->members[i].client);
        mem_free(w->members[i].values);
        buf_deinit(&w->members[i].masked);
    }
    secagg_server_free(w->server);
    mem_free(w->members);
    mem_free(w->sum);
}

uint32_t world_senders(const struct world *w, enum secagg_kind kind) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < w->n; i++)
        count += w->members[i].quits == 0 || w->members[i].quits > kind;
    return count;
}

static bool sends(const struct world_member *m, enum secagg_kind kind) {
    return m->quits == 0 || m->quits > kind;
}

void world_say(struct world *w, enum secagg_kind kind, uint32_t i, struct buf *out) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    buf_init(out, secagg_message_max(&w->config, kind));
    ASSERT_OK(secagg_server_message(w->server, kind, w->members[i].serial, out, &err));
}

/* Gives the server's message to member i and its answer back, twice each when noisy. */
static void exchange(struct world *w, uint32_t i, enum secagg_kind said,
                     enum secagg_kind answered) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct world_member *m = &w->members[i];
    struct buf in, out;
    const unsigned times = w->noisy ? 1 + rng_below(&w->rng, 2) : 1;
    world_say(w, said, i, &in);
    buf_init(&out, secagg_message_max(&w->config, answered));
    for (unsigned k = 0; k < times; k++) {
        buf_reset(&out);
        if (answered == SECAGG_SHARES)
            ASSERT_OK(secagg_client_list(m->client, buf_view(&in), &out, &err));
        else if (answered == SECAGG_SIGNATURE)
            ASSERT_OK(secagg_client_survivors(m->client, buf_view(&in), &out, &err));
        else
            ASSERT_OK(secagg_client_signatures(m->client, buf_view(&in), &out, &err));
        if (!sends(m, answered))
            continue;
        if (answered == SECAGG_SHARES)
            ASSERT_OK(secagg_server_shares(w->server, m->serial, buf_view(&out), &err));
        else if (answered == SECAGG_SIGNATURE)
            ASSERT_OK(secagg_server_signature(w->server, m->serial, buf_view(&out), &err));
        else
            ASSERT_OK(secagg_server_unmask(w->server, m->serial, buf_view(&out), &err));
    }
    buf_deinit(&in);
    buf_deinit(&out);
}

/* The order in which members are served. */
static uint32_t *order(struct world *w) {
    uint32_t *o = mem_array(w->n, sizeof *o);
    assert_non_null(o);
    for (uint32_t i = 0; i < w->n; i++)
        o[i] = i;
    if (w->noisy)
        rng_shuffle_u32(&w->rng, o, w->n);
    return o;
}

enum sotto_status world_advertise(struct world *w, struct sotto_error *err) {
    uint32_t *o = order(w);
    for (uint32_t k = 0; k < w->n; k++) {
        struct world_member *m = &w->members[o[k]];
        struct buf out;
        struct sotto_error inner = SOTTO_ERROR_INIT;
        if (!sends(m, SECAGG_ADVERTISE))
            continue;
        buf_init(&out, secagg_message_max(&w->config, SECAGG_ADVERTISE));
        test_assert_ok(secagg_client_advertise(m->client, &out, &inner), &inner, "advertise",
                       __FILE__, __LINE__);
        test_assert_ok(secagg_server_advertise(w->server, m->serial, buf_view(&out), &inner),
                       &inner, "advertise", __FILE__, __LINE__);
        buf_deinit(&out);
    }
    mem_free(o);
    return secagg_server_close(w->server, SECAGG_ADVERTISE, err);
}

enum sotto_status world_shares(struct world *w, struct sotto_error *err) {
    uint32_t *o = order(w);
    for (uint32_t k = 0; k < w->n; k++)
        if (sends(&w->members[o[k]], SECAGG_ADVERTISE))
            exchange(w, o[k], SECAGG_LIST, SECAGG_SHARES);
    mem_free(o);
    return secagg_server_close(w->server, SECAGG_SHARES, err);
}

enum sotto_status world_mask(struct world_member *m, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    buf_reset(&m->masked);
    for (uint64_t first = 0; first < m->config.length && status == SOTTO_OK;) {
        const uint64_t left = m->config.length - first;
        const size_t count = (size_t)(left < 2 * SECAGG_BLOCK ? left : 2 * SECAGG_BLOCK);
        status = secagg_client_mask(m->client, first, m->values + first, count, &m->masked, err);
        first += count;
    }
    return status;
}

enum sotto_status world_masked(struct world *w, struct sotto_error *err) {
    uint32_t *o = order(w);
    struct sotto_error inner = SOTTO_ERROR_INIT;
    for (uint32_t k = 0; k < w->n; k++) {
        struct world_member *m = &w->members[o[k]];
        struct buf in;
        if (!sends(m, SECAGG_SHARES))
            continue;
        world_say(w, SECAGG_DELIVERY, o[k], &in);
        test_assert_ok(secagg_client_delivery(m->client, buf_view(&in), &inner), &inner, "delivery",
                       __FILE__, __LINE__);
        buf_deinit(&in);
        test_assert_ok(world_mask(m, &inner), &inner, "mask", __FILE__, __LINE__);
        if (!sends(m, SECAGG_MASKED))
            continue;
        test_assert_ok(secagg_server_masked(w->server, m->serial,
                                            view_of(m->masked.data, SECAGG_MASKED_HEAD),
                                            m->masked.len, &inner),
                       &inner, "masked", __FILE__, __LINE__);
        secagg_ring_add(w->config.ring_bits, w->sum, m->masked.data + SECAGG_MASKED_HEAD,
                        (size_t)w->config.length);
    }
    mem_free(o);
    return secagg_server_close(w->server, SECAGG_MASKED, err);
}

enum sotto_status world_signatures(struct world *w, struct sotto_error *err) {
    uint32_t *o = order(w);
    for (uint32_t k = 0; k < w->n; k++)
        if (sends(&w->members[o[k]], SECAGG_MASKED))
            exchange(w, o[k], SECAGG_SURVIVORS, SECAGG_SIGNATURE);
    mem_free(o);
    return secagg_server_close(w->server, SECAGG_SIGNATURE, err);
}

enum sotto_status world_unmask(struct world *w, struct sotto_error *err) {
    uint32_t *o = order(w);
    for (uint32_t k = 0; k < w->n; k++)
        if (sends(&w->members[o[k]], SECAGG_SIGNATURE))
            exchange(w, o[k], SECAGG_SIGNATURES, SECAGG_UNMASK);
    mem_free(o);
    return secagg_server_close(w->server, SECAGG_UNMASK, err);
}

enum sotto_status world_reveal(struct world *w, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    TRY(secagg_server_open(w->server, NULL, err));
    TRY(secagg_server_reveal(w->server, w->sum, 0, (size_t)w->config.length, NULL, err));
out:
    return status;
}

enum sotto_status world_run(struct world *w, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    TRY(world_advertise(w, err));
    TRY(world_shares(w, err));
    TRY(world_masked(w, err));
    TRY(world_signatures(w, err));
    TRY(world_unmask(w, err));
    TRY(world_reveal(w, err));
out:
    return status;
}

void world_assert_sum(const struct world *w) {
    const uint32_t mask = UINT32_MAX >> (32 - w->config.ring_bits);
    for (uint64_t k = 0; k < w->config.length; k++) {
        uint32_t expect = 0;
        for (uint32_t i = 0; i < w->n; i++)
            if (sends(&w->members[i], SECAGG_MASKED))
                expect += w->members[i].values[k];
        if (w->sum[k] != (expect & mask))
            fail_msg("coordinate %llu: %u, expected %u", (unsigned long long)k, w->sum[k],
                     expect & mask);
    }
}
