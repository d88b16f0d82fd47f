/* Facts about programs: instruction names and the work they do. */
#include "kern_int.h"

const char *kern_op_name(enum kern_op op) {
    static const char *const names[] = {
#define NAME(name, text, attr, args) text,
        KERN_OP_MAP(NAME)
#undef NAME
    };
    return (unsigned)op < KERN_OP_COUNT ? names[op] : "unknown";
}

double kern_instr_flops(const struct kern_instr *i) {
    const struct kern_conv *v = &i->u.conv;
    switch ((unsigned)i->op) {
    case KERN_GEMM:
    case KERN_GEMM_I8:
    case KERN_GEMM_W8:
    case KERN_GEMM_BF16:
    case KERN_GEMM_F16:
        return 2.0 * i->u.gemm.m * i->u.gemm.n * i->u.gemm.k;
    case KERN_CONV2D:
    case KERN_CONV2D_POOL:
    case KERN_CONV2D_DX:
    case KERN_CONV2D_DW:
        return 2.0 * v->batch * v->out_h * v->out_w * v->out_c * v->kernel_h * v->kernel_w *
               (v->groups ? v->in_c / v->groups : 0);
    default:
        return 0.0;
    }
}

double kern_program_flops(const struct kern_program *p) {
    double sum = 0.0;
    for (uint32_t i = 0; i < p->instr_count; i++)
        sum += kern_instr_flops(&p->instrs[i]);
    return sum;
}
