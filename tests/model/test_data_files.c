/* Tests of CSV, CIFAR-10, named data sets, schemas, and the real MNIST when it is at hand. */
#include "data_files.h"

#include <string.h>

static enum sotto_status csv(const char *text, struct dataset *d, struct sotto_error *err) {
    struct buf b;
    buf_init(&b, 1 << 20);
    buf_put(&b, text, strlen(text));
    const char *path = write_file("table.csv", &b);
    buf_deinit(&b);
    return dataset_read_csv(path, d, err);
}

static void csv_accepts(void **state) {
    (void)state;
    static const char *const texts[] = {
        "1.5,-2,0\n3,4e-1,2\n",
        "1.5,-2,0\n3,4e-1,2",
        "1.5,-2,0\r\n3,4e-1,2\r\n",
        "width,height,label\n1.5,-2,0\n3,4e-1,2\n",
        "\xef\xbb\xbfwidth,\"height\",label\n 1.5 ,\t-2, 0\n3,4e-1 ,2 \n",
    };
    struct sotto_error err = SOTTO_ERROR_INIT;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct dataset d;
        char text[64];
        ASSERT_OK(csv(texts[i], &d, &err));
        assert_string_equal(data_schema_text(&d.schema, text, sizeof text), "f32 2, 3 classes");
        assert_int_equal(d.count, 2);
        const float *x = d.x;
        assert_true(x[0] == 1.5f && x[1] == -2.0f && x[2] == 3.0f && x[3] == 0.4f);
        assert_int_equal(d.labels[0], 0);
        assert_int_equal(d.labels[1], 2);
        assert_null(d.keys);
        dataset_deinit(&d);
    }
}

static void csv_refuses(void **state) {
    (void)state;
    static const struct {
        const char *text;
        enum sotto_status status;
        const char *part;
    } cases[] = {
        {"", SOTTO_INVALID, "is empty"},
        {"a,b,label\n", SOTTO_INVALID, "no examples"},
        {"5\n6\n", SOTTO_CORRUPT, ":1: 1 columns"},
        {"1,2,0\n1,2\n", SOTTO_CORRUPT, ":2: 2 columns, the first line has 3"},
        {"1,2,0\n1,2,1,0\n", SOTTO_CORRUPT, ":2: 4 columns, the first line has 3"},
        {"1,2,0\n1,x,0\n", SOTTO_CORRUPT, ":2: column 2 is 'x', expected a finite number"},
        {"1,b,0\n1,2,0\n", SOTTO_CORRUPT, ":1: column 2 is 'b'"},
        {"1,nan,0\n1,2,0\n", SOTTO_CORRUPT, "column 2 is 'nan'"},
        {"1,1e39,0\n1,2,0\n", SOTTO_CORRUPT, "column 2 is '1e39'"},
        {"1,0x10,0\n1,2,0\n", SOTTO_CORRUPT, "column 2 is '0x10'"},
        {"1,,0\n1,2,0\n", SOTTO_CORRUPT, "column 2 is ''"},
        {"1,2,0.5\n1,2,0\n", SOTTO_CORRUPT, ":1: column 3 is '0.5', expected a label"},
        {"1,2,-1\n1,2,0\n", SOTTO_CORRUPT, "column 3 is '-1'"},
        {"1,2,65536\n1,2,0\n", SOTTO_CORRUPT, "column 3 is '65536'"},
        {"1,2,0\n\n1,2,0\n", SOTTO_CORRUPT, ":2: 1 column, the first line has 3"},
        {"1,\x01\x80,0\n", SOTTO_CORRUPT, "\\x01\\x80"},
        {",,,,,,,,,,\n\n\n\n\n\n\n\n\n\n\n\n", SOTTO_CORRUPT,
         ":2: 1 column, the first line has 11"},
    };
    struct sotto_error err = SOTTO_ERROR_INIT;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct dataset d;
        ASSERT_FAILS(csv(cases[i].text, &d, &err), cases[i].status, cases[i].part);
        assert_null(d.x);
    }
}

static enum sotto_status csv_oom(void *ctx, struct sotto_error *err) {
    struct dataset d;
    enum sotto_status status = dataset_read_csv(ctx, &d, err);
    dataset_deinit(&d);
    return status;
}

