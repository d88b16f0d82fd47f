/* What every test shares: cmocka in the right order, a temporary folder, the seed, failing
 * allocations. */
#ifndef SOTTO_TESTS_SUPPORT_H
#define SOTTO_TESTS_SUPPORT_H

/* cmocka.h needs these four before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sotto/base.h"

/* A fresh, empty folder of this process under $TMPDIR or /tmp; the same one at every call; removed
 * with all it holds when the process ends, also after a failed test. */
const char *test_tmpdir(void);
/* A path inside it, "DIR/name", in a buffer that the next 8 calls leave alone. */
const char *test_path(const char *name);
/* SOTTO_SEED, or a fixed default; printed at the first call so that a failure can be replayed. */
uint64_t test_seed(void);
/* The folder with data sets (SOTTO_DATA), or NULL: tests that need it then skip(). */
const char *test_data(void);

/* The allocation after n more successful ones fails, once; off ends that. Not while other threads
 * allocate. */
void test_fail_alloc_after(uint64_t n);
void test_fail_alloc_off(void);
/* Whether the failure that was ordered has happened. */
bool test_fail_alloc_hit(void);

/* Counts the bytes that the allocator gives from now on, its rounding included; off ends that and
 * returns the most that were held at one time. Not while other threads allocate, nor while
 * allocations are to fail. */
void test_count_bytes(void);
size_t test_count_bytes_off(void);

/* Calls fn with its first allocation failing, then its second, and so on until one run meets no
 * failure. Every failed run must return NOMEM (or OK, when it can do without), the last OK, and
 * none may leave a block behind (mem_live_count). */
typedef enum sotto_status test_oom_fn(void *ctx, struct sotto_error *err);
void test_oom_loop(test_oom_fn *fn, void *ctx);

/* The status is OK, else prints the error's message and fails. The expression takes &err of the
 * enclosing scope. */
#define ASSERT_OK(expr) test_assert_ok((expr), &err, #expr, __FILE__, __LINE__)
/* The status is the given one. */
#define ASSERT_STATUS(expr, want) test_assert_status((expr), (want), #expr, __FILE__, __LINE__)
/* The same, and the message contains part. */
#define ASSERT_FAILS(expr, want, part)                                                             \
    test_assert_fails((expr), (want), &err, (part), #expr, __FILE__, __LINE__)

void test_assert_ok(enum sotto_status status, const struct sotto_error *err, const char *expr,
                    const char *file, int line);
void test_assert_status(enum sotto_status status, enum sotto_status want, const char *expr,
                        const char *file, int line);
void test_assert_fails(enum sotto_status status, enum sotto_status want,
                       const struct sotto_error *err, const char *part, const char *expr,
                       const char *file, int line);

#endif
