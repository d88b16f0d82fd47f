/* Distillation of the groups into one model: teachers are the groups' averages, the student starts
 * from the average of all. */
#include "advance/advance_int.h"

#include <string.h>

struct relay {
    struct scene *scene;
};

static bool relay_progress(void *ctx, uint32_t step, uint32_t steps, double loss) {
    struct relay *r = ctx;
    (void)loss;
    return !r->scene->progress || r->scene->progress(r->scene->ctx, "distill", step, steps);
}

/* teacher = master + the group's mean update: the group alone, as if it had been the cohort of
 * plain FedAvg. Normalized updates are taken back to the group's own steps. */
static enum sotto_status make_teacher(const struct advance_in *in, uint32_t group, float **out,
                                      struct sotto_error *err) {
    uint32_t n = in->graph->layout.total;
    float *teacher = mem_array(n, sizeof *teacher);
    if (!teacher)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for teacher %u", group);
    *out = teacher;
    const struct group_sums *g = in->groups[group];
    enum sotto_status status = accumulator_mean(&g->sums, &g->spec, 0, teacher, err);
    const float steps = (float)advance_steps(&g, 1);
    if (strategy_get(in->task->strategy)->algorithm == TRAIN_NOVA)
        for (uint32_t i = 0; i < n; i++)
            teacher[i] *= steps;
    if (status == SOTTO_OK)
        vec_add_f32(teacher, teacher, in->master, n);
    return status;
}

enum sotto_status distill_from(struct scene *scene, const struct advance_in *in,
                               const float *average, float **out, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    const struct task_config *t = in->task;
    uint32_t n = in->graph->layout.total;
    float *teachers[ROUND_GROUPS_MAX] = {NULL};
    float *student = mem_dup(average, n * sizeof *student);
    if (!student)
        TRY_FAIL(err, SOTTO_NOMEM, "no memory for the student");
    for (uint32_t i = 0; i < in->group_count; i++)
        TRY(make_teacher(in, i, &teachers[i], err));
    struct distill_config config = {
        .steps = (uint32_t)t->distill_steps,
        .batch = (uint32_t)t->distill_batch,
        .lr = (float)t->distill_lr,
        .momentum = (float)t->distill_momentum,
        .temperature = (float)t->distill_temperature,
        .seed = t->seed,
        .round = in->round,
    };
    struct examples pool = dataset_examples(&in->data->pool);
    struct relay relay = {scene};
    TRY(distill_run(in->graph, &config, (const float *const *)teachers, in->group_count, &pool,
                    in->backend, student, relay_progress, &relay, err));
    *out = student;
    student = NULL;
out:
    for (uint32_t i = 0; i < in->group_count; i++)
        mem_free(teachers[i]);
    mem_free(student);
    return status;
}
