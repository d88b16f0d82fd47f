/* A member's session, from its keys to the shares that it hands out. */
#include <sodium.h>
#include <string.h>

#include "client_int.h"

static enum sotto_status make_record(struct secagg_client *c, uint64_t serial,
                                     struct view certificate, struct sotto_error *err) {
    uint8_t body[RECORD_SIGNED], *p = c->own_record;
    struct record r;
    for (unsigned i = 0; i < 8; i++)
        p[i] = (uint8_t)(serial >> (8 * i));
    if (crypto_scalarmult_base(p + 8, c->secrets.seal_secret) != 0 ||
        crypto_scalarmult_base(p + 8 + SECAGG_KEY, c->secrets.mask_secret) != 0)
        return SOTTO_FAIL(err, SOTTO_INVALID, "the session's randomness gives no key");
    keys_commit_self(c->secrets.self, p + 8 + 2 * SECAGG_KEY);
    memcpy(p + RECORD_FIXED, certificate.p, certificate.n);
    record_read(view_of(p, c->record_bytes), &r);
    record_signed(&r, c->config.terms_hash, body);
    return c->identity.sign(c->identity.ctx, SECAGG_LABEL_RECORD, view_of(body, sizeof body),
                            p + 8 + 3 * SECAGG_KEY, err);
}

enum sotto_status secagg_client_new(const struct secagg_config *config,
                                    const struct secagg_identity *identity, uint64_t serial,
                                    struct view certificate,
                                    const uint8_t random[SECAGG_CLIENT_RANDOM], bool masked_before,
                                    struct secagg_client **out, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct secagg_client *c = NULL;
    TRY(config_check(config, err));
    if (masked_before)
        TRY_FAIL(err, SOTTO_DENIED, "a masked input of these terms has left this device already");
    if (certificate.n != config->cert_bytes)
        TRY_FAIL(err, SOTTO_INVALID, "certificate of %zu bytes, the terms say %u", certificate.n,
                 config->cert_bytes);
    c = mem_zalloc(sizeof *c);
    if (!c)
        TRY_FAIL(err, SOTTO_NOMEM, "secure session: out of memory");
    c->config = *config;
    c->identity = *identity;
    for (int i = 0; i < SEEN_COUNT; i++)
        buf_init(&c->seen[i].answer, secagg_message_max(config, SECAGG_LIST));
    c->record_bytes = RECORD_FIXED + certificate.n;
    c->own_record = mem_zalloc(c->record_bytes);
    if (!c->own_record)
        TRY_FAIL(err, SOTTO_NOMEM, "secure session: out of memory");
    TRY(secret_arena_init(&c->arena, SECAGG_CLIENT_RANDOM, err));
    struct secrets *s = &c->secrets;
    s->seal_secret = secret_arena_take(&c->arena, SECAGG_KEY);
    s->mask_secret = secret_arena_take(&c->arena, SECAGG_KEY);
    s->self = secret_arena_take(&c->arena, SECAGG_KEY);
    s->seed = secret_arena_take(&c->arena, SECAGG_KEY);
    memcpy(s->seal_secret, random, SECAGG_CLIENT_RANDOM);
    TRY(make_record(c, serial, certificate, err));
    *out = c;
    c = NULL;
out:
    secagg_client_free(c);
    return status;
}

void client_wipe(struct secagg_client *c) {
    secret_arena_deinit(&c->arena);
    c->secrets = (struct secrets){0};
}

static void group_reset(struct secagg_client *c) {
    mem_free(c->holders);
    mem_free(c->peers);
    mem_free(c->sharers);
    mem_free(c->survivors);
    c->holders = NULL;
    c->peers = NULL;
    c->sharers = c->survivors = NULL;
    c->n = c->holder_count = 0;
}

void secagg_client_free(struct secagg_client *c) {
    if (!c)
        return;
    client_wipe(c);
    group_reset(c);
    for (int i = 0; i < SEEN_COUNT; i++) {
        struct buf *answer = &c->seen[i].answer;
        if (answer->data)
            sodium_memzero(answer->data, answer->cap);
        buf_deinit(answer);
    }
    mem_free(c->own_record);
    mem_free(c);
}

