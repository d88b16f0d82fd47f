/* Seconds, bytes and memory of secure aggregation. Ten members of each group do full work; the
 * others hold real keys, deal real shares and send uniform vectors, so that the coordinator's work
 * is real. bench_secagg [--full] [--clients N] [--dropout D] [--json] */
#include <math.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "secagg/secagg_int.h"

enum { FULL = 10, CERT = 304 };

struct bench_member {
    uint64_t serial;
    uint8_t key[32], secret[64]; /* Ed25519 */
    uint8_t seal_secret[32], mask_secret[32], self[32];
    uint8_t record[RECORD_FIXED + CERT];
    uint8_t *dealt;               /* shares of s_sk, then of b, 32 a holder */
    struct secagg_client *client; /* of the first FULL members */
    uint64_t client_ns;
    uint64_t bytes_up, bytes_down;
    bool drops;
};
struct bench {
    struct secagg_config config;
    uint32_t n;
    double dropout;
    struct bench_member *members;
    uint32_t *index; /* of each member in the group's order */
    uint32_t *member_at;
    struct ring_graph graph;
    struct secagg_graph_params params;
    uint8_t session[32];
    struct secagg_server *server;
    struct pool *pool;
    uint64_t server_ns, unmask_ns, server_cpu_ns;
    uint32_t *sum, *values;
    struct buf full_shares[FULL]; /* what the full members dealt */
};
struct result {
    double server_s, server_cpu_s, unmask_s, client_s, memory_mib, share;
    uint64_t up, down;
};

/* ---- Bytes that the server holds: a counting allocator ---- */

struct block_head {
    size_t size;
    bool server;
};
static atomic_bool in_server;
static atomic_size_t server_bytes, server_peak;

static void count(size_t size) {
    const size_t now = atomic_fetch_add(&server_bytes, size) + size;
    size_t peak = atomic_load(&server_peak);
    while (now > peak && !atomic_compare_exchange_weak(&server_peak, &peak, now))
        ;
}

static void *count_alloc(void *ctx, size_t size) {
    struct block_head *h = malloc(size + sizeof *h);
    (void)ctx;
    if (!h)
        return NULL;
    *h = (struct block_head){size, atomic_load(&in_server)};
    if (h->server)
        count(size);
    return h + 1;
}

static void count_release(void *ctx, void *p) {
    struct block_head *h = p ? (struct block_head *)p - 1 : NULL;
    (void)ctx;
    if (h && h->server)
        atomic_fetch_sub(&server_bytes, h->size);
    free(h);
}

static void *count_resize(void *ctx, void *p, size_t size) {
    if (!p)
        return count_alloc(ctx, size);
    const struct block_head *old = (struct block_head *)p - 1;
    void *fresh = count_alloc(ctx, size);
    if (!fresh)
        return NULL;
    memcpy(fresh, p, old->size < size ? old->size : size);
    count_release(ctx, p);
    return fresh;
}

/* ---- Identities, and work over cores ---- */

static void must(enum sotto_status status, const struct sotto_error *err) {
    if (status == SOTTO_OK)
        return;
    fprintf(stderr, "bench_secagg: %s\n", err ? err->message : sotto_status_text(status));
    exit(1);
}

static uint8_t authority_public[32], authority_secret[64];

static enum sotto_status verify(void *ctx, const uint8_t key[32], const char *label,
                                struct view body, const uint8_t sig[64], struct sotto_error *err) {
    crypto_sign_state st;
    uint8_t copy[64];
    (void)ctx;
    memcpy(copy, sig, sizeof copy);
    crypto_sign_init(&st);
    crypto_sign_update(&st, (const uint8_t *)label, strlen(label));
    crypto_sign_update(&st, body.p, body.n);
    if (crypto_sign_final_verify(&st, copy, key) != 0)
        return SOTTO_FAIL(err, SOTTO_DENIED, "signature does not hold");
    return SOTTO_OK;
}

static void sign_with(const uint8_t secret[64], const char *label, struct view body,
                      uint8_t sig[64]) {
    crypto_sign_state st;
    crypto_sign_init(&st);
    crypto_sign_update(&st, (const uint8_t *)label, strlen(label));
    crypto_sign_update(&st, body.p, body.n);
    crypto_sign_final_create(&st, sig, NULL, secret);
}

