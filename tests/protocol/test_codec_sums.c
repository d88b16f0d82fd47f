/* The exact sums: the same bits whatever the order, the shards and the store in between. */
#include <math.h>

#include "codec/codec_int.h"
#include "codec_support.h"

enum { UPDATES = 9 };

struct fleet {
    struct codec_case c;
    struct codec_update updates[UPDATES];
};

static void fleet_init(struct fleet *f, struct rng *r) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    case_random(&f->c, r);
    for (int i = 0; i < UPDATES; i++) {
        codec_update_init(&f->updates[i]);
        case_fill(&f->c, r);
        ASSERT_OK(codec_encode(&f->c.spec, &f->c.in, r, &f->updates[i], &err));
    }
}

static void fleet_deinit(struct fleet *f) {
    for (int i = 0; i < UPDATES; i++)
        codec_update_deinit(&f->updates[i]);
    case_deinit(&f->c);
}

/* In a random order, in a random number of shards, merged in a random order, parts backwards now
 * and then. */
static void sum_somehow(const struct fleet *f, struct accumulator *out, struct rng *r) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct accumulator shards[4];
    uint32_t order[UPDATES], shard_order[4];
    const uint32_t count = 1 + rng_below(r, 4);
    for (uint32_t i = 0; i < UPDATES; i++)
        order[i] = i;
    rng_shuffle_u32(r, order, UPDATES);
    for (uint32_t s = 0; s < count; s++) {
        shard_order[s] = s;
        ASSERT_OK(accumulator_init(&shards[s], &f->c.spec, &err));
    }
    rng_shuffle_u32(r, shard_order, count);
    for (uint32_t i = 0; i < UPDATES; i++) {
        const struct codec_update *u = &f->updates[order[i]];
        struct accumulator *a = &shards[rng_below(r, count)];
        const bool backwards = rng_below(r, 2) != 0;
        struct codec_head *head;
        ASSERT_OK(codec_head_decode(&f->c.spec, codec_update_part(u, 0), &head, &err));
        ASSERT_OK(accumulator_add_head(a, &f->c.spec, head));
        for (uint32_t j = 1; j < u->part_count; j++) {
            const uint32_t part = backwards ? u->part_count - j : j;
            ASSERT_OK(
                accumulator_add_part(a, &f->c.spec, head, part, codec_update_part(u, part), &err));
        }
        codec_head_free(head);
    }
    ASSERT_OK(accumulator_init(out, &f->c.spec, &err));
    for (uint32_t s = 0; s < count; s++) {
        ASSERT_OK(accumulator_merge(out, &shards[shard_order[s]], &err));
        accumulator_deinit(&shards[shard_order[s]]);
    }
}

static void order_does_not_matter(void **state) {
    (void)state;
    struct rng r;
    rng_init(&r, test_seed(), 0, 1, RNG_FAULT);
    for (int i = 0; i < 12; i++) {
        struct fleet f;
        struct accumulator first, other;
        fleet_init(&f, &r);
        sum_somehow(&f, &first, &r);
        assert_int_equal(first.updates, UPDATES);
        for (int j = 0; j < 6; j++) {
            sum_somehow(&f, &other, &r);
            case_same_sums(&first, &other);
            accumulator_deinit(&other);
        }
        accumulator_deinit(&first);
        fleet_deinit(&f);
    }
}

