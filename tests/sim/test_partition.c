/* Tests of the partitions: properties that hold for every seed, and the forms that the papers
 * describe. */
#include "support.h"

#include <stdio.h>
#include <string.h>

#include "partition.h"

/* A data set of labels and keys only: partitions never look at values. */
static struct dataset make(uint32_t count, uint32_t classes, uint32_t keys, uint64_t seed) {
    struct dataset d;
    struct rng r;
    dataset_init(&d);
    rng_init(&r, seed, 0, 0, RNG_FAULT);
    d.schema = (struct data_schema){DATA_U8, 1, {1}, classes, 1, 0};
    d.count = count;
    d.x = mem_zalloc(count);
    d.labels = mem_array(count, sizeof *d.labels);
    d.keys = keys ? mem_array(count, sizeof *d.keys) : NULL;
    d.key_count = keys;
    for (uint32_t i = 0; i < count; i++) {
        d.labels[i] = (int32_t)rng_below(&r, classes);
        if (keys)
            d.keys[i] = rng_below(&r, keys);
    }
    return d;
}

static struct partition_config defaults(const char *scheme) {
    struct partition_config c;
    partition_defaults(&c, partition_find(scheme));
    return c;
}

static struct partition build(const struct dataset *d, const char *scheme,
                              const struct partition_config *config, uint64_t seed) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct partition p;
    ASSERT_OK(partition_build(&p, d, partition_find(scheme), config, seed, &err));
    return p;
}

/* No example twice, positions of a client ascending. */
static void check_lists(const struct partition *p, const struct dataset *d) {
    uint8_t *seen = mem_zalloc(d->count);
    assert_int_equal(p->start[0], 0);
    for (uint32_t c = 0; c < p->client_count; c++) {
        assert_true(p->start[c] <= p->start[c + 1]);
        for (uint32_t i = p->start[c]; i < p->start[c + 1]; i++) {
            assert_true(p->index[i] < d->count);
            assert_int_equal(seen[p->index[i]]++, 0);
            if (i > p->start[c])
                assert_true(p->index[i] > p->index[i - 1]);
        }
    }
    mem_free(seen);
}

/* And every example given. */
static void check_complete(const struct partition *p, const struct dataset *d) {
    check_lists(p, d);
    assert_int_equal(p->start[p->client_count], d->count);
}

static uint32_t size_of(const struct partition *p, uint32_t c) {
    return p->start[c + 1] - p->start[c];
}

static void extremes(const struct partition *p, uint32_t *least, uint32_t *most) {
    *least = UINT32_MAX, *most = 0;
    for (uint32_t c = 0; c < p->client_count; c++) {
        *least = size_of(p, c) < *least ? size_of(p, c) : *least;
        *most = size_of(p, c) > *most ? size_of(p, c) : *most;
    }
}

static bool same(const struct partition *a, const struct partition *b, uint32_t count) {
    return a->client_count == b->client_count &&
           memcmp(a->start, b->start, ((size_t)a->client_count + 1) * sizeof *a->start) == 0 &&
           a->start[a->client_count] <= count &&
           memcmp(a->index, b->index, a->start[a->client_count] * sizeof *a->index) == 0;
}

/* For all schemes, many shapes and seeds: complete (but for classes that nobody has), a function of
 * its arguments, another one for another seed. */
static void every_scheme_is_complete_and_repeatable(void **state) {
    (void)state;
    size_t schemes;
    const struct partition_scheme *scheme = partition_schemes(&schemes);
    struct rng r;
    rng_init(&r, test_seed(), 0, 0, RNG_FAULT);
    for (size_t s = 0; s < schemes; s++) {
        uint32_t differ = 0;
        for (int trial = 0; trial < 20; trial++) {
            struct partition_config config;
            partition_defaults(&config, &scheme[s]);
            config.clients = 1 + rng_below(&r, 40);
            config.alpha = 0.3 + 2 * rng_f64(&r);
            config.size_min = rng_below(&r, 3);
            uint64_t seed = rng_u64(&r);
            uint32_t count = 400 + rng_below(&r, 3000);
            uint32_t classes = 2 + rng_below(&r, 12);
            bool all = config.classes == 0 || config.clients >= classes;
            struct dataset d = make(count, classes, 40 + rng_below(&r, 60), seed);
            struct partition a = build(&d, scheme[s].name, &config, seed);
            struct partition b = build(&d, scheme[s].name, &config, seed);
            struct partition c = build(&d, scheme[s].name, &config, seed + 1);
            assert_int_equal(a.client_count, config.clients);
            (all ? check_complete : check_lists)(&a, &d);
            (all ? check_complete : check_lists)(&c, &d);
            assert_true(same(&a, &b, count));
            differ += !same(&a, &c, count);
            partition_deinit(&a);
            partition_deinit(&b);
            partition_deinit(&c);
            dataset_deinit(&d);
        }
        assert_true(differ >= 18); /* one client may be drawn, then seeds change nothing */
    }
}

