/* Tests of the digit generator: the same pixels everywhere, independence of what else is drawn,
 * writers that differ. */
#include "support.h"

#include <stdio.h>
#include <string.h>

#include "sotto/model/data.h"

static struct dataset draw(uint64_t seed, uint32_t first, uint32_t writers, uint32_t each,
                           bool uniform) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct digits_config config = {seed, first, writers, each, uniform};
    struct dataset d;
    ASSERT_OK(dataset_draw_digits(&config, &d, &err));
    return d;
}

static uint64_t digest(const struct dataset *d) {
    uint64_t h = 1469598103934665603u; /* FNV-1a */
    const uint8_t *x = d->x;
    for (size_t i = 0; i < (size_t)d->count * 784; i++)
        h = (h ^ x[i]) * 1099511628211u;
    for (uint32_t i = 0; i < d->count; i++)
        h = (h ^ (uint32_t)d->labels[i]) * 1099511628211u;
    return h;
}

/* Pinned: a change of the drawing changes every federated result that was computed on it. */
static void pixels_are_pinned(void **state) {
    (void)state;
    struct dataset d = draw(1, 0, 20, 25, false);
    char text[64];
    assert_string_equal(data_schema_text(&d.schema, text, sizeof text), "u8 28x28x1, 10 classes");
    assert_int_equal(d.count, 500);
    assert_int_equal(d.key_count, 20);
    printf("digest of 20 writers: %016llx\n", (unsigned long long)digest(&d));
    assert_true(digest(&d) == 0x3832d4880a437865u);
    dataset_deinit(&d);
}

static void examples_do_not_depend_on_the_range(void **state) {
    (void)state;
    uint64_t seed = test_seed();
    struct dataset all = draw(seed, 5, 12, 40, false);
    const struct {
        uint32_t first, writers, each;
    } parts[] = {{5, 1, 40}, {5, 12, 7}, {16, 1, 1}, {9, 4, 33}};
    for (size_t p = 0; p < ARRAY_LEN(parts); p++) {
        struct dataset d = draw(seed, parts[p].first, parts[p].writers, parts[p].each, false);
        for (uint32_t w = 0, at = 0; w < parts[p].writers; w++)
            for (uint32_t i = 0; i < parts[p].each; i++, at++) {
                uint32_t same = (parts[p].first - 5 + w) * 40 + i;
                assert_int_equal(d.keys[at], w);
                assert_int_equal(d.labels[at], all.labels[same]);
                assert_memory_equal(dataset_example(&d, at), dataset_example(&all, same), 784);
            }
        dataset_deinit(&d);
    }
    dataset_deinit(&all);
}

static void seeds_and_writers_differ(void **state) {
    (void)state;
    struct dataset a = draw(1, 0, 3, 30, false), b = draw(2, 0, 3, 30, false);
    uint32_t equal = 0;
    for (uint32_t i = 0; i < a.count; i++) {
        equal += memcmp(dataset_example(&a, i), dataset_example(&b, i), 784) == 0;
        for (uint32_t k = 0; k < i; k++)
            equal += memcmp(dataset_example(&a, i), dataset_example(&a, k), 784) == 0;
    }
    assert_int_equal(equal, 0);
    dataset_deinit(&a);
    dataset_deinit(&b);
}

/* Half the sum of |share - 1/10|: 0 for an even mix, 0.9 for one class only. */
static double unevenness(const struct dataset *d, uint32_t key) {
    uint32_t classes[10] = {0}, n = 0;
    for (uint32_t i = 0; i < d->count; i++)
        if (d->keys[i] == key) {
            classes[d->labels[i]]++;
            n++;
        }
    double sum = 0;
    for (uint32_t c = 0; c < 10; c++) {
        double off = (double)classes[c] / n - 0.1;
        sum += off < 0 ? -off : off;
    }
    return sum / 2;
}

static void class_mix_is_the_writers(void **state) {
    (void)state;
    struct dataset own = draw(3, 0, 40, 300, false), even = draw(3, 0, 40, 300, true);
    double own_sum = 0, even_sum = 0;
    uint32_t classes[10] = {0};
    for (uint32_t k = 0; k < 40; k++) {
        own_sum += unevenness(&own, k) / 40;
        even_sum += unevenness(&even, k) / 40;
    }
    for (uint32_t i = 0; i < own.count; i++)
        classes[own.labels[i]]++;
    printf("mean distance of a writer's mix from even: %.3f own, %.3f uniform\n", own_sum,
           even_sum);
    assert_true(own_sum > 0.15 && own_sum < 0.35);
    assert_true(even_sum < 0.08);
    for (uint32_t c = 0; c < 10; c++) /* over all writers no class is rare */
        assert_true(classes[c] > own.count / 20 && classes[c] < own.count / 5);
    dataset_deinit(&own);
    dataset_deinit(&even);
}