/* Every length and alignment, ties, signs and the largest magnitude, against llrint. */
static void fixed_point_is_llrint(void **state) {
    (void)state;
    enum { N = CODEC_CHUNK };
    float values[N];
    int64_t sums[N], scattered[2 * N];
    uint32_t at[N];
    struct rng r;
    rng_init(&r, test_seed(), 0, 2, RNG_FAULT);
    for (int t = 0; t < 400; t++) {
        const unsigned f = 8 + rng_below(&r, 33);
        const uint32_t weight = 1 + rng_below(&r, CODEC_WEIGHT_MAX_LIMIT);
        const uint32_t n = t < 40 ? (uint32_t)t : rng_below(&r, N + 1);
        const double most = ldexp(1.0, 50 - (int)f);
        memset(sums, 0, sizeof sums);
        memset(scattered, 0, sizeof scattered);
        for (uint32_t i = 0; i < n; i++) {
            switch (rng_below(&r, 4)) {
            case 0: /* halfway between two */
                values[i] = (float)ldexp((double)rng_below(&r, 1u << 20) + 0.5, -(int)f);
                break;
            case 1:
                values[i] = (float)(most * (double)rng_f32(&r));
                break;
            case 2:
                values[i] = (float)most;
                break;
            default:
                values[i] = (float)rng_normal(&r);
                values[i] = fabsf(values[i]) > (float)most ? 0.0f : values[i];
                break;
            }
            values[i] = rng_below(&r, 2) != 0 ? values[i] : -values[i];
            at[i] = 2 * i + (i & 1);
        }
        /* The products wrap together with the reference: what is compared is the arithmetic. */
        codec_fixed_add_run(sums, values, n, f, weight);
        codec_fixed_add_run(sums, values, n, f, weight);
        codec_fixed_add_scatter(scattered, at, values, n, f, weight);
        for (uint32_t i = 0; i < n; i++) {
            const uint64_t want = (uint64_t)codec_fixed(values[i], f) * weight;
            assert_int_equal((uint64_t)sums[i], 2 * want);
            assert_int_equal((uint64_t)scattered[at[i]], want);
        }
    }
}

/* As many updates of the largest weight and the largest coordinates as the proof allows: no wrap.
 */
static void the_proof_holds(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct rng r = {0};
    struct codec_case c;
    struct accumulator a;
    case_init(&c, 1);
    case_segment(&c.layouts[0], LAYOUT_WEIGHT, 4);
    c.spec.weight_max = 16777215;
    c.spec.accept_max = 32;
    ASSERT_OK(codec_spec_check(&c.spec, &err));
    case_arrays(&c);
    c.in.scalars[CODEC_WEIGHT] = 16777215;
    c.in.scalars[CODEC_LOSS] = CODEC_LOSS_MAX;
    c.in.scalars[CODEC_SEEN] = CODEC_COUNT_MAX;
    c.in.scalars[CODEC_WEIGHTED_STEPS] = CODEC_WEIGHTED_STEPS_MAX;
    ASSERT_OK(accumulator_init(&a, &c.spec, &err));
    for (int i = 0; i < 32; i++) {
        const float values[4] = {1e9f, -1e9f, 16.0f, -0.0f};
        memcpy(c.in.values[0], values, sizeof values);
        ASSERT_OK(codec_encode(&c.spec, &c.in, &r, &c.update, &err));
        ASSERT_OK(case_check(&c.spec, &c.update, &err));
        ASSERT_OK(case_add(&a, &c.spec, &c.update, &err));
    }
    const int64_t most = INT64_C(32) * 16777215 * (INT64_C(16) << 30);
    assert_true(a.sums[0][0] == most && a.sums[0][1] == -most && a.sums[0][2] == most);
    assert_true(a.sums[0][3] == 0);
    assert_true(accumulator_scalar(&a, CODEC_LOSS) == 32 * CODEC_LOSS_MAX);
    assert_true(accumulator_scalar(&a, CODEC_WEIGHTED_STEPS) == 32 * CODEC_WEIGHTED_STEPS_MAX);
    float mean[4];
    ASSERT_OK(accumulator_mean(&a, &c.spec, 0, mean, &err));
    assert_true(mean[0] == 16.0f && mean[1] == -16.0f && mean[3] == 0.0f);
    ASSERT_STATUS(case_add(&a, &c.spec, &c.update, &err), SOTTO_LIMIT);
    assert_true(a.sums[0][0] == most);
    accumulator_deinit(&a);
    case_deinit(&c);
}