enum sotto_status client_due(struct secagg_client *c, int which, struct view message,
                             struct buf *out, bool *done, struct sotto_error *err) {
    static const enum secagg_stage due[SEEN_COUNT] = {
        SECAGG_STAGE_LIST, SECAGG_STAGE_DELIVERY, SECAGG_STAGE_SURVIVORS, SECAGG_STAGE_SIGNATURES};
    struct seen *seen = &c->seen[which];
    uint8_t hash[SECAGG_KEY];
    *done = false;
    if (c->stage == SECAGG_STAGE_REFUSED)
        return SOTTO_FAIL(err, SOTTO_STATE, "this session was refused");
    if (seen->taken) {
        keys_hash("seen", &message, 1, hash);
        if (memcmp(hash, seen->hash, sizeof hash) != 0)
            return SOTTO_FAIL(err, SOTTO_DENIED,
                              "the server says two things in one exchange of a session");
        if (out)
            buf_put(out, seen->answer.data, seen->answer.len);
        *done = true;
        return out && out->status != SOTTO_OK ? SOTTO_FAIL(err, out->status, "answer does not fit")
                                              : SOTTO_OK;
    }
    if (c->stage != due[which])
        return SOTTO_FAIL(err, SOTTO_STATE, "message out of order: stage %u", (unsigned)c->stage);
    return SOTTO_OK;
}

enum sotto_status client_answer(struct secagg_client *c, int which, struct view message,
                                struct buf *out, struct sotto_error *err) {
    struct seen *seen = &c->seen[which];
    if (out) {
        if (seen->answer.status == SOTTO_OK)
            buf_put(out, seen->answer.data, seen->answer.len);
        const enum sotto_status status =
            seen->answer.status != SOTTO_OK ? seen->answer.status : out->status;
        if (status != SOTTO_OK)
            return SOTTO_FAIL(err, status, "answer of %zu bytes does not fit", seen->answer.len);
    }
    seen->taken = true;
    keys_hash("seen", &message, 1, seen->hash);
    return SOTTO_OK;
}

enum sotto_status client_end_if_denied(struct secagg_client *c, enum sotto_status status) {
    if (status == SOTTO_DENIED) {
        client_wipe(c);
        c->stage = SECAGG_STAGE_REFUSED;
    }
    return status;
}

enum sotto_status secagg_client_advertise(struct secagg_client *c, struct buf *out,
                                          struct sotto_error *err) {
    if (c->stage == SECAGG_STAGE_REFUSED)
        return SOTTO_FAIL(err, SOTTO_STATE, "this session was refused");
    msg_put_head(out, SECAGG_ADVERTISE, 1, c->config.terms_hash);
    buf_put(out, c->own_record, c->record_bytes);
    if (out->status != SOTTO_OK)
        return SOTTO_FAIL(err, out->status, "record does not fit");
    if (c->stage == SECAGG_STAGE_NEW)
        c->stage = SECAGG_STAGE_LIST;
    return SOTTO_OK;
}

/* A group list while it is checked. */
struct list {
    uint32_t n, own, record_count;
    const uint8_t *hashes;  /* of all members, when the list carries them */
    const uint8_t *bytes;   /* of the records */
    uint8_t *computed;      /* hashes of a complete list; owned */
    struct record *records; /* owned */
};

