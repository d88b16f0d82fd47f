/* The coordinator's session: opens secrets from shares and takes the masks off the sum. */
#include <sodium.h>
#include <string.h>

#include "server_int.h"

/* Members that share one set of points (all of a complete graph) share the weights too. */
struct opening {
    struct secagg_server *s;
    struct shamir_field *field;
    size_t *first_key;       /* where each member's masks begin */
    uint32_t *points;        /* of the first member's shares */
    uint16_t *weights;       /* for them */
    enum sotto_status *fate; /* of each member */
};

/* Up to this many choices of t shares are tried when a dealer's shares contradict each other. */
enum { SUBSETS = 8 };

/* Points of threshold good shares of dealer's secret, the first skip of them left out; false: too
 * few. */
static bool choose_shares(const struct secagg_server *s, uint32_t dealer, uint32_t skip,
                          uint32_t *points, const uint8_t **shares) {
    const uint32_t *holders = holders_of(s, dealer);
    uint32_t count = 0;
    for (uint32_t i = 0; i < s->holder_count && count < s->params.threshold; i++) {
        const struct member *h = &s->members[holders[i]];
        if (!h->unmask_ok)
            continue;
        const uint32_t place = holder_place(holders_of(s, holders[i]), s->holder_count, dealer);
        if (!h->unmask_ok[place])
            continue;
        if (skip > 0) {
            skip--;
            continue;
        }
        points[count] = holders[i] + 1;
        shares[count++] = h->unmask + (size_t)place * SECAGG_KEY;
    }
    return count == s->params.threshold;
}

/* Whether the secret is what the member had advertised. */
static bool secret_matches(const struct secagg_server *s, uint32_t member, bool survived,
                           const uint8_t secret[SECAGG_KEY]) {
    struct record r;
    uint8_t shown[SECAGG_KEY];
    server_record(s, member, &r);
    if (survived) {
        keys_commit_self(secret, shown);
        return memcmp(shown, r.self_commit, SECAGG_KEY) == 0;
    }
    return crypto_scalarmult_base(shown, secret) == 0 &&
           memcmp(shown, r.mask_public, SECAGG_KEY) == 0;
}

/* The masks that the sum holds because of this member: its own, or those of its neighbours that
 * survived it. */
static bool derive_masks(struct secagg_server *s, uint32_t member, bool survived,
                         const uint8_t secret[SECAGG_KEY], size_t at) {
    const uint32_t *holders = holders_of(s, member);
    struct record own, peer;
    uint8_t prk[SECAGG_KEY];
    if (survived) {
        keys_self(secret, member, s->session, s->config.terms_hash, s->mask_keys + at * SECAGG_KEY);
        s->mask_adds[at] = true;
        return true;
    }
    server_record(s, member, &own);
    for (uint32_t i = 0; i < s->holder_count; i++) {
        if (holders[i] == member || !bitmap_get(s->survivors, holders[i]))
            continue;
        server_record(s, holders[i], &peer);
        if (!keys_agree(secret, own.mask_public, peer.mask_public, s->session, s->config.terms_hash,
                        prk)) {
            sodium_memzero(prk, sizeof prk);
            return false;
        }
        keys_derive(prk, KDF_MASK, s->mask_keys + at * SECAGG_KEY);
        s->mask_adds[at++] = member < holders[i]; /* the survivor adds those of smaller index */
    }
    sodium_memzero(prk, sizeof prk);
    return true;
}

static void open_member(void *ctx, size_t index) {
    struct opening *o = ctx;
    struct secagg_server *s = o->s;
    const uint32_t member = (uint32_t)index, t = s->params.threshold;
    if (!bitmap_get(s->sharers, member))
        return;
    const bool survived = bitmap_get(s->survivors, member);
    uint32_t *points = mem_array(t, sizeof *points);
    uint16_t *weights = mem_array(t, sizeof *weights);
    const uint8_t **shares = mem_array(t, sizeof *shares);
    uint8_t secret[SECAGG_KEY];
    o->fate[member] = points && weights && shares ? SOTTO_CHECK : SOTTO_NOMEM;
    for (uint32_t skip = 0; o->fate[member] == SOTTO_CHECK && skip < SUBSETS; skip++) {
        if (!choose_shares(s, member, skip, points, shares))
            break;
        const bool shared = memcmp(points, o->points, t * sizeof *points) == 0;
        if (!shared)
            shamir_weights(o->field, points, t, weights);
        shamir_combine(shared ? o->weights : weights, shares, t, secret);
        if (secret_matches(s, member, survived, secret) &&
            derive_masks(s, member, survived, secret, o->first_key[member]))
            o->fate[member] = SOTTO_OK;
    }
    sodium_memzero(secret, sizeof secret);
    mem_free(points);
    mem_free(weights);
    mem_free(shares);
}

static void run_jobs(const struct secagg_parallel *par, size_t count, secagg_job *job, void *ctx) {
    if (par) {
        par->run(par->ctx, count, job, ctx);
        return;
    }
    for (size_t i = 0; i < count; i++)
        job(ctx, i);
}

