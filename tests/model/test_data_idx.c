/* Tests of the IDX reader and QMNIST keys: what they give, and every way in which a file can be
 * wrong. */
#include "data_files.h"

#include <string.h>

struct files {
    struct buf images, labels, rows;
};

static void files_init(struct files *f, uint32_t n) {
    buf_init(&f->images, 1 << 20);
    buf_init(&f->labels, 1 << 20);
    buf_init(&f->rows, 1 << 20);
    make_images(&f->images, n, 5, 3);
    make_labels(&f->labels, n);
    make_rows(&f->rows, n);
}

static void files_deinit(struct files *f) {
    buf_deinit(&f->images);
    buf_deinit(&f->labels);
    buf_deinit(&f->rows);
}

static enum sotto_status files_read(struct files *f, struct dataset *d, struct sotto_error *err) {
    const char *images = write_file("images", &f->images);
    return dataset_read_idx(images, write_file("labels", &f->labels), d, err);
}

static void check_content(const struct dataset *d, uint32_t n) {
    char text[64];
    assert_int_equal(d->count, n);
    assert_string_equal(data_schema_text(&d->schema, text, sizeof text), "u8 5x3x1, 10 classes");
    assert_int_equal(data_schema_example_bytes(&d->schema), 15);
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *x = dataset_example(d, i);
        assert_int_equal(d->labels[i], i % 10);
        for (uint32_t k = 0; k < 15; k++)
            assert_int_equal(x[k], (uint8_t)(7 * i + k));
    }
}

static void reads_plain_and_gzip(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    for (int packed = 0; packed < 4; packed++) {
        struct files f;
        struct dataset d;
        files_init(&f, 25);
        if (packed & 1)
            make_gzip(&f.images);
        if (packed & 2)
            make_gzip(&f.labels);
        ASSERT_OK(files_read(&f, &d, &err));
        check_content(&d, 25);
        assert_null(d.keys);
        struct examples all = dataset_examples(&d);
        assert_int_equal(all.count, 25);
        assert_null(all.index);
        assert_ptr_equal(all.x, d.x);
        dataset_deinit(&d);
        files_deinit(&f);
    }
}

static void poke_be32(struct buf *b, size_t at, uint32_t v) {
    for (int i = 0; i < 4; i++)
        b->data[at + (size_t)i] = (uint8_t)(v >> (24 - 8 * i));
}

static void refuses_wrong_headers(void **state) {
    (void)state;
    const struct {
        bool labels;
        size_t at;
        uint32_t value;
        enum sotto_status status;
        const char *part;
    } cases[] = {
        {false, 0, 0x801, SOTTO_CORRUPT, "byte 0: magic is 0x00000801, expected 0x00000803"},
        {true, 0, 0x803, SOTTO_CORRUPT, "labels: byte 0: magic"},
        {false, 4, 0, SOTTO_CORRUPT, "byte 4: dimension 0 is 0"},
        {false, 8, 0, SOTTO_CORRUPT, "byte 8: dimension 1 is 0"},
        {false, 8, 4097, SOTTO_CORRUPT, "expected 1 to 4096"},
        {false, 4, 0xffffffff, SOTTO_LIMIT, "more than the limit"},
        {false, 4, 26, SOTTO_CORRUPT, "header promises 406 bytes, the file can hold at most 391"},
        {false, 4, 24, SOTTO_CORRUPT, "25 labels for the 24 images"},
        {true, 4, 26, SOTTO_CORRUPT, "header promises 34 bytes"},
        {true, 4, 24, SOTTO_CORRUPT, "24 labels for the 25 images"},
        {true, 8, 0x0a000000, SOTTO_CORRUPT, "byte 8: label of example 0 is 10, expected 0 to 9"},
    };
    struct sotto_error err = SOTTO_ERROR_INIT;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct files f;
        struct dataset d;
        files_init(&f, 25);
        poke_be32(cases[i].labels ? &f.labels : &f.images, cases[i].at, cases[i].value);
        ASSERT_FAILS(files_read(&f, &d, &err), cases[i].status, cases[i].part);
        assert_null(d.x);
        files_deinit(&f);
    }
}

static void refuses_every_truncation(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    for (int packed = 0; packed < 2; packed++) {
        struct files f;
        struct dataset d;
        files_init(&f, 7);
        if (packed)
            make_gzip(&f.images);
        size_t whole = f.images.len;
        for (size_t n = 0; n < whole; n++) {
            f.images.len = n;
            ASSERT_STATUS(files_read(&f, &d, &err), SOTTO_CORRUPT);
            assert_non_null(strstr(err.message, "images"));
        }
        f.images.len = whole;
        ASSERT_OK(files_read(&f, &d, &err));
        dataset_deinit(&d);
        files_deinit(&f);
    }
}

static void refuses_what_follows(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct files f;
    struct dataset d;
    files_init(&f, 7);
    buf_put_u8(&f.images, 0);
    ASSERT_FAILS(files_read(&f, &d, &err), SOTTO_CORRUPT, "goes on after byte 121");
    make_gzip(&f.images);
    ASSERT_FAILS(files_read(&f, &d, &err), SOTTO_CORRUPT, "goes on after byte 121");
    buf_reset(&f.images);
    make_images(&f.images, 7, 5, 3);
    make_gzip(&f.images);
    buf_put_u8(&f.images, 0);
    ASSERT_FAILS(files_read(&f, &d, &err), SOTTO_CORRUPT, "1 bytes follow the end");
    files_deinit(&f);
}

