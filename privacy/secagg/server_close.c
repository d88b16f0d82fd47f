/* The coordinator's session: what closing an exchange fixes, and what members are then shown. */
#include <stdlib.h>
#include <string.h>

#include "server_int.h"

static int compare_members(const void *a, const void *b) {
    const struct member *x = a, *y = b;
    return memcmp(x->record + 8, y->record + 8, SECAGG_KEY); /* c_pk */
}

/* Puts the members in the order of their keys and finds them again by serial. */
static void order_members(struct secagg_server *s) {
    qsort(s->members, s->n, sizeof *s->members, compare_members);
    for (uint32_t i = 0; i < s->n; i++) { /* insertion by serial: once a session */
        uint32_t place = i;
        while (place > 0 && s->members[s->by_serial[place - 1]].serial > s->members[i].serial) {
            s->by_serial[place] = s->by_serial[place - 1];
            place--;
        }
        s->by_serial[place] = i;
    }
}

static enum sotto_status close_advertise(struct secagg_server *s, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct ring_graph g = {0};
    uint8_t seed[SECAGG_KEY];
    if (s->n < config_minimum(&s->config))
        TRY_FAIL(err, SOTTO_CHECK, "%u members are below the minimum group of %u", s->n,
                 config_minimum(&s->config));
    TRY(secagg_group_params(s->n, s->config.gamma, s->config.delta, s->config.adversary, &s->params,
                            err));
    s->holder_count = s->params.degree + 1;
    s->hashes = mem_array(s->n, SECAGG_KEY);
    s->holders = mem_array((size_t)s->n * s->holder_count, sizeof *s->holders);
    s->sharers = mem_zalloc(bitmap_bytes(s->n));
    s->survivors = mem_zalloc(bitmap_bytes(s->n));
    s->signers = mem_zalloc(bitmap_bytes(s->n));
    if (!s->hashes || !s->holders || !s->sharers || !s->survivors || !s->signers)
        TRY_FAIL(err, SOTTO_NOMEM, "secure group of %u: out of memory", s->n);
    order_members(s);
    for (uint32_t i = 0; i < s->n; i++)
        record_hash(view_of(s->members[i].record, record_size(s)),
                    s->hashes + (size_t)i * SECAGG_KEY);
    session_id(s->config.terms_hash, s->hashes, s->n, s->session);
    session_graph_seed(s->session, seed);
    TRY(ring_graph_init(&g, s->n, s->params.degree, seed, err));
    for (uint32_t i = 0; i < s->n; i++)
        ring_graph_holders(&g, i, s->holders + (size_t)i * s->holder_count);
out:
    ring_graph_deinit(&g);
    return status;
}

/* Enough members for the sum to hide each, and for t holders of every secret. */
static enum sotto_status enough(const struct secagg_server *s, uint32_t count, const char *what,
                                struct sotto_error *err) {
    struct secagg_server_report r;
    secagg_server_report(s, &r);
    if (count < r.minimum)
        return SOTTO_FAIL(err, SOTTO_CHECK, "%u members %s, %u are needed", count, what, r.minimum);
    return SOTTO_OK;
}

/* The sealed shares have been delivered for the last time: their commitments stay. */
static void keep_commitments(struct secagg_server *s) {
    for (uint32_t i = 0; i < s->n; i++) {
        struct member *m = &s->members[i];
        if (!m->shares)
            continue;
        for (uint32_t h = 0; h < s->holder_count; h++)
            memmove(m->shares + (size_t)h * 2 * SHAMIR_COMMIT,
                    m->shares + (size_t)h * ENTRY_SHARES + SEALED_SHARES, 2 * SHAMIR_COMMIT);
        uint8_t *smaller = mem_resize(m->shares, s->holder_count, 2 * SHAMIR_COMMIT);
        if (smaller)
            m->shares = smaller;
    }
}

enum sotto_status secagg_server_close(struct secagg_server *s, enum secagg_kind client_kind,
                                      struct sotto_error *err) {
    static const enum secagg_kind due[] = {SECAGG_ADVERTISE, SECAGG_SHARES, SECAGG_MASKED,
                                           SECAGG_SIGNATURE, SECAGG_UNMASK};
    enum sotto_status status = server_failed(s, err);
    if (status != SOTTO_OK)
        return status;
    if (s->open >= EX_OPEN || client_kind != due[s->open])
        return SOTTO_FAIL(err, SOTTO_STATE, "message kind %u is not what is collected now",
                          (unsigned)client_kind);
    switch (s->open) {
    case EX_ADVERTISE:
        status = close_advertise(s, err);
        break;
    case EX_SHARES:
        status = enough(s, s->sharer_count, "have shared", err);
        break;
    case EX_MASKED:
        status = enough(s, s->survivor_count, "have sent their input", err);
        if (status == SOTTO_OK)
            keep_commitments(s);
        break;
    case EX_SIGNATURE:
        status = enough(s, s->signer_count, "have signed the survivors", err);
        break;
    case EX_UNMASK:
        if (!secagg_server_ready(s))
            status =
                SOTTO_FAIL(err, SOTTO_CHECK, "too few shares: %u of %u survivors have answered",
                           s->unmasker_count, s->survivor_count);
        break;
    case EX_OPEN:
    case EX_REVEAL:
        break;
    }
    if (status == SOTTO_OK)
        s->open++;
    else if (status != SOTTO_NOMEM || s->open == EX_ADVERTISE)
        s->failed = true;
    return status;
}