static void iid_is_even(void **state) {
    (void)state;
    struct dataset d = make(6007, 10, 0, 1);
    struct partition_config config = defaults("iid");
    assert_int_equal(config.clients, 100);
    struct partition p = build(&d, "iid", &config, 5);
    uint32_t least, most;
    extremes(&p, &least, &most);
    assert_int_equal(least, 60);
    assert_int_equal(most, 61);
    struct examples e = partition_client(&p, &d, 7);
    assert_int_equal(e.count, size_of(&p, 7));
    assert_ptr_equal(e.index, p.index + p.start[7]);
    assert_ptr_equal(e.labels, d.labels);
    partition_deinit(&p);
    dataset_deinit(&d);
}

/* McMahan's: 200 shards of 300, two each, so that most clients see two classes and none more than
 * four. */
static void shards_have_few_labels(void **state) {
    (void)state;
    struct dataset d = make(60000, 10, 0, 2);
    struct partition_config config = defaults("shards");
    struct partition p = build(&d, "shards", &config, 9);
    uint32_t with[11] = {0};
    for (uint32_t c = 0; c < 100; c++) {
        bool has[10] = {false};
        uint32_t n = 0;
        assert_int_equal(size_of(&p, c), 600);
        for (uint32_t i = p.start[c]; i < p.start[c + 1]; i++) {
            n += !has[d.labels[p.index[i]]];
            has[d.labels[p.index[i]]] = true;
        }
        with[n]++;
    }
    assert_true(with[1] + with[2] >= 70);
    assert_int_equal(with[5] + with[6] + with[7] + with[8] + with[9] + with[10], 0);
    partition_deinit(&p);
    dataset_deinit(&d);
}

/* NIID-Bench's #C = k: exactly k classes a client, a class in parts that differ by at most one, and
 * with enough clients each class has some. */
static void classes_are_exactly_k(void **state) {
    (void)state;
    static const uint32_t clients[] = {4, 10, 100};
    struct dataset d = make(6000, 10, 0, 2);
    for (size_t i = 0; i < ARRAY_LEN(clients); i++)
        for (uint32_t k = 1; k <= 10; k++) {
            struct partition_config config = defaults("classes");
            assert_int_equal(config.classes, 2);
            config.clients = clients[i];
            config.classes = k;
            struct partition p = build(&d, "classes", &config, 9);
            uint32_t least[10], most[10] = {0};
            memset(least, 0xff, sizeof least);
            check_lists(&p, &d);
            for (uint32_t c = 0; c < clients[i]; c++) {
                uint32_t count[10] = {0}, n = 0;
                for (uint32_t e = p.start[c]; e < p.start[c + 1]; e++)
                    count[d.labels[p.index[e]]]++;
                assert_true(count[c % 10] > 0);
                for (uint32_t l = 0; l < 10; l++) {
                    n += count[l] > 0;
                    if (count[l] == 0)
                        continue;
                    least[l] = count[l] < least[l] ? count[l] : least[l];
                    most[l] = count[l] > most[l] ? count[l] : most[l];
                }
                assert_int_equal(n, k);
            }
            for (uint32_t l = 0; l < 10; l++)
                assert_true(most[l] == 0 || most[l] - least[l] <= 1);
            if (clients[i] >= 10 || k == 10)
                check_complete(&p, &d);
            partition_deinit(&p);
        }
    dataset_deinit(&d);
}

/* The mean over clients of half the sum of |share of class - 1/classes|. */
static double unevenness(const struct partition *p, const struct dataset *d) {
    double sum = 0;
    for (uint32_t c = 0; c < p->client_count; c++) {
        double n[10] = {0};
        for (uint32_t i = p->start[c]; i < p->start[c + 1]; i++)
            n[d->labels[p->index[i]]] += 1.0 / size_of(p, c);
        for (uint32_t k = 0; k < 10; k++)
            sum += (n[k] > 0.1 ? n[k] - 0.1 : 0.1 - n[k]) / 2;
    }
    return sum / p->client_count;
}