static enum sotto_status sign(void *ctx, const char *label, struct view body, uint8_t sig[64],
                              struct sotto_error *err) {
    (void)err;
    sign_with(((struct bench_member *)ctx)->secret, label, body, sig);
    return SOTTO_OK;
}

/* A chain of two signatures, as a device certificate has. */
static enum sotto_status certify(void *ctx, uint64_t serial, struct view c, uint8_t key[32],
                                 struct sotto_error *err) {
    (void)serial;
    memcpy(key, c.p, 32);
    const enum sotto_status status =
        verify(ctx, authority_public, "ticket", view_of(c.p, 40), c.p + 40, err);
    return status == SOTTO_OK
               ? verify(ctx, authority_public, "device", view_of(c.p, 40), c.p + 104, err)
               : status;
}

struct shared_jobs {
    atomic_size_t next;
    size_t count;
    secagg_job *job;
    void *ctx;
};

static void work(void *ctx, unsigned worker) {
    struct shared_jobs *s = ctx;
    (void)worker;
    for (size_t i; (i = atomic_fetch_add(&s->next, 1)) < s->count;)
        s->job(s->ctx, i);
}

static void run_parallel(void *ctx, size_t jobs, secagg_job *job, void *job_ctx) {
    struct pool *pool = ctx;
    struct shared_jobs s = {.count = jobs, .job = job, .ctx = job_ctx};
    for (unsigned i = 0; i < pool_workers(pool); i++)
        must(pool_submit(pool, work, &s), NULL);
    pool_wait(pool);
}

static uint64_t process_cpu_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Server calls use all cores: timed by the wall, and by the CPU time of the whole process. */
#define SERVER(b, call)                                                                            \
    do {                                                                                           \
        struct sotto_error err_ = SOTTO_ERROR_INIT, *err = &err_;                                  \
        atomic_store(&in_server, true);                                                            \
        const uint64_t start_ = clock_mono_ns(), cpu_ = process_cpu_ns();                          \
        must((call), err);                                                                         \
        (b)->server_ns += clock_mono_ns() - start_;                                                \
        (b)->server_cpu_ns += process_cpu_ns() - cpu_;                                             \
        atomic_store(&in_server, false);                                                           \
    } while (0)
#define CLIENT(m, call)                                                                            \
    do {                                                                                           \
        struct sotto_error err_ = SOTTO_ERROR_INIT, *err = &err_;                                  \
        const uint64_t start_ = clock_thread_cpu_ns();                                             \
        must((call), err);                                                                         \
        (m)->client_ns += clock_thread_cpu_ns() - start_;                                          \
    } while (0)

static struct secagg_identity identity_of(struct bench_member *m) {
    return (struct secagg_identity){m, certify, verify, sign};
}

/* ---- The exchanges ---- */

static void make_member(struct bench *b, uint32_t i) {
    struct bench_member *m = &b->members[i];
    uint8_t certificate[CERT] = {0}, body[RECORD_SIGNED], random[SECAGG_CLIENT_RANDOM];
    struct record r;
    m->serial = i + 1;
    crypto_sign_keypair(m->key, m->secret);
    randombytes_buf(random, sizeof random);
    memcpy(m->seal_secret, random, 32);
    memcpy(m->mask_secret, random + 32, 32);
    memcpy(m->self, random + 64, 32);
    memcpy(certificate, m->key, 32);
    memcpy(certificate + 32, &m->serial, 8);
    sign_with(authority_secret, "ticket", view_of(certificate, 40), certificate + 40);
    sign_with(authority_secret, "device", view_of(certificate, 40), certificate + 104);
    uint8_t *p = m->record;
    memcpy(p, &m->serial, 8);
    crypto_scalarmult_base(p + 8, m->seal_secret);
    crypto_scalarmult_base(p + 40, m->mask_secret);
    keys_commit_self(m->self, p + 72);
    memcpy(p + RECORD_FIXED, certificate, CERT);
    record_read(view_of(p, sizeof m->record), &r);
    record_signed(&r, b->config.terms_hash, body);
    sign_with(m->secret, SECAGG_LABEL_RECORD, view_of(body, sizeof body), p + 104);
    if (i < FULL) {
        const struct secagg_identity id = identity_of(m);
        CLIENT(m, secagg_client_new(&b->config, &id, m->serial, view_of(certificate, CERT), random,
                                    false, &m->client, err));
    }
}