/* A checksum that does not hold, and every damaged bit, is refused or gives other pixels, never a
 * crash. */
static void refuses_damaged_gzip(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct files f;
    struct dataset d;
    files_init(&f, 7);
    make_gzip(&f.images);
    f.images.data[f.images.len - 6] ^= 1; /* CRC-32 */
    ASSERT_FAILS(files_read(&f, &d, &err), SOTTO_CORRUPT, "gzip data is damaged");
    f.images.data[f.images.len - 6] ^= 1;
    for (size_t bit = 0; bit < 8 * f.images.len; bit++) {
        f.images.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (files_read(&f, &d, &err) == SOTTO_OK)
            dataset_deinit(&d); /* header fields that carry no content: time, system */
        f.images.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    files_deinit(&f);
}

/* A small gzip file must not make us take the gigabyte that its header promises. */
static void refuses_inflated_promise(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct files f;
    struct dataset d;
    files_init(&f, 25);
    poke_be32(&f.images, 4, 1 << 20);
    poke_be32(&f.labels, 4, 1 << 20);
    make_gzip(&f.images);
    ASSERT_FAILS(files_read(&f, &d, &err), SOTTO_CORRUPT, "the file can hold at most");
    files_deinit(&f);
}

static void names_missing_file(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct dataset d;
    ASSERT_FAILS(dataset_read_idx(test_path("none-a"), test_path("none-b"), &d, &err),
                 SOTTO_NOT_FOUND, "none-a");
}

static void keys_are_renumbered(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    for (int packed = 0; packed < 2; packed++) {
        struct files f;
        struct dataset d;
        files_init(&f, 25);
        buf_reset(&f.rows);
        make_rows(&f.rows, 300); /* more rows than images, as in the test part */
        if (packed)
            make_gzip(&f.rows);
        ASSERT_OK(files_read(&f, &d, &err));
        ASSERT_OK(dataset_read_qmnist_keys(&d, write_file("rows", &f.rows), &err));
        assert_int_equal(d.key_count, 3);
        for (uint32_t i = 0; i < d.count; i++)
            assert_int_equal(d.keys[i], 2 - i % 3); /* 980, 990, 1000 -> 0, 1, 2 */
        dataset_deinit(&d);
        files_deinit(&f);
    }
}

static void keys_of_other_images_are_refused(void **state) {
    (void)state;
    const struct {
        size_t at;
        uint32_t value;
        const char *part;
    } cases[] = {
        {0, 0x801, "expected 0x00000c02"},
        {4, 24, "goes on after byte"},
        {8, 7, "byte 8: 7 columns, expected 8"},
        {12 + 32 * 4, 5, "row 4 has label 5, the data set has 4"},
        {4, 26, "header promises"},
    };
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct files f;
    struct dataset d;
    files_init(&f, 25);
    ASSERT_OK(files_read(&f, &d, &err));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        buf_reset(&f.rows);
        make_rows(&f.rows, 25);
        poke_be32(&f.rows, cases[i].at, cases[i].value);
        if (cases[i].value == 24)
            d.count = 24; /* fewer images than rows in the file, but the header lies */
        ASSERT_FAILS(dataset_read_qmnist_keys(&d, write_file("rows", &f.rows), &err), SOTTO_CORRUPT,
                     cases[i].part);
        d.count = 25;
        assert_null(d.keys);
    }
    buf_reset(&f.rows);
    make_rows(&f.rows, 20);
    ASSERT_FAILS(dataset_read_qmnist_keys(&d, write_file("rows", &f.rows), &err), SOTTO_CORRUPT,
                 "20 rows for 25 examples");
    dataset_deinit(&d);
    files_deinit(&f);
}

static enum sotto_status read_all(void *ctx, struct sotto_error *err) {
    const char *const *paths = ctx;
    struct dataset d;
    enum sotto_status status = dataset_read_idx(paths[0], paths[1], &d, err);
    if (status == SOTTO_OK)
        status = dataset_read_qmnist_keys(&d, paths[2], err);
    dataset_deinit(&d);
    return status;
}

static void survives_lack_of_memory(void **state) {
    (void)state;
    struct files f;
    files_init(&f, 25);
    make_gzip(&f.images);
    const char *paths[3] = {write_file("oom-images", &f.images),
                            write_file("oom-labels", &f.labels), write_file("oom-rows", &f.rows)};
    files_deinit(&f);
    test_oom_loop(read_all, paths);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_plain_and_gzip),
        cmocka_unit_test(refuses_wrong_headers),
        cmocka_unit_test(refuses_every_truncation),
        cmocka_unit_test(refuses_what_follows),
        cmocka_unit_test(refuses_damaged_gzip),
        cmocka_unit_test(refuses_inflated_promise),
        cmocka_unit_test(names_missing_file),
        cmocka_unit_test(keys_are_renumbered),
        cmocka_unit_test(keys_of_other_images_are_refused),
        cmocka_unit_test(survives_lack_of_memory),
    };
    return cmocka_run_group_tests_name("model/data/idx", tests, NULL, NULL);
}