static void dirichlet_follows_alpha(void **state) {
    (void)state;
    struct dataset d = make(20000, 10, 0, 3);
    struct partition_config config = defaults("dirichlet");
    assert_true(config.alpha == 0.5);
    config.clients = 20;
    double last = 1;
    static const double alphas[] = {0.1, 0.5, 5, 1000};
    for (size_t i = 0; i < ARRAY_LEN(alphas); i++) {
        config.alpha = alphas[i];
        config.size_min = 100;
        struct partition p = build(&d, "dirichlet", &config, 4);
        uint32_t least, most;
        extremes(&p, &least, &most);
        double now = unevenness(&p, &d);
        printf("alpha %g: unevenness %.3f, sizes %u to %u\n", alphas[i], now, least, most);
        assert_true(now < last);
        assert_true(least >= 100);
        last = now;
        partition_deinit(&p);
    }
    assert_true(last < 0.05);
    dataset_deinit(&d);
}

static void quantity_changes_sizes_only(void **state) {
    (void)state;
    struct dataset d = make(20000, 10, 0, 3);
    struct partition_config config = defaults("quantity");
    config.clients = 10;
    config.size_min = 300;
    struct partition p = build(&d, "quantity", &config, 4);
    uint32_t least, most;
    extremes(&p, &least, &most);
    assert_true(least >= 300 && most > 3 * least);
    assert_true(unevenness(&p, &d) < 0.06);
    partition_deinit(&p);
    dataset_deinit(&d);
}

static void natural_keeps_keys_together(void **state) {
    (void)state;
    struct dataset d = make(3000, 10, 54, 3);
    struct partition_config config = defaults("natural");
    struct partition p = build(&d, "natural", &config, 4);
    assert_int_equal(p.client_count, 54);
    for (uint32_t c = 0; c < 54; c++)
        for (uint32_t i = p.start[c]; i < p.start[c + 1]; i++)
            assert_int_equal(d.keys[p.index[i]], c);
    partition_deinit(&p);

    for (int by_clients = 0; by_clients < 2; by_clients++) {
        config = defaults("natural");
        if (by_clients)
            config.clients = 8; /* 54 = 6 * 7 + 2 * 6 */
        else
            config.keys = 7; /* 54 = 7 * 7 + 5 */
        p = build(&d, "natural", &config, 4);
        assert_int_equal(p.client_count, 8);
        uint32_t owner[54], keys_of[8] = {0};
        memset(owner, 0xff, sizeof owner);
        for (uint32_t c = 0; c < p.client_count; c++)
            for (uint32_t i = p.start[c]; i < p.start[c + 1]; i++) {
                uint32_t *o = &owner[d.keys[p.index[i]]];
                keys_of[c] += *o == UINT32_MAX;
                assert_true(*o == UINT32_MAX || *o == c);
                *o = c;
            }
        for (uint32_t c = 0; c < 8; c++) {
            if (by_clients)
                assert_in_range(keys_of[c], 6, 7);
            else
                assert_int_equal(keys_of[c], c < 7 ? 7 : 5);
        }
        check_complete(&p, &d);
        partition_deinit(&p);
    }
    /* Keys without examples are clients without examples, even when there are more of them than
     * examples. */
    d.key_count = 5000;
    config = defaults("natural");
    p = build(&d, "natural", &config, 4);
    assert_int_equal(p.client_count, 5000);
    check_complete(&p, &d);
    partition_deinit(&p);
    dataset_deinit(&d);
}

static void misfits_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *scheme, *part;
        uint32_t clients, shards, size_min;
        double alpha;
        bool unlabelled;
        uint32_t classes;
    } cases[] = {
        {"iid", "101 clients for 100 examples", 101, 0, 0, 0, false, 0},
        {"iid", "clients is 0, expected 1", 0, 0, 0, 0, false, 0},
        {"shards", "102 shards for 100 examples", 51, 2, 0, 0, false, 0},
        {"shards", "example 3 has no label", 10, 2, 0, 0, true, 0},
        {"dirichlet", "example 3 has no label", 10, 0, 0, 1, true, 0},
        {"dirichlet", "10 clients with at least 11 examples", 10, 0, 11, 1, false, 0},
        {"dirichlet", "no draw of 1000", 10, 0, 10, 0.01, false, 0},
        {"dirichlet", "alpha is 0, expected 0.001", 10, 0, 1, 0, false, 0},
        {"quantity", "raise alpha (0.01)", 10, 0, 10, 0.01, false, 0},
        {"natural", "has no natural keys", 0, 0, 0, 0, false, 0},
        {"classes", "6 classes a client of 5", 10, 0, 0, 0, false, 6},
        {"classes", "51 clients with 2 classes need more", 51, 0, 0, 0, false, 2},
        {"classes", "examples for 20 clients", 20, 0, 0, 0, false, 5},
        {"classes", "example 3 has no label", 10, 0, 0, 0, true, 2},
    };
    struct sotto_error err = SOTTO_ERROR_INIT;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct dataset d = make(100, 5, 0, 3);
        struct partition p;
        struct partition_config config = {.clients = cases[i].clients,
                                          .shards = cases[i].shards,
                                          .keys = 1,
                                          .size_min = cases[i].size_min,
                                          .alpha = cases[i].alpha,
                                          .classes = cases[i].classes};
        if (cases[i].unlabelled)
            d.labels[3] = -1;
        ASSERT_FAILS(partition_build(&p, &d, partition_find(cases[i].scheme), &config, 1, &err),
                     SOTTO_INVALID, cases[i].part);
        assert_null(p.start);
        dataset_deinit(&d);
    }
    assert_null(partition_find("idd"));
}