static int by_key(const void *a, const void *b) {
    return memcmp((*(struct bench_member *const *)a)->record + 8,
                  (*(struct bench_member *const *)b)->record + 8, 32);
}

/* The order, session and graph, as every member computes them. */
static void order(struct bench *b) {
    struct bench_member **sorted = mem_array(b->n, sizeof *sorted);
    uint8_t *hashes = mem_array(b->n, 32), seed[32];
    for (uint32_t i = 0; i < b->n; i++)
        sorted[i] = &b->members[i];
    qsort(sorted, b->n, sizeof *sorted, by_key);
    for (uint32_t i = 0; i < b->n; i++) {
        b->member_at[i] = (uint32_t)(sorted[i] - b->members);
        b->index[b->member_at[i]] = i;
        record_hash(view_of(sorted[i]->record, sizeof sorted[i]->record), hashes + (size_t)i * 32);
    }
    session_id(b->config.terms_hash, hashes, b->n, b->session);
    session_graph_seed(b->session, seed);
    must(ring_graph_init(&b->graph, b->n, b->params.degree, seed, NULL), NULL);
    mem_free(sorted);
    mem_free(hashes);
}

/* The others deal shares as a client would, and seal those that a full member will open. */
static void deal(struct bench *b, uint32_t i, struct buf *out) {
    struct bench_member *m = &b->members[i];
    const uint32_t count = b->params.degree + 1, t = b->params.threshold;
    uint32_t *holders = mem_array(count, sizeof *holders);
    uint8_t *coefficients = mem_array((size_t)(t - 1) * 2, 32), prk[32], key[32], both[64];
    m->dealt = mem_array((size_t)count * 2, 32);
    randombytes_buf(coefficients, (size_t)(t - 1) * 64);
    ring_graph_holders(&b->graph, b->index[i], holders);
    for (uint32_t h = 0; h < count; h++)
        holders[h]++; /* points */
    shamir_split(m->mask_secret, t, coefficients, holders, count, m->dealt);
    shamir_split(m->self, t, coefficients + (size_t)(t - 1) * 32, holders, count,
                 m->dealt + (size_t)count * 32);
    msg_put_head(out, SECAGG_SHARES, count, b->session);
    for (uint32_t h = 0; h < count; h++) {
        uint8_t *entry = buf_grow(out, ENTRY_SHARES);
        const uint32_t holder = holders[h] - 1, other = b->member_at[holder];
        memcpy(both, m->dealt + (size_t)h * 32, 32);
        memcpy(both + 32, m->dealt + (size_t)(count + h) * 32, 32);
        shamir_commit(b->session, SHARE_PAIR, b->index[i], holder, both, entry + SEALED_SHARES);
        shamir_commit(b->session, SHARE_SELF, b->index[i], holder, both + 32,
                      entry + SEALED_SHARES + SHAMIR_COMMIT);
        randombytes_buf(entry, SEALED_SHARES);
        if (other >= FULL)
            continue;
        const struct share_context at = {b->session, b->index[i], holder, t, b->params.degree};
        keys_agree(m->seal_secret, m->record + 8, b->members[other].record + 8, b->session,
                   b->config.terms_hash, prk);
        keys_derive(prk, KDF_SEAL, key);
        keys_seal_shares(key, &at, entry + SEALED_SHARES, both, entry);
    }
    mem_free(holders);
    mem_free(coefficients);
}

static void shares(struct bench *b) {
    struct buf in, out;
    buf_init(&in, SIZE_MAX / 2);
    buf_init(&out, SIZE_MAX / 2);
    for (uint32_t i = 0; i < b->n; i++) {
        struct bench_member *m = &b->members[i];
        buf_reset(&in);
        buf_reset(&out);
        SERVER(b, secagg_server_message(b->server, SECAGG_LIST, m->serial, &in, err));
        if (m->client)
            CLIENT(m, secagg_client_list(m->client, buf_view(&in), &out, err));
        else
            deal(b, i, &out);
        if (m->client) {
            buf_init(&b->full_shares[i], SIZE_MAX / 2);
            buf_put(&b->full_shares[i], out.data, out.len);
        }
        m->bytes_down += in.len;
        m->bytes_up += out.len;
        SERVER(b, secagg_server_shares(b->server, m->serial, buf_view(&out), err));
    }
    SERVER(b, secagg_server_close(b->server, SECAGG_SHARES, err));
    buf_deinit(&in);
    buf_deinit(&out);
}

