/* Where a run's time goes: sums over workers, a table and a JSON object. */
#include "profile.h"

#include <math.h>
#include <string.h>

static void instr_name(const struct kern_instr *i, char *out, size_t cap) {
    const char *op = kern_op_name(i->op);
    if (i->op == KERN_GEMM)
        snprintf(out, cap, "%s %ux%ux%u", op, i->u.gemm.m, i->u.gemm.n, i->u.gemm.k);
    else if (i->op == KERN_CONV2D || i->op == KERN_CONV2D_POOL || i->op == KERN_CONV2D_DX ||
             i->op == KERN_CONV2D_DW)
        snprintf(out, cap, "%s %ux%ux%ux%u, %ux%u to %u", op, i->u.conv.batch, i->u.conv.in_h,
                 i->u.conv.in_w, i->u.conv.in_c, i->u.conv.kernel_h, i->u.conv.kernel_w,
                 i->u.conv.out_c);
    else
        snprintf(out, cap, "%s", op);
}

/* Room for so many instructions; new ones are zeros. */
static enum sotto_status reserve(struct sim_profile *p, uint32_t count) {
    if (count <= p->instr_count)
        return SOTTO_OK;
    struct sim_instr_time *more = mem_array(count, sizeof *more);
    if (!more)
        return SOTTO_NOMEM;
    if (p->instr_count > 0)
        memcpy(more, p->instr, p->instr_count * sizeof *more);
    mem_free(p->instr);
    p->instr = more;
    p->instr_count = count;
    return SOTTO_OK;
}

enum sotto_status profile_take(struct sim_profile *p, struct trainer *t) {
    const struct kern_program *program = trainer_program(t);
    const double *seconds = trainer_seconds(t);
    const enum sotto_status status = reserve(p, program->instr_count);
    for (uint32_t i = 0; i < program->instr_count && status == SOTTO_OK; i++) {
        struct sim_instr_time *to = &p->instr[i];
        if (!to->name[0])
            instr_name(&program->instrs[i], to->name, sizeof to->name);
        to->seconds += seconds ? seconds[i] : 0.0;
        to->flops += kern_instr_flops(&program->instrs[i]) * (double)p->steps;
    }
    p->steps = 0;
    return status;
}

enum sotto_status profile_add(struct sim_profile *sum, const struct sim_profile *p) {
    const enum sotto_status status = reserve(sum, p->instr_count);
    if (status != SOTTO_OK)
        return status;
    for (int k = 0; k < SIM_PHASE_COUNT; k++)
        sum->phase[k] += p->phase[k];
    for (uint32_t i = 0; i < p->instr_count; i++) {
        if (!sum->instr[i].name[0])
            memcpy(sum->instr[i].name, p->instr[i].name, sizeof p->instr[i].name);
        sum->instr[i].seconds += p->instr[i].seconds;
        sum->instr[i].flops += p->instr[i].flops;
    }
    return SOTTO_OK;
}

void profile_deinit(struct sim_profile *p) {
    mem_free(p->instr);
    memset(p, 0, sizeof *p);
}

double profile_kernel_seconds(const struct sim_profile *p) {
    double sum = 0.0;
    for (uint32_t i = 0; i < p->instr_count; i++)
        sum += p->instr[i].seconds;
    return sum;
}

static double all_flops(const struct sim_profile *p) {
    double sum = 0.0;
    for (uint32_t i = 0; i < p->instr_count; i++)
        sum += p->instr[i].flops;
    return sum;
}

static double share_of_peak(double flops, double seconds, double peak) {
    return seconds > 0.0 && peak > 0.0 ? flops / seconds / peak : 0.0;
}

