/* Extras of a package: named arrays in the order of the layout, behind the tensors. */
#include "package/package_int.h"

#include <string.h>

static enum package_precision precision_of(enum package_form form) {
    return form == PACKAGE_FORM_F32 ? PACKAGE_F32 : PACKAGE_I8;
}

static uint64_t form_bytes(const struct layout *l, enum package_form form) {
    uint64_t sum = 0;
    if (form == PACKAGE_FORM_BITS)
        return ((uint64_t)l->total + 7) / 8;
    for (uint32_t s = 0; s < l->segment_count; s++)
        sum += quant_bytes(&l->segments[s], quant_form_of(l, s, precision_of(form)));
    return sum;
}

/* Bits past the last coordinate are zero: one content, one encoding. */
static bool bits_end_well(const struct layout *l, const uint8_t *bits) {
    return l->total % 8 == 0 || bits[l->total / 8] >> l->total % 8 == 0;
}

static bool name_is_new(const struct package_extra *extras, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(extras[i].name, extras[count].name) == 0)
            return false;
    return true;
}

static enum sotto_status put_values(const struct layout *l, const struct package_extra *e,
                                    struct buf *out, struct sotto_error *err) {
    if (!vec_all_finite_f32(e->values, l->total))
        return SOTTO_FAIL(err, SOTTO_INVALID, "package: extra %s: a value is not finite", e->name);
    for (uint32_t s = 0; s < l->segment_count; s++) {
        const struct layout_segment *segment = &l->segments[s];
        const enum sotto_status status =
            quant_put(segment, quant_form_of(l, s, precision_of(e->form)),
                      e->values + segment->offset, out, err);
        if (status != SOTTO_OK)
            return status;
    }
    return SOTTO_OK;
}

enum sotto_status extras_put(const struct layout *l, const struct package_extra *extras,
                             uint32_t count, struct buf *out, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    if (count > PACKAGE_EXTRAS_MAX)
        TRY_FAIL(err, SOTTO_INVALID, "package: %u extras, %d are possible", count,
                 PACKAGE_EXTRAS_MAX);
    buf_put_varint(out, count);
    for (uint32_t i = 0; i < count; i++) {
        const struct package_extra *e = &extras[i];
        if (!e->name[0] || memchr(e->name, 0, sizeof e->name) == NULL || !name_is_new(extras, i) ||
            (unsigned)e->form > PACKAGE_FORM_BITS)
            TRY_FAIL(err, SOTTO_INVALID, "package: the name or the form of extra %u", i);
        buf_put_str(out, e->name);
        buf_put_u8(out, (uint8_t)e->form);
        if (e->form != PACKAGE_FORM_BITS) {
            TRY(put_values(l, e, out, err));
            continue;
        }
        if (!bits_end_well(l, e->bits))
            TRY_FAIL(err, SOTTO_INVALID, "package: extra %s: bits past the last coordinate",
                     e->name);
        buf_put(out, e->bits, (size_t)form_bytes(l, e->form));
    }
out:
    return status;
}

static void get_values(const struct layout *l, struct package_extra *e, struct reader *r) {
    e->values = mem_array(l->total, sizeof *e->values);
    if (!e->values)
        reader_fail(r, SOTTO_NOMEM, "extra");
    for (uint32_t s = 0; s < l->segment_count && r->status == SOTTO_OK; s++)
        quant_get(&l->segments[s], quant_form_of(l, s, precision_of(e->form)), r,
                  e->values + l->segments[s].offset);
}

static void get_bits(const struct layout *l, struct package_extra *e, struct reader *r) {
    const struct view bits = reader_bytes(r, (size_t)form_bytes(l, e->form), "extra");
    if (r->status != SOTTO_OK)
        return;
    if (!bits_end_well(l, bits.p))
        reader_fail(r, SOTTO_CORRUPT, "extra");
    e->bits = mem_dup(bits.p, bits.n);
    if (!e->bits)
        reader_fail(r, SOTTO_NOMEM, "extra");
}

enum sotto_status extras_get(struct package *p, struct reader *r, struct sotto_error *err) {
    const struct layout *l = &p->graph.layout;
    const uint32_t count = (uint32_t)reader_varint(r, PACKAGE_EXTRAS_MAX, "extra count");
    if (count == 0)
        reader_fail(r, SOTTO_CORRUPT, "extra count"); /* that would be version 1 */
    for (uint32_t i = 0; i < count && r->status == SOTTO_OK; i++) {
        struct package_extra *e = &p->extras[i];
        reader_str(r, e->name, sizeof e->name, "extra name");
        const uint8_t form = reader_u8(r, "extra form");
        if (!e->name[0] || !name_is_new(p->extras, i))
            reader_fail(r, SOTTO_CORRUPT, "extra name");
        if (form > PACKAGE_FORM_BITS)
            reader_fail(r, SOTTO_UNSUPPORTED, "extra form");
        if (r->status != SOTTO_OK)
            break;
        e->form = (enum package_form)form;
        /* The bytes must be there before memory is taken for what they say. */
        if (form_bytes(l, e->form) > reader_left(r))
            return SOTTO_FAIL(err, SOTTO_CORRUPT,
                              "package: %zu bytes are left, extra %u needs %llu", reader_left(r), i,
                              (unsigned long long)form_bytes(l, e->form));
        p->extra_count = i + 1;
        if (e->form == PACKAGE_FORM_BITS)
            get_bits(l, e, r);
        else
            get_values(l, e, r);
    }
    return reader_finish(r, false, "package", err);
}

void extras_deinit(struct package *p) {
    for (uint32_t i = 0; i < p->extra_count; i++) {
        mem_free(p->extras[i].values);
        mem_free(p->extras[i].bits);
        p->extras[i] = (struct package_extra){0};
    }
    p->extra_count = 0;
}

const struct package_extra *package_extra_find(const struct package *p, const char *name) {
    for (uint32_t i = 0; i < p->extra_count; i++)
        if (strcmp(p->extras[i].name, name) == 0)
            return &p->extras[i];
    return NULL;
}