static void masked(struct bench *b) {
    const size_t length = (size_t)b->config.length;
    struct buf in, out;
    buf_init(&in, SIZE_MAX / 2);
    buf_init(&out, SIZE_MAX / 2);
    for (uint32_t i = 0; i < b->n; i++) {
        struct bench_member *m = &b->members[i];
        if (m->drops)
            continue;
        buf_reset(&in);
        buf_reset(&out);
        SERVER(b, secagg_server_message(b->server, SECAGG_DELIVERY, m->serial, &in, err));
        if (m->client) {
            CLIENT(m, secagg_client_delivery(m->client, buf_view(&in), err));
            CLIENT(m, secagg_client_mask(m->client, 0, b->values, length, &out, err));
        } else {
            msg_put_head(&out, SECAGG_MASKED, b->index[i], b->session);
            buf_put_u64(&out, length);
            buf_put_u64(&out, b->config.ring_bits);
            randombytes_buf(buf_grow(&out, secagg_ring_bytes(b->config.ring_bits, length)),
                            secagg_ring_bytes(b->config.ring_bits, length));
        }
        m->bytes_down += in.len;
        m->bytes_up += out.len;
        SERVER(b, secagg_server_masked(b->server, m->serial, view_of(out.data, SECAGG_MASKED_HEAD),
                                       out.len, err));
        const uint64_t start = clock_mono_ns(), cpu = process_cpu_ns();
        secagg_ring_add(b->config.ring_bits, b->sum, out.data + SECAGG_MASKED_HEAD, length);
        b->server_ns += clock_mono_ns() - start;
        b->server_cpu_ns += process_cpu_ns() - cpu;
    }
    SERVER(b, secagg_server_close(b->server, SECAGG_MASKED, err));
    buf_deinit(&in);
    buf_deinit(&out);
}

static void signatures(struct bench *b) {
    struct buf in, out, body;
    buf_init(&in, SIZE_MAX / 2);
    buf_init(&out, SIZE_MAX / 2);
    buf_init(&body, SIZE_MAX / 2);
    for (uint32_t i = 0; i < b->n; i++) {
        struct bench_member *m = &b->members[i];
        if (m->drops)
            continue;
        buf_reset(&in);
        buf_reset(&out);
        SERVER(b, secagg_server_message(b->server, SECAGG_SURVIVORS, m->serial, &in, err));
        if (m->client) {
            CLIENT(m, secagg_client_survivors(m->client, buf_view(&in), &out, err));
        } else {
            uint8_t sig[64];
            buf_reset(&body);
            buf_put(&body, b->session, 32);
            buf_put(&body, in.data + MSG_HEAD, in.len - MSG_HEAD);
            sign_with(m->secret, SECAGG_LABEL_SURVIVORS, buf_view(&body), sig);
            msg_put_head(&out, SECAGG_SIGNATURE, 1, b->session);
            buf_put(&out, sig, sizeof sig);
        }
        m->bytes_down += in.len;
        m->bytes_up += out.len;
        SERVER(b, secagg_server_signature(b->server, m->serial, buf_view(&out), err));
    }
    SERVER(b, secagg_server_close(b->server, SECAGG_SIGNATURE, err));
    buf_deinit(&in);
    buf_deinit(&out);
    buf_deinit(&body);
}

/* What member i holds of a dealer: out of the deal, or opened when the dealer is a full member. */
static void held_share(const struct bench *b, uint32_t i, uint32_t dealer, size_t place,
                       uint8_t share[32]) {
    const struct bench_member *m = &b->members[i], *d = &b->members[b->member_at[dealer]];
    const size_t count = b->params.degree + 1;
    uint8_t prk[32], key[32], both[64];
    if (!d->client) {
        memcpy(share, d->dealt + (place + (d->drops ? 0 : count)) * 32, 32);
        return;
    }
    const uint8_t *entry = b->full_shares[d - b->members].data + MSG_HEAD + place * ENTRY_SHARES;
    const struct share_context at = {b->session, dealer, b->index[i], b->params.threshold,
                                     b->params.degree};
    if (!keys_agree(m->seal_secret, m->record + 8, d->record + 8, b->session, b->config.terms_hash,
                    prk))
        must(SOTTO_INTERNAL, NULL);
    keys_derive(prk, KDF_SEAL, key);
    if (!keys_open_shares(key, &at, entry + SEALED_SHARES, entry, both))
        must(SOTTO_INTERNAL, NULL);
    memcpy(share, both + (d->drops ? 0 : 32), 32);
}

