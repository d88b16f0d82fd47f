/* Files: caps, atomic replacement, locks, folders, and what stays behind (nothing). */
#include "support.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static enum sotto_status count_entry(void *ctx, const char *name) {
    (void)name;
    (*(int *)ctx)++;
    return SOTTO_OK;
}

static int entries(const char *path) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    int n = 0;
    ASSERT_OK(io_list(path, count_entry, &n, &err));
    return n;
}

static const char *fresh_folder(const char *name) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    const char *path = test_path(name);
    ASSERT_OK(io_mkdir_p(path, 0700, &err));
    return path;
}

static void reads_up_to_the_cap(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct buf b;
    static uint8_t data[200000];
    const char *path = test_path("cap");
    static const size_t sizes[] = {0, 1, 65535, 65536, 65537, sizeof data};
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 7 >> 3);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        ASSERT_OK(io_write_file(path, data, sizes[i], 0600, false, &err));
        assert_int_equal(io_file_size(path), sizes[i]);
        buf_init(&b, sizeof data);
        ASSERT_OK(io_read_file(path, sizes[i], &b, &err));
        assert_int_equal(b.len, sizes[i]);
        if (sizes[i] > 0) {
            assert_memory_equal(b.data, data, sizes[i]);
            ASSERT_FAILS(io_read_file(path, sizes[i] - 1, &b, &err), SOTTO_LIMIT, "larger than");
            assert_int_equal(b.len, 0);
        }
        buf_deinit(&b);
    }
}

static void missing_and_odd_files(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct buf b;
    buf_init(&b, 10);
    ASSERT_FAILS(io_read_file(test_path("nothing"), 10, &b, &err), SOTTO_NOT_FOUND,
                 "nothing: cannot open: No such file or directory");
    ASSERT_FAILS(io_read_file(test_tmpdir(), 10, &b, &err), SOTTO_IO, "is a folder");
    ASSERT_FAILS(io_write_file(test_path("no/such"), "x", 1, 0600, false, &err), SOTTO_NOT_FOUND,
                 "cannot create");
    ASSERT_OK(io_remove(test_path("nothing"), &err));
    assert_int_equal(io_file_size(test_path("nothing")), -1);
    assert_false(io_exists(test_path("nothing")));
    assert_true(io_free_bytes(test_tmpdir()) > 0);
    buf_deinit(&b);
}

static void write_replaces_and_leaves_no_temporary(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    char path[IO_PATH_MAX];
    struct stat st;
    struct buf b;
    const char *folder = fresh_folder("atomic");
    ASSERT_OK(io_join(path, sizeof path, folder, "file", &err));
    ASSERT_OK(io_write_file(path, "old", 3, 0600, true, &err));
    /* A reader that has the old file open keeps the old file: the new one came by rename. */
    const int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    ASSERT_OK(io_write_file(path, "new!", 4, 0640, true, &err));
    char was[3];
    assert_int_equal(read(fd, was, 3), 3);
    assert_memory_equal(was, "old", 3);
    close(fd);
    buf_init(&b, 10);
    ASSERT_OK(io_read_file(path, 10, &b, &err));
    assert_memory_equal(b.data, "new!", 4);
    buf_deinit(&b);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07137, 0);
    assert_int_equal(entries(folder), 1);
    /* A target that cannot be replaced: nothing is left beside it. */
    ASSERT_OK(io_remove(path, &err));
    ASSERT_OK(io_mkdir_p(path, 0700, &err));
    ASSERT_STATUS(io_write_file(path, "x", 1, 0600, false, &err), SOTTO_IO);
    assert_int_equal(entries(folder), 1);
}

static void folders_are_made_and_removed(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    const char *root = test_path("tree");
    const char *deep = test_path("tree/a/b//c/");
    ASSERT_OK(io_mkdir_p(deep, 0700, &err));
    ASSERT_OK(io_mkdir_p(deep, 0700, &err));
    ASSERT_OK(io_write_file(test_path("tree/a/file"), "x", 1, 0600, false, &err));
    ASSERT_FAILS(io_mkdir_p(test_path("tree/a/file/x"), 0700, &err), SOTTO_IO,
                 "tree/a/file: cannot make the folder");
    /* A link inside points outside: it goes, its target stays. */
    ASSERT_OK(io_write_file(test_path("kept"), "x", 1, 0600, false, &err));
    assert_int_equal(symlink(test_tmpdir(), test_path("tree/a/link")), 0);
    ASSERT_OK(io_remove_tree(root, &err));
    assert_false(io_exists(root));
    assert_true(io_exists(test_path("kept")));
    ASSERT_OK(io_remove_tree(root, &err));
}

static void shred_empties_what_others_hold(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    const char *path = test_path("secret");
    char seen[6] = "";
    ASSERT_OK(io_write_file(path, "secret", 6, 0600, false, &err));
    const int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    ASSERT_OK(io_shred(path, &err));
    assert_false(io_exists(path));
    assert_int_equal(pread(fd, seen, 6, 0), 6);
    assert_memory_equal(seen, "\0\0\0\0\0\0", 6);
    close(fd);
    ASSERT_OK(io_shred(path, &err));
    assert_int_equal(symlink(test_tmpdir(), path), 0);
    assert_int_not_equal(io_shred(path, &err), SOTTO_OK);
}

static void a_lock_is_exclusive(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    const char *path = test_path("lock");
    int a = -1, b = -1;
    ASSERT_OK(io_lock(path, &a, &err));
    ASSERT_FAILS(io_lock(path, &b, &err), SOTTO_BUSY, "held by another process");
    close(a);
    ASSERT_OK(io_lock(path, &b, &err));
    close(b);
}

static void joins_are_bounded(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    char out[8];
    ASSERT_OK(io_join(out, sizeof out, "abc", "def", &err));
    assert_string_equal(out, "abc/def");
    ASSERT_OK(io_join(out, sizeof out, "abc/", "def", &err));
    assert_string_equal(out, "abc/def");
    ASSERT_OK(io_join(out, sizeof out, "", "def", &err));
    assert_string_equal(out, "def");
    ASSERT_STATUS(io_join(out, sizeof out, "abcd", "def", &err), SOTTO_LIMIT);
    ASSERT_STATUS(io_join(out, sizeof out, "abcdefghij", "", &err), SOTTO_LIMIT);
}

static enum sotto_status stop_at_once(void *ctx, const char *name) {
    (void)name;
    (*(int *)ctx)++;
    return SOTTO_CANCELLED;
}

static void a_list_stops_when_told(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    int n = 0;
    fresh_folder("list");
    fresh_folder("list/a");
    fresh_folder("list/b");
    ASSERT_STATUS(io_list(test_path("list"), stop_at_once, &n, &err), SOTTO_CANCELLED);
    assert_int_equal(n, 1);
    assert_int_equal(entries(test_path("list")), 2);
    ASSERT_STATUS(io_list(test_path("list/none"), count_entry, &n, &err), SOTTO_NOT_FOUND);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_up_to_the_cap),
        cmocka_unit_test(missing_and_odd_files),
        cmocka_unit_test(write_replaces_and_leaves_no_temporary),
        cmocka_unit_test(folders_are_made_and_removed),
        cmocka_unit_test(shred_empties_what_others_hold),
        cmocka_unit_test(a_lock_is_exclusive),
        cmocka_unit_test(joins_are_bounded),
        cmocka_unit_test(a_list_stops_when_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
