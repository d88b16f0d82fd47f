/* The coordinator's session: takes each exchange's messages, closes it, and fixes its set. */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "server_int.h"

enum sotto_status secagg_server_new(const struct secagg_config *config,
                                    const struct secagg_identity *identity,
                                    struct secagg_server **out, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct secagg_server *s = NULL;
    TRY(config_check(config, err));
    s = mem_zalloc(sizeof *s);
    if (!s)
        TRY_FAIL(err, SOTTO_NOMEM, "secure group: out of memory");
    s->config = *config;
    s->identity = *identity;
    s->members = mem_array(config->members_max, sizeof *s->members);
    s->by_serial = mem_array(config->members_max, sizeof *s->by_serial);
    if (!s->members || !s->by_serial)
        TRY_FAIL(err, SOTTO_NOMEM, "secure group of %u: out of memory", config->members_max);
    *out = s;
    s = NULL;
out:
    secagg_server_free(s);
    return status;
}

void secagg_server_free(struct secagg_server *s) {
    if (!s)
        return;
    for (uint32_t i = 0; s->members && i < s->n; i++) {
        struct member *m = &s->members[i];
        if (m->unmask)
            sodium_memzero(m->unmask, (size_t)s->holder_count * SECAGG_KEY);
        mem_free(m->record);
        mem_free(m->shares);
        mem_free(m->unmask);
        mem_free(m->unmask_ok);
    }
    secret_arena_deinit(&s->arena);
    mem_free(s->members);
    mem_free(s->by_serial);
    mem_free(s->holders);
    mem_free(s->hashes);
    mem_free(s->sharers);
    mem_free(s->survivors);
    mem_free(s->signers);
    mem_free(s->mask_adds);
    mem_free(s);
}

enum sotto_status server_failed(struct secagg_server *s, struct sotto_error *err) {
    return s->failed ? SOTTO_FAIL(err, SOTTO_STATE, "this secure group has failed") : SOTTO_OK;
}

