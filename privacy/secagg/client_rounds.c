/* A member's session, from the shares it receives to the ones it gives back. */
#include <sodium.h>
#include <string.h>

#include "client_int.h"

/* Holders of this member that are in the set. */
static uint32_t holders_in(const struct secagg_client *c, const uint8_t *set) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < c->holder_count; i++)
        count += bitmap_get(set, c->holders[i]);
    return count;
}

/* A set of members at the start of a body: count bits, none behind n. */
static enum sotto_status read_set(const struct secagg_client *c, struct view body, const char *what,
                                  struct sotto_error *err) {
    if (body.n < bitmap_bytes(c->n) || !bitmap_clean(body.p, c->n))
        return SOTTO_FAIL(err, SOTTO_CORRUPT, "%s: not a set of %u members", what, c->n);
    return SOTTO_OK;
}

/* The set is large enough for the group, for this member's own shares, and has the member in it. */
static enum sotto_status check_set(const struct secagg_client *c, const uint8_t *set,
                                   const char *what, struct sotto_error *err) {
    const uint32_t count = bitmap_count(set, c->n), near = holders_in(c, set);
    if (!bitmap_get(set, c->own))
        return SOTTO_FAIL(err, SOTTO_DENIED, "%s: this member is not among them", what);
    if (count < c->report.minimum)
        return SOTTO_FAIL(err, SOTTO_DENIED, "%s: %u members are below the minimum of %u", what,
                          count, c->report.minimum);
    if (near < c->params.threshold)
        return SOTTO_FAIL(err, SOTTO_DENIED, "%s: %u holders are below the threshold of %u", what,
                          near, c->params.threshold);
    return SOTTO_OK;
}

/* Opens one dealer's shares; false when they are not what it committed to. */
static bool open_shares(struct secagg_client *c, uint32_t place, const uint8_t *entry) {
    const struct share_context at = {c->session, c->holders[place], c->own, c->params.threshold,
                                     c->params.degree};
    const uint8_t *commits = entry + SEALED_SHARES;
    uint8_t *held = c->secrets.held + (size_t)place * 2 * SECAGG_KEY;
    uint8_t expect[2 * SHAMIR_COMMIT];
    if (!keys_open_shares(c->secrets.seal_keys + (size_t)place * SECAGG_KEY, &at, commits, entry,
                          held))
        return false;
    shamir_commit(c->session, SHARE_PAIR, at.dealer, at.holder, held, expect);
    shamir_commit(c->session, SHARE_SELF, at.dealer, at.holder, held + SECAGG_KEY,
                  expect + SHAMIR_COMMIT);
    return sodium_memcmp(expect, commits, sizeof expect) == 0;
}

/* The keys of all masks; what they were made from is wiped. */
static enum sotto_status make_mask_keys(struct secagg_client *c, struct sotto_error *err) {
    const struct secrets *s = &c->secrets;
    uint8_t prk[SECAGG_KEY];
    for (uint32_t i = 0; i < c->holder_count; i++) {
        uint8_t *key = s->mask_keys + (size_t)i * SECAGG_KEY;
        if (i == c->own_place) {
            keys_self(s->self, c->own, c->session, c->config.terms_hash, key);
            continue;
        }
        if (!c->peers[i].sharing)
            continue;
        if (!keys_agree(s->mask_secret, c->peers[c->own_place].mask_public, c->peers[i].mask_public,
                        c->session, c->config.terms_hash, prk)) {
            sodium_memzero(prk, sizeof prk);
            return SOTTO_FAIL(err, SOTTO_DENIED, "member %llu has a key of low order",
                              (unsigned long long)c->peers[i].serial);
        }
        keys_derive(prk, KDF_MASK, key);
    }
    sodium_memzero(prk, sizeof prk);
    sodium_memzero(s->mask_secret, SECAGG_KEY);
    sodium_memzero(s->self, SECAGG_KEY);
    sodium_memzero(s->seal_keys, (size_t)c->holder_count * SECAGG_KEY);
    return SOTTO_OK;
}