static enum sotto_status list_parse(const struct secagg_client *c, struct view message,
                                    struct list *l, struct secagg_graph_params *params,
                                    struct sotto_error *err) {
    struct msg_head head;
    struct view body;
    struct reader r;
    enum sotto_status status =
        msg_get_head(message, SECAGG_LIST, c->config.terms_hash, &head, &body, err);
    if (status != SOTTO_OK)
        return status;
    l->n = head.count;
    if (l->n < config_minimum(&c->config))
        return SOTTO_FAIL(err, SOTTO_DENIED, "a group of %u is below the minimum of %u", l->n,
                          config_minimum(&c->config));
    if (l->n > c->config.members_max)
        return SOTTO_FAIL(err, SOTTO_DENIED, "a group of %u is above the terms' maximum of %u",
                          l->n, c->config.members_max);
    status = secagg_group_params(l->n, c->config.gamma, c->config.delta, c->config.adversary,
                                 params, err);
    if (status != SOTTO_OK)
        return status == SOTTO_NOMEM ? status : SOTTO_DENIED;
    reader_init(&r, body);
    l->own = reader_u32(&r, "own index");
    l->record_count = reader_u32(&r, "records");
    if (r.status == SOTTO_OK && (l->record_count != params->degree + 1 || l->own >= l->n))
        reader_fail(&r, SOTTO_CORRUPT, "records");
    if (!params->complete)
        l->hashes = reader_bytes(&r, (size_t)l->n * SECAGG_KEY, "record hashes").p;
    l->bytes = reader_bytes(&r, l->record_count * c->record_bytes, "records").p;
    status = reader_finish(&r, true, "group list", err);
    return status == SOTTO_OK || status == SOTTO_NOMEM ? status : SOTTO_CORRUPT;
}

static struct view list_record(const struct secagg_client *c, const struct list *l, uint32_t i) {
    return view_of(l->bytes + (size_t)i * c->record_bytes, c->record_bytes);
}

/* Hashes all records of a complete list; in a larger group compares those it has with the list's.
 */
static enum sotto_status list_bind(struct secagg_client *c, struct list *l,
                                   struct sotto_error *err) {
    uint8_t hash[SECAGG_KEY], own[SECAGG_KEY];
    struct ring_graph g = {0};
    uint8_t seed[SECAGG_KEY];
    if (!l->hashes) {
        l->computed = mem_array(l->n, SECAGG_KEY);
        if (!l->computed)
            return SOTTO_FAIL(err, SOTTO_NOMEM, "list of %u: out of memory", l->n);
        for (uint32_t i = 0; i < l->n; i++)
            record_hash(list_record(c, l, i), l->computed + (size_t)i * SECAGG_KEY);
        l->hashes = l->computed;
    }
    record_hash(view_of(c->own_record, c->record_bytes), own);
    uint32_t found = 0;
    for (uint32_t i = 0; i < l->n; i++)
        found += memcmp(l->hashes + (size_t)i * SECAGG_KEY, own, SECAGG_KEY) == 0;
    if (found != 1 || memcmp(l->hashes + (size_t)l->own * SECAGG_KEY, own, SECAGG_KEY) != 0)
        return SOTTO_FAIL(err, SOTTO_DENIED, "own record is listed %u times, not once in its place",
                          found);
    session_id(c->config.terms_hash, l->hashes, l->n, c->session);
    session_graph_seed(c->session, seed);
    const enum sotto_status status = ring_graph_init(&g, l->n, c->params.degree, seed, err);
    if (status != SOTTO_OK)
        return status;
    ring_graph_holders(&g, l->own, c->holders);
    ring_graph_deinit(&g);
    c->own_place = holder_place(c->holders, c->holder_count, l->own);
    for (uint32_t i = 0; l->hashes != l->computed && i < c->holder_count; i++) {
        record_hash(list_record(c, l, i), hash);
        if (memcmp(hash, l->hashes + (size_t)c->holders[i] * SECAGG_KEY, SECAGG_KEY) != 0)
            return SOTTO_FAIL(err, SOTTO_DENIED, "record of neighbour %u is not the listed one",
                              c->holders[i]);
    }
    return SOTTO_OK;
}

/* Every record of the list: certified, signed, usable, distinct, in the order of the keys. */
static enum sotto_status list_check(struct secagg_client *c, struct list *l,
                                    struct sotto_error *err) {
    for (uint32_t i = 0; i < l->record_count; i++) {
        struct record *r = &l->records[i];
        record_read(list_record(c, l, i), r);
        if (c->params.complete && i > 0 &&
            memcmp(l->records[i - 1].seal_public, r->seal_public, SECAGG_KEY) >= 0)
            return SOTTO_FAIL(err, SOTTO_DENIED, "the list is not in the order of the keys");
    }
    enum sotto_status status = records_distinct(l->records, l->record_count, err);
    for (uint32_t i = 0; status == SOTTO_OK && i < l->record_count; i++) {
        struct peer *p = &c->peers[i];
        status = record_check(&l->records[i], &c->config, &c->identity, p->identity, err);
        p->serial = l->records[i].serial;
        memcpy(p->seal_public, l->records[i].seal_public, SECAGG_KEY);
        memcpy(p->mask_public, l->records[i].mask_public, SECAGG_KEY);
    }
    return status;
}