/* The place of serial in by_serial, or where it belongs. */
static uint32_t serial_place(const struct secagg_server *s, uint64_t serial) {
    uint32_t low = 0, high = s->n;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (s->members[s->by_serial[middle]].serial < serial)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

uint32_t server_index(const struct secagg_server *s, uint64_t serial) {
    const uint32_t place = serial_place(s, serial);
    if (place < s->n && s->members[s->by_serial[place]].serial == serial)
        return s->by_serial[place];
    return UINT32_MAX;
}

void server_record(const struct secagg_server *s, uint32_t member, struct record *out) {
    record_read(view_of(s->members[member].record, record_size(s)), out);
}

/* First bytes hold. *again: they came before. */
static enum sotto_status take_once(struct member *m, enum exchange ex, struct view message,
                                   bool *again, struct sotto_error *err) {
    uint8_t hash[SECAGG_KEY];
    keys_hash("seen", &message, 1, hash);
    *again = m->seen[ex];
    if (*again && memcmp(hash, m->seen_hash[ex], sizeof hash) != 0)
        return SOTTO_FAIL(err, SOTTO_DENIED, "member %llu sends a second message in one exchange",
                          (unsigned long long)m->serial);
    return SOTTO_OK;
}

static void taken(struct member *m, enum exchange ex, struct view message) {
    keys_hash("seen", &message, 1, m->seen_hash[ex]);
    m->seen[ex] = true;
}

/* The member that may speak in this exchange: listed, in the set of the exchange before. */
static enum sotto_status speaker(struct secagg_server *s, enum exchange ex, uint64_t serial,
                                 const uint8_t *set, struct view message, uint32_t *index,
                                 bool *again, struct sotto_error *err) {
    if (s->failed)
        return server_failed(s, err);
    if (s->open < ex)
        return SOTTO_FAIL(err, SOTTO_STATE, "exchange %u is not open yet", (unsigned)ex + 1);
    *index = server_index(s, serial);
    if (*index == UINT32_MAX)
        return SOTTO_FAIL(err, SOTTO_DENIED, "device %llu is no member of this group",
                          (unsigned long long)serial);
    const enum sotto_status status = take_once(&s->members[*index], ex, message, again, err);
    if (status != SOTTO_OK || *again)
        return status;
    if (s->open > ex)
        return SOTTO_FAIL(err, SOTTO_STATE, "exchange %u is over: member %llu comes late",
                          (unsigned)ex + 1, (unsigned long long)serial);
    if (set && !bitmap_get(set, *index))
        return SOTTO_FAIL(err, SOTTO_STATE, "member %llu has dropped out before",
                          (unsigned long long)serial);
    return SOTTO_OK;
}

/* Whether another member's record has one of these keys. */
static bool keys_taken(const struct secagg_server *s, const struct record *r) {
    for (uint32_t i = 0; i < s->n; i++) {
        struct record other;
        server_record(s, i, &other);
        if (memcmp(other.seal_public, r->seal_public, SECAGG_KEY) == 0 ||
            memcmp(other.mask_public, r->mask_public, SECAGG_KEY) == 0 ||
            memcmp(other.seal_public, r->mask_public, SECAGG_KEY) == 0 ||
            memcmp(other.mask_public, r->seal_public, SECAGG_KEY) == 0)
            return true;
    }
    return memcmp(r->seal_public, r->mask_public, SECAGG_KEY) == 0;
}

enum sotto_status secagg_server_advertise(struct secagg_server *s, uint64_t serial,
                                          struct view message, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct msg_head head;
    struct view body;
    struct record r;
    bool again = false;
    uint8_t key[SECAGG_KEY], *copy = NULL;
    TRY(server_failed(s, err));
    const uint32_t known = server_index(s, serial);
    if (known != UINT32_MAX)
        return take_once(&s->members[known], EX_ADVERTISE, message, &again, err);
    if (s->open != EX_ADVERTISE)
        TRY_FAIL(err, SOTTO_STATE, "the group is made already: device %llu comes late",
                 (unsigned long long)serial);
    TRY(msg_get_head(message, SECAGG_ADVERTISE, s->config.terms_hash, &head, &body, err));
    if (head.count != 1 || body.n != record_size(s))
        TRY_FAIL(err, SOTTO_CORRUPT, "a record of %zu bytes, %zu are due", body.n, record_size(s));
    if (s->n == s->config.members_max)
        TRY_FAIL(err, SOTTO_FULL, "the group has its %u members", s->n);
    record_read(body, &r);
    if (r.serial != serial)
        TRY_FAIL(err, SOTTO_DENIED, "device %llu shows the record of %llu",
                 (unsigned long long)serial, (unsigned long long)r.serial);
    TRY(record_check(&r, &s->config, &s->identity, key, err));
    if (keys_taken(s, &r))
        TRY_FAIL(err, SOTTO_DENIED, "device %llu shows a key that is in use",
                 (unsigned long long)serial);
    copy = mem_dup(body.p, body.n);
    if (!copy)
        TRY_FAIL(err, SOTTO_NOMEM, "record: out of memory");
    const uint32_t place = serial_place(s, serial);
    memmove(s->by_serial + place + 1, s->by_serial + place, (s->n - place) * sizeof *s->by_serial);
    s->by_serial[place] = s->n;
    struct member *m = &s->members[s->n++];
    m->serial = serial;
    m->record = copy;
    memcpy(m->identity, key, SECAGG_KEY);
    taken(m, EX_ADVERTISE, message);
out:
    return status;
}

enum sotto_status secagg_server_shares(struct secagg_server *s, uint64_t serial,
                                       struct view message, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct msg_head head;
    struct view body;
    uint32_t index;
    bool again;
    TRY(speaker(s, EX_SHARES, serial, NULL, message, &index, &again, err));
    if (again)
        return SOTTO_OK;
    TRY(msg_get_head(message, SECAGG_SHARES, s->session, &head, &body, err));
    if (head.count != s->holder_count || body.n != (size_t)s->holder_count * ENTRY_SHARES)
        TRY_FAIL(err, SOTTO_CORRUPT, "shares for %u holders in %zu bytes", head.count, body.n);
    struct member *m = &s->members[index];
    m->shares = mem_dup(body.p, body.n);
    if (!m->shares)
        TRY_FAIL(err, SOTTO_NOMEM, "shares: out of memory");
    bitmap_put(s->sharers, index);
    s->sharer_count++;
    taken(m, EX_SHARES, message);
out:
    return status;
}

enum sotto_status secagg_server_masked(struct secagg_server *s, uint64_t serial, struct view head,
                                       uint64_t bytes, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct msg_head h;
    struct view body;
    struct reader r;
    uint32_t index;
    bool again;
    TRY(speaker(s, EX_MASKED, serial, s->sharers, head, &index, &again, err));
    if (again)
        return SOTTO_OK;
    if (head.n != SECAGG_MASKED_HEAD)
        TRY_FAIL(err, SOTTO_CORRUPT, "masked input's head of %zu bytes", head.n);
    TRY(msg_get_head(head, SECAGG_MASKED, s->session, &h, &body, err));
    reader_init(&r, body);
    const uint64_t length = reader_u64(&r, "length");
    const uint32_t bits = reader_u32(&r, "ring"), reserved = reader_u32(&r, "reserved");
    TRY(reader_finish(&r, true, "masked input", err));
    if (h.count != index || length != s->config.length || bits != s->config.ring_bits ||
        reserved != 0 || bytes != secagg_message_max(&s->config, SECAGG_MASKED))
        TRY_FAIL(err, SOTTO_CORRUPT,
                 "masked input of member %llu: %llu coordinates of %u bits in %llu bytes",
                 (unsigned long long)serial, (unsigned long long)length, bits,
                 (unsigned long long)bytes);
    bitmap_put(s->survivors, index);
    s->survivor_count++;
    taken(&s->members[index], EX_MASKED, head);
out:
    return status;
}

enum sotto_status secagg_server_signature(struct secagg_server *s, uint64_t serial,
                                          struct view message, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct msg_head head;
    struct view body;
    struct buf signed_bytes;
    uint32_t index;
    bool again;
    buf_init(&signed_bytes, SECAGG_KEY + bitmap_bytes(SECAGG_MEMBERS_MAX));
    TRY(speaker(s, EX_SIGNATURE, serial, s->survivors, message, &index, &again, err));
    if (again)
        goto out;
    TRY(msg_get_head(message, SECAGG_SIGNATURE, s->session, &head, &body, err));
    if (head.count != 1 || body.n != SECAGG_SIG)
        TRY_FAIL(err, SOTTO_CORRUPT, "a signature of %zu bytes", body.n);
    struct member *m = &s->members[index];
    buf_put(&signed_bytes, s->session, SECAGG_KEY);
    buf_put(&signed_bytes, s->survivors, bitmap_bytes(s->n));
    if (signed_bytes.status != SOTTO_OK)
        TRY_FAIL(err, signed_bytes.status, "signature: out of memory");
    if (s->identity.verify(s->identity.ctx, m->identity, SECAGG_LABEL_SURVIVORS,
                           buf_view(&signed_bytes), body.p, err) != SOTTO_OK)
        TRY_FAIL(err, SOTTO_DENIED, "member %llu's signature is not over these survivors",
                 (unsigned long long)serial);
    memcpy(m->signature, body.p, SECAGG_SIG);
    bitmap_put(s->signers, index);
    s->signer_count++;
    taken(m, EX_SIGNATURE, message);
out:
    buf_deinit(&signed_bytes);
    return status;
}

/* Takes one share into the holder's answer; false when it is not what the dealer committed to. */
static bool unmask_entry(struct secagg_server *s, uint32_t holder, uint32_t dealer, uint32_t kind,
                         const uint8_t *share) {
    struct member *m = &s->members[holder];
    const uint32_t place = holder_place(holders_of(s, holder), s->holder_count, dealer);
    const uint32_t back = holder_place(holders_of(s, dealer), s->holder_count, holder);
    uint8_t commit[SHAMIR_COMMIT];
    shamir_commit(s->session, kind, dealer, holder, share, commit);
    if (memcmp(commit, commit_of(s, dealer, back, kind), sizeof commit) != 0)
        return false;
    memcpy(m->unmask + (size_t)place * SECAGG_KEY, share, SECAGG_KEY);
    m->unmask_ok[place] = 1;
    s->members[dealer].opens++;
    return true;
}

/* All entries have their form: ascending dealers that shared, each with the kind that its fate
 * asks for. */
static enum sotto_status unmask_check(const struct secagg_server *s, uint32_t holder,
                                      struct view entries, uint32_t count,
                                      struct sotto_error *err) {
    uint32_t last = 0;
    struct reader r;
    reader_init(&r, entries);
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t dealer = reader_u32(&r, "dealer"), kind = reader_u32(&r, "kind");
        (void)reader_bytes(&r, SECAGG_KEY, "share");
        if (r.status != SOTTO_OK || dealer >= s->n || (i > 0 && dealer <= last) ||
            !bitmap_get(s->sharers, dealer) ||
            holder_place(holders_of(s, holder), s->holder_count, dealer) == UINT32_MAX ||
            kind != (bitmap_get(s->survivors, dealer) ? SHARE_SELF : SHARE_PAIR))
            return SOTTO_FAIL(err, SOTTO_CORRUPT, "share %u of member %llu is not asked for", i,
                              (unsigned long long)s->members[holder].serial);
        last = dealer;
    }
    return SOTTO_OK;
}

