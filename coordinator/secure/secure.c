/* One secure group at the coordinator: messages in, and the sum of the survivors' inputs out. */
#include "sotto/coordinator/secure.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "sotto/protocol/tap.h"

enum sotto_status secure_take(struct secagg_server *s, enum secagg_kind kind, uint64_t serial,
                              struct view message, uint64_t bytes, bool *taken,
                              struct sotto_error *err) {
    struct secagg_server_report before, after;
    enum sotto_status status;
    *taken = false;
    secagg_server_report(s, &before);
    switch (kind) {
    case SECAGG_ADVERTISE:
        status = secagg_server_advertise(s, serial, message, err);
        break;
    case SECAGG_SHARES:
        status = secagg_server_shares(s, serial, message, err);
        break;
    case SECAGG_MASKED:
        status = secagg_server_masked(s, serial, message, bytes, err);
        break;
    case SECAGG_SIGNATURE:
        status = secagg_server_signature(s, serial, message, err);
        break;
    case SECAGG_UNMASK:
        status = secagg_server_unmask(s, serial, message, err);
        break;
    case SECAGG_LIST:
    case SECAGG_DELIVERY:
    case SECAGG_SURVIVORS:
    case SECAGG_SIGNATURES:
    default:
        return SOTTO_FAIL(err, SOTTO_INVALID, "no member sends messages of kind %u",
                          (unsigned)kind);
    }
    secagg_server_report(s, &after);
    *taken = status == SOTTO_OK || after.unmaskers > before.unmaskers;
    return status;
}

enum secagg_kind secure_shown_after(enum secagg_kind closed) {
    return closed < SECAGG_UNMASK ? (enum secagg_kind)(closed + 1) : (enum secagg_kind)0;
}

/* ---- Threads
 * --------------------------------------------------------------------------------------------------------
 */

struct crew {
    unsigned threads;
};
struct crew_run {
    atomic_size_t next;
    size_t count;
    secagg_job *job;
    void *ctx;
};

static void *crew_work(void *arg) {
    struct crew_run *r = arg;
    for (size_t i; (i = atomic_fetch_add(&r->next, 1)) < r->count;)
        r->job(r->ctx, i);
    return NULL;
}

/* The caller works too: with no thread to be had it does all alone. */
static void crew_do(void *ctx, size_t count, secagg_job *job, void *job_ctx) {
    const struct crew *crew = ctx;
    struct crew_run r = {.count = count, .job = job, .ctx = job_ctx};
    pthread_t helpers[64];
    size_t started = 0;
    atomic_init(&r.next, 0);
    while (started + 1 < crew->threads && started + 1 < count && started < ARRAY_LEN(helpers) &&
           pthread_create(&helpers[started], NULL, crew_work, &r) == 0)
        started++;
    (void)crew_work(&r);
    for (size_t i = 0; i < started; i++)
        pthread_join(helpers[i], NULL);
}

/* ---- The sum
 * --------------------------------------------------------------------------------------------------------
 */

struct summing {
    struct secagg_server *server;
    const struct secagg_config *config;
    const struct masked_plan *plan;
    const struct secure_source *source;
    const struct secagg_parallel *inner; /* where there are fewer blocks than threads */
    uint64_t *survivors;
    uint32_t count;
    uint8_t session[SECAGG_KEY];
    struct accumulator *sums;
    pthread_mutex_t lock; /* of what follows, and of sums */
    enum sotto_status status;
    struct sotto_error error;
};

static bool summing_fails(struct summing *s) {
    pthread_mutex_lock(&s->lock);
    const bool fails = s->status != SOTTO_OK;
    pthread_mutex_unlock(&s->lock);
    return fails;
}