static void give_back(const struct bench *b, uint32_t i, struct buf *out) {
    const uint32_t count = b->params.degree + 1;
    uint32_t *dealers = mem_array(count, sizeof *dealers), *back = mem_array(count, sizeof *back);
    ring_graph_holders(&b->graph, b->index[i], dealers);
    msg_put_head(out, SECAGG_UNMASK, count, b->session);
    for (uint32_t d = 0; d < count; d++) {
        uint8_t share[32];
        ring_graph_holders(&b->graph, dealers[d], back);
        held_share(b, i, dealers[d], holder_place(back, count, b->index[i]), share);
        buf_put_u32(out, dealers[d]);
        buf_put_u32(out, b->members[b->member_at[dealers[d]]].drops ? SHARE_PAIR : SHARE_SELF);
        buf_put(out, share, sizeof share);
    }
    mem_free(dealers);
    mem_free(back);
}

static void unmask(struct bench *b) {
    const struct secagg_parallel par = {b->pool, run_parallel};
    struct buf in, out;
    buf_init(&in, SIZE_MAX / 2);
    buf_init(&out, SIZE_MAX / 2);
    for (uint32_t i = 0; i < b->n; i++) {
        struct bench_member *m = &b->members[i];
        if (m->drops)
            continue;
        buf_reset(&in);
        buf_reset(&out);
        SERVER(b, secagg_server_message(b->server, SECAGG_SIGNATURES, m->serial, &in, err));
        if (m->client)
            CLIENT(m, secagg_client_signatures(m->client, buf_view(&in), &out, err));
        else
            give_back(b, i, &out);
        m->bytes_down += in.len;
        m->bytes_up += out.len;
        SERVER(b, secagg_server_unmask(b->server, m->serial, buf_view(&out), err));
    }
    SERVER(b, secagg_server_close(b->server, SECAGG_UNMASK, err));
    const uint64_t before = b->server_ns;
    SERVER(b, secagg_server_open(b->server, &par, err));
    SERVER(b, secagg_server_reveal(b->server, b->sum, 0, (size_t)b->config.length, &par, err));
    b->unmask_ns = b->server_ns - before;
    buf_deinit(&in);
    buf_deinit(&out);
}

/* Rate of masks against that of the bare stream: best of several, this thread's CPU time. */
static double mask_share(unsigned bits) {
    enum { COUNT = 1 << 18, TIMES = 12 };
    static uint32_t acc[COUNT];
    static uint8_t stream[COUNT * 4];
    const uint8_t key[32] = {1}, nonce[8] = {0};
    uint64_t bare = UINT64_MAX, mask = UINT64_MAX;
    for (int k = 0; k < TIMES; k++) {
        uint64_t start = clock_thread_cpu_ns();
        /* In pieces that stay in the cache, the stream's own best case. */
        for (size_t at = 0; at < secagg_ring_bytes(bits, COUNT); at += 4096)
            (void)crypto_stream_chacha20(stream, 4096, nonce, key);
        bare = num_min_u64(bare, clock_thread_cpu_ns() - start);
        start = clock_thread_cpu_ns();
        mask_apply(bits, key, true, 0, acc, COUNT);
        mask = num_min_u64(mask, clock_thread_cpu_ns() - start);
    }
    return (double)bare / (double)mask;
}

