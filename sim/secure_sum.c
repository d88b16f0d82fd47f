/* A group's sum. Real: secagg's server takes the masks off. Exact: there are none, the codes are
 * added as they are; either way the same numbers mod 2^bits, in blocks, over the workers. */
#include "secure.h"

#include <string.h>

struct summing {
    struct sim *s;
    uint32_t group;
    uint32_t count; /* survivors */
    const struct sim_job **inputs;
    struct accumulator *sums;
    pthread_mutex_t lock; /* of what follows */
    enum sotto_status status;
    struct sotto_error error;
};
struct block {
    struct summing *sum;
    uint64_t first;
    size_t count;
};

static const uint8_t *packed_of(const struct sim_job *j, uint64_t offset) {
    return j->report.data + SECAGG_MASKED_HEAD + offset;
}

static enum sotto_status sum_block(const struct block *b, struct sotto_error *err) {
    const struct summing *sum = b->sum;
    const struct sim_plan *p = sum->s->plan;
    const unsigned bits = p->secagg.ring_bits;
    uint32_t *ring = mem_array(b->count, sizeof *ring);
    if (!ring)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for a sum");
    for (uint32_t i = 0; i < sum->count; i++)
        secagg_ring_add(bits, ring, packed_of(sum->inputs[i], b->first * bits / 8), b->count);
    secagg_ring_reduce(bits, ring, b->count);
    const enum sotto_status status =
        masked_sum_take(p->masked, sum->count, b->first, ring, b->count, sum->sums, err);
    mem_free(ring);
    return status;
}

static void run_block(void *ctx, unsigned worker) {
    struct block *b = ctx;
    struct sotto_error err = SOTTO_ERROR_INIT;
    const enum sotto_status status = sum_block(b, &err);
    (void)worker;
    if (status == SOTTO_OK)
        return;
    pthread_mutex_lock(&b->sum->lock);
    b->sum->status = status;
    b->sum->error = err;
    pthread_mutex_unlock(&b->sum->lock);
}

/* Blocks of coordinates go to places of their own; what holds scalars is joined from limbs, and is
 * taken by one thread. */
static enum sotto_status sum_exact(struct summing *sum, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct sim *s = sum->s;
    const struct masked_plan *plan = s->plan->masked;
    const uint64_t length = masked_length(plan), scalars = masked_scalars_at(plan);
    const size_t blocks = (size_t)((length + MASKED_BLOCK - 1) / MASKED_BLOCK);
    size_t alone = blocks;
    struct block *block = mem_array(blocks ? blocks : 1, sizeof *block);
    if (!block)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for a sum");
    for (size_t i = 0; i < blocks; i++) {
        const uint64_t first = (uint64_t)i * MASKED_BLOCK;
        block[i] = (struct block){sum, first, (size_t)num_min_u64(length - first, MASKED_BLOCK)};
        if (first + block[i].count > scalars && alone == blocks)
            alone = i;
    }
    for (size_t i = 0; i < alone && status == SOTTO_OK; i++)
        status = pool_submit(s->pool, run_block, &block[i]);
    pool_wait(s->pool);
    if (status != SOTTO_OK)
        TRY_FAIL(err, status, "the workers take no more jobs");
    for (size_t i = alone; i < blocks; i++)
        run_block(&block[i], 0);
    if (sum->status != SOTTO_OK)
        TRY_FAIL(err, sum->status, "%s", sum->error.message);
    TRY(masked_sum_finish(plan, sum->count, sum->sums, err));
out:
    mem_free(block);
    return status;
}

/* Called from several threads. */
static enum sotto_status read_masked(void *ctx, uint64_t serial, uint64_t offset, void *out,
                                     size_t bytes, struct sotto_error *err) {
    const struct summing *sum = ctx;
    for (uint32_t i = 0; i < sum->count; i++)
        if ((uint64_t)sum->inputs[i]->device + 1 == serial) {
            memcpy(out, packed_of(sum->inputs[i], offset), bytes);
            return SOTTO_OK;
        }
    return SOTTO_FAIL(err, SOTTO_INTERNAL, "client %llu has sent no input",
                      (unsigned long long)serial);
}

static enum sotto_status list_inputs(struct summing *sum, struct sotto_error *err) {
    const struct sim_secure *r = sum->s->secure;
    uint32_t members = 0;
    const struct round_member *m = round_members(sum->s->engine, &members);
    sum->inputs = mem_array(members ? members : 1, sizeof(struct sim_job *));
    if (!sum->inputs)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for a sum");
    for (uint32_t i = 0; i < members; i++)
        if (m[i].group == sum->group && m[i].state == ROUND_CHECKED && r->inputs[i])
            sum->inputs[sum->count++] = r->inputs[i];
    return SOTTO_OK;
}

enum sotto_status sim_secure_group_sum(struct sim *s, uint32_t group, struct sotto_error *err) {
    enum sotto_status status;
    const struct sim_plan *p = s->plan;
    struct sim_slot *slot = &s->slots[group * s->slots_per_group];
    struct summing sum = {.s = s, .group = group};
    const struct secure_source source = {&sum, read_masked};
    pthread_mutex_init(&sum.lock, NULL);
    TRY(list_inputs(&sum, err));
    if (slot->ready)
        group_sums_deinit(&slot->sums);
    slot->ready = false;
    if (sim_is_real(s)) {
        TRY(secure_sum(s->secure->groups[group].server, &p->secagg, p->masked, &p->spec, &source,
                       s->workers, &slot->sums, err));
    } else {
        TRY(group_sums_init(&slot->sums, &p->spec, err));
        sum.sums = &slot->sums.sums;
        status = sum_exact(&sum, err);
        if (status != SOTTO_OK)
            group_sums_deinit(&slot->sums);
        TRY(status);
    }
    slot->ready = true;
out:
    mem_free(sum.inputs);
    pthread_mutex_destroy(&sum.lock);
    return status;
}