enum sotto_status secagg_server_unmask(struct secagg_server *s, uint64_t serial,
                                       struct view message, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct msg_head head;
    struct view body;
    uint32_t index, bad = 0;
    bool again;
    TRY(speaker(s, EX_UNMASK, serial, s->survivors, message, &index, &again, err));
    if (again)
        return SOTTO_OK;
    TRY(msg_get_head(message, SECAGG_UNMASK, s->session, &head, &body, err));
    if (head.count > s->holder_count || body.n != (size_t)head.count * ENTRY_UNMASK)
        TRY_FAIL(err, SOTTO_CORRUPT, "%u shares in %zu bytes", head.count, body.n);
    TRY(unmask_check(s, index, body, head.count, err));
    struct member *m = &s->members[index];
    m->unmask = mem_array(s->holder_count, SECAGG_KEY);
    m->unmask_ok = mem_zalloc(s->holder_count);
    if (!m->unmask || !m->unmask_ok) {
        mem_free(m->unmask);
        mem_free(m->unmask_ok);
        m->unmask = m->unmask_ok = NULL;
        TRY_FAIL(err, SOTTO_NOMEM, "unmasking: out of memory");
    }
    struct reader r;
    reader_init(&r, body);
    for (uint32_t i = 0; i < head.count; i++) {
        const uint32_t dealer = reader_u32(&r, "dealer"), kind = reader_u32(&r, "kind");
        bad += !unmask_entry(s, index, dealer, kind, reader_bytes(&r, SECAGG_KEY, "share").p);
    }
    taken(m, EX_UNMASK, message);
    s->unmasker_count++;
    s->bad_shares += bad;
    if (bad > 0)
        status = SOTTO_FAIL(err, SOTTO_CORRUPT, "member %llu gave %u bad shares",
                            (unsigned long long)serial, bad);
out:
    return status;
}

