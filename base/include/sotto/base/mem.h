/* The process's allocator (one seam, so that tests can fail the n-th call) and arenas. */
#ifndef SOTTO_BASE_MEM_H
#define SOTTO_BASE_MEM_H

#include "sotto/base/status.h"

/* Replaces malloc/realloc/free for everything of ours. Set once, before any other call; tests set a
 * failing one. */
struct mem_hooks {
    void *(*alloc)(void *ctx, size_t size);
    void *(*resize)(void *ctx, void *p, size_t size);
    void (*release)(void *ctx, void *p);
    void *ctx;
};
void mem_set_hooks(const struct mem_hooks *hooks); /* NULL restores libc */

/* size > 0 bytes, uninitialised / zeroed; NULL when out of memory or size is 0. Caller frees with
 * mem_free. */
void *mem_alloc(size_t size) SOTTO_NODISCARD;
void *mem_zalloc(size_t size) SOTTO_NODISCARD;
/* count * size bytes zeroed; NULL on overflow too. */
void *mem_array(size_t count, size_t size) SOTTO_NODISCARD;
/* Grows or shrinks to count * size; NULL leaves p valid. New bytes are not zeroed. */
void *mem_resize(void *p, size_t count, size_t size) SOTTO_NODISCARD;
/* align is a power of two <= 4096. Free with mem_free_aligned. */
void *mem_alloc_aligned(size_t size, size_t align) SOTTO_NODISCARD;
void mem_free_aligned(void *p);
void mem_free(void *p); /* NULL is fine */
char *mem_strdup(const char *s) SOTTO_NODISCARD;
void *mem_dup(const void *p, size_t n) SOTTO_NODISCARD; /* n > 0 */

/* The number of live allocations through this seam (for leak tests), and of all calls so far (for
 * no-allocation tests). */
uint64_t mem_live_count(void);
uint64_t mem_call_count(void);

/* A bump arena with a fixed capacity. Allocations are 64-byte aligned and zeroed; reset forgets
 * them all. */
struct arena;
struct arena *arena_new(size_t capacity_bytes) SOTTO_NODISCARD;
void arena_free(struct arena *arena);
void *arena_alloc(struct arena *arena, size_t size) SOTTO_NODISCARD; /* NULL when full */
void arena_reset(struct arena *arena);

#endif
