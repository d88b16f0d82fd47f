/* Which buffers can lie in panels, and copies between panels and layout order. */
#include "src/panels.h"

#include "sotto/base/mem.h"

/* ---- Which buffers: what all instructions do with each is gathered first. ---- */

struct use {
    uint32_t k, n;        /* as products see it; 0: none does */
    uint32_t group;       /* the weights that SGD updates with it, or KERN_NONE */
    uint32_t first, last; /* instructions */
    bool used, ordered;   /* ordered: by something that needs to know the order */
    bool bad;             /* by something that needs layout order */
    bool fresh;           /* its first use overwrites all of it */
};

static void use_shape(struct use *u, uint32_t k, uint32_t n) {
    if (u->k && (u->k != k || u->n != n))
        u->bad = true;
    u->k = k, u->n = n;
}

/* A product's operand: B of products and of dX, C of dW. */
static void use_gemm(struct use *u, const struct kern_gemm *g, unsigned arg, bool bias) {
    if (arg == 1 && !g->trans_a)
        use_shape(u, g->trans_b ? g->n : g->k, g->trans_b ? g->k : g->n);
    else if (arg == 2 && g->trans_a && !g->trans_b && !bias && g->act == KERN_ACT_NONE)
        use_shape(u, g->m, g->n);
    else
        u->bad = true;
}

static void use_operand(struct use *u, const struct kern_instr *in, unsigned arg) {
    const bool whole = in->op == KERN_CLIP_NORM || in->op == KERN_FILL0;
    u->ordered |= !whole;
    if (in->op == KERN_GEMM) {
        use_gemm(u, &in->u.gemm, arg, in->args[3] != KERN_NONE);
    } else if (in->op == KERN_SGD) {
        if (u->group != KERN_NONE && u->group != in->args[0])
            u->bad = true;
        u->group = in->args[0];
    } else if (!whole) {
        u->bad = true;
    }
}

static bool overwrites(const struct kern_instr *in, uint32_t buffer) {
    bool writes = false;
    for (unsigned a = 0; a < KERN_ARGS_MAX; a++)
        if (in->args[a] == buffer && a < kern_op_operands(in->op)) {
            if (!kern_op_only_writes(in->op, a))
                return false;
            writes = true;
        }
    if (in->op == KERN_GEMM)
        return writes && in->u.gemm.beta == KERN_BETA_ZERO;
    if (in->op == KERN_CONV2D_DW)
        return writes && in->u.conv.beta == KERN_BETA_ZERO;
    return writes && (in->op != KERN_BIAS_GRAD || in->u.rows.beta == KERN_BETA_ZERO);
}

static void gather(const struct kern_program *p, struct use *uses) {
    for (uint32_t b = 0; b < p->buffer_count; b++)
        uses[b].group = KERN_NONE;
    for (uint32_t i = 0; i < p->instr_count; i++) {
        const struct kern_instr *in = &p->instrs[i];
        for (unsigned a = 0; a < kern_op_operands(in->op); a++) {
            if (in->args[a] == KERN_NONE)
                continue;
            struct use *u = &uses[in->args[a]];
            if (!u->used) {
                u->first = i;
                u->fresh = overwrites(in, in->args[a]);
            }
            u->used = true;
            u->last = i;
            use_operand(u, in, a);
        }
    }
}

/* Whether other, which shares bytes with the candidate, leaves its order alone. */
static bool apart(const struct kern_program *p, const struct use *uses, uint32_t candidate,
                  uint32_t other) {
    const struct kern_buffer *b = &p->buffers[candidate], *o = &p->buffers[other];
    const struct use *ub = &uses[candidate], *uo = &uses[other];
    const uint64_t end = b->offset + kern_buffer_bytes(b), o_end = o->offset + kern_buffer_bytes(o);
    if (!uo->used || o->offset >= end || b->offset >= o_end)
        return true;
    if (!uo->ordered) /* cleared or clipped, but not by parts */
        return o->offset <= b->offset && o_end >= end;
    if (b->role != KERN_ROLE_TEMP || o->role != KERN_ROLE_TEMP)
        return false;
    /* The place is used again. */
    return (uo->last < ub->first && ub->fresh) || (uo->first > ub->last && uo->fresh);
}

