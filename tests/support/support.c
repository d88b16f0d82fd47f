/* The shared test helpers. */
#include "support.h"

#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SEED_DEFAULT 20240229u
#define OOM_RUNS_MAX 100000u

static char tmpdir[IO_PATH_MAX];
static pid_t tmpdir_owner;

static void remove_tmpdir(void) {
    if (tmpdir_owner != getpid()) /* a forked child must not sweep its parent's folder */
        return;
    struct sotto_error err = SOTTO_ERROR_INIT;
    test_fail_alloc_off();
    if (io_remove_tree(tmpdir, &err) != SOTTO_OK)
        (void)fprintf(stderr, "test folder stays: %s\n", err.message);
}

const char *test_tmpdir(void) {
    if (tmpdir_owner != 0)
        return tmpdir;
    const char *base = getenv("TMPDIR");
    if (base == NULL || base[0] == '\0')
        base = "/tmp";
    const int n = snprintf(tmpdir, sizeof tmpdir, "%s/sotto-test-XXXXXX", base);
    if (n < 0 || (size_t)n >= sizeof tmpdir || mkdtemp(tmpdir) == NULL) {
        perror("mkdtemp");
        abort();
    }
    tmpdir_owner = getpid();
    if (atexit(remove_tmpdir) != 0)
        abort();
    return tmpdir;
}

const char *test_path(const char *name) {
    static char paths[8][IO_PATH_MAX];
    static unsigned next;
    char *out = paths[next++ % 8];
    if (io_join(out, IO_PATH_MAX, test_tmpdir(), name, NULL) != SOTTO_OK)
        fail_msg("path too long: %s", name);
    return out;
}

uint64_t test_seed(void) {
    static uint64_t seed;
    static bool known;
    if (!known) {
        const char *text = getenv("SOTTO_SEED");
        seed = SEED_DEFAULT;
        if (text != NULL && num_parse_u64(text, 0, UINT64_MAX, &seed, NULL) != SOTTO_OK)
            fail_msg("SOTTO_SEED is not a number: %s", text);
        known = true;
        print_message("seed: SOTTO_SEED=%" PRIu64 "\n", seed);
    }
    return seed;
}

const char *test_data(void) {
    const char *path = getenv("SOTTO_DATA");
    return path != NULL && path[0] != '\0' ? path : NULL;
}

static struct {
    uint64_t left;
    bool hit;
} failing;

static bool fails_now(void) {
    if (failing.hit)
        return false;
    if (failing.left == 0) {
        failing.hit = true;
        return true;
    }
    failing.left--;
    return false;
}

static void *failing_alloc(void *ctx, size_t size) {
    (void)ctx;
    return fails_now() ? NULL : malloc(size);
}

static void *failing_resize(void *ctx, void *p, size_t size) {
    (void)ctx;
    return fails_now() ? NULL : realloc(p, size);
}

static void failing_release(void *ctx, void *p) {
    (void)ctx;
    free(p);
}

void test_fail_alloc_after(uint64_t n) {
    static const struct mem_hooks hooks = {failing_alloc, failing_resize, failing_release, NULL};
    failing.left = n;
    failing.hit = false;
    mem_set_hooks(&hooks);
}

void test_fail_alloc_off(void) {
    mem_set_hooks(NULL);
}

static size_t live_bytes, peak_bytes;

static void *count_alloc(void *ctx, size_t size) {
    (void)ctx;
    void *p = malloc(size);
    live_bytes += malloc_usable_size(p);
    peak_bytes = live_bytes > peak_bytes ? live_bytes : peak_bytes;
    return p;
}

static void *count_resize(void *ctx, void *p, size_t size) {
    (void)ctx;
    live_bytes -= malloc_usable_size(p);
    p = realloc(p, size);
    live_bytes += malloc_usable_size(p);
    peak_bytes = live_bytes > peak_bytes ? live_bytes : peak_bytes;
    return p;
}

static void count_release(void *ctx, void *p) {
    (void)ctx;
    live_bytes -= malloc_usable_size(p);
    free(p);
}

void test_count_bytes(void) {
    static const struct mem_hooks hooks = {count_alloc, count_resize, count_release, NULL};
    live_bytes = peak_bytes = 0;
    mem_set_hooks(&hooks);
}

size_t test_count_bytes_off(void) {
    mem_set_hooks(NULL);
    return peak_bytes;
}

bool test_fail_alloc_hit(void) {
    return failing.hit;
}

void test_oom_loop(test_oom_fn *fn, void *ctx) {
    for (uint64_t n = 0; n < OOM_RUNS_MAX; n++) {
        struct sotto_error err = SOTTO_ERROR_INIT;
        const uint64_t before = mem_live_count();
        test_fail_alloc_after(n);
        const enum sotto_status status = fn(ctx, &err);
        const bool hit = test_fail_alloc_hit();
        test_fail_alloc_off();
        const uint64_t after = mem_live_count();
        if (after != before)
            fail_msg("allocation %" PRIu64 " failing leaves %" PRId64 " blocks", n,
                     (int64_t)(after - before));
        if (status != SOTTO_OK && (!hit || status != SOTTO_NOMEM))
            fail_msg("allocation %" PRIu64 " failing: %s: %s", n, sotto_status_name(status),
                     err.message);
        if (!hit)
            return;
    }
    fail_msg("still failing after %u allocations", OOM_RUNS_MAX);
}

void test_assert_ok(enum sotto_status status, const struct sotto_error *err, const char *expr,
                    const char *file, int line) {
    if (status == SOTTO_OK)
        return;
    print_error("%s:%d: %s: %s: %s\n", file, line, expr, sotto_status_name(status), err->message);
    _fail(file, line);
}

void test_assert_status(enum sotto_status status, enum sotto_status want, const char *expr,
                        const char *file, int line) {
    if (status == want)
        return;
    print_error("%s:%d: %s: is %s, expected %s\n", file, line, expr, sotto_status_name(status),
                sotto_status_name(want));
    _fail(file, line);
}

void test_assert_fails(enum sotto_status status, enum sotto_status want,
                       const struct sotto_error *err, const char *part, const char *expr,
                       const char *file, int line) {
    test_assert_status(status, want, expr, file, line);
    if (strstr(err->message, part) != NULL)
        return;
    print_error("%s:%d: %s: message is\n  %s\nwithout\n  %s\n", file, line, expr, err->message,
                part);
    _fail(file, line);
}