static enum sotto_status delivery_take(struct secagg_client *c, struct view message,
                                       struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct msg_head head;
    struct view body;
    bool done;
    if (c->stage < SECAGG_STAGE_DELIVERY)
        return SOTTO_FAIL(err, SOTTO_STATE, "shares before the group is known");
    TRY(msg_get_head(message, SECAGG_DELIVERY, c->session, &head, &body, err));
    TRY(client_due(c, SEEN_DELIVERY, message, NULL, &done, err));
    if (done)
        return SOTTO_OK;
    TRY(read_set(c, body, "delivery", err));
    const size_t set_bytes = bitmap_bytes(c->n);
    TRY(check_set(c, body.p, "those who shared", err));
    if (head.count != holders_in(c, body.p) - 1 ||
        body.n != set_bytes + (size_t)head.count * ENTRY_SHARES)
        TRY_FAIL(err, SOTTO_CORRUPT, "delivery of %u shares in %zu bytes", head.count, body.n);
    memcpy(c->sharers, body.p, set_bytes);
    const uint8_t *entry = body.p + set_bytes;
    for (uint32_t i = 0; i < c->holder_count; i++) {
        struct peer *p = &c->peers[i];
        p->sharing = bitmap_get(c->sharers, c->holders[i]);
        if (i == c->own_place) {
            p->opened = true;
        } else if (p->sharing) {
            p->opened = open_shares(c, i, entry);
            entry += ENTRY_SHARES;
        }
    }
    TRY(make_mask_keys(c, err));
    TRY(client_answer(c, SEEN_DELIVERY, message, NULL, err));
    c->report.sharers = bitmap_count(c->sharers, c->n);
    c->stage = SECAGG_STAGE_MASK;
out:
    return status;
}

enum sotto_status secagg_client_delivery(struct secagg_client *c, struct view message,
                                         struct sotto_error *err) {
    return client_end_if_denied(c, delivery_take(c, message, err));
}

/* One block of at most SECAGG_BLOCK coordinates under all masks. */
static void mask_block(const struct secagg_client *c, uint64_t first, const uint32_t *values,
                       size_t count, uint8_t *packed) {
    uint32_t sum[SECAGG_BLOCK];
    memcpy(sum, values, count * sizeof *values);
    for (uint32_t i = 0; i < c->holder_count; i++)
        if (c->peers[i].sharing)
            mask_apply(c->config.ring_bits, c->secrets.mask_keys + (size_t)i * SECAGG_KEY,
                       i <= c->own_place, first, sum, count);
    secagg_ring_pack(c->config.ring_bits, sum, count, packed);
    sodium_memzero(sum, sizeof sum);
}

enum sotto_status secagg_client_mask(struct secagg_client *c, uint64_t first,
                                     const uint32_t *values, size_t count, struct buf *out,
                                     struct sotto_error *err) {
    const unsigned bits = c->config.ring_bits;
    if (c->stage != SECAGG_STAGE_MASK || first != c->masked)
        return SOTTO_FAIL(err, SOTTO_STATE,
                          "coordinates from %llu cannot be masked now: each is masked once, in "
                          "order",
                          (unsigned long long)first);
    const uint64_t left = c->config.length - first;
    if (count == 0 || count > left || (count < left && count % SECAGG_BLOCK != 0))
        return SOTTO_FAIL(err, SOTTO_INVALID, "%zu coordinates at %llu of %llu: not whole blocks",
                          count, (unsigned long long)first, (unsigned long long)c->config.length);
    for (size_t i = 0; bits < 32 && i < count; i++)
        if (values[i] >> bits != 0)
            return SOTTO_FAIL(err, SOTTO_INVALID, "coordinate %llu does not fit the ring",
                              (unsigned long long)(first + i));
    if (first == 0) {
        msg_put_head(out, SECAGG_MASKED, c->own, c->session);
        buf_put_u64(out, c->config.length);
        buf_put_u32(out, bits);
        buf_put_u32(out, 0);
    }
    uint8_t *packed = buf_grow(out, secagg_ring_bytes(bits, count));
    if (!packed) /* what left may have been seen: no other bytes under these masks */
        return client_end_if_denied(
            c,
            SOTTO_FAIL(err, SOTTO_DENIED, "masked input of %zu coordinates does not fit", count));
    for (size_t done = 0; done < count; done += SECAGG_BLOCK) {
        const size_t step = count - done < SECAGG_BLOCK ? count - done : SECAGG_BLOCK;
        mask_block(c, first + done, values + done, step, packed + secagg_ring_bytes(bits, done));
    }
    c->masked += count;
    if (c->masked == c->config.length) {
        sodium_memzero(c->secrets.mask_keys, (size_t)c->holder_count * SECAGG_KEY);
        c->stage = SECAGG_STAGE_SURVIVORS;
    }
    return SOTTO_OK;
}