static void means_and_merges(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct rng r = {0};
    struct codec_case c, other;
    struct accumulator a, b;
    float mean[3];
    case_init(&c, 1);
    case_segment(&c.layouts[0], LAYOUT_BIAS, 3);
    case_arrays(&c);
    c.spec.accept_max = 2;
    ASSERT_OK(accumulator_init(&a, &c.spec, &err));
    ASSERT_FAILS(accumulator_mean(&a, &c.spec, 0, mean, &err), SOTTO_INVALID, "weight");
    ASSERT_FAILS(accumulator_mean(&a, &c.spec, 1, mean, &err), SOTTO_INVALID, "section 1");
    for (int i = 0; i < 2; i++) {
        const float values[3] = {1.0f, (float)i, -0.5f};
        memcpy(c.in.values[0], values, sizeof values);
        c.in.scalars[CODEC_WEIGHT] = i == 0 ? 1 : 3;
        ASSERT_OK(codec_encode(&c.spec, &c.in, &r, &c.update, &err));
        ASSERT_OK(case_add(&a, &c.spec, &c.update, &err));
    }
    ASSERT_OK(accumulator_mean(&a, &c.spec, 0, mean, &err));
    assert_true(mean[0] == 1.0f && mean[1] == 0.75f && mean[2] == -0.5f);
    ASSERT_OK(accumulator_init(&b, &c.spec, &err));
    ASSERT_OK(accumulator_merge(&b, &a, &err));
    case_same_sums(&a, &b);
    ASSERT_FAILS(accumulator_merge(&b, &a, &err), SOTTO_LIMIT, "limit of 2");
    case_same_sums(&a, &b);
    accumulator_clear(&b);
    assert_int_equal(b.updates, 0);
    assert_true(b.sums[0][0] == 0 && b.scalars[CODEC_WEIGHT] == 0);
    accumulator_deinit(&b);
    case_init(&other, 1);
    case_segment(&other.layouts[0], LAYOUT_BIAS, 4);
    ASSERT_OK(accumulator_init(&b, &other.spec, &err));
    ASSERT_FAILS(accumulator_merge(&b, &a, &err), SOTTO_INVALID, "shapes");
    accumulator_deinit(&b);
    case_deinit(&other);
    accumulator_deinit(&a);
    case_deinit(&c);
}

static void sums_are_stored(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct rng r;
    struct fleet f;
    struct accumulator a, b, empty;
    struct buf saved;
    rng_init(&r, test_seed(), 0, 3, RNG_FAULT);
    fleet_init(&f, &r);
    sum_somehow(&f, &a, &r);
    buf_init(&saved, accumulator_save_bytes(&a));
    accumulator_save(&a, &saved);
    assert_int_equal(saved.status, SOTTO_OK);
    assert_int_equal(saved.len, accumulator_save_bytes(&a));
    ASSERT_OK(accumulator_init(&b, &f.c.spec, &err));
    ASSERT_OK(accumulator_init(&empty, &f.c.spec, &err));
    for (int i = 0; i < 200; i++) {
        const size_t at = i < 100 ? (size_t)i % saved.len : rng_below(&r, (uint32_t)saved.len);
        saved.data[at] ^= 0x10;
        ASSERT_FAILS(accumulator_load(&b, buf_view(&saved), &err), SOTTO_CORRUPT, "checksum");
        saved.data[at] ^= 0x10;
    }
    ASSERT_FAILS(accumulator_load(&b, view_of(saved.data, saved.len - 1), &err), SOTTO_CORRUPT,
                 "bytes");
    case_same_sums(&b, &empty);
    ASSERT_OK(accumulator_load(&b, buf_view(&saved), &err));
    case_same_sums(&a, &b);
    accumulator_deinit(&b);
    f.c.spec.pipeline.fraction_bits--;
    ASSERT_OK(accumulator_init(&b, &f.c.spec, &err));
    ASSERT_FAILS(accumulator_load(&b, buf_view(&saved), &err), SOTTO_CORRUPT, "fraction bits");
    buf_deinit(&saved);
    accumulator_deinit(&empty);
    accumulator_deinit(&b);
    accumulator_deinit(&a);
    fleet_deinit(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_does_not_matter), cmocka_unit_test(fixed_point_is_llrint),
        cmocka_unit_test(the_proof_holds),       cmocka_unit_test(means_and_merges),
        cmocka_unit_test(sums_are_stored),
    };
    return cmocka_run_group_tests_name("codec_sums", tests, NULL, NULL);
}