static void check_candidate(const struct kern_program *p, struct use *uses, uint32_t b) {
    struct use *u = &uses[b];
    const struct kern_buffer *buffer = &p->buffers[b];
    if (u->k && (u->k < PANEL_SIDE_LEAST || u->n < PANEL_SIDE_LEAST ||
                 (uint64_t)u->k * u->n != buffer->count))
        u->bad = true;
    if (buffer->role != KERN_ROLE_PARAM && buffer->role != KERN_ROLE_STATE &&
        buffer->role != KERN_ROLE_ANCHOR && buffer->role != KERN_ROLE_TEMP)
        u->bad = true;
    for (uint32_t o = 0; o < p->buffer_count && !u->bad; o++)
        if (o != b && !apart(p, uses, b, o))
            u->bad = true;
}

/* Weights, gradient, momentum and anchor of an SGD have one order. */
static void join_groups(struct use *uses, uint32_t count) {
    for (uint32_t b = 0; b < count; b++) {
        struct use *u = &uses[b];
        if (u->group == KERN_NONE || u->group == b)
            continue;
        struct use *w = &uses[u->group];
        if (u->k)
            use_shape(w, u->k, u->n);
        w->bad |= u->bad || w->group != u->group;
    }
    for (uint32_t b = 0; b < count; b++) {
        struct use *u = &uses[b];
        if (u->group == KERN_NONE || u->group == b)
            continue;
        const struct use *w = &uses[u->group];
        u->bad |= w->bad;
        u->k = w->k, u->n = w->n;
    }
}

/* Only parameters and what SGD updates them with: anything else that looks like B may be data. */
static bool in_panels(const struct kern_program *p, const struct use *uses, uint32_t b) {
    const struct use *u = &uses[b];
    const uint32_t w = u->group == KERN_NONE ? b : u->group;
    return u->used && !u->bad && u->k && p->buffers[w].role == KERN_ROLE_PARAM;
}

/* Into the list, which is in the order of places. */
static void insert(const struct kern_program *p, struct kern_panels *s,
                   struct kern_panel_buffer l) {
    uint32_t i = s->count++;
    for (; i > 0 && p->buffers[s->list[i - 1].buffer].offset > p->buffers[l.buffer].offset; i--)
        s->list[i] = s->list[i - 1];
    s->list[i] = l;
}

enum sotto_status kern_panels_plan(const struct kern_program *p, struct kern_panels *out) {
    enum sotto_status status = SOTTO_NOMEM;
    uint32_t count = 0;
    *out = (struct kern_panels){0};
    if (p->buffer_count == 0)
        return SOTTO_OK;
    struct use *uses = mem_array(p->buffer_count, sizeof(*uses));
    if (!uses)
        return SOTTO_NOMEM;
    gather(p, uses);
    for (uint32_t b = 0; b < p->buffer_count; b++)
        if (!uses[b].bad && (uses[b].k || uses[b].group != KERN_NONE))
            check_candidate(p, uses, b);
    join_groups(uses, p->buffer_count);
    for (uint32_t b = 0; b < p->buffer_count; b++)
        count += in_panels(p, uses, b);
    if (count) {
        out->flags = mem_array(p->buffer_count, 1);
        out->list = mem_array(count, sizeof(*out->list));
        if (!out->flags || !out->list)
            goto out;
    }
    for (uint32_t b = 0; b < p->buffer_count && count; b++) {
        if (in_panels(p, uses, b)) {
            insert(p, out, (struct kern_panel_buffer){b, uses[b].k, uses[b].n});
            out->flags[b] = KERN_PANEL_IN;
        } else if (uses[b].used && !uses[b].ordered) {
            out->flags[b] = KERN_PANEL_SUM;
        }
    }
    status = SOTTO_OK;
out:
    if (status != SOTTO_OK)
        kern_panels_deinit(out);
    mem_free(uses);
    return status;
}

