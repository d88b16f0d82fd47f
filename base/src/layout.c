/* The parameter layout: building, comparing, and its canonical bytes. */
#include "sotto/base/layout.h"

#include <string.h>

#include "sotto/base/mem.h"

void layout_init(struct layout *l) {
    *l = (struct layout){0};
}

void layout_deinit(struct layout *l) {
    mem_free(l->segments);
    *l = (struct layout){0};
}

static bool name_ok(const char *name) {
    const size_t n = strnlen(name, LAYOUT_NAME_MAX);
    if (n == 0 || n >= LAYOUT_NAME_MAX)
        return false;
    for (size_t i = 0; i < n; i++)
        if (name[i] <= 0x20 || name[i] >= 0x7f)
            return false;
    return true;
}

static bool count_of(uint32_t rank, const uint32_t *dims, uint32_t *out) {
    uint64_t count = 1;
    for (uint32_t i = 0; i < rank; i++) {
        count *= dims[i]; /* below 2^28 before each step, so it cannot wrap */
        if (count > LAYOUT_TOTAL_MAX)
            return false;
    }
    *out = (uint32_t)count;
    return true;
}

enum sotto_status layout_add(struct layout *l, const char *name, enum layout_kind kind,
                             uint32_t rank, const uint32_t *dims, struct sotto_error *err) {
    char quoted[4 * LAYOUT_NAME_MAX];
    sotto_escape(quoted, sizeof quoted, name, strnlen(name, LAYOUT_NAME_MAX));
    if (!name_ok(name))
        return SOTTO_FAIL(err, SOTTO_INVALID,
                          "segment name '%s': 1 to %d printable characters without blanks are "
                          "allowed",
                          quoted, LAYOUT_NAME_MAX - 1);
    if (kind != LAYOUT_WEIGHT && kind != LAYOUT_BIAS)
        return SOTTO_FAIL(err, SOTTO_INVALID, "segment '%s': unknown kind %d", quoted, (int)kind);
    if (rank < 1 || rank > LAYOUT_RANK_MAX)
        return SOTTO_FAIL(err, SOTTO_INVALID, "segment '%s': rank %u, allowed: 1 to %d", quoted,
                          rank, LAYOUT_RANK_MAX);
    for (uint32_t i = 0; i < rank; i++)
        if (dims[i] == 0)
            return SOTTO_FAIL(err, SOTTO_INVALID, "segment '%s': dimension %u is zero", quoted, i);
    for (uint32_t i = 0; i < l->segment_count; i++)
        if (strcmp(l->segments[i].name, name) == 0)
            return SOTTO_FAIL(err, SOTTO_INVALID, "segment '%s' is there twice", quoted);
    if (l->segment_count >= LAYOUT_SEGMENTS_MAX)
        return SOTTO_FAIL(err, SOTTO_LIMIT, "more than %d segments", LAYOUT_SEGMENTS_MAX);
    uint32_t count;
    if (!count_of(rank, dims, &count) || count > LAYOUT_TOTAL_MAX - l->total)
        return SOTTO_FAIL(err, SOTTO_LIMIT, "segment '%s': more than %u coordinates in all", quoted,
                          LAYOUT_TOTAL_MAX);

    /* Room is doubled: a power of two means full. */
    const uint32_t n = l->segment_count;
    if ((n & (n - 1)) == 0) {
        struct layout_segment *grown =
            mem_resize(l->segments, n == 0 ? 1 : (size_t)n * 2, sizeof *grown);
        if (grown == NULL)
            return SOTTO_FAIL(err, SOTTO_NOMEM, "layout of %u segments: out of memory", n + 1);
        l->segments = grown;
    }
    struct layout_segment *s = &l->segments[n];
    *s = (struct layout_segment){.kind = kind, .rank = rank, .offset = l->total, .count = count};
    memcpy(s->name, name, strlen(name));
    memcpy(s->dims, dims, rank * sizeof *dims);
    l->segment_count = n + 1;
    l->total += count;
    return SOTTO_OK;
}

enum sotto_status layout_copy(struct layout *dst, const struct layout *src,
                              struct sotto_error *err) {
    layout_init(dst);
    enum sotto_status status = SOTTO_OK;
    for (uint32_t i = 0; i < src->segment_count; i++) {
        const struct layout_segment *s = &src->segments[i];
        TRY(layout_add(dst, s->name, s->kind, s->rank, s->dims, err));
    }
out:
    if (status != SOTTO_OK)
        layout_deinit(dst);
    return status;
}

bool layout_equal(const struct layout *a, const struct layout *b) {
    if (a->segment_count != b->segment_count || a->total != b->total)
        return false;
    for (uint32_t i = 0; i < a->segment_count; i++) {
        const struct layout_segment *x = &a->segments[i], *y = &b->segments[i];
        if (strcmp(x->name, y->name) != 0 || x->kind != y->kind || x->rank != y->rank ||
            memcmp(x->dims, y->dims, x->rank * sizeof x->dims[0]) != 0)
            return false;
    }
    return true;
}

const struct layout_segment *layout_find(const struct layout *l, uint32_t coordinate) {
    if (coordinate >= l->total)
        return NULL;
    uint32_t lo = 0, hi = l->segment_count;
    while (hi - lo > 1) {
        const uint32_t mid = lo + (hi - lo) / 2;
        if (l->segments[mid].offset <= coordinate)
            lo = mid;
        else
            hi = mid;
    }
    return &l->segments[lo];
}

void layout_encode(const struct layout *l, struct buf *out) {
    buf_put_u32(out, l->segment_count);
    for (uint32_t i = 0; i < l->segment_count; i++) {
        const struct layout_segment *s = &l->segments[i];
        buf_put_str(out, s->name);
        buf_put_u8(out, (uint8_t)s->kind);
        buf_put_u8(out, (uint8_t)s->rank);
        for (uint32_t d = 0; d < s->rank; d++)
            buf_put_u32(out, s->dims[d]);
    }
}

enum sotto_status layout_decode(struct layout *l, struct reader *r, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    layout_init(l);
    const uint32_t n = reader_u32(r, "layout.segments");
    if (n > LAYOUT_SEGMENTS_MAX)
        reader_fail(r, SOTTO_LIMIT, "layout.segments");
    for (uint32_t i = 0; i < n && r->status == SOTTO_OK; i++) {
        char name[LAYOUT_NAME_MAX];
        uint32_t dims[LAYOUT_RANK_MAX] = {0};
        reader_str(r, name, sizeof name, "layout.name");
        const uint8_t kind = reader_u8(r, "layout.kind");
        const uint8_t rank = reader_u8(r, "layout.rank");
        if (rank > LAYOUT_RANK_MAX)
            reader_fail(r, SOTTO_CORRUPT, "layout.rank");
        for (uint32_t d = 0; d < rank && r->status == SOTTO_OK; d++)
            dims[d] = reader_u32(r, "layout.dim");
        if (r->status == SOTTO_OK)
            TRY(layout_add(l, name, (enum layout_kind)kind, rank, dims, err));
    }
    status = reader_finish(r, false, "layout", err);
out:
    if (status != SOTTO_OK) {
        reader_fail(r, status, "layout");
        layout_deinit(l);
    }
    return status;
}