bool secagg_server_ready(const struct secagg_server *s) {
    if (s->open < EX_UNMASK || s->failed)
        return false;
    for (uint32_t i = 0; i < s->n; i++)
        if (bitmap_get(s->sharers, i) && s->members[i].opens < s->params.threshold)
            return false;
    return true;
}

static void put_list(const struct secagg_server *s, uint32_t index, struct buf *out) {
    msg_put_head(out, SECAGG_LIST, s->n, s->config.terms_hash);
    buf_put_u32(out, index);
    buf_put_u32(out, s->holder_count);
    if (!s->params.complete)
        buf_put(out, s->hashes, (size_t)s->n * SECAGG_KEY);
    for (uint32_t i = 0; i < s->holder_count; i++)
        buf_put(out, s->members[holders_of(s, index)[i]].record, record_size(s));
}

static void put_delivery(const struct secagg_server *s, uint32_t index, struct buf *out) {
    const uint32_t *holders = holders_of(s, index);
    uint32_t count = 0;
    for (uint32_t i = 0; i < s->holder_count; i++)
        count += holders[i] != index && bitmap_get(s->sharers, holders[i]);
    msg_put_head(out, SECAGG_DELIVERY, count, s->session);
    buf_put(out, s->sharers, bitmap_bytes(s->n));
    for (uint32_t i = 0; i < s->holder_count; i++) {
        if (holders[i] == index || !bitmap_get(s->sharers, holders[i]))
            continue;
        const uint32_t back = holder_place(holders_of(s, holders[i]), s->holder_count, index);
        buf_put(out, s->members[holders[i]].shares + (size_t)back * ENTRY_SHARES, ENTRY_SHARES);
    }
}

static void put_survivors(const struct secagg_server *s, struct buf *out) {
    msg_put_head(out, SECAGG_SURVIVORS, s->survivor_count, s->session);
    buf_put(out, s->survivors, bitmap_bytes(s->n));
}

static void put_signatures(const struct secagg_server *s, uint32_t index, struct buf *out) {
    const uint32_t *holders = holders_of(s, index);
    uint32_t count = 0;
    for (uint32_t i = 0; i < s->holder_count; i++)
        count += bitmap_get(s->signers, holders[i]);
    msg_put_head(out, SECAGG_SIGNATURES, count, s->session);
    for (uint32_t i = 0; i < s->holder_count; i++)
        if (bitmap_get(s->signers, holders[i])) {
            buf_put_u32(out, holders[i]);
            buf_put(out, s->members[holders[i]].signature, SECAGG_SIG);
        }
}

enum sotto_status secagg_server_message(struct secagg_server *s, enum secagg_kind kind,
                                        uint64_t serial, struct buf *out, struct sotto_error *err) {
    enum sotto_status status = server_failed(s, err);
    if (status != SOTTO_OK)
        return status;
    const uint32_t index = s->open > EX_ADVERTISE ? server_index(s, serial) : UINT32_MAX;
    if (index == UINT32_MAX)
        return SOTTO_FAIL(err, SOTTO_NOT_FOUND, "device %llu is no member of this group",
                          (unsigned long long)serial);
    const bool sharer = bitmap_get(s->sharers, index), survivor = bitmap_get(s->survivors, index);
    if (kind == SECAGG_LIST) {
        put_list(s, index, out);
    } else if (kind == SECAGG_DELIVERY && s->open == EX_MASKED && sharer) {
        put_delivery(s, index, out);
    } else if (kind == SECAGG_SURVIVORS && s->open >= EX_SIGNATURE && survivor) {
        put_survivors(s, out);
    } else if (kind == SECAGG_SIGNATURES && s->open >= EX_UNMASK && survivor) {
        put_signatures(s, index, out);
    } else {
        return SOTTO_FAIL(err, SOTTO_NOT_FOUND, "nothing of kind %u for member %llu now",
                          (unsigned)kind, (unsigned long long)serial);
    }
    return out->status == SOTTO_OK
               ? SOTTO_OK
               : SOTTO_FAIL(err, out->status, "message %u does not fit", (unsigned)kind);
}