/* The rows of the phase table; they add up to workers * wall clock. */
#define PHASE_ROWS 7
struct phase_row {
    const char *text, *key;
    double seconds;
};
static void phase_rows(const struct sim_profile *p, struct phase_row out[PHASE_ROWS]) {
    const double kernels = profile_kernel_seconds(p);
    double idle = p->workers * p->wall_seconds;
    for (int k = 0; k < SIM_PHASE_COUNT; k++)
        idle -= p->phase[k];
    const struct phase_row rows[PHASE_ROWS] = {
        {"training kernels", "kernels", kernels},
        {"rest of training", "train_rest", fmax(p->phase[SIM_PHASE_TRAIN] - kernels, 0.0)},
        {"encode", "encode", p->phase[SIM_PHASE_ENCODE]},
        {"check and add", "add", p->phase[SIM_PHASE_ADD]},
        {"deltas", "delta", p->phase[SIM_PHASE_DELTA]},
        {"evaluation", "evaluate", p->phase[SIM_PHASE_EVALUATE]},
        {"idle", "idle", fmax(idle, 0.0)},
    };
    memcpy(out, rows, sizeof rows);
}

void profile_print(const struct sim_profile *p, FILE *out) {
    struct phase_row rows[PHASE_ROWS];
    const double total = p->workers * p->wall_seconds, kernels = profile_kernel_seconds(p);
    const double peak = kern_peak_flops();
    phase_rows(p, rows);
    fprintf(out, "\nseconds of %u worker%s in %.2f s\n", p->workers, p->workers == 1 ? "" : "s",
            p->wall_seconds);
    for (int k = 0; k < PHASE_ROWS; k++)
        fprintf(out, "  %-44s %9.3f  %5.1f%%\n", rows[k].text, rows[k].seconds,
                total > 0.0 ? 100.0 * rows[k].seconds / total : 0.0);
    fprintf(out, "  %-44s %9.3f\n", "server step, by the host, workers idle", p->server_seconds);
    fprintf(out, "training kernels, a core's peak being %.1f GFLOP/s%21s  share   of peak\n",
            peak / 1e9, "seconds");
    for (uint32_t i = 0; i < p->instr_count; i++) {
        const struct sim_instr_time *t = &p->instr[i];
        fprintf(out, "  %2u %-41s %9.3f  %5.1f%%", i, t->name, t->seconds,
                kernels > 0.0 ? 100.0 * t->seconds / kernels : 0.0);
        if (t->flops > 0.0)
            fprintf(out, "  %5.1f%%", 100.0 * share_of_peak(t->flops, t->seconds, peak));
        fputc('\n', out);
    }
    fprintf(out, "  %-44s %9.3f  100.0%%  %5.1f%%\n", "all", kernels,
            100.0 * share_of_peak(all_flops(p), kernels, peak));
    fflush(out);
}

void profile_json(const struct sim_profile *p, struct json *j) {
    struct phase_row rows[PHASE_ROWS];
    const double kernels = profile_kernel_seconds(p), peak = kern_peak_flops();
    phase_rows(p, rows);
    json_object_begin(j);
    json_put_u64(j, "workers", p->workers);
    json_put_f64(j, "wall_seconds", p->wall_seconds);
    json_put_f64(j, "server_seconds", p->server_seconds);
    json_put_f64(j, "peak_flops", peak);
    json_put_f64(j, "share_of_peak", share_of_peak(all_flops(p), kernels, peak));
    json_key(j, "phase_seconds");
    json_object_begin(j);
    for (int k = 0; k < PHASE_ROWS; k++)
        json_put_f64(j, rows[k].key, rows[k].seconds);
    json_object_end(j);
    json_key(j, "instructions");
    json_array_begin(j);
    for (uint32_t i = 0; i < p->instr_count; i++) {
        const struct sim_instr_time *t = &p->instr[i];
        json_object_begin(j);
        json_put_str(j, "instruction", t->name);
        json_put_f64(j, "seconds", t->seconds);
        json_put_f64(j, "flops", t->flops);
        json_put_f64(j, "share_of_peak", share_of_peak(t->flops, t->seconds, peak));
        json_object_end(j);
    }
    json_array_end(j);
    json_object_end(j);
}