static void bench_init(struct bench *b, uint32_t n, uint64_t length, double dropout,
                       enum secagg_adversary adversary, struct pool *pool) {
    struct sotto_error problem = SOTTO_ERROR_INIT;
    const double delta = dropout > 0 ? dropout : 0.05;
    *b = (struct bench){.n = n, .dropout = dropout, .pool = pool};
    b->config = (struct secagg_config){.ring_bits = 16,
                                       .length = length,
                                       .members_max = n,
                                       .members_min = SECAGG_MEMBERS_MIN,
                                       .cert_bytes = CERT,
                                       .adversary = adversary,
                                       .gamma = 0.05,
                                       .delta = delta};
    must(secagg_group_params(n, 0.05, delta, adversary, &b->params, &problem), &problem);
    b->members = mem_array(n, sizeof *b->members);
    b->index = mem_array(n, sizeof *b->index);
    b->member_at = mem_array(n, sizeof *b->member_at);
    b->values = mem_array((size_t)length, sizeof *b->values);
    atomic_store(&server_peak, 0);
    atomic_store(&in_server, true);
    b->sum = mem_array((size_t)length, sizeof *b->sum);
    atomic_store(&in_server, false);
    if (!b->members || !b->index || !b->member_at || !b->values || !b->sum)
        must(SOTTO_NOMEM, NULL);
    for (uint32_t i = 0; i < n; i++)
        make_member(b, i);
    for (uint32_t left = (uint32_t)(dropout * n), i = n - 1; left > 0; left--, i--)
        b->members[i].drops = true; /* serials and keys are unrelated: as good as any */
    const struct secagg_identity id = identity_of(&b->members[0]);
    SERVER(b, secagg_server_new(&b->config, &id, &b->server, err));
}

static void bench_deinit(struct bench *b) {
    for (uint32_t i = 0; i < b->n; i++) {
        secagg_client_free(b->members[i].client);
        mem_free(b->members[i].dealt);
    }
    for (uint32_t i = 0; i < FULL; i++)
        buf_deinit(&b->full_shares[i]);
    secagg_server_free(b->server);
    ring_graph_deinit(&b->graph);
    mem_free(b->members);
    mem_free(b->index);
    mem_free(b->member_at);
    mem_free(b->values);
    mem_free(b->sum);
}

static struct result run_case(uint32_t n, uint64_t length, double dropout,
                              enum secagg_adversary adversary, struct pool *pool,
                              struct secagg_graph_params *params) {
    struct bench b;
    struct result r = {0};
    struct buf out;
    bench_init(&b, n, length, dropout, adversary, pool);
    buf_init(&out, SIZE_MAX / 2);
    for (uint32_t i = 0; i < n; i++) {
        struct bench_member *m = &b.members[i];
        buf_reset(&out);
        if (m->client)
            CLIENT(m, secagg_client_advertise(m->client, &out, err));
        else {
            msg_put_head(&out, SECAGG_ADVERTISE, 1, b.config.terms_hash);
            buf_put(&out, m->record, sizeof m->record);
        }
        m->bytes_up += out.len;
        SERVER(&b, secagg_server_advertise(b.server, m->serial, buf_view(&out), err));
    }
    SERVER(&b, secagg_server_close(b.server, SECAGG_ADVERTISE, err));
    buf_deinit(&out);
    order(&b);
    shares(&b);
    masked(&b);
    signatures(&b);
    unmask(&b);
    struct secagg_server_report report;
    secagg_server_report(b.server, &report);
    for (uint32_t i = 0; i < FULL; i++) {
        r.client_s += (double)b.members[i].client_ns * 1e-9 / FULL;
        r.up += b.members[i].bytes_up / FULL;
        r.down += b.members[i].bytes_down / FULL;
    }
    r.server_s = (double)b.server_ns * 1e-9;
    r.server_cpu_s = (double)b.server_cpu_ns * 1e-9;
    r.unmask_s = (double)b.unmask_ns * 1e-9;
    r.memory_mib =
        ((double)atomic_load(&server_peak) + (double)report.mask_streams * 32) / 1048576.0;
    r.share = mask_share(16);
    *params = b.params;
    bench_deinit(&b);
    return r;
}

