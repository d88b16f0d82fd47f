/* The allocator seam (hooks and counters) and bump arenas: the only file of ours that calls malloc.
 */
#include "sotto/base/mem.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "sotto/base/num.h"

#define ARENA_ALIGN 64u

static void *libc_alloc(void *ctx, size_t size) {
    (void)ctx;
    return malloc(size);
}

static void *libc_resize(void *ctx, void *p, size_t size) {
    (void)ctx;
    return realloc(p, size);
}

static void libc_release(void *ctx, void *p) {
    (void)ctx;
    free(p);
}

static const struct mem_hooks libc_hooks = {libc_alloc, libc_resize, libc_release, NULL};
static struct mem_hooks hooks = {libc_alloc, libc_resize, libc_release, NULL};
static atomic_uint_fast64_t live_blocks;
static atomic_uint_fast64_t calls;

void mem_set_hooks(const struct mem_hooks *h) {
    hooks = h != NULL ? *h : libc_hooks;
}

void *mem_alloc(size_t size) {
    if (size == 0)
        return NULL;
    atomic_fetch_add_explicit(&calls, 1, memory_order_relaxed);
    void *p = hooks.alloc(hooks.ctx, size);
    if (p != NULL)
        atomic_fetch_add_explicit(&live_blocks, 1, memory_order_relaxed);
    return p;
}

void *mem_zalloc(size_t size) {
    void *p = mem_alloc(size);
    if (p != NULL)
        memset(p, 0, size);
    return p;
}

void *mem_array(size_t count, size_t size) {
    size_t total;
    if (!num_mul_size(count, size, &total))
        return NULL;
    return mem_zalloc(total);
}

void *mem_resize(void *p, size_t count, size_t size) {
    size_t total;
    if (!num_mul_size(count, size, &total) || total == 0)
        return NULL;
    if (p == NULL)
        return mem_alloc(total);
    atomic_fetch_add_explicit(&calls, 1, memory_order_relaxed);
    return hooks.resize(hooks.ctx, p, total);
}

void mem_free(void *p) {
    if (p == NULL)
        return;
    atomic_fetch_sub_explicit(&live_blocks, 1, memory_order_relaxed);
    hooks.release(hooks.ctx, p);
}

void *mem_alloc_aligned(size_t size, size_t align) {
    size_t total;
    if (size == 0 || align == 0 || align > 4096 || (align & (align - 1)) != 0 ||
        !num_add_size(size, align + sizeof(void *), &total))
        return NULL;
    uint8_t *base = mem_alloc(total);
    if (base == NULL)
        return NULL;
    const uintptr_t at = (uintptr_t)(base + sizeof(void *));
    uint8_t *p = base + sizeof(void *) + (size_t)(-at & (align - 1));
    /* The block's start lies right before what the caller sees. */
    memcpy(p - sizeof(void *), &base, sizeof base);
    return p;
}

void mem_free_aligned(void *p) {
    if (p == NULL)
        return;
    void *base;
    memcpy(&base, (uint8_t *)p - sizeof(void *), sizeof base);
    mem_free(base);
}

char *mem_strdup(const char *s) {
    return mem_dup(s, strlen(s) + 1);
}

void *mem_dup(const void *p, size_t n) {
    void *copy = mem_alloc(n);
    if (copy != NULL)
        memcpy(copy, p, n);
    return copy;
}

uint64_t mem_live_count(void) {
    return atomic_load_explicit(&live_blocks, memory_order_relaxed);
}

uint64_t mem_call_count(void) {
    return atomic_load_explicit(&calls, memory_order_relaxed);
}

struct arena {
    uint8_t *data;
    size_t capacity;
    size_t used;
};

struct arena *arena_new(size_t capacity_bytes) {
    struct arena *arena = mem_zalloc(sizeof *arena);
    if (arena == NULL)
        return NULL;
    arena->data = mem_alloc_aligned(capacity_bytes, ARENA_ALIGN);
    if (arena->data == NULL) {
        mem_free(arena);
        return NULL;
    }
    arena->capacity = capacity_bytes;
    return arena;
}

void arena_free(struct arena *arena) {
    if (arena == NULL)
        return;
    mem_free_aligned(arena->data);
    mem_free(arena);
}

void *arena_alloc(struct arena *arena, size_t size) {
    if (size == 0 || size > arena->capacity - arena->used)
        return NULL;
    uint8_t *p = arena->data + arena->used;
    memset(p, 0, size);
    /* Rounding up may step past the end when the capacity is not a multiple: then the arena is
     * simply full. */
    const size_t left = arena->capacity - arena->used;
    const size_t padded = size <= SIZE_MAX - ARENA_ALIGN ? num_round_up(size, ARENA_ALIGN) : left;
    arena->used += padded < left ? padded : left;
    return p;
}

void arena_reset(struct arena *arena) {
    arena->used = 0;
}