static enum sotto_status survivors_take(struct secagg_client *c, struct view message,
                                        struct buf *out, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct buf *answer = &c->seen[SEEN_SURVIVORS].answer;
    struct msg_head head;
    struct view body;
    struct buf signed_bytes;
    uint8_t sig[SECAGG_SIG];
    bool done;
    buf_init(&signed_bytes, SECAGG_KEY + bitmap_bytes(SECAGG_MEMBERS_MAX));
    if (c->stage < SECAGG_STAGE_DELIVERY)
        TRY_FAIL(err, SOTTO_STATE, "survivors before the group is known");
    TRY(msg_get_head(message, SECAGG_SURVIVORS, c->session, &head, &body, err));
    TRY(client_due(c, SEEN_SURVIVORS, message, out, &done, err));
    if (done)
        goto out;
    TRY(read_set(c, body, "survivors", err));
    if (body.n != bitmap_bytes(c->n) || head.count != bitmap_count(body.p, c->n))
        TRY_FAIL(err, SOTTO_CORRUPT, "survivors: %u members in %zu bytes", head.count, body.n);
    TRY(check_set(c, body.p, "survivors", err));
    for (uint32_t i = 0; i < c->n; i++)
        if (bitmap_get(body.p, i) && !bitmap_get(c->sharers, i))
            TRY_FAIL(err, SOTTO_DENIED, "survivor %u had not shared", i);
    for (uint32_t i = 0; i < c->holder_count; i++)
        if (bitmap_get(body.p, c->holders[i]) && !c->peers[i].opened)
            TRY_FAIL(err, SOTTO_DENIED, "survivor %llu dealt bad shares",
                     (unsigned long long)c->peers[i].serial);
    buf_put(&signed_bytes, c->session, SECAGG_KEY);
    buf_put(&signed_bytes, body.p, body.n);
    if (signed_bytes.status != SOTTO_OK)
        TRY_FAIL(err, signed_bytes.status, "survivors: out of memory");
    TRY(c->identity.sign(c->identity.ctx, SECAGG_LABEL_SURVIVORS, buf_view(&signed_bytes), sig,
                         err));
    buf_reset(answer);
    msg_put_head(answer, SECAGG_SIGNATURE, 1, c->session);
    buf_put(answer, sig, sizeof sig);
    TRY(client_answer(c, SEEN_SURVIVORS, message, out, err));
    memcpy(c->survivors, body.p, body.n);
    c->report.survivors = head.count;
    c->stage = SECAGG_STAGE_SIGNATURES;
out:
    buf_deinit(&signed_bytes);
    return status;
}

enum sotto_status secagg_client_survivors(struct secagg_client *c, struct view message,
                                          struct buf *out, struct sotto_error *err) {
    return client_end_if_denied(c, survivors_take(c, message, out, err));
}

