/* The authority's key file: both ways to seal it, wrong secrets, modes, damage, failing memory. */
#include "support.h"

#include "sotto/protocol/identity.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static int set_up(void **state) {
    (void)state;
    return id_setup(NULL) == SOTTO_OK ? 0 : 1;
}

static void by_passphrase(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    const struct id_lock lock = {.passphrase = "correct horse"}, wrong = {.passphrase = "horse"};
    const struct id_lock file = {.key_file = test_path("none.key")};
    const char *path = test_path("pass.authority");
    struct id_keys made, back;
    struct stat st;
    ASSERT_OK(id_authority_create(path, &lock, &made, &err));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    ASSERT_OK(id_authority_open(path, &lock, &back, &err));
    assert_memory_equal(&made, &back, sizeof made);
    ASSERT_FAILS(id_authority_open(path, &wrong, &back, &err), SOTTO_DENIED, "wrong passphrase");
    assert_int_equal(back.secret_key[0] | back.secret_key[31], 0);
    ASSERT_FAILS(id_authority_open(path, &file, &back, &err), SOTTO_DENIED, "by a passphrase");
    ASSERT_FAILS(id_authority_create(path, &lock, &back, &err), SOTTO_EXISTS, "exists");
    assert_int_equal(chmod(path, 0640), 0);
    ASSERT_FAILS(id_authority_open(path, &lock, &back, &err), SOTTO_DENIED, "mode 640");
}

static void by_key_file(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    const char *path = test_path("file.authority"), *key = test_path("fleet.key");
    const char *other = test_path("other.key");
    const struct id_lock lock = {.key_file = key}, wrong = {.key_file = other};
    const struct id_lock missing = {.key_file = test_path("missing.key")};
    struct id_keys made, back;
    struct stat st;
    ASSERT_OK(id_authority_create(path, &lock, &made, &err));
    assert_int_equal(stat(key, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(st.st_size, 32);
    ASSERT_OK(id_authority_open(path, &lock, &back, &err));
    assert_memory_equal(&made, &back, sizeof made);
    /* The same key file seals a second authority. */
    ASSERT_OK(id_authority_create(test_path("file2.authority"), &lock, &back, &err));
    assert_memory_not_equal(&made, &back, sizeof made);
    ASSERT_OK(io_write_file(other, "0123456789abcdef0123456789abcdef", 32, 0600, false, &err));
    ASSERT_FAILS(id_authority_open(path, &wrong, &back, &err), SOTTO_DENIED, "wrong key file");
    ASSERT_OK(io_write_file(other, "short", 5, 0600, false, &err));
    ASSERT_FAILS(id_authority_open(path, &wrong, &back, &err), SOTTO_CORRUPT, "5 bytes");
    ASSERT_STATUS(id_authority_open(path, &missing, &back, &err), SOTTO_NOT_FOUND);
    assert_int_equal(chmod(key, 0604), 0);
    ASSERT_FAILS(id_authority_open(path, &lock, &back, &err), SOTTO_DENIED, "mode 604");
}

static void one_lock(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct id_keys k;
    const struct id_lock none = {NULL, NULL}, both = {"x", "y"}, empty = {"", NULL};
    const char *path = test_path("never");
    ASSERT_STATUS(id_authority_create(path, &none, &k, &err), SOTTO_INVALID);
    ASSERT_STATUS(id_authority_create(path, &both, &k, &err), SOTTO_INVALID);
    ASSERT_STATUS(id_authority_create(path, &empty, &k, &err), SOTTO_INVALID);
    ASSERT_STATUS(id_authority_open(path, &none, &k, &err), SOTTO_INVALID);
    assert_false(io_exists(path));
}

static void damage(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    const char *path = test_path("damaged.authority");
    const struct id_lock lock = {.key_file = test_path("damage.key")};
    struct id_keys k;
    struct buf b;
    buf_init(&b, 4096);
    ASSERT_OK(id_authority_create(path, &lock, &k, &err));
    ASSERT_OK(io_read_file(path, 4096, &b, &err));
    for (size_t i = 0; i < b.len; i++) {
        b.data[i] ^= 0x10;
        ASSERT_OK(io_write_file(path, b.data, b.len, 0600, false, &err));
        const enum sotto_status s = id_authority_open(path, &lock, &k, &err);
        assert_true(s == SOTTO_CORRUPT || s == SOTTO_DENIED);
        b.data[i] ^= 0x10;
    }
    ASSERT_OK(io_write_file(path, b.data, b.len - 1, 0600, false, &err));
    ASSERT_STATUS(id_authority_open(path, &lock, &k, &err), SOTTO_CORRUPT);
    /* A file that asks for 4 GiB of Argon2id is refused before any work. */
    b.data[8] = 1;
    b.data[9] = 1;
    memset(b.data + 17, 0, 8);
    b.data[21] = 1;
    ASSERT_OK(io_write_file(path, b.data, b.len, 0600, false, &err));
    const struct id_lock pass = {.passphrase = "x"};
    ASSERT_FAILS(id_authority_open(path, &pass, &k, &err), SOTTO_CORRUPT, "out of range");
    buf_deinit(&b);
}

static enum sotto_status create_and_open(void *ctx, struct sotto_error *err) {
    enum sotto_status status;
    const char *path = ctx;
    const struct id_lock lock = {.key_file = test_path("oom.key")};
    struct id_keys k;
    TRY(io_remove(path, err));
    TRY(id_authority_create(path, &lock, &k, err));
    TRY(id_authority_open(path, &lock, &k, err));
out:
    return status;
}

static void out_of_memory(void **state) {
    (void)state;
    char path[IO_PATH_MAX];
    snprintf(path, sizeof path, "%s", test_path("oom.authority"));
    test_oom_loop(create_and_open, path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_passphrase), cmocka_unit_test(by_key_file),
        cmocka_unit_test(one_lock),      cmocka_unit_test(damage),
        cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