/* Every image has ink, mostly paper, and nothing but noise at its edge. */
static void images_look_like_ink_on_paper(void **state) {
    (void)state;
    struct dataset d = draw(4, 1000, 60, 50, true);
    for (uint32_t i = 0; i < d.count; i++) {
        const uint8_t *x = dataset_example(&d, i);
        uint32_t dark = 0, edge = 0;
        for (uint32_t p = 0; p < 784; p++) {
            bool border = p < 28 || p >= 756 || p % 28 == 0 || p % 28 == 27;
            dark += x[p] > 127;
            edge += border && x[p] > 127;
        }
        assert_in_range(dark, 15, 300);
        assert_in_range(edge, 0, 8);
    }
    dataset_deinit(&d);
}

static void refuses_bad_ranges(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct dataset d;
    struct digits_config c = {1, 0, 0, 5, false};
    ASSERT_FAILS(dataset_draw_digits(&c, &d, &err), SOTTO_INVALID, "at least one");
    c.writer_count = 5, c.per_writer = 0;
    ASSERT_STATUS(dataset_draw_digits(&c, &d, &err), SOTTO_INVALID);
    c.writer_first = UINT32_MAX, c.writer_count = 2, c.per_writer = 1;
    ASSERT_STATUS(dataset_draw_digits(&c, &d, &err), SOTTO_INVALID);
    c.writer_first = 0, c.writer_count = UINT32_MAX, c.per_writer = UINT32_MAX;
    ASSERT_FAILS(dataset_draw_digits(&c, &d, &err), SOTTO_LIMIT, "more than the limit");
    assert_null(d.x);
}

static enum sotto_status draw_oom(void *ctx, struct sotto_error *err) {
    struct dataset d;
    enum sotto_status status = dataset_draw_digits(ctx, &d, err);
    dataset_deinit(&d);
    return status;
}

static void survives_lack_of_memory(void **state) {
    (void)state;
    struct digits_config c = {1, 0, 2, 3, false};
    test_oom_loop(draw_oom, &c);
}

static void prints_as_text(void **state) {
    (void)state;
    struct dataset d = draw(1, 0, 1, 1, false);
    struct buf b;
    buf_init(&b, 1 << 16);
    data_print_image(&d.schema, dataset_example(&d, 0), false, &b);
    assert_int_equal(b.len, 14 * 29);
    size_t marks = 0;
    for (size_t i = 0; i < b.len; i++) {
        assert_int_equal(b.data[i] == '\n', i % 29 == 28);
        marks += b.data[i] != ' ' && b.data[i] != '\n';
    }
    assert_true(marks > 10);
    buf_reset(&b);
    data_print_image(&d.schema, dataset_example(&d, 0), true, &b);
    printf("a %d:\n%.*s", d.labels[0], (int)b.len, (const char *)b.data);
    size_t lines = 0, cells = 0;
    for (size_t i = 0; i < b.len; i++) {
        lines += b.data[i] == '\n';
        cells += b.data[i] != '\n' && (b.data[i] & 0xc0) != 0x80;
    }
    assert_int_equal(lines, 14);
    assert_int_equal(cells, 14 * 28);
    const struct data_schema colour = {DATA_U8, 3, {2, 2, 3}, 10, 1, 0};
    buf_reset(&b);
    data_print_image(&colour, "0123456789ab", true, &b); /* not of one channel: nothing */
    assert_int_equal(b.len, 0);
    const struct data_schema odd = {DATA_F32, 2, {3, 2}, 10, 0.5f, 0};
    const float values[6] = {0, 2, 0, 2, 2, 0};
    data_print_image(&odd, values, false, &b);
    assert_int_equal(b.len, 6);
    assert_memory_equal(b.data, " @\n@ \n", 6);
    buf_deinit(&b);
    dataset_deinit(&d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pixels_are_pinned),
        cmocka_unit_test(examples_do_not_depend_on_the_range),
        cmocka_unit_test(seeds_and_writers_differ),
        cmocka_unit_test(class_mix_is_the_writers),
        cmocka_unit_test(images_look_like_ink_on_paper),
        cmocka_unit_test(refuses_bad_ranges),
        cmocka_unit_test(survives_lack_of_memory),
        cmocka_unit_test(prints_as_text),
    };
    return cmocka_run_group_tests_name("model/data/digits", tests, NULL, NULL);
}