static void csv_survives_lack_of_memory(void **state) {
    (void)state;
    struct buf b;
    buf_init(&b, 1 << 20);
    buf_printf(&b, "a,b,label\n1,2,0\n3,4,1\n");
    char path[IO_PATH_MAX];
    snprintf(path, sizeof path, "%s", write_file("oom.csv", &b));
    buf_deinit(&b);
    test_oom_loop(csv_oom, path);
}

/* Record i of a file: label, then planes whose pixel p holds i + p, 50 + p and 100 + p mod 256. */
static void put_cifar(struct buf *b, uint32_t count, uint8_t first_label) {
    for (uint32_t i = 0; i < count; i++) {
        buf_put_u8(b, (uint8_t)(first_label + i));
        for (uint32_t c = 0; c < 3; c++)
            for (uint32_t p = 0; p < 1024; p++)
                buf_put_u8(b, (uint8_t)((c ? 50 * c : i) + p));
    }
}

static void cifar_becomes_nhwc(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct buf a, b;
    buf_init(&a, 1 << 20);
    buf_init(&b, 1 << 20);
    put_cifar(&a, 3, 0);
    put_cifar(&b, 2, 8);
    const char *paths[2] = {write_file("c1.bin", &a), write_file("c2.bin", &b)};
    struct dataset d;
    ASSERT_OK(dataset_read_cifar10(paths, 2, &d, &err));
    char text[64];
    assert_string_equal(data_schema_text(&d.schema, text, sizeof text), "u8 32x32x3, 10 classes");
    assert_int_equal(d.count, 5);
    static const int32_t labels[5] = {0, 1, 2, 8, 9};
    for (uint32_t i = 0; i < 5; i++) {
        const uint8_t *x = dataset_example(&d, i);
        assert_int_equal(d.labels[i], labels[i]);
        for (uint32_t p = 0; p < 1024; p++) {
            assert_int_equal(x[3 * p], (uint8_t)(i % 3 + p));
            assert_int_equal(x[3 * p + 1], (uint8_t)(50 + p));
            assert_int_equal(x[3 * p + 2], (uint8_t)(100 + p));
        }
    }
    dataset_deinit(&d);

    b.data[3073] = 10;
    write_file("c2.bin", &b);
    paths[1] = test_path("c2.bin");
    ASSERT_FAILS(dataset_read_cifar10(paths, 2, &d, &err), SOTTO_CORRUPT,
                 "c2.bin: byte 3073: label of record 1 is 10");
    b.len--;
    write_file("c2.bin", &b);
    ASSERT_FAILS(dataset_read_cifar10(paths, 2, &d, &err), SOTTO_CORRUPT,
                 "6145 bytes are not a multiple of 3073");
    ASSERT_STATUS(dataset_read_cifar10(paths, 0, &d, &err), SOTTO_INVALID);
    paths[1] = test_path("c3.bin");
    ASSERT_FAILS(dataset_read_cifar10(paths, 2, &d, &err), SOTTO_NOT_FOUND, "c3.bin");
    buf_deinit(&a);
    buf_deinit(&b);
}

static void named_sets(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct dataset d;
    char dir[IO_PATH_MAX];
    snprintf(dir, sizeof dir, "%s", test_tmpdir());
    ASSERT_FAILS(dataset_read_named("mnisst", dir, false, &d, &err), SOTTO_INVALID,
                 "'mnisst' is unknown; known are mnist, fashion-mnist, cifar10");
    ASSERT_FAILS(dataset_read_named("mnist", dir, false, &d, &err), SOTTO_NOT_FOUND,
                 "mnist/train-images-idx3-ubyte");
    ASSERT_FAILS(dataset_read_named("cifar10", dir, true, &d, &err), SOTTO_NOT_FOUND,
                 "test_batch.bin");
    struct buf images, labels, rows;
    buf_init(&images, 1 << 20);
    buf_init(&labels, 1 << 20);
    buf_init(&rows, 1 << 20);
    make_images(&images, 20, 28, 28);
    make_gzip(&images);
    make_labels(&labels, 20);
    make_rows(&rows, 30);
    ASSERT_OK(io_mkdir_p(test_path("mnist"), 0755, &err));
    ASSERT_OK(io_mkdir_p(test_path("qmnist-labels"), 0755, &err));
    write_file("mnist/t10k-images-idx3-ubyte.gz", &images);
    ASSERT_FAILS(dataset_read_named("mnist", dir, true, &d, &err), SOTTO_NOT_FOUND,
                 "t10k-labels-idx1-ubyte");
    write_file("mnist/t10k-labels-idx1-ubyte", &labels);
    ASSERT_OK(dataset_read_named("mnist", dir, true, &d, &err));
    assert_int_equal(d.count, 20);
    assert_null(d.keys);
    dataset_deinit(&d);
    write_file("qmnist-labels/qmnist-test-labels-idx2-int", &rows);
    ASSERT_OK(dataset_read_named("mnist", dir, true, &d, &err));
    assert_int_equal(d.key_count, 3);
    dataset_deinit(&d);
    rows.data[12 + 3] = 9; /* another label in row 0 */
    write_file("qmnist-labels/qmnist-test-labels-idx2-int", &rows);
    ASSERT_FAILS(dataset_read_named("mnist", dir, true, &d, &err), SOTTO_CORRUPT,
                 "row 0 has label");
    assert_null(d.x);
    buf_deinit(&images);
    buf_deinit(&labels);
    buf_deinit(&rows);
}

