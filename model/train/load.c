/* A package's weights into a prepared program, unpacked straight to where it reads them. */
#include "train/train_int.h"

struct loading {
    const struct package *package;
    const struct kern_program *program;
};

/* kern_unpack_fn: the program's parameters are the f32 segments of the layout, side by side in its
 * order. */
static void unpack(void *ctx, uint32_t first, uint32_t count, float *to) {
    const struct loading *l = ctx;
    const struct layout *layout = &l->package->graph.layout;
    const uint32_t end = first + count;
    uint32_t at = 0; /* of segment s among the parameters */
    for (uint32_t s = 0; s < layout->segment_count && at < end; s++) {
        if (l->program->buffers[s].role != KERN_ROLE_PARAM)
            continue;
        const uint32_t n = layout->segments[s].count;
        const uint32_t lo = at > first ? at : first, hi = at + n < end ? at + n : end;
        if (lo < hi)
            package_unpack(l->package, layout->segments[s].offset + (lo - at), hi - lo,
                           to + (lo - first));
        at += n;
    }
}

static enum sotto_status load_fixed(struct train_engine *e, const struct package *p,
                                    struct sotto_error *err) {
    for (uint32_t i = 0; i < e->program->instr_count; i++) {
        const struct kern_instr *in = &e->program->instrs[i];
        const int8_t *codes = NULL;
        const float *scales = NULL;
        if (in->op != KERN_GEMM_W8)
            continue;
        if (!package_int8(p, in->args[1], &codes, &scales))
            return SOTTO_FAIL(err, SOTTO_INVALID, "weights of %s are not int8 in the package",
                              p->graph.layout.segments[in->args[1]].name);
        kern_exec_write(e->exec, in->args[1], codes);
        kern_exec_write(e->exec, in->args[2], scales);
    }
    return SOTTO_OK;
}

enum sotto_status train_engine_load(struct train_engine *e, uint32_t lane, const struct package *p,
                                    struct sotto_error *err) {
    const struct layout *layout = &p->graph.layout;
    struct loading l = {p, e->program};
    enum sotto_status status = SOTTO_OK;
    bool fits = layout->segment_count <= e->program->buffer_count;
    for (uint32_t s = 0; fits && s < layout->segment_count; s++)
        fits = e->program->buffers[s].count == layout->segments[s].count;
    if (!fits)
        TRY_FAIL(err, SOTTO_INVALID, "the package is of another model than the program");
    TRY(load_fixed(e, p, err));
    TRY(kern_exec_unpack_lane(e->exec, lane, unpack, &l, err));
out:
    return status;
}