static enum sotto_status group_init(struct secagg_client *c, const struct list *l,
                                    const struct secagg_graph_params *params,
                                    struct sotto_error *err) {
    c->params = *params;
    c->n = l->n;
    c->own = l->own;
    c->holder_count = params->degree + 1;
    c->holders = mem_array(c->holder_count, sizeof *c->holders);
    c->peers = mem_array(c->holder_count, sizeof *c->peers);
    c->sharers = mem_zalloc(bitmap_bytes(c->n));
    c->survivors = mem_zalloc(bitmap_bytes(c->n));
    if (!c->holders || !c->peers || !c->sharers || !c->survivors)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "group of %u: out of memory", c->n);
    return SOTTO_OK;
}

/* One arena for all that the session will ever hold; the first keys move into it. */
static enum sotto_status secrets_grow(struct secagg_client *c, struct sotto_error *err) {
    const size_t holders = c->holder_count;
    const size_t coefficients = 2 * (size_t)(c->params.threshold - 1) * SECAGG_KEY;
    struct secret_arena big;
    struct secrets s = {0};
    const enum sotto_status status =
        secret_arena_init(&big, 4 * SECAGG_KEY + holders * 6 * SECAGG_KEY + coefficients, err);
    if (status != SOTTO_OK)
        return status;
    s.seal_secret = secret_arena_take(&big, 4 * SECAGG_KEY);
    s.mask_secret = s.seal_secret + SECAGG_KEY;
    s.self = s.mask_secret + SECAGG_KEY;
    s.seed = s.self + SECAGG_KEY;
    s.seal_keys = secret_arena_take(&big, holders * SECAGG_KEY);
    s.mask_keys = secret_arena_take(&big, holders * SECAGG_KEY);
    s.held = secret_arena_take(&big, holders * 2 * SECAGG_KEY);
    s.dealt = secret_arena_take(&big, holders * 2 * SECAGG_KEY);
    s.coefficients = secret_arena_take(&big, coefficients);
    memcpy(s.seal_secret, c->secrets.seal_secret, SECAGG_CLIENT_RANDOM);
    client_wipe(c);
    c->arena = big;
    c->secrets = s;
    return SOTTO_OK;
}