void kern_panels_deinit(struct kern_panels *s) {
    mem_free(s->flags);
    mem_free(s->list);
    *s = (struct kern_panels){0};
}

/* ---- Copies ---- */

/* A piece of an arena, and the same bytes in layout order. */
struct piece {
    unsigned char *arena, *plain;
    uint64_t offset, end; /* bytes of the arena */
    bool in;              /* plain to arena */
};

/* A run of columns of one row: at in layout order, lies in panels; bytes of the arena. */
static inline void copy_run(const struct piece *t, uint64_t at, uint64_t lies, uint64_t bytes) {
    uint64_t skip = at < t->offset ? t->offset - at : 0;
    if (at + bytes > t->end)
        bytes = at < t->end ? t->end - at : 0;
    if (skip >= bytes)
        return;
    unsigned char *plain = t->plain + (at + skip - t->offset), *arena = t->arena + lies + skip;
    if (t->in)
        memcpy(arena, plain, bytes - skip);
    else
        memcpy(plain, arena, bytes - skip);
}

static void copy_buffer(const struct piece *t, uint64_t start, size_t k, size_t n) {
    const struct kern_panel_shape s = kern_panel_shape(k, n);
    const uint64_t element = sizeof(float);
    for (size_t b = 0; b < s.blocks; b++) {
        const size_t rows = kern_panel_block_rows(&s, b);
        const uint64_t block = start + b * s.rows * n * element;
        if (block >= t->end || block + rows * n * element <= t->offset)
            continue;
        for (size_t r = 0; r < rows; r++) {
            const uint64_t row = block + r * n * element;
            for (size_t j = 0; j < s.full; j += PANEL)
                copy_run(t, row + j * element, block + (j * rows + r * PANEL) * element,
                         PANEL * element);
            if (s.end)
                copy_run(t, row + s.full * element, block + (s.full * rows + r * s.end) * element,
                         s.end * element);
        }
    }
}

/* The place of a temporary means it only by its own name, or by that of all gradients. */
static bool meant(const struct kern_panels *s, const struct kern_program *p, uint32_t listed,
                  uint32_t buffer) {
    return p->buffers[listed].role != KERN_ROLE_TEMP || listed == buffer ||
           (buffer != KERN_NONE && s->flags[buffer] == KERN_PANEL_SUM);
}

static void copy_plain(const struct piece *t, uint64_t from, uint64_t to) {
    if (from >= to)
        return;
    if (t->in)
        memcpy(t->arena + from, t->plain + (from - t->offset), to - from);
    else
        memcpy(t->plain + (from - t->offset), t->arena + from, to - from);
}

static void copy_piece(const struct kern_panels *s, const struct kern_program *p, uint32_t buffer,
                       const struct piece *t) {
    uint64_t at = t->offset;
    for (uint32_t i = 0; i < s->count; i++) { /* in the order of their places */
        const struct kern_panel_buffer *l = &s->list[i];
        const uint64_t first = p->buffers[l->buffer].offset;
        const uint64_t end = first + kern_buffer_bytes(&p->buffers[l->buffer]);
        if (first >= t->end || end <= at || !meant(s, p, l->buffer, buffer))
            continue;
        copy_plain(t, at, first);
        copy_buffer(t, first, l->k, l->n);
        at = end;
    }
    copy_plain(t, at, t->end);
}

void kern_panels_write(const struct kern_panels *s, const struct kern_program *p,
                       unsigned char *arena, uint32_t buffer, uint64_t offset, const void *src,
                       uint64_t bytes) {
    /* Only read from: in is true. */
    const struct piece t = {arena, (unsigned char *)(uintptr_t)src, offset, offset + bytes, true};
    copy_piece(s, p, buffer, &t);
}

void kern_panels_read(const struct kern_panels *s, const struct kern_program *p,
                      const unsigned char *arena, uint32_t buffer, uint64_t offset, void *dst,
                      uint64_t bytes) {
    const struct piece t = {(unsigned char *)(uintptr_t)arena, dst, offset, offset + bytes, false};
    copy_piece(s, p, buffer, &t);
}
