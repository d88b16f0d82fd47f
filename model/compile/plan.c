/* Places every buffer of a program in one arena: what lives across runs first, then the temporaries
 * by lifetime. */
#include "compile/compile_int.h"

#include <stdlib.h>

static uint64_t buffer_bytes(const struct kern_buffer *b) {
    return (uint64_t)b->count * (b->dtype == KERN_F32 || b->dtype == KERN_I32 ? 4 : 1);
}

static uint64_t align_up(uint64_t n) {
    return (n + KERN_ALIGN - 1) / KERN_ALIGN * KERN_ALIGN;
}

static void find_lifetimes(struct compiler *c) {
    for (uint32_t i = 0; i < c->p->buffer_count; i++)
        c->info[i].first = c->info[i].last = KERN_NONE;
    for (uint32_t i = 0; i < c->p->instr_count; i++) {
        for (uint32_t a = 0; a < KERN_ARGS_MAX; a++) {
            uint32_t b = c->p->instrs[i].args[a];
            if (b == KERN_NONE)
                continue;
            if (c->info[b].parent != KERN_NONE)
                b = c->info[b].parent;
            if (c->info[b].first == KERN_NONE)
                c->info[b].first = i;
            c->info[b].last = i;
        }
    }
}

/* Momentum or anchor: segment buffers count+first lie in layout order in one range. */
static uint64_t place_segments(struct compiler *c, uint32_t first, uint64_t at) {
    for (uint32_t s = 0; s < c->g->layout.segment_count; s++)
        c->p->buffers[first + s].offset = at + 4 * (uint64_t)c->g->layout.segments[s].offset;
    return align_up(at + 4 * (uint64_t)c->g->layout.total);
}

/* All weights in layout order; or those that are f32, and behind them what is fixed. */
static uint64_t place_weights(struct compiler *c) {
    struct kern_program *p = c->p;
    uint64_t at = 0;
    p->param_offset = 0;
    for (uint32_t s = 0; s < c->g->layout.segment_count; s++) {
        struct kern_buffer *b = &p->buffers[c->params + s];
        if (b->role != KERN_ROLE_PARAM)
            continue;
        b->offset = at;
        at += buffer_bytes(b);
    }
    p->param_count = (uint32_t)(at / 4);
    p->fixed_first = at = align_up(at);
    for (uint32_t i = 0; i < p->buffer_count; i++)
        if (p->buffers[i].role == KERN_ROLE_FIXED) {
            p->buffers[i].offset = at;
            at = align_up(at + buffer_bytes(&p->buffers[i]));
        }
    p->fixed_bytes = at - p->fixed_first;
    return at;
}

static uint64_t place_kept(struct compiler *c) {
    struct kern_program *p = c->p;
    uint64_t at = place_weights(c);
    if (c->states != KERN_NONE) {
        p->state_first = (uint32_t)at;
        p->state_count = p->param_count;
        at = place_segments(c, c->states, at);
    }
    if (c->anchors != KERN_NONE) {
        p->anchor_first = (uint32_t)at;
        p->anchor_count = p->param_count;
        at = place_segments(c, c->anchors, at);
    }
    static const enum kern_role order[] = {KERN_ROLE_INPUT, KERN_ROLE_METRIC, KERN_ROLE_OUTPUT};
    for (uint32_t k = 0; k < ARRAY_LEN(order); k++)
        for (uint32_t i = 0; i < p->buffer_count; i++)
            if (p->buffers[i].role == order[k]) {
                p->buffers[i].offset = at;
                at = align_up(at + buffer_bytes(&p->buffers[i]));
            }
    return at;
}

struct item {
    uint32_t buffer;
    uint32_t first, last;
    uint64_t bytes, offset;
};

static int larger_first(const void *a, const void *b) {
    const struct item *x = a, *y = b;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    return x->buffer < y->buffer ? -1 : x->buffer > y->buffer;
}

/* The smallest gap, among the placed items alive at the same time as x, that holds it. placed is in
 * order of offset. */
static uint64_t find_gap(const struct item *const *placed, uint32_t count, const struct item *x) {
    uint64_t end = 0, best = UINT64_MAX, best_size = UINT64_MAX;
    for (uint32_t i = 0; i < count; i++) {
        const struct item *y = placed[i];
        if (y->last < x->first || x->last < y->first)
            continue;
        if (y->offset > end && y->offset - end >= x->bytes && y->offset - end < best_size) {
            best = end;
            best_size = y->offset - end;
        }
        if (y->offset + y->bytes > end)
            end = y->offset + y->bytes;
    }
    return best != UINT64_MAX ? best : end;
}

/* Greedy by size (Pisarchyk & Lee 2020, algorithm 3). Returns the bytes that the items need
 * together. */
static uint64_t place_items(struct item *items, const struct item **placed, uint32_t count) {
    uint64_t total = 0;
    qsort(items, count, sizeof *items, larger_first);
    for (uint32_t i = 0; i < count; i++) {
        items[i].offset = find_gap(placed, i, &items[i]);
        uint32_t at = i;
        for (; at > 0 && placed[at - 1]->offset > items[i].offset; at--)
            placed[at] = placed[at - 1];
        placed[at] = &items[i];
        if (items[i].offset + items[i].bytes > total)
            total = items[i].offset + items[i].bytes;
    }
    return total;
}

enum sotto_status plan_arena(struct compiler *c) {
    struct kern_program *p = c->p;
    uint32_t n = p->buffer_count, count = 0;
    enum sotto_status status = SOTTO_OK;
    struct item *items = mem_array(n, sizeof *items);
    const struct item **placed = mem_array(n, sizeof *placed);
    if (!items || !placed)
        TRY_FAIL(c->err, SOTTO_NOMEM, "memory plan of %u buffers", n);
    find_lifetimes(c);
    uint64_t base = place_kept(c);
    for (uint32_t i = 0; i < n; i++)
        if (p->buffers[i].role == KERN_ROLE_TEMP && c->info[i].parent == KERN_NONE &&
            c->info[i].first != KERN_NONE)
            items[count++] = (struct item){i, c->info[i].first, c->info[i].last,
                                           align_up(buffer_bytes(&p->buffers[i])), 0};
    uint64_t temps = place_items(items, placed, count);
    for (uint32_t i = 0; i < count; i++)
        p->buffers[items[i].buffer].offset = base + items[i].offset;
    for (uint32_t i = 0; i < n; i++)
        if (c->info[i].parent != KERN_NONE)
            p->buffers[i].offset = p->buffers[c->info[i].parent].offset + c->info[i].parent_offset;
    p->arena_bytes = base + temps;
    if (p->arena_bytes > KERN_ARENA_MAX)
        TRY_FAIL(c->err, SOTTO_LIMIT,
                 "the program needs %llu MiB, the limit is %llu: use a smaller batch",
                 (unsigned long long)(p->arena_bytes >> 20),
                 (unsigned long long)(KERN_ARENA_MAX >> 20));
out:
    mem_free(items);
    mem_free(placed);
    return status;
}
