/* The published support of updates under masks: made of a round's mean, carried by the next
 * package, read from it by both sides. */
#include "advance/advance_int.h"

static bool publishes(const struct task_config *t) {
    return task_secure(t) && t->support == CODEC_SUPPORT_PUBLISHED;
}

enum sotto_status mask_make(const struct task_config *t, const struct layout *layout,
                            const float *mean, struct buf *out, struct sotto_error *err) {
    struct codec_spec spec;
    if (!publishes(t))
        return SOTTO_OK;
    task_spec(t, layout, false, &spec);
    masked_support_of(&spec.pipeline, layout, mean, out);
    if (out->status != SOTTO_OK)
        return SOTTO_FAIL(err, out->status, "no memory for the support of %u coordinates",
                          layout->total);
    return SOTTO_OK;
}

enum sotto_status advance_mask(const struct task_config *t, struct view package, struct buf *out,
                               struct sotto_error *err) {
    struct package p;
    if (!publishes(t))
        return SOTTO_OK;
    enum sotto_status status = package_decode(package, &p, err);
    const struct package_extra *e =
        status == SOTTO_OK ? package_extra_find(&p, PACKAGE_SUPPORT) : NULL;
    if (e != NULL && e->bits != NULL) {
        buf_put(out, e->bits, ((size_t)p.graph.layout.total + 7) / 8);
        if (out->status != SOTTO_OK)
            status = SOTTO_FAIL(err, out->status, "no memory for the support of a package");
    }
    package_deinit(&p);
    return status;
}
