/* A secure group's sum from stored inputs: the same whatever the threads, equal to the plain sum of
 * the survivors' vectors, and refused where inputs cannot be read or shares do not suffice. */
#include "secagg_world.h"

#include "sotto/coordinator/secure.h"

#include <string.h>

#define MEMBERS 12u

struct sum_case {
    struct layout layout;
    struct codec_spec spec;
    struct masked_terms terms;
    struct masked_plan *plan;
    struct world w;
    uint64_t fails; /* reading this member's input fails; 0: none */
};

static void encode(struct sum_case *c, struct world_member *m) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct codec_input in;
    struct rng rng;
    memset(&in, 0, sizeof in);
    rng_init(&rng, 3, 1, m->serial, RNG_ROUNDING);
    in.values[0] = mem_array(c->layout.total, sizeof(float));
    assert_non_null(in.values[0]);
    for (uint32_t i = 0; i < c->layout.total; i++)
        in.values[0][i] = 0.02f * (float)((m->serial * 7 + i) % 11) - 0.1f;
    in.scalars[CODEC_WEIGHT] = (double)(1 + m->serial % 3);
    in.scalars[CODEC_STEPS] = 1;
    in.scalars[CODEC_LOSS] = 1.5;
    in.scalars[CODEC_SEEN] = 4;
    ASSERT_OK(masked_encode(c->plan, &in, &rng, m->values, &err));
    mem_free(in.values[0]);
}

/* A group that has run up to its unmasking; members 2 and 5 vanished before. */
static void make(struct sum_case *c, uint32_t inputs) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    const uint32_t dims[2] = {inputs, 10};
    memset(c, 0, sizeof *c);
    layout_init(&c->layout);
    ASSERT_OK(layout_add(&c->layout, "dense.weight", LAYOUT_WEIGHT, 2, dims, &err));
    c->spec.pipeline = (struct codec_pipeline)CODEC_PIPELINE_INIT;
    c->spec.pipeline.clip_norm = 4.0f;
    c->spec.pipeline.bits = 8;
    c->spec.pipeline.stochastic = true;
    c->spec.pipeline.rotate_log2 = MASKED_ROTATE_LOG2;
    c->spec.section_count = 1;
    memcpy(c->spec.sections[0].name, "weights", sizeof "weights");
    c->spec.sections[0].layout = &c->layout;
    c->spec.weight_max = 3;
    c->spec.accept_max = MEMBERS;
    c->spec.pipeline.support = CODEC_SUPPORT_ROUND;
    c->spec.pipeline.range = masked_range(&c->spec.pipeline, &c->layout);
    c->terms =
        (struct masked_terms){.ring_bits = 16, .members_max = MEMBERS, .task_seed = 9, .round = 1};
    ASSERT_OK(masked_plan_new(&c->spec, &c->terms, &c->plan, &err));
    const struct secagg_config config = world_config(16, masked_length(c->plan), MEMBERS);
    world_init(&c->w, MEMBERS, &config, 77, true);
    for (uint32_t i = 0; i < MEMBERS; i++)
        encode(c, &c->w.members[i]);
    c->w.members[2].quits = SECAGG_MASKED;
    c->w.members[5].quits = SECAGG_SHARES;
    ASSERT_OK(world_advertise(&c->w, &err));
    ASSERT_OK(world_shares(&c->w, &err));
    ASSERT_OK(world_masked(&c->w, &err));
    ASSERT_OK(world_signatures(&c->w, &err));
}

static void drop(struct sum_case *c) {
    world_deinit(&c->w);
    masked_plan_free(c->plan);
    layout_deinit(&c->layout);
}

static enum sotto_status read_input(void *ctx, uint64_t serial, uint64_t offset, void *out,
                                    size_t bytes, struct sotto_error *err) {
    const struct sum_case *c = ctx;
    if (serial == c->fails)
        return SOTTO_FAIL(err, SOTTO_IO, "the disk is gone");
    for (uint32_t i = 0; i < c->w.n; i++) {
        const struct world_member *m = &c->w.members[i];
        if (m->serial != serial)
            continue;
        assert_true(SECAGG_MASKED_HEAD + offset + bytes <= m->masked.len);
        memcpy(out, m->masked.data + SECAGG_MASKED_HEAD + offset, bytes);
        return SOTTO_OK;
    }
    fail_msg("no member %llu", (unsigned long long)serial);
    return SOTTO_NOT_FOUND;
}