/* The survivors' coordinates [first, first + count), added and bared. */
static enum sotto_status bare_block(struct summing *s, uint64_t first, size_t count, uint32_t *sum,
                                    uint8_t *packed, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    const unsigned bits = s->config->ring_bits;
    const size_t bytes = secagg_ring_bytes(bits, count);
    const uint64_t offset = first * bits / 8; /* first is a multiple of 8 */
    memset(sum, 0, count * sizeof *sum);
    for (uint32_t i = 0; i < s->count; i++) {
        TRY(s->source->read(s->source->ctx, s->survivors[i], offset, packed, bytes, err));
        secagg_ring_add(bits, sum, packed, count);
    }
    TRY(secagg_server_reveal(s->server, sum, first, count, s->inner, err));
out:
    return status;
}

static void sum_block(void *ctx, size_t index) {
    struct summing *s = ctx;
    struct sotto_error err = SOTTO_ERROR_INIT;
    enum sotto_status status = SOTTO_OK;
    const uint64_t first = (uint64_t)index * MASKED_BLOCK;
    const size_t count = (size_t)num_min_u64(s->config->length - first, MASKED_BLOCK);
    if (summing_fails(s))
        return;
    uint32_t *sum = mem_array(count, sizeof *sum);
    uint8_t *packed = mem_alloc(secagg_ring_bytes(s->config->ring_bits, count));
    if (!sum || !packed)
        TRY_FAIL(&err, SOTTO_NOMEM, "unmasking: out of memory");
    TRY(bare_block(s, first, count, sum, packed, &err));
    tap_values("sum", s->config->terms_hash, s->session, 8, first, sum, count);
    /* Blocks of coordinates go to places of their own; scalars are joined from limbs. */
    const bool alone = first + count > masked_scalars_at(s->plan);
    if (alone)
        pthread_mutex_lock(&s->lock);
    status = masked_sum_take(s->plan, s->count, first, sum, count, s->sums, &err);
    if (alone)
        pthread_mutex_unlock(&s->lock);
out:
    mem_free(sum);
    mem_free(packed);
    if (status == SOTTO_OK)
        return;
    pthread_mutex_lock(&s->lock);
    if (s->status == SOTTO_OK) {
        s->status = status;
        s->error = err;
    }
    pthread_mutex_unlock(&s->lock);
}

static enum sotto_status list_survivors(struct summing *s, struct sotto_error *err) {
    s->count = secagg_server_set(s->server, SECAGG_MASKED, NULL, 0);
    s->survivors = mem_array(s->count ? s->count : 1, sizeof *s->survivors);
    if (!s->survivors)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "unmasking: out of memory");
    (void)secagg_server_set(s->server, SECAGG_MASKED, s->survivors, s->count);
    struct secagg_server_report r;
    secagg_server_report(s->server, &r);
    memcpy(s->session, r.session, sizeof s->session);
    return SOTTO_OK;
}

enum sotto_status secure_sum(struct secagg_server *s, const struct secagg_config *config,
                             const struct masked_plan *plan, const struct codec_spec *spec,
                             const struct secure_source *source, unsigned threads,
                             struct group_sums *out, struct sotto_error *err) {
    enum sotto_status status;
    struct crew crew = {threads ? threads : pool_cpu_count()};
    const struct secagg_parallel par = {&crew, crew_do};
    const size_t blocks = (size_t)((config->length + MASKED_BLOCK - 1) / MASKED_BLOCK);
    struct summing sum = {.server = s, .config = config, .plan = plan, .source = source};
    memset(out, 0, sizeof *out);
    pthread_mutex_init(&sum.lock, NULL);
    TRY(list_survivors(&sum, err));
    TRY(group_sums_init(out, spec, err));
    sum.sums = &out->sums;
    TRY(secagg_server_open(s, &par, err));
    if (blocks < crew.threads) {
        sum.inner = &par;
        for (size_t i = 0; i < blocks; i++)
            sum_block(&sum, i);
    } else {
        crew_do(&crew, blocks, sum_block, &sum);
    }
    if (sum.status != SOTTO_OK)
        TRY_FAIL(err, sum.status, "%s", sum.error.message);
    TRY(masked_sum_finish(plan, sum.count, &out->sums, err));
out:
    mem_free(sum.survivors);
    pthread_mutex_destroy(&sum.lock);
    if (status != SOTTO_OK)
        group_sums_deinit(out);
    return status;
}