void secagg_server_report(const struct secagg_server *s, struct secagg_server_report *out) {
    *out = (struct secagg_server_report){
        .members = s->n,
        .sharers = s->sharer_count,
        .survivors = s->survivor_count,
        .signers = s->signer_count,
        .unmaskers = s->unmasker_count,
        .degree = s->params.degree,
        .threshold = s->params.threshold,
        .minimum = config_minimum(&s->config),
        .complete = s->params.complete,
        .bad_shares = s->bad_shares,
        .mask_streams = s->mask_count,
        .failed = s->failed,
    };
    if (s->params.complete && s->params.threshold > out->minimum)
        out->minimum = s->params.threshold;
    memcpy(out->session, s->session, SECAGG_KEY);
}

uint32_t secagg_server_set(const struct secagg_server *s, enum secagg_kind which, uint64_t *serials,
                           uint32_t cap) {
    const uint8_t *set = which == SECAGG_SHARES      ? s->sharers
                         : which == SECAGG_MASKED    ? s->survivors
                         : which == SECAGG_SIGNATURE ? s->signers
                                                     : NULL;
    uint32_t count = 0;
    if (which != SECAGG_ADVERTISE && !set)
        return 0;
    for (uint32_t i = 0; i < s->n; i++) {
        if (set && !bitmap_get(set, i))
            continue;
        if (count < cap)
            serials[count] = s->members[i].serial;
        count++;
    }
    return count;
}