/* What the survivors' vectors decode to without any masks. */
static void plain_sum(const struct sum_case *c, struct accumulator *a) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    const size_t length = (size_t)masked_length(c->plan);
    uint32_t *sum = mem_array(length, sizeof *sum), survivors = 0;
    assert_non_null(sum);
    for (uint32_t i = 0; i < c->w.n; i++) {
        if (c->w.members[i].quits)
            continue;
        survivors++;
        for (size_t k = 0; k < length; k++)
            sum[k] = (sum[k] + c->w.members[i].values[k]) & 0xffffu;
    }
    ASSERT_OK(accumulator_init(a, &c->spec, &err));
    for (size_t first = 0; first < length; first += MASKED_BLOCK)
        ASSERT_OK(masked_sum_take(c->plan, survivors, first, sum + first,
                                  length - first < MASKED_BLOCK ? length - first : MASKED_BLOCK, a,
                                  &err));
    ASSERT_OK(masked_sum_finish(c->plan, survivors, a, &err));
    mem_free(sum);
}

static void sums_do_not_depend_on_threads(void **state) {
    (void)state;
    /* 3 coordinates, one block, and more blocks than threads */
    static const uint32_t inputs[] = {3, 2000, 16384};
    for (size_t i = 0; i < ARRAY_LEN(inputs); i++)
        for (unsigned threads = 1; threads <= 4; threads += 3) {
            struct sotto_error err = SOTTO_ERROR_INIT;
            struct sum_case c;
            struct accumulator want;
            struct group_sums got;
            make(&c, inputs[i]);
            plain_sum(&c, &want);
            ASSERT_OK(world_unmask(&c.w, &err));
            const struct secure_source source = {&c, read_input};
            ASSERT_OK(
                secure_sum(c.w.server, &c.w.config, c.plan, &c.spec, &source, threads, &got, &err));
            assert_int_equal(got.sums.updates, MEMBERS - 2);
            assert_memory_equal(got.sums.scalars, want.scalars, sizeof want.scalars);
            assert_memory_equal(got.sums.sums[0], want.sums[0],
                                c.layout.total * sizeof *want.sums[0]);
            assert_true(accumulator_scalar(&got.sums, CODEC_SEEN) == 4.0 * (MEMBERS - 2));
            group_sums_deinit(&got);
            accumulator_deinit(&want);
            drop(&c);
        }
}

static void a_sum_that_cannot_be_made_is_none(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct sum_case c;
    struct group_sums got;
    make(&c, 16384);
    const struct secure_source source = {&c, read_input};
    ASSERT_STATUS(secure_sum(c.w.server, &c.w.config, c.plan, &c.spec, &source, 4, &got, &err),
                  SOTTO_STATE); /* not unmasked yet */
    ASSERT_OK(world_unmask(&c.w, &err));
    c.fails = c.w.members[7].serial;
    ASSERT_STATUS(secure_sum(c.w.server, &c.w.config, c.plan, &c.spec, &source, 4, &got, &err),
                  SOTTO_IO);
    assert_non_null(strstr(err.message, "the disk is gone"));
    drop(&c);
}

static void messages_go_to_their_exchange(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct sum_case c;
    bool taken = true;
    make(&c, 3);
    ASSERT_STATUS(secure_take(c.w.server, SECAGG_LIST, 1, view_of("x", 1), 1, &taken, &err),
                  SOTTO_INVALID);
    assert_false(taken);
    ASSERT_STATUS(secure_take(c.w.server, SECAGG_UNMASK, c.w.members[0].serial, view_of("x", 1), 1,
                              &taken, &err),
                  SOTTO_VERSION);
    assert_false(taken);
    assert_int_equal(secure_shown_after(SECAGG_ADVERTISE), SECAGG_LIST);
    assert_int_equal(secure_shown_after(SECAGG_UNMASK), 0);
    drop(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_do_not_depend_on_threads),
        cmocka_unit_test(a_sum_that_cannot_be_made_is_none),
        cmocka_unit_test(messages_go_to_their_exchange),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