static void schemas_compare(void **state) {
    (void)state;
    const struct data_schema a = {DATA_U8, 3, {28, 28, 1}, 10, 1.0f / 255, 0};
    struct data_schema b = a;
    assert_true(data_schema_equal(&a, &b));
    b.dims[2] = 3;
    assert_false(data_schema_equal(&a, &b));
    b = a, b.classes = 11;
    assert_false(data_schema_equal(&a, &b));
    b = a, b.scale = 1;
    assert_false(data_schema_equal(&a, &b));
    b = a, b.rank = 2;
    assert_false(data_schema_equal(&a, &b));
    b = a, b.dtype = DATA_F32;
    assert_false(data_schema_equal(&a, &b));
    assert_int_equal(data_schema_count(&a), 784);
    assert_int_equal(data_schema_example_bytes(&b), 3136);
    b.dims[0] = b.dims[1] = 1u << 31; /* hostile: must not wrap */
    assert_int_equal(data_schema_count(&b), 0);
}

static void real_mnist(void **state) {
    (void)state;
    if (!test_data())
        skip();
    static const uint32_t train[10] = {5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949};
    static const uint32_t test[10] = {980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009};
    struct sotto_error err = SOTTO_ERROR_INIT;
    for (int part = 0; part < 2; part++) {
        struct dataset d;
        uint32_t classes[10] = {0}, writer[600] = {0};
        ASSERT_OK(dataset_read_named("mnist", test_data(), part == 1, &d, &err));
        assert_int_equal(d.count, part ? 10000 : 60000);
        assert_int_equal(d.key_count, part ? 297 : 539);
        for (uint32_t i = 0; i < d.count; i++) {
            classes[d.labels[i]]++;
            assert_true(d.keys[i] < d.key_count);
            writer[d.keys[i]]++;
        }
        assert_memory_equal(classes, part ? test : train, sizeof classes);
        uint32_t least = UINT32_MAX, most = 0;
        for (uint32_t k = 0; k < d.key_count; k++) {
            least = writer[k] < least ? writer[k] : least;
            most = writer[k] > most ? writer[k] : most;
        }
        assert_int_equal(least, part ? 8 : 19);
        assert_int_equal(most, part ? 130 : 131);
        dataset_deinit(&d);
        ASSERT_OK(dataset_read_named("fashion-mnist", test_data(), part == 1, &d, &err));
        memset(classes, 0, sizeof classes);
        for (uint32_t i = 0; i < d.count; i++)
            classes[d.labels[i]]++;
        for (uint32_t c = 0; c < 10; c++)
            assert_int_equal(classes[c], part ? 1000 : 6000);
        dataset_deinit(&d);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(csv_accepts),
        cmocka_unit_test(csv_refuses),
        cmocka_unit_test(csv_survives_lack_of_memory),
        cmocka_unit_test(cifar_becomes_nhwc),
        cmocka_unit_test(named_sets),
        cmocka_unit_test(schemas_compare),
        cmocka_unit_test(real_mnist),
    };
    return cmocka_run_group_tests_name("model/data/files", tests, NULL, NULL);
}
