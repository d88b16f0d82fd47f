/* Decodes one part in chunks and checks all of it; what becomes of the values is the visitor's. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "codec_int.h"

struct walk {
    const struct codec_spec *spec;
    const struct codec_head *head;
    const struct codec_visitor *visitor;
    struct reader in;
    uint32_t part_index;
    struct sotto_error *err;
    float values[CODEC_CHUNK];
    uint32_t codes[CODEC_CHUNK]; /* then coordinates */
};

static enum sotto_status corrupt(struct walk *w, const char *what) {
    return SOTTO_FAIL(w->err, SOTTO_CORRUPT, "update part %" PRIu32 ": %s before byte %zu",
                      w->part_index, what, w->in.off);
}

/* n fp32 values from packed bytes; false for one that is not finite or above clip_inf. */
static enum sotto_status floats(struct walk *w, const uint8_t *from, uint32_t n) {
    memcpy(w->values, from, (size_t)n * sizeof *w->values);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    for (uint32_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &w->values[i], sizeof bits);
        bits = __builtin_bswap32(bits);
        memcpy(&w->values[i], &bits, sizeof bits);
    }
#endif
    const float most = vec_max_abs_f32(w->values, n);
    if (most <= w->spec->pipeline.clip_inf)
        return SOTTO_OK;
    if (!isfinite(most))
        return corrupt(w, "a value that is not finite");
    return SOTTO_FAIL(w->err, SOTTO_LIMIT,
                      "update part %" PRIu32 ": a coordinate of %g is above clip_inf %g before "
                      "byte %zu",
                      w->part_index, (double)most, (double)w->spec->pipeline.clip_inf, w->in.off);
}

/* n levels, two's complement, from packed bytes; the code -2^(bits-1) is no level. The head has
 * proved that the largest level stays within clip_inf. */
static enum sotto_status levels(struct walk *w, const uint8_t *from, uint32_t n, float scale) {
    const unsigned bits = w->spec->pipeline.bits;
    const uint32_t sign = 1u << (bits - 1);
    uint32_t bad = 0;
    vec_unpack_bits(w->codes, from, n, bits);
    for (uint32_t i = 0; i < n; i++) {
        const int32_t level = (int32_t)(w->codes[i] ^ sign) - (int32_t)sign;
        bad |= (uint32_t)(w->codes[i] == sign);
        w->values[i] = (float)level * scale;
    }
    return bad == 0 ? SOTTO_OK : corrupt(w, "a level out of range");
}

/* Chunk values i.. of a piece, whose packed values start at from. */
static enum sotto_status values_at(struct walk *w, const struct codec_piece *piece,
                                   const uint8_t *from, uint32_t i, uint32_t n) {
    const unsigned bits = w->spec->pipeline.bits;
    const uint8_t *at = from + (size_t)i / 8 * bits; /* i is a multiple of CODEC_CHUNK */
    return bits == 32 ? floats(w, at, n) : levels(w, at, n, w->head->scales[piece->index]);
}

static uint32_t chunk(uint32_t n, uint32_t done) {
    return n - done < CODEC_CHUNK ? n - done : CODEC_CHUNK;
}

/* The packed values of kept coordinates; the padding of their last byte is zero. */
static enum sotto_status packed(struct walk *w, uint32_t kept, struct view *out) {
    const unsigned bits = w->spec->pipeline.bits;
    *out = reader_bytes(&w->in, codec_packed_bytes(kept, bits), "values");
    if (w->in.status != SOTTO_OK)
        return corrupt(w, "values that are cut off");
    const unsigned used = (unsigned)((uint64_t)kept * bits % 8);
    if (used != 0 && out->p[out->n - 1] >> used != 0)
        return corrupt(w, "values that do not end in zero bits");
    return SOTTO_OK;
}

static enum sotto_status walk_dense(struct walk *w, const struct codec_piece *piece) {
    enum sotto_status status = SOTTO_OK;
    struct view from;
    TRY(packed(w, piece->count, &from));
    for (uint32_t i = 0, n; i < piece->count; i += n) {
        n = chunk(piece->count, i);
        TRY(values_at(w, piece, from.p, i, n));
        w->visitor->run(w->visitor->ctx, piece->begin + i, w->values, n);
    }
out:
    return status;
}

static enum sotto_status walk_sparse(struct walk *w, const struct codec_piece *piece,
                                     uint32_t kept) {
    enum sotto_status status = SOTTO_OK;
    const uint8_t b = reader_u8(&w->in, "gap parameter");
    if (w->in.status != SOTTO_OK || b > CODEC_RICE_MAX)
        return corrupt(w, "a gap parameter that is missing or above 16");
    struct view from;
    TRY(packed(w, kept, &from));
    struct codec_rice rice;
    const char *wrong;
    codec_rice_init(&rice, view_of(w->in.p + w->in.off, reader_left(&w->in)), b, piece->count);
    for (uint32_t i = 0, n; i < kept; i += n) {
        n = chunk(kept, i);
        TRY(values_at(w, piece, from.p, i, n));
        wrong = codec_rice_read(&rice, w->codes, n, piece->begin);
        if (wrong != NULL)
            return corrupt(w, wrong);
        w->visitor->scatter(w->visitor->ctx, w->codes, w->values, n);
    }
    size_t used;
    wrong = codec_rice_finish(&rice, &used);
    if (wrong != NULL)
        return corrupt(w, wrong);
    reader_bytes(&w->in, used, "gaps");
out:
    return status;
}

static enum sotto_status walk_piece(struct walk *w, const struct codec_piece *piece) {
    enum sotto_status status = SOTTO_OK;
    uint32_t kept = piece->count;
    if (!piece->dense) {
        /* The difference to the expected count, zigzag. */
        const uint64_t code = reader_varint(&w->in, UINT32_MAX, "kept count");
        const int64_t count =
            (int64_t)piece->expected + ((int64_t)(code >> 1) ^ -(int64_t)(code & 1));
        if (w->in.status != SOTTO_OK || count < 0 || count > (int64_t)piece->count)
            return corrupt(w, "a kept count that is missing or out of range");
        kept = (uint32_t)count;
    }
    if (w->visitor->piece != NULL)
        TRY(w->visitor->piece(w->visitor->ctx, piece, kept, w->err));
    if (kept == piece->count)
        TRY(walk_dense(w, piece));
    else if (kept > 0)
        TRY(walk_sparse(w, piece, kept));
out:
    return status;
}

enum sotto_status codec_walk(const struct codec_spec *spec, const struct codec_head *head,
                             uint32_t part_index, struct view part,
                             const struct codec_visitor *visitor, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct walk w = {
        .spec = spec, .head = head, .visitor = visitor, .part_index = part_index, .err = err};
    struct codec_place place;
    struct codec_piece piece;
    if (!codec_place_of(spec, part_index, &place))
        return SOTTO_FAIL(err, SOTTO_INVALID, "an update of this task has no part %" PRIu32,
                          part_index);
    reader_init(&w.in, part);
    for (uint32_t s = place.segment; codec_piece_of(spec, &place, s, &piece); s++)
        TRY(walk_piece(&w, &piece));
    if (reader_left(&w.in) != 0)
        status = corrupt(&w, "bytes left over");
out:
    return status;
}