/* Every listed signature holds over this member's own survivor set. */
static enum sotto_status verify_signatures(const struct secagg_client *c, struct view entries,
                                           uint32_t count, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct buf body;
    struct reader r;
    uint32_t last = 0;
    buf_init(&body, SECAGG_KEY + bitmap_bytes(c->n));
    buf_put(&body, c->session, SECAGG_KEY);
    buf_put(&body, c->survivors, bitmap_bytes(c->n));
    if (body.status != SOTTO_OK)
        TRY_FAIL(err, body.status, "signatures: out of memory");
    reader_init(&r, entries);
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t index = reader_u32(&r, "signer");
        const struct view sig = reader_bytes(&r, SECAGG_SIG, "signature");
        TRY(reader_finish(&r, false, "signatures", err));
        const uint32_t place = holder_place(c->holders, c->holder_count, index);
        if (place == UINT32_MAX || (i > 0 && index <= last))
            TRY_FAIL(err, SOTTO_CORRUPT, "signer %u is no neighbour, or out of order", index);
        last = index;
        if (!bitmap_get(c->survivors, index))
            TRY_FAIL(err, SOTTO_DENIED, "signer %u is no survivor", index);
        if (c->identity.verify(c->identity.ctx, c->peers[place].identity, SECAGG_LABEL_SURVIVORS,
                               buf_view(&body), sig.p, err) != SOTTO_OK)
            TRY_FAIL(err, SOTTO_DENIED, "member %llu did not sign this survivor set",
                     (unsigned long long)c->peers[place].serial);
    }
out:
    buf_deinit(&body);
    return status;
}

/* For each dealer one share: of its self mask if it survived, else of its mask key. Never both. */
static void put_unmask(const struct secagg_client *c, struct buf *answer) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < c->holder_count; i++)
        count += i == c->own_place || (c->peers[i].sharing && c->peers[i].opened);
    msg_put_head(answer, SECAGG_UNMASK, count, c->session);
    for (uint32_t i = 0; i < c->holder_count; i++) {
        if (i != c->own_place && !(c->peers[i].sharing && c->peers[i].opened))
            continue;
        const bool survived = bitmap_get(c->survivors, c->holders[i]);
        buf_put_u32(answer, c->holders[i]);
        buf_put_u32(answer, survived ? SHARE_SELF : SHARE_PAIR);
        buf_put(answer, c->secrets.held + (size_t)i * 2 * SECAGG_KEY + (survived ? SECAGG_KEY : 0),
                SECAGG_KEY);
    }
}

static enum sotto_status signatures_take(struct secagg_client *c, struct view message,
                                         struct buf *out, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct buf *answer = &c->seen[SEEN_SIGNATURES].answer;
    struct msg_head head;
    struct view body;
    bool done;
    if (c->stage < SECAGG_STAGE_DELIVERY)
        return SOTTO_FAIL(err, SOTTO_STATE, "signatures before the group is known");
    TRY(msg_get_head(message, SECAGG_SIGNATURES, c->session, &head, &body, err));
    TRY(client_due(c, SEEN_SIGNATURES, message, out, &done, err));
    if (done)
        return SOTTO_OK;
    if (head.count > c->holder_count || body.n != (size_t)head.count * ENTRY_SIG)
        TRY_FAIL(err, SOTTO_CORRUPT, "%u signatures in %zu bytes", head.count, body.n);
    /* On the complete graph as many as the sum must hold; else of the neighbours. */
    const uint32_t need = c->params.complete ? c->report.minimum : c->params.threshold;
    if (head.count < need)
        TRY_FAIL(err, SOTTO_DENIED, "%u signatures over the survivors, %u are needed", head.count,
                 need);
    TRY(verify_signatures(c, body, head.count, err));
    buf_reset(answer);
    put_unmask(c, answer);
    TRY(client_answer(c, SEEN_SIGNATURES, message, out, err));
    c->report.signatures = head.count;
    c->stage = SECAGG_STAGE_DONE;
    client_wipe(c);
out:
    return status;
}

enum sotto_status secagg_client_signatures(struct secagg_client *c, struct view message,
                                           struct buf *out, struct sotto_error *err) {
    return client_end_if_denied(c, signatures_take(c, message, out, err));
}