/* Where each member's masks go, and room for all of them. */
static enum sotto_status opening_init(struct opening *o, struct sotto_error *err) {
    struct secagg_server *s = o->s;
    const uint32_t t = s->params.threshold;
    const uint8_t **shares = mem_array(t, sizeof *shares);
    enum sotto_status status = SOTTO_OK;
    size_t total = 0;
    o->field = shamir_field_new();
    o->first_key = mem_array(s->n, sizeof *o->first_key);
    o->points = mem_array(t, sizeof *o->points);
    o->weights = mem_array(t, sizeof *o->weights);
    o->fate = mem_array(s->n, sizeof *o->fate);
    if (!o->field || !o->first_key || !o->points || !o->weights || !o->fate || !shares)
        TRY_FAIL(err, SOTTO_NOMEM, "unmasking: out of memory");
    bool first = true;
    for (uint32_t i = 0; i < s->n; i++) {
        o->first_key[i] = total;
        if (!bitmap_get(s->sharers, i))
            continue;
        if (first && choose_shares(s, i, 0, o->points, shares)) {
            shamir_weights(o->field, o->points, t, o->weights);
            first = false;
        }
        if (bitmap_get(s->survivors, i)) {
            total++;
            continue;
        }
        for (uint32_t h = 0; h < s->holder_count; h++)
            total += bitmap_get(s->survivors, holders_of(s, i)[h]);
    }
    s->mask_count = total;
    s->mask_adds = mem_array(total, sizeof *s->mask_adds);
    if (!s->mask_adds)
        TRY_FAIL(err, SOTTO_NOMEM, "unmasking: %zu masks: out of memory", total);
    TRY(secret_arena_init(&s->arena, total * SECAGG_KEY, err));
    s->mask_keys = secret_arena_take(&s->arena, total * SECAGG_KEY);
out:
    mem_free(shares);
    return status;
}

static void opening_deinit(struct opening *o) {
    mem_free(o->field);
    mem_free(o->first_key);
    mem_free(o->points);
    mem_free(o->weights);
    mem_free(o->fate);
}

enum sotto_status secagg_server_open(struct secagg_server *s, const struct secagg_parallel *par,
                                     struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct opening o = {.s = s};
    TRY(server_failed(s, err));
    if (s->open != EX_OPEN)
        TRY_FAIL(err, SOTTO_STATE, "secrets are opened once, after the last exchange");
    TRY(opening_init(&o, err));
    run_jobs(par, s->n, open_member, &o);
    for (uint32_t i = 0; i < s->n; i++) {
        if (o.fate[i] == SOTTO_OK)
            continue;
        if (o.fate[i] == SOTTO_NOMEM)
            TRY_FAIL(err, SOTTO_NOMEM, "unmasking: out of memory");
        TRY_FAIL(err, SOTTO_CHECK, "member %llu dealt shares that do not open what it advertised",
                 (unsigned long long)s->members[i].serial);
    }
    for (uint32_t i = 0; i < s->n; i++) /* the shares have served */
        if (s->members[i].unmask)
            sodium_memzero(s->members[i].unmask, (size_t)s->holder_count * SECAGG_KEY);
    s->open = EX_REVEAL;
out:
    if (status != SOTTO_OK && status != SOTTO_STATE) {
        secret_arena_deinit(&s->arena);
        mem_free(s->mask_adds);
        s->mask_adds = NULL;
        s->mask_count = 0;
        if (status != SOTTO_NOMEM)
            s->failed = true;
    }
    opening_deinit(&o);
    return status;
}

struct reveal {
    const struct secagg_server *s;
    uint32_t *sum;
    uint64_t first;
    size_t count;
};

static void reveal_block(void *ctx, size_t index) {
    const struct reveal *r = ctx;
    const size_t done = index * SECAGG_BLOCK;
    const size_t count = r->count - done < SECAGG_BLOCK ? r->count - done : SECAGG_BLOCK;
    for (size_t i = 0; i < r->s->mask_count; i++)
        mask_apply(r->s->config.ring_bits, r->s->mask_keys + i * SECAGG_KEY, !r->s->mask_adds[i],
                   r->first + done, r->sum + done, count);
    secagg_ring_reduce(r->s->config.ring_bits, r->sum + done, count);
}

enum sotto_status secagg_server_reveal(struct secagg_server *s, uint32_t *sum, uint64_t first,
                                       size_t count, const struct secagg_parallel *par,
                                       struct sotto_error *err) {
    const enum sotto_status status = server_failed(s, err);
    if (status != SOTTO_OK)
        return status;
    if (s->open != EX_REVEAL)
        return SOTTO_FAIL(err, SOTTO_STATE, "masks are taken off after their keys are opened");
    if (first % SECAGG_BLOCK != 0 || first > s->config.length || count > s->config.length - first)
        return SOTTO_FAIL(err, SOTTO_INVALID, "%zu coordinates from %llu: not whole blocks", count,
                          (unsigned long long)first);
    struct reveal r = {s, sum, first, count};
    run_jobs(par, (count + SECAGG_BLOCK - 1) / SECAGG_BLOCK, reveal_block, &r);
    return SOTTO_OK;
}