static void print_case(bool json, uint32_t groups, uint32_t n, uint64_t length, double dropout,
                       enum secagg_adversary adversary, const struct secagg_graph_params *p,
                       const struct result *r) {
    const char *name = p->complete                   ? "cheating"
                       : adversary == SECAGG_CURIOUS ? "curious"
                                                     : "semi-malicious";
    if (json)
        printf("{\"clients\":%u,\"groups\":%u,\"dimension\":%llu,\"dropout\":%.2f,"
               "\"adversary\":\"%s\",\"degree\":%u,\"threshold\":%u,\"ring_bits\":16,"
               "\"server_seconds\":%.3f,\"server_cpu_seconds\":%.3f,\"unmask_seconds\":%.3f,"
               "\"client_seconds\":%.4f,"
               "\"bytes_up_per_client\":%llu,\"bytes_down_per_client\":%llu,"
               "\"server_rss_mib\":%.1f,\"mask_share_of_chacha20\":%.3f}\n",
               n * groups, groups, (unsigned long long)length, dropout, name, p->degree,
               p->threshold, r->server_s, r->server_cpu_s, r->unmask_s, r->client_s,
               (unsigned long long)r->up, (unsigned long long)r->down, r->memory_mib, r->share);
    else
        printf("%3u x %5u %8llu %5.0f%%  %-14s %6u %9u %9.3f %9.3f %9.3f %9.4f %9llu %9llu %8.1f "
               "%6.2f\n",
               groups, n, (unsigned long long)length, dropout * 100, name, p->degree, p->threshold,
               r->server_s, r->server_cpu_s, r->unmask_s, r->client_s, (unsigned long long)r->up,
               (unsigned long long)r->down, r->memory_mib, r->share);
    fflush(stdout);
}

struct options {
    bool json, full;
    uint64_t clients;
    double dropout;
};

static void options_read(struct options *o, int argc, char **argv) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    *o = (struct options){.dropout = -1};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            o->json = true;
        else if (strcmp(argv[i], "--full") == 0)
            o->full = true;
        else if (strcmp(argv[i], "--clients") == 0 && i + 1 < argc)
            must(num_parse_u64(argv[++i], 1, 100000, &o->clients, &err), &err);
        else if (strcmp(argv[i], "--dropout") == 0 && i + 1 < argc)
            must(num_parse_f64(argv[++i], 0, 0.3, &o->dropout, &err), &err);
        else {
            fprintf(stderr,
                    "usage: bench_secagg [--full] [--clients N] [--dropout 0..0.3] [--json]\n");
            exit(2);
        }
    }
}

/* One line; groups > 1: so many groups of n, one after the other. */
static void line(const struct options *o, struct pool *pool, uint32_t groups, uint32_t n,
                 uint64_t length, double dropout, enum secagg_adversary adversary) {
    struct secagg_graph_params params;
    if ((o->clients != 0 && o->clients != (uint64_t)n * groups) ||
        (o->dropout >= 0 && fabs(o->dropout - dropout) > 1e-9))
        return;
    struct result r = run_case(n, length, dropout, adversary, pool, &params);
    for (uint32_t g = 1; g < groups; g++) {
        const struct result next = run_case(n, length, dropout, adversary, pool, &params);
        r.server_s += next.server_s;
        r.server_cpu_s += next.server_cpu_s;
        r.unmask_s += next.unmask_s;
    }
    print_case(o->json, groups, n, length, dropout, adversary, &params, &r);
}

int main(int argc, char **argv) {
    static const double dropouts[] = {0, 0.1, 0.3};
    static const struct mem_hooks hooks = {count_alloc, count_resize, count_release, NULL};
    struct options o;
    uint8_t seed[32] = {1};
    if (sodium_init() < 0)
        return 1;
    options_read(&o, argc, argv);
    mem_set_hooks(&hooks);
    crypto_sign_seed_keypair(authority_public, authority_secret, seed);
    struct pool *pool = pool_new(pool_cpu_count(), 64);
    if (!pool)
        return 1;
    if (!o.json)
        printf("%u cores; server and unmask: wall seconds; cpu: the server's on all cores; client: "
               "CPU seconds of one\n"
               "  groups x n       d  drops  holds against  degree threshold    server       cpu   "
               " unmask"
               "    client  bytes up bytes down   MiB mask/stream\n",
               pool_workers(pool));
    for (size_t length = 100000; length <= (o.full ? 1000000 : 100000); length *= 10)
        for (size_t k = 0; k < ARRAY_LEN(dropouts); k++) {
            line(&o, pool, 1, 100, length, dropouts[k], SECAGG_CURIOUS);
            line(&o, pool, 5, 200, length, dropouts[k], SECAGG_CURIOUS);
            for (uint32_t n = 500; n <= (o.full ? 10000 : 1000); n = n == 1000 ? 10000 : n * 2) {
                line(&o, pool, 1, n, length, dropouts[k], SECAGG_CURIOUS);
                line(&o, pool, 1, n, length, dropouts[k], SECAGG_SEMI_MALICIOUS);
            }
        }
    pool_free(pool);
    return 0;
}