static void options_are_read_strictly(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    const struct partition_scheme *s = partition_find("dirichlet");
    struct partition_config c = defaults("dirichlet");
    ASSERT_OK(partition_set(&c, s, "alpha", "0.25", &err));
    ASSERT_OK(partition_set(&c, s, "clients", "12", &err));
    ASSERT_OK(partition_set(&c, s, "size_min", "0", &err));
    assert_true(c.alpha == 0.25 && c.clients == 12 && c.size_min == 0 && c.shards == 0);
    ASSERT_FAILS(partition_set(&c, s, "shards", "2", &err), SOTTO_INVALID,
                 "partition dirichlet has no option 'shards'; it has clients, alpha, size_min");
    assert_true(partition_set(&c, s, "alpha", "nan", &err) != SOTTO_OK);
    assert_non_null(strstr(err.message, "partition option alpha"));
    assert_true(partition_set(&c, s, "clients", "0", &err) != SOTTO_OK);
    assert_true(partition_set(&c, s, "clients", "10x", &err) != SOTTO_OK);
    assert_int_equal(c.clients, 12);
}

static enum sotto_status build_oom(void *ctx, struct sotto_error *err) {
    size_t schemes;
    const struct partition_scheme *scheme = partition_schemes(&schemes);
    for (size_t s = 0; s < schemes; s++) {
        struct partition_config config;
        struct partition p;
        partition_defaults(&config, &scheme[s]);
        config.clients = 4;
        enum sotto_status status = partition_build(&p, ctx, &scheme[s], &config, 1, err);
        if (status != SOTTO_OK)
            return status;
        partition_deinit(&p);
    }
    return SOTTO_OK;
}

static void survives_lack_of_memory(void **state) {
    (void)state;
    struct dataset d = make(300, 5, 8, 3);
    test_oom_loop(build_oom, &d);
    dataset_deinit(&d);
}

/* Pinned: published results name a seed. Not the Dirichlet ones: their gamma draws lean on the C
 * library's logarithm. */
static void partitions_are_pinned(void **state) {
    (void)state;
    static const struct {
        const char *scheme;
        uint32_t digest;
    } cases[] = {{"iid", 0x53940a8d},
                 {"shards", 0x23fc78ff},
                 {"natural", 0x116b795f},
                 {"classes", 0xaa8b0989}};
    struct dataset d = make(1000, 10, 30, 3);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct partition_config config = defaults(cases[i].scheme);
        config.clients = 10;
        struct partition p = build(&d, cases[i].scheme, &config, 1);
        uint32_t h = 2166136261u;
        for (uint32_t k = 0; k < d.count; k++)
            h = (h ^ p.index[k]) * 16777619u;
        assert_int_equal(h, cases[i].digest);
        partition_deinit(&p);
    }
    dataset_deinit(&d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_scheme_is_complete_and_repeatable),
        cmocka_unit_test(iid_is_even),
        cmocka_unit_test(shards_have_few_labels),
        cmocka_unit_test(classes_are_exactly_k),
        cmocka_unit_test(dirichlet_follows_alpha),
        cmocka_unit_test(quantity_changes_sizes_only),
        cmocka_unit_test(natural_keeps_keys_together),
        cmocka_unit_test(misfits_are_refused),
        cmocka_unit_test(options_are_read_strictly),
        cmocka_unit_test(survives_lack_of_memory),
        cmocka_unit_test(partitions_are_pinned),
    };
    return cmocka_run_group_tests_name("sim/partition", tests, NULL, NULL);
}