/* Shares of s_sk and b for every holder, sealed for all but the member itself. */
static enum sotto_status deal(struct secagg_client *c, struct buf *out, struct sotto_error *err) {
    const struct secrets *s = &c->secrets;
    const uint32_t t = c->params.threshold, count = c->holder_count;
    uint32_t *points = mem_array(count, sizeof *points);
    if (!points)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "shares for %u: out of memory", count);
    for (uint32_t i = 0; i < count; i++)
        points[i] = c->holders[i] + 1;
    keys_expand(s->seed, s->coefficients, 2 * (size_t)(t - 1) * SECAGG_KEY);
    uint8_t *pair = s->dealt, *self = s->dealt + (size_t)count * SECAGG_KEY;
    shamir_split(s->mask_secret, t, s->coefficients, points, count, pair);
    shamir_split(s->self, t, s->coefficients + (size_t)(t - 1) * SECAGG_KEY, points, count, self);
    mem_free(points);
    msg_put_head(out, SECAGG_SHARES, count, c->session);
    for (uint32_t i = 0; i < count; i++) {
        uint8_t *entry = buf_grow(out, ENTRY_SHARES), both[2 * SECAGG_KEY], prk[SECAGG_KEY];
        if (!entry)
            return SOTTO_FAIL(err, out->status, "shares for %u do not fit", count);
        memcpy(both, pair + (size_t)i * SECAGG_KEY, SECAGG_KEY);
        memcpy(both + SECAGG_KEY, self + (size_t)i * SECAGG_KEY, SECAGG_KEY);
        uint8_t *commits = entry + SEALED_SHARES;
        shamir_commit(c->session, SHARE_PAIR, c->own, c->holders[i], both, commits);
        shamir_commit(c->session, SHARE_SELF, c->own, c->holders[i], both + SECAGG_KEY,
                      commits + SHAMIR_COMMIT);
        if (i == c->own_place) {
            memcpy(s->held + (size_t)i * 2 * SECAGG_KEY, both, sizeof both);
            memset(entry, 0, SEALED_SHARES);
        } else {
            const struct share_context at = {c->session, c->own, c->holders[i], t,
                                             c->params.degree};
            if (!keys_agree(s->seal_secret, c->peers[c->own_place].seal_public,
                            c->peers[i].seal_public, c->session, c->config.terms_hash, prk)) {
                sodium_memzero(both, sizeof both);
                return SOTTO_FAIL(err, SOTTO_DENIED, "member %llu has a key of low order",
                                  (unsigned long long)c->peers[i].serial);
            }
            keys_derive(prk, KDF_SEAL, s->seal_keys + (size_t)i * SECAGG_KEY);
            keys_seal_shares(s->seal_keys + (size_t)i * SECAGG_KEY, &at, commits, both, entry);
            sodium_memzero(prk, sizeof prk);
        }
        sodium_memzero(both, sizeof both);
    }
    sodium_memzero(s->coefficients, 2 * (size_t)(t - 1) * SECAGG_KEY);
    sodium_memzero(s->dealt, (size_t)count * 2 * SECAGG_KEY);
    sodium_memzero(s->seed, SECAGG_KEY);
    sodium_memzero(s->seal_secret, SECAGG_KEY);
    return SOTTO_OK;
}

static enum sotto_status list_take(struct secagg_client *c, struct view message, struct buf *out,
                                   struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct list l = {0};
    struct secagg_graph_params params;
    struct msg_head head;
    struct view body;
    bool done;
    TRY(msg_get_head(message, SECAGG_LIST, c->config.terms_hash, &head, &body, err));
    TRY(client_due(c, SEEN_LIST, message, out, &done, err));
    if (done)
        return SOTTO_OK;
    TRY(list_parse(c, message, &l, &params, err));
    TRY(group_init(c, &l, &params, err));
    l.records = mem_array(l.record_count, sizeof *l.records);
    if (!l.records)
        TRY_FAIL(err, SOTTO_NOMEM, "list of %u: out of memory", l.n);
    TRY(list_bind(c, &l, err));
    TRY(list_check(c, &l, err));
    TRY(secrets_grow(c, err));
    buf_reset(&c->seen[SEEN_LIST].answer);
    /* From here on a failure ends the session: half of its secrets are spent. */
    status = deal(c, &c->seen[SEEN_LIST].answer, err);
    if (status == SOTTO_OK)
        status = client_answer(c, SEEN_LIST, message, out, err);
    if (status != SOTTO_OK) {
        client_wipe(c);
        c->stage = SECAGG_STAGE_REFUSED;
        goto out;
    }
    c->stage = SECAGG_STAGE_DELIVERY;
    c->report.members = c->n;
    c->report.degree = params.degree;
    c->report.threshold = params.threshold;
    c->report.complete = params.complete;
    c->report.minimum = config_minimum(&c->config);
    if (params.complete && params.threshold > c->report.minimum)
        c->report.minimum = params.threshold;
    memcpy(c->report.session, c->session, SECAGG_KEY);
out:
    mem_free(l.records);
    mem_free(l.computed);
    if (status != SOTTO_OK && !c->seen[SEEN_LIST].taken)
        group_reset(c);
    return status;
}

enum sotto_status secagg_client_list(struct secagg_client *c, struct view message, struct buf *out,
                                     struct sotto_error *err) {
    return client_end_if_denied(c, list_take(c, message, out, err));
}

void secagg_client_report(const struct secagg_client *c, struct secagg_client_report *out) {
    *out = c->report;
    out->stage = c->stage;
}
